// The clog benchmark: a full room on bad, narrow links for ten minutes of virtual time. What waits on the way, how old what everyone sees
// gets, and whether memory stays as it is. All cores are real; sim_room.ts holds them.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { readClips } from "../examples/recorded.ts";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { readHeader } from "../protocol/datagram.ts";
import type { ToEngine } from "../protocol/engine_messages.ts";
import { Reader } from "../protocol/reader.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import type { Connection, ConnectionHandler, Stream } from "../transport/connection.ts";
import type { Direction, SimulatedPair } from "../transport/simulated.ts";
import { AvatarPlayer, drawPlaces } from "./avatar_player.ts";
import { heapAfterCollection, rounded, slopeOf } from "./cpu_meter.ts";
import { fanoutWorld, manifestText } from "./fanout_manifest.ts";
import { Latency } from "./latency.ts";
import { sha256, SimRoom } from "./sim_room.ts";

/** Users of the room. */
const USERS = 68;
/** Ticks of the server and poses of each avatar, a second. */
const CLOG_HZ = 20;
/** One way of every link, ms. */
const LATENCY_MS = 100;
const RTT_MS = 2 * LATENCY_MS;
/** A burst: how long it lasts on average, ms, what is lost in it, and what is lost all in all. */
const BURST_MS = 100;
const BURST_LOSS = 0.9;
const LOSS = 0.02;
/** Bytes that wait in front of a narrow link before it drops: what home routers hold. */
const QUEUE_BYTES = 262_144;
/** The handle under which each stand-in knows its own avatar. */
const OWN_HANDLE = 1;
/** Time from the last join until anything counts, ms. */
const WARM_UP_MS = 5_000;
/** Time between two looks at the heap, ms. */
const HEAP_MS = 5_000;

/** How the measurement is made. */
export interface ClogOptions {
  readonly users: number;
  /** Virtual time measured, s. */
  readonly seconds: number;
  /** Width of each client's link to it, bytes a second; half of it from it. */
  readonly linkBytesPerSecond: number;
  /** Decides places, clips, phases and losses. */
  readonly seed: number;
}

/** What was found; README.md of this folder explains each key. */
export interface ClogFigures {
  readonly name: "clog";
  readonly backlog_rtt_max: number;
  readonly backlog_rtt_p99: number;
  readonly heap_slope_kB_per_min: number;
  readonly max_staleness_ms: number;
  readonly staleness_p99_ms: number;
  readonly updates_per_pair: number;
  readonly kBps_down: number;
  readonly lost_share: number;
}

/** Options of the command line. */
export const CLOG_OPTIONS: readonly OptionSpec[] = [
  { name: "users", kind: "integer", value: "N", help: "users", preset: USERS, min: 2, max: 500 },
  {
    name: "seconds",
    kind: "integer",
    value: "S",
    help: "virtual time measured",
    preset: 600,
    min: 10,
    max: 36_000,
  },
  {
    name: "link",
    kind: "integer",
    value: "KB",
    help: "width of a client's link, kB/s",
    preset: 32,
    min: 1,
    max: 1_000_000,
  },
  {
    name: "seed",
    kind: "integer",
    value: "S",
    help: "decides what moves and what is lost",
    preset: 1,
  },
];

/** Measures, and prints the figures as the last line. */
export function runClog(options: Options, print: (line: string) => void): Promise<void> {
  const order: ClogOptions = {
    users: options.integer("users"),
    seconds: options.integer("seconds"),
    linkBytesPerSecond: options.integer("link") * 1_000,
    seed: options.integer("seed"),
  };
  print(
    `${order.users} users for ${order.seconds} s of virtual time, ${RTT_MS} ms there and back, ` +
      `${100 * LOSS} % lost in bursts, ${order.linkBytesPerSecond / 1000} kB/s to each`,
  );
  print(JSON.stringify(measureClog(order, print)));
  return Promise.resolve();
}

/** The room's grants: the avatars of `fanout`, at this benchmark's rate. */
function clogGrants(users: number): Grants {
  const world = { ...fanoutWorld(users), tickHz: CLOG_HZ };
  return compileGrants(
    parseManifest(manifestText(world, users, { role: "server" }), "clog"),
    sha256,
  );
}

