// Honest movement passes whatever the path does to it, and no way of cheating gets a value farther, faster or more often than declared.

import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import {
  CHECK_BURST_S,
  CHECK_MEMORY_MS,
  CHECK_SILENCE_S,
  CHECK_TOLERANCE,
  MAX_CHECK_MEMORIES,
} from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { CLIP_HZ, FRAME_FLOATS, readClips } from "../../examples/recorded.ts";
import { checkedGrants, CheckedWriter, MODERATOR_ROLE } from "../support/checked_writer.ts";

const POINT = { type: "vec3", min: -512, max: 512, precision: 0.001 };
const TURN = { type: "quat", bits: 10 };
const STEP_MS = 1000 / 30;

/** A thing that moves at up to 8 m/s. */
function runner(check: Record<string, unknown> = {}, changes: Record<string, unknown> = {}) {
  const grants = checkedGrants({ at: POINT }, { at: { maxSpeed: 8, ...check } }, changes);
  return new CheckedWriter(grants);
}

/** A path that delays, loses and holds up: times at which writes sampled at `sentMs` arrive, in order, each at most once. */
class BadPath {
  readonly #prng: Prng;
  readonly #loss: number;
  #outageUntil = 0;
  #stallUntil = 0;
  #lastMs = 0;

  constructor(seed: number, loss: number) {
    this.#prng = new Prng(seed);
    this.#loss = loss;
  }

  /** Arrival of the write sent at `ms`; undefined when it is lost. */
  arrival(ms: number): number | undefined {
    const prng = this.#prng;
    // Outages of up to 2 s lose everything, stalls of up to 0.4 s let it in at once.
    const isOut = ms < this.#outageUntil;
    if (prng.nextFloat() < 0.004 && !isOut) this.#outageUntil = ms + prng.nextFloat() * 1_900;
    if (prng.nextFloat() < 0.01) this.#stallUntil = ms + prng.nextFloat() * 400;
    if (ms < this.#outageUntil || prng.nextFloat() < this.#loss) return undefined;
    const arrival = Math.max(ms + 40 + prng.nextFloat() * 60, this.#stallUntil, this.#lastMs);
    this.#lastMs = arrival;
    return arrival;
  }
}

Deno.test("WriteChecks.judge() finds nothing in recorded human motion at its own greatest speed, when the path is bad", () => {
  let judged = 0;
  for (const [index, clip] of readClips().entries()) {
    const frame = (f: number, part: number) => {
      const at = f * FRAME_FLOATS + part * 7;
      return [...clip.floats.subarray(at, at + 7)];
    };
    const NAMES = ["body", "head", "left", "right"];
    const fields: Record<string, unknown> = {};
    const checks: Record<string, unknown> = {};
    for (const [part, name] of NAMES.entries()) {
      let [speed, acceleration, turning] = [0, 0, 0];
      let before = [0, 0, 0];
      for (let f = 1; f < clip.frameCount; f++) {
        const [a, b] = [frame(f - 1, part), frame(f, part)];
        const velocity = [0, 1, 2].map((i) => (b[i]! - a[i]!) * CLIP_HZ);
        speed = Math.max(speed, Math.hypot(...velocity));
        if (f > 1) {
          const gain = velocity.map((one, i) => (one - before[i]!) * CLIP_HZ);
          acceleration = Math.max(acceleration, Math.hypot(...gain));
        }
        before = velocity;
        const dot = [3, 4, 5, 6].reduce((sum, i) => sum + a[i]! * b[i]!, 0);
        turning = Math.max(turning, 2 * Math.acos(Math.min(1, Math.abs(dot))) * CLIP_HZ);
      }
      fields[name] = POINT;
      fields[`${name}Turn`] = TURN;
      // The clips were resampled: differences of their velocities are mostly noise.
      checks[name] = { maxSpeed: speed, maxAcceleration: Math.min(acceleration, 10 * speed) };
      checks[`${name}Turn`] = { maxSpeed: turning };
    }
    for (const [run, loss] of [0, 0.05, 0.25].entries()) {
      const seed = index * 10 + run;
      const path = new BadPath(seed, loss);
      const prng = new Prng(seed + 1_000);
      const writer = new CheckedWriter(checkedGrants(fields, checks));
      let stamp = 0;
      for (let f = 0; f < clip.frameCount; f += 2) {
        const ms = 1_000 + f * 1000 / CLIP_HZ;
        // The engine's driver looks at its socket a little later, and never stamps two batches alike.
        stamp = Math.max(stamp + 0.6, ms + prng.nextFloat() * 12);
        const arrival = path.arrival(stamp);
        if (arrival === undefined) continue;
        const values: Record<string, number[]> = {};
        for (const [part, name] of NAMES.entries()) {
          const numbers = frame(f, part);
          values[name] = numbers.slice(0, 3);
          values[`${name}Turn`] = numbers.slice(3);
        }
        writer.write(values, arrival, stamp);
        judged += 1;
      }
      assertEquals(writer.take(), [], `clip ${clip.name}, loss ${loss}`);
    }
  }
  assertGreater(judged, 10_000);
});

Deno.test("WriteChecks.judge() finds nothing in a movement at exactly the greatest speed, when the path is bad", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const path = new BadPath(seed, seed % 4 * 0.1);
    const prng = new Prng(seed);
    const writer = runner({ maxStep: 20 });
    let heading = 0;
    const at = [0, 1, 0];
    for (let i = 0; i < 900; i++) {
      const ms = 1_000 + i * STEP_MS;
      // Turns now and then; every step is as long as it may be.
      if (prng.nextFloat() < 0.05) heading = prng.nextFloat() * 7;
      at[0] = at[0]! + Math.cos(heading) * 8 * STEP_MS / 1000;
      at[2] = at[2]! + Math.sin(heading) * 8 * STEP_MS / 1000;
      const arrival = path.arrival(ms);
      if (arrival !== undefined) writer.write({ at }, arrival, ms + prng.nextFloat() * 5);
    }
    assertEquals(writer.take(), [], `seed ${seed}`);
  }
});

