import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import { readHeader, readSections } from "../../protocol/datagram.ts";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { ENGINE_BACKLOG_BYTES, MAX_ENGINE_VOICE_FRAMES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import { SUBTICKS } from "../../protocol/timeline_units.ts";
import type { Grants } from "../../permissions/grants.ts";
import type { VoiceInfo } from "../../engine/link_events.ts";
import type { Connection } from "../../transport/connection.ts";
import type { LinkConditions } from "../../transport/simulated.ts";
import { readVoiceSection, VoiceKind, voiceTagOf } from "../../voice/voice_section.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { RawPeer, voiceBody } from "../support/raw_peer.ts";

const GRANTS = driverGrants();
const RANGE = GRANTS.voice.range;

type Node = Pick<PairNode, "engine" | "core" | "world">;

interface HeardFrame extends VoiceInfo {
  readonly handle: number;
  readonly frame: Uint8Array;
  readonly atMs: number;
}

function listen(pair: Pair, node: Node): HeardFrame[] {
  const heard: HeardFrame[] = [];
  node.engine.onVoice = (handle, frame, info) =>
    heard.push({ handle, frame: frame.slice(), ...info, atMs: pair.network.now });
  return heard;
}

function denialsOf(node: Node): Map<string, number> {
  const told = new Map<string, number>();
  node.engine.onDenied = ({ door, rule, peer, subject, count }: DenialReport) => {
    const key = `${door} ${rule} ${subject} p${peer}`;
    told.set(key, (told.get(key) ?? 0) + count);
  };
  return told;
}

function faultsOf(pair: Pair): Record<string, number> {
  return Object.fromEntries(
    Object.entries(pair.server.core.counters.snapshot()).filter(([name]) =>
      name.startsWith("fault.")
    ),
  );
}

function flush(pair: Pair, ms = 0): void {
  for (const node of [pair.server, ...pair.clients]) node.engine.flush();
  pair.run(ms);
}

/** An Opus packet of one 20 ms frame (SILK wideband, mono) whose contents are its number's. */
function opus(number: number, size = 60): Uint8Array {
  const bytes = new Uint8Array(size);
  new Prng(number + 1).fill(bytes);
  bytes[0] = 9 << 3;
  return bytes;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** A client at each place, with an avatar that everyone has been told of. */
function room(
  seed: number,
  places: readonly (readonly [number, number])[],
  conditions: Partial<LinkConditions> = {},
  grants: Grants = GRANTS,
) {
  const pair = new Pair({
    grants,
    seed,
    clients: places.length,
    conditions: { latencyMs: 20, ...conditions },
  }).start();
  pair.joinAll(30_000);
  const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(...places[i]!)));
  flush(pair, 800);
  return { pair, avatars };
}

/** Hears every datagram that an end of a client's connection sends or gets. */
function tapDatagrams(
  pair: Pair,
  hear: (client: Node, end: "server" | "client", what: "sent" | "got", bytes: Uint8Array) => void,
): void {
  const tap = (client: Node, end: "server" | "client", connection: Connection) => {
    const send = connection.sendDatagram.bind(connection);
    connection.sendDatagram = (bytes) => {
      hear(client, end, "sent", bytes);
      return send(bytes);
    };
    const start = connection.start.bind(connection);
    connection.start = (handler) =>
      start({
        handleDatagram: (bytes) => {
          hear(client, end, "got", bytes);
          handler.handleDatagram(bytes);
        },
        handleStream: (stream) => handler.handleStream(stream),
        handleClosed: (info) => handler.handleClosed(info),
      });
    return connection;
  };
  pair.tap = {
    connection: (client, connector, acceptor) => ({
      connector: tap(client, "client", connector),
      acceptor: tap(client, "server", acceptor),
    }),
    engineBytes: () => {},
  };
}

/** Sequence numbers of the voice frames in a datagram. */
function voiceIn(bytes: Uint8Array): number[] {
  const reader = new Reader(bytes);
  readHeader(reader);
  const body = readSections(reader)?.voice;
  if (body === undefined) return [];
  const frames = readVoiceSection(new Reader(body), 2 ** 31, { allowSealed: true })!;
  return frames.map(({ sequence }) => sequence);
}

