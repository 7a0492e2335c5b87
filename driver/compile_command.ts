// Makes one executable out of the program, a manifest and exactly that manifest's rights, by `deno compile`. What runs inside it is in
// sealed.ts; which rights are sealed is decided in permissions/sealed_flags.ts.

import { isAbsolute, resolve } from "node:path";
import { parseManifest } from "../permissions/manifest.ts";
import { sealedFlags } from "../permissions/sealed_flags.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { RUNTIME_VARIABLES } from "./launcher.ts";
import { readManifestFile } from "./manifest_file.ts";
import { type Seal, sealHash } from "./sealed.ts";

/** Targets that `deno compile` makes executables for. A driver needs Unix sockets with file rights, so only the first four are of use. */
export const COMPILE_TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
] as const;

/**
 * Variables that the compiler gets besides those of the runtime: where a base executable lies or is fetched through. None is sealed in.
 */
export const COMPILER_VARIABLES = ["DENORT_BIN", "HTTPS_PROXY", "NO_PROXY", "PATH"] as const;

/** What `compile` was asked to do. */
export interface CompileOptions {
  /** Path of the manifest. */
  readonly manifest: string;
  /** Path of the executable. */
  readonly output: string;
  /** One of {@linkcode COMPILE_TARGETS}; empty for this machine. */
  readonly target: string;
  /** Version of the program. */
  readonly version: string;
}

/** Everything about an executable before it is made. */
export interface CompilePlan {
  readonly seal: Seal;
  /** Absolute path of the executable. */
  readonly output: string;
  /** The main module, as text. */
  readonly entry: string;
  /** Arguments of `deno`; the last one, the file of the entry, is missing. */
  readonly args: readonly string[];
}

/**
 * Decides what will be compiled. Reads the manifest and nothing else.
 *
 * @throws {CommandError} or {ManifestError} where the manifest or the options cannot be used.
 */
export function planCompile(options: CompileOptions): CompilePlan {
  const { target } = options;
  if (target !== "" && !(COMPILE_TARGETS as readonly string[]).includes(target)) {
    throw new CommandError(
      ExitCode.Usage,
      `--target is "${target}", but must be one of ${COMPILE_TARGETS.join(", ")}.`,
    );
  }
  const { file } = readManifestFile(options.manifest);
  // What is sealed is this very text, so it is this text that is parsed; the reading above has told what could be wrong with it.
  const text = Deno.readTextFileSync(file);
  const flags = sealedFlags(parseManifest(text, file), file);
  const seal: Seal = { version: options.version, file, text, flags };
  const output = isAbsolute(options.output) ? options.output : resolve(Deno.cwd(), options.output);
  const module = new URL("./sealed.ts", import.meta.url).href;
  return {
    seal,
    output,
    entry: [
      `import { runSealed } from ${JSON.stringify(module)};`,
      `const seal = ${JSON.stringify(seal)};`,
      "Deno.exit(await runSealed(seal, Deno.args));",
      "",
    ].join("\n"),
    args: [
      "compile",
      "--cached-only",
      "--frozen",
      "--no-check",
      "--exclude-unused-npm",
      `--config=${resolve(import.meta.dirname!, "../deno.json")}`,
      ...flags,
      `--output=${output}`,
      ...(target === "" ? [] : [`--target=${target}`]),
    ],
  };
}

/** How the compiler ended. */
export interface CompileResult {
  /** Whether the executable was written. */
  readonly ok: boolean;
  /** True when everything was ready and only the base executable could not be had. */
  readonly lacksBase: boolean;
  /** What the compiler printed. */
  readonly said: string;
}

/** Runs the compiler on a plan. */
export async function compile(plan: CompilePlan): Promise<CompileResult> {
  const folder = await Deno.makeTempDir({ prefix: "syncra-seal-" });
  try {
    const entry = `${folder}/main.ts`;
    await Deno.writeTextFile(entry, plan.entry);
    const env: Record<string, string> = { NO_COLOR: "1" };
    for (const name of [...RUNTIME_VARIABLES, ...COMPILER_VARIABLES]) {
      const value = Deno.env.get(name);
      if (value !== undefined && value !== "") env[name] = value;
    }
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...plan.args, entry],
      env,
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    const said = new TextDecoder().decode(stderr).trim();
    return { ok: success, lacksBase: !success && /Setting up base binary/.test(said), said };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * The `compile` command.
 *
 * @returns What to tell the operator.
 * @throws {CommandError} when no executable was made.
 */
export async function compileCommand(options: CompileOptions): Promise<string> {
  const plan = planCompile(options);
  const result = await compile(plan);
  if (result.lacksBase) {
    throw new CommandError(
      ExitCode.File,
      "Everything is ready to be sealed, but the base executable of the runtime cannot be downloaded on this machine. " +
        `Compile where the network allows it, or name a local one of Deno ${Deno.version.deno} in the variable DENORT_BIN.\n` +
        result.said,
    );
  }
  if (!result.ok) {
    throw new CommandError(ExitCode.File, `The compiler did not make it:\n${result.said}`);
  }
  return [
    `executable  ${plan.output}`,
    `seal        sha256 ${sealHash(plan.seal)}`,
    "",
    "It prints the same with --show-manifest. Start it with an empty environment: env -i.",
  ].join("\n");
}
