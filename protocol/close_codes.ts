// Why a connection, a join or a stream ended, as a number that both ends understand. Codes 1 to 63 are the faults of `faults.ts`.

import { faultName } from "./faults.ts";

/** Codes of ends that are nobody's malformed bytes; they ride in close frames, refusals and goodbyes beside the fault codes. */
export const CloseCode = {
  /** A normal end. */
  Normal: 0,
  /** No place is free on the server. */
  Full: 64,
  /** No whole join message came in time. */
  JoinTimeout: 65,
  /** The server's engine removed the peer. */
  Kicked: 66,
  /** The driver is shutting down. */
  GoingAway: 67,
  /** The credential was not accepted. */
  Credential: 68,
  /** The same peer resumed on another connection. */
  Replaced: 69,
  /** A channel was closed by its engine. */
  ChannelClosed: 70,
  /** A queue to this peer is full and stays full. */
  Overloaded: 71,
  /** Nothing was heard for too long. */
  Silence: 72,
  /** The driver lost its engine. */
  EngineLost: 73,
  /** The server ran short of memory, and ended this connection for it; the peer's place is kept, as after a loss. */
  Shed: 74,
} as const;

/** One of the values of {@linkcode CloseCode}; fault codes are legal close codes too. */
export type CloseCode = typeof CloseCode[keyof typeof CloseCode];

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(CloseCode).map(([name, code]) => [code, name]),
);

/** The name of a close code or fault code, for counters and log lines. */
export function closeCodeName(code: number): string {
  return NAMES.get(code) ?? faultName(code);
}
