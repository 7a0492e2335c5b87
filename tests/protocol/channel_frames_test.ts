import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ChannelReader,
  type ChannelSink,
  decodeChannelDatagram,
  encodeChannelDatagram,
  encodePieceHeader,
  encodePreamble,
} from "../../protocol/channel_frames.ts";
import { Fault } from "../../protocol/faults.ts";
import { CHANNEL_PIECE_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import {
  bitFlipsOf,
  chunkingsOf,
  joinAll,
  joinBytes,
  truncationsOf,
} from "../support/hostile_bytes.ts";

/** Gathers what a reader reports, message by message. */
class Gatherer implements ChannelSink {
  readonly opened: [number, string][] = [];
  readonly messages: Uint8Array[] = [];
  #pieces: Uint8Array[] = [];
  largestPiece = 0;
  open(channelId: number, name: string): void {
    this.opened.push([channelId, name]);
  }
  piece(bytes: Uint8Array, last: boolean): void {
    this.largestPiece = Math.max(this.largestPiece, bytes.length);
    this.#pieces.push(bytes.slice());
    if (!last) return;
    this.messages.push(joinAll(this.#pieces));
    this.#pieces = [];
  }
  get unfinished(): number {
    return this.#pieces.length;
  }
}

const LIMITS = new Map([[5, 300_000], [6, 10]]);

function readerFor(preamble?: number): ChannelReader {
  return new ChannelReader({ maxBytesFor: (id) => LIMITS.get(id), preamble });
}

/** A message as its sender writes it, in pieces of the given size. */
function framed(message: Uint8Array, pieceBytes = CHANNEL_PIECE_BYTES): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  do {
    const piece = message.subarray(at, at + pieceBytes);
    at += pieceBytes;
    parts.push(encodePieceHeader(piece.length, at >= message.length), piece);
  } while (at < message.length);
  return joinBytes(...parts);
}

function message(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  new Prng(size + 1).fill(bytes);
  return bytes;
}

const SIZES = [0, 1, 63, 64, 8_191, 8_192, 65_536, 65_537, 100_000, 0, 9];

Deno.test("`ChannelReader` gives the same messages, when the stream is cut anywhere", () => {
  const bytes = joinBytes(
    encodePreamble(5, "script/ch채t"),
    ...SIZES.map((size) => framed(message(size))),
  );
  for (const { name, chunks } of chunkingsOf(bytes)) {
    const reader = readerFor();
    const sink = new Gatherer();
    for (const chunk of chunks) reader.handleBytes(chunk, sink);
    assertEquals(sink.opened, [[5, "script/ch채t"]], name);
    assertEquals(sink.messages.map((m) => m.length), SIZES, name);
    for (const m of sink.messages) assert(message(m.length).every((b, i) => b === m[i]), name);
    assert(sink.largestPiece <= CHANNEL_PIECE_BYTES);
    assert(reader.isBetweenMessages);
    assertEquals(reader.handleEnd(), undefined);
  }
});

Deno.test("`ChannelReader` gives whole messages, when senders cut them differently", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 200 })), { maxLength: 10 }),
      (list) => {
        const reader = readerFor(5);
        const sink = new Gatherer();
        for (const [size, cut] of list) reader.handleBytes(framed(message(size), cut), sink);
        assertEquals(sink.messages, list.map(([size]) => message(size)));
        assertEquals(sink.opened, []);
      },
    ),
  );
});

Deno.test("`ChannelReader` names the fault and stops, when the preamble is illegal", () => {
  const cases: [number[], Fault][] = [
    [[0], Fault.OutOfRange],
    [[7, 0], Fault.UnknownId],
    [[0x85, 0x00], Fault.NonCanonical],
    [[0x80, 0x80, 0x01], Fault.OutOfRange],
    [[0xff, 0xff, 0xff, 0xff], Fault.OutOfRange],
    [[5, 65], Fault.OutOfRange],
    [[5, 2, 0xc3, 0x28], Fault.NotUtf8],
  ];
  for (const [bytes, fault] of cases) {
    const reader = readerFor();
    const sink = new Gatherer();
    reader.handleBytes(joinBytes(Uint8Array.from(bytes), framed(message(9))), sink);
    assertEquals(
      [reader.fault, sink.opened.length, sink.messages.length],
      [fault, 0, 0],
      `${bytes}`,
    );
  }
});

