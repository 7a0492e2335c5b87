// Paths that a sealed driver may be pointed to when it is started: each is written out in the manifest, so the rights to it are sealed in
// and an argument can only choose among them. Nothing is looked up on disk.

import { MAX_OVERRIDE_PATHS } from "../protocol/limits.ts";
import type { Host, Manifest } from "./manifest.ts";
import { ManifestError } from "./manifest_error.ts";
import { folderOf, hostPaths, resolvePath } from "./paths.ts";
import { asArray, asObject, asText, type Complain, type Raw } from "./raw.ts";

/** What an argument may choose. */
export const OVERRIDABLE_KEYS = ["engineSocket", "certFile", "keyFile", "caFile"] as const;

/** One of {@linkcode OVERRIDABLE_KEYS}. */
export type OverridableKey = typeof OVERRIDABLE_KEYS[number];

/** One path of the manifest that may stand in the place of another. */
export interface Alternative {
  /** Whose place it takes. */
  readonly key: OverridableKey;
  /** Absolute path. */
  readonly path: string;
}

/** `host` with `path` in the place of what `key` names; `undefined` where it names nothing that could be replaced. */
function replaced(host: Host, key: OverridableKey, path: string): Host | undefined {
  if (key === "engineSocket") return { ...host, engineSocket: path };
  if (key === "caFile") return host.caFile === undefined ? undefined : { ...host, caFile: path };
  const certificate = host.certificate;
  if (certificate === undefined || !("certFile" in certificate)) return undefined;
  return { ...host, certificate: { ...certificate, [key]: path } };
}

/**
 * All alternatives that a manifest lists, each once.
 *
 * @param manifestFile Absolute path, whose folder relative paths start from.
 * @throws {ManifestError} when one cannot be granted or used as a socket.
 */
export function alternativesOf(manifest: Manifest, manifestFile: string): Alternative[] {
  const folder = folderOf(manifestFile);
  const found: Alternative[] = [];
  for (const key of OVERRIDABLE_KEYS) {
    for (const text of new Set(manifest.host.overridable?.[key] ?? [])) {
      const path = resolvePath(folder, text);
      const host = replaced(manifest.host, key, path);
      // The same checks as for the path whose place it takes.
      if (host !== undefined) hostPaths(host, manifestFile);
      found.push({ key, path });
    }
  }
  return found;
}

/**
 * The manifest with the paths that arguments chose.
 *
 * @param wanted Absolute, or relative to the manifest's folder, by key.
 * @throws {ManifestError} when a path is neither what the manifest names nor listed as an alternative.
 */
export function applyOverrides(
  manifest: Manifest,
  manifestFile: string,
  wanted: Readonly<Partial<Record<OverridableKey, string>>>,
): Manifest {
  const folder = folderOf(manifestFile);
  const alternatives = alternativesOf(manifest, manifestFile);
  const named = hostPaths(manifest.host, manifestFile);
  let host = manifest.host;
  for (const key of OVERRIDABLE_KEYS) {
    const text = wanted[key];
    if (text === undefined) continue;
    const path = resolvePath(folder, text);
    if (path === named[key]) continue;
    const listed = alternatives.filter((one) => one.key === key).map((one) => one.path);
    const next = listed.includes(path) ? replaced(host, key, path) : undefined;
    if (next === undefined) {
      const choice = [named[key], ...listed].filter((one) => one !== undefined);
      throw new ManifestError(manifestFile, [{
        path: `host.overridable.${key}`,
        message: `does not list "${path}"; ${
          choice.length === 0
            ? "this driver uses no such file"
            : `it may be ${choice.map((one) => `"${one}"`).join(" or ")}`
        }`,
      }]);
    }
    host = next;
  }
  return { ...manifest, host };
}

/** Rules of `host.overridable`: an alternative needs something whose place it takes. */
export function checkOverridable(host: Raw, complain: Complain): void {
  const lists = asObject(host["overridable"]);
  const certificate = asObject(host["certificate"]);
  const needed: Readonly<Record<string, boolean>> = {
    certFile: asText(certificate["certFile"]) !== undefined,
    keyFile: asText(certificate["keyFile"]) !== undefined,
    caFile: asText(host["caFile"]) !== undefined,
  };
  for (const [key, isNamed] of Object.entries(needed)) {
    if (!isNamed && key in lists) {
      complain(
        ["host", "overridable", key],
        `the host names no ${key} whose place another could take; name one, or remove this list`,
      );
    }
  }
  const count = Object.values(lists).reduce<number>((sum, list) => sum + asArray(list).length, 0);
  if (count > MAX_OVERRIDE_PATHS) {
    complain(["host", "overridable"], `lists ${count} paths, at most ${MAX_OVERRIDE_PATHS} may be`);
  }
}
