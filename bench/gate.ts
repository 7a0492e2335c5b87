// The gate benchmark: what a decision costs, what a mask test on the per-viewer path costs, and which share of encoding a busy scene
// (gate_scene.ts) goes into them. One process, no network.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { Gate } from "../permissions/gate.ts";
import { Prng } from "../protocol/prng.ts";
import { ENTITIES, GateScene, type MaskTests, VIEWERS, VISIBLE } from "./gate_scene.ts";

/** How one measurement is made. */
export interface GateOptions {
  /** Runs of each measurement; the median counts. */
  readonly runs: number;
  /** Ticks of the scene in each run. */
  readonly ticks: number;
  /** Decisions, and mask tests, of each run. */
  readonly decisions: number;
  /** Seed of scene and questions. */
  readonly seed: number;
}

/** What was found; README.md of this folder explains each key. */
export interface GateFigures {
  readonly name: "gate";
  readonly gate_ns: number;
  readonly gate_hot_ns: number;
  readonly share_of_encode: number;
  readonly encode_ms: number;
  readonly gate_ms: number;
  readonly mask_tests: number;
  readonly visible_pairs: number;
  readonly kB_per_tick: number;
  readonly allowed_share: number;
  readonly bytes_per_decision: number;
}

/** Options of the command line. */
export const GATE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "runs",
    kind: "integer",
    value: "N",
    help: "runs of each measurement; the median counts",
    preset: 7,
    min: 1,
    max: 99,
  },
  {
    name: "ticks",
    kind: "integer",
    value: "N",
    help: "ticks of the scene in each run",
    preset: 30,
    min: 1,
    max: 10_000,
  },
  {
    name: "decisions",
    kind: "integer",
    value: "N",
    help: "decisions, and mask tests, of each run",
    preset: 4_000_000,
    min: 10_000,
    max: 1_000_000_000,
  },
  {
    name: "seed",
    kind: "integer",
    value: "S",
    help: "decides scene and questions",
    preset: 1,
  },
];

/** Questions in a round: more than a branch predictor learns by heart, and all of them in the first cache. */
const QUESTIONS = 4_096;
/** Questions asked to see what asking allocates: little enough that no collection falls between. */
const ALLOCATION_ROUNDS = 10;

/** Measures, and prints the figures as the last line. */
export function runGate(options: Options, print: (line: string) => void): Promise<void> {
  const figures = measureGate({
    runs: options.integer("runs"),
    ticks: options.integer("ticks"),
    decisions: options.integer("decisions"),
    seed: options.integer("seed"),
  });
  print(`${ENTITIES} entities, ${VIEWERS} viewers with ${VISIBLE} in view, 8 roles`);
  print(
    `a decision ${figures.gate_ns} ns, a mask test ${figures.gate_hot_ns} ns, ` +
      `${figures.mask_tests} tests a tick are ${(figures.share_of_encode * 100).toFixed(1)} % of ` +
      `${figures.encode_ms} ms of encoding`,
  );
  print("Times are this machine's; the share, the counts and the bytes hold on any.");
  print(JSON.stringify(figures));
  return Promise.resolve();
}

/** Measures everything. */
export function measureGate(options: GateOptions): GateFigures {
  const { runs, seed } = options;
  const scene = new GateScene(seed);
  const gate = new Gate(scene.grants);
  const asker = new Asker(gate, new Prng(seed));
  const hot = hotTests(gate, new Prng(seed + 1));
  const tests = scene.maskTests();

  const encode = measureEncode(scene, options);
  const rounds = Math.ceil(options.decisions / QUESTIONS);
  const decisionNs = median(runs, () => timeNs(() => asker.ask(rounds)) / (rounds * QUESTIONS));
  const hotNs = median(
    runs,
    () => timeNs(() => testMasks(gate, hot, rounds)) / (rounds * QUESTIONS),
  );
  const gateRounds = Math.max(1, Math.ceil(options.decisions / tests.count));
  const gateNs = median(runs, () => timeNs(() => testMasks(gate, tests, gateRounds)) / gateRounds);
  return {
    name: "gate",
    gate_ns: rounded(decisionNs, 1),
    gate_hot_ns: rounded(hotNs, 2),
    share_of_encode: rounded(gateNs / encode.nsPerTick, 4),
    encode_ms: rounded(encode.nsPerTick / 1e6, 2),
    gate_ms: rounded(gateNs / 1e6, 3),
    mask_tests: tests.count,
    visible_pairs: scene.visiblePairs,
    kB_per_tick: rounded(encode.bytesPerTick / 1000, 1),
    allowed_share: rounded(asker.allowedShare, 3),
    bytes_per_decision: rounded(asker.bytesPerDecision(), 1),
  };
}

