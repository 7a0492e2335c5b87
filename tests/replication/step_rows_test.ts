import { assert, assertEquals } from "@std/assert";
import { MAX_SHARED_ENCODINGS, MAX_STEP_LENSES } from "../../protocol/limits.ts";
import { STEP_TICKS } from "../../replication/cohorts.ts";
import { isFitForStep, StepLens, StepRows } from "../../replication/step_rows.ts";
import { createValue } from "../../replication/value.ts";
import { VersionStore } from "../../replication/version_store.ts";
import { below, createPrng } from "../support/prng.ts";
import { buildComponents } from "../support/sample_grants.ts";

const [PLAIN, NAMED, FRIEND] = buildComponents([
  {
    id: 1,
    name: "Plain",
    fields: [{ name: "a", kind: "u16" }, { name: "b", kind: "vec3" }, { name: "c", kind: "u16" }],
  },
  { id: 2, name: "Named", fields: [{ name: "name", kind: "string" }] },
  { id: 3, name: "Friend", fields: [{ name: "friend", kind: "entity" }] },
]);
const HISTORY = 60;

Deno.test("`StepLens.changes()` tells the ticks at which what is read changed, whoever asked before and however often it was written", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const prng = createPrng(seed);
    const store = new VersionStore(PLAIN!, HISTORY, PLAIN!.fields.length);
    const value = createValue(PLAIN!);
    const masks = [0b001, 0b010, 0b101];
    const lenses = masks.map((mask) => new StepLens(PLAIN!, mask, store, 0, 0));
    let row = store.allocateRow();
    let id = 7;
    let tick = 100;
    store.put(row, tick, 0, PLAIN!.allFields, value);
    /** By tick: the lanes in the end. */
    let held = new Map([[tick, value.lanes.slice()]]);
    let born = tick;
    const looked = masks.map(() => tick);
    for (let i = 0; i < 300; i++) {
      tick += prng() < 0.03 ? 1 + below(prng, 50) : 1;
      if (prng() < 0.01) {
        // The row becomes another entity's.
        store.freeRow(row);
        row = store.allocateRow();
        id += 1;
        born = tick;
        store.put(row, tick, 0, PLAIN!.allFields, value);
        held = new Map();
      }
      for (let writes = below(prng, 3); writes > 0; writes--) {
        const mask = 1 << below(prng, 3);
        const before = value.lanes.slice();
        for (const lane of [0, 1, 4]) if (prng() < 0.5) value.lanes[lane] = below(prng, 2);
        store.update(row, PLAIN!.fields, mask, value, tick, 0);
        store.load(store.newest(row), value);
        assert(before.length === value.lanes.length);
      }
      store.expire(tick);
      held.set(tick, value.lanes.slice());
      for (const [k, lens] of lenses.entries()) {
        if (prng() < 0.3) continue;
        // A link may be a few ticks behind the newest look.
        const at = prng() < 0.2 ? Math.max(looked[k]! - below(prng, 4), tick - 20, born) : tick;
        looked[k] = Math.max(looked[k]!, at);
        const lanes = PLAIN!.fields.flatMap((field) =>
          (masks[k]! & (1 << field.index)) === 0
            ? []
            : Array.from({ length: field.lanes }, (_, lane) => field.laneOffset + lane)
        );
        const context = `seed ${seed}, tick ${tick} at ${at}, mask ${masks[k]}`;
        const got = lens.changes(row, id, at);
        for (let age = 0; age < STEP_TICKS - 4; age++) {
          const then = at - age;
          if (then < born) break;
          const now = stateAt(held, then);
          const before = then === born ? undefined : stateAt(held, then - 1);
          const isChange = before === undefined || lanes.some((lane) => now[lane] !== before[lane]);
          assertEquals((got >>> age) & 1, isChange ? 1 : 0, `${context}, age ${age}`);
        }
      }
    }
  }
});

function stateAt(held: ReadonlyMap<number, Int32Array>, tick: number): Int32Array {
  let at = tick;
  while (!held.has(at)) at -= 1;
  return held.get(at)!;
}

Deno.test("`isFitForStep()` takes what is the same to all who may read it, and surely held for long enough", () => {
  const fit = (grant: typeof PLAIN, history = HISTORY) =>
    isFitForStep(grant!, new VersionStore(grant!, history));
  assertEquals([PLAIN, NAMED, FRIEND].map((grant) => fit(grant)), [true, false, false]);
  assertEquals([fit(PLAIN, STEP_TICKS), fit(PLAIN, STEP_TICKS - 1)], [true, false]);
});

