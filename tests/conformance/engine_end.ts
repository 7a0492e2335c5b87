// One engine and its driver, as a listener at their socket sees them: the order of docs/PROTOCOL.md 2.6, and the world that both ends build from
// batches, by network id, quantised by the page's own formulas.

import { rule } from "./bits.ts";
import {
  FrameSplitter,
  type Message,
  readMessage,
  type Row,
  rowBytes,
  type Rows,
} from "./engine_link.ts";
import { type FieldValue, quantise } from "./values.ts";
import type { Component, World } from "./world.ts";

/** A component as both ends of the link know it. */
export interface LinkValue {
  readonly fields: (FieldValue | undefined)[];
  time: number | undefined;
  hidden: boolean;
}

/** An entity as both ends of the link know it. */
export interface LinkEntity {
  readonly handle: number;
  owner: number;
  epoch: number | undefined;
  readonly components: Map<number, LinkValue>;
}

/** What an engine sent, once the driver has stamped it. */
export interface Stamped {
  readonly handle: number;
  readonly component: number;
  readonly time: number;
  /** The component as it stood after the batch. */
  readonly fields: readonly (FieldValue | undefined)[];
}

/** Kinds that either end may send before `joined`. */
const EARLY_FROM_DRIVER = [
  "sign",
  "hello",
  "stats",
  "denied",
  "left",
  "log",
  "ping",
  "pong",
  "goodbye",
];
const EARLY_FROM_ENGINE = ["signed", "readLog", "welcome", "ping", "pong", "goodbye"];

/** One engine link. */
export class EngineEnd {
  /** Every message, in order. */
  readonly messages:
    (Message & { readonly way: "toEngine" | "toDriver"; readonly atMs: number })[] = [];
  readonly entities = new Map<number, LinkEntity>();
  /** Network id by handle. */
  readonly ids = new Map<number, number>();
  readonly stamped: Stamped[] = [];
  joined: Message | undefined;
  readonly #splitters = { toEngine: new FrameSplitter(), toDriver: new FrameSplitter() };
  readonly #world: World;
  #isGreeted = false;
  #isWelcomed = false;
  /** What batches on their way to being stamped hold. */
  readonly #unstamped = new Map<number, Omit<Stamped, "time">[]>();

  /** A link on which nothing was said yet. */
  constructor(world: World) {
    this.#world = world;
  }

  /** Bytes of frames that are not whole. */
  get pendingBytes(): number {
    return this.#splitters.toEngine.pendingBytes + this.#splitters.toDriver.pendingBytes;
  }

