// The command line: from words to an exit code. Each command is a few lines that join the rooms; what is wrong with input ends as one
// clear paragraph on stderr. The driver itself is loaded only by `run`, the demo only by `demo`.

import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import { explain, explanationText } from "../permissions/explain.ts";
import { ManifestError } from "../permissions/manifest_error.ts";
import { summarize } from "../permissions/summary.ts";
import { addedRights, type CompiledManifest } from "../permissions/widening.ts";
import { ENGINE_LINK_VERSION, PROTOCOL_VERSION } from "../protocol/limits.ts";
import { TransportError, TransportErrorCode } from "../transport/transport_error.ts";
import { type Options, parseArguments } from "./arguments.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { commandHelp, COMMANDS, overview } from "./help.ts";
import { launchDriver, shellLine, startCommand, waitForDriver } from "./launcher.ts";
import { assertMemory, memoryBudget, memoryTable } from "./memory_budget.ts";
import { readManifestFile } from "./manifest_file.ts";

/** Version of this program. */
export const VERSION = "0.1.0";

/** Where the commands print; tests give their own. */
export interface Terminal {
  /** Takes one line (or several) of result. */
  readonly out: (text: string) => void;
  /** Takes one line (or several) of diagnosis. */
  readonly err: (text: string) => void;
}

const TERMINAL: Terminal = {
  out: (text) => console.log(text),
  err: (text) => console.error(text),
};

/**
 * Runs one command line.
 *
 * @param args The words after the program's name.
 * @returns The exit code, one of {@linkcode ExitCode}, or that of the driver where `launch` waited for one.
 */
export async function main(
  args: readonly string[],
  terminal: Terminal = TERMINAL,
): Promise<number> {
  const parsed = parseArguments(args, COMMANDS);
  if (!parsed.ok) {
    const more = parsed.command === "" ? "help" : `${parsed.command} --help`;
    terminal.err(`syncra: ${parsed.message} See: ${more}`);
    return ExitCode.Usage;
  }
  if (parsed.help) {
    terminal.out(commandHelp(parsed.command));
    return ExitCode.Ok;
  }
  try {
    return await COMMAND_BODIES[parsed.command.name]!(parsed.options, terminal);
  } catch (error) {
    return tellError(error, parsed.options.flag("verbose"), terminal);
  }
}

type CommandBody = (options: Options, terminal: Terminal) => number | Promise<number>;

