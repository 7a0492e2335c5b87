// The client's core: one connection to a server, the entities this client owns, and what it is shown of the others'. Coming into the world,
// own entities, events and voice have files of their own; here is the order. No socket, no clock, no randomness.

import { CloseCode } from "../protocol/close_codes.ts";
import type { AcceptedMessage } from "../protocol/control_messages.ts";
import {
  type ConnectOrder,
  type Handle,
  SERVER_PEER,
  type ToDriver,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import { ENGINE_LINK_VERSION, MAX_JOIN_TICK } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { HASH_START } from "../replication/state_hash.ts";
import type { ComponentValue } from "../replication/value.ts";
import type { Connection, Stream } from "../transport/connection.ts";
import { ChannelRouter } from "./channel_router.ts";
import type { ChannelPeer } from "./channel_table.ts";
import { handleControl, takeAdjustments, tellAdjustments } from "./client_control.ts";
import { openClientLink } from "./client_link.ts";
import { ClientOwn } from "./client_own.ts";
import { ClientSession } from "./client_session.ts";
import { ClientSignals } from "./client_signals.ts";
import { ClientState } from "./client_state.ts";
import { ClientView } from "./client_view.ts";
import { connectOrderOf } from "./connect_order.ts";
import type { CoreEnvironment, DriverCore, HelloFacts } from "./core.ts";
import type { Counters } from "./counters.ts";
import { EngineWatch } from "./engine_watch.ts";
import { ExitCode } from "./exit_codes.ts";
import { answerLog, logStart, logWelcome } from "./log_reports.ts";
import type { LogOptions } from "./log_ring.ts";
import { nodesOf } from "./nodes.ts";
import { SendSlots } from "./send_slots.ts";
import { refusalOf } from "./welcome_check.ts";

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
  /** What this host keeps of its log. */
  readonly log?: LogOptions;
}

/** Core of the `client` role; see {@linkcode DriverCore} for the order of calls. */
export class ClientCore implements DriverCore {
  readonly #options: ClientCoreOptions;
  readonly #state: ClientState;
  readonly #view: ClientView;
  readonly #own: ClientOwn;
  readonly #signals: ClientSignals;
  readonly #session: ClientSession;
  readonly #channels: ChannelRouter;
  readonly #slots: SendSlots;
  readonly #watch: EngineWatch;
  #stateWaits = false;
  #exit: { code: number; reason: string } | undefined;

