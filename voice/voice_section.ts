// The voice section of a datagram: frames of speaking entities, each with its tag. A forwarder needs the tag and the size alone; what is
// inside a payload is nobody's business here. Layout: `docs/PROTOCOL.md` chapter 6.

import { assert } from "../protocol/assert.ts";
import {
  ENTITY_SLOT_BITS,
  entityGeneration,
  type EntityId,
  entitySlot,
} from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import {
  MAX_OPUS_PACKET_BYTES,
  MAX_SEALED_OVERHEAD_BYTES,
  MAX_VOICE_AGE_SUBTICKS,
  MAX_VOICE_FRAMES,
} from "../protocol/limits.ts";
import type { Reader } from "../protocol/reader.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";

/** What a voice payload is. */
export const VoiceKind = {
  /** An Opus packet, RFC 6716. */
  Opus: 0,
  /** A frame encrypted from end to end; opaque to everyone on the way. */
  Sealed: 1,
} as const;

/** One of the values of {@linkcode VoiceKind}. */
export type VoiceKind = typeof VoiceKind[keyof typeof VoiceKind];

/** One frame with its tag. */
export interface VoiceFrame {
  /** What `payload` is. */
  readonly kind: VoiceKind;
  /** Slot of the speaking entity. */
  readonly slot: number;
  /** Low 2 bits of its generation: enough to tell it from the slot's last entities. */
  readonly generation: number;
  /** Number of the frame among this entity's frames, low 16 bits. */
  readonly sequence: number;
  /** Sample time of the frame's first sample. Never later than the datagram's time. */
  readonly time: TimelineTime;
  /** The frame, 1 byte or more. */
  readonly payload: Uint8Array;
}

const GENERATION_BITS = 2;
const GENERATION_MASK = (1 << GENERATION_BITS) - 1;
const LENGTH_BITS = 12;

/** The tag of an entity: slot and the low bits of its generation. */
export function voiceTagOf(id: EntityId): { slot: number; generation: number } {
  return { slot: entitySlot(id), generation: entityGeneration(id) & GENERATION_MASK };
}

/** Does a frame's tag name the entity `id`? Ask with the id that lives in the frame's slot now. */
export function isTagOf(frame: VoiceFrame, id: EntityId): boolean {
  return frame.slot === entitySlot(id) &&
    frame.generation === (entityGeneration(id) & GENERATION_MASK);
}

/** Most bytes of a payload of this kind. */
function maxPayload(kind: VoiceKind): number {
  return kind === VoiceKind.Sealed
    ? MAX_OPUS_PACKET_BYTES + MAX_SEALED_OVERHEAD_BYTES
    : MAX_OPUS_PACKET_BYTES;
}

/** Builds voice sections. Order of calls: `begin`, `tryAdd` while it says true, `finish`. */
export class VoiceSectionWriter {
  readonly #writer = new Writer(1_500);
  #time: TimelineTime = 0;
  #count = 0;

  /** Frames in the section so far. */
  get count(): number {
    return this.#count;
  }

  /** Starts a section of a datagram whose header carries `time`. */
  begin(time: TimelineTime): void {
    this.#writer.clear();
    this.#time = time;
    this.#count = 0;
  }

  /**
   * Adds a frame. False, with the section unchanged, when it would grow beyond `maxBytes` or the frame is older than can be said. A sample
   * time later than the datagram's, as a clock a little ahead produces, goes as the datagram's.
   */
  tryAdd(frame: VoiceFrame, maxBytes: number): boolean {
    const { payload } = frame;
    assert(payload.length >= 1 && payload.length <= maxPayload(frame.kind), "a frame is bounded");
    assert(frame.slot >= 1 && frame.slot < 1 << ENTITY_SLOT_BITS, "a frame has a speaker");
    const age = Math.max(0, this.#time - frame.time);
    if (age > MAX_VOICE_AGE_SUBTICKS || this.#count >= MAX_VOICE_FRAMES) return false;
    const w = this.#writer;
    const start = w.bitLength;
    w.bits(frame.kind, 2);
    w.bits(frame.generation, GENERATION_BITS);
    w.bits(payload.length, LENGTH_BITS);
    w.u16(frame.sequence);
    w.varint(frame.slot);
    w.varint(age);
    w.bytes(payload);
    if (w.byteLength > maxBytes) {
      w.truncate(start);
      return false;
    }
    this.#count += 1;
    return true;
  }

  /** The section's body, a copy; empty when nothing was added, and then there is no section. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#writer.finish();
  }
}

/** What a reader of voice sections accepts. */
export interface VoiceSectionOptions {
  /** The world declares end-to-end encryption. */
  readonly allowSealed: boolean;
}

/**
 * Reads a whole voice section of a datagram whose header carries `time`; payloads are views. `undefined` means the reader holds the fault:
 * a kind nobody declared, an empty or oversize payload, slot 0, an age out of range or before the timeline's start, too many frames, or
 * bytes that end early.
 */
export function readVoiceSection(
  r: Reader,
  time: TimelineTime,
  options: VoiceSectionOptions,
): VoiceFrame[] | undefined {
  const frames: VoiceFrame[] = [];
  do {
    if (frames.length >= MAX_VOICE_FRAMES) r.fail(Fault.OutOfRange);
    const kind = r.bits(2);
    if (kind > VoiceKind.Sealed || (kind === VoiceKind.Sealed && !options.allowSealed)) {
      r.fail(Fault.UnknownKind);
    }
    const generation = r.bits(GENERATION_BITS);
    const length = r.bits(LENGTH_BITS);
    if (length === 0 || length > maxPayload(kind as VoiceKind)) r.fail(Fault.OutOfRange);
    const sequence = r.u16();
    const slot = r.varintAtMost((1 << ENTITY_SLOT_BITS) - 1);
    const age = r.varintAtMost(MAX_VOICE_AGE_SUBTICKS);
    if (slot === 0 || age > time) r.fail(Fault.OutOfRange);
    const payload = r.bytes(length);
    frames.push({
      kind: kind as VoiceKind,
      slot,
      generation,
      sequence,
      time: time - age,
      payload,
    });
  } while (r.fault === undefined && r.remainingBits > 0);
  return r.finish() === undefined ? frames : undefined;
}
