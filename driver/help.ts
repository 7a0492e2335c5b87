// The commands as a table, and their help as text. What a command does is in cli.ts; nothing here reads or prints.

import { type CommandSpec, commonOptions, type OptionSpec, type WordSpec } from "./arguments.ts";
import { ExitCode, exitCodeLines } from "./exit_codes.ts";
import { MAX_TOKEN_LIFE_S } from "../protocol/limits.ts";

const MANIFEST: OptionSpec = {
  name: "manifest",
  kind: "text",
  value: "FILE",
  help: "the permission manifest, JSON with comments",
  required: true,
};

const INSECURE: OptionSpec = {
  name: "insecure-dev",
  kind: "flag",
  value: "",
  help: "run in spite of rights outside the manifest; never on a machine that matters",
};

/** Every command, in the order the help lists them. */
export const COMMANDS: readonly CommandSpec[] = [
  {
    name: "check",
    summary: "validate a manifest and show what may leave and what may come in",
    details:
      "Reports all mistakes of the manifest together, each with its place and what to write instead. " +
      "A manifest without mistakes is summed up in tables: which role reads and writes which field, " +
      "which events, channels and voice pass, and which sockets and files the driver may touch. " +
      "With --against, what the manifest adds over an older one is listed instead, one line for each right " +
      `that is new and each bound that is wider, and the exit code is ${ExitCode.Widened} when there is any.`,
    options: [MANIFEST, {
      name: "against",
      kind: "text",
      value: "FILE",
      help: "an older manifest: list only the rights that are added over it",
    }],
    examples: [
      "check --manifest examples/room_server.jsonc",
      "check --manifest room.jsonc --against /srv/room/room.jsonc",
    ],
  },
  {
    name: "explain",
    summary: "tell which rule of a manifest decides who reads and writes a field, and why",
    details:
      "Prints, for one role and each field of a component or only the one named, whether it reads and writes the " +
      "field of its own entities and of another's, and the list, inheritance or denial in the manifest that decides.",
    words: [
      {
        name: "component",
        value: "COMPONENT",
        help: "the component, by its name in the manifest",
        required: true,
      },
      { name: "field", value: "FIELD", help: "one of its fields; all of them if none is named" },
    ],
    options: [
      { name: "role", kind: "text", value: "ROLE", help: "the role that asks", required: true },
      {
        name: "manifest",
        kind: "text",
        value: "FILE",
        help: "the permission manifest",
        preset: "manifest.jsonc",
      },
    ],
    examples: [
      "explain Avatar --role player --manifest examples/room_server.jsonc",
      "explain Avatar head --role player --manifest examples/room_server.jsonc",
    ],
  },
  {
    name: "flags",
    summary: "print the exact command that starts a driver for a manifest",
    details:
      "Prints one shell line: an empty environment, then Deno with the rights that the manifest needs " +
      "and no others. Copy it into a service file, or use `launch`, which runs the same line.",
    options: [MANIFEST, INSECURE],
    examples: ["flags --manifest examples/room_server.jsonc"],
  },
  {
    name: "launch",
    summary: "start a driver under exactly these rights and wait for its end",
    details:
      "Starts the line that `flags` prints as a child process, hands SIGTERM and SIGINT on to it, and " +
      "ends with its exit code. The engine must listen on its socket before.",
    options: [MANIFEST, INSECURE],
    examples: [
      "launch --manifest examples/room_server.jsonc",
      "launch --manifest room.jsonc --verbose",
    ],
  },
  {
    name: "run",
    summary: "be the driver, in this process",
    details:
      "Connects to the engine's socket, then serves the network until the engine, a signal or a failure " +
      "ends it. Refuses to start with rights that the manifest does not name: use `launch`, or the line that " +
      "`flags` prints.",
    options: [MANIFEST, INSECURE],
    examples: ["run --manifest /srv/room/room.jsonc"],
  },
  {
    name: "grants",
    summary: "print the compiled grants as JSON, for engines in any language",
    details:
      "Prints ids, layouts, masks, limits and the schema hash that the manifest compiles to. An engine that " +
      "checks with this table needs neither Deno nor the manifest's grammar.",
    options: [MANIFEST],
    examples: ["grants --manifest examples/room_server.jsonc > grants.json"],
  },
  {
    name: "cert",
    summary: "write a lasting certificate and key, and print the pin",
    details:
      "Writes cert.pem and key.pem (readable by their owner alone) into a folder, and prints the SHA-256 pin " +
      "by which clients know the server. The pin stays the same as long as the files do. Files that exist are " +
      "never overwritten.",
    options: [
      {
        name: "out",
        kind: "text",
        value: "FOLDER",
        help: "where to write; made if missing",
        required: true,
      },
      {
        name: "days",
        kind: "integer",
        value: "N",
        help: "days of validity",
        preset: 365,
        min: 1,
        max: 3650,
      },
      {
        name: "name",
        kind: "list",
        value: "HOST",
        help:
          "host name or address the certificate is for; may be repeated; localhost and 127.0.0.1 if none",
      },
    ],
    examples: [
      "cert --out certs --name room.example.org",
      "cert --out certs --days 90 --name room.example.org --name 192.0.2.7",
    ],
  },
  {
    name: "token keygen",
    summary: "make an Ed25519 key pair for an issuer or a holder of join tokens",
    details:
      "Writes the key pair as a JSON Web Key, readable by its owner alone, and prints the public key: the world " +
      "names an issuer's in world.identity.issuers, `token issue` takes a holder's as --holder. A file that exists " +
      "is never overwritten.",
    options: [
      { name: "out", kind: "text", value: "FILE", help: "where to write it", required: true },
    ],
    examples: ["token keygen --out issuer.jwk"],
  },
  {
    name: "token issue",
    summary: "issue a join token",
    details:
      "Prints a token that lets its holder into a world, once, in a role, until it expires: a compact JSON Web " +
      "Signature. It is worth nothing without the holder's private key. The holder's engine gives it to its driver " +
      "as the credential, and signs the server's challenge.",
    options: [
      {
        name: "key",
        kind: "text",
        value: "FILE",
        help: "the issuer's key, as `token keygen` writes it",
        required: true,
      },
      {
        name: "sub",
        kind: "text",
        value: "WHO",
        help: "who joins; the server's engine is told",
        required: true,
      },
      { name: "role", kind: "text", value: "ROLE", help: "a role of the world", required: true },
      {
        name: "world",
        kind: "text",
        value: "NAME",
        help: "the world's name, or its schema hash",
        required: true,
      },
      {
        name: "holder",
        kind: "text",
        value: "PUBLIC",
        help: "the holder's public key, base64url",
        required: true,
      },
      {
        name: "pin",
        kind: "text",
        value: "HEX",
        help: "pin of the server's certificate, as `cert` prints it",
        required: true,
      },
      {
        name: "ttl",
        kind: "integer",
        value: "SECONDS",
        help: "how long it is valid",
        preset: 300,
        min: 1,
        max: MAX_TOKEN_LIFE_S,
      },
    ],
    examples: [
      "token issue --key issuer.jwk --sub alice --role player --world room --holder PUBLIC --pin HEX",
    ],
  },
  {
    name: "token inspect",
    summary: "show what a join token says, and whether it is good",
    details:
      "Prints the claims and checks the signature and the time. Whether a server takes it depends on its world, its " +
      "certificate and on whether the token was used before; that is not known here.",
    options: [
      { name: "token", kind: "text", value: "TOKEN", help: "the token itself" },
      { name: "file", kind: "text", value: "FILE", help: "a file that holds it" },
      {
        name: "issuer",
        kind: "text",
        value: "PUBLIC",
        help: "public key that must have signed it; the one that it names if left out",
      },
    ],
    examples: ["token inspect --file alice.jwt"],
  },
  {
    name: "compile",
    summary: "seal the driver, a manifest and exactly its rights into one executable",
    details:
      "Bakes the manifest and the rights it needs into an executable by `deno compile`. Its arguments can choose among the " +
      "paths under host.overridable and widen nothing; --show-manifest prints what is sealed and its hash. Relative paths " +
      "in the manifest keep meaning the folder it lies in now. Needs the runtime's base executable, which is downloaded " +
      "once or named by DENORT_BIN.",
    options: [MANIFEST, {
      name: "output",
      kind: "text",
      value: "FILE",
      help: "the executable; syncra-driver in this folder if not given",
    }, {
      name: "target",
      kind: "text",
      value: "TARGET",
      help: "another system, such as aarch64-unknown-linux-gnu; this one if not given",
    }],
    examples: [
      "compile --manifest /srv/room/room.jsonc --output room-driver",
      "compile --manifest room.jsonc --target aarch64-unknown-linux-gnu",
    ],
  },
  {
    name: "demo",
    summary: "play recorded avatars and a voice between real drivers and judge the result",
    details:
      "Starts a server engine and client engines, each with a driver process under exactly its manifest's rights, " +
      "on this machine alone. Shows a live table, and at the end a verdict.",
    options: [
      {
        name: "seconds",
        kind: "integer",
        value: "N",
        help: "how long to play",
        preset: 20,
        min: 8,
        max: 3600,
      },
      {
        name: "clients",
        kind: "integer",
        value: "N",
        help: "client engines",
        preset: 4,
        min: 2,
        max: 64,
      },
    ],
    examples: ["demo", "demo --seconds 60 --clients 8"],
  },
  {
    name: "help",
    summary: "print this overview and the exit codes",
    details: "Every command also has a help of its own: COMMAND --help.",
    options: [],
    examples: ["help", "launch --help"],
  },
  {
    name: "version",
    summary: "print the versions of program, protocol and engine link",
    details: "Peers must speak the same protocol version, engine and driver the same link version.",
    options: [],
    examples: ["version"],
  },
];

