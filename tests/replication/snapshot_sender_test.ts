// One scenario of the sending half a test, over a perfect path unless the scenario is about the path.

import { assert, assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { Writer } from "../../protocol/writer.ts";
import type { Grants } from "../../permissions/grants.ts";
import { createInterestResult, type InterestResult } from "../../replication/interest.ts";
import type { SnapshotEntry } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { quantiseField, setNeutral } from "../../replication/quantise.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { createPrng } from "../support/prng.ts";
import { randomValue } from "../support/random_values.ts";
import {
  AVATAR,
  BLOB,
  buildComponents,
  EVERYTHING,
  HEALTH,
  NAME,
  PLAYER,
  SAMPLE_COMPONENTS,
  sampleGrants,
  SPECTATOR,
  TRANSFORM,
} from "../support/sample_grants.ts";
import { type Path, PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const SELF = 1;
const WINDOW = 60;

/** A world, a link, and what the receiver got of it in the last tick. */
class Stage {
  readonly grants: Grants;
  readonly world: World;
  readonly link: SnapshotLink;
  /** Entries of the last tick, copied. */
  entries: SnapshotEntry[] = [];
  /** Square of the distance of each entity; entities without one are not candidates. */
  readonly distances = new Map<number, number>();
  tick = 0;
  readonly #direction: "down" | "up";

  constructor(
    options: {
      grants?: Grants;
      direction?: "down" | "up";
      path?: Path;
      maxBits?: number;
      maxDatagrams?: number;
      seed?: number;
    } = {},
  ) {
    this.grants = options.grants ?? sampleGrants();
    this.world = new World(this.grants);
    this.#direction = options.direction ?? "down";
    this.link = new SnapshotLink({
      grants: this.grants,
      world: this.world,
      peer: SELF,
      roleIndex: PLAYER,
      direction: this.#direction,
      path: options.path ?? PERFECT,
      prng: createPrng(options.seed ?? 1),
      maxBits: options.maxBits ?? 8_800,
      maxDatagrams: options.maxDatagrams ?? 16,
    });
    this.link.onDecoded = (decoded) => {
      for (let i = 0; i < decoded.count; i++) {
        const entry = decoded.entries[i]!;
        const value = { lanes: entry.value.lanes.slice(), blobs: entry.value.blobs.slice() };
        this.entries.push({
          ...entry,
          visible: entry.visible.slice(),
          hidden: entry.hidden.slice(),
          value,
        });
      }
    };
  }

  /** An entity with zero values of these components, near. */
  spawn(id: number, owner: number, ...components: number[]): void {
    this.world.spawn(id, owner, this.tick + 1);
    for (const c of components) this.add(id, c);
    this.distances.set(id, 1);
  }

  add(id: number, c: number, value?: ComponentValue): void {
    const tick = this.tick + 1;
    const component = this.grants.components[c]!;
    const whole = value ?? createValue(component);
    if (value === undefined) {
      // Zeros, but for rotations, which have none.
      for (const field of component.fields) {
        if (field.kind !== "quat") continue;
        quantiseField(field, [0, 0, 0, 1], 0, whole.lanes, field.laneOffset);
      }
    }
    this.world.addComponent(id, c, whole, tick, tick * 64);
  }

  /** Writes the first lane of a component, sampled `early` sub-ticks before its tick. */
  write(id: number, c: number, lane: number, mask = 1, early = 0): void {
    const value = createValue(this.grants.components[c]!);
    this.world.read(id, c, value);
    value.lanes[0] = lane;
    if (mask === 2) value.lanes[1] = lane;
    const tick = this.tick + 1;
    this.world.write(id, c, mask, value, tick, tick * 64 - early);
  }

  step(ticks = 1): SnapshotEntry[] {
    for (let i = 0; i < ticks; i++) {
      this.tick += 1;
      this.entries = [];
      if (this.#direction === "up") {
        this.link.step(this.tick);
        continue;
      }
      this.link.step(this.tick, this.#candidates());
    }
    return this.entries;
  }

  /** `down`: one tick in which no state may be sent. */
  skip(): void {
    this.tick += 1;
    this.link.sender.updateView(this.tick, this.#candidates());
  }

  #candidates(): InterestResult {
    const candidates = createInterestResult();
    candidates.slots = new Int32Array(this.distances.size);
    candidates.distanceSquared = new Float64Array(this.distances.size);
    for (const [id, distance] of this.distances) {
      if (!this.world.isAlive(id)) continue;
      candidates.slots[candidates.count] = id & 0xfffff;
      candidates.distanceSquared[candidates.count++] = distance;
    }
    return candidates;
  }

  /** What the last tick brought, as short words. */
  get words(): string[] {
    return this.entries.map((entry) =>
      entry.kind === "header"
        ? `${entry.id} ${entry.state} ${entry.visible}/${entry.hidden}`
        : `${entry.id} ${entry.component}=${entry.value.lanes[0]}`
    );
  }
}

Deno.test("`SnapshotSender` sends an entity's header and values once, and nothing when all is acknowledged", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM, HEALTH);
  stage.step();
  assertEquals(stage.words, [`5 alive ${TRANSFORM},${HEALTH}/`, "5 0=0", "5 3=0"]);
  assertEquals(stage.step(5), []);
  assert(stage.link.sender.isAcked(5, HEALTH));
  assertEquals(stage.link.sender.trackedCount, 1);
});

Deno.test("`SnapshotSender.isCramped` says so, when the most urgent finds no room, and only then", () => {
  for (const [maxBits, isCramped] of [[40, true], [8_800, false]] as const) {
    const stage = new Stage({ maxBits });
    stage.spawn(5, 0, TRANSFORM, HEALTH);
    stage.step();
    assertEquals(stage.words.length > 0, !isCramped);
    assertEquals(stage.link.sender.isCramped, isCramped);
  }
});

Deno.test("`SnapshotSender.isLossy` repeats twice a round trip, and then in each tick, what is not acknowledged, within one section, and nothing else", () => {
  const path = { loss: 0, duplicate: 0, minDelay: 3, maxDelay: 3 };
  const sectionsOf = (isLossy: boolean, maxBits = 8_800, loss = 0) => {
    const stage = new Stage({ path, maxBits });
    stage.link.sender.isLossy = isLossy;
    for (let id = 1; id <= 40; id++) stage.spawn(id, 0, TRANSFORM, HEALTH);
    stage.step(20);
    const before = stage.link.sent.length;
    const start = stage.tick;
    for (let id = 1; id <= 40; id++) stage.write(id, HEALTH, 7);
    stage.link.path = { ...path, loss };
    stage.step(12);
    return stage.link.sent.slice(before).map(({ tick }) => tick - start);
  };
  // Six ticks later the acknowledgements are there, before anything counts as lost.
  assertEquals(sectionsOf(false), [1]);
  assertEquals(sectionsOf(true), [1, 3, 5, 7]);
  assertEquals(sectionsOf(true, 8_800, 1), [1, 3, 5, 7, 8, 9, 10, 11, 12]);
  // Where the changes take several sections, what is repeated takes no more than one a tick.
  const narrow = sectionsOf(true, 600);
  assertEquals(narrow.filter((tick) => tick === 1).length, sectionsOf(false, 600).length);
  assert(narrow.filter((tick) => tick === 1).length > 1);
  assertEquals(narrow.filter((tick) => tick > 1), [3, 4, 5, 6, 7]);
});

Deno.test("`SnapshotSender` sends a change as a difference and says its sample time", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.step(3);
  const before = stage.link.bitsSent;
  stage.write(5, TRANSFORM, 7);
  const [entry] = stage.step();
  assertEquals(stage.words, ["5 0=7"]);
  assertEquals(entry!.mask, 1);
  assertEquals(entry!.time, stage.tick * 64);
  // 9 for the frame, 11 around the entity, 16 around the value, 2 + 5 + 3 x 4 for its change.
  assertEquals(stage.link.bitsSent - before, 55);
});

