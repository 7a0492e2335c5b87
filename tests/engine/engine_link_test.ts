import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EngineLink } from "../../engine/engine_link.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import { encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import { encodeFrame } from "../../protocol/frame_buffer.ts";
import {
  ENGINE_HEARTBEAT_MS,
  ENGINE_TIMEOUT_MS,
  GREETING_TIMEOUT_MS,
  RESYNC_CONFIRM_MS,
} from "../../protocol/limits.ts";
import type { ViolationInfo } from "../../engine/mod.ts";
import type { FieldCheck } from "../../permissions/grants.ts";
import { TO_ENGINE_SAMPLES } from "../support/engine_link_samples.ts";
import {
  batchOf,
  helloOf,
  joinedOf,
  LINK_GRANTS,
  LinkBed,
  rowsOf,
  spawnBatch,
} from "../support/fake_driver.ts";

const REMOTE = 0x8000_0001;

Deno.test("EngineLink answers a fitting hello with welcome, and sends nothing else before joined", () => {
  const connect = { url: "quic://127.0.0.1:4433", pin: "", credential: new Uint8Array(0) };
  const bed = new LinkBed("client", { connect });
  bed.link.spawn({ Name: { text: "Ann" } });
  bed.connect();
  bed.flush();
  assertEquals(bed.heard, []);
  bed.say(helloOf(bed.grants, "client"));
  bed.flush();
  assertEquals(bed.heard, [{
    kind: "welcome",
    linkVersion: 1,
    schemaHash: bed.grants.schemaHash,
    connect,
    resume: new Uint8Array(0),
    nonces: new Uint8Array(0),
    entities: new Uint32Array(0),
  }]);
  bed.say(joinedOf(5));
  assertEquals(bed.heard.map(({ kind }) => kind), ["welcome", "batch"]);
  assertEquals(bed.takeLog(), ["ready", "joined 5 player"]);
  assertEquals(bed.link.peer, 5);
  assertEquals(bed.link.roleName, "player");
});

Deno.test("EngineLink refuses a hello that does not fit, says why, and closes", () => {
  const hello = helloOf(LINK_GRANTS, "client");
  const wrong: [Partial<typeof hello>, string][] = [
    [{ linkVersion: 2 }, "engine link version 2 of the driver, 1 of the engine"],
    [{ role: "server" }, 'role is "server", the engine expects "client"'],
    [{ schemaHash: "ab".repeat(32) }, "schema abababababab of the driver"],
    [{ components: hello.components.slice(1) }, "component ids or row sizes differ"],
    [
      { components: hello.components.map(([id, name, bytes]) => [id, name, bytes + 1] as const) },
      "component ids or row sizes differ",
    ],
  ];
  for (const [fields, reason] of wrong) {
    const bed = new LinkBed("client");
    bed.connect();
    bed.say({ ...hello, ...fields });
    const [goodbye] = bed.heardOf("goodbye");
    assertEquals(goodbye?.code, Fault.Incompatible);
    assertStringIncludes(goodbye!.reason, reason);
    assertStringIncludes(bed.takeLog().join(), `refused ${goodbye!.reason}`);
    assert(bed.link.wantsClose);
    bed.hangUp();
    assertEquals(bed.takeLog(), []);
    bed.join(5);
    assertEquals(bed.takeLog(), ["ready", "joined 5 player"]);
  }
});

Deno.test("EngineLink ends the link on messages out of their place", () => {
  const places: [string, (bed: LinkBed) => void, ToEngine][] = [
    ["joined before hello", () => {}, joinedOf(5)],
    ["batch before hello", () => {}, batchOf({})],
    ["batch before joined", (bed) => bed.say(helloOf(bed.grants, "client")), batchOf({})],
    [
      "hello twice",
      (bed) => bed.say(helloOf(bed.grants, "client")),
      helloOf(LINK_GRANTS, "client"),
    ],
    ["hello after joined", (bed) => {
      bed.say(helloOf(bed.grants, "client"));
      bed.say(joinedOf(5));
    }, helloOf(LINK_GRANTS, "client")],
    ["joined as the server", (bed) => bed.say(helloOf(bed.grants, "client")), joinedOf(0)],
    [
      "joined in no role",
      (bed) => bed.say(helloOf(bed.grants, "client")),
      joinedOf(5, { roleId: 9 }),
    ],
    [
      "joined in the server's role",
      (bed) => bed.say(helloOf(bed.grants, "client")),
      joinedOf(5, { roleId: 0 }),
    ],
  ];
  for (const [name, prepare, message] of places) {
    const bed = new LinkBed("client");
    bed.connect();
    prepare(bed);
    bed.say(message);
    assert(bed.link.wantsClose, name);
    assertEquals(bed.heardOf("goodbye").length, 1, name);
    assertEquals(bed.link.stats.faultyFrames, 1, name);
  }
});

