// One arithmetic run for the numbers of one component value: which fields changed, and where positions, rotations and reals are, foretold
// from several earlier versions that both ends hold. Which versions those are is named in the section; other fields are coded behind the run.

import { Fault } from "../../protocol/faults.ts";
import type { Reader } from "../../protocol/reader.ts";
import type { Writer } from "../../protocol/writer.ts";
import type { FieldGrant } from "../../permissions/grants.ts";
import { laneMax } from "../quantise.ts";
import { isRotation } from "../quaternion.ts";
import { ArithmeticWriter } from "./arithmetic_writer.ts";
import {
  Distance,
  MotionClass,
  MotionModel,
  type MotionTables,
  VERSIONS as MODEL_VERSIONS,
} from "./motion_model.ts";
import { widthIndex } from "./lane_tables.ts";
import type { LaneCoder } from "./lane_coder.ts";
import { LaneReader } from "./lane_reader.ts";
import { LaneWriter } from "./lane_writer.ts";
import { RotationChart } from "./rotation_chart.ts";

/** Versions that a value is coded against; the module's own, because an import is looked up at every use. */
const VERSIONS: number = MODEL_VERSIONS;
/** Chances of "unchanged" on the coder's scale: of a vector that moved last time, that paused, that rested throughout, of any other field. */
const UNCHANGED_MOVING = 100;
const UNCHANGED_PAUSED = 49_152;
const UNCHANGED_RESTING = 64_880;
const UNCHANGED_OTHER = 60_000;
/** Chance that a value was sampled at the same place of its tick as all versions before, where that was one place. */
const SAME_OFFSET = 65_000;
/** Width of the distribution of how far that place moves between versions, 1/64 ticks: about 1.8, as clocks of game loops are. */
const SHIFT_WIDTH = widthIndex(14 * 4_096);
/** Chance that a rotation's largest component is the same as before. */
const SAME_LARGEST = 64_880;

/** Versions before the baseline that a value can name. */
export const MAX_BEFORE: number = VERSIONS - 1;

/** The versions that a value is coded against; reused. */
export class References {
  /** Lanes of a store. */
  lanes: Int32Array = new Int32Array(0);
  /** Where in `lanes` each version's begin, the baseline first; -1 for one that is not named. */
  readonly at: Int32Array = new Int32Array(VERSIONS).fill(-1);
  /** How far the value lies ahead of the baseline. */
  readonly distance: Distance = new Distance();
  /** Versions, counted from the baseline up to the oldest one named. */
  known = 1;
  /** How much earlier in its tick than the baseline the value was sampled, 1/64 ticks (32 bits, signed): in to `encode`, out of `decode`. */
  shift = 0;
  /** Whether the baseline and all versions named before it were sampled at the same place of their ticks. */
  isSteady = false;
  /** Versions among these that are not named. */
  missing = 0;

  /** Begins with a baseline. */
  begin(lanes: Int32Array, at: number): void {
    this.lanes = lanes;
    this.at[0] = at;
    for (let i = 1; i < VERSIONS; i++) this.at[i] = -1;
    this.known = 1;
    this.shift = 0;
    this.isSteady = false;
    this.missing = 0;
  }

  /** Adds the version `units` units of time before the baseline; in ascending order. */
  add(units: number, at: number): void {
    this.at[units] = at;
    this.missing += units - this.known;
    this.known = units + 1;
  }
}

interface Vector {
  readonly field: FieldGrant;
  readonly kind: MotionClass;
  readonly axes: number;
  readonly limit: number;
  readonly isLattice: boolean;
  readonly chart: RotationChart | undefined;
  readonly model: MotionModel;
}

/** Codes values of one component. */
export class MotionCodec {
  /** Fields (mask) whose contents stand in the run. */
  readonly fields: number;
  readonly #tables: MotionTables;
  readonly #fieldCount: number;
  /** By field index. */
  readonly #vectors: (Vector | undefined)[];
  readonly #laneReader = new LaneReader();
  #writer: Writer | undefined;
  #arithmeticWriter: ArithmeticWriter | undefined;
  #laneWriter: LaneWriter | undefined;

  /** A codec for values with these fields. */
  constructor(fields: readonly FieldGrant[], tables: MotionTables) {
    this.#tables = tables;
    this.#fieldCount = fields.length;
    this.#vectors = fields.map(vectorOf);
    this.fields = fields.reduce(
      (mask, field) => this.#vectors[field.index] === undefined ? mask : mask | (1 << field.index),
      0,
    );
  }

