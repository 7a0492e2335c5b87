import { assert, assertEquals, assertGreater } from "@std/assert";
import { SPAWN_COUNT_WAIT_MS } from "../../protocol/limits.ts";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { Rule } from "../../permissions/rule.ts";
import { setNeutral } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { ForgedState, RawPeer } from "../support/raw_peer.ts";

const GRANTS = driverGrants();
const AVATAR = 0;
const NAME = 1;
const PROP = 2;
const BADGE = 7;

function flush(pair: Pair, ms = 600): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

/** Waits until all agree, however bad the path. */
function settle(pair: Pair): void {
  flush(pair, 300);
  pair.until("all agree", () => {
    const known = pair.clients.every(({ engine, world }) =>
      [...world.handles()].every((handle) => engine.networkIdOf(handle) !== 0)
    );
    return known && disagreements(pair).length === 0;
  });
}

/** A world with one honest client and its avatar, and a hostile peer. */
function stage(seed: number) {
  const pair = new Pair({ grants: GRANTS, seed, clients: 1 }).start();
  pair.joinAll();
  const client = pair.clients[0]!;
  const avatar = client.engine.spawn({ ...avatarAt(1), Name: { text: "honest" } });
  const prop = pair.server.engine.spawn({ Prop: { at: [1, 0, 0] }, Score: { points: 3 } });
  flush(pair);
  const denials: DenialReport[] = [];
  pair.server.engine.onDenied = (denial) => denials.push(denial);
  const raw = new RawPeer(pair).join();
  const forged = new ForgedState(raw);
  return { pair, client, avatar, prop, denials, raw, forged };
}

/** Spawns an entity of the hostile peer with some components at neutral values. */
function spawnForged(forged: ForgedState, id: number, components: readonly number[]): void {
  forged.world.spawn(id, forged.sender === undefined ? 0 : peerOf(forged), forged.tick);
  for (const c of components) {
    const component = forged.grants.components[c]!;
    const value = createValue(component);
    setNeutral(component, value);
    forged.world.addComponent(id, c, value, forged.tick, 0);
  }
}

const owners = new WeakMap<ForgedState, number>();
function peerOf(forged: ForgedState): number {
  return owners.get(forged)!;
}

function rulesOf(denials: readonly DenialReport[], subject: string): Set<string> {
  return new Set(denials.filter((one) => one.subject === subject).map(({ rule }) => rule));
}

Deno.test("ServerCore refuses writes to another peer's entity and leaves it as it is", () => {
  const { pair, client, avatar, denials, raw, forged } = stage(1);
  owners.set(forged, raw.accepted!.peer);
  const id = client.engine.networkIdOf(avatar);
  const before = pair.server.core.world.hash(id);
  spawnForged(forged, id, [AVATAR, NAME]);
  forged.send(300);
  flush(pair);
  assertEquals(pair.server.core.world.hash(id), before);
  assertEquals(pair.server.core.world.owner(id), client.engine.peer);
  assert(rulesOf(denials, "component").has(Rule.NotOwner));
  assert(raw.of("denied").some(({ entity }) => entity === id), "the forger is told");
  assert(denials.every(({ peer }) => peer === raw.accepted!.peer));
  assertEquals(disagreements(pair), []);
  // Nor may it end the entity.
  forged.world.despawn(id, forged.tick);
  forged.send(300);
  assert(pair.server.core.world.isAlive(id));
});

Deno.test("ServerCore drops a datagram with a component that no peer may ever write", () => {
  const { pair, prop, raw, forged } = stage(2);
  owners.set(forged, raw.accepted!.peer);
  const id = pair.server.engine.networkIdOf(prop);
  const before = pair.server.core.world.hash(id);
  spawnForged(forged, id, [PROP]);
  forged.send(300);
  assertEquals(pair.server.core.world.hash(id), before);
  assertGreater(pair.server.core.counters.get("fault.Forbidden"), 0);
});

