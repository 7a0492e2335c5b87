// What decoded bytes must mean: the decoders' view of a run beside what the cores hold. The cores are asked through their own public reads;
// the decoders' numbers come from the page alone.

import { assert, assertEquals } from "@std/assert";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { createValue } from "../../replication/value.ts";
import type { ServerCore } from "../../driver/server_core.ts";
import type { DriverEnd } from "./driver_end.ts";
import type { EngineEnd, Stamped } from "./engine_end.ts";
import type { ReadLink } from "./recording.ts";
import type { SnapshotReceiver } from "./snapshot.ts";
import { type FieldValue, maskOf, type Value } from "./values.ts";

/** A value as comparable text, the fields of `mask` only. */
export function textOfValue(value: Value, mask: number): string {
  return value.map((field, i) => (mask >>> i) % 2 === 1 ? String(field ?? "none") : "-").join(
    " | ",
  );
}

/** A component of the server's world in the decoders' form. */
export function serverValue(core: ServerCore, component: ComponentGrant, id: number): Value {
  const value = createValue(component);
  assert(
    core.world.read(id, component.index, value),
    `the server holds ${component.name} of ${id}`,
  );
  return component.fields.map((field): FieldValue => {
    if (field.blobIndex >= 0) return value.blobs[field.blobIndex]!;
    const lanes = value.lanes.subarray(field.laneOffset, field.laneOffset + field.lanes);
    return Array.from(lanes, (lane) => lane >>> 0);
  });
}

/**
 * The newest values that a client's end decoded equal what the server's core holds; returns how many were compared. What the client
 * itself writes is not sent to it, and is compared at the other end.
 */
export function compareDown(
  { snapshots, peer }: { readonly snapshots: SnapshotReceiver; readonly peer: number },
  core: ServerCore,
  grants: Grants,
  label: string,
): number {
  let compared = 0;
  for (const [id, entity] of snapshots.entities) {
    const { header } = entity;
    if (header === undefined || header.state === "gone") {
      if (header !== undefined) assert(!core.world.isAlive(id), `${label}: ${id} is gone`);
      continue;
    }
    assert(core.world.isAlive(id), `${label}: ${id} lives`);
    if (header.state === "outOfView") continue;
    assertEquals(header.owner, core.world.owner(id), `${label}: owner of ${id}`);
    assertEquals(header.epoch, core.world.epoch(id) & 0xff, `${label}: epoch of ${id}`);
    for (const [index, isHidden] of header.components) {
      if (isHidden) continue;
      const component = grants.components[index]!;
      if (header.owner === peer && component.authority === "owner") continue;
      const newest = snapshots.newest(id, index);
      assert(newest !== undefined, `${label}: ${component.name} of ${id} has arrived`);
      const mask = maskOf(newest.value);
      const held = serverValue(core, component, id);
      const what = `${label}: ${component.name} of ${id}`;
      assertEquals(textOfValue(newest.value, mask), textOfValue(held, mask), what);
      assertEquals(newest.sampleTime, core.world.versionTime(id, index), `${what}, sample time`);
      compared += 1;
    }
  }
  return compared;
}

/**
 * The newest values that the server's end decoded of a client's own entities equal what the server's core holds. Where the server has
 * overridden something since (the epoch grew), the world holds another value, and the client's end must have been told.
 */
export function compareUp(
  { snapshots, arrivals, peer }: Pick<DriverEnd, "snapshots" | "arrivals" | "peer">,
  core: ServerCore,
  grants: Grants,
  label: string,
): number {
  let compared = 0;
  for (const [id, { header }] of snapshots.entities) {
    if (header?.state !== "alive" || core.world.owner(id) !== peer) continue;
    const epoch = core.world.epoch(id) & 0xff;
    assertEquals(header.epoch, epoch, `${label}: epoch of ${id}`);
    for (const [index, isHidden] of header.components) {
      const what = `${label}: component ${index} of ${id}`;
      if (isHidden) {
        assert(core.world.hasComponent(id, index), `${what} is kept back, and is there`);
        continue;
      }
      const last = arrivals.findLast((a) => a.entity === id && a.component === index);
      assert(last !== undefined, `${what} has arrived`);
      if (last.epoch !== epoch) continue;
      const { value, sampleTime } = last.version;
      const held = serverValue(core, grants.components[index]!, id);
      assertEquals(textOfValue(value, maskOf(value)), textOfValue(held, maskOf(value)), what);
      assertEquals(sampleTime, core.world.versionTime(id, index), `${what}, sample time`);
      compared += 1;
    }
  }
  return compared;
}

/** Everything that engines sent, by entity, component and sample time. */
export class Said {
  readonly #values = new Map<string, Stamped["fields"][]>();

  /** Adds what one engine sent. */
  add(engine: EngineEnd): void {
    for (const { handle, component, time, fields } of engine.stamped) {
      const key = `${engine.ids.get(handle)} ${component} ${time}`;
      const values = this.#values.get(key) ?? [];
      values.push(fields);
      this.#values.set(key, values);
    }
  }

  /** How many different values it holds. */
  get size(): number {
    return this.#values.size;
  }

  /** Every arrival at `end` is what some engine said of this entity for exactly this sample time. */
  compareArrivals(end: DriverEnd, label: string): number {
    const { arrivals } = end;
    for (const { entity, component, version } of arrivals) {
      const what = `${label}: component ${component} of ${entity} at ${version.sampleTime}`;
      const said = this.#values.get(`${entity} ${component} ${version.sampleTime}`);
      assert(said !== undefined, `${what}: nobody said anything for this time`);
      const mask = maskOf(version.value);
      const arrived = textOfValue(version.value, mask);
      const texts = said.map((fields) => textOfValue(fields as Value, mask));
      assert(texts.includes(arrived), `${what}: ${arrived}, not ${texts}`);
    }
    return arrivals.length;
  }
}

/** Both ends of one connection agree with each other about what arrived. */
export function compareEnds(link: ReadLink, label: string): void {
  const pairs = [
    [link.clientEnd, link.serverEnd, "up"],
    [link.serverEnd, link.clientEnd, "down"],
  ] as const;
  for (const [sender, receiver, way] of pairs) {
    for (const number of sender.acknowledgedByPeer) {
      assert(receiver.received.has(number), `${label} ${way}: ${number} was received`);
    }
    // Every datagram with sections asks for an acknowledgement; the last slot's may be on its way, and the path loses some.
    const missing = [...receiver.received].filter(([number, got]) =>
      got.hasSections && !sender.acknowledgedByPeer.has(number)
    );
    const share = missing.length / Math.max(1, receiver.received.size);
    assert(share < 0.05, `${label} ${way}: ${missing.length} were never acknowledged`);
    assertEquals(
      receiver.controlIn,
      sender.controlOut.slice(0, receiver.controlIn.length),
      `${label} ${way}: control messages`,
    );
  }
}

/** The hash of an entity's state as the page defines it, from decoded values. */
export function hashOf(
  ids: readonly number[],
  values: readonly (Value | undefined)[],
): number {
  let hash = 0x811c9dc5;
  const byte = (value: number) => {
    hash = Math.imul(hash ^ value, 0x0100_0193) >>> 0;
  };
  const word = (value: number) => {
    for (let i = 0; i < 4; i++) byte(Math.floor(value / 256 ** i) % 256);
  };
  values.forEach((value, i) => {
    if (value === undefined) return;
    word(ids[i]!);
    for (const field of value) {
      if (field instanceof Uint8Array) {
        word(field.length);
        field.forEach(byte);
      } else field?.forEach(word);
    }
  });
  return hash;
}
