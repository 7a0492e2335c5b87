// What one peer was granted and what was revoked from it while running, as both protocols write it: four field masks for each component
// named. Which fields a component has, and which may be granted, is not known here.

import { assert } from "./assert.ts";
import { Fault } from "./faults.ts";
import { MAX_COMPONENTS, MAX_DECLARED_ID } from "./limits.ts";
import type { Reader } from "./reader.ts";
import type { Writer } from "./writer.ts";

/** Largest field mask: the sign bit is unused. */
export const MAX_FIELD_MASK = 0x7fff_ffff;
/** Words of one adjustment on the engine link. */
export const ADJUSTMENT_WORDS = 5;

/** The adjustment of one component; all masks 0: its role alone decides. */
export interface ComponentAdjustment {
  /** Declared id of the component. */
  readonly componentId: number;
  /** Mask of fields that may be read although the role may not. */
  readonly readGranted: number;
  /** Mask of fields that may not be read although the role, or an owner, may. */
  readonly readRevoked: number;
  /** Mask of fields that may be written although the role may not. */
  readonly writeGranted: number;
  /** Mask of fields that may not be written although the role may. */
  readonly writeRevoked: number;
}

/** What is wrong with the masks of an adjustment: no field is granted and revoked in one way. */
export function adjustmentFault(one: ComponentAdjustment): Fault | undefined {
  const both = (one.readGranted & one.readRevoked) | (one.writeGranted & one.writeRevoked);
  return both === 0 ? undefined : Fault.NonCanonical;
}

/** Whether an adjustment changes nothing. */
export function isNoAdjustment(one: ComponentAdjustment): boolean {
  return (one.readGranted | one.readRevoked | one.writeGranted | one.writeRevoked) === 0;
}

/** Writes one adjustment for the control stream. */
export function writeAdjustment(w: Writer, one: ComponentAdjustment): void {
  w.varint(one.componentId);
  w.u32(one.readGranted);
  w.u32(one.readRevoked);
  w.u32(one.writeGranted);
  w.u32(one.writeRevoked);
}

/** Reads one adjustment; what is wrong becomes the reader's fault. */
export function readAdjustment(r: Reader): ComponentAdjustment {
  const componentId = r.varintAtMost(MAX_DECLARED_ID);
  if (componentId === 0) r.fail(Fault.OutOfRange);
  const one = {
    componentId,
    readGranted: readMask(r),
    readRevoked: readMask(r),
    writeGranted: readMask(r),
    writeRevoked: readMask(r),
  };
  const fault = adjustmentFault(one);
  if (fault !== undefined) r.fail(fault);
  return one;
}

function readMask(r: Reader): number {
  const mask = r.u32();
  if (mask > MAX_FIELD_MASK) r.fail(Fault.OutOfRange);
  return mask;
}

/** Writes all adjustments of a peer: a count, then each by ascending component id. */
export function writeAdjustments(w: Writer, all: readonly ComponentAdjustment[]): void {
  assert(all.length <= MAX_COMPONENTS, "each component is adjusted once");
  w.varint(all.length);
  for (const one of all) writeAdjustment(w, one);
}

/** Reads all adjustments of a peer. */
export function readAdjustments(r: Reader): ComponentAdjustment[] {
  const count = r.varintAtMost(MAX_COMPONENTS);
  const all: ComponentAdjustment[] = [];
  let previous = 0;
  for (let i = 0; i < count && r.fault === undefined; i++) {
    const one = readAdjustment(r);
    if (one.componentId <= previous || isNoAdjustment(one)) r.fail(Fault.NonCanonical);
    all.push(one);
    previous = one.componentId;
  }
  return all;
}

/** Adjustments as groups of `ADJUSTMENT_WORDS` words for the engine link. */
export function packAdjustments(all: readonly ComponentAdjustment[]): Uint32Array {
  const words = new Uint32Array(all.length * ADJUSTMENT_WORDS);
  for (const [i, one] of all.entries()) {
    const masks = [one.readGranted, one.readRevoked, one.writeGranted, one.writeRevoked];
    words.set([one.componentId, ...masks], i * ADJUSTMENT_WORDS);
  }
  return words;
}

/** The adjustments of whole groups of words. */
export function unpackAdjustments(words: Uint32Array): ComponentAdjustment[] {
  const all: ComponentAdjustment[] = [];
  for (let at = 0; at + ADJUSTMENT_WORDS <= words.length; at += ADJUSTMENT_WORDS) {
    all.push({
      componentId: words[at]!,
      readGranted: words[at + 1]!,
      readRevoked: words[at + 2]!,
      writeGranted: words[at + 3]!,
      writeRevoked: words[at + 4]!,
    });
  }
  return all;
}

/** What is wrong with packed adjustments: they ascend by id, and none changes nothing. */
export function packedAdjustmentsFault(words: Uint32Array): Fault | undefined {
  let previous = 0;
  for (const one of unpackAdjustments(words)) {
    if (one.componentId <= previous || isNoAdjustment(one)) return Fault.NonCanonical;
    const fault = adjustmentFault(one);
    if (fault !== undefined) return fault;
    previous = one.componentId;
  }
  return undefined;
}
