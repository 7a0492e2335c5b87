// The checks of one field: bounds, rate, acceleration, step and speed of what peers write, with what they remember of each entity. It judges
// lanes against lanes; whose they are, and what becomes of a refused one, is not its business.

import {
  CHECK_BURST_S,
  CHECK_SILENCE_S,
  CHECK_TOLERANCE,
  RATE_TOLERANCE,
} from "../protocol/limits.ts";
import { reserveOf, roundingOf } from "../permissions/check_scale.ts";
import type { FieldCheck, FieldGrant } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { grown } from "../replication/grow.ts";
import { changeOf, shorten } from "./check_measure.ts";
import { VelocityWindows } from "./velocity_windows.ts";

/** Which limit of a check a value breaks. */
export type CheckKind = "bounds" | "rate" | "acceleration" | "step" | "speed";

/** Told of each limit that is broken: what was measured and what is allowed, in the limit's own unit. */
export type TellViolation = (kind: CheckKind, measured: number, limit: number) => void;

/** Shortest time, s, by which a distance is divided to be shown as a speed. */
const MIN_SHOWN_S = 0.001;

/** What became of a value. */
export const Judgement = { Passed: 0, Changed: 1, Refused: 2 } as const;

/** What is remembered of one field after its entity or component ended. */
export interface FieldMemory {
  readonly budgets: readonly [number, number];
  readonly windows: Float64Array | undefined;
  /** When it may change again, ms. */
  readonly rateMs: number;
}

/** One of the values of {@linkcode Judgement}. */
export type Judgement = typeof Judgement[keyof typeof Judgement];

/**
 * Judges one field.
 *
 * Speed is a budget of seconds at the greatest speed: the declared one, or the one that the declared acceleration lets it have by now. Each
 * write spends the seconds that its distance takes, and both the time between arrivals and the time between the samples fill it again: one
 * that lies about its sample times is held by the other, and over any span nobody moves farther than its greatest speed allows. `advance`
 * bounds what may be saved up.
 */
export class FieldChecker {
  readonly check: FieldCheck;
  readonly field: FieldGrant;
  readonly #maxKeys: number;
  readonly #tell: TellViolation;
  /** World units a second that pass, tolerance included. */
  readonly #speed: number;
  /** Seconds of budget that are held while writes come steadily. */
  readonly #reserveS: number;
  readonly #rounding: number;
  readonly #low: Float64Array;
  readonly #high: Float64Array;
  readonly #windows: VelocityWindows | undefined;
  readonly #rate: RateLimiter | undefined;
  /** Budgets by slot, s: two numbers, by arrivals and by samples. */
  #budget = new Float64Array(0);

