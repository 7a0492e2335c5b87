// One client of the load: a real driver core on a real QUIC connection, with a stand-in for its engine in the same process that hands
// over one avatar's poses and looks at what comes back. Many of them share a process, so each has one timer and no engine socket.

import { ClientCore } from "../driver/client_core.ts";
import { verifyEd25519 } from "../driver/ed25519.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import type { ToEngine } from "../protocol/engine_messages.ts";
import { CONNECT_TIMEOUT_MS, ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { connectQuic } from "../transport/quic.ts";
import type { AvatarPlayer } from "./avatar_player.ts";

/** The handle under which a stand-in knows its own avatar. */
const OWN_HANDLE = 1;
/** A timer that is early by less than this, ms, is not set anew. */
const TIMER_SLACK_MS = 0.5;
const NOTHING = new Uint32Array(0);

/** What a load client reports, at once and in order. */
export interface LoadEvents {
  /** A pose was handed to the driver at `handedMs` and got this sample time. */
  sent(peer: number, time: TimelineTime, handedMs: number): void;
  /** The driver handed over another peer's pose. */
  received(owner: number, time: TimelineTime, nowMs: number): void;
  /** The connection failed or ended. */
  lost(reason: string): void;
}

/** What a load client needs. */
export interface LoadClientOptions {
  readonly grants: Grants;
  /** The server, `host:port`. */
  readonly endpoint: string;
  /** Pin of its certificate. */
  readonly pin: string;
  readonly player: AvatarPlayer;
  /** Time between two poses, ms. */
  readonly periodMs: number;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  readonly events: LoadEvents;
}

/** See the head of the file. Order of calls: `start`, then `close`. */
export class LoadClient {
  readonly #options: LoadClientOptions;
  readonly #core: ClientCore;
  readonly #ownerOf = new Map<number, number>();
  readonly #handedMs = new Map<number, number>();
  #peer = -1;
  #batchId = 0;
  #sampleMs = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #isWoken = false;
  #isEnded = false;

  /** A client that has not started. */
  constructor(options: LoadClientOptions) {
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

  /** Avatars of others that it sees. */
  get visible(): number {
    return this.#ownerOf.size;
  }

  /** The driver's counter of this name. */
  counter(name: string): number {
    return this.#core.counters.get(name);
  }

  /** Greets the driver and joins; the first pose is due at `firstPoseMs` on the clock of `performance.now`. */
  start(firstPoseMs: number): void {
    const { grants, endpoint, pin } = this.#options;
    this.#sampleMs = firstPoseMs;
    this.#core.hello({ certificateHash: "", listen: "", boot: 1 });
    this.#core.handleEngine({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: grants.schemaHash,
      connect: { url: `quic://${endpoint}`, pin, credential: new Uint8Array(0) },
      resume: new Uint8Array(0),
      nonces: new Uint8Array(0),
      entities: NOTHING,
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
      this.#options.events.lost(this.#core.exit.reason);
      this.close();
      return;
    }
    this.#arm(nowMs);
  }

  #arm(nowMs: number): void {
    const at = Math.min(this.#core.nextTimerMs, this.#peer < 0 ? Infinity : this.#sampleMs);
    if (at >= this.#timerAt - TIMER_SLACK_MS) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#fire(), Math.max(0, Math.ceil(at - nowMs)));
  }

  #fire(): void {
    this.#timerAt = Infinity;
    if (this.#isEnded) return;
    const nowMs = performance.now();
    if (this.#peer >= 0 && nowMs >= this.#sampleMs) {
      this.#play(nowMs);
      // A process that was held up goes on in step; it does not make up for poses that are past.
      const { periodMs } = this.#options;
      this.#sampleMs += periodMs * Math.max(1, Math.ceil((nowMs - this.#sampleMs) / periodMs));
    }
    this.#core.handleTimer(nowMs);
    this.#pump();
  }

  /** Hands the next pose over, with the spawn where it is the first. */
  #play(nowMs: number): void {
    const { player, grants } = this.#options;
    player.play();
    const isFirst = this.#batchId === 0;
    const id = ++this.#batchId;
    const avatar = grants.components[0]!;
    this.#handedMs.set(id, nowMs);
    this.#core.handleEngine({
      kind: "batch",
      id,
      spawns: isFirst ? Uint32Array.of(OWN_HANDLE) : NOTHING,
      spawnOwners: isFirst ? Uint32Array.of(this.#peer) : NOTHING,
      components: [{
        componentId: avatar.id,
        handles: Uint32Array.of(OWN_HANDLE),
        masks: Uint32Array.of(avatar.allFields),
        rows: player.row,
        times: new Float64Array(0),
      }],
      removes: NOTHING,
      despawns: NOTHING,
    }, nowMs);
  }

  #handle(message: ToEngine, nowMs: number): void {
    switch (message.kind) {
      case "joined":
        this.#peer = message.peer;
        break;
      case "left":
        this.#options.events.lost(message.reason);
        break;
      case "spawnRefused":
        this.#options.events.lost(`the spawn was refused: ${message.rule}`);
        break;
      case "ping":
        this.#core.handleEngine({ kind: "pong", time: message.time }, nowMs);
        break;
      case "stamped": {
        const handedMs = this.#handedMs.get(message.id);
        this.#handedMs.delete(message.id);
        if (handedMs !== undefined) {
          this.#options.events.sent(this.#peer, message.time, handedMs);
        }
        break;
      }
      case "batch":
        for (let i = 0; i < message.spawns.length; i++) {
          const owner = message.spawnOwners[i]!;
          if (owner !== this.#peer) this.#ownerOf.set(message.spawns[i]!, owner);
        }
        for (const rows of message.components) {
          for (let i = 0; i < rows.handles.length; i++) {
            const owner = this.#ownerOf.get(rows.handles[i]!);
            if (owner !== undefined) this.#options.events.received(owner, rows.times[i]!, nowMs);
          }
        }
        break;
    }
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
