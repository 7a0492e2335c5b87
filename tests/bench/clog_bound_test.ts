// What the clog benchmark adds up to a bound; that no age exceeds it is looked at in clog_test.ts.

import { assertEquals } from "@std/assert";
import { boundOf, type BoundParts } from "../../bench/clog_bound.ts";

const PARTS: BoundParts = {
  upMs: 110,
  silenceMs: 50,
  waitTicks: 3,
  windowTicks: 2,
  perWindow: 5,
  tickMs: 50,
  lossMs: NaN,
  lostInRow: 0,
  downMs: 120,
  unkept: 0,
};

Deno.test("`boundOf()` adds the way up, one wait and the way down, when nothing is lost", () => {
  assertEquals(boundOf(PARTS, 6), 110 + 50 + 4 * 50 + 120);
});

Deno.test("`boundOf()` adds the time of loss and one more wait, when something is lost, be it once", () => {
  const before = boundOf(PARTS, 6);
  assertEquals(boundOf({ ...PARTS, lossMs: 0, lostInRow: 1 }, 6), before + (6 + 3) * 50);
  assertEquals(boundOf({ ...PARTS, lossMs: 200, lostInRow: 3 }, 6), before + 200 + (6 + 3) * 50);
});

Deno.test("`boundOf()` is infinite, when a client did not have what came or nobody's turn was sure", () => {
  assertEquals(boundOf({ ...PARTS, unkept: 1 }, 6), Infinity);
  assertEquals(boundOf({ ...PARTS, waitTicks: Infinity }, 6), Infinity);
});
