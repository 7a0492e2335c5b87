// How fast the velocity of a value may change: what is known of an entity's movement, and how fast it can be at most since. It measures and
// proposes; it refuses nothing itself.

import {
  CHECK_BURST_S,
  CHECK_SILENCE_S,
  CHECK_STAMP_ERROR_S,
  CHECK_TOLERANCE,
  CHECK_WINDOW_S,
} from "../protocol/limits.ts";
import { roundingOf } from "../permissions/check_scale.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import { grown } from "../replication/grow.ts";
import { changeOf } from "./check_measure.ts";

/** Longest time, s, that a movement counts for at once: the longest silence, and what else a window may hold. */
const MOST_S = CHECK_SILENCE_S + CHECK_BURST_S;
/** Shortest budget, s, by which a movement is divided to be shown. */
const MIN_SHOWN_S = 0.001;
/** Halvings that find the end of the permitted way: finer than any field's steps. */
const HALVINGS = 24;

// Places in a slot's numbers, after anchor and velocity.
const SINCE = 0;
const EVIDENT = 1;
const LAST = 2;
const SPEED = 3;
const SPREAD = 4;
const FLAGS = 5;
const PLACES = 6;

/** The owner does not know yet where the value is: the time until its next write is none of its movement. */
const PAUSED = 1;
/** It broke a check since its velocity was measured last. */
const AT_FAULT = 2;

/**
 * Movements of f32 and vec3 fields.
 *
 * A window is open until a write comes at least `CHECK_WINDOW_S` after its start. With its displacement D and length W, and sample times off
 * by up to E, the velocity at its end lies within a(W + E), the spread, of the way from rest to C = D / (W - E): to lose speed along its
 * direction is free, because walls stop bodies at once. From there it grows by at most a in each second, and two things follow:
 *
 * - The greatest possible speed. A movement takes at least its distance divided by that, and spends as much of the speed budget, which time
 *   alone fills: so errors of sample times are forgiven once and not in every window. A measurement can lower the greatest speed, never raise it.
 * - The velocities that the open window may have, a set around the way from rest to C: so a movement cannot turn too fast either.
 *
 * What a write claims enters into neither before it has been judged.
 */
export class VelocityWindows {
  /** What was measured last, as acceleration: the limit, times as often as the movement was too fast. */
  measured = 0;
  /** Share of the way from the last value that would have passed, after `judge` said no. */
  share = 1;
  readonly #field: FieldGrant;
  /** World units per second squared that pass. */
  readonly #limit: number;
  readonly #declared: number;
  /** World units a second at which a movement may begin; 0: from rest. */
  readonly #first: number;
  readonly #axes: number;
  readonly #stride: number;
  readonly #rounding: number;
  /** What a window spent at rest leaves possible. */
  readonly #rest: number;
  /** By slot: lanes at the start of the open window and the velocity C, by axis; then the places above. */
  #state = new Float64Array(0);

  /** @param limit World units per second squared, as declared. `maxSpeed`: world units a second that pass; 0 for any. */
  constructor(field: FieldGrant, limit: number, maxSpeed: number) {
    this.#field = field;
    this.#declared = limit;
    this.#limit = limit * CHECK_TOLERANCE;
    this.#first = maxSpeed;
    this.#axes = field.lanes;
    this.#stride = 2 * this.#axes + PLACES;
    this.#rounding = roundingOf(field);
    this.#rest = this.#spreadOf(CHECK_WINDOW_S);
  }

  /** Makes room for slots below `length`. */
  reserve(length: number): void {
    this.#state = grown(this.#state, length * this.#stride);
  }

  /** Erases what is known of a slot. */
  forget(slot: number): void {
    this.#state.fill(0, slot * this.#stride, (slot + 1) * this.#stride);
  }

