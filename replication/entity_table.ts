// Which entities there are: slot, generation, owner, epoch, zone, composition, and which changed last. Typed columns by slot; component
// values live in version stores, and `world.ts` joins the two.

import { assert } from "../protocol/assert.ts";
import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import { grown, grownCapacity } from "./grow.ts";

const FIRST_CAPACITY = 64;
/** End of a linked list of slots; slot 0 is never an entity. */
const END = 0;

/** Entity columns by slot (1..`slotLimit`), a list of slots per owner, and a list of all slots by latest change. */
export class EntityTable {
  /** Largest slot the table may hold. */
  readonly slotLimit: number;
  /** 32-bit words of one entity's component set. */
  readonly wordCount: number;

  #capacity = FIRST_CAPACITY;
  #id = new Uint32Array(FIRST_CAPACITY);
  #owner = new Uint16Array(FIRST_CAPACITY);
  #epoch = new Uint8Array(FIRST_CAPACITY);
  #zone = new Uint8Array(FIRST_CAPACITY);
  #headerTick = new Uint32Array(FIRST_CAPACITY);
  #headerStamp = new Int32Array(FIRST_CAPACITY);
  #words: Int32Array;
  #count = 0;
  #maxSlot = 0;
  // Entities of one owner: a doubly linked list of slots.
  #ownerNext = new Int32Array(FIRST_CAPACITY);
  #ownerPrevious = new Int32Array(FIRST_CAPACITY);
  #ownerFirst = new Int32Array(FIRST_CAPACITY); // by peer
  #ownerCount = new Int32Array(FIRST_CAPACITY); // by peer
  // Slots by latest change, newest first. Freed slots stay in it: their end is a change too.
  #changeTick = new Uint32Array(FIRST_CAPACITY);
  #changeNext = new Int32Array(FIRST_CAPACITY);
  #changePrevious = new Int32Array(FIRST_CAPACITY);
  #isListed = new Uint8Array(FIRST_CAPACITY);
  #changeFirst = END;
  #latestChange = 0;

  /** A table for slots up to `slotLimit` and components with index below `componentCount`. */
  constructor(slotLimit: number, componentCount: number) {
    this.slotLimit = slotLimit;
    this.wordCount = Math.max(1, (componentCount + 31) >>> 5);
    this.#words = new Int32Array(FIRST_CAPACITY * this.wordCount);
  }

  /** Entities alive. */
  get count(): number {
    return this.#count;
  }

  /** Largest slot used so far: scans end here. */
  get maxSlot(): number {
    return this.#maxSlot;
  }

  /** Latest tick of a change, 0 before the first. */
  get latestChange(): number {
    return this.#latestChange;
  }

  /** Slots there is room for now; columns kept beside this table grow to the same size. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Whether the entity is alive: its slot is in use by its generation. */
  isAlive(id: EntityId): boolean {
    const slot = entitySlot(id);
    return slot !== 0 && slot < this.#capacity && this.#id[slot] === id;
  }

  /** The entity in a slot; 0 when it is free. */
  idAt(slot: number): EntityId {
    return slot < this.#capacity ? this.#id[slot]! : 0;
  }

  /** The slot of an entity that must be alive. */
  slotOf(id: EntityId): number {
    assert(this.isAlive(id), "the entity is alive");
    return entitySlot(id);
  }

