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
/** Where the errors of the last predictor begin: steps at the baseline. */
const REST_ERRORS = 3 * 6;
const ROW = SCALES + PREDICTORS * WEIGHTS;
/** What is trained to a length of time wins over formulas unless its errors were 2.5 times as large. */
const TRAINED_FACTOR = 0.4;

/** The tables' unit is one over this. */
const WEIGHT_UNIT = 4096;
/** What 16 log2 of the width loses for a lane that did not move in all the history, beside others that did; in the tables' unit. */
const AT_REST = 48 * WEIGHT_UNIT;
/** Half of a width, which is what a lattice's lanes are coded in; in the tables' unit. */
const HALF_WIDTH = 16 * WEIGHT_UNIT;

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

/** 16 log2(x + 1/2), of x (not negative) cut to quarters. */
function log16(x: number): number {
  const quarters = x * 4;
  return quarters < 65_536 ? LOG[quarters | 0]! : farLog16(quarters);
}

function farLog16(quarters: number): number {
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
  /** The same in 1/4096: sums of widths are whole numbers. */
  readonly weights: Int32Array;

  /** From rows of whole numbers in 1/4096. */
  constructor(rows: readonly (readonly number[])[] = MOTION_TABLES) {
    this.weights = Int32Array.from(rows.flat());
    this.rows = Float64Array.from(this.weights, (x) => x / WEIGHT_UNIT);
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
  /** By predictor: three lanes' errors at the baseline, then at the version before. */
  readonly #errors = new Float64Array(PREDICTORS * 6);
  /** By lane, in the tables' unit: what of 16 log2 of the width does not depend on the lanes before. */
  readonly #scales = new Int32Array(3);
  readonly #means = new Float64Array(3);

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
    const row = ((kind + (first === undefined ? 0 : 1)) * LAGS.length + distance.place) * ROW;
    const best = this.#choose(tables.rows, row, kind, distance, known, axes, first, before);
    const weights = tables.weights;
    const W = row + SCALES + best * WEIGHTS;
    this.#widen(weights, W, best, axes, first, before, partner);
    const firstLane = weights[W + FIRST_LANE]!;
    const lanesBefore = weights[W + LANES_BEFORE]!;
    const means = this.#means;
    const scales = this.#scales;
    const residual = this.residual;
    let odd = 0;
    let sum = 0;
    let isGood = true;
    for (let a = 0; a < axes; a++) {
      let mean = means[a]!;
      if (mean > limit) means[a] = mean = limit;
      const scale = scales[a]! + (a === 0 ? firstLane : Math.imul(lanesBefore, log16(sum / a)));
      let value: number;
      if (isLattice && a > 0) {
        means[a] = (mean - odd) / 2;
        const half = (lanes[at + a]! - odd) >> 1;
        value = 2 * coder.lane(half, means, a, widthIndex(scale - HALF_WIDTH)) + odd;
      } else {
        value = coder.lane(lanes[at + a]! >>> 0, means, a, widthIndex(scale));
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

  /** Finds the best predictor, and foretells the means by it. */
  #choose(
    rows: Float64Array,
    row: number,
    kind: MotionClass,
    distance: Distance,
    known: number,
    axes: number,
    first: MotionModel | undefined,
    before: MotionModel | undefined,
  ): number {
    const history = this.history;
    const errors = this.#errors;
    // How well each predictor would have foretold the baseline and the version before it, one unit ahead.
    const unitRow = row - distance.place * ROW;
    const t0 = rows[unitRow]!, t1 = rows[unitRow + 1]!, t2 = rows[unitRow + 2]!;
    let costTrained = 0, costQuadratic = 0, costLinear = 0, costRest = 0;
    for (let i = 0; i < 6; i++) {
      // Axes of the baseline, then those of the version before it.
      const a = i < 3 ? i : i - 3;
      if (a >= axes) continue;
      const from = history[i + 3]!, second = history[i + 6]!, third = history[i + 9]!;
      const s0 = history[i]! - from, s1 = from - second, s2 = second - third;
      let e = Math.abs(s0 - (t0 * s1 + t1 * s2 + t2 * (third - history[i + 12]!)));
      errors[i] = e;
      costTrained += e;
      e = Math.abs(s0 - (2 * s1 - s2));
      errors[6 + i] = e;
      costQuadratic += e;
      e = Math.abs(s0 - s1);
      errors[12 + i] = e;
      costLinear += e;
      e = Math.abs(s0);
      errors[18 + i] = e;
      costRest += e;
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
    // Too short a history says nothing of the version before.
    if (known < 5) {
      const E = best * 6;
      for (let a = 0; a < axes; a++) errors[E + 3 + a] = errors[E + a]!;
    }
    const lag = distance.lag;
    const bend = lag * (lag + 1) / 2;
    let k0 = 0, k1 = 0, k2 = 0;
    if (best === 0) {
      k0 = rows[row]!;
      k1 = rows[row + 1]!;
      k2 = rows[row + 2]!;
    } else if (best === 1) {
      k0 = lag + bend;
      k1 = -bend;
    } else if (best === 2) k0 = lag;
    const means = this.#means;
    const isFollowing = first !== undefined && kind === MotionClass.Position;
    for (let a = 0; a < axes; a++) {
      const newest = history[a]!, from = history[a + 3]!, second = history[a + 6]!;
      let mean = newest + k0 * (newest - from) + k1 * (from - second) +
        k2 * (second - history[a + 9]!);
      if (isFollowing) {
        mean += rows[row + EXTRAS]! * first.residual[a]! +
          rows[row + EXTRAS + 1]! * before!.residual[a]!;
      }
      means[a] = mean < 0 ? 0 : mean;
    }
    return best;
  }

  /** Says how sure the predictor with the weights at `W` is of each lane. */
  #widen(
    weights: Int32Array,
    W: number,
    best: number,
    axes: number,
    first: MotionModel | undefined,
    before: MotionModel | undefined,
    partner: MotionModel | undefined,
  ): void {
    const history = this.history;
    const errors = this.#errors;
    const scales = this.#scales;
    const E = best * 6;
    const ownError = weights[W + OWN_ERROR]!;
    const ownErrorBefore = weights[W + OWN_ERROR_BEFORE]!;
    const ownStep = weights[W + OWN_STEP]!;
    let error = 0, errorBefore = 0, step = 0;
    for (let a = 0; a < axes; a++) {
      const e = errors[E + a]!, f = errors[E + 3 + a]!, s = errors[REST_ERRORS + a]!;
      error += e;
      errorBefore += f;
      step += s;
      let scale = Math.imul(ownError, log16(e)) + Math.imul(ownErrorBefore, log16(f)) +
        Math.imul(ownStep, log16(s));
      if (s === 0 && isStill(history, a)) scale -= AT_REST;
      scales[a] = scale;
    }
    let base = weights[W + BIAS]! + Math.imul(weights[W + MEAN_ERROR]!, log16(error / axes)) +
      Math.imul(weights[W + MEAN_ERROR_BEFORE]!, log16(errorBefore / axes)) +
      Math.imul(weights[W + MEAN_STEP]!, log16(step / axes));
    if (first !== undefined) {
      base += Math.imul(weights[W + FIRST_FIELD]!, first.residualLog) +
        Math.imul(weights[W + FIELD_BEFORE]!, before!.residualLog);
    }
    if (partner !== undefined) base += Math.imul(weights[W + PARTNER]!, partner.residualLog);
    for (let a = 0; a < axes; a++) scales[a] = scales[a]! + base;
  }
}

/** Whether an axis was at one place in all the history. */
function isStill(history: Float64Array, axis: number): boolean {
  const at = history[axis]!;
  for (let i = axis + 3; i < HISTORY; i += 3) if (history[i] !== at) return false;
  return true;
}