const COMMAND_BODIES: Readonly<Record<string, CommandBody>> = {
  check(options, { out }) {
    const now = readCompiled(options.text("manifest"));
    const against = options.text("against");
    if (against === "") {
      const budget = memoryBudget(now.grants, now.manifest.host);
      out([summarize(now.manifest, now.grants), "", ...memoryTable(budget)].join("\n"));
      assertMemory(budget);
      return ExitCode.Ok;
    }
    const added = addedRights(readCompiled(against), now);
    out(
      added.length === 0
        ? `No right is added over ${against}.`
        : [...added, "", `Rights added over ${against}: ${added.length}.`].join("\n"),
    );
    return added.length === 0 ? ExitCode.Ok : ExitCode.Widened;
  },

  explain(options, { out }) {
    const { manifest, grants } = readCompiled(options.text("manifest"));
    const field = options.text("field");
    const query = {
      component: options.text("component"),
      field: field === "" ? undefined : field,
      role: options.text("role"),
    };
    const result = explain(manifest, grants, query);
    if (!result.ok) throw new CommandError(ExitCode.Usage, result.message);
    out(explanationText(manifest, query, result.explanations));
    return ExitCode.Ok;
  },

  flags(options, { out }) {
    out(shellLine(startCommand(options.text("manifest"), launchOptions(options))));
    return ExitCode.Ok;
  },

  async launch(options, { err }) {
    const driver = launchDriver(options.text("manifest"), launchOptions(options));
    if (options.flag("verbose")) err(shellLine(driver.command));
    return await waitForDriver(driver);
  },

  async run(options, { err }) {
    const { runDriver } = await import("./run.ts");
    return await runDriver({
      manifestFile: options.text("manifest"),
      insecureDev: options.flag("insecure-dev"),
      verbose: options.flag("verbose"),
      log: (line) => err(`syncra: ${line}`),
    });
  },

  grants(options, { out }) {
    out(JSON.stringify(readCompiled(options.text("manifest")).grants, undefined, 2));
    return ExitCode.Ok;
  },

  async cert(options, { out }) {
    const { writeCertificate } = await import("./certificate_files.ts");
    const names = options.list("name");
    const made = await writeCertificate(
      options.text("out"),
      options.integer("days"),
      names.length === 0 ? ["localhost", "127.0.0.1"] : names,
    );
    out([
      `certificate  ${made.certFile}`,
      `key          ${made.keyFile}`,
      `pin          ${made.pin}`,
      "",
      "In the server's manifest:",
      `  "certificate": { "certFile": ${JSON.stringify(made.certFile)}, "keyFile": ${
        JSON.stringify(made.keyFile)
      } }`,
      "In the clients' manifests:",
      `  "pin": "${made.pin}"`,
    ].join("\n"));
    return ExitCode.Ok;
  },

  async "token keygen"(options, { out }) {
    const { writeKeyFile } = await import("./token_command.ts");
    out(`public key  ${await writeKeyFile(options.text("out"))}`);
    return ExitCode.Ok;
  },

  async "token issue"(options, { out }) {
    const { issueFromFile } = await import("./token_command.ts");
    out(
      await issueFromFile({
        keyFile: options.text("key"),
        subject: options.text("sub"),
        role: options.text("role"),
        world: options.text("world"),
        pin: options.text("pin"),
        holder: options.text("holder"),
        ttlS: options.integer("ttl"),
      }, Math.floor(Date.now() / 1000)),
    );
    return ExitCode.Ok;
  },

  async "token inspect"(options, { out }) {
    const { inspectToken } = await import("./token_command.ts");
    const [token, file] = [options.text("token"), options.text("file")];
    if ((token === "") === (file === "")) {
      throw new CommandError(
        ExitCode.Usage,
        "Give the token with --token, or its file with --file.",
      );
    }
    const { lines, isGood } = await inspectToken(
      token === "" ? file : token,
      token === "",
      options.text("issuer"),
      Math.floor(Date.now() / 1000),
    );
    out(lines.join("\n"));
    return isGood ? ExitCode.Ok : ExitCode.Token;
  },

  async compile(options, { out }) {
    const { compileCommand } = await import("./compile_command.ts");
    out(
      await compileCommand({
        manifest: options.text("manifest"),
        output: options.text("output") === "" ? "syncra-driver" : options.text("output"),
        target: options.text("target"),
        version: VERSION,
      }),
    );
    return ExitCode.Ok;
  },

  async demo(options) {
    const { runDemo } = await import("../examples/demo.ts");
    return await runDemo({
      seconds: options.integer("seconds"),
      clients: options.integer("clients"),
      verbose: options.flag("verbose"),
    });
  },

  help(_options, { out }) {
    out(overview());
    return ExitCode.Ok;
  },

  version(_options, { out }) {
    out([
      `syncra network driver ${VERSION}`,
      `network protocol ${PROTOCOL_VERSION}, engine link ${ENGINE_LINK_VERSION}`,
      `deno ${Deno.version.deno}`,
    ].join("\n"));
    return ExitCode.Ok;
  },
};

function readCompiled(path: string): CompiledManifest {
  const { manifest } = readManifestFile(path);
  return { manifest, grants: compileGrants(manifest, sha256) };
}

function launchOptions(options: Options): { insecureDev: boolean; verbose: boolean } {
  return { insecureDev: options.flag("insecure-dev"), verbose: options.flag("verbose") };
}

/** Prints what went wrong, without a stack unless it was asked for, and names the exit code. */
function tellError(error: unknown, verbose: boolean, { err }: Terminal): ExitCode {
  const [code, message] = judgeError(error);
  err(`syncra: ${message}`);
  if (verbose && error instanceof Error && error.stack !== undefined) err(error.stack);
  return code;
}

const CERTIFICATE_TROUBLE: readonly TransportErrorCode[] = [
  TransportErrorCode.BadCertificate,
  TransportErrorCode.PinMismatch,
  TransportErrorCode.Untrusted,
];

function judgeError(error: unknown): [ExitCode, string] {
  if (error instanceof CommandError) return [error.exitCode, error.message];
  if (error instanceof ManifestError) return [ExitCode.Manifest, error.message];
  if (error instanceof TransportError) {
    const code = CERTIFICATE_TROUBLE.includes(error.code) ? ExitCode.Certificate : ExitCode.Network;
    return [code, error.message];
  }
  const message = error instanceof Error ? error.message : String(error);
  return [
    ExitCode.Bug,
    `${message}\nThis is a mistake of the program. Run it again with --verbose and report what it prints.`,
  ];
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}