  /** Writes the run of a value: when it was sampled, which of the fields in `held` changed, and the contents of those that are foretold. */
  encode(
    writer: Writer,
    references: References,
    lanes: Int32Array,
    held: number,
    changed: number,
  ): void {
    if (this.#writer !== writer) {
      this.#writer = writer;
      this.#arithmeticWriter = new ArithmeticWriter(writer);
      this.#laneWriter = new LaneWriter(this.#arithmeticWriter);
    }
    const run = this.#arithmeticWriter!;
    run.begin();
    this.#code(this.#laneWriter!, references, lanes, held, changed);
    run.end();
  }

  /**
   * Reads a run over `lanes`, which hold the baseline.
   *
   * @returns The fields that changed; check `reader.fault`.
   */
  decode(reader: Reader, references: References, lanes: Int32Array, held: number): number {
    const run = this.#laneReader;
    run.begin(reader);
    const changed = this.#code(run, references, lanes, held, 0);
    run.end();
    if (changed === 0) reader.fail(Fault.NonCanonical);
    if (changed < 0) {
      reader.fail(Fault.OutOfRange);
      return 0;
    }
    const from = references.lanes;
    for (let i = 0; i < this.#fieldCount; i++) {
      const vector = this.#vectors[i];
      if (vector === undefined || (changed & (1 << i)) === 0) continue;
      const { laneOffset, lanes: count } = vector.field;
      const at = references.at[0]! + laneOffset;
      let k = 0;
      while (k < count && lanes[laneOffset + k] === from[at + k]) k += 1;
      // Lanes of a lattice are read in no other form than as a point of it.
      const isFree = vector.chart !== undefined && !vector.isLattice;
      if (k === count || (isFree && !isRotation(vector.field, lanes, laneOffset))) {
        reader.fail(Fault.NonCanonical);
      }
    }
    return changed;
  }

  /** One pass, the same at both ends. Returns the fields that changed, -1 when a lane is out of its range. */
  #code(
    coder: LaneCoder,
    references: References,
    lanes: Int32Array,
    held: number,
    changed: number,
  ): number {
    let first: MotionModel | undefined;
    let before: MotionModel | undefined;
    let firstTurn: MotionModel | undefined;
    let turnBefore: MotionModel | undefined;
    let result = 0;
    if (!codeShift(coder, references)) return -1;
    for (let i = 0; i < this.#fieldCount; i++) {
      const bit = 1 << i;
      if ((held & bit) === 0) continue;
      const vector = this.#vectors[i];
      let is = (changed & bit) === 0 ? 0 : 1;
      if (held === bit) is = 1;
      else {
        const chance = vector === undefined
          ? UNCHANGED_OTHER
          : chanceOfRest(references, vector.field);
        is = coder.flag(is, chance);
      }
      if (is === 0) continue;
      result |= bit;
      if (vector === undefined) continue;
      const { model, field, chart, kind } = vector;
      let isGood: boolean;
      if (chart === undefined) {
        load(references, field.laneOffset, vector.axes, model.history);
        isGood = model.code(
          coder,
          this.#tables,
          kind,
          references.distance,
          references.known,
          lanes,
          field.laneOffset,
          vector.axes,
          vector.limit,
          false,
          vector.axes === 3 ? first : undefined,
          before,
          undefined,
        );
        if (vector.axes === 3) {
          first ??= model;
          before = model;
        }
      } else {
        const was = references.lanes[references.at[0]! + field.laneOffset]!;
        let largest = lanes[field.laneOffset]!;
        if (coder.flag(largest === was ? 0 : 1, SAME_LARGEST) === 1) {
          largest = (was + coder.raw((largest - was) & 3, 2)) & 3;
          // Said to be another one, but is none.
          if (largest === was) return -1;
        } else {
          largest = was;
        }
        lanes[field.laneOffset] = largest;
        loadTurns(references, field.laneOffset, largest, chart, model.history);
        isGood = model.code(
          coder,
          this.#tables,
          kind,
          references.distance,
          references.known,
          lanes,
          field.laneOffset + 1,
          3,
          vector.limit,
          vector.isLattice,
          firstTurn,
          turnBefore,
          before,
        );
        firstTurn ??= model;
        turnBefore = model;
      }
      if (!isGood) return -1;
    }
    return result;
  }
}