  /** A movement begins with these lanes at `timeS`: as fast as anything may be, or from rest. */
  begin(slot: number, lanes: Int32Array, at: number, timeS: number): void {
    const from = slot * this.#stride;
    for (let i = 0; i < this.#axes; i++) this.#state[from + i] = lanes[at + i]!;
    this.#calm(slot, timeS);
    this.#place(slot, LAST, timeS);
    this.#free(slot);
  }

  /** All that is known of a slot, to be taken up again with `restore`. */
  save(slot: number): Float64Array {
    return this.#state.slice(slot * this.#stride, (slot + 1) * this.#stride);
  }

  /** The inverse of `save`. */
  restore(slot: number, saved: Float64Array): void {
    this.#state.set(saved, slot * this.#stride);
  }

  /** Someone else put the value elsewhere: its owner goes on from there as fast as it was, or as fast as anything may be. */
  move(slot: number, from: Int32Array, fromAt: number, to: Int32Array, toAt: number): void {
    this.#shift(slot, from, fromAt, to, toAt);
    this.#free(slot);
    this.pause(slot);
  }

  /** The next accepted step is none of the owner's movement. */
  pause(slot: number): void {
    this.#flag(slot, PAUSED);
  }

  /** The owner broke a check and is put right: until it has heard of it the value stands, which says nothing of its velocity. */
  hold(slot: number): void {
    this.#flag(slot, PAUSED | AT_FAULT);
  }

  /**
   * Whether lanes sampled at `timeS` can follow on `base`, with `budgetS` seconds of movement left. If not, `share` says how much of the way
   * can, and `measured` how far beyond the limit it was.
   */
  judge(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
    budgetS: number,
  ): boolean {
    this.#settle(slot, base, baseAt, timeS);
    const seconds = this.seconds(slot, base, baseAt, lanes, at, timeS);
    const reach = this.#reach(slot, timeS);
    const apart = this.#apart(slot, base, baseAt, lanes, at, 1, timeS);
    const excess = Math.max(
      seconds <= budgetS + 1e-9 ? 0 : seconds / Math.max(MIN_SHOWN_S, budgetS),
      apart <= reach ? 0 : apart / reach,
    );
    this.measured = this.#declared * Math.max(1, excess);
    if (excess === 0) return true;
    const distance = changeOf(this.#field, base, baseAt, lanes, at);
    const way = budgetS * this.#speedUntil(slot, timeS);
    this.share = Math.min(1, way / distance);
    // The end of a shortened way is rounded again, and has to lie within the reach then.
    const end = reach - this.#rounding;
    if (this.#apart(slot, base, baseAt, lanes, at, this.share, timeS) > end) {
      this.share *= this.#shareWithin(slot, base, baseAt, lanes, at, timeS, end);
    }
    return false;
  }

  /** Seconds that the way from `base` takes at the greatest possible speed; valid after `judge`. */
  seconds(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
  ): number {
    const distance = changeOf(this.#field, base, baseAt, lanes, at) - this.#rounding;
    return Math.max(0, distance) / this.#speedUntil(slot, timeS);
  }

  /** Takes the value that holds from now on in the place of `base`, sampled at `timeS`; ends the open window when that is long enough. */
  accept(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
  ): void {
    this.#settle(slot, base, baseAt, timeS);
    const from = slot * this.#stride;
    const places = from + 2 * this.#axes;
    const state = this.#state;
    const elapsed = timeS - state[places + LAST]!;
    state[places + LAST] = timeS;
    const flags = state[places + FLAGS]!;
    if ((flags & PAUSED) !== 0) {
      state[places + FLAGS] = flags & ~PAUSED;
      state[places + SINCE] = state[places + SINCE]! + elapsed;
      this.#shift(slot, base, baseAt, lanes, at);
      return;
    }
    const width = timeS - state[places + SINCE]!;
    if (width < CHECK_WINDOW_S) return;
    const greatest = this.#greatest(slot, timeS);
    const scale = this.#field.precision * CHECK_TOLERANCE / (width - CHECK_STAMP_ERROR_S);
    let squares = 0;
    for (let i = 0; i < this.#axes; i++) {
      const velocity = (lanes[at + i]! - state[from + i]!) * scale;
      squares += velocity ** 2;
      state[from + this.#axes + i] = velocity;
      state[from + i] = lanes[at + i]!;
    }
    const spread = this.#spreadOf(width);
    state[places + SINCE] = timeS;
    state[places + EVIDENT] = timeS;
    state[places + SPEED] = Math.min(greatest, Math.sqrt(squares) + spread);
    state[places + SPREAD] = spread;
    state[places + FLAGS] = 0;
  }

  /** What a window of this length leaves unknown of the velocity at its end. */
  #spreadOf(width: number): number {
    return this.#limit * (Math.min(width, MOST_S) + CHECK_STAMP_ERROR_S) +
      this.#rounding / (width - CHECK_STAMP_ERROR_S);
  }

  /** Ends what is known of a movement that has come to rest, or whose owner has been at fault for so long that it counts as such. */
  #settle(slot: number, base: Int32Array, baseAt: number, timeS: number): void {
    const places = slot * this.#stride + 2 * this.#axes;
    const state = this.#state;
    const isSilent = timeS - state[places + LAST]! > MOST_S;
    const isAtFault = (state[places + FLAGS]! & AT_FAULT) !== 0 &&
      timeS - state[places + EVIDENT]! > CHECK_SILENCE_S;
    if (!isSilent && !isAtFault) return;
    for (let i = 0; i < this.#axes; i++) state[slot * this.#stride + i] = base[baseAt + i]!;
    // Nothing was written for longer than a path can lose: it rested, and began to move when that silence began.
    this.#calm(slot, isSilent ? timeS - CHECK_SILENCE_S : timeS);
    if (isSilent) state[places + LAST] = timeS - CHECK_SILENCE_S;
  }

  /** At rest since a window before `timeS`. */
  #calm(slot: number, timeS: number): void {
    const from = slot * this.#stride + this.#axes;
    this.#state.fill(0, from, from + this.#axes);
    this.#place(slot, SINCE, timeS);
    this.#place(slot, EVIDENT, timeS);
    this.#place(slot, SPEED, this.#rest);
    this.#place(slot, SPREAD, this.#rest);
    this.#place(slot, FLAGS, 0);
  }

  /** Its velocity may be any within the greatest speed that is declared. */
  #free(slot: number): void {
    const places = slot * this.#stride + 2 * this.#axes;
    const state = this.#state;
    state[places + SPEED] = Math.max(state[places + SPEED]!, this.#first);
    state[places + SPREAD] = Math.max(state[places + SPREAD]!, this.#first);
  }

  /** The greatest speed that is possible at `timeS`. */
  #greatest(slot: number, timeS: number): number {
    const places = slot * this.#stride + 2 * this.#axes;
    return this.#state[places + SPEED]! + this.#limit * this.#age(slot, timeS);
  }

  /** The mean of that over the step that ends at `timeS`. */
  #speedUntil(slot: number, timeS: number): number {
    const last = this.#state[slot * this.#stride + 2 * this.#axes + LAST]!;
    return (this.#greatest(slot, last) + this.#greatest(slot, timeS)) / 2;
  }

  /** Seconds since the velocity was measured, as far as they count. */
  #age(slot: number, timeS: number): number {
    const evident = this.#state[slot * this.#stride + 2 * this.#axes + EVIDENT]!;
    return Math.min(MOST_S, Math.max(0, timeS - evident));
  }

  /** Time for which the displacement of the open window may last. */
  #lasting(slot: number, timeS: number): number {
    const since = this.#state[slot * this.#stride + 2 * this.#axes + SINCE]!;
    return Math.min(MOST_S, timeS - since) + CHECK_STAMP_ERROR_S;
  }

