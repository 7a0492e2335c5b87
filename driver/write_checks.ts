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
import type { CheckAction, ComponentGrant, Grants } from "../permissions/grants.ts";
import { grown, grownCapacity } from "../replication/grow.ts";
import { type ComponentValue, sameBytes, sameLanes } from "../replication/value.ts";
import { type CheckKind, FieldChecker, Judgement } from "./field_checker.ts";

/** One write to judge; the caller may use the same object again and again. */
export interface JudgedWrite {
  /** Who writes. */
  peer: number;
  /** Role index of the writer. */
  role: number;
  id: EntityId;
  /** Fields that would be written. */
  fields: number;
  /** The value; lanes of clamped fields are changed in it. */
  value: ComponentValue;
  /** What the world holds now; undefined while the entity is without the component. */
  present: ComponentValue | undefined;
  /** Sample time, as far as it is believed. */
  sampled: TimelineTime;
  nowMs: number;
}

/** A limit that a write broke. */
export interface BrokenCheck {
  readonly component: ComponentGrant;
  /** Index of the field. */
  readonly field: number;
  readonly check: CheckKind;
  /** What was measured, and the limit: in the limit's own unit. */
  readonly measured: number;
  readonly limit: number;
  readonly action: CheckAction;
}

/** What is kept of a component that a peer may have once only, after its entity ended. */
interface Memory {
  readonly ms: number;
  readonly lastMs: number;
  readonly lastS: number;
  readonly lanes: Int32Array;
  readonly budgets: readonly (readonly [number, number])[];
}

/** Judges the writes to one component. */
class ComponentChecks {
  readonly component: ComponentGrant;
  readonly checkers: readonly FieldChecker[];
  readonly #maxKeys: number;
  // By slot.
  /** The last value that held. */
  lanes = new Int32Array(0);
  /** Arrival of the last judged write, ms; NaN where nothing is known. */
  lastMs = new Float64Array(0);
  /** Its sample time, s. */
  lastS = new Float64Array(0);
  /** Two numbers: silence that still counts, s, by arrivals and by samples. */
  silence = new Float64Array(0);

  constructor(
    component: ComponentGrant,
    maxKeys: number,
    tell: (broken: BrokenCheck) => void,
  ) {
    this.component = component;
    this.#maxKeys = maxKeys;
    this.checkers = component.checks.map((check) => {
      const { field, action } = check;
      return new FieldChecker(
        component.fields[field]!,
        check,
        maxKeys,
        (kind, measured, limit) => tell({ component, field, check: kind, measured, limit, action }),
      );
    });
  }

  reserve(slot: number): void {
    const known = this.lastMs.length;
    if (slot < known) return;
    const length = grownCapacity(Math.max(known, 16), slot + 1, this.#maxKeys);
    this.lanes = grown(this.lanes, length * this.component.laneCount);
    this.lastMs = grown(this.lastMs, length).fill(NaN, known);
    this.lastS = grown(this.lastS, length);
    this.silence = grown(this.silence, length * 2);
    for (const checker of this.checkers) checker.reserve(length);
  }

  forget(slot: number): void {
    if (slot >= this.lastMs.length) return;
    this.lastMs[slot] = NaN;
    for (const checker of this.checkers) checker.forget(slot);
  }

  /** Nothing is known of the slot but that its first write comes now. */
  begin(slot: number, nowMs: number, sampleS: number, silenceS: number): void {
    this.lastMs[slot] = nowMs;
    this.lastS[slot] = sampleS;
    this.silence.fill(silenceS, slot * 2, slot * 2 + 2);
    for (const checker of this.checkers) {
      checker.forget(slot);
      checker.restart(slot, silenceS, silenceS);
    }
  }

  /** Whether the component's last value is recent enough to go on from, though the world no longer holds it. */
  remembers(slot: number, nowMs: number): boolean {
    return slot < this.lastMs.length && nowMs - this.lastMs[slot]! < CHECK_MEMORY_MS;
  }

  /** Time passes until a write at `nowMs`, sampled at `sampleS`. */
  advance(slot: number, nowMs: number, sampleS: number): void {
    const elapsed = (nowMs - this.lastMs[slot]!) / 1000;
    const sampled = sampleS - this.lastS[slot]!;
    for (let way = 0; way < 2; way++) {
      const seconds = way === 0 ? elapsed : sampled;
      const at = slot * 2 + way;
      // A silence counts once, and for no longer after its end than it took: what a path held up comes in at once.
      const silence = Math.max(
        this.silence[at]! - seconds,
        Math.min(seconds, CHECK_SILENCE_S),
      );
      this.silence[at] = silence;
      for (const checker of this.checkers) checker.advance(slot, way, seconds, silence);
    }
    this.lastMs[slot] = nowMs;
    this.lastS[slot] = sampleS;
  }

  /** Takes over what the world holds: where that is another value than the last one, it is someone else's, and the movement begins there. */
  synchronise(slot: number, present: ComponentValue): void {
    const { laneCount } = this.component;
    for (const checker of this.checkers) {
      const { laneOffset, lanes } = checker.field;
      const at = slot * laneCount + laneOffset;
      if (sameLanes(this.lanes, at, present.lanes, laneOffset, lanes)) continue;
      checker.restart(slot, this.silence[slot * 2]!, this.silence[slot * 2 + 1]!);
      this.#copy(present.lanes, laneOffset, at, lanes);
    }
  }

  /** Takes the fields of `value` as those that hold now. */
  accept(slot: number, fields: number, value: ComponentValue): void {
    const { laneCount } = this.component;
    for (const checker of this.checkers) {
      const { index, laneOffset, lanes } = checker.field;
      if ((fields & (1 << index)) === 0) continue;
      const at = slot * laneCount + laneOffset;
      this.#copy(value.lanes, laneOffset, at, lanes);
      checker.accept(slot, this.lanes, at, this.lastS[slot]!);
    }
  }

  #copy(from: Int32Array, fromAt: number, at: number, count: number): void {
    for (let i = 0; i < count; i++) this.lanes[at + i] = from[fromAt + i]!;
  }
}

