// A busy room for measuring the gate: 500 entities that move each tick, 100 viewers in 8 roles with 100 of them in view, components whose
// fields are read by some roles and not by others. Driven tick by tick; it takes no time and opens no socket.

import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { assert } from "../protocol/assert.ts";
import { makeEntityId } from "../protocol/entity_id.ts";
import { MAX_DATAGRAMS_PER_TICK, MIN_DATAGRAM_BYTES } from "../protocol/limits.ts";
import { Prng } from "../protocol/prng.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import type { InterestResult } from "../replication/interest.ts";
import { laneMax } from "../replication/quantise.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import { World } from "../replication/world.ts";

/** Entities of the scene. */
export const ENTITIES = 500;
/** Viewers; each owns one of the entities. */
export const VIEWERS = 100;
/** Entities that each viewer sees, its own included. */
export const VISIBLE = 100;
/** Side of the square in which the entities stand, metres. */
const SIDE_M = 60;
/** Share of the entities whose status changes in a tick. */
const STATUS_CHANGES = 0.1;
/** Largest change of a lane of a pose in a tick, steps: 40 mm or 2 degrees. */
const POSE_STEPS = 40;
/** Ticks from a datagram to its acknowledgement: 67 ms at 30 Hz. */
const ACK_TICKS = 2;

/** Roles of the peers; each reads what those it inherits from read. */
const ROLES: readonly { readonly name: string; readonly inherits?: readonly string[] }[] = [
  { name: "visitor" },
  { name: "guest", inherits: ["visitor"] },
  { name: "member", inherits: ["guest"] },
  { name: "medic", inherits: ["member"] },
  { name: "red", inherits: ["member"] },
  { name: "blue", inherits: ["member"] },
  { name: "guide", inherits: ["guest"] },
  { name: "judge", inherits: ["medic", "red", "blue"] },
];

const POSITION = { type: "vec3", min: -512, max: 512, precision: 0.001 };
const ROTATION = { type: "quat", bits: 10 };
const HANDS = { read: ["member", "owner"] };

