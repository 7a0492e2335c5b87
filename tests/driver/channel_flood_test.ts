// A peer that brings as many messages for the engine as its line carries, in as few bytes as it can: the engine is told a bounded number of
// them, whether it reads or not, nobody's driver ends, and everyone else is served.

import { assert, assertEquals, assertLess } from "@std/assert";
import { encodeChannelDatagram, encodePreamble } from "../../protocol/channel_frames.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { MAX_ENGINE_MESSAGES, MAX_OPEN_CHANNELS } from "../../protocol/limits.ts";
import { VoiceKind } from "../../voice/voice_section.ts";
import { FieldCodec } from "../../replication/field_codec.ts";
import { createValue } from "../../replication/value.ts";
import { Writer } from "../../protocol/writer.ts";
import type { Channel } from "../../engine/channel.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { joinBytes } from "../support/hostile_bytes.ts";
import { Pair } from "../support/pair.ts";
import { RawPeer, voiceBody } from "../support/raw_peer.ts";

const BASE = driverGrants();
/** One channel may carry as much as any may; the honest ones' are as ever. */
const GRANTS = {
  ...BASE,
  channels: BASE.channels.map((one) => one.id === 6 ? { ...one, rateHz: 1_000 } : one),
};

/** Bytes that a peer may send in a millisecond: 2 MB/s, eleven times what was enough to end a driver in a second. */
const LINE = 2_000;

/** Frames of a stream that it may send in a millisecond: what headers make of a line of 6 MB/s. */
const FRAMES = 200;

/** What an attacker does in each millisecond, while it is let. */
type Attack<T = RawPeer> = (attacker: T) => () => void;

/** Whoever can open streams. */
type Line = Pick<RawPeer, "connection">;

/** Messages that a channel of 1,000 a second may bring in two seconds, after a burst of what a path may have held up for two more. */
const FAST = 2 * 1_250 + 3_125;

function openStream(raw: Line, first: Uint8Array): Stream {
  const stream = raw.connection.openStream();
  stream.setHandler({
    handleData: () => {},
    handleEnd: () => {},
    handleReset: () => {},
    handleWritable: () => {},
  });
  stream.write(first);
  return stream;
}

/** Writes the same bytes at line rate, each apart, as far as the stream takes them. */
function repeat(raw: Line, channel: number, bytes: Uint8Array, apart: boolean): () => void {
  const stream = openStream(raw, encodePreamble(channel, ""));
  const many = joinBytes(...Array.from({ length: LINE / bytes.length }, () => bytes));
  return () => {
    if (stream.bufferedBytes > 100_000) return;
    if (!apart) stream.write(many);
    else for (let i = 0; i < FRAMES; i++) stream.write(bytes);
  };
}

function eventPayload(name: string): { readonly eventId: number; readonly payload: Uint8Array } {
  const grant = GRANTS.events.find((one) => one.name === name)!;
  const writer = new Writer(64);
  const mask = (1 << grant.fields.length) - 1;
  new FieldCodec({ ...grant, allFields: mask }).encodeAbsolute(writer, createValue(grant), mask);
  return { eventId: grant.id, payload: writer.finish() };
}

/** What takes streams alone. */
const STREAM_ATTACKS: Record<string, Attack<Line>> = {
  "pieces of one byte": (raw) => repeat(raw, 5, Uint8Array.of(2, 7), false),
  "pieces of one byte, each in a frame of its own": (raw) =>
    repeat(raw, 5, Uint8Array.of(2, 7), true),
  "empty messages": (raw) => repeat(raw, 1, Uint8Array.of(1), false),
  "messages of one byte": (raw) => repeat(raw, 5, Uint8Array.of(3, 7), true),
  "as many empty messages as any channel may carry": (raw) => {
    const stream = openStream(raw, encodePreamble(6, ""));
    stream.write(new Uint8Array(3_000).fill(1));
    let owed = 0;
    return () => {
      for (owed += 1.25; owed >= 1; owed--) stream.write(Uint8Array.of(1));
    };
  },
  "channels that come and go": (raw) => {
    let turn = 0;
    return () => {
      for (let i = 0; i < 8; i++) {
        const stream = openStream(raw, encodePreamble(4, `script/${turn++ % 40}`));
        if (turn % 3 === 0) stream.reset(1);
        else stream.end();
      }
    };
  },
};

const ATTACKS: Record<string, Attack> = {
  ...STREAM_ATTACKS,
  "events, voice and datagram messages": (raw) => {
    const wave = eventPayload("Wave");
    return () => {
      for (let i = 0; i < 10 && raw.closed === undefined; i++) {
        raw.tell({ kind: "event", from: 0, time: raw.time, stateTicks: 0, ...wave });
        const channels = Array.from(
          { length: 8 },
          () =>
            encodeChannelDatagram(
              { channelId: 2, name: "", payload: new Uint8Array(0) },
              false,
            ),
        );
        const { time } = raw;
        const frame = {
          kind: VoiceKind.Opus,
          slot: 1,
          generation: 0,
          sequence: i,
          time,
          payload: Uint8Array.of(0xf8),
        } as Parameters<typeof voiceBody>[1][number];
        raw.send(raw.datagram({ channels, voice: voiceBody(time, [frame]) }, { time }));
      }
    };
  },
};

/** Two honest clients, one of which talks to the server's engine all the while. */
class Room {
  readonly pair = new Pair({ grants: GRANTS, seed: 5, clients: 2, conditions: { latencyMs: 5 } });
  readonly #avatars: number[] = [];
  readonly #chat: Channel;
  /** Numbers of the honest messages that came. */
  readonly heard: number[] = [];
  said = 0;
  /** What the server's engine was told, by kind. */
  readonly told = new Map<string, number>();
  /** Most messages that it was told at one moment. */
  most = 0;

