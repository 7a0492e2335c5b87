// The house rules as data and pure functions: which folders are core, who may import whom, what every file must and must not say.
// The lint plugin and the repository tests apply them; nothing here reads a file.

/** The rooms, in import order: a folder imports itself and the folders before it. */
export const ROOMS = [
  "protocol",
  "permissions",
  "replication",
  "voice",
  "session",
  "engine",
  "transport",
  "driver",
  "mod.ts",
] as const;

/** Folders that stand outside the order and may import everything. */
export const WORKSHOPS = ["tests", "bench", "examples", "tools"] as const;

/** Rooms whose files do no I/O and know no clock, but for {@linkcode OUTER_FILES}. */
export const CORE_ROOMS: readonly string[] = [
  "protocol",
  "permissions",
  "replication",
  "voice",
  "session",
  "engine",
  "driver",
];

/** The files of core rooms that may do I/O, each with its reason. Their number is meant to stay small. */
export const OUTER_FILES: Readonly<Record<string, string>> = {
  "engine/listen.ts": "opens the engine's socket",
  "engine/mod.ts": "re-exports listen.ts",
  "driver/run.ts": "starts a driver: files, rights, the engine's socket",
  "driver/program.ts": "joins the driver core to sockets and the clock",
  "driver/launcher.ts": "starts a driver process",
  "driver/cli.ts": "reads arguments and files, prints",
  "driver/compile_command.ts": "runs the compiler",
  "driver/sealed.ts": "is the main program of a sealed driver",
  "driver/manifest_file.ts": "reads a manifest from disk",
  "driver/certificate_files.ts": "reads and writes certificates and keys",
  "driver/ed25519.ts": "checks signatures by the runtime's cryptography",
  "driver/token_command.ts": "reads and writes keys of join tokens",
  "driver/token_issuer.ts": "signs join tokens",
};

/** The only file of `transport/` that core files may import: types without I/O. */
export const TRANSPORT_INTERFACE = "transport/connection.ts";

/** Bare specifiers (see `imports` in `deno.json`) that core files may import: pure packages. */
export const CORE_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  protocol: ["@std/msgpack"],
  permissions: ["jsonc-parser", "zod"],
};

/** Globals that reach a clock, a random source, the network, a process or another thread. */
export const OUTER_GLOBALS: readonly string[] = [
  "Deno",
  "process",
  "Buffer",
  "Date",
  "performance",
  "Temporal",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "clearTimeout",
  "clearInterval",
  "queueMicrotask",
  "console",
  "crypto",
  "fetch",
  "Worker",
  "SharedWorker",
  "WebSocket",
  "WebTransport",
  "EventSource",
  "XMLHttpRequest",
  "localStorage",
  "sessionStorage",
  "navigator",
  "globalThis",
  "self",
  "window",
  "eval",
  "require",
];

/** First segment of a path relative to the repository root. */
export function roomOf(path: string): string {
  const slash = path.indexOf("/");
  return slash === -1 ? path : path.slice(0, slash);
}

/** True for files that must do no I/O and know no clock. */
export function isCoreFile(path: string): boolean {
  return CORE_ROOMS.includes(roomOf(path)) && !(path in OUTER_FILES);
}

/** The path that `specifier` (relative) means, seen from `from`; both relative to the repository root. */
export function resolveImport(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/**
 * Judges one import.
 *
 * @param from File that imports, relative to the repository root.
 * @param specifier As written: relative, bare, `npm:` or `node:`.
 * @returns What is wrong, or `undefined`.
 */
export function judgeImport(from: string, specifier: string): string | undefined {
  const room = roomOf(from);
  if ((WORKSHOPS as readonly string[]).includes(room)) return undefined;
  if (!specifier.startsWith(".")) return judgePackage(from, room, specifier);
  const to = resolveImport(from, specifier);
  const toRoom = roomOf(to);
  const fromPlace = (ROOMS as readonly string[]).indexOf(room);
  const toPlace = (ROOMS as readonly string[]).indexOf(toRoom);
  // The demo is the one program that lives among the examples; the command line starts it.
  if (from === "driver/cli.ts" && to === "examples/demo.ts") return undefined;
  if (fromPlace === -1) return undefined;
  if (toPlace === -1) return `${room} must not import from ${toRoom}/`;
  if (toPlace > fromPlace) {
    return `${room} must not import ${to}: rooms import only rooms before them (${
      ROOMS.join(" < ")
    })`;
  }
  if (!isCoreFile(from)) return undefined;
  if (toRoom === "transport" && to !== TRANSPORT_INTERFACE) {
    return `core files import only ${TRANSPORT_INTERFACE} of transport/, not ${to}`;
  }
  if (to in OUTER_FILES) return `core files must not import ${to}, which ${OUTER_FILES[to]}`;
  return undefined;
}

function judgePackage(from: string, room: string, specifier: string): string | undefined {
  if (/^(npm|jsr|https?|data|blob):/.test(specifier)) {
    return `import "${specifier}" through the import map of deno.json, so that its version stands in one place`;
  }
  if (!isCoreFile(from)) return undefined;
  if (specifier.startsWith("node:")) {
    return `core files must not import ${specifier}: take what it does as an argument`;
  }
  const allowed = CORE_PACKAGES[room] ?? [];
  return allowed.includes(specifier)
    ? undefined
    : `core files of ${room}/ must not import the package ${specifier}`;
}

/** Legal file names: snake_case; tests end in `_test.ts`. */
const FILE_NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.d|\.schema)?\.[a-z0-9]+$/;

