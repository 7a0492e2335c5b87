import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodeChannelDatagram } from "../../protocol/channel_frames.ts";
import type { DenialReport, ToDriver } from "../../protocol/engine_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  ENGINE_BACKLOG_BYTES,
  MAX_OPEN_CHANNELS,
  STREAM_HIGH_WATER_BYTES,
  STREAM_STALL_MS,
} from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import type { DriverCore } from "../../driver/core.ts";
import type { Channel } from "../../engine/channel.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { joinBytes } from "../support/hostile_bytes.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";

const GRANTS = driverGrants();
const MIB = 1024 * 1024;
/** 12 at once pass a rate of 20, and what a stream may have held up. */
const STREAM_BURST = 12 + STREAM_STALL_MS * 25 / 1000;

type Node = Pick<PairNode, "engine" | "core" | "world">;

interface Ear {
  readonly messages: Uint8Array[];
  readonly closed: string[];
}

function listen(channel: Channel): Ear {
  const ear: Ear = { messages: [], closed: [] };
  channel.onMessage = (bytes) => ear.messages.push(bytes);
  channel.onClose = (reason) => ear.closed.push(reason);
  return ear;
}

/** What a node's peers open, in order. */
function accept(node: Node): { channel: Channel; ear: Ear }[] {
  const opened: { channel: Channel; ear: Ear }[] = [];
  node.engine.onChannel = (channel) => opened.push({ channel, ear: listen(channel) });
  return opened;
}

function denialsOf(node: Node): Map<string, number> {
  const told = new Map<string, number>();
  node.engine.onDenied = ({ door, rule, peer, subject, id, count }: DenialReport) => {
    const key = `${door} ${rule} ${subject} ${id} p${peer}`;
    told.set(key, (told.get(key) ?? 0) + count);
  };
  return told;
}

function faultsOf(node: { readonly core: DriverCore & { counters?: unknown } }): number {
  const { counters } = node.core as unknown as Pair["server"]["core"];
  return Object.entries(counters.snapshot()).filter(([name]) => name.startsWith("fault."))
    .reduce((sum, [, count]) => sum + count, 0);
}

/** Bytes that differ at every place and between messages. */
function message(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  new Prng(seed).fill(bytes);
  return bytes;
}

function room(seed: number, clients: number, options: Partial<Pair["conditions"]> = {}) {
  const conditions = { latencyMs: 20, ...options };
  const pair = new Pair({ grants: GRANTS, seed, clients, conditions }).start();
  pair.joinAll(30_000);
  return pair;
}

/** Opens a stream beside the driver's own ways, writes bytes and reports what comes back. */
function rawStream(peer: RawPeer, ...parts: Uint8Array[]) {
  const stream = peer.connection.openStream();
  const heard = { data: [] as Uint8Array[], ended: false, reset: undefined as number | undefined };
  stream.setHandler({
    handleData: (bytes) => heard.data.push(bytes),
    handleEnd: () => heard.ended = true,
    handleReset: (code) => heard.reset = code,
    handleWritable: () => {},
  });
  for (const part of parts) stream.write(part);
  return { stream, heard };
}

/** A message as one piece. */
function pieceOf(bytes: Uint8Array, last = true): Uint8Array {
  return joinBytes(encodePieceHeader(bytes.length, last), bytes);
}

/** Watches every stream of a pair's connections; the largest number of bytes that ever waited in one. */
function watchStreams(pair: Pair): () => number {
  const streams: Stream[] = [];
  const watch = (connection: Connection): Connection => {
    const open = connection.openStream.bind(connection);
    connection.openStream = () => {
      const stream = open();
      streams.push(stream);
      return stream;
    };
    const start = connection.start.bind(connection);
    connection.start = (handler) =>
      start({
        handleDatagram: (bytes) => handler.handleDatagram(bytes),
        handleClosed: (info) => handler.handleClosed(info),
        handleStream: (stream) => {
          streams.push(stream);
          handler.handleStream(stream);
        },
      });
    return connection;
  };
  pair.tap = {
    connection: (_client, connector, acceptor) => ({
      connector: watch(connector),
      acceptor: watch(acceptor),
    }),
    engineBytes: () => {},
  };
  return () => Math.max(0, ...streams.map((stream) => stream.bufferedBytes));
}

/** Lets a test decide which messages of its engine a driver gets. */
function intercept(node: Node, passes: (message: ToDriver) => boolean): void {
  const { core } = node;
  const handle = core.handleEngine.bind(core);
  core.handleEngine = (message, nowMs) => {
    if (passes(message)) handle(message, nowMs);
  };
}

Deno.test("a reliable channel carries messages of any size both ways, in order", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const pair = room(seed, 1, { jitterMs: 10, lossRate: 0.05 });
    const [a] = pair.clients;
    const opened = accept(pair.server);
    const mine = a!.engine.openChannel("chat")!;
    const ear = listen(mine);
    const sizes = [0, 1, 4_096, 17, 0, 1_200, 4_095];
    const up = sizes.map((size, i) => message(size, seed * 100 + i));
    for (const bytes of up) assert(mine.send(bytes));
    pair.until("the channel is there", () => opened.length === 1);
    const [{ channel, ear: theirs }] = opened as [typeof opened[0]];
    assertEquals([channel.name, channel.peer, mine.peer], ["chat", a!.engine.peer, 0]);
    const down = sizes.map((size, i) => message(size, seed * 100 + 50 + i)).reverse();
    for (const bytes of down) assert(channel.send(bytes));
    pair.until("all messages", () => theirs.messages.length + ear.messages.length === 14);
    assertEquals(theirs.messages, up, `seed ${seed}`);
    assertEquals(ear.messages, down, `seed ${seed}`);
  }
});

