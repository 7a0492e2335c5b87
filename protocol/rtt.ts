// The round-trip time of one path, smoothed as RFC 9002 section 5 does it. It measures nothing itself.

import { INITIAL_RTT_MS, LOSS_TIME_FACTOR, MIN_LOSS_TIME_MS } from "./limits.ts";

/** Round-trip statistics, in ms. */
export class RttEstimator {
  #samples = 0;
  #latest = INITIAL_RTT_MS;
  #smoothed = INITIAL_RTT_MS;
  #variation = INITIAL_RTT_MS / 2;
  #min = INITIAL_RTT_MS;

  /** True once a sample came; before that the others are assumptions. */
  get hasSample(): boolean {
    return this.#samples > 0;
  }

  /** The last sample. */
  get latestMs(): number {
    return this.#latest;
  }

  /** Exponentially weighted mean, weight 1/8. */
  get smoothedMs(): number {
    return this.#smoothed;
  }

  /** Exponentially weighted mean deviation, weight 1/4. */
  get varMs(): number {
    return this.#variation;
  }

  /** Smallest sample. */
  get minMs(): number {
    return this.#min;
  }

  /** Age at which a datagram counts as lost when a later one arrived. */
  get lossMs(): number {
    return Math.max(MIN_LOSS_TIME_MS, LOSS_TIME_FACTOR * Math.max(this.#smoothed, this.#latest));
  }

  /** Assumes another time than `INITIAL_RTT_MS` until the first sample: what a handshake took, which may hold retransmissions. */
  assume(ms: number): void {
    if (this.#samples > 0 || !(ms >= 0) || ms === Infinity) return;
    this.#latest = ms;
    this.#smoothed = ms;
    this.#variation = ms / 2;
    this.#min = ms;
  }

  /** Takes a sample in ms; one that is negative or not finite is ignored. */
  handleSample(ms: number): void {
    if (!(ms >= 0) || ms === Infinity) return;
    this.#latest = ms;
    if (this.#samples === 0) {
      this.#smoothed = ms;
      this.#variation = ms / 2;
      this.#min = ms;
    } else {
      this.#min = Math.min(this.#min, ms);
      this.#variation += (Math.abs(this.#smoothed - ms) - this.#variation) / 4;
      this.#smoothed += (ms - this.#smoothed) / 8;
    }
    this.#samples += 1;
  }
}
