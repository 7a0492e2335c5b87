// The driver as a process: sockets, clock, signals, randomness and rights. Everything it decides is decided by a core; this file only
// carries bytes and time to it. Order: manifest, keys, every module; engine socket; hello; rights given up; only then the network.

import { createHash } from "node:crypto";
import type { Manifest } from "../permissions/manifest.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import { hostPaths } from "../permissions/paths.ts";
import { findExcessRights, probesOutside } from "../permissions/self_check.ts";
import type { Grants } from "../permissions/grants.ts";
import { CloseCode, closeCodeName } from "../protocol/close_codes.ts";
import { CONNECT_TIMEOUT_MS, GREETING_TIMEOUT_MS, MEMORY_SAMPLE_MS } from "../protocol/limits.ts";
import { type CertifiedKey, inspectCertificate } from "../transport/certificate.ts";
import type { Listener } from "../transport/connection.ts";
import { connectQuic, listenQuic } from "../transport/quic.ts";
import { readAuthority, serverKeys } from "./certificate_files.ts";
import { ClientCore } from "./client_core.ts";
import type { CoreEnvironment, DriverCore } from "./core.ts";
import { crashReport } from "./crash_report.ts";
import { verifyEd25519 } from "./ed25519.ts";
import { EngineSocket } from "./engine_socket.ts";
import { ExitCode } from "./exit_codes.ts";
import { type ManifestFile, readManifestFile } from "./manifest_file.ts";
import { assertMemory, memoryBudget } from "./memory_budget.ts";
import { MemoryWatch } from "./memory_watch.ts";
import { ServerCore } from "./server_core.ts";

/** What `run` was asked to do. */
export interface RunOptions {
  /** Path of the manifest, or the manifest itself and where it comes from. */
  readonly manifestFile: string | ManifestFile;
  /** Runs although the process holds rights that the manifest does not name. */
  readonly insecureDev: boolean;
  /** More lines in the log. */
  readonly verbose: boolean;
  /** Takes one line for the operator. */
  readonly log: (line: string) => void;
}

/** A timer as near as this to where it should be, ms, stays: cores reckon times from the present one, and their last bits differ. */
const TIMER_SLACK_MS = 0.25;

/** The clock of the process, ms; it never goes back. */
function now(): number {
  return performance.now();
}

/** Last second of a certificate's validity, since 1970. */
function lastSecondOf({ certPem }: CertifiedKey): number {
  return Math.floor(inspectCertificate(certPem, Date.now()).notAfterMs / 1000);
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
  removeStores();
  const { file, manifest } = typeof options.manifestFile === "string"
    ? readManifestFile(options.manifestFile)
    : options.manifestFile;
  const grants = compileGrants(manifest, sha256);
  const paths = hostPaths(manifest.host, file);
  const memory = memoryBudget(grants, manifest.host);
  assertMemory(memory);
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
  const keys = manifest.host.role === "server" ? await serverKeys(paths) : undefined;
  const caCerts = paths.caFile === undefined ? undefined : [readAuthority(paths.caFile)];
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
  const program = new Program(options, manifest, grants, keys, caCerts, engine, memory.limitMb);
  await revokeFileRights(paths.engineSocket);
  return await program.run();
}

/**
 * Takes away the stores that the runtime keeps on disk, and the graphics device: neither asks for a right. A worker still has `caches` of
 * its own; only a module cache that the driver's user cannot write to closes that too.
 */
