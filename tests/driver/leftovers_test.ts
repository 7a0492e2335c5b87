// What is left of an avatar in the drivers' tables after its end, when nothing happens any more: every array of numbers that the run makes is
// looked through for its place.

import { assert, assertEquals } from "@std/assert";
import { CHECK_MEMORY_MS } from "../../protocol/limits.ts";
import { driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";

type Numbers = Int32Array | Float64Array;
const KINDS = ["Int32Array", "Float64Array"] as const;

/** Runs `play` while every array of numbers made is kept, with where it was made. */
function watched(play: (made: Map<Numbers, string>) => void): void {
  const made = new Map<Numbers, string>();
  const originals = KINDS.map((kind) => globalThis[kind]);
  const watch = (original: typeof originals[number]) =>
    new Proxy(original, {
      construct(target, given, as) {
        const array = Reflect.construct(target, given, as) as Numbers;
        made.set(array, new Error().stack ?? "");
        return array;
      },
    });
  const change = (kind: typeof KINDS[number], to: typeof originals[number]) => {
    Object.defineProperty(globalThis, kind, { value: to, configurable: true, writable: true });
    // Copies and larger ones are made by the constructor that an array names.
    Object.defineProperty(to.prototype, "constructor", { value: to, configurable: true });
  };
  try {
    for (const [i, kind] of KINDS.entries()) change(kind, watch(originals[i]!));
    play(made);
  } finally {
    for (const [i, kind] of KINDS.entries()) change(kind, originals[i]!);
  }
}

/** Tables, by file, in which these numbers stand side by side. */
function tablesWith(made: Map<Numbers, string>, wanted: readonly number[]): string[] {
  const found = new Set<string>();
  for (const [array, stack] of made) {
    for (let at = 0; at + wanted.length <= array.length; at++) {
      if (!wanted.every((one, i) => array[at + i] === one)) continue;
      for (const file of ["version_store", "component_checks", "velocity_windows"]) {
        if (stack.includes(`/${file}.ts`)) found.add(file);
      }
    }
  }
  return [...found].sort();
}

/** Two clients in a world with checks, the first with a named avatar where nobody else is. */
function stage() {
  const components = driverComponents();
  components[0]!["checks"] = { body: { maxSpeed: 100, maxAcceleration: 500 } };
  components[0]!["interestRadius"] = 0;
  components[0]!["spawn"] = { roles: ["player"], maxPerPeer: 1 };
  const grants = driverGrants({ components });
  const pair = new Pair({ grants, seed: 5, clients: 2 }).start().joinAll();
  const [a] = pair.clients as [PairNode<never>];
  const body = [123.457, 1.234, -321.987];
  const lanes = body.map((one) => Math.round((one + 512) / 0.001));
  const avatar = a.engine.spawn({ Avatar: { ...poseAt(0), body }, Name: { text: "one" } });
  a.engine.flush();
  pair.run(1_000);
  return { pair, a, avatar, lanes };
}

const ALL = ["component_checks", "velocity_windows", "version_store"];

Deno.test("no table holds the place of an avatar that its owner ended, by time alone", () => {
  watched((made) => {
    const { pair, a, avatar, lanes } = stage();
    assertEquals(tablesWith(made, lanes), ALL, "while it lives");
    a.engine.despawn(avatar);
    a.engine.flush();
    pair.run(2_000);
    assert(tablesWith(made, lanes).includes("component_checks"), "remembered for its next one");
    pair.run(CHECK_MEMORY_MS + 8_000);
    // The memory itself is an object that was let go of: `write_checks_test.ts` counts those.
    for (const [array, stack] of made) {
      if (stack.includes("ComponentChecks.remember")) made.delete(array);
    }
    assertEquals(tablesWith(made, lanes), []);
  });
});

Deno.test("no table holds the place of an avatar whose component its owner took away, by time alone", () => {
  watched((made) => {
    const { pair, a, avatar, lanes } = stage();
    a.engine.remove(avatar, "Avatar");
    a.engine.flush();
    pair.run(CHECK_MEMORY_MS - 1_000);
    assert(tablesWith(made, lanes).includes("component_checks"), "remembered for a while");
    pair.run(9_000);
    assertEquals(tablesWith(made, lanes), []);
  });
});
