// The names of everything that can be wrong with bytes from outside. A fault is a value, never an exception: readers keep the
// first one they meet, the caller drops the datagram or closes the stream with its code, and counts it. Contents never go along.

/** Why bytes from outside were refused; each has a stable code that rides in close frames and counters. */
export const Fault = {
  /** The bytes end before the value does. */
  Truncated: 1,
  /** Bytes or bits are left over after the last value. */
  Trailing: 2,
  /** A value has a shorter or other legal encoding than the one sent. */
  NonCanonical: 3,
  /** A length, count or number is above its declared limit. */
  OutOfRange: 4,
  /** A kind, flag or section nobody declared. */
  UnknownKind: 5,
  /** A well-formed message that is not allowed in this state or direction. */
  Unexpected: 6,
  /** Protocol version or schema differs. */
  Incompatible: 7,
  /** An id (component, event, channel, entity) that the manifest or the peer's state does not know. */
  UnknownId: 8,
  /** A snapshot refers to a baseline that this end does not hold. */
  UnknownBaseline: 9,
  /** A component, field or action that the world grants to this peer in no case. */
  Forbidden: 10,
  /** The sequence number was seen before or lies behind the window. */
  Replayed: 11,
  /** A text is not UTF-8. */
  NotUtf8: 12,
  /** The datagram belongs to another epoch of world authority or grants. */
  WrongEpoch: 13,
  /** More messages than the declared rate, over a longer time than the allowed burst. */
  Flood: 14,
} as const;

/** One of the values of {@linkcode Fault}. */
export type Fault = typeof Fault[keyof typeof Fault];

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Fault).map(([name, code]) => [code, name]),
);

/** The name of a fault's code, for counters and close reasons; `fault <n>` for a code of a newer version. */
export function faultName(code: number): string {
  return NAMES.get(code) ?? `fault ${code}`;
}
