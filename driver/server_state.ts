// What the parts of a server's core share: tables, world, timeline, peers, the ids they hold, counters and denials. It decides nothing that
// a part decides; it ends entities, because every part has to hear of it.

import {
  type DenialReport,
  type Handle,
  SERVER_PEER,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { DENIAL_SUBJECTS, type DenialSubject } from "../protocol/denial_subjects.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { CROSSING_MS, RESUME_SECRET_BYTES, WORK_DENIAL } from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { TimelineClock } from "../protocol/timeline_clock.ts";
import type { Adjustments } from "../permissions/adjustments.ts";
import { Denials } from "../permissions/denials.ts";
import { Gate } from "../permissions/gate.ts";
import type { Grants } from "../permissions/grants.ts";
import { Rule, ruleCode } from "../permissions/rule.ts";
import { World } from "../replication/world.ts";
import { ResumeTable } from "../session/resume.ts";
import { Roster } from "../session/roster.ts";
import { UsedNonces } from "../session/used_nonces.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { CoreEnvironment } from "./core.ts";
import { Counters } from "./counters.ts";
import { EngineOutbox } from "./engine_outbox.ts";
import { HandleTable } from "./handle_table.ts";
import { JoinPace } from "./join_pace.ts";
import { DEFAULT_LOG, type LogOptions, LogRing } from "./log_ring.ts";
import { PeerIds } from "./peer_ids.ts";
import { clampSampleTime } from "./sample_time.ts";
import type { ServerPeer } from "./server_peer.ts";
import { ServerZones } from "./server_zones.ts";
import { Violations } from "./violations.ts";
import { WriterTable } from "./writer_table.ts";

/** A peer that was lost and may come back. */
export interface LostPeer {
  readonly peer: number;
  role: number;
  /** What was granted to it and revoked from it while running. */
  readonly adjusted: Adjustments;
  readonly freeIds: Set<EntityId>;
  /** What it had been told: its next link goes on from there. */
  readonly sender: SnapshotSender;
}

/** The shared state of one server core. */
export class ServerState {
  readonly grants: Grants;
  readonly environment: CoreEnvironment;
  readonly gate: Gate;
  readonly world: World;
  /** Where peers stand, and what is hidden from there. */
  readonly zones: ServerZones;
  readonly writers: WriterTable;
  readonly clock: TimelineClock;
  readonly counters = new Counters();
  readonly log: LogRing;
  readonly handles = new HandleTable();
  readonly outbox: EngineOutbox;
  readonly denials = new Denials();
  readonly violations = new Violations();
  readonly roster: Roster;
  readonly resume: ResumeTable;
  readonly nonces = new UsedNonces();
  readonly ids: PeerIds;
  /** How fast newcomers are let in. */
  readonly joinPace = new JoinPace();
  /** Joined peers by id. */
  readonly peers = new Map<number, ServerPeer>();
  /** Peers whose place is kept. */
  readonly lost = new Map<number, LostPeer>();
  /** Epoch of world authority. */
  readonly worldEpoch = 1;
  /** The last tick whose datagrams were built; changes belong to the next. */
  lastTick = 0;
  /** Told of every entity that ends. */
  onDespawn: (id: EntityId) => void = () => {};
  readonly #position = new Float64Array(3);

  /** Begins with an empty world. */
  constructor(grants: Grants, environment: CoreEnvironment, log: LogOptions = DEFAULT_LOG) {
    this.grants = grants;
    this.environment = environment;
    this.log = new LogRing(log);
    this.gate = new Gate(grants);
    this.world = new World(grants);
    this.zones = new ServerZones(grants, this.world);
    this.writers = new WriterTable(grants);
    this.clock = new TimelineClock(grants.tickHz);
    this.outbox = new EngineOutbox(grants, this.handles, {
      readValue: (id, c, out) =>
        this.world.isAlive(id) && this.world.read(id, c, out) ? grants.components[c]!.allFields : 0,
      valueTime: (id, c) => this.world.versionTime(id, c),
      ownerOf: (id) => this.world.isAlive(id) ? this.world.owner(id) : 0,
      epochOf: (id) => this.world.isAlive(id) ? this.world.epoch(id) : 0,
      zoneOf: (id) => this.world.isAlive(id) ? this.world.zone(id) : 0,
    }, this.counters);
    this.roster = new Roster(grants.maxPeers);
    this.resume = new ResumeTable(
      environment.sha256,
      environment.randomBytes(RESUME_SECRET_BYTES),
      grants.resumeMs,
    );
    this.ids = new PeerIds(grants.maxEntities, grants.maxEntitiesPerPeer);
  }

  /** The present time, ms. */
  get nowMs(): number {
    return this.environment.now();
  }

  /** The present time, s since 1970. */
  get nowS(): number {
    return Math.floor(this.environment.unixMs() / 1000);
  }

  /** The present time on the timeline. */
  timeAt(nowMs: number): TimelineTime {
    return this.clock.timeAt(nowMs);
  }

  /** A sample time that a peer claims, as far as it is believed. */
  clampTime(sampled: TimelineTime, nowMs: number): TimelineTime {
    return clampSampleTime(sampled, this.timeAt(nowMs), this.grants.tickHz);
  }

  /** Queues a message for the engine. */
  push(message: ToEngine): void {
    this.outbox.push(message);
  }

  /** Whether the peer holds a place, connected or not. */
  hasPlace(peer: number): boolean {
    return this.peers.has(peer) || this.lost.has(peer);
  }

  /** Ends an entity for everyone. */
  despawn(id: EntityId): void {
    const owner = this.world.owner(id);
    this.world.despawn(id, this.lastTick + 1);
    this.ids.rest(id, owner);
    this.writers.forget(id);
    this.outbox.markDespawn(id);
    this.onDespawn(id);
    const peer = this.peers.get(owner);
    if (peer?.viewpoint === id) this.chooseViewpoint(peer);
  }

  /**
   * Makes sure that a peer with any entity that has a position sees from one: the first, until it is gone. Who has none stands at any other
   * of its entities, which says in which zone it is.
   */
  chooseViewpoint(peer: ServerPeer): void {
    if (this.#hasPosition(peer.viewpoint, peer.peer)) return;
    const before = peer.viewpoint;
    peer.viewpoint = NO_ENTITY;
    let other = this.#isOwned(before, peer.peer) ? before : NO_ENTITY;
    this.world.forEachOwned(peer.peer, (id) => {
      if (other === NO_ENTITY) other = id;
      if (peer.viewpoint === NO_ENTITY && this.#hasPosition(id, peer.peer)) peer.viewpoint = id;
    });
    if (peer.viewpoint === NO_ENTITY) peer.viewpoint = other;
  }

  #hasPosition(id: EntityId, owner: number): boolean {
    return this.#isOwned(id, owner) && this.world.position(id, this.#position);
  }

  #isOwned(id: EntityId, owner: number): boolean {
    return id !== NO_ENTITY && this.world.isAlive(id) && this.world.owner(id) === owner;
  }

  /** Counts a refusal, tells the engine, and the peer that tried; without one it was the own engine. */
  deny(
    peer: ServerPeer | undefined,
    rule: Rule,
    subject: DenialSubject,
    id: number,
    fields: number,
    entity: EntityId,
    nowMs: number,
  ): void {
    this.#record(
      rule,
      peer?.peer ?? SERVER_PEER,
      subject,
      id,
      fields,
      this.handles.handleOf(entity),
      nowMs,
    );
    if (peer === undefined) return;
    peer.work.spend(WORK_DENIAL);
    // What crossed a change on its way is nobody's offence.
    if (!this.#isCrossing(peer, rule, entity) && !peer.offenceLimit.take(0, nowMs)) {
      peer.link.countFault(Fault.Flood, nowMs);
    }
    if (peer.denialLimit.take(0, nowMs)) {
      peer.tell({ kind: "denied", rule: ruleCode(rule), subject, id, fields, entity, count: 1 });
    }
  }

  /**
   * Whether what was refused may have been under way when the server's engine changed the entity's owner, or a value of it: until the peer has
   * acknowledged the header that says so, and for a moment in any case, as datagrams overtake each other.
   */
  #isCrossing(peer: ServerPeer, rule: Rule, entity: EntityId): boolean {
    if (entity === NO_ENTITY || !this.world.isAlive(entity)) return false;
    const changed = rule === Rule.StaleEpoch
      ? this.world.headerTick(entity)
      : rule === Rule.NotOwner
      ? peer.taken.get(entity)
      : undefined;
    if (changed === undefined) return false;
    const isLate = this.lastTick > changed + CROSSING_MS / 1000 * this.grants.tickHz;
    return !isLate || peer.sender.isHeaderPending(entity);
  }

  /** Counts a refusal of what the own engine did to a component, or of where it put an entity, by the handle it used. */
  denyHandle(
    rule: Rule,
    id: number,
    fields: number,
    handle: Handle,
    nowMs: number,
    subject: DenialSubject = "component",
  ): void {
    this.#record(rule, SERVER_PEER, subject, id, fields, handle, nowMs);
  }

  #record(
    rule: Rule,
    peer: number,
    subject: DenialSubject,
    id: number,
    fields: number,
    handle: Handle,
    nowMs: number,
  ): void {
    const report: DenialReport = {
      door: "driver",
      rule,
      peer,
      subject,
      id,
      fields,
      handle,
      count: 1,
    };
    this.denials.record(report, nowMs);
    this.counters.add("denials");
    const subjectCode = DENIAL_SUBJECTS.indexOf(subject);
    this.log.write(LogCode.Denied, nowMs, peer, ruleCode(rule), subjectCode, id);
  }
}
