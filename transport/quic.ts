// Connections over QUIC (RFC 9000) with TLS 1.3: listening and connecting, who is trusted, and what an operator must change when it fails.
// 0-RTT is never used: what it carries could be replayed.

import { assert } from "../protocol/assert.ts";
import {
  ALPN,
  CONNECT_TIMEOUT_MS,
  IDLE_TIMEOUT_MS,
  KEEP_ALIVE_MS,
  MAX_CONNECTIONS,
  MAX_STREAMS_PER_PEER,
} from "../protocol/limits.ts";
import { parsePin, readCertificatePin } from "./certificate.ts";
import type { Connection, Listener } from "./connection.ts";
import { QuicAcceptor } from "./quic_accept.ts";
import { QuicConnection } from "./quic_connection.ts";
import { TransportError, TransportErrorCode } from "./transport_error.ts";

/** What both ends of a QUIC connection set. The shorter idle time-out of the two counts. */
export interface QuicParameters {
  /** Protocol name of the handshake (RFC 7301), the same at both ends; default `ALPN`. */
  readonly alpn?: string;
  /** Interval of keep-alive packets, ms; default `KEEP_ALIVE_MS`. */
  readonly keepAliveMs?: number;
  /** Silence after which the connection is lost, ms; default `IDLE_TIMEOUT_MS`. */
  readonly idleTimeoutMs?: number;
  /** Streams that the other end may have open at once, at most and by default `MAX_STREAMS_PER_PEER`: it waits with those beyond. */
  readonly maxStreams?: number;
}

/** Settings of {@linkcode listenQuic}. */
export interface ListenQuicOptions extends QuicParameters {
  /** IP address or host name to bind; the process needs the network right for exactly this host and port. */
  readonly host: string;
  /** UDP port; 0 lets the system choose, and needs the right for port 0. */
  readonly port: number;
  /** Certificate chain, PEM, the own certificate first. */
  readonly cert: string;
  /** Private key, PEM. */
  readonly key: string;
  /** Connections at once, 1 to `MAX_CONNECTIONS`, which is also the default; further connectors are refused and may try again. */
  readonly maxConnections?: number;
  /** Gets each connection once its handshake is complete; call `start` on it before returning. */
  readonly onConnection: (connection: Connection) => void;
}

/** Settings of {@linkcode connectQuic}. One of `pin` and `caCerts` is usual; with neither, public authorities are trusted. */
export interface ConnectQuicOptions extends QuicParameters {
  /** IP address or host name; the process needs the network right for exactly this host and port. */
  readonly host: string;
  /** UDP port. */
  readonly port: number;
  /** SHA-256 of the acceptor's certificate, 64 hex digits: that certificate and no other is taken, whatever it says. */
  readonly pin?: string;
  /** PEM certificates of further authorities. */
  readonly caCerts?: readonly string[];
  /** The name that the certificate must be for; default `host`. Not looked at with a pin. */
  readonly serverName?: string;
  /**
   * Channel binding to assume when connecting by authority, 32 bytes: the runtime does not show the certificate it checked. Without
   * it, such a connection has an empty channel binding. With a pin the binding is the pin.
   */
  readonly expectedBinding?: Uint8Array;
  /** Longest time to connect, ms; default `CONNECT_TIMEOUT_MS`. */
  readonly timeoutMs?: number;
}

function transportOptions(
  parameters: QuicParameters,
): Deno.QuicTransportOptions & { alpnProtocols: string[] } {
  return {
    alpnProtocols: [parameters.alpn ?? ALPN],
    keepAliveInterval: parameters.keepAliveMs ?? KEEP_ALIVE_MS,
    maxIdleTimeout: parameters.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
    maxConcurrentBidirectionalStreams: Math.min(
      parameters.maxStreams ?? MAX_STREAMS_PER_PEER,
      MAX_STREAMS_PER_PEER,
    ),
    maxConcurrentUnidirectionalStreams: 0,
  };
}

