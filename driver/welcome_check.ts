// Does an engine's welcome fit this driver? A sentence for the operator where it does not.

import type { ToDriver } from "../protocol/engine_messages.ts";
import { ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";

/** Why an engine's welcome is not acceptable; `undefined` when it is. */
export function refusalOf(
  message: Extract<ToDriver, { kind: "welcome" }>,
  grants: Grants,
): string | undefined {
  if (message.linkVersion !== ENGINE_LINK_VERSION) {
    return `The engine speaks engine-link version ${message.linkVersion}, this driver ` +
      `${ENGINE_LINK_VERSION}: use a matching SDK.`;
  }
  if (message.schemaHash === grants.schemaHash) return undefined;
  return `The engine's manifest has the schema hash ${message.schemaHash.slice(0, 16)}…, this ` +
    `driver's ${grants.schemaHash.slice(0, 16)}…: give both the same world part.`;
}
