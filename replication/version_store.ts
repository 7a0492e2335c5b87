// Versions of one component for many rows, in pooled typed arrays. It knows ticks and lanes; which entity a row belongs to, who may see
// it and what a peer has acknowledged are its users' business. The world's columns and every link's receive history are such stores.

import { assert } from "../protocol/assert.ts";
import { EXPIRE_SWEEP_TICKS, MAX_VERSIONS } from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import { FieldChanges } from "./field_changes.ts";
import { grown, grownCapacity } from "./grow.ts";
import { type ComponentValue, keptBytes, NO_BYTES, sameBytes, sameLanes } from "./value.ts";

const FIRST_CAPACITY = 16;

/**
 * The versions of one component, row by row, newest first.
 *
 * A version is named by the tick of its change; a row has at most one for each tick. The newest version of a row is kept without limit
 * of age; an older one for `historyTicks` from the tick of the version that replaced it (and up to two sweeps longer when
 * nothing else happens to its row), and at most `MAX_VERSIONS` a row in all. Rows and versions are small whole numbers that stay valid
 * until they are freed or expire: versions expire only inside `update`, `put`, `expire`, `clearThrough` and `freeRow`.
 */
export class VersionStore {
  /** Lanes of one value. */
  readonly laneCount: number;
  /** Variable fields of one value. */
  readonly blobCount: number;
  /** Ticks that a replaced version is kept. */
  readonly historyTicks: number;
  /**
   * What was the newest version of a row at a tick is surely held for so many ticks, in however many of them the row changes. Whether it is
   * held for longer depends on every field of the row: nothing that is told to those who may not read all of them may depend on it.
   */
  readonly sureTicks: number;

  // Rows.
  #newest = new Int32Array(FIRST_CAPACITY);
  #oldest = new Int32Array(FIRST_CAPACITY);
  #count = new Uint8Array(FIRST_CAPACITY); // versions of the row; MAX_VERSIONS fits
  #agedAt = new Int32Array(FIRST_CAPACITY); // place in #aged, or next free row
  #rowEnd = 0;
  #freeRow = -1;
  #rowCount = 0;
  // Rows with more than one version, dense, for the expiry sweep.
  #aged = new Int32Array(FIRST_CAPACITY);
  #agedCount = 0;
  #sweepAt = 0; // rows of this round not looked at yet
  #sweepShare = 0; // rows a call
  // Versions.
  #tick = new Uint32Array(FIRST_CAPACITY);
  #time = new Float64Array(FIRST_CAPACITY);
  #mask = new Int32Array(FIRST_CAPACITY);
  #writes = new Uint32Array(FIRST_CAPACITY);
  #older = new Int32Array(FIRST_CAPACITY);
  #newer = new Int32Array(FIRST_CAPACITY);
  #lanes: Int32Array;
  readonly #blobs: Uint8Array[] = [];
  readonly #changes: FieldChanges | undefined;
  #versionEnd = 0;
  #freeVersion = -1;
  #versionCount = 0;

  /** A store for values of this shape; with `noted`, the number of their fields, it notes when each last changed. */
  constructor(
    shape: { readonly laneCount: number; readonly blobCount: number },
    historyTicks: number,
    noted = 0,
  ) {
    this.laneCount = shape.laneCount;
    this.blobCount = shape.blobCount;
    this.historyTicks = historyTicks;
    this.sureTicks = Math.min(MAX_VERSIONS - 1, historyTicks);
    this.#lanes = new Int32Array(FIRST_CAPACITY * shape.laneCount);
    if (noted === 0) return;
    this.#changes = new FieldChanges(noted);
    this.#changes.grow(FIRST_CAPACITY);
  }

  /** Rows in use. */
  get rowCount(): number {
    return this.#rowCount;
  }

  /** Versions held, over all rows. */
  get versionCount(): number {
    return this.#versionCount;
  }

