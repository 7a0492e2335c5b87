// What was sent to one peer and what became of it: acknowledged, lost, or still under way. It keeps numbers, times and sizes; what a
// datagram contained is known to the senders of state, who are told the sequence numbers.

import { assert } from "./assert.ts";
import { ACK_DELAY_UNITS_PER_MS, ACK_DELAY_UNKNOWN, type AckBlock } from "./datagram.ts";
import { Fault } from "./faults.ts";
import { LOSS_PACKET_THRESHOLD, SENT_LOG_ENTRIES } from "./limits.ts";
import { RttEstimator } from "./rtt.ts";
import { unwrap16 } from "./sequence.ts";

/** What an acknowledgement changed. One object per log, overwritten by its next call. */
export interface AckResult {
  /** Set when the block acknowledges what was never sent; then nothing changed. */
  fault: Fault | undefined;
  /** Sequence numbers acknowledged for the first time, oldest first; one that had been given up as lost can be among them. */
  readonly newlyAcked: number[];
  /** Sequence numbers now given up as lost, oldest first; never one that asked for no acknowledgement. */
  readonly lost: number[];
  /** Round-trip time that this block measured, ms; fed into {@linkcode SentLog.rtt} already. */
  rttSampleMs: number | undefined;
}

const UNDER_WAY = 1;
const LOST = 2;
const ACKED = 3;

/**
 * The sender's record of one peer's datagrams, sequence numbers counted from 0 without gaps.
 *
 * Order of calls: {@linkcode SentLog.add} for each datagram sent, {@linkcode SentLog.handleAck} for each block received,
 * {@linkcode SentLog.pollLost} once a slot. A datagram is lost when one sent three later was acknowledged, or when it is 1.5 round trips
 * old and a later one was acknowledged, or, with nothing later acknowledged, when in addition the longest acknowledgement delay and four
 * deviations have passed (RFC 9002 section 6, with a probe time in place of probes).
 */
