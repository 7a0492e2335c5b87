// What each datagram carried of a peer's state, so that its acknowledgement or loss reaches the right tracks. Flat rings; it neither
// judges nor changes a track.

import { ACK_BLOCK_SPAN, MAX_LOGGED_ENTRIES, SENT_LOG_ENTRIES } from "../protocol/limits.ts";
import type { EntityTrack, ValueTrack } from "./tracks.ts";

const FIRST_CAPACITY = 256;

/** Bytes of one entry: two references, three doubles, three integers. */
export const LOGGED_ENTRY_BYTES = 2 * 8 + 3 * 8 + 3 * 4;

/** An entry of a datagram, as {@linkcode SectionLog.forEach} gives it; one object, reused. */
export interface LoggedEntry {
  entity: EntityTrack;
  /** The component; `undefined` for the entity's header. */
  value: ValueTrack | undefined;
  /** Header version or link version. */
  tick: number;
  worldTick: number;
  nulled: number;
  /** `ValueTrack.versionCount` when the version was made. */
  count: number;
  /** `ValueTrack.linkOffset` of the version. */
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
  #entity: (EntityTrack | undefined)[] = new Array(FIRST_CAPACITY).fill(undefined);
  #value: (ValueTrack | undefined)[] = new Array(FIRST_CAPACITY).fill(undefined);
  #tick = new Float64Array(FIRST_CAPACITY);
  #worldTick = new Float64Array(FIRST_CAPACITY);
  #nulled = new Int32Array(FIRST_CAPACITY);
  #versionCount = new Float64Array(FIRST_CAPACITY);
  #offset = new Int32Array(FIRST_CAPACITY);
  #piece = new Int32Array(FIRST_CAPACITY);
  #head = 0;
  #tail = 0;
  readonly #entry = {} as LoggedEntry;

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

  /** Adds an entry to the datagram begun last. */
  add(
    entity: EntityTrack,
    value: ValueTrack | undefined,
    tick: number,
    piece: number,
  ): void {
    if (this.#head - this.#tail === this.#capacity) {
      if (this.#capacity < MAX_LOGGED_ENTRIES) this.#grow();
      else this.#forgetOldest();
    }
    const at = this.#head & (this.#capacity - 1);
    this.#entity[at] = entity;
    this.#value[at] = value;
    this.#tick[at] = tick;
    this.#worldTick[at] = value?.linkWorldTick ?? 0;
    this.#nulled[at] = value?.linkNulled ?? 0;
    this.#versionCount[at] = value?.versionCount ?? 0;
    this.#offset[at] = value?.linkOffset ?? 0;
    this.#piece[at] = piece;
    this.#head += 1;
    const datagram = this.#newest % SENT_LOG_ENTRIES;
    this.#count[datagram] = this.#count[datagram]! + 1;
  }

  /** Calls `fn` with each entry of a datagram; with none where it carried no state or is too old. */
  forEach(sequence: number, fn: (entry: LoggedEntry, sequence: number) => void): void {
    const datagram = sequence % SENT_LOG_ENTRIES;
    if (sequence < 0 || this.#sequence[datagram] !== sequence) return;
    const entry = this.#entry;
    entry.sentTick = this.#sentTick[datagram]!;
    const start = this.#start[datagram]!;
    const end = start + this.#count[datagram]!;
    for (let position = start; position < end; position++) {
      const at = position & (this.#capacity - 1);
      entry.entity = this.#entity[at]!;
      entry.value = this.#value[at];
      entry.tick = this.#tick[at]!;
      entry.worldTick = this.#worldTick[at]!;
      entry.nulled = this.#nulled[at]!;
      entry.count = this.#versionCount[at]!;
      entry.offset = this.#offset[at]!;
      entry.piece = this.#piece[at]!;
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
    for (; this.#tail < end; this.#tail++) {
      const at = this.#tail & (this.#capacity - 1);
      this.#entity[at] = undefined;
      this.#value[at] = undefined;
    }
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
    const entity: (EntityTrack | undefined)[] = new Array(capacity).fill(undefined);
    const value: (ValueTrack | undefined)[] = new Array(capacity).fill(undefined);
    const tick = new Float64Array(capacity);
    const worldTick = new Float64Array(capacity);
    const nulled = new Int32Array(capacity);
    const versionCount = new Float64Array(capacity);
    const offset = new Int32Array(capacity);
    const piece = new Int32Array(capacity);
    for (let position = this.#tail; position < this.#head; position++) {
      const from = position & (this.#capacity - 1);
      const to = position & (capacity - 1);
      entity[to] = this.#entity[from];
      value[to] = this.#value[from];
      tick[to] = this.#tick[from]!;
      worldTick[to] = this.#worldTick[from]!;
      nulled[to] = this.#nulled[from]!;
      versionCount[to] = this.#versionCount[from]!;
      offset[to] = this.#offset[from]!;
      piece[to] = this.#piece[from]!;
    }
    this.#capacity = capacity;
    this.#entity = entity;
    this.#value = value;
    this.#tick = tick;
    this.#worldTick = worldTick;
    this.#nulled = nulled;
    this.#versionCount = versionCount;
    this.#offset = offset;
    this.#piece = piece;
  }
}
