import { assert, assertEquals, assertGreater } from "@std/assert";
import { encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { MAX_BATCH_BYTES, MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import { Counters } from "../../driver/counters.ts";
import { EngineOutbox } from "../../driver/engine_outbox.ts";
import { HandleTable } from "../../driver/handle_table.ts";
import type { ComponentValue } from "../../replication/value.ts";
import { driverGrants } from "../support/driver_world.ts";

const GRANTS = driverGrants();
const PROP = 2;
const BLOB = 5;

type Batch = Extract<ToEngine, { kind: "batch" }>;

/** An outbox over values that `fill` writes. */
function outboxOf(fill: (id: number, c: number, out: ComponentValue) => void) {
  const handles = new HandleTable();
  const outbox = new EngineOutbox(GRANTS, handles, {
    readValue: (id, c, out) => {
      fill(id, c, out);
      return GRANTS.components[c]!.allFields;
    },
    valueTime: () => 64,
    ownerOf: () => 1,
    epochOf: () => 0,
    zoneOf: (id) => id === 3 ? 9 : 0,
  }, new Counters());
  const drain = () => {
    const batches: Batch[] = [];
    for (let one = outbox.poll(1, true); one !== undefined; one = outbox.poll(1, true)) {
      assert(one.kind === "batch");
      batches.push(one);
    }
    return batches;
  };
  return { outbox, handles, drain };
}

Deno.test("`EngineOutbox.poll()` cuts what is larger than a frame into batches of whole entities, when much waits", () => {
  const data = new Uint8Array(65_536).fill(7);
  const { outbox, drain } = outboxOf((_id, _c, out) => {
    out.blobs[0] = data;
  });
  for (let id = 1; id <= 400; id++) {
    outbox.markSpawn(id);
    outbox.markValue(id, BLOB);
  }
  const batches = drain();
  assertGreater(batches.length, 2);
  let spawns = 0;
  for (const batch of batches) {
    const bytes = encodeToEngine(batch).length;
    assert(bytes < MAX_ENGINE_FRAME_BYTES && bytes < MAX_BATCH_BYTES * 1.1, `${bytes} bytes`);
    // An entity comes with its components.
    assertEquals(batch.components[0]!.handles, batch.spawns);
    spawns += batch.spawns.length;
  }
  assertEquals(spawns, 400);
});

Deno.test("`EngineOutbox.poll()` tells of ends before it tells of beginnings, when both wait", () => {
  const { outbox, handles, drain } = outboxOf(() => {});
  outbox.markSpawn(5);
  drain();
  const old = handles.handleOf(5);
  outbox.markSpawn(6);
  outbox.markDespawn(5);
  const batches = drain();
  assertEquals(batches.map((batch) => [[...batch.despawns], [...batch.spawnIds]]), [
    [[old], []],
    [[], [6]],
  ]);
});

Deno.test("`EngineOutbox.poll()` names an entity again once the engine knows it, when a row came before", () => {
  const { outbox, handles, drain } = outboxOf((_id, _c, out) => {
    out.lanes[3] = 9;
  });
  outbox.markSpawn(5);
  outbox.markValue(5, PROP);
  const first = drain()[0]!;
  const target = (batch: Batch) => {
    const { rows } = batch.components[0]!;
    return new DataView(rows.buffer, rows.byteOffset).getUint32(12, true);
  };
  assertEquals(target(first), 0);
  outbox.markSpawn(9);
  const second = drain()[0]!;
  assertEquals(second.components[0]!.handles, Uint32Array.of(handles.handleOf(5)));
  assertEquals(target(second), handles.handleOf(9));
  outbox.markSpawn(10);
  assertEquals(drain()[0]!.components, [], "once is enough");
});

Deno.test("`EngineOutbox.markDespawn()` takes a spawn back, when the engine never heard of it", () => {
  const { outbox, drain } = outboxOf(() => {});
  outbox.markSpawn(5);
  outbox.markValue(5, PROP);
  outbox.markDespawn(5);
  assertEquals(drain(), []);
  assert(!outbox.hasState);
});

Deno.test("`EngineOutbox.poll()` says where a spawn begins that is in a zone, and where others are that are marked", () => {
  const { outbox, handles, drain } = outboxOf(() => {});
  handles.bind(7, 2);
  outbox.markSpawn(3);
  outbox.markSpawn(4);
  outbox.markZone(2);
  const [batch] = drain();
  assertEquals([...batch!.zones], [handles.handleOf(3), 9, 7, 0]);
  // What has ended is nowhere, and a new value moves nobody.
  outbox.markZone(3);
  outbox.markDespawn(3);
  outbox.markOwner(2);
  assertEquals(drain().map(({ zones }) => [...zones]), [[]]);
});
