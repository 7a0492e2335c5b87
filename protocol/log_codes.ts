// Everything a driver's log can say: one table of numbers, names and what the numbers beside an entry mean. An entry is numbers alone, so no
// text, address, token, name of a person or content can be in it. Who writes entries, and what sentence people read, is not known here.

/** How important an entry of the log is. */
export type LogLevel = "error" | "warn" | "info" | "debug";

/** All levels, the most important first. */
export const LOG_LEVELS = ["error", "warn", "info", "debug"] as const satisfies LogLevel[];

/** The codes of log entries. The hundreds are the level: 1 error, 2 warn, 3 info, 4 debug. A number is never used for something else. */
export const LogCode = {
  /** A client will not try again: close or fault code. */
  GivenUp: 100,
  /** The certificate has ended, or ends within a week: the second since 1970. */
  CertificateEnding: 101,

  /** A connection was refused before it said anything: close code, connections that wait to join. */
  ConnectionRefused: 200,
  /** A join was refused: close or fault code. */
  JoinRefused: 201,
  /** A join token was refused: number of the rule that it breaks. */
  TokenRefused: 202,
  /** A resume secret was refused: peer that it was said to be of. */
  ResumeRefused: 203,
  /** No room for another used token. */
  TokensFull: 204,
  /** Bytes of a peer were refused: peer, fault code. */
  Faulty: 205,
  /** A peer was dropped for sending too much that is wrong: peer. */
  Flooding: 206,
  /** A peer was dropped because it does not read or acknowledge what it is told: peer, close code. */
  Unresponsive: 207,
  /** Something was denied: peer, number of the rule, number of the subject, declared id. */
  Denied: 208,
  /** Entries that found no room: how many. */
  Unwritten: 209,
  /** A client could not connect, or its connection ended: close or fault code. */
  Left: 210,
  /** The server broke the protocol towards a client: fault code. */
  ServerFaulty: 211,
  /** A peer's connection was ended because memory ran short: peer, KB that were held for it, the runtime's share included. */
  Shed: 212,
  /** A write broke a check against cheating: peer, component id, field's place in it. */
  CheckBroken: 213,

  /** The driver has started: 0 server, 1 client, 2 loopback. */
  Started: 300,
  /** The world part of its manifest: SHA-256, its first 128 bits. */
  Schema: 301,
  /** The certificate's last second, since 1970. */
  CertificateUntil: 302,
  /** The engine's welcome came: entities that it named, 1 if it brought a ticket to resume. */
  EngineLinked: 303,
  /** The network is open. */
  Listening: 304,
  /** A peer joined: peer, role id. */
  PeerJoined: 305,
  /** A peer took up its place again: peer, role id. */
  PeerResumed: 306,
  /** A peer is gone for good: peer, close code. */
  PeerLeft: 307,
  /** A peer's connection broke, its place is kept: peer. */
  PeerLost: 308,
  /** A peer has another role: peer, role id. */
  RoleChanged: 309,
  /** A client is in the world: its peer id, role id, 1 if it resumed. */
  Joined: 310,
  /** A join token was used: peer. */
  TokenUsed: 311,
  /** The engine granted or revoked fields of a component: peer, component id. */
  GrantsChanged: 312,

  /** Somebody connected: connections that wait to join. */
  Connected: 400,
  /** A connection ended before it had joined: close code. */
  Disconnected: 401,
  /** A client tries to connect: how often it has. */
  Connecting: 402,
  /** The engine takes no more for the moment: state is conflated, voice dropped. */
  EngineSlow: 403,
} as const;

/** One of the values of {@linkcode LogCode}. */
export type LogCode = typeof LogCode[keyof typeof LogCode];

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(LogCode).map(([name, code]) => [code, name]),
);

/** The name of a code; `code <n>` for one of a newer version. */
export function logCodeName(code: number): string {
  return NAMES.get(code) ?? `code ${code}`;
}

/** The level of a code, known or not. */
export function levelOfCode(code: number): LogLevel {
  return LOG_LEVELS[Math.floor(code / 100) - 1] ?? "debug";
}

/** The number of a level: 0 for errors, 3 for debug. */
export function levelNumber(level: LogLevel): number {
  return LOG_LEVELS.indexOf(level);
}
