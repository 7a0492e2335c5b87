// What a viewer is shown over time, against the definition: within a component's radius, and once seen within 1.1 times that, and never what
// is in a closed zone into which it does not see.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { type EntityId, makeEntityId } from "../../protocol/entity_id.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { createZonesSeen, Zones } from "../../replication/zones.ts";
import type { ZoneGrant } from "../../permissions/grants.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import {
  AVATAR,
  buildComponents,
  HEALTH,
  PLAYER,
  SAMPLE_COMPONENTS,
  sampleGrants,
  TRANSFORM,
} from "../support/sample_grants.ts";
import { PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const SLOTS = 40;
const TICKS = 40;
const KINDS = [TRANSFORM, AVATAR, HEALTH];
const [ROOM, CELL, STAGE, YARD] = [1, 2, 254, 255];
const ZONES: readonly ZoneGrant[] = [
  { id: ROOM, name: "room", closed: true, seenByRoles: 1 },
  { id: CELL, name: "cell", closed: true, seenByRoles: 1 },
  { id: STAGE, name: "stage", closed: true, seenByRoles: 1 | (1 << PLAYER) },
  { id: YARD, name: "yard", closed: false, seenByRoles: 0b111 },
];
const PLACES = [0, ROOM, CELL, STAGE, YARD];

/** One viewer: where it is, what its link showed it, and what the definition says it sees. */
class Viewer {
  at: number[] | undefined;
  zone = 0;
  readonly link: SnapshotLink;
  readonly shown = new Map<EntityId, number[]>();
  seen = new Map<EntityId, number[]>();

  constructor(world: World, prng: Prng) {
    this.link = new SnapshotLink({
      grants: world.grants,
      world,
      peer: 1,
      roleIndex: PLAYER,
      direction: "down",
      path: PERFECT,
      prng,
    });
    this.link.onDecoded = ({ entries, count }) => {
      for (const entry of entries.slice(0, count)) {
        if (entry.kind !== "header") continue;
        if (entry.state === "alive") this.shown.set(entry.id, [...entry.visible]);
        else this.shown.delete(entry.id);
      }
    };
  }
}

/** Distance of an entity from a place; 0 for one that is nowhere, infinite for one that is somewhere when the place is not. */
function distance(world: World, id: EntityId, place: readonly number[] | undefined): number {
  const position = new Float64Array(3);
  if (!world.position(id, position)) return 0;
  if (place === undefined) return Infinity;
  const [x, y, z] = [0, 1, 2].map((axis) => Math.fround(position[axis]!) - place[axis]!);
  return Math.sqrt(x! * x! + y! * y! + z! * z!);
}

/** The definition, entity by entity. */
function define(world: World, viewer: Viewer): Map<EntityId, number[]> {
  const seen = new Map<EntityId, number[]>();
  for (let slot = 1; slot <= world.maxSlot; slot++) {
    const id = world.idAt(slot);
    if (id === 0) continue;
    const zone = world.zone(id);
    if ((zone === ROOM || zone === CELL) && viewer.zone !== zone) continue;
    const metres = distance(world, id, viewer.at);
    const visible: number[] = [];
    world.forEachComponent(id, (c) => {
      const radius = world.grants.components[c]!.interestRadius;
      const before = viewer.seen.get(id)?.includes(c) === true;
      if (radius === 0 || metres <= radius * (before ? 1.1 : 1)) visible.push(c);
    });
    if (visible.length > 0) seen.set(id, visible);
  }
  return seen;
}

function sorted<T>(map: Map<EntityId, T>): [EntityId, T][] {
  return [...map].sort((a, b) => a[0] - b[0]);
}

function spot(prng: Prng, spread: number): number[] {
  return [0, 1, 2].map(() => (prng() - 0.5) * 2 * spread);
}

/** A step, a leap, or nothing. */
function moved(prng: Prng, at: readonly number[], spread: number): number[] {
  const dice = below(prng, 20);
  if (dice === 0) return spot(prng, spread);
  if (dice < 6) return [...at];
  return at.map((metres) => metres + (prng() - 0.5) * spread / 6);
}

function valueAt(world: World, c: number, metres: readonly number[]) {
  const grant = world.grants.components[c]!;
  const value = createValue(grant);
  for (const field of grant.fields) {
    if (field.kind !== "quat") continue;
    assert(quantiseField(field, [0, 0, 0, 1], 0, value.lanes, field.laneOffset));
  }
  if (grant.positionField === 0) {
    const clamped = metres.map((m) => Math.max(-900, Math.min(900, m)));
    assert(quantiseField(grant.fields[0]!, clamped, 0, value.lanes, 0));
  }
  return value;
}

Deno.test("a viewer is shown what the definition says in every tick, when worlds and viewers move at random", () => {
  let hidden = 0;
  let back = 0;
  let held = 0;
  let left = 0;
  let reused = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const prng = createPrng(seed);
    const radii = [0, 0, 3, 12, 50];
    const near = radii[below(prng, radii.length)]!;
    const far = radii[below(prng, radii.length)]!;
    const grants = sampleGrants({
      zones: ZONES,
      components: buildComponents(
        SAMPLE_COMPONENTS.map((component, c) =>
          c === TRANSFORM
            ? { ...component, interestRadius: near }
            : c === AVATAR
            ? { ...component, interestRadius: far }
            : component
        ),
      ),
    });
    const world = new World(grants);
    const interest = new Interest(grants, world);
    const zones = new Zones(grants);
    const zonesSeen = createZonesSeen();
    // Where nobody is in any zone the rules are the old ones.
    const hasZones = seed % 4 !== 0;
    const spread = [8, 30, 120][below(prng, 3)]!;
    const viewers = Array.from({ length: 3 }, () => new Viewer(world, prng));
    const generations = new Int32Array(SLOTS + 1);
    const ended = new Map<number, EntityId>();
    const places = new Map<EntityId, number[]>();
    for (let tick = 1; tick <= TICKS; tick++) {
      for (let slot = 1; slot <= SLOTS; slot++) {
        const id = world.idAt(slot);
        const dice = below(prng, 40);
        if (id === 0) {
          const last = ended.get(slot);
          // A slot is free when no peer may still know its last user.
          if (last !== undefined && viewers.some((v) => !v.link.sender.hasAckedDespawn(last))) {
            continue;
          }
          if (dice > 6) continue;
          if (last !== undefined) reused += 1;
          const born = makeEntityId(slot, generations[slot]!);
          world.spawn(born, 0, tick);
          if (hasZones && dice < 4) world.setZone(born, PLACES[below(prng, 5)]!, tick);
          places.set(born, spot(prng, spread));
        } else if (dice === 0) {
          world.despawn(id, tick);
          ended.set(slot, id);
          generations[slot]! += 1;
        } else if (hasZones && dice > 36) {
          world.setZone(id, PLACES[below(prng, 5)]!, tick);
        } else if (dice < 6) {
          const c = KINDS[below(prng, KINDS.length)]!;
          if (world.hasComponent(id, c)) world.removeComponent(id, c, tick);
          else world.addComponent(id, c, valueAt(world, c, places.get(id)!), tick, tick * 64);
        } else {
          const at = moved(prng, places.get(id)!, spread);
          places.set(id, at);
          for (const c of [TRANSFORM, AVATAR]) {
            if (!world.hasComponent(id, c)) continue;
            world.write(id, c, 1, valueAt(world, c, at), tick, tick * 64);
          }
        }
      }
      interest.rebuild();
      for (const [i, viewer] of viewers.entries()) {
        const context = `seed ${seed}, tick ${tick}, viewer ${i}`;
        viewer.at = below(prng, 30) === 0 ? undefined : moved(prng, viewer.at ?? [0, 0, 0], spread);
        const candidates = createInterestResult();
        if (hasZones && below(prng, 6) === 0) viewer.zone = PLACES[below(prng, 5)]!;
        zones.seen(PLAYER, viewer.zone, zonesSeen);
        interest.query(viewer.at && Float64Array.from(viewer.at), candidates, zonesSeen);
        const slots = [...candidates.slots.subarray(0, candidates.count)];
        assertEquals(new Set(slots).size, slots.length, `${context}: each once`);
        const before = viewer.seen;
        viewer.seen = define(world, viewer);
        for (const id of viewer.seen.keys()) {
          assert(slots.includes(id & 0xfffff), `${context}: ${id} is a candidate`);
        }
        viewer.link.step(tick, candidates);
        assertEquals(sorted(viewer.shown), sorted(viewer.seen), context);
        for (const [id, visible] of viewer.seen) {
          const metres = distance(world, id, viewer.at);
          for (const c of visible) {
            const { interestRadius } = grants.components[c]!;
            if (interestRadius > 0 && metres > interestRadius) held += 1;
            const expected = createValue(grants.components[c]!);
            const actual = createValue(grants.components[c]!);
            assert(world.read(id, c, expected), context);
            assertGreater(viewer.link.receiver.read(id, c, actual), 0, context);
            if (c !== HEALTH) assertEquals(actual, expected, `${context}: ${id}.${c}`);
          }
        }
        for (const slot of slots) {
          const zone = world.zone(world.idAt(slot));
          const mayCome = (zone !== ROOM && zone !== CELL) || zone === viewer.zone;
          assert(mayCome, `${context}: ${slot} in ${zone} is no candidate`);
        }
        for (const id of before.keys()) {
          if (viewer.seen.has(id) || !world.isAlive(id)) continue;
          left += 1;
          if (distance(world, id, viewer.at) < 3) hidden += 1;
        }
        for (const id of viewer.seen.keys()) {
          if (!before.has(id) && distance(world, id, viewer.at) < 3) back += 1;
        }
        assertEquals(viewer.link.faults.size, 0, context);
      }
    }
  }
  // The runs went where the rules differ.
  assertGreater(held, 500);
  assertGreater(left, 500);
  assertGreater(reused, 100);
  assertGreater(hidden, 100);
  assertGreater(back, 100);
});
