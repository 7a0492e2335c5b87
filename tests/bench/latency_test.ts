// The histogram of delays against sorted lists.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Latency } from "../../bench/latency.ts";

Deno.test("`percentile()` is the value of the sorted list to one step, when any delays are counted", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 19_999 }), { minLength: 1, maxLength: 300 }),
      fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1),
      (tenths, share) => {
        const latency = new Latency();
        // In the middle of a step, where rounding decides nothing.
        for (const tenth of tenths) latency.add((tenth + 0.5) / 10);
        const sorted = [...tenths].sort((a, b) => a - b);
        const expected = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1]!;
        assertEquals(latency.percentile(share), (expected + 1) / 10);
        assertEquals(latency.total, tenths.length);
      },
    ),
    { seed: 5, numRuns: 200 },
  );
});

Deno.test("`addPairs()` adds up what several processes counted, when they send their pairs", () => {
  const [whole, left, right] = [new Latency(), new Latency(), new Latency()];
  for (let i = 0; i < 1000; i++) {
    whole.add(i * 0.7);
    (i % 3 === 0 ? left : right).add(i * 0.7);
  }
  const sum = new Latency();
  sum.addPairs(left.toPairs());
  sum.addPairs(right.toPairs());
  assertEquals(sum.toPairs(), whole.toPairs());
  assertEquals(sum.percentile(0.99), whole.percentile(0.99));
});

Deno.test("`add()` keeps what is off the scale at its ends, when clocks or machines misbehave", () => {
  const latency = new Latency();
  latency.add(-3);
  latency.add(1e9);
  assertEquals([latency.percentile(0.5), latency.percentile(1)], [0.1, 2000.1]);
  latency.clear();
  assertEquals([latency.total, latency.percentile(0.5)], [0, NaN]);
});