Deno.test("`SnapshotSender` never sends a version that differs only in what the peer may not read", () => {
  const stage = new Stage();
  stage.spawn(5, 0, HEALTH);
  stage.step(2);
  stage.write(5, HEALTH, 9, 2);
  assertEquals(stage.step(3), []);
  assert(stage.link.sender.isAcked(5, HEALTH));
  stage.write(5, HEALTH, 10);
  const [entry] = stage.step();
  assertEquals([entry!.held, entry!.value.lanes[1]], [1, 0]);
});

Deno.test("`SnapshotSender` repeats what is lost, with the newest value and the same name until it changes", () => {
  const stage = new Stage({ path: { loss: 1, duplicate: 0, minDelay: 1, maxDelay: 1 } });
  stage.spawn(5, 0, HEALTH);
  stage.step(3);
  stage.write(5, HEALTH, 3);
  stage.step(4);
  stage.link.path = PERFECT;
  const entries = stage.step(8);
  assertEquals(entries, []);
  assertEquals(stage.link.receiver.newestTick(5, HEALTH), 4);
  const out = createValue(stage.grants.components[HEALTH]!);
  stage.link.receiver.read(5, HEALTH, out);
  assertEquals(out.lanes[0], 3);
});

Deno.test("`SnapshotSender` says each value's sample time exactly, foretold or not, steady or not, whatever is lost", () => {
  const path = { loss: 0.2, duplicate: 0.1, minDelay: 1, maxDelay: 4 };
  const stage = new Stage({ path, seed: 5 });
  stage.spawn(5, 0, TRANSFORM);
  stage.step(10);
  const times = new Map<number, number>();
  const seen = new Set<number>();
  const prng = createPrng(9);
  for (let n = 1; n < 600; n++) {
    // Steady, then as game loops are, then anything.
    const early = n < 200 ? 12 : n < 400 ? 12 + Math.floor(prng() * 7) : Math.floor(prng() * 600);
    const lane = 1_000 + 7 * n;
    times.set(lane, (stage.tick + 1) * 64 - early);
    stage.write(5, TRANSFORM, lane, 1, early);
    for (const entry of stage.step()) {
      if (entry.kind !== "value") continue;
      assertEquals(entry.time, times.get(entry.value.lanes[0]!), `lane ${entry.value.lanes[0]}`);
      seen.add(entry.value.lanes[0]!);
    }
  }
  assert(seen.size > 400, `${seen.size} values arrived`);
  assertEquals(stage.link.faults.size, 0);
});

