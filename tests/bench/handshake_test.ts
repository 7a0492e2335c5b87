// The handshake benchmark as its users run it, short: its figures are bytes, so they can be judged.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT, runCommand } from "../support/run_program.ts";

Deno.test("`handshake` ends with one flat line of figures within the bounds, when it runs", async () => {
  const { code, out, err } = await runCommand(
    Deno.execPath(),
    ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, "handshake"]
      .concat("--n", "24", "--idle", "1300", "--seconds", "1"),
    { cwd: ROOT, env: { NO_COLOR: "1" } },
  );
  assertEquals(code, 0, err);
  const figures = JSON.parse(out.trim().split("\n").at(-1)!) as Record<string, number | string>;
  const keys: Record<string, readonly [number, number]> = {
    n: [24, 24],
    amplification: [1, 3],
    own_certificate: [1, 3],
    lone: [1, 4],
    lone_worst: [3, 4],
    repeated: [0.01, 1],
    other_version: [0.01, 0.2],
    stray: [0, 0],
    retries: [0, 0],
    // Shares: how large they are is a matter of the machine.
    admitted: [0, 1],
    admitted_first: [0, 1],
    admitted_heavy: [0, 1],
    admitted_first_heavy: [0, 1],
    cpu_heavy: [0.01, 64],
  };
  assertEquals(figures["name"], "handshake");
  for (const [key, [low, high]] of Object.entries(keys)) {
    const value = figures[key];
    assert(typeof value === "number" && value >= low && value <= high, `${key}: ${value}\n${out}`);
  }
  assertEquals(Object.keys(figures).sort(), ["name", ...Object.keys(keys)].sort());
  const readme = await Deno.readTextFile(`${ROOT}bench/README.md`);
  for (const key of Object.keys(figures)) assertStringIncludes(readme, `\`${key}\``);
});
