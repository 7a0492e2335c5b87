// Turns a track's newest value into bits: loads it and its reference from the world's versions, hides references to entities that the peer
// may not see, and picks difference or absolute. It changes no track.

import { assert } from "../protocol/assert.ts";
import { Writer } from "../protocol/writer.ts";
import { MAX_VERSIONS } from "../protocol/limits.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import type { FieldGrant, Grants } from "../permissions/grants.ts";
import { ACKED_TICKS, ageOfNewest, foretellingOf } from "./acked_history.ts";
import { MAX_BEFORE, References } from "./coding/motion_codec.ts";
import type { MotionTables } from "./coding/motion_model.ts";
import { FieldCodec } from "./field_codec.ts";
import { KEY_NUMBERS, type SharedEncodings } from "./shared_encodings.ts";
import {
  ACKED_BEFORE,
  BASE_COUNT,
  BASE_NULLED,
  BASE_OFFSET,
  BASE_TICK,
  BASE_WORLD_TICK,
  CHANGED,
  KNOWN_NULLED,
  KNOWN_TICK,
  KNOWN_WORLD_TICK,
  KNOWN_WRITES,
  LINK_NULLED,
  LINK_OFFSET,
  LINK_TICK,
  LINK_WORLD_TICK,
  NEVER,
  SYNCED,
  type TrackPool,
  VALUE_COMPONENT,
  VALUE_MARKS,
  VALUE_MASK,
  VERSION_COUNT,
} from "./track_pool.ts";
import { changedFields, type ComponentValue, createValue } from "./value.ts";
import { MAX_TIME_OFFSET } from "./section_layout.ts";
import type { VersionStore } from "./version_store.ts";
import type { World } from "./world.ts";

/** Units of time that a value may lie ahead of its reference to be foretold. */
const MAX_FORETOLD_UNITS = 12;

/** Start of a version's tick less its sample time, as far as that can be said. */
function offsetOf(versionTick: number, time: TimelineTime): number {
  const offset = versionTick * SUBTICKS - time;
  return Math.max(-MAX_TIME_OFFSET, Math.min(MAX_TIME_OFFSET, offset));
}

/** What the bits of a value are made from: which version of which row, against which references. */
class Basis {
  component = 0;
  row = 0;
  /** Fields that the peer is sent. */
  mask = 0;
  /** The present tick, and that of the value's version. */
  tick = NEVER;
  versionTick = NEVER;
  /** The reference, {@linkcode NEVER} where there is none: its name, a tick at which its contents were the newest, nulled fields, offset. */
  baseTick = NEVER;
  baseWorldTick = 0;
  baseNulled = 0;
  baseOffset = 0;
  /** Versions before it from which the value is foretold (`foretellingOf`), and versions sent since. */
  foretelling = 0;
  since = 0;

  /** No reference: an absolute value. */
  clear(): void {
    this.baseTick = NEVER;
    this.baseWorldTick = 0;
    this.baseNulled = 0;
    this.baseOffset = 0;
    this.foretelling = 0;
    this.since = 0;
  }
}

/** Encodes values of one world for one peer. */
export class ValueEncoder {
  /** Reference tick of the last value encoded, {@linkcode NEVER} for an absolute one. */
  baseTick = NEVER;
  /** Of the value encoded last: unit of time between the versions named before its reference, and which (bit `i`: `i + 1` units before). */
  unit = 0;
  before = 0;
  /** World version last encoded, and the writes that made it. */
  worldTick = NEVER;
  worldWrites = 0;
  /** Start of the version's tick less its sample time, 1/64 ticks. */
  offset = 0;
  /** Where the bits of the value encoded last stand: the writer given, or what the links share; from which bit on, and how many. */
  source: Writer;
  start = 0;
  bits = 0;
  /** Entity fields sent as null in the value encoded last. */
  nulled = 0;
  readonly #pool: TrackPool;
  readonly #world: World;
  readonly #grants: Grants;
  readonly #codecs: FieldCodec[];
  readonly #entityFields: FieldGrant[][];
  readonly #values: ComponentValue[];
  readonly #references: ComponentValue[];
  readonly #history = new References();
  readonly #basis = new Basis();
  /** Undefined where this link codes with tables of its own. */
  readonly #shared: SharedEncodings | undefined;
  readonly #compared: SharedEncodings;
  /** Whether a reference to this entity may be sent; undefined: all may. */
  readonly #mayName: ((id: EntityId) => boolean) | undefined;

