// A peer that floods, on virtual time: it is degraded, then dropped; the work done for it is bounded, and everyone else is served as before.

import { assert, assertEquals } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import {
  encodeChannelDatagram,
  encodePieceHeader,
  encodePreamble,
} from "../../protocol/channel_frames.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  MAX_HALF_JOINED,
  MAX_OVER_BUDGET_MS,
  PROTOCOL_VERSION,
  WORK_BURST_S,
  WORK_CONTROL,
} from "../../protocol/limits.ts";
import { workAllowance } from "../../driver/work_budget.ts";
import { writeHeader } from "../../protocol/datagram.ts";
import { Writer } from "../../protocol/writer.ts";
import { FieldCodec } from "../../replication/field_codec.ts";
import { createValue } from "../../replication/value.ts";
import type { Stream } from "../../transport/connection.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { HookedConnection } from "../support/hooked_connection.ts";
import { Pair } from "../support/pair.ts";
import { aliveHeaders, ForgedState, RawPeer } from "../support/raw_peer.ts";

const GRANTS = driverGrants();
const BADGE = 7;
/** Most that a rate limit lets through in a time: its tolerance, and the burst in front. */
const allowed = (rateHz: number, s: number) => rateHz * 1.25 * (s + 0.5) + 2;

/** Two honest clients that watch each other move, and how old the newest state of the other is whenever it comes. */
class Honest {
  readonly pair: Pair;
  readonly #avatars: number[] = [];
  /** Ages of received poses, ms. */
  ages: number[] = [];

  constructor(seed: number) {
    this.pair = new Pair({ grants: GRANTS, seed, clients: 2 });
    this.pair.start().joinAll();
    for (const [i, { engine }] of this.pair.clients.entries()) {
      this.#avatars.push(engine.spawn(avatarAt(i)));
    }
    const [a, b] = this.pair.clients;
    b!.engine.onRemoteChange = (handle, name, values) => {
      if (name !== "Avatar" || b!.engine.networkIdOf(handle) !== this.#id(a!)) return;
      const sentMs = (values.hand as number[])[2]! * 1_000;
      if (sentMs > 0) this.ages.push(this.pair.network.now % 400_000 - sentMs);
    };
    this.play(500);
  }

  #id(client: Pair["clients"][number]): number {
    return client.engine.networkIdOf(this.#avatars[0]!);
  }

  /** Both move for `ms`; `each` runs every 10 ms. */
  play(ms: number, each: () => void = () => {}): void {
    this.pair.play(ms, 10, (step) => {
      each();
      if (step % 2 !== 0) return;
      for (const [i, { engine }] of this.pair.clients.entries()) {
        const pose = poseAt(i + (step % 100) / 100);
        engine.set(this.#avatars[i]!, "Avatar", {
          ...pose,
          hand: [1, 1, this.pair.network.now % 400_000 / 1_000],
        });
        engine.flush();
      }
    });
  }

  /** The oldest state seen while `act` ran, and how many values came. */
  measure(act: () => void): { worstMs: number; count: number } {
    this.ages = [];
    act();
    return { worstMs: Math.max(...this.ages), count: this.ages.length };
  }

  /** Nothing of the honest ones was lost. */
  assertServed(what: string): void {
    this.pair.run(1_000);
    assertEquals(this.pair.server.core.exit, undefined, what);
    assertEquals(disagreements(this.pair), [], what);
  }
}

/** A joined raw peer behind a hook at the server's end. */
function intruder(pair: Pair): { raw: RawPeer; hook: HookedConnection } {
  let hook: HookedConnection | undefined;
  const raw = new RawPeer(pair, (acceptor) => hook = new HookedConnection(acceptor)).join();
  return { raw, hook: hook! };
}

