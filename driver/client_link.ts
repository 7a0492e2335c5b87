// What a client sets up with each join: sender, receiver and link of one connection, from what the server's acceptance says.

import type { AcceptedMessage } from "../protocol/control_messages.ts";
import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { SERVER_ROLE } from "../permissions/grants.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { World } from "../replication/world.ts";
import type { Connection, Stream } from "../transport/connection.ts";
import type { ClientState, Joined } from "./client_state.ts";
import { PeerLink } from "./peer_link.ts";

/** The connection that was accepted. */
export interface AcceptedConnection {
  /** The connection. */
  readonly connection: Connection;
  /** Its control stream. */
  readonly control: Stream;
  /** Time from `join` to `accepted`, ms: the path's first round trip. */
  readonly joinMs: number;
}

/** Opens the link over which the entities of `own` are sent; the state's role is the one that was accepted. */
export function openClientLink(
  state: ClientState,
  own: World,
  message: AcceptedMessage,
  { connection, control, joinMs }: AcceptedConnection,
): Joined {
  const { grants, role, adjusted, counters, nowMs } = state;
  const { peer, grantEpoch, worldEpoch, time } = message;
  const sender = new SnapshotSender({
    grants,
    world: own,
    peer,
    roleIndex: role,
    adjusted,
    direction: "up",
  });
  const receiver = new SnapshotReceiver({
    grants,
    roleIndex: role,
    adjusted,
    direction: "down",
    peer,
    fieldsAllowed: (c) => fieldsAllowed(state, c),
  });
  sender.setRole(role, grantEpoch);
  receiver.setRole(role, grantEpoch);
  const link = new PeerLink(
    {
      connection,
      sender,
      receiver,
      channels: grants.channels,
      worldEpoch,
      bytesPerSecond: grants.peerBytesPerSecond,
      tickHz: grants.tickHz,
      counters,
      peer: SERVER_PEER,
      log: state.log,
    },
    time,
    nowMs,
  );
  link.handleRtt(joinMs);
  return { peer, connection, control, link, sender, receiver };
}

/** Fields that the world grants to any role or owner, or lets be granted, from authority. */
function fieldsAllowed({ grants }: ClientState, c: number): number {
  const component = grants.components[c]!;
  let mask = component.ownerReadMask | component.grantableRead;
  component.readMasks.forEach((readable, role) => {
    if (role !== SERVER_ROLE) mask |= readable;
  });
  return mask;
}
