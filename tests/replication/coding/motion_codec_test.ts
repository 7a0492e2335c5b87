import { assert, assertEquals } from "@std/assert";
import { Fault } from "../../../protocol/faults.ts";
import { Prng } from "../../../protocol/prng.ts";
import { Reader } from "../../../protocol/reader.ts";
import { Writer } from "../../../protocol/writer.ts";
import { layoutFields } from "../../../permissions/layout.ts";
import { MotionCodec, References } from "../../../replication/coding/motion_codec.ts";
import { MotionTables } from "../../../replication/coding/motion_model.ts";
import { quantiseField } from "../../../replication/quantise.ts";
import { changedFields, createValue } from "../../../replication/value.ts";

const LAYOUT = layoutFields({
  position: { type: "vec3", min: -512, max: 512, precision: 0.001 },
  turn: { type: "quat", bits: 10, precision: 0.2 },
  head: { type: "vec3", min: -512, max: 512, precision: 0.001 },
  headTurn: { type: "quat", bits: 10 },
  strength: { type: "f32", min: 0, max: 1, precision: 0.0001 },
  points: { type: "u16", min: 0, max: 65_535 },
});
const ALL = 0b111111;

/** Lanes of a body that swings, at time `t`. */
function lanesAt(t: number): Int32Array {
  const value = createValue(LAYOUT);
  const q = (a: number) => [0.6 * Math.sin(a), 0, 0.8 * Math.sin(a), Math.cos(a)];
  const numbers = [
    [3 * Math.sin(t / 9), 1, t / 50],
    q(t / 7),
    [3 * Math.sin(t / 9), 2, t / 50 + 0.2],
    q(t / 11),
    [(1 + Math.sin(t / 5)) / 2],
    [Math.floor(t / 3)],
  ];
  LAYOUT.fields.forEach((field, i) =>
    assert(quantiseField(field, numbers[i]!, 0, value.lanes, field.laneOffset))
  );
  return value.lanes;
}

/** Versions `units` apart before time `t`, in one array as a store has them. */
function references(t: number, lag: number, named: readonly number[]): References {
  const lanes = new Int32Array(6 * LAYOUT.laneCount);
  for (let i = 0; i < 6; i++) lanes.set(lanesAt(t - lag - i), i * LAYOUT.laneCount);
  const result = new References();
  result.begin(lanes, 0);
  for (const i of named) result.add(i, i * LAYOUT.laneCount);
  result.distance.set(lag, 1);
  return result;
}

function base(r: References): Int32Array {
  return r.lanes.slice(0, LAYOUT.laneCount);
}

Deno.test("`MotionCodec` decodes what it encoded, whatever versions are named and however far ahead the value is", () => {
  const codec = new MotionCodec(LAYOUT.fields, new MotionTables());
  for (const named of [[1], [1, 2], [2, 4], [1, 3, 5], [5], [1, 2, 3, 4, 5]]) {
    for (const lag of [1, 2, 3, 5, 7.5, 12]) {
      for (const held of [ALL, 0b000001, 0b001010, 0b110000]) {
        const refs = references(200, lag, named);
        const lanes = lanesAt(200);
        const was = { lanes: base(refs), blobs: [] };
        const changed = changedFields(LAYOUT, was, { lanes, blobs: [] }, held);
        if (changed === 0) continue;
        const writer = new Writer();
        writer.bits(5, 3);
        codec.encode(writer, refs, lanes.slice(), held, changed);
        writer.bits(1, 1);
        const reader = new Reader(writer.finish());
        assertEquals(reader.bits(3), 5);
        const out = base(refs);
        assertEquals(codec.decode(reader, refs, out, held), changed);
        // It ends by itself: what follows stands where it was written.
        assertEquals(reader.bits(1), 1);
        assertEquals(reader.fault, undefined);
        for (const field of LAYOUT.fields) {
          const isCoded = (codec.fields & changed & (1 << field.index)) !== 0;
          const expected = isCoded ? lanes : was.lanes;
          for (let k = field.laneOffset; k < field.laneOffset + field.lanes; k++) {
            assertEquals(out[k], expected[k], `${named} lag ${lag} ${field.name}`);
          }
        }
      }
    }
  }
});

