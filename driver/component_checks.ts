// The checks of one component, with what they remember of each entity: the last value that held, when it came, when its component was removed.
// It knows one slot after another; which write is judged, and by whom, is the business of its caller.

import { CHECK_MEMORY_MS, CHECK_SILENCE_S } from "../protocol/limits.ts";
import type { CheckAction, ComponentGrant } from "../permissions/grants.ts";
import { grown, grownCapacity } from "../replication/grow.ts";
import { type ComponentValue, sameLanes } from "../replication/value.ts";
import { type CheckKind, FieldChecker, type FieldMemory } from "./field_checker.ts";

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
export interface ComponentMemory {
  /** Arrival of the last judged write, ms, and its sample time, s. */
  readonly lastMs: number;
  readonly lastS: number;
  readonly lanes: Int32Array;
  readonly fields: readonly FieldMemory[];
}

/** Judges the writes to one component. */
export class ComponentChecks {
  readonly component: ComponentGrant;
  readonly checkers: readonly FieldChecker[];
  /** Fields that are checked. */
  readonly fields: number;
  /** By slot: the last value that held. */
  lanes = new Int32Array(0);
  readonly #maxKeys: number;
  /** By slot: arrival of the last judged write, ms; NaN where nothing is known. */
  #lastMs = new Float64Array(0);
  /** By slot: its sample time, s. */
  #lastS = new Float64Array(0);
  /** By slot two numbers: silence that still counts, s, by arrivals and by samples. */
  #silence = new Float64Array(0);
  /** By slot: when its owner removed the component, ms; NaN while it has not. */
  #removedMs = new Float64Array(0);
  #removedCount = 0;

