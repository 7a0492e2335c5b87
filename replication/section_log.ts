// What each datagram carried of a peer's state, so that its acknowledgement or loss reaches the right tracks. Flat rings; it neither
// judges nor changes a track.

import { ACK_BLOCK_SPAN, MAX_LOGGED_ENTRIES, SENT_LOG_ENTRIES } from "../protocol/limits.ts";
import { grown } from "./grow.ts";
import {
  ENTITY_USE,
  LINK_NULLED,
  LINK_OFFSET,
  LINK_WORLD_TICK,
  type TrackPool,
  VALUE_USE,
  VERSION_COUNT,
} from "./track_pool.ts";

const FIRST_CAPACITY = 256;

// Words of an entry.
/** Record of the entity, and its use. */
const ENTITY = 0;
const ENTITY_USED = 1;
/** Record of the component, -1 for the entity's header, and its use. */
const VALUE = 2;
const VALUE_USED = 3;
const TICK = 4;
const WORLD_TICK = 5;
const NULLED = 6;
const COUNT = 7;
const PIECE = 8;
const OFFSET = 9;
const WORDS = 10;
/** Bytes of one entry. */
export const LOGGED_ENTRY_BYTES: number = WORDS * 4;

/** An entry of a datagram, as {@linkcode SectionLog.forEach} gives it; one object, reused. */
export interface LoggedEntry {
  /** Record of the entity. */
  entity: number;
  /** Record of the component; -1 for the entity's header. */
  value: number;
  /** Header version or link version. */
  tick: number;
  worldTick: number;
  nulled: number;
  /** Versions sent when this one was made. */
  count: number;
  /** Sub-ticks from the version's sample time to the start of its tick. */
  offset: number;
  /** Number of the piece, -1 for a whole value. */
  piece: number;
  /** Tick of the datagram. */
  sentTick: number;
}

/**
 * Remembers the entries of the newest datagrams, as many as the acknowledgements may speak of and none has settled yet; of more than
 * `MAX_LOGGED_ENTRIES` entries the oldest datagrams are forgotten. What such a one carried counts as not acknowledged, and goes again.
 */
