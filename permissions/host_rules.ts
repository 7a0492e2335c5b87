// Rules of `host` that span several keys: what each role needs and must not have, and that `deny` names things of the world.

import { formatIpv4, parseEndpoint, parseIpv4, parseNetwork } from "./endpoint.ts";
import { MIN_NETWORK_PREFIX } from "../protocol/limits.ts";
import { checkOverridable } from "./overrides.ts";
import { asArray, asObject, asText, type Complain, type Raw } from "./raw.ts";
import { suggest } from "./suggest.ts";

/** Keys of `host` that only one role uses. */
const ONLY: Readonly<Record<string, "server" | "client">> = {
  listen: "server",
  certificate: "server",
  connect: "client",
  pin: "client",
  caFile: "client",
};

const NEEDED: readonly (readonly [string, string, string])[] = [
  ["server", "listen", 'a server needs an address to listen on, such as "127.0.0.1:4433"'],
  ["server", "certificate", 'a server needs {"mode": "development"}, or "certFile" and "keyFile"'],
  [
    "client",
    "connect",
    'a client needs the endpoints it may connect to, such as ["127.0.0.1:4433"]',
  ],
];

/** Checks the whole `host` part against the `world` part. */
export function checkHost(host: Raw, world: Raw, complain: Complain): void {
  const role = asText(host["role"]);
  if (role !== undefined && ["server", "client", "loopback"].includes(role)) {
    for (const [key, only] of Object.entries(ONLY)) {
      if (key in host && only !== role) {
        complain(["host", key], `a ${role} has no \`${key}\`; remove it, it belongs to a ${only}`);
      }
    }
    for (const [needer, key, advice] of NEEDED) {
      if (role === needer && !(key in host)) complain(["host", key], `missing: ${advice}`);
    }
  }
  checkEndpoints(host, complain);
  checkOverridable(host, complain);
  if ("pin" in host && "caFile" in host) {
    complain(["host", "caFile"], "a pin already says which certificate is right; keep one of both");
  }
  checkDeny(asObject(host["deny"]), world, complain);
}

function checkEndpoints(host: Raw, complain: Complain): void {
  const listen = asText(host["listen"]);
  if (listen !== undefined && parseEndpoint(listen) === undefined) {
    complain(["host", "listen"], `"${listen}" is not an address; ${ADDRESS_ADVICE}`);
  }
  const seen = new Set<string>();
  for (const [index, one] of asArray(host["connect"]).entries()) {
    const text = asText(one);
    if (text === undefined) continue;
    const isNamed = text.includes("/")
      ? parseNetwork(text) !== undefined
      : (parseEndpoint(text)?.port ?? 0) !== 0;
    if (!isNamed) {
      const advice = text.includes("/") ? networkAdvice(text) : ADDRESS_ADVICE;
      complain(["host", "connect", index], `"${text}" is not an address; ${advice}`);
    } else if (seen.has(text)) {
      complain(["host", "connect", index], `"${text}" is listed twice; remove one`);
    }
    seen.add(text);
  }
}

const ADDRESS_ADVICE =
  'write one host and port, such as "127.0.0.1:4433", "[::1]:4433" or "play.example.org:4433"';

/** What to write instead of a network that is none, or that no permission flag can name. */
function networkAdvice(text: string): string {
  const match = /^([\d.]+)\/(\d{1,2})(?::([1-9]\d{0,4}))?$/.exec(text);
  const address = match === null ? undefined : parseIpv4(match[1]!);
  if (match === null || address === undefined) {
    return text.includes("::") || text.startsWith("[")
      ? "permission flags take no networks of IPv6 addresses; list the addresses, each with its port"
      : 'write a network as an IPv4 address, prefix and port, such as "10.1.0.0/16:4433"';
  }
  const prefix = Number(match[2]);
  if (prefix < MIN_NETWORK_PREFIX) {
    return `a network has a prefix of at least ${MIN_NETWORK_PREFIX} bits; list smaller ones`;
  }
  const port = match[3] ?? "4433";
  if (prefix > 31) return `write the single address, "${match[1]}:${port}"`;
  const first = formatIpv4(address - address % 2 ** (32 - prefix));
  return `write "${first}/${prefix}:${port}"`;
}

function checkDeny(deny: Raw, world: Raw, complain: Complain): void {
  for (const kind of ["components", "events", "channels"]) {
    const declared = asArray(world[kind]).map(asObject);
    const names = declared.map((one) => asText(one["name"])).filter((one) => one !== undefined);
    for (const [name, value] of Object.entries(asObject(deny[kind]))) {
      const path = ["host", "deny", kind, name];
      if (!names.includes(name)) {
        complain(path, `the world has no ${kind.slice(0, -1)} "${name}"${suggest(name, names)}`);
        continue;
      }
      if (kind !== "components") continue;
      const component = declared.find((one) => one["name"] === name);
      const fields = Object.keys(asObject(component?.["fields"]));
      for (const way of ["send", "receive"]) {
        for (const [index, field] of asArray(asObject(value)[way]).entries()) {
          if (typeof field === "string" && !fields.includes(field)) {
            complain([...path, way, index], `no field "${field}"${suggest(field, fields)}`);
          }
        }
      }
    }
  }
  if ("voice" in deny && !("voice" in world)) {
    complain(["host", "deny", "voice"], "the world has no voice to take away; remove it");
  }
}
