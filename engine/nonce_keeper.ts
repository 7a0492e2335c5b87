// Join tokens that have been used in this world, as its drivers reported them: kept here because a driver forgets with its process. It knows
// no clock and no token; where there are too many, those that end first go first, which no server takes any more.

import { MAX_USED_NONCES, NONCE_HASH_BYTES, NONCE_RECORD_BYTES } from "../protocol/limits.ts";

/** Records of used nonces, for the next driver. */
export class NonceKeeper {
  readonly #max: number;
  /** The second from which each may be forgotten, by its hash in hex. */
  readonly #forgetS = new Map<string, number>();

  /** @param max Records kept; as many as a driver holds, so that none that a driver holds is dropped. */
  constructor(max: number = MAX_USED_NONCES) {
    this.#max = max;
  }

  /** Records kept. */
  get size(): number {
    return this.#forgetS.size;
  }

  /** Whether a nonce is kept, by its hash of 16 bytes. */
  has(hash: Uint8Array): boolean {
    return this.#forgetS.has(hash.toHex());
  }

  /** Keeps whole records. */
  add(records: Uint8Array): void {
    const view = new DataView(records.buffer, records.byteOffset, records.length);
    for (let at = 0; at < records.length; at += NONCE_RECORD_BYTES) {
      const hash = records.subarray(at, at + NONCE_HASH_BYTES).toHex();
      this.#forgetS.set(hash, view.getUint32(at + NONCE_HASH_BYTES, true));
      if (this.#forgetS.size > this.#max) this.#dropFirst();
    }
  }

  /** Everything kept, as a welcome carries it. */
  records(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#forgetS.size * NONCE_RECORD_BYTES);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const [hash, forgetS] of this.#forgetS) {
      bytes.set(Uint8Array.fromHex(hash), at);
      view.setUint32(at + NONCE_HASH_BYTES, forgetS, true);
      at += NONCE_RECORD_BYTES;
    }
    return bytes;
  }

  #dropFirst(): void {
    let first = "";
    let firstS = Infinity;
    for (const [hash, forgetS] of this.#forgetS) {
      if (forgetS < firstS) [first, firstS] = [hash, forgetS];
    }
    this.#forgetS.delete(first);
  }
}
