// Ears of the authority judge: what happens to the server's world and by whose doing, what engines are told, and what drivers acknowledge.
// They change nothing on the way.

import type { ClientCore } from "../../driver/client_core.ts";
import { ClientOwn } from "../../driver/client_own.ts";
import { plainValues } from "../../engine/values.ts";
import type { Connection } from "../../transport/connection.ts";
import { SectionLog } from "../../replication/section_log.ts";
import { ENTITY_ID, VALUE_COMPONENT } from "../../replication/track_pool.ts";
import { createValue } from "../../replication/value.ts";
import type { Pair, PairNode } from "../support/pair.ts";
import type { AuthorityJudge } from "./authority_judge.ts";

type Client = PairNode<ClientCore>;

const SERVER = 0;

/** Listens to one pair. Make it before the pair starts. */
export class AuthorityWatch {
  readonly #pair: Pair;
  readonly #judge: AuthorityJudge;
  /** The client whose datagram the server handles at this moment. */
  #client: Client | undefined;
  /** The server handles what its engine sent. */
  #isEngine = false;
  /** By client: components that its engine was told to be out of view. */
  readonly #hidden = new Map<Client, Set<string>>();
  /** By client and entity: owner and epoch that its engine was told last. */
  readonly #epochs = new Map<string, number>();
  readonly #handleAcked = SectionLog.prototype.handleAcked;
  readonly #adopt = ClientOwn.prototype.adopt;
  /** Entities and epochs of which the client's driver heard in the datagram that it handles. */
  readonly #adopted: [number, number][] = [];

  /** Begins to listen; end it with `stop`. */
  constructor(pair: Pair, judge: AuthorityJudge) {
    this.#pair = pair;
    this.#judge = judge;
    this.#watchCore();
    this.#watchAcks();
    this.#watchHeaders();
    for (const client of pair.clients) this.#watchEngine(client);
    pair.server.engine.onDenied = ({ count }) => judge.seen.denials += count;
    pair.tap = {
      connection: (client, connector, acceptor) => ({
        connector: this.#watchConnector(client as unknown as Client, connector),
        acceptor: this.#watchAcceptor(client as unknown as Client, acceptor),
      }),
      engineBytes: () => {},
    };
  }

  /** Listens no more. */
  stop(): void {
    SectionLog.prototype.handleAcked = this.#handleAcked;
    ClientOwn.prototype.adopt = this.#adopt;
  }

  /** Epoch that a client's engine was told last of an entity. */
  epochOf(client: Client, id: number): number | undefined {
    return this.#epochs.get(`${this.#pair.clients.indexOf(client)} ${id}`);
  }

  // ---- the server's world

  /** Whose doing a change of the server's world is; what time brings about is the owner's, whose spawn was waiting. */
  #actor(owner: number): number {
    if (this.#isEngine) return SERVER;
    return this.#client?.engine.peer ?? owner;
  }

