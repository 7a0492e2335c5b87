// The engine's door for reports of its driver: denials, violations, figures. It bounds how many game code hears, and believes no report of what
// this engine's own tables do not name.

import type { ToEngine } from "../protocol/engine_messages.ts";
import { Fault } from "../protocol/faults.ts";
import { ENGINE_TIMEOUT_MS, MAX_DENIAL_REPORTS_PER_S } from "../protocol/limits.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkState } from "./link_state.ts";

/** A message of the driver of one kind. */
type From<K extends ToEngine["kind"]> = Extract<ToEngine, { kind: K }>;

/** Sorts of reports, counted apart. */
const DENIALS = 0;
const FIGURES = 1;
const VIOLATIONS = 2;

/** Takes a driver's reports. A fault is what no correct driver says. */
export class ReportDoor {
  readonly #state: LinkState;
  readonly #callbacks: EngineCallbacks;
  /** Reports by their sort; what waited while this engine stood still comes at once. */
  readonly #limit = new RateLimiter({
    rateHz: MAX_DENIAL_REPORTS_PER_S,
    maxKeys: VIOLATIONS + 1,
    stallMs: ENGINE_TIMEOUT_MS,
  });

  /** Before the first report. */
  constructor(state: LinkState, callbacks: EngineCallbacks) {
    this.#state = state;
    this.#callbacks = callbacks;
  }

  /** Something was refused at one of the driver's doors. */
  handleDenied({ denial }: From<"denied">): void {
    if (!this.#mayReport(DENIALS)) return;
    // Only this engine's own gate speaks for the door "engine".
    const { door } = denial;
    this.#callbacks.onDenied?.(door === "engine" ? { ...denial, door: "driver" } : denial);
  }

  /** The driver's counters. */
  handleStats({ values }: From<"stats">): void {
    if (this.#mayReport(FIGURES)) this.#callbacks.onStats?.(values);
  }

  /** An owner's value broke a check. */
  handleViolation(
    { kind: _, componentId, field, ...report }: From<"violation">,
  ): Fault | undefined {
    const component = this.#state.grants.components.find(({ id }) => id === componentId);
    // The engine's own table says what is checked; a driver that reports anything else is none of this world's.
    if (component?.checks.some((check) => check.field === field) !== true) {
      return Fault.UnknownId;
    }
    if (!this.#mayReport(VIOLATIONS)) return undefined;
    this.#callbacks.onViolation?.({
      ...report,
      component: component.name,
      field: component.fields[field]!.name,
    });
    return undefined;
  }

  /** A driver sums its reports: one that floods game code with them is not heard. */
  #mayReport(sort: number): boolean {
    if (this.#limit.take(sort, this.#state.nowMs)) return true;
    this.#state.counters.reportsDropped += 1;
    return false;
  }
}
