// Looks at how much memory the process takes, and says when it has to give some up: above a soft bound garbage is collected, then one peer
// after the other is shed; above a hard one the driver ends while it still can. It measures nothing and sheds nobody itself.

import { assert } from "../protocol/assert.ts";
import {
  MEMORY_COLLECT_MS,
  MEMORY_HARD_SHARE,
  MEMORY_SAMPLE_MS,
  MEMORY_SHED_PAUSE_MS,
  MEMORY_SHED_STEP,
  MEMORY_SOFT_SHARE,
} from "../protocol/limits.ts";

/** What to do: nothing, collect garbage, shed a peer, or end. */
export type MemoryVerdict = "fine" | "collect" | "shed" | "exit";

/** Bytes of one MB. */
const MB = 1024 * 1024;

/**
 * Watches one process. Call `handleSample` with each look at the resident size; times never go back.
 *
 * Nobody is shed for what is only garbage, so that is collected first, after each shedding, and from time to time. What was freed comes back to
 * the system late or not at all, so a peer is shed only where the size goes on to grow. Below the soft bound everything is forgotten.
 */
export class MemoryWatch {
  readonly #softBytes: number;
  readonly #hardBytes: number;
  readonly #stepBytes: number;
  /** Size at the last shedding or at the first collection, or the least since; undefined where none has been since the size was below the soft bound. */
  #fromBytes: number | undefined;
  #shedMs = -Infinity;
  #collectMs = -Infinity;
  /** A peer was shed, and what was held for it is not collected yet. */
  #mustCollect = false;

  /** @param limitMb Resident size that the process may have, MB of 2^20 bytes. */
  constructor(limitMb: number) {
    assert(limitMb > 0, "a memory limit is above zero");
    this.#softBytes = limitMb * MB * MEMORY_SOFT_SHARE;
    this.#hardBytes = limitMb * MB * MEMORY_HARD_SHARE;
    this.#stepBytes = limitMb * MB * MEMORY_SHED_STEP;
  }

  /** The process takes `residentBytes` now. */
  handleSample(residentBytes: number, nowMs: number): MemoryVerdict {
    if (residentBytes >= this.#hardBytes) return "exit";
    if (this.#mustCollect && nowMs - this.#shedMs >= MEMORY_SAMPLE_MS) {
      return this.#collect(nowMs);
    }
    if (residentBytes < this.#softBytes) {
      this.#fromBytes = undefined;
      return "fine";
    }
    const from = this.#fromBytes;
    if (from === undefined) {
      this.#fromBytes = residentBytes;
      return this.#collect(nowMs);
    }
    if (nowMs - this.#shedMs < MEMORY_SHED_PAUSE_MS) return "fine";
    if (residentBytes >= from + this.#stepBytes) {
      this.#fromBytes = residentBytes;
      this.#shedMs = nowMs;
      this.#mustCollect = true;
      return "shed";
    }
    // What was freed meanwhile makes the next growth count from there.
    this.#fromBytes = Math.min(from, residentBytes);
    return nowMs - this.#collectMs >= MEMORY_COLLECT_MS ? this.#collect(nowMs) : "fine";
  }

  #collect(nowMs: number): MemoryVerdict {
    this.#mustCollect = false;
    this.#collectMs = nowMs;
    return "collect";
  }
}
