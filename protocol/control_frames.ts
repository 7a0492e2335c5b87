// Whole messages out of a control stream's bytes, however they are cut: a minimal varint length, then that many bytes. It knows no message.

import { Fault } from "./faults.ts";
import { MAX_CONTROL_MESSAGE_BYTES } from "./limits.ts";

/** Bytes of the longest legal length prefix. */
const MAX_PREFIX_BYTES = 3;

/** `body` (1 to `MAX_CONTROL_MESSAGE_BYTES` bytes) as it goes on the stream. */
export function encodeControlFrame(body: Uint8Array): Uint8Array {
  const prefix: number[] = [];
  for (let rest = body.length; prefix.length === 0 || rest > 0; rest >>>= 7) {
    prefix.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
  }
  const frame = new Uint8Array(prefix.length + body.length);
  frame.set(prefix);
  frame.set(body, prefix.length);
  return frame;
}

/**
 * Cuts the incoming half of a control stream into messages.
 *
 * Order of calls: `handleBytes` with each chunk, then `pollFrame` until it gives `undefined`. It holds at most one unfinished message and
 * the last chunk. The first fault (a length of 0, above the limit, or not minimal) stays; nothing is read after it.
 */
export class ControlFrames {
  readonly #maxBytes: number;
  #buffer = new Uint8Array(0);
  #start = 0;
  #end = 0;
  #fault: Fault | undefined;

  /**
   * Frames from the start of a stream.
   *
   * @param maxBytes Largest body taken.
   */
  constructor(maxBytes: number = MAX_CONTROL_MESSAGE_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** The first fault met. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Bytes held of a message that is not whole yet. */
  get heldBytes(): number {
    return this.#end - this.#start;
  }

  /** Takes the next bytes of the stream; they are copied. */
  handleBytes(chunk: Uint8Array): void {
    if (this.#fault !== undefined) return;
    if (this.#end + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** The next whole message's body, a copy, or `undefined` when more bytes are needed or the stream is at fault. */
  pollFrame(): Uint8Array | undefined {
    if (this.#fault !== undefined) return undefined;
    let length = 0;
    let at = this.#start;
    for (let shift = 0;; shift += 7) {
      if (at === this.#end) return undefined;
      const byte = this.#buffer[at++]!;
      length += (byte & 0x7f) << shift;
      const read = at - this.#start;
      if (byte < 0x80) {
        if (byte === 0 && read > 1) return this.#fail(Fault.NonCanonical);
        break;
      }
      if (read === MAX_PREFIX_BYTES) return this.#fail(Fault.OutOfRange);
    }
    if (length === 0 || length > this.#maxBytes) return this.#fail(Fault.OutOfRange);
    if (this.#end - at < length) return undefined;
    const body = this.#buffer.slice(at, at + length);
    this.#start = at + length;
    return body;
  }

  /** The stream ended: `Truncated` when it did so inside a message. */
  handleEnd(): Fault | undefined {
    if (this.#fault === undefined && this.heldBytes > 0) this.#fault = Fault.Truncated;
    return this.#fault;
  }

  #fail(fault: Fault): undefined {
    this.#fault = fault;
    this.#buffer = new Uint8Array(0);
    this.#start = this.#end = 0;
    return undefined;
  }

  #makeRoom(more: number): void {
    const held = this.#end - this.#start;
    const needed = held + more;
    // Moving to the front is paid for by the bytes read since the last move; doubling keeps byte-by-byte arrival linear.
    const target = needed <= this.#buffer.length / 2
      ? this.#buffer
      : new Uint8Array(Math.max(needed, this.#buffer.length * 2, 256));
    target.set(this.#buffer.subarray(this.#start, this.#end));
    this.#buffer = target;
    this.#start = 0;
    this.#end = held;
  }
}
