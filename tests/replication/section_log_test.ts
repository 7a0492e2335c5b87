import { assertEquals } from "@std/assert";
import { ACK_BLOCK_SPAN, SENT_LOG_ENTRIES } from "../../protocol/limits.ts";
import { SectionLog } from "../../replication/section_log.ts";
import { ENTITY_WORDS, TrackPool } from "../../replication/track_pool.ts";
import { below, createPrng } from "../support/prng.ts";

function entriesOf(log: SectionLog, sequence: number): string[] {
  const found: string[] = [];
  log.forEach(sequence, ({ entity, value, tick, piece, sentTick }) => {
    found.push(`${entity} ${value < 0 ? "header" : value} ${tick} ${piece} ${sentTick}`);
  });
  return found;
}

function manyTracks(): TrackPool {
  const pool = new TrackPool();
  for (let i = 0; i < 64; i++) pool.allocateEntity();
  return pool;
}

Deno.test("`SectionLog.forEach()` leaves out what is not tracked any more, also when its record has another use", () => {
  const pool = new TrackPool();
  const log = new SectionLog(pool);
  const [entity, other] = [pool.allocateEntity(), pool.allocateEntity()];
  const [value, kept] = [pool.allocateValue(1), pool.allocateValue(2)];
  log.begin(7, 20);
  log.add(entity, -1, 19, -1);
  log.add(other, -1, 18, -1);
  log.add(other, value, 20, -1);
  log.add(other, kept, 20, -1);
  pool.freeEntity(entity);
  pool.freeValue(value);
  const left = [`${other} header 18 -1 20`, `${other} ${kept} 20 -1 20`];
  assertEquals(entriesOf(log, 7), left);
  assertEquals([pool.allocateEntity(), pool.allocateValue(1)], [entity, value]);
  assertEquals(entriesOf(log, 7), left);
});

Deno.test("`SectionLog.forEach()` gives a datagram's entries, as often as it is asked", () => {
  const pool = new TrackPool();
  const log = new SectionLog(pool);
  const entity = pool.allocateEntity();
  const value = pool.allocateValue(3);
  log.begin(0, 10);
  log.begin(4, 11);
  log.add(entity, -1, 9, -1);
  log.add(entity, value, 11, 2);
  assertEquals(entriesOf(log, 0), []);
  for (let i = 0; i < 2; i++) {
    assertEquals(entriesOf(log, 4), [`${entity} header 9 -1 11`, `${entity} ${value} 11 2 11`]);
  }
  for (const sequence of [-1, 1, 5, 4 + SENT_LOG_ENTRIES]) {
    assertEquals(entriesOf(log, sequence), []);
  }
});

Deno.test("`SectionLog` remembers the newest datagrams, with gaps and any number of entries", () => {
  const prng = createPrng(1);
  const pool = manyTracks();
  const log = new SectionLog(pool);
  const expected = new Map<number, string[]>();
  let sequence = 0;
  for (let round = 0; round < 4_000; round++) {
    sequence += 1 + (prng() < 0.2 ? below(prng, 40) : 0) + (prng() < 0.002 ? 3_000 : 0);
    log.begin(sequence, round);
    const lines: string[] = [];
    for (let i = below(prng, prng() < 0.05 ? 60 : 4); i > 0; i--) {
      log.add(i * ENTITY_WORDS, -1, round, -1);
      lines.push(`${i * ENTITY_WORDS} header ${round} -1 ${round}`);
    }
    expected.set(sequence, lines);
    const asked = sequence - below(prng, SENT_LOG_ENTRIES);
    assertEquals(entriesOf(log, asked), expected.get(asked) ?? []);
    assertEquals(entriesOf(log, sequence - SENT_LOG_ENTRIES), []);
  }
});

Deno.test("`SectionLog.handleAcked()` forgets that datagram and no other, when acknowledgements come in any order", () => {
  const prng = createPrng(2);
  const pool = manyTracks();
  const log = new SectionLog(pool);
  const expected = new Map<number, string[]>();
  const lost = new Set<number>();
  for (let sequence = 0; sequence < 6_000; sequence++) {
    log.begin(sequence, sequence);
    const lines: string[] = [];
    for (let i = below(prng, 40); i > 0; i--) {
      log.add(i * ENTITY_WORDS, -1, sequence, -1);
      lines.push(`${i * ENTITY_WORDS} header ${sequence} -1 ${sequence}`);
    }
    expected.set(sequence, lines);
    const settled = Math.max(0, sequence - below(prng, 60));
    if (prng() < 0.05) {
      log.handleLost(settled);
      if (expected.has(settled)) lost.add(settled);
    } else if (prng() < 0.8) {
      log.handleAcked(settled);
      expected.delete(settled);
      lost.delete(settled);
    }
    const asked = Math.max(0, sequence - below(prng, SENT_LOG_ENTRIES));
    // A lost one stays until no acknowledgement can speak of it, and may go any time after.
    if (lost.has(asked) && sequence - asked >= ACK_BLOCK_SPAN) continue;
    assertEquals(entriesOf(log, asked), expected.get(asked) ?? [], `${asked} at ${sequence}`);
  }
});