Deno.test("a voice reaches every listener within the range, exactly at it too, and nobody beyond", () => {
  const places = [[0, 0], [10, 0], [RANGE, 0], [RANGE + 0.001, 0], [15, 20], [15, 20.001]] as const;
  const { pair, avatars } = room(1, places);
  const heard = pair.clients.map((client) => listen(pair, client));
  const atServer = listen(pair, pair.server);
  for (let i = 0; i < 10; i++) {
    assert(pair.clients[0]!.engine.sendVoice(avatars[0]!, opus(i)));
    pair.run(20);
  }
  pair.run(100);
  assertEquals(heard.map(({ length }) => length), [0, 10, 10, 0, 10, 0]);
  assertEquals(atServer.length, 10, "the server's engine hears everyone");
  for (const [i, frames] of heard.entries()) {
    const { engine } = pair.clients[i]!;
    frames.forEach(({ handle, frame, sequence }, n) => {
      assertEquals(engine.networkIdOf(handle), pair.clients[0]!.engine.networkIdOf(avatars[0]!));
      assertEquals([sequence, frame], [n, opus(n)]);
    });
  }
});

Deno.test("a listener that walks out of the range and back hears what is spoken meanwhile, or not", () => {
  const { pair, avatars } = room(2, [[0, 0], [RANGE - 5, 0]]);
  const [a, b] = pair.clients;
  const heard = listen(pair, b!);
  const where: number[] = [];
  pair.play(6_000, 20, (i) => {
    // 10 m out and back within six seconds.
    const x = RANGE - 5 + 10 * (1 - Math.abs(i - 150) / 150);
    where.push(x);
    b!.engine.set(avatars[1]!, "Avatar", poseAt(x));
    b!.engine.flush();
    a!.engine.sendVoice(avatars[0]!, opus(i));
  });
  pair.run(100);
  const got = new Set(heard.map(({ sequence }) => sequence));
  // What the server holds of the listener is a few ticks old: 0.1 s at 3.3 m/s.
  where.forEach((x, i) => {
    if (x < RANGE - 0.4) assert(got.has(i), `frame ${i} at ${x} m`);
    if (x > RANGE + 0.4) assert(!got.has(i), `frame ${i} at ${x} m`);
  });
  assertGreater(got.size, 100);
  assertLess(got.size, 250);
});

Deno.test("a peer without a place hears nobody, and is heard by nobody", () => {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients: 3 }).start();
  pair.joinAll();
  const [a, b, c] = pair.clients;
  const speaker = a!.engine.spawn(avatarAt(0));
  const placeless = c!.engine.spawn({ Name: { text: "a voice from nowhere" } });
  flush(pair, 600);
  const heard = [pair.server, a!, b!, c!].map((node) => listen(pair, node));
  a!.engine.sendVoice(speaker, opus(1));
  c!.engine.sendVoice(placeless, opus(2));
  pair.run(200);
  assertEquals(heard.map(({ length }) => length), [1, 0, 0, 0]);
  assertEquals(pair.server.core.counters.get("voice.noPosition"), 1);
});

Deno.test("the server's engine speaks with its own entities, and with no others", () => {
  const { pair } = room(4, [[0, 0], [RANGE + 5, 0]]);
  const heard = pair.clients.map((client) => listen(pair, client));
  const told = denialsOf(pair.server);
  const guide = pair.server.engine.spawn(avatarAt(2));
  flush(pair, 300);
  assert(!pair.server.engine.sendVoice(guide, opus(0)), "its role may not speak in this world");
  pair.run(100);
  assertEquals([...told], [["engine role voice p0", 1]]);
  const grants = driverGrants({
    voice: { ...VOICE, speak: ["player", "server"] },
  });
  const { pair: other, avatars: others } = room(4, [[0, 0], [RANGE + 5, 0]], {}, grants);
  const heardOther = other.clients.map((client) => listen(other, client));
  const toldOther = denialsOf(other.server);
  const host = other.server.engine.spawn(avatarAt(2));
  const nowhere = other.server.engine.spawn({ Name: { text: "no place" } });
  flush(other, 300);
  for (let i = 0; i < 5; i++) assert(other.server.engine.sendVoice(host, opus(i)));
  const theirs = other.server.engine.handleOf(
    other.clients[0]!.engine.networkIdOf(others[0]!),
  );
  const say = (handle: number, frame: Uint8Array) =>
    other.server.core.handleEngine({ kind: "voice", handle, frame }, other.network.now);
  say(theirs, opus(1));
  say(0x7777, opus(1));
  say(host, Uint8Array.of(9 << 3 | 3));
  say(host, new Uint8Array(201));
  say(nowhere, opus(1));
  other.run(200);
  assertEquals(heardOther.map((frames) => frames.map(({ sequence }) => sequence)), [
    [0, 1, 2, 3, 4],
    [],
  ]);
  assertEquals(
    [...toldOther].sort(),
    [
      ["driver entityUnknown voice p0", 1],
      ["driver format voice p0", 1],
      ["driver notOwner voice p0", 1],
      ["driver size voice p0", 1],
    ],
  );
  assertEquals(heard.flat(), []);
});

