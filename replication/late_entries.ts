// What was on its way with a cohort when its entity went out of step, so that its acknowledgement or loss still reaches the record. The log of
// datagrams has no entries for what goes in step; these take their place for as long as an acknowledgement may come.

import { MAX_LATE_ENTRIES } from "../protocol/limits.ts";
import type { LoggedEntry } from "./section_log.ts";
import { type TrackPool, VALUE_USE } from "./track_pool.ts";

/** Ticks after which no acknowledgement is waited for. */
const LATE_TICKS = 64;
/** Script memory of an entry. */
export const LATE_ENTRY_BYTES = 128;

interface LateEntry extends LoggedEntry {
  /** Number of the datagram. */
  readonly sequence: number;
  /** Use of the component's record. */
  readonly use: number;
}

/** At most `MAX_LATE_ENTRIES` versions under way; what comes on top is forgotten, and goes again. */
export class LateEntries {
  readonly #pool: TrackPool;
  readonly #entries: LateEntry[] = [];

  /** Entries that name records of `pool`. */
  constructor(pool: TrackPool) {
    this.#pool = pool;
  }

  /** Bytes that they take. */
  get heldBytes(): number {
    return this.#entries.length * LATE_ENTRY_BYTES;
  }

  /** Notes that datagram `sequence` of `tick` carried the version of that tick of the component at `value`; false when there is no room. */
  note(
    sequence: number,
    entity: number,
    value: number,
    tick: number,
    count: number,
    offset: number,
  ): boolean {
    if (this.#entries.length === MAX_LATE_ENTRIES) return false;
    this.#entries.push({
      sequence,
      use: this.#pool.values[value + VALUE_USE]!,
      entity,
      value,
      tick,
      worldTick: tick,
      nulled: 0,
      count,
      offset,
      piece: -1,
      sentTick: tick,
    });
    return true;
  }

  /** Calls `fn` for each version that datagram `sequence` carried; with `isLast` they are forgotten then. */
  forEach(
    sequence: number,
    isLast: boolean,
    fn: (entry: LoggedEntry, sequence: number) => void,
  ): void {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i]!;
      if (entry.sequence !== sequence) continue;
      if (this.#pool.values[entry.value + VALUE_USE] === entry.use) fn(entry, sequence);
      if (isLast) this.#drop(i);
    }
  }

  /** Forgets what no acknowledgement can speak of any more. */
  expire(tick: number): void {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      if (tick - this.#entries[i]!.sentTick >= LATE_TICKS) this.#drop(i);
    }
  }

  #drop(i: number): void {
    const last = this.#entries.pop()!;
    if (i < this.#entries.length) this.#entries[i] = last;
  }
}
