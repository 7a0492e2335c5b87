// A model of the path for tests of the rate: a wire of some width with a queue in front of it, and flows of state on slots.

import { RateControl } from "../../driver/rate_control.ts";
import { createPrng } from "./prng.ts";

/** Slots a second. */
export const HZ = 20;
/** Time of a slot, ms. */
export const SLOT_MS = 1000 / HZ;
/** Bytes of a full datagram. */
export const DATAGRAM = 1_150;

/** A path, and what is to go over it. */
export interface Model {
  /** Most bytes a second. */
  readonly budget: number;
  /** Bytes a second that the wire carries. */
  readonly width: (nowMs: number) => number;
  readonly baseMs: number | ((nowMs: number) => number);
  readonly loss?: (nowMs: number) => number;
  readonly jitterMs?: number;
  /** The receiver is heard only at multiples of this, ms. */
  readonly ackMs?: number;
  /**
   * Ends on a crowded machine answer late, by as much for 100 to 300 ms: by up to this many ms, by three fifths of it or more in a quarter
   * of the time, and in one of thirty times by up to three times as much.
   */
  readonly crowdedMs?: number;
  /** Bytes a second that there are to be sent. */
  readonly demand?: number;
}

/** One datagram on its way. */
interface Flying {
  readonly at: number;
  readonly sentMs: number;
  readonly bytes: number;
  readonly isLost: boolean;
}

/** The wire, with the queue in front of it: until when it is busy, ms. */
export interface Wire {
  busyMs: number;
}

/** State to one peer over a wire that may be others' too. */
export class Flow {
  readonly control: RateControl;
  /** Longest delay of the queue, and bytes that arrived, since `settledMs`. */
  worstMs = 0;
  arrived = 0;
  readonly #model: Model;
  readonly #wire: Wire;
  readonly #settledMs: number;
  readonly #prng;
  readonly #underWay: Flying[] = [];
  #inFlight = 0;
  #lateMs = 0;
  #lateEndsMs = 0;
  #debt = 0;

  constructor(model: Model, wire: Wire, nowMs: number, settledMs: number, seed = 1) {
    this.control = new RateControl(model.budget, HZ, nowMs);
    this.#model = model;
    this.#wire = wire;
    this.#settledMs = settledMs;
    this.#prng = createPrng(seed);
  }

  slot(nowMs: number): void {
    const { control } = this;
    const { width, loss = () => 0, jitterMs = 0, crowdedMs = 0, demand = Infinity, baseMs, ackMs } =
      this.#model;
    const emptyMs = typeof baseMs === "number" ? baseMs : baseMs(nowMs);
    const underWay = this.#underWay;
    let newest: Flying | undefined;
    while (underWay.length > 0 && underWay[0]!.at <= nowMs) {
      const one = underWay.shift()!;
      this.#inFlight -= one.bytes;
      if (one.isLost) control.handleLost();
      else {
        newest = one;
        control.handleAcked(one.bytes);
        if (nowMs >= this.#settledMs) this.arrived += one.bytes;
      }
    }
    // An acknowledgement a slot, which measures the newest datagram.
    if (newest !== undefined) control.handleSample(newest.at - newest.sentMs);
    control.handleSlot(nowMs);
    const windowMs = Math.min(333, control.baseMs) + 2 * SLOT_MS;
    this.#debt = Math.max(0, this.#debt - control.bytesPerSecond / HZ);
    let sent = 0;
    while (sent < demand / HZ && this.#debt < control.bytesPerSecond / HZ) {
      if (this.#inFlight >= Math.max(DATAGRAM, control.bytesPerSecond * windowMs / 1000)) break;
      const bytes = Math.min(DATAGRAM, demand / HZ, Math.max(500, control.bytesPerSecond / HZ));
      sent += bytes;
      this.#debt += bytes;
      this.#inFlight += bytes;
      control.handleSent(bytes);
      const wire = this.#wire;
      wire.busyMs = Math.max(wire.busyMs, nowMs) + bytes * 1000 / width(nowMs);
      if (nowMs >= this.#settledMs) this.worstMs = Math.max(this.worstMs, wire.busyMs - nowMs);
      let at = wire.busyMs + emptyMs + jitterMs * this.#prng();
      if (crowdedMs > 0) at += this.#late(at, crowdedMs);
      if (ackMs !== undefined) at = Math.ceil(at / ackMs) * ackMs;
      at = Math.max(at, underWay.at(-1)?.at ?? 0);
      underWay.push({ at, sentMs: nowMs, bytes, isLost: this.#prng() < loss(nowMs) });
    }
    if (sent >= demand / HZ) control.handleIdle();
  }

  #late(nowMs: number, mostMs: number): number {
    while (nowMs >= this.#lateEndsMs) {
      this.#lateEndsMs = Math.max(this.#lateEndsMs, nowMs - 300) + 100 + 200 * this.#prng();
      const share = this.#prng();
      this.#lateMs = mostMs * (share < 0.75 ? share * 0.8 : 0.6 + (share - 0.75) * 1.6);
      if (this.#prng() < 1 / 30) this.#lateMs *= 1 + 2 * this.#prng();
    }
    return this.#lateMs;
  }
}

/** Lets state flow for a time; returns the queue's longest delay after `settledMs`, and the mean rate of arrival. */
export function flow(model: Model, ms: number, settledMs: number) {
  const one = new Flow(model, { busyMs: 0 }, 0, settledMs);
  for (let nowMs = 0; nowMs < ms; nowMs += SLOT_MS) one.slot(nowMs);
  const { control, worstMs, arrived } = one;
  return { control, worstMs, arrived: arrived * 1000 / (ms - settledMs) };
}
