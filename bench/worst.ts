// Delays of which only the greatest and the 99th percentile are asked for, in the same memory however many they are.

import { Latency } from "./latency.ts";

/** The histogram's steps and range, 0.1 ms and 2 s, are too narrow here by this factor. */
const WIDTH = 5;

/** Counts delays in steps of 0.5 ms up to 10 s. */
export class Worst {
  /** The greatest, ms. */
  maxMs = 0;
  readonly #counts = new Latency();

  /** Forgets everything. */
  clear(): void {
    this.maxMs = 0;
    this.#counts.clear();
  }

  /** Counts one. */
  add(ms: number): void {
    this.maxMs = Math.max(this.maxMs, ms);
    this.#counts.add(ms / WIDTH);
  }

  /** Adds what another counted. */
  take(other: Worst): void {
    this.maxMs = Math.max(this.maxMs, other.maxMs);
    this.#counts.addPairs(other.#counts.toPairs());
  }

  /** What 99 % do not exceed, ms; NaN without any. */
  get p99Ms(): number {
    return this.#counts.percentile(0.99) * WIDTH;
  }
}
