// One QUIC stream behind the synchronous `Stream` interface: a write queue in front of the runtime's writer, a read loop that stops
// when paused, and the framing that carries end and reset. Knows nothing of the connection but whether it is over.

import { assert } from "../protocol/assert.ts";
import { MAX_STREAM_FRAME_BYTES } from "../protocol/limits.ts";
import { assertApplicationCode } from "./close_info.ts";
import type { Stream, StreamHandler } from "./connection.ts";
import { SendQueue } from "./send_queue.ts";
import { encodeStreamFrames, StreamDeframer, StreamEventKind } from "./stream_framing.ts";

/** The two halves that the runtime gives for one stream. */
export interface StreamHalves {
  /** Incoming bytes. */
  readonly readable: ReadableStream<Uint8Array>;
  /** Outgoing bytes. */
  readonly writable: WritableStream<Uint8Array>;
}

function ignore(): void {}

/** See {@linkcode Stream}. Its connection calls `attach` once the runtime has opened the stream, and `kill` when it is over itself. */
export class QuicStream implements Stream {
  readonly #forget: (stream: QuicStream) => void;
  readonly #out = new SendQueue();
  readonly #deframer = new StreamDeframer();
  #handler: StreamHandler | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #paused = false;
  /** The handler gets no more calls and what is written is dropped. */
  #dead = false;
  #reading = false;
  #sending = false;
  #endAsked = false;
  #endSent = false;
  /** A code for the other end that is still to be sent. */
  #resetToSend: number | undefined;
  /** The outgoing direction is finished or refused; nothing more can be sent. */
  #outClosed = false;
  #inClosed = false;
  /** A reset from the other end, or from an opener with too many streams, that the handler has not been told. */
  #resetToReport: number | undefined;

  /** A stream that the runtime has yet to open. @param forget Called once when nothing is left to do in either direction. */
  constructor(forget: (stream: QuicStream) => void) {
    this.#forget = forget;
  }

  get bufferedBytes(): number {
    return this.#out.bufferedBytes;
  }

