// Lanes into an arithmetic run, each coded as its distance from a prediction by the tables of `lane_tables.ts`. Predictions and how sure they
// are come from outside, and what the lanes mean is not known here.

import { type ArithmeticWriter, CODER_SCALE } from "./arithmetic_writer.ts";
import type { Foretold, LaneCoder } from "./lane_coder.ts";
import { boundary, LANE_TABLES, nearest, widthIndex } from "./lane_tables.ts";
import { log16 } from "./log_scale.ts";

const { ESCAPE, HALF_WIDTH, LOW_BITS, OFFSET, PER_SYMBOL, PER_UNIT, POWER, REACH, UNIT } =
  LANE_TABLES;
const { SCALE } = CODER_SCALE;

/** Writes runs of lanes. */
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
      sum += Math.abs(r);
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
