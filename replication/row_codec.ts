// Packed rows of the engine link to component values and back (`ComponentRows` describes the bytes). Quantises on the way in and back
// on the way out, and translates entity references. Which fields an engine may send or get is the gate's question, asked before.

import type { ComponentGrant, FieldGrant } from "../permissions/grants.ts";
import { dequantiseField, quantiseField } from "./quantise.ts";
import { isUtf8 } from "./utf8.ts";
import { type ComponentValue, keptBytes, NO_BYTES } from "./value.ts";

/** What the row codec needs to know of a component or an event. */
export type RowShape = Pick<ComponentGrant, "fields" | "laneCount" | "blobCount" | "rowBytes">;

/** What {@linkcode RowReader.next} found. */
export interface RowResult {
  /** `row`: one was read; `end`: there are no more; `bad`: the bytes do not parse, now and for ever. */
  status: "row" | "end" | "bad";
  /** Fields of the row's mask whose value is refused: out of range, not finite, not UTF-8, too long, or an unknown entity. */
  badFields: number;
}

/** Most numbers of one field: a quaternion's four. */
const FIELD_NUMBERS = 4;
const LENGTH_BYTES = 4;

/**
 * Reads packed rows one after the other.
 *
 * The bytes come from the other end of the engine link and are not trusted: no call throws or reads past the end.
 */
export class RowReader {
  readonly #shape: RowShape;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #numbers = new Float64Array(FIELD_NUMBERS);
  readonly #result: RowResult = { status: "row", badFields: 0 };
  readonly #rowCount: number | undefined;
  #rowsRead = 0;
  #at = 0;
  #isBad = false;

