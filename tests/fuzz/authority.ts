// The authority fuzz as a whole run: the worlds of many seeds, and faults planted to be found. It counts and words results; what is right is
// the judge's business.

import { AUTHORITY_FAULTS, type AuthorityFault } from "./authority_faults.ts";
import type { AuthorityFinding, AuthorityFindingKind, AuthoritySeen } from "./authority_judge.ts";
import { type AuthorityResult, AuthorityRun } from "./authority_run.ts";

/** What one world showed, with what was found in it. */
export interface AuthorityWorld extends AuthorityResult {
  /** Findings of each kind. */
  readonly totals: Record<AuthorityFindingKind, number>;
  /** The first findings, in words. */
  readonly findings: readonly AuthorityFinding[];
  /** In what engines differed when they should not any more. */
  readonly late: readonly string[];
  readonly seen: AuthoritySeen;
}

/** Runs the world of a seed. */
export function runAuthorityWorld(seed: number): AuthorityWorld {
  const run = new AuthorityRun(seed);
  try {
    const result = run.run();
    const { totals, findings, seen } = run.judge;
    return { ...result, totals, findings, late: run.late, seen };
  } finally {
    run.end();
  }
}

/** Plants a fault into the worlds of seeds from `seed` on; the first whose judge finds it, undefined when none of `worlds` does. */
export function authoritySeedThatCatches(
  fault: AuthorityFault,
  seed: number,
  worlds: number,
): number | undefined {
  const takeOut = fault.plant();
  try {
    for (let i = 0; i < worlds; i++) {
      if (fault.finds.some((kind) => runAuthorityWorld(seed + i).totals[kind] > 0)) return seed + i;
    }
    return undefined;
  } finally {
    takeOut();
  }
}

/** What a whole run showed; the figures of the last line that it prints. */
export interface AuthoritySummary {
  readonly seeds: number;
  /** Findings by kind. */
  readonly findings: Record<AuthorityFindingKind, number>;
  /** Seeds with any finding. */
  readonly bad_seeds: number;
  /** Ticks beyond two round trips until all agreed: the median, the 99th of a hundred, the most; null for never. */
  readonly agree_p50_ticks: number | null;
  readonly agree_p99_ticks: number | null;
  readonly agree_max_ticks: number | null;
  readonly planted_caught: number;
  readonly planted: number;
  readonly seconds: number;
  /** Hashes of entities that clients and the server held at the end, compared; and entities that a client did not see in whole. */
  readonly hashes: number;
  readonly unseen: number;
  readonly judged: AuthoritySeen;
}

/** A whole run: how many worlds, from which on, and where its progress goes. */
export interface AuthorityPlan {
  readonly seeds: number;
  readonly seed: number;
  readonly print: (line: string) => void;
  readonly nowMs: () => number;
}

/** Worlds in which a planted fault has to be found. */
export const PLANTED_WORLDS = 20;

/** Runs everything. */
export function runAuthority({ seeds, seed, print, nowMs }: AuthorityPlan): AuthoritySummary {
  const startMs = nowMs();
  let caught = 0;
  for (const fault of AUTHORITY_FAULTS) {
    const by = authoritySeedThatCatches(fault, seed, PLANTED_WORLDS);
    if (by !== undefined) caught += 1;
    print(`planted: ${fault.name}: ${by === undefined ? "NOT CAUGHT" : `caught by seed ${by}`}`);
  }
  const findings: Partial<Record<AuthorityFindingKind, number>> = {};
  const judged: Partial<Record<keyof AuthoritySeen, number>> = {};
  const ticks: number[] = [];
  let [badSeeds, hashes, unseen] = [0, 0, 0];
  for (let i = 0; i < seeds; i++) {
    const world = runAuthorityWorld(seed + i);
    ticks.push(world.agreeTicks);
    addUp(findings, world.totals);
    addUp(judged, world.seen);
    hashes += world.hashes;
    unseen += world.unseen;
    if (world.findings.length > 0) badSeeds += 1;
    for (const { kind, text } of world.findings) print(`world ${world.seed}: ${kind}: ${text}`);
    for (const what of world.late) print(`world ${world.seed}: late: ${what}`);
    if (i % 50 === 49) print(`${i + 1} worlds`);
  }
  ticks.sort((a, b) => a - b);
  const at = (share: number) => {
    const one = ticks[Math.min(ticks.length - 1, Math.floor(ticks.length * share))];
    return one === undefined || one === Infinity ? null : one;
  };
  return {
    seeds,
    findings: findings as Record<AuthorityFindingKind, number>,
    bad_seeds: badSeeds,
    agree_p50_ticks: at(0.5),
    agree_p99_ticks: at(0.99),
    agree_max_ticks: at(1),
    planted_caught: caught,
    planted: AUTHORITY_FAULTS.length,
    seconds: Math.round((nowMs() - startMs) / 1000),
    hashes,
    unseen,
    judged: judged as AuthoritySeen,
  };
}

function addUp<K extends string>(
  sums: Partial<Record<K, number>>,
  more: Readonly<Record<K, number>>,
): void {
  for (const key of Object.keys(more) as K[]) sums[key] = (sums[key] ?? 0) + more[key];
}
