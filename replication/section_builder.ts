// Lays out one snapshot section: collects headers, values and pieces in the order of their priority, then writes them in the order of
// their ids. It counts bits and knows the layout; what deserves to be sent is the sender's decision.

import { Writer } from "../protocol/writer.ts";
import { bitsFor, foldSigned, gammaBits, writeGamma, writeShort } from "./gamma.ts";
import {
  BEFORE_BITS,
  GRANT_EPOCH_BITS,
  REFERENCE_CODE_BITS,
  ReferenceCode,
  type SectionWidths,
  STATE_BITS,
} from "./section_layout.ts";
import { type EntityTrack, NEVER, ViewState } from "./tracks.ts";
import type { LinkDirection } from "./link_rights.ts";

/** Bits around an entity at most: its mark, its id, the header's mark, the epoch, the end of its values. */
const ENTITY_BITS = 1 + 1 + 36 + 1 + 8 + 1;
/** Bits of what stands before the name of a run's second half when the run is parted: marks, a distance within it, the end of a list. */
const PARTED_RUN_BITS = 1 + 1 + 15 + 1 + 1 + 1 + 1;
/** Largest distance between two ids of one run. */
const MAX_RUN_GAP = 1_023;

/** One entity of the section. */
interface Pick {
  track: EntityTrack;
  hasHeader: boolean;
  firstItem: number;
  itemCount: number;
}

/** One value or piece; its bits stand in the scratch writer. */
interface Item {
  component: number;
  /** Link version. */
  tick: number;
  /** Start of the version's tick less the sample time, 1/64 ticks; 0 where the contents tell it. */
  timeOffset: number;
  code: ReferenceCode;
  /** Age of the reference in ticks. */
  age: number;
  /** Unit of time between the versions named before the reference, and which they are; `before` 0: none. */
  unit: number;
  before: number;
  /** Bits in the scratch writer. */
  start: number;
  bits: number;
  /** Pieces: number of the piece and its width; bytes of the whole. */
  piece: number;
  pieceBits: number;
  totalBytes: number;
  bytes: Uint8Array | undefined;
}

/** Which versions a value was coded against. */
export interface ReferenceNames {
  /** Tick of the reference, {@linkcode NEVER} for an absolute value. */
  readonly baseTick: number;
  /** Ticks between the versions named before the reference. */
  readonly unit: number;
  /** Those named, bit `i` for the one `i + 1` units before; 0: none. */
  readonly before: number;
}

/** One section at a time: `begin`, then entities with their items, then `write`. */
export class SectionBuilder {
  /** Where values are encoded before their item is added. */
  readonly scratch: Writer = new Writer(2_048);
  readonly #widths: SectionWidths;
  readonly #direction: LinkDirection;
  readonly #picks: Pick[] = [];
  #pickCount = 0;
  readonly #items: Item[] = [];
  #itemCount = 0;
  #entryCount = 0;
  #order: Pick[] = [];
  // The entity begun last, until it is kept.
  #openTrack: EntityTrack | undefined;
  #openHeader = false;
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
  constructor(widths: SectionWidths, direction: LinkDirection) {
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
    this.#pickCount = 0;
    this.#itemCount = 0;
    this.#entryCount = 0;
    this.#longestName = 0;
    this.#partingBits = 0;
    this.#lastId = 0;
    this.scratch.clear();
  }

  /** Opens an entity. */
  open(track: EntityTrack, hasHeader: boolean): void {
    this.#openTrack = track;
    this.#openHeader = hasHeader;
    this.#openItem = this.#itemCount;
    this.#openScratch = this.scratch.bitLength;
    const parting = track.id < this.#lastId ? this.#partingBits : 0;
    this.#openBits = ENTITY_BITS + parting + (hasHeader ? this.#headerBits(track) : 0);
  }

  /** Bits that the open entity takes at most. */
  get openBits(): number {
    return this.#openBits;
  }

  /** Entries of the open entity. */
  get openEntries(): number {
    return this.#itemCount - this.#openItem + (this.#openHeader ? 1 : 0);
  }

