// Acceleration: honest movement at the limit is never found at fault, and nothing that a peer makes up gets it farther than the limit lets a
// body go from rest, give or take what docs/MANIFEST.md says.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { CHECK_BURST_S, CHECK_SILENCE_S, CHECK_TOLERANCE } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { checkedGrants, CheckedWriter } from "../support/checked_writer.ts";

const POINT = { type: "vec3", min: -2048, max: 2048, precision: 0.001 };
const STEP_MS = 1000 / 30;
/** What a peer may have over an honest one, s: a silence and a burst that count as time. */
const SLACK_S = CHECK_SILENCE_S + CHECK_BURST_S;

function body(check: Record<string, unknown>, changes: Record<string, unknown> = {}) {
  const fields = { at: POINT, other: { type: "u8" } };
  return new CheckedWriter(checkedGrants(fields, { at: check }, { rateHz: 120, ...changes }));
}

/** As far as a body can come from rest in `seconds`, tolerance included. */
function fromRest(acceleration: number, seconds: number): number {
  return CHECK_TOLERANCE * acceleration * (seconds + SLACK_S) ** 2 / 2;
}

/** Stands for three seconds, saying so; returns the time. */
function stand(writer: CheckedWriter, at: readonly number[] = [0, 0, 0]): number {
  let ms = 1_000;
  writer.write({ at }, ms);
  for (let i = 1; i <= 90; i++) {
    ms += STEP_MS;
    writer.write({ at: [at[0]!, at[1]!, at[2]! + (i % 2) * 0.001] }, ms);
  }
  assertEquals(writer.take(), []);
  return ms;
}

/** One way of cheating: where to and stamped when, of the `i`th write. */
type Strategy = (i: number, ms: number, here: readonly number[], prng: Prng) => {
  readonly at: number[];
  readonly stamp: number;
};

function run(metres: number): Strategy {
  return (_, ms, [x, y, z]) => ({ at: [x! + metres, y!, z!], stamp: ms });
}

const leap: Strategy = (i, ms) => ({ at: [i % 2 === 0 ? 1_500 : -1_500, 0, 0], stamp: ms });
const STRATEGIES: Readonly<Record<string, Strategy>> = {
  "the same leap again and again": leap,
  "a leap, and steps between": (i, ms, here, prng) =>
    i % 7 === 0 ? leap(0, ms, here, prng) : run(0.7)(i, ms, here, prng),
  "far too fast": run(3),
  "refused by intent every other time": (i, ms, here, prng) =>
    i % 2 === 0 ? leap(0, ms, here, prng) : run(0.4)(i, ms, here, prng),
  "frozen stamps": (i, _, here, prng) => ({ ...run(2)(i, 0, here, prng), stamp: 4_000 }),
  "stamps that are late, and then catch up": (i, ms, here, prng) => ({
    at: i < 60 ? [...here] : run(2)(i, ms, here, prng).at,
    stamp: i < 60 ? ms - 2_000 : Math.min(ms + 100, ms - 2_000 + (i - 60) * 200),
  }),
  "faster by half in each quarter of a second": (i, ms, here, prng) =>
    run(0.01 * 1.5 ** (i / 7.5))(i, ms, here, prng),
  "there and back": (i, ms, here, prng) =>
    run(Math.floor(i / 6) % 2 ? 0.5 : -0.5)(i, ms, here, prng),
};

/** All of them in turn, and silence. */
function mixed(seed: number): Strategy {
  const prng = new Prng(seed);
  const all = Object.values(STRATEGIES);
  let strategy = all[0]!;
  let frozen = 0;
  return (i, ms, here) => {
    if (prng.nextFloat() < 0.08) {
      strategy = all[Math.floor(prng.nextFloat() * all.length)]!;
      frozen = ms - prng.nextFloat() * 2_000;
    }
    const { at, stamp } = strategy(Math.floor(prng.nextFloat() * 90), ms, here, prng);
    const step = 2 ** (prng.nextFloat() * 10 - 6);
    const to = prng.nextFloat() < 0.5 ? at : [here[0]! + step, here[1]!, here[2]! - step / 3];
    const r = prng.nextFloat();
    return { at: i % 5 === 4 ? [...here] : to, stamp: r < 0.2 ? frozen : r < 0.4 ? stamp : ms };
  };
}

