// Lays out one snapshot section: collects headers, values and pieces in the order of their priority, then writes them in the order of
// their ids. It counts bits and knows the layout; what deserves to be sent is the sender's decision.

import { Writer } from "../protocol/writer.ts";
import { grown, grownCapacity } from "./grow.ts";
import { bitsFor, foldSigned, gammaBits, writeGamma, writeShort } from "./gamma.ts";
import {
  BEFORE_BITS,
  GRANT_EPOCH_BITS,
  REFERENCE_CODE_BITS,
  ReferenceCode,
  type SectionWidths,
  STATE_BITS,
} from "./section_layout.ts";
import { ENTITY_ID, ENTITY_OWNER, ENTITY_PLACE, type TrackPool } from "./track_pool.ts";
import { type EntityTrack, NEVER, ViewState } from "./tracks.ts";
import type { LinkDirection } from "./link_rights.ts";

/** Bits around an entity at most: its mark, its id, the header's mark, the epoch, the end of its values. */
const ENTITY_BITS = 1 + 1 + 36 + 1 + 8 + 1;
/** Bits of what stands before the name of a run's second half when the run is parted: marks, a distance within it, the end of a list. */
const PARTED_RUN_BITS = 1 + 1 + 15 + 1 + 1 + 1 + 1;
/** Largest distance between two ids of one run. */
const MAX_RUN_GAP = 1_023;

// Columns of an entity of the section.
/** 1: its header goes along; its track stands in `#headers`. */
const HAS_HEADER = 0;
const FIRST_ITEM = 1;
const ITEM_COUNT = 2;
/** Place of its track in the sender's list. */
const PLACE = 3;
/** Its record, and its id. */
const ENTITY = 4;
const ID = 5;
const PICK_COLUMNS = 6;

// Columns of a value or piece. The first ones are its name: those of one run have the same.
const COMPONENT = 0;
/** Ticks from its version to the datagram's. */
const VERSION_AGE = 1;
/** Start of the version's tick less the sample time, 1/64 ticks; 0 where the contents tell it. */
const TIME_OFFSET = 2;
/** A {@linkcode ReferenceCode}. */
const CODE = 3;
/** Age of the reference in ticks. */
const AGE = 4;
/** Unit of time between the versions named before the reference, and which they are; `before` 0: none. */
const UNIT = 5;
const BEFORE = 6;
const NAME_COLUMNS = 7;
/** Where the bits stand: 0 in the scratch writer, 1 in what links share; from which on, and how many. */
const IS_SHARED = 7;
const START = 8;
const BITS = 9;
/** Pieces: number of the piece and its width, bytes of the whole; the bytes stand in `#pieces`. */
const PIECE = 10;
const PIECE_BITS = 11;
const TOTAL_BYTES = 12;
/** Most bits that its name takes. */
const OVERHEAD = 13;
/** 1: it is named as the item added before it. */
const IS_ALIKE = 14;
const ITEM_COLUMNS = 15;
const FIRST_CAPACITY = 16;

/** A coded value: which versions it was coded against, and where its bits stand. */
export interface CodedValue {
  /** Tick of the reference, {@linkcode NEVER} for an absolute value. */
  readonly baseTick: number;
  /** Ticks between the versions named before the reference. */
  readonly unit: number;
  /** Those named, bit `i` for the one `i + 1` units before; 0: none. */
  readonly before: number;
  /** Start of the version's tick less the sample time, 1/64 ticks. */
  readonly offset: number;
  /** The builder's scratch writer, or one that keeps its bits for the rest of the tick: the same for all values. */
  readonly source: Writer;
  /** Bit in the source at which it begins, and how many. */
  readonly start: number;
  readonly bits: number;
}

/** A coded value of the present tick, as `CodedValue` but for its reference. */
export interface ValueInStep {
  /** Ticks from its reference to it, 0 for an absolute value. */
  readonly age: number;
  readonly unit: number;
  readonly before: number;
  readonly offset: number;
  readonly start: number;
  readonly bits: number;
}

