// What the checks of a component know of an entity, and that nothing of it outlives its time.

import { assert, assertEquals } from "@std/assert";
import { CHECK_MEMORY_MS } from "../../protocol/limits.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { ComponentChecks } from "../../driver/component_checks.ts";
import { checkedGrants } from "../support/checked_writer.ts";

const POINT = { type: "vec3", min: -512, max: 512, precision: 0.001 };

/** Checks of every kind, and a value that is nowhere near their beginnings. */
function known() {
  const check = { maxSpeed: 8, maxAcceleration: 60, rateHz: 9 };
  const grants = checkedGrants({ at: POINT, level: { type: "u8" } }, {
    at: check,
    level: { maxStep: 3 },
  });
  const component = grants.components[0]!;
  const checks = new ComponentChecks(component, 9, () => {});
  const value = createValue(component);
  quantiseField(component.fields[0]!, [123, 45, -67], 0, value.lanes, 0);
  checks.reserve(3);
  checks.begin(3, value, 5_000, 4.5, 0);
  checks.advance(3, 5_500, 5);
  checks.accept(3, component.allFields, value);
  return { checks, value, component };
}

/** Everything that is known of slot 3, in one list. */
function contents(checks: ComponentChecks): number[] {
  const { lanes, fields } = checks.remember(3);
  const parts = fields.map(({ budgets, windows }) => [...budgets, ...(windows ?? [])]);
  return [...lanes, checks.lastS(3), ...parts.flat()];
}

Deno.test("ComponentChecks.forget() leaves nothing of what a slot held", () => {
  const { checks, value } = known();
  assert(checks.knows(3));
  assertEquals([...checks.remember(3).lanes], [...value.lanes]);
  assert(contents(checks).some((one) => one !== 0));
  checks.forget(3);
  assert(!checks.knows(3));
  assertEquals(new Set(contents(checks)), new Set([0]));
  assertEquals(checks.remember(3).fields.map(({ rateMs }) => rateMs), [-Infinity, -Infinity]);
});

Deno.test("ComponentChecks.expire() erases a component that was removed, by time alone, and no other", () => {
  const { checks, value, component } = known();
  checks.reserve(8);
  checks.begin(8, value, 5_000, 4.5, 0);
  checks.removed(3, 6_000);
  assert(checks.remembers(3, 6_000 + CHECK_MEMORY_MS - 1));
  checks.expire(6_000 + CHECK_MEMORY_MS - 1);
  assert(contents(checks).some((one) => one !== 0));
  assert(!checks.remembers(3, 6_000 + CHECK_MEMORY_MS));
  checks.expire(6_000 + CHECK_MEMORY_MS);
  assertEquals(new Set(contents(checks)), new Set([0]));
  assert(checks.knows(8));
  // One that came back in time is kept.
  checks.removed(8, 20_000);
  checks.restored(8);
  checks.expire(20_000 + 2 * CHECK_MEMORY_MS);
  assert(checks.knows(8));
  assertEquals([...checks.remember(8).lanes].slice(0, component.laneCount), [...value.lanes]);
});

Deno.test("ComponentChecks.resume() goes on with all that `remember()` kept, in another slot", () => {
  const { checks } = known();
  const before = contents(checks);
  const memory = checks.remember(3);
  checks.forget(3);
  checks.reserve(5);
  checks.resume(5, memory);
  const after = checks.remember(5);
  assertEquals(after, memory);
  checks.resume(3, after);
  assertEquals(contents(checks), before);
});
