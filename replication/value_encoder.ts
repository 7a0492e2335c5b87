// Turns a track's newest value into bits: loads it and its reference from the world's versions, hides references to entities that the peer
// may not see, and picks difference or absolute. It changes no track.

import { assert } from "../protocol/assert.ts";
import { Writer } from "../protocol/writer.ts";
import { MAX_VERSIONS } from "../protocol/limits.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import type { FieldGrant, Grants } from "../permissions/grants.ts";
import { MAX_BEFORE, References } from "./coding/motion_codec.ts";
import { type MotionTables, VERSIONS } from "./coding/motion_model.ts";
import { FieldCodec } from "./field_codec.ts";
import type { SharedEncodings } from "./shared_encodings.ts";
import { type EntityTrack, NEVER, type ValueTrack } from "./tracks.ts";
import { changedFields, type ComponentValue, createValue } from "./value.ts";
import { MAX_TIME_OFFSET } from "./section_layout.ts";
import type { VersionStore } from "./version_store.ts";
import { historyTicksOf, type World } from "./world.ts";

/** Units of time that a value may lie ahead of its reference to be foretold. */
const MAX_FORETOLD_UNITS = 12;

/** Start of a version's tick less its sample time, as far as that can be said. */
function offsetOf(versionTick: number, time: TimelineTime): number {
  const offset = versionTick * SUBTICKS - time;
  return Math.max(-MAX_TIME_OFFSET, Math.min(MAX_TIME_OFFSET, offset));
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
  /** Entity fields sent as null in the value encoded last. */
  nulled = 0;
  /** Start of the version's tick less its sample time, 1/64 ticks, of the value encoded last. */
  offset = 0;
  readonly #world: World;
  readonly #grants: Grants;
  readonly #codecs: FieldCodec[];
  readonly #entityFields: FieldGrant[][];
  readonly #values: ComponentValue[];
  readonly #references: ComponentValue[];
  readonly #history = new References();
  readonly #historyTicks: number;
  /** Undefined where this link codes with tables of its own. */
  readonly #shared: SharedEncodings | undefined;
  /** Whether a reference to this entity may be sent; undefined: all may. */
  readonly #mayName: ((id: EntityId) => boolean) | undefined;

  /** An encoder; `mayName` decides over the contents of entity fields. */
  constructor(
    grants: Grants,
    world: World,
    mayName: ((id: EntityId) => boolean) | undefined,
    tables?: MotionTables,
  ) {
    this.#historyTicks = historyTicksOf(grants);
    this.#shared = tables === undefined ? world.encodings : undefined;
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

  /**
   * Compares the world's newest value with what the peer has, and notes in the track whether it has to go out. The name of a version that
   * differs only in fields the peer may not read is taken over silently.
   */
  refresh(entity: EntityTrack, track: ValueTrack): void {
    const world = this.#world;
    const store = world.store(track.component);
    const newest = store.newest(world.row(entity.id, track.component));
    const worldTick = store.tick(newest);
    let isChanged = false;
    if (worldTick === track.knownTick) {
      isChanged = store.writes(newest) !== track.knownWrites;
    } else {
      isChanged = this.#differs(entity.id, track);
      if (!isChanged) {
        if (!track.isSynced) {
          track.linkWorldTick = worldTick;
          if (track.baseTick === track.linkTick) track.baseWorldTick = worldTick;
        }
        track.knownTick = worldTick;
        track.knownWrites = store.writes(newest);
      }
    }
    if (!isChanged && !track.isSynced && this.#mayName !== undefined) {
      isChanged = this.#nulledNow(entity.id, track) !== track.knownNulled;
    }
    track.isChanged = isChanged;
  }

  /**
   * Writes the value of a track: the world's newest one, or with `again` the version sent last.
   *
   * @param tick The present tick; the value's version is of this tick, or with `again` the one sent last.
   * @param mayDiffer Allows a difference from the track's reference; without it the value is absolute.
   * @returns False when `again` asks for a version the world no longer holds; nothing was written.
   */
  encode(
    writer: Writer,
    entity: EntityTrack,
    track: ValueTrack,
    tick: number,
    again: boolean,
    mayDiffer: boolean,
  ): boolean {
    const c = track.component;
    const store = this.#world.store(c);
    const row = this.#world.row(entity.id, c);
    const version = again ? store.find(row, track.linkWorldTick) : store.newest(row);
    if (version < 0) return false;
    const value = this.#values[c]!;
    store.load(version, value);
    this.worldTick = store.tick(version);
    this.worldWrites = store.writes(version);
    this.nulled = again ? track.linkNulled : this.#nulledNow(entity.id, track);
    const versionTick = again ? track.linkTick : tick;
    this.offset = again ? track.linkOffset : offsetOf(versionTick, this.sampleTime(store, version));
    this.#nullFields(c, value, this.nulled);
    this.baseTick = NEVER;
    this.before = 0;
    const codec = this.#codecs[c]!;
    if (mayDiffer) {
      const base = store.find(row, track.baseWorldTick);
      if (base >= 0) {
        const reference = this.#references[c]!;
        store.load(base, reference);
        this.#nullFields(c, reference, track.baseNulled);
        let history: References | undefined;
        if ((codec.foretold & track.mask) !== 0) {
          if (this.#findHistory(track, row, base, tick, versionTick)) history = this.#history;
        }
        const shared = this.#shared;
        if (shared !== undefined && track.mask !== 0) {
          this.#fillKey(shared, entity.id, track, version, base, history, tick);
          if (shared.copy(writer)) {
            this.baseTick = track.baseTick;
            return true;
          }
        }
        const start = writer.bitLength;
        if (codec.encodeDelta(writer, reference, value, track.mask, history) !== 0) {
          shared?.keep(writer, start);
          this.baseTick = track.baseTick;
          return true;
        }
      }
    }
    codec.encodeAbsolute(writer, value, track.mask);
    return true;
  }

  /** The absolute value of a version that the world holds, as whole bytes: for sending in pieces. Arguments as those of `encode`. */
  encodeBytes(
    entity: EntityTrack,
    track: ValueTrack,
    tick: number,
    again: boolean,
  ): Uint8Array {
    const writer = new Writer();
    const isHeld = this.encode(writer, entity, track, tick, again, false);
    assert(isHeld, "a version is cut in pieces while the world holds it");
    return writer.finish();
  }

  /** Sample time of a world version, as it is sent. */
  sampleTime(store: VersionStore, version: number): TimelineTime {
    return store.time(version);
  }

  /**
   * Looks for versions before the reference, one or more units of time apart, that the peer surely holds. A value far ahead of its reference
   * is not foretold: the further, the less there is to know.
   */
  #findHistory(
    track: ValueTrack,
    row: number,
    base: number,
    tick: number,
    versionTick: number,
  ): boolean {
    const { acked, baseTick } = track;
    let first = 0;
    while (first < acked.count && acked.linkTick(first) >= baseTick) first += 1;
    if (first === acked.count) return false;
    let unit = baseTick - acked.linkTick(first);
    for (let i = first + 1; i < acked.count; i++) {
      const apart = acked.linkTick(i - 1) - acked.linkTick(i);
      if (apart < unit) unit = apart;
    }
    const distance = versionTick - baseTick;
    if (distance > MAX_FORETOLD_UNITS * unit) return false;
    const store = this.#world.store(track.component);
    const history = this.#history;
    history.begin(store.lanes, base * store.laneCount);
    let before = 0;
    let isSteady = true;
    for (let i = first; i < acked.count; i++) {
      const age = baseTick - acked.linkTick(i);
      const units = age / unit;
      if (units > MAX_BEFORE || tick - acked.linkTick(i) > this.#historyTicks) break;
      if (units !== Math.floor(units)) continue;
      if (track.versionCount - acked.sent(i) >= MAX_VERSIONS / 2) break;
      const version = store.find(row, acked.worldTick(i));
      if (version < 0) continue;
      history.add(units, version * store.laneCount);
      if (acked.offset(i) !== track.baseOffset) isSteady = false;
      before |= 1 << (units - 1);
    }
    // Two versions tell a speed, but not how sure it is.
    if (before <= 1) return false;
    history.distance.set(distance, unit);
    history.shift = (this.offset - track.baseOffset) | 0;
    history.isSteady = isSteady;
    this.unit = unit;
    this.before = before;
    return true;
  }

  /** All that the bits of a difference depend on: whose value, of which versions, which fields, and how far apart the versions are. */
  #fillKey(
    shared: SharedEncodings,
    id: EntityId,
    track: ValueTrack,
    version: number,
    base: number,
    history: References | undefined,
    tick: number,
  ): void {
    const store = this.#world.store(track.component);
    shared.begin(tick);
    const { key } = shared;
    key[0] = id;
    key[1] = track.component;
    key[2] = track.mask;
    // Writes tell apart what one tick's version was and what it became.
    key[3] = store.tick(version);
    key[4] = store.writes(version);
    key[5] = store.tick(base);
    key[6] = this.nulled;
    key[7] = track.baseNulled;
    key[8] = history === undefined ? 0 : this.unit;
    key[9] = history === undefined ? 0 : this.before;
    key[10] = history === undefined ? 0 : history.distance.lag * this.unit;
    key[11] = history === undefined ? 0 : history.shift;
    key[12] = history === undefined || !history.isSteady ? 0 : 1;
    for (let i = 1; i < VERSIONS; i++) {
      const at = history === undefined ? -1 : history.at[i]!;
      key[12 + i] = at < 0 ? -1 : store.tick(at / store.laneCount);
    }
  }

  #differs(id: EntityId, track: ValueTrack): boolean {
    if (track.knownTick === NEVER) return true;
    const c = track.component;
    const store = this.#world.store(c);
    const row = this.#world.row(id, c);
    const known = store.find(row, track.knownTick);
    if (known < 0) return true;
    const newest = store.newest(row);
    // Most changes are one version long, and many touch only what this peer may not read.
    if (store.older(newest) === known && (store.mask(newest) & track.mask) === 0) return false;
    store.load(known, this.#references[c]!);
    store.load(newest, this.#values[c]!);
    const component = this.#grants.components[c]!;
    return changedFields(component, this.#references[c]!, this.#values[c]!, track.mask) !== 0;
  }

  /** Which entity fields of the newest value name something the peer may not see. */
  #nulledNow(id: EntityId, track: ValueTrack): number {
    const fields = this.#entityFields[track.component]!;
    if (fields.length === 0 || this.#mayName === undefined) return 0;
    const store = this.#world.store(track.component);
    const at = store.newest(this.#world.row(id, track.component)) * store.laneCount;
    let nulled = 0;
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!;
      if ((track.mask & (1 << field.index)) === 0) continue;
      const target = store.lanes[at + field.laneOffset]! >>> 0;
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
