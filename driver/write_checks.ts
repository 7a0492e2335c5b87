// Server-side checks against cheating: what peers write to checked fields, judged before it reaches the world. It remembers each entity's last
// value and times, knows neither peers' links nor the world, and refuses by words alone: its caller applies, tells and puts right.

import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import {
  CHECK_MEMORY_MS,
  CHECK_SILENCE_S,
  MAX_CHECK_MEMORIES,
  MAX_COMPONENTS,
} from "../protocol/limits.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import type { Grants } from "../permissions/grants.ts";
import { type ComponentValue, sameBytes, sameLanes } from "../replication/value.ts";
import { type BrokenCheck, ComponentChecks, type ComponentMemory } from "./component_checks.ts";
import { type FieldChecker, Judgement } from "./field_checker.ts";

export type { BrokenCheck } from "./component_checks.ts";

/** One write to judge; the caller may use the same object again and again. */
export interface JudgedWrite {
  /** Who writes. */
  peer: number;
  /** Role index of the writer. */
  role: number;
  id: EntityId;
  /** Fields that would be written; of a component that is not there yet, all that the peer could have written. */
  fields: number;
  /** The value; lanes of clamped fields are changed in it. Of a component that is not there yet, the whole one. */
  value: ComponentValue;
  /** What the world holds now; undefined while the entity is without the component. */
  present: ComponentValue | undefined;
  /** Sample time, as far as it is believed. */
  sampled: TimelineTime;
  nowMs: number;
}

/** Reads what the world holds of a component; undefined where the entity is without it. Valid until the next call. */
export type ReadPresent = (c: number) => ComponentValue | undefined;

/** Time, ms, between two looks for components that were removed too long ago. */
const EXPIRE_MS = 1_000;

/**
 * Judges what peers write.
 *
 * For each write to a component with checks, once every other rule has let it pass: `judge`, then look at `refused`, `clamped` and `sampled`.
 * For a spawn: `judge` each component without a present value, then `settle`, or `forget` when the spawn is refused. `bury` before an owner's
 * despawn, `remove` before it takes a component away, `forget` after any despawn, `expire` with every tick. Times do not go back.
 */
export class WriteChecks {
  /** Fields of the write judged last that must keep what they have. */
  refused = 0;
  /** Fields of it that were changed in its value. */
  clamped = 0;
  /** Its sample time, never before that of the write before. */
  sampled: TimelineTime = 0;
  readonly #components: readonly (ComponentChecks | undefined)[];
  readonly #unitsPerS: number;
  /** By peer and component, oldest first, with the time of the end. Ids of peers rest for longer than a memory lasts. */
  readonly #memories = new Map<number, { readonly ms: number; readonly memory: ComponentMemory }>();
  #expireMs = -Infinity;

