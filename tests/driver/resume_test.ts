import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { HostileScene } from "../support/hostile_scene.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";
import type { ClientCore } from "../../driver/client_core.ts";

const GRANTS = driverGrants();

function settle(pair: Pair, ms = 600): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

/** The client's end of the path dies; it connects again at once while the server has not noticed, or later. */
function cut(pair: Pair, client: PairNode<ClientCore>, end: "connector" | "acceptor"): void {
  pair.links.get(client)!.kill(end);
}

Deno.test("ClientCore resumes its place after both ends lost the connection", () => {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2 }).start();
  pair.joinAll();
  const [a, b] = pair.clients;
  const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "anna" } });
  b!.engine.spawn(avatarAt(2));
  settle(pair);
  const { peer } = a!.engine;
  const id = a!.engine.networkIdOf(avatar);
  const joined: boolean[] = [];
  a!.engine.onJoined = ({ resumed }) => joined.push(resumed);
  const despawned: number[] = [];
  b!.engine.onDespawn = (handle) => despawned.push(handle);
  pair.links.get(a!)!.change({ lossRate: 1 });
  pair.run(7_000);
  pair.until("back", () => a!.core.isJoined);
  settle(pair, 1_000);
  assertEquals(joined, [true]);
  assertEquals(a!.engine.peer, peer);
  assertEquals(a!.engine.networkIdOf(avatar), id);
  assertEquals(despawned, []);
  assertEquals(disagreements(pair), []);
  a!.engine.set(avatar, "Avatar", poseAt(3));
  settle(pair);
  assertEquals(disagreements(pair), []);
  assertEquals(pair.server.core.world.owner(id), peer);
});

Deno.test("ServerCore lets a peer take over its own dead connection", () => {
  const pair = new Pair({ grants: GRANTS, seed: 2, clients: 2 }).start();
  pair.joinAll();
  const [a, b] = pair.clients;
  const avatar = a!.engine.spawn(avatarAt(1));
  b!.engine.spawn(avatarAt(2));
  settle(pair);
  const id = a!.engine.networkIdOf(avatar);
  const left: number[] = [];
  pair.server.engine.onPlayerLeave = (peer) => left.push(peer);
  const old = pair.links.get(a!)!;
  // Only the way from the client is dead, so the client alone hears nothing for 5 s less than the server.
  old.change({ lossRate: 1 }, "down");
  pair.until("the client gives up", () => !a!.core.isJoined, 8_000);
  assertEquals(pair.server.core.counters.get("peers"), 2, "the server has not noticed");
  pair.until("back", () => a!.core.isJoined);
  settle(pair, 1_000);
  assertEquals(left, []);
  assertEquals(pair.server.core.counters.get("join.resumed"), 1);
  assertEquals(pair.server.core.world.owner(id), a!.engine.peer);
  assertEquals(disagreements(pair), []);
});

Deno.test("ClientCore keeps changes made while it is cut off, and they arrive after resuming", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 2 }).start();
    pair.joinAll();
    const [a, b] = pair.clients;
    const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "before" } });
    const badge = a!.engine.spawn({ Badge: { level: 1, by: avatar } });
    b!.engine.spawn(avatarAt(0));
    settle(pair);
    pair.unreachable = true;
    pair.links.get(a!)!.change({ lossRate: 1 });
    pair.run(5_500);
    assert(!a!.core.isJoined);
    a!.engine.set(avatar, "Name", { text: "while away" });
    a!.engine.set(badge, "Badge", { level: 7 });
    a!.engine.remove(avatar, "Avatar");
    const made = a!.engine.spawn({ ...avatarAt(5), Badge: { level: 3 } });
    a!.engine.flush();
    pair.run(200);
    pair.unreachable = false;
    pair.until("back", () => a!.core.isJoined);
    settle(pair, 1_500);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(a!.world.read(avatar, "Name"), { text: "while away" }, `seed ${seed}`);
    assertEquals(a!.world.read(badge, "Badge")?.level, 7, `seed ${seed}`);
    assert(a!.world.has(made), `seed ${seed}`);
    assertEquals(b!.world.size, 4, `seed ${seed}`);
  }
});

