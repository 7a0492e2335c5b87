// Single fields granted to and revoked from single peers while running, between real cores and SDKs on virtual time: what arrives, what is
// erased at both ends, what late writes come to, and what survives.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { occursAtAnyBit } from "../../examples/demo/bit_search.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { encodeControl } from "../../protocol/control_messages.ts";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { Prng } from "../../protocol/prng.ts";
import { Adjustments } from "../../permissions/adjustments.ts";
import { readMaskOf } from "../../permissions/grants.ts";
import { Rule } from "../../permissions/rule.ts";
import { createValue } from "../../replication/value.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairOptions } from "../support/pair.ts";
import { ForgedState, RawPeer } from "../support/raw_peer.ts";

const GRANTABLE: Readonly<Record<string, unknown>> = {
  Score: { read: ["mine", "secret"] },
  Hint: { read: true },
  Name: { write: true },
  Avatar: { write: ["hand"] },
};

function world() {
  const components = driverComponents();
  for (const component of components) {
    if (component.name in GRANTABLE) component["grantable"] = GRANTABLE[component.name];
  }
  const score = components.find(({ name }) => name === "Score")!;
  const fields = score["fields"] as Record<string, unknown>;
  fields["gossip"] = { type: "string", maxBytes: 64, read: ["player"] };
  return driverGrants({ components });
}

const GRANTS = world();
const NAME = GRANTS.components.findIndex(({ name }) => name === "Name");
const SCORE = GRANTS.components.findIndex(({ name }) => name === "Score");
const CANARY = "cnry-7f2a9be04d";

/** A pair whose clients are in, with a prop of the server's that has a score. */
function scene(options: Partial<PairOptions> = {}) {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 1, ...options }).start();
  pair.joinAll(20_000);
  const { server } = pair;
  const prop = server.engine.spawn({
    Prop: { at: [0, 0, 0] },
    Score: { points: 5, mine: 6, secret: CANARY, gossip: `${CANARY} gossip` },
  });
  const avatars = pair.clients.map((client) => client.engine.spawn(avatarAt(1)));
  flush(pair, 600);
  const handleAt = (index: number, handle = prop) =>
    pair.clients[index]!.engine.handleOf(server.engine.networkIdOf(handle));
  const scoreAt = (index: number) =>
    pair.clients[index]!.engine.get(handleAt(index), "Score") as Record<string, unknown>;
  const peerOf = (index: number) => pair.clients[index]!.engine.peer!;
  return { pair, server: server.engine, prop, avatars, handleAt, scoreAt, peerOf };
}

function flush(pair: Pair, ms: number): void {
  for (const { engine } of [pair.server, ...pair.clients]) engine.flush();
  pair.run(ms);
}

function collected(engine: { onDenied?: ((one: DenialReport) => void) | undefined }) {
  const denials: DenialReport[] = [];
  engine.onDenied = (one) => denials.push(one);
  return denials;
}

Deno.test("EngineLink.grant() lets one peer read what its role may not, and nobody else", () => {
  const { pair, server, prop, scoreAt, peerOf } = scene({ clients: 2 });
  assertEquals(scoreAt(0)["secret"], "");
  assert(server.grant(peerOf(0), "Score", { read: ["secret"] }));
  flush(pair, 400);
  assertEquals(scoreAt(0)["secret"], CANARY);
  assertEquals(scoreAt(1)["secret"], "");
  // From then on it is a field like any other, whoever joins in reading it.
  server.set(prop, "Score", { secret: "another", points: 9 });
  flush(pair, 400);
  assertEquals(scoreAt(0), { points: 9, mine: 0, secret: "another", gossip: `${CANARY} gossip` });
  assertEquals(scoreAt(1), { points: 9, mine: 0, secret: "", gossip: `${CANARY} gossip` });
});

