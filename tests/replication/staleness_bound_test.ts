import { assert, assertEquals, assertGreater } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { MAX_WEIGHT } from "../../protocol/limits.ts";
import { createInterestResult } from "../../replication/interest.ts";
import {
  isInTurn,
  stalenessBound,
  windowedStalenessBound,
} from "../../replication/staleness_bound.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { below, createPrng } from "../support/prng.ts";
import { buildComponents, PLAYER, sampleGrants } from "../support/sample_grants.ts";
import { PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

/** Bytes of each value; what else an entity takes in a section, and the section itself, lies below the rest. */
const VALUE_BYTES = 100;
const ENTITY_BITS = 8 * VALUE_BYTES + 120;
const FRAME_BITS = 64;
const WARM_TICKS = 150;
const TICKS = 250;
/** Metres at which an entity counts 4, 2 and 1. */
const DISTANCES = [1, 10, 40];

Deno.test("`stalenessBound()` is never exceeded and comes within a factor 4, when worlds, weights and budgets are random", () => {
  let closest = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const prng = createPrng(seed);
    // Blobs, and blobs that count more.
    const weight = seed % 3 === 0 ? 1 + below(prng, MAX_WEIGHT) : 1;
    const components = buildComponents([1, 2].map((id) => ({
      id,
      name: `Blob${id}`,
      fields: [{ name: "data", kind: "bytes" as const, maxBytes: 10_000 }],
      weight: id === 1 ? 1 : weight,
    })));
    const grants = sampleGrants({ components });
    const world = new World(grants);
    const entities = 2 + below(prng, 40);
    const perSection = 1 + below(prng, 3);
    const maxDatagrams = 1 + below(prng, 2);
    const perTick = perSection * maxDatagrams;
    const bound = stalenessBound(entities, perTick, weight);
    const link = new SnapshotLink({
      grants,
      world,
      peer: 1,
      roleIndex: PLAYER,
      direction: "down",
      path: PERFECT,
      prng,
      maxBits: FRAME_BITS + perSection * ENTITY_BITS,
      maxDatagrams,
    });
    const write = (slot: number, tick: number) => {
      const id = makeEntityId(slot, 0);
      // The first one is light, as is each other one.
      const component = slot % 2 === 0 ? 1 : 0;
      const value = createValue(grants.components[component]!);
      value.blobs[0] = Uint8Array.from({ length: VALUE_BYTES }, () => below(prng, 256));
      if (world.isAlive(id)) world.write(id, component, 1, value, tick, tick * 64);
      else {
        world.spawn(id, 0, tick);
        world.addComponent(id, component, value, tick, tick * 64);
      }
    };
    const candidates = createInterestResult();
    const metres: number[] = [];
    // Where one is far and all others near it waits longest; elsewhere the weights are random, and change or do not.
    const isLonely = seed % 2 === 0;
    const isRestless = seed % 4 === 1;
    const changes = [1, 0.6, 0.2][below(prng, 3)]!;
    const waited = new Int32Array(entities + 1);
    let longest = 0;
    for (let tick = 1; tick <= WARM_TICKS + TICKS; tick++) {
      for (let slot = 1; slot <= entities; slot++) {
        if (tick === 1 || (tick > WARM_TICKS && (isLonely || prng() < changes))) write(slot, tick);
        if (tick === 1 || (isRestless && prng() < 0.2)) {
          metres[slot] = isLonely ? (slot === 1 ? 40 : 1) : DISTANCES[below(prng, 3)]!;
        }
        candidates.slots[slot - 1] = slot;
        candidates.distanceSquared[slot - 1] = metres[slot]! ** 2;
      }
      candidates.count = entities;
      world.expire(tick);
      link.step(tick, candidates);
      link.receiver.expire(tick);
      for (let slot = 1; slot <= entities; slot++) {
        const id = makeEntityId(slot, 0);
        const isRight = link.receiver.hash(id) === world.hash(id);
        if (tick <= WARM_TICKS) {
          assert(isRight || tick < WARM_TICKS, `seed ${seed}: all are known before it counts`);
          continue;
        }
        waited[slot] = isRight ? 0 : waited[slot]! + 1;
        longest = Math.max(longest, waited[slot]!);
      }
    }
    const context =
      `seed ${seed}: ${longest} of ${bound} ticks, ${entities} entities, ${perTick} a tick`;
    assert(longest <= bound, context);
    if (bound > 4) closest = Math.max(closest, longest / bound);
  }
  assertGreater(closest, 1 / 4);
});

