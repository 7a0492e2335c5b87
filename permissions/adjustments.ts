// What one peer was granted and what was revoked from it while running, beside the rights of its role: four masks for each component. It
// knows no roles and no hosts; the gate joins the three. Only the server's engine gives and takes.

import { assert } from "../protocol/assert.ts";
import type { ComponentGrant } from "./grants.ts";

/** The adjustment of one component of one peer: masks of fields. No field is both granted and revoked in one way. */
export interface Adjustment {
  /** Fields it may read although its role may not. */
  readonly readGranted: number;
  /** Fields it may not read although its role, or an owner, may. */
  readonly readRevoked: number;
  /** Fields it may write, of its own entities, although its role may not. */
  readonly writeGranted: number;
  /** Fields it may not write although its role may. */
  readonly writeRevoked: number;
}

/** The adjustment of a component that only the role decides. */
export const NO_ADJUSTMENT: Adjustment = Object.freeze({
  readGranted: 0,
  readRevoked: 0,
  writeGranted: 0,
  writeRevoked: 0,
});

const READ_GRANTED = 0;
const READ_REVOKED = 1;
const WRITE_GRANTED = 2;
const WRITE_REVOKED = 3;
const WORDS = 4;

/** Fields of an adjustment that are granted although the manifest does not let them be: `[read, write]`. */
export function beyondGrantable(
  component: ComponentGrant,
  { readGranted, writeGranted }: Adjustment,
): readonly [number, number] {
  return [readGranted & ~component.grantableRead, writeGranted & ~component.grantableWrite];
}

/** Whether an adjustment names only fields that the component has, none of them granted and revoked at once. */
export function isAdjustmentOf(component: ComponentGrant, adjustment: Adjustment): boolean {
  const { readGranted, readRevoked, writeGranted, writeRevoked } = adjustment;
  const all = readGranted | readRevoked | writeGranted | writeRevoked;
  return (all & ~component.allFields) === 0 && (readGranted & readRevoked) === 0 &&
    (writeGranted & writeRevoked) === 0;
}

/** Whether an adjustment leaves everything to the role. */
export function isNeutral(adjustment: Adjustment): boolean {
  const { readGranted, readRevoked, writeGranted, writeRevoked } = adjustment;
  return (readGranted | readRevoked | writeGranted | writeRevoked) === 0;
}

/** The adjustments of one peer. Most peers have none and take no memory but this object. */
export class Adjustments {
  #masks: Int32Array | undefined;

  /** Forgets all of them. */
  clear(): void {
    this.#masks = undefined;
  }

  /** The adjustment of a component, by index. */
  of(component: number): Adjustment {
    const masks = this.#masks;
    const at = component * WORDS;
    if (masks === undefined || at >= masks.length) return NO_ADJUSTMENT;
    return {
      readGranted: masks[at + READ_GRANTED]!,
      readRevoked: masks[at + READ_REVOKED]!,
      writeGranted: masks[at + WRITE_GRANTED]!,
      writeRevoked: masks[at + WRITE_REVOKED]!,
    };
  }

  /** Sets the adjustment of a component, in place of an earlier one. It must be one of this component, and grantable. */
  set(component: ComponentGrant, adjustment: Adjustment): void {
    assert(isAdjustmentOf(component, adjustment), "an adjustment is about fields of its component");
    const [read, write] = beyondGrantable(component, adjustment);
    assert((read | write) === 0, "only what is grantable is granted");
    const at = component.index * WORDS;
    let masks = this.#masks;
    if (masks === undefined || at >= masks.length) {
      if (isNeutral(adjustment)) return;
      const longer = new Int32Array(at + WORDS);
      if (masks !== undefined) longer.set(masks);
      this.#masks = masks = longer;
    }
    masks[at + READ_GRANTED] = adjustment.readGranted;
    masks[at + READ_REVOKED] = adjustment.readRevoked;
    masks[at + WRITE_GRANTED] = adjustment.writeGranted;
    masks[at + WRITE_REVOKED] = adjustment.writeRevoked;
    if (masks.every((mask) => mask === 0)) this.#masks = undefined;
  }

  /** Makes these the same as `other`. */
  copy(other: Adjustments): void {
    this.#masks = other.#masks?.slice();
  }

  /** Indices of the components that are adjusted, ascending. */
  components(): number[] {
    const indices: number[] = [];
    const masks = this.#masks ?? [];
    for (let at = 0; at < masks.length; at += WORDS) {
      if ((masks[at]! | masks[at + 1]! | masks[at + 2]! | masks[at + 3]!) !== 0) {
        indices.push(at / WORDS);
      }
    }
    return indices;
  }

  /** What becomes of a mask of fields to be read: two table reads. */
  reading(component: number, mask: number): number {
    const masks = this.#masks;
    const at = component * WORDS;
    if (masks === undefined || at >= masks.length) return mask;
    return (mask & ~masks[at + READ_REVOKED]!) | masks[at + READ_GRANTED]!;
  }

  /** What becomes of a mask of fields to be written, by the owner of the entity. */
  writing(component: number, mask: number): number {
    const masks = this.#masks;
    const at = component * WORDS;
    if (masks === undefined || at >= masks.length) return mask;
    return (mask & ~masks[at + WRITE_REVOKED]!) | masks[at + WRITE_GRANTED]!;
  }
}
