import { assertEquals } from "@std/assert";
import {
  ACKED_TICKS,
  ACKED_VERSIONS,
  ackedBehindNewer,
  foretellingOf,
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

Deno.test("`foretellingOf()` takes whole units, all five or the first two, and what there is where one of those is missing", () => {
  // Bit `i` is the version `i + 1` ticks before the reference.
  const cases: readonly (readonly [history: number, chosen: number])[] = [
    [0, 0],
    [0b1, 0b1],
    // All five, and what lies behind is no matter.
    [0b11111, 0b11111],
    [0b1111111, 0b11111],
    [0b1011111, 0b11111],
    // The first two, whichever of the others is missing, or not there yet.
    [0b11, 0b11],
    [0b111, 0b11],
    [0b1111, 0b11],
    [0b1101111, 0b11],
    [0b1110111, 0b11],
    [0b1111011, 0b11],
    [0b1010011, 0b11],
    // The first or second is missing.
    [0b1111110, 0b11110],
    [0b1111101, 0b11101],
    [0b100, 0b100],
    // Of every second and every third tick.
    [0b1010101010, 0b1010101010],
    [0b10101010101010, 0b1010101010],
    [0b10100000001010, 0b1010],
    [0b100100000100100, 0b100100],
    // The least gap is the unit, wherever it is.
    [0b110000010, 0b10],
    // Longer ago than there are ticks to remember.
    [1 << 31, 1 << 31],
    [(1 << 31) | (1 << 15), (1 << 31) | (1 << 15)],
  ];
  for (const [history, chosen] of cases) {
    assertEquals(foretellingOf(history).toString(2), chosen.toString(2), history.toString(2));
  }
});
