// One client of a load: session, link, sender and receiver of a real client on a real connection, without an engine. It decodes all that comes
// and keeps its slots as a driver does, but hands nothing on: an engine's copy of the world costs the server nothing, and many clients
// share a machine with it. One that only acknowledges does all that but decode the state. What it writes and looks for is its owner's
// business; when it is called, that of `load_timer.ts`.

import { openClientLink } from "../driver/client_link.ts";
import { ClientSession } from "../driver/client_session.ts";
import { ClientState } from "../driver/client_state.ts";
import { verifyEd25519 } from "../driver/ed25519.ts";
import { SendSlots } from "../driver/send_slots.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import type { Grants } from "../permissions/grants.ts";
import type { AcceptedMessage } from "../protocol/control_messages.ts";
import { CONNECT_TIMEOUT_MS } from "../protocol/limits.ts";
import type { Prng } from "../protocol/prng.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { DecodedSnapshot, SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { World } from "../replication/world.ts";
import { connectQuic } from "../transport/quic.ts";
import { LossyConnection } from "./lossy_connection.ts";

const NO_BYTES = new Uint8Array(0);

/** What happens to a client, at once and in order. */
export interface WireEvents {
  /** It is part of the world, at `nowMs`. */
  joined(message: AcceptedMessage, nowMs: number): void;
  /** State was decoded and is held; `snapshot` is good until the next. */
  decoded(snapshot: DecodedSnapshot): void;
  /** It was part of the world and is not any more, or cannot become part of it. */
  lost(reason: string): void;
  /** It has something to do at once: call `run`. */
  wake(): void;
}

/** What a client needs. */
export interface WireClientOptions {
  readonly grants: Grants;
  /** The server, `host:port`. */
  readonly endpoint: string;
  /** Pin of its certificate. */
  readonly pin: string;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** Share of datagrams lost in either direction, and what draws them; none if not given. */
  readonly loss?: { readonly share: number; readonly prng: Prng };
  /** It takes all state as decoded, and looks at none of it: the server cannot tell. */
  readonly acknowledgesOnly?: boolean;
  readonly events: WireEvents;
}

/** See the head of the file. Order of calls: `start`; then `run` no later than `dueMs` and after each `wake`; then `close`. */
export class WireClient {
  /** When `run` wants to be called next, ms on the clock of `performance.now`. */
  dueMs = Infinity;
  /** What it owns and sends. */
  world: World;
  readonly #options: WireClientOptions;
  readonly #state: ClientState;
  readonly #session: ClientSession;
  readonly #slots: SendSlots;
  #hasNews = false;
  #wasIn = false;
  #isOver = false;