Deno.test("EngineLink.revoke() erases a field at the peer, tells its game code, and sends no bit of it again", () => {
  const { pair, server, prop, handleAt, scoreAt, peerOf } = scene();
  const { engine } = pair.clients[0]!;
  const told: unknown[] = [];
  engine.onRevoke = (...all) => told.push(all);
  assertEquals(scoreAt(0)["gossip"], `${CANARY} gossip`);
  server.revoke(peerOf(0), "Score", { read: ["gossip"] });
  flush(pair, 200);
  assertEquals(told, [[handleAt(0), "Score", ["gossip"]]]);
  pair.recording = true;
  for (let i = 0; i < 20; i++) {
    server.set(prop, "Score", { points: 100 + i, gossip: `${CANARY} ${i}`, mine: i });
    flush(pair, 50);
  }
  assertEquals(scoreAt(0), { points: 119, mine: 0, secret: "", gossip: "" });
  assert(pair.wire.down.length > 15);
  assert(!occursAtAnyBit(pair.wire.down, new TextEncoder().encode(CANARY)));
  // The search finds what is there.
  server.restore(peerOf(0), "Score");
  flush(pair, 300);
  assert(occursAtAnyBit(pair.wire.down, new TextEncoder().encode(CANARY)));
  assertEquals(scoreAt(0), { points: 119, mine: 0, secret: "", gossip: `${CANARY} 19` });
});

Deno.test("EngineLink.revoke() leaves nothing of a field in the memory of the peer's driver", () => {
  const { pair, server, prop, peerOf } = scene();
  const id = server.networkIdOf(prop);
  const { core } = pair.clients[0]!;
  const before = pair.server.core.world.hash(
    id,
    (c) => readMaskOf(GRANTS.components[c]!, 1, false),
  );
  assertEquals(core.hashOf(id), before);
  server.revoke(peerOf(0), "Score", { read: ["gossip"] });
  flush(pair, 400);
  const adjusted = new Adjustments();
  const gossip = GRANTS.components[SCORE]!.fields.find(({ name }) => name === "gossip")!;
  adjusted.set(GRANTS.components[SCORE]!, {
    readGranted: 0,
    readRevoked: 1 << gossip.index,
    writeGranted: 0,
    writeRevoked: 0,
  });
  const masks = (c: number) => readMaskOf(GRANTS.components[c]!, 1, false, adjusted);
  assertEquals(core.hashOf(id), pair.server.core.world.hash(id, masks));
});

Deno.test("EngineLink.grant() and revoke() of a whole component show it and take it away", () => {
  const { pair, server, peerOf, handleAt } = scene();
  const hint = server.spawn({ Prop: { at: [1, 0, 0] }, Hint: { text: CANARY } });
  flush(pair, 300);
  const { engine } = pair.clients[0]!;
  const text = () => engine.get(handleAt(0, hint), "Hint");
  assertEquals(text(), { text: CANARY });
  server.revoke(peerOf(0), "Hint", { read: ["text"] });
  flush(pair, 400);
  assertEquals(text(), undefined);
  server.setRole(peerOf(0), "spectator");
  server.restore(peerOf(0), "Hint");
  flush(pair, 400);
  assertEquals(text(), undefined, "a spectator's role does not read it");
  server.grant(peerOf(0), "Hint", { read: ["text"] });
  flush(pair, 400);
  assertEquals(text(), { text: CANARY });
});

Deno.test("adjustments survive changes of role, and leave the role's rights behind when they are lifted", () => {
  const { pair, server, scoreAt, peerOf } = scene();
  server.grant(peerOf(0), "Score", { read: ["secret"] });
  server.revoke(peerOf(0), "Score", { read: ["points"] });
  for (const role of ["spectator", "player", "spectator"]) {
    server.setRole(peerOf(0), role);
    flush(pair, 400);
    const gossip = role === "player" ? `${CANARY} gossip` : "";
    assertEquals(scoreAt(0), { points: 0, mine: 0, secret: CANARY, gossip }, role);
  }
  server.restore(peerOf(0), "Score");
  flush(pair, 400);
  assertEquals(scoreAt(0), { points: 5, mine: 0, secret: "", gossip: "" });
});

Deno.test("EngineLink tells game code of fields that a new role may not read, and makes them neutral", () => {
  const { pair, server, handleAt, scoreAt, peerOf } = scene();
  const told: unknown[] = [];
  const { engine } = pair.clients[0]!;
  engine.onRevoke = (...all) => told.push(all);
  server.setRole(peerOf(0), "spectator");
  flush(pair, 400);
  assertEquals(scoreAt(0)["gossip"], "");
  assertEquals(told, [
    [handleAt(0), "Score", ["gossip"]],
  ]);
});

