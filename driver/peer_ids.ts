// Which entity ids a server has given to whom: blocks of free ids in peers' hands, ids in use, and ids whose slots rest until every peer
// knows of their end. It knows no entity's state; the core says when an id came to life and when it ended.

import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { MAX_ENTITY_BLOCK, MAX_ID_REST_MS } from "../protocol/limits.ts";
import { EntityIdAllocator } from "../session/entity_ids.ts";

/** A peer's hand: the free ids in it, and how many entities it owns. */
export interface IdHolder {
  /** Peer id. */
  readonly peer: number;
  /** Ids handed to the peer and not used by it yet. */
  readonly freeIds: Set<EntityId>;
}

/** The entity ids of one server. */
export class PeerIds {
  readonly #allocator: EntityIdAllocator;
  readonly #perPeer: number;
  /** By id: the peer that spawned it, how long it rests at least, and when its rest was first seen to. */
  readonly #resting = new Map<
    EntityId,
    { readonly peer: number; readonly untilMs: number; sinceMs: number }
  >();
  /** Ids of each peer that rest: they count as its own until their slots are free. */
  readonly #restingOf = new Map<number, number>();

  /** All ids of a world of `maxEntities`, of which a peer may hold and use `perPeer`. */
  constructor(maxEntities: number, perPeer: number) {
    this.#allocator = new EntityIdAllocator(maxEntities);
    this.#perPeer = perPeer;
  }

  /** Ids whose slots are not free yet though their entities ended. */
  get restingCount(): number {
    return this.#resting.size;
  }

  /** Ids in use, in peers' hands or resting. */
  get takenCount(): number {
    return this.#allocator.takenCount;
  }

  /** Marks an id as used that an earlier driver gave; false when that is not possible. */
  reserve(id: EntityId): boolean {
    return this.#allocator.reserve(id);
  }

  /** One id for an entity of the server's own engine; `undefined` when the world is full. */
  allocate(): EntityId | undefined {
    return this.#allocator.allocate();
  }

  /** Takes an id back that no peer can know. */
  release(id: EntityId): void {
    this.#allocator.release(id);
  }

  /**
   * Gives a peer that owns `owned` entities what it may have and does not have; returns the new ids, ascending. As many as it may own may
   * rest besides: who replaces all it has need not wait until everyone has heard of the end.
   */
  fill(holder: IdHolder, owned: number): EntityId[] {
    const resting = this.#restingOf.get(holder.peer) ?? 0;
    const missing = Math.min(
      this.#perPeer - owned - holder.freeIds.size - Math.max(0, resting - this.#perPeer),
      MAX_ENTITY_BLOCK - holder.freeIds.size,
    );
    if (missing <= 0) return [];
    const ids = this.#allocator.allocateBlock(missing);
    for (const id of ids) holder.freeIds.add(id);
    return ids;
  }

  /** An id that `peer` used, or gave up, lives no more: its slot rests, and not less than until `untilMs`. */
  rest(id: EntityId, peer: number, untilMs = 0): void {
    if (this.#resting.has(id)) return;
    this.#resting.set(id, { peer, untilMs, sinceMs: NaN });
    this.#restingOf.set(peer, (this.#restingOf.get(peer) ?? 0) + 1);
  }

  /**
   * Frees every resting id whose end `isKnown` to all, and says which.
   *
   * @returns an id that has rested longer than `MAX_ID_REST_MS` and is still not known to all, or 0.
   */
  settle(
    nowMs: number,
    isKnown: (id: EntityId) => boolean,
    freed: (id: EntityId) => void,
  ): EntityId {
    let overdue: EntityId = NO_ENTITY;
    for (const [id, rest] of this.#resting) {
      if (nowMs < rest.untilMs) continue;
      if (!isKnown(id)) {
        if (Number.isNaN(rest.sinceMs)) rest.sinceMs = nowMs;
        if (nowMs - rest.sinceMs > MAX_ID_REST_MS) overdue = id;
        continue;
      }
      const { peer } = rest;
      this.#resting.delete(id);
      const left = this.#restingOf.get(peer)! - 1;
      if (left === 0) this.#restingOf.delete(peer);
      else this.#restingOf.set(peer, left);
      this.#allocator.release(id);
      freed(id);
    }
    return overdue;
  }

  /** Whether an id rests that `peer` used. */
  isRestingOf(id: EntityId, peer: number): boolean {
    return this.#resting.get(id)?.peer === peer;
  }

  /** Whether an id rests. */
  isResting(id: EntityId): boolean {
    return this.#resting.has(id);
  }

  /** Whether an id is handed out and not back. */
  isTaken(id: EntityId): boolean {
    return this.#allocator.isTaken(id);
  }
}
