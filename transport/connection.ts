// What every network backend gives the driver, and no more than all of them can: datagrams that may be lost, reliable ordered streams,
// a close with a code, and what the connector checked of the acceptor. Who connected says nothing about who has authority.
// No I/O here: types alone.

/** Why and how a connection ended. */
export interface CloseInfo {
  /** The peer's or our own application code; 0 is a normal end. */
  readonly code: number;
  /** Short text without contents; empty where the backend carries none. */
  readonly reason: string;
  /** Which side ended it: `local` by `close()`, `remote` by the peer's, `lost` by time-out or a transport failure. */
  readonly by: "local" | "remote" | "lost";
}

/** What a connection reports. All calls are synchronous and come one at a time; none comes before `start()` or after `handleClosed`. */
export interface ConnectionHandler {
  /** One datagram, whole; the bytes belong to the handler. */
  handleDatagram(bytes: Uint8Array): void;
  /** The peer opened a stream; streams come in the order of opening. Nothing of it is read before its handler is set. */
  handleStream(stream: Stream): void;
  /**
   * The last call: the connection is over, its streams have ended too (without calls of their own). It comes after our own `close`,
   * too, but never inside it; between the two nothing else comes.
   */
  handleClosed(info: CloseInfo): void;
}

/** What a stream reports. */
export interface StreamHandler {
  /** Bytes in order; any chunking. The bytes belong to the handler. */
  handleData(bytes: Uint8Array): void;
  /** The peer ended its direction after the bytes so far. */
  handleEnd(): void;
  /**
   * The last call: the peer gave up the stream, or what came in it broke the rules (the code is the fault then). Bytes in flight are
   * lost, both ways. The code is 0 where the peer's did not get through. On a paused stream it may come only when that goes on.
   */
  handleReset(code: number): void;
  /** `write` returned false before and may be called again: the buffer fell below its mark. */
  handleWritable(): void;
}

/** One bidirectional, reliable, ordered stream of bytes. */
export interface Stream {
  /** Takes the stream's reports, once; data that arrived before is delivered after this call, never inside it. */
  setHandler(handler: StreamHandler): void;
  /**
   * Queues bytes; they must not change afterwards. Returns false when the sender should wait for `handleWritable`: the bytes are
   * taken all the same. Bytes written after `end`, a reset of either end or the connection's end are dropped; the answer is false, and
   * no `handleWritable` follows.
   */
  write(bytes: Uint8Array): boolean;
  /** Bytes taken by `write` and not yet handed to the network. */
  readonly bufferedBytes: number;
  /** Ends our direction after the bytes written so far. */
  end(): void;
  /** Gives up both directions at once with a code of 0..2^30-1. No call follows; bytes in flight are lost. */
  reset(code: number): void;
  /** Stops (true) or resumes (false) delivery of incoming bytes; the peer's `write` soon returns false. */
  pause(paused: boolean): void;
}

/** One connection between two drivers. */
export interface Connection {
  /** Takes the connection's reports, once, and begins delivery: after this call, never inside it. */
  start(handler: ConnectionHandler): void;
  /** Largest datagram that passes now, bytes. It can change at any time: re-read it in every send slot. */
  readonly maxDatagramSize: number;
  /**
   * Sends one datagram, or drops it: returns false when it is larger than `maxDatagramSize`, too many wait already, or the connection
   * is over. Never waits. The bytes must not change afterwards.
   */
  sendDatagram(bytes: Uint8Array): boolean;
  /**
   * Opens a bidirectional stream. The peer hears of it with its first byte, end or reset, or with that of a stream opened later. Beyond
   * `MAX_STREAMS_PER_PEER` open ones the stream is reset at once with the fault `OutOfRange`.
   */
  openStream(): Stream;
  /** Ends the connection with an application code (0..2^30-1) and a short text. Streams end with it. */
  close(code: number, reason: string): void;
  /**
   * SHA-256 of the acceptor's certificate as the connector checked it (32 bytes), known to both ends; empty where the backend has
   * no certificate (loopback, simulated link), and at a QUIC connector that trusted an authority and was not told what to expect.
   */
  readonly channelBinding: Uint8Array;
  /** For a log line: the peer's address without its last part, or the backend's name. */
  readonly label: string;
}

/** Something that accepts connections. */
export interface Listener {
  /** The address it listens on, for a log line and for connectors of the same process: `host:port`. */
  readonly address: string;
  /** Stops accepting; open connections go on. */
  close(): void;
}