  /** @param tell Takes each limit that the write judged at the moment breaks. */
  constructor(grants: Grants, tell: (broken: BrokenCheck) => void) {
    this.#components = grants.components.map((component) =>
      component.checks.length === 0
        ? undefined
        : new ComponentChecks(component, grants.maxEntities + 1, tell)
    );
    this.#unitsPerS = grants.tickHz * SUBTICKS;
  }

  /** Ended entities that are remembered. */
  get memoryCount(): number {
    return this.#memories.size;
  }

  /** Fields of a component that are checked. */
  checkedFields(c: number): number {
    return this.#components[c]?.fields ?? 0;
  }

  /** Judges a write to component `c`. */
  judge(c: number, write: JudgedWrite): void {
    this.refused = 0;
    this.clamped = 0;
    this.sampled = write.sampled;
    const state = this.#components[c];
    if (state === undefined) return;
    const { present, nowMs } = write;
    const slot = entitySlot(write.id);
    state.reserve(slot);
    if (present === undefined && !state.remembers(slot, nowMs)) {
      if (!this.#recall(state, slot, write)) return this.#begin(state, slot, write);
    }
    if (present !== undefined && !state.knows(slot)) {
      // Its value came from the server's engine: this is the first write of a peer, who may have moved it for as long as any silence.
      state.begin(slot, present, nowMs, write.sampled / this.#unitsPerS, CHECK_SILENCE_S);
    }
    const elapsedS = (nowMs - state.lastMs(slot)) / 1000;
    const sampleS = Math.max(write.sampled / this.#unitsPerS, state.lastS(slot));
    this.sampled = Math.max(write.sampled, Math.round(sampleS * this.#unitsPerS));
    state.advance(slot, nowMs, sampleS);
    if (present !== undefined) state.synchronise(slot, present);
    for (const checker of state.checkers) {
      this.#judgeField(state, checker, slot, write, sampleS, elapsedS);
    }
    if (present !== undefined || this.refused === 0) {
      state.accept(slot, write.fields & ~this.refused, write.value);
      state.restored(slot);
    }
    const broken = this.refused | this.clamped;
    for (const checker of state.checkers) {
      if ((broken & (1 << checker.field.index)) !== 0) checker.hold(slot);
    }
  }

  /** The spawn of `peer` whose components were judged has come to life. */
  settle(peer: number, c: number): void {
    this.#memories.delete(peer * MAX_COMPONENTS + c);
  }

  /** The owner ends its entity: where it may have only one with a component, its next one goes on from there. */
  bury(peer: number, id: EntityId, read: ReadPresent, nowMs: number): void {
    const slot = entitySlot(id);
    for (const state of this.#components) {
      if (state === undefined || state.component.spawnMax !== 1) continue;
      const { index } = state.component;
      if (!this.#catchUp(state, slot, read(index), nowMs)) continue;
      const key = peer * MAX_COMPONENTS + index;
      this.#memories.delete(key);
      this.#memories.set(key, { ms: nowMs, memory: state.remember(slot) });
    }
    this.#bound(nowMs);
  }

  /** The owner takes component `c` away, which the world holds as `present`: if it adds it again, it goes on from there. */
  remove(id: EntityId, c: number, present: ComponentValue, nowMs: number): void {
    const state = this.#components[c];
    if (state === undefined) return;
    this.#catchUp(state, entitySlot(id), present, nowMs);
    state.removed(entitySlot(id), nowMs);
  }

  /** The entity is gone, or was never spawned. */
  forget(id: EntityId): void {
    for (const state of this.#components) state?.forget(entitySlot(id));
  }

  /** Erases what was remembered for long enough. */
  expire(nowMs: number): void {
    this.#bound(nowMs);
    if (nowMs < this.#expireMs) return;
    this.#expireMs = nowMs + EXPIRE_MS;
    for (const state of this.#components) state?.expire(nowMs);
  }

  #bound(nowMs: number): void {
    for (const [oldest, { ms }] of this.#memories) {
      const isOver = nowMs - ms >= CHECK_MEMORY_MS;
      if (!isOver && this.#memories.size <= MAX_CHECK_MEMORIES) break;
      this.#memories.delete(oldest);
    }
  }

  /** Brings what is known of a slot to what the world holds; false when there is nothing to go on from. */
  #catchUp(
    state: ComponentChecks,
    slot: number,
    present: ComponentValue | undefined,
    nowMs: number,
  ): boolean {
    if (present === undefined) return state.remembers(slot, nowMs);
    state.reserve(slot);
    // No peer has written it yet, and the sample time of the next write is not known.
    if (!state.knows(slot)) state.begin(slot, present, nowMs, 0, CHECK_SILENCE_S);
    else state.synchronise(slot, present);
    return true;
  }

  /** A first value: only its place can be judged. */
  #begin(state: ComponentChecks, slot: number, write: JudgedWrite): void {
    const { value, fields, role } = write;
    for (const checker of state.checkers) {
      const { field } = checker;
      if ((fields & (1 << field.index)) === 0 || isExempt(checker, role)) continue;
      this.#note(field.index, checker.judgeFirst(value.lanes, field.laneOffset));
    }
    if (this.refused !== 0) return;
    state.begin(slot, value, write.nowMs, write.sampled / this.#unitsPerS, 0);
  }

  /** Goes on from where the peer's last entity with the component ended, if that was the only one it may have. */
  #recall(state: ComponentChecks, slot: number, { peer, nowMs }: JudgedWrite): boolean {
    const known = this.#memories.get(peer * MAX_COMPONENTS + state.component.index);
    if (known === undefined || nowMs - known.ms >= CHECK_MEMORY_MS) return false;
    state.resume(slot, known.memory);
    return true;
  }

  #judgeField(
    state: ComponentChecks,
    checker: FieldChecker,
    slot: number,
    write: JudgedWrite,
    sampleS: number,
    elapsedS: number,
  ): void {
    const { field } = checker;
    const { value, present } = write;
    if ((write.fields & (1 << field.index)) === 0) return;
    if (isExempt(checker, write.role)) return checker.pause(slot);
    const at = slot * state.component.laneCount + field.laneOffset;
    const isSame = field.blobIndex >= 0
      ? present !== undefined &&
        sameBytes(value.blobs[field.blobIndex]!, present.blobs[field.blobIndex]!)
      : sameLanes(state.lanes, at, value.lanes, field.laneOffset, field.lanes);
    if (isSame) return;
    const judgement = checker.judge(
      slot,
      state.lanes,
      at,
      value.lanes,
      field.laneOffset,
      sampleS,
      elapsedS,
      write.nowMs,
    );
    this.#note(field.index, judgement);
  }

  #note(field: number, judgement: Judgement): void {
    if (judgement === Judgement.Refused) this.refused |= 1 << field;
    else if (judgement === Judgement.Changed) this.clamped |= 1 << field;
  }
}

function isExempt(checker: FieldChecker, role: number): boolean {
  return ((checker.check.exemptRoles >>> role) & 1) === 1;
}
