// Who else is in the world, and in which role, as this engine believes it. The holder of authority believes only roles that it gave
// itself, and takes them as given when a driver does not say so in time, and so for peers that it removed; others must take the driver's word.

import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { ENGINE_TIMEOUT_MS } from "../protocol/limits.ts";
import { Rule } from "../permissions/rule.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkState } from "./link_state.ts";
import type { RevokedFields } from "./revoked_fields.ts";

/** Peers and roles of one link. */
export class PeerRoster {
  readonly #state: LinkState;
  readonly #revoked: RevokedFields;
  readonly #callbacks: EngineCallbacks;
  /** Role index that this engine gave to a peer. */
  readonly #assigned = new Map<number, number>();
  /** When a role that was given counts at the latest: what the peer did before its driver knew is no offence. */
  readonly #dueMs = new Map<number, number>();
  /** Peers that this engine removed and its driver has not said to be gone, with when they are at the latest. */
  readonly #kicked = new Map<number, number>();
  /** Peers that were not named again after joining anew. */
  readonly #unconfirmed = new Set<number>();
  readonly #mustProve: boolean;

  /**
   * Roles are kept in the link's state.
   *
   * @param revoked Erases what a new role of this engine's own may not read.
   * @param mustProve Peers join this engine's world with a token that it has checked, or not at all.
   */
  constructor(
    state: LinkState,
    revoked: RevokedFields,
    callbacks: EngineCallbacks,
    mustProve: boolean,
  ) {
    this.#state = state;
    this.#revoked = revoked;
    this.#callbacks = callbacks;
    this.#mustProve = mustProve;
  }

  /** This engine gives a peer a role, which counts as soon as the driver says so, and soon in any case. */
  assign(peer: number, roleIndex: number): void {
    this.#assigned.set(peer, roleIndex);
    if (this.#state.peers.has(peer)) {
      this.#dueMs.set(peer, this.#state.nowMs + ENGINE_TIMEOUT_MS);
    }
  }

  /** This engine removes a peer, which is gone as soon as the driver says so, and soon in any case. */
  kick(peer: number): void {
    if (!this.#state.peers.has(peer) || this.#kicked.has(peer)) return;
    this.#kicked.set(peer, this.#state.nowMs + ENGINE_TIMEOUT_MS);
  }

  /**
   * Time has passed: roles that were given count now, whatever the driver says, and peers that were removed are gone.
   *
   * @param removed Told of each of those; what it owns has to go with it.
   */
  handleTimer(removed: (peer: number) => void): void {
    const { nowMs } = this.#state;
    for (const [peer, dueMs] of this.#kicked) {
      if (nowMs < dueMs || !this.#state.peers.has(peer)) continue;
      removed(peer);
      this.#drop(peer, "kicked");
    }
    for (const [peer, dueMs] of this.#dueMs) {
      if (nowMs < dueMs) continue;
      this.#dueMs.delete(peer);
      const role = this.#assigned.get(peer);
      const known = this.#state.peers.get(peer);
      if (role === undefined || known === undefined || role === known) continue;
      this.#state.peers.set(peer, role);
      this.#callbacks.onRoleChanged?.(peer, this.#nameOf(role));
    }
  }

  /** A peer joined, or a new driver says that it is still there. False when it has not proven who it is and may not be there. */
  handleJoin(peer: number, roleIndex: number): boolean {
    const state = this.#state;
    const known = state.peers.get(peer);
    if (peer === state.peer) return true;
    if (known === undefined && this.#kicked.has(peer)) {
      // Its id means another only once its driver has said that it left.
      state.deny("peer", Rule.Peer, { peer });
      return true;
    }
    if (known === undefined && state.peers.size >= state.grants.maxPeers) {
      state.deny("peer", Rule.Peer, { peer });
      return true;
    }
    if (known === undefined && this.#mustProve && !this.#assigned.has(peer)) {
      return state.deny("peer", Rule.Role, { peer });
    }
    const role = this.#believed(peer, roleIndex);
    this.#unconfirmed.delete(peer);
    state.peers.set(peer, role);
    if (known === undefined) this.#callbacks.onPlayerJoin?.(peer, this.#nameOf(role));
    else if (known !== role) this.#callbacks.onRoleChanged?.(peer, this.#nameOf(role));
    return true;
  }

  /** A peer, or this engine itself, has another role. */
  handleRole(peer: number, roleIndex: number): void {
    const state = this.#state;
    if (peer !== state.peer && !state.peers.has(peer)) return;
    if (state.isAuthority) {
      if (this.#believed(peer, roleIndex) !== roleIndex) return;
    } else if (peer === state.peer) {
      state.roleIndex = roleIndex;
      for (const notice of this.#revoked.handleRights()) notice();
    }
    this.#dueMs.delete(peer);
    if (peer !== state.peer) state.peers.set(peer, roleIndex);
    this.#callbacks.onRoleChanged?.(peer, this.#nameOf(roleIndex));
  }

  /** A peer is gone for good. */
  handleLeave(peer: number, reason: string): void {
    this.#kicked.delete(peer);
    this.#drop(peer, reason);
  }

  #drop(peer: number, reason: string): void {
    this.#assigned.delete(peer);
    this.#state.forgetAdjusted(peer);
    this.#dueMs.delete(peer);
    this.#unconfirmed.delete(peer);
    if (this.#state.peers.delete(peer)) this.#callbacks.onPlayerLeave?.(peer, reason);
  }

  /** This engine is out of the world: after the next `joined` the peers have to be named again. */
  handleLeft(): void {
    // The next driver gives ids anew, and may never have heard of it.
    this.#kicked.clear();
    for (const peer of this.#state.peers.keys()) this.#unconfirmed.add(peer);
  }

  /** Gives up peers that no driver named again. */
  dropUnconfirmed(): void {
    for (const peer of [...this.#unconfirmed]) {
      this.handleLeave(peer, "not named again after joining anew");
    }
  }

  #believed(peer: number, roleIndex: number): number {
    const state = this.#state;
    if (!state.isAuthority) return roleIndex;
    const believed = peer === SERVER_PEER
      ? state.roleIndex
      : this.#assigned.get(peer) ?? state.grants.defaultRole;
    if (believed !== roleIndex) state.deny("peer", Rule.Role, { peer });
    return believed;
  }

  #nameOf(roleIndex: number): string {
    return this.#state.grants.roles[roleIndex]!.name;
  }
}
