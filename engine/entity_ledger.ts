// The engine's book of replicated entities: handle, network id, owner, which components the driver knows of, and whether a new driver
// has confirmed them. It holds no values and makes no decisions.

import { assert } from "../protocol/assert.ts";
import { DRIVER_HANDLE_BIT, type Handle } from "../protocol/engine_messages.ts";
import { FIRST_LOCAL_HANDLE } from "./reference_world.ts";

/** One replicated entity. */
export interface EntityRecord {
  /** Its name on the engine link. */
  readonly handle: Handle;
  /** Small dense number for tables beside the ledger. */
  readonly slot: number;
  /** Network id; 0 while the driver has not named it. */
  id: number;
  /** Peer id of the owner; `OWN_UNNAMED` for a client's own entities before it has joined. */
  owner: number;
  /** Owner before this engine gave the entity away: who has it still where the driver cannot do that. */
  formerOwner: number;
  /** Zone that it is in, by its declared id, 0 for none; only the holder of authority knows. */
  zone: number;
  /** The present driver was told of it, or told us of it. */
  isSent: boolean;
  /** Some driver was told of it, or told us of it: others may know it. */
  wasSent: boolean;
  /** False after a driver was lost, until the next one speaks of the entity. */
  isConfirmed: boolean;
  /** Components that the driver knows of, by component index. */
  readonly components: Set<number>;
}

/** Owner of a client's entities while it does not know its own peer id. */
export const OWN_UNNAMED = -1;

/** Whether this engine allotted the handle. */
export function isEngineHandle(handle: Handle): boolean {
  return handle < DRIVER_HANDLE_BIT;
}

/** All replicated entities of one link. */
export class EntityLedger {
  readonly #byHandle = new Map<Handle, EntityRecord>();
  readonly #byId = new Map<number, EntityRecord>();
  readonly #bySlot: (EntityRecord | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  #nextHandle = 1;

  /** Entities held. */
  get size(): number {
    return this.#byHandle.size;
  }

  /** All entities, oldest first. */
  records(): IterableIterator<EntityRecord> {
    return this.#byHandle.values();
  }

  /** The entity of a handle. */
  get(handle: Handle): EntityRecord | undefined {
    return this.#byHandle.get(handle);
  }

  /** The entity with a network id. */
  byId(id: number): EntityRecord | undefined {
    return this.#byId.get(id);
  }

  /** The entity in a slot. */
  bySlot(slot: number): EntityRecord | undefined {
    return this.#bySlot[slot];
  }

  /** A handle of the engine's half that was never used on this link. */
  allotHandle(): Handle {
    assert(this.#nextHandle < FIRST_LOCAL_HANDLE, "an engine allots fewer than 2^30 handles");
    return this.#nextHandle++;
  }

  /** Enters an entity. */
  add(handle: Handle, owner: number): EntityRecord {
    assert(!this.#byHandle.has(handle), "an entity is entered once");
    const slot = this.#freeSlots.pop() ?? this.#bySlot.length;
    const record: EntityRecord = {
      handle,
      slot,
      id: 0,
      owner,
      formerOwner: owner,
      zone: 0,
      isSent: false,
      wasSent: false,
      isConfirmed: true,
      components: new Set(),
    };
    this.#byHandle.set(handle, record);
    this.#bySlot[slot] = record;
    return record;
  }

  /** Sets the network id, 0 for none. The caller has checked that no other entity has it. */
  name(record: EntityRecord, id: number): void {
    if (record.id !== 0) this.#byId.delete(record.id);
    record.id = id;
    if (id !== 0) this.#byId.set(id, record);
  }

  /** Strikes an entity out. */
  remove(record: EntityRecord): void {
    this.name(record, 0);
    this.#byHandle.delete(record.handle);
    this.#bySlot[record.slot] = undefined;
    this.#freeSlots.push(record.slot);
  }
}
