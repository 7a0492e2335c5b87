// Unit quaternions on a lattice of equal angles: which of the four is largest, and of the others the angle atan(q / largest) in equal steps.
// A body-centred cubic lattice (all three numbers even or all odd) needs the fewest points for a largest error. Charts for prediction, too.

import { latticeCentre, latticeStep } from "../permissions/layout.ts";
import { portableAtan, portableTan } from "./coding/portable_math.ts";

/** Quantises x, y, z, w in `q` (any positive length) into four lanes. */
export function packLattice(
  degrees: number,
  q: ArrayLike<number>,
  out: Int32Array,
  at: number,
): void {
  let largest = 0;
  for (let i = 1; i < 4; i++) if (Math.abs(q[i]!) > Math.abs(q[largest]!)) largest = i;
  const step = latticeStep(degrees);
  const centre = latticeCentre(degrees);
  const lead = q[largest]!;
  const a = portableAtan(q[largest === 0 ? 1 : 0]! / lead) / step;
  const b = portableAtan(q[largest <= 1 ? 2 : 1]! / lead) / step;
  const c = portableAtan(q[largest <= 2 ? 3 : 2]! / lead) / step;
  const evenA = 2 * Math.round(a / 2), oddA = 2 * Math.round((a - 1) / 2) + 1;
  const evenB = 2 * Math.round(b / 2), oddB = 2 * Math.round((b - 1) / 2) + 1;
  const evenC = 2 * Math.round(c / 2), oddC = 2 * Math.round((c - 1) / 2) + 1;
  const even = (a - evenA) * (a - evenA) + (b - evenB) * (b - evenB) + (c - evenC) * (c - evenC);
  const odd = (a - oddA) * (a - oddA) + (b - oddB) * (b - oddB) + (c - oddC) * (c - oddC);
  const isEven = even <= odd;
  out[at] = largest;
  out[at + 1] = centre + (isEven ? evenA : oddA);
  out[at + 2] = centre + (isEven ? evenB : oddB);
  out[at + 3] = centre + (isEven ? evenC : oddC);
}

/** Writes the quaternion of four lanes, rounded to float32. Returns whether packing it again surely gives the same lanes. */
export function unpackLattice(
  degrees: number,
  lanes: ArrayLike<number>,
  at: number,
  out: number[] | Float64Array,
  outAt: number,
): boolean {
  const step = latticeStep(degrees);
  const centre = latticeCentre(degrees);
  const a = portableTan((lanes[at + 1]! - centre) * step);
  const b = portableTan((lanes[at + 2]! - centre) * step);
  const c = portableTan((lanes[at + 3]! - centre) * step);
  const lead = 1 / Math.sqrt(1 + a * a + b * b + c * c);
  const largest = lanes[at]!;
  let place = outAt;
  out[outAt + largest] = Math.fround(lead);
  if (largest === 0) place += 1;
  out[place++] = Math.fround(a * lead);
  if (largest === 1) place += 1;
  out[place++] = Math.fround(b * lead);
  if (largest === 2) place += 1;
  out[place] = Math.fround(c * lead);
  return Math.max(Math.abs(a), Math.abs(b), Math.abs(c)) < 1 - 1e-6;
}

/** Whether four lanes in range are a point of the lattice. */
export function isOnLattice(lanes: ArrayLike<number>, at: number): boolean {
  return (((lanes[at + 1]! ^ lanes[at + 2]!) | (lanes[at + 2]! ^ lanes[at + 3]!)) & 1) === 0;
}