  /** An encoder; `mayName` decides over the contents of entity fields. */
  constructor(
    pool: TrackPool,
    grants: Grants,
    world: World,
    mayName: ((id: EntityId) => boolean) | undefined,
    tables?: MotionTables,
  ) {
    this.#pool = pool;
    this.#shared = tables === undefined ? world.encodings : undefined;
    this.#compared = world.encodings;
    this.source = world.encodings.arena;
    this.#grants = grants;
    this.#world = world;
    this.#mayName = mayName;
    this.#codecs = grants.components.map((component) => new FieldCodec(component, tables));
    this.#entityFields = grants.components.map((component) =>
      component.fields.filter((field) => field.kind === "entity")
    );
    this.#values = grants.components.map(createValue);
    this.#references = grants.components.map(createValue);
  }

  /** Whether what it codes is shared with the world's other links. */
  get isShared(): boolean {
    return this.#shared !== undefined;
  }

  /** Whether the world's newest value, in `row` of its component's store, is another than what the peer has by the record `at`. */
  isChanged(id: EntityId, at: number, row: number): boolean {
    const words = this.#pool.values;
    const store = this.#world.store(words[at + VALUE_COMPONENT]!);
    const newest = store.newest(row);
    const worldTick = store.tick(newest);
    const writes = store.writes(newest);
    const isOther = worldTick === words[at + KNOWN_TICK]
      ? writes !== words[at + KNOWN_WRITES]
      : this.#differs(id, at, row, newest, worldTick, writes);
    return isOther || this.#isNulledAnew(at, row);
  }

  /** Whether another choice of entity fields than before has to be sent as null. What the peer wrote itself it was not sent. */
  #isNulledAnew(at: number, row: number): boolean {
    const words = this.#pool.values;
    return this.#mayName !== undefined && (words[at + VALUE_MARKS]! & SYNCED) === 0 &&
      this.#nulledNow(at, row) !== words[at + KNOWN_NULLED];
  }

  /**
   * Notes in the record `at` whether the world's newest value has to go out (`isChanged`). Nothing is written to the world under `tick` any
   * more. A version that differs only in fields the peer may not read is taken over silently in place of the one known.
   */
  refresh(id: EntityId, at: number, row: number, tick: number): void {
    const words = this.#pool.values;
    const store = this.#world.store(words[at + VALUE_COMPONENT]!);
    const newest = store.newest(row);
    const worldTick = store.tick(newest);
    const writes = store.writes(newest);
    const marks = words[at + VALUE_MARKS]!;
    let isChanged = false;
    if ((marks & CHANGED) !== 0 && tick - words[at + KNOWN_WORLD_TICK]! > store.sureTicks) {
      // It may have changed back, but whether the world can still tell depends on other fields.
      isChanged = true;
    } else if (worldTick === words[at + KNOWN_TICK]) {
      isChanged = writes !== words[at + KNOWN_WRITES];
    } else {
      isChanged = this.#differs(id, at, row, newest, worldTick, writes);
    }
    if (!isChanged) {
      if ((marks & SYNCED) === 0) {
        words[at + LINK_WORLD_TICK] = tick;
        if (words[at + BASE_TICK] === words[at + LINK_TICK]) words[at + BASE_WORLD_TICK] = tick;
      }
      words[at + KNOWN_TICK] = worldTick;
      words[at + KNOWN_WRITES] = writes;
      words[at + KNOWN_WORLD_TICK] = tick;
      isChanged = this.#isNulledAnew(at, row);
    }
    words[at + VALUE_MARKS] = isChanged ? marks | CHANGED : marks & ~CHANGED;
  }

  /**
   * Codes the value of the component's record `at`: the world's newest one or with `again` the version sent last: `source`, `start` and `bits` tell where its
   * bits stand then.
   *
   * @param writer Takes the bits that no other link has coded yet.
   * @param tick The present tick; the value's version is of this tick, or with `again` the one sent last.
   * @param mayDiffer Allows a difference from the track's reference; without it the value is absolute.
   * @returns False when `again` asks for a version that the world may no longer hold; nothing was written.
   */
  encode(
    writer: Writer,
    id: EntityId,
    at: number,
    row: number,
    tick: number,
    again: boolean,
    mayDiffer: boolean,
  ): boolean {
    const words = this.#pool.values;
    const c = words[at + VALUE_COMPONENT]!;
    const store = this.#world.store(c);
    const version = again
      ? this.#heldAt(store, row, words[at + LINK_WORLD_TICK]!, tick)
      : store.newest(row);
    if (version < 0) return false;
    this.worldTick = store.tick(version);
    this.worldWrites = store.writes(version);
    this.nulled = again ? words[at + LINK_NULLED]! : this.#nulledNow(at, row);
    const basis = this.#basis;
    basis.component = c;
    basis.row = row;
    basis.mask = words[at + VALUE_MASK]!;
    basis.tick = tick;
    basis.versionTick = again ? words[at + LINK_TICK]! : tick;
    this.offset = again
      ? words[at + LINK_OFFSET]!
      : offsetOf(tick, this.sampleTime(c, row, version, basis.mask));
    if (mayDiffer) {
      basis.baseTick = words[at + BASE_TICK]!;
      basis.baseWorldTick = words[at + BASE_WORLD_TICK]!;
      basis.baseNulled = words[at + BASE_NULLED]!;
      basis.baseOffset = words[at + BASE_OFFSET]!;
      basis.foretelling = foretellingOf(words[at + ACKED_BEFORE]!);
      basis.since = words[at + VERSION_COUNT]! - words[at + BASE_COUNT]!;
    } else {
      basis.clear();
    }
    this.#share(writer, id, version);
    return true;
  }

  /**
   * Codes the newest value of a row, a version of this tick, for a peer that got all its versions in step (`step_tracks.ts`).
   *
   * @param held Its reference and the versions from which the value is foretold: bit `i` for the one of the tick `i` before this one.
   * @param since Versions sent after the newest of these.
   */
  encodeInStep(
    writer: Writer,
    id: EntityId,
    c: number,
    mask: number,
    row: number,
    tick: number,
    held: number,
    since: number,
  ): void {
    const store = this.#world.store(c);
    const version = store.newest(row);
    this.worldTick = store.tick(version);
    this.worldWrites = store.writes(version);
    this.nulled = 0;
    this.offset = offsetOf(tick, this.sampleTime(c, row, version, mask));
    const age = 31 - Math.clz32(held & -held);
    const basis = this.#basis;
    basis.component = c;
    basis.row = row;
    basis.mask = mask;
    basis.tick = tick;
    basis.versionTick = tick;
    basis.baseTick = tick - age;
    basis.baseWorldTick = tick - age;
    basis.baseNulled = 0;
    basis.baseOffset = this.offsetAt(c, mask, row, tick - age);
    basis.foretelling = (held >>> age) >>> 1;
    basis.since = since;
    this.#share(writer, id, version);
  }

  /** Start of a version's tick less its sample time, as it was sent: of the version of `tick`, which the world holds. */
  offsetAt(c: number, mask: number, row: number, tick: number): number {
    const version = this.#world.store(c).findAt(row, tick);
    return offsetOf(tick, this.sampleTime(c, row, version, mask));
  }

  /** Codes what the basis says of a version, where no other link has coded it. */
  #share(writer: Writer, id: EntityId, version: number): void {
    const { component, row, mask, baseTick } = this.#basis;
    const shared = mask === 0 ? undefined : this.#shared;
    if (shared !== undefined) {
      shared.begin(this.#basis.tick);
      this.#fillKey(shared.key, id);
      if (shared.find(component, row)) {
        this.source = shared.arena;
        this.start = shared.start;
        this.bits = shared.bits;
        this.baseTick = shared.isRelative ? baseTick : NEVER;
        this.unit = shared.unit;
        this.before = shared.before;
        return;
      }
    }
    const start = writer.bitLength;
    this.#code(writer, version);
    this.source = writer;
    this.start = start;
    this.bits = writer.bitLength - start;
    if (shared === undefined) return;
    const { unit, before } = this;
    if (!shared.keep(component, row, writer, start, this.baseTick !== NEVER, unit, before)) return;
    this.source = shared.arena;
    this.start = shared.start;
  }

  /** The absolute value of a version that the world holds, as whole bytes: for sending in pieces. Arguments as those of `encode`. */
  encodeBytes(id: EntityId, at: number, row: number, tick: number, again: boolean): Uint8Array {
    const scratch = new Writer();
    const isHeld = this.encode(scratch, id, at, row, tick, again, false);
    assert(isHeld, "a version is cut in pieces while the world holds it");
    if (this.source === scratch) return scratch.finish();
    scratch.clear();
    scratch.copyFrom(this.source, this.start, this.bits);
    return scratch.finish();
  }

  /** Codes a version of a row that no link of the world has coded this way. */
  #code(writer: Writer, version: number): void {
    const { component: c, row, mask, tick, baseTick, baseWorldTick, baseNulled } = this.#basis;
    const store = this.#world.store(c);
    const value = this.#values[c]!;
    store.load(version, value);
    this.#nullFields(c, value, this.nulled);
    this.baseTick = NEVER;
    this.unit = 0;
    this.before = 0;
    const codec = this.#codecs[c]!;
    const base = baseTick === NEVER ? -1 : this.#heldAt(store, row, baseWorldTick, tick);
    if (base >= 0) {
      const reference = this.#references[c]!;
      store.load(base, reference);
      this.#nullFields(c, reference, baseNulled);
      const isForetold = (codec.foretold & mask) !== 0 && this.#findHistory(base);
      const history = isForetold ? this.#history : undefined;
      if (codec.encodeDelta(writer, reference, value, mask, history) !== 0) {
        this.baseTick = baseTick;
        return;
      }
      this.unit = 0;
      this.before = 0;
    }
    codec.encodeAbsolute(writer, value, mask);
  }

  /** The version that was a row's newest one at tick `then`, or -1 where it depends on other fields than the peer's whether it is held. */
  #heldAt(store: VersionStore, row: number, then: number, tick: number): number {
    return tick - then <= store.sureTicks ? store.findAt(row, then) : -1;
  }

  /** Sample time of a version as it is sent: that of the last change of a field in `mask`, those that the peer may read. */
  sampleTime(component: number, row: number, version: number, mask: number): TimelineTime {
    return this.#world.store(component).changeTime(row, version, mask);
  }

  /**
   * Looks for versions before the reference, one or more units of time apart, that the peer surely holds. A value far ahead of its reference
   * is not foretold: the further, the less there is to know.
   */
  #findHistory(base: number): boolean {
    const { component, row, mask, tick, versionTick } = this.#basis;
    const { foretelling, baseTick, baseOffset, since } = this.#basis;
    if (foretelling === 0) return false;
    let unit = ACKED_TICKS;
    for (let rest = foretelling, last = 0; rest !== 0; rest &= rest - 1) {
      const age = ageOfNewest(rest);
      if (age - last < unit) unit = age - last;
      last = age;
    }
    const distance = versionTick - baseTick;
    if (distance > MAX_FORETOLD_UNITS * unit) return false;
    const store = this.#world.store(component);
    const history = this.#history;
    history.begin(store.lanes, base * store.laneCount);
    let isSteady = true;
    let before = 0;
    let version = base;
    for (let rest = foretelling; rest !== 0; rest &= rest - 1) {
      const age = ageOfNewest(rest);
      const units = age / unit;
      if (units > MAX_BEFORE || tick - baseTick + age > store.sureTicks) break;
      if (units !== Math.floor(units)) continue;
      // No more versions than ticks lie between the two.
      if (since + age >= MAX_VERSIONS / 2) break;
      // What was sent with its name was the newest version of its tick.
      version = store.findFrom(version, baseTick - age);
      if (version < 0) break;
      history.add(units, version * store.laneCount);
      const offset = offsetOf(baseTick - age, this.sampleTime(component, row, version, mask));
      if (offset !== baseOffset) isSteady = false;
      before |= 1 << (units - 1);
    }
    // Two versions tell a speed, but not how sure it is.
    if (before <= 1) return false;
    history.distance.set(distance, unit);
    history.shift = (this.offset - baseOffset) | 0;
    history.isSteady = isSteady;
    this.unit = unit;
    this.before = before;
    return true;
  }

  /** All that the bits of a value depend on, in one tick: whose it is, of which versions, which fields, and how far apart the versions are. */
  #fillKey(key: Int32Array, id: EntityId): void {
    const basis = this.#basis;
    key[0] = id;
    key[1] = basis.mask;
    key[2] = this.worldTick;
    // Writes tell apart what one tick's version was and what it became.
    key[3] = this.worldWrites;
    key[4] = this.nulled;
    key[5] = basis.baseTick;
    if (basis.baseTick === NEVER) {
      for (let i = 6; i < KEY_NUMBERS; i++) key[i] = 0;
      return;
    }
    key[6] = basis.baseWorldTick;
    key[7] = basis.baseNulled;
    key[8] = basis.foretelling;
    key[9] = basis.versionTick;
    key[10] = basis.since;
    key[11] = this.offset;
    key[12] = basis.baseOffset;
  }

  #differs(
    id: EntityId,
    at: number,
    row: number,
    newest: number,
    newestTick: number,
    writes: number,
  ): boolean {
    const words = this.#pool.values;
    const component = words[at + VALUE_COMPONENT]!;
    const knownTick = words[at + KNOWN_TICK]!;
    const mask = words[at + VALUE_MASK]!;
    if (knownTick === NEVER) return true;
    if ((words[at + VALUE_MARKS]! & SYNCED) !== 0) {
      // What the peer wrote itself may have been written over in the same tick: then no version has its contents any more.
      const store = this.#world.store(component);
      const known = store.findAt(row, words[at + KNOWN_WORLD_TICK]!);
      if (known < 0 || store.writes(known) !== words[at + KNOWN_WRITES]) return true;
    }
    const compared = this.#compared;
    const outcome = compared.compared(component, row, id, newestTick, writes, knownTick, mask);
    if (outcome >= 0) return outcome === 1;
    const differs = this.#compare(component, mask, words[at + KNOWN_WORLD_TICK]!, row, newest);
    compared.noteCompared(component, row, id, newestTick, writes, knownTick, mask, differs);
    return differs;
  }

  #compare(
    component: number,
    mask: number,
    then: number,
    row: number,
    newest: number,
  ): boolean {
    const store = this.#world.store(component);
    const known = store.findAt(row, then);
    if (known < 0) return true;
    // Most changes are one version long, and many touch only what this peer may not read.
    if (store.older(newest) === known && (store.mask(newest) & mask) === 0) return false;
    const reference = this.#references[component]!;
    const value = this.#values[component]!;
    store.load(known, reference);
    store.load(newest, value);
    return changedFields(this.#grants.components[component]!, reference, value, mask) !== 0;
  }

  /** Which entity fields of the newest value name something the peer may not see. */
  #nulledNow(at: number, row: number): number {
    const words = this.#pool.values;
    const component = words[at + VALUE_COMPONENT]!;
    const fields = this.#entityFields[component]!;
    if (fields.length === 0 || this.#mayName === undefined) return 0;
    const mask = words[at + VALUE_MASK]!;
    const store = this.#world.store(component);
    const lanes = store.newest(row) * store.laneCount;
    let nulled = 0;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      if ((mask & (1 << field.index)) === 0) continue;
      const target = store.lanes[lanes + field.laneOffset]! >>> 0;
      if (target !== 0 && !this.#mayName(target)) nulled |= 1 << field.index;
    }
    return nulled;
  }

  #nullFields(c: number, value: ComponentValue, nulled: number): void {
    if (nulled === 0) return;
    for (const field of this.#entityFields[c]!) {
      if ((nulled & (1 << field.index)) !== 0) value.lanes[field.laneOffset] = 0;
    }
  }
}