Deno.test("`stalenessBound()` is the largest wait that the inequality allows", () => {
  for (const declared of [1, 2, 3.5, MAX_WEIGHT]) {
    for (let entities = 1; entities <= 40; entities++) {
      for (const perTick of [1, 2, 3, 7, 30, 100]) {
        let expected = 0;
        let count = 0;
        let next = 1;
        for (let d = 1; d <= 12_000; d++) {
          if (d === next) {
            count += 1;
            next = Math.max(d + 1, Math.ceil(d * 4 * declared / (4 * declared - 1)));
          }
          if (d * perTick <= (entities - 1) * count) expected = d;
        }
        const what = `${entities} at ${perTick}, weights up to ${declared}`;
        assertEquals(stalenessBound(entities, perTick, declared), expected, what);
      }
    }
  }
});

/** Ticks that the entity 0 waits when others go as late as they may: each time those sent longest ago, as many as go in turn then. */
function longestWait(entities: number, perWindow: number, windowTicks: number, weight: number) {
  const sent = new Array<number>(entities).fill(0);
  for (let waited = 0;; waited++) {
    const tick = waited + 1;
    // All of a window's go at its end.
    if (tick % windowTicks !== 0) continue;
    const others = sent.map((_, i) => i).slice(1).sort((a, b) => sent[a]! - sent[b]!);
    const due = others.slice(0, perWindow);
    if (due.length < perWindow || !due.every((i) => isInTurn(tick - sent[i]!, tick, weight))) {
      return waited;
    }
    for (const i of due) sent[i] = tick;
  }
}

Deno.test("`windowedStalenessBound()` is never exceeded and is reached, when random schedules put one off as long as they may", () => {
  const closest = new Map<string, number>();
  for (let seed = 1; seed <= 400; seed++) {
    const prng = createPrng(seed);
    const weight = 1 + below(prng, 3);
    const entities = 2 + below(prng, 8);
    const windowTicks = 1 + below(prng, 4);
    const perWindow = 1 + below(prng, 2 * windowTicks);
    const bound = windowedStalenessBound(entities, perWindow, windowTicks, weight);
    const laziness = prng();
    // Each has been sent at some tick before; the first one is put off whenever the windows allow it.
    const sent = Array.from({ length: entities }, () => -below(prng, 20));
    const isWaiting = new Array<boolean>(entities).fill(true);
    const wentInTurn: number[] = [];
    const waited = new Int32Array(entities);
    let longest = 0;
    for (let tick = 1; tick <= 400; tick++) {
      for (let i = 0; i < entities; i++) isWaiting[i] ||= prng() < 0.8;
      const before = wentInTurn.slice(Math.max(0, wentInTurn.length - windowTicks + 1));
      const isFull = before.length === windowTicks - 1;
      const owed = isFull ? Math.max(0, perWindow - before.reduce((sum, n) => sum + n, 0)) : 0;
      const goes = new Set<number>();
      const inTurn = () => {
        let most = 0;
        for (let i = 0; i < entities; i++) {
          if (isWaiting[i] && !goes.has(i)) most = Math.max(most, tick - sent[i]!);
        }
        return [...goes].filter((i) => isInTurn(tick - sent[i]!, most, weight)).length;
      };
      const isAllSent = () => isWaiting.every((waits, i) => !waits || goes.has(i));
      // What goes beside the line goes in any order.
      if (prng() < 0.1) goes.add(below(prng, entities));
      const wanted = prng() < laziness ? owed : owed + below(prng, 3);
      while (inTurn() < wanted && !isAllSent()) {
        const line = isWaiting.flatMap((waits, i) => waits && !goes.has(i) ? [i] : []);
        // The one to be put off goes last of all, as long as others go in turn; then the one that is most overdue.
        const others = line.filter((i) => i !== 0).sort((a, b) => sent[a]! - sent[b]!);
        const first = others[0];
        const mayPass = first !== undefined && (!line.includes(0) ||
          isInTurn(tick - sent[first]!, tick - sent[0]!, weight));
        goes.add(mayPass ? first : line.sort((a, b) => sent[a]! - sent[b]!)[0]!);
      }
      // Only windows count in which something waits all the time.
      if (isAllSent()) wentInTurn.length = 0;
      else wentInTurn.push(inTurn());
      for (let i = 0; i < entities; i++) {
        if (goes.has(i)) {
          sent[i] = tick;
          isWaiting[i] = false;
          waited[i] = 0;
        } else if (isWaiting[i]) {
          waited[i]! += 1;
          longest = Math.max(longest, waited[i]!);
        }
      }
    }
    const context =
      `seed ${seed}: ${longest} of ${bound} ticks, ${entities} entities, ${perWindow} in ${windowTicks} ticks`;
    assert(longest <= bound, context);
    const shape = windowTicks === 1 ? "ticks" : "windows";
    closest.set(shape, Math.max(closest.get(shape) ?? 0, bound > 4 ? longest / bound : 0));
  }
  assertGreater(closest.get("ticks")!, 0.7);
  assertGreater(closest.get("windows")!, 0.5);
});

