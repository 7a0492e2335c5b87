import { assert, assertEquals } from "@std/assert";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";

const GRANTS = driverGrants();

function settle(pair: Pair, ms = 600): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

function populate(pair: Pair): { avatars: number[]; prop: number; score: number } {
  pair.joinAll();
  const avatars = pair.clients.map((client, i) =>
    client.engine.spawn({ ...avatarAt(i), Name: { text: `player ${i}` } })
  );
  const prop = pair.server.engine.spawn({ Prop: { at: [1, 0, 0] } });
  const score = pair.server.engine.spawn({
    Score: { points: 3 },
    Blob: { data: new Uint8Array(3_000) },
  });
  settle(pair);
  const held = pair.server.engine.handleOf(pair.clients[0]!.engine.networkIdOf(avatars[0]!));
  pair.server.engine.set(prop, "Prop", { heldBy: held });
  settle(pair);
  assertEquals(disagreements(pair), []);
  return { avatars, prop, score };
}

Deno.test("a client's engine goes on when its driver crashes: the next one resumes place, entities and ownership", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 3 }).start();
    const { avatars } = populate(pair);
    const [a, b] = pair.clients;
    const id = a!.engine.networkIdOf(avatars[0]!);
    const { peer } = a!.engine;
    const remote = [...a!.world.handles()];
    const events: string[] = [];
    a!.engine.onDriverLost = () => events.push("lost");
    a!.engine.onDriverBack = () => events.push("back");
    a!.engine.onDespawn = () => events.push("despawn");
    a!.engine.onSpawn = () => events.push("spawn");
    a!.engine.onSpawnRefused = () => events.push("spawnRefused");
    b!.engine.onDespawn = () => events.push("despawn at b");
    a!.killDriver();
    // The game goes on without a driver.
    a!.engine.set(avatars[0]!, "Avatar", poseAt(7));
    a!.engine.set(avatars[0]!, "Name", { text: "still here" });
    a!.engine.flush();
    pair.run(seed * 17 % 400);
    a!.startDriver();
    pair.until("back", () => a!.core.isJoined);
    settle(pair, 1_500);
    assertEquals(events, ["lost", "back"], `seed ${seed}`);
    assertEquals(a!.engine.peer, peer, `seed ${seed}`);
    assertEquals(a!.engine.networkIdOf(avatars[0]!), id, `seed ${seed}`);
    assertEquals([...a!.world.handles()].sort(), remote.sort(), `seed ${seed}`);
    assertEquals(a!.world.read(avatars[0]!, "Name"), { text: "still here" }, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    pair.run(8_000);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(pair.server.core.world.entityCount, 5, `seed ${seed}`);
  }
});

Deno.test("a client's new driver brings what its engine spawned and despawned meanwhile", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 2 }).start();
    const { avatars } = populate(pair);
    const [a] = pair.clients;
    a!.killDriver();
    a!.engine.despawn(avatars[0]!);
    const made = [a!.engine.spawn(avatarAt(4)), a!.engine.spawn({ Badge: { level: 2 } })];
    a!.engine.flush();
    pair.run(100);
    a!.startDriver();
    pair.until("back", () => a!.core.isJoined);
    settle(pair, 1_500);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assert(made.every((handle) => a!.world.has(handle)), `seed ${seed}`);
    assertEquals(pair.server.core.world.countOwned(a!.engine.peer!), 2, `seed ${seed}`);
  }
});

Deno.test("a client's driver that crashes again and again leaks nothing", () => {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients: 2 }).start();
  const { avatars } = populate(pair);
  const [a] = pair.clients;
  for (let round = 0; round < 25; round++) {
    a!.engine.set(avatars[0]!, "Avatar", poseAt(round));
    a!.engine.flush();
    a!.restartDriver(round * 13 % 90);
    pair.run(150);
    pair.until("back", () => a!.core.isJoined);
    pair.run(round * 7 % 50);
  }
  settle(pair, 1_500);
  assertEquals(disagreements(pair), []);
  assertEquals(pair.server.core.world.entityCount, 4);
  assertEquals(a!.world.read(avatars[0]!, "Avatar")?.body, [24, 1, 0]);
});

Deno.test("a server's engine goes on when its driver crashes: clients come back and all agree", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 3 }).start();
    const { avatars, prop, score } = populate(pair);
    const ids = [prop, score].map((handle) => pair.server.engine.networkIdOf(handle));
    pair.server.killDriver();
    pair.server.engine.set(score, "Score", { points: 77 });
    pair.server.engine.flush();
    pair.clients[1]!.engine.set(avatars[1]!, "Avatar", poseAt(9));
    pair.run(500);
    pair.server.startDriver();
    // Clients notice the silence after 5 s.
    pair.until("all gone", () => pair.clients.every((client) => !client.core.isJoined), 8_000);
    pair.until("all back", () => pair.clients.every((client) => client.core.isJoined), 20_000);
    settle(pair, 2_000);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals([prop, score].map((handle) => pair.server.engine.networkIdOf(handle)), ids);
    assertEquals(pair.server.world.read(score, "Score")?.points, 77);
    assertEquals(pair.server.core.world.entityCount, 5, `seed ${seed}`);
    assertEquals(pair.server.world.size, 5, `seed ${seed}`);
    pair.run(GRANTS.resumeMs + 2_000);
    assertEquals(disagreements(pair), [], `seed ${seed}, later`);
    assertEquals(pair.server.world.size, 5, `seed ${seed}, later`);
  }
});

Deno.test("a server's new driver keeps ids of before from meaning something else", () => {
  const pair = new Pair({ grants: driverGrants({ maxEntities: 30 }), seed: 5, clients: 1 }).start();
  const { prop } = populate(pair);
  for (let round = 0; round < 6; round++) {
    pair.server.restartDriver(100);
    pair.until("gone", () => !pair.clients[0]!.core.isJoined, 8_000);
    pair.until("back", () => pair.clients[0]!.core.isJoined, 20_000);
    settle(pair, 1_000);
    assertEquals(disagreements(pair), [], `round ${round}`);
    assert(pair.server.world.has(prop));
    assertEquals(pair.server.core.world.entityCount, 3, `round ${round}`);
  }
});
