// One datagram between drivers: the header with its acknowledgements, and the frame of the sections behind it. It knows no section's
// contents and keeps no state: 16-bit numbers are made whole by whoever knows the newest one. Layout: `docs/PROTOCOL.md` chapter 4.

import { assert } from "./assert.ts";
import { Fault } from "./faults.ts";
import {
  ACK_BLOCK_SPAN,
  MAX_ACK_RANGES,
  MAX_DATAGRAM_BYTES,
  MAX_DATAGRAM_SECTIONS,
  MAX_LISTED_ACK_RUNS,
  MAX_SECTION_BYTES,
  WORLD_EPOCH_BITS,
} from "./limits.ts";
import type { Reader } from "./reader.ts";
import { unwrap16 } from "./sequence.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "./timeline_units.ts";
import type { Writer } from "./writer.ts";

/** What an acknowledgement's delay counts: eighths of a millisecond. */
export const ACK_DELAY_UNITS_PER_MS = 8;
/** The delay that means "this or longer, do not compute with it": 8.2 s. */
export const ACK_DELAY_UNKNOWN = 0xffff;

/** Which of the last datagrams arrived. */
export interface AckBlock {
  /** Newest sequence number received; only its low 16 bits travel. */
  readonly largest: number;
  /** Time between receiving `largest` and sending this, in 1/8 ms, rounded down; {@linkcode ACK_DELAY_UNKNOWN} when too long to say. */
  readonly delayUnits: number;
  /**
   * Lengths, newest first: a run of received ones that begins with `largest`, a gap, a run, and so on, ending with a run. Each is at
   * least 1, all together at most `ACK_BLOCK_SPAN`.
   */
  readonly ranges: Uint16Array;
}

/** A header to be written. */
export interface DatagramHeader {
  /** Sequence number, whole; the low 16 bits are written. */
  readonly sequence: number;
  /** Epoch of world authority, whole; the low bits are written. */
  readonly worldEpoch: number;
  /** The sender's timeline time at sending. */
  readonly time: TimelineTime;
  /** Acknowledgement, if anything was received yet. */
  readonly ack: AckBlock | undefined;
}

/** A header as read: nothing unwrapped yet. */
export interface RawHeader {
  /** Low 16 bits of the sequence number. */
  readonly sequence: number;
  /** Low 3 bits of the world epoch. */
  readonly worldEpoch: number;
  /** Low 16 bits of the tick. */
  readonly tick: number;
  /** Sub-tick, 0..63. */
  readonly sub: number;
  /** Acknowledgement; its `largest` has 16 bits. */
  readonly ack: AckBlock | undefined;
}

const FORM_NONE = 0;
const FORM_RUNS = 1;
const FORM_BITS = 2;

/** Bytes that a section needs beside its body. */
export const SECTION_HEADER_BYTES = 2;

/** What a section holds. A datagram's sections come in ascending order of type. */
export const SectionType = {
  /** State; at most one. */
  Snapshot: 1,
  /** Voice frames; at most one. */
  Voice: 2,
  /** One message of an unreliable channel; any number. */
  Channel: 3,
} as const;

/** One of the values of {@linkcode SectionType}. */
export type SectionType = typeof SectionType[keyof typeof SectionType];

/** Does the low part of a world epoch from a header fit the whole `worldEpoch`? */
export function isSameWorldEpoch(wire: number, worldEpoch: number): boolean {
  return wire === (worldEpoch & ((1 << WORLD_EPOCH_BITS) - 1));
}

/** The timeline time that a header's tick and sub-tick stand for, given a tick less than 32,768 away; negative when no such time exists. */
export function timeFromWire(tick: number, sub: number, nearTick: number): TimelineTime {
  return unwrap16(tick, nearTick) * SUBTICKS + sub;
}

/** Writes a header; the writer must stand at a whole byte and stands at one afterwards. 6 bytes, with one run acknowledged 11, never over 42. */
export function writeHeader(w: Writer, header: DatagramHeader): void {
  const { ack, time } = header;
  const runs = ack === undefined ? 0 : (ack.ranges.length + 1) >>> 1;
  const form = runs === 0 ? FORM_NONE : runs <= MAX_LISTED_ACK_RUNS ? FORM_RUNS : FORM_BITS;
  w.bits(header.worldEpoch, WORLD_EPOCH_BITS);
  w.bits(form, 2);
  w.u16(header.sequence);
  w.u16(tickOf(time));
  w.bits(time % SUBTICKS, 6);
  if (ack !== undefined && form !== FORM_NONE) {
    assert((ack.ranges.length & 1) === 1, "acknowledged ranges end with a run");
    if (form === FORM_RUNS) w.bits(runs - 1, 4);
    w.u16(ack.largest);
    w.u16(ack.delayUnits);
    if (form === FORM_RUNS) writeRuns(w, ack.ranges);
    else writeBits(w, ack.ranges);
  }
  w.align();
}

/**
 * Reads a header. `undefined` means the reader holds the fault: too long a datagram, truncated, an unknown form, an acknowledgement that
 * spans more than it may or is not in its shortest form.
 */
