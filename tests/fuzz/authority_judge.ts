// The judge of the authority fuzz. It keeps, for each field of each entity, the line of values that the server's world held, and holds against
// it what engines are told, what peers' writes do, and what acknowledgements promise. Of epochs, tracks and versions it knows nothing.

import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { readMaskOf } from "../../permissions/grants.ts";
import type { FieldValue } from "../../engine/values.ts";
import { keyOf } from "./authority_world.ts";

/** What can be found. */
export type AuthorityFindingKind =
  /** A value that the server's world never held reached an engine that did not write it. */
  | "vetoed"
  /** An engine was told an older value of a field after a newer one, or anything of what had ended there. */
  | "back"
  /** An engine was told a value that is older than what its driver had acknowledged. */
  | "stale"
  /** An acknowledged value that the engine was never told. */
  | "untold"
  /** A write counted though its author did not know yet what had taken its value's place, or was not the owner. */
  | "late"
  /** Ownership or values changed under an epoch that owners' old writes still carry. */
  | "epoch"
  /** Engines or drivers that do not agree in time once nothing changes. */
  | "diverged";

/** One thing found. */
export interface AuthorityFinding {
  readonly kind: AuthorityFindingKind;
  readonly text: string;
}

/** How much a judge looked at. */
export interface AuthoritySeen {
  /** Values told to engines of peers that do not own the entity. */
  thirds: number;
  /** Values told to owners' engines that they did not write. */
  losers: number;
  /** Changes of a peer's components by the server's engine. */
  overrides: number;
  /** Changes of owner. */
  transfers: number;
  /** Writes of peers that counted. */
  applied: number;
  /** Values of peers that never counted. */
  vetoed: number;
  /** Acknowledgements of values. */
  acks: number;
  /** Refusals told to the engines of those who tried. */
  denials: number;
}

/** A value that some engine wrote. */
interface Written {
  readonly author: number;
  /** Newest entry of the field's line that its author's engine had been told of then. */
  readonly knew: number;
  /** Where in the line it stands, ascending; the server's engine may set again what was there before. */
  readonly at: number[];
}

/** One entry of a line: a value, or that the component was taken away. */
interface Held {
  readonly author: number;
  readonly tick: number;
  /** Epoch of the entity that whoever knows of it has heard at least. */
  readonly epoch: number;
  /** The value as text; empty for a removal. */
  readonly key: string;
  /** Nobody wrote it: a component that came back with some of its fields has the neutral value in the others. */
  readonly isNeutral: boolean;
  readonly isRemoval: boolean;
}

/** Findings kept in words; all are counted. */
const MAX_FINDINGS = 12;
const SERVER = 0;
const UNTOLD = -1;

/** Judges one run. */
export class AuthorityJudge {
  readonly grants: Grants;
  readonly findings: AuthorityFinding[] = [];
  readonly totals: Record<AuthorityFindingKind, number> = {
    vetoed: 0,
    back: 0,
    stale: 0,
    untold: 0,
    late: 0,
    epoch: 0,
    diverged: 0,
  };
  readonly seen: AuthoritySeen = {
    thirds: 0,
    losers: 0,
    overrides: 0,
    transfers: 0,
    applied: 0,
    vetoed: 0,
    acks: 0,
    denials: 0,
  };
  readonly #now: () => number;
  /** By field of the manifest and value; no value is written twice. */
  readonly #written = new Map<string, Written>();
  /** By place: entity, component, field. */
  readonly #lines = new Map<string, Held[]>();
  /** By peer and place: newest index that its engine was told. */
  readonly #told = new Map<string, number>();
  /** By peer and place: newest index that its driver has acknowledged. */
  readonly #acked = new Map<string, number>();
  /** By peer and entity: what its engine ended as its owner, and nobody else got since. */
  readonly #ended = new Set<string>();
  /** By entity: the epoch that its last owner brought. */
  readonly #moved = new Map<number, number>();
  /** By peer and entity: what its engine was told to have ended. */
  readonly #gone = new Set<string>();

  /** A judge over a world with these tables; `now` is virtual time, ms. */
  constructor(grants: Grants, now: () => number) {
    this.grants = grants;
    this.#now = now;
  }

  /** Notes a finding. */
  find(kind: AuthorityFindingKind, text: string): void {
    this.totals[kind] += 1;
    if (this.findings.length < MAX_FINDINGS) {
      this.findings.push({ kind, text: `${this.#now().toFixed(1)} ms: ${text}` });
    }
  }

  /** Counts what peers wrote and never counted; call it at the end. */
  count(): void {
    for (const { author, at } of this.#written.values()) {
      if (author !== SERVER && at.length === 0) this.seen.vetoed += 1;
    }
  }

  // ---- what game code does