Deno.test("EngineLink ends the link on garbage, at any chunking, and takes the next driver", () => {
  const garbage = [
    Uint8Array.of(0, 0, 0, 0),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    encodeFrame(Uint8Array.of(0xc1)),
    encodeFrame(Uint8Array.of(0x92, 20, 0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0)),
    encodeFrame(Uint8Array.of(0x91, 99)),
  ];
  for (const bytes of garbage) {
    for (const step of [1, bytes.length]) {
      const bed = new LinkBed("client");
      bed.join(5);
      for (let at = 0; at < bytes.length; at += step) bed.sayBytes(bytes.subarray(at, at + step));
      assert(bed.link.wantsClose);
      assertEquals(bed.heardOf("goodbye").length, 1);
      bed.say(batchOf({}));
      bed.hangUp();
      bed.takeLog();
      bed.join(5);
      assertEquals(bed.takeLog(), ["ready", "back", "joined 5 player"]);
    }
  }
});

Deno.test("EngineLink survives every valid message at every stage, from a driver and for a server", () => {
  for (const role of ["client", "server"] as const) {
    for (const stage of [0, 1, 2]) {
      for (const message of TO_ENGINE_SAMPLES) {
        const bed = new LinkBed(role);
        bed.connect();
        if (stage > 0) bed.say(helloOf(bed.grants, role));
        if (stage > 1) bed.say(joinedOf(role === "server" ? 0 : 5));
        bed.say(message);
        bed.flush();
        bed.pass(500);
        bed.hangUp();
      }
    }
  }
});

Deno.test("EngineLink refuses a second driver while one lives, without a word to the first", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.takeLog();
  const heard = bed.heard.length;
  assert(!bed.link.handleConnected());
  assertEquals(bed.takeLog(), ["refused a second driver connected while one was there"]);
  assertEquals(bed.heard.length, heard);
  assert(bed.link.isJoined);
  assertStringIncludes(new TextDecoder().decode(EngineLink.refusalFrame()), "has a driver already");
});

Deno.test("EngineLink pings, answers pings, and gives up a driver that is silent", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say({ kind: "ping", time: 12.5 });
  assertEquals(bed.heardOf("pong"), [{ kind: "pong", time: 12.5 }]);
  for (let i = 0; i < 3 * ENGINE_TIMEOUT_MS / 1_000; i++) {
    bed.pass(1_000);
    bed.say({ kind: "pong", time: 1 });
  }
  assert(bed.link.isJoined);
  const seconds = 3 * ENGINE_TIMEOUT_MS / 1_000;
  const pings = bed.heardOf("ping").length;
  assert(pings >= 3 * seconds && pings <= seconds * 1_000 / ENGINE_HEARTBEAT_MS, `${pings} pings`);
  bed.takeLog();
  bed.pass(ENGINE_TIMEOUT_MS - 100);
  assertEquals(bed.takeLog(), []);
  bed.pass(200);
  assertEquals(bed.takeLog(), ["lost nothing was heard for too long"]);
  assert(bed.link.wantsClose);
});

