// The clog benchmark as its users run it: a minute of a smaller room, on links that are narrower than it needs.

import { assert } from "@std/assert";
import { benchFigures } from "../support/bench_figures.ts";

Deno.test("`clog` finds short queues and a moving room, when links are narrow and lossy for a minute", async () => {
  const figures = await benchFigures(
    "clog",
    ["--users", "12", "--seconds", "60", "--link", "6"],
    {
      // On virtual time nothing depends on the machine: these are promises, not plausibilities.
      backlog_rtt_max: [0, 1.0],
      backlog_rtt_p99: [0, 0.95],
      heap_slope_kB_per_min: [-100_000, 100_000],
      max_staleness_ms: [100, 3_000],
      staleness_bound_ms: [100, 5_000],
      staleness_p99_ms: [100, 2_000],
      updates_per_pair: [4, 20.5],
      kBps_down: [2, 7],
      lost_share: [0.005, 0.05],
    },
  );
  assert(
    Number(figures["max_staleness_ms"]) <= Number(figures["staleness_bound_ms"]),
    "nothing is older than the proof allows",
  );
  assert(Number(figures["updates_per_pair"]) < 19, "the links are too narrow for all");
});

Deno.test("`clog` shows nothing older than the proof allows, when some always wait for their turn", async () => {
  const figures = await benchFigures(
    "clog",
    ["--users", "30", "--seconds", "10", "--link", "14"],
    {
      backlog_rtt_max: [0, 1.2],
      backlog_rtt_p99: [0, 1.2],
      heap_slope_kB_per_min: [-100_000, 100_000],
      max_staleness_ms: [100, 3_000],
      staleness_bound_ms: [100, 5_000],
      staleness_p99_ms: [100, 2_000],
      updates_per_pair: [4, 19],
      kBps_down: [2, 15],
      lost_share: [0.005, 0.05],
    },
  );
  assert(Number(figures["max_staleness_ms"]) <= Number(figures["staleness_bound_ms"]));
});
