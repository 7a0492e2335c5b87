// A listener's side of a handshake, which may be one that nobody will ever finish: whoever writes a foreign address on a first datagram has
// that address sent bytes, and takes a place of those that mean it. Number, pace and patience are bounded here. What is listened to is `quic.ts`.

import { anonymiseAddress, networkOf } from "../protocol/address_label.ts";
import {
  HANDSHAKE_PATIENCE_MS,
  MAX_HANDSHAKES,
  MAX_HANDSHAKES_PER_S,
  MAX_SLOW_HANDSHAKES,
} from "../protocol/limits.ts";
import { FairPlaces } from "./fair_places.ts";

/** What is needed of a connection whose handshake is under way. */
export type Handshaking = Pick<Deno.QuicConn, "close" | "closed" | "handshake" | "remoteAddr">;

/** What is needed of somebody who wants to connect. Nothing else of it may be read before: that destroys it. */
export interface Knocking<C extends Handshaking> {
  /** Takes it; gives the connection before its handshake is complete. */
  accept(options: Deno.QuicAcceptOptions<true>): C;
  /** Says no, in a few bytes. */
  refuse(): void;
}

/**
 * Completes handshakes.
 *
 * The runtime cannot ask for a proof of the address first (RFC 9000 section 8.1.2), so who sends forged first datagrams cannot be told from who
 * means it. But a real handshake is over in a round trip or two, and a forged one never is: when `MAX_HANDSHAKES` are under way, the oldest
 * of the network with most of them is ended, and the newest goes on. An ended one is held by the runtime for three seconds more and has
 * taken the work of a signature, so no more than `MAX_HANDSHAKES_PER_S` are begun; who comes above that is refused and may try again.
 *
 * A QUIC server repeats what is not acknowledged, first after one second, and may not send more than three times what it got to an address
 * that has proved nothing (RFC 9000 section 8.1). The runtime's implementation begins a datagram as long as anything of that budget is left,
 * and so sends up to one datagram more. Therefore `MAX_SLOW_HANDSHAKES` alone may take longer than `HANDSHAKE_PATIENCE_MS`, again the newest of
 * them: a peer on a bad path still gets in, and of a flood of forged first datagrams nothing is repeated.
 */
export class QuicAcceptor<C extends Handshaking> {
  readonly #options: Deno.QuicAcceptOptions<true>;
  readonly #now: () => number;
  readonly #underWay = new FairPlaces<C>(MAX_HANDSHAKES);
  readonly #slow = new FairPlaces<C>(MAX_SLOW_HANDSHAKES);
  /** Handshakes that may begin at once: what a quiet moment has saved up. */
  #saved = MAX_HANDSHAKES;
  #savedMs = -Infinity;

  /**
   * @param options The listener's own settings, which each handshake has again.
   * @param now A clock that does not go back, ms.
   */
  constructor(
    options: Deno.QuicAcceptOptions<false>,
    now: () => number = () => performance.now(),
  ) {
    // This form gives the connection before its handshake is complete, so that it can be ended; nothing is sent or read before.
    this.#options = { ...options, zeroRtt: true };
    this.#now = now;
  }

  /** Handshakes under way. */
  get pending(): number {
    return this.#underWay.size;
  }

  /** The connection once its handshake is complete; `undefined` when it was refused, failed, or was ended. */
  async accept(incoming: Knocking<C>): Promise<C | undefined> {
    if (!this.#mayBegin()) {
      incoming.refuse();
      return undefined;
    }
    let conn: C;
    try {
      conn = incoming.accept(this.#options);
    } catch {
      return undefined; // No common protocol, or no proper first datagram; the connector knows why.
    }
    let isOver = false;
    const noteEnd = () => {
      isOver = true;
    };
    conn.closed.then(noteEnd, noteEnd);
    const network = networkOf(anonymiseAddress(conn.remoteAddr));
    this.#underWay.take(conn, network)?.close();
    const patience = setTimeout(() => {
      if (!isOver) this.#slow.take(conn, network)?.close();
    }, HANDSHAKE_PATIENCE_MS);
    try {
      await conn.handshake;
      // That it was decided is said first, and then that it was decided against.
      await new Promise((resolve) => setTimeout(resolve, 0));
    } catch {
      isOver = true;
    } finally {
      clearTimeout(patience);
      this.#underWay.leave(conn);
      this.#slow.leave(conn);
    }
    return isOver ? undefined : conn;
  }

  /** Ends every handshake under way. */
  close(): void {
    for (const conn of this.#underWay.holders()) conn.close();
  }

  #mayBegin(): boolean {
    const nowMs = this.#now();
    const earned = (nowMs - this.#savedMs) * MAX_HANDSHAKES_PER_S / 1000;
    this.#saved = Math.min(this.#saved + earned, MAX_HANDSHAKES);
    this.#savedMs = nowMs;
    if (this.#saved < 1) return false;
    this.#saved -= 1;
    return true;
  }
}
