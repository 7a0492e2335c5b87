// The engine's own changes at the door: what game code spawns, sets, removes and despawns passes the gate, and becomes marks in the dirty set
// and orders for the packer. It neither queues values nor knows whether a driver lives.

import type { Handle } from "../protocol/engine_messages.ts";
import { MAX_ENTITIES } from "../protocol/limits.ts";
import type { ComponentGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import type { StatePacker } from "./state_packer.ts";
import { type ComponentValues, maskOfValues, plainValues, quantiseValues } from "./values.ts";

/** Components of a new entity, by declared name. */
export interface Components {
  /** Values by component name. */
  readonly [component: string]: ComponentValues;
}

/** Local changes of one link. */
export class StateSender {
  readonly #state: LinkState;
  readonly #packer: StatePacker;

  /** What passes goes to the packer. */
  constructor(state: LinkState, packer: StatePacker) {
    this.#state = state;
    this.#packer = packer;
  }

  /** Makes an entity in the world and the ledger; 0, and nothing is made, when the gate refuses it. */
  spawn(components: Components, owner: number | undefined, zoneName?: string): Handle {
    const state = this.#state;
    const indices: number[] = [];
    const deny = (rule: Rule, id = 0, fields = 0) => {
      state.deny("spawn", rule, { id, fields });
      return 0;
    };
    if (owner !== undefined && owner !== state.peer && !state.isAuthority) return deny(Rule.Role);
    const zone = state.zoneByName(zoneName);
    if (zone !== 0 && !state.isAuthority) return deny(Rule.Role);
    if (state.ledger.size >= Math.min(MAX_ENTITIES, state.grants.maxEntities)) {
      return deny(Rule.SpawnCount);
    }
    for (const [name, values] of Object.entries(components)) {
      const component = state.componentByName(name);
      if (component === undefined) return deny(Rule.Undeclared);
      const found = this.#check(component, values, true);
      if (found !== undefined) return deny(found.rule, component.id, found.fields);
      indices.push(component.index);
    }
    const decision = state.gate.decideSpawn({
      components: indices,
      roleIndex: state.roleIndex,
      ownedCount: state.countOwned(state.peer),
      ownedWith: (component) => state.countOwnedWith(state.peer, component),
      direction: "out",
    });
    if (!decision.allowed) return deny(decision.rule);
    const handle = state.ledger.allotHandle();
    const record = state.ledger.add(handle, owner ?? state.peer);
    record.zone = zone;
    state.world.create(handle);
    for (const index of indices) {
      const component = state.grants.components[index]!;
      this.#writeWhole(handle, component, components[component.name]!);
    }
    this.#packer.addSpawn(record);
    return handle;
  }

  /** Takes an entity out of the world; refused for entities of others, but not to the world's authority. */
  despawn(handle: Handle): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    if (record === undefined) return state.deny("despawn", Rule.EntityUnknown, { handle });
    const isOwner = state.isOwn(record);
    const decision = state.gate.decideDespawn({ roleIndex: state.roleIndex, isOwner });
    if (!decision.allowed) return state.deny("despawn", decision.rule, { handle });
    this.#packer.addDespawn(record);
    this.#packer.forget(record);
    state.world.destroy(handle);
    return true;
  }

  /** Sets fields of a component: all of them, or none and false when the gate or a range refuses one. */
  set(handle: Handle, name: string, values: ComponentValues): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    const component = state.componentByName(name);
    const deny = (rule: Rule, fields = 0) =>
      state.deny("component", rule, { id: component?.id ?? 0, fields, handle });
    if (component === undefined) return deny(Rule.Undeclared);
    if (record === undefined) return deny(Rule.EntityUnknown);
    const isNew = state.world.read(handle, name) === undefined;
    const refused = this.#refusal(record, component, maskOfValues(component, values), isNew);
    if (refused !== undefined) return deny(refused.rule, refused.fields);
    const found = this.#check(component, values, false);
    if (found !== undefined) return deny(found.rule, found.fields);
    if (isNew) this.#writeWhole(handle, component, values);
    else state.world.write(handle, name, values);
    state.dirty.mark(component.index, record.slot, maskOfValues(component, values));
    return true;
  }

  /** Takes a component away from an entity; refused where the role may not. */
  remove(handle: Handle, name: string): boolean {
    const state = this.#state;
    const record = state.ledger.get(handle);
    const component = state.componentByName(name);
    const facts = { id: component?.id ?? 0, handle };
    if (component === undefined) return state.deny("component", Rule.Undeclared, facts);
    if (record === undefined) return state.deny("component", Rule.EntityUnknown, facts);
    if (state.world.read(handle, name) === undefined) return false;
    if (!this.#removeFromNetwork(record, component)) return false;
    state.world.remove(handle, name);
    return true;
  }

  /** Puts an entity into a zone, or into none; refused to all but the world's authority. */
  setZone(handle: Handle, zoneName: string | undefined): boolean {
    const state = this.#state;
    const id = state.zoneByName(zoneName);
    if (!state.isAuthority) return state.deny("zone", Rule.Role, { id, handle });
    const record = state.ledger.get(handle);
    if (record === undefined) return state.deny("zone", Rule.EntityUnknown, { id, handle });
    if (record.zone === id) return true;
    record.zone = id;
    this.#packer.addZone(record);
    return true;
  }

  /** Takes up what game code changed in its world directly. Call it once a tick, driver or not. */
  collectChanges(): void {
    this.#state.world.takeChanges(this.#visitor);
  }

  readonly #visitor = {
    changed: (handle: Handle, name: string, fields: readonly string[]): void => {
      const state = this.#state;
      const record = state.ledger.get(handle);
      const component = state.componentByName(name);
      // Entities of this engine alone and components that the manifest does not name stay here, silently.
      if (record === undefined || component === undefined) return;
      let mask = 0;
      for (const field of component.fields) {
        if (fields.includes(field.name)) mask |= 1 << field.index;
      }
      const isNew = !record.components.has(component.index);
      const refused = this.#refusal(record, component, mask, isNew && record.isSent);
      if (refused !== undefined) {
        state.deny("component", refused.rule, { id: component.id, fields: refused.fields, handle });
        if (isNew) return;
        this.#packer.wantBack(record, component);
        mask &= state.writeMaskOf(record, component);
      }
      state.dirty.mark(component.index, record.slot, mask);
    },
    removed: (handle: Handle, name: string): void => {
      const record = this.#state.ledger.get(handle);
      const component = this.#state.componentByName(name);
      if (record === undefined || component === undefined) return;
      this.#removeFromNetwork(record, component);
    },
  };

  #removeFromNetwork(record: EntityRecord, component: ComponentGrant): boolean {
    const state = this.#state;
    const { handle } = record;
    const decision = state.gate.decideChange({
      component: component.index,
      op: "remove",
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      ownedWith: () => 0,
      direction: "out",
    });
    if (!decision.allowed) {
      return state.deny("component", decision.rule, { id: component.id, handle });
    }
    this.#packer.addRemove(record, component);
    return true;
  }

  /** Why game code may not write these fields, or add this component; `undefined` when it may. */
  #refusal(
    record: EntityRecord,
    component: ComponentGrant,
    mask: number,
    isNew: boolean,
  ): { readonly rule: Rule; readonly fields: number } | undefined {
    const state = this.#state;
    const write = state.gate.decideWrite({
      component: component.index,
      mask,
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      direction: "out",
      adjusted: state.ownAdjusted,
    });
    if (!write.allowed) return write;
    if (!isNew) return undefined;
    const add = state.gate.decideChange({
      component: component.index,
      op: "add",
      roleIndex: state.roleIndex,
      isOwner: state.isOwn(record),
      ownedWith: (index) => state.countOwnedWith(state.peer, index, record),
      direction: "out",
    });
    return add.allowed ? undefined : add;
  }

  /** What is wrong with values themselves; with `isSpawn` also fields this role may not write on its own entities. */
  #check(
    component: ComponentGrant,
    values: ComponentValues,
    isSpawn: boolean,
  ): { readonly rule: Rule; readonly fields: number } | undefined {
    const state = this.#state;
    const scratch = state.scratch(component);
    const found = quantiseValues(component, values, component.allFields, scratch, state.isKnown);
    if (found.rule !== undefined) return { rule: found.rule, fields: found.badFields };
    if (!isSpawn) return undefined;
    const write = state.gate.decideWrite({
      component: component.index,
      mask: found.mask,
      roleIndex: state.roleIndex,
      isOwner: true,
      direction: "out",
      adjusted: state.ownAdjusted,
    });
    return write.allowed ? undefined : write;
  }

  /** A new component gets a neutral value for every field that is not given, here as at every other peer. */
  #writeWhole(handle: Handle, component: ComponentGrant, values: ComponentValues): void {
    const value = this.#state.scratch(component);
    setNeutral(component, value);
    const neutral = plainValues(component, value, component.allFields);
    this.#state.world.write(handle, component.name, { ...neutral, ...values });
  }
}
