// The grid finds what a scan of all entities finds.

import { assert, assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import type { Grants } from "../../permissions/grants.ts";
import { createInterestResult, Interest, INTEREST_HYSTERESIS } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import {
  buildComponents,
  HEALTH,
  SAMPLE_COMPONENTS,
  sampleGrants,
  TRANSFORM,
} from "../support/sample_grants.ts";

function place(world: World, slot: number, metres: readonly number[], tick = 1): number {
  const id = makeEntityId(slot, 0);
  const grant = world.grants.components[TRANSFORM]!;
  const value = createValue(grant);
  assert(quantiseField(grant.fields[0]!, metres, 0, value.lanes, 0));
  if (!world.isAlive(id)) world.spawn(id, 0, tick);
  if (world.hasComponent(id, TRANSFORM)) world.write(id, TRANSFORM, 1, value, tick, tick * 64);
  else world.addComponent(id, TRANSFORM, value, tick, tick * 64);
  return id;
}

/** Slot to squared distance of what a query finds; asserts that no slot comes twice. */
function found(interest: Interest, viewer: readonly number[] | undefined): Map<number, number> {
  const result = createInterestResult();
  interest.query(viewer === undefined ? undefined : Float64Array.from(viewer), result);
  const slots = new Map<number, number>();
  for (let i = 0; i < result.count; i++) {
    assert(!slots.has(result.slots[i]!), `slot ${result.slots[i]} comes once`);
    slots.set(result.slots[i]!, result.distanceSquared[i]!);
  }
  return slots;
}

/** The same by looking at every entity. */
function scanned(world: World, viewer: readonly number[] | undefined): Map<number, number> {
  const slots = new Map<number, number>();
  const reach = Math.max(...world.grants.components.map((c) => c.interestRadius)) *
    INTEREST_HYSTERESIS;
  const position = new Float64Array(3);
  for (let slot = 1; slot <= world.maxSlot; slot++) {
    const id = world.idAt(slot);
    if (id === 0) continue;
    const hasPosition = world.position(id, position);
    let distance = 0;
    if (hasPosition && viewer === undefined) distance = Infinity;
    else if (hasPosition) {
      const [x, y, z] = [0, 1, 2].map((axis) => position[axis]! - viewer![axis]!);
      distance = x! * x! + y! * y! + z! * z!;
    }
    let isUnlimited = !hasPosition;
    world.forEachComponent(id, (c) => {
      if (world.grants.components[c]!.interestRadius === 0) isUnlimited = true;
    });
    if (isUnlimited || distance <= reach * reach) slots.set(slot, distance);
  }
  return slots;
}

function sorted(slots: Map<number, number>): [number, number][] {
  return [...slots].sort((a, b) => a[0] - b[0]);
}

Deno.test("`query()` finds what a full scan finds, when worlds are random", () => {
  for (let seed = 1; seed <= 120; seed++) {
    const prng = createPrng(seed);
    const grants = withRadius([1, 7, 50, 900][below(prng, 4)]!);
    const world = new World(grants);
    const interest = new Interest(grants, world);
    const spread = [5, 60, 1_000][below(prng, 3)]!;
    for (let tick = 1; tick <= 3; tick++) {
      stir(world, prng, spread, tick);
      interest.rebuild();
      for (let i = 0; i < 10; i++) {
        const viewer = i === 0 ? undefined : spot(prng, spread);
        assertEquals(
          sorted(found(interest, viewer)),
          sorted(scanned(world, viewer)),
          `seed ${seed}, tick ${tick}, viewer ${viewer}`,
        );
      }
    }
  }
});

function withRadius(radius: number): Grants {
  return sampleGrants({
    components: buildComponents(
      SAMPLE_COMPONENTS.map((c) => c.interestRadius ? { ...c, interestRadius: radius } : c),
    ),
  });
}

function spot(prng: Prng, spread: number): number[] {
  return [0, 1, 2].map(() => (prng() - 0.5) * 2 * spread);
}

function stir(world: World, prng: Prng, spread: number, tick: number): void {
  for (let i = below(prng, 200); i > 0; i--) {
    const slot = 1 + below(prng, 300);
    const id = world.idAt(slot);
    const action = below(prng, 10);
    if (action === 0 && id !== 0) world.despawn(id, tick);
    else if (action === 1 && id === 0) world.spawn(makeEntityId(slot, 0), 0, tick);
    else {
      const placed = place(world, slot, spot(prng, spread), tick);
      if (action === 2 && !world.hasComponent(placed, HEALTH)) {
        world.addComponent(placed, HEALTH, createValue(world.grants.components[HEALTH]!), tick, 0);
      }
    }
  }
}

Deno.test("`query()` measures in three dimensions, when an entity is right above the viewer", () => {
  const grants = sampleGrants();
  const world = new World(grants);
  const interest = new Interest(grants, world);
  place(world, 1, [10, 0, 10]);
  place(world, 2, [10, 54.9, 10]);
  place(world, 3, [10, 55.1, 10]);
  place(world, 4, [64.9, 0, 10]);
  place(world, 5, [10, 0, -45.1]);
  interest.rebuild();
  assertEquals([...found(interest, [10, 0, 10]).keys()].sort(), [1, 2, 4]);
});

Deno.test("`query()` gives only what is everywhere, when the viewer has no position", () => {
  const grants = sampleGrants();
  const world = new World(grants);
  const interest = new Interest(grants, world);
  const health = createValue(grants.components[HEALTH]!);
  place(world, 1, [0, 0, 0]);
  world.addComponent(place(world, 2, [900, 0, 0]), HEALTH, health, 1, 0);
  world.spawn(makeEntityId(3, 0), 0, 1);
  interest.rebuild();
  assertEquals(sorted(found(interest, undefined)), [[2, Infinity], [3, 0]]);
  assertEquals(sorted(found(interest, [0, 0, 0])), [[1, 0], [2, 810_000], [3, 0]]);
});

Deno.test("`query()` sees nothing old, when the world moved and `rebuild()` was called", () => {
  const grants = sampleGrants();
  const world = new World(grants);
  const interest = new Interest(grants, world);
  assertEquals(found(interest, [0, 0, 0]).size, 0);
  place(world, 1, [0, 0, 0]);
  interest.rebuild();
  assertEquals(found(interest, [0, 0, 0]).size, 1);
  place(world, 1, [500, 0, 0], 2);
  interest.rebuild();
  assertEquals([found(interest, [0, 0, 0]).size, found(interest, [500, 0, 0]).size], [0, 1]);
  world.despawn(makeEntityId(1, 0), 3);
  interest.rebuild();
  assertEquals(found(interest, [500, 0, 0]).size, 0);
});

Deno.test("`query()` gives everything, when no component has a radius", () => {
  const grants = withRadius(0);
  const world = new World(grants);
  const interest = new Interest(grants, world);
  for (let slot = 1; slot <= 200; slot++) place(world, slot, [slot * 4, 0, 0]);
  interest.rebuild();
  assertEquals([found(interest, undefined).size, found(interest, [0, 0, 0]).size], [200, 200]);
});
