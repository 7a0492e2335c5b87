import { assert, assertEquals } from "@std/assert";
import { RowReader } from "../../replication/row_codec.ts";
import { createValue } from "../../replication/value.ts";
import type { ComponentRows } from "../../protocol/engine_messages.ts";
import { plainValues } from "../../engine/values.ts";
import { batchOf, LinkBed, rowsOf, spawnBatch } from "../support/fake_driver.ts";
import { buildComponents, SAMPLE_COMPONENTS, sampleGrants } from "../support/sample_grants.ts";

const REMOTE = 0x8000_0001;

/** The rows of a batch as plain values: `[handle, values]`. */
function readRows(bed: LinkBed, rows: ComponentRows | undefined): [number, unknown][] {
  if (rows === undefined) return [];
  const component = bed.grants.components.find(({ id }) => id === rows.componentId)!;
  const reader = new RowReader(component, rows.rows, rows.handles.length);
  return Array.from(rows.handles, (handle, i): [number, unknown] => {
    const value = createValue(component);
    assertEquals(reader.next(rows.masks[i]!, value, (h) => h).status, "row");
    return [handle, plainValues(component, value, rows.masks[i]!)];
  });
}

function sentRows(bed: LinkBed, name: string): [number, unknown][] {
  const { id } = bed.component(name);
  return readRows(bed, bed.lastBatch?.components.find(({ componentId }) => componentId === id));
}

Deno.test("spawn() gives a handle at once, and the entity goes out whole when a driver joins", () => {
  const bed = new LinkBed("client");
  const handle = bed.link.spawn({ Name: { text: "Ann" }, Avatar: { bodyPosition: [1, 2, 3] } });
  assertEquals(handle, 1);
  assertEquals(bed.link.get(handle, "Avatar")?.["headRotation"], [0, 0, 0, 1]);
  bed.join(5);
  assertEquals([...bed.lastBatch!.spawns], [1]);
  assertEquals([...bed.lastBatch!.spawnOwners], [5]);
  assertEquals(sentRows(bed, "Name"), [[1, { text: "Ann" }]]);
  const [[, avatar]] = sentRows(bed, "Avatar") as [[number, Record<string, unknown>]];
  assertEquals(avatar["bodyPosition"], [1, 2, 3]);
  assertEquals(avatar["leftHandPosition"], [0, 0, 0]);
});

Deno.test("flush() sends changes of any number as one batch, newest values only", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const handle = bed.link.spawn({ Name: { text: "Ann" }, Avatar: {} });
  bed.flush();
  for (let i = 0; i < 10; i++) {
    bed.link.set(handle, "Avatar", { bodyPosition: [i, 0, 0] });
    bed.link.set(handle, "Avatar", { headPosition: [0, i, 0] });
  }
  bed.link.set(handle, "Name", { text: "Bob" });
  const before = bed.heardOf("batch").length;
  const id = bed.flush();
  assertEquals(bed.heardOf("batch").length, before + 1);
  assertEquals(bed.lastBatch!.id, id);
  assertEquals(sentRows(bed, "Avatar"), [
    [handle, { bodyPosition: [9, 0, 0], headPosition: [0, 9, 0] }],
  ]);
  assertEquals(sentRows(bed, "Name"), [[handle, { text: "Bob" }]]);
  assertEquals(bed.flush(), 0);
  assertEquals(bed.heardOf("batch").length, before + 1);
});

Deno.test("set() refuses what the manifest, the role, the owner or a range refuses, and changes nothing", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: { text: "Ann" } });
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: { text: "Eve" }, Health: {} }));
  bed.takeLog();
  const refused: [number, string, Record<string, never[] | number | string>, string][] = [
    [own, "Secret", { text: "x" }, "undeclared component 0 f0"],
    [own, "Name", { text: "x".repeat(33) }, "size component 3 f1"],
    [own, "Name", { text: 5 }, "format component 3 f1"],
    [own, "Name", { colour: 5 }, "field component 3 f0"],
    [own, "Transform", {}, "authority component 1 f0"],
    [own, "Health", { points: 1 }, "authority component 4 f1"],
    [REMOTE, "Name", { text: "mine" }, "notOwner component 3 f1"],
    [1234, "Name", { text: "x" }, "entityUnknown component 3 f0"],
    [own, "Avatar", { bodyPosition: [NaN, 0, 0] as never[] }, "notFinite component 2 f1"],
    [own, "Avatar", { bodyPosition: [1001, 0, 0] as never[] }, "range component 2 f1"],
  ];
  for (const [handle, name, values, expected] of refused) {
    // Reports are rate-limited; each gets its own second.
    bed.nowMs += 1_000;
    const before = { ...bed.link.get(handle, name) };
    assertEquals(bed.link.set(handle, name, values), false);
    assertEquals({ ...bed.link.get(handle, name) }, before);
    const sent = bed.heardOf("batch").length;
    bed.flush();
    assertEquals(bed.heardOf("batch").length, sent);
    assertEquals(bed.takeLog(), [`denied engine ${expected} h${handle} p5 x1`], name);
  }
});

