// Rows of the engine link, checked against bytes put together by hand and against every way in which they can be damaged.

import { assert, assertEquals } from "@std/assert";
import type { ComponentGrant } from "../../permissions/grants.ts";
import { dequantiseField } from "../../replication/quantise.ts";
import {
  RowReader,
  type RowResult,
  type RowShape,
  RowWriter,
} from "../../replication/row_codec.ts";
import { isUtf8 } from "../../replication/utf8.ts";
import { changedFields, type ComponentValue, createValue } from "../../replication/value.ts";
import { below, createPrng } from "../support/prng.ts";
import { randomValue } from "../support/random_values.ts";
import {
  EVERYTHING,
  HEALTH,
  layOutFields,
  NAME,
  sampleGrants,
  TRANSFORM,
} from "../support/sample_grants.ts";

const grants = sampleGrants();
const same = (id: number): number => id;

function component(c: number): ComponentGrant {
  return grants.components[c]!;
}

/** Reads one row alone. */
function readOne(
  shape: RowShape,
  bytes: Uint8Array,
  mask = -1,
  toNetworkId = same,
): RowResult & { value: ComponentValue } {
  const value = createValue(shape);
  return { ...new RowReader(shape, bytes).next(mask, value, toNetworkId), value };
}

/** A row of `Everything` by the letter of the format. */
function handmadeRow(): { bytes: Uint8Array; view: DataView } {
  const fixed = component(EVERYTHING).rowBytes;
  assertEquals(fixed, 1 + 1 + 2 + 4 + 4 + 4 + 12 + 16 + 2 + 4);
  const bytes = new Uint8Array(fixed + 4 + 3 + 4 + 2);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 1);
  view.setUint8(1, 200);
  view.setUint16(2, 1_000, true);
  view.setUint32(4, 4_000_000_000, true);
  view.setInt32(8, -2_000_000_000, true);
  view.setFloat32(12, 1.5, true);
  [1, -2, 3].forEach((v, i) => view.setFloat32(16 + 4 * i, v, true));
  [0, 0, 0, 1].forEach((v, i) => view.setFloat32(28 + 4 * i, v, true));
  view.setUint16(44, 2, true);
  view.setUint32(46, 0x8000_0007, true);
  view.setUint32(50, 3, true);
  bytes.set([0x61, 0xc3, 0xa9], 54); // "aé"
  view.setUint32(57, 2, true);
  bytes.set([0, 255], 61);
  return { bytes, view };
}

Deno.test("`RowReader` reads every type, when a row is laid out by hand", () => {
  const { bytes } = handmadeRow();
  const asked: number[] = [];
  const { status, badFields, value } = readOne(component(EVERYTHING), bytes, -1, (handle) => {
    asked.push(handle);
    return 42;
  });
  assertEquals([status, badFields, asked], ["row", 0, [0x8000_0007]]);
  const numbers = component(EVERYTHING).fields.filter((f) => f.lanes > 0).map((field) => {
    const out = [0, 0, 0, 0];
    dequantiseField(field, value.lanes, field.laneOffset, out, 0);
    return out.slice(0, field.kind === "quat" ? 4 : field.lanes);
  });
  assertEquals(numbers, [
    [1],
    [200],
    [1_000],
    [4_000_000_000],
    [-2_000_000_000],
    [1.5],
    [1, -2, 3],
    [0, 0, 0, 1],
    [2],
    [42],
  ]);
  assertEquals(value.blobs.map((b) => [...b]), [[0x61, 0xc3, 0xa9], [0, 255]]);
});

Deno.test("`RowWriter` writes the very bytes, when a row laid out by hand was read", () => {
  const { bytes } = handmadeRow();
  const { value } = readOne(component(EVERYTHING), bytes);
  const writer = new RowWriter(component(EVERYTHING));
  writer.push(-1, value, same);
  assertEquals(writer.finish(), bytes);
});

