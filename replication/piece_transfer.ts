// One large value on its way in numbered pieces, the sender's half: which pieces were sent, lost and acknowledged. The receiver's half is
// `piece_assembly.ts`; neither knows what the bytes mean.

import { SNAPSHOT_PIECE_BYTES } from "../protocol/limits.ts";

const UNSENT = 0;
const UNDER_WAY = 1;
const ACKED = 2;

/** Number of pieces of a value of `bytes` bytes. */
export function pieceCount(bytes: number): number {
  return Math.ceil(bytes / SNAPSHOT_PIECE_BYTES);
}

/** The pieces of one version of one value. */
export class PieceTransfer {
  /** The version. */
  readonly linkTick: number;
  /** Sub-ticks from its sample time to the start of its tick. */
  readonly offset: number;
  /** The whole absolute value as `FieldCodec` writes it, padded to whole bytes. */
  readonly bytes: Uint8Array;
  /** Number of pieces. */
  readonly count: number;
  readonly #state: Uint8Array;
  readonly #sentTick: Float64Array;
  readonly #sequence: Float64Array;
  #ackedCount = 0;

  /** A transfer of which nothing was sent. */
  constructor(linkTick: number, offset: number, bytes: Uint8Array) {
    this.linkTick = linkTick;
    this.offset = offset;
    this.bytes = bytes;
    this.count = pieceCount(bytes.length);
    this.#state = new Uint8Array(this.count);
    this.#sentTick = new Float64Array(this.count);
    this.#sequence = new Float64Array(this.count);
  }

  /** Whether all pieces were acknowledged. */
  get isComplete(): boolean {
    return this.#ackedCount === this.count;
  }

  /** The first piece to send at `tick`, or -1: unsent ones, lost ones, and those unacknowledged for `resendTicks`. */
  due(tick: number, resendTicks: number): number {
    for (let i = 0; i < this.count; i++) {
      const state = this.#state[i];
      if (state === UNSENT) return i;
      if (state === UNDER_WAY && tick - this.#sentTick[i]! >= resendTicks) return i;
    }
    return -1;
  }

  /** The bytes of a piece. */
  piece(index: number): Uint8Array {
    const start = index * SNAPSHOT_PIECE_BYTES;
    return this.bytes.subarray(start, Math.min(start + SNAPSHOT_PIECE_BYTES, this.bytes.length));
  }

  /** Notes that a piece goes out in datagram `sequence`. */
  handleSent(index: number, tick: number, sequence: number): void {
    this.#state[index] = UNDER_WAY;
    this.#sentTick[index] = tick;
    this.#sequence[index] = sequence;
  }

  /** Notes that the peer holds a piece. */
  handleAcked(index: number): void {
    if (this.#state[index] === ACKED) return;
    this.#state[index] = ACKED;
    this.#ackedCount += 1;
  }

  /** Notes that datagram `sequence`, which carried the piece, was lost. */
  handleLost(index: number, sequence: number): void {
    if (this.#state[index] === UNDER_WAY && this.#sequence[index] === sequence) {
      this.#state[index] = UNSENT;
    }
  }
}
