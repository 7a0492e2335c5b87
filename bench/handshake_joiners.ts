// Whether honest joiners get into a real server while forged first datagrams flood it: a driver in its sandbox, joiners on paths with a delay of
// their own, and one sender of datagrams that are never followed up. How they are forged is in forged_initial.ts.

import { createHash } from "node:crypto";
import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { ControlFrames, encodeControlFrame } from "../protocol/control_frames.ts";
import { type ControlMessage, decodeControl, encodeControl } from "../protocol/control_messages.ts";
import { PROTOCOL_VERSION, RECONNECT_FIRST_MS } from "../protocol/limits.ts";
import type { Connection } from "../transport/connection.ts";
import { connectQuic } from "../transport/quic.ts";
import { floodManifest } from "./flood_manifest.ts";
import { Forger } from "./forged_initial.ts";
import { median } from "./flood.ts";
import { startEngine, within } from "./server_engine.ts";
import { readCpuSeconds, readResidentMb } from "./proc_stat.ts";

const HOST = "127.0.0.1";
/** Longest time that a joiner may take, ms. */
export const ADMISSION_MS = 1_000;
/** Time between two joiners, ms. */
const JOINER_GAP_MS = 100;
/** Delay of a joiner's path, ms each way. */
const PATH_MS = 30;
/** Places of the world: joiners leave as soon as they are in. */
const ROOM = 64;
/** Longest time that a driver takes from its start until it listens, ms. */
const START_MS = 15_000;
/** Time of a flood before the first joiner, ms: it has taken every place by then. */
const SETTLE_MS = 1_500;
/** Time after which the runtime has forgotten a flood, ms. */
const REST_MS = 3_000;
/** Datagrams of a forger's burst at most, when its own timer was late. */
const MAX_BURST = 100;

/** How honest joiners fared beside one flood. */
export interface Admission {
  /** Forged first datagrams that were sent, a second. */
  readonly rateHz: number;
  /** Honest joiners. */
  readonly joiners: number;
  /** Share of them that were in within `ADMISSION_MS`, tries after a refusal included. */
  readonly share: number;
  /** Share of them that were in at the first try. */
  readonly firstShare: number;
  /** Median time of those that got in, ms; NaN where none did. */
  readonly medianMs: number;
  /** Processor time of the server's driver by the length of the flood, cores. */
  readonly cpu: number;
  /** Resident size of the server's driver at the end of the flood, MB. */
  readonly rssMb: number;
}

/** Measures one flood of each rate, forged datagrams a second, for so many seconds each. `flight` is any client's first datagram. */
export async function measureAdmission(
  flight: Uint8Array<ArrayBuffer>,
  rates: readonly number[],
  seconds: number,
): Promise<Admission[]> {
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  const manifest = `${folder}/server.jsonc`;
  const text = floodManifest(ROOM, { role: "server" });
  await Deno.writeTextFile(manifest, text);
  const { schemaHash } = compileGrants(parseManifest(text, "handshake"), sha256);
  const server = await startEngine(folder, manifest);
  let driver: LaunchedDriver | undefined;
  try {
    driver = launchDriver(manifest, { stdout: "null" });
    driver.process.status.then(({ code }) =>
      server.fail(`the server's driver ended, code ${code}`)
    );
    const { pin, listen } = await within(START_MS, "the driver does not listen", server.joined);
    const { port } = parseEndpoint(listen)!;
    const { pid } = driver.process;
    const results: Admission[] = [];
    for (const rateHz of rates) {
      if (results.length > 0) await sleep(REST_MS);
      const scene = oneFlood({ flight, rateHz, seconds, port, pin, schemaHash, pid });
      results.push(await Promise.race([scene, server.failed]));
    }
    return results;
  } finally {
    await server.close();
    await driver?.process.status;
    await Deno.remove(folder, { recursive: true });
  }
}

interface Flood {
  readonly flight: Uint8Array<ArrayBuffer>;
  readonly rateHz: number;
  readonly seconds: number;
  readonly port: number;
  readonly pin: string;
  readonly schemaHash: string;
  readonly pid: number;
}

async function oneFlood(flood: Flood): Promise<Admission> {
  const { rateHz, seconds, port, pid } = flood;
  const lengthMs = SETTLE_MS + seconds * 1_000 + ADMISSION_MS;
  const forger = new Forger(flood.flight);
  // Made before, so that the flood is as fast as it should be.
  const count = Math.ceil(rateHz * lengthMs / 1_000);
  const datagrams: Uint8Array[] = [];
  while (datagrams.length < count) {
    datagrams.push(forger.forge(rateHz * 100_000 + datagrams.length));
    // The engine beside it has heartbeats to answer.
    if (datagrams.length % 100 === 0) await sleep(0);
  }
  const socket = udpSocket();
  const answers = drain(socket);
  const [startMs, cpuBefore] = [performance.now(), readCpuSeconds(pid)];
  const sending = sendPaced(socket, datagrams, rateHz, port);
  await sleep(SETTLE_MS);
  const tries: Promise<Outcome>[] = [];
  for (let i = 0; i < seconds * 1_000 / JOINER_GAP_MS; i++) {
    tries.push(joinWithin(flood));
    await sleep(JOINER_GAP_MS);
  }
  const outcomes = await Promise.all(tries);
  await sending;
  const cpu = (readCpuSeconds(pid) - cpuBefore) * 1_000 / (performance.now() - startMs);
  socket.close();
  await answers;
  const times = outcomes.flatMap(({ afterMs }) => afterMs === undefined ? [] : [afterMs]);
  return {
    rateHz: count * 1_000 / lengthMs,
    joiners: outcomes.length,
    share: times.length / outcomes.length,
    firstShare: outcomes.filter(({ afterMs, tries }) => afterMs !== undefined && tries === 1)
      .length / outcomes.length,
    medianMs: median(times),
    cpu,
    rssMb: readResidentMb(pid),
  };
}