Deno.test("`windowedStalenessBound()` is the longest wait there can be, when windows are single ticks and all take turns", () => {
  for (const weight of [1, 2, 5]) {
    for (let others = 1; others <= 12; others++) {
      for (let perTick = 1; perTick <= others; perTick++) {
        if (others % perTick !== 0) continue;
        const bound = windowedStalenessBound(others + 1, perTick, 1, weight);
        const what = `${others} others, ${perTick} a tick, weight ${weight}`;
        assertEquals(bound, longestWait(others + 1, perTick, 1, weight), what);
        assert(bound <= stalenessBound(others + 1, perTick, weight), what);
      }
    }
  }
});

Deno.test("`windowedStalenessBound()` is a window less a tick, when nobody else is there", () => {
  for (const windowTicks of [1, 2, 9]) {
    assertEquals(windowedStalenessBound(1, 1, windowTicks), windowTicks - 1);
  }
});

Deno.test("a heavier component goes more often than a light one, when not all fits, and neither is left out", () => {
  const components = buildComponents([1, 4].map((weight, i) => ({
    id: i + 1,
    name: `Blob${weight}`,
    fields: [{ name: "data", kind: "bytes" as const, maxBytes: 10_000 }],
    weight,
  })));
  const grants = sampleGrants({ components });
  const world = new World(grants);
  const prng = createPrng(5);
  const maxBits = FRAME_BITS + 2 * ENTITY_BITS;
  const link = new SnapshotLink({
    grants,
    world,
    peer: 1,
    roleIndex: PLAYER,
    direction: "down",
    path: PERFECT,
    prng,
    maxBits,
    maxDatagrams: 1,
  });
  const told = [0, 0];
  const candidates = createInterestResult();
  for (let tick = 1; tick <= 600; tick++) {
    for (let slot = 1; slot <= 12; slot++) {
      const id = makeEntityId(slot, 0);
      const component = slot % 2;
      const value = createValue(components[component]!);
      value.blobs[0] = Uint8Array.from({ length: VALUE_BYTES }, () => below(prng, 256));
      if (tick > 1) world.write(id, component, 1, value, tick, tick * 64);
      else {
        world.spawn(id, 0, tick);
        world.addComponent(id, component, value, tick, tick * 64);
      }
      candidates.slots[slot - 1] = slot;
      candidates.distanceSquared[slot - 1] = 100;
    }
    candidates.count = 12;
    world.expire(tick);
    link.onDecoded = ({ entries, count }) => {
      for (const { kind, component } of entries.slice(0, count)) {
        if (kind === "value" && tick > 100) told[component]! += 1;
      }
    };
    link.step(tick, candidates);
    link.receiver.expire(tick);
  }
  const [light, heavy] = told;
  // Waiting times weight evens out: four times the weight, up to four times as often.
  assert(light! > 100 && heavy! > 2.5 * light! && heavy! < 4.5 * light!, `${light}, ${heavy}`);
});
