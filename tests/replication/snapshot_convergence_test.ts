// Sender, receiver and announcer against each other over bad paths: whatever happens in the world, once it rests the client has exactly
// what it may see. Several hundred seeds; a failure prints its seed.

import { assert, assertEquals } from "@std/assert";
import { entitySlot, makeEntityId } from "../../protocol/entity_id.ts";
import { type ComponentGrant, type Grants, readMaskOf } from "../../permissions/grants.ts";
import { Announcer } from "../../replication/announcer.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { type ComponentValue, copyFields, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { Mirror } from "../support/mirror.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { randomValue } from "../support/random_values.ts";
import {
  BLOB,
  buildComponents,
  PLAYER,
  SAMPLE_COMPONENTS,
  sampleGrants,
  SPECTATOR,
} from "../support/sample_grants.ts";
import { SnapshotLink } from "../support/snapshot_link.ts";

const PEER = 1;
const SLOTS = 12;

/** The sample world with an owner's secret, a slow component and a short history. */
function testGrants(historyMs: number): Grants {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) =>
      spec.name === "Health" ? { ...spec, ownerReadMask: 0b10, rateHz: 7 } : spec
    ),
  );
  return sampleGrants({ components, historyMs });
}

/** One world, one client, one path. */
class Scene {
  readonly grants: Grants;
  readonly world: World;
  readonly link: SnapshotLink;
  readonly mirror: Mirror;
  readonly announcer: Announcer;
  readonly #prng: Prng;
  readonly #interest: Interest;
  readonly #candidates = createInterestResult();
  readonly #viewer = new Float64Array(3);
  readonly #ended = new Set<number>();
  readonly #generations = new Int32Array(SLOTS + 1);
  role = PLAYER;
  #roleChange: { at: number; role: number; epoch: number } | undefined;
  tick = 0;

  constructor(seed: number) {
    const prng = createPrng(seed);
    this.#prng = prng;
    const grants = testGrants(prng() < 0.5 ? 2_000 : 400);
    this.grants = grants;
    this.world = new World(grants);
    const minDelay = below(prng, 4);
    this.link = new SnapshotLink({
      grants,
      world: this.world,
      peer: PEER,
      roleIndex: PLAYER,
      direction: "down",
      prng,
      path: {
        loss: [0, 0.05, 0.3][below(prng, 3)]!,
        duplicate: prng() < 0.5 ? 0.1 : 0,
        minDelay,
        maxDelay: minDelay + below(prng, 6),
      },
      maxBits: prng() < 0.3 ? 8_000 + below(prng, 4_000) : 8_800,
      maxDatagrams: 1 + below(prng, 6),
    });
    this.link.sender.isLossy = seed % 2 === 0;
    this.#interest = new Interest(grants, this.world);
    this.mirror = new Mirror(grants);
    this.announcer = new Announcer({ grants, receiver: this.link.receiver });
    this.link.onDecoded = (decoded) => this.announcer.handle(decoded, this.mirror);
  }

