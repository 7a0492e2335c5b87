import { assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { Prng } from "../../protocol/prng.ts";
import { ResumeTable } from "../../session/resume.ts";

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const prng = new Prng(42);

function secret(): Uint8Array {
  const bytes = new Uint8Array(32);
  prng.fill(bytes);
  return bytes;
}

Deno.test("`redeem()` lets a peer back once, when it shows its secret in time", () => {
  const table = new ResumeTable(sha256, 1_000);
  const first = secret();
  table.issue(7, first);
  table.handleLost(7, 500);
  assertEquals(table.redeem(7, first, 1_499), "ok");
  const second = secret();
  table.issue(7, second);
  assertEquals(table.redeem(7, first, 1_499), "used");
  assertEquals(table.redeem(7, second, 1e9), "ok", "connected again, nothing expires");
  assertEquals(table.counts, { ok: 2, used: 1, expired: 0, guessed: 0 });
});

Deno.test("`redeem()` refuses and counts, when a secret is guessed, of another peer, or cut", () => {
  const table = new ResumeTable(sha256, 1_000);
  const good = secret();
  table.issue(1, good);
  table.issue(2, secret());
  assertEquals(table.redeem(1, secret(), 0), "guessed");
  assertEquals(table.redeem(2, good, 0), "guessed");
  assertEquals(table.redeem(3, good, 0), "guessed");
  assertEquals(table.redeem(1, good.subarray(0, 31), 0), "guessed");
  const flipped = good.slice();
  flipped[31]! ^= 0x80;
  assertEquals(table.redeem(1, flipped, 0), "guessed");
  assertEquals(table.counts.guessed, 5);
  assertEquals(table.redeem(1, good, 0), "ok", "guesses harm nobody");
});

Deno.test("`redeem()` refuses, when a used secret comes before the next is issued", () => {
  const table = new ResumeTable(sha256, 1_000);
  const good = secret();
  table.issue(1, good);
  assertEquals(table.redeem(1, good, 0), "ok");
  assertEquals(table.redeem(1, good, 0), "used");
  assertEquals(table.redeem(1, new Uint8Array(32), 0), "guessed");
});

Deno.test("`issue()` makes the older secret void, when it was never used", () => {
  const table = new ResumeTable(sha256, 1_000);
  const older = secret();
  table.issue(1, older);
  table.issue(1, secret());
  assertEquals(table.redeem(1, older, 0), "used");
});

Deno.test("`pollExpired()` names each peer once, when its time to come back is over", () => {
  const table = new ResumeTable(sha256, 1_000);
  const kept = secret();
  for (const peer of [1, 2, 3]) table.issue(peer, peer === 1 ? kept : secret());
  table.handleLost(1, 0);
  table.handleLost(3, 10);
  assertEquals(table.pollExpired(999), undefined);
  assertEquals(table.redeem(1, kept, 1_000), "expired");
  assertEquals([table.pollExpired(1_010), table.pollExpired(1_010)], [1, 3]);
  assertEquals([table.pollExpired(1e9), table.size], [undefined, 1]);
  assertEquals(table.redeem(1, kept, 1_000), "guessed", "nobody of that name any more");
});

Deno.test("`forget()` closes the way back, when a peer left for good", () => {
  const table = new ResumeTable(sha256, 1_000);
  const good = secret();
  table.issue(1, good);
  table.forget(1);
  assertEquals(table.redeem(1, good, 0), "guessed");
});

Deno.test("`issue()` asserts, when a secret is too short", () => {
  assertThrows(() => new ResumeTable(sha256, 1).issue(1, new Uint8Array(16)), Error, "32 bytes");
});

Deno.test("`ResumeTable` keeps no secret, when one was issued", () => {
  const seen: Uint8Array[] = [];
  const table = new ResumeTable((bytes) => {
    seen.push(bytes.slice());
    return sha256(bytes);
  }, 1_000);
  const random = secret();
  const copy = random.slice();
  table.issue(1, random);
  random.fill(0);
  assertEquals(seen, [copy]);
  assertEquals(table.redeem(1, copy, 0), "ok");
});
