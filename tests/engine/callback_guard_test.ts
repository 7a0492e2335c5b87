import { assert, assertEquals, assertThrows } from "@std/assert";
import { CallbackGuard } from "../../engine/callback_guard.ts";
import type { Channel } from "../../engine/channel.ts";
import { EngineCallbacks } from "../../engine/link_events.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { batchOf, helloOf, joinedOf, LinkBed, rowsOf, spawnBatch } from "../support/fake_driver.ts";

const REMOTE = 0x8000_0001;

/** Makes every callback fail after it has done what it did before; the names of those that were called. */
function breakAll(bed: LinkBed): string[] {
  const called: string[] = [];
  const callbacks = bed.link as unknown as Record<
    string,
    ((...args: unknown[]) => void) | undefined
  >;
  for (const name of Object.keys(new EngineCallbacks())) {
    if (name === "onError") continue;
    const before = callbacks[name];
    callbacks[name] = (...args) => {
      called.push(name);
      before?.(...args);
      throw new Error(name);
    };
  }
  return called;
}

/** A whole life of a client's link. */
const LIFE: readonly ((bed: LinkBed) => ToEngine | readonly ToEngine[])[] = [
  (bed) => helloOf(bed.grants, "client"),
  () => joinedOf(5),
  () => ({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false }),
  (bed) => spawnBatch(bed.grants, REMOTE, 70, 6, { Name: { text: "a" } }),
  (bed) => {
    const spawn = spawnBatch(bed.grants, REMOTE + 1, 71, 6, { Name: { text: "b" } });
    return {
      ...spawn,
      owners: Uint32Array.of(REMOTE, 7, 1),
      removes: Uint32Array.of(REMOTE, 3),
      hides: Uint32Array.of(REMOTE + 1, 3),
    };
  },
  (bed) =>
    batchOf({
      components: [rowsOf(bed.component("Name"), [[REMOTE + 1, { text: "c" }]])],
      despawns: Uint32Array.of(REMOTE),
    }),
  () => ({
    kind: "event",
    eventId: 1,
    from: 6,
    time: 1,
    late: false,
    row: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 65),
  }),
  () => ({
    kind: "voice",
    handle: REMOTE + 1,
    sequence: 1,
    time: 1,
    position: new Float64Array(0),
    frame: Uint8Array.of(1),
  }),
  () => ({ kind: "channelOpen", channel: 0x8000_0001, channelId: 1, name: "", peer: 0 }),
  () => ({ kind: "stamped", id: 1, time: 9 }),
  () => ({ kind: "stats", values: { x: 1 } }),
  () => ({ kind: "spawnRefused", handle: 1, rule: "role" }),
  () => ({ kind: "roleChanged", peer: 6, roleId: 2 }),
  (bed) => batchOf({ components: [rowsOf(bed.component("Name"), [[999, { text: "d" }]])] }),
  () => ({ kind: "peerLeave", peer: 6, reason: "" }),
  () => ({ kind: "left", code: 1, reason: "", final: false }),
];

function live(bed: LinkBed, isGuarded: boolean): void {
  const say = (messages: readonly ToEngine[]) => {
    try {
      bed.say(...messages);
    } catch (error) {
      assert(isGuarded, String(error));
      bed.listen();
    }
  };
  bed.link.spawn({ Name: { text: "own" } });
  bed.connect();
  for (const step of LIFE) say([step(bed)].flat());
  try {
    bed.link.handleClosed();
  } catch {
    assert(isGuarded);
  }
}

Deno.test("EngineLink ends up the same, and tells everything, when every callback throws", () => {
  const honest = new LinkBed("client");
  live(honest, false);
  const broken = new LinkBed("client");
  const called = breakAll(broken);
  live(broken, true);
  assertEquals(broken.log, honest.log);
  assertEquals([...broken.world.handles()], [...honest.world.handles()]);
  assertEquals(broken.world.read(REMOTE + 1, "Name"), honest.world.read(REMOTE + 1, "Name"));
  const { callbackErrors, ...stats } = broken.link.stats;
  assertEquals({ ...stats, callbackErrors: 0 }, honest.link.stats);
  assertEquals(callbackErrors, called.length);
  for (const name of ["onSpawn", "onRemoteChange", "onRemoteRemove", "onHide", "onOwnerChange"]) {
    assert(called.includes(name), name);
  }
  for (const name of ["onEvent", "onVoice", "onChannel", "onDriverLost", "onLeft", "onDenied"]) {
    assert(called.includes(name), name);
  }
});

