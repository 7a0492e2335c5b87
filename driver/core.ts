// What every driver core promises to the program around it, whatever its role. The program owns sockets and clock; the core owns all
// decisions. It calls the transport's synchronous interface and nothing else, and knows the time only as an argument.

import type { ConnectOrder, ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import type { Connection } from "../transport/connection.ts";

/**
 * The core of one driver.
 *
 * Order of calls: `hello()` first, then any number of `handle*`, each with a time that never goes back. After every `handle*` drain
 * `pollEngine()`, look at `pollConnect()` and `exit`, and call `handleTimer` no later than `nextTimerMs`.
 */
export interface DriverCore {
  /** The first message to the engine. */
  hello(facts: HelloFacts): ToEngine;
  /** One message of the engine. */
  handleEngine(message: ToDriver, nowMs: number): void;
  /** The engine's socket takes bytes again, or no longer: while it does not, state is conflated and voice dropped. */
  handleEngineWritable(writable: boolean): void;
  /** The next message to the engine; `undefined` when nothing is due. */
  pollEngine(nowMs: number): ToEngine | undefined;
  /** A connection is up: one that a peer made, or the one ordered by `pollConnect`. */
  handleConnection(connection: Connection, nowMs: number): void;
  /** The connection ordered by `pollConnect` could not be made. */
  handleConnectFailed(reason: string, nowMs: number): void;
  /** Where to connect to, when it is time to. Each order is given once. */
  pollConnect(nowMs: number): ConnectOrder | undefined;
  /** Time has passed; transports' reports come between these calls with the time of `now`. */
  handleTimer(nowMs: number): void;
  /** When `handleTimer` wants to be called next. */
  readonly nextTimerMs: number;
  /** Memory runs short: drops the peer that holds most of it. False where there is none to drop. */
  shed(nowMs: number): boolean;
  /** Says goodbye to peers and engine. */
  close(reason: string, nowMs: number): void;
  /** Set once the driver has to end; the code is one of `exit_codes.ts`. */
  readonly exit: { readonly code: number; readonly reason: string } | undefined;
}

/** What the program around the core knows and the engine wants to hear. */
export interface HelloFacts {
  /** SHA-256 of the driver's certificate, lower-case hex; empty for clients. */
  readonly certificateHash: string;
  /** Where it will listen; empty for clients. */
  readonly listen: string;
  /** 32 random bits of this boot. */
  readonly boot: number;
  /** Last second of the certificate's validity, s since 1970; left out for clients. */
  readonly certificateUntilS?: number;
}

/** What a core needs from the program around it besides calls. */
export interface CoreEnvironment {
  /** The present time in ms, the same clock as every `nowMs`; read only inside transport reports, which carry none. */
  now(): number;
  /** Fills an array with unpredictable bytes. */
  randomBytes(length: number): Uint8Array;
  /** SHA-256. */
  sha256(bytes: Uint8Array): Uint8Array;
  /** The wall clock, ms since 1970: it may go back. */
  unixMs(): number;
  /** Checks an Ed25519 signature (RFC 8032) by a public key of 32 bytes, and calls `done` once, now or later. Never throws. */
  verifyEd25519(
    publicKey: Uint8Array,
    signature: Uint8Array,
    data: Uint8Array,
    done: (isGood: boolean) => void,
  ): void;
  /** A transport's report changed something: poll and look at the timer soon. */
  wake(): void;
}
