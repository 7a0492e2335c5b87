// What waits to go to the driver, as frames. Three queues with three manners: control frames always fit, ordered frames are refused when
// too many wait, voice drops its oldest. State is not queued here at all: it stays a dirty set until there is room for a batch.

import { encodeToDriver } from "../protocol/engine_codec.ts";
import type { ToDriver } from "../protocol/engine_messages.ts";
import { encodeFrame } from "../protocol/frame_buffer.ts";
import {
  ENGINE_BACKLOG_BYTES,
  MAX_ENGINE_MESSAGES,
  MAX_ENGINE_VOICE_FRAMES,
} from "../protocol/limits.ts";

/** A message to the driver of one kind. */
export type DriverMessage<K extends ToDriver["kind"]> = Extract<ToDriver, { kind: K }>;

/**
 * Frames on their way to one driver.
 *
 * Order of calls: `push*` any time; `pollBytes`, write them, `handleWritten`; `clear` when the driver is gone.
 */
export class LinkOutbox {
  #frames: Uint8Array[] = [];
  #framesBytes = 0;
  #writingBytes = 0;
  #ordered: ToDriver[] = [];
  readonly #voice: DriverMessage<"voice">[] = [];

  /** Bytes encoded and not yet taken by the driver. */
  get backlogBytes(): number {
    return this.#framesBytes + this.#writingBytes;
  }

  /** False while so much waits that state is left in the dirty set and channels wait. */
  get isWritable(): boolean {
    return this.backlogBytes < ENGINE_BACKLOG_BYTES;
  }

  /** True when even the small frames that are never refused have piled up: the driver sends, but does not read. */
  get isOverfull(): boolean {
    return this.#frames.length > 2 * MAX_ENGINE_MESSAGES;
  }

  /** True while so many frames wait, however small, that channels send no more: that must not be what makes it overfull. */
  get isCrowded(): boolean {
    return this.#frames.length >= MAX_ENGINE_MESSAGES;
  }

  /** Queues a frame of the link itself, or a batch. */
  push(message: ToDriver): void {
    const frame = encodeFrame(encodeToDriver(message));
    this.#frames.push(frame);
    this.#framesBytes += frame.length;
  }

  /** Holds a message back until the state before it has been sent; false when too many wait. */
  pushOrdered(message: ToDriver): boolean {
    if (this.#ordered.length >= MAX_ENGINE_MESSAGES) return false;
    this.#ordered.push(message);
    return true;
  }

  /** The state of this moment has been sent: what was held back may follow, as far as there is room. */
  releaseOrdered(): void {
    let released = 0;
    while (released < this.#ordered.length && this.isWritable) {
      this.push(this.#ordered[released]!);
      released += 1;
    }
    this.#ordered.splice(0, released);
  }

  /** Queues a voice frame; returns how many older ones were dropped for it. */
  pushVoice(message: DriverMessage<"voice">): number {
    this.#voice.push(message);
    if (this.#voice.length <= MAX_ENGINE_VOICE_FRAMES) return 0;
    this.#voice.shift();
    return 1;
  }

  /**
   * Everything that may be written now, as one buffer; `undefined` when nothing waits or a write is under way. Voice is encoded only
   * here, so that it waits no longer than one write.
   */
  pollBytes(): Uint8Array | undefined {
    if (this.#writingBytes > 0) return undefined;
    for (const message of this.#voice) this.push(message);
    this.#voice.length = 0;
    if (this.#framesBytes === 0) return undefined;
    let bytes = this.#frames[0]!;
    if (this.#frames.length > 1) {
      bytes = new Uint8Array(this.#framesBytes);
      let at = 0;
      for (const frame of this.#frames) {
        bytes.set(frame, at);
        at += frame.length;
      }
    }
    this.#writingBytes = this.#framesBytes;
    this.#frames = [];
    this.#framesBytes = 0;
    return bytes;
  }

  /** The bytes of the last `pollBytes` have been written. */
  handleWritten(): void {
    this.#writingBytes = 0;
  }

  /** Forgets everything: it was meant for a driver that is gone. */
  clear(): void {
    this.#frames = [];
    this.#framesBytes = 0;
    this.#writingBytes = 0;
    this.#ordered = [];
    this.#voice.length = 0;
  }
}
