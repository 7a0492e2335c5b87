// The one error an operator meets when a manifest is wrong: every mistake at once, each with its place and what to write instead.
// It knows nothing of how mistakes are found.

/** One mistake in a manifest. */
export interface Mistake {
  /** Path in the document, such as `world.components[2].fields.rotation.precision`; `(document)` or empty for the whole. */
  readonly path: string;
  /** Line in the file, from 1; left out where the mistake has none (a file that is not there, say). */
  readonly line?: number;
  /** What is wrong and what to write instead. */
  readonly message: string;
}

/** The name of the whole document in a {@linkcode Mistake}. */
export const WHOLE_DOCUMENT = "(document)";

/** Writes a path the way people read it: `world.roles[1].name`. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? String(part) : `.${String(part)}`;
  }
  return text === "" ? WHOLE_DOCUMENT : text;
}

/** A manifest that cannot be used. `message` lists all mistakes and is meant to be printed as it is, without a stack trace. */
export class ManifestError extends Error {
  /** The name of the error class. */
  override readonly name = "ManifestError";
  /** The file as the operator named it. */
  readonly file: string;
  /** All mistakes, in the order of their lines. */
  readonly mistakes: readonly Mistake[];

  /** Collects `mistakes` of `file`; duplicates (same path and message) are told once. */
  constructor(file: string, mistakes: readonly Mistake[]) {
    const unique = new Map(mistakes.map((one) => [`${one.path}\n${one.message}`, one]));
    const sorted = [...unique.values()].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
    super(describe(file, sorted));
    this.file = file;
    this.mistakes = sorted;
  }
}

function describe(file: string, mistakes: readonly Mistake[]): string {
  const count = mistakes.length === 1 ? "1 mistake" : `${mistakes.length} mistakes`;
  const lines = mistakes.map((one) => {
    const path = one.path === "" ? WHOLE_DOCUMENT : one.path;
    const place = one.line === undefined ? path : `line ${one.line}, ${path}`;
    return `  ${place}:\n    ${one.message}`;
  });
  return `${file}: ${count}\n${lines.join("\n")}`;
}
