// The server's core: the world, its timeline, and the order in which everything happens to it. One engine holds world authority beside it.
// Joining, the engine's batches, peers' writes, events, channels and voice have files of their own. No socket, no clock, no randomness.

import { assert } from "../protocol/assert.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import type { ControlMessage } from "../protocol/control_messages.ts";
import {
  type ConnectOrder,
  DRIVER_HANDLE_BIT,
  SERVER_PEER,
  type ToDriver,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { ENGINE_LINK_VERSION, MAX_CONTROL_BACKLOG_BYTES } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import { createInterestResult, Interest } from "../replication/interest.ts";
import type { World } from "../replication/world.ts";
import type { Connection } from "../transport/connection.ts";
import { ChannelRouter } from "./channel_router.ts";
import type { CoreEnvironment, DriverCore, HelloFacts } from "./core.ts";
import type { Counters } from "./counters.ts";
import { EngineWatch } from "./engine_watch.ts";
import { ExitCode } from "./exit_codes.ts";
import { answerLog, logStart, logWelcome } from "./log_reports.ts";
import type { LogOptions } from "./log_ring.ts";
import { nodesOf } from "./nodes.ts";
import { ServerBatches } from "./server_batches.ts";
import { ServerEvents } from "./server_events.ts";
import { ServerJoin } from "./server_join.ts";
import type { ServerPeer } from "./server_peer.ts";
import { ServerRights } from "./server_rights.ts";
import { ServerState } from "./server_state.ts";
import { ServerVoice } from "./server_voice.ts";
import { ServerWrites } from "./server_writes.ts";
import { refusalOf } from "./welcome_check.ts";
import { WorkWatch } from "./work_watch.ts";

/** What a server core needs. */
export interface ServerCoreOptions {
  readonly grants: Grants;
  readonly environment: CoreEnvironment;
  /** No network at all: the engine alone. */
  readonly loopback: boolean;
  /** What this host keeps of its log. */
  readonly log?: LogOptions;
}

/** Sizes of a server core's tables. */
export interface ServerUsage {
  /** Entities alive. */
  readonly entities: number;
  /** Handles that the engine link knows. */
  readonly handles: number;
  /** Entity ids in use, in peers' hands or resting. */
  readonly ids: number;
  /** Entity ids that rest until every peer knows of their end. */
  readonly resting: number;
  /** Entity ids in peers' hands. */
  readonly freeIds: number;
  /** Entities of which something that peers sent is held, over all peers. */
  readonly held: number;
  /** Spawns that wait for their components. */
  readonly spawns: number;
  /** Peers that hold a place. */
  readonly places: number;
  /** Peers that may resume. */
  readonly secrets: number;
  /** Channels open. */
  readonly channels: number;
  /** Connections that have not joined. */
  readonly strangers: number;
}

/** Core of the `server` and `loopback` roles; see {@linkcode DriverCore} for the order of calls. */
export class ServerCore implements DriverCore {
  readonly #state: ServerState;
  readonly #loopback: boolean;
  readonly #watch: EngineWatch;
  readonly #interest: Interest;
  readonly #candidates = createInterestResult();
  readonly #batches: ServerBatches;
  readonly #writes: ServerWrites;
  readonly #voice: ServerVoice;
  readonly #events: ServerEvents;
  readonly #channels: ChannelRouter;
  readonly #join: ServerJoin;
  readonly #rights: ServerRights;
  readonly #work: WorkWatch;
  readonly #viewpoint = new Float64Array(3);
  #welcomed = false;
  #engineStateDue = false;
  /** Last second of the certificate's validity, s since 1970. */
  #certificateUntilS: number | undefined;
  #exit: { code: number; reason: string } | undefined;

  constructor(options: ServerCoreOptions) {
    const { grants, environment } = options;
    this.#loopback = options.loopback;
    const state = new ServerState(grants, environment, options.log);
    this.#state = state;
    this.#watch = new EngineWatch(state.outbox, state.counters);
    this.#interest = new Interest(grants, state.world);
    this.#batches = new ServerBatches(state);
    this.#events = new ServerEvents(state);
    this.#writes = new ServerWrites(state);
    this.#voice = new ServerVoice(state);
    this.#channels = new ChannelRouter(grants, state.gate, {
      now: () => state.nowMs,
      push: (message) => {
        state.push(message);
        environment.wake();
      },
      denied: (peer, rule, channelId, remote) => {
        const tried = remote ? state.peers.get(peer) : undefined;
        state.deny(tried, rule, "channel", channelId, 0, NO_ENTITY, state.nowMs);
      },
      violation: (peer, fault) => state.peers.get(peer)?.link.countFault(fault, state.nowMs),
      mayGoOn: (peer, bytes) => {
        const work = state.peers.get(peer)?.work;
        work?.spendStream(bytes);
        return work?.isStreamSpent !== true;
      },
    }, state.counters);
    this.#join = new ServerJoin(state, {
      datagram: (peer, bytes) => this.#handleDatagram(peer, bytes),
      control: (peer, message, nowMs) => this.#handleControl(peer, message, nowMs),
      stream: (peer, stream) => this.#channels.handlePeerStream(peer, stream),
      detached: (peer) => {
        this.#channels.handlePeerGone(peer.peer);
        this.#voice.handlePeerGone(peer.peer);
      },
    });
    this.#work = new WorkWatch(state, (peer) => {
      this.#join.goOn(peer);
      this.#channels.handlePeerReadable(peer.peer);
    });
    this.#rights = new ServerRights({
      state,
      writes: this.#writes,
      events: this.#events,
      channels: this.#channels,
      work: this.#work,
    });
    state.onDespawn = (id) => {
      this.#voice.forget(id);
      this.#writes.forget(id);
    };
  }

  hello(facts: HelloFacts): ToEngine {
    const { grants, handles } = this.#state;
    handles.startAt(facts.boot);
    this.#certificateUntilS = facts.certificateUntilS;
    logStart(this.#state, this.#loopback ? "loopback" : "server", facts);
    return {
      kind: "hello",
      linkVersion: ENGINE_LINK_VERSION,
      role: this.#loopback ? "loopback" : "server",
      schemaHash: grants.schemaHash,
      components: grants.components.map((c) => [c.id, c.name, c.rowBytes] as const),
      nodes: nodesOf(grants),
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
    return this.#state.counters;
  }

  /** The world, for tests that compare state. */
  get world(): World {
    return this.#state.world;
  }

  /** How much it holds that comes and goes with peers and entities, for tests that look for leaks. */
  get usage(): ServerUsage {
    const { ids, handles, peers, lost, roster, resume, world } = this.#state;
    let [held, spawns, freeIds] = [0, 0, 0];
    for (const { receiver, pendingSpawns } of peers.values()) {
      held += receiver.heldCount;
      spawns += pendingSpawns.size;
    }
    for (const { freeIds: free } of [...peers.values(), ...lost.values()]) freeIds += free.size;
    return {
      entities: world.entityCount,
      handles: handles.size,
      ids: ids.takenCount,
      resting: ids.restingCount,
      freeIds,
      held,
      spawns,
      places: roster.size,
      secrets: resume.size,
      channels: this.#channels.openCount,
      strangers: this.#join.waitingCount,
    };
  }

  /** The network listens at `address` now; in the loopback role the engine's welcome does the same. */
  handleListening(address: string, nowMs: number): void {
    this.#state.log.write(LogCode.Listening, nowMs);
    this.#state.push({
      kind: "joined",
      peer: SERVER_PEER,
      roleId: 0,
      resumed: false,
      timeline: this.#state.timeAt(nowMs),
      resume: new Uint8Array(0),
      listen: address,
    });
    this.#state.environment.wake();
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
    if (!this.#welcomed) {
      this.#exit = {
        code: ExitCode.EngineRefused,
        reason: `The engine sent "${message.kind}" before its welcome; it must answer hello first.`,
      };
      return;
    }
    switch (message.kind) {
      case "batch":
        return this.#batches.apply(message, nowMs);
      case "event":
        return this.#events.handleEngineEvent(message, nowMs);
      case "voice":
        return this.#voice.handleEngineFrame(message.handle, message.frame, nowMs);
      case "channelOpen":
        return this.#channels.handleEngineOpen(message, state.peers.get(message.peer));
      case "channelData":
        return this.#channels.handleEngineData(message, nowMs);
      case "channelCredit":
        return this.#channels.handleEngineCredit(message);
      case "channelClose":
        return this.#channels.handleEngineClose(message);
      case "setRole":
        return this.#rights.setRole(message);
      case "setGrants":
        return this.#rights.setGrants(message);
      case "transfer":
        return this.#batches.transfer(message.handle, message.peer, nowMs);
      case "kick":
        return this.#join.kick(message.peer, message.reason, nowMs);
      case "stateHash":
        return state.push({
          kind: "stateHash",
          request: message.request,
          pairs: this.#hashes(),
        });
      case "resend":
        return this.#batches.resend(message.pairs);
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
    this.#channels.handleEngineWritable(writable);
  }

  pollEngine(nowMs: number): ToEngine | undefined {
    if (!this.#watch.isWritable) return undefined;
    const { denials, violations, outbox, lastTick } = this.#state;
    const denial = denials.poll(nowMs);
    if (denial !== undefined) return { kind: "denied", denial };
    const violation = violations.poll(nowMs);
    if (violation !== undefined) return { kind: "violation", ...violation };
    const message = outbox.poll(lastTick, this.#engineStateDue);
    if (message?.kind === "batch") this.#engineStateDue = outbox.hasState;
    return message;
  }

  #handleWelcome(message: Extract<ToDriver, { kind: "welcome" }>, nowMs: number): void {
    if (this.#welcomed) return;
    const state = this.#state;
    const refusal = refusalOf(message, state.grants);
    if (refusal !== undefined) {
      this.#exit = { code: ExitCode.EngineRefused, reason: refusal };
      return;
    }
    this.#welcomed = true;
    logWelcome(state, message, nowMs);
    const fault = state.nonces.restore(message.nonces, state.nowS);
    assert(fault === undefined, "the codec lets only whole records of a bounded number through");
    this.#batches.adoptNames(message.entities, (handle) => handle < DRIVER_HANDLE_BIT);
    state.clock.startAt(nowMs, SUBTICKS);
    state.lastTick = 1;
    this.#watch.handleHeard(nowMs);
    if (this.#loopback) this.handleListening("", nowMs);
  }

  #hashes(): Uint32Array {
    const { handles, world } = this.#state;
    const pairs: number[] = [];
    handles.forEach((handle, id) => {
      if (world.isAlive(id)) pairs.push(handle, world.hash(id));
    });
    return Uint32Array.from(pairs);
  }

  // ---- peers

  pollConnect(): ConnectOrder | undefined {
    return undefined;
  }

  handleConnectFailed(): void {}

  handleConnection(connection: Connection, nowMs: number): void {
    if (this.#welcomed && !this.#loopback) return this.#join.handleConnection(connection, nowMs);
    this.#state.counters.add("join.refusedConnections");
    this.#state.log.write(LogCode.ConnectionRefused, nowMs, CloseCode.Full);
    connection.close(CloseCode.Full, "no place for another connection");
  }

  #handleControl(peer: ServerPeer, message: ControlMessage, nowMs: number): void {
    if (message.kind === "event") return this.#events.handlePeerEvent(peer, message, nowMs);
    this.#state.counters.add(`fault.${faultName(Fault.Unexpected)}`);
    this.#state.log.write(LogCode.Faulty, nowMs, peer.peer, Fault.Unexpected);
    peer.connection.close(Fault.Unexpected, `${message.kind} is not expected here`);
  }

  #handleDatagram(peer: ServerPeer, bytes: Uint8Array): void {
    // Nothing else may be done here: this is what each datagram of a flood costs.
    if (peer.work.isSpent) return peer.work.noteUnread(bytes.length);
    const state = this.#state;
    const { nowMs } = state;
    const time = state.timeAt(nowMs);
    const received = peer.link.handleDatagram(bytes, nowMs, time);
    if (received !== undefined) {
      if (received.snapshot !== undefined) {
        this.#writes.apply(peer, received.snapshot, time, nowMs);
      }
      for (const frame of received.voice) this.#voice.handlePeerFrame(peer, frame, nowMs);
      for (const message of received.messages) {
        this.#channels.handlePeerMessage(peer, message, nowMs);
      }
      this.#events.deliver(peer, nowMs);
      state.environment.wake();
    }
  }

  // ---- time

  get nextTimerMs(): number {
    const { log, clock, lastTick, nowMs, peers } = this.#state;
    if (!this.#welcomed) return log.dueMs;
    let next = clock.msUntil((lastTick + 1) * SUBTICKS, nowMs) + nowMs;
    for (const peer of peers.values()) next = Math.min(next, peer.link.dueMs);
    return next;
  }

  handleTimer(nowMs: number): void {
    this.#state.log.handleTimer(nowMs);
    if (!this.#welcomed) return;
    const time = this.#state.timeAt(nowMs);
    const tick = tickOf(time);
    if (tick > this.#state.lastTick) this.#runTick(tick, time, nowMs);
    for (const peer of this.#state.peers.values()) {
      if (peer.link.dueMs <= nowMs) peer.link.sendSlot(time, nowMs, false);
    }
  }

  #runTick(tick: number, time: TimelineTime, nowMs: number): void {
    const state = this.#state;
    const { world } = state;
    state.lastTick = tick;
    this.#work.handleTick(tick, nowMs);
    this.#interest.rebuild();
    for (const peer of state.peers.values()) {
      this.#events.deliver(peer, nowMs);
      this.#writes.finishSpawns(peer, time, nowMs);
      state.chooseViewpoint(peer);
      const sees = peer.viewpoint !== NO_ENTITY && world.position(peer.viewpoint, this.#viewpoint);
      const eye = sees ? this.#viewpoint : undefined;
      this.#interest.query(eye, this.#candidates);
      this.#voice.setListener(peer.peer, peer.role, eye);
      peer.sender.updateView(tick, this.#candidates);
      peer.link.sendSlot(time, nowMs, true);
      if (peer.control.bufferedBytes > MAX_CONTROL_BACKLOG_BYTES) {
        state.counters.add("peers.overloaded");
        state.log.write(LogCode.Unresponsive, nowMs, peer.peer, CloseCode.Overloaded);
        peer.connection.close(CloseCode.Overloaded, "the control stream is not read");
      }
    }
    this.#events.relayAll(nowMs);
    world.expire(tick);
    this.#engineStateDue = state.outbox.hasState;
    this.#releaseIds(nowMs);
    this.#refillIds();
    this.#join.handleTick(nowMs);
    this.#housekeep(nowMs);
  }

  /** Slots whose end every peer knows may be used again. */
  #releaseIds(nowMs: number): void {
    const { ids, peers } = this.#state;
    if (ids.restingCount === 0) return;
    const overdue = ids.settle(nowMs, (id) => {
      for (const peer of peers.values()) if (!peer.sender.hasAckedDespawn(id)) return false;
      return true;
    }, (id) => {
      for (const peer of peers.values()) peer.receiver.forget(id);
    });
    if (overdue === NO_ENTITY) return;
    for (const peer of peers.values()) {
      if (peer.sender.hasAckedDespawn(overdue)) continue;
      this.#state.counters.add("peers.unresponsive");
      this.#state.log.write(LogCode.Unresponsive, nowMs, peer.peer, CloseCode.Overloaded);
      peer.connection.close(CloseCode.Overloaded, "what ended is not acknowledged");
    }
  }

  /** Hands out ids for those that peers have used up. */
  #refillIds(): void {
    const { ids, peers, world } = this.#state;
    for (const peer of peers.values()) {
      const fresh = ids.fill(peer, world.countOwned(peer.peer));
      if (fresh.length > 0) peer.tell({ kind: "entityIds", ids: fresh });
    }
  }

  #housekeep(nowMs: number): void {
    const { counters, peers, world, lastTick, nowS } = this.#state;
    const end = this.#watch.handleTimer(nowMs, () => {
      let rtt = 0;
      for (const peer of peers.values()) rtt = Math.max(rtt, peer.link.rttMs);
      counters.set("entities", world.entityCount);
      counters.set("rttMaxMs", rtt);
      counters.set("tick", lastTick);
      // New handshakes fail from then on; below nothing there is nothing to tell.
      if (this.#certificateUntilS !== undefined) {
        counters.set("certificate.secondsLeft", Math.max(0, this.#certificateUntilS - nowS));
      }
    });
    if (end === undefined || this.#exit !== undefined) return;
    this.close(end.why, nowMs);
    this.#exit = { code: ExitCode.EngineEnded, reason: end.reason };
  }

  shed(nowMs: number): boolean {
    const { peers, counters, log } = this.#state;
    let [most, victim]: [number, ServerPeer | undefined] = [-1, undefined];
    for (const peer of peers.values()) {
      const bytes = peer.link.heldBytes + peer.control.bufferedBytes +
        this.#channels.bufferedBytes(peer.peer);
      if (bytes > most) [most, victim] = [bytes, peer];
    }
    if (victim === undefined) return false;
    counters.add("peers.shed");
    log.write(LogCode.Shed, nowMs, victim.peer, Math.round(most / 1024));
    victim.connection.close(CloseCode.Shed, "the server is short of memory");
    return true;
  }

  close(reason: string, _nowMs: number): void {
    this.#join.close(reason);
    this.#state.push({ kind: "goodbye", code: CloseCode.GoingAway, reason });
  }
}
