import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";

/** Computed once; a change here breaks every recorded seed. */
const EXPECTED = [2_420_951_833, 2_513_034_076, 3_847_892_949, 4_064_752_930];

const take = (prng: Prng, count: number) => Array.from({ length: count }, () => prng.nextU32());

Deno.test("`Prng` gives the same numbers for the same seed, on every machine", () => {
  assertEquals(take(new Prng(1), 4), EXPECTED);
  assertEquals(take(new Prng(1 + 2 ** 32), 4), EXPECTED);
  assertNotEquals(take(new Prng(2), 4), EXPECTED);
});

Deno.test("`Prng.nextFloat()` and `nextBelow()` are even over their range", () => {
  const prng = new Prng(3);
  const counts = new Uint32Array(10);
  for (let i = 0; i < 100_000; i++) {
    const float = prng.nextFloat();
    assert(float >= 0 && float < 1);
    const place = prng.nextBelow(10);
    counts[place] = counts[place]! + 1;
  }
  for (const count of counts) assertAlmostEquals(count, 10_000, 500);
});

Deno.test("`Prng.chance()` draws nothing where the answer is known", () => {
  const prng = new Prng(4);
  const twin = new Prng(4);
  for (let i = 0; i < 10; i++) assertEquals([prng.chance(0), prng.chance(1)], [false, true]);
  assertEquals(prng.nextU32(), twin.nextU32());
  let hits = 0;
  for (let i = 0; i < 100_000; i++) if (prng.chance(0.3)) hits += 1;
  assertAlmostEquals(hits, 30_000, 700);
});

Deno.test("`Prng.nextGaussian()` has mean 0, deviation 1 and the tails of a bell", () => {
  const prng = new Prng(5);
  let sum = 0;
  let squares = 0;
  let beyondTwo = 0;
  const count = 100_000;
  for (let i = 0; i < count; i++) {
    const value = prng.nextGaussian();
    assert(Number.isFinite(value));
    sum += value;
    squares += value * value;
    if (Math.abs(value) > 2) beyondTwo += 1;
  }
  assertAlmostEquals(sum / count, 0, 0.02);
  assertAlmostEquals(squares / count, 1, 0.03);
  assertAlmostEquals(beyondTwo / count, 0.0455, 0.005);
});

Deno.test("`Prng.fork()` gives a source whose use does not shift its parent's", () => {
  const parent = new Prng(6);
  const child = parent.fork();
  const after = parent.nextU32();
  const again = new Prng(6);
  take(again.fork(), 100);
  assertEquals(again.nextU32(), after);
  assertNotEquals(child.nextU32(), after);
});

Deno.test("`Prng.fill()` fills every byte", () => {
  const bytes = new Uint8Array(10_000);
  new Prng(7).fill(bytes);
  assertEquals(new Set(bytes).size, 256);
});
