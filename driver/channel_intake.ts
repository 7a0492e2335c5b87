// The incoming half of one channel's stream: bytes of any chunking in, messages in pieces of a good size out. What a peer may open or send
// is the router's question; no message is ever held whole.

import { type ChannelReader, type ChannelSink } from "../protocol/channel_frames.ts";
import { type Fault } from "../protocol/faults.ts";
import { CHANNEL_PIECE_BYTES } from "../protocol/limits.ts";

/** What an intake passes on. */
export interface IntakeSink {
  /** The preamble is whole. A fault refuses the stream. */
  open(channelId: number, name: string): Fault | undefined;
  /** The next bytes of the current message, a copy; `last` ends it. */
  piece(bytes: Uint8Array, last: boolean): void;
}

/**
 * Joins a peer's pieces within each chunk that arrives. A peer that cuts a message into single bytes would otherwise make one message on
 * the engine link of each, and where messages are cut means nothing.
 */
export class ChannelIntake implements ChannelSink {
  readonly #reader: ChannelReader;
  readonly #sink: IntakeSink;
  readonly #held: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(reader: ChannelReader, sink: IntakeSink) {
    this.#reader = reader;
    this.#sink = sink;
  }

  /** Takes the next bytes of the stream; returns the first fault met. */
  handleData(bytes: Uint8Array): Fault | undefined {
    // What comes out of a chunk is no larger than it, and so fits one piece.
    for (let at = 0; at < bytes.length && this.#reader.fault === undefined;) {
      const end = Math.min(bytes.length, at + CHANNEL_PIECE_BYTES);
      this.#reader.handleBytes(bytes.subarray(at, end), this);
      if (this.#heldBytes > 0) this.#flush(false);
      at = end;
    }
    return this.#reader.fault;
  }

  /** The stream ended; returns the first fault met. */
  handleEnd(): Fault | undefined {
    return this.#reader.handleEnd();
  }

  open(channelId: number, name: string): void {
    const fault = this.#sink.open(channelId, name);
    if (fault !== undefined) this.#reader.fail(fault);
  }

  piece(bytes: Uint8Array, last: boolean): void {
    if (bytes.length > 0) this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (last) this.#flush(true);
  }

  #flush(last: boolean): void {
    const joined = new Uint8Array(this.#heldBytes);
    let at = 0;
    for (const part of this.#held) {
      joined.set(part, at);
      at += part.length;
    }
    this.#held.length = 0;
    this.#heldBytes = 0;
    this.#sink.piece(joined, last);
  }
}