Deno.test("`SnapshotSender` repeats a value with its own sample time, though what the peer may not read changed since", () => {
  const stage = new Stage({ path: { loss: 1, duplicate: 0, minDelay: 1, maxDelay: 1 } });
  stage.spawn(5, 0, HEALTH);
  stage.step(3);
  stage.write(5, HEALTH, 3, 1, 20);
  stage.step(2);
  stage.write(5, HEALTH, 9, 2);
  stage.link.path = PERFECT;
  const values: SnapshotEntry[] = [];
  for (let i = 0; i < 8; i++) values.push(...stage.step().filter(({ kind }) => kind === "value"));
  assertEquals(values.map(({ versionTick, time }) => [versionTick, time]), [[4, 4 * 64 - 20]]);
});

Deno.test("`SnapshotSender` refers to the newest acknowledged version, however old", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.step(10 * WINDOW);
  const before = stage.link.bitsSent;
  stage.write(5, TRANSFORM, 7);
  stage.step();
  assertEquals(stage.words, ["5 0=7"]);
  assert(stage.link.bitsSent - before < 60, "a difference, by the code for old versions");
});

Deno.test("`SnapshotSender` goes back to absolute values when the reference may be gone", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.step(3);
  stage.link.path = { ...PERFECT, loss: 1 };
  for (let i = 0; i < 40; i++) {
    stage.write(5, TRANSFORM, 10 + i);
    stage.step();
  }
  // More than half of MAX_VERSIONS were sent since the last one that was acknowledged.
  const { sent } = stage.link;
  assert(sent[1 + 5]!.bytes.length < 10 && sent.at(-1)!.bytes.length > 13);
  stage.link.path = PERFECT;
  stage.step(10);
  assertEquals(stage.link.faults.size, 0);
  assert(stage.link.sender.isAcked(5, TRANSFORM));
});

