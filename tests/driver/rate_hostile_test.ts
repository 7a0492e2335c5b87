// A link's rate against receivers that lie, that are silent or that answer late, and against what is no time at all.

import { assert } from "@std/assert";
import fc from "fast-check";
import { RateControl } from "../../driver/rate_control.ts";
import { MIN_PEER_BYTES_PER_S } from "../../protocol/limits.ts";
import { DATAGRAM, flow, HZ, SLOT_MS } from "../support/rate_model.ts";

const BUDGET = 128_000;

/** What a receiver makes of one slot's datagrams. */
interface Answer {
  readonly sampleMs?: number | undefined;
  readonly acked: number;
  readonly lost: number;
}

/** Plays answers to a link that sends all it may, from a time on; returns when the last slot was. */
function play(
  control: RateControl,
  fromMs: number,
  toMs: number,
  answer: (nowMs: number) => Answer,
): void {
  for (let nowMs = fromMs; nowMs < toMs; nowMs += SLOT_MS) {
    const { sampleMs, acked, lost } = answer(nowMs);
    if (sampleMs !== undefined) control.handleSample(sampleMs);
    if (acked > 0) control.handleAcked(acked * DATAGRAM, acked);
    for (let i = 0; i < lost; i++) control.handleLost();
    control.handleSlot(nowMs);
    control.handleSent(control.bytesPerSecond / HZ);
  }
}

const HONEST: Answer = { sampleMs: 60, acked: 5, lost: 0 };

Deno.test("`RateControl` slows down to its least, when a peer never acknowledges anything", () => {
  const control = new RateControl(BUDGET, HZ, 0);
  play(control, 0, 20_000, () => ({ acked: 0, lost: 4 }));
  assert(control.bytesPerSecond < 2 * MIN_PEER_BYTES_PER_S, `${control.bytesPerSecond} B/s`);
});

Deno.test("`RateControl` slows down to its least, when silence follows after minutes in which nothing was sent", () => {
  const control = new RateControl(BUDGET, HZ, 0);
  play(control, 0, 10_000, () => HONEST);
  play(control, 10_000, 130_000, () => ({ acked: 0, lost: 0 }));
  play(control, 130_000, 150_000, () => ({ acked: 0, lost: 4 }));
  assert(control.bytesPerSecond < 2 * MIN_PEER_BYTES_PER_S, `${control.bytesPerSecond} B/s`);
});

Deno.test("`RateControl` slows down to its least, when most is lost and no acknowledgement measures the path", () => {
  const control = new RateControl(BUDGET, HZ, 0);
  play(control, 0, 30_000, () => ({ acked: 1, lost: 4 }));
  assert(control.bytesPerSecond < 2 * MIN_PEER_BYTES_PER_S, `${control.bytesPerSecond} B/s`);
});

Deno.test("`RateControl` slows down, when the only sample was an hour and nothing comes any more", () => {
  const control = new RateControl(BUDGET, HZ, 0);
  control.handleSample(3_600_000);
  play(control, 0, 60_000, () => ({ acked: 0, lost: 4 }));
  assert(control.bytesPerSecond < BUDGET / 4, `${control.bytesPerSecond} B/s`);
});

Deno.test("`RateControl` ignores a sample that is no time", () => {
  for (const sampleMs of [NaN, -1, Infinity, -Infinity]) {
    const control = new RateControl(BUDGET, HZ, 0);
    play(control, 0, 5_000, () => ({ ...HONEST, sampleMs }));
    play(control, 5_000, 10_000, () => HONEST);
    assert(control.baseMs === 60, `${control.baseMs} ms after ${sampleMs}`);
  }
});

Deno.test("`RateControl` counts a slot once in which all went that was due, however often it is told", () => {
  const control = new RateControl(BUDGET, HZ, 0);
  // A queue from 10 s on, while one slot in four has nothing left: what arrives is what the path carries.
  for (let i = 0; i < 400; i++) {
    control.handleSample(i < 200 ? 60 : 200);
    control.handleAcked(1_000, 1);
    control.handleSlot(i * SLOT_MS);
    control.handleSent(1_500);
    if (i % 4 === 0) { for (let k = 0; k < 4; k++) control.handleIdle(); }
    if (i === 225) assert(control.bytesPerSecond < 25_000, `${control.bytesPerSecond} B/s`);
  }
});

Deno.test("`RateControl` lets no queue creep up, when a little more is to be sent than the wire carries", () => {
  for (const width of [8_000, 20_000, 60_000]) {
    for (const over of [1.002, 1.005, 1.01, 1.02, 1.05, 1.1, 1.5]) {
      const model = { budget: BUDGET, width: () => width, baseMs: 40, demand: over * width };
      const { worstMs, arrived } = flow(model, 300_000, 60_000);
      const what = `${worstMs} ms, ${arrived} of ${width} B/s at ${over}`;
      assert(worstMs < 200 + 2 * DATAGRAM * 1000 / width, what);
      assert(arrived > 0.7 * width, what);
    }
  }
});

Deno.test("`RateControl` stays between the least rate and the budget, and finds back, whatever a receiver reports", () => {
  const answer = fc.record({
    sampleMs: fc.option(
      fc.oneof(fc.double(), fc.double({ min: 0, max: 500, noNaN: true }), fc.constant(0)),
      { nil: undefined },
    ),
    acked: fc.integer({ min: 0, max: 40 }),
    lost: fc.integer({ min: 0, max: 10 }),
    idle: fc.boolean(),
    slotMs: fc.oneof(fc.constant(SLOT_MS), fc.integer({ min: 0, max: 5_000 })),
    repeat: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 30 }), (answers) => {
      const control = new RateControl(BUDGET, HZ, 0);
      let nowMs = 0;
      for (const { idle, slotMs, repeat, ...one } of answers) {
        for (let i = 0; i < repeat; i++) {
          nowMs += slotMs;
          play(control, nowMs, nowMs + 1, () => one);
          if (idle) control.handleIdle();
          const rate = control.bytesPerSecond;
          assert(rate >= MIN_PEER_BYTES_PER_S && rate <= BUDGET, `${rate} B/s`);
          assert(control.baseMs >= 0, `${control.baseMs} ms`);
        }
      }
      // The time for which the shortest round trip counts, and that of a few tests.
      play(
        control,
        nowMs + 1,
        nowMs + 90_000,
        () => ({ ...HONEST, acked: Math.ceil(control.bytesPerSecond / HZ / DATAGRAM) }),
      );
      assert(control.bytesPerSecond === BUDGET, `${control.bytesPerSecond} B/s in the end`);
    }),
    { seed: 7, numRuns: 150 },
  );
});
