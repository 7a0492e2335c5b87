// Writes bits and bytes into one growing buffer, little-endian, least significant bit first. It knows no message: every message
// codec is built from these few calls, and `Reader` is their exact inverse.

import { assert } from "./assert.ts";

/** Bits that are copied at once: so many stand in four bytes, wherever they begin. */
const STRIDE_BITS = 25;
/** Bytes behind what is written, so that four may be read from each. */
const SPARE_BYTES = 4;

/** A bit-granular writer. Bits fill each byte from the least significant; whole bytes may start at any bit offset. */
export class Writer {
  #bytes: Uint8Array;
  #bitLength = 0;

  /** @param capacity Bytes to begin with; the buffer doubles when it is full. */
  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(Math.max(capacity, SPARE_BYTES));
  }

  /** Bits written so far. */
  get bitLength(): number {
    return this.#bitLength;
  }

  /** Bytes written so far, a partly filled last byte counted whole. */
  get byteLength(): number {
    return (this.#bitLength + 7) >>> 3;
  }

  /** Forgets everything written after bit `bitLength`: how a section that does not fit is taken back. */
  truncate(bitLength: number): void {
    assert(bitLength >= 0 && bitLength <= this.#bitLength, "truncate goes back only");
    const firstByte = bitLength >>> 3;
    const lastByte = this.byteLength;
    const keep = bitLength & 7;
    if (firstByte < lastByte) {
      this.#bytes[firstByte] = keep === 0 ? 0 : this.#bytes[firstByte]! & ((1 << keep) - 1);
      this.#bytes.fill(0, firstByte + 1, lastByte);
    }
    this.#bitLength = bitLength;
  }

  /** Forgets everything written; the buffer is kept for the next message. */
  clear(): void {
    this.truncate(0);
  }

  /** Writes the low `count` (0..32) bits of `value`. */
  bits(value: number, count: number): void {
    assert(count >= 0 && count <= 32, "a bit group has 0 to 32 bits");
    this.#reserve(count);
    const bytes = this.#bytes;
    let at = this.#bitLength >>> 3;
    const offset = this.#bitLength & 7;
    let rest = count === 32 ? value : value & ((1 << count) - 1);
    // The byte begun, then whole ones; what is behind is zero.
    bytes[at] = bytes[at]! | (rest << offset);
    rest >>>= 8 - offset;
    for (let left = count - (8 - offset); left > 0; left -= 8) {
      at += 1;
      bytes[at] = rest;
      rest >>>= 8;
    }
    this.#bitLength += count;
  }

  /** Writes one bit. */
  bool(value: boolean): void {
    this.bits(value ? 1 : 0, 1);
  }

  /** Pads with zero bits to the next whole byte. */
  align(): void {
    this.#bitLength = (this.#bitLength + 7) & ~7;
    this.#reserve(0);
  }

  /** Writes an unsigned 8-bit integer. */
  u8(value: number): void {
    this.bits(value, 8);
  }

  /** Writes an unsigned 16-bit integer, little-endian. */
  u16(value: number): void {
    this.bits(value, 16);
  }

  /** Writes an unsigned 32-bit integer, little-endian. */
  u32(value: number): void {
    this.bits(value, 32);
  }

  /** Writes an unsigned integer below 2^32 as a minimal LEB128 varint (1 to 5 bytes). */
  varint(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.bits((rest & 0x7f) | 0x80, 8);
      rest >>>= 7;
    }
    this.bits(rest, 8);
  }

  /** Writes whole bytes, unchanged, at the current bit offset. */
  bytes(source: Uint8Array): void {
    this.#reserve(source.length * 8);
    const offset = this.#bitLength & 7;
    let at = this.#bitLength >>> 3;
    if (offset === 0) {
      this.#bytes.set(source, at);
    } else {
      for (let i = 0; i < source.length; i++) {
        const value = source[i]!;
        this.#bytes[at] = this.#bytes[at]! | ((value << offset) & 0xff);
        at += 1;
        this.#bytes[at] = value >>> (8 - offset);
      }
    }
    this.#bitLength += source.length * 8;
  }

  /** Appends `bitCount` bits from `source`, starting at its bit `from`. */
  copyBits(source: Uint8Array, from: number, bitCount: number): void {
    this.#reserve(bitCount);
    const to = this.#bytes;
    let left = bitCount;
    let at = from;
    let out = this.#bitLength;
    // Each step fills a byte of the target, but for the first and the last one.
    while (left > 0) {
      const shift = at & 7;
      const offset = out & 7;
      const take = left < 8 - offset ? left : 8 - offset;
      const byte = at >>> 3;
      const two = source[byte]! | ((shift + take > 8 ? source[byte + 1]! : 0) << 8);
      const place = out >>> 3;
      to[place] = to[place]! | (((two >>> shift) & ((1 << take) - 1)) << offset);
      at += take;
      out += take;
      left -= take;
    }
    this.#bitLength = out;
  }

  /** Appends `bitCount` bits that another writer holds from bit `from` on: how shared encodings are copied. */
  copyFrom(source: Writer, from: number, bitCount: number): void {
    this.#reserve(bitCount);
    const bytes = source.#bytes;
    const to = this.#bytes;
    let out = this.#bitLength;
    let at = from;
    for (let left = bitCount; left > 0;) {
      const take = left < STRIDE_BITS ? left : STRIDE_BITS;
      const byte = at >>> 3;
      // The spare bytes behind each buffer may be read.
      const four = bytes[byte]! | (bytes[byte + 1]! << 8) | (bytes[byte + 2]! << 16) |
        (bytes[byte + 3]! << 24);
      const group = (four >>> (at & 7)) & ((1 << take) - 1);
      const offset = out & 7;
      let place = out >>> 3;
      to[place] = to[place]! | (group << offset);
      for (let rest = group >>> (8 - offset); rest !== 0; rest >>>= 8) {
        place += 1;
        to[place] = rest;
      }
      at += take;
      out += take;
      left -= take;
    }
    this.#bitLength = out;
  }

  /** A copy of what was written, the last byte padded with zero bits. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.byteLength);
  }

  /** A view of what was written; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.byteLength);
  }

  #reserve(bits: number): void {
    const needed = ((this.#bitLength + bits + 7) >>> 3) + SPARE_BYTES;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.byteLength));
    this.#bytes = grown;
  }
}
