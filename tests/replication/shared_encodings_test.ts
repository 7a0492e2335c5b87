import { assert, assertEquals } from "@std/assert";
import { MAX_SHARED_BYTES, MAX_SHARED_ENCODINGS } from "../../protocol/limits.ts";
import { Writer } from "../../protocol/writer.ts";
import { KEY_NUMBERS, SharedEncodings } from "../../replication/shared_encodings.ts";

function keep(shared: SharedEncodings, row: number, bits: number, count: number): void {
  const writer = new Writer();
  assert(!shared.find(0, row));
  writer.bits(5, 3);
  writer.bits(bits, count);
  shared.keep(0, row, writer, 3, true, 2, 6);
}

Deno.test("`SharedEncodings` gives back the bits of exactly the same key, at any bit offset", () => {
  const shared = new SharedEncodings(2);
  shared.begin(1);
  for (let row = 0; row < 500; row++) keep(shared, row, row, 11);
  for (let row = 0; row < 500; row++) {
    const writer = new Writer();
    writer.bits(1, row % 7);
    assert(shared.find(0, row));
    writer.copyFrom(shared.arena, shared.start, shared.bits);
    assertEquals(writer.bitLength, row % 7 + 11);
    writer.bits(0, 13);
    const view = writer.view();
    const found = (view[0]! | view[1]! << 8 | view[2]! << 16) >> (row % 7);
    assertEquals(found & 0x7ff, row);
    assertEquals([shared.isRelative, shared.unit, shared.before], [true, 2, 6]);
  }
  for (let i = 0; i < KEY_NUMBERS; i++) {
    shared.key[i] = shared.key[i]! + 1_000;
    assert(!shared.find(0, 7), `key number ${i}`);
    shared.key[i] = shared.key[i]! - 1_000;
  }
  assert(!shared.find(1, 7), "another component");
  assertEquals(shared.found, 500);
});

Deno.test("`SharedEncodings.find()` looks at some entries of a row, when all links have different ones", () => {
  const shared = new SharedEncodings(1);
  shared.begin(1);
  for (let i = 0; i < 500; i++) {
    shared.key[0] = i;
    keep(shared, 3, i & 7, 3);
  }
  shared.key[0] = 499;
  assert(shared.find(0, 3));
  shared.key[0] = 0;
  assert(!shared.find(0, 3));
});

Deno.test("`SharedEncodings.begin()` forgets the tick before, and a full store takes no more", () => {
  const shared = new SharedEncodings(1);
  shared.begin(1);
  for (let row = 0; row < MAX_SHARED_ENCODINGS; row++) keep(shared, row, 1, 1);
  keep(shared, MAX_SHARED_ENCODINGS, 1, 1);
  assert(!shared.find(0, MAX_SHARED_ENCODINGS));
  shared.begin(1);
  assert(shared.find(0, 5));
  shared.begin(2);
  for (const row of [0, 5, MAX_SHARED_ENCODINGS - 1]) assert(!shared.find(0, row));
  const block = new Writer();
  for (let i = 0; i < 1_000; i++) block.bits(0, 8);
  const fitting = Math.floor(MAX_SHARED_BYTES / 1_000);
  for (let row = 0; row <= fitting; row++) shared.keep(0, row, block, 0, false, 0, 0);
  assert(shared.find(0, fitting - 1));
  assert(!shared.find(0, fitting), "bits beyond the bound are not kept");
  keep(shared, fitting + 1, 1, 1);
  assert(shared.find(0, fitting + 1));
});

Deno.test("`SharedEncodings.compared()` knows the last comparison of a row under all it was made of, until `forget()`", () => {
  const shared = new SharedEncodings(1);
  shared.noteCompared(0, 70, 9, 5, 2, 4, 3, false);
  shared.noteCompared(0, 2, 8, 5, 2, 4, 3, true);
  assertEquals(shared.compared(0, 70, 9, 5, 2, 4, 3), 0);
  assertEquals(shared.compared(0, 2, 8, 5, 2, 4, 3), 1);
  shared.begin(1);
  for (let i = 0; i < 5; i++) {
    const said: [number, number, number, number, number] = [9, 5, 2, 4, 3];
    said[i]! += 1;
    assertEquals(shared.compared(0, 70, ...said), -1, `number ${i}`);
  }
  assertEquals(shared.compared(0, 71, 9, 5, 2, 4, 3), -1);
  assertEquals(shared.compared(0, 7_000, 9, 5, 2, 4, 3), -1);
  shared.forget();
  assertEquals(shared.compared(0, 70, 9, 5, 2, 4, 3), -1);
});
