// The world of the join benchmark: entities with one Transform each, most of which rest. Those that move carry in their place the moment at
// which the engine handed it over, so that any process of the machine can tell how old a value is.

import { createHash } from "node:crypto";
import { type FanoutHost, manifestText } from "./fanout_manifest.ts";

/** Ticks a second, and changes of each moving entity. */
export const JOIN_HZ = 20;
/** Share of the entities that moves. */
export const MOVING_SHARE = 0.1;
/** Moving entities fly above this height, metres, and resting ones lie below it. */
export const FLIGHT_M = 50;
/** Metres that stand for a second. */
const METRES_PER_S = 1;
/** Time after which the carried moments begin again, ms. */
const CYCLE_MS = 2_000_000;

/** The manifest as JSON text. @param clients Peers that the world has room for. */
export function joinManifest(entities: number, clients: number, host: FanoutHost): string {
  const world = {
    name: "join",
    tickHz: JOIN_HZ,
    maxEntities: entities + 64,
    maxPeers: clients,
    maxEntitiesPerPeer: 1,
    // Who leaves frees its place at once.
    resumeMs: 0,
    roles: [{ id: 1, name: "visitor" }],
    defaultRole: "visitor",
    components: [{
      id: 1,
      name: "Transform",
      authority: "server",
      fields: {
        position: { type: "vec3", min: -2_048, max: 2_048, precision: 0.001 },
        rotation: { type: "quat", bits: 10 },
      },
      read: ["all"],
      rateHz: 60,
    }],
  };
  return manifestText(world, clients, host);
}

/** The time of this machine's wall clock, ms with fractions: the same in all processes. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

/** The place of the `i`-th moving entity, handed over at `nowMs`. */
export function flight(i: number, nowMs: number): [x: number, y: number, z: number] {
  const along = (nowMs % CYCLE_MS) / 1000 * METRES_PER_S;
  return [along, FLIGHT_M + 10 + Math.sin(along + i), i];
}

/** How long ago a moving entity at `x` was handed over, ms. */
export function flightAgeMs(x: number, nowMs: number): number {
  const age = nowMs % CYCLE_MS - x * 1000 / METRES_PER_S;
  return age < -CYCLE_MS / 2 ? age + CYCLE_MS : age;
}

/** One number for the state of many entities, whatever their names and order: hashes of each, sorted, then hashed. */
export function digestOf(hashes: readonly number[]): string {
  const sorted = Uint32Array.from(hashes).sort();
  return createHash("sha256").update(new Uint8Array(sorted.buffer)).digest("hex");
}
