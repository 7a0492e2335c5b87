// The views benchmark: what a server's tick costs when each of a hundred viewers sees a hundred of five hundred entities and all of them
// move, and what entities cost that nobody sees. The server core is the real one; crowd.ts is the world around it.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { colyseusViews } from "./colyseus_views.ts";
import { rounded } from "./cpu_meter.ts";
import { Crowd, CROWD_HZ } from "./crowd.ts";

/** Entities, viewers, and entities that each viewer sees. */
export const VIEWS = { entities: 500, viewers: 100, visible: 100 } as const;
/** Distance between neighbours, metres: on a ring where everyone stands, in rows where nobody looks. */
const STEP_M = 1.5;
/** Places in reach, by entities seen in the end. */
const WALK_MARGIN = 1.07;
/** Bytes of IPv4 and UDP around each packet, and of QUIC round one datagram, as `fanout` counts them. */
const PACKET_BYTES = 28 + 28;
/** Entities that nobody sees, in the smaller and the larger world whose costs are compared. */
const HIDDEN = [500, 5_000] as const;

/** How the measurement is made. */
export interface ViewsOptions {
  /** Ticks measured, after as many that only warm up. */
  readonly ticks: number;
  /** Decides the motion. */
  readonly seed: number;
}

/** What was found; README.md of this folder explains each key. */
export interface ViewsFigures {
  readonly name: "views";
  readonly bytes_per_client: number;
  readonly payload_per_client: number;
  readonly ms_per_tick: number;
  readonly ms_p99: number;
  readonly hidden_ratio: number;
  readonly ingest_ms: number;
  readonly acks_ms: number;
  readonly alloc_kB_per_tick: number;
  readonly visible_pairs: number;
  readonly rival_ms_per_tick: number;
  readonly rival_bytes_per_client: number;
}

/** Options of the command line. */
export const VIEWS_OPTIONS: readonly OptionSpec[] = [
  {
    name: "ticks",
    kind: "integer",
    value: "N",
    help: "ticks measured, after as many that warm up",
    preset: 200,
    min: 4,
    max: 100_000,
  },
  { name: "seed", kind: "integer", value: "S", help: "decides the motion", preset: 1 },
];

/** Measures, and prints the figures as the last line. */
export function runViews(options: Options, print: (line: string) => void): Promise<void> {
  const { entities, viewers, visible } = VIEWS;
  print(`${entities} entities, ${viewers} viewers that see ${visible}, ${CROWD_HZ} Hz, all moving`);
  const order = { ticks: options.integer("ticks"), seed: options.integer("seed") };
  const figures = measureViews(order, print);
  print("Times are processor times of this machine; bytes, pairs and the ratio hold on any.");
  print(JSON.stringify(figures));
  return Promise.resolve();
}

/** Places on a ring, on which everyone sees as many, and behind it rows of places that nobody sees. */
export function viewsPlaces(hidden: number): {
  readonly places: readonly (readonly [x: number, z: number])[];
  readonly radiusM: number;
} {
  const { entities, visible } = VIEWS;
  const step = 2 * Math.PI / entities;
  const ring = STEP_M / step;
  const places: [number, number][] = [];
  // Viewers own the first entities: every fifth place of the ring.
  for (let i = 0; i < entities; i++) {
    const turn = step * ((i * 5) % entities + Math.floor(i * 5 / entities));
    places.push([ring * Math.cos(turn), ring * Math.sin(turn)]);
  }
  const side = Math.ceil(Math.sqrt(hidden));
  const awayM = 8 * ring;
  for (let i = 0; i < hidden; i++) {
    places.push([awayM + STEP_M * (i % side), STEP_M * Math.floor(i / side)]);
  }
  // Half of those seen stand on either side; as they walk about, some more places must be in reach for as many to be seen.
  return { places, radiusM: 2 * ring * Math.sin(step * (WALK_MARGIN * visible / 2) / 2) };
}