  /** A client that has not started. */
  constructor(options: WireClientOptions) {
    const { grants, sha256, events } = options;
    this.#options = options;
    this.#state = new ClientState(grants, {
      now: () => performance.now(),
      randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
      unixMs: Date.now,
      sha256,
      verifyEd25519,
      wake: () => events.wake(),
    }, {
      readValue: () => 0,
      valueTime: () => 0,
      ownerOf: () => 0,
      epochOf: () => 0,
      zoneOf: () => 0,
    });
    this.#slots = new SendSlots(grants.tickHz);
    this.world = new World(grants);
    this.#session = new ClientSession(this.#state, {
      accepted: (message, connection, control, joinMs) => {
        const state = this.#state;
        const { nowMs } = state;
        state.peer = message.peer;
        state.clock.handleJoin(message.time, nowMs, joinMs);
        this.#slots.reset();
        this.world = new World(grants);
        state.joined = openClientLink(state, this.world, message, { connection, control, joinMs });
        if (options.acknowledgesOnly === true) decodeNothing(state.joined.receiver);
        this.#wasIn = true;
        events.joined(message, nowMs);
        return true;
      },
      control: (message) => {
        if (message.kind === "spawnRefused") this.#lose("the spawn was refused");
      },
      datagram: (bytes) => this.#handleDatagram(bytes),
      stream: () => {},
      left: () => this.#state.joined = undefined,
    });
  }

  /** Its peer id, once it has joined. */
  get peer(): number {
    return this.#state.peer;
  }

  /** What it holds of the world, while it is part of it. */
  get receiver(): SnapshotReceiver | undefined {
    return this.#state.joined?.receiver;
  }

  /** Tick as which state written now is sent. */
  get tick(): number {
    return this.#slots.last + 1;
  }

  /** The timeline's time. */
  timeAt(nowMs: number): TimelineTime {
    return this.#state.timeAt(nowMs);
  }

  /** The link's counter of this name. */
  counter(name: string): number {
    return this.#state.counters.get(name);
  }

  /** Connects and joins. */
  start(): void {
    const { endpoint, pin } = this.#options;
    const order = { url: `quic://${endpoint}`, pin, credential: NO_BYTES };
    this.#session.begin(order, NO_BYTES, performance.now());
    this.run(performance.now());
  }

  /** Says goodbye. */
  close(): void {
    this.#isOver = true;
    this.dueMs = Infinity;
    this.#session.close();
  }

  /** Does what is due. */
  run(nowMs: number): void {
    if (this.#isOver) return;
    const { joined } = this.#state;
    if (joined === undefined) {
      this.#session.handleTimer(nowMs);
      if (this.#session.pollConnect(nowMs) !== undefined) this.#connect();
    } else {
      this.#sendIfDue(nowMs, false);
      const { link } = joined;
      if (link.dueMs <= nowMs) link.sendSlot(this.#state.timeAt(nowMs), nowMs, false);
    }
    this.#readReports();
    this.#plan(nowMs);
  }

  /** Something was written to `world`; it goes in the slot for which it is time. */
  handleWritten(nowMs: number): void {
    this.#hasNews = true;
    this.#sendIfDue(nowMs, true);
    this.#plan(nowMs);
  }

  #plan(nowMs: number): void {
    const { joined, clock } = this.#state;
    if (this.#isOver) this.dueMs = Infinity;
    else if (joined === undefined) this.dueMs = this.#session.nextTimerMs(nowMs);
    else {
      const next = this.#slots.next(clock.timeAt(nowMs), joined.link.rttMs, this.#hasNews);
      const slotMs = nowMs + Math.max(0, clock.msUntil(next, nowMs));
      this.dueMs = Math.min(joined.link.dueMs, slotMs);
    }
  }

  /** What a real client would tell its engine; only that it is out of the world, or cannot come into it, matters here. */
  #readReports(): void {
    for (;;) {
      const report = this.#state.outbox.poll(0, true);
      if (report === undefined) return;
      // A busy server asks those who are not in yet to come again.
      if (report.kind === "left" && (this.#wasIn || report.final)) this.#lose(report.reason);
    }
  }

  #lose(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.events.lost(reason);
  }

  /** As a client's core does: one slot with state a tick. */
  #sendIfDue(nowMs: number, isFresh: boolean): void {
    const { link } = this.#state.joined!;
    const time = this.#state.timeAt(nowMs);
    const news = this.#hasNews ? (isFresh ? "fresh" : "waiting") : "none";
    const slot = this.#slots.take(time, link.rttMs, news);
    if (slot < 0) return;
    this.#hasNews = false;
    link.sendSlot(this.#slots.headerTime(slot, time), nowMs, true);
    this.world.expire(slot);
  }

  #handleDatagram(bytes: Uint8Array): void {
    const state = this.#state;
    const { link } = state.joined!;
    const { nowMs } = state;
    const received = link.handleDatagram(bytes, nowMs, state.timeAt(nowMs));
    if (received === undefined) return;
    if (received.rttMs !== undefined) {
      state.clock.handleEcho(received.time, nowMs, received.rttMs);
    }
    if (received.snapshot !== undefined) this.#options.events.decoded(received.snapshot);
    if (link.dueMs <= nowMs) this.#options.events.wake();
  }

  async #connect(): Promise<void> {
    const { endpoint, pin, loss } = this.#options;
    const { host, port } = parseEndpoint(endpoint)!;
    try {
      const connection = await connectQuic({ host, port, pin, timeoutMs: CONNECT_TIMEOUT_MS });
      if (this.#isOver) return connection.close(0, "not wanted any more");
      this.#session.handleConnection(
        loss === undefined ? connection : new LossyConnection(connection, loss.share, loss.prng),
        performance.now(),
      );
    } catch (error) {
      if (!this.#isOver) this.#session.handleConnectFailed(String(error), performance.now());
    }
    this.#options.events.wake();
  }
}

/** From now on every section of state counts as received in order, unread. */
function decodeNothing(receiver: SnapshotReceiver): void {
  const nothing: DecodedSnapshot = { count: 0, entries: [], tick: 0, pieces: [], vectors: 0 };
  receiver.decode = (_reader, tick) => {
    nothing.tick = tick;
    return nothing;
  };
  receiver.commit = () => {};
}
