// Is this a well-formed Opus packet, and how much audio does it hold? RFC 6716 sections 3.1, 3.2 and 3.4: the table of contents and the
// frame lengths. It decodes no audio, and what a manifest allows is not its question.

import { MAX_OPUS_PACKET_BYTES, MAX_OPUS_PACKET_MS } from "../protocol/limits.ts";

/** What the head of an Opus packet tells. */
export interface OpusPacketInfo {
  /** Audio in the whole packet, ms: 2.5 to 120. */
  readonly durationMs: number;
  /** Two channels. */
  readonly stereo: boolean;
  /** Frames in the packet, 1 to 48. */
  readonly frames: number;
}

/** Most bytes of one frame, requirement R2. */
const MAX_FRAME_BYTES = MAX_OPUS_PACKET_BYTES;

/** Frame length by the upper five bits of the first byte, ms: SILK, hybrid, then CELT modes (table 2). */
const FRAME_MS: readonly number[] = [
  ...[10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 40, 60],
  ...[10, 20, 10, 20],
  ...[2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20],
];

/**
 * Checks requirements R1 to R7 of RFC 6716 section 3.4.
 *
 * @returns `undefined` when the bytes are no Opus packet.
 */
export function inspectOpusPacket(bytes: Uint8Array): OpusPacketInfo | undefined {
  if (bytes.length === 0) return undefined;
  const toc = bytes[0]!;
  const frameMs = FRAME_MS[toc >>> 3]!;
  const frames = countFrames(bytes, toc & 3);
  if (frames === 0 || frames * frameMs > MAX_OPUS_PACKET_MS) return undefined;
  return { durationMs: frames * frameMs, stereo: (toc & 4) !== 0, frames };
}

/** Frames of a packet with this frame count code; 0 when its lengths do not fit. */
function countFrames(bytes: Uint8Array, code: number): number {
  const body = bytes.length - 1;
  switch (code) {
    case 0:
      return body <= MAX_FRAME_BYTES ? 1 : 0;
    case 1:
      return body % 2 === 0 && body / 2 <= MAX_FRAME_BYTES ? 2 : 0;
    case 2: {
      const first = readFrameLength(bytes, 1, bytes.length);
      if (first === undefined) return 0;
      const second = bytes.length - first.next - first.length;
      return second >= 0 && second <= MAX_FRAME_BYTES ? 2 : 0;
    }
    default:
      return countSignalled(bytes);
  }
}

/** Code 3: a count byte, optional padding, then frames of equal or of signalled lengths. */
function countSignalled(bytes: Uint8Array): number {
  if (bytes.length < 2) return 0;
  const isVariable = (bytes[1]! & 0x80) !== 0;
  const isPadded = (bytes[1]! & 0x40) !== 0;
  const frames = bytes[1]! & 0x3f;
  let at = 2;
  let end = bytes.length;
  if (isPadded) {
    let byte: number;
    do {
      if (at >= end) return 0;
      byte = bytes[at++]!;
      // 255 stands for 254 bytes of padding and another length byte.
      end -= byte === 255 ? 254 : byte;
    } while (byte === 255);
    if (end < at) return 0;
  }
  if (frames === 0) return 0;
  if (!isVariable) {
    const body = end - at;
    return body % frames === 0 && body / frames <= MAX_FRAME_BYTES ? frames : 0;
  }
  let sum = 0;
  for (let i = 1; i < frames; i++) {
    const frame = readFrameLength(bytes, at, end);
    if (frame === undefined) return 0;
    at = frame.next;
    sum += frame.length;
  }
  const last = end - at - sum;
  return last >= 0 && last <= MAX_FRAME_BYTES ? frames : 0;
}

/** Section 3.2.1: 0..251 in one byte, 252..1275 in two (the second counts fours). */
function readFrameLength(
  bytes: Uint8Array,
  at: number,
  end: number,
): { length: number; next: number } | undefined {
  if (at >= end) return undefined;
  const first = bytes[at]!;
  if (first < 252) return { length: first, next: at + 1 };
  if (at + 1 >= end) return undefined;
  return { length: first + 4 * bytes[at + 1]!, next: at + 2 };
}
