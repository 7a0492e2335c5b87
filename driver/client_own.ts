// The entities a client owns: what its engine spawns, changes and ends, and what the server says about them. Its engine's batches are judged
// here; when and how the result is sent is the business of core and link.

import { DRIVER_HANDLE_BIT, type Handle, type ToDriver } from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { MAX_COMPONENTS, OVERRIDE_ECHO_MS } from "../protocol/limits.ts";
import { ALLOWED } from "../permissions/gate.ts";
import { type ComponentGrant, ownWriteMaskOf, readMaskOf } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { type ComponentValue, copyFields, createValue } from "../replication/value.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import { World } from "../replication/world.ts";
import { EntityIdPool } from "../session/entity_ids.ts";
import type { ClientState } from "./client_state.ts";
import type { ClientView } from "./client_view.ts";
import { type BatchSink, EngineBatchReader, markAgain } from "./engine_batch.ts";

type Batch = Extract<ToDriver, { kind: "batch" }>;

/** One client's own entities. Call `begin` with each join, before anything else of it. */
export class ClientOwn {
  readonly #state: ClientState;
  readonly #view: ClientView;
  readonly #reader: EngineBatchReader;
  readonly #ids = new EntityIdPool();
  /** Ids taken from the pool of the present link: the server hears of them over this link or not at all. */
  readonly #fresh = new Set<EntityId>();
  /** Entities that the batch being applied brings back from an earlier driver or link, with the components that they have. */
  readonly #returning = new Set<EntityId>();
  /** Last tick that was sent: what changes belongs to a later one. */
  readonly #sentTick: () => number;
  /** When the engine was told a value of the server for one of its own components, by entity and component; oldest first. */
  readonly #overrides = new Map<number, number>();
  /** Entities ended here of which the server may not have heard: should the link break, the next one has to tell it. */
  readonly #ended = new Set<EntityId>();
  /** The newest link's. */
  #sender: SnapshotSender | undefined;
  #world: World;
  /** Last sample time given to a batch. */
  #stamp = 0;
  /** Neutral values by component index. */
  readonly #neutral: readonly ComponentValue[];
  readonly #scratch: readonly ComponentValue[];

