// The line of a tick against a plain sort.

import { assertEquals } from "@std/assert";
import { UrgencyLine } from "../../replication/urgency_line.ts";
import { below, createPrng } from "../support/prng.ts";

function ids(line: UrgencyLine): number[] {
  return Array.from({ length: line.count }, (_, place) => line.at(place));
}

Deno.test("`sort()` orders as a stable sort does, when urgencies are small, great and equal", () => {
  const line = new UrgencyLine();
  for (let seed = 1; seed <= 60; seed++) {
    const prng = createPrng(seed);
    const most = [1, 8, 600, 2_000_000][below(prng, 4)]!;
    const entries = Array.from({ length: below(prng, 300) }, (_, i) => ({
      record: i + 1,
      urgency: below(prng, most),
    }));
    line.clear();
    for (const { record, urgency } of entries) line.add(record, urgency);
    line.sort();
    const expected = entries.toSorted((a, b) => b.urgency - a.urgency);
    assertEquals(ids(line), expected.map(({ record }) => record), `seed ${seed}`);
  }
});

Deno.test("`closeGap()` leaves who stays in order, when some in the front went", () => {
  const line = new UrgencyLine();
  for (let id = 1; id <= 6; id++) line.add(id, 10 - id);
  line.sort();
  // The second and the fourth of the first four stay.
  line.keep(1, 0);
  line.keep(3, 1);
  line.closeGap(2, 4);
  assertEquals(ids(line), [2, 4, 5, 6]);
  line.closeGap(0, 4);
  assertEquals(line.count, 0);
});
