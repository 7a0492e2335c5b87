// Everything the driver counts, by name, without contents. Names are fixed strings of the code, so the table is bounded by the code.

/** Named counters and gauges of one driver. */
export class Counters {
  readonly #values = new Map<string, number>();

  /** Adds to a counter. */
  add(name: string, amount = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + amount);
  }

  /** Sets a gauge. */
  set(name: string, value: number): void {
    this.#values.set(name, value);
  }

  /** A counter's value. */
  get(name: string): number {
    return this.#values.get(name) ?? 0;
  }

  /** A copy of everything, for the engine. */
  snapshot(): Record<string, number> {
    return Object.fromEntries(this.#values);
  }
}
