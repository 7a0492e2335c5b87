// Learns the tables that motion is foretold with from the recorded clips, and writes them where they are used: into the driver, the protocol's
// document, and, each without one person, the avatars benchmark. Run: deno run -A tools/train_motion.ts (under a minute; always the same).

import { CLIP_HZ, FRAME_FLOATS, type MotionClip, readClips } from "../examples/recorded.ts";
import { layoutFields } from "../permissions/layout.ts";
import { assert } from "../protocol/assert.ts";
import { RotationChart } from "../replication/coding/rotation_chart.ts";
import { quantiseField } from "../replication/quantise.ts";
import { Columns, fitTaps, fitWidths } from "./motion_fit.ts";

/** Files written, relative to the project's folder. */
export const TABLES_FILE = "replication/coding/motion_tables.ts";
export const DOCUMENT_FILE = "docs/motion_tables.json";
/** People of the clips. */
export const PEOPLE = ["01", "02", "03"] as const;

/** Ticks ahead that are learnt, of this many a second. */
const LAGS = [1, 2, 3, 4, 6, 8] as const;
const TICK_HZ = 30;
/** The tables' unit is one over this. */
const UNIT = 4096;
const TAPS = 3;
/** Steps between versions that a sample has. */
const STEPS = 5;
/** Transforms of an avatar; each is a position and a rotation. */
const PARTS = 4;
const PREDICTORS = ["trained", "quadratic", "linear", "rest"] as const;
/** Numbers of a sample: by axis, how far the value is from its baseline, then the steps. */
const SAMPLE = 3 * (1 + STEPS);
/** The recorded avatar, as the benchmark has it. */
const LAYOUT = layoutFields({
  position: { type: "vec3", min: -512, max: 512, precision: 0.001 },
  rotation: { type: "quat", bits: 10, precision: 0.2 },
});
const [POSITION, ROTATION] = [LAYOUT.fields[0]!, LAYOUT.fields[1]!];
const LANES = POSITION.lanes + ROTATION.lanes;

type Kind = "position" | "rotation";

/** One vector through one clip, at one lag. */
interface Track {
  readonly count: number;
  readonly samples: Float64Array;
  /** What the trained taps leave, three numbers a sample. */
  readonly left: Float64Array;
}

/** A clip's vectors at one lag. */
type Tracks = Readonly<Record<Kind, readonly Track[]>>;

/** Learns from clips. Returns rows by class and lag, in 1/4096. */
export function trainMotion(clips: readonly MotionClip[]): number[][] {
  const phases = clips.flatMap((clip) => [0, 1].map((phase) => quantiseClip(clip, phase)));
  const rows: number[][] = [];
  const tracks = LAGS.map((lag) => phases.map((lanes) => tracksOf(lanes, lag)));
  const taps = new Map<string, number[]>();
  for (const kind of ["position", "rotation"] as const) {
    for (const isFirst of [true, false]) {
      LAGS.forEach((lag, place) => {
        taps.set(`${kind} ${isFirst} ${lag}`, learnTaps(tracks[place]!, kind, isFirst));
      });
    }
  }
  for (const kind of ["position", "rotation"] as const) {
    for (const isFirst of [true, false]) {
      const unitTaps = taps.get(`${kind} ${isFirst} 1`)!;
      LAGS.forEach((lag, place) => {
        const learnt = taps.get(`${kind} ${isFirst} ${lag}`)!;
        const row = [...learnt.slice(0, TAPS), learnt[TAPS] ?? 0, learnt[TAPS + 1] ?? 0];
        for (const predictor of PREDICTORS) {
          const far = tapsOf(predictor, lag, learnt);
          const near = tapsOf(predictor, 1, unitTaps);
          row.push(...learnWidths(tracks[place]!, kind, isFirst, far, near, learnt.slice(TAPS)));
        }
        rows.push(row.map((x) => Math.round(x * UNIT) + 0));
      });
    }
  }
  return rows;
}

/** Lanes of every second frame from `phase` on: by frame, by part, a position's and a rotation's. */
function quantiseClip(clip: MotionClip, phase: number): Int32Array {
  const every = CLIP_HZ / TICK_HZ;
  const count = Math.ceil((clip.frameCount - phase) / every);
  const lanes = new Int32Array(count * PARTS * LANES);
  for (let t = 0; t < count; t++) {
    for (let part = 0; part < PARTS; part++) {
      const from = (t * every + phase) * FRAME_FLOATS + part * 7;
      const at = (t * PARTS + part) * LANES;
      const isGood = quantiseField(POSITION, clip.floats, from, lanes, at) &&
        quantiseField(ROTATION, clip.floats, from + 3, lanes, at + POSITION.lanes);
      assert(isGood, "a clip's pose");
    }
  }
  return lanes;
}

