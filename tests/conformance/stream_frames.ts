// The frames inside one direction of a QUIC stream (docs/PROTOCOL.md 3.1): data, end, reset.

import { Bits, Malformed, rule } from "./bits.ts";

/** What a direction said. */
export interface Direction {
  readonly data: Uint8Array;
  readonly ended: boolean;
  /** Code of a reset; 0 too for a direction that broke off. */
  readonly reset: number | undefined;
}

/** Reads a direction that has finished. */
export function readDirection(bytes: Uint8Array): Direction {
  const bits = new Bits(bytes);
  const data: number[] = [];
  let ended = false;
  while (bits.left > 0) {
    const n = bits.varint();
    rule(n <= 65_536, "OutOfRange", `frame of ${n} bytes`);
    if (n > 0) {
      rule(!ended, "Unexpected", "data after an end");
      data.push(...bits.take(n));
      continue;
    }
    const kind = bits.u8();
    rule(kind <= 1, "UnknownKind", `frame kind ${kind}`);
    if (kind === 1) {
      const code = bits.u32();
      rule(code < 2 ** 30, "OutOfRange", `code ${code}`);
      // What follows a reset is ignored.
      return { data: Uint8Array.from(data), ended, reset: code };
    }
    rule(!ended, "Unexpected", "a second end");
    ended = true;
  }
  return { data: Uint8Array.from(data), ended, reset: ended ? undefined : 0 };
}

/** A data frame, an end or a reset. */
export function writeFrame(frame: Uint8Array | "end" | number): Uint8Array {
  if (frame === "end") return Uint8Array.of(0, 0);
  if (typeof frame === "number") {
    const bytes = new Uint8Array(6);
    bytes[1] = 1;
    new DataView(bytes.buffer).setUint32(2, frame, true);
    return bytes;
  }
  if (frame.length > 65_536) throw new Malformed("OutOfRange", "frame");
  const head: number[] = [];
  let rest = frame.length;
  for (; rest >= 128; rest >>= 7) head.push(rest % 128 + 128);
  return Uint8Array.from([...head, rest, ...frame]);
}
