import { assert, assertEquals } from "@std/assert";
import { latticeBits } from "../../permissions/layout.ts";
import { Prng } from "../../protocol/prng.ts";
import { isRotation, loadQuaternion, quantiseQuaternion } from "../../replication/quaternion.ts";

function drawn(prng: Prng, n: number): number[] {
  const unit = () => (prng.nextU32() + 0.5) / 2 ** 32;
  const q = Array.from(
    { length: 4 },
    () => Math.sqrt(-2 * Math.log(unit())) * Math.cos(2 * Math.PI * unit()),
  );
  // Where components are nearly equal, rounding is hardest.
  if (n % 3 === 0) q[n % 4] = q[(n + 1) % 4]! * (1 + (unit() - 0.5) * 0.002);
  if (n % 6 === 0) q[(n + 2) % 4] = -q[(n + 1) % 4]!;
  const size = Math.hypot(...q);
  return q.map((v) => Math.fround(v / size));
}

Deno.test("`quantiseQuaternion()` keeps the declared error and its own points, when a precision is declared", () => {
  for (const precision of [0.02, 0.2, 1, 5]) {
    const grid = { bits: latticeBits(precision), precision };
    const prng = new Prng(11);
    const lanes = new Int32Array(4);
    const again = new Int32Array(4);
    const out = new Float64Array(4);
    for (let n = 0; n < 40_000; n++) {
      const q = drawn(prng, n);
      assert(quantiseQuaternion(grid, q, 0, lanes, 0));
      assert(isRotation(grid, lanes, 0));
      loadQuaternion(grid, lanes, 0, out, 0);
      const apart = Math.min(
        Math.hypot(...q.map((v, i) => v - out[i]!)),
        Math.hypot(...q.map((v, i) => v + out[i]!)),
      );
      const degrees = 4 * Math.asin(apart / 2) * 180 / Math.PI;
      assert(degrees <= precision, `${q}: ${degrees} degrees`);
      assert(quantiseQuaternion(grid, out, 0, again, 0));
      assertEquals(again, lanes, `${q}`);
    }
  }
});

Deno.test("`isRotation()` takes lanes that are all even or all odd, when a precision is declared", () => {
  const grid = { bits: latticeBits(0.2), precision: 0.2 };
  assert(isRotation(grid, [0, 500, 502, 504], 0));
  assert(isRotation(grid, [0, 501, 503, 505], 0));
  assert(!isRotation(grid, [0, 500, 502, 505], 0));
  assert(!isRotation(grid, [0, 501, 502, 504], 0));
});
