// One number, coded as its distance from a prediction: a logistic distribution around the prediction, of one of 168 widths. The tables are
// computed by additions, multiplications and divisions alone, so that every machine has the same. Predictions and widths come from outside.

import type { ArithmeticReader } from "./arithmetic_reader.ts";
import { type ArithmeticWriter, SCALE } from "./arithmetic_writer.ts";
import { log16 } from "./log_scale.ts";
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
const CUMULATIVE = new Uint16Array(TABLE_SIZE + 1);
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
/** By width: low bits that are coded as they are, 2 to that power and to its opposite, and table places per symbol and the opposite. */
const LOW_BITS = new Uint8Array(WIDTHS);
const UNIT = new Float64Array(WIDTHS);
const PER_UNIT = new Float64Array(WIDTHS);
/** How far the middle of what shares a symbol lies above its first number. */
const OFFSET = new Float64Array(WIDTHS);
const PER_SYMBOL = new Float64Array(WIDTHS);
const PER_PLACE = new Float64Array(WIDTHS);
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
    PER_UNIT[i] = 1 / (1 << low);
    OFFSET[i] = ((1 << low) - 1) / (2 << low);
    PER_SYMBOL[i] = TABLE_STEP / width;
    PER_PLACE[i] = width / TABLE_STEP;
  }
}

/** 2^n, exactly, n of 0 to 31. */
const POWER = Float64Array.from({ length: 32 }, (_, n) => (1 << n) >>> 0);

/** Weights that widths are reckoned with are in 1/4096; this is half of a width, which is what a lattice's lanes are coded in. */
export const WEIGHT_UNIT = 4096;
const HALF_WIDTH = 16 * WEIGHT_UNIT;

/** Interval's beginning of symbol `k` (-REACH..REACH + 1), of a distribution around `centre` (-1..1). */
function boundary(k: number, centre: number, perSymbol: number): number {
  if (k <= -REACH) return ESCAPE;
  if (k > REACH) return SCALE;
  // Rounded down: the same on both ends, and never back for a larger k.
  let at = ((k - 0.5 - centre) * perSymbol + TABLE_SIZE / 2) | 0;
  if (at < 0) at = 0;
  else if (at > TABLE_SIZE) at = TABLE_SIZE;
  return CUMULATIVE[at]! + k + (REACH + ESCAPE);
}

/** The whole number nearest to x (|x| < 2^52), of two the larger: `Math.round` without a branch that goes either way. */
function nearest(x: number): number {
  const whole = Math.floor(x + 0.5);
  // What is added to the number just below a half rounds up to one.
  return whole - x > 0.5 ? whole - 1 : whole;
}

/** Index of a width from 16 times its binary logarithm, which is given in 1/4096. */
export function widthIndex(weighed: number): number {
  const index = ((weighed + WEIGHT_UNIT) >> 13) - FIRST_OCTAVE * WIDTHS_PER_OCTAVE;
  return index < 0 ? 0 : index >= WIDTHS ? WIDTHS - 1 : index;
}

/** What is foretold of a vector of up to three lanes, and what came of it. */
export interface Foretold {
  /** Lanes that are expected. */
  readonly means: Float64Array;
  /** By lane, in 1/4096: what of 16 log2 of the width does not depend on the lanes before. */
  readonly scales: Int32Array;
  /** What the first lane adds to it; and every other lane, for each 16 log2 of the mean residual before it. */
  firstLane: number;
  lanesBefore: number;
  /** Out: lanes less what was expected. */
  readonly residual: Float64Array;
  /** Out: sum of their magnitudes. */
  residualSum: number;
}

/** Codes or decodes one thing after the other; the two ends differ in nothing else. */
export interface LaneCoder {
  /**
   * `axes` lanes from `lanes[at]` on go in or come out.
   *
   * @param limit Largest lane, and largest one expected.
   * @param isLattice Whether all lanes are even or all are odd.
   * @returns Whether all lanes are within 0..`limit`.
   */
  vector(
    foretold: Foretold,
    lanes: Int32Array,
    at: number,
    axes: number,
    limit: number,
    isLattice: boolean,
  ): boolean;
  /** A number `value` that goes in or comes out, around 0; `width` is an index. */
  number(value: number, width: number): number;
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

