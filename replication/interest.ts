// Which entities are near a viewer. A uniform grid over x and z, rebuilt once a tick by counting sort; the distance is the true one in
// three dimensions. It only proposes candidates: who sees what, and the hysteresis, is decided per component by each peer's sender.

import type { Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "./grow.ts";
import type { World } from "./world.ts";

/** Candidates reach this much further than the largest radius: the band in which what is visible stays visible. */
export const INTEREST_HYSTERESIS = 1.1;
/** Cells per reach: a viewer looks at 5 x 5 cells, and half of what lies in them is within reach. */
const CELLS_PER_REACH = 2;
const FIRST_CAPACITY = 64;

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

/** The grid over one world. Call `rebuild` once a tick after the last change, then `query` for each viewer. */
export class Interest {
  readonly #world: World;
  /** Metres; 0 when no component has a radius. */
  readonly #reach: number;
  /** Per word of a component set: the components that are visible at any distance. */
  readonly #unlimited: Int32Array;
  readonly #position = new Float64Array(3);
  #capacity = FIRST_CAPACITY;
  #tableSize = FIRST_CAPACITY * 2; // cells of the hash table, a power of two
  // Entities with a position whose components all have a radius; in the order of their slots, then sorted by cell.
  #gridCount = 0;
  #slot = new Int32Array(FIRST_CAPACITY);
  #sorted = new Int32Array(FIRST_CAPACITY); // places in the columns, by cell
  #cell = new Int32Array(FIRST_CAPACITY);
  #cellX = new Int32Array(FIRST_CAPACITY);
  #cellZ = new Int32Array(FIRST_CAPACITY);
  #xyz = new Float64Array(FIRST_CAPACITY * 3);
  #cellStart = new Int32Array(FIRST_CAPACITY * 2 + 1);
  // Entities that come at any distance, with their positions; NaN without one.
  #everywhereCount = 0;
  #everywhere = new Int32Array(FIRST_CAPACITY);
  #everywhereXyz = new Float64Array(FIRST_CAPACITY * 3);

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

  /** Reads all positions anew. */
  rebuild(): void {
    this.#collect();
    const cells = this.#cellStart;
    cells.fill(0);
    for (let i = 0; i < this.#gridCount; i++) {
      const cell = this.#cell[i]!;
      cells[cell + 1] = cells[cell + 1]! + 1;
    }
    for (let cell = 0; cell < this.#tableSize; cell++) cells[cell + 1]! += cells[cell]!;
    // Filling moves each cell's start to its end, which is the next one's start: one shift puts it right.
    for (let i = 0; i < this.#gridCount; i++) {
      const cell = this.#cell[i]!;
      const place = cells[cell]!;
      this.#sorted[place] = i;
      cells[cell] = place + 1;
    }
    cells.copyWithin(1, 0, this.#tableSize);
    cells[0] = 0;
  }

  /**
   * Finds the candidates for a viewer at `position` (metres; undefined: it has none).
   *
   * They are all entities within 1.1 x the largest radius of any component, and at any distance those without a position or with a
   * component without radius. A viewer without position gets only the latter.
   */
  query(position: Float64Array | undefined, out: InterestResult): void {
    out.count = 0;
    for (let i = 0; i < this.#everywhereCount; i++) {
      const distance = distanceSquared(this.#everywhereXyz, i * 3, position);
      push(out, this.#everywhere[i]!, distance);
    }
    if (position === undefined || this.#reach === 0) return;
    const limit = this.#reach * this.#reach;
    const x = this.#cellOf(position[0]!);
    const z = this.#cellOf(position[2]!);
    for (let cellZ = z - CELLS_PER_REACH; cellZ <= z + CELLS_PER_REACH; cellZ++) {
      for (let cellX = x - CELLS_PER_REACH; cellX <= x + CELLS_PER_REACH; cellX++) {
        const cell = this.#hash(cellX, cellZ);
        const end = this.#cellStart[cell + 1]!;
        for (let at = this.#cellStart[cell]!; at < end; at++) {
          const i = this.#sorted[at]!;
          // Several cells of the plane share one of the table.
          if (this.#cellX[i] !== cellX || this.#cellZ[i] !== cellZ) continue;
          const distance = distanceSquared(this.#xyz, i * 3, position);
          if (distance <= limit) push(out, this.#slot[i]!, distance);
        }
      }
    }
  }

  #collect(): void {
    const world = this.#world;
    this.#reserve(world.entityCount);
    this.#gridCount = 0;
    this.#everywhereCount = 0;
    for (let slot = 1; slot <= world.maxSlot; slot++) {
      const id = world.idAt(slot);
      if (id === 0) continue;
      const hasPosition = world.position(id, this.#position);
      if (!hasPosition || this.#isUnlimited(slot)) {
        if (!hasPosition) this.#position.fill(NaN);
        this.#everywhere[this.#everywhereCount] = slot;
        this.#everywhereXyz.set(this.#position, this.#everywhereCount * 3);
        this.#everywhereCount += 1;
        continue;
      }
      const i = this.#gridCount++;
      const x = this.#cellOf(this.#position[0]!);
      const z = this.#cellOf(this.#position[2]!);
      this.#slot[i] = slot;
      this.#cellX[i] = x;
      this.#cellZ[i] = z;
      this.#cell[i] = this.#hash(x, z);
      this.#xyz.set(this.#position, i * 3);
    }
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

  #reserve(needed: number): void {
    if (needed <= this.#capacity) return;
    this.#capacity = grownCapacity(this.#capacity, needed, Infinity);
    while (this.#tableSize < this.#capacity * 2) this.#tableSize *= 2;
    this.#slot = new Int32Array(this.#capacity);
    this.#sorted = new Int32Array(this.#capacity);
    this.#cell = new Int32Array(this.#capacity);
    this.#cellX = new Int32Array(this.#capacity);
    this.#cellZ = new Int32Array(this.#capacity);
    this.#xyz = new Float64Array(this.#capacity * 3);
    this.#cellStart = new Int32Array(this.#tableSize + 1);
    this.#everywhere = new Int32Array(this.#capacity);
    this.#everywhereXyz = new Float64Array(this.#capacity * 3);
  }
}

/** Square of the distance from the viewer to the position at `at`; NaN there means that the entity has none. */
function distanceSquared(xyz: Float64Array, at: number, viewer: Float64Array | undefined): number {
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
