// What a client is shown of the world: committed snapshots become changes for the engine, and what they say of entities that this client
// owns goes to the core. It keeps the slot table that voice needs; values stay in the link's receiver.

import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import { Announcer } from "../replication/announcer.ts";
import type { DecodedSnapshot, SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import type { EngineOutbox } from "./engine_outbox.ts";

/** What concerns the client's own entities. */
export interface ViewEvents {
  /** Does this client own the entity, as far as it knows? */
  isOwn(id: EntityId): boolean;
  /** The server says who owns the entity, under which epoch. */
  adopt(id: EntityId, owner: number, epoch: number): void;
  /** The server's value for a component of an own entity. */
  overridden(
    id: EntityId,
    component: number,
    mask: number,
    value: ComponentValue,
    time: TimelineTime,
  ): void;
  /** The server names a component of an own entity no more; whether that means that its engine took it away. */
  dropped(id: EntityId, component: number): boolean;
  /** An entity ended. */
  gone(id: EntityId): void;
  /** Whether this client ended an entity that it owns, and the server has yet to hear. */
  isEnded(id: EntityId, owner: number): boolean;
  /** Epoch of an own entity as it was known so far. */
  epochOfOwn(id: EntityId): number;
  /**
   * Calls `fn` with each component that this client has of an entity and the next header has a say in, though the server may never have named
   * it: what the server has heard of, and what this client may not write any more.
   */
  forEachUnsaid(id: EntityId, fn: (component: number) => void): void;
  /** Whether this client may write anything of a component of its own entities now. */
  mayWrite(component: number): boolean;
}

/** The remote side of a client's world. */
export class ClientView {
  readonly #grants: Grants;
  readonly #outbox: EngineOutbox;
  readonly #events: ViewEvents;
  /** Announced entities by slot. */
  readonly #bySlot = new Map<number, EntityId>();
  readonly #scratch: ComponentValue[];
  #receiver: SnapshotReceiver | undefined;
  #announcer: Announcer | undefined;
  #newestTick = 0;

  constructor(grants: Grants, outbox: EngineOutbox, events: ViewEvents) {
    this.#grants = grants;
    this.#outbox = outbox;
    this.#events = events;
    this.#scratch = grants.components.map((component) => createValue(component));
  }

  /** Entities announced to the engine. */
  get size(): number {
    return this.#bySlot.size;
  }

  /** Tick of the newest state received. */
  get newestTick(): number {
    return this.#newestTick;
  }

  /** Starts over with a new link; what the engine knows already is told again under the same ids. */
  begin(receiver: SnapshotReceiver): void {
    this.#receiver = receiver;
    this.#announcer = new Announcer({ grants: this.#grants, receiver });
    this.#bySlot.clear();
    this.#newestTick = 0;
  }

  /** An entity that the engine made itself: the server's word about it is a change, not news. */
  adopt(id: EntityId): void {
    this.#announcer?.adopt(id);
    this.#bySlot.set(entitySlot(id), id);
  }

  /** An entity that the engine despawned itself. */
  forget(id: EntityId): void {
    this.#announcer?.forget(id);
    if (this.#bySlot.get(entitySlot(id)) === id) this.#bySlot.delete(entitySlot(id));
  }

  /** Time has come as far as this tick on the server, whether or not anything changed. */
  noteTick(tick: number): void {
    if (tick > this.#newestTick) this.#newestTick = tick;
  }

  /** Passes a committed snapshot on to the engine. */
  apply(snapshot: DecodedSnapshot): void {
    for (let i = 0; i < snapshot.count; i++) {
      const { fresh, kind, state, id } = snapshot.entries[i]!;
      if (!fresh || kind !== "header" || state !== "outOfView" || !this.#events.isOwn(id)) continue;
      // What one owns is always in view: it went to somebody else, and away from here.
      this.#events.adopt(id, SERVER_PEER, this.epochOf(id));
      this.#noteUnsaid(id);
      this.#outbox.markOwner(id);
    }
    /** The entity whose owner or epoch the present header changes. */
    let raised = NO_ENTITY;
    this.#announcer?.handle(snapshot, {
      isEnded: (id, owner) => this.#events.isEnded(id, owner),
      spawn: (id, owner, epoch) => {
        this.#bySlot.set(entitySlot(id), id);
        this.#adoptOwner(id, owner, epoch);
        this.#outbox.markSpawn(id);
      },
      value: (id, component, mask, value, time) => {
        if (this.#events.isOwn(id)) this.#events.overridden(id, component, mask, value, time);
        this.#outbox.markValue(id, component);
      },
      hide: (id, component) => {
        if (!this.#events.isOwn(id)) this.#outbox.markHide(id, component);
      },
      remove: (id, component) => {
        if (this.#events.isOwn(id)) {
          // Under the epoch we know, it is our own removal that comes back; what is not ours to write the server takes away under any.
          if (id !== raised && this.#events.mayWrite(component)) return;
          if (!this.#events.dropped(id, component)) return;
        }
        this.#outbox.markRemove(id, component);
      },
      despawn: (id) => {
        if (this.#bySlot.get(entitySlot(id)) === id) this.#bySlot.delete(entitySlot(id));
        this.#events.gone(id);
        this.#outbox.markDespawn(id);
      },
      owner: (id, owner, epoch) => {
        raised = id;
        const wasOwn = this.#events.isOwn(id);
        const isRaised = !wasOwn || this.#events.epochOfOwn(id) !== epoch;
        if (isRaised && wasOwn) this.#noteUnsaid(id);
        this.#adoptOwner(id, owner, epoch);
        const isOwn = this.#events.isOwn(id);
        if (wasOwn && !isOwn) this.#noteUnsaid(id);
        if (wasOwn !== isOwn) this.#markAgain(id);
        // The first header of an entity of one's own confirms what the engine knows.
        if (isRaised || !isOwn) this.#outbox.markOwner(id);
      },
    });
  }

  #adoptOwner(id: EntityId, owner: number, epoch: number): void {
    this.#events.adopt(id, owner, epoch);
    // From now on the engine has values of it that the server never sends.
    if (this.#events.isOwn(id)) this.#announcer!.adopt(id);
  }

  /**
   * The entity came to this client or left it: a value that came before this header was told under the other rights, and the engine may have
   * written to it since.
   */
  #markAgain(id: EntityId): void {
    for (const { index } of this.#grants.components) {
      if (this.heldMask(id, index) !== 0) this.#outbox.markValue(id, index);
    }
  }

  /** Headers speak for these components, too: the engine keeps none that the server did not take in time. */
  #noteUnsaid(id: EntityId): void {
    this.#events.forEachUnsaid(id, (component) => this.#announcer!.noteShown(id, component));
  }

  /** The engine has this component of an own entity: a header that does not list it takes it away. */
  noteShown(id: EntityId, component: number): void {
    this.#announcer?.noteShown(id, component);
  }

  /** The entity announced in a slot, or 0. */
  idAt(slot: number): EntityId {
    return this.#bySlot.get(slot) ?? NO_ENTITY;
  }

  /** Whether the engine knows the entity. */
  isAnnounced(id: EntityId): boolean {
    return this.#announcer?.isAnnounced(id) ?? false;
  }

  /** Whether the server has spoken of the entity over this link, and not of its end. */
  isKnown(id: EntityId): boolean {
    return this.#receiver?.headerOf(id) !== undefined;
  }

  /** Owner by the newest header, 0 where none is known. */
  ownerOf(id: EntityId): number {
    return this.#receiver?.headerOf(id)?.owner ?? 0;
  }

  /** Epoch by the newest header. */
  epochOf(id: EntityId): number {
    return this.#receiver?.headerOf(id)?.epoch ?? 0;
  }

  /** Newest value received; returns the fields present. */
  read(id: EntityId, component: number, out: ComponentValue): number {
    return this.#receiver?.read(id, component, out) ?? 0;
  }

  /** Fields of the newest value received, 0 where there is none. */
  heldMask(id: EntityId, component: number): number {
    return this.#receiver?.heldMask(id, component) ?? 0;
  }

  /** Sample time of the newest value received. */
  timeOf(id: EntityId, component: number): TimelineTime {
    return this.#receiver?.timeOf(id, component) ?? 0;
  }

  /** Position at a time; false when it is not known. */
  positionAt(id: EntityId, time: TimelineTime, out: Float64Array): boolean {
    return this.#receiver?.positionAt(id, time, out) ?? false;
  }

  /** Calls `fn` with every component value received of an entity, and the fields that it holds. */
  forEachHeld(
    id: EntityId,
    fn: (component: number, mask: number, value: ComponentValue, time: TimelineTime) => void,
  ): void {
    for (const { index } of this.#grants.components) {
      const value = this.#scratch[index]!;
      const mask = this.read(id, index, value);
      if (mask !== 0) fn(index, mask, value, this.timeOf(id, index));
    }
  }

  /** Hash of what was received. */
  hash(id: EntityId): number {
    return this.#receiver?.hash(id) ?? 0;
  }

  /** Adds one component that was received to a hash; nothing where none was. */
  hashInto(hash: number, id: EntityId, component: number): number {
    return this.#receiver?.hashInto(hash, id, component) ?? hash;
  }
}
