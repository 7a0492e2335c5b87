// Quantising: every lane that comes out stays what it is through float32, and nothing outside the declared range gets in.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { FieldGrant } from "../../permissions/grants.ts";
import {
  dequantiseField,
  isLaneInRange,
  laneMax,
  quantiseField,
  setNeutral,
} from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { createPrng } from "../support/prng.ts";
import { randomNumbers, randomRotation } from "../support/random_values.ts";
import {
  EVERYTHING,
  type FieldSpec,
  layOutFields,
  sampleGrants,
} from "../support/sample_grants.ts";

function fieldOf(spec: Omit<FieldSpec, "name">): FieldGrant {
  return layOutFields([{ name: "f", ...spec }]).fields[0]!;
}

/** The lanes of numbers, or undefined when they are refused. */
function quantised(field: FieldGrant, numbers: readonly number[]): number[] | undefined {
  const lanes = new Int32Array(field.lanes).fill(-77);
  const isTaken = quantiseField(field, numbers, 0, lanes, 0);
  if (!isTaken) assert(lanes.every((lane) => lane === -77), "a refused value writes nothing");
  return isTaken ? [...lanes] : undefined;
}

/** Out and in again, through float32 as the engine link carries it. */
function again(field: FieldGrant, lanes: readonly number[]): number[] | undefined {
  const numbers = new Float64Array(4);
  dequantiseField(field, lanes, 0, numbers, 0);
  const isReal = field.kind === "f32" || field.kind === "vec3" || field.kind === "quat";
  return quantised(field, isReal ? [...new Float32Array(numbers)] : [...numbers]);
}

Deno.test("`quantiseField()` is undone by `dequantiseField()` and gives the same lanes again, for every type", () => {
  const fields = sampleGrants().components[EVERYTHING]!.fields.filter((f) => f.lanes > 0);
  fc.assert(
    fc.property(fc.constantFrom(...fields), fc.integer(), (field, seed) => {
      const lanes = quantised(field, randomNumbers(field, createPrng(seed)));
      assert(lanes !== undefined, field.kind);
      assertEquals(again(field, lanes), lanes);
      for (const [i, lane] of lanes.entries()) assert(isLaneInRange(field, i, lane));
    }),
    { seed: 1, numRuns: 5_000 },
  );
});