  /** A tick in which the world changes at random. */
  act(): void {
    this.tick += 1;
    for (let i = below(this.#prng, 8); i > 0; i--) this.#change();
    if (this.#prng() < 0.5) {
      for (let axis = 0; axis < 3; axis += 2) this.#viewer[axis]! += (this.#prng() - 0.5) * 20;
    }
    if (this.#roleChange === undefined && this.#prng() < 0.01) {
      const role = this.role === PLAYER ? SPECTATOR : PLAYER;
      const epoch = (this.link.sender.grantEpoch + 1) & 0xff;
      this.link.sender.setRole(role, epoch);
      this.role = role;
      this.#roleChange = { at: this.tick + below(this.#prng, 8), role, epoch };
    }
    this.send();
  }

  /** A tick in which it rests. */
  rest(): void {
    this.tick += 1;
    this.send();
  }

  send(): void {
    if (this.#roleChange !== undefined && this.#roleChange.at <= this.tick) {
      this.link.receiver.setRole(this.#roleChange.role, this.#roleChange.epoch);
      this.#roleChange = undefined;
    }
    this.#interest.rebuild();
    this.#interest.query(this.#viewer, this.#candidates);
    this.link.step(this.tick, this.#candidates);
    this.world.expire(this.tick);
    for (const id of this.#ended) {
      if (this.link.sender.hasAckedDespawn(id)) this.#ended.delete(id);
    }
  }

  #living(): number[] {
    const ids: number[] = [];
    for (let slot = 1; slot <= SLOTS; slot++) {
      const id = this.world.idAt(slot);
      if (id !== 0) ids.push(id);
    }
    return ids;
  }

  #change(): void {
    const prng = this.#prng;
    const ids = this.#living();
    const id = ids[below(prng, ids.length)];
    const dice = prng();
    if (id === undefined || dice < 0.08) return this.#spawn();
    if (dice < 0.1) return this.#despawn(id);
    const c = below(prng, this.grants.components.length);
    if (!this.world.hasComponent(id, c)) {
      if (dice < 0.4) this.world.addComponent(id, c, this.#value(c), this.tick, this.tick * 64);
      return;
    }
    if (dice < 0.13) return this.world.removeComponent(id, c, this.tick);
    if (dice < 0.15) return this.world.setOwner(id, below(prng, 3), this.tick);
    if (dice < 0.17) return this.world.raiseEpoch(id, this.tick);
    if (dice < 0.19) return this.link.sender.putRight(id, c);
    this.#write(id, c);
  }

  #spawn(): void {
    const slot = 1 + below(this.#prng, SLOTS);
    if (this.world.idAt(slot) !== 0) return;
    for (const id of this.#ended) {
      if (entitySlot(id) === slot) return;
    }
    const generation = this.#generations[slot]!;
    this.#generations[slot] = generation + 1;
    const id = makeEntityId(slot, generation);
    this.world.spawn(id, below(this.#prng, 3), this.tick);
    for (const component of this.grants.components) {
      if (this.#prng() < 0.5) continue;
      const { index } = component;
      this.world.addComponent(id, index, this.#value(index), this.tick, this.tick * 64 - 17);
    }
  }

  #despawn(id: number): void {
    this.world.despawn(id, this.tick);
    this.#ended.add(id);
  }

  /** Writes a component; now and then it is the client that wrote it, as far as it may. */
  #write(id: number, c: number): void {
    const component = this.grants.components[c]!;
    const entity = this.mirror.entities.get(id);
    const known = entity?.values.get(c);
    // As the gate decides it: the owner, with the newest epoch, and no override on its way to it.
    const isClients = component.authority === "owner" && this.world.owner(id) === PEER &&
      entity?.owner === PEER && entity.epoch === this.world.epoch(id) &&
      known !== undefined && !known.isHidden && this.link.sender.isAcked(id, c) &&
      this.#prng() < 0.7;
    const value = this.#value(c);
    const mask = 1 << below(this.#prng, component.fields.length);
    const time = this.tick * 64 + below(this.#prng, 200) - 150;
    const changed = this.world.write(id, c, mask, value, this.tick, Math.max(0, time));
    if (!isClients || changed === 0) return;
    copyFields(component, value, known.value, changed);
    this.link.sender.markSynced(id, c);
  }

  #value(c: number): ComponentValue {
    const prng = this.#prng;
    const component = this.grants.components[c]!;
    const value = randomValue(component, prng, c === BLOB && prng() < 0.3 ? 4_000 : 40);
    const target = component.fields.find((field) => field.kind === "entity");
    const ids = this.#living();
    if (target !== undefined && ids.length > 0) {
      value.lanes[target.laneOffset] = ids[below(prng, ids.length)]!;
    }
    const position = component.fields[component.positionField];
    if (position !== undefined) {
      const xyz = [(prng() - 0.5) * 200, 0, (prng() - 0.5) * 200];
      assert(quantiseField(position, xyz, 0, value.lanes, position.laneOffset));
    }
    return value;
  }

  /** Compares the client's engine with the world. */
  check(): void {
    const world = this.world;
    const seen = new Set<number>();
    const xyz = new Float64Array(3);
    for (const id of this.#living()) {
      const isOwn = world.owner(id) === PEER;
      const distance = world.position(id, xyz)
        ? Math.hypot(...xyz.map((v, axis) => v - this.#viewer[axis]!))
        : 0;
      const entity = this.mirror.entities.get(id);
      let shown = 0;
      for (const component of this.grants.components) {
        const c = component.index;
        const mask = readMaskOf(component, this.role, isOwn);
        const known = entity?.values.get(c);
        const isShown = known !== undefined && !known.isHidden;
        if (isShown) shown += 1;
        const where = `entity ${id} component ${component.name} at ${distance} m`;
        if (!world.hasComponent(id, c) || mask === 0) {
          // Out of view nothing more is told but the entity's end.
          if (!this.link.sender.isVisible(id)) assert(!isShown, `${where}: out of view`);
          else assertEquals(known, undefined, `${where}: removed or withheld`);
          continue;
        }
        const radius = component.interestRadius;
        if (isOwn || radius === 0 || distance < radius) assert(isShown, `${where}: shown`);
        else if (distance > radius * 1.1) assert(!isShown, `${where}: hidden`);
        if (!isShown) continue;
        this.#compare(id, component, mask, known.value, where);
        assert(this.link.sender.isAcked(id, c), `${where}: acknowledged`);
      }
      if (shown > 0 || isOwn) {
        assertEquals(entity?.owner, world.owner(id), `owner of ${id}`);
        assertEquals(entity?.epoch, world.epoch(id), `epoch of ${id}`);
      }
      seen.add(id);
    }
    for (const id of this.mirror.entities.keys()) assert(seen.has(id), `${id} ended`);
    assertEquals(this.link.sender.pendingDespawns, 0);
    assertEquals(this.#ended.size, 0, "every end is acknowledged");
  }

  #compare(
    id: number,
    component: ComponentGrant,
    mask: number,
    got: ComponentValue,
    where: string,
  ): void {
    const expected = createValue(component);
    this.world.read(id, component.index, expected);
    for (const field of component.fields) {
      if ((mask & (1 << field.index)) === 0) continue;
      if (field.blobIndex >= 0) {
        assertEquals(got.blobs[field.blobIndex], expected.blobs[field.blobIndex], where);
        continue;
      }
      const lanes = [...expected.lanes.subarray(field.laneOffset, field.laneOffset + field.lanes)];
      if (field.kind === "entity" && !this.link.sender.isVisible(lanes[0]! >>> 0)) lanes[0] = 0;
      const have = [...got.lanes.subarray(field.laneOffset, field.laneOffset + field.lanes)];
      assertEquals(have, lanes, `${where} ${field.name}`);
    }
  }
}

function run(seed: number, ticks: number): void {
  const scene = new Scene(seed);
  try {
    for (let i = 0; i < ticks; i++) scene.act();
    // Acknowledgements, at worst a third of them lost; then the rest of the large values.
    for (let i = 0; i < 250; i++) scene.rest();
    scene.check();
    for (const name of scene.link.faults.keys()) assertEquals(name, "WrongEpoch");
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

Deno.test("`SnapshotReceiver` ends with what the peer may see, whatever the path did", () => {
  for (let seed = 1; seed <= 300; seed++) run(seed, 100);
});

Deno.test("`SnapshotSender` sends nothing once all is acknowledged", () => {
  const scene = new Scene(5);
  for (let i = 0; i < 60; i++) scene.act();
  for (let i = 0; i < 300; i++) scene.rest();
  const { length } = scene.link.sent;
  assert(length > 60, "there was something to send");
  for (let i = 0; i < 50; i++) scene.rest();
  assertEquals(scene.link.sent.length, length);
});
