// The run of docs/PROTOCOL.md 5.6: which fields changed, and positions and rotations foretold from earlier versions. One bit at a time, lists
// instead of tables of the machine, and docs/motion_tables.json as the page says.

import { type Bits, rule, widthOf } from "./bits.ts";
import type { FieldValue, Value } from "./values.ts";
import { type Field, largestLane, type Layout } from "./world.ts";

const TABLES: readonly (readonly number[])[] = JSON.parse(
  Deno.readTextFileSync(new URL("../../docs/motion_tables.json", import.meta.url)),
);
const LAGS = [1, 2, 3, 4, 6, 8];
const WHOLE = 65_536;

function exp(x: number): number {
  let sum = 1;
  for (let n = 12; n >= 1; n--) sum = 1 + sum * (x / 1_024) / n;
  for (let i = 0; i < 10; i++) sum *= sum;
  return sum;
}

function log2(x: number): number {
  let log = 0;
  for (; x >= 2; x /= 2) log += 1;
  for (; x < 1; x *= 2) log -= 1;
  for (let i = 1; i <= 20; i++) {
    x *= x;
    if (x >= 2) {
      x /= 2;
      log += 1 / 2 ** i;
    }
  }
  return log;
}

function tan(x: number): number {
  let below = 17;
  for (let odd = 15; odd >= 1; odd -= 2) below = odd - x * x / below;
  return x / below;
}

function atan(x: number): number {
  for (let i = 0; i < 3; i++) x = x / (1 + Math.sqrt(1 + x * x));
  let sum = 1 / 15;
  for (let odd = 13; odd >= 1; odd -= 2) sum = 1 / odd - x * x * sum;
  return 8 * x * sum;
}

/** 16 log2(|x| + 1/2) of the page. */
function lg(x: number): number {
  let quarters = Math.abs(x) * 4;
  let more = 0;
  if (quarters >= 65_536) {
    quarters = quarters < 2 ** 31 ? quarters / 65_536 : 32_767;
    more = 256;
  }
  return Math.floor(16 * log2(Math.floor(quarters) / 4 + 0.5) + 0.5) + more;
}

/** The distribution, by place 0 to 5,120. */
const CURVE = Array.from(
  { length: 5_121 },
  (_, i) => Math.round((WHOLE - 16 - 129) / (1 + exp(20 - i / 128))),
);

/** Decodes symbols from intervals. */
class Run {
  #low = 0;
  #high = 2 ** 32 - 1;
  #value = 0;
  #past = 0;
  readonly #bits: Bits;

  constructor(bits: Bits) {
    this.#bits = bits;
    for (let i = 0; i < 32; i++) this.#value = this.#value * 2 + bits.ahead(this.#past++);
  }

