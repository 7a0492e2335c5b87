// Random values of declared fields, each different from the one before it after quantisation; texts and bytes are canaries. It knows
// nothing of rights.

import type { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant, FieldGrant } from "../../permissions/grants.ts";
import { setNeutral } from "../../replication/quantise.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { type FieldValue, quantiseValues } from "../../engine/values.ts";
import { CANARY_BYTES, canaryText } from "./canaries.ts";

const utf8 = new TextEncoder();

/** What {@linkcode freshValue} draws from. */
export interface ValueSource {
  readonly prng: Prng;
  /** A number that no other canary of the run has. */
  nextCanary(): number;
  /** Handles that an entity field may name, as the writing engine knows them. */
  readonly handles: readonly number[];
  /** Most bytes of a text or bytes value. */
  readonly mostBytes: number;
}

/** A quantised field as text: equal exactly where the field is equal. */
export function keyOf(field: FieldGrant, value: ComponentValue): string {
  if (field.blobIndex >= 0) {
    let text = "";
    for (const byte of value.blobs[field.blobIndex]!) text += String.fromCharCode(byte);
    return text;
  }
  if (field.lanes === 1) return String(value.lanes[field.laneOffset]! >>> 0);
  return value.lanes.slice(field.laneOffset, field.laneOffset + field.lanes).join(",");
}

/** The key of a field's neutral value. */
export function neutralKeys(component: ComponentGrant): string[] {
  const value = createValue(component);
  setNeutral(component, value);
  return component.fields.map((field) => keyOf(field, value));
}

/** The key of one field of plain values; entities by `idOf`. Undefined where the value is none of the field's. */
export function plainKey(
  component: ComponentGrant,
  field: FieldGrant,
  plain: FieldValue,
  idOf: (handle: number) => number,
): string | undefined {
  if (field.kind === "entity") return String(plain === 0 ? 0 : idOf(plain as number));
  const value = createValue(component);
  const mask = 1 << field.index;
  const result = quantiseValues(component, { [field.name]: plain }, mask, value, () => true);
  return result.mask === mask ? keyOf(field, value) : undefined;
}

/** A value that quantises to another one than `previous` (undefined: the neutral one) does. */
export function freshValue(
  component: ComponentGrant,
  field: FieldGrant,
  source: ValueSource,
  previous: FieldValue | undefined,
): FieldValue {
  const before = previous === undefined
    ? neutralKeys(component)[field.index]
    : plainKey(component, field, previous, (handle) => handle);
  for (let tries = 0; tries < 40; tries++) {
    const value = randomField(field, source);
    if (plainKey(component, field, value, (handle) => handle) !== before) return value;
  }
  return randomField(field, source);
}

/** Any value of a field. */
export function randomField(
  field: FieldGrant,
  { prng, handles, nextCanary, mostBytes }: ValueSource,
): FieldValue {
  const steps = () => prng.nextBelow(Math.round((field.max - field.min) / field.precision) + 1);
  const real = () => field.min + steps() * field.precision;
  switch (field.kind) {
    case "bool":
      return prng.chance(0.5);
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return field.min + prng.nextBelow(field.max - field.min + 1);
    case "f32":
      return real();
    case "vec3":
      return [real(), real(), real()];
    case "quat":
      return rotation(prng);
    case "enum":
      return field.values[prng.nextBelow(field.values.length)]!;
    case "entity":
      return handles.length === 0 || prng.chance(0.1)
        ? 0
        : handles[prng.nextBelow(handles.length)]!;
    case "string":
    case "bytes": {
      const most = Math.min(field.maxBytes, mostBytes);
      const length = CANARY_BYTES + prng.nextBelow(Math.max(1, most - CANARY_BYTES + 1));
      const text = canaryText(nextCanary(), length);
      return field.kind === "string" ? text : utf8.encode(text);
    }
  }
}

function rotation(prng: Prng): number[] {
  const q = [0, 0, 0, 0].map(() => prng.nextGaussian());
  const length = Math.hypot(...q);
  return length < 0.01 ? [0, 0, 0, 1] : q.map((one) => one / length);
}
