// A manifest as tables for people: what may leave, what may come in, from and to whom. Text in columns, no decisions: the tables are read
// off the compiled grants, so they show what the doors will do and not what somebody meant.

import { checkText } from "./check_text.ts";
import { grantedEndpoints } from "./deno_flags.ts";
import {
  type ChannelGrant,
  type ComponentGrant,
  type FieldGrant,
  type Grants,
  SERVER_ROLE,
} from "./grants.ts";
import type { Manifest } from "./manifest.ts";
import { OVERRIDABLE_KEYS } from "./overrides.ts";

/** The summary that `check` prints; ends without a line break. */
export function summarize(manifest: Manifest, grants: Grants): string {
  const { host } = manifest;
  const endpoints = grantedEndpoints(manifest);
  const parts = [
    `World "${grants.worldName}", ${grants.tickHz} ticks a second, at most ${grants.maxPeers} peers and ${grants.maxEntities} entities`,
    `Schema ${grants.schemaHash}`,
    `This host is a ${host.role}; engine socket ${host.engineSocket}; network ${
      endpoints.length === 0
        ? "none"
        : `${host.role === "server" ? "listens on" : "connects to"} ${endpoints.join(", ")}`
    }`,
    privacyText(manifest),
    ...alternativesText(manifest),
    identityText(grants),
    section("May leave this host", ["component", "field", "type", "read by", "within"], [
      ...grants.components.flatMap((one) => leaving(one, grants)),
    ]),
    section(
      "May come in",
      ["component", "field", "written by", "values a second", "spawned by"],
      grants.components.flatMap((one) => entering(one, grants)),
    ),
    ...checked(grants),
    section(
      "Events",
      ["event", "sent by", "received by", "a second", "if late", "this host"],
      grants.events.map((event) => [
        event.name,
        rolesText(event.sendRoles, grants),
        rolesText(event.receiveRoles, grants),
        String(event.rateHz),
        `${event.late} after ${event.waitMs} ms`,
        hostText(event.hostSend, event.hostReceive),
      ]),
    ),
    section(
      "Channels",
      ["channel", "mode", "sent by", "received by", "bytes", "a second", "open", "this host"],
      grants.channels.map((channel) => channelRow(channel, grants)),
    ),
    ...zones(grants),
    voiceText(grants),
  ];
  return parts.join("\n\n");
}

function leaving(component: ComponentGrant, grants: Grants): string[][] {
  return component.fields.map((field) => {
    const bit = 1 << field.index;
    const readers = grants.roles.filter((role) =>
      ((component.readMasks[role.index] ?? 0) & bit) !== 0
    ).map((role) => role.name);
    if (readers.length < grants.roles.length && (component.ownerReadMask & bit) !== 0) {
      readers.push("owner");
    }
    if ((component.grantableRead & bit) !== 0) readers.push("whom it is granted to");
    return [
      component.name,
      field.name,
      typeText(field),
      (component.hostSendMask & bit) === 0 ? "nobody: denied by this host" : readers.join(", "),
      component.interestRadius === 0 ? "everywhere" : `${component.interestRadius} m`,
    ];
  });
}

function entering(component: ComponentGrant, grants: Grants): string[][] {
  return component.fields.map((field) => {
    const bit = 1 << field.index;
    const writers = grants.roles.filter((role) =>
      role.index !== SERVER_ROLE && component.authority === "owner" &&
      ((component.writeMasks[role.index] ?? 0) & bit) !== 0
    ).map((role) => `${role.name} (own)`);
    if ((component.grantableWrite & bit) !== 0) writers.push("whom it is granted to (own)");
    return [
      component.name,
      field.name,
      (component.hostReceiveMask & bit) === 0
        ? "nobody: denied by this host"
        : ["server", ...writers].join(", "),
      String(component.rateHz),
      component.spawnMax === 0
        ? "server"
        : `${rolesText(component.spawnRoles, grants)} (at most ${component.spawnMax} each)`,
    ];
  });
}