const VOICE = {
  speak: ["player"],
  hear: ["all"],
  range: 25,
  maxFrameBytes: 200,
  rateHz: 50,
};

Deno.test("roles decide who may speak and who may hear", () => {
  const grants = driverGrants({ voice: { ...VOICE, hear: ["player"] } });
  const { pair, avatars } = room(5, [[0, 0], [1, 0], [2, 0]], {}, grants);
  const [a, b, c] = pair.clients;
  pair.server.engine.setRole(c!.engine.peer!, "spectator");
  flush(pair, 300);
  const heard = [pair.server, a!, b!, c!].map((node) => listen(pair, node));
  const told = denialsOf(c!);
  a!.engine.sendVoice(avatars[0]!, opus(1));
  assert(!c!.engine.sendVoice(avatars[2]!, opus(2)));
  c!.core.handleEngine({ kind: "voice", handle: avatars[2]!, frame: opus(3) }, pair.network.now);
  pair.run(300);
  assertEquals(heard.map(({ length }) => length), [0, 0, 1, 0], "nor may this server hear");
  const { peer } = c!.engine;
  assertEquals([...told].sort(), [[`driver role voice p${peer}`, 1], [
    `engine role voice p${peer}`,
    1,
  ]]);
});

Deno.test("ClientCore refuses an engine's frames that its engine link should have refused", () => {
  const { pair, avatars } = room(6, [[0, 0], [1, 0]]);
  const [a, b] = pair.clients;
  const heard = listen(pair, b!);
  const told = denialsOf(a!);
  const theirs = a!.engine.handleOf(b!.engine.networkIdOf(avatars[1]!));
  const say = (handle: number, frame: Uint8Array) =>
    a!.core.handleEngine({ kind: "voice", handle, frame }, pair.network.now);
  say(theirs, opus(1));
  say(0, opus(1));
  say(0x7777, opus(1));
  say(avatars[0]!, new Uint8Array(0));
  say(avatars[0]!, opus(1, 201));
  // Malformed by RFC 6716: R3 an odd body of two equal frames, R5 more than 120 ms, R6 a body that does not divide, R1 code 3 without a count.
  for (
    const frame of [
      Uint8Array.of(9 << 3 | 1, 1),
      Uint8Array.of(11 << 3 | 3, 7, ...new Uint8Array(7)),
      Uint8Array.of(9 << 3 | 3, 2, 1, 2, 3),
      Uint8Array.of(9 << 3 | 3),
    ]
  ) say(avatars[0]!, frame);
  // 50 a second with a quarter more, half a second's burst.
  for (let i = 0; i < 40; i++) say(avatars[0]!, opus(i));
  pair.run(500);
  const peer = a!.engine.peer!;
  assertEquals(
    [...told].sort(),
    [
      [`driver format voice p${peer}`, 4],
      [`driver notOwner voice p${peer}`, 3],
      [`driver rate voice p${peer}`, 9],
      [`driver size voice p${peer}`, 2],
    ],
  );
  assertEquals(heard.map(({ sequence, frame }) => [sequence, frame]), [
    ...Array.from({ length: 31 }, (_, i) => [i, opus(i)]),
  ]);
  assertEquals(pair.server.core.counters.get("denials"), 0, "nothing of it left");
});

