import { assertEquals } from "@std/assert";
import { MemoryWatch } from "../../driver/memory_watch.ts";
import { MEMORY_SHED_PAUSE_MS } from "../../protocol/limits.ts";

const MB = 1024 * 1024;
const PAUSE = MEMORY_SHED_PAUSE_MS;

Deno.test("MemoryWatch.handleSample() is fine below 85 % of its limit, sheds above it, and ends above 95 %", () => {
  for (
    const [mb, verdict] of [[0, "fine"], [849, "fine"], [851, "shed"], [949, "shed"], [
      951,
      "exit",
    ], [5_000, "exit"]] as const
  ) {
    assertEquals(new MemoryWatch(1_000).handleSample(mb * MB, 0), verdict, `${mb}`);
  }
});

Deno.test("MemoryWatch.handleSample() sheds another peer only when the size goes on to grow, and not at once", () => {
  const watch = new MemoryWatch(1_000);
  const look = (mb: number, ms: number) => watch.handleSample(mb * MB, ms);
  assertEquals(look(860, 0), "shed");
  assertEquals(look(900, 1), "fine", "what was shed has no time to go");
  assertEquals(look(861, PAUSE), "fine");
  assertEquals(look(879, 2 * PAUSE), "fine");
  assertEquals(look(881, 3 * PAUSE), "shed");
  assertEquals(look(870, 4 * PAUSE), "fine");
  assertEquals(look(889, 5 * PAUSE), "fine");
  assertEquals(look(891, 6 * PAUSE), "shed", "counted from the least since");
  assertEquals(look(960, 6 * PAUSE + 1), "exit", "no pause for the end");
});

Deno.test("MemoryWatch.handleSample() begins anew below the soft bound", () => {
  const watch = new MemoryWatch(1_000);
  assertEquals(watch.handleSample(860 * MB, 0), "shed");
  assertEquals(watch.handleSample(800 * MB, PAUSE), "fine");
  assertEquals(watch.handleSample(852 * MB, 2 * PAUSE), "shed");
});
