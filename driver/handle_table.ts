// Which handle on the engine link stands for which network id, and the other way round. It allots the driver's own handles; it does
// not know whether an entity is alive.

import { assert } from "../protocol/assert.ts";
import { DRIVER_HANDLE_BIT, type Handle } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";

/** The two-way table of handles and network ids of one engine link; bounded by the entities alive. */
export class HandleTable {
  readonly #idOf = new Map<Handle, EntityId>();
  readonly #handleOf = new Map<EntityId, Handle>();
  #next = 1;

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
    if (handle >= DRIVER_HANDLE_BIT) {
      this.#next = Math.max(this.#next, handle - DRIVER_HANDLE_BIT + 1);
    }
  }

  /** The handle of a network id; a new one of the driver's half where it has none yet. */
  allot(id: EntityId): Handle {
    const known = this.#handleOf.get(id);
    if (known !== undefined) return known;
    assert(this.#next < 0x7fff_ffff, "a driver allots fewer than 2^31 handles in its life");
    const handle = (DRIVER_HANDLE_BIT + this.#next) >>> 0;
    this.#next += 1;
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
