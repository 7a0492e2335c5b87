// The bytes of custom data channels: the preamble and messages on a channel's stream, and the section of an unreliable message. Messages
// pass through in pieces as they arrive and are never gathered here. Who may open what is the caller's question.

import { assert } from "./assert.ts";
import { Fault } from "./faults.ts";
import {
  CHANNEL_PIECE_BYTES,
  MAX_CHANNEL_MESSAGE_BYTES,
  MAX_DECLARED_ID,
  MAX_NAME_BYTES,
} from "./limits.ts";
import { Reader } from "./reader.ts";
import { decodeUtf8, encodeUtf8, readText } from "./utf8.ts";
import { Writer } from "./writer.ts";

const NOTHING = new Uint8Array(0);

/** First bytes of a channel's stream. `name` is the full name of a channel inside a namespace and empty otherwise. */
export function encodePreamble(channelId: number, name: string): Uint8Array<ArrayBuffer> {
  assert(channelId >= 1 && channelId <= MAX_DECLARED_ID, "a channel has a declared id");
  const w = new Writer(16);
  w.varint(channelId);
  writeName(w, name);
  return w.finish();
}

/**
 * What goes before a piece of a message on a channel's stream. The sender need not know how long a message will be: it goes in pieces of
 * at most `CHANNEL_PIECE_BYTES` bytes, the last one marked. Only a last piece may be empty.
 */
export function encodePieceHeader(length: number, last: boolean): Uint8Array<ArrayBuffer> {
  assert(length >= 0 && length <= CHANNEL_PIECE_BYTES, "a piece is bounded");
  assert(length > 0 || last, "only the last piece of a message may be empty");
  const w = new Writer(8);
  w.varint(length * 2 + (last ? 1 : 0));
  return w.finish();
}

/** One message of an unreliable channel. */
export interface ChannelDatagram {
  /** Declared id of the channel or namespace. */
  readonly channelId: number;
  /** Full name of a channel inside a namespace, empty otherwise. */
  readonly name: string;
  /** The message; may be empty. */
  readonly payload: Uint8Array;
}

/** The body of a channel section: the id, the name where `isNamespace`, then the message up to the section's end. */
export function encodeChannelDatagram(
  message: ChannelDatagram,
  isNamespace: boolean,
): Uint8Array<ArrayBuffer> {
  assert(isNamespace || message.name === "", "only a channel inside a namespace is named");
  const w = new Writer(message.payload.length + 16);
  w.varint(message.channelId);
  if (isNamespace) writeName(w, message.name);
  w.bytes(message.payload);
  return w.finish();
}

/**
 * Reads the body of a channel section; `payload` is a view. `undefined` means the reader holds the fault. Size and rights are the
 * caller's question.
 *
 * @param isNamespace Whether a declared id is a namespace; `undefined` for an id nobody declared.
 */
export function decodeChannelDatagram(
  r: Reader,
  isNamespace: (channelId: number) => boolean | undefined,
): ChannelDatagram | undefined {
  const channelId = r.varintAtMost(MAX_DECLARED_ID);
  const isNamed = r.fault === undefined ? isNamespace(channelId) : undefined;
  if (isNamed === undefined) r.fail(Fault.UnknownId);
  const name = isNamed === true ? readText(r, MAX_NAME_BYTES) : "";
  const payload = r.bytes(r.remainingBits >>> 3);
  return r.finish() === undefined ? { channelId, name, payload } : undefined;
}

/** What a {@linkcode ChannelReader} reports; the cuts between pieces mean nothing. */
export interface ChannelSink {
  /** The preamble is whole. Call {@linkcode ChannelReader.fail} here to refuse; nothing more is then reported. */
  open(channelId: number, name: string): void;
  /** The next bytes of the current message, at most `CHANNEL_PIECE_BYTES`, a view into the chunk; `last` ends the message. */
  piece(bytes: Uint8Array, last: boolean): void;
  /** Asked after each report: false leaves the rest of the chunk to a later call. Left out: everything is wanted at once. */
  wantsMore?(): boolean;
}

/** How a {@linkcode ChannelReader} is set up. */
export interface ChannelReaderOptions {
  /** Most bytes of one message of a declared reliable channel, `undefined` for an id nobody declared. */
  readonly maxBytesFor: (channelId: number) => number | undefined;
  /**
   * `undefined` where the peer opened the stream: it begins with a preamble. On a stream of our own the peer's half has none, and this is
   * the channel's id.
   */
  readonly preamble: number | undefined;
}

/** Where in its stream a reader stands. */
type Stage = "id" | "nameLength" | "name" | "header" | "body";

/**
 * Reads the incoming half of one reliable channel.
 *
 * It holds a few bytes of a number or a name, never a message. The first fault stays and ends all reports: an undeclared channel
 * (`UnknownId`), a message above the declared size, a piece or a name too long (`OutOfRange`), a number in a longer form than needed or an
 * empty piece that is not the last (`NonCanonical`), a name that is not UTF-8.
 */
