import { assert, assertEquals, assertGreater } from "@std/assert";
import { authoritySeedThatCatches, PLANTED_WORLDS, runAuthorityWorld } from "./authority.ts";
import { AUTHORITY_FAULTS } from "./authority_faults.ts";

const WORLDS = 25;
/** Worlds beyond those in which something was found once. */
const KEPT = [63, 161, 192, 282, 297, 370, 465, 472, 622, 872, 889, 896];

Deno.test("AuthorityRun finds nothing vetoed, stale or late, and all agree in time, in random worlds", () => {
  const seen = { thirds: 0, losers: 0, overrides: 0, transfers: 0, applied: 0, vetoed: 0 };
  let hashes = 0;
  for (const seed of [...Array.from({ length: WORLDS }, (_, i) => i + 1), ...KEPT]) {
    const world = runAuthorityWorld(seed);
    assertEquals([world.findings, world.agreeTicks <= 16], [[], true], `seed ${seed}`);
    hashes += world.hashes;
    for (const key of Object.keys(seen) as (keyof typeof seen)[]) seen[key] += world.seen[key];
  }
  // Owners are overridden and lose what they own while they write, and others watch: the judge had something to judge.
  assertGreater(seen.overrides, 1_000);
  assertGreater(seen.transfers, 200);
  assertGreater(seen.applied, 5_000);
  assertGreater(seen.vetoed, 3_000);
  assertGreater(seen.thirds, 10_000);
  assertGreater(seen.losers, 3_000);
  assertGreater(hashes, 1_200);
});

Deno.test("AuthorityRun is the same run again from the same seed", () => {
  assertEquals(runAuthorityWorld(7), runAuthorityWorld(7));
});

for (const fault of AUTHORITY_FAULTS) {
  Deno.test(`AuthorityRun catches ${fault.name}`, () => {
    assert(authoritySeedThatCatches(fault, 1, PLANTED_WORLDS) !== undefined);
  });
}
