import { assertEquals, assertLess } from "@std/assert";
import type { ViolationReport } from "../../protocol/engine_messages.ts";
import { MAX_PENDING_VIOLATIONS } from "../../protocol/limits.ts";
import { Violations } from "../../driver/violations.ts";

const REPORT: ViolationReport = {
  peer: 1,
  handle: 5,
  componentId: 2,
  field: 3,
  check: "speed",
  measured: 10,
  limit: 8,
  action: "reject",
  count: 1,
};

Deno.test("Violations.record() sums what is of one kind, and keeps the worst of it", () => {
  const violations = new Violations();
  for (const [measured, handle] of [[10, 5], [30, 6], [20, 7]] as const) {
    violations.record({ ...REPORT, measured, handle });
  }
  // Below a bound is as far outside as above it.
  for (const measured of [-70, 60]) {
    violations.record({ ...REPORT, check: "bounds", measured, limit: 0 });
  }
  for (
    const other of [{ peer: 2 }, { componentId: 9 }, { field: 4 }, { action: "clamp" }] as const
  ) {
    violations.record({ ...REPORT, ...other });
  }
  assertEquals(violations.total, 9);
  const polled: ViolationReport[] = [];
  for (let ms = 0; ms < 5_000; ms += 100) {
    for (let one = violations.poll(ms); one !== undefined; one = violations.poll(ms)) {
      polled.push(one);
    }
  }
  assertEquals(polled.length, 6);
  assertEquals(polled[0], { ...REPORT, measured: 30, handle: 6, count: 3 });
  assertEquals(polled[1], { ...REPORT, check: "bounds", measured: -70, limit: 0, count: 2 });
  assertEquals(polled.reduce((sum, { count }) => sum + count, 0), violations.total);
});

Deno.test("Violations.poll() tells a few a second of each peer, and one peer's do not hold up another's", () => {
  const violations = new Violations();
  const told = new Map<number, number>();
  for (let ms = 0; ms < 10_000; ms += 10) {
    // Every kind there is, all the time.
    for (let field = 0; field < 31; field++) violations.record({ ...REPORT, field });
    if (ms % 1_000 === 0) violations.record({ ...REPORT, peer: 2 });
    for (let one = violations.poll(ms); one !== undefined; one = violations.poll(ms)) {
      told.set(one.peer, (told.get(one.peer) ?? 0) + 1);
    }
  }
  assertEquals(told.get(2), 10);
  assertLess(told.get(1)!, 10 * 4 * 1.25 + 4);
  assertEquals(violations.unreported, 0);
});

Deno.test("Violations.record() keeps no more kinds than it may, and counts the rest", () => {
  const violations = new Violations();
  for (let peer = 1; peer <= MAX_PENDING_VIOLATIONS + 50; peer++) {
    violations.record({ ...REPORT, peer });
  }
  assertEquals(violations.unreported, 50);
  let told = 0;
  for (let ms = 0; ms < 60_000; ms += 10) {
    while (violations.poll(ms) !== undefined) told += 1;
  }
  assertEquals(told, MAX_PENDING_VIOLATIONS);
});
