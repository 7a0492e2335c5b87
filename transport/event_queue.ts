// Actions ordered by virtual time: a binary heap. Actions of the same time run in the order they were added, so that a run depends
// on nothing but its inputs.

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly action: () => void;
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A priority queue of actions on virtual time. */
export class EventQueue {
  readonly #heap: Entry[] = [];
  #order = 0;

  /** Actions that wait. */
  get size(): number {
    return this.#heap.length;
  }

  /** Time of the next action, ms; `undefined` when there is none. */
  get nextMs(): number | undefined {
    return this.#heap[0]?.atMs;
  }

  /** Adds an action. */
  push(atMs: number, action: () => void): void {
    const heap = this.#heap;
    const entry: Entry = { atMs, order: this.#order++, action };
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Takes the next action. */
  pop(): (() => void) | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first?.action;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first.action;
  }
}
