// The fan-out benchmark as its users run it, small and short, and what its command line refuses. Its figures are looked at for sense, not
// for speed.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCounts, searchMost } from "../../bench/fanout.ts";
import { fanoutManifest } from "../../bench/fanout_manifest.ts";
import type { FanoutRun } from "../../bench/fanout_run.ts";
import { LossyConnection } from "../../bench/lossy_connection.ts";
import { CommandError } from "../../driver/exit_codes.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { Prng } from "../../protocol/prng.ts";
import { createLoopbackPair } from "../../transport/loopback.ts";
import { ROOT, runCommand } from "../support/run_program.ts";

function runBench(...args: string[]) {
  return runCommand(Deno.execPath(), ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, ...args], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
}

Deno.test("`fanout` ends with one flat line of plausible figures, when two clients play for two seconds", async () => {
  const { code, out, err } = await runBench(
    ...["fanout", "--n", "2", "--seconds", "2", "--warmup", "1", "--search", "0"],
  );
  assertEquals(code, 0, err);
  const figures = JSON.parse(out.trim().split("\n").at(-1)!) as Record<string, number | string>;
  assertEquals(figures["name"], "fanout");
  assertEquals([figures["n"], figures["n_max"], figures["n_max_end"]], [2, -1, "none"]);
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
    load_late_p99_ms: [0.1, 1000],
    baseline_age_ticks: [1, 60],
    updates_per_pair_loss2: [15, 31],
    floor_cpu: [0, 2],
    floor_p99_ms: [1, 1000],
  };
  for (const [key, [low, high]] of Object.entries(keys)) {
    const value = figures[key];
    assert(
      typeof value === "number" && value >= low && value <= high,
      `${key} is ${value}, outside ${low}..${high}\n${out}`,
    );
  }
  const words = ["name", "n", "n_max", "n_max_end"];
  assertEquals(Object.keys(figures).sort(), [...words, ...Object.keys(keys)].sort());
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

/** A machine on which the driver takes so much for each pair, and beyond `loadAt` clients the load is late. */
function machine(cpuOf: (n: number) => number, loadAt: number) {
  const sizes: number[] = [];
  const measure = (n: number) => {
    sizes.push(n);
    const isHeld = n <= loadAt && cpuOf(n) < 0.95;
    const figures = { cpu: Math.min(cpuOf(n), 0.98), updates_per_pair: isHeld ? 29.9 : 17 };
    return Promise.resolve(figures as FanoutRun);
  };
  return { sizes, measure };
}

Deno.test("`searchMost()` finds the largest room to an eighth, and says who ended the search", async () => {
  const server = machine((n) => n * n / 10_000, Infinity);
  const found = await searchMost(server.measure, () => {});
  assertEquals(found.end, "server");
  assert(found.most >= 84 && found.most <= 97, `${found.most}`);
  assert(server.sizes.length <= 8, server.sizes.join());

  const load = await searchMost(machine(() => 0.3, 50).measure, () => {});
  assertEquals(load.end, "load");
  assert(load.most >= 43 && load.most <= 50, `${load.most}`);

  const none = await searchMost(machine(() => 0.1, Infinity).measure, () => {});
  assertEquals(none, { most: 512, end: "size" });

  const broken = await searchMost(() => Promise.reject(new Error("nobody came")), () => {});
  assertEquals(broken.end, "load");
});

Deno.test("`LossyConnection` loses its share of datagrams in either direction, the same ones for a seed", async () => {
  const run = async (seed: number) => {
    const inner = createLoopbackPair(queueMicrotask);
    const lossy = new LossyConnection(inner.connector, 0.2, new Prng(seed));
    const came: [number[], number[]] = [[], []];
    const handler = (way: 0 | 1) => ({
      handleDatagram: (bytes: Uint8Array) => void came[way].push(bytes[0]! * 256 + bytes[1]!),
      handleStream: () => {},
      handleClosed: () => {},
    });
    lossy.start(handler(0));
    inner.acceptor.start(handler(1));
    for (let i = 0; i < 2_000; i++) {
      const bytes = Uint8Array.of(i >> 8, i & 0xff);
      lossy.sendDatagram(bytes);
      inner.acceptor.sendDatagram(bytes);
      await Promise.resolve();
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    lossy.close(0, "");
    return came;
  };
  const first = await run(1);
  for (const { length } of first) assert(length > 1_500 && length < 1_700, `${length} of 2,000`);
  assertEquals(await run(1), first);
  assert((await run(2))[0].join() !== first[0].join());
});
