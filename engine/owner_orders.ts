// Transfers that this engine has ordered and its driver has not named yet: until then the driver may still tell of what the owners before did,
// and name those owners. It knows who owned what in which order, and neither rights nor components.

import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { ENGINE_TIMEOUT_MS, MAX_PENDING_TRANSFERS } from "../protocol/limits.ts";
import type { EntityRecord } from "./entity_ledger.ts";

/** One transfer under way. */
interface Order {
  readonly owner: number;
  /** From then on it counts whatever the driver says: who was the owner before it has had its time, however many orders follow. */
  dueMs: number;
}

/** What of one entity is under way. */
interface Pending {
  /** Owner as the driver said last. */
  known: number;
  /** Owners that were ordered since, oldest first; the last one is the entity's. */
  readonly ordered: Order[];
  /** Peers among all these but the entity's owner. */
  late: readonly number[];
}

const NONE: readonly number[] = [];

/** The transfers of one engine with world authority. */
export class OwnerOrders {
  readonly #now: () => number;
  /** Those of entities that are no more go with their records. */
  readonly #pending = new WeakMap<EntityRecord, Pending>();

  /** @param now The present time, ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** This engine gives an entity to `owner`; call it before the record says so. Of very many orders the oldest are forgotten. */
  note(record: EntityRecord, owner: number): void {
    let pending = this.#of(record);
    if (pending === undefined) {
      if (record.owner === owner) return;
      pending = { known: record.owner, ordered: [], late: NONE };
      this.#pending.set(record, pending);
    }
    const { ordered } = pending;
    ordered.push({ owner, dueMs: this.#now() + ENGINE_TIMEOUT_MS });
    if (ordered.length > MAX_PENDING_TRANSFERS) {
      // That the order after it is forgotten gives the owner known last no more time.
      const { dueMs } = ordered.shift()!;
      ordered[0]!.dueMs = dueMs;
    }
    pending.late = lateOf(pending);
  }

  /** Peers, other than its owner, whose doing what the driver tells of an entity may be: they owned it when the driver took it. */
  late(record: EntityRecord): readonly number[] {
    return this.#of(record)?.late ?? NONE;
  }

  /** Whether the driver, which names this owner, has not come to the last order yet. */
  isOlder(record: EntityRecord, owner: number): boolean {
    const pending = this.#of(record);
    return pending !== undefined && owner !== record.owner &&
      (owner === pending.known || pending.ordered.some((order) => order.owner === owner));
  }

  /** A batch that named this owner has been applied. */
  handleNamed(record: EntityRecord, owner: number): void {
    const pending = this.#of(record);
    if (pending === undefined) return;
    const at = pending.ordered.findIndex((order) => order.owner === owner);
    if (at >= 0) this.#settle(record, pending, at + 1);
  }

  /** The driver could not do what was ordered: nothing is under way. */
  forget(record: EntityRecord): void {
    this.#pending.delete(record);
  }

  /** Orders that nobody waits for any more: the first `count` of them. */
  #settle(record: EntityRecord, pending: Pending, count: number): void {
    pending.known = pending.ordered[count - 1]!.owner;
    pending.ordered.splice(0, count);
    pending.late = lateOf(pending);
    if (pending.ordered.length === 0) this.#pending.delete(record);
  }

  #of(record: EntityRecord): Pending | undefined {
    const pending = this.#pending.get(record);
    if (pending === undefined) return undefined;
    const now = this.#now();
    let due = 0;
    while (due < pending.ordered.length && now >= pending.ordered[due]!.dueMs) due += 1;
    if (due > 0) this.#settle(record, pending, due);
    return this.#pending.get(record);
  }
}

function lateOf({ known, ordered }: Pending): readonly number[] {
  const owner = ordered.at(-1)?.owner;
  const others = [known, ...ordered.map((order) => order.owner)]
    .filter((one) => one !== owner && one !== SERVER_PEER);
  return others.length === 0 ? NONE : [...new Set(others)];
}
