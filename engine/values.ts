// Component and event values as game code writes them (plain objects) to quantised values and back. Types, ranges and sizes are checked
// on the way in; who may write what is the gate's question, and the packed bytes are those of `replication/row_codec.ts`.

import { Rule } from "../permissions/rule.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import type { RowShape } from "../replication/row_codec.ts";
import { dequantiseField, quantiseField } from "../replication/quantise.ts";
import type { ComponentValue } from "../replication/value.ts";

/**
 * One field: boolean for bool; number for u8 to u32, i32 and f32; `[x, y, z]` for vec3; `[x, y, z, w]` for quat; string; `Uint8Array`
 * for bytes; the declared name for enum; the handle for entity, 0 for none.
 */
export type FieldValue = boolean | number | string | Uint8Array | readonly number[];

/** Fields by name; fields that are left out are not meant. */
export interface ComponentValues {
  /** Value by field name. */
  readonly [field: string]: FieldValue;
}

/** What {@linkcode quantiseValues} found; the object is reused by the next call. */
export interface QuantiseResult {
  /** Fields that are in the values and good. */
  mask: number;
  /** Fields that are in the values and refused. */
  badFields: number;
  /** Why the first of them was refused, or that a name is no field of the component. */
  rule: Rule | undefined;
}

/** Most numbers of one field: a quaternion's four. */
const numbers = new Float64Array(4);
const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const result: QuantiseResult = { mask: 0, badFields: 0, rule: undefined };

/** The mask of the fields that `values` names; fields that the shape does not have are not in it. */
export function maskOfValues(shape: RowShape, values: ComponentValues): number {
  let mask = 0;
  for (const field of shape.fields) if (Object.hasOwn(values, field.name)) mask |= 1 << field.index;
  return mask;
}

/**
 * Quantises the fields in `mask` of `values` into `out`; the others are left as they are.
 *
 * Reals are rounded to float32 first, as the link carries them. Entity references that `isKnown` denies become 0, so that entities of
 * this engine alone are never named outside it.
 *
 * @returns which fields are good and which are not; names that are no fields give `Rule.Field` and no bit.
 */
export function quantiseValues(
  shape: RowShape,
  values: ComponentValues,
  mask: number,
  out: ComponentValue,
  isKnown: (handle: number) => boolean,
): Readonly<QuantiseResult> {
  result.mask = 0;
  result.badFields = 0;
  result.rule = undefined;
  let named = 0;
  for (const field of shape.fields) {
    if (!Object.hasOwn(values, field.name)) continue;
    named += 1;
    const bit = 1 << field.index;
    if ((mask & bit) === 0) continue;
    const rule = quantiseOne(field, values[field.name]!, out, isKnown);
    if (rule === undefined) result.mask |= bit;
    else {
      result.badFields |= bit;
      result.rule ??= rule;
    }
  }
  if (named !== Object.keys(values).length) result.rule ??= Rule.Field;
  return result;
}

function quantiseOne(
  field: FieldGrant,
  value: FieldValue,
  out: ComponentValue,
  isKnown: (handle: number) => boolean,
): Rule | undefined {
  switch (field.kind) {
    case "string":
    case "bytes": {
      const isText = field.kind === "string";
      if (isText ? typeof value !== "string" : !(value instanceof Uint8Array)) return Rule.Format;
      // A copy: what waits to be sent must not change with the game's own buffer.
      const bytes = isText ? utf8.encode(value as string) : (value as Uint8Array).slice();
      if (bytes.length > field.maxBytes) return Rule.Size;
      out.blobs[field.blobIndex] = bytes;
      return undefined;
    }
    case "bool":
      if (typeof value !== "boolean") return Rule.Format;
      numbers[0] = value ? 1 : 0;
      break;
    case "enum": {
      const index = typeof value === "string" ? field.values.indexOf(value) : -1;
      if (index < 0) return typeof value === "string" ? Rule.Range : Rule.Format;
      numbers[0] = index;
      break;
    }
    case "entity":
      if (typeof value !== "number") return Rule.Format;
      numbers[0] = value !== 0 && isKnown(value) ? value : 0;
      break;
    case "vec3":
    case "quat":
      if (!isNumbers(value, field.lanes)) return Rule.Format;
      for (let i = 0; i < field.lanes; i++) numbers[i] = Math.fround(value[i]!);
      break;
    default:
      if (typeof value !== "number") return Rule.Format;
      numbers[0] = field.kind === "f32" ? Math.fround(value) : value;
  }
  for (let i = 0; i < field.lanes; i++) if (!Number.isFinite(numbers[i]!)) return Rule.NotFinite;
  return quantiseField(field, numbers, 0, out.lanes, field.laneOffset) ? undefined : Rule.Range;
}

function isNumbers(value: FieldValue, count: number): value is readonly number[] {
  return Array.isArray(value) && value.length === count &&
    value.every((element) => typeof element === "number");
}

/** The fields in `mask` of a quantised value, as a new plain object. Bytes are shared with the value. */
export function plainValues(
  shape: RowShape,
  value: ComponentValue,
  mask: number,
): Record<string, FieldValue> {
  const values: Record<string, FieldValue> = {};
  for (const field of shape.fields) {
    if ((mask & (1 << field.index)) !== 0) values[field.name] = plainOne(field, value);
  }
  return values;
}

function plainOne(field: FieldGrant, value: ComponentValue): FieldValue {
  if (field.kind === "string") return fromUtf8.decode(value.blobs[field.blobIndex]!);
  if (field.kind === "bytes") return value.blobs[field.blobIndex]!;
  dequantiseField(field, value.lanes, field.laneOffset, numbers, 0);
  switch (field.kind) {
    case "bool":
      return numbers[0] !== 0;
    case "enum":
      return field.values[numbers[0]!]!;
    case "vec3":
      return [numbers[0]!, numbers[1]!, numbers[2]!];
    case "quat":
      return [numbers[0]!, numbers[1]!, numbers[2]!, numbers[3]!];
    default:
      return numbers[0]!;
  }
}
