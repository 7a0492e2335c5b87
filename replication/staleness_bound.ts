// How long a changed value waits for its turn at most, from the rule of the urgency line alone. A pure function with its proof; what is sent,
// and when, is the sender's business.

import { assert } from "../protocol/assert.ts";

/** Largest quotient of two weights in the line by nearness alone: an entity near the viewer counts 4, a far one 1. */
const NEARNESS = 4;

/**
 * Ticks for which a changed value of a visible entity waits at most before it is sent.
 *
 * It holds on a path without loss for entities that the peer knows already (no headers are due), with weights of which none is more than w
 * times another, and which may change at any tick. Each tick the `perTick` most urgent of those with something to send go, or all: sections of `B` bits carry
 * `floor(B / b)` each when no entity takes more than `b` bits, as the line is tried from its front and upper bounds are counted.
 *
 * Proof. Let X have been sent last at tick s, be due from s + first on (first >= 1), and not be sent in the `D` ticks from then on. Call
 * a = u - s its age at tick u. In each of these ticks `perTick` others go, each with an urgency of at least that of X, which is at
 * least a times the least weight. If Y goes at age a, and the time before at age a', then w (a - a') >= a, so a >= w a' / (w - 1); and
 * a >= a' + 1. So in those D ticks Y goes at most n(D) times, where n counts the terms up to D of a row that begins with 1, each the rounded
 * up w / (w - 1) of the one before, and at least one more (for w = 4: 1, 2, 3, 4, 6, 8, 11, ...): begun at a later age, the steps are only
 * longer. Hence D x perTick <= (entities - 1) x n(D). As
 * n grows like a logarithm, this fails from some D on: waiting times weight grows without limit, and nobody is passed for ever.
 *
 * @param entities Entities in view, all of which may change in every tick. At least 1.
 * @param perTick Entities that go in a tick, at least 1, a whole number.
 * @param declared Largest quotient of the declared weights of two components, at least 1; nearness counts up to 4 times as much again.
 */
export function stalenessBound(entities: number, perTick: number, declared = 1): number {
  assert(entities >= 1 && perTick >= 1, "someone is in view, and someone goes");
  assert(declared >= 1, "the heavier of two weights is divided by the lighter");
  const most = NEARNESS * declared;
  const others = entities - 1;
  let bound = 0;
  let from = 1;
  // From `from` to before the next term n is `count`: the largest D there that the inequality allows.
  for (let count = 1;; count++) {
    const next = Math.max(from + 1, Math.ceil(from * most / (most - 1)));
    const longest = Math.min(next - 1, Math.floor(others * count / perTick));
    if (longest >= from) bound = longest;
    // Where terms grow faster than what may pass in between, and none passes any more, none ever will.
    else if (next - from > others / perTick) return bound;
    from = next;
  }
}
