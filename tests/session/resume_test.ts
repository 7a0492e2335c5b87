import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
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

function table(resumeMs = 1_000): ResumeTable {
  return new ResumeTable(sha256, secret(), resumeMs);
}

/** A claim that must be good; the secret that follows. */
function claim(resume: ResumeTable, peer: number, shown: Uint8Array, nowMs = 0): Uint8Array {
  const result = resume.redeem(peer, shown, nowMs);
  assert(result.outcome === "ok", result.outcome);
  return result.next;
}

const outcome = (resume: ResumeTable, peer: number, shown: Uint8Array, nowMs = 0) =>
  resume.redeem(peer, shown, nowMs).outcome;

Deno.test("`redeem()` lets a peer back, when it shows its newest secret in time", () => {
  const resume = table();
  const first = secret();
  resume.issue(7, first);
  resume.handleLost(7, 500);
  const second = claim(resume, 7, first, 1_499);
  assertEquals(second.length, 32);
  assertNotEquals(second, first);
  resume.handleProof(7);
  assertEquals(outcome(resume, 7, first, 1_499), "used");
  assertEquals(outcome(resume, 7, second, 1e9), "ok", "connected again, nothing expires");
  assertEquals(resume.counts, { ok: 2, used: 1, expired: 0, guessed: 0 });
});

Deno.test("`redeem()` takes a secret again and gives the same next one, when nothing shows that it arrived", () => {
  const resume = table();
  const first = secret();
  resume.issue(7, first);
  const second = claim(resume, 7, first);
  resume.handleLost(7, 0);
  assertEquals(claim(resume, 7, first, 999), second);
  resume.handleLost(7, 1_000);
  assertEquals(outcome(resume, 7, first, 2_000), "expired");
  assertEquals(claim(resume, 7, second, 1_999).length, 32, "the answer may have arrived after all");
});

Deno.test("`redeem()` makes the claimed secret void, when the next one is shown", () => {
  const resume = table();
  const first = secret();
  resume.issue(7, first);
  const second = claim(resume, 7, first);
  const third = claim(resume, 7, second);
  assertEquals(outcome(resume, 7, first), "used");
  assertEquals(claim(resume, 7, second), third);
  resume.handleProof(7);
  assertEquals(outcome(resume, 7, second), "used");
  assertEquals(outcome(resume, 7, first), "guessed", "one generation is remembered");
  assertEquals(outcome(resume, 7, third), "ok");
});

Deno.test("`handleProof()` changes nothing, when nobody claimed", () => {
  const resume = table();
  const first = secret();
  resume.issue(7, first);
  resume.handleProof(7);
  resume.handleProof(8);
  assertEquals(outcome(resume, 7, first), "ok");
});

Deno.test("`redeem()` gives secrets that cannot be reckoned from older ones, when tables, peers or secrets differ", () => {
  const first = secret();
  const next = new Set<string>();
  for (const peer of [1, 2, 257]) {
    for (let i = 0; i < 3; i++) {
      const resume = table();
      resume.issue(peer, first);
      next.add(claim(resume, peer, first).toHex());
    }
  }
  next.add(sha256(first).toHex());
  assertEquals(next.size, 10);
});

Deno.test("`redeem()` refuses and counts, when a secret is guessed, of another peer, or cut", () => {
  const resume = table();
  const good = secret();
  resume.issue(1, good);
  resume.issue(2, secret());
  assertEquals(outcome(resume, 1, secret()), "guessed");
  assertEquals(outcome(resume, 2, good), "guessed");
  assertEquals(outcome(resume, 3, good), "guessed");
  assertEquals(outcome(resume, 1, good.subarray(0, 31)), "guessed");
  const flipped = good.slice();
  flipped[31]! ^= 0x80;
  assertEquals(outcome(resume, 1, flipped), "guessed");
  assertEquals(resume.counts.guessed, 5);
  assertEquals(outcome(resume, 1, good), "ok", "guesses harm nobody");
});

Deno.test("`pollExpired()` names each peer once, when its time to come back is over", () => {
  const resume = table();
  const kept = secret();
  for (const peer of [1, 2, 3]) resume.issue(peer, peer === 1 ? kept : secret());
  resume.handleLost(1, 0);
  resume.handleLost(3, 10);
  assertEquals(resume.pollExpired(999), undefined);
  assertEquals(outcome(resume, 1, kept, 1_000), "expired");
  assertEquals([resume.pollExpired(1_010), resume.pollExpired(1_010)], [1, 3]);
  assertEquals([resume.pollExpired(1e9), resume.size], [undefined, 1]);
  assertEquals(outcome(resume, 1, kept, 1_000), "guessed", "nobody of that name any more");
});

Deno.test("`forget()` closes the way back, when a peer left for good", () => {
  const resume = table();
  const good = secret();
  resume.issue(1, good);
  resume.forget(1);
  assertEquals(outcome(resume, 1, good), "guessed");
});

Deno.test("`issue()` asserts, when a secret is too short or the place is taken", () => {
  assertThrows(() => table().issue(1, new Uint8Array(16)), Error, "32 bytes");
  assertThrows(() => new ResumeTable(sha256, new Uint8Array(31), 1), Error, "32 bytes");
  const resume = table();
  resume.issue(1, secret());
  assertThrows(() => resume.issue(1, secret()), Error, "given once");
});

Deno.test("`ResumeTable` keeps no secret, when some were issued and claimed", () => {
  const hashed: string[] = [];
  const resume = new ResumeTable(
    (bytes) => {
      hashed.push(bytes.toHex());
      return sha256(bytes);
    },
    secret(),
    1_000,
  );
  const random = secret();
  const copy = random.slice();
  resume.issue(1, random);
  random.fill(0);
  assertEquals(hashed, [copy.toHex()]);
  const next = claim(resume, 1, copy);
  const again = next.slice();
  next.fill(0);
  assertEquals(claim(resume, 1, copy), again, "what was handed out is not what is kept");
});