Deno.test("`quantiseField()` keeps every lane of f32, when the range is as wide and as crooked as a manifest allows", () => {
  const precisions = [1, 0.001, 0.01, 1 / 3, 0.1, 1e-6, 1000.1];
  fc.assert(
    fc.property(
      fc.constantFrom(...precisions),
      fc.integer({ min: -(2 ** 22), max: 0 }),
      fc.integer({ min: 1, max: 2 ** 22 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (precision, low, high, share) => {
        const field = fieldOf({
          kind: "f32",
          min: low * precision,
          max: high * precision,
          precision,
        });
        assertEquals(laneMax(field), high - low);
        for (const lane of [0, Math.floor(share * (high - low)), high - low]) {
          assertEquals(again(field, [lane]), [lane]);
        }
      },
    ),
    { seed: 2, numRuns: 3_000 },
  );
});

Deno.test("`quantiseField()` stays within half a step, when a number is in range", () => {
  const field = fieldOf({ kind: "f32", min: -5, max: 5, precision: 0.01 });
  fc.assert(
    fc.property(fc.double({ min: -5, max: 5, noNaN: true }), (value) => {
      const out = [0];
      dequantiseField(field, quantised(field, [value])!, 0, out, 0);
      assert(Math.abs(out[0]! - value) <= 0.005 + 1e-6, `${value} became ${out[0]}`);
    }),
    { seed: 3 },
  );
});

Deno.test("`quantiseField()` refuses, when a number is not finite, out of range or not whole", () => {
  const refused: [Omit<FieldSpec, "name">, number[][]][] = [
    [{ kind: "bool" }, [[2], [-1], [0.5], [NaN]]],
    [{ kind: "u8" }, [[256], [-1], [1.5], [Infinity]]],
    [{ kind: "u16", min: 10, max: 60_000 }, [[9], [60_001], [NaN]]],
    [{ kind: "u32" }, [[2 ** 32], [-1]]],
    [{ kind: "i32" }, [[2 ** 31], [-(2 ** 31) - 1]]],
    [{ kind: "f32", min: -5, max: 5, precision: 0.01 }, [
      [5.006],
      [-5.006],
      [NaN],
      [Infinity],
      [-Infinity],
    ]],
    [{ kind: "vec3", min: -5, max: 5, precision: 0.01 }, [[0, 0, 6], [0, NaN, 0], [-6, 0, 0]]],
    [{ kind: "enum", values: ["a", "b", "c"] }, [[3], [-1], [0.5], [NaN]]],
    [{ kind: "entity" }, [[2 ** 32], [-1], [NaN]]],
    [{ kind: "quat" }, [[0, 0, 0, 0.98], [0, 0, 0, 1.02], [NaN, 0, 0, 1], [Infinity, 0, 0, 1]]],
    [{ kind: "string" }, [[0]]],
  ];
  for (const [spec, cases] of refused) {
    for (const numbers of cases) {
      assertEquals(quantised(fieldOf(spec), numbers), undefined, `${spec.kind} ${numbers}`);
    }
  }
});

Deno.test("`quantiseField()` takes the ends of each range, when they are whole steps", () => {
  assertEquals(quantised(fieldOf({ kind: "u32" }), [2 ** 32 - 1]), [-1]);
  assertEquals(quantised(fieldOf({ kind: "i32" }), [-(2 ** 31)]), [0]);
  assertEquals(quantised(fieldOf({ kind: "i32" }), [2 ** 31 - 1]), [-1]);
  assertEquals(quantised(fieldOf({ kind: "u16", min: 10, max: 12 }), [12]), [2]);
  const metre = fieldOf({ kind: "vec3", min: -1000, max: 1000, precision: 0.001 });
  assertEquals(quantised(metre, [-1000, 0, 1000]), [0, 1_000_000, 2_000_000]);
  // 0.1 is not a float32: what an engine sends for the end of the range lies a little outside it.
  const tenth = fieldOf({ kind: "f32", min: -0.1, max: 0.1, precision: 0.1 });
  assertEquals(quantised(tenth, [Math.fround(-0.1)]), [0]);
  assertEquals(quantised(tenth, [Math.fround(0.1)]), [2]);
});

Deno.test("`quantiseField()` gives the same lanes for a rotation and its negative, when both mean the same", () => {
  const field = fieldOf({ kind: "quat", bits: 10 });
  const prng = createPrng(4);
  for (let i = 0; i < 2_000; i++) {
    const q = randomRotation(prng);
    assertEquals(quantised(field, q), quantised(field, q.map((v) => -v)));
  }
});

Deno.test("`quantiseField()` keeps the lanes of rotations near ties, at every number of bits", () => {
  for (let bits = 4; bits <= 16; bits++) {
    const field = fieldOf({ kind: "quat", bits });
    const prng = createPrng(bits);
    for (let i = 0; i < 3_000; i++) {
      const tie = 0.5 + prng() * 0.2071;
      const width = 2 ** -bits * 3;
      const near = (): number => tie + (prng() - 0.5) * width;
      const q = [near(), near(), i % 2 === 0 ? near() : prng() * 0.2, 0];
      const rest = 1 - q[0]! ** 2 - q[1]! ** 2 - q[2]! ** 2;
      q[3] = rest > 0 ? Math.sqrt(rest) : prng() * width;
      const length = Math.hypot(...q);
      const turn = Math.floor(prng() * 4);
      const unit = q.map((_, k) => q[(k + turn) % 4]! / length * (prng() < 0.5 ? -1 : 1));
      const lanes = quantised(field, unit)!;
      assertEquals(again(field, lanes), lanes, `bits ${bits}, ${unit}`);
    }
  }
});

Deno.test("`quantiseField()` settles every set of lanes that a peer could send, when they are coarse", () => {
  const field = fieldOf({ kind: "quat", bits: 4 });
  for (let lanes = 0; lanes < 4 * 16 ** 3; lanes++) {
    const sent = [lanes >> 12, (lanes >> 8) & 15, (lanes >> 4) & 15, lanes & 15];
    const settled = again(field, sent)!;
    assertEquals(again(field, settled), settled, `${sent}`);
  }
});

Deno.test("`quantiseField()` keeps rotations about one axis exact where they can be, and close elsewhere", () => {
  const field = fieldOf({ kind: "quat", bits: 10 });
  const out = [0, 0, 0, 0];
  dequantiseField(field, quantised(field, [0, 0, 0, -1])!, 0, out, 0);
  assertEquals(out, [0, 0, 0, 1]);
  const prng = createPrng(5);
  for (let i = 0; i < 2_000; i++) {
    const q = randomRotation(prng);
    dequantiseField(field, quantised(field, q)!, 0, out, 0);
    assertAlmostEquals(Math.hypot(...out), 1, 1e-6);
    const dot = Math.abs(q.reduce((sum, v, k) => sum + v * out[k]!, 0));
    const degrees = 2 * Math.acos(Math.min(1, dot)) * 180 / Math.PI;
    // Three errors of half a step and the largest's, which they add up to: 2 * sqrt(3 + 9) * 0.00069 radians, more at a tie.
    assert(degrees < 0.35, `${q} turned by ${degrees} degrees`);
  }
});

Deno.test("`isLaneInRange()` knows the last lane of each type, when a peer sends more", () => {
  const cases: [Omit<FieldSpec, "name">, number, number, boolean][] = [
    [{ kind: "bool" }, 0, 1, true],
    [{ kind: "bool" }, 0, 2, false],
    [{ kind: "bool" }, 0, -1, false],
    [{ kind: "u16", min: 10, max: 12 }, 0, 2, true],
    [{ kind: "u16", min: 10, max: 12 }, 0, 3, false],
    [{ kind: "u32" }, 0, -1, true],
    [{ kind: "f32", min: 0, max: 1, precision: 0.25 }, 0, 4, true],
    [{ kind: "f32", min: 0, max: 1, precision: 0.25 }, 0, 5, false],
    [{ kind: "f32", min: 0, max: 1, precision: 0.25 }, 0, -1, false],
    [{ kind: "vec3", min: 0, max: 1, precision: 0.25 }, 2, 4, true],
    [{ kind: "vec3", min: 0, max: 1, precision: 0.25 }, 2, 5, false],
    [{ kind: "enum", values: ["a", "b"] }, 0, 1, true],
    [{ kind: "enum", values: ["a", "b"] }, 0, 2, false],
    [{ kind: "entity" }, 0, -1, true],
    [{ kind: "quat", bits: 10 }, 0, 3, true],
    [{ kind: "quat", bits: 10 }, 0, 4, false],
    [{ kind: "quat", bits: 10 }, 0, -1, false],
    [{ kind: "quat", bits: 10 }, 3, 1022, true],
    [{ kind: "quat", bits: 10 }, 3, 1023, false],
    [{ kind: "quat", bits: 10 }, 4, 0, false],
    [{ kind: "string" }, 0, 0, false],
  ];
  for (const [spec, lane, value, expected] of cases) {
    assertEquals(isLaneInRange(fieldOf(spec), lane, value), expected, `${spec.kind} ${value}`);
  }
});

Deno.test("`setNeutral()` gives a value that can be shown, when an engine set only some fields", () => {
  const component = sampleGrants().components[EVERYTHING]!;
  const value = createValue(component);
  value.blobs.fill(new Uint8Array(3));
  value.lanes.fill(1);
  setNeutral(component, value);
  const numbers = [0, 0, 0, 0];
  const shown = component.fields.filter((f) => f.lanes > 0).map((field) => {
    dequantiseField(field, value.lanes, field.laneOffset, numbers, 0);
    return numbers.slice(0, field.lanes);
  });
  assertEquals(shown, [
    [0],
    [0],
    [10],
    [0],
    [0],
    [0],
    [0, 0, 0],
    [0, 0, 0, 1],
    [0],
    [0],
  ]);
  assertEquals(value.blobs.map((b) => b.length), [0, 0]);
});
