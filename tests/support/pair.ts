// A whole world in one process on virtual time: a server and any number of clients, each a real core with a real engine SDK beside it,
// joined by seeded bad links. Nothing in it is a stand-in but the clock, the sockets and the randomness.

import { createHash } from "node:crypto";
import { EngineLink } from "../../engine/engine_link.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import type { ConnectOrder } from "../../protocol/engine_messages.ts";
import { Prng } from "../../protocol/prng.ts";
import type { Grants } from "../../permissions/grants.ts";
import {
  type PairConditions,
  SimulatedNetwork,
  type SimulatedPair,
} from "../../transport/simulated.ts";
import type { Connection } from "../../transport/connection.ts";
import type { CoreEnvironment, DriverCore } from "../../driver/core.ts";
import { ClientCore } from "../../driver/client_core.ts";
import { EngineSocket } from "../../driver/engine_socket.ts";
import type { LogOptions } from "../../driver/log_ring.ts";
import { ServerCore } from "../../driver/server_core.ts";
import { isSignedBy } from "./join_keys.ts";
import { TappedConnection } from "./tapped_connection.ts";

const ENDPOINT = "sim.test:1";

/** SHA-256, as the cores want it. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** One engine with its driver's core. */
export class PairNode<C extends DriverCore = DriverCore> {
  readonly world = new ReferenceWorld();
  readonly engine: EngineLink;
  /** Everything the engine and the driver said to each other, when recording. */
  readonly engineBytes: Uint8Array[] = [];
  readonly #make: () => C;
  #core: C;
  #socket = new EngineSocket();
  readonly #pair: Pair;
  #timerAt = Infinity;
  #pumping = false;
  #again = false;
  #isBeating = false;
  /** The driver's process is gone. */
  dead = false;
  /** The engine does not read its socket. */
  deaf = false;
  /** The engine writes nothing to its socket. */
  mute = false;
  #boot = 0;

  constructor(
    pair: Pair,
    grants: Grants,
    role: "server" | "client",
    make: (environment: CoreEnvironment) => C,
  ) {
    this.#pair = pair;
    const prng = pair.prng.fork();
    this.#make = () =>
      make({
        now: () => pair.network.now,
        randomBytes: (length) => {
          const bytes = new Uint8Array(length);
          prng.fill(bytes);
          return bytes;
        },
        sha256,
        unixMs: () => pair.unixStartMs + pair.network.now,
        verifyEd25519: (publicKey, signature, data, done) => {
          const isGood = isSignedBy(publicKey, signature, data);
          // The answer comes later, as the runtime's does.
          pair.network.at(pair.network.now + pair.verifyMs, () => done(isGood));
        },
        wake: () => this.wake(),
      });
    this.#core = this.#make();
    this.engine = new EngineLink({
      grants,
      role,
      world: this.world,
      now: () => pair.network.now,
      identityTools: {
        sha256,
        unixMs: () => pair.unixStartMs + pair.network.now,
        verifyEd25519: isSignedBy,
      },
      wake: () => this.wake(),
    });
  }

  /** The core of the driver that lives now. */
  get core(): C {
    return this.#core;
  }

  /** Bytes that the driver holds for the engine. */
  get backlogBytes(): number {
    return this.#socket.backlogBytes;
  }

  /** Begins the engine link. */
  start(): void {
    this.engine.handleConnected();
    this.#boot += 1;
    this.#socket.push(this.core.hello({ certificateHash: "", listen: "", boot: this.#boot }));
    this.wake();
    if (this.#isBeating) return;
    this.#isBeating = true;
    const beat = () => {
      this.engine.handleTimer();
      this.wake();
      this.#pair.network.at(this.#pair.network.now + 100, beat);
    };
    beat();
  }

  /** The driver's process ends without a word: its engine sees the socket close, its peers see nothing until their time-out. */
  killDriver(): void {
    this.dead = true;
    this.#pair.silence(this as unknown as PairNode<never>);
    this.engine.handleClosed();
  }

  /** Starts another driver process beside the same engine. */
  startDriver(): void {
    this.dead = false;
    this.#timerAt = Infinity;
    this.#socket = new EngineSocket();
    this.#core = this.#make();
    this.start();
  }

  /** The driver crashes and the next one starts `downMs` later. */
  restartDriver(downMs = 0): void {
    this.killDriver();
    this.#pair.network.at(this.#pair.network.now + downMs, () => this.startDriver());
  }

  /** Pumps soon, once for all that happens at this moment. */
  wake(): void {
    if (this.#again) return;
    this.#again = true;
    this.#pair.network.at(this.#pair.network.now, () => {
      this.#again = false;
      this.pump();
    });
  }

