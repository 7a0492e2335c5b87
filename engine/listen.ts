// The socket under an engine link: listens on a Unix path, takes one driver at a time, reads, writes without ever making the engine
// wait, and keeps the heartbeat. The one file of the engine's side that does I/O; every decision is the link's.

import { createHash, createPublicKey, verify } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { type Manifest, parseManifest } from "../permissions/manifest.ts";
import { toBase64Url } from "../protocol/base64url.ts";
import type { ConnectOrder } from "../protocol/engine_messages.ts";
import { EngineLink, type EngineLinkOptions } from "./engine_link.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkRole } from "./link_state.ts";
import type { WorldAdapter } from "./world_adapter.ts";

/** Interval of the link's timer, ms: fine enough for heartbeats of 250 ms. */
const TIMER_MS = 100;
/** Time for a goodbye to leave before the connection is cut, ms. */
const GOODBYE_MS = 500;
const READ_BYTES = 65_536;

/** What an engine needs of its manifest. */
export interface CompiledManifest {
  /** The compiled tables. */
  readonly grants: Grants;
  /** The role in the `host` part. */
  readonly role: LinkRole;
}

/** What {@linkcode listenForDriver} needs. */
export interface ListenOptions {
  /** Path of the Unix socket to listen on; its folder should belong to the user alone (mode 0700). */
  readonly socket: string;
  /** The engine's own manifest: its path, already parsed, or already compiled. */
  readonly manifest: string | Manifest | CompiledManifest;
  /** The engine's world. */
  readonly world: WorldAdapter;
  /** First callbacks; they can be set on the link later, too. */
  readonly callbacks?: EngineCallbacks | undefined;
  /** Where a client's driver shall connect; left out, where its manifest says. */
  readonly connect?: ConnectOrder | undefined;
  /** What `usedNonces` of an earlier engine of this world gave: join tokens used before stay used. */
  readonly nonces?: Uint8Array | undefined;
  /** Flush every so many ms; left out, game code calls `flush` once a tick. */
  readonly flushIntervalMs?: number | undefined;
  /** Told of advice, such as a folder that others can reach, and of errors that callbacks throw. Left out: the console. */
  readonly log?: ((sentence: string) => void) | undefined;
}

/** The engine's socket cannot be used; the message says what to change. */
export class EngineSocketError extends Error {
  /** The name of the error class. */
  override name = "EngineSocketError";
}

/**
 * Listens for this engine's driver. Resolves as soon as the socket is open: game code can begin, driver or not.
 *
 * @throws {EngineSocketError} when the path cannot be used or a living process listens on it. {@linkcode ManifestError} when the manifest
 * has mistakes.
 */
export async function listenForDriver(options: ListenOptions): Promise<ListeningEngineLink> {
  const { grants, role } = await compile(options.manifest);
  const log = options.log ?? ((sentence: string) => console.warn(sentence));
  await prepare(options.socket, log);
  let listener: Deno.UnixListener;
  try {
    listener = Deno.listen({ transport: "unix", path: options.socket });
  } catch (error) {
    throw new EngineSocketError(
      `cannot listen on ${options.socket}: ${(error as Error).message}. ` +
        "Choose a path in a folder that exists and that this user may write to, at most 107 bytes long.",
      { cause: error },
    );
  }
  return new ListeningEngineLink(listener, log, {
    grants,
    role,
    world: options.world,
    now: () => performance.now(),
    connect: options.connect,
    callbacks: options.callbacks,
    nonces: options.nonces,
    identityTools: { sha256, unixMs: Date.now, verifyEd25519 },
  }, options.flushIntervalMs);
}

async function compile(manifest: ListenOptions["manifest"]): Promise<CompiledManifest> {
  if (typeof manifest === "object" && "grants" in manifest) return manifest;
  const parsed = typeof manifest === "string"
    ? parseManifest(await Deno.readTextFile(manifest), manifest)
    : manifest;
  return { grants: compileGrants(parsed, sha256), role: parsed.host.role };
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

function verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, data: Uint8Array): boolean {
  try {
    const x = toBase64Url(publicKey);
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    return verify(null, data, key, signature);
  } catch {
    return false;
  }
}

