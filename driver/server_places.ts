// Who has a place in a server's world: peers that are admitted, take their place up again, lose their connection, leave, or are removed. What
// they had to show for it was judged before, by `server_join.ts`.

import { assert } from "../protocol/assert.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { SERVER_PEER } from "../protocol/engine_messages.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { RESUME_SECRET_BYTES } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { Adjustments } from "../permissions/adjustments.ts";
import { openServerLink, type Place } from "./server_link.ts";
import type { HalfJoined, ServerPeer } from "./server_peer.ts";
import { adjustmentsOf } from "./server_rights.ts";
import type { LostPeer, ServerState } from "./server_state.ts";

/** The places of a server. */
export class ServerPlaces {
  readonly #state: ServerState;
  readonly #detached: (peer: ServerPeer) => void;

  /** @param detached Told of every peer whose connection is over. */
  constructor(state: ServerState, detached: (peer: ServerPeer) => void) {
    this.#state = state;
    this.#detached = detached;
  }

  /** Time has passed: places that nobody took up again are given up. */
  handleTick(nowMs: number): void {
    const { resume, lost } = this.#state;
    for (;;) {
      const peerId = resume.pollExpired(nowMs);
      if (peerId === undefined) break;
      const place = lost.get(peerId);
      lost.delete(peerId);
      if (place !== undefined) {
        this.#forget(peerId, place.freeIds, CloseCode.Silence, "timed out", nowMs);
      }
    }
  }

  /** Gives a new place, `undefined` in a full world; `introduce` is called before the engine hears of the peer. */
  admitNew(
    half: HalfJoined,
    role: number,
    nowMs: number,
    introduce: (peer: number) => void = () => {},
  ): ServerPeer | undefined {
    const { roster } = this.#state;
    let entry = roster.add(role, nowMs);
    if (entry === undefined && this.#giveUpEmptyPlace(nowMs)) entry = roster.add(role, nowMs);
    if (entry === undefined) return undefined;
    introduce(entry.peer);
    const place = {
      role,
      adjusted: new Adjustments(),
      freeIds: new Set<EntityId>(),
      sender: undefined,
    };
    return this.#admit(half, entry.peer, place, undefined, nowMs);
  }

  /** Gives its place back to a peer that has proven to be the same; `nextSecret` is what it can prove that with the next time. */
  takeUp(half: HalfJoined, peerId: number, nextSecret: Uint8Array, nowMs: number): ServerPeer {
    const place = this.#takePlace(peerId);
    this.#state.roster.setConnected(peerId, true);
    return this.#admit(half, peerId, place, nextSecret, nowMs);
  }

  /** Removes a peer for good, connected or lost: at once, whatever its driver makes of it, and so that it cannot come back as the same. */
  kick(peerId: number, reason: string, nowMs: number): void {
    const { peers, lost } = this.#state;
    const peer = peers.get(peerId);
    const place = lost.get(peerId);
    if (peer !== undefined) {
      peer.tell({ kind: "bye", code: CloseCode.Kicked, reason });
      peer.connection.close(CloseCode.Kicked, reason);
      this.remove(peer, CloseCode.Kicked, "kicked", nowMs);
    } else if (place !== undefined) {
      lost.delete(peerId);
      this.#forget(peerId, place.freeIds, CloseCode.Kicked, "kicked", nowMs);
    }
  }

  /** Keeps the place of a peer whose connection broke. */
  lose(peer: ServerPeer, nowMs: number): void {
    const state = this.#state;
    this.#detach(peer);
    const { role, adjusted, freeIds, sender } = peer;
    state.lost.set(peer.peer, { peer: peer.peer, role, adjusted, freeIds, sender });
    state.roster.setConnected(peer.peer, false);
    state.resume.handleLost(peer.peer, nowMs);
    state.counters.add("peers.lost");
    state.log.write(LogCode.PeerLost, nowMs, peer.peer);
  }

  /** Removes a peer for good, with this code in the log and these words for the engine. */
  remove(peer: ServerPeer, code: number, reason: string, nowMs: number): void {
    if (this.#state.peers.get(peer.peer) === peer) this.#detach(peer);
    this.#state.counters.add("event.droppedLeft", peer.events.size);
    this.#forget(peer.peer, peer.freeIds, code, reason, nowMs);
  }

  #detach(peer: ServerPeer): void {
    const state = this.#state;
    state.peers.delete(peer.peer);
    state.counters.set("peers", state.peers.size);
    this.#detached(peer);
  }

  /** A peer is gone for good: its entities leave the world, its ids come back. */
  #forget(
    peerId: number,
    freeIds: ReadonlySet<EntityId>,
    code: number,
    reason: string,
    nowMs: number,
  ): void {
    const state = this.#state;
    state.resume.forget(peerId);
    const owned: EntityId[] = [];
    state.world.forEachOwned(peerId, (id) => owned.push(id));
    for (const id of owned) state.despawn(id);
    for (const id of freeIds) state.ids.release(id);
    state.roster.remove(peerId, nowMs);
    for (const other of state.peers.values()) {
      other.tell({ kind: "roster", joins: [], leaves: [peerId] });
    }
    state.log.write(LogCode.PeerLeft, nowMs, peerId, code);
    // After this nobody is spoken for under its id: the next one to have it is another.
    state.counters.add("event.droppedLeft", state.outbox.forgetPeer(peerId));
    state.push({ kind: "peerLeave", peer: peerId, reason });
  }

