// Long seeded runs by name: `deno task fuzz -- permissions`. Each ends with one flat line of JSON; README.md explains the keys.

import {
  type CommandSpec,
  type Options,
  type OptionSpec,
  parseArguments,
} from "../../driver/arguments.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { runAuthority } from "./authority.ts";
import { runFuzz } from "./permissions.ts";

const PROGRAM = "deno task fuzz --";
const MOST = 1_000_000_000;

function count(name: string, value: string, text: string, preset: number, min: number): OptionSpec {
  return { name, kind: "integer", value, help: text, preset, min, max: MOST };
}

const PERMISSIONS: CommandSpec = {
  name: "permissions",
  summary: "random worlds under a judge, and twins that differ in secrets alone",
  details: "Real cores and SDKs on virtual time. Exits non-zero when anything is found.",
  options: [
    count("ops", "N", "operations over all worlds", 1_000_000, 0),
    count("seeds", "N", "pairs of twins", 1_000, 0),
    count("seed", "S", "the first seed of both parts", 1, 0),
    count("steps", "N", "turns of game code of each twin", 40, 1),
  ],
  examples: ["permissions", "permissions --seed 1140 --seeds 1 --ops 0"],
};

const AUTHORITY: CommandSpec = {
  name: "authority",
  summary: "owners and the holder of authority who change the same things on bad paths",
  details: "Real cores and SDKs on virtual time. Exits non-zero when anything is found.",
  options: [
    count("seeds", "N", "worlds", 1_000, 0),
    count("seed", "S", "the first seed", 1, 0),
  ],
  examples: ["authority", "authority --seed 31 --seeds 1"],
};

const HELP: CommandSpec = {
  name: "help",
  summary: "print this list",
  details: "",
  options: [],
  examples: [],
};

function help({ name, details, options, examples }: CommandSpec): string {
  return [
    `Usage: ${PROGRAM} ${name} [options]`,
    "",
    details,
    "",
    ...options.map((one) => `  --${one.name} ${one.value}  ${one.help} (default ${one.preset})`),
    "",
    "Examples:",
    ...examples.map((example) => `  ${PROGRAM} ${example}`),
  ].join("\n");
}

function permissions(options: Options): number {
  const summary = runFuzz({
    operations: options.integer("ops"),
    seeds: options.integer("seeds"),
    seed: options.integer("seed"),
    steps: options.integer("steps"),
    print: (line) => console.log(line),
    nowMs: () => performance.now(),
  });
  console.log(JSON.stringify(summary));
  const isClean = summary.leaks + summary.unauthorised + summary.retained + summary.differing === 0;
  return isClean && summary.planted_caught === summary.planted ? ExitCode.Ok : 1;
}

function authority(options: Options): number {
  const summary = runAuthority({
    seeds: options.integer("seeds"),
    seed: options.integer("seed"),
    print: (line) => console.log(line),
    nowMs: () => performance.now(),
  });
  console.log(JSON.stringify(summary));
  return summary.bad_seeds === 0 && summary.planted_caught === summary.planted ? ExitCode.Ok : 1;
}

/** Runs one of them; returns the exit code. */
export function main(args: readonly string[]): number {
  const parsed = parseArguments(args, [PERMISSIONS, AUTHORITY, HELP]);
  if (!parsed.ok) {
    console.error(`${parsed.message.replace("command", "run")} See: ${PROGRAM} help`);
    return ExitCode.Usage;
  }
  if (parsed.help || parsed.command.name === HELP.name) {
    const asked = parsed.command.name === HELP.name ? [PERMISSIONS, AUTHORITY] : [parsed.command];
    console.log(asked.map(help).join("\n\n"));
    return ExitCode.Ok;
  }
  return parsed.command.name === AUTHORITY.name
    ? authority(parsed.options)
    : permissions(parsed.options);
}

if (import.meta.main) Deno.exit(main(Deno.args));