Deno.test("ServerCore gives a peer no more entities with a component than its manifest says", () => {
  const { pair, denials, raw, forged } = stage(3);
  const { peer, entityIds } = raw.accepted!;
  owners.set(forged, peer);
  // All in one datagram: each alone would pass.
  for (const id of entityIds.slice(0, 7)) spawnForged(forged, id, [AVATAR]);
  forged.send(300);
  // A despawn might still make room for them.
  pair.run(SPAWN_COUNT_WAIT_MS + 500);
  const spawnMax = GRANTS.components[AVATAR]!.spawnMax;
  assertEquals(pair.server.core.world.countOwned(peer), spawnMax);
  assertEquals(new Set(raw.of("spawnRefused").map(({ id }) => id)).size, 7 - spawnMax);
  assert(rulesOf(denials, "spawn").has(Rule.SpawnCount));
  // Nor by adding the component to entities that it has without.
  const other = new RawPeer(pair).join();
  const second = new ForgedState(other);
  owners.set(second, other.accepted!.peer);
  const ids = other.accepted!.entityIds.slice(0, 7);
  for (const id of ids) spawnForged(second, id, [BADGE]);
  second.send(300);
  assertEquals(pair.server.core.world.countOwned(other.accepted!.peer), 7);
  const avatar = createValue(second.grants.components[AVATAR]!);
  setNeutral(second.grants.components[AVATAR]!, avatar);
  for (const id of ids) second.world.addComponent(id, AVATAR, avatar, second.tick, 0);
  second.send(300);
  let avatars = 0;
  for (const id of ids) if (pair.server.core.world.hasComponent(id, AVATAR)) avatars += 1;
  assertEquals(avatars, spawnMax);
});

Deno.test("a client may replace what it may have only so many of, at once and again and again", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 10, lossRate: 0.1 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    b!.engine.spawn(avatarAt(0));
    const denials: string[] = [];
    for (const node of [pair.server, a!, b!]) {
      node.engine.onDenied = (one) => denials.push(`${one.door} ${one.rule} ${one.subject}`);
      node.engine.onSpawnRefused = (_handle, rule) => denials.push(rule);
    }
    let present = [1, 2, 3, 4].map((x) => a!.engine.spawn(avatarAt(x)));
    flush(pair, 500);
    for (let round = 0; round < 6; round++) {
      for (const handle of present) a!.engine.despawn(handle);
      present = [1, 2, 3, 4].map((x) => a!.engine.spawn(avatarAt(x, round)));
      assert(present.every((handle) => handle !== 0), `seed ${seed}, round ${round}`);
      a!.engine.flush();
      pair.run(700);
    }
    settle(pair);
    assertEquals(denials, [], `seed ${seed}`);
    assertEquals(pair.server.world.size, 5, `seed ${seed}`);
  }
});

Deno.test("ServerCore refuses a spawn under an id that was never the peer's", () => {
  const { pair, raw, forged } = stage(4);
  owners.set(forged, raw.accepted!.peer);
  const free = Math.max(...raw.accepted!.entityIds) + 5;
  spawnForged(forged, free, [BADGE]);
  forged.send(300);
  assert(!pair.server.core.world.isAlive(free));
  assertEquals(raw.of("spawnRefused").map(({ id }) => id), [free]);
});

Deno.test("ServerCore refuses spawns and writes of a role that has no right to them", () => {
  const { pair, denials, raw, forged } = stage(5);
  const { peer, entityIds } = raw.accepted!;
  owners.set(forged, peer);
  pair.server.engine.setRole(peer, "spectator");
  flush(pair, 100);
  forged.sender.setRole(2, raw.of("role").at(-1)!.grantEpoch);
  spawnForged(forged, entityIds[0]!, [AVATAR]);
  forged.send(300);
  assertEquals(pair.server.core.world.countOwned(peer), 0);
  assert(rulesOf(denials, "spawn").has(Rule.SpawnRole));
});

Deno.test("ServerCore takes from a spawn only the fields that the peer's role may write", () => {
  const components = driverComponents();
  const badge = components.find(({ name }) => name === "Badge")!;
  const fields = badge["fields"] as Record<string, Record<string, unknown>>;
  fields["level"]!["write"] = ["spectator"];
  badge["write"] = ["player", "spectator"];
  const grants = driverGrants({ components });
  const pair = new Pair({ grants, seed: 6, clients: 0 }).start();
  pair.run(100);
  const raw = new RawPeer(pair).join();
  const forged = new ForgedState(raw);
  const id = raw.accepted!.entityIds[0]!;
  const value = createValue(grants.components[BADGE]!);
  value.lanes[0] = 9;
  forged.world.spawn(id, raw.accepted!.peer, forged.tick);
  forged.world.addComponent(id, BADGE, value, forged.tick, 0);
  forged.send(300);
  const { world } = pair.server.core;
  assert(world.isAlive(id));
  world.read(id, BADGE, value);
  assertEquals(value.lanes[0], 0, "a player may not set the level");
});

