// Whether a driver tells the truth about who a peer is: the engine checks the peer's join token and proof itself, by its own tables, so that
// a driver which was taken over can give nobody a role. Cryptography and the clock are arguments; who used which token is kept here.

import type { ToEngine } from "../protocol/engine_messages.ts";
import { NONCE_HASH_BYTES } from "../protocol/limits.ts";
import { type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { encodeJoinProof } from "../session/join_proof.ts";
import {
  forgetSecond,
  judgeJoinToken,
  keyOf,
  nonceText,
  parseJoinToken,
} from "../session/join_token.ts";
import { encodeNonceRecord } from "../session/used_nonces.ts";
import type { NonceKeeper } from "./nonce_keeper.ts";

/** What an engine needs to check identities; without it, it believes none. */
export interface IdentityTools {
  /** SHA-256. */
  sha256(bytes: Uint8Array): Uint8Array;
  /** The wall clock, ms since 1970. */
  unixMs(): number;
  /** Whether an Ed25519 public key (32 bytes) signed `data` so; false for keys and signatures that are none. */
  verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, data: Uint8Array): boolean;
}

/** Who a peer has proven to be. */
export interface ProvenIdentity {
  /** The token's holder as its issuer named it. */
  readonly subject: string;
  /** The holder's public key, 32 bytes. */
  readonly key: Uint8Array;
  /** Index of the token's role. */
  readonly roleIndex: number;
}

/** Checks what a driver says of a peer; what holds is kept as used, and does not hold a second time. */
export function checkIdentity(
  message: Extract<ToEngine, { kind: "identity" }>,
  grants: Grants,
  nonces: NonceKeeper,
  tools: IdentityTools | undefined,
): ProvenIdentity | undefined {
  const token = parseJoinToken(message.token);
  if (token === undefined || tools === undefined) return undefined;
  const { claims } = token;
  const { pin, challenge } = message;
  const rule = judgeJoinToken(token, {
    issuers: grants.identity.issuers,
    worldName: grants.worldName,
    schemaHash: grants.schemaHash,
    pin,
    roles: grants.roles.filter((role) => role.index !== SERVER_ROLE).map((role) => role.name),
    nowS: Math.floor(tools.unixMs() / 1000),
  });
  if (rule !== undefined) return undefined;
  const hash = tools.sha256(nonceText(token)).slice(0, NONCE_HASH_BYTES);
  if (nonces.has(hash)) return undefined;
  const proof = encodeJoinProof({
    challenge,
    pin,
    schemaHash: Uint8Array.fromHex(grants.schemaHash),
  });
  const isIssued = tools.verifyEd25519(keyOf(token.issuer)!, token.signature, token.signed);
  if (!isIssued) return undefined;
  if (!tools.verifyEd25519(claims.holderKey, message.signature, proof)) return undefined;
  nonces.addProven(encodeNonceRecord(hash, forgetSecond(claims)));
  const roleIndex = grants.roles.findIndex((role) => role.name === claims.role);
  return { subject: claims.subject, key: claims.holderKey, roleIndex };
}
