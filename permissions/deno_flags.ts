// The exact command under which a driver runs: each right named, nothing more, an empty environment. It starts nothing.

import { formatEndpoint, parseEndpoint } from "./endpoint.ts";
import type { Manifest } from "./manifest.ts";
import { checkGrantable, hostPaths } from "./paths.ts";

/** The files of a start command, all absolute. */
export interface CommandPaths {
  /** The manifest. */
  readonly manifestFile: string;
  /** The project's `deno.json`, which pins the dependencies. */
  readonly configFile: string;
  /** The program's main module. */
  readonly moduleFile: string;
}

/** What `deno` is started with. */
export interface DenoCommand {
  /** Arguments of `deno`, from `run` to the manifest's name. */
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The start command that a manifest needs.
 *
 * Rights: read of the manifest and the certificate files; read, write and net of the one engine socket; net of the endpoints named. Import is
 * denied in words, because the runtime grants it for some public hosts by default. Modules and packages must be cached.
 *
 * @throws {ManifestError} when a path cannot be named in a flag.
 */
export function denoFlags(manifest: Manifest, paths: CommandPaths): DenoCommand {
  for (const key of ["manifestFile", "configFile", "moduleFile"] as const) {
    checkGrantable(paths[key], key, paths.manifestFile);
  }
  const files = hostPaths(manifest.host, paths.manifestFile);
  const read = [paths.manifestFile, files.certFile, files.keyFile, files.caFile, files.engineSocket]
    .filter((one) => one !== undefined);
  const net = [`unix:${files.engineSocket}`, ...grantedEndpoints(manifest)];
  const heapMb = manifest.host.limits.heapMb;
  return {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--cached-only",
      "--frozen",
      `--config=${paths.configFile}`,
      `--allow-read=${read.join(",")}`,
      `--allow-write=${files.engineSocket}`,
      `--allow-net=${net.join(",")}`,
      "--deny-import",
      ...(heapMb === undefined ? [] : [`--v8-flags=--max-old-space-size=${heapMb}`]),
      paths.moduleFile,
      "run",
      "--manifest",
      paths.manifestFile,
    ],
    env: {},
  };
}

/** The network endpoints a manifest grants, as `--allow-net` takes them. */
export function grantedEndpoints(manifest: Manifest): string[] {
  const { role, listen, connect } = manifest.host;
  const texts = role === "server" && listen !== undefined
    ? [listen]
    : role === "client"
    ? connect ?? []
    : [];
  return texts.map((text) => {
    const endpoint = parseEndpoint(text);
    return endpoint === undefined ? text : formatEndpoint(endpoint);
  });
}