  /** @param maxKeys Slots run from 0 to one less. `tell`: takes each limit that is broken. */
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
    this.fields = component.checks.reduce((mask, { field }) => mask | (1 << field), 0);
  }

  /** Makes room for a slot. */
  reserve(slot: number): void {
    const known = this.#lastMs.length;
    if (slot < known) return;
    const length = grownCapacity(Math.max(known, 16), slot + 1, this.#maxKeys);
    this.lanes = grown(this.lanes, length * this.component.laneCount);
    this.#lastMs = grown(this.#lastMs, length).fill(NaN, known);
    this.#lastS = grown(this.#lastS, length);
    this.#silence = grown(this.#silence, length * 2);
    this.#removedMs = grown(this.#removedMs, length).fill(NaN, known);
    for (const checker of this.checkers) checker.reserve(length);
  }

  /** Erases what is known of a slot. */
  forget(slot: number): void {
    if (slot >= this.#lastMs.length) return;
    const { laneCount } = this.component;
    this.lanes.fill(0, slot * laneCount, (slot + 1) * laneCount);
    this.#lastMs[slot] = NaN;
    this.#lastS[slot] = 0;
    this.#silence.fill(0, slot * 2, slot * 2 + 2);
    this.restored(slot);
    for (const checker of this.checkers) checker.forget(slot);
  }

  /** Whether a peer's write, or its memory, stands for the slot. */
  knows(slot: number): boolean {
    return slot < this.#lastMs.length && !Number.isNaN(this.#lastMs[slot]!);
  }

  /** Arrival of the last judged write, ms. */
  lastMs(slot: number): number {
    return this.#lastMs[slot]!;
  }

  /** Its sample time, s. */
  lastS(slot: number): number {
    return this.#lastS[slot]!;
  }

  /** A movement begins with this value: nothing else is known, but a silence that counts. */
  begin(
    slot: number,
    value: ComponentValue,
    nowMs: number,
    sampleS: number,
    silenceS: number,
  ): void {
    const { laneCount } = this.component;
    this.forget(slot);
    this.lanes.set(value.lanes, slot * laneCount);
    this.#lastMs[slot] = nowMs;
    this.#lastS[slot] = sampleS;
    this.#silence.fill(silenceS, slot * 2, slot * 2 + 2);
    for (const checker of this.checkers) {
      const at = slot * laneCount + checker.field.laneOffset;
      checker.begin(slot, this.lanes, at, sampleS, silenceS);
    }
  }

  /** Its owner took the component away. */
  removed(slot: number, nowMs: number): void {
    if (Number.isNaN(this.#removedMs[slot]!)) this.#removedCount += 1;
    this.#removedMs[slot] = nowMs;
  }

  /** The component is there again. */
  restored(slot: number): void {
    if (Number.isNaN(this.#removedMs[slot]!)) return;
    this.#removedMs[slot] = NaN;
    this.#removedCount -= 1;
  }

  /** Whether its owner took the component away so lately that the next one goes on from there. */
  remembers(slot: number, nowMs: number): boolean {
    return slot < this.#removedMs.length && nowMs - this.#removedMs[slot]! < CHECK_MEMORY_MS;
  }

  /** Erases what is kept of components that were removed too long ago. */
  expire(nowMs: number): void {
    for (let slot = 0; this.#removedCount > 0 && slot < this.#removedMs.length; slot++) {
      if (nowMs - this.#removedMs[slot]! >= CHECK_MEMORY_MS) this.forget(slot);
    }
  }

  /** What is known of a slot, as its own copy. */
  remember(slot: number): ComponentMemory {
    const { laneCount } = this.component;
    return {
      lastMs: this.#lastMs[slot]!,
      lastS: this.#lastS[slot]!,
      lanes: this.lanes.slice(slot * laneCount, (slot + 1) * laneCount),
      fields: this.checkers.map((checker) => checker.remember(slot)),
    };
  }

  /** Goes on with what is remembered; no silence of before counts again. */
  resume(slot: number, memory: ComponentMemory): void {
    this.forget(slot);
    this.lanes.set(memory.lanes, slot * this.component.laneCount);
    this.#lastMs[slot] = memory.lastMs;
    this.#lastS[slot] = memory.lastS;
    for (const [i, checker] of this.checkers.entries()) checker.resume(slot, memory.fields[i]!);
  }

  /** Time passes until a write at `nowMs`, sampled at `sampleS`. */
  advance(slot: number, nowMs: number, sampleS: number): void {
    const elapsed = (nowMs - this.#lastMs[slot]!) / 1000;
    const sampled = sampleS - this.#lastS[slot]!;
    for (let way = 0; way < 2; way++) {
      const seconds = way === 0 ? elapsed : sampled;
      const at = slot * 2 + way;
      // A silence counts once, and for no longer after its end than it took: what a path held up comes in at once.
      const silence = Math.max(
        this.#silence[at]! - seconds,
        Math.min(seconds, CHECK_SILENCE_S),
      );
      this.#silence[at] = silence;
      for (const checker of this.checkers) checker.advance(slot, way, seconds, silence);
    }
    this.#lastMs[slot] = nowMs;
    this.#lastS[slot] = sampleS;
  }

  /** Takes over what the world holds: where that is another value than the last one, it is someone else's, and the movement goes on there. */
  synchronise(slot: number, present: ComponentValue): void {
    const { laneCount } = this.component;
    for (const checker of this.checkers) {
      const { laneOffset, lanes } = checker.field;
      const at = slot * laneCount + laneOffset;
      if (sameLanes(this.lanes, at, present.lanes, laneOffset, lanes)) continue;
      checker.move(slot, this.lanes, at, present.lanes, laneOffset);
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
      checker.accept(slot, this.lanes, at, value.lanes, laneOffset, this.#lastS[slot]!);
      this.#copy(value.lanes, laneOffset, at, lanes);
    }
  }

  #copy(from: Int32Array, fromAt: number, at: number, count: number): void {
    for (let i = 0; i < count; i++) this.lanes[at + i] = from[fromAt + i]!;
  }
}
