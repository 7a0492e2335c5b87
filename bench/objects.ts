// The objects benchmark: 500 objects in three public motions at 20 Hz to one client, 1 mm, baselines 100 ms old, with and without loss. The
// product's world, sender and receiver; every header counted, and the payload apart.

import { createHash } from "node:crypto";
import type { Options, OptionSpec } from "../driver/arguments.ts";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { assert } from "../protocol/assert.ts";
import { makeEntityId } from "../protocol/entity_id.ts";
import { Prng } from "../protocol/prng.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { createInterestResult } from "../replication/interest.ts";
import { quantiseField } from "../replication/quantise.ts";
import { createValue } from "../replication/value.ts";
import { World } from "../replication/world.ts";
import { Motion, type MotionName, MOTIONS } from "./object_motions.ts";
import { RIVALS } from "./rivals.ts";
import { PACKET_BYTES, SnapshotStage } from "./snapshot_stage.ts";

const OBJECTS = 500;
const TICK_HZ = 20;
/** The scene is stepped at 50 Hz. */
const STEP_HZ = 50;
/** 100 ms. */
const LAG_TICKS = 2;
/** Ticks until all objects are known and have a history, not counted. */
const WARM_TICKS = 20;

/** Options of the command line. */
export const OBJECTS_OPTIONS: readonly OptionSpec[] = [
  {
    name: "seconds",
    kind: "integer",
    value: "S",
    help: "length of each scene",
    preset: 60,
    min: 2,
    max: 600,
  },
  {
    name: "seed",
    kind: "integer",
    value: "S",
    help: "seed of scene and losses",
    preset: 1,
    min: 0,
    max: 2 ** 31 - 1,
  },
];

/** What one scene takes, kB (1,000 bytes) a second. */
export interface ObjectsRun {
  /** Every header counted. */
  readonly kBps: number;
  /** Bodies of the snapshot sections alone. */
  readonly payload: number;
}

/** The scene's grants: a position to a millimetre, a rotation of 10 bits a component. */
export function objectGrants(): Grants {
  const manifest = {
    world: {
      name: "objects",
      tickHz: TICK_HZ,
      maxEntities: 2 * OBJECTS,
      maxPeers: 2,
      roles: [{ id: 1, name: "player" }],
      defaultRole: "player",
      components: [{
        id: 1,
        name: "Object",
        fields: {
          position: { type: "vec3", min: -1024, max: 1024, precision: 0.001 },
          rotation: { type: "quat", bits: 10 },
        },
        authority: "server",
        read: ["all"],
        write: ["server"],
        rateHz: 60,
        position: "position",
      }],
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:0",
      certificate: { mode: "development" },
    },
  };
  return compileGrants(
    parseManifest(JSON.stringify(manifest), "objects"),
    (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  );
}

/** Plays one motion to one client. */
export function runObjects(
  motion: MotionName,
  loss: number,
  seconds: number,
  seed: number,
): ObjectsRun {
  const grants = objectGrants();
  const world = new World(grants);
  const scene = new Motion(motion, OBJECTS, STEP_HZ, new Prng(seed));
  const stage = new SnapshotStage({
    grants,
    world,
    lag: LAG_TICKS,
    loss,
    prng: new Prng(seed + 1),
  });
  const component = grants.components[0]!;
  const value = createValue(component);
  const candidates = createInterestResult();
  candidates.slots = Int32Array.from({ length: OBJECTS }, (_, i) => i + 1);
  candidates.distanceSquared = new Float64Array(OBJECTS).fill(1);
  candidates.count = OBJECTS;
  const ticks = seconds * TICK_HZ;
  for (let tick = 1; tick <= WARM_TICKS + ticks; tick++) {
    scene.advance(tick / TICK_HZ);
    for (let i = 0; i < OBJECTS; i++) {
      for (const field of component.fields) {
        const isPosition = field.kind === "vec3";
        const from = isPosition ? scene.positions : scene.rotations;
        const at = isPosition ? 3 * i : 4 * i;
        assert(quantiseField(field, from, at, value.lanes, field.laneOffset), "inside the world");
      }
      const id = makeEntityId(i + 1, 0);
      if (tick === 1) {
        world.spawn(id, 0, tick);
        world.addComponent(id, 0, value, tick, tick * SUBTICKS);
      } else world.write(id, 0, component.allFields, value, tick, tick * SUBTICKS);
    }
    if (tick === WARM_TICKS + 1) stage.startCount();
    stage.step(tick, candidates);
    if (loss === 0) {
      for (let i = 0; i < OBJECTS; i++) {
        const id = makeEntityId(i + 1, 0);
        assert(stage.receiver.hash(id) === world.hash(id), "the client has what the server has");
      }
    }
    world.expire(tick);
  }
  return {
    kBps: (stage.bodyBytes + stage.packets * PACKET_BYTES) / seconds / 1000,
    payload: stage.bodyBytes / seconds / 1000,
  };
}

/** Measures and prints. */
export async function runObjectsBench(
  options: Options,
  print: (line: string) => void,
): Promise<void> {
  const seconds = options.integer("seconds");
  const seed = options.integer("seed");
  const figures: Record<string, number | string> = { name: "objects" };
  for (const motion of MOTIONS) {
    for (const loss of [0, 0.05]) {
      const { kBps, payload } = runObjects(motion, loss, seconds, seed);
      const suffix = loss === 0 ? "" : "_loss5";
      figures[`${motion}_kBps${suffix}`] = Number(kBps.toFixed(2));
      figures[`${motion}_payload_kBps${suffix}`] = Number(payload.toFixed(2));
      print(
        `${motion}, ${100 * loss} % lost: ${kBps.toFixed(1)} kB/s, payload ${payload.toFixed(1)}`,
      );
    }
    for (const rival of RIVALS) {
      const scene = new Motion(motion, OBJECTS, STEP_HZ, new Prng(seed));
      const kBps = await rival.measure(scene, TICK_HZ, seconds) / 1000;
      figures[`${motion}_${rival.key}_payload_kBps`] = Number(kBps.toFixed(2));
      print(`${motion}, ${rival.name}: payload ${kBps.toFixed(1)} kB/s, reliable and in order`);
    }
  }
  print(JSON.stringify(figures));
}
