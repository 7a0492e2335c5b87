import { assertEquals } from "@std/assert";
import { ACKED_VERSIONS, AckedVersions } from "../../replication/acked_versions.ts";

Deno.test("`AckedVersions` keeps the newest, in order, whatever the order in which they are acknowledged", () => {
  const acked = new AckedVersions();
  for (const tick of [5, 9, 7, 9, 3, 20, 12, 1, 15, 14, 13, 2]) {
    acked.add(tick, tick + 100, tick / 2, -tick);
  }
  const ticks = Array.from({ length: acked.count }, (_, i) => acked.linkTick(i));
  assertEquals(ticks, [20, 15, 14, 13, 12, 9, 7, 5]);
  assertEquals(ticks.length, ACKED_VERSIONS);
  assertEquals(acked.worldTick(1), 115);
  assertEquals(acked.sent(1), 7.5);
  assertEquals(acked.offset(1), -15);
  acked.clear();
  assertEquals(acked.count, 0);
});
