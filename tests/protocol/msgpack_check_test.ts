import { assert, assertEquals } from "@std/assert";
import { decode, encode, type ValueType } from "@std/msgpack";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { MAX_MSGPACK_DEPTH, MAX_MSGPACK_ITEMS } from "../../protocol/limits.ts";
import { checkMsgpack } from "../../protocol/msgpack_check.ts";

function check(...bytes: number[]): Fault | undefined {
  return checkMsgpack(Uint8Array.from(bytes));
}

const NUMBERS = [
  ...[0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 38, 2 ** 53],
  ...[-1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 40)],
  ...[0.5, -0.5, 1e-300, 1e300, -1e300, Number.MAX_VALUE, Number.MIN_VALUE],
];

Deno.test("checkMsgpack() takes what the encoder writes, at every size of number and length", () => {
  for (const number of NUMBERS) assertEquals(checkMsgpack(encode(number)), undefined, `${number}`);
  assertEquals(checkMsgpack(encode(-0)), undefined);
  for (const length of [0, 15, 16, 31, 32, 255, 256]) {
    assertEquals(checkMsgpack(encode("x".repeat(length))), undefined, `str ${length}`);
  }
  for (const length of [0, 31, 255, 256, 65_535, 65_536]) {
    assertEquals(checkMsgpack(encode(new Uint8Array(length))), undefined, `bin ${length}`);
  }
  for (const length of [0, 15, 16, 40_000]) {
    assertEquals(checkMsgpack(encode(new Array(length).fill(null))), undefined, `array ${length}`);
  }
  assertEquals(checkMsgpack(encode([true, false, null, ["é🙂\u{10ffff}\ud7ff"]])), undefined);
});

Deno.test("checkMsgpack() refuses longer encodings than needed", () => {
  const long = [
    ...[[0xcc, 0x7f], [0xcd, 0, 0xff], [0xce, 0, 0, 0xff, 0xff], [0xd0, 0xe0], [0xd0, 5]],
    ...[[0xd1, 0xff, 0x80], [0xd1, 0, 1], [0xd2, 0xff, 0xff, 0x80, 0], [0xd2, 0, 1, 0, 0]],
    ...[[0xd9, 1, 65], [0xda, 0, 1, 65], [0xdb, 0, 0, 0, 1, 65]],
    ...[[0xc5, 0, 1, 0], [0xc6, 0, 0, 0, 1, 0], [0xdc, 0, 1, 0], [0xdd, 0, 0, 0, 1, 0]],
    ...[[0xcb, 0, 0, 0, 0, 0, 0, 0, 0], [0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0]],
    [0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
  ];
  for (const bytes of long) assertEquals(check(...bytes), Fault.NonCanonical, `${bytes}`);
});

Deno.test("checkMsgpack() refuses maps, ext types, float 32, 64-bit integers and the unused type", () => {
  const types = [
    0xc1,
    0xc7,
    0xc8,
    0xc9,
    0xca,
    0xcf,
    0xd3,
    0xd4,
    0xd5,
    0xd6,
    0xd7,
    0xd8,
    0xde,
    0xdf,
  ];
  for (const type of [...types, 0x80, 0x81, 0x8f]) {
    assertEquals(check(type, ...new Array(40).fill(0)), Fault.UnknownKind, type.toString(16));
  }
});

Deno.test("checkMsgpack() refuses numbers that are not finite", () => {
  for (const number of [NaN, Infinity, -Infinity]) {
    assertEquals(checkMsgpack(encode([number])), Fault.OutOfRange);
  }
});

Deno.test("checkMsgpack() refuses text that is not UTF-8, too long or marked", () => {
  const bad = [
    ...[[0x80], [0xc0, 0x80], [0xc1, 0xbf], [0xc3], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80]],
    ...[[0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff]],
    ...[[0xe2, 0x82], [0xe2, 0x82, 0x41], [0xf0, 0x9f, 0x99, 0x41]],
  ];
  for (const text of bad) {
    assertEquals(check(0xa0 | text.length, ...text), Fault.NotUtf8, `${text}`);
  }
  assertEquals(check(0xa3, 0xef, 0xbb, 0xbf), Fault.NonCanonical);
  assertEquals(checkMsgpack(encode("x".repeat(257))), Fault.OutOfRange);
});

Deno.test("checkMsgpack() bounds nesting and the number of items", () => {
  let nested: ValueType = 1;
  for (let i = 0; i < MAX_MSGPACK_DEPTH; i++) nested = [nested];
  assertEquals(checkMsgpack(encode(nested)), undefined);
  assertEquals(checkMsgpack(encode([nested])), Fault.OutOfRange);
  assertEquals(checkMsgpack(encode(new Array(MAX_MSGPACK_ITEMS - 1).fill(0))), undefined);
  assertEquals(checkMsgpack(encode(new Array(MAX_MSGPACK_ITEMS).fill(0))), Fault.OutOfRange);
  assertEquals(check(0xdd, 0xff, 0xff, 0xff, 0xff), Fault.OutOfRange);
  assertEquals(checkMsgpack(new Uint8Array(100_000).fill(0x91)), Fault.OutOfRange);
});

Deno.test("checkMsgpack() refuses every truncation and every trailing byte", () => {
  const whole = encode([1, [300, "text", "x".repeat(40)], new Uint8Array(300), 0.5, -5_000, null]);
  for (let length = 0; length < whole.length; length++) {
    assertEquals(checkMsgpack(whole.subarray(0, length)), Fault.Truncated, `${length} bytes`);
  }
  assertEquals(checkMsgpack(Uint8Array.of(...whole, 0xc0)), Fault.Trailing);
});

Deno.test("checkMsgpack() lets only bytes pass that decode, and encode to the same bytes again", () => {
  const value = fc.letrec<{ value: ValueType }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.string({ unit: "grapheme", maxLength: 12 }).filter((text) => !text.startsWith("\ufeff")),
      fc.uint8Array({ maxLength: 20 }),
      fc.constantFrom(true, false, null),
      fc.array(tie("value"), { maxLength: 5 }),
    ),
  })).value;
  const flips = fc.array(fc.tuple(fc.nat(500), fc.nat(255)), { maxLength: 3 });
  let passed = 0;
  let refused = 0;
  fc.assert(
    fc.property(value, flips, (original, changes) => {
      const bytes = encode(original);
      if (changes.length === 0) assertEquals(checkMsgpack(bytes), undefined);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      if (checkMsgpack(bytes) !== undefined) {
        refused += 1;
        return;
      }
      passed += 1;
      assertEquals(encode(decode(bytes)), bytes);
    }),
    { seed: 11, numRuns: 4_000 },
  );
  assert(passed > 500 && refused > 500, `${passed} passed, ${refused} refused`);
});
