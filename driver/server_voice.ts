// Who hears whom on a server: frames of peers and of the server's own engine, judged by tag, size, rate and position, and queued for the
// listeners in range. A forwarded payload is never looked at; positions are the world's, not the speaker's word.

import { type Handle, SERVER_PEER } from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import { VOICE_SLOT_MS } from "../protocol/limits.ts";
import { SERVER_ROLE } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import { AudibleSet } from "../voice/audible.ts";
import { inspectOpusPacket } from "../voice/opus_toc.ts";
import { isTagOf, VoiceKind, voiceTagOf } from "../voice/voice_section.ts";
import type { VoiceFrame } from "../voice/voice_section.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";

/** Routes voice on a server. */
export class ServerVoice {
  readonly #state: ServerState;
  readonly #listeners: AudibleSet;
  /** By slot of the speaking entity. */
  readonly #limit: RateLimiter;
  /** Sequence of the next frame of the own engine's entities. */
  readonly #sequences = new Map<EntityId, number>();
  readonly #mouth = new Float64Array(3);
  readonly #hearers: number[] = [];

  /** Routes between the state's peers and its engine. */
  constructor(state: ServerState) {
    const { voice, maxEntities } = state.grants;
    this.#state = state;
    this.#listeners = new AudibleSet(voice);
    this.#limit = new RateLimiter({ rateHz: voice.rateHz, maxKeys: maxEntities + 1 });
  }

  /** Where a peer hears from until the next tick; undefined for one without a place of its own. */
  setListener(peer: number, roleIndex: number, ear: Float64Array | undefined): void {
    this.#listeners.setListener(peer, roleIndex, ear);
  }

  /** A peer is gone. */
  handlePeerGone(peer: number): void {
    this.#listeners.removeListener(peer);
  }

  /** A frame of the server's own engine, spoken now. */
  handleEngineFrame(handle: Handle, payload: Uint8Array, nowMs: number): void {
    const state = this.#state;
    const id = state.handles.idOf(handle);
    const decision = state.gate.decideVoice({
      roleIndex: SERVER_ROLE,
      op: "speak",
      direction: "out",
      bytes: payload.length,
    });
    const rule = !state.world.isAlive(id)
      ? Rule.EntityUnknown
      : state.world.owner(id) !== SERVER_PEER
      ? Rule.NotOwner
      : !decision.allowed
      ? decision.rule
      : inspectOpusPacket(payload) === undefined
      ? Rule.Format
      : !this.#limit.take(entitySlot(id), nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) return state.deny(undefined, rule, "voice", 0, 0, id, nowMs);
    const sequence = this.#sequences.get(id) ?? 0;
    this.#sequences.set(id, (sequence + 1) & 0xffff);
    const time = state.timeAt(nowMs);
    const frame = { kind: VoiceKind.Opus, ...voiceTagOf(id), sequence, time, payload };
    this.#route(SERVER_PEER, SERVER_ROLE, id, frame, nowMs);
  }

  /** A frame of a peer: only for an entity it owns. */
  handlePeerFrame(peer: ServerPeer, frame: VoiceFrame, nowMs: number): void {
    const state = this.#state;
    const id = state.world.idAt(frame.slot);
    if (id === NO_ENTITY || !isTagOf(frame, id)) {
      // Spoken by an entity that has just gone, or has not come yet.
      state.counters.add("voice.unknownSpeaker");
      return;
    }
    const decision = state.gate.decideVoice({
      roleIndex: peer.role,
      op: "speak",
      direction: "in",
      bytes: frame.payload.length,
    });
    const rule = state.world.owner(id) !== peer.peer
      ? Rule.NotOwner
      : !decision.allowed
      ? decision.rule
      : !this.#limit.take(frame.slot, nowMs)
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) return state.deny(peer, rule, "voice", 0, 0, id, nowMs);
    state.counters.add("voice.framesIn");
    // The bytes are a view into the datagram and outlive it in the listeners' queues.
    const payload = frame.payload.slice();
    const time = state.clampTime(frame.time, nowMs);
    this.#route(peer.peer, peer.role, id, { ...frame, time, payload }, nowMs);
  }

  /** An entity is gone: its slot's next one starts anew. */
  forget(id: EntityId): void {
    this.#sequences.delete(id);
    this.#limit.forget(entitySlot(id));
  }

  #route(speaker: number, role: number, id: EntityId, frame: VoiceFrame, nowMs: number): void {
    const state = this.#state;
    if (!state.world.position(id, this.#mouth)) {
      state.counters.add("voice.noPosition");
      return;
    }
    // All talkers of one slot share each listener's datagram.
    const dueMs = Math.ceil((nowMs + 0.001) / VOICE_SLOT_MS) * VOICE_SLOT_MS;
    this.#listeners.hearersOf(speaker, role, this.#mouth, this.#hearers);
    for (const hearer of this.#hearers) {
      const peer = state.peers.get(hearer)!;
      const heard = state.gate.decideVoice({
        roleIndex: peer.role,
        op: "hear",
        direction: "out",
        bytes: frame.payload.length,
      });
      // A listener that has not been told of the speaker could not place the voice.
      if (!heard.allowed || !peer.sender.isVisible(id)) continue;
      // It may have gone behind a door since the last tick.
      if (state.zones.hidesEntity(id, peer)) continue;
      peer.link.queueVoice(frame, dueMs);
      state.counters.add("voice.framesOut");
    }
    if (speaker !== SERVER_PEER) this.#tellEngine(speaker, id, frame);
  }

  #tellEngine(speaker: number, id: EntityId, frame: VoiceFrame): void {
    const { gate, counters, world, handles, outbox } = this.#state;
    const heard = gate.decideVoice({
      roleIndex: SERVER_ROLE,
      op: "hear",
      direction: "in",
      bytes: frame.payload.length,
    });
    if (!heard.allowed) return;
    if (inspectOpusPacket(frame.payload) === undefined) {
      counters.add("voice.malformed");
      return;
    }
    if (outbox.awaitsSpawn(id)) {
      counters.add("voice.beforeSpawn");
      return;
    }
    const isKnown = world.positionAt(id, frame.time, this.#mouth);
    outbox.pushVoice(speaker, {
      kind: "voice",
      handle: handles.allot(id),
      sequence: frame.sequence,
      time: frame.time,
      position: isKnown ? this.#mouth.slice() : new Float64Array(0),
      frame: frame.payload,
    });
  }
}
