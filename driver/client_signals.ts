// Events and voice of a client, both ways: judged by the gate, and held until what they speak of is known. Which entities are own and which
// are shown it asks; it keeps only the events that wait and the count of frames.

import type { EventMessage } from "../protocol/control_messages.ts";
import { type Handle, SERVER_PEER, type ToDriver } from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import { MAX_CONTROL_BACKLOG_BYTES, VOICE_SLOT_MS } from "../protocol/limits.ts";
import { tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import { EventQueue } from "../session/event_queue.ts";
import { inspectOpusPacket } from "../voice/opus_toc.ts";
import { isTagOf, VoiceKind, voiceTagOf } from "../voice/voice_section.ts";
import type { VoiceFrame } from "../voice/voice_section.ts";
import type { ClientState } from "./client_state.ts";
import type { ClientView } from "./client_view.ts";
import { EventCodec, type PendingEvent } from "./event_router.ts";
import { sendControl } from "./server_peer.ts";

/** Events and voice of one client. */
export class ClientSignals {
  readonly #state: ClientState;
  readonly #view: ClientView;
  readonly #isOwn: (id: EntityId) => boolean;
  readonly #codec: EventCodec;
  readonly #eventLimits: RateLimiter[];
  readonly #voiceLimit: RateLimiter;
  /** Sequence of the next frame, by speaking entity. */
  readonly #sequences = new Map<EntityId, number>();
  readonly #position = new Float64Array(3);
  #waiting = new EventQueue<PendingEvent>();

  /** @param isOwn Whether this client owns an entity. */
  constructor(state: ClientState, view: ClientView, isOwn: (id: EntityId) => boolean) {
    const { grants, handles } = state;
    this.#state = state;
    this.#view = view;
    this.#isOwn = isOwn;
    this.#codec = new EventCodec(grants, handles);
    this.#eventLimits = grants.events.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys: 1 }));
    const maxKeys = grants.maxEntities + 1;
    this.#voiceLimit = new RateLimiter({ rateHz: grants.voice.rateHz, maxKeys });
  }

  /** Another timeline and other entities: what waits speaks of neither. */
  reset(): void {
    this.#waiting = new EventQueue();
    this.#sequences.clear();
  }

  /** An own entity is gone. */
  forget(id: EntityId): void {
    this.#sequences.delete(id);
    this.#voiceLimit.forget(entitySlot(id));
  }

  /** An event of the engine, at `time`; the state it belongs to goes in a datagram of `stateTick`. */
  handleEngineEvent(
    message: Extract<ToDriver, { kind: "event" }>,
    time: TimelineTime,
    stateTick: number,
    nowMs: number,
  ): void {
    const { joined, gate, counters, role } = this.#state;
    if (joined === undefined) {
      counters.add("event.beforeJoin");
      return;
    }
    const event = this.#codec.fromEngine(message);
    if (typeof event === "string") return this.#denyEvent(event, message.eventId);
    const { grant, value } = event;
    const decision = gate.decideEvent({
      event: grant.index,
      roleIndex: role,
      op: "send",
      direction: "out",
    });
    const rule = !decision.allowed
      ? decision.rule
      : !this.#eventLimits[grant.index]!.take(0, nowMs)
      ? Rule.Rate
      : joined.control.bufferedBytes > MAX_CONTROL_BACKLOG_BYTES
      ? Rule.Size
      : undefined;
    if (rule !== undefined) return this.#denyEvent(rule, grant.id);
    const payload = this.#codec.encode(grant, value, () => true);
    if (payload === undefined) return this.#denyEvent(Rule.Size, grant.id);
    sendControl(joined.control, {
      kind: "event",
      eventId: grant.id,
      from: SERVER_PEER,
      time,
      stateTicks: stateTick - tickOf(time),
      payload,
    });
    joined.link.vouchFor(stateTick, time, nowMs);
  }

  /** An event of the server, or of another peer through it. */
  handlePeerEvent(message: EventMessage, nowMs: number): void {
    const { gate, counters, role, joined } = this.#state;
    const grant = this.#codec.grantOf(message.eventId);
    if (grant === undefined) return this.#state.violate(joined?.connection, Fault.UnknownId);
    const decision = gate.decideEvent({
      event: grant.index,
      roleIndex: role,
      op: "receive",
      direction: "in",
    });
    if (!decision.allowed) {
      this.#state.deny(decision.rule, "event", grant.id, 0, NO_ENTITY, message.from);
      return;
    }
    const event = this.#codec.decode(grant, message.payload);
    if (typeof event === "number") return this.#state.violate(joined?.connection, event);
    const { from, time, stateTicks } = message;
    const tick = tickOf(time) + stateTicks;
    if (!this.#waiting.push(this.#codec.pending(event, from, time, tick), nowMs)) {
      counters.add("event.dropped");
    }
    this.deliver(nowMs);
  }

  /** This client has another role: events that wait, and that it may not be given any more, go no further. */
  judgeAgain(): void {
    const { gate, role, counters } = this.#state;
    const dropped = this.#waiting.discard(({ event }) =>
      !gate.decideEvent({
        event: event.grant.index,
        roleIndex: role,
        op: "receive",
        direction: "in",
      }).allowed
    );
    if (dropped > 0) counters.add("event.droppedRole", dropped);
  }

  /** A peer is gone for good: its events that wait go no further, as nobody is spoken for under its id. */
  forgetPeer(peer: number): void {
    const { counters, outbox } = this.#state;
    const dropped = this.#waiting.discard(({ from }) => from === peer) + outbox.forgetPeer(peer);
    if (dropped > 0) counters.add("event.droppedLeft", dropped);
  }

  /** Passes on what need not wait any more. */
  deliver(nowMs: number): void {
    const { handles, outbox, counters, joined } = this.#state;
    if (joined === undefined || this.#waiting.size === 0) return;
    const settled = joined.link.settledTick(nowMs);
    const droppedBefore = this.#waiting.droppedLate;
    const isKnown = (id: EntityId) => this.#isOwn(id) || this.#view.isAnnounced(id);
    for (;;) {
      const due = this.#waiting.poll(nowMs, isKnown, settled);
      if (due === undefined) break;
      const { event, from, time } = due.event;
      for (const id of event.entities) {
        // The engine hears of the entity in the same turn, before the event.
        if (this.#view.isAnnounced(id)) handles.allot(id);
      }
      outbox.pushAfterState(from, this.#codec.toEngine(event, from, time, due.late));
    }
    const dropped = this.#waiting.droppedLate - droppedBefore;
    if (dropped > 0) counters.add("event.droppedLate", dropped);
  }

  /** A frame of the engine, spoken now. */
  handleEngineVoice(handle: Handle, payload: Uint8Array, nowMs: number): void {
    const { joined, gate, counters, handles, role, peer } = this.#state;
    if (joined === undefined) {
      counters.add("voice.beforeJoin");
      return;
    }
    const id = handles.idOf(handle);
    const decision = gate.decideVoice({
      roleIndex: role,
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
    if (rule !== undefined) {
      return this.#state.deny(rule, "voice", 0, 0, id, peer, handle);
    }
    const sequence = this.#sequences.get(id) ?? 0;
    this.#sequences.set(id, (sequence + 1) & 0xffff);
    const time = this.#state.timeAt(nowMs);
    joined.link.queueVoice(
      { kind: VoiceKind.Opus, ...voiceTagOf(id), sequence, time, payload },
      nowMs + VOICE_SLOT_MS,
    );
    counters.add("voice.framesOut");
  }

  /** A frame of another peer, through the server. */
  handlePeerVoice(frame: VoiceFrame): void {
    const { gate, counters, handles, outbox, role } = this.#state;
    const id = this.#view.idAt(frame.slot);
    if (id === NO_ENTITY || !isTagOf(frame, id)) {
      counters.add("voice.unknownSpeaker");
      return;
    }
    const decision = gate.decideVoice({
      roleIndex: role,
      op: "hear",
      direction: "in",
      bytes: frame.payload.length,
    });
    const deny = (rule: Rule) => this.#state.deny(rule, "voice", 0, 0, id, this.#view.ownerOf(id));
    if (!decision.allowed) return deny(decision.rule);
    if (inspectOpusPacket(frame.payload) === undefined) {
      counters.add("voice.malformed");
      return deny(Rule.Format);
    }
    counters.add("voice.framesIn");
    const isKnown = this.#view.positionAt(id, frame.time, this.#position);
    outbox.pushVoice(this.#view.ownerOf(id), {
      kind: "voice",
      handle: handles.allot(id),
      sequence: frame.sequence,
      time: frame.time,
      position: isKnown ? this.#position.slice() : new Float64Array(0),
      frame: frame.payload.slice(),
    });
  }

  #denyEvent(rule: Rule, id: number): void {
    this.#state.deny(rule, "event", id, 0, NO_ENTITY, this.#state.peer);
  }
}