Deno.test("EngineLink gives up a driver that does not greet in time, whatever bytes it sends, and takes the next", () => {
  const bed = new LinkBed("client");
  const dribble = (send: () => void) => {
    const until = bed.nowMs + GREETING_TIMEOUT_MS + 200;
    while (bed.nowMs < until && !bed.link.wantsClose) {
      send();
      bed.pass(100);
    }
    assert(bed.link.wantsClose);
    assert(bed.nowMs >= until - 300, "no sooner than it may");
    bed.link.handleClosed();
  };
  bed.connect();
  dribble(() => bed.say({ kind: "ping", time: 1 }));
  bed.connect();
  bed.sayBytes(Uint8Array.of(255, 0, 0, 0));
  dribble(() => bed.sayBytes(Uint8Array.of(1)));
  bed.connect();
  bed.join(5);
  assert(bed.link.isJoined);
  // Welcomed late in its time, it has the whole time of a greeted one again.
  bed.pass(GREETING_TIMEOUT_MS - 100);
  assert(bed.link.isJoined);
});

Deno.test("EngineLink does not blame the driver for time in which the engine itself stood still", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.nowMs += 60_000;
  bed.link.handleTimer();
  assert(bed.link.isJoined);
  bed.pass(ENGINE_TIMEOUT_MS + 200);
  assert(!bed.link.isJoined);
});

Deno.test("EngineLink gives the next driver its table and ticket, and resyncs with one batch", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: { text: "Ann" }, Avatar: {} });
  const doomed = bed.link.spawn({ Name: {} });
  bed.join(5);
  bed.say({ kind: "named", pairs: Uint32Array.of(own, 1_001, doomed, 1_002) });
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Health: { points: 1 } }));
  bed.say({ kind: "stamped", id: bed.lastBatch!.id, time: 1 });
  bed.takeLog();
  bed.hangUp();
  assertEquals(bed.takeLog(), ["lost the connection ended"]);

  // The world goes on without a driver.
  assert(bed.link.set(own, "Name", { text: "Bob" }));
  assert(bed.link.despawn(doomed));
  const born = bed.link.spawn({ Name: { text: "Kid" } });
  assertEquals(bed.flush(), 0);
  assert(!bed.link.sendEvent("Wave", {}));
  assertEquals(bed.link.openChannel("chat"), undefined);

  bed.join(5, { resumed: true });
  const [welcome] = bed.heardOf("welcome");
  assertEquals([...welcome!.entities], [own, 1_001, REMOTE, 70, doomed, 1_002]);
  assertEquals([...welcome!.resume], [1, 2, 5]);
  assertEquals(bed.takeLog(), ["ready", "back", "joined 5 player"]);
  assertEquals(bed.heardOf("batch").length, 1);
  const batch = bed.lastBatch!;
  assertEquals([...batch.spawns], [own, born]);
  assertEquals([...batch.despawns], [doomed]);
  const names = batch.components.find(({ componentId }) => componentId === 3)!;
  assertStringIncludes(new TextDecoder().decode(names.rows), "Bob");
  assertStringIncludes(new TextDecoder().decode(names.rows), "Kid");
});

Deno.test("EngineLink keeps remote entities that the next driver announces again, and despawns the others in time", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Health: { points: 1 } }));
  bed.say(spawnBatch(bed.grants, REMOTE + 1, 71, 0, { Health: { points: 2 } }));
  bed.hangUp();
  bed.join(5, { resumed: true });
  bed.takeLog();
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 0, { Health: { points: 5 } }));
  assertEquals(bed.takeLog().filter((line) => line.startsWith("spawn")), []);
  assertEquals(bed.link.get(REMOTE, "Health")!["points"], 5);
  const heartbeat = () => bed.say({ kind: "pong", time: 0 });
  for (let ms = 0; ms < RESYNC_CONFIRM_MS - 200; ms += 200) {
    bed.pass(200);
    heartbeat();
  }
  assertEquals(bed.world.size, 2);
  bed.pass(400);
  assertEquals(bed.takeLog().filter((line) => line.startsWith("despawn")), [
    `despawn ${REMOTE + 1}`,
  ]);
  assert(bed.world.has(REMOTE));
});

