// The world's one timeline as one driver sees it. The holder starts it; everyone else estimates it from echoes. It reads no clock:
// `nowMs` is a monotonic local time in ms that the caller passes.

import { assert } from "./assert.ts";
import { TIMELINE_BUCKETS, TIMELINE_DRIFT, TIMELINE_SLEW, TIMELINE_WINDOW_MS } from "./limits.ts";
import { SUBTICKS, type TimelineTime } from "./timeline_units.ts";

const BUCKET_MS = TIMELINE_WINDOW_MS / TIMELINE_BUCKETS;

/**
 * The timeline against the local clock.
 *
 * An echo says: the peer's time was `peerTime` when it sent what arrived here at `nowMs`, and the whole round trip took `rttMs`. So it is
 * now `peerTime + rttMs / 2`, wrong by at most `rttMs / 2`. Of the echoes of the last 8 s the one with the smallest possible error counts
 * (half its round trip, plus its age times the drift of two clocks), and the clock is led there at no more than 1 % of the time that
 * passes. It is stepped only by {@linkcode TimelineClock.handleJoin}, and between steps it never runs back.
 *
 * Order of calls: `startAt` or `handleJoin` first; `nowMs` never decreases (an earlier one counts as the latest).
 * Source: the minimum filter of NTP (RFC 5905 section 10), slewing as in section 12.
 */
export class TimelineClock {
  readonly #unitsPerMs: number;
  /** Sub-ticks to add to `nowMs * unitsPerMs`. */
  #offset = 0;
  #target = 0;
  #lastMs = 0;
  #newest = 0;
  #running = false;
  /** Best echo of each part of the window: arrival, half its round trip, the offset it asks for. */
  readonly #bucket = new Float64Array(TIMELINE_BUCKETS).fill(NaN);
  readonly #atMs = new Float64Array(TIMELINE_BUCKETS);
  readonly #errorMs = new Float64Array(TIMELINE_BUCKETS);
  readonly #asks = new Float64Array(TIMELINE_BUCKETS);

  /**
   * A clock that does not run yet.
   *
   * @param tickHz Ticks a second of the world.
   */
  constructor(tickHz: number) {
    assert(tickHz > 0, "a world ticks");
    this.#unitsPerMs = (tickHz * SUBTICKS) / 1000;
  }

  /** True after `startAt` or `handleJoin`. */
  get isRunning(): boolean {
    return this.#running;
  }

  /** Sub-ticks that pass in a millisecond. */
  get unitsPerMs(): number {
    return this.#unitsPerMs;
  }

  /** The holder's call: it is `time` now, and the local clock alone decides from here. */
  startAt(nowMs: number, time: TimelineTime): void {
    this.#offset = time - nowMs * this.#unitsPerMs;
    this.#target = this.#offset;
    this.#lastMs = nowMs;
    this.#newest = 0;
    this.#running = true;
    this.#bucket.fill(NaN);
  }

  /** Steps the clock: the join was answered with `time` and took `rttMs` in all. Echoes of an earlier timeline are forgotten. */
  handleJoin(time: TimelineTime, nowMs: number, rttMs: number): void {
    this.startAt(nowMs, time + (rttMs / 2) * this.#unitsPerMs);
    this.#note(nowMs, rttMs / 2, this.#offset);
  }

  /** Takes an echo: `peerTime` from a datagram's header, `rttMs` from the acknowledgement in the same datagram. */
  handleEcho(peerTime: TimelineTime, nowMs: number, rttMs: number): void {
    assert(this.#running, "the timeline was started before it is corrected");
    if (!(rttMs >= 0)) return;
    const now = this.#advance(nowMs);
    this.#note(now, rttMs / 2, peerTime + (rttMs / 2 - nowMs) * this.#unitsPerMs);
    this.#target = this.#bestAsk(now);
  }

  /** The timeline's time at `nowMs`, a whole number of sub-ticks. Never less than an earlier answer since the last step. */
  timeAt(nowMs: number): TimelineTime {
    assert(this.#running, "the timeline was started before it is read");
    const now = this.#advance(nowMs);
    // The maximum guards against the last bit of the floating-point sum, no more.
    this.#newest = Math.max(this.#newest, Math.floor(now * this.#unitsPerMs + this.#offset));
    return this.#newest;
  }

  /** How long from `nowMs` until the timeline reaches `time`, ms, at the present rate; negative when it has passed. */
  msUntil(time: TimelineTime, nowMs: number): number {
    const now = this.#advance(nowMs);
    return (time - this.#offset) / this.#unitsPerMs - now;
  }

  #advance(nowMs: number): number {
    const now = Math.max(nowMs, this.#lastMs);
    const limit = (now - this.#lastMs) * this.#unitsPerMs * TIMELINE_SLEW;
    const error = this.#target - this.#offset;
    this.#offset += Math.max(-limit, Math.min(limit, error));
    this.#lastMs = now;
    return now;
  }

  #note(nowMs: number, errorMs: number, asks: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS);
    const at = ((bucket % TIMELINE_BUCKETS) + TIMELINE_BUCKETS) % TIMELINE_BUCKETS;
    if (this.#bucket[at] === bucket && this.#errorMs[at]! < errorMs) return;
    this.#bucket[at] = bucket;
    this.#atMs[at] = nowMs;
    this.#errorMs[at] = errorMs;
    this.#asks[at] = asks;
  }

  #bestAsk(nowMs: number): number {
    let least = Infinity;
    let best = this.#target;
    for (let i = 0; i < TIMELINE_BUCKETS; i++) {
      const ageMs = nowMs - this.#atMs[i]!;
      if (Number.isNaN(this.#bucket[i]) || ageMs >= TIMELINE_WINDOW_MS) continue;
      const error = this.#errorMs[i]! + ageMs * TIMELINE_DRIFT;
      if (error < least) {
        least = error;
        best = this.#asks[i]!;
      }
    }
    return best;
  }
}
