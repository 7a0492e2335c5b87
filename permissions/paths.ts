// The files a host names, as absolute paths. POSIX paths only, as text: nothing is looked up on disk.

import { MAX_SOCKET_PATH_BYTES } from "../protocol/limits.ts";
import type { Host } from "./manifest.ts";
import { ManifestError } from "./manifest_error.ts";

/** Absolute paths of what a host names. */
export interface HostPaths {
  /** Folder of the manifest, from which relative paths start. */
  readonly folder: string;
  /** The engine's Unix socket. */
  readonly engineSocket: string;
  /** Files that are read at start: certificate, key, certificate authority, where named. */
  readonly certFile: string | undefined;
  /** See {@linkcode HostPaths.certFile}. */
  readonly keyFile: string | undefined;
  /** See {@linkcode HostPaths.certFile}. */
  readonly caFile: string | undefined;
}

/** Joins `path` to the absolute folder `base` and takes `.`, `..` and doubled slashes out. An absolute `path` stands alone. */
export function resolvePath(base: string, path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith("/") ? path : `${base}/${path}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** The folder that an absolute path lies in; `/` for `/`. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

/**
 * The absolute paths of a host whose manifest lies at the absolute path `manifestFile`.
 *
 * @throws {ManifestError} when a path cannot be granted to the driver or used as a socket.
 */
export function hostPaths(host: Host, manifestFile: string): HostPaths {
  const folder = folderOf(manifestFile);
  const certificate = host.certificate;
  const files = certificate !== undefined && "certFile" in certificate ? certificate : undefined;
  const absolute = (key: string, path: string | undefined) => {
    if (path === undefined) return undefined;
    const full = resolvePath(folder, path);
    checkGrantable(full, `host.${key}`, manifestFile);
    return full;
  };
  const engineSocket = absolute("engineSocket", host.engineSocket)!;
  const length = new TextEncoder().encode(engineSocket).length;
  if (length > MAX_SOCKET_PATH_BYTES) {
    refuse(
      manifestFile,
      "host.engineSocket",
      `"${engineSocket}" has ${length} bytes, a socket's path at most ${MAX_SOCKET_PATH_BYTES}; choose a shorter one`,
    );
  }
  return {
    folder,
    engineSocket,
    certFile: absolute("certificate.certFile", files?.certFile),
    keyFile: absolute("certificate.keyFile", files?.keyFile),
    caFile: absolute("caFile", host.caFile),
  };
}

/**
 * Checks that a permission flag can name exactly this path.
 *
 * @throws {ManifestError} when it holds a comma, which separates the paths of a flag, or is not absolute.
 */
export function checkGrantable(path: string, what: string, file: string): void {
  if (!path.startsWith("/")) {
    refuse(file, what, `"${path}" is not absolute; write it from the root`);
  }
  // deno-lint-ignore no-control-regex
  if (/[,\u0000]/.test(path)) {
    refuse(file, what, `"${path}" holds a comma, which permission flags cannot name; rename it`);
  }
}

function refuse(file: string, path: string, message: string): never {
  throw new ManifestError(file, [{ path, message }]);
}
