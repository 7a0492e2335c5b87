// What a sender knows of one peer: a track for each entity it has told of, and in it one for each component it has shown. Names for the
// words of `track_pool.ts`, and the rules of which version may serve as a reference; what is visible is decided in `peer_view.ts`, what is
// sent in the sender.

import { MAX_VERSIONS } from "../protocol/limits.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import type { PieceTransfer } from "./piece_transfer.ts";
import {
  ACKED,
  ACKED_BEFORE,
  AFTER_BASE_TICK,
  BASE_COUNT,
  BASE_TICK,
  CHANGED,
  ENTITY_FIRST,
  ENTITY_ID,
  ENTITY_MARKS,
  ENTITY_OUT,
  ENTITY_OWNER,
  ENTITY_SEEN,
  ENTITY_STAMP,
  FORCED,
  HEADER_ACKED,
  HEADER_LOST,
  HEADER_SENT,
  HEADER_TICK,
  HIDDEN_TICK,
  HOLDS_PLACE,
  IN_PIECES,
  KNOWN_TICK,
  KNOWN_WORLD_TICK,
  KNOWN_WRITES,
  LINK_TICK,
  LOST,
  NEVER,
  OWN,
  RELEASED,
  STATE_MARKS,
  STEP_VALUE,
  SYNCED,
  type TrackPool,
  VALID_FROM,
  VALUE_MARKS,
  VALUE_MASK,
  VALUE_NEXT,
  VALUE_ROW,
  VALUE_SEEN,
  VALUE_WORDS,
  VERSION_COUNT,
  VISIBLE,
  WAS_ACKED,
  WAS_SENT,
} from "./track_pool.ts";

export { NEVER } from "./track_pool.ts";

/** State of an entity in a peer's view; the numbers are those on the wire. */
export const ViewState = { Alive: 0, OutOfView: 1, Gone: 2 } as const;

/** One of the values of {@linkcode ViewState}. */
export type ViewState = typeof ViewState[keyof typeof ViewState];

/** Script memory of one entity's track beside its record, with its places in lists and tables; measured, rounded up. */
export const ENTITY_TRACK_BYTES = 320;
/** Script memory of one component's track. */
export const VALUE_TRACK_BYTES = 128;

/** Whether the peer of a component's record surely holds the reference at `tick`. */
export function hasBase(
  values: Float64Array,
  at: number,
  tick: number,
  historyTicks: number,
): boolean {
  if (values[at + BASE_TICK] === NEVER) return false;
  if (values[at + HIDDEN_TICK] !== NEVER && !surelyKept(values, at, tick, historyTicks)) {
    return false;
  }
  const after = values[at + AFTER_BASE_TICK]!;
  return after === NEVER ||
    (tick < after + historyTicks &&
      values[at + VERSION_COUNT]! - values[at + BASE_COUNT]! < MAX_VERSIONS / 2);
}

function surelyKept(values: Float64Array, at: number, tick: number, historyTicks: number): boolean {
  const hidden = values[at + HIDDEN_TICK]!;
  return hidden === NEVER || tick < Math.max(hidden, values[at + BASE_TICK]!) + historyTicks;
}

/**
 * One component of one entity on its way to one peer.
 *
 * A version on a link is named by the tick of its first sending to this peer (`linkTick`): one name never has two contents, whatever
 * rights, references or repairs change beside the world's own versions, and no version is older than what was sent before it.
 */
export class ValueTrack {
  /** Place of its record. */
  readonly at: number;
  /** Component index. */
  readonly component: number;
  /** Up: epoch under which a value was on its way in pieces when authority's took its place; the header of another tells the receiver. */
  yieldedEpoch = NEVER;
  readonly #pool: TrackPool;

  /** A track that has sent nothing. */
  constructor(pool: TrackPool, component: number) {
    this.#pool = pool;
    this.component = component;
    this.at = pool.allocateValue(component);
  }

