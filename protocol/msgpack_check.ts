// Looks over a MessagePack value before any general decoder sees it: nesting, number of items, lengths, and that each item has the one
// encoding `@std/msgpack` would write. It builds nothing and does not recurse. What the items mean it does not know.

import { Fault } from "./faults.ts";
import { MAX_ENGINE_TEXT_BYTES, MAX_MSGPACK_DEPTH, MAX_MSGPACK_ITEMS } from "./limits.ts";

/**
 * Checks one MessagePack value that must fill `bytes` exactly.
 *
 * Allowed: nil, booleans, whole numbers of 32 bits (signed below zero), float 64, str (UTF-8, at most `MAX_ENGINE_TEXT_BYTES`, no
 * byte order mark), bin and array. A number is a float 64 exactly when it is no whole number of -2^31..2^32-1, and it is finite. Maps,
 * ext types, float 32 and 64-bit integers do not occur on the engine link. Every length and number has its shortest encoding.
 *
 * @returns the fault, or `undefined` when `@std/msgpack` can decode the bytes without throwing.
 */
export function checkMsgpack(bytes: Uint8Array): Fault | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length;
  // Items still to come in each open array; a plain array of at most MAX_MSGPACK_DEPTH numbers.
  const open: number[] = [];
  let items = 0;
  let at = 0;
  for (;;) {
    if (at >= end) return Fault.Truncated;
    items += 1;
    if (items > MAX_MSGPACK_ITEMS) return Fault.OutOfRange;
    const type = bytes[at]!;
    at += 1;

    let elements = -1;
    if (type <= 0x7f || type >= 0xe0 || type === 0xc0 || type === 0xc2 || type === 0xc3) {
      // A small number, nil or a boolean: the type byte is the whole item.
    } else if (type <= 0x8f) {
      return Fault.UnknownKind; // a small map
    } else if (type <= 0x9f) {
      elements = type & 0x0f;
    } else if (type <= 0xbf) {
      const length = type & 0x1f;
      if (length > end - at) return Fault.Truncated;
      const fault = checkText(bytes, at, length);
      if (fault !== undefined) return fault;
      at += length;
    } else {
      const argumentBytes = ARGUMENT_BYTES[type - 0xc0]!;
      if (argumentBytes === 0) return Fault.UnknownKind;
      if (argumentBytes > end - at) return Fault.Truncated;
      const value = readArgument(view, type, at, argumentBytes);
      at += argumentBytes;
      if (!isMinimal(type, value)) return Fault.NonCanonical;
      if (type === 0xcb) {
        if (!Number.isFinite(value)) return Fault.OutOfRange;
      } else if (type >= 0xc4 && type <= 0xc6) {
        if (value > end - at) return Fault.Truncated;
        at += value;
      } else if (type >= 0xd9 && type <= 0xdb) {
        if (value > end - at) return Fault.Truncated;
        const fault = checkText(bytes, at, value);
        if (fault !== undefined) return fault;
        at += value;
      } else if (type === 0xdc || type === 0xdd) {
        elements = value;
      }
    }

    if (elements > 0) {
      if (open.length === MAX_MSGPACK_DEPTH) return Fault.OutOfRange;
      if (elements > MAX_MSGPACK_ITEMS - items) return Fault.OutOfRange;
      open.push(elements);
    } else {
      // The item is complete, and with it perhaps the arrays around it.
      while (open.length > 0) {
        const left = open[open.length - 1]! - 1;
        if (left > 0) {
          open[open.length - 1] = left;
          break;
        }
        open.pop();
      }
      if (open.length === 0) return at === end ? undefined : Fault.Trailing;
    }
  }
}

/** Bytes of number or length after type bytes 0xc0..0xdf; 0 marks types that do not occur on the link (or were handled before). */
const ARGUMENT_BYTES = new Uint8Array([
  ...[0, 0, 0, 0], // nil, never used, false, true
  ...[1, 2, 4], // bin
  ...[0, 0, 0], // ext
  ...[0, 8], // float 32, float 64
  ...[1, 2, 4, 0], // uint 8..64
  ...[1, 2, 4, 0], // int 8..64
  ...[0, 0, 0, 0, 0], // fixext
  ...[1, 2, 4], // str
  ...[2, 4], // array
  ...[0, 0], // map
]);

function readArgument(view: DataView, type: number, at: number, size: number): number {
  if (type === 0xcb) return view.getFloat64(at);
  const isSigned = type >= 0xd0 && type <= 0xd2;
  if (size === 1) return isSigned ? view.getInt8(at) : view.getUint8(at);
  if (size === 2) return isSigned ? view.getInt16(at) : view.getUint16(at);
  return isSigned ? view.getInt32(at) : view.getUint32(at);
}

/** Whether no shorter item could hold `value`, the number or length of an item of `type`. */
function isMinimal(type: number, value: number): boolean {
  switch (type) {
    case 0xc4: // bin 8 holds every short length: there is no fixbin
      return true;
    case 0xc5: // bin 16
    case 0xcd: // uint 16
    case 0xda: // str 16
      return value > 0xff;
    case 0xc6: // bin 32
    case 0xce: // uint 32
    case 0xdb: // str 32
    case 0xdd: // array 32
      return value > 0xffff;
    case 0xcc: // uint 8
      return value > 0x7f;
    case 0xd0: // int 8
      return value < -0x20;
    case 0xd1: // int 16
      return value < -0x80;
    case 0xd2: // int 32
      return value < -0x8000;
    case 0xd9: // str 8
      return value > 0x1f;
    case 0xdc: // array 16
      return value > 0x0f;
    default: // float 64: whole numbers of 32 bits have an integer encoding; minus zero counts as 0
      return !(Number.isInteger(value) && value >= -0x8000_0000 && value <= 0xffff_ffff);
  }
}

/** Checks that a text is short enough and UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). */
function checkText(bytes: Uint8Array, start: number, length: number): Fault | undefined {
  if (length > MAX_ENGINE_TEXT_BYTES) return Fault.OutOfRange;
  const end = start + length;
  // Decoders swallow a leading byte order mark, so that two encodings would mean one text.
  if (
    length >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf
  ) {
    return Fault.NonCanonical;
  }
  let at = start;
  while (at < end) {
    const lead = bytes[at]!;
    at += 1;
    if (lead < 0x80) continue;
    let more = 1;
    let low = 0x80;
    let high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) more = 1;
    else if (lead >= 0xe0 && lead <= 0xef) {
      more = 2;
      if (lead === 0xe0) low = 0xa0;
      if (lead === 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      if (lead === 0xf0) low = 0x90;
      if (lead === 0xf4) high = 0x8f;
    } else return Fault.NotUtf8;
    if (more > end - at) return Fault.NotUtf8;
    if (bytes[at]! < low || bytes[at]! > high) return Fault.NotUtf8;
    for (let i = 1; i < more; i++) {
      if ((bytes[at + i]! & 0xc0) !== 0x80) return Fault.NotUtf8;
    }
    at += more;
  }
  return undefined;
}
