// One batch of the engine, entry by entry: parses rows, asks the gate, and hands each accepted change to the core that applies it.
// The same for every role; what a change means for world and peers is the core's business.

import type { ComponentRows, Handle } from "../protocol/engine_messages.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { NO_ENTITY } from "../protocol/entity_id.ts";
import type { Adjustments } from "../permissions/adjustments.ts";
import type { Gate } from "../permissions/gate.ts";
import { Rule } from "../permissions/rule.ts";
import type { ComponentGrant, Grants } from "../permissions/grants.ts";
import { setNeutral } from "../replication/quantise.ts";
import { RowReader } from "../replication/row_codec.ts";
import { type ComponentValue, copyFields, createValue } from "../replication/value.ts";
import type { HandleTable } from "./handle_table.ts";

/** What a batch does, as the core sees it. */
export interface BatchSink {
  /** Is this entity known and may the engine write to it at all? Otherwise the row is refused with this rule. */
  ownership(id: EntityId): { readonly isOwner: boolean } | undefined;
  /** Role that the engine writes as. */
  readonly role: number;
  /** What was granted to that engine's peer and revoked from it while running. */
  readonly adjusted?: Adjustments | undefined;
  /** An accepted row. */
  applyRow(id: EntityId, component: ComponentGrant, mask: number, value: ComponentValue): void;
  /** A refused row or part of one; the engine has to be put right. */
  refuseRow(
    handle: Handle,
    id: EntityId,
    component: ComponentGrant | undefined,
    componentId: number,
    fields: number,
    rule: Rule,
  ): void;
}

/** Parses the component rows of engine batches. */
export class EngineBatchReader {
  readonly #gate: Gate;
  readonly #handles: HandleTable;
  readonly #byId: ReadonlyMap<number, ComponentGrant>;
  readonly #values: ComponentValue[];
  readonly #wholes: ComponentValue[];

  constructor(grants: Grants, gate: Gate, handles: HandleTable) {
    this.#gate = gate;
    this.#handles = handles;
    this.#byId = new Map(grants.components.map((component) => [component.id, component]));
    this.#values = grants.components.map((component) => createValue(component));
    this.#wholes = grants.components.map((component) => createValue(component));
  }

  /** The value of a component that is new to its entity: what the row does not carry is neutral. Good until the next call. */
  wholeOf(component: ComponentGrant, mask: number, value: ComponentValue): ComponentValue {
    if (mask === component.allFields) return value;
    const whole = this.#wholes[component.index]!;
    setNeutral(component, whole);
    copyFields(component, value, whole, mask);
    return whole;
  }

  /** The component with this declared id. */
  component(id: number): ComponentGrant | undefined {
    return this.#byId.get(id);
  }

  /** Reads all rows of one component. */
  readRows(rows: ComponentRows, sink: BatchSink): void {
    const component = this.#byId.get(rows.componentId);
    if (component === undefined) {
      for (const handle of rows.handles) {
        sink.refuseRow(
          handle,
          this.#handles.idOf(handle),
          undefined,
          rows.componentId,
          0,
          Rule.Undeclared,
        );
      }
      return;
    }
    const reader = new RowReader(component, rows.rows, rows.handles.length);
    const value = this.#values[component.index]!;
    for (let i = 0; i < rows.handles.length; i++) {
      const handle = rows.handles[i]!;
      const mask = rows.masks[i]! & component.allFields;
      const id = this.#handles.idOf(handle);
      const result = reader.next(mask, value, this.#handles.idOf);
      if (result.status !== "row") {
        sink.refuseRow(handle, id, component, component.id, mask, Rule.Format);
        return;
      }
      const owner = id === NO_ENTITY ? undefined : sink.ownership(id);
      if (owner === undefined) {
        sink.refuseRow(handle, id, component, component.id, mask, Rule.EntityUnknown);
        continue;
      }
      const decision = this.#gate.decideWrite({
        component: component.index,
        mask,
        roleIndex: sink.role,
        isOwner: owner.isOwner,
        direction: "out",
        adjusted: sink.adjusted,
      });
      if (!decision.allowed) {
        sink.refuseRow(handle, id, component, component.id, mask, decision.rule);
        continue;
      }
      if (result.badFields !== 0) {
        sink.refuseRow(handle, id, component, component.id, result.badFields, Rule.Range);
        continue;
      }
      sink.applyRow(id, component, mask, value);
    }
  }
}

/** Marks components that the engine wants to hear again; pairs that nobody knows are left out. */
export function markAgain(
  pairs: Uint32Array,
  handles: HandleTable,
  batches: EngineBatchReader,
  outbox: { markValue(id: EntityId, component: number): void },
): void {
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const id = handles.idOf(pairs[i]!);
    const component = batches.component(pairs[i + 1]!);
    if (id !== NO_ENTITY && component !== undefined) outbox.markValue(id, component.index);
  }
}
