// Writes that cross a change of the server's engine on a long way: refused, told, and nobody's offence. And entities poured out at once.

import { assert, assertEquals } from "@std/assert";
import {
  CROSSING_MS,
  SPAWN_COUNT_WAIT_MS,
  SPAWN_LOOKS_PER_TICK,
  SPAWN_WAIT_MS,
} from "../../protocol/limits.ts";
import { createValue } from "../../replication/value.ts";
import { driverGrants } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { aliveHeaders, ForgedState, goneHeaders, RawPeer } from "../support/raw_peer.ts";

const CARD = {
  id: 1,
  name: "Card",
  authority: "owner",
  read: ["all"],
  write: ["player"],
  rateHz: 120,
  spawn: { roles: ["player"], maxPerPeer: 512 },
  fields: { a: { type: "u32" }, b: { type: "u32" } },
};

function grantsFor(most: number) {
  return driverGrants({
    components: [{ ...CARD, spawn: { roles: ["player"], maxPerPeer: most } }],
    voice: undefined,
    tickHz: 120,
    maxEntities: 2_048,
    maxEntitiesPerPeer: most,
  }, { limits: { peerBytesPerSecond: 1_000_000 } });
}

const ENTITIES = 60;
const GRANTS = grantsFor(ENTITIES);

/** A client that writes all its entities in every tick, over a path of 300 ms there and back. */
function stage(lossRate: number) {
  const pair = new Pair({
    grants: GRANTS,
    seed: 9,
    clients: 1,
    conditions: { latencyMs: 150, lossRate, jitterMs: 10 },
  }).start().joinAll();
  const client = pair.clients[0]!;
  const own: number[] = [];
  for (let i = 0; i < ENTITIES; i++) own.push(client.engine.spawn({ Card: { a: 1 } }));
  let turn = 0;
  const play = (ms: number) => {
    for (let t = 0; t < ms; t += 1000 / 120) {
      turn += 1;
      for (const handle of own) {
        if (client.engine.isOwn(handle)) client.engine.set(handle, "Card", { a: turn });
      }
      for (const { engine } of [pair.server, client]) engine.flush();
      pair.run(1000 / 120);
    }
  };
  play(3_000);
  const there = own.map((handle) => pair.server.engine.handleOf(client.engine.networkIdOf(handle)));
  assert(there.every((handle) => handle !== 0));
  const count = (name: string) => pair.server.core.counters.get(name) ?? 0;
  return { pair, client, own, there, play, count };
}

for (const lossRate of [0, 0.05]) {
  for (const how of ["override", "transfer", "demotion"] as const) {
    Deno.test(`ServerCore keeps an owner whose writes cross the ${how} of all it has, at ${lossRate} loss`, () => {
      const { pair, client, own, there, play, count } = stage(lossRate);
      const { engine } = pair.server;
      const peer = client.engine.peer!;
      for (let round = 0; round < 3; round++) {
        if (how === "demotion") engine.setRole(peer, round % 2 === 0 ? "spectator" : "player");
        for (const handle of there) {
          if (how === "override") assert(engine.set(handle, "Card", { b: round + 1 }));
          if (how === "transfer") assert(engine.transfer(handle, round % 2 === 0 ? 0 : peer));
        }
        play(1_500);
      }
      assertEquals([count("peers.lost"), count("net.floodingPeersDropped")], [0, 0]);
      assertEquals(count("fault.Flood"), 0);
      assertEquals(engine.peers.includes(peer), true);
      if (how === "override") {
        assert(count("denials") > 1_000, `${count("denials")} denials`);
        assertEquals(engine.get(there[0]!, "Card")?.["b"], 3);
        assertEquals(client.engine.get(own[0]!, "Card")?.["b"], 3);
      }
    });
  }
}

