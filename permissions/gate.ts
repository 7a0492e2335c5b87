// The only door between an engine's world and the network: may this field, write, spawn, event, message or frame pass? Default deny:
// what the tables do not grant is refused. It knows no bytes, no clock and no state; rates are in `rate_limiter.ts`, counts in `denials.ts`.

import { assert } from "../protocol/assert.ts";
import { MAX_KEPT_DENIALS, MAX_NAME_BYTES } from "../protocol/limits.ts";
import type { Adjustments } from "./adjustments.ts";
import type { ChannelGrant, ComponentGrant, Grants } from "./grants.ts";
import { ownWriteMaskOf, readMaskOf, SERVER_ROLE } from "./grants.ts";
import { Rule } from "./rule.ts";

export { Rule, ruleCode, ruleOfCode, ruleText } from "./rule.ts";

/** The answer of the gate. Answers are shared objects: asking costs no allocation, but for the first denials of their kind. */
export type Decision = Allowed | Denied;

/** Yes. */
export interface Allowed {
  /** The answer. */
  readonly allowed: true;
}

/** No, and why. */
export interface Denied {
  /** The answer. */
  readonly allowed: false;
  /** The rule that decided. */
  readonly rule: Rule;
  /** Mask of the fields refused; 0 where it does not apply. Fields of the request outside it would have passed. */
  readonly fields: number;
}

/** The one answer yes. */
export const ALLOWED: Allowed = Object.freeze({ allowed: true });

/** Way through the door, seen from the engine: `in` from the network, `out` to it. */
export type Direction = "in" | "out";

const DENIED: ReadonlyMap<Rule, Denied> = new Map(
  Object.values(Rule).map((rule) => [rule, Object.freeze({ allowed: false, rule, fields: 0 })]),
);

/** A shared answer no that concerns no fields. */
export function denied(rule: Rule): Denied {
  return DENIED.get(rule)!;
}

/**
 * Decides from compiled grants. Indices are dense ones (`Grants.components` and so on); any number that is none of them is denied as
 * undeclared, never an exception. A role index of 0 is the server's engine. `adjusted` is what was granted to and revoked from the peer
 * in question while running; left out, only its role counts. Spawning, adding and removing are rights of roles alone.
 *
 * Rules are asked in one order: undeclared, field, authority, role, revoked, owner, host, size. The first that refuses is the answer. The
 * world is asked before the host, so that a write no manifest would allow is not excused by the host's own narrowing.
 */
export class Gate {
  /** The tables it decides from. */
  readonly grants: Grants;
  readonly #roles: number;
  /** Per component, role and ownership: the fields that may leave. */
  readonly #read: Int32Array;
  /** Per component, role, ownership and direction: the fields that may be written. */
  readonly #write: Int32Array;
  /** Per component and direction (in, out): the fields that this host lets pass. */
  readonly #host: Int32Array;
  /** Answers given, by rule and fields, bounded: a flood of refused writes makes no garbage. */
  readonly #denials = new Map<Rule, Map<number, Denied>>();
  #keptDenials = 0;

  /** Builds the tables of the hot path. */
  constructor(grants: Grants) {
    this.grants = grants;
    this.#roles = grants.roles.length;
    this.#read = new Int32Array(grants.components.length * this.#roles * 2);
    this.#write = new Int32Array(grants.components.length * this.#roles * 4);
    this.#host = new Int32Array(grants.components.length * 2);
    for (const component of grants.components) {
      assert(grants.components[component.index] === component, "components lie at their index");
      this.#host[component.index * 2] = component.hostReceiveMask;
      this.#host[component.index * 2 + 1] = component.hostSendMask;
      for (let role = 0; role < this.#roles; role++) this.#fill(component, role);
    }
  }

  #fill(component: ComponentGrant, role: number): void {
    const at = component.index * this.#roles + role;
    for (const owner of [0, 1]) {
      const read = (component.readMasks[role] ?? 0) | (owner === 1 ? component.ownerReadMask : 0);
      this.#read[at * 2 + owner] = read & component.hostSendMask;
      const may = role === SERVER_ROLE || (component.authority === "owner" && owner === 1);
      const write = may ? component.writeMasks[role] ?? 0 : 0;
      this.#write[at * 4 + owner * 2] = write & component.hostReceiveMask;
      this.#write[at * 4 + owner * 2 + 1] = write & component.hostSendMask;
    }
  }

