// 16-bit counters on the wire, whole numbers inside. Knows nothing of what is counted.

/** Half the 16-bit ring: a wire number is read as the whole number nearest to the newest one known. */
export const SEQUENCE_HALF = 0x8000;

/**
 * The whole number that `wire` (16 bits) stands for, given the newest whole number known.
 *
 * The result lies within `newest - 32,768 .. newest + 32,767`; it can be negative, which no honest sender means.
 */
export function unwrap16(wire: number, newest: number): number {
  const delta = ((wire - newest) & 0xffff) << 16 >> 16;
  return newest + delta;
}
