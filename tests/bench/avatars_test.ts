// The avatars and objects benchmarks as their users run them, short. Bytes follow from seeds and are held to bounds; times are only looked at.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runAvatars, tablesWithout } from "../../bench/avatars.ts";
import { runObjects } from "../../bench/objects.ts";
import { readClips } from "../../examples/recorded.ts";
import { ROOT, runCommand } from "../support/run_program.ts";

async function run(...args: string[]): Promise<Record<string, number | string>> {
  const { code, out, err } = await runCommand(
    Deno.execPath(),
    ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, ...args],
    { cwd: ROOT, env: { NO_COLOR: "1" } },
  );
  assertEquals(code, 0, err);
  return JSON.parse(out.trim().split("\n").at(-1)!);
}

Deno.test("`avatars` and `objects` end with one flat line of JSON, whose keys the page explains", async () => {
  const readme = await Deno.readTextFile(`${ROOT}bench/README.md`);
  for (
    const figures of [
      await run("avatars", "--n", "10", "--ticks", "20"),
      await run("objects", "--seconds", "2"),
    ]
  ) {
    for (const [key, value] of Object.entries(figures)) {
      assert(key === "name" || (typeof value === "number" && value > 0), key);
      const plain = key.replace(/_loss5$/, "").replace(/^(move_y|all_axis|wander)/, "<motion>");
      assertStringIncludes(readme, `\`${plain}\``);
    }
  }
});

Deno.test("`runAvatars()` takes few bytes for people that the tables have not seen, and keeps their precision", () => {
  const clips = readClips().filter(({ name }) => name.startsWith("02"));
  const how = { n: 100, ticks: 30, seed: 1 };
  const run = runAvatars(clips, 1, how, tablesWithout("02"));
  assert(run.bytes < 13, `${run.bytes} B`);
  assert(run.maxErrorMm < Math.sqrt(3) / 2 + 0.05, `${run.maxErrorMm} mm`);
  assert(run.maxErrorDegrees <= 0.2, `${run.maxErrorDegrees} degrees`);
});

Deno.test("`runObjects()` stays exact and small, with and without loss", () => {
  assert(runObjects("move_y", 0, 3, 1).kBps < 20);
  assert(runObjects("wander", 0.05, 3, 1).kBps < 75);
});
