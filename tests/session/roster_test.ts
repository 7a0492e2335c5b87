import { assert, assertEquals, assertThrows } from "@std/assert";
import { PEER_ID_QUARANTINE_MS } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { Roster } from "../../session/roster.ts";

Deno.test("`add()` hands out ids from 1, when peers join", () => {
  const roster = new Roster(3);
  assertEquals(roster.add(2, 0), { peer: 1, roleIndex: 2, connected: true });
  assertEquals(roster.add(1, 0)?.peer, 2);
  assertEquals(roster.entries().map((e) => e.peer), [1, 2]);
});

Deno.test("`add()` gives nothing, when the world is full", () => {
  const roster = new Roster(2);
  roster.add(0, 0);
  const second = roster.add(0, 0)!;
  roster.setConnected(second.peer, false);
  assertEquals(roster.add(0, 0), undefined, "a lost peer keeps its place");
  roster.remove(second.peer, 0);
  assert(roster.add(0, 0) !== undefined);
});

Deno.test("`add()` never reuses an id that rests, when peers come and go for hours", () => {
  const prng = new Prng(7);
  const roster = new Roster(50);
  const freedMs = new Map<number, number>();
  const present: number[] = [];
  for (let now = 0; now < 4_000_000; now += 20) {
    if (present.length < 50 && prng.chance(0.6)) {
      const { peer } = roster.add(0, now)!;
      assert(!present.includes(peer) && peer >= 1 && peer <= 65_534);
      assert(now - (freedMs.get(peer) ?? -Infinity) >= PEER_ID_QUARANTINE_MS);
      present.push(peer);
    } else if (present.length > 0) {
      const [peer] = present.splice(prng.nextBelow(present.length), 1);
      assert(roster.remove(peer!, now));
      freedMs.set(peer!, now);
    }
    assertEquals(roster.size, present.length);
  }
  // Ids went all the way round.
  assert(freedMs.size > 60_000);
});

Deno.test("`add()` gives nothing, when every id is taken or rests", () => {
  const roster = new Roster(1);
  for (let i = 0; i < 65_534; i++) roster.remove(roster.add(0, 0)!.peer, 0);
  assertEquals(roster.add(0, PEER_ID_QUARANTINE_MS - 1), undefined);
  assertEquals(roster.add(0, PEER_ID_QUARANTINE_MS)?.peer, 1);
});

Deno.test("`setRole()` and `setConnected()` change the entry, when the peer holds a place", () => {
  const roster = new Roster(3);
  const { peer } = roster.add(1, 0)!;
  roster.setRole(peer, 4);
  roster.setConnected(peer, false);
  assertEquals(roster.get(peer), { peer, roleIndex: 4, connected: false });
  assertEquals([roster.remove(peer, 0), roster.remove(peer, 0)], [true, false]);
  assertEquals(roster.get(peer), undefined);
  assertThrows(() => roster.setRole(peer, 1), Error, "holds a place");
});
