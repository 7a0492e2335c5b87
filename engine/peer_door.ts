// The engine's door for what its driver says of peers: who came, by which token, in which role. A token is believed only if it holds before this
// engine's own eyes; what peers do is judged behind other doors.

import { ALL_PEERS, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import { Fault } from "../protocol/faults.ts";
import { NONCE_HASH_BYTES, NONCE_RECORD_BYTES } from "../protocol/limits.ts";
import { SERVER_ROLE } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { checkIdentity, type IdentityTools } from "./identity_check.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";
import type { NonceKeeper } from "./nonce_keeper.ts";
import type { PeerRoster } from "./roster.ts";

/** A message of the driver of one kind. */
type From<K extends ToEngine["kind"]> = Extract<ToEngine, { kind: K }>;

/** What the door needs. */
export interface PeerDoorParts {
  /** What all parts of the link share. */
  readonly state: LinkState;
  /** Frames on their way out. */
  readonly outbox: LinkOutbox;
  /** Other peers. */
  readonly roster: PeerRoster;
  /** Join tokens that were used. */
  readonly nonces: NonceKeeper;
  /** Checks of who peers are; left out, this engine believes nobody. */
  readonly identityTools: IdentityTools | undefined;
  /** Game code. */
  readonly callbacks: EngineCallbacks;
}

/** Takes what a driver says of peers. A fault is what no correct driver says. */
export class PeerDoor {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #roster: PeerRoster;
  readonly #nonces: NonceKeeper;
  readonly #identityTools: IdentityTools | undefined;
  readonly #callbacks: EngineCallbacks;

  /** Before the first message. */
  constructor(parts: PeerDoorParts) {
    this.#state = parts.state;
    this.#outbox = parts.outbox;
    this.#roster = parts.roster;
    this.#nonces = parts.nonces;
    this.#identityTools = parts.identityTools;
    this.#callbacks = parts.callbacks;
  }

  /** A peer came, or has another role. */
  handleRole(message: From<"peerJoin" | "roleChanged">): Fault | undefined {
    const roleIndex = this.#state.roleIndexOf(message.roleId);
    // The server's role is the server's alone: an engine that took it would let everything out.
    const isServers = roleIndex === SERVER_ROLE && message.peer !== SERVER_PEER;
    if (roleIndex === undefined) return Fault.UnknownId;
    if (isServers || message.peer === ALL_PEERS) return Fault.OutOfRange;
    if (message.kind === "peerJoin") {
      if (this.#roster.handleJoin(message.peer, roleIndex)) return undefined;
      // An honest driver whose check came out otherwise shall not keep a peer that its engine does not see.
      const reason = "its join token did not hold before the engine";
      this.#outbox.push({ kind: "kick", peer: message.peer, reason });
    } else this.#roster.handleRole(message.peer, roleIndex);
    return undefined;
  }

  /** Without checks of its own an engine keeps what it is told; with them every token has been shown to it before. */
  handleNonces(used: Uint8Array): void {
    if (this.#identityTools === undefined) return this.#nonces.add(used);
    for (let at = 0; at < used.length; at += NONCE_RECORD_BYTES) {
      if (this.#nonces.has(used.subarray(at, at + NONCE_HASH_BYTES))) continue;
      return void this.#state.deny("peer", Rule.Role, { peer: SERVER_PEER });
    }
  }

  /** A peer's role is its token's only if the token holds before this engine's own eyes. */
  handleIdentity(message: From<"identity">): void {
    const state = this.#state;
    const { peer } = message;
    const isFree = peer !== SERVER_PEER && peer !== ALL_PEERS && !state.peers.has(peer);
    const proven = isFree
      ? checkIdentity(message, state.grants, this.#nonces, this.#identityTools)
      : undefined;
    if (proven === undefined) return void state.deny("peer", Rule.Role, { peer });
    const { subject, key, roleIndex } = proven;
    this.#roster.assign(peer, roleIndex);
    this.#callbacks.onIdentity?.(peer, { subject, key, role: state.grants.roles[roleIndex]!.name });
  }
}
