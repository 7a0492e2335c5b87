// One run of the fan-out benchmark: a server driver process in its sandbox and a fleet of clients, a window in which everyone sees everyone,
// and what both sides counted in it. Sizes, their order and what they mean are the business of `fanout.ts`.

import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { rounded } from "./cpu_meter.ts";
import { AVATAR_HZ, fanoutManifest } from "./fanout_manifest.ts";
import { LoadFleet } from "./load_fleet.ts";
import { readCpuSeconds, readResidentMb } from "./proc_stat.ts";
import { type ServerEngine, startEngine, within } from "./server_engine.ts";

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
  /** Clients that decode what comes; the others acknowledge it only. */
  readonly decoders: number;
  /** Length of the measured window, s. */
  readonly seconds: number;
  /** Time from the moment when everyone sees everyone until the window, s. */
  readonly warmupSeconds: number;
  /** Seed of the load. */
  readonly seed: number;
  /** Share of datagrams that the clients lose, of either direction. */
  readonly loss: number;
  /** Takes lines for people. */
  readonly log: (line: string) => void;
}

/** What one run found; README.md of this folder explains each key. */
export interface FanoutRun {
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
  readonly load_late_p99_ms: number;
  readonly baseline_age_ticks: number;
}

/** The server's counters at one moment. */
interface Reading {
  readonly atMs: number;
  readonly cpuSeconds: number;
  readonly loadCpuSeconds: readonly number[];
  readonly stats: Readonly<Record<string, number>>;
}

/** One run: starts everything, measures, ends everything. */
export async function measureFanout(options: FanoutOptions): Promise<FanoutRun> {
  const { n, decoders, log, seed, loss } = options;
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  const manifest = `${folder}/server.jsonc`;
  await Deno.writeTextFile(manifest, fanoutManifest(n, { role: "server" }));
  let driver: LaunchedDriver | undefined;
  let fleet: LoadFleet | undefined;
  const server = await startEngine(folder, manifest);
  try {
    driver = launchDriver(manifest, { stdout: "inherit" });
    driver.process.status.then(({ code }) =>
      server.fail(`the server's driver ended, code ${code}`)
    );
    const { pin, listen } = await within(START_MS, "the driver does not listen", server.joined);
    fleet = new LoadFleet({ endpoint: listen, pin, n, seed, loss, decoders });
    const broken = Promise.race([fleet.broken, server.failed]);
    broken.catch(() => {});
    const losing = loss === 0 ? "" : `, which lose ${100 * loss} % of all datagrams`;
    log(
      `fanout: ${n} clients in ${fleet.size} process(es), ${decoders} of them decode${losing}; ` +
        `server driver ${driver.process.pid}`,
    );
    const startedMs = performance.now();
    await within(
      READY_MS,
      "not all clients see all others",
      Promise.race([fleet.ready(), server.failed]),
    );
    log(
      `  everyone who decodes sees everyone after ${
        ((performance.now() - startedMs) / 1000).toFixed(1)
      } s`,
    );
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
): Promise<FanoutRun> {
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

  const { n, decoders, log } = options;
  const seconds = (to.atMs - from.atMs) / 1000;
  const rate = (name: string) => ((to.stats[name] ?? 0) - (from.stats[name] ?? 0)) / seconds;
  const perClient = (bytes: number, datagrams: number) => (bytes + datagrams) / n / 1000;
  const headers = UDP_IP_BYTES + QUIC_BYTES;
  const [down, up] = [rate("net.bytesOut"), rate("net.bytesIn")];
  const [downCount, upCount] = [rate("net.datagramsOut"), rate("net.datagramsIn")];
  const loads = to.loadCpuSeconds.map((cpu, i) => (cpu - from.loadCpuSeconds[i]!) / seconds);
  const figures: FanoutRun = {
    cpu: rounded((to.cpuSeconds - from.cpuSeconds) / seconds, 3),
    kBps_down: rounded(perClient(down, 0), 2),
    kBps_up: rounded(perClient(up, 0), 2),
    bytes_per_update: rounded(load.bytesIn / load.updates, 1),
    p50_ms: load.delays.percentile(0.5),
    p99_ms: load.delays.percentile(0.99),
    updates_per_pair: rounded(load.updates / seconds / (decoders * (n - 1)), 2),
    rss_mb: rounded(rssMb, 1),
    wire_kBps_down: rounded(perClient(down, downCount * headers), 2),
    wire_kBps_up: rounded(perClient(up, upCount * headers), 2),
    load_cpu: rounded(loads.reduce((sum, cpu) => sum + cpu, 0), 3),
    load_late_p99_ms: load.late.percentile(0.99),
    baseline_age_ticks: rounded(load.referenceAge, 2),
  };
  const timed = 100 * load.delays.total / load.updates;
  const poses = load.poses / n / seconds;
  log(
    `  measured ${
      seconds.toFixed(1)
    } s; the load used ${figures.load_cpu} of a core and handed over ` +
      `${
        poses.toFixed(1)
      } of ${AVATAR_HZ} poses a second and client, p99 ${figures.load_late_p99_ms} ms late`,
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
    `  an update: ${figures.bytes_per_update} B against a state ${figures.baseline_age_ticks} ticks old, ` +
      `${figures.updates_per_pair} a second and pair, ` +
      `p50 ${figures.p50_ms} ms, p99 ${figures.p99_ms} ms (${timed.toFixed(0)} % of them timed)`,
  );
  return figures;
}
