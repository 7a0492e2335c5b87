// Versions: newest for ever, replaced ones for a while, and the same as a plain list of everything that was ever written.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { EXPIRE_SWEEP_TICKS, MAX_VERSIONS } from "../../protocol/limits.ts";
import { createValue } from "../../replication/value.ts";
import { VersionStore } from "../../replication/version_store.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { layOutFields } from "../support/sample_grants.ts";

const HISTORY = 60;
const SHAPE = layOutFields([
  { name: "point", kind: "vec3" },
  { name: "points", kind: "u8" },
  { name: "text", kind: "string" },
]);

function valueOf(seed: number): ReturnType<typeof createValue> {
  const value = createValue(SHAPE);
  value.lanes.set([seed, seed * 2, seed * 3, seed & 255]);
  value.blobs[0] = new TextEncoder().encode(`text ${seed}`);
  return value;
}

/** Ticks held of a row, newest first, after a check that the links agree both ways. */
function ticksOf(store: VersionStore, row: number): number[] {
  const ticks: number[] = [];
  let newer = -1;
  for (let v = store.newest(row); v >= 0; v = store.older(v)) {
    assertEquals(store.newer(v), newer);
    ticks.push(store.tick(v));
    newer = v;
  }
  assertEquals(ticks.length, store.countOf(row));
  return ticks;
}

Deno.test("`find()` names a version by its exact tick, when several are held", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  assertEquals(store.find(row, 0), -1);
  for (const tick of [5, 9, 10]) store.put(row, tick, tick * 64, 1, valueOf(tick));
  const out = createValue(SHAPE);
  for (const tick of [5, 9, 10]) {
    const version = store.find(row, tick);
    assertEquals([store.tick(version), store.time(version), store.mask(version)], [
      tick,
      tick * 64,
      1,
    ]);
    store.load(version, out);
    assertEquals(out, valueOf(tick));
  }
  for (const tick of [0, 4, 6, 8, 11]) assertEquals(store.find(row, tick), -1);
});

Deno.test("`update()` makes one version a tick, when a row is written several times", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  store.put(row, 1, 64, SHAPE.allFields, valueOf(1));
  assertEquals(store.update(row, SHAPE.fields, 0b001, valueOf(2), 2, 128), 0b001);
  assertEquals(store.update(row, SHAPE.fields, 0b010, valueOf(3), 2, 130), 0b010);
  assertEquals(store.update(row, SHAPE.fields, 0b010, valueOf(3), 3, 192), 0);
  assertEquals(ticksOf(store, row), [2, 1]);
  const newest = store.newest(row);
  assertEquals([store.time(newest), store.mask(newest)], [130, 0b011]);
  const out = createValue(SHAPE);
  store.load(newest, out);
  assertEquals([...out.lanes], [2, 4, 6, 3]);
  assertEquals(out.blobs, valueOf(1).blobs);
  store.load(store.find(row, 1), out);
  assertEquals(out, valueOf(1));
});

Deno.test("`update()` refuses our own mistake, when a tick goes back or the row is empty", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  assertThrows(() => store.update(row, SHAPE.fields, 1, valueOf(1), 1, 64), Error, "needs a value");
  store.put(row, 5, 0, 0, valueOf(1));
  assertThrows(() => store.update(row, SHAPE.fields, 1, valueOf(2), 4, 0), Error, "order");
});

Deno.test("`expire()` counts from the tick of the replacement, when a version is old itself", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  store.put(row, 1, 0, 0, valueOf(1));
  const sweep = (tick: number): void => {
    for (let i = 0; i < 2 * EXPIRE_SWEEP_TICKS; i++) store.expire(tick);
  };
  sweep(100_000);
  assertEquals(ticksOf(store, row), [1]);
  store.put(row, 100_000, 0, 0, valueOf(2));
  sweep(100_000 + HISTORY - 1);
  assertEquals(ticksOf(store, row), [100_000, 1]);
  sweep(100_000 + HISTORY);
  assertEquals(ticksOf(store, row), [100_000]);
  assertEquals(store.versionCount, 1);
});