/** Writes a straight way of `speed` m/s for `seconds`; returns how far it came. */
function run(
  writer: CheckedWriter,
  speed: number,
  seconds: number,
  startMs = 1_000,
  sample: (ms: number) => number = (ms) => ms,
  stepMs = STEP_MS,
): number {
  const [x] = writer.read("at");
  for (let ms = stepMs; ms <= seconds * 1000; ms += stepMs) {
    const wanted = writer.component.checks[0]!.action === "report" ? x! : writer.read("at")[0]!;
    const travelled = writer.component.checks[0]!.action === "report" ? ms : stepMs;
    writer.write(
      { at: [wanted + speed * travelled / 1000, 0, 0] },
      startMs + ms,
      sample(startMs + ms),
    );
  }
  return writer.read("at")[0]! - x!;
}

Deno.test("WriteChecks.judge() holds one that runs 1.3 times too fast, by every action, when it goes on", () => {
  for (const onViolation of ["reject", "clamp", "report"]) {
    const writer = runner({ onViolation });
    writer.write({ at: [0, 0, 0] }, 1_000);
    const far = run(writer, 8 * 1.3, 20);
    assertEquals(new Set(writer.take()), new Set(["at speed"]), onViolation);
    // 20 s at 8 m/s with 5 % of tolerance, and half a second that was saved up.
    if (onViolation === "report") assertAlmostEquals(far, 208, 1);
    else assertLess(far, 20.5 * 8.4 + 0.01);
    if (onViolation === "clamp") assertGreater(far, 20 * 8);
  }
});

Deno.test("WriteChecks.judge() refuses a leap, and says how far beyond the limit it was", () => {
  const writer = runner();
  writer.write({ at: [0, 0, 0] }, 1_000);
  run(writer, 2, 1);
  assert(!writer.write({ at: [100, 0, 0] }, 2_033));
  const [found] = writer.broken;
  assertEquals([found!.check, found!.limit, found!.action], ["speed", 8, "reject"]);
  assertGreater(found!.measured, 100);
  assertLess(writer.read("at")[0]!, 3);
  // The next honest write passes.
  assert(writer.write({ at: [2.2, 0, 0] }, 2_066));
});

