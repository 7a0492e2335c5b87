// Lanes of a rotation as they would be if another component were its largest: so that earlier versions can be compared with a new one
// whose largest has changed. Real numbers, not rounded; in arithmetic that all machines share.

import { latticeCentre, latticeStep } from "../../permissions/layout.ts";
import type { RotationGrid } from "../quaternion.ts";
import { portableAtan, portableTan } from "./portable_math.ts";

const QUARTER = Math.PI / 4;

/** Lanes up to this have their tangents in a table of up to 32 KiB; of finer lattices they are computed. */
const TABLE_LANES = 4096;

/** Charts of one field's rotations. */
export class RotationChart {
  readonly #step: number;
  readonly #centre: number;
  readonly #isLattice: boolean;
  /** By lane, what the component is to the largest; empty where it is computed. */
  readonly #ratios: Float64Array;
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
    const largest = 2 * this.#centre;
    this.#ratios = new Float64Array(this.#isLattice && largest < TABLE_LANES ? largest + 1 : 0);
    for (let lane = 0; lane < this.#ratios.length; lane++) {
      this.#ratios[lane] = portableTan((lane - this.#centre) * this.#step);
    }
  }

  /** Writes the three lanes of the rotation at `lanes[at..]`, which are in range, in the chart of `largest`. */
  load(lanes: Int32Array, at: number, largest: number, out: Float64Array, outAt: number): void {
    const was = lanes[at]!;
    if (was === largest) {
      out[outAt] = lanes[at + 1]!;
      out[outAt + 1] = lanes[at + 2]!;
      out[outAt + 2] = lanes[at + 3]!;
      return;
    }
    const q = this.#q;
    const a = this.#component(lanes[at + 1]!);
    const b = this.#component(lanes[at + 2]!);
    const c = this.#component(lanes[at + 3]!);
    q[was === 0 ? 1 : 0] = a;
    q[was <= 1 ? 2 : 1] = b;
    q[was <= 2 ? 3 : 2] = c;
    const sum = a * a + b * b + c * c;
    q[was] = this.#isLattice ? 1 : Math.sqrt(sum < 1 ? 1 - sum : 0);
    const sign = q[largest]! < 0 ? -1 : 1;
    const lead = sign * q[largest]!;
    const x = sign * q[largest === 0 ? 1 : 0]!;
    const y = sign * q[largest <= 1 ? 2 : 1]!;
    const z = sign * q[largest <= 2 ? 3 : 2]!;
    const step = this.#step;
    const centre = this.#centre;
    if (this.#isLattice) {
      out[outAt] = centre + ratioAngle(x, lead) / step;
      out[outAt + 1] = centre + ratioAngle(y, lead) / step;
      out[outAt + 2] = centre + ratioAngle(z, lead) / step;
    } else {
      out[outAt] = centre + x / step;
      out[outAt + 1] = centre + y / step;
      out[outAt + 2] = centre + z / step;
    }
  }

  /** A component from its lane: its ratio to the largest on a lattice, else itself. */
  #component(lane: number): number {
    if (lane < this.#ratios.length) return this.#ratios[lane]!;
    const offset = (lane - this.#centre) * this.#step;
    return this.#isLattice ? portableTan(offset) : offset;
  }
}

/** Angle of the point (x, y) from the x axis, for x >= 0. */
function ratioAngle(y: number, x: number): number {
  const size = y < 0 ? -y : y;
  if (size === 0) return 0;
  const angle = size <= x ? portableAtan(size / x) : 2 * QUARTER - portableAtan(x / size);
  return y < 0 ? -angle : angle;
}
