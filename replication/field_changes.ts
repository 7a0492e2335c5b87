// When each field of a row last changed, as far as the versions that said so are held no more: two columns by row and field. What a
// version is, and when one is dropped, is its user's business.

import type { TimelineTime } from "../protocol/timeline_units.ts";
import { grown } from "./grow.ts";

/** Bytes for each field of a row. */
export const FIELD_CHANGE_BYTES = 4 + 8;

/** The last dropped change of each field. */
export class FieldChanges {
  readonly #fieldCount: number;
  #ticks = new Uint32Array(0);
  #times = new Float64Array(0);

  /** Columns for rows of so many fields. */
  constructor(fieldCount: number) {
    this.#fieldCount = fieldCount;
  }

  /** Bytes that they take. */
  get heldBytes(): number {
    return this.#ticks.byteLength + this.#times.byteLength;
  }

  /** Makes room for so many rows. */
  grow(rows: number): void {
    this.#ticks = grown(this.#ticks, rows * this.#fieldCount);
    this.#times = grown(this.#times, rows * this.#fieldCount);
  }

  /** A version of `tick` in which the fields in `fields` changed is dropped; those before it were. */
  note(row: number, fields: number, tick: number, time: TimelineTime): void {
    const from = row * this.#fieldCount;
    for (let rest = fields; rest !== 0; rest &= rest - 1) {
      const at = from + 31 - Math.clz32(rest & -rest);
      this.#ticks[at] = tick;
      this.#times[at] = time;
    }
  }

  /** Sample time of the newest of these changes of the fields in `fields`. Each was noted since the row came into use. */
  timeOf(row: number, fields: number): TimelineTime {
    const from = row * this.#fieldCount;
    let newest = -1;
    for (let rest = fields; rest !== 0; rest &= rest - 1) {
      const at = from + 31 - Math.clz32(rest & -rest);
      if (newest < 0 || this.#ticks[at]! > this.#ticks[newest]!) newest = at;
    }
    return newest < 0 ? 0 : this.#times[newest]!;
  }
}
