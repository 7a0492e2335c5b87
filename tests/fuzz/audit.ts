// Looks into clients' memory: what their drivers hold of the world as references, and what their engines' worlds hold. All of it must have
// been theirs to read when it came; and some time after a right is gone, nothing of it may be left.

import { createValue } from "../../replication/value.ts";
import type { Client, PermissionRun } from "./permission_run.ts";
import { eachKey } from "./fresh_values.ts";
import { keyOf, neutralKeys } from "./values.ts";

/** A right is surely gone everywhere after so long without a change, ms: lost datagrams, a broken link and a resumption included. */
export const SETTLED_MS = 4_000;

/** Judges all that every joined client holds. */
export function auditClients(run: PermissionRun): void {
  for (const client of run.pair.clients) {
    const { peer } = client.engine;
    if (!run.isConnected(client) || peer === undefined || !run.judge.hasPeer(peer)) continue;
    auditDriver(run, client, peer);
    auditEngine(run, client, peer);
  }
}

/** The newest versions that the client's driver holds. */
function auditDriver(run: PermissionRun, client: Client, peer: number): void {
  const { judge } = run;
  const receiver = run.receivers.of(client);
  const { world } = run.pair.server.core;
  if (receiver === undefined) return;
  for (let slot = 1; slot <= world.maxSlot; slot++) {
    const id = world.idAt(slot);
    if (id === 0) continue;
    for (const component of judge.grants.components) {
      const value = createValue(component);
      const mask = receiver.read(id, component.index, value);
      for (const field of component.fields) {
        if ((mask & (1 << field.index)) === 0) continue;
        judge.arrived(peer, id, component, field.index, keyOf(field, value));
        if (!judge.isSettled(peer, id, run.pair.network.now - SETTLED_MS)) continue;
        if (judge.mayKnowNow(peer, id, component.name, field.name)) continue;
        judge.find(
          "retained",
          `peer ${peer}'s driver keeps ${component.name}.${field.name} of ${id}`,
        );
      }
    }
  }
}

/** What the client's engine believes of entities that are not its own. */
function auditEngine(run: PermissionRun, client: Client, peer: number): void {
  const { judge } = run;
  const { engine, world } = client;
  for (const handle of world.handles()) {
    const id = engine.networkIdOf(handle);
    // Of its own entities it holds what it wrote itself.
    if (id === 0 || engine.isOwn(handle) || judge.ownerOf(id) === peer) continue;
    if (!judge.isSettled(peer, id, run.pair.network.now - SETTLED_MS)) continue;
    for (const component of judge.grants.components) {
      const values = world.read(handle, component.name);
      if (values === undefined) continue;
      const neutral = neutralKeys(component);
      eachKey(client, component, values, (field, key) => {
        const { name } = component.fields[field]!;
        if (key === neutral[field] || judge.mayKnowNow(peer, id, component.name, name)) return;
        // What never was the world's is its own invention: a write of a former owner that came too late.
        if (!judge.wasEver(id, component.index, field, key)) return;
        judge.find("retained", `peer ${peer}'s engine keeps ${component.name}.${name} of ${id}`);
      });
    }
  }
}
