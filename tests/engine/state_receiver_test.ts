import { assert, assertEquals } from "@std/assert";
import type { InBatch } from "../../engine/state_receiver.ts";
import { batchOf, LinkBed, rowsOf, spawnBatch } from "../support/fake_driver.ts";
import { buildComponents, SAMPLE_COMPONENTS, sampleGrants } from "../support/sample_grants.ts";

const REMOTE = 0x8000_0001;
const OTHER = 0x8000_0002;

/** A client that has joined as peer 5 and sees the server's entity REMOTE. */
function clientBed(): LinkBed {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Health: { points: 9 } }));
  bed.takeLog();
  return bed;
}

/** A server with player 6, who owns REMOTE. */
function serverBed(): LinkBed {
  const bed = new LinkBed("server");
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: { text: "Eve" } }));
  bed.takeLog();
  return bed;
}

/** What the world holds, to show that nothing of a refused batch came in. */
function contents(bed: LinkBed): unknown {
  return [...bed.world.handles()].map((handle) => [
    handle,
    bed.link.ownerOf(handle),
    bed.world.componentsOf(handle).map((name) => [name, bed.world.read(handle, name)]),
  ]);
}

function assertRefused(bed: LinkBed, batch: InBatch, denial: string): void {
  const before = Deno.inspect(contents(bed), { depth: 9 });
  bed.nowMs += 1_000;
  bed.say(batch);
  assertEquals(Deno.inspect(contents(bed), { depth: 9 }), before, denial);
  assertEquals(bed.takeLog(), [`denied engine ${denial} x1`]);
}

Deno.test("a spawn is told with its components, when all of it is in the world", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.takeLog();
  bed.link.onSpawn = (handle) => {
    bed.log.push(`spawn with ${bed.world.componentsOf(handle)}`);
  };
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Name: { text: "Eve" }, Health: { points: 9 } }));
  assertEquals(bed.takeLog(), [
    "spawn with Name,Health",
    `change ${REMOTE} Name text`,
    // The secret is for the server alone, and the driver has no business to bring it.
    `change ${REMOTE} Health points`,
    `denied engine role component 4 f2 h${REMOTE} p0 x1`,
  ]);
  assertEquals(bed.link.networkIdOf(REMOTE), 70);
  assertEquals(bed.link.handleOf(70), REMOTE);
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 9, secret: 0 });
});

Deno.test("what is applied from the driver is never sent back", () => {
  for (const bed of [clientBed(), serverBed()]) {
    const before = bed.heardOf("batch").length;
    bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "new" }]])] }));
    bed.flush();
    assertEquals(bed.heardOf("batch").length, before);
  }
});

Deno.test("changes, removals, hiding, ownership and despawns are applied and told", () => {
  const bed = clientBed();
  bed.say(batchOf({
    tick: 200,
    components: [rowsOf(bed.component("Health"), [[REMOTE, { points: 1 }]])],
    owners: Uint32Array.of(REMOTE, 5, 3),
  }));
  bed.say(batchOf({ hides: Uint32Array.of(REMOTE, 4) }));
  bed.say(batchOf({ removes: Uint32Array.of(REMOTE, 4) }));
  assert(bed.link.isOwn(REMOTE));
  bed.say(batchOf({ despawns: Uint32Array.of(REMOTE) }));
  assertEquals(bed.takeLog(), [
    `owner ${REMOTE} 5 3`,
    `change ${REMOTE} Health points`,
    `hide ${REMOTE} Health`,
    `remove ${REMOTE} Health`,
    `despawn ${REMOTE}`,
  ]);
  assertEquals(bed.world.size, 0);
});

Deno.test("a server's override of an own entity is legal on a client", () => {
  const bed = clientBed();
  const own = bed.link.spawn({ Name: { text: "Ann" } });
  bed.flush();
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[own, { text: "Bob" }]])] }));
  assertEquals(bed.link.get(own, "Name"), { text: "Bob" });
  bed.say(batchOf({ despawns: Uint32Array.of(own) }));
  assert(!bed.world.has(own));
});

