// Owners and the holder of authority who change the same thing at the same moment, one race a test: how it ends must not depend on which
// message was on which stretch of the way.

import { assert, assertEquals } from "@std/assert";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";

const LATENCY_MS = 40;

/** A server and two clients that see one another. */
function stage(components = driverComponents()): Pair {
  const grants = driverGrants({ components });
  const pair = new Pair({
    grants,
    seed: 5,
    clients: 2,
    conditions: { latencyMs: LATENCY_MS },
  }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  flush(pair);
  return pair;
}

function flush(pair: Pair, ms = 600): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

/** The handle of the server's entity at a client. */
function handleAt(pair: Pair, client: number, handle: number): number {
  return pair.clients[client]!.engine.handleOf(pair.server.engine.networkIdOf(handle));
}

function peerOf(pair: Pair, client: number): number {
  return pair.clients[client]!.engine.peer!;
}

function agree(pair: Pair): void {
  assertEquals(disagreements(pair), []);
}

/** What a node's engine has of a component. */
function read({ world }: Pick<PairNode, "world">, handle: number, name: string): unknown {
  return world.read(handle, name);
}

Deno.test("an entity that is given to a client and ends at once ends in its engine, which keeps its driver", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const ended: number[] = [];
  const refused: number[] = [];
  let lost = 0;
  a!.engine.onDespawn = (handle) => ended.push(handle);
  a!.engine.onSpawnRefused = (handle) => refused.push(handle);
  a!.engine.onDriverLost = () => lost += 1;
  const gift = engine.spawn({ Badge: { level: 1 } }, { owner: peerOf(pair, 0) });
  engine.flush();
  // The client has heard of it, and its header is on the way up.
  pair.until("the client has it", () => handleAt(pair, 0, gift) !== 0);
  const handle = handleAt(pair, 0, gift);
  engine.despawn(gift);
  // The end itself is late: the server's answer to that header comes first.
  pair.muted = "down";
  flush(pair, 200);
  pair.muted = undefined;
  flush(pair);
  assertEquals([ended, refused, lost], [[handle], [], 0]);
  assert(a!.core.isJoined);
  agree(pair);
});

Deno.test("ServerCore's engine takes a component of its own from a client's entity, and the owner's engine hears of it", () => {
  const pair = stage();
  const { engine } = pair.server;
  const thing = engine.spawn(
    { Badge: { level: 1 }, Score: { points: 3 } },
    { owner: peerOf(pair, 0) },
  );
  flush(pair);
  assertEquals(pair.clients[0]!.world.read(handleAt(pair, 0, thing), "Score")?.points, 3);
  engine.remove(thing, "Score");
  flush(pair);
  assertEquals(read(pair.clients[0]!, handleAt(pair, 0, thing), "Score"), undefined);
  agree(pair);
});

Deno.test("an override of one field and an owner's write to another end as one value", () => {
  const pair = stage();
  const [a] = pair.clients;
  const avatar = a!.engine.spawn({ Avatar: poseAt(3, 0, 1) });
  flush(pair);
  const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
  // The client's driver holds the server's value of the whole component, as it does after any override.
  pair.server.engine.set(atServer, "Avatar", { hand: [1, 1, 1] });
  flush(pair);
  pair.server.engine.set(atServer, "Avatar", { hand: [2, 2, 2] });
  a!.engine.set(avatar, "Avatar", { body: [4, 1, 4] });
  flush(pair);
  assertEquals(a!.world.read(avatar, "Avatar")?.body, [3, 1, 0]);
  agree(pair);
});

Deno.test("what an owner did just before the server's engine took its entity holds for driver and engine", () => {
  const pair = stage();
  const { server } = pair;
  const give = () =>
    server.engine.spawn(
      { Badge: { level: 1 }, Name: { text: "old" } },
      { owner: peerOf(pair, 0) },
    );
  const [written, stripped, ended] = [give(), give(), give()];
  flush(pair);
  const { engine } = pair.clients[0]!;
  engine.set(handleAt(pair, 0, written), "Badge", { level: 7 });
  engine.remove(handleAt(pair, 0, stripped), "Name");
  engine.despawn(handleAt(pair, 0, ended));
  engine.flush();
  const { core } = server;
  const id = server.engine.networkIdOf(ended);
  const denials: string[] = [];
  server.engine.onDenied = ({ door, rule }) => void (door === "engine" && denials.push(rule));
  // The driver has taken it, and tells its engine with the next tick; by then that has decided otherwise.
  while (core.world.isAlive(id)) pair.run(0.5);
  assert(server.world.has(ended));
  for (const handle of [written, stripped, ended]) server.engine.transfer(handle, 0);
  flush(pair);
  assertEquals(server.world.read(written, "Badge")?.level, 7);
  assertEquals(read(server, stripped, "Name"), undefined);
  assert(!server.world.has(ended));
  assertEquals(denials, []);
  agree(pair);
});

