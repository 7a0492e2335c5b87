import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Fault } from "../../protocol/faults.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import { FieldCodec } from "../../replication/field_codec.ts";
import { quantiseField, setNeutral } from "../../replication/quantise.ts";
import { isRotation } from "../../replication/quaternion.ts";
import {
  changedFields,
  type ComponentValue,
  copyValue,
  createValue,
} from "../../replication/value.ts";
import { below, createPrng } from "../support/prng.ts";
import { randomise, randomRotation, randomValue } from "../support/random_values.ts";
import { buildComponents, EVERYTHING_FIELDS, type FieldSpec } from "../support/sample_grants.ts";

const EVERYTHING = buildComponents([{ id: 1, name: "E", fields: EVERYTHING_FIELDS }])[0]!;

function component(...fields: FieldSpec[]) {
  return buildComponents([{ id: 1, name: "C", fields }])[0]!;
}

/** Decodes a change over `reference`; the fault, or the new value. */
function decodeChange(
  codec: FieldCodec,
  shape: ReturnType<typeof component>,
  bytes: Uint8Array,
  reference: ComponentValue,
): Fault | ComponentValue {
  const out = createValue(shape);
  copyValue(reference, out);
  const reader = new Reader(bytes);
  codec.decodeDelta(reader, out, shape.allFields);
  return reader.finish() ?? out;
}

Deno.test("`FieldCodec.decodeAbsolute()` reads what `encodeAbsolute()` wrote, field by field", () => {
  const prng = createPrng(1);
  const codec = new FieldCodec(EVERYTHING);
  for (let i = 0; i < 2_000; i++) {
    const value = randomValue(EVERYTHING, prng);
    const mask = 1 + below(prng, EVERYTHING.allFields);
    const writer = new Writer();
    codec.encodeAbsolute(writer, value, mask);
    assert(writer.byteLength <= codec.maxBytes);
    const out = randomValue(EVERYTHING, prng);
    const reader = new Reader(writer.finish());
    assertEquals(codec.decodeAbsolute(reader, out), mask);
    assertEquals(reader.finish(), undefined, `round ${i}`);
    assertEquals(changedFields(EVERYTHING, value, out, mask), 0);
    // What the peer is not sent is not there, whatever the result held before.
    const rest = EVERYTHING.allFields & ~mask;
    assertEquals(changedFields(EVERYTHING, createValue(EVERYTHING), out, rest), 0);
  }
});

Deno.test("`FieldCodec.decodeDelta()` turns the reference into the value", () => {
  const prng = createPrng(2);
  const codec = new FieldCodec(EVERYTHING);
  for (let i = 0; i < 4_000; i++) {
    const reference = randomValue(EVERYTHING, prng);
    const value = createValue(EVERYTHING);
    copyValue(reference, value);
    randomise(EVERYTHING, value, below(prng, EVERYTHING.allFields + 1), prng);
    // Small steps, as motion makes them.
    const small = EVERYTHING.fields.find((field) => field.kind === "vec3")!;
    const lane = small.laneOffset + below(prng, 3);
    value.lanes[lane] = Math.max(0, Math.min(20_000, value.lanes[lane]! + below(prng, 9) - 4));
    const writer = new Writer();
    const changed = codec.encodeDelta(writer, reference, value, EVERYTHING.allFields);
    assertEquals(changed, changedFields(EVERYTHING, reference, value, EVERYTHING.allFields));
    if (changed === 0) {
      assertEquals(writer.bitLength, 0);
      continue;
    }
    assertEquals(decodeChange(codec, EVERYTHING, writer.finish(), reference), value);
  }
});

Deno.test("`FieldCodec` round-trips the ends of 32-bit ranges as differences", () => {
  const shape = component({ name: "v", kind: "u32" }, { name: "w", kind: "i32" });
  const codec = new FieldCodec(shape);
  const ends = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
  for (const from of ends) {
    for (const to of ends) {
      if (from === to) continue;
      const reference = createValue(shape);
      const value = createValue(shape);
      reference.lanes.fill(from);
      value.lanes.fill(to);
      const writer = new Writer();
      codec.encodeDelta(writer, reference, value, shape.allFields);
      assertEquals(decodeChange(codec, shape, writer.finish(), reference), value);
    }
  }
});

