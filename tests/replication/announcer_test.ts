// The announcer alone, with sections as a receiver would have decoded them. Random worlds are in `snapshot_convergence_test.ts`.

import { assert, assertEquals } from "@std/assert";
import { Announcer } from "../../replication/announcer.ts";
import { DecodedPool } from "../../replication/decoded_snapshot.ts";
import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { createValue } from "../../replication/value.ts";
import { Mirror } from "../support/mirror.ts";
import { AVATAR, HEALTH, NAME, PLAYER, sampleGrants, TRANSFORM } from "../support/sample_grants.ts";

/** A receiver that is fed records, and what its announcer says. */
class Stage {
  readonly grants = sampleGrants();
  readonly receiver = new SnapshotReceiver({
    grants: this.grants,
    roleIndex: PLAYER,
    direction: "down",
  });
  readonly announcer = new Announcer({ grants: this.grants, receiver: this.receiver });
  readonly mirror = new Mirror(this.grants);
  readonly #pool = new DecodedPool(this.grants.components);

  begin(tick: number): this {
    this.#pool.begin(tick);
    return this;
  }

  header(
    state: "alive" | "gone" | "outOfView",
    visible: number[] = [],
    hidden: number[] = [],
    owner = 0,
    epoch = 0,
  ): this {
    const entry = this.#pool.nextEntry("header", 5);
    entry.state = state;
    entry.visible.push(...visible);
    entry.hidden.push(...hidden);
    entry.owner = owner;
    entry.epoch = epoch;
    entry.fresh = true;
    return this;
  }

  value(component: number, mask = 1, fresh = true): this {
    const entry = this.#pool.nextEntry("value", 5);
    entry.component = component;
    entry.value = this.#pool.nextValue(component);
    entry.held = this.grants.components[component]!.allFields;
    entry.mask = mask;
    entry.versionTick = this.#pool.result.tick;
    entry.time = this.#pool.result.tick * 64;
    entry.fresh = fresh;
    return this;
  }

  /** Commits and announces; the calls since the last time. */
  end(): string[] {
    this.mirror.calls.length = 0;
    this.receiver.commit(this.#pool.result);
    this.announcer.handle(this.#pool.result, this.mirror);
    return this.mirror.calls.slice();
  }
}

Deno.test("`Announcer.handle()` announces an entity when all its visible components are there", () => {
  const stage = new Stage();
  assertEquals(stage.begin(10).header("alive", [TRANSFORM, NAME]).value(TRANSFORM).end(), []);
  assert(!stage.announcer.isAnnounced(5));
  assertEquals(stage.begin(11).value(TRANSFORM).end(), []);
  assertEquals(stage.begin(12).value(NAME).end(), ["spawn 5", "value 5 0 3", "value 5 2 1"]);
  assert(stage.announcer.isAnnounced(5));
  assertEquals(stage.begin(13).value(TRANSFORM, 2).end(), ["value 5 0 2"]);
});

Deno.test("`Announcer.handle()` waits for a header that comes after the values", () => {
  const stage = new Stage();
  assertEquals(stage.begin(10).value(NAME).end(), []);
  assertEquals(stage.begin(11).header("alive", [NAME]).end(), ["spawn 5", "value 5 2 1"]);
});

Deno.test("`Announcer.handle()` says each value once, and none that is not fresh", () => {
  const stage = new Stage();
  stage.begin(10).header("alive", [NAME]).value(NAME).end();
  assertEquals(stage.begin(9).value(NAME, 1, false).end(), []);
  assertEquals(stage.begin(11).value(NAME, 0).end(), []);
});

Deno.test("`Announcer.handle()` hides what left the view and gives it back whole", () => {
  const stage = new Stage();
  const whole = stage.grants.components[TRANSFORM]!.allFields;
  stage.begin(10).header("alive", [TRANSFORM, NAME]).value(TRANSFORM).value(NAME).end();
  assertEquals(stage.begin(11).header("alive", [NAME], [TRANSFORM]).end(), ["hide 5 0"]);
  assertEquals(stage.begin(12).header("alive", [NAME], [TRANSFORM]).end(), []);
  assertEquals(stage.begin(13).header("outOfView").end(), ["hide 5 2"]);
  assertEquals(stage.begin(14).header("alive", [TRANSFORM, NAME]).end(), [
    `value 5 0 ${whole}`,
    "value 5 2 1",
  ]);
});

Deno.test("`Announcer.handle()` removes what no header lists any more", () => {
  const stage = new Stage();
  stage.begin(10).header("alive", [TRANSFORM, NAME]).value(TRANSFORM).value(NAME).end();
  stage.begin(11).header("alive", [NAME], [TRANSFORM]).end();
  assertEquals(stage.begin(12).header("alive", [NAME]).end(), ["remove 5 0"]);
  // Added again, it is shown with a value of its own, not with the old one.
  assertEquals(stage.begin(13).header("alive", [TRANSFORM, NAME]).end(), []);
  assertEquals(stage.begin(14).value(TRANSFORM, 3).end(), ["value 5 0 3"]);
});

Deno.test("`Announcer.handle()` says owner and epoch once, before the values that came with them", () => {
  const stage = new Stage();
  stage.begin(10).header("alive", [HEALTH]).value(HEALTH).end();
  assertEquals(stage.begin(11).header("alive", [HEALTH], [], 2, 1).value(HEALTH).end(), [
    "owner 5 2 1",
    "value 5 3 1",
  ]);
  assertEquals(stage.begin(12).header("alive", [HEALTH], [], 2, 1).end(), []);
});

Deno.test("`Announcer.handle()` ends only what was announced", () => {
  const stage = new Stage();
  assertEquals(stage.begin(10).header("gone").end(), []);
  const other = new Stage();
  other.begin(10).header("alive", [NAME]).end();
  assertEquals(other.begin(11).header("gone").end(), []);
  const shown = new Stage();
  shown.begin(10).header("alive", [NAME]).value(NAME).end();
  assertEquals(shown.begin(11).header("gone").end(), ["despawn 5"]);
  assertEquals(shown.begin(11).value(NAME).end(), []);
});

Deno.test("`Announcer.adopt()` takes an entity for known whose values the engine has itself", () => {
  const stage = new Stage();
  stage.announcer.adopt(5);
  stage.mirror.spawn(5, 1, 0);
  const name = createValue(stage.grants.components[NAME]!);
  const own = { value: name, mask: 1, time: 0, isHidden: false };
  stage.mirror.entities.get(5)!.values.set(NAME, own);
  assertEquals(stage.begin(10).header("alive", [AVATAR, NAME], [], 1).end(), ["owner 5 1 0"]);
  assertEquals(stage.begin(11).value(AVATAR, 3).end(), ["value 5 1 3"]);
  assertEquals(stage.begin(12).header("alive", [AVATAR], [], 1).end(), ["remove 5 2"]);
});

Deno.test("`Announcer.forget()` says nothing", () => {
  const stage = new Stage();
  stage.begin(10).header("alive", [NAME]).value(NAME).end();
  stage.announcer.forget(5);
  assertEquals(stage.begin(11).header("gone").end(), []);
});
