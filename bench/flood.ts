// The flood benchmark: one real server driver in its sandbox, eight honest clients, a ninth that sends as much as it may in bursts, and one
// joined attacker that sends 10,000 datagrams a second. It measures the others' delays with and without the flood. Who does what is in
// load_fleet.ts, burst_peer.ts and flood_attacker.ts.

import { createHash } from "node:crypto";
import type { Options, OptionSpec } from "../driver/arguments.ts";
import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { BurstPeer } from "./burst_peer.ts";
import type { AttackOrder, AttackReport } from "./flood_attacker.ts";
import { floodManifest } from "./flood_manifest.ts";
import { LoadFleet } from "./load_fleet.ts";
import { readCpuSeconds, readResidentMb } from "./proc_stat.ts";
import { startEngine, within } from "./server_engine.ts";
import { textLines } from "./text_lines.ts";

/** Honest clients whose delays are measured. */
const CLIENTS = 8;
/** Room of the world: those, the ninth, the attacker, and its connections that are just ending. */
const ROOM = CLIENTS + 4;
/** Datagrams a second of the attacker. */
const FLOOD_HZ = 10_000;
/** Longest time until everyone sees everyone, ms. */
const READY_MS = 60_000;
/** Longest time that a driver takes from its start until it listens, ms. */
const START_MS = 15_000;
/** Time from the last join to the first window, ms: what the engine compiles and allots at first is no flood's doing. */
const WARMUP_MS = 5_000;
/** Time for a flood to begin or to end before a window, ms. */
const SETTLE_MS = 700;

/** Options of the command line. */
export const FLOOD_OPTIONS: readonly OptionSpec[] = [
  {
    name: "runs",
    kind: "integer",
    value: "N",
    help: "runs, of which the median counts",
    preset: 5,
    min: 1,
    max: 99,
  },
  {
    name: "seconds",
    kind: "integer",
    value: "S",
    help: "length of each window: quiet, valid, malformed",
    preset: 5,
    min: 1,
    max: 600,
  },
  {
    name: "seed",
    kind: "integer",
    value: "N",
    help: "seed of places, clips and phases",
    preset: 1,
    min: 0,
    max: 0xffff_ffff,
  },
];

/** What the benchmark found; README.md of this folder explains each key. */
export interface FloodFigures {
  readonly name: "flood";
  readonly runs: number;
  readonly p99_ratio: number;
  readonly p99_ratio_valid: number;
  readonly p99_ratio_malformed: number;
  readonly p99_quiet_ms: number;
  readonly p99_valid_ms: number;
  readonly p99_malformed_ms: number;
  readonly rss_growth_mb: number;
  readonly dropped_after_ms: number;
  readonly dropped_after_worst_ms: number;
  readonly dropped_after_malformed_ms: number;
  readonly flood_hz: number;
  readonly unread_share: number;
  readonly honest_denials: number;
  readonly honest_drops: number;
  readonly honest_lost: number;
  readonly cpu_quiet: number;
  readonly cpu_valid: number;
  readonly cpu_malformed: number;
}

/** One window. */
interface Window {
  readonly p99Ms: number;
  readonly cpu: number;
}

/** One run: the same twice with a flood and once without. */
interface Run {
  readonly quiet: Window;
  readonly valid: Window & { readonly attack: AttackReport };
  readonly malformed: Window & { readonly attack: AttackReport };
}

/** Runs the benchmark and prints one line of JSON. */
export async function runFlood(options: Options, print: (line: string) => void): Promise<void> {
  const figures = await measureFlood({
    runs: options.integer("runs"),
    seconds: options.integer("seconds"),
    seed: options.integer("seed"),
    log: print,
  });
  print(JSON.stringify(figures));
}

/** How it is measured. */
export interface FloodOptions {
  /** Runs. */
  readonly runs: number;
  /** Length of each window, s. */
  readonly seconds: number;
  /** Seed of the load. */
  readonly seed: number;
  /** Takes lines for people. */
  readonly log: (line: string) => void;
}

/** What the server's side heard of the ninth peer. */
interface Heard {
  denials: number;
  events: number;
  messages: number;
}

