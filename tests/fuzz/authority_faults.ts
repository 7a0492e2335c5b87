// Faults of the kinds that shared authority can have, planted into the product for the length of a test: each must be found, or the judge is
// blind. Nothing of the product knows of them.

import { ClientOwn } from "../../driver/client_own.ts";
import { EngineOutbox } from "../../driver/engine_outbox.ts";
import { ServerCore } from "../../driver/server_core.ts";
import { ServerWrites } from "../../driver/server_writes.ts";
import { Announcer } from "../../replication/announcer.ts";
import { EntityPlanner, Planned } from "../../replication/entity_planner.ts";
import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { ENTITY_FIRST } from "../../replication/track_pool.ts";
import type { ComponentValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import type { AuthorityFindingKind } from "./authority_judge.ts";
import { replaceMethod } from "./faults.ts";

/** One planted fault. */
export interface AuthorityFault {
  readonly name: string;
  /** Any of these must be found. */
  readonly finds: readonly AuthorityFindingKind[];
  /** Puts it in; the result takes it out again. */
  readonly plant: () => () => void;
}

/** Faults that `authority_test.ts` and the long run plant. */
export const AUTHORITY_FAULTS: readonly AuthorityFault[] = [
  {
    name: "overrides that raise no epoch",
    finds: ["epoch"],
    plant: () => replaceMethod(World.prototype, "raiseEpoch", () => () => {}),
  },
  {
    name: "transfers that raise no epoch",
    finds: ["epoch"],
    plant: () =>
      replaceMethod(
        World.prototype,
        "setOwner",
        () =>
          function (this: World, id, owner, tick) {
            this.adoptHeader(id, owner, this.epoch(id), tick);
          },
      ),
  },
  {
    name: "owners' writes that count under any epoch",
    finds: ["late"],
    plant: () => both(plantAnyEpoch(), plantAnyAcknowledgement()),
  },
  {
    name: "values that are taken for acknowledged",
    finds: ["late"],
    plant: () => both(plantAnyAcknowledgement(), plantHeadersAlone()),
  },
  {
    name: "values that are not put right",
    finds: ["diverged"],
    plant: () => replaceMethod(SnapshotSender.prototype, "putRight", () => () => {}),
  },
  {
    name: "an owner that takes no override",
    finds: ["late", "diverged"],
    plant: () => replaceMethod(ClientOwn.prototype, "override", () => () => {}),
  },
  {
    name: "a receiver that takes what came last for the newest",
    finds: ["back", "stale"],
    plant: plantLastForNewest,
  },
  {
    name: "a receiver that gives its engine no newer version",
    finds: ["untold"],
    plant: () => {
      let count = 0;
      return replaceMethod(
        Announcer.prototype,
        "handle",
        (handle) =>
          function (this: Announcer, decoded, sink) {
            count += 1;
            handle.call(this, decoded, count % 50 === 0 ? { ...sink, value: () => {} } : sink);
          },
      );
    },
  },
  {
    name: "a late change that brings back what its owner ended",
    finds: ["back"],
    plant: () => replaceMethod(ClientOwn.prototype, "isEnding", () => () => false),
  },
  {
    name: "a loser that keeps what it added too late",
    finds: ["diverged"],
    plant: () => replaceMethod(Announcer.prototype, "noteShown", () => () => {}),
  },
  {
    name: "a sender that says nothing again before it takes it for lost",
    finds: ["diverged"],
    plant: () =>
      replaceMethod(
        EntityPlanner.prototype,
        "add",
        (add) =>
          function (this: EntityPlanner, track, maxBits, sequence) {
            return this.isHasty ? Planned.Nothing : add.call(this, track, maxBits, sequence);
          },
      ),
  },
  {
    name: "a loser that hears of no epoch",
    finds: ["diverged"],
    plant: () => replaceMethod(EngineOutbox.prototype, "markOwner", () => () => {}),
  },
];

function both(...undo: readonly (() => void)[]): () => void {
  return () => undo.forEach((one) => one());
}

/** Values of owners come under the epoch that holds. */
function plantAnyEpoch(): () => void {
  let world: World | undefined;
  return both(
    replaceMethod(
      ServerCore.prototype,
      "handleTimer",
      (handle) =>
        function (this: ServerCore, nowMs) {
          world = this.world;
          handle.call(this, nowMs);
        },
    ),
    replaceMethod(
      ServerWrites.prototype,
      "apply",
      (apply) =>
        function (this: ServerWrites, peer, snapshot, time, nowMs) {
          for (const entry of snapshot.entries) {
            if (world?.isAlive(entry.id)) {
              (entry as { epoch: number }).epoch = world.epoch(entry.id);
            }
          }
          apply.call(this, peer, snapshot, time, nowMs);
        },
    ),
  );
}

function plantAnyAcknowledgement(): () => void {
  return replaceMethod(SnapshotSender.prototype, "isAcked", () => () => true);
}

/** Headers do not take along the values that are under way. */
function plantHeadersAlone(): () => void {
  return replaceMethod(
    EntityPlanner.prototype,
    "add",
    (add) =>
      function (this: EntityPlanner, at, maxBits, sequence) {
        const words = this.pool.entities;
        const first = words[at + ENTITY_FIRST]!;
        if (this.isHeaderDue(at)) words[at + ENTITY_FIRST] = -1;
        const planned = add.call(this, at, maxBits, sequence);
        words[at + ENTITY_FIRST] = first;
        return planned;
      },
  );
}

/** By receiver, entity and component: what the last datagram brought. */
function plantLastForNewest(): () => void {
  const last = new WeakMap<SnapshotReceiver, Map<string, [number, ComponentValue]>>();
  return both(
    replaceMethod(
      SnapshotReceiver.prototype,
      "commit",
      (commit) =>
        function (this: SnapshotReceiver, decoded) {
          commit.call(this, decoded);
          let values = last.get(this);
          if (values === undefined) last.set(this, values = new Map());
          for (let i = 0; i < decoded.count; i++) {
            const { kind, id, component, held, value, fresh } = decoded.entries[i]!;
            if (kind === "header" && fresh) {
              for (const key of values.keys()) if (key.startsWith(`${id} `)) values.delete(key);
            } else if (kind === "value") {
              const copy = { lanes: value.lanes.slice(), blobs: [...value.blobs] };
              values.set(`${id} ${component}`, [held, copy]);
            }
          }
        },
    ),
    replaceMethod(
      SnapshotReceiver.prototype,
      "read",
      (read) =>
        function (this: SnapshotReceiver, id, c, out) {
          const held = read.call(this, id, c, out);
          const late = last.get(this)?.get(`${id} ${c}`);
          if (held === 0 || late === undefined) return held;
          out.lanes.set(late[1].lanes);
          for (const [i, blob] of late[1].blobs.entries()) out.blobs[i] = blob;
          return late[0];
        },
    ),
    replaceMethod(
      Announcer.prototype,
      "handle",
      (handle) =>
        function (this: Announcer, decoded, sink) {
          handle.call(this, decoded, sink);
          for (let i = 0; i < decoded.count; i++) {
            const { kind, fresh, id, component, held, value, time } = decoded.entries[i]!;
            if (kind !== "value" || fresh || !this.isAnnounced(id)) continue;
            sink.value(id, component, held, value, time);
          }
        },
    ),
  );
}
