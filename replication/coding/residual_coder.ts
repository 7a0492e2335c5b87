// One number, coded as its distance from a prediction: a logistic distribution around the prediction, of one of 168 widths. The tables are
// computed by additions, multiplications and divisions alone, so that every machine has the same. Predictions and widths come from outside.

import type { ArithmeticReader } from "./arithmetic_reader.ts";
import { type ArithmeticWriter, SCALE } from "./arithmetic_writer.ts";
import { portableExp } from "./portable_math.ts";

/** Widths in an octave, and the range of widths: 2^-4 to 2^17 steps of a lane. */
export const WIDTHS_PER_OCTAVE = 8;
const FIRST_OCTAVE = -4;
const LAST_OCTAVE = 17;
export const WIDTHS = (LAST_OCTAVE - FIRST_OCTAVE) * WIDTHS_PER_OCTAVE;

/** Symbols on each side of the prediction; what lies further away escapes. */
const REACH = 64;
/** Share of the scale for escapes. */
const ESCAPE = 16;
/** Places of the distribution's table per unit of its argument, and the argument's range to each side. */
const TABLE_STEP = 128;
const TABLE_REACH = 20;
const TABLE_SIZE = 2 * TABLE_REACH * TABLE_STEP;

/** The distribution's values on the coder's scale, less what each symbol has for certain. */
const CUMULATIVE = new Int32Array(TABLE_SIZE + 1);
{
  const mass = SCALE - ESCAPE - (2 * REACH + 1);
  for (let i = 0; i <= TABLE_SIZE; i++) {
    CUMULATIVE[i] = Math.round(mass / (1 + portableExp(TABLE_REACH - i / TABLE_STEP)));
  }
}
/** About where in the distribution's table, from its middle, a target lies. */
const INVERSE_BITS = 4;
const INVERSE = new Int16Array(SCALE >>> INVERSE_BITS);
for (let i = 0, at = 0; i < INVERSE.length; i++) {
  const target = (i << INVERSE_BITS) + (1 << INVERSE_BITS >> 1) - ESCAPE - REACH;
  while (at < TABLE_SIZE && CUMULATIVE[at + 1]! <= target) at += 1;
  INVERSE[i] = at - TABLE_SIZE / 2;
}
/** By width: low bits that are coded as they are, 2 to that power, and table places per symbol. */
const LOW_BITS = new Uint8Array(WIDTHS);
const UNIT = new Float64Array(WIDTHS);
/** How far the middle of what shares a symbol lies above its first number. */
const OFFSET = new Float64Array(WIDTHS);
const PER_SYMBOL = new Float64Array(WIDTHS);
{
  // 2^(1/8) by repeated square roots.
  const root = Math.sqrt(Math.sqrt(Math.sqrt(2)));
  for (let i = 0; i < WIDTHS; i++) {
    let width = 1;
    for (let k = FIRST_OCTAVE; k < 0; k++) width /= 2;
    for (let k = Math.floor(i / WIDTHS_PER_OCTAVE); k > 0; k--) width *= 2;
    for (let k = i % WIDTHS_PER_OCTAVE; k > 0; k--) width *= root;
    let low = 0;
    while (width > 8) {
      width /= 2;
      low += 1;
    }
    LOW_BITS[i] = low;
    UNIT[i] = 1 << low;
    OFFSET[i] = ((1 << low) - 1) / (2 << low);
    PER_SYMBOL[i] = TABLE_STEP / width;
  }
}

/** 2^n, exactly, n of 0 to 31. */
const POWER = Float64Array.from({ length: 32 }, (_, n) => (1 << n) >>> 0);

/** Interval's beginning of symbol `k` (-REACH..REACH + 1), of a distribution around `centre` (-1..1). */
function boundary(k: number, centre: number, perSymbol: number): number {
  if (k <= -REACH) return ESCAPE;
  if (k > REACH) return SCALE;
  // Rounded down: the same on both ends, and never back for a larger k.
  let at = ((k - 0.5 - centre) * perSymbol + TABLE_SIZE / 2) | 0;
  if (at < 0) at = 0;
  else if (at > TABLE_SIZE) at = TABLE_SIZE;
  return CUMULATIVE[at]! + (k + REACH) + ESCAPE;
}

/** Index of a width from 16 times its binary logarithm, which is given in 1/4096. */
export function widthIndex(log16: number): number {
  const index = ((log16 + 4096) >> 13) - FIRST_OCTAVE * WIDTHS_PER_OCTAVE;
  return index < 0 ? 0 : index >= WIDTHS ? WIDTHS - 1 : index;
}

