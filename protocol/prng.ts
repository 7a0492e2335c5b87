// A small, fast, seeded source of numbers that look random: for simulated links, tests and jitter. It is no source of secrets,
// and it seeds itself from nothing: the same seed gives the same numbers on every machine.

/**
 * Chris Doty-Humphrey's sfc32 (PractRand), seeded through splitmix32.
 *
 * @example
 * ```ts
 * const prng = new Prng(7);
 * const die = 1 + prng.nextBelow(6);
 * ```
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  #spareGaussian: number | undefined;

  /** A source that starts anew. @param seed Any number; its low 32 bits count. */
  constructor(seed: number) {
    let state = seed >>> 0;
    const split = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#a = split();
    this.#b = split();
    this.#c = split();
    for (let i = 0; i < 12; i++) this.nextU32();
  }

  /** The next unsigned 32-bit integer. */
  nextU32(): number {
    const sum = (this.#a + this.#b + this.#counter) >>> 0;
    this.#counter = (this.#counter + 1) >>> 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) >>> 0;
    return sum;
  }

  /** The next float in [0, 1), a multiple of 2^-32. */
  nextFloat(): number {
    return this.nextU32() / 0x1_0000_0000;
  }

  /** The next integer in [0, `n`), `n` at most 2^32; the bias is below 2^-32 x `n`. */
  nextBelow(n: number): number {
    return Math.floor(this.nextFloat() * n);
  }

  /** True with probability `rate`; draws a number only where the answer is open, so that a rate of 0 costs nothing. */
  chance(rate: number): boolean {
    return rate > 0 && (rate >= 1 || this.nextFloat() < rate);
  }

  /** The next normally distributed float, mean 0 and deviation 1 (Box and Muller 1958). */
  nextGaussian(): number {
    const spare = this.#spareGaussian;
    if (spare !== undefined) {
      this.#spareGaussian = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.nextFloat()));
    const angle = 2 * Math.PI * this.nextFloat();
    this.#spareGaussian = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Fills `target` with bytes. */
  fill(target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.nextU32() >>> 24;
  }

  /** A new, independent source that this one seeds: so that one part's draws do not shift another's. */
  fork(): Prng {
    return new Prng(this.nextU32());
  }
}
