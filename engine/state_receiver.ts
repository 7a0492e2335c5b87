// Batches of the driver on their way into the world. Every entry is judged by this engine's own tables and ledger, the whole batch is read
// before any of it is applied, and game code is told afterwards. What is applied here is never a local change.

import { DRIVER_HANDLE_BIT, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import type { ComponentRows, Handle } from "../protocol/engine_messages.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { MAX_ENTITIES } from "../protocol/limits.ts";
import { type ComponentGrant, readMaskOf } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowReader } from "../replication/row_codec.ts";
import { changedFields, createValue } from "../replication/value.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import type { StateSender } from "./state_sender.ts";
import { type FieldValue, plainValues, quantiseValues } from "./values.ts";

/** A batch of the driver. */
export type InBatch = Extract<ToEngine, { kind: "batch" }>;

/** When a change was true. */
export interface ChangeTime {
  /** Sample time on the world's timeline. */
  readonly time: TimelineTime;
  /** Server tick that the batch belongs to. */
  readonly tick: number;
}

/** What an applied batch means to game code. */
export interface ReceiverEvents {
  /** A remote entity is here, complete. */
  spawned(handle: Handle, owner: number): void;
  /** An entity is gone. */
  despawned(handle: Handle): void;
  /** Fields of a component have these values now. */
  changed(
    handle: Handle,
    component: string,
    values: Readonly<Record<string, FieldValue>>,
    at: ChangeTime,
  ): void;
  /** A component was removed. */
  removed(handle: Handle, component: string): void;
  /** A component is out of this peer's view; its last value stays. */
  hidden(handle: Handle, component: string): void;
  /** Ownership moved. */
  ownerChanged(handle: Handle, owner: number, epoch: number): void;
}

interface Row {
  readonly record: EntityRecord;
  readonly component: ComponentGrant;
  readonly mask: number;
  readonly values: Record<string, FieldValue>;
  readonly time: TimelineTime;
}

const SPAWN = "spawn";
const COMPONENT = "component";
const DESPAWN = "despawn";

/** Applies the driver's batches. */
export class StateReceiver {
  readonly #state: LinkState;
  readonly #sender: StateSender;
  readonly #events: ReceiverEvents;

  /** The sender is asked about entities that have just gone. */
  constructor(state: LinkState, sender: StateSender, events: ReceiverEvents) {
    this.#state = state;
    this.#sender = sender;
    this.#events = events;
  }

  /** Applies one batch. Entries that may not be are denied one by one; a batch whose rows do not parse is denied whole. */
  apply(batch: InBatch): void {
    const parsed = this.#parse(batch);
    if (parsed === undefined) {
      this.#state.deny(COMPONENT, Rule.Format, {});
      return;
    }
    this.#state.counters.batchesIn += 1;
    const notices: (() => void)[] = [];
    this.#applySpawns(batch, notices);
    this.#applyOwners(batch.owners, notices);
    for (const row of this.#judgeRows(parsed)) this.#applyRow(row, batch.tick, notices);
    this.#applyPairs(batch.removes, (record, c) => this.#applyRemove(record, c, notices));
    this.#applyPairs(batch.hides, (record, c) => {
      if (!record.components.has(c.index)) return;
      notices.push(() => this.#events.hidden(record.handle, c.name));
    });
    for (const handle of batch.despawns) this.#applyDespawn(handle, notices);
    for (const notice of notices) notice();
  }

  /** Takes an entity out of world and ledger, and tells game code at once. */
  drop(record: EntityRecord): void {
    this.#sender.forget(record);
    this.#state.world.destroy(record.handle);
    this.#events.despawned(record.handle);
  }

  // ---- reading

