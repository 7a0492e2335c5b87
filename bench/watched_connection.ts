// A connection that says which datagrams go and come, to one that stands between a core and its connection. It changes nothing.

import { readHeader } from "../protocol/datagram.ts";
import { Reader } from "../protocol/reader.ts";
import type { Connection, ConnectionHandler, Stream } from "../transport/connection.ts";

/** Who hears of datagrams. */
export interface DatagramWatch {
  /** A datagram is about to go. */
  readonly sending?: (bytes: Uint8Array) => void;
  /** It was given to the path. */
  readonly sent?: (bytes: Uint8Array) => void;
  /** One has come, and is about to be handled. */
  readonly received?: (bytes: Uint8Array) => void;
}

/** Low 16 bits of the number of a datagram that a core wrote. */
export function sequenceOf(bytes: Uint8Array): number {
  return readHeader(new Reader(bytes))!.sequence;
}

/** See the head of the file. */
export class WatchedConnection implements Connection {
  readonly channelBinding: Uint8Array;
  readonly label: string;
  readonly #connection: Connection;
  readonly #watch: DatagramWatch;

  /** Stands in front of `connection`. */
  constructor(connection: Connection, watch: DatagramWatch) {
    this.#connection = connection;
    this.#watch = watch;
    this.channelBinding = connection.channelBinding;
    this.label = connection.label;
  }

  get maxDatagramSize(): number {
    return this.#connection.maxDatagramSize;
  }

  start(handler: ConnectionHandler): void {
    this.#connection.start({
      handleDatagram: (bytes) => {
        this.#watch.received?.(bytes);
        handler.handleDatagram(bytes);
      },
      handleStream: (stream) => handler.handleStream(stream),
      handleClosed: (info) => handler.handleClosed(info),
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    this.#watch.sending?.(bytes);
    const isSent = this.#connection.sendDatagram(bytes);
    this.#watch.sent?.(bytes);
    return isSent;
  }

  openStream(): Stream {
    return this.#connection.openStream();
  }

  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }
}
