// What this engine may not know any more: fields that it could read, or write as an owner, and cannot since its role, the server's engine's
// word or an entity's owner changed. They become neutral in the world, and game code is told. It judges no batch.

import type { Handle } from "../protocol/engine_messages.ts";
import { type ComponentGrant, ownWriteMaskOf, readMaskOf } from "../permissions/grants.ts";
import { setNeutral } from "../replication/quantise.ts";
import { createValue } from "../replication/value.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import { plainValues } from "./values.ts";

/** Tells game code that fields of a component are neutral now. */
type Tell = (handle: Handle, component: string, fields: readonly string[]) => void;

/** Keeps the world to what may be known. The holder of authority may know everything: nothing is done for it. */
export class RevokedFields {
  readonly #state: LinkState;
  readonly #tell: Tell;
  /** Fields that may be known of own entities and of others, by component index. */
  #own: Int32Array;
  #other: Int32Array;

  /** Begins with the rights of the moment. */
  constructor(state: LinkState, tell: Tell) {
    this.#state = state;
    this.#tell = tell;
    this.#own = this.#known(true);
    this.#other = this.#known(false);
  }

  /** Rights have changed: erases what may not be known any more. Call what it returns once the world is in order. */
  handleRights(): (() => void)[] {
    const [own, other] = [this.#own, this.#other];
    this.#own = this.#known(true);
    this.#other = this.#known(false);
    const notices: (() => void)[] = [];
    if (this.#state.isAuthority) return notices;
    const isLess = (c: number) =>
      ((own[c]! & ~this.#own[c]!) | (other[c]! & ~this.#other[c]!)) !== 0;
    if (!own.some((_, c) => isLess(c))) return notices;
    for (const record of this.#state.ledger.records()) {
      this.#erase(record, this.#state.isOwn(record) ? own : other, notices);
    }
    return notices;
  }

  /** An entity has another owner; `wasOwn`: it belonged to this engine. Returns as {@linkcode RevokedFields.handleRights}. */
  handleOwner(record: EntityRecord, wasOwn: boolean): (() => void)[] {
    const notices: (() => void)[] = [];
    if (!this.#state.isAuthority) this.#erase(record, wasOwn ? this.#own : this.#other, notices);
    return notices;
  }

  /**
   * This engine's life in the world was over, and another one begins: of its own entities it keeps what it may write, and nothing that others
   * gave them, as that world has them no more. Returns as {@linkcode RevokedFields.handleRights}; `removed` is called with each component that went.
   */
  handleNewLife(removed: (handle: Handle, component: string) => void): (() => void)[] {
    const state = this.#state;
    const notices: (() => void)[] = [];
    if (state.isAuthority) return notices;
    for (const record of state.ledger.records()) {
      if (!state.isMine(record)) continue;
      const { handle, slot, components } = record;
      for (const component of state.grants.components) {
        if (state.world.read(handle, component.name) === undefined) continue;
        const written = ownWriteMaskOf(component, state.roleIndex, state.ownAdjusted);
        if (written !== 0) {
          this.#blank(record, component, component.allFields & ~written, notices);
          continue;
        }
        components.delete(component.index);
        state.dirty.unmark(component.index, slot, component.allFields);
        state.world.remove(handle, component.name);
        notices.push(() => removed(handle, component.name));
      }
    }
    return notices;
  }

  #known(isOwner: boolean): Int32Array {
    const { grants, roleIndex, ownAdjusted } = this.#state;
    return Int32Array.from(grants.components, (component) => {
      const read = readMaskOf(component, roleIndex, isOwner, ownAdjusted);
      // What an owner may write it knows, whatever it reads.
      return isOwner ? read | ownWriteMaskOf(component, roleIndex, ownAdjusted) : read;
    });
  }

  #erase(record: EntityRecord, before: Int32Array, notices: (() => void)[]): void {
    const state = this.#state;
    // What has no name on the network never came from there.
    if (record.id === 0) return;
    const now = state.isOwn(record) ? this.#own : this.#other;
    for (const component of state.grants.components) {
      const lost = before[component.index]! & ~now[component.index]!;
      if (state.world.read(record.handle, component.name) === undefined) continue;
      this.#blank(record, component, lost, notices);
    }
  }

  /** Makes fields of a component neutral in the world. */
  #blank(
    { handle, slot }: EntityRecord,
    component: ComponentGrant,
    fields: number,
    notices: (() => void)[],
  ): void {
    if (fields === 0) return;
    const state = this.#state;
    const neutral = createValue(component);
    setNeutral(component, neutral);
    const values = plainValues(component, neutral, fields);
    state.dirty.unmark(component.index, slot, fields);
    state.world.write(handle, component.name, values);
    notices.push(() => this.#tell(handle, component.name, Object.keys(values)));
  }
}
