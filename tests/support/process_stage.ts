// A stage for tests with real processes: a folder that nobody else can enter, a free port, manifests made from the two example files,
// engines of this process with real sockets, and their drivers. Whatever a test leaves running is ended and removed.

import { assertEquals } from "@std/assert";
import { parse } from "jsonc-parser";
import {
  type EventInfo,
  type JoinedInfo,
  listenForDriver,
  type ListeningEngineLink,
  ReferenceWorld,
  type VoiceInfo,
} from "../../engine/mod.ts";
import type { Channel } from "../../engine/channel.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import type { LaunchOptions } from "../../driver/launcher.ts";
import { DriverProcess } from "./driver_process.ts";
import type { Loose } from "./manifest_samples.ts";
import { ROOT } from "./run_program.ts";

/** Long enough for a machine that does much else, short enough to end a test that hangs. */
export const PATIENCE_MS = 45_000;
/** Exit code of a process that a test killed: 128 and SIGKILL's number. */
const KILLED = 137;
/** Engines of these tests flush this often, ms. */
const FLUSH_MS = 33;

/** One engine of this process, what it heard, and its present driver. */
export class StageEngine {
  /** Name of its files. */
  readonly name: string;
  /** Path of its manifest. */
  readonly manifestFile: string;
  /** Path of its socket. */
  readonly socket: string;
  /** Its world. */
  readonly world: ReferenceWorld;
  /** Its end of the link. */
  readonly link: ListeningEngineLink;
  /** Its present driver, once launched. */
  driver: DriverProcess | undefined;
  /** SHA-256 of the certificate of its driver, once that said hello. */
  pin = "";
  /** What the link told, by callback. */
  readonly joins: JoinedInfo[] = [];
  /** See {@linkcode StageEngine.joins}. */
  readonly lefts: { code: number; reason: string; final: boolean }[] = [];
  /** Reasons for lost drivers. */
  readonly lost: string[] = [];
  /** How often a driver came back. */
  backs = 0;
  /** Reasons for refused drivers. */
  readonly refused: string[] = [];
  /** Peers that went, with the reason. */
  readonly gone: [peer: number, reason: string][] = [];
  /** Events that came. */
  readonly events: { name: string; values: ComponentValues; info: EventInfo }[] = [];
  /** Voice frames that came. */
  readonly voices: { handle: number; frame: Uint8Array; info: VoiceInfo }[] = [];
  /** Channels that peers opened, with the messages that came. */
  readonly channels: { channel: Channel; messages: Uint8Array[] }[] = [];
  /** The driver's latest counters. */
  stats: Readonly<Record<string, number>> = {};

  /** Made by {@linkcode ProcessStage.engine}. */
  constructor(
    name: string,
    manifestFile: string,
    socket: string,
    link: ListeningEngineLink,
    world: ReferenceWorld,
  ) {
    this.world = world;
    this.name = name;
    this.manifestFile = manifestFile;
    this.socket = socket;
    this.link = link;
    link.onDriverReady = (hello) => this.pin = hello.certificateHash;
    link.onDriverRefused = (reason) => this.refused.push(reason);
    link.onDriverLost = (reason) => this.lost.push(reason);
    link.onDriverBack = () => this.backs += 1;
    link.onJoined = (info) => this.joins.push(info);
    link.onLeft = (code, reason, final) => this.lefts.push({ code, reason, final });
    link.onPlayerLeave = (peer, reason) => this.gone.push([peer, reason]);
    link.onEvent = (event, values, info) => this.events.push({ name: event, values, info });
    link.onVoice = (handle, frame, info) => {
      this.voices.push({ handle, frame: frame.slice(), info });
    };
    link.onChannel = (channel) => {
      const messages: Uint8Array[] = [];
      channel.onMessage = (bytes) => messages.push(bytes.slice());
      this.channels.push({ channel, messages });
    };
    link.onStats = (values) => this.stats = values;
  }

  /** This engine's handle for an entity of another engine; 0 while it does not know it. */
  handleFrom(other: StageEngine, handle: number): number {
    const id = other.link.networkIdOf(handle);
    return id === 0 ? 0 : this.link.handleOf(id);
  }

  /** What this engine's world holds of an entity of another engine. */
  seen(other: StageEngine, handle: number, component: string): ComponentValues | undefined {
    return this.world.read(this.handleFrom(other, handle), component);
  }
}

/** The folder, the port, and everything that has been started. */
export class ProcessStage {
  /** A folder of mode 700. */
  readonly folder: string;
  /** A UDP port that was free a moment ago. */
  readonly port: number;
  readonly #engines: StageEngine[] = [];
  readonly #drivers: DriverProcess[] = [];
  /** What links told their log: nothing, when all is well. */
  readonly #notes: string[] = [];

  private constructor(folder: string, port: number) {
    this.folder = folder;
    this.port = port;
  }