Deno.test("EngineLink makes neutral what only an owner reads, when the entity goes to someone else", () => {
  const { pair, server, prop, scoreAt, peerOf } = scene();
  server.transfer(prop, peerOf(0));
  flush(pair, 400);
  assertEquals(scoreAt(0)["mine"], 6);
  server.revoke(peerOf(0), "Score", { read: ["mine"] });
  flush(pair, 400);
  assertEquals(scoreAt(0)["mine"], 0, "what an owner reads can be revoked, too");
  server.restore(peerOf(0), "Score");
  flush(pair, 400);
  assertEquals(scoreAt(0)["mine"], 6);
  server.transfer(prop, 0);
  flush(pair, 400);
  assertEquals(scoreAt(0)["mine"], 0);
});

Deno.test("EngineLink.revoke() of writing stops an owner, refuses what is under way, and puts it right", () => {
  for (let seed = 1; seed <= 15; seed++) {
    const conditions = { latencyMs: 50, jitterMs: 20, lossRate: 0.15, reorderRate: 0.1 };
    const { pair, server, avatars, peerOf } = scene({ seed, conditions });
    const { engine } = pair.clients[0]!;
    const avatar = avatars[0]!;
    const name = engine.spawn({ Name: { text: "old" } });
    flush(pair, 600);
    const atServer = server.handleOf(engine.networkIdOf(name));
    assertEquals(server.get(atServer, "Name"), { text: "old" });
    engine.set(name, "Name", { text: "late" });
    engine.flush();
    server.revoke(peerOf(0), "Name", { write: ["text"] });
    server.set(atServer, "Name", { text: "said by the server" });
    server.flush();
    pair.play(300, 25, (i) => {
      engine.set(avatar, "Avatar", poseAt(1 + i * 0.1));
      engine.flush();
    });
    flush(pair, 1_500);
    assertEquals(engine.get(name, "Name"), { text: "said by the server" }, `seed ${seed}`);
    assertEquals(server.get(atServer, "Name"), { text: "said by the server" }, `seed ${seed}`);
    const denials = collected(engine);
    assert(!engine.set(name, "Name", { text: "again" }));
    flush(pair, 400);
    assertEquals(denials.map(({ rule, door }) => [door, rule]), [["engine", Rule.Revoked]]);
    // Restored, it writes on from there.
    server.restore(peerOf(0), "Name");
    flush(pair, 600);
    assert(engine.set(name, "Name", { text: "back" }));
    flush(pair, 800);
    assertEquals(server.get(atServer, "Name"), { text: "back" }, `seed ${seed}`);
  }
});

Deno.test("ServerCore puts an owner right whose write was under way when its right was revoked, though nobody wrote since", () => {
  let late = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const { pair, server, peerOf } = scene({ seed, conditions: { latencyMs: 60 } });
    const { engine } = pair.clients[0]!;
    const name = engine.spawn({ Name: { text: "old" } });
    flush(pair, 600);
    const atServer = server.handleOf(engine.networkIdOf(name));
    server.revoke(peerOf(0), "Name", { write: ["text"] });
    server.flush();
    pair.run(seed * 12);
    // While it does not know, it writes.
    if (engine.set(name, "Name", { text: "late" })) late += 1;
    flush(pair, 1_500);
    const held = server.get(atServer, "Name");
    assertEquals(engine.get(name, "Name"), held, `seed ${seed}`);
    assertEquals(held, { text: "old" }, `seed ${seed}`);
  }
  assert(late > 0, "some writes were late");
});

Deno.test("ServerCore refuses fields that were revoked, when a peer writes them all the same", () => {
  const pair = new Pair({ grants: GRANTS, seed: 7, clients: 0 }).start();
  pair.run(100);
  const denials = collected(pair.server.engine);
  const raw = new RawPeer(pair).join();
  const forged = new ForgedState(raw);
  const { peer, entityIds } = raw.accepted!;
  const id = entityIds[0]!;
  const value = createValue(GRANTS.components[NAME]!);
  value.blobs[0] = new TextEncoder().encode("first");
  forged.world.spawn(id, peer, forged.tick);
  forged.world.addComponent(id, NAME, value, forged.tick, 0);
  forged.send(400);
  pair.server.engine.revoke(peer, "Name", { write: ["text"] });
  flush(pair, 200);
  const { grantEpoch, adjustment } = raw.of("grants").at(-1)!;
  assertEquals(grantEpoch, 1);
  assertEquals(adjustment.writeRevoked, 1);
  // It knows the new epoch, and goes on as if it had kept the right.
  forged.sender.grantEpoch = grantEpoch;
  value.blobs[0] = new TextEncoder().encode("second");
  forged.world.write(id, NAME, 1, value, forged.tick, 0);
  forged.send(400);
  pair.server.core.world.read(id, NAME, value);
  assertEquals(new TextDecoder().decode(value.blobs[0]), "first");
  assert(denials.some(({ rule, door }) => rule === Rule.Revoked && door === "driver"));
});

