// One recorded avatar that walks about its place: frames of a clip, straight to packed rows of the engine link. Places and starting
// points are drawn from a seeded source; when a frame is due is the caller's business.

import { CLIP_HZ, FRAME_FLOATS, type MotionClip } from "../examples/recorded.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { assert } from "../protocol/assert.ts";
import type { Prng } from "../protocol/prng.ts";

/** Distance between two places, metres. */
const PLACE_M = 1.5;
/** Floats of one part: a position and a rotation. */
const PART_FLOATS = 7;
/** Bytes of one row: a clip's frame in 32-bit floats. */
const ROW_BYTES = FRAME_FLOATS * 4;

/** Where the avatars stand: `count` places of a square grid round the origin in a drawn order, each x and z in metres. */
export function drawPlaces(count: number, prng: Prng): (readonly [number, number])[] {
  const side = Math.ceil(Math.sqrt(count));
  const middle = (side - 1) / 2;
  const places = Array.from(
    { length: side * side },
    (_, i) => [(i % side - middle) * PLACE_M, (Math.floor(i / side) - middle) * PLACE_M] as const,
  );
  for (let i = places.length - 1; i > 0; i--) {
    const j = prng.nextBelow(i + 1);
    [places[i], places[j]] = [places[j]!, places[i]!];
  }
  return places.slice(0, count);
}

/** Plays one clip, forwards and backwards for ever. */
export class AvatarPlayer {
  /** The row of the last `play`; the same bytes each time. */
  readonly row: Uint8Array<ArrayBuffer> = new Uint8Array(ROW_BYTES);
  readonly #view = new DataView(this.row.buffer);
  readonly #clip: MotionClip;
  readonly #place: readonly [number, number];
  readonly #frameStep: number;
  #frame: number;

  /** @param avatar The component: its fields must be the clip's, in the clip's order. @param hz Poses a second. */
  constructor(
    clip: MotionClip,
    place: readonly [number, number],
    startFrame: number,
    hz: number,
    avatar: ComponentGrant,
  ) {
    assert(
      avatar.rowBytes === ROW_BYTES &&
        avatar.fields.every(({ kind, rowOffset }, i) =>
          kind === (i % 2 === 0 ? "vec3" : "quat") &&
          rowOffset === (i >> 1) * PART_FLOATS * 4 + (i % 2) * 12
        ),
      "the avatar's fields lie in a row as a clip's parts lie in a frame",
    );
    this.#clip = clip;
    this.#place = place;
    this.#frame = startFrame;
    this.#frameStep = CLIP_HZ / hz;
  }

  /** Writes the next pose into `row`. */
  play(): void {
    const { floats, frameCount } = this.#clip;
    const last = frameCount - 1;
    const phase = Math.floor(this.#frame) % (2 * last);
    this.#frame += this.#frameStep;
    const start = (phase <= last ? phase : 2 * last - phase) * FRAME_FLOATS;
    for (let i = 0; i < FRAME_FLOATS; i++) {
      const lane = i % PART_FLOATS;
      // The clip's starting place is taken away, its own walk about is kept.
      const shift = lane === 0
        ? this.#place[0] - floats[0]!
        : lane === 2
        ? this.#place[1] - floats[2]!
        : 0;
      this.#view.setFloat32(i * 4, floats[start + i]! + shift, true);
    }
  }
}
