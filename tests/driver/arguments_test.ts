// The argument parser, on a small table of commands of its own and on the real one.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { type CommandSpec, type Options, parseArguments } from "../../driver/arguments.ts";
import { EXIT_TEXT, ExitCode, exitCodeLines } from "../../driver/exit_codes.ts";
import { commandHelp, COMMANDS, overview, wrap } from "../../driver/help.ts";

const TABLE: readonly CommandSpec[] = [
  {
    name: "brew",
    summary: "",
    details: "",
    examples: [],
    options: [
      { name: "manifest", kind: "text", value: "FILE", help: "", required: true },
      { name: "cups", kind: "integer", value: "N", help: "", preset: 4, min: 1, max: 9 },
      { name: "guest", kind: "list", value: "NAME", help: "" },
      { name: "hot", kind: "flag", value: "", help: "" },
    ],
  },
  {
    name: "pour",
    summary: "",
    details: "",
    examples: [],
    words: [
      { name: "cup", value: "CUP", help: "what to fill", required: true },
      { name: "guest", value: "GUEST", help: "whom to serve" },
    ],
    options: [{ name: "milk", kind: "text", value: "KIND", help: "", preset: "oat" }],
  },
  { name: "help", summary: "", details: "", examples: [], options: [] },
  { name: "version", summary: "", details: "", examples: [], options: [] },
];

function options(...args: string[]): Options {
  const parsed = parseArguments(args, TABLE);
  assert(parsed.ok, parsed.ok ? "" : parsed.message);
  return parsed.options;
}

function mistake(...args: string[]): string {
  const parsed = parseArguments(args, TABLE);
  assert(!parsed.ok, "a mistake was expected");
  return parsed.message;
}

Deno.test("`parseArguments()` reads every kind of option, when both spellings are used", () => {
  const read = options(
    "brew",
    "--manifest",
    "m.jsonc",
    "--cups=7",
    "--guest",
    "a",
    "--guest=b",
    "--hot",
  );
  assertEquals(read.text("manifest"), "m.jsonc");
  assertEquals(read.integer("cups"), 7);
  assertEquals(read.list("guest"), ["a", "b"]);
  assertEquals(read.flag("hot"), true);
  assertEquals(read.flag("verbose"), false);
});

Deno.test("`parseArguments()` fills presets, when an integer is not given", () => {
  assertEquals(options("brew", "--manifest=m").integer("cups"), 4);
  assertEquals(options("brew", "--manifest=m").list("guest"), []);
});

Deno.test("`parseArguments()` takes words by their place, when options stand between them", () => {
  const read = options("pour", "mug", "--milk", "cow", "ann");
  assertEquals([read.text("cup"), read.text("guest"), read.text("milk")], ["mug", "ann", "cow"]);
  const short = options("pour", "mug");
  assertEquals([short.text("cup"), short.text("guest"), short.text("milk")], ["mug", "", "oat"]);
});

Deno.test("`parseArguments()` says which word is missing or too many", () => {
  assertStringIncludes(mistake("pour", "--milk=cow"), "pour needs CUP: what to fill.");
  assertStringIncludes(
    mistake("pour", "mug", "ann", "bob"),
    'pour takes CUP and GUEST and options, not "bob".',
  );
  const parsed = parseArguments(["pour", "--help"], TABLE);
  assert(parsed.ok && parsed.help);
});

Deno.test("`parseArguments()` keeps values with equals signs and spaces, when they are given", () => {
  assertEquals(options("brew", "--manifest=a=b c").text("manifest"), "a=b c");
});

Deno.test("`parseArguments()` skips the dashes of a task runner, when they come first", () => {
  assertEquals(options("--", "brew", "--manifest", "m").text("manifest"), "m");
  assertEquals(options("brew", "--", "--manifest", "m").text("manifest"), "m");
});

Deno.test("`parseArguments()` means help or version, when the usual words are given", () => {
  for (
    const [args, name] of [[[], "help"], [["-h"], "help"], [["--help"], "help"], [
      ["-V"],
      "version",
    ]] as const
  ) {
    const parsed = parseArguments(args, TABLE);
    assert(parsed.ok);
    assertEquals(parsed.command.name, name);
  }
});

