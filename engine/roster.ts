// Who else is in the world, and in which role, as this engine believes it. The holder of authority believes only roles that it gave
// itself; others must take the driver's word.

import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { Rule } from "../permissions/rule.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkState } from "./link_state.ts";

/** Peers and roles of one link. */
export class PeerRoster {
  readonly #state: LinkState;
  readonly #callbacks: EngineCallbacks;
  /** Role index that this engine gave to a peer. */
  readonly #assigned = new Map<number, number>();
  /** Peers that were not named again after joining anew. */
  readonly #unconfirmed = new Set<number>();

  /** Roles are kept in the link's state. */
  constructor(state: LinkState, callbacks: EngineCallbacks) {
    this.#state = state;
    this.#callbacks = callbacks;
  }

  /** This engine gives a peer a role. */
  assign(peer: number, roleIndex: number): void {
    this.#assigned.set(peer, roleIndex);
  }

  /** A peer joined, or a new driver says that it is still there. */
  handleJoin(peer: number, roleIndex: number): void {
    const state = this.#state;
    const known = state.peers.get(peer);
    if (peer === state.peer || (known === undefined && state.peers.size >= state.grants.maxPeers)) {
      return;
    }
    const role = this.#believed(peer, roleIndex);
    this.#unconfirmed.delete(peer);
    state.peers.set(peer, role);
    if (known === undefined) this.#callbacks.onPlayerJoin?.(peer, this.#nameOf(role));
    else if (known !== role) this.#callbacks.onRoleChanged?.(peer, this.#nameOf(role));
  }

  /** A peer, or this engine itself, has another role. */
  handleRole(peer: number, roleIndex: number): void {
    const state = this.#state;
    if (peer !== state.peer && !state.peers.has(peer)) return;
    if (state.isAuthority) {
      if (this.#believed(peer, roleIndex) !== roleIndex) return;
    } else if (peer === state.peer) state.roleIndex = roleIndex;
    if (peer !== state.peer) state.peers.set(peer, roleIndex);
    this.#callbacks.onRoleChanged?.(peer, this.#nameOf(roleIndex));
  }

  /** A peer is gone for good. */
  handleLeave(peer: number, reason: string): void {
    this.#assigned.delete(peer);
    this.#unconfirmed.delete(peer);
    if (this.#state.peers.delete(peer)) this.#callbacks.onPlayerLeave?.(peer, reason);
  }

  /** This engine is out of the world: after the next `joined` the peers have to be named again. */
  handleLeft(): void {
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
