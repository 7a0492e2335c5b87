// Turns what a client's link received into changes for its engine: an entity is announced once all its visible components have arrived,
// and only announced entities change. It knows no handles and no rows; a sink makes a batch of its calls.

import type { EntityId } from "../protocol/entity_id.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { ComponentGrant, Grants } from "../permissions/grants.ts";
import type { DecodedSnapshot, SnapshotEntry } from "./decoded_snapshot.ts";
import type { SnapshotReceiver } from "./snapshot_receiver.ts";
import { type ComponentValue, createValue } from "./value.ts";

/** Takes the changes of one section in the order in which the engine must see them. */
export interface AnnouncerSink {
  /** A new entity; `value` follows for each of its components. */
  spawn(id: EntityId, owner: number, epoch: number): void;
  /** Fields in `mask` of a component have changed; after a spawn, and after a hide, all fields present. Copy what you keep. */
  value(
    id: EntityId,
    component: number,
    mask: number,
    value: ComponentValue,
    time: TimelineTime,
  ): void;
  /** The component left the view; its last value stays. A `value` for it means that it is back. */
  hide(id: EntityId, component: number): void;
  /** The component was removed, or may no longer be read. */
  remove(id: EntityId, component: number): void;
  /** The entity ended. */
  despawn(id: EntityId): void;
  /** The owner or the epoch changed. */
  owner(id: EntityId, owner: number, epoch: number): void;
  /** Whether the engine has ended an entity of this owner, which the other end has yet to hear: then it is not announced. Left out: never. */
  isEnded?(id: EntityId, owner: number): boolean;
}

/** A component the engine knows of. */
interface Shown {
  isHidden: boolean;
  /** Version the engine was given last, -1 for none. */
  versionTick: number;
}

interface Announced {
  readonly id: EntityId;
  isAnnounced: boolean;
  /** The engine made it itself: it is known from the start, and its values are its own. */
  isAdopted: boolean;
  owner: number;
  epoch: number;
  /** Components of the newest header. */
  readonly visible: number[];
  readonly shown: Map<number, Shown>;
}

/** Follows one receiver. Call {@linkcode Announcer.handle} after each `commit`. */
export class Announcer {
  readonly #receiver: SnapshotReceiver;
  readonly #entities = new Map<EntityId, Announced>();
  readonly #scratch: ComponentValue[];

  /** An announcer that has announced nothing. */
  constructor(options: { readonly grants: Grants; readonly receiver: SnapshotReceiver }) {
    this.#receiver = options.receiver;
    this.#scratch = options.grants.components.map((c: ComponentGrant) => createValue(c));
  }

  /** Whether the engine knows of the entity. */
  isAnnounced(id: EntityId): boolean {
    return this.#entities.get(id)?.isAnnounced ?? false;
  }

  /** The engine knows this entity already: it spawned it, or a driver before this one announced it. */
  adopt(id: EntityId): void {
    const entity = this.#ensure(id);
    entity.isAnnounced = true;
    entity.isAdopted = true;
  }

  /** The engine has given an announced entity this component itself: a header that does not name it takes it away. */
  noteShown(id: EntityId, component: number): void {
    const shown = this.#entities.get(id)?.shown;
    if (shown?.has(component) === false) shown.set(component, { isHidden: false, versionTick: -1 });
  }

  /** Forgets an entity without a word to the engine. */
  forget(id: EntityId): void {
    this.#entities.delete(id);
  }

  /** Passes on what a committed section changed. */
  handle(decoded: DecodedSnapshot, sink: AnnouncerSink): void {
    for (let i = 0; i < decoded.count; i++) {
      const entry = decoded.entries[i]!;
      if (!entry.fresh) continue;
      if (entry.kind === "header") this.#handleHeader(entry, sink);
      else this.#handleValue(entry, sink);
    }
  }