  #watchCore(): void {
    const { core } = this.#pair.server;
    const judge = this.#judge;
    const { components } = judge.grants;
    const handle = core.handleEngine;
    core.handleEngine = (message, nowMs) => {
      this.#isEngine = true;
      handle.call(core, message, nowMs);
      this.#isEngine = false;
    };
    const { world } = core;
    const { addComponent, removeComponent, write, setOwner } = world;
    const scratch = components.map((component) => createValue(component));
    /** An override raises the epoch right after the change. */
    const epochAfter = (id: number, c: number) => {
      const isOverride = this.#isEngine && world.owner(id) !== SERVER &&
        components[c]!.authority === "owner";
      return world.epoch(id) + Number(isOverride);
    };
    const held = (id: number, c: number, mask: number, tick: number) => {
      const value = scratch[c]!;
      world.read(id, c, value);
      const owner = world.owner(id);
      const values = plainValues(components[c]!, value, mask);
      judge.held(this.#actor(owner), owner, id, components[c]!, values, tick, epochAfter(id, c));
    };
    world.addComponent = (id, c, value, tick, time) => {
      addComponent.call(world, id, c, value, tick, time);
      held(id, c, components[c]!.allFields, tick);
    };
    world.removeComponent = (id, c, tick) => {
      const owner = world.owner(id);
      judge.removed(this.#actor(owner), owner, id, components[c]!, tick, epochAfter(id, c));
      removeComponent.call(world, id, c, tick);
    };
    world.write = (id, c, mask, value, tick, time) => {
      const changed = write.call(world, id, c, mask, value, tick, time);
      if (changed !== 0) held(id, c, changed, tick);
      return changed;
    };
    world.setOwner = (id, owner, tick) => {
      const epoch = world.epoch(id);
      setOwner.call(world, id, owner, tick);
      judge.moved(id, world.epoch(id));
      if (!this.#isEngine) judge.find("late", `entity ${id} changed hands by no order`);
      if (world.epoch(id) === epoch) judge.find("epoch", `entity ${id} got an owner, but no epoch`);
    };
    this.#watchOverrides();
  }

  /** An override of what a peer owns raises the epoch, within the batch that brings it. */
  #watchOverrides(): void {
    const { core } = this.#pair.server;
    const judge = this.#judge;
    const { world } = core;
    const { components } = judge.grants;
    /** Epochs before the first override of this batch. */
    const before = new Map<number, number>();
    const born = new Set<number>();
    const note = (id: number, c: number) => {
      if (!this.#isEngine || world.owner(id) === SERVER || born.has(id)) return;
      if (components[c]!.authority !== "owner") return;
      judge.seen.overrides += 1;
      if (!before.has(id)) before.set(id, world.epoch(id));
    };
    const { handleEngine } = core;
    core.handleEngine = (message, nowMs) => {
      before.clear();
      born.clear();
      handleEngine.call(core, message, nowMs);
      for (const [id, epoch] of before) {
        if (!world.isAlive(id) || world.epoch(id) !== epoch) continue;
        judge.find("epoch", `entity ${id} was overridden under epoch ${epoch}, which stays`);
      }
    };
    const { spawn, addComponent, removeComponent, write } = world;
    world.spawn = (id, owner, tick) => {
      spawn.call(world, id, owner, tick);
      born.add(id);
    };
    world.addComponent = (id, c, value, tick, time) => {
      note(id, c);
      addComponent.call(world, id, c, value, tick, time);
    };
    world.removeComponent = (id, c, tick) => {
      note(id, c);
      removeComponent.call(world, id, c, tick);
    };
    world.write = (id, c, mask, value, tick, time) => {
      const epoch = world.epoch(id);
      const changed = write.call(world, id, c, mask, value, tick, time);
      if (changed === 0) return 0;
      note(id, c);
      if (before.has(id)) before.set(id, Math.min(before.get(id)!, epoch));
      return changed;
    };
  }

  // ---- links

  #watchAcceptor(client: Client, acceptor: Connection): Connection {
    return this.#around(acceptor, (handle) => {
      this.#client = client;
      handle();
      this.#client = undefined;
    });
  }

  /** A client's engine knows what its driver tells it in the same moment: also which components an entity does not have. */
  #watchConnector(client: Client, connector: Connection): Connection {
    return this.#around(connector, (handle) => {
      this.#adopted.length = 0;
      handle();
      for (const [id, epoch] of this.#adopted.splice(0)) {
        this.#pair.network.at(this.#pair.network.now, () => this.#sawEntity(client, id, epoch));
      }
    });
  }

  #sawEntity({ engine, world }: Client, id: number, epoch: number): void {
    const handle = engine.handleOf(id);
    if (handle === 0 || engine.peer === undefined || !engine.isOwn(handle)) return;
    for (const component of this.#judge.grants.components) {
      // What is the server's alone comes and goes under any epoch.
      if (component.authority !== "owner") continue;
      if (world.read(handle, component.name) !== undefined) continue;
      this.#judge.sawNone(engine.peer, id, component, epoch);
    }
  }

  #around(inner: Connection, onDatagram: (handle: () => void) => void): Connection {
    return {
      start: (handler) =>
        inner.start({
          handleDatagram: (bytes) => onDatagram(() => handler.handleDatagram(bytes)),
          handleStream: (stream) => handler.handleStream(stream),
          handleClosed: (info) => handler.handleClosed(info),
        }),
      get maxDatagramSize() {
        return inner.maxDatagramSize;
      },
      sendDatagram: (bytes) => inner.sendDatagram(bytes),
      openStream: () => inner.openStream(),
      close: (code, reason) => inner.close(code, reason),
      get channelBinding() {
        return inner.channelBinding;
      },
      label: inner.label,
    };
  }

  /** Of the server's senders: what a datagram that a client acknowledges had carried. */
  #watchAcks(): void {
    // deno-lint-ignore no-this-alias
    const watch = this;
    const original = this.#handleAcked;
    SectionLog.prototype.handleAcked = function (sequence) {
      const client = watch.#client;
      if (client !== undefined) {
        this.forEach(sequence, ({ entity, value, worldTick, piece }) => {
          if (value < 0 || piece >= 0) return;
          const id = this.pool.entities[entity + ENTITY_ID]!;
          const component = this.pool.values[value + VALUE_COMPONENT]!;
          watch.#acknowledged(client, id, component, worldTick);
        });
      }
      original.call(this, sequence);
    };
  }

  /** What clients' drivers hear of owners and epochs. */
  #watchHeaders(): void {
    const adopted = this.#adopted;
    const original = this.#adopt;
    ClientOwn.prototype.adopt = function (id, owner, epoch) {
      adopted.push([id, epoch]);
      original.call(this, id, owner, epoch);
    };
  }

  #acknowledged(client: Client, id: number, c: number, worldTick: number): void {
    const { engine, world } = client;
    const component = this.#judge.grants.components[c]!;
    const handle = engine.handleOf(id);
    const isShown = handle !== 0 && world.read(handle, component.name) !== undefined &&
      this.#hidden.get(client)?.has(`${id} ${component.name}`) !== true;
    const role = this.#judge.grants.roles.find(({ name }) => name === engine.roleName)!.index;
    // An owner's engine has values of its own, and sees others with the header that comes beside them.
    const reader = isShown && !engine.isOwn(handle) ? role : undefined;
    this.#judge.acknowledged(engine.peer!, id, component, worldTick, reader);
  }

  // ---- engines

  #watchEngine(client: Client): void {
    const { engine } = client;
    const judge = this.#judge;
    const hidden = new Set<string>();
    this.#hidden.set(client, hidden);
    const component = (name: string) => judge.grants.components.find((one) => one.name === name)!;
    const ids = new Map<number, number>();
    const idOf = (handle: number) => {
      const id = engine.networkIdOf(handle);
      if (id !== 0) ids.set(handle, id);
      return id;
    };
    engine.onSpawn = (handle) => judge.came(engine.peer!, idOf(handle));
    engine.onRemoteChange = (handle, name, values) => {
      const id = idOf(handle);
      if (id === 0 || engine.peer === undefined) return;
      hidden.delete(`${id} ${name}`);
      judge.told(engine.peer, engine.isOwn(handle), id, component(name), values);
    };
    engine.onRemoteRemove = (handle, name) => {
      judge.toldRemoved(engine.peer!, idOf(handle), component(name));
    };
    engine.onHide = (handle, name) => void hidden.add(`${idOf(handle)} ${name}`);
    engine.onDespawn = (handle) => judge.toldGone(engine.peer!, ids.get(handle) ?? 0);
    engine.onOwnerChange = (handle, _owner, epoch) => {
      const id = idOf(handle);
      this.#epochs.set(`${this.#pair.clients.indexOf(client)} ${id}`, epoch);
    };
  }
}