function tracksOf(lanes: Int32Array, lag: number): Tracks {
  const chart = new RotationChart(ROTATION);
  const frames = lanes.length / (PARTS * LANES);
  const first = lag + STEPS;
  const count = Math.max(0, frames - first);
  const versions = new Float64Array((STEPS + 2) * 3);
  const track = (kind: Kind, part: number): Track => {
    const samples = new Float64Array(count * SAMPLE);
    for (let n = 0; n < count; n++) {
      // The value, its baseline, and what was before.
      for (let i = 0; i < STEPS + 2; i++) {
        const t = first + n - (i === 0 ? 0 : lag + i - 1);
        const at = (t * PARTS + part) * LANES;
        if (kind === "position") {
          for (let a = 0; a < 3; a++) versions[i * 3 + a] = lanes[at + a]!;
        } else {
          const largest = lanes[((first + n) * PARTS + part) * LANES + POSITION.lanes]!;
          chart.load(lanes, at + POSITION.lanes, largest, versions, i * 3);
        }
      }
      for (let i = 0; i < SAMPLE; i++) samples[n * SAMPLE + i] = versions[i]! - versions[i + 3]!;
    }
    return { count, samples, left: new Float64Array(count * 3) };
  };
  const parts = [0, 1, 2, 3];
  return {
    position: parts.map((part) => track("position", part)),
    rotation: parts.map((part) => track("rotation", part)),
  };
}

/** Parts of a class, in the order they are coded in. */
function partsOf(isFirst: boolean): readonly number[] {
  return isFirst ? [0] : [1, 2, 3];
}

/** Learns taps, and weights of what the first vector and the one before missed by; leaves in the tracks what these leave. */
function learnTaps(clips: readonly Tracks[], kind: Kind, isFirst: boolean): number[] {
  const follows = kind === "position" && !isFirst;
  const width = TAPS + (follows ? 2 : 0);
  let learnt: number[] = [];
  // What a vector missed by is known only when taps are: begins without, and settles.
  for (let round = 0; round < (isFirst ? 1 : 3); round++) {
    const x = new Columns(width);
    const y: number[] = [];
    const usual: number[] = [];
    const each = (visit: (row: number[], track: Track, n: number, a: number) => void) => {
      for (const clip of clips) {
        for (const part of partsOf(isFirst)) {
          const track = clip[kind][part]!;
          for (let n = 0; n < track.count; n++) {
            for (let a = 0; a < 3; a++) {
              const at = n * SAMPLE + 3 + a;
              const row = [track.samples[at]!, track.samples[at + 3]!, track.samples[at + 6]!];
              if (follows) {
                row.push(clip[kind][0]!.left[n * 3 + a]!, clip[kind][part - 1]!.left[n * 3 + a]!);
              }
              visit(row, track, n, a);
            }
          }
        }
      }
    };
    each((row, track, n, a) => {
      x.add(row);
      y.push(track.samples[n * SAMPLE + a]!);
      usual.push(Math.abs(row[0]! - row[1]!) + Math.abs(row[1]! - row[2]!));
    });
    learnt = fitTaps(x.flat(), Float64Array.from(y), Float64Array.from(usual), width);
    each((row, track, n, a) => {
      const mean = row.reduce((sum, value, i) => sum + value * learnt[i]!, 0);
      track.left[n * 3 + a] = track.samples[n * SAMPLE + a]! - mean;
    });
  }
  return learnt;
}

function tapsOf(predictor: typeof PREDICTORS[number], lag: number, learnt: readonly number[]) {
  const bend = lag * (lag + 1) / 2;
  if (predictor === "trained") return learnt.slice(0, TAPS);
  if (predictor === "quadratic") return [lag + bend, -bend, 0];
  return predictor === "linear" ? [lag, 0, 0] : [0, 0, 0];
}

