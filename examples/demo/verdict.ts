// The demo's verdict: one printed line for each thing that had to hold.

/** Collects the lines of the verdict. */
export class Verdict {
  #isGood = true;

  /** Everything so far held. */
  get isGood(): boolean {
    return this.#isGood;
  }

  /** Prints one line; `figures` say by how much. */
  add(what: string, isGood: boolean, figures: string): void {
    console.log(`${isGood ? "  ok    " : "  FAILED"} ${what}: ${figures}`);
    if (!isGood) this.#isGood = false;
  }
}
