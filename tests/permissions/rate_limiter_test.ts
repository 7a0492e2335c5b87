import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RateLimiter } from "../../permissions/rate_limiter.ts";

/** How many of `count` takes pass, one every `stepMs`. */
function passed(
  limiter: RateLimiter,
  key: number,
  count: number,
  stepMs: number,
  fromMs = 0,
): number {
  let passing = 0;
  for (let i = 0; i < count; i++) if (limiter.take(key, fromMs + i * stepMs)) passing += 1;
  return passing;
}

Deno.test("RateLimiter allows 1.25 x the rate for ever", () => {
  for (const rateHz of [0.5, 1, 10, 30, 60, 240, 1000]) {
    const limiter = new RateLimiter({ rateHz, maxKeys: 1 });
    assertEquals(passed(limiter, 0, 5000, 1000 / (rateHz * 1.25)), 5000, `${rateHz} Hz`);
  }
});

Deno.test("RateLimiter allows half a second's burst and then 1.25 x the rate", () => {
  const limiter = new RateLimiter({ rateHz: 40, maxKeys: 1 });
  assertEquals(passed(limiter, 0, 1000, 0), 25);
  // Ten times the rate over ten seconds: 50 a second get through.
  const during = passed(limiter, 0, 4000, 2.5);
  assert(during >= 499 && during <= 501, `${during} passed`);
});

Deno.test("RateLimiter lets two meet at any rate", () => {
  const limiter = new RateLimiter({ rateHz: 0.1, maxKeys: 1 });
  assertEquals(passed(limiter, 0, 10, 0), 2);
});

Deno.test("RateLimiter passes nothing at rate 0", () => {
  const limiter = new RateLimiter({ rateHz: 0, maxKeys: 4 });
  assertEquals(passed(limiter, 3, 100, 1e6), 0);
});

Deno.test("RateLimiter keeps keys apart, grows up to maxKeys, and forgets", () => {
  const limiter = new RateLimiter({ rateHz: 4, maxKeys: 100_000 });
  assertEquals(passed(limiter, 0, 10, 0), 2);
  assertEquals(passed(limiter, 99_999, 10, 0), 2);
  assertEquals(passed(limiter, 50_000, 10, 0), 2);
  assertEquals(passed(limiter, 0, 10, 0), 0);
  limiter.forget(0);
  limiter.forget(70_000);
  assertEquals(passed(limiter, 0, 10, 0), 2);
  assertThrows(() => limiter.take(100_000, 0), Error, "maxKeys");
  assertThrows(() => limiter.take(-1, 0), Error, "maxKeys");
});

Deno.test("RateLimiter costs a refused try nothing", () => {
  const limiter = new RateLimiter({ rateHz: 8, maxKeys: 1 });
  passed(limiter, 0, 5, 0);
  assertEquals(passed(limiter, 0, 100_000, 0), 0);
  assertEquals(limiter.take(0, 100), true);
});

Deno.test("RateLimiter never passes more than burst + 1.25 x rate x time, whatever the pattern", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 400 }),
      (rateHz, gaps) => {
        const limiter = new RateLimiter({ rateHz, maxKeys: 1 });
        const burst = Math.max(2, Math.floor(rateHz * 1.25 * 0.5));
        const times: number[] = [];
        let nowMs = 0;
        for (const gap of gaps) {
          nowMs += gap;
          if (limiter.take(0, nowMs)) times.push(nowMs);
        }
        for (let from = 0; from < times.length; from += 7) {
          for (let to = from; to < times.length; to += 5) {
            const spanS = (times[to]! - times[from]!) / 1000;
            const most = burst + Math.floor(spanS * rateHz * 1.25 + 1e-3);
            assert(to - from + 1 <= most, `${to - from + 1} in ${spanS} s at ${rateHz} Hz`);
          }
        }
      },
    ),
    { seed: 5, numRuns: 100 },
  );
});

Deno.test("RateLimiter forgives what the path held up, and lets no higher rate through for it", () => {
  const limiter = new RateLimiter({ rateHz: 20, maxKeys: 1, stallMs: 2_000 });
  // A sender that keeps to its rate and the burst, all of 2 s of it at once.
  assertEquals(passed(limiter, 0, 1_000, 0), 12 + 50);
  const during = passed(limiter, 0, 4_000, 2.5);
  assert(during >= 249 && during <= 251, `${during} passed`);
});
