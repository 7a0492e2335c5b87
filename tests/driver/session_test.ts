import { assert, assertEquals, assertGreater } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { encodeControl } from "../../protocol/control_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import { JOIN_TIMEOUT_MS, MAX_HALF_JOINED } from "../../protocol/limits.ts";
import { setNeutral } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants } from "../support/driver_world.ts";
import { joinBytes } from "../support/hostile_bytes.ts";
import { Pair } from "../support/pair.ts";
import { ForgedState, RawPeer } from "../support/raw_peer.ts";
import { HookedConnection } from "../support/hooked_connection.ts";

const GRANTS = driverGrants();

function settle(pair: Pair, ms = 600): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

Deno.test("ServerCore gives a late client the whole present state", () => {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2 }).start();
  pair.joinAll();
  const [a, b] = pair.clients;
  const avatar = a!.engine.spawn({ ...avatarAt(1), Name: { text: "anna" } });
  b!.engine.spawn(avatarAt(2));
  pair.server.engine.spawn({ Prop: { at: [3, 0, 0] }, Score: { points: 5, secret: "hidden" } });
  settle(pair);
  a!.engine.set(avatar, "Avatar", { hand: [9, 9, 9] });
  a!.engine.remove(avatar, "Name");
  settle(pair);
  const late = pair.addClient();
  late.start();
  pair.joinAll();
  late.engine.spawn(avatarAt(0));
  settle(pair, 1_000);
  assertEquals(disagreements(pair), []);
  assertEquals(late.world.size, 4);
});

Deno.test("ServerCore serves as many peers as the world holds and refuses the next one", () => {
  const pair = new Pair({ grants: driverGrants({ maxPeers: 6 }), seed: 2, clients: 6 }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  settle(pair, 1_000);
  assertEquals(disagreements(pair), []);
  const late = pair.addClient();
  const reasons: [number, boolean][] = [];
  late.engine.onLeft = (code, _reason, final) => reasons.push([code, final]);
  late.start();
  pair.run(3_000);
  assert(!late.core.isJoined);
  assertGreater(reasons.length, 1, "it tries again");
  assertEquals(reasons[0], [CloseCode.Full, false]);
  // A place becomes free, and it is in.
  pair.clients[0]!.core.close("enough", pair.network.now);
  pair.until("the waiting client is in", () => late.core.isJoined, 12_000);
  assertEquals(pair.server.engine.peers.length, 6);
});

Deno.test("ServerCore takes a leaving peer's entities out of the world at once", () => {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients: 2 }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  settle(pair);
  const left: [number, string][] = [];
  pair.server.engine.onPlayerLeave = (...leave) => left.push(leave);
  const seen: number[] = [];
  pair.clients[1]!.engine.onPlayerLeave = (peer) => seen.push(peer);
  const gone = pair.clients[0]!.engine.peer!;
  pair.clients[0]!.core.close("going home", pair.network.now);
  pair.run(500);
  assertEquals(left, [[gone, "left"]]);
  assertEquals(seen, [gone]);
  assertEquals(pair.server.core.world.entityCount, 1);
  assertEquals(pair.clients[1]!.world.size, 1);
  assertEquals(pair.server.world.size, 1);
});

