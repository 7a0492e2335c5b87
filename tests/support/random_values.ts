// Random component values that the grants allow, as an engine could have written them. Nothing about who may write them.

import { assert } from "@std/assert";
import type { ComponentGrant, FieldGrant } from "../../permissions/grants.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { below, type Prng } from "./prng.ts";

/** The numbers of a field as an engine gives them: 1, 3 or 4 of them, within the declared range. */
export function randomNumbers(field: FieldGrant, prng: Prng): number[] {
  const within = (): number => {
    const share = prng();
    // The ends of the range come up often enough to be tested.
    if (share < 0.05) return field.min;
    if (share > 0.95) return field.max;
    return field.min + prng() * (field.max - field.min);
  };
  switch (field.kind) {
    case "f32":
      return [within()];
    case "vec3":
      return [within(), within(), within()];
    case "quat":
      return randomRotation(prng);
    case "entity":
      return [below(prng, 3) === 0 ? 0 : 1 + below(prng, 0xffff_ffff)];
    default:
      return [Math.round(within())];
  }
}

/** A unit quaternion; one in four has its largest components equal or nearly so, where rounding is hardest. */
export function randomRotation(prng: Prng): number[] {
  const q = [prng() - 0.5, prng() - 0.5, prng() - 0.5, prng() - 0.5];
  if (prng() < 0.25) {
    const nearly = (): number =>
      (prng() < 0.5 ? -1 : 1) * (1 + (prng() - 0.5) * 1e-3 * below(prng, 2));
    const ties = 2 + below(prng, 3);
    const first = below(prng, 4);
    for (let i = 0; i < ties; i++) q[(first + i) % 4] = nearly();
  }
  const length = Math.hypot(...q);
  return length < 0.01 ? [0, 0, 0, 1] : q.map((v) => v / length);
}

/** Text or bytes that fit the field; texts have letters of one to four bytes. */
export function randomBlob(field: FieldGrant, prng: Prng, most = field.maxBytes): Uint8Array {
  const limit = Math.min(field.maxBytes, most);
  if (field.kind === "bytes") {
    return Uint8Array.from({ length: below(prng, limit + 1) }, () => below(prng, 256));
  }
  const letters = ["a", "Z", "é", "水", "🙂"];
  let text = "";
  for (let i = below(prng, limit + 1); i > 0; i--) text += letters[below(prng, letters.length)];
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > limit) {
    text = [...text].slice(0, -1).join("");
    bytes = new TextEncoder().encode(text);
  }
  return bytes;
}

/** Sets the fields in `mask` of `value` to random ones; variable fields get at most `mostBytes` bytes. */
export function randomise(
  component: Pick<ComponentGrant, "fields">,
  value: ComponentValue,
  mask: number,
  prng: Prng,
  mostBytes = 64,
): void {
  for (const field of component.fields) {
    if ((mask & (1 << field.index)) === 0) continue;
    if (field.blobIndex >= 0) {
      value.blobs[field.blobIndex] = randomBlob(field, prng, mostBytes);
      continue;
    }
    const numbers = randomNumbers(field, prng);
    assert(quantiseField(field, numbers, 0, value.lanes, field.laneOffset), field.name);
  }
}

/** A whole random value. */
export function randomValue(
  component: Pick<ComponentGrant, "fields" | "laneCount" | "blobCount">,
  prng: Prng,
  mostBytes = 64,
): ComponentValue {
  const value = createValue(component);
  randomise(component, value, -1, prng, mostBytes);
  return value;
}