Deno.test("EngineLink.grant() of writing lets a peer write its own entities beyond its role, and no others", () => {
  const { pair, server, peerOf, handleAt } = scene({ clients: 2 });
  server.setRole(peerOf(0), "spectator");
  const mine = server.spawn({ Name: { text: "mine" } }, { owner: peerOf(0) });
  const other = server.spawn({ Name: { text: "other" } }, { owner: peerOf(1) });
  flush(pair, 500);
  const { engine } = pair.clients[0]!;
  assert(!engine.set(handleAt(0, mine), "Name", { text: "no" }));
  server.grant(peerOf(0), "Name", { write: ["text"] });
  flush(pair, 400);
  assert(engine.set(handleAt(0, mine), "Name", { text: "yes" }));
  assert(!engine.set(handleAt(0, other), "Name", { text: "no" }));
  flush(pair, 500);
  assertEquals(server.get(mine, "Name"), { text: "yes" });
  assertEquals(server.get(other, "Name"), { text: "other" });
  assertEquals(pair.clients[1]!.engine.get(handleAt(1, mine), "Name"), { text: "yes" });
});

Deno.test("a large value under way never arrives once it is revoked, and comes whole when it is restored", () => {
  const data = Uint8Array.from({ length: 40_000 }, (_, i) => (i * 7) & 0xff);
  for (let seed = 1; seed <= 4; seed++) {
    const conditions = { latencyMs: 30, lossRate: 0.1, reorderRate: 0.1 };
    const { pair, server, handleAt, peerOf } = scene({ seed, conditions });
    const { engine } = pair.clients[0]!;
    const blob = server.spawn({ Prop: { at: [1, 0, 0] }, Blob: { data } });
    flush(pair, 60 + seed * 20);
    server.revoke(peerOf(0), "Blob", { read: ["data"] });
    flush(pair, 2_000);
    assertEquals(engine.get(handleAt(0, blob), "Blob"), undefined, `seed ${seed}`);
    server.restore(peerOf(0), "Blob");
    flush(pair, 3_000);
    assertEquals(engine.get(handleAt(0, blob), "Blob"), { data }, `seed ${seed}`);
  }
});

for (const how of ["link", "driver"] as const) {
  Deno.test(`adjustments survive a lost ${how}, and change while the peer is away`, () => {
    const { pair, server, prop, scoreAt, peerOf } = scene();
    const client = pair.clients[0]!;
    const { engine } = client;
    const peer = peerOf(0);
    const told: string[] = [];
    server.revoke(peer, "Score", { read: ["points"] });
    server.grant(peer, "Score", { read: ["secret"] });
    flush(pair, 400);
    assertEquals(scoreAt(0)["secret"], CANARY);
    engine.onRevoke = (_handle, _name, fields) => told.push(...fields);
    if (how === "link") pair.links.get(client)!.kill("acceptor");
    else client.killDriver();
    server.set(prop, "Score", { points: 50, secret: "new" });
    flush(pair, 100);
    // Until the server knows that nobody is there.
    if (how === "driver") flush(pair, 5_000);
    // One right is lifted, another taken.
    server.restore(peer, "Score");
    server.revoke(peer, "Score", { read: ["gossip"] });
    flush(pair, 100);
    pair.recording = true;
    if (how === "driver") client.startDriver();
    pair.until("the client is back", () =>
      client.core.counters.get("connect.attempts") > 1 ||
      how === "driver", 20_000);
    pair.until("the client is in", () => client.core.isJoined, 20_000);
    flush(pair, 800);
    assertEquals(engine.peer, peer, "it has its place again");
    assertEquals(scoreAt(0), { points: 50, mine: 0, secret: "", gossip: "" });
    assertEquals(told.toSorted(), ["gossip", "secret"]);
    assert(!occursAtAnyBit(pair.wire.down, new TextEncoder().encode(CANARY)));
  });
}

