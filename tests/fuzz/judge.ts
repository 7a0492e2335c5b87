// The judge of a run: what every field's value was and when, who could read and write what at each moment, and whether anything passed
// that should not have. It is told of everything by the watchers and decides by `rights.ts` alone.

import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { type Adjustment, NO_ADJUSTMENT, Rights } from "./rights.ts";
import { findCanaries } from "./canaries.ts";
import { keyOf, neutralKeys } from "./values.ts";

/** What a canary stands for. */
export type CanaryMeaning =
  | { readonly kind: "field"; readonly component: string; readonly field: string; entity: number }
  | { readonly kind: "event"; readonly event: string };

/**
 * `leak`: a value came to somebody who had no right to it; `unauthorised`: somebody changed something without the right; `retained`: what came
 * by right is still held long after the right was gone.
 */
export type FindingKind = "leak" | "unauthorised" | "retained";

/** What a finding is about. */
export interface Finding {
  readonly kind: FindingKind;
  /** In words, for the report. */
  readonly text: string;
}

/** Who acts on the server's world at this moment. */
export type Actor =
  | { readonly kind: "engine" }
  | { readonly kind: "peer"; readonly peer: number }
  | { readonly kind: "time" };

interface Version {
  readonly key: string;
  readonly from: number;
  until: number;
}

interface EntityFacts {
  /** Owners one after the other, each from a moment on. */
  readonly owners: { readonly from: number; readonly atMs: number; readonly owner: number }[];
  /** Versions by component index, then field index. */
  readonly versions: Map<number, Version[][]>;
}

interface PeerFacts {
  readonly rights: {
    readonly from: number;
    readonly atMs: number;
    readonly role: string;
    readonly changes: Changes;
  }[];
  /** Moments at which a datagram for the peer was built, ascending. */
  readonly builds: number[];
}

type Changes = ReadonlyMap<string, Adjustment>;

/** Entity of a canary that has not reached the server's world. */
export const NOWHERE = -1;
/** Findings kept in words; the others are counted. */
const KEPT_FINDINGS = 20;

/** Judges one run over one world. */
export class Judge {
  readonly rights: Rights;
  readonly grants: Grants;
  readonly findings: Finding[] = [];
  /** Findings of each kind. */
  readonly totals: Record<FindingKind, number> = { leak: 0, unauthorised: 0, retained: 0 };
  /** Canaries seen on their way to peers, fields judged on arrival, changes judged. */
  readonly seen = { canaries: 0, fields: 0, privateFields: 0, changes: 0 };
  /** Meaning by canary number; the number is the index. */
  readonly canaries: CanaryMeaning[] = [];
  readonly #neutral: readonly string[][];
  readonly #entities = new Map<number, EntityFacts>();
  readonly #peers = new Map<number, PeerFacts>();
  readonly #scratch: readonly ComponentValue[];
  readonly #anyHost: Rights;
  readonly #clock: () => number;
  /** Counts what happens, so that the order within one moment of virtual time is known. */
  #now = 1;

  /** `clock` gives the virtual time, ms. */
  constructor(rights: Rights, grants: Grants, clock: () => number) {
    this.rights = rights;
    this.#anyHost = new Rights(rights.world, {});
    this.#clock = clock;
    this.grants = grants;
    this.#neutral = grants.components.map(neutralKeys);
    this.#scratch = grants.components.map((component) => createValue(component));
  }

  // ---- peers

  /** A peer has a place, with the default role and nothing adjusted. */
  peerJoined(peer: number): void {
    this.#peers.set(peer, { rights: [], builds: [] });
    this.#setRights(peer, this.rights.world.defaultRole, new Map());
  }

  roleChanged(peer: number, role: string): void {
    const facts = this.#peers.get(peer);
    if (facts !== undefined) this.#setRights(peer, role, facts.rights.at(-1)!.changes);
  }

