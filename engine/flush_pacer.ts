// When an engine that flushes once a tick should do so: in the middle of a tick of the world, as far as possible from the ticks on both
// sides, where a late frame costs nothing. Pure arithmetic on what the driver stamps; an engine that flushes each frame needs none of it.

import { assert } from "../protocol/assert.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";

/** Share of an error that one flush corrects, and the most it moves, ms: gentle enough to be seen nowhere. */
const GAIN = 0.1;
const MAX_STEP_MS = 0.5;
/** Larger errors than this share of a tick are stepped over at once: the first stamps, and a world joined anew. */
const STEP_SHARE = 0.25;

/**
 * Paces the flushes of an engine whose rate is the world's tick rate.
 *
 * Order of calls: `next` for the time of each flush; `handleFlushed` with it and the batch's id; `handleStamped` from `onStamped`.
 */
export class FlushPacer {
  readonly #tickMs: number;
  readonly #flushed = new Map<number, number>();
  #nextMs: number;
  #errorMs = 0;

  /** Begins at `nowMs`. `tickHz` is the world's. */
  constructor(tickHz: number, nowMs: number) {
    assert(tickHz > 0, "a world ticks");
    this.#tickMs = 1000 / tickHz;
    this.#nextMs = nowMs;
  }

  /** When to flush next, ms; a time in the past means now. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** A flush was made at `nowMs`; `batch` is what `flush` returned. */
  handleFlushed(batch: number, nowMs: number): void {
    if (batch !== 0) this.#flushed.set(batch, nowMs);
    // Stamps that never come (a lost driver) must not pile up.
    if (this.#flushed.size > 64) this.#flushed.delete(this.#flushed.keys().next().value!);
    const late = Math.floor(Math.max(0, nowMs - this.#nextMs) / this.#tickMs);
    const correction = Math.abs(this.#errorMs) > STEP_SHARE * this.#tickMs
      ? this.#errorMs
      : Math.max(-MAX_STEP_MS, Math.min(MAX_STEP_MS, this.#errorMs * GAIN));
    this.#errorMs -= correction;
    this.#nextMs += (late + 1) * this.#tickMs + correction;
  }

  /** The driver stamped a batch: how far from the middle of a tick was it? */
  handleStamped(batch: number, time: TimelineTime): void {
    const atMs = this.#flushed.get(batch);
    if (atMs === undefined) return;
    this.#flushed.delete(batch);
    const phaseMs = (time % SUBTICKS) / SUBTICKS * this.#tickMs;
    // What the frame itself was late is no error of the pace.
    const scheduled = atMs - this.#nextMs;
    const lateMs = scheduled - Math.round(scheduled / this.#tickMs) * this.#tickMs;
    let error = this.#tickMs / 2 - (phaseMs - lateMs);
    error -= Math.round(error / this.#tickMs) * this.#tickMs;
    this.#errorMs = error;
  }
}