Deno.test("`SnapshotSender` tells removal, hiding and the end of an entity until they are acknowledged", () => {
  const stage = new Stage({ path: { loss: 0, duplicate: 0, minDelay: 1, maxDelay: 1 } });
  stage.spawn(5, 0, TRANSFORM, NAME, HEALTH);
  stage.step(5);
  stage.world.removeComponent(5, HEALTH, stage.tick + 1);
  stage.step(2);
  assertEquals(stage.words, [`5 alive ${TRANSFORM},${NAME}/`]);
  stage.distances.set(5, 60 ** 2);
  stage.step(2);
  assertEquals(stage.words, [`5 alive ${NAME}/${TRANSFORM}`]);
  stage.world.despawn(5, stage.tick + 1);
  stage.step();
  assertEquals(stage.link.sender.pendingDespawns, 1);
  assert(!stage.link.sender.hasAckedDespawn(5));
  stage.step();
  assertEquals(stage.words, ["5 gone /"]);
  stage.step(3);
  assert(stage.link.sender.hasAckedDespawn(5));
  assertEquals(stage.link.sender.pendingDespawns, 0);
  assertEquals(stage.link.sender.trackedCount, 0);
});

Deno.test("`SnapshotSender.updateView()` keeps what is visible within a tenth beyond the radius", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.distances.set(5, 52 ** 2);
  assertEquals(stage.step(), []);
  stage.distances.set(5, 50 ** 2);
  stage.step();
  assertEquals(stage.words[0], `5 alive ${TRANSFORM}/`);
  stage.distances.set(5, 54.9 ** 2);
  assertEquals(stage.step(2), []);
  stage.distances.set(5, 55.1 ** 2);
  stage.step();
  assertEquals(stage.words, ["5 outOfView /"]);
});

Deno.test("`SnapshotSender.updateView()` shows a peer its own entities at any distance", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, TRANSFORM);
  stage.distances.delete(5);
  stage.step();
  assertEquals(stage.words[0], `5 alive ${TRANSFORM}/`);
});

Deno.test("`SnapshotSender` sends a difference to what comes back in time, an absolute value to what does not", () => {
  for (const [ticks, most] of [[WINDOW - 5, 110], [WINDOW + 5, 200]] as const) {
    const stage = new Stage();
    stage.spawn(5, 0, TRANSFORM);
    stage.step(3);
    stage.distances.delete(5);
    stage.step(ticks);
    stage.write(5, TRANSFORM, 3);
    stage.distances.set(5, 1);
    const before = stage.link.bitsSent;
    stage.step();
    assertEquals(stage.words, [`5 alive ${TRANSFORM}/`, "5 0=3"]);
    const bits = stage.link.bitsSent - before;
    assert(bits < most && bits > most - 90, `${bits} bits after ${ticks} ticks`);
    assertEquals(stage.link.faults.size, 0);
  }
});

Deno.test("`SnapshotSender` sends only a header for what comes back unchanged", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.step(3);
  stage.distances.delete(5);
  stage.step(10);
  stage.distances.set(5, 1);
  stage.step();
  assertEquals(stage.words, [`5 alive ${TRANSFORM}/`]);
});

Deno.test("`SnapshotSender` tells the end of an entity that left the view long ago", () => {
  const stage = new Stage();
  stage.spawn(5, 0, TRANSFORM);
  stage.step(3);
  stage.distances.delete(5);
  stage.step(3 * WINDOW);
  assertEquals(stage.link.sender.trackedCount, 0);
  assert(!stage.link.sender.hasAckedDespawn(5));
  stage.world.despawn(5, stage.tick + 1);
  stage.step();
  assertEquals(stage.words, ["5 gone /"]);
  stage.step();
  assert(stage.link.sender.hasAckedDespawn(5));
});

Deno.test("`SnapshotSender` does not confuse two entities of one slot", () => {
  const stage = new Stage();
  stage.spawn(5, 0, HEALTH);
  stage.step(3);
  stage.world.despawn(5, stage.tick + 1);
  stage.step(3);
  const next = makeEntityId(5, 1);
  stage.spawn(next, 0, HEALTH);
  stage.write(next, HEALTH, 77);
  stage.step();
  assertEquals(stage.words, [`${next} alive ${HEALTH}/`, `${next} 3=77`]);
});

