// What a server sets up for each peer that it lets in: sender, receiver and link of one connection, and what of an earlier one goes on.

import type { EntityId } from "../protocol/entity_id.ts";
import type { Adjustments } from "../permissions/adjustments.ts";
import { ownWriteMaskOf, SERVER_ROLE } from "../permissions/grants.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import { PeerLink } from "./peer_link.ts";
import { PeerStreams } from "./peer_streams.ts";
import { type HalfJoined, ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";
import { workAllowance, WorkBudget } from "./work_budget.ts";

/** What a place brings along when it is taken up again. */
export interface Place {
  /** Role index. */
  readonly role: number;
  /** What was granted to it and revoked from it while running. */
  readonly adjusted: Adjustments;
  /** Ids in the peer's hand. */
  readonly freeIds: Set<EntityId>;
  /** What it had been told over its last link, if there was one. */
  readonly sender: SnapshotSender | undefined;
}

/** Opens the link of a peer that takes `place`; the join's control stream is there. */
export function openServerLink(
  state: ServerState,
  half: HalfJoined,
  peerId: number,
  place: Place,
  nowMs: number,
): ServerPeer {
  const { grants, world, counters, worldEpoch } = state;
  const { connection } = half;
  const { role, adjusted, freeIds } = place;
  const sender = new SnapshotSender({
    grants,
    world,
    peer: peerId,
    roleIndex: role,
    adjusted,
    direction: "down",
  });
  if (place.sender !== undefined) goOn(state, peerId, place, place.sender, sender);
  const receiver = new SnapshotReceiver({
    grants,
    roleIndex: role,
    adjusted,
    direction: "up",
    fieldsAllowed: (c) => fieldsAllowed(state, c),
    mayHold: (id) =>
      freeIds.has(id) || state.ids.isRestingOf(id, peerId) ||
      (world.isAlive(id) && world.owner(id) === peerId),
  });
  const work = new WorkBudget(workAllowance(grants, role), grants.tickHz);
  const link = new PeerLink(
    {
      connection,
      sender,
      receiver,
      channels: grants.channels,
      worldEpoch,
      bytesPerSecond: grants.peerBytesPerSecond,
      join: { bytesPerSecond: grants.joinBytesPerSecond, ms: grants.joinMs },
      tickHz: grants.tickHz,
      counters,
      peer: peerId,
      log: state.log,
      work,
    },
    state.timeAt(nowMs),
    nowMs,
  );
  return new ServerPeer({
    peer: peerId,
    role,
    adjusted,
    connection,
    control: half.control!,
    link,
    streams: new PeerStreams(() => state.nowMs),
    sender,
    receiver,
    work,
    grants,
    freeIds,
    grantEpoch: 0,
  });
}

/**
 * Of its own components a peer that comes back has the newest value, unless the server's engine changed it and the peer has not confirmed
 * that: then the server's counts, as with any override.
 */
function goOn(
  { world, grants }: ServerState,
  peerId: number,
  { role, adjusted }: Place,
  before: SnapshotSender,
  sender: SnapshotSender,
): void {
  world.forEachOwned(peerId, (id) => {
    world.forEachComponent(id, (c) => {
      if (ownWriteMaskOf(grants.components[c]!, role, adjusted) === 0) return;
      if (before.isAcked(id, c)) sender.markSynced(id, c);
    });
  });
}

/** Fields that the world grants to any role, or lets be granted, towards authority. */
function fieldsAllowed({ grants }: ServerState, c: number): number {
  const component = grants.components[c]!;
  if (component.authority !== "owner") return 0;
  let mask = component.grantableWrite;
  component.writeMasks.forEach((writable, role) => {
    if (role !== SERVER_ROLE) mask |= writable;
  });
  return mask;
}
