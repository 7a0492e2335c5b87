// Whose doing a change may be that the server's engine hears of, by the page alone: an entity that the engine took from a peer counts as that
// peer's, too, until a batch names who got it, for that batch, and 5,000 ms at the longest.

import type { ToEngine } from "../../protocol/engine_messages.ts";

const LONGEST_MS = 5_000;

interface Orders {
  /** Owners that the driver may still act for: the one it named last, and those that were ordered since, oldest first. */
  readonly owners: number[];
  /** Those of them that go with the moment in which a later one was named. */
  readonly parting: { readonly owner: number; readonly untilMs: number }[];
  dueMs: number;
}

/** Follows the transfers of one engine with world authority. */
export class FormerOwners {
  readonly #now: () => number;
  readonly #byHandle = new Map<number, Orders>();

  /** `now` is virtual time, ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The engine gives an entity of `before` to `owner`. */
  ordered(handle: number, before: number, owner: number): void {
    let orders = this.#byHandle.get(handle);
    if (orders === undefined || this.#now() >= orders.dueMs) {
      orders = { owners: [before], parting: [], dueMs: 0 };
      this.#byHandle.set(handle, orders);
    }
    orders.owners.push(owner);
    orders.dueMs = this.#now() + LONGEST_MS;
  }

  /** The driver says something to the engine. */
  said(message: ToEngine): void {
    if (message.kind !== "batch") return;
    for (let i = 0; i + 2 < message.owners.length; i += 3) {
      this.#named(message.owners[i]!, message.owners[i + 1]!);
    }
  }

  #named(handle: number, owner: number): void {
    const orders = this.#byHandle.get(handle);
    const at = orders?.owners.indexOf(owner, 1) ?? -1;
    if (orders === undefined || at < 0) return;
    for (const one of orders.owners.splice(0, at)) {
      orders.parting.push({ owner: one, untilMs: this.#now() });
    }
  }

  /** Peers that may have done what the engine hears now of an entity, besides its owner. */
  of(handle: number): number[] {
    const orders = this.#byHandle.get(handle);
    if (orders === undefined || this.#now() >= orders.dueMs) return [];
    const parting = orders.parting.filter(({ untilMs }) => untilMs >= this.#now());
    return [...orders.owners, ...parting.map(({ owner }) => owner)];
  }
}