Deno.test("set() takes all fields of a call or none", () => {
  const bed = new LinkBed("server");
  const handle = bed.link.spawn({ Health: { points: 5 } });
  assert(!bed.link.set(handle, "Health", { points: 6, secret: -1 }));
  assertEquals(bed.link.get(handle, "Health"), { points: 5, secret: 0 });
});

Deno.test("spawn() gives 0 and makes nothing, when the gate refuses it", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.takeLog();
  assertEquals(bed.link.spawn({}), 0);
  assertEquals(bed.link.spawn({ Transform: {} }), 0);
  assertEquals(bed.link.spawn({ Secret: { text: "x" } }), 0);
  assertEquals(bed.link.spawn({ Name: { text: 7 } }), 0);
  assertEquals(bed.link.spawn({ Name: {} }, { owner: 6 }), 0);
  for (let i = 0; i < 4; i++) assert(bed.link.spawn({ Name: {} }) > 0);
  assertEquals(bed.link.spawn({ Name: {} }), 0);
  bed.flush();
  assertEquals(bed.world.size, 4);
  assertEquals(bed.lastBatch!.spawns.length, 4);
  assertEquals(bed.takeLog().map((line) => line.split(" ")[2]), [
    "spawnRole",
    "authority",
    "undeclared",
    "format",
    "role",
    "spawnCount",
  ]);
});

Deno.test("flush() takes up what game code changed in its world itself, and never what is not declared", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const handle = bed.link.spawn({ Name: { text: "Ann" } });
  bed.flush();
  const local = bed.world.createLocal();
  bed.world.set(local, "Name", { text: "local entity" });
  bed.world.set(handle, "Secret", { text: "canary" });
  bed.world.set(handle, "Name", { text: "Bob" });
  bed.flush();
  assertEquals(bed.lastBatch!.components.length, 1);
  assertEquals(sentRows(bed, "Name"), [[handle, { text: "Bob" }]]);
  bed.takeLog();
  bed.world.set(handle, "Name", { text: "x".repeat(99) });
  bed.world.set(handle, "Health", { points: 3 });
  const before = bed.heardOf("batch").length;
  bed.flush();
  assertEquals(bed.heardOf("batch").length, before);
  assertEquals(bed.takeLog(), [
    `denied engine authority component 4 f1 h${handle} p5 x1`,
    `denied engine size component 3 f1 h${handle} p5 x1`,
  ]);
});

Deno.test("flush() sends a component that was added later whole, and its removal", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const handle = bed.link.spawn({ Name: { text: "Ann" } });
  bed.flush();
  assert(bed.link.set(handle, "Avatar", { headPosition: [0, 2, 0] }));
  bed.flush();
  assertEquals(bed.lastBatch!.components[0]!.masks[0], bed.component("Avatar").allFields);
  assert(bed.link.remove(handle, "Avatar"));
  assert(!bed.link.remove(handle, "Avatar"));
  bed.flush();
  assertEquals([...bed.lastBatch!.removes], [handle, 2]);
  bed.world.unset(handle, "Name");
  bed.flush();
  assertEquals([...bed.lastBatch!.removes], [handle, 3]);
});

Deno.test("flush() sends a component that was removed and set again as a value, not as a removal", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const handle = bed.link.spawn({ Name: { text: "Ann" } });
  assert(bed.link.set(handle, "Avatar", {}));
  bed.flush();
  assert(bed.link.remove(handle, "Avatar"));
  assert(bed.link.set(handle, "Avatar", { headPosition: [0, 1, 0] }));
  bed.flush();
  assertEquals([...bed.lastBatch!.removes], []);
  assertEquals(bed.lastBatch!.components[0]!.masks[0], bed.component("Avatar").allFields);
});

Deno.test("despawn() goes out once; a spawn that never left takes itself back", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const handle = bed.link.spawn({ Name: {} });
  bed.flush();
  const never = bed.link.spawn({ Name: {} });
  assert(bed.link.despawn(never));
  assert(bed.link.despawn(handle));
  assert(!bed.link.despawn(handle));
  bed.flush();
  assertEquals([...bed.lastBatch!.spawns], []);
  assertEquals([...bed.lastBatch!.despawns], [handle]);
});