  #ensure(id: EntityId): Announced {
    let entity = this.#entities.get(id);
    if (entity === undefined) {
      entity = {
        id,
        isAnnounced: false,
        isAdopted: false,
        owner: 0,
        epoch: 0,
        visible: [],
        shown: new Map(),
      };
      this.#entities.set(id, entity);
    }
    return entity;
  }

  #handleHeader(entry: SnapshotEntry, sink: AnnouncerSink): void {
    const { id } = entry;
    if (entry.state === "gone") {
      const isAnnounced = this.isAnnounced(id);
      this.#entities.delete(id);
      if (isAnnounced) sink.despawn(id);
      return;
    }
    // An entity that was never seen has nothing to hide.
    if (entry.state === "outOfView" && !this.#entities.has(id)) return;
    const entity = this.#ensure(id);
    entity.visible.length = 0;
    if (entry.state === "outOfView") {
      if (!entity.isAnnounced) {
        this.#entities.delete(id);
        return;
      }
      for (const [component, shown] of entity.shown) this.#hide(entity, component, shown, sink);
      return;
    }
    entity.visible.push(...entry.visible);
    const isOther = entity.owner !== entry.owner || entity.epoch !== entry.epoch;
    entity.owner = entry.owner;
    entity.epoch = entry.epoch;
    if (!entity.isAnnounced) {
      this.#tryAnnounce(entity, sink);
      return;
    }
    if (isOther) sink.owner(id, entry.owner, entry.epoch);
    for (const [component, shown] of entity.shown) {
      if (entry.visible.includes(component)) continue;
      if (entry.hidden.includes(component)) {
        this.#hide(entity, component, shown, sink);
      } else {
        entity.shown.delete(component);
        sink.remove(id, component);
      }
    }
    for (const component of entry.visible) {
      const shown = entity.shown.get(component);
      if (shown === undefined || shown.isHidden) this.#show(entity, component, sink);
    }
  }

  #handleValue(entry: SnapshotEntry, sink: AnnouncerSink): void {
    const entity = this.#entities.get(entry.id);
    if (entity === undefined || !entity.visible.includes(entry.component)) return;
    if (!entity.isAnnounced) {
      this.#tryAnnounce(entity, sink);
      return;
    }
    const shown = entity.shown.get(entry.component);
    if (shown === undefined || shown.isHidden) {
      this.#show(entity, entry.component, sink);
    } else if (entry.versionTick > shown.versionTick) {
      shown.versionTick = entry.versionTick;
      // A version can bring back what the engine has, where it never got the one between.
      if (entry.mask === 0) return;
      sink.value(entry.id, entry.component, entry.mask, entry.value, entry.time);
    }
  }

  #tryAnnounce(entity: Announced, sink: AnnouncerSink): void {
    if (sink.isEnded?.(entity.id, entity.owner) === true) return;
    for (const component of entity.visible) {
      if (this.#receiver.newestTick(entity.id, component) < 0) return;
    }
    entity.isAnnounced = true;
    sink.spawn(entity.id, entity.owner, entity.epoch);
    for (const component of entity.visible) this.#show(entity, component, sink);
  }

  /** Gives the engine the whole newest value, if there is one. */
  #show(entity: Announced, component: number, sink: AnnouncerSink): void {
    const { id } = entity;
    const value = this.#scratch[component]!;
    const mask = this.#receiver.read(id, component, value);
    const versionTick = this.#receiver.newestTick(id, component);
    if (mask !== 0) {
      entity.shown.set(component, { isHidden: false, versionTick });
      sink.value(id, component, mask, value, this.#receiver.timeOf(id, component));
    } else if (entity.isAdopted) {
      entity.shown.set(component, { isHidden: false, versionTick });
    }
  }

  #hide(entity: Announced, component: number, shown: Shown, sink: AnnouncerSink): void {
    if (shown.isHidden) return;
    shown.isHidden = true;
    sink.hide(entity.id, component);
  }
}
