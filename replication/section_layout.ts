// Codes and widths of a snapshot section that both ends share. Where they stand in the section is told by `section_builder.ts`, which
// writes it, and `section_parser.ts`, which reads it.

import type { Grants } from "../permissions/grants.ts";
import { MAX_BEFORE } from "./coding/motion_codec.ts";
import { bitsFor } from "./gamma.ts";
import { historyTicksOf } from "./world.ts";

/** How a value names its reference, where it is not the one of the value before. */
export const ReferenceCode = {
  /** A version so many ticks before the datagram's tick. */
  Age: 0,
  /** The one version older than the history window. */
  Old: 1,
  /** None: the value is absolute. */
  None: 2,
  /** None: a piece of an absolute value. */
  Piece: 3,
} as const;

/** One of the values of {@linkcode ReferenceCode}. */
export type ReferenceCode = typeof ReferenceCode[keyof typeof ReferenceCode];

/** Bits of the grant epoch that opens a section. */
export const GRANT_EPOCH_BITS = 8;
/** Bits of an entity's state in a header. */
export const STATE_BITS = 2;
/** Bits of a reference code. */
export const REFERENCE_CODE_BITS = 2;
/** Bits that tell which versions before its reference a value names. */
export const BEFORE_BITS: number = MAX_BEFORE;
/** Largest distance, in 1/64 ticks, between a version's sample time and the start of its tick: what fits 32 bits folded. */
export const MAX_TIME_OFFSET = 2 ** 31 - 2;

/** Widths that follow from the manifest. */
export interface SectionWidths {
  /** Bits of a component index. */
  readonly component: number;
  /** Bits of a reference's age. */
  readonly age: number;
  /** Largest age of a reference. */
  readonly historyTicks: number;
}

/** The widths of a world. */
export function sectionWidths(grants: Grants): SectionWidths {
  const historyTicks = historyTicksOf(grants);
  return {
    component: bitsFor(grants.components.length - 1),
    age: bitsFor(historyTicks),
    historyTicks,
  };
}
