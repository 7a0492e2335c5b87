// The scale benchmark as its users run it, small. Its figures are looked at for sense, not for speed.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseSizes, scalePlaces } from "../../bench/scale.ts";
import { slopeOf } from "../../bench/cpu_meter.ts";
import { CommandError } from "../../driver/exit_codes.ts";
import { benchFigures } from "../support/bench_figures.ts";

Deno.test("`scale` ends with one flat line of plausible figures, when worlds are small", async () => {
  await benchFigures(
    "scale",
    ["--entities", "400,800", "--clients", "4,16", "--ticks", "8"],
    {
      exponent_entities: [-4, 4],
      exponent_pairs: [-1, 3],
      ms_least_entities: [0.01, 1_000],
      ms_most_entities: [0.01, 1_000],
      us_per_pair: [0.01, 1_000],
    },
  );
});

Deno.test("`scalePlaces()` keeps the density and viewers off the edge, when the world grows", () => {
  for (const entities of [1_000, 20_000]) {
    const places = scalePlaces(entities, 50, 7);
    const viewers = places.slice(0, 50);
    const pairs = viewers.reduce(
      (sum, [x, z]) => sum + places.filter(([px, pz]) => Math.hypot(px - x, pz - z) <= 30).length,
      0,
    );
    assert(pairs > 4_500 && pairs < 6_000, `${pairs} pairs of 50 viewers`);
  }
});

Deno.test("`parseSizes()` sorts and refuses, when sizes are given", () => {
  assertEquals(parseSizes("entities", "50,4, 4,9"), [4, 9, 50]);
  for (const text of ["", "5", "5,5", "0,4", "4,x", "4,100001"]) {
    assertThrows(() => parseSizes("entities", text), CommandError, "at least two different");
  }
});

Deno.test("`slopeOf()` finds the exponent, when points lie on a power law", () => {
  const points = [1, 3, 10, 40].map((x) => [Math.log(x), Math.log(5 * x ** 1.25)] as const);
  assert(Math.abs(slopeOf(points) - 1.25) < 1e-9);
});