/** Names that tools and custom prescribe. */
const CUSTOMARY_NAMES: readonly string[] = [
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "DECISIONS.md",
  "MANIFEST.md",
  "PROTOCOL.md",
  ".gitignore",
  ".gitattributes",
  "run",
];

/** Judges the name of a file, its folder not included. */
export function judgeFileName(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (CUSTOMARY_NAMES.includes(name) || FILE_NAME.test(name)) return undefined;
  if (path.startsWith("docs/") && /^[A-Z][A-Z_]*\.md$/.test(name)) return undefined;
  return `${path}: file names are snake_case`;
}

/** What no text of the repository may say. Written so that this file does not say it either. */
const FORBIDDEN: readonly (readonly [RegExp, string])[] = [
  [
    /\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b/,
    "work left over belongs to no file: do it, or leave it out",
  ],
  [
    /\b(registry\.npm[j]s\.org|npm\.j[s]r\.io|j[s]r\.io|dl\.de[n]o\.land|de[n]o\.land\/(x|std)|es[m]\.sh|unp[k]g\.com)\b/,
    "no package registry by its host name: the import map and the user's configuration decide",
  ],
  [/(^|[\s"'`(=:])\/(wor[k]|roo[t])\//, "no absolute path of one machine"],
  [/(^|[\s"'`(=:])\/(hom[e]|User[s])\/[a-z]/, "no absolute path of one machine"],
  [/(^|[\s"'`(=:])\/tm[p]\/(bin|bash_|c\/)/, "no absolute path of one machine"],
];

/** Files that must name hosts in order to refuse them. */
const MAY_NAME_HOSTS: readonly string[] = ["permissions/self_check.ts"];

/** Every forbidden word in a text, as `path:line: reason`. */
export function findForbidden(path: string, text: string): string[] {
  const found: string[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    for (const [pattern, reason] of FORBIDDEN) {
      if (!pattern.test(line)) continue;
      if (reason.startsWith("no package registry") && MAY_NAME_HOSTS.includes(path)) continue;
      found.push(`${path}:${i + 1}: ${reason}`);
    }
  }
  return found;
}

/** The comment that a TypeScript file begins with, line or block, without its marks; a `#!` line before it is skipped. */
export function headCommentOf(text: string): string {
  const body = text.replace(/^#!.*\n/, "").replace(/^(\/\/ (deno-|@).*\n)+/, "");
  const block = /^\/\*\*([\s\S]*?)(@module\b[\s\S]*?)?\*\//.exec(body);
  const lines = block === null ? /^(\/\/.*(\n|$))*/.exec(body)![0] : block[1]!;
  return lines.split("\n").map((line) => line.replace(/^ ?(\/\/|\*)/, "").trim()).join(" ").trim();
}

/** Least characters of a room's head comment: what a file knows, and what it leaves to others, takes more than a title. */
const LEAST_HEAD_CHARACTERS = 60;

/** Judges the head comment of a source file: whole sentences, and in a room more than a title. A test's name may say it all. */
export function judgeHead(path: string, text: string): string | undefined {
  if (path.endsWith("_test.ts")) return undefined;
  const head = headCommentOf(text);
  const least = (WORKSHOPS as readonly string[]).includes(roomOf(path)) ? 1 : LEAST_HEAD_CHARACTERS;
  return head.length >= least && /[.!?](\s|$)/.test(head)
    ? undefined
    : `${path}: begins with no comment that says in whole sentences what the file knows and does not`;
}

/** One exported constant of a file. */
export interface ConstantFound {
  /** Its name. */
  readonly name: string;
  /** Whether a doc comment of at least three words stands right above it. */
  readonly documented: boolean;
}

/** The exported constants of a TypeScript file. */
export function exportedConstants(text: string): ConstantFound[] {
  const lines = text.split("\n");
  const found: ConstantFound[] = [];
  for (const [i, line] of lines.entries()) {
    const name = /^export const (\w+)/.exec(line)?.[1];
    if (name === undefined) continue;
    let comment = "";
    for (let at = i - 1; at >= 0 && /^(\/\*\*| \*)/.test(lines[at]!); at--) {
      comment = lines[at]! + comment;
    }
    found.push({ name, documented: comment.startsWith("/**") && comment.split(/\s+/).length > 4 });
  }
  return found;
}

/** Every Markdown file that a text names or links, with its folder if one is written. */
export function markdownNames(text: string): string[] {
  return [...text.matchAll(/(?<![\w/.-])((?:\.{0,2}\/)?(?:[\w-]+\/)*[\w-]+\.md)\b/g)].map((m) =>
    m[1]!
  );
}
