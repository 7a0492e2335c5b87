// Broken checks on their way to the server's engine: summed by peer, field and check, a few a second of each peer however many there are. It
// counts; what is a violation is decided elsewhere.

import type { ViolationReport } from "../protocol/engine_messages.ts";
import {
  MAX_DENIAL_REPORTS_PER_S,
  MAX_PENDING_VIOLATIONS,
  MAX_VIOLATION_REPORTS_PER_S,
} from "../protocol/limits.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";

/** Peer ids have 16 bits. */
const PEER_KEYS = 0x1_0000;

/** Reports of broken checks that wait for their turn. */
export class Violations {
  /** Oldest first; equal ones (peer, component, field, check, action) are summed. */
  readonly #pending = new Map<string, ViolationReport>();
  readonly #perPeer = new RateLimiter({ rateHz: MAX_VIOLATION_REPORTS_PER_S, maxKeys: PEER_KEYS });
  #total = 0;
  #unreported = 0;
  #tokens = MAX_DENIAL_REPORTS_PER_S;
  #refilledAt = -Infinity;

  /** All violations so far. */
  get total(): number {
    return this.#total;
  }

  /** Violations counted but told to nobody, because too many kinds were waiting. */
  get unreported(): number {
    return this.#unreported;
  }

  /**
   * Counts a violation and queues it. Those of one kind that wait together become one report: their counts add up, the entity and the numbers
   * are those that were measured farthest above the limit.
   */
  record(report: ViolationReport): void {
    this.#total += report.count;
    const { peer, componentId, field, check, action } = report;
    const key = `${peer} ${componentId} ${field} ${check} ${action}`;
    const waiting = this.#pending.get(key);
    if (waiting !== undefined) {
      const worst = excess(report) > excess(waiting) ? report : waiting;
      this.#pending.set(key, { ...worst, count: waiting.count + report.count });
    } else if (this.#pending.size < MAX_PENDING_VIOLATIONS) {
      this.#pending.set(key, report);
    } else {
      this.#unreported += report.count;
    }
  }

  /** The next report to tell the engine; `undefined` when none waits or the second's share of all or of their peers is spent. */
  poll(nowMs: number): ViolationReport | undefined {
    if (this.#pending.size === 0) return undefined;
    const grown = Math.max(0, nowMs - this.#refilledAt) * MAX_DENIAL_REPORTS_PER_S / 1000;
    this.#tokens = Math.min(MAX_DENIAL_REPORTS_PER_S, this.#tokens + grown);
    this.#refilledAt = nowMs;
    if (this.#tokens < 1) return undefined;
    for (const [key, report] of this.#pending) {
      if (!this.#perPeer.take(report.peer, nowMs)) continue;
      this.#tokens -= 1;
      this.#pending.delete(key);
      return report;
    }
    return undefined;
  }
}

/** How far a measurement lies beyond its limit. */
function excess({ measured, limit }: ViolationReport): number {
  return Math.abs(measured - limit);
}
