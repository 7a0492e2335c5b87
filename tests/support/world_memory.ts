// Fills every table of a server's world that grows with entities, kind by kind, and prints how many bytes of array buffers each kind took. It
// runs as a program of its own, so that nothing else allocates: `deno run --v8-flags=--expose-gc`.

import { createHash } from "node:crypto";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { RateLimiter } from "../../permissions/rate_limiter.ts";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { PeerIds } from "../../driver/peer_ids.ts";
import { WriteChecks } from "../../driver/write_checks.ts";
import { WriterTable } from "../../driver/writer_table.ts";

declare const gc: () => void;

const [file = ""] = Deno.args;
const grants = compileGrants(
  parseManifest(Deno.readTextFileSync(file), file),
  (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
);
const { components, maxEntities } = grants;
const ids = Array.from({ length: maxEntities }, (_, i) => makeEntityId(i + 1, 0));
const values = components.map((component) => createValue(component));
/** What has been made, so that it lives. */
const kept: unknown[] = [];
const grew: Record<string, number> = {};

/** Bytes of array buffers, once what is garbage is gone: the runtime frees them beside its own work. */
async function bufferBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return Deno.memoryUsage().external;
}

async function measure(kind: string, make: () => unknown): Promise<void> {
  const before = await bufferBytes();
  kept.push(make());
  grew[kind] = await bufferBytes() - before;
}

const world = new World(grants);
await measure("world: values", () => {
  for (const id of ids) {
    world.spawn(id, 1, 1);
    values.forEach((value, c) => world.addComponent(id, c, value, 1, 0));
  }
  for (let tick = 2; tick < 200; tick++) {
    for (const id of ids) {
      for (const [c, value] of values.entries()) {
        value.lanes.fill(tick);
        for (let i = 0; i < value.blobs.length; i++) {
          value.blobs[i] = new Uint8Array(
            components[c]!.fields.find((f) => f.maxBytes > 0)!.maxBytes,
          )
            .fill(tick);
        }
        world.write(id, c, components[c]!.allFields, value, tick, 0);
      }
    }
    world.expire(tick);
  }
  return world;
});
await measure("world: ids", () => {
  const peerIds = new PeerIds(maxEntities, grants.maxEntitiesPerPeer);
  const taken = ids.map(() => peerIds.allocate()!);
  for (const id of taken) peerIds.release(id);
  const interest = new Interest(grants, world);
  const candidates = createInterestResult();
  interest.rebuild();
  interest.query(undefined, candidates);
  return [peerIds, interest, candidates];
});
await measure("world: rates", () => {
  const limiters = [...components, grants.voice].map(({ rateHz }) =>
    new RateLimiter({ rateHz: Math.max(1, rateHz), maxKeys: maxEntities + 1 })
  );
  for (const limiter of limiters) {
    for (let slot = 1; slot <= maxEntities; slot++) limiter.take(slot, 1);
  }
  const writers = new WriterTable(grants);
  for (const { index, authority, allFields } of components) {
    if (authority !== "owner") continue;
    for (const id of ids) writers.noteAdded(id, index, 1, allFields);
  }
  return [limiters, writers];
});
await measure("world: checks", () => {
  const checks = new WriteChecks(grants, () => {});
  for (const { index, allFields, checks: declared } of components) {
    if (declared.length === 0) continue;
    const [value, held] = [createValue(components[index]!), createValue(components[index]!)];
    for (const id of ids) {
      for (let i = 0; i < 3; i++) {
        value.lanes.fill(i);
        checks.judge(index, {
          peer: 1,
          role: 1,
          id,
          fields: allFields,
          value,
          present: i === 0 ? undefined : held,
          sampled: i * 100,
          nowMs: i * 100,
        });
      }
    }
  }
  return checks;
});
console.log(JSON.stringify({ grew, kept: kept.length }));
