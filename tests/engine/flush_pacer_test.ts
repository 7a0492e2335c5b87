import { assert } from "@std/assert";
import { FlushPacer } from "../../engine/flush_pacer.ts";
import { SUBTICKS } from "../../protocol/timeline_units.ts";
import { createPrng } from "../support/prng.ts";

const TICK_MS = 1000 / 30;

/** Flushes for `count` ticks against a timeline shifted by `offsetMs`; returns how far from the middle each was meant to be. */
function pace(offsetMs: number, count: number, jitterMs: number, seed: number): number[] {
  const prng = createPrng(seed);
  const pacer = new FlushPacer(30, 0);
  const errors: number[] = [];
  for (let batch = 1; batch <= count; batch++) {
    const meant = pacer.nextMs;
    const now = meant + prng() * jitterMs;
    pacer.handleFlushed(batch, now);
    const time = Math.floor((now + offsetMs) / TICK_MS * SUBTICKS);
    pacer.handleStamped(batch, time);
    const phase = ((meant + offsetMs) / TICK_MS) % 1;
    errors.push(Math.abs(phase - 0.5) * TICK_MS);
  }
  return errors;
}

Deno.test("`FlushPacer` settles in the middle of a tick, whatever the phase it begins with", () => {
  for (let offset = 1; offset < 34; offset += 2) {
    const errors = pace(offset, 200, 0, 1);
    for (const error of errors.slice(100)) assert(error < 1, `offset ${offset}: ${error} ms off`);
  }
});

Deno.test("`FlushPacer` does not run after single late frames", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const errors = pace(seed * 1.7, 300, 8, seed);
    for (const error of errors.slice(150)) assert(error < 3, `seed ${seed}: ${error} ms off`);
  }
});

Deno.test("`FlushPacer` skips the flushes that a long pause missed", () => {
  const pacer = new FlushPacer(30, 0);
  pacer.handleFlushed(1, 1_000);
  assert(pacer.nextMs > 1_000 && pacer.nextMs <= 1_000 + TICK_MS + 1);
});
