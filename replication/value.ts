// One component value outside the columns: quantised lanes and variable fields. Values are compared and copied here as integers and
// bytes; what they mean in metres or text is the business of `quantise.ts` and `row_codec.ts`.

import type { FieldGrant } from "../permissions/grants.ts";

/**
 * One component value.
 *
 * Lanes are quantised integers, `laneCount` of them, fields at their `laneOffset`. Blobs are the contents of string (UTF-8) and bytes
 * fields, by `blobIndex`. The bytes of a blob never change once they are part of a value, so values may share them.
 */
export interface ComponentValue {
  readonly lanes: Int32Array;
  readonly blobs: Uint8Array[];
}

/** The empty blob that every new value starts with. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A value with zero lanes and empty blobs for components (or events) of this shape. */
export function createValue(
  shape: { readonly laneCount: number; readonly blobCount: number },
): ComponentValue {
  return {
    lanes: new Int32Array(shape.laneCount),
    blobs: new Array<Uint8Array>(shape.blobCount).fill(NO_BYTES),
  };
}

/** Sets `to`, of the same shape, to the value `from`. Blobs are shared, not copied. */
export function copyValue(from: ComponentValue, to: ComponentValue): void {
  to.lanes.set(from.lanes);
  for (let i = 0; i < from.blobs.length; i++) to.blobs[i] = from.blobs[i]!;
}

/** Copies the fields in `mask` from one value to another of the same shape. Blobs are shared, not copied. */
export function copyFields(
  component: { readonly fields: readonly FieldGrant[] },
  from: ComponentValue,
  to: ComponentValue,
  mask: number,
): void {
  const fields = component.fields;
  for (let i = 0; i < fields.length; i++) {
    if ((mask & (1 << i)) === 0) continue;
    const field = fields[i]!;
    if (field.blobIndex >= 0) to.blobs[field.blobIndex] = from.blobs[field.blobIndex]!;
    const end = field.laneOffset + field.lanes;
    for (let lane = field.laneOffset; lane < end; lane++) to.lanes[lane] = from.lanes[lane]!;
  }
}

/** The fields in `mask` in which two values of one component differ, as a mask. */
export function changedFields(
  component: { readonly fields: readonly FieldGrant[] },
  a: ComponentValue,
  b: ComponentValue,
  mask: number,
): number {
  const fields = component.fields;
  let changed = 0;
  for (let i = 0; i < fields.length; i++) {
    if ((mask & (1 << i)) === 0) continue;
    const field = fields[i]!;
    if (field.blobIndex >= 0) {
      if (!sameBytes(a.blobs[field.blobIndex]!, b.blobs[field.blobIndex]!)) changed |= 1 << i;
    } else if (!sameLanes(a.lanes, field.laneOffset, b.lanes, field.laneOffset, field.lanes)) {
      changed |= 1 << i;
    }
  }
  return changed;
}

/** Whether `count` lanes are equal, counted from `aAt` in `a` and from `bAt` in `b`. */
export function sameLanes(
  a: Int32Array,
  aAt: number,
  b: Int32Array,
  bAt: number,
  count: number,
): boolean {
  for (let i = 0; i < count; i++) {
    if (a[aAt + i] !== b[bAt + i]) return false;
  }
  return true;
}

/** Whether two runs of bytes are equal. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/**
 * A blob fit to be kept: itself, or a copy when it is a view into a larger buffer.
 *
 * A kept view would hold the whole frame or datagram it came in, and would change when that buffer is used again.
 */
export function keptBytes(blob: Uint8Array): Uint8Array {
  if (blob.length === 0) return NO_BYTES;
  return blob.byteLength === blob.buffer.byteLength ? blob : blob.slice();
}
