import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import { LOG_ENTRY_WORDS, type LogOptions, LogRing } from "../../driver/log_ring.ts";
import {
  LOG_SUM_MS,
  MAX_LOG_ANSWER,
  MAX_LOG_ENTRIES,
  MAX_LOG_SUMS,
} from "../../protocol/limits.ts";
import { LogCode, type LogLevel } from "../../protocol/log_codes.ts";
import { Prng } from "../../protocol/prng.ts";

const ALL: LogOptions = { retentionSeconds: 60, logLevel: "debug" };

/** `sequence code count numbers` of every entry of a level, ages left out. */
function entriesOf(log: LogRing, nowMs: number, level: LogLevel = "debug", since = 0): string[] {
  const texts: string[] = [];
  for (;;) {
    const { entries, next } = log.read(level, since, nowMs);
    for (let at = 0; at < entries.length; at += LOG_ENTRY_WORDS) {
      const [sequence, _age, ...rest] = entries.subarray(at, at + LOG_ENTRY_WORDS);
      texts.push([sequence, ...rest].join(" "));
    }
    if (entries.length === 0) return texts;
    since = next;
  }
}

Deno.test("`LogRing.read()` gives entries with sequence, age, code, count and numbers, oldest first", () => {
  const log = new LogRing(ALL);
  log.write(LogCode.PeerJoined, 1_000, 3, 2);
  log.write(LogCode.PeerLeft, 1_500.7, 3, 67);
  const { entries, next } = log.read("debug", 0, 2_000);
  assertEquals([...entries], [
    ...[1, 1_000, LogCode.PeerJoined, 1, 3, 2, 0, 0],
    ...[2, 499, LogCode.PeerLeft, 1, 3, 67, 0, 0],
  ]);
  assertEquals(next, 3);
  assertEquals([...log.read("debug", next, 2_000).entries], []);
});

Deno.test("`LogRing.write()` writes nothing below its level, and `read()` gives nothing below the level asked for", () => {
  const log = new LogRing({ retentionSeconds: 60, logLevel: "info" });
  log.write(LogCode.Connected, 0, 1);
  log.write(LogCode.Listening, 0);
  log.write(LogCode.TokensFull, 0);
  log.write(LogCode.GivenUp, 0, 66);
  const codes = (level: LogLevel) => entriesOf(log, 0, level).map((text) => text.split(" ")[1]);
  assertEquals(codes("debug"), ["304", "204", "100"]);
  assertEquals(codes("warn"), ["204", "100"]);
  assertEquals(codes("error"), ["100"]);
  // Where reading goes on does not depend on what was passed over.
  assertEquals(log.read("error", 0, 0).next, 4);
});

Deno.test("`LogRing.handleTimer()` overwrites entries that are too old, when nothing new is written", () => {
  const log = new LogRing({ retentionSeconds: 2, logLevel: "debug" }, 8);
  for (let i = 0; i < 5; i++) log.write(LogCode.PeerJoined, i * 100, 0xdead_0000 + i, 7);
  assertEquals(log.size, 5);
  log.handleTimer(LOG_SUM_MS + 500);
  assertEquals(log.dueMs, 2_000);
  log.handleTimer(1_999.9);
  assertEquals(log.size, 5);
  log.handleTimer(2_000);
  assertEquals([log.size, log.dueMs], [4, 2_100]);
  assert(log.isCleanOutside);
  log.handleTimer(2_400);
  assertEquals([log.size, log.dueMs], [0, Infinity]);
  assert(log.isCleanOutside);
  assertEquals(entriesOf(log, 2_400), []);
});

Deno.test("`LogRing.read()` gives nothing that is too old, though no timer came", () => {
  const log = new LogRing({ retentionSeconds: 1, logLevel: "debug" });
  log.write(LogCode.PeerJoined, 0, 1);
  assertEquals(entriesOf(log, 1_000), []);
  assertEquals(log.size, 0);
});

Deno.test("`LogRing` keeps nothing at all, when the retention is zero", () => {
  const log = new LogRing({ retentionSeconds: 0, logLevel: "debug" });
  for (let i = 0; i < 100; i++) log.write(LogCode.GivenUp, i, i);
  log.handleTimer(5_000);
  assertEquals([log.size, log.byteLength, log.dueMs], [0, 0, Infinity]);
  const { entries, next } = log.read("debug", 0, 5_000);
  assertEquals([entries.length, next], [0, 1]);
});

