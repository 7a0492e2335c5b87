// The gate benchmark as its users run it, short, and the scene it measures. Its figures are looked at for sense, not for speed.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { GateScene } from "../../bench/gate_scene.ts";
import { Gate } from "../../permissions/gate.ts";
import { ROOT, runCommand } from "../support/run_program.ts";

Deno.test("`gate` ends with one flat line of plausible figures, when it runs once", async () => {
  const { code, out, err } = await runCommand(
    Deno.execPath(),
    ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, "gate"]
      .concat("--runs", "1", "--ticks", "2", "--decisions", "20000"),
    { cwd: ROOT, env: { NO_COLOR: "1" } },
  );
  assertEquals(code, 0, err);
  const figures = JSON.parse(out.trim().split("\n").at(-1)!) as Record<string, number | string>;
  const keys: Record<string, readonly [number, number]> = {
    gate_ns: [0.1, 100_000],
    gate_hot_ns: [0.01, 100_000],
    share_of_encode: [0, 1],
    encode_ms: [0.1, 10_000],
    gate_ms: [0, 1_000],
    // Avatars and states everywhere, each plan at a third.
    mask_tests: [26_000, 27_500],
    visible_pairs: [10_000, 10_000],
    kB_per_tick: [50, 1_000],
    allowed_share: [0.3, 0.7],
    // A question holds up to five values and a head.
    bytes_per_decision: [0, 120],
  };
  assertEquals(figures["name"], "gate");
  for (const [key, [low, high]] of Object.entries(keys)) {
    const value = figures[key];
    assert(
      typeof value === "number" && value >= low && value <= high,
      `${key} is ${value}, outside ${low}..${high}\n${out}`,
    );
  }
  assertEquals(Object.keys(figures).sort(), ["name", ...Object.keys(keys)].sort());
  const readme = await Deno.readTextFile(`${ROOT}bench/README.md`);
  for (const key of Object.keys(figures)) assertStringIncludes(readme, `\`${key}\``);
});

Deno.test("`GateScene` mixes field masks over eight roles, and sends the same for the same seed", () => {
  const [scene, twin, other] = [new GateScene(1), new GateScene(1), new GateScene(2)];
  const gate = new Gate(scene.grants);
  const { count, component, role, isOwner } = scene.maskTests();
  const masks = new Map<number, Set<number>>();
  let withheld = 0;
  for (let i = 0; i < count; i++) {
    const mask = gate.readMask(component[i]!, role[i]!, isOwner[i] === 1);
    if (mask === 0) withheld += 1;
    const seen = masks.get(component[i]!) ?? new Set();
    masks.set(component[i]!, seen.add(mask));
  }
  assertEquals(new Set(role).size, 8);
  assertEquals([...masks].sort(([a], [b]) => a - b).map(([, seen]) => seen.size), [2, 4, 2, 3]);
  assert(withheld > count / 10 && withheld < count / 2, `${withheld} of ${count}`);
  for (let tick = 0; tick < 4; tick++) {
    for (const one of [scene, twin, other]) {
      one.change();
      one.encode();
      one.acknowledge();
    }
  }
  assertEquals(scene.visiblePairs, 10_000);
  assertEquals(twin.sentBytes, scene.sentBytes);
  assert(other.sentBytes !== scene.sentBytes);
});
