import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import type { DenialReport, ToDriver } from "../../protocol/engine_messages.ts";
import { decodeToEngine } from "../../protocol/engine_codec.ts";
import { FrameBuffer } from "../../protocol/frame_buffer.ts";
import { MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";

const GRANTS = driverGrants({
  roles: [{ id: 1, name: "player" }, { id: 2, name: "spectator" }, { id: 3, name: "guard" }],
  zones: [
    { id: 1, name: "room", seenBy: ["guard"] },
    { id: 2, name: "cell" },
    { id: 9, name: "yard", closed: false },
  ],
  voice: {
    speak: ["player", "server"],
    hear: ["all"],
    range: 25,
    maxFrameBytes: 200,
    rateHz: 50,
  },
});

type Client = PairNode<ClientCore>;

function settle(pair: Pair, ms = 400): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

/** The handle by which the server's engine knows an entity of a client's. */
function atServer(pair: Pair, client: Client, handle: number): number {
  const known = pair.server.engine.handleOf(client.engine.networkIdOf(handle));
  assert(known !== 0, "the server's engine knows the entity");
  return known;
}

/** Whether a client's driver is shown an entity of the server's engine. */
function isShown(pair: Pair, client: Client, handle: number): boolean {
  const id = pair.server.engine.networkIdOf(handle);
  return pair.server.core.isShown(client.engine.peer!, id);
}

/** Who of the clients is shown an entity, by index. */
function shownTo(pair: Pair, handle: number): number[] {
  return pair.clients.flatMap((client, i) => isShown(pair, client, handle) ? [i] : []);
}

/** Clients at one place, each with an avatar; by index and by their handles at the server. */
function room(seed: number, clients: number, latencyMs = 20) {
  const conditions = { latencyMs };
  const pair = new Pair({ grants: GRANTS, seed, clients, conditions }).start().joinAll();
  const own = pair.clients.map((client) => client.engine.spawn(avatarAt(1)));
  settle(pair, 600);
  const avatars = pair.clients.map((client, i) => atServer(pair, client, own[i]!));
  return { pair, own, avatars };
}

function denialsOf(node: Pick<PairNode, "engine">): string[] {
  const told: string[] = [];
  node.engine.onDenied = ({ door, rule, subject, id, count }: DenialReport) =>
    told.push(`${door} ${rule} ${subject} ${id} x${count}`);
  return told;
}

/** A batch of nothing but zones and spawns, that a correct SDK would never send. */
function batchOf(zones: number[], spawns: number[] = []): ToDriver {
  const none = new Uint32Array(0);
  return {
    kind: "batch",
    id: 9_999,
    spawns: Uint32Array.from(spawns),
    spawnOwners: new Uint32Array(spawns.length),
    components: [],
    removes: none,
    despawns: none,
    zones: Uint32Array.from(zones),
  };
}

function opus(): Uint8Array {
  const bytes = new Uint8Array(60).fill(7);
  bytes[0] = 9 << 3;
  return bytes;
}

Deno.test("what is in a closed zone is shown to those inside, to its owner and to roles that see into it, and to all once it is out", () => {
  const { pair, avatars } = room(1, 4);
  const { engine } = pair.server;
  assert(engine.setRole(pair.clients[2]!.engine.peer!, "guard"));
  const prop = engine.spawn({ Prop: { at: [2, 0, 0] } }, { zone: "room" });
  const gift = engine.spawn({ Score: { points: 1 } }, { zone: "room" });
  settle(pair);
  assertEquals(engine.zoneOf(prop), "room");
  assertEquals([shownTo(pair, prop), shownTo(pair, gift)], [[2], [2]]);
  // Who enters sees it and is not seen any more, but by himself.
  engine.setZone(avatars[0]!, "room");
  settle(pair);
  assertEquals([shownTo(pair, prop), shownTo(pair, gift)], [[0, 2], [0, 2]]);
  assertEquals(shownTo(pair, avatars[0]!), [0, 2]);
  assertEquals(
    shownTo(pair, avatars[1]!),
    [0, 1, 2, 3],
    "what is in no zone is seen from everywhere",
  );
  // Another closed zone is another one, and an open one hides nothing.
  engine.setZone(avatars[3]!, "cell");
  engine.setZone(avatars[1]!, "yard");
  settle(pair);
  assertEquals(shownTo(pair, avatars[3]!), [3]);
  assertEquals(shownTo(pair, avatars[1]!), [0, 1, 2, 3]);
  // An owner sees its own, wherever it stands; nothing else follows.
  engine.transfer(gift, pair.clients[1]!.engine.peer!);
  settle(pair);
  assertEquals([shownTo(pair, prop), shownTo(pair, gift)], [[0, 2], [0, 1, 2]]);
  // The role is gone, and with it the sight.
  engine.setRole(pair.clients[2]!.engine.peer!, "player");
  settle(pair);
  assertEquals(shownTo(pair, prop), [0]);
  for (const handle of [...avatars, prop, gift]) engine.setZone(handle, undefined);
  settle(pair);
  for (const handle of [...avatars, prop, gift]) assertEquals(shownTo(pair, handle), [0, 1, 2, 3]);
  assertEquals(engine.zoneOf(prop), undefined);
});

Deno.test("`setZone()` counts from the next tick on, and game code outside is told that the entity is out of view", () => {
  const { pair } = room(2, 1);
  const { engine } = pair.server;
  const [a] = pair.clients;
  const prop = engine.spawn({ Prop: { at: [2, 0, 0] } });
  settle(pair);
  const id = engine.networkIdOf(prop);
  const there = a!.engine.handleOf(id);
  const told: string[] = [];
  a!.engine.onHide = (handle, name) => told.push(`hide ${handle === there} ${name}`);
  a!.engine.onRemoteChange = (handle) => handle === there && told.push("change");
  assert(engine.setZone(prop, "room"));
  engine.flush();
  pair.run(1000 / GRANTS.tickHz + 3);
  assertEquals(isShown(pair, a!, prop), false);
  settle(pair);
  engine.set(prop, "Prop", { at: [3, 0, 0] });
  settle(pair);
  assertEquals(told, ["hide true Prop"]);
  engine.setZone(prop, undefined);
  settle(pair);
  assertEquals(told, ["hide true Prop", "change"]);
  assertEquals(a!.world.read(there, "Prop")?.["at"], [3, 0, 0]);
});

Deno.test("what comes back out of a closed zone within the history costs a header, not its contents", () => {
  const { pair } = room(3, 1);
  const { engine } = pair.server;
  const data = new Uint8Array(20_000);
  new Prng(5).fill(data);
  const blob = engine.spawn({ Blob: { data } });
  settle(pair, 1_500);
  const bytes = (change: () => void) => {
    change();
    pair.recording = true;
    pair.wire.down.length = 0;
    settle(pair, 500);
    pair.recording = false;
    return pair.wire.down.reduce((sum, one) => sum + one.length, 0);
  };
  bytes(() => engine.setZone(blob, "room"));
  assertEquals(shownTo(pair, blob), []);
  assertLess(bytes(() => engine.setZone(blob, undefined)), 2_000);
  assertEquals(shownTo(pair, blob), [0]);
  bytes(() => engine.setZone(blob, "room"));
  pair.run(GRANTS.historyMs + 500);
  assertGreater(bytes(() => engine.setZone(blob, undefined)), 20_000);
});

Deno.test("what a peer spawns begins in the zone where it stands, unseen outside from the first moment on, and the server's engine hears of it", () => {
  const { pair, avatars } = room(4, 2);
  const { engine } = pair.server;
  engine.setZone(avatars[0]!, "room");
  settle(pair);
  const seen: number[] = [];
  pair.clients[1]!.engine.onSpawn = (handle) => seen.push(handle);
  const thing = pair.clients[0]!.engine.spawn({ ...avatarAt(2), Name: { text: "secret" } });
  settle(pair);
  const handle = atServer(pair, pair.clients[0]!, thing);
  assertEquals(engine.zoneOf(handle), "room");
  assertEquals([shownTo(pair, handle), seen], [[0], []]);
  engine.setZone(handle, undefined);
  settle(pair);
  assertEquals([shownTo(pair, handle), seen.length], [[0, 1], 1]);
  assertEquals(pair.clients[0]!.engine.zoneOf(thing), undefined, "clients know of no zones");
});

Deno.test("a peer without a position stands where an entity of its own is, and one without any in no zone", () => {
  const pair = new Pair({ grants: GRANTS, seed: 5, clients: 1 }).start().joinAll();
  const { engine } = pair.server;
  const inside = engine.spawn({ Score: { points: 1 } }, { zone: "room" });
  settle(pair);
  assertEquals(shownTo(pair, inside), []);
  const badge = pair.clients[0]!.engine.spawn({ Badge: { level: 1 } });
  settle(pair);
  engine.setZone(atServer(pair, pair.clients[0]!, badge), "room");
  settle(pair);
  assertEquals(shownTo(pair, inside), [0]);
  // It goes on standing there while it has other things elsewhere, until it has a body.
  const [other] = [pair.clients[0]!.engine.spawn({ Badge: { level: 2 } })];
  settle(pair);
  engine.setZone(atServer(pair, pair.clients[0]!, other), undefined);
  settle(pair);
  assertEquals(shownTo(pair, inside), [0]);
  const body = pair.clients[0]!.engine.spawn(avatarAt(0));
  settle(pair);
  engine.setZone(atServer(pair, pair.clients[0]!, body), undefined);
  settle(pair);
  assertEquals(shownTo(pair, inside), []);
});

/** Numbers of the events that each client and the server's engine hear. */
function listen(pair: Pair): number[][] {
  return [pair.server, ...pair.clients].map((node) => {
    const heard: number[] = [];
    node.engine.onEvent = (_name, values: ComponentValues) => heard.push(values["count"] as number);
    return heard;
  });
}

Deno.test("an event is heard by those who see into the zones where its sender stands and of what it names, and by whom the engine names", () => {
  const { pair, own, avatars } = room(6, 3);
  const { engine } = pair.server;
  const [a, b, c] = pair.clients;
  const prop = engine.spawn({ Prop: { at: [2, 0, 0] } }, { zone: "room" });
  engine.setZone(avatars[0]!, "room");
  engine.setZone(avatars[1]!, "room");
  settle(pair);
  const heard = listen(pair);
  // From inside, of nobody; from outside; from inside, of one who is outside.
  assert(a!.engine.sendEvent("Wave", { count: 1 }));
  assert(c!.engine.sendEvent("Wave", { count: 2, who: own[2]! }));
  const cAtA = a!.engine.handleOf(c!.engine.networkIdOf(own[2]!));
  assert(a!.engine.sendEvent("Wave", { count: 3, who: cAtA }));
  // From the engine: of nobody, of what is inside, and of that to one who is outside.
  assert(engine.sendEvent("Boom", { count: 4 }));
  assert(engine.sendEvent("Boom", { count: 5, what: prop }));
  assert(engine.sendEvent("Boom", { count: 6, what: prop }, { to: c!.engine.peer! }));
  settle(pair, 900);
  assertEquals(heard.map((one) => one.sort()), [
    [1, 2, 3],
    [2, 4, 5],
    [1, 2, 3, 4, 5],
    [4, 6],
  ]);
  // Its own entity a peer hears of, wherever it is.
  engine.transfer(prop, c!.engine.peer!);
  settle(pair);
  for (const one of heard) one.length = 0;
  assert(engine.sendEvent("Boom", { count: 7, what: prop }));
  settle(pair, 900);
  assertEquals(heard, [[], [7], [7], [7]]);
  assertEquals(b!.engine.peers.length, a!.engine.peers.length);
});

Deno.test("a voice inside a closed zone is heard inside alone, from the moment that its speaker is there", () => {
  const { pair, own, avatars } = room(7, 3);
  const { engine } = pair.server;
  const heard = pair.clients.map((client) => {
    const frames: number[] = [];
    client.engine.onVoice = (handle) => frames.push(handle);
    return frames;
  });
  const counts = () => heard.map((one) => one.splice(0).length);
  const speak = (i: number) => assert(pair.clients[i]!.engine.sendVoice(own[i]!, opus()));
  speak(0);
  settle(pair);
  assertEquals(counts(), [0, 1, 1]);
  engine.setZone(avatars[0]!, "room");
  engine.setZone(avatars[1]!, "room");
  settle(pair);
  speak(0);
  settle(pair);
  assertEquals(counts(), [0, 1, 0]);
  // Behind the order, ahead of the tick: what is shown is still what was shown before.
  const horn = engine.spawn({ Prop: { at: [1, 0, 0] } });
  settle(pair);
  assert(engine.sendVoice(horn, opus()));
  settle(pair);
  assertEquals(counts(), [1, 1, 1]);
  engine.setZone(horn, "room");
  engine.flush();
  assert(engine.sendVoice(horn, opus()));
  settle(pair);
  assertEquals(counts(), [1, 1, 0]);
  speak(0);
  speak(2);
  settle(pair);
  // What is said outside is heard inside.
  assertEquals(counts(), [1, 2, 0]);
});

Deno.test("a next driver is told of all zones with the first batch, before anyone sees anything", () => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 2 }).start().joinAll();
    const { engine } = pair.server;
    const [a, b] = pair.clients;
    const prop = engine.spawn({ Prop: { at: [2, 0, 0] } }, { zone: "room" });
    const body = engine.spawn({ Prop: { at: [2, 0, 0] } }, {
      zone: "room",
      owner: a!.engine.peer!,
    });
    const moved = engine.spawn({ Prop: { at: [1, 0, 0] } });
    settle(pair);
    assertEquals([shownTo(pair, prop), shownTo(pair, body)], [[0], [0]], `seed ${seed}`);
    pair.server.killDriver();
    engine.setZone(moved, "cell");
    pair.run(200);
    const seen: number[] = [];
    b!.engine.onSpawn = (handle) => seen.push(b!.engine.networkIdOf(handle));
    pair.server.startDriver();
    pair.until("back", () => pair.clients.every(({ core }) => core.isJoined), 40_000);
    settle(pair, 1_000);
    const { world } = pair.server.core;
    const zones = [prop, body, moved].map((one) => world.zone(engine.networkIdOf(one)));
    assertEquals(zones, [1, 1, 2], `seed ${seed}`);
    assertEquals(shownTo(pair, moved), [], `seed ${seed}`);
    assertEquals(seen.filter((id) => world.isAlive(id) && world.zone(id) !== 0), []);
  }
});

