import { assert, assertEquals, assertGreater } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { MAX_LATE_ENTRIES } from "../../protocol/limits.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { readMaskOf } from "../../permissions/grants.ts";
import { MotionTables } from "../../replication/coding/motion_model.ts";
import { MOTION_TABLES } from "../../replication/coding/motion_tables.ts";
import { STEP_TICKS } from "../../replication/cohorts.ts";
import { createInterestResult, type InterestResult } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import type { DecodedSnapshot } from "../../replication/decoded_snapshot.ts";
import { stalenessBound } from "../../replication/staleness_bound.ts";
import { LATE_ENTRY_BYTES } from "../../replication/late_entries.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { randomRotation } from "../support/random_values.ts";
import { buildComponents, PLAYER, sampleGrants, SPECTATOR } from "../support/sample_grants.ts";
import { type Path, PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const MOTION = 0;
const LABEL = 1;
/** Of the motion: a place and a rotation that all read, and a number that they do not. */
const SECRET = 1 << 2;

/** Grants under which players read the secret, or nobody does. */
function stepGrants(isForPlayers: boolean): Grants {
  return sampleGrants({
    tickHz: 30,
    historyMs: 2_000,
    components: buildComponents([
      {
        id: 1,
        name: "Motion",
        fields: [
          { name: "place", kind: "vec3", min: -100, max: 100 },
          { name: "turn", kind: "quat" },
          { name: "secret", kind: "u16" },
        ],
        readMasks: [0b111, isForPlayers ? 0b111 : 0b011, 0b011],
        rateHz: 30,
      },
      { id: 2, name: "Label", fields: [{ name: "text", kind: "string" }], rateHz: 10 },
    ]),
  });
}

/** How one entity moves. */
interface Walk {
  readonly speed: Int32Array;
  /** Ticks that it still moves, or (negative) rests. */
  left: number;
}

/** A world of entities that move, pause, jump and are written to in secret, and what it held at each tick. */
class Crowd {
  readonly grants: Grants;
  readonly world: World;
  readonly ids: number[] = [];
  tick = 1;
  readonly #prng: Prng;
  readonly #walks: Walk[] = [];
  /** By entity, then by tick of the change: the lanes of its motion. */
  readonly #told = new Map<number, Map<number, Int32Array>>();
  readonly #values: ComponentValue[];

  constructor(prng: Prng, entities: number, labelled: number, isForPlayers: boolean) {
    this.#prng = prng;
    this.grants = stepGrants(isForPlayers);
    this.world = new World(this.grants);
    this.#values = this.grants.components.map(createValue);
    const motion = this.#values[MOTION]!;
    for (let slot = 1; slot <= entities; slot++) {
      const id = makeEntityId(slot, 0);
      this.ids.push(id);
      this.world.spawn(id, 0, 1);
      const { fields } = this.grants.components[MOTION]!;
      assert(
        quantiseField(
          fields[0]!,
          [slot % 90, 0, -(slot % 90)],
          0,
          motion.lanes,
          fields[0]!.laneOffset,
        ),
      );
      assert(quantiseField(fields[1]!, [0, 0, 0, 1], 0, motion.lanes, fields[1]!.laneOffset));
      this.world.addComponent(id, MOTION, motion, 1, 64);
      if (slot <= labelled) this.world.addComponent(id, LABEL, this.#values[LABEL]!, 1, 64);
      const speed = Int32Array.from([0, 0, 0], () => below(prng, 81) - 40);
      this.#walks.push({ speed, left: below(prng, 200) });
      this.#told.set(id, new Map());
      this.#note(id);
    }
  }

  /** One tick of motion; nothing moves on its own where `rest`. */
  move(rest = false): void {
    this.tick += 1;
    for (let i = 0; i < this.ids.length; i++) {
      const id = this.ids[i]!;
      if (!this.world.isAlive(id)) continue;
      const walk = this.#walks[i]!;
      const prng = this.#prng;
      if (walk.left === 0) walk.left = prng() < 0.5 ? 20 + below(prng, 120) : -1 - below(prng, 60);
      walk.left -= Math.sign(walk.left);
      if (rest) continue;
      if (prng() < 0.3) this.write(id, SECRET, (lanes) => lanes[7] = below(prng, 1_000));
      if (walk.left > 0) this.#walk(id, walk);
      this.#note(id);
    }
  }

  #walk(id: number, walk: Walk): void {
    const prng = this.#prng;
    const { fields } = this.grants.components[MOTION]!;
    const isTurned = prng() < 0.05;
    this.write(id, isTurned ? 0b011 : 0b001, (lanes) => {
      for (let axis = 0; axis < 3; axis++) {
        if (prng() < 0.05) walk.speed[axis] = below(prng, 81) - 40;
        const jump = prng() < 0.002 ? 20_000 : 0;
        lanes[axis] = Math.min(200_000, Math.max(0, lanes[axis]! + walk.speed[axis]! + jump));
      }
      // Here and back again within a tick is no change.
      if (isTurned) {
        quantiseField(fields[1]!, randomRotation(prng), 0, lanes, fields[1]!.laneOffset);
      }
    });
  }

  write(id: number, mask: number, change: (lanes: Int32Array) => void): void {
    const value = this.#values[MOTION]!;
    this.world.read(id, MOTION, value);
    change(value.lanes);
    this.world.write(id, MOTION, mask, value, this.tick, this.tick * 64 - below(this.#prng, 40));
  }

  label(id: number, text: string): void {
    const value = this.#values[LABEL]!;
    value.blobs[0] = new TextEncoder().encode(text);
    this.world.write(id, LABEL, 1, value, this.tick, this.tick * 64);
  }

  #note(id: number): void {
    if (!this.world.hasComponent(id, MOTION)) return;
    this.world.read(id, MOTION, this.#values[MOTION]!);
    this.#told.get(id)!.set(this.tick, this.#values[MOTION]!.lanes.slice());
  }

  /** Takes what a link decoded: each value is, in all that may be read of it, what the world held at the tick that names it. */
  check(decoded: DecodedSnapshot, mask: number, context: string): number {
    const motion = this.grants.components[MOTION]!;
    let checked = 0;
    for (let i = 0; i < decoded.count; i++) {
      const entry = decoded.entries[i]!;
      if (entry.kind !== "value" || entry.component !== MOTION) continue;
      const held = this.#told.get(entry.id)!;
      let tick = entry.versionTick;
      while (!held.has(tick)) tick -= 1;
      assertEquals(entry.held, mask, context);
      assertEquals(
        masked(motion, entry.value.lanes, mask),
        masked(motion, held.get(tick)!, mask),
        `${context}: entity ${entry.id} at tick ${entry.versionTick}`,
      );
      checked += 1;
    }
    return checked;
  }

  view(isSeen: (slot: number) => boolean): InterestResult {
    const result = createInterestResult();
    result.slots = new Int32Array(this.ids.length);
    result.distanceSquared = new Float64Array(this.ids.length);
    for (let slot = 1; slot <= this.ids.length; slot++) {
      if (this.world.idAt(slot) === 0 || !isSeen(slot)) continue;
      result.slots[result.count] = slot;
      result.distanceSquared[result.count] = slot % 7;
      result.count += 1;
    }
    return result;
  }
}

function masked({ fields }: ComponentGrant, lanes: Int32Array, mask: number): number[] {
  return fields.flatMap((field) =>
    (mask & (1 << field.index)) === 0
      ? []
      : [...lanes.subarray(field.laneOffset, field.laneOffset + field.lanes)]
  );
}

interface ViewerOptions {
  readonly path: Path;
  readonly role?: number;
  readonly maxBits?: number;
  readonly maxDatagrams?: number;
  readonly peer?: number;
  /** Alone: with tables of its own, whose values are never shared and never go in step. */
  readonly isAlone?: boolean;
}

function watch(crowd: Crowd, seed: number, options: ViewerOptions): SnapshotLink {
  const { path, role = PLAYER, maxBits, maxDatagrams = 4, peer = 1, isAlone = false } = options;
  return new SnapshotLink({
    grants: crowd.grants,
    world: crowd.world,
    peer,
    roleIndex: role,
    direction: "down",
    path,
    prng: createPrng(seed),
    maxDatagrams,
    ...(maxBits === undefined ? {} : { maxBits }),
    ...(isAlone ? { tables: new MotionTables(MOTION_TABLES) } : {}),
  });
}

Deno.test("a link sends in step what it would send one by one, to the last bit, when nothing is lost and all fits a datagram", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const prng = createPrng(seed);
    const crowd = new Crowd(prng, 12, 3, false);
    const minDelay = below(prng, 4);
    const loss = seed % 2 === 0 ? 0 : 0.1;
    const path = { loss, duplicate: 0, minDelay, maxDelay: minDelay };
    const role = prng() < 0.5 ? PLAYER : SPECTATOR;
    const inStep = watch(crowd, seed, { path, role });
    const oneByOne = watch(crowd, seed, { path, role, isAlone: true });
    const unseen = new Uint8Array(13);
    let most = 0;
    let left = 0;
    let asleep = -1;
    for (let i = 0; i < 300; i++) {
      crowd.move();
      for (let slot = 1; slot <= 12; slot++) if (prng() < 0.004) unseen[slot]! ^= 1;
      if (prng() < 0.02) crowd.label(crowd.ids[below(prng, 3)]!, "x".repeat(below(prng, 9)));
      const again = prng() < 0.01 ? crowd.ids[below(prng, 12)]! : 0;
      const owned = prng() < 0.01 ? crowd.ids[below(prng, 12)]! : 0;
      if (owned !== 0) crowd.world.setOwner(owned, below(prng, 2), crowd.tick);
      const changesRole = prng() < 0.004;
      // Now and then there is no room for state.
      asleep -= 1;
      if (prng() < 0.01) asleep = below(prng, prng() < 0.8 ? 4 : 2 * STEP_TICKS);
      for (const link of [inStep, oneByOne]) {
        if (again !== 0) link.sender.putRight(again, MOTION);
        if (changesRole) {
          const epoch = (link.sender.grantEpoch + 1) & 0xff;
          link.sender.setRole(i % 2 === 0 ? PLAYER : SPECTATOR, epoch);
          link.receiver.setRole(i % 2 === 0 ? PLAYER : SPECTATOR, epoch);
        }
        const view = crowd.view((slot) => unseen[slot] === 0);
        if (asleep >= 0) link.sender.updateView(crowd.tick, view);
        else link.step(crowd.tick, view);
      }
      crowd.world.expire(crowd.tick);
      const context = `seed ${seed}, tick ${crowd.tick}, ${inStep.sender.inStepCount} in step`;
      const hex = (link: SnapshotLink) => link.sent.at(-1)?.bytes.toHex();
      assertEquals(inStep.sent.length, oneByOne.sent.length, context);
      assertEquals(hex(inStep), hex(oneByOne), context);
      left += Math.max(0, most - inStep.sender.inStepCount);
      most = Math.max(most, inStep.sender.inStepCount);
      assertEquals(oneByOne.sender.inStepCount, 0);
    }
    assertGreater(most, 3, `seed ${seed}: entities came into step`);
    assertGreater(left, 0, `seed ${seed}: and went out of it`);
    assertEquals([...inStep.faults], [...oneByOne.faults], `seed ${seed}`);
    assertEquals([...inStep.faults.keys()].filter((name) => name !== "WrongEpoch"), []);
  }
});

Deno.test("what is decoded is what the world held, when many viewers in step share it over bad paths", () => {
  let inStep = 0;
  for (let seed = 1; seed <= 25; seed++) {
    const prng = createPrng(seed);
    const crowd = new Crowd(prng, 30, 5, true);
    const grant = crowd.grants.components[MOTION]!;
    let checked = 0;
    const viewers = Array.from({ length: 5 }, (_, i) => {
      const minDelay = below(prng, 4);
      const path: Path = {
        loss: [0, 0.02, 0.1, 0.3][below(prng, 4)]!,
        duplicate: prng() < 0.3 ? 0.1 : 0,
        minDelay,
        maxDelay: minDelay + below(prng, 5),
      };
      const role = prng() < 0.5 ? PLAYER : SPECTATOR;
      const maxBits = prng() < 0.4 ? 600 + below(prng, 1_500) : 8_800;
      const maxDatagrams = prng() < 0.2 ? 1 : 1 + below(prng, 6);
      const link = watch(crowd, seed * 100 + i, { path, role, maxBits, maxDatagrams, peer: i + 1 });
      link.sender.isLossy = path.loss > 0 && prng() < 0.5;
      const mask = readMaskOf(grant, role, false);
      link.onDecoded = (decoded) =>
        checked += crowd.check(decoded, mask, `seed ${seed}, viewer ${i}`);
      return { link, role, unseen: new Uint8Array(31), asleep: 0, maxDatagrams };
    });
    for (let i = 0; i < 250; i++) {
      crowd.move();
      const change = crowd.ids[below(prng, 30)]!;
      if (prng() < 0.02 && crowd.world.isAlive(change)) crowd.world.despawn(change, crowd.tick);
      else if (prng() < 0.05 && crowd.world.isAlive(change)) {
        crowd.world.raiseEpoch(change, crowd.tick);
      }
      for (const viewer of viewers) {
        for (let slot = 1; slot <= 30; slot++) if (prng() < 0.003) viewer.unseen[slot]! ^= 1;
        if (prng() < 0.01) viewer.asleep = below(prng, prng() < 0.5 ? 4 : 2 * STEP_TICKS);
        viewer.asleep -= 1;
        const view = crowd.view((slot) => viewer.unseen[slot] === 0);
        if (viewer.asleep < 0) viewer.link.step(crowd.tick, view);
        else viewer.link.sender.updateView(crowd.tick, view);
        inStep += viewer.link.sender.inStepCount;
        viewer.link.receiver.expire(crowd.tick);
      }
      crowd.world.expire(crowd.tick);
    }
    for (const { link, unseen } of viewers) {
      link.path = { ...link.path, loss: 0 };
      for (let i = 0; i < 80; i++) {
        crowd.move(true);
        link.step(crowd.tick, crowd.view((slot) => unseen[slot] === 0));
        link.receiver.expire(crowd.tick);
      }
      assertEquals([...link.faults.keys()], [], `seed ${seed}`);
      for (const id of crowd.ids) {
        if (!crowd.world.isAlive(id) || !link.sender.isVisible(id)) continue;
        assert(link.sender.isAcked(id, MOTION), `seed ${seed}: entity ${id} is told`);
      }
    }
    assertGreater(checked, 1_000, `seed ${seed}`);
  }
  assertGreater(inStep, 25 * 250 * 5, "more than one entity of each viewer is in step on average");
});

Deno.test("`lastSequence()` is the datagram with the newest of an entity in it, in step and out of it", () => {
  const crowd = new Crowd(createPrng(11), 60, 5, false);
  // Narrow enough that some ticks leave something behind, wide enough that others do not.
  const link = watch(crowd, 2, { path: PERFECT, maxBits: 3_000, maxDatagrams: 2 });
  const last = new Map<number, number>();
  let sequence = 0;
  link.onDecoded = ({ entries, count }) => {
    for (const { id } of entries.slice(0, count)) last.set(id, sequence);
    sequence += 1;
  };
  assertEquals(link.sender.lastSequence(crowd.ids[0]!), -1);
  let inStep = 0;
  let apart = 0;
  for (let i = 0; i < 600; i++) {
    crowd.move();
    link.step(crowd.tick, crowd.view(() => true));
    link.receiver.expire(crowd.tick);
    crowd.world.expire(crowd.tick);
    inStep += link.sender.inStepCount;
    apart += crowd.ids.length - link.sender.inStepCount;
    for (const id of crowd.ids) {
      const context = `entity ${id}, tick ${crowd.tick}`;
      assertEquals(link.sender.lastSequence(id), last.get(id) ?? -1, context);
    }
  }
  assertGreater(Math.min(inStep, apart), 600);
});

Deno.test("a link remembers MAX_LATE_ENTRIES versions under way of what goes out of step, and sends the others again", () => {
  const crowd = new Crowd(createPrng(3), 600, 0, false);
  const path = { loss: 0, duplicate: 0, minDelay: 13, maxDelay: 13 };
  const link = watch(crowd, 3, { path, maxDatagrams: 8 });
  const everything = () => crowd.view(() => true);
  for (let i = 0; i < 200; i++) {
    crowd.move();
    link.step(crowd.tick, everything());
    link.receiver.expire(crowd.tick);
    crowd.world.expire(crowd.tick);
  }
  assertGreater(link.sender.inStepCount, 200);
  const before = link.sender.heldBytes;
  link.sender.setRole(PLAYER, 1);
  link.receiver.setRole(PLAYER, 1);
  assertEquals(link.sender.inStepCount, 0);
  // Some were remembered already.
  const remembered = (link.sender.heldBytes - before) / LATE_ENTRY_BYTES;
  assert(remembered <= MAX_LATE_ENTRIES && remembered > 0.9 * MAX_LATE_ENTRIES, `${remembered}`);
  for (let i = 0; i < 100; i++) {
    crowd.move(true);
    link.step(crowd.tick, everything());
    link.receiver.expire(crowd.tick);
    crowd.world.expire(crowd.tick);
  }
  for (const id of crowd.ids) assert(link.sender.isAcked(id, MOTION), `entity ${id} is told`);
  assertEquals(
    link.sender.heldBytes < before + LATE_ENTRY_BYTES,
    true,
    "none is remembered for ever",
  );
});

Deno.test("nothing waits behind what is in step, when not all fits any more", () => {
  // Twelve in step fill the section to half; then as many more come into view as do not fit beside them.
  const crowd = new Crowd(createPrng(7), 60, 0, false);
  const path = { loss: 0, duplicate: 0, minDelay: 1, maxDelay: 1 };
  const link = watch(crowd, 7, { path, maxBits: 1_000, maxDatagrams: 1 });
  const told = new Map<number, number>();
  link.onDecoded = ({ entries, count, tick }) => {
    for (const entry of entries.slice(0, count)) {
      if (entry.kind === "value") told.set(entry.id, tick);
    }
  };
  const step = (seen: number) => {
    crowd.tick += 1;
    for (const id of crowd.ids) {
      crowd.write(id, 0b001, (lanes) => lanes[0] = (lanes[0]! + 7) % 200_000);
    }
    link.step(crowd.tick, crowd.view((slot) => slot <= seen));
    link.receiver.expire(crowd.tick);
    crowd.world.expire(crowd.tick);
  };
  for (let i = 0; i < 120; i++) step(12);
  assertGreater(link.sender.inStepCount, 8);
  for (let i = 0; i < 200; i++) {
    step(60);
    if (i < 100) continue;
    assertEquals(link.sender.inStepCount, 0);
    // A section takes eight at the very least, and distances differ by a factor of 4 in weight at most.
    for (const id of crowd.ids) {
      const waited = crowd.tick - (told.get(id) ?? 0);
      assert(waited <= stalenessBound(60, 8) + 2, `entity ${id} waits for ${waited} ticks`);
    }
  }
});

Deno.test("`DecodedSnapshot.vectors` counts the vectors and rotations that were foretold", () => {
  const crowd = new Crowd(createPrng(11), 5, 0, false);
  const link = watch(crowd, 11, { path: { loss: 0, duplicate: 0, minDelay: 0, maxDelay: 0 } });
  const counts: number[] = [];
  link.onDecoded = ({ vectors }) => counts.push(vectors);
  for (let i = 0; i < 20; i++) {
    crowd.tick += 1;
    for (const id of crowd.ids) crowd.write(id, 0b001, (lanes) => lanes[0]! += 5);
    link.step(crowd.tick, crowd.view(() => true));
  }
  // Two versions tell no speed: place and rotation of five entities are foretold from the fourth section on.
  assertEquals(counts.slice(0, 3), [0, 0, 0]);
  assertEquals(new Set(counts.slice(8)), new Set([10]));
});
