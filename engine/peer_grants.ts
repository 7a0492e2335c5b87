// Single fields that the server's engine grants to peers and revokes from them while running: from names to masks and orders for the driver,
// with a clear word for what the manifest does not allow. What a peer has is kept in the link's state.

import { SERVER_PEER, type ToDriver } from "../protocol/engine_messages.ts";
import { type Adjustment, NO_ADJUSTMENT } from "../permissions/adjustments.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { suggest } from "../permissions/suggest.ts";
import type { LinkState } from "./link_state.ts";

/** Fields of a component by name. */
export interface FieldRights {
  /** Fields to be read. */
  readonly read?: readonly string[];
  /** Fields to be written by the owner of an entity. */
  readonly write?: readonly string[];
}

/** Orders of game code about single fields of single peers. */
export class PeerGrants {
  readonly #state: LinkState;
  readonly #mayCommand: (peer: number) => boolean;
  readonly #send: (order: ToDriver) => boolean;

  /** @param mayCommand Whether this engine may give orders about the peer; a refusal is counted. @param send False: it did not go. */
  constructor(
    state: LinkState,
    mayCommand: (peer: number) => boolean,
    send: (order: ToDriver) => boolean,
  ) {
    this.#state = state;
    this.#mayCommand = mayCommand;
    this.#send = send;
  }

  /** See `EngineLink.adjustmentOf`. */
  of(peer: number, name: string): Adjustment {
    return this.#before(peer, this.#component(name));
  }

  /** See `EngineLink.grant`. */
  grant(peer: number, name: string, rights: FieldRights): boolean {
    const component = this.#component(name);
    const read = maskOf(component, rights.read);
    const write = maskOf(component, rights.write);
    checkGrantable(component, "read", read & ~component.grantableRead);
    checkGrantable(component, "write", write & ~component.grantableWrite);
    const before = this.#before(peer, component);
    return this.#order(peer, component, {
      readGranted: before.readGranted | read,
      readRevoked: before.readRevoked & ~read,
      writeGranted: before.writeGranted | write,
      writeRevoked: before.writeRevoked & ~write,
    });
  }

  /** See `EngineLink.revoke`. */
  revoke(peer: number, name: string, rights: FieldRights): boolean {
    const component = this.#component(name);
    const read = maskOf(component, rights.read);
    const write = maskOf(component, rights.write);
    const before = this.#before(peer, component);
    return this.#order(peer, component, {
      readGranted: before.readGranted & ~read,
      readRevoked: before.readRevoked | read,
      writeGranted: before.writeGranted & ~write,
      writeRevoked: before.writeRevoked | write,
    });
  }

  /** See `EngineLink.restore`. */
  restore(peer: number, name: string): boolean {
    return this.#order(peer, this.#component(name), NO_ADJUSTMENT);
  }

  #before(peer: number, { index }: ComponentGrant): Adjustment {
    return this.#state.adjustedOf(peer)?.of(index) ?? NO_ADJUSTMENT;
  }

  #component(name: string): ComponentGrant {
    const found = this.#state.componentByName(name);
    if (found !== undefined) return found;
    const names = this.#state.grants.components.map((one) => one.name);
    throw new RangeError(`The manifest declares no component "${name}"${suggest(name, names)}`);
  }

  #order(peer: number, component: ComponentGrant, adjustment: Adjustment): boolean {
    const state = this.#state;
    // The server's engine itself has every right, whatever it says.
    if (peer === SERVER_PEER) return state.deny("peer", Rule.Peer, { peer });
    if (!this.#mayCommand(peer)) return false;
    const { readGranted, readRevoked, writeGranted, writeRevoked } = adjustment;
    const masks = { readGranted, readRevoked, writeGranted, writeRevoked };
    const order = { kind: "setGrants", peer, componentId: component.id, ...masks } as const;
    if (!this.#send(order)) return false;
    state.adjust(peer, component, adjustment);
    return true;
  }
}

function maskOf(component: ComponentGrant, names: readonly string[] = []): number {
  let mask = 0;
  for (const name of names) {
    const field = component.fields.find((one) => one.name === name);
    if (field === undefined) {
      const known = component.fields.map((one) => one.name);
      throw new RangeError(`${component.name} has no field "${name}"${suggest(name, known)}`);
    }
    mask |= 1 << field.index;
  }
  return mask;
}

function checkGrantable(component: ComponentGrant, key: "read" | "write", beyond: number): void {
  const field = component.fields.find((one) => (beyond & (1 << one.index)) !== 0);
  if (field === undefined) return;
  const what = `${component.name}.${field.name}`;
  const done = key === "read" ? "read" : "written";
  if (key === "write" && component.authority === "server") {
    throw new RangeError(
      `${what} cannot be granted to be written: the component's authority is "server", so only the server's engine writes it`,
    );
  }
  throw new RangeError(
    `${what} cannot be granted to be ${done}: add "${field.name}" to \`grantable.${key}\` of component "${component.name}" in the manifest's world`,
  );
}
