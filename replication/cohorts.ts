// The datagrams with state that one link sent in the last ticks: of each tick's first ones whether they went, arrived, or were lost. Those
// that are the same by their place in the tick are a cohort: what goes with it is acknowledged with it. What goes where it does not know.

import { NEVER } from "./track_pool.ts";

/** Cohorts of a link: so many datagrams of a tick count, in the order in which they go. */
export const COHORTS = 4;
/** Ticks that are remembered. */
export const STEP_TICKS = 32;
/** Datagrams that are known by their numbers. */
const KNOWN = 256;

/** One bit for each of the last {@linkcode STEP_TICKS} ticks: bit `i` is the tick `i` before {@linkcode Cohorts.tick}. */
export class Cohorts {
  /** The present tick. */
  tick: number = NEVER;
  // By cohort.
  readonly sent: Int32Array = new Int32Array(COHORTS);
  readonly acked: Int32Array = new Int32Array(COHORTS);
  readonly lost: Int32Array = new Int32Array(COHORTS);
  /** By cohort and tick: number of the datagram. */
  readonly #sequences = new Float64Array(COHORTS * STEP_TICKS);
  // By number.
  readonly #known = new Float64Array(KNOWN).fill(-1);
  readonly #tickOf = new Float64Array(KNOWN);
  readonly #cohortOf = new Uint8Array(KNOWN);

  /** Turns to a later tick. */
  advance(tick: number): void {
    const passed = this.tick === NEVER ? STEP_TICKS : tick - this.tick;
    this.tick = tick;
    for (let k = 0; k < COHORTS; k++) {
      this.sent[k] = passed >= STEP_TICKS ? 0 : this.sent[k]! << passed;
      this.acked[k] = passed >= STEP_TICKS ? 0 : this.acked[k]! << passed;
      this.lost[k] = passed >= STEP_TICKS ? 0 : this.lost[k]! << passed;
    }
  }

  /** Datagram `sequence` of the present tick carries what is due of a cohort. */
  noteSent(cohort: number, sequence: number): void {
    this.sent[cohort]! |= 1;
    this.#sequences[cohort * STEP_TICKS + this.tick % STEP_TICKS] = sequence;
    const at = sequence % KNOWN;
    this.#known[at] = sequence;
    this.#tickOf[at] = this.tick;
    this.#cohortOf[at] = cohort;
  }

  /** The peer holds what datagram `sequence` carried. */
  handleAcked(sequence: number): void {
    this.#note(this.acked, sequence);
  }

  /** Datagram `sequence` is given up as lost. */
  handleLost(sequence: number): void {
    this.#note(this.lost, sequence);
  }

  /** Number of a cohort's datagram `age` ticks ago, where one was sent. */
  sequenceOf(cohort: number, age: number): number {
    return this.#sequences[cohort * STEP_TICKS + (this.tick - age) % STEP_TICKS]!;
  }

  #note(words: Int32Array, sequence: number): void {
    const at = sequence % KNOWN;
    if (this.#known[at] !== sequence) return;
    const age = this.tick - this.#tickOf[at]!;
    if (age < STEP_TICKS) words[this.#cohortOf[at]!]! |= 1 << age;
  }
}
