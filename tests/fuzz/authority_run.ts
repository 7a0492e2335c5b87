// One run of the authority fuzz: a server's engine and its clients' act on one world over bad links, with a judge at every door, until all
// writes stop and everybody has to agree. What it does follows from the seed alone.

import type { Handle } from "../../protocol/engine_messages.ts";
import { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant } from "../../permissions/grants.ts";
import { readMaskOf } from "../../permissions/grants.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import type { ServerCore } from "../../driver/server_core.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { disagreements } from "../support/agreement.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { AuthorityJudge } from "./authority_judge.ts";
import { AuthorityWatch } from "./authority_watch.ts";
import {
  AUTHORITY_ROLES,
  authorityGrants,
  FreshStamps,
  isNear,
  TICK_HZ,
} from "./authority_world.ts";

type Client = PairNode<ClientCore>;

const GRANTS = authorityGrants();
const TICK_MS = 1_000 / TICK_HZ;
const FIRST_ENTITIES = 2;
const MOST_OWNED = 4;
const MOST_ENTITIES = 18;
/** Before the end everything comes near, and nobody's rights change: streams repeat what is lost less often than datagrams. */
const LAST_MS = 800;
/** How often as long they go on until everybody has heard of its role. */
const MOST_WAITS = 10;
/** Loss once all writes have stopped. */
const LAST_LOSS = 0.25;
/** Ticks, besides two round trips, within which all agree. */
const AGREE_TICKS = 16;
/** Who does not agree after so many ticks never will. */
const NEVER_TICKS = 150;

/** How long and with whom. */
export interface AuthorityOptions {
  /** Virtual time of writing, ms. */
  readonly writeMs?: number;
}

/** What one world showed. */
export interface AuthorityResult {
  readonly seed: number;
  readonly rttMs: number;
  readonly clients: number;
  /** Ticks after the last write until all agreed, two round trips taken off; Infinity for never. */
  readonly agreeTicks: number;
  /** Entities of clients whose hashes were compared with the server's at the end, and those that the client does not see in whole. */
  readonly hashes: number;
  readonly unseen: number;
}

/** One world. */
export class AuthorityRun {
  readonly judge: AuthorityJudge;
  readonly pair: Pair;
  readonly #prng: Prng;
  readonly #stamps: FreshStamps;
  readonly #seed: number;
  readonly #writeMs: number;
  readonly #rttMs: number;
  readonly #watch: AuthorityWatch;
  /** Roles that peers were given, by peer. */
  readonly #roles = new Map<number, string>();
  /** Actions of the server's engine a step, as a chance. */
  readonly #serverRate: number;

  /** The world of a seed. */
  constructor(seed: number, { writeMs = 1_500 }: AuthorityOptions = {}) {
    const prng = new Prng(seed);
    this.#prng = prng;
    this.#seed = seed;
    this.#writeMs = writeMs;
    this.#stamps = new FreshStamps(prng.fork());
    // The whole path's time: latency and jitter of both ways.
    this.#rttMs = 20 + prng.nextBelow(181);
    const jitterMs = prng.nextFloat() * this.#rttMs / 6;
    this.#serverRate = 0.3 + prng.nextFloat() * 0.9;
    this.pair = new Pair({
      grants: GRANTS,
      seed: prng.nextU32(),
      clients: 3 + prng.nextBelow(2),
      conditions: {
        latencyMs: this.#rttMs / 2 - jitterMs,
        jitterMs,
        lossRate: 0.05,
        reorderRate: 0.05,
        duplicateRate: 0.03,
      },
    });
    this.judge = new AuthorityJudge(GRANTS, () => this.pair.network.now);
    this.#watch = new AuthorityWatch(this.pair, this.judge);
    this.pair.start();
  }

