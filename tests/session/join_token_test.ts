import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  forgetSecond,
  judgeJoinToken,
  keyOf,
  nonceText,
  parseJoinToken,
  TOKEN_REFUSALS,
  TokenRule,
  type TokenTerms,
} from "../../session/join_token.ts";
import { MAX_CREDENTIAL_BYTES, MAX_REASON_BYTES } from "../../protocol/limits.ts";
import {
  base64Url,
  isSignedBy,
  ISSUED_S,
  TEST_PIN,
  TestKey,
  tokenBytes,
  tokenOf,
  type TokenParts,
} from "../support/join_keys.ts";
import { bitFlipsOf, truncationsOf } from "../support/hostile_bytes.ts";

const ISSUER = new TestKey(1);
const HOLDER = new TestKey(2);
const TERMS: TokenTerms = {
  issuers: [new TestKey(9).x, ISSUER.x],
  worldName: "sample",
  schemaHash: "5a".repeat(32),
  pin: TEST_PIN,
  roles: ["player", "spectator"],
  nowS: ISSUED_S + 10,
};

function parse(parts: TokenParts = {}) {
  return parseJoinToken(tokenBytes(tokenOf(ISSUER, HOLDER, parts)));
}

function judge(parts: TokenParts, terms: Partial<TokenTerms> = {}): TokenRule | undefined {
  const token = parse(parts);
  assert(token !== undefined, "it parses");
  return judgeJoinToken(token, { ...TERMS, ...terms });
}

Deno.test("`parseJoinToken()` reads what a token says, when it is whole", () => {
  const token = parse()!;
  assertEquals(token.issuer, ISSUER.x);
  assertEquals(token.claims, {
    subject: "alice",
    role: "player",
    world: "sample",
    pin: TEST_PIN,
    issuedS: ISSUED_S,
    notBeforeS: ISSUED_S,
    expiresS: ISSUED_S + 300,
    nonce: "nonce-1",
    holderKey: HOLDER.publicKey,
  });
  assert(isSignedBy(ISSUER.publicKey, token.signature, token.signed));
  assertEquals(judgeJoinToken(token, TERMS), undefined);
  assertEquals(forgetSecond(token.claims), ISSUED_S + 360);
});

Deno.test("`parseJoinToken()` passes over claims that it does not know, and reads `nbf`", () => {
  const token = parse({ claims: { nbf: ISSUED_S + 5, name: "Alice", aud: ["x"] } });
  assertEquals(token?.claims.notBeforeS, ISSUED_S + 5);
});

Deno.test("`parseJoinToken()` refuses a header, when it is any other", () => {
  const headers: Record<string, unknown>[] = [
    { alg: "none" },
    { alg: "HS256" },
    { alg: "Ed25519" },
    { alg: undefined },
    { typ: "JWT" },
    { typ: undefined },
    { kid: undefined },
    { kid: "issuer-1" },
    { kid: `${ISSUER.x}=` },
    { kid: 5 },
    { crit: ["exp"] },
    { jwk: { kty: "OKP", crv: "Ed25519", x: HOLDER.x } },
    { b64: false },
  ];
  for (const header of headers) assertEquals(parse({ header }), undefined, JSON.stringify(header));
});

Deno.test("`parseJoinToken()` refuses claims, when one is missing, of another type or too long", () => {
  const jwk = { kty: "OKP", crv: "Ed25519", x: HOLDER.x };
  const claims: Record<string, unknown>[] = [
    ...["sub", "role", "world", "pin", "iat", "exp", "jti", "cnf"].map((name) => ({
      [name]: undefined,
    })),
    { sub: "" },
    { sub: 5 },
    { sub: "x".repeat(129) },
    { sub: "ä".repeat(65) },
    { sub: "a\nb" },
    { sub: "\ufeffa" },
    { sub: "\ud800" },
    { role: "x".repeat(65) },
    { world: ["sample"] },
    { jti: "x".repeat(65) },
    { pin: TEST_PIN.toHex().toUpperCase() },
    { pin: "c7" },
    { exp: ISSUED_S + 0.5 },
    { exp: `${ISSUED_S}` },
    { exp: ISSUED_S },
    { exp: 2 ** 40 },
    { iat: -1 },
    { nbf: null },
    { nbf: undefined },
    { cnf: jwk },
    { cnf: { jwk: { ...jwk, crv: "X25519" } } },
    { cnf: { jwk: { ...jwk, kty: "EC" } } },
    { cnf: { jwk: { ...jwk, x: HOLDER.x.slice(1) } } },
    { cnf: { jwk: { ...jwk, d: HOLDER.x } } },
    { cnf: { kid: "1" } },
  ];
  for (const one of claims) {
    // A claim left out of JSON counts as left out, so `nbf` without a value is none.
    const isLegal = "nbf" in one && one["nbf"] === undefined;
    assertEquals(parse({ claims: one }) !== undefined, isLegal, JSON.stringify(one));
  }
});

