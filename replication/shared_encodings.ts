// What many links of one world would find out and code alike in one tick: the bits of one value against the same references under the same
// mask, and whether two versions differ under a mask. It compares keys and keeps bits; what belongs into a key is the encoder's knowledge.

import { MAX_SHARED_BYTES, MAX_SHARED_ENCODINGS } from "../protocol/limits.ts";
import { Writer } from "../protocol/writer.ts";
import { grown, grownCapacity } from "./grow.ts";

/** Numbers of a key: what the bits of a value depend on, beside its component and row; 32 bits each. */
export const KEY_NUMBERS = 13;
// Columns of an entry, behind its key.
const COMPONENT = KEY_NUMBERS;
const ROW = KEY_NUMBERS + 1;
/** The next entry of the same row plus one, 0 at the end. */
const NEXT = KEY_NUMBERS + 2;
const START = KEY_NUMBERS + 3;
const BITS = KEY_NUMBERS + 4;
const RELATIVE = KEY_NUMBERS + 5;
const UNIT = KEY_NUMBERS + 6;
const BEFORE = KEY_NUMBERS + 7;
const COLUMNS = KEY_NUMBERS + 8;
const FIRST_CAPACITY = 64;
/** Bytes of all encodings of a tick at most; the bits' buffer doubles. */
export const SHARED_ENCODINGS_BYTES: number = MAX_SHARED_ENCODINGS * COLUMNS * 4 +
  2 * MAX_SHARED_BYTES;
/** Entries of one row that are looked at: links whose acknowledgements are all different share nothing, and must not search for long. */
const LONGEST_SEARCH = 24;
/** Bits of the longest encoding kept: long values are rare, and would take the place of many. */
const MAX_KEPT_BITS = 8_192;

// Columns of what was found out about a row's versions.
const ID = 0;
const NEWEST_TICK = 1;
const NEWEST_WRITES = 2;
const KNOWN_TICK = 3;
const MASK = 4;
const DIFFERS = 5;
const COMPARED_COLUMNS = 6;
/** Bytes for each row of a component. */
export const SHARED_ROW_BYTES: number = 4 + 4 * COMPARED_COLUMNS;

/** Encoded values and comparisons of one tick. */
export class SharedEncodings {
  /** The key of the next `find` or `keep`; the caller fills it. */
  readonly key: Int32Array = new Int32Array(KEY_NUMBERS);
  /** The bits of all entries; `start` and `bits` of what was found lie in it. */
  readonly arena: Writer = new Writer(256);
  /** Encodings that were found instead of made, since the beginning. */
  found = 0;
  // Of the entry found last.
  /** Bit in `arena` at which it begins, and how long it is. */
  start = 0;
  bits = 0;
  /** Whether it is a difference, and which versions before its reference it names; `before` 0: none. */
  isRelative = false;
  unit = 0;
  before = 0;
  #tick = -1;
  #count = 0;
  #entries = new Int32Array(FIRST_CAPACITY * COLUMNS);
  /** By component, then by row: the entry kept last plus one, 0 for none. */
  readonly #first: Int32Array[] = [];
  /** By component, then by row. */
  readonly #compared: Int32Array[] = [];

  /** A store for the values of so many components. */
  constructor(componentCount: number) {
    for (let c = 0; c < componentCount; c++) {
      this.#first.push(new Int32Array(0));
      this.#compared.push(new Int32Array(0));
    }
  }