  /** Plays the whole run. */
  run(): AuthorityResult {
    const { pair } = this;
    pair.joinAll(30_000);
    for (const client of pair.clients) {
      for (let i = 0; i < FIRST_ENTITIES; i++) this.#clientSpawns(client);
    }
    for (let i = 0; i < FIRST_ENTITIES; i++) this.#serverSpawns();
    this.#play(this.#writeMs, true);
    this.#gather();
    this.#play(LAST_MS, false);
    for (let i = 0; i < MOST_WAITS && !this.#knowRoles(); i++) this.#play(LAST_MS, false);
    const agreeTicks = this.#settle();
    this.judge.count();
    return {
      seed: this.#seed,
      rttMs: this.#rttMs,
      clients: pair.clients.length,
      agreeTicks,
      hashes: this.#hashes,
      unseen: this.#unseen,
    };
  }

  /** Takes back what the run changed in shared places. */
  end(): void {
    this.#watch.stop();
  }

  #play(ms: number, mayChangeRoles: boolean): void {
    const { pair } = this;
    const prng = this.#prng;
    const end = pair.network.now + ms;
    while (pair.network.now < end) {
      for (const client of pair.clients) if (prng.chance(0.8)) this.#clientActs(client);
      if (prng.chance(this.#serverRate)) this.#serverActs(mayChangeRoles);
      this.#flush();
      // Steps and ticks do not keep in step: every order of writes and slots comes up.
      pair.run(5 + prng.nextBelow(30));
    }
  }

  /** Whether each client has heard which role it has. */
  #knowRoles(): boolean {
    return this.pair.clients.every(({ engine }) => {
      const role = this.#roles.get(engine.peer!);
      return role === undefined || role === engine.roleName;
    });
  }

  #flush(): void {
    for (const { engine } of [this.pair.server, ...this.pair.clients]) engine.flush();
  }

