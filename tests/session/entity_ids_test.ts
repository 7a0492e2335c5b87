import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { entityGeneration, entitySlot, makeEntityId } from "../../protocol/entity_id.ts";
import { EntityIdAllocator, EntityIdPool } from "../../session/entity_ids.ts";

Deno.test("`allocateBlock()` hands out ascending ids from slot 1, when none was used before", () => {
  assertEquals(new EntityIdAllocator(10).allocateBlock(3), [1, 2, 3]);
});

Deno.test("`allocateBlock()` gives what is left, when the world runs out of slots", () => {
  const allocator = new EntityIdAllocator(5);
  assertEquals(allocator.allocateBlock(3).length, 3);
  assertEquals(allocator.allocateBlock(3), [4, 5]);
  assertEquals([allocator.allocateBlock(3), allocator.freeCount], [[], 0]);
});

Deno.test("`release()` gives the slot its next generation, when it comes again", () => {
  const allocator = new EntityIdAllocator(1);
  for (let generation = 0; generation < 4_100; generation++) {
    const [id] = allocator.allocateBlock(1);
    assertEquals(id, makeEntityId(1, generation % 4_096));
    allocator.release(id!);
  }
});

Deno.test("`release()` lets the slot that rested longest come first, when several are free", () => {
  const allocator = new EntityIdAllocator(100);
  allocator.allocateBlock(5);
  for (const slot of [4, 2, 5]) allocator.release(makeEntityId(slot, 0));
  assertEquals(allocator.allocateBlock(2).map(entitySlot).sort(), [2, 4]);
  assertEquals(allocator.allocateBlock(2).map(entitySlot), [6, 5]);
});

Deno.test("`release()` asserts, when an id is not handed out or of an older generation", () => {
  const allocator = new EntityIdAllocator(10);
  assertThrows(() => allocator.release(1), Error, "was handed out");
  const [id] = allocator.allocateBlock(1);
  allocator.release(id!);
  assertThrows(() => allocator.release(id!), Error, "was handed out");
});

Deno.test("`EntityIdAllocator` never hands an id out twice, when blocks and releases are random", () => {
  const step = fc.oneof(
    fc.record({ take: fc.nat(600) }),
    fc.record({ give: fc.nat(5_000), count: fc.nat(400) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const allocator = new EntityIdAllocator(3_000);
      const live = new Map<number, number>();
      const last = new Map<number, number>();
      for (const s of steps) {
        if ("take" in s) {
          const block = allocator.allocateBlock(s.take);
          assertEquals(block.length, Math.min(s.take, 3_000 - live.size));
          block.forEach((id, i) => {
            const slot = entitySlot(id);
            assert(slot >= 1 && slot <= 3_000 && !live.has(slot));
            assert(i === 0 || id > block[i - 1]!);
            if (last.has(slot)) assertEquals(entityGeneration(id), last.get(slot)! + 1);
            live.set(slot, id);
            last.set(slot, entityGeneration(id));
          });
        } else {
          const ids = [...live.values()].slice(s.give % (live.size + 1)).slice(0, s.count);
          for (const id of ids) {
            assert(allocator.isTaken(id));
            allocator.release(id);
            assert(!allocator.isTaken(id));
            live.delete(entitySlot(id));
          }
        }
        assertEquals(allocator.takenCount, live.size);
      }
    }),
  );
});

Deno.test("`EntityIdPool` gives ids in their order, when blocks are added in between", () => {
  const pool = new EntityIdPool();
  assertEquals(pool.take(), undefined);
  pool.add([5, 6]);
  assertEquals([pool.take(), pool.size], [5, 1]);
  pool.add([9]);
  assertEquals([pool.take(), pool.take(), pool.take(), pool.size], [6, 9, undefined, 0]);
  pool.add([1, 2]);
  pool.clear();
  assertEquals(pool.take(), undefined);
});

Deno.test("`release()` keeps the order of rest, when more slots are free than fit at first", () => {
  const allocator = new EntityIdAllocator(5_000);
  const first = allocator.allocateBlock(4_000);
  for (const id of first.slice(0, 700)) allocator.release(id);
  assertEquals(allocator.allocateBlock(600).map(entitySlot), first.slice(0, 600));
  for (const id of first.slice(1_000, 3_500)) allocator.release(id);
  const again = allocator.allocateBlock(2_600).map(entitySlot).sort((a, b) => a - b);
  assertEquals(again, [...first.slice(600, 700), ...first.slice(1_000, 3_500)]);
});