Deno.test("16 MiB go both ways over a narrow path while state and voice go on, in bounded memory", () => {
  const pair = new Pair({
    grants: GRANTS,
    seed: 1,
    clients: 2,
    conditions: { latencyMs: 20, bandwidthBytesPerSecond: 4 * MIB },
  });
  const widestStream = watchStreams(pair);
  pair.start().joinAll();
  const [a, b] = pair.clients;
  const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(i)));
  for (const client of pair.clients) client.engine.flush();
  pair.run(800);
  const opened = accept(pair.server);
  const mine = a!.engine.openChannel("files")!;
  const ear = listen(mine);
  pair.run(100);
  const [{ channel, ear: theirs }] = opened as [typeof opened[0]];
  const up = message(16 * MIB, 2);
  const down = message(16 * MIB, 3);
  assert(mine.send(up));
  assert(channel.send(down));
  assert(!mine.send(message(10)), "no second message while one of this size waits");
  // Voice of each at the other, by sequence: when it was spoken, and how long it took.
  const spokenMs: number[][] = [[], []];
  const delays: number[][] = [[], []];
  [b!, a!].forEach((listener, who) =>
    listener.engine.onVoice = (_handle, _frame, { sequence }) =>
      delays[who]!.push(pair.network.now - spokenMs[who]![sequence]!)
  );
  // State: each avatar's place tells when it was set.
  const setMs: number[] = [];
  const views = [
    { node: pair.server, of: 0 },
    { node: a!, of: 1 },
    { node: b!, of: 0 },
  ].map(({ node, of }) => ({
    of,
    node,
    handle: node.engine.handleOf(pair.clients[of]!.engine.networkIdOf(avatars[of]!)),
    worstMs: 0,
  }));
  let backlog = 0;
  let stream = 0;
  let steps = 0;
  for (; theirs.messages.length + ear.messages.length < 2; steps++) {
    assertLess(steps, 1_000, "it takes some seconds");
    setMs.push(pair.network.now);
    pair.clients.forEach((client, i) => {
      client.engine.set(avatars[i]!, "Avatar", poseAt(steps % 500 / 100 + i, 0));
      client.engine.flush();
      spokenMs[i]!.push(pair.network.now);
      client.engine.sendVoice(avatars[i]!, Uint8Array.of(8, ...message(99, steps)));
    });
    pair.run(20);
    for (const view of views) {
      const [x] = view.node.world.read(view.handle, "Avatar")!.body as [number, number, number];
      const index = steps - (steps - Math.round((x - view.of) * 100)) % 500;
      if (steps > 10) view.worstMs = Math.max(view.worstMs, pair.network.now - setMs[index]!);
    }
    backlog = Math.max(backlog, pair.server.backlogBytes, a!.backlogBytes);
    backlog = Math.max(
      backlog,
      a!.engine.stats.backlogBytes,
      pair.server.engine.stats.backlogBytes,
    );
    stream = Math.max(stream, widestStream());
  }
  assertEquals(theirs.messages[0]!.length, up.length);
  assert(theirs.messages[0]!.every((byte, i) => byte === up[i]));
  assert(ear.messages[0]!.every((byte, i) => byte === down[i]));
  assertGreater(steps * 20, 3_500, "the path was the bound");
  // The path twice, a tick at each end and one at the server, and the packets in front.
  for (const { worstMs } of views) assertLess(worstMs, 40 + 3 * 34 + 20);
  pair.run(300);
  for (const [who, times] of delays.entries()) {
    assertEquals(times.length, steps, `every frame of ${who} arrived`);
    assertLess(Math.max(...times), 40 + 20);
  }
  assertLess(backlog, ENGINE_BACKLOG_BYTES + CHANNEL_WINDOW_BYTES);
  assertLess(stream, STREAM_HIGH_WATER_BYTES + CHANNEL_WINDOW_BYTES + CHANNEL_PIECE_BYTES);
  assertEquals([faultsOf(pair.server), faultsOf(a!)], [0, 0]);
});

Deno.test("messages of awkward sizes pass a full window: credit never exceeds what one message may say", () => {
  const grants = driverGrants({
    channels: [{
      id: 1,
      name: "bulk",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 1_000_000,
      rateHz: 100,
    }],
  });
  for (const size of [65_537, 60_000, 65_535, 200_000, 262_143]) {
    const conditions = { latencyMs: 20, bandwidthBytesPerSecond: MIB };
    const pair = new Pair({ grants, seed: size, clients: 1, conditions }).start();
    pair.joinAll();
    const [a] = pair.clients;
    const opened = accept(pair.server);
    const channel = a!.engine.openChannel("bulk")!;
    const sent: Uint8Array[] = [];
    pair.play(3_000, 10, () => {
      const bytes = message(size, sent.length);
      if (channel.send(bytes)) sent.push(bytes);
    });
    const [{ ear }] = opened as [typeof opened[0]];
    pair.until("all of them", () => ear.messages.length === sent.length, 5_000);
    assertGreater(sent.length * size, 2.4 * MIB);
    sent.forEach((bytes, i) => assertEquals(ear.messages[i]!.length, bytes.length));
    assertEquals(ear.messages.at(-1), sent.at(-1), `size ${size}`);
    assert(channel.isOpen);
  }
});

