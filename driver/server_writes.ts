// The server's door for state that peers send: spawns, compositions and values of their own entities. Every entry is judged (grant, role,
// ownership, epoch, rate), then applied to the world, or refused, counted, told, and put right. It sends nothing itself.

import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import {
  MAX_PENDING_SPAWNS,
  OWNER_TIME_AHEAD_MS,
  OWNER_TIME_BEHIND_MS,
} from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { Rule } from "../permissions/rule.ts";
import type { Gate } from "../permissions/gate.ts";
import type { Grants } from "../permissions/grants.ts";
import type { DecodedSnapshot, SnapshotEntry } from "../replication/snapshot_receiver.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import type { World } from "../replication/world.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { EngineOutbox } from "./engine_outbox.ts";
import type { ServerPeer } from "./server_peer.ts";

/** What the door reports. */
export interface WriteEvents {
  /** A write was refused. */
  denied(
    peer: ServerPeer,
    rule: Rule,
    component: number,
    fields: number,
    id: EntityId,
    nowMs: number,
  ): void;
  /** A spawn was refused: its peer's engine must roll it back. */
  spawnRefused(peer: ServerPeer, rule: Rule, id: EntityId, nowMs: number): void;
  /** A peer's entity has come to life. */
  spawned(peer: ServerPeer, id: EntityId): void;
  /** A peer took its entity out of the world: take it out here too. */
  despawn(id: EntityId): void;
}

/** Applies what peers send. */
export class ServerWrites {
  readonly #grants: Grants;
  readonly #gate: Gate;
  readonly #world: World;
  readonly #outbox: EngineOutbox;
  readonly #events: WriteEvents;
  readonly #scratch: ComponentValue[];
  /** By component, keyed by slot: an entity has one owner, so its writes are one peer's. */
  readonly #limits: RateLimiter[];

  constructor(grants: Grants, gate: Gate, world: World, outbox: EngineOutbox, events: WriteEvents) {
    this.#grants = grants;
    this.#gate = gate;
    this.#world = world;
    this.#outbox = outbox;
    this.#events = events;
    this.#scratch = grants.components.map((component) => createValue(component));
    const maxKeys = grants.maxEntities + 1;
    this.#limits = grants.components.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys }));
  }

