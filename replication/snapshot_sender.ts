// The sending half of replication for one link: which changes go into which datagram, and what their acknowledgement or loss means. It
// joins view (what is seen), encoder (bits) and builder (layout); it knows no socket, no clock and no other peer.

import { assert } from "../protocol/assert.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import {
  MAX_PIECE_TRANSFERS,
  MAX_SECTION_MISSES,
  MAX_SECTION_ROUNDS,
  MAX_SNAPSHOT_ENTRIES,
  SNAPSHOT_PIECE_BYTES,
} from "../protocol/limits.ts";
import type { Writer } from "../protocol/writer.ts";
import type { Grants } from "../permissions/grants.ts";
import { bitsFor } from "./gamma.ts";
import type { InterestResult } from "./interest.ts";
import { type LinkDirection, PeerView } from "./peer_view.ts";
import { PieceTransfer } from "./piece_transfer.ts";
import { SectionBuilder } from "./section_builder.ts";
import { sectionWidths } from "./section_layout.ts";
import { type LoggedEntry, SectionLog } from "./section_log.ts";
import { type EntityTrack, NEVER, type ValueTrack, ViewState } from "./tracks.ts";
import { ValueEncoder } from "./value_encoder.ts";
import { historyTicksOf, type World } from "./world.ts";

/** Values above this size go in pieces. */
const WHOLE_BITS = SNAPSHOT_PIECE_BYTES * 8;
/** Ticks of waiting that a header is worth: it goes before values that wait less. */
const HEADER_WEIGHT = 64;
/** Own entities' headers go before everything else: their owner writes with the epoch it knows. */
const OWN_HEADER_WEIGHT = 1_000_000;
const NEAR_SQUARED = 5 ** 2;
const MIDDLE_SQUARED = 20 ** 2;

/** What one peer is told of the world. */
export interface SnapshotSenderOptions {
  /** The compiled grants. */
  readonly grants: Grants;
  /** The world whose newest state is sent. */
  readonly world: World;
  /** The client's peer id, in both directions. */
  readonly peer: number;
  /** The client's role. */
  readonly roleIndex: number;
  /** `down`: from the server to the client what it may see; `up`: from the client what it owns and may write. */
  readonly direction: LinkDirection;
}

/**
 * Sends the newest state of a world to one peer until it is acknowledged.
 *
 * Once a tick: write the world, then (down) {@linkcode SnapshotSender.updateView}, then {@linkcode SnapshotSender.writeSection} for each
 * datagram until it returns false. Ticks only grow, and after the first `writeSection` of a tick nothing may be written to the world
 * with that tick: a version already sent would change under its name. `handleAcked` and `handleLost` come at any time between.
 */
export class SnapshotSender {
  /** Number of the peer's grants, 8 bits; opens each section. */
  grantEpoch = 0;
  readonly #world: World;
  readonly #direction: LinkDirection;
  readonly #historyTicks: number;
  readonly #view: PeerView;
  readonly #encoder: ValueEncoder;
  readonly #builder: SectionBuilder;
  readonly #log = new SectionLog();
  /** By component: ticks between two versions at the manifest's rate, where this end is the writer's. */
  readonly #rateTicks: Float64Array;
  #resendTicks = 2;
  #tick = NEVER;
  /** Entities with something to send in this tick, most urgent first. */
  readonly #line: EntityTrack[] = [];
  #places = 0;
  #pendingPlaces = 0;
  // What is being added to the section: parallel to the open entity's items.
  readonly #planned: ValueTrack[] = [];
  readonly #plannedKind: number[] = [];
  readonly #plannedPiece: number[] = [];
  readonly #plannedWorld: number[] = [];
  readonly #plannedWrites: number[] = [];
  readonly #plannedNulled: number[] = [];
  readonly #plannedTransfer: (PieceTransfer | undefined)[] = [];
  readonly #onAcked = (entry: LoggedEntry): void => this.#handleAckedEntry(entry);
  readonly #onLost = (entry: LoggedEntry, sequence: number): void =>
    this.#handleLostEntry(entry, sequence);

  /** A sender that has sent nothing. */
  constructor(options: SnapshotSenderOptions) {
    const { grants, world, direction } = options;
    this.#world = world;
    this.#direction = direction;
    this.#historyTicks = historyTicksOf(grants);
    this.#view = new PeerView(options);
    this.#view.onDrop = (track) => this.#releaseAll(track);
    const mayName = direction === "down" ? (id: EntityId) => this.#view.isShown(id) : undefined;
    this.#encoder = new ValueEncoder(grants, world, mayName);
    this.#builder = new SectionBuilder(sectionWidths(grants), direction);
    this.#rateTicks = new Float64Array(grants.components.length);
    for (const { index, authority, rateHz } of grants.components) {
      // What an owner wrote was held to its rate on the way up, and is relayed as it comes.
      const isWriter = direction === "up" || authority === "server";
      this.#rateTicks[index] = isWriter ? grants.tickHz / rateHz : 0;
    }
  }