/** Plays a strategy for `seconds` and returns the largest share of what the limit lets a body go, from the first write on. */
function worst(
  writer: CheckedWriter,
  strategy: Strategy,
  acceleration: number,
  prng: Prng,
): number {
  const started = stand(writer);
  let ms = started;
  let way = 0;
  let share = 0;
  for (let i = 0; ms < started + 8_000; i++) {
    const isSilent = prng.nextFloat() < 0.01;
    ms += isSilent ? prng.nextFloat() * 3_000 : STEP_MS;
    const here = writer.read("at");
    const { at, stamp } = strategy(i, ms, here, prng);
    const clamped = Math.max(ms - 2_000, Math.min(ms + 100, stamp));
    writer.write({ at: at.map((one) => Math.max(-2_000, Math.min(2_000, one))) }, ms, clamped);
    const now = writer.read("at");
    // Each write may take a step of the precision besides.
    way += Math.max(0, Math.hypot(...now.map((one, k) => one - here[k]!)) - 0.004);
    share = Math.max(share, way / fromRest(acceleration, (ms - started) / 1000));
  }
  return share;
}

Deno.test("VelocityWindows.judge() lets no strategy get farther from rest than the limit allows", () => {
  const strategies: [string, Strategy][] = Object.entries(STRATEGIES);
  for (let seed = 1; seed <= 60; seed++) strategies.push([`mixed ${seed}`, mixed(seed)]);
  const shares: number[] = [];
  for (const [index, [name, strategy]] of strategies.entries()) {
    for (const acceleration of [2, 20]) {
      for (const onViolation of ["reject", "clamp"]) {
        for (const maxSpeed of [undefined, 400]) {
          const writer = body({ maxAcceleration: acceleration, maxSpeed, onViolation });
          const share = worst(writer, strategy, acceleration, new Prng(index + 1));
          shares.push(share);
          assertLess(share, 1, `${name}, ${acceleration}, ${onViolation}, ${maxSpeed}`);
        }
      }
    }
  }
  // And the bound is no empty one: cheats come as far as honest bodies do.
  assertGreater(Math.max(...shares), 0.5);
});

Deno.test("VelocityWindows.judge() finds nothing in a movement at the limits, when the path is bad", () => {
  for (
    const [hz, jitter, stamp] of [[30, 0, 0], [30, 100, 45], [60, 40, 45], [120, 100, 45]] as const
  ) {
    for (let seed = 1; seed <= 12; seed++) {
      const prng = new Prng(seed * 31 + hz);
      const check = seed % 3 === 0 ? {} : { maxSpeed: 8 };
      const acceleration = seed % 2 === 0 ? 20 : 3;
      const writer = body({ ...check, maxAcceleration: acceleration });
      const sent: { arrival: number; sample: number; at: number[] }[] = [];
      const velocity = [0, 0];
      const target = [8, 0];
      const at = [0, 0, 0];
      const dt = 1 / hz;
      let [outage, stall, last, lastStamp] = [0, 0, 0, 0];
      for (let i = 0; i < hz * 20; i++) {
        const ms = 1_000 + i * 1000 / hz;
        if (prng.nextFloat() < 1.5 * dt) {
          const heading = prng.nextFloat() * 7;
          // Now and then a wall.
          const speed = prng.nextFloat() < 0.2 ? 0 : 8;
          target[0] = speed * Math.cos(heading);
          target[1] = speed * Math.sin(heading);
          if (speed === 0 && prng.nextFloat() < 0.5) velocity.fill(0);
        }
        const gain = target.map((one, k) => one - velocity[k]!);
        const size = Math.hypot(...gain);
        const share = size === 0 ? 0 : Math.min(1, acceleration * dt / size);
        for (const k of [0, 1]) velocity[k] = velocity[k]! + gain[k]! * share;
        at[0] = at[0]! + velocity[0]! * dt;
        at[2] = at[2]! + velocity[1]! * dt;
        if (prng.nextFloat() < 0.1 * dt) outage = ms + prng.nextFloat() * 1_900;
        if (prng.nextFloat() < 0.2 * dt) stall = ms + prng.nextFloat() * 700;
        const sample = Math.max(lastStamp + 0.1, ms + (prng.nextFloat() - 0.5) * stamp);
        lastStamp = sample;
        if (ms < outage || prng.nextFloat() < 0.1) continue;
        last = Math.max(last, stall, ms + 30 + prng.nextFloat() * jitter);
        sent.push({ arrival: last, sample, at: [...at] });
      }
      for (const { arrival, sample, at } of sent) writer.write({ at }, arrival, sample);
      assertEquals(writer.take(), [], `${hz} Hz, jitter ${jitter}, stamps ${stamp}, seed ${seed}`);
    }
  }
});

