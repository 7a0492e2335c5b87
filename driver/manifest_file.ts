// Reads a manifest from disk, for the commands and the driver at its start. What a manifest means is decided in permissions/; why a
// file cannot be read is told here.

import { resolve } from "node:path";
import { type Manifest, parseManifest } from "../permissions/manifest.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";

/** A manifest and where it stands. */
export interface ManifestFile {
  /** Absolute path. */
  readonly file: string;
  /** What it says. */
  readonly manifest: Manifest;
}

/**
 * Reads and parses the manifest at `path`.
 *
 * @param path Absolute, or relative to the current folder.
 * @throws {CommandError} where the file cannot be read, with what to change.
 * @throws {ManifestError} listing every mistake of the manifest.
 */
export function readManifestFile(path: string): ManifestFile {
  const file = path.startsWith("/") ? resolve(path) : resolve(Deno.cwd(), path);
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    throw new CommandError(
      ExitCode.Manifest,
      `The manifest ${file} cannot be read: ${whyUnreadable(error)}`,
      { cause: error },
    );
  }
  return { file, manifest: parseManifest(text, file) };
}

/**
 * Why a file cannot be read, and what to do about it.
 *
 * @param key The manifest's key that names the file; left out for the manifest itself.
 */
export function whyUnreadable(error: unknown, key?: string): string {
  if (error instanceof Deno.errors.NotFound) {
    return key === undefined
      ? "there is no such file. Check the path after --manifest; it is relative to the current folder."
      : `there is no such file. Check ${key}; it is relative to the manifest's folder.`;
  }
  if (error instanceof Deno.errors.NotCapable) {
    return "this process has no right to read it. Start it with `launch`, or as `flags` prints.";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "its file mode does not let this user read it. Change the mode or the user.";
  }
  if (error instanceof Error && /directory/i.test(error.message)) {
    return "it is a folder. Name the file inside it.";
  }
  return `${error instanceof Error ? error.message : String(error)}.`;
}
