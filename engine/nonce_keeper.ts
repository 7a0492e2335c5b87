// Join tokens that have been used in this world: those that this engine saw itself, and those that its drivers reported, kept because a driver
// forgets with its process. It knows no clock and no token; where there are too many, reported ones go first, then those that end first.

import { MAX_USED_NONCES, NONCE_HASH_BYTES, NONCE_RECORD_BYTES } from "../protocol/limits.ts";

interface Use {
  /** The second from which it may be forgotten. */
  readonly forgetS: number;
  /** This engine saw the token itself. */
  readonly isProven: boolean;
}

/** Share of the records that may be held above the bound, so that not each new one has to look for the first that ends. */
const SLACK = 8;

/** Records of used nonces, for the next driver, and for the engine's own checks. */
export class NonceKeeper {
  readonly #max: number;
  readonly #slack: number;
  /** By hash, in hex. */
  readonly #uses = new Map<string, Use>();

  /**
   * @param restored Records that an earlier engine of this world kept; they count as seen. @param max Records kept; as many as a driver
   * holds, so that none that a driver holds is dropped.
   * @throws {RangeError} when `restored` is no whole number of records.
   */
  constructor(restored: Uint8Array = new Uint8Array(0), max: number = MAX_USED_NONCES) {
    if (restored.length % NONCE_RECORD_BYTES !== 0) {
      throw new RangeError(
        `nonces are records of ${NONCE_RECORD_BYTES} bytes, not ${restored.length} bytes: give what \`usedNonces\` gave`,
      );
    }
    this.#max = max;
    this.#slack = Math.floor(max / SLACK);
    this.#keep(restored, true);
  }

  /** Records kept. */
  get size(): number {
    return Math.min(this.#uses.size, this.#max);
  }

  /** Whether a nonce is kept, by its hash of 16 bytes. */
  has(hash: Uint8Array): boolean {
    return this.#uses.has(hash.toHex());
  }

  /** Keeps records as a driver reported them: a driver that lies can crowd out other reports, but nothing that this engine saw. */
  add(records: Uint8Array): void {
    this.#keep(records, false);
  }

  /** Keeps the record of a token that this engine has checked itself. */
  addProven(record: Uint8Array): void {
    this.#keep(record, true);
  }

  /** Everything kept, as a welcome carries it. */
  records(): Uint8Array<ArrayBuffer> {
    this.#dropTo(this.#max);
    const bytes = new Uint8Array(this.#uses.size * NONCE_RECORD_BYTES);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const [hash, { forgetS }] of this.#uses) {
      bytes.set(Uint8Array.fromHex(hash), at);
      view.setUint32(at + NONCE_HASH_BYTES, forgetS, true);
      at += NONCE_RECORD_BYTES;
    }
    return bytes;
  }

  #keep(records: Uint8Array, isProven: boolean): void {
    const view = new DataView(records.buffer, records.byteOffset, records.length);
    for (let at = 0; at < records.length; at += NONCE_RECORD_BYTES) {
      const hash = records.subarray(at, at + NONCE_HASH_BYTES).toHex();
      const forgetS = view.getUint32(at + NONCE_HASH_BYTES, true);
      if (this.#uses.get(hash)?.isProven !== true) this.#uses.set(hash, { forgetS, isProven });
      if (this.#uses.size > this.#max + this.#slack) this.#dropTo(this.#max);
    }
  }

  #dropTo(count: number): void {
    const tooMany = this.#uses.size - count;
    if (tooMany <= 0) return;
    const inOrder = [...this.#uses].sort(([, a], [, b]) =>
      a.isProven === b.isProven ? a.forgetS - b.forgetS : a.isProven ? 1 : -1
    );
    for (const [hash] of inOrder.slice(0, tooMany)) this.#uses.delete(hash);
  }
}
