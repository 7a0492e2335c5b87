// A listener's side of a handshake, which may be one that nobody will ever finish: whoever writes a foreign address on a first datagram has
// that address sent bytes. The runtime keeps no strict limit to them, so the patience is bounded here. What is listened to is `quic.ts`.

import { HANDSHAKE_PATIENCE_MS, MAX_SLOW_HANDSHAKES } from "../protocol/limits.ts";

/**
 * Completes handshakes.
 *
 * A QUIC server repeats what is not acknowledged, first after one second, and may not send more than three times what it got to an address
 * that has proved nothing (RFC 9000 section 8.1). The runtime's implementation begins a datagram as long as anything of that budget is left,
 * and so sends up to one datagram more. Therefore a handshake that takes longer than `HANDSHAKE_PATIENCE_MS` is ended before anything is
 * repeated, but for `MAX_SLOW_HANDSHAKES` of them: a peer on a bad path still gets in, and a flood of forged first datagrams gets less
 * than twice its bytes sent on.
 */
export class QuicAcceptor {
  readonly #options: Deno.QuicAcceptOptions<false>;
  #pending = 0;
  #slow = 0;

  /** @param options The listener's own settings, which each handshake has again. */
  constructor(options: Deno.QuicAcceptOptions<false>) {
    this.#options = options;
  }

  /** Handshakes under way. */
  get pending(): number {
    return this.#pending;
  }

  /** The connection once its handshake is complete; `undefined` when it failed or took too long. Nothing of `incoming` may have been read. */
  async accept(incoming: Deno.QuicIncoming): Promise<Deno.QuicConn | undefined> {
    let conn: Deno.QuicConn;
    try {
      // This form gives the connection before its handshake is complete, so that it can be ended; nothing is sent or read before.
      conn = incoming.accept({ ...this.#options, zeroRtt: true });
    } catch {
      return undefined; // No common protocol, or no proper first datagram; the connector knows why.
    }
    let isOver = false;
    const noteEnd = () => {
      isOver = true;
    };
    conn.closed.then(noteEnd, noteEnd);
    let isSlow = false;
    const patience = setTimeout(() => {
      if (this.#slow >= MAX_SLOW_HANDSHAKES) return conn.close();
      isSlow = true;
      this.#slow += 1;
    }, HANDSHAKE_PATIENCE_MS);
    this.#pending += 1;
    try {
      await conn.handshake;
      // That it was decided is said first, and then that it was decided against.
      await new Promise((resolve) => setTimeout(resolve, 0));
    } catch {
      isOver = true;
    } finally {
      clearTimeout(patience);
      this.#pending -= 1;
      if (isSlow) this.#slow -= 1;
    }
    return isOver ? undefined : conn;
  }
}
