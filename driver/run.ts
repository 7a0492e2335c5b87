// The driver as a process: sockets, clock, signals, randomness and rights. Everything it decides is decided by a core; this file only
// carries bytes and time to it. Order: manifest, keys, every module; engine socket; hello; rights given up; only then the network.

import { createHash } from "node:crypto";
import type { Manifest } from "../permissions/manifest.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import { type HostPaths, hostPaths } from "../permissions/paths.ts";
import { findExcessRights, probesOutside } from "../permissions/self_check.ts";
import type { Grants } from "../permissions/grants.ts";
import { CONNECT_TIMEOUT_MS } from "../protocol/limits.ts";
import { createDevelopmentCertificate, inspectCertificate } from "../transport/certificate.ts";
import type { Listener } from "../transport/connection.ts";
import { connectQuic, listenQuic } from "../transport/quic.ts";
import { ClientCore } from "./client_core.ts";
import type { CoreEnvironment, DriverCore } from "./core.ts";
import { EngineSocket } from "./engine_socket.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { readManifestFile, whyUnreadable } from "./manifest_file.ts";
import { ServerCore } from "./server_core.ts";

/** What `run` was asked to do. */
export interface RunOptions {
  /** Path of the manifest. */
  readonly manifestFile: string;
  /** Runs although the process holds rights that the manifest does not name. */
  readonly insecureDev: boolean;
  /** More lines in the log. */
  readonly verbose: boolean;
  /** Takes one line for the operator. */
  readonly log: (line: string) => void;
}

/** A timer as near as this to where it should be, ms, stays: cores reckon times from the present one, and their last bits differ. */
const TIMER_SLACK_MS = 0.25;

interface Keys {
  readonly cert: string;
  readonly key: string;
  readonly pin: string;
}

