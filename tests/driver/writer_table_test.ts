import { assert, assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { WriterTable } from "../../driver/writer_table.ts";
import { driverGrants } from "../support/driver_world.ts";

const ENTITY = makeEntityId(900, 0);

function table() {
  return new WriterTable(driverGrants({ maxEntities: 1_000 }));
}

Deno.test("WriterTable knows who wrote last, and takes the engine for it where nobody is noted", () => {
  const writers = table();
  assert(writers.isBy(ENTITY, 0, 0));
  writers.noteAdded(ENTITY, 0, 7, 0b11);
  assert(writers.isBy(ENTITY, 0, 7));
  assert(!writers.isBy(ENTITY, 0, 0));
  assert(!writers.isBy(ENTITY, 1, 7));
  writers.noteAdded(ENTITY, 0, 0, 0);
  assert(writers.isBy(ENTITY, 0, 0));
});

Deno.test("WriterTable.fieldsOf() gathers a peer's fields until somebody else writes or adds", () => {
  const writers = table();
  writers.noteAdded(ENTITY, 0, 7, 0b1);
  writers.noteWritten(ENTITY, 0, 7, 0b100);
  assertEquals(writers.fieldsOf(ENTITY, 0, 7), 0b101);
  assertEquals(writers.fieldsOf(ENTITY, 0, 8), 0);
  writers.noteWritten(ENTITY, 0, 8, 0b10);
  assertEquals(writers.fieldsOf(ENTITY, 0, 8), 0b10);
  assertEquals(writers.fieldsOf(ENTITY, 0, 7), 0);
  writers.noteAdded(ENTITY, 0, 8, 0b1);
  assertEquals(writers.fieldsOf(ENTITY, 0, 8), 0b1);
});

Deno.test("WriterTable takes no memory for what only the engine writes, and no more than its slots need", () => {
  const writers = table();
  writers.noteAdded(ENTITY, 0, 0, 0);
  assertEquals(writers.heldBytes, 0);
  writers.noteAdded(ENTITY, 0, 7, 1);
  assert(writers.heldBytes >= 8 * 901 && writers.heldBytes <= 8 * 1_001, `${writers.heldBytes}`);
});

Deno.test("WriterTable.takeUnheard() is true once for the owner that never heard of what was taken away", () => {
  const writers = table();
  const before = writers.heldBytes;
  writers.noteUnheard(ENTITY, 2, 7);
  assert(writers.heldBytes > before);
  assert(!writers.takeUnheard(ENTITY, 1, 7));
  assert(writers.takeUnheard(ENTITY, 2, 7));
  assert(!writers.takeUnheard(ENTITY, 2, 7));
  // Who got the entity since began with what there was.
  writers.noteUnheard(ENTITY, 2, 7);
  assert(!writers.takeUnheard(ENTITY, 2, 8));
  assert(!writers.takeUnheard(ENTITY, 2, 7));
});

Deno.test("WriterTable forgets what was taken away unheard, when it is there again or its entity ends", () => {
  const writers = table();
  writers.noteUnheard(ENTITY, 2, 7);
  writers.noteAdded(ENTITY, 2, 0, 0);
  assert(!writers.takeUnheard(ENTITY, 2, 7));
  writers.noteUnheard(ENTITY, 3, 7);
  writers.forget(ENTITY);
  assert(!writers.takeUnheard(ENTITY, 3, 7));
  assertEquals(writers.heldBytes, 0);
});
