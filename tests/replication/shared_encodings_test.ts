import { assert, assertEquals } from "@std/assert";
import { MAX_SHARED_BYTES, MAX_SHARED_ENCODINGS } from "../../protocol/limits.ts";
import { Writer } from "../../protocol/writer.ts";
import { KEY_NUMBERS, SharedEncodings } from "../../replication/shared_encodings.ts";

function keep(shared: SharedEncodings, id: number, bits: number, count: number): void {
  shared.key[0] = id;
  const writer = new Writer();
  assert(!shared.copy(writer));
  writer.bits(5, 3);
  writer.bits(bits, count);
  shared.keep(writer, 3);
}

Deno.test("`SharedEncodings` gives back the bits of exactly the same key, at any bit offset", () => {
  const shared = new SharedEncodings();
  shared.begin(1);
  for (let id = 0; id < 500; id++) keep(shared, id, id, 11);
  for (let id = 0; id < 500; id++) {
    shared.key[0] = id;
    const writer = new Writer();
    writer.bits(1, id % 7);
    assert(shared.copy(writer));
    assertEquals(writer.bitLength, id % 7 + 11);
  }
  for (let i = 0; i < KEY_NUMBERS; i++) {
    shared.key[0] = 7;
    shared.key[i] = shared.key[i]! + 1_000;
    assert(!shared.copy(new Writer()), `key number ${i}`);
    shared.key[i] = shared.key[i]! - 1_000;
  }
  assertEquals(shared.copied, 500);
});

Deno.test("`SharedEncodings.begin()` forgets the tick before, and a full store takes no more", () => {
  const shared = new SharedEncodings();
  shared.begin(1);
  for (let id = 0; id < MAX_SHARED_ENCODINGS; id++) keep(shared, id, 1, 1);
  keep(shared, MAX_SHARED_ENCODINGS, 1, 1);
  assert(!shared.copy(new Writer()));
  shared.begin(2);
  const long = new Writer();
  for (let i = 0; i <= MAX_SHARED_BYTES; i++) long.bits(0, 8);
  shared.key[0] = 9;
  assert(!shared.copy(new Writer()));
  shared.keep(long, 0);
  assert(!shared.copy(new Writer()), "bits beyond the bound are not kept");
  keep(shared, 3, 1, 1);
  assert(shared.copy(new Writer()));
});
