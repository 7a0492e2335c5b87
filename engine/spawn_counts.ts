// How many entities each peer has, in all and with each component, while one batch of the driver is judged: counted once, then kept up to date,
// so that a batch costs what it is long, however much of it is refused. What may be spawned is the gate's question.

import type { ComponentRows, Handle } from "../protocol/engine_messages.ts";
import { MAX_COMPONENTS } from "../protocol/limits.ts";
import type { LinkState } from "./link_state.ts";

const NONE: readonly number[] = [];
/** Looks through all entities for the count of one peer, before all peers' are taken in one. */
const MOST_LOOKS = 8;

/** Counts for one batch. */
export class SpawnCounts {
  readonly #state: LinkState;
  readonly #rows: readonly ComponentRows[];
  #composition: Map<Handle, number[]> | undefined;
  readonly #spawned = new Set<Handle>();
  readonly #owned = new Map<number, number>();
  /** By `owner * MAX_COMPONENTS + component index`. */
  readonly #ownedWith = new Map<number, number>();
  #looks = 0;

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
    if (count === undefined) {
      if (this.#isOften()) return this.#owned.get(owner) ?? 0;
      this.#owned.set(owner, count = this.#state.countOwned(owner));
    }
    return count;
  }

  /** Entities of a peer with a component, those included that the batch has spawned and whose rows are not applied yet. */
  ownedWith(owner: number, component: number): number {
    const key = owner * MAX_COMPONENTS + component;
    let count = this.#ownedWith.get(key);
    if (count === undefined) {
      if (this.#isOften()) return this.#ownedWith.get(key) ?? 0;
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

  /** Whether so many counts were asked for that all are taken now: a batch with spawns of many peers looks through the world but once more. */
  #isOften(): boolean {
    this.#looks += 1;
    if (this.#looks === MOST_LOOKS) this.#countAll();
    return this.#looks >= MOST_LOOKS;
  }

  /** Counts for every peer and component at once; what is known already stays, as it says what the batch has added. */
  #countAll(): void {
    const { ledger, grants, world } = this.#state;
    const owned = new Map<number, number>();
    const ownedWith = new Map<number, number>();
    const add = (counts: Map<number, number>, key: number) =>
      void counts.set(key, (counts.get(key) ?? 0) + 1);
    for (const { owner, handle } of ledger.records()) {
      add(owned, owner);
      for (const { index, name } of grants.components) {
        if (world.read(handle, name) !== undefined) add(ownedWith, owner * MAX_COMPONENTS + index);
      }
    }
    for (const [key, count] of owned) if (!this.#owned.has(key)) this.#owned.set(key, count);
    for (const [key, count] of ownedWith) {
      if (!this.#ownedWith.has(key)) this.#ownedWith.set(key, count);
    }
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
