// A driver that runs: its core joined to an engine's socket, a network, the clock and signals. Everything it decides is decided by the core;
// this file only carries bytes and time to it. What is read and checked before it may begin is in `run.ts`.

import type { Manifest } from "../permissions/manifest.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import { CloseCode, closeCodeName } from "../protocol/close_codes.ts";
import { CONNECT_TIMEOUT_MS, GREETING_TIMEOUT_MS, MEMORY_SAMPLE_MS } from "../protocol/limits.ts";
import { type CertifiedKey, inspectCertificate } from "../transport/certificate.ts";
import type { Listener } from "../transport/connection.ts";
import { connectQuic, listenQuic } from "../transport/quic.ts";
import { ClientCore } from "./client_core.ts";
import { promptCollection } from "./collect_prompt.ts";
import type { CoreEnvironment, DriverCore } from "./core.ts";
import { crashReport } from "./crash_report.ts";
import { verifyEd25519 } from "./ed25519.ts";
import { EngineSocket } from "./engine_socket.ts";
import { ExitCode } from "./exit_codes.ts";
import { mostConnections } from "./join_places.ts";
import { MemoryWatch } from "./memory_watch.ts";
import { ServerCore } from "./server_core.ts";
import { mostStreams } from "./stream_bounds.ts";

/** What a program is made of. */
export interface ProgramParts {
  readonly manifest: Manifest;
  readonly grants: Grants;
  /** Certificate and key of a server. */
  readonly keys: CertifiedKey | undefined;
  /** Authorities that a client trusts, PEM. */
  readonly caCerts: string[] | undefined;
  /** The open connection to the engine. */
  readonly engine: Deno.UnixConn;
  /** Resident size that the process may have, MB. */
  readonly memoryMb: number;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
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

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

/** One running driver: a core, an engine socket, a listener or an outgoing connection. */
export class Program {
  readonly #parts: ProgramParts;
  readonly #socket = new EngineSocket();
  readonly #core: DriverCore;
  readonly #done = Promise.withResolvers<number>();
  readonly #memory: MemoryWatch;
  #listener: Listener | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #writing = false;
  #ended = false;
  #welcomed = false;
  #woken = false;

  /** Starts nothing: see `run`. */
  constructor(parts: ProgramParts) {
    this.#parts = parts;
    this.#memory = new MemoryWatch(parts.memoryMb);
    const { manifest, grants, caCerts, sha256 } = parts;
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

  /** Runs until the engine, a signal or a failure ends it; gives the exit code. */
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
      certificateHash: this.#parts.keys?.pin ?? "",
      listen: this.#parts.manifest.host.listen ?? "",
      boot,
      ...(this.#parts.keys === undefined
        ? {}
        : { certificateUntilS: lastSecondOf(this.#parts.keys) }),
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
        count = await this.#parts.engine.read(chunk);
      } catch {
        count = null;
      }
      if (this.#ended) return;
      if (count === null) {
        this.#parts.log("The engine's end of the link is gone.");
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
        this.#parts.log(
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
    if (verdict === "collect") return promptCollection();
    if (verdict === "shed") {
      this.#core.shed(now());
      return this.#pump();
    }
    this.#parts.log(
      `The driver takes ${
        Math.round(residentBytes / 2 ** 20)
      } MB of memory, and may take ${this.#parts.memoryMb} MB ` +
        "(host.limits.memoryMb). It ends before the system ends it.",
    );
    this.#core.close("out of memory", now());
    this.#finish(ExitCode.Memory);
  }

  /** What took the connection may be an engine that hangs, or no engine at all. Heartbeats begin with the welcome. */
  #giveUpWaiting(): void {
    if (this.#welcomed || this.#ended) return;
    this.#parts.log(
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
      this.#parts.log(`The engine refused this driver: ${reason}`);
      return this.#finish(ExitCode.EngineRefused);
    }
    // By now the engine's own words may be about what is in its world.
    this.#parts.log(`The engine ended the link: ${closeCodeName(code)}.`);
    this.#finish(ExitCode.EngineEnded);
  }

  #startNetwork(): boolean {
    if (this.#welcomed) return true;
    this.#welcomed = true;
    if (this.#parts.manifest.host.role !== "server") return true;
    const { host, port } = parseEndpoint(this.#parts.manifest.host.listen!)!;
    try {
      this.#listener = listenQuic({
        host,
        port,
        cert: this.#parts.keys!.certPem,
        key: this.#parts.keys!.keyPem,
        maxStreams: mostStreams(this.#parts.grants),
        maxConnections: mostConnections(this.#parts.grants),
        onConnection: (connection) => {
          this.#core.handleConnection(connection, now());
          this.#pump();
        },
      });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#parts.log(message);
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
      if (exit.reason !== "") this.#parts.log(exit.reason);
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
        ...(this.#parts.caCerts === undefined ? {} : { caCerts: this.#parts.caCerts }),
        maxStreams: mostStreams(this.#parts.grants),
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
      if (this.#parts.verbose) this.#parts.log(reason);
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
        while (at < bytes.length) at += await this.#parts.engine.write(bytes.subarray(at));
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
    this.#parts.log(crashReport(error));
    this.#ended = true;
    clearTimeout(this.#timer);
    try {
      this.#parts.engine.close();
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
        this.#parts.engine.close();
      } catch {
        // Already closed by the engine.
      }
      this.#done.resolve(code);
    }, 100);
  }
}
