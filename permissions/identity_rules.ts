// Rules of `world.identity`: keys that are keys, each named once, and somebody who can join at all. They read the raw document, so they speak
// even where the schema found other mistakes.

import { fromBase64Url } from "../protocol/base64url.ts";
import { PUBLIC_KEY_BYTES } from "../protocol/limits.ts";
import { asArray, asObject, type Complain, type Raw } from "./raw.ts";

/** Checks who may join. */
export function checkIdentity(world: Raw, complain: Complain): void {
  const identity = asObject(world["identity"]);
  const issuers = asArray(identity["issuers"]);
  for (const [index, issuer] of issuers.entries()) {
    if (typeof issuer !== "string") continue;
    const path = ["world", "identity", "issuers", index];
    if (fromBase64Url(issuer)?.length !== PUBLIC_KEY_BYTES) {
      complain(
        path,
        'no Ed25519 public key in base64url; write the 43 characters that "token keygen" prints (the key\'s "x")',
      );
    } else if (issuers.indexOf(issuer) !== index) {
      complain(path, "this key is listed twice; remove one");
    }
  }
  if (identity["anonymous"] === false && issuers.length === 0) {
    complain(
      ["world", "identity", "anonymous"],
      "nobody could join: name the public key of an issuer of join tokens in `issuers`, or allow anonymous joining",
    );
  }
}
