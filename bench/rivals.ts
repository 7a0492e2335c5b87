// What others send for the same scene: @colyseus/schema's encoder with float32 fields, and MessagePack of whole numbers. Payload alone:
// they need a reliable, ordered stream below, whose headers and repeats are not counted here.

import { Encoder, type MapSchema, type Schema, schema, t } from "@colyseus/schema";
import { encode } from "@std/msgpack";

/** Things that move. */
export interface Scene {
  readonly count: number;
  /** x, y, z of each thing, metres. */
  readonly positions: Float64Array;
  /** Unit quaternions x, y, z, w of each. */
  readonly rotations: Float64Array;
  /** Moves everything to a time, s; no time comes before the last. */
  advance(seconds: number): void;
}

/** One rival. */
export interface Rival {
  readonly name: string;
  /** In the line of JSON. */
  readonly key: string;
  /** Bytes a second for the scene. */
  measure(scene: Scene, tickHz: number, seconds: number): Promise<number>;
}

/** Steps of a metre, and of a quaternion's component, in whole numbers: 1 mm and about 0.2 degrees. */
const METRE_STEPS = 1000;
const TURN_STEPS = 512;

const NAMES = ["x", "y", "z", "qx", "qy", "qz", "qw"] as const;

function numbers(scene: Scene, i: number): number[] {
  return [
    ...scene.positions.subarray(3 * i, 3 * i + 3),
    ...scene.rotations.subarray(4 * i, 4 * i + 4),
  ];
}

Encoder.BUFFER_SIZE = 1 << 20;

const Thing = schema({
  x: t.float32(),
  y: t.float32(),
  z: t.float32(),
  qx: t.float32(),
  qy: t.float32(),
  qz: t.float32(),
  qw: t.float32(),
});
const Room = schema({ things: t.map(Thing) });

/** What runs from npm. */
export const RIVALS: readonly Rival[] = [
  {
    name: "@colyseus/schema float32",
    key: "colyseus",
    measure(scene, tickHz, seconds) {
      const state = new Room() as unknown as Schema & { things: MapSchema<Record<string, number>> };
      const things = Array.from({ length: scene.count }, (_, i) => {
        const thing = new Thing() as unknown as Record<string, number>;
        numbers(scene, i).forEach((v, k) => thing[NAMES[k]!] = v);
        state.things.set(String(i), thing);
        return thing;
      });
      const encoder = new Encoder(state);
      encoder.encodeAll();
      encoder.discardChanges();
      let bytes = 0;
      const last = things.map(() => new Float32Array(7).fill(NaN));
      for (let tick = 1; tick <= seconds * tickHz; tick++) {
        scene.advance(tick / tickHz);
        things.forEach((thing, i) => {
          numbers(scene, i).forEach((v, k) => {
            const f = Math.fround(v);
            if (last[i]![k] === f) return;
            last[i]![k] = f;
            thing[NAMES[k]!] = f;
          });
        });
        bytes += encoder.encode({ offset: 0 }).length;
        encoder.discardChanges();
      }
      return Promise.resolve(bytes / seconds);
    },
  },
  {
    // Any encoder of MessagePack sends these bytes: the format has one shortest form of a whole number.
    name: "MessagePack of what changed, whole numbers",
    key: "msgpack",
    measure(scene, tickHz, seconds) {
      let bytes = 0;
      const last = new Int32Array(7 * scene.count).fill(0x7fff_ffff);
      for (let tick = 1; tick <= seconds * tickHz; tick++) {
        scene.advance(tick / tickHz);
        const changed: number[] = [];
        for (let i = 0; i < scene.count; i++) {
          const now = numbers(scene, i).map((v, k) =>
            Math.round(v * (k < 3 ? METRE_STEPS : TURN_STEPS))
          );
          let mask = 0;
          now.forEach((v, k) => mask |= last[7 * i + k] === v ? 0 : 1 << k);
          if (mask === 0) continue;
          last.set(now, 7 * i);
          changed.push(i, mask, ...now.filter((_, k) => (mask & (1 << k)) !== 0));
        }
        bytes += encode(changed).length;
      }
      return Promise.resolve(bytes / seconds);
    },
  },
];