Deno.test("EngineLink throws the first error of its callbacks after all of them ran, and only once", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  const told: number[] = [];
  bed.link.onSpawn = (handle) => {
    told.push(handle);
    throw new Error(`spawn ${handle & 0xff}`);
  };
  const both = batchOf({
    spawns: Uint32Array.of(REMOTE, REMOTE + 1),
    spawnIds: Uint32Array.of(70, 71),
    spawnOwners: Uint32Array.of(0, 0),
  });
  assertThrows(() => bed.say(both), Error, "spawn 1");
  assertEquals(told, [REMOTE, REMOTE + 1]);
  assertEquals(bed.world.size, 2);
  bed.flush();
  bed.pass(300);
  assertEquals(bed.link.stats.callbackErrors, 2);
});

Deno.test("EngineLink hands every error to `onError` and throws none, when that is set", () => {
  const bed = new LinkBed("client");
  const errors: string[] = [];
  bed.link.onError = (error) => errors.push((error as Error).message);
  bed.join(5);
  bed.link.onSpawn = () => {
    throw new Error("one");
  };
  bed.link.onRemoteChange = () => {
    throw new Error("two");
  };
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  assertEquals(errors, ["one", "two"]);
  // One that throws itself is an error like any other.
  bed.link.onError = () => {
    throw new Error("three");
  };
  const next = spawnBatch(bed.grants, REMOTE + 1, 71, 6, { Name: {} });
  assertThrows(() => bed.say(next), Error, "three");
});

Deno.test("EngineLink goes on with its channels, when their callbacks throw", () => {
  const bed = new LinkBed("client");
  const errors: string[] = [];
  bed.link.onError = (error) => errors.push((error as Error).message);
  bed.join(5);
  let channel: Channel | undefined;
  bed.link.onChannel = (one) => {
    channel = one;
    one.onMessage = () => {
      throw new Error("message");
    };
    one.onClose = () => {
      throw new Error("close");
    };
    one.onWritable = () => {
      throw new Error("writable");
    };
    throw new Error("channel");
  };
  const number = 0x8000_0001;
  bed.say({ kind: "channelOpen", channel: number, channelId: 1, name: "", peer: 0 });
  const piece = new Uint8Array(65_536);
  // Credit still comes, although each message fails.
  for (let i = 0; i < 8; i++) bed.say({ kind: "channelData", channel: number, piece, last: true });
  assertEquals(bed.heardOf("channelCredit").reduce((sum, { bytes }) => sum + bytes, 0), 8 * 65_536);
  while (channel!.send(piece));
  bed.listen();
  bed.say({ kind: "channelCredit", channel: number, bytes: 131_072 });
  bed.say({ kind: "channelClose", channel: number, reason: "" });
  assertEquals(errors.filter((one) => one === "message").length, 8);
  assertEquals(new Set(errors), new Set(["channel", "message", "writable", "close"]));
  assertEquals(bed.link.stats.channels, 0);
});

Deno.test("`CallbackGuard.settle()` waits for the outermost callback, when callbacks call the link", () => {
  const game = new EngineCallbacks();
  const guard = new CallbackGuard(game);
  const order: string[] = [];
  game.onDriverBack = () => {
    throw new Error("inner");
  };
  game.onDriverLost = () => {
    guard.callbacks.onDriverBack?.();
    guard.settle();
    order.push("went on");
  };
  guard.callbacks.onDriverLost?.("");
  order.push("told");
  assertThrows(() => guard.settle(), Error, "inner");
  guard.settle();
  assertEquals([...order, guard.failures], ["went on", "told", 1]);
});
