import { assert, assertEquals } from "@std/assert";
import { ChannelRouter } from "../../driver/channel_router.ts";
import { Counters } from "../../driver/counters.ts";
import { Gate } from "../../permissions/gate.ts";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import {
  CHANNEL_JOIN_BYTES,
  CHANNEL_WINDOW_BYTES,
  MAX_CHANNEL_OPENS_PER_S,
  MAX_INTAKE_BYTES,
  MAX_INTAKE_CHUNKS,
  MAX_LOOSE_MESSAGES,
  MAX_OPEN_CHANNELS,
  MAX_PARTING_BYTES,
  MAX_PARTING_COST,
  MAX_PARTING_MESSAGES,
  STREAM_CHUNK_COST,
  STREAM_MESSAGE_COST,
  STREAM_PIECE_COST,
} from "../../protocol/limits.ts";
import type { Stream, StreamHandler } from "../../transport/connection.ts";
import { driverGrants } from "../support/driver_world.ts";
import { joinBytes } from "../support/hostile_bytes.ts";

const GRANTS = driverGrants();

/** A peer's stream whose bytes a test brings, and that notes whether it is paused. */
class TestStream implements Stream {
  handler!: StreamHandler;
  readonly bufferedBytes = 0;
  /** Every change. */
  readonly pauses: boolean[] = [];

  setHandler(handler: StreamHandler): void {
    this.handler = handler;
  }

  write(): boolean {
    return true;
  }

  end(): void {}

  reset(code: number): void {
    throw new Error(`reset with ${code}`);
  }

  pause(paused: boolean): void {
    this.pauses.push(paused);
  }
}

/** A router with one peer, whose streams a test opens. */
function bench(mayGoOn?: (peer: number, cost: number) => boolean, grants = GRANTS) {
  const clock = { nowMs: 0 };
  const denials: string[] = [];
  const router = new ChannelRouter(grants, new Gate(grants), {
    now: () => clock.nowMs,
    wake: () => {},
    denied: (_peer, rule) => denials.push(rule),
    violation: (_peer, fault) => {
      throw new Error(`a fault: ${fault}`);
    },
    ...(mayGoOn === undefined ? {} : { mayGoOn }),
  }, new Counters());
  const peerOf = (id: number) => ({
    peer: id,
    remoteRole: GRANTS.defaultRole,
    localRole: 0,
    openStream: () => new TestStream(),
    queueMessage: () => true,
  });
  const open = (bytes: Uint8Array, id = 7) => {
    const stream = new TestStream();
    router.handlePeerStream(peerOf(id), stream);
    stream.handler.handleData(bytes);
    return stream;
  };
  /** What the engine is told, up to `most` messages. */
  const draw = (most = Infinity) => {
    const told: ToEngine[] = [];
    while (told.length < most) {
      const message = router.pollReport() ?? router.pollMessage();
      if (message === undefined) break;
      told.push(message);
    }
    return told;
  };
  return { router, clock, denials, peerOf, open, draw };
}

const CHAT = GRANTS.channels.find(({ mode, namespace }) => mode === "reliable" && !namespace)!;

/** A message of one piece. */
function whole(length: number): Uint8Array {
  return joinBytes(encodePieceHeader(length, true), new Uint8Array(length));
}

function bytesOf(told: readonly ToEngine[]): number {
  return told.reduce((sum, one) => sum + (one.kind === "channelData" ? one.piece.length : 0), 0);
}

Deno.test("ChannelRouter pauses a stream whose peer has used up its share, until it is readable again", () => {
  let left = 2 * STREAM_MESSAGE_COST + 10 * STREAM_CHUNK_COST;
  const { router, open, draw } = bench((_peer, cost) => {
    left -= cost;
    return left > 0;
  });
  const stream = open(encodePreamble(CHAT.id, ""));
  stream.handler.handleData(whole(50));
  assertEquals(bytesOf(draw()), 50);
  assertEquals(stream.pauses, []);
  // Three in one chunk: what is looked at when nothing is left is done with, the rest waits unread.
  stream.handler.handleData(joinBytes(whole(60), whole(70), whole(80)));
  left = STREAM_MESSAGE_COST;
  assertEquals(bytesOf(draw()), 60);
  assertEquals(stream.pauses, [true]);
  // Another peer's turn is nothing to this one.
  router.handlePeerReadable(8);
  assertEquals([bytesOf(draw()), stream.pauses], [0, [true]]);
  left = 100 * STREAM_MESSAGE_COST;
  router.handlePeerReadable(7);
  assertEquals(stream.pauses, [true, false]);
  assertEquals(bytesOf(draw()), 150);
  router.handlePeerReadable(7);
  assertEquals(stream.pauses, [true, false]);
});