Deno.test("ServerCore refuses writes above the rate, tells the peer and puts it right", () => {
  const { pair, denials, raw, forged } = stage(7);
  const { peer, entityIds } = raw.accepted!;
  owners.set(forged, peer);
  const id = entityIds[0]!;
  spawnForged(forged, id, [NAME]);
  forged.send(400);
  assert(pair.server.core.world.isAlive(id));
  const value = createValue(GRANTS.components[NAME]!);
  // Names may change 5 times a second.
  for (let i = 0; i < 60; i++) {
    value.blobs[0] = new TextEncoder().encode(`name ${i}`);
    forged.world.write(id, NAME, 1, value, forged.tick, 0);
    forged.send(33);
  }
  pair.run(500);
  assert(rulesOf(denials, "component").has(Rule.Rate));
  assert(raw.of("denied").length > 0);
  const version = pair.server.core.world.versionTick(id, NAME);
  assert(version > 0);
  assertEquals(raw.closed, undefined, "too fast is no crime");
});

Deno.test("ClientCore keeps to each component's rate: an honest engine is never denied", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 25, lossRate: 0.1, duplicateRate: 0.05 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "0" } });
    b!.engine.spawn(avatarAt(0));
    flush(pair, 300);
    const denials: DenialReport[] = [];
    for (const node of [pair.server, a!, b!]) node.engine.onDenied = (one) => denials.push(one);
    pair.play(2_500, 11, (i) => {
      a!.engine.set(avatar, "Avatar", poseAt(i % 10, 0, i % 5));
      a!.engine.set(avatar, "Name", { text: `name ${i}` });
      a!.engine.flush();
    });
    flush(pair, 1_500);
    assertEquals(denials, [], `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
  }
});

Deno.test("ServerCore's engine overrides an owner: the owner takes it, stale writes do not count", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const conditions = { latencyMs: 40, jitterMs: 10, lossRate: 0.15 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "old" } });
    b!.engine.spawn(avatarAt(0));
    settle(pair);
    const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
    // The owner moves all the time; the override of its place must win over what is under way, and the owner go on from there.
    pair.play(300, 33, (i) => {
      a!.engine.set(avatar, "Avatar", poseAt(1 + i * 0.01));
      a!.engine.flush();
    });
    const seen: number[] = [];
    a!.engine.onRemoteChange = (handle, name, values) => {
      if (handle === avatar && name === "Avatar" && "body" in values) {
        seen.push((values["body"] as number[])[0]!);
      }
    };
    pair.server.engine.set(atServer, "Avatar", poseAt(15));
    pair.server.engine.flush();
    pair.play(700, 33, (i) => {
      if (seen.length === 0) a!.engine.set(avatar, "Avatar", poseAt(2 + i * 0.01));
      a!.engine.flush();
    });
    pair.run(800);
    assert(seen.includes(15), `seed ${seed}: the owner is put there`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals((a!.world.read(avatar, "Avatar")?.body as number[])[0], 15, `seed ${seed}`);
    a!.engine.set(avatar, "Avatar", poseAt(16));
    flush(pair, 800);
    assertEquals(disagreements(pair), [], `seed ${seed}, afterwards`);
    assertEquals((pair.server.world.read(atServer, "Avatar")?.body as number[])[0], 16);
  }
});

Deno.test("an override and an owner's write that pass each other on an engine link end as one value", () => {
  for (const side of ["owner", "server"] as const) {
    const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2 }).start().joinAll();
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Badge: { level: 1 } });
    b!.engine.spawn(avatarAt(0));
    settle(pair);
    const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
    const slow = side === "owner" ? a! : pair.server;
    // What this engine says lies in its socket while the other's value comes in.
    slow.mute = true;
    a!.engine.set(avatar, "Badge", { level: 2 });
    pair.server.engine.set(atServer, "Badge", { level: 3 });
    a!.engine.flush();
    pair.server.engine.flush();
    pair.run(300);
    slow.mute = false;
    slow.wake();
    pair.run(800);
    assertEquals(disagreements(pair), [], side);
  }
});

Deno.test("ServerCore's override of one component loses no write of the owner to another", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const conditions = { latencyMs: 40, jitterMs: 10, lossRate: 0.1 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "old" }, Badge: { level: 1 } });
    b!.engine.spawn(avatarAt(0));
    settle(pair);
    const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
    pair.server.engine.set(atServer, "Badge", { level: 5 });
    pair.server.engine.flush();
    pair.run(seed * 3 % 90);
    a!.engine.set(avatar, "Name", { text: "new" });
    a!.engine.flush();
    flush(pair, 1_500);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(pair.server.world.read(atServer, "Name"), { text: "new" }, `seed ${seed}`);
    assertEquals(a!.world.read(avatar, "Badge")?.level, 5, `seed ${seed}`);
  }
});

Deno.test("ServerCore's engine adds and removes components of a peer's entity", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 10, lossRate: 0.1 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "old" } });
    b!.engine.spawn(avatarAt(0));
    settle(pair);
    const atServer = pair.server.engine.handleOf(a!.engine.networkIdOf(avatar));
    pair.server.engine.set(atServer, "Badge", { level: 3 });
    pair.server.engine.set(atServer, "Score", { points: 8, mine: 9 });
    pair.server.engine.remove(atServer, "Name");
    a!.engine.set(avatar, "Avatar", poseAt(2));
    flush(pair, 1_500);
    assertEquals(a!.world.read(avatar, "Badge")?.level, 3, `seed ${seed}`);
    assertEquals(a!.world.read(avatar, "Score")?.mine, 9, `seed ${seed}`);
    assertEquals(a!.world.read(avatar, "Name"), undefined, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    // The owner may write what it was given, and give itself again what was taken.
    a!.engine.set(avatar, "Badge", { level: 4 });
    a!.engine.set(avatar, "Name", { text: "again" });
    flush(pair, 1_500);
    assertEquals(pair.server.world.read(atServer, "Badge")?.level, 4, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}, afterwards`);
  }
});

