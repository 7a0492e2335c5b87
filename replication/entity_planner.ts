// Decides what of one entity is due at a tick and puts it into a section: header, values, pieces. It knows tracks, encoder and layout; which
// entity comes first, and when a section is full, is the sender's decision.

import { MAX_SNAPSHOT_ENTRIES, SNAPSHOT_PIECE_BYTES } from "../protocol/limits.ts";
import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import type { Grants } from "../permissions/grants.ts";
import { bitsFor } from "./gamma.ts";
import type { LinkDirection } from "./link_rights.ts";
import type { PiecePlaces } from "./piece_places.ts";
import { PieceTransfer } from "./piece_transfer.ts";
import type { SectionBuilder } from "./section_builder.ts";
import type { SectionLog } from "./section_log.ts";
import type { StepTracks } from "./step_tracks.ts";
import type { PeerView } from "./peer_view.ts";
import {
  ACKED,
  AFTER_BASE_TICK,
  BASE_TICK,
  CHANGED,
  ENTITY_FIRST,
  ENTITY_ID,
  ENTITY_MARKS,
  ENTITY_SENT,
  ENTITY_SEQUENCE,
  ENTITY_STAMP,
  FORCED,
  HEADER_ACKED,
  HEADER_LOST,
  HEADER_SENT,
  HEADER_SEQUENCE,
  HEADER_TICK,
  HOLDS_PLACE,
  IN_PIECES,
  KNOWN_NULLED,
  KNOWN_TICK,
  KNOWN_WORLD_TICK,
  KNOWN_WRITES,
  LINK_NULLED,
  LINK_OFFSET,
  LINK_TICK,
  LINK_WORLD_TICK,
  LOST,
  NEVER,
  STATE_MARKS,
  STEP_VALUE,
  SYNCED,
  type TrackPool,
  VALUE_COMPONENT,
  VALUE_MARKS,
  VALUE_NEXT,
  VALUE_ROW,
  VALUE_SENT,
  VALUE_SEQUENCE,
  VALUE_WORDS,
  VERSION_COUNT,
  VISIBLE,
  WAS_SENT,
} from "./track_pool.ts";
import { hasBase, type ValueTrack, ViewState } from "./tracks.ts";
import type { ValueEncoder } from "./value_encoder.ts";
import { historyTicksOf, type World } from "./world.ts";

/** Values above this size go in pieces. */
const WHOLE_BITS = SNAPSHOT_PIECE_BYTES * 8;

// What of a value is due: nothing, the world's newest value as a new version, or the version sent last once more.
const NOT_DUE = 0;
const NEW_VERSION = 1;
const SAME_VERSION = 2;

/** What has become of an attempt to add an entity. */
export const Planned = {
  /** Something of it is in the section now. */
  Added: 0,
  /** Something is due, but there is no room for it. */
  NoRoom: 1,
  /** Nothing is due, or it has to wait for another tick. */
  Nothing: 2,
  /** All that was due of it is in the section now. */
  AllAdded: 3,
} as const;

/** One of the values of {@linkcode Planned}. */
export type Planned = typeof Planned[keyof typeof Planned];

/** One value of the open entity, until it is confirmed. */
interface Plan {
  /** Record of the component. */
  value: number;
  /** It makes the world's newest value a version. */
  isNew: boolean;
  worldTick: number;
  worldWrites: number;
  nulled: number;
  offset: number;
  piece: number;
  transfer: PieceTransfer | undefined;
}

/** By component: ticks between two versions at the manifest's rate, where this end is the writer's. */
export function rateTicksOf(grants: Grants, direction: LinkDirection): Float64Array {
  return Float64Array.from(grants.components, ({ authority, rateHz }) => {
    // What an owner wrote was held to its rate on the way up, and is relayed as it comes.
    const isWriter = direction === "up" || authority === "server";
    return isWriter ? grants.tickHz / rateHz : 0;
  });
}