Deno.test("ChannelRouter charges a peer for chunks, pieces and messages, and for bytes after a close", () => {
  let spent = 0;
  const { router, open, draw } = bench((_peer, cost) => {
    spent += cost;
    return true;
  });
  const stream = open(encodePreamble(CHAT.id, ""));
  const told = draw();
  const before = spent;
  stream.handler.handleData(whole(0));
  draw();
  assertEquals(spent - before, STREAM_CHUNK_COST + 1 + STREAM_PIECE_COST + STREAM_MESSAGE_COST);
  const { channel } = told[0] as Extract<ToEngine, { kind: "channelOpen" }>;
  router.handleEngineClose({ kind: "channelClose", channel, reason: "" });
  spent = 0;
  stream.handler.handleData(new Uint8Array(100));
  assertEquals([spent, draw()], [STREAM_CHUNK_COST + 100, []]);
});

Deno.test("ChannelRouter pauses every stream at once while the engine takes nothing, and what has come waits", () => {
  const { router, open, draw } = bench();
  const streams = [open(encodePreamble(CHAT.id, "")), open(encodePreamble(4, "script/a"))];
  draw();
  router.handleEngineWritable(false);
  assertEquals(streams.map(({ pauses }) => pauses), [[true], [true]]);
  // A read that was under way; and one whose preamble has not even come.
  streams[0]!.handler.handleData(whole(30));
  const late = open(encodePreamble(CHAT.id, "").subarray(0, 1));
  assertEquals(late.pauses, [true]);
  router.handleEngineWritable(true);
  assertEquals([...streams, late].map(({ pauses }) => pauses.at(-1)), [false, false, false]);
  assertEquals(bytesOf(draw()), 30);
});

Deno.test("ChannelRouter pauses a stream that nobody draws from, before much of it waits", () => {
  const { open, draw } = bench();
  const stream = open(encodePreamble(5, ""));
  draw();
  let chunks = 0;
  while (stream.pauses.length === 0) {
    stream.handler.handleData(joinBytes(encodePieceHeader(1, false), Uint8Array.of(chunks)));
    chunks += 1;
  }
  assertEquals(chunks, MAX_INTAKE_CHUNKS);
  assertEquals([draw(), stream.pauses], [[], [true, false]]);
  const large = open(encodePreamble(5, ""));
  let bytes = 0;
  while (large.pauses.length === 0) {
    const length = bytes === 0 ? 16_384 : 16_000;
    large.handler.handleData(joinBytes(encodePieceHeader(length, false), new Uint8Array(length)));
    bytes += length;
  }
  assert(bytes <= MAX_INTAKE_BYTES + 16_384, `${bytes}`);
  assertEquals(bytesOf(draw()) > MAX_INTAKE_BYTES - 16_384, true);
});

