// A bounded number of places for which networks compete: who comes when all are taken gets one, and the oldest of the network that has most
// gives its own up. It ends nothing itself.

import { assert } from "../protocol/assert.ts";

/** Places of one kind. Order of calls: `take` once for a holder, `leave` when it is done, also if it has yielded. */
export class FairPlaces<T> {
  readonly #max: number;
  /** Holders with their networks, oldest first. */
  readonly #holders = new Map<T, string>();
  /** Places of each network that has any. */
  readonly #counts = new Map<string, number>();

  /** @param max Places, one at least. */
  constructor(max: number) {
    assert(max >= 1, "there is a place");
    this.#max = max;
  }

  /** Places that are taken. */
  get size(): number {
    return this.#holders.size;
  }

  /** Who has a place, oldest first. */
  holders(): readonly T[] {
    return [...this.#holders.keys()];
  }

  /** Gives a place to a holder that has none. Returns who has lost its own for that, if all were taken. */
  take(holder: T, network: string): T | undefined {
    assert(!this.#holders.has(holder), "a holder has one place");
    // The newcomer counts too: a network cannot push others out and stay the larger one.
    this.#counts.set(network, this.#countOf(network) + 1);
    const yields = this.#holders.size < this.#max ? undefined : this.#oldestOfLargest();
    if (yields !== undefined) this.leave(yields);
    this.#holders.set(holder, network);
    return yields;
  }

  /** Frees the place of a holder; nothing where it has none any more. */
  leave(holder: T): void {
    const network = this.#holders.get(holder);
    if (network === undefined) return;
    this.#holders.delete(holder);
    const count = this.#countOf(network) - 1;
    if (count === 0) this.#counts.delete(network);
    else this.#counts.set(network, count);
  }

  #oldestOfLargest(): T | undefined {
    let found: T | undefined;
    let most = 0;
    for (const [holder, network] of this.#holders) {
      const count = this.#countOf(network);
      if (count > most) [found, most] = [holder, count];
    }
    return found;
  }

  #countOf(network: string): number {
    return this.#counts.get(network) ?? 0;
  }
}