/** The clock of the process, ms; it never goes back. */
function now(): number {
  return performance.now();
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

/**
 * Runs one driver until its engine, a signal or a failure ends it.
 *
 * @returns the exit code, one of {@linkcode ExitCode}.
 * @throws {ManifestError} when the manifest cannot be used, {@linkcode CommandError} when a file cannot be read, and
 * `TransportError` when a certificate cannot be used.
 */
export async function runDriver(options: RunOptions): Promise<number> {
  const { file, manifest } = readManifestFile(options.manifestFile);
  const grants = compileGrants(manifest, sha256);
  const paths = hostPaths(manifest.host, file);
  if (!options.insecureDev) {
    const excess = findExcessRights(
      (descriptor) => Deno.permissions.querySync(descriptor as Deno.PermissionDescriptor).state,
      probesOutside(manifest, { manifestFile: file }),
    );
    if (excess.length > 0) {
      options.log(
        "This process holds more rights than its manifest names, so it will not start:\n" +
          excess.map((line) => `  - ${line}`).join("\n") +
          "\nStart it with the command that `flags --manifest ...` prints, or with `launch`. " +
          "For experiments only: --insecure-dev.",
      );
      return ExitCode.ExcessRights;
    }
  }
  const keys = await loadKeys(manifest, paths);
  const caCerts = paths.caFile === undefined
    ? undefined
    : [readTextFile(paths.caFile, "host.caFile")];
  let engine: Deno.UnixConn;
  try {
    engine = await Deno.connect({ transport: "unix", path: paths.engineSocket });
  } catch (error) {
    options.log(
      `No engine answers on ${paths.engineSocket} (${
        (error as Error).message
      }). Start the engine first: it listens, the driver connects.`,
    );
    return ExitCode.EngineSocket;
  }
  const program = new Program(options, manifest, grants, keys, caCerts, engine);
  await revokeFileRights(paths.engineSocket);
  return await program.run();
}

async function loadKeys(manifest: Manifest, paths: HostPaths): Promise<Keys | undefined> {
  if (manifest.host.role !== "server") return undefined;
  const { certFile, keyFile } = paths;
  if (certFile === undefined || keyFile === undefined) {
    const made = await createDevelopmentCertificate();
    return { cert: made.certPem, key: made.keyPem, pin: made.pin };
  }
  const cert = readTextFile(certFile, "host.certificate.certFile");
  const key = readTextFile(keyFile, "host.certificate.keyFile");
  const expected = manifest.host.pin === undefined ? {} : { pin: manifest.host.pin };
  return { cert, key, pin: inspectCertificate(cert, Date.now(), { keyPem: key, ...expected }).pin };
}

function readTextFile(path: string, where: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new CommandError(
      ExitCode.Certificate,
      `${where}: ${path} cannot be read: ${whyUnreadable(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** An open connection keeps working without the right to open it; nothing else may be opened from here on. */
async function revokeFileRights(socketPath: string): Promise<void> {
  await Deno.permissions.revoke({ name: "read" });
  await Deno.permissions.revoke({ name: "write" });
  await Deno.permissions.revoke(
    { name: "net", host: `unix:${socketPath}` } as Deno.NetPermissionDescriptor,
  );
}

/** One running driver: a core, an engine socket, a listener or an outgoing connection. */
class Program {
  readonly #options: RunOptions;
  readonly #manifest: Manifest;
  readonly #keys: Keys | undefined;
  readonly #caCerts: string[] | undefined;
  readonly #engine: Deno.UnixConn;
  readonly #socket = new EngineSocket();
  readonly #core: DriverCore;
  readonly #done = Promise.withResolvers<number>();
  #listener: Listener | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #writing = false;
  #ended = false;
  #welcomed = false;
  #woken = false;

  constructor(
    options: RunOptions,
    manifest: Manifest,
    grants: Grants,
    keys: Keys | undefined,
    caCerts: string[] | undefined,
    engine: Deno.UnixConn,
  ) {
    this.#options = options;
    this.#manifest = manifest;
    this.#keys = keys;
    this.#caCerts = caCerts;
    this.#engine = engine;
    const environment: CoreEnvironment = { now, randomBytes, sha256, wake: () => this.#wake() };
    this.#core = manifest.host.role === "client"
      ? new ClientCore({
        grants,
        environment,
        endpoints: manifest.host.connect ?? [],
        pin: manifest.host.pin ?? "",
      })
      : new ServerCore({ grants, environment, loopback: manifest.host.role === "loopback" });
  }

  async run(): Promise<number> {
    const stop = () => this.#stop("asked to stop");
    Deno.addSignalListener("SIGTERM", stop);
    Deno.addSignalListener("SIGINT", stop);
    const boot = new DataView(randomBytes(4).buffer).getUint32(0);
    this.#socket.push(this.#core.hello({
      certificateHash: this.#keys?.pin ?? "",
      listen: this.#manifest.host.listen ?? "",
      boot,
    }));
    this.#flush();
    this.#readEngine();
    const code = await this.#done.promise;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#listener?.close();
    Deno.removeSignalListener("SIGTERM", stop);
    Deno.removeSignalListener("SIGINT", stop);
    return code;
  }

  async #readEngine(): Promise<void> {
    const chunk = new Uint8Array(262_144);
    for (;;) {
      let count: number | null;
      try {
        count = await this.#engine.read(chunk);
      } catch {
        count = null;
      }
      if (this.#ended) return;
      if (count === null) {
        this.#options.log("The engine's end of the link is gone.");
        this.#core.close("engine gone", now());
        this.#finish(ExitCode.EngineEnded);
        return;
      }
      this.#socket.handleBytes(chunk.slice(0, count));
      for (;;) {
        const message = this.#socket.pollMessage();
        if (message === undefined) break;
        this.#core.handleEngine(message, now());
        if (message.kind === "welcome" && this.#core.exit === undefined) {
          if (!this.#startNetwork()) return;
        }
      }
      if (this.#socket.fault !== undefined) {
        this.#options.log(
          "The engine sent bytes that are no frame of the engine link; both ends must speak the same version.",
        );
        this.#core.close("malformed engine frame", now());
        this.#finish(ExitCode.EngineRefused);
        return;
      }
      this.#pump();
    }
  }

  #startNetwork(): boolean {
    if (this.#welcomed) return true;
    this.#welcomed = true;
    if (this.#manifest.host.role !== "server") return true;
    const { host, port } = parseEndpoint(this.#manifest.host.listen!)!;
    try {
      this.#listener = listenQuic({
        host,
        port,
        cert: this.#keys!.cert,
        key: this.#keys!.key,
        onConnection: (connection) => {
          this.#core.handleConnection(connection, now());
          this.#pump();
        },
      });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#options.log(message);
      this.#core.close(message.slice(0, 200), now());
      this.#finish(ExitCode.Network);
      return false;
    }
    (this.#core as ServerCore).handleListening(this.#listener.address, now());
    return true;
  }

  /** A transport's report changed something: carry on once this turn's reports are all in. */
  #wake(): void {
    if (this.#woken) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      this.#pump();
    });
  }

  /** Carries on after anything happened: messages to the engine, connection orders, the next timer, the end. */
  #pump(): void {
    if (this.#ended) return;
    const nowMs = now();
    this.#core.handleEngineWritable(this.#socket.isWritable);
    for (;;) {
      const message = this.#core.pollEngine(nowMs);
      if (message === undefined) break;
      this.#socket.push(message);
      this.#core.handleEngineWritable(this.#socket.isWritable);
    }
    this.#flush();
    const order = this.#core.pollConnect(nowMs);
    if (order !== undefined) this.#connect(order.url, order.pin);
    const exit = this.#core.exit;
    if (exit !== undefined) {
      if (exit.reason !== "") this.#options.log(exit.reason);
      this.#finish(exit.code);
      return;
    }
    this.#arm(nowMs);
  }

  #arm(nowMs: number): void {
    const at = this.#core.nextTimerMs;
    if (Math.abs(at - this.#timerAt) < TIMER_SLACK_MS) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (at === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      if (this.#ended) return;
      this.#core.handleTimer(now());
      this.#pump();
    }, Math.max(0, Math.ceil(at - nowMs)));
  }

  async #connect(url: string, pin: string): Promise<void> {
    const { host, port } = parseEndpoint(url.replace(/^quic:\/\//, ""))!;
    try {
      const connection = await connectQuic({
        host,
        port,
        ...(pin === "" ? {} : { pin }),
        ...(this.#caCerts === undefined ? {} : { caCerts: this.#caCerts }),
        timeoutMs: CONNECT_TIMEOUT_MS,
      });
      if (this.#ended) {
        connection.close(0, "driver ended");
        return;
      }
      this.#core.handleConnection(connection, now());
    } catch (error) {
      if (this.#ended) return;
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#options.verbose) this.#options.log(reason);
      this.#core.handleConnectFailed(reason, now());
    }
    this.#pump();
  }

  async #flush(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      for (;;) {
        const bytes = this.#socket.pollBytes();
        if (bytes === undefined) break;
        let at = 0;
        while (at < bytes.length) at += await this.#engine.write(bytes.subarray(at));
        this.#socket.handleWritten();
        if (this.#socket.backlogBytes === 0 && !this.#ended) queueMicrotask(() => this.#pump());
      }
    } catch {
      // The reading side sees the end of the link and ends the driver.
    } finally {
      this.#writing = false;
    }
  }

  #stop(reason: string): void {
    if (this.#ended) return;
    this.#core.close(reason, now());
    this.#finish(ExitCode.Ok);
  }

  /** Lets the last frames and close packets out, then ends. */
  #finish(code: number): void {
    if (this.#ended) return;
    for (;;) {
      const message = this.#core.pollEngine(now());
      if (message === undefined) break;
      this.#socket.push(message);
    }
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#flush();
    setTimeout(() => {
      try {
        this.#engine.close();
      } catch {
        // Already closed by the engine.
      }
      this.#done.resolve(code);
    }, 100);
  }
}