  setHandler(handler: StreamHandler): void {
    assert(this.#handler === undefined, "a stream's handler is set once");
    this.#handler = handler;
    queueMicrotask(() => {
      this.#reportReset();
      this.#reportWritable();
      this.#read();
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#dead || this.#endAsked || this.#outClosed) return false;
    const more = this.#out.push(bytes);
    this.#send();
    return more;
  }

  end(): void {
    if (this.#dead || this.#endAsked) return;
    this.#endAsked = true;
    this.#send();
  }

  reset(code: number): void {
    assertApplicationCode(code);
    if (this.#dead) return;
    this.#dead = true;
    this.#out.clear();
    this.#resetToSend = code;
    this.#stopReading();
    this.#send();
  }

  pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    if (!paused) queueMicrotask(() => this.#read());
  }

  // ---- from the connection

  /** The runtime has the stream. */
  attach(halves: StreamHalves): void {
    this.#reader = halves.readable.getReader();
    this.#writer = halves.writable.getWriter();
    if (this.#resetToSend !== undefined) this.#stopReading();
    this.#send();
    this.#read();
  }

  /** Ends the stream for this side with a code, without a word to the other end. */
  refuse(code: number): void {
    this.#takeReset(code);
  }

  /** The connection is about to end by our doing: the runtime lets go of what it holds of the stream, and afterwards it would not. */
  stop(): void {
    this.#reader?.cancel().catch(ignore);
    this.#writer?.abort().catch(ignore);
  }

  /** The connection is over: no calls, no bytes. */
  kill(): void {
    this.#dead = true;
    this.#outClosed = true;
    this.#inClosed = true;
    this.#resetToSend = undefined;
    this.#resetToReport = undefined;
    this.#handler = undefined;
    this.#out.clear();
    this.#reader?.cancel().catch(ignore);
    this.#writer?.abort().catch(ignore);
  }

  // ---- out

  #send(): void {
    if (this.#sending || this.#writer === undefined || this.#outClosed) return;
    this.#sending = true;
    this.#runSender(this.#writer);
  }

  async #runSender(writer: WritableStreamDefaultWriter<Uint8Array>): Promise<void> {
    await this.#sendAll(writer);
    this.#forgetIfDone();
  }

  /** Sends until there is nothing left; it clears `#sending` in the same breath, so that no later write goes unseen. */
  async #sendAll(writer: WritableStreamDefaultWriter<Uint8Array>): Promise<void> {
    while (!this.#outClosed) {
      const data = this.#out.take(MAX_STREAM_FRAME_BYTES);
      const isLast = this.#out.queuedBytes === 0;
      let ending: Parameters<typeof encodeStreamFrames>[1];
      if (this.#resetToSend !== undefined) ending = { resetCode: this.#resetToSend };
      else if (isLast && this.#endAsked && !this.#endSent) ending = "end";
      if (data.length === 0 && ending === undefined) {
        // Only when both ends have said that they are done: until then a reset may have to follow the end.
        if (this.#endSent && this.#deframer.ended) this.#closeWriter(writer);
        break;
      }
      try {
        await writer.write(encodeStreamFrames(data, ending));
      } catch {
        // The other end stopped listening. If it said why, that comes in the other direction; the read loop reports it.
        this.#outClosed = true;
        this.#out.clear();
        this.#reportRefused();
        break;
      }
      // A reset or the connection's end may have cleared the queue meanwhile; then nothing of it is left to release.
      if (!this.#dead) this.#out.release(data.length);
      if (ending === "end") this.#endSent = true;
      else if (ending !== undefined) this.#closeWriter(writer);
      this.#reportWritable();
    }
    this.#sending = false;
  }

  #closeWriter(writer: WritableStreamDefaultWriter<Uint8Array>): void {
    this.#outClosed = true;
    writer.close().catch(ignore);
  }

  #reportWritable(): void {
    if (this.#dead || this.#endAsked || this.#handler === undefined) return;
    if (this.#out.pollWritable()) this.#handler.handleWritable();
  }

  // ---- in

  #read(): void {
    if (this.#reading || this.#reader === undefined || this.#handler === undefined) return;
    if (this.#inClosed) return;
    this.#reading = true;
    this.#runReader(this.#reader);
  }

  async #runReader(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    await this.#readAll(reader);
    this.#forgetIfDone();
  }

  async #readAll(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    for (;;) {
      this.#deliver();
      if (this.#inClosed || this.#isHeld()) break;
      let bytes: Uint8Array | undefined;
      try {
        bytes = (await reader.read()).value;
      } catch {
        bytes = undefined;
      }
      if (this.#inClosed) break;
      if (bytes === undefined) {
        this.#inClosed = true;
        // An end without an end frame is how a reset looks that did not get through.
        if (!this.#deframer.ended) this.#takeReset(0);
        else this.#reportRefused();
        this.#send();
        break;
      }
      this.#deframer.push(bytes);
    }
    this.#reading = false;
  }

  /** After an end frame only a reset can come, and nobody pauses that. */
  #isHeld(): boolean {
    return this.#paused && !this.#deframer.ended;
  }

  #deliver(): void {
    while (!this.#dead && !this.#isHeld()) {
      const event = this.#deframer.poll();
      if (event === undefined) return;
      switch (event.kind) {
        case StreamEventKind.Data:
          this.#handler!.handleData(event.bytes);
          break;
        case StreamEventKind.End:
          this.#handler!.handleEnd();
          if (this.#endSent) this.#send();
          break;
        case StreamEventKind.Reset:
          this.#takeReset(event.code);
          break;
        case StreamEventKind.Fault:
          this.#resetToSend = event.fault;
          this.#takeReset(event.fault);
      }
    }
  }

  #stopReading(): void {
    this.#inClosed = true;
    this.#reader?.cancel().catch(ignore);
  }

  /** Ends both directions because the other end, or its bytes, asked for it. */
  #takeReset(code: number): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#out.clear();
    this.#stopReading();
    this.#resetToReport = code;
    const writer = this.#writer;
    if (this.#resetToSend !== undefined) this.#send();
    else if (writer !== undefined && !this.#outClosed) this.#closeWriter(writer);
    this.#outClosed ||= this.#resetToSend === undefined;
    this.#reportReset();
  }

  #reportReset(): void {
    const code = this.#resetToReport;
    if (code === undefined || this.#handler === undefined) return;
    this.#resetToReport = undefined;
    this.#handler.handleReset(code);
  }

  /** Our bytes were refused, and the other direction ended without saying why. */
  #reportRefused(): void {
    if (this.#inClosed && this.#outClosed && !this.#endSent) this.#takeReset(0);
  }

  #forgetIfDone(): void {
    if (this.#inClosed && this.#outClosed && !this.#sending && !this.#reading) this.#forget(this);
  }
}