/**
 * Listens for QUIC connections.
 *
 * @throws {TransportError} `address-in-use`, `bad-address`, `unknown-host`, `not-permitted` or `bad-certificate`, before anything is
 * accepted.
 */
export function listenQuic(options: ListenQuicOptions): Listener {
  const binding = Uint8Array.fromHex(readCertificatePin(options.cert));
  const { host, port, maxConnections = MAX_CONNECTIONS } = options;
  assert(
    maxConnections >= 1 && maxConnections <= MAX_CONNECTIONS,
    "a listener has a bounded number of connections",
  );
  let endpoint: Deno.QuicEndpoint;
  try {
    endpoint = new Deno.QuicEndpoint({ hostname: host, port });
  } catch (error) {
    throw listenError(error, host, port);
  }
  let listener: Deno.QuicListener;
  try {
    listener = endpoint.listen({
      cert: options.cert,
      key: options.key,
      ...transportOptions(options),
    });
  } catch (error) {
    endpoint.close();
    throw new TransportError(
      TransportErrorCode.BadCertificate,
      `the certificate or key for ${host}:${port} cannot be used (${
        textOf(error)
      }): give a PEM certificate and its own unencrypted PEM key`,
      { cause: error },
    );
  }
  const acceptor = new QuicAcceptor<Deno.QuicConn>(transportOptions(options));
  let open = 0;
  let listening = true;
  const closeEndpointIfIdle = (): void => {
    // The socket belongs to the connections too: it goes with the last of them.
    if (!listening && open === 0) endpoint.close();
  };
  const accept = async (incoming: Deno.QuicIncoming): Promise<void> => {
    // Nothing of `incoming` may be looked at before: reading any of its properties destroys it.
    const conn = await acceptor.accept(incoming);
    if (conn === undefined) return;
    open += 1;
    const connection = new QuicConnection(conn, binding, () => {
      open -= 1;
      closeEndpointIfIdle();
    });
    if (listening) options.onConnection(connection);
    else connection.close(0, "not listening any more");
  };
  const run = async (): Promise<void> => {
    for (;;) {
      let incoming: Deno.QuicIncoming;
      try {
        incoming = await listener.incoming();
      } catch {
        return; // The endpoint was closed.
      }
      if (listening && open < maxConnections) accept(incoming);
      else incoming.refuse();
    }
  };
  run();
  const { hostname: boundHost, port: boundPort } = endpoint.addr;
  return {
    address: boundHost.includes(":") ? `[${boundHost}]:${boundPort}` : `${boundHost}:${boundPort}`,
    close: () => {
      if (!listening) return;
      listening = false;
      listener.stop();
      acceptor.close();
      closeEndpointIfIdle();
    },
  };
}

/**
 * Connects over QUIC. The attempt itself may go on unseen for up to the idle time-out, or three seconds, after `timed-out`.
 *
 * @throws {TransportError} What went wrong and what to change.
 */
