// Predicts the lanes of a position or a rotation from earlier versions of it, and says how sure it is. It knows vectors of up to three
// lanes and the tables it was trained to; which versions there are, and what lanes mean, is the business of `motion_codec.ts`.

import { MOTION_TABLES } from "./motion_tables.ts";
import { log16 } from "./log_scale.ts";
import { LANE_TABLES } from "./lane_tables.ts";
import type { Foretold, LaneCoder } from "./lane_coder.ts";

const { WEIGHT_UNIT } = LANE_TABLES;

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

/** What 16 log2 of the width loses for a lane that did not move in all the history, beside others that did; in the tables' unit. */
const AT_REST = 48 * WEIGHT_UNIT;
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
export class MotionModel implements Foretold {
  /** Earlier versions, `HISTORY` numbers. */
  readonly history = new Float64Array(HISTORY);
  readonly means = new Float64Array(3);
  readonly scales = new Int32Array(3);
  firstLane = 0;
  lanesBefore = 0;
  readonly residual = new Float64Array(3);
  residualSum = 0;
  /** 16 log2 of the residuals' mean magnitude. */
  residualLog = 0;
  /** By predictor: three lanes' errors at the baseline, then at the version before. */
  readonly #errors = new Float64Array(PREDICTORS * 6);

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
    const best = this.#choose(tables.rows, row, distance, axes);
    // Too short a history says nothing of the version before.
    if (known < 5) {
      const errors = this.#errors;
      const E = best * 6;
      for (let a = 0; a < axes; a++) errors[E + 3 + a] = errors[E + a]!;
    }
    this.#foretell(tables.rows, row, best, kind, distance.lag, axes, first, before);
    const W = row + SCALES + best * WEIGHTS;
    this.#widen(tables.weights, W, best, axes, first, before, partner);
    const isGood = coder.vector(this, lanes, at, axes, limit, isLattice);
    this.residualLog = log16(this.residualSum / axes);
    return isGood;
  }

  /** Finds the best predictor: how well would each have foretold the baseline and the version before it, one unit ahead? */
  #choose(rows: Float64Array, row: number, distance: Distance, axes: number): number {
    const history = this.history;
    const errors = this.#errors;
    const unitRow = row - distance.place * ROW;
    const t0 = rows[unitRow]!, t1 = rows[unitRow + 1]!, t2 = rows[unitRow + 2]!;
    for (let a = 0; a < axes; a++) {
      const h1 = history[a + 3]!, h2 = history[a + 6]!, h3 = history[a + 9]!, h4 = history[a + 12]!;
      const s0 = history[a]! - h1, s1 = h1 - h2, s2 = h2 - h3, s3 = h3 - h4;
      const s4 = h4 - history[a + 15]!;
      errors[a] = Math.abs(s0 - (t0 * s1 + t1 * s2 + t2 * s3));
      errors[a + 3] = Math.abs(s1 - (t0 * s2 + t1 * s3 + t2 * s4));
      errors[a + 6] = Math.abs(s0 - (2 * s1 - s2));
      errors[a + 9] = Math.abs(s1 - (2 * s2 - s3));
      errors[a + 12] = Math.abs(s0 - s1);
      errors[a + 15] = Math.abs(s1 - s2);
      errors[a + 18] = Math.abs(s0);
      errors[a + 21] = Math.abs(s1);
    }
    let costTrained = 0, costQuadratic = 0, costLinear = 0, costRest = 0;
    // Axes of the baseline, then those of the version before it: the order tells what is lost in rounding.
    for (let from = 0; from < 6; from += 3) {
      for (let i = from; i < from + axes; i++) {
        costTrained += errors[i]!;
        costQuadratic += errors[i + 6]!;
        costLinear += errors[i + 12]!;
        costRest += errors[i + 18]!;
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
    return distance.isTrained && costTrained * TRAINED_FACTOR <= cost ? 0 : best;
  }

  /** Foretells the means by the best predictor. */
  #foretell(
    rows: Float64Array,
    row: number,
    best: number,
    kind: MotionClass,
    lag: number,
    axes: number,
    first: MotionModel | undefined,
    before: MotionModel | undefined,
  ): void {
    let k0 = 0, k1 = 0, k2 = 0;
    if (best === 0) {
      k0 = rows[row]!;
      k1 = rows[row + 1]!;
      k2 = rows[row + 2]!;
    } else if (best === 1) {
      const bend = lag * (lag + 1) / 2;
      k0 = lag + bend;
      k1 = -bend;
    } else if (best === 2) k0 = lag;
    const history = this.history;
    const means = this.means;
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
    const errors = this.#errors;
    const scales = this.scales;
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
      if (s === 0 && isStill(this.history, a)) scale -= AT_REST;
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
    this.firstLane = weights[W + FIRST_LANE]!;
    this.lanesBefore = weights[W + LANES_BEFORE]!;
  }
}

/** Whether an axis was at one place in all the history. */
function isStill(history: Float64Array, axis: number): boolean {
  const at = history[axis]!;
  for (let i = axis + 3; i < HISTORY; i += 3) if (history[i] !== at) return false;
  return true;
}
