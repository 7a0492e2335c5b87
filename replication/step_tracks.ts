// Entities of one link of which one value goes in step: with the same cohort in every tick in which it changes. What their viewer holds of
// them follows from the ticks of the value's changes and the acknowledgements of the cohort's datagrams, so that their records rest. It
// brings tracks into step and out of it, and puts those in step into sections; how sections are filled is the sender's business.

import { assert } from "../protocol/assert.ts";
import { MAX_SNAPSHOT_ENTRIES } from "../protocol/limits.ts";
import type { Writer } from "../protocol/writer.ts";
import type { Grants } from "../permissions/grants.ts";
import { bitCount, foretellingOf, newestAcked } from "./acked_history.ts";
import { COHORTS, Cohorts, STEP_TICKS } from "./cohorts.ts";
import { grown } from "./grow.ts";
import type { SectionBuilder } from "./section_builder.ts";
import { LateEntries } from "./late_entries.ts";
import type { LoggedEntry } from "./section_log.ts";
import { isFitForStep, type StepLens, type StepRows } from "./step_rows.ts";
import {
  ACKED,
  ACKED_BEFORE,
  AFTER_BASE_TICK,
  BASE_COUNT,
  BASE_NULLED,
  BASE_OFFSET,
  BASE_TICK,
  BASE_WORLD_TICK,
  CHANGED,
  ENTITY_FIRST,
  ENTITY_ID,
  ENTITY_MARKS,
  ENTITY_SENT,
  ENTITY_SEQUENCE,
  FORCED,
  HAS_OTHERS,
  HEADER_ACKED,
  IN_STEP,
  KNOWN_NULLED,
  KNOWN_TICK,
  KNOWN_WORLD_TICK,
  KNOWN_WRITES,
  LINK_NULLED,
  LINK_OFFSET,
  LINK_TICK,
  LINK_WORLD_TICK,
  LOST,
  NEVER,
  STEP_COHORT,
  STEP_COUNT,
  STEP_LENS,
  STEP_ROW,
  STEP_SINCE,
  STEP_VALUE,
  SYNCED,
  type TrackPool,
  VALID_FROM,
  VALUE_COMPONENT,
  VALUE_MARKS,
  VALUE_MASK,
  VALUE_NEXT,
  VALUE_ROW,
  VALUE_SENT,
  VALUE_SEQUENCE,
  VERSION_COUNT,
  VISIBLE,
} from "./track_pool.ts";
import type { ValueEncoder } from "./value_encoder.ts";
import type { World } from "./world.ts";

/** A reference in step is at most so many ticks old: the next tick still knows of it. */
const HELD_TICKS = 0x7fff_ffff;
/** Ticks after which what rests unacknowledged on a lossy path goes again; what pauses for less goes on in step. */
const HASTY_TICKS = 3;

const DUE_WORDS = 3;
/** Bytes of a link's lists of what is due, for each entity: they double. */
export const STEP_DUE_BYTES: number = 2 * 4 * DUE_WORDS;

/** The entities in step of one link. */
export class StepTracks {
  readonly cohorts: Cohorts = new Cohorts();
  readonly #pool: TrackPool;
  readonly #world: World;
  readonly #grants: Grants;
  readonly #rows: StepRows;
  readonly #encoder: ValueEncoder;
  readonly #builder: SectionBuilder;
  /** By component: whether its values may go in step. */
  readonly #isFit: readonly boolean[];
  /** By cohort what is due in this tick: the entity's record, the versions of it that its value is coded against, how many were sent since. */
  readonly #due: Int32Array[] = [];
  readonly #dueCount = new Int32Array(COHORTS);
  /** Members of the section that is being built: those of `#due` from the first on. */
  #added = 0;
  readonly #late: LateEntries;
  // What follows from a cohort's words for those with the same changes: most of a cohort.
  readonly #memoChanges = new Int32Array(COHORTS);
  readonly #memoHeld = new Int32Array(COHORTS);
  readonly #memoSince = new Int32Array(COHORTS);
  #count = 0;
  #lens: StepLens | undefined;