/** Measures. */
export function measureClog(options: ClogOptions, log: (line: string) => void): ClogFigures {
  const { users, seconds, seed, linkBytesPerSecond } = options;
  const backlog = new Backlog();
  const room: SimRoom = new SimRoom({
    grants: clogGrants(users),
    clients: users,
    seed,
    conditions: {
      down: { ...LINK, bandwidthBytesPerSecond: linkBytesPerSecond },
      up: { ...LINK, bandwidthBytesPerSecond: linkBytesPerSecond / 2 },
    },
    wrap: (connection, end, client) =>
      backlog.wrap(connection, end, client, () => room.network.now),
  });
  const people = playPeople(room, seed);
  room.start();
  room.until("everyone is there", () => people.every(({ peer }) => peer > 0), 60_000);
  for (const link of room.links) for (const way of ["up", "down"] as const) burst(room, link!, way);
  room.run(WARM_UP_MS);

  for (const person of people) person.clear();
  backlog.clear();
  const sentBefore = linkCounts(room);
  const heap: [minutes: number, kB: number][] = [];
  const end = room.network.now + seconds * 1000;
  while (room.network.now < end) {
    room.run(Math.min(HEAP_MS, end - room.network.now));
    heap.push([room.network.now / 60_000, heapAfterCollection() / 1000]);
  }
  for (const person of people) person.settle();

  const sent = linkCounts(room);
  const packets = sent.packets - sentBefore.packets;
  const stale = new Worst();
  for (const { staleness } of people) stale.take(staleness);
  const figures: ClogFigures = {
    name: "clog",
    backlog_rtt_max: rounded(backlog.waits.maxMs / RTT_MS, 2),
    backlog_rtt_p99: rounded(backlog.waits.p99Ms / RTT_MS, 2),
    // The beginning belongs to tables that grow to the size they need.
    heap_slope_kB_per_min: rounded(slopeOf(heap.slice(heap.length >> 2)), 1),
    max_staleness_ms: Math.round(stale.maxMs),
    staleness_p99_ms: Math.round(stale.p99Ms),
    updates_per_pair: rounded(
      people.reduce((sum, { updates }) => sum + updates, 0) / seconds / (users * (users - 1)),
      2,
    ),
    kBps_down: rounded((sent.downBytes - sentBefore.downBytes) / seconds / users / 1000, 2),
    lost_share: rounded((sent.lost - sentBefore.lost) / packets, 4),
  };
  log(
    `  waiting for the link: at most ${figures.backlog_rtt_max} round trips, p99 ${figures.backlog_rtt_p99}; ` +
      `${sent.overflowed - sentBefore.overflowed} packets found its queue full`,
  );
  log(
    `  what is seen is at most ${figures.max_staleness_ms} ms old, p99 ${figures.staleness_p99_ms} ms; ` +
      `${figures.updates_per_pair} updates a second and pair, ${figures.kBps_down} kB/s to a client`,
  );
  log(
    `  heap ${heap[0]![1].toFixed(0)} kB at the beginning, ${
      heap.at(-1)![1].toFixed(0)
    } kB at the end`,
  );
  return figures;
}

const LINK = { latencyMs: LATENCY_MS, queueBytes: QUEUE_BYTES } as const;

/** Lets a link's direction lose packets in bursts, for ever. */
function burst(room: SimRoom, link: SimulatedPair, way: Direction): void {
  const { network } = room;
  const prng = room.prng.fork();
  const between = BURST_MS * (BURST_LOSS / LOSS - 1);
  const after = (mean: number) => network.now - mean * Math.log(1 - prng.nextFloat());
  const calm = () => {
    link.change({ lossRate: 0 }, way);
    network.at(after(between), () => {
      link.change({ lossRate: BURST_LOSS }, way);
      network.at(after(BURST_MS), calm);
    });
  };
  calm();
}

/** What all links carried and lost. */
function linkCounts(room: SimRoom) {
  const counts = { packets: 0, lost: 0, overflowed: 0, downBytes: 0 };
  for (const link of room.links) {
    for (const way of ["up", "down"] as const) {
      const { sent, lost, overflowed, sentBytes } = link!.counters(way);
      counts.packets += sent;
      counts.lost += lost;
      counts.overflowed += overflowed;
      if (way === "down") counts.downBytes += sentBytes;
    }
  }
  return counts;
}

