// The world of the authority fuzz: a component of each sort of authority, and values of which no two are alike, so that whoever sees one
// knows which write it was.

import { compileGrants } from "../../permissions/compile.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import type { Prng } from "../../protocol/prng.ts";
import type { ComponentValues, FieldValue } from "../../engine/values.ts";
import { sha256 } from "../support/pair.ts";

/** Ticks a second. */
export const TICK_HZ = 30;
/** Metres within which `Pose` is seen. */
const RADIUS = 40;
/** Half the side of the square in which everyone sees everyone, metres. */
const NEAR = 12;
/** Half the side of the square in which entities leave one another's view, metres. */
const FAR = 60;

const WORLD = {
  name: "authority fuzz",
  tickHz: TICK_HZ,
  maxEntities: 64,
  maxPeers: 8,
  maxEntitiesPerPeer: 8,
  resumeMs: 8_000,
  roles: [{ id: 1, name: "player" }, { id: 2, name: "guest" }],
  defaultRole: "player",
  components: [
    {
      id: 1,
      name: "Pose",
      fields: {
        at: { type: "vec3", min: -512, max: 512, precision: 0.001 },
        n: { type: "u32" },
      },
      authority: "owner",
      read: ["all"],
      write: ["player", "guest"],
      rateHz: 30,
      interestRadius: RADIUS,
      position: "at",
      spawn: { roles: ["player", "guest"], maxPerPeer: 8 },
    },
    {
      id: 2,
      name: "Tag",
      fields: { n: { type: "u32" }, text: { type: "string", maxBytes: 16 } },
      authority: "owner",
      read: ["all"],
      write: ["player"],
      rateHz: 20,
      spawn: { roles: ["player"], maxPerPeer: 8 },
    },
    {
      id: 3,
      name: "Gear",
      fields: { n: { type: "u32" }, m: { type: "u32" } },
      authority: "owner",
      read: ["player", "owner"],
      write: ["player"],
      rateHz: 30,
      spawn: { roles: ["player"], maxPerPeer: 8 },
    },
    {
      id: 4,
      name: "Score",
      fields: { n: { type: "u32" }, mine: { type: "u32", read: ["owner"] } },
      authority: "server",
      read: ["all"],
    },
  ],
  events: [],
  channels: [],
};

const HOST = {
  role: "server",
  engineSocket: "server.sock",
  listen: "127.0.0.1:4433",
  certificate: { mode: "development" },
  limits: { peerBytesPerSecond: 256_000 },
};

/** Names of the roles that peers get. */
export const AUTHORITY_ROLES = ["player", "guest"] as const;

/** The tables of that world. */
export function authorityGrants(): Grants {
  const text = JSON.stringify({ world: WORLD, host: HOST });
  return compileGrants(parseManifest(text, "authority_world.jsonc"), sha256);
}

/** A value as the judge names it: the same for what was written and for what came out of columns. */
export function keyOf(value: FieldValue): string {
  return typeof value === "object" && !(value instanceof Uint8Array)
    ? value.map((one) => Math.round(one * 1000)).join(" ")
    : String(value);
}

/** Makes values that never came before. */
export class FreshStamps {
  readonly #prng: Prng;
  readonly #places = new Set<string>();
  #last = 0;
  /** Everything is set where all see it. */
  isNear = false;

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  /** Fresh values of the named fields of a component, of all where none are named. */
  values({ fields }: ComponentGrant, names?: readonly string[]): ComponentValues {
    const values: Record<string, FieldValue> = {};
    for (const { name, kind } of fields) {
      if (names?.includes(name) === false) continue;
      this.#last += 1;
      values[name] = kind === "vec3"
        ? this.#place()
        : kind === "string"
        ? `t${this.#last}`
        : this.#last;
    }
    return values;
  }

  #place(): readonly number[] {
    for (;;) {
      const side = this.isNear || this.#prng.chance(0.7) ? NEAR : FAR;
      const one = () => (this.#prng.nextBelow(2_000 * side) - 1_000 * side) / 1_000;
      const place = [one(), 1, one()];
      const key = keyOf(place);
      if (this.#places.has(key)) continue;
      this.#places.add(key);
      return place;
    }
  }
}

/** Whether an entity at that place is seen from everywhere. */
export function isNear(place: readonly number[]): boolean {
  return Math.abs(place[0]!) <= NEAR && Math.abs(place[2]!) <= NEAR;
}
