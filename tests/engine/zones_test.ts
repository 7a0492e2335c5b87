// What the engine's side does about zones: names to numbers, what goes with a batch and when, and what of the driver's word is taken.

import { assertEquals, assertThrows } from "@std/assert";
import { batchOf, LinkBed, spawnBatch } from "../support/fake_driver.ts";
import { sampleGrants } from "../support/sample_grants.ts";

const GRANTS = sampleGrants({
  zones: [
    { id: 3, name: "room", closed: true, seenByRoles: 1 },
    { id: 9, name: "yard", closed: false, seenByRoles: 0b111 },
  ],
});
const REMOTE = 0x8000_0001;

function serverBed(): LinkBed {
  const bed = new LinkBed("server", { grants: GRANTS });
  bed.join(0);
  return bed;
}

/** Zones of the last batch; none where nothing was flushed. */
function flushed(bed: LinkBed): number[] | undefined {
  return bed.flush() === 0 ? undefined : [...bed.lastBatch!.zones];
}

function denied(bed: LinkBed): string[] {
  bed.pass(1_100);
  return bed.log.splice(0).filter((line) => line.startsWith("denied"));
}

/** A batch in which a peer's entity comes. */
function remote(zones: number[], handle = REMOTE) {
  const spawn = spawnBatch(GRANTS, handle, 77, 5, { Name: { text: "x" } });
  return { ...spawn, zones: Uint32Array.from(zones) };
}

Deno.test("spawn() with a zone goes with that zone in the same batch, and setZone() with the next", () => {
  const bed = serverBed();
  const first = bed.link.spawn({ Name: { text: "a" } }, { zone: "room" });
  const second = bed.link.spawn({ Name: { text: "b" } });
  // Before its spawn is sent, an entity's last zone counts.
  const third = bed.link.spawn({ Name: { text: "c" } }, { zone: "room" });
  bed.link.setZone(third, "yard");
  assertEquals(flushed(bed), [first, 3, third, 9]);
  assertEquals([first, second, third].map((one) => bed.link.zoneOf(one)), [
    "room",
    undefined,
    "yard",
  ]);
  bed.link.setZone(first, "yard");
  bed.link.setZone(first, undefined);
  bed.link.setZone(second, "room");
  assertEquals(flushed(bed), [first, 0, second, 3]);
  // Where it is already it need not be put.
  bed.link.setZone(second, "room");
  assertEquals(flushed(bed), undefined);
  bed.link.setZone(second, "yard");
  bed.link.despawn(second);
  assertEquals(flushed(bed), []);
});

Deno.test("spawn() and setZone() name what was meant, when the manifest declares no such zone", () => {
  const bed = serverBed();
  const handle = bed.link.spawn({ Name: { text: "a" } });
  assertThrows(() => bed.link.setZone(handle, "rom"), RangeError, 'did you mean "room"?');
  assertThrows(() => bed.link.spawn({}, { zone: "Room" }), RangeError, 'no zone "Room"');
  assertEquals(bed.link.stats.entities, 1);
  const bare = new LinkBed("server");
  bare.join(0);
  assertThrows(
    () => bare.link.spawn({}, { zone: "room" }),
    RangeError,
    "add it to the manifest's `world.zones`",
  );
});

Deno.test("setZone() is denied of what is not there, and to a client's engine", () => {
  const bed = serverBed();
  assertEquals(bed.link.setZone(99, "room"), false);
  assertEquals(denied(bed), ["denied engine entityUnknown zone 3 f0 h99 p0 x1"]);
  const client = new LinkBed("client", { grants: GRANTS });
  client.join(5);
  const own = client.link.spawn({ Name: { text: "a" } });
  assertEquals(client.link.setZone(own, "room"), false);
  assertEquals(client.link.spawn({ Name: { text: "b" } }, { zone: "room" }), 0);
  assertEquals(flushed(client), []);
  assertEquals(denied(client), [
    `denied engine role zone 3 f0 h${own} p5 x1`,
    "denied engine role spawn 0 f0 h0 p5 x1",
  ]);
});

Deno.test("a next driver is told of the zones of all that is spawned again, also of what moved meanwhile", () => {
  const bed = serverBed();
  const [first, second] = [
    bed.link.spawn({ Name: { text: "a" } }, { zone: "room" }),
    bed.link.spawn({ Name: { text: "b" } }),
  ];
  assertEquals(flushed(bed), [first, 3]);
  bed.link.handleClosed();
  bed.link.setZone(second, "yard");
  bed.link.setZone(first, undefined);
  bed.join(0);
  assertEquals([...bed.lastBatch!.spawns], [first, second]);
  assertEquals([...bed.lastBatch!.zones], [second, 9]);
  assertEquals(flushed(bed), undefined);
});

Deno.test("a driver says in which zone a peer's entity begins, and of nothing else where it is", () => {
  const bed = serverBed();
  bed.say({ kind: "peerJoin", peer: 5, roleId: GRANTS.roles[1]!.id, resumed: false });
  bed.say(remote([REMOTE, 3]));
  assertEquals(bed.link.zoneOf(REMOTE), "room");
  bed.link.setZone(REMOTE, "yard");
  assertEquals(flushed(bed), [REMOTE, 9]);
  // An order that the driver could not keep.
  bed.say(batchOf({ zones: Uint32Array.of(REMOTE, 0) }));
  assertEquals(bed.link.zoneOf(REMOTE), undefined);
  const own = bed.link.spawn({ Name: { text: "a" } }, { zone: "room" });
  bed.flush();
  bed.log.length = 0;
  bed.say(batchOf({ zones: Uint32Array.of(own, 0) }));
  bed.say(batchOf({ zones: Uint32Array.of(REMOTE, 7) }));
  bed.say(batchOf({ zones: Uint32Array.of(REMOTE + 1, 3) }));
  assertEquals([bed.link.zoneOf(own), bed.link.zoneOf(REMOTE)], ["room", undefined]);
  assertEquals(denied(bed).map((line) => line.split(" ").slice(2, 6).join(" ")), [
    `notOwner zone 0 f0`,
    `undeclared zone 7 f0`,
    `entityUnknown component 0 f0`,
  ]);
});

Deno.test("a driver that announces a peer's entity again without a zone says that it is in none", () => {
  const bed = serverBed();
  const { id } = GRANTS.roles[1]!;
  bed.say({ kind: "peerJoin", peer: 5, roleId: id, resumed: false }, remote([REMOTE, 3]));
  assertEquals(bed.link.zoneOf(REMOTE), "room");
  bed.link.handleClosed();
  bed.join(0, { resumed: true });
  bed.say({ kind: "peerJoin", peer: 5, roleId: id, resumed: true }, remote([]));
  assertEquals(bed.link.zoneOf(REMOTE), undefined);
});

Deno.test("a client's engine takes no zones from its driver", () => {
  const bed = new LinkBed("client", { grants: GRANTS });
  bed.join(6);
  bed.say(remote([REMOTE, 3]));
  assertEquals(bed.link.zoneOf(REMOTE), undefined);
  assertEquals(denied(bed), [`denied engine direction zone 3 f0 h${REMOTE} p0 x1`]);
});
