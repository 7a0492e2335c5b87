// One stream of a `MuxConnection`: its send queue, its window, what arrived and waits for the handler. It knows its connection only
// as the owner that takes frames and sends its data in turn with the other streams'.

import { assert } from "../protocol/assert.ts";
import { Fault } from "../protocol/faults.ts";
import { STREAM_WINDOW_BYTES } from "../protocol/limits.ts";
import { assertApplicationCode } from "./close_info.ts";
import type { Stream, StreamHandler } from "./connection.ts";
import { FrameKind, type StreamFrame } from "./mux_frame.ts";
import { SendQueue } from "./send_queue.ts";

/** What a stream asks of its connection. */
export interface StreamOwner {
  /** Largest payload of one data frame, bytes. */
  readonly maxDataBytes: number;
  /** True once the connection has ended: no handler of its streams is called any more. */
  readonly isOver: boolean;
  /** Sends a frame now. */
  sendFrame(frame: StreamFrame): void;
  /** Calls `sendOne` when it is this stream's turn. */
  requestSend(stream: MuxStream): void;
  /** Runs `action` soon, never inside the current call. */
  defer(action: () => void): void;
  /** The stream is over. */
  forget(stream: MuxStream): void;
}

/** One stream of a `MuxConnection`; see {@linkcode Stream}. The connection calls `handleFrame`, `sendOne` and `kill`. */
export class MuxStream implements Stream {
  /** The id both ends know it by. */
  readonly id: number;
  readonly #owner: StreamOwner;
  readonly #out = new SendQueue();
  readonly #in: Uint8Array[] = [];
  #handler: StreamHandler | undefined;
  #attached = false;
  #paused = false;
  #dead = false;
  #endAsked = false;
  #endSent = false;
  #remoteEnded = false;
  #endReported = false;
  #resetCode: number | undefined;
  #sent = 0;
  #maySend = STREAM_WINDOW_BYTES;
  #received = 0;
  #consumed = 0;
  #granted = STREAM_WINDOW_BYTES;

  /** A stream without a handler. @param owner The connection, which calls `handleFrame`, `sendOne` and `kill`. */
  constructor(owner: StreamOwner, id: number) {
    this.#owner = owner;
    this.id = id;
  }

  get bufferedBytes(): number {
    return this.#out.bufferedBytes;
  }

  setHandler(handler: StreamHandler): void {
    assert(this.#handler === undefined, "a stream's handler is set once");
    this.#handler = handler;
    this.#owner.defer(() => {
      this.#attached = true;
      this.#deliver();
      this.#reportWritable();
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#dead || this.#endAsked) return false;
    const more = this.#out.push(bytes);
    this.#owner.requestSend(this);
    return more;
  }

  end(): void {
    if (this.#dead || this.#endAsked) return;
    this.#endAsked = true;
    this.#owner.requestSend(this);
  }

  reset(code: number): void {
    assertApplicationCode(code);
    if (this.#dead) return;
    this.#owner.sendFrame({ kind: FrameKind.Reset, stream: this.id, code });
    this.#owner.forget(this);
    this.kill();
  }

  pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    if (!paused) this.#owner.defer(() => this.#deliver());
  }

  // ---- from the connection

  /** Takes a frame of this stream; returns what is wrong with it. */
  handleFrame(frame: StreamFrame): Fault | undefined {
    switch (frame.kind) {
      case FrameKind.Data:
        if (this.#remoteEnded) return Fault.Unexpected;
        this.#received += frame.bytes.length;
        if (this.#received > this.#granted) return Fault.Flood;
        if (frame.bytes.length > 0) this.#in.push(frame.bytes);
        this.#deliver();
        return undefined;
      case FrameKind.End:
        if (this.#remoteEnded) return Fault.Unexpected;
        this.#remoteEnded = true;
        this.#deliver();
        this.#forgetIfEnded();
        return undefined;
      case FrameKind.Reset:
        this.#owner.forget(this);
        this.handleReset(frame.code);
        return undefined;
      case FrameKind.Credit:
        if (frame.total > this.#maySend) {
          this.#maySend = frame.total;
          this.#owner.requestSend(this);
        }
        return undefined;
    }
  }

  /** The stream ends with `code` for this side, now or as soon as it has a handler. */
  handleReset(code: number): void {
    if (this.#dead) return;
    this.kill();
    this.#resetCode = code;
    this.#deliver();
  }

  /** Sends one data frame, or the end; returns whether there is more that may go. */
  sendOne(): boolean {
    if (this.#dead || this.#endSent) return false;
    const room = Math.min(this.#owner.maxDataBytes, this.#maySend - this.#sent);
    const bytes = this.#out.take(room);
    if (bytes.length > 0) {
      this.#sent += bytes.length;
      this.#out.release(bytes.length);
      this.#owner.sendFrame({ kind: FrameKind.Data, stream: this.id, bytes });
      // This may run inside the writer's own call, and a handler is never called from there.
      if (this.#out.hasRoomAgain) this.#owner.defer(() => this.#reportWritable());
      if (this.#out.bufferedBytes > 0) return this.#maySend > this.#sent;
    }
    if (this.#endAsked && this.#out.queuedBytes === 0) {
      this.#endSent = true;
      this.#owner.sendFrame({ kind: FrameKind.End, stream: this.id });
      this.#forgetIfEnded();
    }
    return false;
  }

  /** Ends it without a call. */
  kill(): void {
    this.#dead = true;
    this.#out.clear();
    this.#in.length = 0;
  }

  // ---- within

  #deliver(): void {
    if (!this.#attached || this.#owner.isOver) return;
    const handler = this.#handler!;
    while (!this.#dead && !this.#paused && this.#in.length > 0) {
      const bytes = this.#in.shift()!;
      this.#consumed += bytes.length;
      handler.handleData(bytes);
    }
    if (this.#resetCode !== undefined) {
      const code = this.#resetCode;
      this.#resetCode = undefined;
      handler.handleReset(code);
      return;
    }
    if (this.#dead || this.#paused) return;
    if (this.#remoteEnded) {
      if (this.#endReported) return;
      this.#endReported = true;
      handler.handleEnd();
      return;
    }
    // Granting a quarter of the window at a time costs few frames and never stalls a sender that is not a window ahead.
    const grant = this.#consumed + STREAM_WINDOW_BYTES;
    if (grant - this.#granted < STREAM_WINDOW_BYTES / 4) return;
    this.#granted = grant;
    this.#owner.sendFrame({ kind: FrameKind.Credit, stream: this.id, total: grant });
  }

  #reportWritable(): void {
    if (this.#dead || this.#endAsked || !this.#attached || this.#owner.isOver) return;
    if (this.#out.pollWritable()) this.#handler!.handleWritable();
  }

  #forgetIfEnded(): void {
    if (this.#endSent && this.#remoteEnded) this.#owner.forget(this);
  }
}
