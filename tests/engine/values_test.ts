import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type ComponentValues,
  maskOfValues,
  plainValues,
  quantiseValues,
} from "../../engine/values.ts";
import { Rule } from "../../permissions/rule.ts";
import { RowReader, RowWriter } from "../../replication/row_codec.ts";
import { createValue } from "../../replication/value.ts";
import { EVERYTHING, sampleGrants } from "../support/sample_grants.ts";

const everything = sampleGrants().components[EVERYTHING]!;

const GOOD: ComponentValues = {
  flag: true,
  small: 255,
  medium: 10,
  large: 0xffff_ffff,
  signed: -0x8000_0000,
  real: 1.25,
  point: [1, -2, 3.5],
  turn: [0, 0, 0, 1],
  text: "Grüße 🙂",
  data: Uint8Array.of(0, 255, 7),
  choice: "blue",
  target: 0x8000_0001,
};

function quantise(values: ComponentValues, mask = everything.allFields) {
  const value = createValue(everything);
  const found = quantiseValues(everything, values, mask, value, (handle) => handle !== 99);
  return { ...found, value };
}

Deno.test("quantiseValues() and plainValues() are inverse, for every type of field", () => {
  const { mask, rule, value } = quantise(GOOD);
  assertEquals(rule, undefined);
  assertEquals(mask, everything.allFields);
  assertEquals(plainValues(everything, value, mask), {
    ...GOOD,
    point: [1, -2, 3.5],
  });
});

Deno.test("quantiseValues() leaves out what is not named or not in the mask", () => {
  const { mask, rule, value } = quantise({ small: 3, text: "x", flag: true }, 0b11);
  assertEquals(rule, undefined);
  assertEquals(mask, 0b11);
  assertEquals(plainValues(everything, value, mask), { flag: true, small: 3 });
  assertEquals(maskOfValues(everything, { small: 3, nothing: 4, text: "x" }), 0b1_0000_0010);
});

Deno.test("quantiseValues() gives the rule and the field of everything that is not fit to leave", () => {
  const bad: [ComponentValues, Rule][] = [
    [{ flag: 1 }, Rule.Format],
    [{ small: 256 }, Rule.Range],
    [{ small: 1.5 }, Rule.Range],
    [{ small: "1" }, Rule.Format],
    [{ medium: 9 }, Rule.Range],
    [{ signed: NaN }, Rule.NotFinite],
    [{ real: Infinity }, Rule.NotFinite],
    [{ real: 5.1 }, Rule.Range],
    [{ point: [1, 2] }, Rule.Format],
    [{ point: [1, 2, NaN] }, Rule.NotFinite],
    [{ point: [1, 2, 100.1] }, Rule.Range],
    [{ turn: [0, 0, 0, 2] }, Rule.Range],
    [{ text: 5 }, Rule.Format],
    [{ text: "ä".repeat(33) }, Rule.Size],
    [{ data: "text" }, Rule.Format],
    [{ data: new Uint8Array(257) }, Rule.Size],
    [{ choice: "purple" }, Rule.Range],
    [{ choice: 1 }, Rule.Format],
    [{ target: "x" }, Rule.Format],
  ];
  for (const [values, rule] of bad) {
    const found = quantise({ ...values, large: 5 });
    const what = Object.keys(values)[0]!;
    assertEquals(found.rule, rule, what);
    assertEquals(found.badFields, maskOfValues(everything, values), what);
    assertEquals(found.mask, maskOfValues(everything, { large: 5 }), what);
  }
});

Deno.test("quantiseValues() reports names that are no fields, inherited ones among them", () => {
  assertEquals(quantise({ nothing: 1 }).rule, Rule.Field);
  assertEquals(maskOfValues(everything, Object.create({ small: 1 })), 0);
});

Deno.test("quantiseValues() turns references to unknown entities into none", () => {
  const { value, rule } = quantise({ target: 99 });
  assertEquals(rule, undefined);
  assertEquals(plainValues(everything, value, 1 << 11), { target: 0 });
});

Deno.test("quantiseValues() copies bytes, when the caller goes on using its buffer", () => {
  const data = Uint8Array.of(1, 2, 3);
  const { value } = quantise({ data });
  data.fill(9);
  assertEquals(plainValues(everything, value, 1 << 9), { data: Uint8Array.of(1, 2, 3) });
});

Deno.test("quantiseValues() survives packed rows: what arrives equals what was quantised", () => {
  const unit = fc.double({ min: -1, max: 1, noNaN: true });
  const turn = fc.tuple(unit, unit, unit, unit).map((parts) => {
    const length = Math.hypot(...parts);
    return length < 1e-3 ? [0, 0, 0, 1] : parts.map((part) => part / length);
  });
  const metres = fc.double({ min: -100, max: 100, noNaN: true });
  const values: fc.Arbitrary<ComponentValues> = fc.record({
    flag: fc.boolean(),
    small: fc.nat(255),
    medium: fc.integer({ min: 10, max: 60_000 }),
    large: fc.integer({ min: 0, max: 0xffff_ffff }),
    signed: fc.integer(),
    real: fc.double({ min: -5, max: 5, noNaN: true }),
    point: fc.tuple(metres, metres, metres),
    turn,
    text: fc.string({ unit: "grapheme", maxLength: 8 }).filter((text) =>
      new TextEncoder().encode(text).length <= 64
    ),
    data: fc.uint8Array({ maxLength: 256 }),
    choice: fc.constantFrom("red", "green", "blue"),
    target: fc.integer({ min: 100, max: 0xffff_ffff }),
  });
  fc.assert(
    fc.property(values, (original) => {
      const { value, mask, rule } = quantise(original);
      assertEquals(rule, undefined);
      const writer = new RowWriter(everything);
      writer.push(mask, value, (handle) => handle);
      const arrived = createValue(everything);
      new RowReader(everything, writer.finish(), 1).next(mask, arrived, (handle) => handle);
      assertEquals(arrived, value);
      const again = quantise(plainValues(everything, arrived, mask));
      assertEquals(again.value, value);
    }),
    { seed: 5, numRuns: 500 },
  );
});
