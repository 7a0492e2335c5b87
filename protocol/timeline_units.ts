// Units of the world's one timeline. A tick is 1 / tickHz seconds; a sample time counts 1/64 ticks.

/** Sub-ticks in a tick: at 30 Hz one is 0.52 ms, at 1 m/s half a millimetre. */
export const SUBTICKS = 64;

/** A point on the timeline: `tick * SUBTICKS + sub`, a whole number below 2^38. */
export type TimelineTime = number;

/** The tick that a timeline time falls into. */
export function tickOf(time: TimelineTime): number {
  return Math.floor(time / SUBTICKS);
}
