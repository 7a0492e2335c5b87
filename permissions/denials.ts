// What was refused: counted by kind, and told to the engine as a few summed reports a second however many there are. Never contents.

import {
  MAX_DENIAL_KINDS,
  MAX_DENIAL_REPORTS_PER_S,
  MAX_PENDING_DENIALS,
} from "../protocol/limits.ts";
import type { DenialReport } from "../protocol/engine_messages.ts";

/** What to record: a report, the count 1 unless it says otherwise. */
export type DenialRecord = Omit<DenialReport, "count"> & { readonly count?: number };

/** Counters and the waiting reports of one door's denials. */
export class Denials {
  /** Counts by `rule subject id`, bounded; what finds no room counts under `other`. */
  readonly #totals = new Map<string, number>();
  /** Reports not yet told, oldest first; equal ones (door, rule, peer, subject, id) are summed. */
  readonly #pending = new Map<string, DenialReport>();
  #total = 0;
  #lastMs = -Infinity;
  #unreported = 0;
  #tokens = MAX_DENIAL_REPORTS_PER_S;
  #refilledAt = -Infinity;

  /** All denials so far. */
  get total(): number {
    return this.#total;
  }

  /** Time of the newest denial, ms; minus infinity before the first. */
  get lastMs(): number {
    return this.#lastMs;
  }

  /** Denials counted but told to nobody, because too many kinds were waiting. */
  get unreported(): number {
    return this.#unreported;
  }

  /** Denials by kind, key `rule subject id`, such as `role component 7`. */
  get totals(): ReadonlyMap<string, number> {
    return this.#totals;
  }

  /**
   * Counts a denial and queues it. Denials of the same door, rule, peer, subject and id that wait together become one report: their counts
   * add up, their fields join, and the entity is the first one's.
   */
  record(report: DenialRecord, nowMs: number): void {
    const count = report.count ?? 1;
    this.#lastMs = nowMs;
    this.#total += count;
    this.#count(`${report.rule} ${report.subject} ${report.id}`, count);
    const key = `${report.door} ${report.rule} ${report.peer} ${report.subject} ${report.id}`;
    const waiting = this.#pending.get(key);
    if (waiting !== undefined) {
      this.#pending.set(key, {
        ...waiting,
        fields: (waiting.fields | report.fields) >>> 0,
        count: waiting.count + count,
      });
    } else if (this.#pending.size < MAX_PENDING_DENIALS) {
      this.#pending.set(key, { ...report, count });
    } else {
      this.#unreported += count;
    }
  }

  /** The next report to tell the engine, at most 20 a second; `undefined` when none waits or the second's share is spent. */
  poll(nowMs: number): DenialReport | undefined {
    const next = this.#pending.entries().next();
    if (next.done === true) return undefined;
    const grown = Math.max(0, nowMs - this.#refilledAt) * MAX_DENIAL_REPORTS_PER_S / 1000;
    this.#tokens = Math.min(MAX_DENIAL_REPORTS_PER_S, this.#tokens + grown);
    this.#refilledAt = nowMs;
    if (this.#tokens < 1) return undefined;
    this.#tokens -= 1;
    const [key, report] = next.value;
    this.#pending.delete(key);
    return report;
  }

  #count(key: string, count: number): void {
    const known = this.#totals.get(key);
    const name = known !== undefined || this.#totals.size < MAX_DENIAL_KINDS ? key : "other";
    this.#totals.set(name, (this.#totals.get(name) ?? 0) + count);
  }
}