Deno.test("a channel's message reaches the engine at once, though nothing else happens", () => {
  const pair = room(3, 1);
  const [a] = pair.clients;
  const opened = accept(pair.server);
  const mine = a!.engine.openChannel("chat")!;
  pair.run(100);
  let heardMs = 0;
  opened[0]!.channel.onMessage = () => heardMs = pair.network.now;
  for (let i = 0; i < 10; i++) {
    pair.run(37);
    const sentMs = pair.network.now;
    mine.send(message(100));
    a!.engine.flush();
    pair.run(60);
    assertLess(heardMs - sentMs, 22, "the way and nothing more");
    assertGreater(heardMs, sentMs);
  }
});

Deno.test("an engine that grants no credit holds up its own channel and nothing else", () => {
  const pair = room(4, 2, { bandwidthBytesPerSecond: 4 * MIB });
  const [a, b] = pair.clients;
  const avatar = a!.engine.spawn(avatarAt(0));
  b!.engine.spawn(avatarAt(1));
  for (const client of pair.clients) client.engine.flush();
  pair.run(600);
  const opened = accept(pair.server);
  const files = a!.engine.openChannel("files")!;
  const chat = a!.engine.openChannel("chat")!;
  const other = b!.engine.openChannel("files")!;
  pair.run(100);
  const number = 1;
  const of = (name: string, peer: number) =>
    opened.find(({ channel }) => channel.name === name && channel.peer === peer)!;
  const held: ToDriver[] = [];
  let holding = true;
  let receivedBytes = 0;
  // Channel numbers of the driver: the first it opened is the one of `files`.
  intercept(pair.server, (message) => {
    if (message.kind !== "channelCredit" || !holding) return true;
    if (message.channel !== 0x8000_0000 + number) return true;
    held.push(message);
    return false;
  });
  assertEquals(opened[0]!.channel.name, "files");
  of("files", a!.engine.peer!).channel.onMessage = (bytes) => receivedBytes += bytes.length;
  assert(files.send(message(4 * MIB)));
  let voice = 0;
  b!.engine.onVoice = () => voice += 1;
  pair.play(2_000, 50, (i) => {
    a!.engine.set(avatar, "Avatar", poseAt(i / 100));
    a!.engine.flush();
    a!.engine.sendVoice(avatar, Uint8Array.of(8, i));
    if (i % 4 === 0) chat.send(message(100, i));
    if (i === 10) assert(other.send(message(2 * MIB)));
  });
  assertEquals(receivedBytes, 0);
  const waiting = files.bufferedBytes;
  // The receiver's window, the stream's at each end, the sender's.
  assertGreater(waiting, 4 * MIB - 2 * CHANNEL_WINDOW_BYTES - 4 * STREAM_HIGH_WATER_BYTES);
  pair.run(500);
  assertEquals(files.bufferedBytes, waiting, "it stands still");
  assertEquals(voice, 40);
  assertEquals(of("chat", a!.engine.peer!).ear.messages.length, 10);
  assertEquals(of("files", b!.engine.peer!).ear.messages[0]?.length, 2 * MIB);
  const handle = b!.engine.handleOf(a!.engine.networkIdOf(avatar));
  assertEquals((b!.world.read(handle, "Avatar")!.body as number[])[0]!.toFixed(2), "0.39");
  holding = false;
  for (const credit of held) pair.server.core.handleEngine(credit, pair.network.now);
  pair.until("it goes on", () => receivedBytes === 4 * MIB, 4_000);
});

Deno.test("a driver closes the channel of an engine that sends beyond its window", () => {
  const grants = driverGrants({
    channels: [{
      id: 1,
      name: "bulk",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 16_777_216,
      rateHz: 100,
    }],
  });
  const conditions = { latencyMs: 20, bandwidthBytesPerSecond: 100_000 };
  const pair = new Pair({ grants, seed: 5, clients: 1, conditions });
  const widest = watchStreams(pair);
  pair.start().joinAll();
  const [a] = pair.clients;
  const told = denialsOf(a!);
  const channel = a!.engine.openChannel("bulk")!;
  const ear = listen(channel);
  pair.run(50);
  for (let i = 0; i < 100; i++) {
    const piece = new Uint8Array(CHANNEL_PIECE_BYTES);
    a!.core.handleEngine({ kind: "channelData", channel: 1, piece, last: false }, pair.network.now);
  }
  pair.run(500);
  assertEquals(ear.closed.length, 1);
  assertEquals([...told], [[`driver rate channel 1 p${a!.engine.peer}`, 1]]);
  assertLess(widest(), STREAM_HIGH_WATER_BYTES + CHANNEL_WINDOW_BYTES + CHANNEL_PIECE_BYTES);
});

Deno.test("unreliable channels carry messages in their direction, some of which the path loses", () => {
  const pair = room(6, 2, { lossRate: 0.1 });
  const [a, b] = pair.clients;
  const atServer = accept(pair.server);
  const atClients = pair.clients.map(accept);
  const up = a!.engine.openChannel("telemetry")!;
  const down = pair.clients.map((client) =>
    pair.server.engine.openChannel("beacon", { peer: client.engine.peer! })!
  );
  const sent = 60;
  pair.play(sent * 50, 50, (i) => {
    assert(up.send(Uint8Array.of(i, ...message(511, i))));
    for (const channel of down) assert(channel.send(Uint8Array.of(i)));
  });
  pair.run(200);
  assertEquals(atServer.length, 1);
  assertEquals([atServer[0]!.channel.name, atServer[0]!.channel.peer], [
    "telemetry",
    a!.engine.peer,
  ]);
  const { messages } = atServer[0]!.ear;
  assertGreater(messages.length, sent * 0.75);
  assertLess(messages.length, sent);
  for (const bytes of messages) {
    assertEquals(bytes, Uint8Array.of(bytes[0]!, ...message(511, bytes[0]!)));
  }
  for (const opened of atClients) {
    assertEquals(opened.map(({ channel }) => channel.name), ["beacon"]);
    assertGreater(opened[0]!.ear.messages.length, sent * 0.75);
  }
  assert(b!.core.isJoined);
});

