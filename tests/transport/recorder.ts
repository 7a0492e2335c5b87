// Handlers that keep what they are told and check what every transport promises about its calls.

import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import type {
  CloseInfo,
  Connection,
  ConnectionHandler,
  Stream,
  StreamHandler,
} from "../../transport/connection.ts";

/** What one end of a connection was told, with the order of calls checked as they come. */
export class ConnectionRecorder implements ConnectionHandler {
  readonly connection: Connection;
  readonly datagrams: Uint8Array[] = [];
  readonly streams: StreamRecorder[] = [];
  closed: CloseInfo | undefined;
  /** Replaces the recording of datagrams, or of new streams, in tests that answer at once. */
  onDatagram: ((bytes: Uint8Array) => void) | undefined;
  onStream: ((stream: StreamRecorder) => void) | undefined;
  /** False: new streams get no handler until the test sets one. */
  attachStreams = true;
  #started = false;
  #depth = 0;
  #calling = false;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  start(): this {
    this.call(() => {
      this.connection.start(this);
      this.#started = true;
    });
    return this;
  }

  /** Calls into the transport; nothing may come back before it returns. */
  call<T>(action: () => T): T {
    const before = this.#calling;
    this.#calling = true;
    try {
      return action();
    } finally {
      this.#calling = before;
    }
  }

  /** Everything a handler is told passes here. */
  report(action: () => void): void {
    assert(this.#started, "no call comes before start() has returned");
    assert(this.closed === undefined, "no call comes after handleClosed");
    assert(!this.#calling, "no call comes inside a call of ours");
    assertEquals(this.#depth, 0, "calls come one at a time");
    this.#depth += 1;
    try {
      action();
    } finally {
      this.#depth -= 1;
    }
  }

  open(): StreamRecorder {
    const stream = new StreamRecorder(this, this.call(() => this.connection.openStream()));
    return stream.attach();
  }

  send(bytes: Uint8Array): boolean {
    return this.call(() => this.connection.sendDatagram(bytes));
  }

  close(code = 0, reason = ""): void {
    this.call(() => this.connection.close(code, reason));
  }

  handleDatagram(bytes: Uint8Array): void {
    this.report(() => {
      this.datagrams.push(bytes);
      this.onDatagram?.(bytes);
    });
  }

  handleStream(stream: Stream): void {
    this.report(() => {
      const recorder = new StreamRecorder(this, stream);
      this.streams.push(recorder);
      if (this.attachStreams) recorder.attach();
      this.onStream?.(recorder);
    });
  }

  handleClosed(info: CloseInfo): void {
    this.report(() => {
      this.closed = info;
    });
  }
}

/** What one end of a stream was told. */
export class StreamRecorder implements StreamHandler {
  readonly stream: Stream;
  readonly chunks: Uint8Array[] = [];
  received = 0;
  ended = false;
  resetCode: number | undefined;
  writableCount = 0;
  /** Keeps no bytes, only counts and checks them against `patternByte`. */
  checkPattern = false;
  onData: ((bytes: Uint8Array) => void) | undefined;
  onWritable: (() => void) | undefined;
  readonly #owner: ConnectionRecorder;

  constructor(owner: ConnectionRecorder, stream: Stream) {
    this.#owner = owner;
    this.stream = stream;
  }

  attach(): this {
    this.#owner.call(() => this.stream.setHandler(this));
    return this;
  }

  write(bytes: Uint8Array): boolean {
    return this.#owner.call(() => this.stream.write(bytes));
  }

  end(): void {
    this.#owner.call(() => this.stream.end());
  }

  reset(code: number): void {
    this.#owner.call(() => this.stream.reset(code));
  }

  pause(paused: boolean): void {
    this.#owner.call(() => this.stream.pause(paused));
  }

  /** All bytes so far. */
  get bytes(): Uint8Array {
    const all = new Uint8Array(this.received);
    let at = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  handleData(bytes: Uint8Array): void {
    this.#report(() => {
      assert(bytes.length > 0, "data is never empty");
      assert(!this.ended, "no data comes after the end");
      if (this.checkPattern) {
        for (let i = 0; i < bytes.length; i++) {
          // A plain comparison: the assertion itself is too slow for 16 million bytes.
          if (bytes[i] !== patternByte(this.received + i)) {
            throw new Error(`byte ${this.received + i} is wrong`);
          }
        }
      } else {
        this.chunks.push(bytes);
      }
      this.received += bytes.length;
      this.onData?.(bytes);
    });
  }

  handleEnd(): void {
    this.#report(() => {
      assert(!this.ended, "the end comes once");
      this.ended = true;
    });
  }

  handleReset(code: number): void {
    this.#report(() => {
      this.resetCode = code;
    });
  }

  handleWritable(): void {
    this.#report(() => {
      this.writableCount += 1;
      this.onWritable?.();
    });
  }

  #report(action: () => void): void {
    assertEquals(this.resetCode, undefined, "no call comes after handleReset");
    this.#owner.report(action);
  }
}

/** Byte `at` of the test pattern: its period, 65,521, divides no buffer's size. */
export function patternByte(at: number): number {
  const place = at % 65_521;
  return (place ^ (place >> 8)) & 0xff;
}

/** `count` bytes of the pattern from position `from`. */
export function patternBytes(from: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = patternByte(from + i);
  return bytes;
}

/** `count` bytes that look random. */
export function randomBytes(prng: Prng, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  prng.fill(bytes);
  return bytes;
}
