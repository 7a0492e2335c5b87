// Bounds on what ends a connection: codes and reasons, ours and a peer's.

import { assert } from "../protocol/assert.ts";
import { MAX_APPLICATION_CODE, MAX_CLOSE_REASON_BYTES } from "../protocol/limits.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Our own code must be one every backend can carry. */
export function assertApplicationCode(code: number): void {
  assert(
    Number.isInteger(code) && code >= 0 && code <= MAX_APPLICATION_CODE,
    "an application code is a whole number of 0..2^30-1",
  );
}

/** A peer's code, brought into our range. */
export function clampApplicationCode(code: number | bigint): number {
  const value = Number(code);
  return value >= 0 && value <= MAX_APPLICATION_CODE ? Math.floor(value) : MAX_APPLICATION_CODE;
}

/** A reason cut to {@linkcode MAX_CLOSE_REASON_BYTES} bytes of UTF-8, at a whole character. */
export function clampReason(reason: string): string {
  if (reason.length * 3 <= MAX_CLOSE_REASON_BYTES) return reason;
  const bytes = new Uint8Array(MAX_CLOSE_REASON_BYTES);
  const { written } = encoder.encodeInto(reason, bytes);
  return decoder.decode(bytes.subarray(0, written));
}