Deno.test("the sender's own engine link refuses what its manifest does not grant", () => {
  const pair = room(7, 2);
  const [a] = pair.clients;
  const told = denialsOf(a!);
  const { engine } = a!;
  const peer = engine.peer!;
  assertEquals(engine.openChannel("nothing"), undefined);
  assertEquals(engine.openChannel("script/"), undefined);
  assertEquals(engine.openChannel("script/a b"), undefined);
  assertEquals(engine.openChannel("scripts/a"), undefined);
  assertEquals(engine.openChannel("chat", { peer: pair.clients[1]!.engine.peer! }), undefined);
  const chat = engine.openChannel("chat")!;
  assert(!chat.send(message(4_097)));
  const telemetry = engine.openChannel("telemetry")!;
  assert(!telemetry.send(message(513)));
  const beacon = engine.openChannel("beacon")!;
  assert(!beacon.send(message(5)), "only the server sends on it");
  pair.run(300);
  assertEquals(
    [...told].sort(),
    ([
      [`engine peer channel 1 p${peer}`, 1],
      [`engine role channel 3 p${peer}`, 1],
      [`engine size channel 1 p${peer}`, 1],
      [`engine size channel 2 p${peer}`, 1],
      [`engine undeclared channel 0 p${peer}`, 4],
    ] as [string, number][]).sort(),
  );
  pair.server.engine.setRole(peer, "spectator");
  pair.server.engine.flush();
  pair.run(300);
  assertEquals(engine.openChannel("backstage"), undefined);
  assertEquals(
    pair.server.engine.openChannel("backstage", { peer }),
    undefined,
    "nor may the server open it to that role",
  );
});

Deno.test("the sender's driver refuses what its engine link should have refused", () => {
  const pair = room(8, 2);
  const [a] = pair.clients;
  const told = denialsOf(a!);
  const opened = accept(pair.server);
  const peer = a!.engine.peer!;
  const say = (message: ToDriver) => a!.core.handleEngine(message, pair.network.now);
  const open = (channel: number, channelId: number, name: string) =>
    say({ kind: "channelOpen", channel, channelId, name, peer: 0 });
  const data = (channel: number, length: number, last = true) =>
    say({ kind: "channelData", channel, piece: new Uint8Array(length), last });
  open(100, 99, "nothing");
  open(101, 1, "files");
  open(102, 4, "other/a");
  open(103, 4, "script/*");
  open(104, 1, "");
  open(104, 1, "chat");
  data(500, 10);
  // Without a right to send on it, the engine may open it to receive.
  open(106, 3, "beacon");
  data(106, 10);
  open(107, 2, "telemetry");
  data(107, 600);
  data(107, 600, false);
  data(107, 20);
  pair.run(200);
  assertEquals(
    [...told].sort(),
    ([
      [`driver format channel 1 p${peer}`, 1],
      [`driver format channel 2 p${peer}`, 1],
      [`driver role channel 3 p${peer}`, 1],
      [`driver size channel 2 p${peer}`, 1],
      [`driver undeclared channel 1 p${peer}`, 1],
      [`driver undeclared channel 4 p${peer}`, 2],
      [`driver undeclared channel 99 p${peer}`, 1],
    ] as [string, number][]).sort(),
  );
  assertEquals(opened.map(({ channel }) => channel.name), ["chat"]);
  // A reliable message above its size: nothing of it passes where the first piece tells, else the stream is reset.
  data(104, 4_097);
  data(104, 5);
  pair.run(200);
  assertEquals(opened[0]!.ear.messages.map(({ length }) => length), [5]);
  data(104, 4_000, false);
  data(104, 4_000, false);
  data(104, 4_000);
  pair.run(200);
  assertEquals(opened[0]!.ear.messages.length, 1);
  assertEquals(opened[0]!.ear.closed.length, 1);
  assertEquals(told.get(`driver size channel 1 p${peer}`), 2);
  assertEquals(faultsOf(pair.server), 0, "a channel that its owner resets is nobody's fault");
});

Deno.test("an engine that sends faster than declared is denied by its own driver, and told", () => {
  const pair = room(9, 1);
  const [a] = pair.clients;
  const told = denialsOf(a!);
  const toldServer = denialsOf(pair.server);
  const peer = a!.engine.peer!;
  const opened = accept(pair.server);
  const chat = a!.engine.openChannel("chat")!;
  const telemetry = a!.engine.openChannel("telemetry")!;
  for (let i = 0; i < 40; i++) chat.send(Uint8Array.of(i));
  for (let i = 0; i < 40; i++) telemetry.send(Uint8Array.of(i));
  pair.run(500);
  const heard = opened.map(({ channel, ear }) =>
    [channel.name, ear.messages.map(([byte]) => byte)] as const
  );
  const first = Array.from({ length: 12 }, (_, i) => i);
  assertEquals(new Map(heard), new Map([["chat", first], ["telemetry", first]]));
  assertEquals(
    [...told].sort(),
    [[`driver rate channel 1 p${peer}`, 28], [`driver rate channel 2 p${peer}`, 28]],
  );
  assertEquals([...toldServer], []);
});

