// What one manifest allows and another did not: every right that is new and every bound that is wider, one line each. It compares compiled
// grants, so a right counts however it is written; names stand for what they name, because engines and people know things by name.

import { levelNumber } from "../protocol/log_codes.ts";
import { largestErrorDegrees, quatText } from "./check_scale.ts";
import { grantedEndpoints } from "./deno_flags.ts";
import { coversEndpoint } from "./endpoint.ts";
import {
  type ChannelGrant,
  type ComponentGrant,
  type EventGrant,
  type FieldCheck,
  type FieldGrant,
  type Grants,
  type RoleGrant,
  SERVER_ROLE,
  type ZoneGrant,
} from "./grants.ts";
import type { Manifest } from "./manifest.ts";
import { resolvePath } from "./paths.ts";

/** A manifest and what it compiles to. */
export interface CompiledManifest {
  /** As the operator wrote it. */
  readonly manifest: Manifest;
  /** What it compiles to. */
  readonly grants: Grants;
}

/** A bound; the larger the amount, the more passes. */
interface Bound {
  readonly amount: number;
  /** How people write it. */
  readonly shown: string;
}

/** Everything that a manifest allows, by sentences that two manifests have in common where they allow the same. */
class Allowance {
  /** Things that exist, so that a new one is told by its rights and not once more by its bounds. */
  readonly subjects = new Set<string>();
  /** Rights, each with the subject that must have existed for it to be worth a line of its own; empty for none. */
  readonly rights = new Map<string, string>();
  /** Rights that follow from others and need no line of their own. */
  readonly implied = new Set<string>();
  /** Bounds by what they bound. */
  readonly bounds = new Map<string, Bound>();
  /** What can be one way or another, and is told when it is another. */
  readonly choices = new Map<string, string>();

  /** A bound that grows with its number. */
  most(what: string, amount: number): void {
    this.bounds.set(what, { amount, shown: String(amount) });
  }

  /** A bound that is wider the smaller its number is. */
  least(what: string, amount: number): void {
    this.bounds.set(what, { amount: -amount, shown: String(amount) });
  }
}

/**
 * The rights that `now` adds over `before`, one line each; empty when it adds none.
 *
 * Rights of roles are those of the world; what `host.deny` takes away counts on its own, so an entry removed from it is a line and one added
 * is none. A thing with a new name is new, and so are all its rights. Relative paths are those of one folder, wherever the files lie.
 */
export function addedRights(before: CompiledManifest, now: CompiledManifest): string[] {
  const old = allowanceOf(before);
  const next = allowanceOf(now);
  const lines: string[] = [];
  for (const [right, subject] of next.rights) {
    if (old.rights.has(right) || next.implied.has(right)) continue;
    if (subject === "" || old.subjects.has(subject)) lines.push(right);
  }
  for (const [what, { amount, shown }] of next.bounds) {
    const was = old.bounds.get(what);
    if (was !== undefined && amount > was.amount) lines.push(`${what} ${shown}, was ${was.shown}`);
  }
  for (const [what, shown] of next.choices) {
    const was = old.choices.get(what);
    if (was !== undefined && shown !== was) lines.push(`${what} ${shown}, was ${was}`);
  }
  lines.push(...openedZones(before.grants, now.grants));
  lines.push(...addedToJoiners(before.grants, now.grants));
  // To listen at an address is another right than to connect to it.
  const isSameRole = before.manifest.host.role === now.manifest.host.role;
  const endpoints = isSameRole ? grantedEndpoints(before.manifest) : [];
  for (const endpoint of grantedEndpoints(now.manifest)) {
    if (endpoints.some((one) => coversEndpoint(one, endpoint))) continue;
    lines.push(
      `host: ${now.manifest.host.role === "server" ? "listens on" : "connects to"} ${endpoint}`,
    );
  }
  return lines;
}

function seesInto(zone: ZoneGrant, role: number): boolean {
  return ((zone.seenByRoles >>> role) & 1) === 1;
}

function zoneRight({ name }: ZoneGrant): string {
  return `zone ${name}: seen into from elsewhere`;
}

/** Closed zones that are gone: nothing can be hidden in them any more. */
function openedZones(before: Grants, now: Grants): string[] {
  const left = new Set(now.zones.map(({ name }) => name));
  return before.zones.filter(({ closed, name }) => closed && !left.has(name))
    .map(({ name }) => `zone ${name}: gone, was closed`);
}

