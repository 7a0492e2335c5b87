// The other half of `bits.ts`: bits, numbers and text written as docs/PROTOCOL.md chapters 1 and 5.1 define them.

/** A message under way, one element a bit. */
export class BitWriter {
  readonly #bits: number[] = [];

  /** `bits(n)`. */
  bits(n: number, value: number): this {
    for (let i = 0; i < n; i++) this.#bits.push(Math.floor(value / 2 ** i) % 2);
    return this;
  }

  /** `bool`. */
  bool(value: boolean): this {
    return this.bits(1, value ? 1 : 0);
  }

  /** `varint`. */
  varint(value: number): this {
    for (; value >= 128; value = Math.floor(value / 128)) this.bits(8, value % 128 + 128);
    return this.bits(8, value);
  }

  /** `bytes(n)`. */
  bytes(bytes: Uint8Array): this {
    for (const byte of bytes) this.bits(8, byte);
    return this;
  }

  /** `gamma`. */
  gamma(value: number): this {
    let place = 0;
    while (2 ** (place + 1) <= value) place += 1;
    return this.bits(5, place).bits(place, value - 2 ** place);
  }

  /** `signed`. */
  signed(value: number): this {
    return this.gamma(fold(value) + 1);
  }

  /** The bytes, after an `align`. */
  finish(): Uint8Array {
    const bytes = new Uint8Array(Math.ceil(this.#bits.length / 8));
    this.#bits.forEach((bit, i) => bytes[i >> 3]! |= bit << (i & 7));
    return bytes;
  }
}

/** z = 2s for s >= 0, -2s - 1 below. */
export function fold(value: number): number {
  return value >= 0 ? 2 * value : -2 * value - 1;
}
