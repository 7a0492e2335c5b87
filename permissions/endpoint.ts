// Network addresses as a manifest writes them: one exact host and port, or all IPv4 addresses of a network at one port. No names are
// resolved, no wildcards are known.

import { MIN_NETWORK_PREFIX } from "../protocol/limits.ts";

/** One network endpoint. */
export interface Endpoint {
  /** Host name or address; an IPv6 address without its brackets. */
  readonly host: string;
  /** Port; 0 only where a listener may take any free one. */
  readonly port: number;
}

/** All IPv4 addresses that share a prefix, at one port. */
export interface Network {
  /** First address, as an unsigned 32-bit number. */
  readonly first: number;
  /** Last address. */
  readonly last: number;
  /** Bits that all addresses share, 8 to 31. */
  readonly prefix: number;
  /** Port, 1 to 65,535. */
  readonly port: number;
}

const HOST = /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/;
const IPV6 = /^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$/;

/** Parses `host:port` or `[ipv6]:port`; `undefined` when it is neither. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  const host = match[1] ?? match[2]!;
  const legal = match[1] !== undefined ? IPV6.test(host) : HOST.test(host);
  return legal && port <= 65_535 ? { host, port } : undefined;
}

/** Writes an endpoint the way it is parsed. */
export function formatEndpoint(endpoint: Endpoint): string {
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `${host}:${endpoint.port}`;
}

/**
 * Parses a network in CIDR notation (RFC 4632) with a port, such as `10.1.0.0/16:4433`; `undefined` when it is none. There is one way to
 * write each: no leading zeros, and nothing but zeros after the prefix. IPv6 networks are left out: the runtime's flags do not take them.
 */
export function parseNetwork(text: string): Network | undefined {
  const match = /^([\d.]+)\/([1-9]\d?):([1-9]\d{0,4})$/.exec(text);
  const first = match === null ? undefined : parseIpv4(match[1]!);
  if (match === null || first === undefined) return undefined;
  const prefix = Number(match[2]);
  const port = Number(match[3]);
  const size = 2 ** (32 - prefix);
  if (prefix < MIN_NETWORK_PREFIX || prefix > 31 || port > 65_535 || first % size !== 0) {
    return undefined;
  }
  return { first, last: first + size - 1, prefix, port };
}

/** Parses a dotted IPv4 address without leading zeros to an unsigned 32-bit number. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let address = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    address = address * 256 + Number(part);
  }
  return address;
}

/** Writes an IPv4 address. */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/**
 * Whether what a manifest names (`host:port` or a network) covers `wanted` (`host:port`, or a network). A network covers only addresses
 * written as dotted numbers: a name is never looked up, and an IPv6 form of an IPv4 address is another address.
 */
export function coversEndpoint(named: string, wanted: string): boolean {
  if (named.toLowerCase() === wanted.toLowerCase()) return true;
  const network = parseNetwork(named);
  if (network === undefined) return false;
  const inner = parseNetwork(wanted) ?? pointOf(wanted);
  return inner !== undefined && inner.port === network.port && inner.first >= network.first &&
    inner.last <= network.last;
}

function pointOf(text: string): Pick<Network, "first" | "last" | "port"> | undefined {
  const endpoint = parseEndpoint(text);
  const address = endpoint === undefined ? undefined : parseIpv4(endpoint.host);
  return endpoint === undefined || address === undefined
    ? undefined
    : { first: address, last: address, port: endpoint.port };
}

/** The first of the endpoints that is a single `host:port`: where a client connects to when nobody says where. */
export function defaultEndpoint(allowed: readonly string[]): string | undefined {
  return allowed.find((one) => parseEndpoint(one) !== undefined);
}

/**
 * The endpoint of a `quic://host:port` address, if one of `allowed` (each `host:port`, or a network such as `10.1.0.0/16:4433`) covers it;
 * `undefined` otherwise.
 */
export function allowedEndpoint(url: string, allowed: readonly string[]): Endpoint | undefined {
  const match = /^quic:\/\/([^/?#]+)\/?$/.exec(url);
  const wanted = match === null ? undefined : parseEndpoint(match[1]!);
  if (wanted === undefined || wanted.port === 0) return undefined;
  const text = formatEndpoint(wanted);
  return allowed.some((one) => coversEndpoint(one, text)) ? wanted : undefined;
}