Deno.test("`FieldCodec.encodeDelta()` makes a small step of a position and a rotation short", () => {
  const shape = component(
    { name: "p", kind: "vec3", min: -1000, max: 1000, precision: 0.001 },
    { name: "q", kind: "quat", bits: 10 },
  );
  const codec = new FieldCodec(shape);
  const reference = createValue(shape);
  reference.lanes.set([500_000, 1_000_000, 700_000, 3, 511, 500, 520]);
  const value = createValue(shape);
  value.lanes.set([500_020, 1_000_003, 699_990, 3, 513, 499, 520]);
  const writer = new Writer();
  codec.encodeDelta(writer, reference, value, shape.allFields);
  // Mask 2; position 5 + 3 x 6; rotation 1 + 5 + 3 x 3.
  assertEquals(writer.bitLength, 2 + 5 + 18 + 1 + 5 + 9);
});

Deno.test("`FieldCodec.encodeDelta()` leaves out what the peer may not read", () => {
  const shape = component({ name: "open", kind: "u16" }, { name: "secret", kind: "u16" });
  const codec = new FieldCodec(shape);
  const reference = createValue(shape);
  const value = createValue(shape);
  value.lanes.set([0, 5]);
  const writer = new Writer();
  assertEquals(codec.encodeDelta(writer, reference, value, 0b01), 0);
  value.lanes.set([7, 5]);
  assertEquals(codec.encodeDelta(writer, reference, value, 0b01), 0b01);
  assertEquals(decodeChange(codec, shape, writer.finish(), reference), {
    lanes: Int32Array.of(7, 0),
    blobs: [],
  });
});

Deno.test("`FieldCodec` writes text as whole bytes that a search finds", () => {
  const shape = component({ name: "b", kind: "bool" }, { name: "t", kind: "string" });
  const codec = new FieldCodec(shape);
  const text = new TextEncoder().encode("CANARY");
  const value = createValue(shape);
  value.blobs[0] = text;
  const writer = new Writer();
  codec.encodeAbsolute(writer, value, 0b11);
  const bytes = writer.finish();
  const reader = new Reader(bytes);
  // Two bits of mask, one of the bool, eight of the length.
  reader.bits(11);
  assertEquals(reader.bytes(6), text);
});

const V = component({ name: "v", kind: "u16", max: 1_000 });

/** The bits of one u16 field of a range that takes 10 bits: mask, then what `write` adds. */
function bits(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  write(writer);
  return writer.finish();
}

Deno.test("`FieldCodec.decodeDelta()` refuses every second encoding", () => {
  const codec = new FieldCodec(V);
  const reference = createValue(V);
  reference.lanes[0] = 500;
  const change = (width: number, z: number, bitCount = width) =>
    decodeChange(
      codec,
      V,
      bits((w) => {
        w.bits(1, 1);
        w.bits(width, 5);
        w.bits(z, bitCount);
      }),
      reference,
    );
  assertEquals((change(3, 6) as ComponentValue).lanes[0], 503);
  assertEquals(change(4, 6), Fault.NonCanonical, "wider than needed");
  assertEquals(change(3, 0), Fault.NonCanonical, "no change");
  assertEquals(change(10, 700), Fault.NonCanonical, "a difference as wide as the lane");
  assertEquals(change(0, 503, 10), Fault.NonCanonical, "absolute where a difference is shorter");
  assertEquals(change(0, 1_001, 10), Fault.OutOfRange, "above the range");
  assertEquals((change(0, 0, 10) as ComponentValue).lanes[0], 0, "absolute");
  const empty = bits((w) => w.bits(0, 1));
  assertEquals(decodeChange(codec, V, empty, reference), Fault.NonCanonical, "no field");
});