Deno.test("VelocityWindows.judge() lets one that was refused go on with the speed that it had", () => {
  for (const onViolation of ["reject", "clamp"]) {
    const writer = body({ maxAcceleration: 2, maxSpeed: 50, onViolation });
    let ms = 1_000;
    let x = 0;
    writer.write({ at: [0, 0, 0] }, ms);
    for (let i = 0; i < 120; i++) {
      ms += STEP_MS;
      x += 8 * STEP_MS / 1000;
      writer.write({ at: [x, 0, 0] }, ms);
    }
    assertEquals(writer.take(), []);
    writer.write({ at: [x + 500, 0, 0] }, ms + STEP_MS);
    assertGreater(writer.take().length, 0);
    // It hears of it after a while, and its body still has its speed.
    ms += 300;
    [x] = writer.read("at") as [number];
    for (let i = 0; i < 60; i++) {
      ms += STEP_MS;
      x += 8 * STEP_MS / 1000;
      writer.write({ at: [x, 0, 0] }, ms);
    }
    assertEquals(writer.take(), [], onViolation);
  }
});

Deno.test("VelocityWindows.judge() keeps no speed for one that breaks the checks again and again while it stands", () => {
  const writer = body({ maxAcceleration: 5, maxSpeed: 50 });
  let ms = 1_000;
  let x = 0;
  writer.write({ at: [0, 0, 0] }, ms);
  for (let i = 0; i < 60; i++) {
    ms += STEP_MS;
    x += 40 * STEP_MS / 1000;
    assert(writer.write({ at: [x, 0, 0] }, ms));
  }
  for (let i = 0; i < 150; i++) {
    ms += STEP_MS;
    writer.write({ at: i % 2 === 0 ? [x + 900, 0, 0] : [x, 0, (i % 4) * 0.001] }, ms);
  }
  for (let i = 0; i < 30; i++) {
    ms += STEP_MS;
    writer.write({ at: [writer.read("at")[0]! + 40 * STEP_MS / 1000, 0, 0] }, ms);
  }
  // A second from rest, and what is given besides; not the 40 m that its old speed would lead.
  assertLess(writer.read("at")[0]! - x, 25);
});

Deno.test("VelocityWindows.judge() holds turns, and lets a wall stop what it stops", () => {
  const reverse = (onViolation: string, acceleration: number) => {
    const writer = body({ maxAcceleration: acceleration, maxSpeed: 30, onViolation });
    let ms = 1_000;
    writer.write({ at: [0, 0, 0] }, ms);
    let reached = 0;
    for (let i = 1; i <= 120; i++) {
      ms += STEP_MS;
      const [x] = writer.read("at");
      writer.write({ at: [x! + (i <= 60 ? 20 : -20) / 30, 0, 0] }, ms);
      if (i === 60) reached = writer.read("at")[0]!;
    }
    return { back: reached - writer.read("at")[0]!, found: writer.take() };
  };
  // From 20 m/s one way to 20 m/s the other within one write.
  const held = reverse("reject", 5);
  assertEquals(new Set(held.found), new Set(["at acceleration"]));
  // Two seconds, after braking for nothing, at 5 m/s2: and not the 40 m that it tried.
  assertLess(held.back, 25);
  assertEquals(reverse("reject", 200).found, []);
  // A wall, and standing there; then from rest again.
  const writer = body({ maxAcceleration: 5, maxSpeed: 30 });
  let ms = 1_000;
  let x = 0;
  writer.write({ at: [0, 0, 0] }, ms);
  for (let i = 1; i <= 240; i++) {
    ms += STEP_MS;
    const speed = i <= 90 ? 20 : i <= 150 ? 0 : (i - 150) / 30 * 5;
    x += speed / 30;
    writer.write({ at: [x, 0, 0] }, ms);
  }
  assertEquals(writer.take(), []);
});

Deno.test("VelocityWindows.judge() can find fault with the largest limit that the manifest's rules let stand", () => {
  // 240 of at most 246: see `check_rules_test.ts`. From rest, as far as half a second at 8 m/s leads, with no time in between.
  const writer = body({ maxSpeed: 8, maxAcceleration: 240 });
  for (let ms = 1_000; ms <= 4_000; ms += 50) {
    writer.write({ at: [0, 0, (ms / 50) % 2 * 0.001] }, ms);
  }
  assertEquals(writer.take(), []);
  assert(!writer.write({ at: [4.2, 0, 0] }, 4_000, 4_000));
  assertEquals(writer.take(), ["at acceleration"]);
});
