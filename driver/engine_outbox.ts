// What waits to go to the engine. State is a set of "changed since the last batch" marks, never a queue: a slow engine gets the newest
// values in one batch when it reads again. Voice and events are taken from whoever has most of them, everything else is bounded and counted.

import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import type { ComponentRows, Handle, ToEngine } from "../protocol/engine_messages.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import {
  MAX_BATCH_BYTES,
  MAX_ENGINE_MESSAGES,
  MAX_ENGINE_VOICE_FRAMES,
  MAX_WAITING_EVENTS,
} from "../protocol/limits.ts";
import type { ComponentGrant, Grants } from "../permissions/grants.ts";
import type { ComponentValue } from "../replication/value.ts";
import { createValue } from "../replication/value.ts";
import { RowWriter } from "../replication/row_codec.ts";
import type { Counters } from "./counters.ts";
import { FairQueue } from "./fair_queue.ts";
import type { HandleTable } from "./handle_table.ts";

/** Where the outbox takes values from when it builds a batch. */
export interface StateSource {
  /** Newest value of a component into `out`; returns the mask of fields it holds, 0 where there is none. */
  readValue(id: EntityId, component: number, out: ComponentValue): number;
  /** Sample time of that value. */
  valueTime(id: EntityId, component: number): TimelineTime;
  /** Present owner of an entity. */
  ownerOf(id: EntityId): number;
  /** Present ownership epoch of an entity. */
  epochOf(id: EntityId): number;
  /** Present zone of an entity, 0 for none; a client knows of none. */
  zoneOf(id: EntityId): number;
}

/** Handle, mask and time of one row. */
const BYTES_BESIDE_ROW = 16;

interface PendingEntity {
  spawn: boolean;
  despawn: boolean;
  owner: boolean;
  zone: boolean;
  /** Component indices with a new value. */
  readonly values: Set<number>;
  readonly removes: Set<number>;
  readonly hides: Set<number>;
}

/**
 * Collects what the engine has to hear.
 *
 * Order of calls: any number of marks and pushes, then `poll()` until it returns `undefined`.
 */
export class EngineOutbox {
  readonly #grants: Grants;
  readonly #handles: HandleTable;
  readonly #source: StateSource;
  readonly #counters: Counters;
  readonly #messages: ToEngine[] = [];
  readonly #afterState = new FairQueue<ToEngine>(MAX_WAITING_EVENTS, "newest");
  readonly #voice = new FairQueue<ToEngine>(MAX_ENGINE_VOICE_FRAMES, "oldest");
  readonly #pending = new Map<EntityId, PendingEntity>();
  /** Components whose last row named an entity as none because the engine had no handle for it. */
  readonly #nulled = new Map<EntityId, Set<number>>();
  readonly #writers: RowWriter[];
  readonly #scratch: ComponentValue[];

  constructor(grants: Grants, handles: HandleTable, source: StateSource, counters: Counters) {
    this.#grants = grants;
    this.#handles = handles;
    this.#source = source;
    this.#counters = counters;
    this.#writers = grants.components.map((component) => new RowWriter(component));
    this.#scratch = grants.components.map((component) => createValue(component));
  }

  /** True while state waits. */
  get hasState(): boolean {
    return this.#pending.size > 0;
  }

