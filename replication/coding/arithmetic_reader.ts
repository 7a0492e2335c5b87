// Entropy coder, reading end; the inverse of `arithmetic_writer.ts`. It trusts no bits: a run may say anything, but it ends after as many
// bits as its symbols take, and beyond the message it finds zeros and a fault.

import { Fault } from "../../protocol/faults.ts";
import type { Reader } from "../../protocol/reader.ts";
import { reversed, SCALE, SCALE_BITS } from "./arithmetic_writer.ts";

/** Reads runs of an `ArithmeticWriter`. */
export class ArithmeticReader {
  #reader: Reader | undefined;
  // The present interval's lower end, its upper end less that, and where in it the run's number lies; words.
  #low = 0;
  #range = -1;
  #offset = 0;
  /** Bits that symbols have shifted out. */
  #taken = 0;
  // Bits behind those in `#offset`, the first one highest.
  #ahead = 0;
  #aheadBits = 0;

  /** Begins a run at the reader's present bit. */
  begin(reader: Reader): void {
    this.#reader = reader;
    this.#low = 0;
    this.#range = -1;
    this.#offset = reversed(reader.peek(0, 32)) | 0;
    this.#taken = 0;
    this.#ahead = 0;
    this.#aheadBits = 0;
  }

  /** Where in `[0, 2^16)` the next symbol lies: it is the one whose interval holds this number. Call {@linkcode consume} with it. */
  target(): number {
    const at = ((this.#offset >>> 0) / (this.#range >>> SCALE_BITS)) | 0;
    return at < SCALE ? at : SCALE - 1;
  }

  /** Takes the symbol of the interval `[from, to)` that holds the last target. */
  consume(from: number, to: number): void {
    const step = this.#range >>> SCALE_BITS;
    const below = Math.imul(step, from);
    // The last interval takes what the division left over.
    this.#narrow(below, to === SCALE ? this.#range - below : Math.imul(step, to - from) - 1);
  }

  /** Reads a choice between 0 and 1, of which 0 has the interval `[0, chance)`. */
  choice(chance: number): number {
    const edge = Math.imul(this.#range >>> SCALE_BITS, chance);
    if ((this.#offset >>> 0) < (edge >>> 0)) {
      this.#narrow(0, edge - 1);
      return 0;
    }
    this.#narrow(edge, this.#range - edge);
    return 1;
  }

  /** Reads `count` (0..16) bits that are as likely 0 as 1. */
  bits(count: number): number {
    if (count === 0) return 0;
    const left = SCALE_BITS - count;
    const value = this.target() >>> left;
    this.consume(value << left, (value + 1) << left);
    return value;
  }

  /** Ends the run: the reader stands behind its last bit. The two bits that end it have one legal form. */
  end(): void {
    const reader = this.#reader!;
    reader.skip(this.#taken + 2);
    const last = this.#low >>> 30 === 0 ? 1 : 2;
    if ((this.#low + this.#offset) >>> 30 !== last) reader.fail(Fault.NonCanonical);
  }

  /** Goes over to the part of the interval that begins `below` above its lower end, and shifts out the bits that are certain then. */
  #narrow(below: number, range: number): void {
    const low = (this.#low + below) | 0;
    const high = low + range;
    // Bits that both ends share; then those where they are 01... and 10...: what is not known is the first of these only.
    const same = Math.clz32(low ^ high);
    const count = same + Math.clz32(~((low & ~high) << (same + 1)));
    if (count > this.#aheadBits) this.#refill();
    this.#low = (low << count) & 0x7fff_ffff;
    this.#range = ((range + 1) << count) - 1;
    this.#offset = ((this.#offset - below) << count) | ((this.#ahead >>> 1) >>> (31 - count));
    this.#ahead <<= count;
    this.#aheadBits -= count;
    this.#taken += count;
  }

  /** Looks up the next 32 bits ahead. No symbol shifts out more: an interval of one part of the scale 18. */
  #refill(): void {
    this.#ahead = reversed(this.#reader!.peek(this.#taken + 32, 32)) | 0;
    this.#aheadBits = 32;
  }
}