/** What the server's driver judges of peers' writes; nothing where a world has no checks. */
function checked(grants: Grants): string[] {
  const rows = grants.components.flatMap((component) =>
    component.checks.map((check) => [
      component.name,
      component.fields[check.field]!.name,
      checkText(check),
      rolesText(check.exemptRoles, grants) || "nobody",
    ])
  );
  if (rows.length === 0) return [];
  return [section("Checked by the server", ["component", "field", "limits", "exempt"], rows)];
}

/** Where entities may be, and who sees into it from elsewhere; nothing where a world has no zones. */
function zones(grants: Grants): string[] {
  if (grants.zones.length === 0) return [];
  const rows = grants.zones.map(({ id, name, closed, seenByRoles }) => [
    name,
    String(id),
    closed ? rolesText(seenByRoles, grants) : "everybody: it is open",
  ]);
  return [section("Zones", ["zone", "id", "seen from elsewhere by"], rows)];
}

function channelRow(channel: ChannelGrant, grants: Grants): string[] {
  return [
    channel.name,
    channel.mode,
    rolesText(channel.sendRoles, grants),
    rolesText(channel.receiveRoles, grants),
    String(channel.maxBytes),
    String(channel.rateHz),
    String(channel.maxOpen),
    hostText(channel.hostSend, channel.hostReceive),
  ];
}

function privacyText({ host: { privacy } }: Manifest): string {
  const { retentionSeconds, logLevel } = privacy;
  return retentionSeconds === 0
    ? "Log: none is kept"
    : `Log: entries of level "${logLevel}" and more important ones, in memory for ${retentionSeconds} s`;
}

/** What a sealed driver may be pointed to: each path is a right of the executable. A driver that is not sealed has none of them. */
function alternativesText({ host: { overridable } }: Manifest): string[] {
  const rows = OVERRIDABLE_KEYS.flatMap((key) =>
    [...new Set(overridable?.[key] ?? [])].map((path) => [key, path])
  );
  return rows.length === 0
    ? []
    : [section("A sealed driver may take instead", ["key", "path"], rows)];
}

function identityText({ identity, roles, defaultRole }: Grants): string {
  const role = roles[defaultRole]!.name;
  const { length } = identity.issuers;
  const tokens = `holders of join tokens of ${length === 1 ? "one issuer" : `${length} issuers`}`;
  if (!identity.anonymous) return `Who may join: ${tokens}, in the role of the token; nobody else`;
  const anybody = `anybody, as ${role}`;
  return `Who may join: ${anybody}${length === 0 ? "" : `; ${tokens}, in the role of the token`}`;
}

function voiceText(grants: Grants): string {
  const voice = grants.voice;
  if (voice.speakRoles === 0) return "Voice: none";
  return `Voice: spoken by ${rolesText(voice.speakRoles, grants)}, heard by ${
    rolesText(voice.hearRoles, grants)
  } within ${voice.range} m; at most ${voice.maxFrameBytes} bytes, ${voice.rateHz} a second; this host ${
    hostText(voice.hostSend, voice.hostReceive)
  }`;
}

function typeText(field: FieldGrant): string {
  switch (field.kind) {
    case "f32":
    case "vec3":
      return `${field.kind} ${field.min}..${field.max} by ${field.precision}`;
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return `${field.kind} ${field.min}..${field.max}`;
    case "quat":
      return field.precision > 0 ? `quat to ${field.precision} degrees` : `quat ${field.bits} bits`;
    case "string":
    case "bytes":
      return `${field.kind} of ${field.maxBytes}`;
    case "enum":
      return `enum of ${field.values.length}`;
    case "bool":
    case "entity":
      return field.kind;
  }
}

function rolesText(mask: number, grants: Grants): string {
  const names = grants.roles.filter((role) => ((mask >>> role.index) & 1) === 1);
  return names.map((role) => role.name).join(", ");
}

function hostText(send: boolean, receive: boolean): string {
  if (send && receive) return "both ways";
  return send ? "out only" : receive ? "in only" : "denied";
}

/** A title and a table with columns as wide as their widest cell. */
function section(title: string, head: readonly string[], rows: readonly string[][]): string {
  if (rows.length === 0) return `${title}: nothing`;
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd()
  );
  return `${title}\n${lines.join("\n")}`;
}
