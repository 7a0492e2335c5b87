// How far the values of a field can differ, what rounding makes of a difference, and what a speed check lets pass at once. Arithmetic that the
// manifest's rules and the driver's checks share, so that neither promises what the other does not keep.

import { CHECK_BURST_S, CHECK_SILENCE_S } from "../protocol/limits.ts";
import type { FieldKind } from "./grants.ts";

/** What of a field its checks depend on. */
export interface CheckedRange {
  readonly kind: FieldKind;
  readonly min: number;
  readonly max: number;
  /** Step of f32 and vec3, world units. */
  readonly precision: number;
  /** Bits of a quat's components. */
  readonly bits: number;
}

/** The kinds that hold one whole number. */
export const WHOLE_KINDS: readonly FieldKind[] = ["u8", "u16", "u32", "i32"];

/** The largest difference between two values: world units, of a quat radians; 0 for kinds without a distance. */
export function largestChange({ kind, min, max }: CheckedRange): number {
  if (kind === "quat") return Math.PI;
  if (kind === "vec3") return Math.sqrt(3) * (max - min);
  return kind === "f32" || WHOLE_KINDS.includes(kind) ? max - min : 0;
}

/**
 * The most by which rounding both ends changes the distance of two values, same units.
 *
 * Of a quat: each of the three small numbers is off by half a step h = 1/(sqrt(2) (2^(bits-1) - 1)), together by sqrt(3) h / 2; the fourth, at
 * least 1/2, by sqrt(3) times that; so the four-vector by sqrt(3) h, the rotation by twice the angle between four-vectors, at both ends.
 */
export function roundingOf({ kind, precision, bits }: CheckedRange): number {
  if (kind === "vec3") return Math.sqrt(3) * precision;
  if (kind === "f32") return precision;
  // A lattice's largest error is declared, in degrees.
  if (kind === "quat" && precision > 0) return 2 * precision * Math.PI / 180;
  return kind === "quat" ? 4 * Math.sqrt(3) * Math.SQRT1_2 / (2 ** (bits - 1) - 1) : 0;
}

/**
 * The most by which a quat's rotation is off after rounding, in degrees: as declared of a lattice, else what its bits leave. One measure for
 * both ways to declare it, so that either can be compared with the other.
 */
export function largestErrorDegrees(
  { precision, bits }: Pick<CheckedRange, "precision" | "bits">,
): number {
  if (precision > 0) return precision;
  // Both ends of a distance are rounded; this is one of them.
  return roundingOf({ kind: "quat", min: 0, max: 0, precision, bits }) / 2 * 180 / Math.PI;
}

/** How a quat is declared, and the largest error of its rotation, for people. */
export function quatText(field: Pick<CheckedRange, "precision" | "bits">): string {
  const degrees = Number(largestErrorDegrees(field).toPrecision(3));
  return field.precision > 0
    ? `${field.precision} degrees (precision)`
    : `${degrees} degrees (bits ${field.bits})`;
}

/** The smallest difference that two values can have: what a check must let pass from time to time. */
export function smallestChange(range: CheckedRange): number {
  return WHOLE_KINDS.includes(range.kind) ? 1 : roundingOf(range);
}

/** Distance that a speed check holds ready at most while writes come steadily. */
export function reserveOf(range: CheckedRange, maxSpeed: number): number {
  return Math.max(CHECK_BURST_S * maxSpeed, smallestChange(range));
}

/** Distance that a speed check lets pass at once at most: after a silence. */
export function mostAtOnce(range: CheckedRange, maxSpeed: number): number {
  return reserveOf(range, maxSpeed) + CHECK_SILENCE_S * maxSpeed;
}
