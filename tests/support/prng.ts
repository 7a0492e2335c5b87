// Seeded random numbers for tests. A failing test prints its seed, and the same seed gives the same run.

/** A source of numbers in 0 (inclusive) to 1 (exclusive). */
export type Prng = () => number;

/** Mulberry32: 32 bits of state, good enough for tests and the same everywhere. */
export function createPrng(seed: number): Prng {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A whole number in 0..limit - 1. */
export function below(prng: Prng, limit: number): number {
  return Math.floor(prng() * limit);
}
