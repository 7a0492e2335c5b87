// Join tokens: who may join which world in which role, until when, signed by an issuer and bound to a key that the holder alone has. Reads
// and judges them; signatures are checked outside, by the key and bytes given here. It knows no clock, no crypto and no used nonces.

import {
  CLOCK_SKEW_S,
  MAX_CREDENTIAL_BYTES,
  MAX_NAME_BYTES,
  MAX_NONCE_CHARS,
  MAX_SUBJECT_BYTES,
  MAX_TOKEN_LIFE_S,
  PIN_BYTES,
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
} from "../protocol/limits.ts";
import { fromBase64Url } from "../protocol/base64url.ts";

/** `typ` of a join token's header (RFC 8725 section 3.11): a token made for something else is none. */
export const TOKEN_TYPE = "syncra-join+jwt";

/** Why a token, or the proof beside it, does not let its bearer in. */
export const TokenRule = {
  /** It is no join token. */
  Format: "format",
  /** The world does not know the key that its header names. */
  Issuer: "issuer",
  /** It was not signed by that key. */
  Signature: "signature",
  /** Its time has not come. */
  NotYet: "notYet",
  /** Its time is over. */
  Expired: "expired",
  /** It is valid for longer than any token may be. */
  Life: "life",
  /** It is for another world. */
  World: "world",
  /** It is for a server with another certificate. */
  Pin: "pin",
  /** Its role is not one that a peer of this world can have. */
  Role: "role",
  /** It was used before. */
  Replay: "replay",
  /** Who shows it does not hold its key. */
  Proof: "proof",
} as const;

/** One of the values of {@linkcode TokenRule}. */
export type TokenRule = typeof TokenRule[keyof typeof TokenRule];

/** Every rule, by its number in the log: new ones go at the end, none is ever removed. */
const RULES_BY_CODE: readonly TokenRule[] = Object.values(TokenRule);

/** The number of a rule in the log. */
export function tokenRuleCode(rule: TokenRule): number {
  return RULES_BY_CODE.indexOf(rule);
}

/** The rule with this number, or `undefined`. */
export function tokenRuleOfCode(code: number): TokenRule | undefined {
  return RULES_BY_CODE[code];
}

/** One sentence for each refusal, for the joiner's engine; nothing of the token is in it. */
export const TOKEN_REFUSALS: Readonly<Record<TokenRule, string>> = {
  format: "the credential is no join token",
  issuer: "this world does not know the key that signed the join token",
  signature: "the join token was not signed by the key that it names",
  notYet: "the join token is not valid yet: compare the clocks of issuer and server",
  expired: "the join token has expired: get a new one",
  life: "the join token is valid for longer than a day: issue it for less",
  world: "the join token is for another world",
  pin: "the join token is for a server with another certificate",
  role: "the join token names a role that this world does not give to peers",
  replay: "the join token has been used: get a new one",
  proof: "the joiner does not hold the join token's key",
};

/** What a token says. */
export interface JoinClaims {
  /** `sub`: who, 1 to 128 bytes of UTF-8. */
  readonly subject: string;
  /** `role`: name of a declared role. */
  readonly role: string;
  /** `world`: the world's name, or its schema hash in lower-case hex. */
  readonly world: string;
  /** `pin`: SHA-256 of the server's certificate, 32 bytes; in the token lower-case hex, as everywhere. */
  readonly pin: Uint8Array;
  /** `iat`: when it was issued, s since 1970. */
  readonly issuedS: number;
  /** `nbf`: from when it is valid, s; `iat` where the token does not say. */
  readonly notBeforeS: number;
  /** `exp`: until when, s. */
  readonly expiresS: number;
  /** `jti`: told apart from every other token of the issuer. */
  readonly nonce: string;
  /** `cnf.jwk.x` (RFC 7800, RFC 8037): the holder's public key, 32 bytes. */
  readonly holderKey: Uint8Array;
}

/** A token that was read; nothing in it is believed before its signature was checked. */
export interface JoinToken {
  /** `kid` of the header: the issuer's public key, base64url. */
  readonly issuer: string;
  /** What it says. */
  readonly claims: JoinClaims;
  /** What the issuer signed: header and claims as they stand. */
  readonly signed: Uint8Array;
  /** The issuer's signature of it, 64 bytes. */
  readonly signature: Uint8Array;
}

/** What a server expects of a token. */
export interface TokenTerms {
  /** Public keys of the issuers that the world names, base64url. */
  readonly issuers: readonly string[];
  /** The world's name. */
  readonly worldName: string;
  /** Its schema hash, lower-case hex. */
  readonly schemaHash: string;
  /** SHA-256 of the server's certificate. */
  readonly pin: Uint8Array;
  /** Names of the roles that a peer can have. */
  readonly roles: readonly string[];
  /** The present time, s since 1970. */
  readonly nowS: number;
}

const DOT = 0x2e;
const ascii = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();

/**
 * Reads a token: a JSON Web Signature (RFC 7515) in compact form, algorithm EdDSA, with exactly the header fields `alg`, `typ` and `kid`.
 * Claims that are not known here are passed over. `undefined`: it is none. Never throws.
 */
