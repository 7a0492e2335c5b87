// Why a role may or may not read and write a field: the answer of the compiled tables, and the part of the manifest that leads to it. The
// tables decide; the words of the manifest are only looked up afterwards.

import { checkText } from "./check_text.ts";
import { quatText } from "./check_scale.ts";
import { Gate } from "./gate.ts";
import { type Grants, readMaskOf } from "./grants.ts";
import type { ComponentDeclaration, FieldDeclaration, Manifest } from "./manifest.ts";
import { ALL, type Lineages, lineagesOf, OWNER, SERVER, wordFor } from "./role_list.ts";
import { Rule, ruleText } from "./rule.ts";
import { suggest } from "./suggest.ts";

/** What to explain. */
export interface ExplainQuery {
  /** Component by name. */
  readonly component: string;
  /** Field by name; undefined for all of them. */
  readonly field?: string | undefined;
  /** Role by name, `server` included. */
  readonly role: string;
}

/** One answer. */
export interface Explanation {
  /** Field by name. */
  readonly field: string;
  /** What is asked for. */
  readonly access: "read" | "write";
  /** Whether the role's peer owns the entity. */
  readonly isOwner: boolean;
  /** The rule that refuses; undefined when it is granted. */
  readonly rule: Rule | undefined;
  /** The part of the manifest that decides. */
  readonly why: string;
}

/** Explanations, or what is wrong with the query. */
export type ExplainResult =
  | { readonly ok: true; readonly explanations: readonly Explanation[] }
  | { readonly ok: false; readonly message: string };

/**
 * Explains each field of the query for reading and writing, as owner of the entity and not.
 *
 * What `host.deny` takes away is told for the way that the value takes here: what a role beyond the network reads leaves this host, and what
 * it writes enters it; for the roles on this side it is the other way round. A client's side is every declared role.
 */
export function explain(manifest: Manifest, grants: Grants, query: ExplainQuery): ExplainResult {
  const { world } = manifest;
  const roles = grants.roles.map((role) => role.name);
  if (!roles.includes(query.role)) {
    return mistake(`There is no role "${query.role}"${suggest(query.role, roles)}`);
  }
  const declared = world.components.find((one) => one.name === query.component);
  if (declared === undefined) {
    const names = world.components.map((one) => one.name);
    return mistake(
      `There is no component "${query.component}"${suggest(query.component, names)}`,
    );
  }
  const fields = Object.keys(declared.fields);
  if (query.field !== undefined && !fields.includes(query.field)) {
    return mistake(
      `${query.component} has no field "${query.field}"${suggest(query.field, fields)}`,
    );
  }
  const explainer = new Explainer(manifest, grants, declared, query.role);
  const wanted = query.field === undefined ? fields : [query.field];
  return {
    ok: true,
    explanations: wanted.flatMap((field) => [
      explainer.read(field, true),
      explainer.read(field, false),
      explainer.write(field, true),
      explainer.write(field, false),
    ]),
  };
}

/** The explanations as text for people, without a line break at the end. */
export function explanationText(
  manifest: Manifest,
  query: ExplainQuery,
  explanations: readonly Explanation[],
): string {
  const lineage = lineagesOf(manifest.world.roles).get(query.role)?.slice(1) ?? [];
  const heirs = lineage.length === 0 ? "" : `, which inherits from ${quoted(lineage)}`;
  const lines: string[] = [];
  let last = "";
  for (const { field, access, isOwner, rule, why } of explanations) {
    if (field !== last) {
      if (last !== "") lines.push("");
      lines.push(
        `${query.component}.${field} for "${query.role}"${heirs}${kept(manifest, query, field)}`,
      );
      last = field;
    }
    const question = `${access}, ${isOwner ? "its own entity" : "another's entity"}`;
    const answer = rule === undefined ? "yes" : `no, ${rule}`;
    lines.push(`  ${question.padEnd(24)}  ${answer.padEnd(13)}  ${why}`);
  }
  return lines.join("\n");
}

/** Of a quat, which of its two declarations holds and how exactly it is kept; nothing of other kinds. */
function kept(manifest: Manifest, query: ExplainQuery, name: string): string {
  const component = manifest.world.components.find((one) => one.name === query.component);
  const field = component?.fields[name];
  if (field?.type !== "quat") return "";
  return `; a quat within ${quatText({ precision: field.precision ?? 0, bits: field.bits })}`;
}

class Explainer {
  readonly #gate: Gate;
  readonly #declared: ComponentDeclaration;
  readonly #index: number;
  readonly #role: string;
  readonly #roleIndex: number;
  readonly #lineages: Lineages;
  readonly #path: string;
  readonly #deny: { readonly send?: unknown; readonly receive?: unknown };
  /** The role's peer is this host's own engine. */
  readonly #isHere: boolean;

  constructor(manifest: Manifest, grants: Grants, declared: ComponentDeclaration, role: string) {
    this.#gate = new Gate(grants);
    this.#declared = declared;
    this.#index = grants.components.findIndex((one) => one.name === declared.name);
    this.#role = role;
    this.#roleIndex = grants.roles.findIndex((one) => one.name === role);
    this.#lineages = lineagesOf(manifest.world.roles);
    this.#path = `world.components[${manifest.world.components.indexOf(declared)}]`;
    this.#deny = manifest.host.deny.components[declared.name] ?? {};
    this.#isHere = (role === SERVER) === (manifest.host.role !== "client");
  }