Deno.test("WriteChecks.judge() lets no lie about sample times gain way", () => {
  const lies: ((ms: number) => number)[] = [
    (ms) => ms - 2_000,
    (ms) => ms + 100,
    // All in turn, from one end of what is believed to the other, and backwards.
    (ms) => ms + (Math.floor(ms / 33) % 2 === 0 ? 100 : -2_000),
    (ms) => ms - 2_000 + (ms - 1_000) * 0.1,
    (ms) => 1_000 + (ms - 1_000) * 2,
  ];
  for (const [index, lie] of lies.entries()) {
    const writer = runner({ onViolation: "clamp" });
    writer.write({ at: [0, 0, 0] }, 1_000, lie(1_000));
    const far = run(writer, 20, 20, 1_000, lie);
    assertLess(far, 20.5 * 8.4 + 0.01, `lie ${index}`);
    assertGreater(writer.take().length, 100, `lie ${index}`);
  }
  // One that stood while it claimed to be late gains nothing by being in time at once.
  const writer = runner();
  writer.write({ at: [0, 0, 0] }, 1_000, 0);
  for (let ms = 1_000; ms < 4_000; ms += STEP_MS) {
    writer.write({ at: [Math.sin(ms) * 0.001, 0, 0] }, ms, ms - 2_000);
  }
  assert(!writer.write({ at: [6, 0, 0] }, 4_000, 4_100));
});

Deno.test("WriteChecks.judge() never lets the sample time of an entity go back", () => {
  const writer = runner();
  writer.write({ at: [0, 0, 0] }, 1_000, 1_000);
  writer.write({ at: [0.1, 0, 0] }, 1_040, 1_040);
  const last = writer.checks.sampled;
  writer.write({ at: [0.2, 0, 0] }, 1_080, 500);
  assertEquals(writer.checks.sampled, last);
});

Deno.test("WriteChecks.judge() adds up steps too small to be seen one by one", () => {
  const writer = runner({ onViolation: "clamp" });
  writer.write({ at: [0, 0, 0] }, 1_000);
  // Twelve in the time of one.
  const far = run(writer, 16, 10, 1_000, undefined, STEP_MS / 12);
  assertLess(far, 10.5 * 8.4 + 0.01);
  // And steps of a single unit of precision, as often as they come.
  const fine = runner({ maxSpeed: 0.15 });
  fine.write({ at: [0, 0, 0] }, 1_000);
  const crept = run(fine, 1, 10, 1_000, undefined, 1);
  assertLess(crept, 10.5 * 0.15 * 1.05 + 0.01);
});

Deno.test("WriteChecks.judge() counts a silence for as much as a path can lose, and no more", () => {
  for (
    const [silence, way, passes] of [[2_000, 15.5, true], [60_000, 15.5, true], [
      60_000,
      25,
      false,
    ]] as const
  ) {
    const writer = runner();
    writer.write({ at: [0, 0, 0] }, 1_000);
    run(writer, 8, 1);
    const [x] = writer.read("at");
    assertEquals(writer.write({ at: [x! + way, 0, 0] }, 2_000 + silence), passes, `${silence} ms`);
  }
  // Writes of another field tell that it was no silence.
  const grants = checkedGrants({ at: POINT, hand: POINT }, { at: { maxSpeed: 8 } });
  const writer = new CheckedWriter(grants);
  writer.write({ at: [0, 0, 0], hand: [0, 0, 0] }, 1_000);
  for (let i = 1; i <= 60; i++) writer.write({ hand: [i, 0, 0] }, 1_000 + i * STEP_MS);
  assert(!writer.write({ at: [6, 0, 0] }, 1_000 + 61 * STEP_MS));
});

Deno.test("WriteChecks.judge() takes at once what a path held up, and no leap that its sample times deny", () => {
  const writer = runner();
  writer.write({ at: [0, 0, 0] }, 1_000);
  run(writer, 8, 2);
  const [x] = writer.read("at");
  for (let i = 1; i <= 57; i++) {
    const at = [x! + i * 8 * STEP_MS / 1000, 0, 0];
    assert(writer.write({ at }, 4_900, 3_000 + i * STEP_MS), `held up, ${i}`);
  }
  // The same silence, but of one who says that it stood until just now.
  const liar = runner();
  liar.write({ at: [0, 0, 0] }, 1_000);
  run(liar, 0.01, 2);
  for (let i = 1; i <= 57; i++) {
    liar.write({ at: [0.03, 0, i * 0.001] }, 4_900, 3_000 + i * STEP_MS);
  }
  assert(!liar.write({ at: [12, 0, 0] }, 4_900, 4_933));
});