Deno.test("EngineLink despawns remote entities at once and forgets its own ids, when a driver joins without resuming", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: {} });
  bed.join(5);
  bed.say({ kind: "named", pairs: Uint32Array.of(own, 1_001) });
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  bed.hangUp();
  bed.takeLog();
  bed.join(8);
  assertEquals(bed.takeLog(), [
    "ready",
    "back",
    `despawn ${REMOTE}`,
    "gone 6",
    "joined 8 player",
  ]);
  assertEquals(bed.link.networkIdOf(own), 0);
  assertEquals(bed.link.ownerOf(own), 8);
  assertEquals([...bed.lastBatch!.spawnOwners], [8]);
  bed.say(spawnBatch(bed.grants, REMOTE, 1_001, 0, { Name: {} }));
  assertEquals(bed.takeLog()[0], `spawn ${REMOTE} of 0`);
});

Deno.test("EngineLink holds its batches while a client's driver has left the world, and resyncs at each joined", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: { text: "Ann" }, Avatar: {} });
  const doomed = bed.link.spawn({ Name: {} });
  bed.join(5);
  bed.say({ kind: "named", pairs: Uint32Array.of(own, 1_001) });
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  bed.say(spawnBatch(bed.grants, REMOTE + 1, 71, 6, { Name: {} }));
  const chat = bed.link.openChannel("chat")!;
  bed.takeLog();
  bed.say({ kind: "left", code: 72, reason: "", final: false });
  assert(!chat.isOpen);
  assertEquals(bed.takeLog(), ["left 72"]);
  // A batch that was under way is late, and no reason to end the link.
  bed.say(spawnBatch(bed.grants, REMOTE + 2, 72, 6, { Name: {} }));
  assert(!bed.world.has(REMOTE + 2));
  const before = bed.heardOf("batch").length;
  assert(bed.link.set(own, "Name", { text: "Bob" }));
  assert(bed.link.remove(own, "Avatar"));
  assert(bed.link.despawn(doomed));
  assertEquals(bed.flush(), 0);
  assert(!bed.link.sendVoice(own, Uint8Array.of(1)));

  bed.say(joinedOf(5, { resumed: true }));
  assertEquals(bed.heardOf("batch").length, before + 1);
  const batch = bed.lastBatch!;
  assertEquals([...batch.spawns], [own]);
  assertEquals([...batch.removes], [own, 2]);
  assertEquals([...batch.despawns], [doomed]);
  assertStringIncludes(new TextDecoder().decode(batch.components[0]!.rows), "Bob");
  bed.takeLog();
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: true });
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  for (let ms = 0; ms <= RESYNC_CONFIRM_MS; ms += 500) {
    bed.pass(500);
    bed.say({ kind: "pong", time: 0 });
  }
  assertEquals(bed.takeLog().filter((line) => !line.startsWith("change")), [
    `despawn ${REMOTE + 1}`,
  ]);

  bed.say({ kind: "left", code: 72, reason: "", final: false });
  bed.say(joinedOf(9, { resumed: false }));
  assertEquals([...bed.lastBatch!.spawnOwners], [9]);
  assertEquals(bed.takeLog(), ["left 72", `despawn ${REMOTE}`, "gone 6", "joined 9 player"]);
});

Deno.test("EngineLink sends what game code set meanwhile on an entity it was given, once it is announced again", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 5, { Name: { text: "given" } }));
  bed.hangUp();
  assert(bed.link.set(REMOTE, "Name", { text: "changed" }));
  bed.join(5, { resumed: true });
  assertEquals(bed.heardOf("batch").length, 0);
  bed.say(batchOf({
    spawns: Uint32Array.of(REMOTE),
    spawnIds: Uint32Array.of(70),
    spawnOwners: Uint32Array.of(5),
  }));
  bed.flush();
  const [rows] = bed.lastBatch!.components;
  assertEquals([...rows!.handles], [REMOTE]);
  assertStringIncludes(new TextDecoder().decode(rows!.rows), "changed");
});

Deno.test("EngineLink rolls a refused spawn back and tells it", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: {} });
  bed.join(5);
  bed.takeLog();
  bed.say({ kind: "spawnRefused", handle: own, rule: "spawnCount" });
  bed.say({ kind: "spawnRefused", handle: own, rule: "spawnCount" });
  assertEquals(bed.takeLog(), [`spawnRefused ${own} spawnCount`]);
  assertEquals(bed.world.size, 0);
});