/** Starts everything, measures, ends everything. */
export async function measureFlood(options: FloodOptions): Promise<FloodFigures> {
  const { log } = options;
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  const manifest = `${folder}/server.jsonc`;
  const text = floodManifest(ROOM, { role: "server" });
  await Deno.writeTextFile(manifest, text);
  const ninth = new BurstPeer(folder);
  const heard: Heard = { denials: 0, events: 0, messages: 0 };
  let stats: Readonly<Record<string, number>> = {};
  const server = await startEngine(folder, manifest, {
    onDenied: ({ peer, count }) => {
      if (peer === ninth.peer) heard.denials += count;
    },
    onEvent: (_name, _values, { from }) => {
      if (from === ninth.peer) heard.events += 1;
    },
    onChannel: (channel) => {
      channel.onMessage = () => {
        if (channel.peer === ninth.peer) heard.messages += 1;
      };
    },
  });
  let driver: LaunchedDriver | undefined;
  let fleet: LoadFleet | undefined;
  let attacker: Attacker | undefined;
  try {
    driver = launchDriver(manifest, { stdout: "null" });
    driver.process.status.then(({ code }) =>
      server.fail(`the server's driver ended, code ${code}`)
    );
    const { pin, listen } = await within(START_MS, "the driver does not listen", server.joined);
    const clientManifest = floodManifest(ROOM, { role: "client", connect: listen });
    fleet = new LoadFleet({
      loss: 0,
      endpoint: listen,
      pin,
      n: CLIENTS,
      decoders: CLIENTS,
      seed: options.seed,
      manifest: clientManifest,
    });
    const broken = Promise.race([fleet.broken, server.failed]);
    broken.catch(() => {});
    await within(
      READY_MS,
      "not all clients see all others",
      Promise.race([fleet.ready(), server.failed]),
    );
    await within(READY_MS, "the ninth peer does not join", ninth.join(ROOM, listen, pin));
    ninth.begin();
    const grants = compileGrants(parseManifest(text, "flood"), sha256);
    const { schemaHash, tickHz } = grants;
    attacker = new Attacker({ endpoint: listen, pin, schemaHash, tickHz, rateHz: FLOOD_HZ });
    await delay(WARMUP_MS);
    log(`flood: ${CLIENTS} clients, a ninth in bursts, server driver ${driver.process.pid}`);

    const { pid } = driver.process;
    const measure = new Measurement(fleet, pid, options.seconds);
    const rssBefore = readResidentMb(pid);
    const runs: Run[] = [];
    for (let i = 0; i < options.runs; i++) {
      const run = await Promise.race([oneRun(measure, attacker), broken]);
      runs.push(run);
      log(`  run ${i + 1}: ${describe(run)}; ${readResidentMb(pid).toFixed(0)} MB`);
    }
    ninth.stop();
    await delay(1_500);
    stats = await Promise.race([server.statsAfter(performance.now()), broken]);
    const rssGrowthMb = readResidentMb(pid) - rssBefore;
    return figuresOf(runs, rssGrowthMb, stats, ninth, heard, log);
  } finally {
    await attacker?.quit();
    await ninth.close();
    await fleet?.quit();
    await server.close();
    await driver?.process.status;
    await Deno.remove(folder, { recursive: true });
  }
}

/** Windows over one fleet and one driver. */
class Measurement {
  readonly #fleet: LoadFleet;
  readonly #pid: number;
  readonly #seconds: number;

  constructor(fleet: LoadFleet, pid: number, seconds: number) {
    this.#fleet = fleet;
    this.#pid = pid;
    this.#seconds = seconds;
  }

