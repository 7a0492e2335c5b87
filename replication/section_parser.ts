// Reads one snapshot section from untrusted bits into flat records, against what is held, and changes nothing. The layout is that of
// `section_builder.ts`; whether a record is applied is the receiver's and the gate's decision.

import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import {
  MAX_PIECE_TRANSFERS,
  MAX_SNAPSHOT_ENTRIES,
  SNAPSHOT_PIECE_BYTES,
} from "../protocol/limits.ts";
import { Reader } from "../protocol/reader.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import { bitCount } from "./acked_history.ts";
import { DecodedPool, type DecodedSnapshot, type SnapshotEntry } from "./decoded_snapshot.ts";
import { MAX_BEFORE, References } from "./coding/motion_codec.ts";
import type { MotionTables } from "./coding/motion_model.ts";
import { FieldCodec } from "./field_codec.ts";
import { bitsFor, readGamma, readShort, unfoldSigned } from "./gamma.ts";
import type { LinkDirection } from "./link_rights.ts";
import { pieceCount } from "./piece_transfer.ts";
import {
  findValue,
  type ReceivedEntities,
  type ReceivedEntity,
  type ReceivedValue,
} from "./received_entities.ts";
import {
  BEFORE_BITS,
  GRANT_EPOCH_BITS,
  MAX_TIME_OFFSET,
  REFERENCE_CODE_BITS,
  ReferenceCode,
  type SectionWidths,
  sectionWidths,
  STATE_BITS,
} from "./section_layout.ts";
import { NEVER, ViewState } from "./tracks.ts";
import type { VersionStore } from "./version_store.ts";
import { changedFields, type ComponentValue, createValue } from "./value.ts";

const MAX_ENTITY_ID = 0xffff_ffff;
/** Which fields differ from the newest value held has to be looked up; no mask of a value that changed. */
const UNKNOWN = 0;
const STATES = ["alive", "outOfView", "gone"] as const;

/** Reads sections of one link. */
export class SectionParser {
  readonly #grants: Grants;
  readonly #direction: LinkDirection;
  readonly #held: ReceivedEntities;
  readonly #fieldsAllowed: (component: number) => number;
  readonly #fieldsNow: (component: number) => number;
  readonly #widths: SectionWidths;
  readonly #codecs: FieldCodec[];
  readonly #newest: ComponentValue[];
  readonly #pool: DecodedPool;
  // The section being read.
  #tick = 0;
  #entries = 0;
  #newAssemblies = 0;
  #previousOffset = 0;
  #previousAge = 0;
  #previousUnit = 0;
  #previousBefore = 0;
  // The value being read.
  #component = 0;
  #allowed = 0;
  #versionTick = 0;
  #referenceTick = -1;
  #time: TimelineTime = 0;
  #code: ReferenceCode = ReferenceCode.None;
  #isForetold = false;
  readonly #runIds: EntityId[] = [];
  readonly #history = new References();
  // The entity being read.
  #id: EntityId = 0;
  #entity: ReceivedEntity | undefined;
  #header: SnapshotEntry | undefined;
  #epoch = 0;
  /** The entity ended, and its slot has another. */
  #isPast = false;

  /**
   * A parser that reads against `held`.
   *
   * @param fieldsAllowed Fields that may ever come; any other spoils the section.
   * @param fieldsNow Fields that may come under the present epoch; any other is of an epoch of the same number, long before.
   */
  constructor(
    grants: Grants,
    direction: LinkDirection,
    held: ReceivedEntities,
    fieldsAllowed: (component: number) => number,
    fieldsNow: (component: number) => number,
    tables?: MotionTables,
  ) {
    this.#grants = grants;
    this.#direction = direction;
    this.#held = held;
    this.#fieldsAllowed = fieldsAllowed;
    this.#fieldsNow = fieldsNow;
    this.#widths = sectionWidths(grants);
    this.#codecs = grants.components.map((component) => new FieldCodec(component, tables));
    this.#newest = grants.components.map(createValue);
    this.#pool = new DecodedPool(grants.components);
  }

