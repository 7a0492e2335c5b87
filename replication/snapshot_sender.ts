// The sending half of replication for one link: which entity goes into which datagram. It joins view (what is seen), planner (what is due),
// builder (layout) and acknowledgements; it knows no socket, no clock and no other peer.

import { assert } from "../protocol/assert.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { MAX_SECTION_MISSES, MAX_SECTION_ROUNDS } from "../protocol/limits.ts";
import type { Writer } from "../protocol/writer.ts";
import type { Grants } from "../permissions/grants.ts";
import type { MotionTables } from "./coding/motion_model.ts";
import { EntityPlanner, Planned, rateTicksOf } from "./entity_planner.ts";
import type { InterestResult } from "./interest.ts";
import type { LinkDirection, LinkPeer } from "./link_rights.ts";
import { PeerView } from "./peer_view.ts";
import { PiecePlaces } from "./piece_places.ts";
import { SectionBuilder } from "./section_builder.ts";
import { sectionWidths } from "./section_layout.ts";
import { SectionLog } from "./section_log.ts";
import { COHORTS, STEP_TICKS } from "./cohorts.ts";
import { RestTracks } from "./rest_tracks.ts";
import { StepTracks } from "./step_tracks.ts";
import { TrackAcks } from "./track_acks.ts";
import {
  AT_REST,
  ENTITY_MARKS,
  ENTITY_SENT,
  ENTITY_SEQUENCE,
  HAS_OTHERS,
  IN_STEP,
  NEARNESS_MARKS,
  NEARNESS_SHIFT,
  OWN,
  STEP_SINCE,
  STEP_VALUE,
  TrackPool,
} from "./track_pool.ts";
import { ENTITY_TRACK_BYTES, NEVER, VALUE_TRACK_BYTES } from "./tracks.ts";
import { UrgencyLine } from "./urgency_line.ts";
import { ValueEncoder } from "./value_encoder.ts";
import { historyTicksOf, type World } from "./world.ts";

/** Ticks of waiting that a header is worth: it goes before values that wait less. */
const HEADER_WEIGHT = 64;
/** Own entities' headers go before everything else: their owner writes with the epoch it knows. */
const OWN_HEADER_WEIGHT = 8_000_000;

/** Ticks of waiting that count: urgencies stay whole numbers of 32 bits. */
const MAX_WAITED = 1 << 20;

/** What one peer is told of the world. */
export interface SnapshotSenderOptions extends LinkPeer {
  /** The compiled grants. */
  readonly grants: Grants;
  /** The world whose newest state is sent. */
  readonly world: World;
  /** The client's peer id, in both directions. */
  readonly peer: number;
  /** `down`: from the server to the client what it may see; `up`: from the client what it owns and may write. */
  readonly direction: LinkDirection;
  /** What motion is foretold from; both ends have the same. Left out: what the driver ships. */
  readonly tables?: MotionTables;
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
  readonly #pool = new TrackPool();
  readonly #world: World;
  readonly #direction: LinkDirection;
  readonly #view: PeerView;
  readonly #encoder: ValueEncoder;
  readonly #builder: SectionBuilder;
  readonly #log: SectionLog;
  readonly #planner: EntityPlanner;
  readonly #acks: TrackAcks;
  readonly #steps: StepTracks;
  readonly #rest: RestTracks;
  #tick = NEVER;
  /** Tick of the last look at what the peer sees. */
  #viewTick = NEVER;
  /** Last tick in which something due was not sent. */
  #crowdedTick = -STEP_TICKS;
  /** Sections written in this tick. */
  #sections = 0;
  #isCramped = false;
  /** Entities with something to send in this tick, most urgent first. */
  readonly #line = new UrgencyLine();
  /** Entities with nothing to send in this tick, but with something that is not acknowledged. */
  readonly #unsure = new UrgencyLine();
  /**
   * The path loses datagrams: what is not acknowledged goes again before a round trip has shown it to be lost, where the last section has room
   * for it. What changes all the time has a newer version by then, and costs nothing more.
   */
  isLossy = false;

