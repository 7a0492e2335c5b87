// How fast newcomers are let in: the pace alone, and a server's door with a crowd before it.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { JoinPace } from "../../driver/join_pace.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import {
  JOIN_BASE_ROWS,
  JOIN_ROWS_BURST,
  JOIN_ROWS_PER_S,
  JOIN_TIMEOUT_MS,
  MAX_HALF_JOINED,
  PROTOCOL_VERSION,
} from "../../protocol/limits.ts";
import type { Connection } from "../../transport/connection.ts";
import { driverGrants } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";

/** Lets in as many as may come at `nowMs`. */
function admitAll(pace: JoinPace, nowMs: number, entities: number): number {
  let count = 0;
  while (count < 10_000 && pace.mayAdmit(nowMs)) {
    pace.charge(entities);
    count += 1;
  }
  return count;
}

Deno.test("`JoinPace` lets in by what newcomers are shown, not by heads", () => {
  const large = new JoinPace();
  assertEquals(admitAll(large, 0, 5_000), Math.ceil(JOIN_ROWS_BURST / (5_000 + JOIN_BASE_ROWS)));
  let later = 0;
  for (let nowMs = 50; nowMs <= 10_000; nowMs += 50) later += admitAll(large, nowMs, 5_000);
  const perSecond = JOIN_ROWS_PER_S / (5_000 + JOIN_BASE_ROWS);
  assert(later >= 10 * perSecond - 2 && later <= 10 * perSecond + 2, `${later} in ten seconds`);

  assertGreater(admitAll(new JoinPace(), 0, 10), 500, "a small world is no reason to wait");
});

Deno.test("`JoinPace` goes by what those who are there see, where not everyone sees everything", () => {
  const pace = new JoinPace();
  pace.handleTick(3 * 80, 3);
  assertEquals(admitAll(pace, 0, 50_000), JOIN_ROWS_BURST / (80 + JOIN_BASE_ROWS));
});

Deno.test("`JoinPace` counts who is next before it is known whether it is let in, and takes that back", () => {
  const pace = new JoinPace();
  const charged: number[] = [];
  while (pace.mayAdmit(0)) charged.push(pace.charge(5_000));
  assertEquals(charged.length, Math.ceil(JOIN_ROWS_BURST / (5_000 + JOIN_BASE_ROWS)));
  for (const rows of charged) pace.giveBack(rows);
  assertEquals(admitAll(pace, 0, 5_000), charged.length);
  for (let i = 0; i < 1_000; i++) pace.giveBack(5_000);
  assertEquals(admitAll(pace, 1_000, 5_000), charged.length, "no more than a burst is saved up");
});

Deno.test("`JoinPace.handleResumed()` keeps newcomers waiting no longer than a burst takes, however many resume", () => {
  const pace = new JoinPace();
  for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
    pace.handleResumed(5_000);
    const isOpen = pace.mayAdmit(nowMs);
    assert(nowMs < 200 || !isOpen);
  }
  assert(pace.mayAdmit(10_000 + 1_000 * JOIN_ROWS_BURST / JOIN_ROWS_PER_S));
});

/** A server whose world is large. Newcomers may read nothing of it, which saves the time of sending it: the pace goes by what is looked at. */
function largeWorld(entities: number, seed: number): Pair {
  const grants = driverGrants({
    maxEntities: entities + 4_000,
    maxPeers: 256,
    defaultRole: "spectator",
    tickHz: 10,
  });
  const pair = new Pair({ grants, seed, clients: 0 }).start();
  const { engine } = pair.server;
  for (let i = 0; i < entities; i++) engine.spawn({ Hint: { text: "" } });
  engine.flush();
  pair.run(500);
  assertEquals(pair.server.core.world.entityCount, entities);
  return pair;
}

function knock(pair: Pair, network?: string): RawPeer {
  const wrap = (connection: Connection): Connection =>
    new Proxy(connection, {
      get: (target, key) => {
        if (key === "label" && network !== undefined) return network;
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  const peer = new RawPeer(pair, wrap);
  peer.tell({
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: Uint8Array.fromHex(pair.grants.schemaHash),
    credential: "none",
    resume: undefined,
  });
  return peer;
}

Deno.test("ServerCore lets a crowd into a large world one after the other, in the order in which it came", () => {
  const entities = 4_000;
  const atOnce = Math.ceil(JOIN_ROWS_BURST / (entities + JOIN_BASE_ROWS));
  const pair = largeWorld(entities, 1);
  const crowd = Array.from({ length: 30 }, () => knock(pair));
  pair.run(100);
  const inside = () => crowd.filter((peer) => peer.accepted !== undefined).length;
  const first = inside();
  assert(first >= 5 && first <= 9, `${first} are in at once`);
  pair.run(1_000);
  assertLess(inside() - first, 1.3 * JOIN_ROWS_PER_S / entities, "a second's worth");
  const isIn = crowd.map((peer) => peer.accepted !== undefined);
  assertEquals(isIn, isIn.toSorted((a, b) => Number(b) - Number(a)), "nobody is passed");
  pair.run(JOIN_TIMEOUT_MS);
  assert(crowd.every((peer) => peer.accepted !== undefined || peer.closed !== undefined));
  assertEquals(inside(), 30);
  assertEquals(pair.server.core.counters.get("join.waited"), 30 - atOnce);
});

Deno.test("ServerCore lets somebody of another network in by turns, though a crowd waits before the door", () => {
  const pair = largeWorld(4_000, 2);
  const crowd = Array.from({ length: 40 }, (_, i) => knock(pair, `198.51.100.*:${i}`));
  pair.run(50);
  const other = knock(pair, "203.0.113.*:9");
  pair.run(250);
  assert(other.accepted !== undefined, "it need not wait for all of them");
  assertLess(crowd.filter((peer) => peer.accepted !== undefined).length, 25);
});

Deno.test("ServerCore asks those to come again for whom the time at the door is too short, and forgets those who left it", () => {
  const pair = largeWorld(10_000, 3);
  const crowd = Array.from({ length: MAX_HALF_JOINED }, () => knock(pair));
  pair.run(300);
  const gone = crowd.at(-1)!;
  assertEquals(gone.accepted, undefined);
  gone.connection.close(0, "");
  pair.run(JOIN_TIMEOUT_MS + 500);
  const late = crowd.filter((peer) => peer.accepted === undefined && peer !== gone);
  assertGreater(late.length, 5);
  assert(late.every((peer) => peer.closed?.code === CloseCode.Overloaded));
  assertEquals(gone.accepted, undefined);
  const { accepted } = knock(pair);
  assertEquals(accepted, undefined);
  pair.run(500);
  assertEquals(pair.server.core.usage.strangers, 0);
});
