import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EventQueue } from "../../transport/event_queue.ts";

Deno.test("`EventQueue` runs actions by time, and those of one time in the order they came", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(20)), { maxLength: 200 }), (steps) => {
      const queue = new EventQueue();
      const model: { atMs: number; order: number }[] = [];
      const ran: number[] = [];
      const expected: number[] = [];
      const pop = () => {
        model.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
        assertEquals(queue.nextMs, model[0]?.atMs);
        const next = model.shift();
        if (next !== undefined) expected.push(next.order);
        queue.pop()?.();
        assertEquals(queue.size, model.length);
      };
      steps.forEach((atMs, order) => {
        if (atMs === null) pop();
        else {
          queue.push(atMs, () => ran.push(order));
          model.push({ atMs, order });
        }
      });
      while (model.length > 0) pop();
      pop();
      assertEquals(ran, expected);
    }),
    { seed: 4, numRuns: 300 },
  );
});