  /** Bytes that it takes: its arrays as they are, and the contents of variable fields. */
  get heldBytes(): number {
    let bytes = this.#newest.byteLength + this.#oldest.byteLength + this.#count.byteLength +
      this.#agedAt.byteLength + this.#aged.byteLength + this.#tick.byteLength +
      this.#time.byteLength + this.#mask.byteLength + this.#writes.byteLength +
      this.#older.byteLength + this.#newer.byteLength + this.#lanes.byteLength +
      (this.#changes?.heldBytes ?? 0);
    let last: Uint8Array | undefined;
    for (const blob of this.#blobs) {
      // A value that did not change is shared with the version before.
      if (blob !== undefined && blob !== last) bytes += blob.length;
      last = blob;
    }
    return bytes;
  }

  /** The lanes of all versions; a version's begin at `version * laneCount`. Replaced when the store grows: do not keep it. */
  get lanes(): Int32Array {
    return this.#lanes;
  }

  /** A new row, without versions. */
  allocateRow(): number {
    let row = this.#freeRow;
    if (row >= 0) {
      this.#freeRow = this.#agedAt[row]!;
    } else {
      row = this.#rowEnd++;
      if (row >= this.#newest.length) this.#growRows(row + 1);
    }
    this.#newest[row] = -1;
    this.#oldest[row] = -1;
    this.#count[row] = 0;
    this.#agedAt[row] = -1;
    this.#rowCount += 1;
    return row;
  }

  /** Gives a row and all its versions back; their contents are erased. */
  freeRow(row: number): void {
    while (this.#oldest[row]! >= 0) this.#dropOldest(row);
    this.#agedAt[row] = this.#freeRow;
    this.#freeRow = row;
    this.#rowCount -= 1;
  }

  /** Erases the versions of a row up to `tick`, but not its newest. */
  clearThrough(row: number, tick: number): void {
    while (this.#count[row]! > 1 && this.#tick[this.#oldest[row]!]! <= tick) this.#dropOldest(row);
  }

  /** Newest version of a row, or -1. */
  newest(row: number): number {
    return this.#newest[row]!;
  }

  /** The version that this one replaced, or -1. */
  older(version: number): number {
    return this.#older[version]!;
  }

  /** The version that replaced this one, or -1. */
  newer(version: number): number {
    return this.#newer[version]!;
  }

  /** Versions held of a row. */
  countOf(row: number): number {
    return this.#count[row]!;
  }

  /** Tick of a version. */
  tick(version: number): number {
    return this.#tick[version]!;
  }

  /** Sample time of a version. */
  time(version: number): TimelineTime {
    return this.#time[version]!;
  }

  /** The mask given with a version: in the world the fields that changed in it. */
  mask(version: number): number {
    return this.#mask[version]!;
  }

  /** Number of writes that made a version: tells apart what one tick's version was and what it became. */
  writes(version: number): number {
    return this.#writes[version]!;
  }

  /** Contents of a variable field of a version. */
  blob(version: number, blobIndex: number): Uint8Array {
    return this.#blobs[version * this.blobCount + blobIndex]!;
  }

  /** The version of a row with exactly this tick, or -1. At most `MAX_VERSIONS` steps. */
  find(row: number, tick: number): number {
    let version = this.#newest[row]!;
    while (version >= 0 && this.#tick[version]! > tick) version = this.#older[version]!;
    return version >= 0 && this.#tick[version] === tick ? version : -1;
  }

  /** The version of a row that was its newest one at `tick`, or -1 when it is not held any more. At most `MAX_VERSIONS` steps. */
  findAt(row: number, tick: number): number {
    return this.findFrom(this.#newest[row]!, tick);
  }

  /** As `findAt`, from a version of that tick or a later one on: who looks for one after the other need not begin anew. */
  findFrom(version: number, tick: number): number {
    let at = version;
    while (at >= 0 && this.#tick[at]! > tick) at = this.#older[at]!;
    return at;
  }

  /**
   * Sample time of the last change, up to this version, of a field in `fields`: exact also where the version of that change is not held any
   * more. Only of a store that notes changes; its masks are the fields that changed.
   */
  changeTime(row: number, version: number, fields: number): TimelineTime {
    let at = version;
    while (at >= 0 && (this.#mask[at]! & fields) === 0) at = this.#older[at]!;
    if (at >= 0) return this.#time[at]!;
    assert(this.#changes !== undefined, "changes are asked for where they are noted");
    return this.#changes.timeOf(row, fields);
  }

  /** Copies a version into `out`. Blobs are shared. */
  load(version: number, out: ComponentValue): void {
    const count = this.laneCount;
    const from = version * count;
    const source = this.#lanes;
    const { lanes } = out;
    for (let i = 0; i < count; i++) lanes[i] = source[from + i]!;
    const blobsFrom = version * this.blobCount;
    for (let i = 0; i < this.blobCount; i++) out.blobs[i] = this.#blobs[blobsFrom + i]!;
  }

  /**
   * Puts a whole value at its place by tick; a version of that tick is overwritten. Returns the version, or -1 when the row is full of
   * newer ones. Blobs that are views into a larger buffer are copied.
   */
  put(row: number, tick: number, time: TimelineTime, mask: number, value: ComponentValue): number {
    let newer = -1;
    let at = this.#newest[row]!;
    while (at >= 0 && this.#tick[at]! > tick) {
      newer = at;
      at = this.#older[at]!;
    }
    if (at < 0 || this.#tick[at] !== tick) {
      if (this.#count[row]! >= MAX_VERSIONS) {
        if (at < 0) return -1;
        // The oldest may be `at` itself: then the new version becomes the row's oldest.
        if (this.#oldest[row] === at) at = -1;
        this.#dropOldest(row);
      }
      at = this.#insert(row, newer, at);
    }
    this.#tick[at] = tick;
    this.#time[at] = time;
    this.#mask[at] = mask;
    this.#writes[at] = this.#writes[at]! + 1;
    this.#lanes.set(value.lanes, at * this.laneCount);
    const blobsAt = at * this.blobCount;
    for (let i = 0; i < this.blobCount; i++) this.#blobs[blobsAt + i] = keptBytes(value.blobs[i]!);
    this.#trim(row, this.#tick[this.#newest[row]!]!);
    return this.find(row, tick);
  }

  /**
   * Writes the fields in `mask` over the newest value of a row. Returns the mask of those that differ from it; 0: nothing was done.
   *
   * A newest version of the same tick is overwritten (its mask grows), otherwise a new version begins. The row must have a version, and
   * `tick` must not lie before it.
   */
  update(
    row: number,
    fields: readonly FieldGrant[],
    mask: number,
    value: ComponentValue,
    tick: number,
    time: TimelineTime,
  ): number {
    const newest = this.#newest[row]!;
    assert(newest >= 0, "an update needs a value to change");
    const changed = this.#differing(newest, fields, mask, value);
    if (changed === 0) return 0;
    const newestTick = this.#tick[newest]!;
    assert(tick >= newestTick, "versions of a row are written in the order of their ticks");
    let version = newest;
    if (tick !== newestTick) {
      if (this.#count[row]! >= MAX_VERSIONS) this.#dropOldest(row);
      version = this.#insert(row, -1, newest);
      this.#tick[version] = tick;
      this.#mask[version] = 0;
      const lanesFrom = newest * this.laneCount;
      this.#lanes.copyWithin(version * this.laneCount, lanesFrom, lanesFrom + this.laneCount);
      for (let i = 0; i < this.blobCount; i++) {
        this.#blobs[version * this.blobCount + i] = this.#blobs[newest * this.blobCount + i]!;
      }
    }
    this.#time[version] = time;
    this.#mask[version] = this.#mask[version]! | changed;
    this.#writes[version] = this.#writes[version]! + 1;
    this.#writeFields(version, fields, changed, value);
    this.#trim(row, tick);
    return changed;
  }

  /** Gives the fields in `mask` the contents of `value` in all versions of a row: what was there is erased, and no version is made. */
  blank(row: number, fields: readonly FieldGrant[], mask: number, value: ComponentValue): void {
    for (let at = this.#newest[row]!; at >= 0; at = this.#older[at]!) {
      this.#writeFields(at, fields, mask, value);
    }
  }

  /** Drops versions that are too old at `tick`. Call it once a tick: `EXPIRE_SWEEP_TICKS` calls look at all rows with history. */
  expire(tick: number): void {
    if (this.#sweepAt === 0) {
      this.#sweepAt = this.#agedCount;
      this.#sweepShare = Math.ceil(this.#agedCount / EXPIRE_SWEEP_TICKS);
    }
    // Downwards: a row that leaves the list is replaced by its last one, which this round has seen already, so that none is missed.
    for (let left = this.#sweepShare; left > 0; left--) {
      const at = Math.min(this.#sweepAt, this.#agedCount) - 1;
      this.#sweepAt = Math.max(at, 0);
      if (at < 0) return;
      this.#trim(this.#aged[at]!, tick);
    }
  }

  #differing(
    version: number,
    fields: readonly FieldGrant[],
    mask: number,
    value: ComponentValue,
  ): number {
    const lanesAt = version * this.laneCount;
    const blobsAt = version * this.blobCount;
    let changed = 0;
    for (let i = 0; i < fields.length; i++) {
      if ((mask & (1 << i)) === 0) continue;
      const field = fields[i]!;
      const same = field.blobIndex >= 0
        ? sameBytes(this.#blobs[blobsAt + field.blobIndex]!, value.blobs[field.blobIndex]!)
        : sameLanes(
          this.#lanes,
          lanesAt + field.laneOffset,
          value.lanes,
          field.laneOffset,
          field.lanes,
        );
      if (!same) changed |= 1 << i;
    }
    return changed;
  }

  #writeFields(
    version: number,
    fields: readonly FieldGrant[],
    mask: number,
    value: ComponentValue,
  ): void {
    const lanesAt = version * this.laneCount;
    const blobsAt = version * this.blobCount;
    for (let i = 0; i < fields.length; i++) {
      if ((mask & (1 << i)) === 0) continue;
      const field = fields[i]!;
      if (field.blobIndex >= 0) {
        this.#blobs[blobsAt + field.blobIndex] = keptBytes(value.blobs[field.blobIndex]!);
      }
      const end = field.laneOffset + field.lanes;
      for (let lane = field.laneOffset; lane < end; lane++) {
        this.#lanes[lanesAt + lane] = value.lanes[lane]!;
      }
    }
  }

  /** Links a new version between `newer` and `older` (-1: the end). */
  #insert(row: number, newer: number, older: number): number {
    let version = this.#freeVersion;
    if (version >= 0) {
      this.#freeVersion = this.#older[version]!;
    } else {
      version = this.#versionEnd++;
      if (version >= this.#tick.length) this.#growVersions(version + 1);
    }
    this.#writes[version] = 0;
    this.#older[version] = older;
    this.#newer[version] = newer;
    if (newer >= 0) this.#older[newer] = version;
    else this.#newest[row] = version;
    if (older >= 0) this.#newer[older] = version;
    else this.#oldest[row] = version;
    this.#versionCount += 1;
    this.#count[row] = this.#count[row]! + 1;
    if (this.#count[row] === 2) {
      this.#agedAt[row] = this.#agedCount;
      this.#aged[this.#agedCount] = row;
      this.#agedCount += 1;
    }
    return version;
  }

  #dropOldest(row: number): void {
    const version = this.#oldest[row]!;
    const newer = this.#newer[version]!;
    this.#changes?.note(row, this.#mask[version]!, this.#tick[version]!, this.#time[version]!);
    this.#oldest[row] = newer;
    if (newer >= 0) this.#older[newer] = -1;
    else this.#newest[row] = -1;
    this.#lanes.fill(0, version * this.laneCount, (version + 1) * this.laneCount);
    for (let i = 0; i < this.blobCount; i++) this.#blobs[version * this.blobCount + i] = NO_BYTES;
    this.#older[version] = this.#freeVersion;
    this.#freeVersion = version;
    this.#versionCount -= 1;
    this.#count[row] = this.#count[row]! - 1;
    if (this.#count[row] === 1) {
      this.#agedCount -= 1;
      const moved = this.#aged[this.#agedCount]!;
      const place = this.#agedAt[row]!;
      this.#aged[place] = moved;
      this.#agedAt[moved] = place;
      this.#agedAt[row] = -1;
    }
  }

  /** Drops the versions of a row that were replaced `historyTicks` or longer ago. */
  #trim(row: number, tick: number): void {
    while (this.#count[row]! > 1) {
      const replacement = this.#newer[this.#oldest[row]!]!;
      if (this.#tick[replacement]! + this.historyTicks > tick) return;
      this.#dropOldest(row);
    }
  }

  #growRows(needed: number): void {
    const capacity = grownCapacity(this.#newest.length, needed, Infinity);
    this.#newest = grown(this.#newest, capacity);
    this.#oldest = grown(this.#oldest, capacity);
    this.#count = grown(this.#count, capacity);
    this.#changes?.grow(capacity);
    this.#agedAt = grown(this.#agedAt, capacity);
    this.#aged = grown(this.#aged, capacity);
  }

  #growVersions(needed: number): void {
    const capacity = grownCapacity(this.#tick.length, needed, Infinity);
    this.#tick = grown(this.#tick, capacity);
    this.#time = grown(this.#time, capacity);
    this.#mask = grown(this.#mask, capacity);
    this.#writes = grown(this.#writes, capacity);
    this.#older = grown(this.#older, capacity);
    this.#newer = grown(this.#newer, capacity);
    this.#lanes = grown(this.#lanes, capacity * this.laneCount);
  }
}
