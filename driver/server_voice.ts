// Who hears whom on a server: frames of peers and of the server's own engine, judged by tag, size, rate and position, and queued for the
// listeners in range. The payload is never looked at here; positions are the world's, not the speaker's word.

import type { Handle, ToEngine } from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import { VOICE_SLOT_MS } from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { Gate } from "../permissions/gate.ts";
import { type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import type { World } from "../replication/world.ts";
import { isWithinRange } from "../voice/audible.ts";
import { inspectOpusPacket } from "../voice/opus_toc.ts";
import { isTagOf, VoiceKind, voiceTagOf } from "../voice/voice_section.ts";
import type { VoiceFrame } from "../voice/voice_section.ts";
import type { Counters } from "./counters.ts";
import type { EngineOutbox } from "./engine_outbox.ts";
import type { HandleTable } from "./handle_table.ts";
import type { ServerPeer } from "./server_peer.ts";

/** What voice routing needs of the core. */
export interface VoiceEvents {
  /** All joined peers. */
  peers(): Iterable<ServerPeer>;
  /** A frame was refused; without a peer it was the own engine's. */
  denied(peer: ServerPeer | undefined, rule: Rule, id: EntityId, nowMs: number): void;
}

/** Routes voice on a server. */
export class ServerVoice {
  readonly #grants: Grants;
  readonly #gate: Gate;
  readonly #world: World;
  readonly #handles: HandleTable;
  readonly #outbox: EngineOutbox;
  readonly #counters: Counters;
  readonly #events: VoiceEvents;
  readonly #limit: RateLimiter;
  /** Newest sequence relayed, by slot, plus one; 0 before the first. */
  readonly #sequences = new Map<EntityId, number>();
  readonly #mouth = new Float64Array(3);
  readonly #ear = new Float64Array(3);

  constructor(
    grants: Grants,
    gate: Gate,
    world: World,
    handles: HandleTable,
    outbox: EngineOutbox,
    counters: Counters,
    events: VoiceEvents,
  ) {
    this.#grants = grants;
    this.#gate = gate;
    this.#world = world;
    this.#handles = handles;
    this.#outbox = outbox;
    this.#counters = counters;
    this.#events = events;
    this.#limit = new RateLimiter({ rateHz: grants.voice.rateHz, maxKeys: grants.maxEntities + 1 });
  }

  /** A frame of the server's own engine. */
  handleEngineFrame(handle: Handle, payload: Uint8Array, time: TimelineTime, nowMs: number): void {
    const id = this.#handles.idOf(handle);
    if (!this.#world.isAlive(id)) {
      return this.#events.denied(undefined, Rule.EntityUnknown, id, nowMs);
    }
    const decision = this.#gate.decideVoice({
      roleIndex: SERVER_ROLE,
      op: "speak",
      direction: "out",
      bytes: payload.length,
    });
    const rule = !decision.allowed
      ? decision.rule
      : inspectOpusPacket(payload) === undefined
      ? Rule.Format
      : !this.#limit.take(entitySlot(id), nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) return this.#events.denied(undefined, rule, id, nowMs);
    const sequence = (this.#sequences.get(id) ?? 0) & 0xffff;
    this.#sequences.set(id, sequence + 1);
    this.#route(
      undefined,
      id,
      { kind: VoiceKind.Opus, ...voiceTagOf(id), sequence, time, payload },
      nowMs,
    );
  }

  /** A frame of a peer: only for an entity it owns, and only forward in sequence or a little behind. */
  handlePeerFrame(peer: ServerPeer, frame: VoiceFrame, nowMs: number): void {
    const id = this.#world.idAt(frame.slot);
    if (id === NO_ENTITY || !isTagOf(frame, id)) {
      // Spoken by an entity that has just gone, or has not come yet.
      this.#counters.add("voice.unknownSpeaker");
      return;
    }
    if (this.#world.owner(id) !== peer.peer) {
      return this.#events.denied(peer, Rule.NotOwner, id, nowMs);
    }
    const decision = this.#gate.decideVoice({
      roleIndex: peer.role,
      op: "speak",
      direction: "in",
      bytes: frame.payload.length,
    });
    const rule = !decision.allowed
      ? decision.rule
      : !this.#limit.take(frame.slot, nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) return this.#events.denied(peer, rule, id, nowMs);
    this.#counters.add("voice.framesIn");
    // The bytes are a view into the datagram and outlive it in the listeners' queues.
    this.#route(peer, id, { ...frame, payload: frame.payload.slice() }, nowMs);
  }

  /** An entity is gone: its sequence starts again with the slot's next one. */
  forget(id: EntityId): void {
    this.#sequences.delete(id);
    this.#limit.forget(entitySlot(id));
  }

  #route(speaker: ServerPeer | undefined, id: EntityId, frame: VoiceFrame, nowMs: number): void {
    const { voice } = this.#grants;
    const bytes = frame.payload.length;
    if (!this.#world.position(id, this.#mouth)) {
      this.#counters.add("voice.noPosition");
      return;
    }
    // All talkers of one slot share each listener's datagram.
    const dueMs = Math.ceil((nowMs + 0.001) / VOICE_SLOT_MS) * VOICE_SLOT_MS;
    for (const peer of this.#events.peers()) {
      if (peer === speaker || peer.viewpoint === NO_ENTITY) continue;
      if (
        !this.#gate.decideVoice({ roleIndex: peer.role, op: "hear", direction: "out", bytes })
          .allowed
      ) continue;
      if (
        !this.#world.isAlive(peer.viewpoint) || !this.#world.position(peer.viewpoint, this.#ear)
      ) continue;
      if (!isWithinRange(voice, this.#ear, this.#mouth)) continue;
      // A listener that has not been told of the speaker could not place the voice.
      if (!peer.sender.isVisible(id)) continue;
      peer.link.queueVoice(frame, dueMs);
      this.#counters.add("voice.framesOut");
    }
    if (speaker === undefined) return;
    if (
      !this.#gate.decideVoice({ roleIndex: SERVER_ROLE, op: "hear", direction: "in", bytes })
        .allowed
    ) return;
    if (inspectOpusPacket(frame.payload) === undefined) {
      this.#counters.add("voice.malformed");
      return;
    }
    this.#outbox.pushVoice(
      voiceMessage(this.#handles.handleOf(id), frame, this.#world, id, this.#mouth),
    );
  }
}

/** The message that hands a frame to the engine, with the speaker's position when it spoke. */
export function voiceMessage(
  handle: Handle,
  frame: VoiceFrame,
  world: Pick<World, "positionAt">,
  id: EntityId,
  scratch: Float64Array,
): ToEngine {
  const known = world.positionAt(id, frame.time, scratch);
  return {
    kind: "voice",
    handle,
    sequence: frame.sequence,
    time: frame.time,
    position: known ? scratch.slice(0, 3) : new Float64Array(0),
    frame: frame.payload,
  };
}
