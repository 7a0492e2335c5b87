// Which connection gives up its place when too many have not joined yet: first of which network, then how far its join has come, then how long
// it has waited; and how many connections a world's server has use for. It ends nothing itself.

import { networkOf } from "../protocol/address_label.ts";
import { assert } from "../protocol/assert.ts";
import {
  JOIN_FEW_PLACES,
  JOIN_PROOF_GRACE_MS,
  MAX_CONNECTIONS,
  MAX_HALF_JOINED,
} from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import type { JoinAttempt, JoinStage } from "../session/join_attempt.ts";
import type { Connection } from "../transport/connection.ts";

/** What is looked at of a connection that has not joined. */
export interface Waiting {
  readonly connection: Pick<Connection, "label">;
  readonly attempt: Pick<JoinAttempt, "stage">;
  /** When it connected, ms. */
  readonly sinceMs: number;
}

/**
 * Connections that a server's listener has use for at once: the world's peers, those that wait at the door, and one for which another of them
 * makes room. Were there none for that one, a full door would be shut by its listener before anybody could choose who yields.
 */
export function mostConnections({ maxPeers }: Pick<Grants, "maxPeers">): number {
  const most = maxPeers + MAX_HALF_JOINED + 1;
  assert(most <= MAX_CONNECTIONS, "a world has no more peers than one server");
  return most;
}

/**
 * Who yields to a newcomer with this label, of connections in the order in which they came; `undefined`: nobody.
 *
 * The network with most places gives one up, the newcomer counted with its own; so no network, whatever it does, takes a place from smaller
 * ones or keeps them out. Within that network silent connections yield first, the oldest of them. One that has been asked for a proof yields
 * after `JOIN_PROOF_GRACE_MS`; at once where its network has more than `JOIN_FEW_PLACES` and the newcomer is of another. So does, last, one whose
 * proof is being judged; to its own network's newcomers it never does, as the answer is ours to give.
 */
export function whoYields<T extends Waiting>(
  waiting: Iterable<T>,
  newcomer: string,
  nowMs: number,
): T | undefined {
  const own = networkOf(newcomer);
  const counts = new Map([[own, 1]]);
  for (const { connection } of waiting) {
    const network = networkOf(connection.label);
    counts.set(network, (counts.get(network) ?? 0) + 1);
  }
  const most = Math.max(...counts.values());
  const oldest = (stage: JoinStage, mayYield: (one: T, network: string) => boolean) => {
    for (const one of waiting) {
      const network = networkOf(one.connection.label);
      if (counts.get(network) !== most || one.attempt.stage !== stage) continue;
      if (mayYield(one, network)) return one;
    }
    return undefined;
  };
  const isCrowd = (network: string) => network !== own && most > JOIN_FEW_PLACES;
  return oldest("join", () => true) ??
    oldest(
      "proof",
      ({ sinceMs }, network) => isCrowd(network) || nowMs - sinceMs >= JOIN_PROOF_GRACE_MS,
    ) ??
    oldest("judging", (_, network) => isCrowd(network));
}