/** Everyone's avatar, played from a recorded clip, each by its own clock. */
function playPeople(room: SimRoom, seed: number): Person[] {
  const clips = readClips();
  const prng = room.prng.fork();
  const places = drawPlaces(room.clients.length, prng);
  const stamps = new Stamps();
  const avatar = room.grants.components[0]!;
  return room.clients.map((client, i) => {
    const clip = clips[(prng.nextBelow(clips.length) + seed) % clips.length]!;
    const frame = prng.nextBelow(2 * (clip.frameCount - 1));
    const player = new AvatarPlayer(clip, places[i]!, frame, CLOG_HZ, avatar);
    const phaseMs = prng.nextFloat() * 1000 / CLOG_HZ;
    const person = new Person(room, stamps);
    client.onMessage = (message) => {
      person.handle(message);
      if (message.kind !== "joined") return;
      const play = (isFirst: boolean): void => {
        player.play();
        const own = Uint32Array.of(OWN_HANDLE);
        const none = new Uint32Array(0);
        const owner = isFirst ? Uint32Array.of(person.peer) : none;
        const spawn = isFirst ? own : none;
        person.hand(
          client.hand(avatar.id, avatar.allFields, own, player.row.slice(), spawn, owner),
        );
        room.network.at(room.network.now + 1000 / CLOG_HZ, () => play(false));
      };
      room.network.at(room.network.now + phaseMs, () => play(true));
    };
    return person;
  });
}

/** Delays of which the greatest and the 99th percentile are asked for. It takes the same memory however many it counts. */
class Worst {
  maxMs = 0;
  readonly #counts = new Latency();

  clear(): void {
    this.maxMs = 0;
    this.#counts.clear();
  }

  add(ms: number): void {
    this.maxMs = Math.max(this.maxMs, ms);
    // Of delays beyond its range the histogram knows no more than that: a fifth of each fits.
    this.#counts.add(ms / 5);
  }

  take(other: Worst): void {
    this.maxMs = Math.max(this.maxMs, other.maxMs);
    this.#counts.addPairs(other.#counts.toPairs());
  }

  get p99Ms(): number {
    return this.#counts.percentile(0.99) * 5;
  }
}

/** When, on the room's clock, the sample times of each peer's poses were. */
class Stamps {
  readonly #offsetMs = new Map<number, number>();

  note(peer: number, time: TimelineTime, handedMs: number): void {
    this.#offsetMs.set(peer, handedMs - msOf(time));
  }

  /** Clocks of peers are not quite one: the offset is that of the peer's newest pose. */
  at(peer: number, time: TimelineTime): number {
    return msOf(time) + (this.#offsetMs.get(peer) ?? 0);
  }
}

function msOf(time: TimelineTime): number {
  return time * 1000 / (SUBTICKS * CLOG_HZ);
}

/** What one user sees, and how old it gets. */
class Person {
  peer = 0;
  updates = 0;
  /** Ages that what it saw of one avatar had reached when something newer came: of each second and avatar the greatest. */
  readonly staleness = new Worst();
  readonly #room: SimRoom;
  readonly #stamps: Stamps;
  readonly #ownerOf = new Map<number, number>();
  readonly #newest = new Map<number, TimelineTime>();
  readonly #handedMs = new Map<number, number>();
  readonly #worst = new Map<number, number>();
  #windowMs = 0;

  constructor(room: SimRoom, stamps: Stamps) {
    this.#room = room;
    this.#stamps = stamps;
  }

  /** Begins to count anew. */
  clear(): void {
    this.updates = 0;
    this.staleness.clear();
    this.#worst.clear();
    this.#windowMs = this.#room.network.now;
  }

  /** Batch `id` was handed over just now. */
  hand(id: number): void {
    this.#handedMs.set(id, this.#room.network.now);
  }