Deno.test("an honest sender at the declared rate is never denied, whatever the path does", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const pair = room(seed, 1, { jitterMs: 40, lossRate: 0.1 });
    const [a] = pair.clients;
    const opened = accept(pair.server);
    const chat = a!.engine.openChannel("chat")!;
    pair.play(4_000, 50, (i) => assert(chat.send(Uint8Array.of(i))));
    pair.until(`all, seed ${seed}`, () => opened[0]?.ear.messages.length === 80, 6_000);
    assertEquals(pair.server.core.counters.get("denials"), 0, `seed ${seed}`);
  }
});

Deno.test("ServerCore resets a hostile peer's streams that no right or rule covers", () => {
  const cases: [string, Uint8Array, number][] = [
    ["an undeclared id", encodePreamble(99, ""), Fault.UnknownId],
    ["an unreliable channel", encodePreamble(2, ""), Fault.UnknownId],
    ["a name outside the namespace", encodePreamble(4, "other/a"), Fault.UnknownId],
    ["a namespace without a name", encodePreamble(4, ""), Fault.UnknownId],
    ["the namespace itself", encodePreamble(4, "script/*"), Fault.UnknownId],
    ["a name where there is none", encodePreamble(1, "chat"), Fault.UnknownId],
    ["a longer form of an id", Uint8Array.of(0x81, 0x00, 0), Fault.NonCanonical],
    ["an id of 0", Uint8Array.of(0, 0), Fault.OutOfRange],
    ["a name too long", Uint8Array.of(4, 65), Fault.OutOfRange],
    ["a name that is no text", Uint8Array.of(4, 2, 0xff, 0xff), Fault.NotUtf8],
    [
      "a message too large",
      joinBytes(encodePreamble(1, ""), encodePieceHeader(4_097, true)),
      Fault.OutOfRange,
    ],
    [
      "a message too large in pieces",
      joinBytes(
        encodePreamble(1, ""),
        pieceOf(new Uint8Array(4_000), false),
        encodePieceHeader(97, true),
      ),
      Fault.OutOfRange,
    ],
    [
      "an empty piece that is not the last",
      joinBytes(encodePreamble(1, ""), Uint8Array.of(0)),
      Fault.NonCanonical,
    ],
  ];
  const pair = room(10, 1);
  const peer = new RawPeer(pair).join();
  const opened = accept(pair.server);
  for (const [i, [what, bytes, fault]] of cases.entries()) {
    const { heard } = rawStream(peer, bytes);
    pair.run(150);
    assertEquals(heard.reset, fault, what);
    assertEquals(faultsOf(pair.server), i + 1, what);
  }
  assert(opened.every(({ ear }) => ear.messages.length === 0 && ear.closed.length === 1));
  assertEquals(peer.closed, undefined);
  // An end inside a message.
  const { stream, heard } = rawStream(peer, encodePreamble(1, ""), pieceOf(message(5), false));
  stream.end();
  pair.run(150);
  assertEquals(heard.reset, Fault.Truncated);
  assertEquals(opened.at(-1)!.ear.messages, []);
  assertEquals(opened.at(-1)!.ear.closed.length, 1);
});

Deno.test("ServerCore refuses a hostile peer's channels and messages by role, count and rate", () => {
  const pair = room(11, 1);
  const peer = new RawPeer(pair).join();
  const id = peer.accepted!.peer;
  const told = denialsOf(pair.server);
  const opened = accept(pair.server);
  // Rate: all at once.
  const { heard } = rawStream(peer, encodePreamble(1, ""));
  const count = STREAM_BURST + 20;
  const flood = Array.from({ length: count }, (_, i) => pieceOf(Uint8Array.of(i)));
  rawStream(peer, encodePreamble(4, "script/x"));
  pair.run(100);
  const chat = rawStream(peer, encodePreamble(1, ""), ...flood);
  pair.run(300);
  assertEquals(opened.map(({ channel }) => channel.name), ["chat", "script/x", "chat"]);
  assertEquals(opened[2]!.ear.messages.length, STREAM_BURST);
  assertEquals([...told], [[`driver rate channel 1 p${id}`, 20]]);
  assertGreater(
    peer.of("denied").filter(({ subject, id }) => subject === "channel" && id === 1)
      .length,
    0,
  );
  assertEquals(heard.reset, undefined, "a rate closes nothing");
  assertEquals(chat.heard.reset, undefined);
  // Count: a third of a plain channel, a fourth of a namespace of three.
  told.clear();
  assertEquals(rawStream(peer, encodePreamble(1, "")).heard.reset, undefined);
  const names = ["y", "z", "w"].map((name) => rawStream(peer, encodePreamble(4, `script/${name}`)));
  pair.run(200);
  assertEquals(names.map(({ heard }) => heard.reset), [undefined, undefined, Fault.Forbidden]);
  assertEquals(
    [...told].sort(),
    [[`driver channelCount channel 1 p${id}`, 1], [`driver channelCount channel 4 p${id}`, 1]],
  );
  // Role.
  told.clear();
  pair.server.engine.setRole(id, "spectator");
  pair.server.engine.flush();
  pair.run(100);
  const forbidden = rawStream(peer, encodePreamble(6, ""));
  pair.run(200);
  assertEquals(forbidden.heard.reset, Fault.Forbidden);
  assertEquals([...told], [[`driver role channel 6 p${id}`, 1]]);
  assertEquals(peer.closed, undefined);
});

