// Who added a component of an entity or wrote to it last, and which of its fields: what a peer may take away by saying no more of it, and what
// it has a say in without reading it. Presence and values are the world's, rights the gate's.

import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import { MAX_COMPONENTS } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "../replication/grow.ts";

const NONE = new Uint32Array(0);
/** Script memory of one entry of a table of numbers; measured, rounded up. */
const UNHEARD_BYTES = 64;

/**
 * The peer that wrote to a component last, or 0 where the server's engine added it and no peer has written since, and the fields that this
 * peer has written. What the engine writes to a component that is there is not noted: the peer goes on knowing of it.
 *
 * A peer that may not read hears nothing: its headers tell of such a component only what it did itself, and in such a field it has a neutral
 * value until it has written another one. Whoever adds a component is noted anew, so that an entry counts for as long as the entity has it.
 */
export class WriterTable {
  /** By component index, then slot; empty where no peer wrote. */
  readonly #peers: Uint32Array[];
  readonly #fields: Uint32Array[];
  readonly #mostSlots: number;
  /** By entity and component, for as long as that is gone: the owner that never heard of the one that the engine took away. */
  readonly #unheard = new Map<number, number>();

  /** A table in which nobody wrote anything. */
  constructor({ components, maxEntities }: Pick<Grants, "components" | "maxEntities">) {
    this.#mostSlots = maxEntities + 1;
    this.#peers = components.map(() => NONE);
    this.#fields = components.map(() => NONE);
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return 2 * this.#peers.reduce((sum, { byteLength }) => sum + byteLength, 0) +
      UNHEARD_BYTES * this.#unheard.size;
  }

  /** `peer` added the component. */
  noteAdded(id: EntityId, c: number, peer: number, fields: number): void {
    if (this.#unheard.size > 0) this.#unheard.delete(id * MAX_COMPONENTS + c);
    const slot = entitySlot(id);
    if (slot >= this.#peers[c]!.length) {
      if (peer === 0) return;
      const capacity = grownCapacity(this.#peers[c]!.length, slot + 1, this.#mostSlots);
      this.#peers[c] = grown(this.#peers[c]!, capacity);
      this.#fields[c] = grown(this.#fields[c]!, capacity);
    }
    this.#peers[c]![slot] = peer;
    this.#fields[c]![slot] = fields;
  }

  /** `peer` wrote fields of a component that is there. */
  noteWritten(id: EntityId, c: number, peer: number, fields: number): void {
    this.noteAdded(id, c, peer, fields | this.fieldsOf(id, c, peer));
  }

  /** The engine took a component away of which its owner has never heard: what that is about to add comes in its place. */
  noteUnheard(id: EntityId, c: number, owner: number): void {
    this.#unheard.set(id * MAX_COMPONENTS + c, owner);
  }

  /** Whether `peer`, which adds a component, may have begun before one that the engine took away was ever there. It is asked once. */
  takeUnheard(id: EntityId, c: number, peer: number): boolean {
    const key = id * MAX_COMPONENTS + c;
    const owner = this.#unheard.get(key);
    this.#unheard.delete(key);
    return owner === peer;
  }

  /** An entity ended. */
  forget(id: EntityId): void {
    if (this.#unheard.size === 0) return;
    for (let c = 0; c < this.#peers.length; c++) this.#unheard.delete(id * MAX_COMPONENTS + c);
  }

  /** Whether `peer` was the last to add it, or of all peers to write to it. */
  isBy(id: EntityId, c: number, peer: number): boolean {
    return (this.#peers[c]![entitySlot(id)] ?? 0) === peer;
  }

  /** Fields that `peer` has written, none when another peer was the last, or the engine has added it since. */
  fieldsOf(id: EntityId, c: number, peer: number): number {
    return this.isBy(id, c, peer) ? this.#fields[c]![entitySlot(id)] ?? 0 : 0;
  }
}
