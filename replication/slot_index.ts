// From an entity's slot to the place of its record in one link: a hash table of whole numbers, as large as the link's view, not as the
// world. A slot names one record, the one entered last.

const FIRST_PLACES = 64;

/** Records by slot (1 and above). */
export class SlotIndex {
  /** Slot and record by turns; slot 0: free. */
  #table = new Int32Array(2 * FIRST_PLACES);
  #mask = FIRST_PLACES - 1;
  #count = 0;

  /** Bytes that it takes. */
  get heldBytes(): number {
    return this.#table.byteLength;
  }

  /** The record of a slot, or -1. */
  get(slot: number): number {
    const table = this.#table;
    for (let place = hash(slot) & this.#mask;; place = (place + 1) & this.#mask) {
      const found = table[2 * place]!;
      if (found === slot) return table[2 * place + 1]!;
      if (found === 0) return -1;
    }
  }

  /** Enters a slot with its record, in place of the one that it had. */
  set(slot: number, record: number): void {
    if (2 * (this.#count + 1) > this.#mask) this.#grow();
    const table = this.#table;
    let place = hash(slot) & this.#mask;
    while (table[2 * place] !== 0 && table[2 * place] !== slot) place = (place + 1) & this.#mask;
    if (table[2 * place] === 0) this.#count += 1;
    table[2 * place] = slot;
    table[2 * place + 1] = record;
  }

  /** Takes a slot out if it has this record. */
  delete(slot: number, record: number): void {
    const table = this.#table;
    const mask = this.#mask;
    let hole = hash(slot) & mask;
    while (table[2 * hole] !== slot) {
      if (table[2 * hole] === 0) return;
      hole = (hole + 1) & mask;
    }
    if (table[2 * hole + 1] !== record) return;
    this.#count -= 1;
    // Those behind it move up, unless that were before the place where the search for them begins.
    for (let place = (hole + 1) & mask; table[2 * place] !== 0; place = (place + 1) & mask) {
      const home = hash(table[2 * place]!) & mask;
      if (((place - home) & mask) < ((place - hole) & mask)) continue;
      table[2 * hole] = table[2 * place]!;
      table[2 * hole + 1] = table[2 * place + 1]!;
      hole = place;
    }
    table[2 * hole] = 0;
  }

  #grow(): void {
    const old = this.#table;
    this.#table = new Int32Array(2 * old.length);
    this.#mask = old.length - 1;
    this.#count = 0;
    for (let at = 0; at < old.length; at += 2) {
      if (old[at] !== 0) this.set(old[at]!, old[at + 1]!);
    }
  }
}

function hash(slot: number): number {
  return Math.imul(slot, 0x9e3779b1) >>> 15;
}
