// The door for what a server's own engine does to the world: spawns, values, removals, despawns, transfers, zones. The engine decides; the driver
// checks its own grants once more, and an override of an owner's component voids what that owner sent before it knew.

import { SERVER_PEER, type ToDriver } from "../protocol/engine_messages.ts";
import type { Handle } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import { type ComponentGrant, SERVER_ROLE } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import type { ComponentValue } from "../replication/value.ts";
import { type BatchSink, EngineBatchReader, markAgain } from "./engine_batch.ts";
import type { ServerState } from "./server_state.ts";

type Batch = Extract<ToDriver, { kind: "batch" }>;

/** Applies the batches of the engine that holds world authority. */
export class ServerBatches {
  readonly #state: ServerState;
  readonly #reader: EngineBatchReader;
  /** Entities that the present batch spawns. */
  readonly #spawned = new Set<EntityId>();

  /** Applies to the state's world. */
  constructor(state: ServerState) {
    this.#state = state;
    this.#reader = new EngineBatchReader(state.grants, state.gate, state.handles);
  }

  /**
   * Takes over the names that the engine kept from an earlier driver. Its own entities come again with the first batch, under the same ids.
   * Peers' entities are over: without their resume secrets nobody can take them up, and their slots begin a new generation.
   */
  adoptNames(pairs: Uint32Array, isEngineHandle: (handle: Handle) => boolean): void {
    const { ids, handles } = this.#state;
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const handle = pairs[i]!;
      const id = pairs[i + 1]!;
      if (handle === 0 || !ids.reserve(id)) continue;
      if (isEngineHandle(handle)) handles.bind(handle, id);
      else ids.release(id);
    }
  }

  /** Applies one batch; what changes belongs to the next tick. */
  apply(batch: Batch, nowMs: number): void {
    const { world, outbox } = this.#state;
    const tick = this.#state.lastTick + 1;
    const time = tick * SUBTICKS;
    this.#spawned.clear();
    for (const handle of batch.despawns) this.#despawn(handle);
    this.#spawn(batch, tick, nowMs);
    this.#putInZones(batch.zones, tick, nowMs);
    const sink = this.#sink(tick, time, nowMs);
    for (const rows of batch.components) this.#reader.readRows(rows, sink);
    for (let i = 0; i + 1 < batch.removes.length; i += 2) {
      const id = this.#state.handles.idOf(batch.removes[i]!);
      const component = this.#reader.component(batch.removes[i + 1]!);
      if (component === undefined || !world.isAlive(id)) continue;
      if (!world.hasComponent(id, component.index)) continue;
      this.#noteUnheard(id, component);
      world.removeComponent(id, component.index, tick);
      this.#override(id, component, tick);
    }
    outbox.push({ kind: "stamped", id: batch.id, time });
  }

  /** Handles of all entities that live, each with the hash of what the world holds of it, flat. */
  hashes(): Uint32Array {
    const { handles, world } = this.#state;
    const pairs: number[] = [];
    handles.forEach((handle, id) => {
      if (world.isAlive(id)) pairs.push(handle, world.hash(id));
    });
    return Uint32Array.from(pairs);
  }

  /** The engine wants to hear these components again: `[handle, componentId]` pairs, flat. */
  resend(pairs: Uint32Array): void {
    markAgain(pairs, this.#state.handles, this.#reader, this.#state.outbox);
  }

  /** Gives an entity to a peer, or back to the server. */
  transfer(handle: Handle, peerId: number, nowMs: number): void {
    const state = this.#state;
    const { world } = state;
    const id = state.handles.idOf(handle);
    if (!world.isAlive(id)) {
      state.denyHandle(Rule.EntityUnknown, 0, 0, handle, nowMs);
      return;
    }
    if (peerId !== SERVER_PEER && !state.hasPlace(peerId)) {
      state.denyHandle(Rule.Peer, 0, 0, handle, nowMs);
      // The engine noted the new owner when it asked.
      state.outbox.markOwner(id);
      return;
    }
    const former = world.owner(id);
    if (former === peerId) return;
    world.setOwner(id, peerId, state.lastTick + 1);
    const before = state.peers.get(former);
    if (before !== undefined) {
      // What it wrote itself it was never sent; from now on it reads it like everyone else.
      world.forEachComponent(id, (c) => before.sender.putRight(id, c));
      state.chooseViewpoint(before);
      noteTaken(before.taken, id, state.lastTick, state.grants.maxEntitiesPerPeer);
    }
    const peer = state.peers.get(peerId);
    if (peer !== undefined) state.chooseViewpoint(peer);
    state.outbox.markOwner(id);
  }

  #spawn(batch: Batch, tick: number, nowMs: number): void {
    const state = this.#state;
    const { world, handles } = state;
    const named: number[] = [];
    const zones = zonesOf(batch.zones);
    for (let i = 0; i < batch.spawns.length; i++) {
      const handle = batch.spawns[i]!;
      let id = handles.idOf(handle);
      if (id !== NO_ENTITY && world.isAlive(id)) continue;
      if (!state.zones.has(zones.get(handle) ?? 0)) {
        // What shall be hidden where nothing can be is not shown to everyone.
        state.push({ kind: "spawnRefused", handle, rule: Rule.Undeclared });
        this.#despawn(handle);
        continue;
      }
      if (id === NO_ENTITY) {
        const given = state.ids.allocate();
        if (given === undefined) {
          state.deny(undefined, Rule.SpawnCount, "spawn", 0, 0, NO_ENTITY, nowMs);
          state.push({ kind: "spawnRefused", handle, rule: Rule.SpawnCount });
          continue;
        }
        id = given;
        handles.bind(handle, id);
      }
      const wanted = batch.spawnOwners[i]!;
      const owner = state.hasPlace(wanted) ? wanted : SERVER_PEER;
      world.spawn(id, owner, tick);
      this.#spawned.add(id);
      if (owner !== wanted) state.outbox.markOwner(id);
      named.push(handle, id);
    }
    if (named.length > 0) state.push({ kind: "named", pairs: Uint32Array.from(named) });
  }

  /** Moves entities between zones: `[handle, zone]` pairs. Whoever is put where nothing can be stays where it is. */
  #putInZones(pairs: Uint32Array, tick: number, nowMs: number): void {
    const state = this.#state;
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const [handle, zone] = [pairs[i]!, pairs[i + 1]!];
      const id = state.handles.idOf(handle);
      const isAlive = state.world.isAlive(id);
      if (isAlive && state.zones.has(zone)) {
        state.world.setZone(id, zone, tick);
        continue;
      }
      const rule = state.zones.has(zone) ? Rule.EntityUnknown : Rule.Undeclared;
      state.denyHandle(rule, zone, 0, handle, nowMs, "zone");
      if (isAlive) state.outbox.markZone(id);
    }
  }

  #sink(tick: number, time: TimelineTime, nowMs: number): BatchSink {
    const { world, outbox } = this.#state;
    return {
      role: SERVER_ROLE,
      ownership: (id) =>
        world.isAlive(id) ? { isOwner: world.owner(id) === SERVER_PEER } : undefined,
      applyRow: (id, component, mask, value) =>
        this.#applyRow(id, component, mask, value, tick, time),
      refuseRow: (handle, id, component, componentId, fields, rule) => {
        this.#state.denyHandle(rule, componentId, fields, handle, nowMs);
        if (
          component !== undefined && world.isAlive(id) && world.hasComponent(id, component.index)
        ) outbox.markValue(id, component.index);
      },
    };
  }

  #applyRow(
    id: EntityId,
    component: ComponentGrant,
    mask: number,
    value: ComponentValue,
    tick: number,
    time: TimelineTime,
  ): void {
    const { world } = this.#state;
    const c = component.index;
    if (!world.hasComponent(id, c)) {
      world.addComponent(id, c, this.#reader.wholeOf(component, mask, value), tick, time);
      this.#state.writers.noteAdded(id, c, SERVER_PEER, 0);
      // In place of one that the owner wrote in this tick it would have the same name as that.
      this.#state.peers.get(world.owner(id))?.sender.putRight(id, c);
      this.#override(id, component, tick);
    } else if (world.write(id, c, mask, value, tick, time) !== 0) {
      this.#override(id, component, tick);
    }
  }

  /** The header that takes a component away says nothing to an owner that never heard of it, and may be about to add one of its own. */
  #noteUnheard(id: EntityId, { index, authority }: ComponentGrant): void {
    const { world, writers, peers, lost } = this.#state;
    const owner = world.owner(id);
    if (owner === SERVER_PEER || authority !== "owner" || writers.isBy(id, index, owner)) return;
    const sender = (peers.get(owner) ?? lost.get(owner))?.sender;
    // Of what it does not read no header says anything to it.
    if (sender === undefined || sender.isWithheld(index) || sender.wasHeard(id, index)) return;
    writers.noteUnheard(id, index, owner);
  }

  /** What the owner sent before it knows of this change no longer counts. */
  #override(id: EntityId, component: ComponentGrant, tick: number): void {
    const { world, outbox } = this.#state;
    // The first values of a spawn override nobody.
    if (this.#spawned.has(id) || component.authority !== "owner") return;
    if (world.owner(id) === SERVER_PEER) return;
    world.raiseEpoch(id, tick);
    // The owner's last value may have passed this one on its way to the engine, which then believes that one.
    if (world.hasComponent(id, component.index)) outbox.markValue(id, component.index);
  }

  #despawn(handle: Handle): void {
    const state = this.#state;
    const id = state.handles.idOf(handle);
    if (state.world.isAlive(id)) {
      state.zones.noteEnded(handle, id);
      state.despawn(id);
      state.outbox.forget(id);
    } else if (id !== NO_ENTITY && state.ids.isTaken(id) && !state.ids.isResting(id)) {
      // It ended while no driver lived, and no peer of this one has heard of it.
      state.ids.release(id);
    }
    state.handles.unbindHandle(handle);
  }
}

/** The zone that a batch names for each handle; the last one counts. */
function zonesOf(pairs: Uint32Array): Map<Handle, number> {
  const zones = new Map<Handle, number>();
  for (let i = 0; i + 1 < pairs.length; i += 2) zones.set(pairs[i]!, pairs[i + 1]!);
  return zones;
}

/** Notes an entity that was taken from a peer; of more than it may own at once the oldest are forgotten. */
function noteTaken(taken: Map<EntityId, number>, id: EntityId, tick: number, most: number): void {
  taken.delete(id);
  taken.set(id, tick);
  if (taken.size <= most) return;
  for (const oldest of taken.keys()) {
    taken.delete(oldest);
    break;
  }
}
