// A connection that loses datagrams: some share of those of either direction, drawn from a seed. Streams are not touched, and what is not
// lost is neither late nor changed.

import type { Prng } from "../protocol/prng.ts";
import type { Connection, ConnectionHandler, Stream } from "../transport/connection.ts";

/** See the head of the file. What it loses on sending counts as sent. */
export class LossyConnection implements Connection {
  readonly #inner: Connection;
  readonly #loss: number;
  readonly #prng: Prng;

  /** @param loss Share of the datagrams, 0..1, of each direction. */
  constructor(inner: Connection, loss: number, prng: Prng) {
    this.#inner = inner;
    this.#loss = loss;
    this.#prng = prng;
  }

  get channelBinding(): Uint8Array {
    return this.#inner.channelBinding;
  }

  get label(): string {
    return this.#inner.label;
  }

  get maxDatagramSize(): number {
    return this.#inner.maxDatagramSize;
  }

  start(handler: ConnectionHandler): void {
    this.#inner.start({
      handleDatagram: (bytes) => {
        if (this.#prng.nextFloat() >= this.#loss) handler.handleDatagram(bytes);
      },
      handleStream: (stream) => handler.handleStream(stream),
      handleClosed: (info) => handler.handleClosed(info),
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    return this.#prng.nextFloat() < this.#loss || this.#inner.sendDatagram(bytes);
  }

  openStream(): Stream {
    return this.#inner.openStream();
  }

  close(code: number, reason: string): void {
    this.#inner.close(code, reason);
  }
}
