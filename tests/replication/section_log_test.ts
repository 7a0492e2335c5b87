import { assertEquals } from "@std/assert";
import { ACK_BLOCK_SPAN, SENT_LOG_ENTRIES } from "../../protocol/limits.ts";
import { SectionLog } from "../../replication/section_log.ts";
import { EntityTrack, ValueTrack } from "../../replication/tracks.ts";
import { below, createPrng } from "../support/prng.ts";

function entriesOf(log: SectionLog, sequence: number): string[] {
  const found: string[] = [];
  log.forEach(sequence, (entry) => {
    const what = entry.value === undefined ? "header" : `${entry.value.component}`;
    found.push(`${entry.entity.id} ${what} ${entry.tick} ${entry.piece} ${entry.sentTick}`);
  });
  return found;
}

Deno.test("`SectionLog.forEach()` gives a datagram's entries, as often as it is asked", () => {
  const log = new SectionLog();
  const entity = new EntityTrack(5);
  const value = new ValueTrack(3);
  log.begin(0, 10);
  log.begin(4, 11);
  log.add(entity, undefined, 9, -1);
  log.add(entity, value, 11, 2);
  assertEquals(entriesOf(log, 0), []);
  for (let i = 0; i < 2; i++) assertEquals(entriesOf(log, 4), ["5 header 9 -1 11", "5 3 11 2 11"]);
  for (const sequence of [-1, 1, 5, 4 + SENT_LOG_ENTRIES]) {
    assertEquals(entriesOf(log, sequence), []);
  }
});

Deno.test("`SectionLog` remembers the newest datagrams, with gaps and any number of entries", () => {
  const prng = createPrng(1);
  const log = new SectionLog();
  const expected = new Map<number, string[]>();
  let sequence = 0;
  for (let round = 0; round < 4_000; round++) {
    sequence += 1 + (prng() < 0.2 ? below(prng, 40) : 0) + (prng() < 0.002 ? 3_000 : 0);
    log.begin(sequence, round);
    const lines: string[] = [];
    for (let i = below(prng, prng() < 0.05 ? 60 : 4); i > 0; i--) {
      log.add(new EntityTrack(i), undefined, round, -1);
      lines.push(`${i} header ${round} -1 ${round}`);
    }
    expected.set(sequence, lines);
    const asked = sequence - below(prng, SENT_LOG_ENTRIES);
    assertEquals(entriesOf(log, asked), expected.get(asked) ?? []);
    assertEquals(entriesOf(log, sequence - SENT_LOG_ENTRIES), []);
  }
});

Deno.test("`SectionLog.handleAcked()` forgets that datagram and no other, when acknowledgements come in any order", () => {
  const prng = createPrng(2);
  const log = new SectionLog();
  const expected = new Map<number, string[]>();
  const lost = new Set<number>();
  for (let sequence = 0; sequence < 6_000; sequence++) {
    log.begin(sequence, sequence);
    const lines: string[] = [];
    for (let i = below(prng, 40); i > 0; i--) {
      log.add(new EntityTrack(i), undefined, sequence, -1);
      lines.push(`${i} header ${sequence} -1 ${sequence}`);
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