Deno.test("ChannelRouter draws from channels in turn", () => {
  const { open, draw } = bench();
  const streams = ["a", "b", "c"].map((name) => open(encodePreamble(4, `script/${name}`)));
  const opened = draw().map((one) => (one as { channel: number }).channel);
  for (const stream of streams) {
    for (let i = 0; i < 4; i++) stream.handler.handleData(whole(1));
  }
  const order = draw().map((one) => opened.indexOf((one as { channel: number }).channel));
  assertEquals(order, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
});

Deno.test("ChannelRouter tells the engine nothing of channels that come and go before it listens", () => {
  const { router, peerOf, open, draw } = bench();
  for (let i = 0; i < 40; i++) {
    router.handleEngineWritable(false);
    const stream = open(encodePreamble(CHAT.id, ""));
    stream.handler.handleReset(1);
    router.handleEngineWritable(true);
  }
  assertEquals(draw(), []);
  // Nor of an unreliable one, of which it was told no message.
  const telemetry = GRANTS.channels.find(({ mode }) => mode === "unreliable")!;
  router.handleEngineWritable(false);
  router.handlePeerMessage(
    peerOf(7),
    { channelId: telemetry.id, name: "", body: new Uint8Array(1) },
    0,
  );
  assertEquals(router.openCount, 1);
  router.handlePeerGone(7);
  router.handleEngineWritable(true);
  assertEquals([draw(), router.openCount], [[], 0]);
});

Deno.test("ChannelRouter gives the engine what came before an end, a reset or a peer's leaving", () => {
  for (const end of ["end", "reset", "gone"] as const) {
    const { router, open, draw } = bench();
    const stream = open(joinBytes(encodePreamble(CHAT.id, ""), whole(30), whole(40)));
    if (end === "end") stream.handler.handleEnd();
    else if (end === "reset") stream.handler.handleReset(1);
    else router.handlePeerGone(7);
    const told = draw();
    assertEquals(
      told.map(({ kind }) => kind),
      ["channelOpen", "channelData", "channelData", "channelClose"],
      end,
    );
    assertEquals(bytesOf(told), 70);
    assertEquals(router.openCount, 0);
  }
});

Deno.test("ChannelRouter holds back channels above the rate, and opens them in time", () => {
  const { router, clock, denials, open, draw } = bench();
  const count = () => draw().filter(({ kind }) => kind === "channelOpen").length;
  let [opened, sent] = [0, 0];
  const streams: TestStream[] = [];
  for (; sent < MAX_OPEN_CHANNELS + 40; sent++) {
    streams.push(open(encodePreamble(CHAT.id, "")));
    opened += count();
    streams.at(-1)!.handler.handleEnd();
    draw();
  }
  assert(opened >= MAX_OPEN_CHANNELS && opened < MAX_OPEN_CHANNELS + 10, `${opened}`);
  for (let i = 0; i < 100 && opened < sent; i++) {
    clock.nowMs += 50;
    router.handlePeerReadable(7);
    const now = count();
    assert(now <= 1, `${now}`);
    opened += now;
  }
  assertEquals([opened, denials], [sent, []]);
  assert(clock.nowMs > 1_000 * (sent - MAX_OPEN_CHANNELS - 10) / (MAX_CHANNEL_OPENS_PER_S * 1.25));
});

/** The test world with channels of a high rate. */
const FAST = {
  ...GRANTS,
  channels: GRANTS.channels.map((channel) => ({ ...channel, rateHz: 1_000 })),
};

Deno.test("ChannelRouter keeps few messages of an unreliable channel for an engine's turn, and none for one that takes nothing", () => {
  const { router, peerOf, draw } = bench(undefined, FAST);
  const telemetry = FAST.channels.find(({ mode }) => mode === "unreliable")!;
  const say = (count: number, length: number) => {
    for (let i = 0; i < count; i++) {
      const message = { channelId: telemetry.id, name: "", body: new Uint8Array(length) };
      router.handlePeerMessage(peerOf(7), message, 0);
    }
  };
  say(2 * MAX_LOOSE_MESSAGES, 0);
  const told = draw();
  assertEquals(told[0]!.kind, "channelOpen");
  assertEquals(told.length, 1 + MAX_LOOSE_MESSAGES);
  router.handleEngineWritable(false);
  say(10, 100);
  router.handleEngineWritable(true);
  assertEquals(draw(), []);
  // A message that takes the last of the window goes all the same, and the next one not.
  const other = bench(undefined, FAST);
  const full = { channelId: telemetry.id, name: "", body: new Uint8Array(512) };
  let drawn = 0;
  for (let sent = 0; sent < CHANNEL_WINDOW_BYTES + 10 * 512; sent += 512) {
    other.clock.nowMs += 1;
    other.router.handlePeerMessage(other.peerOf(7), full, other.clock.nowMs);
    if (sent % 51_200 === 0) drawn += bytesOf(other.draw());
  }
  drawn += bytesOf(other.draw());
  assertEquals(drawn, CHANNEL_WINDOW_BYTES);
  const { channel } = told[0] as Extract<ToEngine, { kind: "channelOpen" }>;
  other.router.handleEngineCredit({ kind: "channelCredit", channel, bytes: 512 });
  other.router.handlePeerMessage(other.peerOf(7), full, other.clock.nowMs);
  assertEquals(bytesOf(other.draw()), 512);
});

Deno.test("ChannelRouter keeps little of what peers said before they left, however many leave at once", () => {
  const small = bench(undefined, FAST);
  const chat = encodePreamble(CHAT.id, "");
  for (let peer = 1; peer <= 200; peer++) {
    small.open(joinBytes(chat, ...Array.from({ length: 20 }, () => whole(0))), peer);
    small.router.handlePeerGone(peer);
  }
  const said = small.draw().filter(({ kind }) => kind !== "channelClose");
  assertEquals(said.length, MAX_PARTING_MESSAGES);
  assertEquals(small.router.openCount, 0);
  const large = bench(undefined, FAST);
  for (let peer = 1; peer <= 40; peer++) {
    large.open(encodePreamble(5, ""), peer).handler.handleData(whole(60_000));
    large.router.handlePeerGone(peer);
  }
  const bytes = bytesOf(large.draw());
  assert(bytes > MAX_PARTING_BYTES - 60_000 && bytes < MAX_PARTING_BYTES + 60_000, `${bytes}`);
  // One peer is not looked at for long.
  const one = bench(undefined, FAST);
  one.open(joinBytes(chat, ...Array.from({ length: 500 }, () => whole(0))));
  one.router.handlePeerGone(7);
  const count = one.draw().filter(({ kind }) => kind === "channelData").length;
  assert(count > 100 && count <= MAX_PARTING_COST / STREAM_MESSAGE_COST + 1, `${count}`);
});

Deno.test("ChannelRouter looks at one of a peer's streams, and no further, when that uses up what the peer may bring", () => {
  let left = Infinity;
  let spent = 0;
  const channels = GRANTS.channels.map((one) => ({ ...one, maxBytes: 1_000_000 }));
  const { router, open, draw } = bench((_peer, cost) => {
    left -= cost;
    spent += cost;
    return left > 0;
  }, { ...GRANTS, channels });
  const ids = GRANTS.channels.find(({ mode, namespace }) => mode === "reliable" && namespace)!;
  // Each brings one long message in pieces of one byte, which cost most.
  const pieces = new Uint8Array(30_000);
  const piece = joinBytes(encodePieceHeader(1, false), Uint8Array.of(7));
  for (let at = 0; at + piece.length <= pieces.length; at += piece.length) pieces.set(piece, at);
  const streams = Array.from({ length: ids.maxOpen }, (_, i) => {
    return open(encodePreamble(ids.id, ids.name.replace("*", `n${i}`)));
  });
  assert(streams.length >= 3, "several streams");
  draw();
  for (const stream of streams) stream.handler.handleData(pieces.slice());
  spent = 0;
  left = 1;
  draw();
  // One look at one stream, and what passes before it is clear that nothing is left.
  const look = CHANNEL_JOIN_BYTES * (1 + STREAM_PIECE_COST / piece.length) + STREAM_MESSAGE_COST;
  assert(spent > look / 2 && spent <= look, `${spent} of ${look}`);
  for (let tick = 0; tick < 5; tick++) {
    spent = 0;
    left = 1;
    router.handlePeerReadable(7);
    draw();
    assert(spent <= look, `${spent} of ${look}`);
  }
});

Deno.test("ChannelRouter forgets a stream that had ended when its engine closes the channel, however often", () => {
  const channels = GRANTS.channels.map((one) => ({ ...one, maxBytes: 1_000_000, rateHz: 1_000 }));
  const { router, clock, open, draw } = bench(undefined, { ...GRANTS, channels });
  for (let round = 0; round < 3 * MAX_OPEN_CHANNELS; round++) {
    clock.nowMs += 1_000;
    const stream = open(encodePreamble(CHAT.id, ""));
    const [opened] = draw().filter(({ kind }) => kind === "channelOpen");
    assert(opened?.kind === "channelOpen", `round ${round}: ${Deno.inspect(stream)}`);
    // The window is used up, and the end has come behind what waits.
    for (let i = 0; i < 5; i++) {
      stream.handler.handleData(whole(60_000));
      draw();
    }
    stream.handler.handleData(whole(10));
    stream.handler.handleEnd();
    const { channel } = opened;
    router.handleEngineCredit({ kind: "channelCredit", channel, bytes: 100_000 });
    router.handleEngineClose({ kind: "channelClose", channel, reason: "" });
    draw();
  }
});
