import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main } from "../../driver/cli.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { isSignedBy as isSignedByRuntime, verifyEd25519 } from "../../driver/ed25519.ts";
import {
  generatePrivateKey,
  isSignedByItsIssuer,
  issueJoinToken,
  readPrivateKey,
} from "../../driver/token_issuer.ts";
import { judgeJoinToken, parseJoinToken } from "../../session/join_token.ts";
import { isSignedBy, TEST_PIN, TestKey, tokenBytes, tokenOf } from "../support/join_keys.ts";

const PIN = TEST_PIN.toHex();

/** Runs one command; what it printed, and its exit code. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await main(args, { out: (text) => out.push(text), err: (text) => err.push(text) });
  return { code, out: out.join("\n"), err: err.join("\n") };
}

/** A folder with an issuer's key in it. */
async function withKey(
  test: (keyFile: string, publicKey: string, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const keyFile = `${folder}/issuer.jwk`;
    const made = await run("token", "keygen", "--out", keyFile);
    assertEquals(made.code, ExitCode.Ok, made.err);
    await test(keyFile, made.out.split(/\s+/).at(-1)!, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function issue(keyFile: string, changes: Record<string, string> = {}) {
  const options = {
    key: keyFile,
    sub: "alice",
    role: "player",
    world: "room",
    holder: new TestKey(2).x,
    pin: PIN,
    ...changes,
  };
  return run("token", "issue", ...Object.entries(options).flatMap(([k, v]) => [`--${k}`, v]));
}

Deno.test("`token keygen` writes a key that its owner alone can read, prints the public half, and overwrites nothing", async () => {
  await withKey(async (keyFile, publicKey) => {
    assertMatch(publicKey, /^[A-Za-z0-9_][A-Za-z0-9_-]{42}$/);
    assertEquals((await Deno.stat(keyFile)).mode! & 0o777, 0o600);
    const text = await Deno.readTextFile(keyFile);
    const key = readPrivateKey(JSON.parse(text))!;
    assertEquals(key.x, publicKey);
    const again = await run("token", "keygen", "--out", keyFile);
    assertEquals(again.code, ExitCode.File);
    assertStringIncludes(again.err, "it exists and is not overwritten");
    assertEquals(await Deno.readTextFile(keyFile), text);
    assert(!again.err.includes(key.d));
  });
});

Deno.test("`token issue` prints a token that a server takes", async () => {
  await withKey(async (keyFile, publicKey) => {
    const before = Math.floor(Date.now() / 1000);
    const { code, out } = await issue(keyFile, { ttl: "60", pin: PIN.toUpperCase() });
    assertEquals(code, ExitCode.Ok);
    const token = parseJoinToken(tokenBytes(out))!;
    const { claims } = token;
    assert(claims.issuedS >= before && claims.issuedS <= before + 60);
    assertEquals(claims.expiresS - claims.issuedS, 60);
    assertEquals([claims.subject, claims.role, claims.world], ["alice", "player", "room"]);
    assertEquals(claims.holderKey, new TestKey(2).publicKey);
    const terms = {
      issuers: [publicKey],
      worldName: "room",
      schemaHash: "",
      pin: TEST_PIN,
      roles: ["player"],
      nowS: before,
    };
    assertEquals(judgeJoinToken(token, terms), undefined);
    assert(
      isSignedBy(
        Uint8Array.fromBase64(publicKey, { alphabet: "base64url" }),
        token.signature,
        token.signed,
      ),
    );
    const other = parseJoinToken(tokenBytes((await issue(keyFile)).out))!;
    assert(other.claims.nonce !== claims.nonce);
    assertEquals(other.claims.expiresS - other.claims.issuedS, 300);
  });
});

Deno.test("`token issue` says what to change, when an option or a key file cannot be used", async () => {
  await withKey(async (keyFile, _publicKey, folder) => {
    const bad: [Record<string, string>, number, string][] = [
      [{ pin: "abc" }, ExitCode.Usage, "--pin must be 64 hexadecimal digits"],
      [{ holder: "bob" }, ExitCode.Usage, "--holder must be 43 characters"],
      [{ sub: "x".repeat(129) }, ExitCode.Usage, "No server would take this token"],
      [{ role: "a\tb" }, ExitCode.Usage, "No server would take this token"],
      [{ ttl: "86401" }, ExitCode.Usage, "must be a whole number from 1 to 86400"],
      [{ key: `${folder}/none.jwk` }, ExitCode.File, "there is no such file. Check --key"],
    ];
    for (const [changes, code, text] of bad) {
      const result = await issue(keyFile, changes);
      assertEquals([result.code, result.out], [code, ""], text);
      assertStringIncludes(result.err, text);
    }
    const secret = await generatePrivateKey();
    const files = [
      "no JSON, but a SECRET",
      "[]",
      JSON.stringify({ ...secret, crv: "X25519" }),
      JSON.stringify({ ...secret, d: undefined }),
      JSON.stringify({ ...secret, x: new TestKey(5).x }),
    ];
    for (const [index, text] of files.entries()) {
      const file = `${folder}/bad${index}.jwk`;
      await Deno.writeTextFile(file, text);
      const result = await issue(file);
      assertEquals(result.code, ExitCode.Token, text);
      assertStringIncludes(result.err, "holds no Ed25519 key pair");
      assert(!result.err.includes(secret.d) && !result.err.includes("SECRET"));
    }
  });
});

Deno.test("`token inspect` shows what a token says, and fails where it is not good", async () => {
  await withKey(async (keyFile, publicKey, folder) => {
    const { out: token } = await issue(keyFile);
    const good = await run("token", "inspect", "--token", token);
    assertEquals(good.code, ExitCode.Ok);
    for (const text of ["alice", "player", "room", PIN, new TestKey(2).x, publicKey]) {
      assertStringIncludes(good.out, text);
    }
    assertStringIncludes(good.out, "signature  good for the issuer that the token names");
    const file = `${folder}/alice.jwt`;
    await Deno.writeTextFile(file, `${token}\n`);
    const checked = await run("token", "inspect", "--file", file, "--issuer", publicKey);
    assertEquals(checked.code, ExitCode.Ok);
    assertMatch(checked.out, /^signature {2}good$/m);
    const foreign = await run("token", "inspect", "--file", file, "--issuer", new TestKey(3).x);
    assertEquals(foreign.code, ExitCode.Token);
    assertStringIncludes(foreign.out, "bad: not signed by this issuer");
    const forged = token.replace(/\.[^.]*$/, `.${"A".repeat(86)}`);
    assertEquals((await run("token", "inspect", "--token", forged)).code, ExitCode.Token);
    const none = await run("token", "inspect", "--token", "abc");
    assertEquals(none.code, ExitCode.Token);
    assertStringIncludes(none.err, "This is no join token");
    for (const args of [[], ["--token", token, "--file", file]]) {
      assertEquals((await run("token", "inspect", ...args)).code, ExitCode.Usage);
    }
    const old = tokenOf(new TestKey(1), new TestKey(2), { claims: { iat: 1_000, exp: 2_000 } });
    const over = await run("token", "inspect", "--token", old);
    assertEquals(over.code, ExitCode.Token);
    assertStringIncludes(over.out, "expires    1970-01-01T00:33:20Z (over)");
  });
});

Deno.test("`token` alone names its second words", async () => {
  const { code, err } = await run("token", "isue");
  assertEquals(code, ExitCode.Usage);
  assertStringIncludes(err, "token keygen, token issue, token inspect");
});

Deno.test("`isSignedByItsIssuer()` agrees with another implementation, when it signed", async () => {
  const [issuer, holder] = [new TestKey(1), new TestKey(2)];
  const token = tokenOf(issuer, holder);
  assertEquals(await isSignedByItsIssuer(token), true);
  const kid = new TestKey(3).x;
  assertEquals(await isSignedByItsIssuer(tokenOf(issuer, holder, { header: { kid } })), false);
  assertEquals(await isSignedByItsIssuer("a.b.c"), false);
  const key = await generatePrivateKey();
  const issued = await issueJoinToken(key, {
    subject: "bob",
    role: "player",
    world: "room",
    pin: PIN,
    holder: holder.x,
    ttlS: 60,
    nowS: 1_000,
    nonce: "n",
  });
  assertEquals(await isSignedByItsIssuer(issued), true);
});

Deno.test("`isSignedBy()` of the runtime takes good signatures alone, and never throws", async () => {
  const key = new TestKey(4);
  const data = Uint8Array.of(1, 2, 3);
  const good = key.sign(data);
  assertEquals(await isSignedByRuntime(key.publicKey, good, data), true);
  assertEquals(await isSignedByRuntime(key.publicKey, good, Uint8Array.of(1, 2)), false);
  assertEquals(await isSignedByRuntime(new TestKey(5).publicKey, good, data), false);
  assertEquals(await isSignedByRuntime(key.publicKey, good.slice(1), data), false);
  assertEquals(await isSignedByRuntime(new Uint8Array(31), good, data), false);
  assertEquals(await isSignedByRuntime(new Uint8Array(32).fill(255), good, data), false);
  const answer = await new Promise((done) => verifyEd25519(key.publicKey, good, data, done));
  assertEquals(answer, true);
});
