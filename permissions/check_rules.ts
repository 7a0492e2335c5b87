// Rules of a component's `checks`: fields that exist and fit, limits that can be kept and can be broken. A check that nothing can violate is
// a mistake, because whoever wrote it counts on it.

import {
  CHECK_STAMP_ERROR_S,
  CHECK_TOLERANCE,
  CHECK_WINDOW_S,
  MAX_CHECKS,
  RATE_TOLERANCE,
} from "../protocol/limits.ts";
import {
  type CheckedRange,
  largestChange,
  mostAtOnce,
  reserveOf,
  smallestChange,
  WHOLE_KINDS,
} from "./check_scale.ts";
import type { FieldKind } from "./grants.ts";
import { asArray, asNumber, asObject, asText, asTexts, type Complain, type Raw } from "./raw.ts";
import { type Lineages, namesRole } from "./role_list.ts";
import { checkRoles } from "./role_rules.ts";
import { suggest } from "./suggest.ts";

type Path = readonly (string | number)[];

const LIMITS = ["bounds", "maxStep", "maxSpeed", "maxAcceleration", "rateHz"] as const;
type Limit = typeof LIMITS[number];

const WHOLE_RANGES: Readonly<Record<string, readonly [number, number]>> = {
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  i32: [-0x8000_0000, 0x7fff_ffff],
};

/** Complains about a world with more checks than the server's driver keeps state for. */
export function checkCheckCount(components: readonly Raw[], complain: Complain): void {
  const counts = components.map((one) => Object.keys(asObject(one["checks"])).length);
  const sum = counts.reduce((total, count) => total + count, 0);
  if (sum <= MAX_CHECKS) return;
  const index = counts.findLastIndex((count) => count > 0);
  complain(
    ["world", "components", index, "checks"],
    `the world checks ${sum} fields; at most ${MAX_CHECKS}, remove the least important`,
  );
}

/** Checks the `checks` of one component, whose rate is `rateHz` values a second. */
export function checkChecks(
  component: Raw,
  fields: Raw,
  rateHz: number,
  path: Path,
  roles: Lineages,
  complain: Complain,
): void {
  if (!("checks" in component)) return;
  const at = [...path, "checks"];
  const checks = asObject(component["checks"]);
  if (component["authority"] === "server" && Object.keys(checks).length > 0) {
    complain(
      at,
      "the server's engine alone writes this component, and it is never judged; remove `checks`",
    );
  }
  for (const [name, value] of Object.entries(checks)) {
    if (!(name in fields)) {
      complain([...at, name], `"${name}" is no field here${suggest(name, Object.keys(fields))}`);
      continue;
    }
    const check = asObject(value);
    checkExempt(check, component, asObject(fields[name]), [...at, name], roles, complain);
    const range = rangeOf(asObject(fields[name]));
    if (range !== undefined) new CheckRules(check, range, rateHz, [...at, name], complain).judge();
  }
}

function checkExempt(
  check: Raw,
  component: Raw,
  field: Raw,
  path: Path,
  roles: Lineages,
  complain: Complain,
): void {
  const names = [...roles.keys()];
  const exempt = asTexts(check["exempt"]);
  checkRoles(check["exempt"], [...path, "exempt"], names, [], complain);
  const lists = [component["write"], field["write"]].filter((list) => list !== undefined);
  const writers = names.filter((role) =>
    lists.every((one) => namesRole(asTexts(one), role, roles))
  );
  if (component["authority"] !== "owner" || asArray(component["write"]).length === 0) return;
  if (writers.length === 0) {
    complain(path, "no role may write this field, so nothing is judged; remove the check");
  } else if (writers.every((role) => namesRole(exempt, role, roles))) {
    complain(
      [...path, "exempt"],
      "every role that may write this field is exempt, so nothing is judged; remove one or the check",
    );
  }
}

