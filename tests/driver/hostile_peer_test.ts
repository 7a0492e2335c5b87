// A peer, or a server, that says well-formed things it has no business saying, at moments nobody expects them: each is refused, counted, and
// costs nobody else anything.

import { assert, assertEquals } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { type ControlMessage, encodeControl } from "../../protocol/control_messages.ts";
import { encodeChannelDatagram, encodePreamble } from "../../protocol/channel_frames.ts";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { Fault } from "../../protocol/faults.ts";
import { MAX_CONTROL_BACKLOG_BYTES } from "../../protocol/limits.ts";
import { SUBTICKS } from "../../protocol/timeline_units.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { HookedConnection } from "../support/hooked_connection.ts";
import { HostileScene } from "../support/hostile_scene.ts";
import { Pair } from "../support/pair.ts";
import { aliveHeaders, goneHeaders, RawPeer, voiceBody } from "../support/raw_peer.ts";

const GRANTS = driverGrants();
const OPUS = Uint8Array.of(0xf8, 1, 2, 3);

/** One honest client with an avatar, and a hostile peer at the server's hook. */
function stage(seed: number) {
  const pair = new Pair({ grants: GRANTS, seed, clients: 2 }).start();
  pair.joinAll();
  const avatars = pair.clients.map(({ engine }, i) => {
    const avatar = engine.spawn(avatarAt(i));
    engine.flush();
    return avatar;
  });
  pair.run(300);
  let hook: HookedConnection | undefined;
  const raw = new RawPeer(pair, (acceptor) => hook = new HookedConnection(acceptor));
  const ids = avatars.map((avatar, i) => pair.clients[i]!.engine.networkIdOf(avatar));
  return { pair, avatars, ids, raw, hook: hook!, counters: pair.server.core.counters };
}

/** The honest ones move on, and all agree. */
function assertServed(pair: Pair): void {
  for (const [i, { engine }] of pair.clients.entries()) {
    for (const handle of pair.clients[i]!.world.handles()) {
      if (engine.isOwn(handle)) engine.set(handle, "Avatar", poseAt(3 + i));
    }
    engine.flush();
  }
  pair.run(800);
  assertEquals(pair.server.core.exit, undefined);
  assertEquals(disagreements(pair), []);
}

Deno.test("ServerCore drops datagrams before a join, counts them and acknowledges none", () => {
  const { pair, raw, hook, counters } = stage(1);
  for (let i = 0; i < 50; i++) hook.injectDatagram(new Uint8Array(30).fill(i));
  assertEquals(counters.get("net.datagramsBeforeJoin"), 50);
  raw.join();
  pair.run(300);
  assert(raw.accepted !== undefined);
  assertServed(pair);
});

Deno.test("ServerCore ends a connection that opens a second stream before its join", () => {
  const { pair, raw } = stage(2);
  raw.control.write(Uint8Array.of(0x80));
  raw.connection.openStream().write(Uint8Array.of(1, 2, 3));
  pair.run(300);
  assertEquals(raw.closed?.code, Fault.Unexpected);
  assertServed(pair);
});

Deno.test("ServerCore takes a second control stream for a channel that nobody declared", () => {
  const { pair, raw, counters } = stage(3);
  raw.join();
  const second = raw.connection.openStream();
  let resetWith: number | undefined;
  second.setHandler({
    handleData: () => {},
    handleEnd: () => {},
    handleReset: (code) => resetWith = code,
    handleWritable: () => {},
  });
  const before = counters.get("join.accepted");
  second.write(encodeControlFrame(encodeControl({
    kind: "join",
    protocolVersion: 2,
    schemaHash: Uint8Array.fromHex(GRANTS.schemaHash),
    credential: "none",
    resume: undefined,
  })));
  pair.run(300);
  assert(resetWith !== undefined);
  assertEquals(counters.get("join.accepted"), before);
  assertEquals(raw.closed, undefined, "one such stream is a mistake, not an attack");
  assertServed(pair);
});

Deno.test("ServerCore ends a connection whose control stream is garbage", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { pair, raw } = stage(seed);
    raw.join();
    const garbage = new Uint8Array(500);
    pair.prng.fill(garbage);
    raw.control.write(garbage);
    // Garbage may begin with a long length: the rest of the message must come, and be garbage too.
    for (let i = 0; i < 80 && raw.closed === undefined; i++) {
      pair.prng.fill(garbage);
      raw.control.write(garbage.slice());
      pair.run(50);
    }
    assert(raw.closed !== undefined, `seed ${seed}`);
    assertServed(pair);
  }
});

Deno.test("ServerCore ends a connection that sends 4 KiB in place of a join", () => {
  const { pair, raw, counters } = stage(4);
  raw.control.write(encodeControlFrame(new Uint8Array(4_600)));
  pair.run(300);
  assertEquals(raw.closed?.code, Fault.OutOfRange);
  assert(counters.get("join.refused") === 1);
  assertServed(pair);
});

