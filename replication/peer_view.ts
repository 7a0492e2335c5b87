// What one peer sees of a world: which entities, and of each which components, with owner and epoch. It turns positions, rights and ends
// of entities into header changes of tracks; nothing here is encoded or sent.

import { assert } from "../protocol/assert.ts";
import { DORMANT_CHECKS_PER_TICK } from "../protocol/limits.ts";
import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import type { Grants } from "../permissions/grants.ts";
import { type ChangedSlots, INTEREST_HYSTERESIS, type InterestResult } from "./interest.ts";
import { type LinkDirection, type LinkPeer, LinkRights } from "./link_rights.ts";
import { grown } from "./grow.ts";
import { SlotIndex } from "./slot_index.ts";
import {
  AT_REST,
  ENTITY_ABOVE,
  ENTITY_BELOW,
  ENTITY_ID,
  ENTITY_MARKS,
  ENTITY_PLACE,
  ENTITY_SEEN,
  ENTITY_STAMP,
  ENTITY_WORDS,
  IN_STEP,
  NEARNESS_MARKS,
  NEARNESS_SHIFT,
  OWN,
  RELEASED,
  STATE_MARKS,
  type TrackPool,
} from "./track_pool.ts";
import { EntityTrack, NEVER, ValueTrack, ViewState } from "./tracks.ts";
import { historyTicksOf, type World } from "./world.ts";

const NEAR_SQUARED = 5 ** 2;
const MIDDLE_SQUARED = 20 ** 2;

/** More tracks than this that are new at once are sorted, not put at their places one by one. */
const MAX_INSERTED = 16;

const FIRST_CHANGED = 16;

