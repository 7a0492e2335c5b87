// The two fits behind the motion tables: taps by least squares that forgive outliers, and weights of widths by Newton steps on a logistic
// likelihood. They know columns of numbers; what the columns are is the business of `train_motion.ts`.

/** Rounds of reweighting, and of Newton steps: both have settled well before. */
const TAP_ROUNDS = 8;
const WIDTH_ROUNDS = 15;
/** Share of a residual's expected size below which it weighs no more. */
const LEAST_RESIDUAL = 0.3;
/** Curvature of a logistic's log-likelihood in its log-width. */
const CURVATURE = 1.43;
/** Widths are kept within these powers of two while they are fitted. */
const LEAST_WIDTH = -3;
const LARGEST_WIDTH = 13;
/** What rounding to whole lanes adds to a squared residual. */
const ROUNDING = 0.06;

/** Rows of equally many numbers, one after the other. */
export class Columns {
  readonly width: number;
  readonly #numbers: number[] = [];

  /** No rows yet. */
  constructor(width: number) {
    this.width = width;
  }

  /** Rows added. */
  get count(): number {
    return this.#numbers.length / this.width;
  }

  /** Adds a row. */
  add(row: readonly number[]): void {
    for (let i = 0; i < this.width; i++) this.#numbers.push(row[i]!);
  }

  /** All rows. */
  flat(): Float64Array {
    return Float64Array.from(this.#numbers);
  }
}

/**
 * Coefficients c that make x c come near y: a residual counts by its size rather than its square, and in proportion to what is usual.
 *
 * @param usual By row, how much the numbers behind it moved about.
 */
export function fitTaps(
  x: Float64Array,
  y: Float64Array,
  usual: Float64Array,
  width: number,
): number[] {
  const weights = usual.map((u) => 1 / (1 + u));
  let fit: number[] = [];
  for (let round = 0; round < TAP_ROUNDS; round++) {
    fit = leastSquares(x, y, weights, width);
    for (let n = 0; n < y.length; n++) {
      const size = Math.abs(y[n]! - dot(x, n * width, fit)) / (1 + usual[n]!);
      weights[n] = 1 / (1 + usual[n]!) / Math.max(size, LEAST_RESIDUAL);
    }
  }
  return fit;
}

/** Coefficients b that make 2^(x b) the width of the logistic distribution under which `residuals` are the likeliest. */
export function fitWidths(x: Float64Array, residuals: Float64Array, width: number): number[] {
  const sizes = residuals.map((r) => Math.log2(0.3 + Math.abs(r)));
  const fit = leastSquares(x, sizes, undefined, width);
  const square = gram(x, undefined, width);
  for (let i = 0; i < square.length; i++) square[i] = square[i]! * CURVATURE * Math.LN2;
  for (let i = 0; i < width; i++) square[i * width + i] = square[i * width + i]! + 1e-6;
  for (let round = 0; round < WIDTH_ROUNDS; round++) {
    const slope = new Array<number>(width).fill(0);
    for (let n = 0; n < residuals.length; n++) {
      const log = Math.min(LARGEST_WIDTH, Math.max(LEAST_WIDTH, dot(x, n * width, fit)));
      const z = Math.sqrt(residuals[n]! ** 2 + ROUNDING) / 2 ** log;
      const pull = z * Math.tanh(z / 2) - 1;
      for (let i = 0; i < width; i++) slope[i] = slope[i]! + pull * x[n * width + i]!;
    }
    solve(square.slice(), slope, width).forEach((step, i) => fit[i] = fit[i]! + step);
  }
  return fit;
}

function leastSquares(
  x: Float64Array,
  y: Float64Array,
  weights: Float64Array | undefined,
  width: number,
): number[] {
  const right = new Array<number>(width).fill(0);
  for (let n = 0; n < y.length; n++) {
    const wy = (weights?.[n] ?? 1) * y[n]!;
    for (let i = 0; i < width; i++) right[i] = right[i]! + wy * x[n * width + i]!;
  }
  return solve(gram(x, weights, width), right, width);
}

/** The product of x, weighted, with itself. */
function gram(x: Float64Array, weights: Float64Array | undefined, width: number): Float64Array {
  const square = new Float64Array(width * width);
  for (let n = 0, at = 0; at < x.length; n++, at += width) {
    for (let i = 0; i < width; i++) {
      const w = (weights?.[n] ?? 1) * x[at + i]!;
      for (let k = i; k < width; k++) {
        square[i * width + k] = square[i * width + k]! + w * x[at + k]!;
      }
    }
  }
  for (let i = 0; i < width; i++) {
    for (let k = 0; k < i; k++) square[i * width + k] = square[k * width + i]!;
  }
  return square;
}

/** Solves a positive system by elimination; a column that says nothing the others do not gets 0. */
function solve(square: Float64Array, right: readonly number[], width: number): number[] {
  const b = [...right];
  const largest = Math.max(...square.map(Math.abs), Number.MIN_VALUE);
  const isIdle = new Array<boolean>(width).fill(false);
  for (let i = 0; i < width; i++) {
    const pivot = square[i * width + i]!;
    if (Math.abs(pivot) <= largest * 1e-13) {
      isIdle[i] = true;
      continue;
    }
    for (let k = i + 1; k < width; k++) {
      const share = square[k * width + i]! / pivot;
      for (let j = i; j < width; j++) {
        square[k * width + j] = square[k * width + j]! - share * square[i * width + j]!;
      }
      b[k] = b[k]! - share * b[i]!;
    }
  }
  for (let i = width - 1; i >= 0; i--) {
    let sum = b[i]!;
    for (let k = i + 1; k < width; k++) sum -= square[i * width + k]! * b[k]!;
    b[i] = isIdle[i] ? 0 : sum / square[i * width + i]!;
  }
  return b;
}

function dot(x: Float64Array, at: number, fit: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < fit.length; i++) sum += x[at + i]! * fit[i]!;
  return sum;
}