Deno.test("ServerCore drops each datagram that is not of this world, this moment or this peer", () => {
  const { pair, raw, hook, counters } = stage(5);
  raw.join();
  const { grantEpoch, worldEpoch, peer, entityIds } = raw.accepted!;
  const section = { snapshot: aliveHeaders(grantEpoch, [entityIds[0]!], peer) };
  const far = raw.time + 60_000 * 30 * SUBTICKS / 1000;
  const cases: [string, string, () => Uint8Array][] = [
    ["oversize", "fault.OutOfRange", () => new Uint8Array(1_501)],
    ["empty", "fault.Truncated", () => new Uint8Array(0)],
    [
      "another world epoch",
      "net.otherEpochDatagrams",
      () => raw.datagram(section, { worldEpoch: worldEpoch + 1 }),
    ],
    [
      "another grant epoch",
      "net.otherGrantEpochDatagrams",
      () =>
        raw.datagram({ snapshot: aliveHeaders((grantEpoch + 1) & 0xff, [entityIds[0]!], peer) }),
    ],
    ["a minute ahead", "fault.OutOfRange", () => raw.datagram(section, { time: far })],
    [
      "a slot beyond the world",
      "fault.OutOfRange",
      () => raw.datagram({ snapshot: aliveHeaders(grantEpoch, [GRANTS.maxEntities + 1], peer) }),
    ],
    [
      "a channel nobody declared",
      "fault.UnknownId",
      () => raw.datagram({ channels: [Uint8Array.of(99, 1)] }),
    ],
    ["a reliable channel's message", "fault.UnknownId", () =>
      raw.datagram({
        channels: [encodeChannelDatagram({ channelId: 1, name: "", payload: OPUS }, false)],
      })],
    ["a message above its size", "fault.OutOfRange", () =>
      raw.datagram({
        channels: [encodeChannelDatagram(
          { channelId: 2, name: "", payload: new Uint8Array(513) },
          false,
        )],
      })],
  ];
  for (const [what, counter, make] of cases) {
    const before = counters.get(counter);
    hook.injectDatagram(make());
    assertEquals(counters.get(counter), before + 1, what);
    pair.run(60);
  }
  assert(!pair.server.core.world.isAlive(entityIds[0]!), "none of them spawned anything");
  // One that is good passes, once.
  const good = raw.datagram(section);
  hook.injectDatagram(good);
  const repeats = counters.get("net.repeatedDatagrams");
  hook.injectDatagram(good.slice());
  assertEquals(counters.get("net.repeatedDatagrams"), repeats + 1);
  // A jump in sequence numbers leaves those before it behind the window, and all goes on.
  raw.sequence += 20_000;
  hook.injectDatagram(raw.datagram({ voice: voiceBody(raw.time, [frameOf(9, raw.time)]) }));
  hook.injectDatagram(raw.datagram(section, { sequence: 3 }));
  assertEquals(counters.get("net.repeatedDatagrams"), repeats + 2);
  // Long ago is not in the future: it is taken for what it is, and harms nobody.
  hook.injectDatagram(raw.datagram(section, { time: 64 }));
  assertEquals(raw.closed, undefined);
  assertServed(pair);
});

function frameOf(slot: number, time: number) {
  return { kind: 0 as const, slot, generation: 0, sequence: 0, time, payload: OPUS };
}

Deno.test("ServerCore lets a peer neither claim, end nor speak for what is another's", () => {
  const { pair, raw, hook, ids, counters } = stage(6);
  raw.join();
  const { grantEpoch, peer } = raw.accepted!;
  const [id] = ids;
  const { world } = pair.server.core;
  const owner = world.owner(id!);
  const heard: number[] = [];
  for (const { engine } of pair.clients) engine.onVoice = (handle) => heard.push(handle);
  const before = counters.get("denials");
  hook.injectDatagram(raw.datagram({ snapshot: aliveHeaders(grantEpoch, [id!], peer) }));
  hook.injectDatagram(
    raw.datagram({ snapshot: goneHeaders(grantEpoch, [id!]) }, { time: raw.time + SUBTICKS }),
  );
  const { time } = raw;
  hook.injectDatagram(raw.datagram({ voice: voiceBody(time, [frameOf(id! & 0xfffff, time)]) }));
  pair.run(300);
  assertEquals(counters.get("denials"), before + 3);
  assertEquals(world.owner(id!), owner);
  assert(world.isAlive(id!));
  assertEquals(heard, []);
  assertServed(pair);
});

Deno.test("ServerCore drops a peer that does not read its control stream", () => {
  const { pair, raw, hook, counters } = stage(7);
  raw.join();
  hook.streams[0]!.stuckBytes = MAX_CONTROL_BACKLOG_BYTES - 10_000;
  pair.run(500);
  assertEquals(raw.closed, undefined);
  hook.streams[0]!.stuckBytes = MAX_CONTROL_BACKLOG_BYTES + 1;
  pair.run(500);
  assertEquals(raw.closed?.code, CloseCode.Overloaded);
  assertEquals(counters.get("peers.overloaded"), 1);
  assertServed(pair);
});

