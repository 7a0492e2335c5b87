// What a driver says of its engine's own rights, and what the engine makes of it: grants only as far as they are grantable, revocations always,
// and nothing in the world that may not be known any more.

import { assert, assertEquals } from "@std/assert";
import { packAdjustments } from "../../protocol/adjustment.ts";
import { batchOf, LinkBed, rowsOf, spawnBatch } from "../support/fake_driver.ts";
import { buildComponents, SAMPLE_COMPONENTS, sampleGrants } from "../support/sample_grants.ts";

const REMOTE = 0x8000_0001;
const [NAME, HEALTH] = [3, 4];
const GRANTS = sampleGrants({
  components: buildComponents(
    SAMPLE_COMPONENTS.map((one) => one.id === HEALTH ? { ...one, grantableRead: 0b10 } : one),
  ),
});

/** A client that has joined as peer 5, sees the server's REMOTE and has an entity of its own. */
function clientBed() {
  const bed = new LinkBed("client", { grants: GRANTS });
  bed.join(5);
  bed.link.onRevoke = (handle, name, fields) => bed.log.push(`revoke ${handle} ${name} ${fields}`);
  bed.say(spawnBatch(GRANTS, REMOTE, 70, 0, { Name: { text: "Eve" }, Health: { points: 9 } }));
  const own = bed.link.spawn({ Name: { text: "Ann" } });
  bed.flush();
  bed.say({ kind: "named", pairs: Uint32Array.of(own, 71) });
  bed.takeLog();
  return { bed, own };
}

function grants(...adjustments: [id: number, rg: number, rr: number, wg?: number, wr?: number][]) {
  return {
    kind: "grantsChanged",
    adjustments: packAdjustments(adjustments.map(([componentId, rg, rr, wg = 0, wr = 0]) => ({
      componentId,
      readGranted: rg,
      readRevoked: rr,
      writeGranted: wg,
      writeRevoked: wr,
    }))),
  } as const;
}

Deno.test("EngineLink takes a granted field from its driver, and no longer than it is granted", () => {
  const { bed } = clientBed();
  const secret = batchOf({
    components: [rowsOf(bed.component("Health"), [[REMOTE, { secret: 77 }]])],
  });
  bed.say(grants([HEALTH, 0b10, 0]));
  bed.say(secret);
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 9, secret: 77 });
  bed.takeLog();
  bed.say(grants());
  assertEquals(bed.takeLog(), [`revoke ${REMOTE} Health secret`]);
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 9, secret: 0 });
  bed.nowMs += 1_000;
  bed.say(secret);
  assertEquals(bed.link.get(REMOTE, "Health"), { points: 9, secret: 0 });
  assertEquals(bed.takeLog(), [`denied engine role component ${HEALTH} f2 h${REMOTE} p0 x1`]);
});

Deno.test("EngineLink denies grants that no manifest lets be granted, and takes what they revoke", () => {
  const { bed, own } = clientBed();
  bed.say(grants([NAME, 0, 1, 0, 0], [HEALTH, 0b10, 0b01]));
  assertEquals(bed.link.adjustmentOf(5, "Health").readGranted, 0b10);
  bed.takeLog();
  bed.nowMs += 1_000;
  bed.say(grants([NAME, 0, 0, 1, 0], [HEALTH, 0b11, 0]));
  assertEquals(bed.link.adjustmentOf(5, "Name").writeGranted, 0);
  assertEquals(bed.link.adjustmentOf(5, "Health").readGranted, 0b10);
  assertEquals(bed.takeLog().toSorted(), [
    `denied engine notGrantable peer ${NAME} f1 h0 p0 x1`,
    `denied engine notGrantable peer ${HEALTH} f1 h0 p0 x1`,
  ]);
  // Fields and components that there are not.
  bed.nowMs += 1_000;
  bed.say(grants([NAME, 0, 0, 0, 4], [99, 0, 1]));
  assertEquals(bed.takeLog().toSorted(), [
    `denied engine field peer ${NAME} f0 h0 p0 x1`,
    `denied engine undeclared peer 99 f0 h0 p0 x1`,
    `revoke ${REMOTE} Health secret`,
  ]);
  assert(bed.link.set(own, "Name", { text: "still hers" }));
});

Deno.test("EngineLink sends nothing of a field whose writing was revoked, and goes on knowing what it may write", () => {
  const { bed, own } = clientBed();
  // It may not read names any more, but writes its own.
  bed.say(grants([NAME, 0, 1]));
  assertEquals(bed.takeLog(), [`revoke ${REMOTE} Name text`]);
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "" });
  assertEquals(bed.link.get(own, "Name"), { text: "Ann" });
  assert(bed.link.set(own, "Name", { text: "Anna" }));
  bed.flush();
  bed.takeLog();
  // Nor does it write them: then it knows nothing of them.
  assert(bed.link.set(own, "Name", { text: "under way" }));
  bed.say(grants([NAME, 0, 1, 0, 1]));
  const sent = bed.heardOf("batch").length;
  bed.flush();
  assertEquals(bed.heardOf("batch").length, sent, "what waited is not sent");
  assertEquals(bed.link.get(own, "Name"), { text: "" });
  bed.nowMs += 1_000;
  assert(!bed.link.set(own, "Name", { text: "no" }));
  bed.flush();
  assertEquals(bed.takeLog(), [
    `revoke ${own} Name text`,
    `denied engine revoked component ${NAME} f1 h${own} p5 x1`,
  ]);
});

Deno.test("EngineLink keeps its adjustments over a lost driver, and drops them in a new place", () => {
  const { bed } = clientBed();
  bed.say(grants([HEALTH, 0, 0b01]));
  bed.link.handleClosed();
  bed.join(5, { resumed: true });
  assertEquals(bed.link.adjustmentOf(5, "Health").readRevoked, 1);
  bed.link.handleClosed();
  bed.join(6, { resumed: false });
  assertEquals(bed.link.adjustmentOf(6, "Health").readRevoked, 0);
});

Deno.test("EngineLink of a server ends the link of a driver that gives it rights", () => {
  const bed = new LinkBed("server", { grants: GRANTS });
  bed.join(0);
  bed.say(grants([HEALTH, 0, 1]));
  assert(bed.link.wantsClose);
});

Deno.test("EngineLink of a server takes no revoked field from a peer, and says again what holds", () => {
  const bed = new LinkBed("server", { grants: GRANTS });
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.say(spawnBatch(GRANTS, REMOTE, 70, 6, { Name: { text: "Eve" } }));
  assert(bed.link.revoke(6, "Name", { write: ["text"] }));
  bed.flush();
  assertEquals(
    bed.heardOf("setGrants").map(({ peer, componentId, writeRevoked }) => [
      peer,
      componentId,
      writeRevoked,
    ]),
    [[6, NAME, 1]],
  );
  bed.takeLog();
  const batches = bed.heardOf("batch").length;
  // Its driver had taken a write before it heard of that.
  bed.say(batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "late" }]])] }));
  bed.flush();
  assertEquals(bed.link.get(REMOTE, "Name"), { text: "Eve" });
  assertEquals(bed.takeLog(), [`denied engine revoked component ${NAME} f1 h${REMOTE} p6 x1`]);
  const again = bed.heardOf("batch").slice(batches);
  assertEquals(again.map(({ components }) => components.map(({ handles }) => [...handles])), [
    [[REMOTE]],
  ]);
  // Its place gone, the next one under the number has its role's rights.
  bed.say({ kind: "peerLeave", peer: 6, reason: "" });
  assertEquals(bed.link.adjustmentOf(6, "Name").writeRevoked, 0);
});
