// When a client may send state: about once a tick, and so that it does not arrive at the very moment of the server's own tick. Pure
// arithmetic on the timeline; what is sent, and the clock, belong to the core.

import { SEND_GUARD_MS } from "../protocol/limits.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";

/**
 * The slots of one client.
 *
 * A slot is a tick of the server as seen through the path: it begins where what is sent arrives a guard's time after a tick. News goes at
 * once, but for the last two guards before the next slot, where it waits for that: timers that jitter by less than the guard then never
 * make two updates fall into one tick of the server and none into the next. A slot may be used one early, so that an engine which came
 * late once is not a tick behind for ever. Without news a slot is used at its end, for acknowledgements and repeats.
 */
export class SendSlots {
  readonly #subticksPerMs: number;
  readonly #guard: number;
  #last = 0;

  /** @param tickHz Ticks a second of the world. */
  constructor(tickHz: number) {
    this.#subticksPerMs = tickHz * SUBTICKS / 1000;
    this.#guard = Math.min(SEND_GUARD_MS * this.#subticksPerMs, SUBTICKS / 6);
  }

  /** The last slot used; state written now belongs to a later one. */
  get last(): number {
    return this.#last;
  }

  /** Another timeline begins. */
  reset(): void {
    this.#last = 0;
  }

  /**
   * The slot to use at `time`, marked as used; -1 where it is better to wait. `rttMs` is the path's round trip; news is `fresh` when it comes
   * at this moment, `waiting` when it did not go when it came.
   */
  take(time: TimelineTime, rttMs: number, news: "fresh" | "waiting" | "none"): number {
    const ahead = this.#ahead(time, rttMs);
    const present = tickOf(ahead);
    const isTail = this.#tailOf(present) <= ahead;
    if ((news !== "none") === isTail) return -1;
    const slot = Math.max(present, this.#last + 1);
    // What waits does not use a slot early: otherwise the next news would wait in its turn, and so on for ever.
    if (slot > present + (news === "fresh" ? 1 : 0)) return -1;
    this.#last = slot;
    return slot;
  }

  /** The timeline time at which `take` should be asked again, should nothing else happen. */
  next(time: TimelineTime, rttMs: number, hasNews: boolean): TimelineTime {
    const ahead = this.#ahead(time, rttMs);
    const shift = ahead - time;
    const present = tickOf(ahead);
    if (!hasNews) return Math.max(this.#tailOf(Math.max(present, this.#last + 1)), ahead) - shift;
    return Math.max(this.slotOfWaiting(time, rttMs) * SUBTICKS, ahead) - shift;
  }

  /** The slot in which news goes that waits at `time`. */
  slotOfWaiting(time: TimelineTime, rttMs: number): number {
    const ahead = this.#ahead(time, rttMs);
    const present = tickOf(ahead);
    const isTail = this.#tailOf(present) <= ahead;
    return Math.max(this.#last + 1, isTail ? present + 1 : present);
  }

  /** A time within `slot` for the datagram's header. */
  headerTime(slot: number, time: TimelineTime): TimelineTime {
    return Math.min(Math.max(time, slot * SUBTICKS), slot * SUBTICKS + SUBTICKS - 1);
  }

  #tailOf(slot: number): TimelineTime {
    return (slot + 1) * SUBTICKS - 2 * this.#guard;
  }

  #ahead(time: TimelineTime, rttMs: number): number {
    return Math.max(0, time + rttMs / 2 * this.#subticksPerMs - this.#guard);
  }
}
