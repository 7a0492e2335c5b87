// The rights that are sealed into an executable: those of the start command, without the manifest's file, which lies inside, and with the
// paths that an argument may choose. It compiles nothing.

import { grantedEndpoints } from "./deno_flags.ts";
import type { Manifest } from "./manifest.ts";
import { alternativesOf } from "./overrides.ts";
import { hostPaths } from "./paths.ts";

/**
 * Permission flags of a sealed driver, in a fixed order.
 *
 * @param manifestFile Absolute path of the manifest when it is sealed: relative paths in it start from its folder, wherever the executable
 * is put.
 * @throws {ManifestError} when a path cannot be named in a flag.
 */
export function sealedFlags(manifest: Manifest, manifestFile: string): string[] {
  const files = hostPaths(manifest.host, manifestFile);
  const alternatives = alternativesOf(manifest, manifestFile);
  const sockets = unique([
    files.engineSocket,
    ...alternatives.filter((one) => one.key === "engineSocket").map((one) => one.path),
  ]);
  const read = unique([
    ...[files.certFile, files.keyFile, files.caFile].filter((one) => one !== undefined),
    ...alternatives.map((one) => one.path),
    ...sockets,
  ]);
  const net = [...sockets.map((path) => `unix:${path}`), ...grantedEndpoints(manifest)];
  const heapMb = manifest.host.limits.heapMb;
  return [
    "--no-prompt",
    `--allow-read=${read.join(",")}`,
    `--allow-write=${sockets.join(",")}`,
    `--allow-net=${net.join(",")}`,
    "--deny-import",
    ...(heapMb === undefined ? [] : [`--v8-flags=--max-old-space-size=${heapMb}`]),
  ];
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}
