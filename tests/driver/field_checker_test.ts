// Whatever is written and however it is clamped: what holds lies in its field's range, within its bounds, and no farther from the value
// before than the checks let it be.

import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import { roundingOf } from "../../permissions/check_scale.ts";
import { isLaneInRange } from "../../replication/quantise.ts";
import { changeOf } from "../../driver/check_measure.ts";
import { checkedGrants, CheckedWriter } from "../support/checked_writer.ts";

const POINT = { type: "vec3", min: -512, max: 512, precision: 0.001 };
const REAL = { type: "f32", min: -512, max: 512, precision: 0.001 };
/** A range of no power of two, and one of few steps. */
const ODD = { type: "vec3", min: -512, max: 536.575, precision: 0.001 };
const COARSE = { type: "vec3", min: 0, max: 100, precision: 5 };

interface Case {
  readonly field: Record<string, unknown>;
  readonly low: number;
  readonly high: number;
  readonly check: Record<string, unknown>;
}

const CORNERS = { min: [-500, -500, -500], max: [500, 500, 500] };
const CASES: readonly Case[] = [
  ...[
    { maxSpeed: 8 },
    { maxStep: 1 },
    { maxAcceleration: 5 },
    { maxSpeed: 100, maxAcceleration: 5 },
    { maxSpeed: 50, maxAcceleration: 5, bounds: CORNERS },
    { maxSpeed: 50, maxStep: 3, bounds: { min: [-5, 0, -500], max: [500, 5, 500] } },
    { maxSpeed: 50, maxAcceleration: 20, maxStep: 9, rateHz: 20, bounds: CORNERS },
  ].map((check) => ({ field: POINT, low: -512, high: 512, check })),
  { field: ODD, low: -512, high: 536.575, check: { maxAcceleration: 5 } },
  { field: COARSE, low: 0, high: 100, check: { maxAcceleration: 30 } },
  ...[
    { maxSpeed: 8 },
    { maxStep: 1 },
    { maxAcceleration: 5 },
    { maxSpeed: 50, maxAcceleration: 5, bounds: { min: -500, max: 500 } },
  ].map((check) => ({ field: REAL, low: -512, high: 512, check })),
  ...[{ maxSpeed: 1e9 }, { maxStep: 1e9 }, { maxStep: 3, bounds: { min: 5, max: 4e9 } }].map((
    check,
  ) => ({ field: { type: "u32" }, low: 0, high: 2 ** 32 - 1, check })),
  ...[{ maxSpeed: 1e9 }, { maxStep: 7, bounds: { min: -2e9, max: 2e9 } }].map((check) => ({
    field: { type: "i32" },
    low: -(2 ** 31),
    high: 2 ** 31 - 1,
    check,
  })),
  { field: { type: "u8", max: 9 }, low: 0, high: 9, check: { maxStep: 2 } },
  {
    field: { type: "u16" },
    low: 0,
    high: 65_535,
    check: { maxSpeed: 5, bounds: { min: 9, max: 99 } },
  },
  ...[{ maxSpeed: 3 }, { maxStep: 0.5 }, { rateHz: 9 }].map((check) => ({
    field: { type: "quat", bits: 10 },
    low: -1,
    high: 1,
    check,
  })),
  { field: { type: "bool" }, low: 0, high: 1, check: { rateHz: 1 } },
];

/** One thing to write: an end of the range, anything in it, or a way on from where it is. */
function pick(
  { field, low, high }: Case,
  prng: Prng,
  here: readonly number[] | undefined,
): number[] {
  if (field["type"] === "quat") {
    const four = [0, 0, 0, 0].map(() => prng.nextFloat() * 2 - 1);
    const size = Math.hypot(...four);
    return four.map((one) => one / size);
  }
  const isReal = "precision" in field;
  const goesOn = here !== undefined && prng.nextFloat() < 0.8;
  return Array.from({ length: field["type"] === "vec3" ? 3 : 1 }, (_, i) => {
    const end = prng.nextFloat();
    const far = end < 0.2 ? low : end < 0.4 ? high : low + (high - low) * prng.nextFloat();
    const to = goesOn ? here[i]! + (far - here[i]!) * prng.nextFloat() * 0.2 : far;
    const kept = Math.max(low, Math.min(high, to));
    return isReal ? kept : Math.round(kept);
  });
}

