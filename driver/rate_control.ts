// How fast state may go to one peer: below what the path carries, so that nothing waits in front of it. It follows the delay that a queue
// adds to round trips, and heavy loss; it sends nothing and knows no datagram.

import { INITIAL_RTT_MS, MIN_PEER_BYTES_PER_S } from "../protocol/limits.ts";
import { BaseDelay } from "./base_delay.ts";

/** Rate at which a link begins, bytes a second, where its budget is not lower: nothing is known of its path yet. */
const FIRST_RATE = 128_000;
/** A round, in which the rate changes once, has so many slots at least: acknowledgements come by slots. */
const ROUND_SLOTS = 4;
/** And so many samples, unless it would take so many times as long. */
const ROUND_SAMPLES = 3;
const MOST_ROUNDS = 3;
/**
 * On a narrow wire a datagram takes a while by itself, of which so many slots are believed. What is taken for a queue is longer than that by so
 * much, and a queue is gone where no more is left than so much of it.
 */
const OWN_SLOTS = 2;
const OWN_FACTOR = 1.5;
const OWN_EMPTY = 0.8;
/** Longest round, ms, whatever a peer says of its path: who answers late on purpose has no more under way for it. */
export const MOST_ROUND_MS = 2_000;
/** Added delay that is taken for a queue: at least so much, ms, and so much of a round trip; at most so much of it, or ms. */
const LEAST_QUEUE_MS = 40;
const LEAST_QUEUE_SHARE = 0.2;
const MOST_QUEUE_SHARE = 0.4;
const MOST_QUEUE_FLOOR_MS = 100;
/** Multiple of the spread of round trips that a queue's delay exceeds: radio links delay packets at random. */
const SPREAD_FACTOR = 1.25;
/**
 * Rounds in a row after which added delay is taken for a queue, and how many more at most after delays that went away by themselves: a queue
 * of ours gets shorter only when less is sent than arrives. What of a delay went away so, beyond this share of a queue, is forgotten by so
 * much a round.
 */
const SURE_ROUNDS = 2;
const MOST_DOUBT = 3;
const REFUTED_SHARE = 0.5;
const LATE_DECAY = 0.99;
/** Weight of a round in the mean of the spread. */
const SPREAD_WEIGHT = 1 / 8;
/** Of what arrived in a round with a queue, the share that the next may send; less while the queue is long. */
const DRAIN = 0.95;
const DRAIN_FAST = 0.8;
/** A queue drains until so much of what is taken for one is left, or for so many rounds: else the empty path would be forgotten. */
const EMPTY_SHARE = 0.4;
const DRAIN_ROUNDS = 12;
/**
 * After so many rounds in which a queue kept so much of its delay, it is put to the test: so much of what arrives is sent until a queue of
 * ours would be gone. If half of the delay is still there, it is the path that got longer, or others' queue, and nothing is won by waiting.
 */
const PATIENT_ROUNDS = 4;
const KEPT_SHARE = 0.75;
/** Or in which it kept so much of what the round before had left. */
const STAGNANT_SHARE = 0.9;
const TEST_SHARE = 0.5;
const GONE_SHARE = 0.5;
/** Longest test, ms: what goes beside state may leave no room for one. */
const MOST_TEST_MS = 6_000;
/**
 * Where all that was due went in half of a round's slots: rounds in a row that added delay grows in, each time by so much, before it is
 * taken for a queue, and rounds after which it is the path's if it has not grown by so much all in all.
 */
const GROWING_ROUNDS = 2;
const GROWING_SHARE = 1.1;
const UNUSED_ROUNDS = 8;
/** Share of a slot that the bytes of one slot may wait for one another. */
const SLOT_SHARE = 0.75;
/** Loss from which the path counts as overfull; radio links lose 30 % without being full. It is judged by so many datagrams. */
const HEAVY_LOSS = 0.45;
const LOSS_DATAGRAMS = 48;
const LOSS_FACTOR = 0.8;
/** Rounds without any acknowledgement, while there are losses, that count as heavy loss. */
const SILENT_ROUNDS = 2;
/** Growth stops where the rate is so much above what is answered, and after many rounds of it so much: more would only wait. */
const ANSWERED_FACTOR = 1.04;
const LATER_FACTOR = 1.2;
/** Growth of a rate that was made use of: until the first queue, far below what has arrived before, near it, and after many rounds so. */
const START_GROWTH = 2;
const RETURN_GROWTH = 1.15;
const GROWTH = 1.04;
const LATER_GROWTH = 1.1;
const LATER_ROUNDS = 20;
/** What counts as far below, and what a queue leaves of what had arrived before. */
const RETURN_SHARE = 0.8;
const FORGET_SHARE = 0.8;
/** Weight of a round in the mean of what arrives: acknowledgements bunch. */
const ARRIVAL_WEIGHT = 1 / 4;
/** Share of the rate that counts as making use of it. */
const USED = 0.7;

