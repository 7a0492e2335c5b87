import { assert, assertEquals, assertGreater } from "@std/assert";
import type { Channel } from "../../engine/channel.ts";
import { type Incoming, Reassembly } from "../../engine/reassembly.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_PROGRESS_MS,
  CHANNEL_WINDOW_BYTES,
  MAX_CHANNEL_MESSAGE_BYTES,
  MAX_GATHERED_BYTES,
  MAX_OPEN_CHANNELS,
  MAX_PEER_WAITING_BYTES,
  MAX_WAITING_BYTES,
} from "../../protocol/limits.ts";
import { LINK_GRANTS, LinkBed } from "../support/fake_driver.ts";

const GRANTS = {
  ...LINK_GRANTS,
  channels: LINK_GRANTS.channels.map((channel) =>
    channel.namespace
      ? { ...channel, maxBytes: MAX_CHANNEL_MESSAGE_BYTES, maxOpen: MAX_OPEN_CHANNELS }
      : channel
  ),
};
const PIECE = new Uint8Array(CHANNEL_PIECE_BYTES).fill(5);

/** One channel of the driver, that sends as its window allows. */
interface Sender {
  readonly number: number;
  readonly channel: Channel;
  window: number;
  sent: number;
  received: number;
  closed: string;
}

/** A server's engine with peers 1 to `peers`, and a driver that keeps to windows. */
class Stage {
  readonly bed = new LinkBed("server", { grants: GRANTS });
  readonly senders: Sender[] = [];
  /** Most that was held at any time. */
  most = 0;

  constructor(peers: number) {
    this.bed.join(0);
    for (let peer = 1; peer <= peers; peer++) {
      this.bed.say({ kind: "peerJoin", peer, roleId: 1, resumed: false });
    }
  }

  open(peer: number): Sender {
    const number = 0x8000_0001 + this.senders.length;
    let channel: Channel | undefined;
    this.bed.link.onChannel = (one) => channel = one;
    this.bed.say({
      kind: "channelOpen",
      channel: number,
      channelId: 3,
      name: `script/${number}`,
      peer,
    });
    const sender: Sender = {
      number,
      channel: channel!,
      window: CHANNEL_WINDOW_BYTES,
      sent: 0,
      received: -1,
      closed: "",
    };
    channel!.onMessage = ({ length }) => sender.received = length;
    channel!.onClose = (reason) => sender.closed = reason;
    this.senders.push(sender);
    return sender;
  }

  /** Sends one piece of a message of `total` bytes, if the window allows. */
  push(sender: Sender, total: number): boolean {
    if (sender.window <= 0 || sender.sent >= total || sender.closed !== "") return false;
    sender.sent += PIECE.length;
    sender.window -= PIECE.length;
    const last = sender.sent >= total;
    this.bed.say({ kind: "channelData", channel: sender.number, piece: PIECE, last });
    this.most = Math.max(this.most, this.bed.link.stats.gatheredBytes);
    for (const { channel, bytes } of this.bed.heardOf("channelCredit")) {
      this.senders[channel - 0x8000_0001]!.window += bytes;
    }
    this.bed.heard.length = 0;
    return true;
  }