Deno.test("EngineLink rolls spawns back that its role may not make, when it learns its role only at joining", () => {
  const bed = new LinkBed("client");
  const own = bed.link.spawn({ Name: {} });
  bed.join(5, { roleId: 2 });
  assertEquals(bed.takeLog(), [
    "ready",
    "joined 5 spectator",
    `spawnRefused ${own} spawnRole`,
    `denied engine spawnRole spawn 0 f0 h${own} p5 x1`,
  ]);
  assertEquals(bed.world.size, 0);
  assertEquals(bed.heardOf("batch").length, 0);
});

Deno.test("setRole(), transfer() and kick() follow the state of their moment, and are for the holder of authority", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.takeLog();
  const handle = bed.link.spawn({ Name: {} });
  assert(bed.link.transfer(handle, 6));
  assert(bed.link.setRole(6, "spectator"));
  assert(bed.link.kick(6, "bye"));
  assert(!bed.link.setRole(6, "nobody"));
  assert(!bed.link.kick(7, "unknown"));
  assert(!bed.link.transfer(777, 6));
  bed.flush();
  assertEquals(bed.heard.slice(-4).map(({ kind }) => kind), [
    "batch",
    "transfer",
    "setRole",
    "kick",
  ]);
  assertEquals(bed.link.ownerOf(handle), 6);
  bed.say(batchOf({ owners: Uint32Array.of(handle, 6, 1) }));
  assert(bed.takeLog().includes(`owner ${handle} 6 1`));

  const client = new LinkBed("client");
  client.join(5);
  client.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  assert(!client.link.setRole(6, "spectator"));
  assert(!client.link.kick(6, ""));
});

Deno.test("the holder of authority believes no role that it did not give", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  bed.takeLog();
  bed.say({ kind: "peerJoin", peer: 6, roleId: 2, resumed: false });
  bed.say({ kind: "roleChanged", peer: 6, roleId: 2 });
  assertEquals(bed.takeLog()[0], "player 6 player");
  assertEquals(bed.link.denialTotals.get("role peer 0"), 2);
  bed.link.setRole(6, "spectator");
  bed.flush();
  bed.say({ kind: "roleChanged", peer: 6, roleId: 2 });
  assert(bed.takeLog().includes("role 6 spectator"));
});

Deno.test("players are told once, also over a lost driver, and gone when nobody names them again", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.say({ kind: "peerJoin", peer: 7, roleId: 2, resumed: false });
  bed.hangUp();
  bed.join(5, { resumed: true });
  bed.takeLog();
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: true });
  for (let i = 0; i < 30; i++) {
    bed.pass(200);
    bed.say({ kind: "pong", time: 0 });
  }
  assertEquals(bed.takeLog(), ["gone 7"]);
  bed.say({ kind: "peerLeave", peer: 6, reason: "left" });
  assertEquals(bed.takeLog(), ["gone 6"]);
});

Deno.test("stateHash() resolves with the driver's answer and rejects when the driver is lost", async () => {
  const bed = new LinkBed("client");
  await assertRejects(() => bed.link.stateHash(), Error, "no driver has joined");
  bed.join(5);
  const first = bed.link.stateHash();
  const second = bed.link.stateHash();
  bed.flush();
  const [request] = bed.heardOf("stateHash");
  bed.say({ kind: "stateHash", request: 999, pairs: Uint32Array.of(1, 1) });
  bed.say({ kind: "stateHash", request: request!.request, pairs: Uint32Array.of(3, 77) });
  assertEquals(await first, new Map([[3, 77]]));
  bed.hangUp();
  await assertRejects(() => second, Error, "lost");
});

Deno.test("denials of driver and remote are told; none can pretend to be the engine's own", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.takeLog();
  const denial = {
    rule: "range",
    peer: 5,
    subject: "component",
    id: 2,
    fields: 1,
    handle: 1,
    count: 3,
  };
  for (const door of ["driver", "remote", "engine"] as const) {
    bed.say({ kind: "denied", denial: { ...denial, door } });
  }
  assertEquals(bed.takeLog(), [
    "denied driver range component 2 f1 h1 p5 x3",
    "denied remote range component 2 f1 h1 p5 x3",
    "denied driver range component 2 f1 h1 p5 x3",
  ]);
});