async function sendPaced(
  socket: Deno.DatagramConn,
  datagrams: readonly Uint8Array[],
  rateHz: number,
  port: number,
): Promise<void> {
  const to = { transport: "udp", hostname: HOST, port } as const;
  const startMs = performance.now();
  for (let sent = 0; sent < datagrams.length;) {
    const due = Math.floor((performance.now() - startMs) * rateHz / 1_000);
    const until = Math.min(datagrams.length, due, sent + MAX_BURST);
    while (sent < until) await socket.send(datagrams[sent++]!, to);
    await sleep(1);
  }
}

/** What became of one joiner. */
interface Outcome {
  /** When it was in, ms after it began; `undefined`: not in time. */
  readonly afterMs: number | undefined;
  readonly tries: number;
}

/** Joins like a driver: it tries again after its first pause, until it is in or its time is over. */
async function joinWithin(flood: Flood): Promise<Outcome> {
  const startMs = performance.now();
  const path = new DelayedPath(flood.port);
  let tries = 0;
  try {
    for (;;) {
      tries += 1;
      const leftMs = ADMISSION_MS - (performance.now() - startMs);
      if (leftMs <= 0) return { afterMs: undefined, tries };
      if (await joinOnce(flood, path.port, leftMs)) {
        const afterMs = performance.now() - startMs;
        return { afterMs: afterMs <= ADMISSION_MS ? afterMs : undefined, tries };
      }
      await sleep(RECONNECT_FIRST_MS);
    }
  } finally {
    // Its goodbye is still under way.
    setTimeout(() => path.close(), 4 * PATH_MS);
  }
}

/** One try: connects, joins, leaves; whether it was in. */
async function joinOnce(
  { pin, schemaHash }: Flood,
  port: number,
  timeoutMs: number,
): Promise<boolean> {
  let connection: Connection;
  try {
    connection = await connectQuic({ host: HOST, port, pin, timeoutMs });
  } catch {
    return false;
  }
  const isIn = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => isIn.resolve(false), timeoutMs);
  connection.start({
    handleDatagram: () => {},
    handleStream: () => {},
    handleClosed: () => isIn.resolve(false),
  });
  const control = connection.openStream();
  const frames = new ControlFrames();
  control.setHandler({
    handleData: (bytes) => {
      frames.handleBytes(bytes);
      for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
        const result = decodeControl(frame, "fromAuthority");
        if (result.ok && result.message.kind === "accepted") isIn.resolve(true);
      }
    },
    handleEnd: () => {},
    handleReset: () => {},
    handleWritable: () => {},
  });
  const say = (message: ControlMessage) =>
    control.write(encodeControlFrame(encodeControl(message)));
  say({
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: Uint8Array.fromHex(schemaHash),
    credential: "none",
    resume: undefined,
  });
  const result = await isIn.promise;
  clearTimeout(timer);
  connection.close(CloseCode.GoingAway, "");
  return result;
}

/** A path to the server that takes `PATH_MS` each way. */
class DelayedPath {
  readonly #near = udpSocket();
  readonly #far = udpSocket();
  #client: Deno.Addr | undefined;
  #isClosed = false;

  constructor(serverPort: number) {
    const server = { transport: "udp", hostname: HOST, port: serverPort } as const;
    this.#carry(this.#near, (bytes, from) => {
      this.#client = from;
      this.#later(() => this.#far.send(bytes, server));
    });
    this.#carry(this.#far, (bytes) => this.#later(() => this.#near.send(bytes, this.#client!)));
  }

  /** Where the server seems to be. */
  get port(): number {
    return (this.#near.addr as Deno.NetAddr).port;
  }

  close(): void {
    this.#isClosed = true;
    this.#near.close();
    this.#far.close();
  }

  #later(send: () => Promise<unknown>): void {
    setTimeout(() => {
      // Nobody is there any more to whom a lost datagram would matter.
      if (!this.#isClosed) send().catch(() => {});
    }, PATH_MS);
  }

  async #carry(
    socket: Deno.DatagramConn,
    take: (bytes: Uint8Array, from: Deno.Addr) => void,
  ): Promise<void> {
    for await (const [bytes, from] of socket) take(bytes, from);
  }
}

async function drain(socket: Deno.DatagramConn): Promise<void> {
  for await (const _ of socket);
}

function udpSocket(): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
