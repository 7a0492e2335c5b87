import { assert, assertEquals } from "@std/assert";
import type { Channel } from "../../engine/channel.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  MAX_ENGINE_MESSAGES,
} from "../../protocol/limits.ts";
import { encodeToEngine } from "../../protocol/engine_codec.ts";
import { encodeFrame } from "../../protocol/frame_buffer.ts";
import { LinkBed } from "../support/fake_driver.ts";

const THEIRS = 0x8000_0001;

/** A message whose bytes follow from its size. */
function message(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff);
}

function clientBed(): LinkBed {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.takeLog();
  return bed;
}

/** Collects what a channel receives. */
function listenTo(channel: Channel): { messages: Uint8Array[]; closed: string[] } {
  const heard = { messages: [] as Uint8Array[], closed: [] as string[] };
  channel.onMessage = (bytes) => heard.messages.push(bytes);
  channel.onClose = (reason) => heard.closed.push(reason);
  return heard;
}

/** The driver opens a channel; what the engine got. */
function opened(bed: LinkBed, channelId: number, name: string): Channel | undefined {
  let channel: Channel | undefined;
  bed.link.onChannel = (one) => channel = one;
  bed.say({ kind: "channelOpen", channel: THEIRS, channelId, name, peer: 0 });
  return channel;
}

Deno.test("openChannel() opens declared channels and names inside a namespace, and nothing else", () => {
  const bed = clientBed();
  assertEquals(bed.link.openChannel("chat")?.name, "chat");
  assertEquals(bed.link.openChannel("script/door.1")?.name, "script/door.1");
  bed.listen();
  assertEquals(
    bed.heardOf("channelOpen").map(({ channel, channelId, name, peer }) => [
      channel,
      channelId,
      name,
      peer,
    ]),
    [[1, 1, "chat", 0], [2, 3, "script/door.1", 0]],
  );
  assertEquals(bed.link.openChannel("chat"), undefined);
  assertEquals(bed.link.openChannel("whisper"), undefined);
  assertEquals(bed.link.openChannel("script/"), undefined);
  assertEquals(bed.link.openChannel("script/a b"), undefined);
  assertEquals(bed.link.openChannel("chat", { peer: 6 }), undefined);
  assert(bed.link.openChannel("script/2"));
  assertEquals(bed.link.openChannel("script/3"), undefined);
  bed.flush();
  assertEquals(bed.takeLog(), [
    "denied engine channelCount channel 1 f0 h0 p5 x1",
    "denied engine undeclared channel 0 f0 h0 p5 x3",
    "denied engine peer channel 1 f0 h0 p5 x1",
    "denied engine channelCount channel 3 f0 h0 p5 x1",
  ]);
});

Deno.test("Channel.send() cuts messages into pieces and waits for credit", () => {
  const bed = clientBed();
  const channel = bed.link.openChannel("chat")!;
  const size = 3 * CHANNEL_WINDOW_BYTES + 100;
  assert(channel.send(message(size)));
  let writable = 0;
  channel.onWritable = () => writable++;
  assert(!channel.send(message(5)));
  bed.listen();
  const pieces = () => bed.heardOf("channelData");
  const sum = () => pieces().reduce((total, { piece }) => total + piece.length, 0);
  assertEquals(sum(), CHANNEL_WINDOW_BYTES);
  assertEquals(channel.bufferedBytes, size - CHANNEL_WINDOW_BYTES);
  assert(pieces().every(({ last, piece }) => !last && piece.length <= CHANNEL_PIECE_BYTES));
  for (let i = 0; i < 4; i++) {
    bed.say({ kind: "channelCredit", channel: 1, bytes: CHANNEL_WINDOW_BYTES });
  }
  assertEquals(sum(), size);
  assertEquals(pieces().map(({ last }) => last).indexOf(true), pieces().length - 1);
  assertEquals(writable, 1);
  assertEquals(channel.bufferedBytes, 0);
  const joined = new Uint8Array(size);
  let at = 0;
  for (const { piece } of pieces()) {
    joined.set(piece, at);
    at += piece.length;
  }
  assertEquals(joined, message(size));
});