/** A hostile peer that owns an avatar two metres from the only client's. */
function hostile(seed: number) {
  const { pair, avatars } = room(seed, [[0, 0]]);
  const peer = new RawPeer(pair).join();
  const id = peer.accepted!.peer;
  const handle = pair.server.engine.spawn(avatarAt(2), { owner: id });
  flush(pair, 500);
  const entity = pair.server.engine.networkIdOf(handle);
  const victim = pair.clients[0]!.engine.networkIdOf(avatars[0]!);
  const heard = [listen(pair, pair.server), listen(pair, pair.clients[0]!)];
  const told = [denialsOf(pair.server), denialsOf(pair.clients[0]!)] as const;
  let sequence = 0;
  const say = (payload: Uint8Array, of = entity, kind: VoiceKind = VoiceKind.Opus) => {
    const time = peer.time;
    const frame = { kind, ...voiceTagOf(of), sequence: sequence++, time, payload };
    peer.send(peer.datagram({ voice: voiceBody(time, [frame]) }, { time }));
  };
  return { pair, peer, id, handle, entity, victim, heard, told, say };
}

Deno.test("ServerCore refuses a hostile peer's frames by owner, size, rate and role, and tells both", () => {
  const { pair, peer, id, victim, heard, told, say } = hostile(7);
  say(opus(0));
  pair.run(200);
  assertEquals(heard.map(({ length }) => length), [1, 1]);
  assertEquals(heard[1]![0]!.frame, opus(0));
  say(opus(1), victim);
  say(opus(2, 201));
  pair.run(200);
  assertEquals([...told[0]].sort(), [[`driver notOwner voice p${id}`, 1], [
    `driver size voice p${id}`,
    1,
  ]]);
  assertEquals(peer.of("denied").map(({ subject }) => subject), ["voice", "voice"]);
  pair.run(1_000);
  for (let i = 0; i < 100; i++) say(opus(i));
  pair.run(300);
  assertEquals(heard.map(({ length }) => length), [32, 32]);
  assertEquals(told[0].get(`driver rate voice p${id}`), 69);
  pair.run(1_000);
  pair.server.engine.setRole(id, "spectator");
  pair.server.engine.flush();
  pair.run(2);
  say(opus(1));
  pair.run(200);
  assertEquals(heard.map(({ length }) => length), [32, 32]);
  assertEquals(told[0].get(`driver role voice p${id}`), 1);
  assertEquals(faultsOf(pair), {}, "what a right refuses is no fault");
  assertEquals(peer.closed, undefined);
});

Deno.test("ServerCore takes no sealed, unknown, empty or truncated frames", () => {
  const { pair, peer, heard, entity, say } = hostile(8);
  say(opus(0), entity, VoiceKind.Sealed);
  pair.run(100);
  assertEquals(faultsOf(pair), { "fault.UnknownKind": 1 });
  const time = peer.time;
  const good = voiceBody(time, [{
    kind: VoiceKind.Opus,
    ...voiceTagOf(entity),
    sequence: 0,
    time,
    payload: opus(1),
  }]);
  const other = good.slice();
  other[0] = other[0]! | 3;
  const empty = good.slice();
  empty[0] = empty[0]! & 0x0f;
  empty[1] = 0;
  for (const body of [other, empty, good.subarray(0, 20), good.slice().fill(0xff)]) {
    peer.send(peer.datagram({ voice: body }, { time }));
    pair.run(100);
  }
  const faults = Object.values(faultsOf(pair)).reduce((sum, count) => sum + count, 0);
  assertEquals(faults, 5);
  assertEquals(heard.flat(), []);
  say(opus(2));
  pair.run(100);
  assertEquals(heard.map(({ length }) => length), [1, 1]);
});

Deno.test("a malformed Opus payload is forwarded unread, and refused by those who would play it", () => {
  const { pair, heard, told, say } = hostile(9);
  say(Uint8Array.of(9 << 3 | 3));
  say(Uint8Array.of(9 << 3 | 1, 5));
  pair.run(200);
  assertEquals(heard.flat(), []);
  const a = pair.clients[0]!;
  assertEquals(a.core.counters.get("voice.malformed"), 2);
  assertEquals(pair.server.core.counters.get("voice.malformed"), 2);
  assertEquals([...told[1].values()], [2]);
  assert([...told[1].keys()][0]!.startsWith("driver format voice"));
});

