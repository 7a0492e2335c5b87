// Predicts the lanes of a position or a rotation from earlier versions of it, and says how sure it is. It knows vectors of up to three
// lanes and the tables it was trained to; which versions there are, and what lanes mean, is the business of `motion_codec.ts`.

import { MOTION_TABLES } from "./motion_tables.ts";
import { portableLog2 } from "./portable_math.ts";
import { type LaneCoder, widthIndex } from "./residual_coder.ts";

/** Versions that a prediction looks at: the baseline and five before it, one unit of time apart. */
export const VERSIONS = 6;
/** Numbers of one vector's history: `version * 3 + axis`, the baseline first. */
export const HISTORY = VERSIONS * 3;
/** Ways to predict: trained taps, constant acceleration, constant speed, rest. */
const PREDICTORS = 4;
/** Distances, in units of time, for which there are trained tables. */
const LAGS = [1, 2, 3, 4, 6, 8] as const;
/** Weights of one predictor's scale, its bias behind them. */
const WEIGHTS = 12;
const EXTRAS = 3;
const SCALES = 5;
const ROW = SCALES + PREDICTORS * WEIGHTS;
/** What is trained to a length of time wins over formulas unless its errors were 2.5 times as large. */
const TRAINED_FACTOR = 0.4;

/** What 16 log2 of the width loses for a lane that did not move in all the history, beside others that did. */
const AT_REST = 48;

// Places among the weights.
const OWN_ERROR = 0;
const OWN_ERROR_BEFORE = 1;
const MEAN_ERROR = 2;
const MEAN_ERROR_BEFORE = 3;
const OWN_STEP = 4;
const MEAN_STEP = 5;
const LANES_BEFORE = 6;
const FIRST_LANE = 7;
const FIRST_FIELD = 8;
const FIELD_BEFORE = 9;
const PARTNER = 10;
const BIAS = 11;

/** 16 log2(q / 4 + 1/2), rounded to the nearest, by quarters q. */
const LOG = new Int16Array(1 << 16);
for (let q = 0; q < LOG.length; q++) LOG[q] = Math.floor(16 * portableLog2(q / 4 + 0.5, 20) + 0.5);

/** 16 log2(|x| + 1/2), of |x| cut to quarters. */
function log16(x: number): number {
  const quarters = x < 0 ? x * -4 : x * 4;
  if (quarters < 65_536) return LOG[quarters | 0]!;
  if (quarters < 2_147_483_648) return LOG[(quarters / 65_536) | 0]! + 256;
  return LOG[32_767]! + 256;
}

/** Kinds of vectors that the tables tell apart. */
export const MotionClass = { Position: 0, Rotation: 2 } as const;

/** One of the values of {@linkcode MotionClass}. */
export type MotionClass = typeof MotionClass[keyof typeof MotionClass];

/** Trained tables, ready for use. */
export class MotionTables {
  /** By class and lag, `ROW` numbers each. */
  readonly rows: Float64Array;

  /** From rows of whole numbers in 1/4096. */
  constructor(rows: readonly (readonly number[])[] = MOTION_TABLES) {
    this.rows = Float64Array.from(rows.flat(), (x) => x / 4096);
  }
}

/** How far ahead of the baseline a value lies: shared by all vectors of one value. */
export class Distance {
  /** In units of time. */
  lag = 1;
  /** Place of the nearest trained lag. */
  place = 0;
  /** The tables were trained to exactly this lag. */
  isTrained = true;

  /** Sets it to `ticks` ticks, in units of `unit` ticks. */
  set(ticks: number, unit: number): void {
    const lag = ticks / unit;
    this.lag = lag;
    let place = 0;
    // The largest trained lag that is not above it.
    while (place + 1 < LAGS.length && LAGS[place + 1]! <= lag) place += 1;
    this.place = place;
    this.isTrained = LAGS[place] === lag;
  }
}

/** One vector of one value while it is coded; reused. */
export class MotionModel {
  /** Earlier versions, `HISTORY` numbers. */
  readonly history = new Float64Array(HISTORY);
  /** Coded lanes less their predictions. */
  readonly residual = new Float64Array(3);
  /** 16 log2 of the residuals' mean magnitude. */
  residualLog = 0;
  readonly #steps = new Float64Array(HISTORY - 3);
  readonly #errors = new Float64Array(PREDICTORS * 6);
  readonly #taps = new Float64Array(PREDICTORS * 3);

