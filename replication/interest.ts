// Which entities are near a viewer. A uniform grid over x and z that follows the changes of each tick; the distance is the true one in
// three dimensions. It only proposes candidates: who sees what, and the hysteresis, is decided per component by each peer's sender. What is in
// a closed zone lies in cells and lists of that zone, so that who does not see into it never comes across it.

import { MAX_ZONES } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "./grow.ts";
import type { World } from "./world.ts";
import { createZonesSeen, Zones, type ZonesSeen } from "./zones.ts";

/** Candidates reach this much further than the largest radius: the band in which what is visible stays visible. */
export const INTEREST_HYSTERESIS = 1.1;
/** Cells per reach: a viewer looks at 5 x 5 cells, and half of what lies in them is within reach. */
const CELLS_PER_REACH = 2;
const FIRST_CAPACITY = 64;
// Words of a record. The first three are the position in metres, 32-bit floats, NaN without one.
const CELL_X = 3;
const CELL_Z = 4;
/** The next slot of the same list, 0 at the end. */
const NEXT = 5;
/** The slot before it, 0 at the beginning. */
const PREVIOUS = 6;
/** Number of the list that the entity is in plus one, 0 for none. */
const LISTED = 7;
const RECORD_WORDS = 8;

/** Of a viewer that sees into no closed zone. */
const NO_ZONES: ZonesSeen = createZonesSeen();
/** What is in no closed zone. */
const OPEN = 0;
const ZONES = MAX_ZONES + 1;

/** Slots that changed; the array is reused and grows. */
export interface ChangedSlots {
  /** How many. */
  count: number;
  /** Each once, in no order that means anything. */
  slots: Int32Array;
}

/** Candidates of one viewer; the arrays are reused and grow. */
export interface InterestResult {
  /** Candidates found. */
  count: number;
  /** Slots of the candidates, in no order that means anything, each once. */
  slots: Int32Array;
  /**
   * Square of the distance in metres; 0 for an entity without position, infinite for one with a position when the viewer has none.
   */
  distanceSquared: Float64Array;
  /** What alone was looked at: candidates are those of these slots, and all others are what they were. Undefined: all were looked at. */
  changed?: ChangedSlots | undefined;
}

/** An empty result. */
export function createInterestResult(): InterestResult {
  return {
    count: 0,
    slots: new Int32Array(FIRST_CAPACITY),
    distanceSquared: new Float64Array(FIRST_CAPACITY),
  };
}

/**
 * The grid over one world. Call `rebuild` once a tick after the last change, then `query` for each viewer; or, for one that is where it was
 * at the call of `listChanged` before and has been asked for since then, `queryChanged`.
 *
 * What rests stays where it is: `rebuild` looks at the entities that changed since the last one, and moves those between cells that left
 * theirs.
 */
