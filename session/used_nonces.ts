// Which join tokens have been used: a hash and an end for each, kept until no server would take the token any more. Bounded; when it is full
// nobody is let in rather than anything forgotten. It knows no clock and no token, and survives its process in the engine's keeping.

import { assert } from "../protocol/assert.ts";
import { Fault } from "../protocol/faults.ts";
import { MAX_USED_NONCES, NONCE_HASH_BYTES, NONCE_RECORD_BYTES } from "../protocol/limits.ts";

/** One record as bytes: the hash (16 bytes) and the second from which it may be forgotten (u32, little-endian). */
export function encodeNonceRecord(hash: Uint8Array, forgetS: number): Uint8Array<ArrayBuffer> {
  assert(hash.length === NONCE_HASH_BYTES, "a nonce is kept as 16 bytes");
  const bytes = new Uint8Array(NONCE_RECORD_BYTES);
  bytes.set(hash);
  new DataView(bytes.buffer).setUint32(NONCE_HASH_BYTES, forgetS, true);
  return bytes;
}

/**
 * The nonces that a server has seen used.
 *
 * Order of calls: `restore` once, with what an earlier driver recorded; then `isUsed` and `use` at any time. Seconds are those of the wall
 * clock; if it goes back, tokens that may have been forgotten meanwhile count as used.
 */
export class UsedNonces {
  readonly #max: number;
  readonly #forgetS = new Map<string, number>();
  /** The nearest end of all records. */
  #nextS = Infinity;
  /** Records that ended here or earlier have been forgotten. */
  #forgottenS = 0;

  /** @param max Records held. */
  constructor(max: number = MAX_USED_NONCES) {
    this.#max = max;
  }

  /** Records held. */
  get size(): number {
    return this.#forgetS.size;
  }

  /** Whether a nonce was used, or may have been. */
  isUsed(hash: Uint8Array, forgetS: number): boolean {
    return forgetS <= this.#forgottenS || this.#forgetS.has(hash.toHex());
  }

  /** Marks a nonce as used; `full`: there is no room to remember it, so it must not be taken. */
  use(hash: Uint8Array, forgetS: number, nowS: number): "ok" | "used" | "full" {
    assert(hash.length === NONCE_HASH_BYTES, "a nonce is kept as 16 bytes");
    if (nowS >= this.#nextS) this.#forget(nowS);
    if (this.isUsed(hash, forgetS)) return "used";
    if (this.#forgetS.size >= this.#max) return "full";
    this.#keep(hash.toHex(), forgetS);
    return "ok";
  }

  /** Takes records of an earlier driver, in any order; those that have ended are passed over. */
  restore(records: Uint8Array, nowS: number): Fault | undefined {
    if (records.length % NONCE_RECORD_BYTES !== 0) return Fault.Truncated;
    if (records.length / NONCE_RECORD_BYTES > this.#max) return Fault.OutOfRange;
    const view = new DataView(records.buffer, records.byteOffset, records.length);
    for (let at = 0; at < records.length; at += NONCE_RECORD_BYTES) {
      const forgetS = view.getUint32(at + NONCE_HASH_BYTES, true);
      if (forgetS <= nowS) continue;
      this.#keep(records.subarray(at, at + NONCE_HASH_BYTES).toHex(), forgetS);
    }
    return undefined;
  }

  #keep(key: string, forgetS: number): void {
    this.#forgetS.set(key, forgetS);
    this.#nextS = Math.min(this.#nextS, forgetS);
  }

  #forget(nowS: number): void {
    this.#nextS = Infinity;
    for (const [key, forgetS] of this.#forgetS) {
      if (forgetS > nowS) this.#nextS = Math.min(this.#nextS, forgetS);
      else {
        this.#forgetS.delete(key);
        this.#forgottenS = Math.max(this.#forgottenS, forgetS);
      }
    }
  }
}
