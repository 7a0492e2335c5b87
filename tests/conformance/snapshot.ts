// The snapshot section (docs/PROTOCOL.md chapter 5) as its receiver reads it: bits first, everything checked, then held. It keeps what the page
// says a receiver keeps and no longer, so that a sender that refers to anything else is found out.

import { Bits, Malformed, rule, widthOf } from "./bits.ts";
import { maskOf, readAbsolute, readChange, readForetold, type Value } from "./values.ts";
import { type Component, historyTicks, type World } from "./world.ts";

/** Bytes of one piece. */
const PIECE_BYTES = 960;
/** Ticks that a receiver holds versions beyond the history window. */
const MARGIN_TICKS = 64;
/** Replaced and newest versions held of one component. */
const MOST_VERSIONS = 64;

/** Values on their way in pieces. */
const MOST_TRANSFERS = 4;

/** One version of a component. */
export interface Version {
  /** Tick of the datagram in which it was first sent. */
  readonly tick: number;
  /** Sub-ticks. */
  readonly sampleTime: number;
  readonly value: Value;
}

/** What a header says. */
export interface Header {
  readonly state: "alive" | "outOfView" | "gone";
  readonly owner: number;
  readonly epoch: number;
  /** Component index to hidden. */
  readonly components: ReadonlyMap<number, boolean>;
}

/** One value, read but not yet held. */
interface ReadValue {
  readonly component: number;
  readonly tick: number;
  readonly sampleTime: number;
  readonly contents:
    | { readonly kind: "absolute" | "change"; readonly value: Value }
    | {
      readonly kind: "piece";
      readonly total: number;
      readonly number: number;
      readonly bytes: Uint8Array;
    };
}

/** What the value before in a section said. */
interface Section {
  entries: number;
  offset: number;
  age: number | undefined;
  unit: number;
  before: number;
}

/** What a value says of itself. */
interface Name {
  readonly component: number;
  readonly versionTick: number;
  /** Undefined where the contents tell it. */
  readonly sampleTime: number | undefined;
  readonly code: number | undefined;
}

/** One entity of a section. */
interface ReadEntity {
  readonly id: number;
  readonly header: Header | undefined;
  readonly epoch: number | undefined;
  readonly values: readonly ReadValue[];
}

/** A section, read. */
export interface ReadSection {
  readonly grantEpoch: number;
  readonly entities: readonly ReadEntity[];
}

/** A value that became whole, and whether it is newer than what was held. */
export interface Arrival {
  readonly entity: number;
  readonly component: number;
  readonly version: Version;
  readonly how: "absolute" | "change" | "pieces";
  readonly fresh: boolean;
  /** Epoch that an owner knew; `undefined` down. */
  readonly epoch: number | undefined;
}

interface Transfer {
  readonly tick: number;
  readonly sampleTime: number;
  readonly total: number;
  readonly pieces: Map<number, Uint8Array>;
}

interface Track {
  /** Ascending by tick; the last is the newest. */
  versions: Version[];
  transfer: Transfer | undefined;
}

/** One entity as the receiver holds it. */
export interface HeldEntity {
  headerTick: number;
  header: Header | undefined;
  readonly tracks: Map<number, Track>;
  /** Tick at which each component was removed. */
  readonly removedAt: Map<number, number>;
}

/** The receiving end of one direction of one link. */
export class SnapshotReceiver {
  readonly #world: World;
  readonly #isDown: boolean;
  readonly #history: number;
  /** Field masks that the world grants in this direction to any peer in any case, by component index. */
  readonly #granted: readonly number[];
  #newestTick = -Infinity;
  readonly entities = new Map<number, HeldEntity>();