  /** Codes lanes, which are in range. */
  vector(
    foretold: Foretold,
    lanes: Int32Array,
    at: number,
    axes: number,
    limit: number,
    isLattice: boolean,
  ): boolean {
    const { means, scales, residual, firstLane, lanesBefore } = foretold;
    let odd = 0;
    let sum = 0;
    for (let a = 0; a < axes; a++) {
      const value = lanes[at + a]! >>> 0;
      const mean = means[a]! > limit ? limit : means[a]!;
      if (a === 0) {
        this.#lane(value, mean, widthIndex(scales[0]! + firstLane));
        odd = value & 1;
      } else {
        const scale = scales[a]! + Math.imul(lanesBefore, log16(a === 1 ? sum : sum / 2));
        if (isLattice) {
          this.#lane((value - odd) >> 1, (mean - odd) / 2, widthIndex(scale - HALF_WIDTH));
        } else this.#lane(value, mean, widthIndex(scale));
      }
      const r = value - mean;
      residual[a] = r;
      sum += r < 0 ? -r : r;
    }
    foretold.residualSum = sum;
    return true;
  }

  /** Codes a number. */
  number(value: number, width: number): number {
    this.#lane(value, 0, width);
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

  #lane(value: number, mean: number, width: number): void {
    const middle = mean * PER_UNIT[width]!;
    const near = nearest(middle);
    const centre = middle - near - OFFSET[width]!;
    const high = Math.floor(value * PER_UNIT[width]!);
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
    const lowBits = LOW_BITS[width]!;
    if (lowBits > 0) this.#run.encodeBits(value - high * UNIT[width]!, lowBits);
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

/** The reading end. It returns whatever the bits say: who calls it checks ranges of all but vectors. */
export class LaneReader implements LaneCoder {
  readonly #run: ArithmeticReader;

  /** Decodes from a run. */
  constructor(run: ArithmeticReader) {
    this.#run = run;
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
    const { means, scales, residual, firstLane, lanesBefore } = foretold;
    let odd = 0;
    let sum = 0;
    let isGood = true;
    for (let a = 0; a < axes; a++) {
      const mean = means[a]! > limit ? limit : means[a]!;
      let value: number;
      if (a === 0) {
        value = this.#lane(mean, widthIndex(scales[0]! + firstLane));
        odd = value & 1;
      } else {
        const scale = scales[a]! + Math.imul(lanesBefore, log16(a === 1 ? sum : sum / 2));
        if (isLattice) {
          value = 2 * this.#lane((mean - odd) / 2, widthIndex(scale - HALF_WIDTH)) + odd;
        } else value = this.#lane(mean, widthIndex(scale));
      }
      if (value < 0 || value > limit) {
        isGood = false;
        value = 0;
      }
      lanes[at + a] = value;
      const r = value - mean;
      residual[a] = r;
      sum += r < 0 ? -r : r;
    }
    foretold.residualSum = sum;
    return isGood;
  }

  /** Decodes a number. */
  number(_value: number, width: number): number {
    return this.#lane(0, width);
  }

  /** Decodes a choice. */
  flag(_value: number, chance: number): number {
    return this.#run.choice(chance);
  }

  /** Decodes bits as they are. */
  raw(_value: number, count: number): number {
    if (count <= 16) return this.#run.bits(count);
    const low = this.#run.bits(16);
    return this.#run.bits(count - 16) * SCALE + low;
  }

  #lane(mean: number, width: number): number {
    const run = this.#run;
    const middle = mean * PER_UNIT[width]!;
    const near = nearest(middle);
    const centre = middle - near - OFFSET[width]!;
    const target = run.target();
    let k: number;
    if (target < ESCAPE) {
      k = this.#escape();
    } else {
      // The table tells about which symbol it is; which it is, its own boundaries do.
      const perSymbol = PER_SYMBOL[width]!;
      const guess = INVERSE[target >>> INVERSE_BITS]! * PER_PLACE[width]! + centre;
      let symbol = ((guess + (REACH + 0.5)) | 0) - REACH;
      if (symbol < -REACH) symbol = -REACH;
      else if (symbol > REACH) symbol = REACH;
      let from = boundary(symbol, centre, perSymbol);
      let to = boundary(symbol + 1, centre, perSymbol);
      while (target >= to) {
        symbol += 1;
        from = to;
        to = boundary(symbol + 1, centre, perSymbol);
      }
      while (target < from) {
        symbol -= 1;
        to = from;
        from = boundary(symbol, centre, perSymbol);
      }
      run.consume(from, to);
      k = symbol;
    }
    const value = (near + k) * UNIT[width]!;
    const lowBits = LOW_BITS[width]!;
    return lowBits > 0 ? value + run.bits(lowBits) : value;
  }

  #escape(): number {
    const run = this.#run;
    run.consume(0, ESCAPE);
    const isBelow = run.bits(1) === 1;
    const bits = run.bits(5);
    const beyond = POWER[bits]! + this.raw(0, bits) + REACH;
    return isBelow ? -beyond : beyond;
  }
}