/** Fields whose lanes take no more bits gain nothing from being foretold. */
const LEAST_BITS = 9;

/** Charts by field: they have tables, and a server has codecs for every link. */
const charts = new WeakMap<FieldGrant, RotationChart>();

function chartOf(field: FieldGrant): RotationChart {
  let chart = charts.get(field);
  if (chart === undefined) {
    chart = new RotationChart(field);
    charts.set(field, chart);
  }
  return chart;
}

function vectorOf(field: FieldGrant): Vector | undefined {
  const isReal = field.kind === "f32" || field.kind === "vec3";
  if (field.kind !== "quat" && !(isReal && field.bits * field.lanes >= LEAST_BITS)) {
    return undefined;
  }
  return {
    field,
    kind: isReal ? MotionClass.Position : MotionClass.Rotation,
    axes: isReal ? field.lanes : 3,
    limit: laneMax(field),
    isLattice: !isReal && field.precision > 0,
    chart: isReal ? undefined : chartOf(field),
    model: new MotionModel(),
  };
}

/** Codes when the value was sampled; false when that is said in a form that is not the one legal one. */
function codeShift(coder: LaneCoder, references: References): boolean {
  const { isSteady } = references;
  if (isSteady && coder.flag(references.shift === 0 ? 0 : 1, SAME_OFFSET) === 0) {
    references.shift = 0;
    return true;
  }
  const shift = coder.number(references.shift, SHIFT_WIDTH);
  references.shift = shift | 0;
  return shift === references.shift && !(isSteady && shift === 0);
}

/** How likely a vector is to stay as it is, by which of the named versions differ from the baseline. */
function chanceOfRest(references: References, field: FieldGrant): number {
  const { lanes, at } = references;
  const a = at[0]! + field.laneOffset;
  let isNewest = true;
  for (let i = 1; i < VERSIONS; i++) {
    if (at[i]! < 0) continue;
    const b = at[i]! + field.laneOffset;
    for (let k = 0; k < field.lanes; k++) {
      if (lanes[a + k] !== lanes[b + k]) return isNewest ? UNCHANGED_MOVING : UNCHANGED_PAUSED;
    }
    isNewest = false;
  }
  return UNCHANGED_RESTING;
}

/** Loads the versions of a position or real. */
function load(references: References, offset: number, axes: number, history: Float64Array): void {
  const { lanes, at, known } = references;
  for (let i = 0; i < known; i++) {
    const from = at[i]! + offset;
    // Of a version that is not named.
    if (from < offset) continue;
    history[i * 3] = lanes[from]! >>> 0;
    if (axes < 3) continue;
    history[i * 3 + 1] = lanes[from + 1]! >>> 0;
    history[i * 3 + 2] = lanes[from + 2]! >>> 0;
  }
  if (references.missing > 0 || known < VERSIONS) fill(references, axes, history);
}

/** Loads the versions of a rotation, each as seen where `largest` is the largest component. */
function loadTurns(
  references: References,
  offset: number,
  largest: number,
  chart: RotationChart,
  history: Float64Array,
): void {
  const { lanes, at, known } = references;
  for (let i = 0; i < known; i++) {
    const from = at[i]! + offset;
    if (from < offset) continue;
    if (lanes[from] === largest) {
      history[i * 3] = lanes[from + 1]!;
      history[i * 3 + 1] = lanes[from + 2]!;
      history[i * 3 + 2] = lanes[from + 3]!;
    } else chart.load(lanes, from, largest, history, i * 3);
  }
  if (references.missing > 0 || known < VERSIONS) fill(references, 3, history);
}

/** Puts between versions what lies on the line between their neighbours, and behind the oldest what goes on as before. */
function fill(references: References, axes: number, history: Float64Array): void {
  const { at, known } = references;
  for (let i = references.missing === 0 ? known : 1; i < VERSIONS; i++) {
    if (at[i]! >= 0) continue;
    if (i < known) {
      let older = i + 1;
      while (at[older]! < 0) older += 1;
      for (let a = 0; a < axes; a++) {
        const from = history[i * 3 - 3 + a]!;
        history[i * 3 + a] = from + (history[older * 3 + a]! - from) / (older - i + 1);
      }
    } else {
      for (let a = 0; a < axes; a++) {
        history[i * 3 + a] = 2 * history[i * 3 - 3 + a]! - history[i * 3 - 6 + a]!;
      }
    }
  }
}
