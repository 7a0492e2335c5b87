// Values of components and events (docs/PROTOCOL.md 5.3): lanes as integers, strings and bytes as they are. A value is a list of fields, each
// `undefined` where the peer is not sent it.

import { type Bits, rule, textOf, unfold, widthOf } from "./bits.ts";
import { isForetold, largestTurnLane, readRun } from "./motion.ts";
import { type Field, largestLane, type Layout } from "./world.ts";

/** One field's contents: its lanes, or the bytes of a string or bytes field. */
export type FieldValue = readonly number[] | Uint8Array;

/** Contents by field index. */
export type Value = readonly (FieldValue | undefined)[];

/** Reads a field mask. */
function mask(bits: Bits, layout: Layout): number {
  const value = bits.bits(layout.fields.length);
  rule(value !== 0, "NonCanonical", "field mask 0");
  return value;
}

function laneCount(field: Field): number {
  return field.kind === "vec3" ? 3 : 1;
}

function isBlob(field: Field): boolean {
  return field.kind === "string" || field.kind === "bytes";
}

/** A field as it is. */
function whole(bits: Bits, field: Field): FieldValue {
  if (isBlob(field)) {
    const length = bits.varint();
    rule(length <= field.maxBytes, "OutOfRange", `${length} bytes of ${field.name}`);
    const bytes = bits.take(length);
    if (field.kind === "string") textOf(bytes);
    return bytes;
  }
  if (field.kind === "quat") {
    const index = bits.bits(2);
    return rotation([index, ...others(bits, field)], field);
  }
  const largest = largestLane(field);
  return Array.from({ length: laneCount(field) }, () => {
    const lane = bits.bits(widthOf(largest));
    rule(lane <= largest, "OutOfRange", `lane ${lane} of ${field.name}`);
    return lane;
  });
}

/** Lanes of a quaternion, which some rotation must give. */
function rotation(lanes: readonly number[], field: Field): readonly number[] {
  if (field.precision > 0) {
    const isOdd = lanes.slice(1).map((lane) => lane % 2);
    rule(isOdd.every((odd) => odd === isOdd[0]), "NonCanonical", `${field.name} off the lattice`);
    return lanes;
  }
  const half = 2n ** BigInt(field.bits - 1) - 1n;
  const squares = lanes.slice(1).map((lane) => (BigInt(lane) - half) ** 2n);
  const largest = squares.reduce((most, square) => square > most ? square : most);
  const sum = squares.reduce((total, square) => total + square, largest);
  rule(sum <= 2n * half * half + 3n * half + 1n, "NonCanonical", `${field.name} is no rotation`);
  return lanes;
}

/** The three other components of a quaternion. */
function others(bits: Bits, field: Field): number[] {
  return Array.from({ length: 3 }, () => {
    const lane = bits.bits(field.bits);
    rule(lane <= largestTurnLane(field), "OutOfRange", `lane ${lane} of ${field.name}`);
    return lane;
  });
}

/** A block: lanes of `width` bits as differences from `reference`. */
function block(bits: Bits, reference: readonly number[], width: number, largest: number): number[] {
  const n = bits.bits(5);
  rule(n < width, "NonCanonical", "block as wide as its lanes");
  const folded: number[] = [];
  const lanes = reference.map((from) => {
    if (n === 0) return bits.bits(width);
    const z = bits.bits(n);
    folded.push(z);
    return (from + unfold(z) + 2 ** 32) % 2 ** 32;
  });
  for (const lane of lanes) rule(lane <= largest, "OutOfRange", `lane ${lane}`);
  if (n !== 0) {
    rule(widthOf(Math.max(...folded)) === n, "NonCanonical", "block wider than needed");
  } else {
    const z = lanes.map((lane, i) => {
      const d = (lane - reference[i]!) | 0;
      return d >= 0 ? 2 * d : -2 * d - 1;
    });
    rule(widthOf(Math.max(...z)) >= width, "NonCanonical", "lanes that fit a block");
  }
  return lanes;
}

/** A changed field. */
function changed(bits: Bits, field: Field, reference: FieldValue): FieldValue {
  const value = changedUnchecked(bits, field, reference);
  const isSame = value.length === reference.length && value.every((v, i) => v === reference[i]);
  rule(!isSame, "NonCanonical", `${field.name} did not change`);
  return value;
}

