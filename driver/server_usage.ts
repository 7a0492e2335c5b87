// How much a server core holds that comes and goes with peers and entities. It counts tables; bytes are summed up in `memory_parts.ts`.

import type { ServerState } from "./server_state.ts";

/** Sizes of a server core's tables. */
export interface ServerUsage {
  /** Entities alive. */
  readonly entities: number;
  /** Handles that the engine link knows. */
  readonly handles: number;
  /** Entity ids in use, in peers' hands or resting. */
  readonly ids: number;
  /** Entity ids that rest until every peer knows of their end. */
  readonly resting: number;
  /** Entity ids in peers' hands. */
  readonly freeIds: number;
  /** Entities of which something that peers sent is held, over all peers. */
  readonly held: number;
  /** Spawns that wait for their components. */
  readonly spawns: number;
  /** Streams of joined peers, control streams apart. */
  readonly streams: number;
  /** Peers that hold a place. */
  readonly places: number;
  /** Peers that may resume. */
  readonly secrets: number;
  /** Channels open. */
  readonly channels: number;
  /** Connections that have not joined. */
  readonly strangers: number;
}

/** The sizes now; `channels` and `strangers` the state itself does not know. */
export function usageOf(state: ServerState, channels: number, strangers: number): ServerUsage {
  const { ids, handles, peers, lost, roster, resume, world } = state;
  let [held, spawns, streams, freeIds] = [0, 0, 0, 0];
  for (const peer of peers.values()) {
    held += peer.receiver.heldCount;
    spawns += peer.pendingSpawns.size;
    streams += peer.streams.count;
  }
  for (const { freeIds: free } of [...peers.values(), ...lost.values()]) freeIds += free.size;
  return {
    entities: world.entityCount,
    handles: handles.size,
    ids: ids.takenCount,
    resting: ids.restingCount,
    freeIds,
    held,
    spawns,
    streams,
    places: roster.size,
    secrets: resume.size,
    channels,
    strangers,
  };
}
