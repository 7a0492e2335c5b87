// A viewer that stays where it is and is told of the world's changes alone, beside one that is shown everything anew in each tick: both are
// sent the same bytes.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { ZoneGrant } from "../../permissions/grants.ts";
import { type EntityId, makeEntityId } from "../../protocol/entity_id.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { createZonesSeen, Zones } from "../../replication/zones.ts";
import { StillViewer } from "../../replication/still_viewer.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import {
  AVATAR,
  buildComponents,
  HEALTH,
  PLAYER,
  SAMPLE_COMPONENTS,
  sampleGrants,
  SPECTATOR,
  TRANSFORM,
} from "../support/sample_grants.ts";
import { PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const MOST_SLOTS = 60;
const TICKS = 200;
const PEER = 1;
const KINDS = [TRANSFORM, AVATAR, HEALTH];
const ZONES: readonly ZoneGrant[] = [
  { id: 1, name: "room", closed: true, seenByRoles: 1 },
  { id: 2, name: "stage", closed: true, seenByRoles: 0b111 },
  { id: 3, name: "yard", closed: false, seenByRoles: 0b111 },
];

/** Places with two radii, and one component that a role may not read all of. */
const COMPONENTS = buildComponents(
  SAMPLE_COMPONENTS.map((component, c) =>
    c === TRANSFORM
      ? { ...component, interestRadius: 12, readMasks: [0b11, 0b11, 0b01] }
      : c === HEALTH
      ? { ...component, readMasks: [0b11, 0b01, 0] }
      : component
  ),
);

function spot(prng: Prng, spread: number): number[] {
  return [0, 1, 2].map(() => (prng() - 0.5) * 2 * spread);
}

/** A world in which most things rest, and all that can happen to a thing happens now and then. */
class Place {
  readonly grants = sampleGrants({ zones: ZONES, historyMs: 400, components: COMPONENTS });
  readonly world = new World(this.grants);
  readonly interest = new Interest(this.grants, this.world);
  readonly #prng: Prng;
  readonly #spread: number;
  readonly #slots: number;
  readonly #generations = new Int32Array(MOST_SLOTS + 1);
  readonly #ended = new Map<number, EntityId>();

  constructor(prng: Prng, spread: number, slots: number) {
    this.#prng = prng;
    this.#slots = slots;
    this.#spread = spread;
  }

  /** What happens in a tick before datagrams are built; `isForgotten` says whether nobody knows an ended entity any more. */
  step(tick: number, isForgotten: (id: EntityId) => boolean): void {
    for (let slot = 1; slot <= this.#slots; slot++) this.#happen(slot, tick, isForgotten);
    this.interest.rebuild();
    // What comes to life after that is listed, and found by the next tick.
    if (below(this.#prng, 4) === 0) {
      this.#happen(1 + below(this.#prng, this.#slots), tick, isForgotten);
    }
    this.interest.listChanged();
  }

  #happen(slot: number, tick: number, isForgotten: (id: EntityId) => boolean): void {
    const { world } = this;
    const prng = this.#prng;
    const id = world.idAt(slot);
    const dice = below(prng, 100);
    if (id === 0) {
      const last = this.#ended.get(slot);
      if (dice > 10 || (last !== undefined && !isForgotten(last))) return;
      const born = makeEntityId(slot, this.#generations[slot]!);
      world.spawn(born, dice === 0 ? PEER : 0, tick);
      world.addComponent(born, TRANSFORM, this.#value(TRANSFORM), tick, tick * 64);
    } else if (dice === 0) {
      world.despawn(id, tick);
      this.#ended.set(slot, id);
      this.#generations[slot]! += 1;
    } else if (dice === 1) {
      world.setZone(id, below(prng, 4), tick);
    } else if (dice === 2) {
      const c = KINDS[below(prng, KINDS.length)]!;
      if (world.hasComponent(id, c)) world.removeComponent(id, c, tick);
      else world.addComponent(id, c, this.#value(c), tick, tick * 64);
    } else if (dice === 3) {
      world.setOwner(id, below(prng, 3) === 0 ? PEER : 0, tick);
    } else if (dice < 16) {
      for (const c of KINDS) {
        if (!world.hasComponent(id, c)) continue;
        world.write(id, c, world.grants.components[c]!.allFields, this.#value(c), tick, tick * 64);
      }
    }
  }

  #value(c: number): ComponentValue {
    const grant = this.grants.components[c]!;
    const value = createValue(grant);
    for (const field of grant.fields) {
      const from = field.kind === "quat"
        ? [0, 0, 0, 1]
        : field.kind === "vec3"
        ? spot(this.#prng, this.#spread)
        : [below(this.#prng, 2)];
      if (field.blobIndex >= 0) continue;
      assert(quantiseField(field, from, 0, value.lanes, field.laneOffset));
    }
    return value;
  }
}

Deno.test("who stays is sent the same bytes, whether all is looked at in each tick or what changed alone", () => {
  let looks = 0;
  let partial = 0;
  let sections = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const prng = createPrng(seed);
    const spread = [6, 40, 150][seed % 3]!;
    const place = new Place(prng, spread, seed % 2 === 0 ? 2 : MOST_SLOTS);
    const { grants, world, interest } = place;
    const zones = new Zones(grants);
    const zonesSeen = createZonesSeen();
    const path = { loss: seed % 4 < 2 ? 0.1 : 0, duplicate: 0, minDelay: 0, maxDelay: 2 };
    const links = [0, 1].map(() =>
      new SnapshotLink({
        grants,
        world,
        peer: PEER,
        roleIndex: PLAYER,
        direction: "down",
        path,
        prng: createPrng(seed + 1_000),
        maxBits: seed % 5 === 0 ? 1_000 : 8_800,
        maxDatagrams: seed % 5 === 0 ? 1 : 16,
      })
    );
    const candidates = links.map(createInterestResult);
    const still = new StillViewer();
    let at: number[] | undefined;
    let zone = 0;
    let role: number = PLAYER;
    for (let tick = 1; tick <= TICKS; tick++) {
      const context = `seed ${seed}, tick ${tick}`;
      place.step(tick, (id) => links.every(({ sender }) => sender.hasAckedDespawn(id)));
      // Half of the time it only stays.
      const dice = tick % 100 < 50 ? below(prng, 40) : 40;
      if (dice === 0) at = undefined;
      else if (dice < 4) at = spot(prng, spread);
      else if (dice === 4) zone = below(prng, 4);
      else if (dice === 5) {
        role = role === PLAYER ? SPECTATOR : PLAYER;
        for (const { sender } of links) sender.setRole(role, tick & 0xff);
      } else if (dice === 6) {
        for (const { sender } of links) sender.assume(makeEntityId(MOST_SLOTS + 1, tick));
      }
      zones.seen(role, zone, zonesSeen);
      const eye = at && Float64Array.from(at);
      interest.query(eye, candidates[0]!, zonesSeen);
      const [all, link] = [links[0]!, links[1]!];
      looks += 1;
      if (still.isStill(tick, eye, zonesSeen) && link.sender.mayLookAtChanges) {
        partial += 1;
        interest.queryChanged(eye, candidates[1]!, zonesSeen);
      } else {
        interest.query(eye, candidates[1]!, zonesSeen);
      }
      for (const [i, { sent }] of links.entries()) {
        const before = sent.length;
        links[i]!.step(tick, candidates[i]);
        sections += sent.length - before;
      }
      assertEquals(link.sent.length, all.sent.length, context);
      for (const [i, { bytes }] of all.sent.entries()) {
        if (all.sent[i]!.tick < tick) continue;
        assertEquals(link.sent[i]!.bytes.toHex(), bytes.toHex(), context);
      }
      assertEquals(link.sender.trackedCount, all.sender.trackedCount, context);
      assertEquals(link.sender.pendingDespawns, all.sender.pendingDespawns, context);
    }
  }
  assertGreater(partial, looks / 2);
  assertGreater(sections, 5_000);
});

Deno.test("`StillViewer.isStill()` is false, when the eye, a zone or the run differs, and for one run only", () => {
  const still = new StillViewer();
  const zones = createZonesSeen();
  let run = 0;
  const look = (eye?: number[], steps = 1): boolean => {
    run += steps;
    return still.isStill(run, eye && Float64Array.from(eye), zones);
  };
  look([1, 2, 3]);
  assert(look([1, 2, 3]));
  for (const eye of [[4, 2, 3], [4, 5, 3], [4, 5, 6], undefined]) {
    assert(!look(eye));
    assert(look(eye));
  }
  assert(!look(undefined, 2), "it was not looked after in the run before");
  zones.count = 1;
  zones.ids[0] = 7;
  assert(!look());
  assert(look());
  zones.ids[0] = 8;
  assert(!look());
  zones.count = 0;
  assert(!look());
  assert(look());
});

Deno.test("who stays is told the end of what left its view long ago, and forgets it then", () => {
  const place = new Place(createPrng(1), 1, 0);
  const { grants, world, interest } = place;
  const link = new SnapshotLink({
    grants,
    world,
    peer: PEER,
    roleIndex: PLAYER,
    direction: "down",
    path: { ...PERFECT, minDelay: 3, maxDelay: 3 },
    prng: createPrng(1),
  });
  const id = makeEntityId(1, 0);
  world.spawn(id, 0, 1);
  const value = createValue(grants.components[TRANSFORM]!);
  const [position, rotation] = grants.components[TRANSFORM]!.fields;
  assert(quantiseField(position!, [0, 0, 0], 0, value.lanes, position!.laneOffset));
  assert(quantiseField(rotation!, [0, 0, 0, 1], 0, value.lanes, rotation!.laneOffset));
  world.addComponent(id, TRANSFORM, value, 1, 64);
  const other = makeEntityId(2, 0);
  world.spawn(other, 0, 1);
  const still = new StillViewer();
  const zonesSeen = createZonesSeen();
  const candidates = createInterestResult();
  const far = 900;
  const history = Math.ceil(grants.historyMs * grants.tickHz / 1000);
  let partial = 0;
  const end = 3 * history;
  for (let tick = 1; tick <= end; tick++) {
    if (tick === 2 * history) world.despawn(id, tick);
    // Something goes on, so that what changed once is not listed for ever.
    if (tick > 1) world.setZone(other, 1 + tick % 2, tick);
    interest.rebuild();
    interest.listChanged();
    const eye = new Float64Array(3).fill(tick < 5 ? 0 : far);
    if (still.isStill(tick, eye, zonesSeen) && link.sender.mayLookAtChanges) {
      partial += 1;
      interest.queryChanged(eye, candidates, zonesSeen);
    } else {
      interest.query(eye, candidates, zonesSeen);
    }
    link.step(tick, candidates);
    if (tick === 3) assert(link.sender.isVisible(id));
    if (tick === 6) assert(!link.sender.isVisible(id));
  }
  assertGreater(partial, end - 5);
  assert(link.sender.hasAckedDespawn(id));
  assertEquals([link.sender.trackedCount, link.sender.pendingDespawns], [0, 0]);
});

Deno.test("who stays is sent what stopped in step in the order of how near it is now, as one that looks at all", () => {
  const grants = sampleGrants({ historyMs: 4_000 });
  const world = new World(grants);
  const interest = new Interest(grants, world);
  const options = [0, 1].map(() => ({
    grants,
    world,
    peer: PEER,
    roleIndex: PLAYER,
    direction: "down" as const,
    path: { ...PERFECT, minDelay: 1, maxDelay: 1 },
    prng: createPrng(3),
    maxBits: 8_800,
    maxDatagrams: 16,
  }));
  const links = options.map((one) => new SnapshotLink(one));
  const candidates = links.map(createInterestResult);
  const still = new StillViewer();
  const zonesSeen = createZonesSeen();
  const eye = new Float64Array(3);
  const count = 40;
  const stopTick = 100;
  const grant = grants.components[TRANSFORM]!;
  const [position, rotation] = grant.fields;
  const valueAt = (i: number, tick: number): ComponentValue => {
    // Odd ones come near, even ones go far.
    const way = 28 * Math.min(1, tick / 90);
    const x = (i % 2 === 1 ? 30 - way : 2 + way) + i / 1_000 + (tick % 2) / 100;
    const value = createValue(grant);
    assert(quantiseField(position!, [x, 0, 0], 0, value.lanes, position!.laneOffset));
    assert(quantiseField(rotation!, [0, 0, 0, 1], 0, value.lanes, rotation!.laneOffset));
    return value;
  };
  const other = makeEntityId(count + 1, 0);
  for (let tick = 1; tick <= stopTick + 60; tick++) {
    for (let i = 1; i <= count; i++) {
      const id = makeEntityId(i, 0);
      const value = valueAt(i, tick);
      if (tick === 1) {
        world.spawn(id, 0, tick);
        world.addComponent(id, TRANSFORM, value, tick, tick * 64);
      } else if (tick <= stopTick) {
        world.write(id, TRANSFORM, grant.allFields, value, tick, tick * 64);
      }
    }
    // Something goes on, so that what changed once is not listed for ever.
    if (tick === 1) world.spawn(other, 0, tick);
    else world.setZone(other, 1 + tick % 2, tick);
    // All that was said of the last change is lost, and little goes at once from then on.
    for (const [i, link] of links.entries()) {
      if (tick === stopTick) {
        assertEquals(link.sender.inStepCount, count);
        link.path = { ...link.path, loss: 1 };
      } else if (tick === stopTick + 1) {
        link.path = { ...link.path, loss: 0 };
        options[i]!.maxBits = 500;
        options[i]!.maxDatagrams = 1;
      }
    }
    interest.rebuild();
    interest.listChanged();
    interest.query(eye, candidates[0]!, zonesSeen);
    if (still.isStill(tick, eye, zonesSeen) && links[1]!.sender.mayLookAtChanges) {
      interest.queryChanged(eye, candidates[1]!, zonesSeen);
    } else {
      interest.query(eye, candidates[1]!, zonesSeen);
    }
    const [all, changed] = links.map((link, i) => {
      link.step(tick, candidates[i]);
      return link.sent.filter((one) => one.tick === tick).map(({ bytes }) => bytes.toHex());
    });
    assertEquals(changed, all, `tick ${tick}`);
  }
});
