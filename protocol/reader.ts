// Reads what `Writer` wrote, from bytes nobody trusts. The first thing that is wrong becomes the reader's sticky fault; from then on
// every call returns zero or an empty array, so that a decoder runs straight through and asks once, at the end.

import { Fault } from "./faults.ts";

const NOTHING = new Uint8Array(0);

/**
 * A bit-granular reader over untrusted bytes; the inverse of {@linkcode Writer}.
 *
 * No call throws and none reads past the end. Check {@linkcode Reader.fault} before acting on anything read, and bound every count
 * before looping over it.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #endBit: number;
  #bit: number;
  #fault: Fault | undefined;

  /** Reads `bytes` from byte `start` up to byte `end`. The bytes are not copied. */
  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#bit = start * 8;
    this.#endBit = end * 8;
  }

  /** The first fault met, or `undefined` while all is well. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Bits not read yet. */
  get remainingBits(): number {
    return this.#endBit - this.#bit;
  }

  /** Position of the next bit, counted from the start of the bytes given to the constructor. */
  get bitPosition(): number {
    return this.#bit;
  }

  /** Records a fault found by the caller; only the first one stays. */
  fail(fault: Fault): void {
    this.#fault ??= fault;
  }

  /** Reads `count` (0..32) bits as an unsigned integer. */
  bits(count: number): number {
    if (this.#fault !== undefined) return 0;
    if (count > this.#endBit - this.#bit) {
      this.#fault = Fault.Truncated;
      return 0;
    }
    if (count === 0) return 0;
    const value = this.peek(0, count);
    this.#bit += count;
    return value;
  }

  /** The `count` (1..32) bits that begin `ahead` bits behind the present one; they stay unread, and beyond the end there are zeros. */
  peek(ahead: number, count: number): number {
    const from = this.#bit + ahead;
    const at = from >>> 3;
    const offset = from & 7;
    const bytes = this.#bytes;
    let value = 0;
    if (from + 40 <= this.#endBit) {
      value = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) |
        (bytes[at + 3]! << 24)) >>> offset;
      if (offset > 0) value |= bytes[at + 4]! << (32 - offset);
    } else {
      for (let i = 0; i < count && from + i < this.#endBit; i++) {
        value |= ((bytes[(from + i) >>> 3]! >>> ((from + i) & 7)) & 1) << i;
      }
    }
    return count === 32 ? value >>> 0 : value & ((1 << count) - 1);
  }

  /** Passes over `count` bits. */
  skip(count: number): void {
    if (this.#fault !== undefined) return;
    if (count > this.#endBit - this.#bit) this.#fault = Fault.Truncated;
    else this.#bit += count;
  }

  /** Reads one bit. */
  bool(): boolean {
    return this.bits(1) === 1;
  }

  /** Skips to the next whole byte; padding that is not zero is a fault. */
  align(): void {
    const padding = (8 - (this.#bit & 7)) & 7;
    if (padding !== 0 && this.bits(padding) !== 0) this.fail(Fault.NonCanonical);
  }

  /** Reads an unsigned 8-bit integer. */
  u8(): number {
    return this.bits(8);
  }

  /** Reads an unsigned 16-bit integer, little-endian. */
  u16(): number {
    return this.bits(16);
  }

  /** Reads an unsigned 32-bit integer, little-endian. */
  u32(): number {
    return this.bits(32);
  }

  /** Reads a LEB128 varint below 2^32; a longer encoding than needed is a fault. */
  varint(): number {
    let value = 0;
    for (let i = 0; i < 5; i++) {
      const byte = this.bits(8);
      if (i === 4 && byte > 0x0f) {
        this.fail(byte >= 0x80 ? Fault.NonCanonical : Fault.OutOfRange);
        return 0;
      }
      value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) {
        if (i > 0 && byte === 0) this.fail(Fault.NonCanonical);
        return this.#fault === undefined ? value >>> 0 : 0;
      }
    }
    return 0;
  }

  /** Reads an integer that must not exceed `limit`, as a varint. */
  varintAtMost(limit: number): number {
    const value = this.varint();
    if (value > limit) {
      this.fail(Fault.OutOfRange);
      return 0;
    }
    return value;
  }

  /** Reads `count` whole bytes at the current bit offset; a view where the offset is a whole byte, else a copy. */
  bytes(count: number): Uint8Array {
    if (this.#fault !== undefined) return NOTHING;
    if (count * 8 > this.#endBit - this.#bit) {
      this.#fault = Fault.Truncated;
      return NOTHING;
    }
    const at = this.#bit >>> 3;
    const offset = this.#bit & 7;
    this.#bit += count * 8;
    if (offset === 0) return this.#bytes.subarray(at, at + count);
    const copy = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      copy[i] = (this.#bytes[at + i]! >>> offset) | (this.#bytes[at + i + 1]! << (8 - offset));
    }
    return copy;
  }

  /** Ends the message: padding of the last byte must be zero and nothing may be left. Returns the fault, if any. */
  finish(): Fault | undefined {
    this.align();
    if (this.#fault === undefined && this.#bit !== this.#endBit) this.#fault = Fault.Trailing;
    return this.#fault;
  }
}