Deno.test("a client that gets an entity back says nothing of components that were taken from it meanwhile", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const thing = engine.spawn(
    { Badge: { level: 1 }, Name: { text: "old" } },
    { owner: peerOf(pair, 0) },
  );
  flush(pair);
  // What the owner says last is on its way for as long as it takes to lose the entity and get it back.
  pair.muted = "up";
  a!.engine.set(handleAt(pair, 0, thing), "Name", { text: "vetoed" });
  engine.transfer(thing, 0);
  flush(pair, 100);
  assert(!a!.engine.isOwn(handleAt(pair, 0, thing)));
  engine.remove(thing, "Name");
  flush(pair, 100);
  engine.transfer(thing, peerOf(pair, 0));
  flush(pair, 100);
  pair.muted = undefined;
  const texts: unknown[] = [];
  pair.clients[1]!.engine.onRemoteChange = (_, name, { text }) => {
    if (name === "Name") texts.push(text);
  };
  flush(pair);
  assertEquals(texts, []);
  assertEquals(read(pair.server, thing, "Name"), undefined);
  agree(pair);
});

Deno.test("a component that an owner adds as it loses the entity is taken back in its engine", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const thing = engine.spawn({ Badge: { level: 1 } }, { owner: peerOf(pair, 0) });
  flush(pair);
  const handle = handleAt(pair, 0, thing);
  engine.transfer(thing, peerOf(pair, 1));
  assert(a!.engine.set(handle, "Name", { text: "too late" }));
  const removed: string[] = [];
  a!.engine.onRemoteRemove = (_, name) => removed.push(name);
  flush(pair);
  assertEquals(removed, ["Name"]);
  agree(pair);
});

Deno.test("a component that an owner adds as it loses the right to it is taken back in its engine", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const thing = engine.spawn({ Badge: { level: 1 } }, { owner: peerOf(pair, 0) });
  flush(pair);
  const handle = handleAt(pair, 0, thing);
  engine.setRole(peerOf(pair, 0), "spectator");
  assert(a!.engine.set(handle, "Name", { text: "too late" }));
  flush(pair);
  assertEquals(read(a!, handle, "Name"), undefined);
  agree(pair);
});

Deno.test("a component that an owner added to what it was given is gone when the server's engine removes it", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const thing = engine.spawn({ Badge: { level: 1 } }, { owner: peerOf(pair, 0) });
  flush(pair);
  const handle = handleAt(pair, 0, thing);
  a!.engine.set(handle, "Name", { text: "mine" });
  flush(pair);
  engine.remove(thing, "Name");
  a!.engine.set(handle, "Name", { text: "late" });
  flush(pair);
  assertEquals(read(pair.server, thing, "Name"), undefined);
  assertEquals(read(a!, handle, "Name"), undefined);
  agree(pair);
});

Deno.test("an entity that its owner ended does not come back for the change that passed its end", () => {
  const pair = stage();
  const [a] = pair.clients;
  const avatar = a!.engine.spawn(avatarAt(3));
  flush(pair);
  const id = a!.engine.networkIdOf(avatar);
  const atServer = pair.server.engine.handleOf(id);
  const spawned: number[] = [];
  a!.engine.onSpawn = (handle) => spawned.push(a!.engine.networkIdOf(handle));
  pair.server.engine.set(atServer, "Avatar", poseAt(9));
  a!.engine.despawn(avatar);
  flush(pair);
  assertEquals(spawned, []);
  assert(!pair.server.core.world.isAlive(id));
  // One that was somebody else's by then does come back.
  const second = a!.engine.spawn(avatarAt(3));
  flush(pair);
  const name = a!.engine.networkIdOf(second);
  pair.server.engine.transfer(pair.server.engine.handleOf(name), peerOf(pair, 1));
  a!.engine.despawn(second);
  flush(pair);
  assertEquals(spawned, [name]);
  agree(pair);
});

Deno.test("an owner's engine is told of each epoch that an override brings, and of none otherwise", () => {
  const pair = stage();
  const [a] = pair.clients;
  const avatar = a!.engine.spawn(avatarAt(3));
  const epochs: number[] = [];
  a!.engine.onOwnerChange = (handle, owner, epoch) => {
    assertEquals([handle, owner], [avatar, a!.engine.peer]);
    epochs.push(epoch);
  };
  flush(pair);
  a!.engine.set(avatar, "Avatar", poseAt(4));
  flush(pair);
  assertEquals(epochs, []);
  const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
  pair.server.engine.set(atServer, "Avatar", poseAt(9));
  flush(pair);
  pair.server.engine.set(atServer, "Avatar", poseAt(8));
  flush(pair);
  assertEquals(epochs, [1, 2]);
});

