// The views benchmark as its users run it, short. Its figures are looked at for sense, not for speed.

import { assert, assertEquals } from "@std/assert";
import { viewsPlaces } from "../../bench/views.ts";
import { Crowd } from "../../bench/crowd.ts";
import { benchFigures } from "../support/bench_figures.ts";

Deno.test("`views` ends with one flat line of plausible figures, when it runs for a few ticks", async () => {
  await benchFigures("views", ["--ticks", "8"], {
    // A hundred entities that all moved cannot go in less than a byte each, nor need more than twice their bits.
    bytes_per_client: [156, 2_000],
    payload_per_client: [100, 1_900],
    ms_per_tick: [0.05, 1_000],
    ms_p99: [0.05, 5_000],
    hidden_ratio: [0.2, 5],
    ingest_ms: [0.01, 1_000],
    acks_ms: [0.01, 1_000],
    alloc_kB_per_tick: [0, 100_000],
    visible_pairs: [9_000, 11_000],
    rival_ms_per_tick: [0.05, 1_000],
    // Seven fields of 4 B and a head of 1 B, and two to four bytes that name the entity.
    rival_bytes_per_client: [3_600, 4_200],
  });
});

Deno.test("`viewsPlaces()` shows everyone as many, when viewers stand on the ring and the rest far away", () => {
  const { places, radiusM } = viewsPlaces(500);
  assertEquals(places.length, 1_000);
  const seen = places.slice(0, 100).map(([x, z]) =>
    places.filter(([px, pz]) => Math.hypot(px - x, pz - z) <= radiusM).length
  );
  assertEquals(new Set(seen).size, 1);
  assert(seen[0]! >= 100 && seen[0]! <= 108, `${seen[0]} in reach`);
  assertEquals(new Set(places.map(String)).size, places.length, "no two stand in one place");
});

Deno.test("`Crowd` brings the server's state to every viewer, when it moved and then rests", () => {
  const places = Array.from({ length: 30 }, (_, i) => [3 * i, 0] as const);
  const crowd = new Crowd({ places, viewers: 4, radiusM: 20, seed: 5 });
  for (let i = 0; i < 20; i++) crowd.step();
  assert(crowd.compare().wrong > 0, "what moves is late");
  crowd.rest(10);
  const { pairs, wrong } = crowd.compare();
  assertEquals(wrong, 0);
  assert(pairs > 20 && pairs < 60, `${pairs} pairs`);
  assert(crowd.pairsWithin(20) <= pairs);
});