Deno.test("WriteChecks.judge() judges each field by itself, and one is no way around another", () => {
  const grants = checkedGrants({ a: POINT, b: POINT }, { a: { maxSpeed: 8 }, b: { maxSpeed: 8 } });
  const writer = new CheckedWriter(grants);
  writer.write({ a: [0, 0, 0], b: [0, 0, 0] }, 1_000);
  for (let i = 1; i <= 600; i++) {
    const name = i % 2 === 0 ? "a" : "b";
    const [x] = writer.read(name);
    writer.write({ [name]: [x! + 1, 0, 0] }, 1_000 + i * STEP_MS);
  }
  // 15 m/s each by turns.
  for (const name of ["a", "b"]) assertLess(writer.read(name)[0]!, 20.5 * 8.4 + 1);
  assertEquals(new Set(writer.take()), new Set(["a speed", "b speed"]));
  // What one field loses the other keeps.
  assert(!writer.write({ a: [400, 0, 0], b: writer.read("b").map((x) => x + 0.01) }, 40_000));
  assertEquals(writer.checks.refused, 1);
});

Deno.test("WriteChecks.judge() begins anew where the server's engine put the value, and only there", () => {
  const writer = runner();
  writer.write({ at: [0, 0, 0] }, 1_000);
  run(writer, 8, 2);
  writer.override("at", [300, 0, 0]);
  assert(writer.write({ at: [300.2, 0, 0] }, 3_033));
  assert(!writer.write({ at: [16, 0, 0] }, 3_066));
});

Deno.test("WriteChecks.judge() hands out no way with what the server's engine does, however often it does it", () => {
  for (const check of [{}, { maxAcceleration: 60 }]) {
    for (const everyMs of [100, 500, 1_000]) {
      const writer = runner(check);
      writer.write({ at: [-400, 0, 0] }, 1_000);
      let lastMs = 1_000;
      for (let ms = 1_000 + STEP_MS; ms <= 11_000; ms += STEP_MS) {
        const [x] = writer.read("at");
        if (ms - lastMs >= everyMs) {
          lastMs = ms;
          writer.override("at", [x! - 0.01, 0, 0]);
        }
        const from = writer.read("at")[0]!;
        for (const step of [8, 4, 2, 1, 0.3]) {
          if (writer.write({ at: [from + step, 0, 0] }, ms)) break;
        }
      }
      assertLess(writer.read("at")[0]! + 400, 10.5 * 8.4 + 0.01, `every ${everyMs} ms`);
    }
  }
});

Deno.test("WriteChecks.judge() lets one that was put right by the server's engine go on at once, as fast as it may", () => {
  for (const everyMs of [300, 2_000]) {
    const writer = runner({ maxAcceleration: 3 });
    writer.write({ at: [-400, 0, 0] }, 1_000);
    let lastMs = 1_000;
    let moved = 0;
    for (let ms = 1_000 + STEP_MS; ms <= 21_000; ms += STEP_MS) {
      const [x] = writer.read("at");
      if (ms - lastMs >= everyMs) {
        lastMs = ms;
        moved += 1;
        // Here a nudge, there a leap; and it takes a while until its owner has heard of it.
        const sign = moved % 4 === 0 ? -1 : 1;
        writer.override("at", [x! + sign * (moved % 2 === 0 ? 40 : 0.01), 0, 0]);
        ms += 150;
      }
      writer.write({ at: [writer.read("at")[0]! + 8 * STEP_MS / 1000, 0, 0] }, ms);
    }
    assertGreater(moved, 8);
    assertEquals(writer.take(), [], `every ${everyMs} ms`);
  }
  // One that stood is set down running.
  const writer = runner({ maxAcceleration: 1 });
  writer.write({ at: [0, 0, 0] }, 1_000);
  for (let i = 1; i <= 90; i++) writer.write({ at: [0, 0, i % 2 * 0.001] }, 1_000 + i * STEP_MS);
  writer.override("at", [50, 0, 0]);
  for (let i = 1; i <= 60; i++) {
    writer.write({ at: [50 + i * 8 * STEP_MS / 1000, 0, 0] }, 4_100 + i * STEP_MS);
  }
  assertEquals(writer.take(), []);
});

