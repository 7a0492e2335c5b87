// A link's rate against a model of the path: wires of all widths, that change, lose, and have others on them.

import { assert, assertEquals } from "@std/assert";
import { RateControl } from "../../driver/rate_control.ts";
import { MIN_PEER_BYTES_PER_S } from "../../protocol/limits.ts";
import { DATAGRAM, Flow, flow, HZ, SLOT_MS } from "../support/rate_model.ts";

Deno.test("`RateControl` fills a narrow wire without a queue of a round trip, when the budget is far above it", () => {
  for (const width of [10_000, 32_000, 90_000]) {
    const model = { budget: 256_000, width: () => width, baseMs: 200 };
    const { worstMs, arrived } = flow(model, 120_000, 15_000);
    // A slow wire is busy with the last two for a while.
    const datagramMs = DATAGRAM * 1000 / width;
    assert(worstMs < 200 + 2 * datagramMs, `${worstMs} ms in front of ${width} B/s`);
    assert(arrived > 0.8 * width, `${arrived} of ${width} B/s`);
  }
});

Deno.test("`RateControl` finds the budget and keeps to it, when the wire is wide", () => {
  const model = { budget: 1_000_000, width: () => 10_000_000, baseMs: 40 };
  const { control, arrived } = flow(model, 20_000, 5_000);
  assert(control.isUnlimited);
  assertEquals(control.bytesPerSecond, 1_000_000);
  assert(Math.abs(arrived - 1_000_000) < 20_000, `${arrived} B/s`);
});

Deno.test("`RateControl` follows the wire, when that gets narrow and wide again", () => {
  const width = (nowMs: number) => nowMs >= 30_000 && nowMs < 60_000 ? 15_000 : 120_000;
  const model = { budget: 100_000, width, baseMs: 100 };
  assert(flow(model, 60_000, 45_000).worstMs < 200);
  const { control } = flow(model, 120_000, 110_000);
  assert(control.bytesPerSecond > 60_000, `${control.bytesPerSecond} B/s`);
});

Deno.test("`RateControl` leaves the rate alone, when round trips vary, a quarter is lost, or little is sent", () => {
  const wide = { budget: 128_000, width: () => 10_000_000, baseMs: 60 };
  for (const model of [{ ...wide, jitterMs: 40 }, { ...wide, loss: () => 0.25 }]) {
    assert(flow(model, 60_000, 30_000).control.bytesPerSecond > 60_000);
  }
  const idle = flow({ ...wide, demand: 500 }, 60_000, 30_000);
  assertEquals(idle.control.bytesPerSecond, 128_000);
});

Deno.test("`RateControl` slows down, when most is lost without any queue, and recovers", () => {
  const loss = (nowMs: number) => nowMs >= 10_000 && nowMs < 20_000 ? 0.7 : 0;
  const model = { budget: 200_000, width: () => 10_000_000, baseMs: 100, loss };
  assert(flow(model, 20_000, 10_000).control.bytesPerSecond < 100_000);
  assert(flow(model, 60_000, 50_000).control.bytesPerSecond > 150_000);
});

Deno.test("`RateControl` takes a path that got longer for what it is, within 5 s, however much is sent and however narrow the wire", () => {
  for (const width of [30_000, 100_000, 10_000_000]) {
    for (const longMs of [70, 130, 250]) {
      for (const demand of [30_000, Infinity]) {
        const baseMs = (nowMs: number) => nowMs < 20_000 ? 20 : longMs;
        const model = { budget: 128_000, width: () => width, baseMs, demand };
        const before = flow(model, 20_000, 10_000).arrived;
        const { control, arrived } = flow(model, 35_000, 25_000);
        const what = `${width} B/s, 20 to ${longMs} ms, ${demand} B/s: ${arrived} of ${before}`;
        assert(arrived > 0.8 * before, what);
        assert(control.baseMs >= longMs, what);
      }
    }
  }
});

