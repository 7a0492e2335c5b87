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

/**
 * As {@linkcode stalenessBound}, where not the same number goes in each tick: ticks for which an entity with something to send waits at most before
 * it is sent, when in any `windowTicks` ticks in a row, in each of which something waits and is not sent, `perWindow` go in turn. Loss does not
 * touch it: what is lost was sent.
 *
 * That an entity goes in turn at a tick means: w times the ticks since it was sent last are no fewer than those of any that waits and is not sent.
 * So goes whatever the line puts before those, as weights lie within a factor of w. What goes beside the line, or past one for which the rest of a
 * section is too small, may not: it is not counted. Nothing else is assumed: neither how entities get into line, nor why one goes.
 *
 * Proof. Let X have been sent last at tick s, wait from s + first on (first >= 1), and not be sent in the D ticks from then on. Call a = u - s its
 * age at tick u; the last one is A = first + D - 1 >= D. If Y goes in turn at age a, and did so the time before at age a', then it was sent last at
 * age a' or later, so w (a - a') >= a: a is w a' / (w - 1) or more, and a' + 1 or more. From a later age the steps are no shorter. So in the last L
 * of those ticks, ages A - L + 1 to A, Y goes in turn no more often than a row of shortest steps has terms that begins at D - L + 1 and ends at D;
 * call that n(D, L). Those L ticks hold floor(L / W) windows of W ticks with none in common. Hence, for each L <= D, floor(L / W) x `perWindow` <=
 * (entities - 1) x n(D, L). Who waits D ticks has waited all shorter times too: the least D for which this fails for some L, less one, is the most.
 * There is one: where D > w L, n is 1.
 *
 * @param entities Entities in view. At least 1.
 * @param perWindow Entities that go in turn in a window, at least 1, a whole number.
 * @param windowTicks Ticks of a window, at least 1, a whole number.
 * @param declared Largest quotient of the declared weights of two components, at least 1; nearness counts up to 4 times as much again.
 */
export function windowedStalenessBound(
  entities: number,
  perWindow: number,
  windowTicks: number,
  declared = 1,
): number {
  assert(entities >= 1 && perWindow >= 1, "someone is in view, and someone goes");
  assert(windowTicks >= 1, "a window has a tick");
  assert(declared >= 1, "the heavier of two weights is divided by the lighter");
  const others = entities - 1;
  // In fewer windows no more go than there are.
  const least = Math.floor(others / perWindow) + 1;
  for (let waited = least * windowTicks;; waited++) {
    for (let windows = least; windows * windowTicks <= waited; windows++) {
      const turns = turnsBetween(waited - windows * windowTicks + 1, waited, declared);
      if (windows * perWindow > others * turns) return waited - 1;
    }
  }
}

/** How often one entity goes in turn at most while another grows from one age to a later one. */
function turnsBetween(from: number, to: number, declared: number): number {
  const most = NEARNESS * declared;
  let turns = 0;
  for (let age = from; age <= to; age = Math.max(age + 1, Math.ceil(age * most / (most - 1)))) {
    turns += 1;
  }
  return turns;
}

/**
 * Whether an entity goes in turn, see {@linkcode windowedStalenessBound}.
 *
 * @param waited Ticks since it was sent last.
 * @param longest The same of the one that waits longest and is not sent.
 */
export function isInTurn(waited: number, longest: number, declared = 1): boolean {
  return waited * NEARNESS * declared >= longest;
}
