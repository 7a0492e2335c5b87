// What an engine would know if it believed the announcer: entities and values built from the sink's calls alone, with checks of their order.

import { assert } from "@std/assert";
import type { Grants } from "../../permissions/grants.ts";
import type { AnnouncerSink } from "../../replication/announcer.ts";
import {
  type ComponentValue,
  copyFields,
  copyValue,
  createValue,
} from "../../replication/value.ts";

/** A component of a mirrored entity. */
export interface MirrorValue {
  readonly value: ComponentValue;
  mask: number;
  time: number;
  isHidden: boolean;
}

/** An engine's copy of the world. */
export class Mirror implements AnnouncerSink {
  readonly entities = new Map<
    number,
    { owner: number; epoch: number; values: Map<number, MirrorValue> }
  >();
  /** Calls in order, for tests of one scenario. */
  readonly calls: string[] = [];
  readonly #grants: Grants;

  constructor(grants: Grants) {
    this.#grants = grants;
  }

  spawn(id: number, owner: number, epoch: number): void {
    this.calls.push(`spawn ${id}`);
    assert(!this.entities.has(id), "an entity is announced once");
    this.entities.set(id, { owner, epoch, values: new Map() });
  }

  value(id: number, component: number, mask: number, value: ComponentValue, time: number): void {
    this.calls.push(`value ${id} ${component} ${mask}`);
    const entity = this.entities.get(id);
    assert(entity !== undefined, "only announced entities change");
    assert(mask !== 0, "a change changes something");
    let known = entity.values.get(component);
    if (known === undefined) {
      known = {
        value: createValue(this.#grants.components[component]!),
        mask: 0,
        time,
        isHidden: false,
      };
      entity.values.set(component, known);
    }
    if (known.mask === 0 || known.isHidden) {
      copyValue(value, known.value);
      known.mask = mask;
    } else {
      copyFields(this.#grants.components[component]!, value, known.value, mask);
      known.mask |= mask;
    }
    known.time = time;
    known.isHidden = false;
  }

  hide(id: number, component: number): void {
    this.calls.push(`hide ${id} ${component}`);
    const known = this.entities.get(id)?.values.get(component);
    assert(known !== undefined && !known.isHidden, "what is hidden was shown");
    known.isHidden = true;
  }

  remove(id: number, component: number): void {
    this.calls.push(`remove ${id} ${component}`);
    assert(this.entities.get(id)?.values.delete(component), "what is removed was there");
  }

  despawn(id: number): void {
    this.calls.push(`despawn ${id}`);
    assert(this.entities.delete(id), "what ends was announced");
  }

  owner(id: number, owner: number, epoch: number): void {
    this.calls.push(`owner ${id} ${owner} ${epoch}`);
    const entity = this.entities.get(id);
    assert(entity !== undefined, "only announced entities change hands");
    entity.owner = owner;
    entity.epoch = epoch;
  }
}