for (const kind of ["valid", "malformed"] as const) {
  Deno.test(`ServerCore degrades, then drops a peer that sends 10,000 ${kind} datagrams a second`, () => {
    const honest = new Honest(1);
    const { counters } = honest.pair.server.core;
    const quiet = honest.measure(() => honest.play(1_000));
    const { raw, hook } = intruder(honest.pair);
    const body = encodeChannelDatagram(
      { channelId: 2, name: "", payload: new Uint8Array(100) },
      false,
    );
    const { peer } = raw.accepted!;
    const allowance = workAllowance(GRANTS, GRANTS.defaultRole);
    let [injected, droppedMs, degradedMs] = [0, 0, 0];
    const before = counters.get("net.datagramsIn");
    const unreadBefore = counters.get("net.unreadDatagrams");
    const start = honest.pair.network.now;
    const flooded = honest.measure(() =>
      honest.play(2_500, () => {
        if (counters.get("peers.degraded") > 0 && degradedMs === 0) {
          degradedMs = honest.pair.network.now - start;
        }
        for (let i = 0; i < 100 && hook.isOpen; i++) {
          const good = raw.datagram({ channels: [body] });
          hook.injectDatagram(kind === "valid" ? good : good.subarray(0, good.length - 101));
          injected += 1;
        }
        if (!hook.isOpen && droppedMs === 0) droppedMs = honest.pair.network.now - start;
      })
    );
    assertEquals(hook.closes, [Fault.Flood], "it is dropped, once");
    const unread = counters.get("net.unreadDatagrams") - unreadBefore;
    const lookedAt = injected - unread;
    assert(counters.get("net.datagramsIn") - before >= injected);
    assert(lookedAt <= allowance.datagrams * (WORK_BURST_S + droppedMs / 1_000) + 1, `${lookedAt}`);
    if (kind === "valid") {
      assert(degradedMs > 0 && degradedMs < droppedMs, `${degradedMs} before ${droppedMs} ms`);
      assert(droppedMs >= MAX_OVER_BUDGET_MS && droppedMs <= MAX_OVER_BUDGET_MS + 500);
      assert(unread > lookedAt, "most of it was not even read");
    } else {
      assert(droppedMs <= 50, `${droppedMs} ms`);
    }
    assertEquals(counters.get("net.floodingPeersDropped"), 1);
    assertEquals(honest.pair.server.engine.peers.includes(peer), false);
    assert(flooded.worstMs <= quiet.worstMs + 1, `${flooded.worstMs} > ${quiet.worstMs} ms`);
    assert(flooded.count >= 2.5 * quiet.count - 4, `${flooded.count} of 2.5 x ${quiet.count}`);
    honest.assertServed(kind);
  });
}

Deno.test("ServerCore serves a peer again that stops flooding in time, and drops one that goes on by half", () => {
  const honest = new Honest(11);
  const { counters } = honest.pair.server.core;
  const { raw, hook } = intruder(honest.pair);
  const body = encodeChannelDatagram(
    { channelId: 2, name: "", payload: new Uint8Array(1) },
    false,
  );
  const flood = () => {
    for (let i = 0; i < 100 && hook.isOpen; i++) {
      hook.injectDatagram(raw.datagram({ channels: [body] }));
    }
  };
  honest.play(600, flood);
  const unread = counters.get("net.unreadDatagrams");
  assert(unread > 1_000, `${unread}`);
  honest.play(3_000);
  assertEquals(counters.get("peers.degraded"), 0);
  const lost = counters.get("net.unreadDatagrams");
  const seen = counters.get("net.datagramsIn");
  honest.play(300, () => hook.injectDatagram(raw.datagram({ channels: [body] })));
  assertEquals(counters.get("net.unreadDatagrams"), lost, "its datagrams are read again");
  assert(counters.get("net.datagramsIn") - seen >= 30);
  assert(hook.isOpen);
  // On and off in turns is over the allowance as well.
  for (let turn = 0; turn < 12 && hook.isOpen; turn++) {
    honest.play(400, flood);
    honest.play(400);
  }
  assertEquals(hook.closes, [Fault.Flood]);
  honest.assertServed("turns");
});

Deno.test("ServerCore lets a peer's control stream wait that brings more than its share, and drops it if it goes on", () => {
  const honest = new Honest(12);
  const { pair } = honest;
  const { counters } = pair.server.core;
  const { raw } = intruder(pair);
  const before = counters.get("denials");
  let [sent, droppedMs] = [0, 0];
  const start = pair.network.now;
  const payload = askPayload("?");
  const asked: string[] = [];
  pair.server.engine.onEvent = (_name, values) => asked.push(String(values.text));
  honest.play(3_000, () => {
    for (let i = 0; i < 100 && raw.closed === undefined; i++) {
      raw.tell({ kind: "event", eventId: 3, from: 0, time: raw.time, stateTicks: 0, payload });
      sent += 1;
    }
    if (raw.closed !== undefined && droppedMs === 0) droppedMs = pair.network.now - start;
  });
  assertEquals(raw.closed?.code, Fault.Flood);
  assert(droppedMs >= MAX_OVER_BUDGET_MS && droppedMs < MAX_OVER_BUDGET_MS + 1_000, `${droppedMs}`);
  const { units } = workAllowance(GRANTS, GRANTS.defaultRole);
  const judged = counters.get("denials") - before + asked.length;
  assert(judged * WORK_CONTROL <= units * (WORK_BURST_S + droppedMs / 1_000) + 100, `${judged}`);
  assert(judged < sent / 2, `${judged} of ${sent} were looked at`);
  honest.assertServed("control");
});