/** Adds entities of one link to its sections. */
export class EntityPlanner {
  /** The records of what it plans. */
  readonly pool: TrackPool;
  /** What is unacknowledged for so many ticks goes out again. */
  resendTicks = 2;
  /** Ticks of a round trip, with fractions. */
  rttTicks = 0;
  /** What is only unsure is looked at: it goes again twice a round trip, and in each tick once one has passed without a word. */
  isHasty = false;
  /** The present tick. */
  tick: number = NEVER;
  /** Largest weight of what the last `refresh` found due. */
  dueWeight = 1;
  /** Place of the section being built among those of its tick. */
  cohort = 0;
  readonly #direction: LinkDirection;
  readonly #view: PeerView;
  readonly #world: World;
  readonly #encoder: ValueEncoder;
  readonly #builder: SectionBuilder;
  readonly #log: SectionLog;
  readonly #places: PiecePlaces;
  readonly #steps: StepTracks;
  readonly #historyTicks: number;
  /** By component: ticks between two versions at the manifest's rate, where this end is the writer's. */
  readonly #rateTicks: Float64Array;
  /** By component. */
  readonly #weights: Uint8Array;
  readonly #plans: Plan[] = [];
  #planCount = 0;
  #newPlaces = 0;

  /** A planner over the parts of one sender. */
  constructor(
    pool: TrackPool,
    view: PeerView,
    grants: Grants,
    direction: LinkDirection,
    world: World,
    encoder: ValueEncoder,
    builder: SectionBuilder,
    log: SectionLog,
    places: PiecePlaces,
    steps: StepTracks,
    rateTicks: Float64Array,
  ) {
    this.pool = pool;
    this.#view = view;
    this.#direction = direction;
    this.#world = world;
    this.#encoder = encoder;
    this.#builder = builder;
    this.#log = log;
    this.#places = places;
    this.#steps = steps;
    this.#historyTicks = historyTicksOf(grants);
    this.#rateTicks = rateTicks;
    this.#weights = Uint8Array.from(grants.components, ({ weight }) => weight);
  }

