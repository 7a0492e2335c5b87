// The fan-out benchmark as its users run it, small and short, and what its command line refuses. Its figures are looked at for sense, not
// for speed.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCounts } from "../../bench/fanout.ts";
import { fanoutManifest } from "../../bench/fanout_manifest.ts";
import { CommandError } from "../../driver/exit_codes.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { ROOT, runCommand } from "../support/run_program.ts";

function runBench(...args: string[]) {
  return runCommand(Deno.execPath(), ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, ...args], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
}

Deno.test("`fanout` ends with one flat line of plausible figures, when two clients play for three seconds", async () => {
  const { code, out, err } = await runBench(
    ...["fanout", "--n", "2", "--seconds", "3", "--warmup", "1"],
  );
  assertEquals(code, 0, err);
  const figures = JSON.parse(out.trim().split("\n").at(-1)!) as Record<string, number | string>;
  assertEquals(figures["name"], "fanout");
  assertEquals(figures["n"], 2);
  const keys: Record<string, readonly [number, number]> = {
    cpu: [0, 2],
    kBps_down: [0.3, 30],
    kBps_up: [0.3, 30],
    // More than a header, less than the pose in plain floats with a header.
    bytes_per_update: [10, 160],
    p50_ms: [0.1, 1000],
    p99_ms: [0.1, 2000],
    updates_per_pair: [20, 31],
    rss_mb: [20, 2000],
    wire_kBps_down: [1, 60],
    wire_kBps_up: [1, 60],
    load_cpu: [0, 2],
  };
  for (const [key, [low, high]] of Object.entries(keys)) {
    const value = figures[key];
    assert(
      typeof value === "number" && value >= low && value <= high,
      `${key} is ${value}, outside ${low}..${high}\n${out}`,
    );
  }
  assertEquals(Object.keys(figures).sort(), ["name", "n", ...Object.keys(keys)].sort());
  const readme = await Deno.readTextFile(`${ROOT}bench/README.md`);
  for (const key of Object.keys(figures)) assertStringIncludes(readme, `\`${key}\``);
});

Deno.test("`main()` names every benchmark, when asked for help or given a wrong word", async () => {
  const help = await runBench("help");
  assertEquals([help.code, help.err], [0, ""]);
  assertStringIncludes(help.out, "fanout");
  const options = await runBench("fanout", "--help");
  assertEquals(options.code, 0);
  assertStringIncludes(options.out, "--seconds");
  const wrong = await runBench("fanuot");
  assertEquals(wrong.code, 2);
  assertStringIncludes(wrong.err, "Did you mean fanout?");
  const count = await runBench("fanout", "--n", "4,many");
  assertEquals(count.code, 2);
  assertStringIncludes(count.err, '--n is "4,many"');
});

Deno.test("`parseCounts()` sorts and refuses, when numbers of clients are given", () => {
  assertEquals(parseCounts("32,4, 4"), [4, 32]);
  for (const text of ["", "1", "4,", "1001", "4.5", "-4"]) {
    assertThrows(() => parseCounts(text), CommandError, "whole numbers from 2 to 1000");
  }
});

Deno.test("`fanoutManifest()` gives both sides one world, when it is parsed", () => {
  for (const n of [2, 64, 1000]) {
    const server = parseManifest(fanoutManifest(n, { role: "server" }), "server");
    const client = parseManifest(
      fanoutManifest(n, { role: "client", connect: "127.0.0.1:4433" }),
      "client",
    );
    assertEquals(client.world, server.world);
    assert(server.world.maxPeers >= n && server.world.maxEntities > n);
  }
});
