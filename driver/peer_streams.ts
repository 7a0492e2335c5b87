// The streams of one joined peer: how many it may have open, and how much of them nobody has read. What the backend holds it does not tell,
// so a stream that is paused while its peer keeps sending counts as full. What is in the streams is the channels' business.

import { STREAM_IDLE_MS, STREAM_STUCK_MS, UNREAD_STREAM_BYTES } from "../protocol/limits.ts";
import { Fault } from "../protocol/faults.ts";
import type { Stream, StreamHandler } from "../transport/connection.ts";

/** A stream that notes when it was read, and when not. */
class WatchedStream implements Stream {
  readonly #stream: Stream;
  readonly #now: () => number;
  readonly #forget: (stream: WatchedStream) => void;
  #isPaused = false;
  #isEndAsked = false;
  #hasEnded = false;
  /** When bytes came last, ms. */
  #dataMs = -Infinity;
  /** When bytes came last, or could come again, ms. */
  #readMs: number;
  /** Since when it has never been seen empty, ms, and what it brought in that time. */
  #fullSinceMs: number | undefined;
  #bytesSince = 0;

  constructor(stream: Stream, now: () => number, forget: (stream: WatchedStream) => void) {
    this.#stream = stream;
    this.#now = now;
    this.#forget = forget;
    this.#readMs = now();
  }

  /** The peer has ended its direction, and that was read. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Its peer has filled it, as far as can be known. */
  isFull(nowMs: number): boolean {
    if (this.#fullSinceMs === undefined || this.#hasEnded) return false;
    return this.#isPaused || nowMs - this.#readMs <= STREAM_IDLE_MS;
  }

  /** It has been full for long, and brought less than it holds. */
  isStuck(nowMs: number): boolean {
    return this.isFull(nowMs) && nowMs - this.#fullSinceMs! >= STREAM_STUCK_MS &&
      this.#bytesSince < UNREAD_STREAM_BYTES;
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes;
  }

  setHandler(handler: StreamHandler): void {
    this.#stream.setHandler({
      handleData: (bytes) => {
        this.#noteData(bytes.length);
        handler.handleData(bytes);
      },
      handleEnd: () => {
        this.#hasEnded = true;
        if (this.#isEndAsked) this.#forget(this);
        handler.handleEnd();
      },
      handleReset: (code) => {
        this.#forget(this);
        handler.handleReset(code);
      },
      handleWritable: () => handler.handleWritable(),
    });
  }

  write(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  end(): void {
    this.#isEndAsked = true;
    if (this.#hasEnded) this.#forget(this);
    this.#stream.end();
  }

  reset(code: number): void {
    this.#forget(this);
    this.#stream.reset(code);
  }

  pause(paused: boolean): void {
    if (paused !== this.#isPaused) {
      const nowMs = this.#now();
      if (paused) this.#notePaused(nowMs);
      else this.#readMs = nowMs;
      this.#isPaused = paused;
    }
    this.#stream.pause(paused);
  }

  #noteData(bytes: number): void {
    const nowMs = this.#now();
    if (nowMs - this.#readMs > STREAM_IDLE_MS) this.#fullSinceMs = undefined;
    this.#bytesSince += bytes;
    this.#dataMs = nowMs;
    this.#readMs = nowMs;
  }

  #notePaused(nowMs: number): void {
    if (nowMs - this.#readMs > STREAM_IDLE_MS) this.#fullSinceMs = undefined;
    const isKnown = this.#fullSinceMs !== undefined && this.#bytesSince < UNREAD_STREAM_BYTES;
    // What was silent before it was paused is taken for empty: a pause of everything makes nobody's stream full.
    if (isKnown || nowMs - this.#dataMs > STREAM_IDLE_MS) return;
    this.#fullSinceMs = nowMs;
    this.#bytesSince = 0;
  }
}

/** The streams of one peer, its control stream apart; see the head of this file. */
export class PeerStreams {
  readonly #now: () => number;
  /** Those that live, and whether the peer opened them. */
  readonly #streams = new Map<WatchedStream, boolean>();

  /** @param now The present time, ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A stream that this end has opened, to be used in its place. */
  watch(stream: Stream): Stream {
    return this.#add(stream, false);
  }

  /**
   * A stream that the peer has opened, to be used in its place; `undefined`, and reset with the fault `OutOfRange`, where the peer has `most`
   * of them open already. Those that it has ended itself do not count.
   */
  accept(stream: Stream, most: number): Stream | undefined {
    let open = 0;
    for (const [one, isRemote] of this.#streams) if (isRemote && !one.hasEnded) open += 1;
    if (open < most) return this.#add(stream, true);
    stream.reset(Fault.OutOfRange);
    return undefined;
  }

  /** Streams that live. */
  get count(): number {
    return this.#streams.size;
  }

  /** Streams that have been full for long. */
  stuckCount(nowMs: number): number {
    let count = 0;
    for (const stream of this.#streams.keys()) if (stream.isStuck(nowMs)) count += 1;
    return count;
  }

  /** Bytes that the backend holds at most of what the peer has sent and nobody reads. */
  unreadBytes(nowMs: number): number {
    let bytes = 0;
    for (const stream of this.#streams.keys()) {
      if (stream.isFull(nowMs)) bytes += UNREAD_STREAM_BYTES;
    }
    return bytes;
  }

  /** Bytes on their way out that the backend has not taken. */
  get bufferedBytes(): number {
    let bytes = 0;
    for (const { bufferedBytes } of this.#streams.keys()) bytes += bufferedBytes;
    return bytes;
  }

  #add(stream: Stream, isRemote: boolean): Stream {
    const watched = new WatchedStream(stream, this.#now, (one) => this.#streams.delete(one));
    this.#streams.set(watched, isRemote);
    return watched;
  }
}