  /** Looks at all values of the entity with the record `at` anew; returns whether one is due. */
  refresh(at: number): boolean {
    const { entities, values } = this.pool;
    if ((entities[at + ENTITY_MARKS]! & STATE_MARKS) !== ViewState.Alive) return false;
    const id = entities[at + ENTITY_ID]!;
    const isKnown = this.#isAsLooked(at, id);
    let weight = 0;
    for (let v = entities[at + ENTITY_FIRST]!; v >= 0; v = values[v + VALUE_NEXT]!) {
      if ((values[v + VALUE_MARKS]! & VISIBLE) === 0) continue;
      const row = isKnown ? values[v + VALUE_ROW]! : this.#rowOf(id, v);
      if (row < 0) continue;
      this.#encoder.refresh(id, v, row, this.tick);
      if (this.#dueOf(v) === NOT_DUE) continue;
      weight = Math.max(weight, this.#weights[values[v + VALUE_COMPONENT]!]!);
    }
    this.dueWeight = Math.max(1, weight);
    return weight > 0;
  }

  /** As `refresh`, of an entity in step: of all values but that one. */
  refreshOthers(at: number): boolean {
    const { entities, values } = this.pool;
    const inStep = entities[at + STEP_VALUE]!;
    const id = entities[at + ENTITY_ID]!;
    let isDue = false;
    for (let v = entities[at + ENTITY_FIRST]!; v >= 0; v = values[v + VALUE_NEXT]!) {
      if (v === inStep || (values[v + VALUE_MARKS]! & VISIBLE) === 0) continue;
      this.#encoder.refresh(id, v, values[v + VALUE_ROW]!, this.tick);
      if (this.#dueOf(v) !== NOT_DUE) isDue = true;
    }
    return isDue;
  }

  /** Whether a value of the entity is still due after what was added of it. */
  hasMore(at: number): boolean {
    const { entities, values } = this.pool;
    if ((entities[at + ENTITY_MARKS]! & STATE_MARKS) !== ViewState.Alive) return false;
    const id = entities[at + ENTITY_ID]!;
    for (let v = entities[at + ENTITY_FIRST]!; v >= 0; v = values[v + VALUE_NEXT]!) {
      if ((values[v + VALUE_MARKS]! & VISIBLE) === 0) continue;
      if (this.#dueOf(v) !== NOT_DUE && this.#rowOf(id, v) >= 0) return true;
    }
    return false;
  }

  /** Whether the entity's header is due. */
  isHeaderDue(at: number): boolean {
    const words = this.pool.entities;
    const marks = words[at + ENTITY_MARKS]!;
    if ((marks & HEADER_ACKED) !== 0) return false;
    const sent = words[at + HEADER_SENT]!;
    return sent === NEVER || (marks & HEADER_LOST) !== 0 ||
      this.tick - sent >= this.#patience(words[at + HEADER_TICK]!);
  }

  /**
   * Adds what is due of an entity to the section of datagram `sequence`, within `maxBits`.
   *
   * A header takes along all values that are not acknowledged: an owner then meets a raised epoch together with the values that override
   * its own. Only where they do not fit an empty section do they go apart.
   */
  add(at: number, maxBits: number, sequence: number): Planned {
    const { entities, values } = this.pool;
    // An entity has one place in a section: what of it did not fit waits for the next.
    if (
      entities[at + ENTITY_SENT] === this.tick && entities[at + ENTITY_SEQUENCE] === sequence
    ) return Planned.NoRoom;
    const builder = this.#builder;
    if (builder.entryCount + 2 > MAX_SNAPSHOT_ENTRIES) return Planned.NoRoom;
    const hasHeader = this.isHeaderDue(at);
    const id = entities[at + ENTITY_ID]!;
    builder.open(at, hasHeader ? this.#view.trackAt(at) : undefined);
    const isAlive = (entities[at + ENTITY_MARKS]! & STATE_MARKS) === ViewState.Alive;
    const isKnown = this.#isAsLooked(at, id);
    const first = entities[at + ENTITY_FIRST]!;
    if (
      !hasHeader && isAlive && isKnown && first >= 0 && values[first + VALUE_NEXT]! < 0 &&
      (values[first + VALUE_MARKS]! & (VISIBLE | IN_PIECES)) === VISIBLE
    ) return this.#addOnly(at, id, first, maxBits, sequence);
    this.#planCount = 0;
    this.#newPlaces = 0;
    let hasRoom = builder.openBits <= maxBits;
    if (hasRoom && isAlive) {
      for (let v = first; v >= 0; v = values[v + VALUE_NEXT]!) {
        if ((values[v + VALUE_MARKS]! & VISIBLE) === 0) continue;
        const row = isKnown ? values[v + VALUE_ROW]! : this.#rowOf(id, v);
        if (row < 0) continue;
        const due = this.#dueOf(v);
        if (due === NOT_DUE && !(hasHeader && this.#goesAlong(v))) continue;
        if (builder.entryCount + builder.openEntries >= MAX_SNAPSHOT_ENTRIES) hasRoom = false;
        else if (!this.#planValue(id, v, row, due === NEW_VERSION, maxBits)) hasRoom = false;
      }
    }
    const isEmpty = this.#planCount === 0 && !(hasHeader && builder.openBits <= maxBits);
    if (isEmpty || (hasHeader && !hasRoom && !builder.isEmpty)) {
      builder.drop();
      return hasRoom ? Planned.Nothing : Planned.NoRoom;
    }
    builder.keep();
    this.#confirm(at, hasHeader, sequence);
    return Planned.Added;
  }

  /** Adds the only component of an entity whose header is not due: what most entities are most of the time. */
  #addOnly(at: number, id: EntityId, v: number, maxBits: number, sequence: number): Planned {
    const builder = this.#builder;
    const due = this.#dueOf(v);
    if (due === NOT_DUE) {
      builder.drop();
      return Planned.Nothing;
    }
    const { tick } = this;
    const encoder = this.#encoder;
    const words = this.pool.values;
    const marks = words[v + VALUE_MARKS]!;
    const isNew = due === NEW_VERSION;
    const mayDiffer = !(isNew && (marks & FORCED) !== 0) &&
      hasBase(words, v, tick, this.#historyTicks);
    if (!encoder.encode(builder.scratch, id, v, words[v + VALUE_ROW]!, tick, !isNew, mayDiffer)) {
      // The world may not hold the version sent last any more: the newest one takes its place.
      words[v + VALUE_MARKS] = marks | FORCED;
      builder.drop();
      return Planned.Nothing;
    }
    if (encoder.bits > WHOLE_BITS) {
      builder.drop();
      return this.#addLarge(at, id, v, isNew, maxBits, sequence);
    }
    const versionTick = isNew ? tick : words[v + LINK_TICK]!;
    builder.addValue(words[v + VALUE_COMPONENT]!, versionTick, encoder);
    if (builder.openBits > maxBits) {
      builder.drop();
      return Planned.NoRoom;
    }
    builder.keep();
    const { entities } = this.pool;
    entities[at + ENTITY_SENT] = tick;
    entities[at + ENTITY_SEQUENCE] = sequence;
    entities[at + ENTITY_MARKS] = entities[at + ENTITY_MARKS]! | WAS_SENT;
    const isPlain = isNew && (marks & FORCED) === 0;
    if (isNew) {
      this.#makeVersion(
        at,
        v,
        encoder.worldTick,
        encoder.worldWrites,
        encoder.nulled,
        encoder.offset,
      );
    }
    words[v + VALUE_SENT] = tick;
    words[v + VALUE_SEQUENCE] = sequence;
    words[v + VALUE_MARKS] = words[v + VALUE_MARKS]! & ~LOST;
    this.#log.add(at, v, versionTick, -1);
    this.#steps.noteSent(at, v, this.cohort, isPlain);
    return Planned.AllAdded;
  }

  /** Adds the only component of the open entity, whose value has just turned out to be large. */
  #addLarge(
    at: number,
    id: EntityId,
    v: number,
    isNew: boolean,
    maxBits: number,
    sequence: number,
  ): Planned {
    const builder = this.#builder;
    this.#planCount = 0;
    this.#newPlaces = 0;
    const row = this.pool.values[v + VALUE_ROW]!;
    const hasRoom = this.#startTransfer(id, v, row, isNew, maxBits);
    if (this.#planCount === 0) {
      builder.drop();
      return hasRoom ? Planned.Nothing : Planned.NoRoom;
    }
    builder.keep();
    this.#confirm(at, false, sequence);
    return Planned.Added;
  }

  /** Whether the last whole look found the entity as it is now, so that the rows noted then are those of its values. */
  #isAsLooked(at: number, id: EntityId): boolean {
    return this.pool.entities[at + ENTITY_STAMP] === this.#world.headerStamp(entitySlot(id));
  }

  #rowOf(id: EntityId, v: number): number {
    return this.#world.row(id, this.pool.values[v + VALUE_COMPONENT]!);
  }

  /** The track of a component whose record is `v`. */
  #trackOf(at: number, v: number): ValueTrack {
    return this.#view.trackAt(at).valueAt(v)!;
  }

  /** Whether a new version may be made now: one a tick, and no more than the rate. */
  #mayMakeVersion(v: number): boolean {
    const words = this.pool.values;
    // The other end judges the rate of what goes up, whatever makes it go.
    return this.tick > words[v + LINK_TICK]! &&
      (this.tick >= this.pool.rateTicks[v / VALUE_WORDS]! ||
        ((words[v + VALUE_MARKS]! & FORCED) !== 0 && this.#direction === "down"));
  }

  /** What of a value is due. */
  #dueOf(v: number): typeof NOT_DUE | typeof NEW_VERSION | typeof SAME_VERSION {
    const words = this.pool.values;
    const marks = words[v + VALUE_MARKS]!;
    if ((marks & (FORCED | CHANGED)) !== 0 && this.#mayMakeVersion(v)) return NEW_VERSION;
    if ((marks & ACKED) !== 0 || words[v + LINK_TICK] === NEVER) return NOT_DUE;
    if ((marks & IN_PIECES) !== 0) {
      const isDue = this.pool.transfers.get(v)!.due(this.tick, this.resendTicks) >= 0;
      return isDue ? SAME_VERSION : NOT_DUE;
    }
    const patience = this.#patience(words[v + LINK_TICK]!);
    return (marks & LOST) !== 0 || this.tick - words[v + VALUE_SENT]! >= patience
      ? SAME_VERSION
      : NOT_DUE;
  }

  /** Ticks after which goes again what went first in `firstTick` and was not acknowledged. */
  #patience(firstTick: number): number {
    if (!this.isHasty) return this.resendTicks;
    return this.tick - firstTick > this.rttTicks ? 1 : Math.max(1, Math.ceil(this.rttTicks / 3));
  }

  /** Whether a value that is under way is sent once more beside its entity's header. */
  #goesAlong(v: number): boolean {
    const words = this.pool.values;
    return (words[v + VALUE_MARKS]! & (ACKED | IN_PIECES)) === 0 &&
      words[v + LINK_TICK] !== NEVER && words[v + VALUE_SENT] !== this.tick;
  }

  /** Encodes a value into the open entity, or leaves it for later where it has to wait; false when it does not fit. */
  #planValue(id: EntityId, v: number, row: number, isNew: boolean, maxBits: number): boolean {
    const words = this.pool.values;
    const marks = words[v + VALUE_MARKS]!;
    if (!isNew && (marks & IN_PIECES) !== 0) {
      return this.#planPiece(v, this.pool.transfers.get(v)!, false, maxBits);
    }
    const encoder = this.#encoder;
    const builder = this.#builder;
    const { scratch } = builder;
    const start = scratch.bitLength;
    const mayDiffer = !(isNew && (marks & FORCED) !== 0) &&
      hasBase(words, v, this.tick, this.#historyTicks);
    if (!encoder.encode(scratch, id, v, row, this.tick, !isNew, mayDiffer)) {
      // The world may not hold the version sent last any more: the newest one takes its place.
      words[v + VALUE_MARKS] = marks | FORCED;
      return true;
    }
    if (encoder.bits > WHOLE_BITS) {
      scratch.truncate(start);
      return this.#startTransfer(id, v, row, isNew, maxBits);
    }
    const versionTick = isNew ? this.tick : words[v + LINK_TICK]!;
    const bits = builder.addValue(words[v + VALUE_COMPONENT]!, versionTick, encoder);
    if (builder.openBits > maxBits) {
      builder.dropItem(bits);
      scratch.truncate(start);
      return false;
    }
    this.#plan(v, isNew, -1, undefined);
    return true;
  }

  #startTransfer(id: EntityId, v: number, row: number, isNew: boolean, maxBits: number): boolean {
    const words = this.pool.values;
    const holdsPlace = (words[v + VALUE_MARKS]! & HOLDS_PLACE) !== 0;
    if (!holdsPlace && !this.#places.hasRoomFor(this.#newPlaces + 1)) return true;
    const bytes = this.#encoder.encodeBytes(id, v, row, this.tick, !isNew);
    const versionTick = isNew ? this.tick : words[v + LINK_TICK]!;
    const transfer = new PieceTransfer(versionTick, this.#encoder.offset, bytes);
    return this.#planPiece(v, transfer, isNew, maxBits);
  }

  #planPiece(v: number, transfer: PieceTransfer, isNew: boolean, maxBits: number): boolean {
    const piece = transfer.due(this.tick, this.resendTicks);
    if (piece < 0) return true;
    const words = this.pool.values;
    const bits = this.#builder.addPiece(
      words[v + VALUE_COMPONENT]!,
      transfer.linkTick,
      transfer.offset,
      piece,
      bitsFor(transfer.count - 1),
      transfer.bytes.length,
      transfer.piece(piece),
    );
    if (this.#builder.openBits > maxBits) {
      this.#builder.dropItem(bits);
      return false;
    }
    if ((words[v + VALUE_MARKS]! & HOLDS_PLACE) === 0) this.#newPlaces += 1;
    this.#plan(v, isNew, piece, transfer);
    return true;
  }

  #plan(value: number, isNew: boolean, piece: number, transfer: PieceTransfer | undefined): void {
    const { worldTick, worldWrites, nulled, offset } = this.#encoder;
    const plan = this.#plans[this.#planCount];
    if (plan === undefined) {
      this.#plans.push({ value, isNew, worldTick, worldWrites, nulled, offset, piece, transfer });
    } else {
      plan.value = value;
      plan.isNew = isNew;
      plan.worldTick = worldTick;
      plan.worldWrites = worldWrites;
      plan.nulled = nulled;
      plan.offset = offset;
      plan.piece = piece;
      plan.transfer = transfer;
    }
    this.#planCount += 1;
  }

