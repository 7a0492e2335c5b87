import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ControlFrames, encodeControlFrame } from "../../protocol/control_frames.ts";
import { Fault } from "../../protocol/faults.ts";
import { MAX_CONTROL_MESSAGE_BYTES } from "../../protocol/limits.ts";
import { chunkingsOf, joinBytes } from "../support/hostile_bytes.ts";

/** A body that carries its own size, so that a mix-up of bytes shows. */
function body(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 37 + size) & 0xff);
}

function drain(frames: ControlFrames): Uint8Array[] {
  const bodies: Uint8Array[] = [];
  for (let b = frames.pollFrame(); b !== undefined; b = frames.pollFrame()) bodies.push(b);
  return bodies;
}

const SIZES = [1, 127, 128, 2, 16_383, 16_384, MAX_CONTROL_MESSAGE_BYTES, 3];

Deno.test("`ControlFrames` gives the same messages, when the stream is cut anywhere", () => {
  const bytes = joinBytes(...SIZES.map((size) => encodeControlFrame(body(size))));
  for (const { name, chunks } of chunkingsOf(bytes)) {
    const frames = new ControlFrames();
    const bodies: Uint8Array[] = [];
    for (const chunk of chunks) {
      frames.handleBytes(chunk);
      bodies.push(...drain(frames));
    }
    assertEquals(bodies.map((b) => b.length), SIZES, name);
    for (const b of bodies) assert(body(b.length).every((byte, i) => byte === b[i]), name);
    assertEquals([frames.handleEnd(), frames.heldBytes], [undefined, 0]);
  }
});

Deno.test("`pollFrame()` names the fault and stays there, when a length is illegal", () => {
  const cases: [number[], Fault][] = [
    [[0], Fault.OutOfRange],
    [[0x85, 0x00, 1, 2, 3, 4, 5], Fault.NonCanonical],
    [[0x80, 0x80, 0x80], Fault.OutOfRange],
    [[0x81, 0x80, 0x02], Fault.OutOfRange],
    [[0x80, 0x80, 0x00], Fault.NonCanonical],
  ];
  for (const [bytes, fault] of cases) {
    const frames = new ControlFrames();
    frames.handleBytes(encodeControlFrame(body(5)));
    frames.handleBytes(Uint8Array.from(bytes));
    assertEquals(drain(frames).length, 1, `${bytes}`);
    assertEquals(frames.fault, fault, `${bytes}`);
    frames.handleBytes(encodeControlFrame(body(5)));
    assertEquals([frames.pollFrame(), frames.fault, frames.heldBytes], [undefined, fault, 0]);
  }
});

Deno.test("`pollFrame()` refuses a length before its bytes come, when it is above the limit", () => {
  const frames = new ControlFrames(100);
  frames.handleBytes(Uint8Array.of(101));
  assertEquals([frames.pollFrame(), frames.fault], [undefined, Fault.OutOfRange]);
});

Deno.test("`handleEnd()` is truncated, when the stream ends inside a message", () => {
  const whole = encodeControlFrame(body(300));
  for (let length = 1; length < whole.length; length++) {
    const frames = new ControlFrames();
    frames.handleBytes(whole.subarray(0, length));
    assertEquals([frames.pollFrame(), frames.handleEnd()], [undefined, Fault.Truncated]);
  }
});

Deno.test("`handleBytes()` keeps messages it gave out, when later bytes come", () => {
  const frames = new ControlFrames();
  frames.handleBytes(encodeControlFrame(body(10)));
  const first = frames.pollFrame()!;
  for (let i = 0; i < 50; i++) frames.handleBytes(encodeControlFrame(body(200)));
  assertEquals([...first], [...body(10)]);
  assertEquals(drain(frames).length, 50);
});

Deno.test("`ControlFrames` gives back bytes it accepts, when the stream is random", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 20 }), (chunks) => {
      const frames = new ControlFrames(50);
      const bodies: Uint8Array[] = [];
      for (const chunk of chunks) {
        frames.handleBytes(chunk);
        bodies.push(...drain(frames));
      }
      const again = joinBytes(...bodies.map(encodeControlFrame));
      assertEquals([...again], [...joinBytes(...chunks).subarray(0, again.length)]);
    }),
  );
});
