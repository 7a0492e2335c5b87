// Many viewers of one world share what is found out and coded once for all of them. That must not show: each gets the very bytes that it
// would get if it were alone with the world. Each run is made once with all viewers, and played again for single ones.

import { assert, assertEquals, fail } from "@std/assert";
import { type EntityId, entitySlot, makeEntityId } from "../../protocol/entity_id.ts";
import { Adjustments } from "../../permissions/adjustments.ts";
import { type ComponentGrant, type Grants, readMaskOf } from "../../permissions/grants.ts";
import { Announcer } from "../../replication/announcer.ts";
import { createInterestResult, Interest, type InterestResult } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import type { DecodedSnapshot } from "../../replication/snapshot_receiver.ts";
import { type ComponentValue, copyValue, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { Mirror } from "../support/mirror.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { randomRotation, randomValue } from "../support/random_values.ts";
import { buildComponents, PLAYER, sampleGrants, SPECTATOR } from "../support/sample_grants.ts";
import { PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const SEEDS = 200;
const SLOTS = 8;
/** Ticks in which all goes on: of most runs, and of each eighth one, in which less happens, so that what moves all the time goes in step. */
const BUSY_TICKS = 30;
const CALM_TICKS = 60;
const CALM_EVERY = 8;
/** How much less happens then. */
const CALM = 0.1;
/** Ticks of rest at the end, on perfect paths. */
const REST_TICKS = 18;
/** Viewers of a run that are also played alone. */
const LONE_VIEWERS = 2;
/** The component that is seen from near only. */
const NEAR = 0;
const RADIUS = 30;
/** The first slots have entities with that component only: references to them must be hidden from those who are far away. */
const NEAR_SLOTS = 2;

const POINT = { kind: "vec3", min: -100, max: 100, precision: 0.001 } as const;

/** Components of all sorts: near and far, every tick and now and then, with fields that some read and others do not. */
function viewersGrants(prng: Prng): Grants {
  const tickHz = [30, 60, 120][below(prng, 3)]!;
  return sampleGrants({
    tickHz,
    historyMs: [250, 500, 2_000][below(prng, 3)]!,
    components: buildComponents([
      {
        id: 1,
        name: "Near",
        fields: [
          { name: "position", ...POINT },
          { name: "turn", kind: "quat", bits: 10 },
          { name: "state", kind: "u32" },
          { name: "target", kind: "entity" },
        ],
        readMasks: [15, 15, 0b1001],
        ownerReadMask: 0b0100,
        grantableRead: 0b0110,
        interestRadius: RADIUS,
        positionField: 0,
        rateHz: tickHz,
      },
      {
        id: 2,
        name: "Slow",
        fields: [
          { name: "real", kind: "f32", min: -50, max: 50, precision: 0.01 },
          { name: "point", ...POINT },
          { name: "text", kind: "string", maxBytes: 20 },
        ],
        readMasks: [7, 0b101, 0b010],
        grantableRead: 0b111,
        rateHz: [tickHz, 7, 7][below(prng, 3)]!,
        authority: "owner",
      },
      { id: 3, name: "Step", fields: [{ name: "point", ...POINT }], rateHz: tickHz },
      {
        id: 4,
        name: "Pair",
        fields: [{ name: "point", ...POINT }, { name: "other", ...POINT }],
        readMasks: [3, 3, 1],
        grantableRead: 3,
        hostSendMask: [3, 1][below(prng, 2)]!,
        rateHz: tickHz,
      },
    ]),
  });
}

/** How long all goes on, and how much happens. */
interface Pace {
  readonly busyTicks: number;
  readonly events: number;
}

/** What is done to a world in one tick, in order; the same for each world that it is played to. */
interface Script {
  readonly ticks: number[];
  readonly operations: ((world: World) => void)[][];
}

/** What an observer notes of the world's columns: each value of each component with the tick of its version. */
class Truth {
  readonly #values = new Map<string, { readonly tick: number; readonly value: ComponentValue }[]>();

  note(world: World, grants: Grants, tick: number): void {
    for (let slot = 1; slot <= SLOTS; slot++) {
      const id = world.idAt(slot);
      if (id === 0) continue;
      for (const component of grants.components) {
        if (world.versionTick(id, component.index) !== tick) continue;
        const value = createValue(component);
        const copy = createValue(component);
        world.read(id, component.index, value);
        copyValue(value, copy);
        const key = `${id} ${component.index}`;
        const values = this.#values.get(key);
        if (values === undefined) this.#values.set(key, [{ tick, value: copy }]);
        else values.push({ tick, value: copy });
      }
    }
  }

  /** The value that was the newest one at `tick`. */
  at(id: EntityId, component: number, tick: number): ComponentValue | undefined {
    return this.#values.get(`${id} ${component}`)?.findLast((entry) => entry.tick <= tick)?.value;
  }
}

/** Asserts that the fields in `mask` are those of `expected`; a reference to an entity may also be hidden. */
function assertFields(
  component: ComponentGrant,
  mask: number,
  actual: ComponentValue,
  expected: ComponentValue,
  mayName: (id: EntityId) => boolean,
  where: () => string,
): void {
  for (const field of component.fields) {
    if ((mask & (1 << field.index)) === 0) continue;
    if (field.blobIndex >= 0) {
      assertEquals(actual.blobs[field.blobIndex], expected.blobs[field.blobIndex], where());
      continue;
    }
    for (let lane = field.laneOffset; lane < field.laneOffset + field.lanes; lane++) {
      const known = actual.lanes[lane]!;
      if (known === expected.lanes[lane]) continue;
      const isHidden = field.kind === "entity" && known === 0 &&
        !mayName(expected.lanes[lane]! >>> 0);
      assert(isHidden, `${where()} ${component.name}.${field.name}: ${known}`);
    }
  }
}

/** One viewer of a world: its link, what its engine would know, and all that befalls it; a seed of its own decides that. */
class Viewer {
  readonly peer: number;
  /** What was sent over its links, in order. */
  readonly sent: Uint8Array[] = [];
  inStep = 0;
  #link: SnapshotLink | undefined;
  #mirror: Mirror;
  readonly #world: World;
  readonly #grants: Grants;
  readonly #pace: Pace;
  readonly #truth: Truth | undefined;
  readonly #prng: Prng;
  readonly #position = new Float64Array(3);
  readonly #candidates: InterestResult = createInterestResult();
  readonly #joinTick: number;
  #adjusted = new Adjustments();
  #role: number = PLAYER;
  #epoch = 0;
  /** Tick at which the other end hears of the newest rights. */
  #changeTick = -1;
  #asleep = 0;
  #away = 0;
  #noted = 0;

  constructor(
    world: World,
    grants: Grants,
    pace: Pace,
    peer: number,
    seed: number,
    truth?: Truth,
  ) {
    this.peer = peer;
    this.#pace = pace;
    this.#world = world;
    this.#grants = grants;
    this.#truth = truth;
    this.#prng = createPrng(seed * 64 + peer);
    this.#mirror = new Mirror(grants);
    // Half are there from the beginning; most others join soon after, while first values are still under way.
    this.#joinTick = this.#prng() < 0.5 ? 0 : below(this.#prng, this.#prng() < 0.6 ? 8 : 20);
  }

  get sender(): SnapshotLink["sender"] | undefined {
    return this.#link?.sender;
  }

  /** Own matters, then a tick of the link. `index` counts the ticks of the run. */
  step(index: number, tick: number, grid: Interest): void {
    const prng = this.#prng;
    if (index < this.#pace.busyTicks) {
      if (this.#away > 0) {
        this.#away -= 1;
        return;
      }
      if (this.#link === undefined) {
        if (index < this.#joinTick) return;
        this.#join();
      } else if (prng() < 0.025 * this.#pace.events) {
        this.#link = undefined;
        this.#away = below(prng, 6);
        return;
      }
      this.#live(tick);
    } else {
      if (this.#link === undefined) this.#join();
      this.#link!.path = PERFECT;
      this.#asleep = 0;
    }
    const link = this.#link!;
    if (this.#changeTick >= 0 && this.#changeTick <= tick) {
      link.receiver.setRole(this.#role, this.#epoch);
      this.#changeTick = -1;
    }
    if (this.#asleep > 0) {
      this.#asleep -= 1;
      return;
    }
    grid.query(this.#position, this.#candidates);
    link.step(tick, this.#candidates);
    if (prng() < 0.1) link.receiver.expire(tick);
    for (; this.#noted < link.sent.length; this.#noted++) {
      this.sent.push(link.sent[this.#noted]!.bytes);
    }
    this.inStep += link.sender.inStepCount;
  }

  /** Asserts that all that it may see is there, and like the world. */
  assertUpToDate(grid: Interest, seed: number): number {
    const link = this.#link!;
    const world = this.#world;
    const known = [...link.faults.keys()].filter((name) => name !== "WrongEpoch");
    assertEquals(known, [], `seed ${seed} peer ${this.peer}: an honest path has no faults`);
    grid.query(this.#position, this.#candidates);
    let count = 0;
    for (let i = 0; i < this.#candidates.count; i++) {
      const id = world.idAt(this.#candidates.slots[i]!);
      const metres = Math.sqrt(this.#candidates.distanceSquared[i]!);
      const isOwner = world.owner(id) === this.peer;
      const entity = this.#mirror.entities.get(id);
      for (const component of this.#grants.components) {
        const where = (): string => `seed ${seed} peer ${this.peer} entity ${id} ${component.name}`;
        if (!world.hasComponent(id, component.index)) {
          const left = entity?.values.get(component.index);
          assert(left === undefined || left.isHidden, `${where()}: nobody has it`);
          continue;
        }
        const mask = component.hostSendMask &
          readMaskOf(component, this.#role, isOwner, this.#adjusted);
        if (mask === 0) continue;
        const held = entity?.values.get(component.index);
        if (held === undefined || held.isHidden) {
          const isFar = component.index === NEAR && metres >= RADIUS && !isOwner;
          assert(isFar, `${where()}: missing at ${metres} m`);
          continue;
        }
        const value = createValue(component);
        world.read(id, component.index, value);
        const mayName = (target: EntityId): boolean => link.sender.isVisible(target);
        assertFields(component, mask, held.value, value, mayName, where);
        count += 1;
      }
    }
    for (const id of this.#mirror.entities.keys()) {
      assert(world.isAlive(id), `seed ${seed} peer ${this.peer}: entity ${id} ended`);
    }
    return count;
  }

  #join(): void {
    const prng = this.#prng;
    // In long runs some are so far away that many versions are under way.
    const isFar = this.#pace.events < 1 && prng() < 0.4;
    const minDelay = isFar ? 12 : below(prng, 3);
    this.#role = prng() < 0.6 ? PLAYER : SPECTATOR;
    this.#epoch = 0;
    this.#changeTick = -1;
    this.#adjusted = new Adjustments();
    // Some have rights of their own from the beginning.
    if (prng() < 0.3) this.#adjust();
    const link = new SnapshotLink({
      grants: this.#grants,
      world: this.#world,
      peer: this.peer,
      roleIndex: this.#role,
      adjusted: this.#adjusted,
      direction: "down",
      prng,
      path: {
        loss: isFar ? 0 : [0, 0.05, 0.3, 0.3][below(prng, 4)]!,
        duplicate: prng() < 0.3 ? 0.1 : 0,
        minDelay,
        maxDelay: minDelay + (isFar ? 0 : [0, 0, 2, 6][below(prng, 4)]!),
      },
      maxBits: prng() < 0.2 ? 3_000 : 8_800,
      maxDatagrams: prng() < 0.2 ? 1 : 4,
    });
    link.sender.isLossy = prng() < 0.3;
    this.#link = link;
    this.#noted = 0;
    this.#mirror = new Mirror(this.#grants);
    const announcer = new Announcer({ grants: this.#grants, receiver: link.receiver });
    link.onDecoded = (decoded) => {
      announcer.handle(decoded, this.#mirror);
      this.#assertTrue(decoded);
    };
  }

  /** Moves, sleeps, and gets and loses rights. */
  #live(tick: number): void {
    const prng = this.#prng;
    const sender = this.#link!.sender;
    const r = prng() / this.#pace.events;
    if (r < 0.05) {
      this.#position[0] = (prng() - 0.5) * 80;
      this.#position[2] = (prng() - 0.5) * 80;
    } else if (r < 0.07) {
      this.#asleep = below(prng, 12);
    } else if (r < 0.09 && this.#changeTick < 0) {
      if (prng() < 0.4) this.#role = this.#role === PLAYER ? SPECTATOR : PLAYER;
      else this.#adjust();
      this.#epoch = (this.#epoch + 1) & 0xff;
      sender.setRole(this.#role, this.#epoch);
      this.#changeTick = tick + below(prng, 5);
    } else if (r < 0.11) {
      const id = this.#world.idAt(1 + below(prng, SLOTS));
      if (id !== 0) sender.putRight(id, below(prng, this.#grants.components.length));
    }
  }

  #adjust(): void {
    const prng = this.#prng;
    const component = this.#grants.components[[0, 1, 3][below(prng, 3)]!]!;
    const fields = below(prng, component.allFields + 1);
    const granted = prng() < 0.5 ? fields & component.grantableRead : 0;
    this.#adjusted.set(component, {
      readGranted: granted,
      readRevoked: granted !== 0 ? 0 : fields,
      writeGranted: 0,
      writeRevoked: 0,
    });
  }

  /** All that came is what the world's columns held at the tick whose name it has. */
  #assertTrue(decoded: DecodedSnapshot): void {
    if (this.#truth === undefined) return;
    for (let i = 0; i < decoded.count; i++) {
      const { kind, id, component, versionTick, held, value } = decoded.entries[i]!;
      if (kind !== "value") continue;
      const expected = this.#truth.at(id, component, versionTick);
      const where = (): string => `peer ${this.peer} entity ${id} tick ${versionTick}`;
      assert(expected !== undefined, `${where()}: the world never had that`);
      assertFields(this.#grants.components[component]!, held, value, expected, () => false, where);
    }
  }
}

/** Writes the world as an engine does, and notes what it did. */
class Author {
  readonly script: Script = { ticks: [], operations: [] };
  readonly #world: World;
  readonly #grants: Grants;
  readonly #prng: Prng;
  readonly #pace: Pace;
  readonly #peers: number;
  readonly #generations = new Int32Array(SLOTS + 1);
  readonly #ended = new Set<EntityId>();
  readonly #speeds = new Map<string, number[]>();
  /** By slot: whether it rests. */
  readonly #resting = new Int32Array(SLOTS + 1);
  #tick: number;

  constructor(world: World, grants: Grants, pace: Pace, prng: Prng, peers: number) {
    this.#pace = pace;
    this.#world = world;
    this.#grants = grants;
    this.#prng = prng;
    this.#peers = peers;
    this.#tick = 1 + below(prng, 70_000);
  }

  /** The next tick, with all that happens in it. */
  step(isBusy: boolean, mayReuse: (id: EntityId) => boolean): number {
    const prng = this.#prng;
    this.#tick += isBusy && prng() < 0.01 * this.#pace.events ? 1 + below(prng, 20) : 1;
    this.script.ticks.push(this.#tick);
    this.script.operations.push([]);
    if (!isBusy) return this.#tick;
    for (const id of this.#ended) if (mayReuse(id)) this.#ended.delete(id);
    const isTaken = (slot: number): boolean =>
      this.#ended.values().some((id) => entitySlot(id) === slot);
    for (let slot = 1; slot <= SLOTS; slot++) {
      const id = this.#world.idAt(slot);
      if (id !== 0) this.#change(id, slot);
      else if (prng() < 0.3 && !isTaken(slot)) this.#spawn(slot);
    }
    return this.#tick;
  }

  #do(operation: (world: World) => void): void {
    this.script.operations.at(-1)!.push(operation);
    operation(this.#world);
  }

  #spawn(slot: number): void {
    const prng = this.#prng;
    const tick = this.#tick;
    const id = makeEntityId(slot, this.#generations[slot]!);
    this.#generations[slot] = this.#generations[slot]! + 1;
    const owner = below(prng, this.#peers + 1);
    this.#do((world) => world.spawn(id, owner, tick));
    for (const component of this.#grants.components) {
      const mayHave = slot > NEAR_SLOTS || component.index === NEAR;
      if (mayHave && prng() < 0.8) this.#add(id, component);
    }
  }

  #add(id: EntityId, component: ComponentGrant): void {
    const tick = this.#tick;
    const value = randomValue(component, this.#prng, 20);
    this.#jump(id, component, value);
    this.#do((world) => world.addComponent(id, component.index, value, tick, tick * 64));
  }

  #change(id: EntityId, slot: number): void {
    const prng = this.#prng;
    const tick = this.#tick;
    const r = prng() / this.#pace.events;
    if (r < 0.005) {
      this.#ended.add(id);
      this.#do((world) => world.despawn(id, tick));
      return;
    }
    const owner = below(prng, this.#peers + 1);
    if (r < 0.013) this.#do((world) => world.setOwner(id, owner, tick));
    else if (r < 0.018) this.#do((world) => world.raiseEpoch(id, tick));
    else if (r < 0.05) this.#resting[slot] = 1 - this.#resting[slot]!;
    if (this.#resting[slot] === 1) return;
    for (const component of this.#grants.components) {
      const c = component.index;
      if (!this.#world.hasComponent(id, c)) {
        if (slot > NEAR_SLOTS && prng() < 0.02) this.#add(id, component);
        continue;
      }
      if (prng() < 0.004 * this.#pace.events) {
        this.#do((world) => world.removeComponent(id, c, tick));
        continue;
      }
      if (this.#pace.events === 1) {
        if (c < 2 && prng() < 0.2) continue;
      } else if (c !== 2 + (slot & 1) && prng() > 0.004) {
        // What goes in step moves in each tick, and nothing else of the entity does.
        continue;
      }
      const old = createValue(component);
      this.#world.read(id, c, old);
      const value = createValue(component);
      copyValue(old, value);
      if (prng() < 0.01) this.#jump(id, component, value);
      else this.#move(id, component, value);
      const mask = prng() < 0.15 ? 1 << below(prng, component.fields.length) : component.allFields;
      const time = tick * 64 - (prng() < 0.2 ? below(prng, 60) : 0);
      this.#do((world) => world.write(id, c, mask, value, tick, time));
    }
  }

  /** Somewhere else at once: a teleport. */
  #jump(id: EntityId, component: ComponentGrant, value: ComponentValue): void {
    const prng = this.#prng;
    for (const field of component.fields) {
      if (field.kind === "entity") value.lanes[field.laneOffset] = 0;
      if (field.kind !== "vec3") continue;
      const at = [(prng() - 0.5) * 80, (prng() - 0.5) * 5, (prng() - 0.5) * 80];
      quantiseField(field, at, 0, value.lanes, field.laneOffset);
      const speed = at.map(() => below(prng, 200) - 100);
      this.#speeds.set(`${id} ${component.index} ${field.index}`, speed);
    }
  }

  /** A little further, as it moved before. */
  #move(id: EntityId, component: ComponentGrant, value: ComponentValue): void {
    const prng = this.#prng;
    for (const field of component.fields) {
      const at = field.laneOffset;
      if (field.kind === "vec3") {
        const speed = this.#speeds.get(`${id} ${component.index} ${field.index}`)!;
        const most = Math.floor((field.max - field.min) / field.precision);
        for (let axis = 0; axis < 3; axis++) {
          if (prng() < 0.05) speed[axis] = below(prng, 300) - 150;
          const lane = value.lanes[at + axis]! + speed[axis]! + below(prng, 3);
          value.lanes[at + axis] = Math.max(0, Math.min(most, lane));
        }
      } else if (field.kind === "quat") {
        if (prng() < 0.2) quantiseField(field, randomRotation(prng), 0, value.lanes, at);
      } else if (field.kind === "entity") {
        const slots = prng() < 0.6 ? NEAR_SLOTS : SLOTS;
        if (prng() < 0.2) value.lanes[at] = this.#world.idAt(1 + below(prng, slots));
      } else if (field.blobIndex >= 0) {
        const bytes = new Uint8Array(below(prng, 20)).fill(0x61 + below(prng, 26));
        if (prng() < 0.1) value.blobs[field.blobIndex] = bytes;
      } else {
        value.lanes[at] = below(prng, 200);
      }
    }
  }
}

/** What a run shows that it was worth something. */
interface Outcome {
  /** Encodings that were found instead of made. */
  found: number;
  /** Values looked at in the end. */
  compared: number;
  datagrams: number;
  /** Entities that went in step, summed up over viewers and ticks. */
  inStep: number;
}

/** One run with all viewers, and for some of them once more without the others. */
function playRun(seed: number): Outcome {
  const prng = createPrng(seed);
  const grants = viewersGrants(prng);
  const pace = seed % CALM_EVERY === 0
    ? { busyTicks: CALM_TICKS, events: CALM }
    : { busyTicks: BUSY_TICKS, events: 1 };
  const peers = seed % 10 === 0 ? 12 : 6 + below(prng, 3);
  const world = new World(grants);
  const grid = new Interest(grants, world);
  const truth = new Truth();
  const viewers = Array.from(
    { length: peers },
    (_, i) => new Viewer(world, grants, pace, i + 1, seed, truth),
  );
  const author = new Author(world, grants, pace, prng, peers);
  const mayReuse = (id: EntityId): boolean =>
    viewers.every(({ sender }) => sender === undefined || sender.hasAckedDespawn(id));
  for (let index = 0; index < pace.busyTicks + REST_TICKS; index++) {
    const tick = author.step(index < pace.busyTicks, mayReuse);
    truth.note(world, grants, tick);
    grid.rebuild();
    for (const viewer of viewers) viewer.step(index, tick, grid);
    world.expire(tick);
  }
  const outcome = { found: world.encodings.found, compared: 0, datagrams: 0, inStep: 0 };
  for (const viewer of viewers) {
    outcome.compared += viewer.assertUpToDate(grid, seed);
    outcome.datagrams += viewer.sent.length;
    outcome.inStep += viewer.inStep;
  }
  for (let i = 0; i < LONE_VIEWERS; i++) {
    const viewer = viewers[(seed + i) % peers]!;
    assertSameAlone(author.script, grants, pace, viewer, seed);
  }
  return outcome;
}

/** Plays a script to a new world with a single viewer, and compares each datagram. */
function assertSameAlone(
  script: Script,
  grants: Grants,
  pace: Pace,
  viewer: Viewer,
  seed: number,
): void {
  const world = new World(grants);
  const grid = new Interest(grants, world);
  const lone = new Viewer(world, grants, pace, viewer.peer, seed);
  let compared = 0;
  for (const [index, tick] of script.ticks.entries()) {
    for (const operation of script.operations[index]!) operation(world);
    grid.rebuild();
    lone.step(index, tick, grid);
    for (; compared < lone.sent.length; compared++) {
      if (viewer.sent[compared]?.toHex() === lone.sent[compared]!.toHex()) continue;
      fail(`seed ${seed} peer ${viewer.peer} datagram ${compared} is another one than alone`);
    }
    world.expire(tick);
  }
  assertEquals(viewer.sent.length, compared, `seed ${seed} peer ${viewer.peer}: none more`);
}

Deno.test("`SnapshotSender` sends the bytes that it would send alone, when others share the world", () => {
  const total: Outcome = { found: 0, compared: 0, datagrams: 0, inStep: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { found, compared, datagrams, inStep } = playRun(seed);
    total.found += found;
    total.compared += compared;
    total.datagrams += datagrams;
    total.inStep += inStep;
  }
  // All that would be worth nothing if the viewers shared nothing, or saw nothing.
  assert(total.found > 100 * SEEDS, `encodings shared: ${total.found}`);
  assert(total.inStep > 5 * SEEDS, `values in step: ${total.inStep}`);
  assert(total.compared > 100 * SEEDS, `values compared: ${total.compared}`);
  assert(total.datagrams > 200 * SEEDS, `datagrams: ${total.datagrams}`);
});
