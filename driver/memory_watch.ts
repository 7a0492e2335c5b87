// Looks at how much memory the process takes, and says when it has to give some up: above a soft bound the peer that holds most is shed, above
// a hard one the driver ends while it still can. It measures nothing and sheds nobody itself.

import { assert } from "../protocol/assert.ts";
import {
  MEMORY_HARD_SHARE,
  MEMORY_SHED_PAUSE_MS,
  MEMORY_SHED_STEP,
  MEMORY_SOFT_SHARE,
} from "../protocol/limits.ts";

/** What to do: nothing, drop the peer that holds most, or end. */
export type MemoryVerdict = "fine" | "shed" | "exit";

/** Bytes of one MB. */
const MB = 1024 * 1024;

/**
 * Watches one process. Call `handleSample` with each look at the resident size; times never go back.
 *
 * What a shed peer held comes back to the system late or not at all, so after one shedding the next follows only where the size goes on to
 * grow. Below the soft bound everything is forgotten.
 */
export class MemoryWatch {
  readonly #softBytes: number;
  readonly #hardBytes: number;
  readonly #stepBytes: number;
  /** Size at the last shedding, or the least since; undefined where none has been since the size was below the soft bound. */
  #shedBytes: number | undefined;
  #shedMs = -Infinity;

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
    if (residentBytes < this.#softBytes) {
      this.#shedBytes = undefined;
      return "fine";
    }
    if (nowMs - this.#shedMs < MEMORY_SHED_PAUSE_MS) return "fine";
    if (this.#shedBytes !== undefined && residentBytes < this.#shedBytes + this.#stepBytes) {
      // What was freed meanwhile makes the next growth count from there.
      this.#shedBytes = Math.min(this.#shedBytes, residentBytes);
      return "fine";
    }
    this.#shedBytes = residentBytes;
    this.#shedMs = nowMs;
    return "shed";
  }
}
