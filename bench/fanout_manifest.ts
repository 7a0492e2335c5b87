// The world of the fan-out benchmark as a manifest: avatars that their peers own and everybody sees, and nothing else.

const PART_POSITION = { type: "vec3", min: -512, max: 512, precision: 0.001 };
const PART_ROTATION = { type: "quat", precision: 0.2 };

/** Poses a second of each avatar, and ticks a second of the server. */
export const AVATAR_HZ = 30;

/** How the manifest's `host` part differs between the two sides. */
export type FanoutHost =
  | { readonly role: "server" }
  /** `connect` is the server's `host:port`. */
  | { readonly role: "client"; readonly connect: string };

/** The `world` part. @param n Clients that the world has room for. */
export function fanoutWorld(n: number): Record<string, unknown> {
  return {
    name: "fan-out",
    tickHz: AVATAR_HZ,
    maxEntities: Math.max(64, 2 * n),
    maxPeers: Math.max(2, n),
    maxEntitiesPerPeer: 1,
    roles: [{ id: 1, name: "player" }],
    defaultRole: "player",
    components: [{
      id: 1,
      name: "Avatar",
      fields: {
        body: PART_POSITION,
        bodyRotation: PART_ROTATION,
        head: PART_POSITION,
        headRotation: PART_ROTATION,
        leftHand: PART_POSITION,
        leftHandRotation: PART_ROTATION,
        rightHand: PART_POSITION,
        rightHandRotation: PART_ROTATION,
      },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      rateHz: 60,
      // Far beyond the largest grid: everyone sees everyone, and interest is computed all the same.
      interestRadius: 500,
      position: "body",
      spawn: { roles: ["player"], maxPerPeer: 1 },
    }],
  };
}

/** The manifest as JSON text. @param n Clients that the world has room for. */
export function fanoutManifest(n: number, host: FanoutHost): string {
  return manifestText(fanoutWorld(n), n, host);
}

/** A manifest with this `world` part, for at most `n` peers. */
export function manifestText(world: unknown, n: number, host: FanoutHost): string {
  const side = host.role === "server"
    ? {
      role: "server",
      listen: "127.0.0.1:0",
      certificate: { mode: "development" },
      limits: { memoryMb: 1024 + 16 * n },
    }
    : { role: "client", connect: [host.connect] };
  return JSON.stringify({ world, host: { engineSocket: "engine.sock", ...side } }, undefined, 2);
}
