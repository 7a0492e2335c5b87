import { assertEquals } from "@std/assert";
import { PeerStreams } from "../../driver/peer_streams.ts";
import { mostStreams, reliableChannels } from "../../driver/stream_bounds.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  MAX_OPEN_CHANNELS,
  MAX_PLAIN_CHANNELS,
  SPARE_STREAMS,
  STREAM_IDLE_MS,
  STREAM_STUCK_MS,
  UNREAD_STREAM_BYTES,
} from "../../protocol/limits.ts";
import type { Stream, StreamHandler } from "../../transport/connection.ts";
import { driverGrants } from "../support/driver_world.ts";

/** A backend's stream, moved by hand. */
class TestStream implements Stream {
  handler!: StreamHandler;
  bufferedBytes = 0;
  /** What was asked of it. */
  readonly calls: string[] = [];

  setHandler(handler: StreamHandler): void {
    this.handler = handler;
  }

  write(bytes: Uint8Array): boolean {
    this.calls.push(`write ${bytes.length}`);
    return false;
  }

  end(): void {
    this.calls.push("end");
  }

  reset(code: number): void {
    this.calls.push(`reset ${code}`);
  }

  pause(paused: boolean): void {
    this.calls.push(`pause ${paused}`);
  }
}

/** A handler that notes what it hears. */
function listener(heard: string[]): StreamHandler {
  return {
    handleData: (bytes) => heard.push(`data ${bytes.length}`),
    handleEnd: () => heard.push("end"),
    handleReset: (code) => heard.push(`reset ${code}`),
    handleWritable: () => heard.push("writable"),
  };
}

/** The streams of a peer, one of them open, and a clock. */
function stage() {
  const clock = { ms: 10_000 };
  const streams = new PeerStreams(() => clock.ms);
  const inner = new TestStream();
  const stream = streams.accept(inner, 1)!;
  const heard: string[] = [];
  stream.setHandler(listener(heard));
  return { clock, streams, inner, stream, heard };
}

Deno.test("PeerStreams passes on everything between a stream and its handler", () => {
  const { streams, inner, stream, heard } = stage();
  inner.handler.handleData(new Uint8Array(3));
  inner.handler.handleWritable();
  assertEquals(stream.write(new Uint8Array(4)), false);
  inner.bufferedBytes = 77;
  assertEquals(stream.bufferedBytes, 77);
  assertEquals(streams.bufferedBytes, 77);
  stream.pause(true);
  stream.pause(false);
  inner.handler.handleEnd();
  stream.end();
  assertEquals(heard, ["data 3", "writable", "end"]);
  assertEquals(inner.calls, ["write 4", "pause true", "pause false", "end"]);
  assertEquals(streams.count, 0, "both ends have ended it");
});

Deno.test("PeerStreams.accept() takes as many streams as are allowed and resets the next at once, until one is over", () => {
  const streams = new PeerStreams(() => 0);
  const most = 3;
  const inners = Array.from({ length: most + 1 }, () => new TestStream());
  const taken = inners.map((inner) => streams.accept(inner, most));
  for (const stream of taken) stream?.setHandler(listener([]));
  assertEquals(taken.map((stream) => stream !== undefined), [true, true, true, false]);
  assertEquals(inners[most]!.calls, [`reset ${Fault.OutOfRange}`]);
  const ways: ((inner: TestStream, stream: Stream) => void)[] = [
    (inner) => inner.handler.handleReset(7),
    (_, stream) => stream.reset(7),
    // What the peer has ended it cannot fill any more, though this end has not ended it yet.
    (inner) => inner.handler.handleEnd(),
  ];
  for (const [i, end] of ways.entries()) {
    assertEquals(streams.accept(new TestStream(), most), undefined, `${i}`);
    end(inners[i]!, taken[i]!);
    const next = streams.accept(new TestStream(), most);
    assertEquals(next !== undefined, true, `${i}`);
  }
  assertEquals(streams.count, most + 1, "the one that only the peer has ended lives");
  taken[2]!.end();
  assertEquals(streams.count, most);
});

Deno.test("PeerStreams.accept() does not count the streams that this end has opened", () => {
  const streams = new PeerStreams(() => 0);
  for (let i = 0; i < 5; i++) streams.watch(new TestStream());
  assertEquals(streams.accept(new TestStream(), 1) === undefined, false);
  assertEquals(streams.accept(new TestStream(), 1), undefined);
  assertEquals(streams.count, 6);
});