export class SectionLog {
  /** The records that its entries name. */
  readonly pool: TrackPool;
  // Datagrams, by sequence number.
  readonly #sequence = new Float64Array(SENT_LOG_ENTRIES).fill(-1);
  readonly #sentTick = new Float64Array(SENT_LOG_ENTRIES);
  readonly #start = new Float64Array(SENT_LOG_ENTRIES);
  readonly #count = new Int32Array(SENT_LOG_ENTRIES);
  /** Given up as lost; a late acknowledgement may still come, until none can speak of it. */
  readonly #isLost = new Uint8Array(SENT_LOG_ENTRIES);
  #newest = -1;
  /** No datagram before this one holds entries. */
  #oldest = 0;
  // Entries, a ring of a power of two; positions count on and on.
  #capacity = FIRST_CAPACITY;
  #words = new Int32Array(FIRST_CAPACITY * WORDS);
  #head = 0;
  #tail = 0;
  readonly #entry: LoggedEntry = {
    entity: 0,
    value: 0,
    tick: 0,
    worldTick: 0,
    nulled: 0,
    count: 0,
    offset: 0,
    piece: 0,
    sentTick: 0,
  };

  /** A log of entries that name records of `pool`. */
  constructor(pool: TrackPool) {
    this.pool = pool;
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return SENT_LOG_ENTRIES * 29 + this.#capacity * LOGGED_ENTRY_BYTES;
  }

  /** Begins the record of a datagram; sequence numbers only grow. */
  begin(sequence: number, tick: number): void {
    this.#newest = sequence;
    this.#release();
    const at = sequence % SENT_LOG_ENTRIES;
    this.#sequence[at] = sequence;
    this.#sentTick[at] = tick;
    this.#start[at] = this.#head;
    this.#count[at] = 0;
    this.#isLost[at] = 0;
  }

  /** Adds an entry to the datagram begun last: the header of an entity, or with `value` 0 or above a component. */
  add(entity: number, value: number, tick: number, piece: number): void {
    if (this.#head - this.#tail === this.#capacity) {
      if (this.#capacity < MAX_LOGGED_ENTRIES) this.#grow();
      else this.#forgetOldest();
    }
    const at = (this.#head & (this.#capacity - 1)) * WORDS;
    const words = this.#words;
    words[at + ENTITY] = entity;
    words[at + ENTITY_USED] = this.pool.entities[entity + ENTITY_USE]!;
    words[at + VALUE] = value;
    if (value >= 0) {
      const { values } = this.pool;
      words[at + VALUE_USED] = values[value + VALUE_USE]!;
      words[at + WORLD_TICK] = values[value + LINK_WORLD_TICK]!;
      words[at + NULLED] = values[value + LINK_NULLED]!;
      words[at + COUNT] = values[value + VERSION_COUNT]!;
      words[at + OFFSET] = values[value + LINK_OFFSET]!;
    }
    words[at + TICK] = tick;
    words[at + PIECE] = piece;
    this.#head += 1;
    const datagram = this.#newest % SENT_LOG_ENTRIES;
    this.#count[datagram] = this.#count[datagram]! + 1;
  }

  /**
   * Calls `fn` with each entry of a datagram that names what is still tracked; with none where it carried no state or is too old.
   */
  forEach(sequence: number, fn: (entry: LoggedEntry, sequence: number) => void): void {
    const datagram = sequence % SENT_LOG_ENTRIES;
    if (sequence < 0 || this.#sequence[datagram] !== sequence) return;
    const { entities, values } = this.pool;
    const words = this.#words;
    const entry = this.#entry;
    entry.sentTick = this.#sentTick[datagram]!;
    const start = this.#start[datagram]!;
    const end = start + this.#count[datagram]!;
    for (let position = start; position < end; position++) {
      const at = (position & (this.#capacity - 1)) * WORDS;
      const entity = words[at + ENTITY]!;
      const value = words[at + VALUE]!;
      if (value < 0) {
        if (entities[entity + ENTITY_USE] !== words[at + ENTITY_USED]) continue;
      } else if (values[value + VALUE_USE] !== words[at + VALUE_USED]) continue;
      entry.entity = entity;
      entry.value = value;
      // Ticks go up to 2^32.
      entry.tick = words[at + TICK]! >>> 0;
      entry.worldTick = words[at + WORLD_TICK]! >>> 0;
      entry.nulled = words[at + NULLED]!;
      entry.count = words[at + COUNT]!;
      entry.offset = words[at + OFFSET]!;
      entry.piece = words[at + PIECE]!;
      fn(entry, sequence);
    }
  }

  /** The datagram was acknowledged: nothing asks for its entries again. */
  handleAcked(sequence: number): void {
    const at = sequence % SENT_LOG_ENTRIES;
    if (this.#sequence[at] !== sequence) return;
    this.#sequence[at] = -1;
    this.#release();
  }

  /** The datagram was given up as lost. */
  handleLost(sequence: number): void {
    const at = sequence % SENT_LOG_ENTRIES;
    if (this.#sequence[at] === sequence) this.#isLost[at] = 1;
  }

  /** Frees entries in the order in which they came: acknowledged ones, and those that no acknowledgement can speak of any more. */
  #release(): void {
    for (; this.#oldest < this.#newest; this.#oldest++) {
      const at = this.#oldest % SENT_LOG_ENTRIES;
      if (this.#sequence[at] !== this.#oldest) continue;
      const age = this.#newest - this.#oldest;
      if (age < (this.#isLost[at] === 1 ? ACK_BLOCK_SPAN : SENT_LOG_ENTRIES)) break;
      this.#sequence[at] = -1;
    }
    const first = this.#oldest % SENT_LOG_ENTRIES;
    const end = this.#sequence[first] === this.#oldest ? this.#start[first]! : this.#head;
    if (this.#tail < end) this.#tail = end;
  }

  /** Makes room by the oldest datagram that has entries; the newest one alone can never fill the ring. */
  #forgetOldest(): void {
    while (this.#head - this.#tail === this.#capacity) {
      this.#sequence[this.#oldest % SENT_LOG_ENTRIES] = -1;
      this.#release();
    }
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    const words = grown(this.#words, capacity * WORDS);
    for (let position = this.#tail; position < this.#head; position++) {
      const from = (position & (this.#capacity - 1)) * WORDS;
      words.set(
        this.#words.subarray(from, from + WORDS),
        (position & (capacity - 1)) * WORDS,
      );
    }
    this.#capacity = capacity;
    this.#words = words;
  }
}
