// Events on a server: from its own engine and from peers, judged by the gate in both directions, held until their state has come, and
// relayed to everyone who may receive them. What is inside an event is the codec's business.

import { ALL_PEERS, SERVER_PEER, type ToDriver } from "../protocol/engine_messages.ts";
import type { EventMessage } from "../protocol/control_messages.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import { MAX_EVENT_STATE_TICKS, MAX_RELAYS_PER_TICK } from "../protocol/limits.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { type EventGrant, SERVER_ROLE } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import type { ComponentValue } from "../replication/value.ts";
import { EventCodec } from "./event_router.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";

/** An event on its way to the peers. */
interface Relay {
  readonly index: number;
  readonly value: ComponentValue;
  readonly from: number;
  readonly to: number;
  readonly time: TimelineTime;
  /** Zones of its sender and of what has just ended, 0 for none. */
  readonly zones: readonly number[];
}

/**
 * Routes events on a server.
 *
 * Order of calls: `handle*` any time; `deliver` for each peer after its state; `relayAll` once a tick, after every peer's view is up to
 * date: an event may name an entity that came with it, and a reader must have been shown that one first.
 */
export class ServerEvents {
  readonly #state: ServerState;
  readonly #codec: EventCodec;
  readonly #limits: RateLimiter[];
  readonly #relays: Relay[] = [];

  /** Routes between the state's peers and its engine. */
  constructor(state: ServerState) {
    this.#state = state;
    this.#codec = new EventCodec(state.grants, state.handles);
    this.#limits = state.grants.events.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys: 1 }));
  }

