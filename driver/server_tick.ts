// What a server does for its peers in each tick, and in which order: their allowance, their events and spawns, what they see and hear, the
// datagram of the slot, what the tick's events are passed on to. What comes in between two ticks goes to the core.

import { CloseCode } from "../protocol/close_codes.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import { MAX_CONTROL_BACKLOG_BYTES } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { createInterestResult, Interest } from "../replication/interest.ts";
import type { ServerEvents } from "./server_events.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";
import type { ServerVoice } from "./server_voice.ts";
import type { ServerWrites } from "./server_writes.ts";
import type { WorkWatch } from "./work_watch.ts";

/** The parts of a server that have something to do in a tick. */
export interface TickParts {
  readonly state: ServerState;
  readonly work: WorkWatch;
  readonly events: ServerEvents;
  readonly writes: ServerWrites;
  readonly voice: ServerVoice;
}

/** The ticks of one server. */
export class ServerTick {
  readonly #parts: TickParts;
  readonly #interest: Interest;
  readonly #candidates = createInterestResult();
  readonly #viewpoint = new Float64Array(3);
  #run = 0;

  /** Ticks of the parts' state. */
  constructor(parts: TickParts) {
    this.#parts = parts;
    this.#interest = new Interest(parts.state.grants, parts.state.world);
  }

  /** The tick has come: it becomes the last one whose datagrams are built. */
  run(tick: number, time: TimelineTime, nowMs: number): void {
    const { state, work, events, writes } = this.#parts;
    work.handleTick(tick, nowMs);
    this.#interest.rebuild();
    // What comes to life in this tick is seen by everyone in it.
    for (const peer of state.peers.values()) writes.finishSpawns(peer, time, nowMs);
    this.#interest.listChanged();
    this.#run += 1;
    // From here on datagrams are built: what changes belongs to the next tick.
    state.lastTick = tick;
    state.zones.handleTick(nowMs);
    let seen = 0;
    for (const peer of state.peers.values()) seen += this.#serve(peer, tick, time, nowMs);
    state.joinPace.handleTick(seen, state.peers.size);
    events.relayAll(nowMs);
    state.world.expire(tick);
    writes.expire(nowMs);
  }

  /** Serves one peer; gives the number of entities that interest proposes for it. */
  #serve(peer: ServerPeer, tick: number, time: TimelineTime, nowMs: number): number {
    const { state, events, voice } = this.#parts;
    events.deliver(peer, nowMs);
    state.chooseViewpoint(peer);
    const sees = peer.viewpoint !== NO_ENTITY &&
      state.world.position(peer.viewpoint, this.#viewpoint);
    const eye = sees ? this.#viewpoint : undefined;
    const { still, sender } = peer;
    const candidates = this.#candidates;
    const zones = state.zones.seenBy(peer);
    if (still.isStill(this.#run, eye, zones) && sender.mayLookAtChanges) {
      this.#interest.queryChanged(eye, candidates, zones);
    } else {
      this.#interest.query(eye, candidates, zones);
      still.proposed = candidates.count;
    }
    voice.setListener(peer.peer, peer.role, eye);
    sender.updateView(tick, candidates);
    peer.link.sendSlot(time, nowMs, true);
    if (peer.control.bufferedBytes <= MAX_CONTROL_BACKLOG_BYTES) return still.proposed;
    state.counters.add("peers.overloaded");
    state.log.write(LogCode.Unresponsive, nowMs, peer.peer, CloseCode.Overloaded);
    peer.connection.close(CloseCode.Overloaded, "the control stream is not read");
    return still.proposed;
  }
}
