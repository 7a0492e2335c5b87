import { assert, assertEquals, assertLess } from "@std/assert";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  CHANNEL_JOIN_BYTES,
  CHANNEL_PIECE_BYTES,
  MAX_INTAKE_BYTES,
  MAX_INTAKE_CHUNKS,
  STREAM_MESSAGE_COST,
  STREAM_PIECE_COST,
} from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { ChannelIntake } from "../../driver/channel_intake.ts";
import { chunkingsOf, joinAll, joinBytes } from "../support/hostile_bytes.ts";

/** What came out of an intake: whole messages, and the pieces they came in. */
class Heard {
  readonly intake = new ChannelIntake({ maxBytesFor: () => 1_000_000, preamble: undefined });
  readonly names: string[] = [];
  readonly messages: Uint8Array[] = [];
  readonly pieces: number[] = [];
  /** How it ended. */
  end: Fault | "end" | undefined;
  #parts: Uint8Array[] = [];

  /** Gives it bytes and takes all that comes out. */
  take(bytes: Uint8Array): void {
    this.intake.handleData(bytes);
    this.draw();
  }

  /** Takes all that comes out. */
  draw(): void {
    while (this.intake.hasMore) {
      const step = this.intake.advance();
      if (step === undefined) continue;
      if (step.kind === "open") this.names.push(`${step.channelId} ${step.name}`);
      else if (step.kind === "fault") this.end = step.fault;
      else if (step.kind === "end") this.end = "end";
      else {
        assert(step.bytes.length > 0 || step.last, "only the last piece may be empty");
        this.pieces.push(step.bytes.length);
        this.#parts.push(step.bytes);
        if (!step.last) continue;
        this.messages.push(joinAll(this.#parts));
        this.#parts = [];
      }
    }
  }
}

function message(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  new Prng(length).fill(bytes);
  return bytes;
}

/** A message cut into pieces of these lengths. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array {
  let at = 0;
  return joinAll(lengths.map((length, i) => {
    const last = i === lengths.length - 1;
    return joinBytes(encodePieceHeader(length, last), bytes.subarray(at, at += length));
  }));
}

/** A message cut into pieces of one byte. */
function crumbs(bytes: Uint8Array): Uint8Array {
  const cut = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    cut[2 * i] = i === bytes.length - 1 ? 3 : 2;
    cut[2 * i + 1] = bytes[i]!;
  }
  return cut;
}

Deno.test("ChannelIntake gives back the same messages, however they and the stream are cut, and whenever it is asked", () => {
  const stream = joinBytes(
    encodePreamble(4, "script/x"),
    cut(message(10), [10]),
    cut(message(0), [0]),
    cut(message(50), [1, 1, 1, 47, 0]),
    cut(message(200), Array(200).fill(1)),
    cut(message(100_000), [60_000, 40_000]),
  );
  for (const { name, chunks } of chunkingsOf(stream)) {
    for (const every of [1, 7]) {
      const heard = new Heard();
      for (const [i, chunk] of chunks.entries()) {
        heard.intake.handleData(chunk);
        if (i % every === 0) heard.draw();
      }
      heard.intake.handleEnd();
      assertEquals(heard.end, undefined, name);
      heard.draw();
      assertEquals(heard.names, ["4 script/x"], name);
      assertEquals(heard.messages, [10, 0, 50, 200, 100_000].map(message), name);
      assertEquals(heard.end, "end", name);
    }
  }
});

Deno.test("ChannelIntake joins pieces over any number of chunks, none above the link's size", () => {
  for (const size of [1, 64, 1_000, 200_000]) {
    const heard = new Heard();
    heard.take(encodePreamble(1, ""));
    const length = 3 * CHANNEL_PIECE_BYTES;
    const bytes = crumbs(message(length));
    for (let at = 0; at < bytes.length; at += size) heard.take(bytes.slice(at, at + size));
    assertEquals(heard.messages.map((one) => one.toHex() === message(length).toHex()), [true]);
    assert(heard.pieces.length <= length / CHANNEL_JOIN_BYTES + 1, `${heard.pieces.length}`);
    assert(heard.pieces.every((bytes) => bytes <= CHANNEL_PIECE_BYTES));
  }
});

Deno.test("ChannelIntake passes nothing on of a message that is small and has not ended", () => {
  const heard = new Heard();
  heard.take(encodePreamble(1, ""));
  for (let i = 0; i < CHANNEL_JOIN_BYTES - 1; i++) {
    heard.take(joinBytes(encodePieceHeader(1, false), Uint8Array.of(i)));
  }
  assertEquals(heard.pieces, []);
  assert(heard.intake.isInsideMessage);
  heard.take(joinBytes(encodePieceHeader(1, false), Uint8Array.of(7)));
  assertEquals(heard.pieces, [CHANNEL_JOIN_BYTES]);
  heard.take(encodePieceHeader(0, true));
  assertEquals(heard.messages.map(({ length }) => length), [CHANNEL_JOIN_BYTES]);
  assert(!heard.intake.isInsideMessage);
});

Deno.test("ChannelIntake gives one message a call, and looks no further than it is asked to", () => {
  const { intake } = new Heard();
  intake.handleData(joinBytes(encodePreamble(1, ""), cut(message(9), [9]), Uint8Array.of(1, 1, 0)));
  assertEquals(intake.advance()?.kind, "open");
  assertEquals(intake.advance(), { kind: "piece", bytes: message(9), last: true });
  for (let i = 0; i < 2; i++) {
    assertEquals(intake.advance(), { kind: "piece", bytes: new Uint8Array(0), last: true });
  }
  assertEquals(intake.advance(), { kind: "fault", fault: Fault.NonCanonical });
  assertEquals([intake.hasMore, intake.advance()], [false, undefined]);
});

Deno.test("ChannelIntake.isFull says when its stream should wait, by bytes and by chunks", () => {
  const many = new Heard().intake;
  for (let i = 0; i < MAX_INTAKE_CHUNKS; i++) {
    assert(!many.isFull);
    many.handleData(Uint8Array.of(1));
  }
  assert(many.isFull);
  const large = new Heard();
  large.intake.handleData(new Uint8Array(MAX_INTAKE_BYTES - 1));
  assert(!large.intake.isFull);
  large.intake.handleData(new Uint8Array(1));
  assert(large.intake.isFull);
  large.draw();
  assert(!large.intake.isFull);
});

Deno.test("ChannelIntake.takeCost() counts bytes, pieces and messages", () => {
  const { intake } = new Heard();
  const bytes = joinBytes(encodePreamble(1, ""), cut(message(50), [20, 30]), cut(message(0), [0]));
  intake.handleData(bytes);
  assertEquals(intake.takeCost(), 0, "what waits costs nothing yet");
  while (intake.hasMore) intake.advance();
  assertEquals(
    intake.takeCost(),
    bytes.length + 3 * STREAM_PIECE_COST + 2 * STREAM_MESSAGE_COST,
  );
  assertEquals(intake.takeCost(), 0);
  // However small, a call is bounded.
  intake.handleData(crumbs(message(100_000)));
  intake.advance();
  assertLess(intake.takeCost(), CHANNEL_JOIN_BYTES * (1 + STREAM_PIECE_COST / 2) + 1);
});

Deno.test("ChannelIntake passes nothing on after a fault, a stop, or an end inside a message", () => {
  const stopped = new Heard();
  stopped.intake.handleData(encodePreamble(1, ""));
  assertEquals(stopped.intake.advance()?.kind, "open");
  stopped.intake.handleData(cut(message(30), [30]));
  stopped.intake.stop();
  stopped.take(cut(message(30), [30]));
  assertEquals([stopped.messages, stopped.end], [[], undefined]);
  const broken = new Heard();
  broken.take(encodePreamble(1, ""));
  broken.take(joinBytes(cut(message(30), [10, 20]).subarray(0, 11), Uint8Array.of(0)));
  assertEquals(broken.end, Fault.NonCanonical);
  broken.take(cut(message(30), [30]));
  assertEquals([broken.messages, broken.pieces], [[], []]);
  const half = new Heard();
  half.take(joinBytes(encodePreamble(1, ""), cut(message(30), [10, 20]).subarray(0, 11)));
  half.intake.handleEnd();
  half.draw();
  assertEquals(half.end, Fault.Truncated);
  assertEquals(half.pieces, []);
});
