// Where a client connects: its engine's order within the manifest's endpoints and pin, or what the manifest itself says.

import type { ConnectOrder } from "../protocol/engine_messages.ts";
import { allowedEndpoint, defaultEndpoint, formatEndpoint } from "../permissions/endpoint.ts";

/** What the manifest allows. */
export interface ConnectRights {
  /** `host:port`, or a whole host. */
  readonly endpoints: readonly string[];
  /** Certificate pin; empty where the manifest names none. */
  readonly pin: string;
  /** The manifest names a certificate authority. */
  readonly hasAuthority?: boolean;
}

/** The order to follow, with the pin to check; or, as a sentence for the operator, why the engine's cannot be followed. */
export function connectOrderOf(
  given: ConnectOrder | undefined,
  rights: ConnectRights,
): ConnectOrder | string {
  const { endpoints, pin, hasAuthority } = rights;
  const order = given ??
    { url: `quic://${defaultEndpoint(endpoints) ?? ""}`, pin, credential: new Uint8Array(0) };
  const endpoint = allowedEndpoint(order.url, endpoints);
  if (endpoint === undefined && order.url === "quic://") {
    return `host.connect of the manifest names no single address to connect to, and the engine orders none ` +
      `(it names ${
        endpoints.join(", ") || "nothing"
      }). Let the engine order one, or add a host and port.`;
  }
  if (endpoint === undefined) {
    return `The engine orders a connection to "${order.url}", which host.connect of the manifest does not name ` +
      `(it names ${endpoints.join(", ") || "nothing"}). Order one of those, or add the address.`;
  }
  const name = formatEndpoint(endpoint);
  if (pin !== "" && order.pin !== "" && pin !== order.pin) {
    return `The engine's pin for ${name} differs from host.pin of the manifest. Remove one, or make them equal.`;
  }
  if (pin === "" && order.pin === "" && hasAuthority !== true) {
    return `Nothing says which certificate ${name} must have. Give host.pin or host.caFile in the manifest, ` +
      `or let the engine pass the pin.`;
  }
  return order.pin === "" ? { ...order, pin } : order;
}
