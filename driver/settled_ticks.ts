// Up to which tick everything that a peer sent has come, or has been sent again since: what an event has to wait for. It knows numbers and
// times of datagrams, never what is in them.

import { MAX_WATCHED_GAPS } from "../protocol/limits.ts";

interface Gap {
  /** The missing datagram belongs to this tick or a later one. */
  readonly tick: number;
  readonly sinceMs: number;
}

/**
 * The settled ticks of one peer's datagrams.
 *
 * Order of calls: `handleReceived` for every good datagram, in any order; `at` any time. A datagram that is missing holds back its tick until
 * it comes after all, or its contents must have come in another one.
 */
export class SettledTicks {
  readonly #gaps = new Map<number, Gap>();
  #largest = -1;
  #newestTick: number;

  /** @param tick State up to this tick need not come: the peer begins there. */
  constructor(tick: number) {
    this.#newestTick = tick;
  }

  /** A good datagram with this whole sequence number came, sent at `tick`. */
  handleReceived(sequence: number, tick: number, nowMs: number): void {
    if (sequence > this.#largest) {
      const first = Math.max(this.#largest + 1, sequence - MAX_WATCHED_GAPS);
      for (let missing = first; missing < sequence; missing++) {
        this.#gaps.set(missing, { tick: this.#newestTick, sinceMs: nowMs });
      }
      for (const oldest of this.#gaps.keys()) {
        if (this.#gaps.size <= MAX_WATCHED_GAPS) break;
        this.#gaps.delete(oldest);
      }
      this.#largest = sequence;
    } else {
      this.#gaps.delete(sequence);
    }
    if (tick > this.#newestTick) this.#newestTick = tick;
  }

  /** The newest settled tick. `repairMs` is how long the sender may take to notice a loss and send again. */
  at(nowMs: number, repairMs: number): number {
    let settled = this.#newestTick;
    for (const [sequence, gap] of this.#gaps) {
      if (nowMs - gap.sinceMs > repairMs) this.#gaps.delete(sequence);
      else settled = Math.min(settled, gap.tick - 1);
    }
    return settled;
  }
}