  /** An engine sets fields of a component; `id` is 0 while the entity has no name. */
  wrote(
    author: number,
    id: number,
    component: ComponentGrant,
    values: Readonly<Record<string, FieldValue>>,
  ): void {
    for (const [field, value] of Object.entries(values)) {
      const knew = this.#told.get(toldKey(author, placeOf(id, component, field))) ?? UNTOLD;
      this.#written.set(valueKey(component, field, value), { author, knew, at: [] });
    }
  }

  /**
   * An owner's engine ends an entity; `owner` is whose it is by then in the server's world, `epoch` the one that the engine was told last, if any.
   * Had it been somebody else's for a while and the engine has not heard of that yet, it may still come back as such.
   */
  ended(author: number, id: number, owner: number, epoch: number | undefined): void {
    const moved = this.#moved.get(id);
    if (author !== owner || (moved !== undefined && (epoch === undefined || epoch < moved))) return;
    this.#ended.add(`${author} ${id}`);
  }

  // ---- what the server's world does

  /** An entity got another owner, under this epoch: it may come back to who ended it too late. */
  moved(id: number, epoch: number): void {
    this.seen.transfers += 1;
    this.#moved.set(id, epoch);
    for (const key of this.#ended) if (key.endsWith(` ${id}`)) this.#ended.delete(key);
  }

  /** Fields of a component have these values in the server's world. `actor` is whose doing it is, `owner` the entity's owner. */
  held(
    actor: number,
    owner: number,
    id: number,
    component: ComponentGrant,
    values: Readonly<Record<string, FieldValue>>,
    tick: number,
    epoch: number,
  ): void {
    if (actor !== SERVER) {
      this.seen.applied += 1;
      if (actor !== owner) this.find("late", `peer ${actor} wrote ${component.name} of ${owner}'s`);
    }
    for (const [field, value] of Object.entries(values)) {
      const place = placeOf(id, component, field);
      const line = this.#line(place);
      const written = this.#written.get(valueKey(component, field, value));
      if (isNeutral(value)) {
        line.push({
          author: actor,
          tick,
          epoch,
          key: keyOf(value),
          isNeutral: true,
          isRemoval: false,
        });
        continue;
      }
      if (written === undefined) {
        this.find("vetoed", `the server holds ${keyOf(value)} in ${place}, which nobody wrote`);
        continue;
      }
      if (actor !== SERVER) this.#judgeApplied(actor, place, value, written, line);
      written.at.push(line.length);
      line.push({
        author: actor,
        tick,
        epoch,
        key: keyOf(value),
        isNeutral: false,
        isRemoval: false,
      });
    }
  }

  #judgeApplied(
    actor: number,
    place: string,
    value: FieldValue,
    written: Written,
    line: readonly Held[],
  ): void {
    if (written.author !== actor) {
      this.find("late", `peer ${actor} set ${place} to a value of peer ${written.author}`);
    }
    if (written.at.length > 0) this.find("late", `${place} has ${keyOf(value)} again`);
    let other = line.length - 1;
    while (other >= 0 && line[other]!.author === actor) other -= 1;
    if (written.knew >= other) return;
    this.find(
      "late",
      `peer ${actor}'s ${keyOf(value)} counts in ${place}, though it knew entry ${written.knew} ` +
        `and peer ${line[other]!.author} wrote entry ${other}`,
    );
  }

