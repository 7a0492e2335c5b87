// How long datagrams wait in front of simulated links, seen by standing between the cores and their connections. It changes nothing.

import { readHeader } from "../protocol/datagram.ts";
import { Reader } from "../protocol/reader.ts";
import type { Connection, ConnectionHandler, Stream } from "../transport/connection.ts";
import { Worst } from "./worst.ts";

/** How long datagrams wait in front of their links: the time they take beyond that on the wire. */
export class Backlog {
  /** Of each second and direction of a link the longest wait. */
  readonly waits = new Worst();
  readonly #latencyMs: number;
  readonly #sentMs = new Map<string, Float64Array>();

  /** @param latencyMs One way on the wire. */
  constructor(latencyMs: number) {
    this.#latencyMs = latencyMs;
  }

  /** Begins to count anew. */
  clear(): void {
    this.waits.clear();
  }

  /** Stands between a core and its connection. */
  wrap(
    connection: Connection,
    end: "server" | "client",
    client: number,
    now: () => number,
  ): Connection {
    const [out, back] = end === "server" ? ["down", "up"] : ["up", "down"];
    const sent = this.#times(`${out}${client}`);
    const received = this.#times(`${back}${client}`);
    let [worstMs, windowMs] = [0, 0];
    return new WatchedConnection(
      connection,
      (bytes) => sent[sequenceOf(bytes)] = now(),
      (bytes) => {
        worstMs = Math.max(worstMs, now() - received[sequenceOf(bytes)]! - this.#latencyMs);
        if (now() - windowMs < 1000) return;
        this.waits.add(worstMs);
        [worstMs, windowMs] = [0, now()];
      },
    );
  }

  #times(name: string): Float64Array {
    let times = this.#sentMs.get(name);
    if (times === undefined) this.#sentMs.set(name, times = new Float64Array(0x10000));
    return times;
  }
}

function sequenceOf(bytes: Uint8Array): number {
  return readHeader(new Reader(bytes))!.sequence;
}

/** A connection that says when datagrams go and come. */
class WatchedConnection implements Connection {
  readonly channelBinding: Uint8Array;
  readonly label: string;
  readonly #connection: Connection;
  readonly #onSent: (bytes: Uint8Array) => void;
  readonly #onReceived: (bytes: Uint8Array) => void;

  constructor(
    connection: Connection,
    onSent: (bytes: Uint8Array) => void,
    onReceived: (bytes: Uint8Array) => void,
  ) {
    this.#connection = connection;
    this.#onSent = onSent;
    this.#onReceived = onReceived;
    this.channelBinding = connection.channelBinding;
    this.label = connection.label;
  }

  get maxDatagramSize(): number {
    return this.#connection.maxDatagramSize;
  }

  start(handler: ConnectionHandler): void {
    this.#connection.start({
      handleDatagram: (bytes) => {
        this.#onReceived(bytes);
        handler.handleDatagram(bytes);
      },
      handleStream: (stream) => handler.handleStream(stream),
      handleClosed: (info) => handler.handleClosed(info),
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    this.#onSent(bytes);
    return this.#connection.sendDatagram(bytes);
  }

  openStream(): Stream {
    return this.#connection.openStream();
  }

  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }
}
