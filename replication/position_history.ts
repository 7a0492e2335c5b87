// Where an entity was at a time on the timeline, out of the versions kept of its position. Used for the world's columns and for what a
// link has received alike; it knows neither.

import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { FieldGrant } from "../permissions/grants.ts";
import { dequantiseField } from "./quantise.ts";
import type { VersionStore } from "./version_store.ts";

const before = new Float64Array(3);
const after = new Float64Array(3);

/**
 * Position in metres of `row` at `time` into `out[0..2]`: on the line between the two versions sampled before and after it, else that of
 * the nearest one kept. The row has at least one version.
 */
export function positionFromHistory(
  store: VersionStore,
  row: number,
  field: FieldGrant,
  time: TimelineTime,
  out: Float64Array,
): void {
  let later = -1;
  let earlier = store.newest(row);
  while (store.time(earlier) > time && store.older(earlier) >= 0) {
    later = earlier;
    earlier = store.older(earlier);
  }
  load(store, earlier, field, before);
  if (later < 0 || store.time(earlier) >= time) {
    out.set(before);
    return;
  }
  load(store, later, field, after);
  const share = (time - store.time(earlier)) / (store.time(later) - store.time(earlier));
  for (let axis = 0; axis < 3; axis++) {
    out[axis] = before[axis]! + (after[axis]! - before[axis]!) * share;
  }
}

function load(store: VersionStore, version: number, field: FieldGrant, out: Float64Array): void {
  dequantiseField(field, store.lanes, version * store.laneCount + field.laneOffset, out, 0);
}
