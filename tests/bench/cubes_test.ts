// The cubes benchmark as its users run it, short, and the packer that it is measured against.

import { assert, assertEquals } from "@std/assert";
import { isChanged, packCubes, unpackCubes } from "../../bench/cubes_control.ts";
import { CUBES, cubesGrants, CubesScene, LANES } from "../../bench/cubes_scene.ts";
import { Writer } from "../../protocol/writer.ts";
import { benchFigures } from "../support/bench_figures.ts";
import { below, createPrng } from "../support/prng.ts";

Deno.test("`cubes` ends with one flat line of plausible figures, when it runs for a second", async () => {
  await benchFigures("cubes", ["--frames", "60"], {
    bits_per_changed_cube: [15, 120],
    bits_loss5: [15, 120],
    control_bits: [30, 80],
    control_bits_loss5: [30, 80],
    kbps: [20, 5_000],
    control_kbps: [20, 5_000],
    changed_cubes: [3, 901],
    datagrams_checked: [120, 10_000],
    idle_kbps: [0.1, 15],
  });
});

Deno.test("`unpackCubes()` gives back what was packed, when few, many, near and far cubes changed", () => {
  const w = new Writer(16_384);
  for (let seed = 1; seed <= 200; seed++) {
    const prng = createPrng(seed);
    const base = snapshot(prng);
    const next = base.slice();
    const share = [0.003, 0.05, 0.5][below(prng, 3)]!;
    for (let i = 0; i < CUBES; i++) {
      if (prng() < share) change(next, i, prng);
    }
    w.clear();
    const changed = packCubes(w, next, base);
    assertEquals(changed, count(next, base), `seed ${seed}`);
    const read = base.slice();
    unpackCubes(w.finish(), read);
    assertEquals(read, next, `seed ${seed}`);
  }
});

function snapshot(prng: () => number): Int32Array {
  const lanes = new Int32Array(CUBES * LANES);
  for (let i = 0; i < CUBES; i++) place(lanes, i, prng);
  return lanes;
}

function place(lanes: Int32Array, i: number, prng: () => number): void {
  const floor = 256 * 512;
  const height = floor + below(prng, 2 ** 14);
  const cube = [below(prng, 2 ** 18), below(prng, 2 ** 18), height, below(prng, 4)];
  for (let k = 0; k < 3; k++) cube.push(below(prng, 2 ** 9));
  lanes.set([...cube, below(prng, 2)], i * LANES);
}

/** Moves a cube a little, by as much as a difference holds or a step more, or anywhere. */
function change(lanes: Int32Array, i: number, prng: () => number): void {
  const reach = [1, 16, 17, 272, 273, 144][below(prng, 6)]!;
  const mode = below(prng, 4);
  if (mode === 3) return place(lanes, i, prng);
  for (let k = 0; k < 3; k++) {
    const sign = below(prng, 3) - 1;
    if (mode !== 1) lanes[i * LANES + k]! += sign * reach;
    if (mode !== 0) lanes[i * LANES + 4 + k] = wrapped(lanes[i * LANES + 4 + k]! + sign * reach);
  }
  // The packer writes what lies in the field and above the floor.
  const at = i * LANES;
  for (let k = 0; k < 2; k++) lanes[at + k] = Math.min(2 ** 18 - 1, Math.max(0, lanes[at + k]!));
  const floor = 256 * 512;
  lanes[at + 2] = Math.min(floor + 2 ** 14 - 1, Math.max(floor, lanes[at + 2]!));
}

function wrapped(lane: number): number {
  return Math.min(2 ** 9 - 1, Math.max(0, lane));
}

function count(next: Int32Array, base: Int32Array): number {
  let changed = 0;
  for (let i = 0; i < CUBES; i++) if (isChanged(next, base, i)) changed += 1;
  return changed;
}

Deno.test("`CubesScene` plays the same for the same seed and comes to rest, when the player lets go", async () => {
  const grants = cubesGrants();
  const [one, twin, other] = [
    await CubesScene.create(grants, 1),
    await CubesScene.create(grants, 1),
    await CubesScene.create(grants, 2),
  ];
  const start = one.lanes.slice();
  for (let frame = 0; frame < 90; frame++) for (const scene of [one, twin, other]) scene.step();
  assertEquals(twin.lanes, one.lanes);
  assert(count(other.lanes, one.lanes) > 0);
  assert(count(one.lanes, start) > 5, "the player moves cubes");
  one.isIdle = true;
  for (let frame = 0; frame < 420; frame++) one.step();
  const rest = one.lanes.slice();
  for (let frame = 0; frame < 30; frame++) one.step();
  assertEquals(count(one.lanes, rest), 0);
  for (const scene of [one, twin, other]) scene.free();
});
