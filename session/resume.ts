// Who may come back as whom: one secret per peer, good for one return. Only hashes are kept, so that a look into this memory lets nobody
// in. It knows no random source and no hash function; both come in as arguments.

import { assert } from "../protocol/assert.ts";
import { RESUME_SECRET_BYTES } from "../protocol/limits.ts";

/**
 * Outcome of a claim: `ok`; `used`, a secret that once was good; `expired`, good but too late; `guessed`, anything else, an unknown peer
 * included.
 */
export type Redemption = "ok" | "used" | "expired" | "guessed";

interface Entry {
  /** Hash of the good secret; `undefined` between its use and the next issue. */
  current: Uint8Array | undefined;
  /** Hash of the one before it. */
  used: Uint8Array | undefined;
  /** When the place is given up; infinite while the peer is connected. */
  expiresMs: number;
}

/**
 * Resume secrets of a server.
 *
 * Order of calls for a peer: `issue` when it joins; `handleLost` when its connection ends; `redeem` when someone claims its place, and on
 * `ok` at once `issue` again; `forget` when it left for good. `pollExpired` names the peers whose time is over.
 */
export class ResumeTable {
  readonly #sha256: (bytes: Uint8Array) => Uint8Array;
  readonly #resumeMs: number;
  readonly #entries = new Map<number, Entry>();
  readonly #counts = { ok: 0, used: 0, expired: 0, guessed: 0 };

  /**
   * An empty table.
   *
   * @param sha256 The hash function.
   * @param resumeMs How long a lost peer's place is kept.
   */
  constructor(sha256: (bytes: Uint8Array) => Uint8Array, resumeMs: number) {
    this.#sha256 = sha256;
    this.#resumeMs = resumeMs;
  }

  /** Claims so far, by outcome. */
  get counts(): Readonly<Record<Redemption, number>> {
    return this.#counts;
  }

  /** Peers with a place to come back to. */
  get size(): number {
    return this.#entries.size;
  }

  /** Makes `random32`, 32 unguessable bytes, the peer's secret; the one before it is good no longer. */
  issue(peer: number, random32: Uint8Array): void {
    assert(random32.length === RESUME_SECRET_BYTES, "a resume secret has 32 bytes");
    const entry = this.#entries.get(peer);
    const current = this.#sha256(random32);
    if (entry === undefined) {
      this.#entries.set(peer, { current, used: undefined, expiresMs: Infinity });
      return;
    }
    entry.used = entry.current ?? entry.used;
    entry.current = current;
    entry.expiresMs = Infinity;
  }

  /** The peer's connection ended: its time to come back begins. */
  handleLost(peer: number, nowMs: number): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.expiresMs = nowMs + this.#resumeMs;
  }

  /** Judges and counts a claim. A peer may claim its place before the server noticed that its old connection is dead. */
  redeem(peer: number, secret: Uint8Array, nowMs: number): Redemption {
    const outcome = this.#judge(peer, secret, nowMs);
    this.#counts[outcome] += 1;
    return outcome;
  }

  /** The peer left for good. */
  forget(peer: number): void {
    this.#entries.delete(peer);
  }

  /** A peer whose time to come back is over, forgotten with this call; `undefined` when there is none. */
  pollExpired(nowMs: number): number | undefined {
    for (const [peer, entry] of this.#entries) {
      if (nowMs < entry.expiresMs) continue;
      this.#entries.delete(peer);
      return peer;
    }
    return undefined;
  }

  #judge(peer: number, secret: Uint8Array, nowMs: number): Redemption {
    const hash = this.#sha256(secret);
    const entry = this.#entries.get(peer);
    if (entry === undefined) return "guessed";
    const isCurrent = isEqual(hash, entry.current);
    const isUsed = isEqual(hash, entry.used);
    if (isUsed) return "used";
    if (!isCurrent) return "guessed";
    if (nowMs >= entry.expiresMs) return "expired";
    entry.used = entry.current;
    entry.current = undefined;
    return "ok";
  }
}

/** Compares in a time that does not depend on where the first difference is. */
function isEqual(hash: Uint8Array, kept: Uint8Array | undefined): boolean {
  if (kept === undefined || hash.length !== kept.length) return false;
  let difference = 0;
  for (let i = 0; i < hash.length; i++) difference |= hash[i]! ^ kept[i]!;
  return difference === 0;
}
