// The driver's log: a ring of fixed-size entries in memory, bounded in number and in age. An entry is a code and a few numbers, so there is
// nothing in it that could hold contents; what is old is overwritten with zeros. It is written by the cores and read over the engine link.

import { assert } from "../protocol/assert.ts";
import { levelNumber, levelOfCode, LogCode, type LogLevel } from "../protocol/log_codes.ts";
import {
  DEFAULT_RETENTION_S,
  LOG_ARGUMENTS,
  LOG_SUM_MS,
  MAX_LOG_ANSWER,
  MAX_LOG_ENTRIES,
  MAX_LOG_SUMS,
} from "../protocol/limits.ts";

/** What a host keeps of its log. */
export interface LogOptions {
  /** How long an entry stays, s; 0: nothing is written at all. */
  readonly retentionSeconds: number;
  /** The least important level that is written. */
  readonly logLevel: LogLevel;
}

/** The log of a host that says nothing about it. */
export const DEFAULT_LOG: LogOptions = { retentionSeconds: DEFAULT_RETENTION_S, logLevel: "info" };

/** What is read of a log. */
export interface LogAnswer {
  /**
   * Entry after entry: sequence, age in ms, code, count, and the code's numbers; see `LOG_ENTRY_WORDS`. Oldest first.
   */
  readonly entries: Uint32Array;
  /** Where to read on. */
  readonly next: number;
}

/** Words of an entry in an answer. */
export const LOG_ENTRY_WORDS = 4 + LOG_ARGUMENTS;

/** A sequence is 32 bits on the engine link, and `next` is one more. */
const LAST_SEQUENCE = 0xffff_ffff;

/** Words of an entry in the ring: code, count, numbers. Its sequence follows from its place. */
const HELD_WORDS = 2 + LOG_ARGUMENTS;

/**
 * The log of one driver.
 *
 * Order of calls: `write` and `read` any time, with times that never go back; `handleTimer` no later than `dueMs`.
 */
export class LogRing {
  readonly #retentionMs: number;
  readonly #level: number;
  readonly #capacity: number;
  readonly #words: Uint32Array;
  readonly #timesMs: Float64Array;
  /** Sequences of the oldest entry held, and of the next to be written; equal when none is held. They begin at 1. */
  #first = 1;
  #next = 1;
  /** Codes, extra counts and numbers of entries that were written within the last `LOG_SUM_MS` and are summed. */
  readonly #sums: Uint32Array;
  readonly #sumsEndMs: Float64Array;
  #sumCount = 0;
  #unwritten = 0;
  #unwrittenEndMs = 0;

  /** An empty log. @param capacity Entries held; the oldest makes room for the newest. */
  constructor(options: LogOptions = DEFAULT_LOG, capacity: number = MAX_LOG_ENTRIES) {
    assert(capacity > 0, "a log holds at least one entry");
    this.#retentionMs = options.retentionSeconds * 1000;
    this.#level = levelNumber(options.logLevel);
    this.#capacity = options.retentionSeconds === 0 ? 0 : capacity;
    const sums = this.#capacity === 0 ? 0 : MAX_LOG_SUMS;
    this.#words = new Uint32Array(this.#capacity * HELD_WORDS);
    this.#timesMs = new Float64Array(this.#capacity);
    this.#sums = new Uint32Array(sums * HELD_WORDS);
    this.#sumsEndMs = new Float64Array(sums);
  }

  /** Entries held. */
  get size(): number {
    return this.#next - this.#first;
  }

  /** Bytes held, full or empty. */
  get byteLength(): number {
    return this.#words.byteLength + this.#timesMs.byteLength + this.#sums.byteLength +
      this.#sumsEndMs.byteLength;
  }

