// Events that wait for what they are about: the entities they name and the state of their tick, bounded in number and time. It does not
// know what an event contains, nor the world.

import type { EntityId } from "../protocol/entity_id.ts";
import { MAX_EVENT_WAIT_MS, MAX_WAITING_EVENTS } from "../protocol/limits.ts";

/** What the queue needs to know of an event. */
export interface WaitingEvent {
  /** Declared id. */
  readonly eventId: number;
  /** Peer that caused it. */
  readonly from: number;
  /** Tick whose state it needs. */
  readonly tick: number;
  /** Entities it names. */
  readonly entities: readonly EntityId[];
  /** How long it may wait, ms; never longer than `MAX_EVENT_WAIT_MS`. */
  readonly waitMs: number;
  /** What happens when that time is over. */
  readonly late: "deliver" | "drop";
}

/** An event that may be delivered. */
export interface DueEvent<T> {
  /** The event as it was pushed. */
  readonly event: T;
  /** Its state did not arrive in time. */
  readonly late: boolean;
}

/**
 * The waiting events of one peer.
 *
 * `push` each event as it arrives, then `poll` until `undefined`: after events, after state, and once a tick for those whose time is over.
 * Events of the same sender and id keep their order; others do not wait for each other.
 */
export class EventQueue<T extends WaitingEvent = WaitingEvent> {
  readonly #waiting: { readonly event: T; readonly deadlineMs: number }[] = [];
  #droppedFull = 0;
  #droppedLate = 0;

  /** Events waiting. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Events dropped because too many waited. */
  get droppedFull(): number {
    return this.#droppedFull;
  }

  /** Events dropped because their time was over and they are declared so. */
  get droppedLate(): number {
    return this.#droppedLate;
  }

  /** Takes an event; false when it was dropped because `MAX_WAITING_EVENTS` wait already. */
  push(event: T, nowMs: number): boolean {
    if (this.#waiting.length >= MAX_WAITING_EVENTS) {
      this.#droppedFull += 1;
      return false;
    }
    this.#waiting.push({ event, deadlineMs: nowMs + Math.min(event.waitMs, MAX_EVENT_WAIT_MS) });
    return true;
  }

  /** Drops the waiting events that are not wanted any more; returns how many. */
  discard(isUnwanted: (event: T) => boolean): number {
    const before = this.#waiting.length;
    for (let i = before - 1; i >= 0; i--) {
      if (isUnwanted(this.#waiting[i]!.event)) this.#waiting.splice(i, 1);
    }
    return before - this.#waiting.length;
  }

  /**
   * The next event that may be delivered now.
   *
   * @param isKnown Is this entity there, complete?
   * @param newestTick Newest tick whose state has arrived.
   */
  poll(
    nowMs: number,
    isKnown: (id: EntityId) => boolean,
    newestTick: number,
  ): DueEvent<T> | undefined {
    if (this.#waiting.length === 0) return undefined;
    const blocked = new Set<number>();
    for (let i = 0; i < this.#waiting.length; i++) {
      const { event, deadlineMs } = this.#waiting[i]!;
      const stream = event.eventId * 0x10000 + event.from;
      const isReady = event.tick <= newestTick && event.entities.every(isKnown);
      const isOver = nowMs >= deadlineMs;
      if (!isReady && isOver && event.late === "drop") {
        this.#waiting.splice(i, 1);
        i -= 1;
        this.#droppedLate += 1;
      } else if ((isReady || isOver) && !blocked.has(stream)) {
        this.#waiting.splice(i, 1);
        return { event, late: !isReady };
      } else {
        blocked.add(stream);
      }
    }
    return undefined;
  }
}