Deno.test("ServerCore refuses a hostile peer's unreliable messages, and opens nothing for them", () => {
  const pair = room(12, 1);
  const peer = new RawPeer(pair).join();
  const id = peer.accepted!.peer;
  const told = denialsOf(pair.server);
  const opened = accept(pair.server);
  const say = (channelId: number, length: number) => {
    const body = encodeChannelDatagram({ channelId, name: "", payload: message(length) }, false);
    peer.send(peer.datagram({ channels: [body] }));
    pair.run(100);
  };
  // The wrong way, undeclared, one for streams, too large.
  say(3, 10);
  assertEquals([...told], [[`driver role channel 3 p${id}`, 1]]);
  assertEquals(peer.of("denied").length, 1);
  for (const [channelId, length] of [[99, 10], [1, 10], [2, 513]] as const) say(channelId, length);
  assertEquals(faultsOf(pair.server), 3);
  assertEquals(opened, []);
  // Rate: jitter of datagrams is no stall of a stream.
  told.clear();
  for (let i = 0; i < 30; i++) {
    const payload = Uint8Array.of(i);
    peer.send(peer.datagram({
      channels: [encodeChannelDatagram({ channelId: 2, name: "", payload }, false)],
    }));
  }
  pair.run(300);
  assertEquals(opened[0]!.ear.messages.length, 12);
  assertEquals([...told], [[`driver rate channel 2 p${id}`, 18]]);
  pair.server.engine.setRole(id, "spectator");
  pair.server.engine.flush();
  pair.run(1_000);
  told.clear();
  say(2, 10);
  assertEquals([...told], [[`driver role channel 2 p${id}`, 1]]);
  assertEquals(opened[0]!.ear.messages.length, 12);
});

Deno.test("a hostile peer's tiny pieces do not flood the engine", () => {
  const pair = room(13, 1);
  const peer = new RawPeer(pair).join();
  const opened = accept(pair.server);
  let batches = 0;
  const { engine } = pair.server;
  const handle = engine.handleBytes.bind(engine);
  engine.handleBytes = (bytes) => {
    batches = Math.max(batches, bytes.length);
    handle(bytes);
  };
  // One message of 100,000 pieces of one byte each, in as few writes as possible.
  const piece = pieceOf(Uint8Array.of(7), false);
  const bytes = new Uint8Array(2 * 100_000 + 2);
  for (let i = 0; i < 100_000; i++) bytes.set(piece, 2 * i);
  bytes.set(pieceOf(Uint8Array.of(8)), 200_000);
  pair.server.deaf = true;
  rawStream(peer, encodePreamble(5, ""), bytes);
  pair.run(400);
  assertEquals(pair.server.core.exit, undefined, "the driver lives");
  assertLess(pair.server.backlogBytes, 1.2 * 100_001);
  pair.server.deaf = false;
  pair.run(400);
  assertEquals(opened[0]!.ear.messages.map(({ length }) => length), [100_001]);
  assertLess(batches, 1.2 * 100_001);
});

Deno.test("a channel that one engine closes closes at the other, and its place is free again", () => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = room(seed, 1, { jitterMs: 10, lossRate: 0.1 });
    const [a] = pair.clients;
    const opened = accept(pair.server);
    const atClient = accept(a!);
    for (let round = 0; round < 4; round++) {
      // By turns: who opens it, and who closes it.
      const mine = round % 2 === 0
        ? a!.engine.openChannel("chat")!
        : pair.server.engine.openChannel("chat", { peer: a!.engine.peer! })!;
      const ear = listen(mine);
      const other = round % 2 === 0 ? opened : atClient;
      const already = other.length;
      mine.send(message(20, round));
      pair.until("open", () => other.length > already && other.at(-1)!.ear.messages.length === 1);
      const theirs = other.at(-1)!;
      if (round < 2) {
        mine.close("done");
        pair.until("closed", () => theirs.ear.closed.length === 1);
        assertEquals(theirs.ear.closed, ["closed by the peer"]);
      } else {
        theirs.channel.close("enough");
        pair.until("closed", () => ear.closed.length === 1);
        assertEquals(ear.closed, ["closed by the peer"]);
      }
      assert(!mine.isOpen && !theirs.channel.isOpen);
      assert(!mine.send(message(1)));
    }
    pair.run(500);
    assertEquals([faultsOf(pair.server), faultsOf(a!)], [0, 0], `seed ${seed}`);
  }
});

Deno.test("a channel closed inside a message, by either end, is nobody's fault", () => {
  for (const closer of ["sender", "receiver"] as const) {
    for (const way of ["up", "down"] as const) {
      const pair = room(14, 1, { bandwidthBytesPerSecond: MIB });
      const [a] = pair.clients;
      const node = way === "up" ? pair.server : a!;
      const opened = accept(node);
      const mine = way === "up"
        ? a!.engine.openChannel("files")!
        : pair.server.engine.openChannel("files", { peer: a!.engine.peer! })!;
      const ear = listen(mine);
      mine.send(message(2 * MIB));
      pair.run(800);
      const [theirs] = opened as [typeof opened[0]];
      const what = `${closer} ${way}`;
      if (closer === "sender") mine.close();
      else theirs.channel.close();
      pair.run(1_500);
      assertEquals(theirs.ear.messages, [], what);
      assertEquals(
        [ear.closed.length, theirs.ear.closed.length],
        closer === "sender" ? [0, 1] : [1, 0],
        what,
      );
      assertEquals([faultsOf(pair.server), faultsOf(a!)], [0, 0], what);
      // The place is free: the next one carries what it should.
      const again = way === "up"
        ? a!.engine.openChannel("files")!
        : pair.server.engine.openChannel("files", { peer: a!.engine.peer! })!;
      again.send(message(1_000, 5));
      pair.run(1_000);
      assertEquals(opened.at(-1)!.ear.messages, [message(1_000, 5)], what);
    }
  }
});

