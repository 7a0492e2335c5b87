// What the parts of one engine link share: tables, world, ledger, who this engine is, who else is there, counters and denials. It decides
// nothing but says who owns what; the gate decides.

import type { Handle } from "../protocol/engine_messages.ts";
import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { type Adjustment, Adjustments } from "../permissions/adjustments.ts";
import { Denials } from "../permissions/denials.ts";
import { Gate } from "../permissions/gate.ts";
import {
  type ChannelGrant,
  type ComponentGrant,
  type EventGrant,
  type Grants,
  SERVER_ROLE,
} from "../permissions/grants.ts";
import type { Rule } from "../permissions/rule.ts";
import { suggest } from "../permissions/suggest.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import { DirtySet } from "./dirty_set.ts";
import { EntityLedger, type EntityRecord, isEngineHandle, OWN_UNNAMED } from "./entity_ledger.ts";
import { OwnerOrders } from "./owner_orders.ts";
import type { WorldAdapter } from "./world_adapter.ts";

/** The role of a host, as its manifest says. */
export type LinkRole = "server" | "client" | "loopback";

/** What a denial was about. */
export interface DenialFacts {
  /** Declared id; 0 when there is none. */
  readonly id?: number;
  /** Fields refused. */
  readonly fields?: number;
  /** The entity. */
  readonly handle?: Handle;
  /** Who tried; this engine when left out. */
  readonly peer?: number;
}

/** Counters of one link, all since it was made. */
export interface LinkCounters {
  /** Batches sent to drivers. */
  batchesOut: number;
  /** Batches taken from drivers. */
  batchesIn: number;
  /** Component rows sent. */
  rowsOut: number;
  /** Component rows applied. */
  rowsIn: number;
  /** Frames whose bytes or place were wrong; each ends its driver's link. */
  faultyFrames: number;
  /** Outgoing voice frames dropped because the driver did not read. */
  voiceDropped: number;
  /** Outgoing events and commands dropped because the driver did not read. */
  commandsDropped: number;
  /** Outgoing unreliable channel messages dropped because no window was left. */
  messagesDropped: number;
  /** Denials and figures of the driver that came more often than a driver tells them, and were not passed on. */
  reportsDropped: number;
  /** Entries about entities that had just gone: late, not wrong. */
  lateEntries: number;
  /** Flushes that left state for later because the driver did not read. */
  flushesHeldBack: number;
  /** Drivers that ended or hung. */
  driversLost: number;
  /** Connections refused because a driver was there, or because its hello did not fit. */
  driversRefused: number;
}

/** The shared state of one engine link. */
export class LinkState {
  /** This engine's own tables; a driver's word never changes them. */
  readonly grants: Grants;
  /** The door that everything passes, both ways. */
  readonly gate: Gate;
  /** The engine's world. */
  readonly world: WorldAdapter;
  /** The replicated entities. */
  readonly ledger = new EntityLedger();
  /** Transfers that the driver has not named yet. */
  readonly orders: OwnerOrders;
  /** What changed since the last batch. */
  readonly dirty: DirtySet;
  /** The host's role. */
  readonly role: LinkRole;
  /** True where this engine holds world authority: servers and loopback. */
  readonly isAuthority: boolean;
  /** Counted, and reported a few times a second. */
  readonly denials = new Denials();
  /** Role index of every other peer known. */
  readonly peers = new Map<number, number>();
  /** What was granted to this engine's own peer and revoked from it while running. */
  readonly ownAdjusted = new Adjustments();
  /** The same of other peers, as this engine gave it: only the holder of authority keeps it. */
  readonly #adjusted = new Map<number, Adjustments>();
  /** Counters. */
  readonly counters: LinkCounters = {
    batchesOut: 0,
    batchesIn: 0,
    rowsOut: 0,
    rowsIn: 0,
    faultyFrames: 0,
    voiceDropped: 0,
    commandsDropped: 0,
    messagesDropped: 0,
    reportsDropped: 0,
    lateEntries: 0,
    flushesHeldBack: 0,
    driversLost: 0,
    driversRefused: 0,
  };
  /** This engine's peer id; `OWN_UNNAMED` until a client has joined. */
  peer: number;
  /** This engine's role index; a client's is the default role until it has joined. */
  roleIndex: number;

  readonly #now: () => number;
  readonly #componentByName: ReadonlyMap<string, ComponentGrant>;
  readonly #componentById: ReadonlyMap<number, ComponentGrant>;
  readonly #eventByName: ReadonlyMap<string, EventGrant>;
  readonly #eventById: ReadonlyMap<number, EventGrant>;
  readonly #channelById: ReadonlyMap<number, ChannelGrant>;
  readonly #scratch: readonly ComponentValue[];

  /** @param now The present time in ms; any clock that does not go back. */
  constructor(grants: Grants, role: LinkRole, world: WorldAdapter, now: () => number) {
    this.grants = grants;
    this.gate = new Gate(grants);
    this.world = world;
    this.role = role;
    this.isAuthority = role !== "client";
    this.peer = this.isAuthority ? SERVER_PEER : OWN_UNNAMED;
    this.roleIndex = this.isAuthority ? SERVER_ROLE : grants.defaultRole;
    this.dirty = new DirtySet(grants.components.length);
    this.#now = now;
    this.orders = new OwnerOrders(now);
    this.#componentByName = new Map(grants.components.map((one) => [one.name, one]));
    this.#componentById = new Map(grants.components.map((one) => [one.id, one]));
    this.#eventByName = new Map(grants.events.map((one) => [one.name, one]));
    this.#eventById = new Map(grants.events.map((one) => [one.id, one]));
    this.#channelById = new Map(grants.channels.map((one) => [one.id, one]));
    this.#scratch = grants.components.map((one) => createValue(one));
  }

