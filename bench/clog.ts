// The clog benchmark: a full room on bad, narrow links for ten minutes of virtual time. What waits on the way, how old what everyone sees
// gets, and whether memory stays as it is. All cores are real; sim_room.ts holds them.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import type { Direction, SimulatedPair } from "../transport/simulated.ts";
import { Backlog } from "./backlog.ts";
import { boundOf, type BoundParts, ClogBound } from "./clog_bound.ts";
import { CLOG_HZ, playPeople } from "./clog_people.ts";
import { heapAfterCollection, rounded, slopeOf } from "./cpu_meter.ts";
import { fanoutWorld, manifestText } from "./fanout_manifest.ts";
import { sha256, SimRoom } from "./sim_room.ts";
import { Worst } from "./worst.ts";

/** Users of the room. */
const USERS = 68;
/** One way of every link, ms. */
const LATENCY_MS = 100;
const RTT_MS = 2 * LATENCY_MS;
/** A burst: how long it lasts on average, ms, what is lost in it, and what is lost all in all. */
const BURST_MS = 100;
const BURST_LOSS = 0.9;
const LOSS = 0.02;
/** Bytes that wait in front of a narrow link before it drops: what home routers hold. */
const QUEUE_BYTES = 262_144;
/** Time from the last join until anything counts, ms. */
const WARM_UP_MS = 5_000;
/** Ticks after which what was lost goes again, where as much waits in front of the links as may: a round trip's worth. */
const RESEND_TICKS = Math.ceil(1.25 * 2 * RTT_MS * CLOG_HZ / 1000) + 1;
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
  /** Infinite where nothing is proven. */
  readonly staleness_bound_ms: number;
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
  const backlog = new Backlog(LATENCY_MS);
  const bound = new ClogBound(users, RESEND_TICKS);
  const room: SimRoom = new SimRoom({
    grants: clogGrants(users),
    clients: users,
    seed,
    conditions: {
      down: { ...LINK, bandwidthBytesPerSecond: linkBytesPerSecond },
      up: { ...LINK, bandwidthBytesPerSecond: linkBytesPerSecond / 2 },
    },
    wrap: (connection, end, client) =>
      bound.wrap(
        room,
        backlog.wrap(connection, end, client, () => room.network.now),
        end,
        client,
      ),
  });
  const people = playPeople(room, seed);
  bound.meet(people);
  room.start();
  room.until("everyone is there", () => people.every(({ peer }) => peer > 0), 60_000);
  for (const link of room.links) for (const way of ["up", "down"] as const) burst(room, link!, way);
  room.run(WARM_UP_MS);

  for (const person of people) person.clear();
  bound.begin(room);
  backlog.clear();
  const sentBefore = linkCounts(room);
  const heap: [minutes: number, kB: number][] = [];
  const end = room.network.now + seconds * 1000;
  while (room.network.now < end) {
    room.run(Math.min(HEAP_MS, end - room.network.now));
    heap.push([room.network.now / 60_000, heapAfterCollection() / 1000]);
  }
  const parts = bound.settle();
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
    staleness_bound_ms: Math.ceil(boundOf(parts, RESEND_TICKS)),
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
    `  what is seen is at most ${figures.max_staleness_ms} ms old (by the proof ${figures.staleness_bound_ms} ms), ` +
      `p99 ${figures.staleness_p99_ms} ms; ` +
      `${figures.updates_per_pair} updates a second and pair, ${figures.kBps_down} kB/s to a client`,
  );
  log(`  the proof: ${proofLine(parts)}`);
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

/** What the bound was made from, as a line. */
function proofLine(parts: BoundParts): string {
  const ms = (value: number) => `${Math.ceil(value)} ms`;
  const turns = Number.isFinite(parts.perWindow)
    ? `at least ${parts.perWindow} go in turn in any ${parts.windowTicks}`
    : `nothing waits in each of ${parts.windowTicks} in a row`;
  const lost = Number.isNaN(parts.lossMs)
    ? "nothing lost"
    : `${parts.lostInRow} of one avatar lost in a row, ${ms(parts.lossMs)} from first to last`;
  return `${ms(parts.upMs)} up, silent for ${ms(parts.silenceMs)}; ` +
    `${parts.waitTicks} ticks in line, as ${turns}; ${lost}; ${ms(parts.downMs)} down; ` +
    `${parts.unkept} arrivals without effect`;
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
