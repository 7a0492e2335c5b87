// Growing typed arrays. The columns of this folder double instead of being allocated per entity; only that rule lives here.

/** The capacity to grow to so that `needed` items fit: doubled from `capacity` on, never above `most`. */
export function grownCapacity(capacity: number, needed: number, most: number): number {
  let grown = Math.max(capacity, 1);
  while (grown < needed) grown *= 2;
  return Math.min(grown, Math.max(most, needed));
}

/** A copy of `array` with room for `length` items; the new ones are zero. */
export function grown<T extends Int32Array | Uint32Array | Uint16Array | Uint8Array | Float64Array>(
  array: T,
  length: number,
): T {
  const larger = new (array.constructor as new (length: number) => T)(length);
  larger.set(array);
  return larger;
}
