// Who sees into which zone: the manifest's rules as tables, and the zones that one viewer sees into. It knows numbers alone, neither
// entities nor where anybody stands; the world says in which zone an entity is, the server where a peer stands.

import { MAX_ZONES } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";

/** The closed zones that a viewer sees into; the array is reused. */
export interface ZonesSeen {
  /** How many. */
  count: number;
  /** Their ids, each once. */
  readonly ids: Uint8Array;
}

/** Of a viewer that sees into no closed zone. */
export function createZonesSeen(): ZonesSeen {
  return { count: 0, ids: new Uint8Array(MAX_ZONES) };
}

/** The zones of one world. */
export class Zones {
  /** By id: 1 where the zone hides what is in it. */
  readonly #closed = new Uint8Array(MAX_ZONES + 1);
  /** By id: 1 where the manifest declares the zone; 0, which stands for none, counts as declared. */
  readonly #declared = new Uint8Array(MAX_ZONES + 1);
  /** By id: roles that see into the zone from elsewhere. */
  readonly #seenBy = new Uint32Array(MAX_ZONES + 1);
  /** Ids of closed zones, ascending. */
  readonly #ids: readonly number[];

  /** The zones that the manifest declares. */
  constructor({ zones }: Pick<Grants, "zones">) {
    this.#declared[0] = 1;
    for (const { id, closed, seenByRoles } of zones) {
      this.#declared[id] = 1;
      this.#closed[id] = closed ? 1 : 0;
      this.#seenBy[id] = seenByRoles;
    }
    this.#ids = zones.filter(({ closed }) => closed).map(({ id }) => id);
  }

  /** Whether an entity can be in it: 0, or the id of a declared zone. Takes any number. */
  has(zone: number): boolean {
    return this.#declared[zone] === 1;
  }

  /** Whether it hides what is in it. */
  isClosed(zone: number): boolean {
    return this.#closed[zone] === 1;
  }

  /** Whether a peer of `role` that stands in the zone `stands` sees what is in the zone `zone`. */
  sees(role: number, stands: number, zone: number): boolean {
    return this.#closed[zone] === 0 || zone === stands ||
      ((this.#seenBy[zone]! >>> role) & 1) === 1;
  }

  /** Finds the closed zones that a peer of `role` sees into from the zone `stands`. */
  seen(role: number, stands: number, out: ZonesSeen): void {
    out.count = 0;
    for (let i = 0; i < this.#ids.length; i++) {
      const zone = this.#ids[i]!;
      if (!this.sees(role, stands, zone)) continue;
      out.ids[out.count] = zone;
      out.count += 1;
    }
  }
}
