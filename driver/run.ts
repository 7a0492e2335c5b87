// How a driver starts: what it reads, checks and gives up before it runs. Order: manifest, memory, rights, keys, every module; engine socket;
// rights given up; only then the hello and the network. What it does once it runs is in `program.ts`.

import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import { hostPaths } from "../permissions/paths.ts";
import { findExcessRights, probesOutside } from "../permissions/self_check.ts";
import { readAuthority, serverKeys } from "./certificate_files.ts";
import { ExitCode } from "./exit_codes.ts";
import { type ManifestFile, readManifestFile } from "./manifest_file.ts";
import { assertMemory, memoryBudget } from "./memory_budget.ts";
import { Program } from "./program.ts";

/** What `run` was asked to do. */
export interface RunOptions {
  /** Path of the manifest, or the manifest itself and where it comes from. */
  readonly manifestFile: string | ManifestFile;
  /** Runs although the process holds rights that the manifest does not name. */
  readonly insecureDev: boolean;
  /** More lines in the log. */
  readonly verbose: boolean;
  /** Takes one line for the operator. */
  readonly log: (line: string) => void;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/**
 * Runs one driver until its engine, a signal or a failure ends it.
 *
 * @returns the exit code, one of {@linkcode ExitCode}.
 * @throws {ManifestError} when the manifest cannot be used, {@linkcode CommandError} when a file cannot be read, and
 * `TransportError` when a certificate cannot be used.
 */
export async function runDriver(options: RunOptions): Promise<number> {
  removeStores();
  const { file, manifest } = typeof options.manifestFile === "string"
    ? readManifestFile(options.manifestFile)
    : options.manifestFile;
  const grants = compileGrants(manifest, sha256);
  const paths = hostPaths(manifest.host, file);
  const memory = memoryBudget(grants, manifest.host);
  assertMemory(memory);
  if (!options.insecureDev) {
    const excess = findExcessRights(
      (descriptor) => Deno.permissions.querySync(descriptor as Deno.PermissionDescriptor).state,
      probesOutside(manifest, { manifestFile: file }),
    );
    if (excess.length > 0) {
      options.log(
        "This process holds more rights than its manifest names, so it will not start:\n" +
          excess.map((line) => `  - ${line}`).join("\n") +
          "\nStart it with the command that `flags --manifest ...` prints, or with `launch`. " +
          "For experiments only: --insecure-dev.",
      );
      return ExitCode.ExcessRights;
    }
  }
  const keys = manifest.host.role === "server" ? await serverKeys(paths) : undefined;
  const caCerts = paths.caFile === undefined ? undefined : [readAuthority(paths.caFile)];
  let engine: Deno.UnixConn;
  try {
    engine = await Deno.connect({ transport: "unix", path: paths.engineSocket });
  } catch (error) {
    options.log(
      `No engine answers on ${paths.engineSocket} (${
        (error as Error).message
      }). Start the engine first: it listens, the driver connects.`,
    );
    return ExitCode.EngineSocket;
  }
  const program = new Program({
    manifest,
    grants,
    keys,
    caCerts,
    engine,
    memoryMb: memory.limitMb,
    sha256,
    verbose: options.verbose,
    log: options.log,
  });
  await revokeFileRights(paths.engineSocket);
  return await program.run();
}

/**
 * Takes away the stores that the runtime keeps on disk, and the graphics device: neither asks for a right. A worker still has `caches` of
 * its own; only a module cache that the driver's user cannot write to closes that too.
 */
function removeStores(): void {
  for (const name of ["localStorage", "sessionStorage", "caches"]) {
    Reflect.deleteProperty(globalThis, name);
  }
  Reflect.deleteProperty(Object.getPrototypeOf(navigator), "gpu");
}

/** An open connection keeps working without the right to open it; nothing else may be opened from here on. */
async function revokeFileRights(socketPath: string): Promise<void> {
  await Deno.permissions.revoke({ name: "read" });
  await Deno.permissions.revoke({ name: "write" });
  await Deno.permissions.revoke(
    { name: "net", host: `unix:${socketPath}` } as Deno.NetPermissionDescriptor,
  );
}