/** A raw peer that says of the server's entities, of which some were its own until `ms` ago, that they have ended. */
function usurp(ms: number, wereOwn: boolean) {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients: 0 }).start();
  pair.run(200);
  const raw = new RawPeer(pair).join();
  const { engine } = pair.server;
  const { peer, grantEpoch } = raw.accepted!;
  const owner = wereOwn ? peer : 0;
  const handles: number[] = [];
  for (let i = 0; i < 40; i++) handles.push(engine.spawn({ Card: { a: i } }, { owner }));
  engine.flush();
  pair.run(500);
  if (wereOwn) { for (const handle of handles) engine.transfer(handle, 0); }
  engine.flush();
  pair.run(ms);
  const ids = handles.map((handle) => engine.networkIdOf(handle)).sort((a, b) => a - b);
  for (let i = 0; i < 100; i++) {
    raw.send(raw.datagram({ snapshot: goneHeaders(grantEpoch, ids) }));
    pair.run(5);
  }
  pair.run(200);
  assertEquals(ids.filter((id) => pair.server.core.world.isAlive(id)).length, handles.length);
  const { counters } = pair.server.core;
  assert((counters.get("denials") ?? 0) >= 1_000);
  return { isDropped: raw.closed !== undefined, faults: counters.get("fault.Flood") ?? 0 };
}

Deno.test("ServerCore holds nothing against a peer that speaks of what it owned a moment ago", () => {
  assertEquals(usurp(CROSSING_MS - 750, true), { isDropped: false, faults: 0 });
});

for (const wereOwn of [true, false]) {
  const whose = wereOwn ? "it owned once" : "it never owned";
  Deno.test(`ServerCore drops a peer that goes on speaking of what ${whose}`, () => {
    assertEquals(usurp(CROSSING_MS + 500, wereOwn).isDropped, true);
  });
}

for (const lossRate of [0, 0.05]) {
  Deno.test(`ServerCore takes all that a peer may own when it is spawned in one batch, at ${lossRate} loss`, () => {
    const most = 500;
    const pair = new Pair({
      grants: grantsFor(most),
      seed: 4,
      clients: 1,
      conditions: { latencyMs: 40, lossRate },
    }).start().joinAll();
    const client = pair.clients[0]!;
    const refused: unknown[] = [];
    client.engine.onSpawnRefused = (handle, rule) => refused.push([handle, rule]);
    for (let i = 0; i < most; i++) client.engine.spawn({ Card: { a: i, b: most - i } });
    for (let i = 0; i < 300 && pair.server.world.size < most; i++) {
      client.engine.flush();
      pair.run(20);
    }
    assertEquals(refused, []);
    assertEquals(pair.server.world.size, most);
    assertEquals(client.engine.spawn({ Card: {} }), 0, "one more is one too many");
  });
}

Deno.test("ServerCore lets as many spawns wait for large values as a peer has ids for, and takes all", () => {
  const most = SPAWN_LOOKS_PER_TICK + 88;
  const note = { ...CARD, fields: { text: { type: "bytes", maxBytes: 1_200 } } };
  const grants = driverGrants({
    components: [{ ...note, spawn: { roles: ["player"], maxPerPeer: most } }],
    voice: undefined,
    maxEntities: 2_048,
    maxEntitiesPerPeer: most,
  }, { limits: { peerBytesPerSecond: 1_000_000 } });
  const conditions = { latencyMs: 20, lossRate: 0.02 };
  const pair = new Pair({ grants, seed: 6, clients: 1, conditions }).start().joinAll();
  const client = pair.clients[0]!;
  const refused: unknown[] = [];
  client.engine.onSpawnRefused = (handle, rule) => refused.push([handle, rule]);
  for (let i = 0; i < most; i++) {
    assert(client.engine.spawn({ Card: { text: new Uint8Array(1_200).fill(i) } }) !== 0);
  }
  let waited = 0;
  for (let i = 0; i < 600 && pair.server.world.size < most - refused.length; i++) {
    client.engine.flush();
    pair.run(50);
    waited = Math.max(waited, pair.server.core.usage.spawns);
  }
  assertEquals(refused, []);
  assertEquals(pair.server.world.size, most);
  assert(waited > SPAWN_LOOKS_PER_TICK, `only ${waited} waited at once`);
});

