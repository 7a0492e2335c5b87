// From the manifest to the tables that every door decides from: dense indices, masks, layouts, limits. It decides nothing itself, and
// leaves nothing of the manifest's grammar to interpret.

import { maxOpenOf, rateOf, schemaHash } from "./canonical.ts";
import type {
  ChannelGrant,
  ComponentGrant,
  EventGrant,
  FieldCheck,
  Grants,
  RoleGrant,
  VoiceGrant,
  ZoneGrant,
} from "./grants.ts";
import { layoutFields } from "./layout.ts";
import type {
  ChannelDeclaration,
  ComponentDeclaration,
  EventDeclaration,
  Host,
  Manifest,
  World,
  ZoneDeclaration,
} from "./manifest.ts";
import {
  ALL,
  type Lineages,
  lineagesOf,
  namesOwner,
  namesRole,
  roleMask,
  SERVER,
} from "./role_list.ts";

/**
 * Compiles a manifest. The result is plain JSON data.
 *
 * @param sha256 Hash of bytes, 32 bytes long; an argument because this code knows no hash function.
 */
export function compileGrants(
  manifest: Manifest,
  sha256: (bytes: Uint8Array) => Uint8Array,
): Grants {
  const { world, host } = manifest;
  const roles = compileRoles(world);
  const lineages = compileLineages(world);
  return {
    version: 1,
    schemaHash: schemaHash(world, sha256),
    worldName: world.name,
    tickHz: world.tickHz,
    historyMs: world.historyMs,
    maxEntities: world.maxEntities,
    maxPeers: world.maxPeers,
    maxEntitiesPerPeer: world.maxEntitiesPerPeer,
    resumeMs: world.resumeMs,
    roles,
    defaultRole: roles.findIndex((role) => role.name === world.defaultRole),
    identity: { anonymous: world.identity.anonymous, issuers: [...world.identity.issuers].sort() },
    components: byId(world.components).map((one, index) =>
      compileComponent(one, index, lineages, world, host)
    ),
    events: byId(world.events).map((one, index) => compileEvent(one, index, lineages, host)),
    channels: byId(world.channels).map((one, index) => compileChannel(one, index, lineages, host)),
    zones: byId(world.zones).map((one) => compileZone(one, lineages)),
    voice: compileVoice(world, lineages, host),
    peerBytesPerSecond: host.limits.peerBytesPerSecond,
    joinBytesPerSecond: host.limits.joinBytesPerSecond,
    joinMs: host.limits.joinMs,
  };
}

function byId<T extends { readonly id: number }>(list: readonly T[]): T[] {
  return [...list].sort((a, b) => a.id - b.id);
}

function compileRoles(world: World): RoleGrant[] {
  const declared = byId(world.roles).map(({ id, name }, at) => ({ index: at + 1, id, name }));
  return [{ index: 0, id: 0, name: SERVER }, ...declared];
}

/** Lineages in the order of role indices, so that the bits of a mask are role indices. */
function compileLineages(world: World): Lineages {
  return new Map([[SERVER, [SERVER]], ...lineagesOf(byId(world.roles))]);
}