Deno.test("`SnapshotSender.markSynced()` leaves a peer's own value alone until somebody overrides it", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, AVATAR);
  stage.link.sender.markSynced(5, AVATAR);
  stage.step();
  assertEquals(stage.words, [`5 alive ${AVATAR}/`]);
  assert(stage.link.sender.isAcked(5, AVATAR));
  stage.write(5, AVATAR, 10);
  stage.link.sender.markSynced(5, AVATAR);
  assertEquals(stage.step(5), []);
  stage.write(5, AVATAR, 20);
  assert(!stage.link.sender.isAcked(5, AVATAR));
  const [entry] = stage.step();
  assertEquals(stage.words, [`5 ${AVATAR}=20`]);
  // All fields, as what the peer's engine holds is not a version of this link.
  assertEquals(entry!.mask, stage.grants.components[AVATAR]!.allFields);
});

Deno.test("`SnapshotSender.markSynced()` does not hide an override of the same tick", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, AVATAR);
  stage.step(2);
  stage.write(5, AVATAR, 10);
  stage.link.sender.markSynced(5, AVATAR);
  stage.write(5, AVATAR, 20);
  assert(!stage.link.sender.isAcked(5, AVATAR));
  stage.step();
  assertEquals(stage.words, [`5 ${AVATAR}=20`]);
});

Deno.test("`SnapshotSender.markSynced()` hides no override that had to wait, whatever changes meanwhile that the peer may not read", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, HEALTH);
  stage.step(2);
  stage.write(5, HEALTH, 10);
  stage.link.sender.markSynced(5, HEALTH);
  stage.write(5, HEALTH, 20);
  // No room for state in this tick.
  stage.skip();
  stage.write(5, HEALTH, 77, 2);
  assert(!stage.link.sender.isAcked(5, HEALTH));
  stage.step();
  assertEquals(stage.words, [`5 ${HEALTH}=20`]);
});

Deno.test("`SnapshotSender.isAcked()` takes no version over that may still be written to", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, HEALTH);
  stage.step(3);
  stage.write(5, HEALTH, 77, 2);
  assert(stage.link.sender.isAcked(5, HEALTH));
  stage.write(5, HEALTH, 10);
  assert(!stage.link.sender.isAcked(5, HEALTH));
  stage.step();
  assertEquals(stage.words, [`5 ${HEALTH}=10`]);
  stage.write(5, HEALTH, 78, 2);
  assert(stage.link.sender.isAcked(5, HEALTH));
  stage.write(5, HEALTH, 79, 2);
  assert(stage.link.sender.isAcked(5, HEALTH));
  assertEquals(stage.step(), []);
});

Deno.test("`SnapshotSender` says when what the peer may read has changed, not when anything else did", () => {
  const offsets: number[] = [];
  for (const secretTick of [0, 30, 55, 80]) {
    const stage = new Stage();
    stage.spawn(5, 0, HEALTH);
    stage.distances.delete(5);
    while (stage.tick < 40) stage.step();
    stage.write(5, HEALTH, 10, 1, 5);
    while (stage.tick < 90) {
      if (stage.tick + 1 === secretTick) stage.write(5, HEALTH, 99, 2);
      stage.step();
    }
    stage.distances.set(5, 1);
    const value = stage.step().find(({ kind }) => kind === "value")!;
    offsets.push(value.versionTick * 64 - value.time);
    // However long it rests, and whatever else changes meanwhile.
    stage.distances.delete(5);
    for (let i = 0; i < 200; i++) {
      if (secretTick > 0) stage.write(5, HEALTH, 100 + i, 2);
      stage.step();
    }
    stage.distances.set(5, 1);
    const later = stage.step().find(({ kind }) => kind === "value")!;
    offsets.push(later.versionTick * 64 - later.time);
  }
  assertEquals(offsets, Array.from([0, 1, 2, 3], () => [50 * 64 + 5, 251 * 64 + 5]).flat());
});

Deno.test("`SnapshotSender.putRight()` sends an unchanged value again under a new name", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, NAME);
  stage.step(3);
  stage.link.sender.putRight(5, NAME);
  assert(!stage.link.sender.isAcked(5, NAME));
  const [entry] = stage.step();
  assert(entry!.fresh);
  assertEquals([entry!.versionTick, entry!.mask], [stage.tick, 1]);
  assertEquals(stage.step(3), []);
});

