// The recorded people as things that move, one for each transform: what the rivals' encoders are given. Forwards and backwards for ever.

import { CLIP_HZ, FRAME_FLOATS, type MotionClip } from "../examples/recorded.ts";
import type { Prng } from "../protocol/prng.ts";
import { drawPlaces } from "./avatar_player.ts";
import type { Scene } from "./rivals.ts";

/** Transforms of one person. */
export const CLIP_PARTS = 4;
/** Floats of one transform: a position and a rotation. */
const PART_FLOATS = FRAME_FLOATS / CLIP_PARTS;

/** `n` avatars of clips in turn, each from a drawn frame and at a drawn place. */
export class ClipScene implements Scene {
  readonly count: number;
  readonly positions: Float64Array;
  readonly rotations: Float64Array;
  readonly #clips: readonly MotionClip[];
  readonly #starts: readonly number[];
  readonly #places: readonly (readonly [number, number])[];

  constructor(clips: readonly MotionClip[], n: number, prng: Prng) {
    this.count = CLIP_PARTS * n;
    this.positions = new Float64Array(3 * this.count);
    this.rotations = new Float64Array(4 * this.count);
    this.#clips = Array.from({ length: n }, (_, i) => clips[i % clips.length]!);
    this.#starts = this.#clips.map(({ frameCount }) => prng.nextBelow(2 * (frameCount - 1)));
    this.#places = drawPlaces(n, prng);
  }

  advance(seconds: number): void {
    this.#clips.forEach(({ floats, frameCount }, i) => {
      const last = frameCount - 1;
      const phase = (this.#starts[i]! + Math.floor(seconds * CLIP_HZ)) % (2 * last);
      const from = (phase <= last ? phase : 2 * last - phase) * FRAME_FLOATS;
      for (let part = 0; part < CLIP_PARTS; part++) {
        const at = from + part * PART_FLOATS;
        const thing = CLIP_PARTS * i + part;
        this.positions[3 * thing] = floats[at]! - floats[0]! + this.#places[i]![0];
        this.positions[3 * thing + 1] = floats[at + 1]!;
        this.positions[3 * thing + 2] = floats[at + 2]! - floats[2]! + this.#places[i]![1];
        this.rotations.set(floats.subarray(at + 3, at + 7), 4 * thing);
      }
    });
  }
}
