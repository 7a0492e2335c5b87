// The field masks of one link in one direction: what the world's rights let pass for its peer, by role and by what was granted and revoked
// while running. Both ends compute them alike, so that both know which components begin anew. What a host denies is not known here.

import type { Adjustments } from "../permissions/adjustments.ts";
import { type Grants, ownWriteMaskOf, readMaskOf } from "../permissions/grants.ts";

/** Direction of a link: `down` from the server to a peer, `up` from a client to the server. */
export type LinkDirection = "down" | "up";

/** Whose rights count on a link. */
export interface LinkPeer {
  /** Its role. */
  readonly roleIndex: number;
  /** What was granted to it and revoked from it; left out, nothing ever is. */
  readonly adjusted?: Adjustments | undefined;
}

/** The masks of one link, by component index. */
export class LinkRights {
  /** Fields of entities that the peer owns. */
  readonly own: Int32Array;
  /** Fields of all other entities; `up` none. */
  readonly other: Int32Array;
  readonly #grants: Grants;
  readonly #direction: LinkDirection;
  readonly #adjusted: Adjustments | undefined;

  /** The peer's present rights. */
  constructor(grants: Grants, direction: LinkDirection, peer: LinkPeer) {
    const count = grants.components.length;
    this.own = new Int32Array(count);
    this.other = new Int32Array(count);
    this.#grants = grants;
    this.#direction = direction;
    this.#adjusted = peer.adjusted;
    this.update(peer.roleIndex);
  }

  /** Takes over a role and the adjustments as they are now; returns the components whose masks are others than before. */
  update(roleIndex: number): ReadonlySet<number> {
    const changed = new Set<number>();
    const isDown = this.#direction === "down";
    for (const component of this.#grants.components) {
      const { index } = component;
      const own = isDown
        ? readMaskOf(component, roleIndex, true, this.#adjusted)
        : ownWriteMaskOf(component, roleIndex, this.#adjusted);
      const other = isDown ? readMaskOf(component, roleIndex, false, this.#adjusted) : 0;
      if (own !== this.own[index] || other !== this.other[index]) changed.add(index);
      this.own[index] = own;
      this.other[index] = other;
    }
    return changed;
  }
}