Deno.test("the next driver of a client's engine goes on with the adjustments of its place", () => {
  const { pair, server, scoreAt, peerOf } = scene();
  const client = pair.clients[0]!;
  server.revoke(peerOf(0), "Score", { read: ["points"] });
  server.grant(peerOf(0), "Score", { read: ["secret"] });
  flush(pair, 400);
  client.restartDriver(50);
  pair.until("the client is back", () => client.core.isJoined, 10_000);
  flush(pair, 800);
  assertEquals(scoreAt(0), { points: 0, mine: 0, secret: CANARY, gossip: `${CANARY} gossip` });
  server.restore(peerOf(0), "Score");
  flush(pair, 500);
  assertEquals(scoreAt(0), { points: 5, mine: 0, secret: "", gossip: `${CANARY} gossip` });
});

Deno.test("adjustments end with the place: who joins anew has its role's rights", () => {
  const { pair, server, peerOf, handleAt } = scene();
  server.grant(peerOf(0), "Score", { read: ["secret"] });
  flush(pair, 300);
  server.kick(peerOf(0), "");
  flush(pair, 500);
  const fresh = pair.addClient();
  fresh.start();
  pair.until("a new client joined", () => fresh.core.isJoined);
  flush(pair, 500);
  const index = pair.clients.indexOf(fresh);
  assertEquals(fresh.engine.get(handleAt(index), "Score"), {
    points: 5,
    mine: 0,
    secret: "",
    gossip: `${CANARY} gossip`,
  });
});

Deno.test("EngineLink.grant() says what is wrong, when it asks for more than the manifest lets be granted", () => {
  const { pair, server, peerOf } = scene();
  const peer = peerOf(0);
  const refused = (words: string, fn: () => unknown) => assertThrows(fn, RangeError, words);
  refused('no component "Scroe"; did you mean "Score"', () => server.grant(peer, "Scroe", {}));
  refused('Score has no field "point"', () => server.revoke(peer, "Score", { read: ["point"] }));
  refused(
    'add "points" to `grantable.read` of component "Score"',
    () => server.grant(peer, "Score", { read: ["secret", "points"] }),
  );
  refused(
    "only the server's engine writes it",
    () => server.grant(peer, "Score", { write: ["points"] }),
  );
  refused(
    'add "body" to `grantable.write` of component "Avatar"',
    () => server.grant(peer, "Avatar", { write: ["hand", "body"] }),
  );
  assert(!server.grant(0, "Score", { read: ["secret"] }), "the server has every right");
  assert(!server.grant(999, "Score", { read: ["secret"] }), "nobody is there");
  const { engine } = pair.clients[0]!;
  assert(!engine.grant(peer, "Score", { read: ["secret"] }), "a client gives no rights");
  assert(!engine.revoke(peer, "Score", { read: ["points"] }));
  pair.run(200);
  assertEquals(engine.stats.denials, 2);
});

Deno.test("ServerCore and ClientCore take no grant beyond what the manifest lets be granted", () => {
  const { pair, scoreAt, peerOf } = scene();
  const denials = collected(pair.server.engine);
  const masks = { readGranted: 1, readRevoked: 0, writeGranted: 0, writeRevoked: 0 };
  const order = { kind: "setGrants", peer: peerOf(0), componentId: 4, ...masks } as const;
  pair.server.core.handleEngine(order, pair.network.now);
  pair.server.core.handleEngine({ ...order, componentId: 999 }, pair.network.now);
  pair.server.core.handleEngine({ ...order, readGranted: 1 << 20 }, pair.network.now);
  pair.server.core.handleEngine({ ...order, peer: 77 }, pair.network.now);
  pair.run(600);
  assertEquals(
    denials.map(({ rule }) => rule).toSorted(),
    [Rule.Field, Rule.NotGrantable, Rule.Peer, Rule.Undeclared].toSorted(),
  );
  const message = {
    kind: "grants",
    grantEpoch: 1,
    adjustment: { componentId: 4, ...masks },
  } as const;
  const { core } = pair.clients[0]!;
  pair.injectDown(pair.clients[0]!, encodeControlFrame(encodeControl(message)));
  pair.until("the client left", () => !core.isJoined, 1_000);
  assertEquals(core.counters.get("fault.Forbidden"), 1);
  pair.until("the client is back", () => core.isJoined);
  pair.run(400);
  assertEquals(scoreAt(0)["points"], 5);
});

