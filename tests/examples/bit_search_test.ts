import { assert, assertEquals } from "@std/assert";
import { occursAtAnyBit } from "../../examples/demo/bit_search.ts";
import { Writer } from "../../protocol/writer.ts";
import { createPrng } from "../support/prng.ts";

const NEEDLE = new TextEncoder().encode("needle-in-bits");

/** Random bytes with the needle written at a bit offset, cut into chunks. */
function hide(offset: number, seed: number, chunkBytes: number): Uint8Array[] {
  const prng = createPrng(seed);
  const w = new Writer();
  const before = 20 + Math.floor(prng() * 40);
  for (let i = 0; i < before; i++) w.u8(Math.floor(prng() * 256));
  w.bits(0, offset);
  w.bytes(NEEDLE);
  w.align();
  for (let i = 0; i < 30; i++) w.u8(Math.floor(prng() * 256));
  const all = w.finish();
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < all.length; at += chunkBytes) {
    chunks.push(all.subarray(at, at + chunkBytes));
  }
  return chunks;
}

Deno.test("`occursAtAnyBit()` finds a text at every bit offset, across chunks of any size", () => {
  for (let offset = 0; offset < 8; offset++) {
    for (const size of [1, 3, 7, 1_000]) {
      assert(occursAtAnyBit(hide(offset, offset + size, size), NEEDLE));
    }
  }
});

Deno.test("`occursAtAnyBit()` does not find a text that differs in its last bit, or is cut short", () => {
  for (let offset = 0; offset < 8; offset++) {
    const other = NEEDLE.slice();
    other[other.length - 1]! ^= 0x80;
    assertEquals(occursAtAnyBit(hide(offset, offset, 5), other), false);
  }
  assertEquals(occursAtAnyBit([NEEDLE.subarray(0, NEEDLE.length - 1)], NEEDLE), false);
});

Deno.test("`occursAtAnyBit()` finds a text at the very end", () => {
  assert(occursAtAnyBit([Uint8Array.of(1, 2, 3), NEEDLE], NEEDLE));
});