Deno.test("`RateControl` leaves the rate alone, when round trips are long for a moment and hardly anything is sent", () => {
  const baseMs = (nowMs: number) => nowMs % 10_000 < 500 ? 200 : 40;
  const model = { budget: 128_000, width: () => 10_000_000, baseMs, demand: 400 };
  assertEquals(flow(model, 60_000, 30_000).control.bytesPerSecond, 128_000);
});

Deno.test("`RateControl` slows down for a wire that got narrow, when there was room on it before", () => {
  const width = (nowMs: number) => nowMs < 20_000 ? 10_000_000 : 10_000;
  const model = { budget: 128_000, width, baseMs: 60, demand: 20_000 };
  const { control, arrived } = flow(model, 60_000, 30_000);
  assert(control.bytesPerSecond < 15_000, `${control.bytesPerSecond} B/s`);
  assert(arrived > 7_500, `${arrived} B/s`);
  assert(flow(model, 60_000, 45_000).worstMs < 60 + 2 * DATAGRAM * 1000 / 10_000 + 200);
});

Deno.test("`RateControl` keeps most of its rate, when three in ten are lost and few are sent", () => {
  for (const demand of [3_000, 12_000, Infinity]) {
    const model = { budget: 64_000, width: () => 10_000_000, baseMs: 60, loss: () => 0.3, demand };
    const { control } = flow(model, 120_000, 60_000);
    assert(control.bytesPerSecond > 30_000, `${control.bytesPerSecond} B/s at ${demand}`);
  }
});

Deno.test("`RateControl` slows down, when nothing comes back at all, and recovers", () => {
  const loss = (nowMs: number) => nowMs >= 10_000 && nowMs < 13_000 ? 1 : 0;
  const model = { budget: 128_000, width: () => 10_000_000, baseMs: 60, loss };
  assert(flow(model, 13_000, 10_000).control.bytesPerSecond < 40_000);
  assertEquals(flow(model, 25_000, 20_000).control.bytesPerSecond, 128_000);
});

Deno.test("`RateControl` leaves the rate alone, when a receiver answers late and in bunches", () => {
  for (const ackMs of [50, 75, 100]) {
    for (const jitterMs of [0, 40]) {
      const model = { budget: 128_000, width: () => 10_000_000, baseMs: 60, jitterMs, ackMs };
      const { control, arrived } = flow(model, 90_000, 30_000);
      const what = `${control.bytesPerSecond} B/s, ${arrived} of them arrive, ${ackMs} ms`;
      assert(control.bytesPerSecond > 60_000 && arrived > 60_000, what);
    }
  }
});

Deno.test("`RateControl` keeps more than the least rate and fills the wire, when another link has more to send on it than it carries", () => {
  for (const width of [30_000, 100_000]) {
    for (const laterMs of [0, 20_000]) {
      const model = { budget: 128_000, width: () => width, baseMs: 100 };
      const wire = { busyMs: 0 };
      const [fromMs, endMs] = [60_000, 180_000];
      const flows = [
        new Flow(model, wire, 0, fromMs, 1),
        new Flow(model, wire, laterMs, fromMs, 2),
      ];
      for (let nowMs = 0; nowMs < endMs; nowMs += SLOT_MS) {
        flows[0]!.slot(nowMs);
        if (nowMs >= laterMs) flows[1]!.slot(nowMs);
      }
      const rates = flows.map(({ arrived }) => arrived * 1000 / (endMs - fromMs));
      const what = `${rates} of ${width} B/s, ${flows[0]!.worstMs} ms, ${laterMs}`;
      assert(Math.min(...rates) > MIN_PEER_BYTES_PER_S, what);
      assert(rates[0]! + rates[1]! > 0.7 * width, what);
    }
  }
});