Deno.test("`expire()` is at most two sweeps late, when rows go quiet while others live, change and are freed", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const prng = createPrng(seed);
    const store = new VersionStore(SHAPE, HISTORY);
    const rows = Array.from({ length: 200 }, () => store.allocateRow());
    for (const row of rows) store.put(row, 1, 0, 0, valueOf(row));
    // Each row changes for the last time at some tick between 2 and 101.
    const last = rows.map(() => 2 + below(prng, 100));
    const freed = new Set<number>();
    for (let tick = 2; tick <= 101 + HISTORY + 2 * EXPIRE_SWEEP_TICKS; tick++) {
      for (const [i, row] of rows.entries()) {
        if (tick <= last[i]! && (tick === last[i] || below(prng, 3) === 0)) {
          store.put(row, tick, 0, 0, valueOf(tick));
        }
        if (i > 100 && !freed.has(i) && below(prng, 100) === 0) {
          store.freeRow(row);
          freed.add(i);
          last[i] = 0;
        }
      }
      store.expire(tick);
      for (const [i, row] of rows.entries()) {
        if (freed.has(i) || tick < last[i]! + HISTORY + 2 * EXPIRE_SWEEP_TICKS) continue;
        assertEquals(store.countOf(row), 1, `seed ${seed}, tick ${tick}, row ${row}`);
      }
    }
    assertEquals(store.versionCount, store.rowCount);
  }
});

Deno.test("`put()` keeps the newest `MAX_VERSIONS`, when a row changes faster than its history ends", () => {
  const store = new VersionStore(SHAPE, 1_000);
  const row = store.allocateRow();
  for (let tick = 1; tick <= 200; tick++) {
    if (tick % 2 === 0) assert(store.put(row, tick, 0, 0, valueOf(tick)) >= 0);
    else if (tick === 1) store.put(row, 1, 0, 0, valueOf(1));
    else store.update(row, SHAPE.fields, SHAPE.allFields, valueOf(tick), tick, 0);
  }
  const expected = Array.from({ length: MAX_VERSIONS }, (_, i) => 200 - i);
  assertEquals(ticksOf(store, row), expected);
  assertEquals(store.put(row, 3, 0, 0, valueOf(3)), -1);
  assertEquals(ticksOf(store, row), expected);
  // A version just above the oldest of a full row takes its place.
  const gapped = store.allocateRow();
  for (let i = 0; i < MAX_VERSIONS; i++) store.put(gapped, 10 * i, 0, 0, valueOf(i));
  assert(store.put(gapped, 5, 0, 0, valueOf(5)) >= 0);
  assertEquals(ticksOf(store, gapped).slice(-2), [10, 5]);
  assertEquals(store.countOf(gapped), MAX_VERSIONS);
});

Deno.test("`put()` files a version at its place, when datagrams overtake one another", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  for (const tick of [10, 14, 12, 11, 14, 9]) store.put(row, tick, 0, 0, valueOf(tick));
  assertEquals(ticksOf(store, row), [14, 12, 11, 10, 9]);
  assertEquals(store.put(row, 12, 7, 3, valueOf(99)), store.find(row, 12));
  assertEquals(store.mask(store.find(row, 12)), 3);
  // Replaced at tick 9 already, so at 9 + HISTORY it is gone.
  store.put(row, 9 + HISTORY, 0, 0, valueOf(1));
  assertEquals(store.put(row, 8, 0, 0, valueOf(8)), -1);
  assertEquals(ticksOf(store, row), [9 + HISTORY, 14, 12, 11, 10, 9]);
});

Deno.test("`put()` copies a view and shares a whole buffer, when it keeps a blob", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  const frame = new Uint8Array([1, 2, 3, 4]);
  const value = createValue(SHAPE);
  value.blobs[0] = frame.subarray(1, 3);
  const version = store.put(row, 1, 0, 0, value);
  frame.fill(9);
  assertEquals([...store.blob(version, 0)], [2, 3]);
  value.blobs[0] = store.blob(version, 0);
  store.put(row, 2, 0, 0, value);
  assert(store.blob(store.newest(row), 0) === store.blob(version, 0));
});

