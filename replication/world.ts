// The state of one world: entities and their component values with a short history, in typed-array columns. It knows the compiled
// grants for layouts only and decides nothing: the gate asks who may write before it calls, links ask who may read after.

import { assert } from "../protocol/assert.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { entitySlot } from "../protocol/entity_id.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { ComponentGrant, FieldGrant, Grants } from "../permissions/grants.ts";
import { EntityTable } from "./entity_table.ts";
import { grown } from "./grow.ts";
import { dequantiseField, isLaneInRange } from "./quantise.ts";
import { positionFromHistory } from "./position_history.ts";
import { SharedEncodings } from "./shared_encodings.ts";
import { HASH_START, hashValue } from "./state_hash.ts";
import { StepRows } from "./step_rows.ts";
import type { ComponentValue } from "./value.ts";
import { VersionStore } from "./version_store.ts";

const NO_ROWS = new Int32Array(0);

/** Ticks that a replaced version is kept, from the manifest's `historyMs`. */
export function historyTicksOf(grants: Grants): number {
  return Math.ceil(grants.historyMs / 1000 * grants.tickHz);
}

/**
 * Entities, owners, epochs and component values of one world.
 *
 * An entity named in a call must be alive unless the call says otherwise. `tick` is the tick that will carry the change: the one being
 * collected, not one whose datagrams are already built (`seal`). The ticks given for one component of one entity must not go back. Call
 * `expire` once a tick.
 */
export class World {
  /** The compiled grants. */
  readonly grants: Grants;
  /** What the links of this world share within a tick. */
  readonly encodings: SharedEncodings;
  /** What its links that send in step share. */
  readonly steps: StepRows = new StepRows();
  readonly #entities: EntityTable;
  readonly #stores: VersionStore[] = [];
  // By component, then by slot: row in the component's store plus one, 0 where the entity does not have it.
  readonly #rows: Int32Array[] = [];
  #sealedTick = -1;
  #latestWrite = -1;
  readonly #positions: { readonly component: number; readonly field: FieldGrant }[] = [];

  /** An empty world. */
  constructor(grants: Grants) {
    this.grants = grants;
    this.#entities = new EntityTable(grants.maxEntities, grants.components.length);
    this.encodings = new SharedEncodings(grants.components.length);
    const historyTicks = historyTicksOf(grants);
    for (const component of grants.components) {
      this.#stores.push(new VersionStore(component, historyTicks, component.fields.length));
      this.#rows.push(NO_ROWS);
      const field = component.fields[component.positionField];
      if (field !== undefined) this.#positions.push({ component: component.index, field });
    }
  }

  /** The last tick that was sealed, -1 before the first. */
  get sealedTick(): number {
    return this.#sealedTick;
  }

