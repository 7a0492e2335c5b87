// Rules of `world` that span several keys: unique ids and names, roles that exist, directions that meet. They read the raw document, so
// they speak even where the schema found other mistakes. Rules of single components and their fields are in `component_rules.ts`.

import {
  MAX_EVENT_BYTES,
  MAX_NAME_BYTES,
  MAX_UNRELIABLE_MESSAGE_BYTES,
} from "../protocol/limits.ts";
import { checkComponents, checkFields } from "./component_rules.ts";
import { checkIdentity } from "./identity_rules.ts";
import { asArray, asNumber, asObject, asText, asTexts, type Complain, type Raw } from "./raw.ts";
import {
  ALL,
  type Lineages,
  lineagesOf,
  namesRole,
  OWNER,
  RESERVED_ROLE_NAMES,
  SERVER,
} from "./role_list.ts";
import { checkRoles } from "./role_rules.ts";
import { suggest } from "./suggest.ts";
import { DEFAULT_ENTITIES_PER_PEER, DEFAULT_TICK_HZ } from "./world_schema.ts";

/** Checks the whole `world` part. */
export function checkWorld(world: Raw, complain: Complain): void {
  const name = asText(world["name"]);
  if (name !== undefined) checkWorldName(name, complain);
  const roles = asArray(world["roles"]).map((one) => asText(asObject(one)["name"]));
  const roleNames = roles.filter((one) => one !== undefined);
  for (const [index, role] of roles.entries()) {
    if (role !== undefined && RESERVED_ROLE_NAMES.includes(role)) {
      complain(
        ["world", "roles", index, "name"],
        `"${role}" is built in and cannot be declared; choose another name`,
      );
    }
  }
  const defaultRole = asText(world["defaultRole"]);
  if (defaultRole === SERVER) {
    complain(
      ["world", "defaultRole"],
      'a peer that joins cannot be "server"; name a declared role',
    );
  } else if (defaultRole !== undefined && !roleNames.includes(defaultRole)) {
    complain(
      ["world", "defaultRole"],
      `unknown role "${defaultRole}"${suggest(defaultRole, roleNames)}`,
    );
  }
  const retired = asObject(world["retired"]);
  for (const kind of ["roles", "components", "events", "channels", "zones"] as const) {
    checkUnique(kind, asArray(world[kind]), asArray(retired[kind]), complain);
  }
  checkSizes(world, complain);
  const declared = lineagesOf(
    asArray(world["roles"]).map(asObject).map((role) => ({
      name: asText(role["name"]) ?? "",
      inherits: asTexts(role["inherits"]),
    })).filter(({ name }) => name !== "" && !RESERVED_ROLE_NAMES.includes(name)),
  );
  checkInheritance(world, declared, complain);
  checkComponents(world, declared, complain);
  checkEvents(world, declared, complain);
  checkChannels(world, declared, complain);
  checkZones(world, declared, complain);
  checkVoice(world, declared, complain);
  checkIdentity(world, complain);
}

function checkWorldName(name: string, complain: Complain): void {
  if (!name.isWellFormed() || /\p{Cc}/u.test(name)) {
    complain(["world", "name"], "control characters and broken Unicode are not allowed here");
  } else if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    complain(["world", "name"], `longer than ${MAX_NAME_BYTES} bytes in UTF-8; shorten it`);
  }
}

function checkUnique(
  kind: string,
  list: readonly unknown[],
  retired: readonly unknown[],
  complain: Complain,
): void {
  const ids = new Map<number, number>();
  const names = new Map<string, number>();
  const taken = new Set([...list.map((one) => asObject(one)["id"]), ...retired]);
  for (const [index, one] of list.entries()) {
    const { id, name } = asObject(one);
    if (typeof id === "number") {
      const first = ids.get(id);
      if (retired.includes(id)) {
        complain(
          ["world", kind, index, "id"],
          `id ${id} is retired and must not be used again; take ${freeId(taken)}`,
        );
      } else if (first !== undefined) {
        complain(
          ["world", kind, index, "id"],
          `id ${id} is taken by world.${kind}[${first}]; take ${freeId(taken)}`,
        );
      }
      ids.set(id, first ?? index);
    }
    if (typeof name === "string") {
      const first = names.get(name);
      if (first !== undefined) {
        complain(
          ["world", kind, index, "name"],
          `name "${name}" is taken by world.${kind}[${first}]; choose another`,
        );
      }
      names.set(name, first ?? index);
    }
  }
  for (const [index, id] of retired.entries()) {
    if (retired.indexOf(id) !== index) {
      complain(["world", "retired", kind, index], `id ${id} is listed twice; remove one`);
    }
  }
}

