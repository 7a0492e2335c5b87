// Who may come back as whom: a secret per peer, and the one that follows it. Only hashes are kept, so that a look into this memory lets nobody
// in. It knows no random source and no hash function; both come in as arguments. Connections are its caller's business.

import { assert } from "../protocol/assert.ts";
import { RESUME_SECRET_BYTES } from "../protocol/limits.ts";

/**
 * Outcome of a claim: `ok`; `used`, a secret whose successor is known to have arrived; `expired`, good but too late; `guessed`, anything
 * else, an unknown peer included.
 */
export type Redemption = "ok" | "used" | "expired" | "guessed";

/** The answer to a claim. */
export type ClaimResult =
  | {
    readonly outcome: "ok";
    /** The secret that the peer gets now, 32 bytes. */
    readonly next: Uint8Array;
  }
  | { readonly outcome: Exclude<Redemption, "ok"> };

interface Entry {
  /** Hash of the newest secret. */
  current: Uint8Array;
  /** Hash of the one with which the place was claimed last, good until its successor is known to have arrived. */
  claimed: Uint8Array | undefined;
  /** Hash of the one that was good last, to tell a repetition from a guess. */
  used: Uint8Array | undefined;
  /** When the place is given up; infinite while the peer is connected. */
  expiresMs: number;
}

/**
 * Resume secrets of a server.
 *
 * A claim may succeed and its answer be lost with the connection, so that the peer still holds the secret it claimed with. That secret
 * therefore stays good until the peer has shown that it got the next one: by what it sends after the answer, or by claiming with it. Until
 * then the same claim gives the same successor, a keyed hash, so no two answers of which either may be the lost one can differ.
 *
 * Order of calls for a peer: `issue` when it joins; `redeem` when someone claims its place; `handleProof` with the first that comes over the
 * connection that was let in; `handleLost` when the connection ends; `forget` when it left for good. `pollExpired` names the peers whose
 * time is over.
 */
export class ResumeTable {
  readonly #sha256: (bytes: Uint8Array) => Uint8Array;
  readonly #key: Uint8Array;
  readonly #resumeMs: number;
  readonly #entries = new Map<number, Entry>();
  readonly #counts = { ok: 0, used: 0, expired: 0, guessed: 0 };

  /**
   * An empty table.
   *
   * @param sha256 The hash function.
   * @param key32 32 unguessable bytes, of this table alone, from which successors are derived.
   * @param resumeMs How long a lost peer's place is kept.
   */
  constructor(
    sha256: (bytes: Uint8Array) => Uint8Array,
    key32: Uint8Array,
    resumeMs: number,
  ) {
    assert(key32.length === RESUME_SECRET_BYTES, "the key of a resume table has 32 bytes");
    this.#sha256 = sha256;
    this.#key = key32.slice();
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

  /** Makes `random32`, 32 unguessable bytes, the first secret of a peer that joins. */
  issue(peer: number, random32: Uint8Array): void {
    assert(random32.length === RESUME_SECRET_BYTES, "a resume secret has 32 bytes");
    assert(!this.#entries.has(peer), "a place is given once");
    this.#entries.set(peer, {
      current: this.#sha256(random32),
      claimed: undefined,
      used: undefined,
      expiresMs: Infinity,
    });
  }

  /** The peer has sent something that only the holder of its newest secret could have sent: the one before it is good no longer. */
  handleProof(peer: number): void {
    const entry = this.#entries.get(peer);
    if (entry?.claimed === undefined) return;
    entry.used = entry.claimed;
    entry.claimed = undefined;
  }

  /** The peer's connection ended: its time to come back begins. */
  handleLost(peer: number, nowMs: number): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.expiresMs = nowMs + this.#resumeMs;
  }

  /**
   * Judges and counts a claim. A peer may claim its place before the server noticed that its old connection is dead; on `ok` the connection
   * that claimed last has the place.
   */
  redeem(peer: number, secret: Uint8Array, nowMs: number): ClaimResult {
    const result = this.#judge(peer, secret, nowMs);
    this.#counts[result.outcome] += 1;
    return result;
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

  #judge(peer: number, secret: Uint8Array, nowMs: number): ClaimResult {
    const hash = this.#sha256(secret);
    const entry = this.#entries.get(peer);
    if (entry === undefined) return { outcome: "guessed" };
    const isCurrent = isEqual(hash, entry.current);
    const isClaimed = isEqual(hash, entry.claimed);
    const isUsed = isEqual(hash, entry.used);
    if (isUsed) return { outcome: "used" };
    if (!isCurrent && !isClaimed) return { outcome: "guessed" };
    if (nowMs >= entry.expiresMs) return { outcome: "expired" };
    const next = this.#successor(peer, secret);
    if (isCurrent) {
      // Whoever shows the newest secret has got it.
      this.handleProof(peer);
      entry.claimed = entry.current;
      entry.current = this.#sha256(next);
    }
    entry.expiresMs = Infinity;
    return { outcome: "ok", next };
  }

  /**
   * The secret that follows `secret`. All inputs have a fixed length, so a hash with the key in front is as good as a MAC; without the key an
   * old secret says nothing about the next.
   */
  #successor(peer: number, secret: Uint8Array): Uint8Array {
    return this.#sha256(Uint8Array.of(...this.#key, peer & 0xff, peer >>> 8, ...secret));
  }
}

/** Compares in a time that does not depend on where the first difference is. */
function isEqual(hash: Uint8Array, kept: Uint8Array | undefined): boolean {
  if (kept === undefined || hash.length !== kept.length) return false;
  let difference = 0;
  for (let i = 0; i < hash.length; i++) difference |= hash[i]! ^ kept[i]!;
  return difference === 0;
}