Deno.test("`freeRow()` erases and reuses, when rows come and go", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const kept = store.allocateRow();
  store.put(kept, 1, 0, 0, valueOf(1));
  for (let round = 0; round < 50; round++) {
    const rows = Array.from({ length: 20 }, () => store.allocateRow());
    for (const row of rows) {
      for (let tick = 1; tick <= 5; tick++) store.put(row, tick, 0, 0, valueOf(row * 10 + tick));
    }
    assertEquals([store.rowCount, store.versionCount], [21, 101]);
    for (const row of rows) store.freeRow(row);
  }
  assertEquals([store.rowCount, store.versionCount], [1, 1]);
  assert(store.lanes.length <= 256 * SHAPE.laneCount, "freed versions are used again");
  const lanes = [...store.lanes].filter((lane) => lane !== 0).length;
  assertEquals(lanes, 4, "nothing of a freed row stays in memory");
});

Deno.test("`clearThrough()` leaves the newest version and those after the tick, when older ones are erased", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  for (let tick = 1; tick <= 5; tick++) store.put(row, tick, 0, 0, valueOf(tick));
  store.clearThrough(row, 0);
  assertEquals(ticksOf(store, row), [5, 4, 3, 2, 1]);
  store.clearThrough(row, 3);
  assertEquals(ticksOf(store, row), [5, 4]);
  store.clearThrough(row, 9);
  assertEquals(ticksOf(store, row), [5]);
  assertEquals(store.versionCount, 1);
  const lanes = [...store.lanes].filter((lane) => lane !== 0).length;
  assertEquals(lanes, [...valueOf(5).lanes].filter((lane) => lane !== 0).length);
});

Deno.test("`findAt()` finds what was the newest version up to `sureTicks` ago, however often a row changes", () => {
  for (const history of [1, 8, 62, 63, 64, 200]) {
    const store = new VersionStore(SHAPE, history);
    assertEquals(store.sureTicks, Math.min(history, MAX_VERSIONS - 1));
    const row = store.allocateRow();
    store.put(row, 0, 0, 0, valueOf(0));
    for (let tick = 1; tick <= 300; tick++) {
      store.expire(tick - 1);
      store.update(row, SHAPE.fields, SHAPE.allFields, valueOf(tick), tick, tick);
      for (let age = 0; age <= Math.min(tick, store.sureTicks); age++) {
        assertEquals(store.tick(store.findAt(row, tick - age)), tick - age, `history ${history}`);
      }
      const before = tick - store.sureTicks - 1;
      if (before >= 0) assertEquals(store.findAt(row, before), -1, "not one tick longer");
    }
  }
});

Deno.test("`changeTime()` tells when fields last changed up to a version, however much changed since and was dropped", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const prng = createPrng(seed);
    const store = new VersionStore(SHAPE, 1 + below(prng, 90), SHAPE.fields.length);
    // Rows of before leave nothing behind.
    for (const old of Array.from({ length: 30 }, () => store.allocateRow())) {
      store.put(old, 900, 900, SHAPE.allFields, valueOf(1));
      store.freeRow(old);
    }
    const rows = Array.from({ length: 20 }, () => store.allocateRow());
    // By row, then by field: tick and time of every change.
    const changes = rows.map(() => SHAPE.fields.map(() => [[1, 64]]));
    for (const row of rows) store.put(row, 1, 64, SHAPE.allFields, valueOf(0));
    const latest = (i: number, tick: number, mask: number) => {
      let found = [0, 0];
      for (let f = 0; f < 3; f++) {
        const last = changes[i]![f]!.findLast(([at]) => at! <= tick)!;
        if ((mask & (1 << f)) !== 0 && last[0]! > found[0]!) found = last;
      }
      return found[1];
    };
    for (let tick = 2; tick < 300; tick++) {
      for (let i = 0; i < rows.length; i++) {
        if (i === 0 || prng() < 0.4) continue;
        // The field last in line hardly ever changes.
        const mask = prng() < 0.01 ? 0b100 : 1 + below(prng, 3);
        const time = tick * 64 - below(prng, 200);
        const changed = store.update(rows[i]!, SHAPE.fields, mask, valueOf(tick), tick, time);
        for (let f = 0; f < 3; f++) {
          if ((changed & (1 << f)) !== 0) changes[i]![f]!.push([tick, time]);
        }
      }
      store.expire(tick);
      const i = below(prng, rows.length);
      const mask = 1 + below(prng, 7);
      const then = tick - below(prng, store.sureTicks);
      if (then < 1) continue;
      const version = store.findAt(rows[i]!, then);
      const context = `seed ${seed}, tick ${tick}, row ${i}, fields ${mask}`;
      assertEquals(store.changeTime(rows[i]!, version, mask), latest(i, then, mask), context);
    }
  }
});

