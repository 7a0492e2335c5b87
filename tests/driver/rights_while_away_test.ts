// Rights that change while a peer is away, or that it has for entities it could not spawn any more: when it is back, both ends hold the
// same, and nothing counts that nobody wrote.

import { assert, assertEquals } from "@std/assert";
import type { PairOptions } from "../support/pair.ts";
import { Pair } from "../support/pair.ts";
import { driverGrants } from "../support/driver_world.ts";

const CARD = {
  id: 1,
  name: "Card",
  authority: "owner",
  read: ["all"],
  write: ["player", "spectator"],
  rateHz: 30,
  spawn: { roles: ["player", "spectator"], maxPerPeer: 4 },
  fields: {
    a: { type: "u32", read: ["player", "spectator"], write: ["player"] },
    b: { type: "u32", write: ["player", "spectator"] },
    c: { type: "u32", read: ["spectator"], write: [] },
    d: { type: "u32", read: [], write: [] },
  },
  grantable: { read: ["d"], write: ["d"] },
};
const BLIND = {
  id: 2,
  name: "Blind",
  authority: "owner",
  read: [],
  write: ["player"],
  rateHz: 30,
  spawn: { roles: ["player"], maxPerPeer: 4 },
  fields: { x: { type: "u32" } },
};
const GRANTS = driverGrants({
  components: [CARD, BLIND],
  voice: undefined,
  resumeMs: 60_000,
});

type Values = Readonly<Record<string, number>>;

function flush(pair: Pair, ms: number): void {
  for (const { engine } of [pair.server, ...pair.clients]) engine.flush();
  pair.run(ms);
}

/** A world with one player and its card; `away` cuts it off until the server has noticed, `back` waits until it has resumed and settled. */
function stage(options: Partial<PairOptions> = {}) {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 1, ...options }).start().joinAll();
  const client = pair.clients[0]!;
  const server = pair.server.engine;
  const peer = client.engine.peer!;
  const mine = client.engine.spawn({ Card: { a: 1, b: 1 } });
  flush(pair, 1_000);
  const there = server.handleOf(client.engine.networkIdOf(mine));
  const count = (name: string) => pair.server.core.counters.get(name) ?? 0;
  return {
    pair,
    client,
    server,
    peer,
    mine,
    there,
    away: () => {
      pair.unreachable = true;
      pair.links.get(client)!.change({ lossRate: 1 });
      for (let i = 0; i < 300 && count("peers.lost") === 0; i++) flush(pair, 50);
      assertEquals(count("peers.lost"), 1);
    },
    back: () => {
      pair.unreachable = false;
      const isBack = () => count("join.resumed") === 1 && client.core.isJoined;
      pair.until("the player is back", isBack, 30_000);
      for (let i = 0; i < 60; i++) flush(pair, 50);
    },
    /** Values at the server and at the client. */
    both: () => [server.get(there, "Card") as Values, client.engine.get(mine, "Card") as Values],
  };
}

Deno.test("a write that is revoked while its owner is away does not count, and its engine gets the value that holds", () => {
  const { pair, client, server, peer, mine, away, back, both } = stage();
  pair.muted = "up";
  client.engine.set(mine, "Card", { a: 9 });
  flush(pair, 60);
  away();
  pair.muted = undefined;
  server.revoke(peer, "Card", { write: ["a"] });
  flush(pair, 50);
  back();
  const [there, here] = both();
  assertEquals([there!.a, here!.a], [1, 1]);
});

Deno.test("what is granted to be read while its owner is away is there when it is back", () => {
  const { pair, server, peer, there, away, back, both } = stage();
  server.set(there, "Card", { d: 7 });
  flush(pair, 400);
  away();
  server.grant(peer, "Card", { read: ["d"] });
  flush(pair, 50);
  back();
  assertEquals(both().map((values) => values.d), [7, 7]);
});

Deno.test("rights that are restored while their owner is away bring no value that nobody wrote", () => {
  const { pair, server, peer, there, away, back, both } = stage();
  server.revoke(peer, "Card", { read: ["a"], write: ["a"] });
  flush(pair, 400);
  server.set(there, "Card", { a: 55 });
  flush(pair, 400);
  away();
  server.restore(peer, "Card");
  flush(pair, 50);
  back();
  assertEquals(both().map((values) => values.a), [55, 55]);
});

Deno.test("a role that changes while its peer is away holds in both ways when it is back", () => {
  const { pair, client, server, peer, mine, there, away, back, both } = stage();
  server.set(there, "Card", { c: 7 });
  flush(pair, 400);
  pair.muted = "up";
  client.engine.set(mine, "Card", { a: 9 });
  flush(pair, 60);
  away();
  pair.muted = undefined;
  server.setRole(peer, "spectator");
  flush(pair, 50);
  back();
  const [atServer, atClient] = both();
  assertEquals([atServer!.a, atServer!.c], [1, 7]);
  assertEquals([atClient!.a, atClient!.c], [1, 7]);
});

