// Entropy coder, reading end; the inverse of `lane_writer.ts` over `arithmetic_writer.ts`. It trusts no bits: a run may say anything, but it
// ends after as many bits as its symbols take, and beyond the message it finds zeros and a fault. Who calls it checks ranges of all but vectors.

import { Fault } from "../../protocol/faults.ts";
import type { Reader } from "../../protocol/reader.ts";
import { CODER_SCALE, reversed } from "./arithmetic_writer.ts";
import type { Foretold, LaneCoder } from "./lane_coder.ts";
import {
  boundary,
  foundSymbol,
  guessedSymbol,
  LANE_TABLES,
  nearest,
  widthIndex,
} from "./lane_tables.ts";
import { log16 } from "./log_scale.ts";

const { ESCAPE, HALF_WIDTH, LOW_BITS, OFFSET, PER_SYMBOL, PER_UNIT, POWER, REACH, UNIT } =
  LANE_TABLES;
const { SCALE, SCALE_BITS } = CODER_SCALE;

/** Reads runs of a `LaneWriter`. */
export class LaneReader implements LaneCoder {
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

  /** Ends the run: the reader stands behind its last bit. The two bits that end it have one legal form. */
  end(): void {
    const reader = this.#reader!;
    reader.skip(this.#taken + 2);
    const last = this.#low >>> 30 === 0 ? 1 : 2;
    if ((this.#low + this.#offset) >>> 30 !== last) reader.fail(Fault.NonCanonical);
  }

  /** Decodes lanes; those that are out of range become 0. */
  vector(
    foretold: Foretold,
    lanes: Int32Array,
    at: number,
    axes: number,
    limit: number,
    isLattice: boolean,
  ): boolean {
    const { means, scales, residual, lanesBefore } = foretold;
    let odd = 0;
    let sum = 0;
    let isGood = true;
    for (let a = 0; a < axes; a++) {
      const mean = means[a]! > limit ? limit : means[a]!;
      const isHalved = isLattice && a > 0;
      let scale = scales[a]! +
        (a === 0 ? foretold.firstLane : Math.imul(lanesBefore, log16(a === 1 ? sum : sum / 2)));
      if (isHalved) scale -= HALF_WIDTH;
      const width = widthIndex(scale);
      // In place what `number` does by calls: numbers with a fraction are allocated wherever a call hands them over.
      const middle = (isHalved ? (mean - odd) / 2 : mean) * PER_UNIT[width]!;
      const near = nearest(middle);
      const step = this.#range >>> SCALE_BITS;
      const quotient = ((this.#offset >>> 0) / step) | 0;
      const target = quotient < SCALE ? quotient : SCALE - 1;
      let k: number;
      if (target < ESCAPE) {
        k = this.#escape();
      } else {
        const centre = middle - near - OFFSET[width]!;
        const perSymbol = PER_SYMBOL[width]!;
        let symbol = guessedSymbol(target, width, centre);
        let from = boundary(symbol, centre, perSymbol);
        let to = boundary(symbol + 1, centre, perSymbol);
        if (target >= to || target < from) {
          symbol = foundSymbol(target, symbol, centre, perSymbol);
          from = boundary(symbol, centre, perSymbol);
          to = boundary(symbol + 1, centre, perSymbol);
        }
        k = symbol;
        const below = Math.imul(step, from);
        const range = to === SCALE
          ? (this.#range - below) | 0
          : (Math.imul(step, to - from) - 1) | 0;
        const low = (this.#low + below) | 0;
        const high = (low + range) | 0;
        const same = Math.clz32(low ^ high);
        const count = same + Math.clz32(~((low & ~high) << (same + 1)));
        if (count > this.#aheadBits) this.#refill();
        this.#low = (low << count) & 0x7fff_ffff;
        this.#range = (((range + 1) << count) - 1) | 0;
        this.#offset = (((this.#offset - below) | 0) << count) |
          ((this.#ahead >>> 1) >>> (31 - count));
        this.#ahead <<= count;
        this.#aheadBits -= count;
        this.#taken += count;
      }
      let value = (near + k) * UNIT[width]!;
      const lowBits = LOW_BITS[width]!;
      if (lowBits > 0) value += this.#bits(lowBits);
      if (a === 0) odd = value & 1;
      else if (isHalved) value = 2 * value + odd;
      if (value < 0 || value > limit) {
        isGood = false;
        value = 0;
      }
      lanes[at + a] = value;
      const r = value - mean;
      residual[a] = r;
      sum += Math.abs(r);
    }
    foretold.residualSum = sum;
    return isGood;
  }

  /** Decodes a number. */
  number(_value: number, width: number): number {
    const target = this.#target();
    let k: number;
    if (target < ESCAPE) {
      k = this.#escape();
    } else {
      const centre = -OFFSET[width]!;
      const perSymbol = PER_SYMBOL[width]!;
      k = foundSymbol(target, guessedSymbol(target, width, centre), centre, perSymbol);
      this.#consume(boundary(k, centre, perSymbol), boundary(k + 1, centre, perSymbol));
    }
    return k * UNIT[width]! + this.#bits(LOW_BITS[width]!);
  }

  /** Decodes a choice, of which 0 has the interval `[0, chance)`. */
  flag(_value: number, chance: number): number {
    const edge = Math.imul(this.#range >>> SCALE_BITS, chance);
    if ((this.#offset >>> 0) < (edge >>> 0)) {
      this.#narrow(0, (edge - 1) | 0);
      return 0;
    }
    this.#narrow(edge, (this.#range - edge) | 0);
    return 1;
  }

  /** Decodes bits as they are. */
  raw(_value: number, count: number): number {
    if (count <= 16) return this.#bits(count);
    const low = this.#bits(16);
    return this.#bits(count - 16) * SCALE + low;
  }

  /** Where in `[0, 2^16)` the next symbol lies: it is the one whose interval holds this number. Then `#consume` it. */
  #target(): number {
    const at = ((this.#offset >>> 0) / (this.#range >>> SCALE_BITS)) | 0;
    return at < SCALE ? at : SCALE - 1;
  }

  /** Takes the symbol of the interval `[from, to)` that holds the last target. */
  #consume(from: number, to: number): void {
    const step = this.#range >>> SCALE_BITS;
    const below = Math.imul(step, from);
    // The last interval takes what the division left over.
    const range = to === SCALE ? this.#range - below : Math.imul(step, to - from) - 1;
    this.#narrow(below, range | 0);
  }

  /** Reads `count` (0..16) bits that are as likely 0 as 1. */
  #bits(count: number): number {
    if (count === 0) return 0;
    const left = SCALE_BITS - count;
    const value = this.#target() >>> left;
    this.#consume(value << left, (value + 1) << left);
    return value;
  }

  #escape(): number {
    this.#consume(0, ESCAPE);
    const isBelow = this.#bits(1) === 1;
    const bits = this.#bits(5);
    const beyond = POWER[bits]! + this.raw(0, bits) + REACH;
    return isBelow ? -beyond : beyond;
  }

  /** Goes over to the part of the interval that begins `below` above its lower end, and shifts out the bits that are certain then. */
  #narrow(below: number, range: number): void {
    const low = (this.#low + below) | 0;
    const high = (low + range) | 0;
    // Bits that both ends share; then those where they are 01... and 10...: what is not known is the first of these only.
    const same = Math.clz32(low ^ high);
    const count = same + Math.clz32(~((low & ~high) << (same + 1)));
    if (count > this.#aheadBits) this.#refill();
    this.#low = (low << count) & 0x7fff_ffff;
    this.#range = (((range + 1) << count) - 1) | 0;
    this.#offset = (((this.#offset - below) | 0) << count) | ((this.#ahead >>> 1) >>> (31 - count));
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
