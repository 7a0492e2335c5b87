// One random world under random use and abuse on virtual time: a server, honest clients and a hostile peer with real cores and SDKs, bad
// links, and a judge who listens. What is done comes from one seed; whether it was right is the judge's business.

import { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { auditClients, SETTLED_MS } from "./audit.ts";
import { CANARY_BYTES, canaryText } from "./canaries.ts";
import { Hostile } from "./hostile.ts";
import { Judge } from "./judge.ts";
import { FormerOwners } from "./former_owners.ts";
import { Receivers } from "./receivers.ts";
import { Rights } from "./rights.ts";
import { eachKey, FreshValues } from "./fresh_values.ts";
import { freshValue } from "./values.ts";
import { type Stage, watchConnection, watchCore } from "./watchers.ts";
import { type FuzzWorld, grantsOf, randomWorld, ROLES } from "./worlds.ts";

/** Kinds of operations, as they are counted. */
export const OPERATIONS = [
  "reads",
  "writes",
  "refusals",
  "forgeries",
  "grants",
  "revocations",
  "restores",
  "roleChanges",
  "joins",
  "leaves",
  "resumes",
  "spawns",
  "despawns",
  "transfers",
  "compositions",
  "events",
] as const;

/** How often each was done. */
export type OperationCounts = Record<typeof OPERATIONS[number], number>;

/** A client of a run. */
export type Client = PairNode<ClientCore>;

/** How a run differs from the product as it is: for planted faults. */
export interface RunOptions {
  /** Changes the compiled tables of every host, but not the manifest that the judge reads. */
  readonly miscompile?: ((grants: Grants, world: FuzzWorld) => Grants) | undefined;
}

/** One turn of game code everywhere, ms. */
const STEP_MS = 33;
const ACTS_PER_STEP = 16;
const CLIENTS = 4;
const MOST_ENTITIES = 40;

/** See the head of this file. Make it, `run` it, read `judge`, and `end` it. */
export class PermissionRun {
  readonly judge: Judge;
  readonly counts = Object.fromEntries(OPERATIONS.map((kind) => [kind, 0])) as OperationCounts;
  readonly pair: Pair;
  readonly receivers = new Receivers<Client>();
  readonly #prng: Prng;
  readonly #stage: Stage = { actor: { kind: "time" } };
  readonly #hostile: Hostile;
  readonly #clientGrants: () => Grants;
  readonly #texts: FreshValues;
  /** Roles as the server's engine has heard that they count, by peer: what its own door judges by. */
  readonly #given = new Map<number, string>();
  /** Clients whose link died and that have not come back. */
  readonly #broken = new Set<Client>();
  #steps = 0;

  constructor(seed: number, options: RunOptions = {}) {
    const prng = new Prng(seed);
    this.#prng = prng;
    const fuzz = randomWorld(prng, true);
    const miscompile = options.miscompile ?? ((grants) => grants);
    const grants = miscompile(grantsOf(fuzz, fuzz.deny), fuzz);
    this.#clientGrants = () => clientGrants;
    const clientGrants = miscompile(grantsOf(fuzz, {}), fuzz);
    this.judge = new Judge(
      new Rights(fuzz.world, fuzz.deny),
      grants,
      () => this.pair.network.now,
    );
    const loss = prng.nextBelow(3) * 0.06;
    this.pair = new Pair({
      grants,
      // A client's host has a table of its own, with nothing denied.
      clientGrants: this.#clientGrants,
      seed: prng.nextU32(),
      clients: CLIENTS,
      conditions: {
        latencyMs: 10 + prng.nextBelow(40),
        jitterMs: prng.nextBelow(15),
        lossRate: loss,
        reorderRate: loss,
        duplicateRate: loss / 2,
      },
    });
    const { judge, pair } = this;
    this.#texts = new FreshValues(judge, prng);
    const now = () => pair.network.now;
    watchCore(pair.server.core, judge, this.#stage);
    pair.tap = {
      connection: (client, connector, acceptor) => ({
        connector: this.receivers.watch(client as unknown as Client, connector),
        acceptor: watchConnection(acceptor, now, judge, this.#stage),
      }),
      engineBytes: () => {},
    };
    for (const client of pair.clients) this.#watchClient(client);
    this.#watchServer();
    this.#hostile = new Hostile(
      pair,
      prng.fork(),
      (acceptor) => watchConnection(acceptor, now, judge, this.#stage),
      (component, field) =>
        freshValue(
          component,
          component.fields[field]!,
          this.#texts.source(component, field, []),
          undefined,
        ),
    );
    pair.start();
  }

  /** Does about `operations` things and lets time pass between them; returns how many were done. */
  run(operations: number): number {
    while (this.total < operations) {
      for (let i = 0; i < ACTS_PER_STEP; i++) this.#act();
      for (const { engine } of [this.pair.server, ...this.pair.clients]) engine.flush();
      this.pair.run(STEP_MS);
      this.#steps += 1;
      if (this.#steps % 60 === 0) auditClients(this);
    }
    this.#takeBack();
    // Then nothing changes any more, and what is left of revoked rights has no excuse.
    this.pair.run(SETTLED_MS + 500);
    auditClients(this);
    return this.total;
  }

  /** Half of the clients' entities go to the server, so that much of what their owners alone might read is to be forgotten. */
  #takeBack(): void {
    const { engine, world } = this.pair.server;
    this.pair.run(500);
    for (const handle of [...world.handles()]) {
      if (engine.ownerOf(handle) === 0 || this.#prng.chance(0.5)) continue;
      if (engine.transfer(handle, 0)) this.counts.transfers += 1;
    }
    engine.flush();
  }

  /** Operations done so far. */
  get total(): number {
    let sum = 0;
    for (const kind of OPERATIONS) sum += this.counts[kind];
    return sum;
  }

  /** Whether the client hears what the server says. */
  isConnected(client: Client): boolean {
    return client.core.isJoined && !this.#broken.has(client);
  }

  /** Takes back what the run changed in shared places. */
  end(): void {
    this.receivers.stop();
  }

  // ---- watching engines

  #watchClient(client: Client): void {
    const { engine } = client;
    engine.onRemoteChange = (handle, name, values) => {
      const id = engine.networkIdOf(handle);
      const { peer } = engine;
      if (id === 0 || peer === undefined || !this.judge.hasPeer(peer)) return;
      this.counts.reads += 1;
      const component = this.judge.grants.components.find((one) => one.name === name)!;
      // Of an own entity the driver tells its engine whole values: what the server changed, and what this engine wrote itself.
      const isOwn = engine.isOwn(handle);
      eachKey(client, component, values, (field, key) => {
        if (isOwn && this.#texts.hasWritten(client, component, field, key, values)) return;
        this.judge.arrived(peer, id, component, field, key);
      });
    };
    engine.onJoined = ({ resumed }) => {
      this.#broken.delete(client);
      this.counts[resumed ? "resumes" : "joins"] += 1;
    };
  }

  #watchServer(): void {
    const { engine } = this.pair.server;
    const { judge } = this;
    engine.onPlayerJoin = (peer, role) => this.#given.set(peer, role);
    engine.onRoleChanged = (peer, role) => this.#given.set(peer, role);
    const former = new FormerOwners(() => this.pair.network.now);
    const { transfer } = engine;
    engine.transfer = (handle, peer) => {
      const before = engine.ownerOf(handle);
      const isOrdered = transfer.call(engine, handle, peer);
      if (isOrdered) former.ordered(handle, before!, peer);
      return isOrdered;
    };
    const { core } = this.pair.server;
    const { pollEngine } = core;
    core.pollEngine = (nowMs) => {
      const message = pollEngine.call(core, nowMs);
      if (message !== undefined) former.said(message);
      return message;
    };
    engine.onRemoteChange = (handle, name, values) => {
      const owners = [engine.ownerOf(handle)!, ...former.of(handle)].filter((one) => one !== 0);
      // Given away to a peer that left in the same moment: by whose rights this engine judges then is not told. The driver's door still is judged.
      if (owners.some((one) => !engine.peers.includes(one))) return;
      for (const field of Object.keys(values)) {
        judge.taken(
          owners.map((peer) => ({
            peer,
            role: this.#given.get(peer),
            adjustment: judge.adjustmentOf(peer, name),
          })),
          name,
          field,
        );
      }
    };
  }

  // ---- acting

  #act(): void {
    const prng = this.#prng;
    const dice = prng.nextBelow(1000);
    if (dice < 560) this.#serverWrites();
    else if (dice < 780) this.#clientWrites();
    else if (dice < 850) this.#clientOversteps();
    else if (dice < 900) this.#forge();
    else if (dice < 912) this.#changeRole();
    else if (dice < 925) this.#adjust();
    else if (dice < 940) this.#serverSpawns();
    else if (dice < 950) this.#clientSpawns();
    else if (dice < 957) this.#despawn();
    else if (dice < 970) this.#transfer();
    else if (dice < 980) this.#compose();
    else if (dice < 992) this.#say();
    else if (dice < 997) this.#breakLink();
    else this.#leave();
  }

  #client(): Client {
    return this.pair.clients[this.#prng.nextBelow(this.pair.clients.length)]!;
  }

  #handle({ world }: { readonly world: PairNode["world"] }): number {
    const handles = [...world.handles()];
    return handles.length === 0 ? 0 : handles[this.#prng.nextBelow(handles.length)]!;
  }

  #component(): ComponentGrant {
    const { components } = this.judge.grants;
    return components[this.#prng.nextBelow(components.length)]!;
  }

  #serverWrites(): void {
    const { server } = this.pair;
    const handle = this.#handle(server);
    const component = this.#component();
    if (server.world.read(handle, component.name) === undefined) return;
    const values = this.#texts.values(server, handle, component);
    if (server.engine.set(handle, component.name, values)) this.counts.writes += 1;
  }

  #clientWrites(): void {
    const client = this.#client();
    const { engine, world } = client;
    const role = engine.roleName;
    const own = [...world.handles()].filter((handle) => engine.isOwn(handle));
    if (own.length === 0) return this.#clientSpawns();
    const handle = own[this.#prng.nextBelow(own.length)]!;
    const component = this.#component();
    if (world.read(handle, component.name) === undefined) return;
    const adjustment = this.judge.adjustmentOf(engine.peer ?? -1, component.name);
    const values = this.#texts.values(
      client,
      handle,
      component,
      (field) => this.judge.rights.mayWrite(role, component.name, field, true, adjustment),
    );
    if (Object.keys(values).length > 0 && engine.set(handle, component.name, values)) {
      this.counts.writes += 1;
    }
  }

  /** Game code tries what it may not; its own SDK is the first door. */
  #clientOversteps(): void {
    const client = this.#client();
    const { engine, world } = client;
    const handle = this.#handle(client);
    const component = this.#component();
    const deed = this.#prng.nextBelow(6);
    const before = engine.stats.denials;
    if (deed === 0) engine.despawn(engine.isOwn(handle) ? 0 : handle);
    else if (deed === 1) engine.setRole(1, "staff");
    else if (deed === 2) engine.transfer(handle, 1);
    else if (deed === 3) engine.kick(1, "");
    else if (deed === 4 && !engine.isOwn(handle)) engine.remove(handle, component.name);
    else if (world.read(handle, component.name) !== undefined) {
      engine.set(handle, component.name, this.#texts.values(client, handle, component));
    }
    if (engine.stats.denials > before) this.counts.refusals += 1;
  }

  #forge(): void {
    const ids: number[] = [];
    const { engine, world } = this.pair.server;
    for (const handle of world.handles()) {
      const id = engine.networkIdOf(handle);
      if (id !== 0) ids.push(id);
    }
    const before = this.#hostile.joins;
    this.#hostile.misbehave(ids);
    this.counts.joins += this.#hostile.joins - before;
    this.counts.forgeries += 1;
    if (this.#prng.chance(0.01)) {
      this.#hostile.leave();
      this.counts.leaves += 1;
    }
  }

  #changeRole(): void {
    const { engine } = this.pair.server;
    const { peers } = engine;
    if (peers.length === 0) return;
    const peer = peers[this.#prng.nextBelow(peers.length)]!;
    const role = ROLES[this.#prng.nextBelow(ROLES.length)]!;
    if (engine.setRole(peer, role)) this.counts.roleChanges += 1;
  }

  #components(may: (component: ComponentGrant) => boolean): ComponentGrant[] {
    return this.judge.grants.components.filter((one) => may(one) && this.#prng.chance(0.6));
  }

  #serverSpawns(): void {
    const { engine, world } = this.pair.server;
    if (world.size >= MOST_ENTITIES) return this.#despawn();
    const components: Record<string, ComponentValues> = {};
    for (const component of this.#components(() => true)) {
      components[component.name] = this.#texts.values(this.pair.server, 0, component);
    }
    const { peers } = engine;
    const owner = this.#prng.chance(0.5) ? peers[this.#prng.nextBelow(peers.length || 1)] : 0;
    if (engine.spawn(components, { owner: owner ?? 0 }) !== 0) this.counts.spawns += 1;
  }

  #clientSpawns(): void {
    const client = this.#client();
    const role = client.engine.roleName;
    const { rights } = this.judge;
    const components: Record<string, ComponentValues> = {};
    for (const { name } of this.#components((one) => rights.mayCompose(role, one.name))) {
      const component = this.judge.grants.components.find((one) => one.name === name)!;
      components[name] = this.#texts.values(
        client,
        0,
        component,
        (field) => rights.mayWrite(role, name, field, true),
      );
    }
    if (client.engine.spawn(components) !== 0) this.counts.spawns += 1;
  }

  #despawn(): void {
    const node = this.#prng.chance(0.5) ? this.pair.server : this.#client();
    const handle = this.#handle(node);
    if (node !== this.pair.server && !node.engine.isOwn(handle)) return;
    if (handle !== 0 && node.engine.despawn(handle)) this.counts.despawns += 1;
  }

  #transfer(): void {
    const { engine } = this.pair.server;
    const handle = this.#handle(this.pair.server);
    const peers = [0, ...engine.peers];
    const peer = peers[this.#prng.nextBelow(peers.length)]!;
    if (handle !== 0 && engine.transfer(handle, peer)) this.counts.transfers += 1;
  }

  #compose(): void {
    const isServer = this.#prng.chance(0.5);
    const node = isServer ? this.pair.server : this.#client();
    const { engine, world } = node;
    const handle = this.#handle(node);
    const component = this.#component();
    const { name } = component;
    const role = engine.roleName;
    if (!isServer && (!engine.isOwn(handle) || !this.judge.rights.mayCompose(role, name))) return;
    const has = world.read(handle, name) !== undefined;
    const values = has ? {} : this.#texts.values(
      node,
      handle,
      component,
      (field) => isServer || this.judge.rights.mayWrite(role, name, field, true),
    );
    if (has ? engine.remove(handle, name) : engine.set(handle, name, values)) {
      this.counts.compositions += 1;
    }
  }

  #say(): void {
    const { events } = this.judge.rights.world;
    const event = events[this.#prng.nextBelow(events.length)]!.name;
    const node = this.#prng.chance(0.6) ? this.pair.server : this.#client();
    const { canaries } = this.judge;
    const number = canaries.push({ kind: "event", event }) - 1;
    const text = canaryText(number, CANARY_BYTES);
    const who = this.#handle(node);
    if (node.engine.sendEvent(event, { text, who: node.engine.networkIdOf(who) === 0 ? 0 : who })) {
      this.counts.events += 1;
    } else {
      this.counts.refusals += 1;
    }
  }

  /** A client's connection breaks; it comes back by itself, sometimes before the server has noticed. */
  #breakLink(): void {
    const client = this.#client();
    if (!client.core.isJoined) return;
    this.#broken.add(client);
    if (this.#prng.chance(0.2)) this.pair.links.get(client)?.kill("acceptor");
    else this.receivers.cut(client);
  }

  /** A client's engine is thrown out, and a new one comes in its place. */
  #leave(): void {
    const client = this.#client();
    const { peer } = client.engine;
    if (peer === undefined || !client.core.isJoined) return;
    if (this.#prng.chance(0.5)) this.pair.server.engine.kick(peer, "");
    else client.engine.close();
    this.counts.leaves += 1;
    const fresh = this.pair.addClient(this.#clientGrants());
    this.pair.clients.splice(this.pair.clients.indexOf(client), 1);
    this.pair.network.at(this.pair.network.now + 500, () => client.killDriver());
    this.#watchClient(fresh);
    fresh.start();
  }

  /** Grants, revokes and restores single fields of one peer, among them what is not to be granted. */
  #adjust(): void {
    const prng = this.#prng;
    const { engine } = this.pair.server;
    const { peers } = engine;
    const peer = peers[prng.nextBelow(peers.length || 1)];
    if (peer === undefined) return;
    const { name, fields } = this.#component();
    const deed = prng.nextBelow(5);
    if (deed === 4) {
      if (engine.restore(peer, name)) this.counts.restores += 1;
      return;
    }
    const some = () => fields.map((field) => field.name).filter(() => prng.chance(0.5));
    const wanted = { read: some(), write: some() };
    if (deed >= 2) {
      if (engine.revoke(peer, name, wanted)) this.counts.revocations += 1;
      return;
    }
    const { grantable } = this.judge.rights.component(name);
    const may = (list: true | readonly string[] | undefined) => (field: string) =>
      list === true || (list ?? []).includes(field);
    // What the manifest does not let be granted is refused loudly.
    if (prng.chance(0.1)) {
      try {
        if (engine.grant(peer, name, wanted)) this.counts.grants += 1;
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        this.counts.refusals += 1;
      }
      return;
    }
    const bounded = {
      read: wanted.read.filter(may(grantable?.read)),
      write: wanted.write.filter(may(grantable?.write)),
    };
    if (engine.grant(peer, name, bounded)) this.counts.grants += 1;
  }
}
