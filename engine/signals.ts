// What passes once and is not state: events, voice frames and state hashes, both ways through the gate. It keeps nothing but the hashes
// that were asked for.

import { ALL_PEERS, type Handle, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import {
  ENGINE_TIMEOUT_MS,
  MAX_ENTITIES,
  MAX_PENDING_HASHES,
  STREAM_STALL_MS,
} from "../protocol/limits.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowReader, RowWriter } from "../replication/row_codec.ts";
import { createValue } from "../replication/value.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";
import type { StatePacker } from "./state_packer.ts";
import { type ComponentValues, plainValues, quantiseValues } from "./values.ts";

type Hashes = ReadonlyMap<Handle, number>;

/** Events, voice and hashes of one link. */
export class Signals {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #packer: StatePacker;
  readonly #callbacks: EngineCallbacks;
  readonly #hashes = new Map<number, PromiseWithResolvers<Hashes>>();
  /** How often frames of each speaking entity come, by its slot; what waited while this engine stood still comes at once. */
  readonly #voiceIn: RateLimiter;
  /** How often each peer's events come, one limiter an event; they may have waited for their state, too. */
  readonly #eventsIn: readonly RateLimiter[];
  #nextHash = 1;

  /** The packer is asked about entities that have just gone. */
  constructor(
    state: LinkState,
    outbox: LinkOutbox,
    packer: StatePacker,
    callbacks: EngineCallbacks,
  ) {
    this.#state = state;
    this.#outbox = outbox;
    this.#packer = packer;
    this.#callbacks = callbacks;
    const { voice, events } = state.grants;
    this.#voiceIn = new RateLimiter({
      rateHz: voice.rateHz,
      maxKeys: MAX_ENTITIES,
      stallMs: ENGINE_TIMEOUT_MS,
    });
    this.#eventsIn = events.map(({ rateHz, waitMs }) =>
      new RateLimiter({
        rateHz,
        maxKeys: ALL_PEERS + 1,
        stallMs: ENGINE_TIMEOUT_MS + STREAM_STALL_MS + waitMs,
      })
    );
  }

  /** Queues an event behind the state of its moment; false when it is denied or too many wait. */
  sendEvent(name: string, values: ComponentValues, to: number): boolean {
    const state = this.#state;
    const event = state.eventByName(name);
    const deny = (rule: Rule, fields = 0) =>
      state.deny("event", rule, { id: event?.id ?? 0, fields });
    if (event === undefined) return deny(Rule.Undeclared);
    const decision = state.gate.decideEvent({
      event: event.index,
      roleIndex: state.roleIndex,
      direction: "out",
      op: "send",
    });
    if (!decision.allowed) return deny(decision.rule);
    const isAddressable = to === ALL_PEERS ||
      (state.isAuthority ? state.peers.has(to) : to === SERVER_PEER);
    if (!isAddressable) return deny(Rule.Peer);
    const value = createValue(event);
    setNeutral(event, value);
    const allFields = 2 ** event.fields.length - 1;
    const found = quantiseValues(event, values, allFields, value, state.isKnown);
    if (found.rule !== undefined) return deny(found.rule, found.badFields);
    const writer = new RowWriter(event);
    writer.push(allFields, value, (handle) => handle);
    if (this.#outbox.pushOrdered({ kind: "event", eventId: event.id, to, row: writer.finish() })) {
      return true;
    }
    state.counters.commandsDropped += 1;
    return false;
  }

  /** An event came from the driver. */
  handleEvent(message: Extract<ToEngine, { kind: "event" }>): void {
    const state = this.#state;
    const event = state.eventById(message.eventId);
    const deny = (rule: Rule, fields = 0) =>
      void state.deny("event", rule, { id: message.eventId, fields, peer: message.from });
    if (event === undefined) return deny(Rule.Undeclared);
    // Nobody hears its own events; and to the holder of authority a driver speaks only for the peers it has announced.
    if (message.from === state.peer || (state.isAuthority && !state.peers.has(message.from))) {
      return deny(Rule.Peer);
    }
    const question = { event: event.index, direction: "in" } as const;
    const sent = state.gate.decideEvent({
      ...question,
      op: "send",
      roleIndex: state.roleOf(message.from),
    });
    if (!sent.allowed) return deny(sent.rule);
    const received = state.gate.decideEvent({
      ...question,
      op: "receive",
      roleIndex: state.roleIndex,
    });
    if (!received.allowed) return deny(received.rule);
    const allFields = 2 ** event.fields.length - 1;
    const value = createValue(event);
    const known = (handle: Handle) => state.isKnown(handle) ? handle : 0;
    const reader = new RowReader(event, message.row, 1);
    const { status, badFields } = reader.next(allFields, value, known);
    const isWhole = reader.next(0, createValue(event), known).status === "end";
    if (status !== "row" || !isWhole) return deny(Rule.Format);
    if (badFields !== 0) return deny(Rule.Range, badFields);
    if (!this.#eventsIn[event.index]!.take(message.from, state.nowMs)) return deny(Rule.Rate);
    this.#callbacks.onEvent?.(event.name, plainValues(event, value, allFields), {
      from: message.from,
      time: message.time,
      late: message.late,
    });
  }

  /** Queues a voice frame of an own entity; false when it is denied. The frame is copied. */
  sendVoice(handle: Handle, frame: Uint8Array): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    if (record === undefined) return state.deny("voice", Rule.EntityUnknown, { handle });
    if (!state.isOwn(record)) return state.deny("voice", Rule.NotOwner, { handle });
    const decision = state.gate.decideVoice({
      roleIndex: state.roleIndex,
      op: "speak",
      direction: "out",
      bytes: frame.length,
    });
    if (!decision.allowed) return state.deny("voice", decision.rule, { handle });
    // The driver would not know who speaks before the batch that spawns the entity.
    if (!record.isSent) return false;
    state.counters.voiceDropped += this.#outbox.pushVoice({
      kind: "voice",
      handle,
      frame: frame.slice(),
    });
    return true;
  }

  /** A voice frame came from the driver. */
  handleVoice(message: Extract<ToEngine, { kind: "voice" }>): void {
    const state = this.#state;
    const { handle, frame, position } = message;
    const record = state.ledger.get(handle);
    if (record === undefined) {
      if (this.#packer.isGrave(handle)) state.counters.lateEntries += 1;
      else state.deny("voice", Rule.EntityUnknown, { handle, peer: SERVER_PEER });
      return;
    }
    const deny = (rule: Rule) => void state.deny("voice", rule, { handle, peer: record.owner });
    // What this engine's own entities say comes from nobody else.
    if (state.isOwn(record)) return deny(Rule.NotOwner);
    const question = { direction: "in", bytes: frame.length } as const;
    const spoken = state.gate.decideVoice({
      ...question,
      op: "speak",
      roleIndex: state.roleOf(record.owner),
    });
    if (!spoken.allowed) return deny(spoken.rule);
    const heard = state.gate.decideVoice({ ...question, op: "hear", roleIndex: state.roleIndex });
    if (!heard.allowed) return deny(heard.rule);
    if (!this.#voiceIn.take(record.slot, state.nowMs)) return deny(Rule.Rate);
    this.#callbacks.onVoice?.(handle, frame, {
      sequence: message.sequence,
      time: message.time,
      position: position.length === 3 ? [position[0]!, position[1]!, position[2]!] : undefined,
    });
  }

  /** Asks the driver for the hashes of its quantised columns. */
  askHashes(): Promise<Hashes> {
    if (this.#hashes.size >= MAX_PENDING_HASHES) {
      return Promise.reject(
        new Error(`${MAX_PENDING_HASHES} state hashes are already on their way`),
      );
    }
    const request = this.#nextHash;
    this.#nextHash = (this.#nextHash + 1) >>> 0;
    if (!this.#outbox.pushOrdered({ kind: "stateHash", request })) {
      return Promise.reject(new Error("the driver does not read: ask for the hashes later"));
    }
    const answer = Promise.withResolvers<Hashes>();
    this.#hashes.set(request, answer);
    return answer.promise;
  }

  /** The driver's answer; one that was not asked for is ignored. */
  handleHashes({ request, pairs }: Extract<ToEngine, { kind: "stateHash" }>): void {
    const answer = this.#hashes.get(request);
    this.#hashes.delete(request);
    if (answer === undefined) return;
    const hashes = new Map<Handle, number>();
    for (let i = 0; i + 1 < pairs.length; i += 2) hashes.set(pairs[i]!, pairs[i + 1]!);
    answer.resolve(hashes);
  }

  /** The driver is gone: nobody answers what it was asked. */
  handleDriverLost(): void {
    for (const answer of this.#hashes.values()) {
      answer.reject(new Error("the driver was lost before it answered"));
    }
    this.#hashes.clear();
  }
}