Deno.test("`parseArguments()` does not want required options, when help is asked for", () => {
  for (const word of ["--help", "-h"]) {
    const parsed = parseArguments(["brew", word], TABLE);
    assert(parsed.ok && parsed.help);
  }
});

Deno.test("`parseArguments()` suggests a command, when one is misspelt", () => {
  assertStringIncludes(mistake("berw"), "Did you mean brew?");
  assertStringIncludes(mistake("zzzzzz"), "The commands are brew, pour, help, version.");
});

Deno.test("`parseArguments()` suggests an option, when one is misspelt", () => {
  assertStringIncludes(mistake("brew", "--manifets", "m"), "Did you mean --manifest?");
  assertStringIncludes(mistake("brew", "--xyzzy"), "Its options are --manifest, --cups");
});

Deno.test("`parseArguments()` says what is missing, when a value or an option is", () => {
  assertStringIncludes(mistake("brew"), "brew needs --manifest FILE.");
  assertStringIncludes(mistake("brew", "--manifest"), "--manifest needs a value");
  assertStringIncludes(mistake("brew", "--manifest="), "--manifest needs a value");
  assertStringIncludes(mistake("brew", "--manifest", "--hot"), "--manifest needs a value");
});

Deno.test("`parseArguments()` refuses doubled options, values of flags and stray words, when they are given", () => {
  assertStringIncludes(mistake("brew", "--manifest=a", "--manifest=b"), "given twice");
  assertStringIncludes(mistake("brew", "--hot=yes"), "--hot takes no value");
  assertStringIncludes(mistake("brew", "m.jsonc"), "Did you mean --manifest m.jsonc?");
  assertStringIncludes(mistake("brew", "-x"), 'not "-x"');
});

Deno.test("`parseArguments()` bounds integers, when they are out of range or none", () => {
  for (const bad of ["0", "10", "1.5", "1e1", "x", "-1", "0x5", " 5", "9999999999999999999"]) {
    assertStringIncludes(mistake("brew", "--manifest=m", `--cups=${bad}`), "from 1 to 9");
  }
});

Deno.test("`parseArguments()` never throws and never invents a command, when words are random", () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "brew",
      "pour",
      "--manifest",
      "--cups",
      "--guest=",
      "--hot",
      "--",
      "-h",
      "--help",
      "--manifest=m",
    ),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), (words) => {
      const parsed = parseArguments(words, TABLE);
      if (parsed.ok) assert(TABLE.includes(parsed.command));
      else assert(parsed.message.length > 10 && !parsed.message.includes("undefined"));
    }),
    { seed: 7, numRuns: 2_000 },
  );
});

Deno.test("`commandHelp()` names every option and an example, when any command is asked", () => {
  for (const command of COMMANDS) {
    const text = commandHelp(command);
    for (const option of command.options) assertStringIncludes(text, `--${option.name}`);
    for (const word of command.words ?? []) assertStringIncludes(text, `  ${word.value} `);
    assertStringIncludes(text, "--verbose");
    assert(command.examples.length > 0, command.name);
    for (const line of text.split("\n")) assert(line.length <= 120, line);
  }
});

Deno.test("every example of the help parses, when it is read back", () => {
  for (const command of COMMANDS) {
    for (const example of command.examples) {
      const parsed = parseArguments(example.split(" > ")[0]!.split(" "), COMMANDS);
      assert(parsed.ok, `${example}: ${parsed.ok ? "" : parsed.message}`);
    }
  }
});

Deno.test("`overview()` lists every command and every exit code, when it is printed", () => {
  const text = overview();
  for (const command of COMMANDS) assertStringIncludes(text, command.summary);
  for (const line of exitCodeLines()) assertStringIncludes(text, line);
});

Deno.test("`EXIT_TEXT` has a sentence for each code, when the table is read", () => {
  const codes = Object.values(ExitCode);
  assertEquals(new Set(codes).size, codes.length);
  assertEquals(Object.keys(EXIT_TEXT).map(Number).sort((a, b) => a - b), [...codes]);
});

Deno.test("`wrap()` keeps every word, when lines are short", () => {
  const text = "a bb ccc dddd eeeee";
  assertEquals(wrap(text, 6), ["a bb", "ccc", "dddd", "eeeee"]);
  assertEquals(wrap(text, 200), [text]);
});
