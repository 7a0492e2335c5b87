// Whom a server lets go of when its memory runs short: first who keeps streams full that nobody can read, then who is over its allowance of
// work, then who holds most. Whoever goes is lost, not removed: its place waits, and it may come back.

import { CloseCode } from "../protocol/close_codes.ts";
import { MAX_STREAM_FRAME_BYTES, UNACKED_CONNECTION_BYTES } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";

/** What is looked at of a peer. */
export interface Holding {
  /** Streams that the peer has kept full for long. */
  readonly stuckStreams: number;
  /** It is over its allowance of work, or was a moment ago. */
  readonly isDegraded: boolean;
  /** Bytes held for it, the runtime's share included. */
  readonly heldBytes: number;
}

/**
 * The place in `holdings` of the peer to let go; -1 where there is none.
 *
 * What it does counts only for a peer that holds no less than the mean: to let go of another would free nothing, and an honest one waits for
 * an engine that is slow with full streams, too.
 */
export function whomToShed(holdings: readonly Holding[]): number {
  const mean = holdings.reduce((sum, { heldBytes }) => sum + heldBytes, 0) / holdings.length;
  const rank = ({ stuckStreams, isDegraded, heldBytes }: Holding) =>
    heldBytes < mean ? 0 : stuckStreams > 0 ? 2 : isDegraded ? 1 : 0;
  let found = -1;
  for (const [i, one] of holdings.entries()) {
    const best = holdings[found];
    if (best === undefined || rank(one) > rank(best)) found = i;
    else if (rank(one) === rank(best) && one.heldBytes > best.heldBytes) found = i;
  }
  return found;
}

/** What a joined peer holds. */
export function holdingOf({ link, control, streams, work }: ServerPeer, nowMs: number): Holding {
  const buffered = control.bufferedBytes + streams.bufferedBytes;
  // While more than the frame under way waits, the runtime has taken as much as it takes before the peer acknowledges.
  const unacked = buffered > MAX_STREAM_FRAME_BYTES ? UNACKED_CONNECTION_BYTES : 0;
  return {
    stuckStreams: streams.stuckCount(nowMs),
    isDegraded: work.isDegraded,
    heldBytes: link.heldBytes + buffered + unacked + streams.unreadBytes(nowMs),
  };
}

/** Lets one peer go; false where none is joined. */
export function shedPeer({ peers, counters, log }: ServerState, nowMs: number): boolean {
  const joined = [...peers.values()];
  const holdings = joined.map((peer) => holdingOf(peer, nowMs));
  const at = whomToShed(holdings);
  const victim = joined[at];
  if (victim === undefined) return false;
  counters.add("peers.shed");
  log.write(LogCode.Shed, nowMs, victim.peer, Math.round(holdings[at]!.heldBytes / 1024));
  victim.connection.close(CloseCode.Shed, "the server is short of memory");
  return true;
}
