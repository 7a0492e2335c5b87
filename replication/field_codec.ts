// The wire coding of one component value: absolute, or as the difference from a reference that both ends hold. Built once per component
// into a flat program. Bits depend on the manifest, the reference and the value alone; who sees what, and when, is decided elsewhere.

import { Fault } from "../protocol/faults.ts";
import type { Reader } from "../protocol/reader.ts";
import type { Writer } from "../protocol/writer.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import { bitsFor } from "./gamma.ts";
import { MotionCodec, type References } from "./coding/motion_codec.ts";
import { MotionTables } from "./coding/motion_model.ts";
import { laneMax } from "./quantise.ts";
import { isRotation, quaternionLimit } from "./quaternion.ts";
import { changedFields, type ComponentValue, keptBytes, NO_BYTES } from "./value.ts";
import { isUtf8 } from "./utf8.ts";

/** What a codec needs to know of a component. */
export interface CodecShape {
  readonly fields: readonly FieldGrant[];
  readonly laneCount: number;
  readonly blobCount: number;
  readonly allFields: number;
}

// Operations of the program, one a field.
/** Lanes as they are. */
const RAW = 0;
/** Lanes as they are, or differences of one width. */
const NUMBER = 1;
/** Index of the largest, then three lanes. */
const QUATERNION = 2;
const BYTES = 3;
const STRING = 4;

// Columns of the program.
const OPERATION = 0;
/** First lane, or blob index. */
const PLACE = 1;
const LANES = 2;
/** Bits of a lane, or most bytes of a blob. */
const WIDTH = 3;
/** Largest lane as an unsigned word. */
const LIMIT = 4;
const COLUMNS = 5;

/** A field of no more bits than this gains nothing from a difference and its five-bit width. */
const RAW_BITS = 8;
/** Bits of a difference's width; 0 stands for "absolute", as a changed field needs at least one. */
const WIDTH_BITS = 5;
const LARGEST_BITS = 2;

/** What the product ships. */
const PRODUCT_TABLES = new MotionTables();

/** Encodes and decodes values of one component. */
export class FieldCodec {
  /** Bytes of the largest absolute value, mask included. */
  readonly maxBytes: number;
  readonly #shape: CodecShape;
  readonly #fieldCount: number;
  readonly #program: Int32Array;
  readonly #motion: MotionCodec;

  /** Compiles the program of a component (or of anything with fields). */
  constructor(shape: CodecShape, tables: MotionTables = PRODUCT_TABLES) {
    this.#shape = shape;
    this.#motion = new MotionCodec(shape.fields, tables);
    this.#fieldCount = shape.fields.length;
    this.#program = new Int32Array(shape.fields.length * COLUMNS);
    let bits = shape.fields.length;
    shape.fields.forEach((field, i) => {
      this.#program.set(compile(field), i * COLUMNS);
      bits += field.blobIndex >= 0 ? 8 * (field.maxBytes + 5) : field.lanes * 32;
    });
    this.maxBytes = (bits + 7) >>> 3;
  }

