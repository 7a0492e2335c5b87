// JSON with comments to a value whose every part can be found again by line. It knows nothing of what the document means, and refuses
// what a parser would silently swallow: keys written twice, and keys that scripts treat as magic.

import {
  createScanner,
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import { MAX_MANIFEST_CHARS, MAX_MANIFEST_DEPTH } from "../protocol/limits.ts";
import { formatPath, type Mistake, WHOLE_DOCUMENT } from "./manifest_error.ts";

/** A parsed document. */
export interface Document {
  /** The value, `undefined` where the text is no JSON. */
  readonly value: unknown;
  /** Mistakes of the text itself. */
  readonly mistakes: readonly Mistake[];
  /** True when `value` can be judged further: the text has no syntax mistake. */
  readonly whole: boolean;
  /** The line, from 1, of the value at `path`, or of the nearest part around it that exists. */
  lineOf(path: readonly (string | number)[]): number;
}

/** Parses JSON with comments and trailing commas. */
export function parseDocument(source: string): Document {
  const text = source.startsWith("\ufeff") ? source.slice(1) : source;
  const lines = lineStarts(text);
  const lineAt = (offset: number) => lineOfOffset(lines, offset);
  const tooBig = checkBounds(text, lineAt);
  if (tooBig !== undefined) {
    return { value: undefined, mistakes: [tooBig], whole: false, lineOf: () => 0 };
  }
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true });
  const mistakes = errors.map((error): Mistake => ({
    path: WHOLE_DOCUMENT,
    line: lineAt(error.offset),
    message: `not JSON with comments: ${spaced(printParseErrorCode(error.error))}`,
  }));
  const whole = mistakes.length === 0 && tree !== undefined;
  if (tree === undefined && mistakes.length === 0) {
    mistakes.push({ path: WHOLE_DOCUMENT, line: 1, message: "the file is empty" });
  }
  if (tree !== undefined) findDuplicates(tree, [], lineAt, mistakes);
  return {
    value: tree === undefined ? undefined : getNodeValue(tree),
    mistakes,
    whole,
    lineOf: (path) => tree === undefined ? 0 : lineAt(offsetOf(tree, path)),
  };
}

/** Bounds are checked with the scanner, which does not recurse, before the parser, which does. */
function checkBounds(text: string, lineAt: (offset: number) => number): Mistake | undefined {
  if (text.length > MAX_MANIFEST_CHARS) {
    return {
      path: WHOLE_DOCUMENT,
      line: 1,
      message: `longer than ${MAX_MANIFEST_CHARS} characters: this is no manifest`,
    };
  }
  const scanner = createScanner(text, true);
  let depth = 0;
  for (let kind = scanner.scan(); kind !== END_OF_FILE; kind = scanner.scan()) {
    if (OPENING.includes(kind)) depth += 1;
    if (CLOSING.includes(kind)) depth -= 1;
    if (depth > MAX_MANIFEST_DEPTH) {
      return {
        path: WHOLE_DOCUMENT,
        line: lineAt(scanner.getTokenOffset()),
        message: `nested deeper than ${MAX_MANIFEST_DEPTH} levels: this is no manifest`,
      };
    }
  }
  return undefined;
}

// The package's `SyntaxKind` is a const enum, whose names do not exist at run time under isolated modules.
const OPENING: readonly number[] = [1, 3];
const CLOSING: readonly number[] = [2, 4];
const END_OF_FILE = 17;

function findDuplicates(
  node: Node,
  path: (string | number)[],
  lineAt: (offset: number) => number,
  mistakes: Mistake[],
): void {
  const children = node.children ?? [];
  if (node.type === "array") {
    children.forEach((child, index) => findDuplicates(child, [...path, index], lineAt, mistakes));
    return;
  }
  if (node.type !== "object") return;
  const seen = new Set<string>();
  for (const property of children) {
    const key = property.children?.[0];
    const name = String(key?.value);
    const at = [...path, name];
    const line = lineAt(property.offset);
    if (name === "__proto__") {
      mistakes.push({ path: formatPath(at), line, message: `unknown key "${name}"; remove it` });
    } else if (seen.has(name)) {
      mistakes.push({
        path: formatPath(at),
        line,
        message: `key "${name}" is written twice; remove one`,
      });
    }
    seen.add(name);
    const value = property.children?.[1];
    if (value !== undefined) findDuplicates(value, at, lineAt, mistakes);
  }
}

/** Offset of the value at `path`; for a value that is not there, of the nearest part around it. */
function offsetOf(tree: Node, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = findNodeAtLocation(tree, path.slice(0, length));
    // A key is where its mistake is seen, so the property's own offset counts, not its value's.
    if (node !== undefined) {
      return node.parent?.type === "property" ? node.parent.offset : node.offset;
    }
  }
  return tree.offset;
}

function lineStarts(text: string): number[] {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

function lineOfOffset(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= offset) low = middle;
    else high = middle;
  }
  return low + 1;
}

/** `CommaExpected` as `comma expected`. */
function spaced(code: string): string {
  return code.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}