/** What a peer may do that joins, where it joins in another role than before. */
function addedToJoiners(before: Grants, now: Grants): string[] {
  const was = before.roles[before.defaultRole]!.name;
  const name = now.roles[now.defaultRole]!.name;
  if (was === name) return [];
  const held = new Set(rightsOfRole(before, before.defaultRole));
  const added = rightsOfRole(now, now.defaultRole).filter((one) => !held.has(one));
  for (const zone of now.zones) {
    const was = before.zones.find((one) => one.name === zone.name);
    if (was === undefined || !seesInto(zone, now.defaultRole)) continue;
    if (!seesInto(was, before.defaultRole)) added.push(zoneRight(zone));
  }
  if (added.length === 0) return [];
  const more = added.length === 1 ? "" : ` and ${added.length - 1} more`;
  return [`world: a peer joins as ${name}, was ${was}, which adds "${added[0]}"${more}`];
}

function allowanceOf({ manifest, grants }: CompiledManifest): Allowance {
  const allowance = new Allowance();
  for (const role of grants.roles) {
    for (const right of rightsOfRole(grants, role.index)) {
      allowance.rights.set(`${right} by ${role.name}`, "");
    }
  }
  // A new zone hides more than was hidden before there was one, whoever sees into it.
  for (const zone of grants.zones) {
    allowance.subjects.add(`zone ${zone.name}`);
    for (const { name, index } of grants.roles) {
      if (!seesInto(zone, index)) continue;
      allowance.rights.set(`${zoneRight(zone)} by ${name}`, `zone ${zone.name}`);
    }
  }
  for (const component of grants.components) addComponent(component, grants.roles, allowance);
  for (const event of grants.events) addEvent(event, allowance);
  for (const channel of grants.channels) addChannel(channel, allowance);
  addVoice(grants, allowance);
  if (grants.identity.anonymous) allowance.rights.set("world: anybody may join", "");
  for (const issuer of grants.identity.issuers) {
    allowance.rights.set(`world: takes join tokens of ${issuer}`, "");
  }
  allowance.most("world: ticks a second", grants.tickHz);
  allowance.most("world: ms that replaced values are kept", grants.historyMs);
  allowance.most("world: entities", grants.maxEntities);
  allowance.most("world: peers", grants.maxPeers);
  allowance.most("world: entities that one peer may own by spawning", grants.maxEntitiesPerPeer);
  allowance.most("world: ms that a lost peer's place is kept", grants.resumeMs);
  addHost(manifest, allowance);
  return allowance;
}

/** What a role may do, as phrases that go on with "by" and the role's name. */
function rightsOfRole(grants: Grants, role: number): string[] {
  const rights: string[] = [];
  const add = (has: boolean, right: string) => {
    if (has) rights.push(right);
  };
  const names = (roles: number) => ((roles >>> role) & 1) === 1;
  for (const component of grants.components) {
    const { readMasks, writeMasks } = component;
    for (const { name, index } of component.fields) {
      const field = `component ${component.name}, field ${name}`;
      add((((readMasks[role] ?? 0) >>> index) & 1) === 1, `${field}: read`);
      add((((writeMasks[role] ?? 0) >>> index) & 1) === 1, `${field}: written`);
    }
    add(names(component.spawnRoles), `component ${component.name}: spawned`);
  }
  for (const event of grants.events) {
    add(names(event.sendRoles), `event ${event.name}: sent`);
    add(names(event.receiveRoles), `event ${event.name}: received`);
  }
  for (const channel of grants.channels) {
    add(names(channel.sendRoles), `channel ${channel.name}: sent`);
    add(names(channel.receiveRoles), `channel ${channel.name}: received`);
  }
  add(names(grants.voice.speakRoles), "voice: spoken");
  add(names(grants.voice.hearRoles), "voice: heard");
  return rights;
}

