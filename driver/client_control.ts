// What a server says on the control stream once a client has joined: each kind to the part that it concerns.

import type { ControlMessage } from "../protocol/control_messages.ts";
import { Fault } from "../protocol/faults.ts";
import { SERVER_ROLE } from "../permissions/grants.ts";
import { ruleOfCode } from "../permissions/rule.ts";
import type { ClientOwn } from "./client_own.ts";
import type { ClientSignals } from "./client_signals.ts";
import type { ClientState } from "./client_state.ts";

/** The parts of a client core that hear of control messages. */
export interface ControlParts {
  /** Shared state; joined. */
  readonly state: ClientState;
  /** Own entities. */
  readonly own: ClientOwn;
  /** Events and voice. */
  readonly signals: ClientSignals;
}

/** Handles one message; one that is out of place ends the connection. */
export function handleControl(parts: ControlParts, message: ControlMessage, nowMs: number): void {
  const { state, own, signals } = parts;
  const joined = state.joined!;
  switch (message.kind) {
    case "roster":
      for (const { peer, roleId } of message.joins) {
        if (peer === joined.peer) continue;
        state.push({ kind: "peerJoin", peer, roleId, resumed: false });
      }
      for (const peer of message.leaves) {
        state.push({ kind: "peerLeave", peer, reason: "left" });
      }
      return;
    case "role":
      return handleRole(state, message.peer, message.roleId, message.grantEpoch);
    case "entityIds":
      return own.addIds(message.ids);
    case "spawnRefused":
      return own.handleSpawnRefused(message.id, ruleOfCode(message.rule));
    case "denied":
      state.counters.add("denials");
      state.denials.record({
        door: "remote",
        rule: ruleOfCode(message.rule),
        peer: joined.peer,
        subject: message.subject,
        id: message.id,
        fields: message.fields,
        handle: state.handles.handleOf(message.entity),
        count: message.count,
      }, nowMs);
      return;
    case "event":
      return signals.handlePeerEvent(message, nowMs);
    default:
      return state.violate(joined.connection, Fault.Unexpected);
  }
}

function handleRole(state: ClientState, peer: number, roleId: number, grantEpoch: number): void {
  const joined = state.joined!;
  const role = state.grants.roles.find((r) => r.id === roleId && r.index !== SERVER_ROLE);
  if (role === undefined) return state.violate(joined.connection, Fault.UnknownId);
  if (peer === joined.peer) {
    state.role = role.index;
    joined.sender.setRole(role.index, grantEpoch);
    joined.receiver.setRole(role.index, grantEpoch);
  }
  state.push({ kind: "roleChanged", peer, roleId });
}