Deno.test("WriteChecks.judge() remembers through a component that was removed, and through a respawn where there is one of a kind", () => {
  const removed = runner();
  removed.write({ at: [0, 0, 0] }, 1_000);
  run(removed, 1, 1);
  removed.remove(2_050);
  assert(!removed.write({ at: [200, 0, 0] }, 2_100), "added again elsewhere");
  assert(removed.write({ at: [1.5, 0, 0] }, 2_200), "added again where it was");
  removed.remove(2_200);
  assert(removed.write({ at: [200, 0, 0] }, 2_200 + CHECK_MEMORY_MS), "much later");

  for (const maxPerPeer of [1, 2]) {
    const writer = runner({}, { spawn: { roles: ["all"], maxPerPeer } });
    const { checks } = writer;
    const respawn = (x: number, nowMs: number) => {
      writer.bury(nowMs);
      const isTaken = writer.write({ at: [x, 0, 0] }, nowMs);
      if (isTaken) checks.settle(writer.peer, 0);
      else checks.forget(writer.id);
      return isTaken;
    };
    writer.write({ at: [0, 0, 0] }, 1_000);
    run(writer, 8, 1);
    assertEquals(respawn(100, 2_050), maxPerPeer > 1, `respawned elsewhere, one of ${maxPerPeer}`);
    if (maxPerPeer > 1) continue;
    assert(respawn(8.1, 2_100) || respawn(8.1, 2_900), "respawned where it ended");
    // To respawn again and again gives no fresh allowance either.
    let x = writer.read("at")[0]!;
    const from = x;
    for (let i = 1; i <= 100; i++) {
      const nowMs = 3_000 + i * 100;
      if (respawn(x + 3, nowMs)) x += 3;
      else respawn(x, nowMs);
    }
    assertLess(x - from, 11 * 8.4 + 4);
    // Another peer, and the same one much later, begins where it likes.
    checks.forget(writer.id);
    writer.peer += 1;
    writer.present = undefined;
    assert(writer.write({ at: [400, 0, 0] }, 13_100), "another peer");
    checks.settle(writer.peer, 0);
    assert(!respawn(200, 30_000), "whatever the age of its last write");
    checks.expire(30_000 + CHECK_MEMORY_MS - 1);
    assert(!writer.write({ at: [200, 0, 0] }, 30_000 + CHECK_MEMORY_MS - 1), "not yet");
    checks.forget(writer.id);
    assert(writer.write({ at: [200, 0, 0] }, 30_000 + CHECK_MEMORY_MS), "much later");
  }
});

Deno.test("WriteChecks.judge() holds bounds from the first value on, and clamps into them", () => {
  const bounds = { min: [-10, 0, -10.0004], max: [10, 3, 10] };
  const spawned = new CheckedWriter(checkedGrants({ at: POINT }, { at: { bounds } }));
  assert(!spawned.write({ at: [0, 3.1, 0] }, 1_000));
  assertEquals(spawned.broken.map(({ measured, limit }) => [measured.toFixed(3), limit]), [
    ["3.100", 3],
  ]);
  assert(spawned.write({ at: [-10, 0, -10] }, 1_000));
  assert(spawned.write({ at: [10, 3, 10] }, 1_100), "the ends themselves are inside");
  assert(!spawned.write({ at: [10.001, 3, 10] }, 1_200));
  const writer = new CheckedWriter(
    checkedGrants({ at: POINT }, { at: { bounds, onViolation: "clamp" } }),
  );
  assert(!writer.write({ at: [500, -1, 2] }, 1_000));
  assertEquals(writer.read("at").map((x) => Number(x.toFixed(3))), [10, 0, 2]);
});

