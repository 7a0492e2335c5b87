// The avatars benchmark: recorded people, 4 transforms each, to one client: bytes an avatar and tick at baselines 1 and 3 ticks old, time and
// largest error. Tables are trained without the person measured; the product's own table has seen all.

import { createHash } from "node:crypto";
import type { Options, OptionSpec } from "../driver/arguments.ts";
import { CLIP_HZ, FRAME_FLOATS, type MotionClip, readClips } from "../examples/recorded.ts";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { assert } from "../protocol/assert.ts";
import { makeEntityId } from "../protocol/entity_id.ts";
import { Prng } from "../protocol/prng.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { MotionTables } from "../replication/coding/motion_model.ts";
import { GRANT_EPOCH_BITS } from "../replication/section_layout.ts";
import { createInterestResult } from "../replication/interest.ts";
import { dequantiseField, quantiseField } from "../replication/quantise.ts";
import { createValue } from "../replication/value.ts";
import { World } from "../replication/world.ts";
import { ClipScene } from "./clip_scene.ts";
import { fanoutManifest } from "./fanout_manifest.ts";
import { RIVALS } from "./rivals.ts";
import { PACKET_BYTES, SnapshotStage } from "./snapshot_stage.ts";

const TICK_HZ = 30;
/** People of the clips; each is measured with what the others taught. */
const PEOPLE = ["01", "02", "03"] as const;
/** Ticks until history and processor are warm, not counted. */
const WARM_TICKS = 12;
const PLACE_M = 1.5;

/** Options of the command line. */
export const AVATARS_OPTIONS: readonly OptionSpec[] = [
  { name: "n", kind: "integer", value: "N", help: "avatars", preset: 100, min: 1, max: 1_000 },
  {
    name: "ticks",
    kind: "integer",
    value: "N",
    help: "ticks counted",
    preset: 150,
    min: 10,
    max: 300,
  },
  {
    name: "seed",
    kind: "integer",
    value: "S",
    help: "seed of places and starts",
    preset: 1,
    min: 0,
    max: 2 ** 31 - 1,
  },
];

/** How it is run. */
export interface AvatarsOptions {
  readonly n: number;
  readonly ticks: number;
  readonly seed: number;
}

/** One measurement. */
export interface AvatarsRun {
  readonly bytes: number;
  readonly headerBytes: number;
  readonly encodeNs: number;
  readonly decodeNs: number;
  readonly maxErrorMm: number;
  readonly maxErrorDegrees: number;
}

