// A server's core and many clients' cores on simulated links and virtual time, all of them real; their engines are stand-ins that hand over
// batches and hear what comes back, without sockets and frames between. What they hand over is the benchmark's business.

import { createHash } from "node:crypto";
import { ClientCore } from "../driver/client_core.ts";
import type { CoreEnvironment, DriverCore } from "../driver/core.ts";
import { ServerCore } from "../driver/server_core.ts";
import type { Grants } from "../permissions/grants.ts";
import type { ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import { Prng } from "../protocol/prng.ts";
import type { Connection } from "../transport/connection.ts";
import {
  type PairConditions,
  SimulatedNetwork,
  type SimulatedPair,
} from "../transport/simulated.ts";

const ENDPOINT = "room.test:1";
const NO_BYTES = new Uint8Array(0);
/** Nothing in a list of a batch. */
export const NOTHING = new Uint32Array(0);
/** Time from the moment when a client is ordered to connect until both ends are connected, ms. */
const CONNECT_MS = 1;
/** How far a timer is set ahead at least, ms: a core that wants to be called at once does not stop the clock. */
const LEAST_WAIT_MS = 0.01;

/** SHA-256, as the cores want it. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** Who may stand between a core and its end of a connection. */
export type Wrap = (connection: Connection, end: "server" | "client", client: number) => Connection;

/** A room to be made. */
export interface SimRoomOptions {
  readonly grants: Grants;
  readonly clients: number;
  readonly seed: number;
  readonly conditions: PairConditions;
  /** Stands between cores and connections, where given. */
  readonly wrap?: Wrap;
}

/** One core with its stand-in for an engine. */
export class SimNode<C extends DriverCore> {
  readonly core: C;
  /** Hears every message to the engine but heartbeats. */
  onMessage: (message: ToEngine) => void = () => {};
  /** Called when the core has done what was due at this moment. */
  onTimer: () => void = () => {};
  readonly #room: SimRoom;
  readonly #connect: () => void;
  #timerAt = Infinity;
  #isWoken = false;
  #batch = 0;

  /** A node that has not started. @param connect Called when the core wants a connection. */
  constructor(room: SimRoom, make: (environment: CoreEnvironment) => C, connect: () => void) {
    this.#room = room;
    this.#connect = connect;
    const random = room.prng.fork();
    this.core = make({
      now: () => room.network.now,
      randomBytes: (length) => {
        const bytes = new Uint8Array(length);
        random.fill(bytes);
        return bytes;
      },
      sha256,
      unixMs: () => 1_800_000_000_000 + room.network.now,
      verifyEd25519: (_key, _signature, _data, done) => done(false),
      wake: () => this.wake(),
    });
  }

  /** Greets the core. */
  start(): void {
    this.core.hello({ certificateHash: "", listen: "", boot: 1 });
    this.tell({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: this.#room.grants.schemaHash,
      connect: { url: `quic://${ENDPOINT}`, pin: "", credential: NO_BYTES },
      resume: NO_BYTES,
      nonces: NO_BYTES,
      entities: NOTHING,
    });
    if (this.core instanceof ServerCore) {
      this.core.handleListening(ENDPOINT, this.#room.network.now);
    }
  }

  /** Hands the core a message of its engine. */
  tell(message: ToDriver): void {
    this.core.handleEngine(message, this.#room.network.now);
    this.wake();
  }

  /** Hands over rows of one component, and first the entities that are new; returns the batch's number. */
  hand(
    componentId: number,
    mask: number,
    handles: Uint32Array,
    rows: Uint8Array,
    spawns: Uint32Array = NOTHING,
    spawnOwners: Uint32Array = NOTHING,
  ): number {
    const id = ++this.#batch;
    this.tell({
      kind: "batch",
      id,
      spawns,
      spawnOwners,
      components: [{
        componentId,
        handles,
        masks: new Uint32Array(handles.length).fill(mask),
        rows,
        times: new Float64Array(0),
      }],
      removes: NOTHING,
      despawns: NOTHING,
      zones: NOTHING,
    });
    return id;
  }

  /** Pumps soon, once for all that happens at this moment. */
  wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    const { network } = this.#room;
    network.at(network.now, () => {
      this.#isWoken = false;
      this.#pump();
    });
  }

  #pump(): void {
    const { network } = this.#room;
    for (;;) {
      const message = this.core.pollEngine(network.now);
      if (message === undefined) break;
      if (message.kind === "ping") {
        this.core.handleEngine({ kind: "pong", time: message.time }, network.now);
      } else {
        this.onMessage(message);
      }
    }
    if (this.core.pollConnect(network.now) !== undefined) this.#connect();
    const { exit } = this.core;
    if (exit !== undefined) throw new Error(`a core of the room ended: ${exit.reason}`);
    const at = Math.max(this.core.nextTimerMs, network.now + LEAST_WAIT_MS);
    if (at >= this.#timerAt || at === Infinity) return;
    this.#timerAt = at;
    network.at(at, () => {
      // A timer that was overtaken by an earlier one has nothing to do any more.
      if (this.#timerAt !== at) return;
      this.#timerAt = Infinity;
      this.core.handleTimer(network.now);
      this.onTimer();
      this.#pump();
    });
  }
}

/** See the head of the file. Order of calls: set the nodes' `onMessage`, then `start`, then `run`. */
export class SimRoom {
  readonly grants: Grants;
  readonly prng: Prng;
  readonly network: SimulatedNetwork;
  readonly server: SimNode<ServerCore>;
  readonly clients: SimNode<ClientCore>[] = [];
  /** The link of each client that has connected. */
  readonly links: (SimulatedPair | undefined)[] = [];
  readonly #options: SimRoomOptions;

  constructor(options: SimRoomOptions) {
    const { grants } = options;
    this.#options = options;
    this.grants = grants;
    this.prng = new Prng(options.seed);
    this.network = new SimulatedNetwork(this.prng.fork());
    this.server = new SimNode(
      this,
      (environment) => new ServerCore({ grants, environment, loopback: false }),
      () => {},
    );
    for (let i = 0; i < options.clients; i++) {
      this.clients.push(
        new SimNode(
          this,
          (environment) =>
            new ClientCore({ grants, environment, endpoints: [ENDPOINT], pin: "00".repeat(32) }),
          () => this.#connect(i),
        ),
      );
    }
  }

  /** Starts the server, and the clients one after the other, `gapMs` apart. */
  start(gapMs = 20): void {
    this.server.start();
    this.clients.forEach((client, i) => this.network.at(i * gapMs, () => client.start()));
  }

  /** Lets virtual time pass. */
  run(ms: number): void {
    this.network.advanceTo(this.network.now + ms);
  }

  /** Lets time pass until `condition` holds. @throws {Error} when it does not within `limitMs`. */
  until(what: string, condition: () => boolean, limitMs: number): void {
    const end = this.network.now + limitMs;
    while (!condition()) {
      if (this.network.now >= end) throw new Error(`not within ${limitMs} ms: ${what}`);
      this.run(10);
    }
  }

  #connect(i: number): void {
    const { network } = this;
    const link = network.connect(this.#options.conditions);
    this.links[i] = link;
    const wrap = this.#options.wrap ?? ((connection: Connection) => connection);
    network.at(network.now + CONNECT_MS, () => {
      this.server.core.handleConnection(wrap(link.acceptor, "server", i), network.now);
      this.clients[i]!.core.handleConnection(wrap(link.connector, "client", i), network.now);
      this.server.wake();
      this.clients[i]!.wake();
    });
  }
}