  read(field: string, isOwner: boolean): Explanation {
    const component = this.#gate.grants.components[this.#index]!;
    const bit = this.#bit(field);
    const world = readMaskOf(component, this.#roleIndex, isOwner) & bit;
    const host = (this.#isHere ? component.hostReceiveMask : component.hostSendMask) & bit;
    const rule = world === 0 ? Rule.Role : host === 0 ? Rule.Host : undefined;
    const why = rule === Rule.Host
      ? this.#whyDenied(this.#isHere ? "receive" : "send")
      : this.#whyList("read", field, isOwner) +
        this.#grantable("read", rule, component.grantableRead & bit) +
        (rule === undefined && !isOwner ? this.#whyZones() : "");
    return { field, access: "read", isOwner, rule, why };
  }

  write(field: string, isOwner: boolean): Explanation {
    const direction = this.#isHere ? "out" : "in";
    const decision = this.#gate.decideWrite({
      component: this.#index,
      mask: this.#bit(field),
      roleIndex: this.#roleIndex,
      isOwner,
      direction,
    });
    const rule = decision.allowed ? undefined : decision.rule;
    const why = this.#whyWrite(rule, field, isOwner);
    const checked = rule === undefined && isOwner ? this.#whyChecked(field) : "";
    return { field, access: "write", isOwner, rule, why: `${why}${checked}` };
  }

  #whyWrite(rule: Rule | undefined, field: string, isOwner: boolean): string {
    switch (rule) {
      case Rule.Authority:
        return `${this.#path}.authority is "server": only the server's engine writes it`;
      case Rule.NotOwner:
        return `${this.#path}.authority is "owner": of peers, only the owner of an entity writes it`;
      case Rule.Host:
        return this.#whyDenied(this.#isHere ? "send" : "receive");
      case Rule.Role:
      case undefined: {
        const component = this.#gate.grants.components[this.#index]!;
        return this.#whyList("write", field, false) +
          this.#grantable("write", rule, isOwner ? component.grantableWrite & this.#bit(field) : 0);
      }
      default:
        return ruleText(rule);
    }
  }

  /** Closed zones that hide entities from the role, whatever its rights. */
  #whyZones(): string {
    const { zones } = this.#gate.grants;
    const hiding = zones.filter((one) => ((one.seenByRoles >>> this.#roleIndex) & 1) === 0);
    if (hiding.length === 0) return "";
    return `; in zone ${quoted(hiding.map((one) => one.name))} only while it stands there`;
  }

  /** How what the role writes is judged further, by the server's driver. */
  #whyChecked(field: string): string {
    const { checks, fields } = this.#gate.grants.components[this.#index]!;
    const check = checks.find((one) => fields[one.field]!.name === field);
    if (check === undefined || this.#role === SERVER) return "";
    const path = `${this.#path}.checks.${field}`;
    if (((check.exemptRoles >>> this.#roleIndex) & 1) === 1) return `; ${path} exempts it`;
    return `; ${path} judges it: ${checkText(check)}`;
  }

  /** The words about what the server's engine may do about a refusal. */
  #grantable(key: "read" | "write", rule: Rule | undefined, mask: number): string {
    return rule !== Rule.Role || mask === 0
      ? ""
      : `; ${this.#path}.grantable.${key} lets the server's engine grant it to single peers`;
  }

  #bit(field: string): number {
    return 1 << Object.keys(this.#declared.fields).indexOf(field);
  }

  #whyDenied(way: "send" | "receive"): string {
    const whole = this.#deny[way] === true ? "the whole component" : "this field";
    return `host.deny.components.${this.#declared.name}.${way} takes ${whole} away`;
  }

  /** The lists that let it pass, or the first that does not. */
  #whyList(key: "read" | "write", name: string, isOwner: boolean): string {
    if (this.#role === SERVER) return "the server's engine reads and writes the whole world";
    const field: FieldDeclaration = this.#declared.fields[name]!;
    const lists: [string, readonly string[]][] = [[`${this.#path}.${key}`, this.#declared[key]]];
    const narrower = field[key];
    if (narrower !== undefined) lists.push([`${this.#path}.fields.${name}.${key}`, narrower]);
    const roleWords = lists.map(([, list]) => wordFor(list, this.#role, this.#lineages));
    const ownerWords = lists.map(([, list]) =>
      isOwner ? [OWNER, ALL].find((one) => list.includes(one)) : undefined
    );
    for (const words of [roleWords, ownerWords]) {
      if (!words.every((one) => one !== undefined)) continue;
      return lists.map(([path], at) => `${path} names ${this.#named(words[at]!)}`).join(", and ");
    }
    // The field's own list is asked last, so it is the one to name when the component's would do.
    const words = roleWords[0] === undefined ? ownerWords : roleWords;
    const [path, list] = lists[words.indexOf(undefined)]!;
    const others = list.filter((one) => one !== SERVER);
    return others.length === 0
      ? `${path} names nobody but the server`
      : `${path} names only ${quoted(others)}`;
  }

  #named(word: string): string {
    if (word === OWNER || word === ALL || word === this.#role) return `"${word}"`;
    return `"${word}", from which "${this.#role}" inherits`;
  }
}

function quoted(names: readonly string[]): string {
  return names.map((one) => `"${one}"`).join(", ");
}

function mistake(message: string): ExplainResult {
  return { ok: false, message: `${message}${message.endsWith("?") ? "" : "."}` };
}
