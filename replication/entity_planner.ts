// Decides what of one entity is due at a tick and puts it into a section: header, values, pieces. It knows tracks, encoder and layout; which
// entity comes first, and when a section is full, is the sender's decision.

import { MAX_SNAPSHOT_ENTRIES, SNAPSHOT_PIECE_BYTES } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { bitsFor } from "./gamma.ts";
import type { LinkDirection } from "./link_rights.ts";
import type { PiecePlaces } from "./piece_places.ts";
import { PieceTransfer } from "./piece_transfer.ts";
import type { SectionBuilder } from "./section_builder.ts";
import type { SectionLog } from "./section_log.ts";
import { type EntityTrack, NEVER, type ValueTrack, ViewState } from "./tracks.ts";
import type { ValueEncoder } from "./value_encoder.ts";
import { historyTicksOf, type World } from "./world.ts";

/** Values above this size go in pieces. */
const WHOLE_BITS = SNAPSHOT_PIECE_BYTES * 8;

/** What has become of an attempt to add an entity. */
export const Planned = {
  /** Something of it is in the section now. */
  Added: 0,
  /** Something is due, but there is no room for it. */
  NoRoom: 1,
  /** Nothing is due, or it has to wait for another tick. */
  Nothing: 2,
} as const;

/** One of the values of {@linkcode Planned}. */
export type Planned = typeof Planned[keyof typeof Planned];

/** One value of the open entity, until it is confirmed. */
interface Plan {
  value: ValueTrack;
  /** It makes the world's newest value a version. */
  isNew: boolean;
  worldTick: number;
  worldWrites: number;
  nulled: number;
  offset: number;
  piece: number;
  transfer: PieceTransfer | undefined;
}

/** Adds entities of one link to its sections. */
export class EntityPlanner {
  /** What is unacknowledged for so many ticks goes out again. */
  resendTicks = 2;
  /** Ticks of a round trip, with fractions. */
  rttTicks = 0;
  /** What is only unsure is looked at: it goes again twice a round trip, and in each tick once one has passed without a word. */
  isHasty = false;
  /** The present tick. */
  tick: number = NEVER;
  readonly #direction: LinkDirection;
  readonly #world: World;
  readonly #encoder: ValueEncoder;
  readonly #builder: SectionBuilder;
  readonly #log: SectionLog;
  readonly #places: PiecePlaces;
  readonly #historyTicks: number;
  /** By component: ticks between two versions at the manifest's rate, where this end is the writer's. */
  readonly #rateTicks: Float64Array;
  readonly #plans: Plan[] = [];
  #planCount = 0;
  #newPlaces = 0;

  /** A planner over the parts of one sender. */
  constructor(
    grants: Grants,
    direction: LinkDirection,
    world: World,
    encoder: ValueEncoder,
    builder: SectionBuilder,
    log: SectionLog,
    places: PiecePlaces,
  ) {
    this.#direction = direction;
    this.#world = world;
    this.#encoder = encoder;
    this.#builder = builder;
    this.#log = log;
    this.#places = places;
    this.#historyTicks = historyTicksOf(grants);
    this.#rateTicks = new Float64Array(grants.components.length);
    for (const { index, authority, rateHz } of grants.components) {
      // What an owner wrote was held to its rate on the way up, and is relayed as it comes.
      const isWriter = direction === "up" || authority === "server";
      this.#rateTicks[index] = isWriter ? grants.tickHz / rateHz : 0;
    }
  }

