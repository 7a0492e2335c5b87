// Turns the words of a command line into a command and its options, by a table of commands. Knows no command itself, reads no file
// and prints nothing: what is wrong comes back as a sentence.

import { nearest } from "../permissions/suggest.ts";

/** One option of a command. */
export interface OptionSpec {
  /** Name without the dashes. */
  readonly name: string;
  /** `flag` takes no value; `list` may be given several times. */
  readonly kind: "flag" | "text" | "integer" | "list";
  /** How the help names the value; empty for flags. */
  readonly value: string;
  /** One line of help. */
  readonly help: string;
  /** Without it the command does not run. */
  readonly required?: true;
  /** Value of an integer or text that is not given. */
  readonly preset?: number | string;
  /** Least value of an integer. */
  readonly min?: number;
  /** Greatest value of an integer. */
  readonly max?: number;
}

/** A word that a command takes by its place instead of by a name. */
export interface WordSpec {
  /** Name under which the command finds it, among its text options. */
  readonly name: string;
  /** How the help names it. */
  readonly value: string;
  /** One line of help. */
  readonly help: string;
  /** Without it the command does not run; required words come before the others. */
  readonly required?: true;
}

/** One command. */
export interface CommandSpec {
  /** The word, or the two words, that select it. */
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** A paragraph for its own help. */
  readonly details: string;
  /** Words it takes by their place; left out: none. */
  readonly words?: readonly WordSpec[];
  /** Its options; `--help` and `--verbose` belong to every command and are not listed. */
  readonly options: readonly OptionSpec[];
  /** Whole command lines. */
  readonly examples: readonly string[];
}

/** Options as given; asking for one that the command does not declare is an error of ours. */
export class Options {
  readonly #values: ReadonlyMap<string, true | string | number | readonly string[]>;

  /** @param values By option name. */
  constructor(values: ReadonlyMap<string, true | string | number | readonly string[]>) {
    this.#values = values;
  }

  /** Whether a flag was given. */
  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }

  /** Value of a text option; empty where it was not given. */
  text(name: string): string {
    const value = this.#values.get(name);
    return typeof value === "string" ? value : "";
  }

  /** Value of an integer option, given or preset. */
  integer(name: string): number {
    const value = this.#values.get(name);
    return typeof value === "number" ? value : 0;
  }

  /** Values of a list option in the order given. */
  list(name: string): readonly string[] {
    const value = this.#values.get(name);
    return typeof value === "object" ? value : [];
  }
}

/** What a command line means. */
export type ParsedArguments =
  | {
    readonly ok: true;
    readonly command: CommandSpec;
    readonly help: boolean;
    readonly options: Options;
  }
  /** `command` is what was recognised before the mistake, for a pointer to its help. */
  | { readonly ok: false; readonly message: string; readonly command: string };

const EVERYWHERE: readonly OptionSpec[] = [
  { name: "help", kind: "flag", value: "", help: "print this help" },
  { name: "verbose", kind: "flag", value: "", help: "print more, and errors with their stack" },
];

/** Reads a command line. The first lone `--`, as task runners hand it on, is skipped. */
export function parseArguments(
  args: readonly string[],
  commands: readonly CommandSpec[],
): ParsedArguments {
  const words = args.filter((word, i) => word !== "--" || args.indexOf("--") !== i);
  const first = words[0] ?? "help";
  const name = first === "--help" || first === "-h"
    ? "help"
    : first === "--version" || first === "-V"
    ? "version"
    : first;
  // The name of a command has one word or two.
  const pair = `${name} ${words[1] ?? ""}`;
  const command = commands.find((candidate) => candidate.name === name || candidate.name === pair);
  if (command === undefined) {
    const names = commands.map((candidate) => candidate.name);
    const family = names.filter((candidate) => candidate.startsWith(`${name} `));
    if (family.length > 0) {
      const message = `${name} needs a second word: ${family.join(", ")}.`;
      return { ok: false, command: "", message };
    }
    const near = nearest(name, names);
    const advice = near === undefined
      ? `The commands are ${names.join(", ")}.`
      : `Did you mean ${near}?`;
    return { ok: false, command: "", message: `There is no command "${name}". ${advice}` };
  }
  return parseOptions(command, words.slice(command.name === pair ? 2 : 1));
}

