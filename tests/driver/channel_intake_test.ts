import { assert, assertEquals } from "@std/assert";
import { ChannelReader, encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import { Fault } from "../../protocol/faults.ts";
import { CHANNEL_PIECE_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { ChannelIntake } from "../../driver/channel_intake.ts";
import { chunkingsOf, joinAll, joinBytes } from "../support/hostile_bytes.ts";

/** What an intake passed on: whole messages, and the pieces they came in. */
function intakeOf(refusal?: Fault) {
  const heard = { names: [] as string[], messages: [] as Uint8Array[], pieces: [] as number[] };
  let parts: Uint8Array[] = [];
  const reader = new ChannelReader({ maxBytesFor: () => 1_000_000, preamble: undefined });
  const intake = new ChannelIntake(reader, {
    open: (id, name) => {
      heard.names.push(`${id} ${name}`);
      return refusal;
    },
    piece: (bytes, last) => {
      assert(bytes.length > 0 || last, "only the last piece may be empty");
      heard.pieces.push(bytes.length);
      parts.push(bytes);
      if (!last) return;
      heard.messages.push(joinAll(parts));
      parts = [];
    },
  });
  return { intake, heard };
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

Deno.test("ChannelIntake gives back the same messages, however they and the stream are cut", () => {
  const stream = joinBytes(
    encodePreamble(4, "script/x"),
    cut(message(10), [10]),
    cut(message(0), [0]),
    cut(message(50), [1, 1, 1, 47, 0]),
    cut(message(200), Array(200).fill(1)),
  );
  for (const { name, chunks } of chunkingsOf(stream)) {
    const { intake, heard } = intakeOf();
    for (const chunk of chunks) assertEquals(intake.handleData(chunk), undefined, name);
    assertEquals(heard.names, ["4 script/x"], name);
    assertEquals(heard.messages, [10, 0, 50, 200].map(message), name);
    assertEquals(intake.handleEnd(), undefined, name);
  }
});

Deno.test("ChannelIntake makes one piece of what a chunk brings of a message, none above the link's size", () => {
  const { intake, heard } = intakeOf();
  intake.handleData(encodePreamble(1, ""));
  const length = 3 * CHANNEL_PIECE_BYTES;
  intake.handleData(cut(message(length), Array(length).fill(1)));
  assertEquals(heard.messages[0]?.length, length);
  // Half of the bytes are heads, so that each of six parts of the chunk holds half a piece.
  assertEquals(heard.pieces.length, 6);
  assert(heard.pieces.every((size) => size <= CHANNEL_PIECE_BYTES));
  assertEquals(heard.messages[0], message(length));
});

Deno.test("ChannelIntake copies what it passes on", () => {
  const { intake, heard } = intakeOf();
  const chunk = joinBytes(encodePreamble(1, ""), cut(message(30), [30]));
  intake.handleData(chunk);
  chunk.fill(0);
  assertEquals(heard.messages, [message(30)]);
});

Deno.test("ChannelIntake passes nothing on after a fault or a refusal", () => {
  const refused = intakeOf(Fault.Forbidden);
  const bytes = joinBytes(encodePreamble(1, ""), cut(message(30), [30]));
  assertEquals(refused.intake.handleData(bytes), Fault.Forbidden);
  assertEquals(refused.intake.handleData(bytes), Fault.Forbidden);
  assertEquals([refused.heard.messages, refused.heard.names], [[], ["1 "]]);
  const broken = intakeOf();
  broken.intake.handleData(encodePreamble(1, ""));
  assertEquals(broken.intake.handleData(Uint8Array.of(0)), Fault.NonCanonical);
  assertEquals(broken.intake.handleData(cut(message(30), [30])), Fault.NonCanonical);
  assertEquals(broken.heard.messages, []);
  const half = intakeOf();
  half.intake.handleData(
    joinBytes(encodePreamble(1, ""), cut(message(30), [10, 20]).subarray(0, 11)),
  );
  assertEquals(half.intake.handleEnd(), Fault.Truncated);
});
