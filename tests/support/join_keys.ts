// Keys and join tokens for tests: made from seeds, signed at once, and as wrong as a test wants them. Independent of the driver's own issuer.

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

/** Begins the DER form of an Ed25519 private key (RFC 8410). */
const PRIVATE_DER = Uint8Array.fromHex("302e020100300506032b657004220420");
/** Begins the DER form of an Ed25519 public key. */
const PUBLIC_DER = Uint8Array.fromHex("302a300506032b6570032100");

/** A key pair. */
export class TestKey {
  readonly #key: KeyObject;
  /** Public key, 32 bytes. */
  readonly publicKey: Uint8Array<ArrayBuffer>;

  /** The pair of a seed of 0 to 255. */
  constructor(seed: number) {
    const der = new Uint8Array([...PRIVATE_DER, ...new Uint8Array(32).fill(seed)]);
    this.#key = createPrivateKey({ key: der as never, format: "der", type: "pkcs8" });
    const spki = createPublicKey(this.#key).export({ format: "der", type: "spki" });
    this.publicKey = Uint8Array.from(spki.subarray(-32));
  }

  /** Public key, base64url. */
  get x(): string {
    return base64Url(this.publicKey);
  }

  /** Signature of bytes, 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(sign(null, bytes, this.#key));
  }
}

/** Whether a key signed so. */
export function isSignedBy(
  publicKey: Uint8Array,
  signature: Uint8Array,
  data: Uint8Array,
): boolean {
  try {
    const der = new Uint8Array([...PUBLIC_DER, ...publicKey]);
    const key = createPublicKey({ key: der as never, format: "der", type: "spki" });
    return verify(null, data, key, signature);
  } catch {
    return false;
  }
}

/** Bytes, or the UTF-8 of a text or of a value's JSON, as base64url. */
export function base64Url(value: unknown): string {
  const bytes = value instanceof Uint8Array
    ? value
    : new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Header fields and claims of a token, each to be replaced or, with `undefined`, left out. */
export interface TokenParts {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** The second in which test tokens are issued. */
export const ISSUED_S = 1_800_000_000;
/** The pin in test tokens. */
export const TEST_PIN: Uint8Array<ArrayBuffer> = new Uint8Array(32).fill(0xc7);

/** A token of `issuer` for `holder`: a player in the world "sample", for five minutes from {@linkcode ISSUED_S}, unless `parts` differ. */
export function tokenOf(issuer: TestKey, holder: TestKey, parts: TokenParts = {}): string {
  const header = { alg: "EdDSA", typ: "syncra-join+jwt", kid: issuer.x, ...parts.header };
  const claims = {
    sub: "alice",
    role: "player",
    world: "sample",
    pin: TEST_PIN.toHex(),
    iat: ISSUED_S,
    exp: ISSUED_S + 300,
    jti: "nonce-1",
    cnf: { jwk: { kty: "OKP", crv: "Ed25519", x: holder.x } },
    ...parts.claims,
  };
  const signed = `${base64Url(header)}.${base64Url(claims)}`;
  return `${signed}.${base64Url(issuer.sign(new TextEncoder().encode(signed)))}`;
}

/** A token's bytes. */
export function tokenBytes(token: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(token);
}