Deno.test("`VersionStore` holds what a plain list would, when rows are written, expire and are freed at random", () => {
  for (let seed = 1; seed <= 30; seed++) runAgainstList(createPrng(seed), seed);
});

function runAgainstList(prng: Prng, seed: number): void {
  const history = 1 + below(prng, 90);
  const store = new VersionStore(SHAPE, history);
  // Every version ever written, by row: tick and seed of its value, oldest first.
  const rows = new Map<number, [number, number][]>();
  let tick = 1;
  for (let step = 0; step < 600; step++) {
    const action = below(prng, 10);
    if (rows.size < 3 || (action === 0 && rows.size < 12)) {
      const row = store.allocateRow();
      assert(!rows.has(row));
      store.put(row, tick, tick, 0, valueOf(step));
      rows.set(row, [[tick, step]]);
    } else if (action === 1) {
      const row = [...rows.keys()][below(prng, rows.size)]!;
      store.freeRow(row);
      rows.delete(row);
    } else if (action < 4) {
      tick += 1 + below(prng, 4);
      store.expire(tick);
    } else {
      const row = [...rows.keys()][below(prng, rows.size)]!;
      const list = rows.get(row)!;
      store.update(row, SHAPE.fields, SHAPE.allFields, valueOf(step), tick, tick);
      if (list.at(-1)![0] === tick) list.pop();
      list.push([tick, step]);
    }
    if (step % 5 === 0) compare(store, rows, tick, history, `seed ${seed}, step ${step}`);
  }
}

function compare(
  store: VersionStore,
  rows: Map<number, [number, number][]>,
  tick: number,
  history: number,
  where: string,
): void {
  let held = 0;
  for (const [row, list] of rows) {
    const ticks = ticksOf(store, row);
    held += ticks.length;
    // What must be held: the newest, and the rest while their replacement is young and they are not too many.
    const must = list.filter((_, i) =>
      i === list.length - 1 ||
      (list[i + 1]![0] + history > tick && list.length - i <= MAX_VERSIONS)
    ).map(([t]) => t).reverse();
    assertEquals(ticks.slice(0, must.length), must, where);
    assert(ticks.length <= MAX_VERSIONS);
    const out = createValue(SHAPE);
    for (const [t, seed] of list.slice(-must.length)) {
      store.load(store.find(row, t), out);
      assertEquals(out.lanes, valueOf(seed).lanes, where);
      assertEquals(out.blobs, valueOf(seed).blobs, where);
    }
  }
  assertEquals(store.versionCount, held, where);
}

Deno.test("`blank()` erases fields in every version held, and nothing else", () => {
  const store = new VersionStore(SHAPE, HISTORY);
  const row = store.allocateRow();
  const other = store.allocateRow();
  for (let i = 1; i <= 4; i++) store.put(row, i, i * 64, 7, valueOf(i));
  store.put(other, 1, 64, 7, valueOf(9));
  const blank = createValue(SHAPE);
  blank.lanes[3] = 50;
  store.blank(row, SHAPE.fields, 0b110, blank);
  assertEquals(ticksOf(store, row), [4, 3, 2, 1]);
  const held = createValue(SHAPE);
  for (let v = store.newest(row); v >= 0; v = store.older(v)) {
    store.load(v, held);
    const tick = store.tick(v);
    assertEquals([...held.lanes], [tick, tick * 2, tick * 3, 50]);
    assertEquals(held.blobs[0]!.length, 0);
    assertEquals([store.time(v), store.mask(v), store.writes(v)], [tick * 64, 7, 1]);
  }
  store.load(store.newest(other), held);
  assertEquals(held, valueOf(9));
});
