// Which entities are near a viewer. A uniform grid over x and z that follows the changes of each tick; the distance is the true one in
// three dimensions. It only proposes candidates: who sees what, and the hysteresis, is decided per component by each peer's sender.

import type { Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "./grow.ts";
import type { World } from "./world.ts";

/** Candidates reach this much further than the largest radius: the band in which what is visible stays visible. */
export const INTEREST_HYSTERESIS = 1.1;
/** Cells per reach: a viewer looks at 5 x 5 cells, and half of what lies in them is within reach. */
const CELLS_PER_REACH = 2;
const FIRST_CAPACITY = 64;
// Words of a record. The first three are the position in metres, 32-bit floats, NaN without one.
const CELL_X = 3;
const CELL_Z = 4;
/** The next slot of the same place in the table, 0 at the end; of an entity that comes at any distance its place in that list. */
const NEXT = 5;
/** The slot before it, 0 at the beginning. */
const PREVIOUS = 6;
/** Where the entity is listed: 0 nowhere, {@linkcode EVERYWHERE}, or its place in the table plus one. */
const LISTED = 7;
const RECORD_WORDS = 8;
const EVERYWHERE = -1;

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
 * The grid over one world. Call `rebuild` once a tick after the last change, then `query` for each viewer.
 *
 * What rests stays where it is: `rebuild` looks at the entities that changed since the last one, and moves those between cells that left
 * theirs.
 */
export class Interest {
  readonly #world: World;
  /** Metres; 0 when no component has a radius. */
  readonly #reach: number;
  /** Per word of a component set: the components that are visible at any distance. */
  readonly #unlimited: Int32Array;
  readonly #position = new Float64Array(3);
  readonly #look = (slot: number): void => this.#update(slot);
  /** The world's latest change that the last `rebuild` saw. */
  #seenTick = 0;
  // One record by slot, of eight 32-bit words: what a query reads of an entity lies in one cache line.
  #capacity = FIRST_CAPACITY;
  #words = new Int32Array(FIRST_CAPACITY * RECORD_WORDS);
  #metres = new Float32Array(this.#words.buffer);
  #tableSize = FIRST_CAPACITY * 2; // a power of two
  #first = new Int32Array(FIRST_CAPACITY * 2);
  // Slots of entities that come at any distance.
  #everywhereCount = 0;
  #everywhere = new Int32Array(FIRST_CAPACITY);

  /** A grid over `world`, empty until `rebuild`. */
  constructor(grants: Grants, world: World) {
    this.#world = world;
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

  /**
   * Finds the candidates for a viewer at `position` (metres; undefined: it has none).
   *
   * They are all entities within 1.1 x the largest radius of any component, and at any distance those without a position or with a
   * component without radius. A viewer without position gets only the latter.
   */
  query(position: Float64Array | undefined, out: InterestResult): void {
    out.count = 0;
    const words = this.#words;
    const metres = this.#metres;
    for (let i = 0; i < this.#everywhereCount; i++) {
      const slot = this.#everywhere[i]!;
      push(out, slot, distanceSquared(metres, slot * RECORD_WORDS, position));
    }
    if (position === undefined || this.#reach === 0) return;
    const limit = this.#reach * this.#reach;
    const x = this.#cellOf(position[0]!);
    const z = this.#cellOf(position[2]!);
    for (let cellZ = z - CELLS_PER_REACH; cellZ <= z + CELLS_PER_REACH; cellZ++) {
      for (let cellX = x - CELLS_PER_REACH; cellX <= x + CELLS_PER_REACH; cellX++) {
        let slot = this.#first[this.#hash(cellX, cellZ)]!;
        while (slot !== 0) {
          const at = slot * RECORD_WORDS;
          // Several cells of the plane share one place in the table.
          if (words[at + CELL_X] === cellX && words[at + CELL_Z] === cellZ) {
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
    const listed = words[at + LISTED]!;
    if (!hasPosition || this.#isUnlimited(slot)) {
      if (listed !== EVERYWHERE) this.#listEverywhere(slot);
      return;
    }
    const x = this.#cellOf(position[0]!);
    const z = this.#cellOf(position[2]!);
    if (listed > 0 && words[at + CELL_X] === x && words[at + CELL_Z] === z) return;
    this.#unlist(slot);
    words[at + CELL_X] = x;
    words[at + CELL_Z] = z;
    this.#list(slot);
  }

  /** Enters a slot into the table, by its cell. */
  #list(slot: number): void {
    const words = this.#words;
    const at = slot * RECORD_WORDS;
    const place = this.#hash(words[at + CELL_X]!, words[at + CELL_Z]!);
    const first = this.#first[place]!;
    words[at + LISTED] = place + 1;
    words[at + PREVIOUS] = 0;
    words[at + NEXT] = first;
    if (first !== 0) words[first * RECORD_WORDS + PREVIOUS] = slot;
    this.#first[place] = slot;
  }

  #listEverywhere(slot: number): void {
    this.#unlist(slot);
    const at = slot * RECORD_WORDS;
    this.#words[at + LISTED] = EVERYWHERE;
    this.#words[at + NEXT] = this.#everywhereCount;
    this.#everywhere[this.#everywhereCount] = slot;
    this.#everywhereCount += 1;
  }

  #unlist(slot: number): void {
    const words = this.#words;
    const at = slot * RECORD_WORDS;
    const listed = words[at + LISTED]!;
    if (listed === 0) return;
    words[at + LISTED] = 0;
    const next = words[at + NEXT]!;
    if (listed === EVERYWHERE) {
      this.#everywhereCount -= 1;
      const last = this.#everywhere[this.#everywhereCount]!;
      this.#everywhere[next] = last;
      words[last * RECORD_WORDS + NEXT] = next;
      return;
    }
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

  #hash(cellX: number, cellZ: number): number {
    // Primes of Teschner et al., "Optimized Spatial Hashing for Collision Detection of Deformable Objects", 2003.
    return (Math.imul(cellX, 73_856_093) ^ Math.imul(cellZ, 19_349_663)) & (this.#tableSize - 1);
  }

  /** Makes room for slots below `needed`. */
  #reserve(needed: number): void {
    const before = this.#capacity;
    if (needed <= before) return;
    this.#capacity = grownCapacity(before, needed, Infinity);
    this.#words = grown(this.#words, this.#capacity * RECORD_WORDS);
    this.#metres = new Float32Array(this.#words.buffer);
    this.#everywhere = grown(this.#everywhere, this.#capacity);
    while (this.#tableSize < this.#capacity * 2) this.#tableSize *= 2;
    this.#first = new Int32Array(this.#tableSize);
    for (let slot = 1; slot < before; slot++) {
      if (this.#words[slot * RECORD_WORDS + LISTED]! > 0) this.#list(slot);
    }
  }
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
