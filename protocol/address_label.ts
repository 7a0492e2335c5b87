// What is said of an address, in logs and where connections compete for places: the network it belongs to, and never whose it is.

/** An address without its last part: enough for a log line, and not a person's address. */
export function anonymiseAddress(
  address: { readonly hostname: string; readonly port: number },
): string {
  const { hostname, port } = address;
  const mapped = hostname.startsWith("::ffff:") ? hostname.slice("::ffff:".length) : hostname;
  if (mapped.includes(".")) return `${mapped.slice(0, mapped.lastIndexOf("."))}.*:${port}`;
  return `[${mapped.split(":").slice(0, 3).join(":")}:*]:${port}`;
}

/**
 * The network of a connection's label, the label without the port: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address, or
 * the backend's name. Two labels of the same network may belong to different machines, and to different people.
 */
export function networkOf(label: string): string {
  const colon = label.lastIndexOf(":");
  return colon < 0 ? label : label.slice(0, colon);
}
