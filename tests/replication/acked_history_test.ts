import { assertEquals } from "@std/assert";
import {
  ACKED_TICKS,
  ACKED_VERSIONS,
  ackedBehindNewer,
  withAcked,
} from "../../replication/acked_history.ts";
import { below, createPrng } from "../support/prng.ts";

Deno.test("`ackedBehindNewer()` and `withAcked()` keep the newest, whatever the order of acknowledgements", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const prng = createPrng(seed);
    let newest = 0;
    const acked = new Set<number>();
    let history = 0;
    let reference = -1;
    for (let i = 0; i < 60; i++) {
      newest += 1 + below(prng, seed % 3 === 0 ? 40 : 3);
      // Late ones come too, but none that could have pushed others out before.
      const tick = i % 5 === 4 ? newest - 1 - below(prng, 3) : newest;
      if (reference < 0) reference = tick;
      else if (tick > reference) {
        history = ackedBehindNewer(history, tick - reference);
        acked.add(reference);
        reference = tick;
      } else if (tick < reference) {
        history = withAcked(history, reference - tick);
        acked.add(tick);
      }
      const kept: number[] = [];
      for (let bit = 0; bit < 32; bit++) {
        if ((history & (1 << bit)) !== 0) kept.push(reference - 1 - bit);
      }
      const expected = [...acked].filter((tick) => tick < reference)
        .toSorted((a, b) => b - a).slice(0, ACKED_VERSIONS)
        .filter((tick) => reference - tick <= ACKED_TICKS);
      assertEquals(kept, expected, `seed ${seed}, step ${i}`);
    }
  }
});

Deno.test("`ackedBehindNewer()` forgets what lies too far back, and shifts to the last bit", () => {
  assertEquals(ackedBehindNewer(0b1, ACKED_TICKS), 1 << 31);
  assertEquals(ackedBehindNewer(0b1, ACKED_TICKS - 1), (1 << 31) | (1 << 30));
  assertEquals(ackedBehindNewer(0b1, ACKED_TICKS + 1), 0);
  assertEquals(withAcked(0b1, ACKED_TICKS + 1), 0b1);
  assertEquals(withAcked(0b1, ACKED_TICKS), (1 << 31) | 0b1);
});