  constructor(options: ClientCoreOptions) {
    const { grants, environment } = options;
    this.#options = options;
    const state: ClientState = new ClientState(grants, environment, {
      readValue: (id, c, out) => this.#readValue(id, c, out),
      valueTime: (id, c) => this.#valueTime(id, c),
      ownerOf: (id) => {
        if (this.#own.isOwn(id)) return state.peer;
        // What was ours and left the view is somebody else's; whose, its header does not say.
        const owner = this.#view.ownerOf(id);
        return owner === state.peer ? SERVER_PEER : owner;
      },
      zoneOf: () => 0,
      epochOf: (id) => this.#own.isOwn(id) ? this.#own.world.epoch(id) : this.#view.epochOf(id),
    }, options.log);
    this.#state = state;
    this.#watch = new EngineWatch(state.outbox, state.counters);
    this.#slots = new SendSlots(grants.tickHz);
    this.#view = new ClientView(grants, state.outbox, {
      isOwn: (id) => this.#own.isOwn(id),
      adopt: (id, owner, epoch) => this.#own.adopt(id, owner, epoch),
      overridden: (id, c, mask, value, time) => this.#own.override(id, c, mask, value, time),
      dropped: (id, c) => this.#own.dropComponent(id, c),
      gone: (id) => {
        this.#own.handleGone(id);
        this.#signals.forget(id);
      },
      isEnded: (id, owner) => owner === state.peer && this.#own.isEnding(id),
      epochOfOwn: (id) => this.#own.world.epoch(id),
      forEachUnsaid: (id, fn) => this.#own.forEachUnsaid(id, fn),
      mayWrite: (c) => this.#own.mayWrite(c),
    });
    this.#own = new ClientOwn(state, this.#view, () => this.#slots.last);
    this.#signals = new ClientSignals(state, this.#view, (id) => this.#own.isOwn(id));
    this.#channels = new ChannelRouter(grants, state.gate, {
      now: () => state.nowMs,
      wake: () => environment.wake(),
      denied: (_peer, rule, channelId, remote) => {
        const who = remote ? SERVER_PEER : state.peer;
        state.deny(rule, "channel", channelId, 0, NO_ENTITY, who);
      },
      violation: (_peer, fault) => state.joined?.link.countFault(fault, state.nowMs),
    }, state.counters);
    const parts = {
      state,
      own: this.#own,
      signals: this.#signals,
      roleChanged: () => this.#channels.judgeAgain(SERVER_PEER),
    };
    this.#session = new ClientSession(state, {
      accepted: (message, connection, control, joinMs) =>
        this.#handleAccepted(message, connection, control, joinMs),
      control: (message, nowMs) => handleControl(parts, message, nowMs),
      datagram: (bytes) => this.#handleDatagram(bytes),
      stream: (stream) => this.#channels.handlePeerStream(this.#channelPeer()!, stream),
      left: () => {
        state.joined = undefined;
        this.#channels.handlePeerGone(SERVER_PEER);
      },
    });
  }

  hello(facts: HelloFacts): ToEngine {
    const { grants, handles } = this.#state;
    handles.startAt(facts.boot);
    logStart(this.#state, "client", facts);
    return {
      kind: "hello",
      linkVersion: ENGINE_LINK_VERSION,
      role: "client",
      schemaHash: grants.schemaHash,
      components: grants.components.map((c) => [c.id, c.name, c.rowBytes] as const),
      nodes: nodesOf(grants),
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
    return this.#state.counters;
  }

  /** True while the client is part of the world. */
  get isJoined(): boolean {
    return this.#session.isJoined;
  }

  /** What it holds of an entity, hashed as `World.hash` does; 0 for an unknown one. */
  hashOf(id: EntityId): number {
    if (!this.#own.isOwn(id)) return this.#view.hash(id);
    // Of its own entities this end writes some components, and is told the others.
    const { world } = this.#own;
    let hash = HASH_START;
    for (const { index } of this.#state.grants.components) {
      hash = world.hasComponent(id, index)
        ? world.hashInto(hash, id, index)
        : this.#view.hashInto(hash, id, index);
    }
    return hash >>> 0;
  }

  /** Network id of a handle, or 0. */
  idOf(handle: Handle): EntityId {
    return this.#state.handles.idOf(handle);
  }

  // ---- engine

  handleEngine(message: ToDriver, nowMs: number): void {
    const state = this.#state;
    this.#watch.handleHeard(nowMs);
    if (message.kind === "welcome") return this.#handleWelcome(message, nowMs);
    if (message.kind === "goodbye") {
      this.close("the engine said goodbye", nowMs);
      this.#exit = { code: ExitCode.Ok, reason: "" };
      return;
    }
    if (this.#session.isWaiting) {
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
        return this.#handleEvent(message, nowMs);
      case "voice":
        return this.#signals.handleEngineVoice(message.handle, message.frame, nowMs);
      case "channelOpen":
        return this.#channels.handleEngineOpen(message, this.#channelPeer());
      case "channelData":
        return this.#channels.handleEngineData(message, nowMs);
      case "channelCredit":
        return this.#channels.handleEngineCredit(message);
      case "channelClose":
        return this.#channels.handleEngineClose(message);
      case "setRole":
      case "setGrants":
      case "transfer":
      case "kick":
        return state.deny(Rule.Authority, "component", 0, 0, NO_ENTITY, state.peer);
      case "stateHash":
        return state.push({
          kind: "stateHash",
          request: message.request,
          pairs: this.#hashes(),
        });
      case "signed":
        return this.#session.handleSigned(message, nowMs);
      case "resend":
        return this.#own.resend(message.pairs);
      case "readLog":
        return answerLog(state, message, nowMs);
      case "ping":
        return state.push({ kind: "pong", time: message.time });
      case "pong":
        return;
    }
  }

  handleEngineWritable(writable: boolean): void {
    if (this.#watch.isWritable && !writable) {
      this.#state.log.write(LogCode.EngineSlow, this.#state.nowMs);
    }
    this.#watch.isWritable = writable;
    this.#channels.handleEngineWritable(writable && !this.#state.outbox.isCrowded);
  }

  pollEngine(nowMs: number): ToEngine | undefined {
    if (!this.#watch.isWritable) return undefined;
    const denial = this.#state.denials.poll(nowMs);
    if (denial !== undefined) return { kind: "denied", denial };
    return this.#channels.pollReport() ?? this.#state.outbox.poll(this.#view.newestTick, true) ??
      this.#channels.pollMessage();
  }

  #handleWelcome(message: Extract<ToDriver, { kind: "welcome" }>, nowMs: number): void {
    if (!this.#session.isWaiting) return;
    const state = this.#state;
    const order = connectOrderOf(message.connect, this.#options);
    const refusal = refusalOf(message, state.grants) ??
      (typeof order === "string" ? order : undefined);
    if (refusal !== undefined || typeof order === "string") {
      this.#exit = { code: ExitCode.EngineRefused, reason: refusal ?? "" };
      return;
    }
    for (let i = 0; i + 1 < message.entities.length; i += 2) {
      const handle = message.entities[i]!;
      const id = message.entities[i + 1]!;
      if (handle !== 0 && entitySlot(id) !== 0) state.handles.bind(handle, id);
    }
    logWelcome(state, message, nowMs);
    this.#session.begin(order, message.resume, nowMs);
  }

  #handleBatch(batch: Extract<ToDriver, { kind: "batch" }>, nowMs: number): void {
    if (this.#state.joined === undefined) {
      // The SDK sends everything again when it hears of the join.
      this.#state.counters.add("engine.batchesBeforeJoin");
      return;
    }
    this.#own.applyBatch(batch, nowMs);
    this.#stateWaits = true;
    this.#sendStateIfDue(nowMs, true);
  }

  /** State of an event's own batch has gone in a slot that lies ahead, or goes in the next; the event waits for whichever it is. */
  #handleEvent(message: Extract<ToDriver, { kind: "event" }>, nowMs: number): void {
    const { joined } = this.#state;
    if (joined === undefined) {
      this.#state.counters.add("event.beforeJoin");
      return;
    }
    const time = this.#state.timeAt(nowMs);
    const slot = this.#stateWaits
      ? this.#slots.slotOfWaiting(time, joined.link.rttMs)
      : this.#slots.last;
    this.#signals.handleEngineEvent(message, time, Math.max(tickOf(time), slot), nowMs);
  }

  #hashes(): Uint32Array {
    const pairs: number[] = [];
    this.#state.handles.forEach((handle, id) => {
      if (this.#own.isOwn(id) || this.#view.isAnnounced(id)) pairs.push(handle, this.hashOf(id));
    });
    return Uint32Array.from(pairs);
  }

  #readValue(id: EntityId, component: number, out: ComponentValue): number {
    const { world } = this.#own;
    if (!this.#own.isOwn(id) || !world.hasComponent(id, component)) {
      return this.#view.read(id, component, out);
    }
    world.read(id, component, out);
    return this.#state.grants.components[component]!.allFields;
  }

  #valueTime(id: EntityId, component: number): TimelineTime {
    return this.#own.isOwn(id) && this.#own.world.hasComponent(id, component)
      ? this.#own.world.versionTime(id, component)
      : this.#view.timeOf(id, component);
  }

  // ---- server

  pollConnect(nowMs: number): ConnectOrder | undefined {
    return this.#session.pollConnect(nowMs);
  }

  handleConnectFailed(reason: string, nowMs: number): void {
    this.#session.handleConnectFailed(reason, nowMs);
  }

  handleConnection(connection: Connection, nowMs: number): void {
    this.#session.handleConnection(connection, nowMs);
  }

  #handleAccepted(
    message: AcceptedMessage,
    connection: Connection,
    control: Stream,
    joinMs: number,
  ): boolean {
    const state = this.#state;
    const { grants, nowMs } = state;
    const role = grants.roles.find((r) => r.id === message.roleId && r.index !== SERVER_ROLE);
    if (role === undefined || message.peer === SERVER_PEER) return false;
    if (tickOf(message.time) > MAX_JOIN_TICK) return false;
    if (!takeAdjustments(state, message.adjustments)) return false;
    state.role = role.index;
    state.peer = message.peer;
    state.clock.handleJoin(message.time, nowMs, joinMs);
    if (!message.resumed) {
      // Another place in the world: what was owned before has to be spawned anew.
      this.#own.reset();
      this.#slots.reset();
      this.#signals.reset();
    }
    this.#own.forgetUnreadable();
    state.joined = openClientLink(state, this.#own.world, message, { connection, control, joinMs });
    this.#view.begin(state.joined.receiver);
    this.#own.begin(message.entityIds);
    state.outbox.clearState();
    state.log.write(LogCode.Joined, nowMs, message.peer, message.roleId, Number(message.resumed));
    // Before the engine speaks under its rights again. A new place has none but its role's.
    if (message.resumed) tellAdjustments(state);
    state.push({
      kind: "joined",
      peer: message.peer,
      roleId: message.roleId,
      resumed: message.resumed,
      timeline: state.timeAt(nowMs),
      resume: this.#session.ticket,
      listen: "",
    });
    return true;
  }

  #handleDatagram(bytes: Uint8Array): void {
    const state = this.#state;
    const joined = state.joined!;
    const { nowMs } = state;
    const received = joined.link.handleDatagram(bytes, nowMs, state.timeAt(nowMs));
    if (received !== undefined) {
      if (received.rttMs !== undefined) {
        state.clock.handleEcho(received.time, nowMs, received.rttMs);
      }
      this.#view.noteTick(tickOf(received.time));
      if (received.snapshot !== undefined) this.#view.apply(received.snapshot);
      for (const frame of received.voice) this.#signals.handlePeerVoice(frame);
      const peer = this.#channelPeer()!;
      for (const one of received.messages) this.#channels.handlePeerMessage(peer, one, nowMs);
      this.#signals.deliver(nowMs);
    }
    state.environment.wake();
  }

  #channelPeer(): ChannelPeer | undefined {
    const state = this.#state;
    const { joined } = state;
    if (joined === undefined) return undefined;
    return {
      peer: SERVER_PEER,
      remoteRole: SERVER_ROLE,
      get localRole() {
        return state.role;
      },
      openStream: () => joined.connection.openStream(),
      queueMessage: (one) => joined.link.queueMessage(one, state.nowMs),
    };
  }

  // ---- time

  get nextTimerMs(): number {
    const { joined, clock, log, nowMs } = this.#state;
    if (joined === undefined) return Math.min(log.dueMs, this.#session.nextTimerMs(nowMs));
    const next = this.#slots.next(clock.timeAt(nowMs), joined.link.rttMs, this.#stateWaits);
    const slotMs = nowMs + Math.max(0, clock.msUntil(next, nowMs));
    // An engine that flushes before each slot moves it on for ever: heartbeats and figures have a time of their own.
    return Math.min(joined.link.dueMs, slotMs, this.#watch.dueMs, log.dueMs);
  }

  handleTimer(nowMs: number): void {
    this.#state.log.handleTimer(nowMs);
    this.#session.handleTimer(nowMs);
    const { joined } = this.#state;
    if (joined !== undefined) {
      this.#sendStateIfDue(nowMs, false);
      const { link } = joined;
      if (link.dueMs <= nowMs) link.sendSlot(this.#state.timeAt(nowMs), nowMs, false);
      this.#signals.deliver(nowMs);
      this.#channels.handlePeerReadable(SERVER_PEER);
    }
    this.#housekeep(nowMs);
  }

  /** One state slot a tick: a version has one value, so nothing of a tick is sent twice with different contents. */
  #sendStateIfDue(nowMs: number, isFresh: boolean): void {
    const { link } = this.#state.joined!;
    const time = this.#state.timeAt(nowMs);
    const news = this.#stateWaits ? (isFresh ? "fresh" : "waiting") : "none";
    const slot = this.#slots.take(time, link.rttMs, news);
    if (slot < 0) return;
    this.#stateWaits = false;
    link.sendSlot(this.#slots.headerTime(slot, time), nowMs, true);
    this.#own.world.expire(slot);
  }

  #housekeep(nowMs: number): void {
    if (this.#session.isWaiting) return;
    const { counters, joined } = this.#state;
    const end = this.#watch.handleTimer(nowMs, () => {
      counters.set("entities", this.#own.world.entityCount + this.#view.size);
      counters.set("rttMaxMs", joined?.link.rttMs ?? 0);
    });
    if (end === undefined || this.#exit !== undefined) return;
    this.close(end.why, nowMs);
    this.#exit = { code: ExitCode.EngineEnded, reason: end.reason };
  }

  /** A client has one connection; without it there is nothing to go on for. */
  shed(): boolean {
    return false;
  }

  close(reason: string, _nowMs: number): void {
    this.#session.close();
    this.#state.push({ kind: "goodbye", code: CloseCode.GoingAway, reason });
  }
}
