// How far a peer's word about time is believed. Pure arithmetic on the timeline.

import { OWNER_TIME_AHEAD_MS, OWNER_TIME_BEHIND_MS } from "../protocol/limits.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";

/** A sample time that a peer claims, kept within what its path and its clock can explain. */
export function clampSampleTime(
  sampled: TimelineTime,
  now: TimelineTime,
  tickHz: number,
): TimelineTime {
  const unitsPerMs = tickHz * SUBTICKS / 1000;
  const oldest = Math.floor(now - OWNER_TIME_BEHIND_MS * unitsPerMs);
  const newest = Math.ceil(now + OWNER_TIME_AHEAD_MS * unitsPerMs);
  return Math.max(0, Math.min(newest, Math.max(oldest, sampled)));
}