Deno.test("`FieldCodec.decodeDelta()` refuses fields of other kinds that do not change", () => {
  const specs: FieldSpec[] = [
    { name: "b", kind: "bool" },
    { name: "q", kind: "quat" },
    { name: "t", kind: "string" },
    { name: "e", kind: "entity" },
  ];
  for (const spec of specs) {
    const shape = component(spec);
    const codec = new FieldCodec(shape);
    const value = createValue(shape);
    setNeutral(shape, value);
    const writer = new Writer();
    writer.bits(1, 1);
    if (spec.kind === "quat") writer.bits(1, 1);
    // The absolute contents without their mask.
    const whole = new Writer();
    codec.encodeAbsolute(whole, value, 1);
    writer.copyBits(whole.finish(), 1, whole.bitLength - 1);
    assertEquals(
      decodeChange(codec, shape, writer.finish(), value),
      Fault.NonCanonical,
      spec.kind,
    );
  }
});

Deno.test("`FieldCodec.decodeDelta()` refuses a field that the reference does not have", () => {
  const shape = component({ name: "a", kind: "bool" }, { name: "b", kind: "bool" });
  const reader = new Reader(bits((w) => w.bits(0b1110, 4)));
  new FieldCodec(shape).decodeDelta(reader, createValue(shape), 0b01);
  assertEquals(reader.fault, Fault.Forbidden);
});

Deno.test("`FieldCodec.decodeAbsolute()` refuses lanes, lengths and text out of range", () => {
  const read = (shape: ReturnType<typeof component>, write: (w: Writer) => void) => {
    const reader = new Reader(bits(write));
    new FieldCodec(shape).decodeAbsolute(reader, createValue(shape));
    return reader.finish();
  };
  assertEquals(read(V, (w) => w.bits(1 | (1_001 << 1), 11)), Fault.OutOfRange);
  assertEquals(read(V, (w) => w.bits(0, 1)), Fault.NonCanonical);
  const quat = component({ name: "q", kind: "quat", bits: 4 });
  assertEquals(read(quat, (w) => w.bits(1 | (15 << 3), 15)), Fault.OutOfRange);
  const text = component({ name: "t", kind: "string", maxBytes: 4 });
  const blob = (length: number, ...bytes: number[]) => (w: Writer) => {
    w.bits(1, 1);
    w.varint(length);
    w.bytes(Uint8Array.from(bytes));
  };
  assertEquals(read(text, blob(5, 65, 65, 65, 65, 65)), Fault.OutOfRange);
  assertEquals(read(text, blob(2, 0xc3, 0x28)), Fault.NotUtf8);
  assertEquals(read(text, blob(3, 65)), Fault.Truncated);
});

/** What decoding says to lanes of a rotation, absolute or as a change of no rotation. */
function decodeRotation(bitCount: number, lanes: readonly number[], isChange: boolean) {
  const shape = component({ name: "q", kind: "quat", bits: bitCount });
  const codec = new FieldCodec(shape);
  const value = createValue(shape);
  value.lanes.set(lanes);
  const writer = new Writer();
  const reference = createValue(shape);
  setNeutral(shape, reference);
  if (!isChange) codec.encodeAbsolute(writer, value, 1);
  else if (codec.encodeDelta(writer, reference, value, 1) === 0) return undefined;
  if (isChange) {
    const decoded = decodeChange(codec, shape, writer.finish(), reference);
    return typeof decoded === "number" ? decoded : undefined;
  }
  const reader = new Reader(writer.finish());
  codec.decodeAbsolute(reader, createValue(shape));
  return reader.finish();
}

