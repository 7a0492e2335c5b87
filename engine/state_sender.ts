// The engine's own changes on their way out: what game code spawns, sets, removes and despawns passes the gate, becomes marks in the dirty
// set, and goes to the driver as one batch. It neither queues values nor knows whether a driver lives.

import type { Handle, ToDriver } from "../protocol/engine_messages.ts";
import { MAX_BATCH_BYTES, MAX_COMPONENTS, MAX_ENTITIES } from "../protocol/limits.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowWriter } from "../replication/row_codec.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import { type ComponentValues, maskOfValues, plainValues, quantiseValues } from "./values.ts";

/** A batch for the driver. */
export type OutBatch = Extract<ToDriver, { kind: "batch" }>;

/** Components of a new entity, by declared name. */
export interface Components {
  /** Values by component name. */
  readonly [component: string]: ComponentValues;
}

interface Rows {
  readonly writer: RowWriter;
  readonly handles: Handle[];
  readonly masks: number[];
}

interface Grave {
  /** Network id, 0 while it had none. */
  readonly id: number;
  /** The batch that told the driver; 0 before there was one. */
  batch: number;
}

const NO_TIMES = new Float64Array(0);
/** Bytes of the handle and the mask beside each row. */
const WORDS_PER_ROW = 8;
const identity = (handle: number) => handle;

/** Local changes of one link. */
export class StateSender {
  readonly #state: LinkState;
  readonly #rows: readonly Rows[];
  #unsent: EntityRecord[] = [];
  /** Removed components that no driver was told of, as `handle * MAX_COMPONENTS + component index`. */
  readonly #removes = new Set<number>();
  #despawns: Handle[] = [];
  /** Components whose values the driver shall send again, as `#removes`. */
  readonly #wanted = new Set<number>();
  #rowBytes = 0;
  /** Entities that game code despawned, by handle, until a driver has surely taken that up. */
  readonly #graves = new Map<Handle, Grave>();
  readonly #onRolledBack: (record: EntityRecord, rule: Rule) => void;
  #nextBatch = 1;