export function readHeader(r: Reader): RawHeader | undefined {
  if (r.remainingBits > MAX_DATAGRAM_BYTES * 8) r.fail(Fault.OutOfRange);
  const worldEpoch = r.bits(WORLD_EPOCH_BITS);
  const form = r.bits(2);
  const sequence = r.u16();
  const tick = r.u16();
  const sub = r.bits(6);
  let ack: AckBlock | undefined;
  if (form === FORM_RUNS || form === FORM_BITS) {
    const runs = form === FORM_RUNS ? r.bits(4) + 1 : 0;
    const largest = r.u16();
    const delayUnits = r.u16();
    const ranges = form === FORM_RUNS ? readRuns(r, runs) : readBits(r);
    ack = { largest, delayUnits, ranges };
  } else if (form !== FORM_NONE) {
    r.fail(Fault.UnknownKind);
  }
  r.align();
  return r.fault === undefined ? { sequence, worldEpoch, tick, sub, ack } : undefined;
}

function writeRuns(w: Writer, ranges: Uint16Array): void {
  let span = 0;
  for (let i = 0; i < ranges.length; i++) {
    const length = ranges[i]!;
    span += length;
    assert(length >= 1 && span <= ACK_BLOCK_SPAN, "an acknowledgement keeps to its span");
    w.u8(length - 1);
  }
}

function readRuns(r: Reader, runs: number): Uint16Array {
  const ranges = new Uint16Array(runs * 2 - 1);
  let span = 0;
  for (let i = 0; i < ranges.length; i++) {
    const length = r.u8() + 1;
    ranges[i] = length;
    span += length;
  }
  if (span > ACK_BLOCK_SPAN) r.fail(Fault.OutOfRange);
  return ranges;
}

/** One bit for each of the 255 datagrams before the largest, nearest first; the largest itself needs none. */
function writeBits(w: Writer, ranges: Uint16Array): void {
  let left = ACK_BLOCK_SPAN;
  for (let i = 0; i < ranges.length; i++) {
    const length = ranges[i]!;
    assert(length >= 1 && length <= left, "an acknowledgement keeps to its span");
    for (let k = i === 0 ? 1 : 0; k < length; k++) w.bool((i & 1) === 0);
    left -= length;
  }
  for (; left > 0; left--) w.bool(false);
}

function readBits(r: Reader): Uint16Array {
  const lengths = new Uint16Array(ACK_BLOCK_SPAN);
  lengths[0] = 1;
  let last = 0;
  for (let i = 1; i < ACK_BLOCK_SPAN; i++) {
    const received = r.bool();
    if (received !== ((last & 1) === 0)) last += 1;
    lengths[last] = lengths[last]! + 1;
  }
  // A gap at the end says nothing: whatever is older is not spoken of.
  const count = (last & 1) === 0 ? last + 1 : last;
  const runs = (count + 1) >>> 1;
  if (runs <= MAX_LISTED_ACK_RUNS) r.fail(Fault.NonCanonical);
  assert(runs <= MAX_ACK_RANGES, "256 datagrams hold at most 128 runs");
  return lengths.slice(0, count);
}

/** Writes one section; `body` has 1 to `MAX_SECTION_BYTES` bytes and the writer stands at a whole byte. */
export function writeSection(w: Writer, type: SectionType, body: Uint8Array): void {
  assert(body.length >= 1 && body.length <= MAX_SECTION_BYTES, "a section is never empty");
  assert((w.bitLength & 7) === 0, "a section begins at a whole byte");
  w.u16(type | (body.length << 4));
  w.bytes(body);
}

/** The sections of one datagram; views into it. */
export interface Sections {
  /** Body of the snapshot section. */
  readonly snapshot: Uint8Array | undefined;
  /** Body of the voice section. */
  readonly voice: Uint8Array | undefined;
  /** Bodies of the channel sections, in their order. */
  readonly channels: readonly Uint8Array[];
}

/**
 * Reads every section up to the end of the datagram. `undefined` means the reader holds the fault: an unknown type, a type twice or out of
 * order, an empty or truncated section, or more sections than allowed.
 */
export function readSections(r: Reader): Sections | undefined {
  let snapshot: Uint8Array | undefined;
  let voice: Uint8Array | undefined;
  const channels: Uint8Array[] = [];
  let previous = 0;
  for (let count = 1; r.remainingBits > 0 && r.fault === undefined; count++) {
    if (count > MAX_DATAGRAM_SECTIONS) r.fail(Fault.OutOfRange);
    const type = r.bits(4);
    const length = r.bits(12);
    const body = r.bytes(length);
    if (r.fault !== undefined) break;
    if (type < SectionType.Snapshot || type > SectionType.Channel) r.fail(Fault.UnknownKind);
    if (length === 0) r.fail(Fault.NonCanonical);
    if (type < previous || (type === previous && type !== SectionType.Channel)) {
      r.fail(Fault.NonCanonical);
    }
    previous = type;
    if (type === SectionType.Snapshot) snapshot = body;
    else if (type === SectionType.Voice) voice = body;
    else channels.push(body);
  }
  return r.fault === undefined ? { snapshot, voice, channels } : undefined;
}
