// The receiving half of replication for one link: what the other end may refer to is held here, whether or not it was ever applied. It
// knows the rights of the link in any case; who owns what, epochs, rates and ranges of writes are the gate's business.

import { assert } from "../protocol/assert.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import type { Reader } from "../protocol/reader.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import type { DecodedPiece, DecodedSnapshot, SnapshotEntry } from "./decoded_snapshot.ts";
import { type LinkDirection, type LinkPeer, LinkRights } from "./link_rights.ts";
import { PieceAssembly } from "./piece_assembly.ts";
import type { MotionTables } from "./coding/motion_model.ts";
import { findValue, ReceivedEntities, type ReceivedEntity } from "./received_entities.ts";
import { SectionParser } from "./section_parser.ts";
import { positionFromHistory } from "./position_history.ts";
import { HASH_START, hashValue } from "./state_hash.ts";
import { ViewState } from "./tracks.ts";
import type { ComponentValue } from "./value.ts";

export type { DecodedSnapshot, SnapshotEntry } from "./decoded_snapshot.ts";

/** Which link is received, and what may come over it. */
export interface SnapshotReceiverOptions extends LinkPeer {
  /** The compiled grants. */
  readonly grants: Grants;
  /** `down`: at the client; `up`: at the server. */
  readonly direction: LinkDirection;
  /**
   * Fields of a component that the world grants in this direction to that peer in any case; anything else is a protocol violation. What
   * is left out: `down` what the peer may read, of its own entities or of others, `up` what it may write of its own.
   */
  readonly fieldsAllowed?: (componentIndex: number) => number;
  /** What motion is foretold from; both ends have the same. Left out: what the driver ships. */
  readonly tables?: MotionTables;
  /** `down`: the client's peer id. What it may read as an owner alone is erased when the entity is its own no more. */
  readonly peer?: number;
  /** Whether the other end has any business with this entity: nothing is held of others. Left out: it has with all. */
  readonly mayHold?: (id: EntityId) => boolean;
}

/**
 * Receives the state that a {@linkcode SnapshotSender} at the other end sends.
 *
 * For each datagram: `decode` its section, check the rest of the datagram, `commit`, then acknowledge it and apply the fresh entries that
 * the gate lets pass. A datagram with any fault is dropped unacknowledged, and nothing of it is committed.
 */
export class SnapshotReceiver {
  /** Number of the peer's grants, 8 bits; sections of another are refused. */
  grantEpoch = 0;
  readonly #grants: Grants;
  readonly #held: ReceivedEntities;
  readonly #parser: SectionParser;
  readonly #mayHold: (id: EntityId) => boolean;
  readonly #rights: LinkRights;
  readonly #peer: number | undefined;

