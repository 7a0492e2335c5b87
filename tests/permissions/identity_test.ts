import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { summarize } from "../../permissions/summary.ts";
import { driverGrants } from "../support/driver_world.ts";
import { TestKey } from "../support/join_keys.ts";
import { smallManifest } from "../support/manifest_samples.ts";
import { sha256 } from "../support/pair.ts";

const KEY = new TestKey(1).x;
const OTHER = new TestKey(2).x;

/** What the parser says about a world with this `identity`. */
function mistakesOf(identity: unknown): string[] {
  try {
    driverGrants({ identity });
    return [];
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    return error.mistakes.map(({ path, message }) => `${path}: ${message}`);
  }
}

Deno.test("a world lets anybody join and takes no tokens, when it does not say", () => {
  assertEquals(driverGrants().identity, { anonymous: true, issuers: [] });
});

Deno.test("`compileGrants()` lists issuers in one order, when a world names them in any", () => {
  const issuers = [KEY, OTHER].sort();
  for (const order of [issuers, issuers.toReversed()]) {
    assertEquals(driverGrants({ identity: { anonymous: false, issuers: order } }).identity, {
      anonymous: false,
      issuers,
    });
  }
});

Deno.test("`schemaHash()` is that of a world without `identity`, when it says what is the default, and another otherwise", () => {
  const hash = (identity: unknown) => driverGrants({ identity }).schemaHash;
  const plain = driverGrants().schemaHash;
  assertEquals(hash({}), plain);
  assertEquals(hash({ anonymous: true, issuers: [] }), plain);
  const others = [
    { issuers: [KEY] },
    { issuers: [OTHER] },
    { issuers: [KEY, OTHER] },
    { anonymous: false, issuers: [KEY] },
  ].map(hash);
  assertEquals(new Set([plain, ...others]).size, 5);
  assertNotEquals(others[0], plain);
  assertEquals(hash({ issuers: [OTHER, KEY] }), others[2]);
});

Deno.test("`parseManifest()` says what is wrong, when keys are no keys, listed twice, or nobody could join", () => {
  const [twice] = mistakesOf({ issuers: [KEY, KEY] });
  assertStringIncludes(twice!, "world.identity.issuers[1]: this key is listed twice");
  for (const bad of ["alice", `${KEY}=`, KEY.slice(1), KEY.replace(/.$/, "B")]) {
    const [mistake] = mistakesOf({ issuers: [bad] });
    assertStringIncludes(mistake!, "world.identity.issuers[0]: no Ed25519 public key", bad);
  }
  assertStringIncludes(mistakesOf({ anonymous: false })[0]!, "nobody could join");
  assertEquals(mistakesOf({ issuers: [5] }).length, 1);
  assertEquals(mistakesOf({ anonymus: true }).length, 1);
  assertEquals(
    mistakesOf({ issuers: Array.from({ length: 9 }, (_, i) => new TestKey(i).x) }).length,
    1,
  );
});

Deno.test("`summarize()` says who may join", () => {
  const line = (identity: unknown) => {
    const value = smallManifest();
    (value["world"] as Record<string, unknown>)["identity"] = identity;
    const manifest = parseManifest(JSON.stringify(value), "small.jsonc");
    const text = summarize(manifest, compileGrants(manifest, sha256));
    return text.split("\n").find((one) => one.startsWith("Who may join"));
  };
  const role = "player";
  assertEquals(line({}), `Who may join: anybody, as ${role}`);
  assertEquals(
    line({ issuers: [KEY] }),
    `Who may join: anybody, as ${role}; holders of join tokens of one issuer, in the role of the token`,
  );
  assertEquals(
    line({ anonymous: false, issuers: [KEY, OTHER] }),
    "Who may join: holders of join tokens of 2 issuers, in the role of the token; nobody else",
  );
});