  /** Reads all rows without judging them; `undefined` when any component's rows do not parse. */
  #parse(batch: InBatch): ParsedRow[] | undefined {
    const state = this.#state;
    const parsed: ParsedRow[] = [];
    const spawned = new Set(batch.spawns);
    const isKnown = (handle: Handle) =>
      handle !== 0 && (state.isKnown(handle) || spawned.has(handle)) ? handle : 0;
    for (const rows of batch.components) {
      const component = state.componentById(rows.componentId);
      if (component === undefined) {
        state.deny(COMPONENT, Rule.Undeclared, {
          id: rows.componentId,
          fields: rows.masks[0]!,
          handle: rows.handles[0]!,
          peer: SERVER_PEER,
        });
        continue;
      }
      if (!this.#parseRows(component, rows, isKnown, parsed)) return undefined;
    }
    return parsed;
  }

  #parseRows(
    component: ComponentGrant,
    rows: ComponentRows,
    isKnown: (handle: Handle) => number,
    out: ParsedRow[],
  ): boolean {
    const reader = new RowReader(component, rows.rows, rows.handles.length);
    for (let i = 0; i < rows.handles.length; i++) {
      const value = createValue(component);
      const mask = rows.masks[i]! & component.allFields;
      const result = reader.next(mask, value, isKnown);
      if (result.status !== "row") return false;
      out.push({
        handle: rows.handles[i]!,
        component,
        // A bit beyond the last field makes the row a lie about its own shape.
        badFields: result.badFields | (rows.masks[i]! & ~component.allFields),
        mask,
        value,
        time: rows.times[i]!,
      });
    }
    return reader.next(0, this.#state.scratch(component), isKnown).status === "end";
  }

  // ---- judging and applying

  #applySpawns(batch: InBatch, notices: (() => void)[]): void {
    const state = this.#state;
    for (let i = 0; i < batch.spawns.length; i++) {
      const handle = batch.spawns[i]!;
      const id = batch.spawnIds[i]!;
      const owner = batch.spawnOwners[i]!;
      const record = state.ledger.get(handle);
      if (record !== undefined) {
        this.#confirm(record, id, owner, notices);
        continue;
      }
      const rule = this.#spawnRefusal(batch, handle, id, owner);
      if (rule !== undefined) {
        if (this.#sender.isGrave(handle)) state.counters.lateEntries += 1;
        else state.deny(SPAWN, rule, { handle, peer: owner });
        continue;
      }
      const fresh = state.ledger.add(handle, owner);
      state.ledger.name(fresh, id);
      fresh.isSent = true;
      fresh.wasSent = true;
      state.world.create(handle);
      notices.push(() => this.#events.spawned(handle, owner));
    }
  }

  /** An entity of before the present driver is still there: same handle, same id. */
  #confirm(record: EntityRecord, id: number, owner: number, notices: (() => void)[]): void {
    const state = this.#state;
    if (record.id !== id) {
      state.deny(SPAWN, Rule.EntityUnknown, { handle: record.handle, peer: owner });
      return;
    }
    record.isConfirmed = true;
    record.isSent = true;
    if (owner !== record.owner) this.#applyOwner(record, owner, 0, notices);
    if (!state.isOwn(record) || state.isMine(record)) return;
    // Ours to write though not ours to spawn: what game code set meanwhile goes out now.
    for (const component of state.grants.components) {
      if (state.gate.writeMask(component.index, state.roleIndex, true, "out") === 0) continue;
      if (state.world.read(record.handle, component.name) === undefined) continue;
      state.dirty.mark(component.index, record.slot, component.allFields);
    }
  }

  #spawnRefusal(batch: InBatch, handle: Handle, id: number, owner: number): Rule | undefined {
    const state = this.#state;
    if (handle < DRIVER_HANDLE_BIT || state.ledger.byId(id) !== undefined) {
      return Rule.EntityUnknown;
    }
    if (state.ledger.size >= Math.min(MAX_ENTITIES, state.grants.maxEntities)) {
      return Rule.SpawnCount;
    }
    if (!state.isAuthority) return undefined;
    // To the holder of authority the driver brings only what peers spawn, and only what they may spawn.
    if (owner === SERVER_PEER) return Rule.Authority;
    const components: number[] = [];
    for (const rows of batch.components) {
      const component = state.componentById(rows.componentId);
      if (component !== undefined && rows.handles.includes(handle)) {
        components.push(component.index);
      }
    }
    const decision = state.gate.decideSpawn({
      components,
      roleIndex: state.roleOf(owner),
      ownedCount: state.countOwned(owner),
      ownedWith: (component) => state.countOwnedWith(owner, component),
      direction: "in",
    });
    return decision.allowed ? undefined : decision.rule;
  }

  #applyOwners(triples: Uint32Array, notices: (() => void)[]): void {
    const state = this.#state;
    for (let i = 0; i + 2 < triples.length; i += 3) {
      const record = this.#entity(triples[i]!);
      if (record === undefined) continue;
      const owner = triples[i + 1]!;
      // The holder of authority moves ownership itself: a driver can only repeat that, or give an entity back.
      if (state.isAuthority && owner !== record.owner && owner !== SERVER_PEER) {
        state.deny(COMPONENT, Rule.NotOwner, { handle: record.handle, peer: owner });
        continue;
      }
      this.#applyOwner(record, owner, triples[i + 2]!, notices);
    }
  }

  #applyOwner(record: EntityRecord, owner: number, epoch: number, notices: (() => void)[]): void {
    if (owner !== record.owner) {
      record.owner = owner;
      if (!this.#state.isAuthority) this.#state.dirty.unmarkEntity(record.slot);
    }
    notices.push(() => this.#events.ownerChanged(record.handle, owner, epoch));
  }

  /** The rows that may be applied, cut to the fields that may be. */
  #judgeRows(parsed: readonly ParsedRow[]): Row[] {
    const rows: Row[] = [];
    for (const row of parsed) {
      const { handle, component, badFields } = row;
      const record = this.#entity(handle);
      if (record === undefined) continue;
      const who = this.#state.isAuthority ? record.owner : SERVER_PEER;
      if (badFields !== 0) {
        const fields = badFields & component.allFields;
        this.#state.deny(COMPONENT, Rule.Range, { id: component.id, fields, handle, peer: who });
        continue;
      }
      const mask = this.#allowedFields(record, row, who);
      if (mask === 0) continue;
      const values = plainValues(component, row.value, mask);
      rows.push({ record, component, mask, values, time: row.time });
    }
    return rows;
  }

  #allowedFields(record: EntityRecord, row: ParsedRow, who: number): number {
    const state = this.#state;
    const { component, mask, handle } = row;
    const isNew = !record.components.has(component.index);
    if (!state.isAuthority) {
      const read = readMaskOf(component, state.roleIndex, state.isOwn(record));
      const refused = mask & ~(read & component.hostReceiveMask);
      if (refused !== 0) {
        const rule = (refused & ~read) !== 0 ? Rule.Role : Rule.Host;
        state.deny(COMPONENT, rule, { id: component.id, fields: refused, handle, peer: who });
      }
      return mask & ~refused;
    }
    const roleIndex = state.roleOf(record.owner);
    const isOwner = record.owner !== SERVER_PEER;
    const allowed = isOwner ? state.gate.writeMask(component.index, roleIndex, true, "in") : 0;
    const refused = mask & ~allowed;
    // The driver sends whole values. A field that its owner may not write is no offence while it is as this engine has it.
    const forged = allowed === 0 && isNew ? refused : this.#differing(record, row, refused);
    if (forged !== 0) {
      const decision = state.gate.decideWrite({
        component: component.index,
        mask: forged,
        roleIndex: isOwner ? roleIndex : state.grants.defaultRole,
        isOwner,
        direction: "in",
      });
      const rule = decision.allowed ? Rule.NotOwner : decision.rule;
      state.deny(COMPONENT, rule, { id: component.id, fields: forged, handle, peer: who });
      return 0;
    }
    if (isNew && record.isConfirmed && (mask & allowed) !== 0) {
      const add = state.gate.decideChange({
        component: component.index,
        op: "add",
        roleIndex,
        isOwner,
        ownedWith: (index) => state.countOwnedWith(record.owner, index, record),
        direction: "in",
      });
      if (!add.allowed) {
        state.deny(COMPONENT, add.rule, { id: component.id, fields: mask, handle, peer: who });
        return 0;
      }
    }
    return mask & allowed;
  }

  /** Fields of a row that differ from what the world holds. Of a component that is new here they are just not taken. */
  #differing(record: EntityRecord, row: ParsedRow, mask: number): number {
    if (mask === 0) return 0;
    const { component, value } = row;
    const values = this.#state.world.read(record.handle, component.name);
    if (values === undefined) return 0;
    const held = this.#state.scratch(component);
    setNeutral(component, held);
    quantiseValues(component, values, mask, held, this.#state.isKnown);
    return changedFields(component, held, value, mask);
  }

  #applyRow(row: Row, tick: number, notices: (() => void)[]): void {
    const state = this.#state;
    const { record, component, mask, time } = row;
    let { values } = row;
    if (state.world.read(record.handle, component.name) === undefined) {
      const neutral = state.scratch(component);
      setNeutral(component, neutral);
      values = { ...plainValues(component, neutral, component.allFields), ...values };
    }
    record.components.add(component.index);
    // The remote value takes the place of a local one that has not left: sending that back would be an echo.
    state.dirty.unmark(component.index, record.slot, mask);
    state.world.write(record.handle, component.name, values);
    state.counters.rowsIn += 1;
    notices.push(() =>
      this.#events.changed(record.handle, component.name, row.values, { time, tick })
    );
  }

  #applyRemove(record: EntityRecord, component: ComponentGrant, notices: (() => void)[]): void {
    const state = this.#state;
    const { handle } = record;
    if (state.isAuthority) {
      const decision = state.gate.decideChange({
        component: component.index,
        op: "remove",
        roleIndex: state.roleOf(record.owner),
        isOwner: true,
        ownedWith: () => 0,
        direction: "in",
      });
      const rule = record.owner === SERVER_PEER
        ? Rule.NotOwner
        : decision.allowed
        ? undefined
        : decision.rule;
      if (rule !== undefined) {
        state.deny(COMPONENT, rule, { id: component.id, handle, peer: record.owner });
        return;
      }
    }
    record.components.delete(component.index);
    state.dirty.unmark(component.index, record.slot, 0xffff_ffff);
    state.world.remove(handle, component.name);
    notices.push(() => this.#events.removed(handle, component.name));
  }

  #applyDespawn(handle: Handle, notices: (() => void)[]): void {
    const state = this.#state;
    const record = state.ledger.get(handle);
    if (record === undefined) {
      state.counters.lateEntries += 1;
      return;
    }
    if (state.isAuthority && record.owner === SERVER_PEER) {
      state.deny(DESPAWN, Rule.NotOwner, { handle });
      return;
    }
    this.#sender.forget(record);
    state.world.destroy(handle);
    notices.push(() => this.#events.despawned(handle));
  }

  #applyPairs(
    pairs: Uint32Array,
    apply: (record: EntityRecord, component: ComponentGrant) => void,
  ): void {
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const record = this.#entity(pairs[i]!);
      if (record === undefined) continue;
      const component = this.#state.componentById(pairs[i + 1]!);
      if (component === undefined) {
        this.#state.deny(COMPONENT, Rule.Undeclared, { id: pairs[i + 1]!, handle: pairs[i]! });
      } else apply(record, component);
    }
  }

  /** The entity of a handle; one that was never announced is a forgery, one that has just gone is late. */
  #entity(handle: Handle): EntityRecord | undefined {
    const record = this.#state.ledger.get(handle);
    if (record === undefined) {
      if (this.#sender.isGrave(handle)) this.#state.counters.lateEntries += 1;
      else this.#state.deny(COMPONENT, Rule.EntityUnknown, { handle, peer: SERVER_PEER });
    }
    return record;
  }
}

interface ParsedRow {
  readonly handle: Handle;
  readonly component: ComponentGrant;
  readonly badFields: number;
  readonly mask: number;
  readonly value: ReturnType<typeof createValue>;
  readonly time: TimelineTime;
}