  /** Enters an entity without components; its slot must be free. */
  add(id: EntityId, owner: number, tick: number): void {
    const slot = entitySlot(id);
    assert(slot > 0 && slot <= this.slotLimit, "an entity's slot lies within the world's limit");
    if (slot >= this.#capacity) this.#grow(slot + 1);
    assert(this.#id[slot] === 0, "an entity is entered into a free slot");
    this.#id[slot] = id;
    this.#epoch[slot] = 0;
    this.#zone[slot] = 0;
    if (slot > this.#maxSlot) this.#maxSlot = slot;
    this.#count += 1;
    this.#linkOwner(slot, owner);
    this.touchHeader(slot, tick);
  }

  /** Frees a slot. */
  remove(slot: number, tick: number): void {
    this.#unlinkOwner(slot);
    this.#id[slot] = 0;
    this.#words.fill(0, slot * this.wordCount, (slot + 1) * this.wordCount);
    this.#count -= 1;
    this.touchHeader(slot, tick);
  }

  /** Owner of a slot's entity, a peer id. */
  owner(slot: number): number {
    return this.#owner[slot]!;
  }

  /** Epoch (8 bits) of a slot's entity. */
  epoch(slot: number): number {
    return this.#epoch[slot]!;
  }

  /** Sets the epoch. */
  setEpoch(slot: number, epoch: number, tick: number): void {
    this.#epoch[slot] = epoch;
    this.touchHeader(slot, tick);
  }

  /** Sets the owner; the epoch stays. */
  setOwner(slot: number, owner: number, tick: number): void {
    this.#unlinkOwner(slot);
    this.#linkOwner(slot, owner);
    this.touchHeader(slot, tick);
  }

  /** Zone of a slot's entity, 0 for none; of a free slot that of its last one. Takes any slot. */
  zone(slot: number): number {
    return this.#zone[slot] ?? 0;
  }

  /** Sets the zone. No header tells of it. */
  setZone(slot: number, zone: number, tick: number): void {
    this.#zone[slot] = zone;
    this.touch(slot, tick);
  }

  /** Tick of the last change of owner, epoch or composition. */
  headerTick(slot: number): number {
    return this.#headerTick[slot]!;
  }

  /** Counts, from 0 to 2^31 - 1 and again, the changes of who is in a slot, its owner, epoch and composition. Takes any slot used so far. */
  headerStamp(slot: number): number {
    return this.#headerStamp[slot]!;
  }

  /** One 32-bit word of a slot's component set: bit `i` of word `w` is component index `32 w + i`. */
  word(slot: number, w: number): number {
    return this.#words[slot * this.wordCount + w]!;
  }

  /** Whether a slot's entity has the component with this index. */
  has(slot: number, component: number): boolean {
    const word = this.#words[slot * this.wordCount + (component >>> 5)]!;
    return (word & (1 << (component & 31))) !== 0;
  }

  /** Adds a component to a slot's set or takes it out. */
  setComponent(slot: number, component: number, present: boolean, tick: number): void {
    const at = slot * this.wordCount + (component >>> 5);
    const bit = 1 << (component & 31);
    this.#words[at] = present ? this.#words[at]! | bit : this.#words[at]! & ~bit;
    this.touchHeader(slot, tick);
  }

  /** Entities of an owner. */
  countOwned(owner: number): number {
    return this.#ownerCount[owner] ?? 0;
  }

  /** Calls `fn` with each entity of an owner; `fn` may remove or hand over the entity it is given, no other. */
  forEachOwned(owner: number, fn: (id: EntityId) => void): void {
    let slot = this.#ownerFirst[owner] ?? END;
    while (slot !== END) {
      const next = this.#ownerNext[slot]!;
      fn(this.#id[slot]!);
      slot = next;
    }
  }

  /** Records a change of owner, epoch or composition. */
  touchHeader(slot: number, tick: number): void {
    this.#headerTick[slot] = tick;
    this.#headerStamp[slot] = (this.#headerStamp[slot]! + 1) & 0x7fffffff;
    this.touch(slot, tick);
  }

  /** Records any change: the slot moves to the front of the list of changes. */
  touch(slot: number, tick: number): void {
    // Values from another end may carry older ticks; the list follows the order in which changes were made here.
    if (tick > this.#latestChange) this.#latestChange = tick;
    this.#changeTick[slot] = this.#latestChange;
    if (this.#changeFirst === slot) return;
    if (this.#isListed[slot] === 1) {
      const previous = this.#changePrevious[slot]!;
      const next = this.#changeNext[slot]!;
      this.#changeNext[previous] = next;
      if (next !== END) this.#changePrevious[next] = previous;
    }
    this.#isListed[slot] = 1;
    this.#changePrevious[slot] = END;
    this.#changeNext[slot] = this.#changeFirst;
    if (this.#changeFirst !== END) this.#changePrevious[this.#changeFirst] = slot;
    this.#changeFirst = slot;
  }

  /** Tick of the latest change of a slot, or a later one. Takes any slot used so far. */
  changeTick(slot: number): number {
    return this.#changeTick[slot]!;
  }

  /** Calls `fn` with each slot that changed at `tick` or later, latest change first. `fn` must not change the table. */
  forEachChanged(tick: number, fn: (slot: number) => void): void {
    let slot = this.#changeFirst;
    while (slot !== END && this.#changeTick[slot]! >= tick) {
      fn(slot);
      slot = this.#changeNext[slot]!;
    }
  }

  #linkOwner(slot: number, owner: number): void {
    if (owner >= this.#ownerFirst.length) {
      const capacity = grownCapacity(this.#ownerFirst.length, owner + 1, 0x10000);
      this.#ownerFirst = grown(this.#ownerFirst, capacity);
      this.#ownerCount = grown(this.#ownerCount, capacity);
    }
    const first = this.#ownerFirst[owner]!;
    this.#owner[slot] = owner;
    this.#ownerPrevious[slot] = END;
    this.#ownerNext[slot] = first;
    if (first !== END) this.#ownerPrevious[first] = slot;
    this.#ownerFirst[owner] = slot;
    this.#ownerCount[owner] = this.#ownerCount[owner]! + 1;
  }

  #unlinkOwner(slot: number): void {
    const owner = this.#owner[slot]!;
    const previous = this.#ownerPrevious[slot]!;
    const next = this.#ownerNext[slot]!;
    if (previous !== END) this.#ownerNext[previous] = next;
    else this.#ownerFirst[owner] = next;
    if (next !== END) this.#ownerPrevious[next] = previous;
    this.#ownerCount[owner] = this.#ownerCount[owner]! - 1;
  }

  #grow(needed: number): void {
    const capacity = grownCapacity(this.#capacity, needed, this.slotLimit + 1);
    this.#capacity = capacity;
    this.#id = grown(this.#id, capacity);
    this.#owner = grown(this.#owner, capacity);
    this.#epoch = grown(this.#epoch, capacity);
    this.#zone = grown(this.#zone, capacity);
    this.#headerTick = grown(this.#headerTick, capacity);
    this.#headerStamp = grown(this.#headerStamp, capacity);
    this.#words = grown(this.#words, capacity * this.wordCount);
    this.#ownerNext = grown(this.#ownerNext, capacity);
    this.#ownerPrevious = grown(this.#ownerPrevious, capacity);
    this.#changeTick = grown(this.#changeTick, capacity);
    this.#changeNext = grown(this.#changeNext, capacity);
    this.#changePrevious = grown(this.#changePrevious, capacity);
    this.#isListed = grown(this.#isListed, capacity);
  }
}
