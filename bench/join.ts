// The join benchmark: a hundred clients join a world of five thousand entities at once, beside ten that are there. When each has the exact
// state, and what those who were there notice of it. Driver, QUIC and clients' cores are real; the load has processes of its own.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { listenForDriver, ReferenceWorld } from "../engine/mod.ts";
import { Prng } from "../protocol/prng.ts";
import { quantile, rounded } from "./cpu_meter.ts";
import type { JoinRecord } from "./join_client.ts";
import type { JoinOrder, JoinReport } from "./join_load.ts";
import { digestOf, flight, JOIN_HZ, joinManifest, MOVING_SHARE, wallMs } from "./join_world.ts";
import { Latency } from "./latency.ts";
import { readCpuSeconds } from "./proc_stat.ts";
import { within } from "./server_engine.ts";
import { textLines } from "./text_lines.ts";

/** Joining clients that one process carries. */
const CLIENTS_PER_PROCESS = 25;
/** Longest time that a driver takes from its start until it listens, ms. */
const START_MS = 15_000;
/** Longest wait for a whole world, ms. */
const PATIENCE_MS = 30_000;
/** Longest wait for an answer of a load process, ms. */
const ANSWER_MS = PATIENCE_MS + 10_000;
/** Pauses: until the world rests, and after everyone has left. */
const SETTLE_MS = 1_000;
/** The quiet window beside which a run of joins is put, ms. */
const QUIET_MS = 3_000;

/** How the measurement is made. */
export interface JoinOptions {
  readonly entities: number;
  readonly joins: number;
  readonly decoders: number;
  readonly present: number;
  readonly runs: number;
  readonly log: (line: string) => void;
}

/** What was found; README.md of this folder explains each key. */
export interface JoinFigures {
  readonly name: "join";
  readonly join_p50_ms: number;
  readonly join_p99_ms: number;
  readonly others_p99_ratio: number;
  readonly others_p50_ratio: number;
  readonly others_quiet_p99_ms: number;
  readonly accepted_p99_ms: number;
  readonly exact_share: number;
  readonly driver_cpu: number;
}

/** Options of the command line. */
export const JOIN_OPTIONS: readonly OptionSpec[] = [
  count("entities", "entities of the world", 5_000, 20, 100_000),
  count("joins", "clients that join at once", 100, 1, 500),
  count("decoders", "clients of those who join that decode what comes", 20, 1, 500),
  count("present", "clients that are there", 10, 1, 100),
  count("runs", "runs, of which the median counts", 5, 1, 99),
];

function count(name: string, help: string, preset: number, min: number, max: number): OptionSpec {
  return { name, kind: "integer", value: "N", help, preset, min, max };
}

/** Measures, and prints the figures as the last line. */
export async function runJoin(options: Options, print: (line: string) => void): Promise<void> {
  const figures = await measureJoin({
    entities: options.integer("entities"),
    joins: options.integer("joins"),
    decoders: Math.min(options.integer("decoders"), options.integer("joins")),
    present: options.integer("present"),
    runs: options.integer("runs"),
    log: print,
  });
  print(JSON.stringify(figures));
}

/** What one run found. */
interface Run {
  readonly records: readonly JoinRecord[];
  readonly quiet: Latency;
  readonly joining: Latency;
  /** Processor time of the driver while they joined, by the time that took. */
  readonly cpu: number;
}

/** Starts everything, measures, ends everything. */
export async function measureJoin(options: JoinOptions): Promise<JoinFigures> {
  const { entities, joins, decoders, present, log } = options;
  const moving = Math.round(entities * MOVING_SHARE);
  const peers = joins + present;
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  const manifest = `${folder}/server.jsonc`;
  await Deno.writeTextFile(manifest, joinManifest(entities, peers, { role: "server" }));
  const engine = await startWorld(folder, manifest, entities - moving, moving);
  const loads: Load[] = [];
  let driver: LaunchedDriver | undefined;
  try {
    driver = launchDriver(manifest, { stdout: "null" });
    const { pin, listen } = await within(START_MS, "the driver does not listen", engine.joined);
    await delay(SETTLE_MS);
    const digest = await engine.digest();
    const order = (clients: number, decoders: number, stays: boolean): JoinOrder => ({
      endpoint: listen,
      pin,
      entities,
      moving,
      peers,
      clients,
      decoders,
      stays,
      patienceMs: PATIENCE_MS,
    });
    const others = new Load(order(present, present, true));
    loads.push(others);
    const parts = Math.ceil(joins / CLIENTS_PER_PROCESS);
    for (let i = 0; i < parts; i++) {
      loads.push(new Load(order(shareOf(joins, i, parts), shareOf(decoders, i, parts), false)));
    }
    const newcomers = loads.slice(1);
    log(
      `join: ${joins} clients in ${newcomers.length} process(es), ${decoders} of them decode, beside ${present}; ${entities} entities, ` +
        `${moving} of them moving at ${JOIN_HZ} Hz; server driver ${driver.process.pid}`,
    );
    await others.join();
    const runs: Run[] = [];
    for (let i = 0; i < options.runs; i++) {
      const run = await oneRun(others, newcomers, driver.process.pid);
      runs.push(run);
      log(`  run ${i + 1}: ${describe(run)}`);
    }
    return figuresOf(runs, digest, log);
  } finally {
    await Promise.all(loads.map((load) => load.quit()));
    await engine.close();
    await driver?.process.status;
    await Deno.remove(folder, { recursive: true });
  }
}

