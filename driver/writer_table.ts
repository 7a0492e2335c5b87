// Who added a component of an entity or wrote to it last, and which of its fields: what a peer may take away by saying no more of it, and what
// it has a say in without reading it. Presence and values are the world's, rights the gate's.

import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import type { Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "../replication/grow.ts";

const NONE = new Uint32Array(0);

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

  /** A table in which nobody wrote anything. */
  constructor({ components, maxEntities }: Pick<Grants, "components" | "maxEntities">) {
    this.#mostSlots = maxEntities + 1;
    this.#peers = components.map(() => NONE);
    this.#fields = components.map(() => NONE);
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return 2 * this.#peers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** `peer` added the component. */
  noteAdded(id: EntityId, c: number, peer: number, fields: number): void {
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

  /** Whether `peer` was the last to add it, or of all peers to write to it. */
  isBy(id: EntityId, c: number, peer: number): boolean {
    return (this.#peers[c]![entitySlot(id)] ?? 0) === peer;
  }

  /** Fields that `peer` has written, none when another peer was the last, or the engine has added it since. */
  fieldsOf(id: EntityId, c: number, peer: number): number {
    return this.isBy(id, c, peer) ? this.#fields[c]![entitySlot(id)] ?? 0 : 0;
  }
}
