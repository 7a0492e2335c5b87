// The fan-out benchmark: one real server driver in its sandbox, N clients on QUIC, each with a recorded avatar at 30 Hz that all others see.
// Here are the sizes it runs with, the search for the largest, and the command; one run is `fanout_run.ts`, its control `bare_loop.ts`.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { CommandError, ExitCode } from "../driver/exit_codes.ts";
import { type BareFigures, measureBareLoop } from "./bare_loop.ts";
import { type FanoutRun, measureFanout } from "./fanout_run.ts";

/** Share of datagrams that clients lose in the run with losses. */
const LOSS = 0.02;
/** A rate is held when each pair gets so many of 30 updates a second, and the driver has not used up its core. */
const HELD_UPDATES = 29;
const HELD_CPU = 1;
/** Processor time from which on one thread counts as used up, of a core. */
const SPENT = 0.9;
/** The search begins here, doubles, and then halves the gap until it is no more than this share. */
const SEARCH_FROM = 16;
const SEARCH_MOST = 512;
const SEARCH_SHARE = 0.13;
const SEARCH_WARMUP_S = 2;

/** Who ended the search: the server's core, the load's processes or the machine they share with it, or the largest size looked at. */
export type SearchEnd = "server" | "load" | "size" | "none";

/** What the benchmark found at one size; README.md of this folder explains each key. */
export interface FanoutFigures extends FanoutRun, BareFigures {
  readonly name: "fanout";
  readonly n: number;
  /** -1 where no search was made. */
  readonly n_max: number;
  readonly n_max_end: SearchEnd;
  readonly updates_per_pair_loss2: number;
}

/** Options of the command line. */
export const FANOUT_OPTIONS: readonly OptionSpec[] = [
  { name: "n", kind: "text", value: "A,B,C", help: "numbers of clients; 100 if not given" },
  {
    name: "decoders",
    kind: "integer",
    value: "N",
    help: "clients that decode what comes; the others acknowledge it only",
    preset: 16,
    min: 1,
    max: 1000,
  },
  seconds("seconds", "length of each measurement", 20, 1),
  seconds("warmup", "time between the last join and the measurement", 5, 0),
  seconds("search", "length of each step of the search for the largest number; 0: no search", 5, 0),
  {
    name: "seed",
    kind: "integer",
    value: "N",
    help: "seed of places, clips and losses",
    preset: 1,
    min: 0,
    max: 0xffff_ffff,
  },
];

function seconds(name: string, help: string, preset: number, min: number): OptionSpec {
  return { name, kind: "integer", value: "S", help, preset, min, max: 3600 };
}

/** Searches, then measures each number of clients in ascending order and prints one line of JSON for each. */
export async function runFanout(options: Options, print: (line: string) => void): Promise<void> {
  const counts = parseCounts(options.text("n") === "" ? "100" : options.text("n"));
  const run = (n: number, length: number, warmupSeconds: number, loss: number) =>
    measureFanout({
      n,
      decoders: Math.min(n, options.integer("decoders")),
      seconds: length,
      warmupSeconds,
      seed: options.integer("seed"),
      loss,
      log: print,
    });
  const length = options.integer("seconds");
  const warmup = options.integer("warmup");
  const step = options.integer("search");
  const found = step === 0
    ? { most: -1, end: "none" as const }
    : await searchMost((n) => run(n, step, SEARCH_WARMUP_S, 0), print);
  if (step > 0) {
    print(`fanout: ${found.most} clients at 30 Hz on one core; ${describeEnd(found.end)}`);
  }
  for (const n of counts) {
    const floor = await measureBareLoop(n, Math.min(length, 10));
    print(
      `fanout: bare datagrams of ${n} clients cost ${floor.floor_cpu} of a core, p99 ${floor.floor_p99_ms} ms`,
    );
    const figures = await run(n, length, warmup, 0);
    const lossy = await run(n, length, warmup, LOSS);
    const all: FanoutFigures = {
      name: "fanout",
      n,
      n_max: found.most,
      n_max_end: found.end,
      ...figures,
      updates_per_pair_loss2: lossy.updates_per_pair,
      ...floor,
    };
    print(JSON.stringify(all));
  }
}

/** Numbers of clients, ascending. @throws {CommandError} when one is not a whole number from 2 to 1000. */
export function parseCounts(text: string): number[] {
  const counts = text.split(",").map((word) => /^\d{1,4}$/.test(word.trim()) ? Number(word) : NaN);
  if (!counts.every((n) => n >= 2 && n <= 1000)) {
    throw new CommandError(
      ExitCode.Usage,
      `--n is "${text}", but must be whole numbers from 2 to 1000 with commas between, such as 4,32.`,
    );
  }
  return [...new Set(counts)].sort((a, b) => a - b);
}

/** Finds the largest number of clients at which the rate is held, to about an eighth, and says what was at its end beyond it. */
export async function searchMost(
  measure: (n: number) => Promise<FanoutRun>,
  log: (line: string) => void,
): Promise<{ readonly most: number; readonly end: SearchEnd }> {
  let most = 0;
  let tooMany = Infinity;
  let end: SearchEnd = "size";
  for (let n = SEARCH_FROM; n <= SEARCH_MOST;) {
    const verdict = await judge(measure, n, log);
    if (verdict === undefined) most = n;
    else [tooMany, end] = [n, verdict];
    const isFound = tooMany < Infinity && tooMany - most <= Math.max(1, SEARCH_SHARE * tooMany);
    if (isFound) break;
    n = tooMany === Infinity ? 2 * n : Math.round((most + tooMany) / 2);
  }
  return { most, end };
}

/** Who is at the end of its strength with so many clients; undefined when the rate is held. */
async function judge(
  measure: (n: number) => Promise<FanoutRun>,
  n: number,
  log: (line: string) => void,
): Promise<"server" | "load" | undefined> {
  let figures: FanoutRun;
  try {
    figures = await measure(n);
  } catch (error) {
    log(`  ${n} clients did not come about: ${(error as Error).message}`);
    return "load";
  }
  const { cpu, updates_per_pair } = figures;
  if (cpu > HELD_CPU) return "server";
  if (updates_per_pair >= HELD_UPDATES) return undefined;
  return cpu >= SPENT ? "server" : "load";
}

function describeEnd(end: SearchEnd): string {
  if (end === "size") return "the search looked no further";
  return end === "server"
    ? "the server's core ended the search"
    : "the load, or the machine that it shares with the server, ended the search";
}