  /**
   * Adds to the open entity a value whose bits stand in `scratch` from bit `start` on. Components come in ascending order.
   *
   * @param offset Start of the version's tick less the sample time, 1/64 ticks.
   * @param references What it was coded against.
   * @returns The bits it takes at most.
   */
  addValue(
    component: number,
    tick: number,
    offset: number,
    references: ReferenceNames,
    start: number,
  ): number {
    const { baseTick } = references;
    const isForetold = baseTick !== NEVER && references.before !== 0;
    const item = this.#nextItem(component, tick, isForetold ? 0 : offset);
    item.start = start;
    item.bits = this.scratch.bitLength - start;
    if (baseTick === NEVER) {
      item.code = ReferenceCode.None;
    } else {
      item.age = this.#tick - baseTick;
      item.code = item.age > this.#widths.historyTicks ? ReferenceCode.Old : ReferenceCode.Age;
      item.before = references.before;
      item.unit = references.before === 0 ? 0 : references.unit;
    }
    const bits = this.#overheadBits(item) + item.bits;
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
    const item = this.#nextItem(component, tick, offset);
    item.code = ReferenceCode.Piece;
    item.piece = piece;
    item.pieceBits = pieceBits;
    item.totalBytes = totalBytes;
    item.bytes = bytes;
    const bits = this.#overheadBits(item) + varintBits(totalBytes) + pieceBits + 8 * bytes.length;
    this.#openBits += bits;
    return bits;
  }

  /** Takes back the item added last, of `bits` bits. */
  dropItem(bits: number): void {
    this.#itemCount -= 1;
    this.#openBits -= bits;
  }