export class SentLog {
  /** Round-trip time of this path. */
  readonly rtt: RttEstimator = new RttEstimator();
  readonly #ackDelayMs: number;
  readonly #sentMs = new Float64Array(SENT_LOG_ENTRIES);
  readonly #bytes = new Uint32Array(SENT_LOG_ENTRIES);
  readonly #state = new Uint8Array(SENT_LOG_ENTRIES);
  readonly #result: AckResult = {
    fault: undefined,
    newlyAcked: [],
    lost: [],
    rttSampleMs: undefined,
  };
  readonly #evicted: number[] = [];
  #next = 0;
  /** Everything below is acknowledged or no longer remembered. */
  #ackFloor = 0;
  /** Everything below is not under way. */
  #lossFloor = 0;
  #largestAcked = -1;
  #inFlight = 0;
  #ackedBytes = 0;

  /**
   * An empty log.
   *
   * @param ackDelayMs Longest time the peer may hold an acknowledgement back: one send slot.
   */
  constructor(ackDelayMs: number) {
    assert(ackDelayMs >= 0, "an acknowledgement delay is not negative");
    this.#ackDelayMs = ackDelayMs;
  }

  /** Sequence number of the next datagram. */
  get nextSequence(): number {
    return this.#next;
  }

  /** Bytes that are neither acknowledged nor lost; datagrams that ask for no acknowledgement are not counted. */
  get inFlightBytes(): number {
    return this.#inFlight;
  }

  /** Bytes acknowledged so far, of datagrams that asked for it. */
  get ackedBytes(): number {
    return this.#ackedBytes;
  }

  /** Bytes of a datagram that asked for an acknowledgement and is still remembered, 0 of others. */
  sizeOf(sequence: number): number {
    const isHeld = sequence < this.#next && sequence >= this.#next - SENT_LOG_ENTRIES;
    return isHeld ? this.#bytes[sequence % SENT_LOG_ENTRIES]! : 0;
  }

  /** Newest sequence number that the peer acknowledged; -1 before the first. */
  get largestAcked(): number {
    return this.#largestAcked;
  }

  /** Notes a datagram; `sequence` is {@linkcode SentLog.nextSequence}. `asksForAck` is false for one without sections. */
  add(sequence: number, sentMs: number, bytes: number, asksForAck: boolean): void {
    assert(sequence === this.#next, "sequence numbers have no gaps");
    const at = sequence % SENT_LOG_ENTRIES;
    const old = sequence - SENT_LOG_ENTRIES;
    if (old >= 0) {
      if (this.#state[at] === UNDER_WAY && this.#bytes[at] !== 0) {
        this.#inFlight -= this.#bytes[at]!;
        this.#evicted.push(old);
      }
      this.#ackFloor = Math.max(this.#ackFloor, old + 1);
      this.#lossFloor = Math.max(this.#lossFloor, old + 1);
    }
    this.#sentMs[at] = sentMs;
    // 0 stands for "asks for no acknowledgement": such a datagram is never missed.
    this.#bytes[at] = asksForAck ? Math.max(1, bytes) : 0;
    this.#state[at] = UNDER_WAY;
    this.#inFlight += this.#bytes[at]!;
    this.#next = sequence + 1;
  }

  /** Is `sequence` neither acknowledged nor lost? */
  isUnderWay(sequence: number): boolean {
    return sequence >= this.#lossFloor && sequence < this.#next &&
      this.#state[sequence % SENT_LOG_ENTRIES] === UNDER_WAY;
  }

  /** Would {@linkcode SentLog.handleAck} take this block? Changes nothing: for checking a whole datagram before applying any of it. */
  checkAck(block: AckBlock): Fault | undefined {
    const largest = unwrap16(block.largest, this.#next - 1);
    let oldest = largest + 1;
    for (let i = 0; i < block.ranges.length; i++) oldest -= block.ranges[i]!;
    return largest >= this.#next || oldest < 0 ? Fault.Unexpected : undefined;
  }

  /** Applies an acknowledgement. The result is valid until the next call of `handleAck` or `pollLost`. */
  handleAck(block: AckBlock, nowMs: number): AckResult {
    const result = this.#clearResult();
    result.fault = this.checkAck(block);
    if (result.fault !== undefined) return result;
    const largest = unwrap16(block.largest, this.#next - 1);
    if (largest >= this.#ackFloor && this.#state[largest % SENT_LOG_ENTRIES] !== ACKED) {
      result.rttSampleMs = this.#sample(largest, block.delayUnits, nowMs);
    }
    let end = largest + 1;
    for (let i = 0; i < block.ranges.length && end > this.#ackFloor; i++) {
      const start = end - block.ranges[i]!;
      if ((i & 1) === 0) {
        for (let s = end - 1; s >= Math.max(start, this.#ackFloor); s--) this.#acknowledge(s);
      }
      end = start;
    }
    result.newlyAcked.reverse();
    this.#largestAcked = Math.max(this.#largestAcked, largest);
    while (
      this.#ackFloor < this.#next && this.#state[this.#ackFloor % SENT_LOG_ENTRIES] === ACKED
    ) this.#ackFloor += 1;
    this.#findLost(nowMs);
    return result;
  }

  /** Sequence numbers that time alone has made lost, oldest first; valid until the next call of `handleAck` or `pollLost`. */
  pollLost(nowMs: number): readonly number[] {
    const result = this.#clearResult();
    this.#findLost(nowMs);
    return result.lost;
  }

  #clearResult(): AckResult {
    const result = this.#result;
    result.fault = undefined;
    result.newlyAcked.length = 0;
    result.lost.length = 0;
    result.rttSampleMs = undefined;
    return result;
  }

  #sample(largest: number, delayUnits: number, nowMs: number): number | undefined {
    if (delayUnits >= ACK_DELAY_UNKNOWN) return undefined;
    const elapsed = nowMs - this.#sentMs[largest % SENT_LOG_ENTRIES]!;
    const ms = elapsed - delayUnits / ACK_DELAY_UNITS_PER_MS;
    // A delay longer than the whole trip is a lie or a broken clock; neither measures anything.
    if (ms < 0) return undefined;
    this.rtt.handleSample(ms);
    return ms;
  }

  #acknowledge(sequence: number): void {
    const at = sequence % SENT_LOG_ENTRIES;
    const state = this.#state[at];
    if (state === ACKED) return;
    if (state === UNDER_WAY) this.#inFlight -= this.#bytes[at]!;
    this.#ackedBytes += this.#bytes[at]!;
    this.#state[at] = ACKED;
    this.#result.newlyAcked.push(sequence);
  }

  #findLost(nowMs: number): void {
    const { lost } = this.#result;
    for (const sequence of this.#evicted) lost.push(sequence);
    this.#evicted.length = 0;
    const passedMs = this.rtt.lossMs;
    const probeMs = passedMs + 4 * this.rtt.varMs + this.#ackDelayMs;
    let isPrefix = true;
    for (let s = this.#lossFloor; s < this.#next; s++) {
      const at = s % SENT_LOG_ENTRIES;
      if (this.#state[at] === UNDER_WAY) {
        const ageMs = nowMs - this.#sentMs[at]!;
        const isLost = s < this.#largestAcked
          ? s <= this.#largestAcked - LOSS_PACKET_THRESHOLD || ageMs >= passedMs
          : ageMs >= probeMs;
        if (isLost) {
          this.#state[at] = LOST;
          this.#inFlight -= this.#bytes[at]!;
          if (this.#bytes[at] !== 0) lost.push(s);
        } else if (s > this.#largestAcked) {
          // Later ones are younger still.
          if (isPrefix) this.#lossFloor = s;
          return;
        } else {
          if (isPrefix) this.#lossFloor = s;
          isPrefix = false;
        }
      }
    }
    if (isPrefix) this.#lossFloor = this.#next;
  }
}
