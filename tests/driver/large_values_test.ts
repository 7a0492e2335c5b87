import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import { MAX_PIECE_TRANSFERS, SNAPSHOT_PIECE_BYTES } from "../../protocol/limits.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";

const GRANTS = driverGrants();
const PATH = { latencyMs: 20, jitterMs: 10, lossRate: 0.1 };

function randomBytes(prng: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  prng.fill(bytes);
  return bytes;
}

for (const factor of [0.9, 1.0, 1.1, 60]) {
  const size = Math.min(65_536, Math.round(factor * SNAPSHOT_PIECE_BYTES));
  Deno.test(`ServerCore sends a value of ${factor} datagrams both ways with 10 % loss`, () => {
    for (let seed = 1; seed <= 5; seed++) {
      const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions: PATH }).start();
      pair.joinAll(20_000);
      const [a] = pair.clients;
      const prng = new Prng(seed);
      const down = pair.server.engine.spawn({ Blob: { data: randomBytes(prng, size) } });
      const up = a!.engine.spawn({ Upload: { data: randomBytes(prng, size) } });
      for (const node of [pair.server, ...pair.clients]) node.engine.flush();
      pair.run(6_000);
      assertEquals(disagreements(pair), [], `seed ${seed}`);
      assertEquals(pair.clients[1]!.world.size, 2, `seed ${seed}`);
      // Newer values replace what is under way; the last one counts.
      for (let i = 0; i < 3; i++) {
        pair.server.engine.set(down, "Blob", { data: randomBytes(prng, size) });
        a!.engine.set(up, "Upload", { data: randomBytes(prng, size - i) });
        for (const node of [pair.server, ...pair.clients]) node.engine.flush();
        pair.run(150);
      }
      pair.run(6_000);
      assertEquals(disagreements(pair), [], `seed ${seed}: after changes`);
    }
  });
}

Deno.test("ServerCore keeps small state moving while large values are under way", () => {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2, conditions: PATH }).start();
  pair.joinAll(20_000);
  const [a, b] = pair.clients;
  const avatar = a!.engine.spawn(avatarAt(0));
  b!.engine.spawn(avatarAt(1));
  for (const node of pair.clients) node.engine.flush();
  pair.run(500);
  const prng = new Prng(1);
  for (let i = 0; i < 6; i++) {
    pair.server.engine.spawn({ Blob: { data: randomBytes(prng, 65_536) } });
  }
  pair.server.engine.flush();
  let changes = 0;
  b!.engine.onRemoteChange = (_handle, name) => {
    if (name === "Avatar") changes += 1;
  };
  pair.play(1_500, 33, (i) => {
    a!.engine.set(avatar, "Avatar", poseAt(i * 0.1));
    a!.engine.flush();
  });
  assert(changes > 25, `only ${changes} of 45 poses came through`);
  pair.run(6_000);
  assertEquals(disagreements(pair), []);
});

for (const lossRate of [0, 0.1]) {
  Deno.test(`ClientCore sends large values again after all its places were taken by overridden ones, at ${lossRate} loss`, () => {
    const upload = {
      id: 1,
      name: "Upload",
      fields: { data: { type: "bytes", maxBytes: 65_536 } },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      spawn: { roles: ["player"], maxPerPeer: 8 },
    };
    const pair = new Pair({
      grants: driverGrants({ components: [upload], voice: undefined }, {
        limits: { peerBytesPerSecond: 64_000 },
      }),
      seed: 3,
      clients: 1,
      conditions: { latencyMs: 60, jitterMs: 10, lossRate },
    }).start().joinAll(20_000);
    const client = pair.clients[0]!;
    const { engine } = pair.server;
    const prng = new Prng(3);
    const play = (ms: number) => {
      for (const node of [pair.server, client]) node.engine.flush();
      pair.run(ms);
    };
    const own = Array.from({ length: MAX_PIECE_TRANSFERS + 2 }, () => {
      return client.engine.spawn({ Upload: { data: randomBytes(prng, 20) } });
    });
    play(2_000);
    const there = own.map((handle) => engine.handleOf(client.engine.networkIdOf(handle)));
    const overridden = own.slice(0, MAX_PIECE_TRANSFERS);
    for (const handle of overridden) {
      client.engine.set(handle, "Upload", { data: randomBytes(prng, 60_000) });
    }
    play(300);
    for (const [i] of overridden.entries()) {
      engine.set(there[i]!, "Upload", { data: randomBytes(prng, 10) });
    }
    play(4_000);
    assertEquals(disagreements(pair), []);
    // Nothing is written any more to those whose values were overridden.
    for (const handle of own.slice(MAX_PIECE_TRANSFERS)) {
      client.engine.set(handle, "Upload", { data: randomBytes(prng, 30_000) });
    }
    play(6_000);
    assertEquals(disagreements(pair), []);
    assertEquals((engine.get(there.at(-1)!, "Upload")?.["data"] as Uint8Array).length, 30_000);
    const { counters } = pair.server.core;
    const faults = Object.keys(counters.snapshot()).filter((name) => name.startsWith("fault."));
    assertEquals(faults, []);
  });
}