/** Components that a client's engine is told to be gone, and values it is told, in order. */
function listen({ engine }: PairNode): string[] {
  const told: string[] = [];
  engine.onRemoteRemove = (_, name) => told.push(`remove ${name}`);
  engine.onRemoteChange = (_, name) => told.push(`change ${name}`);
  return told;
}

/** The client's datagrams take as long as that from now on. */
function delay(pair: Pair, client: number, latencyMs: number): void {
  pair.links.get(pair.clients[client]!)!.change({ latencyMs }, "up");
}

function faultsOf({ core }: Pair["server"]): [string, number][] {
  return Object.entries(core.counters.snapshot()).filter(([name]) => name.startsWith("fault."));
}

Deno.test("an entity whose owner takes away all it spawned with lives in the server's engine, when that hears of both at once", () => {
  const pair = stage();
  const [a] = pair.clients;
  // The later datagram is so much faster that both come between two ticks of the server.
  delay(pair, 0, 75);
  const thing = a!.engine.spawn({ Name: { text: "bare" } });
  a!.engine.flush();
  pair.run(36);
  delay(pair, 0, 40);
  a!.engine.remove(thing, "Name");
  const told: string[] = [];
  pair.server.engine.onRemoteChange = (_, name) => void told.push(name);
  const denials: string[] = [];
  pair.server.engine.onDenied = ({ door, rule }) => void (door === "engine" && denials.push(rule));
  flush(pair);
  // It never saw the component.
  assertEquals([told, denials], [[], []]);
  const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(thing));
  assert(atServer !== 0);
  a!.engine.set(thing, "Badge", { level: 3 });
  flush(pair);
  assertEquals(pair.server.world.read(atServer, "Badge")?.level, 3);
  agree(pair);
});

Deno.test("what an owner spawned just before it lost the right to a component stays as it is, when the news pass each other", () => {
  const pair = stage();
  const [a] = pair.clients;
  const avatar = a!.engine.spawn({ Avatar: poseAt(3), Name: { text: "mine" } });
  a!.engine.flush();
  const { core, engine } = pair.server;
  pair.until("it has a name", () => a!.engine.networkIdOf(avatar) !== 0);
  const id = a!.engine.networkIdOf(avatar);
  while (!core.world.isAlive(id)) pair.run(0.5);
  // The driver took it, and its word of that comes after the new role.
  engine.setRole(peerOf(pair, 0), "spectator");
  const told = listen(a!);
  flush(pair);
  assertEquals(told.filter((one) => one.startsWith("remove")), []);
  assertEquals(read(a!, avatar, "Name"), { text: "mine" });
  agree(pair);
});

Deno.test("a component that an owner lost the right to before its spawn came to the server is taken back in its engine", () => {
  const components = driverComponents().map((one) =>
    one.name === "Badge"
      ? {
        ...one,
        write: ["player", "spectator"],
        spawn: { roles: ["player", "spectator"], maxPerPeer: 8 },
      }
      : one
  );
  const pair = stage(components);
  const [a] = pair.clients;
  pair.muted = "up";
  const thing = a!.engine.spawn({ Badge: { level: 2 }, Name: { text: "too late" } });
  a!.engine.flush();
  pair.server.engine.setRole(peerOf(pair, 0), "spectator");
  flush(pair, 200);
  const told = listen(a!);
  pair.muted = undefined;
  flush(pair);
  assertEquals(told, ["remove Name"]);
  assert(pair.server.engine.handleOf(a!.engine.networkIdOf(thing)) !== 0);
  agree(pair);
});

Deno.test("what an owner adds in place of a component that came and went unheard does not count, and what it adds after that does", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a, b] = pair.clients;
  const thing = engine.spawn({ Badge: { level: 1 } }, { owner: peerOf(pair, 0) });
  flush(pair);
  const handle = handleAt(pair, 0, thing);
  engine.set(thing, "Name", { text: "the server's" });
  engine.flush();
  engine.remove(thing, "Name");
  a!.engine.set(handle, "Name", { text: "too late" });
  const texts: unknown[] = [];
  b!.engine.onRemoteChange = (_, name, { text }) => void (name === "Name" && texts.push(text));
  const told = listen(a!);
  flush(pair);
  assertEquals([texts, told], [[], ["remove Name"]]);
  assertEquals(read(pair.server, thing, "Name"), undefined);
  agree(pair);
  a!.engine.set(handle, "Name", { text: "knowing" });
  flush(pair);
  assertEquals(texts, ["knowing"]);
  agree(pair);
});

