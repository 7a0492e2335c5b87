// Fields that an owner may write, or could but for its server's host, and may not read: what they hold stays unsaid, and they keep nobody
// from writing the others.

import { assert, assertEquals } from "@std/assert";
import { driverGrants } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";

const COMPONENT = {
  id: 1,
  name: "Note",
  fields: {
    number: { type: "u32" },
    flag: { type: "bool", read: [] },
    turn: { type: "quat", bits: 8, read: [] },
    place: { type: "vec3", min: -512, max: 512, precision: 0.01, read: [] },
  },
  authority: "owner",
  read: ["all"],
  write: ["player"],
  rateHz: 60,
  spawn: { roles: ["player"], maxPerPeer: 4 },
};

const WORLD = { components: [COMPONENT], voice: undefined };

/** A client with an entity of the server's making. */
function stage(deny: Record<string, unknown>, flag: boolean) {
  const pair = new Pair({
    grants: driverGrants(WORLD, { deny: { components: deny } }),
    clientGrants: () => driverGrants(WORLD),
    seed: 3,
    clients: 1,
  }).start().joinAll();
  const client = pair.clients[0]!;
  const { engine } = pair.server;
  const owner = client.engine.peer!;
  const handle = engine.spawn({ Note: { number: 1, flag, turn: [1, 0, 0, 0] } }, { owner });
  engine.flush();
  pair.run(300);
  const theirs = client.engine.handleOf(engine.networkIdOf(handle));
  const write = (values: Record<string, number | boolean>) => {
    assert(client.engine.set(theirs, "Note", values));
    client.engine.flush();
    pair.run(200);
  };
  return { pair, client, handle, theirs, write };
}

Deno.test("ServerCore takes an owner's write beside fields that the owner was never told", () => {
  const { pair, client, handle, theirs, write } = stage({}, true);
  const believed = client.engine.get(theirs, "Note");
  assertEquals(believed, { number: 1, flag: false, turn: [0, 0, 0, 1], place: [0, 0, 0] });
  write({ number: 2 });
  assertEquals(pair.server.world.read(handle, "Note")?.["number"], 2);
  assertEquals(client.engine.get(theirs, "Note")?.["turn"], [0, 0, 0, 1]);
});

Deno.test("ServerCore's denials do not tell whether a field has the value that was guessed", () => {
  const told = [false, true].map((flag) => {
    const { pair, client, handle, write } = stage({ Note: { receive: ["flag"] } }, flag);
    let denials = 0;
    client.engine.onDenied = (denial) => denials += denial.count ?? 1;
    pair.recording = true;
    for (let number = 10; number < 20; number++) write({ number, flag: true });
    const held = pair.server.world.read(handle, "Note");
    assertEquals([held?.["number"], held?.["flag"]], [19, flag]);
    return { denials, bytes: pair.wire.down.map((chunk) => chunk.toHex()) };
  });
  assertEquals(told[0], told[1]);
});

Deno.test("a field that was granted to be written, and not to be read, keeps its value until its owner gives it another", () => {
  const component = {
    ...COMPONENT,
    fields: { ...COMPONENT.fields, dial: { type: "u32", read: [], write: [] } },
    grantable: { write: ["dial"] },
  };
  const grants = driverGrants({ components: [component], voice: undefined });
  const pair = new Pair({ grants, seed: 4, clients: 1 }).start().joinAll();
  const client = pair.clients[0]!;
  const { engine } = pair.server;
  const owner = client.engine.peer!;
  const handle = engine.spawn({ Note: { number: 1, dial: 40 } }, { owner });
  const turn = () => {
    for (const node of [engine, client.engine]) node.flush();
    pair.run(300);
  };
  turn();
  const theirs = client.engine.handleOf(engine.networkIdOf(handle));
  const held = () => {
    const values = pair.server.world.read(handle, "Note");
    return [values?.["number"], values?.["dial"]];
  };
  assert(engine.grant(owner, "Note", { write: ["dial"] }));
  turn();
  assert(client.engine.set(theirs, "Note", { number: 2 }));
  turn();
  assertEquals(held(), [2, 40]);
  assert(client.engine.set(theirs, "Note", { dial: 41 }));
  turn();
  assertEquals(held(), [2, 41]);
  assert(client.engine.set(theirs, "Note", { dial: 0 }));
  turn();
  assertEquals(held(), [2, 0]);
});

Deno.test("an entity that is handed over keeps what its new owner writes blindly, until it writes", () => {
  const { pair, client, handle, theirs, write } = stage({}, true);
  write({ number: 5 });
  const held = pair.server.world.read(handle, "Note");
  assertEquals([held?.["number"], held?.["flag"], held?.["turn"]], [5, true, [1, 0, 0, 0]]);
  write({ flag: true, number: 6 });
  write({ flag: false });
  assertEquals(pair.server.world.read(handle, "Note")?.["flag"], false);
  assertEquals(client.engine.get(theirs, "Note")?.["number"], 6);
});

Deno.test("a component whose values its owner's host keeps back stays, when the server's engine adds it", () => {
  const mask = {
    id: 2,
    name: "Mask",
    fields: { shape: { type: "u32" } },
    authority: "owner",
    read: ["all"],
    write: ["player"],
    rateHz: 60,
    spawn: { roles: ["player"], maxPerPeer: 4 },
  };
  const world = { components: [COMPONENT, mask], voice: undefined };
  const pair = new Pair({
    grants: driverGrants(world),
    clientGrants: () => driverGrants(world, { deny: { components: { Mask: { send: true } } } }),
    seed: 5,
    clients: 1,
  }).start().joinAll();
  const client = pair.clients[0]!;
  const { engine } = pair.server;
  const mine = client.engine.spawn({ Note: { number: 1 } });
  const turn = () => {
    for (const node of [engine, client.engine]) node.flush();
    pair.run(300);
  };
  turn();
  const handle = engine.handleOf(client.engine.networkIdOf(mine));
  assert(engine.set(handle, "Mask", { shape: 5 }));
  turn();
  // What the server's engine changes raises the epoch, so that a new header goes up.
  for (const number of [2, 3]) {
    assert(engine.set(handle, "Note", { number }));
    assert(client.engine.set(mine, "Note", { number: number + 10 }));
    turn();
  }
  assertEquals(engine.get(handle, "Mask"), { shape: 5 });
  assertEquals(client.engine.get(mine, "Mask"), { shape: 5 });
  assert(engine.remove(handle, "Mask"));
  turn();
  assertEquals(client.engine.get(mine, "Mask"), undefined);
});