  /** The open entity goes out: notes it in its tracks and in the log. */
  #confirm(at: number, hasHeader: boolean, sequence: number): void {
    const { tick } = this;
    const { entities, values } = this.pool;
    entities[at + ENTITY_SENT] = tick;
    entities[at + ENTITY_SEQUENCE] = sequence;
    entities[at + ENTITY_MARKS] = entities[at + ENTITY_MARKS]! | WAS_SENT;
    if (hasHeader) {
      entities[at + HEADER_SENT] = tick;
      entities[at + HEADER_SEQUENCE] = sequence;
      entities[at + ENTITY_MARKS] = entities[at + ENTITY_MARKS]! & ~HEADER_LOST;
      this.#log.add(at, -1, entities[at + HEADER_TICK]!, -1);
    }
    const only = hasHeader || this.#planCount !== 1 ? undefined : this.#plans[0]!;
    const isPlain = only !== undefined && only.isNew && only.transfer === undefined &&
      (values[only.value + VALUE_MARKS]! & FORCED) === 0;
    for (let i = 0; i < this.#planCount; i++) {
      const plan = this.#plans[i]!;
      const { value, transfer } = plan;
      if (plan.isNew) {
        const { worldTick, worldWrites, nulled, offset } = plan;
        this.#makeVersion(at, value, worldTick, worldWrites, nulled, offset);
      }
      values[value + VALUE_SENT] = tick;
      values[value + VALUE_SEQUENCE] = sequence;
      values[value + VALUE_MARKS] = values[value + VALUE_MARKS]! & ~LOST;
      if (transfer !== undefined) {
        const track = this.#trackOf(at, value);
        track.transfer = transfer;
        transfer.handleSent(plan.piece, tick, sequence);
        this.#places.take(track);
      }
      this.#log.add(at, value, values[value + LINK_TICK]!, plan.piece);
    }
    this.#steps.noteSent(at, only?.value ?? NEVER, this.cohort, isPlain);
  }

  /** The world's newest value becomes the link's newest version. */
  #makeVersion(
    at: number,
    value: number,
    worldTick: number,
    worldWrites: number,
    nulled: number,
    offset: number,
  ): void {
    const { tick } = this;
    const { values: words, rateTicks } = this.pool;
    if (words[value + BASE_TICK] !== NEVER && words[value + AFTER_BASE_TICK] === NEVER) {
      words[value + AFTER_BASE_TICK] = tick;
    }
    words[value + LINK_TICK] = tick;
    words[value + LINK_WORLD_TICK] = tick;
    words[value + LINK_NULLED] = nulled;
    words[value + LINK_OFFSET] = offset;
    words[value + VERSION_COUNT] = words[value + VERSION_COUNT]! + 1;
    words[value + KNOWN_TICK] = worldTick;
    words[value + KNOWN_WORLD_TICK] = tick;
    words[value + KNOWN_WRITES] = worldWrites;
    words[value + KNOWN_NULLED] = nulled;
    const marks = words[value + VALUE_MARKS]!;
    words[value + VALUE_MARKS] = marks & ~(ACKED | FORCED | CHANGED | SYNCED);
    if ((marks & IN_PIECES) !== 0) this.#trackOf(at, value).transfer = undefined;
    const interval = this.#rateTicks[words[value + VALUE_COMPONENT]!]!;
    // A rate of one a tick and more never makes a version wait.
    if (interval <= 1) return;
    // Counting on from the last allowed tick, not from this one, keeps the rate where ticks do not divide it.
    const place = value / VALUE_WORDS;
    rateTicks[place] = Math.max(rateTicks[place]!, tick - interval) + interval;
  }
}
