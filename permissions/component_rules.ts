// Rules of components and fields that span several keys: ranges that make sense, rights that narrow, a position that is one.

import { SUBTICKS } from "../protocol/timeline_units.ts";
import { MAX_FIELDS, MAX_STEPS_FROM_ZERO } from "../protocol/limits.ts";
import { checkCheckCount, checkChecks } from "./check_rules.ts";
import { asArray, asNumber, asObject, asText, asTexts, type Complain, type Raw } from "./raw.ts";
import { ALL, type Lineages, namesOwner, namesRole, OWNER, SERVER } from "./role_list.ts";
import { checkRoles } from "./role_rules.ts";
import { suggest } from "./suggest.ts";

import { DEFAULT_ENTITIES_PER_PEER, DEFAULT_TICK_HZ } from "./world_schema.ts";

type Path = readonly (string | number)[];

/** Checks all components of a world; `roles` are the declared ones. */
export function checkComponents(world: Raw, roles: Lineages, complain: Complain): void {
  const components = asArray(world["components"]).map(asObject);
  const hasPosition = components.some((one) => "position" in one);
  checkCheckCount(components, complain);
  for (const [index, component] of components.entries()) {
    const path: Path = ["world", "components", index];
    const fields = asObject(component["fields"]);
    if ("fields" in component && Object.keys(fields).length === 0) {
      complain([...path, "fields"], "a component needs at least one field");
    }
    checkFields(fields, [...path, "fields"], complain);
    checkAccess(component, fields, path, roles, complain);
    checkSpawn(world, component, path, roles, complain);
    checkGrantable(component, fields, path, complain);
    checkPosition(component, fields, path, complain);
    const tickHz = asNumber(world["tickHz"]) ?? DEFAULT_TICK_HZ;
    const rateHz = asNumber(component["rateHz"]);
    checkChecks(component, fields, rateHz ?? tickHz, path, roles, complain);
    if (rateHz !== undefined && rateHz > tickHz * SUBTICKS) {
      complain(
        [...path, "rateHz"],
        `at ${tickHz} ticks a second the timeline tells ${
          tickHz * SUBTICKS
        } values apart; write at most that`,
      );
    }
    if ((asNumber(component["interestRadius"]) ?? 0) > 0 && !hasPosition) {
      complain(
        [...path, "interestRadius"],
        "no component of this world has a `position` to measure from; name one or remove the radius",
      );
    }
  }
}

/** Checks the fields of a component or an event, apart from who may use them. */
export function checkFields(fields: Raw, path: Path, complain: Complain): void {
  const names = Object.keys(fields);
  if (names.length > MAX_FIELDS) {
    complain(path, `${names.length} fields; at most ${MAX_FIELDS}, split the rest off`);
  }
  for (const name of names) {
    const field = asObject(fields[name]);
    const at = [...path, name];
    checkRange(field, at, complain);
    const seen = new Set<string>();
    for (const [index, value] of asTexts(field["values"]).entries()) {
      if (seen.has(value)) {
        complain([...at, "values", index], `"${value}" is listed twice; remove one`);
      }
      seen.add(value);
    }
  }
}

function checkRange(field: Raw, path: Path, complain: Complain): void {
  const min = asNumber(field["min"]);
  const max = asNumber(field["max"]);
  const type = asText(field["type"]);
  if (type === "quat" && field["bits"] !== undefined && field["precision"] !== undefined) {
    complain([...path, "bits"], "`precision` takes the place of `bits`; remove one of them");
    return;
  }
  if (min !== undefined && max !== undefined && min >= max) {
    complain([...path, "max"], `must be above min (${min})`);
    return;
  }
  if (type !== "f32" && type !== "vec3") return;
  const precision = asNumber(field["precision"]);
  if (min === undefined || max === undefined || precision === undefined || precision <= 0) return;
  const largest = Math.max(Math.abs(min), Math.abs(max));
  if (largest / precision > MAX_STEPS_FROM_ZERO) {
    complain(
      [...path, "precision"],
      `${largest} / ${precision} is more than ${MAX_STEPS_FROM_ZERO} steps, which a 32-bit float cannot tell apart; write at least ${
        coarser(largest / MAX_STEPS_FROM_ZERO)
      } or narrow the range`,
    );
    return;
  }
  const steps = (max - min) / precision;
  if (steps < 0.999 || Math.abs(steps - Math.round(steps)) > 1e-3) {
    const better = Number((min + Math.ceil(steps) * precision).toPrecision(12));
    complain(
      [...path, "max"],
      `the range is ${
        Number(steps.toPrecision(9))
      } steps of ${precision}, not a whole number; write ${better}`,
    );
  }
}

/** The next number of the form 1, 2 or 5 times a power of ten that is not below `value`. */
function coarser(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((one) => one * power >= value) ?? 10;
  return Number((factor * power).toPrecision(3));
}