Deno.test("ServerCore keeps a lost peer's place for resumeMs, then frees it", () => {
  const pair = new Pair({ grants: GRANTS, seed: 4, clients: 2 }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  settle(pair);
  const left: number[] = [];
  pair.server.engine.onPlayerLeave = (peer) => left.push(peer);
  const lost = pair.clients[0]!.engine.peer!;
  pair.clients[0]!.killDriver();
  // The transport notices after its idle time-out of 5 s, then the place is kept for 8 s.
  pair.run(5_000 + GRANTS.resumeMs - 500);
  assertEquals(left, []);
  assertEquals(pair.server.core.world.countOwned(lost), 1);
  pair.run(2_000);
  assertEquals(left, [lost]);
  assertEquals(pair.server.core.world.countOwned(lost), 0);
  assertEquals(pair.clients[1]!.world.size, 1);
});

Deno.test("ServerCore keeps up with peers that come and go: no slot, id or place is lost", () => {
  const grants = driverGrants({ maxPeers: 3, maxEntities: 40, resumeMs: 500 });
  const pair = new Pair({ grants, seed: 5, clients: 1 }).start();
  pair.joinAll();
  pair.clients[0]!.engine.spawn(avatarAt(0));
  settle(pair);
  for (let round = 0; round < 30; round++) {
    const raw = new RawPeer(pair).join();
    assertEquals(raw.accepted?.entityIds.length, grants.maxEntitiesPerPeer, `round ${round}`);
    if (round % 2 === 0) raw.bye();
    else raw.connection.close(CloseCode.Normal, "");
    pair.run(1_000);
  }
  assertEquals(pair.server.core.world.entityCount, 1);
});

Deno.test("ServerCore refuses another protocol version, another schema and a credential", () => {
  const pair = new Pair({ grants: GRANTS, seed: 6, clients: 0 }).start();
  pair.run(100);
  const refused = (changes: Parameters<RawPeer["join"]>[0]) => {
    const raw = new RawPeer(pair).join(changes);
    pair.run(100);
    assert(raw.accepted === undefined);
    assert(raw.closed !== undefined);
    return [raw.of("refused")[0]?.code, raw.closed.code];
  };
  assertEquals(refused({ protocolVersion: 1 }), [Fault.Incompatible, Fault.Incompatible]);
  assertEquals(
    refused({ schemaHash: new Uint8Array(32) }),
    [Fault.Incompatible, Fault.Incompatible],
  );
  assertEquals(
    refused({ credential: "token" }),
    [CloseCode.Credential, CloseCode.Credential],
  );
  assertEquals(pair.server.core.counters.get("join.refused"), 3);
});

Deno.test("ClientCore ends for good when the server has another schema", () => {
  const pair = new Pair({
    grants: GRANTS,
    seed: 7,
    clients: 1,
    clientGrants: () => driverGrants({ name: "another world" }),
    conditions: { latencyMs: 20, lossRate: 0.3 },
  }).start();
  const left: [number, string, boolean][] = [];
  pair.clients[0]!.engine.onLeft = (...info) => left.push(info);
  pair.run(20_000);
  assertEquals(left.length, 1);
  assertEquals([left[0]![0], left[0]![2]], [Fault.Incompatible, true]);
});

Deno.test("ServerCore drops a connection that does not join in time", () => {
  const pair = new Pair({ grants: GRANTS, seed: 8, clients: 0 }).start();
  pair.run(100);
  const raw = new RawPeer(pair);
  pair.run(JOIN_TIMEOUT_MS - 200);
  assertEquals(raw.closed, undefined);
  pair.run(400);
  assertEquals(raw.closed?.code, CloseCode.JoinTimeout);
  assertEquals(pair.server.core.counters.get("join.refused"), 1, "told once");
});

Deno.test("ServerCore bounds connections that have not joined, and goes on serving", () => {
  const pair = new Pair({ grants: GRANTS, seed: 9, clients: 1 }).start();
  pair.joinAll();
  const idle = Array.from({ length: MAX_HALF_JOINED }, () => new RawPeer(pair));
  const over = new RawPeer(pair);
  pair.run(200);
  assertEquals(over.closed, undefined, "who comes last is let in");
  assertEquals(idle[0]!.closed?.code, CloseCode.Full, "the oldest makes room");
  assert(idle.slice(1).every((raw) => raw.closed === undefined));
  pair.clients[0]!.engine.spawn(avatarAt(0));
  settle(pair);
  assertEquals(pair.server.world.size, 1);
  pair.run(JOIN_TIMEOUT_MS);
  const late = new RawPeer(pair).join();
  assert(late.accepted !== undefined, "the places of those that timed out are free again");
});

Deno.test("ServerCore kicks a peer for good", () => {
  const pair = new Pair({ grants: GRANTS, seed: 10, clients: 2 }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  settle(pair);
  const left: [number, string, boolean][] = [];
  pair.clients[0]!.engine.onLeft = (...info) => left.push(info);
  pair.server.engine.kick(pair.clients[0]!.engine.peer!, "rude");
  settle(pair, 3_000);
  assertEquals(left, [[CloseCode.Kicked, "rude", true]]);
  assertEquals(pair.server.engine.peers, [pair.clients[1]!.engine.peer!]);
  assertEquals(pair.server.core.world.entityCount, 1);
});

Deno.test("ServerCore kicks a peer that is lost at the moment", () => {
  const pair = new Pair({ grants: GRANTS, seed: 11, clients: 1 }).start();
  pair.joinAll();
  const client = pair.clients[0]!;
  client.engine.spawn(avatarAt(0));
  settle(pair);
  pair.unreachable = true;
  pair.links.get(client)!.kill("connector");
  pair.run(5_500);
  const peer = pair.server.engine.peers[0]!;
  pair.server.engine.kick(peer, "away too long");
  settle(pair);
  assertEquals(pair.server.engine.peers, []);
  assertEquals(pair.server.core.world.entityCount, 0);
});

Deno.test("ServerCore is rid of a kicked peer at once, when its driver ignores everything and goes on", () => {
  const pair = new Pair({ grants: GRANTS, seed: 14, clients: 1 }).start();
  pair.joinAll();
  const { server } = pair;
  const left: string[] = [];
  server.engine.onPlayerLeave = (peer, reason) => left.push(`${peer} ${reason}`);
  let hook: HookedConnection;
  // Even its transport goes on as if nobody had closed anything.
  const raw = new RawPeer(pair, (acceptor) => {
    hook = new HookedConnection(acceptor, { survives: () => true });
    return hook;
  }).join();
  const { peer, resumeSecret: secret } = raw.accepted!;
  const forged = new ForgedState(raw);
  const id = raw.accepted!.entityIds[0]!;
  const avatar = forged.grants.components.findIndex(({ name }) => name === "Avatar");
  const value = createValue(forged.grants.components[avatar]!);
  setNeutral(forged.grants.components[avatar]!, value);
  const move = () => {
    value.lanes[0]! += 1;
    forged.world.write(id, avatar, 7, value, forged.tick, raw.time);
  };
  forged.world.spawn(id, peer, forged.tick);
  forged.world.addComponent(id, avatar, value, forged.tick, raw.time);
  forged.send();
  settle(pair);
  assertEquals(server.world.size, 1);

  assert(server.engine.kick(peer, "rude"));
  server.engine.flush();
  pair.run(1);
  assertEquals(hook!.closes, [CloseCode.Kicked]);
  assertEquals(left, [`${peer} kicked`]);
  assertEquals([server.engine.peers.includes(peer), server.core.world.entityCount], [false, 0]);
  assertEquals(server.core.usage.places, 1);
  // Its entities leave the engine's world with the next tick.
  pair.run(1_000 / GRANTS.tickHz);
  assertEquals(server.world.size, 0);

  const { rowsIn } = server.engine.stats;
  const { counters } = server.core;
  const denials = counters.get("denials");
  // It moves what it had, and spawns what it still had an id for.
  const spare = raw.accepted!.entityIds[1]!;
  forged.world.spawn(spare, peer, forged.tick);
  forged.world.addComponent(spare, avatar, value, forged.tick, raw.time);
  for (let i = 0; i < 20; i++) {
    move();
    hook!.injectDatagram(forged.datagram()!);
    pair.run(50);
    raw.control.write(encodeControlFrame(encodeControl({ kind: "bye", code: 0, reason: "" })));
  }
  raw.connection.openStream().write(new Uint8Array(64));
  settle(pair, 2_000);
  assertEquals([server.engine.peers.includes(peer), server.world.size], [false, 0]);
  assertEquals(server.engine.stats.rowsIn, rowsIn, "nothing of it reaches the world");
  assertEquals(counters.get("denials"), denials, "nothing of it is even looked at");
  assertEquals(left, [`${peer} kicked`], "it is told once");
  const back = new RawPeer(pair).join({ resume: { peer, secret } });
  assertEquals(back.closed?.code, CloseCode.Credential, "its place is nobody's any more");
  assertEquals(pair.clients[0]!.engine.peers.filter((one) => one === peer), []);
  assertEquals(server.core.exit, undefined);
});

Deno.test("ClientCore joins the next server when the first one went away", () => {
  const pair = new Pair({ grants: GRANTS, seed: 12, clients: 3 }).start();
  pair.joinAll();
  pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
  const prop = pair.server.engine.spawn({ Prop: { at: [1, 1, 1] } });
  settle(pair);
  pair.server.core.close("restart", pair.network.now);
  pair.server.pump();
  pair.run(100);
  assert(pair.clients.every((client) => !client.core.isJoined));
  pair.server.restartDriver(500);
  pair.run(800);
  pair.joinAll(20_000);
  settle(pair, 1_500);
  assert(pair.server.world.has(prop));
  assertEquals(disagreements(pair), []);
  assertEquals(pair.server.core.world.entityCount, 4);
});

Deno.test("ServerCore tells everyone who is in the world, and in which role", () => {
  const pair = new Pair({ grants: GRANTS, seed: 13, clients: 4 });
  const names = (i: number) => [...pair.clients[i]!.engine.peers].sort((x, y) => x - y);
  pair.start().joinAll();
  const all = pair.clients.map((client) => client.engine.peer!);
  for (let i = 0; i < 4; i++) {
    assertEquals(names(i), all.filter((peer) => peer !== all[i]).sort((x, y) => x - y));
  }
  const roles: [number, string][] = [];
  pair.clients[1]!.engine.onRoleChanged = (...role) => roles.push(role);
  pair.server.engine.setRole(all[0]!, "spectator");
  settle(pair);
  assertEquals(roles, [[all[0]!, "spectator"]]);
  assertEquals(pair.clients[0]!.engine.roleName, "spectator");
  const late = pair.addClient();
  const joined: [number, string][] = [];
  late.engine.onPlayerJoin = (...player) => joined.push(player);
  late.start();
  pair.joinAll();
  assertEquals(joined.find(([peer]) => peer === all[0])?.[1], "spectator");
});

Deno.test("ServerCore judges only the first of two joins on one connection", () => {
  const pair = new Pair({ grants: GRANTS, seed: 14, clients: 0 }).start();
  pair.run(100);
  const joins: number[] = [];
  pair.server.engine.onPlayerJoin = (peer) => joins.push(peer);
  const raw = new RawPeer(pair);
  const join = {
    kind: "join",
    protocolVersion: 2,
    schemaHash: Uint8Array.fromHex(GRANTS.schemaHash),
    credential: "none",
    resume: { peer: 1, secret: new Uint8Array(32) },
  } as const;
  const both = [join, { ...join, resume: undefined }].map((one) =>
    encodeControlFrame(encodeControl(one))
  );
  raw.control.write(joinBytes(...both));
  pair.run(500);
  assertEquals(raw.accepted, undefined);
  assertEquals(joins, []);
  const other = new RawPeer(pair).join();
  other.tell({ ...join, resume: undefined });
  pair.run(200);
  assertEquals(other.closed?.code, Fault.Unexpected);
});
