// A connection that breaks and is resumed, read from docs/PROTOCOL.md alone; and the readers' own checks, which must be able to fail.

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import type { TappedEvent } from "../support/wiretap.ts";
import { Malformed } from "./bits.ts";
import type { Control } from "./control.ts";
import { DriverEnd } from "./driver_end.ts";
import { compareDown, compareEnds, compareUp } from "./meaning.ts";
import { readEnd, Recording, strangersWorld } from "./recording.ts";

const grants = driverGrants();
const world = strangersWorld(grants);

/** Two clients; the first one's path dies without a word, and it comes back. */
function playBrokenLink() {
  const pair = new Pair({
    grants,
    seed: 8,
    clients: 2,
    conditions: { latencyMs: 25, jitterMs: 5, lossRate: 0.03 },
  });
  const recording = new Recording(pair);
  pair.start().joinAll();
  const { server } = pair;
  const own = pair.clients.map((client, i) =>
    client.engine.spawn({ Avatar: poseAt(i), Name: { text: `p${i}` } })
  );
  const doomed = server.engine.spawn({ Hint: { text: "gone while nobody listens" } });
  const move = (t: number) => {
    pair.clients.forEach((client, i) => client.engine.set(own[i]!, "Avatar", poseAt(i, t / 50)));
    for (const node of [server, ...pair.clients]) node.engine.flush();
  };
  pair.play(1_000, 33, move);
  const [first] = pair.clients as [typeof pair.clients[number]];
  const gone = server.engine.networkIdOf(doomed);
  pair.links.get(first)!.kill("acceptor");
  pair.play(500, 33, move);
  server.engine.despawn(doomed);
  pair.play(7_000, 33, move);
  pair.until("it is back", () => first.core.isJoined, 10_000);
  pair.play(1_000, 33, move);
  // Longer than an engine waits for what it knew to be announced again.
  pair.run(6_000);
  return { pair, recording, gone };
}

const { pair, recording, gone } = playBrokenLink();
const links = recording.readLinks(world);
const acceptedIn = (controls: readonly Control[]) =>
  controls.find((message) => message.kind === "accepted")!;

Deno.test("network: a resumed connection begins with nothing held, and tells all there is", () => {
  const [before, , after] = links as [typeof links[0], unknown, typeof links[0]];
  assertEquals(links.length, 3);
  const [first, second] = [before, after].map(({ clientEnd }) => acceptedIn(clientEnd.controlIn));
  assertEquals([first!.resumed, second!.resumed], [false, true]);
  assertEquals(second!.peer, first!.peer);
  const join = after.serverEnd.controlIn[0]!;
  assert(join.kind === "join");
  assertEquals(join.resume, { peer: first!.peer, secret: first!.secret });
  assert(second!.secret.toHex() !== first!.secret.toHex());
  for (const [i, link] of links.entries()) {
    for (const end of [link.clientEnd, link.serverEnd]) {
      assertEquals([...end.dropped.keys()].filter((reason) => reason !== "repeated"), []);
    }
    // The first connection ended in the middle of a word.
    if (i > 0) compareEnds(link, `link ${i}`);
  }
  const { core } = pair.server;
  assertGreater(compareDown(after.clientEnd, core, grants, "down"), 1);
  assertGreater(compareUp(after.serverEnd, core, grants, "up"), 1);
  // What ended while it was away is told by a header, though this connection never showed it.
  // What ended while it was away is not told again, and so its engine takes it out.
  assertEquals(after.clientEnd.snapshots.entities.has(gone), false);
  const { engine, world: engineWorld } = pair.clients[0]!;
  assertEquals(engineWorld.has(engine.handleOf(gone)), false);
});

/** One end's events with one of them changed or left out. */
function without(events: readonly TappedEvent[], nth: number, of: (e: TappedEvent) => boolean) {
  let count = 0;
  return events.filter((event) => !of(event) || count++ !== nth);
}

Deno.test("`DriverEnd` finds an acknowledgement of what did not come, when a datagram is left out of the record", () => {
  const { connector } = recording.links[1]!;
  const isIn = (event: TappedEvent) => event.kind === "datagram" && event.way === "in";
  const fewer = without(connector, 10, isIn);
  const error = assertThrows(() => readEnd(new DriverEnd(world, false), fewer), Malformed);
  assert(/acknowledge|largest/.test(error.message), error.message);
});

Deno.test("`DriverEnd` finds a missing number, when a datagram out is left out of the record", () => {
  const { connector } = recording.links[1]!;
  const isOut = (event: TappedEvent) => event.kind === "datagram" && event.way === "out";
  const error = assertThrows(
    () => readEnd(new DriverEnd(world, false), without(connector, 10, isOut)),
    Malformed,
  );
  assert(/number/.test(error.message), error.message);
});

Deno.test("`compareDown()` finds a wrong value, when one lane is changed behind its back", () => {
  const { clientEnd } = recording.readLinks(world)[1]!;
  for (const [, { header, tracks }] of clientEnd.snapshots.entities) {
    if (header?.state !== "alive" || header.owner === clientEnd.peer) continue;
    const version = tracks.get(0)?.versions.at(-1);
    if (version === undefined) continue;
    const lanes = version.value[0] as number[];
    lanes[0]! += 1;
  }
  assertThrows(() => compareDown(clientEnd, pair.server.core, grants, "down"));
});