Deno.test("frames arrive byte for byte with consecutive numbers, and only lost ones are missing", () => {
  for (let seed = 1; seed <= 4; seed++) {
    const pair = new Pair({
      grants: GRANTS,
      seed,
      clients: 2,
      conditions: { latencyMs: 20, jitterMs: 5, lossRate: 0.1, duplicateRate: 0.05 },
    });
    const spokenTo = new Set<number>();
    const sentOn = new Set<number>();
    const passedOn = new Set<number>();
    tapDatagrams(pair, (client, end, what, bytes) => {
      const isSpeaker = client === pair.clients[0];
      if (end === "server" && isSpeaker && what === "got") {
        for (const n of voiceIn(bytes)) spokenTo.add(n);
      }
      if (end === "server" && !isSpeaker && what === "sent") {
        for (const n of voiceIn(bytes)) sentOn.add(n);
      }
      if (end === "client" && !isSpeaker && what === "got") {
        for (const n of voiceIn(bytes)) passedOn.add(n);
      }
    });
    pair.start().joinAll(30_000);
    const [a, b] = pair.clients;
    const mouth = a!.engine.spawn(avatarAt(0));
    b!.engine.spawn(avatarAt(3));
    flush(pair, 1_200);
    const atServer = listen(pair, pair.server);
    const heard = listen(pair, b!);
    const count = 250;
    pair.play(count * 20, 20, (i) => assert(a!.engine.sendVoice(mouth, opus(i, 30 + i % 100))));
    pair.run(300);
    const numbers = (frames: HeardFrame[]) => frames.map(({ sequence }) => sequence);
    for (const { sequence, frame } of [...heard, ...atServer]) {
      assert(isSame(frame, opus(sequence, 30 + sequence % 100)), `seed ${seed}, ${sequence}`);
    }
    assertEquals(numbers(atServer), [...spokenTo], `seed ${seed}: all that came, in order, once`);
    assertEquals([...sentOn], [...spokenTo], `seed ${seed}: all of it went on`);
    assertEquals(numbers(heard), [...passedOn], `seed ${seed}: all that came there was heard`);
    assertEquals(numbers(heard), [...numbers(heard)].sort((x, y) => x - y));
    assert(Math.max(...passedOn) >= count - 10 && Math.min(...passedOn) <= 10);
    assertGreater(spokenTo.size, count * 0.85);
    assertLess(spokenTo.size, count);
    assertGreater(heard.length, count * 0.72);
    assertLess(heard.length, spokenTo.size);
  }
});

Deno.test("a frame's position is where its speaker was when it was spoken", () => {
  let between = 0;
  for (let seed = 1; seed <= 8; seed++) {
    // Datagrams that are held back let voice arrive after the state of a later time.
    const path = { latencyMs: 25, jitterMs: 60, reorderRate: 0.3 };
    const { pair, avatars } = room(seed, [[0, 0], [2, 3]], path);
    const [a, b] = pair.clients;
    const samples: [number, number][] = [];
    const placed = new Map<number, number>();
    a!.engine.onStamped = (id, time) => samples.push([time, placed.get(id)!]);
    const known = new Map<Node, [number, number][]>([[pair.server, []], [b!, []]]);
    const heard = [...known].map(([node, times]) => {
      node.engine.onRemoteChange = (_handle, component, _values, { time }) => {
        if (component === "Avatar") times.push([time, pair.network.now]);
      };
      const frames: (HeardFrame & { newest: number })[] = [];
      node.engine.onVoice = (handle, frame, info) => {
        const atMs = pair.network.now;
        // What came at this very moment may have come behind the frame.
        const before = times.filter(([, cameMs]) => cameMs < atMs).map(([time]) => time);
        frames.push({ handle, frame, ...info, atMs, newest: Math.max(0, ...before) });
      };
      return frames;
    });
    // Along x at one metre a second; frames are spoken between the steps.
    const start = pair.network.now;
    pair.play(4_000, 20, (i) => {
      const x = (pair.network.now - start) / 1000;
      if (i % 2 === 0) {
        a!.engine.set(avatars[0]!, "Avatar", poseAt(x));
        const id = a!.engine.flush();
        if (id !== 0) placed.set(id, x);
      }
      pair.run(7);
      a!.engine.sendVoice(avatars[0]!, opus(i));
    });
    pair.run(300);
    const truthAt = (time: number) => {
      const later = samples.findIndex(([t]) => t >= time);
      if (later <= 0) return undefined;
      const [t0, x0] = samples[later - 1]!;
      const [t1, x1] = samples[later]!;
      return x0 + (x1 - x0) * (time - t0) / (t1 - t0);
    };
    for (const frames of heard) {
      assertGreater(frames.length, 100, `seed ${seed}`);
      for (const { position, time, newest } of frames) {
        const truth = truthAt(time);
        if (truth === undefined || time < samples[3]![0]) continue;
        const [x] = position!;
        if (newest >= time) {
          // Two samples enclose it: the point between them, to the precision of the component.
          assertAlmostEquals(x, truth, 0.012, `seed ${seed}, frame at ${time}`);
          if (samples.every(([, sample]) => Math.abs(sample - x) > 0.002)) between += 1;
        } else {
          // Perhaps nothing later is known: then it is the newest place of before, a round trip old at most.
          const isOld = samples.some(([t, place]) => t <= time && Math.abs(place - x) < 0.002);
          assert(isOld || Math.abs(x - truth) < 0.012, `seed ${seed}, frame at ${time}`);
          assertLess(truth - x, 0.3);
        }
      }
    }
  }
  assertGreater(between, 100, "many frames came after a later sample");
});