  /** Sets a stage, plays, and clears it away. */
  static async play(scene: (stage: ProcessStage) => Promise<void>): Promise<void> {
    // Unix socket paths end after about a hundred characters: a short prefix leaves room.
    const stage = new ProcessStage(await Deno.makeTempDir({ prefix: "syn" }), await freeUdpPort());
    try {
      await scene(stage);
      assertEquals(stage.#notes, []);
    } finally {
      await stage.#clear();
    }
  }

  /** Writes a manifest for this stage's socket and port; `edit` changes it before. Returns its path. */
  manifest(
    name: string,
    role: "server" | "client",
    edit: (value: Loose) => void = () => {},
  ): string {
    const value: Loose = parse(Deno.readTextFileSync(`${ROOT}examples/room_${role}.jsonc`));
    delete value.$schema;
    value.host.engineSocket = `${name}.sock`;
    if (role === "server") value.host.listen = `127.0.0.1:${this.port}`;
    else value.host.connect = [`127.0.0.1:${this.port}`];
    edit(value);
    const file = `${this.folder}/${name}.jsonc`;
    Deno.writeTextFileSync(file, JSON.stringify(value, null, 2));
    return file;
  }

  /**
   * Starts an engine that listens, without a driver. With `socket`, it listens there instead of where its manifest says.
   */
  async engine(
    name: string,
    manifestFile: string,
    options: { readonly socket?: string; readonly pin?: string } = {},
  ): Promise<StageEngine> {
    const socket = options.socket ?? `${this.folder}/${name}.sock`;
    const world = new ReferenceWorld();
    const link = await listenForDriver({
      socket,
      manifest: manifestFile,
      world,
      flushIntervalMs: FLUSH_MS,
      log: (sentence) => this.#notes.push(sentence),
      connect: options.pin === undefined ? undefined : this.order(options.pin),
    });
    const engine = new StageEngine(name, manifestFile, socket, link, world);
    this.#engines.push(engine);
    return engine;
  }

  /** An order to connect to this stage's port. */
  order(pin: string): { url: string; pin: string; credential: Uint8Array } {
    return { url: `quic://127.0.0.1:${this.port}`, pin, credential: new Uint8Array(0) };
  }

  /** Launches a driver. */
  launch(manifestFile: string, options: LaunchOptions = {}): DriverProcess {
    const driver = DriverProcess.launch(manifestFile, options);
    this.#drivers.push(driver);
    return driver;
  }

  /** Launches the (next) driver of an engine. */
  drive(engine: StageEngine): DriverProcess {
    return engine.driver = this.launch(engine.manifestFile);
  }

  /** A server's engine whose driver listens. */
  async server(edit?: (value: Loose) => void): Promise<StageEngine> {
    const server = await this.engine("server", this.manifest("server", "server", edit));
    this.drive(server);
    await this.until("the server's driver listens", () => server.joins.length > 0);
    return server;
  }

  /** A client's engine whose driver has joined the server with this pin. */
  async client(name: string, pin: string, edit?: (value: Loose) => void): Promise<StageEngine> {
    const client = await this.engine(name, this.manifest(name, "client", edit), { pin });
    this.drive(client);
    await this.until(`${name} joins`, () => client.joins.length > 0);
    return client;
  }

  /** Waits until something is so; what the drivers said is told where it never is, or one of them failed meanwhile. */
  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!await isSo()) {
      if (performance.now() > end || this.#engines.some(hasFailed)) {
        const said = this.#drivers.map(({ err, exitCode }) => `[${exitCode ?? "runs"}] ${err}`);
        throw new Error(`waited in vain until ${what}\n${[...said, ...this.#notes].join("\n")}`);
      }
      await delay(5);
    }
  }

  /** Waits until all engines' drivers hold the same entities in the same state, `count` of them. */
  async untilSame(engines: readonly StageEngine[], count: number): Promise<void> {
    let last: unknown;
    try {
      await this.until("all hold the same state", async () => {
        const all = await Promise.all(engines.map(stateOf));
        last = all;
        return all.every((state) => state.length === count && `${state}` === `${all[0]}`);
      });
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${JSON.stringify(last)}`);
    }
  }

  async #clear(): Promise<void> {
    for (const driver of this.#drivers) driver.signal("SIGKILL");
    await Promise.all(this.#drivers.map((driver) => driver.ended));
    await Promise.all(this.#engines.map((engine) => engine.link.close()));
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** An engine's driver ended, and nobody asked it to. */
function hasFailed({ driver }: StageEngine): boolean {
  const code = driver?.exitCode;
  return code !== undefined && code !== ExitCode.Ok && code !== KILLED;
}

/** `id:hash` of every entity that has a network id, sorted; empty while no driver is there. */
async function stateOf({ link }: StageEngine): Promise<string[]> {
  try {
    const hashes = await link.stateHash();
    return [...hashes].map(([handle, hash]) => `${link.networkIdOf(handle)}:${hash}`).sort();
  } catch {
    return [];
  }
}

/** Waits. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A UDP port of this machine that nobody has at the moment. */
export async function freeUdpPort(): Promise<number> {
  const { createSocket } = await import("node:dgram");
  const socket = createSocket("udp4");
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  socket.once("error", reject);
  socket.bind(0, "127.0.0.1", () => resolve(socket.address().port));
  const port = await promise;
  await new Promise<void>((done) => socket.close(() => done()));
  return port;
}
