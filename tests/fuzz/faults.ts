// Faults of the kinds that a permission system can have, planted into the product for the length of a test: each must be caught, or the
// judge is blind. Nothing of the product knows of them.

import { ALLOWED, Gate } from "../../permissions/gate.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { ReceivedEntities } from "../../replication/received_entities.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import type { FuzzWorld } from "./worlds.ts";
import type { FindingKind } from "./judge.ts";

/** One planted fault. */
export interface PlantedFault {
  readonly name: string;
  /** What the judge must find. */
  readonly finds: FindingKind;
  /** Words that the finding holds, where others of its kind prove less. */
  readonly says?: string;
  /** Puts it in; the result takes it out again. */
  readonly plant?: () => () => void;
  /** Changes the compiled tables of every host. */
  readonly miscompile?: (grants: Grants, world: FuzzWorld) => Grants;
}

/** Sets a method of a prototype; the result sets it back. */
export function replaceMethod<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  make: (original: T[K]) => T[K],
): () => void {
  const original = prototype[name];
  prototype[name] = make(original);
  return () => {
    prototype[name] = original;
  };
}

function withComponents(
  grants: Grants,
  change: (component: ComponentGrant) => ComponentGrant,
): Grants {
  return { ...grants, components: grants.components.map(change) };
}

/** A mask with the lowest bit that it lacks. */
function oneBitMore(mask: number, all: number): number {
  const missing = all & ~mask;
  return mask | (missing & -missing);
}

/** Faults that `permissions_test.ts` and the long run plant. */
export const PERMISSION_FAULTS: readonly PlantedFault[] = [
  {
    name: "read masks with one bit too many",
    finds: "leak",
    miscompile: (grants) =>
      withComponents(grants, (one) => ({
        ...one,
        readMasks: one.readMasks.map((mask) => oneBitMore(mask, one.allFields)),
      })),
  },
  {
    name: "an owner's read mask with one bit too many",
    finds: "leak",
    miscompile: (grants) =>
      withComponents(grants, (one) => ({
        ...one,
        ownerReadMask: oneBitMore(one.ownerReadMask, one.allFields),
      })),
  },
  {
    name: "write masks with one bit too many",
    finds: "unauthorised",
    says: "wrote",
    miscompile: (grants) =>
      withComponents(grants, (one) => ({
        ...one,
        writeMasks: one.writeMasks.map((mask) => oneBitMore(mask, one.allFields)),
      })),
  },
  {
    name: "a host that takes nothing away",
    finds: "leak",
    miscompile: (grants) =>
      withComponents(grants, (one) => ({
        ...one,
        hostSendMask: one.allFields,
        hostReceiveMask: one.allFields,
      })),
  },
  {
    name: "a skipped check of what comes in",
    finds: "unauthorised",
    says: "wrote",
    plant: () =>
      both(
        replaceMethod(
          Gate.prototype,
          "decideWrite",
          (decide) =>
            function (this: Gate, q) {
              return q.direction === "in" ? ALLOWED : decide.call(this, q);
            },
        ),
        replaceMethod(
          Gate.prototype,
          "writeMask",
          (maskOf) =>
            function (this: Gate, component, role, isOwner, direction) {
              return direction === "in"
                ? this.grants.components[component]?.allFields ?? 0
                : maskOf.call(this, component, role, isOwner, direction);
            },
        ),
      ),
  },
  {
    name: "a gate that takes everyone for the owner",
    finds: "unauthorised",
    says: "wrote",
    plant: () =>
      both(
        replaceMethod(
          Gate.prototype,
          "decideWrite",
          (decide) =>
            function (this: Gate, q) {
              return decide.call(this, { ...q, isOwner: q.isOwner || q.direction === "in" });
            },
        ),
        replaceMethod(
          Gate.prototype,
          "writeMask",
          (maskOf) =>
            function (this: Gate, component, role, isOwner, direction) {
              return maskOf.call(this, component, role, isOwner || direction === "in", direction);
            },
        ),
      ),
  },
  {
    name: "a sender that keeps its masks when a role changes",
    finds: "leak",
    plant: () =>
      replaceMethod(
        SnapshotSender.prototype,
        "setRole",
        () =>
          function (this: SnapshotSender, _role: number, grantEpoch: number) {
            this.grantEpoch = grantEpoch;
          },
      ),
  },
  {
    name: "a receiver that erases nothing when a role changes",
    finds: "retained",
    says: "driver keeps",
    plant: () => replaceMethod(ReceivedEntities.prototype, "eraseComponents", () => () => {}),
  },
  {
    name: "a receiver that keeps what only an owner may read",
    finds: "retained",
    says: "driver keeps",
    plant: () => replaceMethod(ReceivedEntities.prototype, "eraseBeyond", () => () => {}),
  },
  {
    name: "events that are given to everyone",
    finds: "leak",
    plant: () => replaceMethod(Gate.prototype, "decideEvent", () => () => ALLOWED),
  },
  {
    name: "spawns that nobody judges",
    finds: "unauthorised",
    plant: () =>
      both(
        replaceMethod(Gate.prototype, "decideSpawn", () => () => ALLOWED),
        replaceMethod(Gate.prototype, "decideChange", () => () => ALLOWED),
      ),
  },
];

function both(...undo: readonly (() => void)[]): () => void {
  return () => undo.forEach((one) => one());
}