Deno.test("a frame's time is when it was spoken, on the server's timeline", () => {
  const { pair, avatars } = room(10, [[0, 0], [2, 0]], { latencyMs: 60 });
  const [a, b] = pair.clients;
  const heard = listen(pair, b!);
  const spoken: number[] = [];
  pair.play(1_000, 20, (i) => {
    spoken.push(pair.network.now);
    a!.engine.sendVoice(avatars[0]!, opus(i));
  });
  pair.run(200);
  const units = GRANTS.tickHz * SUBTICKS / 1000;
  const offsets = heard.map(({ time, sequence }) => time / units - spoken[sequence]!);
  // One clock, whatever its start: all frames agree on it within two milliseconds.
  assertLess(Math.max(...offsets) - Math.min(...offsets), 2);
  assertEquals(heard.length, 50);
});

Deno.test("talkers of one slot share one datagram for each listener", () => {
  const places = Array.from({ length: 7 }, (_, i) => [i, 0] as const);
  const pair = new Pair({ grants: GRANTS, seed: 11, clients: 7 });
  let carrying: number[] = [];
  tapDatagrams(pair, (client, end, what, bytes) => {
    if (end !== "server" || what !== "sent" || client !== pair.clients[6]) return;
    const count = voiceIn(bytes).length;
    if (count > 0) carrying.push(count);
  });
  pair.start().joinAll();
  const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(...places[i]!)));
  flush(pair, 800);
  const heard = listen(pair, pair.clients[6]!);
  const speak = (rounds: number, size: number, spreadMs: number) => {
    carrying = [];
    heard.length = 0;
    for (let round = 0; round < rounds; round++) {
      // Slots of 4 ms begin at multiples of 4; latency and slot at the speaker keep the phase.
      pair.run(4 - pair.network.now % 4 + 20 + 0.2);
      for (const [i, client] of pair.clients.slice(0, 6).entries()) {
        client.engine.sendVoice(avatars[i]!, opus(round * 6 + i, size));
        pair.run(spreadMs);
      }
      pair.run(60);
    }
    assertEquals(heard.length, rounds * 6);
  };
  speak(20, 100, 0);
  assertEquals(carrying, Array(20).fill(6));
  // Also when they do not speak at the very same moment: a slot's border may lie between them, no more.
  speak(20, 100, 0.5);
  assertLess(carrying.length, 30);
  // Six frames of 200 B are more than a datagram of 1,200 B holds: two, not six.
  speak(20, 200, 0);
  assertEquals(carrying.length, 40);
  assertEquals(carrying.reduce((sum, count) => sum + count, 0), 120);
});