/** How the examples begin: the program as a shell calls it. */
const PROGRAM = "deno run -A mod.ts";

function wordLines(words: readonly WordSpec[]): string[] {
  const width = Math.max(...words.map((word) => word.value.length));
  return words.map((word) =>
    `  ${word.value.padEnd(width)}  ${word.help}${word.required === true ? " (required)" : ""}`
  );
}

function optionLines(options: readonly OptionSpec[]): string[] {
  const left = options.map((option) => `--${option.name}${option.value && ` ${option.value}`}`);
  const width = Math.max(...left.map((text) => text.length));
  return options.map((option, i) => {
    const notes: string[] = [];
    if (option.required === true) notes.push("required");
    if (option.preset !== undefined) notes.push(`default ${option.preset}`);
    const note = notes.length === 0 ? "" : ` (${notes.join(", ")})`;
    return `  ${left[i]!.padEnd(width)}  ${option.help}${note}`;
  });
}

/** The overview: commands and exit codes. */
export function overview(): string {
  const width = Math.max(...COMMANDS.map((command) => command.name.length));
  return [
    "The SyncraEngine network driver.",
    "",
    `Usage: ${PROGRAM} COMMAND [options]`,
    "",
    "Commands:",
    ...COMMANDS.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    "",
    "Exit codes:",
    ...exitCodeLines(),
    "",
    "COMMAND --help tells more about a command.",
  ].join("\n");
}

/** The help of one command. */
export function commandHelp(command: CommandSpec): string {
  return [
    `${command.name}: ${command.summary}`,
    "",
    ...wrap(command.details, 88),
    "",
    ...(command.words === undefined ? [] : ["Words:", ...wordLines(command.words), ""]),
    "Options:",
    ...optionLines([...command.options, ...commonOptions()]),
    "",
    "Examples:",
    ...command.examples.map((example) => `  ${PROGRAM} ${example}`),
  ].join("\n");
}

/** Breaks a paragraph into lines of at most `width` characters where words allow it. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line += (line === "" ? "" : " ") + word;
  }
  lines.push(line);
  return lines;
}
