// The engine's way to its driver's log: requests on their way, and answers as entries with a time, a level and a sentence. It keeps nothing of
// what it read; what the driver keeps, and for how long, its manifest says.

import type { ToEngine } from "../protocol/engine_messages.ts";
import {
  levelNumber,
  levelOfCode,
  LOG_LEVELS,
  logCodeName,
  type LogLevel,
} from "../protocol/log_codes.ts";
import { LOG_ARGUMENTS, MAX_PENDING_LOGS } from "../protocol/limits.ts";
import { logText } from "./log_text.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";

/** What to read of a driver's log. */
export interface LogQuery {
  /** The least important level wanted: "error", "warn", "info" or "debug". Left out: "info". */
  readonly level?: LogLevel;
  /** Where to begin: `next` of an earlier page of the same driver. Left out: the oldest entry held. */
  readonly since?: number;
}

/** One entry of a driver's log. */
export interface LogEntry {
  /** Its place in the log, 1 for the first that this driver wrote. */
  readonly sequence: number;
  /** When it was written, ms, by the engine's own clock (the link's `now`), within the time that the answer took. */
  readonly atMs: number;
  /** How important it is. */
  readonly level: LogLevel;
  /** Its code; the table is in `docs/PROTOCOL.md` 2.11. */
  readonly code: number;
  /** The code's name, such as "PeerJoined". */
  readonly name: string;
  /** How many equal events of the second before `atMs` it stands for. */
  readonly count: number;
  /** The code's numbers; those that it has no use for are 0. */
  readonly numbers: readonly number[];
  /** The same as an English sentence. */
  readonly text: string;
}

/** A part of a driver's log, oldest first. */
export interface LogPage {
  /** Entries, 256 at most. */
  readonly entries: readonly LogEntry[];
  /** The `since` to read on with: at once after a full page, later otherwise. Not for the next driver's log, which begins anew. */
  readonly next: number;
}

interface Request {
  readonly level: LogLevel;
  readonly answer: PromiseWithResolvers<LogPage>;
}

/** Words of an entry in an answer: sequence, age, code, count, numbers. */
const ENTRY_WORDS = 4 + LOG_ARGUMENTS;

/** Requests of one link about its driver's log. */
export class LogReader {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #requests = new Map<number, Request>();
  #next = 1;

  /** Sentences take names from the tables of `state`. */
  constructor(state: LinkState, outbox: LinkOutbox) {
    this.#state = state;
    this.#outbox = outbox;
  }

  /** Asks a driver that was welcomed. Rejects when too many requests are on their way, or when the driver is lost before it answers. */
  ask({ level = "info", since = 0 }: LogQuery): Promise<LogPage> {
    if (!LOG_LEVELS.includes(level)) {
      return Promise.reject(new Error(`no log level "${level}": give ${LOG_LEVELS.join(", ")}`));
    }
    if (!Number.isInteger(since) || since < 0 || since > 0xffff_ffff) {
      return Promise.reject(new Error("since is a whole number: 0, or `next` of an earlier page"));
    }
    if (this.#requests.size >= MAX_PENDING_LOGS) {
      return Promise.reject(
        new Error(`${MAX_PENDING_LOGS} parts of the log are already on their way`),
      );
    }
    const request = this.#next;
    this.#next = (this.#next + 1) >>> 0;
    const answer = Promise.withResolvers<LogPage>();
    this.#requests.set(request, { level, answer });
    this.#outbox.push({ kind: "readLog", request, level, since });
    return answer.promise;
  }

  /** The driver's answer; one that was not asked for is ignored. */
  handleAnswer({ request, entries, next }: Extract<ToEngine, { kind: "log" }>): void {
    const asked = this.#requests.get(request);
    this.#requests.delete(request);
    if (asked === undefined) return;
    const { nowMs } = this.#state;
    const page: LogEntry[] = [];
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      const [sequence, age, code, count, ...numbers] = entries.subarray(at, at + ENTRY_WORDS);
      const level = levelOfCode(code!);
      if (levelNumber(level) > levelNumber(asked.level)) continue;
      page.push({
        sequence: sequence!,
        atMs: nowMs - age!,
        level,
        code: code!,
        name: logCodeName(code!),
        count: count!,
        numbers,
        text: logText(this.#state.grants, code!, numbers),
      });
    }
    asked.answer.resolve({ entries: page, next });
  }

  /** The driver is gone: nobody answers what it was asked. */
  handleDriverLost(): void {
    for (const { answer } of this.#requests.values()) {
      answer.reject(new Error("the driver was lost before it answered"));
    }
    this.#requests.clear();
  }
}
