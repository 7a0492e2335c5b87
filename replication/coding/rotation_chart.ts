// Lanes of a rotation as they would be if another component were its largest: so that earlier versions can be compared with a new one
// whose largest has changed. Real numbers, not rounded; in arithmetic that all machines share.

import { latticeCentre, latticeStep } from "../../permissions/layout.ts";
import type { RotationGrid } from "../quaternion.ts";
import { portableAtan, portableTan } from "./portable_math.ts";

const QUARTER = Math.PI / 4;

/** Charts of one field's rotations. */
export class RotationChart {
  readonly #step: number;
  readonly #centre: number;
  readonly #isLattice: boolean;
  readonly #q = new Float64Array(4);

  /** For rotations that are quantised so. */
  constructor(grid: RotationGrid) {
    this.#isLattice = grid.precision > 0;
    if (this.#isLattice) {
      this.#step = latticeStep(grid.precision);
      this.#centre = latticeCentre(grid.precision);
    } else {
      this.#centre = (1 << (grid.bits - 1)) - 1;
      this.#step = Math.SQRT1_2 / this.#centre;
    }
  }

  /** Writes the three lanes of the rotation at `lanes[at..]` in the chart of `largest`. */
  load(lanes: Int32Array, at: number, largest: number, out: Float64Array, outAt: number): void {
    const was = lanes[at]!;
    if (was === largest) {
      out[outAt] = lanes[at + 1]!;
      out[outAt + 1] = lanes[at + 2]!;
      out[outAt + 2] = lanes[at + 3]!;
      return;
    }
    const q = this.#q;
    const centre = this.#centre;
    const step = this.#step;
    let lane = at + 1;
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      if (i === was) continue;
      const offset = (lanes[lane]! - centre) * step;
      const value = this.#isLattice ? portableTan(offset) : offset;
      q[i] = value;
      sum += value * value;
      lane += 1;
    }
    q[was] = this.#isLattice ? 1 : Math.sqrt(sum < 1 ? 1 - sum : 0);
    const sign = q[largest]! < 0 ? -1 : 1;
    const lead = sign * q[largest]!;
    let place = outAt;
    for (let i = 0; i < 4; i++) {
      if (i === largest) continue;
      const value = sign * q[i]!;
      out[place] = centre + (this.#isLattice ? ratioAngle(value, lead) : value) / step;
      place += 1;
    }
  }
}

/** Angle of the point (x, y) from the x axis, for x >= 0. */
function ratioAngle(y: number, x: number): number {
  const size = y < 0 ? -y : y;
  if (size === 0) return 0;
  const angle = size <= x ? portableAtan(size / x) : 2 * QUARTER - portableAtan(x / size);
  return y < 0 ? -angle : angle;
}
