import { assert, assertEquals, assertThrows } from "@std/assert";
import { MAX_APPLICATION_CODE } from "../../protocol/limits.ts";
import {
  assertApplicationCode,
  clampApplicationCode,
  clampReason,
} from "../../transport/close_info.ts";

Deno.test("`assertApplicationCode()` takes 0 to 2^30-1", () => {
  assertApplicationCode(0);
  assertApplicationCode(2 ** 30 - 1);
  for (const code of [-1, 2 ** 30, 1.5, NaN]) assertThrows(() => assertApplicationCode(code));
});

Deno.test("`clampApplicationCode()` brings any code of a peer into range", () => {
  assertEquals(clampApplicationCode(7), 7);
  assertEquals(clampApplicationCode(7n), 7);
  for (const code of [2 ** 30, 2 ** 62, 2n ** 62n - 1n, -1, NaN, Infinity]) {
    assertEquals(clampApplicationCode(code), MAX_APPLICATION_CODE);
  }
});

Deno.test("`clampReason()` cuts at 256 bytes and at a whole character", () => {
  assertEquals(clampReason("short"), "short");
  assertEquals(clampReason("x".repeat(256)), "x".repeat(256));
  assertEquals(clampReason("x".repeat(257)), "x".repeat(256));
  for (const character of ["é", "☕", "😀"]) {
    const cut = clampReason(`x${character.repeat(300)}`);
    const bytes = new TextEncoder().encode(cut).length;
    assert(bytes <= 256 && bytes > 252);
    assert(!cut.includes("\ufffd"));
  }
});