Deno.test("`StepRows.lensOf()` gives one lens for a component and mask, and MAX_STEP_LENSES in all", () => {
  const rows = new StepRows();
  const store = new VersionStore(PLAIN!, HISTORY);
  assertEquals(rows.lensOf(PLAIN!, 0, store, 9), -1);
  for (let mask = 1; mask <= MAX_STEP_LENSES; mask++) {
    assertEquals(rows.lensOf(PLAIN!, mask, store, 9), mask - 1);
  }
  assertEquals(rows.lensOf(PLAIN!, MAX_STEP_LENSES + 1, store, 9), -1);
  assertEquals(rows.lensOf(PLAIN!, 3, store, 9), 2);
  assertEquals([rows.lens(2)!.component, rows.lens(2)!.mask], [PLAIN!.index, 3]);
});

Deno.test("`StepRows.lensOf()` gives the place of the lens through which nobody looked for longest, under a number of its own", () => {
  const rows = new StepRows();
  const store = new VersionStore(PLAIN!, HISTORY);
  const value = createValue(PLAIN!);
  const row = store.allocateRow();
  store.put(row, 9, 0, PLAIN!.allFields, value);
  for (let mask = 1; mask <= MAX_STEP_LENSES; mask++) rows.lensOf(PLAIN!, mask, store, 9);
  // All but two are looked through: the later of these two makes room second.
  for (let number = 0; number < MAX_STEP_LENSES; number++) {
    if (number !== 5) rows.lens(number)!.changes(row, 7, number === 6 ? 10 : 40);
  }
  const rest = 2 * STEP_TICKS;
  assertEquals(rows.lensOf(PLAIN!, 100, store, 9 + rest - 1), -1);
  const number = rows.lensOf(PLAIN!, 100, store, 9 + rest);
  assertEquals(number % MAX_STEP_LENSES, 5);
  assert(rows.lens(5) === undefined && rows.lens(number)!.mask === 100);
  assertEquals(rows.lensOf(PLAIN!, 6, store, 9 + rest), -1);
  const next = rows.lensOf(PLAIN!, 6, store, 10 + rest);
  assertEquals([next % MAX_STEP_LENSES, rows.lens(6), rows.lens(next)!.mask], [6, undefined, 6]);
  assert(next !== number && rows.lens(number) !== undefined);
  // A lens that has just come is no older than its tick, and finds nothing of what was said in its place.
  assertEquals(rows.lensOf(PLAIN!, 101, store, 39 + rest), -1);
  assertEquals(rows.lens(next)!.changes(row, 7, 10 + rest), 0);
  // What was coded in the tick is found under the new number alone.
  rows.begin(10 + rest);
  rows.keep(rows.lens(next)!, row, 1, 0);
  assert(rows.find(rows.lens(next)!, row, 1, 0));
  rows.forget();
  assert(!rows.find(rows.lens(next)!, row, 1, 0));
});

Deno.test("`StepRows.find()` finds what was kept in this tick under all of the key, and a full store takes no more", () => {
  const rows = new StepRows();
  const store = new VersionStore(PLAIN!, HISTORY);
  const row = store.allocateRow();
  store.put(row, 1, 0, 1, createValue(PLAIN!));
  for (const mask of [1, 2]) rows.lens(rows.lensOf(PLAIN!, mask, store, 1))!.changes(row, 1, 1);
  rows.begin(1);
  Object.assign(rows, { start: 5, bits: 6, age: 7, unit: 8, before: 9, offset: -10 });
  rows.keep(rows.lens(0)!, row, 0b110, 2);
  Object.assign(rows, { start: 0, bits: 0, age: 0, unit: 0, before: 0, offset: 0 });
  const others: [number, number, number][] = [[1, 0b110, 2], [0, 0b111, 2], [0, 0b110, 3]];
  for (const [lens, held, since] of others) assert(!rows.find(rows.lens(lens)!, row, held, since));
  assert(rows.find(rows.lens(0)!, row, 0b110, 2));
  const { start, bits, age, unit, before, offset } = rows;
  assertEquals([start, bits, age, unit, before, offset], [5, 6, 7, 8, 9, -10]);
  rows.begin(1);
  assert(rows.find(rows.lens(0)!, row, 0b110, 2));
  rows.begin(2);
  assert(!rows.find(rows.lens(0)!, row, 0b110, 2));
  rows.keep(rows.lens(0)!, row, 0b110, 2);
  rows.forget();
  assert(!rows.find(rows.lens(0)!, row, 0b110, 2));
  for (let i = 0; i < MAX_SHARED_ENCODINGS; i++) rows.keep(rows.lens(0)!, row, i, 0);
  rows.keep(rows.lens(0)!, row, -1, 0);
  assert(!rows.find(rows.lens(0)!, row, -1, 0));
  assert(rows.find(rows.lens(0)!, row, MAX_SHARED_ENCODINGS - 1, 0));
});
