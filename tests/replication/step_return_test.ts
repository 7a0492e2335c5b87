// When entities come into step, and when again after they went out of it: a sender whose peer answers at once or not at all, no path between.

import { assert, assertEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { MAX_STEP_LENSES } from "../../protocol/limits.ts";
import { Writer } from "../../protocol/writer.ts";
import { COHORTS, STEP_TICKS } from "../../replication/cohorts.ts";
import { createInterestResult } from "../../replication/interest.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { buildComponents, PLAYER, sampleGrants } from "../support/sample_grants.ts";

/** A world of one entity for each of some components alike, and a sender with a peer that sees them all. */
class Stage {
  readonly world: World;
  readonly sender: SnapshotSender;
  tick = 0;
  readonly #components: number;
  readonly #view = createInterestResult();
  readonly #writer = new Writer();
  #sequence = 0;

  constructor(components: number) {
    this.#components = components;
    const grants = sampleGrants({
      tickHz: 30,
      components: buildComponents(
        Array.from({ length: components }, (_, i) => ({
          id: i + 1,
          name: `C${i}`,
          fields: [{ name: "a", kind: "u16" as const }],
          rateHz: 30,
        })),
      ),
    });
    this.world = new World(grants);
    this.sender = new SnapshotSender({
      grants,
      world: this.world,
      peer: 1,
      roleIndex: PLAYER,
      direction: "down",
    });
    const value = createValue(grants.components[0]!);
    for (let c = 0; c < components; c++) {
      this.world.spawn(this.id(c), 0, 1);
      this.world.addComponent(this.id(c), c, value, 1, 64);
    }
    this.#view.slots = Int32Array.from({ length: components }, (_, c) => c + 1);
    this.#view.distanceSquared = new Float64Array(components);
    this.#view.count = components;
  }

  /** The entity that has the component. */
  id(c: number): number {
    return makeEntityId(c + 1, 0);
  }

  /** The next tick, in which the entities of some components move; nothing is sent yet. */
  move(...moving: readonly number[]): void {
    this.tick += 1;
    const { tick, world } = this;
    for (const c of moving) {
      if (tick === 1 || c >= this.#components) continue;
      const value = createValue(world.grants.components[c]!);
      value.lanes[0] = tick & 0xffff;
      world.write(this.id(c), c, 1, value, tick, tick * 64);
    }
  }

  /** Sends what is due in this tick, in so many datagrams at most; returns how many they are. */
  send(isHeard = true, maxBits = 8_800, most = Infinity): number {
    const { tick, sender } = this;
    sender.updateView(tick, this.#view);
    let count = 0;
    for (; count < most; count++) {
      this.#writer.clear();
      if (!sender.writeSection(this.#writer, maxBits, tick, this.#sequence)) break;
      if (isHeard) sender.handleAcked(this.#sequence);
      this.#sequence += 1;
    }
    this.world.expire(tick);
    return count;
  }

  /** A tick in which the entity of one component moves. */
  step(moving: number, isHeard = true): number {
    this.move(moving);
    return this.send(isHeard);
  }
}

Deno.test("what moves all the time goes in step, when each of many more components than there are lenses has moved once", () => {
  const components = 3 * MAX_STEP_LENSES;
  const stage = new Stage(components);
  for (let c = 0; c < components; c++) stage.step(c);
  const last = components - 1;
  for (let i = 0; i < 4 * STEP_TICKS; i++) stage.step(last);
  assertEquals(stage.sender.inStepCount, 1);
  // The lens of the first that moved is gone; when it moves again it gets another.
  assertEquals(stage.world.steps.lens(0), undefined);
  for (let i = 0; i < STEP_TICKS + 2; i++) stage.step(1);
  assertEquals(stage.sender.inStepCount, 1);
});

Deno.test("an entity that was sent a tick after its change is counted anew: the datagram of that tick did not carry it", () => {
  const stage = new Stage(2);
  const both = () => {
    stage.move(0, 1);
    stage.send();
  };
  for (let i = 0; i < 12; i++) both();
  // One value finds room, and what waits in line is sent away with the role.
  stage.move(0, 1);
  assertEquals(stage.send(true, 100, 1), 1);
  stage.sender.setRole(PLAYER, 1);
  stage.step(0);
  const late = stage.tick;
  while (stage.tick < STEP_TICKS + 4) both();
  assertEquals(stage.sender.inStepCount, 1);
  while (stage.tick < late + STEP_TICKS + 2) both();
  assertEquals(stage.sender.inStepCount, 2);
});

Deno.test("an entity of which a tick's change was never sent does not come into step by what was sent after it", () => {
  const stage = new Stage(2);
  const both = (maxBits?: number, most?: number) => {
    stage.move(0, 1);
    return stage.send(true, maxBits, most);
  };
  for (let i = 0; i < 12; i++) both();
  // One value finds room; the other is sent away with the role, and with its next change the one of this tick is gone.
  assertEquals(both(100, 1), 1);
  stage.sender.setRole(PLAYER, 1);
  while (stage.tick < STEP_TICKS + 4) both();
  assertEquals(stage.sender.inStepCount, 1);
  while (stage.tick < 2 * STEP_TICKS + 8) both();
  assertEquals(stage.sender.inStepCount, 2);
});

Deno.test("an entity whose lens another one has got goes out of step or does not come into it, and what it moved unseen is told", () => {
  const components = 2 * MAX_STEP_LENSES;
  for (const inStep of [1, 0]) {
    const stage = new Stage(components);
    const { world, sender } = stage;
    for (let i = 0; i < (inStep === 1 ? 2 : 0.5) * STEP_TICKS; i++) stage.step(0);
    assertEquals(sender.inStepCount, inStep);
    // Its link sleeps, while other components' versions take all lenses.
    stage.tick += 3 * STEP_TICKS;
    for (let c = 1; c < components; c++) {
      world.steps.lensOf(world.grants.components[c]!, 1, world.store(c), stage.tick);
    }
    assertEquals(world.steps.lens(0), undefined);
    stage.step(0);
    assertEquals(sender.inStepCount, 0);
    assert(sender.isAcked(stage.id(0), 0));
    for (let i = 0; i < 4 * STEP_TICKS; i++) stage.step(0);
    assertEquals(sender.inStepCount, 1);
  }
});

Deno.test("an entity comes into step again after as many ticks as for the first time, whatever took it out", () => {
  const stage = new Stage(1);
  const ticksUntil = (count: number, isHeard = true): number => {
    const from = stage.tick;
    while (stage.sender.inStepCount !== count && stage.tick < from + 200) stage.step(0, isHeard);
    return stage.tick - from;
  };
  const first = ticksUntil(1);
  assert(first <= STEP_TICKS + 2, `${first}`);
  // Nothing is heard of the last ticks: it goes out of step, and goes on as before when its peer is heard again.
  assertEquals(ticksUntil(0, false), STEP_TICKS - 1);
  const again = ticksUntil(1);
  assert(again < STEP_TICKS + 2, `${again}`);
  stage.sender.setRole(PLAYER, 1);
  const afterRole = ticksUntil(1);
  assert(afterRole <= STEP_TICKS + 2, `${afterRole}`);
});

Deno.test("what changed in a tick that the link missed is sent, when nothing changes after it", () => {
  const stage = new Stage(1);
  for (let i = 0; i < 2 * STEP_TICKS; i++) stage.step(0);
  assertEquals(stage.sender.inStepCount, 1);
  stage.move(0);
  // All that was sent is acknowledged, and this tick has no change.
  assertEquals(stage.step(1), 1);
  assertEquals(stage.sender.inStepCount, 0);
  assertEquals(stage.step(1), 0);
  assert(stage.sender.isAcked(stage.id(0), 0));
});

Deno.test("what rests in step takes no datagram, and moves on in step", () => {
  const stage = new Stage(1);
  for (let i = 0; i < 2 * STEP_TICKS; i++) stage.step(0);
  for (let i = 0; i < STEP_TICKS - 3; i++) assertEquals(stage.step(1), 0);
  assertEquals([stage.step(0), stage.sender.inStepCount], [1, 1]);
  // The newest version that the peer holds must be one of the last ticks.
  for (let i = 0; i < STEP_TICKS; i++) assertEquals(stage.step(1), 0);
  assertEquals([stage.step(0), stage.sender.inStepCount], [1, 0]);
});

Deno.test("an entity whose header the peer may not have comes into step only when it is acknowledged", () => {
  const stage = new Stage(1);
  const { sender, world } = stage;
  for (let i = 0; i < 4; i++) stage.step(0);
  // The header goes in a datagram of which nothing is heard, and would go again after two round trips of the entity into step.
  sender.setRttTicks(2 * STEP_TICKS);
  stage.move(0);
  world.raiseEpoch(stage.id(0), stage.tick);
  assertEquals(stage.send(false), 1);
  for (let i = 0; i < STEP_TICKS + 8; i++) stage.step(0);
  assertEquals([sender.inStepCount, sender.isHeaderPending(stage.id(0))], [0, true]);
  for (let i = 0; i < 3 * STEP_TICKS && sender.isHeaderPending(stage.id(0)); i++) stage.step(0);
  assert(!sender.isHeaderPending(stage.id(0)), "the header goes again");
  for (let i = 0; i < STEP_TICKS + 2; i++) stage.step(0);
  assertEquals(sender.inStepCount, 1);
});

Deno.test("only the first datagrams of a tick have cohorts: what goes in later ones takes no lens", () => {
  const stage = new Stage(COHORTS + 3);
  const { world, sender } = stage;
  for (let i = 0; i < 2; i++) stage.step(COHORTS + 3);
  for (let i = 0; i < 10; i++) {
    stage.move(...world.grants.components.keys());
    // One value fits a datagram.
    assertEquals(stage.send(true, 100), COHORTS + 3);
  }
  assertEquals(sender.inStepCount, 0);
  const taken = world.grants.components.filter(({ index }) =>
    Array.from({ length: COHORTS + 3 }, (_, number) => world.steps.lens(number)?.component)
      .includes(index)
  );
  assertEquals(taken.length, COHORTS);
});

Deno.test("what finds no room in step is out of step at once, and goes in the next datagrams", () => {
  const stage = new Stage(8);
  const all = (maxBits: number) => {
    stage.move(0, 1, 2, 3, 4, 5, 6, 7);
    return stage.send(true, maxBits);
  };
  for (let i = 0; i < STEP_TICKS + 8; i++) assertEquals(all(8_800), 1);
  assertEquals(stage.sender.inStepCount, 8);
  assert(all(150) > 1);
  const left = stage.sender.inStepCount;
  assert(left > 0 && left < 8, `${left}`);
  for (let c = 0; c < 8; c++) assert(stage.sender.isAcked(stage.id(c), c));
});

Deno.test("nothing in step goes any more in a tick in which the peer's role has changed", () => {
  const stage = new Stage(COHORTS + 3);
  for (let i = 0; i < 2; i++) stage.step(COHORTS + 3);
  // One value fits a datagram: each that goes in step has a cohort of its own.
  const all = (most?: number) => {
    stage.move(...stage.world.grants.components.keys());
    return stage.send(true, 100, most);
  };
  for (let i = 0; i < STEP_TICKS + 8; i++) assertEquals(all(), COHORTS + 3);
  assertEquals(stage.sender.inStepCount, COHORTS);
  assertEquals(all(1), 1);
  stage.sender.setRole(PLAYER, 1);
  assertEquals(stage.send(), 0);
});