Deno.test("ServerCore transfers ownership both ways, and all agree at once and later", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 15, lossRate: 0.15 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 3, conditions }).start();
    pair.joinAll(20_000);
    const [a, b] = pair.clients;
    const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(i)));
    // One that stays its own, to see from.
    a!.engine.spawn(avatarAt(8));
    const thing = pair.server.engine.spawn({ ...avatarAt(5), Badge: { level: 1 } });
    flush(pair, 1_200);
    const id = pair.server.engine.networkIdOf(thing);
    const at = (node: { engine: { handleOf(id: number): number } }) => node.engine.handleOf(id);
    // Server to a; a writes.
    pair.server.engine.transfer(thing, a!.engine.peer!);
    flush(pair, 1_000);
    assert(a!.engine.isOwn(at(a!)), `seed ${seed}`);
    assert(a!.engine.set(at(a!), "Badge", { level: 2 }), `seed ${seed}`);
    flush(pair, 1_200);
    assertEquals(disagreements(pair), [], `seed ${seed}: at a`);
    assertEquals(pair.server.world.read(thing, "Badge")?.level, 2, `seed ${seed}`);
    // a keeps writing while it goes to b: what a sent before it knew does not count afterwards.
    pair.server.engine.transfer(thing, b!.engine.peer!);
    pair.server.engine.flush();
    pair.play(300, 33, (i) => {
      a!.engine.set(at(a!), "Badge", { level: 3 + i % 3 });
      a!.engine.flush();
    });
    flush(pair, 1_200);
    assertEquals(disagreements(pair), [], `seed ${seed}: at b`);
    assert(b!.engine.isOwn(at(b!)) && !a!.engine.isOwn(at(a!)), `seed ${seed}`);
    assert(b!.engine.set(at(b!), "Badge", { level: 8 }), `seed ${seed}`);
    flush(pair, 1_200);
    assertEquals(pair.server.world.read(thing, "Badge")?.level, 8, `seed ${seed}`);
    // Back to the server.
    pair.server.engine.transfer(thing, 0);
    flush(pair, 1_000);
    pair.server.engine.set(thing, "Badge", { level: 9 });
    flush(pair, 1_200);
    assertEquals(disagreements(pair), [], `seed ${seed}: back`);
    assertEquals(b!.world.read(at(b!), "Badge")?.level, 9, `seed ${seed}`);
    // And what a client spawned goes to the server and back.
    const own = pair.server.engine.handleOf(a!.engine.networkIdOf(avatars[0]!));
    pair.server.engine.transfer(own, 0);
    flush(pair, 1_000);
    assert(!a!.engine.set(avatars[0]!, "Avatar", poseAt(9)), `seed ${seed}`);
    pair.server.engine.set(own, "Avatar", poseAt(7));
    flush(pair, 1_200);
    assertEquals(disagreements(pair), [], `seed ${seed}: taken`);
    pair.server.engine.transfer(own, a!.engine.peer!);
    flush(pair, 1_000);
    assert(a!.engine.set(avatars[0]!, "Avatar", poseAt(6)), `seed ${seed}`);
    flush(pair, 1_200);
    assertEquals(disagreements(pair), [], `seed ${seed}: given back`);
  }
});

