// Turns what the schema library found into sentences that say what to write instead. It knows the library's issues, no manifest key.

import { z } from "zod";
import { suggest } from "./suggest.ts";

/** One finding of the schema: where, and what to write instead. */
export interface Finding {
  /** Path of the value; for an unknown key, the path of the key. */
  readonly path: readonly (string | number)[];
  /** The sentence. */
  readonly message: string;
}

/** Separates the sentences of several unknown keys of one object, which the library reports as one issue. */
const SEPARATOR = "\u0000";

/** Validates `value`; returns the typed value with defaults filled in, or every finding. */
export function validate<T extends z.ZodType>(
  schema: T,
  value: unknown,
): { readonly value: z.output<T> } | { readonly findings: readonly Finding[] } {
  const result = schema.safeParse(value, { error: sentence });
  if (result.success) return { value: result.data };
  const findings: Finding[] = [];
  for (const issue of result.error.issues) collect(issue, [], value, findings);
  return { findings };
}

type RawIssue = z.core.$ZodRawIssue;

function collect(
  issue: z.core.$ZodIssue,
  before: readonly (string | number)[],
  root: unknown,
  findings: Finding[],
): void {
  const path = [...before, ...issue.path.map((part) => typeof part === "symbol" ? "?" : part)];
  if (issue.code === "unrecognized_keys") {
    const sentences = issue.message.split(SEPARATOR);
    for (const [index, key] of issue.keys.entries()) {
      findings.push({ path: [...path, key], message: sentences[index] ?? "unknown key" });
    }
    return;
  }
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    // The branch with the fewest complaints is the one that was meant.
    const branches = [...issue.errors].sort((a, b) => weight(a) - weight(b));
    for (const inner of branches[0] ?? []) collect(inner, path, root, findings);
    return;
  }
  findings.push({ path, message: issue.message });
}

/** A whole value of the wrong type says less than a wrong key inside it. */
function weight(issues: readonly z.core.$ZodIssue[]): number {
  let sum = 0;
  for (const issue of issues) {
    sum += issue.code === "unrecognized_keys" ? issue.keys.length * 2 : 1;
    if (issue.code === "invalid_type" && issue.path.length === 0) sum += 8;
  }
  return sum;
}

function sentence(issue: RawIssue): string | undefined {
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
      return (issue.keys as string[]).map((key) => `unknown key "${key}"${suggest(key, known)}`)
        .join(SEPARATOR);
    }
    case "invalid_type":
      return issue.input === undefined
        ? `missing: ${description(issue) ?? `write ${article(String(issue.expected))}`}`
        : `write ${article(String(issue.expected))}, not ${shown(issue.input)}`;
    case "invalid_value": {
      const values = (issue.values as unknown[]).map(String);
      const list = values.map((one) => typeof issue.values[0] === "string" ? `"${one}"` : one);
      if (issue.input === undefined) return `missing: write ${list.join(" or ")}`;
      return typeof issue.input === "string"
        ? `"${short(issue.input)}" is not known here${suggest(issue.input, values)}`
        : `write ${list.join(" or ")}, not ${shown(issue.input)}`;
    }
    case "invalid_union": {
      const options = issue["options"] as unknown[] | undefined;
      const key = issue["discriminator"] as string | undefined;
      if (options === undefined || key === undefined) return undefined;
      const given = (issue.input as Record<string, unknown> | null | undefined)?.[key];
      const names = options.map(String);
      return given === undefined
        ? `missing: write one of ${names.map((one) => `"${one}"`).join(", ")}`
        : `${shown(given)} is no ${key}${suggest(typeof given === "string" ? given : "", names)}`;
    }
    case "too_small":
      return bound(issue, "at least", Number(issue.minimum), issue.inclusive === false);
    case "too_big":
      return bound(issue, "at most", Number(issue.maximum), issue.inclusive === false);
    case "invalid_key":
      return "a name is a letter, then letters, digits and _, at most 64";
    default:
      return undefined;
  }
}

function bound(issue: RawIssue, word: string, limit: number, exclusive: boolean): string {
  const unit = issue.origin === "string" ? "characters" : issue.origin === "array" ? "items" : "";
  if (exclusive) return `write a number ${word === "at least" ? "above" : "below"} ${limit}`;
  if (unit !== "") return `give ${word} ${limit} ${limit === 1 ? unit.slice(0, -1) : unit}`;
  return `write ${word} ${limit}, not ${shown(issue.input)}`;
}

function description(issue: RawIssue): string | undefined {
  const schema = issue.inst;
  return schema instanceof z.ZodType ? schema.description : undefined;
}

function article(type: string): string {
  if (type === "object" || type === "record") return "an object { ... }";
  if (type === "array") return "a list [ ... ]";
  if (type === "int") return "a whole number";
  if (type === "string") return "a text";
  return `a ${type}`;
}

function shown(value: unknown): string {
  if (typeof value === "string") return `"${short(value)}"`;
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

function short(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}...`;
}
