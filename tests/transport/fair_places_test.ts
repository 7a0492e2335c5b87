import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FairPlaces } from "../../transport/fair_places.ts";

Deno.test("FairPlaces.take() has the oldest of the largest network yield, when all places are taken", () => {
  const places = new FairPlaces<string>(4);
  assertEquals(places.take("lone", "a"), undefined);
  for (const one of ["b1", "b2", "b3"]) assertEquals(places.take(one, "b"), undefined);
  assertEquals(places.size, 4);
  assertEquals(places.take("new", "c"), "b1");
  assertEquals(places.take("b4", "b"), "b2");
  assertEquals(places.size, 4);
});

Deno.test("FairPlaces.take() has the oldest of all yield, when no network has more than another", () => {
  const places = new FairPlaces<number>(3);
  for (let i = 0; i < 3; i++) places.take(i, `network ${i}`);
  assertEquals(places.take(3, "network 3"), 0);
  // The newcomer makes its network the largest, so its own pays.
  assertEquals(places.take(4, "network 2"), 2);
});

Deno.test("FairPlaces.leave() frees a place once, also of who has yielded", () => {
  const places = new FairPlaces<number>(1);
  places.take(1, "a");
  assertEquals(places.take(2, "b"), 1);
  places.leave(1);
  assertEquals(places.size, 1);
  places.leave(2);
  places.leave(2);
  assertEquals(places.size, 0);
  assertEquals(places.take(3, "a"), undefined);
  assertThrows(() => places.take(3, "a"));
});

Deno.test("FairPlaces keeps the places of smaller networks, whatever the largest one does", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 12 }),
      fc.array(fc.record({ isHonest: fc.boolean(), pick: fc.nat(1_000) }), { maxLength: 120 }),
      (max, steps) => {
        const places = new FairPlaces<number>(max);
        const crowd: number[] = [];
        const honest: number[] = [];
        let next = 0;
        for (const { isHonest, pick } of steps) {
          const one = next++;
          // Fewer honest ones than half of the places, each of a network of its own.
          if (isHonest && honest.length >= Math.floor(max / 2) - 1) {
            places.leave(honest.splice(pick % honest.length, 1)[0]!);
          }
          const gone = places.take(one, isHonest ? `honest ${one}` : "crowd");
          assert(!honest.includes(gone!), "none of the others yields to a crowd");
          if (gone !== undefined) crowd.splice(crowd.indexOf(gone), 1);
          (isHonest ? honest : crowd).push(one);
          assertEquals(places.size, crowd.length + honest.length);
          assert(places.size <= max);
        }
      },
    ),
    { seed: 7, numRuns: 300 },
  );
});
