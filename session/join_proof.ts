// What the holder of a join token signs to be let in: the verifier's challenge, the certificate it checked, and the world it means. The one
// layout that server, client and engine share, so that an engine can see what it signs. No signature is made or checked here.

import { assert } from "../protocol/assert.ts";
import { CHALLENGE_BYTES, PIN_BYTES, SCHEMA_HASH_BYTES } from "../protocol/limits.ts";

/**
 * Begins everything that is signed to join, 48 bytes: a signature made for another purpose or by another protocol never fits, and none made
 * here is of use elsewhere.
 */
const DOMAIN = new TextEncoder().encode("SyncraEngine network driver, join proof, v1:\0\0\0\0");

/** Bytes of what is signed. */
export const PROOF_BYTES = 48 + CHALLENGE_BYTES + PIN_BYTES + SCHEMA_HASH_BYTES;

/** The parts of what is signed. */
export interface JoinProof {
  /** The verifier's random bytes, 32. */
  readonly challenge: Uint8Array;
  /** SHA-256 of the certificate that the joiner checked, 32 bytes. */
  readonly pin: Uint8Array;
  /** SHA-256 of the world's canonical form, 32 bytes. */
  readonly schemaHash: Uint8Array;
}

/** The bytes to sign. */
export function encodeJoinProof(proof: JoinProof): Uint8Array<ArrayBuffer> {
  const { challenge, pin, schemaHash } = proof;
  assert(DOMAIN.length === 48, "the domain has its length");
  assert(challenge.length === CHALLENGE_BYTES, "a challenge has 32 bytes");
  assert(pin.length === PIN_BYTES, "a pin has 32 bytes");
  assert(schemaHash.length === SCHEMA_HASH_BYTES, "a schema hash has 32 bytes");
  const bytes = new Uint8Array(PROOF_BYTES);
  bytes.set(DOMAIN);
  bytes.set(challenge, 48);
  bytes.set(pin, 48 + CHALLENGE_BYTES);
  bytes.set(schemaHash, 48 + CHALLENGE_BYTES + PIN_BYTES);
  return bytes;
}

/** The parts of bytes that somebody asks to be signed; `undefined` when they are anything but a join proof. */
export function decodeJoinProof(bytes: Uint8Array): JoinProof | undefined {
  if (bytes.length !== PROOF_BYTES) return undefined;
  for (let i = 0; i < DOMAIN.length; i++) if (bytes[i] !== DOMAIN[i]) return undefined;
  const pinAt = 48 + CHALLENGE_BYTES;
  return {
    challenge: bytes.slice(48, pinAt),
    pin: bytes.slice(pinAt, pinAt + PIN_BYTES),
    schemaHash: bytes.slice(pinAt + PIN_BYTES),
  };
}
