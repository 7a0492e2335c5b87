// One connection of one driver: its frames, how far the greeting has come, and whether it still lives. What its messages mean is decided
// elsewhere.

import { type Decoded, decodeToEngine } from "../protocol/engine_codec.ts";
import type { ToEngine } from "../protocol/engine_messages.ts";
import { FrameBuffer } from "../protocol/frame_buffer.ts";
import {
  ENGINE_HEARTBEAT_MS,
  ENGINE_TIMEOUT_MS,
  GREETING_TIMEOUT_MS,
  MAX_ENGINE_FRAME_BYTES,
} from "../protocol/limits.ts";

/** How far a driver has come; `left`: it is out of the world, and may join again. */
export type SessionStage = "greeting" | "welcomed" | "joined" | "left" | "closing";

/** A longer gap between two looks at the clock means that this process itself stood still. */
const OWN_STALL_MS = 4 * ENGINE_HEARTBEAT_MS;

/**
 * The state of one connection.
 *
 * Order of calls: `handleBytes`, then `poll` until it gives nothing; `isPingDue` and `isHung` with each timer.
 */
export class DriverSession {
  /** How far the greeting has come. */
  stage: SessionStage = "greeting";
  readonly #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  /** When it connected; later where this process stood still. */
  #beganMs: number;
  #heardMs: number;
  #pingMs: number;
  #lookedMs: number;

  /** Begins with a fresh connection. */
  constructor(nowMs: number) {
    this.#beganMs = nowMs;
    this.#heardMs = nowMs;
    this.#pingMs = nowMs;
    this.#lookedMs = nowMs;
  }

  /** Bytes of the driver. */
  handleBytes(chunk: Uint8Array, nowMs: number): void {
    this.#heardMs = nowMs;
    this.#frames.handleBytes(chunk);
  }

  /** The next message or the first fault; `undefined` when more bytes are needed. */
  poll(): Decoded<ToEngine> | undefined {
    const frame = this.#frames.pollFrame();
    if (frame !== undefined) return decodeToEngine(frame);
    const { fault } = this.#frames;
    return fault === undefined ? undefined : { ok: false, fault };
  }

  /** Whether the next heartbeat is due; asking counts as sending it. */
  isPingDue(nowMs: number): boolean {
    if (nowMs - this.#pingMs < ENGINE_HEARTBEAT_MS) return false;
    this.#pingMs = nowMs;
    return true;
  }

  /**
   * Whether the driver has been silent for too long, or has not greeted in time whatever bytes it sent. Time in which this process itself
   * did not run does not count.
   */
  isHung(nowMs: number): boolean {
    const gap = nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (gap > OWN_STALL_MS) {
      this.#heardMs += gap;
      this.#beganMs += gap;
    }
    if (this.stage === "greeting") return nowMs - this.#beganMs > GREETING_TIMEOUT_MS;
    return nowMs - this.#heardMs > ENGINE_TIMEOUT_MS;
  }
}