  /** A sender that has sent nothing. */
  constructor(options: SnapshotSenderOptions) {
    const { grants, world, direction } = options;
    const places = new PiecePlaces();
    this.#world = world;
    this.#direction = direction;
    const pool = this.#pool;
    this.#log = new SectionLog(pool);
    this.#view = new PeerView(
      pool,
      options,
      (track) => places.releaseAll(track),
      (at) => this.#recall(at),
    );
    const mayName = direction === "down" ? (id: EntityId) => this.#view.isShown(id) : undefined;
    this.#encoder = new ValueEncoder(pool, grants, world, mayName, options.tables);
    this.#builder = new SectionBuilder(pool, sectionWidths(grants), direction);
    const rateTicks = rateTicksOf(grants, direction);
    const isFree = Array.from(rateTicks, (ticks) => direction === "down" && ticks <= 1);
    this.#steps = new StepTracks(pool, grants, world, this.#encoder, this.#builder, isFree);
    const steps = this.#steps;
    this.#rest = new RestTracks(
      pool,
      grants,
      world,
      direction === "down" && this.#encoder.isShared,
    );
    this.#acks = new TrackAcks(
      pool,
      this.#view,
      this.#log,
      places,
      steps,
      historyTicksOf(grants),
    );
    this.#planner = new EntityPlanner(
      pool,
      this.#view,
      grants,
      direction,
      world,
      this.#encoder,
      this.#builder,
      this.#log,
      places,
      steps,
      rateTicks,
    );
  }

  /** Entities the peer has been told of, or is about to be. */
  get trackedCount(): number {
    return this.#view.count;
  }

  /** Ended entities whose end the peer has not acknowledged. */
  get pendingDespawns(): number {
    return this.#view.deadCount;
  }

  /** Whether the entity is dead and the peer knows nothing of it any more: its slot is free as far as this peer is concerned. */
  hasAckedDespawn(id: EntityId): boolean {
    return !this.#world.isAlive(id) && this.#view.knowsNothingOf(id);
  }

  /** Bytes held for the peer. */
  get heldBytes(): number {
    let bytes = this.#log.heldBytes + this.#pool.heldBytes + this.#view.heldBytes +
      this.#steps.heldBytes;
    for (let i = 0; i < this.#view.count; i++) {
      const { values } = this.#view.trackAt(this.#view.records[i]!);
      bytes += ENTITY_TRACK_BYTES + values.length * VALUE_TRACK_BYTES;
    }
    for (const transfer of this.#pool.transfers.values()) bytes += transfer.bytes.length;
    return bytes;
  }

  /** Whether the peer was sent anything of the entity over this link. */
  wasTold(id: EntityId): boolean {
    return this.#view.wasTold(id);
  }

  /** The peer knows this entity from an earlier link: should it end before anything is sent of it, that is told. */
  assume(id: EntityId): void {
    this.#view.assume(id);
  }

  /**
   * Gives the peer another role, or makes what was granted to it and revoked from it count, under a new number. Components whose masks are
   * others than before begin anew, with an absolute value.
   */
  setRole(roleIndex: number, grantEpoch: number): void {
    this.grantEpoch = grantEpoch;
    this.#view.setRole(roleIndex);
    // Sections of this tick that are still to come would carry the old masks under the new epoch.
    this.#line.clear();
    this.#unsure.clear();
    this.#steps.clearDue();
  }

  /** Number of the last datagram that carried anything of an entity, -1 where none did. */
  lastSequence(id: EntityId): number {
    const at = this.#view.find(id)?.at;
    if (at === undefined) return -1;
    const words = this.#pool.entities;
    if ((words[at + ENTITY_MARKS]! & IN_STEP) !== 0) return this.#steps.lastSequence(at);
    return words[at + ENTITY_SENT] === NEVER ? -1 : words[at + ENTITY_SEQUENCE]!;
  }

  /** Entities of which a value goes in step: what it is acknowledged by is noted once for all of them. */
  get inStepCount(): number {
    return this.#steps.count;
  }

  /** Round-trip time in ticks: what is unacknowledged for 1.25 times that and a tick goes out again. */
  setRttTicks(ticks: number): void {
    this.#planner.rttTicks = ticks;
    this.#planner.resendTicks = Math.ceil(1.25 * ticks) + 1;
  }

  /**
   * Whether the next `updateView` may be given the candidates of changed slots alone: if the peer's eye is where it was, and it has been given
   * all changes since it was given everything.
   */
  get mayLookAtChanges(): boolean {
    return this.#view.mayLookAtChanges;
  }

  /** `down` only: decides what the peer sees at this tick, from the candidates that interest proposed for it. */
  updateView(tick: number, candidates: InterestResult): void {
    assert(this.#direction === "down", "a client sends what it owns, whatever the distance");
    this.#world.seal(tick);
    this.#view.updateDown(tick, candidates);
    // In a tick without a section nothing else looks whether what was sent still holds.
    if (this.#viewTick > this.#tick) this.#refresh(tick);
    this.#viewTick = tick;
  }

  /** The peer wrote the newest value of this component itself: there is nothing to send, but no reference either. */
  markSynced(id: EntityId, c: number): void {
    const row = this.#world.row(id, c);
    assert(row >= 0, "only a value that exists is known to its writer");
    const store = this.#world.store(c);
    const newest = store.newest(row);
    const value = this.#view.adopt(id, c);
    if (value === undefined) return;
    const worldTick = store.tick(newest);
    value.sync(worldTick, store.writes(newest), Math.max(worldTick, this.#world.sealedTick));
    if (value.holdsPlace && this.#direction === "up") {
      value.yieldedEpoch = this.#view.find(id)!.epoch;
    }
  }

  /** `up` only: the client lost the entity, to another owner or because the server ended it. It is told as out of view, not as ended. */
  release(id: EntityId): void {
    assert(this.#direction === "up", "only a client loses what it sends");
    this.#view.release(id);
  }

  /** Sends the newest value again, absolute, though it did not change: the peer's engine believes another one. */
  putRight(id: EntityId, c: number): void {
    const track = this.#view.find(id);
    if (track === undefined) return;
    this.#view.recall(track.at);
    track.find(c)?.force();
  }

  /** Whether the peer has not acknowledged what its header of the entity says now. */
  isHeaderPending(id: EntityId): boolean {
    return this.#view.find(id)?.isHeaderAcked === false;
  }

  /** Whether the entity is shown to the peer now. */
  isVisible(id: EntityId): boolean {
    return this.#view.isShown(id);
  }

  /** Whether the peer is sent nothing of this component, even of its own entities. */
  isWithheld(c: number): boolean {
    return this.#view.isWithheld(c);
  }

  /** Whether the peer has acknowledged any value of a component, of now or before. */
  wasHeard(id: EntityId, c: number): boolean {
    return this.#view.find(id)?.find(c)?.wasAcked === true;
  }

  /** Whether the peer has the newest value of a component of its own: acknowledged, written by itself, or never sent to it. */
  isAcked(id: EntityId, c: number): boolean {
    if (this.#view.isWithheld(c)) return true;
    const track = this.#view.find(id);
    const value = track?.find(c);
    const row = this.#world.row(id, c);
    if (track === undefined || value === undefined || row < 0) return false;
    this.#view.recall(track.at);
    return value.isAcked && !value.isForced && !this.#encoder.isChanged(id, value.at, row);
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
    const section = this.#sections;
    const steps = this.#steps;
    if (this.#isDone && !steps.hasDue(section)) return false;
    this.#sections += 1;
    const start = writer.bitLength;
    const builder = this.#builder;
    builder.begin(tick);
    this.#log.begin(sequence, tick);
    this.#planner.cohort = section;
    let used = builder.frameBits;
    this.#isCramped = false;
    if (steps.hasDue(section)) used = this.#writeInStep(writer, maxBits, section);
    for (let round = 0; round < MAX_SECTION_ROUNDS && !this.#isDone; round++) {
      const before = builder.entryCount;
      const isFull = this.#fill(maxBits - used, sequence);
      if (builder.entryCount === before) break;
      writer.truncate(start);
      builder.write(writer, this.grantEpoch);
      used = writer.bitLength - start;
      // Filling counts upper bounds; what they were too high by is room for more.
      if (!isFull) break;
    }
    assert(used <= maxBits || builder.isEmpty, "a section keeps to its bits");
    if (builder.isEmpty) return false;
    if (section < COHORTS) steps.cohorts.noteSent(section, sequence);
    return true;
  }

  /** Whether the most urgent found no room in the section written last: the next should be as large as can be. */
  get isCramped(): boolean {
    return this.#isCramped;
  }

  get #isDone(): boolean {
    return this.#line.count === 0 && this.#unsure.count === 0;
  }

  /** Writes what is due in step of the cohort of a section, as far as it fits, and returns the bits; the rest gets into line. */
  #writeInStep(writer: Writer, maxBits: number, section: number): number {
    const steps = this.#steps;
    const builder = this.#builder;
    const start = writer.bitLength;
    // Without anything in this section there would be none after it.
    const isEmpty = !steps.hasDueIn(section) && this.#line.count === 0;
    if (isEmpty) {
      for (let k = section + 1; k < COHORTS; k++) steps.settle(k, this.#lineUp);
    }
    let used = builder.frameBits;
    let added = steps.add(section);
    while (added > 0) {
      builder.write(writer, this.grantEpoch);
      used = writer.bitLength - start;
      if (used <= maxBits) break;
      writer.truncate(start);
      const excess = Math.min(added, Math.ceil(added * (used - maxBits) / used) + 1);
      steps.takeBack(excess);
      added -= excess;
      used = builder.frameBits;
    }
    steps.settle(section, this.#lineUp);
    return used;
  }

  /** Puts an entity in line that found no room in step. */
  readonly #lineUp = (at: number): void => {
    if (this.#planner.refresh(at)) this.#line.append(at);
  };

  #addToLine(at: number, isHeaderDue: boolean): void {
    const words = this.#pool.entities;
    const marks = words[at + ENTITY_MARKS]!;
    const sent = words[at + ENTITY_SENT]!;
    const waited = sent === NEVER ? HEADER_WEIGHT : Math.min(this.#tick - sent, MAX_WAITED);
    let urgency = this.#planner.dueWeight *
      (waited << ((marks & NEARNESS_MARKS) >>> NEARNESS_SHIFT));
    if (isHeaderDue) urgency += (marks & OWN) !== 0 ? OWN_HEADER_WEIGHT : HEADER_WEIGHT;
    this.#line.add(at, urgency);
  }

  /** The peer holds what datagram `sequence` carried. */
  handleAcked(sequence: number): void {
    this.#acks.handleAcked(sequence);
  }

  /** Datagram `sequence` is given up as lost; it may still be acknowledged later. */
  handleLost(sequence: number): void {
    this.#acks.handleLost(sequence);
  }

  /**
   * Compares all that is shown with what the peer has, and notes what has changed. What misses ticks is out of step: its records remember
   * for longer than its cohort.
   */
  #refresh(tick: number): void {
    this.#planner.tick = tick;
    const { records, count } = this.#view;
    for (let i = 0; i < count; i++) {
      const at = records[i]!;
      if (this.#isAtRest(at)) continue;
      this.#view.recall(at);
      this.#planner.refresh(at);
    }
    this.#rest.handleLooked(tick);
  }

  /** Whether an entity rests, and goes on doing so. */
  #isAtRest(at: number): boolean {
    return (this.#pool.entities[at + ENTITY_MARKS]! & AT_REST) !== 0 && this.#rest.isStill(at);
  }

  #recall(at: number): void {
    if ((this.#pool.entities[at + ENTITY_MARKS]! & AT_REST) !== 0) this.#rest.wake(at);
    else this.#steps.leave(at);
  }

  /** Puts the entities with something to send in line. */
  #beginTick(tick: number): void {
    this.#world.seal(tick);
    const steps = this.#steps;
    const rest = this.#rest;
    const line = this.#line;
    if (line.count > 0 || steps.hasDue(0)) this.#crowdedTick = this.#tick;
    this.#tick = tick;
    this.#sections = 0;
    const planner = this.#planner;
    planner.tick = tick;
    steps.begin(tick);
    // While something waits, each goes by its urgency; and what nobody looked at may have left the view.
    const mayStep = this.#viewTick === tick && tick - this.#crowdedTick >= STEP_TICKS;
    if (this.#direction === "up") this.#view.updateUp(tick);
    line.clear();
    this.#unsure.clear();
    this.#view.order();
    const { records, count } = this.#view;
    const words = this.#pool.entities;
    for (let i = 0; i < count; i++) {
      const at = records[i]!;
      const marks = words[at + ENTITY_MARKS]!;
      if ((marks & AT_REST) !== 0) {
        if (rest.isStill(at)) continue;
        rest.wake(at);
      } else if ((marks & IN_STEP) !== 0) {
        const isOtherDue = (marks & HAS_OTHERS) !== 0 && planner.refreshOthers(at);
        if (!mayStep || isOtherDue) steps.leave(at);
        else if (steps.look(at, planner.resendTicks, this.isLossy)) continue;
      }
      const isHeaderDue = planner.isHeaderDue(at);
      const isDue = planner.refresh(at);
      if (
        mayStep && words[at + STEP_VALUE] !== NEVER &&
        tick - words[at + STEP_SINCE]! >= STEP_TICKS &&
        steps.look(at, planner.resendTicks, this.isLossy)
      ) continue;
      if (isDue || isHeaderDue) this.#addToLine(at, isHeaderDue);
      else if (this.isLossy && this.#isUnsure(at)) this.#unsure.add(at, 0);
      else rest.tryRest(at);
    }
    rest.handleLooked(tick);
    line.sort();
  }

  /** Whether something of an entity, of which nothing is due, would go again now if that were left to haste. */
  #isUnsure(at: number): boolean {
    const planner = this.#planner;
    planner.isHasty = true;
    const isUnsure = planner.isHeaderDue(at) || planner.hasMore(at);
    planner.isHasty = false;
    return isUnsure;
  }

  /** Adds entities in line to the section until it is full (true) or the line is empty (false). */
  #fill(maxBits: number, sequence: number): boolean {
    const line = this.#line;
    const left = this.#fillFrom(line, maxBits, sequence);
    if (line.count > 0) return true;
    if (this.#unsure.count > 0) {
      this.#planner.isHasty = true;
      this.#fillFrom(this.#unsure, left, sequence);
      this.#planner.isHasty = false;
      // One section a tick has them, and what of them finds no room is left to its time.
      this.#unsure.clear();
    }
    return false;
  }

  /** Adds entities of a line in their order; those that are still due stay in it. Returns the bits left. */
  #fillFrom(line: UrgencyLine, maxBits: number, sequence: number): number {
    const builder = this.#builder;
    let left = maxBits;
    let misses = 0;
    let kept = 0;
    let i = 0;
    for (; i < line.count && misses < MAX_SECTION_MISSES; i++) {
      const at = line.at(i);
      const planned = this.#planner.add(at, left, sequence);
      if (planned === Planned.Nothing) continue;
      if (planned === Planned.AllAdded || planned === Planned.Added) {
        left -= builder.openBits;
        if (planned === Planned.AllAdded || !this.#planner.hasMore(at)) continue;
      } else {
        misses += 1;
        if (i === 0) this.#isCramped = true;
      }
      // What is still due (it did not fit, or more pieces follow) stays in line before those not yet reached.
      line.keep(i, kept);
      kept += 1;
    }
    line.closeGap(kept, i);
    return left;
  }
}