  /** Takes back the open entity. */
  drop(): void {
    this.#itemCount = this.#openItem;
    this.scratch.truncate(this.#openScratch);
  }

  /** Keeps the open entity. */
  keep(): void {
    let pick = this.#picks[this.#pickCount];
    if (pick === undefined) {
      pick = { track: this.#openTrack!, hasHeader: false, firstItem: 0, itemCount: 0 };
      this.#picks.push(pick);
    }
    pick.track = this.#openTrack!;
    this.#lastId = Math.max(this.#lastId, pick.track.id);
    pick.hasHeader = this.#openHeader;
    pick.firstItem = this.#openItem;
    pick.itemCount = this.#itemCount - this.#openItem;
    this.#pickCount += 1;
    this.#entryCount += this.openEntries;
  }

  /** Writes the section. May be called again after more entities were kept, over a writer truncated to where it began. */
  write(writer: Writer, grantEpoch: number): void {
    writer.bits(grantEpoch, GRANT_EPOCH_BITS);
    const order = this.#order;
    order.length = 0;
    for (let i = 0; i < this.#pickCount; i++) order.push(this.#picks[i]!);
    order.sort(byId);
    let previousId = 0;
    this.#previousOffset = 0;
    this.#previousAge = 0;
    this.#previousUnit = 0;
    this.#previousBefore = 0;
    for (let i = 0; i < order.length;) {
      const { track, hasHeader, firstItem, itemCount } = order[i]!;
      writer.bits(1, 1);
      const end = this.#direction === "down" ? this.#runEnd(i) : i + 1;
      if (this.#direction === "down") writer.bool(end > i + 1);
      writeGamma(writer, track.id - previousId);
      previousId = order[end - 1]!.track.id;
      if (end > i + 1) {
        this.#writeRun(writer, i, end);
        i = end;
        continue;
      }
      i = end;
      writer.bool(hasHeader);
      if (hasHeader) {
        this.#writeHeader(writer, track);
        if (track.state !== ViewState.Alive) continue;
      } else if (this.#direction === "up") {
        writer.bits(track.epoch, 8);
      }
      for (let k = firstItem; k < firstItem + itemCount; k++) {
        const item = this.#items[k]!;
        writer.bits(1, 1);
        this.#writeName(writer, item);
        this.#writeContents(writer, item);
      }
      writer.bits(0, 1);
    }
    writer.bits(0, 1);
    // What was written was measured, not bounded: an entity that comes between may part a run, and what follows it then names itself anew.
    const lengths = 2 * bitsFor(order.length);
    this.#partingBits = PARTED_RUN_BITS + this.#longestName + lengths;
  }

  /** End of the run of entities that begins at place `from` of the order: one value each, named alike. */
  #runEnd(from: number): number {
    const order = this.#order;
    const pick = order[from]!;
    if (pick.hasHeader || pick.itemCount !== 1) return from + 1;
    const item = this.#items[pick.firstItem]!;
    if (item.code === ReferenceCode.Piece) return from + 1;
    let end = from + 1;
    for (; end < order.length; end++) {
      const next = order[end]!;
      if (next.hasHeader || next.itemCount !== 1) break;
      if (next.track.id - order[end - 1]!.track.id > MAX_RUN_GAP) break;
      const other = this.#items[next.firstItem]!;
      if (
        other.component !== item.component || other.tick !== item.tick ||
        other.timeOffset !== item.timeOffset || other.code !== item.code ||
        other.age !== item.age || other.unit !== item.unit || other.before !== item.before
      ) break;
    }
    return end;
  }

  #writeRun(writer: Writer, from: number, end: number): void {
    const order = this.#order;
    const items = this.#items;
    this.#writeName(writer, items[order[from]!.firstItem]!);
    for (let i = from; i < end;) {
      let last = i;
      while (last + 1 < end && order[last + 1]!.track.id === order[last]!.track.id + 1) last += 1;
      writeShort(writer, last + 1 - i);
      writeShort(writer, last + 1 < end ? order[last + 1]!.track.id - order[last]!.track.id : 1);
      i = last + 1;
    }
    for (let i = from; i < end; i++) this.#writeContents(writer, items[order[i]!.firstItem]!);
  }

  /** Component, version, reference and, where the contents do not tell it, sample time. */
  #writeName(writer: Writer, item: Item): void {
    writer.bits(item.component, this.#widths.component);
    this.#writeVersion(writer, item.tick);
    this.#writeReference(writer, item);
    if (item.before !== 0) return;
    writer.bool(item.timeOffset !== this.#previousOffset);
    if (item.timeOffset !== this.#previousOffset) {
      writeGamma(writer, foldSigned(item.timeOffset) + 1);
      this.#previousOffset = item.timeOffset;
    }
  }

  #writeReference(writer: Writer, item: Item): void {
    const isSame = item.code === ReferenceCode.Age && item.age === this.#previousAge &&
      item.unit === this.#previousUnit && item.before === this.#previousBefore;
    writer.bool(!isSame);
    if (isSame) return;
    writer.bits(item.code, REFERENCE_CODE_BITS);
    if (item.code !== ReferenceCode.Age) return;
    writer.bits(item.age, this.#widths.age);
    writer.bool(item.before !== 0);
    if (item.before !== 0) {
      writeShort(writer, item.unit);
      writer.bits(item.before, BEFORE_BITS);
    }
    this.#previousAge = item.age;
    this.#previousUnit = item.unit;
    this.#previousBefore = item.before;
  }

  #writeContents(writer: Writer, item: Item): void {
    if (item.code === ReferenceCode.Piece) {
      writer.varint(item.totalBytes);
      writer.bits(item.piece, item.pieceBits);
      writer.bytes(item.bytes!);
    } else {
      writer.copyBits(this.scratch.view(), item.start, item.bits);
    }
  }

  #nextItem(component: number, tick: number, timeOffset: number): Item {
    let item = this.#items[this.#itemCount];
    if (item === undefined) {
      item = {
        component: 0,
        tick: 0,
        timeOffset: 0,
        code: ReferenceCode.None,
        age: 0,
        unit: 0,
        before: 0,
        start: 0,
        bits: 0,
        piece: 0,
        pieceBits: 0,
        totalBytes: 0,
        bytes: undefined,
      };
      this.#items.push(item);
    }
    this.#itemCount += 1;
    item.component = component;
    item.tick = tick;
    item.timeOffset = timeOffset;
    item.age = 0;
    item.unit = 0;
    item.before = 0;
    item.bytes = undefined;
    return item;
  }

  #overheadBits(item: Item): number {
    const age = this.#tick - item.tick;
    const bits = 1 + this.#widths.component + 1 + (age > 0 ? gammaBits(age) : 0) +
      1 + gammaBits(foldSigned(item.timeOffset) + 1) +
      1 + REFERENCE_CODE_BITS + this.#widths.age + 1 +
      (item.before === 0 ? 0 : 2 * bitsFor(item.unit) + BEFORE_BITS);
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

  #writeVersion(writer: Writer, tick: number): void {
    const age = this.#tick - tick;
    writer.bool(age !== 0);
    if (age !== 0) writeGamma(writer, age);
  }
}

function byId(a: Pick, b: Pick): number {
  return a.track.id - b.track.id;
}

function varintBits(value: number): number {
  return 8 * Math.max(1, Math.ceil((32 - Math.clz32(value)) / 7));
}