/** Measures everything. */
export function measureViews(
  { ticks, seed }: ViewsOptions,
  log: (line: string) => void,
): ViewsFigures {
  const crowdOf = (hidden: number) =>
    new Crowd({ ...viewsPlaces(hidden), viewers: VIEWS.viewers, seed });
  const crowd = crowdOf(0);
  const { pairs } = run(crowd, ticks);
  const { tick, ingest, acks, viewers } = crowd;
  const perClient = (sum: (viewer: typeof viewers[number]) => number) =>
    viewers.reduce((total, viewer) => total + sum(viewer), 0) / viewers.length / ticks;
  const payload = perClient(({ sectionBytesIn }) => sectionBytesIn);
  const own = perClient(({ bytesIn }) => bytesIn) - payload;
  const packets = perClient(({ datagramsIn }) => datagramsIn) * PACKET_BYTES;
  log(
    `  a client and tick: ${payload.toFixed(0)} B of state, ${own.toFixed(0)} B of our headers, ` +
      `${packets.toFixed(0)} B of QUIC, UDP and IP; ${pairs} pairs`,
  );
  log(
    `  a tick: ${tick.meanMs.toFixed(2)} ms of a core (clock: ${
      (tick.wall.reduce((sum, ms) => sum + ms, 0) / ticks).toFixed(2)
    } ms), p99 ${tick.percentileMs(0.99).toFixed(2)} ms, ${
      (tick.allocatedBytes / 1000).toFixed(1)
    } kB allocated; ingest ${ingest.meanMs.toFixed(2)} ms, acknowledgements ${
      acks.meanMs.toFixed(2)
    } ms`,
  );
  const costs = hiddenCosts(HIDDEN.map(crowdOf), ticks);
  log(
    `  with ${HIDDEN.join(" and ")} entities that nobody sees: ${
      costs.map((ms) => ms.toFixed(2)).join(" and ")
    } ms a tick`,
  );
  const rival = colyseusViews(ticks, seed);
  log(
    `  @colyseus/schema: ${rival.msPerTick.toFixed(2)} ms a tick, ${
      rival.bytesPerClient.toFixed(0)
    } B a client, headers not counted`,
  );
  return {
    name: "views",
    bytes_per_client: rounded(payload + own + packets, 1),
    payload_per_client: rounded(payload, 1),
    ms_per_tick: rounded(tick.meanMs, 3),
    ms_p99: rounded(tick.percentileMs(0.99), 3),
    hidden_ratio: rounded(costs[1]! / costs[0]!, 3),
    ingest_ms: rounded(ingest.meanMs, 3),
    acks_ms: rounded(acks.meanMs, 3),
    alloc_kB_per_tick: rounded(tick.allocatedBytes / 1000, 1),
    visible_pairs: pairs,
    rival_ms_per_tick: rounded(rival.msPerTick, 3),
    rival_bytes_per_client: rounded(rival.bytesPerClient, 1),
  };
}

/** Warms up with viewers that read and are right, then measures with viewers that do not. */
function run(crowd: Crowd, ticks: number): { readonly pairs: number } {
  for (let i = 0; i < ticks / 2; i++) crowd.step();
  crowd.rest(10);
  const { pairs, wrong } = crowd.compare();
  if (wrong > 0) throw new Error(`${wrong} of ${pairs} values differ from the server's`);
  for (const viewer of crowd.viewers) viewer.stopReading();
  for (let i = 0; i < ticks / 2; i++) crowd.step();
  crowd.clear();
  for (let i = 0; i < ticks; i++) crowd.step();
  return { pairs };
}

/** Processor time of a tick of each crowd, ms, measured by turns, so that what else the machine does falls on all of them. */
function hiddenCosts(crowds: readonly Crowd[], ticks: number): number[] {
  for (const crowd of crowds) {
    for (const viewer of crowd.viewers) viewer.stopReading();
    for (let i = 0; i < ticks; i++) crowd.step();
    crowd.clear();
  }
  for (let i = 0; i < ticks; i++) for (const crowd of crowds) crowd.step();
  return crowds.map(({ tick }) => tick.meanMs);
}
