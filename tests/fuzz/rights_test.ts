import { assertEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import { Gate } from "../../permissions/gate.ts";
import { NO_ADJUSTMENT, Rights } from "./rights.ts";
import { grantsOf, randomWorld } from "./worlds.ts";

Deno.test("Rights agree with the compiled gate on every field, role and owner of 150 random worlds", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const fuzz = randomWorld(new Prng(seed), false);
    const grants = grantsOf(fuzz, fuzz.deny);
    const rights = new Rights(fuzz.world, fuzz.deny);
    const gate = new Gate(grants);
    for (const { name, index, fields } of grants.components) {
      for (const role of grants.roles.slice(1)) {
        for (const isOwner of [true, false]) {
          const read = gate.readMask(index, role.index, isOwner);
          const write = gate.writeMask(index, role.index, isOwner, "in");
          for (const field of fields) {
            const what = `seed ${seed}: ${name}.${field.name}, ${role.name}, owner ${isOwner}`;
            const bit = 1 << field.index;
            assertEquals(
              rights.mayRead(role.name, name, field.name, isOwner),
              (read & bit) !== 0,
              what,
            );
            assertEquals(
              rights.mayWrite(role.name, name, field.name, isOwner),
              (write & bit) !== 0,
              what,
            );
          }
        }
      }
    }
  }
});

Deno.test("Rights let a grant add what the manifest lets be granted, and a revocation take anything", () => {
  const component = {
    id: 1,
    name: "C",
    fields: { a: { type: "u8" }, b: { type: "u8", read: [], write: [] } },
    authority: "owner" as const,
    read: ["all"],
    write: ["all"],
    grantable: { read: ["b"], write: [] },
  };
  const world = { roles: [{ name: "r" }], defaultRole: "r", components: [component], events: [] };
  const rights = new Rights(world, {});
  const all = new Set(["a", "b"]);
  const granted = { ...NO_ADJUSTMENT, readGranted: all, writeGranted: all };
  assertEquals(rights.mayRead("r", "C", "b", false), false);
  assertEquals(rights.mayRead("r", "C", "b", false, granted), true);
  assertEquals(rights.mayWrite("r", "C", "b", true, granted), false);
  const revoked = { ...NO_ADJUSTMENT, readRevoked: all, writeRevoked: all };
  assertEquals(rights.mayRead("r", "C", "a", true, revoked), false);
  assertEquals(rights.mayWrite("r", "C", "a", true, revoked), false);
});
