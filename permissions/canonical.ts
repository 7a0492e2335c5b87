// The one text form of a world that all implementations agree on, and its hash. Two manifests with the same meaning, written in another
// order or with defaults left out, have the same form. It knows no hash function: the caller gives one.

import { SERVER } from "./role_list.ts";
import type {
  ChannelDeclaration,
  ComponentDeclaration,
  FieldDeclaration,
  World,
} from "./manifest.ts";

/** A value of JSON. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json | undefined;
};

/**
 * JSON Canonicalization Scheme, RFC 8785: no white space, keys sorted by UTF-16 code units, numbers and texts as ECMAScript writes them.
 * Keys whose value is `undefined` are left out. The values must be I-JSON (RFC 7493): finite numbers, well-formed Unicode.
 */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one)).join(",")}]`;
  const record = value as { readonly [key: string]: Json | undefined };
  const parts: string[] = [];
  for (const key of Object.keys(record).sort()) {
    const item = record[key];
    if (item !== undefined) parts.push(`${JSON.stringify(key)}:${canonicalJson(item)}`);
  }
  return `{${parts.join(",")}}`;
}

/**
 * The world with everything implied written out, ready for {@linkcode canonicalJson}.
 *
 * Defaults are filled in; roles, components, events, channels and zones are sorted by id; `fields` is a list of objects with a `name`, in
 * declared order; lists of roles and retired ids are sorted, lists of readers and writers without `server`, which always may.
 */
export function canonicalWorld(world: World): Json {
  return {
    name: world.name,
    tickHz: world.tickHz,
    historyMs: world.historyMs,
    maxEntities: world.maxEntities,
    maxPeers: world.maxPeers,
    maxEntitiesPerPeer: world.maxEntitiesPerPeer,
    resumeMs: world.resumeMs,
    // Left out where empty, as a world without inheritance was written before there was any.
    roles: byId(world.roles).map(({ id, name, inherits }) => ({
      id,
      name,
      inherits: inherits.length === 0 ? undefined : sorted(inherits),
    })),
    defaultRole: world.defaultRole,
    // Left out where anybody may join and no token is taken, as a world was written before there were tokens.
    identity: world.identity.anonymous && world.identity.issuers.length === 0
      ? undefined
      : { anonymous: world.identity.anonymous, issuers: sorted(world.identity.issuers) },
    components: byId(world.components).map((one) => canonicalComponent(one, world.tickHz)),
    events: byId(world.events).map((event) => ({
      ...event,
      fields: canonicalFields(event.fields),
      send: sorted(event.send),
      receive: sorted(event.receive),
    })),
    channels: byId(world.channels).map((channel) => ({
      ...channel,
      send: sorted(channel.send),
      receive: sorted(channel.receive),
      maxOpen: maxOpenOf(channel),
    })),
    // Left out where there are none, as a world was written before there were zones.
    zones: world.zones.length === 0
      ? undefined
      : byId(world.zones).map((zone) => ({ ...zone, seenBy: sorted(zone.seenBy) })),
    voice: world.voice === undefined
      ? null
      : { ...world.voice, speak: sorted(world.voice.speak), hear: sorted(world.voice.hear) },
    retired: {
      components: sortedIds(world.retired.components),
      events: sortedIds(world.retired.events),
      channels: sortedIds(world.retired.channels),
      roles: sortedIds(world.retired.roles),
    },
  };
}

/** SHA-256 of the canonical world in UTF-8, lower-case hexadecimal: what peers compare before they speak. */
export function schemaHash(world: World, sha256: (bytes: Uint8Array) => Uint8Array): string {
  const text = canonicalJson(canonicalWorld(world));
  const digest = sha256(new TextEncoder().encode(text));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Values a second of a component, its default filled in. */
export function rateOf(component: ComponentDeclaration, tickHz: number): number {
  return component.rateHz ?? tickHz;
}

/** Open channels of one peer: of a namespace as declared or 8, otherwise 1. */
export function maxOpenOf(channel: ChannelDeclaration): number {
  return channel.name.endsWith("/*") ? channel.maxOpen ?? 8 : 1;
}

function canonicalComponent(component: ComponentDeclaration, tickHz: number): Json {
  return {
    id: component.id,
    name: component.name,
    fields: canonicalFields(component.fields),
    authority: component.authority,
    read: withoutServer(component.read),
    write: withoutServer(component.write),
    rateHz: rateOf(component, tickHz),
    interestRadius: component.interestRadius,
    // Left out where it is 1, as a component was written before there were weights.
    weight: component.weight === 1 ? undefined : component.weight,
    position: component.position ?? null,
    spawn: component.spawn === undefined
      ? null
      : { roles: sorted(component.spawn.roles), maxPerPeer: component.spawn.maxPerPeer },
    grantable: canonicalGrantable(component),
    // Left out where nothing is checked, as a component was written before there were checks.
    checks: Object.keys(component.checks).length === 0 ? undefined : Object.fromEntries(
      Object.entries(component.checks).map((
        [name, check],
      ) => [name, { ...check, exempt: sorted(check.exempt) }]),
    ),
  };
}

/** Left out where nothing can be granted, as a component was written before anything could. */
function canonicalGrantable(component: ComponentDeclaration): Json | undefined {
  const list = (fields: true | readonly string[] | undefined) =>
    fields === undefined || fields === true ? fields : sorted(fields);
  const read = list(component.grantable?.read);
  const write = list(component.grantable?.write);
  return read === undefined && write === undefined ? undefined : { read, write };
}

function canonicalFields(fields: Readonly<Record<string, FieldDeclaration>>): Json {
  return Object.entries(fields).map(([name, field]) => ({
    ...field,
    // A quat's `precision` takes the place of `bits`, whose default then means nothing.
    ...(field.type === "quat" && field.precision !== undefined ? { bits: undefined } : {}),
    name,
    read: field.read === undefined ? undefined : withoutServer(field.read),
    write: field.write === undefined ? undefined : withoutServer(field.write),
  }));
}

function byId<T extends { readonly id: number }>(list: readonly T[]): T[] {
  return [...list].sort((a, b) => a.id - b.id);
}

function sorted(list: readonly string[]): string[] {
  return [...list].sort();
}

function sortedIds(list: readonly number[]): number[] {
  return [...list].sort((a, b) => a - b);
}

function withoutServer(list: readonly string[]): string[] {
  return sorted(list.filter((one) => one !== SERVER));
}