  /** Writes the fields in `mask` (not 0) as they are. */
  encodeAbsolute(writer: Writer, value: ComponentValue, mask: number): void {
    writer.bits(mask, this.#fieldCount);
    for (let i = 0; i < this.#fieldCount; i++) {
      if ((mask & (1 << i)) !== 0) this.#writeAbsolute(writer, value, i * COLUMNS);
    }
  }

  /** Fields (mask) that versions before the baseline help to foretell. */
  get foretold(): number {
    return this.#motion.fields;
  }

  /**
   * Writes the fields in `mask` that differ from `reference`.
   *
   * @param history The baseline, which is `reference`, and versions before it; undefined for a plain difference.
   * @returns Their mask; 0: none does, and nothing was written.
   */
  encodeDelta(
    writer: Writer,
    reference: ComponentValue,
    value: ComponentValue,
    mask: number,
    history?: References,
  ): number {
    const changed = changedFields(this.#shape, reference, value, mask);
    if (changed === 0) return 0;
    if (history !== undefined) {
      this.#motion.encode(writer, history, value.lanes, mask, changed);
      const rest = changed & ~this.#motion.fields;
      for (let i = 0; rest >>> i !== 0; i++) {
        if ((rest & (1 << i)) !== 0) this.#writeDelta(writer, reference, value, i * COLUMNS);
      }
      return changed;
    }
    writer.bits(changed, this.#fieldCount);
    for (let i = 0; i < this.#fieldCount; i++) {
      if ((changed & (1 << i)) !== 0) this.#writeDelta(writer, reference, value, i * COLUMNS);
    }
    return changed;
  }

  /**
   * Reads an absolute value into `out`, whose other fields become 0 and empty.
   *
   * @returns The mask of fields present; check `reader.fault` before using it or `out`.
   */
  decodeAbsolute(reader: Reader, out: ComponentValue): number {
    const mask = reader.bits(this.#fieldCount);
    if (mask === 0) reader.fail(Fault.NonCanonical);
    out.lanes.fill(0);
    out.blobs.fill(NO_BYTES);
    for (let i = 0; i < this.#fieldCount; i++) {
      if ((mask & (1 << i)) !== 0) this.#readAbsolute(reader, out, i * COLUMNS);
    }
    return mask;
  }

  /**
   * Reads a difference and turns `value`, which holds the reference, into the new value.
   *
   * @param held Fields that the reference has; a change of any other is a fault.
   * @param history The baseline, whose lanes `value` holds, and versions before it; undefined for a plain difference.
   * @returns The mask of fields changed; check `reader.fault` before using it or `value`.
   */
  decodeDelta(
    reader: Reader,
    value: ComponentValue,
    held: number,
    history?: References,
  ): number {
    if (history !== undefined) {
      const changed = this.#motion.decode(reader, history, value.lanes, held);
      const rest = changed & ~this.#motion.fields;
      for (let i = 0; rest >>> i !== 0 && reader.fault === undefined; i++) {
        if ((rest & (1 << i)) !== 0) this.#readDelta(reader, value, i * COLUMNS);
      }
      return changed;
    }
    const changed = reader.bits(this.#fieldCount);
    if (changed === 0) reader.fail(Fault.NonCanonical);
    if ((changed & ~held) !== 0) reader.fail(Fault.Forbidden);
    for (let i = 0; i < this.#fieldCount && reader.fault === undefined; i++) {
      if ((changed & (1 << i)) !== 0) this.#readDelta(reader, value, i * COLUMNS);
    }
    return changed;
  }

  #writeAbsolute(writer: Writer, value: ComponentValue, at: number): void {
    const program = this.#program;
    const place = program[at + PLACE]!;
    switch (program[at + OPERATION]) {
      case BYTES:
      case STRING: {
        const blob = value.blobs[place]!;
        writer.varint(blob.length);
        writer.bytes(blob);
        return;
      }
      case QUATERNION:
        writer.bits(value.lanes[place]!, LARGEST_BITS);
        writeLanes(writer, value.lanes, place + 1, 3, program[at + WIDTH]!);
        return;
      default:
        writeLanes(writer, value.lanes, place, program[at + LANES]!, program[at + WIDTH]!);
    }
  }

  #writeDelta(
    writer: Writer,
    reference: ComponentValue,
    value: ComponentValue,
    at: number,
  ): void {
    const program = this.#program;
    const place = program[at + PLACE]!;
    const width = program[at + WIDTH]!;
    switch (program[at + OPERATION]) {
      case NUMBER:
        writeBlock(writer, reference.lanes, value.lanes, place, program[at + LANES]!, width);
        return;
      case QUATERNION: {
        const isOther = reference.lanes[place] !== value.lanes[place];
        writer.bool(isOther);
        if (isOther) this.#writeAbsolute(writer, value, at);
        else writeBlock(writer, reference.lanes, value.lanes, place + 1, 3, width);
        return;
      }
      default:
        this.#writeAbsolute(writer, value, at);
    }
  }

  #readAbsolute(reader: Reader, out: ComponentValue, at: number): void {
    const program = this.#program;
    const place = program[at + PLACE]!;
    const width = program[at + WIDTH]!;
    const limit = program[at + LIMIT]! >>> 0;
    switch (program[at + OPERATION]) {
      case BYTES:
      case STRING:
        out.blobs[place] = readBlob(reader, width, program[at + OPERATION] === STRING);
        return;
      case QUATERNION:
        out.lanes[place] = reader.bits(LARGEST_BITS);
        readLanes(reader, out.lanes, place + 1, 3, width, limit);
        if (!isRotation(this.#fieldAt(at), out.lanes, place)) reader.fail(Fault.NonCanonical);
        return;
      default:
        readLanes(reader, out.lanes, place, program[at + LANES]!, width, limit);
    }
  }

  #fieldAt(at: number): FieldGrant {
    return this.#shape.fields[at / COLUMNS]!;
  }

  #readDelta(reader: Reader, value: ComponentValue, at: number): void {
    const program = this.#program;
    const place = program[at + PLACE]!;
    const width = program[at + WIDTH]!;
    const limit = program[at + LIMIT]! >>> 0;
    switch (program[at + OPERATION]) {
      case RAW: {
        const lanes = program[at + LANES]!;
        if (!readOtherLanes(reader, value.lanes, place, lanes, width, limit)) {
          reader.fail(Fault.NonCanonical);
        }
        return;
      }
      case NUMBER:
        readBlock(reader, value.lanes, place, program[at + LANES]!, width, limit);
        return;
      case QUATERNION: {
        if (!reader.bool()) {
          readBlock(reader, value.lanes, place + 1, 3, width, limit);
          if (!isRotation(this.#fieldAt(at), value.lanes, place)) reader.fail(Fault.NonCanonical);
          return;
        }
        const before = value.lanes[place];
        this.#readAbsolute(reader, value, at);
        if (value.lanes[place] === before) reader.fail(Fault.NonCanonical);
        return;
      }
      default: {
        const before = value.blobs[place]!;
        this.#readAbsolute(reader, value, at);
        const after = value.blobs[place]!;
        if (before.length === after.length && before.every((byte, i) => byte === after[i])) {
          reader.fail(Fault.NonCanonical);
        }
      }
    }
  }
}

function compile(field: FieldGrant): number[] {
  switch (field.kind) {
    case "bytes":
      return [BYTES, field.blobIndex, 0, field.maxBytes, 0];
    case "string":
      return [STRING, field.blobIndex, 0, field.maxBytes, 0];
    case "quat":
      return [QUATERNION, field.laneOffset, 4, field.bits, quaternionLimit(field)];
    default: {
      const limit = laneMax(field);
      const width = bitsFor(limit);
      const isNumber = field.kind !== "entity" && width * field.lanes > RAW_BITS;
      return [isNumber ? NUMBER : RAW, field.laneOffset, field.lanes, width, limit];
    }
  }
}

/** The difference of two lanes as an unsigned word: 0, -1, 1, -2, ... become 0, 1, 2, 3, ... Wraps, so that full 32-bit lanes work. */
function fold(reference: number, value: number): number {
  const difference = (value - reference) | 0;
  return ((difference << 1) ^ (difference >> 31)) >>> 0;
}

function unfold(reference: number, folded: number): number {
  return (reference + ((folded >>> 1) ^ -(folded & 1))) | 0;
}

function writeLanes(
  writer: Writer,
  lanes: Int32Array,
  place: number,
  count: number,
  width: number,
): void {
  for (let i = place; i < place + count; i++) writer.bits(lanes[i]!, width);
}

function readLanes(
  reader: Reader,
  lanes: Int32Array,
  place: number,
  count: number,
  width: number,
  limit: number,
): void {
  for (let i = place; i < place + count; i++) {
    const lane = reader.bits(width);
    if (lane > limit) reader.fail(Fault.OutOfRange);
    lanes[i] = lane;
  }
}

/** Reads lanes over those there; false when none of them is new. */
function readOtherLanes(
  reader: Reader,
  lanes: Int32Array,
  place: number,
  count: number,
  width: number,
  limit: number,
): boolean {
  let isOther = false;
  for (let i = place; i < place + count; i++) {
    const lane = reader.bits(width);
    if (lane > limit) reader.fail(Fault.OutOfRange);
    if (lane !== (lanes[i]! >>> 0)) isOther = true;
    lanes[i] = lane;
  }
  return isOther;
}

/** Writes lanes of which at least one differs: the width of the largest difference and the differences, or 0 and the lanes. */
function writeBlock(
  writer: Writer,
  reference: Int32Array,
  value: Int32Array,
  place: number,
  count: number,
  width: number,
): void {
  let all = 0;
  for (let i = place; i < place + count; i++) all |= fold(reference[i]!, value[i]!);
  const needed = bitsFor(all);
  if (needed >= width) {
    writer.bits(0, WIDTH_BITS);
    writeLanes(writer, value, place, count, width);
    return;
  }
  writer.bits(needed, WIDTH_BITS);
  for (let i = place; i < place + count; i++) {
    writer.bits(fold(reference[i]!, value[i]!), needed);
  }
}

function readBlock(
  reader: Reader,
  lanes: Int32Array,
  place: number,
  count: number,
  width: number,
  limit: number,
): void {
  const needed = reader.bits(WIDTH_BITS);
  // A difference that is not shorter than the lane has the lane as its one encoding.
  if (needed >= width) reader.fail(Fault.NonCanonical);
  let all = 0;
  for (let i = place; i < place + count; i++) {
    const before = lanes[i]!;
    if (needed === 0) {
      const lane = reader.bits(width);
      if (lane > limit) reader.fail(Fault.OutOfRange);
      all |= fold(before, lane | 0);
      lanes[i] = lane;
    } else {
      const folded = reader.bits(needed);
      const lane = unfold(before, folded);
      if ((lane >>> 0) > limit) reader.fail(Fault.OutOfRange);
      all |= folded;
      lanes[i] = lane;
    }
  }
  const minimal = bitsFor(all);
  if (needed === 0 ? minimal < width : minimal !== needed) reader.fail(Fault.NonCanonical);
}

function readBlob(reader: Reader, maxBytes: number, isText: boolean): Uint8Array {
  const blob = keptBytes(reader.bytes(reader.varintAtMost(maxBytes)));
  if (isText && reader.fault === undefined && !isUtf8(blob)) reader.fail(Fault.NotUtf8);
  return blob;
}
