// Do all engines of a pair believe in the same world? Compares what game code would see, quantised, entity by entity and field by field,
// with the rights of each reader. The drivers' own columns are compared beside it.

import type { Adjustments } from "../../permissions/adjustments.ts";
import { type Grants, readMaskOf } from "../../permissions/grants.ts";
import { setNeutral } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { quantiseValues } from "../../engine/values.ts";
import type { EngineLink } from "../../engine/engine_link.ts";
import type { Pair, PairNode } from "./pair.ts";

/** Which components a client sees of an entity besides its rights: interest. All, where a test does not say. */
export type Sees = (client: number, id: number, component: string) => boolean;

/** Everything in which the clients' engines differ from the server's, in words; empty when they agree. */
export function disagreements(
  pair: Pair,
  sees: Sees = () => true,
  adjusted: (peer: number) => Adjustments | undefined = () => undefined,
): string[] {
  const found: string[] = [];
  const server = stateOf(pair.server, pair.grants);
  for (const [index, client] of pair.clients.entries()) {
    if (!client.core.isJoined) continue;
    const theirs = stateOf(client, pair.grants);
    const peer = client.engine.peer!;
    const role = pair.grants.roles.find((one) => one.name === client.engine.roleName)!.index;
    for (const [id, entity] of server) {
      const isOwn = entity.owner === peer;
      let visible = isOwn;
      for (const component of pair.grants.components) {
        const { name } = component;
        const mask = readMaskOf(component, role, isOwn, adjusted(peer));
        const value = entity.components.get(name);
        if (value === undefined || mask === 0 || (!isOwn && !sees(index, id, name))) continue;
        visible = true;
        const other = theirs.get(id)?.components.get(name);
        if (other === undefined) {
          found.push(`client ${index}: ${name} of ${id} is missing`);
          continue;
        }
        for (const field of component.fields) {
          if ((mask & (1 << field.index)) === 0) continue;
          const a = value[field.index]!;
          const b = other[field.index]!;
          if (a !== b) found.push(`client ${index}: ${name}.${field.name} of ${id}: ${a} != ${b}`);
        }
      }
      const other = theirs.get(id);
      if (visible && other !== undefined && other.owner !== entity.owner) {
        found.push(`client ${index}: owner of ${id}: ${entity.owner} != ${other.owner}`);
      }
    }
    for (const [id, entity] of theirs) {
      const known = server.get(id);
      if (known === undefined) {
        found.push(`client ${index}: ${id} is not at the server`);
        continue;
      }
      for (const name of entity.components.keys()) {
        if (!known.components.has(name) && sees(index, id, name)) {
          found.push(`client ${index}: ${name} of ${id} is not at the server`);
        }
      }
    }
  }
  return found;
}

interface EntityState {
  readonly owner: number;
  /** Fields as text, by component. */
  readonly components: Map<string, string[]>;
}

function stateOf(
  node: PairNode<never> | PairNode,
  grants: Grants,
): Map<number, EntityState> {
  const { engine, world } = node as PairNode;
  const state = new Map<number, EntityState>();
  for (const handle of world.handles()) {
    const id = engine.networkIdOf(handle);
    if (id === 0) continue;
    const components = new Map<string, string[]>();
    for (const component of grants.components) {
      const values = world.read(handle, component.name);
      if (values === undefined) continue;
      const value = createValue(component);
      setNeutral(component, value);
      quantiseValues(component, values, component.allFields, value, () => true);
      components.set(
        component.name,
        component.fields.map((field) => {
          if (field.blobIndex >= 0) {
            const bytes = value.blobs[field.blobIndex]!;
            return `${bytes.length}:${hashOf(bytes)}`;
          }
          if (field.kind === "entity") {
            return String(nameOf(engine, value.lanes[field.laneOffset]! >>> 0));
          }
          return value.lanes.slice(field.laneOffset, field.laneOffset + field.lanes).join(",");
        }),
      );
    }
    state.set(id, { owner: engine.ownerOf(handle) ?? -1, components });
  }
  return state;
}

function nameOf(engine: EngineLink, handle: number): number {
  return handle === 0 ? 0 : engine.networkIdOf(handle);
}

function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
