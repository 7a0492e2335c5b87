// Batches of the driver on their way into the world. Every entry is judged by this engine's own tables and ledger, the whole batch is read
// before any of it is applied, and game code is told afterwards. What is applied here is never a local change.

import { SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import type { ComponentRows, Handle } from "../protocol/engine_messages.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowReader } from "../replication/row_codec.ts";
import { createValue } from "../replication/value.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import { SpawnCounts } from "./spawn_counts.ts";
import { SpawnJudge } from "./spawn_judge.ts";
import type { RevokedFields } from "./revoked_fields.ts";
import { type ParsedRow, type Row, RowJudge } from "./row_judge.ts";
import type { StatePacker } from "./state_packer.ts";
import { type FieldValue, plainValues } from "./values.ts";

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

const SPAWN = "spawn";
const COMPONENT = "component";
const DESPAWN = "despawn";

/** Applies the driver's batches. */
export class StateReceiver {
  readonly #state: LinkState;
  readonly #packer: StatePacker;
  readonly #revoked: RevokedFields;
  readonly #events: ReceiverEvents;
  readonly #judge: RowJudge;
  readonly #spawns: SpawnJudge;

  /** The packer is asked about entities that have just gone; `revoked` erases what a former owner may not know. */
  constructor(
    state: LinkState,
    packer: StatePacker,
    revoked: RevokedFields,
    events: ReceiverEvents,
  ) {
    this.#state = state;
    this.#packer = packer;
    this.#revoked = revoked;
    this.#events = events;
    this.#judge = new RowJudge(state);
    this.#spawns = new SpawnJudge(state);
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
    const counts = new SpawnCounts(this.#state, batch.components);
    this.#applySpawns(batch, counts, notices);
    this.#applyZones(batch.zones);
    this.#applyOwners(batch.owners, notices);
    // One after the other: what a row adds counts when the next one is judged.
    for (const one of parsed) {
      const record = this.#entity(one.handle);
      this.#nullUnknown(one);
      const row = record && this.#judge.judge(record, one, counts);
      if (row !== undefined) this.#applyRow(row, batch.tick, notices);
    }
    this.#applyPairs(batch.removes, (record, c) => this.#applyRemove(record, c, notices));
    this.#applyPairs(batch.hides, (record, c) => {
      if (!record.components.has(c.index)) return;
      // Nothing is out of the view of the world's authority.
      if (this.#state.isAuthority) {
        this.#state.deny(COMPONENT, Rule.Direction, { id: c.id, handle: record.handle });
        return;
      }
      notices.push(() => this.#events.hidden(record.handle, c.name));
    });
    for (const handle of batch.despawns) this.#applyDespawn(handle, notices);
    this.#confirmOwners(batch.owners);
    for (const notice of notices) notice();
  }

  /** Takes an entity out of world and ledger, and tells game code at once. */
  drop(record: EntityRecord): void {
    this.#packer.forget(record);
    this.#state.world.destroy(record.handle);
    this.#events.despawned(record.handle);
  }

  /** Does so with all that a peer owns. */
  dropOwned(peer: number): void {
    for (const record of [...this.#state.ledger.records()]) {
      if (record.owner === peer) this.drop(record);
    }
  }

  // ---- reading

  /** Reads all rows without judging them; `undefined` when any component's rows do not parse. */
  #parse(batch: InBatch): ParsedRow[] | undefined {
    const state = this.#state;
    const parsed: ParsedRow[] = [];
    // Which of them are here is asked once the batch's own spawns were judged.
    const isKnown = (handle: Handle) => handle;
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

  #applySpawns(batch: InBatch, counts: SpawnCounts, notices: (() => void)[]): void {
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
      const rule = this.#spawns.refusalOf(handle, id, owner, counts);
      if (rule !== undefined) {
        if (this.#packer.isGrave(handle)) state.counters.lateEntries += 1;
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
    // Where this engine's own are, it says itself.
    if (!state.isMine(record)) record.zone = 0;
    if (owner !== record.owner && this.#mayOwn(record, owner)) {
      this.#applyOwner(record, owner, 0, notices);
    }
    if (!state.isOwn(record) || state.isMine(record)) return;
    // Ours to write though not ours to spawn: what game code set meanwhile goes out now.
    for (const component of state.grants.components) {
      if (state.writeMaskOf(record, component) === 0) continue;
      if (state.world.read(record.handle, component.name) === undefined) continue;
      state.dirty.mark(component.index, record.slot, component.allFields);
    }
  }

  #applyOwners(triples: Uint32Array, notices: (() => void)[]): void {
    for (let i = 0; i + 2 < triples.length; i += 3) {
      const record = this.#entity(triples[i]!);
      if (record === undefined) continue;
      const owner = triples[i + 1]!;
      if (this.#isOvertaken(record, owner)) continue;
      if (this.#mayOwn(record, owner)) this.#applyOwner(record, owner, triples[i + 2]!, notices);
    }
  }

  /** Where entities of peers began: where those stood who spawned them. */
  #applyZones(pairs: Uint32Array): void {
    const state = this.#state;
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const [handle, id] = [pairs[i]!, pairs[i + 1]!];
      const record = this.#entity(handle);
      if (record === undefined) continue;
      const rule = !state.isAuthority
        ? Rule.Direction
        : state.isMine(record)
        ? Rule.NotOwner
        : id !== 0 && !state.grants.zones.some((one) => one.id === id)
        ? Rule.Undeclared
        : undefined;
      if (rule === undefined) record.zone = id;
      else state.deny("zone", rule, { id, handle, peer: SERVER_PEER });
    }
  }

  /** What comes from now on is the named owners' or their successors': the driver has come so far in what was ordered. */
  #confirmOwners(triples: Uint32Array): void {
    const { ledger, orders } = this.#state;
    for (let i = 0; i + 2 < triples.length; i += 3) {
      const record = ledger.get(triples[i]!);
      if (record !== undefined) orders.handleNamed(record, triples[i + 1]!);
    }
  }

  /** Whether this engine has given the entity to somebody else since, who is there to have it: the driver will name that one, too. */
  #isOvertaken(record: EntityRecord, owner: number): boolean {
    const { orders, peers } = this.#state;
    if (record.owner !== SERVER_PEER && !peers.has(record.owner)) return false;
    return orders.isOlder(record, owner);
  }

  /**
   * The holder of authority moves ownership itself: a driver can only repeat that, give an entity back, or say that the peer it was given to
   * had left and it stays where it was.
   */
  #mayOwn(record: EntityRecord, owner: number): boolean {
    const state = this.#state;
    if (!state.isAuthority || owner === record.owner || owner === SERVER_PEER) return true;
    if (owner === record.formerOwner && !state.peers.has(record.owner)) return true;
    return state.deny(COMPONENT, Rule.NotOwner, { handle: record.handle, peer: owner });
  }

  #applyOwner(record: EntityRecord, owner: number, epoch: number, notices: (() => void)[]): void {
    if (owner !== record.owner) {
      const wasOwn = this.#state.isOwn(record);
      this.#state.orders.forget(record);
      record.owner = owner;
      notices.push(...this.#revoked.handleOwner(record, wasOwn));
      if (!this.#state.isAuthority) this.#state.dirty.unmarkEntity(record.slot);
    }
    notices.push(() => this.#events.ownerChanged(record.handle, owner, epoch));
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
    if (!record.components.has(component.index)) {
      // The driver was never told of it, or took it away already.
      state.counters.lateEntries += 1;
      return;
    }
    if (state.isAuthority) {
      const rule = this.#removeRefusal(record, component.index);
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
    if (state.isAuthority && this.#writers(record).length === 0) {
      state.deny(DESPAWN, Rule.NotOwner, { handle });
      return;
    }
    this.#packer.forget(record);
    state.world.destroy(handle);
    notices.push(() => this.#events.despawned(handle));
  }

  /** Why none of those whose doing it may be may take a component away. */
  #removeRefusal(record: EntityRecord, component: number): Rule | undefined {
    const { gate } = this.#state;
    let refusal: Rule | undefined;
    for (const peer of this.#writers(record)) {
      const decision = gate.decideChange({
        component,
        op: "remove",
        roleIndex: this.#state.roleOf(peer),
        isOwner: true,
        ownedWith: () => 0,
        direction: "in",
      });
      if (decision.allowed) return undefined;
      refusal ??= decision.rule;
    }
    return refusal ?? Rule.NotOwner;
  }

  /** Peers that may have changed or ended the entity, as far as the driver knew: its owner, and former ones. */
  #writers(record: EntityRecord): readonly number[] {
    const late = this.#state.orders.late(record);
    return record.owner === SERVER_PEER ? late : [record.owner, ...late];
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

  /** References name entities of this link, or nothing. */
  #nullUnknown({ component, value, mask }: ParsedRow): void {
    for (const { kind, index, laneOffset } of component.fields) {
      if (kind !== "entity" || (mask & (1 << index)) === 0) continue;
      if (!this.#state.isKnown(value.lanes[laneOffset]! >>> 0)) value.lanes[laneOffset] = 0;
    }
  }

  /** The entity of a handle; one that was never announced is a forgery, one that has just gone is late. */
  #entity(handle: Handle): EntityRecord | undefined {
    const record = this.#state.ledger.get(handle);
    if (record === undefined) {
      if (this.#packer.isGrave(handle)) this.#state.counters.lateEntries += 1;
      else this.#state.deny(COMPONENT, Rule.EntityUnknown, { handle, peer: SERVER_PEER });
    }
    return record;
  }
}
