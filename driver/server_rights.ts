// Rights of peers that change while running: roles that the server's engine gives, and single fields that it grants and revokes. Each change
// counts from the next datagram built, is told to the peer before it, and leaves nothing waiting that is not allowed any more.

import type { ComponentAdjustment } from "../protocol/adjustment.ts";
import type { ToDriver } from "../protocol/engine_messages.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { type Adjustments, beyondGrantable, isAdjustmentOf } from "../permissions/adjustments.ts";
import { type Grants, ownWriteMaskOf, SERVER_ROLE } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { ChannelRouter } from "./channel_router.ts";
import type { ServerEvents } from "./server_events.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";
import type { ServerWrites } from "./server_writes.ts";
import type { WorkWatch } from "./work_watch.ts";

/** The parts of a server that keep what was allowed once. */
export interface RightsParts {
  /** Shared state. */
  readonly state: ServerState;
  /** Spawns that wait. */
  readonly writes: ServerWrites;
  /** Events that wait. */
  readonly events: ServerEvents;
  /** Channels that are open. */
  readonly channels: ChannelRouter;
  /** Allowances of work. */
  readonly work: WorkWatch;
}

/** A peer that is here, or one that was lost and may come back. */
interface Holder {
  readonly peer: number;
  readonly role: number;
  readonly adjusted: Adjustments;
  readonly sender: SnapshotSender;
}

/** Orders of the engine about peers' rights. */
export class ServerRights {
  readonly #parts: RightsParts;

  /** Works on the shared state. */
  constructor(parts: RightsParts) {
    this.#parts = parts;
  }

  /** Gives a peer another role. */
  setRole({ peer: peerId, roleId }: Extract<ToDriver, { kind: "setRole" }>): void {
    const { state, writes, events, channels, work } = this.#parts;
    const role = state.grants.roles.find((r) => r.id === roleId && r.index !== SERVER_ROLE);
    const place = state.peers.get(peerId) ?? state.lost.get(peerId);
    if (place === undefined || role === undefined || place.role === role.index) return;
    const peer = state.peers.get(peerId);
    const before = this.#writable(place);
    place.role = role.index;
    state.roster.setRole(peerId, role.index);
    if (peer !== undefined) {
      this.#raise(peer, before, (grantEpoch) => {
        // The announcement leaves before the first datagram of the new epoch; one that overtakes it is dropped and repeated.
        peer.tell({ kind: "role", peer: peerId, roleId, grantEpoch });
      });
      for (const id of peer.pendingSpawns.keys()) writes.cancelSpawn(peer, id);
      events.judgeAgain(peer);
      channels.judgeAgain(peerId);
      peer.link.dropWaiting();
      work.handleRole(peer);
    } else this.#noteLost(place, before);
    for (const other of state.peers.values()) {
      if (other !== peer) other.tell({ kind: "role", peer: peerId, roleId, grantEpoch: 0 });
    }
    state.log.write(LogCode.RoleChanged, state.nowMs, peerId, roleId);
    // Its engine judges by the role that it was told last: what the peer did in the one before it did by right.
    state.outbox.pushBehindState({ kind: "roleChanged", peer: peerId, roleId }, state.lastTick);
  }

  /** Grants and revokes fields of one component, in place of what was granted and revoked of it before. */
  setGrants(message: Extract<ToDriver, { kind: "setGrants" }>): void {
    const { state } = this.#parts;
    const { peer: peerId, componentId } = message;
    const component = state.grants.components.find((one) => one.id === componentId);
    const place = state.peers.get(peerId) ?? state.lost.get(peerId);
    const deny = (rule: Rule, fields: number) =>
      state.deny(undefined, rule, "component", componentId, fields, NO_ENTITY, state.nowMs);
    // It left a moment ago: its rights ended with its place.
    if (place === undefined) return deny(Rule.Peer, 0);
    if (component === undefined) return deny(Rule.Undeclared, 0);
    if (!isAdjustmentOf(component, message)) return deny(Rule.Field, 0);
    const [read, write] = beyondGrantable(component, message);
    if ((read | write) !== 0) return deny(Rule.NotGrantable, read | write);
    const before = this.#writable(place);
    place.adjusted.set(component, message);
    state.log.write(LogCode.GrantsChanged, state.nowMs, peerId, componentId);
    const peer = state.peers.get(peerId);
    if (peer === undefined) return this.#noteLost(place, before);
    const { readGranted, readRevoked, writeGranted, writeRevoked } = message;
    const adjustment = { componentId, readGranted, readRevoked, writeGranted, writeRevoked };
    this.#raise(peer, before, (grantEpoch) => {
      peer.tell({ kind: "grants", grantEpoch, adjustment });
    });
  }

  /** New rights under a new epoch, on both halves of the link. */
  #raise(peer: ServerPeer, before: readonly number[], tell: (grantEpoch: number) => void): void {
    peer.grantEpoch = (peer.grantEpoch + 1) & 0xff;
    tell(peer.grantEpoch);
    peer.sender.setRole(peer.role, peer.grantEpoch);
    peer.receiver.setRole(peer.role, peer.grantEpoch);
    this.#putRight(peer, before);
  }

  /** Who is away when its rights change hears of them when it comes back; what it has by then does not count as known to it. */
  #noteLost(place: Holder, before: readonly number[]): void {
    place.sender.setRole(place.role, 0);
    this.#putRight(place, before);
  }

  /**
   * Of what the peer may not write any more it may have sent a value that does not count: it is told the one that does, and with the new
   * epoch that it has no more components than those. Of what it may write from now on it may have no value, or an old one: what it sends
   * before it has heard of the present one does not count.
   */
  #putRight(peer: Holder, before: readonly number[]): void {
    const { world, lastTick } = this.#parts.state;
    const now = this.#writable(peer);
    const changed = before.map((mask, c) => mask ^ now[c]!);
    if (changed.every((mask) => mask === 0)) return;
    world.forEachOwned(peer.peer, (id) => {
      world.forEachComponent(id, (c) => {
        if (changed[c] !== 0) peer.sender.putRight(id, c);
      });
      world.raiseEpoch(id, lastTick + 1);
    });
  }

  /** Fields that a peer may write of its own entities, by component index. */
  #writable(
    { role, adjusted }: { readonly role: number; readonly adjusted: Adjustments },
  ): number[] {
    const { components } = this.#parts.state.grants;
    return components.map((component) => ownWriteMaskOf(component, role, adjusted));
  }
}

/** The adjustments of a place as both ends of its link hear of them. */
export function adjustmentsOf(grants: Grants, adjusted: Adjustments): ComponentAdjustment[] {
  return adjusted.components().map((index) => ({
    componentId: grants.components[index]!.id,
    ...adjusted.of(index),
  }));
}
