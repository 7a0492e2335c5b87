// The world of the driver's tests: one component, event and channel of every sort that a driver treats in its own way, small enough for
// many seeds.

import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { sha256 } from "./pair.ts";

const POINT = { type: "vec3", min: -512, max: 512, precision: 0.001 };

const WORLD = {
  name: "driver tests",
  tickHz: 30,
  maxEntities: 512,
  maxPeers: 16,
  maxEntitiesPerPeer: 8,
  resumeMs: 8_000,
  roles: [{ id: 1, name: "player" }, { id: 2, name: "spectator" }],
  defaultRole: "player",
  components: [
    {
      id: 1,
      name: "Avatar",
      fields: {
        body: POINT,
        turn: { type: "quat", bits: 10 },
        hand: POINT,
      },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      rateHz: 60,
      interestRadius: 40,
      position: "body",
      spawn: { roles: ["player"], maxPerPeer: 4 },
    },
    {
      id: 2,
      name: "Name",
      fields: { text: { type: "string", maxBytes: 32 } },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      rateHz: 5,
      spawn: { roles: ["player"], maxPerPeer: 4 },
    },
    {
      id: 3,
      name: "Prop",
      fields: { at: POINT, heldBy: { type: "entity" } },
      authority: "server",
      read: ["all"],
      interestRadius: 40,
      position: "at",
    },
    {
      id: 4,
      name: "Score",
      fields: {
        points: { type: "u32" },
        mine: { type: "u32", read: ["owner"] },
        secret: { type: "string", maxBytes: 64, read: [] },
      },
      authority: "server",
      read: ["all"],
    },
    {
      id: 5,
      name: "Hint",
      fields: { text: { type: "string", maxBytes: 64 } },
      authority: "server",
      read: ["player"],
    },
    {
      id: 6,
      name: "Blob",
      fields: { data: { type: "bytes", maxBytes: 65_536 } },
      authority: "server",
      read: ["all"],
    },
    {
      id: 7,
      name: "Upload",
      fields: { data: { type: "bytes", maxBytes: 65_536 } },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      spawn: { roles: ["player"], maxPerPeer: 2 },
    },
    {
      id: 8,
      name: "Badge",
      fields: { level: { type: "u8", max: 9 }, by: { type: "entity" } },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      rateHz: 30,
      spawn: { roles: ["player"], maxPerPeer: 8 },
    },
  ],
  events: [
    {
      id: 1,
      name: "Wave",
      fields: { who: { type: "entity" }, count: { type: "u16" } },
      send: ["player"],
      receive: ["all"],
      rateHz: 20,
      late: "deliver",
      waitMs: 400,
    },
    {
      id: 2,
      name: "Boom",
      fields: { what: { type: "entity" }, count: { type: "u16" } },
      send: ["server"],
      receive: ["player", "spectator"],
      rateHz: 20,
      late: "drop",
      waitMs: 400,
    },
    {
      id: 3,
      name: "Ask",
      fields: { text: { type: "string", maxBytes: 200 } },
      send: ["player"],
      receive: ["server"],
      rateHz: 5,
    },
  ],
  channels: [
    {
      id: 1,
      name: "chat",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 4_096,
      rateHz: 20,
    },
    {
      id: 2,
      name: "telemetry",
      mode: "unreliable",
      send: ["player"],
      receive: ["server"],
      maxBytes: 512,
      rateHz: 20,
    },
    {
      id: 3,
      name: "beacon",
      mode: "unreliable",
      send: ["server"],
      receive: ["player", "spectator"],
      maxBytes: 512,
      rateHz: 20,
    },
    {
      id: 4,
      name: "script/*",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 4_096,
      maxOpen: 3,
    },
    {
      id: 5,
      name: "files",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 16_777_216,
      rateHz: 4,
    },
    {
      id: 6,
      name: "backstage",
      mode: "reliable",
      send: ["player", "server"],
      receive: ["player", "server"],
      maxBytes: 1_024,
    },
  ],
  voice: {
    speak: ["player"],
    hear: ["all"],
    range: 25,
    maxFrameBytes: 200,
    rateHz: 50,
  },
};

const HOST = {
  role: "server",
  engineSocket: "server.sock",
  listen: "127.0.0.1:4433",
  certificate: { mode: "development" },
  limits: { peerBytesPerSecond: 256_000 },
};

/** Grants of the test world, through the manifest's own parser, with keys of `world` and `host` replaced. */
export function driverGrants(
  world: Record<string, unknown> = {},
  host: Record<string, unknown> = {},
): Grants {
  const document = { world: { ...WORLD, ...world }, host: { ...HOST, ...host } };
  const text = JSON.stringify(document);
  return compileGrants(parseManifest(text, "driver_world.jsonc"), sha256);
}

/** The components of the test world, to be changed and given to `driverGrants`. */
export function driverComponents(): (Record<string, unknown> & { name: string })[] {
  return structuredClone(WORLD.components);
}

/** An avatar at a place on the ground. */
export function avatarAt(x: number, z = 0, hand = 0): { Avatar: ComponentValues } {
  return { Avatar: poseAt(x, z, hand) };
}

/** The value of an avatar at a place on the ground. */
export function poseAt(x: number, z = 0, hand = 0): ComponentValues {
  return { body: [x, 1, z], turn: [0, 0, 0, 1], hand: [x + hand, 1.5, z] };
}
