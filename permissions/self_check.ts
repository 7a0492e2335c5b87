// What a driver can find out about its own rights before it opens anything. The runtime does not list the rights a process holds, it only
// answers questions; so the questions are: every right without limits, and a list of places that no manifest of ours names.

import { grantedEndpoints } from "./deno_flags.ts";
import {
  coversEndpoint,
  formatEndpoint,
  formatIpv4,
  parseEndpoint,
  parseNetwork,
} from "./endpoint.ts";
import type { Manifest } from "./manifest.ts";
import { folderOf, hostPaths } from "./paths.ts";

/** A question to the runtime; the shape of its own permission descriptors. */
export type RightQuestion =
  | { readonly name: "read" | "write" | "ffi"; readonly path?: string }
  | { readonly name: "net" | "import"; readonly host?: string }
  | { readonly name: "env"; readonly variable?: string }
  | { readonly name: "run"; readonly command?: string }
  | { readonly name: "sys"; readonly kind?: "hostname" | "osRelease" | "networkInterfaces" };

/** Asks the runtime: state of a right. */
export type QueryRight = (question: RightQuestion) => "granted" | "prompt" | "denied";

/** Every kind of right, asked without limits. A driver needs none of them so. */
const UNSCOPED: readonly RightQuestion[] = [
  { name: "read" },
  { name: "write" },
  { name: "net" },
  { name: "env" },
  { name: "run" },
  { name: "ffi" },
  { name: "sys" },
  { name: "import" },
];

/**
 * The rights a driver holds and should not, as sentences; empty when it may start.
 *
 * @param probes Places outside the manifest, from {@linkcode probesOutside}.
 */
export function findExcessRights(
  query: QueryRight,
  probes: readonly RightQuestion[] = [],
): string[] {
  const found: string[] = [];
  const unscoped = new Set<string>();
  for (const question of UNSCOPED) {
    if (query(question) !== "granted") continue;
    unscoped.add(question.name);
    found.push(
      question.name === "import"
        ? "import is granted for remote hosts; start with --deny-import"
        : `${question.name} is granted without limits; start with exactly the flags that the manifest needs`,
    );
  }
  for (const probe of probes) {
    // An unlimited right has been told once; its hundred consequences say nothing more.
    if (unscoped.has(probe.name) || query(probe) !== "granted") continue;
    found.push(`${probe.name} is granted for ${targetOf(probe)}, which the manifest does not name`);
  }
  return found;
}

/**
 * Questions about places that `manifest` does not name: root, home, temporary and configuration folders, the folders around each file it
 * does name, other ports of its hosts, foreign hosts, other sockets, programs, variables.
 *
 * What cannot be asked this way stays unseen: a single foreign file or host that is on no list. The launcher, which builds the
 * flags itself, closes that.
 */
export function probesOutside(
  manifest: Manifest,
  paths: { readonly manifestFile: string },
): RightQuestion[] {
  const { manifestFile } = paths;
  const files = hostPaths(manifest.host, manifestFile);
  const readable = [manifestFile, files.certFile, files.keyFile, files.caFile]
    .filter((one) => one !== undefined);
  const places = new Set(COMMON_PLACES);
  for (const file of [...readable, files.engineSocket]) {
    for (let folder = folderOf(file); folder !== "/"; folder = folderOf(folder)) places.add(folder);
    places.add(`${file}.other`);
  }
  const probes: RightQuestion[] = [];
  for (const path of places) {
    if (readable.includes(path) || path === files.engineSocket) continue;
    probes.push({ name: "read", path }, { name: "write", path });
  }
  for (const path of readable) probes.push({ name: "write", path });
  for (const host of hostProbes(manifest, files.engineSocket)) probes.push({ name: "net", host });
  for (const variable of ["PATH", "HOME", "LD_PRELOAD", "NODE_OPTIONS", "DENO_DIR"]) {
    probes.push({ name: "env", variable });
  }
  for (const command of ["/bin/sh", "sh", "deno", "curl"]) probes.push({ name: "run", command });
  for (const kind of ["hostname", "osRelease", "networkInterfaces"] as const) {
    probes.push({ name: "sys", kind });
  }
  for (const path of ["/lib", "/usr/lib", files.folder]) probes.push({ name: "ffi", path });
  for (
    const host of ["deno.land:443", "raw.githubusercontent.com:443", "example.com:443"]
  ) {
    probes.push({ name: "import", host });
  }
  return probes;
}

/** Places on every machine that no manifest has a reason to name. */
const COMMON_PLACES: readonly string[] = [
  "/",
  "/root",
  "/home",
  "/Users",
  "/tmp",
  "/var",
  "/var/tmp",
  "/var/run",
  "/run",
  "/etc",
  "/etc/passwd",
  "/etc/hosts",
  "/usr",
  "/opt",
  "/dev",
  "/dev/shm",
  "/proc",
  "/proc/self/environ",
  "/proc/self/mem",
  "/sys",
];

function hostProbes(manifest: Manifest, socket: string): string[] {
  const granted = grantedEndpoints(manifest);
  const hosts = new Set([
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:22",
    "localhost",
    "localhost:80",
    "[::1]:80",
    "0.0.0.0",
    "0.0.0.0:0",
    "[::]:0",
    // The address at which clouds hand out credentials.
    "169.254.169.254:80",
    "10.0.0.1:80",
    "192.168.0.1:80",
    "1.1.1.1:53",
    "example.com",
    "example.com:443",
  ]);
  const addNeighbours = (host: string, port: number) => {
    hosts.add(host.includes(":") ? `[${host}]` : host);
    for (const other of [port - 1, port + 1, 80, 443]) {
      if (other > 0 && other < 65_536) hosts.add(formatEndpoint({ host, port: other }));
    }
  };
  for (const text of granted) {
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined) addNeighbours(endpoint.host, endpoint.port);
    const network = parseNetwork(text);
    if (network === undefined) continue;
    const { first, last, port } = network;
    addNeighbours(formatIpv4(first + 1), port);
    // The addresses on either side of it: a flag with a shorter prefix would grant one of them.
    for (const address of [first - 1, last + 1]) {
      if (address > 0 && address < 2 ** 32) hosts.add(`${formatIpv4(address)}:${port}`);
    }
  }
  const sockets = [
    `${socket}.other`,
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/dbus/system_bus_socket",
    "/tmp/.X11-unix/X0",
  ];
  for (const path of sockets) if (path !== socket) hosts.add(`unix:${path}`);
  return [...hosts].filter((one) => !granted.some((named) => coversEndpoint(named, one)));
}

function targetOf(probe: RightQuestion): string {
  switch (probe.name) {
    case "read":
    case "write":
    case "ffi":
      return probe.path ?? "everything";
    case "net":
    case "import":
      return probe.host ?? "everything";
    case "env":
      return probe.variable ?? "everything";
    case "run":
      return probe.command ?? "everything";
    case "sys":
      return probe.kind ?? "everything";
  }
}
