import { assertEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import { Writer } from "../../protocol/writer.ts";
import { CANARY_BYTES, canaryText, findCanaries } from "./canaries.ts";

function shifted(text: string, bits: number): Uint8Array {
  const writer = new Writer(8_192);
  writer.bits(0, bits);
  writer.bytes(new TextEncoder().encode(text));
  return writer.finish();
}

Deno.test("findCanaries() finds a canary at every bit offset, and the same one once", () => {
  for (let offset = 0; offset < 24; offset++) {
    assertEquals(findCanaries(shifted(canaryText(35_831, 500), offset)), [35_831], `${offset}`);
  }
});

Deno.test("findCanaries() finds one canary in any 100 bytes of a long text", () => {
  const bytes = shifted(canaryText(5, 4_000), 3);
  for (let at = 0; at + 100 <= 3_800; at += 37) {
    assertEquals(findCanaries(bytes.subarray(at, at + 100)), [5], `at ${at}`);
  }
});

Deno.test("findCanaries() takes no other canary for one whose last digit was cut off", () => {
  for (const digit of "0123456789abcdefghijklmnopqrstuvwxyz") {
    const text = canaryText(674, CANARY_BYTES);
    if (text.endsWith(digit)) continue;
    assertEquals(findCanaries(new TextEncoder().encode(text.slice(0, -1) + digit + "x")), []);
  }
});

Deno.test("findCanaries() finds nothing in random bytes, nor in a canary that is cut", () => {
  const bytes = new Uint8Array(100_000);
  new Prng(1).fill(bytes);
  assertEquals(findCanaries(bytes), []);
  const whole = new TextEncoder().encode(canaryText(9, CANARY_BYTES));
  assertEquals(findCanaries(whole), [9]);
  for (let cut = 0; cut < CANARY_BYTES; cut++) assertEquals(findCanaries(whole.slice(0, cut)), []);
});
