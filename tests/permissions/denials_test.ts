import { assert, assertEquals } from "@std/assert";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { type DenialRecord, Denials } from "../../permissions/denials.ts";
import { Rule } from "../../permissions/gate.ts";

const BASE: DenialRecord = {
  door: "driver",
  rule: Rule.NotOwner,
  peer: 3,
  subject: "component",
  id: 7,
  fields: 0b01,
  handle: 12,
};

function drain(denials: Denials, nowMs: number): DenialReport[] {
  const all: DenialReport[] = [];
  for (let one = denials.poll(nowMs); one !== undefined; one = denials.poll(nowMs)) all.push(one);
  return all;
}

Deno.test("Denials tells who, what, which fields and why", () => {
  const denials = new Denials();
  denials.record(BASE, 5);
  assertEquals(denials.poll(5), { ...BASE, count: 1 });
  assertEquals(denials.poll(5), undefined);
  assertEquals(denials.lastMs, 5);
});

Deno.test("Denials sums equal denials and keeps others apart", () => {
  const denials = new Denials();
  for (let i = 0; i < 100_000; i++) denials.record({ ...BASE, fields: 1 << (i % 2) }, 0);
  denials.record({ ...BASE, peer: 4 }, 0);
  denials.record({ ...BASE, rule: Rule.Rate }, 0);
  denials.record({ ...BASE, id: 8, count: 6 }, 0);
  denials.record({ ...BASE, door: "remote" }, 0);
  const told = drain(denials, 0);
  assertEquals(told.map((one) => one.count), [100_000, 1, 1, 6, 1]);
  assertEquals(told[0]?.fields, 0b11);
  assertEquals(denials.total, 100_009);
  assertEquals(denials.totals.get("notOwner component 7"), 100_002);
  assertEquals(denials.totals.get("notOwner component 8"), 6);
  assertEquals(denials.unreported, 0);
});

Deno.test("Denials tells at most 20 a second, the oldest first, and loses no count", () => {
  const denials = new Denials();
  for (let id = 0; id < 50; id++) denials.record({ ...BASE, id }, 0);
  const first = drain(denials, 0);
  assertEquals(first.map((one) => one.id), Array.from({ length: 20 }, (_, id) => id));
  assertEquals(drain(denials, 49), []);
  assertEquals(drain(denials, 50).length, 1);
  assertEquals(drain(denials, 1050).length, 20);
  assertEquals(drain(denials, 100_000).length, 9);
  assertEquals(denials.total, 50);
});

Deno.test("Denials stays bounded when a hostile peer invents ids", () => {
  const denials = new Denials();
  for (let id = 0; id < 20_000; id++) denials.record({ ...BASE, id, peer: id % 1000 }, 0);
  assert(denials.totals.size <= 1025);
  assertEquals(denials.total, 20_000);
  let counted = 0;
  for (const count of denials.totals.values()) counted += count;
  assertEquals(counted, 20_000);
  let told = 0;
  for (let second = 0; second < 100; second++) {
    for (const one of drain(denials, second * 1000)) told += one.count;
  }
  assertEquals(told + denials.unreported, 20_000);
  assertEquals(told, 256);
});
