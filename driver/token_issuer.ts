// Join tokens from the issuer's side: keys, signing, and the same signature checked again. What a token must hold is in session/join_token.ts;
// who is worth one is the issuer's business. No file, no terminal.

import { compactVerify, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from "jose";
import { keyOf, parseJoinToken, TOKEN_TYPE } from "../session/join_token.ts";

/** An Ed25519 key pair as a JSON Web Key (RFC 8037); `d` is the secret. */
export interface PrivateKey {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  /** The public key, 32 bytes in base64url. */
  readonly x: string;
  /** The private key, 32 bytes in base64url. */
  readonly d: string;
}

/** What a token shall say. */
export interface TokenRequest {
  /** Who: 1 to 128 bytes. */
  readonly subject: string;
  /** Name of a role of the world. */
  readonly role: string;
  /** Name of the world, or its schema hash. */
  readonly world: string;
  /** SHA-256 of the server's certificate, lower-case hex. */
  readonly pin: string;
  /** Public key of the one who will use it, base64url. */
  readonly holder: string;
  /** Seconds for which it is valid, at most a day. */
  readonly ttlS: number;
  /** The present time, s since 1970. */
  readonly nowS: number;
  /** What tells it from every other token: 1 to 64 characters, never used twice. */
  readonly nonce: string;
}

/** A fresh key pair, for an issuer or a holder. */
export async function generatePrivateKey(): Promise<PrivateKey> {
  for (;;) {
    const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
    const { x, d } = await exportJWK(privateKey);
    // On a command line a value that begins with a dash reads as an option; one key in 64 does.
    if (!x!.startsWith("-")) return { kty: "OKP", crv: "Ed25519", x: x!, d: d! };
  }
}

/** A key as somebody wrote it down; `undefined` when it is no Ed25519 key pair. */
export function readPrivateKey(value: unknown): PrivateKey | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kty, crv, x, d } = value as JWK;
  if (kty !== "OKP" || crv !== "Ed25519") return undefined;
  if (keyOf(x) === undefined || keyOf(d) === undefined) return undefined;
  return { kty: "OKP", crv: "Ed25519", x: x!, d: d! };
}

/**
 * A signed token.
 *
 * @throws {Error} where x and d of the key do not belong together.
 */
export async function issueJoinToken(key: PrivateKey, request: TokenRequest): Promise<string> {
  const { subject, role, world, pin, holder, ttlS, nowS, nonce } = request;
  return await new SignJWT({
    role,
    world,
    pin,
    cnf: { jwk: { kty: "OKP", crv: "Ed25519", x: holder } },
  })
    .setProtectedHeader({ alg: "EdDSA", typ: TOKEN_TYPE, kid: key.x })
    .setSubject(subject)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + ttlS)
    .setJti(nonce)
    .sign(await importJWK({ ...key }, "EdDSA"));
}

/** Whether a token that parses was signed by the key that its header names. */
export async function isSignedByItsIssuer(token: string): Promise<boolean> {
  const parsed = parseJoinToken(new TextEncoder().encode(token));
  if (parsed === undefined) return false;
  try {
    const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: parsed.issuer }, "EdDSA");
    await compactVerify(token, key, { algorithms: ["EdDSA"] });
    return true;
  } catch {
    return false;
  }
}
