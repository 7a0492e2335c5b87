import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";

/** A body that carries its own size, so that a mix-up of bytes shows. */
function body(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 31 + size) & 0xff);
}

function stream(sizes: readonly number[]): Uint8Array {
  const frames = sizes.map((size) => encodeFrame(body(size)));
  const joined = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length, 0));
  let at = 0;
  for (const frame of frames) {
    joined.set(frame, at);
    at += frame.length;
  }
  return joined;
}

function drain(buffer: FrameBuffer): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let frame = buffer.pollFrame(); frame !== undefined; frame = buffer.pollFrame()) {
    frames.push(frame);
  }
  return frames;
}

const SIZES = [1, 3, 4, 5, 255, 256, 1_000, 65_535, 65_536, 65_537, 200_000, 2];

Deno.test("encodeFrame() puts the little-endian length before the body", () => {
  assertEquals(encodeFrame(body(258)).subarray(0, 4), Uint8Array.of(2, 1, 0, 0));
  assertEquals(encodeFrame(body(258)).subarray(4), body(258));
});

Deno.test("FrameBuffer gives the same frames whole, byte by byte and in several chunk sizes", () => {
  const bytes = stream(SIZES);
  for (const chunkSize of [bytes.length, 1, 2, 3, 4, 5, 7, 1_024, 65_536]) {
    const buffer = new FrameBuffer(200_000);
    const frames: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += chunkSize) {
      buffer.handleBytes(bytes.subarray(at, at + chunkSize));
      frames.push(...drain(buffer));
    }
    assertEquals(frames.map((frame) => frame.length), SIZES, `chunks of ${chunkSize}`);
    for (const frame of frames) assert(body(frame.length).every((byte, i) => byte === frame[i]));
    assertEquals(buffer.fault, undefined);
    assert(buffer.isBetweenFrames);
  }
});

Deno.test("FrameBuffer gives the same frames for random chunks", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 50 }),
      (sizes, cuts) => {
        const bytes = stream(sizes);
        const buffer = new FrameBuffer(300);
        const frames: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const take = i < cuts.length * 4 ? cuts[i % cuts.length]! : bytes.length;
          buffer.handleBytes(bytes.subarray(at, at + take));
          at += take;
          frames.push(...drain(buffer));
        }
        assertEquals(frames, sizes.map(body));
      },
    ),
    { seed: 7, numRuns: 200 },
  );
});

Deno.test("FrameBuffer copies, when the caller uses its read buffer again", () => {
  const buffer = new FrameBuffer(100);
  const chunk = encodeFrame(body(10));
  buffer.handleBytes(chunk);
  chunk.fill(0);
  assertEquals(buffer.pollFrame(), body(10));
});

Deno.test("FrameBuffer keeps its fault and the frames before it, when a length is zero or too long", () => {
  for (const bad of [[0, 0, 0, 0], [101, 0, 0, 0], [255, 255, 255, 255]]) {
    const buffer = new FrameBuffer(100);
    buffer.handleBytes(encodeFrame(body(100)));
    buffer.handleBytes(Uint8Array.from(bad));
    buffer.handleBytes(encodeFrame(body(5)));
    assertEquals(drain(buffer), [body(100)]);
    assertEquals(buffer.fault, Fault.OutOfRange);
  }
});

Deno.test("FrameBuffer.handleEnd() is a fault only in the middle of a frame", () => {
  const frame = encodeFrame(body(6));
  for (let length = 0; length <= frame.length; length++) {
    const buffer = new FrameBuffer(100);
    buffer.handleBytes(frame.subarray(0, length));
    buffer.handleEnd();
    const isClean = length === 0 || length === frame.length;
    assertEquals(buffer.fault, isClean ? undefined : Fault.Truncated, `${length} bytes`);
  }
});