Deno.test("ClientCore hears of overrides and despawns made while it was cut off", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 2 }).start();
    pair.joinAll();
    const [a, b] = pair.clients;
    b!.engine.spawn(avatarAt(4));
    const first = a!.engine.spawn({ ...avatarAt(1), Name: { text: "first" } });
    const second = a!.engine.spawn(avatarAt(2));
    settle(pair);
    const atServer = (handle: number) => pair.server.engine.handleOf(a!.engine.networkIdOf(handle));
    pair.unreachable = true;
    pair.links.get(a!)!.change({ lossRate: 1 });
    pair.run(5_500);
    pair.server.engine.set(atServer(first), "Name", { text: "renamed" });
    pair.server.engine.despawn(atServer(second));
    pair.server.engine.flush();
    pair.run(300);
    pair.unreachable = false;
    pair.until("back", () => a!.core.isJoined);
    settle(pair, 1_500);
    assertEquals(a!.world.read(first, "Name"), { text: "renamed" }, `seed ${seed}`);
    assert(!a!.world.has(second), `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    // It may write again afterwards, and use the place that became free.
    a!.engine.set(first, "Name", { text: "mine again" });
    a!.engine.spawn(avatarAt(3));
    settle(pair, 1_500);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(pair.server.core.world.countOwned(a!.engine.peer!), 2);
  }
});

Deno.test("ServerCore refuses and counts a guessed resume secret", () => {
  const pair = new Pair({ grants: GRANTS, seed: 5, clients: 1 }).start();
  pair.joinAll();
  pair.clients[0]!.engine.spawn(avatarAt(1));
  settle(pair);
  const peer = pair.clients[0]!.engine.peer!;
  const secret = new Uint8Array(32).fill(7);
  for (let i = 1; i <= 3; i++) {
    const thief = new RawPeer(pair).join({ resume: { peer, secret } });
    pair.run(100);
    assertEquals(thief.accepted, undefined);
    assertEquals(thief.closed?.code, CloseCode.Credential);
    assertEquals(pair.server.core.counters.get("join.resumeRefused"), i);
  }
  assert(pair.clients[0]!.core.isJoined, "the owner of the place is not disturbed");
  settle(pair);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore takes each resume secret once and gives a new one with each use", () => {
  const pair = new Pair({ grants: GRANTS, seed: 6, clients: 0 }).start();
  pair.run(100);
  const first = new RawPeer(pair).join();
  const { peer, resumeSecret } = first.accepted!;
  const second = new RawPeer(pair).join({ resume: { peer, secret: resumeSecret.slice() } });
  pair.run(100);
  assertEquals(first.closed?.code, CloseCode.Replaced);
  assertEquals([second.accepted!.peer, second.accepted!.resumed], [peer, true]);
  assertNotEquals(second.accepted!.resumeSecret, resumeSecret);
  second.send(second.datagram({}));
  pair.run(100);
  const replay = new RawPeer(pair).join({ resume: { peer, secret: resumeSecret.slice() } });
  pair.run(100);
  assertEquals(replay.accepted, undefined);
  assertEquals(replay.of("refused")[0]?.code, CloseCode.Credential);
  assertEquals(second.closed, undefined);
  // The refused one may come in as someone else.
  const other = new RawPeer(pair).join();
  assert(other.accepted!.peer !== peer && !other.accepted!.resumed);
});

Deno.test("ClientCore joins anew when its secret is refused, whether or not it hears the refusal", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const grants = driverGrants({ resumeMs: 500 });
    const conditions = { latencyMs: 20, jitterMs: 10, lossRate: 0.2 };
    const pair = new Pair({ grants, seed, clients: 1, conditions }).start();
    pair.joinAll(20_000);
    const [a] = pair.clients;
    const avatar = a!.engine.spawn(avatarAt(1));
    settle(pair);
    const before = a!.engine.peer!;
    const spawned: number[] = [];
    pair.server.engine.onSpawn = (handle) => spawned.push(handle);
    pair.unreachable = true;
    pair.links.get(a!)!.change({ lossRate: 1 });
    pair.run(8_000);
    pair.unreachable = false;
    pair.until("in again", () => a!.core.isJoined, 30_000);
    settle(pair, 2_000);
    assertNotEquals(a!.engine.peer, before, `seed ${seed}`);
    assert(a!.world.has(avatar), `seed ${seed}`);
    assertEquals(spawned.length, 1, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(pair.server.core.world.entityCount, 1, `seed ${seed}`);
  }
});

Deno.test("ServerCore keeps the role of a lost peer, also when it is changed meanwhile", () => {
  const pair = new Pair({ grants: GRANTS, seed: 8, clients: 2 }).start();
  pair.joinAll();
  const [a, b] = pair.clients;
  pair.server.engine.spawn({ Hint: { text: "for players" } });
  settle(pair);
  const roles: [number, string][] = [];
  b!.engine.onRoleChanged = (...role) => roles.push(role);
  pair.unreachable = true;
  pair.links.get(a!)!.change({ lossRate: 1 });
  pair.run(5_500);
  pair.server.engine.setRole(a!.engine.peer!, "spectator");
  settle(pair, 200);
  assertEquals(roles, [[a!.engine.peer!, "spectator"]]);
  pair.unreachable = false;
  pair.until("back", () => a!.core.isJoined);
  settle(pair, 1_000);
  assertEquals(a!.engine.roleName, "spectator");
  assertEquals(a!.engine.spawn(avatarAt(1)), 0);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore gives a peer that comes back as many free ids as before", () => {
  const grants = driverGrants({ maxEntities: 24 });
  const pair = new Pair({ grants, seed: 9, clients: 1 }).start();
  pair.joinAll();
  const [a] = pair.clients;
  for (let round = 0; round < 12; round++) {
    const handles = [1, 2, 3].map((x) => a!.engine.spawn(avatarAt(x)));
    settle(pair, 300);
    assert(handles.every((handle) => handle !== 0 && a!.engine.networkIdOf(handle) !== 0));
    for (const handle of handles) a!.engine.despawn(handle);
    a!.engine.flush();
    // Cut off with the despawns under way.
    cut(pair, a!, "connector");
    a!.killDriver();
    a!.startDriver();
    pair.run(100);
    pair.until("back", () => a!.core.isJoined);
    pair.run(300);
  }
  const handles = [1, 2, 3, 4].map((x) => a!.engine.spawn(avatarAt(x)));
  settle(pair, 600);
  assertEquals(pair.server.core.world.entityCount, 4);
  assert(handles.every((handle) => a!.engine.networkIdOf(handle) !== 0));
  assertEquals(disagreements(pair), []);
});

Deno.test("ClientCore tells after resuming what ended just before its connection broke", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const scene = new HostileScene(seed);
    const { pair, hostile } = scene;
    const { engine } = hostile;
    const before = pair.server.world.size;
    const handles = [1, 2, 3, 4].map((level) => engine.spawn({ Badge: { level, by: 0 } }));
    settle(pair);
    for (const handle of handles.slice(1)) engine.despawn(handle);
    engine.flush();
    // Not sent yet, sent and lost on the way, or arrived and its acknowledgement lost.
    if (seed % 2 === 0) pair.links.get(hostile)!.change({ lossRate: 1 }, seed % 4 ? "up" : "down");
    pair.run(seed % 2 === 0 ? 60 : seed - 1);
    scene.reconnect();
    settle(pair, 1_500);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(pair.server.world.size, before + 1, `seed ${seed}`);
    // And every id can be used again.
    for (let i = 0; i < 10; i++) {
      const handle = engine.spawn({ Badge: { level: 1, by: 0 } });
      settle(pair, 200);
      assert(engine.networkIdOf(handle) !== 0, `seed ${seed}, spawn ${i}`);
      engine.despawn(handle);
      settle(pair, 200);
    }
    assertEquals(pair.server.world.size, before + 1, `seed ${seed}`);
  }
});

Deno.test("a client whose place was given up brings back what it may write, and keeps nothing that others gave its entities", () => {
  const secret = {
    id: 90,
    name: "Secret",
    fields: { code: { type: "u32" } },
    authority: "server",
    read: ["spectator"],
  };
  const badge = {
    id: 91,
    name: "Rank",
    fields: { level: { type: "u32" }, note: { type: "u32", read: ["all"], write: [] } },
    authority: "owner",
    read: ["all"],
    write: ["player"],
    rateHz: 30,
    spawn: { roles: ["player"], maxPerPeer: 4 },
  };
  const grants = driverGrants({
    components: [...driverComponents(), secret, badge],
    resumeMs: 500,
  });
  const pair = new Pair({ grants, seed: 5, clients: 1 }).start().joinAll();
  const client = pair.clients[0]!;
  const { engine } = client;
  const avatar = engine.spawn({ ...avatarAt(1), Rank: { level: 3 } });
  settle(pair, 800);
  const there = () => pair.server.engine.handleOf(engine.networkIdOf(avatar));
  pair.server.engine.setRole(engine.peer!, "spectator");
  pair.server.engine.set(there(), "Rank", { note: 7 });
  settle(pair, 800);
  pair.server.engine.set(there(), "Secret", { code: 12_345 });
  settle(pair, 800);
  assertEquals(engine.get(avatar, "Secret"), { code: 12_345 });
  const told: string[] = [];
  engine.onRemoteRemove = (handle, name) => told.push(`${handle} ${name}`);
  engine.onRevoke = (handle, name, fields) => told.push(`${handle} ${name} ${fields}`);
  pair.links.get(client)!.change({ lossRate: 1 });
  pair.unreachable = true;
  pair.run(12_000);
  pair.unreachable = false;
  pair.until("it is back", () => client.core.isJoined, 60_000);
  settle(pair, 2_000);
  assertEquals(engine.roleName, "player");
  assertEquals(engine.get(avatar, "Secret"), undefined);
  assertEquals(engine.get(avatar, "Rank"), { level: 3, note: 0 });
  assertEquals(pair.server.engine.get(there(), "Rank"), { level: 3, note: 0 });
  assert(told.includes(`${avatar} Secret`), `${told}`);
  assertEquals(disagreements(pair), []);
});
