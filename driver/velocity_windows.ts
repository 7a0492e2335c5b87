// How fast the velocity of a value may change: mean velocities over neighbouring windows of sample time, one pair an entity. It measures and
// proposes; it refuses nothing itself.

import {
  CHECK_SILENCE_S,
  CHECK_STAMP_ERROR_S,
  CHECK_TOLERANCE,
  CHECK_WINDOW_S,
} from "../protocol/limits.ts";
import { roundingOf } from "../permissions/check_scale.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import { grown } from "../replication/grow.ts";

/**
 * Windows of f32 and vec3 fields.
 *
 * A window is open until a write comes at least `CHECK_WINDOW_S` after the one it began with. The mean velocities of two windows, W1 and W2
 * seconds long, of a movement with at most the acceleration a differ by at most a (W1 + W2) / 2, the distance of their middles, however it
 * was sampled; errors of sample times and rounding come on top, the more the shorter the open window is so far. To lose speed along its direction is free, because walls stop bodies at once:
 * the new velocity is compared with the nearest one on the way from rest to the last.
 */
export class VelocityWindows {
  /** Acceleration measured last; above the limit after `judge` said no. */
  measured = 0;
  readonly #field: FieldGrant;
  readonly #limit: number;
  readonly #axes: number;
  readonly #rounding: number;
  /** Lanes at the start of the open window. */
  #anchor = new Int32Array(0);
  /** World units a second, of the last whole window. */
  #velocity = new Float64Array(0);
  /** Start of the open window, s; NaN where none is open. */
  #since = new Float64Array(0);
  /** Length of the last whole window, s; 0 where there is none. */
  #width = new Float64Array(0);
  readonly #next = new Float64Array(3);
  readonly #nearest = new Float64Array(3);

  /** @param limit World units per second squared. */
  constructor(field: FieldGrant, limit: number) {
    this.#field = field;
    this.#limit = limit;
    this.#axes = field.lanes;
    this.#rounding = roundingOf(field);
  }

  /** Makes room for slots below `length`. */
  reserve(length: number): void {
    this.#anchor = grown(this.#anchor, length * this.#axes);
    this.#velocity = grown(this.#velocity, length * this.#axes);
    const known = this.#since.length;
    this.#since = grown(this.#since, length).fill(NaN, known);
    this.#width = grown(this.#width, length);
  }

  /** Nothing is known of the movement: the next accepted value begins a window. */
  restart(slot: number): void {
    this.#since[slot] = NaN;
    this.#width[slot] = 0;
  }

  /**
   * Judges lanes sampled at `timeS`. False when the velocity since the start of the window cannot follow from the one before: then, with
   * `mayClamp`, the lanes have become those of the nearest velocity that can, rounded towards `base`.
   */
  judge(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
    mayClamp: boolean,
  ): boolean {
    const width = timeS - this.#since[slot]!;
    const before = this.#width[slot]!;
    // A window that is not open has no length: every comparison with NaN is false.
    if (!(width > 0) || before === 0) return true;
    const speed = this.#measure(slot, lanes, at, width);
    const wasSpeed = this.#follow(slot);
    let apart = 0;
    for (let i = 0; i < this.#axes; i++) apart += (this.#next[i]! - this.#nearest[i]!) ** 2;
    apart = Math.sqrt(apart);
    const between = (Math.min(width, CHECK_SILENCE_S) + Math.min(before, CHECK_SILENCE_S)) / 2;
    const error = CHECK_STAMP_ERROR_S * (speed / width + wasSpeed / before) +
      this.#rounding * (1 / width + 1 / before);
    this.measured = Math.max(0, apart - error) / between;
    const allowed = this.#limit * CHECK_TOLERANCE * between + error;
    if (apart <= allowed) return true;
    if (mayClamp) this.#clamp(slot, base, baseAt, lanes, at, width, allowed / apart);
    return false;
  }

  /** Takes the value that holds now, sampled at `timeS`: it begins a window, and ends the open one when that is long enough. */
  accept(slot: number, lanes: Int32Array, at: number, timeS: number): void {
    const width = timeS - this.#since[slot]!;
    if (width < CHECK_WINDOW_S) return;
    if (width >= CHECK_WINDOW_S) {
      this.#measure(slot, lanes, at, width);
      for (let i = 0; i < this.#axes; i++) this.#velocity[slot * this.#axes + i] = this.#next[i]!;
      this.#width[slot] = width;
    }
    for (let i = 0; i < this.#axes; i++) this.#anchor[slot * this.#axes + i] = lanes[at + i]!;
    this.#since[slot] = timeS;
  }

  /** The mean velocity of the open window into `next`; returns its size. */
  #measure(slot: number, lanes: Int32Array, at: number, width: number): number {
    let squares = 0;
    for (let i = 0; i < this.#axes; i++) {
      const way = (lanes[at + i]! - this.#anchor[slot * this.#axes + i]!) * this.#field.precision;
      this.#next[i] = way / width;
      squares += this.#next[i]! ** 2;
    }
    return Math.sqrt(squares);
  }

  /** The velocity on the way from rest to the last window's that is nearest to `next`, into `nearest`; returns the last one's size. */
  #follow(slot: number): number {
    const at = slot * this.#axes;
    let squares = 0;
    let product = 0;
    for (let i = 0; i < this.#axes; i++) {
      squares += this.#velocity[at + i]! ** 2;
      product += this.#velocity[at + i]! * this.#next[i]!;
    }
    const share = squares === 0 ? 0 : Math.min(1, Math.max(0, product / squares));
    for (let i = 0; i < this.#axes; i++) this.#nearest[i] = this.#velocity[at + i]! * share;
    return Math.sqrt(squares);
  }

  #clamp(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    width: number,
    share: number,
  ): void {
    for (let i = 0; i < this.#axes; i++) {
      const nearest = this.#nearest[i]!;
      const velocity = nearest + (this.#next[i]! - nearest) * share;
      const anchor = this.#anchor[slot * this.#axes + i]!;
      const start = base[baseAt + i]!;
      const lane = anchor + velocity * width / this.#field.precision;
      lanes[at + i] = start + Math.trunc(lane - start);
    }
  }
}