function addComponent(
  component: ComponentGrant,
  roles: readonly RoleGrant[],
  allowance: Allowance,
): void {
  const subject = `component ${component.name}`;
  allowance.subjects.add(subject);
  for (const field of component.fields) {
    const at = `${subject}, field ${field.name}`;
    addField(field, at, allowance);
    const has = (mask: number) => ((mask >>> field.index) & 1) === 1;
    const everybody = component.readMasks.every(has);
    if (everybody || has(component.ownerReadMask)) {
      allowance.rights.set(`${at}: read by its owner`, "");
      if (everybody) allowance.implied.add(`${at}: read by its owner`);
    }
    if (has(component.grantableRead)) {
      allowance.rights.set(`${at}: granted to single peers to be read`, "");
    }
    if (has(component.grantableWrite)) {
      allowance.rights.set(`${at}: granted to single peers to be written`, "");
    }
    addPassage(at, has(component.hostSendMask), has(component.hostReceiveMask), allowance);
  }
  allowance.most(`${subject}: values a second`, component.rateHz);
  // What waits less makes others wait longer.
  allowance.most(`${subject}: weight`, component.weight);
  const radius = component.interestRadius;
  allowance.bounds.set(`${subject}: interest radius, m,`, {
    amount: radius === 0 ? Infinity : radius,
    shown: radius === 0 ? "everywhere" : String(radius),
  });
  allowance.choices.set(
    `${subject}: position in`,
    component.fields[component.positionField]?.name ?? "no field",
  );
  if (component.spawnMax > 0) {
    allowance.most(`${subject}: entities that one peer may spawn`, component.spawnMax);
  }
  for (const field of component.fields) {
    // What the server's engine alone writes is never judged, checks or not.
    const isJudged = component.writeMasks.some((mask, role) =>
      role !== SERVER_ROLE && ((mask >>> field.index) & 1) === 1
    );
    if (!isJudged) continue;
    const check = component.checks.find((one) => one.field === field.index);
    addCheck(field, check, roles, `${subject}, field ${field.name}`, allowance);
  }
}

/** Limits of what peers may write to a field; none is the widest. */
function addCheck(
  field: FieldGrant,
  check: FieldCheck | undefined,
  roles: readonly RoleGrant[],
  at: string,
  allowance: Allowance,
): void {
  const limit = (what: string, value: number | undefined, sign = 1) =>
    allowance.bounds.set(`${at}: checked ${what}`, {
      amount: value === undefined ? Infinity : sign * value,
      shown: value === undefined ? "without limit" : String(value),
    });
  limit("speed", check?.maxSpeed || undefined);
  limit("acceleration", check?.maxAcceleration || undefined);
  limit("step", check?.maxStep || undefined);
  limit("changes a second", check?.rateHz || undefined);
  for (
    const [axis, name] of (field.kind === "vec3" ? [" of x", " of y", " of z"] : [""]).entries()
  ) {
    limit(`smallest value${name}`, check?.min[axis], -1);
    limit(`largest value${name}`, check?.max[axis]);
  }
  if (check === undefined) return;
  allowance.bounds.set(`${at}: if a check is violated,`, {
    amount: ["reject", "clamp", "report"].indexOf(check.action),
    shown: check.action,
  });
  allowance.subjects.add(`${at}: checked`);
  for (const { name, index } of roles) {
    if (((check.exemptRoles >>> index) & 1) === 0) continue;
    allowance.rights.set(`${at}: not judged of ${name}`, `${at}: checked`);
  }
}

function addField(field: FieldGrant, at: string, allowance: Allowance): void {
  allowance.subjects.add(at);
  allowance.choices.set(`${at}: type`, field.kind);
  switch (field.kind) {
    case "f32":
    case "vec3":
      allowance.least(`${at}: step`, field.precision);
      allowance.least(`${at}: smallest value`, field.min);
      allowance.most(`${at}: largest value`, field.max);
      break;
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      allowance.least(`${at}: smallest value`, field.min);
      allowance.most(`${at}: largest value`, field.max);
      break;
    case "quat":
      // One bound for both ways to declare it, so that going from one to the other is told where it is finer.
      allowance.bounds.set(`${at}: largest error`, {
        amount: -largestErrorDegrees(field),
        shown: quatText(field),
      });
      break;
    case "string":
    case "bytes":
      allowance.most(`${at}: bytes`, field.maxBytes);
      break;
    case "enum":
      for (const value of field.values) allowance.rights.set(`${at}: value ${value}`, at);
      break;
    case "bool":
    case "entity":
      break;
  }
}