Deno.test("WriteChecks.judge() bounds steps and whole numbers to the unit", () => {
  const grants = checkedGrants(
    { points: { type: "u32" }, level: { type: "i32", min: -50, max: 50 } },
    {
      points: { maxStep: 10, maxSpeed: 20 },
      level: { maxSpeed: 0.2, bounds: { min: -5, max: 20 } },
    },
  );
  const writer = new CheckedWriter(grants);
  writer.write({ points: [4_000_000_000], level: [0] }, 1_000);
  assert(writer.write({ points: [4_000_000_010] }, 1_100));
  assert(!writer.write({ points: [4_000_000_021] }, 2_000));
  assertEquals(writer.take(), ["points step"]);
  assert(!writer.write({ points: [0] }, 2_100), "downwards is as far");
  writer.take();
  // One a second in five, however it comes: a whole unit is never more than its own time away.
  let gained = 0;
  for (let ms = 2_200; ms <= 62_200; ms += 50) {
    if (writer.write({ level: [gained + 1] }, ms)) gained += 1;
    writer.take();
  }
  assert(gained >= 12 && gained <= 14, `${gained} in a minute`);
  assert(!writer.write({ level: [-6] }, 200_000));
  assertEquals(writer.take()[0], "level bounds");
});

Deno.test("WriteChecks.judge() measures rotations by their angle, either sign of the quaternion", () => {
  const quat = (angle: number, sign = 1) => [
    0,
    sign * Math.sin(angle / 2),
    0,
    sign * Math.cos(angle / 2),
  ];
  for (const onViolation of ["reject", "clamp"]) {
    const writer = new CheckedWriter(
      checkedGrants({ turn: TURN }, { turn: { maxSpeed: 3, maxStep: 1, onViolation } }),
    );
    writer.write({ turn: quat(0) }, 1_000);
    for (let i = 1; i <= 90; i++) {
      assert(
        writer.write(
          { turn: quat(i * 3 * STEP_MS / 1000, i % 2 === 0 ? 1 : -1) },
          1_000 + i * STEP_MS,
        ),
      );
    }
    assert(!writer.write({ turn: quat(90 * 0.1 + 1.4) }, 4_100));
    assertEquals(writer.take()[0], "turn step");
    const turned = 2 * Math.atan2(writer.read("turn")[1]!, writer.read("turn")[3]!);
    const expected = onViolation === "reject" ? 9 : 10;
    const apart = Math.abs(Math.sin((turned - expected) / 2)) * 2;
    assertLess(apart, 0.03, onViolation);
  }
});

Deno.test("WriteChecks.judge() holds the gain of speed, and lets a wall stop it", () => {
  const ship = (onViolation: string) =>
    new CheckedWriter(
      checkedGrants({ at: POINT }, { at: { maxSpeed: 50, maxAcceleration: 10, onViolation } }),
    );
  const fly = (writer: CheckedWriter, velocity: (s: number) => number, seconds: number) => {
    let x = 0;
    writer.write({ at: [0, 0, 0] }, 1_000);
    for (let i = 1; i <= seconds * 30; i++) {
      x += velocity(i / 30) / 30;
      writer.write({ at: [x, 0, 0] }, 1_000 + i * STEP_MS);
    }
    return writer.take();
  };
  assertEquals(fly(ship("report"), (s) => Math.min(45, 10 * s), 8), []);
  assertEquals(fly(ship("report"), (s) => s < 4 ? 10 * s : 0, 8), [], "a wall");
  assertEquals(
    new Set(fly(ship("report"), (s) => s < 1 ? 0 : 30, 3)),
    new Set(["at acceleration"]),
  );
  assertEquals(
    new Set(fly(ship("report"), (s) => s < 2 ? 15 * s : -30, 4)),
    new Set(["at acceleration"]),
  );
  assertEquals(fly(ship("report"), (s) => Math.min(45, 40 * s), 3)[0], "at acceleration");
  // Where it is not only told but held, it gets no farther than 10 m/s2 lead: after standing for a second, for 3 s, in one way or by turns.
  const most = CHECK_TOLERANCE * 10 * (3 + CHECK_BURST_S + CHECK_SILENCE_S) ** 2 / 2;
  for (const onViolation of ["reject", "clamp"]) {
    for (const way of [() => 30, () => 49, (s: number) => s % 0.5 < 0.1 ? 400 : 20]) {
      const held = ship(onViolation);
      let x = 0;
      held.write({ at: [0, 0, 0] }, 1_000);
      for (let i = 1; i <= 120; i++) {
        const s = i / 30;
        x = held.read("at")[0]! + (s < 1 ? 0 : way(s)) / 30;
        held.write({ at: [Math.min(500, x), 0, 0] }, 1_000 + i * STEP_MS);
      }
      const far = held.read("at")[0]!;
      assert(held.take().includes("at acceleration"), onViolation);
      assertLess(far, Math.min(most, 3.5 * 50 * CHECK_TOLERANCE), onViolation);
      // 30 m/s would be 90 m: at 10 m/s2 it is about half of that, with what is given besides.
      if (way(1) === 30) assertLess(far, 75, onViolation);
      if (onViolation === "clamp") assertGreater(far, 15);
    }
  }
});

