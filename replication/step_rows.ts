// At which of the last ticks each row of a component changed under one mask, and where the bits of its newest value stand: what all viewers
// in step need to know of a row in a tick, found out once for them all. Which of these versions a viewer holds is its link's knowledge.

import type { EntityId } from "../protocol/entity_id.ts";
import { MAX_SHARED_ENCODINGS, MAX_STEP_LENSES } from "../protocol/limits.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { STEP_TICKS } from "./cohorts.ts";
import { grown, grownCapacity } from "./grow.ts";
import type { VersionStore } from "./version_store.ts";

/** Largest value that goes in step, lanes. */
const MAX_STEP_LANES = 64;
/** Entries of one row that are looked at, as in `SharedEncodings`. */
const LONGEST_SEARCH = 24;

// Columns of an entry: one way in which a row's newest value was coded in this tick.
/** Versions that it was coded against: those that the viewer holds, as they were given. */
const HELD = 0;
const SINCE = 1;
/** The next entry of the row plus one, 0 at the end. */
const NEXT = 2;
const START = 3;
const BITS = 4;
/** Ticks from the reference to this tick, 0 for an absolute value. */
const AGE = 5;
const UNIT = 6;
const BEFORE = 7;
const OFFSET = 8;
const COLUMNS = 9;
const FIRST_CAPACITY = 64;

/** Bytes for each row of a lens, and of all entries of a tick at most. */
export const STEP_ROW_BYTES: number = 8 + 3 * 4;
export const STEP_ENTRIES_BYTES: number = MAX_SHARED_ENCODINGS * (COLUMNS + 2) * 4;

/** Whether values of a component may go in step: small ones, alike for all who may read the same fields, whose last changes are surely held. */
export function isFitForStep(grant: ComponentGrant, store: VersionStore): boolean {
  return grant.blobCount === 0 && grant.laneCount <= MAX_STEP_LANES &&
    grant.fields.every(({ kind }) => kind !== "entity") && store.sureTicks >= STEP_TICKS;
}

/** The rows of one component as those see them who may read the fields in one mask. */
export class StepLens {
  readonly component: number;
  readonly mask: number;
  readonly #store: VersionStore;
  // By row.
  #tick = new Float64Array(0);
  #id = new Int32Array(0);
  #changes = new Int32Array(0);
  /** The entry kept last plus one, 0 for none in this tick. */
  first: Int32Array = new Int32Array(0);
  /** By lane: whether it belongs to a field in the mask. */
  readonly #isRead: Uint8Array;

  /** A lens on the values in `store`. */
  constructor(grant: ComponentGrant, mask: number, store: VersionStore) {
    this.component = grant.index;
    this.mask = mask;
    this.#store = store;
    this.#isRead = new Uint8Array(grant.laneCount);
    for (const field of grant.fields) {
      if ((mask & (1 << field.index)) === 0) continue;
      this.#isRead.fill(1, field.laneOffset, field.laneOffset + field.lanes);
    }
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return this.#tick.byteLength + this.#id.byteLength + this.#changes.byteLength +
      this.first.byteLength + this.#isRead.byteLength;
  }

  /**
   * The ticks at which the row of an entity changed: bit `i` for the one `i` before `tick`, of which nothing more may be written. Looks that
   * are {@linkcode STEP_TICKS} apart or more find what the world still holds.
   */
  changes(row: number, id: EntityId, tick: number): number {
    if (row < this.#tick.length && this.#tick[row] === tick && this.#id[row] === (id | 0)) {
      return this.#changes[row]!;
    }
    return this.#look(row, id, tick);
  }