Deno.test("`LogRing.write()` sums equal entries of a second, when they come often", () => {
  const log = new LogRing(ALL);
  for (let i = 0; i < 500; i++) log.write(LogCode.Faulty, i, 4, 14);
  log.write(LogCode.Faulty, 500, 5, 14);
  assertEquals(entriesOf(log, 500), ["1 205 1 4 14 0 0", "2 205 1 5 14 0 0"]);
  assertEquals(log.dueMs, LOG_SUM_MS);
  log.handleTimer(LOG_SUM_MS);
  assertEquals(entriesOf(log, LOG_SUM_MS).at(-1), "3 205 499 4 14 0 0");
  // What came once has no sum, and the next second begins anew.
  log.handleTimer(2 * LOG_SUM_MS);
  assertEquals(log.size, 3);
  log.write(LogCode.Faulty, 2 * LOG_SUM_MS, 4, 14);
  assertEquals(entriesOf(log, 2 * LOG_SUM_MS).at(-1), "4 205 1 4 14 0 0");
});

Deno.test("`LogRing.write()` only counts further kinds of entries, when as many as it sums came within a second", () => {
  const log = new LogRing(ALL);
  for (let i = 0; i < MAX_LOG_SUMS + 50; i++) log.write(LogCode.Denied, 0, i);
  assertEquals(log.size, MAX_LOG_SUMS);
  log.handleTimer(LOG_SUM_MS);
  const last = entriesOf(log, LOG_SUM_MS).at(-1);
  assertEquals(last, `${MAX_LOG_SUMS + 1} ${LogCode.Unwritten} 1 50 0 0 0`);
  log.write(LogCode.Denied, LOG_SUM_MS, 1);
  assertEquals(log.size, MAX_LOG_SUMS + 2);
  // A second in which all found room has nothing to tell.
  log.handleTimer(2 * LOG_SUM_MS);
  assertEquals(log.size, MAX_LOG_SUMS + 2);
});

Deno.test("`LogRing` is bounded in entries and bytes, whatever is written", () => {
  const log = new LogRing({ retentionSeconds: 86_400, logLevel: "debug" });
  const { byteLength } = log;
  assertLessOrEqual(byteLength, 64 * 1024);
  const prng = new Prng(5);
  let nowMs = 0;
  for (let i = 0; i < 20_000; i++) {
    nowMs += prng.nextBelow(40);
    log.write(LogCode.Denied, nowMs, prng.nextBelow(1_000), prng.nextBelow(20));
    if (i % 7 === 0) log.handleTimer(nowMs);
  }
  assertEquals([log.size, log.byteLength], [MAX_LOG_ENTRIES, byteLength]);
  const all = entriesOf(log, nowMs).map((text) => Number(text.split(" ")[0]));
  assertEquals(all.length, MAX_LOG_ENTRIES);
  all.forEach((sequence, i) => assertEquals(sequence, all[0]! + i));
});

Deno.test("`LogRing.read()` gives a bounded part and goes on where it ended, when there is more", () => {
  const log = new LogRing(ALL);
  for (let i = 0; i < 400; i++) {
    log.write(LogCode.PeerJoined, i * 100, i);
    log.handleTimer(i * 100);
  }
  const first = log.read("info", 0, 40_000);
  assertEquals(first.entries.length, MAX_LOG_ANSWER * LOG_ENTRY_WORDS);
  assertEquals(first.next, MAX_LOG_ANSWER + 1);
  const second = log.read("info", first.next, 40_000);
  assertEquals(second.entries.length, (400 - MAX_LOG_ANSWER) * LOG_ENTRY_WORDS);
  assertEquals(second.next, 401);
});

Deno.test("`LogRing.read()` begins with the oldest, when asked from an earlier driver's place", () => {
  const log = new LogRing(ALL);
  log.write(LogCode.Listening, 0);
  assertEquals(entriesOf(log, 0, "debug", 2), []);
  assertEquals(log.read("debug", 5_000, 0).entries.length, LOG_ENTRY_WORDS);
});

Deno.test("`LogRing` holds as a plain list does, over seeded runs of writes, reads and time", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const prng = new Prng(seed);
    const capacity = 1 + prng.nextBelow(12);
    const log = new LogRing({ retentionSeconds: 3, logLevel: "debug" }, capacity);
    let model: { sequence: number; atMs: number; number: number }[] = [];
    let nowMs = 0;
    let next = 1;
    for (let step = 0; step < 300; step++) {
      nowMs += prng.nextBelow(500);
      log.handleTimer(nowMs);
      model = model.filter(({ atMs }) => atMs + 3_000 > nowMs);
      if (prng.nextBelow(2) === 0) {
        // Every number is new, so that no sums get between.
        log.write(LogCode.PeerLost, nowMs, step);
        model.push({ sequence: next, atMs: nowMs, number: step });
        model = model.slice(-capacity);
        next += 1;
      }
      const wanted = model.map(({ sequence, number }) => `${sequence} 308 1 ${number} 0 0 0`);
      assertEquals(entriesOf(log, nowMs), wanted, `seed ${seed}, step ${step}`);
      assert(log.isCleanOutside, `seed ${seed}, step ${step}`);
    }
    assertGreater(next, 50);
  }
});
