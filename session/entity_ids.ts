// Network ids of entities: the allocator of the world's authority and the pool of everyone else. Which entity lives behind an id is the
// world's knowledge, not theirs.

import { assert } from "../protocol/assert.ts";
import {
  ENTITY_GENERATION_BITS,
  entityGeneration,
  type EntityId,
  entitySlot,
  makeEntityId,
} from "../protocol/entity_id.ts";

const GENERATION_MASK = (1 << ENTITY_GENERATION_BITS) - 1;

/**
 * Hands out entity ids. A slot comes again only after `release`, and then with the next generation (modulo 4,096).
 *
 * The caller releases an id once every peer has acknowledged the despawn, or at once when the id was handed out and never used. Slots that
 * have rested longest come first; small numbers stay in use, because they are short on the wire.
 */
export class EntityIdAllocator {
  readonly #maxEntities: number;
  /** Generation that the slot has or gets next. */
  #generations = new Uint16Array(1_024);
  #taken = new Uint8Array(1_024);
  /** Released slots, oldest first, as a ring. */
  #released = new Int32Array(1_024);
  #first = 0;
  #releasedCount = 0;
  #fresh = 1;
  #takenCount = 0;

  /**
   * An allocator with every slot free.
   *
   * @param maxEntities Slots of the world.
   */
  constructor(maxEntities: number) {
    this.#maxEntities = maxEntities;
  }

  /** Ids handed out and not released. */
  get takenCount(): number {
    return this.#takenCount;
  }

  /** Ids that could be handed out now. */
  get freeCount(): number {
    return this.#maxEntities - this.#takenCount;
  }

  /** Up to `count` ids, ascending; fewer when the world runs out of slots. */
  allocateBlock(count: number): EntityId[] {
    const ids: EntityId[] = [];
    for (let left = Math.min(count, this.freeCount); left > 0; left--) {
      const slot = this.#releasedCount > 0 ? this.#takeReleased() : this.#takeFresh();
      this.#taken[slot] = 1;
      ids.push(makeEntityId(slot, this.#generations[slot]!));
    }
    this.#takenCount += ids.length;
    return ids.sort((a, b) => a - b);
  }

  /** Takes one id, or `undefined` when the world is full. */
  allocate(): EntityId | undefined {
    return this.allocateBlock(1)[0];
  }

  /**
   * Marks an id as handed out that an earlier allocator gave: the engine kept it over a restart. False when its slot lies outside the
   * world or is taken. Call it before the first `allocateBlock`: slots passed over on the way are free.
   */
  reserve(id: EntityId): boolean {
    const slot = entitySlot(id);
    if (slot < 1 || slot > this.#maxEntities) return false;
    while (this.#fresh <= slot) this.#pushReleased(this.#takeFresh());
    if (this.#taken[slot] === 1) return false;
    this.#dropReleased(slot);
    this.#generations[slot] = entityGeneration(id);
    this.#taken[slot] = 1;
    this.#takenCount += 1;
    return true;
  }

  /** Is this very id, generation included, handed out? */
  isTaken(id: EntityId): boolean {
    const slot = entitySlot(id);
    return this.#taken[slot] === 1 && this.#generations[slot] === entityGeneration(id);
  }

  /** Takes an id back; its slot may come again. */
  release(id: EntityId): void {
    assert(this.isTaken(id), "only an id that was handed out is released");
    const slot = entitySlot(id);
    this.#taken[slot] = 0;
    this.#generations[slot] = (this.#generations[slot]! + 1) & GENERATION_MASK;
    this.#takenCount -= 1;
    this.#pushReleased(slot);
  }

  #pushReleased(slot: number): void {
    if (this.#releasedCount === this.#released.length) this.#growRing();
    this.#released[(this.#first + this.#releasedCount) % this.#released.length] = slot;
    this.#releasedCount += 1;
  }

  /** Takes one slot out of the middle of the ring. */
  #dropReleased(slot: number): void {
    const kept: number[] = [];
    while (this.#releasedCount > 0) kept.push(this.#takeReleased());
    for (const other of kept) if (other !== slot) this.#pushReleased(other);
  }

  #takeReleased(): number {
    const slot = this.#released[this.#first]!;
    this.#first = (this.#first + 1) % this.#released.length;
    this.#releasedCount -= 1;
    return slot;
  }

  #takeFresh(): number {
    const slot = this.#fresh++;
    if (slot >= this.#generations.length) {
      const generations = new Uint16Array(slot * 2);
      generations.set(this.#generations);
      this.#generations = generations;
      const taken = new Uint8Array(slot * 2);
      taken.set(this.#taken);
      this.#taken = taken;
    }
    return slot;
  }

  #growRing(): void {
    const grown = new Int32Array(this.#released.length * 2);
    for (let i = 0; i < this.#releasedCount; i++) {
      grown[i] = this.#released[(this.#first + i) % this.#released.length]!;
    }
    this.#released = grown;
    this.#first = 0;
  }
}

/** Ids that a peer was handed and has not used yet. */
export class EntityIdPool {
  readonly #ids: EntityId[] = [];
  #next = 0;

  /** Ids left. */
  get size(): number {
    return this.#ids.length - this.#next;
  }

  /** Adds ids from the world's authority; used ones are forgotten. */
  add(ids: readonly EntityId[]): void {
    this.#ids.splice(0, this.#next);
    this.#next = 0;
    for (const id of ids) this.#ids.push(id);
  }

  /** The next id, or `undefined` while none is left: the spawn waits for more. */
  take(): EntityId | undefined {
    return this.#next < this.#ids.length ? this.#ids[this.#next++] : undefined;
  }

  /** Forgets everything: another join brings other ids. */
  clear(): void {
    this.#ids.length = 0;
    this.#next = 0;
  }
}
