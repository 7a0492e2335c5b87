// Network addresses as a manifest writes them: one exact host and port. No names are resolved, no ranges or wildcards are known.

/** One network endpoint. */
export interface Endpoint {
  /** Host name or address; an IPv6 address without its brackets. */
  readonly host: string;
  /** Port; 0 only where a listener may take any free one. */
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

/** The endpoint of a `quic://host:port` address, if it is one of `allowed` (each `host:port`); `undefined` otherwise. */
export function allowedEndpoint(url: string, allowed: readonly string[]): Endpoint | undefined {
  const match = /^quic:\/\/([^/?#]+)\/?$/.exec(url);
  const wanted = match === null ? undefined : parseEndpoint(match[1]!);
  if (wanted === undefined || wanted.port === 0) return undefined;
  const text = formatEndpoint(wanted).toLowerCase();
  return allowed.some((one) => one.toLowerCase() === text) ? wanted : undefined;
}