Deno.test("PeerStreams counts a stream as full that is paused while its peer sends, and as stuck after a while", () => {
  const { clock, streams, inner, stream } = stage();
  inner.handler.handleData(new Uint8Array(1_000));
  assertEquals(streams.unreadBytes(clock.ms), 0, "it is read");
  stream.pause(true);
  assertEquals(streams.unreadBytes(clock.ms), UNREAD_STREAM_BYTES);
  clock.ms += STREAM_STUCK_MS - 1;
  assertEquals(streams.stuckCount(clock.ms), 0);
  clock.ms += 1;
  assertEquals(streams.stuckCount(clock.ms), 1);
  // A little that is read between two pauses empties nothing.
  stream.pause(false);
  inner.handler.handleData(new Uint8Array(65_536));
  stream.pause(true);
  assertEquals(streams.stuckCount(clock.ms), 1);
  // Read for long enough without a byte, it was empty.
  stream.pause(false);
  clock.ms += STREAM_IDLE_MS + 1;
  assertEquals(streams.unreadBytes(clock.ms), 0);
  assertEquals(streams.stuckCount(clock.ms), 0);
  stream.pause(true);
  assertEquals(streams.unreadBytes(clock.ms), 0, "nothing had come");
});

Deno.test("PeerStreams takes a silent stream for empty, when everything is paused", () => {
  const { clock, streams, inner, stream } = stage();
  stream.pause(true);
  assertEquals(streams.unreadBytes(clock.ms), 0, "it never brought a byte");
  stream.pause(false);
  inner.handler.handleData(new Uint8Array(9));
  clock.ms += STREAM_IDLE_MS + 1;
  stream.pause(true);
  clock.ms += 10 * STREAM_STUCK_MS;
  assertEquals(streams.unreadBytes(clock.ms), 0);
  assertEquals(streams.stuckCount(clock.ms), 0);
});

Deno.test("PeerStreams does not call a stream stuck that is paused again and again, but brings much", () => {
  const { clock, streams, inner, stream } = stage();
  const stepMs = 100;
  // A quarter more than it must bring.
  const bytes = UNREAD_STREAM_BYTES * 1.25 * stepMs / STREAM_STUCK_MS;
  for (let i = 0; i < 300; i++) {
    inner.handler.handleData(new Uint8Array(bytes));
    stream.pause(true);
    clock.ms += stepMs;
    assertEquals(streams.stuckCount(clock.ms), 0, `${i}`);
    stream.pause(false);
  }
  // At a fifth of that it is.
  for (let i = 0; i < 2 * STREAM_STUCK_MS / stepMs; i++) {
    inner.handler.handleData(new Uint8Array(bytes / 5));
    stream.pause(true);
    clock.ms += stepMs;
    stream.pause(false);
  }
  stream.pause(true);
  assertEquals(streams.stuckCount(clock.ms), 1);
});

Deno.test("PeerStreams forgets a full stream, once it was reset", () => {
  const { clock, streams, inner, stream } = stage();
  inner.handler.handleData(new Uint8Array(1));
  stream.pause(true);
  clock.ms += 2 * STREAM_STUCK_MS;
  assertEquals(streams.stuckCount(clock.ms), 1);
  stream.reset(9);
  assertEquals([streams.stuckCount(clock.ms), streams.unreadBytes(clock.ms)], [0, 0]);
});

Deno.test("reliableChannels() counts what a role may use, by either end's opening, and no more than any peer may have", () => {
  const reliable = { mode: "reliable", maxBytes: 100 };
  const grants = driverGrants({
    channels: [
      { ...reliable, id: 1, name: "all", send: ["all"], receive: ["all"] },
      { ...reliable, id: 2, name: "down", send: ["server"], receive: ["player"] },
      { ...reliable, id: 3, name: "up/*", send: ["player"], receive: ["server"], maxOpen: 5 },
      { id: 4, name: "loose", mode: "unreliable", send: ["all"], receive: ["all"], maxBytes: 9 },
    ],
  });
  const index = (name: string) => grants.roles.find((role) => role.name === name)!.index;
  assertEquals(reliableChannels(grants, index("player")), 2 * MAX_PLAIN_CHANNELS + 5);
  assertEquals(reliableChannels(grants, index("spectator")), MAX_PLAIN_CHANNELS);
  assertEquals(mostStreams(grants), 2 * MAX_PLAIN_CHANNELS + 5 + SPARE_STREAMS);
  const many = driverGrants({
    channels: [1, 2].map((id) => (
      { ...reliable, id, name: `c${id}/*`, send: ["all"], receive: ["all"], maxOpen: 60 }
    )),
  });
  assertEquals(reliableChannels(many, many.defaultRole), MAX_OPEN_CHANNELS);
  assertEquals(mostStreams(driverGrants({ channels: [] })), SPARE_STREAMS);
});