  /** An event of the own engine. */
  handleEngineEvent(message: Extract<ToDriver, { kind: "event" }>, nowMs: number): void {
    const state = this.#state;
    const deny = (rule: Rule, id: number) =>
      state.deny(undefined, rule, "event", id, 0, NO_ENTITY, nowMs);
    const event = this.#codec.fromEngine(message);
    if (typeof event === "string") return deny(event, message.eventId);
    const { grant, value } = event;
    const decision = state.gate.decideEvent({
      event: grant.index,
      roleIndex: SERVER_ROLE,
      op: "send",
      direction: "out",
    });
    if (!decision.allowed) return deny(decision.rule, grant.id);
    if (!this.#limits[grant.index]!.take(0, nowMs)) return deny(Rule.Rate, grant.id);
    // The state of the event's own batch goes with the next tick.
    const time = (state.lastTick + 1) * SUBTICKS;
    const zones = event.unknown.flatMap((handle) => state.zones.ofEnded(handle));
    this.#queue({ index: grant.index, value, from: SERVER_PEER, to: message.to, time, zones });
  }

  /** An event of a peer. */
  handlePeerEvent(peer: ServerPeer, message: EventMessage, nowMs: number): void {
    const state = this.#state;
    const grant = this.#codec.grantOf(message.eventId);
    if (grant === undefined) return peer.link.countFault(Fault.UnknownId, nowMs);
    const decision = state.gate.decideEvent({
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
      return state.deny(peer, rule, "event", grant.id, 0, NO_ENTITY, nowMs);
    }
    const event = this.#codec.decode(grant, message.payload);
    if (typeof event === "number") return peer.link.countFault(event, nowMs);
    const time = state.clampTime(message.time, nowMs);
    // By the ticks of the peer's own datagrams, whether its times are believed or not.
    const tick = tickOf(message.time) + message.stateTicks;
    if (!peer.events.push(this.#codec.pending(event, peer.peer, time, tick), nowMs)) {
      state.counters.add("event.dropped");
    }
    this.deliver(peer, nowMs);
  }

  /** The peer has another role: events of it that wait, and that it may not send any more, go no further. */
  judgeAgain(peer: ServerPeer): void {
    const state = this.#state;
    const { role } = peer;
    const dropped = peer.events.discard(({ event }) =>
      !state.gate.decideEvent({
        event: event.grant.index,
        roleIndex: role,
        op: "send",
        direction: "in",
      }).allowed
    );
    if (dropped > 0) state.counters.add("event.droppedRole", dropped);
  }

  /** Passes on what need not wait any more. */
  deliver(peer: ServerPeer, nowMs: number): void {
    const state = this.#state;
    if (peer.events.size === 0) return;
    const newest = peer.link.settledTick(nowMs);
    const isKnown = (id: number) => state.world.isAlive(id);
    const droppedBefore = peer.events.droppedLate;
    for (;;) {
      const due = peer.events.poll(nowMs, isKnown, newest);
      if (due === undefined) break;
      const { event, time } = due.event;
      const received = state.gate.decideEvent({
        event: event.grant.index,
        roleIndex: SERVER_ROLE,
        op: "receive",
        direction: "in",
      });
      if (received.allowed) {
        // The engine hears of the entities in the batch before the event.
        for (const id of event.entities) if (state.world.isAlive(id)) state.handles.allot(id);
        state.outbox.pushAfterState(
          peer.peer,
          this.#codec.toEngine(event, peer.peer, time, due.late),
        );
      }
      const { grant, value } = event;
      const zones = [state.zones.of(peer)];
      this.#queue({ index: grant.index, value, from: peer.peer, to: ALL_PEERS, time, zones });
    }
    const dropped = peer.events.droppedLate - droppedBefore;
    if (dropped > 0) state.counters.add("event.droppedLate", dropped);
  }

  /** Sends what was queued to everyone who may receive it. */
  relayAll(nowMs: number): void {
    for (const relay of this.#relays) this.#relay(relay, nowMs);
    this.#relays.length = 0;
  }

  /** Whether an event happened, by where its sender stood and by the entities that it names, in a zone that hides it from a peer. */
  #isHidden(
    grant: EventGrant,
    value: ComponentValue,
    said: readonly number[],
    peer: ServerPeer,
  ): boolean {
    const { zones } = this.#state;
    for (const zone of said) if (zones.hides(zone, peer)) return true;
    for (const { kind, laneOffset } of grant.fields) {
      if (kind === "entity" && zones.hidesEntity(value.lanes[laneOffset]! >>> 0, peer)) return true;
    }
    return false;
  }

  #queue(relay: Relay): void {
    if (this.#relays.length >= MAX_RELAYS_PER_TICK) this.#state.counters.add("event.dropped");
    else this.#relays.push(relay);
  }

  #relay({ index, value, from, to, time, zones }: Relay, nowMs: number): void {
    const state = this.#state;
    const grant = state.grants.events[index]!;
    if (from !== SERVER_PEER && !state.hasPlace(from)) {
      // Everyone has been told that it left.
      state.counters.add("event.droppedLeft");
      return;
    }
    for (const peer of state.peers.values()) {
      if (peer.peer === from || (to !== ALL_PEERS && to !== peer.peer)) continue;
      const decision = state.gate.decideEvent({
        event: index,
        roleIndex: peer.role,
        op: "receive",
        direction: "out",
      });
      if (!decision.allowed) continue;
      // Whom the engine names is to hear of it; others only hear what is said and done where they see.
      if (to === ALL_PEERS && this.#isHidden(grant, value, zones, peer)) continue;
      // An entity that has not come yet is nobody's secret; the receiver waits for it, too, and finds for itself that it is late.
      const mayName = (id: number) => !state.world.isAlive(id) || peer.sender.isVisible(id);
      const payload = this.#codec.encode(grant, value, mayName);
      if (payload === undefined) {
        state.counters.add("event.tooLarge");
        continue;
      }
      // What its sender's state changed here has gone to this peer with this tick, however long ago it was sampled.
      const stateTicks = Math.max(
        0,
        Math.min(state.lastTick - tickOf(time), MAX_EVENT_STATE_TICKS),
      );
      peer.tell({ kind: "event", eventId: grant.id, from, time, stateTicks, payload });
      peer.link.vouchFor(state.lastTick, state.timeAt(nowMs), nowMs);
    }
  }
}
