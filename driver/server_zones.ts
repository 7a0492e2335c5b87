// Where peers of a server stand, and what that hides from them: the zone of a peer is that of its viewpoint, whatever entity that is. Who puts
// entities into zones is the engine's door's business; what is near is the grid's.

import type { Handle } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { CROSSING_MS } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import type { World } from "../replication/world.ts";
import { createZonesSeen, Zones, type ZonesSeen } from "../replication/zones.ts";
import type { ServerPeer } from "./server_peer.ts";

/** The zones of one server. */
export class ServerZones {
  readonly #zones: Zones;
  readonly #world: World;
  readonly #seen = createZonesSeen();
  readonly #mostEnded: number;
  // Zones of entities that the own engine ended lately, by its handles, and of those before them.
  #ended = new Map<Handle, number>();
  #endedBefore = new Map<Handle, number>();
  // Zones of such entities that were too many to remember, of this moment and of the one before.
  #crowded = new Set<number>();
  #crowdedBefore = new Set<number>();
  // What is in `#endedBefore` made room within this moment, and may have ended only just now.
  #hasMadeRoom = false;
  #turnMs = 0;

  /** The zones that the manifest declares, with the entities of `world` in them. */
  constructor(grants: Grants, world: World) {
    this.#zones = new Zones(grants);
    this.#world = world;
    this.#mostEnded = grants.maxEntities;
  }

  /** Whether an entity can be in this zone; 0 stands for none. Takes any number. */
  has(zone: number): boolean {
    return this.#zones.has(zone);
  }

  /** The zone in which a peer stands, 0 for none. */
  of({ viewpoint }: ServerPeer): number {
    if (viewpoint === NO_ENTITY || !this.#world.isAlive(viewpoint)) return 0;
    return this.#world.zone(viewpoint);
  }

  /** The closed zones that a peer sees into; good until the next call. */
  seenBy(peer: ServerPeer): ZonesSeen {
    this.#zones.seen(peer.role, this.of(peer), this.#seen);
    return this.#seen;
  }

  /** Whether what is said in a zone is hidden from a peer. */
  hides(zone: number, peer: ServerPeer): boolean {
    return !this.#zones.sees(peer.role, this.of(peer), zone);
  }

  /** Whether an entity is hidden from a peer by the zone that it is in, or was in when it ended. */
  hidesEntity(id: EntityId, peer: ServerPeer): boolean {
    const world = this.#world;
    if (world.isAlive(id) && world.owner(id) === peer.peer) return false;
    return this.hides(world.lastZone(id), peer);
  }

  /** The own engine has ended an entity, which it may go on naming in what it says of that. */
  noteEnded(handle: Handle, id: EntityId): void {
    const zone = this.#world.lastZone(id);
    if (zone === 0) return;
    if (this.#ended.size >= this.#mostEnded) {
      this.#crowd();
      this.#forget();
      this.#hasMadeRoom = true;
    }
    this.#ended.set(handle, zone);
  }

  /**
   * The zones in which an entity may have been that the own engine ended a moment ago: that one, and none where it was in none. Of what was too
   * much to remember all zones that it was in are given, for whatever is not known.
   */
  ofEnded(handle: Handle): readonly number[] {
    const zone = this.#ended.get(handle) ?? this.#endedBefore.get(handle);
    return zone === undefined ? [...this.#crowded, ...this.#crowdedBefore] : [zone];
  }

  /** Ended entities whose zones are remembered. */
  get rememberedCount(): number {
    return this.#ended.size + this.#endedBefore.size;
  }

  /** Forgets what ended longer than a moment ago. */
  handleTick(nowMs: number): void {
    if (nowMs < this.#turnMs) return;
    this.#turnMs = nowMs + CROSSING_MS;
    if (this.#hasMadeRoom) this.#crowd();
    this.#hasMadeRoom = false;
    this.#forget();
    this.#crowdedBefore = this.#crowded;
    this.#crowded = new Set();
  }

  #crowd(): void {
    for (const zone of this.#endedBefore.values()) this.#crowded.add(zone);
  }

  #forget(): void {
    this.#endedBefore = this.#ended;
    this.#ended = new Map();
  }
}
