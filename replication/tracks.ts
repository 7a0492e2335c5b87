// What a sender knows of one peer: a track for each entity it has told of, and in it one for each component it has shown. Plain records
// and the rules of which version may serve as a reference; what is visible is decided in `peer_view.ts`, what is sent in the sender.

import { MAX_VERSIONS } from "../protocol/limits.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { AckedVersions } from "./acked_versions.ts";
import type { PieceTransfer } from "./piece_transfer.ts";

/** State of an entity in a peer's view; the numbers are those on the wire. */
export const ViewState = { Alive: 0, OutOfView: 1, Gone: 2 } as const;

/** One of the values of {@linkcode ViewState}. */
export type ViewState = typeof ViewState[keyof typeof ViewState];

/** Script memory of one entity's track, with its places in lists and tables; measured, rounded up. */
export const ENTITY_TRACK_BYTES = 512;
/** Script memory of one component's track. */
export const VALUE_TRACK_BYTES = 768;

/** No tick. */
export const NEVER = -1;

/**
 * One component of one entity on its way to one peer.
 *
 * A version on a link is named by the tick of its first sending to this peer (`linkTick`): one name never has two contents, whatever
 * rights, references or repairs change beside the world's own versions, and no version is older than what was sent before it.
 */
export class ValueTrack {
  /** Component index. */
  readonly component: number;
  /** Fields this peer is sent. */
  mask = 0;
  isVisible = false;
  /** Tick of the last look at the entity's components that found this one. */
  seenTick = NEVER;

  // The newest version sent.
  linkTick = NEVER;
  /** World version with its contents. */
  linkWorldTick = NEVER;
  /** Entity fields (mask) that were sent as null in it. */
  linkNulled = 0;
  /** Sub-ticks from its sample time to the start of its tick. The world's version may change its name, and with it its time: this stays. */
  linkOffset = 0;
  /** Versions sent so far. */
  versionCount = 0;
  isAcked = false;
  /** Some version was acknowledged, whatever became of it. */
  wasAcked = false;
  sentTick = NEVER;
  sentSequence = NEVER;
  isLost = false;

  // What the peer has or is about to have: the newest version sent, or what it wrote itself.
  knownTick = NEVER;
  /** Writes that had made that world version by then: another one in the same tick makes it another value. */
  knownWrites = 0;
  knownNulled = 0;
  isSynced = false;
  /** The newest value must go out as a new, absolute version, whether it changed or not. */
  isForced = false;
  /** The world has another value than the known one. */
  isChanged = false;
  /** First tick at which the rate allows another version. */
  rateTick = 0;

  // The newest acknowledged version: the reference.
  baseTick = NEVER;
  baseWorldTick = NEVER;
  baseNulled = 0;
  baseOffset = 0;
  baseCount = 0;
  /** Acknowledged versions, the reference among them. */
  readonly acked: AckedVersions = new AckedVersions();
  /** Tick of the first version sent after the reference. */
  afterBaseTick = NEVER;
  /** Acknowledgements of older versions say nothing any more. */
  validFrom = 0;
  /** When it left the view, until the header that shows it again was acknowledged. */
  hiddenTick = NEVER;

  /** A large value on its way. */
  transfer: PieceTransfer | undefined;
  /** Whether it takes one of the link's places for large values. */
  holdsPlace = false;
  /** Up: epoch under which a value was on its way in pieces when authority's took its place; the header of another tells the receiver. */
  yieldedEpoch = NEVER;

  /** A track that has sent nothing. */
  constructor(component: number) {
    this.component = component;
  }

  /** Whether the world's newest value has to go out as a new version. */
  get needsVersion(): boolean {
    return this.isForced || this.isChanged;
  }

  /** Whether the peer surely holds the reference at `tick`. */
  hasBase(tick: number, historyTicks: number): boolean {
    if (this.baseTick === NEVER || !this.surelyKept(tick, historyTicks)) return false;
    if (this.afterBaseTick === NEVER) return true;
    return tick < this.afterBaseTick + historyTicks &&
      this.versionCount - this.baseCount < MAX_VERSIONS / 2;
  }

  /** Whether a peer that was told to hide the value still keeps what it held. */
  surelyKept(tick: number, historyTicks: number): boolean {
    return this.hiddenTick === NEVER ||
      tick < Math.max(this.hiddenTick, this.baseTick) + historyTicks;
  }

  /** No version sent so far is a reference any more. */
  voidBase(): void {
    this.baseTick = NEVER;
    this.acked.clear();
    this.validFrom = this.linkTick + 1;
  }

  /** The newest value must go out as a whole, whatever the peer is believed to have. */
  force(): void {
    // A resent difference would not tell the fields in which the peer's engine errs.
    this.voidBase();
    this.isForced = true;
  }

  /** The peer has erased what it held: it needs the value anew. */
  voidValue(): void {
    this.force();
    this.isAcked = false;
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

  /** The world's newest version, of tick `worldTick` and so many writes, is what the peer wrote itself. */
  sync(worldTick: number, writes: number): void {
    this.knownTick = worldTick;
    this.knownWrites = writes;
    this.isSynced = true;
    this.isForced = false;
    this.isChanged = false;
    this.isAcked = true;
    this.isLost = false;
    this.transfer = undefined;
    // The peer's newest value is not one of this link: only an absolute value can override all of it.
    this.voidBase();
  }
}

/** One entity in one peer's view. */
export class EntityTrack {
  readonly id: EntityId;
  /** Place in the view's list. */
  at = 0;
  state: ViewState = ViewState.Alive;
  owner = 0;
  epoch = 0;
  isOwn = false;
  /** `up`: the client lost it to another owner or to the server, and has no say over its end. */
  isReleased = false;
  distanceSquared = 0;
  /** Tick of the last look that found it. */
  seenTick = NEVER;
  /** Since when it is out of view. */
  outTick = NEVER;
  /** Components shown so far, ascending. */
  readonly values: ValueTrack[] = [];
  /** Places for large values that components no longer listed have not given back. */
  orphanPlaces = 0;

  // The header.
  /** Tick at which its contents last changed; its version. */
  headerTick = NEVER;
  isHeaderAcked = false;
  headerSentTick = NEVER;
  headerSequence = NEVER;
  isHeaderLost = false;

  /** Tick of the last sending of anything. */
  sentTick = NEVER;
  /** Number of the last datagram with anything of it. */
  sentSequence = NEVER;
  /** The peer has been sent something. */
  wasSent = false;

  #rateTicks: Map<number, number> | undefined;

  /** A track of which nothing was sent. */
  constructor(id: EntityId) {
    this.id = id;
  }

  /** The track of a component, if it was ever shown. */
  find(component: number): ValueTrack | undefined {
    for (let i = 0; i < this.values.length; i++) {
      const value = this.values[i]!;
      if (value.component === component) return value;
    }
    return undefined;
  }

  /** Notes when the rate of a component that is taken away allows another version. */
  keepRate(value: ValueTrack): void {
    (this.#rateTicks ??= new Map()).set(value.component, value.rateTick);
  }

  /** Adds a track, keeping the order. One that takes the place of a removed one keeps to its rate. */
  insert(value: ValueTrack): void {
    value.rateTick = this.#rateTicks?.get(value.component) ?? value.rateTick;
    let at = this.values.length;
    while (at > 0 && this.values[at - 1]!.component > value.component) at -= 1;
    this.values.splice(at, 0, value);
  }

  /** The header has new contents. */
  touchHeader(tick: number): void {
    this.headerTick = tick;
    this.isHeaderAcked = false;
    this.isHeaderLost = false;
    this.headerSentTick = NEVER;
  }
}