/** The smallest id that nobody uses or used. */
function freeId(taken: ReadonlySet<unknown>): number {
  let id = 1;
  while (taken.has(id)) id += 1;
  return id;
}

/** A role inherits from declared roles, each named once, and never from itself by any way. */
function checkInheritance(world: Raw, roles: Lineages, complain: Complain): void {
  for (const [index, one] of asArray(world["roles"]).map(asObject).entries()) {
    const path = ["world", "roles", index, "inherits"];
    checkRoles(one["inherits"], path, [...roles.keys()], [], complain);
    const name = asText(one["name"]);
    if (name === undefined || !roles.has(name)) continue;
    for (const [at, parent] of asArray(one["inherits"]).entries()) {
      if (typeof parent !== "string" || !roles.get(parent)?.includes(name)) continue;
      complain(
        [...path, at],
        parent === name
          ? `"${name}" cannot inherit from itself; remove it`
          : `"${parent}" inherits from "${name}" already, so this would be a circle; remove one of both`,
      );
    }
  }
}

function checkSizes(world: Raw, complain: Complain): void {
  const tickHz = asNumber(world["tickHz"]) ?? DEFAULT_TICK_HZ;
  const historyMs = asNumber(world["historyMs"]);
  if (historyMs !== undefined && historyMs * tickHz < 2_000) {
    complain(
      ["world", "historyMs"],
      `shorter than two ticks at ${tickHz} Hz; write at least ${Math.ceil(2_000 / tickHz)}`,
    );
  }
  const maxEntities = asNumber(world["maxEntities"]) ?? 4_096;
  const perPeer = asNumber(world["maxEntitiesPerPeer"]) ?? DEFAULT_ENTITIES_PER_PEER;
  if (perPeer > maxEntities) {
    complain(
      ["world", "maxEntitiesPerPeer"],
      `${perPeer} is above maxEntities (${maxEntities}); write at most ${maxEntities}`,
    );
  }
}

function checkEvents(world: Raw, roles: Lineages, complain: Complain): void {
  for (const [index, one] of asArray(world["events"]).entries()) {
    const path = ["world", "events", index];
    const event = asObject(one);
    for (const list of ["send", "receive"]) {
      checkRoles(event[list], [...path, list], [...roles.keys()], [SERVER, ALL], complain);
    }
    const fields = asObject(event["fields"]);
    checkFields(fields, [...path, "fields"], complain);
    let bytes = 0;
    for (const [name, value] of Object.entries(fields)) {
      const field = asObject(value);
      bytes += asNumber(field["maxBytes"]) ?? 0;
      for (const key of ["read", "write"]) {
        if (key in field) {
          complain(
            [...path, "fields", name, key],
            `fields of events have no \`${key}\`; the event's \`send\` and \`receive\` say who`,
          );
        }
      }
    }
    if (bytes > MAX_EVENT_BYTES) {
      complain(
        [...path, "fields"],
        `texts and bytes add up to ${bytes} bytes, an event holds ${MAX_EVENT_BYTES}; lower maxBytes or use a channel`,
      );
    }
  }
}

