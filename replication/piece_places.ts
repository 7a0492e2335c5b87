// The places that a link has for values on their way in pieces. A place is taken with the first piece and given back only when the
// receiver surely keeps no piece any more, so that its own count never exceeds ours.

import { MAX_PIECE_TRANSFERS } from "../protocol/limits.ts";
import type { EntityTrack, ValueTrack } from "./tracks.ts";

/** The places of one link. */
export class PiecePlaces {
  #taken = 0;

  /** Whether `more` values could begin. */
  hasRoomFor(more: number): boolean {
    return this.#taken + more <= MAX_PIECE_TRANSFERS;
  }

  /** Takes a place for a value that may have one already. */
  take(value: ValueTrack): void {
    if (value.holdsPlace) return;
    value.holdsPlace = true;
    this.#taken += 1;
  }

  /** Gives the place of a value back, if it has one. */
  release(value: ValueTrack): void {
    if (!value.holdsPlace) return;
    value.holdsPlace = false;
    this.#taken -= 1;
  }

  /** Gives back the places of components that the entity no longer lists. */
  releaseOrphans(track: EntityTrack): void {
    this.#taken -= track.orphanPlaces;
    track.orphanPlaces = 0;
  }

  /** Gives back all places of an entity. */
  releaseAll(track: EntityTrack): void {
    this.releaseOrphans(track);
    for (const value of track.values) this.release(value);
  }
}