function changedUnchecked(bits: Bits, field: Field, reference: FieldValue): FieldValue {
  if (field.kind === "quat") {
    if (bits.bool()) {
      const value = whole(bits, field);
      rule(value[0] !== reference[0], "NonCanonical", "index of the largest did not change");
      return value;
    }
    const [index, ...from] = reference as readonly number[];
    return rotation([index!, ...block(bits, from, field.bits, largestTurnLane(field))], field);
  }
  const isNumber = ["u8", "u16", "u32", "i32", "f32", "vec3"].includes(field.kind);
  const largest = largestLane(field);
  const width = widthOf(largest);
  if (!isNumber || width * laneCount(field) <= 8) return whole(bits, field);
  return block(bits, reference as readonly number[], width, largest);
}

/** Absolute contents; fields outside `granted` are forbidden. */
export function readAbsolute(bits: Bits, layout: Layout, granted = -1): Value {
  const fields = mask(bits, layout);
  rule((fields & ~granted) === 0, "Forbidden", "a field that is granted to no peer");
  return layout.fields.map((field, i) => (fields >>> i) & 1 ? whole(bits, field) : undefined);
}

/** Contents as a change of `reference`. */
export function readChange(bits: Bits, layout: Layout, reference: Value): Value {
  const fields = mask(bits, layout);
  rule((fields & ~maskOf(reference)) === 0, "Forbidden", "a field that is not held");
  return layout.fields.map((field, i) => {
    const from = reference[i];
    if (((fields >>> i) & 1) === 0 || from === undefined) return from;
    return changed(bits, field, from);
  });
}

/** Contents as a change of the first of `versions`, foretold with the others; `lag` as in `readRun`. */
export function readForetold(
  bits: Bits,
  layout: Layout,
  versions: readonly (Value | undefined)[],
  lag: number,
  isSteady: boolean,
): { value: Value; shift: number } {
  const reference = versions[0]!;
  rule(
    layout.fields.some((field, i) => reference[i] !== undefined && isForetold(field)),
    "NonCanonical",
    "nothing to foretell",
  );
  const { fields: run, shift } = readRun(bits, layout, versions, lag, isSteady);
  const value = layout.fields.map((field, i) => {
    const from = reference[i]!;
    const contents = run[i];
    if (contents === undefined) return from;
    if (contents === true) return changed(bits, field, from);
    if (field.kind === "quat") rotation(contents as readonly number[], field);
    rule(contents.some((v, k) => v !== from[k]), "NonCanonical", `${field.name} did not change`);
    return contents;
  });
  return { value, shift };
}

/** The field mask of a value. */
export function maskOf(value: Value): number {
  return value.reduce((sum: number, field, i) => field === undefined ? sum : sum + 2 ** i, 0);
}

/** Lanes of one field of a value that a game would use, by the page's formulas. */
export function quantise(field: Field, value: unknown): FieldValue {
  switch (field.kind) {
    case "bool":
      return [value ? 1 : 0];
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return [(value as number) - field.min];
    case "f32":
      return [Math.round((Math.fround(value as number) - field.min) / field.precision)];
    case "vec3":
      return (value as readonly number[]).map((v) =>
        Math.round((Math.fround(v) - field.min) / field.precision)
      );
    case "enum":
      return [typeof value === "string" ? field.values.indexOf(value) : value as number];
    case "entity":
      return [value as number];
    case "string":
      return new TextEncoder().encode(value as string);
    case "bytes":
      return value as Uint8Array;
    case "quat":
      return quantiseQuat(value as readonly number[], field.bits);
    default:
      throw new Error(`unknown field kind ${field.kind}`);
  }
}

function quantiseQuat(value: readonly number[], bits: number): number[] {
  const v = value.map(Math.fround);
  const length = Math.hypot(...v);
  let largest = 0;
  for (let i = 1; i < 4; i++) if (Math.abs(v[i]!) > Math.abs(v[largest]!)) largest = i;
  const sign = v[largest]! < 0 ? -1 : 1;
  const half = 2 ** (bits - 1) - 1;
  const rest = v.filter((_, i) => i !== largest);
  return [largest, ...rest.map((x) => half + Math.round(sign * x / length * Math.SQRT2 * half))];
}
