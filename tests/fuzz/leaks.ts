// Leaks of a single bit of a secret, planted into the product for the length of a test: into the form of a value, a sample time, the moment
// of a datagram, and the order of what is sent. The comparison of twins must see each of them.

import { PeerLink } from "../../driver/peer_link.ts";
import { Interest } from "../../replication/interest.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { ValueEncoder } from "../../replication/value_encoder.ts";
import { replaceMethod } from "./faults.ts";
import type { PlantLeak } from "./non_interference.ts";

/** One planted leak. */
export interface PlantedLeak {
  readonly name: string;
  readonly plant: PlantLeak;
}

/** Leaks that `non_interference_test.ts` and the long run plant. */
export const PLANTED_LEAKS: readonly PlantedLeak[] = [
  {
    name: "a value goes out whole where the bit is set, and as a difference where it is not",
    plant: (run) =>
      replaceMethod(
        SnapshotSender.prototype,
        "updateView",
        (update) =>
          function (this: SnapshotSender, tick, candidates) {
            update.call(this, tick, candidates);
            const { world } = run.pair.server.core;
            if (run.secretBit === 0 || candidates.count === 0) return;
            const id = world.idAt(candidates.slots[0]!);
            world.forEachComponent(id, (c) => this.putRight(id, c));
          },
      ),
  },
  {
    name: "the bit is the last one of a sample time",
    plant: (run) =>
      replaceMethod(
        ValueEncoder.prototype,
        "sampleTime",
        (timeOf) =>
          function (this: ValueEncoder, component, row, version, mask) {
            return timeOf.call(this, component, row, version, mask) - run.secretBit;
          },
      ),
  },
  {
    name: "one slot passes without state where the bit is set",
    plant: (run) => {
      let left = 1;
      return replaceMethod(
        PeerLink.prototype,
        "sendSlot",
        (send) =>
          function (this: PeerLink, time, nowMs, withState) {
            const isHeldBack = run.secretBit === 1 && withState && nowMs > 700 && left-- > 0;
            send.call(this, time, nowMs, withState && !isHeldBack);
          },
      );
    },
  },
  {
    name: "what is nearest depends on the bit",
    plant: (run) =>
      replaceMethod(
        Interest.prototype,
        "query",
        (query) =>
          function (this: Interest, position, out, seen) {
            query.call(this, position, out, seen);
            if (run.secretBit === 1 && out.count > 0) out.distanceSquared[0] = 0;
          },
      ),
  },
];