Deno.test("broken checks are told by name to a server's engine, and only those that its own table has", () => {
  const checks: FieldCheck[] = [{
    field: 0,
    min: [],
    max: [],
    maxStep: 0,
    maxSpeed: 8,
    maxAcceleration: 0,
    rateHz: 0,
    exemptRoles: 0,
    action: "clamp",
  }];
  const sample = new LinkBed("server").grants;
  const judged = sample.components[0]!;
  const grants = {
    ...sample,
    components: sample.components.map((one) => one === judged ? { ...one, checks } : one),
  };
  const report = {
    kind: "violation",
    peer: 6,
    handle: 0,
    componentId: judged.id,
    field: 0,
    check: "speed",
    measured: 80,
    limit: 8,
    action: "clamp",
    count: 4,
  } as const;
  const open = (role: "server" | "client") => {
    const bed = new LinkBed(role, { grants });
    const heard: ViolationInfo[] = [];
    bed.link.onViolation = (one) => heard.push(one);
    bed.join(role === "server" ? 0 : 5);
    return { bed, heard };
  };
  const { bed, heard } = open("server");
  bed.say(report);
  assertEquals(heard, [{
    peer: 6,
    handle: 0,
    component: judged.name,
    field: judged.fields[0]!.name,
    check: "speed",
    measured: 80,
    limit: 8,
    action: "clamp",
    count: 4,
  }]);
  // A driver that floods is not heard to its end.
  for (let i = 0; i < 1_000; i++) bed.say(report);
  assert(heard.length < 500);
  assert(bed.link.stats.reportsDropped > 0);
  assert(bed.link.isJoined);
  const wrong = [
    { ...report, field: 1 },
    { ...report, componentId: sample.components[1]!.id },
    { ...report, componentId: 16_000 },
  ];
  for (const message of wrong) {
    const { bed, heard } = open("server");
    bed.say(message);
    assertEquals([bed.link.isJoined, heard.length], [false, 0]);
  }
  const client = open("client");
  client.bed.say(report);
  assertEquals([client.bed.link.isJoined, client.heard.length], [false, 0]);
});

Deno.test("close() says goodbye and takes no other driver", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.link.close("done");
  bed.listen();
  assertEquals(bed.heardOf("goodbye"), [{ kind: "goodbye", code: 0, reason: "done" }]);
  assert(bed.link.wantsClose);
  bed.hangUp();
  assert(!bed.link.handleConnected());
});

Deno.test("a driver that sends but does not read is cut off before its backlog grows without bound", () => {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.isReading = false;
  let sent = 0;
  // Each refused channel earns an answer that is never read.
  const frame = encodeFrame(encodeToEngine({
    kind: "channelOpen",
    channel: 0x8000_0001,
    channelId: 99,
    name: "",
    peer: 0,
  }));
  const many = new Uint8Array(frame.length * 1_000);
  for (let i = 0; i < 1_000; i++) many.set(frame, i * frame.length);
  while (!bed.link.wantsClose && sent < 2_000) {
    bed.sayBytes(many);
    sent += 1;
  }
  assert(bed.link.wantsClose);
  assert(bed.link.stats.backlogBytes < 20 * 1024 * 1024);
});

Deno.test("callbacks may call the link: nothing of a batch is lost when one despawns what it is told of", () => {
  const world = new ReferenceWorld();
  const bed = new LinkBed("server", { world });
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  bed.link.onSpawn = (handle) => void bed.link.despawn(handle);
  const batch = spawnBatch(bed.grants, REMOTE, 70, 6, { Name: { text: "x" } });
  bed.say(
    batch,
    batchOf({ components: [rowsOf(bed.component("Name"), [[REMOTE, { text: "y" }]])] }),
  );
  bed.flush();
  assertEquals([...bed.lastBatch!.despawns], [REMOTE]);
  assertEquals(world.size, 0);
});