Deno.test("`ChannelReader` refuses a message, when its pieces together pass the declared size", () => {
  const reader = readerFor(6);
  const sink = new Gatherer();
  reader.handleBytes(framed(message(10), 4), sink);
  assertEquals(sink.messages.length, 1);
  reader.handleBytes(framed(message(11), 4), sink);
  assertEquals([reader.fault, sink.messages.length, sink.unfinished], [Fault.OutOfRange, 1, 2]);
});

Deno.test("`ChannelReader` refuses a piece, when it is too long or empty without being last", () => {
  const long = readerFor(5);
  long.handleBytes(Uint8Array.of(0x82, 0x80, 0x08), new Gatherer());
  assertEquals(long.fault, Fault.OutOfRange);
  const empty = readerFor(5);
  empty.handleBytes(Uint8Array.of(0), new Gatherer());
  assertEquals(empty.fault, Fault.NonCanonical);
});

Deno.test("`fail()` ends all reports, when the sink refuses the channel", () => {
  const reader = readerFor();
  const sink = new Gatherer();
  sink.open = () => reader.fail(Fault.Forbidden);
  reader.handleBytes(joinBytes(encodePreamble(5, ""), framed(message(5))), sink);
  assertEquals([reader.fault, sink.messages.length], [Fault.Forbidden, 0]);
});

Deno.test("`handleEnd()` is truncated, when the stream ends anywhere but between messages", () => {
  const good = joinBytes(encodePreamble(5, "a/b"), framed(message(100), 40));
  for (const cut of truncationsOf(good)) {
    const reader = readerFor();
    reader.handleBytes(cut, new Gatherer());
    // After the preamble no message has begun, and a stream may end there.
    const isEnd = cut.length === encodePreamble(5, "a/b").length;
    assertEquals(reader.handleEnd(), isEnd ? undefined : Fault.Truncated, `cut to ${cut.length}`);
  }
});

Deno.test("`ChannelReader` reports no more than it may, when any single bit is flipped", () => {
  const good = joinBytes(encodePreamble(6, "a"), framed(message(10), 3), framed(message(2)));
  for (const flipped of bitFlipsOf(good)) {
    const reader = readerFor();
    const sink = new Gatherer();
    reader.handleBytes(flipped, sink);
    for (const m of sink.messages) assert(m.length <= 10);
    assert(sink.opened.length <= 1);
  }
});

Deno.test("`decodeChannelDatagram()` gives back what was sent, when messages are random", () => {
  const isNamespace = (id: number) => id < 100;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 16_383 }),
      fc.string({ maxLength: 15 }),
      fc.uint8Array({ maxLength: 100 }),
      (channelId, text, payload) => {
        const name = isNamespace(channelId) ? text : "";
        fc.pre(new TextEncoder().encode(name).length <= 64);
        const bytes = encodeChannelDatagram({ channelId, name, payload }, isNamespace(channelId));
        const decoded = decodeChannelDatagram(new Reader(bytes), isNamespace);
        assertEquals([decoded?.channelId, decoded?.name], [channelId, name]);
        assertEquals([...decoded!.payload], [...payload]);
      },
    ),
  );
});

Deno.test("`decodeChannelDatagram()` accepts one encoding of each message, when bytes are random", () => {
  const isNamespace = (id: number) => id === 0 ? undefined : id % 2 === 1;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const r = new Reader(bytes);
      const decoded = decodeChannelDatagram(r, isNamespace);
      if (decoded === undefined) return assert(r.fault !== undefined);
      assertEquals([...encodeChannelDatagram(decoded, isNamespace(decoded.channelId)!)], [
        ...bytes,
      ]);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("`decodeChannelDatagram()` names the fault, when the channel is unknown or the name broken", () => {
  const fault = (bytes: number[]) => {
    const r = new Reader(Uint8Array.from(bytes));
    assertEquals(decodeChannelDatagram(r, (id) => id === 9 ? true : undefined), undefined);
    return r.fault;
  };
  assertEquals(fault([]), Fault.Truncated);
  assertEquals(fault([8, 1]), Fault.UnknownId);
  assertEquals(fault([9, 5, 1]), Fault.Truncated);
  assertEquals(fault([9, 1, 0xff]), Fault.NotUtf8);
  assertEquals(fault([9, 65, ...new Array(65).fill(0x61)]), Fault.OutOfRange);
});

Deno.test("`encodePieceHeader()` asserts, when an empty piece would not be the last", () => {
  assertThrows(() => encodePieceHeader(0, false), Error, "only the last");
});
