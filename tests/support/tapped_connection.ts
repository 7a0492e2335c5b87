// A connection that shows a test everything its owner sends: datagrams and the bytes of all streams. It changes nothing, but may lose datagrams.

import type {
  Connection,
  ConnectionHandler,
  Stream,
  StreamHandler,
} from "../../transport/connection.ts";

/** Called with bytes before the transport gets them. */
export type Tap = (bytes: Uint8Array) => void;

class TappedStream implements Stream {
  readonly #stream: Stream;
  readonly #tap: Tap;

  constructor(stream: Stream, tap: Tap) {
    this.#stream = stream;
    this.#tap = tap;
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes;
  }

  setHandler(handler: StreamHandler): void {
    this.#stream.setHandler(handler);
  }

  write(bytes: Uint8Array): boolean {
    this.#tap(bytes);
    return this.#stream.write(bytes);
  }

  end(): void {
    this.#stream.end();
  }

  reset(code: number): void {
    this.#stream.reset(code);
  }

  pause(paused: boolean): void {
    this.#stream.pause(paused);
  }
}

/** See the head of this file. */
export class TappedConnection implements Connection {
  /** The first stream that the other end opened, untapped. */
  firstStream: Stream | undefined;
  readonly channelBinding: Uint8Array;
  readonly #connection: Connection;
  readonly #tap: Tap;
  readonly #isMuted: () => boolean;

  /** With a `binding` of its own where the backend has none. Datagrams are lost while `isMuted` says so. */
  constructor(
    connection: Connection,
    tap: Tap,
    binding: Uint8Array = connection.channelBinding,
    isMuted: () => boolean = () => false,
  ) {
    this.#connection = connection;
    this.#tap = tap;
    this.#isMuted = isMuted;
    this.channelBinding = binding;
  }

  get maxDatagramSize(): number {
    return this.#connection.maxDatagramSize;
  }

  get label(): string {
    return this.#connection.label;
  }

  start(handler: ConnectionHandler): void {
    this.#connection.start({
      handleDatagram: (bytes) => handler.handleDatagram(bytes),
      handleStream: (stream) => {
        this.firstStream ??= stream;
        handler.handleStream(new TappedStream(stream, this.#tap));
      },
      handleClosed: (info) => handler.handleClosed(info),
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    this.#tap(bytes);
    return this.#isMuted() || this.#connection.sendDatagram(bytes);
  }

  openStream(): Stream {
    return new TappedStream(this.#connection.openStream(), this.#tap);
  }

  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }
}
