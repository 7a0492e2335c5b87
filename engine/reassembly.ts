// Messages of channels on their way in: each grows in a buffer until its last piece has come, and all of them together are bounded, for each
// peer and in all. It says who may go on and who has to give way; credit and closing are the channel table's.

import {
  MAX_GATHERED_BYTES,
  MAX_PEER_WAITING_BYTES,
  MAX_WAITING_BYTES,
} from "../protocol/limits.ts";

const NOTHING = new Uint8Array(0);

/** The incoming half of one channel: the unfinished message is the first `length` bytes of `bytes`. */
export interface Incoming {
  /** Whose message it is. */
  readonly peer: number;
  /** Most bytes of one message. */
  readonly maxBytes: number;
  /** Room taken so far; may be more than what has come. */
  bytes: Uint8Array;
  /** Bytes that have come. */
  length: number;
}

/**
 * The unfinished messages of one link.
 *
 * Up to `MAX_PEER_WAITING_BYTES` of a peer and `MAX_WAITING_BYTES` in all, everyone goes on. Above the first, a peer's oldest message goes on
 * and its others wait; above the second, peers that hold more than an equal share wait, but for the oldest message of all. So some message
 * can always be finished and gives its room back. What was granted before may still come; when it passes `MAX_GATHERED_BYTES`, the largest
 * message of the peer that holds the most has to go.
 */
export class Reassembly {
  /** Unfinished messages, oldest first. */
  readonly #open = new Set<Incoming>();
  /** Room taken by each peer that has any. */
  readonly #byPeer = new Map<number, number>();
  #heldBytes = 0;

  /** Bytes of room taken by all unfinished messages. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Bytes of room taken by one peer's unfinished messages. */
  heldBy(peer: number): number {
    return this.#byPeer.get(peer) ?? 0;
  }

  /** Whether peers with more than an equal share have to wait. */
  get isFull(): boolean {
    return this.#heldBytes > MAX_WAITING_BYTES;
  }

  /** Whether more is held than may be: `largest` has to go. */
  get isOverfull(): boolean {
    return this.#heldBytes > MAX_GATHERED_BYTES;
  }

  /** Puts a piece behind what came before it. The caller has checked that the message keeps to its size. */
  append(incoming: Incoming, piece: Uint8Array): void {
    this.#open.add(incoming);
    const needed = incoming.length + piece.length;
    if (needed > incoming.bytes.length) {
      const doubled = Math.min(incoming.maxBytes, incoming.bytes.length * 2);
      const grown = new Uint8Array(Math.max(needed, doubled));
      grown.set(incoming.bytes.subarray(0, incoming.length));
      this.#count(incoming.peer, grown.length - incoming.bytes.length);
      incoming.bytes = grown;
    }
    incoming.bytes.set(piece, incoming.length);
    incoming.length = needed;
  }

  /** Ends a message and gives its bytes to the caller. */
  take(incoming: Incoming): Uint8Array {
    const message = incoming.bytes.subarray(0, incoming.length);
    if (this.#open.delete(incoming)) this.#count(incoming.peer, -incoming.bytes.length);
    incoming.bytes = NOTHING;
    incoming.length = 0;
    return message;
  }

  /** Whether this channel may be granted more. */
  mayGrow(incoming: Incoming): boolean {
    const share = this.isFull ? MAX_WAITING_BYTES / this.#byPeer.size : MAX_PEER_WAITING_BYTES;
    if (this.heldBy(incoming.peer) <= Math.min(share, MAX_PEER_WAITING_BYTES)) return true;
    for (const first of this.#open) {
      if (first === incoming) return true;
      // The first of all goes on in any case; the first of its peer where there is room for all peers.
      if (this.isFull || first.peer === incoming.peer) return false;
    }
    return false;
  }

  /** The largest message of the peer that holds the most. */
  largest(): Incoming | undefined {
    let most = 0;
    let holder = -1;
    for (const [peer, held] of this.#byPeer) if (held > most) [holder, most] = [peer, held];
    let found: Incoming | undefined;
    for (const one of this.#open) {
      if (one.peer !== holder) continue;
      if (found === undefined || one.bytes.length > found.bytes.length) found = one;
    }
    return found;
  }

  #count(peer: number, bytes: number): void {
    this.#heldBytes += bytes;
    const held = this.heldBy(peer) + bytes;
    if (held > 0) this.#byPeer.set(peer, held);
    else this.#byPeer.delete(peer);
  }
}