  #denied(rule: Rule, fields: number): Denied {
    if (fields === 0) return denied(rule);
    let kept = this.#denials.get(rule);
    const known = kept?.get(fields);
    if (known !== undefined) return known;
    const answer: Denied = Object.freeze({ allowed: false, rule, fields });
    if (this.#keptDenials >= MAX_KEPT_DENIALS) return answer;
    if (kept === undefined) this.#denials.set(rule, kept = new Map());
    kept.set(fields, answer);
    this.#keptDenials += 1;
    return answer;
  }

  /** Row of a component and role in the tables, or -1 when there is none. */
  #row(component: number, roleIndex: number): number {
    return this.#isIndex(component, this.grants.components.length) &&
        this.#isIndex(roleIndex, this.#roles)
      ? component * this.#roles + roleIndex
      : -1;
  }

  #isIndex(value: number, length: number): boolean {
    return Number.isInteger(value) && value >= 0 && value < length;
  }

  #hasRole(roles: number, roleIndex: number): boolean {
    return this.#isIndex(roleIndex, this.#roles) && ((roles >>> roleIndex) & 1) === 1;
  }

  /** Fields of a component that may leave this host for a viewer: a table read, or four where it is adjusted. 0 for anything undeclared. */
  readMask(
    component: number,
    roleIndex: number,
    isOwner: boolean,
    adjusted?: Adjustments,
  ): number {
    const row = this.#row(component, roleIndex);
    if (row < 0) return 0;
    const mask = this.#read[row * 2 + (isOwner ? 1 : 0)]!;
    if (adjusted === undefined) return mask;
    return adjusted.reading(component, mask) & this.#host[component * 2 + 1]!;
  }

  /** Fields of a component that a peer may write through this host, from the network (`in`) or to it (`out`): as {@linkcode Gate.readMask}. */
  writeMask(
    component: number,
    roleIndex: number,
    isOwner: boolean,
    direction: Direction,
    adjusted?: Adjustments,
  ): number {
    const row = this.#row(component, roleIndex);
    if (row < 0) return 0;
    const way = direction === "out" ? 1 : 0;
    const mask = this.#write[row * 4 + (isOwner ? 2 : 0) + way]!;
    // What can be granted is the writing of one's own entities.
    if (adjusted === undefined || !isOwner) return mask;
    return adjusted.writing(component, mask) & this.#host[component * 2 + way]!;
  }

  /** May this one field leave for this viewer? The reason behind {@linkcode Gate.readMask}. */
  decideRead(q: {
    readonly component: number;
    readonly field: number;
    readonly roleIndex: number;
    readonly isOwner: boolean;
    readonly adjusted?: Adjustments | undefined;
  }): Decision {
    const component = this.grants.components[q.component];
    if (component === undefined || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    if (!this.#isIndex(q.field, component.fields.length)) return denied(Rule.Field);
    const bit = 1 << q.field;
    const passing = this.readMask(q.component, q.roleIndex, q.isOwner, q.adjusted);
    if ((passing & bit) !== 0) return ALLOWED;
    if ((readMaskOf(component, q.roleIndex, q.isOwner, q.adjusted) & bit) !== 0) {
      return this.#denied(Rule.Host, bit);
    }
    const byRole = readMaskOf(component, q.roleIndex, q.isOwner);
    return this.#denied((byRole & bit) === 0 ? Rule.Role : Rule.Revoked, bit);
  }

  /**
   * May these fields be written? `in`: by a peer of `roleIndex`, from the network; `out`: by the own engine, whose role that is, to it.
   *
   * An empty mask asks whether the role could write anything. A denial's `fields` are those refused by its rule.
   */
  decideWrite(q: {
    readonly component: number;
    readonly mask: number;
    readonly roleIndex: number;
    readonly isOwner: boolean;
    readonly direction: Direction;
    readonly adjusted?: Adjustments | undefined;
  }): Decision {
    const component = this.grants.components[q.component];
    if (component === undefined || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    if (!Number.isInteger(q.mask) || q.mask < 0 || q.mask > component.allFields) {
      return this.#denied(Rule.Field, (q.mask & ~component.allFields) >>> 0);
    }
    const passing = this.writeMask(
      q.component,
      q.roleIndex,
      q.isOwner,
      q.direction,
      q.adjusted,
    );
    if (passing !== 0 && (q.mask & ~passing) === 0) return ALLOWED;
    return this.#whyNotWrite(component, q.mask, q.roleIndex, q.isOwner, q.direction, q.adjusted);
  }

  #whyNotWrite(
    component: ComponentGrant,
    mask: number,
    roleIndex: number,
    isOwner: boolean,
    direction: Direction,
    adjusted: Adjustments | undefined,
  ): Denied {
    if (roleIndex !== SERVER_ROLE) {
      if (component.authority === "server") return this.#denied(Rule.Authority, mask);
      const world = ownWriteMaskOf(component, roleIndex, adjusted);
      const refused = mask & ~world;
      if (world === 0 || refused !== 0) {
        const byRole = ownWriteMaskOf(component, roleIndex);
        // What the role never had weighs more than what was taken from it.
        if (byRole === 0 || (refused & ~byRole) !== 0) {
          return this.#denied(Rule.Role, refused & ~byRole);
        }
        return this.#denied(Rule.Revoked, refused);
      }
      if (!isOwner) return this.#denied(Rule.NotOwner, mask);
    }
    return this.#denied(Rule.Host, mask & ~hostMask(component, direction));
  }

  /**
   * May a peer spawn an entity with these components? `ownedCount` counts the entities it has spawned, `ownedWith` those with one component.
   *
   * `direction` asks the host too; left out, the world alone. A denial's `fields` is 0.
   */
  decideSpawn(q: {
    readonly components: ArrayLike<number>;
    readonly roleIndex: number;
    readonly ownedCount: number;
    readonly ownedWith: (component: number) => number;
    readonly direction?: Direction;
  }): Decision {
    const isServer = q.roleIndex === SERVER_ROLE;
    if (!this.#isIndex(q.roleIndex, this.#roles)) return denied(Rule.Undeclared);
    // An entity of nothing is visible to nobody: peers have no right to fill the world with them.
    if (q.components.length === 0 && !isServer) return denied(Rule.SpawnRole);
    for (let i = 0; i < q.components.length; i++) {
      const answer = this.#decideAdd(q.components[i]!, q.roleIndex, q.ownedWith, q.direction);
      if (!answer.allowed) return answer;
    }
    if (!isServer && !(q.ownedCount < this.grants.maxEntitiesPerPeer)) {
      return denied(Rule.SpawnCount);
    }
    return ALLOWED;
  }

  /** May a peer add a component to, or remove it from, an entity that exists? `ownedWith` as in {@linkcode Gate.decideSpawn}. */
  decideChange(q: {
    readonly component: number;
    readonly op: "add" | "remove";
    readonly roleIndex: number;
    readonly isOwner: boolean;
    readonly ownedWith: (component: number) => number;
    readonly direction?: Direction;
  }): Decision {
    if (!this.#isIndex(q.roleIndex, this.#roles)) return denied(Rule.Undeclared);
    const answer = this.#decideAdd(
      q.component,
      q.roleIndex,
      q.op === "add" ? q.ownedWith : none,
      q.direction,
    );
    if (!answer.allowed) return answer;
    return q.isOwner || q.roleIndex === SERVER_ROLE ? ALLOWED : denied(Rule.NotOwner);
  }

  /** May a peer despawn an entity? Its own, and the server's engine any. */
  decideDespawn(q: { readonly roleIndex: number; readonly isOwner: boolean }): Decision {
    if (!this.#isIndex(q.roleIndex, this.#roles)) return denied(Rule.Undeclared);
    return q.isOwner || q.roleIndex === SERVER_ROLE ? ALLOWED : denied(Rule.NotOwner);
  }

  #decideAdd(
    index: number,
    roleIndex: number,
    ownedWith: (component: number) => number,
    direction: Direction | undefined,
  ): Decision {
    const component = this.grants.components[index];
    if (component === undefined) return denied(Rule.Undeclared);
    if (!this.#hasRole(component.spawnRoles, roleIndex)) return denied(Rule.SpawnRole);
    if (roleIndex !== SERVER_ROLE && ownedWith !== none) {
      if (!(ownedWith(index) < component.spawnMax)) return denied(Rule.SpawnCount);
    }
    if (direction !== undefined && hostMask(component, direction) === 0) return denied(Rule.Host);
    return ALLOWED;
  }

  /** May a peer of this role send, or be given, this event through this host? */
  decideEvent(q: {
    readonly event: number;
    readonly roleIndex: number;
    readonly direction: Direction;
    readonly op: "send" | "receive";
  }): Decision {
    const event = this.grants.events[q.event];
    if (event === undefined || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    const roles = q.op === "send" ? event.sendRoles : event.receiveRoles;
    if (!this.#hasRole(roles, q.roleIndex)) return denied(Rule.Role);
    return passes(event, q.direction) ? ALLOWED : denied(Rule.Host);
  }

  /** May a peer of this role send, or be given, a message of `bytes` bytes on this channel through this host? */
  decideChannel(q: {
    readonly channel: number;
    readonly roleIndex: number;
    readonly direction: Direction;
    readonly op: "send" | "receive";
    readonly bytes: number;
  }): Decision {
    const channel = this.grants.channels[q.channel];
    if (channel === undefined || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    const roles = q.op === "send" ? channel.sendRoles : channel.receiveRoles;
    if (!this.#hasRole(roles, q.roleIndex)) return denied(Rule.Role);
    if (!passes(channel, q.direction)) return denied(Rule.Host);
    return q.bytes >= 0 && q.bytes <= channel.maxBytes ? ALLOWED : denied(Rule.Size);
  }

  /**
   * May a channel of this name be opened between a peer of this role and the server's engine? Whoever may send or receive on it may open it.
   * `open` counts the channels of this declaration that the peer has open; undefined leaves the count to the caller.
   */
  decideOpen(q: {
    readonly channel: number;
    readonly name: string;
    readonly roleIndex: number;
    readonly open?: number;
  }): Decision {
    const channel = this.grants.channels[q.channel];
    if (channel === undefined || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    if (!isNameOf(channel, q.name)) return denied(Rule.Channel);
    if (!this.#hasRole(channel.sendRoles | channel.receiveRoles, q.roleIndex)) {
      return denied(Rule.Role);
    }
    if (!channel.hostSend && !channel.hostReceive) return denied(Rule.Host);
    return q.open === undefined || q.open < channel.maxOpen ? ALLOWED : denied(Rule.ChannelCount);
  }

  /** May a peer of this role speak, or be given, a voice frame of `bytes` bytes through this host? */
  decideVoice(q: {
    readonly roleIndex: number;
    readonly op: "speak" | "hear";
    readonly direction: Direction;
    readonly bytes: number;
  }): Decision {
    const voice = this.grants.voice;
    if (voice.speakRoles === 0 || !this.#isIndex(q.roleIndex, this.#roles)) {
      return denied(Rule.Undeclared);
    }
    const roles = q.op === "speak" ? voice.speakRoles : voice.hearRoles;
    if (!this.#hasRole(roles, q.roleIndex)) return denied(Rule.Role);
    if (!passes(voice, q.direction)) return denied(Rule.Host);
    return q.bytes > 0 && q.bytes <= voice.maxFrameBytes ? ALLOWED : denied(Rule.Size);
  }
}

function none(): number {
  return 0;
}

function hostMask(component: ComponentGrant, direction: Direction): number {
  return direction === "out" ? component.hostSendMask : component.hostReceiveMask;
}

function passes(
  host: { readonly hostSend: boolean; readonly hostReceive: boolean },
  direction: Direction,
): boolean {
  return direction === "out" ? host.hostSend : host.hostReceive;
}

/** True when `name` is the channel's own name, or one inside its namespace: letters, digits, `_`, `.`, `-` and `/` between parts. */
export function isNameOf(channel: ChannelGrant, name: string): boolean {
  if (!channel.namespace) return name === channel.name;
  // The pattern is ASCII, so characters are bytes.
  if (name.length > MAX_NAME_BYTES) return false;
  const prefix = channel.name.slice(0, -1);
  return name.startsWith(prefix) &&
    /^[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+)*$/.test(name.slice(prefix.length));
}
