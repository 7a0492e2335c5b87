import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import type { PairConditions } from "../../transport/simulated.ts";

const GRANTS = driverGrants();
const BAD_PATH: PairConditions = {
  latencyMs: 30,
  jitterMs: 20,
  lossRate: 0.25,
  duplicateRate: 0.05,
  reorderRate: 0.1,
};
/** Two round trips of that path and 16 ticks of 33 ms, ms. */
const SETTLE_MS = 2 * (2 * (30 + 20)) + 16 * 1000 / 30;

function flush(pair: Pair): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
}

/** One random thing that an engine does to what it owns. */
function act(prng: Prng, node: PairNode<never> | PairNode, isServer: boolean): void {
  const { engine } = node as PairNode;
  const own = [...(node as PairNode).world.handles()].filter((handle) => engine.isOwn(handle));
  const any = [...(node as PairNode).world.handles()];
  const pick = (handles: number[]) => handles[prng.nextBelow(handles.length)] ?? 0;
  const handle = pick(own);
  const dice = prng.nextBelow(100);
  if (dice < 12 || handle === 0) {
    if (isServer) {
      if (own.length < 8) {
        engine.spawn({
          Prop: { at: [prng.nextBelow(20), 0, 0], heldBy: pick(any) },
          ...(prng.chance(0.5) ? { Score: { points: dice, secret: "canary" } } : {}),
        });
      }
    } else if (own.length < 3) {
      engine.spawn({ ...avatarAt(prng.nextBelow(20)), Badge: { level: 1, by: pick(any) } });
    }
  } else if (dice < 18) {
    if (own.length > 1) engine.despawn(handle);
  } else if (dice < 28) {
    const name = isServer ? "Score" : "Name";
    if (engine.get(handle, name) === undefined) {
      engine.set(handle, name, isServer ? { points: dice } : { text: `t${dice}` });
    } else engine.remove(handle, name);
  } else if (isServer) {
    if (engine.get(handle, "Prop") === undefined) return;
    engine.set(handle, "Prop", { at: [prng.nextBelow(20), dice % 9, 0] });
    if (dice < 50) engine.set(handle, "Prop", { heldBy: pick(any) });
  } else {
    if (engine.get(handle, "Avatar") === undefined) return;
    engine.set(handle, "Avatar", poseAt(prng.nextBelow(20), dice % 7));
    if (dice < 50) engine.set(handle, "Badge", { level: dice % 10, by: pick(any) });
  }
}

Deno.test("ServerCore and ClientCore agree soon after the last write, whatever the path lost", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 3, conditions: BAD_PATH }).start();
    pair.joinAll(30_000);
    pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
    flush(pair);
    const prng = new Prng(seed * 7_919);
    const denials: string[] = [];
    for (const node of [pair.server, ...pair.clients]) {
      node.engine.onDenied = (one) =>
        denials.push(`${one.door} ${one.rule} ${one.subject} ${one.id}`);
    }
    pair.play(1_200, 25, () => {
      act(prng, pair.server, true);
      for (const client of pair.clients) if (prng.chance(0.7)) act(prng, client, false);
      flush(pair);
    });
    flush(pair);
    pair.run(SETTLE_MS);
    // A path may lose one datagram many times in a row: then it takes a little longer, but not for ever.
    let found = disagreements(pair);
    for (let more = 0; found.length > 0 && more < 6; more++) {
      pair.run(250);
      found = disagreements(pair);
    }
    assertEquals(found, [], `seed ${seed}`);
    const faults = Object.keys(pair.server.core.counters.snapshot()).filter((name) =>
      name.startsWith("fault.")
    );
    assertEquals(faults, [], `seed ${seed}`);
    assertEquals(denials, [], `seed ${seed}: honest engines are never denied`);
  }
});

