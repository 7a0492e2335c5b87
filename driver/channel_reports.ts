// What the engine is to hear of channels beside their messages: which are closed, and how many bytes it may send on which. Bounded by the
// channels there are, however often a peer opens and closes them: nothing is queued, each channel has one entry at most.

import type { ToEngine } from "../protocol/engine_messages.ts";
import { CHANNEL_WINDOW_BYTES } from "../protocol/limits.ts";

/** Closes and credits that wait for the engine's turn. */
export class ChannelReports {
  readonly #closes = new Map<number, string>();
  readonly #credits = new Map<number, number>();

  /** A channel that the engine knows, or has asked for, is closed. */
  close(channel: number, reason: string): void {
    this.#credits.delete(channel);
    this.#closes.set(channel, reason);
  }

  /** The engine may send so many bytes more on a channel. */
  credit(channel: number, bytes: number): void {
    if (bytes > 0) this.#credits.set(channel, (this.#credits.get(channel) ?? 0) + bytes);
  }

  /** The engine has closed the channel itself. */
  forget(channel: number): void {
    this.#credits.delete(channel);
  }

  /** The next one to tell; `undefined` when none waits. */
  poll(): ToEngine | undefined {
    for (const [channel, reason] of this.#closes) {
      this.#closes.delete(channel);
      return { kind: "channelClose", channel, reason };
    }
    for (const [channel, due] of this.#credits) {
      // The last piece may go beyond the window, so that a whole one and more can be owed.
      const bytes = Math.min(due, CHANNEL_WINDOW_BYTES);
      if (bytes < due) this.#credits.set(channel, due - bytes);
      else this.#credits.delete(channel);
      return { kind: "channelCredit", channel, bytes };
    }
    return undefined;
  }
}