Deno.test("voice goes on for everyone else, and in bounded memory, while an engine does not read", () => {
  const grants = driverGrants({ voice: { ...VOICE, maxFrameBytes: 1_000, rateHz: 400 } });
  const { pair, avatars } = room(12, [[0, 0], [1, 0], [2, 0]], {}, grants);
  const [a, b, c] = pair.clients;
  const deaf = listen(pair, b!);
  const fine = listen(pair, c!);
  const atServer = listen(pair, pair.server);
  b!.deaf = true;
  let count = 0;
  let backlog = 0;
  pair.play(4_000, 2.5, () => {
    a!.engine.sendVoice(avatars[0]!, opus(count, 1_000));
    count += 1;
    backlog = Math.max(backlog, b!.backlogBytes);
  });
  pair.run(100);
  assertEquals(fine.map(({ sequence }) => sequence), Array.from({ length: count }, (_, i) => i));
  assertEquals(atServer.length, count);
  assertEquals(deaf, []);
  assertLess(backlog, ENGINE_BACKLOG_BYTES + 2_000);
  const dropped = b!.core.counters.get("engine.voiceDropped");
  assertGreater(dropped, 100);
  b!.deaf = false;
  pair.run(200);
  assertEquals(deaf.length, count - dropped);
  // What was on its way to the engine already, then the newest: the oldest of those that waited are gone.
  const numbers = deaf.map(({ sequence }) => sequence);
  const gap = numbers.findIndex((n, i) => i > 0 && n !== numbers[i - 1]! + 1);
  assertEquals(numbers[gap]! - numbers[gap - 1]! - 1, dropped);
  assertEquals(numbers.slice(gap).length, MAX_ENGINE_VOICE_FRAMES);
  assertEquals(numbers.at(-1), count - 1);
  // And it hears again.
  a!.engine.sendVoice(avatars[0]!, opus(count));
  pair.run(100);
  assertEquals(deaf.at(-1)?.sequence, count);
  assertEquals(b!.core.exit, undefined);
});

Deno.test("a loud peer does not crowd a soft one out of what waits for an engine that does not read", () => {
  const grants = driverGrants({ voice: { ...VOICE, maxFrameBytes: 1_000, rateHz: 400 } });
  const { pair, avatars } = room(33, [[0, 0], [1, 0], [2, 0]], {}, grants);
  const [loud, soft, third] = pair.clients;
  const ears = [pair.server, third!].map((node) => ({ node, heard: listen(pair, node) }));
  for (const { node } of ears) node.deaf = true;
  let count = 0;
  pair.play(4_500, 2.5, (step) => {
    loud!.engine.sendVoice(avatars[0]!, opus(step, 1_000));
    if (step % 8 !== 0) return;
    soft!.engine.sendVoice(avatars[1]!, opus(step, 60));
    count += 1;
  });
  pair.run(100);
  for (const { node } of ears) node.deaf = false;
  pair.run(200);
  for (const { node, heard } of ears) {
    const id = soft!.engine.networkIdOf(avatars[1]!);
    const numbers = heard.filter(({ handle }) => node.engine.networkIdOf(handle) === id)
      .map(({ sequence }) => sequence);
    // Half of what may wait: its newest 64, beside what was on its way already.
    assertEquals(
      numbers.slice(-MAX_ENGINE_VOICE_FRAMES / 2),
      Array.from({ length: MAX_ENGINE_VOICE_FRAMES / 2 }, (_, i) => count - 64 + i),
    );
    assertGreater(node.core.counters.get("engine.voiceDropped"), 100);
  }
});

Deno.test("voice is forwarded while the server's own engine does not read", () => {
  const { pair, avatars } = room(13, [[0, 0], [1, 0]]);
  const [a, b] = pair.clients;
  const heard = listen(pair, b!);
  pair.server.deaf = true;
  pair.play(2_000, 20, (i) => a!.engine.sendVoice(avatars[0]!, opus(i)));
  pair.run(100);
  assertEquals(heard.length, 100);
  assertEquals(pair.server.core.exit, undefined);
});

