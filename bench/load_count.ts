// What the clients of one load process count together, and when each of their poses was handed over. Flat arrays: it is called for every
// value that any client gets.

import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import { Latency } from "./latency.ts";

/** Poses of one avatar whose time of handing over is kept, a power of two: about two seconds' worth. */
const KEPT_POSES = 64;

/** See the head of the file. */
export class LoadCount {
  /** Other peers' poses decoded, over all clients. */
  updates = 0;
  /** Poses handed over. */
  poses = 0;
  /** Values with a reference, and the ticks by which their references were older than their datagrams. */
  references = 0;
  referenceTicks = 0;
  /** From handing over to the decoded value, between clients of this process. */
  readonly delays = new Latency();
  /** How late poses were handed over. */
  readonly late = new Latency();
  readonly #times: Float64Array;
  readonly #handedMs: Float64Array;

  /** @param slots Largest entity slot of the world. */
  constructor(slots: number) {
    this.#times = new Float64Array((slots + 1) * KEPT_POSES).fill(-1);
    this.#handedMs = new Float64Array((slots + 1) * KEPT_POSES);
  }

  /** The avatar in `slot` got a pose with this sample time. */
  noteSent(slot: number, time: TimelineTime, handedMs: number): void {
    const at = placeOf(slot, time);
    this.#times[at] = time;
    this.#handedMs[at] = handedMs;
    this.poses += 1;
  }

  /** A client has decoded the pose of another's avatar. */
  noteUpdate(slot: number, time: TimelineTime, nowMs: number): void {
    this.updates += 1;
    const at = placeOf(slot, time);
    // Avatars of other processes were never noted here.
    if (this.#times[at] === time) this.delays.add(nowMs - this.#handedMs[at]!);
  }

  /** A value referred to one so many ticks older than its datagram. */
  noteReference(ticks: number): void {
    this.references += 1;
    this.referenceTicks += ticks;
  }

  /** Counting begins anew; what was handed over is still known. */
  clear(): void {
    this.updates =
      this.poses =
      this.references =
      this.referenceTicks =
        0;
    this.delays.clear();
    this.late.clear();
  }
}

function placeOf(slot: number, time: TimelineTime): number {
  return slot * KEPT_POSES + (Math.floor(time / SUBTICKS) & (KEPT_POSES - 1));
}