Deno.test("a peer that comes back stands where it stood, before it has sent or seen anything", () => {
  // So near that what it sends at once is there before the next tick, at any moment between two of them.
  for (let phase = 0; phase < 12; phase++) {
    const { pair, own, avatars } = room(8, 2, 1);
    const { engine } = pair.server;
    const [a, b] = pair.clients;
    const prop = engine.spawn({ Prop: { at: [2, 0, 0] } }, { zone: "room" });
    engine.setZone(avatars[0]!, "room");
    settle(pair);
    pair.run(phase * 3);
    a!.killDriver();
    const told: number[] = [];
    b!.engine.onSpawn = (handle) => told.push(handle);
    // What it makes while it is away comes with its return.
    const made = a!.engine.spawn({ ...avatarAt(3), Name: { text: "made" } });
    a!.engine.flush();
    a!.startDriver();
    pair.until("back", () => a!.core.isJoined, 10_000);
    settle(pair, 600);
    assertEquals(shownTo(pair, prop), [0]);
    assertEquals(shownTo(pair, atServer(pair, a!, own[0]!)), [0]);
    assertEquals([shownTo(pair, atServer(pair, a!, made)), told], [[0], []], `phase ${phase}`);
  }
});

Deno.test("a server's driver refuses zones that the world does not declare, and what shall be spawned there is not spawned anywhere", () => {
  const { pair, avatars } = room(9, 1);
  const { engine, core } = pair.server;
  const denials = denialsOf(pair.server);
  const refused: string[] = [];
  engine.onSpawnRefused = (handle, rule) => refused.push(`${handle} ${rule}`);
  engine.setZone(avatars[0]!, "room");
  settle(pair);
  const send = (message: ToDriver) => {
    core.handleEngine(message, pair.network.now);
    pair.server.wake();
    pair.run(200);
  };
  const entities = core.world.entityCount;
  const told: number[] = [];
  const frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  pair.tap = {
    connection: (_client, connector, acceptor) => ({ connector, acceptor }),
    engineBytes: (node, way, bytes) => {
      if ((node as unknown) !== pair.server || way !== "toEngine") return;
      frames.handleBytes(bytes);
      for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
        const decoded = decodeToEngine(frame);
        assert(decoded.ok);
        if (decoded.message.kind === "batch") told.push(...decoded.message.zones);
      }
    },
  };
  send(batchOf([avatars[0]!, 7]));
  assertEquals(denials.splice(0), ["driver undeclared zone 7 x1"]);
  assertEquals(core.world.zone(engine.networkIdOf(avatars[0]!)), 1);
  assertEquals(told.splice(0), [avatars[0]!, 1], "the engine is told where it stays");
  send(batchOf([12_345, 1]));
  assertEquals(denials.splice(0), ["driver entityUnknown zone 1 x1"]);
  const fresh = 1_000_000;
  send(batchOf([fresh, 1, fresh, 8], [fresh]));
  assertEquals(core.world.entityCount, entities);
  assertEquals(denials.splice(0).sort(), [
    "driver entityUnknown zone 1 x1",
    "driver undeclared zone 8 x1",
  ]);
  // The last of several pairs counts.
  send(batchOf([fresh, 2, fresh, 1], [fresh]));
  assertEquals(core.world.entityCount, entities + 1);
  const born = core.world.maxSlot;
  assertEquals(core.world.zone(core.world.idAt(born)), 1);
});

Deno.test("a client's engine says nothing about zones: its driver refuses them, and its SDK before it", () => {
  const { pair, own } = room(10, 1);
  const [a] = pair.clients;
  const denials = denialsOf(a!);
  a!.core.handleEngine(batchOf([own[0]!, 1]), pair.network.now);
  a!.wake();
  pair.run(200);
  assertEquals(denials.splice(0), ["driver role zone 1 x1"]);
  assertEquals(a!.engine.setZone(own[0]!, "room"), false);
  assertEquals(a!.engine.spawn(avatarAt(2), { zone: "room" }), 0);
  settle(pair);
  assertEquals(denials.splice(0).sort(), ["engine role spawn 0 x1", "engine role zone 1 x1"]);
  const id = a!.engine.networkIdOf(own[0]!);
  assertEquals(pair.server.core.world.zone(id), 0);
  a!.engine.set(own[0]!, "Avatar", poseAt(2));
});
