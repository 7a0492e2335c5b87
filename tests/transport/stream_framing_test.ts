import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { MAX_APPLICATION_CODE, MAX_STREAM_FRAME_BYTES } from "../../protocol/limits.ts";
import {
  encodeStreamFrames,
  StreamDeframer,
  StreamEventKind,
} from "../../transport/stream_framing.ts";
import { patternBytes } from "./recorder.ts";

interface Result {
  data: number[];
  ended: boolean;
  reset: number | undefined;
  fault: number | undefined;
}

/** What a reader finds in `chunks`. */
function read(chunks: Iterable<Uint8Array>): Result {
  const deframer = new StreamDeframer();
  const result: Result = { data: [], ended: false, reset: undefined, fault: undefined };
  for (const chunk of chunks) {
    deframer.push(chunk);
    for (let event = deframer.poll(); event !== undefined; event = deframer.poll()) {
      if (event.kind === StreamEventKind.Data) result.data.push(...event.bytes);
      else if (event.kind === StreamEventKind.End) result.ended = true;
      else if (event.kind === StreamEventKind.Reset) result.reset = event.code;
      else result.fault = event.fault;
    }
  }
  assertEquals(deframer.isOver, result.reset !== undefined || result.fault !== undefined);
  assertEquals(deframer.ended, result.ended);
  return result;
}

/** `bytes` cut at every multiple of `size`. */
function* cut(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const bytesOf = (...parts: (Uint8Array | number[])[]) =>
  new Uint8Array(parts.flatMap((part) => [...part]));
const faultOf = (...bytes: number[]) => read([new Uint8Array(bytes)]).fault;

Deno.test("`StreamDeframer` reads what `encodeStreamFrames()` wrote, cut anywhere", () => {
  const data = patternBytes(0, 300);
  const bytes = bytesOf(
    encodeStreamFrames(data.subarray(0, 1)),
    encodeStreamFrames(data.subarray(1, 130)),
    encodeStreamFrames(data.subarray(130), "end"),
    encodeStreamFrames(new Uint8Array(0), { resetCode: 77 }),
  );
  for (let size = 1; size <= bytes.length; size++) {
    assertEquals(read(cut(bytes, size)), {
      data: [...data],
      ended: true,
      reset: 77,
      fault: undefined,
    });
  }
});

Deno.test("`StreamDeframer` takes frames and codes of every size, cut at random", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 8 }),
      fc.constantFrom("open", "end", "reset"),
      fc.integer({ min: 0, max: MAX_APPLICATION_CODE }),
      fc.integer({ min: 1, max: 50 }),
      (sizes, ending, code, step) => {
        const frames = sizes.map((size) => encodeStreamFrames(patternBytes(size, size)));
        if (ending === "end") frames.push(encodeStreamFrames(new Uint8Array(0), "end"));
        if (ending === "reset") {
          frames.push(encodeStreamFrames(new Uint8Array(0), { resetCode: code }));
        }
        assertEquals(read(cut(bytesOf(...frames), step)), {
          data: sizes.flatMap((size) => [...patternBytes(size, size)]),
          ended: ending === "end",
          reset: ending === "reset" ? code : undefined,
          fault: undefined,
        });
      },
    ),
    { seed: 2, numRuns: 200 },
  );
});

Deno.test("`StreamDeframer` takes the largest frame and refuses a larger one before its bytes", () => {
  const largest = encodeStreamFrames(patternBytes(0, MAX_STREAM_FRAME_BYTES));
  assertEquals(read([largest]).data.length, MAX_STREAM_FRAME_BYTES);
  assertEquals(faultOf(0x81, 0x80, 4), Fault.OutOfRange);
  assertEquals(faultOf(0xff, 0xff, 0xff), Fault.OutOfRange);
});

Deno.test("`StreamDeframer` refuses every second encoding and every word out of place", () => {
  assertEquals(faultOf(0x81, 0), Fault.NonCanonical);
  assertEquals(faultOf(0x80, 0), Fault.NonCanonical);
  assertEquals(faultOf(0x80, 0x80, 0), Fault.NonCanonical);
  assertEquals(faultOf(0x80, 0x80, 0x80), Fault.OutOfRange);
  assertEquals(faultOf(0, 2), Fault.UnknownKind);
  assertEquals(faultOf(0, 0, 0, 0), Fault.Unexpected);
  assertEquals(faultOf(0, 0, 1), Fault.Unexpected);
  assertEquals(faultOf(0, 1, 0, 0, 0, 0x40), Fault.OutOfRange);
});

Deno.test("`StreamDeframer` says nothing after a reset or a fault", () => {
  assertEquals(read([new Uint8Array([0, 1, 3, 0, 0, 0, 1, 7]), new Uint8Array([0, 0])]), {
    data: [],
    ended: false,
    reset: 3,
    fault: undefined,
  });
  assertEquals(read([new Uint8Array([0, 9, 1, 7]), new Uint8Array([0, 0])]), {
    data: [],
    ended: false,
    reset: undefined,
    fault: Fault.UnknownKind,
  });
});

Deno.test("`StreamDeframer` takes any bytes without an exception", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 1, max: 9 }),
      (bytes, size) => {
        // However it is cut, the same is found.
        assertEquals(read(cut(bytes, size)), read([bytes]));
      },
    ),
    { seed: 3, numRuns: 500 },
  );
});