Deno.test("WriteChecks.judge() counts changes of one field, whatever its type", () => {
  const grants = checkedGrants(
    { text: { type: "string", maxBytes: 8 }, on: { type: "bool" }, at: POINT },
    { on: { rateHz: 2 } },
  );
  const writer = new CheckedWriter(grants);
  writer.write({ on: [0], at: [0, 0, 0] }, 1_000);
  let switched = 0;
  for (let i = 1; i <= 300; i++) {
    const on = writer.read("on")[0] === 0 ? 1 : 0;
    if (writer.write({ on: [on], at: [i, 0, 0] }, 1_000 + i * STEP_MS)) switched += 1;
  }
  // Ten seconds at 2.5, a burst, and two seconds for what a path may have held up.
  assert(switched >= 29 && switched <= 32, `${switched} in 10 s`);
  assertEquals(new Set(writer.take()), new Set(["on rate"]));
});

Deno.test("WriteChecks.judge() leaves exempt roles alone, and nobody inherits what they did", () => {
  const writer = runner({ exempt: ["moderator"], bounds: { min: [-9, -9, -9], max: [9, 9, 9] } });
  writer.write({ at: [0, 0, 0] }, 1_000);
  writer.role = MODERATOR_ROLE;
  assert(writer.write({ at: [200, 0, 0] }, 1_033));
  assertEquals(writer.take(), []);
  writer.role = 1;
  assert(!writer.write({ at: [1, 0, 0] }, 1_066));
});

Deno.test("WriteChecks keeps no more memories than it may, and none for longer than it may", () => {
  const grants = checkedGrants({ at: POINT }, { at: { maxSpeed: 8 } }, {
    spawn: { roles: ["all"], maxPerPeer: 1 },
  });
  const writer = new CheckedWriter(grants);
  for (let i = 0; i < 3_000; i++) {
    writer.peer = 1 + i;
    writer.write({ at: [0, 0, 0] }, 1_000);
    writer.bury(1_000);
  }
  assertEquals(writer.checks.memoryCount, MAX_CHECK_MEMORIES);
  writer.peer = 3_000;
  assert(!writer.write({ at: [100, 0, 0] }, 1_033), "the newest are kept");
  writer.checks.forget(writer.id);
  writer.peer = 1;
  assert(writer.write({ at: [100, 0, 0] }, 1_033), "the oldest are not");
  writer.checks.expire(1_000 + CHECK_MEMORY_MS - 1);
  assertEquals(writer.checks.memoryCount, MAX_CHECK_MEMORIES);
  writer.checks.expire(1_000 + CHECK_MEMORY_MS);
  assertEquals(writer.checks.memoryCount, 0, "erased by time alone");
});

Deno.test("WriteChecks.judge() holds the rate of a field through a respawn", () => {
  const grants = checkedGrants({ shots: { type: "u32" } }, { shots: { rateHz: 5 } }, {
    spawn: { roles: ["all"], maxPerPeer: 1 },
  });
  const writer = new CheckedWriter(grants);
  let taken = 0;
  for (let i = 0; i < 300; i++) {
    const ms = 1_000 + i * STEP_MS;
    if (i % 3 === 2) writer.bury(ms);
    const wasThere = writer.present !== undefined;
    const isTaken = writer.write({ shots: [i] }, ms);
    if (isTaken) taken += 1;
    if (!wasThere && isTaken) writer.checks.settle(writer.peer, 0);
    if (!wasThere && !isTaken) writer.checks.forget(writer.id);
  }
  assertLess(taken, 12 * 5 * 1.25 + 5);
});