Deno.test("both engines may close a channel at the same moment", () => {
  const pair = room(15, 1);
  const [a] = pair.clients;
  const opened = accept(pair.server);
  const mine = a!.engine.openChannel("chat")!;
  const ear = listen(mine);
  mine.send(message(5));
  pair.run(200);
  mine.close();
  opened[0]!.channel.close();
  pair.run(500);
  assertEquals([ear.closed, opened[0]!.ear.closed], [[], []]);
  assertEquals([faultsOf(pair.server), faultsOf(a!)], [0, 0]);
});

Deno.test("a stream that a peer resets or ends closes the channel for the engine", () => {
  const pair = room(16, 1);
  const peer = new RawPeer(pair).join();
  const opened = accept(pair.server);
  const first = rawStream(peer, encodePreamble(1, ""), pieceOf(message(5), false));
  const second = rawStream(peer, encodePreamble(4, "script/a"), pieceOf(message(5)));
  pair.run(100);
  first.stream.reset(CloseCode.ChannelClosed);
  second.stream.end();
  pair.run(100);
  assertEquals(
    opened.map(({ channel, ear }) => [channel.name, ear.messages.length, ...ear.closed]),
    [
      ["chat", 0, "reset by the peer"],
      ["script/a", 1, "closed by the peer"],
    ],
  );
  assert(second.heard.ended, "ends end together");
  assertEquals(faultsOf(pair.server), 0);
  // Bytes after the engine's close are under way, not a fault.
  const third = rawStream(peer, encodePreamble(1, ""));
  pair.run(100);
  opened[2]!.channel.close();
  third.stream.write(pieceOf(message(9)));
  pair.run(100);
  assert(third.heard.ended);
  third.stream.end();
  pair.run(100);
  assertEquals(faultsOf(pair.server), 0);
});

Deno.test("a peer that leaves or falls silent takes its channels along, no others", () => {
  const pair = room(17, 3);
  const [a, b, c] = pair.clients;
  const opened = accept(pair.server);
  for (const client of pair.clients) client.engine.openChannel("chat")!.send(message(3));
  const ears = pair.clients.map((client) => listen(client.engine.openChannel("script/keep")!));
  pair.run(200);
  assertEquals(opened.length, 6);
  const closedOf = (node: Node) =>
    opened.filter(({ channel }) => channel.peer === node.engine.peer).map(({ ear }) => ear.closed);
  const [peerA, peerB] = [a!.engine.peer!, b!.engine.peer!];
  a!.core.close("bye", pair.network.now);
  a!.pump();
  pair.links.get(b!)!.change({ lossRate: 1 });
  pair.run(7_000);
  for (const peer of [peerA, peerB]) {
    const closed = opened.filter(({ channel }) => channel.peer === peer).map(({ ear }) =>
      ear.closed
    );
    assertEquals(closed, [["peer gone"], ["peer gone"]]);
  }
  assertEquals(ears[1]!.closed.length, 1, "the silent one was told, too");
  assertEquals(closedOf(c!), [[], []]);
  assertEquals(ears[2]!.closed, []);
});

Deno.test("scripts open and close channels of their namespace while running, as many as declared", () => {
  const pair = room(18, 2);
  const [a, b] = pair.clients;
  const opened = accept(pair.server);
  const atClient = accept(a!);
  const told = denialsOf(a!);
  const names = ["one", "two/deep", "three"];
  const channels = names.map((name) => a!.engine.openChannel(`script/${name}`)!);
  const mine = channels.map(listen);
  assertEquals(a!.engine.openChannel("script/four"), undefined);
  // Another peer's own allowance is its own.
  assert(b!.engine.openChannel("script/one") !== undefined);
  pair.run(200);
  assertEquals(
    opened.filter(({ channel }) => channel.peer === a!.engine.peer).map(({ channel }) =>
      channel.name
    ),
    names.map((name) => `script/${name}`),
  );
  assertEquals([...told], [[`engine channelCount channel 4 p${a!.engine.peer}`, 1]]);
  channels.forEach((channel, i) => channel.send(Uint8Array.of(i)));
  pair.run(200);
  for (const [i, { ear }] of opened.slice(0, 3).entries()) {
    assertEquals(ear.messages, [Uint8Array.of(i)]);
  }
  // As many places as were closed are free, many times over.
  for (let round = 0; round < 20; round++) {
    channels[round % 3]!.close();
    pair.run(100);
    const next = a!.engine.openChannel(`script/round${round}`)!;
    assert(next !== undefined, `round ${round}`);
    channels[round % 3] = next;
    next.send(Uint8Array.of(round));
    pair.run(100);
    assertEquals(opened.at(-1)!.ear.messages, [Uint8Array.of(round)]);
  }
  assertEquals(mine.flatMap(({ closed }) => closed), []);
  assertEquals(atClient, []);
});

Deno.test("the same name opened from both sides at once is two channels", () => {
  const pair = room(19, 1);
  const [a] = pair.clients;
  const atServer = accept(pair.server);
  const atClient = accept(a!);
  const up = a!.engine.openChannel("script/meet")!;
  const down = pair.server.engine.openChannel("script/meet", { peer: a!.engine.peer! })!;
  const ears = [listen(up), listen(down)];
  up.send(message(3, 1));
  down.send(message(3, 2));
  pair.run(300);
  assertEquals(atServer.map(({ ear }) => ear.messages), [[message(3, 1)]]);
  assertEquals(atClient.map(({ ear }) => ear.messages), [[message(3, 2)]]);
  atServer[0]!.channel.send(message(4, 3));
  atClient[0]!.channel.send(message(4, 4));
  pair.run(300);
  assertEquals(ears.map(({ messages }) => messages), [[message(4, 3)], [message(4, 4)]]);
  up.close();
  pair.run(300);
  assert(down.isOpen && !atServer[0]!.channel.isOpen);
  assertEquals([faultsOf(pair.server), faultsOf(a!)], [0, 0]);
});

