// How entity ids go round on a server: into peers' hands, used up, resting until every peer knows of their end, free again. Who never
// confirms an end is dropped, since it would keep slots from everybody. The ids themselves are counted in `session/`.

import { CloseCode } from "../protocol/close_codes.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { ServerState } from "./server_state.ts";

/** Takes ids back and hands them out; call it once a tick. */
export function circulateIds(state: ServerState, nowMs: number): void {
  releaseIds(state, nowMs);
  const { ids, peers, world } = state;
  for (const peer of peers.values()) {
    const fresh = ids.fill(peer, world.countOwned(peer.peer));
    if (fresh.length > 0) peer.tell({ kind: "entityIds", ids: fresh });
  }
}

/** Slots whose end every peer knows may be used again. */
function releaseIds({ ids, peers, counters, log }: ServerState, nowMs: number): void {
  if (ids.restingCount === 0) return;
  const overdue = ids.settle(nowMs, (id) => {
    for (const peer of peers.values()) if (!peer.sender.hasAckedDespawn(id)) return false;
    return true;
  }, (id) => {
    for (const peer of peers.values()) peer.receiver.forget(id);
  });
  if (overdue === NO_ENTITY) return;
  for (const peer of peers.values()) {
    if (peer.sender.hasAckedDespawn(overdue)) continue;
    counters.add("peers.unresponsive");
    log.write(LogCode.Unresponsive, nowMs, peer.peer, CloseCode.Overloaded);
    peer.connection.close(CloseCode.Overloaded, "what ended is not acknowledged");
  }
}
