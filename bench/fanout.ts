// The fan-out benchmark: one real server driver in its sandbox, N clients on QUIC, each with a recorded avatar at 30 Hz that all others
// see. It measures the server's driver and what the clients receive. The load is in load_fleet.ts.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { CommandError, ExitCode } from "../driver/exit_codes.ts";
import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { type EngineCallbacks, listenForDriver, ReferenceWorld } from "../engine/mod.ts";
import { AVATAR_HZ, fanoutManifest } from "./fanout_manifest.ts";
import { LoadFleet } from "./load_fleet.ts";
import { readCpuSeconds, readResidentMb } from "./proc_stat.ts";

/** Bytes of IPv4 and UDP headers around each packet (RFC 791, RFC 768). */
const UDP_IP_BYTES = 28;
/** Bytes QUIC adds to a packet with one datagram: flags, 8 of connection id, about 2 of number, frame type, 16 of tag (RFC 9000, 9221). */
const QUIC_BYTES = 28;
/** Longest time until everyone sees everyone, ms. */
const READY_MS = 60_000;
/** Longest time that a driver takes from its start until it listens, ms. */
const START_MS = 15_000;

/** How one run is made. */
export interface FanoutOptions {
  /** Clients. */
  readonly n: number;
  /** Length of the measured window, s. */
  readonly seconds: number;
  /** Time from the moment when everyone sees everyone until the window, s. */
  readonly warmupSeconds: number;
  /** Seed of the load. */
  readonly seed: number;
  /** Takes lines for people. */
  readonly log: (line: string) => void;
}

/** What one run found; README.md of this folder explains each key. */
export interface FanoutFigures {
  readonly name: "fanout";
  readonly n: number;
  readonly cpu: number;
  readonly kBps_down: number;
  readonly kBps_up: number;
  readonly bytes_per_update: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly updates_per_pair: number;
  readonly rss_mb: number;
  readonly wire_kBps_down: number;
  readonly wire_kBps_up: number;
  readonly load_cpu: number;
}