/** The tracks of one peer. */
export class PeerView {
  /** Records of all tracks, `count` of them, in the order of their ids after `order`. */
  records: Int32Array = new Int32Array(16);
  count = 0;
  readonly #pool: TrackPool;
  /** By record. */
  readonly #tracks: (EntityTrack | undefined)[] = [];
  readonly #bySlot = new SlotIndex();
  readonly #world: World;
  readonly #grants: Grants;
  readonly #peer: number;
  readonly #direction: LinkDirection;
  readonly #historyTicks: number;
  readonly #onDrop: (track: EntityTrack) => void;
  readonly #onRecall: (at: number) => void;
  readonly #byId = new Map<EntityId, EntityTrack>();
  // Entities that the peer last heard of as out of view and whose track is gone: their end must still be told.
  readonly #dormant: EntityId[] = [];
  readonly #dormantAt = new Map<EntityId, number>();
  #dormantSweep = 0;
  #dead = 0;
  // By component index.
  readonly #ownMask: Int32Array;
  readonly #otherMask: Int32Array;
  readonly #enterSquared: Float64Array;
  readonly #leaveSquared: Float64Array;
  readonly #rights: LinkRights;
  #tick = NEVER;
  /** Tracks at which a look of this tick found all as before. */
  #asBefore = 0;
  /** Something else than the world's changes asks for a look at all. */
  #mustLookAtAll = true;
  /** Tracks that may not be alive: they are looked after in each tick. */
  #away = 0;
  /** Records of slots that changed, of which the looks of this tick have to find those that are still there. */
  #changed = new Int32Array(FIRST_CHANGED);
  /** So many tracks from the first on are in order. */
  #ordered = 0;
  /** Distance of the entity looked at, squared; handed over here, as a call would put each on the heap. */
  readonly #distanceSquared = new Float64Array(1);
  readonly #seeOwned = (id: EntityId): void => {
    const slot = entitySlot(id);
    if (this.#isAsBefore(slot, 0)) return;
    if (this.#byId.get(id)?.seenTick === this.#tick) return;
    this.#distanceSquared[0] = 0;
    this.#see(id);
  };

  /**
   * A view of nothing yet. `peer` is the client's peer id, in both directions; `onDrop` is called with each track that is dropped, so that
   * the sender takes back what it holds, `onRecall` with the record of an entity that has to go out of step, or to end its rest.
   */
  constructor(
    pool: TrackPool,
    options: {
      readonly grants: Grants;
      readonly world: World;
      readonly peer: number;
      readonly direction: LinkDirection;
    } & LinkPeer,
    onDrop: (track: EntityTrack) => void,
    onRecall: (at: number) => void,
  ) {
    this.#pool = pool;
    this.#onDrop = onDrop;
    this.#onRecall = onRecall;
    this.#world = options.world;
    this.#grants = options.grants;
    this.#peer = options.peer;
    this.#direction = options.direction;
    this.#historyTicks = historyTicksOf(options.grants);
    this.#rights = new LinkRights(options.grants, options.direction, options);
    const count = options.grants.components.length;
    this.#ownMask = new Int32Array(count);
    this.#otherMask = new Int32Array(count);
    this.#enterSquared = new Float64Array(count);
    this.#leaveSquared = new Float64Array(count);
    for (const { index, interestRadius } of options.grants.components) {
      const isEverywhere = interestRadius === 0 || options.direction === "up";
      this.#enterSquared[index] = isEverywhere ? Infinity : interestRadius ** 2;
      this.#leaveSquared[index] = isEverywhere
        ? Infinity
        : (interestRadius * INTEREST_HYSTERESIS) ** 2;
    }
    this.#compileMasks();
  }

  /** Entities whose end this peer has not acknowledged yet. */
  get deadCount(): number {
    return this.#dead;
  }

  /** The track of an entity, if there is one. */
  find(id: EntityId): EntityTrack | undefined {
    return this.#byId.get(id);
  }

  /** The track whose record is at `at`. */
  trackAt(at: number): EntityTrack {
    return this.#tracks[at / ENTITY_WORDS]!;
  }

  /** Bytes of its tables of whole numbers. */
  get heldBytes(): number {
    return this.records.byteLength + this.#changed.byteLength + this.#bySlot.heldBytes;
  }

  /** Puts `records` in order and gives each its place; what was in order already costs nothing. */
  order(): void {
    const { records, count } = this;
    const added = count - this.#ordered;
    if (added === 0) return;
    const words = this.#pool.entities;
    if (added > MAX_INSERTED) {
      records.subarray(0, count).sort((a, b) =>
        (words[a + ENTITY_ID]! >>> 0) - (words[b + ENTITY_ID]! >>> 0)
      );
      for (let i = 0; i < count; i++) words[records[i]! + ENTITY_PLACE] = i;
    } else {
      for (let i = this.#ordered; i < count; i++) this.#insert(i);
    }
    this.#ordered = count;
  }

  /** Whether the peer knows nothing of the entity: its slot is free as far as this peer is concerned. */
  knowsNothingOf(id: EntityId): boolean {
    return !this.#byId.has(id) && !this.#dormantAt.has(id);
  }

  /** Whether the peer was sent anything of the entity. */
  wasTold(id: EntityId): boolean {
    return this.#byId.get(id)?.wasSent === true || this.#dormantAt.has(id);
  }

  /** The peer knows this entity from an earlier link: should it end before anything is sent of it, that is told. */
  assume(id: EntityId): void {
    this.#mustLookAtAll = true;
    (this.#byId.get(id) ?? this.#add(id)).wasSent = true;
  }

  /** Whether the entity is shown to the peer now. */
  isShown(id: EntityId): boolean {
    return this.#byId.get(id)?.state === ViewState.Alive;
  }

  /** Takes over another role and the adjustments as they are now: components whose masks differ are erased on both ends and begin anew. */
  setRole(roleIndex: number): void {
    this.#mustLookAtAll = true;
    const changed = this.#rights.update(roleIndex);
    this.#compileMasks();
    for (let i = 0; i < this.count; i++) {
      const track = this.trackAt(this.records[i]!);
      this.recall(track.at);
      track.lookAnew();
      const masks = track.isOwn ? this.#ownMask : this.#otherMask;
      for (const value of track.values) {
        if (changed.has(value.component)) value.remask(masks[value.component]!);
      }
    }
  }

  /**
   * The track of a component of one of the peer's own entities, made where there is none yet: for values that the peer wrote before the
   * first look at them. Undefined where the peer is not sent the component.
   */
  adopt(id: EntityId, component: number): ValueTrack | undefined {
    if (this.#ownMask[component] === 0) return undefined;
    let track = this.#byId.get(id);
    if (track === undefined) track = this.#add(id);
    this.recall(track.at);
    if (track.state === ViewState.Gone) return undefined;
    track.isOwn = true;
    track.lookAnew();
    let value = track.find(component);
    if (value === undefined) {
      value = new ValueTrack(this.#pool, component);
      value.mask = this.#ownMask[component]!;
      value.isVisible = true;
      track.insert(value);
      // The next look finds it unlisted in any header, and makes a new one.
      track.voidHeader();
    }
    return value;
  }

  /** `up`: stops telling of an entity that the client has lost; that it is not in its world any more is not its end. */
  release(id: EntityId): void {
    const track = this.#byId.get(id);
    if (track === undefined) return;
    this.recall(track.at);
    track.isReleased = true;
    track.lookAnew();
  }

  /** What follows reads or changes the entity's record, which has to say how things stand: it is neither in step nor at rest any more. */
  recall(at: number): void {
    if ((this.#pool.entities[at + ENTITY_MARKS]! & (IN_STEP | AT_REST)) !== 0) this.#onRecall(at);
  }

  /** Whether the peer is sent nothing of this component, even of its own entities. */
  isWithheld(component: number): boolean {
    return this.#ownMask[component] === 0;
  }

  /**
   * Looks at the candidates of this tick and at the peer's own entities; whatever else is tracked leaves the view. Where these are the candidates
   * of changed slots alone (only if `mayLookAtChanges`), so does what of these slots is tracked.
   */
  updateDown(tick: number, candidates: InterestResult): void {
    this.#tick = tick;
    this.#asBefore = 0;
    const { count, slots, distanceSquared, changed } = candidates;
    assert(changed === undefined || this.mayLookAtChanges, "a first look is one at all");
    this.#mustLookAtAll = false;
    const expected = changed === undefined ? 0 : this.#expect(changed);
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!;
      const distance = distanceSquared[i]!;
      if (this.#isAsBefore(slot, distance)) continue;
      const id = this.#world.idAt(slot);
      if (id === 0) continue;
      this.#distanceSquared[0] = distance;
      this.#see(id);
    }
    this.#world.forEachOwned(this.#peer, this.#seeOwned);
    if (changed === undefined) this.#sweepTracks();
    else if (this.#away > 0 || this.#isMissing(expected)) this.#sweepChanged();
    this.#sweepDormant();
  }

  /** Whether the next look may be one at the world's changes since the last alone, for a viewer that is where it was. */
  get mayLookAtChanges(): boolean {
    return !this.#mustLookAtAll;
  }

  /** The looks of this tick have to find those of these slots that are still to be seen; returns how many records these are. */
  #expect({ slots, count }: ChangedSlots): number {
    const words = this.#pool.entities;
    let expected = 0;
    if (count > this.#changed.length) this.#changed = new Int32Array(2 * count);
    for (let i = 0; i < count; i++) {
      const at = this.#bySlot.get(slots[i]!);
      if (at < 0) continue;
      words[at + ENTITY_SEEN] = NEVER;
      this.#changed[expected] = at;
      expected += 1;
    }
    return expected;
  }

  /** Whether some of so many expected records was not found. */
  #isMissing(expected: number): boolean {
    const words = this.#pool.entities;
    for (let i = 0; i < expected; i++) {
      if (words[this.#changed[i]! + ENTITY_SEEN] === NEVER) return true;
    }
    return false;
  }

  /** As `#sweepTracks` where what did not change was not looked at. */
  #sweepChanged(): void {
    const tick = this.#tick;
    const words = this.#pool.entities;
    for (let i = 0; i < this.count; i++) {
      const at = this.records[i]! + ENTITY_SEEN;
      if (words[at] !== NEVER) words[at] = tick;
    }
    this.#sweepTracks();
  }

  /** Looks at the entities the client owns; those it lost leave the view. */
  updateUp(tick: number): void {
    this.#tick = tick;
    this.#asBefore = 0;
    this.#world.forEachOwned(this.#peer, this.#seeOwned);
    this.#sweepTracks();
  }

  #compileMasks(): void {
    for (const component of this.#grants.components) {
      const { index, hostSendMask } = component;
      this.#ownMask[index] = this.#rights.own[index]! & hostSendMask;
      this.#otherMask[index] = this.#rights.other[index]! & hostSendMask;
    }
  }

  #add(id: EntityId): EntityTrack {
    const track = new EntityTrack(this.#pool, id);
    const { at } = track;
    this.#tracks[at / ENTITY_WORDS] = track;
    if (this.count === this.records.length) this.records = grown(this.records, 2 * this.count);
    this.records[this.count] = at;
    this.#pool.entities[at + ENTITY_PLACE] = this.count;
    this.count += 1;
    this.#byId.set(id, track);
    this.#bySlot.set(entitySlot(id), at);
    this.#forgetDormant(id);
    return track;
  }

  /** Moves the record at `from` to its place among those before it, which are in order. */
  #insert(from: number): void {
    const { records } = this;
    const words = this.#pool.entities;
    const record = records[from]!;
    const id = words[record + ENTITY_ID]! >>> 0;
    let place = from;
    for (; place > 0; place--) {
      const other = records[place - 1]!;
      if (words[other + ENTITY_ID]! >>> 0 < id) break;
      records[place] = other;
      words[other + ENTITY_PLACE] = place;
    }
    records[place] = record;
    words[record + ENTITY_PLACE] = place;
  }

  /** Forgets a track; the caller takes it out of the list. */
  #drop(track: EntityTrack): void {
    this.#byId.delete(track.id);
    this.#bySlot.delete(entitySlot(track.id), track.at);
    this.#tracks[track.at / ENTITY_WORDS] = undefined;
    if (track.state === ViewState.Gone) this.#dead -= 1;
    this.#onDrop(track);
    track.free();
  }

  /**
   * A look at an entity of which nothing changed since the last whole look but its values, and its distance only so far that the same
   * components are visible: most looks of most ticks. False, with nothing done, when it is another one.
   */
  #isAsBefore(slot: number, distanceSquared: number): boolean {
    const at = this.#bySlot.get(slot);
    if (at < 0) return false;
    const words = this.#pool.entities;
    if (words[at + ENTITY_STAMP] !== this.#world.headerStamp(slot)) return false;
    const marks = words[at + ENTITY_MARKS]!;
    if ((marks & (STATE_MARKS | RELEASED)) !== ViewState.Alive) return false;
    if (words[at + ENTITY_SEEN] === this.#tick) return true;
    if (
      !(distanceSquared > words[at + ENTITY_ABOVE]! &&
        distanceSquared < words[at + ENTITY_BELOW]!)
    ) return false;
    words[at + ENTITY_SEEN] = this.#tick;
    this.#asBefore += 1;
    // What is in step stands in no line, but may be there again when no look finds it any more, as it does not change.
    const present = (marks & ~NEARNESS_MARKS) | nearness(marks, distanceSquared);
    if (present !== marks) words[at + ENTITY_MARKS] = present;
    return true;
  }

  /** A whole look at one entity. */
  #see(id: EntityId): void {
    const world = this.#world;
    const distanceSquared = this.#distanceSquared[0]!;
    const tick = this.#tick;
    const slot = entitySlot(id);
    const owner = world.owner(id);
    const epoch = world.epoch(id);
    const isOwn = owner === this.#peer;
    const masks = isOwn ? this.#ownMask : this.#otherMask;
    let track = this.#byId.get(id);
    if (track?.seenTick === tick) return;
    if (track !== undefined) this.recall(track.at);
    if (track === undefined && isOwn) track = this.#add(id);
    let visibleCount = 0;
    let isTouched = false;
    let above = -1;
    let below = Infinity;
    for (let w = 0; w < world.wordCount; w++) {
      for (let word = world.componentWord(slot, w); word !== 0; word &= word - 1) {
        const c = w * 32 + 31 - Math.clz32(word & -word);
        const mask = masks[c]!;
        if (mask === 0 && !this.#isKeptBack(c)) continue;
        let value = track?.find(c);
        const limit = value?.isVisible === true ? this.#leaveSquared[c]! : this.#enterSquared[c]!;
        const isVisible = mask !== 0 &&
          (isOwn || distanceSquared <= limit || limit === Infinity);
        if (isVisible) {
          visibleCount += 1;
          if (!isOwn) below = Math.min(below, this.#leaveSquared[c]!);
        } else if (mask !== 0) {
          above = Math.max(above, this.#enterSquared[c]!);
        }
        if (value === undefined) {
          if (!isVisible && mask !== 0) continue;
          track ??= this.#add(id);
          value = new ValueTrack(this.#pool, c);
          value.mask = mask;
          value.isVisible = isVisible;
          track.insert(value);
          isTouched = true;
        } else {
          if (value.mask !== mask) value.remask(mask);
          if (value.isVisible !== isVisible) {
            if (isVisible) this.#show(value);
            else this.#hide(value);
            isTouched = true;
          }
        }
        value.seenTick = tick;
        value.row = world.row(id, c);
      }
    }
    if (track === undefined) return;
    track.seenTick = tick;
    track.isReleased = false;
    track.isOwn = isOwn;
    if (track.removeUnseen(tick)) isTouched = true;
    const state = visibleCount > 0 || isOwn ? ViewState.Alive : ViewState.OutOfView;
    if (state !== ViewState.Alive) this.#away += 1;
    if (state !== track.state) {
      track.state = state;
      track.outTick = tick;
      isTouched = true;
    }
    if (owner !== track.owner || epoch !== track.epoch) {
      track.setOwner(owner, epoch);
      // Out of view the header says neither.
      if (state === ViewState.Alive) isTouched = true;
    }
    if (isTouched || track.headerTick === NEVER) track.touchHeader(tick);
    const { at } = track;
    const words = this.#pool.entities;
    words[at + ENTITY_STAMP] = world.headerStamp(slot);
    const marks = words[at + ENTITY_MARKS]!;
    words[at + ENTITY_MARKS] = (marks & ~NEARNESS_MARKS) | nearness(marks, distanceSquared);
    words[at + ENTITY_ABOVE] = above;
    words[at + ENTITY_BELOW] = below;
  }

  /** `up`: the client's own host alone keeps its values back. The header says that it is there: what is not listed was taken away. */
  #isKeptBack(component: number): boolean {
    return this.#direction === "up" && this.#rights.own[component] !== 0;
  }

  #show(value: ValueTrack): void {
    value.isVisible = true;
    if (!value.surelyKept(this.#tick, this.#historyTicks)) value.voidValue();
    // What it wrote itself is not among the values the peer could show again. And what was not looked at for so long may have changed or not:
    // whether the world can still tell depends on how often any field of it changed.
    else if (value.isSynced || this.#tick - value.knownTick > this.#sureTicks(value)) value.force();
  }

  #sureTicks({ component }: ValueTrack): number {
    return this.#world.store(component).sureTicks;
  }

  #hide(value: ValueTrack): void {
    value.isVisible = false;
    // While no header that showed it again is acknowledged, the peer may count from the first time it was hidden.
    if (value.hiddenTick === NEVER) value.hiddenTick = this.#tick;
    value.transfer = undefined;
  }

  /** Tracks that no look found: their entities ended or left the view. */
  #sweepTracks(): void {
    if (this.#asBefore === this.count) return;
    this.order();
    const { records, count } = this;
    let kept = 0;
    this.#away = 0;
    for (let i = 0; i < count; i++) {
      const at = records[i]!;
      const words = this.#pool.entities;
      const isSeen = words[at + ENTITY_SEEN] === this.#tick &&
        (words[at + ENTITY_MARKS]! & STATE_MARKS) === ViewState.Alive;
      if (!isSeen) {
        if (this.#sweep(this.trackAt(at))) continue;
        this.#away += 1;
      }
      records[kept] = at;
      words[at + ENTITY_PLACE] = kept;
      kept += 1;
    }
    this.count = kept;
    this.#ordered = kept;
  }

  /** Looks after one track; true when it was dropped. */
  #sweep(track: EntityTrack): boolean {
    this.recall(track.at);
    if (track.state !== ViewState.Gone) {
      if (!this.#world.isAlive(track.id) && !track.isReleased) {
        track.state = ViewState.Gone;
        this.#dead += 1;
        track.touchHeader(this.#tick);
      } else if (track.seenTick !== this.#tick && track.state === ViewState.Alive) {
        this.#leave(track);
      }
    }
    if (track.state === ViewState.Alive) return false;
    if (track.wasSent) {
      if (!track.isHeaderAcked) return false;
      if (track.state !== ViewState.Gone) {
        if (this.#tick < track.outTick + this.#historyTicks) return false;
        this.#drop(track);
        if (this.#direction === "down") this.#addDormant(track.id);
        return true;
      }
    }
    this.#drop(track);
    return true;
  }

  #leave(track: EntityTrack): void {
    const wasOwn = track.isOwn && this.#direction === "down";
    for (const value of track.values) {
      if (value.isVisible) this.#hide(value);
      // With a header that takes an own entity away the peer erases what it may not read of others' entities, in or out of view.
      const others = this.#otherMask[value.component]!;
      if (wasOwn && (value.mask & ~others) !== 0) value.remask(others);
    }
    track.isOwn = false;
    track.state = ViewState.OutOfView;
    track.outTick = this.#tick;
    track.touchHeader(this.#tick);
  }

  #addDormant(id: EntityId): void {
    this.#dormantAt.set(id, this.#dormant.length);
    this.#dormant.push(id);
  }

  #forgetDormant(id: EntityId): void {
    const at = this.#dormantAt.get(id);
    if (at === undefined) return;
    this.#dormantAt.delete(id);
    const last = this.#dormant.pop()!;
    if (last === id) return;
    this.#dormant[at] = last;
    this.#dormantAt.set(last, at);
  }

  #sweepDormant(): void {
    const checks = Math.min(this.#dormant.length, DORMANT_CHECKS_PER_TICK);
    for (let i = 0; i < checks; i++) {
      if (this.#dormantSweep >= this.#dormant.length) this.#dormantSweep = 0;
      const id = this.#dormant[this.#dormantSweep]!;
      if (this.#world.isAlive(id)) {
        this.#dormantSweep += 1;
        continue;
      }
      const track = this.#add(id);
      track.state = ViewState.Gone;
      track.wasSent = true;
      this.#dead += 1;
      this.#away += 1;
      track.touchHeader(this.#tick);
    }
  }
}

/** The marks of how much a tick of waiting counts. */
function nearness(marks: number, distanceSquared: number): number {
  if ((marks & OWN) !== 0 || distanceSquared < NEAR_SQUARED) return 2 << NEARNESS_SHIFT;
  return distanceSquared < MIDDLE_SQUARED ? 1 << NEARNESS_SHIFT : 0;
}