export class ChannelReader {
  readonly #maxBytesFor: (channelId: number) => number | undefined;
  readonly #name = new Uint8Array(MAX_NAME_BYTES);
  #stage: Stage = "id";
  #number = 0;
  #shift = 0;
  #channelId = 0;
  #nameLength = 0;
  #nameHeld = 0;
  #maxBytes = 0;
  #messageBytes = 0;
  #left = 0;
  #isLast = false;
  #fault: Fault | undefined;

  /** A reader at the start of a stream. */
  constructor(options: ChannelReaderOptions) {
    this.#maxBytesFor = options.maxBytesFor;
    if (options.preamble !== undefined) {
      this.#handleId(options.preamble);
      this.#stage = "header";
    }
  }

  /** The first fault met. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** True between two messages: nothing of a message has come that is not reported whole. */
  get isBetweenMessages(): boolean {
    return this.#stage === "header" && this.#shift === 0 && this.#messageBytes === 0;
  }

  /** Ends all reports with `fault`, if none was met before: how a sink refuses. */
  fail(fault: Fault): void {
    this.#fault ??= fault;
  }

  /** Takes the next bytes of the stream and reports what is in them; returns how many it took: all, unless the sink wants no more. */
  handleBytes(chunk: Uint8Array, sink: ChannelSink): number {
    let at = 0;
    while (at < chunk.length && this.#fault === undefined) {
      if (sink.wantsMore?.() === false) break;
      if (this.#stage === "body") {
        const take = Math.min(this.#left, chunk.length - at);
        this.#left -= take;
        const piece = chunk.subarray(at, at + take);
        at += take;
        this.#report(piece, sink);
      } else if (this.#stage === "name") {
        const take = Math.min(this.#nameLength - this.#nameHeld, chunk.length - at);
        this.#name.set(chunk.subarray(at, at + take), this.#nameHeld);
        this.#nameHeld += take;
        at += take;
        if (this.#nameHeld === this.#nameLength) this.#handleName(sink);
      } else {
        this.#handleNumberByte(chunk[at]!, sink);
        at += 1;
      }
    }
    return at;
  }

  /** The stream ended: `Truncated` when it did so inside the preamble or a message. */
  handleEnd(): Fault | undefined {
    if (!this.isBetweenMessages) this.fail(Fault.Truncated);
    return this.#fault;
  }

  #handleNumberByte(byte: number, sink: ChannelSink): void {
    this.#number += (byte & 0x7f) * 2 ** this.#shift;
    if (byte >= 0x80) {
      this.#shift += 7;
      // 28 bits hold every legal number, so a fifth byte is too much in any case.
      if (this.#shift > 21) this.fail(Fault.OutOfRange);
      return;
    }
    if (byte === 0 && this.#shift > 0) return this.fail(Fault.NonCanonical);
    const value = this.#number;
    this.#number = 0;
    this.#shift = 0;
    if (this.#stage === "id") this.#handleId(value);
    else if (this.#stage === "nameLength") this.#handleNameLength(value, sink);
    else this.#handleHeader(value, sink);
  }

  #handleId(id: number): void {
    if (id === 0 || id > MAX_DECLARED_ID) return this.fail(Fault.OutOfRange);
    const maxBytes = this.#maxBytesFor(id);
    if (maxBytes === undefined) return this.fail(Fault.UnknownId);
    this.#channelId = id;
    this.#maxBytes = Math.min(maxBytes, MAX_CHANNEL_MESSAGE_BYTES);
    this.#stage = "nameLength";
  }

  #handleNameLength(length: number, sink: ChannelSink): void {
    if (length > MAX_NAME_BYTES) return this.fail(Fault.OutOfRange);
    this.#nameLength = length;
    this.#stage = "name";
    if (length === 0) this.#handleName(sink);
  }

  #handleName(sink: ChannelSink): void {
    const name = decodeUtf8(this.#name.subarray(0, this.#nameLength));
    if (name === undefined) return this.fail(Fault.NotUtf8);
    this.#stage = "header";
    sink.open(this.#channelId, name);
  }

  #handleHeader(value: number, sink: ChannelSink): void {
    const length = value >>> 1;
    this.#isLast = (value & 1) === 1;
    this.#messageBytes += length;
    if (length > CHANNEL_PIECE_BYTES || this.#messageBytes > this.#maxBytes) {
      return this.fail(Fault.OutOfRange);
    }
    if (length === 0 && !this.#isLast) return this.fail(Fault.NonCanonical);
    this.#left = length;
    this.#stage = "body";
    if (length === 0) this.#report(NOTHING, sink);
  }

  #report(piece: Uint8Array, sink: ChannelSink): void {
    const endsPiece = this.#left === 0;
    const endsMessage = endsPiece && this.#isLast;
    if (endsPiece) this.#stage = "header";
    if (endsMessage) this.#messageBytes = 0;
    sink.piece(piece, endsMessage);
  }
}

function writeName(w: Writer, name: string): void {
  const bytes = encodeUtf8(name, MAX_NAME_BYTES);
  w.varint(bytes.length);
  w.bytes(bytes);
}
