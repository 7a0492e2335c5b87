// Entities at rest on one link: the peer holds all that it is shown of them, and the world has not changed them since. Until it does, a tick
// neither reads nor writes their records, and most of what a peer sees rests most of the time. What is due, and when, is the planner's.

import { entitySlot } from "../protocol/entity_id.ts";
import type { Grants } from "../permissions/grants.ts";
import {
  ACKED,
  AT_REST,
  BASE_WORLD_TICK,
  CHANGED,
  ENTITY_FIRST,
  ENTITY_ID,
  ENTITY_MARKS,
  FORCED,
  HEADER_ACKED,
  KNOWN_WORLD_TICK,
  LINK_WORLD_TICK,
  NEVER,
  type TrackPool,
  VALUE_COMPONENT,
  VALUE_MARKS,
  VALUE_NEXT,
  VISIBLE,
} from "./track_pool.ts";
import type { World } from "./world.ts";

/** Of these marks a value that the peer holds has the first alone. */
const HELD_MARKS = ACKED | CHANGED | FORCED;

/**
 * The entities at rest of one link.
 *
 * A record at rest says how things stood at a tick, and they stand so as long as `isStill`. Order of calls: for each record a tick, `isStill`,
 * else `wake` and a look that may end with `tryRest`; then `handleLooked`.
 */
export class RestTracks {
  readonly #pool: TrackPool;
  readonly #world: World;
  /** By component: what is sent of it follows from the world's newest value alone, and not from what else the peer sees. */
  readonly #isFit: readonly boolean[];
  /** Up to this tick the world's changes are known to all records. */
  #lookedTick = NEVER;

  /** A link on which nothing rests yet, and nothing will unless `mayRest`. */
  constructor(pool: TrackPool, grants: Grants, world: World, mayRest: boolean) {
    this.#pool = pool;
    this.#world = world;
    this.#isFit = grants.components.map(({ fields }) =>
      mayRest && fields.every(({ kind }) => kind !== "entity")
    );
  }

  /** Whether the world has not changed what is at rest. */
  isStill(at: number): boolean {
    const slot = entitySlot(this.#pool.entities[at + ENTITY_ID]!);
    return this.#world.changeTick(slot) <= this.#lookedTick;
  }

  /** All records were looked at as of this tick: nothing is written under it any more. */
  handleLooked(tick: number): void {
    this.#lookedTick = tick;
  }

  /** Puts an entity to rest of which nothing is due, if the peer has acknowledged all of it. */
  tryRest(at: number): void {
    const { entities, values } = this.#pool;
    const marks = entities[at + ENTITY_MARKS]!;
    if ((marks & HEADER_ACKED) === 0) return;
    for (let v = entities[at + ENTITY_FIRST]!; v >= 0; v = values[v + VALUE_NEXT]!) {
      const valueMarks = values[v + VALUE_MARKS]!;
      if ((valueMarks & VISIBLE) === 0) continue;
      if ((valueMarks & HELD_MARKS) !== ACKED || !this.#isFit[values[v + VALUE_COMPONENT]!]!) {
        return;
      }
    }
    entities[at + ENTITY_MARKS] = marks | AT_REST;
  }

  /** Ends an entity's rest: its record says again how things stand, as after the last tick looked at. */
  wake(at: number): void {
    const { entities, values } = this.#pool;
    const tick = this.#lookedTick;
    entities[at + ENTITY_MARKS] = entities[at + ENTITY_MARKS]! & ~AT_REST;
    for (let v = entities[at + ENTITY_FIRST]!; v >= 0; v = values[v + VALUE_NEXT]!) {
      if ((values[v + VALUE_MARKS]! & VISIBLE) === 0) continue;
      // The newest version sent is acknowledged, and with it the reference; of what the peer wrote itself there is none.
      values[v + LINK_WORLD_TICK] = tick;
      values[v + BASE_WORLD_TICK] = tick;
      values[v + KNOWN_WORLD_TICK] = tick;
    }
  }
}
