// Whether a viewer is where it was a tick ago: then what it sees is what it saw, but for what the world has changed since.

import { MAX_ZONES } from "../protocol/limits.ts";
import type { ZonesSeen } from "./zones.ts";

/** One viewer, as it was in the run of ticks in which it was looked after last. */
export class StillViewer {
  /** Entities that interest proposed for it when all were looked at. */
  proposed = 0;
  #run = -1;
  /** Metres; NaN where it had no eye. */
  readonly #eye = new Float64Array(3);
  #zones = 0;
  readonly #zoneIds = new Uint8Array(MAX_ZONES);

  /**
   * Takes over where it is in a run, counted by one, and into which closed zones it sees; returns whether both are as they were in the run before.
   */
  isStill(run: number, eye: Float64Array | undefined, { count, ids }: ZonesSeen): boolean {
    let isSame = this.#run === run - 1 && this.#zones === count;
    for (let i = 0; i < 3; i++) {
      const metres = eye === undefined ? NaN : eye[i]!;
      if (!Object.is(this.#eye[i], metres)) isSame = false;
      this.#eye[i] = metres;
    }
    for (let i = 0; i < count; i++) {
      if (this.#zoneIds[i] !== ids[i]) isSame = false;
      this.#zoneIds[i] = ids[i]!;
    }
    this.#run = run;
    this.#zones = count;
    return isSame;
  }
}
