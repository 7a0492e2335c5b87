// The server's core: the world, its timeline, and every peer's place in it. One engine holds world authority beside it. It joins the
// rooms below it and decides order; writes, events, channels and voice have files of their own. No socket, no clock, no randomness.

import { type ControlMessage, decodeControl } from "../protocol/control_messages.ts";
import { ControlFrames } from "../protocol/control_frames.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import {
  ALL_PEERS,
  type DenialReport,
  type Handle,
  SERVER_PEER,
  type ToDriver,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import type { ConnectOrder } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  ENGINE_HEARTBEAT_MS,
  ENGINE_LINK_VERSION,
  ENGINE_TIMEOUT_MS,
  JOIN_TIMEOUT_MS,
  MAX_CONTROL_BACKLOG_BYTES,
  MAX_HALF_JOINED,
  PROTOCOL_VERSION,
} from "../protocol/limits.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { TimelineClock } from "../protocol/timeline_clock.ts";
import { Denials } from "../permissions/denials.ts";
import { Gate } from "../permissions/gate.ts";
import { Rule, ruleCode } from "../permissions/rule.ts";
import { type ComponentGrant, type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { createInterestResult, Interest } from "../replication/interest.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import { World } from "../replication/world.ts";
import type { ComponentValue } from "../replication/value.ts";
import { EntityIdAllocator } from "../session/entity_ids.ts";
import { ResumeTable } from "../session/resume.ts";
import { Roster } from "../session/roster.ts";
import type { CloseInfo, Connection, Stream } from "../transport/connection.ts";
import { ChannelRouter } from "./channel_router.ts";
import type { CoreEnvironment, DriverCore, HelloFacts } from "./core.ts";
import { Counters } from "./counters.ts";
import { EngineBatchReader, markAgain } from "./engine_batch.ts";
import { EngineOutbox } from "./engine_outbox.ts";
import { EventCodec } from "./event_router.ts";
import { ExitCode } from "./exit_codes.ts";
import { HandleTable } from "./handle_table.ts";
import { nodesOf } from "./nodes.ts";
import { PeerLink } from "./peer_link.ts";
import { type HalfJoined, sendControl, ServerPeer } from "./server_peer.ts";
import { ServerVoice } from "./server_voice.ts";
import { ServerWrites } from "./server_writes.ts";

/** What a server core needs. */
export interface ServerCoreOptions {
  readonly grants: Grants;
  readonly environment: CoreEnvironment;
  /** No network at all: the engine alone. */
  readonly loopback: boolean;
}

/** A peer that was lost and may come back. */
interface LostPeer {
  readonly role: number;
  readonly freeIds: Set<EntityId>;
}

/** Core of the `server` and `loopback` roles; see {@linkcode DriverCore} for the order of calls. */
export class ServerCore implements DriverCore {
  readonly #grants: Grants;
  readonly #environment: CoreEnvironment;
  readonly #loopback: boolean;
  readonly #gate: Gate;
  readonly #world: World;
  readonly #interest: Interest;
  readonly #candidates = createInterestResult();
  readonly #clock: TimelineClock;
  readonly #counters = new Counters();
  readonly #handles = new HandleTable();
  readonly #outbox: EngineOutbox;
  readonly #batches: EngineBatchReader;
  readonly #writes: ServerWrites;
  readonly #voice: ServerVoice;
  readonly #events: EventCodec;
  readonly #channels: ChannelRouter;
  readonly #denials = new Denials();
  readonly #engineEventLimits: RateLimiter[];
  readonly #peers = new Map<number, ServerPeer>();
  readonly #lost = new Map<number, LostPeer>();
  readonly #halfJoined = new Set<HalfJoined>();
  readonly #roster: Roster;
  readonly #resume: ResumeTable;
  readonly #ids: EntityIdAllocator;
  /** Despawned ids whose slots rest until every peer knows. */
  readonly #resting = new Map<EntityId, number>();
  readonly #viewpoint = new Float64Array(3);
  readonly #worldEpoch = 1;
  #welcomed = false;
  #engineWritable = true;
  #engineStateDue = false;
  #engineHeardMs = 0;
  #pingMs = 0;
  #statsMs = 0;
  #lastTick = 0;
  #exit: { code: number; reason: string } | undefined;

  constructor(options: ServerCoreOptions) {
    const { grants, environment } = options;
    this.#grants = grants;
    this.#environment = environment;
    this.#loopback = options.loopback;
    this.#gate = new Gate(grants);
    this.#world = new World(grants);
    this.#interest = new Interest(grants, this.#world);
    this.#clock = new TimelineClock(grants.tickHz);
    this.#outbox = new EngineOutbox(grants, this.#handles, {
      readValue: (id, c, out) =>
        this.#world.isAlive(id) && this.#world.read(id, c, out)
          ? grants.components[c]!.allFields
          : 0,
      valueTime: (id, c) => this.#world.versionTime(id, c),
      ownerOf: (id) => this.#world.isAlive(id) ? this.#world.owner(id) : 0,
      epochOf: (id) => this.#world.isAlive(id) ? this.#world.epoch(id) : 0,
    }, this.#counters);
    this.#batches = new EngineBatchReader(grants, this.#gate, this.#handles);
    this.#events = new EventCodec(grants, this.#handles);
    this.#engineEventLimits = grants.events.map(({ rateHz }) =>
      new RateLimiter({ rateHz, maxKeys: 1 })
    );
    this.#writes = new ServerWrites(grants, this.#gate, this.#world, this.#outbox, {
      denied: (peer, rule, c, fields, id, nowMs) =>
        this.#deny(
          peer,
          rule,
          "component",
          c < 0 ? 0 : grants.components[c]!.id,
          fields,
          id,
          nowMs,
        ),
      spawnRefused: (peer, rule, id, nowMs) => {
        peer.tell({ kind: "spawnRefused", id, rule: ruleCode(rule) });
        if (peer.freeIds.delete(id)) this.#resting.set(id, peer.peer);
        this.#deny(peer, rule, "spawn", 0, 0, id, nowMs);
      },
      spawned: (peer, id) => this.#chooseViewpoint(peer, id),
      despawn: (id) => this.#despawn(id),
    });
    this.#voice = new ServerVoice(
      grants,
      this.#gate,
      this.#world,
      this.#handles,
      this.#outbox,
      this.#counters,
      {
        peers: () => this.#peers.values(),
        denied: (peer, rule, id, nowMs) => this.#deny(peer, rule, "voice", 0, 0, id, nowMs),
      },
    );
    this.#channels = new ChannelRouter(grants, this.#gate, {
      push: (message) => this.#outbox.push(message),
      denied: (peer, rule, channelId, remote) =>
        this.#deny(
          remote ? this.#peers.get(peer) : undefined,
          rule,
          "channel",
          channelId,
          0,
          NO_ENTITY,
          this.#now(),
        ),
      violation: (peer, fault) => this.#peers.get(peer)?.link.countFault(fault, this.#now()),
    }, this.#counters);
    this.#roster = new Roster(grants.maxPeers);
    this.#resume = new ResumeTable(environment.sha256, grants.resumeMs);
    this.#ids = new EntityIdAllocator(grants.maxEntities);
  }

  hello(facts: HelloFacts): ToEngine {
    return {
      kind: "hello",
      linkVersion: ENGINE_LINK_VERSION,
      role: this.#loopback ? "loopback" : "server",
      schemaHash: this.#grants.schemaHash,
      components: this.#grants.components.map((c) => [c.id, c.name, c.rowBytes] as const),
      nodes: nodesOf(this.#grants),
      certificateHash: facts.certificateHash,
      listen: facts.listen,
      boot: facts.boot,
    };
  }

  get exit(): { readonly code: number; readonly reason: string } | undefined {
    return this.#exit;
  }

  /** Figures for tests and benchmarks; the engine gets the same once a second. */
  get counters(): Counters {
    return this.#counters;
  }

  /** The world, for tests that compare state. */
  get world(): World {
    return this.#world;
  }

  /** The network listens at `address` now; in the loopback role the engine's welcome does the same. */
  handleListening(address: string, nowMs: number): void {
    this.#outbox.push({
      kind: "joined",
      peer: SERVER_PEER,
      roleId: 0,
      resumed: false,
      timeline: this.#clock.timeAt(nowMs),
      resume: new Uint8Array(0),
      listen: address,
    });
    this.#environment.wake();
  }

  // ---- engine

  handleEngine(message: ToDriver, nowMs: number): void {
    this.#engineHeardMs = nowMs;
    if (message.kind === "welcome") return this.#handleWelcome(message, nowMs);
    if (message.kind === "goodbye") {
      this.close("the engine said goodbye", nowMs);
      this.#exit = { code: ExitCode.Ok, reason: "" };
      return;
    }
    if (!this.#welcomed) {
      this.#exit = {
        code: ExitCode.EngineRefused,
        reason: `The engine sent "${message.kind}" before its welcome; it must answer hello first.`,
      };
      return;
    }
    switch (message.kind) {
      case "batch":
        return this.#handleBatch(message, nowMs);
      case "event":
        return this.#handleEngineEvent(message, nowMs);
      case "voice":
        return this.#voice.handleEngineFrame(
          message.handle,
          message.frame,
          this.#clock.timeAt(nowMs),
          nowMs,
        );
      case "channelOpen":
        return this.#channels.handleEngineOpen(message, this.#peers.get(message.peer));
      case "channelData":
        return this.#channels.handleEngineData(message, nowMs);
      case "channelCredit":
        return this.#channels.handleEngineCredit(message);
      case "channelClose":
        return this.#channels.handleEngineClose(message);
      case "setRole":
        return this.#setRole(message.peer, message.roleId);
      case "transfer":
        return this.#transfer(message.handle, message.peer, nowMs);
      case "kick":
        return this.#kick(message.peer, message.reason, nowMs);
      case "stateHash":
        return this.#outbox.push({
          kind: "stateHash",
          request: message.request,
          pairs: this.#hashes(),
        });
      case "resend":
        return markAgain(message.pairs, this.#handles, this.#batches, this.#outbox);
      case "ping":
        return this.#outbox.push({ kind: "pong", time: message.time });
      case "pong":
        return;
    }
  }

  handleEngineWritable(writable: boolean): void {
    this.#engineWritable = writable;
  }

  pollEngine(nowMs: number): ToEngine | undefined {
    const denial = this.#denials.poll(nowMs);
    if (denial !== undefined) return { kind: "denied", denial };
    const message = this.#outbox.poll(
      this.#lastTick,
      this.#engineWritable && this.#engineStateDue,
      this.#engineWritable,
    );
    if (message?.kind === "batch") this.#engineStateDue = false;
    return message;
  }

  #handleWelcome(message: Extract<ToDriver, { kind: "welcome" }>, nowMs: number): void {
    if (this.#welcomed) return;
    if (
      message.linkVersion !== ENGINE_LINK_VERSION || message.schemaHash !== this.#grants.schemaHash
    ) {
      this.#exit = { code: ExitCode.EngineRefused, reason: refusalOf(message, this.#grants) };
      return;
    }
    this.#welcomed = true;
    for (let i = 0; i + 1 < message.entities.length; i += 2) {
      const handle = message.entities[i]!;
      const id = message.entities[i + 1]!;
      if (handle !== 0 && this.#ids.reserve(id)) this.#handles.bind(handle, id);
    }
    this.#clock.startAt(nowMs, SUBTICKS);
    this.#lastTick = 1;
    this.#engineHeardMs = nowMs;
    if (this.#loopback) this.handleListening("", nowMs);
  }

  #handleBatch(batch: Extract<ToDriver, { kind: "batch" }>, nowMs: number): void {
    const tick = this.#lastTick + 1;
    const time = tick * SUBTICKS;
    const named: number[] = [];
    for (let i = 0; i < batch.spawns.length; i++) {
      const handle = batch.spawns[i]!;
      let id = this.#handles.idOf(handle);
      if (id !== NO_ENTITY && this.#world.isAlive(id)) continue;
      if (id === NO_ENTITY) {
        const given = this.#ids.allocate();
        if (given === undefined) {
          this.#deny(undefined, Rule.SpawnCount, "spawn", 0, 0, NO_ENTITY, nowMs);
          this.#outbox.push({ kind: "spawnRefused", handle, rule: Rule.SpawnCount });
          continue;
        }
        id = given;
        this.#handles.bind(handle, id);
      }
      const wanted = batch.spawnOwners[i]!;
      const owner = wanted === SERVER_PEER || this.#peers.has(wanted) || this.#lost.has(wanted)
        ? wanted
        : SERVER_PEER;
      this.#world.spawn(id, owner, tick);
      const peer = this.#peers.get(owner);
      if (peer !== undefined) this.#chooseViewpoint(peer, id);
      if (owner !== wanted) this.#outbox.markOwner(id);
      named.push(handle, id);
    }
    if (named.length > 0) this.#outbox.push({ kind: "named", pairs: Uint32Array.from(named) });
    const sink = {
      role: SERVER_ROLE,
      ownership: (id: EntityId) =>
        this.#world.isAlive(id) ? { isOwner: this.#world.owner(id) === SERVER_PEER } : undefined,
      applyRow: (id: EntityId, component: ComponentGrant, mask: number, value: ComponentValue) =>
        this.#applyEngineRow(id, component, mask, value, tick, time),
      refuseRow: (
        handle: Handle,
        id: EntityId,
        component: ComponentGrant | undefined,
        componentId: number,
        fields: number,
        rule: Rule,
      ) => {
        this.#denyHandle(rule, componentId, fields, handle, nowMs);
        if (
          component !== undefined && this.#world.isAlive(id) &&
          this.#world.hasComponent(id, component.index)
        ) {
          this.#outbox.markValue(id, component.index);
        }
      },
    };
    for (const rows of batch.components) this.#batches.readRows(rows, sink);
    for (let i = 0; i + 1 < batch.removes.length; i += 2) {
      const id = this.#handles.idOf(batch.removes[i]!);
      const component = this.#batches.component(batch.removes[i + 1]!);
      if (component === undefined || !this.#world.isAlive(id)) continue;
      if (this.#world.hasComponent(id, component.index)) {
        this.#world.removeComponent(id, component.index, tick);
      }
    }
    for (const handle of batch.despawns) {
      const id = this.#handles.idOf(handle);
      if (this.#world.isAlive(id)) {
        this.#despawn(id);
        this.#outbox.forget(id);
      }
      this.#handles.unbindHandle(handle);
    }
    this.#outbox.push({ kind: "stamped", id: batch.id, time });
  }

  #applyEngineRow(
    id: EntityId,
    component: ComponentGrant,
    mask: number,
    value: ComponentValue,
    tick: number,
    time: TimelineTime,
  ): void {
    if (!this.#world.hasComponent(id, component.index)) {
      this.#world.addComponent(id, component.index, value, tick, time);
      return;
    }
    const changed = this.#world.write(id, component.index, mask, value, tick, time);
    const owner = this.#world.owner(id);
    if (changed !== 0 && component.authority === "owner" && owner !== SERVER_PEER) {
      // An override: what the owner sent before it knows of it no longer counts.
      this.#world.raiseEpoch(id, tick);
    }
  }

  #handleEngineEvent(message: Extract<ToDriver, { kind: "event" }>, nowMs: number): void {
    const event = this.#events.fromEngine(message);
    if (typeof event === "string") {
      this.#deny(undefined, event, "event", message.eventId, 0, NO_ENTITY, nowMs);
      return;
    }
    const { grant, value } = event;
    const decision = this.#gate.decideEvent({
      event: grant.index,
      roleIndex: SERVER_ROLE,
      op: "send",
      direction: "out",
    });
    const rule = !decision.allowed
      ? decision.rule
      : !this.#engineEventLimits[grant.index]!.take(0, nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) {
      this.#deny(undefined, rule, "event", grant.id, 0, NO_ENTITY, nowMs);
      return;
    }
    const time = (this.#lastTick + 1) * SUBTICKS;
    this.#relayEvent(grant.index, value, SERVER_PEER, message.to, time);
  }

  /** Sends an event to everyone who may receive it. */
  #relayEvent(
    index: number,
    value: ComponentValue,
    from: number,
    to: number,
    time: TimelineTime,
  ): void {
    const grant = this.#grants.events[index]!;
    for (const peer of this.#peers.values()) {
      if (peer.peer === from || (to !== ALL_PEERS && to !== peer.peer)) continue;
      const decision = this.#gate.decideEvent({
        event: index,
        roleIndex: peer.role,
        op: "receive",
        direction: "out",
      });
      if (!decision.allowed) continue;
      const payload = this.#events.encode(grant, value, (id) => peer.sender.isVisible(id));
      if (payload === undefined) {
        this.#counters.add("event.tooLarge");
        continue;
      }
      this.#tell(peer, { kind: "event", eventId: grant.id, from, time, payload });
    }
  }

  #setRole(peerId: number, roleId: number): void {
    const peer = this.#peers.get(peerId);
    const role = this.#grants.roles.find((r) => r.id === roleId && r.index !== SERVER_ROLE);
    if (peer === undefined || role === undefined || peer.role === role.index) return;
    peer.role = role.index;
    peer.grantEpoch = (peer.grantEpoch + 1) & 0xff;
    this.#roster.setRole(peerId, role.index);
    // The announcement leaves before the first datagram of the new epoch; one that overtakes it is dropped and repeated.
    this.#tell(peer, { kind: "role", peer: peerId, roleId, grantEpoch: peer.grantEpoch });
    peer.sender.setRole(role.index, peer.grantEpoch);
    peer.receiver.setRole(role.index, peer.grantEpoch);
    for (const other of this.#peers.values()) {
      if (other !== peer) this.#tell(other, { kind: "role", peer: peerId, roleId, grantEpoch: 0 });
    }
    this.#outbox.push({ kind: "roleChanged", peer: peerId, roleId });
  }

  #transfer(handle: Handle, peerId: number, nowMs: number): void {
    const id = this.#handles.idOf(handle);
    if (!this.#world.isAlive(id) || (peerId !== SERVER_PEER && !this.#peers.has(peerId))) {
      this.#denyHandle(Rule.EntityUnknown, 0, 0, handle, nowMs);
      return;
    }
    const before = this.#peers.get(this.#world.owner(id));
    this.#world.setOwner(id, peerId, this.#lastTick + 1);
    if (before !== undefined) {
      // What it wrote itself it was never sent; from now on it reads it like everyone else.
      this.#world.forEachComponent(id, (c) => before.sender.putRight(id, c));
    }
    if (before !== undefined && before.viewpoint === id) {
      before.viewpoint = NO_ENTITY;
      this.#world.forEachOwned(before.peer, (other) => this.#chooseViewpoint(before, other));
    }
    const peer = this.#peers.get(peerId);
    if (peer !== undefined) this.#chooseViewpoint(peer, id);
    this.#outbox.markOwner(id);
  }

  #kick(peerId: number, reason: string, nowMs: number): void {
    const peer = this.#peers.get(peerId);
    if (peer === undefined) return;
    this.#tell(peer, { kind: "bye", code: CloseCode.Kicked, reason });
    peer.connection.close(CloseCode.Kicked, reason);
    this.#remove(peer, "kicked", nowMs);
  }

  #hashes(): Uint32Array {
    const pairs: number[] = [];
    this.#handles.forEach((handle, id) => {
      if (this.#world.isAlive(id)) pairs.push(handle, this.#world.hash(id));
    });
    return Uint32Array.from(pairs);
  }

  // ---- connections

  pollConnect(): ConnectOrder | undefined {
    return undefined;
  }

  handleConnectFailed(): void {}

  handleConnection(connection: Connection, nowMs: number): void {
    if (!this.#welcomed || this.#loopback || this.#halfJoined.size >= MAX_HALF_JOINED) {
      this.#counters.add("join.refusedConnections");
      connection.close(CloseCode.Full, "no place for another connection");
      return;
    }
    const half: HalfJoined = {
      connection,
      frames: new ControlFrames(),
      control: undefined,
      deadlineMs: nowMs + JOIN_TIMEOUT_MS,
      peer: undefined,
    };
    this.#halfJoined.add(half);
    connection.start({
      handleDatagram: (bytes) => this.#handleDatagram(half, bytes),
      handleStream: (stream) => this.#handleStream(half, stream),
      handleClosed: (info) => this.#handleClosed(half, info),
    });
  }

  #handleStream(half: HalfJoined, stream: Stream): void {
    const peer = half.peer;
    if (half.control !== undefined) {
      if (peer === undefined) {
        stream.reset(Fault.Unexpected);
        half.connection.close(Fault.Unexpected, "a stream before joining");
        return;
      }
      this.#channels.setNow(this.#now());
      this.#channels.handlePeerStream(peer, stream);
      return;
    }
    half.control = stream;
    stream.setHandler({
      handleData: (bytes) => this.#handleControlBytes(half, bytes),
      handleEnd: () => half.connection.close(CloseCode.Normal, "control stream ended"),
      handleReset: () => half.connection.close(Fault.Unexpected, "control stream reset"),
      handleWritable: () => {},
    });
  }

  #handleControlBytes(half: HalfJoined, bytes: Uint8Array): void {
    const nowMs = this.#now();
    half.frames.handleBytes(bytes);
    for (;;) {
      const frame = half.frames.pollFrame();
      if (frame === undefined) break;
      const result = decodeControl(frame, "toAuthority");
      if (!result.ok) return this.#refuse(half, result.fault, faultName(result.fault));
      this.#handleControl(half, result.message, nowMs);
    }
    if (half.frames.fault !== undefined) {
      this.#refuse(half, half.frames.fault, faultName(half.frames.fault));
    }
    this.#environment.wake();
  }

  #handleControl(half: HalfJoined, message: ControlMessage, nowMs: number): void {
    const { peer } = half;
    if (peer === undefined) {
      if (message.kind === "join") return this.#join(half, message, nowMs);
      return this.#refuse(half, Fault.Unexpected, "the first message must be a join");
    }
    switch (message.kind) {
      case "event":
        return this.#handlePeerEvent(peer, message, nowMs);
      case "bye":
        half.connection.close(CloseCode.Normal, "bye");
        return this.#remove(peer, message.reason === "" ? "left" : message.reason, nowMs);
      default:
        return this.#refuse(half, Fault.Unexpected, `${message.kind} is not expected here`);
    }
  }

  #refuse(half: HalfJoined, code: number, reason: string): void {
    this.#counters.add(
      half.peer === undefined ? "join.refused" : `fault.${faultName(code as Fault)}`,
    );
    if (half.peer === undefined && half.control !== undefined) {
      sendControl(half.control, { kind: "refused", code, reason });
    }
    half.connection.close(code, reason);
  }

  #join(half: HalfJoined, message: Extract<ControlMessage, { kind: "join" }>, nowMs: number): void {
    if (message.protocolVersion !== PROTOCOL_VERSION) {
      return this.#refuse(
        half,
        Fault.Incompatible,
        `this server speaks protocol ${PROTOCOL_VERSION}`,
      );
    }
    if (toHex(message.schemaHash) !== this.#grants.schemaHash) {
      return this.#refuse(
        half,
        Fault.Incompatible,
        "the world part of the manifests differs: both sides need the same one",
      );
    }
    if (message.credential.version !== 0 || message.credential.bytes.length !== 0) {
      return this.#refuse(half, CloseCode.Credential, "this world takes no credential");
    }
    let peerId: number | undefined;
    let role = this.#grants.defaultRole;
    let freeIds: Set<EntityId> | undefined;
    if (message.resume !== undefined) {
      const claimed = message.resume.peer;
      if (this.#resume.redeem(claimed, message.resume.secret, nowMs) !== "ok") {
        this.#counters.add("join.resumeRefused");
        return this.#refuse(
          half,
          CloseCode.Credential,
          "the resume secret is not valid: join anew",
        );
      }
      const present = this.#peers.get(claimed);
      if (present !== undefined) {
        // The place is still taken by a connection that died without a word.
        present.connection.close(CloseCode.Replaced, "resumed on another connection");
        this.#detach(present);
        role = present.role;
        freeIds = present.freeIds;
        peerId = claimed;
      } else {
        const lost = this.#lost.get(claimed);
        if (lost !== undefined) {
          role = lost.role;
          freeIds = lost.freeIds;
          peerId = claimed;
          this.#lost.delete(claimed);
        }
      }
    }
    const resumed = peerId !== undefined;
    if (peerId === undefined) peerId = this.#roster.add(role, nowMs)?.peer;
    else this.#roster.setConnected(peerId, true);
    if (peerId === undefined) return this.#refuse(half, CloseCode.Full, "the world is full");
    if (freeIds === undefined) {
      freeIds = new Set();
      for (let i = 0; i < this.#grants.maxEntitiesPerPeer; i++) {
        const id = this.#ids.allocate();
        if (id === undefined) break;
        freeIds.add(id);
      }
    }
    const grantEpoch = 0;
    const { connection } = half;
    const grants = this.#grants;
    const sender = new SnapshotSender({
      grants,
      world: this.#world,
      peer: peerId,
      roleIndex: role,
      direction: "down",
    });
    const receiver = new SnapshotReceiver({
      grants,
      roleIndex: role,
      direction: "up",
      fieldsAllowed: (c) => this.#fieldsAllowedUp(c),
    });
    const time = this.#clock.timeAt(nowMs);
    const link = new PeerLink(
      {
        connection,
        sender,
        receiver,
        worldEpoch: this.#worldEpoch,
        bytesPerSecond: grants.peerBytesPerSecond,
        tickHz: grants.tickHz,
        counters: this.#counters,
      },
      time,
      nowMs,
    );
    const peer = new ServerPeer({
      peer: peerId,
      role,
      connection,
      control: half.control!,
      link,
      sender,
      receiver,
      grants,
      freeIds,
      grantEpoch,
    });
    half.peer = peer;
    this.#halfJoined.delete(half);
    this.#peers.set(peerId, peer);
    this.#world.forEachOwned(peerId, (id) => this.#chooseViewpoint(peer, id));
    const secret = this.#environment.randomBytes(32);
    this.#resume.issue(peerId, secret);
    const roleId = grants.roles[role]!.id;
    this.#tell(peer, {
      kind: "accepted",
      peer: peerId,
      roleId,
      resumed,
      resumeSecret: secret,
      grantEpoch,
      worldEpoch: this.#worldEpoch,
      authority: SERVER_PEER,
      time,
      entityIds: [...freeIds].sort((a, b) => a - b),
    });
    this.#tell(peer, { kind: "roster", joins: this.#rosterList(), leaves: [] });
    for (const other of this.#peers.values()) {
      if (other !== peer && !resumed) {
        this.#tell(other, { kind: "roster", joins: [{ peer: peerId, roleId }], leaves: [] });
      }
    }
    this.#outbox.push({ kind: "peerJoin", peer: peerId, roleId, resumed });
    this.#counters.add(resumed ? "join.resumed" : "join.accepted");
    this.#counters.set("peers", this.#peers.size);
  }

  /** Fields that the world grants to any role in the upward direction. */
  #fieldsAllowedUp(c: number): number {
    const component = this.#grants.components[c]!;
    if (component.authority !== "owner") return 0;
    let mask = 0;
    component.writeMasks.forEach((writable, role) => {
      if (role !== SERVER_ROLE) mask |= writable;
    });
    return mask;
  }

  #handleDatagram(half: HalfJoined, bytes: Uint8Array): void {
    const nowMs = this.#now();
    const { peer } = half;
    if (peer === undefined) {
      this.#counters.add("net.datagramsBeforeJoin");
      return;
    }
    const received = peer.link.handleDatagram(bytes, nowMs);
    if (received !== undefined) {
      const time = this.#clock.timeAt(nowMs);
      if (received.snapshot !== undefined) {
        this.#writes.apply(peer, received.snapshot, this.#lastTick + 1, time, nowMs);
      }
      for (const frame of received.voice) this.#voice.handlePeerFrame(peer, frame, nowMs);
      this.#channels.setNow(nowMs);
      for (const message of received.messages) {
        const fault = this.#channels.handlePeerMessage(
          peer,
          message.channelId,
          message.body,
          nowMs,
        );
        if (fault !== undefined) peer.link.countFault(fault, nowMs);
      }
      this.#deliverEvents(peer, nowMs);
    }
    this.#environment.wake();
  }

  #handlePeerEvent(
    peer: ServerPeer,
    message: Extract<ControlMessage, { kind: "event" }>,
    nowMs: number,
  ): void {
    const event = this.#events.decode(message.eventId, message.payload);
    if (typeof event === "number") {
      this.#counters.add(`fault.${faultName(event)}`);
      peer.link.countFault(event, nowMs);
      return;
    }
    const { grant } = event;
    const decision = this.#gate.decideEvent({
      event: grant.index,
      roleIndex: peer.role,
      op: "send",
      direction: "in",
    });
    const rule = !decision.allowed
      ? decision.rule
      : !peer.eventLimits[grant.index]!.take(0, nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) {
      this.#deny(peer, rule, "event", grant.id, 0, NO_ENTITY, nowMs);
      return;
    }
    if (!peer.events.push(this.#events.pending(event, peer.peer, message.time), nowMs)) {
      this.#counters.add("event.dropped");
    }
    this.#deliverEvents(peer, nowMs);
  }

  #deliverEvents(peer: ServerPeer, nowMs: number): void {
    for (;;) {
      const due = peer.events.poll(
        nowMs,
        (id) => this.#world.isAlive(id),
        tickOf(peer.link.newestTime),
      );
      if (due === undefined) break;
      const { event, time } = due.event;
      const { grant } = event;
      if (
        this.#gate.decideEvent({
          event: grant.index,
          roleIndex: SERVER_ROLE,
          op: "receive",
          direction: "in",
        }).allowed
      ) {
        this.#outbox.push(this.#events.toEngine(event, peer.peer, time, due.late));
      }
      this.#relayEvent(grant.index, event.value, peer.peer, ALL_PEERS, time);
    }
  }

  #handleClosed(half: HalfJoined, info: CloseInfo): void {
    this.#halfJoined.delete(half);
    const { peer } = half;
    if (peer !== undefined && this.#peers.get(peer.peer) === peer) {
      const nowMs = this.#now();
      // A peer that means to go says bye first; everything else may be a network that comes back.
      if (info.by === "local") this.#remove(peer, closeReason(info), nowMs);
      else this.#lose(peer, nowMs);
    }
    this.#environment.wake();
  }

  /** Keeps the place of a peer whose connection broke. */
  #lose(peer: ServerPeer, nowMs: number): void {
    this.#detach(peer);
    this.#lost.set(peer.peer, { role: peer.role, freeIds: peer.freeIds });
    this.#roster.setConnected(peer.peer, false);
    this.#resume.handleLost(peer.peer, nowMs);
    this.#counters.add("peers.lost");
  }

  #detach(peer: ServerPeer): void {
    this.#peers.delete(peer.peer);
    this.#channels.handlePeerGone(peer.peer);
    this.#counters.set("peers", this.#peers.size);
  }

  #remove(peer: ServerPeer, reason: string, nowMs: number): void {
    if (this.#peers.get(peer.peer) === peer) this.#detach(peer);
    this.#forgetPeer(peer.peer, peer.freeIds, reason, nowMs);
  }

  /** A peer is gone for good: its entities leave the world, its ids come back. */
  #forgetPeer(peerId: number, freeIds: ReadonlySet<EntityId>, reason: string, nowMs: number): void {
    this.#resume.forget(peerId);
    const owned: EntityId[] = [];
    this.#world.forEachOwned(peerId, (id) => owned.push(id));
    for (const id of owned) this.#despawn(id);
    for (const id of freeIds) this.#ids.release(id);
    this.#roster.remove(peerId, nowMs);
    for (const other of this.#peers.values()) {
      this.#tell(other, { kind: "roster", joins: [], leaves: [peerId] });
    }
    this.#outbox.push({ kind: "peerLeave", peer: peerId, reason });
  }

  #despawn(id: EntityId): void {
    const owner = this.#world.owner(id);
    this.#world.despawn(id, this.#lastTick + 1);
    this.#resting.set(id, owner);
    this.#outbox.markDespawn(id);
    this.#voice.forget(id);
    this.#writes.forget(id);
    const peer = this.#peers.get(owner);
    if (peer?.viewpoint === id) {
      peer.viewpoint = NO_ENTITY;
      this.#world.forEachOwned(owner, (other) => this.#chooseViewpoint(peer, other));
    }
  }

  /** Slots whose despawn everyone knows may be used again; a peer that spawned there gets another id. */
  #releaseSlots(): void {
    for (const [id, owner] of this.#resting) {
      let known = true;
      for (const peer of this.#peers.values()) {
        if (!peer.sender.hasAckedDespawn(id)) {
          known = false;
          break;
        }
      }
      if (!known) continue;
      this.#resting.delete(id);
      for (const peer of this.#peers.values()) peer.receiver.forget(id);
      this.#ids.release(id);
      const peer = this.#peers.get(owner);
      if (peer === undefined) continue;
      if (peer.freeIds.size + this.#world.countOwned(owner) < this.#grants.maxEntitiesPerPeer) {
        const fresh = this.#ids.allocate();
        if (fresh !== undefined) {
          peer.freeIds.add(fresh);
          this.#tell(peer, { kind: "entityIds", ids: [fresh] });
        }
      }
    }
  }

  #rosterList(): { peer: number; roleId: number }[] {
    return this.#roster.entries().map(({ peer, roleIndex }) => ({
      peer,
      roleId: this.#grants.roles[roleIndex]!.id,
    }));
  }

  /** The first entity of a peer that has a position is where it sees from. */
  #chooseViewpoint(peer: ServerPeer, id: EntityId): void {
    if (peer.viewpoint === NO_ENTITY || !this.#world.isAlive(peer.viewpoint)) {
      if (this.#hasPositionField(id)) peer.viewpoint = id;
    }
  }

  #hasPositionField(id: EntityId): boolean {
    return this.#world.isAlive(id) && this.#world.position(id, this.#viewpoint);
  }

  // ---- time

  get nextTimerMs(): number {
    if (!this.#welcomed) return Infinity;
    let next = this.#clock.msUntil((this.#lastTick + 1) * SUBTICKS, this.#now()) + this.#now();
    for (const peer of this.#peers.values()) next = Math.min(next, peer.link.dueMs);
    return next;
  }

  handleTimer(nowMs: number): void {
    if (!this.#welcomed) return;
    const time = this.#clock.timeAt(nowMs);
    const tick = tickOf(time);
    if (tick > this.#lastTick) this.#runTick(tick, time, nowMs);
    for (const peer of this.#peers.values()) {
      if (peer.link.dueMs <= nowMs) peer.link.sendSlot(time, nowMs, false);
    }
  }

  #runTick(tick: number, time: TimelineTime, nowMs: number): void {
    this.#lastTick = tick;
    this.#interest.rebuild();
    for (const peer of this.#peers.values()) {
      this.#deliverEvents(peer, nowMs);
      if (peer.viewpoint === NO_ENTITY) {
        this.#world.forEachOwned(peer.peer, (id) => this.#chooseViewpoint(peer, id));
      }
      const sees = peer.viewpoint !== NO_ENTITY && this.#world.isAlive(peer.viewpoint) &&
        this.#world.position(peer.viewpoint, this.#viewpoint);
      this.#interest.query(sees ? this.#viewpoint : undefined, this.#candidates);
      peer.sender.updateView(tick, this.#candidates);
      peer.link.sendSlot(time, nowMs, true);
      if (peer.control.bufferedBytes > MAX_CONTROL_BACKLOG_BYTES) {
        this.#counters.add("peers.overloaded");
        peer.connection.close(CloseCode.Overloaded, "the control stream is not read");
      }
    }
    this.#world.expire(tick);
    this.#engineStateDue = this.#outbox.hasState;
    if (this.#resting.size > 0) this.#releaseSlots();
    for (;;) {
      const peerId = this.#resume.pollExpired(nowMs);
      if (peerId === undefined) break;
      const lost = this.#lost.get(peerId);
      this.#lost.delete(peerId);
      if (lost !== undefined) this.#forgetPeer(peerId, lost.freeIds, "timed out", nowMs);
    }
    for (const half of this.#halfJoined) {
      if (half.deadlineMs <= nowMs) {
        this.#refuse(half, CloseCode.JoinTimeout, "no join message in time");
      }
    }
    this.#housekeep(nowMs);
  }

  #housekeep(nowMs: number): void {
    if (nowMs - this.#pingMs >= ENGINE_HEARTBEAT_MS) {
      this.#pingMs = nowMs;
      this.#outbox.push({ kind: "ping", time: nowMs });
    }
    if (nowMs - this.#engineHeardMs > ENGINE_TIMEOUT_MS) {
      this.close("the engine is silent", nowMs);
      this.#exit = {
        code: ExitCode.EngineEnded,
        reason: "The engine did not answer heartbeats for 5 s.",
      };
    }
    if (nowMs - this.#statsMs >= 1000) {
      this.#statsMs = nowMs;
      let rtt = 0;
      for (const peer of this.#peers.values()) rtt = Math.max(rtt, peer.link.rttMs);
      this.#counters.set("entities", this.#world.entityCount);
      this.#counters.set("rttMaxMs", rtt);
      this.#counters.set("tick", this.#lastTick);
      this.#outbox.push({ kind: "stats", values: this.#counters.snapshot() });
    }
  }

  close(reason: string, _nowMs: number): void {
    for (const peer of this.#peers.values()) {
      this.#tell(peer, { kind: "bye", code: CloseCode.GoingAway, reason });
      peer.connection.close(CloseCode.GoingAway, reason);
    }
    this.#peers.clear();
    for (const half of this.#halfJoined) half.connection.close(CloseCode.GoingAway, reason);
    this.#halfJoined.clear();
    this.#outbox.push({ kind: "goodbye", code: CloseCode.GoingAway, reason });
  }

  // ---- helpers

  #now(): number {
    return this.#environment.now();
  }

  #tell(peer: ServerPeer, message: ControlMessage): void {
    peer.tell(message);
  }

  #deny(
    peer: ServerPeer | undefined,
    rule: Rule,
    subject: "component" | "event" | "channel" | "voice" | "spawn" | "despawn",
    id: number,
    fields: number,
    entity: EntityId,
    nowMs: number,
  ): void {
    const report: DenialReport = {
      door: "driver",
      rule,
      peer: peer?.peer ?? SERVER_PEER,
      subject,
      id,
      fields,
      handle: this.#handles.handleOf(entity),
      count: 1,
    };
    this.#denials.record(report, nowMs);
    this.#counters.add("denials");
    if (peer !== undefined && peer.denialLimit.take(0, nowMs)) {
      peer.tell({ kind: "denied", rule: ruleCode(rule), subject, id, fields, entity, count: 1 });
    }
  }

  #denyHandle(
    rule: Rule,
    componentId: number,
    fields: number,
    handle: Handle,
    nowMs: number,
  ): void {
    this.#counters.add("denials");
    this.#denials.record({
      door: "driver",
      rule,
      peer: SERVER_PEER,
      subject: "component",
      id: componentId,
      fields,
      handle,
      count: 1,
    }, nowMs);
  }
}

/** Why an engine's welcome is not acceptable, in a sentence for the operator. */
export function refusalOf(message: Extract<ToDriver, { kind: "welcome" }>, grants: Grants): string {
  if (message.linkVersion !== ENGINE_LINK_VERSION) {
    return `The engine speaks engine-link version ${message.linkVersion}, this driver ${ENGINE_LINK_VERSION}: use a matching SDK.`;
  }
  return `The engine's manifest has the schema hash ${
    message.schemaHash.slice(0, 16)
  }…, this driver's ${grants.schemaHash.slice(0, 16)}…: give both the same world part.`;
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function closeReason(info: CloseInfo): string {
  return info.reason === "" ? `closed (${info.code})` : info.reason;
}