  /**
   * Datagrams of `tick` are built from now on: no value may be written under it any more, nor under one before. Links name versions by the
   * tick at which they were the newest ones, so that a version written later, or over one that was sent, would have the name of another.
   */
  seal(tick: number): void {
    if (tick === this.#sealedTick) return;
    assert(tick > this.#sealedTick, "ticks are sealed in their order");
    assert(
      this.#latestWrite <= tick,
      "a tick is sealed before anything is written under a later one",
    );
    this.#sealedTick = tick;
  }

  #noteWrite(tick: number): void {
    assert(tick > this.#sealedTick, "nothing is written under a tick whose datagrams are built");
    if (tick > this.#latestWrite) this.#latestWrite = tick;
  }

  /** Entities alive. */
  get entityCount(): number {
    return this.#entities.count;
  }

  /** Largest slot used so far; slots are 1..maxSlot, not all of them in use. */
  get maxSlot(): number {
    return this.#entities.maxSlot;
  }

  /** Enters an entity without components, epoch 0. Its slot must be free and within `grants.maxEntities`. */
  spawn(id: EntityId, owner: number, tick: number): void {
    this.#entities.add(id, owner, tick);
  }

  /** Removes an entity with all its values and their history. */
  despawn(id: EntityId, tick: number): void {
    const slot = this.#entities.slotOf(id);
    for (let c = 0; c < this.#rows.length; c++) {
      if (this.#entities.has(slot, c)) this.#freeRow(slot, c);
    }
    this.#entities.remove(slot, tick);
  }

  /** Whether this very entity is alive: an id of an earlier user of its slot is not. Takes any number. */
  isAlive(id: EntityId): boolean {
    return this.#entities.isAlive(id);
  }

  /** The entity in a slot, 0 when it is free. Takes any slot. */
  idAt(slot: number): EntityId {
    return this.#entities.idAt(slot);
  }

  /** Peer id of the owner. */
  owner(id: EntityId): number {
    return this.#entities.owner(this.#entities.slotOf(id));
  }

  /** Epoch of authority, 8 bits. */
  epoch(id: EntityId): number {
    return this.#entities.epoch(this.#entities.slotOf(id));
  }

  /** Gives the entity to another owner and raises the epoch. */
  setOwner(id: EntityId, owner: number, tick: number): void {
    const slot = this.#entities.slotOf(id);
    this.#entities.setOwner(slot, owner, tick);
    this.#entities.setEpoch(slot, (this.#entities.epoch(slot) + 1) & 0xff, tick);
  }

  /** Raises the epoch: owner writes sent before are void. */
  raiseEpoch(id: EntityId, tick: number): void {
    this.setEpoch(id, (this.epoch(id) + 1) & 0xff, tick);
  }

  /** Adopts owner and epoch as the holder of world authority gave them. */
  adoptHeader(id: EntityId, owner: number, epoch: number, tick: number): void {
    const slot = this.#entities.slotOf(id);
    if (this.#entities.owner(slot) !== owner) this.#entities.setOwner(slot, owner, tick);
    if (this.#entities.epoch(slot) !== epoch) this.#entities.setEpoch(slot, epoch, tick);
  }

  /** Sets the epoch. */
  setEpoch(id: EntityId, epoch: number, tick: number): void {
    this.#entities.setEpoch(this.#entities.slotOf(id), epoch, tick);
  }

  /** Zone that the entity is in, 0 for none. */
  zone(id: EntityId): number {
    return this.#entities.zone(this.#entities.slotOf(id));
  }

  /** Zone that an entity is in or, when it has ended, was in; 0 also where its slot has another one. Takes any id. */
  lastZone(id: EntityId): number {
    const slot = entitySlot(id);
    const present = this.#entities.idAt(slot);
    return present === id || present === 0 ? this.#entities.zone(slot) : 0;
  }

  /** Puts the entity into a zone, 0 for none. A new entity is in none. */
  setZone(id: EntityId, zone: number, tick: number): void {
    const slot = this.#entities.slotOf(id);
    if (this.#entities.zone(slot) !== zone) this.#entities.setZone(slot, zone, tick);
  }

  /** Tick of the last change of owner, epoch or set of components. */
  headerTick(id: EntityId): number {
    return this.#entities.headerTick(this.#entities.slotOf(id));
  }

  /** Counts the changes of who is in a slot, its owner, epoch and set of components: where it is the same, all these are. */
  headerStamp(slot: number): number {
    return this.#entities.headerStamp(slot);
  }

  /** Whether the entity has the component with this index. */
  hasComponent(id: EntityId, c: number): boolean {
    return this.#entities.has(this.#entities.slotOf(id), c);
  }

  /** 32-bit words of an entity's component set. */
  get wordCount(): number {
    return this.#entities.wordCount;
  }

  /** One word of the component set of a slot in use: bit `i` of word `w` is component index `32 w + i`. */
  componentWord(slot: number, w: number): number {
    return this.#entities.word(slot, w);
  }

  /** Number of components the entity has. */
  componentCount(id: EntityId): number {
    const slot = this.#entities.slotOf(id);
    let count = 0;
    for (let w = 0; w < this.#entities.wordCount; w++) {
      for (let word = this.#entities.word(slot, w); word !== 0; word &= word - 1) count += 1;
    }
    return count;
  }

  /** Calls `fn` with the index of each component of the entity, ascending. `fn` must not add or remove components. */
  forEachComponent(id: EntityId, fn: (c: number) => void): void {
    const slot = this.#entities.slotOf(id);
    for (let w = 0; w < this.#entities.wordCount; w++) {
      for (let word = this.#entities.word(slot, w); word !== 0; word &= word - 1) {
        fn(w * 32 + 31 - Math.clz32(word & -word));
      }
    }
  }

  /** Adds a component the entity does not have yet, with its first value. */
  addComponent(
    id: EntityId,
    c: number,
    value: ComponentValue,
    tick: number,
    time: TimelineTime,
  ): void {
    const slot = this.#entities.slotOf(id);
    assert(!this.#entities.has(slot, c), "a component is added once");
    this.#assertInRange(c, this.#component(c).allFields, value);
    this.#noteWrite(tick);
    const store = this.#stores[c]!;
    const row = store.allocateRow();
    store.put(row, tick, time, this.#component(c).allFields, value);
    let rows = this.#rows[c]!;
    if (slot >= rows.length) {
      rows = grown(rows, this.#entities.capacity);
      this.#rows[c] = rows;
    }
    rows[slot] = row + 1;
    this.#entities.setComponent(slot, c, true, tick);
  }

  /** Removes a component the entity has, with its history. */
  removeComponent(id: EntityId, c: number, tick: number): void {
    const slot = this.#entities.slotOf(id);
    assert(this.#entities.has(slot, c), "a component is removed from an entity that has it");
    this.#freeRow(slot, c);
    this.#entities.setComponent(slot, c, false, tick);
  }

  /**
   * Writes the fields in `mask`. Several writes with one tick make one version, the last one counts.
   *
   * @returns The mask of fields whose quantised value changed; 0: nothing happened, there is no new version.
   */
  write(
    id: EntityId,
    c: number,
    mask: number,
    value: ComponentValue,
    tick: number,
    time: TimelineTime,
  ): number {
    const row = this.row(id, c);
    assert(row >= 0, "a component is written to an entity that has it");
    this.#assertInRange(c, mask, value);
    const fields = this.#component(c).fields;
    this.#noteWrite(tick);
    const changed = this.#stores[c]!.update(row, fields, mask, value, tick, time);
    if (changed !== 0) this.#entities.touch(entitySlot(id), tick);
    return changed;
  }

  /** Gives the fields in `mask` the contents of `value` in all versions held of a component, as if there had never been others. */
  blank(id: EntityId, c: number, mask: number, value: ComponentValue): void {
    const row = this.row(id, c);
    if (row < 0) return;
    this.#stores[c]!.blank(row, this.#component(c).fields, mask, value);
    this.encodings.forget();
    this.steps.forget();
    this.#entities.touch(entitySlot(id), this.#entities.latestChange);
  }

  /** Reads the newest value into `out`; false when the entity does not have the component. Blobs are shared. */
  read(id: EntityId, c: number, out: ComponentValue): boolean {
    const row = this.row(id, c);
    if (row < 0) return false;
    const store = this.#stores[c]!;
    store.load(store.newest(row), out);
    return true;
  }

  /** Tick of the newest version, -1 when the entity does not have the component. */
  versionTick(id: EntityId, c: number): number {
    const row = this.row(id, c);
    if (row < 0) return -1;
    const store = this.#stores[c]!;
    return store.tick(store.newest(row));
  }

  /** Sample time of the newest version, -1 when the entity does not have the component. */
  versionTime(id: EntityId, c: number): TimelineTime {
    const row = this.row(id, c);
    if (row < 0) return -1;
    const store = this.#stores[c]!;
    return store.time(store.newest(row));
  }

  /** All versions of a component, for encoders. */
  store(c: number): VersionStore {
    return this.#stores[c]!;
  }

  /** Row of an entity in `store(c)`, -1 when it is not alive or does not have the component. Takes any id. */
  row(id: EntityId, c: number): number {
    if (!this.#entities.isAlive(id)) return -1;
    return (this.#rows[c]![entitySlot(id)] ?? 0) - 1;
  }

  /**
   * Newest position in metres into `out[0..2]`; false when the entity has none.
   *
   * The position is the position field of the first component, by index, that declares one and that the entity has.
   */
  position(id: EntityId, out: Float64Array): boolean {
    const slot = this.#entities.slotOf(id);
    for (let i = 0; i < this.#positions.length; i++) {
      const { component, field } = this.#positions[i]!;
      const row = (this.#rows[component]![slot] ?? 0) - 1;
      if (row < 0) continue;
      const store = this.#stores[component]!;
      this.#loadPosition(store, store.newest(row), field, out);
      return true;
    }
    return false;
  }

  /**
   * Position at a time on the timeline, from the history: between the two versions sampled before and after it, else that of the
   * nearest one. False when the entity has no position.
   */
  positionAt(id: EntityId, time: TimelineTime, out: Float64Array): boolean {
    const slot = this.#entities.slotOf(id);
    for (let i = 0; i < this.#positions.length; i++) {
      const { component, field } = this.#positions[i]!;
      const row = (this.#rows[component]![slot] ?? 0) - 1;
      if (row < 0) continue;
      positionFromHistory(this.#stores[component]!, row, field, time, out);
      return true;
    }
    return false;
  }

  /** Entities of an owner. Takes any peer id. */
  countOwned(owner: number): number {
    return this.#entities.countOwned(owner);
  }

  /** Calls `fn` with each entity of an owner; `fn` may despawn or hand over the entity it is given, no other. */
  forEachOwned(owner: number, fn: (id: EntityId) => void): void {
    this.#entities.forEachOwned(owner, fn);
  }

  /**
   * FNV-1a (32 bits, unsigned) of an entity's quantised state: for each component in index order its declared id, then each field's
   * lanes or length and bytes. `masks` limits it to some fields of each component; a component with mask 0 is left out.
   */
  hash(id: EntityId, masks?: (c: number) => number): number {
    let hash = HASH_START;
    for (let c = 0; c < this.#rows.length; c++) {
      const mask = masks === undefined ? this.#component(c).allFields : masks(c);
      if (mask === 0 && masks !== undefined) continue;
      hash = this.hashInto(hash, id, c, mask);
    }
    return hash >>> 0;
  }

  /** Adds the fields in `mask` of one component of an entity to a hash; nothing where the entity does not have it. */
  hashInto(hash: number, id: EntityId, c: number, mask = this.#component(c).allFields): number {
    const row = this.row(id, c);
    if (row < 0) return hash;
    const store = this.#stores[c]!;
    return hashValue(hash, this.#component(c), store, store.newest(row), mask);
  }

  /**
   * Calls `fn` with each slot that changed (value, header, zone, spawn or despawn) at `tick` or later, so that nobody scans all entities.
   * `idAt(slot)` is 0 where the change was a despawn. `fn` must not change the world.
   */
  forEachChanged(tick: number, fn: (slot: number) => void): void {
    this.#entities.forEachChanged(tick, fn);
  }

  /** Tick of the latest change of a slot, or a later one: what is older than a sealed tick has not changed since. Takes any slot used so far. */
  changeTick(slot: number): number {
    return this.#entities.changeTick(slot);
  }

  /** Latest tick that `forEachChanged` knows of; 0 before the first change. */
  get latestChange(): number {
    return this.#entities.latestChange;
  }

  /** Drops history that is too old at `tick`; the work is bounded by the components that changed lately. */
  expire(tick: number): void {
    for (const store of this.#stores) store.expire(tick);
  }

  #component(c: number): ComponentGrant {
    return this.grants.components[c]!;
  }

  /** What no receiver takes must not be held either: one such lane would cost each of them every datagram that it is in. */
  #assertInRange(c: number, mask: number, value: ComponentValue): void {
    const { fields } = this.#component(c);
    for (let i = 0; i < fields.length; i++) {
      if ((mask & (1 << i)) === 0) continue;
      const field = fields[i]!;
      for (let lane = 0; lane < field.lanes; lane++) {
        const isInRange = isLaneInRange(field, lane, value.lanes[field.laneOffset + lane]!);
        assert(isInRange, "a lane lies in its field's range");
      }
    }
  }

  #freeRow(slot: number, c: number): void {
    const rows = this.#rows[c]!;
    this.#stores[c]!.freeRow(rows[slot]! - 1);
    rows[slot] = 0;
  }

  #loadPosition(store: VersionStore, version: number, field: FieldGrant, out: Float64Array): void {
    dequantiseField(field, store.lanes, version * store.laneCount + field.laneOffset, out, 0);
  }
}
