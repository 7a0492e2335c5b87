// The versions of one component that a peer has acknowledged before its reference: what a value may be foretold from, and which of them a
// value is. One word says it all.

import { MAX_BEFORE } from "./coding/motion_codec.ts";

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

/**
 * Which versions of a history a value is foretold from: those a whole number of units before the reference, a unit being the least gap, and at
 * most {@linkcode MAX_BEFORE}. Where the third or one behind it is missing, the first two alone: they foretell almost as well, and peers that
 * lost different datagrams are then sent the same bits.
 */
export function foretellingOf(history: number): number {
  let unit = ACKED_TICKS;
  for (let rest = history, last = 0; rest !== 0; rest &= rest - 1) {
    const age = ageOfNewest(rest);
    if (age - last < unit) unit = age - last;
    last = age;
  }
  let chosen = 0;
  let inRow = 0;
  for (let rest = history; rest !== 0; rest &= rest - 1) {
    const units = ageOfNewest(rest) / unit;
    if (units > MAX_BEFORE) break;
    if (units !== Math.floor(units)) continue;
    if (units === inRow + 1) inRow += 1;
    else if (inRow >= 2) break;
    chosen |= rest & -rest;
  }
  if (inRow < 2 || inRow === MAX_BEFORE) return chosen;
  return (1 << (unit - 1)) | (1 << (2 * unit - 1));
}

/** Ticks from the reference back to the newest version of a history that has one. */
export function ageOfNewest(history: number): number {
  return 32 - Math.clz32(history & -history);
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
