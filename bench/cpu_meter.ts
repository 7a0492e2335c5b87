// Processor time and script memory of the process that measures, in steps finer than /proc has them. Processor time, not the clock's: what
// else runs on the machine then hardly counts, but the runtime's own threads (collector, compiler) do.

import process from "node:process";
import v8 from "node:v8";
import vm from "node:vm";

/** Adds up the processor time of what lies between `start` and `stop`, and the heap it took. */
export class CpuMeter {
  /** Processor time of each measurement so far, ms. */
  readonly samples: number[] = [];
  /** The clock's time of each measurement, ms. */
  readonly wall: number[] = [];
  /** Growth of the script heap in each measurement, bytes; negative where the collector ran. */
  readonly heap: number[] = [];
  #cpu = process.cpuUsage();
  #wallMs = 0;
  #heapBytes = 0;

  /** A measurement begins. */
  start(): void {
    this.#heapBytes = Deno.memoryUsage().heapUsed;
    this.#wallMs = performance.now();
    this.#cpu = process.cpuUsage();
  }

  /** It ends. */
  stop(): void {
    const { user, system } = process.cpuUsage(this.#cpu);
    this.wall.push(performance.now() - this.#wallMs);
    this.samples.push((user + system) / 1000);
    this.heap.push(Deno.memoryUsage().heapUsed - this.#heapBytes);
  }

  /** Mean processor time of a measurement, ms. */
  get meanMs(): number {
    return this.samples.reduce((sum, ms) => sum + ms, 0) / this.samples.length;
  }

  /** Processor time that `share` (0..1) of the measurements do not exceed, ms. */
  percentileMs(share: number): number {
    return quantile(this.samples, share);
  }

  /** Median growth of the heap in measurements in which the collector did not run, bytes. */
  get allocatedBytes(): number {
    return quantile(this.heap.filter((bytes) => bytes >= 0), 0.5);
  }
}

/** The value that `share` (0..1) of `values` do not exceed; NaN without any. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) return NaN;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]!;
}

/** Slope of the straight line with the least squared errors through points. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (at: 0 | 1) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x0, y0] = [mean(0), mean(1)];
  let [xy, xx] = [0, 0];
  for (const [x, y] of points) {
    xy += (x - x0) * (y - y0);
    xx += (x - x0) ** 2;
  }
  return xy / xx;
}

let collect: (() => void) | undefined;

/** Frees what the script heap holds for nothing, and says what is left, bytes. */
export function heapAfterCollection(): number {
  if (collect === undefined) {
    v8.setFlagsFromString("--expose-gc");
    collect = vm.runInNewContext("gc") as () => void;
  }
  collect();
  return Deno.memoryUsage().heapUsed;
}

/** A number with so many digits after the point, as the figures print it. */
export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