Deno.test("what an owner adds counts at once, when the server's engine took away a component that it had heard of", () => {
  const pair = stage();
  const { engine } = pair.server;
  const [a] = pair.clients;
  const thing = engine.spawn(
    { Badge: { level: 1 }, Name: { text: "the server's" } },
    { owner: peerOf(pair, 0) },
  );
  flush(pair);
  engine.remove(thing, "Name");
  flush(pair);
  const told = listen(a!);
  a!.engine.set(handleAt(pair, 0, thing), "Name", { text: "knowing" });
  flush(pair);
  assertEquals(told, []);
  assertEquals(read(pair.server, thing, "Name"), { text: "knowing" });
  agree(pair);
});

/** Spawns an avatar at the first client, and goes on as soon as the server's driver has made it, before anybody heard of that. */
function spawnUntold(pair: Pair): number {
  const { engine } = pair.clients[0]!;
  const avatar = engine.spawn(avatarAt(3));
  engine.flush();
  pair.until("it has a name", () => engine.networkIdOf(avatar) !== 0);
  while (!pair.server.core.world.isAlive(engine.networkIdOf(avatar))) pair.run(0.5);
  return avatar;
}

/** The client goes on writing to both. */
function goOn(pair: Pair, avatar: number, other: number): void {
  const { engine, world } = pair.clients[0]!;
  for (let i = 0; i < 20; i++) {
    if (world.has(avatar)) engine.set(avatar, "Avatar", poseAt(3 + i / 4));
    engine.set(other, "Avatar", poseAt(i / 4));
    flush(pair, 33);
  }
  flush(pair);
}

Deno.test("an entity that ends at the server before its owner heard that it came ends there, and that owner's other words go on counting", () => {
  const pair = stage();
  const [a] = pair.clients;
  const { engine } = pair.server;
  const [other] = [...a!.world.handles()].filter((one) => a!.engine.isOwn(one));
  const ended: number[] = [];
  a!.engine.onDespawn = (handle) => ended.push(handle);
  a!.engine.onSpawnRefused = (handle) => ended.push(-handle);
  const avatar = spawnUntold(pair);
  // With another's role the engine is told at once what was there before.
  engine.setRole(peerOf(pair, 1), "spectator");
  engine.flush();
  pair.run(0.5);
  engine.despawn(engine.handleOf(a!.engine.networkIdOf(avatar)));
  engine.flush();
  goOn(pair, avatar, other!);
  assertEquals(ended, [avatar]);
  assertEquals(faultsOf(pair.server), []);
  agree(pair);
});

Deno.test("an owner's other words go on counting, until it hears that its spawn was refused", () => {
  const components = driverComponents().map((one) =>
    one.name === "Badge"
      ? { ...one, checks: { level: { bounds: { min: 0, max: 4 }, onViolation: "reject" } } }
      : one
  );
  const pair = stage(components);
  const [a] = pair.clients;
  const [other] = [...a!.world.handles()].filter((one) => a!.engine.isOwn(one));
  const refused: number[] = [];
  a!.engine.onSpawnRefused = (handle) => refused.push(handle);
  const avatar = a!.engine.spawn({ ...avatarAt(3), Badge: { level: 9 } });
  a!.engine.flush();
  // The answer is lost once; acknowledgements come before it does.
  const { core } = pair.server;
  const link = pair.links.get(a!)!;
  link.change({ lossRate: 1 }, "down");
  pair.until("the spawn is refused", () => core.counters.get("denials") > 0);
  pair.run(5);
  link.change({ lossRate: 0 }, "down");
  goOn(pair, avatar, other!);
  assertEquals(refused, [avatar]);
  assertEquals(faultsOf(pair.server), []);
  agree(pair);
});

Deno.test("an entity ends in its owner's engine, when its end and the server's answer to the owner's last header come together", () => {
  const pair = stage();
  const [a] = pair.clients;
  const { engine, core } = pair.server;
  const avatar = a!.engine.spawn(avatarAt(3));
  flush(pair);
  const id = a!.engine.networkIdOf(avatar);
  const ended: number[] = [];
  a!.engine.onDespawn = (handle) => ended.push(handle);
  const link = pair.links.get(a!)!;
  link.change({ latencyMs: 1 }, "up");
  engine.despawn(engine.handleOf(id));
  engine.flush();
  // The end is on its way; a word of the entity comes up, and the answer gets down as soon as the end.
  pair.run(36);
  assert(!core.world.isAlive(id));
  link.change({ latencyMs: 0 }, "down");
  a!.engine.set(avatar, "Name", { text: "too late" });
  flush(pair);
  assertEquals(ended, [avatar]);
  agree(pair);
});
