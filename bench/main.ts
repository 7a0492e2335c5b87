// Benchmarks by name: `deno task bench -- fanout`. Each ends with one flat line of JSON, one for each size where it runs with several;
// README.md explains the keys.

import { type CommandSpec, type Options, parseArguments } from "../driver/arguments.ts";
import { CommandError, ExitCode } from "../driver/exit_codes.ts";
import { AVATARS_OPTIONS, runAvatarsBench } from "./avatars.ts";
import { CLOG_OPTIONS, runClog } from "./clog.ts";
import { CUBES_OPTIONS, runCubes } from "./cubes.ts";
import { FANOUT_OPTIONS, runFanout } from "./fanout.ts";
import { FLOOD_OPTIONS, runFlood } from "./flood.ts";
import { GATE_OPTIONS, runGate } from "./gate.ts";
import { HANDSHAKE_OPTIONS, runHandshake } from "./handshake.ts";
import { OBJECTS_OPTIONS, runObjectsBench } from "./objects.ts";
import { JOIN_OPTIONS, runJoin } from "./join.ts";
import { runScale, SCALE_OPTIONS } from "./scale.ts";
import { runViews, VIEWS_OPTIONS } from "./views.ts";

const PROGRAM = "deno task bench --";

type Body = (options: Options, print: (line: string) => void) => Promise<void>;

/** Every benchmark, in the order the help lists them. */
const BENCHMARKS: readonly (CommandSpec & { readonly body: Body })[] = [
  {
    name: "avatars",
    summary: "bytes and time an avatar, recorded people, the product's codec",
    details:
      "One process: the server's sender and a client's receiver, tables without the person measured.",
    options: AVATARS_OPTIONS,
    examples: ["avatars", "avatars --n 20 --ticks 60"],
    body: runAvatarsBench,
  },
  {
    name: "clog",
    summary: "a full room on narrow, lossy links: what waits, how old things get, memory",
    details: "Real cores of a server and 68 clients on simulated links and virtual time.",
    options: CLOG_OPTIONS,
    examples: ["clog", "clog --seconds 60 --link 16"],
    body: runClog,
  },
  {
    name: "cubes",
    summary: "bits of a changed cube in Fiedler's scene, beside the packer of his article",
    details: "The product's senders and receivers in one process, 901 cubes of a physics engine.",
    options: CUBES_OPTIONS,
    examples: ["cubes", "cubes --frames 300 --seed 2"],
    body: runCubes,
  },
  {
    name: "fanout",
    summary: "one server driver, N clients with an avatar each, everyone sees everyone",
    details: "A real server driver under its manifest's rights, and N real clients over QUIC.",
    options: FANOUT_OPTIONS,
    examples: ["fanout", "fanout --n 8,64 --seconds 30"],
    body: runFanout,
  },
  {
    name: "flood",
    summary: "what one joined peer that floods costs the others, and what becomes of it",
    details:
      "A real server driver under its manifest's rights, 8 clients with an avatar each, a ninth at 1.2 times its rates in " +
      "bursts, and an attacker in a process of its own.",
    options: FLOOD_OPTIONS,
    examples: ["flood", "flood --runs 1 --seconds 3"],
    body: runFlood,
  },
  {
    name: "gate",
    summary: "what a permission decision costs, and its share of encoding a busy scene",
    details: "One process, no network: 500 entities, 100 viewers with 100 in view, 8 roles.",
    options: GATE_OPTIONS,
    examples: ["gate", "gate --runs 15"],
    body: runGate,
  },
  {
    name: "handshake",
    summary:
      "what a server sends to addresses that have proved nothing, and who gets in beside them",
    details:
      "Forged first datagrams of QUIC to a real listener, and no answers to it; then to a real driver, beside honest joiners.",
    options: HANDSHAKE_OPTIONS,
    examples: ["handshake", "handshake --n 1000"],
    body: runHandshake,
  },
  {
    name: "join",
    summary: "100 clients join a world of 5,000 entities at once, beside 10 that are there",
    details:
      "A real server driver under its manifest's rights, and real clients over QUIC in processes of their own.",
    options: JOIN_OPTIONS,
    examples: ["join", "join --entities 500 --joins 5 --present 2 --runs 2"],
    body: runJoin,
  },
  {
    name: "objects",
    summary: "kB/s of 500 objects in three motions, beside what others send",
    details:
      "One process: the server's sender and a client's receiver, baselines 100 ms old, 0 and 5 % lost.",
    options: OBJECTS_OPTIONS,
    examples: ["objects", "objects --seconds 10"],
    body: runObjectsBench,
  },
  {
    name: "scale",
    summary: "how a tick's cost grows with entities, and with pairs in view",
    details: "A real server core in one process, no network: a crowd of one density, all moving.",
    options: SCALE_OPTIONS,
    examples: ["scale", "scale --entities 1000,10000 --clients 10,100 --ticks 20"],
    body: runScale,
  },
  {
    name: "views",
    summary: "what a tick costs when 100 viewers see 100 of 500 moving entities each",
    details:
      "A real server core in one process, no network, beside @colyseus/schema with the same work.",
    options: VIEWS_OPTIONS,
    examples: ["views", "views --ticks 50"],
    body: runViews,
  },
];

const HELP: CommandSpec = {
  name: "help",
  summary: "print this list",
  details: "",
  options: [],
  examples: [],
};

function overview(): string {
  return [
    `Usage: ${PROGRAM} NAME [options]`,
    "",
    "Benchmarks:",
    ...[...BENCHMARKS, HELP].map(({ name, summary }) => `  ${name.padEnd(9)}  ${summary}`),
    "",
    `${PROGRAM} NAME --help tells more; bench/README.md explains each figure.`,
  ].join("\n");
}

function helpOf({ name, details, options, examples }: CommandSpec): string {
  const left = options.map((option) => `--${option.name} ${option.value}`);
  const width = Math.max(0, ...left.map((text) => text.length));
  return [
    `Usage: ${PROGRAM} ${name} [options]`,
    "",
    details,
    "",
    ...options.map(({ help, preset }, i) =>
      `  ${left[i]!.padEnd(width)}  ${help}${preset === undefined ? "" : ` (default ${preset})`}`
    ),
    "",
    "Examples:",
    ...examples.map((example) => `  ${PROGRAM} ${example}`),
  ].join("\n");
}

/** Runs one benchmark; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArguments(args, [...BENCHMARKS, HELP]);
  if (!parsed.ok) {
    console.error(`${parsed.message.replace("command", "benchmark")} See: ${PROGRAM} help`);
    return ExitCode.Usage;
  }
  const benchmark = BENCHMARKS.find(({ name }) => name === parsed.command.name);
  if (benchmark === undefined || parsed.help) {
    console.log(benchmark === undefined ? overview() : helpOf(benchmark));
    return ExitCode.Ok;
  }
  try {
    await benchmark.body(parsed.options, (line) => console.log(line));
    return ExitCode.Ok;
  } catch (error) {
    if (error instanceof CommandError) {
      console.error(error.message);
      return error.exitCode;
    }
    const verbose = parsed.options.flag("verbose") && error instanceof Error;
    console.error(verbose ? error.stack : `The benchmark failed: ${(error as Error).message}`);
    return ExitCode.Bug;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
