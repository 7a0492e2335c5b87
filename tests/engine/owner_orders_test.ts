import { assertEquals } from "@std/assert";
import { EntityLedger } from "../../engine/entity_ledger.ts";
import { OwnerOrders } from "../../engine/owner_orders.ts";
import { ENGINE_TIMEOUT_MS, MAX_PENDING_TRANSFERS } from "../../protocol/limits.ts";

const HANDLE = 0x8000_0001;

function bed(owner: number) {
  const clock = { nowMs: 0 };
  const orders = new OwnerOrders(() => clock.nowMs);
  const record = new EntityLedger().add(HANDLE, owner);
  const give = (to: number) => {
    orders.note(record, to);
    record.owner = to;
  };
  return { clock, orders, record, give };
}

Deno.test("OwnerOrders.late() has everyone who owned the entity since the driver named an owner, when orders follow on one another", () => {
  const { orders, record, give } = bed(6);
  assertEquals(orders.late(record), []);
  give(7);
  assertEquals(orders.late(record), [6]);
  give(0);
  give(8);
  assertEquals(orders.late(record), [6, 7]);
  orders.handleNamed(record, 7);
  assertEquals(orders.late(record), [7]);
  orders.handleNamed(record, 0);
  assertEquals(orders.late(record), []);
  orders.handleNamed(record, 8);
  give(8);
  assertEquals(orders.late(record), []);
});

Deno.test("OwnerOrders.late() is empty, when ENGINE_TIMEOUT_MS have passed since the last order", () => {
  const { clock, orders, record, give } = bed(6);
  give(0);
  clock.nowMs += ENGINE_TIMEOUT_MS - 1;
  assertEquals(orders.late(record), [6]);
  clock.nowMs += 1;
  assertEquals(orders.late(record), []);
  assertEquals(orders.isOlder(record, 6), false);
});

Deno.test("OwnerOrders.isOlder() knows owners that were ordered before the present one, and no others", () => {
  const { orders, record, give } = bed(6);
  give(7);
  give(0);
  give(7);
  assertEquals([6, 0, 7, 9].map((one) => orders.isOlder(record, one)), [true, true, false, false]);
  // The first order for 7; the one for the server is still to come, and the second for 7.
  orders.handleNamed(record, 7);
  assertEquals(orders.isOlder(record, 0), true);
  orders.handleNamed(record, 0);
  orders.handleNamed(record, 7);
  assertEquals(orders.isOlder(record, 0), false);
});

Deno.test("OwnerOrders keeps MAX_PENDING_TRANSFERS orders of an entity, when a driver names nobody", () => {
  const { orders, record, give } = bed(1);
  for (let i = 0; i < 3 * MAX_PENDING_TRANSFERS; i++) give(10 + i);
  assertEquals(orders.late(record).length, MAX_PENDING_TRANSFERS);
  assertEquals(orders.isOlder(record, 10 + 2 * MAX_PENDING_TRANSFERS), true);
  assertEquals(orders.isOlder(record, 10 + 2 * MAX_PENDING_TRANSFERS - 1), false);
});

Deno.test("OwnerOrders.late() forgets an owner ENGINE_TIMEOUT_MS after the order that took its entity, when orders go on and on", () => {
  const { clock, orders, record, give } = bed(6);
  give(7);
  for (let i = 0; i < 4; i++) {
    clock.nowMs += ENGINE_TIMEOUT_MS / 5;
    give(i % 2 === 0 ? 0 : 7);
  }
  assertEquals(orders.late(record), [6]);
  clock.nowMs += ENGINE_TIMEOUT_MS / 5;
  // The first order counts by now, those after it are under way.
  give(8);
  assertEquals(orders.late(record), [7]);
  assertEquals(orders.isOlder(record, 0), true);
});

Deno.test("OwnerOrders.late() forgets an owner in time, when more orders than are remembered come at once", () => {
  const { clock, orders, record, give } = bed(6);
  give(7);
  clock.nowMs += ENGINE_TIMEOUT_MS - 1;
  for (let i = 0; i < 2 * MAX_PENDING_TRANSFERS; i++) give(100 + i);
  assertEquals(orders.late(record).includes(6), true);
  clock.nowMs += 1;
  assertEquals(orders.late(record).includes(6), false);
});