  /** Carries bytes both ways between engine and core, connects where ordered, and arms the timer. */
  pump(): void {
    if (this.#pumping || this.dead) return;
    this.#pumping = true;
    const { network } = this.#pair;
    for (let i = 0; i < 1000; i++) {
      let moved = false;
      this.core.handleEngineWritable(!this.deaf || this.#socket.isWritable);
      for (;;) {
        const message = this.core.pollEngine(network.now);
        if (message === undefined) break;
        this.#socket.push(message);
        this.core.handleEngineWritable(this.#socket.isWritable);
      }
      const toEngine = this.deaf ? undefined : this.#socket.pollBytes();
      if (toEngine !== undefined) {
        moved = true;
        this.#socket.handleWritten();
        if (this.#pair.recording) this.engineBytes.push(toEngine.slice());
        this.#pair.tap?.engineBytes(this as unknown as PairNode, "toEngine", toEngine.slice());
        this.engine.handleBytes(toEngine);
      }
      const toDriver = this.mute ? undefined : this.engine.pollBytes();
      if (toDriver !== undefined) {
        moved = true;
        if (this.#pair.recording) this.engineBytes.push(toDriver.slice());
        this.#pair.tap?.engineBytes(this as unknown as PairNode, "toDriver", toDriver.slice());
        this.#socket.handleBytes(toDriver);
        this.engine.handleWritten();
      }
      for (;;) {
        const message = this.#socket.pollMessage();
        if (message === undefined) break;
        moved = true;
        this.core.handleEngine(message, network.now);
        if (message.kind === "welcome" && this.core instanceof ServerCore) {
          this.core.handleListening(ENDPOINT, network.now);
        }
      }
      if (!moved) break;
    }
    this.#pumping = false;
    const order = this.core.pollConnect(network.now);
    if (order !== undefined) this.#pair.connect(this as unknown as PairNode<ClientCore>);
    const at = this.core.nextTimerMs;
    if (at < this.#timerAt && at !== Infinity) {
      this.#timerAt = at;
      const { core } = this;
      network.at(Math.max(at, network.now + 0.01), () => {
        if (this.core !== core) return;
        this.#timerAt = Infinity;
        if (this.dead) return;
        this.core.handleTimer(network.now);
        this.pump();
      });
    }
  }
}

/** How a pair is made. */
export interface PairOptions {
  readonly grants: Grants;
  readonly seed: number;
  readonly clients: number;
  readonly conditions?: PairConditions;
  /** What all hosts keep of their logs. */
  readonly log?: LogOptions;
  /** Tables of single clients, where a host differs. */
  readonly clientGrants?: (index: number) => Grants;
}

/** Someone who listens at every connection and engine socket of a pair. */
export interface PairTap {
  /** A client and the server are about to get the ends of a connection; what comes back is what they get. */
  connection(client: PairNode, connector: Connection, acceptor: Connection): {
    readonly connector: Connection;
    readonly acceptor: Connection;
  };
  /** Bytes on a node's engine socket, in any chunking. */
  engineBytes(node: PairNode, way: "toEngine" | "toDriver", bytes: Uint8Array): void;
}

/** A server, its clients and the network between them. */
export class Pair {
  readonly network: SimulatedNetwork;
  readonly prng: Prng;
  readonly server: PairNode<ServerCore>;
  readonly clients: PairNode<ClientCore>[] = [];
  /** The present link of each client. */
  readonly links = new Map<PairNode<ClientCore>, SimulatedPair>();
  readonly #down = new Map<PairNode<ClientCore>, TappedConnection>();
  readonly #log: { readonly log?: LogOptions };
  /** Keep every byte of the engine sockets and of the network. */
  recording = false;
  /** Datagrams and stream bytes as their senders gave them to the transport, when recording. */
  readonly wire: { readonly up: Uint8Array[]; readonly down: Uint8Array[] } = { up: [], down: [] };
  /** Hears everything that passes, when set. */
  tap: PairTap | undefined;
  /** The wall clock at the start of virtual time, ms since 1970. */
  unixStartMs = 1_800_000_000_000;
  /** Time that checking a signature takes, ms. */
  verifyMs = 0.2;
  /** SHA-256 of the certificate that clients check and the server has; empty for none. */
  binding: Uint8Array = new Uint8Array(0);
  /** Datagrams of this direction get lost, streams go on. */
  muted: "up" | "down" | undefined;
  /** No connection can be made while it is true. */
  unreachable = false;
  readonly grants: Grants;
  conditions: PairConditions;

  constructor(options: PairOptions) {
    this.prng = new Prng(options.seed);
    this.#log = options.log === undefined ? {} : { log: options.log };
    this.network = new SimulatedNetwork(this.prng.fork());
    this.grants = options.grants;
    this.conditions = options.conditions ?? { latencyMs: 20 };
    this.server = new PairNode(
      this,
      options.grants,
      "server",
      (environment) =>
        new ServerCore({ grants: options.grants, environment, loopback: false, ...this.#log }),
    );
    for (let i = 0; i < options.clients; i++) {
      this.addClient(options.clientGrants?.(i) ?? options.grants);
    }
  }

  /** One more client; start it when it shall join. */
  addClient(grants: Grants = this.grants): PairNode<ClientCore> {
    const client = new PairNode(
      this,
      grants,
      "client",
      (environment) =>
        new ClientCore({
          grants,
          environment,
          endpoints: [ENDPOINT],
          pin: "00".repeat(32),
          ...this.#log,
        }),
    );
    this.clients.push(client);
    return client;
  }

  /** Starts everyone. */
  start(): this {
    this.server.start();
    for (const client of this.clients) client.start();
    return this;
  }

  /** Called by a client that was ordered to connect. */
  connect(client: PairNode<ClientCore>): void {
    const { network } = this;
    if (this.unreachable || this.server.dead) {
      network.at(network.now + 50, () => {
        client.core.handleConnectFailed("unreachable", network.now);
        client.pump();
      });
      return;
    }
    const pair = network.connect(this.conditions);
    this.links.set(client, pair);
    const { core } = client;
    const { connector, acceptor } =
      this.tap?.connection(client as unknown as PairNode, pair.connector, pair.acceptor) ?? pair;
    const down = this.#tapped(acceptor, "down");
    this.#down.set(client, down);
    network.at(network.now + 1, () => {
      if (this.server.dead) pair.kill("acceptor");
      else this.server.core.handleConnection(down, network.now);
      if (client.core !== core || client.dead) pair.kill("connector");
      else client.core.handleConnection(this.#tapped(connector, "up"), network.now);
      this.server.pump();
      client.pump();
    });
  }

  #tapped(connection: Connection, direction: "up" | "down"): TappedConnection {
    return new TappedConnection(
      connection,
      (bytes) => {
        if (this.recording) this.wire[direction].push(bytes.slice());
      },
      this.binding,
      () => this.muted === direction,
    );
  }

  /** Puts bytes into the control stream towards a client, as a server that breaks the rules would. */
  injectDown(client: PairNode<ClientCore>, bytes: Uint8Array): void {
    this.#down.get(client)!.firstStream!.write(bytes);
  }

  /** Ends all connections of a driver that died, at its end only. */
  silence(node: PairNode<never>): void {
    for (const [client, link] of this.links) {
      if ((node as unknown) === this.server) link.kill("acceptor");
      else if (client === (node as unknown)) link.kill("connector");
    }
  }

  /** Lets virtual time pass. */
  run(ms: number): void {
    this.network.advanceTo(this.network.now + ms);
  }

  /** Lets time pass until `condition` holds; fails with the seed's time when it does not within `limitMs`. */
  until(what: string, condition: () => boolean, limitMs = 10_000): void {
    const end = this.network.now + limitMs;
    while (!condition()) {
      if (this.network.now >= end) throw new Error(`not within ${limitMs} ms: ${what}`);
      this.run(5);
    }
  }

  /** Runs `tick` with a period on every engine's behalf, for `ms`. */
  play(ms: number, periodMs: number, tick: (index: number) => void): void {
    const end = this.network.now + ms;
    for (let index = 0; this.network.now < end; index++) {
      tick(index);
      this.run(periodMs);
    }
  }

  /** Waits until all clients are in. */
  joinAll(limitMs = 10_000): this {
    this.until(
      "all clients joined",
      () => this.clients.every((client) => client.core.isJoined),
      limitMs,
    );
    this.run(200);
    return this;
  }
}

/** The order that a test's engine gives its driver. */
export const PAIR_ORDER: ConnectOrder = {
  url: `quic://${ENDPOINT}`,
  pin: "",
  credential: new Uint8Array(0),
};
