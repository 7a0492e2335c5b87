// MessagePack as far as docs/PROTOCOL.md 2.1 allows it on the engine link: nil, booleans, 32-bit numbers, float 64, short texts, bin and arrays,
// each in its shortest form. Anything else throws.

import { rule, textOf } from "./bits.ts";

/** A value of the engine link. */
export type Item = null | boolean | number | string | Uint8Array | readonly Item[];

/** Reads one value, and nothing behind it. */
export function readMessagePack(bytes: Uint8Array): Item {
  const reader = new Reader(bytes);
  const value = reader.item(0);
  rule(reader.at === bytes.length, "Trailing", "bytes after the value");
  return value;
}

class Reader {
  at = 0;
  #items = 0;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  item(depth: number): Item {
    this.#items += 1;
    rule(this.#items <= 65_536, "OutOfRange", "more than 65,536 items");
    const tag = this.#number(1);
    if (tag <= 0x7f) return tag;
    if (tag >= 0xe0) return tag - 256;
    if (tag >= 0x90 && tag <= 0x9f) return this.#array(tag - 0x90, depth);
    if (tag >= 0xa0 && tag <= 0xbf) return this.#text(tag - 0xa0);
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#take(this.#length(1, 0));
      case 0xc5:
        return this.#take(this.#length(2, 0x100));
      case 0xc6:
        return this.#take(this.#length(4, 0x1_0000));
      case 0xcb:
        return this.#float();
      case 0xcc:
        return this.#length(1, 0x80);
      case 0xcd:
        return this.#length(2, 0x100);
      case 0xce:
        return this.#length(4, 0x1_0000);
      case 0xd0:
        return this.#negative(1, 0x20);
      case 0xd1:
        return this.#negative(2, 0x80);
      case 0xd2:
        return this.#negative(4, 0x8000);
      case 0xd9:
        return this.#text(this.#length(1, 32));
      case 0xda:
        return this.#text(this.#length(2, 0x100));
      case 0xdc:
        return this.#array(this.#length(2, 16), depth);
      case 0xdd:
        return this.#array(this.#length(4, 0x1_0000), depth);
      default:
        rule(false, "UnknownKind", `MessagePack tag ${tag}`);
    }
  }

  #number(size: 1 | 2 | 4): number {
    rule(this.at + size <= this.bytes.length, "Truncated", "number");
    const { at } = this;
    this.at += size;
    return size === 1
      ? this.#view.getUint8(at)
      : size === 2
      ? this.#view.getUint16(at)
      : this.#view.getUint32(at);
  }

  /** A number that would have a shorter form below `least`. */
  #length(size: 1 | 2 | 4, least: number): number {
    const value = this.#number(size);
    rule(value >= least, "NonCanonical", `${value} in ${size} bytes`);
    return value;
  }

  #negative(size: 1 | 2 | 4, above: number): number {
    const value = this.#number(size) - 2 ** (8 * size);
    rule(value < -above && value >= -(2 ** (8 * size - 1)), "NonCanonical", `${value}`);
    return value;
  }

  #float(): number {
    rule(this.at + 8 <= this.bytes.length, "Truncated", "float 64");
    const value = this.#view.getFloat64(this.at);
    this.at += 8;
    rule(Number.isFinite(value), "OutOfRange", "a number that is not finite");
    const isSmall = Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32;
    rule(!isSmall, "NonCanonical", `${value} as float 64`);
    return value;
  }

  #take(length: number): Uint8Array {
    rule(this.at + length <= this.bytes.length, "Truncated", "bin");
    this.at += length;
    return this.bytes.slice(this.at - length, this.at);
  }

  #text(length: number): string {
    rule(length <= 256, "OutOfRange", `text of ${length} bytes`);
    const text = textOf(this.#take(length));
    rule(!text.startsWith("\ufeff"), "NonCanonical", "leading byte order mark");
    return text;
  }

  #array(length: number, depth: number): Item[] {
    rule(depth < 8, "OutOfRange", "nested deeper than 8");
    return Array.from({ length }, () => this.item(depth + 1));
  }
}