/** One section at a time: `begin`, then entities with their items, then `write`. */
export class SectionBuilder {
  /** Where values are encoded before their item is added. */
  readonly scratch: Writer = new Writer(2_048);
  readonly #pool: TrackPool;
  readonly #widths: SectionWidths;
  readonly #direction: LinkDirection;
  #picks = new Int32Array(FIRST_CAPACITY * PICK_COLUMNS);
  readonly #headers: EntityTrack[] = [];
  #pickCount = 0;
  #items = new Int32Array(FIRST_CAPACITY * ITEM_COLUMNS);
  #pieces: (Uint8Array | undefined)[] = [];
  #itemCount = 0;
  #entryCount = 0;
  #shared: Writer | undefined;
  // Picks in the order of their entities: by place in the sender's list its pick, and a bit for each that has one.
  #pickAt = new Int32Array(32);
  #marks = new Int32Array(1);
  #order = new Int32Array(FIRST_CAPACITY);
  // The entity begun last, until it is kept.
  #openEntity = 0;
  #openHeader: EntityTrack | undefined;
  #openItem = 0;
  #openScratch = 0;
  #openBits = 0;
  /** Longest name of a value, bits; and what an entity adds to those already written, which is nothing before anything is. */
  #longestName = 0;
  #partingBits = 0;
  /** Largest id kept so far: what comes after it parts nothing. */
  #lastId = 0;
  #tick = 0;
  // What the value before in the section said.
  #previousOffset = 0;
  #previousAge = 0;
  #previousUnit = 0;
  #previousBefore = 0;

  /** A builder for one link. */
  constructor(pool: TrackPool, widths: SectionWidths, direction: LinkDirection) {
    this.#pool = pool;
    this.#widths = widths;
    this.#direction = direction;
  }

  /** Entries (headers, values, pieces) kept so far. */
  get entryCount(): number {
    return this.#entryCount;
  }

  /** Whether no entity was kept so far. */
  get isEmpty(): boolean {
    return this.#pickCount === 0;
  }

  /** Bits that an empty section takes. */
  get frameBits(): number {
    return GRANT_EPOCH_BITS + 1;
  }

  /** Begins a section in a datagram of `tick`. */
  begin(tick: number): void {
    this.#tick = tick;
    for (let i = 0; i < this.#pickCount; i++) {
      this.#marks[this.#picks[i * PICK_COLUMNS + PLACE]! >>> 5] = 0;
    }
    this.#pickCount = 0;
    this.#itemCount = 0;
    this.#entryCount = 0;
    this.#longestName = 0;
    this.#partingBits = 0;
    this.#lastId = 0;
    this.scratch.clear();
  }

