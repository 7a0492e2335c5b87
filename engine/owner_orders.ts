// Transfers that this engine has ordered and its driver has not named yet: until then the driver may still tell of what the owners before did,
// and name those owners. It knows who owned what in which order, and neither rights nor components.

import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { ENGINE_TIMEOUT_MS, MAX_PENDING_TRANSFERS } from "../protocol/limits.ts";
import type { EntityRecord } from "./entity_ledger.ts";

/** What of one entity is under way. */
interface Pending {
  /** Owner as the driver said last. */
  known: number;
  /** Owners that were ordered since, oldest first; the last one is the entity's. */
  readonly ordered: number[];
  /** Peers among all these but the entity's owner. */
  late: readonly number[];
  /** From then on the orders count whatever the driver says. */
  dueMs: number;
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
      pending = { known: record.owner, ordered: [], late: NONE, dueMs: 0 };
      this.#pending.set(record, pending);
    }
    pending.ordered.push(owner);
    if (pending.ordered.length > MAX_PENDING_TRANSFERS) pending.ordered.shift();
    pending.late = lateOf(pending);
    pending.dueMs = this.#now() + ENGINE_TIMEOUT_MS;
  }

  /** Peers, other than its owner, whose doing what the driver tells of an entity may be: they owned it when the driver took it. */
  late(record: EntityRecord): readonly number[] {
    return this.#of(record)?.late ?? NONE;
  }

  /** Whether the driver, which names this owner, has not come to the last order yet. */
  isOlder(record: EntityRecord, owner: number): boolean {
    const pending = this.#of(record);
    return pending !== undefined && owner !== record.owner &&
      (owner === pending.known || pending.ordered.includes(owner));
  }

  /** A batch that named this owner has been applied. */
  handleNamed(record: EntityRecord, owner: number): void {
    const pending = this.#of(record);
    if (pending === undefined) return;
    const at = pending.ordered.indexOf(owner);
    if (at < 0) return;
    pending.ordered.splice(0, at + 1);
    pending.known = owner;
    pending.late = lateOf(pending);
    if (pending.ordered.length === 0) this.#pending.delete(record);
  }

  /** The driver could not do what was ordered: nothing is under way. */
  forget(record: EntityRecord): void {
    this.#pending.delete(record);
  }

  #of(record: EntityRecord): Pending | undefined {
    const pending = this.#pending.get(record);
    if (pending === undefined || this.#now() < pending.dueMs) return pending;
    this.#pending.delete(record);
    return undefined;
  }
}

function lateOf({ known, ordered }: Pending): readonly number[] {
  const owner = ordered.at(-1);
  const others = [known, ...ordered].filter((one) => one !== owner && one !== SERVER_PEER);
  return others.length === 0 ? NONE : [...new Set(others)];
}
