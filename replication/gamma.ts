// Whole numbers of unknown size as bits: five bits of magnitude, then the bits below the leading one (after Elias, 1975). Every value
// has exactly one encoding, so that a receiver need not look for longer ones.

import { Fault } from "../protocol/faults.ts";
import type { Reader } from "../protocol/reader.ts";
import type { Writer } from "../protocol/writer.ts";

/** Entity slots have 20 bits, and so have the distances between them. */
const MAX_SHORT_BITS = 20;

/** Bits that {@linkcode writeGamma} takes for `value` (1..2^32-1). */
export function gammaBits(value: number): number {
  return 5 + 31 - Math.clz32(value);
}

/** Writes `value` (1..2^32-1). */
export function writeGamma(writer: Writer, value: number): void {
  const magnitude = 31 - Math.clz32(value);
  writer.bits(magnitude, 5);
  writer.bits(value, magnitude);
}

/** Reads what {@linkcode writeGamma} wrote: 1..2^32-1, or 1 when the bytes end before. */
export function readGamma(reader: Reader): number {
  const magnitude = reader.bits(5);
  const low = reader.bits(magnitude);
  return reader.fault === undefined ? 2 ** magnitude + low : 1;
}

/** Writes `value` (1..2^31-1) with as many ones, a zero, and the bits below its highest: short for small numbers. */
export function writeShort(writer: Writer, value: number): void {
  const magnitude = 31 - Math.clz32(value);
  for (let i = 0; i < magnitude; i++) writer.bits(1, 1);
  writer.bits(0, 1);
  writer.bits(value, magnitude);
}

/** Reads what {@linkcode writeShort} wrote, at most 20 bits below the highest; more is a fault. */
export function readShort(reader: Reader): number {
  let magnitude = 0;
  while (reader.bits(1) === 1) {
    magnitude += 1;
    if (magnitude > MAX_SHORT_BITS) {
      reader.fail(Fault.OutOfRange);
      return 1;
    }
  }
  const low = reader.bits(magnitude);
  return reader.fault === undefined ? (1 << magnitude) + low : 1;
}

/** Bits needed for the whole numbers 0..`largest`. */
export function bitsFor(largest: number): number {
  return 32 - Math.clz32(largest);
}

/** Folds a signed number (above -2^31) to 0, 1, 2, ... for 0, -1, 1, ...; arithmetic, as 32-bit words would overflow. */
export function foldSigned(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

/** Inverse of {@linkcode foldSigned}. */
export function unfoldSigned(folded: number): number {
  return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
}