/** Options of the command line. */
export const FANOUT_OPTIONS: readonly OptionSpec[] = [
  { name: "n", kind: "text", value: "A,B,C", help: "numbers of clients; 4,32 if not given" },
  {
    name: "seconds",
    kind: "integer",
    value: "S",
    help: "length of each measurement",
    preset: 20,
    min: 1,
    max: 3600,
  },
  {
    name: "warmup",
    kind: "integer",
    value: "S",
    help: "time between the last join and the measurement",
    preset: 3,
    min: 0,
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

/** Runs the benchmark for each number of clients, in ascending order, and prints one line of JSON for each. */
export async function runFanout(options: Options, print: (line: string) => void): Promise<void> {
  const counts = parseCounts(options.text("n") === "" ? "4,32" : options.text("n"));
  for (const n of counts) {
    const figures = await measureFanout({
      n,
      seconds: options.integer("seconds"),
      warmupSeconds: options.integer("warmup"),
      seed: options.integer("seed"),
      log: print,
    });
    print(JSON.stringify(figures));
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

/** The server's counters at one moment. */
interface Reading {
  readonly atMs: number;
  readonly cpuSeconds: number;
  readonly loadCpuSeconds: number;
  readonly stats: Readonly<Record<string, number>>;
}

/** One run: starts everything, measures, ends everything. */
export async function measureFanout(options: FanoutOptions): Promise<FanoutFigures> {
  const { n, log } = options;
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  const manifest = `${folder}/server.jsonc`;
  await Deno.writeTextFile(manifest, fanoutManifest(n, { role: "server" }));
  let driver: LaunchedDriver | undefined;
  let fleet: LoadFleet | undefined;
  const server = await startEngine(folder, manifest);
  try {
    driver = launchDriver(manifest, { stdout: "null" });
    driver.process.status.then(({ code }) =>
      server.fail(`the server's driver ended, code ${code}`)
    );
    const { pin, listen } = await within(START_MS, "the driver does not listen", server.joined);
    fleet = new LoadFleet({ endpoint: listen, pin, n, seed: options.seed });
    const broken = Promise.race([fleet.broken, server.failed]);
    broken.catch(() => {});
    log(`fanout: ${n} clients in ${fleet.size} process(es), server driver ${driver.process.pid}`);
    const startedMs = performance.now();
    await within(
      READY_MS,
      "not all clients see all others",
      Promise.race([fleet.ready(), server.failed]),
    );
    log(`  everyone sees everyone after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    return await measure(options, driver, fleet, server, broken);
  } finally {
    await fleet?.quit();
    await server.close();
    await driver?.process.status;
    await Deno.remove(folder, { recursive: true });
  }
}

async function measure(
  options: FanoutOptions,
  driver: LaunchedDriver,
  fleet: LoadFleet,
  server: ServerEngine,
  broken: Promise<never>,
): Promise<FanoutFigures> {
  const read = (stats: Readonly<Record<string, number>>): Reading => ({
    atMs: performance.now(),
    cpuSeconds: readCpuSeconds(driver.process.pid),
    loadCpuSeconds: fleet.cpuSeconds(),
    stats,
  });
  // The window begins and ends with a report of the driver: its counters and its processor time are then of the same moment.
  const settledMs = performance.now() + options.warmupSeconds * 1000;
  const from = read(await Promise.race([server.statsAfter(settledMs), broken]));
  await fleet.begin();
  // Reports come a second apart, a few ms early or late.
  const endMs = from.atMs + options.seconds * 1000 - 100;
  const to = read(await Promise.race([server.statsAfter(endMs), broken]));
  const load = await fleet.end();
  const rssMb = readResidentMb(driver.process.pid);

  const { n, log } = options;
  const seconds = (to.atMs - from.atMs) / 1000;
  const rate = (name: string) => ((to.stats[name] ?? 0) - (from.stats[name] ?? 0)) / seconds;
  const perClient = (bytes: number, datagrams: number) => (bytes + datagrams) / n / 1000;
  const headers = UDP_IP_BYTES + QUIC_BYTES;
  const [down, up] = [rate("net.bytesOut"), rate("net.bytesIn")];
  const [downCount, upCount] = [rate("net.datagramsOut"), rate("net.datagramsIn")];
  const figures: FanoutFigures = {
    name: "fanout",
    n,
    cpu: round((to.cpuSeconds - from.cpuSeconds) / seconds, 3),
    kBps_down: round(perClient(down, 0), 2),
    kBps_up: round(perClient(up, 0), 2),
    bytes_per_update: round(load.bytesIn / load.updates, 1),
    p50_ms: load.delays.percentile(0.5),
    p99_ms: load.delays.percentile(0.99),
    updates_per_pair: round(load.updates / seconds / (n * (n - 1)), 2),
    rss_mb: round(rssMb, 1),
    wire_kBps_down: round(perClient(down, downCount * headers), 2),
    wire_kBps_up: round(perClient(up, upCount * headers), 2),
    load_cpu: round((to.loadCpuSeconds - from.loadCpuSeconds) / seconds, 3),
  };
  const timed = 100 * load.delays.total / load.updates;
  const poses = load.poses / n / seconds;
  log(
    `  measured ${
      seconds.toFixed(1)
    } s; the load used ${figures.load_cpu} of a core and handed over ` +
      `${poses.toFixed(1)} of ${AVATAR_HZ} poses a second and client`,
  );
  log(
    `  server driver: ${figures.cpu} of a core, ${figures.rss_mb} MB; ` +
      `${downCount.toFixed(0)} datagrams/s out, ${upCount.toFixed(0)} in, ` +
      `${rate("net.lostDatagrams").toFixed(1)} lost, ${rate("denials").toFixed(1)} denials/s`,
  );
  log(
    `  a client: ${figures.kBps_down} kB/s down, ${figures.kBps_up} up; with ${UDP_IP_BYTES} B of UDP/IP and about ` +
      `${QUIC_BYTES} B of QUIC a datagram ${figures.wire_kBps_down} down, ${figures.wire_kBps_up} up`,
  );
  log(
    `  an update: ${figures.bytes_per_update} B, ${figures.updates_per_pair} a second and pair, ` +
      `p50 ${figures.p50_ms} ms, p99 ${figures.p99_ms} ms (${timed.toFixed(0)} % of them timed)`,
  );
  return figures;
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** The server's engine: it only listens, and hands on what its driver says. */
export interface ServerEngine {
  /** Pin and address, once the driver listens. */
  readonly joined: Promise<{ pin: string; listen: string }>;
  /** Rejects when the server can no longer be measured. */
  readonly failed: Promise<never>;
  readonly fail: (reason: string) => void;
  /** The first counters that come at `atMs` or later. */
  statsAfter(atMs: number): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

/** Starts it; `callbacks` hear what it has no use for itself. */
export async function startEngine(
  folder: string,
  manifest: string,
  callbacks: EngineCallbacks = {},
): Promise<ServerEngine> {
  const joined = Promise.withResolvers<{ pin: string; listen: string }>();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let pin = "";
  let wanted: { atMs: number; give: (stats: Readonly<Record<string, number>>) => void } | undefined;
  const link = await listenForDriver({
    socket: `${folder}/engine.sock`,
    manifest,
    world: new ReferenceWorld(),
    flushIntervalMs: 1000 / AVATAR_HZ,
    callbacks: {
      ...callbacks,
      onDriverReady: (hello) => pin = hello.certificateHash,
      onJoined: ({ listen }) => joined.resolve({ pin, listen }),
      onDriverRefused: (reason) => failed.reject(new Error(reason)),
      onDriverLost: (reason) => failed.reject(new Error(`the driver is lost: ${reason}`)),
      onStats: (stats) => {
        if (wanted === undefined || performance.now() < wanted.atMs) return;
        const { give } = wanted;
        wanted = undefined;
        give(stats);
      },
    },
  });
  return {
    joined: Promise.race([joined.promise, failed.promise]),
    failed: failed.promise,
    fail: (reason) => failed.reject(new Error(reason)),
    statsAfter: (atMs) => new Promise((give) => wanted = { atMs, give }),
    close: () => link.close(),
  };
}

/** What `promise` gives, or an error with this reason after `ms`. */
export async function within<T>(ms: number, reason: string, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${reason} after ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