Deno.test("despawn() is for owners and the holder of authority alone", () => {
  const client = new LinkBed("client");
  client.join(5);
  client.say(spawnBatch(client.grants, REMOTE, 70, 6, { Name: {} }));
  assert(!client.link.despawn(REMOTE));
  assert(client.world.has(REMOTE));
  const server = new LinkBed("server");
  server.join(0);
  server.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  server.say(spawnBatch(server.grants, REMOTE, 70, 6, { Name: {} }));
  assert(server.link.despawn(REMOTE));
  server.flush();
  assertEquals([...server.lastBatch!.despawns], [REMOTE]);
});

Deno.test("flush() obeys the host's own narrowing: what may not leave is denied, and never in a row", () => {
  const grants = sampleGrants({
    components: buildComponents(
      SAMPLE_COMPONENTS.map((spec) =>
        spec.name === "Health" ? { ...spec, hostSendMask: 0b01 } : spec
      ),
    ),
  });
  const bed = new LinkBed("server", { grants });
  bed.join(0);
  assertEquals(bed.link.spawn({ Health: { points: 3, secret: 4 } }), 0);
  const handle = bed.link.spawn({ Health: { points: 3 } });
  bed.flush();
  assertEquals(bed.lastBatch!.components[0]!.masks[0], 0b01);
  assert(!bed.link.set(handle, "Health", { secret: 4 }));
  bed.world.set(handle, "Health", { secret: 4, points: 5 });
  bed.takeLog();
  bed.flush();
  assertEquals(sentRows(bed, "Health"), [[handle, { points: 5 }]]);
  assertEquals(bed.takeLog()[0], `denied engine host component 4 f2 h${handle} p0 x2`);
});

Deno.test("flush() keeps state as marks while the driver does not read, and sends the newest once it does", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  const blob = (fill: number) => ({ data: new Uint8Array(65_536).fill(fill) });
  const handles = Array.from({ length: 20 }, () => bed.link.spawn({ Blob: blob(0) }));
  bed.flush();
  bed.isReading = false;
  for (let round = 1; round <= 50; round++) {
    for (const handle of handles) bed.link.set(handle, "Blob", blob(round));
    bed.flush();
    // Two batches of 1.3 MB at most: one being written, one behind it.
    assert(bed.link.stats.backlogBytes < 3 * 1024 * 1024, `${bed.link.stats.backlogBytes}`);
  }
  assert(bed.link.stats.flushesHeldBack > 40);
  const before = bed.heardOf("batch").length;
  bed.isReading = true;
  bed.link.handleWritten();
  bed.listen();
  bed.flush();
  assert(bed.heardOf("batch").length - before <= 2);
  for (const [, value] of sentRows(bed, "Blob")) {
    assertEquals((value as { data: Uint8Array }).data[0], 50);
  }
});

Deno.test("flush() splits above 8 MiB, keeping an entity's components together where they fit", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  const data = new Uint8Array(65_536);
  const handles = Array.from({ length: 150 }, () => bed.link.spawn({ Blob: { data }, Health: {} }));
  bed.flush();
  bed.flush();
  const batches = bed.heardOf("batch");
  assert(batches.length >= 2);
  assertEquals(batches.flatMap(({ spawns }) => [...spawns]), handles);
  for (const batch of batches) {
    for (const rows of batch.components) {
      assert([...rows.handles].every((handle) => batch.spawns.includes(handle)));
    }
  }
});

Deno.test("flush() names no entity of this engine alone in a reference", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  const local = bed.world.createLocal();
  const known = bed.link.spawn({ Health: {} });
  const first = bed.link.spawn({ Everything: { target: local } });
  const second = bed.link.spawn({ Everything: { target: known } });
  bed.flush();
  const targets = sentRows(bed, "Everything").map(([handle, values]) => [
    handle,
    (values as { target: number }).target,
  ]);
  assertEquals(targets, [[first, 0], [second, known]]);
});

Deno.test("a remote value takes the place of a local one that has not left, and is not sent back", () => {
  const bed = new LinkBed("client");
  const handle = bed.link.spawn({ Name: { text: "Ann" }, Avatar: {} });
  bed.join(5);
  bed.link.set(handle, "Name", { text: "local" });
  bed.say(
    batchOf({ components: [rowsOf(bed.component("Name"), [[handle, { text: "override" }]])] }),
  );
  const before = bed.heardOf("batch").length;
  bed.flush();
  assertEquals(bed.heardOf("batch").length, before);
  assertEquals(bed.link.get(handle, "Name"), { text: "override" });
});
