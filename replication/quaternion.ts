// Unit quaternions as lanes: on a lattice of equal angles (`rotation_lattice.ts`) where a precision is declared, else as "smallest three": which of the four is largest, and the other three as integers. Canonical and idempotent: a
// quaternion and its negative give the same lanes, and lanes taken out (as float32) and in again stay what they are.

import { latticeCentre } from "../permissions/layout.ts";
import { isOnLattice, packLattice, unpackLattice } from "./rotation_lattice.ts";

/** How a quaternion is quantised: a field's declaration. */
export interface RotationGrid {
  /** Bits of each of the three lanes. */
  readonly bits: number;
  /** Largest error in degrees for a lattice of equal angles; 0 for "smallest three". */
  readonly precision: number;
}

/** The three smaller numbers of a unit quaternion lie within +-1/sqrt(2). */
const LIMIT = Math.SQRT1_2;
/** How far from 1 the length of an engine's quaternion may be before it is refused: what float32 arithmetic leaves in a few frames. */
const MIN_LENGTH_SQUARED = 0.99 * 0.99;
const MAX_LENGTH_SQUARED = 1.01 * 1.01;
/** A largest number that leads by less could change places with the next one on the way through float32. */
const CLEAR_LEAD = 1e-6;
/** Steps followed when re-quantising does not keep the lanes; tests find the end of every chain well before. */
const MAX_STEPS = 8;

// Scratch space, used within one call only.
const numbers = new Float64Array(4);
const chain = new Int32Array((MAX_STEPS + 1) * 4);

/**
 * Quantises x, y, z, w at `source[at..]` into four lanes: the index of the largest (0..3), then the other three in order, each an
 * unsigned integer `centre + round(v * sqrt(2) * centre)` with `centre = 2^(bits - 1) - 1`, so that 0 is exact. The sign is chosen so
 * that the largest is positive.
 *
 * Where the two largest are nearly equal, quantising can make the other one the largest, and so on in a circle of a few sets of
 * lanes for one rotation. The member with the lowest index of the largest stands for all of the circle, so that the result is a fixed
 * point.
 *
 * @returns False, and nothing is written, unless all four are finite and the length is within 0.99..1.01.
 */
export function quantiseQuaternion(
  grid: RotationGrid,
  source: ArrayLike<number>,
  at: number,
  out: Int32Array,
  laneStart: number,
): boolean {
  const x = source[at]!, y = source[at + 1]!, z = source[at + 2]!, w = source[at + 3]!;
  const lengthSquared = x * x + y * y + z * z + w * w;
  // Written so that NaN fails.
  if (!(lengthSquared >= MIN_LENGTH_SQUARED && lengthSquared <= MAX_LENGTH_SQUARED)) return false;
  numbers[0] = x;
  numbers[1] = y;
  numbers[2] = z;
  numbers[3] = w;
  pack(grid, lengthSquared, chain, 0);
  let chosen = 0;
  if (!unpack(grid, chain, 0, numbers, 0)) chosen = settle(grid);
  for (let i = 0; i < 4; i++) out[laneStart + i] = chain[chosen + i]!;
  return true;
}

/** Quantises `numbers` as they are into four lanes of `out`. */
function pack(grid: RotationGrid, lengthSquared: number, out: Int32Array, at: number): void {
  if (grid.precision > 0) return packLattice(grid.precision, numbers, out, at);
  let largest = 0;
  for (let i = 1; i < 4; i++) {
    if (Math.abs(numbers[i]!) > Math.abs(numbers[largest]!)) largest = i;
  }
  const centre = 2 ** (grid.bits - 1) - 1;
  const scale = (numbers[largest]! < 0 ? -centre : centre) / (LIMIT * Math.sqrt(lengthSquared));
  out[at] = largest;
  let lane = at + 1;
  for (let i = 0; i < 4; i++) {
    if (i === largest) continue;
    const value = Math.round(numbers[i]! * scale);
    out[lane++] = centre + Math.max(-centre, Math.min(centre, value));
  }
}

