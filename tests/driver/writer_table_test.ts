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
