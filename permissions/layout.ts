// Where the values of a list of fields lie: in quantised lanes, among the variable parts, and in an engine-link row. One place, so that
// components and events, driver and engine, agree. It knows no rights.

import type { FieldDeclaration } from "./manifest.ts";
import type { FieldGrant, FieldKind } from "./grants.ts";

/** The layout of a component or an event. */
export interface Layout {
  /** Fields in declared order. */
  readonly fields: readonly FieldGrant[];
  /** Lanes of one row. */
  readonly laneCount: number;
  /** Variable fields of one row. */
  readonly blobCount: number;
  /** Bytes of the fixed part of one engine-link row. */
  readonly rowBytes: number;
}

/** Bytes of each type in the fixed part of a row, without padding; 0 for the variable ones. */
const ROW_BYTES: Readonly<Record<FieldKind, number>> = {
  bool: 1,
  u8: 1,
  u16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  vec3: 12,
  quat: 16,
  string: 0,
  bytes: 0,
  enum: 2,
  entity: 4,
};

const LANES: Readonly<Partial<Record<FieldKind, number>>> = {
  vec3: 3,
  quat: 4,
  string: 0,
  bytes: 0,
};

/** Lays out fields in declared order. */
export function layoutFields(declared: Readonly<Record<string, FieldDeclaration>>): Layout {
  const fields: FieldGrant[] = [];
  let laneCount = 0;
  let blobCount = 0;
  let rowBytes = 0;
  for (const [name, field] of Object.entries(declared)) {
    const kind = field.type;
    const lanes = LANES[kind] ?? 1;
    const variable = kind === "string" || kind === "bytes";
    fields.push({
      index: fields.length,
      name,
      kind,
      ...numbersOf(field),
      maxBytes: variable ? field.maxBytes : 0,
      values: kind === "enum" ? [...field.values] : [],
      lanes,
      laneOffset: laneCount,
      blobIndex: variable ? blobCount : -1,
      rowOffset: variable ? -1 : rowBytes,
    });
    laneCount += lanes;
    if (variable) blobCount += 1;
    rowBytes += ROW_BYTES[kind];
  }
  return { fields, laneCount, blobCount, rowBytes };
}

/** Steps of an f32 or vec3 range: the largest quantised value. The manifest only takes ranges that are whole numbers of steps. */
export function stepsOf(field: Pick<FieldGrant, "min" | "max" | "precision">): number {
  return Math.round((field.max - field.min) / field.precision);
}

/** A cell's corner lies sqrt(5)/4 of the cell from the lattice; a cell is two steps, a rotation turns twice its quaternion's angle, and angles bend less than they spread. */
const LATTICE_STEP = 1.005 / 2 / (Math.sqrt(5) / 4) / 2;

/** Radians of a quaternion's angle in one step of a lane of the equal-angle lattice, for a largest error of `degrees` of rotation. */
export function latticeStep(degrees: number): number {
  return degrees * (Math.PI / 180) * LATTICE_STEP;
}

/** The lane that stands for 0: even, and above the largest angle by more than rounding goes. Lanes are 0 to twice that. */
export function latticeCentre(degrees: number): number {
  return 2 * Math.ceil((Math.PI / 4 / latticeStep(degrees) + 1) / 2);
}

/** Bits of one lane of the lattice. */
export function latticeBits(degrees: number): number {
  return bitsFor(2 * latticeCentre(degrees));
}

/** Bits that tell the numbers 0..`largest` apart; 0 for `largest` 0. `largest` is below 2^32. */
export function bitsFor(largest: number): number {
  return 32 - Math.clz32(largest);
}

type Numbers = Pick<FieldGrant, "min" | "max" | "precision" | "bits">;

function numbersOf(field: FieldDeclaration): Numbers {
  switch (field.type) {
    case "bool":
      return { min: 0, max: 1, precision: 0, bits: 1 };
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return { min: field.min, max: field.max, precision: 1, bits: bitsFor(field.max - field.min) };
    case "f32":
    case "vec3": {
      const { min, max, precision } = field;
      return { min, max, precision, bits: bitsFor(stepsOf(field)) };
    }
    case "quat":
      if (field.precision !== undefined) {
        const { precision } = field;
        return { min: 0, max: 0, precision, bits: latticeBits(precision) };
      }
      return { min: 0, max: 0, precision: 0, bits: field.bits };
    case "enum": {
      const max = field.values.length - 1;
      return { min: 0, max, precision: 0, bits: bitsFor(max) };
    }
    case "entity":
      return { min: 0, max: 0, precision: 0, bits: 32 };
    case "string":
    case "bytes":
      return { min: 0, max: 0, precision: 0, bits: 0 };
  }
}