Deno.test("ServerCore and ClientCore agree within two round trips and 16 ticks on a good path", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const conditions = { latencyMs: 25, jitterMs: 5, duplicateRate: 0.05, reorderRate: 0.1 };
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions }).start();
    pair.joinAll();
    pair.clients.forEach((client, i) => client.engine.spawn(avatarAt(i)));
    flush(pair);
    const prng = new Prng(seed * 104_729);
    pair.play(800, 20, () => {
      act(prng, pair.server, true);
      for (const client of pair.clients) act(prng, client, false);
      flush(pair);
    });
    flush(pair);
    pair.run(2 * 60 + 16 * 1000 / 30);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
  }
});

Deno.test("ServerCore hides what is out of interest and brings it back with its present value", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const pair = new Pair({ grants: GRANTS, seed, clients: 2, conditions: BAD_PATH }).start();
    pair.joinAll(30_000);
    const [a, b] = pair.clients;
    const walker = a!.engine.spawn({ ...avatarAt(0), Name: { text: "walker" } });
    b!.engine.spawn(avatarAt(1));
    flush(pair);
    pair.run(1_500);
    const id = a!.engine.networkIdOf(walker);
    const seen = b!.engine.handleOf(id);
    assert(seen !== 0, `seed ${seed}`);
    const hidden: string[] = [];
    const despawned: number[] = [];
    b!.engine.onHide = (_handle, component) => hidden.push(component);
    b!.engine.onDespawn = (handle) => despawned.push(handle);
    a!.engine.set(walker, "Avatar", poseAt(200));
    flush(pair);
    pair.run(1_500);
    assertEquals([hidden, despawned], [["Avatar"], []], `seed ${seed}`);
    assertEquals(disagreements(pair, (_client, _id, name) => name !== "Avatar"), []);
    const before = b!.world.read(seen, "Avatar");
    a!.engine.set(walker, "Avatar", poseAt(300));
    a!.engine.set(walker, "Name", { text: "far away" });
    flush(pair);
    pair.run(1_500);
    assertEquals(b!.world.read(seen, "Avatar"), before, "nothing of it leaks");
    assertEquals(b!.world.read(seen, "Name"), { text: "far away" }, "a name has no radius");
    a!.engine.set(walker, "Avatar", poseAt(3));
    flush(pair);
    pair.run(1_500);
    assertEquals(b!.engine.handleOf(id), seen, "the same entity under the same handle");
    assertEquals(disagreements(pair), [], `seed ${seed}`);
    assertEquals(despawned, []);
  }
});

Deno.test("ServerCore sends a reference to what the reader may not see as none", () => {
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2 }).start();
  pair.joinAll();
  pair.clients.forEach((client) => client.engine.spawn(avatarAt(0)));
  const far = pair.server.engine.spawn({ Prop: { at: [300, 0, 0] } });
  const near = pair.server.engine.spawn({ Prop: { at: [1, 0, 0], heldBy: far } });
  flush(pair);
  pair.run(800);
  const [a] = pair.clients;
  const handle = a!.engine.handleOf(pair.server.engine.networkIdOf(near));
  assertEquals(a!.world.read(handle, "Prop")?.heldBy, 0);
  // It comes into view, and the reference with it.
  pair.server.engine.set(far, "Prop", { at: [2, 0, 0] });
  flush(pair);
  pair.run(800);
  const target = a!.engine.handleOf(pair.server.engine.networkIdOf(far));
  assert(target !== 0);
  assertEquals(a!.world.read(handle, "Prop")?.heldBy, target);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore uses a slot again only after every peer knows that its entity ended", () => {
  const grants = driverGrants({ maxEntities: 20, maxEntitiesPerPeer: 8 });
  for (let seed = 1; seed <= 10; seed++) {
    const pair = new Pair({ grants, seed, clients: 2 }).start();
    pair.joinAll();
    const [a, b] = pair.clients;
    b!.engine.spawn(avatarAt(0));
    flush(pair);
    pair.run(500);
    // One peer hears nothing for a while: the slots of what ends meanwhile must wait for it.
    pair.links.get(b!)!.change({ lossRate: 1 }, "down");
    const ids = new Set<number>();
    const made: number[] = [];
    for (let i = 0; i < 12; i++) {
      const handle = a!.engine.spawn(avatarAt(i));
      if (handle !== 0) made.push(handle);
      a!.engine.flush();
      pair.run(100);
      const id = a!.engine.networkIdOf(handle);
      if (id !== 0) {
        assert(!ids.has(id & 0xfffff), `seed ${seed}: slot ${id & 0xfffff} came again`);
        ids.add(id & 0xfffff);
      }
      if (a!.world.has(handle)) a!.engine.despawn(handle);
    }
    flush(pair);
    pair.links.get(b!)!.change({ lossRate: 0 }, "down");
    pair.run(1_500);
    for (let i = 0; i < 4; i++) a!.engine.spawn(avatarAt(i));
    flush(pair);
    pair.run(800);
    assertEquals(pair.server.core.world.countOwned(a!.engine.peer!), 4, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
  }
});

