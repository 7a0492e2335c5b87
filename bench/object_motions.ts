// The three motions of the objects benchmark, after the public unity-netcode-benchmark: a sine upwards, a sine along a line, and wandering
// about with the rotation looking ahead. Seeded, stepped at a fixed rate; numbers alone.

import type { Prng } from "../protocol/prng.ts";

/** The motions, in the order in which they are measured. */
export const MOTIONS = ["move_y", "all_axis", "wander"] as const;

/** One of {@linkcode MOTIONS}. */
export type MotionName = typeof MOTIONS[number];

/** Farthest that a wanderer's new target lies from its path, metres a second. */
const WANDER_RADIUS = 35;
const WANDER_CHANCE = 0.05;
const MAX_SPEED = 3;
const MAX_TURN = 15;

/** Objects of one motion. */
export class Motion {
  /** x, y, z in metres. */
  readonly positions: Float64Array;
  /** Unit quaternions x, y, z, w. */
  readonly rotations: Float64Array;
  readonly count: number;
  readonly #name: MotionName;
  readonly #stepHz: number;
  readonly #prng: Prng;
  readonly #start: Float64Array;
  readonly #direction: Float64Array;
  readonly #speed: Float64Array;
  readonly #reach: Float64Array;
  readonly #velocity: Float64Array;
  readonly #target: Float64Array;
  #steps = 0;

  /** Draws places, speeds and directions. */
  constructor(name: MotionName, count: number, stepHz: number, prng: Prng) {
    this.#name = name;
    this.count = count;
    this.#stepHz = stepHz;
    this.#prng = prng;
    this.positions = new Float64Array(3 * count);
    this.rotations = new Float64Array(4 * count);
    this.#start = new Float64Array(3 * count);
    this.#direction = new Float64Array(3 * count);
    this.#velocity = new Float64Array(3 * count);
    this.#target = new Float64Array(3 * count);
    this.#speed = new Float64Array(count);
    this.#reach = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      for (let a = 0; a < 3; a++) {
        this.#start[3 * i + a] = this.#between(-5, 5);
        this.#direction[3 * i + a] = this.#between(-1, 1);
        this.#velocity[3 * i + a] = this.#between(-1, 1);
      }
      this.#speed[i] = this.#between(0.5, 1);
      this.#reach[i] = this.#between(0.5, 1);
      this.rotations[4 * i + 3] = 1;
    }
    this.positions.set(this.#start);
    this.#target.set(this.#velocity);
  }

  /** Steps up to `seconds` after the start. */
  advance(seconds: number): void {
    while ((this.#steps + 1) / this.#stepHz <= seconds + 1e-9) {
      this.#steps += 1;
      if (this.#name === "wander") this.#wander();
    }
    if (this.#name === "wander") return;
    const t = this.#steps / this.#stepHz;
    for (let i = 0; i < this.count; i++) {
      const sine = Math.sin(this.#speed[i]! * t);
      if (this.#name === "move_y") {
        this.positions[3 * i + 1] = this.#start[3 * i + 1]! + this.#reach[i]! * sine;
      } else {
        for (let a = 0; a < 3; a++) {
          this.positions[3 * i + a] = this.#direction[3 * i + a]! * 50 * sine;
        }
      }
    }
  }

  #wander(): void {
    const v = this.#velocity;
    for (let i = 0; i < this.count; i++) {
      const at = 3 * i;
      if (this.#unit() < WANDER_CHANCE) this.#drawTarget(at);
      const target = this.#target;
      const size = Math.hypot(target[at]!, target[at + 1]!, target[at + 2]!) || 1;
      const pull = [0, 1, 2].map((a) => MAX_SPEED * target[at + a]! / size - v[at + a]!);
      const strength = Math.min(1, MAX_TURN / (Math.hypot(...pull) || 1)) / MAX_TURN;
      for (let a = 0; a < 3; a++) v[at + a] = v[at + a]! + pull[a]! * strength;
      const speed = Math.hypot(v[at]!, v[at + 1]!, v[at + 2]!) || 1;
      const slow = Math.min(1, MAX_SPEED / speed);
      for (let a = 0; a < 3; a++) {
        v[at + a] = v[at + a]! * slow;
        this.positions[at + a] = this.positions[at + a]! + v[at + a]! / this.#stepHz;
      }
      this.#look(i);
    }
  }

  /** The velocity and a point of the disc perpendicular to it. */
  #drawTarget(at: number): void {
    const v = this.#velocity;
    const size = Math.hypot(v[at]!, v[at + 1]!, v[at + 2]!) || 1;
    const n = [v[at]! / size, v[at + 1]! / size, v[at + 2]! / size] as const;
    const helper = Math.abs(n[1]) < 0.9 ? [0, 1, 0] as const : [1, 0, 0] as const;
    const u = cross(n, helper);
    const length = Math.hypot(...u);
    const w = cross(n, u);
    const radius = WANDER_RADIUS * Math.sqrt(this.#unit()) / length;
    const angle = 2 * Math.PI * this.#unit();
    for (let a = 0; a < 3; a++) {
      this.#target[at + a] = v[at + a]! +
        radius * (Math.cos(angle) * u[a]! + Math.sin(angle) * w[a]!);
    }
  }

  /** Turns forward (z) along the velocity, up stays up. */
  #look(i: number): void {
    const v = this.#velocity;
    const [x, y, z] = [v[3 * i]!, v[3 * i + 1]!, v[3 * i + 2]!];
    const yaw = Math.atan2(x, z) / 2;
    const pitch = -Math.atan2(y, Math.hypot(x, z)) / 2;
    this.rotations[4 * i] = Math.cos(yaw) * Math.sin(pitch);
    this.rotations[4 * i + 1] = Math.sin(yaw) * Math.cos(pitch);
    this.rotations[4 * i + 2] = -Math.sin(yaw) * Math.sin(pitch);
    this.rotations[4 * i + 3] = Math.cos(yaw) * Math.cos(pitch);
  }

  #unit(): number {
    return this.#prng.nextU32() / 2 ** 32;
  }

  #between(low: number, high: number): number {
    return low + (high - low) * this.#unit();
  }
}

type Vector = readonly [number, number, number];

function cross(a: Vector, b: Vector): [number, number, number] {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}
