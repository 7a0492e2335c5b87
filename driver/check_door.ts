// Between the server's door for peers' writes and the checks against cheating: what the checks need of the world, and their reports to the
// engine. It refuses nothing itself and sends nothing to peers.

import { assert } from "../protocol/assert.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { isLaneInRange, setNeutral } from "../replication/quantise.ts";
import { type ComponentValue, copyFields, copyValue, createValue } from "../replication/value.ts";
import { clampSampleTime } from "./sample_time.ts";
import type { ServerPeer } from "./server_peer.ts";
import type { ServerState } from "./server_state.ts";
import { type BrokenCheck, type JudgedWrite, WriteChecks } from "./write_checks.ts";

/** Judges one write after another; the getters speak of the last one. */
export class CheckDoor {
  readonly #state: ServerState;
  readonly #checks: WriteChecks;
  readonly #values: ComponentValue[];
  readonly #present: ComponentValue[];
  readonly #write: JudgedWrite;

  /** Judges writes to the state's world. */
  constructor(state: ServerState) {
    const { components } = state.grants;
    this.#state = state;
    this.#checks = new WriteChecks(state.grants, (broken) => this.#tell(broken));
    this.#values = components.map((component) => createValue(component));
    this.#present = components.map((component) => createValue(component));
    this.#write = {
      peer: 0,
      role: 0,
      id: NO_ENTITY,
      fields: 0,
      value: { lanes: new Int32Array(0), blobs: [] },
      present: undefined,
      sampled: 0,
      nowMs: 0,
    };
  }

  /** Fields that must keep what they have. */
  get refused(): number {
    return this.#checks.refused;
  }

  /** Fields that broke a check and were not taken as they came, refused ones among them. */
  get broken(): number {
    return this.#checks.refused | this.#checks.clamped;
  }

  /** The sample time as far as it is believed, never before that of the write before. */
  get sampled(): TimelineTime {
    return this.#checks.sampled;
  }

  /**
   * Judges the fields of a write to component `c`, sampled as its peer claims; returns the value to apply, valid until the next call.
   *
   * A component that is not there yet is judged whole, as it would stand in the world: in fields that it did not give the peer has the neutral
   * value, and is judged by that where it could have given another, out of `writable` ones. `fieldsAdded` says which fields those are.
   */
  judge(
    peer: ServerPeer,
    id: EntityId,
    c: number,
    fields: number,
    writable: number,
    value: ComponentValue,
    claimed: TimelineTime,
    time: TimelineTime,
    nowMs: number,
  ): ComponentValue {
    const { grants } = this.#state;
    const component = grants.components[c]!;
    const write = this.#write;
    let judged = value;
    let judgedFields = fields;
    if (component.checks.length > 0) {
      // What came stays as it came, for whoever looks at it afterwards.
      judged = this.#values[c]!;
      write.present = this.#read(id, c);
      if (write.present === undefined) {
        setNeutral(component, judged);
        copyFields(component, value, judged, fields);
        judgedFields = this.fieldsAdded(c, fields, writable);
      } else copyValue(value, judged);
    }
    write.peer = peer.peer;
    write.role = peer.role;
    write.id = id;
    write.fields = judgedFields;
    write.value = judged;
    write.sampled = clampSampleTime(claimed, time, grants.tickHz);
    write.nowMs = nowMs;
    this.#checks.judge(c, write);
    for (const field of component.fields) {
      if ((this.#checks.clamped & (1 << field.index)) === 0) continue;
      for (let i = 0; i < field.lanes; i++) {
        const isInRange = isLaneInRange(field, i, judged.lanes[field.laneOffset + i]!);
        assert(isInRange, "a clamped value lies in its field's range");
      }
    }
    return judged;
  }

  /** Fields that a judged value of a component to be added sets: those that were given, and checked ones that could have been. */
  fieldsAdded(c: number, fields: number, writable: number): number {
    return fields | (this.#checks.checkedFields(c) & writable);
  }

  /** The spawn whose components were judged has come to life. */
  settle(peer: ServerPeer, components: readonly number[]): void {
    for (const c of components) this.#checks.settle(peer.peer, c);
  }

  /** The peer ends its entity. */
  bury(peer: ServerPeer, id: EntityId, nowMs: number): void {
    this.#checks.bury(peer.peer, id, (c) => this.#read(id, c), nowMs);
  }

  /** Its owner takes component `c` away. */
  remove(id: EntityId, c: number, nowMs: number): void {
    const present = this.#read(id, c);
    if (present !== undefined) this.#checks.remove(id, c, present, nowMs);
  }

  /** Erases what was remembered for long enough; call it with every tick. */
  expire(nowMs: number): void {
    this.#checks.expire(nowMs);
  }

  /** The entity is gone, or was never spawned. */
  forget(id: EntityId): void {
    this.#checks.forget(id);
  }

  /** What the world holds now. */
  #read(id: EntityId, c: number): ComponentValue | undefined {
    const { world } = this.#state;
    const present = this.#present[c]!;
    return world.isAlive(id) && world.read(id, c, present) ? present : undefined;
  }

  #tell({ component, ...broken }: BrokenCheck): void {
    const { violations, handles, counters, log, nowMs } = this.#state;
    counters.add("violations");
    log.write(LogCode.CheckBroken, nowMs, this.#write.peer, component.id, broken.field);
    violations.record({
      ...broken,
      peer: this.#write.peer,
      handle: handles.handleOf(this.#write.id),
      componentId: component.id,
      count: 1,
    });
  }
}
