// Bytes in, frames out: uint32 little-endian length, then so many bytes. It knows no message and no socket. Invariant: every byte
// given is either in a finished frame, in the one unfinished frame, or was dropped after the sticky fault.

import { Fault } from "./faults.ts";

/** Bytes of the length word before each frame. */
export const FRAME_HEADER_BYTES = 4;

/** Room that an announced frame gets before its bytes arrive; a peer that only announces costs no more. */
const FIRST_CAPACITY = 65_536;

/** The frame around `body`: its length as uint32 little-endian, then the body. */
export function encodeFrame(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

/**
 * Cuts a byte stream into frames.
 *
 * Order of calls: `handleBytes` for each chunk, then `pollFrame` until it gives nothing, then look at `fault`. Chunks are copied, each
 * byte at most twice; what is held is bounded by one frame plus the chunks that were not polled.
 */
export class FrameBuffer {
  readonly #maxFrameBytes: number;
  readonly #frames: Uint8Array[] = [];
  #nextFrame = 0;
  #headerGot = 0;
  #length = 0;
  #body: Uint8Array | undefined;
  #bodyGot = 0;
  #fault: Fault | undefined;

  /** @param maxFrameBytes Longest frame taken, bytes, the length word not counted. */
  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** What is wrong with the stream; sticky. Frames that were whole before it are still given out. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** True between frames: an end of the stream here is a clean one. */
  get isBetweenFrames(): boolean {
    return this.#headerGot === 0;
  }

  /** Takes the next bytes of the stream. An empty or too long frame is `Fault.OutOfRange`; later bytes are then ignored. */
  handleBytes(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && this.#fault === undefined) {
      at = this.#body === undefined ? this.#takeHeader(chunk, at) : this.#takeBody(chunk, at);
    }
  }

  /** The stream ended. In the middle of a frame that is `Fault.Truncated`. */
  handleEnd(): void {
    if (!this.isBetweenFrames) this.#fault ??= Fault.Truncated;
  }

  /** The next whole frame without its length word, in order; it belongs to the caller. */
  pollFrame(): Uint8Array | undefined {
    const frame = this.#frames[this.#nextFrame];
    if (frame === undefined) return undefined;
    this.#nextFrame += 1;
    if (this.#nextFrame === this.#frames.length) {
      this.#frames.length = 0;
      this.#nextFrame = 0;
    }
    return frame;
  }

  #takeHeader(chunk: Uint8Array, start: number): number {
    let at = start;
    while (at < chunk.length && this.#headerGot < FRAME_HEADER_BYTES) {
      this.#length = (this.#length | (chunk[at]! << (8 * this.#headerGot))) >>> 0;
      this.#headerGot += 1;
      at += 1;
    }
    if (this.#headerGot === FRAME_HEADER_BYTES) {
      if (this.#length === 0 || this.#length > this.#maxFrameBytes) this.#fault = Fault.OutOfRange;
      else this.#body = new Uint8Array(Math.min(this.#length, FIRST_CAPACITY));
    }
    return at;
  }

  #takeBody(chunk: Uint8Array, start: number): number {
    const take = Math.min(chunk.length - start, this.#length - this.#bodyGot);
    this.#reserve(this.#bodyGot + take);
    const body = this.#body!;
    body.set(chunk.subarray(start, start + take), this.#bodyGot);
    this.#bodyGot += take;
    if (this.#bodyGot === this.#length) {
      this.#frames.push(body);
      this.#body = undefined;
      this.#bodyGot = 0;
      this.#headerGot = 0;
      this.#length = 0;
    }
    return start + take;
  }

  /** Doubles up to the announced length, never past it, so that a finished frame fills its buffer exactly. */
  #reserve(bytes: number): void {
    const body = this.#body!;
    if (bytes <= body.length) return;
    const grown = new Uint8Array(Math.min(this.#length, Math.max(bytes, body.length * 2)));
    grown.set(body.subarray(0, this.#bodyGot));
    this.#body = grown;
  }
}
