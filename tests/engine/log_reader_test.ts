import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { logText } from "../../engine/log_text.ts";
import { MAX_PENDING_LOGS } from "../../protocol/limits.ts";
import { LogCode, type LogLevel } from "../../protocol/log_codes.ts";
import { helloOf, LINK_GRANTS, LinkBed } from "../support/fake_driver.ts";

/** Words of one entry. */
function entry(sequence: number, ageMs: number, code: number, ...numbers: number[]): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = numbers;
  return [sequence, ageMs, code, 1, a, b, c, d];
}

/** A client's link whose driver is welcomed and has not joined. */
function welcomed(): LinkBed {
  const bed = new LinkBed("client");
  bed.connect();
  bed.say(helloOf(bed.grants, "client"));
  return bed;
}

Deno.test("readLog() asks a driver that is welcomed, and gives its entries with time, level and sentence", async () => {
  const bed = welcomed();
  const asked = bed.link.readLog({ level: "warn", since: 7 });
  bed.listen();
  const [request] = bed.heardOf("readLog");
  assertEquals([request!.level, request!.since], ["warn", 7]);
  bed.nowMs = 5_000;
  const role = LINK_GRANTS.roles[1]!;
  const entries = Uint32Array.from([
    ...entry(7, 1_500, LogCode.TokensFull),
    ...entry(8, 20, LogCode.PeerJoined, 4, role.id),
    ...entry(9, 0, LogCode.GivenUp, 66),
  ]);
  // Answers that nobody asked for are passed over.
  bed.say({ kind: "log", request: request!.request + 1, entries, next: 10 });
  bed.say({ kind: "log", request: request!.request, entries, next: 10 });
  const page = await asked;
  assertEquals(page.next, 10);
  // A driver that sends more than was asked for is not believed.
  assertEquals(page.entries.map(({ sequence }) => sequence), [7, 9]);
  assertEquals(page.entries[1], {
    sequence: 9,
    atMs: 5_000,
    level: "error",
    code: 100,
    name: "GivenUp",
    count: 1,
    numbers: [66, 0, 0, 0],
    text: "left the world for good: Kicked",
  });
  assertEquals(page.entries[0]!.atMs, 3_500);
});

Deno.test("readLog() asks for information from the oldest on, when nothing is said", async () => {
  const bed = welcomed();
  const asked = bed.link.readLog();
  bed.listen();
  const [request] = bed.heardOf("readLog");
  assertEquals([request!.level, request!.since], ["info", 0]);
  bed.say({ kind: "log", request: request!.request, entries: new Uint32Array(0), next: 1 });
  assertEquals(await asked, { entries: [], next: 1 });
});

Deno.test("readLog() rejects, when no driver is there, it is lost, the question is none or too many wait", async () => {
  const bed = new LinkBed("client");
  await assertRejects(() => bed.link.readLog(), Error, "no driver is there");
  bed.connect();
  await assertRejects(() => bed.link.readLog(), Error, "no driver is there");
  bed.say(helloOf(bed.grants, "client"));
  await assertRejects(() => bed.link.readLog({ level: "all" as LogLevel }), Error, "debug");
  await assertRejects(() => bed.link.readLog({ since: -1 }), Error, "since");
  await assertRejects(() => bed.link.readLog({ since: 0.5 }), Error, "since");
  const waiting = Array.from({ length: MAX_PENDING_LOGS }, () => bed.link.readLog());
  const ends = Promise.allSettled(waiting);
  await assertRejects(() => bed.link.readLog(), Error, `${MAX_PENDING_LOGS} parts`);
  bed.hangUp();
  for (const end of await ends) {
    assertEquals(end.status, "rejected");
    assertStringIncludes(String((end as PromiseRejectedResult).reason), "lost before it answered");
  }
});

Deno.test("EngineLink ends a driver whose log goes backwards or reads on before its end", () => {
  const wrong = [
    { entries: [...entry(3, 0, 300), ...entry(3, 0, 300)], next: 9 },
    { entries: entry(3, 0, 300), next: 3 },
    { entries: entry(0, 0, 300), next: 3 },
    { entries: [1, 2, 3], next: 3 },
  ];
  for (const { entries, next } of wrong) {
    const bed = welcomed();
    // The encoder keeps the rules, so the words of a good answer are exchanged in its bytes.
    assertEquals(sayLog(bed, entries, next), 1, JSON.stringify(entries));
  }
  const bed = welcomed();
  assertEquals(sayLog(bed, entry(3, 0, 300), 4), 0);
});

/** Sends a `log` with these words, and returns how many frames were at fault. */
function sayLog(bed: LinkBed, words: readonly number[], next: number): number {
  const bytes = new Uint8Array(Uint32Array.from(words).buffer);
  const body = [0x94, 30, 1, 0xc4, bytes.length, ...bytes, next];
  bed.sayBytes(Uint8Array.from([body.length, 0, 0, 0, ...body]));
  return bed.link.stats.faultyFrames;
}

Deno.test("`logText()` has a sentence for every code, and repeats the numbers of one that it does not know", () => {
  const sentences = Object.values(LogCode).map((code) => logText(LINK_GRANTS, code, [1, 2, 3, 4]));
  for (const text of sentences) assertEquals(/undefined|NaN|^code /.test(text), false, text);
  assertEquals(new Set(sentences).size, sentences.length);
  assertEquals(logText(LINK_GRANTS, 999, [1, 2]), "code 999: 1, 2");
});

Deno.test("`logText()` takes names from the engine's own tables, and numbers where they have none", () => {
  const [, role] = LINK_GRANTS.roles;
  const [component] = LINK_GRANTS.components;
  const joined = (id: number) => logText(LINK_GRANTS, LogCode.PeerJoined, [5, id]);
  assertEquals(joined(role!.id), `peer 5 joined as "${role!.name}"`);
  assertEquals(joined(16_000), "peer 5 joined as role 16000");
  const denied = (...numbers: number[]) => logText(LINK_GRANTS, LogCode.Denied, numbers);
  assertStringIncludes(
    denied(5, 2, 0, component!.id),
    `was denied component "${component!.name}": `,
  );
  assertStringIncludes(denied(5, 2, 0, 16_000), "was denied component 16000: ");
  assertStringIncludes(denied(5, 2, 3, 0), "was denied voice: ");
  assertStringIncludes(denied(5, 2, 77, 6), "was denied subject 77 6: ");
  assertStringIncludes(logText(LINK_GRANTS, LogCode.TokenRefused, [99]), "was refused: 99");
});

Deno.test("`logText()` tells the day of a second as the calendar has it", () => {
  const days = [
    0,
    951_782_399,
    951_782_400,
    951_868_800,
    1_709_164_800,
    4_102_444_799,
    4_294_967_295,
  ];
  for (let second = 5_000_000; second < 4_294_967_295; second += 86_400 * 97 + 12_345) {
    days.push(second);
  }
  for (const second of days) {
    const day = new Date(second * 1000).toISOString().slice(0, 10);
    assertEquals(
      logText(LINK_GRANTS, LogCode.CertificateUntil, [second]),
      `the certificate is valid to ${day}`,
    );
  }
});
