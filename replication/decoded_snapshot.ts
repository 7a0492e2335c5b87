// What a snapshot section said, as flat records that are used again for the next one. Data only: `section_parser.ts` fills it,
// `snapshot_receiver.ts` holds it, and the driver's core reads it.

import type { EntityId } from "../protocol/entity_id.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { type ComponentValue, createValue } from "./value.ts";

/** One header or value of a section. Fields of the other kind mean nothing. */
export interface SnapshotEntry {
  /** What it is. */
  kind: "header" | "value";
  /** The entity. */
  id: EntityId;
  /** Header: what became of the entity. `outOfView` and `gone` say nothing else but the id. */
  state: "alive" | "gone" | "outOfView";
  /** Header: owner, a peer id. */
  owner: number;
  /** Header: epoch of authority. Value: `up`, the epoch its writer knew; `down`, that of the newest header (0 before the first). */
  epoch: number;
  /** Header: indices of the components that are shown, ascending. */
  readonly visible: number[];
  /** Header: indices of components that exist but left the view, ascending. Those in neither list were removed. */
  readonly hidden: number[];
  /** Value: component index. */
  component: number;
  /** Value: fields that differ from the newest value held before; all fields present where the value came absolute; 0 if not fresh. */
  mask: number;
  /** Value: the whole value; lanes and blobs of fields outside `held` are 0 and empty. Valid until the next `decode`. */
  value: ComponentValue;
  /** Value: fields present. */
  held: number;
  /** Value: name of the version on this link, the tick of its first sending. */
  versionTick: number;
  /** Value: tick of the version it was coded against, -1 where it came absolute. */
  reference: number;
  /** Value: sample time. */
  time: TimelineTime;
  /** Newer than what is held. A value that is not is kept as a reference at most and must not be applied. */
  fresh: boolean;
}

/** One piece of a large value that did not complete it. */
export interface DecodedPiece {
  id: EntityId;
  component: number;
  versionTick: number;
  time: TimelineTime;
  totalBytes: number;
  count: number;
  piece: number;
  bytes: Uint8Array;
}

/** What one section said. The receiver's one result object; valid until its next `decode`. */
export interface DecodedSnapshot {
  /** Entries in use: those from `count` on are left over from earlier sections. */
  count: number;
  /** Entries by ascending entity id, a header before the values of its entity. */
  readonly entries: SnapshotEntry[];
  /** Tick of the datagram. */
  tick: number;
  /** Pieces of values not yet whole. */
  readonly pieces: DecodedPiece[];
  /** Vectors and rotations among the values that were foretold: what most of the work of decoding is. */
  vectors: number;
}

/** Hands out entries and values for one section after the other without allocating new ones. */
export class DecodedPool {
  /** The section being filled. */
  readonly result: DecodedSnapshot = { count: 0, entries: [], tick: 0, pieces: [], vectors: 0 };
  readonly #components: readonly ComponentGrant[];
  readonly #values: ComponentValue[][];
  readonly #used: Int32Array;

  /** A pool for values of these components. */
  constructor(components: readonly ComponentGrant[]) {
    this.#components = components;
    this.#values = components.map(() => []);
    this.#used = new Int32Array(components.length);
  }

  /** Begins a section. */
  begin(tick: number): void {
    this.result.count = 0;
    this.result.tick = tick;
    this.result.pieces.length = 0;
    this.result.vectors = 0;
    this.#used.fill(0);
  }

  /** The next entry. */
  nextEntry(kind: "header" | "value", id: EntityId): SnapshotEntry {
    const { result } = this;
    let entry = result.entries[result.count];
    if (entry === undefined) {
      entry = {
        kind,
        id,
        state: "alive",
        owner: 0,
        epoch: 0,
        visible: [],
        hidden: [],
        component: 0,
        mask: 0,
        value: EMPTY_VALUE,
        held: 0,
        versionTick: 0,
        reference: -1,
        time: 0,
        fresh: false,
      };
      result.entries.push(entry);
    }
    result.count += 1;
    entry.kind = kind;
    entry.id = id;
    // Setting a length is slow, and nearly all entries are values.
    if (entry.visible.length > 0) entry.visible.length = 0;
    if (entry.hidden.length > 0) entry.hidden.length = 0;
    return entry;
  }

  /** An unused value of a component. */
  nextValue(component: number): ComponentValue {
    const values = this.#values[component]!;
    const at = this.#used[component]!;
    this.#used[component] = at + 1;
    return values[at] ??= createValue(this.#components[component]!);
  }

  /** Erases what is left of earlier sections. */
  erase(): void {
    this.begin(0);
    for (const values of this.#values) values.length = 0;
    for (const entry of this.result.entries) entry.value = EMPTY_VALUE;
  }
}

const EMPTY_VALUE: ComponentValue = { lanes: new Int32Array(0), blobs: [] };