Deno.test("`SnapshotSender` sends a raised epoch with the values that override the owner's", () => {
  const stage = new Stage();
  stage.spawn(5, SELF, AVATAR, NAME);
  stage.step(3);
  stage.write(5, AVATAR, 33);
  stage.world.raiseEpoch(5, stage.tick + 1);
  const [header] = stage.step();
  assertEquals(header!.epoch, 1);
  assertEquals(stage.words, [`5 alive ${AVATAR},${NAME}/`, `5 ${AVATAR}=33`]);
});

Deno.test("`SnapshotSender` sends a field that only the owner may read while it is the owner", () => {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) => spec.name === "Health" ? { ...spec, ownerReadMask: 2 } : spec),
  );
  const stage = new Stage({ grants: sampleGrants({ components }) });
  stage.spawn(5, SELF, HEALTH);
  stage.step();
  assertEquals(stage.entries[1]!.held, 0b11);
  stage.step(2);
  stage.world.setOwner(5, 2, stage.tick + 1);
  stage.step();
  assertEquals([stage.entries[0]!.owner, stage.entries[1]!.held], [2, 0b01]);
});

Deno.test("`SnapshotSender.setRole()` begins components with other masks anew, and others not", () => {
  const readMasks = [0b11, 0b01, 0b11];
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) => spec.name === "Health" ? { ...spec, readMasks } : spec),
  );
  const stage = new Stage({ grants: sampleGrants({ components }) });
  stage.spawn(5, 0, TRANSFORM, HEALTH);
  stage.step(3);
  stage.link.sender.setRole(SPECTATOR, 1);
  stage.link.receiver.setRole(SPECTATOR, 1);
  const [entry] = stage.step();
  assertEquals(stage.words, ["5 3=0"]);
  assertEquals([entry!.held, entry!.fresh], [0b11, true]);
});

Deno.test("`SnapshotSender` sends a reference to an entity as null until the peer is shown it", () => {
  const stage = new Stage();
  stage.spawn(6, 0, TRANSFORM);
  stage.distances.delete(6);
  stage.spawn(5, 0);
  const everything = createValue(stage.grants.components[EVERYTHING]!);
  setNeutral(stage.grants.components[EVERYTHING]!, everything);
  const target = stage.grants.components[EVERYTHING]!.fields.at(-1)!;
  everything.lanes[target.laneOffset] = 6;
  stage.add(5, EVERYTHING, everything);
  const [, entry] = stage.step();
  assertEquals(entry!.value.lanes[target.laneOffset], 0);
  stage.step(3);
  stage.distances.set(6, 1);
  const later = stage.step().find((each) => each.component === EVERYTHING);
  assertEquals(later!.value.lanes[target.laneOffset], 6);
  assertEquals(later!.mask, 1 << target.index);
  stage.step(3);
  stage.distances.delete(6);
  const last = stage.step().find((each) => each.kind === "value");
  assertEquals(last!.value.lanes[target.laneOffset], 0);
});

Deno.test("`SnapshotSender` keeps a server's component to its rate, and ends with the newest value", () => {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) => spec.name === "Health" ? { ...spec, rateHz: 12 } : spec),
  );
  const stage = new Stage({ grants: sampleGrants({ components }) });
  stage.spawn(5, 0, HEALTH);
  stage.step(5);
  let versions = 0;
  for (let i = 1; i <= 100; i++) {
    stage.write(5, HEALTH, i);
    versions += stage.step().length;
  }
  // 12 of 30 ticks.
  assert(versions >= 40 && versions <= 41, `${versions} versions`);
  stage.step(3);
  const out = createValue(components[HEALTH]!);
  stage.link.receiver.read(5, HEALTH, out);
  assertEquals(out.lanes[0], 100);
});

Deno.test("`SnapshotSender` starves nothing when the bits do not suffice", () => {
  const stage = new Stage({ maxBits: 600, maxDatagrams: 1 });
  for (let id = 1; id <= 40; id++) stage.spawn(id, 0, TRANSFORM);
  const last = new Int32Array(41);
  let worst = 0;
  for (let tick = 1; tick <= 300; tick++) {
    for (let id = 1; id <= 40; id++) stage.write(id, TRANSFORM, tick * 1_000);
    for (const entry of stage.step()) {
      if (entry.kind !== "value") continue;
      if (tick > 100) worst = Math.max(worst, tick - last[entry.id]!);
      last[entry.id] = tick;
    }
  }
  assert(worst < 20, `an entity waited ${worst} ticks`);
  assert(last.subarray(1).every((tick) => tick > 280));
});