/** Opens a channel. */
function openStream(raw: RawPeer, channel: number): Stream {
  const stream = raw.connection.openStream();
  stream.setHandler({
    handleData: () => {},
    handleEnd: () => {},
    handleReset: () => {},
    handleWritable: () => {},
  });
  stream.write(encodePreamble(channel, ""));
  return stream;
}

/** The payload of a `Wave` event that names nobody. */
function wavePayload(): Uint8Array {
  const grant = GRANTS.events.find(({ name }) => name === "Wave")!;
  const writer = new Writer(64);
  new FieldCodec({ ...grant, allFields: 3 }).encodeAbsolute(writer, createValue(grant), 3);
  return writer.finish();
}

/** The payload of an `Ask` event. */
function askPayload(text: string): Uint8Array {
  const grant = GRANTS.events.find(({ name }) => name === "Ask")!;
  const value = createValue(grant);
  value.blobs[0] = new TextEncoder().encode(text);
  const writer = new Writer(256);
  new FieldCodec({ ...grant, allFields: 1 }).encodeAbsolute(writer, value, 1);
  return writer.finish();
}

for (const beside of ["nothing", "a flood"] as const) {
  Deno.test(`ServerCore never denies, degrades or drops a peer at 1.2 times its declared rates in bursts of 0.4 s, with ${beside} beside it`, () => {
    const honest = new Honest(2);
    const { pair } = honest;
    const { raw } = intruder(pair);
    const forged = new ForgedState(raw);
    const { peer, entityIds } = raw.accepted!;
    const id = entityIds[0]!;
    const badge = createValue(GRANTS.components[BADGE]!);
    forged.world.spawn(id, peer, forged.tick);
    forged.world.addComponent(id, BADGE, badge, forged.tick, 0);
    forged.send(100);
    honest.play(500);
    assert(pair.server.core.world.isAlive(id));
    const telemetry = encodeChannelDatagram(
      { channelId: 2, name: "", payload: new Uint8Array(20) },
      false,
    );
    const { counters } = pair.server.core;
    let denied = 0;
    const messages = new Map<string, number>();
    const asked: string[] = [];
    pair.server.engine.onDenied = (report) => {
      if (report.peer === peer) denied += report.count;
    };
    pair.server.engine.onEvent = (_name, values, { from }) => {
      if (from === peer) asked.push(String(values.text));
    };
    pair.server.engine.onChannel = (channel) => {
      if (channel.peer !== peer) return;
      const { name } = channel;
      channel.onMessage = () => messages.set(name, (messages.get(name) ?? 0) + 1);
    };
    const chat = openStream(raw, 1);
    const files = openStream(raw, 5);
    const wave = wavePayload();
    // The attacker comes back as soon as it is dropped.
    let attacker = beside === "nothing" ? undefined : intruder(pair);
    let drops = 0;
    const attack = () => {
      if (attacker === undefined) return;
      if (!attacker.hook.isOpen) {
        drops += 1;
        attacker = intruder(pair);
      }
      for (let i = 0; i < 100; i++) {
        attacker.hook.injectDatagram(attacker.raw.datagram({ channels: [telemetry] }));
      }
    };
    let writes = 0;
    for (let burst = 0; burst < 12; burst++) {
      // What the rates allow in 0.4 s comes at once.
      for (let i = 0; i < 20 * 0.4; i++) raw.send(raw.datagram({ channels: [telemetry] }));
      for (let i = 0; i < 5 * 0.4; i++) {
        const payload = askPayload("?");
        raw.tell({ kind: "event", eventId: 3, from: 0, time: raw.time, stateTicks: 0, payload });
      }
      for (let i = 0; i < 20 * 0.4; i++) {
        raw.tell({
          kind: "event",
          eventId: 1,
          from: 0,
          time: raw.time,
          stateTicks: 0,
          payload: wave,
        });
        // Its head and its piece apart, as a driver writes them.
        chat.write(encodePieceHeader(100, true));
        chat.write(new Uint8Array(100));
      }
      for (let i = 0; i < Math.floor(4 * 0.4); i++) {
        for (const last of [false, true]) {
          files.write(encodePieceHeader(65_536, last));
          files.write(new Uint8Array(65_536));
        }
      }
      for (let i = 0; i < 30 * 0.4; i++) {
        writes += 1;
        badge.lanes[0] = writes % 10;
        forged.world.write(id, BADGE, 1, badge, forged.tick, raw.time);
        forged.send(0.1);
      }
      // And the next burst so soon that it is 1.2 times the rate.
      honest.play(400 / 1.2, attack);
    }
    attacker?.raw.bye();
    honest.play(2_500);
    assertEquals(denied, 0);
    assertEquals(asked.filter((text) => text === "?").length, 24, "nothing of it was left unread");
    assertEquals(asked.length, 24 + 12 * 8);
    assertEquals(Object.fromEntries(messages), {
      telemetry: 12 * 8,
      chat: 12 * 8,
      files: 12,
    });
    assertEquals(raw.closed, undefined);
    if (beside === "nothing") assertEquals(counters.get("net.unreadDatagrams"), 0);
    else assert(drops >= 2 && counters.get("net.unreadDatagrams") > 10_000, `${drops} drops`);
    honest.assertServed("bursts");
  });
}