Deno.test("Channel.send() lets no credit raise the window above its first size", () => {
  const bed = clientBed();
  const channel = bed.link.openChannel("chat")!;
  for (let i = 0; i < 5; i++) {
    bed.say({ kind: "channelCredit", channel: 1, bytes: CHANNEL_WINDOW_BYTES });
  }
  channel.send(message(3 * CHANNEL_WINDOW_BYTES));
  bed.listen();
  const sum = bed.heardOf("channelData").reduce((total, { piece }) => total + piece.length, 0);
  assertEquals(sum, CHANNEL_WINDOW_BYTES);
});

Deno.test("Channel.send() takes so many empty messages and no more, and never ends the link by them", () => {
  const bed = clientBed();
  const channel = bed.link.openChannel("chat")!;
  let writable = 0;
  channel.onWritable = () => writable++;
  const send = (count: number) => {
    let taken = 0;
    for (let i = 0; i < count; i++) taken += Number(channel.send(new Uint8Array(0)));
    return taken;
  };
  assertEquals(send(3 * MAX_ENGINE_MESSAGES), MAX_ENGINE_MESSAGES);
  assertEquals(channel.bufferedBytes, 0);
  assertEquals(writable, 0);
  // They go to a driver that does not read, and as many again wait behind them.
  let taken = 0;
  for (let i = 0; i < 8; i++) {
    // It begins to write, and its driver does not read.
    bed.link.pollBytes();
    taken += send(3 * MAX_ENGINE_MESSAGES);
    bed.link.handleBytes(encodeFrame(encodeToEngine({ kind: "pong", time: 0 })));
  }
  assert(bed.link.isJoined, "the link is not ended");
  assert(taken <= 2 * MAX_ENGINE_MESSAGES, `${taken}`);
  bed.link.handleWritten();
  bed.listen();
  assert(bed.heardOf("channelData").length >= taken);
  assert(writable >= 1);
  assertEquals(send(1), 1);
});

Deno.test("Channel.send() copies, sends empty messages, and refuses what is too large or closed", () => {
  const bed = clientBed();
  const channel = bed.link.openChannel("chat")!;
  const bytes = message(10);
  assert(channel.send(bytes));
  bytes.fill(0);
  assert(channel.send(new Uint8Array(0)));
  assert(!channel.send(new Uint8Array(1024 * 1024 + 1)));
  bed.flush();
  assertEquals(bed.heardOf("channelData").map(({ piece, last }) => [piece, last]), [
    [message(10), true],
    [new Uint8Array(0), true],
  ]);
  assertEquals(bed.takeLog(), ["denied engine size channel 1 f0 h0 p5 x1"]);
  channel.close("done");
  assert(!channel.isOpen);
  assert(!channel.send(message(1)));
  bed.listen();
  assertEquals(bed.heardOf("channelClose"), [{ kind: "channelClose", channel: 1, reason: "done" }]);
});

Deno.test("a large message on one channel leaves room for state, voice and other channels", () => {
  const bed = clientBed();
  const chat = bed.link.openChannel("chat")!;
  const script = bed.link.openChannel("script/1")!;
  const handle = bed.link.spawn({ Name: {} });
  bed.flush();
  bed.isReading = false;
  chat.send(message(1024 * 1024));
  // One write is under way; what it holds is the test's loss.
  bed.link.pollBytes();
  script.send(message(100));
  bed.link.set(handle, "Name", { text: "moved" });
  assert(bed.link.flush() > 0);
  assert(bed.link.sendVoice(handle, message(80)));
  bed.link.handleWritten();
  bed.isReading = true;
  bed.listen();
  const kinds = bed.heard.map(({ kind }) => kind);
  assert(kinds.includes("voice"));
  assertEquals(bed.heardOf("channelData").filter(({ channel }) => channel === 2).length, 1);
});

Deno.test("an unreliable channel drops what has no room, and counts it", () => {
  const bed = clientBed();
  const channel = bed.link.openChannel("telemetry")!;
  assert(!channel.send(message(501)));
  let taken = 0;
  for (let i = 0; i < 1_000; i++) if (channel.send(message(500))) taken += 1;
  assertEquals(taken, Math.floor(CHANNEL_WINDOW_BYTES / 500));
  assertEquals(bed.link.stats.messagesDropped, 1_000 - taken);
  bed.listen();
  assertEquals(bed.heardOf("channelData").length, taken);
});