  /** When `handleTimer` is due: an entry is to be erased, or a sum to be written. `Infinity`: never. */
  get dueMs(): number {
    let due = this.size === 0
      ? Infinity
      : this.#timesMs[this.#first % this.#capacity]! + this.#retentionMs;
    for (let i = 0; i < this.#sumCount; i++) due = Math.min(due, this.#sumsEndMs[i]!);
    return this.#unwritten > 0 ? Math.min(due, this.#unwrittenEndMs) : due;
  }

  /**
   * Writes an entry, unless its level is not wanted or nothing is kept. Equal entries within a second become two: the first at once, and at
   * the second's end one with the count of all others.
   *
   * @param a The code's numbers, 32 bits each, unsigned; see `LogCode`.
   */
  write(code: LogCode, nowMs: number, a = 0, b = 0, c = 0, d = 0): void {
    if (this.#capacity === 0 || levelNumber(levelOfCode(code)) > this.#level) return;
    [a, b, c, d] = [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
    const known = this.#findSum(code, a, b, c, d);
    if (known >= 0) {
      this.#sums[known * HELD_WORDS + 1]! += 1;
      return;
    }
    if (this.#sumCount === MAX_LOG_SUMS) {
      if (this.#unwritten === 0) this.#unwrittenEndMs = nowMs + LOG_SUM_MS;
      this.#unwritten += 1;
      return;
    }
    const at = this.#sumCount * HELD_WORDS;
    this.#sums.set([code, 0, a, b, c, d], at);
    this.#sumsEndMs[this.#sumCount] = nowMs + LOG_SUM_MS;
    this.#sumCount += 1;
    this.#push(nowMs, code, 1, a, b, c, d);
  }

  /** Time has passed: writes sums whose second is over, and overwrites entries that are too old. */
  handleTimer(nowMs: number): void {
    for (let i = 0; i < this.#sumCount;) {
      if (this.#sumsEndMs[i]! > nowMs) {
        i += 1;
        continue;
      }
      const [code, count, a, b, c, d] = this.#sums.subarray(i * HELD_WORDS, (i + 1) * HELD_WORDS);
      this.#dropSum(i);
      if (count! > 0) this.#push(nowMs, code!, count!, a!, b!, c!, d!);
    }
    if (this.#unwritten > 0 && this.#unwrittenEndMs <= nowMs) {
      this.#push(nowMs, LogCode.Unwritten, 1, this.#unwritten, 0, 0, 0);
      this.#unwritten = 0;
    }
    while (this.size > 0) {
      const place = this.#first % this.#capacity;
      if (this.#timesMs[place]! + this.#retentionMs > nowMs) break;
      this.#erase(place);
      this.#first += 1;
    }
  }

  /**
   * The oldest entries of a level or more important ones, from sequence `since` on, `MAX_LOG_ANSWER` at most. A `since` above all that was
   * written is of an earlier driver's log: it reads from the oldest.
   */
  read(level: LogLevel, since: number, nowMs: number): LogAnswer {
    this.handleTimer(nowMs);
    const wanted = levelNumber(level);
    const found: number[] = [];
    let sequence = since > this.#next ? this.#first : Math.max(since, this.#first);
    for (; sequence < this.#next; sequence++) {
      const place = sequence % this.#capacity;
      const held = this.#words.subarray(place * HELD_WORDS, (place + 1) * HELD_WORDS);
      if (levelNumber(levelOfCode(held[0]!)) > wanted) continue;
      if (found.length === MAX_LOG_ANSWER * LOG_ENTRY_WORDS) break;
      found.push(sequence, Math.max(0, Math.floor(nowMs - this.#timesMs[place]!)), ...held);
    }
    return { entries: Uint32Array.from(found), next: sequence };
  }

  /** Whether no place of the ring that holds no entry remembers anything: what tests ask. */
  get isCleanOutside(): boolean {
    for (let place = 0; place < this.#capacity; place++) {
      const age = (place - this.#first % this.#capacity + this.#capacity) % this.#capacity;
      if (age < this.size) continue;
      const held = this.#words.subarray(place * HELD_WORDS, (place + 1) * HELD_WORDS);
      if (this.#timesMs[place] !== 0 || held.some((word) => word !== 0)) return false;
    }
    return this.#sums.subarray(this.#sumCount * HELD_WORDS).every((word) => word === 0);
  }

  #push(
    nowMs: number,
    code: number,
    count: number,
    a: number,
    b: number,
    c: number,
    d: number,
  ): void {
    if (this.#next === LAST_SEQUENCE) this.#startAgain();
    const place = this.#next % this.#capacity;
    this.#timesMs[place] = nowMs;
    this.#words.set([code, count, a, b, c, d], place * HELD_WORDS);
    this.#next += 1;
    if (this.size > this.#capacity) this.#first += 1;
  }

  /** After eight months of the most that is ever written, sequences begin anew: whoever reads on does so from the oldest. */
  #startAgain(): void {
    this.#timesMs.fill(0);
    this.#words.fill(0);
    this.#first = 1;
    this.#next = 1;
  }

  #erase(place: number): void {
    this.#timesMs[place] = 0;
    this.#words.fill(0, place * HELD_WORDS, (place + 1) * HELD_WORDS);
  }

  #findSum(code: number, a: number, b: number, c: number, d: number): number {
    const sums = this.#sums;
    for (let i = 0, at = 0; i < this.#sumCount; i++, at += HELD_WORDS) {
      if (
        sums[at] === code && sums[at + 2] === a && sums[at + 3] === b && sums[at + 4] === c &&
        sums[at + 5] === d
      ) return i;
    }
    return -1;
  }

  /** The last sum takes the place of one that is over. */
  #dropSum(index: number): void {
    const last = this.#sumCount - 1;
    this.#sums.copyWithin(index * HELD_WORDS, last * HELD_WORDS, (last + 1) * HELD_WORDS);
    this.#sumsEndMs[index] = this.#sumsEndMs[last]!;
    this.#sums.fill(0, last * HELD_WORDS, (last + 1) * HELD_WORDS);
    this.#sumsEndMs[last] = 0;
    this.#sumCount = last;
  }
}