  /** The peer's adjustment of one component is this from now on. */
  adjusted(peer: number, component: string, adjustment: Adjustment): void {
    const facts = this.#peers.get(peer);
    if (facts === undefined) return;
    const last = facts.rights.at(-1)!;
    this.#setRights(peer, last.role, new Map(last.changes).set(component, adjustment));
  }

  #setRights(peer: number, role: string, changes: Changes): void {
    this.#peers.get(peer)!.rights.push({
      from: ++this.#now,
      atMs: this.#clock(),
      role,
      changes,
    });
  }

  /** Whether the peer is known. */
  hasPeer(peer: number): boolean {
    return this.#peers.has(peer);
  }

  roleOf(peer: number): string {
    return this.#peers.get(peer)!.rights.at(-1)!.role;
  }

  adjustmentOf(peer: number, component: string): Adjustment {
    return this.#peers.get(peer)?.rights.at(-1)?.changes.get(component) ?? NO_ADJUSTMENT;
  }

  // ---- the server's world

  spawned(id: number, owner: number): void {
    this.#entities.set(id, {
      owners: [{ from: ++this.#now, atMs: this.#clock(), owner }],
      versions: new Map(),
    });
  }

  ownerChanged(id: number, owner: number): void {
    this.#entities.get(id)!.owners.push({
      from: ++this.#now,
      atMs: this.#clock(),
      owner,
    });
  }

  /** The entity is gone, or one component of it. */
  ended(id: number, component?: number): void {
    const until = ++this.#now;
    const { versions } = this.#entities.get(id)!;
    for (const [c, fields] of versions) {
      if (component !== undefined && c !== component) continue;
      for (const list of fields) {
        const last = list.at(-1);
        if (last !== undefined && last.until === Infinity) last.until = until;
      }
    }
  }

  /** Fields of a component have these values now. */
  valued(id: number, c: number, mask: number, value: ComponentValue): void {
    const from = ++this.#now;
    const component = this.grants.components[c]!;
    const { versions } = this.#entities.get(id)!;
    let fields = versions.get(c);
    if (fields === undefined) versions.set(c, fields = component.fields.map(() => []));
    for (const field of component.fields) {
      if ((mask & (1 << field.index)) === 0) continue;
      const list = fields[field.index]!;
      const last = list.at(-1);
      if (last !== undefined && last.until === Infinity) last.until = from;
      const key = keyOf(field, value);
      list.push({ key, from, until: Infinity });
      if (field.blobIndex >= 0) this.#name(value.blobs[field.blobIndex]!, id);
    }
  }

  /** The canaries of a value that reached the world belong to this entity. */
  #name(bytes: Uint8Array, id: number): void {
    for (const number of findCanaries(bytes.subarray(0, 16))) {
      const meaning = this.canaries[number];
      if (meaning?.kind === "field") meaning.entity = id;
    }
  }

  ownerOf(id: number): number {
    return this.#entities.get(id)?.owners.at(-1)?.owner ?? NOWHERE;
  }

  // ---- judging what leaves

  /** Bytes are on their way to a peer; a datagram is a moment of building. */
  sent(peer: number, bytes: Uint8Array, isDatagram: boolean): void {
    const facts = this.#peers.get(peer);
    if (isDatagram && facts !== undefined) facts.builds.push(++this.#now);
    for (const number of findCanaries(bytes)) {
      this.seen.canaries += 1;
      const meaning = this.canaries[number];
      if (meaning === undefined) continue;
      if (facts === undefined) {
        this.#find("leak", `bytes of canary ${number} go to a stranger`);
      } else if (meaning.kind === "event") {
        const role = this.roleOf(peer);
        if (!this.rights.mayHear(role, meaning.event)) {
          this.#find("leak", `event ${meaning.event} goes to peer ${peer}, a ${role}`);
        }
      } else if (meaning.entity === NOWHERE) {
        this.#find("leak", `bytes that were never in the world go to peer ${peer}`);
      } else if (!this.mayReadNow(peer, meaning.entity, meaning.component, meaning.field)) {
        const { component, field, entity } = meaning;
        this.#find(
          "leak",
          `bytes of ${component}.${field} of ${entity} go to peer ${peer}, a ${this.roleOf(peer)}`,
        );
      }
    }
  }

  mayReadNow(peer: number, entity: number, component: string, field: string): boolean {
    const isOwner = this.ownerOf(entity) === peer;
    const adjustment = this.adjustmentOf(peer, component);
    return this.rights.mayRead(this.roleOf(peer), component, field, isOwner, adjustment);
  }

  /** Whether the world lets the peer know this field: what the server's host alone denies it may keep, as one who wrote it itself. */
  mayKnowNow(peer: number, entity: number, component: string, field: string): boolean {
    const isOwner = this.ownerOf(entity) === peer;
    const adjustment = this.adjustmentOf(peer, component);
    return this.#anyHost.mayRead(this.roleOf(peer), component, field, isOwner, adjustment);
  }

  /** Whether a field of the world ever had this value. */
  wasEver(id: number, component: number, field: number, key: string): boolean {
    const versions = this.#entities.get(id)?.versions.get(component)?.[field] ?? [];
    return versions.some((version) => version.key === key);
  }

  /** Whether nothing has changed in the peer's rights and the entity's owner since `sinceMs`. */
  isSettled(peer: number, id: number, sinceMs: number): boolean {
    const owners = this.#entities.get(id)?.owners;
    return owners !== undefined && owners.at(-1)!.atMs < sinceMs &&
      this.#peers.get(peer)!.rights.at(-1)!.atMs < sinceMs;
  }

  /** A field with this value is at a peer, as it says; the value must have been the newest when a datagram was built that might hold it. */
  arrived(peer: number, id: number, component: ComponentGrant, field: number, key: string): void {
    this.seen.fields += 1;
    if (!this.mayEverRead(component, field)) this.seen.privateFields += 1;
    // A neutral value says nothing, and takes the place of what was revoked.
    if (key === this.#neutral[component.index]![field]) return;
    const declared = component.fields[field]!;
    if (declared.kind === "entity" && key === "0") return;
    const versions = this.#entities.get(id)?.versions.get(component.index)?.[field] ?? [];
    for (let i = versions.length - 1; i >= 0; i--) {
      const version = versions[i]!;
      if (version.key !== key) continue;
      if (this.#couldGet(peer, id, component.name, declared.name, version)) return;
    }
    this.#find(
      "leak",
      `${key} versions ${
        JSON.stringify(versions)
      } ${component.name}.${declared.name} of ${id} is at peer ${peer}, a ${
        this.roleOf(peer)
      }, who ${
        versions.some((one) => one.key === key) ? "had no right to it" : "cannot have it from here"
      }`,
    );
  }

  /** Whether everyone may read the field, so that judging it proves little. */
  mayEverRead(component: ComponentGrant, field: number): boolean {
    const { name } = component.fields[field]!;
    return this.rights.world.roles.every((role) =>
      this.rights.mayRead(role.name, component.name, name, false)
    );
  }

  #couldGet(
    peer: number,
    id: number,
    component: string,
    field: string,
    { from, until }: Version,
  ): boolean {
    const { builds, rights } = this.#peers.get(peer)!;
    const { owners } = this.#entities.get(id)!;
    for (let i = firstAfter(builds, from); i < builds.length && builds[i]! < until; i++) {
      const at = builds[i]!;
      const { role, changes } = lastBefore(rights, at)!;
      const isOwner = lastBefore(owners, at)?.owner === peer;
      const adjustment = changes.get(component);
      if (this.rights.mayRead(role, component, field, isOwner, adjustment)) return true;
    }
    return false;
  }

  // ---- judging what enters

  /** The server's driver changes fields of a component on behalf of `actor`. */
  changing(actor: Actor, id: number, c: number, mask: number): void {
    this.seen.changes += 1;
    if (actor.kind === "engine") return;
    const component = this.grants.components[c]!;
    const owner = this.ownerOf(id);
    const peer = actor.kind === "peer" ? actor.peer : owner;
    for (const field of component.fields) {
      if ((mask & (1 << field.index)) === 0) continue;
      if (this.mayWriteNow(peer, id, component.name, field.name)) continue;
      this.#find(
        "unauthorised",
        `peer ${peer}${
          this.hasPeer(peer) ? `, a ${this.roleOf(peer)},` : ""
        } wrote ${component.name}.${field.name} of ${id}, whose owner is ${owner}`,
      );
    }
  }

  mayWriteNow(peer: number, id: number, component: string, field: string): boolean {
    if (!this.#peers.has(peer)) return false;
    const isOwner = this.ownerOf(id) === peer;
    const adjustment = this.adjustmentOf(peer, component);
    return this.rights.mayWrite(this.roleOf(peer), component, field, isOwner, adjustment);
  }

  /** A component comes or goes on behalf of `actor`; `value` is the whole first value. */
  composing(actor: Actor, id: number, c: number, value: ComponentValue | undefined): void {
    this.seen.changes += 1;
    if (actor.kind === "engine") return;
    const component = this.grants.components[c]!;
    const owner = this.ownerOf(id);
    const peer = actor.kind === "peer" ? actor.peer : owner;
    if (
      peer !== owner || !this.#peers.has(peer) ||
      !this.rights.mayCompose(this.roleOf(peer), component.name)
    ) {
      const deed = value === undefined ? "removed" : "added";
      this.#find("unauthorised", `peer ${peer} ${deed} ${component.name} of ${id} of ${owner}`);
    }
    if (value === undefined) return;
    const set = component.fields.filter((field) =>
      keyOf(field, value) !== this.#neutral[c]![field.index]
    );
    this.changing(actor, id, c, set.reduce((mask, field) => mask | (1 << field.index), 0));
  }

  /** Something that only the server's engine may do, or a peer with its own entity. */
  commanding(actor: Actor, deed: string, owner: number | undefined): void {
    this.seen.changes += 1;
    if (actor.kind === "engine" || actor.kind === "time") return;
    if (owner !== actor.peer) {
      this.#find("unauthorised", `peer ${actor.peer} did ${deed} to an entity of ${owner}`);
    }
  }

  /** The server's engine took a value from its driver, for an entity of one of these owners, whom it knows under roles it knows. */
  taken(
    owners: readonly {
      readonly peer: number;
      readonly role: string | undefined;
      readonly adjustment: Adjustment;
    }[],
    component: string,
    field: string,
  ): void {
    this.seen.changes += 1;
    const isFine = owners.some(({ role, adjustment }) =>
      role !== undefined && this.rights.mayWrite(role, component, field, true, adjustment)
    );
    if (isFine) return;
    const who = owners.map(({ peer, role }) => `peer ${peer}, a ${role}`).join(", or ");
    this.#find("unauthorised", `the engine took ${component}.${field} of ${who || "no peer"}`);
  }

  /** Reads the present value of a component of the server's world into a scratch value. */
  scratch(c: number): ComponentValue {
    return this.#scratch[c]!;
  }

  /** Notes a finding. */
  find(kind: FindingKind, text: string): void {
    this.#find(kind, text);
  }

  #find(kind: FindingKind, text: string): void {
    this.totals[kind] += 1;
    if (this.findings.length < KEPT_FINDINGS) this.findings.push({ kind, text });
  }
}

/** The last entry whose moment is not after `at`. */
function lastBefore<T extends { readonly from: number }>(list: readonly T[], at: number) {
  for (let i = list.length - 1; i >= 0; i--) if (list[i]!.from <= at) return list[i];
  return undefined;
}

/** Index of the first of ascending numbers above `at`. */
function firstAfter(list: readonly number[], at: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]! > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