  /** Takes bytes of one direction. */
  pass(way: "toEngine" | "toDriver", bytes: Uint8Array, atMs: number): void {
    for (const body of this.#splitters[way].read(bytes)) {
      const message = readMessage(body, way, this.#world);
      this.messages.push({ ...message, way, atMs });
      this.#order(message, way);
      this.#apply(message, way);
    }
  }

  /** Messages of one kind and direction. */
  all(kind: string, way: "toEngine" | "toDriver"): readonly Message[] {
    return this.messages.filter((m) => m.kind === kind && m.way === way);
  }

  /** The entity with this network id. */
  byId(id: number): LinkEntity | undefined {
    for (const [handle, known] of this.ids) if (known === id) return this.entities.get(handle);
    return undefined;
  }

  #order({ kind, fields }: Message, way: "toEngine" | "toDriver"): void {
    if (way === "toEngine") {
      rule(this.#isGreeted !== (kind === "hello"), "Unexpected", `${kind} and hello`);
      rule(
        this.joined !== undefined || kind === "joined" || EARLY_FROM_DRIVER.includes(kind),
        "Unexpected",
        kind,
      );
      if (kind === "hello") {
        this.#isGreeted = true;
        this.#greet(fields);
      }
      return;
    }
    rule(this.#isWelcomed !== (kind === "welcome"), "Unexpected", `${kind} and welcome`);
    rule(this.joined !== undefined || EARLY_FROM_ENGINE.includes(kind), "Unexpected", kind);
    if (kind === "welcome") {
      rule(this.#isGreeted, "Unexpected", "welcome before hello");
      rule(fields.linkVersion === 1, "Incompatible", "link version");
      rule(fields.schemaHash === this.#world.schemaHash, "Incompatible", "schema");
      this.#isWelcomed = true;
    }
  }

  #greet(fields: Message["fields"]): void {
    rule(fields.linkVersion === 1, "Incompatible", "link version");
    rule(fields.schemaHash === this.#world.schemaHash, "Incompatible", "schema");
    const table = this.#world.components.map((c) => [c.id, c.name, rowBytes(c)]);
    rule(JSON.stringify(fields.components) === JSON.stringify(table), "Incompatible", "components");
  }

  #apply({ kind, fields }: Message, way: "toEngine" | "toDriver"): void {
    if (kind === "joined") this.joined = { kind, fields };
    if (kind === "left") this.joined = undefined;
    if (kind === "named") {
      for (const [handle, id] of fields.pairs as number[][]) this.ids.set(handle!, id!);
    }
    if (kind === "spawnRefused") this.entities.delete(fields.handle as number);
    if (kind === "stamped") {
      const id = fields.id as number;
      const time = fields.time as number;
      for (const value of this.#unstamped.get(id) ?? []) this.stamped.push({ ...value, time });
      this.#unstamped.delete(id);
    }
    if (kind === "batch") this.#batch(fields, way);
  }

  #batch(fields: Message["fields"], way: "toEngine" | "toDriver"): void {
    const spawns = fields.spawns as number[];
    const owners = fields.spawnOwners as number[];
    const ids = fields.spawnIds as number[] | undefined;
    spawns.forEach((handle, i) => {
      if (ids !== undefined) this.ids.set(handle, ids[i]!);
      const known = this.entities.get(handle);
      if (known !== undefined) {
        known.owner = owners[i]!;
        return;
      }
      const components = new Map<number, LinkValue>();
      this.entities.set(handle, { handle, owner: owners[i]!, epoch: undefined, components });
    });
    for (const [handle, owner, epoch] of (fields.owners ?? []) as number[][]) {
      const entity = this.#entity(handle!);
      entity.owner = owner!;
      entity.epoch = epoch!;
    }
    const sent: Omit<Stamped, "time">[] = [];
    for (const rows of fields.components as Rows[]) this.#rows(rows, way, sent);
    if (way === "toDriver") this.#unstamped.set(fields.id as number, sent);
    for (const [handle, id] of fields.removes as number[][]) {
      this.#entity(handle!).components.delete(this.#index(id!));
    }
    for (const [handle, id] of (fields.hides ?? []) as number[][]) {
      this.#entity(handle!).components.get(this.#index(id!))!.hidden = true;
    }
    for (const handle of fields.despawns as number[]) this.entities.delete(handle);
  }

  #rows(rows: Rows, way: "toEngine" | "toDriver", sent: Omit<Stamped, "time">[]): void {
    const index = this.#index(rows.component);
    const component = this.#world.components[index]!;
    rows.handles.forEach((handle, i) => {
      const entity = this.#entity(handle);
      let value = entity.components.get(index);
      if (value === undefined) {
        value = { fields: [], time: undefined, hidden: false };
        entity.components.set(index, value);
      }
      this.#row(component, rows.masks[i]!, rows.rows[i]!, value);
      value.hidden = false;
      if (way === "toEngine") value.time = rows.times[i]!;
      else sent.push({ handle, component: index, fields: [...value.fields] });
    });
  }

  #row(component: Component, mask: number, row: Row, value: LinkValue): void {
    component.fields.forEach((field, i) => {
      if ((mask >>> i) % 2 === 0) return;
      value.fields[i] = field.kind === "entity"
        ? [this.#idOf(row[i] as number)]
        : quantise(field, row[i]);
    });
  }

  #idOf(handle: number): number {
    return handle === 0 ? 0 : this.ids.get(handle) ?? NaN;
  }

  #index(id: number): number {
    return this.#world.components.findIndex((c) => c.id === id);
  }

  #entity(handle: number): LinkEntity {
    const entity = this.entities.get(handle);
    rule(entity !== undefined, "UnknownId", `handle ${handle}`);
    return entity;
  }
}