  #look(row: number, id: EntityId, tick: number): number {
    if (row >= this.#tick.length) this.#grow(row + 1);
    const isSame = this.#id[row] === (id | 0);
    const last = isSame ? this.#tick[row]! : -1;
    // Another link is a tick ahead: those changes are none yet.
    if (last > tick) return last - tick < STEP_TICKS ? this.#changes[row]! >>> (last - tick) : 0;
    const isRecent = last >= 0 && tick - last < STEP_TICKS;
    let changes = isRecent ? this.#changes[row]! << (tick - last) : 0;
    const from = isRecent ? last + 1 : tick - STEP_TICKS + 1;
    const store = this.#store;
    let version = store.newest(row);
    for (; version >= 0 && store.tick(version) >= from; version = store.older(version)) {
      const age = tick - store.tick(version);
      if (age >= 0 && this.#isChange(version)) changes |= 1 << age;
    }
    this.#tick[row] = tick;
    this.#id[row] = id;
    this.#changes[row] = changes;
    return changes;
  }

  /** Whether those who read the mask find a version other than the one before. */
  #isChange(version: number): boolean {
    const store = this.#store;
    if ((store.mask(version) & this.mask) === 0) return false;
    const older = store.older(version);
    // One write changed what it is noted for; several may have taken it back.
    if (older < 0 || store.writes(version) === 1) return true;
    const { lanes, laneCount } = store;
    for (let i = 0; i < laneCount; i++) {
      if (this.#isRead[i] === 0) continue;
      if (lanes[version * laneCount + i] !== lanes[older * laneCount + i]) return true;
    }
    return false;
  }

  #grow(rows: number): void {
    const capacity = grownCapacity(Math.max(this.#tick.length, 16), rows, Infinity);
    const known = this.#tick.length;
    this.#tick = grown(this.#tick, capacity).fill(-1, known);
    this.#id = grown(this.#id, capacity);
    this.#changes = grown(this.#changes, capacity);
    this.first = grown(this.first, capacity);
  }
}

/** All lenses of one world, and what was coded for those in step in the present tick. */
export class StepRows {
  /** By number. */
  readonly lenses: StepLens[] = [];
  // Of the entry found or kept last: where its bits stand in the arena of what links share, and what they were coded against.
  start = 0;
  bits = 0;
  age = 0;
  unit = 0;
  before = 0;
  offset = 0;
  #tick = -1;
  #count = 0;
  #entries = new Int32Array(FIRST_CAPACITY * COLUMNS);
  /** By entry: its lens and row. */
  #places = new Int32Array(FIRST_CAPACITY * 2);
  readonly #byComponent: Map<number, number>[] = [];

  /** Bytes that it takes. */
  get heldBytes(): number {
    let bytes = this.#entries.byteLength + this.#places.byteLength;
    for (const lens of this.lenses) bytes += lens.heldBytes;
    return bytes;
  }

  /** The number of the lens on a component under a mask, made where there is none yet; -1 where there is none and no room for one. */
  lensOf(grant: ComponentGrant, mask: number, store: VersionStore): number {
    const byMask = this.#byComponent[grant.index] ??= new Map();
    let lens = byMask.get(mask);
    if (lens !== undefined) return lens;
    if (mask === 0 || this.lenses.length === MAX_STEP_LENSES) return -1;
    lens = this.lenses.length;
    byMask.set(mask, lens);
    this.lenses.push(new StepLens(grant, mask, store));
    return lens;
  }

  /** Turns to a tick: what was coded in another is forgotten. */
  begin(tick: number): void {
    if (tick === this.#tick) return;
    this.forget();
    this.#tick = tick;
  }

  /** Forgets what was coded: the contents of versions were changed under their names, or the bits are gone. */
  forget(): void {
    for (let entry = 0; entry < this.#count; entry++) {
      this.lenses[this.#places[2 * entry]!]!.first[this.#places[2 * entry + 1]!] = 0;
    }
    this.#count = 0;
  }

  /** Looks for the newest value of a row as coded for a viewer that holds the versions in `held`, and was sent `since` after them. */
  find(lens: number, row: number, held: number, since: number): boolean {
    const entries = this.#entries;
    let entry = this.lenses[lens]!.first[row]! - 1;
    for (let left = LONGEST_SEARCH; entry >= 0 && left > 0; left--) {
      const at = entry * COLUMNS;
      if (entries[at + HELD] === held && entries[at + SINCE] === since) {
        this.start = entries[at + START]!;
        this.bits = entries[at + BITS]!;
        this.age = entries[at + AGE]!;
        this.unit = entries[at + UNIT]!;
        this.before = entries[at + BEFORE]!;
        this.offset = entries[at + OFFSET]!;
        return true;
      }
      entry = entries[at + NEXT]! - 1;
    }
    return false;
  }

  /** Keeps what the fields of this object say under the key for which `find` has just found nothing. */
  keep(lens: number, row: number, held: number, since: number): void {
    if (this.#count === MAX_SHARED_ENCODINGS) return;
    const at = this.#count * COLUMNS;
    if (at === this.#entries.length) {
      this.#entries = grown(this.#entries, at * 2);
      this.#places = grown(this.#places, this.#places.length * 2);
    }
    const { first } = this.lenses[lens]!;
    const entries = this.#entries;
    entries[at + HELD] = held;
    entries[at + SINCE] = since;
    entries[at + NEXT] = first[row]!;
    entries[at + START] = this.start;
    entries[at + BITS] = this.bits;
    entries[at + AGE] = this.age;
    entries[at + UNIT] = this.unit;
    entries[at + BEFORE] = this.before;
    entries[at + OFFSET] = this.offset;
    this.#places[2 * this.#count] = lens;
    this.#places[2 * this.#count + 1] = row;
    this.#count += 1;
    first[row] = this.#count;
  }
}