Deno.test("grants, revocations and roles in any order come to the same world everywhere, under loss and reordering", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const conditions = { latencyMs: 30, jitterMs: 20, lossRate: 0.2, reorderRate: 0.15 };
    const { pair, server, prop, avatars } = scene({ seed, clients: 2, conditions });
    const prng = new Prng(seed * 7 + 1);
    const model = new Map(pair.clients.map(({ engine }) => [engine.peer!, new Adjustments()]));
    const score = GRANTS.components[SCORE]!;
    for (let i = 0; i < 60; i++) {
      const client = pair.clients[prng.nextBelow(2)]!;
      const peer = client.engine.peer!;
      const field = score.fields[prng.nextBelow(4)]!.name;
      const deed = prng.nextBelow(6);
      if (deed === 0 && (field === "mine" || field === "secret")) {
        server.grant(peer, "Score", { read: [field] });
      } else if (deed === 1) server.revoke(peer, "Score", { read: [field] });
      else if (deed === 2) server.restore(peer, "Score");
      else if (deed === 3) server.setRole(peer, prng.chance(0.5) ? "player" : "spectator");
      else if (deed === 4) server.transfer(prop, prng.chance(0.5) ? peer : 0);
      server.set(prop, "Score", { points: i, mine: i, secret: `s${i}`, gossip: `g${i}` });
      const own = avatars[pair.clients.indexOf(client)]!;
      if (client.engine.isOwn(own)) client.engine.set(own, "Avatar", poseAt(1 + i * 0.01));
      flush(pair, 10 + prng.nextBelow(60));
      model.get(peer)!.copy(adjustedOf(server, peer));
    }
    flush(pair, 3_000);
    assertEquals(disagreements(pair, () => true, (peer) => model.get(peer)), [], `seed ${seed}`);
    for (const { engine } of pair.clients) {
      const role = GRANTS.roles.find(({ name }) => name === engine.roleName)!.index;
      const handle = engine.handleOf(server.networkIdOf(prop));
      const isOwn = engine.isOwn(handle);
      const mask = readMaskOf(score, role, isOwn, model.get(engine.peer!));
      const held = engine.get(handle, "Score") as Record<string, unknown> | undefined;
      for (const { name, index } of score.fields) {
        if ((mask & (1 << index)) !== 0 || held === undefined) continue;
        assert(held[name] === 0 || held[name] === "", `seed ${seed}: ${name} is ${held[name]}`);
      }
    }
  }
});

/** The adjustments that a server's engine has made, read off its own answers. */
function adjustedOf(server: ReturnType<typeof scene>["server"], peer: number): Adjustments {
  const adjusted = new Adjustments();
  for (const component of GRANTS.components) {
    adjusted.set(component, server.adjustmentOf(peer, component.name));
  }
  return adjusted;
}

for (const isAway of [false, true]) {
  Deno.test(`a client's driver forgets what the server wrote to its own entity, when that is revoked${isAway ? " while it is away" : ""}`, () => {
    const components = driverComponents();
    const badge = components.find(({ name }) => name === "Badge")!;
    const fields = badge["fields"] as Record<string, Record<string, unknown>>;
    fields["level"]!["write"] = ["spectator"];
    badge["write"] = ["player", "spectator"];
    const grants = driverGrants({ components });
    const pair = new Pair({ grants, seed: 4, clients: 1 }).start().joinAll();
    const client = pair.clients[0]!;
    const handle = client.engine.spawn({ Badge: {} });
    flush(pair, 500);
    const id = client.engine.networkIdOf(handle);
    const without = client.core.hashOf(id);
    const server = pair.server.engine;
    server.set(server.handleOf(id), "Badge", { level: 7 });
    flush(pair, 500);
    assertEquals(client.engine.get(handle, "Badge"), { level: 7, by: 0 });
    assert(client.core.hashOf(id) !== without);
    const peer = client.engine.peer!;
    if (isAway) pair.links.get(client)!.kill("acceptor");
    server.revoke(peer, "Badge", { read: ["level"] });
    flush(pair, 500);
    if (isAway) {
      pair.until(
        "the client is back",
        () => client.core.counters.get("connect.attempts") > 1,
        20_000,
      );
      pair.until("the client is in", () => client.core.isJoined, 20_000);
    }
    flush(pair, 600);
    assertEquals(client.core.hashOf(id), without);
    assertEquals(client.engine.get(handle, "Badge"), { level: 0, by: 0 });
    assertEquals(server.get(server.handleOf(id), "Badge"), { level: 7, by: 0 });
  });
}
