// Distances between two values of a field, and the way from one to the other, on quantised lanes. Arithmetic only: what is too far is decided
// by the checks.

import type { FieldGrant } from "../permissions/grants.ts";
import {
  loadQuaternion,
  quantiseQuaternion,
  type RotationGrid,
} from "../replication/quaternion.ts";

// Scratch space, used within one call only.
const a = new Float64Array(4);
const b = new Float64Array(4);

/** The distance of two values, world units or radians: 0 for kinds without a distance. */
export function changeOf(
  field: FieldGrant,
  from: Int32Array,
  fromAt: number,
  to: Int32Array,
  toAt: number,
): number {
  switch (field.kind) {
    case "vec3":
      return field.precision * Math.hypot(
        to[toAt]! - from[fromAt]!,
        to[toAt + 1]! - from[fromAt + 1]!,
        to[toAt + 2]! - from[fromAt + 2]!,
      );
    case "quat":
      loadQuaternion(field, from, fromAt, a, 0);
      loadQuaternion(field, to, toAt, b, 0);
      return 4 * halfAngle();
    case "f32":
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return field.precision * Math.abs((to[toAt]! >>> 0) - (from[fromAt]! >>> 0));
    default:
      return 0;
  }
}

/** Moves `to` back to the point at `fraction` (0..1) of the way from `from`, rounded towards `from`; a quat to the nearest. */
export function shorten(
  field: FieldGrant,
  from: Int32Array,
  fromAt: number,
  to: Int32Array,
  toAt: number,
  fraction: number,
): void {
  if (field.kind === "quat") {
    turn(field, from, fromAt, to, toAt, fraction);
    return;
  }
  for (let lane = 0; lane < field.lanes; lane++) {
    const start = from[fromAt + lane]! >>> 0;
    const way = (to[toAt + lane]! >>> 0) - start;
    // A trillionth more: a product that should be whole is not to lose a step by its rounding.
    to[toAt + lane] = start + Math.trunc(way * fraction * (1 + 1e-12));
  }
}

/** A quarter of the angle between the rotations `a` and `b`: half that of the four-vectors, by a form that is exact for small ones. */
function halfAngle(): number {
  let dot = 0;
  for (let i = 0; i < 4; i++) dot += a[i]! * b[i]!;
  const sign = dot < 0 ? -1 : 1;
  let apart = 0;
  let along = 0;
  for (let i = 0; i < 4; i++) {
    apart += (a[i]! - sign * b[i]!) ** 2;
    along += (a[i]! + sign * b[i]!) ** 2;
  }
  return Math.atan2(Math.sqrt(apart), Math.sqrt(along));
}

/** Spherical interpolation (Shoemake, "Animating rotation with quaternion curves", 1985). */
function turn(
  grid: RotationGrid,
  from: Int32Array,
  fromAt: number,
  to: Int32Array,
  toAt: number,
  fraction: number,
): void {
  loadQuaternion(grid, from, fromAt, a, 0);
  loadQuaternion(grid, to, toAt, b, 0);
  const angle = 2 * halfAngle();
  if (angle < 1e-9 || fraction <= 0) {
    for (let i = 0; i < 4; i++) to[toAt + i] = from[fromAt + i]!;
    return;
  }
  let dot = 0;
  for (let i = 0; i < 4; i++) dot += a[i]! * b[i]!;
  const sine = Math.sin(angle);
  const first = Math.sin((1 - fraction) * angle) / sine;
  const second = Math.sin(fraction * angle) / sine * (dot < 0 ? -1 : 1);
  for (let i = 0; i < 4; i++) b[i] = first * a[i]! + second * b[i]!;
  quantiseQuaternion(grid, b, 0, to, toAt);
}