function parseOptions(command: CommandSpec, words: readonly string[]): ParsedArguments {
  const known = [...command.options, ...EVERYWHERE];
  const values = new Map<string, true | string | number | string[]>();
  const fail = (message: string): ParsedArguments => ({
    ok: false,
    command: command.name,
    message,
  });
  const places = [...command.words ?? []];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] === "-h" ? "--help" : words[i]!;
    if (!word.startsWith("--")) {
      const place = places.shift();
      if (place === undefined) return fail(strayWord(command, word));
      values.set(place.name, word);
      continue;
    }
    const equals = word.indexOf("=");
    const name = word.slice(2, equals === -1 ? undefined : equals);
    const option = known.find((candidate) => candidate.name === name);
    if (option === undefined) {
      const near = nearest(name, known.map((candidate) => candidate.name));
      const advice = near === undefined
        ? `Its options are ${known.map((candidate) => `--${candidate.name}`).join(", ")}.`
        : `Did you mean --${near}?`;
      return fail(`${command.name} has no option --${name}. ${advice}`);
    }
    if (option.kind === "flag") {
      if (equals !== -1) return fail(`--${name} takes no value.`);
      values.set(name, true);
      continue;
    }
    if (values.has(name) && option.kind !== "list") return fail(`--${name} is given twice.`);
    const next = words[i + 1];
    let value: string;
    if (equals !== -1) value = word.slice(equals + 1);
    else if (next === undefined || next.startsWith("--")) value = "";
    else {
      value = next;
      i += 1;
    }
    if (value === "") return fail(`--${name} needs a value: --${name} ${option.value}.`);
    const mistake = store(values, option, value);
    if (mistake !== undefined) return fail(mistake);
  }
  const help = values.has("help");
  const missing = places.find((one) => one.required);
  if (!help && missing !== undefined) {
    return fail(`${command.name} needs ${missing.value}: ${missing.help}.`);
  }
  for (const option of command.options) {
    if (option.preset !== undefined && !values.has(option.name)) {
      values.set(option.name, option.preset);
    }
    if (!help && option.required === true && !values.has(option.name)) {
      return fail(`${command.name} needs --${option.name} ${option.value}.`);
    }
  }
  return { ok: true, command, help, options: new Options(values) };
}

/** Keeps one value; returns what is wrong with it, if anything is. */
function store(
  values: Map<string, true | string | number | string[]>,
  option: OptionSpec,
  value: string,
): string | undefined {
  if (option.kind === "list") {
    const list = values.get(option.name);
    values.set(option.name, typeof list === "object" ? [...list, value] : [value]);
    return undefined;
  }
  if (option.kind === "text") {
    values.set(option.name, value);
    return undefined;
  }
  const min = option.min ?? 0;
  const max = option.max ?? Number.MAX_SAFE_INTEGER;
  const number = /^-?\d{1,15}$/.test(value) ? Number(value) : NaN;
  if (!(number >= min && number <= max)) {
    return `--${option.name} is "${value}", but must be a whole number from ${min} to ${max}.`;
  }
  values.set(option.name, number);
  return undefined;
}

function strayWord(command: CommandSpec, word: string): string {
  const manifest = command.options.some((option) => option.name === "manifest");
  const advice = manifest && /\.jsonc?$/.test(word) ? ` Did you mean --manifest ${word}?` : "";
  const taken = command.words === undefined
    ? "takes only options"
    : `takes ${command.words.map((one) => one.value).join(" and ")} and options`;
  return `${command.name} ${taken}, not "${word}".${advice}`;
}

/** The options that belong to every command, for the help. */
export function commonOptions(): readonly OptionSpec[] {
  return EVERYWHERE;
}