  /** Opens the entity with the record `at`, with the header that `header` says. */
  open(at: number, header: EntityTrack | undefined): void {
    this.#openEntity = at;
    this.#openHeader = header;
    this.#openItem = this.#itemCount;
    this.#openScratch = this.scratch.bitLength;
    const isBetween = this.#pool.entities[at + ENTITY_ID]! < this.#lastId;
    this.#openBits = ENTITY_BITS + (isBetween ? this.#partingBits : 0) +
      (header === undefined ? 0 : this.#headerBits(header));
  }

  /** Bits that the open entity takes at most. */
  get openBits(): number {
    return this.#openBits;
  }

  /** Entries of the open entity. */
  get openEntries(): number {
    return this.#itemCount - this.#openItem + (this.#openHeader === undefined ? 0 : 1);
  }

  /**
   * Adds a value to the open entity. Components come in ascending order.
   *
   * @param versionTick Tick of its link version.
   * @returns The bits it takes at most.
   */
  addValue(component: number, versionTick: number, value: CodedValue): number {
    const { baseTick, before } = value;
    const isForetold = baseTick !== NEVER && before !== 0;
    const at = this.#nextItem(component, versionTick, isForetold ? 0 : value.offset);
    const items = this.#items;
    if (baseTick === NEVER) {
      items[at + CODE] = ReferenceCode.None;
    } else {
      const age = this.#tick - baseTick;
      items[at + AGE] = age;
      items[at + CODE] = age > this.#widths.historyTicks ? ReferenceCode.Old : ReferenceCode.Age;
      items[at + BEFORE] = before;
      items[at + UNIT] = before === 0 ? 0 : value.unit;
    }
    const isShared = value.source !== this.scratch;
    if (isShared) this.#shared = value.source;
    items[at + IS_SHARED] = isShared ? 1 : 0;
    items[at + START] = value.start;
    items[at + BITS] = value.bits;
    const bits = this.#overheadBits(at) + value.bits;
    this.#openBits += bits;
    return bits;
  }

  /** Adds to the open entity a piece of a value of `totalBytes` bytes. Returns the bits it takes at most. */
  addPiece(
    component: number,
    tick: number,
    offset: number,
    piece: number,
    pieceBits: number,
    totalBytes: number,
    bytes: Uint8Array,
  ): number {
    const at = this.#nextItem(component, tick, offset);
    const items = this.#items;
    items[at + CODE] = ReferenceCode.Piece;
    items[at + PIECE] = piece;
    items[at + PIECE_BITS] = pieceBits;
    items[at + TOTAL_BYTES] = totalBytes;
    this.#pieces[this.#itemCount - 1] = bytes;
    const bits = this.#overheadBits(at) + varintBits(totalBytes) + pieceBits + 8 * bytes.length;
    this.#openBits += bits;
    return bits;
  }

  /** Takes back the item added last, of `bits` bits. */
  dropItem(bits: number): void {
    this.#itemCount -= 1;
    this.#openBits -= bits;
  }

  /** Takes back the open entity: nothing was added to it, then. */
  drop(): void {
    this.#itemCount = this.#openItem;
    this.scratch.truncate(this.#openScratch);
  }

  /** Keeps the open entity. Its place in the sender's list, which is in the order of ids, stays until the section is written. */
  keep(): void {
    const pick = this.#pickCount;
    if (pick * PICK_COLUMNS === this.#picks.length) {
      this.#picks = grown(this.#picks, this.#picks.length * 2);
      this.#order = grown(this.#order, this.#order.length * 2);
    }
    const at = pick * PICK_COLUMNS;
    const picks = this.#picks;
    const words = this.#pool.entities;
    const place = words[this.#openEntity + ENTITY_PLACE]!;
    const header = this.#openHeader;
    picks[at + HAS_HEADER] = header === undefined ? 0 : 1;
    if (header !== undefined) this.#headers[pick] = header;
    picks[at + FIRST_ITEM] = this.#openItem;
    picks[at + ITEM_COUNT] = this.#itemCount - this.#openItem;
    picks[at + PLACE] = place;
    picks[at + ENTITY] = this.#openEntity;
    const id = words[this.#openEntity + ENTITY_ID]!;
    picks[at + ID] = id;
    if (id > this.#lastId) this.#lastId = id;
    this.#pickCount += 1;
    this.#entryCount += this.openEntries;
    if (place >= this.#pickAt.length) {
      const capacity = grownCapacity(Math.max(this.#pickAt.length, 32), place + 1, Infinity);
      this.#pickAt = grown(this.#pickAt, capacity);
      this.#marks = grown(this.#marks, capacity >>> 5);
    }
    this.#pickAt[place] = pick;
    const word = place >>> 5;
    this.#marks[word] = this.#marks[word]! | (1 << (place & 31));
  }

  /**
   * Adds an entity with one value, of this tick and foretold or not, and without bounding its bits: the caller measures what is written.
   *
   * @param source The builder's scratch writer or the other one: where the value's bits stand.
   */
  addInStep(at: number, component: number, value: ValueInStep, source: Writer): void {
    this.#openEntity = at;
    this.#openHeader = undefined;
    this.#openItem = this.#itemCount;
    const { age, before } = value;
    const item = this.#nextItem(component, this.#tick, before === 0 ? value.offset : 0);
    const items = this.#items;
    items[item + CODE] = age === 0 ? ReferenceCode.None : ReferenceCode.Age;
    items[item + AGE] = age;
    items[item + BEFORE] = before;
    items[item + UNIT] = before === 0 ? 0 : value.unit;
    const isShared = source !== this.scratch;
    if (isShared) this.#shared = source;
    items[item + IS_SHARED] = isShared ? 1 : 0;
    items[item + START] = value.start;
    items[item + BITS] = value.bits;
    this.#overheadBits(item);
    this.keep();
  }

  /** Takes back the entities added last, so many, each with one value. */
  takeBack(count: number): void {
    for (let i = this.#pickCount - count; i < this.#pickCount; i++) {
      const place = this.#picks[i * PICK_COLUMNS + PLACE]!;
      this.#marks[place >>> 5]! &= ~(1 << (place & 31));
    }
    this.#pickCount -= count;
    this.#itemCount -= count;
    this.#entryCount -= count;
  }

  /** Writes the section. May be called again after more entities were kept, over a writer truncated to where it began. */
  write(writer: Writer, grantEpoch: number): void {
    writer.bits(grantEpoch, GRANT_EPOCH_BITS);
    this.#sort();
    const order = this.#order;
    const count = this.#pickCount;
    let previousId = 0;
    this.#previousOffset = 0;
    this.#previousAge = 0;
    this.#previousUnit = 0;
    this.#previousBefore = 0;
    for (let i = 0; i < count;) {
      writer.bits(1, 1);
      const end = this.#direction === "down" ? this.#runEnd(i) : i + 1;
      if (this.#direction === "down") writer.bool(end > i + 1);
      writeGamma(writer, this.#idOf(order[i]!) - previousId);
      previousId = this.#idOf(order[end - 1]!);
      if (end > i + 1) this.#writeRun(writer, i, end);
      else this.#writeEntity(writer, order[i]!);
      i = end;
    }
    writer.bits(0, 1);
    // What was written was measured, not bounded: an entity that comes between may part a run, whose second half names itself anew, and what
    // was said like the value before, behind it or later, is said in full.
    this.#partingBits = PARTED_RUN_BITS + 2 * this.#longestName + 2 * bitsFor(count);
  }

  #idOf(pick: number): number {
    return this.#picks[pick * PICK_COLUMNS + ID]! >>> 0;
  }

  /** Puts the picks in the order of their ids. */
  #sort(): void {
    const marks = this.#marks;
    let count = 0;
    for (let word = 0; count < this.#pickCount; word++) {
      for (let rest = marks[word]!; rest !== 0; rest &= rest - 1) {
        const at = (word << 5) + 31 - Math.clz32(rest & -rest);
        this.#order[count] = this.#pickAt[at]!;
        count += 1;
      }
    }
  }

  #writeEntity(writer: Writer, pick: number): void {
    const at = pick * PICK_COLUMNS;
    const hasHeader = this.#picks[at + HAS_HEADER] === 1;
    writer.bool(hasHeader);
    if (hasHeader) {
      const header = this.#headers[pick]!;
      this.#writeHeader(writer, header);
      if (header.state !== ViewState.Alive) return;
    } else if (this.#direction === "up") {
      const owner = this.#pool.entities[this.#picks[at + ENTITY]! + ENTITY_OWNER]!;
      writer.bits((owner >>> 16) & 0xff, 8);
    }
    const first = this.#picks[at + FIRST_ITEM]!;
    const end = first + this.#picks[at + ITEM_COUNT]!;
    for (let item = first; item < end; item++) {
      writer.bits(1, 1);
      this.#writeName(writer, item * ITEM_COLUMNS);
      this.#writeContents(writer, item);
    }
    writer.bits(0, 1);
  }

  /** End of the run of entities that begins at place `from` of the order: one value each, named alike. */
  #runEnd(from: number): number {
    const order = this.#order;
    const picks = this.#picks;
    const items = this.#items;
    const pick = order[from]! * PICK_COLUMNS;
    if (picks[pick + HAS_HEADER] === 1 || picks[pick + ITEM_COUNT] !== 1) return from + 1;
    const item = picks[pick + FIRST_ITEM]! * ITEM_COLUMNS;
    if (items[item + CODE] === ReferenceCode.Piece) return from + 1;
    let end = from + 1;
    let previousId = this.#idOf(order[from]!);
    let previous = item;
    for (; end < this.#pickCount; end++) {
      const next = order[end]! * PICK_COLUMNS;
      if (picks[next + HAS_HEADER] === 1 || picks[next + ITEM_COUNT] !== 1) break;
      const id = picks[next + ID]! >>> 0;
      if (id - previousId > MAX_RUN_GAP) break;
      previousId = id;
      const other = picks[next + FIRST_ITEM]! * ITEM_COLUMNS;
      // Most were added one after the other, and compared then.
      if (other !== previous + ITEM_COLUMNS || items[other + IS_ALIKE] === 0) {
        let i = 0;
        while (i < NAME_COLUMNS && items[other + i] === items[item + i]) i += 1;
        if (i < NAME_COLUMNS) break;
      }
      previous = other;
    }
    return end;
  }

  #writeRun(writer: Writer, from: number, end: number): void {
    const order = this.#order;
    const picks = this.#picks;
    this.#writeName(writer, picks[order[from]! * PICK_COLUMNS + FIRST_ITEM]! * ITEM_COLUMNS);
    for (let i = from; i < end;) {
      let id = this.#idOf(order[i]!);
      let last = i;
      let gap = 1;
      while (last + 1 < end) {
        const next = this.#idOf(order[last + 1]!);
        gap = next - id;
        if (gap !== 1) break;
        id = next;
        last += 1;
      }
      writeShort(writer, last + 1 - i);
      writeShort(writer, last + 1 < end ? gap : 1);
      i = last + 1;
    }
    // What stands one behind the other is copied at once.
    const items = this.#items;
    let source = 0;
    let start = 0;
    let bits = 0;
    for (let i = from; i < end; i++) {
      const item = picks[order[i]! * PICK_COLUMNS + FIRST_ITEM]! * ITEM_COLUMNS;
      const isNext = items[item + START] === start + bits && items[item + IS_SHARED] === source;
      if (!isNext) {
        if (bits > 0) writer.copyFrom(source === 1 ? this.#shared! : this.scratch, start, bits);
        source = items[item + IS_SHARED]!;
        start = items[item + START]!;
        bits = 0;
      }
      bits += items[item + BITS]!;
    }
    if (bits > 0) writer.copyFrom(source === 1 ? this.#shared! : this.scratch, start, bits);
  }

  /** Component, version, reference and, where the contents do not tell it, sample time of the item at `at`. */
  #writeName(writer: Writer, at: number): void {
    const items = this.#items;
    writer.bits(items[at + COMPONENT]!, this.#widths.component);
    this.#writeVersion(writer, items[at + VERSION_AGE]!);
    this.#writeReference(writer, at);
    if (items[at + BEFORE] !== 0) return;
    const timeOffset = items[at + TIME_OFFSET]!;
    writer.bool(timeOffset !== this.#previousOffset);
    if (timeOffset !== this.#previousOffset) {
      writeGamma(writer, foldSigned(timeOffset) + 1);
      this.#previousOffset = timeOffset;
    }
  }

  #writeReference(writer: Writer, at: number): void {
    const items = this.#items;
    const code = items[at + CODE]!;
    const age = items[at + AGE]!;
    const unit = items[at + UNIT]!;
    const before = items[at + BEFORE]!;
    const isSame = code === ReferenceCode.Age && age === this.#previousAge &&
      unit === this.#previousUnit && before === this.#previousBefore;
    writer.bool(!isSame);
    if (isSame) return;
    writer.bits(code, REFERENCE_CODE_BITS);
    if (code !== ReferenceCode.Age) return;
    writer.bits(age, this.#widths.age);
    writer.bool(before !== 0);
    if (before !== 0) {
      writeShort(writer, unit);
      writer.bits(before, BEFORE_BITS);
    }
    this.#previousAge = age;
    this.#previousUnit = unit;
    this.#previousBefore = before;
  }

  #writeContents(writer: Writer, item: number): void {
    const items = this.#items;
    const at = item * ITEM_COLUMNS;
    if (items[at + CODE] === ReferenceCode.Piece) {
      writer.varint(items[at + TOTAL_BYTES]!);
      writer.bits(items[at + PIECE]!, items[at + PIECE_BITS]!);
      writer.bytes(this.#pieces[item]!);
    } else {
      const source = items[at + IS_SHARED] === 1 ? this.#shared! : this.scratch;
      writer.copyFrom(source, items[at + START]!, items[at + BITS]!);
    }
  }

  #nextItem(component: number, tick: number, offset: number): number {
    const at = this.#itemCount * ITEM_COLUMNS;
    if (at === this.#items.length) this.#items = grown(this.#items, at * 2);
    const items = this.#items;
    this.#itemCount += 1;
    items[at + COMPONENT] = component;
    items[at + VERSION_AGE] = this.#tick - tick;
    items[at + TIME_OFFSET] = offset;
    items[at + AGE] = 0;
    items[at + UNIT] = 0;
    items[at + BEFORE] = 0;
    return at;
  }

  #overheadBits(at: number): number {
    const items = this.#items;
    // Most values of a section are named alike.
    let i = 0;
    while (at > 0 && i < NAME_COLUMNS && items[at + i] === items[at - ITEM_COLUMNS + i]) i += 1;
    items[at + IS_ALIKE] = i === NAME_COLUMNS ? 1 : 0;
    if (i === NAME_COLUMNS) {
      items[at + OVERHEAD] = items[at - ITEM_COLUMNS + OVERHEAD]!;
      return items[at + OVERHEAD]!;
    }
    const age = items[at + VERSION_AGE]!;
    const bits = 1 + this.#widths.component + 1 + (age > 0 ? gammaBits(age) : 0) +
      1 + gammaBits(foldSigned(items[at + TIME_OFFSET]!) + 1) +
      1 + REFERENCE_CODE_BITS + this.#widths.age + 1 +
      (items[at + BEFORE] === 0 ? 0 : 2 * bitsFor(items[at + UNIT]!) + BEFORE_BITS);
    items[at + OVERHEAD] = bits;
    this.#longestName = Math.max(this.#longestName, bits);
    return bits;
  }

  #headerBits(track: EntityTrack): number {
    return STATE_BITS + 16 + 8 + track.values.length * (2 + this.#widths.component) + 1;
  }

  #writeHeader(writer: Writer, track: EntityTrack): void {
    writer.bits(track.state, STATE_BITS);
    if (track.state !== ViewState.Alive) return;
    writer.bits(track.owner, 16);
    writer.bits(track.epoch, 8);
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      writer.bits(1, 1);
      writer.bits(value.component, this.#widths.component);
      writer.bool(!value.isVisible);
    }
    writer.bits(0, 1);
  }

  #writeVersion(writer: Writer, age: number): void {
    writer.bool(age !== 0);
    if (age !== 0) writeGamma(writer, age);
  }
}

function varintBits(value: number): number {
  return 8 * Math.max(1, Math.ceil((32 - Math.clz32(value)) / 7));
}
