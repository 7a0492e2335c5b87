// The driver's end of the engine link as bytes: frames out of chunks, messages into frames, and how much waits for a slow engine.
// It does no I/O: the program writes what `pollBytes` gives and hands in what it reads.

import type { ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { decodeToDriver, encodeToEngine } from "../protocol/engine_codec.ts";
import { type Fault } from "../protocol/faults.ts";
import { encodeFrame, FrameBuffer } from "../protocol/frame_buffer.ts";
import { ENGINE_BACKLOG_BYTES, MAX_ENGINE_FRAME_BYTES } from "../protocol/limits.ts";

/**
 * Frames and messages of one engine link.
 *
 * Order of calls: `handleBytes`, then `pollMessage` until it returns `undefined`; `push` any time, then `pollBytes`, write, `handleWritten`.
 */
export class EngineSocket {
  readonly #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writingBytes = 0;
  #fault: Fault | undefined;

  /** The first thing wrong with the engine's bytes; the link is unusable from then on. */
  get fault(): Fault | undefined {
    return this.#fault ?? this.#frames.fault;
  }

  /** Bytes not yet taken by the engine. */
  get backlogBytes(): number {
    return this.#waitingBytes + this.#writingBytes;
  }

  /** False while so much waits that state should be conflated instead of encoded. */
  get isWritable(): boolean {
    return this.backlogBytes < ENGINE_BACKLOG_BYTES;
  }

  /** Bytes read from the socket. */
  handleBytes(chunk: Uint8Array): void {
    this.#frames.handleBytes(chunk);
  }

  /** The next whole message, or `undefined`. */
  pollMessage(): ToDriver | undefined {
    if (this.fault !== undefined) return undefined;
    const frame = this.#frames.pollFrame();
    if (frame === undefined) return undefined;
    const decoded = decodeToDriver(frame);
    if (!decoded.ok) {
      this.#fault = decoded.fault;
      return undefined;
    }
    return decoded.message;
  }

  /** Encodes a message and queues it. */
  push(message: ToEngine): void {
    const frame = encodeFrame(encodeToEngine(message));
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
  }

  /** Everything that waits, as one buffer to write; `undefined` when nothing does or a write is under way. */
  pollBytes(): Uint8Array | undefined {
    if (this.#writingBytes > 0 || this.#waitingBytes === 0) return undefined;
    let bytes = this.#waiting[0]!;
    if (this.#waiting.length > 1) {
      bytes = new Uint8Array(this.#waitingBytes);
      let at = 0;
      for (const frame of this.#waiting) {
        bytes.set(frame, at);
        at += frame.length;
      }
    }
    this.#writingBytes = this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return bytes;
  }

  /** The buffer given by `pollBytes` has been written. */
  handleWritten(): void {
    this.#writingBytes = 0;
  }
}
