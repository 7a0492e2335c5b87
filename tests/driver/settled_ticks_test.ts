import { assertEquals } from "@std/assert";
import { MAX_WATCHED_GAPS } from "../../protocol/limits.ts";
import { SettledTicks } from "../../driver/settled_ticks.ts";

const REPAIR_MS = 100;

Deno.test("SettledTicks follows the newest tick while nothing is missing", () => {
  const ticks = new SettledTicks(7);
  assertEquals(ticks.at(0, REPAIR_MS), 7);
  ticks.handleReceived(0, 8, 10);
  ticks.handleReceived(1, 8, 11);
  ticks.handleReceived(2, 11, 12);
  assertEquals(ticks.at(12, REPAIR_MS), 11);
});

Deno.test("SettledTicks holds back the ticks that a missing datagram may belong to", () => {
  const ticks = new SettledTicks(7);
  ticks.handleReceived(0, 10, 0);
  ticks.handleReceived(2, 12, 5);
  assertEquals(ticks.at(5, REPAIR_MS), 9, "of tick 10, too, a part may be missing");
  ticks.handleReceived(5, 14, 10);
  ticks.handleReceived(1, 11, 15);
  assertEquals(ticks.at(15, REPAIR_MS), 11);
  ticks.handleReceived(4, 13, 16);
  assertEquals(ticks.at(16, REPAIR_MS), 11);
  ticks.handleReceived(3, 12, 17);
  assertEquals(ticks.at(17, REPAIR_MS), 14);
});

Deno.test("SettledTicks counts the first datagrams as missing when a later one comes first", () => {
  const ticks = new SettledTicks(7);
  ticks.handleReceived(1, 8, 0);
  assertEquals(ticks.at(0, REPAIR_MS), 6);
  ticks.handleReceived(0, 8, 1);
  assertEquals(ticks.at(1, REPAIR_MS), 8);
});

Deno.test("SettledTicks gives up a datagram when its contents must have come again", () => {
  const ticks = new SettledTicks(7);
  ticks.handleReceived(0, 10, 0);
  ticks.handleReceived(2, 12, 5);
  ticks.handleReceived(3, 13, 50);
  assertEquals(ticks.at(105, REPAIR_MS), 9);
  assertEquals(ticks.at(106, REPAIR_MS), 13);
  ticks.handleReceived(1, 11, 110);
  assertEquals(ticks.at(110, REPAIR_MS), 13, "and does not mind when it comes after all");
});

Deno.test("SettledTicks watches a bounded number of gaps, whatever a peer's numbers do", () => {
  const ticks = new SettledTicks(0);
  for (let jump = 1; jump <= 100; jump++) ticks.handleReceived(jump * 30_000, jump, 0);
  // Only the last jump's gaps are left, and those after tick 99.
  assertEquals(ticks.at(0, REPAIR_MS), 98);
  const few = new SettledTicks(0);
  for (let i = 0; i <= 2 * MAX_WATCHED_GAPS; i += 2) few.handleReceived(i, i, 0);
  assertEquals(few.at(0, REPAIR_MS), -1);
  few.handleReceived(2 * MAX_WATCHED_GAPS + 2, 2 * MAX_WATCHED_GAPS + 2, 0);
  assertEquals(few.at(0, REPAIR_MS), 1, "the oldest one counts as repaired");
});
