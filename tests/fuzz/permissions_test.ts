import { assert, assertEquals, assertGreater } from "@std/assert";
import { PERMISSION_FAULTS } from "./faults.ts";
import { runWorld, seedThatCatches } from "./permissions.ts";

const WORLDS = 4;
const OPERATIONS = 2_000;

Deno.test("PermissionRun finds no leak, no unauthorised change and nothing kept in random worlds", () => {
  const seen = { canaries: 0, privateFields: 0, changes: 0 };
  for (let seed = 1; seed <= WORLDS; seed++) {
    const result = runWorld(seed, OPERATIONS);
    assertEquals(result.findings, [], `seed ${seed}`);
    seen.canaries += result.seen.canaries;
    seen.privateFields += result.seen.privateFields;
    seen.changes += result.seen.changes;
  }
  // Secrets do travel to those who may read them, and peers do change the world: the judge had something to judge.
  assertGreater(seen.canaries, 1_000);
  assertGreater(seen.privateFields, 1_000);
  assertGreater(seen.changes, 1_000);
});

Deno.test("PermissionRun is the same run again from the same seed", () => {
  assertEquals(runWorld(7, 600), runWorld(7, 600));
});

for (const fault of PERMISSION_FAULTS) {
  Deno.test(`PermissionRun catches ${fault.name}`, () => {
    assert(seedThatCatches(fault, 1, 24, 1_200) !== undefined);
  });
}