/** A field as far as it is declared well enough to be judged. */
function rangeOf(field: Raw): CheckedRange | undefined {
  const kind = asText(field["type"]) as FieldKind | undefined;
  if (kind === undefined) return undefined;
  const [low, high] = WHOLE_RANGES[kind] ?? [];
  const min = asNumber(field["min"]) ?? low ?? 0;
  const max = asNumber(field["max"]) ?? high ?? 0;
  const precision = asNumber(field["precision"]) ?? 1;
  if ((kind === "f32" || kind === "vec3") && !(max > min && precision > 0)) return undefined;
  return { kind, min, max, precision, bits: asNumber(field["bits"]) ?? 10 };
}

function limitsOf(kind: FieldKind): readonly Limit[] {
  if (kind === "vec3" || kind === "f32") return LIMITS;
  if (WHOLE_KINDS.includes(kind)) return ["bounds", "maxStep", "maxSpeed", "rateHz"];
  return kind === "quat" ? ["maxStep", "maxSpeed", "rateHz"] : ["rateHz"];
}

/** The rules of one field's check. */
class CheckRules {
  readonly #check: Raw;
  readonly #range: CheckedRange;
  readonly #rateHz: number;
  readonly #path: Path;
  readonly #complain: Complain;

  constructor(check: Raw, range: CheckedRange, rateHz: number, path: Path, complain: Complain) {
    this.#check = check;
    this.#range = range;
    this.#rateHz = rateHz;
    this.#path = path;
    this.#complain = complain;
  }

  judge(): void {
    const { kind } = this.#range;
    const given = LIMITS.filter((key) => key in this.#check);
    const fitting = limitsOf(kind);
    for (const key of given) {
      if (fitting.includes(key)) continue;
      this.#say(key, `a ${kind} has no ${key}; it can have ${fitting.join(", ")}`);
    }
    // A key that is none is a mistake of its own, and was meant as something.
    const isKnown = (key: string) =>
      [...LIMITS, "exempt", "onViolation"].some((one) => one === key);
    if (given.length === 0 && Object.keys(this.#check).every(isKnown)) {
      this.#complain(this.#path, `checks nothing; give ${fitting.join(", or ")}`);
    }
    const has = (key: Limit) => given.includes(key) && fitting.includes(key);
    if (has("bounds")) this.#judgeBounds();
    if (has("rateHz")) this.#judgeRate();
    if (has("maxStep")) this.#judgeStep();
    if (has("maxSpeed")) this.#judgeSpeed();
    if (has("maxAcceleration")) this.#judgeAcceleration();
  }

  #judgeBounds(): void {
    const bounds = asObject(this.#check["bounds"]);
    const { kind, min, max } = this.#range;
    const axes = kind === "vec3" ? ["x", "y", "z"] : [""];
    const corners = [bounds["min"], bounds["max"]].map((corner, at) => {
      const isList = Array.isArray(corner);
      if (corner !== undefined && isList !== (kind === "vec3")) {
        const what = kind === "vec3" ? "a list of x, y, z" : "a number";
        this.#say(["bounds", at === 0 ? "min" : "max"], `the bounds of a ${kind}: write ${what}`);
        return undefined;
      }
      const numbers = (isList ? corner : [corner]).filter((one) => typeof one === "number");
      return numbers.length === axes.length ? numbers : undefined;
    });
    const [low, high] = corners;
    if (low === undefined || high === undefined) return;
    let isWhole = true;
    for (const [axis, name] of axes.entries()) {
      const [from, to] = [low[axis]!, high[axis]!];
      const of = name === "" ? "" : ` of ${name}`;
      if (from >= to) this.#say(["bounds", "max"], `${to}${of} must be above min (${from})`);
      if (from < min || to > max) {
        const end = from < min ? "min" : "max";
        this.#say(
          ["bounds", end],
          `${end === "min" ? from : to}${of} lies outside the field's own range ${min} to ${max}`,
        );
      }
      if (WHOLE_KINDS.includes(kind) && !(Number.isInteger(from) && Number.isInteger(to))) {
        this.#say("bounds", `the bounds of a ${kind} are whole numbers`);
      }
      if (from > min || to < max) isWhole = false;
    }
    if (isWhole) {
      this.#never("bounds", `the field's own range is ${min} to ${max}, and never left`);
    }
  }

  #judgeRate(): void {
    const rateHz = this.#number("rateHz");
    if (rateHz !== undefined && rateHz >= this.#rateHz) {
      this.#never("rateHz", `the component itself takes ${this.#rateHz} values a second`);
    }
  }