  /** Erases contents of earlier sections. */
  erase(): void {
    this.#pool.erase();
    for (const value of this.#newest) {
      value.lanes.fill(0);
      value.blobs.length = 0;
    }
  }

  /** Reads a section that ends where `reader` ends. Undefined: see `reader.fault`. */
  parse(reader: Reader, tick: number, grantEpoch: number): DecodedSnapshot | undefined {
    this.#tick = tick;
    this.#entries = 0;
    this.#newAssemblies = 0;
    this.#previousOffset = 0;
    this.#previousAge = 0;
    this.#previousUnit = 0;
    this.#previousBefore = 0;
    this.#pool.begin(tick);
    if (reader.bits(GRANT_EPOCH_BITS) !== grantEpoch) reader.fail(Fault.WrongEpoch);
    if (this.#held.isTooOld(tick)) reader.fail(Fault.Replayed);
    let previousId = 0;
    while (reader.bits(1) === 1) {
      const isRun = this.#direction === "down" && reader.bool();
      const id = previousId + readGamma(reader);
      if (id > MAX_ENTITY_ID) reader.fail(Fault.OutOfRange);
      if (reader.fault !== undefined) break;
      if (isRun) {
        previousId = this.#readRun(reader, id);
      } else {
        previousId = id;
        this.#readEntity(reader, id);
      }
    }
    if (reader.fault === undefined && this.#entries === 0) reader.fail(Fault.NonCanonical);
    reader.finish();
    return reader.fault === undefined ? this.#pool.result : undefined;
  }

  /** Reads entities with one value each, of one name; returns the last one's id. */
  #readRun(reader: Reader, id: EntityId): EntityId {
    this.#header = undefined;
    const component = reader.bits(this.#widths.component);
    if (component >= this.#grants.components.length) reader.fail(Fault.UnknownId);
    if (reader.fault !== undefined || !this.#readName(reader, component)) return id;
    if (this.#code === ReferenceCode.Piece) reader.fail(Fault.NonCanonical);
    const ids = this.#runIds;
    ids.length = 0;
    for (;;) {
      const length = readShort(reader);
      for (let i = 0; i < length && reader.fault === undefined; i++) {
        this.#countEntry(reader);
        if (id > MAX_ENTITY_ID) reader.fail(Fault.OutOfRange);
        ids.push(id);
        id += 1;
      }
      const gap = readShort(reader);
      if (reader.fault !== undefined) return id;
      if (gap === 1) break;
      id += gap - 1;
    }
    if (ids.length < 2) reader.fail(Fault.NonCanonical);
    for (let i = 0; i < ids.length; i++) {
      if (reader.fault !== undefined || !this.#beginEntity(reader, ids[i]!)) return id;
      this.#readContents(reader);
    }
    return id - 1;
  }

  /** Turns to an entity; false for an id that no entity has. */
  #beginEntity(reader: Reader, id: EntityId): boolean {
    const slot = entitySlot(id);
    if (slot === 0 || slot > this.#grants.maxEntities) {
      reader.fail(Fault.OutOfRange);
      return false;
    }
    this.#id = id;
    this.#entity = this.#held.find(id);
    this.#isPast = this.#entity === undefined && this.#held.isSuperseded(id);
    this.#header = undefined;
    this.#epoch = this.#entity?.epoch ?? 0;
    return true;
  }

  #readEntity(reader: Reader, id: EntityId): void {
    if (!this.#beginEntity(reader, id)) return;
    if (reader.bool()) {
      this.#readHeader(reader);
      if (reader.fault !== undefined || this.#header!.state !== "alive") return;
    } else if (this.#direction === "up") {
      this.#epoch = reader.bits(8);
    }
    let previous = NEVER;
    while (reader.bits(1) === 1) {
      this.#countEntry(reader);
      const component = reader.bits(this.#widths.component);
      if (component >= this.#grants.components.length) reader.fail(Fault.UnknownId);
      else if (component <= previous) reader.fail(Fault.NonCanonical);
      if (reader.fault !== undefined) return;
      previous = component;
      if (this.#readName(reader, component)) this.#readContents(reader);
      if (reader.fault !== undefined) return;
    }
    if (previous === NEVER && this.#header === undefined) reader.fail(Fault.NonCanonical);
  }

  #readHeader(reader: Reader): void {
    this.#countEntry(reader);
    const entry = this.#pool.nextEntry("header", this.#id);
    this.#header = entry;
    const state = STATES[reader.bits(STATE_BITS)];
    if (state === undefined) return reader.fail(Fault.UnknownKind);
    entry.state = state;
    entry.fresh = !this.#isPast && this.#tick > (this.#entity?.headerTick ?? NEVER);
    entry.owner = this.#entity?.owner ?? 0;
    entry.epoch = this.#epoch;
    if (state !== "alive") return;
    entry.owner = reader.bits(16);
    entry.epoch = reader.bits(8);
    this.#epoch = entry.epoch;
    let previous = NEVER;
    while (reader.bits(1) === 1) {
      const component = reader.bits(this.#widths.component);
      if (component >= this.#grants.components.length) return reader.fail(Fault.UnknownId);
      if (component <= previous) return reader.fail(Fault.NonCanonical);
      if (this.#fieldsAllowed(component) === 0) return reader.fail(Fault.Forbidden);
      previous = component;
      (reader.bool() ? entry.hidden : entry.visible).push(component);
    }
  }

  /** Reads what a value, or all values of a run, say of themselves; false after a fault. */
  #readName(reader: Reader, component: number): boolean {
    this.#component = component;
    this.#allowed = this.#fieldsAllowed(component);
    if (this.#allowed === 0) reader.fail(Fault.Forbidden);
    else if (this.#header !== undefined && !this.#header.visible.includes(component)) {
      reader.fail(Fault.Unexpected);
    }
    if (reader.fault !== undefined) return false;
    this.#versionTick = this.#tick - (reader.bool() ? readGamma(reader) : 0);
    this.#code = this.#readCode(reader);
    this.#isForetold = this.#code === ReferenceCode.Age && this.#previousBefore !== 0;
    // The contents of what is foretold tell it.
    if (!this.#isForetold) this.#readOffset(reader);
    this.#setTime(reader, this.#isForetold ? 0 : this.#previousOffset);
    return reader.fault === undefined;
  }

  #readContents(reader: Reader): void {
    const component = this.#component;
    const versionTick = this.#versionTick;
    const allowed = this.#allowed;
    const code = this.#code;
    const isForetold = this.#isForetold;
    const value = findValue(this.#entity, component);
    if (code === ReferenceCode.Piece) {
      return this.#readPiece(reader, component, value, versionTick, this.#time, allowed);
    }
    const out = this.#pool.nextValue(component);
    let held: number;
    let changed = UNKNOWN;
    if (code === ReferenceCode.None) {
      held = this.#codecs[component]!.decodeAbsolute(reader, out);
      if ((held & ~allowed) !== 0) reader.fail(Fault.Forbidden);
    } else {
      const store = this.#held.stores[component]!;
      const reference = this.#findReference(value, versionTick, code);
      if (reference < 0 || (isForetold && !this.#findHistory(store, reference))) {
        const isErased = value !== undefined && versionTick < value.maskTick;
        return reader.fail(isErased ? Fault.WrongEpoch : Fault.UnknownBaseline);
      }
      store.load(reference, out);
      held = store.mask(reference);
      this.#referenceTick = store.tick(reference);
      const codec = this.#codecs[component]!;
      if (isForetold) {
        // Where nothing can be foretold, the plain form is the one legal one.
        if ((codec.foretold & held) === 0) return reader.fail(Fault.NonCanonical);
        const said = codec.decodeDelta(reader, out, held, this.#history);
        this.#pool.result.vectors += bitCount(codec.foretold & held);
        // What is foretold is said to have changed only where it did.
        const isSure = (said & ~codec.foretold) === 0;
        if (isSure && reference === store.newest(value!.row)) changed = said;
        this.#setTime(reader, (this.#offsetOf(store, reference) + this.#history.shift) | 0);
      } else {
        codec.decodeDelta(reader, out, held);
      }
    }
    if ((held & ~this.#fieldsNow(component)) !== 0) reader.fail(Fault.WrongEpoch);
    if (reader.fault !== undefined) return;
    const isAbsolute = code === ReferenceCode.None;
    this.#addValue(component, value, versionTick, this.#time, out, held, isAbsolute, changed);
  }

  /** Collects the versions named before the reference; false when one is not held. */
  #findHistory(store: VersionStore, reference: number): boolean {
    const history = this.#history;
    const baseTick = store.tick(reference);
    history.begin(store.lanes, reference * store.laneCount);
    const offset = this.#offsetOf(store, reference);
    history.isSteady = true;
    let version = reference;
    for (let i = 1; i <= MAX_BEFORE; i++) {
      if ((this.#previousBefore & (1 << (i - 1))) === 0) continue;
      const tick = baseTick - i * this.#previousUnit;
      version = store.findFrom(version, tick);
      if (version < 0 || store.tick(version) !== tick) return false;
      history.add(i, version * store.laneCount);
      if (this.#offsetOf(store, version) !== offset) history.isSteady = false;
    }
    history.distance.set(this.#versionTick - baseTick, this.#previousUnit);
    return true;
  }

  #readOffset(reader: Reader): void {
    if (!reader.bool()) return;
    const offset = unfoldSigned(readGamma(reader) - 1);
    if (offset === this.#previousOffset) reader.fail(Fault.NonCanonical);
    this.#previousOffset = offset;
  }

  /** Start of a held version's tick less its sample time. */
  #offsetOf(store: VersionStore, version: number): number {
    return store.tick(version) * SUBTICKS - store.time(version);
  }

  #setTime(reader: Reader, offset: number): void {
    this.#time = this.#versionTick * SUBTICKS - offset;
    const isSayable = offset >= -MAX_TIME_OFFSET && offset <= MAX_TIME_OFFSET;
    if (!isSayable || this.#versionTick < 0 || this.#time < 0) reader.fail(Fault.OutOfRange);
  }

  #readCode(reader: Reader): ReferenceCode {
    if (!reader.bool()) {
      if (this.#previousAge === 0) reader.fail(Fault.NonCanonical);
      return ReferenceCode.Age;
    }
    const code = reader.bits(REFERENCE_CODE_BITS) as ReferenceCode;
    if (code === ReferenceCode.Age) {
      const age = reader.bits(this.#widths.age);
      if (age === 0 || age > this.#widths.historyTicks) reader.fail(Fault.OutOfRange);
      let unit = 0;
      let before = 0;
      if (reader.bool()) {
        unit = readShort(reader);
        before = reader.bits(BEFORE_BITS);
        if (before === 0) reader.fail(Fault.NonCanonical);
        if (age + unit * bitsFor(before) > this.#widths.historyTicks) reader.fail(Fault.OutOfRange);
      }
      const isSame = age === this.#previousAge && unit === this.#previousUnit &&
        before === this.#previousBefore;
      if (isSame) reader.fail(Fault.NonCanonical);
      this.#previousAge = age;
      this.#previousUnit = unit;
      this.#previousBefore = before;
    }
    return code;
  }

  /** The version referred to, or -1 when it is not held or not older than the value. */
  #findReference(
    value: ReceivedValue | undefined,
    versionTick: number,
    code: ReferenceCode,
  ): number {
    if (value === undefined) return -1;
    const store = this.#held.stores[value.component]!;
    if (code === ReferenceCode.Age) {
      const tick = this.#tick - this.#previousAge;
      return tick < versionTick ? store.find(value.row, tick) : -1;
    }
    const limit = Math.min(versionTick, this.#tick - this.#widths.historyTicks);
    let version = store.newest(value.row);
    while (version >= 0 && store.tick(version) >= limit) version = store.older(version);
    return version;
  }

  #readPiece(
    reader: Reader,
    component: number,
    value: ReceivedValue | undefined,
    versionTick: number,
    time: TimelineTime,
    allowed: number,
  ): void {
    const codec = this.#codecs[component]!;
    const totalBytes = reader.varintAtMost(codec.maxBytes);
    if (totalBytes <= SNAPSHOT_PIECE_BYTES) reader.fail(Fault.NonCanonical);
    if (reader.fault !== undefined) return;
    const count = pieceCount(totalBytes);
    const piece = reader.bits(bitsFor(count - 1));
    if (piece >= count) return reader.fail(Fault.OutOfRange);
    const start = piece * SNAPSHOT_PIECE_BYTES;
    const bytes = reader.bytes(Math.min(SNAPSHOT_PIECE_BYTES, totalBytes - start));
    if (reader.fault !== undefined) return;
    // Late pieces of what is held, replaced or hidden since complete nothing.
    if (this.#isPast || versionTick <= this.#held.newestTickOf(value)) return;
    const entity = this.#entity;
    if (entity !== undefined && this.#tick <= entity.headerTick) {
      if (entity.state !== ViewState.Alive || !entity.visible.includes(component)) return;
    }
    const assembly = value?.assembly;
    if (assembly !== undefined && assembly.versionTick > versionTick) return;
    if (assembly?.versionTick === versionTick) {
      if (assembly.totalBytes !== totalBytes || assembly.time !== time) {
        return reader.fail(Fault.Unexpected);
      }
      if (assembly.isLastMissing(piece)) {
        const out = this.#pool.nextValue(component);
        const whole = new Reader(assembly.completed(piece, bytes));
        const held = codec.decodeAbsolute(whole, out);
        if ((held & ~allowed) !== 0) whole.fail(Fault.Forbidden);
        if ((held & ~this.#fieldsNow(component)) !== 0) whole.fail(Fault.WrongEpoch);
        const fault = whole.finish();
        if (fault !== undefined) return reader.fail(fault);
        this.#addValue(component, value, versionTick, time, out, held, true, UNKNOWN);
        return;
      }
    } else if (assembly === undefined) {
      this.#newAssemblies += 1;
      if (this.#held.assemblyCount + this.#newAssemblies > MAX_PIECE_TRANSFERS) {
        return reader.fail(Fault.OutOfRange);
      }
    }
    this.#pool.result.pieces.push({
      id: this.#id,
      component,
      versionTick,
      time,
      totalBytes,
      count,
      piece,
      bytes,
    });
  }

  #addValue(
    component: number,
    value: ReceivedValue | undefined,
    versionTick: number,
    time: TimelineTime,
    out: ComponentValue,
    held: number,
    isAbsolute: boolean,
    changed: number,
  ): void {
    const entry = this.#pool.nextEntry("value", this.#id);
    entry.component = component;
    entry.value = out;
    entry.held = held;
    entry.versionTick = versionTick;
    entry.reference = isAbsolute ? -1 : this.#referenceTick;
    entry.time = time;
    entry.epoch = this.#epoch;
    const newestTick = this.#held.newestTickOf(value);
    entry.fresh = !this.#isPast && versionTick > newestTick &&
      versionTick > this.#voidTick(component, value);
    entry.mask = 0;
    if (!entry.fresh) return;
    entry.mask = held;
    if (isAbsolute || newestTick === NEVER) return;
    if (changed !== UNKNOWN) {
      entry.mask = changed;
      return;
    }
    const store = this.#held.stores[component]!;
    const newest = store.newest(value!.row);
    // Fields that were not there before are new, whatever they hold.
    const before = store.mask(newest);
    store.load(newest, this.#newest[component]!);
    const known = this.#newest[component]!;
    entry.mask = changedFields(this.#grants.components[component]!, known, out, held & before) |
      (held & ~before);
  }

  /** Versions up to this tick are of an entity or component that ended since. */
  #voidTick(component: number, value: ReceivedValue | undefined): number {
    if (value !== undefined) return value.voidTick;
    const entity = this.#entity;
    if (entity === undefined || entity.headerTick === NEVER) return NEVER;
    if (entity.state === ViewState.OutOfView) return NEVER;
    const isListed = entity.visible.includes(component) || entity.hidden.includes(component);
    return isListed ? NEVER : entity.headerTick;
  }

  #countEntry(reader: Reader): void {
    this.#entries += 1;
    if (this.#entries > MAX_SNAPSHOT_ENTRIES) reader.fail(Fault.OutOfRange);
  }
}