  /** Turns to a tick: the encodings of another are forgotten. */
  begin(tick: number): void {
    if (tick === this.#tick) return;
    this.#tick = tick;
    this.#clear();
  }

  /** Forgets all: the contents of versions were changed under their names. */
  forget(): void {
    this.#clear();
    for (const compared of this.#compared) compared.fill(0);
  }

  /** Looks for the encoding kept of a row under the key; false where there is none. */
  find(component: number, row: number): boolean {
    const first = this.#first[component]!;
    if (row >= first.length) return false;
    const entries = this.#entries;
    const { key } = this;
    let entry = first[row]! - 1;
    for (let left = LONGEST_SEARCH; entry >= 0 && left > 0; left--) {
      const at = entry * COLUMNS;
      let i = 0;
      while (i < KEY_NUMBERS && entries[at + i] === key[i]) i += 1;
      if (i === KEY_NUMBERS) {
        this.start = entries[at + START]!;
        this.bits = entries[at + BITS]!;
        this.isRelative = entries[at + RELATIVE] === 1;
        this.unit = entries[at + UNIT]!;
        this.before = entries[at + BEFORE]!;
        this.found += 1;
        return true;
      }
      entry = entries[at + NEXT]! - 1;
    }
    return false;
  }

  /**
   * Keeps what `writer` holds from bit `from` on under the key for which `find` has just found nothing; `start` tells where it stands then.
   * False when there is no room for it.
   */
  keep(
    component: number,
    row: number,
    writer: Writer,
    from: number,
    isRelative: boolean,
    unit: number,
    before: number,
  ): boolean {
    const bits = writer.bitLength - from;
    if (bits > MAX_KEPT_BITS || this.#count === MAX_SHARED_ENCODINGS) return false;
    if (this.arena.bitLength + bits > 8 * MAX_SHARED_BYTES) return false;
    let first = this.#first[component]!;
    if (row >= first.length) {
      first = grown(first, grownCapacity(Math.max(first.length, 1), row + 1, Infinity));
      this.#first[component] = first;
    }
    const at = this.#count * COLUMNS;
    if (at === this.#entries.length) this.#entries = grown(this.#entries, at * 2);
    const entries = this.#entries;
    for (let i = 0; i < KEY_NUMBERS; i++) entries[at + i] = this.key[i]!;
    entries[at + COMPONENT] = component;
    entries[at + ROW] = row;
    entries[at + NEXT] = first[row]!;
    this.start = this.arena.bitLength;
    entries[at + START] = this.start;
    entries[at + BITS] = bits;
    entries[at + RELATIVE] = isRelative ? 1 : 0;
    entries[at + UNIT] = unit;
    entries[at + BEFORE] = before;
    this.arena.copyFrom(writer, from, bits);
    this.#count += 1;
    first[row] = this.#count;
    return true;
  }

  /**
   * Whether the newest version of a row (of tick `newestTick`, made by so many writes) differs in `mask` from that of `knownTick`, as
   * `noteCompared` was told last: 1 or 0, and -1 where it was told of others.
   */
  compared(
    component: number,
    row: number,
    id: number,
    newestTick: number,
    newestWrites: number,
    knownTick: number,
    mask: number,
  ): number {
    const compared = this.#compared[component]!;
    const at = row * COMPARED_COLUMNS;
    return at < compared.length && compared[at + ID] === (id | 0) &&
        compared[at + NEWEST_TICK] === (newestTick | 0) &&
        compared[at + NEWEST_WRITES] === (newestWrites | 0) &&
        compared[at + KNOWN_TICK] === (knownTick | 0) && compared[at + MASK] === mask
      ? compared[at + DIFFERS]!
      : -1;
  }

  /** Notes the outcome of a comparison. Arguments as those of `compared`. */
  noteCompared(
    component: number,
    row: number,
    id: number,
    newestTick: number,
    newestWrites: number,
    knownTick: number,
    mask: number,
    differs: boolean,
  ): void {
    let compared = this.#compared[component]!;
    const at = row * COMPARED_COLUMNS;
    if (at >= compared.length) {
      const rows = grownCapacity(
        Math.max(compared.length / COMPARED_COLUMNS, 1),
        row + 1,
        Infinity,
      );
      compared = grown(compared, rows * COMPARED_COLUMNS);
      this.#compared[component] = compared;
    }
    compared[at + ID] = id;
    compared[at + NEWEST_TICK] = newestTick;
    compared[at + NEWEST_WRITES] = newestWrites;
    compared[at + KNOWN_TICK] = knownTick;
    compared[at + MASK] = mask;
    compared[at + DIFFERS] = differs ? 1 : 0;
  }

  #clear(): void {
    const entries = this.#entries;
    for (let at = 0; at < this.#count * COLUMNS; at += COLUMNS) {
      this.#first[entries[at + COMPONENT]!]![entries[at + ROW]!] = 0;
    }
    this.#count = 0;
    this.arena.clear();
  }
}