  /** A link on which nothing is in step yet; `isFree` says of each component whether the rate never makes its versions wait. */
  constructor(
    pool: TrackPool,
    grants: Grants,
    world: World,
    encoder: ValueEncoder,
    builder: SectionBuilder,
    isFree: readonly boolean[],
  ) {
    this.#pool = pool;
    this.#grants = grants;
    this.#world = world;
    this.#rows = world.steps;
    this.#late = new LateEntries(pool);
    this.#encoder = encoder;
    this.#builder = builder;
    this.#isFit = grants.components.map((grant, c) =>
      encoder.isShared && isFree[c]! && isFitForStep(grant, world.store(c))
    );
    for (let k = 0; k < COHORTS; k++) this.#due.push(new Int32Array(16 * DUE_WORDS));
  }

  /** Entities in step. */
  get count(): number {
    return this.#count;
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return this.#due.reduce((bytes, due) => bytes + due.byteLength, 0) +
      this.#late.heldBytes;
  }

  /** Number of the last datagram that carried anything of an entity in step. */
  lastSequence(at: number): number {
    const { entities } = this.#pool;
    const { cohorts } = this;
    const lens = this.#rows.lens(entities[at + STEP_LENS]!);
    const k = entities[at + STEP_COHORT]!;
    const row = entities[at + STEP_ROW]!;
    const id = entities[at + ENTITY_ID]!;
    const sent = lens === undefined ? 0 : lens.changes(row, id, cohorts.tick) & cohorts.sent[k]!;
    if (sent === 0) return entities[at + ENTITY_SEQUENCE]!;
    return cohorts.sequenceOf(k, 31 - Math.clz32(sent & -sent));
  }

  /** A tick begins. */
  begin(tick: number): void {
    this.cohorts.advance(tick);
    this.#rows.begin(tick);
    this.#dueCount.fill(0);
    this.#memoChanges.fill(0);
    this.#late.expire(tick);
  }

  /** Whether something in step is due that no section of this tick took, in the cohort `from` or one after it. */
  hasDue(from: number): boolean {
    for (let k = from; k < COHORTS; k++) {
      if (this.#dueCount[k]! > 0) return true;
    }
    return false;
  }

  /** Whether something in step is due in this cohort. */
  hasDueIn(cohort: number): boolean {
    return cohort < COHORTS && this.#dueCount[cohort]! > 0;
  }

  /**
   * Notes that an entity was sent in the section of place `cohort` of this tick: its value at `v` and nothing else, as a new version that was
   * not forced, or (`isPlain` false) anything else.
   */
  noteSent(at: number, v: number, cohort: number, isPlain: boolean): void {
    const { entities, values } = this.#pool;
    const { tick } = this.cohorts;
    if (isPlain && entities[at + STEP_VALUE] === v && entities[at + STEP_COHORT] === cohort) {
      const lens = this.#rows.lens(entities[at + STEP_LENS]!);
      const row = values[v + VALUE_ROW]!;
      // As expected: sent in the tick of its change.
      if (lens !== undefined && (lens.changes(row, entities[at + ENTITY_ID]!, tick) & 1) === 1) {
        return;
      }
    }
    entities[at + STEP_VALUE] = NEVER;
    if (!isPlain || cohort >= COHORTS) return;
    const c = values[v + VALUE_COMPONENT]!;
    if (!this.#isFit[c]!) return;
    const mask = values[v + VALUE_MASK]!;
    const lens = this.#rows.lensOf(this.#grants.components[c]!, mask, this.#world.store(c), tick);
    if (lens < 0) return;
    entities[at + STEP_VALUE] = v;
    entities[at + STEP_LENS] = lens;
    entities[at + STEP_COHORT] = cohort;
    this.#countFrom(at, tick);
  }

  /** From the tick after `tick` on its versions are counted. */
  #countFrom(at: number, tick: number): void {
    const { entities, values } = this.#pool;
    entities[at + STEP_SINCE] = tick;
    entities[at + STEP_COUNT] = values[entities[at + STEP_VALUE]! + VERSION_COUNT]!;
  }

  /**
   * A tick's look at an entity that is in step, or may come into it: true when it is in step, so that nothing else is to be done with it.
   * What is due of it waits for the section of its cohort then. Its other values are looked at already.
   */
  look(at: number, resendTicks: number, isLossy: boolean): boolean {
    const { entities } = this.#pool;
    const { tick } = this.cohorts;
    const marks = entities[at + ENTITY_MARKS]!;
    if ((marks & IN_STEP) === 0) {
      const counted = tick - entities[at + STEP_SINCE]!;
      if (entities[at + STEP_VALUE] === NEVER || counted < STEP_TICKS) return false;
      if (!this.#join(at)) {
        this.#countFrom(at, tick - 1);
        return false;
      }
    }
    const lens = this.#lensOf(at);
    // Nobody looked through it for so long, and what it said of the last ticks is gone.
    if (lens === undefined) return this.leave(at);
    const id = entities[at + ENTITY_ID]!;
    const changes = lens.changes(entities[at + STEP_ROW]!, id, tick);
    const k = entities[at + STEP_COHORT]!;
    if ((changes & 1) === 1) {
      if (this.#memoChanges[k] !== changes) this.#memo(k, changes);
      if (this.#memoHeld[k] === 0) return this.leave(at);
      const count = this.#dueCount[k]!;
      let due = this.#due[k]!;
      const place = count * DUE_WORDS;
      if (place === due.length) {
        due = grown(due, 2 * place);
        this.#due[k] = due;
      }
      due[place] = at;
      due[place + 1] = this.#memoHeld[k]!;
      due[place + 2] = this.#memoSince[k]!;
      this.#dueCount[k] = count + 1;
      return true;
    }
    const sent = changes & this.cohorts.sent[k]!;
    const acked = this.cohorts.acked[k]!;
    if ((sent & acked & HELD_TICKS) === 0) return this.leave(at);
    const last = sent & -sent;
    // What changed since was not sent in its tick.
    if ((changes & -changes) !== last) return this.leave(at);
    if ((last & acked) !== 0) return true;
    const age = 31 - Math.clz32(last);
    const goesAgain = (last & this.cohorts.lost[k]!) !== 0 || age >= resendTicks ||
      (isLossy && age >= HASTY_TICKS);
    return goesAgain ? this.leave(at) : true;
  }

  /** The lens of an entity in step: most have the one that was asked for last. */
  #lensOf(at: number): StepLens | undefined {
    const number = this.#pool.entities[at + STEP_LENS]!;
    const last = this.#lens;
    // One that made room is none of the rows' any more.
    if (last !== undefined && last.number === number && last.isInPlace) return last;
    this.#lens = this.#rows.lens(number);
    return this.#lens;
  }

  #memo(k: number, changes: number): void {
    const { sent, acked } = this.cohorts;
    const versions = changes & sent[k]!;
    const held = versions & acked[k]! & HELD_TICKS;
    this.#memoChanges[k] = changes;
    if (held === 0) {
      this.#memoHeld[k] = 0;
      return;
    }
    const base = held & -held;
    const age = 31 - Math.clz32(base);
    const foretelling = foretellingOf(newestAcked((held >>> age) >>> 1));
    this.#memoHeld[k] = base | ((foretelling << age) << 1);
    this.#memoSince[k] = bitCount(versions & (base - 1));
  }

  /** Brings an entity into step, if each version of the last ticks went with its cohort and nothing else of it is under way. */
  #join(at: number): boolean {
    const { entities, values } = this.#pool;
    const { tick, sent, acked } = this.cohorts;
    const marks = entities[at + ENTITY_MARKS]!;
    // What is hidden, or comes back into view, has another header.
    if ((marks & HEADER_ACKED) === 0) return false;
    const v = entities[at + STEP_VALUE]!;
    if (values[v + VALID_FROM]! > tick - STEP_TICKS) return false;
    const count = values[v + VERSION_COUNT]!;
    // What rests looks through no lens, so that this one makes room for what moves.
    if (count === entities[at + STEP_COUNT]) return false;
    const others = this.#othersOf(at, v);
    if (others < 0) return false;
    const lens = this.#rows.lens(entities[at + STEP_LENS]!);
    if (lens === undefined || lens.mask !== values[v + VALUE_MASK]) return false;
    const row = values[v + VALUE_ROW]!;
    const changes = lens.changes(row, entities[at + ENTITY_ID]!, tick);
    const k = entities[at + STEP_COHORT]!;
    const versions = changes & ~1;
    if ((versions & ~sent[k]!) !== 0) return false;
    if (bitCount(versions) !== count - entities[at + STEP_COUNT]!) return false;
    const held = versions & acked[k]! & HELD_TICKS;
    // What is forced, or was written by the peer itself, has no reference.
    if (held === 0 || tick - 31 + Math.clz32(held & -held) !== values[v + BASE_TICK]) return false;
    entities[at + ENTITY_MARKS] = marks | IN_STEP | (others > 0 ? HAS_OTHERS : 0);
    entities[at + STEP_ROW] = row;
    entities[at + STEP_SINCE] = tick;
    entities[at + STEP_COUNT] = count;
    this.#count += 1;
    return true;
  }

  /** Components that the peer sees beside that at `v`; -1 where it does not have all that it is shown of them, or that one is none of them. */
  #othersOf(at: number, v: number): number {
    const { entities, values } = this.#pool;
    let isThere = false;
    let others = 0;
    for (
      let other = entities[at + ENTITY_FIRST]!;
      other >= 0;
      other = values[other + VALUE_NEXT]!
    ) {
      if (other === v) {
        isThere = true;
        continue;
      }
      const marks = values[other + VALUE_MARKS]!;
      if ((marks & VISIBLE) === 0) continue;
      if ((marks & (ACKED | CHANGED | FORCED)) !== ACKED) return -1;
      others += 1;
    }
    return isThere ? others : -1;
  }

  /**
   * Takes an entity out of step: its record says again what its peer was sent and holds, as after the last tick begun. Always false, for
   * `look`.
   */
  leave(at: number): false {
    const { entities } = this.#pool;
    const marks = entities[at + ENTITY_MARKS]!;
    assert((marks & IN_STEP) !== 0, "only what is in step goes out of it");
    entities[at + ENTITY_MARKS] = marks & ~(IN_STEP | HAS_OTHERS);
    this.#count -= 1;
    this.#recall(at, entities[at + STEP_VALUE]!);
    // What may still go in this tick goes in its tick, as all before it did.
    const { tick, sent } = this.cohorts;
    const hasGone = (sent[entities[at + STEP_COHORT]!]! & 1) === 1;
    this.#countFrom(at, hasGone ? tick : tick - 1);
    return false;
  }

  #recall(at: number, v: number): void {
    const { entities, values } = this.#pool;
    const { cohorts } = this;
    const { tick } = cohorts;
    const id = entities[at + ENTITY_ID]!;
    const k = entities[at + STEP_COHORT]!;
    const row = entities[at + STEP_ROW]!;
    const c = values[v + VALUE_COMPONENT]!;
    const mask = values[v + VALUE_MASK]!;
    const isThere = this.#world.isAlive(id) && this.#world.row(id, c) === row;
    const lens = this.#rows.lens(entities[at + STEP_LENS]!);
    const changes = isThere && lens !== undefined ? lens.changes(row, id, tick) : 0;
    const versions = changes & cohorts.sent[k]!;
    const since = tick - entities[at + STEP_SINCE]! + 1;
    const isRecent = since < STEP_TICKS ? (1 << since) - 1 : -1;
    values[v + VERSION_COUNT] = entities[at + STEP_COUNT]! + bitCount(versions & isRecent);
    values[v + ACKED_BEFORE] = 0;
    values[v + LINK_NULLED] = 0;
    values[v + BASE_NULLED] = 0;
    values[v + KNOWN_NULLED] = 0;
    let marks = values[v + VALUE_MARKS]! & ~(ACKED | LOST | CHANGED | FORCED | SYNCED);
    if (versions === 0) {
      // The row is gone, or nobody looked at it for so long that nothing is known of it: what is there goes anew.
      const wasSent = (cohorts.sent[k]! & 1) === 1;
      // A name is given once: the next version has a later one than what may have gone in this tick.
      if (wasSent) values[v + LINK_TICK] = tick;
      values[v + BASE_TICK] = NEVER;
      values[v + VALID_FROM] = wasSent ? tick + 1 : tick;
      values[v + VALUE_MARKS] = marks | FORCED;
      return;
    }
    const encoder = this.#encoder;
    const store = this.#world.store(c);
    const last = versions & -versions;
    const age = 31 - Math.clz32(last);
    const linkTick = tick - age;
    // Nothing that the peer may read has changed since, or it changed in a tick in which its cohort did not go.
    const later = changes & (last - 1);
    const worldTick = later === 0 ? tick : tick - (31 - Math.clz32(later)) - 1;
    const known = store.findAt(row, worldTick);
    values[v + LINK_TICK] = linkTick;
    values[v + LINK_WORLD_TICK] = worldTick;
    values[v + LINK_OFFSET] = encoder.offsetAt(c, mask, row, linkTick);
    values[v + KNOWN_WORLD_TICK] = worldTick;
    values[v + KNOWN_TICK] = store.tick(known);
    values[v + KNOWN_WRITES] = store.writes(known);
    const sequence = cohorts.sequenceOf(k, age);
    values[v + VALUE_SENT] = linkTick;
    values[v + VALUE_SEQUENCE] = sequence;
    entities[at + ENTITY_SENT] = linkTick;
    entities[at + ENTITY_SEQUENCE] = sequence;
    const acked = cohorts.acked[k]!;
    const held = versions & acked;
    values[v + BASE_TICK] = NEVER;
    if (held !== 0) {
      const base = held & -held;
      const baseAge = 31 - Math.clz32(base);
      const baseTick = tick - baseAge;
      values[v + BASE_TICK] = baseTick;
      const change = changes & (base - 1);
      values[v + BASE_WORLD_TICK] = change === 0 ? tick : tick - (31 - Math.clz32(change)) - 1;
      values[v + BASE_OFFSET] = encoder.offsetAt(c, mask, row, baseTick);
      values[v + BASE_COUNT] = values[v + VERSION_COUNT]! - bitCount(versions & (base - 1));
      const after = versions & (base - 1);
      values[v + AFTER_BASE_TICK] = after === 0 ? NEVER : tick - (31 - Math.clz32(after));
      values[v + ACKED_BEFORE] = newestAcked((held >>> baseAge) >>> 1);
    }
    if ((last & acked) !== 0) marks |= ACKED;
    else if ((last & cohorts.lost[k]!) !== 0) marks |= LOST;
    values[v + VALUE_MARKS] = marks;
    this.#noteLate(at, v, versions, versions & ~acked);
  }

  /** Notes the versions whose acknowledgement may still come. */
  #noteLate(at: number, v: number, versions: number, pending: number): void {
    const { entities, values } = this.#pool;
    const { cohorts } = this;
    const c = values[v + VALUE_COMPONENT]!;
    const mask = values[v + VALUE_MASK]!;
    const row = entities[at + STEP_ROW]!;
    for (let rest = pending; rest !== 0; rest &= rest - 1) {
      const bit = rest & -rest;
      const age = 31 - Math.clz32(bit);
      const tick = cohorts.tick - age;
      const sequence = cohorts.sequenceOf(entities[at + STEP_COHORT]!, age);
      const count = values[v + VERSION_COUNT]! - bitCount(versions & (bit - 1));
      const offset = this.#encoder.offsetAt(c, mask, row, tick);
      if (!this.#late.note(sequence, at, v, tick, count, offset)) return;
    }
  }

  /** Datagram `sequence` arrived: calls `fn` for what is not in step any more and in no log. */
  handleAcked(sequence: number, fn: (entry: LoggedEntry) => void): void {
    this.cohorts.handleAcked(sequence);
    this.#late.forEach(sequence, true, fn);
  }

  /** Datagram `sequence` is given up as lost: as `handleAcked`. */
  handleLost(sequence: number, fn: (entry: LoggedEntry, sequence: number) => void): void {
    this.cohorts.handleLost(sequence);
    this.#late.forEach(sequence, false, fn);
  }

  /** Adds all that is due of a cohort to the empty section being built, whatever room it takes; returns how many entities. */
  add(cohort: number): number {
    const { entities } = this.#pool;
    const { tick } = this.cohorts;
    const rows = this.#rows;
    const builder = this.#builder;
    const due = this.#due[cohort]!;
    rows.begin(tick);
    this.#added = Math.min(this.#dueCount[cohort]!, MAX_SNAPSHOT_ENTRIES);
    for (let i = 0; i < this.#added; i++) {
      const at = due[i * DUE_WORDS]!;
      const held = due[i * DUE_WORDS + 1]!;
      const since = due[i * DUE_WORDS + 2]!;
      const lens = this.#lensOf(at)!;
      const row = entities[at + STEP_ROW]!;
      const source = rows.find(lens, row, held, since)
        ? this.#world.encodings.arena
        : this.#encode(at, lens, row, held, since);
      builder.addInStep(at, lens.component, rows, source);
    }
    return this.#added;
  }

  /** Codes what no link has coded this way in this tick; the fields of the rows tell what came of it. */
  #encode(at: number, lens: StepLens, row: number, held: number, since: number): Writer {
    const encoder = this.#encoder;
    const rows = this.#rows;
    const { component, mask } = lens;
    const { tick } = this.cohorts;
    const id = this.#pool.entities[at + ENTITY_ID]!;
    encoder.encodeInStep(this.#builder.scratch, id, component, mask, row, tick, held, since);
    rows.start = encoder.start;
    rows.bits = encoder.bits;
    rows.age = encoder.baseTick === NEVER ? 0 : tick - encoder.baseTick;
    rows.unit = encoder.unit;
    rows.before = encoder.before;
    rows.offset = encoder.offset;
    if (encoder.source === this.#world.encodings.arena) rows.keep(lens, row, held, since);
    return encoder.source;
  }

  /** Takes back the last `count` entities of those that `add` added. */
  takeBack(count: number): void {
    this.#builder.takeBack(count);
    this.#added -= count;
  }

  /** The section is what it is: what is due of the cohort and did not go into it is out of step, and `fn` is called for it. */
  settle(cohort: number, fn: (at: number) => void): void {
    const due = this.#due[cohort]!;
    const count = this.#dueCount[cohort]!;
    this.#dueCount[cohort] = 0;
    for (let i = this.#added; i < count; i++) {
      const at = due[i * DUE_WORDS]!;
      this.leave(at);
      fn(at);
    }
    this.#added = 0;
  }

  /** Nothing more of what is in step goes in this tick. */
  clearDue(): void {
    this.#dueCount.fill(0);
  }
}