  constructor() {
    const { pair } = this;
    pair.start().joinAll();
    for (const [i, { engine }] of pair.clients.entries()) {
      this.#avatars.push(engine.spawn(avatarAt(i)));
    }
    const { core } = pair.server;
    const poll = core.pollEngine.bind(core);
    let [atMs, burst] = [0, 0];
    core.pollEngine = (nowMs): ToEngine | undefined => {
      const message = poll(nowMs);
      if (message === undefined) return undefined;
      this.told.set(message.kind, (this.told.get(message.kind) ?? 0) + 1);
      burst = nowMs === atMs ? burst + 1 : 1;
      atMs = nowMs;
      this.most = Math.max(this.most, burst);
      return message;
    };
    const honest = pair.clients.map(({ engine }) => engine.peer!);
    pair.server.engine.onChannel = (channel) => {
      if (!honest.includes(channel.peer)) return;
      channel.onMessage = ([number]) => this.heard.push(number!);
    };
    this.#chat = pair.clients[0]!.engine.openChannel("chat")!;
  }

  /** Lets `ms` pass; the honest ones move and talk at 10 Hz. */
  play(ms: number, each: () => void): void {
    this.pair.play(ms, 1, (step) => {
      each();
      if (step % 100 !== 0) return;
      if (this.#chat.send(Uint8Array.of(this.said & 0xff))) this.said += 1;
      for (const [i, { engine }] of this.pair.clients.entries()) {
        engine.set(this.#avatars[i]!, "Avatar", poseAt(i + step / 1_000));
        engine.flush();
      }
    });
  }

  count(...kinds: ToEngine["kind"][]): number {
    return kinds.reduce((sum, kind) => sum + (this.told.get(kind) ?? 0), 0);
  }
}

for (const [what, attack] of Object.entries(ATTACKS)) {
  for (const engine of ["reads", "stands still for a second", "is stuck for a second"] as const) {
    Deno.test(`ServerCore lives, and its engine hears little, when a peer sends ${what} and the engine ${engine}`, () => {
      const room = new Room();
      const { pair } = room;
      const { core } = pair.server;
      const raw = new RawPeer(pair).join();
      const step = attack(raw);
      const hit = () => {
        if (raw.closed === undefined) step();
      };
      room.play(500, hit);
      room.told.clear();
      room.most = 0;
      const talkedBefore = room.said;
      if (engine === "stands still for a second") pair.server.deaf = true;
      // Nothing is even polled: what is pushed all waits.
      if (engine === "is stuck for a second") pair.server.dead = true;
      room.play(1_000, () => {
        hit();
        if (pair.server.dead) core.handleTimer(pair.network.now);
      });
      assertEquals(core.exit, undefined);
      pair.server.deaf = false;
      pair.server.dead = false;
      pair.server.wake();
      room.play(500, hit);
      assertEquals(core.exit, undefined);
      // 1.5 s of what the rates allow, and the bursts before it.
      const isFast = what.startsWith("as many");
      if (!isFast) assertLess(room.most, MAX_ENGINE_MESSAGES / 8);
      assertLess(room.count("channelData"), isFast ? FAST : 400);
      assertEquals(raw.closed === undefined, isFast || what.startsWith("pieces"), "it is dropped");
      assertLess(room.count("channelOpen", "channelClose"), 2 * (MAX_OPEN_CHANNELS + 40));
      assertLess(room.count("event"), 400);
      room.play(500, () => {});
      pair.run(500);
      assert(room.said - talkedBefore >= 20, `${room.said}`);
      assertEquals(room.heard.length, room.said, "the honest ones are heard");
      assertEquals(disagreements(pair), []);
    });
  }
}

for (
  const what of [
    "pieces of one byte",
    "as many empty messages as any channel may carry",
    "channels that come and go",
  ]
) {
  const attack = STREAM_ATTACKS[what]!;
  Deno.test(`ClientCore lives, when its server sends ${what} and its engine is stuck for a second`, () => {
    const pair = new Pair({ grants: GRANTS, seed: 6, clients: 1, conditions: { latencyMs: 5 } });
    let server: Connection | undefined;
    pair.tap = {
      connection: (_client, connector, acceptor) => {
        server = acceptor;
        return { connector, acceptor };
      },
      engineBytes: () => {},
    };
    pair.start().joinAll();
    const [client] = pair.clients;
    const { core } = client!;
    let [pushed, most] = [0, 0];
    const poll = core.pollEngine.bind(core);
    core.pollEngine = (nowMs) => {
      const message = poll(nowMs);
      if (message?.kind.startsWith("channel") === true) pushed += 1;
      else if (message !== undefined) most += 1;
      return message;
    };
    const step = attack({ connection: server! });
    pair.play(500, 1, step);
    client!.dead = true;
    pair.play(1_000, 1, () => {
      step();
      core.handleTimer(pair.network.now);
    });
    assertEquals(core.exit, undefined);
    client!.dead = false;
    client!.wake();
    pair.play(300, 1, step);
    assertEquals([core.exit, core.isJoined], [undefined, true]);
    assertLess(pushed, what.startsWith("as many") ? FAST : 700);
    assertLess(most, 500);
    const opened: string[] = [];
    pair.server.engine.onChannel = (channel) => {
      channel.onMessage = (bytes) => opened.push(`${channel.name} ${bytes}`);
    };
    client!.engine.openChannel("chat")!.send(Uint8Array.of(7));
    pair.run(500);
    assertEquals(opened, ["chat 7"]);
  });
}