Deno.test("rights that are restored bring no value that nobody wrote, when the path is bad", () => {
  const conditions = { latencyMs: 40, jitterMs: 30, lossRate: 0.1, reorderRate: 0.3 };
  for (let seed = 1; seed <= 60; seed++) {
    const { pair, server, peer, there, both } = stage({ seed, conditions });
    server.revoke(peer, "Card", { read: ["a"], write: ["a"] });
    flush(pair, 600);
    server.set(there, "Card", { a: 55 });
    flush(pair, 600);
    server.restore(peer, "Card");
    for (let i = 0; i < 60; i++) flush(pair, 30);
    assertEquals(both().map((values) => values.a), [55, 55], `seed ${seed}`);
  }
});

for (const how of ["link", "driver"] as const) {
  Deno.test(`a peer that may not spawn any more keeps what it has, when its ${how} is lost`, () => {
    const card = { ...CARD, spawn: { roles: ["player"], maxPerPeer: 4 } };
    const grants = driverGrants({ components: [card], voice: undefined, resumeMs: 60_000 });
    const { pair, client, server, peer, mine, both } = stage({ grants });
    server.setRole(peer, "spectator");
    flush(pair, 1_000);
    assert(client.engine.set(mine, "Card", { b: 2 }));
    flush(pair, 300);
    if (how === "link") pair.links.get(client)!.change({ lossRate: 1 });
    else client.restartDriver(50);
    const isBack = () =>
      pair.server.core.counters.get("join.resumed") === 1 && client.core.isJoined;
    pair.until("the peer is back", isBack, 30_000);
    for (let i = 0; i < 40; i++) flush(pair, 50);
    assertEquals(both().map((values) => values?.b), [2, 2]);
    assert(client.engine.set(mine, "Card", { b: 3 }));
    flush(pair, 600);
    assertEquals(both().map((values) => values?.b), [3, 3]);
  });
}

Deno.test("a component that its owner may not read stays, when the owner's next header does not name it", () => {
  const { pair, server, there } = stage();
  assert(server.set(there, "Blind", { x: 5 }));
  flush(pair, 600);
  assertEquals(server.get(there, "Blind"), { x: 5 });
});

Deno.test("a peer that is promoted may cause the work of its new role", () => {
  const telemetry = {
    id: 1,
    name: "telemetry",
    mode: "unreliable",
    send: ["spectator"],
    receive: ["server"],
    maxBytes: 100,
    rateHz: 1000,
  };
  const grants = driverGrants({ components: [CARD], voice: undefined, channels: [telemetry] });
  const { pair, client, server, peer } = stage({ grants });
  server.setRole(peer, "spectator");
  flush(pair, 400);
  let left = 0;
  client.engine.onLeft = () => left += 1;
  const channel = client.engine.openChannel("telemetry")!;
  flush(pair, 200);
  for (let i = 0; i < 3_000; i++) {
    channel.send(new Uint8Array(20));
    pair.run(1);
    if (i % 33 === 0) flush(pair, 0);
  }
  assertEquals(left, 0);
  assertEquals(pair.server.core.counters.get("net.unreadDatagrams") ?? 0, 0);
});

Deno.test("a component that its owner loses the right to read stays, and goes when its owner takes it away", () => {
  const veil = { ...BLIND, name: "Veil", read: ["player"], write: ["player", "spectator"] };
  const grants = driverGrants({ components: [CARD, { ...veil, id: 3 }], voice: undefined });
  const { pair, client, server, peer, mine, there } = stage({ grants });
  assert(client.engine.set(mine, "Veil", { x: 3 }));
  flush(pair, 300);
  assert(server.set(there, "Veil", { x: 5 }));
  flush(pair, 300);
  assertEquals(client.engine.get(mine, "Veil"), { x: 5 });
  server.setRole(peer, "spectator");
  flush(pair, 300);
  assert(server.set(there, "Card", { b: 8 }));
  flush(pair, 600);
  assertEquals(server.get(there, "Veil"), { x: 5 });
  assert(client.engine.set(mine, "Card", { b: 9 }));
  flush(pair, 600);
  assertEquals(server.get(there, "Veil"), { x: 5 });
  server.setRole(peer, "player");
  flush(pair, 300);
  assert(client.engine.remove(mine, "Veil"));
  flush(pair, 300);
  assertEquals(server.get(there, "Veil"), undefined);
});