Deno.test("FieldChecker.judge() clamps no lane out of its range, its bounds or its step, whatever is written", () => {
  for (const [index, one] of CASES.entries()) {
    let clamped = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const prng = new Prng(index * 100 + seed);
      const { check } = one;
      const grants = checkedGrants({ v: one.field }, { v: { ...check, onViolation: "clamp" } });
      const writer = new CheckedWriter(grants);
      const [field] = writer.component.fields;
      const [compiled] = writer.component.checks;
      let ms = 1_000;
      for (let i = 0; i < 500; i++) {
        ms += prng.nextFloat() < 0.02 ? 3_000 : 5 + prng.nextFloat() * 60;
        const before = writer.present && Int32Array.from(writer.present.lanes);
        const v = pick(one, prng, before && writer.read("v"));
        const late = prng.nextFloat() < 0.1 ? 2_000 : 50;
        if (!writer.write({ v }, ms, ms - late * prng.nextFloat())) clamped += 1;
        const { lanes } = writer.present!;
        const context = `${JSON.stringify(one)}, seed ${seed}, write ${i}`;
        for (let lane = 0; lane < field!.lanes; lane++) {
          assert(isLaneInRange(field!, lane, lanes[lane]!), `${context}: lane ${lanes[lane]}`);
          const value = field!.min + (lanes[lane]! >>> 0) * field!.precision;
          if (compiled!.min.length === 0) continue;
          assertLessOrEqual(compiled!.min[lane]! - value, field!.precision, context);
          assertLessOrEqual(value - compiled!.max[lane]!, field!.precision, context);
        }
        if (before === undefined || compiled!.maxStep === 0) continue;
        const step = changeOf(field!, before, 0, lanes, 0);
        assertLessOrEqual(step, compiled!.maxStep + roundingOf(field!) + 1e-9, context);
      }
    }
    assertGreater(clamped, 10, JSON.stringify(one));
  }
});

Deno.test("FieldChecker.judge() lets one that was put outside the bounds walk back, and no farther out", () => {
  const bounds = { min: [-9, -9, -9], max: [9, 9, 9] };
  for (const onViolation of ["reject", "clamp"]) {
    const writer = new CheckedWriter(
      checkedGrants({ at: POINT }, { at: { maxSpeed: 8, bounds, onViolation } }),
    );
    writer.write({ at: [0, 0, 0] }, 1_000);
    writer.override("at", [20, 0, 30]);
    let ms = 1_000;
    const walk = (x: number, z: number) => {
      ms += 33;
      const [fromX, , fromZ] = writer.read("at");
      return writer.write({ at: [fromX! + x, 0, fromZ! + z] }, ms);
    };
    assert(walk(-0.2, 0), onViolation);
    assert(!walk(0.1, 0), "back out again");
    assert(!walk(-0.1, 0.1), "nearer on one axis, farther on another");
    assertEquals(new Set(writer.take()), new Set(["at bounds"]));
    for (let i = 0; i < 200; i++) walk(-0.2, 0);
    for (let i = 0; i < 300; i++) walk(0, -0.2);
    const [x, , z] = writer.read("at");
    assert(Math.abs(x!) <= 9 && Math.abs(z!) <= 9, `${onViolation}: ${x}, ${z}`);
    // Inside, the bounds are what they are.
    assert(!writer.write({ at: [10, 0, 0] }, ms + 20_000));
  }
});

Deno.test("FieldChecker.judge() takes at once what a path held up, at the rate of the field", () => {
  for (const [hz, stall] of [[5, 400], [5, 700], [5, 1_900], [20, 1_900]] as const) {
    const writer = new CheckedWriter(
      checkedGrants({ shots: { type: "u32" } }, { shots: { rateHz: hz } }),
    );
    for (let i = 0; i <= hz * 10; i++) {
      const ms = 1_000 + i * 1000 / hz;
      const arrival = ms > 4_000 && ms < 4_000 + stall ? 4_000 + stall : ms;
      writer.write({ shots: [i] }, arrival, ms);
    }
    assertEquals(writer.take(), [], `${hz} Hz, ${stall} ms`);
    // Who goes on at three times the rate is held to it all the same.
    let taken = 0;
    for (let i = 1; i <= hz * 30; i++) {
      if (writer.write({ shots: [1_000 + i] }, 12_000 + i * 1000 / (3 * hz))) taken += 1;
    }
    assertLessOrEqual(taken, hz * 1.25 * 13 + 2, `${hz} Hz`);
  }
});
