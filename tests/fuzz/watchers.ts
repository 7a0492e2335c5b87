// Ears of the judge: what the server's core is ordered and does to its world, and every byte that leaves for a peer. They change nothing on
// the way.

import type { ToDriver } from "../../protocol/engine_messages.ts";
import { ControlFrames } from "../../protocol/control_frames.ts";
import { decodeControl } from "../../protocol/control_messages.ts";
import type { ServerCore } from "../../driver/server_core.ts";
import type { Connection } from "../../transport/connection.ts";
import { tapConnection } from "../support/wiretap.ts";
import { CANARY_BYTES } from "./canaries.ts";
import type { Actor, Judge } from "./judge.ts";
import type { Adjustment } from "./rights.ts";

/** Who acts at this moment; shared by the watchers of one run. */
export interface Stage {
  actor: Actor;
}

/** A message that sets a peer's adjustments of one component, as far as the judge needs it. */
interface SetGrants {
  readonly peer: number;
  readonly componentId: number;
  readonly readGranted: number;
  readonly readRevoked: number;
  readonly writeGranted: number;
  readonly writeRevoked: number;
}

/** Tells the judge of every order that the core takes from its engine, and of every change of its world. */
export function watchCore(core: ServerCore, judge: Judge, stage: Stage): void {
  const handle = core.handleEngine;
  core.handleEngine = (message, nowMs) => {
    const before = stage.actor;
    stage.actor = { kind: "engine" };
    noteOrder(message, judge);
    handle.call(core, message, nowMs);
    stage.actor = before;
  };
  const { world } = core;
  const { spawn, despawn, addComponent, removeComponent, write, setOwner } = world;
  world.spawn = (id, owner, tick) => {
    judge.commanding(stage.actor, "a spawn", owner);
    judge.spawned(id, owner);
    spawn.call(world, id, owner, tick);
  };
  world.despawn = (id, tick) => {
    judge.commanding(stage.actor, "a despawn", world.owner(id));
    judge.ended(id);
    despawn.call(world, id, tick);
  };
  world.addComponent = (id, c, value, tick, time) => {
    judge.composing(stage.actor, id, c, value);
    addComponent.call(world, id, c, value, tick, time);
    judge.valued(id, c, -1, value);
  };
  world.removeComponent = (id, c, tick) => {
    judge.composing(stage.actor, id, c, undefined);
    judge.ended(id, c);
    removeComponent.call(world, id, c, tick);
  };
  world.write = (id, c, mask, value, tick, time) => {
    const changed = write.call(world, id, c, mask, value, tick, time);
    if (changed !== 0) {
      judge.changing(stage.actor, id, c, changed);
      const now = judge.scratch(c);
      world.read(id, c, now);
      judge.valued(id, c, changed, now);
    }
    return changed;
  };
  world.setOwner = (id, owner, tick) => {
    if (stage.actor.kind !== "engine") judge.find("unauthorised", `entity ${id} changed hands`);
    judge.ownerChanged(id, owner);
    setOwner.call(world, id, owner, tick);
  };
}

function noteOrder(message: ToDriver, judge: Judge): void {
  const { roles, components } = judge.grants;
  if (message.kind === "setRole") {
    const role = roles.find(({ id, index }) => id === message.roleId && index !== 0);
    if (role !== undefined) judge.roleChanged(message.peer, role.name);
  }
  const order = message as unknown as { readonly kind: string } & SetGrants;
  if (order.kind === "setGrants") {
    const component = components.find(({ id }) => id === order.componentId);
    if (component === undefined) return;
    const names = (mask: number) =>
      new Set(component.fields.filter((f) => (mask & (1 << f.index)) !== 0).map((f) => f.name));
    judge.adjusted(order.peer, component.name, adjustmentOf(order, names));
  }
}

function adjustmentOf(order: SetGrants, names: (mask: number) => Set<string>): Adjustment {
  return {
    readGranted: names(order.readGranted),
    readRevoked: names(order.readRevoked),
    writeGranted: names(order.writeGranted),
    writeRevoked: names(order.writeRevoked),
  };
}

/** The server's end of a connection, with the judge listening: who it belongs to is read from the server's own answer to the join. */
export function watchConnection(
  acceptor: Connection,
  now: () => number,
  judge: Judge,
  stage: Stage,
): Connection {
  let peer = -1;
  const frames = new ControlFrames();
  const tails = new Map<number, Uint8Array>();
  const tapped = tapConnection(acceptor, now, (event) => {
    if (event.way !== "out") return;
    if (event.kind === "datagram") judge.sent(peer, event.bytes, true);
    if (event.kind !== "data") return;
    if (peer < 0) {
      frames.handleBytes(event.bytes);
      for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
        const result = decodeControl(frame, "fromAuthority");
        if (!result.ok || result.message.kind !== "accepted") continue;
        peer = result.message.peer;
        if (!result.message.resumed) judge.peerJoined(peer);
      }
    }
    // A canary may lie across two writes of a stream.
    const tail = tails.get(event.stream) ?? new Uint8Array(0);
    const bytes = new Uint8Array(tail.length + event.bytes.length);
    bytes.set(tail);
    bytes.set(event.bytes, tail.length);
    tails.set(event.stream, bytes.slice(-(CANARY_BYTES - 1)));
    judge.sent(peer, bytes, false);
  });
  return {
    start: (handler) =>
      tapped.start({
        handleDatagram: (bytes) => as({ kind: "peer", peer }, () => handler.handleDatagram(bytes)),
        handleStream: (stream) => as({ kind: "peer", peer }, () => handler.handleStream(stream)),
        // Who is gone for good takes its entities along.
        handleClosed: (info) => as({ kind: "time" }, () => handler.handleClosed(info)),
      }),
    get maxDatagramSize() {
      return tapped.maxDatagramSize;
    },
    sendDatagram: (bytes) => tapped.sendDatagram(bytes),
    openStream: () => tapped.openStream(),
    close: (code, reason) => tapped.close(code, reason),
    get channelBinding() {
      return tapped.channelBinding;
    },
    label: tapped.label,
  };

  function as(actor: Actor, act: () => void): void {
    const before = stage.actor;
    stage.actor = actor;
    act();
    stage.actor = before;
  }
}
