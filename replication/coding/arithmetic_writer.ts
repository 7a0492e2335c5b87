// Entropy coder, writing end: turns intervals of a cumulative distribution into bits. What is coded, and how likely it is, is decided by
// the models that call it. One run ends on a bit of its own, so that its bits can be copied to any bit offset of any message.

import type { Writer } from "../../protocol/writer.ts";

/** Bits of the scale on which intervals are given: an interval is `[from, to)` within `[0, 2^SCALE_BITS)`. */
const SCALE_BITS = 16;
/** The whole of a distribution. */
const SCALE = 2 ** SCALE_BITS;
/** For the modules that use them at every number, each as constants of its own: an import is looked up at every use. */
export const CODER_SCALE = { SCALE_BITS, SCALE } as const;

/**
 * Arithmetic coder with a state of 32 bits and bit output (Witten, Neal, Cleary, "Arithmetic Coding for Data Compression", CACM 30/6,
 * 1987). A run costs one to two bits above the information in it.
 */
export class ArithmeticWriter {
  readonly #writer: Writer;
  // Both ends of the present interval, inclusive, as unsigned words.
  #low = 0;
  #high = -1;
  /** Bits whose value is the opposite of the next one's. */
  #pending = 0;
  // Bits not yet in the writer, the first one highest.
  #word = 0;
  #wordBits = 0;

  /** Writes runs into `writer`, where it stands. */
  constructor(writer: Writer) {
    this.#writer = writer;
  }

  /** Begins a run. */
  begin(): void {
    this.#low = 0;
    this.#high = -1;
    this.#pending = 0;
  }

  /** Codes the interval `[from, to)`, which must not be empty. */
  encode(from: number, to: number): void {
    const base = this.#low;
    const step = (this.#high - base) >>> SCALE_BITS;
    // The last interval takes what the division left over.
    let high = to === SCALE ? this.#high : (base + Math.imul(step, to) - 1) | 0;
    let low = (base + Math.imul(step, from)) | 0;
    const same = Math.clz32(low ^ high);
    if (same > 0) {
      this.#emit(low >>> (32 - same), same);
      low <<= same;
      high = (high << same) | ((1 << same) - 1);
    }
    // low is 0..., high is 1...: while they are 01... and 10..., the next bit is not known, but the one after is its opposite.
    const near = Math.min(Math.clz32(~(low << 1)), Math.clz32(high << 1));
    if (near > 0) {
      this.#pending += near;
      low = (low << near) & 0x7fff_ffff;
      high = (high << near) | ((1 << near) - 1) | 0x8000_0000;
    }
    this.#low = low;
    this.#high = high;
  }

  /** Codes `count` (0..16) bits that are as likely 0 as 1. */
  encodeBits(value: number, count: number): void {
    if (count === 0) return;
    const width = SCALE >>> count;
    this.encode(value * width, (value + 1) * width);
  }

  /** Ends the run: whatever follows it, its reader finds the same. */
  end(): void {
    this.#pending += 1;
    this.#emit((this.#low >>> 30) === 0 ? 0 : 1, 1);
    this.#flush();
  }

  #emit(value: number, count: number): void {
    if (this.#pending > 0) {
      const first = (value >>> (count - 1)) & 1;
      this.#put(first, 1);
      const opposite = first === 0 ? -1 : 0;
      for (; this.#pending > 16; this.#pending -= 16) this.#put(opposite & 0xffff, 16);
      this.#put(opposite & ((1 << this.#pending) - 1), this.#pending);
      this.#pending = 0;
      count -= 1;
      if (count === 0) return;
    }
    if (count > 16) {
      this.#put((value >>> (count - 16)) & 0xffff, 16);
      count -= 16;
    }
    this.#put(value & ((1 << count) - 1), count);
  }

  /** Adds `count` (0..16) bits, the first one highest. */
  #put(value: number, count: number): void {
    if (this.#wordBits + count > 31) this.#flush();
    this.#word = (this.#word << count) | value;
    this.#wordBits += count;
  }

  #flush(): void {
    if (this.#wordBits === 0) return;
    this.#writer.bits(reversed(this.#word) >>> (32 - this.#wordBits), this.#wordBits);
    this.#word = 0;
    this.#wordBits = 0;
  }
}

/** The bits of a word in the opposite order. */
export function reversed(word: number): number {
  let x = word;
  x = ((x >>> 1) & 0x5555_5555) | ((x & 0x5555_5555) << 1);
  x = ((x >>> 2) & 0x3333_3333) | ((x & 0x3333_3333) << 2);
  x = ((x >>> 4) & 0x0f0f_0f0f) | ((x & 0x0f0f_0f0f) << 4);
  x = ((x >>> 8) & 0x00ff_00ff) | ((x & 0x00ff_00ff) << 8);
  return ((x >>> 16) | (x << 16)) >>> 0;
}
