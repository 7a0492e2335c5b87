// Numbers of the engine to quantised lanes and back. Quantising happens once, where a value enters; everything behind works on lanes.
// Taking a value out and in again gives the same lanes, also through float32, so that a copy of a copy stays equal. No bytes here.

import type { FieldGrant } from "../permissions/grants.ts";
import { stepsOf } from "../permissions/layout.ts";
import {
  isQuaternionLane,
  loadQuaternion,
  quantiseQuaternion,
  quaternionLimit,
} from "./quaternion.ts";
import { type ComponentValue, NO_BYTES } from "./value.ts";

/** Largest lane of a number field, as an unsigned integer: the lanes of such a field are 0..`laneMax(field)`. */
export function laneMax(field: FieldGrant): number {
  switch (field.kind) {
    case "bool":
      return 1;
    case "f32":
    case "vec3":
      return stepsOf(field);
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return field.max - field.min;
    case "enum":
      return field.max;
    case "entity":
      return 0xffff_ffff;
    case "quat":
      return quaternionLimit(field);
    case "string":
    case "bytes":
      return 0;
  }
}

/**
 * Quantises the numbers at `source[at..]` into the lanes of `field` from `out[laneStart]` on.
 *
 * One number for bool (0 or 1), integers, f32 (world units), enum (its index) and entity (network id); x, y, z for vec3; x, y, z, w
 * for quat. `laneStart` is the place of the field's first lane in `out`, its `laneOffset` already counted in.
 *
 * @returns False, and nothing is written, for what is not finite, out of range (by more than half a step), not whole where it must be,
 * or a quaternion whose length is not within 0.99..1.01.
 */
export function quantiseField(
  field: FieldGrant,
  source: ArrayLike<number>,
  at: number,
  out: Int32Array,
  laneStart: number,
): boolean {
  switch (field.kind) {
    case "f32": {
      const lane = quantiseReal(field, source[at]!);
      if (lane < 0) return false;
      out[laneStart] = lane;
      return true;
    }
    case "vec3": {
      const x = quantiseReal(field, source[at]!);
      const y = quantiseReal(field, source[at + 1]!);
      const z = quantiseReal(field, source[at + 2]!);
      if (x < 0 || y < 0 || z < 0) return false;
      out[laneStart] = x;
      out[laneStart + 1] = y;
      out[laneStart + 2] = z;
      return true;
    }
    case "quat":
      return quantiseQuaternion(field, source, at, out, laneStart);
    case "bool":
    case "u8":
    case "u16":
    case "u32":
    case "i32":
    case "enum":
    case "entity": {
      const lane = source[at]! - field.min;
      if (!Number.isInteger(lane) || lane < 0 || lane > laneMax(field)) return false;
      out[laneStart] = lane; // stored modulo 2^32: the bit pattern of the unsigned lane
      return true;
    }
    case "string":
    case "bytes":
      return false;
  }
}

/** The lane of a real number, or -1 when it is not finite or out of range. */
function quantiseReal(field: FieldGrant, value: number): number {
  // Rounding lets in what float32 made of the range's ends, and NaN fails both comparisons.
  const lane = Math.round((value - field.min) / field.precision);
  return lane >= 0 && lane <= stepsOf(field) ? lane : -1;
}

/**
 * The inverse of {@linkcode quantiseField}: writes 1, 3 or 4 numbers to `out[at..]`. f32, vec3 and quat come out rounded to float32,
 * so that they do not change on their way through an engine.
 */
export function dequantiseField(
  field: FieldGrant,
  lanes: ArrayLike<number>,
  laneStart: number,
  out: number[] | Float64Array,
  at: number,
): void {
  switch (field.kind) {
    case "vec3":
      out[at] = Math.fround(field.min + lanes[laneStart]! * field.precision);
      out[at + 1] = Math.fround(field.min + lanes[laneStart + 1]! * field.precision);
      out[at + 2] = Math.fround(field.min + lanes[laneStart + 2]! * field.precision);
      return;
    case "f32":
      out[at] = Math.fround(field.min + lanes[laneStart]! * field.precision);
      return;
    case "quat":
      loadQuaternion(field, lanes, laneStart, out, at);
      return;
    case "bool":
    case "u8":
    case "u16":
    case "u32":
    case "i32":
    case "enum":
    case "entity":
      out[at] = field.min + (lanes[laneStart]! >>> 0);
      return;
    case "string":
    case "bytes":
      return;
  }
}

/** Whether `value` may stand in lane `lane` (0..`field.lanes - 1`) of a field: the check of lanes that a peer sent. */
export function isLaneInRange(field: FieldGrant, lane: number, value: number): boolean {
  if (field.kind === "quat") return isQuaternionLane(field, lane, value);
  return lane < field.lanes && (value >>> 0) <= laneMax(field);
}

/** Sets `value` to the component's neutral value: numbers nearest to 0, no rotation, nothing in strings and bytes. */
export function setNeutral(
  component: { readonly fields: readonly FieldGrant[] },
  value: ComponentValue,
): void {
  for (const field of component.fields) {
    if (field.blobIndex >= 0) {
      value.blobs[field.blobIndex] = NO_BYTES;
      continue;
    }
    const nearest = Math.min(Math.max(0, field.min), field.max);
    const numbers = field.kind === "quat" ? [0, 0, 0, 1] : [nearest, nearest, nearest];
    quantiseField(field, numbers, 0, value.lanes, field.laneOffset);
  }
}
