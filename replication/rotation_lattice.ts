// Unit quaternions on a lattice of equal angles: which of the four is largest, and of the others the angle atan(q / largest) in equal steps.
// A body-centred cubic lattice (all three numbers even or all odd) needs the fewest points for a largest error. Charts for prediction, too.

import { latticeCentre, latticeStep } from "../permissions/layout.ts";
import { portableAtan, portableTan } from "./coding/portable_math.ts";

/** Errors closer than this, squared steps, are equal: what float32 leaves of a point of the lattice is less. */
const SAME_ERROR = 1e-6;

/**
 * Quantises x, y, z, w in `q` (any positive length) into four lanes: the nearest point of the lattice. Where components are nearly equal,
 * each of them may serve as the largest, and the one with the nearest point does: so a point of the lattice is its own nearest.
 */
export function packLattice(
  degrees: number,
  q: ArrayLike<number>,
  out: Int32Array,
  at: number,
): void {
  let most = 0;
  for (let i = 0; i < 4; i++) most = Math.max(most, Math.abs(q[i]!));
  const step = latticeStep(degrees);
  const centre = latticeCentre(degrees);
  let least = Infinity;
  for (let largest = 0; largest < 4; largest++) {
    const lead = q[largest]!;
    if (Math.abs(lead) < most * (1 - 8 * step)) continue;
    const a = portableAtan(q[largest === 0 ? 1 : 0]! / lead) / step;
    const b = portableAtan(q[largest <= 1 ? 2 : 1]! / lead) / step;
    const c = portableAtan(q[largest <= 2 ? 3 : 2]! / lead) / step;
    for (let parity = 0; parity < 2; parity++) {
      const x = 2 * Math.round((a - parity) / 2) + parity;
      const y = 2 * Math.round((b - parity) / 2) + parity;
      const z = 2 * Math.round((c - parity) / 2) + parity;
      // Points beyond are left to the chart of another largest component.
      if (Math.max(Math.abs(x), Math.abs(y), Math.abs(z)) > centre) continue;
      const error = turn(a * step, b * step, c * step, x * step, y * step, z * step) /
        (step * step);
      if (error >= least - SAME_ERROR) continue;
      least = error;
      out[at] = largest;
      out[at + 1] = centre + x;
      out[at + 2] = centre + y;
      out[at + 3] = centre + z;
    }
  }
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
  return Math.max(Math.abs(a), Math.abs(b), Math.abs(c)) < 1 - 8 * step;
}

/** Whether four lanes in range are a point of the lattice. */
export function isOnLattice(lanes: ArrayLike<number>, at: number): boolean {
  return (((lanes[at + 1]! ^ lanes[at + 2]!) | (lanes[at + 2]! ^ lanes[at + 3]!)) & 1) === 0;
}

/** Square of the angle between two rotations' quaternions, for small ones, from their lanes in radians in one chart. */
function turn(a: number, b: number, c: number, x: number, y: number, z: number): number {
  a = portableTan(a);
  b = portableTan(b);
  c = portableTan(c);
  x = portableTan(x);
  y = portableTan(y);
  z = portableTan(z);
  const p = 1 / Math.sqrt(1 + a * a + b * b + c * c);
  const q = 1 / Math.sqrt(1 + x * x + y * y + z * z);
  const i = a * p - x * q;
  const j = b * p - y * q;
  const k = c * p - z * q;
  return (p - q) * (p - q) + i * i + j * j + k * k;
}
