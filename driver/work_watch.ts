// Keeps each peer of a server to its allowance of work, tick by tick: what was dropped unread is counted, what had to wait goes on, and who
// stays over its allowance is dropped. How the work is counted is in `work_budget.ts`.

import { Fault } from "../protocol/faults.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";
import { workAllowance } from "./work_budget.ts";

/** The work of all peers of one server. Call `handleTick` once a tick, before anything else of it. */
export class WorkWatch {
  readonly #state: ServerState;
  readonly #goOn: (peer: ServerPeer) => void;
  #tick = 0;

  /** @param goOn Called for each peer whose streams may be read again. */
  constructor(state: ServerState, goOn: (peer: ServerPeer) => void) {
    this.#state = state;
    this.#goOn = goOn;
  }

  /** The tick has come. */
  handleTick(tick: number, nowMs: number): void {
    const ticks = tick - this.#tick;
    this.#tick = tick;
    const { peers, counters, log } = this.#state;
    let degraded = 0;
    for (const peer of peers.values()) {
      this.#fit(peer);
      const { work } = peer;
      const { count, bytes } = work.unread;
      if (count > 0) {
        degraded += 1;
        counters.add("net.datagramsIn", count);
        counters.add("net.bytesIn", bytes);
        counters.add("net.unreadDatagrams", count);
      }
      if (work.handleTick(ticks)) {
        this.#goOn(peer);
        continue;
      }
      // Its connection may take some ticks to end.
      if (peer.isDropped) continue;
      peer.isDropped = true;
      counters.add("net.floodingPeersDropped");
      log.write(LogCode.Flooding, nowMs, peer.peer);
      peer.connection.close(Fault.Flood, "more work than its share");
    }
    counters.set("peers.degraded", degraded);
  }

  /** Another role has made another account necessary. */
  handleRole(peer: ServerPeer): void {
    this.#fit(peer, true);
  }

  /** Who was handed more entities may cause more work; in powers of two, so that it is seldom reckoned anew. */
  #fit(peer: ServerPeer, isForced = false): void {
    const { grants, world } = this.#state;
    const owned = world.countOwned(peer.peer);
    if (owned <= peer.workOwned && !isForced) return;
    peer.workOwned = Math.max(peer.workOwned, 2 ** Math.ceil(Math.log2(Math.max(1, owned))));
    peer.work.setAllowance(workAllowance(grants, peer.role, peer.workOwned));
  }
}
