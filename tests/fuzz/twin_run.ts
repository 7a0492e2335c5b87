// One half of a pair of runs: the same script as its twin to the last draw, but other values in every field that the observers may not read.
// It writes down all that leaves for the observers, with the times.

import { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import type { ComponentValues, FieldValue } from "../../engine/values.ts";
import type { Connection } from "../../transport/connection.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { tapConnection, type TappedEvent } from "../support/wiretap.ts";
import { CANARY_BYTES, canaryText } from "./canaries.ts";
import { Hostile } from "./hostile.ts";
import { Rights } from "./rights.ts";
import { AUTHOR_ROLE, CONFIDANT_ROLE, isSecret, OBSERVER_ROLES, twinWorld } from "./twin_world.ts";
import { freshValue, randomField, type ValueSource } from "./values.ts";
import { grantsOf } from "./worlds.ts";

type Client = PairNode<ClientCore>;

/** What left for an observer, in order. */
export type Transcript = readonly TappedEvent[];

/** Which twin. */
export type Side = 0 | 1;

const STEP_MS = 33;
/** Most bytes of a secret text: some need several datagrams. */
const MOST_SECRET_BYTES = 2_500;
/** What an owner writes fits one datagram on its way up: when it arrives is the owner's doing, not the server's. */
const MOST_OWNER_BYTES = 24;
const MOST_OWN_COMPONENTS = 3;

/** See the head of this file. */
export class TwinRun {
  /** By observer: an honest client, a hostile peer. */
  readonly transcripts: readonly TappedEvent[][] = [[], []];
  readonly grants: Grants;
  readonly pair: Pair;
  /** Values written to secret fields, and to all. */
  readonly written = { secret: 0, all: 0 };
  /** Low bit of the secret written last, for planted leaks. */
  secretBit = 0;
  readonly #script: Prng;
  readonly #secrets: Prng;
  readonly #rights: Rights;
  readonly #side: Side;
  readonly #observer: Client;
  readonly #author: Client;
  readonly #confidant: Client | undefined;
  readonly #hostile: Hostile;
  readonly #secretFields: readonly boolean[][];
  /**
   * Who writes to the author's components with secrets after their spawn: the author, or the server. Both at once, the author's write may be
   * late and not count; its next secret may then be the one that held before by chance, and a write that changes nothing is seen by all.
   */
  readonly #isAuthorsAlone: boolean;
  /**
   * Handles of entities that no observer can see. They never end: what names one of them names another one in the other twin, where it would
   * be the end of nothing.
   */
  readonly #dark: number[] = [];
  /** Components written since the last flush. */
  readonly #touched = new Set<string>();
  #canaries = 1;

  constructor(seed: number, side: Side) {
    this.#side = side;
    const script = new Prng(seed);
    this.#script = script;
    this.#secrets = new Prng(seed * 2 + side + 77);
    const fuzz = twinWorld(script, seed);
    // How soon a confidant acknowledges an end decides when its slot comes again, for all to see. Secrets of any length must not fill its
    // link, then: where bytes are scarce there is none.
    const isTight = script.chance(0.5);
    const limits = { peerBytesPerSecond: isTight ? 5_000 + script.nextBelow(20_000) : 4_000_000 };
    this.#isAuthorsAlone = script.chance(0.5);
    this.grants = grantsOf(fuzz, fuzz.deny, limits);
    this.#rights = new Rights(fuzz.world, fuzz.deny);
    this.#secretFields = this.grants.components.map((component) =>
      component.fields.map((field) => isSecret(this.#rights, component, field))
    );
    const pair = new Pair({
      grants: this.grants,
      seed: script.nextU32(),
      clients: isTight ? 2 : 3,
      conditions: { latencyMs: 15 },
    });
    this.pair = pair;
    const [observer, author, confidant] = pair.clients;
    this.#observer = observer!;
    this.#author = author!;
    this.#confidant = confidant;
    pair.tap = {
      connection: (client, connector, acceptor) => ({
        connector,
        acceptor: (client as unknown) === observer ? this.#tap(acceptor, 0) : acceptor,
      }),
      engineBytes: () => {},
    };
    this.#hostile = new Hostile(
      pair,
      script.fork(),
      (acceptor) => this.#tap(acceptor, 1),
      (component, field) =>
        randomField(component.fields[field]!, {
          prng: script,
          handles: [],
          mostBytes: 40,
          nextCanary: () => this.#canaries++,
        }),
    );
  }

  #tap(acceptor: Connection, observer: number): Connection {
    return tapConnection(acceptor, () => this.pair.network.now, (event) => {
      if (event.way === "out") this.transcripts[observer]!.push(event);
    });
  }

  /** Plays `steps` turns of game code. */
  run(steps: number): this {
    this.#open();
    for (let step = 0; step < steps; step++) {
      this.#touched.clear();
      for (let i = 0; i < 8; i++) this.#act();
      for (const { engine } of [this.pair.server, ...this.pair.clients]) engine.flush();
      this.pair.run(STEP_MS);
    }
    this.pair.run(300);
    return this;
  }

  #open(): void {
    const { pair } = this;
    const script = this.#script;
    pair.start().joinAll();
    const { engine } = pair.server;
    engine.setRole(this.#author.engine.peer!, AUTHOR_ROLE);
    if (this.#confidant !== undefined) engine.setRole(this.#confidant.engine.peer!, CONFIDANT_ROLE);
    const loss = script.nextBelow(3) * 0.06;
    pair.links.get(this.#observer)!.change({ lossRate: loss, reorderRate: loss, jitterMs: 8 });
    pair.server.engine.flush();
    pair.run(100);
    for (let i = 0; i < 4; i++) this.#spawnDark();
    for (let i = 0; i < 6; i++) this.#spawn(pair.server, 0);
    for (const client of [this.#observer, this.#author]) {
      for (let i = 0; i < 2; i++) this.#spawn(client, 0);
      client.engine.flush();
    }
    pair.server.engine.flush();
    pair.run(100);
  }

  // ---- values

  #source(node: { world: PairNode["world"] }, isSecretly: boolean): ValueSource {
    const isServer = node === this.pair.server;
    // Numbers of canaries: the twins' secrets are others in every byte that can be.
    const nextCanary = () => this.#canaries++ * 2 + (isSecretly ? this.#side : 0);
    return {
      prng: isSecretly ? this.#secrets : this.#script,
      handles: [],
      mostBytes: !isServer ? MOST_OWNER_BYTES : isSecretly ? MOST_SECRET_BYTES : 40,
      nextCanary,
    };
  }

  /** Values for some fields, or for all of a component that is new: secrets differ between the twins, all else does not. */
  #values(
    node: Pick<PairNode, "world" | "engine">,
    handle: number,
    component: ComponentGrant,
    may: (field: string) => boolean,
  ): Record<string, FieldValue> {
    const before = node.world.read(handle, component.name);
    const values: Record<string, FieldValue> = {};
    for (const field of component.fields) {
      if (!may(field.name)) continue;
      if (before !== undefined && this.#script.chance(0.5)) continue;
      const isSecretly = this.#secretFields[component.index]![field.index]!;
      const value = field.kind === "entity"
        ? this.#reference(node, isSecretly, before?.[field.name])
        : before === undefined
        ? randomField(field, this.#source(node, isSecretly))
        : freshValue(component, field, this.#source(node, isSecretly), before[field.name]);
      values[field.name] = value;
      this.written.all += 1;
      if (!isSecretly) continue;
      this.written.secret += 1;
      this.secretBit = lowBit(value);
    }
    return values;
  }

  /** A reference: a secret one to anything, a public one to what is the same in both twins or to nothing an observer may see. */
  #reference(
    node: Pick<PairNode, "world" | "engine">,
    isSecretly: boolean,
    before: FieldValue | undefined,
  ): number {
    const isServer = node === this.pair.server;
    // Which of the unseen it is must not matter, so it may differ; that it is one of them is in the script.
    const isUnseen = isServer && this.#script.chance(0.5);
    const prng = isSecretly || isUnseen ? this.#secrets : this.#script;
    const all = isUnseen ? this.#dark : this.#handles(node);
    const choice = all.filter((handle) => handle !== before);
    return choice.length === 0 ? 0 : choice[prng.nextBelow(choice.length)]!;
  }

  // ---- acting

  #act(): void {
    const dice = this.#script.nextBelow(100);
    const { pair } = this;
    if (dice < 45) this.#write(pair.server, this.#anyHandle());
    else if (dice < 50) this.#write(pair.server, this.#dark[this.#script.nextBelow(4)]!);
    else if (dice < 65) this.#writeOwn(this.#author);
    else if (dice < 75) this.#writeOwn(this.#observer);
    else if (dice < 80) this.#overstep();
    else if (dice < 85) this.#forge();
    else if (dice < 88) this.#spawn(pair.server, 0);
    else if (dice < 89) this.#spawnDark();
    else if (dice < 91) this.#despawn();
    else if (dice < 93) this.#compose();
    else if (dice < 95) this.#transfer();
    else if (dice < 97) this.#changeRole();
    else if (dice < 99) this.#say();
    else if (this.#script.chance(0.2)) pair.links.get(this.#observer)!.kill("acceptor");
  }

  /**
   * Entities that a node's script may choose from, in an order that is the same in both twins: the order of handles is that of arrival, which
   * secrets of any length may change for those who hear them. A client's script therefore knows its own entities alone.
   */
  #handles({ world, engine }: Pick<PairNode, "world" | "engine">): number[] {
    const isServer = engine === this.pair.server.engine;
    const order = new Map<number, number>();
    for (const handle of world.handles()) {
      if (isServer ? this.#dark.includes(handle) : !engine.isOwn(handle)) continue;
      order.set(handle, engine.networkIdOf(handle) || 2 ** 32 + handle);
    }
    return [...order.keys()].sort((a, b) => order.get(a)! - order.get(b)!);
  }

  #component(): ComponentGrant {
    const { components } = this.grants;
    return components[this.#script.nextBelow(components.length)]!;
  }

  #write(node: PairNode | typeof this.pair.server, handle: number): void {
    const has = (one: ComponentGrant) => node.world.read(handle, one.name) !== undefined;
    const present = this.grants.components.filter(has);
    const component = present[this.#script.nextBelow(present.length || 1)];
    if (component === undefined) return;
    // Twice in one batch might lead back to the value before, which would be no change at all, in one twin alone.
    const key = `${handle} ${component.name}`;
    if (this.#touched.has(key)) return;
    this.#touched.add(key);
    // Two who write one secret, and one of them without reading it: whether a write changes anything would be a matter of the secret.
    const isAuthors = this.#isAuthors(handle);
    const hasSecrets = this.#secretFields[component.index]!.includes(true);
    if (isAuthors && hasSecrets && this.#isAuthorsAlone) return;
    const values = this.#values(
      node,
      handle,
      component,
      (field) => !isAuthors || !this.#isSecretField(component, field),
    );
    node.engine.set(handle, component.name, values);
  }

  #isAuthors(handle: number): boolean {
    return this.pair.server.engine.ownerOf(handle) === this.#author.engine.peer;
  }

  #isSecretField(component: ComponentGrant, name: string): boolean {
    const field = component.fields.findIndex((one) => one.name === name);
    return this.#secretFields[component.index]![field]!;
  }

  #anyHandle(): number {
    const handles = this.#handles(this.pair.server);
    return handles[this.#script.nextBelow(handles.length || 1)] ?? 0;
  }

  #writeOwn(client: Client): void {
    const { engine, world } = client;
    const own = this.#handles(client);
    const handle = own[this.#script.nextBelow(own.length || 1)];
    const component = this.#component();
    const key = `${client.engine.peer} ${handle} ${component.name}`;
    if (handle === undefined || world.read(handle, component.name) === undefined) return;
    if (this.#touched.has(key)) return;
    this.#touched.add(key);
    const role = engine.roleName;
    const values = this.#values(
      client,
      handle,
      component,
      (field) =>
        this.#rights.mayWrite(role, component.name, field, true) &&
        (this.#isAuthorsAlone || !this.#isSecretField(component, field)),
    );
    if (Object.keys(values).length > 0) engine.set(handle, component.name, values);
  }

  /** The observer's game code tries what it may not. */
  #overstep(): void {
    const { engine } = this.#observer;
    const { world } = this.#observer;
    const seen = [...world.handles()];
    const handle = seen[this.#script.nextBelow(seen.length || 1)] ?? 0;
    const component = this.#component();
    engine.set(handle, component.name, this.#values(this.#observer, handle, component, () => true));
    engine.remove(engine.isOwn(handle) ? 0 : handle, component.name);
  }

  #forge(): void {
    const { server } = this.pair;
    const ids = [...this.#handles(server), ...this.#dark].map((handle) =>
      server.engine.networkIdOf(handle)
    );
    this.#hostile.misbehave(ids.filter((id) => id !== 0));
  }

  #spawn(node: PairNode<never> | Client | typeof this.pair.server, owner: number): void {
    const role = node.engine.roleName;
    const isServer = node === this.pair.server;
    if (isServer && node.world.size > 30) return;
    const components: Record<string, ComponentValues> = {};
    for (const component of this.grants.components) {
      if (component.name === "Dark" && this.#script.chance(0.5)) continue;
      if (!isServer && !this.#rights.mayCompose(role, component.name)) continue;
      if (component.index > 0 && this.#script.chance(0.4)) continue;
      if (!isServer && Object.keys(components).length >= MOST_OWN_COMPONENTS) continue;
      components[component.name] = this.#values(
        node,
        0,
        component,
        (field) => isServer || this.#rights.mayWrite(role, component.name, field, true),
      );
    }
    const chosen = isServer && this.#script.chance(0.3) ? this.#observer.engine.peer! : owner;
    node.engine.spawn(components, isServer ? { owner: chosen } : {});
  }

  #spawnDark(): void {
    if (this.#dark.length > 6) return;
    const { server } = this.pair;
    const component = this.grants.components.find(({ name }) => name === "Dark")!;
    const handle = server.engine.spawn({ Dark: this.#values(server, 0, component, () => true) });
    this.#dark.push(handle);
  }

  #despawn(): void {
    const { server } = this.pair;
    const handle = this.#anyHandle();
    server.engine.despawn(handle);
  }

  #compose(): void {
    const { server } = this.pair;
    const handle = this.#anyHandle();
    const component = this.#component();
    if (server.world.read(handle, component.name) !== undefined) {
      server.engine.remove(handle, component.name);
    } else if (server.world.has(handle) && !this.#isAuthors(handle)) {
      const values = this.#values(server, handle, component, () => true);
      server.engine.set(handle, component.name, values);
    }
  }

  #transfer(): void {
    const { engine } = this.pair.server;
    const handle = this.#anyHandle();
    const { peer } = this.#observer.engine;
    const owner = engine.ownerOf(handle);
    if (peer === undefined) return;
    if (owner === 0) engine.transfer(handle, peer);
    else if (owner === peer) engine.transfer(handle, 0);
  }

  #changeRole(): void {
    const { engine } = this.pair.server;
    const { peers } = engine;
    const others = [this.#author.engine.peer, this.#confidant?.engine.peer];
    const observers = peers.filter((peer) => !others.includes(peer));
    const peer = observers[this.#script.nextBelow(observers.length || 1)];
    const role = OBSERVER_ROLES[this.#script.nextBelow(OBSERVER_ROLES.length)]!;
    if (peer !== undefined) engine.setRole(peer, role);
  }

  /** An event: its text is a secret where no observer may hear it. */
  #say(): void {
    const { events } = this.#rights.world;
    const event = events[this.#script.nextBelow(events.length)]!.name;
    const isSecretly = OBSERVER_ROLES.every((role) => !this.#rights.mayHear(role, event));
    const source = this.#source(this.pair.server, isSecretly);
    const length = CANARY_BYTES + source.prng.nextBelow(40);
    const text = canaryText(source.nextCanary(), length);
    this.pair.server.engine.sendEvent(event, { text, who: 0 });
  }
}

function lowBit(value: FieldValue): number {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number") return Math.trunc(Math.abs(value)) & 1;
  if (typeof value === "string") return value.length & 1;
  if (value instanceof Uint8Array) return value.length & 1;
  return Math.trunc(Math.abs(value[0]! * 1000)) & 1;
}
