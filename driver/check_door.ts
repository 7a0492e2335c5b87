// Between the server's door for peers' writes and the checks against cheating: what the checks need of the world, and their reports to the
// engine. It refuses nothing itself and sends nothing to peers.

import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { type ComponentValue, copyValue, createValue } from "../replication/value.ts";
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

  /** Judges the fields of a write to component `c`, sampled as its peer claims; returns the value to apply, valid until the next call. */
  judge(
    peer: ServerPeer,
    id: EntityId,
    c: number,
    fields: number,
    value: ComponentValue,
    claimed: TimelineTime,
    time: TimelineTime,
    nowMs: number,
  ): ComponentValue {
    const { grants, world } = this.#state;
    const write = this.#write;
    let judged = value;
    if (grants.components[c]!.checks.length > 0) {
      // What came stays as it came, for whoever looks at it afterwards.
      judged = this.#values[c]!;
      copyValue(value, judged);
      const present = this.#present[c]!;
      write.present = world.isAlive(id) && world.read(id, c, present) ? present : undefined;
    }
    write.peer = peer.peer;
    write.role = peer.role;
    write.id = id;
    write.fields = fields;
    write.value = judged;
    write.sampled = clampSampleTime(claimed, time, grants.tickHz);
    write.nowMs = nowMs;
    this.#checks.judge(c, write);
    return judged;
  }

  /** The spawn whose components were judged has come to life. */
  settle(peer: ServerPeer, components: readonly number[]): void {
    for (const c of components) this.#checks.settle(peer.peer, c);
  }

  /** The peer ends its entity. */
  bury(peer: ServerPeer, id: EntityId, nowMs: number): void {
    this.#checks.bury(peer.peer, id, nowMs);
  }

  /** The entity is gone, or was never spawned. */
  forget(id: EntityId): void {
    this.#checks.forget(id);
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