/** What a peer may be sent that has just joined, in place of its budget. */
export interface JoinBudget {
  /** Bytes a second. */
  readonly bytesPerSecond: number;
  /** Longest time for which they count, ms. */
  readonly ms: number;
}

/**
 * The rate of one link.
 *
 * Order of calls: `handleSample` for each round-trip time, `handleSent`, `handleAcked` and `handleLost` for bytes that ask for an
 * acknowledgement, `handleSlot` once a slot; then `bytesPerSecond` is what may go, and `handleIdle` follows where less was due. Time is an
 * argument, ms.
 */
export class RateControl {
  readonly #budget: number;
  /** What is never exceeded now: the budget, or a join's. */
  #most: number;
  /** When the join is over, at the latest. */
  #joinEndsMs: number;
  readonly #least: number;
  readonly #slotMs: number;
  #rate: number;
  #isStarting = true;
  /** Rounds for which the present queue has been draining. */
  #drained = 0;
  #queueMs = 0;
  /**
   * Of the drain: added delay and the mean of what arrived at its beginning, rate before the first without a calm round between them, what has
   * arrived since, bytes and ms, and rounds in a row in which it did not get shorter.
   */
  #drainQueueMs = 0;
  #drainRate = 0;
  #drainArrival = 0;
  #drainBytes = 0;
  #drainMs = 0;
  #stagnant = 0;
  /** Of a test, -1 when there is none: bytes of the queue that would be left if it is ours; then how long to wait for what was sent by then, ms. */
  #testBytes = -1;
  #testWaitMs = 0;
  #testMs = 0;
  /** Where little is sent: rounds with added delay, and those in which it grew. */
  #unused = 0;
  #growing = 0;
  #unusedQueueMs = 0;
  /** Rounds that made use of the rate since the last queue or heavy loss. */
  #calm = 0;
  /** Rounds in a row with added delay, and how often such went away although as much was sent as arrived. */
  #longRounds = 0;
  #doubt = 0;
  /** How much delay went away so, of late, ms. */
  #lateMs = 0;
  /** What was sent in the round before, bytes a second. */
  #lastSent = 0;
  /** Mean of what arrives, bytes a second, and the most it was. */
  #arrival = 0;
  #best = 0;
  /** Mean of what arrives and of what is known to be lost, bytes a second. */
  #answered = 0;
  readonly #base: BaseDelay;
  #spreadMs = 0;
  // The present round.
  #roundMs: number;
  #shortestMs = Infinity;
  #longestMs = 0;
  #samples = 0;
  #sent = 0;
  #acked = 0;
  #roundAcked = 0;
  #lost = 0;
  /** Slots, and those in which all went that was due. */
  #slots = 0;
  #idleSlots = 0;
  #isIdle = false;
  /** Datagrams that arrived and that did not, since loss was judged last. */
  #ackedCount = 0;
  #lostCount = 0;

  /** @param budget Bytes a second that are never exceeded, but by a join. @param tickHz Slots a second. */
  constructor(budget: number, tickHz: number, nowMs: number, join?: JoinBudget) {
    this.#budget = budget;
    const isJoining = join !== undefined && join.ms > 0;
    this.#most = isJoining ? join.bytesPerSecond : budget;
    this.#joinEndsMs = isJoining ? nowMs + join.ms : -Infinity;
    this.#least = Math.min(budget, MIN_PEER_BYTES_PER_S);
    this.#rate = Math.min(this.#most, FIRST_RATE);
    this.#slotMs = 1000 / tickHz;
    this.#roundMs = nowMs;
    this.#base = new BaseDelay(nowMs);
  }

  /** Bytes a second that may go now. */
  get bytesPerSecond(): number {
    return this.#rate;
  }

  /** Whether the budget of a join counts. */
  get isJoining(): boolean {
    return this.#joinEndsMs > -Infinity;
  }