  /** A component was taken away in the server's world. */
  removed(
    actor: number,
    owner: number,
    id: number,
    component: ComponentGrant,
    tick: number,
    epoch: number,
  ): void {
    if (actor !== SERVER && actor !== owner) {
      this.find("late", `peer ${actor} took ${component.name} away from ${owner}'s`);
    }
    for (const { name } of component.fields) {
      this.#line(placeOf(id, component, name)).push({
        author: actor,
        tick,
        epoch,
        key: "",
        isNeutral: false,
        isRemoval: true,
      });
    }
  }

  #line(place: string): Held[] {
    let line = this.#lines.get(place);
    if (line === undefined) this.#lines.set(place, line = []);
    return line;
  }

  // ---- what engines are told

  /** An entity came to a peer's engine. */
  came(peer: number, id: number): void {
    const key = `${peer} ${id}`;
    if (!this.#ended.has(key) && !this.#gone.has(key)) return;
    this.find("back", `peer ${peer} was told of entity ${id}, which had ended there`);
  }

  /** Another one's change of fields reached a peer's engine. */
  told(
    peer: number,
    isOwn: boolean,
    id: number,
    component: ComponentGrant,
    values: Readonly<Record<string, FieldValue>>,
  ): void {
    if (this.#gone.has(`${peer} ${id}`)) {
      this.find("back", `peer ${peer} was told ${component.name} of ${id}, which had ended there`);
    }
    if (isOwn) this.seen.losers += 1;
    else this.seen.thirds += 1;
    for (const [field, value] of Object.entries(values)) {
      const place = placeOf(id, component, field);
      if (isNeutral(value)) {
        this.#toldNeutral(peer, isOwn, place);
        continue;
      }
      const written = this.#written.get(valueKey(component, field, value));
      if (written === undefined || written.at.length === 0) {
        // An owner's driver may repeat to its engine what that wrote itself.
        if (isOwn && written?.author === peer) continue;
        const author = written === undefined ? "nobody" : `peer ${written.author}`;
        this.find("vetoed", `peer ${peer} was told ${place} = ${keyOf(value)} of ${author}`);
        continue;
      }
      const key = toldKey(peer, place);
      const before = this.#told.get(key) ?? UNTOLD;
      const acked = this.#acked.get(key) ?? UNTOLD;
      // The oldest place that is in order.
      const floor = Math.max(before, acked);
      const index = written.at.find((one) => one >= floor) ?? written.at.at(-1)!;
      const what = `peer ${peer} was told entry ${index} of ${place}`;
      if (index < before) this.find("back", `${what} after ${before}`);
      else if (index < acked) this.find("stale", `${what} after it acknowledged ${acked}`);
      this.#told.set(key, Math.max(before, index));
    }
  }

  /** Neutral values are all alike: the newest of the line may be meant. */
  #toldNeutral(peer: number, isOwn: boolean, place: string): void {
    const line = this.#line(place);
    const key = toldKey(peer, place);
    let index = line.length - 1;
    while (index >= 0 && !line[index]!.isNeutral) index -= 1;
    const before = this.#told.get(key) ?? UNTOLD;
    if (index < before && !isOwn) {
      this.find("back", `peer ${peer} was told a neutral value of ${place} after entry ${before}`);
    }
    this.#told.set(key, Math.max(before, index));
  }

  /** A peer's engine was told that a component is gone: it knows of what was taken away so far. */
  toldRemoved(peer: number, id: number, component: ComponentGrant): void {
    for (const { name } of component.fields) {
      const place = placeOf(id, component, name);
      const line = this.#line(place);
      const key = toldKey(peer, place);
      const before = this.#told.get(key) ?? UNTOLD;
      // Which of several removals it was is not told: the oldest one.
      const index = line.findIndex(({ isRemoval }, at) => isRemoval && at > before);
      this.#told.set(key, Math.max(before, index));
    }
  }

  /** An owner's driver has heard of an entity's `epoch`, and its engine has no such component of it: it knows of removals up to then. */
  sawNone(peer: number, id: number, component: ComponentGrant, epoch: number): void {
    for (const { name } of component.fields) {
      const place = placeOf(id, component, name);
      const line = this.#line(place);
      let index = line.length - 1;
      while (index >= 0 && !(line[index]!.isRemoval && line[index]!.epoch <= epoch)) index -= 1;
      const key = toldKey(peer, place);
      this.#told.set(key, Math.max(this.#told.get(key) ?? UNTOLD, index));
    }
  }

  /** A peer's engine was told that an entity ended. */
  toldGone(peer: number, id: number): void {
    this.#gone.add(`${peer} ${id}`);
  }

  // ---- what drivers acknowledge

  /**
   * A peer's driver has acknowledged a component's value as it was in the server's world at `tick`; `engine` says what its engine has to show
   * for it: nothing where it does not know the entity, or the component is out of its view.
   */
  acknowledged(
    peer: number,
    id: number,
    component: ComponentGrant,
    tick: number,
    role: number | undefined,
  ): void {
    this.seen.acks += 1;
    // What only owners read may have gone or not, as ownership was then.
    const readable = role === undefined
      ? 0
      : readMaskOf(component, role, false) & readMaskOf(component, role, true);
    for (const { name, index: bit } of component.fields) {
      const place = placeOf(id, component, name);
      const line = this.#line(place);
      let index = line.length - 1;
      while (index >= 0 && line[index]!.tick > tick) index -= 1;
      const key = toldKey(peer, place);
      this.#acked.set(key, Math.max(this.#acked.get(key) ?? UNTOLD, index));
      if ((readable & (1 << bit)) === 0) continue;
      const told = this.#told.get(key) ?? UNTOLD;
      if (told >= index || line[index]!.author === peer) continue;
      // The server's engine set what it was before, and the engine has that still.
      if (line[told]?.key === line[index]!.key) continue;
      this.find("untold", `peer ${peer} acknowledged entry ${index} of ${place}, told ${told}`);
    }
  }
}

/** Nobody writes one of these. */
function isNeutral(value: FieldValue): boolean {
  return value === 0 || value === "" || keyOf(value) === "0 0 0";
}

function placeOf(id: number, component: ComponentGrant, field: string): string {
  return `${id}.${component.name}.${field}`;
}

function toldKey(peer: number, place: string): string {
  return `${peer} ${place}`;
}

function valueKey(component: ComponentGrant, field: string, value: FieldValue): string {
  return `${component.index}.${field} ${keyOf(value)}`;
}
