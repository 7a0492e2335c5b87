// What others send for the same scene: @colyseus/schema's encoder with float32 fields. Payload alone: it
// needs a reliable, ordered stream below, whose headers and repeats are not counted here.

import { Encoder, type MapSchema, type Schema, schema, t } from "@colyseus/schema";
import type { Motion } from "./object_motions.ts";

/** One rival. */
export interface Rival {
  readonly name: string;
  /** In the line of JSON. */
  readonly key: string;
  /** Bytes a second for the scene. */
  measure(scene: Motion, tickHz: number, seconds: number): Promise<number>;
}

const NAMES = ["x", "y", "z", "qx", "qy", "qz", "qw"] as const;

function numbers(scene: Motion, i: number): number[] {
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
];