  /** Lets the driver live on without sending. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 1_000) {
      this.bed.say({ kind: "pong", time: 0 });
      this.bed.pass(Math.min(1_000, left), 200);
    }
    for (const { channel, bytes } of this.bed.heardOf("channelCredit")) {
      this.senders[channel - 0x8000_0001]!.window += bytes;
    }
    this.bed.heard.length = 0;
  }

  get held(): number {
    return this.bed.link.stats.gatheredBytes;
  }
}

const LARGEST = MAX_CHANNEL_MESSAGE_BYTES;

Deno.test("ChannelTable takes two of the largest messages of one peer at once, and grants the older one first", () => {
  const stage = new Stage(1);
  const [older, younger] = [stage.open(1), stage.open(1)];
  let rounds = 0;
  while (older.received < 0 || younger.received < 0) {
    const moved = [older, younger].map((sender) => stage.push(sender, LARGEST));
    assert(moved.includes(true), "one of them can always go on");
    if (older.received < 0) rounds += 1;
  }
  assertEquals([older.received, younger.received], [LARGEST, LARGEST]);
  assertEquals(rounds, LARGEST / PIECE.length - 1, "the older one never waited");
  // The older one whole, and the younger as far as the bound had let it.
  assert(stage.most <= MAX_PEER_WAITING_BYTES * 2, `${stage.most} bytes`);
  assertEquals(stage.held, 0);
});

Deno.test("ChannelTable takes the largest messages of many peers at once, in bounded room and without a halt", () => {
  const stage = new Stage(6);
  const senders = [1, 2, 3, 4, 5, 6].map((peer) => stage.open(peer));
  for (;;) {
    const moved = senders.map((sender) => stage.push(sender, LARGEST));
    if (senders.every(({ received }) => received === LARGEST)) break;
    assert(moved.includes(true), "one of them can always go on");
  }
  assertGreater(stage.most, MAX_WAITING_BYTES / 2);
  assert(stage.most <= MAX_GATHERED_BYTES, `${stage.most} bytes`);
  assertEquals([stage.held, stage.bed.link.stats.denials], [0, 0]);
});

Deno.test("ChannelTable closes the channel of a message that stands in the way, when it does not go on in time", () => {
  const stage = new Stage(2);
  const stalled = stage.open(1);
  while (stalled.sent < LARGEST - PIECE.length) stage.push(stalled, LARGEST);
  const waiting = stage.open(1);
  while (stage.push(waiting, LARGEST));
  assertEquals(waiting.sent, CHANNEL_WINDOW_BYTES);
  // Another peer's is nobody's concern.
  const other = stage.open(2);
  stage.push(other, LARGEST);
  stage.pass(CHANNEL_PROGRESS_MS - 1_000);
  assertEquals([stalled.closed, waiting.window], ["", 0]);
  stage.pass(2_000);
  assertEquals(stalled.closed, "its message did not go on while others waited");
  assertEquals([waiting.closed, other.closed], ["", ""]);
  assertEquals(stage.bed.link.denialTotals.get("rate channel 3"), 1);
  while (stage.push(waiting, LARGEST));
  assertEquals(waiting.received, LARGEST);
});

Deno.test("ChannelTable lets a message rest as long as it likes, when nobody waits for its room", () => {
  const stage = new Stage(1);
  const [resting, other] = [stage.open(1), stage.open(1)];
  for (let i = 0; i < 20; i++) stage.push(resting, LARGEST);
  stage.push(other, 10 * PIECE.length);
  stage.pass(5 * CHANNEL_PROGRESS_MS);
  assertEquals([resting.closed, other.closed], ["", ""]);
  while (stage.push(resting, LARGEST));
  assertEquals(resting.received, LARGEST);
});

Deno.test("ChannelTable leaves a slow message alone, when it uses up its window in time while others wait", () => {
  const stage = new Stage(1);
  const slow = stage.open(1);
  while (slow.sent < LARGEST - 32 * PIECE.length) stage.push(slow, LARGEST);
  const waiting = stage.open(1);
  while (stage.push(waiting, LARGEST));
  for (let second = 0; slow.received < 0; second++) {
    assert(second < 600, "it goes on");
    stage.push(slow, LARGEST);
    stage.pass(1_000);
    assertEquals(slow.closed, "");
  }
  while (stage.push(waiting, LARGEST));
  assertEquals(waiting.received, LARGEST);
});

Deno.test("ChannelTable gives up the largest message of who holds the most, when windows alone pass every bound", () => {
  const stage = new Stage(12);
  const small = stage.open(12);
  stage.push(small, LARGEST);
  for (let peer = 1; peer <= 11; peer++) {
    for (let i = 0; i < MAX_OPEN_CHANNELS; i++) {
      const sender = stage.open(peer);
      for (let at = 0; at < CHANNEL_WINDOW_BYTES; at += PIECE.length) stage.push(sender, LARGEST);
    }
  }
  assertGreater(stage.most, MAX_WAITING_BYTES);
  assert(stage.most <= MAX_GATHERED_BYTES + CHANNEL_WINDOW_BYTES * 2, `${stage.most} bytes`);
  assert(stage.held <= MAX_GATHERED_BYTES);
  const closed = stage.senders.filter(({ closed }) => closed !== "");
  assertGreater(closed.length, 0);
  assertEquals(new Set(closed.map((one) => one.closed)).size, 1);
  assertEquals(stage.bed.link.denialTotals.get("size channel 3"), closed.length);
  assertEquals(small.closed, "", "who holds little loses nothing");
  while (stage.push(small, 4 * PIECE.length));
  assertEquals(small.received, 4 * PIECE.length);
});

Deno.test("`Reassembly` counts the room of every message, from its first piece to its end", () => {
  const room = new Reassembly();
  const incoming = (peer: number): Incoming => ({
    peer,
    maxBytes: 1_000,
    bytes: new Uint8Array(0),
    length: 0,
  });
  const [a, b, c] = [incoming(1), incoming(1), incoming(2)];
  room.append(a, Uint8Array.of(1, 2, 3));
  room.append(b, new Uint8Array(600));
  room.append(b, new Uint8Array(10));
  room.append(c, new Uint8Array(5));
  assertEquals([room.heldBy(1), room.heldBy(2)], [3 + 1_000, 5]);
  assertEquals(room.heldBytes, 1_008);
  assertEquals(room.largest(), b);
  assertEquals(room.take(a), Uint8Array.of(1, 2, 3));
  assertEquals(room.take(b).length, 610);
  assertEquals([room.heldBytes, room.heldBy(1)], [5, 0]);
  assertEquals(room.take(c).length, 5);
  assertEquals([room.heldBytes, room.largest()], [0, undefined]);
  assertEquals(room.take(c).length, 0);
});
