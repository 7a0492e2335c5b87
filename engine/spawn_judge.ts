// The engine's door for spawns of its driver: which may be taken, by this engine's own tables and ledger. It enters nothing in either.

import { DRIVER_HANDLE_BIT, type Handle, SERVER_PEER } from "../protocol/engine_messages.ts";
import { MAX_ENTITIES } from "../protocol/limits.ts";
import { Rule } from "../permissions/rule.ts";
import type { LinkState } from "./link_state.ts";
import type { SpawnCounts } from "./spawn_counts.ts";

/** Judges spawns of entities that the engine does not know. */
export class SpawnJudge {
  readonly #state: LinkState;

  /** Judges by the link's own tables. */
  constructor(state: LinkState) {
    this.#state = state;
  }

  /** Why a spawn of the driver may not be taken; one that may is counted. */
  refusalOf(handle: Handle, id: number, owner: number, counts: SpawnCounts): Rule | undefined {
    const state = this.#state;
    if (handle < DRIVER_HANDLE_BIT || state.ledger.byId(id) !== undefined) {
      return Rule.EntityUnknown;
    }
    if (state.ledger.size >= Math.min(MAX_ENTITIES, state.grants.maxEntities)) {
      return Rule.SpawnCount;
    }
    if (!state.isAuthority) return undefined;
    // To the holder of authority the driver brings only what peers spawn, and only what they may spawn.
    if (owner === SERVER_PEER) return Rule.Authority;
    if (!state.peers.has(owner)) return Rule.Peer;
    const components = counts.componentsOf(handle);
    const refusal = components.length > 0
      ? this.#peersRefusal(owner, components, counts)
      : this.#bareRefusal(owner, counts);
    if (refusal === undefined) counts.noteSpawn(handle, owner, components);
    return refusal;
  }

  #peersRefusal(
    owner: number,
    components: readonly number[],
    counts: SpawnCounts,
  ): Rule | undefined {
    const decision = this.#state.gate.decideSpawn({
      components,
      roleIndex: this.#state.roleOf(owner),
      ownedCount: counts.owned(owner),
      ownedWith: (component) => counts.ownedWith(owner, component),
      direction: "in",
    });
    return decision.allowed ? undefined : decision.rule;
  }

  /** Its owner has taken away all that it spawned with before the batch was made: it may have been anything that this peer may spawn. */
  #bareRefusal(owner: number, counts: SpawnCounts): Rule | undefined {
    let refusal: Rule | undefined = Rule.SpawnRole;
    for (const { index } of this.#state.grants.components) {
      refusal = this.#peersRefusal(owner, [index], counts);
      if (refusal === undefined) break;
    }
    return refusal;
  }
}
