// Reading a parsed document that may be wrong anywhere: rules that span keys run over it even where single keys are mistaken, so that
// all mistakes are told at once. A value of the wrong type reads as absent; the schema has already complained about it.

/** A JSON object of unknown contents. */
export type Raw = Readonly<Record<string, unknown>>;

/** The value as an object, or an empty one. */
export function asObject(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Raw : {};
}

/** The value as an array, or an empty one. */
export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The value as a text, if it is one. */
export function asText(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The value as a number, if it is one. */
export function asNumber(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** The texts of an array. */
export function asTexts(value: unknown): string[] {
  return asArray(value).filter((one) => typeof one === "string");
}

/** Takes one mistake: where, and what to write instead. */
export type Complain = (path: readonly (string | number)[], message: string) => void;
