// How often something may pass a gate: one number a key, no timers. It knows neither what is counted nor the clock; time is an argument
// that never goes back.

import { assert } from "../protocol/assert.ts";
import { MIN_RATE_BURST, RATE_BURST_S, RATE_TOLERANCE } from "../protocol/limits.ts";

/**
 * A token bucket per key in the form of the generic cell rate algorithm (ITU-T I.371): 8 bytes a key hold the time at which its bucket is
 * full again. Allows 1.25 x the declared rate and a burst of half a second at that rate, at least two. Taking allocates nothing.
 */
export class RateLimiter {
  readonly #maxKeys: number;
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  #fullAt: Float64Array;

  /**
   * @param options `rateHz`: declared rate a second; at 0 nothing passes. `maxKeys`: keys run from 0 to one less; memory grows with the
   * largest key used. `stallMs`: how much later than another one may come by the fault of the path (cell delay variation); it adds to the
   * burst, never to the rate.
   */
  constructor(
    options: { readonly rateHz: number; readonly maxKeys: number; readonly stallMs?: number },
  ) {
    const { rateHz, maxKeys, stallMs = 0 } = options;
    assert(rateHz >= 0 && rateHz < Infinity, "a rate is a finite number, not below zero");
    assert(Number.isInteger(maxKeys) && maxKeys > 0, "a limiter has at least one key");
    this.#maxKeys = maxKeys;
    this.#intervalMs = 1000 / (rateHz * RATE_TOLERANCE);
    const burst = Math.max(MIN_RATE_BURST, Math.floor(rateHz * RATE_TOLERANCE * RATE_BURST_S));
    this.#toleranceMs = (burst - 1) * this.#intervalMs + stallMs;
    this.#fullAt = new Float64Array(Math.min(maxKeys, 16)).fill(-Infinity);
  }

  /** Takes one from the bucket of `key` at `nowMs`; false when it is empty, which costs nothing further. */
  take(key: number, nowMs: number): boolean {
    assert(Number.isInteger(key) && key >= 0 && key < this.#maxKeys, "a key is below maxKeys");
    if (this.#intervalMs === Infinity) return false;
    if (key >= this.#fullAt.length) this.#grow(key);
    const fullAt = this.#fullAt[key]!;
    // A microsecond of grace: sums of intervals such as 26.666... ms round either way.
    if (nowMs + 1e-3 < fullAt - this.#toleranceMs) return false;
    this.#fullAt[key] = Math.max(fullAt, nowMs) + this.#intervalMs;
    return true;
  }

  /** Fills the bucket of `key` again: its entity or peer is gone and the key will mean another. */
  forget(key: number): void {
    if (key < this.#fullAt.length) this.#fullAt[key] = -Infinity;
  }

  /** When the bucket of `key` is full again, ms; -Infinity where it is. */
  fullAt(key: number): number {
    return this.#fullAt[key] ?? -Infinity;
  }

  /** Takes over the bucket of another key, or of an earlier user of this one, by what `fullAt` said. */
  fill(key: number, fullAtMs: number): void {
    if (key >= this.#fullAt.length) this.#grow(key);
    this.#fullAt[key] = fullAtMs;
  }

  #grow(key: number): void {
    const length = Math.min(this.#maxKeys, Math.max(key + 1, this.#fullAt.length * 2));
    const grown = new Float64Array(length).fill(-Infinity);
    grown.set(this.#fullAt);
    this.#fullAt = grown;
  }
}
