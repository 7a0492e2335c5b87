// The server's door for state that peers send: spawns, compositions and values of their own entities. Every entry is judged (grant, role,
// ownership, epoch, rate), then applied to the world, or refused, counted, told, and put right. It sends nothing itself.

import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import {
  CHECK_SILENCE_S,
  CROSSING_MS,
  SPAWN_COUNT_WAIT_MS,
  SPAWN_LOOKS_PER_TICK,
  SPAWN_WAIT_MS,
} from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { Rule, ruleCode } from "../permissions/rule.ts";
import { type ComponentGrant, ownWriteMaskOf } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { DecodedSnapshot, SnapshotEntry } from "../replication/snapshot_receiver.ts";
import { setNeutral } from "../replication/quantise.ts";
import {
  changedFields,
  type ComponentValue,
  copyFields,
  copyValue,
  createValue,
} from "../replication/value.ts";
import { CheckDoor } from "./check_door.ts";
import { clampSampleTime } from "./sample_time.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";

/** Applies what peers send. */
export class ServerWrites {
  readonly #state: ServerState;
  readonly #received: ComponentValue[];
  /** Fields that each of them holds. */
  readonly #held: number[];
  readonly #whole: ComponentValue[];
  /** By component, keyed by slot: an entity has one owner, so its writes are one peer's. */
  readonly #limits: RateLimiter[];
  readonly #checks: CheckDoor;
  /** Entities that the peer looked at owns, by component; only while all its spawns are looked at. */
  #counted: Map<number, number> | undefined;

  /** Applies to the state's world. */
  constructor(state: ServerState) {
    const { components, maxEntities } = state.grants;
    this.#state = state;
    this.#received = components.map((component) => createValue(component));
    this.#held = components.map(() => 0);
    this.#whole = components.map((component) => createValue(component));
    this.#checks = new CheckDoor(state);
    const maxKeys = maxEntities + 1;
    // What a path held up comes in at once.
    const stallMs = CHECK_SILENCE_S * 1000;
    this.#limits = components.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys, stallMs }));
  }

  /** An entity is gone: its slot's next one starts with fresh allowances. */
  forget(id: EntityId): void {
    for (const limit of this.#limits) limit.forget(entitySlot(id));
    this.#checks.forget(id);
  }

  /** A tick has come: what was remembered for long enough is erased. */
  expire(nowMs: number): void {
    this.#checks.expire(nowMs);
  }

  /** Applies one committed snapshot of `peer`; what changes belongs to the next tick. `time` is the present. */
  apply(peer: ServerPeer, snapshot: DecodedSnapshot, time: TimelineTime, nowMs: number): void {
    for (let i = 0; i < snapshot.count; i++) {
      const entry = snapshot.entries[i]!;
      if (!entry.fresh) continue;
      if (entry.kind === "header") this.#applyHeader(peer, entry, nowMs);
      else this.#applyValue(peer, entry, time, nowMs);
    }
    // Only what this snapshot speaks of can have become whole by it; all the others are looked at once a tick.
    if (peer.pendingSpawns.size === 0) return;
    for (let i = 0; i < snapshot.count; i++) {
      this.#finishSpawn(peer, snapshot.entries[i]!.id, time, nowMs);
    }
    for (const { id } of snapshot.pieces) this.#finishSpawn(peer, id, time, nowMs);
  }

  /** Refuses a spawn that waits for its components: the peer's rights changed. It may ask again with its new ones. */
  cancelSpawn(peer: ServerPeer, id: EntityId): void {
    this.#refuseSpawn(peer, Rule.SpawnRole, id, this.#state.nowMs);
  }

  get #tick(): number {
    return this.#state.lastTick + 1;
  }