  /** How far from the way at constant velocity the open window may lead. */
  #reach(slot: number, timeS: number): number {
    const places = slot * this.#stride + 2 * this.#axes;
    const start = this.#age(slot, this.#state[places + SINCE]!);
    const grown = this.#limit * (start + this.#age(slot, timeS) + CHECK_STAMP_ERROR_S) / 2;
    return (this.#state[places + SPREAD]! + grown) * this.#lasting(slot, timeS) + this.#rounding;
  }

  /** Distance of the open window's displacement, with this share of the way from `base` on, from the nearest one with its velocity. */
  #apart(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    share: number,
    timeS: number,
  ): number {
    const from = slot * this.#stride;
    const { precision } = this.#field;
    const lasting = this.#lasting(slot, timeS);
    const state = this.#state;
    const lane = (i: number) =>
      base[baseAt + i]! + (lanes[at + i]! - base[baseAt + i]!) * share - state[from + i]!;
    let squares = 0;
    let product = 0;
    for (let i = 0; i < this.#axes; i++) {
      const whole = state[from + this.#axes + i]! * lasting;
      squares += whole ** 2;
      product += whole * lane(i) * precision;
    }
    const along = squares === 0 ? 0 : Math.min(1, Math.max(0, product / squares));
    let apart = 0;
    for (let i = 0; i < this.#axes; i++) {
      const nearest = state[from + this.#axes + i]! * lasting * along;
      apart += (lane(i) * precision - nearest) ** 2;
    }
    return Math.sqrt(apart);
  }

  /** The largest part of `share` that ends within `reach`: distance from a convex set has no second way in. */
  #shareWithin(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
    reach: number,
  ): number {
    let low = 0;
    let high = 1;
    for (let i = 0; i < HALVINGS; i++) {
      const middle = (low + high) / 2;
      const apart = this.#apart(slot, base, baseAt, lanes, at, this.share * middle, timeS);
      if (apart <= reach) low = middle;
      else high = middle;
    }
    return low;
  }

  /** Moves the start of the open window along. */
  #shift(slot: number, from: Int32Array, fromAt: number, to: Int32Array, toAt: number): void {
    const start = slot * this.#stride;
    for (let i = 0; i < this.#axes; i++) {
      this.#state[start + i] = this.#state[start + i]! + to[toAt + i]! - from[fromAt + i]!;
    }
  }

  #flag(slot: number, flags: number): void {
    const at = slot * this.#stride + 2 * this.#axes + FLAGS;
    this.#state[at] = this.#state[at]! | flags;
  }

  #place(slot: number, place: number, value: number): void {
    this.#state[slot * this.#stride + 2 * this.#axes + place] = value;
  }
}
