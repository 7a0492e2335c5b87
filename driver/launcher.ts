// Starts a driver process under exactly the rights its manifest needs and an environment of listed variables. Restarting a driver that
// ended is the runtime's business; what the rights are is decided in permissions/deno_flags.ts.

import { userInfo } from "node:os";
import { resolve } from "node:path";
import { denoFlags } from "../permissions/deno_flags.ts";
import { readManifestFile } from "./manifest_file.ts";

/** A command line, ready to be run or printed. */
export interface StartCommand {
  /** Absolute path of the Deno executable. */
  readonly executable: string;
  /** Its arguments, `run` first. */
  readonly args: readonly string[];
  /** The whole environment of the process. */
  readonly env: Readonly<Record<string, string>>;
}

/** How to start a driver. */
export interface LaunchOptions {
  /** Let it run in spite of rights outside the manifest. */
  readonly insecureDev?: boolean;
  /** Let it print more. */
  readonly verbose?: boolean;
  /** Where its output goes; `inherit` if not given. */
  readonly stdout?: "inherit" | "piped" | "null";
  /** Where its messages go; `inherit` if not given. */
  readonly stderr?: "inherit" | "piped" | "null";
}

/** A driver process and how it was started. */
export interface LaunchedDriver {
  /** The process. Kill it with SIGTERM for a clean end: it says goodbye to its peers. */
  readonly process: Deno.ChildProcess;
  /** What was run. */
  readonly command: StartCommand;
}

/**
 * Variables that the runtime itself reads before any of our code, to find its module cache. The driver holds no right to read any
 * variable. Each is passed only where it is set; HOME only where it differs from the user's entry in the password file, which the
 * runtime uses without it.
 */
export const RUNTIME_VARIABLES = [
  "DENO_DIR",
  "XDG_CACHE_HOME",
  "NPM_CONFIG_REGISTRY",
  "HOME",
] as const;

/**
 * The environment that a driver's runtime needs to find its module cache; empty in the common case.
 *
 * @param get Looks a variable of this process up.
 * @param passwordHome Home folder by the password file, or `undefined` where it is not known.
 */
export function runtimeEnvironment(
  get: (name: string) => string | undefined,
  passwordHome: string | undefined,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of RUNTIME_VARIABLES) {
    const value = get(name);
    if (value === undefined || value === "") continue;
    if (name === "HOME" && value === passwordHome) continue;
    env[name] = value;
  }
  return env;
}

/**
 * The command that starts a driver for the manifest at `manifestPath`.
 *
 * @throws {CommandError} or {ManifestError} where the manifest cannot be used.
 */
export function startCommand(manifestPath: string, options: LaunchOptions = {}): StartCommand {
  const { file, manifest } = readManifestFile(manifestPath);
  const flags = denoFlags(manifest, {
    manifestFile: file,
    configFile: resolve(import.meta.dirname!, "../deno.json"),
    moduleFile: resolve(import.meta.dirname!, "../mod.ts"),
  });
  const args = [...flags.args];
  if (options.insecureDev === true) args.push("--insecure-dev");
  if (options.verbose === true) args.push("--verbose");
  return {
    executable: Deno.execPath(),
    args,
    env: { ...runtimeEnvironment((name) => Deno.env.get(name), passwordHome()), ...flags.env },
  };
}

/** Starts a driver for the manifest at `manifestPath`; see {@linkcode startCommand} for its errors. */
export function launchDriver(manifestPath: string, options: LaunchOptions = {}): LaunchedDriver {
  const command = startCommand(manifestPath, options);
  const process = new Deno.Command(command.executable, {
    args: [...command.args],
    env: { ...command.env },
    clearEnv: true,
    stdin: "null",
    stdout: options.stdout ?? "inherit",
    stderr: options.stderr ?? "inherit",
  }).spawn();
  return { process, command };
}

/** Hands the signals that ask for an end on to the driver, and waits for its end. Returns its exit code. */
export async function waitForDriver(driver: LaunchedDriver): Promise<number> {
  // A terminal sends Ctrl-C to the whole process group: the driver has it already, and a second one would hurry it.
  const signals: Deno.Signal[] = Deno.stdin.isTerminal()
    ? ["SIGTERM", "SIGHUP"]
    : ["SIGTERM", "SIGHUP", "SIGINT"];
  const forward = () => {
    try {
      driver.process.kill("SIGTERM");
    } catch {
      // It has ended in the meantime; the status below tells.
    }
  };
  const ignore = () => {};
  for (const signal of signals) Deno.addSignalListener(signal, forward);
  if (!signals.includes("SIGINT")) Deno.addSignalListener("SIGINT", ignore);
  try {
    return (await driver.process.status).code;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, forward);
    if (!signals.includes("SIGINT")) Deno.removeSignalListener("SIGINT", ignore);
  }
}

/** One line for a POSIX shell that runs the command in its environment and no other. */
export function shellLine(command: StartCommand): string {
  const variables = Object.entries(command.env).map(([name, value]) => `${name}=${quote(value)}`);
  return ["env", "-i", ...variables, quote(command.executable), ...command.args.map(quote)].join(
    " ",
  );
}

/** A word as a POSIX shell reads it back unchanged. */
export function quote(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function passwordHome(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    return undefined;
  }
}