  #applyHeader(peer: ServerPeer, entry: SnapshotEntry, nowMs: number): void {
    const { world } = this.#state;
    const { id } = entry;
    // Its former owner no longer speaks for it.
    if (entry.state === "outOfView") return;
    const isAlive = world.isAlive(id);
    if (isAlive && world.owner(id) !== peer.peer) {
      return this.#deny(peer, Rule.NotOwner, undefined, 0, id, nowMs);
    }
    if (entry.state === "gone") {
      peer.pendingSpawns.delete(id);
      if (isAlive) {
        this.#checks.bury(peer, id, nowMs);
        this.#state.despawn(id);
      } // Spawned and despawned before it came to life here: the id is used up all the same.
      else if (peer.freeIds.delete(id)) this.#state.ids.rest(id, peer.peer);
      return;
    }
    if (isAlive) this.#compose(peer, entry, nowMs);
    else this.#requestSpawn(peer, entry, nowMs);
  }

  #requestSpawn(peer: ServerPeer, entry: SnapshotEntry, nowMs: number): void {
    const { id } = entry;
    if (!peer.freeIds.has(id)) return this.#refuseSpawn(peer, Rule.EntityUnknown, id, nowMs);
    const known = peer.pendingSpawns.get(id);
    const rule = this.#spawnRule(peer, entry.visible);
    // One too many may follow on a despawn that is still under way: how many there are is asked again when it would come to life.
    if (rule !== undefined && rule !== Rule.SpawnCount) {
      return this.#refuseSpawn(peer, rule, id, nowMs);
    }
    // No more can wait than there are ids in its hand.
    peer.pendingSpawns.set(id, {
      components: [...entry.visible],
      expiresMs: known?.expiresMs ?? nowMs + SPAWN_WAIT_MS,
      countedMs: known?.countedMs ?? nowMs + SPAWN_COUNT_WAIT_MS,
    });
  }

  /** Why a peer may not spawn an entity with these components now. */
  #spawnRule(peer: ServerPeer, components: readonly number[]): Rule | undefined {
    const decision = this.#state.gate.decideSpawn({
      components,
      roleIndex: peer.role,
      ownedCount: this.#state.world.countOwned(peer.peer),
      ownedWith: (c) => this.#countOwnedWith(peer.peer, c),
      direction: "in",
    });
    return decision.allowed ? undefined : decision.rule;
  }

  /** Looks at spawns that wait, a share of them where they are many: spawns what has all arrived, and gives up what waits too long. */
  finishSpawns(peer: ServerPeer, time: TimelineTime, nowMs: number): void {
    if (peer.pendingSpawns.size === 0) return;
    this.#counted = new Map();
    const { pendingSpawns } = peer;
    const isShare = pendingSpawns.size > SPAWN_LOOKS_PER_TICK;
    let looks = 0;
    for (const [id, pending] of pendingSpawns) {
      if (looks >= SPAWN_LOOKS_PER_TICK) break;
      looks += 1;
      this.#finishSpawn(peer, id, time, nowMs);
      if (!isShare || pendingSpawns.get(id) !== pending) continue;
      // To the end of the line: the others have their turn first.
      pendingSpawns.delete(id);
      pendingSpawns.set(id, pending);
    }
    this.#counted = undefined;
  }

  /** Entities with a component that a peer owns; while all its spawns are looked at, counted once. */
  #countOwnedWith(peer: number, component: number): number {
    const known = this.#counted?.get(component);
    if (known !== undefined) return known;
    const count = this.#ownedWith(peer, component);
    this.#counted?.set(component, count);
    return count;
  }

  #finishSpawn(peer: ServerPeer, id: EntityId, time: TimelineTime, nowMs: number): void {
    const pending = peer.pendingSpawns.get(id);
    if (pending === undefined) return;
    const state = this.#state;
    const { receiver } = peer;
    const isWhole = pending.components.every((c) => receiver.newestTick(id, c) >= 0);
    const rule = isWhole ? this.#spawnRule(peer, pending.components) : Rule.Format;
    if (rule !== undefined) {
      if (nowMs < (isWhole ? pending.countedMs : pending.expiresMs)) return;
      return this.#refuseSpawn(peer, rule, id, nowMs);
    }
    const broken = this.#judgeSpawn(peer, id, pending.components, time, nowMs);
    if (broken === undefined) {
      return this.#refuseSpawn(peer, Rule.Check, id, nowMs);
    }
    peer.pendingSpawns.delete(id);
    peer.freeIds.delete(id);
    state.chooseViewpoint(peer);
    const zone = state.zones.of(peer);
    state.world.spawn(id, peer.peer, this.#tick);
    // What somebody makes behind a closed door is not seen outside before the engine has heard of it.
    state.world.setZone(id, zone, this.#tick);
    // It speaks of the entity from now on, and has to hear of its end, should that come before anything else.
    peer.sender.assume(id);
    // Only a spawn changes the counts while spawns are looked at.
    this.#counted?.clear();
    for (const [i, c] of pending.components.entries()) {
      const received = this.#received[c]!;
      const held = this.#held[c]!;
      this.#add(id, c, held, received, receiver.timeOf(id, c), peer, time);
      this.#settleSpawned(peer, id, c, held, nowMs);
      if (broken[i] !== 0) this.#refuseFields(peer, Rule.Check, c, broken[i]!, id, nowMs);
      // The first value spends from the same allowance as every later one.
      this.#limits[c]!.take(entitySlot(id), nowMs);
    }
    state.outbox.markSpawn(id);
    state.chooseViewpoint(peer);
  }

  /**
   * Judges the first values of a spawn, which stand in `#received` afterwards: for each component the fields that were not taken as they came;
   * `undefined` when the spawn is refused.
   */
  #judgeSpawn(
    peer: ServerPeer,
    id: EntityId,
    components: readonly number[],
    time: TimelineTime,
    nowMs: number,
  ): number[] | undefined {
    const { receiver } = peer;
    const broken: number[] = [];
    for (const c of components) {
      const received = this.#received[c]!;
      const held = receiver.read(id, c, received);
      this.#held[c] = held;
      const writable = this.#writable(peer, c, true);
      const fields = held & writable;
      const sampled = receiver.timeOf(id, c);
      copyValue(
        this.#checks.judge(peer, id, c, fields, writable, received, sampled, time, nowMs),
        received,
      );
      if (this.#checks.refused !== 0) {
        this.#checks.forget(id);
        return undefined;
      }
      broken.push(this.#checks.broken);
    }
    this.#checks.settle(peer, components);
    return broken;
  }

  /** Removes components of an entity that the peer owns; added ones come with their values. */
  #compose(peer: ServerPeer, entry: SnapshotEntry, nowMs: number): void {
    const { world, outbox, writers } = this.#state;
    const { id } = entry;
    if (entry.epoch !== world.epoch(id)) return;
    for (const component of this.#state.grants.components) {
      const c = component.index;
      if (!world.hasComponent(id, c)) continue;
      if (entry.visible.includes(c) || entry.hidden.includes(c)) continue;
      // Headers of peers list what they write; of the rest they say nothing.
      if (ownWriteMaskOf(component, peer.role, peer.adjusted) === 0) continue;
      const decision = this.#state.gate.decideChange({
        component: c,
        op: "remove",
        roleIndex: peer.role,
        isOwner: true,
        ownedWith: () => 0,
        direction: "in",
      });
      if (!decision.allowed) continue;
      // Of what it may not read it knows only what it did itself; of the rest, what it has been told.
      const isKnown = peer.sender.isWithheld(c)
        ? writers.isBy(id, c, peer.peer)
        : peer.sender.isAcked(id, c);
      if (!isKnown) continue;
      this.#checks.remove(id, c, nowMs);
      world.removeComponent(id, c, this.#tick);
      outbox.markRemove(id, c);
    }
  }

  /** The peer has what it spawned with, unless this host keeps a part of it out: then it is told, and put right. */
  #settleSpawned(peer: ServerPeer, id: EntityId, c: number, held: number, nowMs: number): void {
    peer.sender.markSynced(id, c);
    const component = this.#state.grants.components[c]!;
    const kept = held & ownWriteMaskOf(component, peer.role, peer.adjusted) &
      ~this.#writable(peer, c, true);
    if (kept === 0) return;
    this.#deny(peer, Rule.Host, component, kept, id, nowMs);
    peer.sender.putRight(id, c);
  }

  #applyValue(peer: ServerPeer, entry: SnapshotEntry, time: TimelineTime, nowMs: number): void {
    const { world, gate, grants, outbox, writers } = this.#state;
    const { id, component: c } = entry;
    if (!world.isAlive(id)) return;
    const component = grants.components[c]!;
    const isOwner = world.owner(id) === peer.peer;
    const passing = this.#writable(peer, c, isOwner);
    const readable = gate.readMask(c, peer.role, isOwner, peer.adjusted);
    const fields = entry.held & passing & ~this.#unsaid(peer, entry, passing & ~readable);
    const decision = gate.decideWrite({
      component: c,
      mask: entry.mask,
      roleIndex: peer.role,
      isOwner,
      direction: "in",
      adjusted: peer.adjusted,
    });
    // Fields that this host alone keeps out do not keep the others out.
    if (!decision.allowed && (decision.rule !== Rule.Host || fields === 0)) {
      return this.#refuse(peer, decision.rule, entry, nowMs);
    }
    // A denial says that the world has another value: of what the peer may not read it must not say even that.
    const isCut = !decision.allowed && this.#differs(entry, entry.mask & ~passing & readable);
    // An override stands until its owner has acknowledged it; only then do the owner's writes count again.
    const isKnown = world.hasComponent(id, c);
    if (entry.epoch !== world.epoch(id) || (isKnown && !peer.sender.isAcked(id, c))) {
      return this.#deny(peer, Rule.StaleEpoch, component, entry.mask, id, nowMs);
    }
    if (!isKnown) {
      const added = gate.decideChange({
        component: c,
        op: "add",
        roleIndex: peer.role,
        isOwner,
        ownedWith: (other) => this.#ownedWith(peer.peer, other),
        direction: "in",
      });
      if (!added.allowed) return this.#deny(peer, added.rule, component, entry.mask, id, nowMs);
      if (writers.takeUnheard(id, c, peer.peer)) {
        // With the next epoch it hears that there is none.
        world.raiseEpoch(id, this.#tick);
        return this.#deny(peer, Rule.StaleEpoch, component, entry.mask, id, nowMs);
      }
    }
    if (!this.#limits[c]!.take(entitySlot(id), nowMs)) {
      return this.#refuse(peer, Rule.Rate, entry, nowMs);
    }
    const checks = this.#checks;
    const value = checks.judge(peer, id, c, fields, passing, entry.value, entry.time, time, nowMs);
    const { refused, broken, sampled } = checks;
    if (!isKnown) {
      if (refused !== 0) return this.#deny(peer, Rule.Check, component, refused, id, nowMs);
      this.#add(id, c, entry.held, value, sampled, peer, time);
      peer.sender.markSynced(id, c);
    } else if (world.write(id, c, fields & ~refused, value, this.#tick, sampled) !== 0) {
      peer.sender.markSynced(id, c);
      outbox.markValue(id, c);
    }
    if (isKnown) writers.noteWritten(id, c, peer.peer, fields & ~refused);
    if (broken !== 0) this.#refuseFields(peer, Rule.Check, c, broken, id, nowMs);
    if (isCut) this.#refuse(peer, Rule.Host, entry, nowMs);
  }

  /**
   * Fields of an entry, out of `blind` ones that the peer writes and does not read, in which it has said nothing yet: a value comes whole, and in
   * these it has the neutral one, which must not take the place of the world's.
   */
  #unsaid(peer: ServerPeer, { id, component: c, value }: SnapshotEntry, blind: number): number {
    const { world, writers, grants } = this.#state;
    if (blind === 0 || !world.hasComponent(id, c)) return 0;
    const unknown = blind & ~writers.fieldsOf(id, c, peer.peer);
    if (unknown === 0) return 0;
    const component = grants.components[c]!;
    const neutral = this.#whole[c]!;
    setNeutral(component, neutral);
    return unknown & ~changedFields(component, value, neutral, unknown);
  }

  /** Whether any of these fields of an entry is another than the world's: an absolute value repeats those that were put right. */
  #differs(entry: SnapshotEntry, mask: number): boolean {
    const { world, grants } = this.#state;
    const present = this.#whole[entry.component]!;
    if (!world.read(entry.id, entry.component, present)) return true;
    return changedFields(grants.components[entry.component]!, entry.value, present, mask) !== 0;
  }

  /** Adds a component with the fields that the peer gave and may write; the others are neutral, or as the checks made them. */
  #add(
    id: EntityId,
    c: number,
    held: number,
    received: ComponentValue,
    sampled: TimelineTime,
    peer: ServerPeer,
    time: TimelineTime,
  ): void {
    const { world, grants, outbox, writers } = this.#state;
    const component = grants.components[c]!;
    const whole = this.#whole[c]!;
    setNeutral(component, whole);
    // The world's rights and this host's: what either denies stays neutral.
    const writable = this.#writable(peer, c, true);
    copyFields(component, received, whole, this.#checks.fieldsAdded(c, held & writable, writable));
    world.addComponent(
      id,
      c,
      whole,
      this.#tick,
      clampSampleTime(sampled, time, grants.tickHz),
    );
    writers.noteAdded(id, c, peer.peer, held);
    outbox.markValue(id, c);
  }

  /** Counts and tells a refused write and sends the authoritative value back. */
  #refuse(peer: ServerPeer, rule: Rule, entry: SnapshotEntry, nowMs: number): void {
    const { id, component } = entry;
    this.#deny(peer, rule, this.#state.grants.components[component], entry.mask, id, nowMs);
    if (this.#state.world.hasComponent(id, component)) peer.sender.putRight(id, component);
  }

  /** As `#refuse`, for some fields of a value of which the others count. */
  #refuseFields(
    peer: ServerPeer,
    rule: Rule,
    c: number,
    fields: number,
    id: EntityId,
    nowMs: number,
  ): void {
    this.#deny(peer, rule, this.#state.grants.components[c], fields, id, nowMs);
    peer.sender.putRight(id, c);
  }

  /** Counts and tells a refused spawn, which the peer's engine rolls back; the id is used up. */
  #refuseSpawn(peer: ServerPeer, rule: Rule, id: EntityId, nowMs: number): void {
    peer.pendingSpawns.delete(id);
    const isItsOwn = peer.freeIds.delete(id);
    // Until it hears of this it goes on speaking of the entity, and counts from what it knows to be received.
    if (isItsOwn) this.#state.ids.rest(id, peer.peer, nowMs + CROSSING_MS);
    if (isItsOwn || peer.strayLimit.take(0, nowMs)) {
      peer.tell({ kind: "spawnRefused", id, rule: ruleCode(rule) });
    }
    this.#state.deny(peer, rule, "spawn", 0, 0, id, nowMs);
  }

  #deny(
    peer: ServerPeer,
    rule: Rule,
    component: ComponentGrant | undefined,
    fields: number,
    id: EntityId,
    nowMs: number,
  ): void {
    const known = this.#state.world.isAlive(id) ? id : NO_ENTITY;
    this.#state.deny(peer, rule, "component", component?.id ?? 0, fields, known, nowMs);
  }

  /** Fields of a component that the peer may write here, of its own entities or of others. */
  #writable({ role, adjusted }: ServerPeer, component: number, isOwner: boolean): number {
    return this.#state.gate.writeMask(component, role, isOwner, "in", adjusted);
  }

  #ownedWith(peer: number, component: number): number {
    const { world } = this.#state;
    let count = 0;
    world.forEachOwned(peer, (id) => {
      if (world.hasComponent(id, component)) count += 1;
    });
    return count;
  }
}