  /** @param maxKeys Slots run from 0 to one less. */
  constructor(field: FieldGrant, check: FieldCheck, maxKeys: number, tell: TellViolation) {
    this.field = field;
    this.check = check;
    this.#tell = tell;
    this.#maxKeys = maxKeys;
    this.#speed = check.maxSpeed * CHECK_TOLERANCE;
    this.#reserveS = this.#speed === 0
      ? CHECK_BURST_S
      : reserveOf(field, this.#speed) / this.#speed;
    this.#rounding = roundingOf(field);
    const lane = (value: number) => Math.round((value - field.min) / field.precision);
    this.#low = Float64Array.from(check.min, lane);
    this.#high = Float64Array.from(check.max, lane);
    this.#windows = check.maxAcceleration === 0
      ? undefined
      : new VelocityWindows(field, check.maxAcceleration, this.#speed);
    const { rateHz } = check;
    // What a path held up comes in at once.
    const stallMs = CHECK_SILENCE_S * 1000;
    if (rateHz > 0) this.#rate = new RateLimiter({ rateHz, maxKeys, stallMs });
  }

  /** Makes room for slots below `length`. */
  reserve(length: number): void {
    this.#budget = grown(this.#budget, length * 2);
    this.#windows?.reserve(length);
  }

  /** A movement begins with these lanes at `timeS`, after the silence that still counts. */
  begin(slot: number, lanes: Int32Array, at: number, timeS: number, silenceS: number): void {
    this.forget(slot);
    this.#budget[slot * 2] = this.#reserveS + silenceS;
    this.#budget[slot * 2 + 1] = this.#reserveS + silenceS;
    this.#windows?.begin(slot, lanes, at, timeS - silenceS);
  }

  /** The value has become another one by someone else's doing: the movement goes on there, with the budget that it had. */
  move(slot: number, from: Int32Array, fromAt: number, to: Int32Array, toAt: number): void {
    this.#windows?.move(slot, from, fromAt, to, toAt);
  }

  /** Another entity takes the slot: what was known is erased. */
  forget(slot: number): void {
    this.#budget.fill(0, slot * 2, slot * 2 + 2);
    this.#windows?.forget(slot);
    this.#rate?.forget(slot);
  }

  /** What is known of a slot. */
  remember(slot: number): FieldMemory {
    return {
      budgets: [this.#budget[slot * 2]!, this.#budget[slot * 2 + 1]!],
      windows: this.#windows?.save(slot),
      rateMs: this.#rate?.fullAt(slot) ?? -Infinity,
    };
  }

  /** Goes on with what is remembered. */
  resume(slot: number, { budgets, windows, rateMs }: FieldMemory): void {
    this.#budget.set(budgets, slot * 2);
    if (windows !== undefined) this.#windows?.restore(slot, windows);
    this.#rate?.fill(slot, rateMs);
  }

  /** Time passed since the entity's last write: `way` 0 by arrival, 1 by sample times, with the silence that still counts. */
  advance(slot: number, way: number, elapsedS: number, silenceS: number): void {
    const at = slot * 2 + way;
    this.#budget[at] = Math.min(this.#reserveS + silenceS, this.#budget[at]! + elapsedS);
  }

  /** Whether a first value lies within the bounds; with the action `clamp` it is brought there. */
  judgeFirst(lanes: Int32Array, at: number): Judgement {
    return this.#judgeBounds(undefined, 0, lanes, at);
  }

  /**
   * Judges a changed value and spends its budget; a clamped one is written into `lanes`: it lies on the way from `base` to what came, so within
   * the field's range like both. `timeS` is its sample time, `elapsedS` that of arrival.
   */
  judge(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
    elapsedS: number,
    nowMs: number,
  ): Judgement {
    const { action } = this.check;
    let result: Judgement = Judgement.Passed;
    if (this.#rate?.take(slot, nowMs) === false) {
      const seen = 1 / Math.max(MIN_SHOWN_S, elapsedS);
      this.#tell("rate", Math.max(seen, this.check.rateHz * RATE_TOLERANCE), this.check.rateHz);
      // There is no value between the old one and the new that would be less often.
      if (action !== "report") return Judgement.Refused;
    }
    // Who stands outside, put there by someone who may, has to be able to walk back.
    result = worse(
      result,
      action === "report" ? this.judgeFirst(lanes, at) : this.#judgeBounds(base, baseAt, lanes, at),
    );
    if (result === Judgement.Refused) return result;
    result = worse(result, this.#judgeAcceleration(slot, base, baseAt, lanes, at, timeS));
    if (result === Judgement.Refused) return result;
    result = worse(result, this.#judgeStep(base, baseAt, lanes, at));
    if (result === Judgement.Refused) return result;
    result = worse(result, this.#judgeSpeed(slot, base, baseAt, lanes, at));
    if (result !== Judgement.Refused) this.#spend(slot, base, baseAt, lanes, at, timeS);
    return result;
  }

  /** The owner is put right, and stands until it has heard of it: that says nothing of its next velocity. */
  hold(slot: number): void {
    this.#windows?.hold(slot);
  }

  /** The next value to be accepted is no movement of its owner's own. */
  pause(slot: number): void {
    this.#windows?.pause(slot);
  }

  /** The value that holds from now on, in the place of `base`. */
  accept(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
  ): void {
    this.#windows?.accept(slot, base, baseAt, lanes, at, timeS);
  }

  /** Whether lanes lie within the bounds, or on no axis farther outside than `base`. */
  #judgeBounds(
    base: Int32Array | undefined,
    baseAt: number,
    lanes: Int32Array,
    at: number,
  ): Judgement {
    const low = (axis: number) =>
      base === undefined
        ? this.#low[axis]!
        : Math.min(this.#low[axis]!, base[baseAt + axis]! >>> 0);
    const high = (axis: number) =>
      base === undefined
        ? this.#high[axis]!
        : Math.max(this.#high[axis]!, base[baseAt + axis]! >>> 0);
    let worst = 0;
    let axis = -1;
    for (let i = 0; i < this.#low.length; i++) {
      const lane = lanes[at + i]! >>> 0;
      const beyond = Math.max(low(i) - lane, lane - high(i));
      if (beyond <= worst) continue;
      worst = beyond;
      axis = i;
    }
    if (axis < 0) return Judgement.Passed;
    const { min, precision } = this.field;
    const lane = lanes[at + axis]! >>> 0;
    const end = lane < this.#low[axis]! ? this.check.min[axis]! : this.check.max[axis]!;
    this.#tell("bounds", min + lane * precision, end);
    if (this.check.action === "clamp") {
      for (let i = 0; i < this.#low.length; i++) {
        lanes[at + i] = Math.min(high(i), Math.max(low(i), lanes[at + i]! >>> 0));
      }
    }
    return this.#judgement;
  }

  #judgeAcceleration(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
  ): Judgement {
    const windows = this.#windows;
    if (windows === undefined) return Judgement.Passed;
    if (windows.judge(slot, base, baseAt, lanes, at, timeS, this.#left(slot))) {
      return Judgement.Passed;
    }
    this.#tell("acceleration", windows.measured, this.check.maxAcceleration);
    if (this.check.action === "clamp") {
      shorten(this.field, base, baseAt, lanes, at, windows.share);
    }
    return this.#judgement;
  }

  #judgeStep(
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
  ): Judgement {
    const { maxStep, action } = this.check;
    if (maxStep === 0) return Judgement.Passed;
    const distance = changeOf(this.field, base, baseAt, lanes, at);
    if (distance <= maxStep + this.#rounding) return Judgement.Passed;
    this.#tell("step", distance, maxStep);
    if (action === "clamp") shorten(this.field, base, baseAt, lanes, at, maxStep / distance);
    return this.#judgement;
  }

  #judgeSpeed(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
  ): Judgement {
    if (this.#speed === 0) return Judgement.Passed;
    const budget = this.#left(slot);
    const needed = changeOf(this.field, base, baseAt, lanes, at) / this.#speed;
    // A billionth of grace for sums of times that are no binary fractions.
    if (needed <= budget + 1e-9) return Judgement.Passed;
    this.#tell("speed", needed * this.#speed / Math.max(MIN_SHOWN_S, budget), this.check.maxSpeed);
    if (this.check.action === "clamp") {
      shorten(this.field, base, baseAt, lanes, at, budget / needed);
    }
    return this.#judgement;
  }

  /** Seconds of movement that are left. */
  #left(slot: number): number {
    return Math.min(this.#budget[slot * 2]!, this.#budget[slot * 2 + 1]!);
  }

  /** Spends what the way takes at the smaller of its greatest speeds. */
  #spend(
    slot: number,
    base: Int32Array,
    baseAt: number,
    lanes: Int32Array,
    at: number,
    timeS: number,
  ): void {
    const bySpeed = this.#speed === 0
      ? 0
      : changeOf(this.field, base, baseAt, lanes, at) / this.#speed;
    const windows = this.#windows;
    const byGain = windows === undefined
      ? 0
      : windows.seconds(slot, base, baseAt, lanes, at, timeS);
    const seconds = Math.max(bySpeed, byGain);
    const first = slot * 2;
    this.#budget[first] = Math.max(0, this.#budget[first]! - seconds);
    this.#budget[first + 1] = Math.max(0, this.#budget[first + 1]! - seconds);
  }

  /** What becomes of a value that breaks a limit. */
  get #judgement(): Judgement {
    const { action } = this.check;
    if (action === "report") return Judgement.Passed;
    return action === "clamp" ? Judgement.Changed : Judgement.Refused;
  }
}

function worse(a: Judgement, b: Judgement): Judgement {
  return a > b ? a : b;
}
