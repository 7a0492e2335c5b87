import { assertEquals } from "@std/assert";
import { COHORTS, Cohorts, STEP_TICKS } from "../../replication/cohorts.ts";
import { below, createPrng } from "../support/prng.ts";

/** What a plain list says of a cohort: bit `i` for the tick `i` before the present one. */
function word(list: readonly { tick: number; cohort: number }[], cohort: number, now: number) {
  let bits = 0;
  for (const one of list) {
    const age = now - one.tick;
    if (one.cohort === cohort && age < STEP_TICKS) bits |= 1 << age;
  }
  return bits;
}

Deno.test("`Cohorts` says of each tick's datagrams what a list of them would, when they come late, twice or not at all", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const prng = createPrng(seed);
    const cohorts = new Cohorts();
    const sent: { tick: number; cohort: number; sequence: number }[] = [];
    const acked: typeof sent = [];
    const lost: typeof sent = [];
    // Ticks beyond 2^31, and numbers that other datagrams take as well.
    let tick = seed % 2 === 0 ? 5 : 2 ** 31 - 50;
    let sequence = below(prng, 1_000);
    for (let i = 0; i < 300; i++) {
      tick += prng() < 0.05 ? 1 + below(prng, 40) : 1;
      cohorts.advance(tick);
      for (let cohort = 0; cohort < below(prng, COHORTS + 1); cohort++) {
        sequence += 1 + below(prng, 3);
        cohorts.noteSent(cohort, sequence);
        sent.push({ tick, cohort, sequence });
      }
      for (let k = 0; k < 3; k++) {
        const one = sent[sent.length - 1 - below(prng, Math.min(sent.length, 100))];
        if (one === undefined) continue;
        if (prng() < 0.6) {
          cohorts.handleAcked(one.sequence);
          acked.push(one);
        } else {
          cohorts.handleLost(one.sequence);
          lost.push(one);
        }
      }
      // Of a number that was never given, or so long ago that another has its place.
      cohorts.handleAcked(sequence + 7);
      cohorts.handleLost(Math.max(0, sequence - 20_000));
      for (let cohort = 0; cohort < COHORTS; cohort++) {
        const context = `seed ${seed}, tick ${tick}, cohort ${cohort}`;
        assertEquals(cohorts.sent[cohort], word(sent, cohort, tick), context);
        assertEquals(cohorts.acked[cohort], word(acked, cohort, tick), context);
        assertEquals(cohorts.lost[cohort], word(lost, cohort, tick), context);
      }
      const last = sent.at(-1);
      if (last !== undefined && tick - last.tick < STEP_TICKS) {
        assertEquals(cohorts.sequenceOf(last.cohort, tick - last.tick), last.sequence);
      }
    }
  }
});