/** Codes or decodes one number after the other; the two ends differ in nothing else. */
export interface LaneCoder {
  /** `value` goes in or comes out; the prediction is `means[at]`, `width` an index. */
  lane(value: number, means: Float64Array, at: number, width: number): number;
  /** A choice between 0 and 1; `chance` is that of 0, on the coder's scale. */
  flag(value: number, chance: number): number;
  /** `count` (0..32) bits as they are. */
  raw(value: number, count: number): number;
}

/** The writing end. */
export class LaneWriter implements LaneCoder {
  readonly #run: ArithmeticWriter;

  /** Codes into a run. */
  constructor(run: ArithmeticWriter) {
    this.#run = run;
  }

  /** Codes `value`. */
  lane(value: number, means: Float64Array, at: number, width: number): number {
    const unit = UNIT[width]!;
    const middle = means[at]! / unit;
    const near = Math.round(middle);
    const centre = middle - near - OFFSET[width]!;
    const high = unit === 1 ? value : Math.floor(value / unit);
    const k = high - near;
    if (k < -REACH || k > REACH) {
      this.#escape(k);
    } else {
      const perSymbol = PER_SYMBOL[width]!;
      const symbol = k | 0;
      this.#run.encode(
        boundary(symbol, centre, perSymbol),
        boundary(symbol + 1, centre, perSymbol),
      );
    }
    if (unit > 1) this.#run.encodeBits(value - high * unit, LOW_BITS[width]!);
    return value;
  }

  /** Codes a choice. */
  flag(value: number, chance: number): number {
    if (value === 0) this.#run.encode(0, chance);
    else this.#run.encode(chance, SCALE);
    return value;
  }

  /** Codes bits as they are. */
  raw(value: number, count: number): number {
    if (count > 16) {
      this.#run.encodeBits(value & 0xffff, 16);
      this.#run.encodeBits(value >>> 16, count - 16);
    } else {
      this.#run.encodeBits(value, count);
    }
    return value;
  }

  #escape(k: number): void {
    this.#run.encode(0, ESCAPE);
    this.#run.encodeBits(k < 0 ? 1 : 0, 1);
    const beyond = (k < 0 ? -k : k) - REACH;
    const bits = 31 - Math.clz32(beyond);
    this.#run.encodeBits(bits, 5);
    this.raw(beyond - POWER[bits]!, bits);
  }
}

/** The reading end. It returns whatever the bits say: who calls it checks ranges. */
export class LaneReader implements LaneCoder {
  readonly #run: ArithmeticReader;

  /** Decodes from a run. */
  constructor(run: ArithmeticReader) {
    this.#run = run;
  }

  /** Decodes a number. */
  lane(_value: number, means: Float64Array, at: number, width: number): number {
    const run = this.#run;
    const unit = UNIT[width]!;
    const middle = means[at]! / unit;
    const near = Math.round(middle);
    const centre = middle - near - OFFSET[width]!;
    const target = run.target();
    let k = 0;
    if (target < ESCAPE) {
      run.consume(0, ESCAPE);
      const isBelow = run.bits(1) === 1;
      const bits = run.bits(5);
      const beyond = POWER[bits]! + this.raw(0, bits) + REACH;
      k = isBelow ? -beyond : beyond;
    } else {
      // The table tells about which symbol it is; which it is, its own boundaries do.
      const perSymbol = PER_SYMBOL[width]!;
      const place = INVERSE[target >>> INVERSE_BITS]!;
      k = Math.round(place / perSymbol + centre) | 0;
      if (k < -REACH) k = -REACH;
      else if (k > REACH) k = REACH;
      let from = boundary(k, centre, perSymbol);
      let to = boundary(k + 1, centre, perSymbol);
      while (target >= to) {
        k += 1;
        from = to;
        to = boundary(k + 1, centre, perSymbol);
      }
      while (target < from) {
        k -= 1;
        to = from;
        from = boundary(k, centre, perSymbol);
      }
      run.consume(from, to);
    }
    const value = (near + k) * unit;
    return unit > 1 ? value + run.bits(LOW_BITS[width]!) : value;
  }

  /** Decodes a choice. */
  flag(_value: number, chance: number): number {
    if (this.#run.target() < chance) {
      this.#run.consume(0, chance);
      return 0;
    }
    this.#run.consume(chance, SCALE);
    return 1;
  }

  /** Decodes bits as they are. */
  raw(_value: number, count: number): number {
    if (count <= 16) return this.#run.bits(count);
    const low = this.#run.bits(16);
    return this.#run.bits(count - 16) * SCALE + low;
  }
}
