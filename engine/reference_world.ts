// A small ECS world: components as plain objects, by name and handle, with change detection by one bit an entity and component. It is
// meant for examples, tests and small games. It knows no manifest: components that nobody declared live here like any other.

import { assert } from "../protocol/assert.ts";
import type { Handle } from "../protocol/engine_messages.ts";
import type { ComponentValues, FieldValue } from "./values.ts";
import type { ChangeVisitor, WorldAdapter } from "./world_adapter.ts";

/** First handle of entities that only this world knows; the link allots its own below. */
export const FIRST_LOCAL_HANDLE = 0x4000_0000;

interface Column {
  readonly name: string;
  /** Values by slot. */
  readonly values: (Record<string, FieldValue> | undefined)[];
  /** Fields that game code set since the last `takeChanges`, by slot; only slots with a bit in `dirty` mean anything. */
  readonly changed: (Set<string> | undefined)[];
  /** One bit a slot: changed or removed by game code. */
  dirty: Uint32Array;
}

/** A world of entities with named components. Writing through it is how game code changes anything. */
export class ReferenceWorld implements WorldAdapter {
  readonly #slotOf = new Map<Handle, number>();
  readonly #handleAt: (Handle | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #columns = new Map<string, Column>();
  #nextLocal = FIRST_LOCAL_HANDLE;

  /** Entities alive. */
  get size(): number {
    return this.#slotOf.size;
  }

  /** Handles of all entities alive. */
  handles(): IterableIterator<Handle> {
    return this.#slotOf.keys();
  }

  /** Makes an entity that no link knows; it is never replicated. */
  createLocal(): Handle {
    const handle = this.#nextLocal++;
    this.create(handle);
    return handle;
  }

  /** Whether the entity is alive. */
  has(handle: Handle): boolean {
    return this.#slotOf.has(handle);
  }

  /** Sets fields of a component as game code: the change is reported by {@linkcode takeChanges}. */
  set(handle: Handle, component: string, values: ComponentValues): void {
    const slot = this.#slotOf.get(handle);
    if (slot === undefined) return;
    const column = this.#merge(slot, component, values);
    const changed = column.changed[slot] ??= new Set();
    for (const name of Object.keys(values)) changed.add(name);
    setBit(column, slot);
  }

  /** Takes a component away as game code. */
  unset(handle: Handle, component: string): void {
    const slot = this.#slotOf.get(handle);
    const column = this.#columns.get(component);
    if (slot === undefined || column?.values[slot] === undefined) return;
    column.values[slot] = undefined;
    column.changed[slot] = undefined;
    setBit(column, slot);
  }

  /** Names of the components that an entity has. */
  componentsOf(handle: Handle): string[] {
    const slot = this.#slotOf.get(handle);
    if (slot === undefined) return [];
    const names: string[] = [];
    for (const column of this.#columns.values()) {
      if (column.values[slot] !== undefined) names.push(column.name);
    }
    return names;
  }

  create(handle: Handle): void {
    assert(!this.#slotOf.has(handle), "a new entity's handle is free");
    const slot = this.#freeSlots.pop() ?? this.#handleAt.length;
    this.#slotOf.set(handle, slot);
    this.#handleAt[slot] = handle;
  }

  destroy(handle: Handle): void {
    const slot = this.#slotOf.get(handle);
    if (slot === undefined) return;
    for (const column of this.#columns.values()) {
      column.values[slot] = undefined;
      column.changed[slot] = undefined;
      clearBit(column, slot);
    }
    this.#slotOf.delete(handle);
    this.#handleAt[slot] = undefined;
    this.#freeSlots.push(slot);
  }

  read(handle: Handle, component: string): ComponentValues | undefined {
    const slot = this.#slotOf.get(handle);
    return slot === undefined ? undefined : this.#columns.get(component)?.values[slot];
  }

  write(handle: Handle, component: string, values: ComponentValues): void {
    const slot = this.#slotOf.get(handle);
    if (slot !== undefined) this.#merge(slot, component, values);
  }

  remove(handle: Handle, component: string): void {
    const slot = this.#slotOf.get(handle);
    const column = this.#columns.get(component);
    if (slot === undefined || column === undefined) return;
    column.values[slot] = undefined;
    column.changed[slot] = undefined;
    clearBit(column, slot);
  }

  takeChanges(visitor: ChangeVisitor): void {
    for (const column of this.#columns.values()) {
      for (let word = 0; word < column.dirty.length; word++) {
        let bits = column.dirty[word]!;
        column.dirty[word] = 0;
        while (bits !== 0) {
          const bit = 31 - Math.clz32(bits & -bits);
          bits &= bits - 1;
          const slot = word * 32 + bit;
          const handle = this.#handleAt[slot]!;
          const changed = column.changed[slot];
          column.changed[slot] = undefined;
          if (changed === undefined) visitor.removed(handle, column.name);
          else visitor.changed(handle, column.name, [...changed]);
        }
      }
    }
  }

  #merge(slot: number, component: string, values: ComponentValues): Column {
    let column = this.#columns.get(component);
    if (column === undefined) {
      column = { name: component, values: [], changed: [], dirty: new Uint32Array(8) };
      this.#columns.set(component, column);
    }
    const held = column.values[slot];
    if (held === undefined) column.values[slot] = { ...values };
    else Object.assign(held, values);
    return column;
  }
}

function setBit(column: Column, slot: number): void {
  const word = slot >>> 5;
  if (word >= column.dirty.length) {
    const grown = new Uint32Array(Math.max(word + 1, column.dirty.length * 2));
    grown.set(column.dirty);
    column.dirty = grown;
  }
  column.dirty[word] = column.dirty[word]! | (1 << (slot & 31));
}

function clearBit(column: Column, slot: number): void {
  const word = slot >>> 5;
  if (word < column.dirty.length) column.dirty[word] = column.dirty[word]! & ~(1 << (slot & 31));
}