Deno.test("ClientCore refuses what a server's driver may not send it", () => {
  const pair = room(20, 1);
  const [a] = pair.clients;
  const told = denialsOf(a!);
  const opened = accept(a!);
  const serve = (bytes: Uint8Array) => {
    const stream = pair.links.get(a!)!.acceptor.openStream();
    let code: number | undefined;
    stream.setHandler({
      handleData: () => {},
      handleEnd: () => {},
      handleReset: (reset) => code = reset,
      handleWritable: () => {},
    });
    stream.write(bytes);
    pair.run(150);
    return code;
  };
  assertEquals(serve(encodePreamble(99, "")), Fault.UnknownId);
  assertEquals(serve(encodePreamble(4, "other")), Fault.UnknownId);
  assertEquals(
    serve(joinBytes(encodePreamble(1, ""), encodePieceHeader(4_097, true))),
    Fault.OutOfRange,
  );
  pair.server.engine.setRole(a!.engine.peer!, "spectator");
  pair.server.engine.flush();
  pair.run(200);
  assertEquals(serve(encodePreamble(6, "")), Fault.Forbidden);
  assertEquals([...told], [["driver role channel 6 p0", 1]]);
  assertEquals(opened.flatMap(({ ear }) => ear.messages), []);
  assert(a!.core.isJoined, "the connection stays");
});

/** The test world, in which scripts may have as many channels as anyone may. */
const WIDE = driverGrants({
  channels: [{
    id: 4,
    name: "script/*",
    mode: "reliable",
    send: ["player", "server"],
    receive: ["player", "server"],
    maxBytes: 4_096,
    rateHz: 1_000,
    maxOpen: MAX_OPEN_CHANNELS,
  }],
});

Deno.test("an honest engine opens all its channels at once, closes them all, and opens as many again", () => {
  for (const lossRate of [0, 0.05]) {
    const pair = new Pair({
      grants: WIDE,
      seed: 31,
      clients: 2,
      conditions: { latencyMs: 20, lossRate },
    }).start().joinAll(30_000);
    const [client] = pair.clients;
    const pairs = [[client!, pair.server], [pair.server, client!]] as const;
    for (const [opener, other] of pairs) {
      const told = denialsOf(pair.server);
      const opened = accept(other);
      const to = opener === pair.server ? client!.engine.peer! : 0;
      let sent = 0;
      for (const turn of [0, 1, 2]) {
        const channels = Array.from({ length: MAX_OPEN_CHANNELS }, (_, i) => {
          const channel = opener.engine.openChannel(`script/${turn}-${i}`, { peer: to })!;
          assert(channel.send(Uint8Array.of(turn, i)), `${turn} ${i}`);
          sent += 1;
          return { channel, ear: listen(channel) };
        });
        pair.until(
          `all of turn ${turn} have come`,
          () => opened.filter(({ ear }) => ear.messages.length === 1).length === sent,
          20_000,
        );
        assert(channels.every(({ ear }) => ear.closed.length === 0));
        for (const { channel } of channels) channel.close();
        pair.until("all are closed", () => opened.every(({ ear }) => ear.closed.length === 1));
        pair.run(200);
      }
      assertEquals([...told], []);
    }
    assertEquals(pair.clients.map(({ core }) => core.isJoined), [true, true]);
    assertEquals([faultsOf(pair.server), faultsOf(client!)], [0, 0]);
    assertEquals(pair.server.core.usage.channels, 0);
  }
});

Deno.test("channels that cross a change of role on their way are denied, and nobody's fault", () => {
  const pair = new Pair({
    grants: WIDE,
    seed: 32,
    clients: 1,
    conditions: { latencyMs: 100 },
  }).start().joinAll();
  const [client] = pair.clients;
  const id = client!.engine.peer!;
  const told = denialsOf(pair.server);
  for (let turn = 0; turn < 5; turn++) {
    pair.server.engine.setRole(id, "spectator");
    pair.server.engine.flush();
    // It knows nothing of it yet, and opens, speaks and closes as it may.
    const ears = Array.from({ length: MAX_OPEN_CHANNELS }, (_, i) => {
      const channel = client!.engine.openChannel(`script/${turn}-${i}`)!;
      assert(channel.send(message(50)));
      return listen(channel);
    });
    pair.run(1_000);
    assert(ears.every(({ closed }) => closed.length === 1), "its engine is told");
    assertEquals(client!.core.isJoined, true);
    pair.server.engine.setRole(id, "player");
    pair.server.engine.flush();
    pair.run(500);
  }
  assertEquals([faultsOf(pair.server), faultsOf(client!)], [0, 0]);
  // Beyond the streams that its new role has a use for they are not even read.
  const unread = pair.server.core.counters.get("channel.refused");
  assertEquals([...told.keys()], [`driver role channel 4 p${id}`]);
  assertEquals([...told.values()][0]! + unread, 5 * MAX_OPEN_CHANNELS);
  const opened = accept(pair.server);
  assert(client!.engine.openChannel("script/late")!.send(message(9)));
  pair.run(500);
  assertEquals(opened[0]!.ear.messages, [message(9)]);
});
