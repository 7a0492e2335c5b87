import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { inspectOpusPacket } from "../../voice/opus_toc.ts";
import { joinBytes } from "../support/hostile_bytes.ts";

function toc(config: number, stereo: boolean, code: number): number {
  return (config << 3) | (stereo ? 4 : 0) | code;
}

/** RFC 6716 section 3.2.1. */
function lengthBytes(length: number): number[] {
  if (length < 252) return [length];
  const low = 252 + (length & 3);
  return [low, (length - low) >> 2];
}

interface Built {
  bytes: Uint8Array;
  frames: number;
}

/** Writes a packet from frame lengths, by the text of the RFC alone. */
function build(first: number, code: number, lengths: number[], padding: number | undefined): Built {
  const head: number[] = [first];
  let tail = 0;
  if (code === 2) head.push(...lengthBytes(lengths[0]!));
  if (code === 3) {
    const isVariable = lengths.some((length) => length !== lengths[0]);
    head.push((isVariable ? 0x80 : 0) | (padding === undefined ? 0 : 0x40) | lengths.length);
    if (padding !== undefined) {
      let rest = padding;
      for (; rest >= 255; rest -= 254) head.push(255);
      head.push(rest);
      tail = padding;
    }
    if (isVariable) {
      for (const length of lengths.slice(0, -1)) head.push(...lengthBytes(length));
    }
  }
  const body = lengths.reduce((sum, length) => sum + length, 0);
  return {
    bytes: joinBytes(Uint8Array.from(head), new Uint8Array(body + tail)),
    frames: lengths.length,
  };
}

const frameLength = fc.oneof(fc.nat(300), fc.nat(1_275));
const packet = fc.oneof(
  fc.tuple(fc.constant(0), fc.array(frameLength, { minLength: 1, maxLength: 1 })),
  fc.tuple(fc.constant(1), frameLength.map((length) => [length, length])),
  fc.tuple(fc.constant(2), fc.array(frameLength, { minLength: 2, maxLength: 2 })),
  fc.tuple(fc.constant(3), fc.array(fc.nat(60), { minLength: 1, maxLength: 48 })),
);

Deno.test("`inspectOpusPacket()` accepts every real packet, when the recorded voice is read", async () => {
  const file = await Deno.readFile(
    new URL("../../examples/data/voice/jfk.packets", import.meta.url),
  );
  const view = new DataView(file.buffer);
  let packets = 0;
  let ms = 0;
  for (let at = 0; at < file.length;) {
    const length = view.getUint16(at, true);
    const info = inspectOpusPacket(file.subarray(at + 2, at + 2 + length));
    assertEquals(info, { durationMs: 20, stereo: false, frames: 1 });
    packets += 1;
    ms += info!.durationMs;
    at += 2 + length;
  }
  assert(packets > 500 && ms > 10_900 && ms < 11_200, `${packets} packets, ${ms} ms`);
});

Deno.test("`inspectOpusPacket()` tells duration, channels and frames, when packets follow the RFC", () => {
  const frameMs = [10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 10, 20].concat(
    ...[0, 1, 2, 3].map(() => [2.5, 5, 10, 20]),
  );
  fc.assert(
    fc.property(
      fc.nat(31),
      fc.boolean(),
      packet,
      fc.option(fc.nat(600), { nil: undefined }),
      (config, stereo, [code, lengths], padding) => {
        const { bytes, frames } = build(toc(config, stereo, code), code, lengths, padding);
        const durationMs = frames * frameMs[config]!;
        assertEquals(
          inspectOpusPacket(bytes),
          durationMs > 120 ? undefined : { durationMs, stereo, frames },
        );
      },
    ),
    { numRuns: 1_000 },
  );
});

Deno.test("`inspectOpusPacket()` refuses a packet, when a requirement of section 3.4 is broken", () => {
  const zeros = (count: number) => new Array<number>(count).fill(0);
  const cases: [string, number[]][] = [
    ["R1: empty", []],
    ["R2: a frame of 1,276 bytes", [toc(1, false, 0), ...zeros(1_276)]],
    ["R3: two frames of different size", [toc(1, false, 1), 1, 2, 3]],
    ["R4: no length", [toc(1, false, 2)]],
    ["R4: half a length", [toc(1, false, 2), 252]],
    ["R4: first frame beyond the end", [toc(1, false, 2), 5, 1, 2, 3, 4]],
    ["R4: second frame of 1,276 bytes", [toc(1, false, 2), 0, ...zeros(1_276)]],
    ["R5: no frames", [toc(1, false, 3), 0]],
    ["R5: 140 ms", [toc(1, false, 3), 7, ...zeros(7)]],
    ["R5: no count byte", [toc(1, false, 3)]],
    ["R6: sizes do not divide", [toc(1, false, 3), 3, 1, 2]],
    ["R6: padding beyond the end", [toc(1, false, 3), 0x41, 4, 1, 2, 3]],
    ["R6: padding length cut off", [toc(1, false, 3), 0x41, 255]],
    ["R7: lengths cut off", [toc(1, false, 3), 0x83, 1]],
    ["R7: frames beyond the end", [toc(1, false, 3), 0x82, 9, 1, 2]],
  ];
  for (const [name, bytes] of cases) {
    assertEquals(inspectOpusPacket(Uint8Array.from(bytes)), undefined, name);
  }
});

Deno.test("`inspectOpusPacket()` accepts the largest, when frames are as long as they may be", () => {
  const zeros = (count: number) => new Array<number>(count).fill(0);
  assertEquals(inspectOpusPacket(Uint8Array.from([toc(3, true, 0), ...zeros(1_275)])), {
    durationMs: 60,
    stereo: true,
    frames: 1,
  });
  assertEquals(inspectOpusPacket(Uint8Array.from([toc(16, false, 3), 48, ...zeros(48)])), {
    durationMs: 120,
    stereo: false,
    frames: 48,
  });
  assertEquals(inspectOpusPacket(Uint8Array.of(toc(0, false, 0)))?.frames, 1, "silence");
});

Deno.test("`inspectOpusPacket()` keeps within its bounds, when bytes are random", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const info = inspectOpusPacket(bytes);
      if (info === undefined) return;
      assert(info.durationMs >= 2.5 && info.durationMs <= 120);
      assert(info.frames >= 1 && info.frames <= 48);
    }),
    { numRuns: 3_000 },
  );
});
