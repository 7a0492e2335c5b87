// Datagrams (docs/PROTOCOL.md chapter 4): header, acknowledgement, sections, the voice section (chapter 6) and unreliable messages (7.3).
// Low bits are made whole by the caller, who knows the newest numbers.

import { Bits, rule } from "./bits.ts";
import type { World } from "./world.ts";

/** What a datagram acknowledges; numbers are the low 16 bits of the newest one and distances from it. */
export interface Acknowledgement {
  readonly largest: number;
  /** In 1/8 ms; 65,535 means "do not compute with it". */
  readonly delay: number;
  /** Distances (0..255) before `largest` of the datagrams received, ascending; 0 is among them. */
  readonly distances: readonly number[];
}

/** A datagram, taken apart. */
export interface Datagram {
  readonly worldEpoch: number;
  readonly sequence: number;
  readonly tick: number;
  readonly subTick: number;
  readonly ack: Acknowledgement | undefined;
  readonly sections: readonly { readonly type: number; readonly body: Uint8Array }[];
  readonly headerBytes: number;
}

/** One frame of a voice section. */
export interface VoiceFrame {
  readonly kind: number;
  readonly generation: number;
  readonly sequence: number;
  readonly slot: number;
  readonly age: number;
  readonly payload: Uint8Array;
}

/** Takes a datagram apart. */
export function readDatagram(bytes: Uint8Array): Datagram {
  rule(bytes.length <= 1_500, "OutOfRange", `${bytes.length} bytes`);
  const bits = new Bits(bytes);
  const worldEpoch = bits.bits(3);
  const form = bits.bits(2);
  rule(form !== 3, "UnknownKind", "form 3");
  const sequence = bits.u16();
  const tick = bits.u16();
  const subTick = bits.bits(6);
  const ack = form === 0 ? undefined : form === 1 ? readList(bits) : readBitmap(bits);
  bits.align();
  const headerBytes = bytes.length - bits.left / 8;
  const sections: { type: number; body: Uint8Array }[] = [];
  while (bits.left > 0) {
    rule(sections.length < 64, "OutOfRange", "more than 64 sections");
    const type = bits.bits(4);
    const length = bits.bits(12);
    rule(type >= 1 && type <= 3, "UnknownKind", `section ${type}`);
    rule(length >= 1, "NonCanonical", "empty section");
    const before = sections.at(-1)?.type ?? 0;
    rule(type > before || type === 3 && before === 3, "NonCanonical", "order of sections");
    sections.push({ type, body: bits.take(length) });
  }
  return { worldEpoch, sequence, tick, subTick, ack, sections, headerBytes };
}

function readList(bits: Bits): Acknowledgement {
  const runs = bits.bits(4) + 1;
  const largest = bits.u16();
  const delay = bits.u16();
  const distances: number[] = [];
  let at = 0;
  for (let i = 0; i < 2 * runs - 1; i++) {
    const length = bits.u8() + 1;
    for (let j = 0; j < length; j++, at++) if (i % 2 === 0) distances.push(at);
  }
  rule(at <= 256, "OutOfRange", `an acknowledgement of ${at} datagrams`);
  return { largest, delay, distances };
}

function readBitmap(bits: Bits): Acknowledgement {
  const largest = bits.u16();
  const delay = bits.u16();
  const distances = [0];
  for (let at = 1; at <= 255; at++) if (bits.bool()) distances.push(at);
  const runs = distances.filter((at, i) => i === 0 || distances[i - 1] !== at - 1).length;
  rule(runs > 16, "NonCanonical", `${runs} runs as a bitmap`);
  return { largest, delay, distances };
}

/** The frames of a voice section. */
export function readVoice(body: Uint8Array): VoiceFrame[] {
  const bits = new Bits(body);
  const frames: VoiceFrame[] = [];
  while (bits.left > 0) {
    rule(frames.length < 64, "OutOfRange", "more than 64 voice frames");
    const kind = bits.bits(2);
    // No world declares sealed voice so far.
    rule(kind === 0, "UnknownKind", `voice kind ${kind}`);
    const generation = bits.bits(2);
    const length = bits.bits(12);
    rule(length >= 1 && length <= 1_275, "OutOfRange", `voice frame of ${length} bytes`);
    const sequence = bits.u16();
    const slot = bits.varint();
    rule(slot >= 1 && slot <= 1_048_575, "OutOfRange", `slot ${slot}`);
    const age = bits.varint();
    rule(age <= 16_383, "OutOfRange", `age ${age}`);
    frames.push({ kind, generation, sequence, slot, age, payload: bits.take(length) });
  }
  rule(frames.length > 0, "NonCanonical", "no voice frame");
  return frames;
}

/** One message of an unreliable channel. */
export interface UnreliableMessage {
  readonly channel: number;
  readonly name: string;
  readonly message: Uint8Array;
}

/** The message of a channel section. */
export function readUnreliable(body: Uint8Array, world: World): UnreliableMessage {
  const bits = new Bits(body);
  const channel = bits.varint();
  const declared = world.channels.find((c) => c.id === channel);
  rule(declared?.mode === "unreliable", "UnknownId", `channel ${channel}`);
  const name = declared.namespace ? bits.text(64) : "";
  const message = bits.rest();
  rule(message.length <= declared.maxBytes, "OutOfRange", `message of ${message.length} bytes`);
  return { channel, name, message };
}
