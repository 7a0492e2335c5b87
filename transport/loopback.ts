// Connections within one process: for the role without a network, and for tests. No timers, no loss: whoever owns the queue decides
// when what was sent arrives.

import { assert } from "../protocol/assert.ts";
import {
  MAX_DATAGRAM_BYTES,
  MAX_FLUSHED_ACTIONS,
  MAX_STREAM_FRAME_BYTES,
} from "../protocol/limits.ts";
import type { Connection, Listener } from "./connection.ts";
import { type Carrier, MuxConnection } from "./mux_connection.ts";
import { FrameKind, type MuxFrame } from "./mux_frame.ts";
import { TransportError, TransportErrorCode } from "./transport_error.ts";

/** Runs an action later, never inside the call, and in the order given. */
export type Schedule = (action: () => void) => void;

/** Two ends of one connection. */
export interface ConnectionPair {
  /** The end that connected. */
  readonly connector: Connection;
  /** The end that accepted. */
  readonly acceptor: Connection;
}

/** Settings of {@linkcode createLoopbackPair}. */
export interface LoopbackOptions {
  /** Largest datagram, bytes; default `MAX_DATAGRAM_BYTES`. */
  readonly datagramSize?: number;
}

class LoopbackCarrier implements Carrier {
  readonly maxDatagramSize: number;
  readonly maxDataBytes = MAX_STREAM_FRAME_BYTES;
  readonly isReady = true;
  readonly #schedule: Schedule;
  #peer: MuxConnection | undefined;

  constructor(schedule: Schedule, datagramSize: number) {
    this.#schedule = schedule;
    this.maxDatagramSize = datagramSize;
  }

  join(peer: MuxConnection): void {
    this.#peer = peer;
  }

  sendDatagram(bytes: Uint8Array): boolean {
    // The receiver owns what it gets, and the sender may have given the same bytes to several peers.
    const copy = bytes.slice();
    this.#schedule(() => this.#peer!.handleDatagram(copy));
    return true;
  }

  sendFrame(frame: MuxFrame): void {
    const copy = frame.kind === FrameKind.Data ? { ...frame, bytes: frame.bytes.slice() } : frame;
    this.#schedule(() => this.#peer!.handleFrame(copy));
  }

  defer(action: () => void): void {
    this.#schedule(action);
  }

  release(): void {}
}

/**
 * Two connected ends in one process. Everything sent arrives through `schedule`, in order; `queueMicrotask` will do in a program, a
 * {@linkcode LoopbackNetwork} in a test.
 *
 * @example
 * ```ts
 * const { connector, acceptor } = createLoopbackPair(queueMicrotask);
 * ```
 */
export function createLoopbackPair(
  schedule: Schedule,
  options: LoopbackOptions = {},
): ConnectionPair {
  const size = options.datagramSize ?? MAX_DATAGRAM_BYTES;
  const up = new LoopbackCarrier(schedule, size);
  const down = new LoopbackCarrier(schedule, size);
  const connector = new MuxConnection(up, { isConnector: true, label: "loopback" });
  const acceptor = new MuxConnection(down, { isConnector: false, label: "loopback" });
  up.join(acceptor);
  down.join(connector);
  return { connector, acceptor };
}

/** A queue of what is under way in this process, with listeners by name. Its owner calls `flush`; nothing moves by itself. */
export class LoopbackNetwork {
  readonly #listeners = new Map<string, (connection: Connection) => void>();
  #queue: (() => void)[] = [];
  #flushing = false;

  /** Actions that wait. */
  get pendingCount(): number {
    return this.#queue.length;
  }

  /** Runs `action` in the next `flush`, or later in the one that is running. */
  readonly schedule: Schedule = (action) => {
    this.#queue.push(action);
  };

  /** Runs everything that waits, and what that brings about, until nothing is left. Returns how many actions ran. */
  flush(): number {
    if (this.#flushing) return 0;
    this.#flushing = true;
    let count = 0;
    try {
      while (this.#queue.length > 0) {
        const batch = this.#queue;
        this.#queue = [];
        for (const action of batch) action();
        count += batch.length;
        assert(count < MAX_FLUSHED_ACTIONS, "a loopback flush comes to an end");
      }
    } finally {
      this.#flushing = false;
    }
    return count;
  }

  /**
   * Accepts connections under `name`.
   *
   * @throws {TransportError} `address-in-use` when the name is taken.
   */
  listen(name: string, onConnection: (connection: Connection) => void): Listener {
    if (this.#listeners.has(name)) {
      throw new TransportError(
        TransportErrorCode.AddressInUse,
        `something already listens on "${name}" in this process: choose another name`,
      );
    }
    this.#listeners.set(name, onConnection);
    return {
      address: name,
      close: () => {
        if (this.#listeners.get(name) === onConnection) this.#listeners.delete(name);
      },
    };
  }

  /**
   * Connects to `name`; the listener gets its end in the next `flush`.
   *
   * @throws {TransportError} `refused` when nothing listens there.
   */
  connect(name: string, options: LoopbackOptions = {}): Connection {
    const onConnection = this.#listeners.get(name);
    if (onConnection === undefined) {
      throw new TransportError(
        TransportErrorCode.Refused,
        `nothing listens on "${name}" in this process: start the listener first`,
      );
    }
    const { connector, acceptor } = createLoopbackPair(this.schedule, options);
    this.schedule(() => onConnection(acceptor));
    return connector;
  }
}
