// Random manifests: roles that inherit, components of every field type, lists that narrow, and hosts that take away. Each is a legal
// document of its own; what it means is worked out elsewhere, twice.

import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import type { Prng } from "../../protocol/prng.ts";
import { sha256 } from "../support/pair.ts";
import type { DeclaredComponent, DeclaredDeny, DeclaredField, DeclaredWorld } from "./rights.ts";

/** Every field type. */
export const FIELD_KINDS = [
  "bool",
  "u8",
  "u16",
  "u32",
  "i32",
  "f32",
  "vec3",
  "quat",
  "string",
  "bytes",
  "enum",
  "entity",
] as const;

/** Roles of every random world; which inherits from which is drawn. */
export const ROLES = ["guest", "player", "staff", "owner2", "auditor"] as const;

/** A random world and what the server's host takes away. */
export interface FuzzWorld {
  readonly world: DeclaredWorld;
  readonly deny: DeclaredDeny;
}

function some<T>(prng: Prng, list: readonly T[], rate: number): T[] {
  return list.filter(() => prng.chance(rate));
}

function fieldOf(prng: Prng, kind: string): Record<string, unknown> {
  switch (kind) {
    case "f32":
      return { type: kind, min: -100, max: 100, precision: 0.001 };
    case "vec3":
      return { type: kind, min: -512, max: 512, precision: 0.01 };
    case "quat":
      return { type: kind, bits: 8 + prng.nextBelow(5) };
    case "string":
    case "bytes":
      return { type: kind, maxBytes: prng.chance(0.2) ? 4_000 : 16 + prng.nextBelow(80) };
    case "enum":
      return { type: kind, values: ["idle", "walk", "run", "jump", "sit"] };
    case "u8":
      return prng.chance(0.5) ? { type: kind } : { type: kind, min: 3, max: 90 };
    default:
      return { type: kind };
  }
}

/** Names that a field's list may hold where its component's list is `whole`. */
function narrowed(prng: Prng, whole: readonly string[], extra: readonly string[]): string[] {
  const pool = whole.includes("all") ? [...ROLES, ...extra] : whole;
  return some(prng, pool, 0.35);
}

function componentOf(
  prng: Prng,
  id: number,
  kinds: readonly string[],
  grantable: boolean,
): DeclaredComponent {
  const authority = prng.chance(0.5) ? "owner" : "server";
  const read = prng.chance(0.3) ? ["all"] : some(prng, [...ROLES, "owner"], 0.4);
  const writers = prng.chance(0.3) ? ["all"] : some(prng, ROLES, 0.5);
  const write = authority === "server" ? [] : writers.length === 0 ? ["player"] : writers;
  const fields: Record<string, DeclaredField> = {};
  for (const [i, kind] of kinds.entries()) {
    fields[`f${i}_${kind}`] = {
      ...fieldOf(prng, kind),
      ...(prng.chance(0.5) ? { read: narrowed(prng, read, ["owner"]) } : {}),
      ...(authority === "owner" && prng.chance(0.4) ? { write: narrowed(prng, write, []) } : {}),
    } as unknown as DeclaredField;
  }
  const spawners = write.includes("all") ? some(prng, ROLES, 0.6) : some(prng, write, 0.8);
  const names = Object.keys(fields);
  return {
    id,
    name: `C${id}`,
    fields,
    authority,
    read,
    write,
    rateHz: prng.chance(0.5) ? 120 : 30,
    ...(prng.chance(0.3) ? { interestRadius: 60 } : {}),
    ...(spawners.length > 0 ? { spawn: { roles: spawners, maxPerPeer: 6 } } : {}),
    ...grantableOf(prng, names, authority === "owner", grantable ? 0.7 : 0),
  } as DeclaredComponent;
}

/** What may be granted to single peers while running; with a rate of 0 nothing is. */
function grantableOf(
  prng: Prng,
  names: readonly string[],
  isOwners: boolean,
  rate: number,
): Record<string, unknown> {
  if (!prng.chance(rate)) return {};
  const list = () => prng.chance(0.3) ? true : [names[0]!, ...some(prng, names.slice(1), 0.6)];
  return { grantable: { read: list(), ...(isOwners ? { write: list() } : {}) } };
}

/** A random world. With `grantable`, some fields may be granted to single peers while running. */
export function randomWorld(prng: Prng, grantable: boolean): FuzzWorld {
  const order = [...ROLES];
  const roles = order.map((name, i) => ({
    id: i + 1,
    name,
    inherits: some(prng, order.slice(0, i), 0.3),
  }));
  // Everyone has a body that all may see, so that there is somebody to look from, and entities to refer to.
  const body = {
    id: 1,
    name: "Body",
    fields: {
      at: { type: "vec3", min: -512, max: 512, precision: 0.01 },
      near: { type: "entity" },
      tag: { type: "string", maxBytes: 40, read: ["staff"] },
    },
    authority: "owner",
    read: ["all"],
    write: ["all"],
    rateHz: 60,
    interestRadius: 80,
    position: "at",
    spawn: { roles: ["all"], maxPerPeer: 6 },
  } as unknown as DeclaredComponent;
  const kinds = [...FIELD_KINDS] as string[];
  const components = [body];
  for (let id = 2; kinds.length > 0 || id < 6; id++) {
    const wanted: string[] = [];
    for (let i = 1 + prng.nextBelow(5); i > 0; i--) {
      // Every type comes at least once.
      wanted.push(
        kinds.length > 0
          ? kinds.splice(prng.nextBelow(kinds.length), 1)[0]!
          : FIELD_KINDS[prng.nextBelow(FIELD_KINDS.length)]!,
      );
    }
    components.push(componentOf(prng, id, wanted, grantable));
  }
  const deny: Record<string, { send?: true | string[]; receive?: true | string[] }> = {};
  for (const { name, fields } of components.slice(1)) {
    if (!prng.chance(0.3)) continue;
    const names = some(prng, Object.keys(fields), 0.4);
    if (names.length === 0) continue;
    if (prng.chance(0.6)) deny[name] = { send: names };
    else deny[name] = { receive: names };
  }
  const events = [1, 2, 3].map((id) => {
    const send = prng.chance(0.3) ? ["server"] : ["server", ...some(prng, ROLES, 0.5)];
    const receive = some(prng, [...ROLES, "server"], 0.5);
    return {
      id,
      name: `E${id}`,
      fields: { text: { type: "string", maxBytes: 60 }, who: { type: "entity" } },
      send,
      receive: receive.length === 0 ? ["staff"] : receive,
      rateHz: 100,
    };
  });
  const world = {
    name: "fuzz",
    tickHz: 30,
    historyMs: 1_000,
    maxEntities: 256,
    maxPeers: 12,
    maxEntitiesPerPeer: 10,
    resumeMs: 5_000,
    roles,
    defaultRole: "guest",
    components,
    events,
  } as unknown as DeclaredWorld;
  return { world, deny };
}

/** The grants of one host of a world, through the product's own parser and compiler. */
export function grantsOf(
  { world }: FuzzWorld,
  deny: DeclaredDeny,
  limits: Record<string, unknown> = { peerBytesPerSecond: 256_000 },
): Grants {
  const host = {
    role: "server",
    engineSocket: "server.sock",
    listen: "127.0.0.1:4433",
    certificate: { mode: "development" },
    limits,
    deny: { components: deny },
  };
  return compileGrants(parseManifest(JSON.stringify({ world, host }), "fuzz.jsonc"), sha256);
}