Deno.test("`RowReader` reads what `RowWriter` wrote, for random values and masks", () => {
  for (const [c, shape] of grants.components.entries()) {
    const prng = createPrng(c + 1);
    const writer = new RowWriter(shape);
    for (let round = 0; round < 30; round++) {
      writer.clear();
      const rows = Array.from({ length: below(prng, 20) }, () => ({
        mask: below(prng, shape.allFields + 1),
        value: randomValue(shape, prng, 300),
      }));
      for (const { mask, value } of rows) writer.push(mask, value, (id) => (id ^ 0x1234) >>> 0);
      assertEquals(writer.count, rows.length);
      const reader = new RowReader(shape, writer.finish(), rows.length);
      const read = createValue(shape);
      for (const { mask, value } of rows) {
        const result = reader.next(mask, read, (handle) => (handle ^ 0x1234) >>> 0);
        assertEquals([result.status, result.badFields], ["row", 0]);
        assertEquals(changedFields(shape, read, value, mask), 0);
        assertEquals(changedFields(shape, read, createValue(shape), ~mask & shape.allFields), 0);
      }
      assertEquals(reader.next(-1, read, same).status, "end");
      assertEquals(reader.next(-1, read, same).status, "end");
    }
  }
});

Deno.test("`RowReader` names each bad field and keeps the good ones, when an engine sends nonsense", () => {
  const cases: [string, (row: { bytes: Uint8Array; view: DataView }) => void][] = [
    ["flag", ({ view }) => view.setUint8(0, 2)],
    ["medium", ({ view }) => view.setUint16(2, 9, true)],
    ["medium", ({ view }) => view.setUint16(2, 60_001, true)],
    ["real", ({ view }) => view.setFloat32(12, NaN, true)],
    ["real", ({ view }) => view.setFloat32(12, 5.1, true)],
    ["point", ({ view }) => view.setFloat32(24, Infinity, true)],
    ["point", ({ view }) => view.setFloat32(20, -101, true)],
    ["turn", ({ view }) => view.setFloat32(40, 0.5, true)],
    ["turn", ({ view }) => view.setFloat32(28, NaN, true)],
    ["choice", ({ view }) => view.setUint16(44, 3, true)],
    ["target", ({ view }) => view.setUint32(46, 666, true)],
    ["text", ({ bytes }) => bytes.set([0xff], 54)],
  ];
  const good = readOne(component(EVERYTHING), handmadeRow().bytes).value;
  const { fields } = component(EVERYTHING);
  for (const [name, damage] of cases) {
    const row = handmadeRow();
    damage(row);
    const toId = (handle: number): number => handle === 666 ? -1 : handle;
    const { status, badFields, value } = readOne(component(EVERYTHING), row.bytes, -1, toId);
    const field = fields.find((f) => f.name === name)!;
    assertEquals([status, badFields], ["row", 1 << field.index], name);
    const others = component(EVERYTHING).allFields & ~badFields;
    assertEquals(changedFields(component(EVERYTHING), value, good, others), 0);
    const empty = createValue(component(EVERYTHING));
    assertEquals(changedFields(component(EVERYTHING), value, empty, badFields), 0);
    const masked = readOne(component(EVERYTHING), row.bytes, ~badFields, toId);
    // A text outside the mask must be empty; everything else there is not looked at.
    assertEquals(masked.status, field.blobIndex < 0 ? "row" : "bad", name);
    assertEquals(masked.badFields, 0, name);
  }
});

Deno.test("`RowReader` refuses a text or bytes that are too long, when the row is whole", () => {
  const shape = component(NAME);
  for (const [length, isBad] of [[32, false], [33, true]] as const) {
    const bytes = new Uint8Array(4 + length).fill(0x61);
    new DataView(bytes.buffer).setUint32(0, length, true);
    const { status, badFields, value } = readOne(shape, bytes);
    assertEquals([status, badFields], ["row", isBad ? 1 : 0]);
    assertEquals(value.blobs[0]!.length, isBad ? 0 : 32);
  }
});

Deno.test("`RowReader` says bad and stays so, when rows are cut at any byte", () => {
  const { bytes } = handmadeRow();
  const two = new Uint8Array(bytes.length * 2);
  two.set(bytes);
  two.set(bytes, bytes.length);
  const out = createValue(component(EVERYTHING));
  for (let length = 0; length <= two.length; length++) {
    const reader = new RowReader(component(EVERYTHING), two.slice(0, length), 2);
    const statuses = [1, 2, 3, 4].map(() => reader.next(-1, out, same).status);
    const expected = length === two.length
      ? ["row", "row", "end", "end"]
      : length < bytes.length
      ? ["bad", "bad", "bad", "bad"]
      : ["row", "bad", "bad", "bad"];
    assertEquals(statuses, expected, `${length} bytes`);
  }
});

