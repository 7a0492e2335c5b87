// Is the engine there, and does it read? Heartbeats and figures go to it at their intervals, silence and a full outbox end the driver. The
// same for every role; what the figures say is the core's business.

import { ENGINE_HEARTBEAT_MS, ENGINE_TIMEOUT_MS, STATS_INTERVAL_MS } from "../protocol/limits.ts";
import type { Counters } from "./counters.ts";
import type { EngineOutbox } from "./engine_outbox.ts";

/** Why an engine counts as gone: a reason for peers, a sentence for the operator. */
export interface EngineEnd {
  /** What peers are told. */
  readonly why: string;
  /** What the operator is told. */
  readonly reason: string;
}

/** Watches one engine. */
export class EngineWatch {
  /** The engine's socket takes bytes. */
  isWritable = true;
  readonly #outbox: EngineOutbox;
  readonly #counters: Counters;
  #heardMs = 0;
  #pingMs = 0;
  #statsMs = 0;

  /** Watches the engine behind `outbox`. */
  constructor(outbox: EngineOutbox, counters: Counters) {
    this.#outbox = outbox;
    this.#counters = counters;
  }

  /** The engine said something. */
  handleHeard(nowMs: number): void {
    this.#heardMs = nowMs;
  }

  /** When the next heartbeat is due. */
  get dueMs(): number {
    return this.#pingMs + ENGINE_HEARTBEAT_MS;
  }

  /** Time has passed; `gauge` sets the figures of the moment, when they are due. Returns why the engine is gone, if it is. */
  handleTimer(nowMs: number, gauge: () => void): EngineEnd | undefined {
    if (nowMs - this.#pingMs >= ENGINE_HEARTBEAT_MS) {
      this.#pingMs = nowMs;
      if (this.isWritable) this.#outbox.push({ kind: "ping", time: nowMs });
    }
    if (nowMs - this.#statsMs >= STATS_INTERVAL_MS) {
      this.#statsMs = nowMs;
      gauge();
      if (this.isWritable) {
        this.#outbox.push({ kind: "stats", values: this.#counters.snapshot() });
      }
    }
    if (nowMs - this.#heardMs > ENGINE_TIMEOUT_MS) {
      const reason = `The engine did not answer heartbeats for ${ENGINE_TIMEOUT_MS / 1000} s.`;
      return { why: "the engine is silent", reason };
    }
    return this.#outbox.isOverfull
      ? { why: "the engine does not read", reason: "The engine does not read what it is told." }
      : undefined;
  }
}
