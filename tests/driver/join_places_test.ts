import { assertEquals } from "@std/assert";
import { JOIN_PROOF_GRACE_MS } from "../../protocol/limits.ts";
import { type Waiting, whoYields } from "../../driver/join_places.ts";

function waiting(label: string, stage: Waiting["attempt"]["stage"], sinceMs: number): Waiting {
  return { connection: { label }, attempt: { stage }, sinceMs };
}

Deno.test("whoYields() names the oldest silent connection, when all come from one network", () => {
  const all = [
    waiting("10.0.0.*:1", "proof", 0),
    waiting("10.0.0.*:2", "join", 1),
    waiting("10.0.0.*:3", "join", 2),
  ];
  assertEquals(whoYields(all, 10), all[1]);
});

Deno.test("whoYields() spares a lone newcomer's network, when another fills the places", () => {
  const honest = waiting("192.0.2.*:9", "join", 0);
  const crowd = Array.from({ length: 5 }, (_, i) => waiting(`10.0.0.*:${i}`, "join", i + 1));
  assertEquals(whoYields([honest, ...crowd], 10), crowd[0]);
  assertEquals(whoYields([honest], 10), honest);
});

Deno.test("whoYields() ends no proof before its grace, and none that is being judged", () => {
  const judging = waiting("10.0.0.*:1", "judging", 0);
  const proof = waiting("10.0.0.*:2", "proof", 5);
  assertEquals(whoYields([judging, proof], 5 + JOIN_PROOF_GRACE_MS - 1), undefined);
  assertEquals(whoYields([judging, proof], 5 + JOIN_PROOF_GRACE_MS), proof);
  assertEquals(whoYields([judging], 1e9), undefined);
});