Deno.test("`RowReader` counts rows, when there are more or fewer bytes than rows", () => {
  const { bytes } = handmadeRow();
  const out = createValue(component(EVERYTHING));
  const reader = new RowReader(component(EVERYTHING), bytes, 0);
  assertEquals(reader.next(-1, out, same).status, "bad");
  const flag = layOutFields([]);
  const none = new RowReader(flag, new Uint8Array(0));
  assertEquals(none.next(-1, createValue(flag), same).status, "end");
  const events = new RowReader(flag, new Uint8Array(0), 2);
  assertEquals([1, 2, 3].map(() => events.next(-1, createValue(flag), same).status), [
    "row",
    "row",
    "end",
  ]);
});

Deno.test("`RowReader` never throws or reads past the end, when bytes are random or one bit is flipped", () => {
  const prng = createPrng(9);
  const { bytes } = handmadeRow();
  const out = createValue(component(EVERYTHING));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    readOne(component(EVERYTHING), flipped);
  }
  for (let round = 0; round < 2_000; round++) {
    const random = Uint8Array.from(
      { length: below(prng, 200) },
      () => below(prng, 4) === 0 ? below(prng, 256) : 0,
    );
    const reader = new RowReader(component(EVERYTHING), random);
    let rows = 0;
    while (reader.next(below(prng, 1 << 12), out, same).status === "row") rows += 1;
    assert(rows <= 4);
  }
});

Deno.test("`RowReader` keeps blobs of its own, when the frame's buffer is used again", () => {
  const { bytes } = handmadeRow();
  const { value } = readOne(component(EVERYTHING), bytes);
  bytes.fill(7);
  assertEquals(value.blobs.map((b) => [...b]), [[0x61, 0xc3, 0xa9], [0, 255]]);
  assertEquals(value.blobs[1]!.buffer.byteLength, 2);
});

Deno.test("`RowReader` and `RowWriter` leave null references alone, when handles are translated", () => {
  const shape = layOutFields([{ name: "target", kind: "entity" }]);
  const never = (): number => {
    throw new Error("the null reference is not asked for");
  };
  const { status, value } = readOne(shape, new Uint8Array(4), -1, never);
  assertEquals([status, [...value.lanes]], ["row", [0]]);
  const writer = new RowWriter(shape);
  writer.push(-1, value, never);
  assertEquals([...writer.finish()], [0, 0, 0, 0]);
  value.lanes[0] = -5;
  writer.push(-1, value, (id) => {
    assertEquals(id, 0xffff_fffb);
    return 0xffff_ffff;
  });
  assertEquals([...writer.finish()], [0, 0, 0, 0, 255, 255, 255, 255]);
});

Deno.test("`RowWriter` writes zero for what the mask leaves out, when a field is secret", () => {
  const value = createValue(component(HEALTH));
  value.lanes.set([5, 0x7eadbeef]);
  const writer = new RowWriter(component(HEALTH));
  writer.push(0b11, value, same);
  writer.clear();
  writer.push(0b01, value, same);
  assertEquals([...writer.finish()], [5, 0, 0, 0, 0]);
});

Deno.test("`RowWriter` grows, when rows are many and large", () => {
  const shape = layOutFields([{ name: "data", kind: "bytes", maxBytes: 65_536 }]);
  const writer = new RowWriter(shape);
  const value = createValue(shape);
  for (const length of [65_536, 0, 1, 30_000]) {
    value.blobs[0] = new Uint8Array(length).fill(length & 255);
    writer.push(-1, value, same);
  }
  assertEquals([writer.count, writer.byteLength], [4, 95_537 + 16]);
  const transforms = new RowWriter(component(TRANSFORM));
  for (let i = 0; i < 1_000; i++) transforms.push(-1, createValue(component(TRANSFORM)), same);
  assertEquals(transforms.finish().length, 28_000);
});

Deno.test("`isUtf8()` knows well-formed text, when it is short, long or cut", () => {
  const text = (s: string): Uint8Array => new TextEncoder().encode(s);
  for (const s of ["", "plain", "é", "水🙂", "\ufeffwith mark"]) assert(isUtf8(text(s)), s);
  const bad = [[0x80], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0, 0, 0], [0x61, 0xff]];
  for (const bytes of bad) assert(!isUtf8(Uint8Array.from(bytes)), `${bytes}`);
  assert(!isUtf8(text("🙂").slice(0, 3)));
});