  /** From now on everything is set where all see it, and what is elsewhere is brought there. */
  #gather(): void {
    const { server } = this.pair;
    this.#stamps.isNear = true;
    const pose = GRANTS.components[0]!;
    for (const handle of server.world.handles()) {
      const at = server.world.read(handle, pose.name)?.at as readonly number[] | undefined;
      if (at !== undefined && !isNear(at)) this.#set(server, handle, pose);
    }
  }

  // ---- acts

  #clientActs(client: Client): void {
    const prng = this.#prng;
    const { engine, world } = client;
    const own = [...world.handles()].filter((handle) => engine.isOwn(handle));
    const dice = prng.nextBelow(100);
    if (own.length === 0 || dice < 2) {
      if (own.length < MOST_OWNED) this.#clientSpawns(client);
      return;
    }
    const handle = own[prng.nextBelow(own.length)]!;
    if (dice < 3) this.#clientEnds(client, handle);
    else if (dice < 6) {
      const { name } = this.#component();
      if (world.read(handle, name) !== undefined) engine.remove(handle, name);
    } else {
      for (let i = 1 + prng.nextBelow(3); i > 0; i--) {
        this.#set(client, own[prng.nextBelow(own.length)]!, this.#component());
      }
    }
  }

  #clientEnds(client: Client, handle: Handle): void {
    const { engine } = client;
    const { world } = this.pair.server.core;
    const id = engine.networkIdOf(handle);
    if (world.isAlive(id)) {
      this.judge.ended(engine.peer!, id, world.owner(id), this.#watch.epochOf(client, id));
    }
    engine.despawn(handle);
  }

  #serverActs(mayChangeRoles: boolean): void {
    const prng = this.#prng;
    const { server } = this.pair;
    const { engine, world } = server;
    const handles = [...world.handles()];
    if (handles.length === 0) return this.#serverSpawns();
    const handle = handles[prng.nextBelow(handles.length)]!;
    const dice = prng.nextBelow(100);
    if (dice < 60) {
      for (let i = 1 + prng.nextBelow(3); i > 0; i--) this.#set(server, handle, this.#component());
    } else if (dice < 78) this.#transfer(handle);
    else if (dice < 86) {
      const { name } = this.#component();
      if (world.read(handle, name) !== undefined) engine.remove(handle, name);
    } else if (dice < 91) engine.despawn(handle);
    else if (dice < 96) this.#serverSpawns();
    else if (mayChangeRoles) {
      const peer = engine.peers[prng.nextBelow(engine.peers.length)]!;
      const role = AUTHORITY_ROLES[prng.nextBelow(AUTHORITY_ROLES.length)]!;
      if (engine.setRole(peer, role)) this.#roles.set(peer, role);
    }
  }

  #transfer(handle: Handle): void {
    const { engine } = this.pair.server;
    const targets = [0, ...engine.peers];
    engine.transfer(handle, targets[this.#prng.nextBelow(targets.length)]!);
  }

  #component(): ComponentGrant {
    const { components } = GRANTS;
    return components[this.#prng.nextBelow(components.length)]!;
  }

  /** Sets all fields of a component, or of one that is there now and then one alone. */
  #set(node: PairNode, handle: Handle, component: ComponentGrant): void {
    const { engine, world } = node;
    if (node !== this.pair.server as unknown && component.authority === "server") return;
    const has = world.read(handle, component.name) !== undefined;
    const names = component.fields.map(({ name }) => name);
    const isPart = has && this.#prng.chance(0.4);
    const chosen = isPart ? [names[this.#prng.nextBelow(names.length)]!] : names;
    const values = this.#stamps.values(component, chosen);
    if (!engine.set(handle, component.name, values)) return;
    this.judge.wrote(engine.peer!, engine.networkIdOf(handle), component, values);
  }

  #clientSpawns(client: Client): void {
    const role = client.engine.roleName;
    this.#spawn(
      client,
      (one) => one.authority === "owner" && (role === "player" || one.name === "Pose"),
    );
  }

  #serverSpawns(): void {
    const { server } = this.pair;
    if (server.world.size >= MOST_ENTITIES) return;
    const owners = [0, ...server.engine.peers];
    this.#spawn(server, () => true, owners[this.#prng.nextBelow(owners.length)]!);
  }

  #spawn(node: PairNode, may: (component: ComponentGrant) => boolean, owner?: number): void {
    const { engine } = node;
    const all: Record<string, ComponentValues> = {};
    for (const component of GRANTS.components) {
      if (!may(component) || (component.index > 0 && this.#prng.chance(0.3))) continue;
      all[component.name] = this.#stamps.values(component);
    }
    if (engine.spawn(all, owner === undefined ? {} : { owner }) === 0) return;
    for (const component of GRANTS.components) {
      const values = all[component.name];
      if (values !== undefined) this.judge.wrote(engine.peer!, 0, component, values);
    }
  }

  // ---- agreeing

  /** All writes have stopped: lets time pass until all agree; returns the ticks beyond two round trips. */
  #settle(): number {
    const { pair } = this;
    this.#flush();
    for (const link of pair.links.values()) link.change({ lossRate: LAST_LOSS });
    const graceMs = 2 * this.#rttMs;
    const startMs = pair.network.now;
    pair.run(graceMs);
    for (let ticks = 0; ticks <= NEVER_TICKS; ticks++) {
      this.#flush();
      if (this.#isAgreed()) {
        if (ticks <= AGREE_TICKS) return ticks;
        this.judge.find("diverged", `all agree only after 2 RTT + ${ticks} ticks`);
        return ticks;
      }
      if (ticks === AGREE_TICKS) this.#explain();
      pair.network.advanceTo(startMs + graceMs + (ticks + 1) * TICK_MS);
    }
    const what = this.#differences().slice(0, 4).join("; ");
    this.judge.find("diverged", `no agreement after ${NEVER_TICKS} ticks: ${what}`);
    return Infinity;
  }

  /** In what they differ when they should not any more. */
  late: readonly string[] = [];

  #explain(): void {
    this.late = this.#differences();
  }

  #isAgreed(): boolean {
    return this.#hashesAgree() && this.#differences().length === 0;
  }

  #differences(): string[] {
    const found = disagreements(
      this.pair,
      (client, id, name) => this.#sees(this.pair.clients[client]!, id, name),
    );
    const { world, engine } = this.pair.server;
    for (const handle of world.handles()) {
      const id = engine.networkIdOf(handle);
      if (id === 0) found.push(`the server's driver has no ${handle}`);
      else found.push(...this.#untoldEpochs(id));
    }
    return found;
  }

  /** The engine of who was overridden has heard of the epoch under which its writes count now. */
  #untoldEpochs(id: number): string[] {
    const { world } = this.pair.server.core;
    const owner = this.pair.clients.find(({ engine }) => engine.peer === world.owner(id));
    if (owner === undefined || world.epoch(id) === 0) return [];
    const told = this.#watch.epochOf(owner, id);
    // An entity that came with its epoch was never overridden since.
    if (told === undefined || told === world.epoch(id)) return [];
    return [`owner ${owner.engine.peer} of ${id} was told epoch ${told}, not ${world.epoch(id)}`];
  }

  /** Whether a client surely sees a component of others' entities once everything is near. */
  #sees(client: Client, id: number, name: string): boolean {
    const { world } = this.pair.server.core;
    const [pose, ...others] = this.#reads(client, id);
    if (!world.isAlive(id)) return false;
    // What goes with the last component that a peer sees of an entity is out of its view, as the entity is.
    const isShown = others.some(Boolean) || (pose === true && this.#isNearTo(client, id));
    return isShown && (name !== "Pose" || this.#isNearTo(client, id));
  }

  /** Whether an entity is near whatever a client sees from. */
  #isNearTo(client: Client, id: number): boolean {
    const { world } = this.pair.server.core;
    let eyes = 0;
    let far = 0;
    const count = (one: number) => {
      const at = this.#placeOf(one);
      if (at === undefined) return;
      eyes += 1;
      if (!isNear(at)) far += 1;
    };
    world.forEachOwned(client.engine.peer!, count);
    const place = this.#placeOf(id);
    return eyes > 0 && far === 0 && (place === undefined || isNear(place));
  }

  /** Which of an entity's components a client may read. */
  #reads({ engine }: Client, id: number): boolean[] {
    const { world } = this.pair.server.core;
    const role = GRANTS.roles.find(({ name }) => name === engine.roleName)!.index;
    const isOwn = world.owner(id) === engine.peer;
    return GRANTS.components.map((component) =>
      world.hasComponent(id, component.index) && readMaskOf(component, role, isOwn) !== 0
    );
  }

  #placeOf(id: number): readonly number[] | undefined {
    const { world, engine } = this.pair.server;
    return world.read(engine.handleOf(id), "Pose")?.at as readonly number[] | undefined;
  }

  #hashes = 0;
  #unseen = 0;

  /**
   * Whether the drivers of all that see the same hold the same, by the hashes of their columns. The server sees all: whoever has the hash that
   * its world has under a client's rights has the same as every other client with these rights.
   */
  #hashesAgree(): boolean {
    const { server, clients } = this.pair;
    this.#hashes = this.#unseen = 0;
    const { world } = server.core as ServerCore;
    for (const handle of server.world.handles()) {
      const id = server.engine.networkIdOf(handle);
      if (id === 0 || !world.isAlive(id)) return false;
      for (const client of clients) {
        const { core, engine } = client;
        if (!this.#sees(client, id, "Pose") && world.owner(id) !== engine.peer) {
          this.#unseen += 1;
          continue;
        }
        const role = GRANTS.roles.find(({ name }) => name === engine.roleName)!.index;
        const isOwn = world.owner(id) === engine.peer;
        const masks = (c: number) => readMaskOf(GRANTS.components[c]!, role, isOwn);
        if (core.hashOf(id) !== world.hash(id, masks)) return false;
        this.#hashes += 1;
      }
    }
    return true;
  }
}
