// The driver's place in the engine's dataflow: one node where packets come in, one where they go out, with the streams of each.

import type { Grants } from "../permissions/grants.ts";

/** A node: name, direction seen from the network, streams. */
export type DataflowNode = readonly [string, "input" | "output", readonly string[]];

/** The nodes of a driver with these grants; a stream appears only where the manifest grants anything of its kind. */
export function nodesOf(grants: Grants): DataflowNode[] {
  const streams = [
    "state",
    ...(grants.events.length > 0 ? ["events"] : []),
    ...(grants.channels.length > 0 ? ["channels"] : []),
    ...(grants.voice.speakRoles !== 0 ? ["voice"] : []),
  ];
  return [
    ["network.in", "input", streams],
    ["network.out", "output", streams],
  ];
}