export class Interest {
  readonly #world: World;
  readonly #zones: Zones;
  /** Metres; 0 when no component has a radius. */
  readonly #reach: number;
  /** Per word of a component set: the components that are visible at any distance. */
  readonly #unlimited: Int32Array;
  readonly #position = new Float64Array(3);
  readonly #look = (slot: number): void => this.#update(slot);
  /** The world's latest change that the last `rebuild` saw. */
  #seenTick = 0;
  readonly #changed: ChangedSlots = { count: 0, slots: new Int32Array(FIRST_CAPACITY) };
  readonly #noteChanged = (slot: number): void => {
    const changed = this.#changed;
    if (changed.count === changed.slots.length) {
      changed.slots = grown(changed.slots, 2 * changed.count);
    }
    changed.slots[changed.count] = slot;
    changed.count += 1;
  };
  /** The world's latest change that the last `listChanged` saw. */
  #listedTick = 0;
  // One record by slot, of eight 32-bit words: what a query reads of an entity lies in one cache line.
  #capacity = FIRST_CAPACITY;
  #words = new Int32Array(FIRST_CAPACITY * RECORD_WORDS);
  #metres = new Float32Array(this.#words.buffer);
  #tableSize = FIRST_CAPACITY * 2; // a power of two
  /** First slot of each list: the places of the table, then, by closed zone and {@linkcode OPEN}, what comes at any distance. */
  #first = new Int32Array(FIRST_CAPACITY * 2 + ZONES);
  /** By slot: the closed zone under which the entity is listed, or {@linkcode OPEN}. */
  #zone = new Uint8Array(FIRST_CAPACITY);
  /** By closed zone, and {@linkcode OPEN}: entities in the table. */
  readonly #tabled = new Int32Array(ZONES);

  /** A grid over `world`, empty until `rebuild`. */
  constructor(grants: Grants, world: World) {
    this.#world = world;
    this.#zones = new Zones(grants);
    this.#unlimited = new Int32Array(world.wordCount);
    let radius = 0;
    for (const component of grants.components) {
      radius = Math.max(radius, component.interestRadius);
      if (component.interestRadius > 0) continue;
      const word = component.index >>> 5;
      this.#unlimited[word] = this.#unlimited[word]! | (1 << (component.index & 31));
    }
    this.#reach = radius * INTEREST_HYSTERESIS;
  }

  /** Takes over all changes of the world since the last call. */
  rebuild(): void {
    const world = this.#world;
    this.#reserve(world.maxSlot + 1);
    // Changes of the tick seen last may have gone on after that look.
    world.forEachChanged(this.#seenTick, this.#look);
    this.#seenTick = world.latestChange;
  }

  /** Lists what has changed since the last call, for viewers that stay where they are; what goes on changing in this tick is listed again. */
  listChanged(): void {
    // What came after `rebuild` is listed nowhere yet; the next one finds it.
    this.#reserve(this.#world.maxSlot + 1);
    this.#changed.count = 0;
    this.#world.forEachChanged(this.#listedTick, this.#noteChanged);
    this.#listedTick = this.#world.latestChange;
  }

  /** As `query`, of what `listChanged` listed alone. */
  queryChanged(
    position: Float64Array | undefined,
    out: InterestResult,
    seen: ZonesSeen = NO_ZONES,
  ): void {
    out.count = 0;
    out.changed = this.#changed;
    const words = this.#words;
    const limit = this.#reach * this.#reach;
    const { slots, count } = this.#changed;
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!;
      const at = slot * RECORD_WORDS;
      const listed = words[at + LISTED]!;
      if (listed === 0 || !seesInto(seen, this.#zone[slot]!)) continue;
      const distance = distanceSquared(this.#metres, at, position);
      if (listed > this.#tableSize || distance <= limit) push(out, slot, distance);
    }
  }

  /**
   * Finds the candidates for a viewer at `position` (metres; undefined: it has none) that sees into the closed zones `seen`.
   *
   * They are all entities within 1.1 x the largest radius of any component, and at any distance those without a position or with a
   * component without radius. A viewer without position gets only the latter. What is in another closed zone is never among them.
   */
  query(
    position: Float64Array | undefined,
    out: InterestResult,
    seen: ZonesSeen = NO_ZONES,
  ): void {
    out.count = 0;
    out.changed = undefined;
    this.#queryZone(OPEN, position, out);
    for (let i = 0; i < seen.count; i++) this.#queryZone(seen.ids[i]!, position, out);
  }

  #queryZone(zone: number, position: Float64Array | undefined, out: InterestResult): void {
    const words = this.#words;
    const metres = this.#metres;
    let everywhere = this.#first[this.#tableSize + zone]!;
    while (everywhere !== 0) {
      const at = everywhere * RECORD_WORDS;
      push(out, everywhere, distanceSquared(metres, at, position));
      everywhere = words[at + NEXT]!;
    }
    if (position === undefined || this.#tabled[zone] === 0) return;
    const zones = this.#zone;
    const limit = this.#reach * this.#reach;
    const x = this.#cellOf(position[0]!);
    const z = this.#cellOf(position[2]!);
    for (let cellZ = z - CELLS_PER_REACH; cellZ <= z + CELLS_PER_REACH; cellZ++) {
      for (let cellX = x - CELLS_PER_REACH; cellX <= x + CELLS_PER_REACH; cellX++) {
        let slot = this.#first[this.#hash(cellX, cellZ, zone)]!;
        while (slot !== 0) {
          const at = slot * RECORD_WORDS;
          // Several cells of the plane, and of several zones, share one place in the table.
          if (
            words[at + CELL_X] === cellX && words[at + CELL_Z] === cellZ && zones[slot] === zone
          ) {
            const distance = distanceSquared(metres, at, position);
            if (distance <= limit) push(out, slot, distance);
          }
          slot = words[at + NEXT]!;
        }
      }
    }
  }

  /** Looks at one slot anew: its entity moved, changed its components, ended or is another one. */
  #update(slot: number): void {
    const world = this.#world;
    const id = world.idAt(slot);
    if (id === 0) return this.#unlist(slot);
    const words = this.#words;
    const position = this.#position;
    const at = slot * RECORD_WORDS;
    const hasPosition = world.position(id, position);
    if (!hasPosition) position.fill(NaN);
    this.#metres[at] = position[0]!;
    this.#metres[at + 1] = position[1]!;
    this.#metres[at + 2] = position[2]!;
    const inside = world.zone(id);
    const zone = this.#zones.isClosed(inside) ? inside : OPEN;
    const before = this.#zone[slot]!;
    const listed = words[at + LISTED]!;
    if (!hasPosition || this.#isUnlimited(slot)) {
      const list = this.#tableSize + zone;
      if (listed === list + 1) return;
      this.#unlist(slot);
      this.#zone[slot] = zone;
      return this.#list(slot, list);
    }
    const x = this.#cellOf(position[0]!);
    const z = this.#cellOf(position[2]!);
    const isTabled = listed > 0 && listed <= this.#tableSize;
    if (isTabled && zone === before && words[at + CELL_X] === x && words[at + CELL_Z] === z) return;
    this.#unlist(slot);
    words[at + CELL_X] = x;
    words[at + CELL_Z] = z;
    this.#zone[slot] = zone;
    this.#tabled[zone]! += 1;
    this.#list(slot, this.#hash(x, z, zone));
  }

  /** Enters a slot into a list. */
  #list(slot: number, list: number): void {
    const words = this.#words;
    const at = slot * RECORD_WORDS;
    const first = this.#first[list]!;
    words[at + LISTED] = list + 1;
    words[at + PREVIOUS] = 0;
    words[at + NEXT] = first;
    if (first !== 0) words[first * RECORD_WORDS + PREVIOUS] = slot;
    this.#first[list] = slot;
  }

  #unlist(slot: number): void {
    const words = this.#words;
    const at = slot * RECORD_WORDS;
    const listed = words[at + LISTED]!;
    if (listed === 0) return;
    if (listed <= this.#tableSize) this.#tabled[this.#zone[slot]!]! -= 1;
    words[at + LISTED] = 0;
    const next = words[at + NEXT]!;
    const previous = words[at + PREVIOUS]!;
    if (previous === 0) this.#first[listed - 1] = next;
    else words[previous * RECORD_WORDS + NEXT] = next;
    if (next !== 0) words[next * RECORD_WORDS + PREVIOUS] = previous;
  }

  #isUnlimited(slot: number): boolean {
    for (let w = 0; w < this.#unlimited.length; w++) {
      if ((this.#world.componentWord(slot, w) & this.#unlimited[w]!) !== 0) return true;
    }
    return false;
  }

  #cellOf(metres: number): number {
    // 32-bit cell numbers wrap for absurd positions; the true distance decides in the end.
    return Math.floor(metres * CELLS_PER_REACH / this.#reach) | 0;
  }

  #hash(cellX: number, cellZ: number, zone: number): number {
    // Primes of Teschner et al., "Optimized Spatial Hashing for Collision Detection of Deformable Objects", 2003.
    return (Math.imul(cellX, 73_856_093) ^ Math.imul(cellZ, 19_349_663) ^
      Math.imul(zone, 83_492_791)) & (this.#tableSize - 1);
  }

  /** Makes room for slots below `needed`. */
  #reserve(needed: number): void {
    const before = this.#capacity;
    if (needed <= before) return;
    this.#capacity = grownCapacity(before, needed, Infinity);
    this.#words = grown(this.#words, this.#capacity * RECORD_WORDS);
    this.#metres = new Float32Array(this.#words.buffer);
    this.#zone = grown(this.#zone, this.#capacity);
    const size = this.#tableSize;
    while (this.#tableSize < this.#capacity * 2) this.#tableSize *= 2;
    this.#first = new Int32Array(this.#tableSize + ZONES);
    for (let slot = 1; slot < before; slot++) {
      const at = slot * RECORD_WORDS;
      const listed = this.#words[at + LISTED]!;
      if (listed === 0) continue;
      const zone = this.#zone[slot]!;
      const [x, z] = [this.#words[at + CELL_X]!, this.#words[at + CELL_Z]!];
      this.#list(slot, listed > size ? this.#tableSize + zone : this.#hash(x, z, zone));
    }
  }
}

/** Whether a viewer sees what is listed under a zone. */
function seesInto({ ids, count }: ZonesSeen, zone: number): boolean {
  if (zone === OPEN) return true;
  for (let i = 0; i < count; i++) {
    if (ids[i] === zone) return true;
  }
  return false;
}

/** Square of the distance from the viewer to the position at `at`; NaN there means that the entity has none. */
function distanceSquared(xyz: Float32Array, at: number, viewer: Float64Array | undefined): number {
  if (Number.isNaN(xyz[at]!)) return 0;
  if (viewer === undefined) return Infinity;
  const x = xyz[at]! - viewer[0]!;
  const y = xyz[at + 1]! - viewer[1]!;
  const z = xyz[at + 2]! - viewer[2]!;
  return x * x + y * y + z * z;
}

function push(out: InterestResult, slot: number, distance: number): void {
  if (out.count === out.slots.length) {
    out.slots = grown(out.slots, out.count * 2);
    out.distanceSquared = grown(out.distanceSquared, out.count * 2);
  }
  out.slots[out.count] = slot;
  out.distanceSquared[out.count] = distance;
  out.count += 1;
}