  /** Nothing is held yet. */
  constructor(world: World, way: "down" | "up") {
    this.#world = world;
    this.#isDown = way === "down";
    this.#history = historyTicks(world);
    this.#granted = world.components.map((component) => {
      const { readMasks, writeMasks, ownerReadMask, authority } = component;
      const { grantableRead, grantableWrite } = component;
      const any = (masks: readonly number[]) => masks.slice(1).reduce((sum, mask) => sum | mask, 0);
      if (way === "down") return any(readMasks) | ownerReadMask | grantableRead;
      return authority === "owner" ? any(writeMasks) | grantableWrite : 0;
    });
  }

  /** Rules 1 and 2 for the caller, who must know before anything else of the datagram counts. */
  accepts(body: Uint8Array, tick: number, grantEpoch: number): string | undefined {
    if (body[0] !== grantEpoch) return "WrongEpoch";
    if (tick < this.#newestTick - this.#history - MARGIN_TICKS) return "Replayed";
    return undefined;
  }

  /** Reads a section whole; throws `Malformed` at the first rule it breaks, and holds nothing of it. */
  read(body: Uint8Array, tick: number): ReadSection {
    const bits = new Bits(body);
    const grantEpoch = bits.bits(8);
    const entities: ReadEntity[] = [];
    const section: Section = { entries: 0, offset: 0, age: undefined, unit: 0, before: 0 };
    let id = 0;
    while (bits.bool()) {
      const isRun = this.#isDown && bits.bool();
      id += bits.gamma();
      rule(id < 2 ** 32, "OutOfRange", "entity id");
      if (isRun) {
        const run = this.#run(bits, id, tick, section);
        id = run.at(-1)!.id;
        entities.push(...run);
        continue;
      }
      this.#slot(id);
      entities.push(this.#entity(bits, id, tick, section));
      rule(section.entries <= 1_024, "OutOfRange", "more than 1,024 entries");
    }
    rule(entities.length > 0, "NonCanonical", "a section without entity");
    bits.end();
    return { grantEpoch, entities };
  }

  #slot(id: number): void {
    rule(id < 2 ** 32, "OutOfRange", "entity id");
    const slot = id % 2 ** 20;
    rule(slot >= 1 && slot <= this.#world.maxEntities, "OutOfRange", `slot ${slot}`);
  }

  /** Entities with one value each. */
  #run(bits: Bits, from: number, tick: number, section: Section): ReadEntity[] {
    const component = this.#component(bits);
    this.#grant(component);
    const name = this.#name(bits, component, tick, section);
    rule(name.code !== 3, "NonCanonical", "pieces in a run");
    const ids: number[] = [];
    for (let id = from;;) {
      for (let left = bits.short(); left > 0; left--) {
        section.entries += 1;
        rule(section.entries <= 1_024, "OutOfRange", "more than 1,024 entries");
        ids.push(id);
        id += 1;
      }
      const gap = bits.short();
      if (gap === 1) break;
      id += gap - 1;
    }
    rule(ids.length >= 2, "NonCanonical", "a run of one");
    return ids.map((id) => {
      this.#slot(id);
      const values = [this.#contents(bits, id, name, tick, section)];
      return { id, header: undefined, epoch: undefined, values };
    });
  }

  #entity(
    bits: Bits,
    id: number,
    tick: number,
    section: Section,
  ): ReadEntity {
    const hasHeader = bits.bool();
    const header = hasHeader ? this.#header(bits) : undefined;
    if (hasHeader) section.entries += 1;
    const epoch = !this.#isDown && !hasHeader ? bits.bits(8) : header?.epoch;
    const values: ReadValue[] = [];
    if (header !== undefined && header.state !== "alive") return { id, header, epoch, values };
    while (bits.bool()) {
      section.entries += 1;
      rule(section.entries <= 1_024, "OutOfRange", "more than 1,024 entries");
      const component = this.#component(bits);
      rule(component > (values.at(-1)?.component ?? -1), "NonCanonical", "order of components");
      this.#grant(component);
      if (header !== undefined) {
        rule(header.components.get(component) === false, "Unexpected", "value not shown");
      }
      const name = this.#name(bits, component, tick, section);
      values.push(this.#contents(bits, id, name, tick, section));
    }
    rule(hasHeader || values.length > 0, "NonCanonical", "an entity without contents");
    return { id, header, epoch: this.#isDown ? undefined : epoch, values };
  }

  #component(bits: Bits): number {
    const index = bits.bits(widthOf(this.#world.components.length - 1));
    rule(index < this.#world.components.length, "UnknownId", `component index ${index}`);
    return index;
  }

  #grant(index: number): void {
    rule(this.#granted[index] !== 0, "Forbidden", `component index ${index}`);
  }

  #header(bits: Bits): Header {
    const state = (["alive", "outOfView", "gone"] as const)[bits.bits(2)];
    rule(state !== undefined, "UnknownKind", "state 3");
    const components = new Map<number, boolean>();
    if (state !== "alive") return { state, owner: 65_535, epoch: 0, components };
    const owner = bits.u16();
    const epoch = bits.u8();
    let before = -1;
    while (bits.bool()) {
      const index = this.#component(bits);
      rule(index > before, "NonCanonical", "order of components");
      this.#grant(index);
      components.set(index, bits.bool());
      before = index;
    }
    return { state, owner, epoch, components };
  }

  /** What a value says of itself before its contents. */
  #name(bits: Bits, component: number, tick: number, section: Section): Name {
    const versionTick = bits.bool() ? tick - bits.gamma() : tick;
    rule(versionTick >= 0, "OutOfRange", "version before the timeline's start");
    const code = bits.bool() ? bits.bits(2) : undefined;
    if (code === 0) {
      const age = bits.bits(widthOf(this.#history));
      rule(age >= 1 && age <= this.#history, "OutOfRange", `age ${age}`);
      let unit = 0;
      let before = 0;
      if (bits.bool()) {
        unit = bits.short();
        before = bits.bits(5);
        rule(before !== 0, "NonCanonical", "no version before");
        rule(age + unit * widthOf(before) <= this.#history, "OutOfRange", "version before");
      }
      const isSame = age === section.age && unit === section.unit && before === section.before;
      rule(!isSame, "NonCanonical", "reference as before");
      Object.assign(section, { age, unit, before });
    }
    rule(code !== undefined || section.age !== undefined, "NonCanonical", "no age was sent before");
    const isForetold = (code === undefined || code === 0) && section.before !== 0;
    if (isForetold) return { component, versionTick, sampleTime: undefined, code };
    if (bits.bool()) {
      const offset = bits.signed();
      rule(offset !== section.offset, "NonCanonical", "offset as before");
      section.offset = offset;
    }
    return { component, versionTick, sampleTime: sampleTimeOf(versionTick, section.offset), code };
  }

  #contents(bits: Bits, id: number, name: Name, tick: number, section: Section): ReadValue {
    const { component, versionTick, code } = name;
    const layout = this.#world.components[component]!;
    const done = (contents: ReadValue["contents"], sampleTime = name.sampleTime!) => ({
      component,
      tick: versionTick,
      sampleTime,
      contents,
    });
    if (code === 2) {
      return done({
        kind: "absolute",
        value: readAbsolute(bits, layout, this.#granted[component]!),
      });
    }
    if (code === 3) return done(this.#piece(bits, id, component, versionTick, name.sampleTime!));
    const held = this.entities.get(id)?.tracks.get(component)?.versions ?? [];
    let reference: Version | undefined;
    if (code === 1) {
      reference = held.findLast((v) => v.tick < tick - this.#history && v.tick < versionTick);
    } else {
      reference = held.find((v) => v.tick === tick - section.age!);
    }
    if (reference === undefined || reference.tick >= versionTick) {
      const what = `entity ${id}, component ${component}, datagram tick ${tick}, version ` +
        `${versionTick}, code ${code}, age ${section.age}; held ${held.map((v) => v.tick)}`;
      throw new Malformed("UnknownBaseline", what);
    }
    if (name.sampleTime === undefined) {
      const { unit, before } = section;
      const versions = [
        reference,
        ...[1, 2, 3, 4, 5].map((i) => {
          if (Math.floor(before / 2 ** (i - 1)) % 2 === 0) return undefined;
          const at = reference.tick - i * unit;
          const version = held.find((v) => v.tick === at);
          rule(version !== undefined, "UnknownBaseline", `version ${at} before the reference`);
          return version;
        }),
      ];
      const lag = (versionTick - reference.tick) / unit;
      const offsets = versions.filter((v) => v !== undefined).map((v) =>
        64 * v.tick - v.sampleTime
      );
      const isSteady = offsets.every((offset) => offset === offsets[0]);
      const { value, shift } = readForetold(
        bits,
        layout,
        versions.map((v) => v?.value),
        lag,
        isSteady,
      );
      return done({ kind: "change", value }, sampleTimeOf(versionTick, (offsets[0]! + shift) | 0));
    }
    return done({ kind: "change", value: readChange(bits, layout, reference.value) });
  }

  #piece(
    bits: Bits,
    id: number,
    component: number,
    tick: number,
    sampleTime: number,
  ): ReadValue["contents"] {
    const total = bits.varint();
    rule(total > PIECE_BYTES, "NonCanonical", `${total} bytes in pieces`);
    const most = mostBytes(this.#world.components[component]!);
    rule(total <= most, "OutOfRange", `${total} bytes in pieces`);
    const count = Math.ceil(total / PIECE_BYTES);
    const number = bits.bits(widthOf(count - 1));
    rule(number < count, "OutOfRange", `piece ${number} of ${count}`);
    const size = number === count - 1 ? total - PIECE_BYTES * (count - 1) : PIECE_BYTES;
    const piece = { kind: "piece", total, number, bytes: bits.take(size) } as const;
    const track = this.entities.get(id)?.tracks.get(component);
    const newest = track?.versions.at(-1)?.tick ?? -1;
    const transfer = track?.transfer;
    if (tick <= newest || tick < (transfer?.tick ?? -1)) return piece;
    if (transfer?.tick === tick) {
      rule(transfer.total === total, "Unexpected", "total of the pieces before");
      rule(transfer.sampleTime === sampleTime, "Unexpected", "sample time of the pieces before");
      const pieces = new Map(transfer.pieces).set(number, piece.bytes);
      if (pieces.size === count) this.#whole(component, total, pieces);
    } else if (transfer === undefined) {
      rule(this.#transfers < MOST_TRANSFERS, "OutOfRange", "values in pieces");
    }
    return piece;
  }

  /** Values that have come in part. */
  get #transfers(): number {
    let count = 0;
    for (const { tracks } of this.entities.values()) {
      for (const { transfer } of tracks.values()) if (transfer !== undefined) count += 1;
    }
    return count;
  }

  #whole(component: number, total: number, pieces: ReadonlyMap<number, Uint8Array>): Value {
    const whole = new Uint8Array(total);
    for (const [number, bytes] of pieces) whole.set(bytes, number * PIECE_BYTES);
    const bits = new Bits(whole);
    const layout = this.#world.components[component]!;
    const value = readAbsolute(bits, layout, this.#granted[component]!);
    bits.end();
    return value;
  }

  /** Holds a section that was read at this tick; gives the values that became whole by it. */
  hold(section: ReadSection, tick: number): Arrival[] {
    this.#newestTick = Math.max(this.#newestTick, tick);
    const arrivals: Arrival[] = [];
    for (const entity of section.entities) {
      const held = this.#held(entity.id);
      if (entity.header !== undefined && tick > held.headerTick) {
        this.#holdHeader(held, entity.header, tick);
      }
      for (const value of entity.values) {
        const arrival = this.#holdValue(held, entity, value);
        if (arrival !== undefined) arrivals.push(arrival);
      }
    }
    this.#expire();
    return arrivals;
  }

  /** Rights of components changed with a role: all that was held of them is void. */
  forget(components: readonly number[]): void {
    for (const held of this.entities.values()) {
      for (const component of components) held.tracks.delete(component);
    }
  }

  /** The newest value held. */
  newest(entity: number, component: number): Version | undefined {
    return this.entities.get(entity)?.tracks.get(component)?.versions.at(-1);
  }

  #held(id: number): HeldEntity {
    let held = this.entities.get(id);
    if (held === undefined) {
      held = { headerTick: -1, header: undefined, tracks: new Map(), removedAt: new Map() };
      this.entities.set(id, held);
    }
    return held;
  }

  #holdHeader(held: HeldEntity, header: Header, tick: number): void {
    for (const index of header.components.keys()) held.removedAt.delete(index);
    for (const index of held.header?.components.keys() ?? []) {
      if (header.state === "alive" && !header.components.has(index)) {
        held.removedAt.set(index, tick);
      }
    }
    held.header = header;
    held.headerTick = tick;
  }

  #holdValue(held: HeldEntity, entity: ReadEntity, read: ReadValue): Arrival | undefined {
    let track = held.tracks.get(read.component);
    if (track === undefined) {
      track = { versions: [], transfer: undefined };
      held.tracks.set(read.component, track);
    }
    const { contents } = read;
    let value: Value;
    if (contents.kind === "piece") {
      const whole = this.#gather(track, read, contents);
      if (whole === undefined) return undefined;
      value = whole;
    } else value = contents.value;
    const newest = track.versions.at(-1);
    const version = { tick: read.tick, sampleTime: read.sampleTime, value };
    const same = track.versions.find((v) => v.tick === read.tick);
    if (same !== undefined) {
      rule(same.sampleTime === version.sampleTime, "NonCanonical", "one version, two sample times");
      rule(isEqual(same.value, value), "NonCanonical", "one version, two contents");
      return undefined;
    }
    const isChange = contents.kind === "change";
    if (!isChange && newest !== undefined && maskOf(newest.value) !== maskOf(value)) {
      if (read.tick < newest.tick) return undefined;
      track.versions = [];
    }
    track.versions.push(version);
    track.versions.sort((a, b) => a.tick - b.tick);
    if (track.versions.length > MOST_VERSIONS) track.versions.shift();
    const isFresh = (newest === undefined || version.tick > newest.tick) &&
      held.header?.state !== "gone" &&
      version.tick > (held.removedAt.get(read.component) ?? -1);
    return {
      entity: entity.id,
      component: read.component,
      version,
      how: contents.kind === "piece" ? "pieces" : contents.kind,
      fresh: isFresh,
      epoch: entity.epoch,
    };
  }

  #gather(
    track: Track,
    read: ReadValue,
    piece: Extract<ReadValue["contents"], { kind: "piece" }>,
  ): Value | undefined {
    const newest = track.versions.at(-1)?.tick ?? -1;
    const { transfer } = track;
    if (read.tick <= newest || read.tick < (transfer?.tick ?? -1)) return undefined;
    let present = transfer;
    if (present === undefined || present.tick < read.tick) {
      present = {
        tick: read.tick,
        sampleTime: read.sampleTime,
        total: piece.total,
        pieces: new Map(),
      };
      track.transfer = present;
    }
    rule(present.total === piece.total, "Unexpected", "total of the pieces");
    rule(present.sampleTime === read.sampleTime, "Unexpected", "sample time of the pieces");
    present.pieces.set(piece.number, piece.bytes);
    if (present.pieces.size < Math.ceil(present.total / PIECE_BYTES)) return undefined;
    track.transfer = undefined;
    return this.#whole(read.component, present.total, present.pieces);
  }

  #expire(): void {
    const keep = this.#history + MARGIN_TICKS;
    for (const [id, held] of this.entities) {
      const isAlive = held.header === undefined || held.header.state === "alive";
      if (!isAlive && this.#newestTick > held.headerTick + keep) {
        if (held.header!.state === "gone") this.entities.delete(id);
        else held.tracks.clear();
        continue;
      }
      for (const track of held.tracks.values()) {
        const { versions } = track;
        while (versions.length > 1 && this.#newestTick > versions[1]!.tick + keep) versions.shift();
      }
    }
  }
}

function sampleTimeOf(versionTick: number, offset: number): number {
  rule(Math.abs(offset) <= 2 ** 31 - 2, "OutOfRange", `offset ${offset}`);
  rule(64 * versionTick >= offset, "OutOfRange", "sample time before the timeline's start");
  return 64 * versionTick - offset;
}

/** The most bytes that contents of a component can take. */
function mostBytes(layout: Component): number {
  const bits = layout.fields.reduce((sum, { kind, maxBytes }) => {
    const lanes = kind === "quat" ? 4 : kind === "vec3" ? 3 : 1;
    return sum + (kind === "string" || kind === "bytes" ? 8 * (5 + maxBytes) : 32 * lanes);
  }, layout.fields.length);
  return Math.ceil(bits / 8);
}

/** True when two values are the same in every lane and byte. */
export function isEqual(a: Value, b: Value): boolean {
  return a.length === b.length && a.every((field, i) => {
    const other = b[i];
    if (field === undefined || other === undefined) return field === other;
    return field.length === other.length && field.every((v, j) => v === other[j]);
  });
}
