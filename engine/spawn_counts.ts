// How many entities each peer has, in all and with each component, while one batch of the driver is judged: counted once, then kept up to date,
// so that a batch costs what it is long, however much of it is refused. What may be spawned is the gate's question.

import type { ComponentRows, Handle } from "../protocol/engine_messages.ts";
import { MAX_COMPONENTS } from "../protocol/limits.ts";
import type { LinkState } from "./link_state.ts";

const NONE: readonly number[] = [];

/** Counts for one batch. */
export class SpawnCounts {
  readonly #state: LinkState;
  readonly #rows: readonly ComponentRows[];
  #composition: Map<Handle, number[]> | undefined;
  readonly #spawned = new Set<Handle>();
  readonly #owned = new Map<number, number>();
  /** By `owner * MAX_COMPONENTS + component index`. */
  readonly #ownedWith = new Map<number, number>();

  /** Counts what is there when it is first asked; `rows` are the batch's. */
  constructor(state: LinkState, rows: readonly ComponentRows[]) {
    this.#state = state;
    this.#rows = rows;
  }

  /** Indices of the declared components that the batch has rows of for an entity. */
  componentsOf(handle: Handle): readonly number[] {
    this.#composition ??= this.#compose();
    return this.#composition.get(handle) ?? NONE;
  }

  /** Entities of a peer. */
  owned(owner: number): number {
    let count = this.#owned.get(owner);
    if (count === undefined) this.#owned.set(owner, count = this.#state.countOwned(owner));
    return count;
  }

  /** Entities of a peer with a component, those included that the batch has spawned and whose rows are not applied yet. */
  ownedWith(owner: number, component: number): number {
    const key = owner * MAX_COMPONENTS + component;
    let count = this.#ownedWith.get(key);
    if (count === undefined) {
      this.#ownedWith.set(key, count = this.#state.countOwnedWith(owner, component));
    }
    return count;
  }

  /** A spawn with these components was taken. */
  noteSpawn(handle: Handle, owner: number, components: readonly number[]): void {
    this.#spawned.add(handle);
    this.#owned.set(owner, this.owned(owner) + 1);
    for (const component of components) this.noteAdd(owner, component);
  }

  /** Whether the batch spawned this entity: its components were judged with it. */
  isSpawned(handle: Handle): boolean {
    return this.#spawned.has(handle);
  }

  /** A component was added to an entity of a peer. */
  noteAdd(owner: number, component: number): void {
    this.#ownedWith.set(owner * MAX_COMPONENTS + component, this.ownedWith(owner, component) + 1);
  }

  #compose(): Map<Handle, number[]> {
    const composition = new Map<Handle, number[]>();
    for (const { componentId, handles } of this.#rows) {
      const component = this.#state.componentById(componentId);
      if (component === undefined) continue;
      for (const handle of handles) {
        const known = composition.get(handle);
        if (known === undefined) composition.set(handle, [component.index]);
        else if (known.at(-1) !== component.index) known.push(component.index);
      }
    }
    return composition;
  }
}
