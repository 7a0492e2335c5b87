// Which entity ids a server has given to whom: blocks of free ids in peers' hands, ids in use, and ids whose slots rest until every peer
// knows of their end. It knows no entity's state; the core says when an id came to life and when it ended.

import { type EntityId } from "../protocol/entity_id.ts";
import { MAX_ENTITY_BLOCK } from "../protocol/limits.ts";
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
  /** Peer that spawned it, by id. */
  readonly #resting = new Map<EntityId, number>();
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

  /** Gives a peer that owns `owned` entities what it may have and does not have; returns the new ids, ascending. */
  fill(holder: IdHolder, owned: number): EntityId[] {
    const resting = this.#restingOf.get(holder.peer) ?? 0;
    const missing = Math.min(
      this.#perPeer - owned - resting - holder.freeIds.size,
      MAX_ENTITY_BLOCK - holder.freeIds.size,
    );
    if (missing <= 0) return [];
    const ids = this.#allocator.allocateBlock(missing);
    for (const id of ids) holder.freeIds.add(id);
    return ids;
  }

  /** An id that `peer` used, or gave up, lives no more: its slot rests. */
  rest(id: EntityId, peer: number): void {
    if (this.#resting.has(id)) return;
    this.#resting.set(id, peer);
    this.#restingOf.set(peer, (this.#restingOf.get(peer) ?? 0) + 1);
  }

  /** Frees every resting id that `isKnown` to all, and says whose it was. */
  settle(isKnown: (id: EntityId) => boolean, freed: (id: EntityId, peer: number) => void): void {
    for (const [id, peer] of this.#resting) {
      if (!isKnown(id)) continue;
      this.#resting.delete(id);
      const left = this.#restingOf.get(peer)! - 1;
      if (left === 0) this.#restingOf.delete(peer);
      else this.#restingOf.set(peer, left);
      this.#allocator.release(id);
      freed(id, peer);
    }
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
