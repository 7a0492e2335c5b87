// Which connection gives up its place when too many have not joined yet: the one that has waited longest without a word, of the network that
// has most of them. It ends nothing itself.

import { JOIN_PROOF_GRACE_MS } from "../protocol/limits.ts";
import type { JoinAttempt } from "../session/join_attempt.ts";
import type { Connection } from "../transport/connection.ts";

/** What is looked at of a connection that has not joined. */
export interface Waiting {
  readonly connection: Pick<Connection, "label">;
  readonly attempt: Pick<JoinAttempt, "stage">;
  /** When it connected, ms. */
  readonly sinceMs: number;
}

/** The network that a connection comes from, as far as its label tells: the label without the port. */
function networkOf({ connection: { label } }: Waiting): string {
  const colon = label.lastIndexOf(":");
  return colon < 0 ? label : label.slice(0, colon);
}

/**
 * Who yields, of connections in the order in which they came; `undefined`: nobody.
 *
 * Silent ones first. One that has been asked for a proof yields only after `JOIN_PROOF_GRACE_MS`, one whose proof is being judged never: the
 * answer is ours to give.
 */
export function whoYields<T extends Waiting>(waiting: Iterable<T>, nowMs: number): T | undefined {
  const counts = new Map<string, number>();
  for (const one of waiting) {
    const network = networkOf(one);
    counts.set(network, (counts.get(network) ?? 0) + 1);
  }
  const oldest = (mayYield: (one: T) => boolean): T | undefined => {
    let found: T | undefined;
    let most = 0;
    for (const one of waiting) {
      const count = counts.get(networkOf(one))!;
      if (count <= most || !mayYield(one)) continue;
      found = one;
      most = count;
    }
    return found;
  };
  return oldest(({ attempt }) => attempt.stage === "join") ??
    oldest(({ attempt, sinceMs }) =>
      attempt.stage === "proof" && nowMs - sinceMs >= JOIN_PROOF_GRACE_MS
    );
}
