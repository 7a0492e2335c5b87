// Where the tracks of one link stand: a record of numbers for each entity and each of its components, one after the other in two arrays, so
// that a tick over thousands of them reads memory in a row. Doubles, as ticks go up to 2^32 and -1 is none. Which entity is tracked, and
// what follows from the numbers, is its users' business.

import { grown } from "./grow.ts";
import type { PieceTransfer } from "./piece_transfer.ts";

/** No tick. */
export const NEVER = -1;

// Words of an entity; those that every tick looks at come first.
export const ENTITY_ID = 0;
/** State and marks, see below. */
export const ENTITY_MARKS = 1;
/** `World.headerStamp` at the last whole look, -1: the next look must be a whole one. */
export const ENTITY_STAMP = 2;
/** Tick of the last look that found it. */
export const ENTITY_SEEN = 3;
/** Squared distances between which a look finds the same components visible as the last whole look. */
export const ENTITY_ABOVE = 4;
export const ENTITY_BELOW = 5;
/** The component that goes in step (`step_tracks.ts`): its lens, and its row. */
export const STEP_LENS = 6;
export const STEP_ROW = 7;
/** The component's record, and the cohort with which its versions went, -1 for none. */
export const STEP_VALUE = 8;
export const STEP_COHORT = 9;
/** In step: since this tick. Otherwise from the tick after this one on each version went with its cohort, as far as the count tells. */
export const STEP_SINCE = 10;
/** Versions sent up to then. */
export const STEP_COUNT = 11;
/** Place in the view's order. */
export const ENTITY_PLACE = 12;
/** Record of its first component, -1 without one. */
export const ENTITY_FIRST = 13;
/** Tick of the last sending of anything, and the number of that datagram. */
export const ENTITY_SENT = 14;
export const ENTITY_SEQUENCE = 15;
/** Tick at which its header last changed, at which it was sent last, and the number of that datagram. */
export const HEADER_TICK = 16;
export const HEADER_SENT = 17;
export const HEADER_SEQUENCE = 18;
/** Owner, and epoch from bit 16 on. */
export const ENTITY_OWNER = 19;
/** Since when it is out of view. */
export const ENTITY_OUT = 20;
/** Counts the uses of the record. */
export const ENTITY_USE = 21;
export const ENTITY_WORDS = 22;

// Marks of an entity. The two lowest bits are its state.
export const STATE_MARKS = 3;
export const OWN = 1 << 2;
export const RELEASED = 1 << 3;
export const HEADER_ACKED = 1 << 4;
export const HEADER_LOST = 1 << 5;
export const WAS_SENT = 1 << 6;
/** Two bits: a tick of waiting counts 1, 2 or 4 times. */
export const NEARNESS_SHIFT = 7;
export const NEARNESS_MARKS: number = 3 << NEARNESS_SHIFT;
/** One of its components goes in step: the record of that component says nothing until it is out of step. */
export const IN_STEP = 1 << 9;
export const HAS_OTHERS = 1 << 10;
/** The peer holds all of it, and the world has not changed it: its record says how things stood when it came to rest (`rest_tracks.ts`). */
export const AT_REST = 1 << 11;

// Words of a component.
/** Marks, see below. */
export const VALUE_MARKS = 0;
export const VALUE_COMPONENT = 1;
/** Fields this peer is sent. */
export const VALUE_MASK = 2;
/** Row in the component's store at the last whole look. */
export const VALUE_ROW = 3;
/** The record of the entity's next component, -1 at the end. */
export const VALUE_NEXT = 4;
/**
 * The newest version sent: its name, the latest tick at which the world's newest version is known to have had its contents, the entity fields
 * (mask) that were sent as null in it.
 */
export const LINK_TICK = 5;
export const LINK_WORLD_TICK = 6;
export const LINK_NULLED = 7;
/** Versions sent so far. */
export const VERSION_COUNT = 8;
/** Tick of its last sending, and the number of that datagram. */
export const VALUE_SENT = 9;
export const VALUE_SEQUENCE = 10;
/** What the peer has or is about to have, the newest version sent or what it wrote itself: tick of a world version with these contents. */
export const KNOWN_TICK = 11;
/** Writes that had made that world version by then: another one in the same tick makes it another value. */
export const KNOWN_WRITES = 12;
export const KNOWN_NULLED = 13;
/** The newest acknowledged version, the reference, with a tick as that of the newest one sent, and how many versions had been sent with it. */
export const BASE_TICK = 14;
export const BASE_WORLD_TICK = 15;
export const BASE_NULLED = 16;
export const BASE_COUNT = 17;
/** Acknowledged versions before it: bit `i` for the one `i + 1` ticks older (`acked_history.ts`). */
export const ACKED_BEFORE = 18;
/** Tick of the first version sent after the reference. */
export const AFTER_BASE_TICK = 19;
/** Acknowledgements of older versions say nothing any more. */
export const VALID_FROM = 20;
/** When it left the view, until the header that shows it again was acknowledged. */
export const HIDDEN_TICK = 21;
/** Tick of the last whole look that found the component. */
export const VALUE_SEEN = 22;
/** Counts the uses of the record. */
export const VALUE_USE = 23;
/** Sub-ticks from the sample time to the start of the tick, as they were sent: of the newest version, and of the reference. */
export const LINK_OFFSET = 24;
export const BASE_OFFSET = 25;
/** Latest tick at which the world's newest version is known to have had the contents of the known one. */
export const KNOWN_WORLD_TICK = 26;
export const VALUE_WORDS = 27;

