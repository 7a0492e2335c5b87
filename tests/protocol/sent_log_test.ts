import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AckTracker } from "../../protocol/ack_tracker.ts";
import { ACK_DELAY_UNKNOWN, type AckBlock } from "../../protocol/datagram.ts";
import { Fault } from "../../protocol/faults.ts";
import { SENT_LOG_ENTRIES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { SentLog } from "../../protocol/sent_log.ts";

function block(largest: number, ...lengths: number[]): AckBlock {
  return { largest: largest % 0x10000, delayUnits: 0, ranges: Uint16Array.from(lengths) };
}

function logWith(count: number, everyMs = 10, bytes = 100): SentLog {
  const log = new SentLog(30);
  for (let i = 0; i < count; i++) log.add(i, i * everyMs, bytes, true);
  return log;
}

Deno.test("`handleAck()` reports each datagram once, when blocks overlap", () => {
  const log = logWith(5, 1);
  assertEquals(log.inFlightBytes, 500);
  const first = log.handleAck(block(2, 2), 42);
  assertEquals([first.newlyAcked, first.lost, first.rttSampleMs], [[1, 2], [], 40]);
  assertEquals(log.inFlightBytes, 300);
  const second = log.handleAck(block(4, 5), 43);
  assertEquals([second.newlyAcked, second.lost, second.rttSampleMs], [[0, 3, 4], [], 39]);
  const third = log.handleAck(block(4, 5), 44);
  assertEquals([third.newlyAcked, third.rttSampleMs], [[], undefined]);
  assertEquals([log.inFlightBytes, log.largestAcked], [0, 4]);
});

Deno.test("`handleAck()` subtracts the peer's delay, when it measures the round trip", () => {
  const log = logWith(2);
  assertEquals(log.handleAck({ ...block(0, 1), delayUnits: 16 }, 50).rttSampleMs, 48);
  assertEquals(
    log.handleAck({ ...block(1, 1), delayUnits: ACK_DELAY_UNKNOWN }, 9_999).rttSampleMs,
    undefined,
  );
  const lying = logWith(1);
  assertEquals(lying.handleAck({ ...block(0, 1), delayUnits: 60_000 }, 50).rttSampleMs, undefined);
  assertEquals(lying.rtt.hasSample, false);
});

Deno.test("`handleAck()` changes nothing, when a block acknowledges what was never sent", () => {
  for (const bad of [block(3, 1), block(2, 4), block(40_000, 1), block(1, 1, 1, 1)]) {
    const log = logWith(3);
    const result = log.handleAck(bad, 100);
    assertEquals(result.fault, Fault.Unexpected);
    assertEquals([result.newlyAcked, result.lost, log.inFlightBytes], [[], [], 300]);
    assertEquals(log.checkAck(bad), Fault.Unexpected);
  }
  assertEquals(new SentLog(30).checkAck(block(0, 1)), Fault.Unexpected);
  assertEquals(logWith(3).checkAck(block(2, 3)), undefined);
});

Deno.test("`handleAck()` gives up a datagram, when one sent three later was acknowledged", () => {
  const log = logWith(6, 1);
  assertEquals(log.handleAck(block(2, 1), 10).lost, []);
  assertEquals(log.handleAck(block(3, 2), 10).lost, [0]);
  assertEquals(log.handleAck(block(5, 1, 1, 2), 10).lost, [1]);
  assertEquals(log.inFlightBytes, 100);
  assertEquals([log.isUnderWay(4), log.isUnderWay(0), log.isUnderWay(5)], [true, false, false]);
});

Deno.test("`handleAck()` reports it all the same, when a datagram given up is acknowledged late", () => {
  const log = logWith(5, 1);
  assertEquals(log.handleAck(block(4, 2), 20).lost, [0, 1]);
  const late = log.handleAck(block(4, 2, 1, 2), 21);
  assertEquals([late.newlyAcked, late.lost], [[0, 1], []]);
  assertEquals(log.inFlightBytes, 100);
});

Deno.test("`pollLost()` gives up by age, when a later one was acknowledged", () => {
  const log = logWith(2, 0);
  log.handleAck(block(1, 1), 100);
  assertEquals(log.pollLost(149), []);
  assertEquals(log.pollLost(151), [0]);
  assertEquals(log.pollLost(999), []);
});

Deno.test("`pollLost()` gives up the tail too, when nothing comes back any more", () => {
  const log = logWith(3, 0);
  log.handleAck(block(0, 1), 100);
  // 1.5 x 100 ms, 4 deviations of 50 ms, 30 ms of allowed delay.
  assertEquals(log.pollLost(379), []);
  assertEquals(log.pollLost(381), [1, 2]);
  assertEquals(log.inFlightBytes, 0);
});

Deno.test("`add()` counts no bytes and reports no loss, when a datagram asks for no acknowledgement", () => {
  const log = new SentLog(30);
  log.add(0, 0, 11, false);
  assertEquals(log.inFlightBytes, 0);
  assertEquals(log.pollLost(1e6), []);
  assertEquals(log.handleAck(block(0, 1), 1e6).newlyAcked, [0]);
});

Deno.test("`add()` gives the oldest up, when more are under way than are remembered", () => {
  const log = logWith(SENT_LOG_ENTRIES + 2, 0);
  assertEquals(log.pollLost(1), [0, 1]);
  assertEquals(log.inFlightBytes, SENT_LOG_ENTRIES * 100);
  const oldest = log.handleAck(block(3, 4), 1);
  assertEquals([oldest.fault, oldest.newlyAcked], [undefined, [2, 3]]);
});

Deno.test("`add()` asserts, when a sequence number is left out", () => {
  assertThrows(() => logWith(2).add(3, 0, 1, true), Error, "no gaps");
});

Deno.test("`SentLog` and `AckTracker` agree, when datagrams and acknowledgements are lost at random", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), fc.nat(60), (seed, lossPercent) => {
      const prng = new Prng(seed);
      const log = new SentLog(20);
      const tracker = new AckTracker();
      const arrived = new Set<number>();
      const acked = new Set<number>();
      const lost = new Set<number>();
      const forward: { sequence: number; at: number }[] = [];
      const back: { block: AckBlock; at: number }[] = [];
      for (let now = 0; now < 4_000; now += 10) {
        if (now < 3_000) {
          const sequence = log.nextSequence;
          log.add(sequence, now, 50, true);
          if (!prng.chance(lossPercent / 100)) {
            forward.push({ sequence, at: now + 20 + prng.nextBelow(40) });
          }
        }
        for (const item of forward.filter((f) => f.at <= now)) {
          tracker.handleReceived(item.sequence, item.at);
          arrived.add(item.sequence);
        }
        forward.splice(0, forward.length, ...forward.filter((f) => f.at > now));
        const ackBlock = tracker.writeBlock(now);
        if (ackBlock !== undefined && !prng.chance(lossPercent / 100)) {
          back.push({ block: ackBlock, at: now + 20 + prng.nextBelow(40) });
        }
        for (const item of back.filter((b) => b.at <= now)) {
          const result = log.handleAck(item.block, now);
          assertEquals(result.fault, undefined);
          for (const s of result.newlyAcked) {
            assert(!acked.has(s), "acknowledged twice");
            acked.add(s);
          }
          for (const s of result.lost) lost.add(s);
        }
        back.splice(0, back.length, ...back.filter((b) => b.at > now));
        for (const s of log.pollLost(now)) {
          assert(!lost.has(s), "lost twice");
          lost.add(s);
        }
      }
      // Whatever was acknowledged did arrive, all that arrived was acknowledged in the end, and the rest was given up.
      assertEquals([...acked].sort((a, b) => a - b), [...arrived].sort((a, b) => a - b));
      for (let s = 0; s < log.nextSequence; s++) assert(acked.has(s) || lost.has(s));
      assertEquals(log.inFlightBytes, 0);
      if (arrived.size > 0) {
        assert(log.rtt.minMs >= 40 && log.rtt.minMs <= 100, `minimum ${log.rtt.minMs}`);
      }
    }),
    { numRuns: 40 },
  );
});

Deno.test("`SentLog` goes on over the wrap, when 70,000 datagrams were sent", () => {
  const log = new SentLog(30);
  const tracker = new AckTracker();
  let acked = 0;
  for (let i = 0; i < 70_000; i++) {
    log.add(i, i, 10, true);
    tracker.handleReceived(i, i);
    if (i % 50 === 49) acked += log.handleAck(tracker.writeBlock(i)!, i).newlyAcked.length;
  }
  assertEquals([acked, log.inFlightBytes, log.largestAcked], [70_000, 0, 69_999]);
});
