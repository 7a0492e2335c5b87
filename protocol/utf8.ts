// Text in messages: UTF-8 with a bound in bytes, checked strictly on the way in. Knows nothing of what a text means.

import { Fault } from "./faults.ts";
import type { Reader } from "./reader.ts";

const ENCODER = new TextEncoder();
// A byte order mark is kept as a character: a decoder that swallowed it would accept two encodings of one text.
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The UTF-8 bytes of `text`, cut after the last whole character that fits `maxBytes`. */
export function encodeUtf8(text: string, maxBytes: number): Uint8Array {
  const bytes = ENCODER.encode(text);
  if (bytes.length <= maxBytes) return bytes;
  let end = maxBytes;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}

/** The text that `bytes` spell, or `undefined` when they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return DECODER.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Reads a varint length (at most `maxBytes`) and that many bytes of UTF-8; anything else is the reader's fault. */
export function readText(r: Reader, maxBytes: number): string {
  const bytes = r.bytes(r.varintAtMost(maxBytes));
  const text = decodeUtf8(bytes);
  if (text === undefined) r.fail(Fault.NotUtf8);
  return text ?? "";
}
