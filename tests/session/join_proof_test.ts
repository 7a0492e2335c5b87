import { assertEquals } from "@std/assert";
import { MAX_SIGNED_BYTES } from "../../protocol/limits.ts";
import { decodeJoinProof, encodeJoinProof, PROOF_BYTES } from "../../session/join_proof.ts";
import { truncationsOf } from "../support/hostile_bytes.ts";

const PROOF = {
  challenge: new Uint8Array(32).fill(1),
  pin: new Uint8Array(32).fill(2),
  schemaHash: new Uint8Array(32).fill(3),
};

Deno.test("`encodeJoinProof()` lays out domain, challenge, pin and schema hash", () => {
  const bytes = encodeJoinProof(PROOF);
  assertEquals(bytes.length, 144);
  assertEquals(PROOF_BYTES, 144);
  assertEquals(PROOF_BYTES <= MAX_SIGNED_BYTES, true);
  const domain = "SyncraEngine network driver, join proof, v1:\0\0\0\0";
  assertEquals(new TextDecoder().decode(bytes.subarray(0, 48)), domain);
  assertEquals([48, 79, 80, 111, 112, 143].map((at) => bytes[at]), [1, 1, 2, 2, 3, 3]);
});

Deno.test("`decodeJoinProof()` gives back the parts, when the bytes are a proof", () => {
  assertEquals(decodeJoinProof(encodeJoinProof(PROOF)), PROOF);
});

Deno.test("`decodeJoinProof()` knows nothing else, when bytes are cut, longer or of another domain", () => {
  const bytes = encodeJoinProof(PROOF);
  for (const cut of truncationsOf(bytes)) assertEquals(decodeJoinProof(cut), undefined);
  assertEquals(decodeJoinProof(Uint8Array.of(...bytes, 0)), undefined);
  for (let at = 0; at < 48; at++) {
    const other = bytes.slice();
    other[at]! ^= 1;
    assertEquals(decodeJoinProof(other), undefined, `byte ${at}`);
  }
});