  #judgeStep(): void {
    const step = this.#number("maxStep");
    if (step === undefined) return;
    const smallest = smallestChange(this.#range);
    const reach = this.#reach();
    const speed = this.#number("maxSpeed");
    if (step < smallest) {
      this.#say(
        "maxStep",
        `no change would pass, the smallest one counts as ${shown(smallest)}; write at least that`,
      );
    } else if (step >= reach) {
      this.#never("maxStep", `two values differ by at most ${shown(reach)}`);
    } else if (speed !== undefined) {
      const most = mostAtOnce(this.#range, speed * CHECK_TOLERANCE);
      if (step >= most) {
        this.#never("maxStep", `maxSpeed lets at most ${shown(most)} pass at once`);
      }
    }
  }

  #judgeSpeed(): void {
    const speed = this.#number("maxSpeed");
    if (speed === undefined) return;
    const rate = Math.min(this.#rateHz, this.#number("rateHz") ?? Infinity);
    const most = this.#reach() * rate * RATE_TOLERANCE;
    // Whole numbers are exact; what is rounded seems to move by a step with every write.
    const least = WHOLE_KINDS.includes(this.#range.kind)
      ? 0
      : smallestChange(this.#range) * this.#rateHz;
    if (speed >= most) {
      this.#never("maxSpeed", `at ${rate} values a second none changes by ${shown(most)} in one`);
    } else if (speed < least) {
      this.#say(
        "maxSpeed",
        `rounding alone moves a value by up to ${
          shown(least)
        } a second at this rate; write at least that, or a finer precision`,
      );
    }
  }

  #judgeAcceleration(): void {
    const acceleration = this.#number("maxAcceleration");
    if (acceleration === undefined) return;
    const speed = this.#number("maxSpeed");
    const way = speed === undefined
      ? this.#reach()
      : Math.min(this.#reach(), reserveOf(this.#range, speed * CHECK_TOLERANCE));
    // From rest, which a window of w seconds shows to within a (w + e), one write at the same sample time may lead e (a (w + e) + a e / 2) away.
    const most = way /
      (CHECK_TOLERANCE * CHECK_STAMP_ERROR_S * (CHECK_WINDOW_S + 1.5 * CHECK_STAMP_ERROR_S));
    if (acceleration >= most) {
      this.#never("maxAcceleration", `nothing else lets a value gain ${shown(most)}`);
    }
  }

  /** The largest difference of two values that the bounds let stand. */
  #reach(): number {
    const whole = largestChange(this.#range);
    const bounds = asObject(this.#check["bounds"]);
    if (this.#check["onViolation"] === "report") return whole;
    const [low, high] = [bounds["min"], bounds["max"]].map((corner) =>
      (Array.isArray(corner) ? corner : [corner]).filter((one) => typeof one === "number")
    );
    if (low!.length === 0 || low!.length !== high!.length) return whole;
    return Math.min(whole, Math.hypot(...low!.map((from, axis) => high![axis]! - from)));
  }

  #number(key: Limit): number | undefined {
    const value = asNumber(this.#check[key]);
    // Others are the schema's to refuse.
    return value !== undefined && value > 0 ? value : undefined;
  }

  #never(key: Limit, why: string): void {
    this.#say(key, `can never be violated: ${why}; write a stricter one or remove it`);
  }

  #say(key: Limit | readonly string[], message: string): void {
    this.#complain([...this.#path, ...(typeof key === "string" ? [key] : key)], message);
  }
}

function shown(value: number): number {
  return Number(value.toPrecision(3));
}
