// The newest versions of one component that a peer has acknowledged: what a value may be foretold from. It holds names, no contents; which
// of them a value uses is the encoder's choice.

/** Versions remembered. */
export const ACKED_VERSIONS = 8;
const COLUMNS = 4;

/** A few acknowledged versions, newest first. */
export class AckedVersions {
  /** Versions held. */
  count = 0;
  readonly #rows = new Float64Array(ACKED_VERSIONS * COLUMNS);

  /** Link tick of version `i`. */
  linkTick(i: number): number {
    return this.#rows[i * COLUMNS]!;
  }

  /** World tick of its contents. */
  worldTick(i: number): number {
    return this.#rows[i * COLUMNS + 1]!;
  }

  /** How many versions had been sent with it. */
  sent(i: number): number {
    return this.#rows[i * COLUMNS + 2]!;
  }

  /** Sub-ticks from its sample time to the start of its link tick, as they were sent. */
  offset(i: number): number {
    return this.#rows[i * COLUMNS + 3]!;
  }

  /** Enters a version at its place; one that is known already or older than all that are remembered changes nothing. */
  add(linkTick: number, worldTick: number, sent: number, offset: number): void {
    const rows = this.#rows;
    let place = 0;
    while (place < this.count && rows[place * COLUMNS]! > linkTick) place += 1;
    if (place === ACKED_VERSIONS) return;
    if (place < this.count && rows[place * COLUMNS] === linkTick) return;
    const from = place * COLUMNS;
    rows.copyWithin(from + COLUMNS, from, (ACKED_VERSIONS - 1) * COLUMNS);
    rows[from] = linkTick;
    rows[from + 1] = worldTick;
    rows[from + 2] = sent;
    rows[from + 3] = offset;
    if (this.count < ACKED_VERSIONS) this.count += 1;
  }

  /** Forgets all. */
  clear(): void {
    this.count = 0;
  }
}