  /** An entity has come to the engine's view; its values are marked apart. */
  markSpawn(id: EntityId): void {
    const entity = this.#entity(id);
    entity.spawn = true;
    entity.despawn = false;
    if (this.#nulled.size === 0) return;
    // The engine has a name for it soon: what named it as none may go again.
    const again = [...this.#nulled];
    this.#nulled.clear();
    for (const [referrer, components] of again) {
      for (const component of components) this.markValue(referrer, component);
    }
  }

  /** An entity has gone for good. A spawn that the engine never heard of takes itself back. */
  markDespawn(id: EntityId): void {
    const entity = this.#entity(id);
    if (entity.spawn && this.#handles.handleOf(id) === 0) {
      this.#pending.delete(id);
      return;
    }
    entity.values.clear();
    entity.removes.clear();
    entity.hides.clear();
    entity.owner = false;
    entity.zone = false;
    entity.despawn = true;
    this.#nulled.delete(id);
  }

  /** A component has a new value, or is back in view. */
  markValue(id: EntityId, component: number): void {
    const entity = this.#entity(id);
    entity.values.add(component);
    entity.removes.delete(component);
    entity.hides.delete(component);
  }

  /** A component was removed. */
  markRemove(id: EntityId, component: number): void {
    const entity = this.#entity(id);
    entity.values.delete(component);
    entity.hides.delete(component);
    entity.removes.add(component);
  }

  /** A component left this peer's view; the engine keeps its last value. */
  markHide(id: EntityId, component: number): void {
    const entity = this.#entity(id);
    entity.values.delete(component);
    entity.hides.add(component);
  }

  /** Owner or epoch of an entity changed. */
  markOwner(id: EntityId): void {
    this.#entity(id).owner = true;
  }

  /** The engine has to hear in which zone an entity is. A spawn says so by itself. */
  markZone(id: EntityId): void {
    this.#entity(id).zone = true;
  }

  /** Forgets all state that waits: a fresh resync follows. */
  clearState(): void {
    this.#pending.clear();
    this.#nulled.clear();
  }

  /** Whether the engine has yet to hear of the entity at all. */
  awaitsSpawn(id: EntityId): boolean {
    return this.#pending.get(id)?.spawn === true;
  }

  /** Whether the engine has yet to hear that the entity ended. */
  awaitsEnd(id: EntityId): boolean {
    return this.#pending.get(id)?.despawn === true;
  }

  /**
   * True when messages that must not be lost have piled up, ends of entities among them: an engine that reads so little is as good as gone.
   */
  get isOverfull(): boolean {
    return this.#messages.length > MAX_ENGINE_MESSAGES ||
      this.#pending.size > MAX_ENGINE_MESSAGES + this.#grants.maxEntities;
  }

  /** True when so much has piled up that nobody new should add to it. */
  get isCrowded(): boolean {
    return this.#messages.length > MAX_ENGINE_MESSAGES / 2;
  }

  /** Queues any other message. None is dropped, as each stands for a change of something the engine keeps: look at `isOverfull`. */
  push(message: ToEngine): void {
    this.#messages.push(message);
  }

  /** Queues a message behind all state that waits: what happened under other rights has to be heard before it. */
  pushBehindState(message: ToEngine, tick: number): void {
    while (this.#pending.size > 0) this.#messages.push(this.#buildBatch(tick));
    this.#messages.push(message);
  }

  /**
   * Queues a message that speaks of entities which may wait in the state: it goes after the batch that tells of them. When too many wait, the
   * newest of the peer that has most of them is dropped and counted.
   *
   * @param from The peer that caused it.
   */
  pushAfterState(from: number, message: ToEngine): void {
    if (!this.#afterState.push(from, message)) this.#counters.add("engine.messagesDropped");
  }

  /** A peer is gone for good: what it caused and what waits for state goes no further; returns how many messages. */
  forgetPeer(peer: number): number {
    return this.#afterState.discard(peer);
  }

  /**
   * Queues a voice frame. When too many wait, the oldest of the peer that has most of them is dropped and counted.
   *
   * @param speaker The peer that speaks.
   */
  pushVoice(speaker: number, message: ToEngine): void {
    if (!this.#voice.push(speaker, message)) this.#counters.add("engine.voiceDropped");
  }

  /** Forgets what waits about one entity: the engine itself despawned it. */
  forget(id: EntityId): void {
    this.#pending.delete(id);
    this.#nulled.delete(id);
  }

  /** The next message, for an engine that has room; state as batches of `tick`, where it is time for any. `undefined`: nothing is due. */
  poll(tick: number, withState: boolean): ToEngine | undefined {
    const message = this.#messages.shift();
    if (message !== undefined) return message;
    if (withState && this.#pending.size > 0) return this.#buildBatch(tick);
    if (this.#pending.size === 0 && this.#afterState.size > 0) return this.#afterState.shift();
    return this.#voice.shift();
  }

  #entity(id: EntityId): PendingEntity {
    let entity = this.#pending.get(id);
    if (entity === undefined) {
      entity = {
        spawn: false,
        despawn: false,
        owner: false,
        zone: false,
        values: new Set(),
        removes: new Set(),
        hides: new Set(),
      };
      this.#pending.set(id, entity);
    }
    return entity;
  }

  /** One batch of what waits, whole entities at a time; what would make it larger than a frame waits for the next. */
  #buildBatch(tick: number): ToEngine {
    const taken = this.#takeEntities();
    const spawns: Handle[] = [];
    const spawnIds: EntityId[] = [];
    const spawnOwners: number[] = [];
    const removes: number[] = [];
    const hides: number[] = [];
    const despawns: Handle[] = [];
    const owners: number[] = [];
    const zones: number[] = [];
    const byComponent: EntityId[][] = this.#grants.components.map(() => []);
    // Handles of all spawns first, so that references between entities of one batch find theirs.
    for (const [id, entity] of taken) {
      if (!entity.spawn || entity.despawn) continue;
      spawns.push(this.#handles.allot(id));
      spawnIds.push(id);
      spawnOwners.push(this.#source.ownerOf(id));
    }
    for (const [id, entity] of taken) {
      const handle = this.#handles.handleOf(id);
      if (handle === 0) continue;
      if (entity.despawn) {
        despawns.push(handle);
        continue;
      }
      for (const component of entity.values) byComponent[component]!.push(id);
      for (const component of entity.removes) {
        removes.push(handle, this.#grants.components[component]!.id);
      }
      for (const component of entity.hides) {
        hides.push(handle, this.#grants.components[component]!.id);
      }
      const zone = this.#source.zoneOf(id);
      if (entity.zone || (entity.spawn && zone !== 0)) zones.push(handle, zone);
      if (entity.owner && !entity.spawn) {
        owners.push(handle, this.#source.ownerOf(id), this.#source.epochOf(id));
      }
    }
    const components: ComponentRows[] = [];
    byComponent.forEach((ids, index) => {
      if (ids.length > 0) components.push(...this.#packRows(index, ids));
    });
    for (const [id, entity] of taken) {
      if (entity.despawn) this.#handles.unbindId(id);
    }
    return {
      kind: "batch",
      tick,
      spawns: Uint32Array.from(spawns),
      spawnIds: Uint32Array.from(spawnIds),
      spawnOwners: Uint32Array.from(spawnOwners),
      components,
      removes: Uint32Array.from(removes),
      hides: Uint32Array.from(hides),
      despawns: Uint32Array.from(despawns),
      owners: Uint32Array.from(owners),
      zones: Uint32Array.from(zones),
    };
  }

  /** Takes entities out of those that wait, oldest first, up to `MAX_BATCH_BYTES` of rows. */
  #takeEntities(): [EntityId, PendingEntity][] {
    const taken: [EntityId, PendingEntity][] = [];
    let bytes = 0;
    // What ended goes ahead of what came: a peer may have replaced what it may have only one of.
    const isEndFirst = this.#hasEnds && this.#hasSpawns;
    for (const entry of this.#pending) {
      const [id, entity] = entry;
      if (isEndFirst && !entity.despawn) continue;
      bytes += this.#rowBytesOf(id, entity);
      if (bytes > MAX_BATCH_BYTES && taken.length > 0) break;
      taken.push(entry);
      this.#pending.delete(id);
    }
    return taken;
  }

  get #hasEnds(): boolean {
    for (const entity of this.#pending.values()) if (entity.despawn) return true;
    return false;
  }

  get #hasSpawns(): boolean {
    for (const entity of this.#pending.values()) if (entity.spawn && !entity.despawn) return true;
    return false;
  }

  #rowBytesOf(id: EntityId, entity: PendingEntity): number {
    let bytes = 0;
    for (const index of entity.values) {
      const { rowBytes, blobCount } = this.#grants.components[index]!;
      bytes += rowBytes + BYTES_BESIDE_ROW;
      if (blobCount === 0) continue;
      const value = this.#scratch[index]!;
      if (this.#source.readValue(id, index, value) === 0) continue;
      for (const blob of value.blobs) bytes += blob.length + 4;
    }
    return bytes;
  }

  #packRows(index: number, ids: readonly EntityId[]): ComponentRows[] {
    const component = this.#grants.components[index]!;
    const writer = this.#writers[index]!;
    const value = this.#scratch[index]!;
    const handles: number[] = [];
    const masks: number[] = [];
    const times: number[] = [];
    writer.clear();
    for (const id of ids) {
      const mask = this.#source.readValue(id, index, value) & component.hostReceiveMask;
      if (mask === 0) continue;
      writer.push(mask, value, this.#handles.handleOf);
      if (this.#namesUnknown(component, mask, value)) this.#noteNulled(id, index);
      handles.push(this.#handles.handleOf(id));
      masks.push(mask);
      times.push(this.#source.valueTime(id, index));
    }
    if (handles.length === 0) return [];
    return [{
      componentId: component.id,
      handles: Uint32Array.from(handles),
      masks: Uint32Array.from(masks),
      rows: writer.finish(),
      times: Float64Array.from(times),
    }];
  }

  #namesUnknown(component: ComponentGrant, mask: number, value: ComponentValue): boolean {
    for (const field of component.fields) {
      if (field.kind !== "entity" || (mask & (1 << field.index)) === 0) continue;
      const target = value.lanes[field.laneOffset]! >>> 0;
      if (target !== NO_ENTITY && this.#handles.handleOf(target) === 0) return true;
    }
    return false;
  }

  #noteNulled(id: EntityId, component: number): void {
    const components = this.#nulled.get(id);
    if (components === undefined) this.#nulled.set(id, new Set([component]));
    else components.add(component);
  }
}