Deno.test("`SnapshotSender.writeSection()` fills the bits it is given, to the last few", () => {
  const stage = new Stage({ maxBits: 4_000 });
  for (let id = 1; id <= 200; id++) stage.spawn(id, 0, TRANSFORM);
  stage.step();
  const sizes = stage.link.sent.map((sent) => sent.bytes.length * 8);
  for (const size of sizes.slice(0, -1)) assert(size > 3_800 && size <= 4_000, `${size} bits`);
});

Deno.test("`SnapshotSender.writeSection()` keeps to its bits, whatever comes between what it had laid out already", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const prng = createPrng(seed);
    // Losses leave entities with references of many ages: what a section says in runs is parted by what is added to it later.
    const stage = new Stage({
      path: { loss: 0.25, duplicate: 0, minDelay: 1, maxDelay: 4 },
      maxBits: 900 + Math.floor(prng() * 3_000),
      maxDatagrams: 2 + Math.floor(prng() * 3),
      seed,
    });
    for (let id = 1; id <= 150; id++) stage.spawn(id, 0, TRANSFORM);
    for (let tick = 1; tick <= 120; tick++) {
      const share = tick % 7 === 0 ? 1 : prng();
      for (let id = 1; id <= 150; id++) {
        if (prng() < share) stage.write(id, TRANSFORM, tick * 3 + id % 2);
      }
      stage.step();
    }
  }
});

for (const [datagrams, loss] of [[0.9, 0], [1, 0], [1.1, 0], [4, 0.1], [60, 0.1]] as const) {
  Deno.test(`\`SnapshotSender\` brings a value of ${datagrams} datagrams over with ${loss * 100} % loss`, () => {
    const stage = new Stage({
      path: { loss, duplicate: 0.05, minDelay: 1, maxDelay: 4 },
      maxDatagrams: 8,
      seed: datagrams * 10,
    });
    const prng = createPrng(7);
    const blob = Uint8Array.from({ length: Math.floor(datagrams * 1_092) }, () => prng() * 256);
    stage.spawn(5, 0);
    stage.spawn(6, 0, TRANSFORM);
    stage.add(5, BLOB, { lanes: new Int32Array(0), blobs: [blob] });
    let ticks = 0;
    while (stage.link.receiver.heldMask(5, BLOB) === 0 && ticks < 200) {
      // Other state does not wait for it.
      stage.write(6, TRANSFORM, ticks);
      stage.step();
      ticks += 1;
    }
    const out: ComponentValue = { lanes: new Int32Array(0), blobs: [] };
    stage.link.receiver.read(5, BLOB, out);
    assertEquals(out.blobs[0], blob);
    assert(ticks < 60, `${ticks} ticks`);
    assert(stage.link.receiver.newestTick(6, TRANSFORM) > stage.tick - 20);
    stage.step(20);
    assert(stage.link.sender.isAcked(5, BLOB));
    const pieces = Math.ceil(blob.length / 960);
    const spent = stage.link.bitsSent / 8 - blob.length;
    assert(spent < blob.length * (loss * 2.5 + 0.1) + 60 * ticks + 40 * pieces, `${spent} B more`);
  });
}

Deno.test("`SnapshotSender` gives up the pieces of a large value that is replaced", () => {
  const stage = new Stage({ maxDatagrams: 1, path: { ...PERFECT, minDelay: 1, maxDelay: 1 } });
  const blob = (length: number) => ({
    lanes: new Int32Array(0),
    blobs: [new Uint8Array(length).fill(length & 0xff)],
  });
  stage.spawn(5, 0);
  stage.add(5, BLOB, blob(30_000));
  stage.step(10);
  stage.world.write(5, BLOB, 1, blob(200), stage.tick + 1, 0);
  const before = stage.link.bitsSent;
  stage.step(10);
  assert(stage.link.bitsSent - before < 8_000, "none of the old pieces went out");
  assert(stage.link.sender.isAcked(5, BLOB));
  assertEquals(stage.link.faults.size, 0);
});