Deno.test("`RateControl` holds its rate on a crowded machine, where answers are late and no wire is narrow", () => {
  for (const baseMs of [5, 20, 60, 200]) {
    for (const crowdedMs of [80, 120]) {
      for (let seed = 1; seed <= 5; seed++) {
        const model = {
          budget: 128_000,
          width: () => 10_000_000,
          baseMs,
          crowdedMs,
          demand: 60_000,
        };
        const one = new Flow(model, { busyMs: 0 }, 0, 10_000, seed);
        for (let nowMs = 0; nowMs < 70_000; nowMs += SLOT_MS) {
          one.slot(nowMs);
          const rate = one.control.bytesPerSecond;
          assert(nowMs < 10_000 || rate >= 60_000, `${rate} B/s, ${baseMs} ms, ${crowdedMs} ms`);
        }
        assert(one.arrived > 60 * 59_000, `${one.arrived / 60} B/s`);
      }
    }
  }
});

Deno.test("`RateControl` fills a narrow wire without a long queue, when answers are late by chance", () => {
  for (const baseMs of [20, 100, 200]) {
    for (const width of [8_000, 30_000, 100_000]) {
      for (let seed = 1; seed <= 5; seed++) {
        const model = { budget: 128_000, width: () => width, baseMs, crowdedMs: 80 };
        const one = new Flow(model, { busyMs: 0 }, 0, 20_000, seed);
        for (let nowMs = 0; nowMs < 120_000; nowMs += SLOT_MS) one.slot(nowMs);
        const rate = one.arrived / 100;
        const what = `${one.worstMs} ms, ${rate} of ${width} B/s, ${baseMs} ms`;
        // Late answers hide a round of four slots, and a narrow wire is busy with one datagram for a while.
        assert(one.worstMs < Math.max(200, baseMs) + DATAGRAM * 1000 / width, what);
        assert(rate > 0.7 * width, what);
      }
    }
  }
});

Deno.test("`RateControl` shares a wire about evenly, from 30 s on after another link has come", () => {
  for (const width of [15_000, 30_000, 100_000]) {
    for (const baseMs of [20, 100, 200]) {
      for (const laterMs of [0, 20_000]) {
        const model = { budget: 128_000, width: () => width, baseMs, jitterMs: 3 };
        const wire = { busyMs: 0 };
        const [fromMs, endMs] = [laterMs + 30_000, laterMs + 150_000];
        const flows = [1, 2].map((seed) => new Flow(model, wire, 0, fromMs, seed));
        for (let slot = 0; slot * SLOT_MS < endMs; slot++) {
          const nowMs = slot * SLOT_MS;
          // Neither is always the first.
          for (const at of slot % 2 === 0 ? [0, 1] : [1, 0]) {
            if (at === 0 || nowMs >= laterMs) flows[at]!.slot(nowMs);
          }
        }
        const [a, b] = flows.map(({ arrived }) => arrived * 1000 / (endMs - fromMs)) as [
          number,
          number,
        ];
        const what = `${a} and ${b} of ${width} B/s, ${baseMs} ms, ${laterMs}`;
        assert(Math.max(a, b) < 2 * Math.min(a, b), what);
        assert(a + b > 0.9 * width, what);
      }
    }
  }
});

Deno.test("`RateControl` takes a join's budget in place of the steady one, until the join ends or its time is over", () => {
  const join = { bytesPerSecond: 100_000, ms: 2_000 };
  const control = new RateControl(40_000, HZ, 0, join);
  assertEquals([control.isJoining, control.bytesPerSecond], [true, 100_000]);
  control.handleSlot(1_950);
  assertEquals([control.isJoining, control.bytesPerSecond], [true, 100_000]);
  control.handleSlot(2_000);
  assertEquals([control.isJoining, control.bytesPerSecond], [false, 40_000]);

  const early = new RateControl(40_000, HZ, 0, join);
  early.endJoin();
  assertEquals([early.isJoining, early.bytesPerSecond], [false, 40_000]);

  // A join may have less than everyone: what is saved is for those who are there.
  const modest = new RateControl(256_000, HZ, 0, { bytesPerSecond: 30_000, ms: 500 });
  assertEquals(modest.bytesPerSecond, 30_000);
  modest.endJoin();
  assertEquals(modest.isUnlimited, false);

  const none = new RateControl(40_000, HZ, 0, { bytesPerSecond: 100_000, ms: 0 });
  assertEquals([none.isJoining, none.bytesPerSecond], [false, 40_000]);
});
