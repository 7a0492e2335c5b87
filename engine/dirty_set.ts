// Which fields of which component of which entity changed since they were last sent: one mask each, so that any number of changes
// between two batches costs one row. Slots are small numbers that the entity ledger gives out; values are not kept here.

interface Column {
  /** Changed fields by slot. */
  masks: Uint32Array;
  /** 1 for slots in `slots`. */
  listed: Uint8Array;
  /** Slots that were marked, in order; some may have been unmarked since. */
  readonly slots: number[];
}

/** Changed fields by component index and entity slot. */
export class DirtySet {
  readonly #columns: Column[];

  /** @param componentCount Components of the world. */
  constructor(componentCount: number) {
    this.#columns = Array.from({ length: componentCount }, () => ({
      masks: new Uint32Array(16),
      listed: new Uint8Array(16),
      slots: [],
    }));
  }

  /** False when surely nothing is marked. */
  get mayHaveMarks(): boolean {
    return this.#columns.some((column) => column.slots.length > 0);
  }

  /** The marked fields. */
  maskOf(component: number, slot: number): number {
    return this.#columns[component]!.masks[slot] ?? 0;
  }

  /** Marks fields as changed. */
  mark(component: number, slot: number, mask: number): void {
    if (mask === 0) return;
    const column = this.#columns[component]!;
    if (slot >= column.masks.length) grow(column, slot + 1);
    column.masks[slot] = column.masks[slot]! | mask;
    if (column.listed[slot] === 0) {
      column.listed[slot] = 1;
      column.slots.push(slot);
    }
  }

  /** Takes marks back: another value has come in their place. */
  unmark(component: number, slot: number, mask: number): void {
    const { masks } = this.#columns[component]!;
    if (slot < masks.length) masks[slot] = masks[slot]! & ~mask;
  }

  /** Takes all marks of one entity back. */
  unmarkEntity(slot: number): void {
    for (let c = 0; c < this.#columns.length; c++) this.unmark(c, slot, 0xffff_ffff);
  }

  /**
   * Visits and unmarks what is marked of one component, in the order in which it was marked, until `visit` returns false: that entry
   * and all after it stay marked.
   */
  take(component: number, visit: (slot: number, mask: number) => boolean): void {
    const { masks, listed, slots } = this.#columns[component]!;
    let done = 0;
    while (done < slots.length) {
      const slot = slots[done]!;
      const mask = masks[slot]!;
      if (mask !== 0 && !visit(slot, mask)) break;
      masks[slot] = 0;
      listed[slot] = 0;
      done += 1;
    }
    slots.splice(0, done);
  }

  /** Forgets all marks. */
  clear(): void {
    for (const { masks, listed, slots } of this.#columns) {
      masks.fill(0);
      listed.fill(0);
      slots.length = 0;
    }
  }
}

function grow(column: Column, needed: number): void {
  const size = Math.max(needed, column.masks.length * 2);
  const masks = new Uint32Array(size);
  masks.set(column.masks);
  column.masks = masks;
  const listed = new Uint8Array(size);
  listed.set(column.listed);
  column.listed = listed;
}
