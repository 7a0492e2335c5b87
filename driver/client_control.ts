// What a server says on the control stream once a client has joined: each kind to the part that it concerns.

import { type ComponentAdjustment, packAdjustments } from "../protocol/adjustment.ts";
import type { ControlMessage } from "../protocol/control_messages.ts";
import { Fault } from "../protocol/faults.ts";
import { beyondGrantable, isAdjustmentOf } from "../permissions/adjustments.ts";
import { type ComponentGrant, SERVER_ROLE } from "../permissions/grants.ts";
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
  /** Called when this client's role has changed: channels are judged again. */
  readonly roleChanged: () => void;
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
        signals.forgetPeer(peer);
        state.push({ kind: "peerLeave", peer, reason: "left" });
      }
      return;
    case "role":
      return handleRole(parts, message.peer, message.roleId, message.grantEpoch);
    case "grants":
      return handleGrants(parts, message.adjustment, message.grantEpoch);
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

function handleRole(
  parts: ControlParts,
  peer: number,
  roleId: number,
  grantEpoch: number,
): void {
  const { state } = parts;
  const joined = state.joined!;
  const role = state.grants.roles.find((r) => r.id === roleId && r.index !== SERVER_ROLE);
  if (role === undefined) return state.violate(joined.connection, Fault.UnknownId);
  if (peer === joined.peer) {
    state.role = role.index;
    takeRights(parts, grantEpoch);
    parts.signals.judgeAgain();
    parts.roleChanged();
  }
  state.push({ kind: "roleChanged", peer, roleId });
}

function handleGrants(
  parts: ControlParts,
  adjustment: ComponentAdjustment,
  grantEpoch: number,
): void {
  const { state } = parts;
  const component = adjustedComponent(state, adjustment);
  if (typeof component === "number") {
    return state.violate(state.joined!.connection, component);
  }
  state.adjusted.set(component, adjustment);
  takeRights(parts, grantEpoch);
  tellAdjustments(state);
}

/** The present role and adjustments count on both halves of the link, and in what is held of own entities. */
function takeRights({ state, own }: ControlParts, grantEpoch: number): void {
  const { sender, receiver } = state.joined!;
  sender.setRole(state.role, grantEpoch);
  receiver.setRole(state.role, grantEpoch);
  own.noteUnwritable();
  own.forgetUnreadable();
}

/** The component of an adjustment that a server may send, or what is wrong with it. */
function adjustedComponent(
  { grants }: ClientState,
  adjustment: ComponentAdjustment,
): ComponentGrant | Fault {
  const component = grants.components.find((one) => one.id === adjustment.componentId);
  if (component === undefined) return Fault.UnknownId;
  if (!isAdjustmentOf(component, adjustment)) return Fault.OutOfRange;
  const [read, write] = beyondGrantable(component, adjustment);
  return (read | write) === 0 ? component : Fault.Forbidden;
}

/** Takes over what `accepted` says of a place, in place of all before; false when no server may say that. */
export function takeAdjustments(state: ClientState, all: readonly ComponentAdjustment[]): boolean {
  state.adjusted.clear();
  for (const one of all) {
    const component = adjustedComponent(state, one);
    if (typeof component === "number") return false;
    state.adjusted.set(component, one);
  }
  return true;
}

/** Tells the engine what was granted to it and revoked from it, whole. */
export function tellAdjustments(state: ClientState): void {
  const all = state.adjusted.components().map((index) => ({
    componentId: state.grants.components[index]!.id,
    ...state.adjusted.of(index),
  }));
  state.push({ kind: "grantsChanged", adjustments: packAdjustments(all) });
}
