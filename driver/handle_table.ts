// Which handle on the engine link stands for which network id, and the other way round. It allots the driver's own handles; it does
// not know whether an entity is alive.

import { assert } from "../protocol/assert.ts";
import { DRIVER_HANDLE_BIT, type Handle } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";

/** Largest number of a driver's handle, its bit aside. */
const LAST_NUMBER = 0x7fff_ffff;
/** Places to begin at: two million handles lie between two. */
const BOOT_PLACES = 1_024;

/** The two-way table of handles and network ids of one engine link; bounded by the entities alive. */
export class HandleTable {
  readonly #idOf = new Map<Handle, EntityId>();
  readonly #handleOf = new Map<EntityId, Handle>();
  #next = 1;

  /**
   * Begins to allot at a place that depends on the driver's boot: an engine may keep a handle of an entity that is long gone, and another
   * driver's must not mean something else by it.
   */
  startAt(boot: number): void {
    this.#next = 1 + (boot % BOOT_PLACES) * ((LAST_NUMBER + 1) / BOOT_PLACES);
  }

  /** Pairs held. */
  get size(): number {
    return this.#idOf.size;
  }

  /** The network id of a handle, or 0. */
  idOf = (handle: Handle): EntityId => this.#idOf.get(handle) ?? NO_ENTITY;

  /** The handle of a network id, or 0. */
  handleOf = (id: EntityId): Handle => this.#handleOf.get(id) ?? 0;

  /** Notes a pair that the engine named or that an earlier driver made. */
  bind(handle: Handle, id: EntityId): void {
    assert(handle !== 0 && id !== NO_ENTITY, "a bound handle and id are not null");
    this.unbindHandle(handle);
    this.unbindId(id);
    this.#idOf.set(handle, id);
    this.#handleOf.set(id, handle);
  }

  /** The handle of a network id; a new one of the driver's half where it has none yet. */
  allot(id: EntityId): Handle {
    const known = this.#handleOf.get(id);
    if (known !== undefined) return known;
    let handle = 0;
    do {
      handle = (DRIVER_HANDLE_BIT + this.#next) >>> 0;
      this.#next = this.#next === LAST_NUMBER ? 1 : this.#next + 1;
    } while (this.#idOf.has(handle));
    this.#idOf.set(handle, id);
    this.#handleOf.set(id, handle);
    return handle;
  }

  /** Forgets an id and its handle. */
  unbindId(id: EntityId): void {
    const handle = this.#handleOf.get(id);
    if (handle === undefined) return;
    this.#handleOf.delete(id);
    this.#idOf.delete(handle);
  }

  /** Forgets a handle and its id. */
  unbindHandle(handle: Handle): void {
    const id = this.#idOf.get(handle);
    if (id === undefined) return;
    this.#idOf.delete(handle);
    this.#handleOf.delete(id);
  }

  /** Calls `fn` for every pair. */
  forEach(fn: (handle: Handle, id: EntityId) => void): void {
    for (const [handle, id] of this.#idOf) fn(handle, id);
  }

  /** Forgets everything but the counter of allotted handles. */
  clear(): void {
    this.#idOf.clear();
    this.#handleOf.clear();
  }
}
