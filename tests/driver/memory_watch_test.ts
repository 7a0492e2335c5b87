import { assertEquals } from "@std/assert";
import { MemoryWatch } from "../../driver/memory_watch.ts";
import {
  MEMORY_COLLECT_MS,
  MEMORY_SAMPLE_MS,
  MEMORY_SHED_PAUSE_MS,
} from "../../protocol/limits.ts";

const MB = 1024 * 1024;
const PAUSE = MEMORY_SHED_PAUSE_MS;

Deno.test("MemoryWatch.handleSample() is fine below 85 % of its limit, collects above it, and ends above 95 %", () => {
  for (
    const [mb, verdict] of [
      [0, "fine"],
      [849, "fine"],
      [851, "collect"],
      [949, "collect"],
      [951, "exit"],
      [5_000, "exit"],
    ] as const
  ) {
    assertEquals(new MemoryWatch(1_000).handleSample(mb * MB, 0), verdict, `${mb}`);
  }
});

Deno.test("MemoryWatch.handleSample() sheds only when the size goes on to grow after a collection, and collects after each shedding", () => {
  const watch = new MemoryWatch(1_000);
  const look = (mb: number, ms: number) => watch.handleSample(mb * MB, ms);
  assertEquals(look(860, 0), "collect");
  assertEquals(look(879, MEMORY_SAMPLE_MS), "fine", "it has not grown enough");
  assertEquals(look(861, PAUSE), "fine");
  assertEquals(look(879, MEMORY_COLLECT_MS - 1), "fine");
  assertEquals(look(879, MEMORY_COLLECT_MS), "collect", "there may be more by now");
  assertEquals(look(881, 3 * PAUSE), "shed");
  assertEquals(look(900, 3 * PAUSE + 1), "fine", "its connection is ending");
  assertEquals(look(900, 3 * PAUSE + MEMORY_SAMPLE_MS), "collect");
  assertEquals(look(900, 3 * PAUSE + 2 * MEMORY_SAMPLE_MS), "fine", "once");
  assertEquals(look(870, 4 * PAUSE), "fine");
  assertEquals(look(889, 5 * PAUSE), "fine");
  assertEquals(look(891, 6 * PAUSE), "shed", "counted from the least since");
  assertEquals(look(960, 6 * PAUSE + 1), "exit", "no pause for the end");
});

Deno.test("MemoryWatch.handleSample() begins anew below the soft bound, and collects what was held for a shed peer all the same", () => {
  const watch = new MemoryWatch(1_000);
  const look = (mb: number, ms: number) => watch.handleSample(mb * MB, ms);
  assertEquals(look(860, 0), "collect");
  assertEquals(look(890, PAUSE), "shed");
  assertEquals(look(910, PAUSE + 1), "fine");
  assertEquals(look(800, PAUSE + MEMORY_SAMPLE_MS), "collect");
  assertEquals(look(800, 2 * PAUSE), "fine");
  assertEquals(look(852, 3 * PAUSE), "collect", "not a shedding at once");
});