Deno.test("a role that is taken away ends speaking and hearing at once", () => {
  const grants = driverGrants({ voice: { ...VOICE, hear: ["player"] } });
  const { pair, avatars } = room(14, [[0, 0], [1, 0], [2, 0]], {}, grants);
  const [a, b, c] = pair.clients;
  const heard = pair.clients.map((client) => listen(pair, client));
  const told = denialsOf(pair.server);
  let takenMs = 0;
  pair.play(1_200, 20, (i) => {
    if (i === 30) {
      takenMs = pair.network.now;
      pair.server.engine.setRole(a!.engine.peer!, "spectator");
      pair.server.engine.setRole(c!.engine.peer!, "spectator");
      pair.server.engine.flush();
    }
    for (const [n, client] of [a!, b!].entries()) client.engine.sendVoice(avatars[n]!, opus(i));
  });
  pair.run(200);
  const of = (frames: HeardFrame[], speaker: number, listener: Node) => {
    const id = pair.clients[speaker]!.engine.networkIdOf(avatars[speaker]!);
    return frames.filter(({ handle }) => listener.engine.networkIdOf(handle) === id);
  };
  // What the server had sent on before is under way for the latency alone.
  const lastMs = (frames: HeardFrame[]) => Math.max(...frames.map(({ atMs }) => atMs));
  assertLess(lastMs(of(heard[1]!, 0, b!)), takenMs + 20 + 4 + 1);
  assertGreater(lastMs(of(heard[1]!, 0, b!)), takenMs - 20);
  assertLess(lastMs(heard[2]!), takenMs + 20 + 4 + 1);
  assertLess(lastMs(heard[0]!), takenMs + 20 + 4 + 1);
  assertGreater(told.get(`driver role voice p${a!.engine.peer}`) ?? 0, 0, "what was under way");
  assert(!a!.engine.sendVoice(avatars[0]!, opus(1)), "its own engine link knows");
  // Given back, it works again.
  for (const client of [a!, c!]) pair.server.engine.setRole(client.engine.peer!, "player");
  flush(pair, 300);
  heard.forEach((frames) => frames.length = 0);
  a!.engine.sendVoice(avatars[0]!, opus(2));
  pair.run(200);
  assertEquals(heard.map(({ length }) => length), [0, 1, 1]);
});

Deno.test("an entity's end ends its voice; the slot's next one begins anew", () => {
  const grants = driverGrants({ maxEntities: 20, maxEntitiesPerPeer: 8 });
  const { pair, avatars } = room(15, [[0, 0], [1, 0]], {}, grants);
  const [a, b] = pair.clients;
  const heard = listen(pair, b!);
  const told = denialsOf(a!);
  for (let i = 0; i < 5; i++) a!.engine.sendVoice(avatars[0]!, opus(i));
  pair.run(100);
  assertEquals(heard.length, 5);
  a!.engine.despawn(avatars[0]!);
  assert(!a!.engine.sendVoice(avatars[0]!, opus(6)));
  flush(pair);
  a!.core.handleEngine({ kind: "voice", handle: avatars[0]!, frame: opus(7) }, pair.network.now);
  pair.run(200);
  assertEquals(heard.length, 5);
  assertEquals(told.get(`driver notOwner voice p${a!.engine.peer}`), 1);
  const slots = new Set<number>();
  for (let round = 0; round < 12; round++) {
    const next = a!.engine.spawn(avatarAt(0));
    flush(pair, 400);
    slots.add(a!.engine.networkIdOf(next) & 0xfffff);
    heard.length = 0;
    assert(a!.engine.sendVoice(next, opus(round)));
    pair.run(100);
    assertEquals(heard.map(({ sequence }) => sequence), [0], `round ${round}`);
    assertEquals(b!.engine.networkIdOf(heard[0]!.handle), a!.engine.networkIdOf(next));
    a!.engine.despawn(next);
    flush(pair, 500);
  }
  assertLess(slots.size, 12, "slots were used again");
});

Deno.test("ServerCore drops and counts frames of an entity that has just gone, or not yet come", () => {
  const { pair, peer, handle, entity, heard, told, say } = hostile(16);
  say(opus(0));
  pair.run(100);
  assertEquals(heard.map(({ length }) => length), [1, 1]);
  pair.server.engine.despawn(handle);
  flush(pair);
  pair.run(1);
  say(opus(1));
  say(opus(2), peer.accepted!.entityIds[3]!);
  say(opus(3), (entity + 0x100000) >>> 0);
  pair.run(200);
  assertEquals(heard.map(({ length }) => length), [1, 1]);
  assertEquals(pair.server.core.counters.get("voice.unknownSpeaker"), 3);
  assertEquals([...told[0]], []);
});
