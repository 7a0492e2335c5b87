// Judges the proof of one joiner, from bytes to a token that may be believed: what the token says, its issuer's signature, its holder's
// signature of our challenge. Who is let in after that, and that a token is good once, is decided in `server_join.ts`.

import type { ProofMessage } from "../protocol/control_messages.ts";
import { type Grants, SERVER_ROLE } from "../permissions/grants.ts";
import { encodeJoinProof } from "../session/join_proof.ts";
import {
  type JoinToken,
  judgeJoinToken,
  keyOf,
  parseJoinToken,
  TokenRule,
} from "../session/join_token.ts";
import type { CoreEnvironment } from "./core.ts";

/** What a proof is judged by. */
export interface ProofTerms {
  readonly grants: Grants;
  /** The random bytes that this connection was asked to sign. */
  readonly challenge: Uint8Array;
  /** SHA-256 of the certificate that the joiner must have checked, 32 bytes. */
  readonly pin: Uint8Array;
  /** The present time, s since 1970. */
  readonly nowS: number;
}

/**
 * Judges a proof and calls `done` once, now or later, with the token or the rule that it breaks. Order: form, claims, issuer's signature,
 * holder's signature; each is asked only where the ones before hold.
 */
export function judgeProof(
  message: ProofMessage,
  terms: ProofTerms,
  environment: CoreEnvironment,
  done: (result: JoinToken | TokenRule) => void,
): void {
  const { grants, challenge, pin, nowS } = terms;
  const token = parseJoinToken(message.token);
  if (token === undefined) return done(TokenRule.Format);
  const rule = judgeJoinToken(token, {
    issuers: grants.identity.issuers,
    worldName: grants.worldName,
    schemaHash: grants.schemaHash,
    pin,
    roles: grants.roles.filter((role) => role.index !== SERVER_ROLE).map((role) => role.name),
    nowS,
  });
  if (rule !== undefined) return done(rule);
  const schemaHash = Uint8Array.fromHex(grants.schemaHash);
  const proof = encodeJoinProof({ challenge, pin, schemaHash });
  const signature = message.signature.slice();
  environment.verifyEd25519(keyOf(token.issuer)!, token.signature, token.signed, (isIssued) => {
    if (!isIssued) return done(TokenRule.Signature);
    environment.verifyEd25519(token.claims.holderKey, signature, proof, (isHeld) => {
      done(isHeld ? token : TokenRule.Proof);
    });
  });
}