function compileComponent(
  component: ComponentDeclaration,
  index: number,
  roles: Lineages,
  world: World,
  host: Host,
): ComponentGrant {
  const layout = layoutFields(component.fields);
  const declared = Object.values(component.fields);
  const allFields = 2 ** declared.length - 1;
  /** Mask of the fields for which both the component's list and the field's own, where it has one, say yes. */
  const maskWhere = (key: "read" | "write", grants: (list: readonly string[]) => boolean) => {
    if (!grants(component[key])) return 0;
    let mask = 0;
    for (const [bit, field] of declared.entries()) {
      const narrower = field[key];
      if (narrower === undefined || grants(narrower)) mask |= 1 << bit;
    }
    return mask;
  };
  const masks = (key: "read" | "write") =>
    Array.from(
      roles.keys(),
      (role) => role === SERVER ? allFields : maskWhere(key, (one) => namesRole(one, role, roles)),
    );
  // A field may narrow "all" to the owner, so each list is asked for the owner on its own.
  const ownerReadMask = maskWhere("read", namesOwner);
  const denied = host.deny.components[component.name];
  const names = Object.keys(component.fields);
  const named = (list: true | readonly string[] | undefined) => allFields & ~left(list);
  const left = (list: true | readonly string[] | undefined) => {
    if (list === undefined) return allFields;
    if (list === true) return 0;
    let mask = allFields;
    for (const [bit, name] of names.entries()) if (list.includes(name)) mask &= ~(1 << bit);
    return mask;
  };
  return {
    index,
    id: component.id,
    name: component.name,
    fields: layout.fields,
    allFields,
    laneCount: layout.laneCount,
    blobCount: layout.blobCount,
    rowBytes: layout.rowBytes,
    authority: component.authority,
    readMasks: masks("read"),
    ownerReadMask,
    writeMasks: masks("write"),
    grantableRead: named(component.grantable?.read),
    grantableWrite: component.authority === "owner" ? named(component.grantable?.write) : 0,
    // The server's engine spawns whatever the world declares.
    spawnRoles: roleMask(component.spawn?.roles ?? [], roles) | 1,
    spawnMax: component.spawn?.maxPerPeer ?? 0,
    checks: compileChecks(component, names, roles),
    rateHz: rateOf(component, world.tickHz),
    interestRadius: component.interestRadius,
    weight: component.weight,
    positionField: component.position === undefined ? -1 : names.indexOf(component.position),
    hostSendMask: left(denied?.send),
    hostReceiveMask: left(denied?.receive),
  };
}

function compileChecks(
  component: ComponentDeclaration,
  names: readonly string[],
  roles: Lineages,
): FieldCheck[] {
  const list = (corner: number | readonly number[] | undefined) =>
    corner === undefined ? [] : typeof corner === "number" ? [corner] : [...corner];
  return Object.entries(component.checks).map(([name, check]) => ({
    field: names.indexOf(name),
    min: list(check.bounds?.min),
    max: list(check.bounds?.max),
    maxStep: check.maxStep ?? 0,
    maxSpeed: check.maxSpeed ?? 0,
    maxAcceleration: check.maxAcceleration ?? 0,
    rateHz: check.rateHz ?? 0,
    exemptRoles: roleMask(check.exempt, roles),
    action: check.onViolation,
  })).sort((a, b) => a.field - b.field);
}

function compileEvent(
  event: EventDeclaration,
  index: number,
  roles: Lineages,
  host: Host,
): EventGrant {
  const layout = layoutFields(event.fields);
  const denied = host.deny.events[event.name];
  return {
    index,
    id: event.id,
    name: event.name,
    fields: layout.fields,
    laneCount: layout.laneCount,
    blobCount: layout.blobCount,
    rowBytes: layout.rowBytes,
    sendRoles: roleMask(event.send, roles),
    receiveRoles: roleMask(event.receive, roles),
    rateHz: event.rateHz,
    late: event.late,
    waitMs: event.waitMs,
    hostSend: denied?.send !== true,
    hostReceive: denied?.receive !== true,
  };
}

function compileChannel(
  channel: ChannelDeclaration,
  index: number,
  roles: Lineages,
  host: Host,
): ChannelGrant {
  const denied = host.deny.channels[channel.name];
  return {
    index,
    id: channel.id,
    name: channel.name,
    namespace: channel.name.endsWith("/*"),
    mode: channel.mode,
    sendRoles: roleMask(channel.send, roles),
    receiveRoles: roleMask(channel.receive, roles),
    maxBytes: channel.maxBytes,
    rateHz: channel.rateHz,
    maxOpen: maxOpenOf(channel),
    hostSend: denied?.send !== true,
    hostReceive: denied?.receive !== true,
  };
}

function compileZone({ id, name, closed, seenBy }: ZoneDeclaration, roles: Lineages): ZoneGrant {
  // The server's engine sees the whole world.
  return { id, name, closed, seenByRoles: roleMask(closed ? seenBy : [ALL], roles) | 1 };
}

function compileVoice(world: World, roles: Lineages, host: Host): VoiceGrant {
  const voice = world.voice;
  return {
    speakRoles: roleMask(voice?.speak ?? [], roles),
    hearRoles: roleMask(voice?.hear ?? [], roles),
    range: voice?.range ?? 0,
    maxFrameBytes: voice?.maxFrameBytes ?? 0,
    rateHz: voice?.rateHz ?? 0,
    hostSend: host.deny.voice?.send !== true,
    hostReceive: host.deny.voice?.receive !== true,
  };
}