export async function connectQuic(options: ConnectQuicOptions): Promise<Connection> {
  const { host, port } = options;
  const pin = options.pin === undefined ? undefined : parsePin(options.pin);
  if (options.pin !== undefined && pin === undefined) {
    throw new TransportError(
      TransportErrorCode.PinMismatch,
      `the pin for ${host}:${port} is not a SHA-256 hash: write 64 hex digits, as the acceptor's driver prints them`,
    );
  }
  const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS;
  const quicOptions: Deno.ConnectQuicOptions<false> & {
    // Known to the runtime and missing in its types.
    serverCertificateHashes?: { algorithm: "sha-256"; value: Uint8Array }[];
  } = {
    hostname: host,
    port,
    serverName: options.serverName,
    ...transportOptions(options),
  };
  if (pin !== undefined) {
    quicOptions.serverCertificateHashes = [{ algorithm: "sha-256", value: pin }];
  } else if (options.caCerts !== undefined) quicOptions.caCerts = [...options.caCerts];
  let attempt: Promise<Deno.QuicConn>;
  try {
    attempt = Deno.connectQuic(quicOptions);
  } catch (error) {
    throw connectError(error, options);
  }
  let timedOut = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  attempt.then((late) => {
    if (!timedOut) return;
    late.closed.catch(() => {});
    late.close();
    late.endpoint.close();
  }, () => {});
  try {
    const conn = await Promise.race([attempt, deadline]);
    if (conn !== undefined) {
      const binding = pin ?? options.expectedBinding ?? new Uint8Array(0);
      return new QuicConnection(conn, binding, () => conn.endpoint.close());
    }
  } catch (error) {
    throw connectError(error, options);
  } finally {
    clearTimeout(timer);
  }
  timedOut = true;
  throw connectError(new Error("timed out"), options);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function listenError(error: unknown, host: string, port: number): TransportError {
  const at = `${host}:${port}`;
  const fail = (code: TransportErrorCode, message: string) =>
    new TransportError(code, message, { cause: error });
  if (error instanceof Deno.errors.AddrInUse) {
    return fail(
      TransportErrorCode.AddressInUse,
      `UDP port ${at} is in use: stop the program that has it, or listen on another port`,
    );
  }
  if (error instanceof Deno.errors.NotCapable) {
    return fail(
      TransportErrorCode.NotPermitted,
      `this process may not bind ${at}: start it with --allow-net=${at}`,
    );
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return fail(
      TransportErrorCode.BadAddress,
      `${host} is not an address of this machine: listen on one that is, or on 0.0.0.0`,
    );
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return fail(
      TransportErrorCode.BadAddress,
      `the system does not let this user bind ${at}: listen on a port above 1023`,
    );
  }
  if (textOf(error).includes("lookup")) {
    return fail(
      TransportErrorCode.UnknownHost,
      `${host} has no address: listen on an IP address or a name of this machine`,
    );
  }
  return fail(TransportErrorCode.Failed, `cannot listen on ${at}: ${textOf(error)}`);
}

/** TLS alerts as QUIC reports them, `error <n>` in the runtime's text (RFC 8446 section 6). */
const TLS_ALERT = /error (\d+)/;

function connectError(error: unknown, options: ConnectQuicOptions): TransportError {
  // No address: the engine is told this sentence, and whoever logs it should not have to think of whose address it holds.
  const at = "the server";
  const text = textOf(error);
  const fail = (code: TransportErrorCode, message: string) =>
    new TransportError(code, message, { cause: error });
  if (error instanceof Deno.errors.NotCapable) {
    return fail(
      TransportErrorCode.NotPermitted,
      `this process may not connect to ${at}: add its address to host.connect`,
    );
  }
  if (text.includes("lookup")) {
    return fail(
      TransportErrorCode.UnknownHost,
      `${at}'s name has no address: correct the name, or give an IP address`,
    );
  }
  if (text.includes("handshake failed")) {
    const alert = Number(TLS_ALERT.exec(text)?.[1] ?? 0);
    if (alert === 120) {
      return fail(
        TransportErrorCode.WrongProtocol,
        `${at} does not speak ${
          options.alpn ?? ALPN
        }: it is another program, or a driver of another version`,
      );
    }
    if (options.pin !== undefined) {
      return fail(
        TransportErrorCode.PinMismatch,
        `the certificate of ${at} does not have the pin ${options.pin}: take the pin that its driver prints; if it was right before, somebody else may be answering`,
      );
    }
    return fail(
      TransportErrorCode.Untrusted,
      `the certificate of ${at} is not trusted (${text}): give its pin, the certificate of its authority, or the name it is for`,
    );
  }
  if (text.includes("timed out")) {
    return fail(
      TransportErrorCode.TimedOut,
      `${at} did not answer in time: check that its driver runs, the port, and that UDP passes the firewalls`,
    );
  }
  if (text.includes("refused") || text.includes("aborted by peer") || text.includes("closed")) {
    return fail(
      TransportErrorCode.Refused,
      `${at} refused the connection, or nobody listens there`,
    );
  }
  return fail(TransportErrorCode.Failed, `cannot connect to ${at}: ${text}`);
}
