// Every attempt, made from inside a driver that runs under exactly its manifest's flags: before its start-up, and again while it serves.
// The control of each is the same call in the same program under every right.

import { assert, assertEquals, assertGreater, assertGreaterOrEqual } from "@std/assert";
import { listenForDriver } from "../../engine/listen.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { startCommand } from "../../driver/launcher.ts";
import { ROOT, runCommand } from "../support/run_program.ts";
import type { AttemptOutcome } from "./attempt.ts";
import { FILE_ATTEMPTS } from "./attempts_files.ts";
import { NETWORK_ATTEMPTS } from "./attempts_network.ts";
import { PROCESS_ATTEMPTS } from "./attempts_process.ts";
import { Range } from "./range.ts";

const ATTEMPTS = [...FILE_ATTEMPTS, ...PROCESS_ATTEMPTS, ...NETWORK_ATTEMPTS];
const INSIDE = `${ROOT}tests/escape/inside.ts`;

/** Longest a run may take, ms; it takes two or three seconds. */
const RUN_MS = 30_000;

/** What one run of `inside.ts` told, and what was seen of it from outside. */
interface Run {
  readonly rounds: ReadonlyMap<string, readonly AttemptOutcome[]>;
  readonly code: number;
  readonly arrivals: ReadonlyMap<string, number>;
  /** Names, modes and sizes in the folder, before and afterwards. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** Connections that the engine took. */
  readonly drivers: number;
  /** Whether the driver still served its engine when the attempts were over. */
  readonly alive: boolean;
  readonly err: string;
}

/** The driver's own start command with nothing exchanged but the module. */
function sandboxedCommand(manifest: string): Deno.Command {
  const { executable, args, env } = startCommand(manifest);
  const exchanged = args.map((word) => word === `${ROOT}mod.ts` ? INSIDE : word);
  assertEquals(exchanged.filter((word, i) => word !== args[i]), [INSIDE]);
  return new Deno.Command(executable, {
    args: exchanged,
    env: { ...env },
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

/**
 * The same program with every right; without a lock file, which would refuse the modules that the attempts import. What it stores goes to
 * a cache folder of its own, which knows the packages of the real one.
 */
async function controlCommand(manifest: string): Promise<Deno.Command> {
  const { out } = await runCommand(Deno.execPath(), ["info", "--json"]);
  const cacheFolder = manifest.replace(/[^/]*$/, "cache");
  Deno.mkdirSync(cacheFolder);
  Deno.symlinkSync(`${(JSON.parse(out) as { denoDir: string }).denoDir}/npm`, `${cacheFolder}/npm`);
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-lock",
      "--unstable-kv",
      `--config=${ROOT}deno.json`,
      INSIDE,
      "run",
      "--manifest",
      manifest,
    ],
    env: { NO_COLOR: "1", DENO_DIR: cacheFolder },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

async function run(
  commandOf: (manifest: string) => Deno.Command | Promise<Deno.Command>,
): Promise<Run> {
  const range = await Range.create();
  const { targets } = range;
  let drivers = 0;
  let alive = false;
  const serving = Promise.withResolvers<void>();
  const engine = await listenForDriver({
    socket: targets.engineSocket,
    manifest: targets.manifest,
    world: new ReferenceWorld(),
    callbacks: {
      onDriverReady: () => drivers += 1,
      onJoined: () => serving.resolve(),
      onDriverLost: () => alive = false,
    },
    log: () => {},
  });
  const before = range.inventory();
  const process = (await commandOf(targets.manifest)).spawn();
  const err = new Response(process.stderr).text();
  const guard = setTimeout(() => process.kill("SIGKILL"), RUN_MS);
  const stdin = process.stdin.getWriter();
  // The control starts no driver, so nobody waits for this line there.
  serving.promise.then(() => {
    alive = true;
    return stdin.write(new TextEncoder().encode("go\n"));
  }).catch(() => {});
  const rounds = new Map<string, AttemptOutcome[]>();
  let text = "";
  let stillAlive = false;
  for await (const chunk of process.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n")) {
      const { round, value } = JSON.parse(text.slice(0, at)) as {
        round: string;
        value: AttemptOutcome[];
      };
      text = text.slice(at + 1);
      rounds.set(round, value);
      if (round !== "after") continue;
      stillAlive = alive;
      await engine.close();
    }
  }
  const { code } = await process.status;
  clearTimeout(guard);
  await stdin.close().catch(() => {});
  await engine.close();
  const after = range.inventory();
  const arrivals = new Map(range.arrivals);
  await range.close();
  return { rounds, code, arrivals, before, after, drivers, alive: stillAlive, err: await err };
}

let both: Promise<[Run, Run]> | undefined;

/** The sandboxed run and the control, made once for all tests of this file. */
function runs(): Promise<[Run, Run]> {
  return both ??= Promise.all([run(sandboxedCommand), run(controlCommand)]);
}

function find(of: Run, round: string, does: string): AttemptOutcome {
  const outcome = of.rounds.get(round)?.find((one) => one.does === does);
  assert(outcome !== undefined, `round "${round}" does not tell of it. ${of.err}`);
  return outcome;
}

Deno.test("the driver serves on while everything is tried, and ends with its engine", async () => {
  const [sandboxed, control] = await runs();
  assertEquals([...sandboxed.rounds.keys()], ["before", "after"], sandboxed.err);
  assertEquals([...control.rounds.keys()], ["control"], control.err);
  assert(sandboxed.alive, sandboxed.err);
  assertEquals(sandboxed.code, ExitCode.Ok, sandboxed.err);
  assertEquals(sandboxed.drivers, 1);
  assertEquals(control.code, 0, control.err);
});

Deno.test("nothing arrives at any listener of the range, when the driver is sandboxed", async () => {
  const [sandboxed, control] = await runs();
  assertEquals([...sandboxed.arrivals], []);
  assertEquals([...control.arrivals.keys()].sort(), [
    "abstract",
    "http",
    "http by unix",
    "quic",
    "tcp",
    "tls",
    "udp",
    "unix",
  ]);
});

Deno.test("nothing changes in the driver's folder, when the driver is sandboxed", async () => {
  const [sandboxed, control] = await runs();
  // The engine removes its socket when it closes.
  const lasting = sandboxed.before.filter((entry) => !entry.startsWith("engine.sock "));
  assertEquals(sandboxed.after, lasting);
  assertGreater(control.before.filter((entry) => !control.after.includes(entry)).length, 1);
});

Deno.test("every kind of way out is tried, and each once", () => {
  assertGreaterOrEqual(ATTEMPTS.length, 40);
  assertEquals(new Set(ATTEMPTS.map((attempt) => attempt.does)).size, ATTEMPTS.length);
});

for (const { does, late } of ATTEMPTS) {
  Deno.test(`inside the driver's sandbox, ${does} is refused, and works with every right`, async () => {
    const [sandboxed, control] = await runs();
    const worked = find(control, "control", does);
    assertEquals(worked.verdict, "succeeded", worked.detail);
    for (const round of late === true ? ["after"] : ["before", "after"]) {
      const outcome = find(sandboxed, round, does);
      assertEquals(outcome.verdict, "refused", `${round} start-up: ${outcome.detail}`);
    }
  });
}
