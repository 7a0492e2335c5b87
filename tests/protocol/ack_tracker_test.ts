import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AckTracker } from "../../protocol/ack_tracker.ts";
import { ACK_DELAY_UNKNOWN, type AckBlock } from "../../protocol/datagram.ts";
import { ACK_BLOCK_SPAN, ACK_WINDOW, MAX_UNACKED_RECEIVED } from "../../protocol/limits.ts";

/** The whole sequence numbers that a block acknowledges, newest first. */
function sequencesOf(block: AckBlock, largest: number): number[] {
  const list: number[] = [];
  let at = largest;
  block.ranges.forEach((length, i) => {
    for (let k = 0; k < length; k++, at--) if (i % 2 === 0) list.push(at);
  });
  return list;
}

Deno.test("`handleReceived()` tells new, repeated and old apart, when datagrams come in any order", () => {
  fc.assert(fc.property(fc.array(fc.nat(1_500), { maxLength: 400 }), (sequences) => {
    const tracker = new AckTracker();
    const model = new Set<number>();
    let largest = -1;
    for (const sequence of sequences) {
      const expected = sequence <= largest - ACK_WINDOW
        ? "old"
        : model.has(sequence)
        ? "duplicate"
        : "new";
      assertEquals(tracker.check(sequence), expected);
      assertEquals(tracker.handleReceived(sequence, 0), expected);
      model.add(sequence);
      largest = Math.max(largest, sequence);
      assertEquals(tracker.largest, largest);
      assertEquals(tracker.check(sequence) === "new", false);
    }
  }));
});

Deno.test("`writeBlock()` acknowledges exactly what came, when some of the last 256 were lost", () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { minLength: 1, maxLength: 900 }),
      fc.nat(100_000),
      (arrived, start) => {
        const tracker = new AckTracker();
        const came: number[] = [];
        arrived.forEach((yes, i) => {
          if (!yes) return;
          tracker.handleReceived(start + i, i);
          came.push(start + i);
        });
        const block = tracker.writeBlock(1_000);
        if (came.length === 0) return assertEquals(block, undefined);
        const largest = came.at(-1)!;
        assertEquals(block!.largest, largest % 0x10000);
        assertEquals(
          sequencesOf(block!, largest),
          came.filter((s) => s > largest - ACK_BLOCK_SPAN).reverse(),
        );
      },
    ),
  );
});

Deno.test("`writeBlock()` is nothing, when nothing came", () => {
  assertEquals(new AckTracker().writeBlock(5), undefined);
});

Deno.test("`writeBlock()` says how long the newest waited, when time passed since it came", () => {
  const tracker = new AckTracker();
  tracker.handleReceived(1, 100);
  tracker.handleReceived(0, 110);
  assertEquals(tracker.writeBlock(112.99)!.delayUnits, Math.floor(12.99 * 8));
  assertEquals(tracker.writeBlock(1e9)!.delayUnits, ACK_DELAY_UNKNOWN);
});

Deno.test("`needsAck` holds until a block is written, when datagrams ask for one", () => {
  const tracker = new AckTracker();
  assertEquals(tracker.needsAck, false);
  tracker.handleReceived(0, 0, false);
  assertEquals([tracker.unackedCount, tracker.needsAck], [0, false]);
  for (let i = 1; i <= MAX_UNACKED_RECEIVED; i++) {
    assertEquals(tracker.isAckOverdue, false);
    tracker.handleReceived(i, 0);
    tracker.handleReceived(i, 0);
  }
  assertEquals([tracker.unackedCount, tracker.isAckOverdue], [MAX_UNACKED_RECEIVED, true]);
  tracker.writeBlock(0);
  assertEquals([tracker.unackedCount, tracker.needsAck, tracker.isAckOverdue], [0, false, false]);
});

Deno.test("`check()` refuses numbers before the first, when a hostile header unwraps below 0", () => {
  const tracker = new AckTracker();
  tracker.handleReceived(3, 0);
  assertEquals(tracker.check(-1), "old");
  assertEquals(tracker.handleReceived(-1, 0), "old");
  assertEquals([...tracker.writeBlock(0)!.ranges], [1]);
});

Deno.test("`handleReceived()` forgets the window, when the number jumps far ahead", () => {
  const tracker = new AckTracker();
  for (let i = 0; i < ACK_WINDOW; i++) tracker.handleReceived(i, 0);
  tracker.handleReceived(ACK_WINDOW * 50 + 7, 0);
  assertEquals([...tracker.writeBlock(0)!.ranges], [1]);
  assert(tracker.check(ACK_WINDOW * 50 + 6) === "new");
});

Deno.test("`check()` knows exactly the last 512, when it is asked at the window's edge", () => {
  const tracker = new AckTracker();
  tracker.handleReceived(ACK_WINDOW + 88, 0);
  assertEquals([tracker.check(89), tracker.check(88)], ["new", "old"]);
});