Deno.test("forged and malformed entries are denied on a client, and the world stays as it is", () => {
  const bed = clientBed();
  const name = bed.component("Name");
  const health = bed.component("Health");
  const rows = rowsOf(name, [[REMOTE, { text: "x" }]]);
  assertRefused(
    bed,
    batchOf({ components: [{ ...rows, componentId: 99 }] }),
    `undeclared component 99 f1 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(name, [[OTHER, { text: "x" }]])] }),
    `entityUnknown component 0 f0 h${OTHER} p0`,
  );
  assertRefused(
    bed,
    spawnBatch(bed.grants, 50, 71, 0, {}),
    "entityUnknown spawn 0 f0 h50 p0",
  );
  assertRefused(
    bed,
    spawnBatch(bed.grants, OTHER, 70, 0, {}),
    `entityUnknown spawn 0 f0 h${OTHER} p0`,
  );
  assertRefused(
    bed,
    spawnBatch(bed.grants, REMOTE, 71, 0, {}),
    `entityUnknown spawn 0 f0 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(health, [[REMOTE, { secret: 5 }]])] }),
    `role component 4 f2 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ components: [{ ...rows, rows: rows.rows.subarray(1) }] }),
    "format component 0 f0 h0 p5",
  );
  assertRefused(
    bed,
    batchOf({ components: [{ ...rows, rows: new Uint8Array([...rows.rows, 0]) }] }),
    "format component 0 f0 h0 p5",
  );
  assertRefused(
    bed,
    batchOf({ components: [{ ...rows, rows: Uint8Array.of(1, 0, 0, 0, 0xff) }] }),
    `range component 3 f1 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ components: [{ ...rows, masks: Uint32Array.of(3) }] }),
    `range component 3 f0 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ removes: Uint32Array.of(REMOTE, 99) }),
    `undeclared component 99 f0 h${REMOTE} p5`,
  );
});

Deno.test("rows after a malformed component are not applied either: a batch that lies about its bytes is refused whole", () => {
  const bed = clientBed();
  const health = rowsOf(bed.component("Health"), [[REMOTE, { points: 1 }]]);
  const broken = {
    ...rowsOf(bed.component("Everything"), [[REMOTE, { small: 1 }]]),
    rows: Uint8Array.of(1),
  };
  assertRefused(
    bed,
    batchOf({ components: [health, broken], despawns: Uint32Array.of(REMOTE) }),
    "format component 0 f0 h0 p5",
  );
});

Deno.test("a despawn of an unknown entity is late, not forged", () => {
  const bed = clientBed();
  bed.say(batchOf({ despawns: Uint32Array.of(OTHER) }));
  assertEquals(bed.takeLog(), []);
  assertEquals(bed.link.stats.lateEntries, 1);
});

Deno.test("rows for an entity that game code has just despawned are late, not forged", () => {
  const bed = serverBed();
  assert(bed.link.despawn(REMOTE));
  bed.flush();
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "x" }]])] }));
  assertEquals(bed.takeLog(), []);
  assertEquals(bed.link.stats.lateEntries, 1);
  bed.say({ kind: "stamped", id: bed.lastBatch!.id, time: 7_000 });
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "x" }]])] }));
  assertEquals(bed.takeLog(), [`denied engine entityUnknown component 0 f0 h${REMOTE} p0 x1`]);
});

Deno.test("the holder of authority takes what owners may write, and nothing else", () => {
  const bed = serverBed();
  const own = bed.link.spawn({ Health: { points: 5, secret: 6 }, Name: { text: "server's" } });
  bed.flush();
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "ok" }]])] }));
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "ok" });
  bed.takeLog();
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(bed.component("Health"), [[own, { points: 1 }]])] }),
    `authority component 4 f1 h${own} p0`,
  );
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(bed.component("Name"), [[own, { text: "forged" }]])] }),
    `notOwner component 3 f1 h${own} p0`,
  );
  assertRefused(
    bed,
    batchOf({
      components: [rowsOf(bed.component("Transform"), [[REMOTE, { position: [1, 1, 1] }]])],
    }),
    `authority component 1 f1 h${REMOTE} p6`,
  );
  assertRefused(
    bed,
    batchOf({ despawns: Uint32Array.of(own) }),
    `notOwner despawn 0 f0 h${own} p0`,
  );
  assertRefused(
    bed,
    batchOf({ removes: Uint32Array.of(own, 3) }),
    `notOwner component 3 f0 h${own} p0`,
  );
  assertRefused(
    bed,
    batchOf({ owners: Uint32Array.of(own, 6, 1) }),
    `notOwner component 0 f0 h${own} p6`,
  );
});

Deno.test("the holder of authority takes only spawns that their peer's role may make", () => {
  const bed = serverBed();
  bed.say({ kind: "peerJoin", peer: 7, roleId: 1, resumed: false });
  bed.link.setRole(7, "spectator");
  bed.flush();
  bed.say({ kind: "roleChanged", peer: 7, roleId: 2 });
  bed.takeLog();
  assertRefused(
    bed,
    spawnBatch(bed.grants, OTHER, 71, 0, {}),
    `authority spawn 0 f0 h${OTHER} p0`,
  );
  for (
    const [owner, parts, rule] of [
      [6, { Transform: {} }, "spawnRole"],
      [7, {}, "spawnRole"],
      [7, { Name: {} }, "spawnRole"],
    ] as const
  ) {
    const batch = spawnBatch(bed.grants, OTHER, 71, owner, parts);
    bed.nowMs += 1_000;
    bed.say(batch);
    assert(!bed.world.has(OTHER), rule);
    // Rows of a refused spawn name an unknown entity: they are refused with it.
    assertEquals(bed.takeLog()[0], `denied engine spawnRole spawn 0 f0 h${OTHER} p${owner} x1`);
  }
  // What it spawned with its owner took away again before the batch was made: then that may have been anything it may spawn.
  bed.say(spawnBatch(bed.grants, REMOTE + 2, 72, 6, {}));
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE + 2, { text: "x" }]])] }));
  for (let i = 3; i <= 4; i++) {
    bed.say(spawnBatch(bed.grants, REMOTE + i, 70 + i, 6, { Name: {} }));
  }
  bed.nowMs += 1_000;
  bed.takeLog();
  bed.say(spawnBatch(bed.grants, REMOTE + 9, 99, 6, { Name: {} }));
  assertEquals(bed.takeLog()[0], `denied engine spawnCount spawn 0 f0 h${REMOTE + 9} p6 x1`);
  assertEquals(bed.world.size, 4);
});

/** A server with players 6, who owns REMOTE, and 7. */
function transferBed(): LinkBed {
  const bed = serverBed();
  bed.say({ kind: "peerJoin", peer: 7, roleId: 1, resumed: false });
  bed.takeLog();
  return bed;
}

function sayText(bed: LinkBed, text: string, owners: readonly number[] = []): void {
  bed.say(batchOf({
    components: [rowsOf(bed.component("Name"), [[REMOTE, { text }]])],
    owners: Uint32Array.from(owners),
  }));
}

Deno.test("the holder of authority takes what a former owner did until the driver names the new one, and for that batch", () => {
  const bed = transferBed();
  assert(bed.link.transfer(REMOTE, 0));
  sayText(bed, "before the order");
  sayText(bed, "with its echo", [REMOTE, 0, 1]);
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "with its echo" });
  bed.takeLog();
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "after" }]])] }),
    `notOwner component 3 f1 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ removes: Uint32Array.of(REMOTE, 3) }),
    `notOwner component 3 f0 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ despawns: Uint32Array.of(REMOTE) }),
    `notOwner despawn 0 f0 h${REMOTE} p0`,
  );
});

Deno.test("the holder of authority takes nothing of a former owner any more, when its driver names nobody for 5,000 ms", () => {
  const bed = transferBed();
  assert(bed.link.transfer(REMOTE, 0));
  bed.nowMs += 4_999;
  sayText(bed, "in time");
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "in time" });
  bed.takeLog();
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "too late" }]])] }),
    `notOwner component 3 f1 h${REMOTE} p0`,
  );
  assertRefused(
    bed,
    batchOf({ despawns: Uint32Array.of(REMOTE) }),
    `notOwner despawn 0 f0 h${REMOTE} p0`,
  );
});

Deno.test("an owner that the driver names late does not undo what this engine has ordered since", () => {
  const bed = transferBed();
  assert(bed.link.transfer(REMOTE, 0));
  assert(bed.link.transfer(REMOTE, 7));
  // The driver had the first order when it made this batch, and peer 6 had spoken before.
  sayText(bed, "of the first owner", [REMOTE, 0, 1]);
  assertEquals(bed.link.ownerOf(REMOTE), 7);
  sayText(bed, "of the last owner", [REMOTE, 7, 2]);
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "of the last owner" });
  assertEquals(bed.takeLog(), [
    `change ${REMOTE} Name text`,
    `owner ${REMOTE} 7 2`,
    `change ${REMOTE} Name text`,
  ]);
  // Nothing is under way: the server may have it back, and nobody else.
  assertRefused(
    bed,
    batchOf({ owners: Uint32Array.of(REMOTE, 6, 3) }),
    `notOwner component 0 f0 h${REMOTE} p6`,
  );
  bed.say(batchOf({ owners: Uint32Array.of(REMOTE, 0, 3) }));
  assertEquals(bed.link.ownerOf(REMOTE), 0);
});

Deno.test("an entity stays with its owner, when the peer that was to have it has left", () => {
  const bed = transferBed();
  assert(bed.link.transfer(REMOTE, 7));
  bed.say({ kind: "peerLeave", peer: 7, reason: "gone" });
  bed.say(batchOf({ owners: Uint32Array.of(REMOTE, 6, 0) }));
  assertEquals(bed.link.ownerOf(REMOTE), 6);
  sayText(bed, "still here");
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "still here" });
});

Deno.test("the holder of authority ignores fields an owner may not write while they are as it has them", () => {
  const narrowed = SAMPLE_COMPONENTS.map((spec) =>
    spec.name === "Health"
      ? {
        ...spec,
        authority: "owner" as const,
        writeMasks: [0b11, 0b01, 0],
        spawnRoles: 0b11,
        spawnMax: 4,
      }
      : spec
  );
  const bed = new LinkBed("server", {
    grants: sampleGrants({ components: buildComponents(narrowed) }),
  });
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  const health = bed.component("Health");
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Health: { points: 1, secret: 77 } }));
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 1, secret: 0 });
  bed.link.set(REMOTE, "Health", { secret: 5 });
  bed.flush();
  bed.takeLog();
  bed.say(batchOf({ components: [rowsOf(health, [[REMOTE, { points: 2, secret: 5 }]])] }));
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 2, secret: 5 });
  assertEquals(bed.takeLog(), [`change ${REMOTE} Health points`]);
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(health, [[REMOTE, { points: 3, secret: 6 }]])] }),
    `role component 4 f2 h${REMOTE} p6`,
  );
});

Deno.test("the host's own narrowing holds for what comes in", () => {
  const narrowed = SAMPLE_COMPONENTS.map((spec) =>
    spec.name === "Name" ? { ...spec, hostReceiveMask: 0 } : spec
  );
  const bed = new LinkBed("client", {
    grants: sampleGrants({ components: buildComponents(narrowed) }),
  });
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Health: { points: 9 } }));
  bed.takeLog();
  assertRefused(
    bed,
    batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "x" }]])] }),
    `host component 3 f1 h${REMOTE} p0`,
  );
});

Deno.test("references to entities that are not here arrive as none; those of the same batch do not", () => {
  const bed = clientBed();
  const batch = spawnBatch(bed.grants, OTHER, 71, 0, { Name: {} });
  const everything = bed.component("Everything");
  bed.say({
    ...batch,
    components: [
      ...batch.components,
      rowsOf(everything, [[REMOTE, { target: OTHER }], [OTHER, { target: 0x8000_0777 }]]),
    ],
  });
  assertEquals(bed.link.get(REMOTE, "Everything")!["target"], OTHER);
  assertEquals(bed.link.get(OTHER, "Everything")!["target"], 0);
});
