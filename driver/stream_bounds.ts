// How many streams one peer of a world may have open, by its role: what the transport is told, what a peer is held to, and what the memory
// of unread streams is summed up from. It counts no streams itself.

import { MAX_OPEN_CHANNELS, MAX_PLAIN_CHANNELS, SPARE_STREAMS } from "../protocol/limits.ts";
import { type Grants, SERVER_ROLE } from "../permissions/grants.ts";

/** Reliable channels that a peer of this role may have open at once, whichever end opened them. */
export function reliableChannels({ channels }: Grants, role: number): number {
  let open = 0;
  for (const { mode, namespace, maxOpen, sendRoles, receiveRoles } of channels) {
    const isUsable = (((sendRoles | receiveRoles) >>> role) & 1) === 1;
    if (mode === "reliable" && isUsable) open += namespace ? maxOpen : MAX_PLAIN_CHANNELS;
  }
  return Math.min(open, MAX_OPEN_CHANNELS);
}

/** The same for the role that may have most. */
export function mostReliableChannels(grants: Grants): number {
  let most = 0;
  for (const { index } of grants.roles) {
    if (index !== SERVER_ROLE) most = Math.max(most, reliableChannels(grants, index));
  }
  return most;
}

/** Streams that one end of a connection may have opened and alive at once, control stream included. */
export function mostStreams(grants: Grants): number {
  return mostReliableChannels(grants) + SPARE_STREAMS;
}
