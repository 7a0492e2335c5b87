// A client of the join benchmark: a real driver core on a real QUIC connection, with a stand-in for its engine that only looks at what
// comes. It tells when the world is whole, and how old what moves is.

import { ClientCore } from "../driver/client_core.ts";
import { verifyEd25519 } from "../driver/ed25519.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import type { Grants } from "../permissions/grants.ts";
import type { ComponentRows, ToEngine } from "../protocol/engine_messages.ts";
import { CONNECT_TIMEOUT_MS, ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import { connectQuic } from "../transport/quic.ts";
import { digestOf, FLIGHT_M, flightAgeMs, wallMs } from "./join_world.ts";

/** A moving entity may be so old, ms, when the world counts as exact. */
const FRESH_MS = 100;
/** A timer that is early by less than this, ms, is not set anew. */
const TIMER_SLACK_MS = 0.5;
const NO_BYTES = new Uint8Array(0);

/** How one join went; times on `wallMs`, null for what has not come. */
export interface JoinRecord {
  startedMs: number;
  /** The driver told its engine that it joined. */
  joinedMs: number | null;
  /** All resting entities are there, and each moving one is fresh. */
  exactMs: number | null;
  /** Digest of the resting entities' hashes, as this client's driver gives them. */
  digest: string;
}

/** What a client needs. */
export interface JoinClientOptions {
  readonly grants: Grants;
  /** The server, `host:port`. */
  readonly endpoint: string;
  readonly pin: string;
  readonly entities: number;
  readonly moving: number;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** A value of a moving entity came, so old. */
  readonly onUpdate: (ageMs: number) => void;
  /** The world is exact, and its digest known. */
  readonly onExact: () => void;
  /** The connection failed or ended. */
  readonly onLost: (reason: string) => void;
}

/** See the head of the file. Order of calls: `start`, then `close`. */
export class JoinClient {
  readonly record: JoinRecord = { startedMs: 0, joinedMs: null, exactMs: null, digest: "" };
  readonly #options: JoinClientOptions;
  readonly #core: ClientCore;
  readonly #resting = new Set<number>();
  /** Carried moments of the moving entities by handle. */
  readonly #flights = new Map<number, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #isWoken = false;
  #isEnded = false;

  constructor(options: JoinClientOptions) {
    this.#options = options;
    this.#core = new ClientCore({
      grants: options.grants,
      environment: {
        now: () => performance.now(),
        randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
        unixMs: Date.now,
        sha256: options.sha256,
        verifyEd25519,
        wake: () => this.#wake(),
      },
      endpoints: [options.endpoint],
      pin: options.pin,
    });
  }

  /** Connects and joins. */
  start(): void {
    const { grants, endpoint, pin } = this.#options;
    this.record.startedMs = wallMs();
    this.#core.hello({ certificateHash: "", listen: "", boot: 1 });
    this.#core.handleEngine({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: grants.schemaHash,
      connect: { url: `quic://${endpoint}`, pin, credential: NO_BYTES },
      resume: NO_BYTES,
      nonces: NO_BYTES,
      entities: new Uint32Array(0),
    }, performance.now());
    this.#pump();
  }

  /** Says goodbye. */
  close(): void {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    this.#core.close("the benchmark is over", performance.now());
  }

  #wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    queueMicrotask(() => {
      this.#isWoken = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#isEnded) return;
    const nowMs = performance.now();
    for (;;) {
      const message = this.#core.pollEngine(nowMs);
      if (message === undefined) break;
      this.#handle(message, nowMs);
    }
    const order = this.#core.pollConnect(nowMs);
    if (order !== undefined) this.#connect(order.pin);
    if (this.#core.exit !== undefined) {
      this.#options.onLost(this.#core.exit.reason);
      return this.close();
    }
    const at = this.#core.nextTimerMs;
    if (at >= this.#timerAt - TIMER_SLACK_MS) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      if (this.#isEnded) return;
      this.#core.handleTimer(performance.now());
      this.#pump();
    }, Math.max(0, Math.ceil(at - nowMs)));
  }

  #handle(message: ToEngine, nowMs: number): void {
    switch (message.kind) {
      case "joined":
        this.record.joinedMs = wallMs();
        break;
      case "left":
        this.#options.onLost(message.reason);
        break;
      case "ping":
        this.#core.handleEngine({ kind: "pong", time: message.time }, nowMs);
        break;
      case "batch":
        for (const rows of message.components) this.#look(rows);
        this.#judge(nowMs);
        break;
      case "stateHash": {
        const hashes: number[] = [];
        for (let i = 0; i + 1 < message.pairs.length; i += 2) {
          if (this.#resting.has(message.pairs[i]!)) hashes.push(message.pairs[i + 1]!);
        }
        this.record.digest = digestOf(hashes);
        this.#options.onExact();
        break;
      }
    }
  }

  /** Takes note of what came: which entities rest, and the moments that the others carry. */
  #look({ handles, rows }: ComponentRows): void {
    const { rowBytes } = this.#options.grants.components[0]!;
    const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
    const nowMs = wallMs();
    for (let i = 0; i < handles.length; i++) {
      const handle = handles[i]!;
      const isKnownFlight = this.#flights.has(handle);
      if (!isKnownFlight && view.getFloat32(i * rowBytes + 4, true) < FLIGHT_M) {
        this.#resting.add(handle);
        continue;
      }
      const x = view.getFloat32(i * rowBytes, true);
      this.#flights.set(handle, x);
      this.#options.onUpdate(flightAgeMs(x, nowMs));
    }
  }

  #judge(nowMs: number): void {
    const { entities, moving } = this.#options;
    if (this.record.exactMs !== null || this.#flights.size < moving) return;
    if (this.#resting.size < entities - moving) return;
    const exactMs = wallMs();
    for (const x of this.#flights.values()) if (flightAgeMs(x, exactMs) > FRESH_MS) return;
    this.record.exactMs = exactMs;
    this.#core.handleEngine({ kind: "stateHash", request: 1 }, nowMs);
    this.#wake();
  }

  async #connect(pin: string): Promise<void> {
    const { host, port } = parseEndpoint(this.#options.endpoint)!;
    try {
      const connection = await connectQuic({ host, port, pin, timeoutMs: CONNECT_TIMEOUT_MS });
      if (this.#isEnded) connection.close(0, "not wanted any more");
      else this.#core.handleConnection(connection, performance.now());
    } catch (error) {
      if (!this.#isEnded) this.#core.handleConnectFailed(String(error), performance.now());
    }
    this.#pump();
  }
}
