import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  JOIN_FEW_PLACES,
  JOIN_PROOF_GRACE_MS,
  MAX_CONNECTIONS,
  MAX_HALF_JOINED,
  MAX_PEERS,
} from "../../protocol/limits.ts";
import { mostConnections, type Waiting, whoYields } from "../../driver/join_places.ts";
import type { JoinStage } from "../../session/join_attempt.ts";

function waiting(label: string, stage: JoinStage, sinceMs: number): Waiting {
  return { connection: { label }, attempt: { stage }, sinceMs };
}

/** Connections of one network, one after the other. */
function crowd(count: number, stage: JoinStage, sinceMs = 1): Waiting[] {
  return Array.from({ length: count }, (_, i) => waiting(`10.0.0.*:${i}`, stage, sinceMs + i));
}

const OTHER = "192.0.2.*:9";
const SAME = "10.0.0.*:999";

Deno.test("whoYields() names the oldest silent connection, when all come from one network", () => {
  const all = [waiting("10.0.0.*:1", "proof", 0), ...crowd(2, "join")];
  assertEquals(whoYields(all, SAME, 10), all[1]);
  assertEquals(whoYields(all, OTHER, 10), all[1]);
});

Deno.test("whoYields() spares a lone newcomer's network, when another fills the places", () => {
  const honest = waiting(OTHER, "join", 0);
  for (const stage of ["join", "proof", "judging"] as const) {
    const others = crowd(5, stage);
    assertEquals(whoYields([honest, ...others], "203.0.113.*:1", 10), others[0], stage);
  }
  assertEquals(whoYields([honest], OTHER, 10), honest);
});

Deno.test("whoYields() counts a newcomer with its own network, when two networks have as many", () => {
  const others = [waiting(OTHER, "join", 0), waiting(OTHER, "join", 1)];
  const all = [...others, ...crowd(2, "join", 2)];
  assertEquals(whoYields(all, SAME, 10), all[2], "its own would be the larger one");
  assertEquals(whoYields(all, OTHER, 10), all[0]);
  assertEquals(whoYields(all, "203.0.113.*:1", 10), all[0], "the oldest of both");
});

Deno.test("whoYields() gives a newcomer of another network a place at once, when a crowd has been challenged", () => {
  const challenged = crowd(MAX_HALF_JOINED, "proof");
  assertEquals(whoYields(challenged, OTHER, 10), challenged[0]);
  // Its own network's newcomers wait for the grace, or they would only push out who is further.
  assertEquals(whoYields(challenged, SAME, JOIN_PROOF_GRACE_MS), undefined);
  assertEquals(whoYields(challenged, SAME, 1 + JOIN_PROOF_GRACE_MS), challenged[0]);
  // Who came first does not count before how far it has come.
  const silent = waiting("10.0.0.*:77", "join", 9);
  assertEquals(whoYields([...challenged, silent], OTHER, 10), silent);
});

Deno.test("whoYields() keeps the grace of networks with few places, and ends none of theirs that is judged", () => {
  for (const stage of ["proof", "judging"] as const) {
    const few = crowd(JOIN_FEW_PLACES, stage);
    assertEquals(whoYields(few, OTHER, 10), undefined, stage);
    const more = crowd(JOIN_FEW_PLACES + 1, stage);
    assertEquals(whoYields(more, OTHER, 10), more[0], stage);
  }
  const few = crowd(JOIN_FEW_PLACES, "proof");
  assertEquals(whoYields(few, OTHER, 1 + JOIN_PROOF_GRACE_MS), few[0]);
  assertEquals(whoYields(crowd(MAX_HALF_JOINED, "judging"), SAME, 1e9), undefined);
});

/** What happens at a door: who comes, from where, and how far somebody gets. */
const STEP = fc.record({
  from: fc.constantFrom("crowd", "crowd", "crowd", "honest" as const),
  advances: fc.nat(200),
  leaves: fc.nat(400),
  passMs: fc.nat(40),
});

Deno.test("whoYields() finds a place for newcomers of other networks and takes none of theirs, whatever one network does", () => {
  fc.assert(
    fc.property(
      fc.array(STEP, { minLength: 100, maxLength: 400 }),
      fc.constantFrom<JoinStage[]>(["join"], ["proof"], ["judging"], ["join", "proof", "judging"]),
      (steps, stages) => {
        const all: { label: string; honest: boolean; one: Waiting }[] = [];
        let [nowMs, next] = [0, 0];
        for (const { from, advances, leaves, passMs } of steps) {
          nowMs += passMs;
          const honest = from === "honest";
          // As many honest ones as can be under way for a third of the places, two of each network.
          const mine = all.filter((entry) => entry.honest);
          if (honest && mine.length >= MAX_HALF_JOINED / 3) all.splice(all.indexOf(mine[0]!), 1);
          const label = honest ? `192.0.${next % 256}.*:${next}` : `10.0.0.*:${next}`;
          next += from === "honest" && leaves % 2 === 0 ? 0 : 1;
          if (all.length >= MAX_HALF_JOINED) {
            const yields = whoYields(all.map(({ one }) => one), label, nowMs);
            const at = all.findIndex(({ one }) => one === yields);
            if (honest) assert(yields !== undefined, "an honest newcomer gets a place");
            if (yields === undefined) continue;
            assert(!all[at]!.honest, "and none of the others lose theirs");
            all.splice(at, 1);
          }
          all.push({ label, honest, one: waiting(label, honest ? "join" : stages[0]!, nowMs) });
          // Somebody gets further, or goes.
          const moved = all[advances];
          if (moved !== undefined) {
            const stage = moved.honest
              ? (["proof", "judging"] as const)[leaves % 2]!
              : stages[leaves % stages.length]!;
            all[advances] = { ...moved, one: waiting(moved.label, stage, moved.one.sinceMs) };
          }
          if (leaves < all.length && !all[leaves]!.honest) all.splice(leaves, 1);
          assert(all.length <= MAX_HALF_JOINED);
        }
      },
    ),
    { seed: 3, numRuns: 60 },
  );
});

Deno.test("mostConnections() follows the world's peers, and leaves room for a newcomer at a full door", () => {
  assertEquals(mostConnections({ maxPeers: 1 }), 1 + MAX_HALF_JOINED + 1);
  assertEquals(mostConnections({ maxPeers: MAX_PEERS }), MAX_CONNECTIONS);
  assertThrows(() => mostConnections({ maxPeers: MAX_PEERS + 1 }));
});