Deno.test("`parseJoinToken()` refuses another form, when it says the same", () => {
  const token = tokenOf(ISSUER, HOLDER);
  const [header, claims, signature] = token.split(".") as [string, string, string];
  const forms = [
    "",
    "..",
    `${header}.${claims}`,
    `${token}.`,
    `.${token}`,
    `${token} `,
    ` ${token}`,
    `${token}\n`,
    `\ufeff${token}`,
    `${header}=.${claims}.${signature}`,
    `${header}.${claims}.${signature.slice(0, -2)}`,
    `${header}.${base64Url("[]")}.${signature}`,
    `${header}.${base64Url("null")}.${signature}`,
    `${header}.${base64Url("{")}.${signature}`,
    `${header}.${base64Url(Uint8Array.of(0x22, 0xff, 0x22))}.${signature}`,
    `${base64Url(" ".repeat(MAX_CREDENTIAL_BYTES))}.${claims}.${signature}`,
  ];
  for (const form of forms) assertEquals(parseJoinToken(tokenBytes(form)), undefined, form);
  const odd = new Uint8Array([...tokenBytes(token), 0xff]);
  assertEquals(parseJoinToken(odd), undefined);
});

Deno.test("`parseJoinToken()` takes no token, when a good one is cut anywhere", () => {
  for (const cut of truncationsOf(tokenBytes(tokenOf(ISSUER, HOLDER)))) {
    assertEquals(parseJoinToken(cut), undefined, `${cut.length} bytes`);
  }
});

Deno.test("`parseJoinToken()` reads nothing that its issuer signed, when any bit is flipped", () => {
  for (const bytes of bitFlipsOf(tokenBytes(tokenOf(ISSUER, HOLDER)))) {
    const token = parseJoinToken(bytes);
    if (token === undefined || token.issuer !== ISSUER.x) continue;
    assertEquals(isSignedBy(ISSUER.publicKey, token.signature, token.signed), false);
  }
});

Deno.test("`parseJoinToken()` never throws, when claims are any JSON", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (header, claims) => {
      const text = `${base64Url(header)}.${base64Url(claims)}.${base64Url(new Uint8Array(64))}`;
      assertEquals(parseJoinToken(tokenBytes(text)), undefined);
    }),
    { seed: 1, numRuns: 300 },
  );
});

Deno.test("`judgeJoinToken()` names the rule, when a token does not fit", () => {
  const exp = ISSUED_S + 300;
  const cases: [TokenRule | undefined, TokenParts["claims"] & object, Partial<TokenTerms>][] = [
    [undefined, { world: "5a".repeat(32) }, {}],
    [undefined, { role: "spectator" }, {}],
    [TokenRule.Issuer, {}, { issuers: [HOLDER.x] }],
    [TokenRule.Issuer, {}, { issuers: [] }],
    [undefined, {}, { nowS: exp + 59 }],
    [TokenRule.Expired, {}, { nowS: exp + 60 }],
    [undefined, {}, { nowS: ISSUED_S - 60 }],
    [TokenRule.NotYet, {}, { nowS: ISSUED_S - 61 }],
    [TokenRule.NotYet, { nbf: ISSUED_S + 100 }, {}],
    [TokenRule.NotYet, { nbf: 0, iat: ISSUED_S + 100 }, {}],
    [undefined, { exp: ISSUED_S + 86_400 }, {}],
    [TokenRule.Life, { exp: ISSUED_S + 86_401 }, {}],
    [TokenRule.World, { world: "Sample" }, {}],
    [TokenRule.Pin, {}, { pin: new Uint8Array(32) }],
    [TokenRule.Pin, {}, { pin: new Uint8Array(0) }],
    [TokenRule.Role, { role: "server" }, {}],
    [TokenRule.Role, { role: "players" }, {}],
  ];
  for (const [rule, claims, terms] of cases) {
    assertEquals(judge({ claims }, terms), rule, JSON.stringify([claims, Object.keys(terms)]));
  }
});

Deno.test("`nonceText()` tells tokens of two issuers apart, when their nonces are equal", () => {
  const other = new TestKey(3);
  const texts = [ISSUER, other].map((key) => {
    const token = parseJoinToken(tokenBytes(tokenOf(key, HOLDER)))!;
    return new TextDecoder().decode(nonceText(token));
  });
  assertEquals(texts, [`${ISSUER.x}.nonce-1`, `${other.x}.nonce-1`]);
});

Deno.test("`TOKEN_REFUSALS` has a short sentence for each rule", () => {
  for (const rule of Object.values(TokenRule)) {
    const { length } = TOKEN_REFUSALS[rule];
    assert(length > 10 && length <= MAX_REASON_BYTES, rule);
  }
});

Deno.test("`keyOf()` takes public keys of 32 bytes and nothing else", () => {
  assertEquals(keyOf(ISSUER.x), ISSUER.publicKey);
  for (const bad of [undefined, 5, "", "AAAA", `${ISSUER.x}A`, "A".repeat(5_000)]) {
    assertEquals(keyOf(bad), undefined);
  }
});
