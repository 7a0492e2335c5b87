// Sets the stage of the demo: a folder that nobody else can enter, manifests made from the two example files, a free port, and engines
// with their drivers, each driver a process under exactly the rights of its manifest.

import { createHash } from "node:crypto";
import { parse } from "jsonc-parser";
import {
  type EngineCallbacks,
  listenForDriver,
  type ListeningEngineLink,
  ReferenceWorld,
} from "../../engine/mod.ts";
import type { ConnectOrder } from "../../protocol/engine_messages.ts";
import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { launchDriver, type LaunchedDriver } from "../../driver/launcher.ts";
import { SocketTap } from "./tap.ts";

/** SHA-256. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** One engine of the demo, its world, its tapped socket and its driver. */
export interface Actor {
  readonly name: string;
  readonly world: ReferenceWorld;
  readonly engine: ListeningEngineLink;
  readonly tap: SocketTap;
  readonly driver: LaunchedDriver;
  /** The driver's latest counters. */
  stats: Readonly<Record<string, number>>;
}

/** The folder, the port and everything that has been started. */
export class Stage {
  readonly folder: string;
  readonly port: number;
  readonly actors: Actor[] = [];
  #grants: Grants | undefined;

  private constructor(folder: string, port: number) {
    this.folder = folder;
    this.port = port;
  }

  /** Makes the folder and finds a port. */
  static async create(): Promise<Stage> {
    const folder = await Deno.makeTempDir({ prefix: "syncra-" });
    return new Stage(folder, await freeUdpPort());
  }

  /** Tables of the demo's world. */
  get grants(): Grants {
    const file = new URL("../room_server.jsonc", import.meta.url).pathname;
    return this.#grants ??= compileGrants(parseManifest(Deno.readTextFileSync(file), file), sha256);
  }

  /** Writes a manifest, starts an engine that listens, and its driver. Resolves once the driver has said hello. */
  async start(
    name: string,
    role: "server" | "client",
    callbacks: EngineCallbacks,
    connect?: ConnectOrder,
  ): Promise<Actor> {
    const template = new URL(`../room_${role}.jsonc`, import.meta.url);
    const manifest = parse(Deno.readTextFileSync(template)) as {
      $schema?: string;
      host: Record<string, unknown>;
    };
    delete manifest.$schema;
    manifest.host.engineSocket = `${this.folder}/${name}.sock`;
    if (role === "server") manifest.host.listen = `127.0.0.1:${this.port}`;
    else manifest.host.connect = [`127.0.0.1:${this.port}`];
    const manifestFile = `${this.folder}/${name}.jsonc`;
    Deno.writeTextFileSync(manifestFile, JSON.stringify(manifest, null, 2));
    const world = new ReferenceWorld();
    const ready = Promise.withResolvers<void>();
    const engine = await listenForDriver({
      socket: `${this.folder}/${name}.engine.sock`,
      manifest: manifestFile,
      world,
      connect,
      callbacks: {
        ...callbacks,
        onDriverReady: (hello) => {
          callbacks.onDriverReady?.(hello);
          ready.resolve();
        },
        onDriverRefused: (reason) => ready.reject(new Error(`${name}: driver refused: ${reason}`)),
      },
    });
    const tap = new SocketTap(`${this.folder}/${name}.sock`, `${this.folder}/${name}.engine.sock`);
    const driver = launchDriver(manifestFile, { stdout: "null" });
    const actor: Actor = { name, world, engine, tap, driver, stats: {} };
    engine.onStats = (values) => actor.stats = values;
    this.actors.push(actor);
    driver.process.status.then((status) =>
      ready.reject(new Error(`${name}: driver ended with ${status.code}`))
    );
    await ready.promise;
    return actor;
  }

  /** Ends everything; returns the exit codes of the drivers. */
  async end(): Promise<Map<string, number>> {
    const codes = new Map<string, number>();
    for (const actor of [...this.actors].reverse()) {
      try {
        actor.driver.process.kill("SIGTERM");
      } catch {
        // It has ended already.
      }
      codes.set(actor.name, (await actor.driver.process.status).code);
      await actor.engine.close();
      actor.tap.close();
    }
    await Deno.remove(this.folder, { recursive: true });
    return codes;
  }
}

async function freeUdpPort(): Promise<number> {
  const { createSocket } = await import("node:dgram");
  const socket = createSocket("udp4");
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  socket.once("error", reject);
  socket.bind(0, "127.0.0.1", () => resolve(socket.address().port));
  const port = await promise;
  await new Promise<void>((done) => socket.close(() => done()));
  return port;
}
