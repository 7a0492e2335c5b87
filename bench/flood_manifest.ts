// The world of the flood benchmark: the fan-out's avatars, and one of everything else that a peer can send at a declared rate.

import { type FanoutHost, fanoutWorld, manifestText } from "./fanout_manifest.ts";

/** Events a second that a player may send. */
export const EVENT_HZ = 10;
/** Messages a second that a player may send. */
export const MESSAGE_HZ = 20;
/** Declared id of the unreliable channel. */
export const MESSAGE_CHANNEL = 1;
/** Values a second of the component that only the ninth peer spawns. */
export const BADGE_HZ = 15;

/** The manifest as JSON text. @param n Peers that the world has room for. */
export function floodManifest(n: number, host: FanoutHost): string {
  const avatars = fanoutWorld(n);
  const badge = {
    id: 2,
    name: "Badge",
    fields: { level: { type: "u16" } },
    authority: "owner",
    read: ["all"],
    write: ["player"],
    rateHz: BADGE_HZ,
    spawn: { roles: ["player"], maxPerPeer: 1 },
  };
  const world = {
    ...avatars,
    name: "flood",
    // Attackers leave nothing behind that anybody needs; their places need not be kept.
    resumeMs: 0,
    components: [...avatars.components as unknown[], badge],
    events: [{
      id: 1,
      name: "Wave",
      fields: { kind: { type: "u8" } },
      send: ["player"],
      receive: ["all"],
      rateHz: EVENT_HZ,
    }],
    channels: [{
      id: MESSAGE_CHANNEL,
      name: "telemetry",
      mode: "unreliable",
      send: ["player"],
      receive: ["server"],
      maxBytes: 256,
      rateHz: MESSAGE_HZ,
    }],
  };
  return manifestText(world, n, host);
}
