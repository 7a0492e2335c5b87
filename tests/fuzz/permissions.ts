// The two parts of the permission fuzz as whole runs: random worlds under a judge until enough operations were done, and twins over a range
// of seeds. It counts and words results; what is right is decided elsewhere.

import { PERMISSION_FAULTS, type PlantedFault } from "./faults.ts";
import type { Finding, FindingKind } from "./judge.ts";
import { PLANTED_LEAKS, type PlantedLeak } from "./leaks.ts";
import { compareTwins, type TwinResult } from "./non_interference.ts";
import {
  type OperationCounts,
  OPERATIONS,
  PermissionRun,
  type RunOptions,
} from "./permission_run.ts";

/** What one world showed. */
export interface WorldResult {
  readonly seed: number;
  readonly operations: number;
  readonly counts: OperationCounts;
  /** Findings of each kind. */
  readonly totals: Record<FindingKind, number>;
  /** The first findings, in words. */
  readonly findings: readonly Finding[];
  /** What the judge looked at; see `Judge.seen`. */
  readonly seen: Judged;
}

/** How much a judge looked at. */
export interface Judged {
  readonly canaries: number;
  readonly fields: number;
  readonly privateFields: number;
  readonly changes: number;
}

/** Operations of one world; so many that rights change often, and so few that there are many worlds. */
export const OPERATIONS_PER_WORLD = 10_000;

/** Runs the world of a seed for about `operations` operations. */
export function runWorld(seed: number, operations: number, options: RunOptions = {}): WorldResult {
  const run = new PermissionRun(seed, options);
  try {
    const done = run.run(operations);
    const { totals, findings, seen } = run.judge;
    return { seed, operations: done, counts: run.counts, totals, findings, seen };
  } finally {
    run.end();
  }
}

/** Plants a fault into the worlds of seeds from `seed` on; the first whose judge finds it, undefined when none of `worlds` does. */
export function seedThatCatches(
  fault: PlantedFault,
  seed: number,
  worlds: number,
  operations: number,
): number | undefined {
  const takeOut = fault.plant?.() ?? (() => {});
  try {
    for (let i = 0; i < worlds; i++) {
      const { findings } = runWorld(seed + i, operations, { miscompile: fault.miscompile });
      if (
        findings.some(({ kind, text }) => kind === fault.finds && text.includes(fault.says ?? ""))
      ) {
        return seed + i;
      }
    }
    return undefined;
  } finally {
    takeOut();
  }
}

/** Plants a leak into the twins of seeds from `seed` on; the first pair that differs, undefined when none of `pairs` does. */
export function pairThatCatches(
  leak: PlantedLeak,
  seed: number,
  pairs: number,
  steps: number,
): number | undefined {
  for (let i = 0; i < pairs; i++) {
    if (compareTwins(seed + i, steps, leak.plant).difference !== undefined) return seed + i;
  }
  return undefined;
}

/** What a whole run showed; the figures of the last line that it prints. */
export interface FuzzSummary {
  readonly ops: number;
  readonly leaks: number;
  readonly unauthorised: number;
  /** Values still held long after the right to them was gone. */
  readonly retained: number;
  readonly worlds: number;
  readonly seeds: number;
  readonly differing: number;
  /** Planted faults and leaks that were caught. */
  readonly planted_caught: number;
  readonly planted: number;
  readonly ops_per_second: number;
  readonly seconds: number;
  /** Operations by kind. */
  readonly kinds: OperationCounts;
  readonly judged: Judged;
}

/** A whole run: what to do, and where its progress goes. */
export interface FuzzPlan {
  readonly operations: number;
  readonly seeds: number;
  readonly seed: number;
  /** Turns of each twin. */
  readonly steps: number;
  readonly print: (line: string) => void;
  readonly nowMs: () => number;
}

const PLANTED_WORLDS = 40;
const PLANTED_OPERATIONS = 1_500;
const PLANTED_STEPS = 20;

/** Runs everything. */
export function runFuzz(plan: FuzzPlan): FuzzSummary {
  const { print, nowMs } = plan;
  const startMs = nowMs();
  const caught = plantAll(plan.seed, print);
  const kinds = Object.fromEntries(OPERATIONS.map((kind) => [kind, 0])) as OperationCounts;
  const judged = { canaries: 0, fields: 0, privateFields: 0, changes: 0 };
  const totals: Record<FindingKind, number> = { leak: 0, unauthorised: 0, retained: 0 };
  let [ops, worlds] = [0, 0];
  const worldsMs = nowMs();
  for (; ops < plan.operations; worlds++) {
    const seed = plan.seed + worlds;
    const left = Math.min(OPERATIONS_PER_WORLD, plan.operations - ops);
    const result = runWorld(seed, left);
    ops += result.operations;
    for (const kind of OPERATIONS) kinds[kind] += result.counts[kind];
    for (const key of Object.keys(judged) as (keyof Judged)[]) judged[key] += result.seen[key];
    for (const kind of Object.keys(totals) as FindingKind[]) totals[kind] += result.totals[kind];
    for (const { kind, text } of result.findings) print(`world ${seed}: ${kind}: ${text}`);
    if (worlds % 10 === 9) print(`${ops} operations in ${worlds + 1} worlds`);
  }
  const seconds = (nowMs() - worldsMs) / 1000;
  const differing = runTwins(plan);
  return {
    ops,
    leaks: totals.leak,
    unauthorised: totals.unauthorised,
    retained: totals.retained,
    worlds,
    seeds: plan.seeds,
    differing,
    planted_caught: caught,
    planted: PERMISSION_FAULTS.length + PLANTED_LEAKS.length,
    ops_per_second: Math.round(ops / Math.max(seconds, 0.001)),
    seconds: Math.round((nowMs() - startMs) / 1000),
    kinds,
    judged,
  };
}

function plantAll(seed: number, print: (line: string) => void): number {
  let caught = 0;
  const note = (name: string, by: number | undefined) => {
    if (by !== undefined) caught += 1;
    print(`planted: ${name}: ${by === undefined ? "NOT CAUGHT" : `caught by seed ${by}`}`);
  };
  for (const fault of PERMISSION_FAULTS) {
    note(fault.name, seedThatCatches(fault, seed, PLANTED_WORLDS, PLANTED_OPERATIONS));
  }
  for (const leak of PLANTED_LEAKS) {
    note(leak.name, pairThatCatches(leak, seed, PLANTED_WORLDS, PLANTED_STEPS));
  }
  return caught;
}

function runTwins({ seeds, seed, steps, print }: FuzzPlan): number {
  let differing = 0;
  for (let i = 0; i < seeds; i++) {
    const result = compareTwins(seed + i, steps);
    if (result.difference !== undefined) {
      differing += 1;
      print(`twins ${seed + i}: ${result.difference}`);
    }
    if (i % 100 === 99) print(`${i + 1} pairs of twins`);
  }
  return differing;
}

export type { TwinResult };