  /** The present time, ms. */
  get nowMs(): number {
    return this.#now();
  }

  /** The component with a declared name. */
  componentByName(name: string): ComponentGrant | undefined {
    return this.#componentByName.get(name);
  }

  /** The component with a declared id. */
  componentById(id: number): ComponentGrant | undefined {
    return this.#componentById.get(id);
  }

  /** The event with a declared name. */
  eventByName(name: string): EventGrant | undefined {
    return this.#eventByName.get(name);
  }

  /** The event with a declared id. */
  eventById(id: number): EventGrant | undefined {
    return this.#eventById.get(id);
  }

  /** The channel declaration with an id. */
  channelById(id: number): ChannelGrant | undefined {
    return this.#channelById.get(id);
  }

  /**
   * The id of a zone with a declared name, 0 for `undefined`: no zone.
   *
   * @throws RangeError for a zone that is not declared.
   */
  zoneByName(name: string | undefined): number {
    if (name === undefined) return 0;
    const { zones } = this.grants;
    const found = zones.find((one) => one.name === name);
    if (found !== undefined) return found.id;
    const hint = zones.length === 0
      ? "; it declares none: add it to the manifest's `world.zones`"
      : suggest(name, zones.map((one) => one.name));
    throw new RangeError(`The manifest declares no zone "${name}"${hint}`);
  }

  /** A value of a component that any call may use and overwrite. */
  scratch(component: ComponentGrant): ComponentValue {
    return this.#scratch[component.index]!;
  }

  /** Whether this engine owns the entity. */
  isOwn(record: EntityRecord): boolean {
    return record.owner === this.peer;
  }

  /**
   * Whether this engine answers for the entity's life: a client for what it spawned and still owns, the world's authority for all it
   * spawned, whoever owns it now. All others live as long as the driver confirms them.
   */
  isMine(record: EntityRecord): boolean {
    return isEngineHandle(record.handle) && (this.isAuthority || this.isOwn(record));
  }

  /** Fields of a component that this engine may write on an entity. */
  writeMaskOf(record: EntityRecord, component: ComponentGrant): number {
    const { gate, roleIndex, ownAdjusted } = this;
    return gate.writeMask(component.index, roleIndex, this.isOwn(record), "out", ownAdjusted);
  }

  /** Whether a handle names a replicated entity. */
  readonly isKnown = (handle: Handle): boolean => this.ledger.get(handle) !== undefined;

  /** The role of a peer; one that was not announced yet has the default role. */
  roleOf(peer: number): number {
    if (peer === this.peer) return this.roleIndex;
    if (peer === SERVER_PEER) return SERVER_ROLE;
    return this.peers.get(peer) ?? this.grants.defaultRole;
  }

  /** What was granted to a peer and revoked from it; `undefined`: nothing. */
  adjustedOf(peer: number): Adjustments | undefined {
    return peer === this.peer ? this.ownAdjusted : this.#adjusted.get(peer);
  }

  /** Notes the adjustment of a component of another peer. */
  adjust(peer: number, component: ComponentGrant, adjustment: Adjustment): void {
    let adjusted = this.#adjusted.get(peer);
    if (adjusted === undefined) this.#adjusted.set(peer, adjusted = new Adjustments());
    adjusted.set(component, adjustment);
  }

  /** A peer's place is gone, and with it what it was granted and what was revoked from it. */
  forgetAdjusted(peer: number): void {
    this.#adjusted.delete(peer);
  }

  /** Role index of a declared role id; `undefined` for one that nobody declared. */
  roleIndexOf(roleId: number): number | undefined {
    return this.grants.roles.find((role) => role.id === roleId)?.index;
  }

  /** Entities that a peer owns, `except` one of them. */
  countOwned(owner: number, except?: EntityRecord): number {
    let count = 0;
    for (const record of this.ledger.records()) {
      if (record.owner === owner && record !== except) count += 1;
    }
    return count;
  }

  /** Entities with a component that a peer owns, `except` one of them. */
  countOwnedWith(owner: number, component: number, except?: EntityRecord): number {
    const { name } = this.grants.components[component]!;
    let count = 0;
    for (const record of this.ledger.records()) {
      if (record.owner !== owner || record === except) continue;
      if (this.world.read(record.handle, name) !== undefined) count += 1;
    }
    return count;
  }

  /** Counts a denial at this engine's own door. Always returns false, so that a refusing call can return it. */
  deny(subject: string, rule: Rule, facts: DenialFacts = {}): false {
    const peer = facts.peer ?? this.peer;
    this.denials.record({
      door: "engine",
      rule,
      peer: peer === OWN_UNNAMED ? SERVER_PEER : peer,
      subject,
      id: facts.id ?? 0,
      fields: facts.fields ?? 0,
      handle: facts.handle ?? 0,
    }, this.nowMs);
    return false;
  }
}
