// Bits, numbers and text as docs/PROTOCOL.md chapters 1 and 5.1 define them, read one bit at a time: slow, short, and sharing no line
// with the driver, so that a misreading of the page by either shows. What does not follow the page throws `Malformed`.

/** Bytes that break a rule of the page; `fault` is the name in its chapter 8. */
export class Malformed extends Error {
  /** @param fault Name of the fault. @param what What was being read. */
  constructor(readonly fault: string, what: string) {
    super(`${fault}: ${what}`);
  }
}

/** Throws `Malformed` unless the rule holds. */
export function rule(holds: boolean, fault: string, what: string): asserts holds {
  if (!holds) throw new Malformed(fault, what);
}

/** Bits that the numbers 0..n need. */
export function widthOf(n: number): number {
  let bits = 0;
  while (n >= 2 ** bits) bits += 1;
  return bits;
}

/** The whole number nearest to `newest` that ends in these 16 bits; of two equally near, the smaller. */
export function unwrap16(low: number, newest: number): number {
  const base = Math.floor(newest / 65_536) * 65_536 + low;
  let best = base - 65_536;
  for (const candidate of [base, base + 65_536]) {
    if (Math.abs(candidate - newest) < Math.abs(best - newest)) best = candidate;
  }
  return best;
}

/** UTF-8 or `NotUtf8`; a byte order mark is a character. */
export function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed("NotUtf8", "text");
  }
}

/** One message, read from its first bit. */
export class Bits {
  #at = 0;

  /** @param bytes The whole message. */
  constructor(readonly bytes: Uint8Array) {}

  /** Bits not read yet. */
  get left(): number {
    return this.bytes.length * 8 - this.#at;
  }

  /** `bits(n)`, n of 0 to 32. */
  bits(n: number): number {
    rule(n <= this.left, "Truncated", `${n} bits of ${this.left}`);
    let value = 0;
    for (let i = 0; i < n; i++, this.#at++) {
      const bit = (this.bytes[this.#at >> 3]! >> (this.#at & 7)) & 1;
      value += bit * 2 ** i;
    }
    return value;
  }

  /** The bit `n` behind the present one, which stays unread; 0 beyond the end. */
  ahead(n: number): number {
    const at = this.#at + n;
    return at < this.bytes.length * 8 ? (this.bytes[at >> 3]! >> (at & 7)) & 1 : 0;
  }

  /** Passes over `n` bits. */
  pass(n: number): void {
    rule(n <= this.left, "Truncated", `${n} bits of ${this.left}`);
    this.#at += n;
  }

  /** `short`. */
  short(): number {
    let place = 0;
    while (this.bool()) {
      place += 1;
      rule(place <= 20, "OutOfRange", "short of more than 20 bits");
    }
    return 2 ** place + this.bits(place);
  }

  /** `bool`. */
  bool(): boolean {
    return this.bits(1) === 1;
  }

  /** `u8`. */
  u8(): number {
    return this.bits(8);
  }

  /** `u16`. */
  u16(): number {
    return this.bits(16);
  }

  /** `u32`. */
  u32(): number {
    return this.bits(32);
  }

  /** `varint`. */
  varint(): number {
    let value = 0;
    for (let i = 0; i < 5; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) {
        rule(i === 0 || byte !== 0, "NonCanonical", "varint longer than needed");
        rule(value < 2 ** 32, "OutOfRange", "varint");
        return value;
      }
    }
    throw new Malformed("OutOfRange", "varint of more than 5 bytes");
  }

  /** `bytes(n)` at any bit offset. */
  take(n: number): Uint8Array {
    rule(n * 8 <= this.left, "Truncated", `${n} bytes`);
    return Uint8Array.from({ length: n }, () => this.u8());
  }

  /** `text` of at most `maxBytes`. */
  text(maxBytes: number): string {
    const length = this.varint();
    rule(length <= maxBytes, "OutOfRange", `text of ${length} bytes`);
    return textOf(this.take(length));
  }

  /** A declared id. */
  declaredId(): number {
    const id = this.varint();
    rule(id <= 16_383, "OutOfRange", `declared id ${id}`);
    return id;
  }

  /** A `u8` that must be 0 or 1. */
  flag(): boolean {
    const value = this.u8();
    rule(value <= 1, "UnknownKind", `flag ${value}`);
    return value === 1;
  }

  /** `gamma`, 1 to 2^32 - 1. */
  gamma(): number {
    const place = this.bits(5);
    return 2 ** place + this.bits(place);
  }

  /** `signed`. */
  signed(): number {
    return unfold(this.gamma() - 1);
  }

  /** `align`: zero bits up to the next whole byte. */
  align(): void {
    rule(this.bits((8 - (this.#at & 7)) & 7) === 0, "NonCanonical", "padding is not zero");
  }

  /** The rest, from a byte's start. */
  rest(): Uint8Array {
    rule((this.#at & 7) === 0, "NonCanonical", "rest begins inside a byte");
    return this.take(this.left >> 3);
  }

  /** The implicit `align` at the end, and nothing behind it. */
  end(): void {
    this.align();
    rule(this.left === 0, "Trailing", `${this.left} bits`);
  }
}

/** The number that was folded to z: 2s for s >= 0, -2s - 1 below. */
export function unfold(z: number): number {
  return z % 2 === 0 ? z / 2 : -(z + 1) / 2;
}