  /** Entities the peer has been told of, or is about to be. */
  get trackedCount(): number {
    return this.#view.tracks.length;
  }

  /** Ended entities whose end the peer has not acknowledged. */
  get pendingDespawns(): number {
    return this.#view.deadCount;
  }

  /** Whether the peer knows nothing of the entity any more: as far as it is concerned, the slot is free. */
  hasAckedDespawn(id: EntityId): boolean {
    return !this.#world.isAlive(id) && this.#view.knowsNothingOf(id);
  }

  /** Gives the peer another role. Components whose masks differ between the two roles begin anew, with an absolute value. */
  setRole(roleIndex: number, grantEpoch: number): void {
    this.grantEpoch = grantEpoch;
    this.#view.setRole(roleIndex);
    // Sections of this tick that are still to come would carry the old masks under the new epoch.
    this.#line.length = 0;
  }

  /** Round-trip time in ticks: what is unacknowledged for 1.25 times that and a tick goes out again. */
  setRttTicks(ticks: number): void {
    this.#resendTicks = Math.ceil(1.25 * ticks) + 1;
  }

  /** `down` only: decides what the peer sees at this tick, from the candidates that interest proposed for it. */
  updateView(tick: number, candidates: InterestResult): void {
    assert(this.#direction === "down", "a client sends what it owns, whatever the distance");
    this.#view.updateDown(tick, candidates);
  }

  /** The peer wrote the newest value of this component itself: there is nothing to send, but no reference either. */
  markSynced(id: EntityId, c: number): void {
    const row = this.#world.row(id, c);
    assert(row >= 0, "only a value that exists is known to its writer");
    const store = this.#world.store(c);
    const newest = store.newest(row);
    this.#view.adopt(id, c)?.sync(store.tick(newest), store.writes(newest));
  }

  /** `up` only: the client lost the entity, to another owner or because the server ended it. It is told as out of view, not as ended. */
  release(id: EntityId): void {
    assert(this.#direction === "up", "only a client loses what it sends");
    this.#view.release(id);
  }

  /** Sends the newest value again, absolute, though it did not change: the peer's engine believes another one. */
  putRight(id: EntityId, c: number): void {
    this.#view.find(id)?.find(c)?.force();
  }

  /** Whether the entity is shown to the peer now. */
  isVisible(id: EntityId): boolean {
    return this.#view.isShown(id);
  }

  /** Whether the peer has the newest value of a component of its own: acknowledged, written by itself, or never sent to it. */
  isAcked(id: EntityId, c: number): boolean {
    if (this.#view.isWithheld(c)) return true;
    const track = this.#view.find(id);
    const value = track?.find(c);
    if (track === undefined || value === undefined || this.#world.row(id, c) < 0) return false;
    this.#encoder.refresh(track, value);
    return value.isAcked && !value.needsVersion;
  }

  /**
   * Writes one section's body into `writer` and remembers it under the number of its datagram.
   *
   * @param maxBits Bits it may take; with fewer than about 8,000 large values wait for a roomier datagram.
   * @param tick The datagram's tick.
   * @param sequence The datagram's number; grows.
   * @returns False when there is nothing (more) to send in this tick; then nothing was written.
   */
  writeSection(writer: Writer, maxBits: number, tick: number, sequence: number): boolean {
    assert(tick >= this.#tick, "ticks do not go back");
    if (tick > this.#tick) this.#beginTick(tick);
    if (this.#line.length === 0) return false;
    const start = writer.bitLength;
    const builder = this.#builder;
    builder.begin(tick);
    this.#log.begin(sequence, tick);
    let used = builder.frameBits;
    for (let round = 0; round < MAX_SECTION_ROUNDS; round++) {
      const before = builder.entryCount;
      const isFull = this.#fill(maxBits - used, sequence);
      if (builder.entryCount === before) break;
      writer.truncate(start);
      builder.write(writer, this.grantEpoch);
      used = writer.bitLength - start;
      if (!isFull) break;
    }
    assert(used <= maxBits || builder.isEmpty, "a section keeps to its bits");
    return !builder.isEmpty;
  }

  /** The peer holds what datagram `sequence` carried. */
  handleAcked(sequence: number): void {
    this.#log.forEach(sequence, this.#onAcked);
  }

  /** Datagram `sequence` is given up as lost; it may still be acknowledged later. */
  handleLost(sequence: number): void {
    this.#log.forEach(sequence, this.#onLost);
  }

  /** Puts the entities with something to send in line. */
  #beginTick(tick: number): void {
    this.#tick = tick;
    if (this.#direction === "up") this.#view.updateUp(tick);
    const line = this.#line;
    line.length = 0;
    const { tracks } = this.#view;
    for (let i = 0; i < tracks.length; i++) {
      const track = tracks[i]!;
      const isHeaderDue = this.#isHeaderDue(track);
      if (!this.#refresh(track) && !isHeaderDue) continue;
      const waited = track.sentTick === NEVER ? HEADER_WEIGHT : tick - track.sentTick;
      track.priority = waited * nearness(track);
      if (isHeaderDue) track.priority += track.isOwn ? OWN_HEADER_WEIGHT : HEADER_WEIGHT;
      line.push(track);
    }
    line.sort(byPriority);
  }

  /** Looks at all values of an entity; returns whether one is due. */
  #refresh(track: EntityTrack): boolean {
    if (track.state !== ViewState.Alive) return false;
    let isDue = false;
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      if (!value.isVisible || this.#world.row(track.id, value.component) < 0) continue;
      this.#encoder.refresh(track, value);
      if (this.#isValueDue(value)) isDue = true;
    }
    return isDue;
  }

  #isHeaderDue(track: EntityTrack): boolean {
    return !track.isHeaderAcked &&
      (track.headerSentTick === NEVER || track.isHeaderLost ||
        this.#tick - track.headerSentTick >= this.#resendTicks);
  }

  /** Whether a new version may be made now: one a tick, and no more than the rate. */
  #mayMakeVersion(value: ValueTrack): boolean {
    return this.#tick > value.linkTick &&
      (value.linkTick === NEVER || value.isForced || this.#tick >= value.rateTick);
  }

  #isValueDue(value: ValueTrack): boolean {
    if (value.needsVersion && this.#mayMakeVersion(value)) return true;
    if (value.isAcked || value.linkTick === NEVER) return false;
    if (value.transfer !== undefined) {
      return value.transfer.due(this.#tick, this.#resendTicks) >= 0;
    }
    return value.isLost || this.#tick - value.sentTick >= this.#resendTicks;
  }

  /** Adds entities in line to the section until it is full (true) or the line is empty (false). */
  #fill(maxBits: number, sequence: number): boolean {
    const builder = this.#builder;
    const line = this.#line;
    let left = maxBits;
    let misses = 0;
    let kept = 0;
    let i = 0;
    for (; i < line.length && misses < MAX_SECTION_MISSES; i++) {
      const track = line[i]!;
      if (builder.entryCount + track.values.length + 1 > MAX_SNAPSHOT_ENTRIES) break;
      // An entity has one place in a section: what of it did not fit waits for the next.
      const isThere = track.sentSequence === sequence;
      const bits = isThere ? -1 : this.#tryEntity(track, left, sequence);
      if (bits > 0) left -= bits;
      else if (bits < 0) misses += 1;
      // What is still due (it did not fit, or more pieces follow) stays in line before those not yet reached.
      if (bits < 0 || (bits > 0 && this.#hasMore(track))) line[kept++] = track;
    }
    const isFull = i < line.length || misses > 0;
    if (kept < i) {
      const rest = line.length - i;
      for (let k = 0; k < rest; k++) line[kept + k] = line[i + k]!;
      line.length = kept + rest;
    }
    return isFull;
  }

  #hasMore(track: EntityTrack): boolean {
    if (track.state !== ViewState.Alive) return false;
    return track.values.some((value) => value.isVisible && this.#isValueDue(value));
  }

  /**
   * Adds what is due of one entity. Returns the bits it takes at most, 0 when nothing was due after all, -1 when it did not fit.
   *
   * A header takes along all values that are not acknowledged: an owner then meets a raised epoch together with the values that override
   * its own. Only where they do not fit an empty section do they go apart.
   */
  #tryEntity(track: EntityTrack, maxBits: number, sequence: number): number {
    const builder = this.#builder;
    const hasHeader = this.#isHeaderDue(track);
    builder.open(track, hasHeader);
    this.#planned.length = 0;
    let didMiss = false;
    this.#pendingPlaces = 0;
    if (builder.openBits > maxBits) {
      builder.drop();
      return -1;
    }
    for (let i = 0; track.state === ViewState.Alive && i < track.values.length; i++) {
      const value = track.values[i]!;
      if (!value.isVisible || this.#world.row(track.id, value.component) < 0) continue;
      const isTaken = this.#isValueDue(value) ||
        (hasHeader && !value.isAcked && value.linkTick !== NEVER &&
          value.transfer === undefined && value.sentTick !== this.#tick);
      if (!isTaken) continue;
      if (!this.#planValue(track, value, maxBits)) didMiss = true;
    }
    const isNothing = !hasHeader && this.#planned.length === 0;
    if (isNothing || (hasHeader && didMiss && !builder.isEmpty)) {
      builder.drop();
      return didMiss ? -1 : 0;
    }
    const bits = builder.openBits;
    builder.keep();
    this.#confirm(track, hasHeader, sequence);
    return bits;
  }

  /** Encodes a value into the open entity, or leaves it for later where it has to wait; false when it does not fit. */
  #planValue(track: EntityTrack, value: ValueTrack, maxBits: number): boolean {
    const isNew = value.needsVersion && this.#mayMakeVersion(value);
    if (!isNew && value.transfer !== undefined) {
      return this.#planPiece(track, value, value.transfer, false, maxBits);
    }
    const { scratch } = this.#builder;
    const start = scratch.bitLength;
    const mayDiffer = !(isNew && value.isForced) && value.hasBase(this.#tick, this.#historyTicks);
    if (!this.#encoder.encode(scratch, track, value, !isNew, mayDiffer)) {
      // The version sent last has left the world's history: the newest one takes its place.
      value.isForced = true;
      return true;
    }
    if (scratch.bitLength - start > WHOLE_BITS) {
      scratch.truncate(start);
      return this.#startTransfer(track, value, isNew, maxBits);
    }
    const tick = isNew ? this.#tick : value.linkTick;
    const time = this.#encoder.sampleTime(track, value);
    const bits = this.#builder.addValue(
      value.component,
      tick,
      time,
      this.#encoder.baseTick,
      start,
    );
    if (this.#builder.openBits > maxBits) {
      this.#builder.dropItem(bits);
      scratch.truncate(start);
      return false;
    }
    this.#plan(value, isNew ? 1 : 0, -1, undefined);
    return true;
  }

  #startTransfer(
    track: EntityTrack,
    value: ValueTrack,
    isNew: boolean,
    maxBits: number,
  ): boolean {
    if (!value.holdsPlace && this.#places + this.#pendingPlaces >= MAX_PIECE_TRANSFERS) {
      return true;
    }
    const bytes = this.#encoder.encodeBytes(track, value, !isNew);
    const time = this.#encoder.sampleTime(track, value);
    const transfer = new PieceTransfer(isNew ? this.#tick : value.linkTick, time, bytes);
    return this.#planPiece(track, value, transfer, isNew, maxBits);
  }

  #planPiece(
    track: EntityTrack,
    value: ValueTrack,
    transfer: PieceTransfer,
    isNew: boolean,
    maxBits: number,
  ): boolean {
    const piece = transfer.due(this.#tick, this.#resendTicks);
    if (piece < 0) return true;
    const bits = this.#builder.addPiece(
      value.component,
      transfer.linkTick,
      transfer.time,
      piece,
      bitsFor(transfer.count - 1),
      transfer.bytes.length,
      transfer.piece(piece),
    );
    if (this.#builder.openBits > maxBits) {
      this.#builder.dropItem(bits);
      return false;
    }
    if (!value.holdsPlace) this.#pendingPlaces += 1;
    this.#plan(value, isNew ? 1 : 0, piece, transfer);
    return true;
  }

  #plan(
    value: ValueTrack,
    kind: number,
    piece: number,
    transfer: PieceTransfer | undefined,
  ): void {
    const at = this.#planned.length;
    this.#planned.push(value);
    this.#plannedKind[at] = kind;
    this.#plannedPiece[at] = piece;
    this.#plannedWorld[at] = this.#encoder.worldTick;
    this.#plannedWrites[at] = this.#encoder.worldWrites;
    this.#plannedNulled[at] = this.#encoder.nulled;
    this.#plannedTransfer[at] = transfer;
  }

  /** The open entity goes out: notes it in its tracks and in the log. */
  #confirm(track: EntityTrack, hasHeader: boolean, sequence: number): void {
    const tick = this.#tick;
    track.sentTick = tick;
    track.sentSequence = sequence;
    track.wasSent = true;
    if (hasHeader) {
      track.headerSentTick = tick;
      track.headerSequence = sequence;
      track.isHeaderLost = false;
      this.#log.add(track, undefined, track.headerTick, -1);
    }
    for (let i = 0; i < this.#planned.length; i++) {
      const value = this.#planned[i]!;
      const piece = this.#plannedPiece[i]!;
      if (this.#plannedKind[i] === 1) {
        this.#makeVersion(value, this.#plannedWorld[i]!, this.#plannedNulled[i]!);
        value.knownWrites = this.#plannedWrites[i]!;
      }
      value.sentTick = tick;
      value.sentSequence = sequence;
      value.isLost = false;
      const transfer = this.#plannedTransfer[i];
      if (transfer !== undefined) {
        value.transfer = transfer;
        transfer.handleSent(piece, tick, sequence);
        if (!value.holdsPlace) {
          value.holdsPlace = true;
          this.#places += 1;
        }
      }
      this.#log.add(track, value, value.linkTick, piece);
    }
  }

  /** The world's newest value becomes the link's newest version. */
  #makeVersion(value: ValueTrack, worldTick: number, nulled: number): void {
    const tick = this.#tick;
    if (value.baseTick !== NEVER && value.afterBaseTick === NEVER) value.afterBaseTick = tick;
    value.linkTick = tick;
    value.linkWorldTick = worldTick;
    value.linkNulled = nulled;
    value.versionCount += 1;
    value.isAcked = false;
    value.isForced = false;
    value.isChanged = false;
    value.isSynced = false;
    value.knownTick = worldTick;
    value.knownNulled = nulled;
    value.transfer = undefined;
    const interval = this.#rateTicks[value.component]!;
    // Counting on from the last allowed tick, not from this one, keeps the rate where ticks do not divide it.
    value.rateTick = Math.max(value.rateTick, tick - interval) + interval;
  }

  #handleAckedEntry(entry: LoggedEntry): void {
    const { entity, value } = entry;
    if (value === undefined) {
      if (entry.tick === entity.headerTick) this.#handleHeaderAcked(entity, entry.sentTick);
      return;
    }
    if (entry.tick < value.validFrom) return;
    if (entry.piece >= 0) {
      const { transfer } = value;
      if (transfer === undefined || transfer.linkTick !== entry.tick) return;
      transfer.handleAcked(entry.piece);
      if (!transfer.isComplete) return;
    }
    const isNewest = entry.tick === value.linkTick;
    if (entry.tick > value.baseTick) {
      value.baseTick = entry.tick;
      // Since it was sent, the newest version's contents may have got a younger name in the world.
      value.baseWorldTick = isNewest ? value.linkWorldTick : entry.worldTick;
      value.baseNulled = entry.nulled;
      value.baseCount = entry.count;
      value.afterBaseTick = isNewest ? NEVER : entry.tick + 1;
    }
    if (!isNewest) return;
    value.isAcked = true;
    value.isLost = false;
    value.transfer = undefined;
    this.#release(value);
  }

  #handleHeaderAcked(track: EntityTrack, sentTick: number): void {
    track.isHeaderAcked = true;
    track.isHeaderLost = false;
    this.#places -= track.orphanPlaces;
    track.orphanPlaces = 0;
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      if (track.state !== ViewState.Alive || !value.isVisible) {
        this.#release(value);
      } else if (value.hiddenTick !== NEVER) {
        if (!value.surelyKept(sentTick, this.#historyTicks)) value.voidValue();
        value.hiddenTick = NEVER;
      }
    }
  }

  #handleLostEntry(entry: LoggedEntry, sequence: number): void {
    const { entity, value } = entry;
    if (value === undefined) {
      if (entry.tick === entity.headerTick && entity.headerSequence === sequence) {
        entity.isHeaderLost = !entity.isHeaderAcked;
      }
    } else if (entry.piece >= 0) {
      if (value.transfer?.linkTick === entry.tick) {
        value.transfer.handleLost(entry.piece, sequence);
      }
    } else if (entry.tick === value.linkTick && value.sentSequence === sequence) {
      value.isLost = !value.isAcked;
    }
  }

  #release(value: ValueTrack): void {
    if (!value.holdsPlace) return;
    value.holdsPlace = false;
    this.#places -= 1;
  }

  #releaseAll(track: EntityTrack): void {
    this.#places -= track.orphanPlaces;
    track.orphanPlaces = 0;
    for (const value of track.values) this.#release(value);
  }
}

function nearness(track: EntityTrack): number {
  if (track.isOwn || track.distanceSquared < NEAR_SQUARED) return 4;
  return track.distanceSquared < MIDDLE_SQUARED ? 2 : 1;
}

function byPriority(a: EntityTrack, b: EntityTrack): number {
  return b.priority - a.priority;
}