Deno.test("messages that arrive in pieces are put together, and credited as they come", () => {
  const bed = clientBed();
  const channel = opened(bed, 1, "")!;
  assertEquals(channel.name, "chat");
  const heard = listenTo(channel);
  const size = 1024 * 1024;
  const whole = message(size);
  for (let at = 0; at < size; at += 60_000) {
    const piece = whole.subarray(at, at + 60_000);
    bed.say({ kind: "channelData", channel: THEIRS, piece, last: at + 60_000 >= size });
  }
  bed.say({ kind: "channelData", channel: THEIRS, piece: new Uint8Array(0), last: true });
  assertEquals(heard.messages.map(({ length }) => length), [size, 0]);
  assertEquals(heard.messages[0], whole);
  const credited = bed.heardOf("channelCredit").reduce((sum, { bytes }) => sum + bytes, 0);
  assert(credited > size - CHANNEL_WINDOW_BYTES / 4 && credited <= size, `${credited}`);
});

Deno.test("a message above the declared size is denied and swallowed; the next one arrives", () => {
  const bed = clientBed();
  const channel = opened(bed, 3, "script/x")!;
  const heard = listenTo(channel);
  for (const last of [false, false, true]) {
    bed.say({ kind: "channelData", channel: THEIRS, piece: message(600), last });
  }
  bed.say({ kind: "channelData", channel: THEIRS, piece: message(1_000), last: true });
  assertEquals(heard.messages, [message(1_000)]);
  assertEquals(bed.takeLog(), ["denied engine size channel 3 f0 h0 p0 x1"]);
});

Deno.test("channels that the driver may not open are denied and closed", () => {
  const bed = clientBed();
  const refused: [number, number, string, number, string][] = [
    [THEIRS, 99, "x", 0, "undeclared channel 99"],
    [THEIRS, 3, "chat", 0, "channel channel 3"],
    [THEIRS, 1, "chat", 6, "peer channel 1"],
  ];
  for (const [channel, channelId, name, peer, denial] of refused) {
    bed.nowMs += 1_000;
    bed.say({ kind: "channelOpen", channel, channelId, name, peer });
    assertEquals(bed.takeLog(), [`denied engine ${denial} f0 h0 p${peer} x1`]);
    assertEquals(bed.heardOf("channelClose").at(-1)?.channel, channel);
  }
  opened(bed, 1, "chat");
  bed.say({ kind: "channelOpen", channel: THEIRS, channelId: 1, name: "chat", peer: 0 });
  assertEquals(bed.takeLog(), ["denied engine format channel 1 f0 h0 p0 x1"]);
});

Deno.test("the server's engine takes no message of a role that may not send", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  let channel: Channel | undefined;
  bed.link.onChannel = (one) => channel = one;
  bed.say({ kind: "channelOpen", channel: THEIRS, channelId: 1, name: "chat", peer: 6 });
  const heard = listenTo(channel!);
  bed.say({ kind: "channelData", channel: THEIRS, piece: message(5), last: true });
  bed.link.setRole(6, "spectator");
  bed.flush();
  bed.say({ kind: "roleChanged", peer: 6, roleId: 2 });
  bed.takeLog();
  bed.say({ kind: "channelData", channel: THEIRS, piece: message(6), last: true });
  assertEquals(heard.messages, [message(5)]);
  assertEquals(bed.takeLog(), ["denied engine role channel 1 f0 h0 p6 x1"]);
});

Deno.test("channels end with the driver's close and with the driver", () => {
  const bed = clientBed();
  const channel = opened(bed, 1, "chat")!;
  const heard = listenTo(channel);
  const mine = bed.link.openChannel("script/1")!;
  const mineHeard = listenTo(mine);
  bed.say({ kind: "channelClose", channel: THEIRS, reason: "peer gone" });
  bed.say({ kind: "channelClose", channel: THEIRS, reason: "peer gone" });
  bed.say({ kind: "channelData", channel: THEIRS, piece: message(5), last: true });
  assertEquals(heard.closed, ["peer gone"]);
  bed.hangUp();
  assertEquals(mineHeard.closed, ["driver lost"]);
  assert(!mine.send(message(1)));
});
