// The world's columns against a plain model of the same world, and each rule that links and gate rely on.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { quantiseField } from "../../replication/quantise.ts";
import {
  type ComponentValue,
  copyFields,
  copyValue,
  createValue,
} from "../../replication/value.ts";
import { historyTicksOf, World } from "../../replication/world.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { randomise, randomValue } from "../support/random_values.ts";
import {
  AVATAR,
  buildComponents,
  EVERYTHING,
  HEALTH,
  NAME,
  SAMPLE_COMPONENTS,
  sampleGrants,
  TRANSFORM,
} from "../support/sample_grants.ts";

const grants = sampleGrants();
const ONE = makeEntityId(1, 0);
const TWO = makeEntityId(2, 7);

function component(c: number): ComponentGrant {
  return grants.components[c]!;
}

function transformAt(x: number, y: number, z: number): ComponentValue {
  const value = createValue(component(TRANSFORM));
  const [position, rotation] = component(TRANSFORM).fields;
  assert(quantiseField(position!, [x, y, z], 0, value.lanes, position!.laneOffset));
  assert(quantiseField(rotation!, [0, 0, 0, 1], 0, value.lanes, rotation!.laneOffset));
  return value;
}

function health(points: number, secret: number): ComponentValue {
  const value = createValue(component(HEALTH));
  value.lanes.set([points, secret]);
  return value;
}

function changedAt(world: World, tick: number): number[] {
  const slots: number[] = [];
  world.forEachChanged(tick, (slot) => slots.push(slot));
  return slots.sort((a, b) => a - b);
}

Deno.test("`isAlive()` asks for the very generation, when a slot is used again", () => {
  const world = new World(grants);
  for (const id of [0, ONE, TWO, 0xffff_ffff]) assertEquals(world.isAlive(id), false);
  world.spawn(ONE, 3, 1);
  world.despawn(ONE, 2);
  const next = makeEntityId(1, 1);
  world.spawn(next, 4, 3);
  assertEquals([world.isAlive(ONE), world.isAlive(next)], [false, true]);
  assertEquals([world.idAt(1), world.owner(next), world.entityCount], [next, 4, 1]);
  assertEquals([world.row(ONE, TRANSFORM), world.idAt(0), world.idAt(99_999)], [-1, 0, 0]);
});

Deno.test("`spawn()` refuses our own mistake, when a slot is taken or lies outside the world", () => {
  const world = new World(sampleGrants({ maxEntities: 100 }));
  world.spawn(ONE, 0, 1);
  assertThrows(() => world.spawn(makeEntityId(1, 1), 0, 1), Error, "free slot");
  assertThrows(() => world.spawn(makeEntityId(0, 1), 0, 1), Error, "limit");
  assertThrows(() => world.spawn(makeEntityId(101, 0), 0, 1), Error, "limit");
  world.spawn(makeEntityId(100, 0), 0, 1);
  assertEquals([world.entityCount, world.maxSlot], [2, 100]);
  assertThrows(() => world.owner(TWO), Error, "alive");
});

Deno.test("`setOwner()` and `raiseEpoch()` void what was sent before, when authority changes", () => {
  const world = new World(grants);
  world.spawn(ONE, 3, 1);
  assertEquals([world.epoch(ONE), world.headerTick(ONE)], [0, 1]);
  world.setOwner(ONE, 9, 5);
  assertEquals([world.owner(ONE), world.epoch(ONE), world.headerTick(ONE)], [9, 1, 5]);
  for (let i = 0; i < 255; i++) world.raiseEpoch(ONE, 6 + i);
  assertEquals([world.epoch(ONE), world.headerTick(ONE)], [0, 260]);
  for (const [before, after] of [[199, 200], [255, 0]] as const) {
    world.setEpoch(ONE, before, 260);
    world.setOwner(ONE, 9, 260);
    assertEquals(world.epoch(ONE), after);
  }
  world.adoptHeader(ONE, 9, 0, 300);
  assertEquals(world.headerTick(ONE), 260, "nothing changed");
  world.adoptHeader(ONE, 2, 77, 300);
  assertEquals([world.owner(ONE), world.epoch(ONE), world.headerTick(ONE)], [2, 77, 300]);
});