  /** A receiver that holds nothing. */
  constructor(options: SnapshotReceiverOptions) {
    this.#grants = options.grants;
    this.#rights = new LinkRights(options.grants, options.direction, options);
    this.#peer = options.direction === "down" ? options.peer : undefined;
    this.#held = new ReceivedEntities(options.grants);
    this.#mayHold = options.mayHold ?? (() => true);
    const present = (c: number) => this.#rights.own[c]! | this.#rights.other[c]!;
    this.#parser = new SectionParser(
      options.grants,
      options.direction,
      this.#held,
      options.fieldsAllowed ?? present,
      // What a peer sends beyond its rights is the gate's to refuse, and is told.
      options.direction === "down" ? present : () => -1,
      options.tables,
    );
  }

  /** Entities of which anything is held. */
  get heldCount(): number {
    return this.#held.count;
  }

  /** Bytes held. */
  get heldBytes(): number {
    return this.#held.heldBytes;
  }

  /**
   * Takes over another role, or what was granted and revoked, under a new number. What is held of components whose masks are others than
   * before is erased.
   */
  setRole(roleIndex: number, grantEpoch: number): void {
    this.grantEpoch = grantEpoch;
    const changed = this.#rights.update(roleIndex);
    this.#held.eraseComponents((c) => changed.has(c));
    this.#parser.erase();
  }

  /**
   * Decodes a section, from where `reader` stands to its end, and changes nothing.
   *
   * @param tick Tick of the datagram, a whole number.
   * @returns What it says, valid until the next `decode`; undefined when anything is wrong, which `reader.fault` names.
   */
  decode(reader: Reader, tick: number): DecodedSnapshot | undefined {
    return this.#parser.parse(reader, tick, this.grantEpoch);
  }

  /** Holds what the last `decode` returned. From then on the other end may refer to it. */
  commit(decoded: DecodedSnapshot): void {
    const held = this.#held;
    held.advance(decoded.tick);
    for (let i = 0; i < decoded.count; i++) {
      const entry = decoded.entries[i]!;
      if (entry.kind === "header") this.#commitHeader(entry, decoded.tick);
      else this.#commitValue(entry, decoded.tick);
    }
    for (const piece of decoded.pieces) this.#commitPiece(piece, decoded.tick);
    held.sweep();
  }

  /** The present is `tick`: frees what no datagram that can still come may refer to. Call it once a tick. */
  expire(tick: number): void {
    this.#held.expire(tick);
  }

  /**
   * Frees all that is held of an entity at once. Only for entities that the other end cannot speak of any more: what it may still refer to
   * would be missing. Entities that ended or left the view are freed by themselves in time.
   */
  forget(id: EntityId): void {
    this.#held.forget(id);
  }

  /** Reads the newest value held of a component into `out`; returns the fields present, 0 when there is none. */
  read(id: EntityId, c: number, out: ComponentValue): number {
    const version = this.#newestVersion(id, c);
    if (version < 0) return 0;
    const store = this.#held.stores[c]!;
    store.load(version, out);
    return store.mask(version);
  }

  /** Fields present in the newest value held of a component, 0 when there is none. */
  heldMask(id: EntityId, c: number): number {
    const version = this.#newestVersion(id, c);
    return version < 0 ? 0 : this.#held.stores[c]!.mask(version);
  }

  /** Name of the newest version held of a component, -1 when there is none. */
  newestTick(id: EntityId, c: number): number {
    const version = this.#newestVersion(id, c);
    return version < 0 ? -1 : this.#held.stores[c]!.tick(version);
  }

  /** Sample time of the newest version held of a component, -1 when there is none. */
  timeOf(id: EntityId, c: number): TimelineTime {
    const version = this.#newestVersion(id, c);
    return version < 0 ? -1 : this.#held.stores[c]!.time(version);
  }

  /** Owner and epoch of the newest header held; undefined for an entity that is not known or has ended. */
  headerOf(id: EntityId): { readonly owner: number; readonly epoch: number } | undefined {
    const entity = this.#held.find(id);
    return entity === undefined || entity.state === ViewState.Gone || entity.headerTick < 0
      ? undefined
      : entity;
  }

  /** Position at a time, as `World.positionAt`; false when none is held. */
  positionAt(id: EntityId, time: TimelineTime, out: Float64Array): boolean {
    for (const component of this.#grants.components) {
      const field = component.fields[component.positionField];
      if (field === undefined) continue;
      const version = this.#newestVersion(id, component.index);
      if (version < 0) continue;
      const store = this.#held.stores[component.index]!;
      if ((store.mask(version) & (1 << field.index)) === 0) return false;
      const { row } = findValue(this.#held.find(id), component.index)!;
      positionFromHistory(store, row, field, time, out);
      return true;
    }
    return false;
  }

  /** FNV-1a of the newest values held, as `World.hash` over the fields that this end has. */
  hash(id: EntityId): number {
    let hash = HASH_START;
    for (const { index } of this.#grants.components) hash = this.hashInto(hash, id, index);
    return hash >>> 0;
  }

  /** Adds one component of an entity to a hash; nothing where none is held. */
  hashInto(hash: number, id: EntityId, c: number): number {
    const version = this.#newestVersion(id, c);
    if (version < 0) return hash;
    const store = this.#held.stores[c]!;
    return hashValue(hash, this.#grants.components[c]!, store, version, store.mask(version));
  }

  /** The newest version of a component as it is now: not one of a removed predecessor. */
  #newestVersion(id: EntityId, c: number): number {
    const value = findValue(this.#held.find(id), c);
    if (value === undefined) return -1;
    const store = this.#held.stores[c]!;
    const version = store.newest(value.row);
    return version >= 0 && store.tick(version) > value.voidTick ? version : -1;
  }

  /** The entity as it is held; undefined where nothing of it is. */
  #enter(id: EntityId): ReceivedEntity | undefined {
    const held = this.#held;
    return held.find(id) ??
      (held.isSuperseded(id) || !this.#mayHold(id) ? undefined : held.ensure(id));
  }

  #commitHeader(entry: SnapshotEntry, tick: number): void {
    const entity = this.#enter(entry.id);
    if (entity === undefined) return;
    if (tick <= entity.headerTick) return;
    const state = entry.state === "alive"
      ? ViewState.Alive
      : entry.state === "gone"
      ? ViewState.Gone
      : ViewState.OutOfView;
    const wasOwn = entity.headerTick >= 0 && entity.owner === this.#peer;
    if (wasOwn && (state !== ViewState.Alive || entry.owner !== this.#peer)) {
      this.#held.eraseBeyond(entity, tick, this.#rights.other);
    }
    // Up: what the owner was about to say was overridden, and it says no more of it.
    if (this.#peer === undefined && entity.headerTick >= 0 && entity.epoch !== entry.epoch) {
      this.#held.dropAssemblies(entity, tick);
    }
    entity.owner = entry.owner;
    entity.epoch = entry.epoch;
    entity.visible.length = 0;
    entity.hidden.length = 0;
    entity.visible.push(...entry.visible);
    entity.hidden.push(...entry.hidden);
    this.#held.applyHeader(entity, tick, state);
  }

  #commitValue(entry: SnapshotEntry, tick: number): void {
    const held = this.#held;
    const entity = this.#enter(entry.id);
    if (entity === undefined || this.#isOutlived(entity, entry, tick)) return;
    const value = held.ensureValue(entity, entry.component);
    held.markShown(entity, value, tick);
    const store = held.stores[entry.component]!;
    const newest = store.newest(value.row);
    if (newest >= 0 && store.mask(newest) !== entry.held) {
      // The rights changed between the two: what came before the change is erased, and comes back with no late datagram.
      if (entry.versionTick < store.tick(newest)) return;
      held.eraseVersions(value);
      value.maskTick = entry.versionTick;
    }
    store.put(value.row, entry.versionTick, entry.time, entry.held, entry.value);
    if (value.assembly !== undefined && value.assembly.versionTick <= entry.versionTick) {
      held.dropAssembly(value);
    }
  }

  /** Whether a late datagram brings what this end might read while the entity was its own, and may not any more. */
  #isOutlived(entity: ReceivedEntity, entry: SnapshotEntry, tick: number): boolean {
    if (this.#peer === undefined || tick >= entity.headerTick) return false;
    const isOwn = entity.state === ViewState.Alive && entity.owner === this.#peer;
    return !isOwn && (entry.held & ~this.#rights.other[entry.component]!) !== 0;
  }

  #commitPiece(piece: DecodedPiece, tick: number): void {
    const held = this.#held;
    const entity = this.#enter(piece.id);
    if (entity === undefined) return;
    const value = held.ensureValue(entity, piece.component);
    held.markShown(entity, value, tick);
    if (tick < value.pieceTick) return;
    if (value.assembly?.versionTick !== piece.versionTick) {
      held.dropAssembly(value);
      value.assembly = new PieceAssembly(
        piece.versionTick,
        piece.time,
        piece.totalBytes,
        piece.count,
      );
      held.assemblyCount += 1;
    }
    assert(value.assembly !== undefined, "a piece has an assembly to go to");
    value.assembly.put(piece.piece, piece.bytes);
  }
}