function checkChannels(world: Raw, roles: Lineages, complain: Complain): void {
  const channels = asArray(world["channels"]).map(asObject);
  const spaces = channels.map((one) => asText(one["name"]) ?? "")
    .filter((name) => name.endsWith("/*")).map((name) => name.slice(0, -1));
  for (const [index, channel] of channels.entries()) {
    const path = ["world", "channels", index];
    for (const list of ["send", "receive"]) {
      checkRoles(channel[list], [...path, list], [...roles.keys()], [SERVER, ALL], complain);
    }
    const name = asText(channel["name"]) ?? "";
    const space = spaces.find((one) => name.startsWith(one) && name !== `${one}*`);
    if (space !== undefined) {
      complain(
        [...path, "name"],
        `"${name}" lies inside the namespace "${space}*"; choose a name outside it`,
      );
    }
    if ("maxOpen" in channel && !name.endsWith("/*")) {
      complain(
        [...path, "maxOpen"],
        'only a namespace (a name that ends in "/*") has maxOpen; remove it',
      );
    }
    const bytes = asNumber(channel["maxBytes"]);
    if (channel["mode"] === "unreliable") {
      if (bytes === undefined && !("maxBytes" in channel)) {
        complain(
          [...path, "maxBytes"],
          `missing: an unreliable channel says its size, at most ${MAX_UNRELIABLE_MESSAGE_BYTES}`,
        );
      } else if (bytes !== undefined && bytes > MAX_UNRELIABLE_MESSAGE_BYTES) {
        complain(
          [...path, "maxBytes"],
          `an unreliable message must fit into one datagram; write at most ${MAX_UNRELIABLE_MESSAGE_BYTES} or use mode "reliable"`,
        );
      }
    }
    checkDirections(asTexts(channel["send"]), asTexts(channel["receive"]), path, roles, complain);
  }
}

/** A channel joins one peer with the server's engine, so what one side sends the other must receive. */
function checkDirections(
  send: readonly string[],
  receive: readonly string[],
  path: readonly (string | number)[],
  roles: Lineages,
  complain: Complain,
): void {
  if (send.length === 0 || receive.length === 0) return;
  const names = [...roles.keys()];
  const peersSend = names.some((role) => namesRole(send, role, roles));
  const peersReceive = names.some((role) => namesRole(receive, role, roles));
  if (peersSend && !namesRole(receive, SERVER, roles)) {
    complain([...path, "receive"], 'what peers send reaches the server\'s engine; add "server"');
  }
  if (namesRole(receive, SERVER, roles) && !peersSend) {
    complain([...path, "send"], '"server" receives, but no role of peers sends; add one');
  }
  if (peersReceive && !namesRole(send, SERVER, roles)) {
    complain([...path, "send"], 'what peers receive comes from the server\'s engine; add "server"');
  }
  if (namesRole(send, SERVER, roles) && !peersReceive) {
    complain([...path, "receive"], '"server" sends, but no role of peers receives; add one');
  }
}

/** Only a closed zone hides anything that `seenBy` could show, and one that all see into is none. */
function checkZones(world: Raw, roles: Lineages, complain: Complain): void {
  const names = [...roles.keys()];
  for (const [index, zone] of asArray(world["zones"]).map(asObject).entries()) {
    const path = ["world", "zones", index, "seenBy"];
    const seenBy = asArray(zone["seenBy"]);
    // Whoever writes one of these means something, and should be told how to say it.
    const words = new Map([
      [ALL, "everybody sees into an open zone: write `closed`: false and no `seenBy`"],
      [SERVER, "the server's engine sees the whole world: remove it"],
      [OWNER, "owners see their entities wherever these are: remove it"],
    ]);
    for (const [at, one] of seenBy.entries()) {
      const hint = words.get(asText(one) ?? "");
      if (hint !== undefined) complain([...path, at], hint);
    }
    checkRoles(zone["seenBy"], path, names, [...words.keys()], complain);
    if (zone["closed"] === false && seenBy.length > 0) {
      complain(path, "everybody sees into an open zone; remove `seenBy`, or write `closed`: true");
    }
  }
}

function checkVoice(world: Raw, roles: Lineages, complain: Complain): void {
  if (!("voice" in world)) return;
  const voice = asObject(world["voice"]);
  for (const list of ["speak", "hear"]) {
    checkRoles(voice[list], ["world", "voice", list], [...roles.keys()], [SERVER, ALL], complain);
  }
  const holders = asArray(world["components"]).map(asObject)
    .filter((one) => typeof one["position"] === "string");
  if (holders.length === 0) {
    complain(
      ["world", "voice"],
      "voice needs positions: give one component a `position` (the name of its vec3 field)",
    );
  }
  const range = asNumber(voice["range"]);
  if (range === undefined) return;
  for (const holder of holders) {
    const radius = asNumber(holder["interestRadius"]) ?? 0;
    if (radius > 0 && range > radius) {
      complain(
        ["world", "voice", "range"],
        `${range} m is above the interest radius ${radius} m of "${
          asText(holder["name"]) ?? "a component"
        }", whose speakers would be heard without a position; write at most ${radius} or raise interestRadius`,
      );
    }
  }
}
