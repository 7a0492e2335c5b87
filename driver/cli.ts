// The command line: from words to an exit code. Each command is a few lines that join the rooms; what is wrong with input ends as one
// clear paragraph on stderr. The driver itself is loaded only by `run`, the demo only by `demo`.

import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import { ManifestError } from "../permissions/manifest_error.ts";
import { summarize } from "../permissions/summary.ts";
import { ENGINE_LINK_VERSION, PROTOCOL_VERSION } from "../protocol/limits.ts";
import { TransportError, TransportErrorCode } from "../transport/transport_error.ts";
import { type Options, parseArguments } from "./arguments.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { commandHelp, COMMANDS, overview } from "./help.ts";
import { launchDriver, shellLine, startCommand, waitForDriver } from "./launcher.ts";
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
    const { manifest } = readManifestFile(options.text("manifest"));
    out(summarize(manifest, compileGrants(manifest, sha256)));
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
      log: err,
    });
  },

  grants(options, { out }) {
    const { manifest } = readManifestFile(options.text("manifest"));
    out(JSON.stringify(compileGrants(manifest, sha256), undefined, 2));
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
