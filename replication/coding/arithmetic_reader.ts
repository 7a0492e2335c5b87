// Entropy coder, reading end; the inverse of `arithmetic_writer.ts`. It trusts no bits: a run may say anything, but it ends after as many
// bits as its symbols take, and beyond the message it finds zeros and a fault.

import { Fault } from "../../protocol/faults.ts";
import type { Reader } from "../../protocol/reader.ts";
import { reversed, SCALE, SCALE_BITS } from "./arithmetic_writer.ts";

/** Reads runs of an `ArithmeticWriter`. */
export class ArithmeticReader {
  #reader: Reader | undefined;
  #low = 0;
  #high = -1;
  #value = 0;
  #step = 0;
  /** Bits that symbols have shifted out of `#value`. */
  #taken = 0;
  // Bits behind those in `#value`, the first one highest.
  #ahead = 0;
  #aheadBits = 0;

  /** Begins a run at the reader's present bit. */
  begin(reader: Reader): void {
    this.#reader = reader;
    this.#low = 0;
    this.#high = -1;
    this.#taken = 0;
    this.#aheadBits = 0;
    this.#value = reversed(reader.peek(0, 32)) | 0;
    this.#step = 1 << (32 - SCALE_BITS);
  }

  /** Where in `[0, 2^16)` the next symbol lies: it is the one whose interval holds this number. Call {@linkcode consume} with it. */
  target(): number {
    const step = (this.#high - this.#low) >>> SCALE_BITS;
    this.#step = step;
    const at = (((this.#value - this.#low) >>> 0) / step) | 0;
    return at < SCALE ? at : SCALE - 1;
  }

  /** Takes the symbol of the interval `[from, to)` that holds the last target. */
  consume(from: number, to: number): void {
    const base = this.#low;
    let high = to === SCALE ? this.#high : (base + Math.imul(this.#step, to) - 1) | 0;
    let low = (base + Math.imul(this.#step, from)) | 0;
    let value = this.#value;
    const same = Math.clz32(low ^ high);
    if (same > 0) {
      low <<= same;
      high = (high << same) | ((1 << same) - 1);
      value = (value << same) | this.#next(same);
    }
    const near = Math.min(Math.clz32(~(low << 1)), Math.clz32(high << 1));
    if (near > 0) {
      low = (low << near) & 0x7fff_ffff;
      high = (high << near) | ((1 << near) - 1) | 0x8000_0000;
      value = ((value << near) | this.#next(near)) ^ 0x8000_0000;
    }
    this.#low = low;
    this.#high = high;
    this.#value = value;
  }

  /** Reads `count` (0..16) bits that are as likely 0 as 1. */
  bits(count: number): number {
    if (count === 0) return 0;
    const width = SCALE >>> count;
    const value = Math.floor(this.target() / width);
    this.consume(value * width, (value + 1) * width);
    return value;
  }

  /** Ends the run: the reader stands behind its last bit. The two bits that end it have one legal form. */
  end(): void {
    const reader = this.#reader!;
    reader.skip(this.#taken + 2);
    const last = this.#low >>> 30 === 0 ? 1 : 2;
    if (this.#value >>> 30 !== last) reader.fail(Fault.NonCanonical);
  }

  /** The next `count` (1..32) bits, the first one highest. */
  #next(count: number): number {
    const left = this.#aheadBits;
    this.#taken += count;
    if (count <= left) {
      const bits = this.#ahead >>> (32 - count);
      this.#ahead = count === 32 ? 0 : this.#ahead << count;
      this.#aheadBits = left - count;
      return bits;
    }
    const head = left === 0 ? 0 : this.#ahead >>> (32 - left);
    const rest = count - left;
    this.#ahead = reversed(this.#reader!.peek(this.#taken - rest + 32, 32)) | 0;
    this.#aheadBits = 32 - rest;
    const tail = this.#ahead >>> (32 - rest);
    this.#ahead = rest === 32 ? 0 : this.#ahead << rest;
    return rest === 32 ? tail : (head << rest) | tail;
  }
}