/**
 * Judges what peers write.
 *
 * For each write to a component with checks, once every other rule has let it pass: `judge`, then look at `refused`, `clamped` and `sampled`.
 * For a spawn: `judge` each component without a present value, then `settle`, or `forget` when the spawn is refused. `bury` before an owner's
 * despawn, `forget` after any. Times do not go back.
 */
export class WriteChecks {
  /** Fields of the write judged last that must keep what they have. */
  refused = 0;
  /** Fields of it that were changed in its value. */
  clamped = 0;
  /** Its sample time, never before that of the write before. */
  sampled: TimelineTime = 0;
  readonly #components: (ComponentChecks | undefined)[];
  readonly #unitsPerS: number;
  /** By peer and component, oldest first. Ids of peers rest for longer than a memory lasts. */
  readonly #memories = new Map<number, Memory>();

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
    if (Number.isNaN(state.lastMs[slot]!)) {
      // Its value came from the server's engine: this is the first write of a peer, who may have moved it for as long as any silence.
      state.begin(slot, nowMs, write.sampled / this.#unitsPerS, CHECK_SILENCE_S);
    }
    const elapsedS = (nowMs - state.lastMs[slot]!) / 1000;
    const sampleS = Math.max(write.sampled / this.#unitsPerS, state.lastS[slot]!);
    this.sampled = Math.max(write.sampled, Math.round(sampleS * this.#unitsPerS));
    state.advance(slot, nowMs, sampleS);
    if (present !== undefined) state.synchronise(slot, present);
    for (const checker of state.checkers) {
      this.#judgeField(state, checker, slot, write, sampleS, elapsedS);
    }
    if (present === undefined && this.refused !== 0) return;
    state.accept(slot, write.fields & ~this.refused, write.value);
  }

  /** The spawn of `peer` whose components were judged has come to life. */
  settle(peer: number, c: number): void {
    this.#memories.delete(peer * MAX_COMPONENTS + c);
  }

  /** The owner ends its entity: where it may have only one with a component, its next one goes on from there. */
  bury(peer: number, id: EntityId, nowMs: number): void {
    const slot = entitySlot(id);
    for (const state of this.#components) {
      if (state === undefined || state.component.spawnMax !== 1) continue;
      if (!state.remembers(slot, nowMs)) continue;
      const { laneCount, index } = state.component;
      const key = peer * MAX_COMPONENTS + index;
      this.#memories.delete(key);
      this.#memories.set(key, {
        ms: nowMs,
        lastMs: state.lastMs[slot]!,
        lastS: state.lastS[slot]!,
        lanes: state.lanes.slice(slot * laneCount, (slot + 1) * laneCount),
        budgets: state.checkers.map((one) => [one.budget(slot, 0), one.budget(slot, 1)]),
      });
      for (const [oldest, { ms }] of this.#memories) {
        const isOver = nowMs - ms >= CHECK_MEMORY_MS;
        if (!isOver && this.#memories.size <= MAX_CHECK_MEMORIES) break;
        this.#memories.delete(oldest);
      }
    }
  }

  /** The entity is gone, or was never spawned. */
  forget(id: EntityId): void {
    for (const state of this.#components) state?.forget(entitySlot(id));
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
    state.begin(slot, write.nowMs, write.sampled / this.#unitsPerS, 0);
    state.accept(slot, state.component.allFields, value);
  }

  /** Goes on from where the peer's last entity with the component ended, if that was the only one it may have. */
  #recall(state: ComponentChecks, slot: number, write: JudgedWrite): boolean {
    const { index, laneCount } = state.component;
    const memory = this.#memories.get(write.peer * MAX_COMPONENTS + index);
    if (memory === undefined || write.nowMs - memory.ms >= CHECK_MEMORY_MS) return false;
    state.lanes.set(memory.lanes, slot * laneCount);
    state.silence.fill(0, slot * 2, slot * 2 + 2);
    state.lastMs[slot] = memory.lastMs;
    state.lastS[slot] = memory.lastS;
    for (const [i, checker] of state.checkers.entries()) {
      checker.resume(slot, ...memory.budgets[i]!);
    }
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
    if (isExempt(checker, write.role)) return checker.stop(slot);
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
    if (judgement === Judgement.Refused) checker.stop(slot);
  }

  #note(field: number, judgement: Judgement): void {
    if (judgement === Judgement.Refused) this.refused |= 1 << field;
    else if (judgement === Judgement.Changed) this.clamped |= 1 << field;
  }
}

function isExempt(checker: FieldChecker, role: number): boolean {
  return ((checker.check.exemptRoles >>> role) & 1) === 1;
}