Deno.test("ServerCore ends a connection that joins twice, proves unasked, or speaks as the server", () => {
  const join: ControlMessage = {
    kind: "join",
    protocolVersion: 2,
    schemaHash: Uint8Array.fromHex(GRANTS.schemaHash),
    credential: "none",
    resume: undefined,
  };
  const proof: ControlMessage = { kind: "proof", token: OPUS, signature: new Uint8Array(64) };
  const role: ControlMessage = { kind: "role", peer: 1, roleId: 1, grantEpoch: 1 };
  for (const message of [join, proof, role]) {
    const { pair, raw } = stage(8);
    raw.join();
    raw.tell(message);
    pair.run(200);
    assert(raw.closed !== undefined && raw.closed.code !== 0, message.kind);
    assertEquals(pair.server.core.usage.places, 2, "its place is gone");
    assertServed(pair);
  }
});

Deno.test("ServerCore ends streams that are opened by the hundred, and serves everyone else", () => {
  const { pair, raw } = stage(9);
  raw.join();
  for (let i = 0; i < 400 && raw.closed === undefined; i++) {
    const stream = raw.connection.openStream();
    stream.write(encodePreamble(4, `script/${i}`));
    if (i % 3 === 0) stream.end();
    pair.run(5);
  }
  assert(pair.server.core.usage.channels <= 8, `${pair.server.core.usage.channels} channels`);
  pair.run(300);
  assertServed(pair);
});

Deno.test("a client's core outlives a server that gives ids nobody can have", () => {
  const scene = new HostileScene(21);
  const { pair, hostile } = scene;
  const { engine, core } = hostile;
  const own = engine.networkIdOf([...hostile.world.handles()].find((h) => engine.isOwn(h))!);
  const slot = own & 0xfffff;
  const tell = (message: ControlMessage) =>
    scene.atClient.injectBytes(encodeControlFrame(encodeControl(message)));
  // Uses all the ids it has, and then those that the hostile server gives before good ones come.
  const handles = Array.from({ length: 7 }, () => engine.spawn({ Badge: { level: 1, by: 0 } }));
  engine.flush();
  pair.run(300);
  for (const handle of handles) engine.despawn(handle);
  engine.flush();
  pair.run(2);
  const ids = [
    makeEntityId(GRANTS.maxEntities + 1, 0),
    makeEntityId(slot, 9),
    makeEntityId(0xfffff, 5),
    own,
  ];
  tell({ kind: "entityIds", ids: ids.sort((a, b) => a - b) });
  for (let i = 0; i < 6; i++) engine.spawn({ Badge: { level: 2, by: 0 } });
  engine.flush();
  pair.run(2);
  assert(hostile.core.isJoined, "the message itself is well-formed");
  assert(ids.every((id) => id === own || engine.handleOf(id) === 0));
  pair.run(500);
  assertEquals(core.exit, undefined);
  scene.assertRecovers("after impossible ids");
});

Deno.test("a client's core outlives a server whose timeline jumps to its end", () => {
  for (const time of [2 ** 38 - 1, 2 ** 37]) {
    const scene = new HostileScene(22);
    const { pair, hostile } = scene;
    const before = scene.atClient;
    before.cut();
    pair.until("joining", () => scene.atClient !== before && scene.atClient.handler !== undefined);
    scene.atClient.injectBytes(encodeControlFrame(encodeControl({
      kind: "accepted",
      peer: 77,
      roleId: 1,
      resumed: false,
      resumeSecret: new Uint8Array(32),
      grantEpoch: 0,
      worldEpoch: 1,
      authority: 0,
      time,
      entityIds: [5, 6, 7],
      adjustments: [],
    })));
    scene.play(3_000);
    assertEquals(hostile.core.exit, undefined);
    scene.assertRecovers(`after ${time}`);
  }
});

Deno.test("a client's core drops datagrams from far ahead of its timeline", () => {
  const scene = new HostileScene(23);
  const { pair, hostile } = scene;
  const { core } = hostile;
  const bytes = scene.capture("client");
  const before = core.counters.get("fault.OutOfRange");
  // The tick's low bits, 16,000 ticks ahead.
  const far = bytes.slice();
  const tick = (far[2]! >>> 5) | (far[3]! << 3) | ((far[4]! & 0x1f) << 11);
  const ahead = (tick + 16_000) & 0xffff;
  far[2] = (far[2]! & 0x1f) | ((ahead & 7) << 5);
  far[3] = (ahead >>> 3) & 0xff;
  far[4] = (far[4]! & 0xe0) | (ahead >>> 11);
  scene.atClient.injectDatagram(far);
  assertEquals(core.counters.get("fault.OutOfRange"), before + 1);
  pair.run(500);
  scene.assertOthersServed("far ahead");
  scene.assertRecovers("far ahead");
});
