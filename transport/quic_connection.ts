// One QUIC connection behind the `Connection` interface: loops that read datagrams and accept streams, and bounds on what the runtime
// queues for us. How a connection comes about is `quic.ts`.

import { anonymiseAddress } from "../protocol/address_label.ts";
import { assert } from "../protocol/assert.ts";
import { Fault } from "../protocol/faults.ts";
import {
  MAX_DATAGRAM_BYTES,
  MAX_STREAMS_PER_PEER,
  MAX_UNSENT_DATAGRAMS,
} from "../protocol/limits.ts";
import { assertApplicationCode, clampApplicationCode, clampReason } from "./close_info.ts";
import type { CloseInfo, Connection, ConnectionHandler, Stream } from "./connection.ts";
import { QuicStream } from "./quic_stream.ts";

/** See {@linkcode Connection}. `whenOver` runs once, after the connection has ended. */
export class QuicConnection implements Connection {
  readonly channelBinding: Uint8Array;
  readonly label: string;
  readonly #conn: Deno.QuicConn;
  readonly #whenOver: () => void;
  readonly #streams = new Set<QuicStream>();
  #handler: ConnectionHandler | undefined;
  #live = false;
  #over = false;
  #closeInfo: CloseInfo | undefined;
  #unsent = 0;
  #localOpen = 0;
  /** Streams get their ids in the order in which they were opened here: each waits for the one before. */
  #opening: Promise<void> = Promise.resolve();

  /** Watches for the end from now on. @param conn A connection whose handshake is complete and that nothing else reads. */
  constructor(conn: Deno.QuicConn, channelBinding: Uint8Array, whenOver: () => void) {
    this.#conn = conn;
    this.channelBinding = channelBinding;
    this.label = anonymiseAddress(conn.remoteAddr);
    this.#whenOver = whenOver;
    conn.closed.then(
      (info) =>
        this.#end({
          code: clampApplicationCode(info.closeCode),
          reason: clampReason(info.reason),
          by: "remote",
        }),
      (error) => this.#end({ code: 0, reason: lossReason(error), by: "lost" }),
    );
  }

  get maxDatagramSize(): number {
    return this.#over ? 0 : Math.min(this.#conn.maxDatagramSize, MAX_DATAGRAM_BYTES);
  }

  start(handler: ConnectionHandler): void {
    assert(this.#handler === undefined, "a connection is started once");
    this.#handler = handler;
    queueMicrotask(() => {
      this.#live = true;
      this.#reportClosed();
      if (this.#over) return;
      this.#readDatagrams(handler);
      this.#acceptStreams(handler);
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    if (this.#over || bytes.length > this.maxDatagramSize) return false;
    if (this.#unsent >= MAX_UNSENT_DATAGRAMS) return false;
    this.#unsent += 1;
    // The path may have shrunk, or the connection ended, since the check above: a datagram is lost then, as on any network.
    this.#conn.sendDatagram(bytes).then(this.#datagramTaken, this.#datagramTaken);
    return true;
  }

  openStream(): Stream {
    const local = this.#localOpen < MAX_STREAMS_PER_PEER;
    const stream = new QuicStream((done) => this.#forget(done, true));
    if (this.#over) stream.kill();
    else if (!local) stream.refuse(Fault.OutOfRange);
    else {
      this.#localOpen += 1;
      this.#streams.add(stream);
      this.#opening = this.#opening.then(() => this.#open(stream));
    }
    return stream;
  }

  close(code: number, reason: string): void {
    assertApplicationCode(code);
    if (this.#over) return;
    const cut = clampReason(reason);
    for (const stream of this.#streams) stream.stop();
    this.#conn.close({ closeCode: code, reason: cut });
    this.#end({ code, reason: cut, by: "local" });
  }

  readonly #datagramTaken = (): void => {
    this.#unsent -= 1;
  };

  async #open(stream: QuicStream): Promise<void> {
    if (this.#over) return;
    try {
      const halves = await this.#conn.createBidirectionalStream({ waitUntilAvailable: true });
      if (!this.#over) stream.attach(halves);
    } catch {
      // The connection ended first; its handler hears of that, the stream's does not.
    }
  }

  async #readDatagrams(handler: ConnectionHandler): Promise<void> {
    while (!this.#over) {
      let bytes: Uint8Array;
      try {
        bytes = await this.#conn.readDatagram();
      } catch {
        return;
      }
      if (!this.#over && bytes.length <= MAX_DATAGRAM_BYTES) handler.handleDatagram(bytes);
    }
  }

  async #acceptStreams(handler: ConnectionHandler): Promise<void> {
    const streams = this.#conn.incomingBidirectionalStreams.getReader();
    while (!this.#over) {
      let halves: Deno.QuicBidirectionalStream | undefined;
      try {
        halves = (await streams.read()).value;
      } catch {
        return;
      }
      if (halves === undefined || this.#over) return;
      const stream = new QuicStream((done) => this.#forget(done, false));
      this.#streams.add(stream);
      handler.handleStream(stream);
      if (!this.#over) stream.attach(halves);
    }
  }

  #forget(stream: QuicStream, isLocal: boolean): void {
    if (this.#streams.delete(stream) && isLocal) this.#localOpen -= 1;
  }

  #end(info: CloseInfo): void {
    if (this.#over) return;
    this.#over = true;
    this.#closeInfo = info;
    for (const stream of this.#streams) stream.kill();
    this.#streams.clear();
    queueMicrotask(() => {
      this.#reportClosed();
      this.#whenOver();
    });
  }

  #reportClosed(): void {
    const info = this.#closeInfo;
    if (!this.#live || info === undefined) return;
    this.#closeInfo = undefined;
    this.#handler!.handleClosed(info);
  }
}

function lossReason(error: unknown): string {
  return clampReason(error instanceof Error ? error.message : "connection lost");
}