  /** Looks at all values of an entity anew; returns whether one is due. */
  refresh(track: EntityTrack): boolean {
    if (track.state !== ViewState.Alive) return false;
    let isDue = false;
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      if (!this.#isSendable(track, value)) continue;
      this.#encoder.refresh(track, value);
      if (this.#isValueDue(value)) isDue = true;
    }
    return isDue;
  }

  /** Whether a value of the entity is still due after what was added of it. */
  hasMore(track: EntityTrack): boolean {
    if (track.state !== ViewState.Alive) return false;
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      if (this.#isSendable(track, value) && this.#isValueDue(value)) return true;
    }
    return false;
  }

  /** Whether the entity's header is due. */
  isHeaderDue(track: EntityTrack): boolean {
    return !track.isHeaderAcked &&
      (track.headerSentTick === NEVER || track.isHeaderLost ||
        this.tick - track.headerSentTick >= this.#patience(track.headerTick));
  }

  /**
   * Adds what is due of an entity to the section of datagram `sequence`, within `maxBits`.
   *
   * A header takes along all values that are not acknowledged: an owner then meets a raised epoch together with the values that override
   * its own. Only where they do not fit an empty section do they go apart.
   */
  add(track: EntityTrack, maxBits: number, sequence: number): Planned {
    // An entity has one place in a section: what of it did not fit waits for the next.
    if (track.sentSequence === sequence) return Planned.NoRoom;
    const builder = this.#builder;
    if (builder.entryCount + track.values.length + 1 > MAX_SNAPSHOT_ENTRIES) return Planned.NoRoom;
    const hasHeader = this.isHeaderDue(track);
    this.#planCount = 0;
    this.#newPlaces = 0;
    builder.open(track, hasHeader);
    let hasRoom = builder.openBits <= maxBits;
    if (hasRoom && track.state === ViewState.Alive) {
      for (let i = 0; i < track.values.length; i++) {
        const value = track.values[i]!;
        if (!this.#isSendable(track, value)) continue;
        if (!this.#isValueDue(value) && !(hasHeader && this.#goesAlong(value))) continue;
        if (!this.#planValue(track, value, maxBits)) hasRoom = false;
      }
    }
    const isEmpty = this.#planCount === 0 && !(hasHeader && builder.openBits <= maxBits);
    if (isEmpty || (hasHeader && !hasRoom && !builder.isEmpty)) {
      builder.drop();
      return hasRoom ? Planned.Nothing : Planned.NoRoom;
    }
    builder.keep();
    this.#confirm(track, hasHeader, sequence);
    return Planned.Added;
  }

  #isSendable(track: EntityTrack, value: ValueTrack): boolean {
    return value.isVisible && this.#world.row(track.id, value.component) >= 0;
  }

  /** Whether a new version may be made now: one a tick, and no more than the rate. */
  #mayMakeVersion(value: ValueTrack): boolean {
    // The other end judges the rate of what goes up, whatever makes it go.
    return this.tick > value.linkTick &&
      (this.tick >= value.rateTick || (value.isForced && this.#direction === "down"));
  }

  #isValueDue(value: ValueTrack): boolean {
    if (value.needsVersion && this.#mayMakeVersion(value)) return true;
    if (value.isAcked || value.linkTick === NEVER) return false;
    if (value.transfer !== undefined) return value.transfer.due(this.tick, this.resendTicks) >= 0;
    return value.isLost || this.tick - value.sentTick >= this.#patience(value.linkTick);
  }

  /** Ticks after which goes again what went first in `firstTick` and was not acknowledged. */
  #patience(firstTick: number): number {
    if (!this.isHasty) return this.resendTicks;
    return this.tick - firstTick > this.rttTicks ? 1 : Math.max(1, Math.ceil(this.rttTicks / 3));
  }

  /** Whether a value that is under way is sent once more beside its entity's header. */
  #goesAlong(value: ValueTrack): boolean {
    return !value.isAcked && value.linkTick !== NEVER && value.transfer === undefined &&
      value.sentTick !== this.tick;
  }

  /** Encodes a value into the open entity, or leaves it for later where it has to wait; false when it does not fit. */
  #planValue(track: EntityTrack, value: ValueTrack, maxBits: number): boolean {
    const isNew = value.needsVersion && this.#mayMakeVersion(value);
    if (!isNew && value.transfer !== undefined) {
      return this.#planPiece(value, value.transfer, false, maxBits);
    }
    const { scratch } = this.#builder;
    const start = scratch.bitLength;
    const mayDiffer = !(isNew && value.isForced) && value.hasBase(this.tick, this.#historyTicks);
    if (!this.#encoder.encode(scratch, track, value, this.tick, !isNew, mayDiffer)) {
      // The version sent last has left the world's history: the newest one takes its place.
      value.isForced = true;
      return true;
    }
    if (scratch.bitLength - start > WHOLE_BITS) {
      scratch.truncate(start);
      return this.#startTransfer(track, value, isNew, maxBits);
    }
    const bits = this.#builder.addValue(
      value.component,
      isNew ? this.tick : value.linkTick,
      this.#encoder.offset,
      this.#encoder,
      start,
    );
    if (this.#builder.openBits > maxBits) {
      this.#builder.dropItem(bits);
      scratch.truncate(start);
      return false;
    }
    this.#plan(value, isNew, -1, undefined);
    return true;
  }

  #startTransfer(track: EntityTrack, value: ValueTrack, isNew: boolean, maxBits: number): boolean {
    if (!value.holdsPlace && !this.#places.hasRoomFor(this.#newPlaces + 1)) return true;
    const bytes = this.#encoder.encodeBytes(track, value, this.tick, !isNew);
    const linkTick = isNew ? this.tick : value.linkTick;
    const transfer = new PieceTransfer(linkTick, this.#encoder.offset, bytes);
    return this.#planPiece(value, transfer, isNew, maxBits);
  }

  #planPiece(
    value: ValueTrack,
    transfer: PieceTransfer,
    isNew: boolean,
    maxBits: number,
  ): boolean {
    const piece = transfer.due(this.tick, this.resendTicks);
    if (piece < 0) return true;
    const bits = this.#builder.addPiece(
      value.component,
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
    if (!value.holdsPlace) this.#newPlaces += 1;
    this.#plan(value, isNew, piece, transfer);
    return true;
  }

  #plan(
    value: ValueTrack,
    isNew: boolean,
    piece: number,
    transfer: PieceTransfer | undefined,
  ): void {
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
  #confirm(track: EntityTrack, hasHeader: boolean, sequence: number): void {
    track.sentTick = this.tick;
    track.sentSequence = sequence;
    track.wasSent = true;
    if (hasHeader) {
      track.headerSentTick = this.tick;
      track.headerSequence = sequence;
      track.isHeaderLost = false;
      this.#log.add(track, undefined, track.headerTick, -1);
    }
    for (let i = 0; i < this.#planCount; i++) {
      const plan = this.#plans[i]!;
      const { value, transfer } = plan;
      if (plan.isNew) this.#makeVersion(value, plan);
      value.sentTick = this.tick;
      value.sentSequence = sequence;
      value.isLost = false;
      if (transfer !== undefined) {
        value.transfer = transfer;
        transfer.handleSent(plan.piece, this.tick, sequence);
        this.#places.take(value);
      }
      this.#log.add(track, value, value.linkTick, plan.piece);
    }
  }

  /** The world's newest value becomes the link's newest version. */
  #makeVersion(value: ValueTrack, plan: Plan): void {
    const { tick } = this;
    if (value.baseTick !== NEVER && value.afterBaseTick === NEVER) value.afterBaseTick = tick;
    value.linkTick = tick;
    value.linkWorldTick = plan.worldTick;
    value.linkNulled = plan.nulled;
    value.linkOffset = plan.offset;
    value.versionCount += 1;
    value.isAcked = false;
    value.isForced = false;
    value.isChanged = false;
    value.isSynced = false;
    value.knownTick = plan.worldTick;
    value.knownWrites = plan.worldWrites;
    value.knownNulled = plan.nulled;
    value.transfer = undefined;
    const interval = this.#rateTicks[value.component]!;
    // Counting on from the last allowed tick, not from this one, keeps the rate where ticks do not divide it.
    value.rateTick = Math.max(value.rateTick, tick - interval) + interval;
  }
}
