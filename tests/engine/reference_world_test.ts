import { assert, assertEquals } from "@std/assert";
import { FIRST_LOCAL_HANDLE, ReferenceWorld } from "../../engine/reference_world.ts";

function changesOf(world: ReferenceWorld): string[] {
  const changes: string[] = [];
  world.takeChanges({
    changed: (handle, name, fields) => changes.push(`${handle} ${name} ${fields.join(",")}`),
    removed: (handle, name) => changes.push(`${handle} -${name}`),
  });
  return changes;
}

Deno.test("ReferenceWorld reports what game code set, once, with the fields", () => {
  const world = new ReferenceWorld();
  for (let handle = 1; handle <= 300; handle++) world.create(handle);
  world.set(7, "Health", { points: 1 });
  world.set(7, "Health", { armour: 2 });
  world.set(290, "Health", { points: 1 });
  world.set(7, "Note", { text: "x" });
  assertEquals(changesOf(world), ["7 Health points,armour", "290 Health points", "7 Note text"]);
  assertEquals(changesOf(world), []);
  assertEquals(world.read(7, "Health"), { points: 1, armour: 2 });
});

Deno.test("ReferenceWorld.write() and remove() are no changes of game code", () => {
  const world = new ReferenceWorld();
  world.create(1);
  world.write(1, "Health", { points: 1 });
  world.remove(1, "Health");
  assertEquals(changesOf(world), []);
  assertEquals(world.read(1, "Health"), undefined);
});

Deno.test("ReferenceWorld.unset() is reported as a removal, also after a change", () => {
  const world = new ReferenceWorld();
  world.create(1);
  world.set(1, "Health", { points: 1 });
  world.unset(1, "Health");
  assertEquals(changesOf(world), ["1 -Health"]);
  world.unset(1, "Health");
  assertEquals(changesOf(world), []);
});

Deno.test("ReferenceWorld.destroy() forgets values and changes, when the slot is used again", () => {
  const world = new ReferenceWorld();
  world.create(1);
  world.set(1, "Health", { points: 1 });
  world.destroy(1);
  world.create(2);
  assertEquals(world.read(2, "Health"), undefined);
  assertEquals(world.componentsOf(2), []);
  assertEquals(changesOf(world), []);
  assert(!world.has(1));
  assertEquals(world.size, 1);
});

Deno.test("ReferenceWorld.createLocal() uses handles that no link allots", () => {
  const world = new ReferenceWorld();
  const handle = world.createLocal();
  assert(handle >= FIRST_LOCAL_HANDLE);
  world.set(handle, "Secret", { text: "stays here" });
  assertEquals(world.componentsOf(handle), ["Secret"]);
  assertEquals([...world.handles()], [handle]);
});
