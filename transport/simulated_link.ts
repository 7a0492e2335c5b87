// One direction of a simulated link: a queue in front of a wire with loss, delay and damage. It knows packets by their size alone;
// what a lost one means is the business of who sent it.

import { assert } from "../protocol/assert.ts";
import type { Prng } from "../protocol/prng.ts";
import type { EventQueue } from "./event_queue.ts";

/** How one direction of a link treats packets. Rates are probabilities of 0..1, each drawn for itself. */
export interface LinkConditions {
  /** Time on the wire, ms. */
  readonly latencyMs: number;
  /** Additional time, ms, drawn evenly from 0 to this for each packet. It never reorders, as queues on a path do not. */
  readonly jitterMs: number;
  /** Packets lost. 1 is a cut wire. */
  readonly lossRate: number;
  /** Datagrams that arrive twice. */
  readonly duplicateRate: number;
  /** Datagrams held back by up to twice `jitterMs`, at least 10 ms, and so overtaken. */
  readonly reorderRate: number;
  /** Datagrams that arrive with one to three bits flipped. Streams are never damaged. */
  readonly corruptRate: number;
  /** Bytes a second; `Infinity` for no limit. */
  readonly bandwidthBytesPerSecond: number;
  /** Bytes that may wait for the wire; a packet that finds the queue full is lost. */
  readonly queueBytes: number;
  /** Largest datagram, bytes. */
  readonly datagramSize: number;
}

/** A link without fault or delay. */
export const PERFECT_LINK: LinkConditions = {
  latencyMs: 0,
  jitterMs: 0,
  lossRate: 0,
  duplicateRate: 0,
  reorderRate: 0,
  corruptRate: 0,
  bandwidthBytesPerSecond: Infinity,
  queueBytes: 262_144,
  datagramSize: 1_200,
};

/** What happened to the packets of one direction. */
export interface LinkCounters {
  /** Packets given to the link, retransmissions included. */
  sent: number;
  /** Bytes of those, with their headers. */
  sentBytes: number;
  /** Lost on the wire. */
  lost: number;
  /** Lost because the queue was full. */
  overflowed: number;
  /** Datagrams that arrived twice. */
  duplicated: number;
  /** Datagrams held back. */
  reordered: number;
  /** Datagrams damaged. */
  corrupted: number;
}

/** Bytes that UDP, IP and QUIC add to a packet. */
const PACKET_OVERHEAD_BYTES = 50;
/** Longest time, ms, that held-back datagrams wait where the link has no jitter. */
const MIN_REORDER_MS = 10;
/** Reliable frames wait while the wire has more than this, ms, in its queue: a stream leaves datagrams a short queue. */
const READY_BACKLOG_MS = 5;

/** One direction of a simulated link. */
export class SimulatedLink {
  /** What happened so far. */
  readonly counters: LinkCounters = {
    sent: 0,
    sentBytes: 0,
    lost: 0,
    overflowed: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
  };
  readonly #events: EventQueue;
  readonly #now: () => number;
  readonly #prng: Prng;
  #conditions: LinkConditions;
  #busyUntilMs = 0;
  #lastArrivalMs = 0;

  /** An empty link. @param prng Decides the fate of this direction's packets, and of nothing else. */
  constructor(events: EventQueue, now: () => number, prng: Prng, conditions: LinkConditions) {
    this.#events = events;
    this.#now = now;
    this.#prng = prng;
    this.#conditions = conditions;
    this.change(conditions);
  }

  /** The conditions now. */
  get conditions(): LinkConditions {
    return this.#conditions;
  }

  /** Changes some conditions from now on; what is under way keeps its fate. */
  change(part: Partial<LinkConditions>): void {
    const all = { ...this.#conditions, ...part };
    assert(all.latencyMs >= 0 && all.jitterMs >= 0, "a delay is not negative");
    assert(all.bandwidthBytesPerSecond > 0, "a cut wire is a loss rate of 1, not a bandwidth of 0");
    this.#conditions = all;
  }

  /** Time, ms, at which reliable frames may follow; not later than now when they may at once. */
  get readyAtMs(): number {
    return this.#busyUntilMs - READY_BACKLOG_MS;
  }

  /** Sends one datagram; `arrive` gets a copy, perhaps twice, perhaps damaged, perhaps never. */
  sendDatagram(bytes: Uint8Array, arrive: (bytes: Uint8Array) => void): void {
    const sentMs = this.#transmit(bytes.length);
    if (sentMs === undefined) return;
    const { duplicateRate, reorderRate, corruptRate, jitterMs } = this.#conditions;
    const copies = this.#prng.chance(duplicateRate) ? 2 : 1;
    if (copies === 2) this.counters.duplicated += 1;
    for (let i = 0; i < copies; i++) {
      const copy = bytes.slice();
      if (copy.length > 0 && this.#prng.chance(corruptRate)) {
        this.counters.corrupted += 1;
        this.#damage(copy);
      }
      let atMs: number;
      if (this.#prng.chance(reorderRate)) {
        this.counters.reordered += 1;
        const holdMs = Math.max(MIN_REORDER_MS, 2 * jitterMs);
        atMs = sentMs + this.#conditions.latencyMs + this.#prng.nextFloat() * holdMs;
      } else {
        atMs = this.#arrivalMs(sentMs);
      }
      this.#events.push(atMs, () => arrive(copy));
    }
  }

  /** Sends one packet of `size` payload bytes; true when it will arrive, and then `arrive` runs. */
  sendPacket(size: number, arrive: () => void): boolean {
    const sentMs = this.#transmit(size);
    if (sentMs === undefined) return false;
    this.#events.push(this.#arrivalMs(sentMs), arrive);
    return true;
  }

  /** The time the packet's last byte is on the wire, or `undefined` when it is lost. */
  #transmit(size: number): number | undefined {
    const now = this.#now();
    const { bandwidthBytesPerSecond, queueBytes, lossRate } = this.#conditions;
    const bytes = size + PACKET_OVERHEAD_BYTES;
    this.counters.sent += 1;
    this.counters.sentBytes += bytes;
    const startMs = Math.max(now, this.#busyUntilMs);
    const waiting = startMs > now ? (startMs - now) * bandwidthBytesPerSecond / 1000 : 0;
    if (waiting + bytes > queueBytes) {
      this.counters.overflowed += 1;
      return undefined;
    }
    const sentMs = startMs + bytes * 1000 / bandwidthBytesPerSecond;
    this.#busyUntilMs = sentMs;
    if (this.#prng.chance(lossRate)) {
      this.counters.lost += 1;
      return undefined;
    }
    return sentMs;
  }

  #arrivalMs(sentMs: number): number {
    const { latencyMs, jitterMs } = this.#conditions;
    const jitter = jitterMs > 0 ? this.#prng.nextFloat() * jitterMs : 0;
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, sentMs + latencyMs + jitter);
    return this.#lastArrivalMs;
  }

  #damage(bytes: Uint8Array): void {
    const flips = 1 + this.#prng.nextBelow(3);
    for (let i = 0; i < flips; i++) {
      const bit = this.#prng.nextBelow(bytes.length * 8);
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
    }
  }
}
