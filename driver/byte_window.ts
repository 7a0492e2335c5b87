// Bytes of the last second, exactly: what a budget "in any second" is held against. It knows no datagram, and time is an argument.

import { grown } from "../replication/grow.ts";

const WINDOW_MS = 1000;
const FIRST_CAPACITY = 64;

/** Sum of the bytes of the last 1,000 ms, both ends included. The ring grows to the sends of a second and is reused. */
export class ByteWindow {
  #timesMs = new Float64Array(FIRST_CAPACITY);
  #bytes = new Float64Array(FIRST_CAPACITY);
  #head = 0;
  #count = 0;
  #sum = 0;

  /** Enters `bytes` that go at `nowMs`; time does not go back. */
  add(nowMs: number, bytes: number): void {
    const capacity = this.#timesMs.length;
    const last = (this.#head + this.#count - 1) % capacity;
    this.#sum += bytes;
    if (this.#count > 0 && this.#timesMs[last] === nowMs) {
      this.#bytes[last]! += bytes;
      return;
    }
    if (this.#count === capacity) this.#grow();
    const at = (this.#head + this.#count) % this.#timesMs.length;
    this.#timesMs[at] = nowMs;
    this.#bytes[at] = bytes;
    this.#count += 1;
  }

  /** Bytes entered from 1,000 ms before `nowMs` on. */
  sum(nowMs: number): number {
    while (this.#count > 0 && this.#timesMs[this.#head]! < nowMs - WINDOW_MS) {
      this.#sum -= this.#bytes[this.#head]!;
      this.#head = (this.#head + 1) % this.#timesMs.length;
      this.#count -= 1;
    }
    return this.#sum;
  }

  #grow(): void {
    const capacity = this.#timesMs.length;
    const head = this.#head;
    const times = grown(this.#timesMs, capacity * 2);
    const bytes = grown(this.#bytes, capacity * 2);
    // The oldest come first again.
    times.set(this.#timesMs.subarray(head), 0);
    times.set(this.#timesMs.subarray(0, head), capacity - head);
    bytes.set(this.#bytes.subarray(head), 0);
    bytes.set(this.#bytes.subarray(0, head), capacity - head);
    this.#timesMs = times;
    this.#bytes = bytes;
    this.#head = 0;
  }
}
