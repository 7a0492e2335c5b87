import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { FairQueue } from "../../driver/fair_queue.ts";

/** Everything that waits, in its order. */
function drain<T>(queue: FairQueue<T>): T[] {
  const all: T[] = [];
  for (let one = queue.shift(); one !== undefined; one = queue.shift()) all.push(one);
  return all;
}

Deno.test("`FairQueue.push()` takes what is too much from the source that has most, its oldest or its newest", () => {
  for (
    const [gives, left] of [["oldest", ["b1", "a3", "a4"]], ["newest", ["a1", "b1", "a2"]]] as const
  ) {
    const queue = new FairQueue<string>(3, gives);
    assertEquals(
      ["a1", "b1", "a2", "a3", "a4"].map((item) => queue.push(item.charCodeAt(0), item)),
      [true, true, true, false, false],
    );
    assertEquals(drain(queue), [...left]);
    assertEquals(queue.size, 0);
  }
});

Deno.test("`FairQueue` leaves every source its share, whatever the others push, and the order as it was", () => {
  const pushes = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 200 });
  fc.assert(
    fc.property(pushes, fc.constantFrom("oldest", "newest"), (sources, gives) => {
      const most = 16;
      const queue = new FairQueue<[number, number]>(most, gives as "oldest" | "newest");
      const pushed = [0, 0, 0, 0];
      sources.forEach((source, at) => {
        queue.push(source, [source, at]);
        pushed[source]! += 1;
      });
      assertEquals(queue.size, Math.min(sources.length, most));
      const all = drain(queue);
      assertEquals(all, all.toSorted(([, a], [, b]) => a - b));
      for (const [source, count] of pushed.entries()) {
        const kept = all.filter(([one]) => one === source);
        assert(kept.length >= Math.min(count, most / 4), `${kept.length} of ${count}`);
        // What is kept is a run: the last that were pushed, or the first.
        const own = sources.flatMap((one, at) => one === source ? [at] : []);
        const newest = own.slice(own.length - kept.length);
        if (gives === "oldest") assertEquals(kept.map(([, at]) => at), newest);
      }
    }),
    { seed: 7, numRuns: 300 },
  );
});

Deno.test("`FairQueue.discard()` takes out all of one source, and gives its share to the others", () => {
  const queue = new FairQueue<string>(4, "newest");
  for (const item of ["a1", "b1", "a2", "b2"]) queue.push(item.charCodeAt(0), item);
  assertEquals(queue.discard("a".charCodeAt(0)), 2);
  assertEquals([queue.discard("a".charCodeAt(0)), queue.discard("c".charCodeAt(0))], [0, 0]);
  assertEquals(queue.size, 2);
  assert(queue.push("b".charCodeAt(0), "b3") && queue.push("a".charCodeAt(0), "a3"));
  assert(!queue.push("b".charCodeAt(0), "b4"), "the one that has most gives way");
  assertEquals(drain(queue), ["b1", "b2", "b3", "a3"]);
});

Deno.test("`FairQueue` forgets sources that have nothing in it", () => {
  const queue = new FairQueue<number>(4, "oldest");
  for (let i = 0; i < 1_000; i++) {
    queue.push(i, i);
    if (i % 3 === 0) queue.shift();
  }
  const rest = drain(queue);
  assertEquals(rest, rest.toSorted((a, b) => a - b));
  assertEquals(rest, [996, 997, 998, 999].slice(4 - rest.length));
  assert(queue.push(1, 1) && queue.push(1, 2));
  assertEquals(drain(queue), [1, 2]);
});