Deno.test("ServerCore bounds half-open connections, refuses the rest with a code, and lets joiners in again", () => {
  const honest = new Honest(3);
  const { pair } = honest;
  const open: RawPeer[] = [];
  let full = 0;
  honest.play(3_000, () => {
    for (let i = 0; i < 5; i++) open.push(new RawPeer(pair));
    full = open.filter(({ closed }) => closed?.code === CloseCode.Full).length;
  });
  const waiting = open.filter(({ closed }) => closed === undefined).length;
  assert(waiting <= MAX_HALF_JOINED + 50, `${waiting}`);
  assert(full > 1_000, `${full}`);
  honest.play(8_000);
  assertEquals(open.filter(({ closed }) => closed === undefined).length, 0, "all timed out");
  const late = pair.addClient();
  late.start();
  pair.until("a late client is in", () => late.core.isJoined);
  late.engine.spawn(avatarAt(2));
  late.engine.flush();
  honest.assertServed("half-open");
});

Deno.test("ServerCore lets newcomers in at once, though silent connections hold every place", () => {
  const honest = new Honest(13);
  const { pair } = honest;
  const { core } = pair.server;
  const silent = Array.from({ length: MAX_HALF_JOINED }, () => new RawPeer(pair));
  pair.run(100);
  assertEquals(core.usage.strangers, MAX_HALF_JOINED);
  const start = pair.network.now;
  const late = Array.from({ length: 3 }, () => {
    const client = pair.addClient();
    client.start();
    return client;
  });
  pair.until("they are in", () => late.every((client) => client.core.isJoined));
  assert(pair.network.now - start < 1_000, `${pair.network.now - start} ms`);
  pair.run(100);
  const ended = silent.filter(({ closed }) => closed !== undefined);
  assertEquals(ended.map(({ closed }) => closed!.code), [
    CloseCode.Full,
    CloseCode.Full,
    CloseCode.Full,
  ]);
  assertEquals(ended, silent.slice(0, 3), "the oldest have yielded");
  assertEquals(core.counters.get("join.displaced"), 3);
  for (const [i, { engine }] of late.entries()) {
    engine.spawn(avatarAt(2 + i));
    engine.flush();
  }
  // Those that go on coming silently do not add up either.
  honest.play(1_000, () => {
    for (let i = 0; i < 3; i++) new RawPeer(pair);
    assert(core.usage.strangers <= MAX_HALF_JOINED);
  });
  honest.assertServed("silent connections");
});

Deno.test("ServerCore holds and says little about a peer that names every entity there could be", () => {
  const honest = new Honest(4);
  const { pair } = honest;
  const { raw, hook } = intruder(pair);
  const { peer, grantEpoch } = raw.accepted!;
  const { ids: taken, held: heldBefore } = pair.server.core.usage;
  let slot = 1;
  const told = raw.messages.length;
  honest.play(1_000, () => {
    for (let i = 0; i < 3 && hook.isOpen; i++) {
      const ids = Array.from({ length: 100 }, () => slot++ % GRANTS.maxEntities + 1)
        .sort((a, b) => a - b)
        .filter((id, at, all) => id !== all[at - 1]);
      hook.injectDatagram(raw.datagram({ snapshot: aliveHeaders(grantEpoch, ids, peer) }));
    }
  });
  const { usage } = pair.server.core;
  assertEquals(usage.held, heldBefore, "nothing is held of what is not its own");
  assert(raw.messages.length - told < 400, `${raw.messages.length - told} answers`);
  assert(usage.ids <= taken + 8, "its spawns take no more ids than it was given");
  honest.assertServed("headers");
});