Deno.test("`MotionCodec` writes the same bits on every machine", () => {
  const codec = new MotionCodec(LAYOUT.fields, new MotionTables());
  const writer = new Writer();
  for (const [t, lag] of [[50, 1], [77, 3], [90, 2], [123, 5]] as const) {
    const refs = references(t, lag, [1, 2, 3, 4, 5]);
    codec.encode(writer, refs, lanesAt(t).slice(), ALL, ALL);
  }
  assertEquals(writer.finish().toHex(), KNOWN);
});
const KNOWN = "f68d4bf782c9b0b89c337f4d12ec31c3e94504878d70087ee04b3ff531336405";

Deno.test("`MotionCodec` never looks at a field that the peer is not sent", () => {
  const codec = new MotionCodec(LAYOUT.fields, new MotionTables());
  const encode = (secret: number): string => {
    const refs = references(60, 1, [1, 2, 3, 4]);
    const lanes = lanesAt(60);
    const hidden = LAYOUT.fields[0]!;
    for (let i = 0; i < 6; i++) refs.lanes[i * LAYOUT.laneCount + hidden.laneOffset] = secret * i;
    lanes[hidden.laneOffset] = secret;
    const writer = new Writer();
    codec.encode(writer, refs, lanes, ALL & ~1, 0b011110);
    return writer.finish().toHex();
  };
  assertEquals(encode(1), encode(77_777));
});

Deno.test("`MotionCodec` keeps nothing of one value that could show in the next, at either end", () => {
  const used = new MotionCodec(LAYOUT.fields, new MotionTables());
  const named = [[1, 2, 3, 4, 5], [1], [5], [2, 4], [1, 2]];
  const encode = (codec: MotionCodec, t: number, names: readonly number[], held: number) => {
    const writer = new Writer();
    codec.encode(writer, references(t, 1 + t % 3, names), lanesAt(t).slice(), held, held);
    return writer.finish();
  };
  const prng = new Prng(11);
  for (let n = 0; n < 400; n++) {
    // Whatever came before, of more fields, more versions, another place.
    encode(used, 20 + prng.nextBelow(500), named[prng.nextBelow(5)]!, ALL);
    const t = 20 + prng.nextBelow(500);
    const names = named[prng.nextBelow(5)]!;
    const held = 1 + prng.nextBelow(0b11111);
    const bytes = encode(new MotionCodec(LAYOUT.fields, new MotionTables()), t, names, held);
    assertEquals(encode(used, t, names, held).toHex(), bytes.toHex(), `value ${n}`);
    const refs = references(t, 1 + t % 3, names);
    const out = base(refs);
    const fresh = base(refs);
    used.decode(new Reader(bytes), refs, out, held);
    new MotionCodec(LAYOUT.fields, new MotionTables()).decode(new Reader(bytes), refs, fresh, held);
    assertEquals(out, fresh);
  }
});

Deno.test("`MotionCodec.decode()` ends with a value or a fault, whatever the bytes say", () => {
  const codec = new MotionCodec(LAYOUT.fields, new MotionTables());
  const prng = new Prng(7);
  const faults = new Set<Fault | undefined>();
  for (let n = 0; n < 20_000; n++) {
    const bytes = new Uint8Array(1 + prng.nextBelow(40));
    for (let i = 0; i < bytes.length; i++) bytes[i] = prng.nextBelow(256);
    const refs = references(40 + prng.nextBelow(50), 1 + prng.nextBelow(4), [1, 2, 5]);
    const out = base(refs);
    const reader = new Reader(bytes);
    codec.decode(reader, refs, out, ALL);
    faults.add(reader.fault);
    if (reader.fault !== undefined) continue;
    // Whatever is taken has one encoding: the bytes that were read.
    const read = reader.bitPosition;
    const changed = changedFields(LAYOUT, { lanes: base(refs), blobs: [] }, {
      lanes: out,
      blobs: [],
    }, codec.fields);
    const again = new Reader(bytes);
    const all = codec.decode(again, refs, base(refs), ALL);
    const writer = new Writer();
    codec.encode(writer, refs, out.slice(), ALL, all);
    assertEquals(all & codec.fields, changed);
    assertEquals(writer.bitLength, read);
    const copy = new Reader(writer.finish());
    const source = new Reader(bytes);
    for (let i = 0; i < read; i++) assertEquals(copy.bits(1), source.bits(1));
  }
  assert(faults.has(undefined) && faults.has(Fault.Truncated) && faults.has(Fault.NonCanonical));
});
