// What one link's receiver holds: for each entity the newest header, for each component its versions. Versions serve as references, also
// of values that were never applied; this is the link's memory beside the world's columns. No bytes are decoded here.

import { type EntityId, entitySlot, isLaterGeneration } from "../protocol/entity_id.ts";
import {
  IDLE_TIMEOUT_MS,
  RECEIVE_MARGIN_TICKS,
  RECEIVE_SWEEP_ENTITIES,
} from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import type { PieceAssembly } from "./piece_assembly.ts";
import { NEVER, ViewState } from "./tracks.ts";
import { VersionStore } from "./version_store.ts";
import { historyTicksOf } from "./world.ts";

/** One component of one received entity. */
export interface ReceivedValue {
  readonly component: number;
  /** Row in the component's store. */
  row: number;
  /** Versions up to this tick belong to a component that was removed since. */
  voidTick: number;
  /** Versions before this tick were erased, as the peer may no longer read all of their fields. */
  maskTick: number;
  /** Tick of the header that hid or removed it; NEVER while it is shown. */
  hiddenTick: number;
  /** Tick of the newest datagram with a version or piece of it: then it was shown. */
  shownTick: number;
  assembly: PieceAssembly | undefined;
  /** Pieces in datagrams before this tick belong to what was overridden. */
  pieceTick: number;
}

/** One received entity. */
export interface ReceivedEntity {
  readonly id: EntityId;
  /** Place in the list of all. */
  at: number;
  /** Tick of the datagram with the newest header; NEVER before the first. */
  headerTick: number;
  state: ViewState;
  owner: number;
  epoch: number;
  /** Components listed as visible and as hidden, ascending. */
  visible: number[];
  hidden: number[];
  /** Tick of the header that took it out of view or ended it; NEVER while it is shown. */
  outTick: number;
  /** Tick of the newest datagram with a value of it. */
  shownTick: number;
  readonly values: ReceivedValue[];
}

/** Script memory of one received entity: record, lists, places in two tables; measured, rounded up. */
export const RECEIVED_ENTITY_BYTES = 512;
/** Script memory of one received value's record. */
export const RECEIVED_VALUE_BYTES = 256;

/** The entities of one link. */
export class ReceivedEntities {
  /** Versions by component. */
  readonly stores: readonly VersionStore[];
  /** Values arriving in pieces. */
  assemblyCount = 0;
  readonly #keepTicks: number;
  /** Ticks after which nothing that was sent can still arrive. */
  readonly #quietTicks: number;
  #newestTick = NEVER;
  readonly #byId = new Map<EntityId, ReceivedEntity>();
  /** Latest entity of each slot; others of a slot are not held. */
  readonly #bySlot = new Map<number, EntityId>();
  readonly #list: ReceivedEntity[] = [];
  #sweepAt = 0;