function measureEncode(
  scene: GateScene,
  { runs, ticks }: GateOptions,
): { readonly nsPerTick: number; readonly bytesPerTick: number } {
  let bytes = 0;
  const nsPerTick = median(runs, () => {
    let sum = 0;
    const before = scene.sentBytes;
    for (let tick = 0; tick < ticks; tick++) {
      scene.change();
      sum += timeNs(() => scene.encode());
      scene.acknowledge();
    }
    bytes = (scene.sentBytes - before) / ticks;
    return sum / ticks;
  });
  return { nsPerTick, bytesPerTick: bytes };
}

/** Tests each mask `rounds` times; the sum keeps the compiler from leaving the tests out. */
function testMasks(gate: Gate, tests: MaskTests, rounds: number): number {
  const { component, role, isOwner, count } = tests;
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < count; i++) {
      if (gate.readMask(component[i]!, role[i]!, isOwner[i] === 1) !== 0) sum += 1;
    }
  }
  return sum;
}

/** Mask tests in random order. */
function hotTests(gate: Gate, prng: Prng): MaskTests {
  const { components, roles } = gate.grants;
  return {
    count: QUESTIONS,
    component: Int32Array.from({ length: QUESTIONS }, () => prng.nextBelow(components.length)),
    role: Int32Array.from({ length: QUESTIONS }, () => prng.nextBelow(roles.length)),
    isOwner: Uint8Array.from({ length: QUESTIONS }, () => prng.nextBelow(2)),
  };
}

/** Asks for whole decisions, reason included, as the doors do: a question of its own each time. */
class Asker {
  readonly #gate: Gate;
  readonly #kind: Uint8Array;
  readonly #index: Int32Array;
  readonly #part: Int32Array;
  readonly #role: Int32Array;
  readonly #bits: Uint8Array;
  #allowed = 0;
  #asked = 0;

  constructor(gate: Gate, prng: Prng) {
    this.#gate = gate;
    const { components, roles } = gate.grants;
    const drawn = (n: number) => Int32Array.from({ length: QUESTIONS }, () => prng.nextBelow(n));
    this.#index = drawn(components.length);
    // The server's own role passes everywhere and would make the answers look cheaper.
    this.#role = drawn(roles.length - 1).map((role) => role + 1);
    this.#bits = Uint8Array.from(drawn(4));
    // Reads and writes as often as state is more than events, messages and voice.
    this.#kind = Uint8Array.from(drawn(10), (kind) => kind < 4 ? 0 : kind < 7 ? 1 : kind - 5);
    this.#part = drawn(256).map((part, i) => part % components[this.#index[i]!]!.fields.length);
  }

  /** Share of the questions that were answered with yes. */
  get allowedShare(): number {
    return this.#allowed / this.#asked;
  }

  /** Asks every question `rounds` times. */
  ask(rounds: number): void {
    let allowed = 0;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < QUESTIONS; i++) if (this.#decide(i)) allowed += 1;
    }
    this.#allowed += allowed;
    this.#asked += rounds * QUESTIONS;
  }

  #decide(i: number): boolean {
    const gate = this.#gate;
    const component = this.#index[i]!;
    const part = this.#part[i]!;
    const roleIndex = this.#role[i]!;
    const isOwner = (this.#bits[i]! & 1) === 1;
    const isOut = (this.#bits[i]! & 2) === 2;
    switch (this.#kind[i]) {
      case 0:
        return gate.decideRead({ component, field: part, roleIndex, isOwner }).allowed;
      case 1: {
        const direction = isOut ? "out" : "in";
        return gate.decideWrite({ component, mask: 1 << part, roleIndex, isOwner, direction })
          .allowed;
      }
      case 2:
        return gate.decideEvent({
          event: 0,
          roleIndex,
          direction: "in",
          op: isOut ? "receive" : "send",
        }).allowed;
      case 3:
        return gate.decideChannel({
          channel: 0,
          roleIndex,
          direction: "in",
          op: isOut ? "receive" : "send",
          bytes: part,
        }).allowed;
      default:
        return gate.decideVoice({
          roleIndex,
          direction: "in",
          op: isOut ? "hear" : "speak",
          bytes: 80,
        }).allowed;
    }
  }

  /** Bytes of garbage that a decision leaves, the caller's question included. */
  bytesPerDecision(): number {
    let least = Infinity;
    for (let batch = 0; batch < 20; batch++) {
      const before = Deno.memoryUsage().heapUsed;
      this.ask(ALLOCATION_ROUNDS);
      const grown = Deno.memoryUsage().heapUsed - before;
      // A collection in between makes it negative, and says nothing.
      if (grown >= 0) least = Math.min(least, grown);
    }
    return least / (ALLOCATION_ROUNDS * QUESTIONS);
  }
}

/** The median of `runs` results of `measure`, after one that only warms up. */
function median(runs: number, measure: () => number): number {
  measure();
  const results = Array.from({ length: runs }, measure).sort((a, b) => a - b);
  const middle = results.length >> 1;
  return results.length % 2 === 1
    ? results[middle]!
    : (results[middle - 1]! + results[middle]!) / 2;
}

function timeNs(work: () => unknown): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1e6;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
