import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { STREAM_HIGH_WATER_BYTES } from "../../protocol/limits.ts";
import { SendQueue } from "../../transport/send_queue.ts";

Deno.test("`SendQueue` gives back what it took, in order, for any pushes and takes", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ push: fc.uint8Array({ maxLength: 50 }) }),
          fc.record({ take: fc.nat(70) }),
        ),
        { maxLength: 300 },
      ),
      (steps) => {
        const queue = new SendQueue();
        const pushed: number[] = [];
        const taken: number[] = [];
        let released = 0;
        for (const step of steps) {
          if ("push" in step) {
            queue.push(step.push);
            pushed.push(...step.push);
          } else {
            const bytes = queue.take(step.take);
            assertEquals(bytes.length, Math.min(step.take, pushed.length - taken.length));
            taken.push(...bytes);
            if (step.take % 2 === 0) {
              queue.release(bytes.length);
              released += bytes.length;
            }
          }
          assertEquals(queue.queuedBytes, pushed.length - taken.length);
          assertEquals(queue.bufferedBytes, pushed.length - released);
        }
        taken.push(...queue.take(Infinity));
        assertEquals(taken, pushed);
      },
    ),
    { seed: 1, numRuns: 200 },
  );
});

Deno.test("`SendQueue.push()` says to wait above the mark, `pollWritable()` says once to go on at half", () => {
  const queue = new SendQueue();
  assert(queue.push(new Uint8Array(STREAM_HIGH_WATER_BYTES)));
  assert(!queue.push(new Uint8Array(1)));
  queue.take(STREAM_HIGH_WATER_BYTES / 2);
  queue.release(STREAM_HIGH_WATER_BYTES / 2);
  assert(!queue.pollWritable());
  assert(!queue.push(new Uint8Array(0)), "it says to wait until it has said to go on");
  queue.take(1);
  queue.release(1);
  assert(queue.pollWritable());
  assert(!queue.pollWritable());
  assert(queue.push(new Uint8Array(1)));
});

Deno.test("`SendQueue.clear()` forgets everything, also that somebody waits", () => {
  const queue = new SendQueue();
  queue.push(new Uint8Array(STREAM_HIGH_WATER_BYTES + 1));
  queue.take(10);
  queue.clear();
  assertEquals([queue.bufferedBytes, queue.queuedBytes, queue.take(10).length], [0, 0, 0]);
  assert(!queue.pollWritable());
  assert(queue.push(new Uint8Array([4])));
  assertEquals(queue.take(10), new Uint8Array([4]));
});

Deno.test("`SendQueue` takes many small pieces in linear time and memory", () => {
  const queue = new SendQueue();
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < 2_000; i++) queue.push(new Uint8Array([i & 0xff]));
    for (let i = 0; i < 2_000; i += 5) {
      const bytes = queue.take(5);
      assertEquals(bytes[0], i & 0xff);
      queue.release(5);
    }
  }
  assertEquals(queue.bufferedBytes, 0);
});
