// How a driver that cannot start must end: with the documented code and one paragraph that a person can read.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { DriverProcess } from "./driver_process.ts";

/** Asserts the exit code, and a message without a stack trace that holds each of `parts`. */
export function assertTold(code: number, err: string, wanted: number, parts: readonly string[]) {
  assertEquals(code, wanted, err);
  assertMatch(err, /^syncra: /);
  assert(!/^\s+at .*[:/]/m.test(err), `a stack trace was printed:\n${err}`);
  assert(!/\n\s*\n/.test(err.trimEnd()), `more than one paragraph was printed:\n${err}`);
  for (const part of parts) assertStringIncludes(err, part);
}

/** Asserts how a driver ends that was launched into trouble. */
export async function assertEnds(
  driver: DriverProcess,
  wanted: number,
  ...parts: readonly string[]
): Promise<void> {
  assertTold(await driver.ended, driver.err, wanted, parts);
}
