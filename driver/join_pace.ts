// How fast a server lets newcomers in: the work of showing a world to somebody new is bounded a second, so that those who are there get their
// ticks in time. It decides when the next one may come in, not who that is.

import { JOIN_BASE_ROWS, JOIN_ROWS_BURST, JOIN_ROWS_PER_S } from "../protocol/limits.ts";

/**
 * The pace of one server's joins.
 *
 * A join costs about what its peer will be shown, entity by entity. How much that is, is known only once it sees; what those who are there see
 * on average is taken for it, and without anybody the whole world.
 *
 * Order of calls: `handleTick` once a tick; `mayAdmit`, then `charge` for each that is next, and `giveBack` where it does not come in after all;
 * `handleResumed` for each that takes up its place, and waits for nobody.
 */
export class JoinPace {
  #rows = JOIN_ROWS_BURST;
  #savedMs = -Infinity;
  #seen = 0;
  #viewers = 0;

  /** A tick's views are made: `viewers` peers are shown so many entities, added up. */
  handleTick(seen: number, viewers: number): void {
    this.#seen = seen;
    this.#viewers = viewers;
  }

  /** Whether one more may come in now. */
  mayAdmit(nowMs: number): boolean {
    const earned = Math.max(0, nowMs - this.#savedMs) * JOIN_ROWS_PER_S / 1000;
    this.#rows = Math.min(JOIN_ROWS_BURST, this.#rows + earned);
    this.#savedMs = nowMs;
    return this.#rows > 0;
  }

  /** Somebody is next, to a world with so many entities: counts what that costs before it is known whether it is let in. Returns it. */
  charge(entities: number): number {
    const rows = this.#costOf(entities);
    this.#rows -= rows;
    return rows;
  }

  /** Who was charged so much is not let in. */
  giveBack(rows: number): void {
    this.#rows = Math.min(JOIN_ROWS_BURST, this.#rows + rows);
  }

  /** Somebody took up its place again. Those who do so all the time keep newcomers waiting for one burst's time, not for ever. */
  handleResumed(entities: number): void {
    const least = Math.min(this.#rows, -JOIN_ROWS_BURST);
    this.#rows = Math.max(least, this.#rows - this.#costOf(entities));
  }

  #costOf(entities: number): number {
    return JOIN_BASE_ROWS + (this.#viewers === 0 ? entities : this.#seen / this.#viewers);
  }
}