Deno.test("an entity that is given to a peer which has just left stays whose it was, at both doors", () => {
  const pair = new Pair({ grants: GRANTS, seed: 4, clients: 2 }).start();
  pair.joinAll();
  const [leaving, holder] = pair.clients;
  const { engine } = pair.server;
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  const thing = engine.spawn({ Badge: { level: 1 } }, { owner: holder!.engine.peer! });
  flush(pair);
  // The driver hears of the end first, the engine learns of it with the answer.
  const gone = leaving!.engine.peer!;
  engine.kick(gone, "");
  assert(engine.transfer(thing, gone));
  assertEquals(engine.ownerOf(thing), gone);
  flush(pair);
  assertEquals(engine.ownerOf(thing), holder!.engine.peer);
  const handle = holder!.engine.handleOf(engine.networkIdOf(thing));
  assert(holder!.engine.set(handle, "Badge", { level: 2 }));
  flush(pair);
  assertEquals(pair.server.world.read(thing, "Badge")?.level, 2);
  // Nothing but this is believed: a third peer gets nothing by it.
  assertEquals(engine.stats.denials, 0);
});

Deno.test("ServerCore's engine can spawn for a peer, and gives it back when the peer leaves", () => {
  const pair = new Pair({ grants: GRANTS, seed: 9, clients: 2 }).start();
  pair.joinAll();
  const [a] = pair.clients;
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  flush(pair);
  const gift = pair.server.engine.spawn({ Badge: { level: 1 } }, { owner: a!.engine.peer! });
  flush(pair);
  const handle = a!.engine.handleOf(pair.server.engine.networkIdOf(gift));
  assert(a!.engine.isOwn(handle));
  assert(a!.engine.set(handle, "Badge", { level: 2 }));
  flush(pair);
  assertEquals(pair.server.world.read(gift, "Badge")?.level, 2);
  assertEquals(disagreements(pair), []);
});

Deno.test("a spawn that the server refuses is rolled back in its engine, and the next one works", () => {
  const pair = new Pair({ grants: driverGrants({ maxEntities: 20 }), seed: 10, clients: 1 })
    .start();
  pair.joinAll();
  const [a] = pair.clients;
  // The role changes while the spawn is under way: the client's own gates still let it pass.
  const refused: [number, string][] = [];
  a!.engine.onSpawnRefused = (...spawn) => refused.push(spawn);
  pair.server.engine.setRole(a!.engine.peer!, "spectator");
  pair.server.engine.flush();
  const handle = a!.engine.spawn(avatarAt(1));
  assert(handle !== 0);
  flush(pair, 500);
  assertEquals(refused, [[handle, Rule.SpawnRole]]);
  assert(!a!.world.has(handle));
  assertEquals(pair.server.core.world.entityCount, 0);
  pair.server.engine.setRole(a!.engine.peer!, "player");
  flush(pair, 500);
  for (let i = 0; i < 4; i++) assert(a!.engine.spawn(avatarAt(i)) !== 0);
  flush(pair, 500);
  assertEquals(pair.server.core.world.entityCount, 4);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore changes what a peer reads with its role", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 10, lossRate: 0.15, reorderRate: 0.1 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll(20_000);
    const [a] = pair.clients;
    pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
    const hint = pair.server.engine.spawn({ Hint: { text: "one" }, Score: { points: 1 } });
    flush(pair, 1_000);
    const handle = () => a!.engine.handleOf(pair.server.engine.networkIdOf(hint));
    assertEquals(a!.world.read(handle(), "Hint"), { text: "one" }, `seed ${seed}`);
    pair.server.engine.setRole(a!.engine.peer!, "spectator");
    pair.server.engine.set(hint, "Hint", { text: "two" });
    flush(pair, 1_000);
    assertEquals(a!.world.read(handle(), "Hint"), undefined, `seed ${seed}: it vanishes`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    pair.server.engine.set(hint, "Hint", { text: "three" });
    flush(pair, 500);
    pair.server.engine.setRole(a!.engine.peer!, "player");
    flush(pair, 1_000);
    assertEquals(a!.world.read(handle(), "Hint"), { text: "three" }, `seed ${seed}: it is back`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
  }
});
