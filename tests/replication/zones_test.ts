// Who sees into which zone, by every number that an engine could name; and that the grid costs nobody what is hidden from it.

import { assert, assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { MAX_ZONES } from "../../protocol/limits.ts";
import { SERVER_ROLE, type ZoneGrant } from "../../permissions/grants.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { createZonesSeen, Zones } from "../../replication/zones.ts";
import { HEALTH, PLAYER, sampleGrants, SPECTATOR, TRANSFORM } from "../support/sample_grants.ts";

const ROOM = 3;
const STAGE = 7;
const YARD = 9;
const ZONES: readonly ZoneGrant[] = [
  { id: ROOM, name: "room", closed: true, seenByRoles: 1 },
  { id: STAGE, name: "stage", closed: true, seenByRoles: 1 | (1 << SPECTATOR) },
  { id: YARD, name: "yard", closed: false, seenByRoles: 0b111 },
];

/** Ids of the closed zones that a role sees into from a zone. */
function seen(zones: Zones, role: number, stands: number): number[] {
  const out = createZonesSeen();
  zones.seen(role, stands, out);
  return [...out.ids.subarray(0, out.count)];
}

Deno.test("`has()` knows declared zones and 0, and no other number", () => {
  const zones = new Zones({ zones: ZONES });
  const known = Array.from({ length: MAX_ZONES + 40 }, (_, id) => id).filter((id) => zones.has(id));
  assertEquals(known, [0, ROOM, STAGE, YARD]);
  for (const id of [-1, 0.5, NaN, Infinity, 2 ** 32 + ROOM]) assertEquals(zones.has(id), false);
});

Deno.test("`sees()` lets those see into a closed zone who stand there or have a role that does", () => {
  const zones = new Zones({ zones: ZONES });
  for (const role of [SERVER_ROLE, PLAYER, SPECTATOR]) {
    for (const stands of [0, ROOM, STAGE, YARD]) {
      for (const zone of [0, ROOM, STAGE, YARD]) {
        const expected = zone === 0 || zone === YARD || zone === stands || role === SERVER_ROLE ||
          (zone === STAGE && role === SPECTATOR);
        assertEquals(zones.sees(role, stands, zone), expected, `${role} from ${stands} to ${zone}`);
      }
    }
  }
});

Deno.test("`seen()` names each closed zone once that the viewer sees into", () => {
  const zones = new Zones({ zones: ZONES });
  assertEquals(seen(zones, PLAYER, 0), []);
  assertEquals(seen(zones, PLAYER, YARD), []);
  assertEquals(seen(zones, PLAYER, ROOM), [ROOM]);
  assertEquals(seen(zones, SPECTATOR, 0), [STAGE]);
  assertEquals(seen(zones, SPECTATOR, STAGE), [STAGE]);
  assertEquals(seen(zones, SPECTATOR, ROOM), [ROOM, STAGE]);
  assertEquals(seen(new Zones({ zones: [] }), SPECTATOR, 0), []);
});

Deno.test("a zone is that of one entity, and the next in its slot is in none", () => {
  const world = new World(sampleGrants({ zones: ZONES }));
  const [first, next] = [makeEntityId(5, 0), makeEntityId(5, 1)];
  world.spawn(first, 0, 1);
  assertEquals(world.zone(first), 0);
  world.setZone(first, ROOM, 1);
  assertEquals(world.zone(first), ROOM);
  // The columns grow.
  for (let slot = 6; slot < 300; slot++) world.spawn(makeEntityId(slot, 0), 0, 1);
  assertEquals([world.zone(first), world.zone(makeEntityId(299, 0))], [ROOM, 0]);
  world.despawn(first, 2);
  // Where it was is known for as long as nothing else is in its slot.
  assertEquals([world.lastZone(first), world.lastZone(makeEntityId(6, 0))], [ROOM, 0]);
  assertEquals(world.lastZone(makeEntityId(100_000, 0)), 0);
  world.spawn(next, 0, 3);
  assertEquals([world.zone(next), world.lastZone(first)], [0, 0]);
  world.setZone(next, STAGE, 3);
  assertEquals([world.lastZone(next), world.lastZone(first)], [STAGE, 0]);
});

Deno.test("`setZone()` is no change where the entity is there already, and no change of its header anywhere", () => {
  const world = new World(sampleGrants({ zones: ZONES }));
  const id = makeEntityId(1, 0);
  world.spawn(id, 0, 1);
  const [stamp, tick] = [world.headerStamp(1), world.headerTick(id)];
  world.setZone(id, 0, 5);
  assertEquals(world.latestChange, 1);
  world.setZone(id, ROOM, 5);
  assertEquals(world.latestChange, 5);
  assertEquals([world.headerStamp(1), world.headerTick(id)], [stamp, tick]);
});

Deno.test("`query()` reads nothing of a closed zone for a viewer outside, however much is in it", () => {
  const grants = sampleGrants({ zones: ZONES });
  const world = new World(grants);
  const interest = new Interest(grants, world);
  const value = createValue(grants.components[TRANSFORM]!);
  const health = createValue(grants.components[HEALTH]!);
  assert(quantiseField(grants.components[TRANSFORM]!.fields[0]!, [1, 0, 1], 0, value.lanes, 0));
  for (let slot = 1; slot <= 900; slot++) {
    const id = makeEntityId(slot, 0);
    world.spawn(id, 0, 1);
    // In its cell, in the list of what comes at any distance, and nowhere.
    if (slot % 3 !== 0) world.addComponent(id, TRANSFORM, value, 1, 64);
    if (slot % 3 === 1) world.addComponent(id, HEALTH, health, 1, 64);
    world.setZone(id, slot <= 890 ? ROOM : 0, 1);
  }
  interest.rebuild();
  const out = createInterestResult();
  const eye = Float64Array.of(0, 0, 0);
  const count = (zones: number[]) => {
    interest.query(eye, out, { count: zones.length, ids: Uint8Array.from(zones) });
    return out.count;
  };
  assertEquals(count([]), 10);
  assertEquals(out.slots.length, 64, "no room was made for what is hidden");
  assertEquals(count([STAGE]), 10);
  assertEquals(count([ROOM]), 900);
  // All of them come out again.
  for (let slot = 1; slot <= 890; slot++) world.setZone(makeEntityId(slot, 0), YARD, 2);
  interest.rebuild();
  assertEquals([count([]), count([ROOM])], [900, 900]);
  for (let slot = 1; slot <= 900; slot++) world.setZone(makeEntityId(slot, 0), STAGE, 3);
  interest.rebuild();
  assertEquals([count([]), count([ROOM]), count([STAGE])], [0, 0, 900]);
});

Deno.test("`query()` keeps zones apart, when their cells share a place in the table", () => {
  // In a table of 128 places the same cell of zones 0 and 128 has the same one.
  const grants = sampleGrants({
    zones: [{ id: 128, name: "room", closed: true, seenByRoles: 1 }],
  });
  const world = new World(grants);
  const interest = new Interest(grants, world);
  const value = createValue(grants.components[TRANSFORM]!);
  assert(quantiseField(grants.components[TRANSFORM]!.fields[0]!, [1, 0, 1], 0, value.lanes, 0));
  for (const slot of [1, 2]) {
    world.spawn(makeEntityId(slot, 0), 0, 1);
    world.addComponent(makeEntityId(slot, 0), TRANSFORM, value, 1, 64);
  }
  world.setZone(makeEntityId(2, 0), 128, 1);
  interest.rebuild();
  const out = createInterestResult();
  interest.query(Float64Array.of(0, 0, 0), out);
  assertEquals([...out.slots.subarray(0, out.count)], [1]);
  interest.query(Float64Array.of(0, 0, 0), out, { count: 1, ids: Uint8Array.of(128) });
  assertEquals([...out.slots.subarray(0, out.count)].sort(), [1, 2]);
});
