// Does a driver fit this engine? Compares its hello with the engine's own tables and says in one sentence what to change. The driver's
// word decides nothing: what it claims is only ever compared.

import { ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import type { ToEngine } from "../protocol/engine_messages.ts";
import type { Grants } from "../permissions/grants.ts";
import type { LinkRole } from "./link_state.ts";

/** The first message of a driver. */
export type Hello = Extract<ToEngine, { kind: "hello" }>;

/** Checks version, role, schema hash and component table, in this order; the reason for a refusal, or `undefined`. */
export function checkHello(hello: Hello, grants: Grants, role: LinkRole): string | undefined {
  if (hello.linkVersion !== ENGINE_LINK_VERSION) {
    return `engine link version ${hello.linkVersion} of the driver, ${ENGINE_LINK_VERSION} of the engine: ` +
      "use the driver and the SDK of one release";
  }
  if (hello.role !== role) {
    return `the driver's role is "${hello.role}", the engine expects "${role}": ` +
      "start the driver with this engine's manifest";
  }
  if (hello.schemaHash !== grants.schemaHash) {
    return `schema ${hello.schemaHash.slice(0, 12)} of the driver, ${
      grants.schemaHash.slice(0, 12)
    } of the engine: give both the same "world" part`;
  }
  const isEqual = hello.components.length === grants.components.length &&
    grants.components.every(({ id, name, rowBytes }, i) => {
      const [theirId, theirName, theirBytes] = hello.components[i]!;
      return theirId === id && theirName === name && theirBytes === rowBytes;
    });
  return isEqual
    ? undefined
    : "the driver's component ids or row sizes differ from the engine's: use the driver and the SDK of one release";
}