  /** What never came again counts with the age that it has. */
  settle(): void {
    for (const owner of this.#newest.keys()) this.#age(owner);
    this.#closeWindow();
  }

  handle(message: ToEngine): void {
    switch (message.kind) {
      case "joined":
        this.peer = message.peer;
        break;
      case "stamped": {
        const handedMs = this.#handedMs.get(message.id);
        this.#handedMs.delete(message.id);
        if (handedMs !== undefined) this.#stamps.note(this.peer, message.time, handedMs);
        break;
      }
      case "left":
        throw new Error(`a user lost its connection: ${message.reason}`);
      case "batch":
        for (let i = 0; i < message.spawns.length; i++) {
          this.#ownerOf.set(message.spawns[i]!, message.spawnOwners[i]!);
        }
        for (const rows of message.components) {
          for (let i = 0; i < rows.handles.length; i++) {
            this.#see(this.#ownerOf.get(rows.handles[i]!), rows.times[i]!);
          }
        }
        break;
    }
  }

  #see(owner: number | undefined, time: TimelineTime): void {
    if (owner === undefined || owner === this.peer) return;
    this.updates += 1;
    if (this.#newest.has(owner)) this.#age(owner);
    this.#newest.set(owner, time);
    if (this.#room.network.now - this.#windowMs >= 1000) this.#closeWindow();
  }

  #age(owner: number): void {
    const ageMs = this.#room.network.now - this.#stamps.at(owner, this.#newest.get(owner)!);
    this.#worst.set(owner, Math.max(ageMs, this.#worst.get(owner) ?? 0));
  }

  #closeWindow(): void {
    this.#windowMs = this.#room.network.now;
    for (const ms of this.#worst.values()) this.staleness.add(ms);
    this.#worst.clear();
  }
}

/** How long datagrams wait in front of their links: the time they take beyond that on the wire. */
class Backlog {
  /** Of each second and direction of a link the longest wait. */
  readonly waits = new Worst();
  readonly #sentMs = new Map<string, Float64Array>();

  clear(): void {
    this.waits.clear();
  }

  /** Stands between a core and its connection. */
  wrap(
    connection: Connection,
    end: "server" | "client",
    client: number,
    now: () => number,
  ): Connection {
    const [out, back] = end === "server" ? ["down", "up"] : ["up", "down"];
    const sent = this.#times(`${out}${client}`);
    const received = this.#times(`${back}${client}`);
    let [worstMs, windowMs] = [0, 0];
    return new WatchedConnection(
      connection,
      (bytes) => sent[sequenceOf(bytes)] = now(),
      (bytes) => {
        worstMs = Math.max(worstMs, now() - received[sequenceOf(bytes)]! - LATENCY_MS);
        if (now() - windowMs < 1000) return;
        this.waits.add(worstMs);
        [worstMs, windowMs] = [0, now()];
      },
    );
  }

  #times(name: string): Float64Array {
    let times = this.#sentMs.get(name);
    if (times === undefined) this.#sentMs.set(name, times = new Float64Array(0x10000));
    return times;
  }
}

function sequenceOf(bytes: Uint8Array): number {
  return readHeader(new Reader(bytes))!.sequence;
}

/** A connection that says when datagrams go and come. */
class WatchedConnection implements Connection {
  readonly channelBinding: Uint8Array;
  readonly label: string;
  readonly #connection: Connection;
  readonly #onSent: (bytes: Uint8Array) => void;
  readonly #onReceived: (bytes: Uint8Array) => void;

  constructor(
    connection: Connection,
    onSent: (bytes: Uint8Array) => void,
    onReceived: (bytes: Uint8Array) => void,
  ) {
    this.#connection = connection;
    this.#onSent = onSent;
    this.#onReceived = onReceived;
    this.channelBinding = connection.channelBinding;
    this.label = connection.label;
  }

  get maxDatagramSize(): number {
    return this.#connection.maxDatagramSize;
  }

  start(handler: ConnectionHandler): void {
    this.#connection.start({
      handleDatagram: (bytes) => {
        this.#onReceived(bytes);
        handler.handleDatagram(bytes);
      },
      handleStream: (stream) => handler.handleStream(stream),
      handleClosed: (info) => handler.handleClosed(info),
    });
  }

  sendDatagram(bytes: Uint8Array): boolean {
    this.#onSent(bytes);
    return this.#connection.sendDatagram(bytes);
  }

  openStream(): Stream {
    return this.#connection.openStream();
  }

  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }
}