/** The scene's grants. */
export function sceneGrants(): Grants {
  const manifest = {
    world: {
      name: "gate scene",
      maxEntities: 1024,
      maxPeers: 128,
      roles: ROLES.map((role, at) => ({ id: at + 1, ...role })),
      defaultRole: "visitor",
      components: [
        {
          name: "Avatar",
          authority: "owner",
          fields: {
            body: POSITION,
            bodyRotation: ROTATION,
            head: POSITION,
            headRotation: ROTATION,
            leftHand: { ...POSITION, ...HANDS },
            leftHandRotation: { ...ROTATION, ...HANDS },
            rightHand: { ...POSITION, ...HANDS },
            rightHandRotation: { ...ROTATION, ...HANDS },
          },
          read: ["visitor", "owner"],
          write: ["all"],
          position: "body",
        },
        {
          name: "Status",
          authority: "owner",
          fields: {
            mood: { type: "enum", values: ["calm", "glad", "cross"] },
            health: { type: "u8", read: ["medic", "owner"] },
            fatigue: { type: "f32", min: 0, max: 1, precision: 0.01, read: ["medic"] },
            locked: { type: "bool", read: ["owner"] },
          },
          read: ["guest", "owner"],
          write: ["all"],
        },
        {
          name: "RedPlan",
          authority: "server",
          fields: { target: { type: "entity" }, step: { type: "u16" } },
          read: ["red"],
        },
        {
          name: "BluePlan",
          authority: "server",
          fields: { target: { type: "entity" }, step: { type: "u16", read: ["judge"] } },
          read: ["blue"],
        },
      ].map((component, at) => ({ id: at + 1, ...component })),
      events: [{ id: 1, name: "Wave", send: ["guest"], receive: ["all"] }],
      channels: [
        { id: 1, name: "chat", mode: "reliable", send: ["member", "server"], receive: ["all"] },
      ],
      voice: { speak: ["member"], hear: ["all"], range: 20 },
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:0",
      certificate: { mode: "development" },
      deny: { components: { Status: { send: ["locked"] } } },
    },
  };
  return compileGrants(
    parseManifest(JSON.stringify(manifest), "gate scene"),
    (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  );
}

/** One viewer: its sender and what is near. */
interface Viewer {
  readonly roleIndex: number;
  readonly sender: SnapshotSender;
  readonly candidates: InterestResult;
  /** Numbers of the datagrams of the last ticks, oldest first. */
  readonly unacked: number[][];
  sequence: number;
}

/** The mask tests of one tick: what is asked of the gate for each component of each entity that each viewer sees. */
export interface MaskTests {
  /** Tests. */
  readonly count: number;
  /** Component indices. */
  readonly component: Int32Array;
  /** Role indices. */
  readonly role: Int32Array;
  /** 1 where the viewer owns the entity. */
  readonly isOwner: Uint8Array;
}

/** The scene. Call `change()` and then `encode()` once a tick, and `acknowledge()` after it. */
export class GateScene {
  /** The compiled grants. */
  readonly grants: Grants = sceneGrants();
  /** Bytes of all sections so far. */
  sentBytes = 0;
  readonly #world: World;
  readonly #prng: Prng;
  readonly #viewers: Viewer[] = [];
  readonly #values: ComponentValue[];
  readonly #writer = new Writer(2048);
  #tick = 0;

  /** Places everything. @param seed Decides places, components, first values and all changes. */
  constructor(seed: number) {
    const { grants } = this;
    this.#prng = new Prng(seed);
    this.#world = new World(grants);
    this.#values = grants.components.map((component) => createValue(component));
    const places = Array.from(
      { length: ENTITIES },
      () => [this.#prng.nextFloat() * SIDE_M, this.#prng.nextFloat() * SIDE_M] as const,
    );
    for (let slot = 1; slot <= ENTITIES; slot++) this.#spawn(slot, places[slot - 1]!);
    for (let at = 0; at < VIEWERS; at++) {
      const roleIndex = 1 + at % ROLES.length;
      this.#viewers.push({
        roleIndex,
        sender: new SnapshotSender({
          grants,
          world: this.#world,
          peer: at + 1,
          roleIndex,
          direction: "down",
        }),
        candidates: nearest(places, at),
        unacked: [],
        sequence: 0,
      });
    }
  }

  /** The first entities belong to the viewers; a third of all has each plan. */
  #spawn(slot: number, place: readonly [number, number]): void {
    const id = makeEntityId(slot, 0);
    const owner = slot <= VIEWERS ? slot : 0;
    this.#world.spawn(id, owner, 0);
    for (const { index, fields } of this.grants.components) {
      if (index >= 2 && slot % 3 !== index - 2) continue;
      const value = this.#values[index]!;
      for (const field of fields) {
        for (let lane = 0; lane < field.lanes; lane++) {
          const most = laneMax(field);
          value.lanes[field.laneOffset + lane] = field.kind === "vec3"
            ? Math.round(most / 2) + Math.round((place[lane >> 1] ?? 0) * 1000)
            : field.kind === "quat"
            ? lane === 0 ? 3 : most >> 1
            : field.kind === "entity"
            ? 0
            : this.#prng.nextBelow(most + 1);
        }
      }
      this.#world.addComponent(id, index, value, 0, 0);
    }
  }

  /** Begins a tick: every avatar moves, some entities' other values change. */
  change(): void {
    this.#tick += 1;
    const [avatar, status] = this.grants.components;
    for (let slot = 1; slot <= ENTITIES; slot++) {
      this.#step(slot, avatar!.index, POSE_STEPS);
      if (this.#prng.chance(STATUS_CHANGES)) this.#step(slot, status!.index, 1);
    }
  }

  /** Moves each lane of a value by up to `most` steps, within its range. */
  #step(slot: number, c: number, most: number): void {
    const id = makeEntityId(slot, 0);
    const { fields, allFields } = this.grants.components[c]!;
    const value = this.#values[c]!;
    this.#world.read(id, c, value);
    for (const field of fields) {
      // Which of a quaternion's components is the largest does not change.
      for (let lane = field.kind === "quat" ? 1 : 0; lane < field.lanes; lane++) {
        const at = field.laneOffset + lane;
        const next = value.lanes[at]! + this.#prng.nextBelow(2 * most + 1) - most;
        value.lanes[at] = Math.min(laneMax(field), Math.max(0, next));
      }
    }
    this.#world.write(id, c, allFields, value, this.#tick, this.#tick * SUBTICKS);
  }

  /** Builds every viewer's sections of this tick: what is measured. */
  encode(): void {
    const bits = (MIN_DATAGRAM_BYTES - 50) * 8;
    for (const viewer of this.#viewers) {
      const { sender, candidates } = viewer;
      const sent: number[] = [];
      sender.updateView(this.#tick, candidates);
      for (let i = 0; i < MAX_DATAGRAMS_PER_TICK; i++) {
        this.#writer.clear();
        if (!sender.writeSection(this.#writer, bits, this.#tick, viewer.sequence)) break;
        this.sentBytes += this.#writer.byteLength;
        sent.push(viewer.sequence);
        viewer.sequence += 1;
      }
      viewer.unacked.push(sent);
    }
  }

  /** The viewers acknowledge what they got two ticks ago. */
  acknowledge(): void {
    for (const { sender, unacked } of this.#viewers) {
      if (unacked.length <= ACK_TICKS) continue;
      for (const sequence of unacked.shift()!) sender.handleAcked(sequence);
    }
    this.#world.expire(this.#tick);
  }

  /** Entities that the viewers' senders tell of: 100 each. */
  get visiblePairs(): number {
    return this.#viewers.reduce((sum, { sender }) => sum + sender.trackedCount, 0);
  }

  /** The mask tests of one tick, in the order in which the senders look. */
  maskTests(): MaskTests {
    const component: number[] = [];
    const role: number[] = [];
    const isOwner: number[] = [];
    this.#viewers.forEach(({ roleIndex, candidates }, at) => {
      for (let i = 0; i < candidates.count; i++) {
        const id = this.#world.idAt(candidates.slots[i]!);
        this.#world.forEachComponent(id, (c) => {
          component.push(c);
          role.push(roleIndex);
          isOwner.push(this.#world.owner(id) === at + 1 ? 1 : 0);
        });
      }
    });
    return {
      count: component.length,
      component: Int32Array.from(component),
      role: Int32Array.from(role),
      isOwner: Uint8Array.from(isOwner),
    };
  }
}

/** The entities nearest to a viewer's own, which is the first of them. */
function nearest(places: readonly (readonly [number, number])[], at: number): InterestResult {
  const [x, z] = places[at]!;
  const sorted = places
    .map(([px, pz], i) => ({ slot: i + 1, distance: (px - x) ** 2 + (pz - z) ** 2 }))
    .sort((a, b) => a.distance - b.distance).slice(0, VISIBLE);
  assert(sorted.some(({ slot }) => slot === at + 1), "a viewer sees itself");
  return {
    count: sorted.length,
    slots: Int32Array.from(sorted, ({ slot }) => slot),
    distanceSquared: Float64Array.from(sorted, ({ distance }) => distance),
  };
}
