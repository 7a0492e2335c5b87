import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { INITIAL_RTT_MS } from "../../protocol/limits.ts";
import { RttEstimator } from "../../protocol/rtt.ts";

Deno.test("`handleSample()` takes the first sample whole, when nothing was known", () => {
  const rtt = new RttEstimator();
  assertEquals([rtt.hasSample, rtt.smoothedMs], [false, INITIAL_RTT_MS]);
  rtt.handleSample(80);
  assertEquals([rtt.smoothedMs, rtt.varMs, rtt.minMs, rtt.latestMs], [80, 40, 80, 80]);
});

Deno.test("`handleSample()` weighs as RFC 9002 does, when more samples come", () => {
  const rtt = new RttEstimator();
  rtt.handleSample(100);
  rtt.handleSample(60);
  assertAlmostEquals(rtt.varMs, 0.75 * 50 + 0.25 * 40);
  assertAlmostEquals(rtt.smoothedMs, 0.875 * 100 + 0.125 * 60);
  assertEquals(rtt.minMs, 60);
  assertEquals(rtt.lossMs, 1.5 * rtt.smoothedMs);
});

Deno.test("`handleSample()` ignores a sample, when it is no time", () => {
  const rtt = new RttEstimator();
  for (const bad of [-1, NaN, Infinity]) rtt.handleSample(bad);
  assertEquals(rtt.hasSample, false);
});

Deno.test("`smoothedMs` stays between the extremes, when samples are random", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 50 }),
      (samples) => {
        const rtt = new RttEstimator();
        for (const ms of samples) rtt.handleSample(ms);
        assertEquals(rtt.minMs, Math.min(...samples));
        assert(rtt.smoothedMs >= rtt.minMs - 1e-9);
        assert(rtt.smoothedMs <= Math.max(...samples) + 1e-9);
        assert(rtt.varMs >= 0);
      },
    ),
  );
});

Deno.test("`assume()` holds until the first sample, and leaves no trace in what follows", () => {
  const rtt = new RttEstimator();
  rtt.assume(440);
  assertEquals([rtt.smoothedMs, rtt.varMs, rtt.latestMs, rtt.hasSample], [440, 220, 440, false]);
  rtt.handleSample(40);
  assertEquals([rtt.smoothedMs, rtt.varMs, rtt.minMs, rtt.hasSample], [40, 20, 40, true]);
  rtt.assume(10);
  assertEquals([rtt.smoothedMs, rtt.minMs], [40, 40]);
  const other = new RttEstimator();
  for (const bad of [NaN, -1, Infinity]) other.assume(bad);
  assertEquals(other.smoothedMs, new RttEstimator().smoothedMs);
});