  async window(): Promise<Window> {
    const [cpuBefore, startMs] = [readCpuSeconds(this.#pid), performance.now()];
    await this.#fleet.begin();
    await delay(this.#seconds * 1000);
    const { delays } = await this.#fleet.end();
    const seconds = (performance.now() - startMs) / 1000;
    return {
      p99Ms: delays.percentile(0.99),
      cpu: (readCpuSeconds(this.#pid) - cpuBefore) / seconds,
    };
  }
}

async function oneRun(measure: Measurement, attacker: Attacker): Promise<Run> {
  await delay(SETTLE_MS);
  const quiet = await measure.window();
  const flooded = async (mode: "valid" | "malformed") => {
    // The window begins with the flood: its first second, before the attacker is dropped, is the worst.
    await attacker.say(mode);
    const window = await measure.window();
    const attack = await attacker.rest();
    await delay(SETTLE_MS);
    return { ...window, attack };
  };
  const valid = await flooded("valid");
  const malformed = await flooded("malformed");
  return { quiet, valid, malformed };
}

function describe({ quiet, valid, malformed }: Run): string {
  const part = (name: string, { p99Ms, cpu, attack }: Run["valid"]) =>
    `${name} ${p99Ms} ms (cpu ${cpu.toFixed(2)}; ${attack.sent} datagrams, ${
      rateOf(attack).toFixed(0)
    }/s while connected; dropped after ${median(attack.droppedAfterMs)} ms, ${attack.joins} joins)`;
  return `p99 quiet ${quiet.p99Ms} ms (cpu ${quiet.cpu.toFixed(2)}), ${part("valid", valid)}, ${
    part("malformed", malformed)
  }`;
}

/** Datagrams a second while it had a connection. */
function rateOf({ sent, sendingMs }: AttackReport): number {
  return sendingMs === 0 ? 0 : sent * 1000 / sendingMs;
}

function figuresOf(
  runs: readonly Run[],
  rssGrowthMb: number,
  stats: Readonly<Record<string, number>>,
  ninth: BurstPeer,
  heard: Heard,
  log: (line: string) => void,
): FloodFigures {
  const { messages, events, denials, drops } = ninth.count;
  const medianOf = (value: (run: Run) => number) => median(runs.map(value));
  const validRatio = medianOf(({ valid, quiet }) => valid.p99Ms / quiet.p99Ms);
  const malformedRatio = medianOf(({ malformed, quiet }) => malformed.p99Ms / quiet.p99Ms);
  const validDrops = runs.flatMap(({ valid }) => valid.attack.droppedAfterMs);
  const malformedDrops = runs.flatMap(({ malformed }) => malformed.attack.droppedAfterMs);
  const sent = runs.reduce(
    (sum, { valid, malformed }) => sum + valid.attack.sent + malformed.attack.sent,
    0,
  );
  log(
    `  the ninth peer: ${events} events sent, ${heard.events} came; ${messages} messages sent, ${heard.messages} came; ` +
      `${denials} + ${heard.denials} denials, ${drops} drops`,
  );
  return {
    name: "flood",
    runs: runs.length,
    p99_ratio: round(Math.max(validRatio, malformedRatio), 3),
    p99_ratio_valid: round(validRatio, 3),
    p99_ratio_malformed: round(malformedRatio, 3),
    p99_quiet_ms: medianOf(({ quiet }) => quiet.p99Ms),
    p99_valid_ms: medianOf(({ valid }) => valid.p99Ms),
    p99_malformed_ms: medianOf(({ malformed }) => malformed.p99Ms),
    rss_growth_mb: round(rssGrowthMb, 1),
    dropped_after_ms: round(median(validDrops), 1),
    dropped_after_worst_ms: round(Math.max(...validDrops, ...malformedDrops), 1),
    dropped_after_malformed_ms: round(median(malformedDrops), 1),
    flood_hz: Math.round(medianOf(({ valid }) => rateOf(valid.attack))),
    unread_share: round((stats["net.unreadDatagrams"] ?? 0) / Math.max(1, sent), 3),
    honest_denials: denials + heard.denials,
    honest_drops: drops,
    honest_lost: events - heard.events + messages - heard.messages,
    cpu_quiet: round(medianOf(({ quiet }) => quiet.cpu), 3),
    cpu_valid: round(medianOf(({ valid }) => valid.cpu), 3),
    cpu_malformed: round(medianOf(({ malformed }) => malformed.cpu), 3),
  };
}

/** The attacker's process. */
class Attacker {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncGenerator<string>;

  constructor(order: AttackOrder) {
    const module = new URL("./flood_attacker.ts", import.meta.url);
    const config = new URL("../deno.json", import.meta.url);
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--quiet",
        "--no-check",
        `--config=${config.pathname}`,
        module.pathname,
        JSON.stringify(order),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = textLines(this.#process.stdout);
  }

  async say(word: "valid" | "malformed" | "rest" | "quit"): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${word}\n`));
  }

  async rest(): Promise<AttackReport> {
    await this.say("rest");
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the attacker ended too early");
    return JSON.parse(value) as AttackReport;
  }

  async quit(): Promise<void> {
    try {
      await this.say("quit");
      await this.#input.close();
    } catch {
      // It has ended already.
    }
    await this.#lines.return(undefined);
    await this.#process.status;
  }
}

/** The middle value; of an even number the upper one, NaN of none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
