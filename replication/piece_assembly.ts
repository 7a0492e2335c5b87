// One large value arriving in numbered pieces, the receiver's half of `piece_transfer.ts`. It checks sizes and keeps bytes; what they mean
// is decoded when they are whole.

import { SNAPSHOT_PIECE_BYTES } from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";

/** The pieces of one version of one value that have arrived. */
export class PieceAssembly {
  /** The version. */
  readonly versionTick: number;
  /** Its sample time. */
  readonly time: TimelineTime;
  /** Bytes of the whole value. */
  readonly totalBytes: number;
  readonly #bytes: Uint8Array;
  readonly #isHere: Uint8Array;
  #missing: number;

  /** An assembly without pieces. */
  constructor(versionTick: number, time: TimelineTime, totalBytes: number, count: number) {
    this.versionTick = versionTick;
    this.time = time;
    this.totalBytes = totalBytes;
    this.#bytes = new Uint8Array(totalBytes);
    this.#isHere = new Uint8Array(count);
    this.#missing = count;
  }

  /** Whether this piece is the only one that has not arrived. */
  isLastMissing(piece: number): boolean {
    return this.#missing === 1 && this.#isHere[piece] === 0;
  }

  /** Takes a piece; one that is there already is ignored. */
  put(piece: number, bytes: Uint8Array): void {
    if (this.#isHere[piece] === 1) return;
    this.#isHere[piece] = 1;
    this.#missing -= 1;
    this.#bytes.set(bytes, piece * SNAPSHOT_PIECE_BYTES);
  }

  /** A copy of the whole value, the last piece given. */
  completed(piece: number, bytes: Uint8Array): Uint8Array {
    const whole = this.#bytes.slice();
    whole.set(bytes, piece * SNAPSHOT_PIECE_BYTES);
    return whole;
  }
}
