import { assert, assertEquals, assertGreater } from "@std/assert";
import { PLANTED_LEAKS } from "./leaks.ts";
import { compareTwins } from "./non_interference.ts";
import { pairThatCatches } from "./permissions.ts";
import { FIELD_KINDS } from "./worlds.ts";

Deno.test("compareTwins() finds no difference in what observers get, for secrets of every field type", () => {
  for (let seed = 1; seed <= FIELD_KINDS.length; seed++) {
    const { difference, bytes, secrets } = compareTwins(seed, 20);
    assertEquals(difference, undefined, `seed ${seed}`);
    assertGreater(bytes, 1_000);
    assertGreater(secrets, 50);
  }
});

for (const leak of PLANTED_LEAKS) {
  Deno.test(`compareTwins() sees that ${leak.name}`, () => {
    assert(pairThatCatches(leak, 1, 8, 20) !== undefined);
  });
}