  /** @param sentTick The last tick that was sent. */
  constructor(state: ClientState, view: ClientView, sentTick: () => number) {
    this.#state = state;
    this.#view = view;
    this.#sentTick = sentTick;
    this.#reader = new EngineBatchReader(state.grants, state.gate, state.handles);
    this.#world = new World(state.grants);
    this.#scratch = state.grants.components.map((component) => createValue(component));
    this.#neutral = state.grants.components.map((component) => {
      const value = createValue(component);
      setNeutral(component, value);
      return value;
    });
  }

  /** The world that is sent: own entities, and former ones whose new owner the server has not heard we know. */
  get world(): World {
    return this.#world;
  }

  /** Whether this client owns the entity. */
  isOwn(id: EntityId): boolean {
    return this.#world.isAlive(id) && this.#world.owner(id) === this.#state.peer;
  }

  /** Whether it was ended here, and the server has not confirmed that it heard. */
  isEnding(id: EntityId): boolean {
    return this.#ended.has(id) && this.#sender?.hasAckedDespawn(id) !== true;
  }

  /**
   * Calls `fn` with each component of an entity in which a header of another epoch has the last word: all of those lost, and of an own one what
   * the server has heard of, and what this client may not write any more. Only an addition that is still under way is said again.
   */
  forEachUnsaid(id: EntityId, fn: (c: number) => void): void {
    if (!this.#world.isAlive(id)) return;
    const isOwn = this.isOwn(id);
    this.#world.forEachComponent(id, (c) => {
      if (!isOwn || !this.mayWrite(c) || this.#sender?.wasHeard(id, c) === true) fn(c);
    });
  }

  /** Starts in another place, where nothing of before is known. */
  reset(): void {
    this.#world = new World(this.#state.grants);
    this.#state.handles.clear();
    this.#ended.clear();
    this.#sender = undefined;
    this.#stamp = 0;
  }

  /** A link is there, with these ids to spawn with. */
  begin(entityIds: readonly EntityId[]): void {
    this.#fresh.clear();
    this.#ids.clear();
    this.#settleEnded();
    this.#ids.add(entityIds.filter((id) => !this.#world.isAlive(id) && !this.#ended.has(id)));
    this.#sender = this.#state.joined?.sender;
    for (const id of this.#ended) this.#sender?.assume(id);
    this.#world.forEachOwned(this.#state.peer, (id) => this.#view.adopt(id));
    this.noteUnwritable();
  }

  /** Forgets the ends that the server has acknowledged. */
  #settleEnded(): void {
    for (const id of this.#ended) {
      if (this.#sender?.hasAckedDespawn(id) === true) this.#ended.delete(id);
    }
  }

  /** More ids to spawn with. */
  addIds(ids: readonly EntityId[]): void {
    this.#ids.add(ids);
  }

  /** Applies a batch of the engine. */
  applyBatch(batch: Batch, nowMs: number): void {
    const state = this.#state;
    // Each batch has a time of its own: two that come in one moment are still two samples.
    const time = Math.max(state.timeAt(nowMs), this.#stamp + 1);
    this.#stamp = time;
    this.#returning.clear();
    const named: number[] = [];
    const composition = compositionOf(batch, this.#reader);
    // Who is where is the server's to say, and nobody on this side knows.
    for (let i = 0; i + 1 < batch.zones.length; i += 2) {
      const id = state.handles.idOf(batch.zones[i]!);
      state.deny(Rule.Role, "zone", batch.zones[i + 1]!, 0, id, state.peer);
    }
    // First what makes room: an engine may replace what it has as many of as it may.
    for (const handle of batch.despawns) this.#despawn(handle);
    for (const handle of batch.spawns) {
      const id = this.#spawn(handle, composition.get(handle) ?? []);
      if (id !== undefined) named.push(handle, id);
    }
    if (named.length > 0) state.push({ kind: "named", pairs: Uint32Array.from(named) });
    const sink = this.#sink(composition, time);
    for (const rows of batch.components) this.#reader.readRows(rows, sink);
    for (let i = 0; i + 1 < batch.removes.length; i += 2) {
      this.#remove(batch.removes[i]!, batch.removes[i + 1]!);
    }
    state.push({ kind: "stamped", id: batch.id, time });
  }

  /** The engine wants to hear these components again: `[handle, componentId]` pairs, flat. */
  resend(pairs: Uint32Array): void {
    markAgain(pairs, this.#state.handles, this.#reader, this.#state.outbox);
  }

  // ---- what the server says

  /** Owner and epoch of an entity that is ours, was, or will be. */
  adopt(id: EntityId, owner: number, epoch: number): void {
    const { peer } = this.#state;
    const world = this.#world;
    const wasOwn = this.isOwn(id);
    if (owner !== peer && !world.isAlive(id)) return;
    if (!world.isAlive(id)) {
      // A slot has one entity at a time; a server that says otherwise is not believed.
      if (world.idAt(entitySlot(id)) !== NO_ENTITY) return;
      world.spawn(id, peer, this.#tick);
    }
    const before = world.epoch(id);
    world.adoptHeader(id, owner, epoch, this.#tick);
    if (owner !== peer) return this.#blank(id);
    if (!wasOwn) {
      this.#dropLost(id);
      this.#view.forEachHeld(id, (component, mask, value, time) => {
        this.override(id, component, mask, value, time);
      });
    } else if (before !== epoch) {
      // What was sent under the old epoch may have been refused, though it was not what the server changed.
      world.forEachComponent(id, (c) => this.#state.joined?.sender.putRight(id, c));
    }
  }

  /** An entity is ours again: what we had of it before, and was taken away meanwhile, is not said anew. Of what we do not read we hear nothing. */
  #dropLost(id: EntityId): void {
    const { role, adjusted } = this.#state;
    for (const component of this.#state.grants.components) {
      const c = component.index;
      if (!this.#world.hasComponent(id, c) || this.#view.heldMask(id, c) !== 0) continue;
      if (readMaskOf(component, role, true, adjusted) === 0) continue;
      this.#world.removeComponent(id, c, this.#tick);
    }
  }

  /** Rights have changed: what this client may neither read nor write any more is erased from what it holds of own entities. */
  forgetUnreadable(): void {
    const { maxSlot } = this.#world;
    for (let slot = 1; slot <= maxSlot; slot++) {
      const id = this.#world.idAt(slot);
      if (id !== NO_ENTITY) this.#blank(id);
    }
  }

  /**
   * A link has begun, or rights have changed: the engine may have components of own entities that it may not write any more. The server takes
   * none of them now, so that the next header says which there are; one that was lost, or came too late, goes with it.
   */
  noteUnwritable(): void {
    this.#world.forEachOwned(this.#state.peer, (id) => {
      this.#world.forEachComponent(id, (c) => {
        if (!this.mayWrite(c)) this.#view.noteShown(id, c);
      });
    });
  }

  /** Whether this client may write anything of a component of its own entities now. */
  mayWrite(c: number): boolean {
    const { role, adjusted } = this.#state;
    return ownWriteMaskOf(this.#component(c), role, adjusted) !== 0;
  }

  /** Erases the fields of an entity that this client may not know. What it may write it knows, whatever it reads. */
  #blank(id: EntityId): void {
    const world = this.#world;
    const { grants, role, adjusted } = this.#state;
    const isOwn = this.isOwn(id);
    world.forEachComponent(id, (c) => {
      const component = grants.components[c]!;
      const known = readMaskOf(component, role, isOwn, adjusted) |
        (isOwn ? ownWriteMaskOf(component, role, adjusted) : 0);
      const unknown = component.allFields & ~known;
      if (unknown !== 0) world.blank(id, c, unknown, this.#neutral[c]!);
    });
  }

  /**
   * Takes the server's value of a component that this client may write, so that its next write starts from there. It counts whole: in the
   * fields that the server did not change it has what it knew of ours, and our later writes to those were refused with the others.
   */
  override(
    id: EntityId,
    c: number,
    mask: number,
    value: ComponentValue,
    time: TimelineTime,
  ): void {
    if (this.#component(c).authority !== "owner") return;
    const world = this.#world;
    if (world.hasComponent(id, c)) {
      const whole = this.#scratch[c]!;
      const held = this.#view.read(id, c, whole);
      world.write(id, c, held, whole, Math.max(this.#tick, world.versionTick(id, c)), time);
    } else {
      world.addComponent(id, c, this.#wholeOf(id, c, mask, value), this.#tick, time);
    }
    this.#state.joined?.sender.markSynced(id, c);
    this.#noteOverride(id, c);
  }

  /** All that is known of a component, under the fields of `mask`; what this client may write and not read is neutral, not nothing. */
  #wholeOf(id: EntityId, c: number, mask: number, value: ComponentValue): ComponentValue {
    const component = this.#component(c);
    const whole = createValue(component);
    const held = mask | this.#view.read(id, c, whole);
    copyFields(component, value, whole, mask);
    copyFields(component, this.#neutral[c]!, whole, component.allFields & ~held);
    return whole;
  }

  #noteOverride(id: EntityId, c: number): void {
    const { nowMs } = this.#state;
    // Oldest first, so that what is over is found at once.
    for (const [key, ms] of this.#overrides) {
      if (nowMs - ms < OVERRIDE_ECHO_MS) break;
      this.#overrides.delete(key);
    }
    const key = id * MAX_COMPONENTS + c;
    this.#overrides.delete(key);
    this.#overrides.set(key, nowMs);
  }

  /** A header of an own entity names a component no more; whether it was taken away. Of what this client may not read it says nothing. */
  dropComponent(id: EntityId, c: number): boolean {
    const component = this.#component(c);
    const { role, adjusted } = this.#state;
    const isTold = readMaskOf(component, role, true, adjusted) !== 0;
    if (!isTold && ownWriteMaskOf(component, role, adjusted) !== 0) return false;
    if (component.authority === "owner" && this.#world.hasComponent(id, c)) {
      this.#world.removeComponent(id, c, this.#tick);
    }
    return true;
  }

  /** An own entity ended at the server. */
  handleGone(id: EntityId): void {
    if (this.#world.isAlive(id)) this.#world.despawn(id, this.#tick);
    this.#fresh.delete(id);
  }

  /**
   * The server refused a spawn: the engine rolls it back. So the server answers, too, when a header of ours comes for an entity that has just
   * ended there: of one that it has named itself the end comes with the state, or has just come, and one that our engine did not make ends there.
   */
  handleSpawnRefused(id: EntityId, rule: Rule): void {
    const { handles, outbox } = this.#state;
    const handle = handles.handleOf(id);
    if (this.#view.isKnown(id) || outbox.awaitsEnd(id)) return;
    if (this.#world.isAlive(id)) {
      this.handleGone(id);
      this.#view.forget(id);
    }
    if (handle === 0) return;
    if (handle >= DRIVER_HANDLE_BIT) return outbox.markDespawn(id);
    handles.unbindId(id);
    outbox.forget(id);
    outbox.push({ kind: "spawnRefused", handle, rule });
  }

  // ---- what the engine does

  get #tick(): number {
    return this.#sentTick() + 1;
  }

  #component(c: number): ComponentGrant {
    return this.#state.grants.components[c]!;
  }

  #spawn(handle: Handle, components: readonly number[]): EntityId | undefined {
    const { handles, gate, role, peer } = this.#state;
    const known = handles.idOf(handle);
    if (known !== NO_ENTITY && this.isOwn(known)) return undefined;
    // One that comes back under its name lives in the world already, as far as its engine knows: only the server can refuse it.
    const decision = known !== NO_ENTITY ? ALLOWED : gate.decideSpawn({
      components,
      roleIndex: role,
      ownedCount: this.#world.countOwned(peer),
      ownedWith: (c) => this.#ownedWith(c),
      direction: "out",
    });
    // An engine that comes back with an entity of before keeps its name; should the entity have ended meanwhile, the server refuses it.
    const id = !decision.allowed
      ? undefined
      : known !== NO_ENTITY && this.#isFree(known)
      ? known
      : this.#takeId();
    if (id === undefined) {
      const rule = decision.allowed ? Rule.SpawnCount : decision.rule;
      this.#state.deny(rule, "spawn", 0, 0, NO_ENTITY, peer, handle);
      this.#state.push({ kind: "spawnRefused", handle, rule });
      return undefined;
    }
    if (id !== known) {
      handles.bind(handle, id);
      this.#fresh.add(id);
    }
    if (known !== NO_ENTITY) this.#returning.add(id);
    this.#world.spawn(id, peer, this.#tick);
    this.#view.adopt(id);
    return id;
  }

  /** The next id to spawn with. A server that gives what no entity can have, or has already, gives nothing. */
  #takeId(): EntityId | undefined {
    for (;;) {
      const id = this.#ids.take();
      if (id === undefined || this.#isFree(id)) return id;
    }
  }

  #isFree(id: EntityId): boolean {
    const slot = entitySlot(id);
    return slot >= 1 && slot <= this.#state.grants.maxEntities &&
      this.#world.idAt(slot) === NO_ENTITY && !this.#view.isAnnounced(id);
  }

  #sink(composition: ReadonlyMap<Handle, number[]>, time: TimelineTime): BatchSink {
    const state = this.#state;
    return {
      role: state.role,
      adjusted: state.adjusted,
      ownership: (id) =>
        this.isOwn(id)
          ? { isOwner: true }
          : this.#view.isAnnounced(id)
          ? { isOwner: false }
          : undefined,
      applyRow: (id, component, mask, value) => this.#applyRow(id, component, mask, value, time),
      refuseRow: (handle, id, component, componentId, fields, rule) => {
        // A row of a spawn that was refused a moment ago has been told already.
        if (id === NO_ENTITY && composition.has(handle)) return;
        state.deny(rule, "component", componentId, fields, id, state.peer, handle);
        if (component !== undefined && id !== NO_ENTITY) {
          state.outbox.markValue(id, component.index);
        }
      },
    };
  }

  #applyRow(
    id: EntityId,
    component: ComponentGrant,
    mask: number,
    value: ComponentValue,
    time: TimelineTime,
  ): void {
    const state = this.#state;
    const c = component.index;
    if (this.#world.hasComponent(id, c)) {
      this.#world.write(id, c, mask, value, this.#tick, time);
      // It may have passed the server's value on its way: then the engine believes that one, and is told what counts.
      const saidMs = this.#overrides.get(id * MAX_COMPONENTS + c) ?? -Infinity;
      if (state.nowMs - saidMs < OVERRIDE_ECHO_MS) state.outbox.markValue(id, c);
      return;
    }
    const decision = this.#returning.has(id) ? ALLOWED : state.gate.decideChange({
      component: c,
      op: "add",
      roleIndex: state.role,
      isOwner: true,
      ownedWith: (other) => this.#ownedWith(other),
      direction: "out",
    });
    if (decision.allowed) {
      this.#world.addComponent(
        id,
        c,
        this.#reader.wholeOf(component, mask, value),
        this.#tick,
        time,
      );
      return;
    }
    state.deny(decision.rule, "component", component.id, mask, id, state.peer);
    state.outbox.markRemove(id, c);
  }

  #remove(handle: Handle, componentId: number): void {
    const state = this.#state;
    const id = state.handles.idOf(handle);
    const component = this.#reader.component(componentId);
    if (component === undefined || !this.isOwn(id)) return;
    if (!this.#world.hasComponent(id, component.index)) return;
    const decision = state.gate.decideChange({
      component: component.index,
      op: "remove",
      roleIndex: state.role,
      isOwner: true,
      ownedWith: () => 0,
      direction: "out",
    });
    if (decision.allowed) {
      this.#world.removeComponent(id, component.index, this.#tick);
      return;
    }
    state.deny(decision.rule, "component", component.id, 0, id, state.peer);
    state.outbox.markValue(id, component.index);
  }

  #despawn(handle: Handle): void {
    const { handles, outbox, joined } = this.#state;
    const id = handles.idOf(handle);
    if (id === NO_ENTITY) return;
    const isOwn = this.isOwn(id);
    if (!isOwn && (this.#view.isAnnounced(id) || handle >= DRIVER_HANDLE_BIT)) {
      return this.#state.deny(Rule.NotOwner, "despawn", 0, 0, id, this.#state.peer);
    }
    if (joined !== undefined && !joined.sender.wasTold(id)) {
      // Nobody heard of it: the id is as good as new. Of one that an earlier link told of, the end has to be told over this one.
      if (this.#fresh.has(id)) this.#ids.add([id]);
      else joined.sender.assume(id);
    }
    if (joined?.sender.wasTold(id) === true) {
      this.#settleEnded();
      this.#ended.add(id);
    }
    this.#fresh.delete(id);
    if (isOwn) this.#world.despawn(id, this.#tick);
    this.#view.forget(id);
    outbox.forget(id);
    handles.unbindHandle(handle);
  }

  #ownedWith(component: number): number {
    let count = 0;
    this.#world.forEachOwned(this.#state.peer, (id) => {
      if (this.#world.hasComponent(id, component)) count += 1;
    });
    return count;
  }
}

/** Component indices that a batch gives to each of its new handles. */
function compositionOf(batch: Batch, reader: EngineBatchReader): Map<Handle, number[]> {
  const composition = new Map<Handle, number[]>();
  for (const handle of batch.spawns) composition.set(handle, []);
  for (const rows of batch.components) {
    const component = reader.component(rows.componentId);
    if (component === undefined) continue;
    for (const handle of rows.handles) composition.get(handle)?.push(component.index);
  }
  return composition;
}