Deno.test("`FieldCodec` takes every rotation that is quantised, at every number of bits", () => {
  for (let bitCount = 4; bitCount <= 16; bitCount++) {
    const [field] = component({ name: "q", kind: "quat", bits: bitCount }).fields;
    const prng = createPrng(100 + bitCount);
    const lanes = new Int32Array(4);
    const half = 2 ** (bitCount - 1) - 1;
    for (let i = 0; i < 1_500; i++) {
      const q = randomRotation(prng);
      // An engine's lengths are off by up to a hundredth.
      const length = 0.991 + prng() * 0.018;
      assert(quantiseField(field!, q.map((v) => v * length), 0, lanes, 0));
      assertEquals(decodeRotation(bitCount, [...lanes], i % 2 === 0), undefined, `${q}`);
      // Another driver may choose another set of lanes near a tie: any of the largest, rounded either way.
      const most = Math.max(...q.map(Math.abs));
      const largest = q.findLastIndex((v) => Math.abs(v) === most);
      const others = q.filter((_, k) => k !== largest).map((v) => v * Math.sign(q[largest]!));
      const direct = others.map((v) => half + Math.round(v * Math.SQRT2 * half));
      assertEquals(decodeRotation(bitCount, [largest, ...direct], false), undefined, `${q}`);
    }
  }
});

Deno.test("`FieldCodec` refuses lanes that no rotation gives, when they are whole or a change", () => {
  for (const bitCount of [4, 10, 16]) {
    const half = 2 ** (bitCount - 1) - 1;
    const far = Math.ceil(half * 0.95);
    const wrong: readonly (readonly number[])[] = [
      [2 * half, 2 * half, 2 * half], // longer than 1 by themselves
      [0, 0, 0],
      [2 * half, half, 0],
      [half + far, half + far, half], // the fourth would be smaller than two of the three
      [half - far, half, half + far],
    ];
    for (const [index, others] of wrong.entries()) {
      for (let largest = 0; largest < 4; largest++) {
        for (const isChange of [false, true]) {
          const fault = decodeRotation(bitCount, [largest, ...others], isChange);
          assertEquals(fault, Fault.NonCanonical, `${bitCount} bits, ${index}, ${largest}`);
        }
      }
    }
  }
});

Deno.test("`isRotation()` leaves out what is further from a rotation than rounding goes, lane by lane", () => {
  const bitCount = 5;
  const half = 15;
  for (let packed = 0; packed < 31 ** 3; packed++) {
    const lanes = [3, packed % 31, Math.floor(packed / 31) % 31, Math.floor(packed / 961)];
    const v = lanes.slice(1).map((lane) => (lane - half) / (half * Math.SQRT2));
    const rest = 1 - v[0]! ** 2 - v[1]! ** 2 - v[2]! ** 2;
    const lead = Math.sqrt(Math.max(0, rest)) - Math.max(...v.map(Math.abs));
    const step = 1 / (half * Math.SQRT2);
    if (rest >= 0 && lead >= 0) {
      assert(isRotation({ bits: bitCount, precision: 0 }, lanes, 0), `${lanes}`);
    } else if (rest < 0 || lead < -3 * step) {
      assert(!isRotation({ bits: bitCount, precision: 0 }, lanes, 0), `${lanes}`);
    }
  }
});

Deno.test("`FieldCodec` takes no bits of a field with one value", () => {
  const shape = component(
    { name: "only", kind: "enum", values: ["one"] },
    { name: "b", kind: "bool" },
  );
  const codec = new FieldCodec(shape);
  const writer = new Writer();
  codec.encodeAbsolute(writer, createValue(shape), 0b11);
  assertEquals(writer.bitLength, 3);
});

Deno.test("`FieldCodec.decodeDelta()` and `decodeAbsolute()` take any bytes without a crash", () => {
  const prng = createPrng(3);
  const codec = new FieldCodec(EVERYTHING);
  let faults = 0;
  for (let i = 0; i < 3_000; i++) {
    const bytes = Uint8Array.from({ length: below(prng, 60) }, () => below(prng, 256));
    const absolute = new Reader(bytes);
    codec.decodeAbsolute(absolute, createValue(EVERYTHING));
    const change = decodeChange(codec, EVERYTHING, bytes, createValue(EVERYTHING));
    if (typeof change === "number") faults += 1;
    else assertNotEquals(change, createValue(EVERYTHING));
  }
  assert(faults > 2_900, "chance rarely writes a change");
});
