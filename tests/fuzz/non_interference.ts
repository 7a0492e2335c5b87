// Two runs that differ in secrets alone must look the same to those who may not read them: the same bytes in the same order at the same
// times, datagrams and streams, to the bit. After Goguen and Meseguer, "Security Policies and Security Models", 1982.

import type { TappedEvent } from "../support/wiretap.ts";
import { type Side, type Transcript, TwinRun } from "./twin_run.ts";

/** What a pair of runs showed. */
export interface TwinResult {
  readonly seed: number;
  /** Events (datagrams, stream writes and so on) compared. */
  readonly events: number;
  /** Bytes compared. */
  readonly bytes: number;
  /** Secret values that differed between the runs. */
  readonly secrets: number;
  /** Where an observer could tell the runs apart, in words; undefined where it could not. */
  readonly difference: string | undefined;
}

/** Plants a leak into one run; the result takes it out again. */
export type PlantLeak = (run: TwinRun) => () => void;

/** Runs both twins of a seed for `steps` turns and compares what the observers got. */
export function compareTwins(seed: number, steps: number, plant?: PlantLeak): TwinResult {
  const runs = ([0, 1] as const).map((side: Side) => {
    const run = new TwinRun(seed, side);
    const takeOut = plant?.(run);
    try {
      return run.run(steps);
    } finally {
      takeOut?.();
    }
  });
  const [one, other] = runs as [TwinRun, TwinRun];
  let events = 0;
  let bytes = 0;
  let difference: string | undefined;
  for (const [observer, transcript] of one.transcripts.entries()) {
    events += transcript.length;
    for (const event of transcript) if ("bytes" in event) bytes += event.bytes.length;
    difference ??= firstDifference(transcript, other.transcripts[observer]!, observer);
  }
  return { seed, events, bytes, secrets: one.written.secret, difference };
}

const OBSERVERS = ["the client", "the hostile peer"];

function firstDifference(a: Transcript, b: Transcript, observer: number): string | undefined {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const what = differs(a[i], b[i]);
    if (what !== undefined) {
      return `${OBSERVERS[observer]}, event ${i} of ${a.length} and ${b.length}: ${what}`;
    }
  }
  return undefined;
}

function differs(a: TappedEvent | undefined, b: TappedEvent | undefined): string | undefined {
  if (a === undefined || b === undefined) return `only one twin has it: ${describe(a ?? b!)}`;
  const [left, right] = [describe(a), describe(b)];
  if (left !== right) return `${left} and ${right}`;
  if (!("bytes" in a) || !("bytes" in b)) return undefined;
  const at = a.bytes.findIndex((byte, i) => byte !== b.bytes[i]);
  return at < 0 ? undefined : `${left}, byte ${at}: ${a.bytes[at]} and ${b.bytes[at]}`;
}

function describe(event: TappedEvent): string {
  const size = "bytes" in event ? ` of ${event.bytes.length} bytes` : "";
  const stream = "stream" in event ? ` ${event.stream}` : "";
  const code = "code" in event ? ` ${event.code}` : "";
  return `${event.kind}${stream}${code}${size} at ${event.atMs.toFixed(3)} ms`;
}