export function parseJoinToken(bytes: Uint8Array): JoinToken | undefined {
  if (bytes.length > MAX_CREDENTIAL_BYTES) return undefined;
  const end = bytes.lastIndexOf(DOT);
  const parts = textOf(bytes)?.split(".");
  if (parts?.length !== 3) return undefined;
  const header = objectOf(parts[0]!);
  const body = objectOf(parts[1]!);
  const signature = fromBase64Url(parts[2]!);
  if (header === undefined || body === undefined) return undefined;
  if (signature?.length !== SIGNATURE_BYTES) return undefined;
  const { alg, typ, kid } = header;
  if (Object.keys(header).length !== 3 || alg !== "EdDSA" || typ !== TOKEN_TYPE) return undefined;
  if (keyOf(kid) === undefined) return undefined;
  const claims = claimsOf(body);
  if (claims === undefined) return undefined;
  return { issuer: kid as string, claims, signed: bytes.slice(0, end), signature };
}

/** Judges what a token says, cheapest first; its signature, and whether it was used, are asked elsewhere. */
export function judgeJoinToken(token: JoinToken, terms: TokenTerms): TokenRule | undefined {
  const { claims } = token;
  const { nowS } = terms;
  if (!terms.issuers.includes(token.issuer)) return TokenRule.Issuer;
  if (nowS >= claims.expiresS + CLOCK_SKEW_S) return TokenRule.Expired;
  const validS = Math.max(claims.notBeforeS, claims.issuedS);
  if (nowS < validS - CLOCK_SKEW_S) return TokenRule.NotYet;
  if (claims.expiresS - claims.issuedS > MAX_TOKEN_LIFE_S) return TokenRule.Life;
  if (claims.world !== terms.worldName && claims.world !== terms.schemaHash) {
    return TokenRule.World;
  }
  if (!isEqual(claims.pin, terms.pin)) return TokenRule.Pin;
  if (!terms.roles.includes(claims.role)) return TokenRule.Role;
  return undefined;
}

/** The second from which no server takes the token any more, so that its nonce may be forgotten. */
export function forgetSecond(claims: JoinClaims): number {
  return claims.expiresS + CLOCK_SKEW_S;
}

/** What the hash of a token's nonce is made of: issuers choose their nonces without knowing of each other. */
export function nonceText(token: JoinToken): Uint8Array {
  return utf8.encode(`${token.issuer}.${token.claims.nonce}`);
}

/** An Ed25519 public key in base64url; `undefined` where `text` is none. */
export function keyOf(text: unknown): Uint8Array | undefined {
  if (typeof text !== "string" || text.length > 64) return undefined;
  const key = fromBase64Url(text);
  return key?.length === PUBLIC_KEY_BYTES ? key : undefined;
}

function claimsOf(body: Readonly<Record<string, unknown>>): JoinClaims | undefined {
  const { sub, role, world, pin, iat, exp, jti, cnf } = body;
  const nbf = "nbf" in body ? body["nbf"] : iat;
  if (!isText(sub, MAX_SUBJECT_BYTES) || !isText(role, MAX_NAME_BYTES)) return undefined;
  if (!isText(world, MAX_NAME_BYTES) || !isText(jti, MAX_NONCE_CHARS)) return undefined;
  if (!isSecond(iat) || !isSecond(exp) || !isSecond(nbf) || exp <= iat) return undefined;
  if (typeof pin !== "string" || !/^[0-9a-f]{64}$/.test(pin)) return undefined;
  const jwk = isObject(cnf) ? cnf["jwk"] : undefined;
  if (!isObject(jwk) || jwk["kty"] !== "OKP" || jwk["crv"] !== "Ed25519") return undefined;
  // Whoever issued a token with the holder's private key in it has given that key away.
  if ("d" in jwk) return undefined;
  const holderKey = keyOf(jwk["x"]);
  if (holderKey === undefined) return undefined;
  return {
    subject: sub,
    role,
    world,
    pin: Uint8Array.fromHex(pin),
    issuedS: iat,
    notBeforeS: nbf,
    expiresS: exp,
    nonce: jti,
    holderKey,
  };
}

function objectOf(part: string): Readonly<Record<string, unknown>> | undefined {
  const bytes = fromBase64Url(part);
  const text = bytes === undefined ? undefined : textOf(bytes);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return ascii.decode(bytes);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A text of 1 to `maxBytes` bytes that can be shown and sent on: well-formed, without control characters. */
function isText(value: unknown, maxBytes: number): value is string {
  return typeof value === "string" && value !== "" && value.length <= maxBytes &&
    value.isWellFormed() && !/[\p{Cc}\uFEFF]/u.test(value) && utf8.encode(value).length <= maxBytes;
}

/** Whole seconds that fit the 32 bits in which nonces are kept, a day and the skew added. */
function isSecond(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 0xffff_0000;
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === PIN_BYTES && b.length === PIN_BYTES && a.every((byte, i) => byte === b[i]);
}
