// A field's checks in one line for people. It reads compiled grants and decides nothing.

import type { FieldCheck } from "./grants.ts";

/** The limits of a check, and what happens beyond them, such as `speed 8, step 2, else reject`. */
export function checkText(check: FieldCheck): string {
  const parts: string[] = [];
  const corner = (numbers: readonly number[]) =>
    numbers.length === 1 ? `${numbers[0]}` : `(${numbers.join(", ")})`;
  if (check.min.length > 0) parts.push(`from ${corner(check.min)} to ${corner(check.max)}`);
  if (check.maxStep > 0) parts.push(`step ${check.maxStep}`);
  if (check.maxSpeed > 0) parts.push(`speed ${check.maxSpeed}`);
  if (check.maxAcceleration > 0) parts.push(`acceleration ${check.maxAcceleration}`);
  if (check.rateHz > 0) parts.push(`${check.rateHz} changes a second`);
  return `${parts.join(", ")}, else ${check.action}`;
}