Deno.test("a peer that never acknowledges keeps nobody else from using ids again", () => {
  const honest = new Honest(5);
  const { pair } = honest;
  const { raw } = intruder(pair);
  raw.acknowledges = false;
  const [a] = pair.clients;
  const { world } = pair.server;
  let spawned = 0;
  const rounds = 100;
  pair.server.engine.onSpawn = () => spawned += 1;
  // It sees what is spawned, and says nothing of it.
  for (let round = 0; round < rounds; round++) {
    const handles = [0, 1, 2].map((level) => a!.engine.spawn({ Badge: { level, by: 0 } }));
    a!.engine.flush();
    pair.run(300);
    for (const handle of handles) a!.engine.despawn(handle);
    a!.engine.flush();
    pair.run(300);
  }
  assert(spawned > 2 * rounds, `${spawned} of ${3 * rounds} spawns came to life`);
  assertEquals(world.size, 2);
  assertEquals(raw.closed?.code, CloseCode.Overloaded);
  honest.assertServed("silence");
});

Deno.test("a peer that acknowledges what it never got harms itself alone", () => {
  const honest = new Honest(6);
  const { pair } = honest;
  const { raw, hook } = intruder(pair);
  const { counters } = pair.server.core;
  const before = counters.get("fault.Unexpected");
  const w = new Writer(64);
  writeHeader(w, {
    sequence: 0,
    worldEpoch: raw.accepted!.worldEpoch,
    time: raw.time,
    ack: { largest: 9_999, delayUnits: 0, ranges: Uint16Array.of(1) },
  });
  hook.injectDatagram(w.finish());
  assertEquals(counters.get("fault.Unexpected"), before + 1);
  // Everything that could have been sent, acknowledged at once, though nothing of it came through.
  const lost = new RawPeer(pair);
  lost.acknowledges = false;
  lost.join();
  let largest = 0;
  honest.play(1_500, () => {
    w.clear();
    writeHeader(w, {
      sequence: lost.sequence++,
      worldEpoch: lost.accepted!.worldEpoch,
      time: lost.time,
      ack: { largest: largest & 0xffff, delayUnits: 0, ranges: Uint16Array.of(1) },
    });
    lost.send(w.finish());
    largest += 1;
  });
  honest.assertServed("false acknowledgements");
});

Deno.test("ServerCore tells little of many denials, and drops a peer that goes on", () => {
  const honest = new Honest(7);
  const { pair } = honest;
  const { raw, hook } = intruder(pair);
  const { grantEpoch, peer } = raw.accepted!;
  const ids = pair.clients.map(({ engine }, i) => {
    const own = [...pair.clients[i]!.world.handles()].filter((handle) => engine.isOwn(handle));
    return engine.networkIdOf(own[0]!);
  }).sort((a, b) => a - b);
  let reports = 0;
  let denied = 0;
  pair.server.engine.onDenied = ({ count }) => {
    reports += 1;
    denied += count;
  };
  const { counters } = pair.server.core;
  const before = counters.get("denials");
  // Two denials a datagram: 1,600 a second is what the gate stands, 3,600 is a flood.
  let time = raw.time;
  const claim = (perStep: number) => () => {
    for (let i = 0; i < perStep && hook.isOpen; i++) {
      time = Math.max(time + 64, raw.time);
      hook.injectDatagram(
        raw.datagram({ snapshot: aliveHeaders(grantEpoch, ids, peer) }, { time }),
      );
    }
  };
  honest.play(400, claim(2));
  assert(hook.isOpen);
  assertEquals(counters.get("denials") - before, 160);
  honest.play(2_000);
  assertEquals(denied, 160, "none goes uncounted");
  time = raw.time;
  honest.play(2_500, claim(18));
  assertEquals(hook.closes, [Fault.Flood]);
  honest.play(1_000);
  assert(reports <= allowed(20, 6), `${reports} reports`);
  assert(raw.of("denied").length <= allowed(20, 6), `${raw.of("denied").length} answers`);
  assertEquals(denied, counters.get("denials") - before, "none goes uncounted");
  honest.assertServed("denials");
});

