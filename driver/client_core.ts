// The client's core: one connection to a server, the entities this client owns, and what it is shown of the others'. It joins, resumes and
// reconnects by itself; where to is its engine's order within the manifest's endpoints. No socket, no clock, no randomness.

import { CloseCode } from "../protocol/close_codes.ts";
import { ControlFrames } from "../protocol/control_frames.ts";
import { type ControlMessage, decodeControl } from "../protocol/control_messages.ts";
import {
  type ConnectOrder,
  type Handle,
  SERVER_PEER,
  type ToDriver,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  ENGINE_HEARTBEAT_MS,
  ENGINE_LINK_VERSION,
  ENGINE_TIMEOUT_MS,
  JOIN_TIMEOUT_MS,
  MAX_CONTROL_BACKLOG_BYTES,
  PROTOCOL_VERSION,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
  RESUME_SECRET_BYTES,
  VOICE_SLOT_MS,
} from "../protocol/limits.ts";
import { TimelineClock } from "../protocol/timeline_clock.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { Denials } from "../permissions/denials.ts";
import { allowedEndpoint, formatEndpoint } from "../permissions/endpoint.ts";
import { Gate } from "../permissions/gate.ts";
import { type ComponentGrant, type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule, ruleOfCode } from "../permissions/rule.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { ComponentValue } from "../replication/value.ts";
import { World } from "../replication/world.ts";
import { EntityIdPool } from "../session/entity_ids.ts";
import { EventQueue } from "../session/event_queue.ts";
import type { CloseInfo, Connection, Stream } from "../transport/connection.ts";
import { inspectOpusPacket } from "../voice/opus_toc.ts";
import { isTagOf, VoiceKind, voiceTagOf } from "../voice/voice_section.ts";
import type { VoiceFrame } from "../voice/voice_section.ts";
import { type ChannelPeer, ChannelRouter } from "./channel_router.ts";
import { ClientView } from "./client_view.ts";
import type { CoreEnvironment, DriverCore, HelloFacts } from "./core.ts";
import { Counters } from "./counters.ts";
import { EngineBatchReader, markAgain } from "./engine_batch.ts";
import { EngineOutbox } from "./engine_outbox.ts";
import { EventCodec, type PendingEvent } from "./event_router.ts";
import { ExitCode } from "./exit_codes.ts";
import { HandleTable } from "./handle_table.ts";
import { nodesOf } from "./nodes.ts";
import { PeerLink } from "./peer_link.ts";
import { SendSlots } from "./send_slots.ts";
import { refusalOf } from "./server_core.ts";
import { sendControl } from "./server_peer.ts";

/** What a client core needs. */
export interface ClientCoreOptions {
  readonly grants: Grants;
  readonly environment: CoreEnvironment;
  /** `host:port` that the manifest allows; the first is the default. */
  readonly endpoints: readonly string[];
  /** Certificate pin of the manifest; empty where it names none. */
  readonly pin: string;
  /** The manifest names a certificate authority, so that connecting without a pin is checked too. */
  readonly hasAuthority?: boolean;
}

/** Everything that lives as long as one joined connection. */
interface Joined {
  readonly peer: number;
  readonly link: PeerLink;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  readonly worldEpoch: number;
}

/** Core of the `client` role; see {@linkcode DriverCore} for the order of calls. */
export class ClientCore implements DriverCore {
  readonly #grants: Grants;
  readonly #environment: CoreEnvironment;
  readonly #options: ClientCoreOptions;
  readonly #gate: Gate;
  readonly #counters = new Counters();
  readonly #handles = new HandleTable();
  readonly #outbox: EngineOutbox;
  readonly #batches: EngineBatchReader;
  readonly #events: EventCodec;
  readonly #channels: ChannelRouter;
  readonly #view: ClientView;
  readonly #denials = new Denials();
  readonly #eventLimits: RateLimiter[];
  readonly #voiceLimit: RateLimiter;
  readonly #ids = new EntityIdPool();
  readonly #eventQueue = new EventQueue<PendingEvent>();
  readonly #sequences = new Map<EntityId, number>();
  readonly #clock: TimelineClock;
  readonly #slots: SendSlots;
  readonly #position = new Float64Array(3);
  /** Entities this client owns. */
  #own: World;
  #order: ConnectOrder | undefined;
  #resume: { peer: number; secret: Uint8Array } | undefined;
  #connection: Connection | undefined;
  #control: Stream | undefined;
  #joined: Joined | undefined;
  #role: number;
  #state: "waiting" | "due" | "connecting" | "joining" | "joined" | "ended" = "waiting";
  #dueMs = 0;
  #backoffMs = RECONNECT_FIRST_MS;
  #joinSentMs = 0;
  #stateWaits = false;
  #lastStamp = 0;
  #engineWritable = true;
  #engineHeardMs = 0;
  #pingMs = 0;
  #statsMs = 0;
  #exit: { code: number; reason: string } | undefined;

