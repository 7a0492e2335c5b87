// The distribution that lanes are coded by, logistic, of one of 168 widths, as tables on the coder's scale. They are computed by additions,
// multiplications and divisions alone, so that every machine has the same. What is coded with them is not known here.

import { CODER_SCALE } from "./arithmetic_writer.ts";
import { portableExp } from "./portable_math.ts";

const { SCALE } = CODER_SCALE;

/** Widths in an octave, and the range of widths: 2^-4 to 2^17 steps of a lane. */
const WIDTHS_PER_OCTAVE = 8;
const FIRST_OCTAVE = -4;
const LAST_OCTAVE = 17;
const WIDTHS = (LAST_OCTAVE - FIRST_OCTAVE) * WIDTHS_PER_OCTAVE;

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
const WEIGHT_UNIT = 4096;
const HALF_WIDTH = 16 * WEIGHT_UNIT;

/** Interval's beginning of symbol `k` (-REACH..REACH + 1), of a distribution around `centre` (-1..1). */
export function boundary(k: number, centre: number, perSymbol: number): number {
  if (k <= -REACH) return ESCAPE;
  if (k > REACH) return SCALE;
  // Rounded down: the same on both ends, and never back for a larger k.
  let at = ((k - 0.5 - centre) * perSymbol + TABLE_SIZE / 2) | 0;
  if (at < 0) at = 0;
  else if (at > TABLE_SIZE) at = TABLE_SIZE;
  return CUMULATIVE[at]! + k + (REACH + ESCAPE);
}

/** About which symbol a target (`ESCAPE` and above) belongs to; which one it is, boundaries tell. */
export function guessedSymbol(target: number, width: number, centre: number): number {
  const guess = INVERSE[target >>> INVERSE_BITS]! * PER_PLACE[width]! + centre;
  const symbol = ((guess + (REACH + 0.5)) | 0) - REACH;
  return symbol < -REACH ? -REACH : symbol > REACH ? REACH : symbol;
}

/** The symbol that a target belongs to, searched from `symbol` on. */
export function foundSymbol(
  target: number,
  symbol: number,
  centre: number,
  perSymbol: number,
): number {
  while (target >= boundary(symbol + 1, centre, perSymbol)) symbol += 1;
  while (target < boundary(symbol, centre, perSymbol)) symbol -= 1;
  return symbol;
}

/** The whole number nearest to x (|x| < 2^52), of two the larger: `Math.round` without a branch that goes either way. */
export function nearest(x: number): number {
  const whole = Math.floor(x + 0.5);
  // What is added to the number just below a half rounds up to one.
  return whole - x > 0.5 ? whole - 1 : whole;
}

/** Index of a width from 16 times its binary logarithm, which is given in 1/4096. */
export function widthIndex(weighed: number): number {
  const index = ((weighed + WEIGHT_UNIT) >> 13) - FIRST_OCTAVE * WIDTHS_PER_OCTAVE;
  return index < 0 ? 0 : index >= WIDTHS ? WIDTHS - 1 : index;
}

/** Constants and tables (by width). Whoever uses them often keeps them as constants of its own: an import is looked up at every use. */
export const LANE_TABLES = {
  REACH,
  ESCAPE,
  LOW_BITS,
  UNIT,
  PER_UNIT,
  OFFSET,
  PER_SYMBOL,
  POWER,
  WEIGHT_UNIT,
  HALF_WIDTH,
} as const;