Deno.test("ServerCore's tables are back at their size after 2,000 joins and leaves", () => {
  const honest = new Honest(8);
  const { pair } = honest;
  const { core } = pair.server;
  const before = core.usage;
  for (let i = 0; i < 2_000; i++) {
    const raw = new RawPeer(pair);
    raw.connection.openStream().write(Uint8Array.of(1));
    pair.run(0.5);
    const joiner = new RawPeer(pair);
    joiner.tell({
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(GRANTS.schemaHash),
      credential: "none",
      resume: undefined,
    });
    pair.run(21);
    if (i % 3 === 0) joiner.connection.openStream().write(encodePreamble(4, "script/x"));
    if (i % 400 === 0) joiner.connection.close(0, "");
    else joiner.bye();
    raw.connection.close(0, "");
    if (i % 200 === 0) honest.play(200);
  }
  assert(core.counters.get("join.accepted") > 1_000, `${core.counters.get("join.accepted")} joins`);
  // Places of those that left without a word are kept for a while.
  honest.play(GRANTS.resumeMs + 2_000);
  assertEquals(core.usage, before);
  assertEquals(pair.server.engine.peers.length, 2);
  honest.assertServed("joins");
});

Deno.test("ServerCore's tables are back at their size after 10,000 spawns and despawns", () => {
  const pair = new Pair({ grants: GRANTS, seed: 9, clients: 2, conditions: { latencyMs: 2 } });
  pair.start().joinAll();
  const { core, engine } = pair.server;
  const [a] = pair.clients;
  pair.run(500);
  const before = core.usage;
  let spawned = 0;
  pair.clients[1]!.engine.onSpawn = () => spawned += 1;
  const handles: [Pair["clients"][number]["engine"], number][] = [];
  for (let i = 0; i < 10_000; i++) {
    if (i % 5 === 0) {
      const handle = a!.engine.spawn({ Badge: { level: i % 10, by: 0 } });
      if (handle !== 0) handles.push([a!.engine, handle]);
    } else {
      handles.push([engine as never, engine.spawn({ Score: { points: i } })]);
    }
    if (handles.length < 100) continue;
    engine.flush();
    a!.engine.flush();
    pair.run(i % 1_000 < 500 ? 120 : 20);
    for (const [owner, handle] of handles.splice(0)) owner.despawn(handle);
    engine.flush();
    a!.engine.flush();
    pair.run(i % 1_000 < 500 ? 120 : 20);
  }
  assert(spawned > 2_000, `${spawned}`);
  for (const [owner, handle] of handles) owner.despawn(handle);
  engine.flush();
  a!.engine.flush();
  // What peers sent of entities is held for a while, and freed as their datagrams go on.
  for (let i = 0; i < 80; i++) {
    const probe = a!.engine.spawn({ Badge: { level: i % 10, by: 0 } });
    a!.engine.flush();
    pair.run(100);
    a!.engine.despawn(probe);
    a!.engine.flush();
    pair.run(100);
  }
  pair.run(1_000);
  const { held, ...after } = core.usage;
  const { held: heldBefore, ...first } = before;
  assertEquals(after, first);
  assert(held <= heldBefore + 64, `${held} entities are still held of peers`);
  assertEquals(pair.clients.map(({ world }) => world.size), [0, 0]);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore lets nobody in while its engine is behind, so that strangers cannot end it", () => {
  const pair = new Pair({ grants: GRANTS, seed: 10, clients: 1, conditions: { latencyMs: 1 } });
  pair.start().joinAll();
  const { core } = pair.server;
  // The engine's socket is full: nothing of what is for it goes.
  pair.server.dead = true;
  let busy = 0;
  const begin = pair.network.now;
  while (pair.network.now < begin + 2_500) {
    const joiners = Array.from({ length: 12 }, () => {
      const raw = new RawPeer(pair);
      raw.tell({
        kind: "join",
        protocolVersion: PROTOCOL_VERSION,
        schemaHash: Uint8Array.fromHex(GRANTS.schemaHash),
        credential: "none",
        resume: undefined,
      });
      return raw;
    });
    pair.run(3);
    for (const raw of joiners) {
      busy += raw.of("refused").filter(({ code }) => code === CloseCode.Overloaded).length;
      raw.bye();
    }
    pair.run(2);
    core.handleTimer(pair.network.now);
  }
  assert(busy > 1_000, `${busy}`);
  assertEquals(core.exit, undefined);
  pair.server.dead = false;
  pair.server.wake();
  pair.run(100);
  const late = pair.addClient();
  late.start();
  pair.until("a late client is in", () => late.core.isJoined);
  assertEquals(pair.server.engine.peers.length, 2);
});