async function oneRun(others: Load, newcomers: readonly Load[], pid: number): Promise<Run> {
  await delay(SETTLE_MS);
  await others.begin();
  await delay(QUIET_MS);
  const quiet = await others.end();
  const [cpuBefore, startMs] = [readCpuSeconds(pid), performance.now()];
  await others.begin();
  const records = (await Promise.all(newcomers.map((load) => load.join()))).flat();
  const joining = await others.end();
  const seconds = (performance.now() - startMs) / 1000;
  const cpu = (readCpuSeconds(pid) - cpuBefore) / seconds;
  await Promise.all(newcomers.map((load) => load.leave()));
  return { records, quiet, joining, cpu };
}

/** From the accepted join to the exact state, ms; those who never had it count with all of their patience. */
function joinTimes(records: readonly JoinRecord[]): number[] {
  return records.map(({ joinedMs, exactMs }) =>
    joinedMs === null || exactMs === null ? PATIENCE_MS : exactMs - joinedMs
  );
}

function describe({ records, quiet, joining, cpu }: Run): string {
  const times = joinTimes(records);
  return `exact after ${quantile(times, 0.5).toFixed(0)} ms, p99 ${
    quantile(times, 0.99).toFixed(0)
  } ms; updates of the others p99 ${quiet.percentile(0.99)} ms before, ${
    joining.percentile(0.99)
  } ms meanwhile; driver ${cpu.toFixed(2)} of a core`;
}

function figuresOf(
  runs: readonly Run[],
  digest: string,
  log: (line: string) => void,
): JoinFigures {
  const median = (of: (run: Run) => number) => quantile(runs.map(of), 0.5);
  const records = runs.flatMap((run) => run.records);
  const exact = records.filter((record) => record.digest === digest).length;
  const wrong = records.filter((record) => record.digest !== "" && record.digest !== digest).length;
  if (wrong > 0) throw new Error(`${wrong} clients hold another state than the server`);
  if (exact < records.length) {
    log(`  ${records.length - exact} of ${records.length} never had it within ${PATIENCE_MS} ms`);
  }
  const accepted = records.map(({ startedMs, joinedMs }) =>
    joinedMs === null ? PATIENCE_MS : joinedMs - startedMs
  );
  return {
    name: "join",
    join_p50_ms: rounded(median(({ records }) => quantile(joinTimes(records), 0.5)), 1),
    join_p99_ms: rounded(median(({ records }) => quantile(joinTimes(records), 0.99)), 1),
    others_p99_ratio: rounded(
      median(({ quiet, joining }) => joining.percentile(0.99) / quiet.percentile(0.99)),
      3,
    ),
    others_p50_ratio: rounded(
      median(({ quiet, joining }) => joining.percentile(0.5) / quiet.percentile(0.5)),
      3,
    ),
    others_quiet_p99_ms: median(({ quiet }) => quiet.percentile(0.99)),
    accepted_p99_ms: rounded(quantile(accepted, 0.99), 1),
    exact_share: rounded(exact / records.length, 4),
    driver_cpu: rounded(median(({ cpu }) => cpu), 3),
  };
}