  #get(word: number): number {
    return this.#pool.values[this.at + word]!;
  }

  #set(word: number, value: number): void {
    this.#pool.values[this.at + word] = value;
  }

  #is(mark: number): boolean {
    return (this.#pool.values[this.at + VALUE_MARKS]! & mark) !== 0;
  }

  #mark(mark: number, isSet: boolean): void {
    const at = this.at + VALUE_MARKS;
    const words = this.#pool.values;
    words[at] = isSet ? words[at]! | mark : words[at]! & ~mark;
  }

  /** First tick at which the rate allows another version. */
  get rateTick(): number {
    return this.#pool.rateTicks[this.at / VALUE_WORDS]!;
  }
  set rateTick(tick: number) {
    this.#pool.rateTicks[this.at / VALUE_WORDS] = tick;
  }

  /** Fields this peer is sent. */
  get mask(): number {
    return this.#get(VALUE_MASK);
  }
  set mask(mask: number) {
    this.#set(VALUE_MASK, mask);
  }

  /** Whether the peer is shown it. */
  get isVisible(): boolean {
    return this.#is(VISIBLE);
  }
  set isVisible(isVisible: boolean) {
    this.#mark(VISIBLE, isVisible);
  }

  /** Row in the component's store. */
  set row(row: number) {
    this.#set(VALUE_ROW, row);
  }

  /** Tick of the last whole look that found the component. */
  get seenTick(): number {
    return this.#get(VALUE_SEEN);
  }
  set seenTick(tick: number) {
    this.#set(VALUE_SEEN, tick);
  }

  /** Name of the newest version sent. */
  get linkTick(): number {
    return this.#get(LINK_TICK);
  }

  /** Whether the peer has the newest version sent, or wrote the newest value itself. */
  get isAcked(): boolean {
    return this.#is(ACKED);
  }

  /** Whether the peer has acknowledged any version, whatever became of it. */
  get wasAcked(): boolean {
    return this.#is(WAS_ACKED);
  }

  /** Whether what the peer has is what it wrote itself. */
  get isSynced(): boolean {
    return this.#is(SYNCED);
  }

  /** Since when it is out of view, until the header that shows it again was acknowledged. */
  get hiddenTick(): number {
    return this.#get(HIDDEN_TICK);
  }
  set hiddenTick(tick: number) {
    this.#set(HIDDEN_TICK, tick);
  }

  /** A large value on its way. */
  get transfer(): PieceTransfer | undefined {
    return this.#is(IN_PIECES) ? this.#pool.transfers.get(this.at) : undefined;
  }
  set transfer(transfer: PieceTransfer | undefined) {
    if (transfer !== undefined) this.#pool.transfers.set(this.at, transfer);
    else if (this.#is(IN_PIECES)) this.#pool.transfers.delete(this.at);
    this.#mark(IN_PIECES, transfer !== undefined);
  }

  /** Whether it takes one of the link's places for large values. */
  get holdsPlace(): boolean {
    return this.#is(HOLDS_PLACE);
  }
  set holdsPlace(holdsPlace: boolean) {
    this.#mark(HOLDS_PLACE, holdsPlace);
  }

  /** Whether the newest value has to go out whether it changed or not. */
  get isForced(): boolean {
    return this.#is(FORCED);
  }

  /** Latest tick at which the world's newest version is known to have had the contents that the peer has or is about to have. */
  get knownTick(): number {
    return this.#get(KNOWN_WORLD_TICK);
  }

  /** Whether a peer that was told to hide the value still keeps what it held. */
  surelyKept(tick: number, historyTicks: number): boolean {
    return surelyKept(this.#pool.values, this.at, tick, historyTicks);
  }

  /** No version sent so far is a reference any more. */
  voidBase(): void {
    this.#set(BASE_TICK, NEVER);
    this.#set(ACKED_BEFORE, 0);
    this.#set(VALID_FROM, this.linkTick + 1);
  }

  /** The newest value must go out as a whole, whatever the peer is believed to have. */
  force(): void {
    // A resent difference would not tell the fields in which the peer's engine errs.
    this.voidBase();
    this.#mark(FORCED, true);
  }

  /** The peer has erased what it held: it needs the value anew. */
  voidValue(): void {
    this.force();
    this.#mark(ACKED, false);
    this.transfer = undefined;
  }

  /** The peer is sent other fields from now on, and has erased what it held. */
  remask(mask: number): void {
    const isLess = (mask & ~this.mask) === 0;
    this.mask = mask;
    // It keeps what it wrote itself, and nothing was added to that. No version sent before is a reference already.
    if (this.isSynced && isLess) return;
    this.voidValue();
  }

  /** The world's newest version, of tick `worldTick` and so many writes, is what the peer wrote itself; at `tick` it was the newest one. */
  sync(worldTick: number, writes: number, tick: number): void {
    this.#set(KNOWN_TICK, worldTick);
    this.#set(KNOWN_WORLD_TICK, tick);
    this.#set(KNOWN_WRITES, writes);
    this.#mark(FORCED | CHANGED | LOST, false);
    this.#mark(SYNCED | ACKED, true);
    this.transfer = undefined;
    // The peer's newest value is not one of this link: only an absolute value can override all of it.
    this.voidBase();
  }
}

/** One entity in one peer's view. */
export class EntityTrack {
  readonly id: EntityId;
  /** Place of its record. */
  readonly at: number;
  /** Components shown so far, ascending. */
  readonly values: ValueTrack[] = [];
  /** Places for large values that components no longer listed have not given back. */
  orphanPlaces = 0;
  readonly #pool: TrackPool;
  #rateTicks: Map<number, number> | undefined;

  /** A track of which nothing was sent. */
  constructor(pool: TrackPool, id: EntityId) {
    this.#pool = pool;
    this.id = id;
    this.at = pool.allocateEntity();
    this.#set(ENTITY_ID, id);
  }

  #get(word: number): number {
    return this.#pool.entities[this.at + word]!;
  }

  #set(word: number, value: number): void {
    this.#pool.entities[this.at + word] = value;
  }

  #is(mark: number): boolean {
    return (this.#pool.entities[this.at + ENTITY_MARKS]! & mark) !== 0;
  }

  #mark(mark: number, isSet: boolean): void {
    const at = this.at + ENTITY_MARKS;
    const words = this.#pool.entities;
    words[at] = isSet ? words[at]! | mark : words[at]! & ~mark;
  }

  /** Its state in the peer's view. */
  get state(): ViewState {
    return (this.#get(ENTITY_MARKS) & STATE_MARKS) as ViewState;
  }
  set state(state: ViewState) {
    this.#set(ENTITY_MARKS, (this.#get(ENTITY_MARKS) & ~STATE_MARKS) | state);
  }

  /** Peer id of its owner, as the header says. */
  get owner(): number {
    return this.#get(ENTITY_OWNER) & 0xffff;
  }

  /** Epoch, as the header says. */
  get epoch(): number {
    return (this.#get(ENTITY_OWNER) >>> 16) & 0xff;
  }

  /** Sets owner and epoch. */
  setOwner(owner: number, epoch: number): void {
    this.#set(ENTITY_OWNER, owner | (epoch << 16));
  }

  /** Whether the peer owns it. */
  get isOwn(): boolean {
    return this.#is(OWN);
  }
  set isOwn(isOwn: boolean) {
    this.#mark(OWN, isOwn);
  }

  /** `up`: the client lost it to another owner or to the server, and has no say over its end. */
  get isReleased(): boolean {
    return this.#is(RELEASED);
  }
  set isReleased(isReleased: boolean) {
    this.#mark(RELEASED, isReleased);
  }

  /** The peer has been sent something. */
  get wasSent(): boolean {
    return this.#is(WAS_SENT);
  }
  set wasSent(wasSent: boolean) {
    this.#mark(WAS_SENT, wasSent);
  }

  /** Whether the peer has its header as it is now. */
  get isHeaderAcked(): boolean {
    return this.#is(HEADER_ACKED);
  }

  /** Tick of the last look that found it. */
  get seenTick(): number {
    return this.#get(ENTITY_SEEN);
  }
  set seenTick(tick: number) {
    this.#set(ENTITY_SEEN, tick);
  }

  /** Since when it is out of view. */
  get outTick(): number {
    return this.#get(ENTITY_OUT);
  }
  set outTick(tick: number) {
    this.#set(ENTITY_OUT, tick);
  }

  /** Tick at which its header last changed; the header's version. */
  get headerTick(): number {
    return this.#get(HEADER_TICK);
  }

  /** The next look must be a whole one. */
  lookAnew(): void {
    this.#set(ENTITY_STAMP, NEVER);
  }

  /** The next look makes a new header. */
  voidHeader(): void {
    this.#set(HEADER_TICK, NEVER);
    this.lookAnew();
  }

  /** The track of a component, if it was ever shown. */
  find(component: number): ValueTrack | undefined {
    for (let i = 0; i < this.values.length; i++) {
      const value = this.values[i]!;
      if (value.component === component) return value;
    }
    return undefined;
  }

  /** The track whose record is at `at`, if it is one of this entity. */
  valueAt(at: number): ValueTrack | undefined {
    for (let i = 0; i < this.values.length; i++) {
      if (this.values[i]!.at === at) return this.values[i];
    }
    return undefined;
  }

  /** Adds a track, keeping the order. One that takes the place of a removed one keeps to its rate. */
  insert(value: ValueTrack): void {
    value.rateTick = this.#rateTicks?.get(value.component) ?? value.rateTick;
    let at = this.values.length;
    while (at > 0 && this.values[at - 1]!.component > value.component) at -= 1;
    this.values.splice(at, 0, value);
    this.#link();
  }

  /** Takes out the components that the whole look of `tick` did not find; whether there were any. */
  removeUnseen(tick: number): boolean {
    const { values } = this;
    let kept = 0;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (value.seenTick === tick) {
        values[kept] = value;
        kept += 1;
        continue;
      }
      (this.#rateTicks ??= new Map()).set(value.component, value.rateTick);
      if (value.holdsPlace) {
        value.holdsPlace = false;
        this.orphanPlaces += 1;
      }
      this.#pool.freeValue(value.at);
    }
    if (kept === values.length) return false;
    values.length = kept;
    this.#link();
    return true;
  }

  /** Gives all its records back. */
  free(): void {
    for (const value of this.values) this.#pool.freeValue(value.at);
    this.#pool.freeEntity(this.at);
  }

  /** The header has new contents. */
  touchHeader(tick: number): void {
    this.#set(HEADER_TICK, tick);
    this.#set(HEADER_SENT, NEVER);
    this.#mark(HEADER_ACKED | HEADER_LOST, false);
  }

  /** Links the records of its components. */
  #link(): void {
    const words = this.#pool.values;
    let next = -1;
    for (let i = this.values.length - 1; i >= 0; i--) {
      const { at } = this.values[i]!;
      words[at + VALUE_NEXT] = next;
      next = at;
    }
    this.#set(ENTITY_FIRST, next);
    // What was counted of a record that may be another's now counts no more.
    this.#set(STEP_VALUE, NEVER);
  }
}