Deno.test("`SnapshotSender` brings many large values over, a few at a time", () => {
  const stage = new Stage({ path: { loss: 0.1, duplicate: 0, minDelay: 1, maxDelay: 3 } });
  for (let id = 1; id <= 12; id++) {
    stage.spawn(id, 0);
    const blob = new Uint8Array(3_000 + id).fill(id);
    stage.add(id, BLOB, { lanes: new Int32Array(0), blobs: [blob] });
  }
  stage.step(150);
  for (let id = 1; id <= 12; id++) assert(stage.link.sender.isAcked(id, BLOB), `value ${id}`);
  assertEquals(stage.link.faults.size, 0);
});

Deno.test("`SnapshotSender` of a client sends what it owns and may write, with the epoch it knows", () => {
  const stage = new Stage({ direction: "up" });
  stage.spawn(5, SELF, TRANSFORM, AVATAR, NAME);
  stage.spawn(6, 2, AVATAR);
  stage.step();
  assertEquals(stage.words, [`5 alive ${AVATAR},${NAME}/`, `5 ${AVATAR}=0`, `5 ${NAME}=undefined`]);
  stage.world.adoptHeader(5, SELF, 9, stage.tick + 1);
  stage.step(2);
  stage.write(5, AVATAR, 4);
  const [entry] = stage.step();
  assertEquals([entry!.epoch, entry!.value.lanes[0]], [9, 4]);
});

Deno.test("`SnapshotSender` of a client tells its own despawn as an end, a lost entity as out of view", () => {
  const stage = new Stage({ direction: "up" });
  stage.spawn(5, SELF, AVATAR);
  stage.spawn(6, SELF, AVATAR);
  stage.spawn(7, SELF, AVATAR);
  stage.step(2);
  stage.world.despawn(5, stage.tick + 1);
  stage.world.despawn(6, stage.tick + 1);
  stage.link.sender.release(6);
  stage.world.setOwner(7, 2, stage.tick + 1);
  stage.step();
  assertEquals(stage.words, ["5 gone /", "6 outOfView /", "7 outOfView /"]);
  stage.step(WINDOW + 5);
  assertEquals(stage.link.sender.trackedCount, 0);
  // Given back, it begins anew.
  stage.spawn(6, SELF, AVATAR);
  stage.step();
  assertEquals(stage.words, [`6 alive ${AVATAR}/`, `6 ${AVATAR}=0`]);
});

Deno.test("`SnapshotSender.isAcked()` holds for what is never sent to the peer", () => {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) =>
      spec.name === "Name" ? { ...spec, readMasks: [1, 0, 0] } : spec
    ),
  );
  const stage = new Stage({ grants: sampleGrants({ components }) });
  stage.spawn(5, SELF, NAME);
  stage.step();
  assert(stage.link.sender.isAcked(5, NAME));
  assert(!stage.link.sender.isAcked(6, AVATAR));
});

Deno.test("`SnapshotSender.handleAcked()` takes late, repeated and unknown numbers", () => {
  const grants = sampleGrants();
  const world = new World(grants);
  const sender = new SnapshotSender({
    grants,
    world,
    peer: SELF,
    roleIndex: PLAYER,
    direction: "down",
  });
  world.spawn(5, 0, 1);
  world.addComponent(5, HEALTH, randomValue(grants.components[HEALTH]!, createPrng(1)), 1, 64);
  sender.updateView(1, { count: 1, slots: Int32Array.of(5), distanceSquared: new Float64Array(1) });
  const writer = new Writer();
  assert(sender.writeSection(writer, 8_000, 1, 3));
  assert(!sender.writeSection(writer, 8_000, 1, 4));
  for (const sequence of [-1, 0, 4, 5, 10_000]) {
    sender.handleAcked(sequence);
    sender.handleLost(sequence);
  }
  assert(!sender.isAcked(5, HEALTH));
  // Given up as lost first, then acknowledged after all.
  sender.handleLost(3);
  sender.handleAcked(3);
  sender.handleAcked(3);
  assert(sender.isAcked(5, HEALTH));
});

Deno.test("`SnapshotSender` keeps to hostSendMask", () => {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) =>
      spec.name === "Transform" ? { ...spec, hostSendMask: 0b01 } : spec
    ),
  );
  const stage = new Stage({ grants: sampleGrants({ components }) });
  stage.spawn(5, 0, TRANSFORM);
  stage.step();
  assertEquals(stage.entries[1]!.held, 0b01);
});