Deno.test("ServerCore lets no more spawns wait than a peer has ids, and gives up all that stay without their values", () => {
  const most = SPAWN_LOOKS_PER_TICK + 88;
  const pair = new Pair({ grants: grantsFor(most), seed: 7, clients: 0 }).start();
  pair.run(200);
  const raw = new RawPeer(pair).join();
  const { grantEpoch, peer, entityIds } = raw.accepted!;
  assertEquals(entityIds.length, most);
  const listed = { grants: pair.grants, components: [0] };
  const last = entityIds.at(-1)!;
  const ids = [...entityIds, last + 1, last + 2, last + 3];
  const announce = () => {
    for (let i = 0; i < ids.length; i += 40) {
      const some = ids.slice(i, i + 40);
      raw.send(raw.datagram({ snapshot: aliveHeaders(grantEpoch, some, peer, listed) }));
      pair.run(20);
    }
  };
  announce();
  announce();
  const { usage } = pair.server.core;
  assertEquals(usage.spawns, most);
  const strangers = new Set(raw.of("spawnRefused").map(({ id }) => id));
  assertEquals([...strangers], ids.slice(most));
  for (let ms = 0; ms < SPAWN_WAIT_MS + 200; ms += 500) {
    raw.send(raw.datagram({}));
    pair.run(500);
  }
  assertEquals(pair.server.core.usage.spawns, 0);
  assertEquals(raw.closed, undefined);
  assertEquals(new Set(raw.of("spawnRefused").map(({ id }) => id)).size, ids.length);
});

Deno.test("ServerCore looks at every spawn in its turn, however many others wait before it", () => {
  const most = SPAWN_LOOKS_PER_TICK + 88;
  const grants = driverGrants({
    components: [
      { ...CARD, spawn: { roles: ["player"], maxPerPeer: most } },
      { ...CARD, id: 2, name: "Crown", spawn: { roles: ["player"], maxPerPeer: 1 } },
    ],
    voice: undefined,
    maxEntities: 2_048,
    maxEntitiesPerPeer: most,
  });
  const pair = new Pair({ grants, seed: 8, clients: 0 }).start();
  pair.run(200);
  const raw = new RawPeer(pair).join();
  const { grantEpoch, peer, entityIds } = raw.accepted!;
  const listed = { grants, components: [0] };
  const [first, second, ...others] = entityIds;
  for (let i = 0; i < others.length; i += 40) {
    const some = others.slice(i, i + 40);
    raw.send(raw.datagram({ snapshot: aliveHeaders(grantEpoch, some, peer, listed) }));
    pair.run(20);
  }
  // Whole both, of which one is one too many until its time is over.
  const forged = new ForgedState(raw);
  for (const id of [first!, second!]) {
    forged.world.spawn(id, peer, forged.tick);
    forged.world.addComponent(id, 1, createValue(grants.components[1]!), forged.tick, 0);
  }
  forged.send(SPAWN_COUNT_WAIT_MS / 2);
  const { core } = pair.server;
  assertEquals(core.world.isAlive(first!), true);
  assertEquals(core.usage.spawns, others.length + 1);
  pair.run(SPAWN_COUNT_WAIT_MS);
  assertEquals(raw.of("spawnRefused").map(({ id }) => id), [second]);
  assertEquals(core.usage.spawns, others.length);
});

Deno.test("ServerCore builds no datagram with what belongs to a later tick, when a spawn comes to life as a tick begins", () => {
  const grants = driverGrants({
    components: [{ ...CARD, spawn: { roles: ["player"], maxPerPeer: 1 } }],
    voice: undefined,
  });
  const pair = new Pair({ grants, seed: 9, clients: 1 }).start().joinAll();
  const watcher = pair.clients[0]!;
  const raw = new RawPeer(pair).join();
  const forged = new ForgedState(raw);
  const [first, second] = raw.accepted!.entityIds;
  for (const id of [first!, second!]) {
    forged.world.spawn(id, raw.accepted!.peer, forged.tick);
    forged.world.addComponent(id, 0, createValue(grants.components[0]!), forged.tick, 0);
  }
  forged.send(SPAWN_COUNT_WAIT_MS / 2);
  const { engine, core } = pair.server;
  assertEquals([first, second].map((id) => core.world.isAlive(id!)), [true, false]);
  // Nothing more comes from the peer: the tick itself looks at what waits.
  assertEquals(core.usage.spawns, 1);
  engine.despawn([...pair.server.world.handles()][0]!);
  engine.flush();
  pair.run(300);
  assertEquals([first, second].map((id) => core.world.isAlive(id!)), [false, true]);
  assertEquals(watcher.world.size, 1);
  assert(core.world.versionTick(second!, 0) <= core.world.sealedTick);
});
