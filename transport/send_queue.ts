// The bytes a stream's writer has taken and the network has not. Knows the high-water mark, not who sends the bytes.

import { STREAM_HIGH_WATER_BYTES } from "../protocol/limits.ts";

const NOTHING = new Uint8Array(0);

/** A first-in first-out queue of bytes with a high-water mark. Order: `push`; `take` then `release` of as many; `pollWritable`. */
export class SendQueue {
  #chunks: Uint8Array[] = [];
  #head = 0;
  #offset = 0;
  #queued = 0;
  #buffered = 0;
  #waiting = false;

  /** Bytes pushed and not yet released. */
  get bufferedBytes(): number {
    return this.#buffered;
  }

  /** Bytes pushed and not yet taken. */
  get queuedBytes(): number {
    return this.#queued;
  }

  /** Adds bytes; false when the writer should wait. */
  push(bytes: Uint8Array): boolean {
    if (bytes.length > 0) {
      this.#chunks.push(bytes);
      this.#queued += bytes.length;
      this.#buffered += bytes.length;
    }
    if (this.#buffered > STREAM_HIGH_WATER_BYTES) this.#waiting = true;
    return !this.#waiting;
  }

  /** Takes up to `limit` bytes from the front: a view where one chunk holds them, else a copy. */
  take(limit: number): Uint8Array {
    const wanted = Math.min(limit, this.#queued);
    if (wanted <= 0) return NOTHING;
    this.#queued -= wanted;
    const first = this.#chunks[this.#head]!;
    if (first.length - this.#offset >= wanted) {
      const view = first.subarray(this.#offset, this.#offset + wanted);
      this.#skip(wanted);
      return view;
    }
    const copy = new Uint8Array(wanted);
    let at = 0;
    while (at < wanted) {
      const chunk = this.#chunks[this.#head]!;
      const part = chunk.subarray(this.#offset, this.#offset + wanted - at);
      copy.set(part, at);
      at += part.length;
      this.#skip(part.length);
    }
    return copy;
  }

  /** The network has `count` of the taken bytes. */
  release(count: number): void {
    this.#buffered -= count;
  }

  /** Whether `pollWritable` would answer true. */
  get hasRoomAgain(): boolean {
    return this.#waiting && this.#buffered <= STREAM_HIGH_WATER_BYTES / 2;
  }

  /** True once after `push` answered false and the queue has fallen to half its mark. */
  pollWritable(): boolean {
    const again = this.hasRoomAgain;
    if (again) this.#waiting = false;
    return again;
  }

  /** Drops everything, also what was taken and not released. */
  clear(): void {
    this.#chunks = [];
    this.#head = 0;
    this.#offset = 0;
    this.#queued = 0;
    this.#buffered = 0;
    this.#waiting = false;
  }

  #skip(count: number): void {
    this.#offset += count;
    if (this.#offset < this.#chunks[this.#head]!.length) return;
    this.#chunks[this.#head] = NOTHING;
    this.#head += 1;
    this.#offset = 0;
    // Shifting the array once in a while keeps the cost of a chunk constant.
    if (this.#head === this.#chunks.length) {
      this.#chunks = [];
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head);
      this.#head = 0;
    }
  }
}