/** Removes a socket file that a crash left behind; refuses one that somebody answers on, and anything that is no socket. */
async function prepare(path: string, log: (sentence: string) => void): Promise<void> {
  adviseOnFolder(path, log);
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new EngineSocketError(`cannot look at ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (info.isSocket !== true) {
    throw new EngineSocketError(
      `${path} exists and is no socket: choose another path for the engine socket, or remove that file`,
    );
  }
  let isTaken = true;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    // Only a refusal means that nobody listens; a full queue or a missing right says nothing of the kind.
    if (error instanceof Deno.errors.ConnectionRefused) isTaken = false;
    else if (error instanceof Deno.errors.NotFound) return;
  }
  if (isTaken) {
    throw new EngineSocketError(
      `${path} is taken: a living process listens on it. Stop that engine, or give this one another engine socket`,
    );
  }
  await Deno.remove(path);
}

function adviseOnFolder(path: string, log: (sentence: string) => void): void {
  const folder = path.replace(/\/[^/]*$/, "") || (path.startsWith("/") ? "/" : ".");
  let mode: number | null;
  try {
    mode = Deno.statSync(folder).mode;
  } catch {
    return; // listening will say what is wrong with the folder
  }
  if (mode !== null && (mode & 0o077) !== 0) {
    log(
      `The folder of the engine socket ${path} is open to other users of this machine (mode ${
        (mode & 0o777).toString(8)
      }): whoever reaches the socket is taken for the driver. Use a folder of mode 700.`,
    );
  }
}

/** An engine link with its socket. */
export class ListeningEngineLink extends EngineLink {
  readonly #listener: Deno.UnixListener;
  readonly #log: (sentence: string) => void;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #closingSinceMs: number | undefined;
  readonly #done: Promise<void>;
  #connection: Deno.UnixConn | undefined;
  #isWriting = false;
  #isListening = true;

  /** Made by {@linkcode listenForDriver}. */
  constructor(
    listener: Deno.UnixListener,
    log: (sentence: string) => void,
    options: EngineLinkOptions,
    flushIntervalMs: number | undefined,
  ) {
    super({ ...options, wake: () => this.#write() });
    this.#listener = listener;
    this.#log = log;
    this.#timers.push(setInterval(() => this.#tick(), TIMER_MS));
    if (flushIntervalMs !== undefined) {
      this.#timers.push(setInterval(() => this.#guard(() => this.flush()), flushIntervalMs));
    }
    this.#done = this.#accept();
  }

  /** Says goodbye to the driver, stops listening and removes the socket file. */
  override async close(reason?: string): Promise<void> {
    if (!this.#isListening) return;
    this.#isListening = false;
    this.#guard(() => void super.close(reason));
    for (const timer of this.#timers) clearInterval(timer);
    this.#listener.close();
    const cut = setTimeout(() => this.#closeConnection(), GOODBYE_MS);
    await this.#done;
    clearTimeout(cut);
  }

  /** Closes the link at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Takes drivers until the listener closes; resolves when the last connection is over too. */
  async #accept(): Promise<void> {
    const open = new Set<Promise<void>>();
    while (this.#isListening) {
      let connection: Deno.UnixConn;
      try {
        connection = await this.#listener.accept();
      } catch (error) {
        if (!this.#isListening) break;
        // Out of file descriptors, for one: the next attempt may succeed.
        this.#log(`The engine socket could not take a connection: ${(error as Error).message}`);
        await new Promise((resolve) => setTimeout(resolve, TIMER_MS));
        continue;
      }
      let isTaken = false;
      this.#guard(() => isTaken = this.handleConnected());
      const life = isTaken ? this.#serve(connection) : refuse(connection);
      open.add(life);
      life.finally(() => open.delete(life));
    }
    await Promise.all(open);
  }

  #tick(): void {
    this.#guard(() => this.handleTimer());
    // A driver that does not read does not read the goodbye either: its connection is cut.
    if (!this.wantsClose) this.#closingSinceMs = undefined;
    else {
      this.#closingSinceMs ??= performance.now();
      if (performance.now() - this.#closingSinceMs > GOODBYE_MS) this.#closeConnection();
    }
  }

  async #serve(connection: Deno.UnixConn): Promise<void> {
    this.#connection = connection;
    const chunk = new Uint8Array(READ_BYTES);
    try {
      for (;;) {
        const count = await connection.read(chunk);
        if (count === null) break;
        this.#guard(() => this.handleBytes(chunk.subarray(0, count)));
      }
    } catch {
      // Reset by the driver, or closed by `#write` after a goodbye: the connection is over either way.
    }
    this.#closeConnection();
    this.#guard(() => this.handleClosed());
  }

  /** Writes whatever waits; one write at a time, and nobody waits for it. */
  async #write(): Promise<void> {
    const connection = this.#connection;
    if (this.#isWriting || connection === undefined) return;
    this.#isWriting = true;
    try {
      for (;;) {
        const bytes = this.pollBytes();
        if (bytes === undefined) break;
        for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
        if (this.#connection !== connection) break;
        this.#guard(() => this.handleWritten());
      }
      if (this.wantsClose) this.#closeConnection();
    } catch {
      // The reading side sees the end of the connection.
    } finally {
      this.#isWriting = false;
    }
    if (this.#connection !== undefined && this.#connection !== connection) this.#write();
  }

  #closeConnection(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    try {
      connection?.close();
    } catch {
      // Closed already.
    }
  }

  /** A callback that throws is a mistake of game code; it must not end the link or leave its state half changed. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#log(
        `A callback of the engine link threw: ${error instanceof Error ? error.stack : error}`,
      );
    }
  }
}

async function refuse(connection: Deno.UnixConn): Promise<void> {
  try {
    await connection.write(EngineLink.refusalFrame());
  } catch {
    // It went away before it heard why.
  }
  connection.close();
}
