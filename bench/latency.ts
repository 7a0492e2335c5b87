// A histogram of delays with a fixed step, small enough to be sent between processes as text and added up. It takes no time itself.

/** Width of one bucket, ms. */
const STEP_MS = 0.1;
/** Delays from here on, ms, share the last bucket. */
const END_MS = 2_000;
const BUCKETS = END_MS / STEP_MS + 1;

/** Delays, counted in steps of 0.1 ms. */
export class Latency {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;

  /** Delays counted. */
  get total(): number {
    return this.#total;
  }

  /** Counts one delay; a negative one counts as none. */
  add(ms: number): void {
    const bucket = Math.min(BUCKETS - 1, Math.max(0, Math.floor(ms / STEP_MS)));
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#total += 1;
  }

  /** Forgets everything. */
  clear(): void {
    this.#counts.fill(0);
    this.#total = 0;
  }

  /** The delay that `share` (0..1) of all delays do not exceed, ms, rounded up to the next step; NaN without any. */
  percentile(share: number): number {
    if (this.#total === 0) return NaN;
    const wanted = Math.max(1, Math.ceil(share * this.#total));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen >= wanted) return Math.round((bucket + 1) * STEP_MS * 10) / 10;
    }
    return END_MS;
  }

  /** The buckets that hold something: bucket, count, bucket, count. */
  toPairs(): number[] {
    const pairs: number[] = [];
    this.#counts.forEach((count, bucket) => {
      if (count > 0) pairs.push(bucket, count);
    });
    return pairs;
  }

  /** Adds what another process counted, as `toPairs` gives it. */
  addPairs(pairs: readonly number[]): void {
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const bucket = pairs[i]!;
      this.#counts[bucket] = this.#counts[bucket]! + pairs[i + 1]!;
      this.#total += pairs[i + 1]!;
    }
  }
}