  /**
   * Codes `axes` lanes from `lanes[at]` on: they go in at the writing end, come out at the reading end.
   *
   * @param known Versions in the history that are not extrapolated.
   * @param limit Largest lane.
   * @param isLattice Whether all lanes are even or all are odd.
   * @param first The first vector of its kind coded in this value, `before` the last one; undefined for the first itself.
   * @param partner Position that a rotation belongs to.
   * @returns Whether all lanes are within 0..`limit`.
   */
  code(
    coder: LaneCoder,
    tables: MotionTables,
    kind: MotionClass,
    distance: Distance,
    known: number,
    lanes: Int32Array,
    at: number,
    axes: number,
    limit: number,
    isLattice: boolean,
    first: MotionModel | undefined,
    before: MotionModel | undefined,
    partner: MotionModel | undefined,
  ): boolean {
    const rows = tables.rows;
    const history = this.history;
    const steps = this.#steps;
    const errors = this.#errors;
    const taps = this.#taps;
    const residual = this.residual;
    const group = kind + (first === undefined ? 0 : 1);
    const unitRow = group * LAGS.length * ROW;
    const row = unitRow + distance.place * ROW;
    for (let i = 0; i < HISTORY - 3; i++) steps[i] = history[i]! - history[i + 3]!;
    const lag = distance.lag;
    const bend = lag * (lag + 1) / 2;
    taps[0] = rows[row]!;
    taps[1] = rows[row + 1]!;
    taps[2] = rows[row + 2]!;
    taps[3] = lag + bend;
    taps[4] = -bend;
    taps[6] = lag;
    // How well each predictor would have foretold the baseline and the version before it, one unit ahead.
    const t0 = rows[unitRow]!, t1 = rows[unitRow + 1]!, t2 = rows[unitRow + 2]!;
    let costTrained = 0, costQuadratic = 0, costLinear = 0, costRest = 0;
    for (let j = 0; j < 6; j += 3) {
      for (let a = 0; a < axes; a++) {
        const i = j + a;
        const s0 = steps[i]!, s1 = steps[i + 3]!, s2 = steps[i + 6]!;
        let e = s0 - (t0 * s1 + t1 * s2 + t2 * steps[i + 9]!);
        if (e < 0) e = -e;
        errors[i] = e;
        costTrained += e;
        e = s0 - (2 * s1 - s2);
        if (e < 0) e = -e;
        errors[6 + i] = e;
        costQuadratic += e;
        e = s0 - s1;
        if (e < 0) e = -e;
        errors[12 + i] = e;
        costLinear += e;
        e = s0 < 0 ? -s0 : s0;
        errors[18 + i] = e;
        costRest += e;
      }
    }
    let best = 1;
    let cost = costQuadratic;
    if (costLinear < cost) {
      best = 2;
      cost = costLinear;
    }
    if (costRest < cost) {
      best = 3;
      cost = costRest;
    }
    if (distance.isTrained && costTrained * TRAINED_FACTOR <= cost) best = 0;
    const E = best * 6;
    // Too short a history says nothing of the version before.
    if (known < 5) { for (let a = 0; a < axes; a++) errors[E + 3 + a] = errors[E + a]!; }
    const W = row + SCALES + best * WEIGHTS;
    let error = 0, errorBefore = 0, step = 0;
    for (let a = 0; a < axes; a++) {
      const s = steps[a]!;
      error += errors[E + a]!;
      errorBefore += errors[E + 3 + a]!;
      step += s < 0 ? -s : s;
    }
    let base = rows[W + BIAS]! + rows[W + MEAN_ERROR]! * log16(error / axes) +
      rows[W + MEAN_ERROR_BEFORE]! * log16(errorBefore / axes) +
      rows[W + MEAN_STEP]! * log16(step / axes);
    if (first !== undefined) {
      base += rows[W + FIRST_FIELD]! * first.residualLog +
        rows[W + FIELD_BEFORE]! * before!.residualLog;
    }
    if (partner !== undefined) base += rows[W + PARTNER]! * partner.residualLog;
    const k0 = taps[best * 3]!, k1 = taps[best * 3 + 1]!, k2 = taps[best * 3 + 2]!;
    const x0 = rows[row + EXTRAS]!, x1 = rows[row + EXTRAS + 1]!;
    const isFollowing = first !== undefined && kind === MotionClass.Position;
    let odd = 0;
    let sum = 0;
    let isGood = true;
    for (let a = 0; a < axes; a++) {
      const s = steps[a]!;
      let mean = history[a]! + k0 * s + k1 * steps[a + 3]! + k2 * steps[a + 6]!;
      if (isFollowing) mean += x0 * first.residual[a]! + x1 * before!.residual[a]!;
      if (mean < 0) mean = 0;
      else if (mean > limit) mean = limit;
      let scale = base + rows[W + OWN_ERROR]! * log16(errors[E + a]!) +
        rows[W + OWN_ERROR_BEFORE]! * log16(errors[E + 3 + a]!) + rows[W + OWN_STEP]! * log16(s);
      if (
        s === 0 && steps[a + 3] === 0 && steps[a + 6] === 0 && steps[a + 9] === 0 &&
        steps[a + 12] === 0
      ) scale -= AT_REST;
      if (a === 0) scale += rows[W + FIRST_LANE]!;
      else scale += rows[W + LANES_BEFORE]! * log16(sum / a);
      let value: number;
      if (isLattice && a > 0) {
        const half = (lanes[at + a]! - odd) / 2;
        value = 2 * coder.lane(half, (mean - odd) / 2, widthIndex(scale - 16)) + odd;
      } else {
        value = coder.lane(lanes[at + a]! >>> 0, mean, widthIndex(scale));
        odd = value & 1;
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
    for (let a = axes; a < 3; a++) residual[a] = 0;
    this.residualLog = log16(sum / axes);
    return isGood;
  }
}