  constructor(options: ClientCoreOptions) {
    const { grants, environment } = options;
    this.#options = options;
    this.#grants = grants;
    this.#environment = environment;
    this.#gate = new Gate(grants);
    this.#own = new World(grants);
    this.#role = grants.defaultRole;
    this.#clock = new TimelineClock(grants.tickHz);
    this.#slots = new SendSlots(grants.tickHz);
    this.#outbox = new EngineOutbox(grants, this.#handles, {
      readValue: (id, c, out) => this.#readValue(id, c, out),
      valueTime: (id, c) => this.#valueTime(id, c),
      ownerOf: (id) => this.#isOwn(id) ? this.#selfPeer : this.#view.ownerOf(id),
      epochOf: (id) => this.#isOwn(id) ? this.#own.epoch(id) : this.#view.epochOf(id),
    }, this.#counters);
    this.#view = new ClientView(grants, this.#outbox, {
      isOwn: (id) => this.#isOwn(id),
      adopt: (id, owner, epoch) => this.#adopt(id, owner, epoch),
      overridden: (id, component, mask, value, time) =>
        this.#overridden(id, component, mask, value, time),
      gone: (id) => this.#ownGone(id),
    });
    this.#batches = new EngineBatchReader(grants, this.#gate, this.#handles);
    this.#events = new EventCodec(grants, this.#handles);
    this.#eventLimits = grants.events.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys: 1 }));
    this.#voiceLimit = new RateLimiter({
      rateHz: grants.voice.rateHz,
      maxKeys: grants.maxEntities + 1,
    });
    this.#channels = new ChannelRouter(grants, this.#gate, {
      push: (message) => this.#outbox.push(message),
      denied: (_peer, rule, channelId, remote) =>
        this.#deny(rule, "channel", channelId, 0, NO_ENTITY, remote ? SERVER_PEER : this.#selfPeer),
      violation: (_peer, fault) => this.#joined?.link.countFault(fault, this.#now()),
    }, this.#counters);
  }

  hello(facts: HelloFacts): ToEngine {
    return {
      kind: "hello",
      linkVersion: ENGINE_LINK_VERSION,
      role: "client",
      schemaHash: this.#grants.schemaHash,
      components: this.#grants.components.map((c) => [c.id, c.name, c.rowBytes] as const),
      nodes: nodesOf(this.#grants),
      certificateHash: "",
      listen: "",
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

  /** True while the client is part of the world. */
  get isJoined(): boolean {
    return this.#state === "joined";
  }

  /** What it holds of an entity, hashed as `World.hash` does; 0 for an unknown one. */
  hashOf(id: EntityId): number {
    return this.#isOwn(id) ? this.#own.hash(id) : this.#view.hash(id);
  }

  /** Network id of a handle, or 0. */
  idOf(handle: Handle): EntityId {
    return this.#handles.idOf(handle);
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
    if (this.#state === "waiting") {
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
        return this.#handleEngineVoice(message.handle, message.frame, nowMs);
      case "channelOpen":
        return this.#channels.handleEngineOpen(message, this.#channelPeer());
      case "channelData":
        return this.#channels.handleEngineData(message, nowMs);
      case "channelCredit":
        return this.#channels.handleEngineCredit(message);
      case "channelClose":
        return this.#channels.handleEngineClose(message);
      case "setRole":
      case "transfer":
      case "kick":
        return this.#deny(Rule.Authority, "component", 0, 0, NO_ENTITY, this.#selfPeer);
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
    return this.#outbox.poll(this.#view.newestTick, this.#engineWritable, this.#engineWritable);
  }

  #handleWelcome(message: Extract<ToDriver, { kind: "welcome" }>, nowMs: number): void {
    if (this.#state !== "waiting") return;
    if (
      message.linkVersion !== ENGINE_LINK_VERSION || message.schemaHash !== this.#grants.schemaHash
    ) {
      this.#exit = { code: ExitCode.EngineRefused, reason: refusalOf(message, this.#grants) };
      return;
    }
    const order = message.connect ??
      {
        url: `quic://${this.#options.endpoints[0] ?? ""}`,
        pin: this.#options.pin,
        credential: new Uint8Array(0),
      };
    const problem = this.#problemOf(order);
    if (problem !== undefined) {
      this.#exit = { code: ExitCode.EngineRefused, reason: problem };
      return;
    }
    this.#order = order;
    for (let i = 0; i + 1 < message.entities.length; i += 2) {
      const handle = message.entities[i]!;
      const id = message.entities[i + 1]!;
      if (handle !== 0 && entitySlot(id) !== 0) this.#handles.bind(handle, id);
    }
    if (message.resume.length === 2 + RESUME_SECRET_BYTES) {
      const peer = message.resume[0]! | (message.resume[1]! << 8);
      this.#resume = { peer, secret: message.resume.slice(2) };
    }
    this.#state = "due";
    this.#dueMs = nowMs;
  }

  /** Why this order cannot be followed: an address outside the manifest, or a pin it contradicts. */
  #problemOf(order: ConnectOrder): string | undefined {
    const { endpoints, pin, hasAuthority } = this.#options;
    const endpoint = allowedEndpoint(order.url, endpoints);
    if (endpoint === undefined) {
      return `The engine orders a connection to "${order.url}", which host.connect of the manifest does not name ` +
        `(it names ${endpoints.join(", ") || "nothing"}). Order one of those, or add the address.`;
    }
    if (pin !== "" && order.pin !== "" && pin !== order.pin) {
      return `The engine's pin for ${
        formatEndpoint(endpoint)
      } differs from host.pin of the manifest. Remove one, or make them equal.`;
    }
    if (pin === "" && order.pin === "" && hasAuthority !== true) {
      return `Nothing says which certificate ${
        formatEndpoint(endpoint)
      } must have. Give host.pin or host.caFile in the manifest, ` +
        `or let the engine pass the pin.`;
    }
    return undefined;
  }

  #handleBatch(batch: Extract<ToDriver, { kind: "batch" }>, nowMs: number): void {
    if (this.#state !== "joined") {
      // The SDK sends everything again when it hears of the join.
      this.#counters.add("engine.batchesBeforeJoin");
      return;
    }
    // Each batch has a time of its own: two that come in one moment are still two samples.
    const time = Math.max(this.#clock.timeAt(nowMs), this.#lastStamp + 1);
    this.#lastStamp = time;
    const tick = this.#slots.last + 1;
    const named: number[] = [];
    const composition = compositionOf(batch, this.#batches);
    for (const handle of batch.spawns) {
      const id = this.#spawn(handle, composition.get(handle) ?? [], tick);
      if (id !== undefined) named.push(handle, id);
    }
    if (named.length > 0) this.#outbox.push({ kind: "named", pairs: Uint32Array.from(named) });
    const peer = this.#selfPeer;
    const sink = {
      role: this.#role,
      ownership: (id: EntityId) =>
        this.#isOwn(id)
          ? { isOwner: true }
          : this.#view.isAnnounced(id)
          ? { isOwner: false }
          : undefined,
      applyRow: (id: EntityId, component: ComponentGrant, mask: number, value: ComponentValue) => {
        if (this.#own.hasComponent(id, component.index)) {
          this.#own.write(id, component.index, mask, value, tick, time);
          return;
        }
        const decision = this.#gate.decideChange({
          component: component.index,
          op: "add",
          roleIndex: this.#role,
          isOwner: true,
          ownedWith: (c) => this.#ownedWith(c),
          direction: "out",
        });
        if (decision.allowed) this.#own.addComponent(id, component.index, value, tick, time);
        else this.#deny(decision.rule, "component", component.id, mask, id, peer);
      },
      refuseRow: (
        handle: Handle,
        id: EntityId,
        component: ComponentGrant | undefined,
        componentId: number,
        fields: number,
        rule: Rule,
      ) => {
        // A row of a spawn that was refused a moment ago has been told already.
        if (id === NO_ENTITY && composition.has(handle)) return;
        this.#deny(rule, "component", componentId, fields, id, peer, handle);
        if (component !== undefined && id !== NO_ENTITY) {
          this.#outbox.markValue(id, component.index);
        }
      },
    };
    for (const rows of batch.components) this.#batches.readRows(rows, sink);
    this.#handleRemovals(batch, tick);
    this.#outbox.push({ kind: "stamped", id: batch.id, time });
    this.#stateWaits = true;
    this.#sendStateIfDue(nowMs, true);
  }

  #handleRemovals(batch: Extract<ToDriver, { kind: "batch" }>, tick: number): void {
    for (let i = 0; i + 1 < batch.removes.length; i += 2) {
      const id = this.#handles.idOf(batch.removes[i]!);
      const component = this.#batches.component(batch.removes[i + 1]!);
      if (
        component === undefined || !this.#isOwn(id) || !this.#own.hasComponent(id, component.index)
      ) continue;
      const decision = this.#gate.decideChange({
        component: component.index,
        op: "remove",
        roleIndex: this.#role,
        isOwner: true,
        ownedWith: () => 0,
        direction: "out",
      });
      if (decision.allowed) this.#own.removeComponent(id, component.index, tick);
      else this.#deny(decision.rule, "component", component.id, 0, id, this.#selfPeer);
    }
    for (const handle of batch.despawns) {
      const id = this.#handles.idOf(handle);
      if (!this.#isOwn(id)) {
        if (id !== NO_ENTITY) this.#deny(Rule.NotOwner, "despawn", 0, 0, id, this.#selfPeer);
        continue;
      }
      this.#own.despawn(id, tick);
      this.#sequences.delete(id);
      this.#view.forget(id);
      this.#outbox.forget(id);
      this.#handles.unbindHandle(handle);
    }
  }

  #spawn(handle: Handle, components: readonly number[], tick: number): EntityId | undefined {
    const known = this.#handles.idOf(handle);
    if (known !== NO_ENTITY && this.#isOwn(known)) return undefined;
    const decision = this.#gate.decideSpawn({
      components,
      roleIndex: this.#role,
      ownedCount: this.#own.countOwned(this.#selfPeer),
      ownedWith: (c) => this.#ownedWith(c),
      direction: "out",
    });
    const id = decision.allowed ? this.#ids.take() : undefined;
    if (id === undefined) {
      const rule = decision.allowed ? Rule.SpawnCount : decision.rule;
      this.#deny(rule, "spawn", 0, 0, NO_ENTITY, this.#selfPeer, handle);
      this.#outbox.push({ kind: "spawnRefused", handle, rule });
      return undefined;
    }
    this.#handles.bind(handle, id);
    this.#own.spawn(id, this.#joined!.peer, tick);
    this.#view.adopt(id);
    return id;
  }

  #ownedWith(component: number): number {
    let count = 0;
    this.#own.forEachOwned(this.#selfPeer, (id) => {
      if (this.#own.hasComponent(id, component)) count += 1;
    });
    return count;
  }

  #handleEngineEvent(message: Extract<ToDriver, { kind: "event" }>, nowMs: number): void {
    if (this.#joined === undefined || this.#control === undefined) {
      this.#counters.add("event.beforeJoin");
      return;
    }
    const event = this.#events.fromEngine(message);
    if (typeof event === "string") {
      return this.#deny(event, "event", message.eventId, 0, NO_ENTITY, this.#selfPeer);
    }
    const { grant, value } = event;
    const decision = this.#gate.decideEvent({
      event: grant.index,
      roleIndex: this.#role,
      op: "send",
      direction: "out",
    });
    const rule = !decision.allowed
      ? decision.rule
      : !this.#eventLimits[grant.index]!.take(0, nowMs)
      ? Rule.Rate
      : this.#control.bufferedBytes > MAX_CONTROL_BACKLOG_BYTES
      ? Rule.Size
      : undefined;
    if (rule !== undefined) {
      return this.#deny(rule, "event", grant.id, 0, NO_ENTITY, this.#selfPeer);
    }
    const payload = this.#events.encode(grant, value, () => true);
    if (payload === undefined) {
      return this.#deny(Rule.Size, "event", grant.id, 0, NO_ENTITY, this.#selfPeer);
    }
    const time = this.#clock.timeAt(nowMs);
    // State of the event's own batch goes in a datagram of this tick or the next; the event waits for whichever it is.
    const waits = this.#stateWaits ? Math.max(time, (this.#slots.last + 1) * SUBTICKS) : time;
    sendControl(this.#control, {
      kind: "event",
      eventId: grant.id,
      from: SERVER_PEER,
      time: waits,
      payload,
    });
  }

  #handleEngineVoice(handle: Handle, payload: Uint8Array, nowMs: number): void {
    const joined = this.#joined;
    if (joined === undefined) {
      this.#counters.add("voice.beforeJoin");
      return;
    }
    const id = this.#handles.idOf(handle);
    const decision = this.#gate.decideVoice({
      roleIndex: this.#role,
      op: "speak",
      direction: "out",
      bytes: payload.length,
    });
    const rule = !this.#isOwn(id)
      ? Rule.NotOwner
      : !decision.allowed
      ? decision.rule
      : inspectOpusPacket(payload) === undefined
      ? Rule.Format
      : !this.#voiceLimit.take(entitySlot(id), nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) return this.#deny(rule, "voice", 0, 0, id, this.#selfPeer, handle);
    const sequence = this.#sequences.get(id) ?? 0;
    this.#sequences.set(id, (sequence + 1) & 0xffff);
    const time = this.#clock.timeAt(nowMs);
    joined.link.queueVoice(
      { kind: VoiceKind.Opus, ...voiceTagOf(id), sequence, time, payload },
      nowMs + VOICE_SLOT_MS,
    );
    this.#counters.add("voice.framesOut");
  }

  #hashes(): Uint32Array {
    const pairs: number[] = [];
    this.#handles.forEach((handle, id) => {
      if (this.#isOwn(id) || this.#view.isAnnounced(id)) pairs.push(handle, this.hashOf(id));
    });
    return Uint32Array.from(pairs);
  }

  // ---- connection

  pollConnect(nowMs: number): ConnectOrder | undefined {
    if (this.#state !== "due" || nowMs < this.#dueMs || this.#order === undefined) return undefined;
    this.#state = "connecting";
    this.#counters.add("connect.attempts");
    const { url, credential } = this.#order;
    return { url, pin: this.#order.pin === "" ? this.#options.pin : this.#order.pin, credential };
  }

  handleConnectFailed(reason: string, nowMs: number): void {
    if (this.#state !== "connecting") return;
    this.#outbox.push({
      kind: "left",
      code: CloseCode.Silence,
      reason: reason.slice(0, 200),
      final: false,
    });
    this.#retry(nowMs);
  }

  handleConnection(connection: Connection, nowMs: number): void {
    if (this.#state !== "connecting") {
      connection.close(CloseCode.Normal, "not wanted any more");
      return;
    }
    this.#state = "joining";
    this.#connection = connection;
    this.#joinSentMs = nowMs;
    const frames = new ControlFrames();
    connection.start({
      handleDatagram: (bytes) => {
        if (this.#connection === connection) this.#handleDatagram(bytes);
      },
      handleStream: (stream) => {
        const peer = this.#channelPeer();
        if (peer === undefined || this.#connection !== connection) {
          return stream.reset(Fault.Unexpected);
        }
        this.#channels.setNow(this.#now());
        this.#channels.handlePeerStream(peer, stream);
      },
      handleClosed: (info) => this.#handleClosed(connection, info),
    });
    const control = connection.openStream();
    this.#control = control;
    control.setHandler({
      handleData: (bytes) => {
        if (this.#connection === connection) this.#handleControlBytes(connection, frames, bytes);
      },
      handleEnd: () => connection.close(CloseCode.Normal, "control stream ended"),
      handleReset: () => connection.close(Fault.Unexpected, "control stream reset"),
      handleWritable: () => {},
    });
    sendControl(control, {
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(this.#grants.schemaHash),
      credential: { version: 0, bytes: this.#order!.credential },
      resume: this.#resume,
    });
  }

  #handleControlBytes(connection: Connection, frames: ControlFrames, bytes: Uint8Array): void {
    frames.handleBytes(bytes);
    for (;;) {
      const frame = frames.pollFrame();
      if (frame === undefined) break;
      const result = decodeControl(frame, "fromAuthority");
      if (!result.ok) {
        this.#counters.add(`fault.${faultName(result.fault)}`);
        connection.close(result.fault, faultName(result.fault));
        return;
      }
      this.#handleControl(result.message, this.#now());
      if (this.#connection !== connection) return;
    }
    if (frames.fault !== undefined) connection.close(frames.fault, faultName(frames.fault));
    this.#environment.wake();
  }

  #handleControl(message: ControlMessage, nowMs: number): void {
    if (message.kind === "accepted" && this.#state === "joining") {
      return this.#handleAccepted(message, nowMs);
    }
    if (message.kind === "refused" && this.#state === "joining") {
      return this.#handleRefused(message, nowMs);
    }
    if (message.kind === "bye") {
      const final = message.code === CloseCode.Kicked;
      return this.#leave(message.code, message.reason, final, nowMs);
    }
    const joined = this.#joined;
    if (joined === undefined || this.#state !== "joined") return this.#violate(Fault.Unexpected);
    switch (message.kind) {
      case "roster":
        for (const { peer, roleId } of message.joins) {
          if (peer === joined.peer) continue;
          this.#outbox.push({ kind: "peerJoin", peer, roleId, resumed: false });
        }
        for (const peer of message.leaves) {
          this.#outbox.push({ kind: "peerLeave", peer, reason: "left" });
        }
        return;
      case "role": {
        const role = this.#grants.roles.find((r) => r.id === message.roleId);
        if (role === undefined) return this.#violate(Fault.UnknownId);
        if (message.peer === joined.peer) {
          this.#role = role.index;
          joined.sender.setRole(role.index, message.grantEpoch);
          joined.receiver.setRole(role.index, message.grantEpoch);
        }
        this.#outbox.push({ kind: "roleChanged", peer: message.peer, roleId: message.roleId });
        return;
      }
      case "entityIds":
        this.#ids.add(message.ids);
        return;
      case "spawnRefused":
        return this.#handleSpawnRefused(message.id, ruleOfCode(message.rule));
      case "denied":
        this.#counters.add("denials");
        this.#denials.record({
          door: "remote",
          rule: ruleOfCode(message.rule),
          peer: joined.peer,
          subject: message.subject,
          id: message.id,
          fields: message.fields,
          handle: this.#handles.handleOf(message.entity),
          count: message.count,
        }, nowMs);
        return;
      case "event":
        return this.#handlePeerEvent(message, nowMs);
      default:
        return this.#violate(Fault.Unexpected);
    }
  }

  #violate(fault: Fault): void {
    this.#counters.add(`fault.${faultName(fault)}`);
    this.#connection?.close(fault, faultName(fault));
  }

  #handleAccepted(message: Extract<ControlMessage, { kind: "accepted" }>, nowMs: number): void {
    const role = this.#grants.roles.find((r) => r.id === message.roleId && r.index !== SERVER_ROLE);
    if (role === undefined) return this.#violate(Fault.UnknownId);
    const grants = this.#grants;
    this.#role = role.index;
    this.#clock.handleJoin(message.time, nowMs, nowMs - this.#joinSentMs);
    if (!message.resumed) {
      // Another place in the world: what was owned before has to be spawned anew.
      this.#handles.forEach((_handle, id) => {
        if (this.#own.isAlive(id)) this.#handles.unbindId(id);
      });
      this.#own = new World(grants);
      this.#slots.reset();
      this.#lastStamp = 0;
      this.#sequences.clear();
    }
    this.#ids.clear();
    this.#ids.add(message.entityIds.filter((id) => !this.#own.isAlive(id)));
    const sender = new SnapshotSender({
      grants,
      world: this.#own,
      peer: message.peer,
      roleIndex: role.index,
      direction: "up",
    });
    const receiver = new SnapshotReceiver({
      grants,
      roleIndex: role.index,
      direction: "down",
      fieldsAllowed: (c) => this.#fieldsAllowedDown(c),
    });
    sender.setRole(role.index, message.grantEpoch);
    receiver.setRole(role.index, message.grantEpoch);
    const link = new PeerLink(
      {
        connection: this.#connection!,
        sender,
        receiver,
        worldEpoch: message.worldEpoch,
        bytesPerSecond: grants.peerBytesPerSecond,
        tickHz: grants.tickHz,
        counters: this.#counters,
      },
      message.time,
      nowMs,
    );
    this.#joined = { peer: message.peer, link, sender, receiver, worldEpoch: message.worldEpoch };
    this.#view.begin(receiver);
    this.#own.forEachOwned(message.peer, (id) => this.#view.adopt(id));
    this.#resume = { peer: message.peer, secret: message.resumeSecret.slice() };
    this.#state = "joined";
    this.#backoffMs = RECONNECT_FIRST_MS;
    this.#outbox.clearState();
    this.#outbox.push({
      kind: "joined",
      peer: message.peer,
      roleId: message.roleId,
      resumed: message.resumed,
      timeline: this.#clock.timeAt(nowMs),
      resume: this.#resumeTicket(),
      listen: "",
    });
  }

  #resumeTicket(): Uint8Array {
    const { peer, secret } = this.#resume!;
    const ticket = new Uint8Array(2 + secret.length);
    ticket[0] = peer & 0xff;
    ticket[1] = peer >>> 8;
    ticket.set(secret, 2);
    return ticket;
  }

  #fieldsAllowedDown(c: number): number {
    const component = this.#grants.components[c]!;
    let mask = component.ownerReadMask;
    component.readMasks.forEach((readable, role) => {
      if (role !== SERVER_ROLE) mask |= readable;
    });
    return mask;
  }

  #handleRefused(message: Extract<ControlMessage, { kind: "refused" }>, nowMs: number): void {
    const hadClaim = this.#resume !== undefined;
    this.#resume = undefined;
    if (hadClaim && message.code === CloseCode.Credential) {
      // The old place is gone; a new one may be had.
      this.#backoffMs = RECONNECT_FIRST_MS;
      return this.#leave(message.code, message.reason, false, nowMs);
    }
    const again = message.code === CloseCode.Full || message.code === CloseCode.JoinTimeout ||
      message.code === CloseCode.GoingAway;
    this.#leave(message.code, message.reason, !again, nowMs);
  }

  #handleClosed(connection: Connection, info: CloseInfo): void {
    if (this.#connection !== connection) return;
    const final = info.by === "remote" &&
      (info.code === CloseCode.Kicked || info.code === Fault.Incompatible);
    this.#leave(
      info.code,
      info.reason === "" ? `connection ${info.by}` : info.reason,
      final,
      this.#now(),
    );
    this.#environment.wake();
  }

  /** The connection is over, by whatever side. */
  #leave(code: number, reason: string, final: boolean, nowMs: number): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#control = undefined;
    this.#joined = undefined;
    this.#channels.handlePeerGone(SERVER_PEER);
    connection?.close(CloseCode.Normal, "");
    if (this.#state === "ended") return;
    this.#outbox.push({ kind: "left", code, reason: reason.slice(0, 200), final });
    if (final) this.#state = "ended";
    else this.#retry(nowMs);
  }

  /** Tries again after a time that doubles, with a random half so that a thousand clients do not come back at once. */
  #retry(nowMs: number): void {
    this.#state = "due";
    const share = this.#environment.randomBytes(1)[0]! / 255;
    this.#dueMs = nowMs + this.#backoffMs * (0.5 + share / 2);
    this.#backoffMs = Math.min(this.#backoffMs * 2, RECONNECT_MAX_MS);
  }

  #handleDatagram(bytes: Uint8Array): void {
    const joined = this.#joined;
    const nowMs = this.#now();
    if (joined === undefined) {
      // It overtook the accepting message on the control stream; the server repeats what is in it.
      this.#counters.add("net.datagramsBeforeJoin");
      return;
    }
    const received = joined.link.handleDatagram(bytes, nowMs);
    if (received !== undefined) {
      if (received.rttMs !== undefined) {
        this.#clock.handleEcho(received.time, nowMs, received.rttMs);
      }
      this.#view.noteTick(tickOf(received.time));
      if (received.snapshot !== undefined) this.#view.apply(received.snapshot);
      for (const frame of received.voice) this.#handlePeerVoice(frame);
      this.#channels.setNow(nowMs);
      const peer = this.#channelPeer();
      for (const message of received.messages) {
        const fault = this.#channels.handlePeerMessage(
          peer!,
          message.channelId,
          message.body,
          nowMs,
        );
        if (fault !== undefined) joined.link.countFault(fault, nowMs);
      }
      this.#deliverEvents(nowMs);
    }
    this.#environment.wake();
  }

  #handlePeerVoice(frame: VoiceFrame): void {
    const id = this.#view.idAt(frame.slot);
    if (id === NO_ENTITY || !isTagOf(frame, id)) {
      this.#counters.add("voice.unknownSpeaker");
      return;
    }
    const decision = this.#gate.decideVoice({
      roleIndex: this.#role,
      op: "hear",
      direction: "in",
      bytes: frame.payload.length,
    });
    if (!decision.allowed) {
      return this.#deny(decision.rule, "voice", 0, 0, id, this.#view.ownerOf(id));
    }
    if (inspectOpusPacket(frame.payload) === undefined) {
      this.#counters.add("voice.malformed");
      return this.#deny(Rule.Format, "voice", 0, 0, id, this.#view.ownerOf(id));
    }
    this.#counters.add("voice.framesIn");
    const known = this.#view.positionAt(id, frame.time, this.#position);
    this.#outbox.pushVoice({
      kind: "voice",
      handle: this.#handles.allot(id),
      sequence: frame.sequence,
      time: frame.time,
      position: known ? this.#position.slice() : new Float64Array(0),
      frame: frame.payload.slice(),
    });
  }

  #handlePeerEvent(message: Extract<ControlMessage, { kind: "event" }>, nowMs: number): void {
    const event = this.#events.decode(message.eventId, message.payload);
    if (typeof event === "number") return this.#violate(event);
    const { grant } = event;
    const decision = this.#gate.decideEvent({
      event: grant.index,
      roleIndex: this.#role,
      op: "receive",
      direction: "in",
    });
    if (!decision.allowed) {
      return this.#deny(decision.rule, "event", grant.id, 0, NO_ENTITY, message.from);
    }
    if (!this.#eventQueue.push(this.#events.pending(event, message.from, message.time), nowMs)) {
      this.#counters.add("event.dropped");
    }
    this.#deliverEvents(nowMs);
  }

  #deliverEvents(nowMs: number): void {
    for (;;) {
      const due = this.#eventQueue.poll(
        nowMs,
        (id) => this.#isOwn(id) || this.#view.isAnnounced(id),
        this.#view.newestTick,
      );
      if (due === undefined) break;
      const { event, from, time } = due.event;
      for (const id of event.entities) {
        // The engine hears of the entity in the same turn, before the event.
        if (this.#view.isAnnounced(id)) this.#handles.allot(id);
      }
      this.#outbox.pushAfterState(this.#events.toEngine(event, from, time, due.late));
    }
  }

  #handleSpawnRefused(id: EntityId, rule: Rule): void {
    const handle = this.#handles.handleOf(id);
    if (this.#own.isAlive(id)) {
      this.#own.despawn(id, Math.max(this.#slots.last + 1, this.#own.headerTick(id)));
      this.#view.forget(id);
    }
    if (handle === 0) return;
    this.#handles.unbindId(id);
    this.#outbox.forget(id);
    this.#outbox.push({ kind: "spawnRefused", handle, rule });
  }

  // ---- what the server says of entities this client owns, or will own

  #adopt(id: EntityId, owner: number, epoch: number): void {
    const self = this.#selfPeer;
    const tick = this.#slots.last + 1;
    const wasOwn = this.#isOwn(id);
    if (owner !== self && !this.#own.isAlive(id)) return;
    if (!this.#own.isAlive(id)) this.#own.spawn(id, self, tick);
    this.#own.adoptHeader(id, owner, epoch, tick);
    if (owner !== self || wasOwn) return;
    this.#view.forEachHeld(id, (component, value, time) => {
      this.#overridden(id, component, this.#grants.components[component]!.allFields, value, time);
    });
  }

  /** Takes the server's value of a component that this client may write, so that its next write starts from there. */
  #overridden(
    id: EntityId,
    component: number,
    mask: number,
    value: ComponentValue,
    time: TimelineTime,
  ): void {
    if (this.#grants.components[component]!.authority !== "owner") return;
    if (this.#own.hasComponent(id, component)) {
      const tick = Math.max(this.#slots.last + 1, this.#own.versionTick(id, component));
      this.#own.write(id, component, mask, value, tick, time);
    } else {
      this.#own.addComponent(id, component, value, this.#slots.last + 1, time);
    }
    this.#joined?.sender.markSynced(id, component);
  }

  #ownGone(id: EntityId): void {
    if (!this.#own.isAlive(id)) return;
    this.#own.despawn(id, this.#slots.last + 1);
    this.#sequences.delete(id);
  }

  #readValue(id: EntityId, component: number, out: ComponentValue): number {
    if (this.#isOwn(id) && this.#own.hasComponent(id, component)) {
      this.#own.read(id, component, out);
      return this.#grants.components[component]!.allFields;
    }
    return this.#view.read(id, component, out);
  }

  #valueTime(id: EntityId, component: number): TimelineTime {
    return this.#isOwn(id) && this.#own.hasComponent(id, component)
      ? this.#own.versionTime(id, component)
      : this.#view.timeOf(id, component);
  }

  // ---- time

  get nextTimerMs(): number {
    if (this.#state === "due") return this.#dueMs;
    if (this.#state === "joining") return this.#joinSentMs + JOIN_TIMEOUT_MS;
    const joined = this.#joined;
    const nowMs = this.#now();
    if (joined === undefined) {
      return this.#state === "waiting" ? Infinity : nowMs + ENGINE_HEARTBEAT_MS;
    }
    const time = this.#clock.timeAt(nowMs);
    const next = this.#slots.next(time, joined.link.rttMs, this.#stateWaits);
    return Math.min(joined.link.dueMs, nowMs + Math.max(0, this.#clock.msUntil(next, nowMs)));
  }

  handleTimer(nowMs: number): void {
    if (this.#state === "joining" && nowMs - this.#joinSentMs >= JOIN_TIMEOUT_MS) {
      this.#leave(CloseCode.JoinTimeout, "the server did not answer the join", false, nowMs);
    }
    const joined = this.#joined;
    if (joined !== undefined) {
      this.#sendStateIfDue(nowMs, false);
      if (joined.link.dueMs <= nowMs) joined.link.sendSlot(this.#clock.timeAt(nowMs), nowMs, false);
      this.#deliverEvents(nowMs);
    }
    this.#housekeep(nowMs);
  }

  /** One state slot a tick: a version has one value, so nothing of a tick is sent twice with different contents. */
  #sendStateIfDue(nowMs: number, isFresh: boolean): void {
    const joined = this.#joined!;
    const time = this.#clock.timeAt(nowMs);
    const news = this.#stateWaits ? (isFresh ? "fresh" : "waiting") : "none";
    const slot = this.#slots.take(time, joined.link.rttMs, news);
    if (slot < 0) return;
    this.#stateWaits = false;
    joined.link.sendSlot(this.#slots.headerTime(slot, time), nowMs, true);
    this.#own.expire(slot);
  }

  #housekeep(nowMs: number): void {
    if (this.#state === "waiting") return;
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
      this.#counters.set("entities", this.#own.entityCount + this.#view.size);
      this.#counters.set("rttMaxMs", this.#joined?.link.rttMs ?? 0);
      this.#outbox.push({ kind: "stats", values: this.#counters.snapshot() });
    }
  }

  close(reason: string, _nowMs: number): void {
    if (this.#control !== undefined && this.#state === "joined") {
      sendControl(this.#control, { kind: "bye", code: CloseCode.Normal, reason: "" });
    }
    const connection = this.#connection;
    this.#state = "ended";
    this.#connection = undefined;
    this.#joined = undefined;
    connection?.close(CloseCode.Normal, "bye");
    this.#outbox.push({ kind: "goodbye", code: CloseCode.GoingAway, reason });
  }

  // ---- helpers

  /** Whether this client owns the entity; one whose ownership moved on stays in the table until the server has heard that we know. */
  #isOwn(id: EntityId): boolean {
    return this.#own.isAlive(id) && this.#own.owner(id) === this.#selfPeer;
  }

  get #selfPeer(): number {
    return this.#joined?.peer ?? this.#resume?.peer ?? SERVER_PEER;
  }

  #now(): number {
    return this.#environment.now();
  }

  #channelPeer(): ChannelPeer | undefined {
    const connection = this.#connection;
    const joined = this.#joined;
    if (connection === undefined || joined === undefined) return undefined;
    const role = this.#role;
    return {
      peer: SERVER_PEER,
      remoteRole: SERVER_ROLE,
      localRole: role,
      openStream: () => connection.openStream(),
      queueMessage: (channelId, body) => joined.link.queueMessage(channelId, body, this.#now()),
    };
  }

  #deny(
    rule: Rule,
    subject: "component" | "event" | "channel" | "voice" | "spawn" | "despawn",
    id: number,
    fields: number,
    entity: EntityId,
    peer: number,
    handle: Handle = this.#handles.handleOf(entity),
  ): void {
    this.#counters.add("denials");
    this.#denials.record(
      { door: "driver", rule, peer, subject, id, fields, handle, count: 1 },
      this.#now(),
    );
  }
}

/** Component indices that a batch gives to each of its handles. */
function compositionOf(
  batch: Extract<ToDriver, { kind: "batch" }>,
  reader: EngineBatchReader,
): Map<Handle, number[]> {
  const composition = new Map<Handle, number[]>();
  for (const handle of batch.spawns) composition.set(handle, []);
  for (const rows of batch.components) {
    const component = reader.component(rows.componentId);
    if (component === undefined) continue;
    for (const handle of rows.handles) composition.get(handle)?.push(component.index);
  }
  return composition;
}
