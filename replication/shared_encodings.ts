// Differences that several links send alike in one tick: the bits of one value against the same references under the same mask are coded
// once and copied. It compares keys and keeps bits; what belongs into a key is the encoder's knowledge.

import { MAX_SHARED_BYTES, MAX_SHARED_ENCODINGS } from "../protocol/limits.ts";
import { Writer } from "../protocol/writer.ts";

/** Numbers of a key: what the bits of a value depend on, each a whole number below 2^53. */
export const KEY_NUMBERS = 18;
/** Places of the hash table; half of them at most are taken. */
const PLACES = 2 * MAX_SHARED_ENCODINGS;

/** Encoded values of one tick, by key. */
export class SharedEncodings {
  /** The key of the next `copy` or `keep`; the caller fills it. */
  readonly key: Float64Array = new Float64Array(KEY_NUMBERS);
  /** Encodings that were copied instead of made, since the beginning. */
  copied = 0;
  #tick = -1;
  #count = 0;
  /** By place of the hash table: entry plus one, 0 where it is free. */
  #places = new Int32Array(0);
  #keys = new Float64Array(0);
  #start = new Int32Array(0);
  #bits = new Int32Array(0);
  #arena = new Writer(0);
  #place = 0;

  /** Turns to a tick: what was kept of another is forgotten. */
  begin(tick: number): void {
    if (tick === this.#tick) return;
    this.#tick = tick;
    if (this.#count === 0) return;
    this.#places.fill(0);
    this.#count = 0;
    this.#arena.clear();
  }

  /** Appends the bits kept under the key; false where there are none. */
  copy(writer: Writer): boolean {
    if (this.#places.length === 0) this.#allocate();
    const entry = this.#find();
    if (entry < 0) return false;
    writer.copyBits(this.#arena.view(), this.#start[entry]!, this.#bits[entry]!);
    this.copied += 1;
    return true;
  }

  /** Keeps what `writer` holds from bit `from` on under the key for which `copy` has just found nothing. */
  keep(writer: Writer, from: number): void {
    const bits = writer.bitLength - from;
    if (this.#count === MAX_SHARED_ENCODINGS) return;
    if (this.#arena.bitLength + bits > 8 * MAX_SHARED_BYTES) return;
    const entry = this.#count;
    this.#count += 1;
    this.#keys.set(this.key, entry * KEY_NUMBERS);
    this.#start[entry] = this.#arena.bitLength;
    this.#bits[entry] = bits;
    this.#arena.copyBits(writer.view(), from, bits);
    this.#places[this.#place] = entry + 1;
  }

  #allocate(): void {
    this.#places = new Int32Array(PLACES);
    this.#keys = new Float64Array(MAX_SHARED_ENCODINGS * KEY_NUMBERS);
    this.#start = new Int32Array(MAX_SHARED_ENCODINGS);
    this.#bits = new Int32Array(MAX_SHARED_ENCODINGS);
    this.#arena = new Writer(4_096);
  }

  /** The entry with the key, -1 where there is none; then `#place` is where it would stand. */
  #find(): number {
    const { key } = this;
    let hash = 0;
    for (let i = 0; i < KEY_NUMBERS; i++) hash = Math.imul(hash ^ (key[i]! | 0), 0x9e3779b1) + i;
    hash ^= hash >>> 15;
    let place = hash & (PLACES - 1);
    for (;;) {
      const entry = this.#places[place]! - 1;
      if (entry < 0) break;
      const at = entry * KEY_NUMBERS;
      let i = 0;
      while (i < KEY_NUMBERS && this.#keys[at + i] === key[i]) i += 1;
      if (i === KEY_NUMBERS) return entry;
      place = (place + 1) & (PLACES - 1);
    }
    this.#place = place;
    return -1;
  }
}