  /** An entity is gone: its slot's next one starts with fresh allowances. */
  forget(id: EntityId): void {
    for (const limit of this.#limits) limit.forget(entitySlot(id));
  }

  /** Applies one committed snapshot of `peer`; what changes belongs to `tick`. */
  apply(
    peer: ServerPeer,
    snapshot: DecodedSnapshot,
    tick: number,
    time: TimelineTime,
    nowMs: number,
  ): void {
    for (let i = 0; i < snapshot.count; i++) {
      const entry = snapshot.entries[i]!;
      if (!entry.fresh) continue;
      if (entry.kind === "header") this.#applyHeader(peer, entry, tick, nowMs);
      else this.#applyValue(peer, entry, tick, time, nowMs);
    }
    if (peer.pendingSpawns.size > 0) this.#finishSpawns(peer, tick, time, nowMs);
  }

  #applyHeader(peer: ServerPeer, entry: SnapshotEntry, tick: number, nowMs: number): void {
    const { id } = entry;
    // Its former owner no longer speaks for it.
    if (entry.state === "outOfView") return;
    if (entry.state === "gone") {
      peer.pendingSpawns.delete(id);
      if (!this.#world.isAlive(id)) return;
      if (this.#world.owner(id) !== peer.peer) {
        this.#events.denied(peer, Rule.NotOwner, -1, 0, id, nowMs);
        return;
      }
      this.#events.despawn(id);
      return;
    }
    if (!this.#world.isAlive(id)) {
      this.#requestSpawn(peer, entry, tick, nowMs);
      return;
    }
    if (this.#world.owner(id) !== peer.peer) {
      this.#events.denied(peer, Rule.NotOwner, -1, 0, id, nowMs);
      return;
    }
    this.#compose(peer, entry, tick, nowMs);
  }

  #requestSpawn(peer: ServerPeer, entry: SnapshotEntry, tick: number, nowMs: number): void {
    const { id } = entry;
    if (!peer.freeIds.has(id)) {
      // The header of an entity despawned a moment ago is still under way; only an id that was never the peer's is an offence.
      this.#events.denied(peer, Rule.EntityUnknown, -1, 0, id, nowMs);
      return;
    }
    const decision = this.#gate.decideSpawn({
      components: entry.visible,
      roleIndex: peer.role,
      ownedCount: this.#world.countOwned(peer.peer) + peer.pendingSpawns.size,
      ownedWith: (component) => this.#ownedWith(peer.peer, component),
    });
    if (!decision.allowed) {
      this.#events.spawnRefused(peer, decision.rule, id, nowMs);
      return;
    }
    if (peer.pendingSpawns.size >= MAX_PENDING_SPAWNS && !peer.pendingSpawns.has(id)) {
      this.#events.spawnRefused(peer, Rule.SpawnCount, id, nowMs);
      return;
    }
    peer.pendingSpawns.set(id, {
      components: [...entry.visible],
      expiresTick: tick + 10 * this.#grants.tickHz,
    });
  }

  /** Spawns every pending entity whose declared components have all arrived. */
  #finishSpawns(peer: ServerPeer, tick: number, time: TimelineTime, nowMs: number): void {
    for (const [id, pending] of peer.pendingSpawns) {
      if (pending.expiresTick < tick) {
        peer.pendingSpawns.delete(id);
        this.#events.spawnRefused(peer, Rule.Format, id, nowMs);
        continue;
      }
      if (!pending.components.every((c) => peer.receiver.newestTick(id, c) >= 0)) continue;
      peer.pendingSpawns.delete(id);
      peer.freeIds.delete(id);
      this.#world.spawn(id, peer.peer, tick);
      for (const c of pending.components) {
        const value = this.#scratch[c]!;
        peer.receiver.read(id, c, value);
        const sampled = this.#clampTime(peer.receiver.timeOf(id, c), time);
        this.#world.addComponent(id, c, value, tick, sampled);
        peer.sender.markSynced(id, c);
        this.#outbox.markValue(id, c);
        // The first value spends from the same allowance as every later one.
        this.#limits[c]!.take(entitySlot(id), nowMs);
      }
      this.#outbox.markSpawn(id);
      this.#events.spawned(peer, id);
    }
  }

  /** Adds and removes components of an entity that the peer owns. */
  #compose(peer: ServerPeer, entry: SnapshotEntry, tick: number, nowMs: number): void {
    const { id } = entry;
    if (entry.epoch !== this.#world.epoch(id)) return;
    for (const component of this.#grants.components) {
      const c = component.index;
      if (component.authority !== "owner" || component.writeMasks[peer.role] === 0) continue;
      const wanted = entry.visible.includes(c);
      if (wanted === this.#world.hasComponent(id, c)) continue;
      if (!wanted) {
        if ((component.spawnRoles & (1 << peer.role)) === 0) {
          this.#events.denied(peer, Rule.SpawnRole, c, 0, id, nowMs);
          continue;
        }
        this.#world.removeComponent(id, c, tick);
        this.#outbox.markRemove(id, c);
      }
    }
  }

  #applyValue(
    peer: ServerPeer,
    entry: SnapshotEntry,
    tick: number,
    time: TimelineTime,
    nowMs: number,
  ): void {
    const { id, component: c } = entry;
    if (!this.#world.isAlive(id)) return;
    const component = this.#grants.components[c]!;
    const isOwner = this.#world.owner(id) === peer.peer;
    const fields = entry.held & component.writeMasks[peer.role]!;
    const decision = this.#gate.decideWrite({
      component: c,
      mask: fields === 0 ? entry.mask : fields,
      roleIndex: peer.role,
      isOwner,
      direction: "in",
    });
    if (!decision.allowed) {
      this.#refuse(peer, decision.rule, entry, nowMs);
      return;
    }
    // An override stands until its owner has acknowledged it; only then do the owner's writes count again.
    if (entry.epoch !== this.#world.epoch(id)) {
      this.#events.denied(peer, Rule.StaleEpoch, c, entry.mask, id, nowMs);
      return;
    }
    const known = this.#world.hasComponent(id, c);
    if (known && !peer.sender.isAcked(id, c)) {
      this.#events.denied(peer, Rule.StaleEpoch, c, entry.mask, id, nowMs);
      return;
    }
    if (!known && (component.spawnRoles & (1 << peer.role)) === 0) {
      this.#events.denied(peer, Rule.SpawnRole, c, entry.mask, id, nowMs);
      return;
    }
    if (!this.#limits[c]!.take(entitySlot(id), nowMs)) {
      this.#refuse(peer, Rule.Rate, entry, nowMs);
      return;
    }
    const sampled = this.#clampTime(entry.time, time);
    if (!known) {
      this.#world.addComponent(id, c, entry.value, tick, sampled);
    } else if (this.#world.write(id, c, fields, entry.value, tick, sampled) === 0) {
      return;
    }
    peer.sender.markSynced(id, c);
    this.#outbox.markValue(id, c);
  }

  /** Counts and tells a refused write and sends the authoritative value back. */
  #refuse(peer: ServerPeer, rule: Rule, entry: SnapshotEntry, nowMs: number): void {
    const { id, component } = entry;
    this.#events.denied(peer, rule, component, entry.mask, id, nowMs);
    if (this.#world.hasComponent(id, component)) peer.sender.putRight(id, component);
  }

  #ownedWith(peer: number, component: number): number {
    let count = 0;
    this.#world.forEachOwned(peer, (id) => {
      if (this.#world.hasComponent(id, component)) count += 1;
    });
    return count;
  }

  /** A sample time a peer claims, kept within what its path can explain. */
  #clampTime(sampled: TimelineTime, now: TimelineTime): TimelineTime {
    const unitsPerMs = this.#grants.tickHz * SUBTICKS / 1000;
    const oldest = Math.floor(now - OWNER_TIME_BEHIND_MS * unitsPerMs);
    const newest = Math.ceil(now + OWNER_TIME_AHEAD_MS * unitsPerMs);
    return Math.max(0, Math.min(newest, Math.max(oldest, sampled)));
  }
}