  /**
   * Reads `rows`, which are not copied and must not change meanwhile. With `rowCount` (one a handle, one for an event) the bytes must
   * hold exactly so many rows, otherwise they end where they end; rows without any bytes exist only where they are counted.
   */
  constructor(shape: RowShape, rows: Uint8Array, rowCount?: number) {
    this.#shape = shape;
    this.#rowCount = rowCount;
    this.#bytes = rows;
    this.#view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  }

  /**
   * Reads the next row into `out`; the fields of `mask` that are not bad are set there, all others are zero or empty.
   *
   * `toNetworkId` translates the handle of an entity reference; a negative result makes that field bad. The null handle 0 is not
   * asked for. The result object is reused by the next call. Blobs in `out` are copies and stay valid.
   */
  next(mask: number, out: ComponentValue, toNetworkId: (handle: number) => number): RowResult {
    const result = this.#result;
    result.badFields = 0;
    const isRead = this.#at === this.#bytes.length;
    if (!this.#isBad && isRead && this.#rowsRead === (this.#rowCount ?? this.#rowsRead)) {
      result.status = "end";
      return result;
    }
    out.lanes.fill(0);
    out.blobs.fill(NO_BYTES);
    if (this.#rowsRead === this.#rowCount) this.#isBad = true; // bytes are left over
    const start = this.#at;
    if (this.#isBad || !this.#readBlobs(start + this.#shape.rowBytes, mask, out)) {
      this.#isBad = true;
      out.blobs.fill(NO_BYTES);
      result.badFields = 0;
      result.status = "bad";
      return result;
    }
    this.#readNumbers(start, mask, out, toNetworkId);
    result.status = "row";
    return result;
  }

  /** Reads the variable part from byte `at` on and moves to the next row; false when the row does not fit the bytes. */
  #readBlobs(at: number, mask: number, out: ComponentValue): boolean {
    if (at > this.#bytes.length) return false;
    const fields = this.#shape.fields;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      if (field.blobIndex < 0) continue;
      if (this.#bytes.length - at < LENGTH_BYTES) return false;
      const length = this.#view.getUint32(at, true);
      at += LENGTH_BYTES;
      if (length > this.#bytes.length - at) return false;
      const isCarried = (mask & (1 << i)) !== 0;
      if (!isCarried && length !== 0) return false;
      if (isCarried) {
        const bytes = this.#bytes.subarray(at, at + length);
        if (isBlobAllowed(field, bytes)) out.blobs[field.blobIndex] = keptBytes(bytes);
        else this.#result.badFields |= 1 << i;
      }
      at += length;
    }
    this.#at = at;
    this.#rowsRead += 1;
    return true;
  }

  #readNumbers(
    start: number,
    mask: number,
    out: ComponentValue,
    toNetworkId: (handle: number) => number,
  ): void {
    const fields = this.#shape.fields;
    const numbers = this.#numbers;
    for (let i = 0; i < fields.length; i++) {
      if ((mask & (1 << i)) === 0) continue;
      const field = fields[i]!;
      if (field.blobIndex >= 0) continue;
      loadNumbers(field, this.#view, start + field.rowOffset, numbers);
      if (field.kind === "entity" && numbers[0] !== 0) numbers[0] = toNetworkId(numbers[0]!);
      if (!quantiseField(field, numbers, 0, out.lanes, field.laneOffset)) {
        this.#result.badFields |= 1 << i;
      }
    }
  }
}

/** Writes packed rows. */
export class RowWriter {
  readonly #shape: RowShape;
  readonly #numbers = new Float64Array(FIELD_NUMBERS);
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;
  #count = 0;

  /** A writer without rows. */
  constructor(shape: RowShape) {
    this.#shape = shape;
    this.#bytes = new Uint8Array(Math.max(64, shape.rowBytes * 4));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Rows written since the last `clear`. */
  get count(): number {
    return this.#count;
  }

  /** Bytes written since the last `clear`. */
  get byteLength(): number {
    return this.#length;
  }

  /**
   * Appends a row with the fields in `mask`; the others are zero or empty. `toHandle` translates the network id of an entity
   * reference to a handle, 0 for entities the engine does not know; the null reference is not asked for.
   */
  push(mask: number, value: ComponentValue, toHandle: (networkId: number) => number): void {
    const { fields, rowBytes, blobCount } = this.#shape;
    this.#reserve(rowBytes + blobCount * LENGTH_BYTES);
    const start = this.#length;
    this.#bytes.fill(0, start, start + rowBytes);
    this.#length += rowBytes;
    const numbers = this.#numbers;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      const isCarried = (mask & (1 << i)) !== 0;
      if (field.blobIndex >= 0) {
        this.#pushBlob(isCarried ? value.blobs[field.blobIndex]! : NO_BYTES);
      } else if (isCarried) {
        dequantiseField(field, value.lanes, field.laneOffset, numbers, 0);
        if (field.kind === "entity" && numbers[0] !== 0) numbers[0] = toHandle(numbers[0]!);
        storeNumbers(field, this.#view, start + field.rowOffset, numbers);
      }
    }
    this.#count += 1;
  }

  /** A copy of the rows written. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  /** Forgets the rows written; the buffer is kept. */
  clear(): void {
    this.#length = 0;
    this.#count = 0;
  }

  #pushBlob(bytes: Uint8Array): void {
    this.#reserve(LENGTH_BYTES + bytes.length);
    this.#view.setUint32(this.#length, bytes.length, true);
    this.#bytes.set(bytes, this.#length + LENGTH_BYTES);
    this.#length += LENGTH_BYTES + bytes.length;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** Whether bytes may stand in a string or bytes field. */
function isBlobAllowed(field: FieldGrant, bytes: Uint8Array): boolean {
  if (bytes.length > field.maxBytes) return false;
  return field.kind !== "string" || isUtf8(bytes);
}

/** Reads the numbers of a field from a row. */
function loadNumbers(field: FieldGrant, row: DataView, at: number, numbers: Float64Array): void {
  switch (field.kind) {
    case "bool":
    case "u8":
      numbers[0] = row.getUint8(at);
      return;
    case "u16":
    case "enum":
      numbers[0] = row.getUint16(at, true);
      return;
    case "u32":
    case "entity":
      numbers[0] = row.getUint32(at, true);
      return;
    case "i32":
      numbers[0] = row.getInt32(at, true);
      return;
    case "f32":
    case "vec3":
    case "quat":
      // One number a lane, also for a quaternion.
      for (let i = 0; i < field.lanes; i++) numbers[i] = row.getFloat32(at + 4 * i, true);
      return;
    case "string":
    case "bytes":
      return;
  }
}

/** Writes the numbers of a field into a row. */
function storeNumbers(field: FieldGrant, row: DataView, at: number, numbers: Float64Array): void {
  switch (field.kind) {
    case "bool":
    case "u8":
      row.setUint8(at, numbers[0]!);
      return;
    case "u16":
    case "enum":
      row.setUint16(at, numbers[0]!, true);
      return;
    case "u32":
    case "entity":
      row.setUint32(at, numbers[0]!, true);
      return;
    case "i32":
      row.setInt32(at, numbers[0]!, true);
      return;
    case "f32":
    case "vec3":
    case "quat":
      for (let i = 0; i < field.lanes; i++) row.setFloat32(at + 4 * i, numbers[i]!, true);
      return;
    case "string":
    case "bytes":
      return;
  }
}