  /** @param onRolledBack Told of spawns that the gate refused only when they were to be sent. */
  constructor(state: LinkState, onRolledBack: (record: EntityRecord, rule: Rule) => void) {
    this.#state = state;
    this.#onRolledBack = onRolledBack;
    this.#rows = state.grants.components.map((component) => ({
      writer: new RowWriter(component),
      handles: [],
      masks: [],
    }));
  }

  /** Makes an entity in the world and the ledger; 0, and nothing is made, when the gate refuses it. */
  spawn(components: Components, owner: number | undefined): Handle {
    const state = this.#state;
    const indices: number[] = [];
    const deny = (rule: Rule, id = 0, fields = 0) => {
      state.deny("spawn", rule, { id, fields });
      return 0;
    };
    if (owner !== undefined && owner !== state.peer && !state.isAuthority) return deny(Rule.Role);
    if (state.ledger.size >= Math.min(MAX_ENTITIES, state.grants.maxEntities)) {
      return deny(Rule.SpawnCount);
    }
    for (const [name, values] of Object.entries(components)) {
      const component = state.componentByName(name);
      if (component === undefined) return deny(Rule.Undeclared);
      const found = this.#check(component, values, true);
      if (found !== undefined) return deny(found.rule, component.id, found.fields);
      indices.push(component.index);
    }
    const decision = state.gate.decideSpawn({
      components: indices,
      roleIndex: state.roleIndex,
      ownedCount: state.countOwned(state.peer),
      ownedWith: (component) => state.countOwnedWith(state.peer, component),
      direction: "out",
    });
    if (!decision.allowed) return deny(decision.rule);
    const handle = state.ledger.allotHandle();
    const record = state.ledger.add(handle, owner ?? state.peer);
    state.world.create(handle);
    for (const index of indices) {
      const component = state.grants.components[index]!;
      this.#writeWhole(handle, component, components[component.name]!);
    }
    this.#unsent.push(record);
    return handle;
  }

  /** Takes an entity out of the world; refused for entities of others, but not to the world's authority. */
  despawn(handle: Handle): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    if (record === undefined) return state.deny("despawn", Rule.EntityUnknown, { handle });
    const isOwner = state.isOwn(record);
    const decision = state.gate.decideDespawn({ roleIndex: state.roleIndex, isOwner });
    if (!decision.allowed) return state.deny("despawn", decision.rule, { handle });
    if (record.isSent) this.#despawns.push(handle);
    if (record.wasSent && this.#graves.size < MAX_ENTITIES) {
      this.#graves.set(handle, { id: record.id, batch: 0 });
    }
    this.forget(record);
    state.world.destroy(handle);
    return true;
  }

  /** Sets fields of a component: all of them, or none and false when the gate or a range refuses one. */
  set(handle: Handle, name: string, values: ComponentValues): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    const component = state.componentByName(name);
    const deny = (rule: Rule, fields = 0) =>
      state.deny("component", rule, { id: component?.id ?? 0, fields, handle });
    if (component === undefined) return deny(Rule.Undeclared);
    if (record === undefined) return deny(Rule.EntityUnknown);
    const isNew = state.world.read(handle, name) === undefined;
    const refused = this.#refusal(record, component, maskOfValues(component, values), isNew);
    if (refused !== undefined) return deny(refused.rule, refused.fields);
    const found = this.#check(component, values, false);
    if (found !== undefined) return deny(found.rule, found.fields);
    if (isNew) this.#writeWhole(handle, component, values);
    else state.world.write(handle, name, values);
    state.dirty.mark(component.index, record.slot, maskOfValues(component, values));
    return true;
  }

  /** Takes a component away from an entity; refused where the role may not. */
  remove(handle: Handle, name: string): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    const component = state.componentByName(name);
    const facts = { id: component?.id ?? 0, handle };
    if (component === undefined) return state.deny("component", Rule.Undeclared, facts);
    if (record === undefined) return state.deny("component", Rule.EntityUnknown, facts);
    if (state.world.read(handle, name) === undefined) return false;
    if (!this.#removeFromNetwork(record, component)) return false;
    state.world.remove(handle, name);
    return true;
  }

  /** Takes up what game code changed in its world directly. Call it once a tick, driver or not. */
  collectChanges(): void {
    this.#state.world.takeChanges(this.#visitor);
  }

  readonly #visitor = {
    changed: (handle: Handle, name: string, fields: readonly string[]): void => {
      const state = this.#state;
      const record = state.ledger.get(handle);
      const component = state.componentByName(name);
      // Entities of this engine alone and components that the manifest does not name stay here, silently.
      if (record === undefined || component === undefined) return;
      let mask = 0;
      for (const field of component.fields) {
        if (fields.includes(field.name)) mask |= 1 << field.index;
      }
      const isNew = !record.components.has(component.index);
      const refused = this.#refusal(record, component, mask, isNew && record.isSent);
      if (refused !== undefined) {
        state.deny("component", refused.rule, { id: component.id, fields: refused.fields, handle });
        if (isNew) return;
        this.#wantBack(record, component);
        mask &= this.#writeMask(record, component);
      }
      state.dirty.mark(component.index, record.slot, mask);
    },
    removed: (handle: Handle, name: string): void => {
      const record = this.#state.ledger.get(handle);
      const component = this.#state.componentByName(name);
      if (record === undefined || component === undefined) return;
      this.#removeFromNetwork(record, component);
    },
  };

  /** Forgets an entity: it is gone, whoever ended it. The world is the caller's to tell. */
  forget(record: EntityRecord): void {
    this.#state.dirty.unmarkEntity(record.slot);
    this.#state.ledger.remove(record);
  }

  /** The driver knows nothing of this engine's entities: they go out again, whole, with the next batch. */
  resync(): void {
    const state = this.#state;
    this.#unsent = [];
    this.#despawns = [...this.#graves.keys()];
    state.dirty.clear();
    for (const record of state.ledger.records()) {
      if (!state.isMine(record)) continue;
      record.isSent = false;
      record.components.clear();
      this.#unsent.push(record);
    }
  }

  /** The driver is gone, or has left the world: what it was told counts no more. */
  handleLeft(): void {
    for (const record of this.#state.ledger.records()) {
      record.isSent = false;
      record.isConfirmed = this.#state.isMine(record);
      record.components.clear();
    }
    for (const grave of this.#graves.values()) grave.batch = 0;
    this.#despawns = [];
  }

  /** The driver has taken up the batch `id`: what it despawned need not be said again. */
  handleStamped(id: number): void {
    for (const [handle, grave] of this.#graves) {
      if (grave.batch !== 0 && grave.batch <= id) this.#graves.delete(handle);
    }
  }

  /** Whether game code despawned this entity and a driver may not have taken that up. */
  isGrave(handle: Handle): boolean {
    return this.#graves.has(handle);
  }

  /** Handle and network id of each despawned entity that a next driver has to hear of, for the table in welcome. */
  *graves(): Generator<readonly [Handle, number]> {
    for (const [handle, { id }] of this.#graves) yield [handle, id];
  }

  /** Whether a batch would hold anything. */
  get hasChanges(): boolean {
    return this.#unsent.length > 0 || this.#removes.size > 0 || this.#despawns.length > 0 ||
      this.#state.dirty.mayHaveMarks;
  }

  /** Builds the next batch of at most about `MAX_BATCH_BYTES`; `undefined` when nothing is left to say. */
  pollBatch(): OutBatch | undefined {
    if (!this.hasChanges) return undefined;
    const state = this.#state;
    const spawns: Handle[] = [];
    const spawnOwners: number[] = [];
    let taken = 0;
    for (const record of this.#unsent) {
      if (this.#rowBytes >= MAX_BATCH_BYTES) break;
      taken += 1;
      // It may have been despawned meanwhile, or have gone to someone else.
      if (state.ledger.get(record.handle) !== record || !state.isMine(record)) continue;
      if (!this.#spawnRows(record)) continue;
      spawns.push(record.handle);
      spawnOwners.push(record.owner);
      record.isSent = true;
      record.wasSent = true;
    }
    this.#unsent.splice(0, taken);
    for (const component of state.grants.components) this.#dirtyRows(component);
    const batch: OutBatch = {
      kind: "batch",
      id: this.#nextBatch,
      spawns: Uint32Array.from(spawns),
      spawnOwners: Uint32Array.from(spawnOwners),
      components: this.#finishRows(),
      removes: Uint32Array.from(this.#takeRemoves()),
      despawns: Uint32Array.from(this.#despawns),
    };
    for (const handle of this.#despawns) {
      const grave = this.#graves.get(handle);
      if (grave !== undefined) grave.batch = batch.id;
    }
    this.#despawns = [];
    const isEmpty = batch.spawns.length === 0 && batch.components.length === 0 &&
      batch.removes.length === 0 && batch.despawns.length === 0;
    if (isEmpty) return undefined;
    this.#nextBatch = (this.#nextBatch + 1) >>> 0;
    state.counters.batchesOut += 1;
    return batch;
  }

  /** Rows of a new entity; false, and it is rolled back, when the gate refuses it after all. */
  #spawnRows(record: EntityRecord): boolean {
    const state = this.#state;
    const present = state.grants.components.filter((component) =>
      state.world.read(record.handle, component.name) !== undefined &&
      this.#writeMask(record, component) !== 0
    );
    const decision = state.gate.decideSpawn({
      components: present.map((component) => component.index),
      roleIndex: state.roleIndex,
      ownedCount: state.countOwned(state.peer, record),
      ownedWith: (component) => state.countOwnedWith(state.peer, component, record),
      direction: "out",
    });
    if (!decision.allowed) {
      state.deny("spawn", decision.rule, { handle: record.handle });
      this.forget(record);
      state.world.destroy(record.handle);
      this.#onRolledBack(record, decision.rule);
      return false;
    }
    for (const component of present) {
      if (this.#rowBytes < MAX_BATCH_BYTES) {
        state.dirty.unmark(component.index, record.slot, 0xffff_ffff);
        this.#pushRow(record, component, component.allFields);
      } else state.dirty.mark(component.index, record.slot, component.allFields);
    }
    return true;
  }

  #dirtyRows(component: ComponentGrant): void {
    const { ledger, dirty } = this.#state;
    dirty.take(component.index, (slot, mask) => {
      const record = ledger.bySlot(slot);
      // Not sent yet: its spawn will carry all its values.
      if (record === undefined || !record.isSent) return true;
      if (this.#rowBytes >= MAX_BATCH_BYTES) return false;
      // Rights may have gone since the mark was made: with the entity, or with the role.
      if (this.#writeMask(record, component) !== 0) this.#pushRow(record, component, mask);
      return true;
    });
  }

  /** Packs the present value; fields that are not fit to leave are denied and left out. */
  #pushRow(record: EntityRecord, component: ComponentGrant, mask: number): void {
    const state = this.#state;
    const { handle } = record;
    const values = state.world.read(handle, component.name);
    if (values === undefined) return;
    const isWhole = !record.components.has(component.index);
    const value = state.scratch(component);
    // A component that is new to the driver goes whole; what the world does not say is neutral.
    if (isWhole) setNeutral(component, value);
    const sendable = this.#writeMask(record, component);
    const wanted = isWhole ? sendable : mask & sendable;
    const found = quantiseValues(component, values, wanted, value, state.isKnown);
    if (found.badFields !== 0) {
      state.deny("component", found.rule!, { id: component.id, fields: found.badFields, handle });
      if (!isWhole) this.#wantBack(record, component);
    }
    const sent = isWhole ? sendable : found.mask;
    if (sent === 0) return;
    const rows = this.#rows[component.index]!;
    const before = rows.writer.byteLength;
    rows.writer.push(sent, value, identity);
    this.#rowBytes += rows.writer.byteLength - before + WORDS_PER_ROW;
    rows.handles.push(handle);
    rows.masks.push(sent);
    record.components.add(component.index);
    state.counters.rowsOut += 1;
  }

  /** Game code has changed what it may not, behind the gate's back: the value that holds has to come back from the driver. */
  #wantBack(record: EntityRecord, component: ComponentGrant): void {
    // The holder of authority is the truth itself; nobody could put it right.
    if (this.#state.isAuthority || record.id === 0) return;
    this.#wanted.add(record.handle * MAX_COMPONENTS + component.index);
  }

  /** `[handle, componentId]` pairs whose values the driver shall send again; asked for once. */
  takeWanted(): Uint32Array {
    const pairs: number[] = [];
    for (const key of this.#wanted) {
      const component = this.#state.grants.components[key % MAX_COMPONENTS]!;
      pairs.push(Math.floor(key / MAX_COMPONENTS), component.id);
    }
    this.#wanted.clear();
    return Uint32Array.from(pairs);
  }

  #finishRows(): OutBatch["components"] {
    const components: OutBatch["components"][number][] = [];
    for (const [index, { writer, handles, masks }] of this.#rows.entries()) {
      if (handles.length === 0) continue;
      components.push({
        componentId: this.#state.grants.components[index]!.id,
        handles: Uint32Array.from(handles),
        masks: Uint32Array.from(masks),
        rows: writer.finish(),
        times: NO_TIMES,
      });
      writer.clear();
      handles.length = 0;
      masks.length = 0;
    }
    this.#rowBytes = 0;
    return components;
  }

  #removeFromNetwork(record: EntityRecord, component: ComponentGrant): boolean {
    const state = this.#state;
    const { handle } = record;
    const decision = state.gate.decideChange({
      component: component.index,
      op: "remove",
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      ownedWith: () => 0,
      direction: "out",
    });
    if (!decision.allowed) {
      return state.deny("component", decision.rule, { id: component.id, handle });
    }
    state.dirty.unmark(component.index, record.slot, 0xffff_ffff);
    record.components.delete(component.index);
    // An entity that no driver ever heard of has nothing to take back.
    if (record.wasSent) {
      this.#removes.add(handle * MAX_COMPONENTS + component.index);
    }
    return true;
  }

  /** Pairs of what was removed and not set again since: that went out as a new value already. */
  #takeRemoves(): number[] {
    const pairs: number[] = [];
    for (const key of this.#removes) {
      const record = this.#state.ledger.get(Math.floor(key / MAX_COMPONENTS));
      const component = this.#state.grants.components[key % MAX_COMPONENTS]!;
      if (record !== undefined && !record.components.has(component.index)) {
        pairs.push(record.handle, component.id);
      }
    }
    this.#removes.clear();
    return pairs;
  }

  #writeMask(record: EntityRecord, component: ComponentGrant): number {
    const { gate, roleIndex } = this.#state;
    return gate.writeMask(component.index, roleIndex, this.#state.isOwn(record), "out");
  }

  /** Why game code may not write these fields, or add this component; `undefined` when it may. */
  #refusal(
    record: EntityRecord,
    component: ComponentGrant,
    mask: number,
    isNew: boolean,
  ): { readonly rule: Rule; readonly fields: number } | undefined {
    const state = this.#state;
    const write = state.gate.decideWrite({
      component: component.index,
      mask,
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      direction: "out",
    });
    if (!write.allowed) return write;
    if (!isNew) return undefined;
    const add = state.gate.decideChange({
      component: component.index,
      op: "add",
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      ownedWith: (index) => state.countOwnedWith(state.peer, index, record),
      direction: "out",
    });
    return add.allowed ? undefined : add;
  }

  /** What is wrong with values themselves; with `isSpawn` also fields this role may not write on its own entities. */
  #check(
    component: ComponentGrant,
    values: ComponentValues,
    isSpawn: boolean,
  ): { readonly rule: Rule; readonly fields: number } | undefined {
    const state = this.#state;
    const scratch = state.scratch(component);
    const found = quantiseValues(component, values, component.allFields, scratch, state.isKnown);
    if (found.rule !== undefined) return { rule: found.rule, fields: found.badFields };
    if (!isSpawn) return undefined;
    const write = state.gate.decideWrite({
      component: component.index,
      mask: found.mask,
      roleIndex: state.roleIndex,
      isOwner: true,
      direction: "out",
    });
    return write.allowed ? undefined : write;
  }

  /** A new component gets a neutral value for every field that is not given, here as at every other peer. */
  #writeWhole(handle: Handle, component: ComponentGrant, values: ComponentValues): void {
    const value = this.#state.scratch(component);
    setNeutral(component, value);
    const neutral = plainValues(component, value, component.allFields);
    this.#state.world.write(handle, component.name, { ...neutral, ...values });
  }
}
