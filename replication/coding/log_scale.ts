// The scale on which errors and widths are weighed: 16 times the binary logarithm, in whole numbers. By tables that are computed in
// arithmetic that all machines share; what is weighed is the business of `motion_model.ts`.

import { portableLog2 } from "./portable_math.ts";

/** 16 log2(q / 4 + 1/2), rounded to the nearest, by quarters q. */
const LOG = new Int16Array(1 << 16);
for (let q = 0; q < LOG.length; q++) LOG[q] = Math.floor(16 * portableLog2(q / 4 + 0.5, 20) + 0.5);

/** 16 log2(x + 1/2), of x (not negative) cut to quarters. */
export function log16(x: number): number {
  const quarters = x * 4;
  return quarters < 65_536 ? LOG[quarters | 0]! : farLog16(quarters);
}

function farLog16(quarters: number): number {
  if (quarters < 2_147_483_648) return LOG[(quarters / 65_536) | 0]! + 256;
  return LOG[32_767]! + 256;
}
