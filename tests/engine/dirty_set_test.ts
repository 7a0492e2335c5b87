import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DirtySet } from "../../engine/dirty_set.ts";

function takeAll(set: DirtySet, component: number): [number, number][] {
  const taken: [number, number][] = [];
  set.take(component, (slot, mask) => {
    taken.push([slot, mask]);
    return true;
  });
  return taken;
}

Deno.test("DirtySet joins the fields of several changes into one entry", () => {
  const set = new DirtySet(2);
  set.mark(0, 40, 1);
  set.mark(0, 3, 2);
  set.mark(0, 40, 4);
  set.mark(1, 40, 8);
  assertEquals(takeAll(set, 0), [[40, 5], [3, 2]]);
  assertEquals(takeAll(set, 0), []);
  assertEquals(takeAll(set, 1), [[40, 8]]);
  assert(!set.mayHaveMarks);
});

Deno.test("DirtySet.take() keeps the entry that is refused and all after it", () => {
  const set = new DirtySet(1);
  for (const slot of [5, 6, 7]) set.mark(0, slot, 1);
  let room = 1;
  set.take(0, () => room-- > 0);
  assertEquals(takeAll(set, 0), [[6, 1], [7, 1]]);
});

Deno.test("DirtySet agrees with a plain map, whatever is marked and unmarked", () => {
  const step = fc.tuple(
    fc.constantFrom("mark", "unmark", "entity", "take"),
    fc.nat(2),
    fc.nat(70),
    fc.integer({ min: 1, max: 0x7fff_ffff }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const set = new DirtySet(3);
      const model = new Map<string, number>();
      for (const [what, component, slot, mask] of steps) {
        const key = `${component} ${slot}`;
        if (what === "mark") {
          set.mark(component, slot, mask);
          model.set(key, (model.get(key) ?? 0) | mask);
        } else if (what === "unmark") {
          set.unmark(component, slot, mask);
          model.set(key, (model.get(key) ?? 0) & ~mask);
        } else if (what === "entity") {
          set.unmarkEntity(slot);
          for (const c of [0, 1, 2]) model.set(`${c} ${slot}`, 0);
        } else {
          for (const [taken, found] of takeAll(set, component)) {
            assertEquals(found, model.get(`${component} ${taken}`));
            model.set(`${component} ${taken}`, 0);
          }
          for (const [other, left] of model) {
            if (other.startsWith(`${component} `)) assertEquals(left, 0);
          }
        }
        assertEquals(set.maskOf(component, slot), model.get(key) ?? 0);
      }
    }),
    { seed: 3, numRuns: 300 },
  );
});