/** Writes the quaternion of four lanes. Returns whether packing it again surely gives the same lanes. */
function unpack(
  grid: RotationGrid,
  lanes: ArrayLike<number>,
  laneStart: number,
  out: number[] | Float64Array,
  at: number,
): boolean {
  if (grid.precision > 0) return unpackLattice(grid.precision, lanes, laneStart, out, at);
  const centre = 2 ** (grid.bits - 1) - 1;
  const scale = LIMIT / centre;
  const a = (lanes[laneStart + 1]! - centre) * scale;
  const b = (lanes[laneStart + 2]! - centre) * scale;
  const c = (lanes[laneStart + 3]! - centre) * scale;
  const sum = a * a + b * b + c * c;
  const rest = Math.sqrt(Math.max(0, 1 - sum));
  // Coarse or hostile lanes can be longer than 1 by themselves.
  const shrink = sum > 1 ? 1 / Math.sqrt(sum) : 1;
  const largest = lanes[laneStart]!;
  let place = at;
  out[at + largest] = Math.fround(rest);
  if (largest === 0) place += 1;
  out[place++] = Math.fround(a * shrink);
  if (largest === 1) place += 1;
  out[place++] = Math.fround(b * shrink);
  if (largest === 2) place += 1;
  out[place] = Math.fround(c * shrink);
  const next = Math.max(Math.abs(a), Math.abs(b), Math.abs(c));
  return rest > next + CLEAR_LEAD;
}

/** Follows the lanes at `chain[0]` to the circle they end in; returns where in `chain` that circle's representative is. */
function settle(grid: RotationGrid): number {
  let length = 4;
  for (let step = 0; step < MAX_STEPS; step++) {
    unpack(grid, chain, length - 4, numbers, 0);
    let lengthSquared = 0;
    for (let i = 0; i < 4; i++) lengthSquared += numbers[i]! * numbers[i]!;
    pack(grid, lengthSquared, chain, length);
    for (let seen = 0; seen < length; seen += 4) {
      if (compareLanes(seen, length) === 0) return lowest(seen, length);
    }
    length += 4;
  }
  return lowest(0, length);
}

function lowest(from: number, to: number): number {
  let best = from;
  for (let at = from + 4; at < to; at += 4) {
    if (compareLanes(at, best) < 0) best = at;
  }
  return best;
}

function compareLanes(a: number, b: number): number {
  for (let i = 0; i < 4; i++) {
    const difference = chain[a + i]! - chain[b + i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Writes the quaternion of four lanes as x, y, z, w, of length 1, rounded to float32. The lanes must be in range. */
export function loadQuaternion(
  grid: RotationGrid,
  lanes: ArrayLike<number>,
  laneStart: number,
  out: number[] | Float64Array,
  at: number,
): void {
  unpack(grid, lanes, laneStart, out, at);
}

/** Largest of the three lanes behind the index. */
export function quaternionLimit({ bits, precision }: RotationGrid): number {
  // Smallest three lie evenly around 2^(bits - 1) - 1, so that the last value of the bits stands for nothing.
  return precision > 0 ? 2 * latticeCentre(precision) : 2 ** bits - 2;
}

/** Whether `value` may stand in lane `lane` (0..3) of a quaternion. */
export function isQuaternionLane(grid: RotationGrid, lane: number, value: number): boolean {
  if (lane === 0) return value >= 0 && value <= 3;
  return lane <= 3 && value >= 0 && value <= quaternionLimit(grid);
}

/**
 * Whether some rotation is quantised to these lanes, each of which is in range: the fourth component, which is not sent, must be able to be
 * the largest.
 *
 * With h = 2^(bits - 1) - 1 and lengths in units of 1/(sqrt(2) h), a unit quaternion has v1^2 + v2^2 + v3^2 + L^2 = 2h^2 and every |v| <= L.
 * Rounding moves each v by at most a half, so that its lanes d (less h) hold
 * d1^2 + d2^2 + d3^2 + max(d)^2 <= 2h^2 + |v1| + |v2| + |v3| + max|v| + 1 <= 2h^2 + 2 sqrt(2) h + 1: whole numbers, and true of any rounding.
 */
export function isRotation(
  { bits, precision }: RotationGrid,
  lanes: ArrayLike<number>,
  laneStart: number,
): boolean {
  if (precision > 0) return isOnLattice(lanes, laneStart);
  const centre = 2 ** (bits - 1) - 1;
  const a = Math.abs(lanes[laneStart + 1]! - centre);
  const b = Math.abs(lanes[laneStart + 2]! - centre);
  const c = Math.abs(lanes[laneStart + 3]! - centre);
  const most = a > b ? (a > c ? a : c) : (b > c ? b : c);
  return a * a + b * b + c * c + most * most <= (2 * centre + 3) * centre + 1;
}
