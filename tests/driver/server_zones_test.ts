import { assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { CROSSING_MS } from "../../protocol/limits.ts";
import { World } from "../../replication/world.ts";
import { ServerZones } from "../../driver/server_zones.ts";
import { driverGrants } from "../support/driver_world.ts";

const GRANTS = driverGrants({ maxEntities: 20, zones: [{ id: 4, name: "room" }] });

/** Zones of a world in which so many entities ended in the room, under handles from 1 on. */
function ended(count: number): ServerZones {
  const world = new World(GRANTS);
  const zones = new ServerZones(GRANTS, world);
  zones.handleTick(0);
  for (let handle = 1; handle <= count; handle++) {
    const id = makeEntityId(1, 0);
    world.spawn(id, 0, handle);
    world.setZone(id, 4, handle);
    zones.noteEnded(handle, id);
    world.despawn(id, handle);
  }
  return zones;
}

Deno.test("`ofEnded()` knows where an entity ended for a second at least, and for two at most", () => {
  for (const [ms, zone] of [[1, 4], [CROSSING_MS - 1, 4], [CROSSING_MS, 4]] as const) {
    const zones = ended(1);
    zones.handleTick(ms);
    assertEquals([zones.ofEnded(1), zones.ofEnded(2)], [[zone], []], `${ms} ms`);
  }
  const zones = ended(1);
  zones.handleTick(CROSSING_MS);
  zones.handleTick(2 * CROSSING_MS);
  assertEquals(zones.ofEnded(1), []);
});

Deno.test("`noteEnded()` keeps as many as the world can hold at once, and at most twice that", () => {
  const zones = ended(1_000);
  assertEquals(zones.rememberedCount >= GRANTS.maxEntities, true);
  assertEquals(zones.rememberedCount <= 2 * GRANTS.maxEntities, true);
});

Deno.test("`ofEnded()` gives whatever is not known the zones of what was too much to remember, for a second at least, and for two at most", () => {
  for (const [count, isCrowded] of [[2 * GRANTS.maxEntities, false], [1_000, true]] as const) {
    const zones = ended(count);
    const others = isCrowded ? [4] : [];
    assertEquals(zones.ofEnded(count), [4]);
    assertEquals(zones.ofEnded(1), [4], "known, or too much to remember");
    assertEquals(zones.ofEnded(5_000), others);
    zones.handleTick(CROSSING_MS);
    assertEquals(zones.ofEnded(5_000), [4], "the first may have ended just now");
    zones.handleTick(2 * CROSSING_MS);
    assertEquals(zones.ofEnded(5_000), []);
  }
});

Deno.test("`ofEnded()` gives the zone of what made room and ended just before a moment was over, for a second at least", () => {
  const zones = ended(GRANTS.maxEntities + 1);
  zones.handleTick(CROSSING_MS);
  assertEquals(zones.ofEnded(1), [4]);
  zones.handleTick(2 * CROSSING_MS - 1);
  assertEquals(zones.ofEnded(1), [4]);
  zones.handleTick(2 * CROSSING_MS);
  assertEquals(zones.ofEnded(1), []);
});