function checkAccess(
  component: Raw,
  fields: Raw,
  path: Path,
  roles: Lineages,
  complain: Complain,
): void {
  const names = [...roles.keys()];
  const authority = component["authority"];
  const read = asTexts(component["read"]);
  const write = asTexts(component["write"]);
  checkRoles(component["read"], [...path, "read"], names, [OWNER, ALL, SERVER], complain);
  checkRoles(component["write"], [...path, "write"], names, [ALL, SERVER], complain);
  if (authority === "server") {
    for (const [index, role] of asArray(component["write"]).entries()) {
      if (typeof role !== "string" || role === SERVER) continue;
      complain(
        [...path, "write", index],
        `with authority "server" only "server" writes; remove "${role}" or use authority "owner"`,
      );
    }
  }
  if (authority === "owner" && !names.some((role) => namesRole(write, role, roles))) {
    complain(
      [...path, "write"],
      'authority "owner" needs a role that may write; name one or use authority "server"',
    );
  }
  for (const [name, value] of Object.entries(fields)) {
    const field = asObject(value);
    const at = [...path, "fields", name];
    checkRoles(field["read"], [...at, "read"], names, [OWNER, ALL, SERVER], complain);
    checkRoles(field["write"], [...at, "write"], names, [ALL, SERVER], complain);
    checkNarrowing(field["read"], read, [...at, "read"], "read", roles, complain);
    checkNarrowing(field["write"], write, [...at, "write"], "write", roles, complain);
  }
}

/** A field's list may only take away from the component's. */
function checkNarrowing(
  list: unknown,
  whole: readonly string[],
  path: Path,
  key: string,
  roles: Lineages,
  complain: Complain,
): void {
  for (const [index, name] of asArray(list).entries()) {
    if (typeof name !== "string" || name === SERVER) continue;
    const held = name === ALL
      ? whole.includes(ALL)
      : name === OWNER
      ? namesOwner(whole)
      : namesRole(whole, name, roles) || !roles.has(name);
    if (!held) {
      complain(
        [...path, index],
        `a field can only narrow its component, whose \`${key}\` does not name "${name}"; add it there or remove it here`,
      );
    }
  }
}

function checkSpawn(
  world: Raw,
  component: Raw,
  path: Path,
  roles: Lineages,
  complain: Complain,
): void {
  if (!("spawn" in component)) return;
  const spawn = asObject(component["spawn"]);
  const at = [...path, "spawn"];
  checkRoles(spawn["roles"], [...at, "roles"], [...roles.keys()], [ALL], complain);
  const write = asTexts(component["write"]);
  const named = asTexts(spawn["roles"]);
  if (component["authority"] === "server") {
    complain(
      at,
      'peers cannot spawn what only the server writes; remove `spawn` or use authority "owner"',
    );
  } else {
    for (const role of roles.keys()) {
      if (namesRole(named, role, roles) && !namesRole(write, role, roles)) {
        complain(
          [...at, "roles"],
          `"${role}" may spawn but not write; add it to the component's \`write\` or remove it here`,
        );
      }
    }
  }
  const most = asNumber(world["maxEntitiesPerPeer"]) ?? DEFAULT_ENTITIES_PER_PEER;
  const count = asNumber(spawn["maxPerPeer"]);
  if (count !== undefined && count > most) {
    complain(
      [...at, "maxPerPeer"],
      `${count} is above world.maxEntitiesPerPeer (${most}); write at most ${most}`,
    );
  }
}

function checkGrantable(component: Raw, fields: Raw, path: Path, complain: Complain): void {
  const grantable = asObject(component["grantable"]);
  const at = [...path, "grantable"];
  if ("grantable" in component && !("read" in grantable) && !("write" in grantable)) {
    complain(at, "names nothing; write `read` or `write`, or remove it");
  }
  if (component["authority"] === "server" && "write" in grantable) {
    complain(
      [...at, "write"],
      'with authority "server" only "server" writes; remove it or use authority "owner"',
    );
  }
  const names = Object.keys(fields);
  for (const key of ["read", "write"]) {
    const seen = new Set<string>();
    for (const [index, name] of asArray(grantable[key]).entries()) {
      if (typeof name !== "string") continue;
      if (!names.includes(name)) {
        complain([...at, key, index], `no field "${name}"${suggest(name, names)}`);
      } else if (seen.has(name)) {
        complain([...at, key, index], `"${name}" is listed twice; remove one`);
      }
      seen.add(name);
    }
  }
}

function checkPosition(component: Raw, fields: Raw, path: Path, complain: Complain): void {
  const position = asText(component["position"]);
  if (position === undefined) return;
  const vectors = Object.keys(fields).filter((name) => asObject(fields[name])["type"] === "vec3");
  if (!vectors.includes(position)) {
    const hint = vectors.length === 0 ? "; add a vec3 field" : suggest(position, vectors);
    complain([...path, "position"], `"${position}" is not a vec3 field of this component${hint}`);
  }
}
