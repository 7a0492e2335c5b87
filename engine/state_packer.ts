// What goes to the driver next: marks, spawns, removals and ends gathered until the next flush, packed into batches with the values of that
// moment, and remembered for a driver that did not live to hear of them. What game code may change was judged before.

import type { Handle, ToDriver } from "../protocol/engine_messages.ts";
import { MAX_BATCH_BYTES, MAX_COMPONENTS, MAX_ENTITIES } from "../protocol/limits.ts";
import { ALLOWED } from "../permissions/gate.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import type { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowWriter } from "../replication/row_codec.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import { quantiseValues } from "./values.ts";

/** A batch for the driver. */
export type OutBatch = Extract<ToDriver, { kind: "batch" }>;

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

/** Batches of one link. */
export class StatePacker {
  readonly #state: LinkState;
  readonly #rows: readonly Rows[];
  #unsent: EntityRecord[] = [];
  /** Removed components that no driver was told of, as `handle * MAX_COMPONENTS + component index`. */
  readonly #removes = new Set<number>();
  #despawns: Handle[] = [];
  /** Entities that are in another zone than the driver knows. */
  readonly #zones = new Set<Handle>();
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

  /** A new entity goes with the next batch, with the values that it has then. */
  addSpawn(record: EntityRecord): void {
    this.#unsent.push(record);
  }

  /** Game code has ended an entity. Call it before the entity is forgotten. */
  addDespawn(record: EntityRecord): void {
    const { handle } = record;
    if (record.isSent) this.#despawns.push(handle);
    if (record.wasSent && this.#graves.size < MAX_ENTITIES) {
      this.#graves.set(handle, { id: record.id, batch: 0 });
    }
  }

  /** Game code has taken a component away. */
  addRemove(record: EntityRecord, component: ComponentGrant): void {
    this.#state.dirty.unmark(component.index, record.slot, 0xffff_ffff);
    record.components.delete(component.index);
    // An entity that no driver ever heard of has nothing to take back.
    if (record.wasSent) {
      this.#removes.add(record.handle * MAX_COMPONENTS + component.index);
    }
  }

  /** Game code has put an entity into another zone. One that no driver was told of yet says so with its spawn. */
  addZone(record: EntityRecord): void {
    if (record.isSent) this.#zones.add(record.handle);
  }

  /** Game code has changed what it may not, behind the gate's back: the value that holds has to come back from the driver. */
  wantBack(record: EntityRecord, component: ComponentGrant): void {
    // The holder of authority is the truth itself; nobody could put it right.
    if (this.#state.isAuthority || record.id === 0) return;
    this.#wanted.add(record.handle * MAX_COMPONENTS + component.index);
  }

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
    this.#zones.clear();
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
      this.#zones.size > 0 || this.#state.dirty.mayHaveMarks;
  }

  /** Builds the next batch of at most about `MAX_BATCH_BYTES`; `undefined` when nothing is left to say. */
  pollBatch(): OutBatch | undefined {
    if (!this.hasChanges) return undefined;
    const state = this.#state;
    const spawns: Handle[] = [];
    const spawnOwners: number[] = [];
    // What was spawned in a zone is there from the first moment on.
    const zones = this.#takeZones();
    let taken = 0;
    for (const record of this.#unsent) {
      if (this.#rowBytes >= MAX_BATCH_BYTES) break;
      taken += 1;
      // It may have been despawned meanwhile, or have gone to someone else.
      if (state.ledger.get(record.handle) !== record || !state.isMine(record)) continue;
      if (!this.#spawnRows(record)) continue;
      spawns.push(record.handle);
      spawnOwners.push(record.owner);
      if (record.zone !== 0) zones.push(record.handle, record.zone);
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
      zones: Uint32Array.from(zones),
    };
    for (const handle of this.#despawns) {
      const grave = this.#graves.get(handle);
      if (grave !== undefined) grave.batch = batch.id;
    }
    this.#despawns = [];
    const isEmpty = batch.spawns.length === 0 && batch.components.length === 0 &&
      batch.removes.length === 0 && batch.despawns.length === 0 && batch.zones.length === 0;
    if (isEmpty) return undefined;
    this.#nextBatch = (this.#nextBatch + 1) >>> 0;
    state.counters.batchesOut += 1;
    return batch;
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

  /** Rows of a new entity; false, and it is rolled back, when the gate refuses it after all. */
  #spawnRows(record: EntityRecord): boolean {
    const state = this.#state;
    const present = state.grants.components.filter((component) =>
      state.world.read(record.handle, component.name) !== undefined &&
      state.writeMaskOf(record, component) !== 0
    );
    // An entity that lives in the world already is not spawned anew, whatever this peer's role may spawn by now: only the server can refuse it.
    const decision = record.id !== 0 && !state.isAuthority ? ALLOWED : state.gate.decideSpawn({
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
    const state = this.#state;
    const { ledger, dirty } = state;
    dirty.take(component.index, (slot, mask) => {
      const record = ledger.bySlot(slot);
      // Not sent yet: its spawn will carry all its values.
      if (record === undefined || !record.isSent) return true;
      if (this.#rowBytes >= MAX_BATCH_BYTES) return false;
      // Rights may have gone since the mark was made: with the entity, or with the role.
      if (state.writeMaskOf(record, component) !== 0) this.#pushRow(record, component, mask);
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
    const sendable = state.writeMaskOf(record, component);
    const wanted = isWhole ? sendable : mask & sendable;
    const found = quantiseValues(component, values, wanted, value, state.isKnown);
    if (found.badFields !== 0) {
      state.deny("component", found.rule!, { id: component.id, fields: found.badFields, handle });
      if (!isWhole) this.wantBack(record, component);
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

  /** `[handle, zone]` pairs of entities that the driver knows elsewhere. */
  #takeZones(): number[] {
    const pairs: number[] = [];
    for (const handle of this.#zones) {
      const record = this.#state.ledger.get(handle);
      if (record !== undefined) pairs.push(handle, record.zone);
    }
    this.#zones.clear();
    return pairs;
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
}