Deno.test("ClientCore can spawn and despawn for ever, however short the entities live", () => {
  const grants = driverGrants({ maxEntities: 30, maxEntitiesPerPeer: 8 });
  for (let seed = 1; seed <= 5; seed++) {
    const pair = new Pair({ grants, seed, clients: 2, conditions: BAD_PATH }).start();
    pair.joinAll(30_000);
    const [a, b] = pair.clients;
    b!.engine.spawn(avatarAt(0));
    const prng = new Prng(seed);
    for (let i = 0; i < 60; i++) {
      const handle = a!.engine.spawn(avatarAt(i % 9));
      a!.engine.flush();
      pair.run(prng.nextBelow(3) * 20);
      if (a!.world.has(handle)) a!.engine.despawn(handle);
      a!.engine.flush();
      pair.run(prng.nextBelow(4) * 60);
    }
    pair.run(2_500);
    const handles = [1, 2, 3, 4].map((x) => a!.engine.spawn(avatarAt(x)));
    flush(pair);
    pair.run(1_500);
    assert(handles.every((handle) => a!.engine.networkIdOf(handle) !== 0), `seed ${seed}`);
    assertEquals(pair.server.core.world.entityCount, 5, `seed ${seed}`);
    assertEquals(disagreements(pair), [], `seed ${seed}`);
  }
});

Deno.test("ServerCore lets no field out that its reader has no right to", () => {
  const canary = "canary-4f1d-nobody-may-read-this";
  const hint = "hint-77aa-players-only";
  const bytesOf = (text: string) => new TextEncoder().encode(text);
  const pair = new Pair({ grants: GRANTS, seed: 1, clients: 2 }).start();
  pair.recording = true;
  pair.joinAll();
  pair.server.engine.setRole(pair.clients[1]!.engine.peer!, "spectator");
  flush(pair);
  pair.run(300);
  const mark = pair.wire.down.length;
  pair.server.engine.spawn({ Score: { points: 1, secret: canary }, Hint: { text: hint } });
  flush(pair);
  pair.run(500);
  const wire = pair.wire.down.slice(mark);
  assert(wire.some((bytes) => holds(bytes, bytesOf(hint))), "the search finds what is granted");
  assert(!wire.some((bytes) => holds(bytes, bytesOf(canary))));
  const sockets = pair.clients.map((client) => client.engineBytes);
  assert(sockets[0]!.some((bytes) => holds(bytes, bytesOf(hint))));
  assert(!sockets[1]!.some((bytes) => holds(bytes, bytesOf(hint))), "a spectator reads no hint");
  assert(!sockets.flat().some((bytes) => holds(bytes, bytesOf(canary))));
});

/** Whether `bytes` holds `wanted` at any bit offset. */
function holds(bytes: Uint8Array, wanted: Uint8Array): boolean {
  for (let shift = 0; shift < 8; shift++) {
    const shifted = bytes.map((byte, i) => (byte >> shift) | ((bytes[i + 1] ?? 0) << (8 - shift)));
    outer: for (let at = 0; at + wanted.length <= shifted.length; at++) {
      for (let i = 0; i < wanted.length; i++) if (shifted[at + i] !== wanted[i]) continue outer;
      return true;
    }
  }
  return false;
}
