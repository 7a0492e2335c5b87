// The peers of one world: their ids, roles and whether they are connected now. It knows no connection and no secret; who may come back
// as whom is decided by `resume.ts`.

import { assert } from "../protocol/assert.ts";
import { PEER_ID_QUARANTINE_MS } from "../protocol/limits.ts";

/** One peer. */
export interface RosterEntry {
  /** Peer id, 1..65,534. */
  readonly peer: number;
  /** Index of its role in the grants. */
  readonly roleIndex: number;
  /** False while the peer is lost and its place is kept for it. */
  readonly connected: boolean;
}

const FIRST_PEER = 1;
const LAST_PEER = 0xfffe;

/**
 * Hands out peer ids and remembers who has them.
 *
 * An id names one peer until {@linkcode Roster.remove}, whether it is connected or not, and rests for `PEER_ID_QUARANTINE_MS` afterwards:
 * what still names the old peer on its way must not meet a new one. Ids go round, so that even after that the same one comes late again.
 */
export class Roster {
  readonly #maxPeers: number;
  readonly #peers = new Map<number, { peer: number; roleIndex: number; connected: boolean }>();
  /** Freed ids and when, in the order of freeing. */
  readonly #resting = new Map<number, number>();
  #next = FIRST_PEER;

  /**
   * An empty roster.
   *
   * @param maxPeers Places of the world, lost peers included.
   */
  constructor(maxPeers: number) {
    assert(maxPeers >= 1 && maxPeers <= LAST_PEER, "peer ids have 16 bits");
    this.#maxPeers = maxPeers;
  }

  /** Peers that hold a place. */
  get size(): number {
    return this.#peers.size;
  }

  /** The peer's entry, if it holds a place. */
  get(peer: number): RosterEntry | undefined {
    return this.#peers.get(peer);
  }

  /** Everyone, by ascending id. */
  entries(): RosterEntry[] {
    return [...this.#peers.values()].sort((a, b) => a.peer - b.peer);
  }

  /** Gives a new, connected peer a place; `undefined` when the world is full. */
  add(roleIndex: number, nowMs: number): RosterEntry | undefined {
    if (this.#peers.size >= this.#maxPeers) return undefined;
    this.#wake(nowMs);
    if (this.#peers.size + this.#resting.size >= LAST_PEER) return undefined;
    for (let tries = FIRST_PEER; tries <= LAST_PEER; tries++) {
      const peer = this.#next;
      this.#next = peer === LAST_PEER ? FIRST_PEER : peer + 1;
      if (this.#peers.has(peer) || this.#resting.has(peer)) continue;
      const entry = { peer, roleIndex, connected: true };
      this.#peers.set(peer, entry);
      return entry;
    }
    return undefined;
  }

  /** Marks a peer as lost or as back. */
  setConnected(peer: number, connected: boolean): void {
    this.#known(peer).connected = connected;
  }

  /** Changes a peer's role. */
  setRole(peer: number, roleIndex: number): void {
    this.#known(peer).roleIndex = roleIndex;
  }

  /** Takes a peer's place away for good. False when it had none. */
  remove(peer: number, nowMs: number): boolean {
    if (!this.#peers.delete(peer)) return false;
    this.#resting.set(peer, nowMs);
    return true;
  }

  #known(peer: number): { roleIndex: number; connected: boolean } {
    const entry = this.#peers.get(peer);
    assert(entry !== undefined, "the peer holds a place");
    return entry;
  }

  #wake(nowMs: number): void {
    for (const [peer, freedMs] of this.#resting) {
      if (nowMs - freedMs < PEER_ID_QUARANTINE_MS) return;
      this.#resting.delete(peer);
    }
  }
}