  /** Gives up the place that was lost longest and has nothing in the world: who is here now comes before who left no trace. */
  #giveUpEmptyPlace(nowMs: number): boolean {
    const { lost, world } = this.#state;
    for (const [peerId, place] of lost) {
      if (world.countOwned(peerId) > 0) continue;
      lost.delete(peerId);
      this.#forget(peerId, place.freeIds, CloseCode.Full, "its place was needed", nowMs);
      return true;
    }
    return false;
  }

  /** The place of a peer that proved to be the same: lost, or still held by a connection that died without a word. */
  #takePlace(peerId: number): Place {
    const { peers, lost } = this.#state;
    const present = peers.get(peerId);
    if (present !== undefined) {
      present.connection.close(CloseCode.Replaced, "resumed on another connection");
      this.#detach(present);
      return present;
    }
    const place: LostPeer | undefined = lost.get(peerId);
    assert(place !== undefined, "who may resume is connected or lost");
    lost.delete(peerId);
    return place;
  }

  #admit(
    half: HalfJoined,
    peerId: number,
    place: Place,
    nextSecret: Uint8Array | undefined,
    nowMs: number,
  ): ServerPeer {
    const state = this.#state;
    const { grants, world } = state;
    const resumed = nextSecret !== undefined;
    const peer = openServerLink(state, half, peerId, place, nowMs);
    state.peers.set(peerId, peer);
    state.chooseViewpoint(peer);
    state.ids.fill(peer, world.countOwned(peerId));
    const secret = nextSecret ?? state.environment.randomBytes(RESUME_SECRET_BYTES);
    if (!resumed) state.resume.issue(peerId, secret);
    const roleId = grants.roles[place.role]!.id;
    peer.tell({
      kind: "accepted",
      peer: peerId,
      roleId,
      resumed,
      resumeSecret: secret,
      grantEpoch: peer.grantEpoch,
      worldEpoch: state.worldEpoch,
      authority: SERVER_PEER,
      time: state.timeAt(nowMs),
      entityIds: [...place.freeIds].sort((a, b) => a - b),
      adjustments: adjustmentsOf(grants, place.adjusted),
    });
    peer.tell({ kind: "roster", joins: this.#everyone(), leaves: [] });
    if (!resumed) {
      for (const other of state.peers.values()) {
        if (other === peer) continue;
        other.tell({ kind: "roster", joins: [{ peer: peerId, roleId }], leaves: [] });
      }
    }
    state.log.write(resumed ? LogCode.PeerResumed : LogCode.PeerJoined, nowMs, peerId, roleId);
    state.push({ kind: "peerJoin", peer: peerId, roleId, resumed });
    state.counters.add(resumed ? "join.resumed" : "join.accepted");
    state.counters.set("peers", state.peers.size);
    return peer;
  }

  #everyone(): { peer: number; roleId: number }[] {
    const { roster, grants } = this.#state;
    return roster.entries().map(({ peer, roleIndex }) => ({
      peer,
      roleId: grants.roles[roleIndex]!.id,
    }));
  }
}
