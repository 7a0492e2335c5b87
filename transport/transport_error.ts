// What can go wrong between an operator's settings and an open connection. Each error says what happened and what to change;
// how a connection ends later is not an error but a `CloseInfo`.

/** Why listening or connecting failed. */
export const TransportErrorCode = {
  /** The port is in use. */
  AddressInUse: "address-in-use",
  /** This machine does not have the address, or may not bind it. */
  BadAddress: "bad-address",
  /** The host name has no address. */
  UnknownHost: "unknown-host",
  /** The process lacks the network right. */
  NotPermitted: "not-permitted",
  /** A certificate or key cannot be used: unreadable, expired, not matching. */
  BadCertificate: "bad-certificate",
  /** The acceptor's certificate does not have the pinned hash. */
  PinMismatch: "pin-mismatch",
  /** The acceptor's certificate is not signed by a known authority, or is for another name. */
  Untrusted: "untrusted",
  /** The other end speaks another protocol. */
  WrongProtocol: "wrong-protocol",
  /** Nobody answered in time. */
  TimedOut: "timed-out",
  /** The other end refused, or nobody listens. */
  Refused: "refused",
  /** Anything else the backend reports. */
  Failed: "failed",
} as const;

/** One of the values of {@linkcode TransportErrorCode}. */
export type TransportErrorCode = typeof TransportErrorCode[keyof typeof TransportErrorCode];

/** Listening or connecting failed: {@linkcode TransportError.code} for programs, the message for the operator. */
export class TransportError extends Error {
  /** Always `TransportError`. */
  override readonly name = "TransportError";
  /** What went wrong. */
  readonly code: TransportErrorCode;

  /** An error of kind `code`. @param message What happened and what to change. */
  constructor(code: TransportErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