  /** The joined peer has all that there is for it: from now on it has the budget of everyone. */
  endJoin(): void {
    this.#joinEndsMs = -Infinity;
    this.#most = this.#budget;
    this.#set(this.#rate);
  }

  /** Whether the path carries all that the budget allows, as far as is known. */
  get isUnlimited(): boolean {
    return this.#rate === this.#most;
  }

  /** Round-trip time of the empty path, ms; infinite before the first sample. */
  get baseMs(): number {
    return Math.min(this.#shortestMs, this.#base.ms);
  }

  /** A round trip took this long, ms; what is no time is ignored. */
  handleSample(ms: number): void {
    if (!(ms >= 0) || ms === Infinity) return;
    this.#samples += 1;
    this.#shortestMs = Math.min(this.#shortestMs, ms);
    this.#longestMs = Math.max(this.#longestMs, ms);
    this.#base.add(ms);
  }

  /** So many bytes went. */
  handleSent(bytes: number): void {
    this.#sent += bytes;
  }

  /** All that was due has gone in this slot: more could have. */
  handleIdle(): void {
    if (this.#isIdle) return;
    this.#isIdle = true;
    this.#idleSlots += 1;
  }

  /** So many datagrams of so many bytes were acknowledged. */
  handleAcked(bytes: number, datagrams = 1): void {
    this.#acked += bytes;
    this.#roundAcked += datagrams;
    this.#ackedCount += datagrams;
  }

  /** A datagram was given up as lost. */
  handleLost(): void {
    this.#lost += 1;
    this.#lostCount += 1;
  }

  /** A slot has come: ends the round when it is long enough. */
  handleSlot(nowMs: number): void {
    if (this.isJoining && nowMs >= this.#joinEndsMs) this.endJoin();
    this.#base.advance(nowMs, this.#shortestMs);
    this.#slots += 1;
    this.#isIdle = false;
    const elapsedMs = nowMs - this.#roundMs;
    const base = this.baseMs;
    // Neither a peer that says nothing of its path nor one that says it is endless makes rounds endless.
    const pathMs = base === Infinity ? INITIAL_RTT_MS : Math.min(base, MOST_ROUND_MS);
    const roundMs = Math.max(pathMs, ROUND_SLOTS * this.#slotMs);
    if (elapsedMs < roundMs) return;
    // Where little is sent one late answer would be the whole round.
    if (this.#samples > 0 && this.#samples < ROUND_SAMPLES && elapsedMs < MOST_ROUNDS * roundMs) {
      return;
    }
    if (this.#shortestMs < Infinity) {
      this.#endRound(elapsedMs, base);
    } else if (this.#acked > 0) {
      // What arrives and measures nothing tells of losses all the same.
      if (this.#isLossHeavy()) this.#slowDown();
    } else if (this.#lost > 0) {
      // Nothing comes back: nothing of what goes arrives, or nobody can tell.
      if (elapsedMs < SILENT_ROUNDS * roundMs) return;
      this.#slowDown();
    }
    this.#roundMs = nowMs;
    this.#shortestMs = Infinity;
    this.#longestMs = this.#samples = 0;
    this.#sent =
      this.#acked =
      this.#roundAcked =
      this.#lost =
        0;
    this.#slots = this.#idleSlots = 0;
  }

  #endRound(elapsedMs: number, base: number): void {
    const queueMs = this.#shortestMs - base;
    const noiseMs = Math.max(
      LEAST_QUEUE_MS,
      SLOT_SHARE * this.#slotMs,
      LEAST_QUEUE_SHARE * base,
      SPREAD_FACTOR * this.#spreadMs,
      this.#lateMs,
    );
    const arrived = this.#acked * 1000 / elapsedMs;
    this.#arrival += (arrived - this.#arrival) * ARRIVAL_WEIGHT;
    const answered = this.#roundAcked > 0 ? arrived * (1 + this.#lost / this.#roundAcked) : 0;
    this.#answered += (answered - this.#answered) * ARRIVAL_WEIGHT;
    // On a narrow wire a datagram takes a while by itself.
    const ownMs = this.#acked > 0
      ? Math.min(OWN_SLOTS * this.#slotMs, this.#acked * 1000 / this.#roundAcked / this.#arrival)
      : 0;
    const mostMs = Math.max(MOST_QUEUE_FLOOR_MS, MOST_QUEUE_SHARE * base);
    const partMs = Math.min(noiseMs, mostMs);
    const limitMs = Math.max(partMs, OWN_FACTOR * ownMs);
    const sent = this.#sent * 1000 / elapsedMs;
    const isDraining = this.#drained > 0 && this.#drained < DRAIN_ROUNDS;
    const isLong =
      queueMs > (isDraining ? Math.max(EMPTY_SHARE * partMs, OWN_EMPTY * ownMs) : limitMs);
    // Of a queue of ours so much has gone at most.
    const goneMs = elapsedMs * Math.max(0, this.#arrival / Math.min(sent, this.#lastSent) - 1);
    const isRefuted = this.#longRounds > 0 && this.#testBytes < 0 &&
      this.#queueMs - queueMs > goneMs + REFUTED_SHARE * limitMs;
    if (isRefuted) {
      this.#doubt = Math.min(MOST_DOUBT, this.#doubt + 1);
      this.#lateMs = Math.max(this.#lateMs, Math.min(this.#queueMs, mostMs));
      if (this.#drained > 0 && !isLong) {
        this.#set(Math.min(this.#drainRate, this.#drainArrival));
      }
    }
    this.#lastSent = sent;
    this.#lateMs *= LATE_DECAY;
    this.#longRounds = isLong ? this.#longRounds + 1 : 0;
    const isSettled = isDraining || this.#testBytes >= 0;
    if (isLong && !isSettled) {
      // Late rounds may be a busy machine, which answers in time in between; a queue stays.
      const isHuge = queueMs > 2 * limitMs && this.#doubt === 0;
      if (!isHuge && this.#longRounds < SURE_ROUNDS + this.#doubt) {
        this.#queueMs = queueMs;
        return;
      }
    }
    const isIdle = 2 * this.#idleSlots > this.#slots;
    if (this.#testBytes >= 0) this.#test(elapsedMs, base, queueMs, sent, isLong);
    else if (!isLong) this.#carryOn(sent, isRefuted, queueMs, limitMs);
    else if (!isDraining && isIdle && this.#mayBePath(queueMs)) {
      if (this.#unused >= UNUSED_ROUNDS) {
        this.#rebase(base + queueMs, true);
      }
    } else this.#drain(elapsedMs, queueMs, arrived, queueMs > 2 * limitMs ? DRAIN_FAST : DRAIN);
    this.#best = Math.max(this.#best, this.#arrival);
    this.#queueMs = queueMs;
  }

  /** A round without a queue. */
  #carryOn(sent: number, isRefuted: boolean, queueMs: number, limitMs: number): void {
    if (this.#drained > 0 && this.#doubt > 0 && !isRefuted) this.#doubt -= 1;
    this.#drained =
      this.#unused =
      this.#growing =
      this.#drainRate =
        0;
    this.#spreadMs += (this.#longestMs - this.#shortestMs - this.#spreadMs) * SPREAD_WEIGHT;
    if (this.#isLossHeavy()) this.#slowDown();
    else if (sent > USED * this.#rate && this.#mayGrow) {
      this.#calm += 1;
      // The nearer to what would be a queue, the less.
      const room = 1 - Math.max(0, queueMs) / limitMs;
      this.#set(this.#rate * (1 + (this.#growth() - 1) * room));
    }
  }

  /** Whether too many of the last datagrams were lost; judged when there are enough of them. */
  #isLossHeavy(): boolean {
    const count = this.#ackedCount + this.#lostCount;
    if (count < LOSS_DATAGRAMS) return false;
    const isHeavy = this.#lostCount > HEAVY_LOSS * count;
    this.#ackedCount = this.#lostCount = 0;
    return isHeavy;
  }

  #slowDown(): void {
    this.#set(this.#rate * LOSS_FACTOR);
    this.#endCalm();
  }

  /**
   * Whether a round with added delay, in which all went that was due, may say that the path is longer or a machine busy. A queue it can be
   * only if less arrives than was sent, and then it grows, however slowly; so what was believed once is not believed again untested.
   */
  #mayBePath(queueMs: number): boolean {
    this.#unused += 1;
    if (this.#unused === 1) this.#unusedQueueMs = queueMs;
    this.#growing = queueMs > GROWING_SHARE * this.#queueMs ? this.#growing + 1 : 0;
    if (this.#growing > GROWING_ROUNDS) return false;
    if (this.#unused < UNUSED_ROUNDS) return true;
    return this.#base.mayGuess && queueMs <= GROWING_SHARE * this.#unusedQueueMs;
  }

  /** A round with a queue: what arrives is what the path carries; a little less lets the queue go, as long as it does get shorter. */
  #drain(elapsedMs: number, queueMs: number, arrived: number, share: number): void {
    if (this.#drained === 0 || this.#drained >= DRAIN_ROUNDS) {
      this.#drained = 0;
      this.#drainQueueMs = queueMs;
      this.#drainRate = Math.max(this.#drainRate, this.#rate);
      this.#drainBytes = this.#drainMs = 0;
      this.#drainArrival = this.#arrival;
    }
    this.#drainBytes += this.#acked;
    this.#drainMs += elapsedMs;
    if (this.#drained === 0 || queueMs >= this.#queueMs) {
      this.#set(Math.min(this.#rate, arrived) * share);
    }
    this.#drained += 1;
    this.#endCalm();
    if (queueMs > GROWING_SHARE * this.#drainQueueMs) {
      // What arrives now left long ago: the queue is longer than it looks.
      this.#drainQueueMs = queueMs;
      this.#drained = 1;
    }
    this.#stagnant = queueMs > STAGNANT_SHARE * this.#queueMs ? this.#stagnant + 1 : 0;
    const isKept = queueMs >= KEPT_SHARE * this.#drainQueueMs || this.#stagnant >= PATIENT_ROUNDS;
    if (this.#drained < PATIENT_ROUNDS || !isKept) return;
    // What the path carried in these rounds is in the queue for so long.
    const carried = this.#drainBytes / this.#drainMs;
    this.#testBytes = carried * queueMs;
    this.#testWaitMs = -1;
    this.#testMs = 0;
    this.#drainQueueMs = queueMs;
    this.#set(Math.min(this.#rate, TEST_SHARE * carried * 1000));
  }

  /** A round of a test. */
  #test(elapsedMs: number, base: number, queueMs: number, sent: number, isLong: boolean): void {
    const carried = this.#drainBytes / this.#drainMs;
    this.#testMs += elapsedMs;
    if (this.#testWaitMs < 0) {
      this.#testBytes = Math.max(0, this.#testBytes - (carried - sent / 1000) * elapsedMs);
      // What was sent by now is heard of a round trip later.
      if (this.#testBytes === 0) this.#testWaitMs = base + queueMs;
    } else {
      this.#testWaitMs = Math.max(0, this.#testWaitMs - elapsedMs);
    }
    const isGrowing = queueMs > GROWING_SHARE * this.#drainQueueMs;
    const isOver = !isLong || isGrowing || this.#testWaitMs === 0 || this.#testMs >= MOST_TEST_MS;
    if (!isOver) return;
    const isPath = this.#testWaitMs === 0 && !isGrowing &&
      queueMs > GONE_SHARE * this.#drainQueueMs;
    this.#testBytes = -1;
    this.#drained = 0;
    if (isPath) {
      this.#rebase(base + queueMs, false);
      this.#set(this.#drainRate);
    } else {
      this.#set(DRAIN_FAST * carried * 1000);
    }
  }

  /** The empty path takes so long now, ms: the times before mean nothing any more. */
  #rebase(ms: number, isGuess: boolean): void {
    this.#base.raise(ms, isGuess);
    this.#drained = this.#unused = this.#growing = 0;
    this.#longRounds = 0;
  }

  /** Whether what is sent comes back: where less does, more would only wait. */
  get #mayGrow(): boolean {
    return this.#isStarting || this.#rate < RETURN_SHARE * this.#best ||
      this.#rate < (this.#calm > LATER_ROUNDS ? LATER_FACTOR : ANSWERED_FACTOR) * this.#answered;
  }

  #growth(): number {
    if (this.#isStarting) return START_GROWTH;
    // A peer that was busy for a moment looks like a narrow path: the way back is short.
    if (this.#rate < RETURN_SHARE * this.#best) return RETURN_GROWTH;
    return this.#calm > LATER_ROUNDS ? LATER_GROWTH : GROWTH;
  }

  #endCalm(): void {
    this.#isStarting = false;
    this.#calm = 0;
    this.#best *= FORGET_SHARE;
  }

  #set(rate: number): void {
    this.#rate = Math.min(this.#most, Math.max(this.#least, rate));
  }
}
