// The checks of one field: bounds, rate, acceleration, step and speed of what peers write, with what they remember of each entity. It judges
// lanes against lanes; whose they are, and what becomes of a refused one, is not its business.

import { CHECK_TOLERANCE, RATE_TOLERANCE } from "../protocol/limits.ts";
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

/** One of the values of {@linkcode Judgement}. */
export type Judgement = typeof Judgement[keyof typeof Judgement];

/**
 * Judges one field.
 *
 * Speed is a budget of seconds at the greatest speed. Each write spends the seconds that its distance takes, and both the time between
 * arrivals and the time between the samples fill it again: one that lies about its sample times is held by the other, and over any span
 * nobody moves farther than its greatest speed allows. `advance` bounds what may be saved up.
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
  #rate: RateLimiter | undefined;
  /** Budgets by slot, s: two numbers, by arrivals and by samples. */
  #budget = new Float64Array(0);

  /** @param maxKeys Slots run from 0 to one less. */
  constructor(field: FieldGrant, check: FieldCheck, maxKeys: number, tell: TellViolation) {
    this.field = field;
    this.check = check;
    this.#tell = tell;
    this.#maxKeys = maxKeys;
    this.#speed = check.maxSpeed * CHECK_TOLERANCE;
    this.#reserveS = this.#speed === 0 ? 0 : reserveOf(field, this.#speed) / this.#speed;
    this.#rounding = roundingOf(field);
    const lane = (value: number) => Math.round((value - field.min) / field.precision);
    this.#low = Float64Array.from(check.min, lane);
    this.#high = Float64Array.from(check.max, lane);
    this.#windows = check.maxAcceleration === 0
      ? undefined
      : new VelocityWindows(field, check.maxAcceleration);
    if (check.rateHz > 0) this.#rate = new RateLimiter({ rateHz: check.rateHz, maxKeys });
  }

  /** Makes room for slots below `length`. */
  reserve(length: number): void {
    this.#budget = grown(this.#budget, length * 2);
    this.#windows?.reserve(length);
  }

  /** The value has become another one by someone else's doing: the movement begins there, after the silence that still counts. */
  restart(slot: number, byArrivalS: number, bySampleS: number): void {
    this.#budget[slot * 2] = this.#reserveS + byArrivalS;
    this.#budget[slot * 2 + 1] = this.#reserveS + bySampleS;
    this.#windows?.restart(slot);
  }

  /** Another entity takes the slot. */
  forget(slot: number): void {
    this.restart(slot, 0, 0);
    if (slot < this.#maxKeys) this.#rate?.forget(slot);
  }

  /** Budget of one way, s, to be remembered. */
  budget(slot: number, way: number): number {
    return this.#budget[slot * 2 + way]!;
  }

  /** Goes on with a remembered budget. */
  resume(slot: number, byArrival: number, bySample: number): void {
    this.forget(slot);
    this.#budget[slot * 2] = byArrival;
    this.#budget[slot * 2 + 1] = bySample;
  }

  /** Time passed since the entity's last write: `way` 0 by arrival, 1 by sample times, with the silence that still counts. */
  advance(slot: number, way: number, elapsedS: number, silenceS: number): void {
    const at = slot * 2 + way;
    this.#budget[at] = Math.min(this.#reserveS + silenceS, this.#budget[at]! + elapsedS);
  }

  /** Whether a first value lies within the bounds; with the action `clamp` it is brought there. */
  judgeFirst(lanes: Int32Array, at: number): Judgement {
    return this.#judgeBounds(lanes, at, this.#tell);
  }

  /** Judges a changed value and spends its budget; a clamped one is written into `lanes`. `timeS` is its sample time, `elapsedS` that of arrival. */
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
    result = worse(result, this.#judgeBounds(lanes, at, this.#tell));
    if (result === Judgement.Refused) return result;
    result = worse(result, this.#judgeAcceleration(slot, base, baseAt, lanes, at, timeS));
    if (result === Judgement.Refused) return result;
    result = worse(result, this.#judgeStep(base, baseAt, lanes, at));
    if (result === Judgement.Refused) return result;
    return worse(result, this.#judgeSpeed(slot, base, baseAt, lanes, at));
  }

  /** The owner is put right, and stands until it has heard of it: that says nothing of its next velocity. */
  stop(slot: number): void {
    this.#windows?.restart(slot);
  }

  /** The value that holds now. */
  accept(slot: number, lanes: Int32Array, at: number, timeS: number): void {
    this.#windows?.accept(slot, lanes, at, timeS);
  }

  #judgeBounds(lanes: Int32Array, at: number, tell: TellViolation): Judgement {
    const low = this.#low;
    const high = this.#high;
    let worst = 0;
    let axis = -1;
    for (let i = 0; i < low.length; i++) {
      const lane = lanes[at + i]! >>> 0;
      const beyond = Math.max(low[i]! - lane, lane - high[i]!);
      if (beyond <= worst) continue;
      worst = beyond;
      axis = i;
    }
    if (axis < 0) return Judgement.Passed;
    const { min, precision } = this.field;
    const lane = lanes[at + axis]! >>> 0;
    const end = lane < low[axis]! ? this.check.min[axis]! : this.check.max[axis]!;
    tell("bounds", min + lane * precision, end);
    if (this.check.action === "clamp") {
      for (let i = 0; i < low.length; i++) {
        lanes[at + i] = Math.min(high[i]!, Math.max(low[i]!, lanes[at + i]! >>> 0));
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
    const mayClamp = this.check.action === "clamp";
    if (windows.judge(slot, base, baseAt, lanes, at, timeS, mayClamp)) return Judgement.Passed;
    this.#tell("acceleration", windows.measured, this.check.maxAcceleration);
    // The way out of the open window may have left the bounds that the value was in.
    if (mayClamp && this.#low.length > 0) this.#judgeBounds(lanes, at, quiet);
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
    const budget = Math.min(this.#budget[slot * 2]!, this.#budget[slot * 2 + 1]!);
    let needed = changeOf(this.field, base, baseAt, lanes, at) / this.#speed;
    // A billionth of grace for sums of times that are no binary fractions.
    if (needed <= budget + 1e-9) {
      this.#spend(slot, needed);
      return Judgement.Passed;
    }
    this.#tell("speed", needed * this.#speed / Math.max(MIN_SHOWN_S, budget), this.check.maxSpeed);
    if (this.check.action === "reject") return Judgement.Refused;
    if (this.check.action === "clamp") {
      shorten(this.field, base, baseAt, lanes, at, budget / needed);
      needed = changeOf(this.field, base, baseAt, lanes, at) / this.#speed;
    }
    this.#spend(slot, needed);
    return this.#judgement;
  }

  #spend(slot: number, seconds: number): void {
    const at = slot * 2;
    this.#budget[at] = Math.max(0, this.#budget[at]! - seconds);
    this.#budget[at + 1] = Math.max(0, this.#budget[at + 1]! - seconds);
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

function quiet(): void {}
