// Checks against cheating from end to end: an honest avatar on a bad path is never found at fault, a cheating one gets nowhere that the world
// does not permit, everyone sees only that, its own engine ends with it too, and the server's engine hears of it.

import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { Rule } from "../../permissions/rule.ts";
import { LogCode } from "../../protocol/log_codes.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import type { ViolationInfo } from "../../engine/mod.ts";
import { CLIP_HZ, FRAME_FLOATS, readClip } from "../../examples/recorded.ts";
import { disagreements } from "../support/agreement.ts";
import { driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { ForgedState, RawPeer } from "../support/raw_peer.ts";

const AVATAR = 0;
const FRAME_MS = 1000 / 30;
const ACTIONS = ["reject", "clamp", "report"] as const;

/** The tests' world, with checks on the avatar's body (and what else is given), one avatar a peer unless it says otherwise. */
function checkedGrants(body: Record<string, unknown>, others = {}, maxPerPeer = 1) {
  const components = driverComponents();
  components[AVATAR]!["checks"] = { body, ...others };
  components[AVATAR]!["interestRadius"] = 0;
  components[AVATAR]!["spawn"] = { roles: ["player"], maxPerPeer };
  return driverGrants({ components });
}

/** Two clients with an avatar each: the first to be watched, the second to see it. */
function stage(
  grants: ReturnType<typeof checkedGrants>,
  seed: number,
  conditions = { latencyMs: 30, jitterMs: 10, lossRate: 0 },
) {
  const pair = new Pair({ grants, seed, clients: 2, conditions }).start().joinAll(20_000);
  const [a, b] = pair.clients as [PairNode<never>, PairNode<never>];
  const avatar = a.engine.spawn({ Avatar: poseAt(0) });
  b.engine.spawn({ Avatar: poseAt(1) });
  const violations: ViolationInfo[] = [];
  const denials: DenialReport[] = [];
  pair.server.engine.onViolation = (one) => violations.push(one);
  pair.server.engine.onDenied = (one) => denials.push(one);
  a.engine.onViolation = () => assert(false, "only the server's engine is told");
  flush(pair, 1_500);
  const atServer = pair.server.engine.handleOf(a.engine.networkIdOf(avatar));
  const atOther = b.engine.handleOf(a.engine.networkIdOf(avatar));
  /** Where the other client saw it. */
  const seen: number[] = [];
  b.engine.onRemoteChange = (handle, name, values) => {
    if (handle === atOther && name === "Avatar" && "body" in values) {
      seen.push((values["body"] as number[])[0]!);
    }
  };
  const x = (node: PairNode<never>, handle: number) =>
    (node.world.read(handle, "Avatar")!.body as number[])[0]!;
  return {
    pair,
    a,
    b,
    avatar,
    violations,
    denials,
    seen,
    atServer,
    /** Where it is for its owner, the server's engine and the other client. */
    places: () => [
      x(a, avatar),
      x(pair.server as unknown as PairNode<never>, atServer),
      x(b, atOther),
    ],
  };
}

function flush(pair: Pair, ms: number): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

function assertAgreed(pair: Pair, context: string): void {
  flush(pair, 300);
  pair.until(`all agree: ${context}`, () => disagreements(pair).length === 0);
}

Deno.test("an honest avatar is never found at fault, whatever its path loses", () => {
  const clip = readClip("03_03");
  const part = (f: number, i: number) => {
    const at = (f % clip.frameCount) * FRAME_FLOATS + i * 7;
    return [...clip.floats.subarray(at, at + 7)];
  };
  let [body, hand, turn] = [0, 0, 0];
  for (let f = 1; f < clip.frameCount; f++) {
    const speed = (i: number) =>
      Math.hypot(...[0, 1, 2].map((k) => part(f, i)[k]! - part(f - 1, i)[k]!)) * CLIP_HZ;
    const dot = [3, 4, 5, 6].reduce((sum, k) => sum + part(f, 0)[k]! * part(f - 1, 0)[k]!, 0);
    body = Math.max(body, speed(0));
    hand = Math.max(hand, speed(2));
    turn = Math.max(turn, 2 * Math.acos(Math.min(1, Math.abs(dot))) * CLIP_HZ);
  }
  const grants = checkedGrants({ maxSpeed: body, maxAcceleration: body * 10 }, {
    hand: { maxSpeed: hand },
    turn: { maxSpeed: turn },
  });
  for (const [seed, lossRate] of [[1, 0.05], [2, 0.25], [3, 0.25], [4, 0.05]] as const) {
    const conditions = { latencyMs: 40, jitterMs: 40, lossRate, duplicateRate: 0.05 };
    const { pair, a, avatar, violations, denials } = stage(grants, seed, conditions);
    const [origin] = [part(0, 0)];
    const pose = (f: number) => {
      const place = (i: number) =>
        part(f, i).slice(0, 3).map((one, k) => one - (k === 1 ? 0 : origin![k]!));
      return { body: place(0), turn: part(f, 0).slice(3), hand: place(2) };
    };
    pair.server.engine.set(
      pair.server.engine.handleOf(a.engine.networkIdOf(avatar)),
      "Avatar",
      pose(0),
    );
    flush(pair, 1_000);
    pair.play(15_000, FRAME_MS, (i) => {
      a.engine.set(avatar, "Avatar", pose(i * 2));
      a.engine.flush();
      // Now and then the path is gone for longer.
      pair.muted = i % 150 > 100 && i % 150 < 140 ? "up" : undefined;
    });
    pair.muted = undefined;
    assertEquals(violations, [], `seed ${seed}`);
    assertEquals(denials.filter(({ rule }) => rule === Rule.Check), [], `seed ${seed}`);
    assertAgreed(pair, `seed ${seed}`);
  }
});

Deno.test("one that runs 1.3 times too fast gets no farther than the world permits, by every action, and ends where the server says", () => {
  for (const [seed, onViolation] of ACTIONS.entries()) {
    const { pair, a, avatar, violations, denials, seen, places } = stage(
      checkedGrants({ maxSpeed: 8, onViolation }),
      seed + 10,
    );
    const isLawless = onViolation === "report";
    pair.play(10_000, FRAME_MS, () => {
      const body = a.world.read(avatar, "Avatar")!.body as number[];
      a.engine.set(avatar, "Avatar", poseAt(body[0]! + 8 * 1.3 * FRAME_MS / 1000));
      a.engine.flush();
    });
    assertAgreed(pair, onViolation);
    const [own, served, other] = places();
    assertAlmostEquals(own!, served!, 0.001, onViolation);
    assertEquals(other, served, onViolation);
    if (isLawless) assertGreater(served!, 100);
    // 10 s, and what the silence before them and half a second may have saved up.
    else assertLess(served!, 12 * 8.4);
    assertGreater(served!, 20, "honest speed goes on");
    // Nobody saw more than a half-second's way at once.
    const leaps = seen.map((one, i) => one - (seen[i - 1] ?? 0));
    assertLess(Math.max(...leaps), isLawless ? 3 : 2.5 * 8.4);
    assertGreater(violations.length, 5, onViolation);
    assertLess(violations.length, 70, "summed");
    for (const { peer, handle, component, field, check, limit, measured, action } of violations) {
      assertEquals([peer, component, field, check, limit, action], [
        a.engine.peer,
        "Avatar",
        "body",
        "speed",
        8,
        onViolation,
      ]);
      assertGreater(measured, 8);
      assert(handle !== 0);
    }
    const told = denials.some(({ rule }) => rule === Rule.Check);
    assertEquals(told, !isLawless, "the peer is told, unless it got its way");
    const found = pair.server.core.counters.get("violations");
    const reported = violations.reduce((sum, { count }) => sum + count, 0);
    assertEquals(reported, found, `${onViolation}: every one is counted in some report`);
  }
});

Deno.test("a leap is refused, cut short or reported, and nobody but the engine of the one who leaps ever sees it", () => {
  for (const [seed, onViolation] of ACTIONS.entries()) {
    const { pair, a, avatar, violations, seen, places } = stage(
      checkedGrants({ maxSpeed: 8, onViolation }),
      seed + 20,
    );
    // It stands, and says so.
    pair.play(2_500, FRAME_MS, (i) => {
      a.engine.set(avatar, "Avatar", poseAt(0, (i % 2) * 0.001));
      a.engine.flush();
    });
    a.engine.set(avatar, "Avatar", { ...poseAt(200), turn: [0, 1, 0, 0] });
    a.engine.flush();
    pair.run(1_000);
    assertAgreed(pair, onViolation);
    const [own, served, other] = places();
    assertEquals([own, other], [served, served], onViolation);
    if (onViolation === "report") assertEquals(served, 200);
    if (onViolation === "reject") assertEquals(served, 0);
    if (onViolation === "clamp") assert(served! > 1 && served! < 0.6 * 8.4, `${served}`);
    if (onViolation !== "report") assertLess(Math.max(0, ...seen), 0.6 * 8.4);
    // The other fields of the same write count.
    assertEquals(a.world.read(avatar, "Avatar")!.turn, [0, 1, 0, 0]);
    const [found] = violations;
    assertEquals([found!.check, found!.action, found!.count], ["speed", onViolation, 1]);
    assertEquals(violations.length, 1);
    // And the avatar walks on from where it is.
    pair.play(1_000, FRAME_MS, (i) => {
      a.engine.set(avatar, "Avatar", poseAt(served! + i * 0.2));
      a.engine.flush();
    });
    assertAgreed(pair, `${onViolation}, afterwards`);
    assertEquals(violations.length, 1, onViolation);
    assertGreater(places()[1]!, served! + 5);
  }
});

Deno.test("a spawn outside the bounds is refused or brought inside, and rolled back or put right in its engine", () => {
  for (const onViolation of ["reject", "clamp"] as const) {
    const bounds = { min: [-50, 0, -50], max: [50, 3, 50] };
    const grants = checkedGrants({ bounds, onViolation }, {}, 4);
    const { pair, a, violations } = stage(grants, 30);
    const refused: [number, string][] = [];
    a.engine.onSpawnRefused = (...one) => refused.push(one);
    const far = a.engine.spawn({ Avatar: poseAt(400) });
    flush(pair, 1_000);
    if (onViolation === "reject") {
      assertEquals(refused, [[far, Rule.Check]]);
      assert(!a.world.has(far));
      assertEquals(violations.map(({ check, handle }) => [check, handle]), [["bounds", 0]]);
    } else {
      assertEquals(refused, []);
      assertEquals((a.world.read(far, "Avatar")!.body as number[])[0], 50);
    }
    assertEquals(violations.map(({ measured, limit }) => [measured, limit]), [[400, 50]]);
    assertAgreed(pair, onViolation);
  }
});

Deno.test("to despawn and spawn anew, or to remove the component and add it, is no way to travel", () => {
  const { pair, a, avatar, violations, seen } = stage(checkedGrants({ maxSpeed: 8 }), 40);
  pair.run(1_000);
  const refused: number[] = [];
  a.engine.onSpawnRefused = (handle) => refused.push(handle);
  a.engine.despawn(avatar);
  const again = a.engine.spawn({ Avatar: poseAt(200) });
  flush(pair, 1_000);
  assertEquals(refused, [again]);
  assertEquals(violations.map(({ check }) => check), ["speed"]);
  const third = a.engine.spawn({ Avatar: poseAt(1) });
  flush(pair, 1_000);
  assert(a.world.has(third));
  assertAgreed(pair, "respawned where it was");
  a.engine.remove(third, "Avatar");
  flush(pair, 500);
  a.engine.set(third, "Avatar", poseAt(200));
  flush(pair, 500);
  assertEquals(violations.length, 2);
  const id = a.engine.networkIdOf(third);
  assert(!pair.server.core.world.hasComponent(id, AVATAR), "not added elsewhere");
  a.engine.set(third, "Avatar", poseAt(2));
  flush(pair, 1_000);
  assertAgreed(pair, "added again where it was");
  assertLess(Math.max(...seen, 0), 3);
});

Deno.test("where the server's engine puts an avatar is where it goes on from, and what the engine writes is never judged", () => {
  for (let seed = 50; seed < 60; seed++) {
    const conditions = { latencyMs: 40, jitterMs: 10, lossRate: 0.15 };
    const bounds = { min: [-300, 0, -300], max: [300, 3, 300] };
    const { pair, a, avatar, atServer, violations, places } = stage(
      checkedGrants({ maxSpeed: 8, maxAcceleration: 60, bounds }),
      seed,
      conditions,
    );
    for (const target of [200, -250, 400]) {
      pair.server.engine.set(atServer, "Avatar", poseAt(target));
      pair.server.engine.flush();
      pair.until("the owner is put there", () => places()[0] === target);
      if (target === 400) break;
      pair.play(1_500, FRAME_MS, (i) => {
        a.engine.set(avatar, "Avatar", poseAt(target + (i + 1) * 7.5 * FRAME_MS / 1000));
        a.engine.flush();
      });
    }
    assertAgreed(pair, `seed ${seed}`);
    assertEquals(violations, [], `seed ${seed}`);
    assertEquals(places(), [400, 400, 400], `seed ${seed}`);
  }
});

Deno.test("an avatar handed from one peer to another is judged as before, whoever moves it", () => {
  const { pair, a, b, avatar, atServer, violations } = stage(
    checkedGrants({ maxSpeed: 8 }, {}, 4),
    60,
  );
  const atB = b.engine.handleOf(a.engine.networkIdOf(avatar));
  pair.server.engine.transfer(atServer, b.engine.peer!);
  flush(pair, 1_000);
  assert(b.engine.isOwn(atB));
  for (const [to, found] of [[3, 0], [100, 1]] as const) {
    b.engine.set(atB, "Avatar", poseAt(to));
    flush(pair, 1_000);
    assertEquals(violations.length, found, `to ${to}`);
  }
  assertEquals(violations[0]!.peer, b.engine.peer);
  assertAgreed(pair, "after the transfer");
});

Deno.test("a peer of its own making that lies about sample times, sends what it likes and hears nothing gets no farther", () => {
  const lies: ((now: number) => number)[] = [
    (now) => now,
    () => 0,
    (now) => now + 10 ** 6,
    (now) => now % 2 === 0 ? now + 500 : Math.max(0, now - 9_000),
  ];
  for (const [index, lie] of lies.entries()) {
    for (const onViolation of ["reject", "clamp"] as const) {
      const grants = checkedGrants({ maxSpeed: 8, onViolation }, {
        hand: { maxSpeed: 8, maxStep: 1, onViolation },
      });
      const pair = new Pair({ grants, seed: 70 + index, clients: 1 }).start().joinAll();
      const violations: ViolationInfo[] = [];
      pair.server.engine.onViolation = (one) => violations.push(one);
      const raw = new RawPeer(pair).join();
      raw.acknowledges = index % 2 === 0;
      const forged = new ForgedState(raw);
      const component = grants.components[AVATAR]!;
      const value = createValue(component);
      const put = (x: number) => {
        for (const [name, numbers] of Object.entries({ ...poseAt(x) })) {
          const field = component.fields.find((one) => one.name === name)!;
          assert(quantiseField(field, numbers as number[], 0, value.lanes, field.laneOffset));
        }
      };
      const id = raw.accepted!.entityIds[0]!;
      put(0);
      forged.world.spawn(id, raw.accepted!.peer, forged.tick);
      forged.world.addComponent(id, AVATAR, value, forged.tick, lie(raw.time));
      forged.send(400);
      const { world } = pair.server.core;
      assert(world.isAlive(id));
      const started = pair.network.now;
      const place = new Float64Array(3);
      for (let i = 1; i <= 150; i++) {
        put(i * 2);
        forged.world.write(id, AVATAR, 7, value, forged.tick, lie(raw.time));
        forged.send(33);
        assert(world.position(id, place));
        const seconds = (pair.network.now - started) / 1000;
        assertLess(place[0]!, (seconds + 1) * 8.4, `lie ${index}, ${onViolation}`);
      }
      assertGreater(pair.server.core.counters.get("violations"), 0);
      pair.run(1_000);
      assertEquals(violations.filter(({ peer }) => peer !== raw.accepted!.peer), []);
      assertGreater(violations.length, 0);
    }
  }
});

Deno.test("a clamped value is the nearest permitted one, on the grid, the same for all", () => {
  const { pair, a, avatar, places, violations } = stage(
    checkedGrants({
      maxStep: 1.5,
      bounds: { min: [-2, 0, -2], max: [2, 3, 2] },
      onViolation: "clamp",
    }),
    80,
  );
  const walk = (x: number) => {
    a.engine.set(avatar, "Avatar", poseAt(x));
    flush(pair, 600);
    return places()[1]!;
  };
  assertAlmostEquals(walk(1.9), 1.5, 1e-6);
  assertAlmostEquals(walk(1.9), 1.9, 1e-6);
  assertAlmostEquals(walk(9), 2, 1e-6);
  assertAlmostEquals(walk(-9), 0.5, 1e-6);
  assertEquals(violations.map(({ check }) => check), ["step", "bounds", "bounds", "step"]);
  assertAgreed(pair, "clamped");
});

Deno.test("a value clamped by speed and acceleration ends as near as they let it, the same for all", () => {
  // A second and a half of silence after standing, and half a second that is held ready; the tolerance is 5 %.
  for (
    const [check, kind, low, high] of [
      [{ maxSpeed: 4 }, "speed", 0.5 * 4, 2.1 * 4.2],
      [{ maxAcceleration: 4 }, "acceleration", 1, 4.2 * 2.5 ** 2 / 2],
    ] as const
  ) {
    const { pair, a, avatar, places, violations } = stage(
      checkedGrants({ ...check, onViolation: "clamp" }),
      81,
    );
    pair.play(2_500, FRAME_MS, (i) => {
      a.engine.set(avatar, "Avatar", poseAt(0, (i % 2) * 0.001));
      a.engine.flush();
    });
    pair.run(1_500);
    a.engine.set(avatar, "Avatar", poseAt(-400));
    flush(pair, 800);
    const [own, served, other] = places();
    assertEquals([own, other], [served, served], kind);
    assert(-served! >= low && -served! <= high, `${kind}: ${served}`);
    assertEquals(violations.map((one) => one.check), [kind]);
    assertAgreed(pair, kind);
  }
});

Deno.test("one that slides along the edge of the world is clamped inside it, and everyone goes on seeing it", () => {
  for (const side of [1, -1]) {
    for (const check of [{ maxAcceleration: 5 }, { maxSpeed: 100, maxAcceleration: 5 }]) {
      const { pair, a, b, avatar, atServer, places, violations } = stage(
        checkedGrants({ ...check, onViolation: "clamp" }),
        90,
        { latencyMs: 5, jitterMs: 0, lossRate: 0 },
      );
      const edge = 511.9;
      const put = (x: number, z: number) =>
        a.engine.set(avatar, "Avatar", { ...poseAt(0), body: [side * x, 1, z] });
      pair.server.engine.set(atServer, "Avatar", { ...poseAt(0), body: [side * 400, 1, -100] });
      flush(pair, 500);
      pair.play(2_400, FRAME_MS, (i) => {
        put(Math.min(edge, 400 + i * 50 / 30), -100 + i * 50 / 30);
        a.engine.flush();
      });
      pair.play(1_500, FRAME_MS, (i) => {
        put(edge, Math.min(500, 20 + i * 12));
        a.engine.flush();
      });
      assertGreater(violations.length, 0);
      assertAgreed(pair, `side ${side}`);
      assertLess(Math.abs(places()[1]!), 512.001);
      // The other one's own movements arrive as before.
      const [mine] = [...b.world.handles()].filter((handle) => b.engine.isOwn(handle));
      b.engine.set(mine!, "Avatar", poseAt(1.5));
      flush(pair, 500);
      assertAgreed(pair, "the other one");
      for (const node of pair.clients) {
        assertEquals(node.core.counters.get("fault.OutOfRange"), 0);
      }
    }
  }
});

/** A peer of its own making that may leave fields of its avatar out. */
function forger(pair: Pair, fields: number) {
  const raw = new RawPeer(pair).join();
  const component = pair.grants.components[AVATAR]!;
  const value = createValue(component);
  const put = (x: number) => {
    for (const [name, numbers] of Object.entries({ ...poseAt(x) })) {
      const field = component.fields.find((one) => one.name === name)!;
      assert(quantiseField(field, numbers as number[], 0, value.lanes, field.laneOffset));
    }
  };
  const state = (mask: number) =>
    new ForgedState(raw, ({ index, allFields }) => index === AVATAR ? mask : allFields);
  return { raw, value, put, state, forged: state(fields), id: raw.accepted!.entityIds[0]! };
}

Deno.test("a checked field that is left out is judged by the neutral value that stands there then", () => {
  const bounds = { min: [100, 0, -400], max: [400, 3, 400] };
  for (const onViolation of ["reject", "clamp"] as const) {
    const grants = checkedGrants({ bounds, maxSpeed: 8, onViolation });
    const pair = new Pair({ grants, seed: 5, clients: 1 }).start().joinAll();
    // All fields but the body.
    const { raw, forged, value, put, id } = forger(pair, 6);
    put(200);
    forged.world.spawn(id, raw.accepted!.peer, forged.tick);
    forged.world.addComponent(id, AVATAR, value, forged.tick, raw.time);
    forged.send(400);
    const { world } = pair.server.core;
    assertEquals(pair.server.core.counters.get("violations"), 1);
    assertEquals(world.isAlive(id), onViolation === "clamp");
    if (onViolation === "reject") continue;
    const place = new Float64Array(3);
    assert(world.position(id, place));
    assertAlmostEquals(place[0]!, 100, 0.01);
  }
});

Deno.test("to remove a component and add it without the checked field is no way to travel", () => {
  const pair = new Pair({ grants: checkedGrants({ maxSpeed: 8 }), seed: 5, clients: 1 }).start()
    .joinAll();
  const { raw, forged, value, put, state, id } = forger(pair, 7);
  put(300);
  forged.world.spawn(id, raw.accepted!.peer, forged.tick);
  forged.world.addComponent(id, AVATAR, value, forged.tick, raw.time);
  forged.send(400);
  const { world } = pair.server.core;
  assert(world.hasComponent(id, AVATAR));
  forged.world.removeComponent(id, AVATAR, forged.tick);
  forged.send(300);
  assert(!world.hasComponent(id, AVATAR));
  const again = state(6);
  again.world.spawn(id, raw.accepted!.peer, again.tick);
  again.world.addComponent(id, AVATAR, value, again.tick, raw.time);
  const bytes = again.datagram();
  raw.send(bytes!);
  pair.run(400);
  assert(!world.hasComponent(id, AVATAR), "not added at the neutral place");
  assertGreater(pair.server.core.counters.get("violations"), 0);
});

Deno.test("where the server's engine put an avatar last is where the next one goes on from, however long it rested", () => {
  const { pair, a, avatar, atServer, violations } = stage(checkedGrants({ maxSpeed: 8 }), 41);
  pair.server.engine.set(atServer, "Avatar", poseAt(-300));
  flush(pair, 15_000);
  const refused: number[] = [];
  a.engine.onSpawnRefused = (handle) => refused.push(handle);
  a.engine.despawn(avatar);
  const away = a.engine.spawn({ Avatar: poseAt(0) });
  flush(pair, 1_000);
  assertEquals(refused, [away]);
  assertEquals(violations.map(({ check }) => check), ["speed"]);
  const there = a.engine.spawn({ Avatar: poseAt(-299) });
  flush(pair, 1_000);
  assert(a.world.has(there));
  // And after ten seconds without any it begins where it likes.
  a.engine.despawn(there);
  flush(pair, 10_500);
  const anywhere = a.engine.spawn({ Avatar: poseAt(200) });
  flush(pair, 1_000);
  assert(a.world.has(anywhere));
  assertAgreed(pair, "begun anew");
});

Deno.test("writes that a path held up are taken all at once, at the rates that the world declares", () => {
  const components = driverComponents();
  components[AVATAR]!["rateHz"] = 30;
  components[AVATAR]!["checks"] = { body: { rateHz: 25 } };
  const grants = driverGrants({ components });
  const pair = new Pair({ grants, seed: 6, clients: 1 }).start().joinAll();
  const denials: DenialReport[] = [];
  pair.server.engine.onDenied = (one) => denials.push(one);
  const { raw, forged, value, put, id } = forger(pair, 7);
  put(0);
  forged.world.spawn(id, raw.accepted!.peer, forged.tick);
  forged.world.addComponent(id, AVATAR, value, forged.tick, raw.time);
  forged.send(400);
  const held: Uint8Array[] = [];
  for (let i = 1; i <= 150; i++) {
    put(i * 0.1);
    forged.world.write(id, AVATAR, i % 6 === 0 ? 6 : 7, value, forged.tick, raw.time);
    const bytes = forged.datagram();
    if (bytes !== undefined) held.push(bytes);
    // Twice the path stands still, for a second and for nearly two.
    const isHeld = (i > 30 && i <= 60) || (i > 90 && i <= 147);
    if (!isHeld) { for (const one of held.splice(0)) raw.send(one); }
    pair.run(FRAME_MS);
  }
  pair.run(500);
  assertEquals(denials, []);
  const place = new Float64Array(3);
  assert(pair.server.core.world.position(id, place));
  assertGreater(place[0]!, 14.8);
});

Deno.test("the log of a violation names peer, component and field, and nothing of the value", async () => {
  const bounds = { min: [-50, 0, -50], max: [50, 3, 50] };
  const { pair, a, violations } = stage(checkedGrants({ bounds }, {}, 4), 31);
  a.engine.spawn({ Avatar: poseAt(432.125) });
  flush(pair, 1_000);
  assertEquals(violations.map(({ measured }) => measured), [432.125], "the engine is told");
  const asked = pair.server.engine.readLog({ level: "debug" });
  flush(pair, 100);
  const found = (await asked).entries.filter(({ code }) => code === LogCode.CheckBroken);
  const component = pair.grants.components[AVATAR]!.id;
  assertEquals(found.map(({ numbers }) => numbers), [[a.engine.peer!, component, 0, 0]]);
});

Deno.test("an exempt role goes where the checks let nobody else, and is held to them when it has lost the role", () => {
  const components = driverComponents();
  components[AVATAR]!["checks"] = { body: { maxSpeed: 4, exempt: ["spectator"] } };
  components[AVATAR]!["interestRadius"] = 0;
  components[AVATAR]!["write"] = ["player", "spectator"];
  const scene = stage(driverGrants({ components }), 3);
  const { pair, a, avatar, violations, places } = scene;
  const leap = (x: number) => {
    assert(a.engine.set(avatar, "Avatar", { body: [x, 0, 0] }));
    flush(pair, 400);
  };
  leap(60);
  assertAgreed(pair, "a player's leap");
  assertEquals(violations.length, 1);
  assertLess(places()[1]!, 30);
  pair.server.engine.setRole(a.engine.peer!, "spectator");
  flush(pair, 400);
  for (const x of [80, -90, 120]) {
    leap(x);
    assertAgreed(pair, `an exempt leap to ${x}`);
    for (const place of places()) assertAlmostEquals(place, x, 0.01);
  }
  assertEquals(violations.length, 1);
  pair.server.engine.setRole(a.engine.peer!, "player");
  flush(pair, 400);
  leap(-200);
  assertAgreed(pair, "a leap after the role was lost");
  assertEquals(violations.length, 2);
  for (const place of places()) assertGreater(place, 60);
});
