// The incoming half of one channel's stream: bytes of any chunking in, one step at a time out, whenever the owner asks. What a peer may open
// or send is the router's question; no message is ever held whole, and nothing comes out that nobody asked for.

import { ChannelReader, type ChannelReaderOptions } from "../protocol/channel_frames.ts";
import type { ChannelSink } from "../protocol/channel_frames.ts";
import { type Fault } from "../protocol/faults.ts";
import {
  CHANNEL_JOIN_BYTES,
  CHANNEL_PIECE_BYTES,
  MAX_INTAKE_BYTES,
  MAX_INTAKE_CHUNKS,
  STREAM_MESSAGE_COST,
  STREAM_PIECE_COST,
} from "../protocol/limits.ts";

/** What an intake finds next in its stream. */
export type IntakeStep =
  /** The preamble is whole. */
  | { readonly kind: "open"; readonly channelId: number; readonly name: string }
  /** The next bytes of the current message, the receiver's own; `last` ends it. */
  | { readonly kind: "piece"; readonly bytes: Uint8Array; readonly last: boolean }
  /** The stream breaks the rules; nothing more comes of it. */
  | { readonly kind: "fault"; readonly fault: Fault }
  /** The stream ended between two messages. */
  | { readonly kind: "end" };

const NOTHING = new Uint8Array(0);

/**
 * Holds what came of a stream until it is asked for, and joins the peer's pieces: where messages are cut means nothing, and a peer that cuts
 * one into single bytes would otherwise make one message on the engine link of each.
 *
 * Order of calls: `handleData` and `handleEnd` as they come; `advance` while `hasMore`; `takeCost` after it. The owner pauses the stream
 * while `isFull`.
 */
export class ChannelIntake {
  readonly #reader: ChannelReader;
  readonly #sink: ChannelSink;
  readonly #chunks: Uint8Array[] = [];
  /** Where in the first chunk to go on. */
  #at = 0;
  #chunkBytes = 0;
  /** What has come of the current message and was not passed on: the first `#length` bytes. */
  #joined = NOTHING;
  #length = 0;
  #step: IntakeStep | undefined;
  #hasEnded = false;
  #isOver = false;
  #cost = 0;

  /** An intake at the start of a stream. */
  constructor(options: ChannelReaderOptions) {
    this.#reader = new ChannelReader(options);
    this.#sink = {
      open: (channelId, name) => {
        this.#step = { kind: "open", channelId, name };
      },
      piece: (bytes, last) => this.#takePiece(bytes, last),
      wantsMore: () => this.#step === undefined,
    };
  }

  /** So much waits that the stream should. */
  get isFull(): boolean {
    return this.#chunkBytes >= MAX_INTAKE_BYTES || this.#chunks.length >= MAX_INTAKE_CHUNKS;
  }

  /** Whether `advance` has anything to look at. */
  get hasMore(): boolean {
    return !this.#isOver && (this.#chunks.length > 0 || this.#hasEnded);
  }

  /** The stream has ended; what waits is the last of it. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** A message has begun and not ended, as far as was looked. */
  get isInsideMessage(): boolean {
    return !this.#isOver && !this.#reader.isBetweenMessages;
  }

  /** The next bytes of the stream, which belong to the intake from now on. */
  handleData(bytes: Uint8Array): void {
    if (this.#isOver || bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  /** The stream ended after the bytes so far. */
  handleEnd(): void {
    this.#hasEnded = true;
  }

  /** Drops what waits; nothing more comes out. */
  stop(): void {
    this.#isOver = true;
    this.#chunks.length = 0;
    this.#chunkBytes = 0;
    this.#joined = NOTHING;
    this.#length = 0;
  }

  /** Looks at the next bytes that wait, `CHANNEL_JOIN_BYTES` at most; returns what it found, if anything is whole. */
  advance(): IntakeStep | undefined {
    if (!this.hasMore) return undefined;
    const chunk = this.#chunks[0];
    if (chunk === undefined) {
      const fault = this.#reader.handleEnd();
      this.stop();
      return fault === undefined ? { kind: "end" } : { kind: "fault", fault };
    }
    const end = Math.min(chunk.length, this.#at + CHANNEL_JOIN_BYTES);
    const taken = this.#reader.handleBytes(chunk.subarray(this.#at, end), this.#sink);
    this.#at += taken;
    this.#chunkBytes -= taken;
    this.#cost += taken;
    if (this.#at === chunk.length) {
      this.#chunks.shift();
      this.#at = 0;
    }
    const { fault } = this.#reader;
    if (fault !== undefined) {
      this.stop();
      return { kind: "fault", fault };
    }
    const step = this.#step ?? this.#pieceSoFar();
    this.#step = undefined;
    return step;
  }

  /** What the steps since the last call cost, in bytes of the stream's allowance. */
  takeCost(): number {
    const cost = this.#cost;
    this.#cost = 0;
    return cost;
  }

  #takePiece(bytes: Uint8Array, last: boolean): void {
    this.#cost += STREAM_PIECE_COST;
    const length = this.#length + bytes.length;
    if (length > this.#joined.length) {
      const doubled = Math.min(CHANNEL_PIECE_BYTES, this.#joined.length * 2);
      const grown = new Uint8Array(Math.max(length, doubled));
      grown.set(this.#joined.subarray(0, this.#length));
      this.#joined = grown;
    }
    this.#joined.set(bytes, this.#length);
    this.#length = length;
    if (!last) return;
    this.#cost += STREAM_MESSAGE_COST;
    this.#step = { kind: "piece", bytes: this.#takeJoined(), last: true };
  }

  /** Part of a message goes once it is worth a message on the engine link; a smaller one is of no use there before its end has come. */
  #pieceSoFar(): IntakeStep | undefined {
    const isDue = this.#length > CHANNEL_PIECE_BYTES - CHANNEL_JOIN_BYTES ||
      (this.#length >= CHANNEL_JOIN_BYTES && this.#chunks.length === 0);
    return isDue ? { kind: "piece", bytes: this.#takeJoined(), last: false } : undefined;
  }

  #takeJoined(): Uint8Array {
    const joined = this.#joined.subarray(0, this.#length);
    this.#joined = NOTHING;
    this.#length = 0;
    return joined;
  }
}
