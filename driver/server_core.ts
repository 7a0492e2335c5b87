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
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { ENGINE_LINK_VERSION, SPARE_STREAMS, WORK_STREAM } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import type { World } from "../replication/world.ts";
import type { Connection, Stream } from "../transport/connection.ts";
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
import { circulateIds } from "./server_ids.ts";
import { ServerJoin } from "./server_join.ts";
import type { ServerPeer } from "./server_peer.ts";
import { ServerRights } from "./server_rights.ts";
import { shedPeer } from "./server_shed.ts";
import { ServerState } from "./server_state.ts";
import { type ServerUsage, usageOf } from "./server_usage.ts";
import { ServerTick } from "./server_tick.ts";
import { ServerVoice } from "./server_voice.ts";
import { ServerWrites } from "./server_writes.ts";
import { reliableChannels } from "./stream_bounds.ts";
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

/** Core of the `server` and `loopback` roles; see {@linkcode DriverCore} for the order of calls. */
export class ServerCore implements DriverCore {
  readonly #state: ServerState;
  readonly #loopback: boolean;
  readonly #watch: EngineWatch;
  readonly #batches: ServerBatches;
  readonly #writes: ServerWrites;
  readonly #voice: ServerVoice;
  readonly #events: ServerEvents;
  readonly #channels: ChannelRouter;
  readonly #join: ServerJoin;
  readonly #rights: ServerRights;
  readonly #tick: ServerTick;
  /** Reliable channels that a peer may have open, by role index. */
  readonly #channelsOfRole: readonly number[];
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
    this.#channelsOfRole = grants.roles.map(({ index }) => reliableChannels(grants, index));
    this.#batches = new ServerBatches(state);
    this.#events = new ServerEvents(state);
    this.#writes = new ServerWrites(state);
    this.#voice = new ServerVoice(state);
    this.#channels = new ChannelRouter(grants, state.gate, {
      now: () => state.nowMs,
      wake: () => environment.wake(),
      denied: (peer, rule, channelId, remote) => {
        const tried = remote ? state.peers.get(peer) : undefined;
        // Its last words are judged when it has left.
        if (remote && tried === undefined) return;
        state.deny(tried, rule, "channel", channelId, 0, NO_ENTITY, state.nowMs);
      },
      violation: (peer, fault) => state.peers.get(peer)?.link.countFault(fault, state.nowMs),
      mayGoOn: (peer, cost) => {
        const work = state.peers.get(peer)?.work;
        work?.spendStream(cost);
        return work === undefined || !(work.isStreamSpent || work.isSpent);
      },
    }, state.counters);
    this.#join = new ServerJoin(state, {
      datagram: (peer, bytes) => this.#handleDatagram(peer, bytes),
      control: (peer, message, nowMs) => this.#handleControl(peer, message, nowMs),
      stream: (peer, stream) => this.#handleStream(peer, stream),
      detached: (peer) => {
        this.#channels.handlePeerGone(peer.peer);
        this.#voice.handlePeerGone(peer.peer);
      },
    });
    const work = new WorkWatch(state, (peer) => {
      this.#join.goOn(peer);
      // Who owes more than a tick brings waits on, all its streams together.
      if (!peer.work.isStreamSpent && !peer.work.isSpent) {
        this.#channels.handlePeerReadable(peer.peer);
      }
    });
    this.#rights = new ServerRights({
      state,
      writes: this.#writes,
      events: this.#events,
      channels: this.#channels,
      work,
    });
    this.#tick = new ServerTick({
      state,
      work,
      events: this.#events,
      writes: this.#writes,
      voice: this.#voice,
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

  /** Whether a peer is shown an entity, by the last tick, for tests that compare views. */
  isShown(peer: number, id: EntityId): boolean {
    return this.#state.peers.get(peer)?.sender.isVisible(id) === true;
  }

  /** Number of the last datagram that carried anything of an entity to a peer, -1 where none did, for benchmarks that look at who waits. */
  lastSequence(peer: number, id: EntityId): number {
    return this.#state.peers.get(peer)?.sender.lastSequence(id) ?? -1;
  }

  /** How much it holds that comes and goes with peers and entities, for tests that look for leaks. */
  get usage(): ServerUsage {
    return usageOf(this.#state, this.#channels.openCount, this.#join.waitingCount);
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
          pairs: this.#batches.hashes(),
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
    this.#channels.handleEngineWritable(writable && !this.#state.outbox.isCrowded);
  }

  pollEngine(nowMs: number): ToEngine | undefined {
    if (!this.#watch.isWritable) return undefined;
    const { denials, violations, outbox, lastTick } = this.#state;
    const denial = denials.poll(nowMs);
    if (denial !== undefined) return { kind: "denied", denial };
    const violation = violations.poll(nowMs);
    if (violation !== undefined) return { kind: "violation", ...violation };
    const report = this.#channels.pollReport();
    if (report !== undefined) return report;
    const message = outbox.poll(lastTick, this.#engineStateDue);
    if (message?.kind === "batch") this.#engineStateDue = outbox.hasState;
    return message ?? this.#channels.pollMessage();
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

  /** Those that the peer's role can have a use for, and a few that are just ending: what the runtime holds of the others is not summed up. */
  #handleStream(peer: ServerPeer, stream: Stream): void {
    peer.work.spend(WORK_STREAM);
    // A stream that was opened cannot wait: who goes on opening them has to go.
    if (peer.work.isSpent) peer.work.noteOver();
    const most = this.#channelsOfRole[peer.role]! + SPARE_STREAMS;
    const taken = peer.streams.accept(stream, most);
    if (taken === undefined) this.#state.counters.add("channel.refused");
    else this.#channels.handlePeerStream(peer, taken);
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
    this.#tick.run(tick, time, nowMs);
    this.#engineStateDue = state.outbox.hasState;
    circulateIds(state, nowMs);
    this.#join.handleTick(nowMs);
    this.#housekeep(nowMs);
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
    return shedPeer(this.#state, nowMs);
  }

  close(reason: string, _nowMs: number): void {
    this.#join.close(reason);
    this.#state.push({ kind: "goodbye", code: CloseCode.GoingAway, reason });
  }
}
