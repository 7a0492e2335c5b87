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
  /** The peer opened a stream. Set its handler before returning, or nothing of it will be read. */
  handleStream(stream: Stream): void;
  /** The last call: the connection is over, its streams have ended too (without calls of their own). */
  handleClosed(info: CloseInfo): void;
}

/** What a stream reports. */
export interface StreamHandler {
  /** Bytes in order; any chunking. The bytes belong to the handler. */
  handleData(bytes: Uint8Array): void;
  /** The peer ended its direction after the bytes so far. */
  handleEnd(): void;
  /** The peer gave up its direction, or refused ours; bytes in flight are lost. */
  handleReset(code: number): void;
  /** `write` returned false before and may be called again: the buffer fell below its mark. */
  handleWritable(): void;
}

/** One bidirectional, reliable, ordered stream of bytes. */
export interface Stream {
  /** Takes the stream's reports; data that arrived before is delivered after this call, never inside it. */
  setHandler(handler: StreamHandler): void;
  /**
   * Queues bytes; they must not change afterwards. Returns false when the sender should wait for `handleWritable`: the bytes are
   * taken all the same. Bytes written after `end`, `reset` or the connection's end are dropped.
   */
  write(bytes: Uint8Array): boolean;
  /** Bytes taken by `write` and not yet handed to the network. */
  readonly bufferedBytes: number;
  /** Ends our direction after the bytes written so far. */
  end(): void;
  /** Gives up both directions at once with a code of 0..2^30-1. */
  reset(code: number): void;
  /** Stops (true) or resumes (false) delivery of incoming bytes; the peer's `write` soon returns false. */
  pause(paused: boolean): void;
}

/** One connection between two drivers. */
export interface Connection {
  /** Takes the connection's reports and begins delivery. */
  start(handler: ConnectionHandler): void;
  /** Largest datagram that passes now, bytes. It can change at any time: re-read it in every send slot. */
  readonly maxDatagramSize: number;
  /**
   * Sends one datagram, or drops it: returns false when it is larger than `maxDatagramSize`, or the connection is over. Never waits.
   * The bytes must not change afterwards.
   */
  sendDatagram(bytes: Uint8Array): boolean;
  /** Opens a bidirectional stream. The peer hears of it with its first byte. */
  openStream(): Stream;
  /** Ends the connection with an application code (0..2^30-1) and a short text. Streams end with it. */
  close(code: number, reason: string): void;
  /**
   * SHA-256 of the acceptor's certificate as the connector checked it (32 bytes), known to both ends; empty where the backend has
   * no certificate (loopback, simulated link).
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
