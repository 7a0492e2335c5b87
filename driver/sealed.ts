// The main program of a sealed driver: its manifest lies inside the executable, its rights are fixed, and its arguments choose among paths
// that the manifest lists. How it is made is in compile_command.ts.

import { createHash } from "node:crypto";
import { canonicalJson } from "../permissions/canonical.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { ManifestError } from "../permissions/manifest_error.ts";
import {
  alternativesOf,
  applyOverrides,
  OVERRIDABLE_KEYS,
  type OverridableKey,
} from "../permissions/overrides.ts";
import { hostPaths } from "../permissions/paths.ts";
import { sealedFlags } from "../permissions/sealed_flags.ts";
import { TransportError } from "../transport/transport_error.ts";
import { type CommandSpec, type Options, parseArguments } from "./arguments.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";

/** What is sealed: plain data, written into the executable as it stands. */
export interface Seal {
  /** Version of the program that made it. */
  readonly version: string;
  /** Absolute path that the manifest had; relative paths in it start from its folder. */
  readonly file: string;
  /** The manifest's text. */
  readonly text: string;
  /** The rights, as flags. */
  readonly flags: readonly string[];
}

/** Name of the option for each path that an argument may choose. */
export const OVERRIDE_OPTIONS: Readonly<Record<OverridableKey, string>> = {
  engineSocket: "engine-socket",
  certFile: "cert-file",
  keyFile: "key-file",
  caFile: "ca-file",
};

const SEALED: CommandSpec = {
  name: "run",
  summary: "be the driver whose manifest and rights are sealed into this executable",
  details: "Arguments choose among the paths that the manifest lists under host.overridable; " +
    "nothing can be widened. Start it with an empty environment: env -i.",
  options: [
    {
      name: "show-manifest",
      kind: "flag",
      value: "",
      help: "print what is sealed and its hash, and end",
    },
    ...OVERRIDABLE_KEYS.map((key) => ({
      name: OVERRIDE_OPTIONS[key],
      kind: "text" as const,
      value: "FILE",
      help: `another ${key}, if the manifest lists it`,
    })),
  ],
  examples: [],
};

/** SHA-256 of everything sealed, in lower-case hexadecimal, over its canonical JSON. */
export function sealHash(seal: Seal): string {
  const { version, file, text, flags } = seal;
  const form = canonicalJson({ version, file, text, flags: [...flags] });
  return createHash("sha256").update(form).digest("hex");
}

/** What `--show-manifest` prints: hash, origin, rights, then the manifest to the letter. */
export function sealText(seal: Seal): string {
  return [
    `seal     sha256 ${sealHash(seal)}`,
    `program  ${seal.version}`,
    `from     ${seal.file}`,
    `rights   ${seal.flags.join("\n         ")}`,
    "",
    seal.text,
  ].join("\n");
}

/** Where a sealed program prints; tests give their own. */
export interface SealedTerminal {
  /** Takes results. */
  readonly out: (text: string) => void;
  /** Takes diagnosis. */
  readonly err: (text: string) => void;
}

/**
 * Runs a sealed driver.
 *
 * @param args The words after the executable's name.
 * @returns The exit code, one of {@linkcode ExitCode}.
 */
export async function runSealed(
  seal: Seal,
  args: readonly string[],
  terminal: SealedTerminal = {
    out: (text) => console.log(text),
    err: (text) => console.error(text),
  },
): Promise<number> {
  const { out, err } = terminal;
  const parsed = parseArguments(["run", ...args], [SEALED]);
  if (!parsed.ok) {
    err(`syncra: ${parsed.message}`);
    return ExitCode.Usage;
  }
  if (parsed.help) {
    out([
      SEALED.details,
      "",
      ...SEALED.options.map((one) => `  --${`${one.name} ${one.value}`.padEnd(22)}${one.help}`),
    ].join("\n"));
    return ExitCode.Ok;
  }
  if (parsed.options.flag("show-manifest")) {
    out(sealText(seal));
    return ExitCode.Ok;
  }
  try {
    return await runChosen(seal, parsed.options, err);
  } catch (error) {
    if (error instanceof CommandError) {
      err(`syncra: ${error.message}`);
      return error.exitCode;
    }
    if (error instanceof ManifestError || error instanceof TransportError) {
      err(`syncra: ${error.message}`);
      return error instanceof ManifestError ? ExitCode.Manifest : ExitCode.Certificate;
    }
    throw error;
  }
}

async function runChosen(
  seal: Seal,
  options: Options,
  err: (text: string) => void,
): Promise<number> {
  const sealed = parseManifest(seal.text, seal.file);
  // The program inside is the one that made the seal, so this holds unless somebody changed the executable's data by hand.
  if (canonicalJson(sealedFlags(sealed, seal.file)) !== canonicalJson([...seal.flags])) {
    err("syncra: the sealed rights are not those of the sealed manifest; compile it again.");
    return ExitCode.Manifest;
  }
  const wanted: Partial<Record<OverridableKey, string>> = {};
  for (const key of OVERRIDABLE_KEYS) {
    const text = options.text(OVERRIDE_OPTIONS[key]);
    if (text !== "") wanted[key] = text;
  }
  const manifest = applyOverrides(sealed, seal.file, wanted);
  giveUpTheRest(seal, hostPaths(manifest.host, seal.file), sealed);
  const { runDriver } = await import("./run.ts");
  return await runDriver({
    manifestFile: { file: seal.file, manifest },
    insecureDev: false,
    verbose: options.flag("verbose"),
    log: err,
  });
}

/** Gives up the rights to every path that was not chosen, before anything else happens. */
function giveUpTheRest(
  seal: Seal,
  chosen: ReturnType<typeof hostPaths>,
  sealed: ReturnType<typeof parseManifest>,
): void {
  const used: readonly (string | undefined)[] = OVERRIDABLE_KEYS.map((key) => chosen[key]);
  const named = hostPaths(sealed.host, seal.file);
  const all = [
    ...OVERRIDABLE_KEYS.map((key) => named[key]),
    ...alternativesOf(sealed, seal.file).map((one) => one.path),
  ];
  for (const path of all) {
    if (path === undefined || used.includes(path)) continue;
    Deno.permissions.revokeSync({ name: "read", path });
    Deno.permissions.revokeSync({ name: "write", path });
    Deno.permissions.revokeSync({ name: "net", host: `unix:${path}` });
  }
}
