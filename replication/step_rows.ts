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
/** Versions that it was coded against, as they were given. */
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

/** Ticks after which a lens that nobody looks through makes room: links that are some ticks behind find nothing of what it said before. */
const REST_TICKS = 2 * STEP_TICKS;

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
  /** Its number: no other lens of its world has or had it. */
  readonly number: number;
  readonly component: number;
  readonly mask: number;
  /** No other lens has its place. */
  isInPlace = true;
  readonly #store: VersionStore;
  // By row.
  #tick = new Float64Array(0);
  #id = new Int32Array(0);
  #changes = new Int32Array(0);
  /** The entry kept last plus one, 0 for none in this tick. */
  first: Int32Array = new Int32Array(0);
  /** By lane: whether it belongs to a field in the mask. */
  readonly #isRead: Uint8Array;
  #lookedTick: number;

  /** A lens on the values in `store`, from `tick` on; it takes over the tables of one in whose place it comes. */
  constructor(
    grant: ComponentGrant,
    mask: number,
    store: VersionStore,
    number: number,
    tick: number,
    before?: StepLens,
  ) {
    this.number = number;
    this.#lookedTick = tick;
    if (before !== undefined) {
      // What they say is older than any look goes back, whosever rows it was said of.
      this.#tick = before.#tick;
      this.#id = before.#id;
      this.#changes = before.#changes;
      this.first = before.first;
    }
    this.component = grant.index;
    this.mask = mask;
    this.#store = store;
    this.#isRead = new Uint8Array(grant.laneCount);
    for (const field of grant.fields) {
      if ((mask & (1 << field.index)) === 0) continue;
      this.#isRead.fill(1, field.laneOffset, field.laneOffset + field.lanes);
    }
  }

  /** Latest tick at which a row was looked at, or it was made. */
  get lookedTick(): number {
    return this.#lookedTick;
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
    if (tick > this.#lookedTick) this.#lookedTick = tick;
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
  /** By the number's rest: a place is given to another lens when nobody has looked through the one in it for long enough. */
  readonly #lenses: StepLens[] = [];
  /** Lenses that were given the place of another. */
  #round = 0;
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
  /** By entry: the place of its lens, and its row. */
  #places = new Int32Array(FIRST_CAPACITY * 2);
  readonly #byComponent: Map<number, StepLens>[] = [];

  /** Bytes that it takes. */
  get heldBytes(): number {
    let bytes = this.#entries.byteLength + this.#places.byteLength;
    for (const lens of this.#lenses) bytes += lens.heldBytes;
    return bytes;
  }

  /**
   * The number of the lens on a component under a mask, made where there is none yet; -1 where there is no room for one: all are looked
   * through. One through which nobody looked for so long that it knows nothing of any link's last ticks makes room.
   */
  lensOf(grant: ComponentGrant, mask: number, store: VersionStore, tick: number): number {
    const byMask = this.#byComponent[grant.index] ??= new Map();
    const known = byMask.get(mask);
    if (known !== undefined) return known.number;
    if (mask === 0) return -1;
    const lenses = this.#lenses;
    let place = lenses.length;
    if (place === MAX_STEP_LENSES) {
      place = 0;
      for (let i = 1; i < MAX_STEP_LENSES; i++) {
        if (lenses[i]!.lookedTick < lenses[place]!.lookedTick) place = i;
      }
      if (tick - lenses[place]!.lookedTick < REST_TICKS) return -1;
      this.#round += 1;
    }
    const before = lenses[place];
    if (before !== undefined) {
      before.isInPlace = false;
      this.#byComponent[before.component]!.delete(before.mask);
    }
    const number = place + MAX_STEP_LENSES * this.#round;
    const lens = new StepLens(grant, mask, store, number, tick, before);
    byMask.set(mask, lens);
    lenses[place] = lens;
    return number;
  }

  /** The lens with a number, undefined when another one has its place. */
  lens(number: number): StepLens | undefined {
    const lens = this.#lenses[number % MAX_STEP_LENSES];
    return lens?.number === number ? lens : undefined;
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
      this.#lenses[this.#places[2 * entry]!]!.first[this.#places[2 * entry + 1]!] = 0;
    }
    this.#count = 0;
  }

  /** Looks for the newest value of a row as coded against the versions in `held` for a viewer that was sent `since` after them. */
  find(lens: StepLens, row: number, held: number, since: number): boolean {
    const entries = this.#entries;
    let entry = lens.first[row]! - 1;
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
  keep(lens: StepLens, row: number, held: number, since: number): void {
    if (this.#count === MAX_SHARED_ENCODINGS) return;
    const at = this.#count * COLUMNS;
    if (at === this.#entries.length) {
      this.#entries = grown(this.#entries, at * 2);
      this.#places = grown(this.#places, this.#places.length * 2);
    }
    const { first } = lens;
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
    this.#places[2 * this.#count] = lens.number % MAX_STEP_LENSES;
    this.#places[2 * this.#count + 1] = row;
    this.#count += 1;
    first[row] = this.#count;
  }
}
