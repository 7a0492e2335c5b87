// The scale benchmark: how the cost of a server's tick grows with the entities of its world and with the pairs of viewer and entity in view,
// at one density of the crowd. The server core is the real one; crowd.ts is the world around it.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { CommandError, ExitCode } from "../driver/exit_codes.ts";
import { Prng } from "../protocol/prng.ts";
import { rounded, slopeOf } from "./cpu_meter.ts";
import { Crowd } from "./crowd.ts";

/** Entities that a viewer sees, about, and how far it sees, metres: the density follows. */
const VISIBLE = 100;
const RADIUS_M = 30;
/** Area for one entity, square metres. */
const AREA_M2 = Math.PI * RADIUS_M ** 2 / VISIBLE;
/** Viewers stand so far inside, metres: nobody sees over the edge of the crowd. */
const EDGE_M = RADIUS_M + 4;
/** Share of the measured ticks that only warm up before. */
const WARM_UP = 0.5;

/** How the measurement is made. */
export interface ScaleOptions {
  /** Sizes of the world, ascending, each with the same viewers. */
  readonly entities: readonly number[];
  /** Numbers of viewers, ascending, each in the same world. */
  readonly clients: readonly number[];
  /** Viewers while entities vary, and entities while viewers vary. */
  readonly fixedClients: number;
  readonly fixedEntities: number;
  /** Ticks of each measurement. */
  readonly ticks: number;
  /** Decides places and motion. */
  readonly seed: number;
}

/** What was found; README.md of this folder explains each key. */
export interface ScaleFigures {
  readonly name: "scale";
  readonly exponent_entities: number;
  readonly exponent_pairs: number;
  readonly ms_least_entities: number;
  readonly ms_most_entities: number;
  readonly us_per_pair: number;
}

/** Options of the command line. */
export const SCALE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "entities",
    kind: "text",
    value: "A,B,C",
    help: "sizes of the world; 1000,5000,10000,50000 if not given",
  },
  {
    name: "clients",
    kind: "text",
    value: "A,B,C",
    help: "numbers of viewers; 10,50,100,200,400 if not given",
  },
  {
    name: "ticks",
    kind: "integer",
    value: "N",
    help: "ticks of each measurement",
    preset: 60,
    min: 4,
    max: 100_000,
  },
  { name: "seed", kind: "integer", value: "S", help: "decides places and motion", preset: 1 },
];

/** Measures, and prints the figures as the last line. */
export function runScale(options: Options, print: (line: string) => void): Promise<void> {
  const entities = parseSizes("entities", options.text("entities") || "1000,5000,10000,50000");
  const clients = parseSizes("clients", options.text("clients") || "10,50,100,200,400");
  print(`about ${VISIBLE} of the crowd in view, all of it moving`);
  const figures = measureScale({
    entities,
    clients,
    fixedClients: clients[clients.length >> 1]!,
    fixedEntities: entities[entities.length >> 1]!,
    ticks: options.integer("ticks"),
    seed: options.integer("seed"),
  }, print);
  print(JSON.stringify(figures));
  return Promise.resolve();
}

/** Ascending sizes. @throws {CommandError} unless they are at least two whole numbers from 1 to 100,000. */
export function parseSizes(option: string, text: string): number[] {
  const sizes = text.split(",").map((word) => /^\d{1,6}$/.test(word.trim()) ? Number(word) : NaN);
  const distinct = [...new Set(sizes)].sort((a, b) => a - b);
  if (distinct.length < 2 || !sizes.every((size) => size >= 1 && size <= 100_000)) {
    throw new CommandError(
      ExitCode.Usage,
      `--${option} is "${text}", but must be at least two different whole numbers from 1 to 100000, such as 1000,10000.`,
    );
  }
  return distinct;
}

/** A square crowd, the viewers' entities first: those stand anywhere but near the edge. */
export function scalePlaces(
  entities: number,
  viewers: number,
  seed: number,
): (readonly [x: number, z: number])[] {
  const prng = new Prng(seed);
  const half = Math.sqrt(entities * AREA_M2) / 2;
  const inner = Math.max(1, half - EDGE_M);
  return Array.from({ length: entities }, (_, i) => {
    const reach = i < viewers ? inner : half;
    return [reach * (2 * prng.nextFloat() - 1), reach * (2 * prng.nextFloat() - 1)] as const;
  });
}

/** One measured size. */
interface Point {
  readonly entities: number;
  readonly clients: number;
  readonly pairs: number;
  readonly ms: number;
}

/** Measures everything. */
export function measureScale(options: ScaleOptions, log: (line: string) => void): ScaleFigures {
  const { fixedClients, fixedEntities } = options;
  const measure = (entities: number, clients: number) => {
    const point = measurePoint(entities, clients, options);
    log(
      `  ${entities} entities, ${clients} viewers, ${point.pairs} pairs: ${
        point.ms.toFixed(2)
      } ms a tick, ${(1000 * point.ms / point.pairs).toFixed(2)} us a pair`,
    );
    return point;
  };
  // What the compiler and the collector learn, they learn before anything counts.
  measurePoint(fixedEntities, fixedClients, options);
  const byEntities = options.entities.map((entities) => measure(entities, fixedClients));
  const byPairs = options.clients.map((clients) => measure(fixedEntities, clients));
  const [least, most] = [byEntities[0]!, byEntities.at(-1)!];
  const last = byPairs.at(-1)!;
  return {
    name: "scale",
    // Places are drawn, so pairs differ a little from size to size: cost by pair is compared.
    exponent_entities: rounded(
      slopeOf(
        byEntities.map(({ entities, ms, pairs }) => [Math.log(entities), Math.log(ms / pairs)]),
      ),
      3,
    ),
    exponent_pairs: rounded(
      slopeOf(byPairs.map(({ pairs, ms }) => [Math.log(pairs), Math.log(ms)])),
      3,
    ),
    ms_least_entities: rounded(least.ms, 3),
    ms_most_entities: rounded(most.ms, 3),
    us_per_pair: rounded(1000 * last.ms / last.pairs, 3),
  };
}

function measurePoint(
  entities: number,
  clients: number,
  { ticks, seed }: ScaleOptions,
): Point {
  const places = scalePlaces(entities, clients, seed);
  const crowd = new Crowd({ places, viewers: clients, radiusM: RADIUS_M, seed });
  for (const viewer of crowd.viewers) viewer.stopReading();
  for (let i = 0; i < ticks * WARM_UP; i++) crowd.step();
  crowd.clear();
  for (let i = 0; i < ticks; i++) crowd.step();
  return { entities, clients, pairs: crowd.pairsWithin(RADIUS_M), ms: crowd.tick.meanMs };
}
