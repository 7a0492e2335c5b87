// What a client's driver says was granted to this engine's peer and revoked from it: believed as far as the manifest lets it be granted. What
// becomes of the world is not decided here.

import { unpackAdjustments } from "../protocol/adjustment.ts";
import { SERVER_PEER } from "../protocol/engine_messages.ts";
import { beyondGrantable, isAdjustmentOf } from "../permissions/adjustments.ts";
import { Rule } from "../permissions/rule.ts";
import type { LinkState } from "./link_state.ts";

/** Takes over all adjustments, in place of those before; what no manifest allows is denied. */
export function takeOwnGrants(state: LinkState, words: Uint32Array): void {
  state.ownAdjusted.clear();
  for (const one of unpackAdjustments(words)) {
    const component = state.componentById(one.componentId);
    const deny = (rule: Rule, fields = 0) =>
      state.deny("peer", rule, { id: one.componentId, fields, peer: SERVER_PEER });
    if (component === undefined) {
      deny(Rule.Undeclared);
    } else if (!isAdjustmentOf(component, one)) {
      deny(Rule.Field);
    } else {
      const [read, write] = beyondGrantable(component, one);
      if ((read | write) !== 0) deny(Rule.NotGrantable, read | write);
      // What the driver takes away it could keep to itself as well.
      state.ownAdjusted.set(component, {
        ...one,
        readGranted: one.readGranted & ~read,
        writeGranted: one.writeGranted & ~write,
      });
    }
  }
}
