// The line in which the entities with something to send wait in a tick, most urgent first. Places are kept from tick to tick, so that a
// crowd waits without any allocation; how urgent an entity is, and what of it goes, is the sender's business.

import { grown } from "./grow.ts";

const FIRST_CAPACITY = 64;
/** Urgencies below this are sorted by counting: ticks of waiting times nearness, headers' weight added. */
const COUNTED = 512;

/** Order of calls, once a tick: `clear`, `add` for each entity, `sort`; then look at them and take out what went. */
export class UrgencyLine {
  #count = 0;
  /** Whether all are equally urgent. */
  #isLevel = true;
  /** Place of the first in `#records`. */
  #head = 0;
  #records = new Int32Array(FIRST_CAPACITY);
  #sorted = new Int32Array(FIRST_CAPACITY);
  #urgency = new Int32Array(FIRST_CAPACITY);
  readonly #start = new Int32Array(COUNTED + 1);
  /** Urgencies from {@linkcode COUNTED} on: few, or all of a world that is new to its peer. */
  readonly #great: number[] = [];
  readonly #byUrgency = (a: number, b: number): number =>
    this.#urgency[b]! - this.#urgency[a]! || a - b;

  /** Entities in line. */
  get count(): number {
    return this.#count;
  }

  /** The entity at a place, by its record. */
  at(place: number): number {
    return this.#records[this.#head + place]!;
  }

  /** Sends everyone away. */
  clear(): void {
    this.#count = 0;
    this.#head = 0;
    this.#isLevel = true;
  }

  /** Puts an entity at the end, before any `sort`. @param urgency A whole number below 2^31; fractions are cut off. */
  add(record: number, urgency: number): void {
    if (this.#count === this.#urgency.length) this.#grow();
    this.#records[this.#count] = record;
    this.#urgency[this.#count] = urgency;
    if (this.#count > 0 && this.#urgency[this.#count - 1] !== this.#urgency[this.#count]) {
      this.#isLevel = false;
    }
    this.#count += 1;
  }

  /** Brings the most urgent to the front; those of equal urgency keep the order in which they came. */
  sort(): void {
    const count = this.#count;
    if (this.#isLevel) return;
    const start = this.#start;
    start.fill(0);
    this.#great.length = 0;
    for (let i = 0; i < count; i++) {
      const urgency = this.#urgency[i]!;
      if (urgency >= COUNTED) this.#great.push(i);
      else start[COUNTED - 1 - urgency + 1]! += 1;
    }
    start[0] = this.#great.length;
    if (start[0] > 1) this.#great.sort(this.#byUrgency);
    for (let i = 0; i < start[0]; i++) this.#sorted[i] = this.#records[this.#great[i]!]!;
    for (let i = 1; i <= COUNTED; i++) start[i]! += start[i - 1]!;
    for (let i = 0; i < count; i++) {
      const urgency = this.#urgency[i]!;
      if (urgency >= COUNTED) continue;
      const place = start[COUNTED - 1 - urgency]!;
      start[COUNTED - 1 - urgency] = place + 1;
      this.#sorted[place] = this.#records[i]!;
    }
    const records = this.#records;
    this.#records = this.#sorted;
    this.#sorted = records;
  }

  /** Puts an entity at the end, after the `sort`. */
  append(record: number): void {
    const place = this.#head + this.#count;
    if (place === this.#records.length) this.#grow();
    this.#records[place] = record;
    this.#count += 1;
  }

  /** The entity at `from` moves to the place `to` before it. */
  keep(from: number, to: number): void {
    this.#records[this.#head + to] = this.#records[this.#head + from]!;
  }

  /** Places from `from` to before `to` are empty: those in front move up to the others, who may be many. */
  closeGap(from: number, to: number): void {
    const gap = to - from;
    for (let place = this.#head + from - 1; place >= this.#head; place--) {
      this.#records[place + gap] = this.#records[place]!;
    }
    this.#head += gap;
    this.#count -= gap;
  }

  #grow(): void {
    const capacity = this.#urgency.length * 2;
    this.#urgency = grown(this.#urgency, capacity);
    this.#records = grown(this.#records, capacity);
    this.#sorted = grown(this.#sorted, capacity);
  }
}
