// What several sources bring on its way to one place, in the order in which it came, bounded in all: what is too much is taken from the source
// that has most in it, so that a loud one never crowds out the others.

import { assert } from "../protocol/assert.ts";

interface Entry<T> {
  readonly source: number;
  readonly item: T;
}

/** Order of calls: any number of `push` and `shift`. */
export class FairQueue<T> {
  readonly #most: number;
  readonly #gives: "oldest" | "newest";
  readonly #entries: Entry<T>[] = [];
  /** Entries of each source that has any. */
  readonly #counts = new Map<number, number>();

  /** @param most Entries that it holds at most. @param gives Which of its entries the source with most of them loses. */
  constructor(most: number, gives: "oldest" | "newest") {
    assert(most > 0, "a queue holds something");
    this.#most = most;
    this.#gives = gives;
  }

  /** Entries that wait. */
  get size(): number {
    return this.#entries.length;
  }

  /** Adds an entry; false when one had to go for it, this one or another. */
  push(source: number, item: T): boolean {
    this.#entries.push({ source, item });
    this.#counts.set(source, (this.#counts.get(source) ?? 0) + 1);
    if (this.#entries.length <= this.#most) return true;
    let most = 0;
    for (const count of this.#counts.values()) most = Math.max(most, count);
    const hasMost = (entry: Entry<T>) => this.#counts.get(entry.source) === most;
    const at = this.#gives === "oldest"
      ? this.#entries.findIndex(hasMost)
      : this.#entries.findLastIndex(hasMost);
    const [gone] = this.#entries.splice(at, 1);
    this.#uncount(gone!.source);
    return false;
  }

  /** The entry that came first. */
  shift(): T | undefined {
    const entry = this.#entries.shift();
    if (entry === undefined) return undefined;
    this.#uncount(entry.source);
    return entry.item;
  }

  /** Drops all entries of a source; returns how many. */
  discard(source: number): number {
    const count = this.#counts.get(source) ?? 0;
    if (count === 0) return 0;
    this.#counts.delete(source);
    let kept = 0;
    for (const entry of this.#entries) {
      if (entry.source === source) continue;
      this.#entries[kept] = entry;
      kept += 1;
    }
    this.#entries.length = kept;
    return count;
  }

  #uncount(source: number): void {
    const count = this.#counts.get(source)! - 1;
    if (count === 0) this.#counts.delete(source);
    else this.#counts.set(source, count);
  }
}