/** The scene's grants: the fan-out's avatar, its rotations to 0.2 degrees on the lattice. */
export function avatarGrants(n: number): Grants {
  const text = fanoutManifest(n, { role: "server" }).replaceAll('"bits": 10', '"precision": 0.2');
  return compileGrants(
    parseManifest(text, "avatars"),
    (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  );
}

/** Tables trained without a person. */
export function tablesWithout(person: string): MotionTables {
  const url = new URL(`./data/motion_without_${person}.json`, import.meta.url);
  return new MotionTables(JSON.parse(Deno.readTextFileSync(url)));
}

/** Plays `clips` as `n` avatars to one client whose baselines are `lag` ticks old. */
export function runAvatars(
  clips: readonly MotionClip[],
  lag: number,
  { n, ticks, seed }: AvatarsOptions,
  tables?: MotionTables,
): AvatarsRun {
  const grants = avatarGrants(n);
  const world = new World(grants);
  const prng = new Prng(seed);
  const stage = new SnapshotStage({
    grants,
    world,
    lag,
    loss: 0,
    prng,
    ...(tables === undefined ? {} : { tables }),
  });
  const component = grants.components[0]!;
  const value = createValue(component);
  const side = Math.ceil(Math.sqrt(n));
  const players = Array.from({ length: n }, (_, i) => ({
    id: makeEntityId(i + 1, 0),
    clip: clips[i % clips.length]!,
    start: prng.nextBelow(
      clips[i % clips.length]!.frameCount - (WARM_TICKS + ticks + 1) * (CLIP_HZ / TICK_HZ),
    ),
    x: (i % side - side / 2) * PLACE_M,
    z: (Math.floor(i / side) - side / 2) * PLACE_M,
  }));
  const candidates = createInterestResult();
  candidates.slots = Int32Array.from(players, (_, i) => i + 1);
  candidates.distanceSquared = new Float64Array(n).fill(1);
  candidates.count = n;
  const source = new Float32Array(n * FRAME_FLOATS);
  const numbers = new Float64Array(4);
  let maxErrorMm = 0;
  let maxErrorDegrees = 0;
  for (let tick = 1; tick <= WARM_TICKS + ticks; tick++) {
    players.forEach(({ id, clip, start, x, z }, k) => {
      const at = (start + tick * (CLIP_HZ / TICK_HZ)) * FRAME_FLOATS;
      const to = k * FRAME_FLOATS;
      for (let i = 0; i < FRAME_FLOATS; i++) {
        const axis = i % 7;
        const shift = axis === 0 ? x - clip.floats[0]! : axis === 2 ? z - clip.floats[2]! : 0;
        source[to + i] = clip.floats[at + i]! + shift;
      }
      for (const field of component.fields) {
        const from = to + (field.index >> 1) * 7 + (field.index & 1) * 3;
        assert(quantiseField(field, source, from, value.lanes, field.laneOffset), "a clip's pose");
      }
      if (tick === 1) {
        world.spawn(id, 0, tick);
        world.addComponent(id, 0, value, tick, tick * SUBTICKS);
      } else world.write(id, 0, component.allFields, value, tick, tick * SUBTICKS);
    });
    if (tick === WARM_TICKS + 1) stage.startCount();
    stage.step(tick, candidates);
    if (tick <= WARM_TICKS) continue;
    players.forEach(({ id }, k) => {
      assert(stage.receiver.hash(id) === world.hash(id), "the client has every pose of every tick");
      stage.receiver.read(id, 0, value);
      for (const field of component.fields) {
        const from = k * FRAME_FLOATS + (field.index >> 1) * 7 + (field.index & 1) * 3;
        dequantiseField(field, value.lanes, field.laneOffset, numbers, 0);
        if (field.kind === "vec3") {
          const d = Math.hypot(...[0, 1, 2].map((i) => numbers[i]! - source[from + i]!));
          maxErrorMm = Math.max(maxErrorMm, d * 1000);
        } else {
          maxErrorDegrees = Math.max(maxErrorDegrees, degreesBetween(numbers, source, from));
        }
      }
    });
    world.expire(tick);
  }
  const avatars = n * ticks;
  return {
    bytes: (stage.bodyBits - stage.packets * GRANT_EPOCH_BITS) / 8 / avatars,
    headerBytes: stage.packets * PACKET_BYTES / avatars,
    encodeNs: stage.encodeMs * 1e6 / avatars,
    decodeNs: stage.decodeMs * 1e6 / avatars,
    maxErrorMm,
    maxErrorDegrees,
  };
}

/** Angle of the rotation between two unit quaternions, by their difference: an arc cosine is blind to small ones. */
function degreesBetween(a: ArrayLike<number>, b: ArrayLike<number>, at: number): number {
  const size = Math.hypot(b[at]!, b[at + 1]!, b[at + 2]!, b[at + 3]!);
  let less = 0;
  let more = 0;
  for (let i = 0; i < 4; i++) {
    less += (a[i]! - b[at + i]! / size) ** 2;
    more += (a[i]! + b[at + i]! / size) ** 2;
  }
  return 4 * Math.asin(Math.sqrt(Math.min(less, more)) / 2) * 180 / Math.PI;
}

/** Measures and prints. */
export async function runAvatarsBench(
  options: Options,
  print: (line: string) => void,
): Promise<void> {
  const how: AvatarsOptions = {
    n: options.integer("n")!,
    ticks: options.integer("ticks")!,
    seed: options.integer("seed")!,
  };
  const clips = readClips();
  const mean = (lag: number) => {
    const runs = PEOPLE.map((person) => {
      const own = clips.filter(({ name }) => name.startsWith(person));
      const run = runAvatars(own, lag, how, tablesWithout(person));
      print(`lag ${lag}, person ${person} not in the tables: ${run.bytes.toFixed(2)} B an avatar`);
      return run;
    });
    return runs;
  };
  const near = mean(1);
  const far = mean(3);
  const warm = runAvatars(clips, 1, how);
  print(`lag 1, everyone with the shipped tables: ${warm.bytes.toFixed(2)} B an avatar`);
  const rivals: Record<string, number> = {};
  for (const rival of RIVALS) {
    const scene = new ClipScene(clips, how.n, new Prng(how.seed));
    const bytes = await rival.measure(scene, TICK_HZ, how.ticks / TICK_HZ) / TICK_HZ / how.n;
    rivals[`${rival.key}_bytes`] = round(bytes);
    print(`${rival.name}: ${bytes.toFixed(1)} B an avatar, reliable and in order`);
  }
  const average = (runs: readonly AvatarsRun[], of: (run: AvatarsRun) => number) =>
    runs.reduce((sum, run) => sum + of(run), 0) / runs.length;
  const all = [...near, ...far, warm];
  print(JSON.stringify({
    name: "avatars",
    header_bytes: round(average(near, (run) => run.headerBytes)),
    bytes_lag1: round(average(near, (run) => run.bytes)),
    bytes_lag3: round(average(far, (run) => run.bytes)),
    encode_ns: Math.round(warm.encodeNs),
    decode_ns: Math.round(warm.decodeNs),
    max_error_mm: round(Math.max(...all.map((run) => run.maxErrorMm))),
    max_error_deg: round(Math.max(...all.map((run) => run.maxErrorDegrees))),
    ...rivals,
  }));
}

function round(value: number): number {
  return Number(value.toFixed(3));
}