  /** An empty memory. */
  constructor(grants: Grants) {
    this.#keepTicks = historyTicksOf(grants) + RECEIVE_MARGIN_TICKS;
    this.#quietTicks = Math.ceil(IDLE_TIMEOUT_MS / 1000 * grants.tickHz);
    this.stores = grants.components.map((component) =>
      new VersionStore(component, this.#keepTicks)
    );
  }

  /** Bytes held, records and arrays together. */
  get heldBytes(): number {
    let bytes = this.#list.length * RECEIVED_ENTITY_BYTES;
    for (const store of this.stores) {
      bytes += store.heldBytes + store.rowCount * RECEIVED_VALUE_BYTES;
    }
    if (this.assemblyCount === 0) return bytes;
    for (const { values } of this.#list) {
      for (const { assembly } of values) bytes += assembly?.totalBytes ?? 0;
    }
    return bytes;
  }

  /** Entities held. */
  get count(): number {
    return this.#list.length;
  }

  /** Whether a datagram of `tick` is so old that what it builds on may be forgotten. */
  isTooOld(tick: number): boolean {
    return tick + this.#keepTicks < this.#newestTick;
  }

  /** The entity, if anything was received of it. */
  find(id: EntityId): ReceivedEntity | undefined {
    return this.#byId.get(id);
  }

  /** Whether a later entity has come in the same slot: then this one has ended, and what is still said of it is late. */
  isSuperseded(id: EntityId): boolean {
    const latest = this.#bySlot.get(entitySlot(id));
    return latest !== undefined && isLaterGeneration(latest, id);
  }

  /** The entity, entered if it is new: a slot comes again only when its end is known, so an earlier one in it is forgotten. */
  ensure(id: EntityId): ReceivedEntity {
    let entity = this.#byId.get(id);
    if (entity === undefined) {
      const slot = entitySlot(id);
      const earlier = this.#bySlot.get(slot);
      if (earlier !== undefined) this.forget(earlier);
      this.#bySlot.set(slot, id);
      entity = {
        id,
        at: this.#list.length,
        headerTick: NEVER,
        state: ViewState.Alive,
        owner: 0,
        epoch: 0,
        visible: [],
        hidden: [],
        outTick: NEVER,
        shownTick: NEVER,
        values: [],
      };
      this.#list.push(entity);
      this.#byId.set(id, entity);
    }
    return entity;
  }

  /** The component of an entity, entered if it is new. */
  ensureValue(entity: ReceivedEntity, component: number): ReceivedValue {
    let value = findValue(entity, component);
    if (value === undefined) {
      const isRemoved = entity.headerTick !== NEVER && entity.state !== ViewState.OutOfView &&
        !entity.visible.includes(component) && !entity.hidden.includes(component);
      value = {
        component,
        row: this.stores[component]!.allocateRow(),
        voidTick: isRemoved ? entity.headerTick : NEVER,
        maskTick: NEVER,
        hiddenTick: isRemoved ? entity.headerTick : NEVER,
        shownTick: NEVER,
        assembly: undefined,
        pieceTick: NEVER,
      };
      entity.values.push(value);
    }
    return value;
  }

  /** Tick of the newest version held of a value; NEVER without one. */
  newestTickOf(value: ReceivedValue | undefined): number {
    if (value === undefined) return NEVER;
    const store = this.stores[value.component]!;
    const version = store.newest(value.row);
    return version < 0 ? NEVER : store.tick(version);
  }

  /** Takes over a newer header. Values that came in later datagrams than it were shown again by then. */
  applyHeader(entity: ReceivedEntity, tick: number, state: ViewState): void {
    entity.headerTick = tick;
    entity.state = state;
    entity.outTick = state === ViewState.Alive || entity.shownTick > tick ? NEVER : tick;
    for (const value of entity.values) {
      const isListed = state === ViewState.Alive && entity.visible.includes(value.component);
      if (isListed) {
        value.hiddenTick = NEVER;
        continue;
      }
      if (value.shownTick <= tick) {
        value.hiddenTick = tick;
        this.dropAssembly(value);
      }
      const isKept = state === ViewState.OutOfView ||
        (state === ViewState.Alive && entity.hidden.includes(value.component));
      if (!isKept) value.voidTick = tick;
    }
  }

  /** A value came in a datagram of `tick`. Where that is newer than the header, the header that shows it is still to come. */
  markShown(entity: ReceivedEntity, value: ReceivedValue, tick: number): void {
    value.shownTick = Math.max(value.shownTick, tick);
    entity.shownTick = Math.max(entity.shownTick, tick);
    if (tick <= entity.headerTick) return;
    value.hiddenTick = NEVER;
    entity.outTick = NEVER;
  }

  /** Forgets the pieces of a value. */
  dropAssembly(value: ReceivedValue): void {
    if (value.assembly === undefined) return;
    value.assembly = undefined;
    this.assemblyCount -= 1;
  }

  /** Forgets all pieces of an entity, and those that are still to come in datagrams before `tick`. */
  dropAssemblies(entity: ReceivedEntity, tick: number): void {
    for (const value of entity.values) {
      this.dropAssembly(value);
      value.pieceTick = tick;
    }
  }

  /** Erases the versions of a value, but not the value's record. */
  eraseVersions(value: ReceivedValue): void {
    const store = this.stores[value.component]!;
    store.freeRow(value.row);
    value.row = store.allocateRow();
  }

  /** Erases all versions and pieces of some components. */
  eraseComponents(isErased: (component: number) => boolean): void {
    for (const entity of this.#list) {
      for (const value of entity.values) {
        if (!isErased(value.component)) continue;
        this.eraseVersions(value);
        this.dropAssembly(value);
      }
    }
  }

  /**
   * Erases what is held of values with a field beyond `masks` (by component): the entity went to somebody else. A value that came under the
   * new rights, in a datagram before the header of `tick` that says so, has no such field, and may be referred to. So may what is newer than
   * that header: it was sent when the entity had been given back.
   */
  eraseBeyond(entity: ReceivedEntity, tick: number, masks: Int32Array): void {
    for (const value of entity.values) {
      const store = this.stores[value.component]!;
      const newest = store.newest(value.row);
      if (newest < 0 || (store.mask(newest) & ~masks[value.component]!) === 0) continue;
      value.maskTick = Math.max(value.maskTick, tick);
      if (store.tick(newest) > tick) store.clearThrough(value.row, tick);
      else this.eraseVersions(value);
      if (value.assembly !== undefined && value.assembly.versionTick <= tick) {
        this.dropAssembly(value);
      }
    }
  }

  /** Erases an entity. */
  forget(id: EntityId): void {
    const entity = this.#byId.get(id);
    if (entity === undefined) return;
    for (const value of entity.values) this.#freeValue(value);
    const last = this.#list.pop()!;
    if (last !== entity) {
      this.#list[entity.at] = last;
      last.at = entity.at;
    }
    this.#byId.delete(id);
    this.#bySlot.delete(entitySlot(id));
  }

  /** The present is `tick`: a sender that has nothing to say must not keep what ended from being erased. */
  expire(tick: number): void {
    if (tick - this.#quietTicks <= this.#newestTick) return;
    this.advance(tick - this.#quietTicks);
    this.sweep();
  }

  /** A datagram of `tick` was taken: versions that no sender may refer to any more are freed, also where nothing new comes. */
  advance(tick: number): void {
    if (tick <= this.#newestTick) return;
    this.#newestTick = tick;
    for (const store of this.stores) store.expire(tick);
  }

  /** Looks at a few entities and forgets what no sender may refer to any more. Call it with every section. */
  sweep(): void {
    const looks = Math.min(RECEIVE_SWEEP_ENTITIES, this.#list.length);
    for (let i = 0; i < looks && this.#list.length > 0; i++) {
      if (this.#sweepAt >= this.#list.length) this.#sweepAt = 0;
      const entity = this.#list[this.#sweepAt]!;
      if (this.#isPast(entity.outTick)) {
        this.forget(entity.id);
        continue;
      }
      for (let k = entity.values.length - 1; k >= 0; k--) {
        const value = entity.values[k]!;
        if (!this.#isPast(value.hiddenTick)) continue;
        this.#freeValue(value);
        entity.values.splice(k, 1);
      }
      this.#sweepAt += 1;
    }
  }

  #isPast(tick: number): boolean {
    return tick !== NEVER && this.#newestTick > tick + this.#keepTicks;
  }

  #freeValue(value: ReceivedValue): void {
    this.dropAssembly(value);
    this.stores[value.component]!.freeRow(value.row);
  }
}

/** The component of an entity, if anything was received of it. */
export function findValue(
  entity: ReceivedEntity | undefined,
  component: number,
): ReceivedValue | undefined {
  if (entity === undefined) return undefined;
  const { values } = entity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value.component === component) return value;
  }
  return undefined;
}