// Marks of a component.
export const VISIBLE = 1;
export const ACKED = 1 << 1;
export const LOST = 1 << 2;
export const SYNCED = 1 << 3;
/** The newest value must go out as a new, absolute version, whether it changed or not. */
export const FORCED = 1 << 4;
/** The world has another value than the known one. */
export const CHANGED = 1 << 5;
/** A large value is on its way. */
export const IN_PIECES = 1 << 6;
/** It takes one of the link's places for large values. */
export const HOLDS_PLACE = 1 << 7;
/** Some version was acknowledged, whatever became of it. */
export const WAS_ACKED = 1 << 8;

const FIRST_RECORDS = 16;

/** Bytes of an entity in the arrays of one link, its places in the view's lists and its table of slots counted. */
export const ENTITY_RECORD_BYTES: number = 8 * ENTITY_WORDS + 4 + 2 * 4 + 4 * 8;
/** Bytes of a component. */
export const VALUE_RECORD_BYTES: number = 8 * VALUE_WORDS + 8;

/** Records of entities and components; each is named by the place of its first word. */
export class TrackPool {
  /** Words of all entities; replaced when it grows: do not keep it over an `allocate`. */
  entities: Float64Array = new Float64Array(FIRST_RECORDS * ENTITY_WORDS);
  /** Words of all components, as `entities`. */
  values: Float64Array = new Float64Array(FIRST_RECORDS * VALUE_WORDS);
  /** By component's record: the first tick at which the rate allows another version. */
  rateTicks: Float64Array = new Float64Array(FIRST_RECORDS);
  /** By component's record: a large value on its way. */
  readonly transfers: Map<number, PieceTransfer> = new Map();
  #entityEnd = 0;
  #valueEnd = 0;
  readonly #freeEntities: number[] = [];
  readonly #freeValues: number[] = [];

  /** Bytes that it takes. */
  get heldBytes(): number {
    return this.entities.byteLength + this.values.byteLength + this.rateTicks.byteLength;
  }

  /** A record of an entity of which nothing was sent. */
  allocateEntity(): number {
    let at = this.#freeEntities.pop();
    if (at === undefined) {
      at = this.#entityEnd;
      this.#entityEnd += ENTITY_WORDS;
      if (at === this.entities.length) {
        this.entities = grown(this.entities, 2 * at);
      }
    }
    const words = this.entities;
    const use = words[at + ENTITY_USE]!;
    words.fill(NEVER, at, at + ENTITY_WORDS);
    words[at + ENTITY_MARKS] = 0;
    words[at + ENTITY_OWNER] = 0;
    words[at + ENTITY_USE] = use + 1;
    return at;
  }

  /** Takes a record back: what is said of it by its use before means nothing any more. */
  freeEntity(at: number): void {
    this.entities[at + ENTITY_USE]! += 1;
    this.#freeEntities.push(at);
  }

  /** A record of a component of which nothing was sent. */
  allocateValue(component: number): number {
    let at = this.#freeValues.pop();
    if (at === undefined) {
      at = this.#valueEnd;
      this.#valueEnd += VALUE_WORDS;
      if (at === this.values.length) {
        this.values = grown(this.values, 2 * at);
        this.rateTicks = grown(this.rateTicks, 2 * this.rateTicks.length);
      }
    }
    const words = this.values;
    const use = words[at + VALUE_USE]!;
    words.fill(NEVER, at, at + VALUE_WORDS);
    words[at + VALUE_MARKS] = 0;
    words[at + VALUE_COMPONENT] = component;
    words[at + VALUE_MASK] = 0;
    words[at + LINK_NULLED] = 0;
    words[at + VERSION_COUNT] = 0;
    words[at + KNOWN_WRITES] = 0;
    words[at + KNOWN_NULLED] = 0;
    words[at + BASE_NULLED] = 0;
    words[at + BASE_COUNT] = 0;
    words[at + ACKED_BEFORE] = 0;
    words[at + VALID_FROM] = 0;
    words[at + LINK_OFFSET] = 0;
    words[at + BASE_OFFSET] = 0;
    words[at + VALUE_USE] = use + 1;
    this.rateTicks[at / VALUE_WORDS] = 0;
    return at;
  }

  /** Takes a record back, as `freeEntity`. */
  freeValue(at: number): void {
    this.values[at + VALUE_USE]! += 1;
    this.transfers.delete(at);
    this.#freeValues.push(at);
  }
}