Deno.test("`forEachOwned()` follows owners, when entities change hands inside the loop", () => {
  const world = new World(grants);
  for (let slot = 1; slot <= 20; slot++) world.spawn(makeEntityId(slot, 0), slot % 2 + 500, 1);
  assertEquals([world.countOwned(500), world.countOwned(501), world.countOwned(65_535)], [
    10,
    10,
    0,
  ]);
  world.forEachOwned(500, (id) => world.setOwner(id, 65_535, 2));
  world.forEachOwned(501, (id) => world.despawn(id, 2));
  assertEquals([world.countOwned(500), world.countOwned(501), world.countOwned(65_535)], [
    0,
    0,
    10,
  ]);
  const ids: number[] = [];
  world.forEachOwned(65_535, (id) => ids.push(id));
  assertEquals(ids.sort((a, b) => a - b), [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
});

Deno.test("`write()` makes no version, when nothing changes after quantising", () => {
  const world = new World(grants);
  world.spawn(ONE, 0, 1);
  world.addComponent(ONE, TRANSFORM, transformAt(1, 2, 3), 1, 64);
  assertEquals(world.write(ONE, TRANSFORM, 0b11, transformAt(1.0001, 2, 3), 2, 128), 0);
  assertEquals(changedAt(world, 2), []);
  assertEquals([world.versionTick(ONE, TRANSFORM), world.versionTime(ONE, TRANSFORM)], [1, 64]);
  assertEquals(world.write(ONE, TRANSFORM, 0b10, transformAt(9, 9, 9), 2, 128), 0);
  assertEquals(world.write(ONE, TRANSFORM, 0b11, transformAt(1.001, 2, 3), 2, 130), 0b01);
  assertEquals([world.versionTick(ONE, TRANSFORM), world.versionTime(ONE, TRANSFORM)], [2, 130]);
  assertEquals(changedAt(world, 2), [1]);
  assertEquals([world.versionTick(ONE, AVATAR), world.versionTime(TWO, AVATAR)], [-1, -1]);
  assertThrows(() => world.write(ONE, AVATAR, 1, createValue(component(AVATAR)), 2, 0), Error);
});

Deno.test("`read()` gives the newest value and `store()` the older ones, when a component changes", () => {
  const world = new World(grants);
  world.spawn(ONE, 0, 1);
  const out = createValue(component(HEALTH));
  assertEquals(world.read(ONE, HEALTH, out), false);
  world.addComponent(ONE, HEALTH, health(100, 7), 1, 64);
  for (let tick = 2; tick <= 5; tick++) world.write(ONE, HEALTH, 0b01, health(tick, 99), tick, 0);
  assert(world.read(ONE, HEALTH, out));
  assertEquals([...out.lanes], [5, 7]);
  const store = world.store(HEALTH);
  store.load(store.find(world.row(ONE, HEALTH), 3), out);
  assertEquals([...out.lanes], [3, 7]);
  world.removeComponent(ONE, HEALTH, 6);
  assertEquals([world.hasComponent(ONE, HEALTH), world.headerTick(ONE)], [false, 6]);
  assertEquals([store.rowCount, store.versionCount, world.read(ONE, HEALTH, out)], [0, 0, false]);
});

Deno.test("`forEachComponent()` and `componentWord()` agree, when a world has more than 32 components", () => {
  const many: Grants = sampleGrants({
    components: buildComponents(
      Array.from({ length: 70 }, (_, i) => ({
        id: i + 1,
        name: `c${i}`,
        fields: [{ name: "flag", kind: "bool" as const }],
      })),
    ),
  });
  const world = new World(many);
  world.spawn(ONE, 0, 1);
  const expected = [0, 5, 31, 32, 63, 64, 69];
  for (const c of expected.toReversed()) {
    world.addComponent(ONE, c, createValue(many.components[c]!), 1, 0);
  }
  const found: number[] = [];
  world.forEachComponent(ONE, (c) => found.push(c));
  assertEquals(found, expected);
  assertEquals(world.componentCount(ONE), 7);
  assertEquals(world.wordCount, 3);
  assertEquals(
    [0, 1, 2].map((w) => world.componentWord(1, w) >>> 0),
    [(1 << 31 | 1 << 5 | 1) >>> 0, (1 << 31 | 1) >>> 0, 0b100001],
  );
  assertThrows(
    () => world.addComponent(ONE, 5, createValue(many.components[5]!), 1, 0),
    Error,
    "once",
  );
  assertThrows(() => world.removeComponent(ONE, 6, 1), Error, "has it");
});

Deno.test("`forEachChanged()` names each slot once, when values, headers and lives change", () => {
  const world = new World(grants);
  for (let slot = 1; slot <= 9; slot++) {
    world.spawn(makeEntityId(slot, 0), 0, 1);
    world.addComponent(makeEntityId(slot, 0), HEALTH, health(1, 1), 1, 64);
  }
  assertEquals(changedAt(world, 1).length, 9);
  assertEquals(changedAt(world, 2), []);
  world.write(makeEntityId(5, 0), HEALTH, 1, health(2, 0), 2, 0);
  world.write(makeEntityId(5, 0), HEALTH, 1, health(3, 0), 2, 0);
  world.raiseEpoch(makeEntityId(2, 0), 2);
  world.despawn(makeEntityId(9, 0), 2);
  assertEquals(changedAt(world, 2), [2, 5, 9]);
  world.write(makeEntityId(5, 0), HEALTH, 1, health(4, 0), 3, 0);
  assertEquals(changedAt(world, 3), [5]);
  assertEquals(changedAt(world, 2), [2, 5, 9]);
  assertEquals(world.idAt(9), 0);
});

Deno.test("`position()` comes from the first component that has one, when several do", () => {
  const world = new World(grants);
  const out = new Float64Array(3);
  world.spawn(ONE, 0, 1);
  assertEquals(world.position(ONE, out), false);
  world.addComponent(ONE, HEALTH, health(1, 1), 1, 0);
  assertEquals(world.position(ONE, out), false);
  const avatar = createValue(component(AVATAR));
  quantiseField(component(AVATAR).fields[0]!, [7, 8, 9], 0, avatar.lanes, 0);
  world.addComponent(ONE, AVATAR, avatar, 1, 0);
  assert(world.position(ONE, out));
  assertEquals([...out], [7, 8, 9]);
  world.addComponent(ONE, TRANSFORM, transformAt(1, 2, 3), 1, 0);
  assert(world.position(ONE, out));
  assertEquals([...out], [1, 2, 3]);
});

Deno.test("`positionAt()` runs between samples and rests outside them, when asked for a time", () => {
  const world = new World(grants);
  const out = new Float64Array(3);
  world.spawn(ONE, 0, 10);
  assertEquals(world.positionAt(ONE, 0, out), false);
  world.addComponent(ONE, TRANSFORM, transformAt(0, 0, 0), 10, 640);
  world.write(ONE, TRANSFORM, 1, transformAt(10, -2, 0), 12, 740);
  world.write(ONE, TRANSFORM, 1, transformAt(10, -2, 8), 13, 760);
  const expected: [number, number[]][] = [
    [0, [0, 0, 0]],
    [640, [0, 0, 0]],
    [690, [5, -1, 0]],
    [740, [10, -2, 0]],
    [745, [10, -2, 2]],
    [760, [10, -2, 8]],
    [9_999, [10, -2, 8]],
  ];
  for (const [time, position] of expected) {
    assert(world.positionAt(ONE, time, out));
    position.forEach((metres, axis) => assertAlmostEquals(out[axis]!, metres, 1e-6, `at ${time}`));
  }
});

Deno.test("`positionAt()` stays finite, when an owner gives two versions one sample time", () => {
  const world = new World(grants);
  const out = new Float64Array(3);
  world.spawn(ONE, 0, 1);
  world.addComponent(ONE, TRANSFORM, transformAt(0, 0, 0), 1, 64);
  world.write(ONE, TRANSFORM, 1, transformAt(4, 0, 0), 2, 64);
  world.write(ONE, TRANSFORM, 1, transformAt(8, 0, 0), 3, 60);
  for (const time of [0, 59, 60, 61, 63, 64, 65]) {
    assert(world.positionAt(ONE, time, out));
    assert(out.every((v) => Number.isFinite(v) && v >= 0 && v <= 8), `${time}: ${out}`);
  }
});

Deno.test("`hash()` differs for one changed lane, byte or component, and not for what its masks leave out", () => {
  const world = new World(grants);
  const prng = createPrng(1);
  world.spawn(ONE, 0, 1);
  world.spawn(TWO, 4, 9);
  const hashes = new Set([world.hash(ONE)]);
  const value = randomValue(component(EVERYTHING), prng);
  value.blobs[0] = new TextEncoder().encode("ab");
  world.addComponent(ONE, EVERYTHING, value, 1, 0);
  hashes.add(world.hash(ONE));
  for (let lane = 0; lane < value.lanes.length; lane++) {
    // Another one that its field can have.
    const before = Int32Array.from(value.lanes);
    while (value.lanes[lane] === before[lane]) {
      value.lanes[lane] = randomValue(component(EVERYTHING), prng).lanes[lane]!;
    }
    world.write(ONE, EVERYTHING, component(EVERYTHING).allFields, value, 2, 0);
    hashes.add(world.hash(ONE));
  }
  value.blobs[0] = new TextEncoder().encode("ac");
  world.write(ONE, EVERYTHING, component(EVERYTHING).allFields, value, 2, 0);
  hashes.add(world.hash(ONE));
  assertEquals(hashes.size, value.lanes.length + 3);

  world.addComponent(TWO, EVERYTHING, value, 9, 9);
  assertEquals(world.hash(TWO), world.hash(ONE), "owner, epoch, id and ticks are no part of it");
  assertEquals(world.hash(TWO, () => -1), world.hash(ONE));
  const before = value.lanes[0];
  while (value.lanes[0] === before) {
    value.lanes[0] = randomValue(component(EVERYTHING), prng).lanes[0]!;
  }
  world.write(TWO, EVERYTHING, 1, value, 10, 10);
  assertNotEquals(world.hash(TWO), world.hash(ONE));
  assertEquals(world.hash(TWO, () => ~1), world.hash(ONE, () => ~1));
  world.addComponent(TWO, HEALTH, health(1, 2), 10, 10);
  assertEquals(
    world.hash(TWO, (c) => c === HEALTH ? 0 : ~1),
    world.hash(ONE, () => ~1),
  );
});

Deno.test("`hash()` is FNV-1a of ids and lanes, when computed by hand", () => {
  const world = new World(grants);
  world.spawn(ONE, 0, 1);
  assertEquals(world.hash(ONE), 0x811c9dc5);
  world.addComponent(ONE, HEALTH, health(3, -1), 1, 0);
  const name = createValue(component(NAME));
  name.blobs[0] = new TextEncoder().encode("Ada");
  world.addComponent(ONE, NAME, name, 1, 0);
  // Name (id 3): length and text; Health (id 4): two lanes. All words little-endian.
  const bytes = [
    3,
    0,
    0,
    0,
    3,
    0,
    0,
    0,
    0x41,
    0x64,
    0x61,
    4,
    0,
    0,
    0,
    3,
    0,
    0,
    0,
    255,
    255,
    255,
    255,
  ];
  let hash = 0x811c9dc5n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x01000193n) & 0xffff_ffffn;
  assertEquals(world.hash(ONE), Number(hash));
});

Deno.test("`expire()` drops history and keeps newest values, when a world goes quiet", () => {
  const world = new World(grants);
  assertEquals(historyTicksOf(grants), 60);
  for (let slot = 1; slot <= 300; slot++) {
    const id = makeEntityId(slot, 0);
    world.spawn(id, 0, 1);
    world.addComponent(id, HEALTH, health(0, slot), 1, 64);
    for (let tick = 2; tick <= 20; tick++) world.write(id, HEALTH, 1, health(tick, 0), tick, 0);
  }
  const store = world.store(HEALTH);
  assertEquals(store.versionCount, 300 * 20);
  for (let tick = 21; tick < 62; tick++) world.expire(tick);
  assertEquals(store.versionCount, 300 * 20);
  for (let tick = 62; tick < 120; tick++) world.expire(tick);
  assertEquals(store.versionCount, 300);
  const out = createValue(component(HEALTH));
  world.read(makeEntityId(77, 0), HEALTH, out);
  assertEquals([...out.lanes], [20, 77]);
});

// ---- against a model

interface ModelEntity {
  owner: number;
  epoch: number;
  headerTick: number;
  readonly components: Map<number, ComponentValue>;
}

Deno.test("`World` is what a plain model is, when anything happens in any order", () => {
  for (let seed = 1; seed <= 25; seed++) new ModelRun(seed).run();
});

class ModelRun {
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #grants = sampleGrants({
    maxEntities: 200,
    historyMs: 300,
    components: buildComponents(SAMPLE_COMPONENTS.slice(0, 5)),
  });
  readonly #world = new World(this.#grants);
  readonly #model = new Map<number, ModelEntity>();
  readonly #generation = new Map<number, number>();
  #touched = new Set<number>();
  #tick = 1;

  constructor(seed: number) {
    this.#seed = seed;
    this.#prng = createPrng(seed);
  }

  run(): void {
    for (let step = 0; step < 400; step++) {
      this.#act();
      if (below(this.#prng, 8) === 0) {
        this.#compare(`seed ${this.#seed}, step ${step}`);
        this.#tick += 1 + below(this.#prng, 3);
        this.#touched = new Set();
        this.#world.expire(this.#tick);
      }
    }
  }

  #act(): void {
    const prng = this.#prng;
    const ids = [...this.#model.keys()];
    if (ids.length === 0 || below(prng, 6) === 0) return this.#spawn();
    const id = ids[below(prng, ids.length)]!;
    const entity = this.#model.get(id)!;
    const c = below(prng, this.#grants.components.length);
    const held = entity.components.get(c);
    const action = below(prng, 20);
    if (action === 0) {
      this.#world.despawn(id, this.#tick);
      this.#model.delete(id);
    } else if (action === 1) {
      entity.owner = below(prng, 5);
      entity.epoch = (entity.epoch + 1) & 0xff;
      entity.headerTick = this.#tick;
      this.#world.setOwner(id, entity.owner, this.#tick);
    } else if (held === undefined) {
      const value = randomValue(this.#grants.components[c]!, prng);
      this.#world.addComponent(id, c, value, this.#tick, this.#tick * 64);
      entity.components.set(c, value);
      entity.headerTick = this.#tick;
    } else if (action === 2) {
      this.#world.removeComponent(id, c, this.#tick);
      entity.components.delete(c);
      entity.headerTick = this.#tick;
    } else {
      if (!this.#write(id, c, held)) return;
    }
    this.#touched.add(id & 0xfffff);
  }

  #spawn(): void {
    const slot = 1 + below(this.#prng, 200);
    if (this.#world.idAt(slot) !== 0) return;
    const generation = (this.#generation.get(slot) ?? -1) + 1;
    this.#generation.set(slot, generation);
    const id = makeEntityId(slot, generation);
    const owner = below(this.#prng, 5);
    this.#world.spawn(id, owner, this.#tick);
    this.#model.set(id, { owner, epoch: 0, headerTick: this.#tick, components: new Map() });
    this.#touched.add(slot);
  }

  #write(id: number, c: number, held: ComponentValue): boolean {
    const grant = this.#grants.components[c]!;
    const mask = below(this.#prng, grant.allFields + 1);
    const value = createValue(grant);
    copyValue(held, value);
    randomise(grant, value, below(this.#prng, grant.allFields + 1), this.#prng);
    let expected = 0;
    for (const field of grant.fields) {
      const before = JSON.stringify(fieldOf(held, field.laneOffset, field.lanes, field.blobIndex));
      const after = JSON.stringify(fieldOf(value, field.laneOffset, field.lanes, field.blobIndex));
      if ((mask & 1 << field.index) !== 0 && before !== after) expected |= 1 << field.index;
    }
    const changed = this.#world.write(id, c, mask, value, this.#tick, this.#tick * 64);
    assertEquals(changed, expected, `seed ${this.#seed}`);
    copyFields(grant, value, held, mask);
    return changed !== 0;
  }

  #compare(where: string): void {
    const world = this.#world;
    assertEquals(world.entityCount, this.#model.size, where);
    const owned = [0, 0, 0, 0, 0];
    for (const [id, entity] of this.#model) {
      owned[entity.owner]! += 1;
      assertEquals(
        [world.isAlive(id), world.owner(id), world.epoch(id), world.headerTick(id)],
        [true, entity.owner, entity.epoch, entity.headerTick],
        where,
      );
      for (const grant of this.#grants.components) {
        const out = createValue(grant);
        const held = entity.components.get(grant.index);
        assertEquals(world.hasComponent(id, grant.index), held !== undefined, where);
        assertEquals(world.read(id, grant.index, out), held !== undefined, where);
        if (held !== undefined) assertEquals(out, held, where);
      }
    }
    assertEquals([0, 1, 2, 3, 4].map((peer) => world.countOwned(peer)), owned, where);
    assertEquals(changedAt(world, this.#tick), [...this.#touched].sort((a, b) => a - b), where);
  }
}

function fieldOf(value: ComponentValue, at: number, lanes: number, blob: number): unknown {
  return blob >= 0 ? [...value.blobs[blob]!] : [...value.lanes.subarray(at, at + lanes)];
}

Deno.test("`seal()` ends a tick: nothing is written under it any more, nor was under a later one", () => {
  const world = new World(grants);
  world.spawn(ONE, 0, 1);
  world.addComponent(ONE, HEALTH, health(1, 1), 1, 64);
  assertEquals(world.sealedTick, -1);
  world.seal(1);
  world.seal(1);
  assertEquals(world.sealedTick, 1);
  const late = "nothing is written under a tick whose datagrams are built";
  for (const points of [1, 2]) {
    assertThrows(() => world.write(ONE, HEALTH, 1, health(points, 1), 1, 64), Error, late);
  }
  assertThrows(
    () => world.addComponent(ONE, NAME, createValue(component(NAME)), 1, 64),
    Error,
    late,
  );
  assert(!world.hasComponent(ONE, NAME));
  assertEquals(world.write(ONE, HEALTH, 1, health(2, 1), 2, 128), 1);
  world.addComponent(ONE, NAME, createValue(component(NAME)), 3, 192);
  assertThrows(() => world.seal(2), Error, "before anything is written under a later one");
  world.seal(4);
  assertThrows(() => world.seal(3), Error, "ticks are sealed in their order");
});

Deno.test("`World` takes no lane that its field cannot have", () => {
  for (const isAdded of [true, false]) {
    const world = new World(grants);
    world.spawn(ONE, 0, 1);
    const value = randomValue(component(EVERYTHING), createPrng(5));
    if (!isAdded) world.addComponent(ONE, EVERYTHING, value, 1, 0);
    const held = world.hash(ONE);
    for (const field of component(EVERYTHING).fields) {
      if (field.kind !== "vec3" && field.kind !== "f32" && field.kind !== "quat") continue;
      for (const lane of [-1, 0x7fff_ffff]) {
        const before = value.lanes[field.laneOffset]!;
        value.lanes[field.laneOffset] = lane;
        assertThrows(
          () =>
            isAdded
              ? world.addComponent(ONE, EVERYTHING, value, 2, 0)
              : world.write(ONE, EVERYTHING, 1 << field.index, value, 2, 0),
          Error,
          "a lane lies in its field's range",
        );
        value.lanes[field.laneOffset] = before;
      }
    }
    assertEquals(world.hash(ONE), held);
  }
});