/** Learns eleven weights and a bias, in the order of a row. */
function learnWidths(
  clips: readonly Tracks[],
  kind: Kind,
  isFirst: boolean,
  far: readonly number[],
  near: readonly number[],
  follow: readonly number[],
): number[] {
  const hasPartner = kind === "rotation";
  const width = 8 + (isFirst ? 0 : 2) + (hasPartner ? 1 : 0) + 1;
  const x = new Columns(width);
  const residuals: number[] = [];
  const own = new Float64Array(3);
  const errors = new Float64Array(6);
  for (const clip of clips) {
    for (const part of partsOf(isFirst)) {
      const { samples, count } = clip[kind][part]!;
      const firstLeft = clip[kind][0]!.left;
      const lastLeft = clip[kind][Math.max(0, part - 1)]!.left;
      for (let n = 0; n < count; n++) {
        const at = n * SAMPLE;
        const foretold = (taps: readonly number[], from: number) =>
          taps[0]! * samples[from]! + taps[1]! * samples[from + 3]! + taps[2]! * samples[from + 6]!;
        for (let a = 0; a < 3; a++) {
          own[a] = samples[at + a]! - foretold(far, at + 3 + a);
          if (follow.length > 0) {
            own[a] = own[a]! - follow[0]! * firstLeft[n * 3 + a]! -
              follow[1]! * lastLeft[n * 3 + a]!;
          }
          for (let j = 0; j < 2; j++) {
            const step = at + 3 + j * 3 + a;
            errors[j * 3 + a] = Math.abs(samples[step]! - foretold(near, step + 3));
          }
        }
        const shared = isFirst ? [] : [logMean(firstLeft, n * 3), logMean(lastLeft, n * 3)];
        if (hasPartner) shared.push(logMean(clip.position[part]!.left, n * 3));
        for (let a = 0; a < 3; a++) {
          const before = a === 0
            ? 0
            : a === 1
            ? log(own[0]!)
            : log((Math.abs(own[0]!) + Math.abs(own[1]!)) / 2);
          x.add([
            log(errors[a]!),
            log(errors[3 + a]!),
            logMean(errors, 0),
            logMean(errors, 3),
            log(samples[at + 3 + a]!),
            logMean(samples, at + 3),
            before,
            a === 0 ? 1 : 0,
            ...shared,
            1,
          ]);
          residuals.push(own[a]!);
        }
      }
    }
  }
  const fit = fitWidths(x.flat(), Float64Array.from(residuals), width);
  const weights = fit.slice(0, 7);
  // Widths are looked up by 16 times their logarithm; so are what does not weigh a logarithm.
  weights.push(fit[7]! * 16);
  weights.push(isFirst ? 0 : fit[8]!, isFirst ? 0 : fit[9]!, hasPartner ? fit[width - 2]! : 0);
  weights.push(fit[width - 1]! * 16);
  return weights;
}

function log(x: number): number {
  return Math.log2(0.5 + Math.abs(x));
}

function logMean(x: Float64Array, at: number): number {
  return log((Math.abs(x[at]!) + Math.abs(x[at + 1]!) + Math.abs(x[at + 2]!)) / 3);
}

/** The text of {@linkcode TABLES_FILE}. */
export function renderTables(rows: readonly (readonly number[])[]): string {
  const text = rows.map((row) => `  [\n${row.map((x) => `    ${x},\n`).join("")}  ],\n`).join("");
  return `// What the motion model learnt from the recorded people of examples/data: taps by weighted least squares, weights of the widths by Newton
// steps on a logistic likelihood. Numbers only; what they mean is told in \`motion_model.ts\` and in docs/PROTOCOL.md.

/** Rows by class (position first, position after, rotation first, rotation after), then by lag; in 1/4096. */
export const MOTION_TABLES: readonly (readonly number[])[] = [
${text}];
`;
}

/** The text of {@linkcode DOCUMENT_FILE}, and of a benchmark's table. */
export function renderDocument(rows: readonly (readonly number[])[]): string {
  return JSON.stringify(rows, undefined, 2) + "\n";
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url);
  const clips = readClips();
  const write = (path: string, text: string) => Deno.writeTextFileSync(new URL(path, root), text);
  const all = trainMotion(clips);
  write(TABLES_FILE, renderTables(all));
  write(DOCUMENT_FILE, renderDocument(all));
  for (const person of PEOPLE) {
    const others = clips.filter(({ name }) => !name.startsWith(person));
    write(`bench/data/motion_without_${person}.json`, renderDocument(trainMotion(others)));
  }
}
