// Damaged forms of good bytes, for sweeping decoders: every truncation, every single flipped bit, every way of cutting a stream into chunks.

import { Prng } from "../../protocol/prng.ts";

/** `bytes` cut to each length from 0 to one less than whole. */
export function* truncationsOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.slice(0, length);
}

/** `bytes` with each single bit flipped in turn. */
export function* bitFlipsOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = bytes.slice();
    copy[bit >>> 3] = copy[bit >>> 3]! ^ (1 << (bit & 7));
    yield copy;
  }
}

/** The chunk matrix: whole, byte by byte, several fixed sizes, seeded random sizes with empty chunks among them. */
export function* chunkingsOf(
  bytes: Uint8Array,
  seed = 1,
): Generator<{ name: string; chunks: Uint8Array[] }> {
  for (const size of [Math.max(1, bytes.length), 1, 2, 3, 7, 64, 1_000]) {
    yield { name: `chunks of ${size}`, chunks: cut(bytes, () => size) };
  }
  for (let i = 0; i < 8; i++) {
    const prng = new Prng(seed + i);
    yield { name: `random chunks, seed ${seed + i}`, chunks: cut(bytes, () => prng.nextBelow(40)) };
  }
}

function cut(bytes: Uint8Array, nextSize: () => number): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = nextSize();
    chunks.push(bytes.slice(at, at + size));
    at += size;
  }
  return chunks;
}

/** All the parts, one after another. */
export function joinBytes(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joinAll(parts);
}

/** As {@linkcode joinBytes}, for more parts than a call takes arguments. */
export function joinAll(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