/** The `i`-th of `parts` nearly equal parts of `all`. */
function shareOf(all: number, i: number, parts: number): number {
  return Math.floor((i + 1) * all / parts) - Math.floor(i * all / parts);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The server's engine and its world. */
interface WorldEngine {
  /** Pin and address, once the driver listens. */
  readonly joined: Promise<{ readonly pin: string; readonly listen: string }>;
  /** Digest of the resting entities, as the server's driver hashes them. */
  digest(): Promise<string>;
  close(): Promise<void>;
}

async function startWorld(
  folder: string,
  manifest: string,
  resting: number,
  moving: number,
): Promise<WorldEngine> {
  const joined = Promise.withResolvers<{ pin: string; listen: string }>();
  let pin = "";
  const link = await listenForDriver({
    socket: `${folder}/engine.sock`,
    manifest,
    world: new ReferenceWorld(),
    callbacks: {
      onDriverReady: (hello) => pin = hello.certificateHash,
      onJoined: ({ listen }) => joined.resolve({ pin, listen }),
      onDriverRefused: (reason) => joined.reject(new Error(reason)),
      onDriverLost: (reason) => joined.reject(new Error(`the driver is lost: ${reason}`)),
    },
  });
  const side = Math.ceil(Math.sqrt(resting));
  const lying = Array.from({ length: resting }, (_, i) => {
    const [half, turn] = [side / 2, i * 0.1];
    return link.spawn({
      Transform: {
        position: [(i % side - half) * 2, 0.001 * (i % 1000), (Math.floor(i / side) - half) * 2],
        rotation: [0, Math.sin(turn / 2), 0, Math.cos(turn / 2)],
      },
    });
  });
  const flying = Array.from(
    { length: moving },
    (_, i) => link.spawn({ Transform: { position: flight(i, wallMs()), rotation: [0, 0, 0, 1] } }),
  );
  let timer: ReturnType<typeof setTimeout> | undefined;
  const prng = new Prng(1);
  const startMs = performance.now();
  const periodMs = 1000 / JOIN_HZ;
  // Not in step with the driver's ticks: every place between two of them is as likely, in every window.
  const move = (tick: number): void => {
    const nowMs = wallMs();
    flying.forEach((handle, i) => {
      const turn = nowMs / 1000 + i;
      link.set(handle, "Transform", {
        position: flight(i, nowMs),
        rotation: [0, Math.sin(turn / 2), 0, Math.cos(turn / 2)],
      });
    });
    link.flush();
    const next = Math.max(tick + 1, Math.floor((performance.now() - startMs) / periodMs));
    const atMs = startMs + (next + prng.nextFloat()) * periodMs;
    timer = setTimeout(() => move(next), Math.max(0, atMs - performance.now()));
  };
  move(0);
  return {
    joined: joined.promise,
    digest: async () => {
      const hashes = await link.stateHash();
      return digestOf(lying.map((handle) => hashes.get(handle)!));
    },
    close: () => {
      clearTimeout(timer);
      return link.close();
    },
  };
}

/** One load process, seen from here. */
class Load {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #give: (report: JoinReport) => void = () => {};
  #lost = "";

  constructor(order: JoinOrder) {
    const module = new URL("./join_load.ts", import.meta.url).pathname;
    const config = new URL("../deno.json", import.meta.url).pathname;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", `--config=${config}`, module]
        .concat(JSON.stringify(order)),
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#listen();
  }

  /** Everyone joins; resolves when all have the exact state, or patience has ended. */
  async join(): Promise<readonly JoinRecord[]> {
    const report = await this.#ask("join");
    return report.kind === "joined" ? report.records : [];
  }

  /** Counting of ages begins. */
  async begin(): Promise<void> {
    await this.#ask("begin");
  }

  /** Counting ends. */
  async end(): Promise<Latency> {
    const report = await this.#ask("end");
    const ages = new Latency();
    if (report.kind === "ages") ages.addPairs(report.ages);
    return ages;
  }

  /** Everyone leaves. */
  async leave(): Promise<void> {
    await this.#ask("leave");
  }

  async quit(): Promise<void> {
    try {
      await this.#say("quit");
      await this.#input.close();
    } catch {
      // It has ended already.
    }
    await this.#process.status;
  }

  async #ask(word: string): Promise<JoinReport> {
    const answer = new Promise<JoinReport>((give) => this.#give = give);
    await this.#say(word);
    return await within(
      ANSWER_MS,
      `no answer to "${word}"${this.#lost === "" ? "" : `, a client was lost (${this.#lost}),`}`,
      answer,
    );
  }

  async #say(word: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${word}\n`));
  }

  async #listen(): Promise<void> {
    for await (const line of textLines(this.#process.stdout)) {
      const report = JSON.parse(line) as JoinReport;
      if (report.kind === "lost") this.#lost = report.reason;
      else this.#give(report);
    }
  }
}
