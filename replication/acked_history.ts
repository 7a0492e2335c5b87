// The versions of one component that a peer has acknowledged before its reference: what a value may be foretold from. One word says it
// all; which of them a value uses is the encoder's choice.

/** Versions remembered beside the reference. */
export const ACKED_VERSIONS = 7;
/** Ticks before the reference that are remembered. */
export const ACKED_TICKS = 32;

/** The history behind a reference that is `ticks` younger than the one before, which joins the history itself. */
export function ackedBehindNewer(history: number, ticks: number): number {
  if (ticks > ACKED_TICKS) return 0;
  const shifted = ticks === ACKED_TICKS ? 0 : history << ticks;
  return newestOf(shifted | (1 << (ticks - 1)));
}

/** The history with a version that is `ticks` (1 or more) older than the reference; bit `i` is the one `i + 1` ticks before it. */
export function withAcked(history: number, ticks: number): number {
  return ticks > ACKED_TICKS ? history : newestOf(history | (1 << (ticks - 1)));
}

/** The newest {@linkcode ACKED_VERSIONS} of a history. */
export function newestAcked(history: number): number {
  let kept = 0;
  for (let rest = history, left = ACKED_VERSIONS; rest !== 0 && left > 0; rest &= rest - 1) {
    kept |= rest & -rest;
    left -= 1;
  }
  return kept;
}

/** Bits that are set. */
export function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

function newestOf(history: number): number {
  return bitCount(history) > ACKED_VERSIONS ? history ^ (1 << (31 - Math.clz32(history))) : history;
}
