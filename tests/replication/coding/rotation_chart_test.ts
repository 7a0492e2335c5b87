// Rotations seen in the chart of another component than their largest, against the same worked out with the platform's own functions of
// angles: on a lattice that has its tangents in a table, on one too fine for that, and on one of "smallest three".

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { latticeBits, latticeCentre, latticeStep } from "../../../permissions/layout.ts";
import { Prng } from "../../../protocol/prng.ts";
import { RotationChart } from "../../../replication/coding/rotation_chart.ts";
import { quantiseQuaternion, type RotationGrid } from "../../../replication/quaternion.ts";

const COARSE = 0.2;
const FINE = 0.005;
const GRIDS: readonly RotationGrid[] = [
  { bits: latticeBits(COARSE), precision: COARSE },
  { bits: latticeBits(FINE), precision: FINE },
  { bits: 10, precision: 0 },
];

/** Lanes of some rotation, its index first. */
function someLanes(grid: RotationGrid, prng: Prng): Int32Array {
  const q = Float64Array.from({ length: 4 }, () => prng.nextBelow(2001) / 1000 - 1);
  const length = Math.hypot(...q);
  const lanes = new Int32Array(4);
  assertEquals(quantiseQuaternion(grid, q.map((x) => x / length), 0, lanes, 0), true);
  return lanes;
}

/** The three lanes in the chart of `largest`. */
function expected(grid: RotationGrid, lanes: Int32Array, largest: number): number[] {
  const isLattice = grid.precision > 0;
  const centre = isLattice ? latticeCentre(grid.precision) : 2 ** (grid.bits - 1) - 1;
  const step = isLattice ? latticeStep(grid.precision) : Math.SQRT1_2 / centre;
  const others = [...lanes.subarray(1)].map((lane) => (lane - centre) * step);
  const parts = isLattice ? others.map(Math.tan) : others;
  const sum = parts.reduce((total, x) => total + x * x, 0);
  const q = parts.toSpliced(lanes[0]!, 0, isLattice ? 1 : Math.sqrt(Math.max(0, 1 - sum)));
  const sign = q[largest]! < 0 ? -1 : 1;
  const rest = q.map((x) => x * sign).toSpliced(largest, 1);
  const lead = sign * q[largest]!;
  return rest.map((x) => centre + (isLattice ? Math.atan2(x, lead) : x) / step);
}

Deno.test("`RotationChart.load()` turns a rotation into every chart, when its lattice is coarse, fine or none", () => {
  const prng = new Prng(11);
  const out = new Float64Array(5);
  for (const grid of GRIDS) {
    const chart = new RotationChart(grid);
    for (let round = 0; round < 300; round++) {
      const lanes = someLanes(grid, prng);
      for (let largest = 0; largest < 4; largest++) {
        chart.load(lanes, 0, largest, out, 2);
        const lanesThere = expected(grid, lanes, largest);
        // Lanes: far less than what a prediction is rounded to.
        lanesThere.forEach((lane, i) => assertAlmostEquals(out[2 + i]!, lane, 1e-6));
      }
    }
  }
});

Deno.test("`RotationChart.load()` gives whole lanes as they are, when the chart is their own", () => {
  const out = new Float64Array(3);
  for (const grid of GRIDS) {
    const lanes = someLanes(grid, new Prng(5));
    new RotationChart(grid).load(lanes, 0, lanes[0]!, out, 0);
    assertEquals([...out], [...lanes.subarray(1)]);
  }
});