  #step(): number {
    return Math.floor((this.#high - this.#low) / WHOLE);
  }

  target(): number {
    return Math.min(WHOLE - 1, Math.floor((this.#value - this.#low) / this.#step()));
  }

  take(from: number, to: number): void {
    const step = this.#step();
    if (to < WHOLE) this.#high = this.#low + step * to - 1;
    this.#low += step * from;
    for (;;) {
      let less: number;
      if (this.#high < 2 ** 31) less = 0;
      else if (this.#low >= 2 ** 31) less = 2 ** 31;
      else if (this.#low >= 2 ** 30 && this.#high < 3 * 2 ** 30) less = 2 ** 30;
      else return;
      this.#low = (this.#low - less) * 2;
      this.#high = (this.#high - less) * 2 + 1;
      this.#value = (this.#value - less) * 2 + this.#bits.ahead(this.#past++);
    }
  }

  flag(chance: number): boolean {
    if (this.target() < chance) {
      this.take(0, chance);
      return false;
    }
    this.take(chance, WHOLE);
    return true;
  }

  raw(n: number): number {
    if (n > 16) return this.raw(16) + this.raw(n - 16) * WHOLE;
    const value = Math.floor(this.target() / (WHOLE / 2 ** n));
    if (n > 0) this.take(value * (WHOLE / 2 ** n), (value + 1) * (WHOLE / 2 ** n));
    return value;
  }

  end(): void {
    this.#bits.pass(this.#past - 30);
    const last = this.#low < 2 ** 30 ? 1 : 2;
    rule(Math.floor(this.#value / 2 ** 30) === last, "NonCanonical", "end of a run");
  }

  /** A number near `mean`; `scale` is 16 times the binary logarithm of the distribution's width. */
  near(mean: number, scale: number): number {
    const index = Math.max(0, Math.min(167, Math.floor(scale / 2 + 0.5) + 32));
    let width = 2 ** (Math.floor(index / 8) - 4);
    for (let k = 0; k < index % 8; k++) width *= Math.sqrt(Math.sqrt(Math.sqrt(2)));
    let low = 0;
    for (; width > 8; width /= 2) low += 1;
    const unit = 2 ** low;
    const nearest = Math.round(mean / unit);
    const centre = mean / unit - nearest - (unit - 1) / (2 * unit);
    const bound = (k: number) => {
      if (k <= -64) return 16;
      if (k > 64) return WHOLE;
      const place = Math.trunc((k - 0.5 - centre) * (128 / width) + 2_560);
      return CURVE[Math.max(0, Math.min(5_120, place))]! + k + 64 + 16;
    };
    const target = this.target();
    let k: number;
    if (target < 16) {
      this.take(0, 16);
      const isBelow = this.raw(1) === 1;
      const bits = this.raw(5);
      k = 2 ** bits + this.raw(bits) + 64;
      if (isBelow) k = -k;
    } else {
      k = -64;
      while (bound(k + 1) <= target) k += 1;
      this.take(bound(k), bound(k + 1));
    }
    return (nearest + k) * unit + this.raw(low);
  }
}

/** One vector that was coded. */
interface Coded {
  readonly residual: readonly number[];
  readonly size: number;
}

function code(
  run: Run,
  history: readonly (readonly number[])[],
  isTurn: boolean,
  lag: number,
  known: number,
  limit: number,
  isLattice: boolean,
  first: Coded | undefined,
  before: Coded | undefined,
  partner: Coded | undefined,
): { lanes: number[]; coded: Coded } {
  const axes = history[0]!.length;
  const group = (isTurn ? 2 : 0) + (first === undefined ? 0 : 1);
  const trained = Math.max(0, LAGS.findLastIndex((l) => l <= lag));
  const row = TABLES[group * 6 + trained]!.map((x) => x / 4_096);
  const unit = TABLES[group * 6]!.map((x) => x / 4_096);
  const steps = Array.from(
    { length: 5 },
    (_, i) => history[i]!.map((x, a) => x - history[i + 1]![a]!),
  );
  const bend = lag * (lag + 1) / 2;
  const predictors = [
    { ahead: row.slice(0, 3), one: unit.slice(0, 3) },
    { ahead: [lag + bend, -bend, 0], one: [2, -1, 0] },
    { ahead: [lag, 0, 0], one: [1, 0, 0] },
    { ahead: [0, 0, 0], one: [0, 0, 0] },
  ];
  const errors = predictors.map(({ one }, p) =>
    [0, 1].map((j) =>
      history[0]!.map((_, a) => {
        const s = (i: number) => steps[j + i]![a]!;
        // The formulas in their own shape: what multiplies by 0 or 1 is left out.
        if (p === 0) return Math.abs(s(0) - (one[0]! * s(1) + one[1]! * s(2) + one[2]! * s(3)));
        return Math.abs(s(0) - (p === 1 ? 2 * s(1) - s(2) : p === 2 ? s(1) : 0));
      })
    )
  );
  const costs = errors.map((e) => e.flat().reduce((sum, x) => sum + x, 0));
  let best = 1;
  for (const p of [2, 3]) if (costs[p]! < costs[best]!) best = p;
  if (LAGS[trained] === lag && costs[0]! * 0.4 <= costs[best]!) best = 0;
  const own = errors[best]!;
  if (known < 5) own[1] = [...own[0]!];
  const w = row.slice(5 + 12 * best, 17 + 12 * best);
  const mean = (list: readonly number[]) => list.reduce((sum, x) => sum + x, 0) / axes;
  let base = w[11]! + w[2]! * lg(mean(own[0]!)) + w[3]! * lg(mean(own[1]!)) +
    w[5]! * lg(mean(steps[0]!.map(Math.abs)));
  if (first !== undefined) base += w[8]! * first.size + w[9]! * before!.size;
  if (partner !== undefined) base += w[10]! * partner.size;
  const lanes: number[] = [];
  const residual: number[] = [];
  let sum = 0;
  for (let a = 0; a < axes; a++) {
    const k = predictors[best]!.ahead;
    let m = history[0]![a]! + k[0]! * steps[0]![a]! + k[1]! * steps[1]![a]! + k[2]! * steps[2]![a]!;
    if (first !== undefined && !isTurn) {
      m += row[3]! * first.residual[a]! + row[4]! * before!.residual[a]!;
    }
    m = Math.max(0, Math.min(limit, m));
    let scale = base + w[0]! * lg(own[0]![a]!) + w[1]! * lg(own[1]![a]!) +
      w[4]! * lg(steps[0]![a]!);
    if (steps.every((d) => d[a] === 0)) scale -= 48;
    if (a === 0) scale += w[7]!;
    else scale += w[6]! * lg(sum / a);
    const odd = lanes.length > 0 ? lanes[0]! % 2 : 0;
    const lane = isLattice && a > 0
      ? 2 * run.near((m - odd) / 2, scale - 16) + odd
      : run.near(m, scale);
    rule(lane >= 0 && lane <= limit, "OutOfRange", `lane ${lane}`);
    lanes.push(lane);
    residual.push(lane - m);
    sum += Math.abs(lane - m);
  }
  return { lanes, coded: { residual, size: lg(sum / axes) } };
}

/** Half of the lattice's lanes, and radians in a step. */
function lattice(field: Field): { centre: number; step: number } {
  const step = field.precision * (Math.PI / 180) * (1.005 / 2 / (Math.sqrt(5) / 4) / 2);
  return { step, centre: 2 * Math.ceil((Math.PI / 4 / step + 1) / 2) };
}

/** The largest of the three lanes of a quaternion. */
export function largestTurnLane(field: Field): number {
  return field.precision > 0 ? 2 * lattice(field).centre : 2 ** field.bits - 2;
}

/** Lanes of a rotation as if `largest` were its largest component. */
function inChart(lanes: readonly number[], largest: number, field: Field): readonly number[] {
  const [was, ...three] = lanes as readonly [number, ...number[]];
  if (was === largest) return three;
  const isLattice = field.precision > 0;
  const half = 2 ** (field.bits - 1) - 1;
  const { centre, step } = isLattice ? lattice(field) : { centre: half, step: Math.SQRT1_2 / half };
  const others = three.map((lane) =>
    isLattice ? tan((lane - centre) * step) : (lane - centre) * step
  );
  const sum = others.reduce((total, x) => total + x * x, 0);
  const q = others.toSpliced(was, 0, isLattice ? 1 : Math.sqrt(Math.max(0, 1 - sum)));
  const sign = q[largest]! < 0 ? -1 : 1;
  const lead = sign * q[largest]!;
  return q.toSpliced(largest, 1).map((x) => {
    const v = sign * x;
    if (!isLattice) return centre + v / step;
    const size = Math.abs(v);
    if (size === 0) return centre + 0 / step;
    const angle = size <= lead ? atan(size / lead) : 2 * (Math.PI / 4) - atan(lead / size);
    return centre + (v < 0 ? -angle : angle) / step;
  });
}

/** What lies between and behind the versions that are named. */
function filled(named: readonly (readonly number[] | undefined)[]): (readonly number[])[] {
  const known = named.findLastIndex((v) => v !== undefined) + 1;
  const all: (readonly number[])[] = [];
  for (let i = 0; i < 6; i++) {
    const one = named[i];
    if (one !== undefined) all.push(one);
    else if (i < known) {
      const older = named.findIndex((v, k) => k > i && v !== undefined);
      all.push(all[i - 1]!.map((x, a) => x + (named[older]![a]! - x) / (older - i + 1)));
    } else all.push(all[i - 1]!.map((x, a) => 2 * x - all[i - 2]![a]!));
  }
  return all;
}

/** Whether the contents of a field stand in a run. */
export function isForetold(field: Field): boolean {
  if (field.kind === "quat") return true;
  const lanes = field.kind === "vec3" ? 3 : field.kind === "f32" ? 1 : 0;
  return lanes * widthOf(Math.max(0, largestLane(field))) > 8;
}

/**
 * Reads a run.
 *
 * @param versions The baseline and those before it, by units of time; `undefined` for one that is not named.
 * @param lag Ticks from the baseline to the value, in units.
 * @param isSteady Whether all versions have one offset.
 * @returns By field: new contents, `true` for one whose contents stand behind the run, `undefined` for one that did not change; and how much
 * larger than the baseline's the offset is.
 */
export function readRun(
  bits: Bits,
  layout: Layout,
  versions: readonly (Value | undefined)[],
  lag: number,
  isSteady: boolean,
): { fields: (FieldValue | true | undefined)[]; shift: number } {
  const run = new Run(bits);
  let shift = 0;
  if (!isSteady || run.flag(65_000)) {
    shift = run.near(0, 14);
    rule(
      shift === (shift | 0) && !(isSteady && shift === 0),
      "OutOfRange",
      `offset moved by ${shift}`,
    );
  }
  const base = versions[0]!;
  const newest = versions.find((v, i) => i > 0 && v !== undefined)!;
  const known = versions.findLastIndex((v) => v !== undefined) + 1;
  const count = base.filter((field) => field !== undefined).length;
  const coded: { first?: Coded; before?: Coded; firstTurn?: Coded; turnBefore?: Coded } = {};
  const result = layout.fields.map((field, i): FieldValue | true | undefined => {
    const was = base[i];
    if (was === undefined) return undefined;
    if (count > 1) {
      const differs = (version: Value | undefined) =>
        version !== undefined && was.some((x, k) => x !== version[i]![k]);
      const still = versions.some(differs) ? 49_152 : 64_880;
      const chance = !isForetold(field) ? 60_000 : differs(newest) ? 100 : still;
      if (!run.flag(chance)) return undefined;
    }
    if (!isForetold(field)) return true;
    const named = versions.map((version) => version?.[i] as readonly number[] | undefined);
    if (field.kind === "quat") {
      let largest = was[0]!;
      if (run.flag(64_880)) {
        const turn = run.raw(2);
        rule(turn !== 0, "OutOfRange", "another largest that is the same");
        largest = (largest + turn) % 4;
      }
      const history = filled(named.map((v) => v && inChart(v, largest, field)));
      const one = code(
        run,
        history,
        true,
        lag,
        known,
        largestTurnLane(field),
        field.precision > 0,
        coded.firstTurn,
        coded.turnBefore,
        coded.before,
      );
      coded.firstTurn ??= one.coded;
      coded.turnBefore = one.coded;
      return [largest, ...one.lanes];
    }
    const isVector = field.kind === "vec3";
    const first = isVector ? coded.first : undefined;
    const limit = largestLane(field);
    const one = code(
      run,
      filled(named),
      false,
      lag,
      known,
      limit,
      false,
      first,
      coded.before,
      undefined,
    );
    if (isVector) {
      coded.first ??= one.coded;
      coded.before = one.coded;
    }
    return one.lanes;
  });
  run.end();
  rule(result.some((field) => field !== undefined), "NonCanonical", "a run without change");
  return { fields: result, shift };
}
