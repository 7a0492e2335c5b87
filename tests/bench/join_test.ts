// The join benchmark as its users run it, small, and how its values carry their age.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { digestOf, flight, FLIGHT_M, flightAgeMs, joinManifest } from "../../bench/join_world.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { benchFigures } from "../support/bench_figures.ts";

Deno.test("`join` ends with one flat line of plausible figures, when three join a small world", async () => {
  const figures = await benchFigures(
    "join",
    ["--entities", "100", "--joins", "3", "--present", "1", "--runs", "1"],
    {
      join_p50_ms: [0, 20_000],
      join_p99_ms: [0, 20_000],
      others_p99_ratio: [0.01, 100],
      others_p50_ratio: [0.01, 100],
      others_quiet_p99_ms: [0.1, 2_000],
      accepted_p99_ms: [0.1, 20_000],
      exact_share: [1, 1],
      driver_cpu: [0, 8],
    },
  );
  assert(Number(figures["join_p50_ms"]) <= Number(figures["join_p99_ms"]));
});

Deno.test("`flightAgeMs()` reads the age out of a place, when time goes on and the cycle begins anew", () => {
  for (const nowMs of [1_999_990, 1_800_000_000_123.25, 5_000_000]) {
    for (const ageMs of [0, 30, 99.5, 1_500]) {
      const [x, y] = flight(7, nowMs);
      assert(y > FLIGHT_M && x >= 0 && x <= 2_048);
      assert(Math.abs(flightAgeMs(x, nowMs + ageMs) - ageMs) < 0.6, `${ageMs} ms at ${nowMs}`);
    }
  }
});

Deno.test("`digestOf()` is one for the same hashes in any order, and another when one differs", () => {
  assertEquals(digestOf([3, 0xffff_ffff, 1]), digestOf([1, 3, 0xffff_ffff]));
  assertNotEquals(digestOf([3, 5, 1]), digestOf([1, 3, 4]));
});

Deno.test("`joinManifest()` gives both sides one world, when it is parsed", () => {
  const server = parseManifest(joinManifest(100, 5, { role: "server" }), "server");
  const host = { role: "client", connect: "127.0.0.1:4433" } as const;
  assertEquals(parseManifest(joinManifest(100, 5, host), "client").world, server.world);
});