function addEvent(event: EventGrant, allowance: Allowance): void {
  const subject = `event ${event.name}`;
  allowance.subjects.add(subject);
  for (const field of event.fields) {
    const at = `${subject}, field ${field.name}`;
    allowance.rights.set(`${at}: carried`, subject);
    addField(field, at, allowance);
  }
  addPassage(subject, event.hostSend, event.hostReceive, allowance);
  allowance.most(`${subject}: events a second`, event.rateHz);
  allowance.most(`${subject}: ms that one waits for its state`, event.waitMs);
  // A late event is one that passes although what it speaks of does not.
  allowance.bounds.set(`${subject}: if late`, {
    amount: event.late === "deliver" ? 1 : 0,
    shown: event.late,
  });
}

function addChannel(channel: ChannelGrant, allowance: Allowance): void {
  const subject = `channel ${channel.name}`;
  allowance.subjects.add(subject);
  addPassage(subject, channel.hostSend, channel.hostReceive, allowance);
  allowance.choices.set(`${subject}: mode`, channel.mode);
  allowance.most(`${subject}: bytes of a message`, channel.maxBytes);
  allowance.most(`${subject}: messages a second`, channel.rateHz);
  allowance.most(`${subject}: open at once`, channel.maxOpen);
}

function addVoice({ voice }: Grants, allowance: Allowance): void {
  if (voice.speakRoles === 0) return;
  allowance.subjects.add("voice");
  addPassage("voice", voice.hostSend, voice.hostReceive, allowance);
  allowance.most("voice: range, m,", voice.range);
  allowance.most("voice: bytes of a frame", voice.maxFrameBytes);
  allowance.most("voice: frames a second", voice.rateHz);
}

/** What `host.deny` leaves. Of a new thing it is no news that it passes. */
function addPassage(subject: string, send: boolean, receive: boolean, allowance: Allowance): void {
  if (send) allowance.rights.set(`${subject}: leaves this host, no longer denied`, subject);
  if (receive) allowance.rights.set(`${subject}: enters this host, no longer denied`, subject);
}

function addHost({ host }: Manifest, allowance: Allowance): void {
  allowance.choices.set("host: role", host.role);
  // The folder is the same for both, so that a copy elsewhere names the same files.
  const place = (path: string) => path.startsWith("/") ? resolvePath("/", path) : inFolder(path);
  allowance.rights.set(`host: socket ${place(host.engineSocket)}`, "");
  const { certificate, caFile, pin } = host;
  if (certificate !== undefined && "certFile" in certificate) {
    allowance.rights.set(`host: reads ${place(certificate.certFile)}`, "");
    allowance.rights.set(`host: reads ${place(certificate.keyFile)}`, "");
  }
  if (caFile !== undefined) {
    allowance.rights.set(`host: reads ${place(caFile)}, and trusts its authority`, "");
  }
  for (const [key, paths] of Object.entries(host.overridable ?? {})) {
    for (const path of paths ?? []) {
      allowance.rights.set(`host: a sealed driver may take ${place(path)} as its ${key}`, "");
    }
  }
  if (host.role === "client") {
    if (pin ?? caFile) allowance.subjects.add("host: trust");
    else allowance.rights.set("host: trusts whatever certificate its engine names", "");
    // Where the engine could name any certificate, naming one adds none.
    if (pin !== undefined) {
      allowance.rights.set(`host: trusts the certificate ${pin}`, "host: trust");
    }
  }
  const { peerBytesPerSecond, joinBytesPerSecond, joinMs, heapMb, memoryMb } = host.limits;
  allowance.most("host: bytes a second to one peer", peerBytesPerSecond);
  allowance.most("host: bytes a second to a peer that has just joined", joinBytesPerSecond);
  allowance.most("host: time of a join's bytes, ms,", joinMs);
  allowance.bounds.set("host: script heap, MB,", {
    amount: heapMb ?? Infinity,
    shown: heapMb === undefined ? "the runtime's own" : String(heapMb),
  });
  allowance.bounds.set("host: resident memory, MB,", {
    amount: memoryMb ?? Infinity,
    shown: memoryMb === undefined ? "as its world may need" : String(memoryMb),
  });
  const { retentionSeconds, logLevel } = host.privacy;
  allowance.most("host: seconds that log entries are kept", retentionSeconds);
  allowance.bounds.set("host: log entries down to level", {
    amount: levelNumber(logLevel),
    shown: logLevel,
  });
}

/** A relative path without detours, which may lead out of the folder. */
function inFolder(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") {
      if (parts.length > 0 && parts.at(-1) !== "..") parts.pop();
      else parts.push(part);
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}