function removeStores(): void {
  for (const name of ["localStorage", "sessionStorage", "caches"]) {
    Reflect.deleteProperty(globalThis, name);
  }
  Reflect.deleteProperty(Object.getPrototypeOf(navigator), "gpu");
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
  readonly #keys: CertifiedKey | undefined;
  readonly #caCerts: string[] | undefined;
  readonly #engine: Deno.UnixConn;
  readonly #socket = new EngineSocket();
  readonly #core: DriverCore;
  readonly #done = Promise.withResolvers<number>();
  readonly #memoryMb: number;
  readonly #memory: MemoryWatch;
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
    keys: CertifiedKey | undefined,
    caCerts: string[] | undefined,
    engine: Deno.UnixConn,
    memoryMb: number,
  ) {
    this.#memoryMb = memoryMb;
    this.#memory = new MemoryWatch(memoryMb);
    this.#options = options;
    this.#manifest = manifest;
    this.#keys = keys;
    this.#caCerts = caCerts;
    this.#engine = engine;
    const environment: CoreEnvironment = {
      now,
      unixMs: Date.now,
      randomBytes,
      sha256,
      verifyEd25519,
      wake: () => this.#wake(),
    };
    this.#core = manifest.host.role === "client"
      ? new ClientCore({
        grants,
        environment,
        endpoints: manifest.host.connect ?? [],
        pin: manifest.host.pin ?? "",
        hasAuthority: caCerts !== undefined,
        log: manifest.host.privacy,
      })
      : new ServerCore({
        grants,
        environment,
        loopback: manifest.host.role === "loopback",
        log: manifest.host.privacy,
      });
  }

  async run(): Promise<number> {
    const stop = () => this.#stop("asked to stop");
    Deno.addSignalListener("SIGTERM", stop);
    Deno.addSignalListener("SIGINT", stop);
    const crash = (event: ErrorEvent | PromiseRejectionEvent) => {
      if (event.defaultPrevented) return;
      // Left alone, the runtime would print the error's message and end the process.
      event.preventDefault();
      this.#crash("reason" in event ? event.reason : event.error);
    };
    globalThis.addEventListener("error", crash);
    globalThis.addEventListener("unhandledrejection", crash);
    const boot = new DataView(randomBytes(4).buffer).getUint32(0);
    this.#socket.push(this.#core.hello({
      certificateHash: this.#keys?.pin ?? "",
      listen: this.#manifest.host.listen ?? "",
      boot,
      ...(this.#keys === undefined ? {} : { certificateUntilS: lastSecondOf(this.#keys) }),
    }));
    this.#flush();
    this.#readEngine();
    const unanswered = setTimeout(() => this.#giveUpWaiting(), GREETING_TIMEOUT_MS);
    const looks = setInterval(() => this.#lookAtMemory(), MEMORY_SAMPLE_MS);
    const code = await this.#done.promise;
    this.#ended = true;
    clearInterval(looks);
    clearTimeout(unanswered);
    clearTimeout(this.#timer);
    this.#listener?.close();
    Deno.removeSignalListener("SIGTERM", stop);
    Deno.removeSignalListener("SIGINT", stop);
    globalThis.removeEventListener("error", crash);
    globalThis.removeEventListener("unhandledrejection", crash);
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
        if (message.kind === "goodbye") return this.#handleGoodbye(message.code, message.reason);
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

  /** The runtime's own memory is looked at too: nothing else sees what native code holds. */
  #lookAtMemory(): void {
    if (this.#ended) return;
    const residentBytes = Deno.memoryUsage().rss;
    const verdict = this.#memory.handleSample(residentBytes, now());
    if (verdict === "fine") return;
    if (verdict === "shed") {
      this.#core.shed(now());
      return this.#pump();
    }
    this.#options.log(
      `The driver takes ${
        Math.round(residentBytes / 2 ** 20)
      } MB of memory, and may take ${this.#memoryMb} MB ` +
        "(host.limits.memoryMb). It ends before the system ends it.",
    );
    this.#core.close("out of memory", now());
    this.#finish(ExitCode.Memory);
  }

  /** What took the connection may be an engine that hangs, or no engine at all. Heartbeats begin with the welcome. */
  #giveUpWaiting(): void {
    if (this.#welcomed || this.#ended) return;
    this.#options.log(
      `What listens on the engine's socket did not answer within ${
        GREETING_TIMEOUT_MS / 1000
      } s. ` +
        "Check that it is the engine, and that it runs.",
    );
    this.#finish(ExitCode.EngineSocket);
  }

  /** An engine that closes says so with code 0; any other code is something the operator should hear of. */
  #handleGoodbye(code: number, reason: string): void {
    if (code === CloseCode.Normal) return this.#finish(ExitCode.Ok);
    if (!this.#welcomed) {
      this.#options.log(`The engine refused this driver: ${reason}`);
      return this.#finish(ExitCode.EngineRefused);
    }
    // By now the engine's own words may be about what is in its world.
    this.#options.log(`The engine ended the link: ${closeCodeName(code)}.`);
    this.#finish(ExitCode.EngineEnded);
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
        cert: this.#keys!.certPem,
        key: this.#keys!.keyPem,
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

  /** A mistake of our own: nothing of the core is to be trusted any more. The engine sees a crash and awaits the next driver. */
  #crash(error: unknown): void {
    if (this.#ended) return;
    this.#options.log(crashReport(error));
    this.#ended = true;
    clearTimeout(this.#timer);
    try {
      this.#engine.close();
    } catch {
      // Closed already by the engine.
    }
    this.#done.resolve(ExitCode.Bug);
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
