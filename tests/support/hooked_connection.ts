// A connection that lets a test speak in the peer's place: bytes go to the owner's handlers as if they had come over the network, at once, so
// that an exception in the owner is the test's own. What the owner does is noted; some closes can be kept from the transport.

import type {
  CloseInfo,
  Connection,
  ConnectionHandler,
  Stream,
  StreamHandler,
} from "../../transport/connection.ts";

/** One stream seen from its owner's side. */
export class HookedStream implements Stream {
  /** The owner's handler, once it has set one. */
  handler: StreamHandler | undefined;
  /** Bytes that seem to wait for a peer that does not read. */
  stuckBytes = 0;
  /** Code of the owner's reset. */
  resetCode: number | undefined;
  readonly #stream: Stream;

  /** Passes everything on to `stream`. */
  constructor(stream: Stream) {
    this.#stream = stream;
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes + this.stuckBytes;
  }

  setHandler(handler: StreamHandler): void {
    this.handler = handler;
    this.#stream.setHandler(handler);
  }

  write(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  end(): void {
    this.#stream.end();
  }

  reset(code: number): void {
    this.resetCode ??= code;
    this.#stream.reset(code);
  }

  pause(paused: boolean): void {
    this.#stream.pause(paused);
  }
}

/** What a hook may do beside looking on. */
export interface Hook {
  /** True: the owner's close is noted, but the connection goes on. */
  readonly survives?: (code: number) => boolean;
  /** True: a datagram on its way to the owner is swallowed. */
  readonly takes?: (bytes: Uint8Array) => boolean;
}

/** See the head of this file. */
export class HookedConnection implements Connection {
  /** The owner's handler, once it has started. */
  handler: ConnectionHandler | undefined;
  /** Streams in the order in which the owner met them; the first is the control stream. */
  readonly streams: HookedStream[] = [];
  /** Codes of the owner's closes. */
  readonly closes: number[] = [];
  /** How it ended. */
  closed: CloseInfo | undefined;
  readonly #connection: Connection;
  readonly #hook: Hook;

  /** Stands before `connection`. */
  constructor(connection: Connection, hook: Hook = {}) {
    this.#connection = connection;
    this.#hook = hook;
  }

  get maxDatagramSize(): number {
    return this.#connection.maxDatagramSize;
  }

  get channelBinding(): Uint8Array {
    return this.#connection.channelBinding;
  }

  get label(): string {
    return this.#connection.label;
  }

  /** Still open, as far as the owner was told. */
  get isOpen(): boolean {
    return this.handler !== undefined && this.closed === undefined && this.closes.length === 0;
  }

  /** A datagram as if from the peer. */
  injectDatagram(bytes: Uint8Array): void {
    if (this.closed === undefined) this.handler?.handleDatagram(bytes);
  }

  /** Bytes of a stream as if from the peer; of the control stream where none is named. */
  injectBytes(bytes: Uint8Array, index = 0): void {
    const stream = this.streams[index];
    if (this.closed === undefined && stream?.resetCode === undefined) {
      stream?.handler?.handleData(bytes);
    }
  }

  /** Ends the connection without the owner's doing. */
  cut(): void {
    this.#connection.close(0, "cut");
  }

  start(handler: ConnectionHandler): void {
    this.handler = handler;
    this.#connection.start({
      handleDatagram: (bytes) => {
        if (this.#hook.takes?.(bytes) !== true) handler.handleDatagram(bytes);
      },
      handleStream: (stream) => {
        const hooked = new HookedStream(stream);
        this.streams.push(hooked);
        handler.handleStream(hooked);
      },
      handleClosed: (info) => {
        this.closed = info;
        handler.handleClosed(info);
      },
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    return this.#connection.sendDatagram(bytes);
  }

  openStream(): Stream {
    const hooked = new HookedStream(this.#connection.openStream());
    this.streams.push(hooked);
    return hooked;
  }

  close(code: number, reason: string): void {
    this.closes.push(code);
    if (this.#hook.survives?.(code) !== true) this.#connection.close(code, reason);
  }
}
