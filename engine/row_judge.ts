// The engine's door for single values of its driver: which fields of a row may be taken, by this engine's own tables and ledger. Of the world it
// reads what is held and changes nothing.

import { type Handle, SERVER_PEER } from "../protocol/engine_messages.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { type ComponentGrant, readMaskOf } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { setNeutral } from "../replication/quantise.ts";
import { changedFields, type ComponentValue } from "../replication/value.ts";
import type { EntityRecord } from "./entity_ledger.ts";
import type { LinkState } from "./link_state.ts";
import type { SpawnCounts } from "./spawn_counts.ts";
import { type FieldValue, plainValues, quantiseValues } from "./values.ts";

const COMPONENT = "component";

/** A row as it was read. */
export interface ParsedRow {
  readonly handle: Handle;
  readonly component: ComponentGrant;
  readonly badFields: number;
  readonly mask: number;
  readonly value: ComponentValue;
  readonly time: TimelineTime;
}

/** A row that may be applied. */
export interface Row {
  readonly record: EntityRecord;
  readonly component: ComponentGrant;
  readonly mask: number;
  readonly values: Record<string, FieldValue>;
  readonly time: TimelineTime;
}

/** Judges rows of the driver's batches; what it refuses is denied and counted. */
export class RowJudge {
  readonly #state: LinkState;

  /** Judges by the link's own tables. */
  constructor(state: LinkState) {
    this.#state = state;
  }

  /** A row that may be applied, cut to the fields that may be. */
  judge(record: EntityRecord, row: ParsedRow, counts: SpawnCounts): Row | undefined {
    const { handle, component, badFields } = row;
    const who = this.#state.isAuthority ? record.owner : SERVER_PEER;
    if (badFields !== 0) {
      const fields = badFields & component.allFields;
      this.#state.deny(COMPONENT, Rule.Range, { id: component.id, fields, handle, peer: who });
      return undefined;
    }
    const mask = this.#allowedFields(record, row, who, counts);
    if (mask === 0) return undefined;
    const values = plainValues(component, row.value, mask);
    return { record, component, mask, values, time: row.time };
  }

  #allowedFields(
    record: EntityRecord,
    row: ParsedRow,
    who: number,
    counts: SpawnCounts,
  ): number {
    const state = this.#state;
    const { component, mask, handle } = row;
    const isNew = !record.components.has(component.index);
    if (!state.isAuthority) {
      const isOwn = state.isOwn(record);
      const read = readMaskOf(component, state.roleIndex, isOwn, state.ownAdjusted);
      const refused = mask & ~(read & component.hostReceiveMask);
      if (refused !== 0) {
        const byRole = readMaskOf(component, state.roleIndex, isOwn);
        const rule = (refused & ~read) === 0
          ? Rule.Host
          : (refused & ~read & ~byRole) === 0
          ? Rule.Revoked
          : Rule.Role;
        state.deny(COMPONENT, rule, { id: component.id, fields: refused, handle, peer: who });
      }
      return mask & ~refused;
    }
    // What the driver took from former owners before it had our word is in order; it goes on from there.
    const late = state.orders.late(record);
    let { owner } = record;
    let allowed = this.#writable(component, owner);
    for (const former of late) {
      const more = this.#writable(component, former);
      if (owner === SERVER_PEER || (allowed === 0 && more !== 0)) owner = former;
      allowed |= more;
    }
    const roleIndex = state.roleOf(owner);
    const isOwner = owner !== SERVER_PEER;
    const adjusted = state.adjustedOf(owner);
    const refused = mask & ~allowed;
    // The driver sends whole values. A field that its owner may not write is no offence while it is as this engine has it.
    const forged = allowed === 0 && isNew ? refused : this.#differing(record, row, refused);
    if (forged !== 0) {
      const decision = state.gate.decideWrite({
        component: component.index,
        mask: forged,
        roleIndex: isOwner ? roleIndex : state.grants.defaultRole,
        isOwner,
        direction: "in",
        adjusted,
      });
      const rule = decision.allowed ? Rule.NotOwner : decision.rule;
      state.deny(COMPONENT, rule, { id: component.id, fields: forged, handle, peer: who });
      // Its owner may have written it before the right was taken: the driver took that, and learns what holds instead.
      const isLate = rule === Rule.Role || rule === Rule.Revoked;
      if (isLate) state.dirty.mark(component.index, record.slot, mask);
      return 0;
    }
    // A component may be new to this driver only: what the world has already needs no right to be added.
    const isAdded = isNew && state.world.read(handle, component.name) === undefined;
    if (isAdded && (mask & allowed) !== 0 && !counts.isSpawned(handle)) {
      const rule = this.#addRefusal(component, owner, late, counts);
      if (rule !== undefined) {
        state.deny(COMPONENT, rule, { id: component.id, fields: mask, handle, peer: who });
        return 0;
      }
    }
    return mask & allowed;
  }

  /** Why neither the owner nor any former one may add a component; of one that may it is counted. */
  #addRefusal(
    { index }: ComponentGrant,
    owner: number,
    late: readonly number[],
    counts: SpawnCounts,
  ): Rule | undefined {
    let refusal: Rule | undefined;
    for (const one of late.includes(owner) ? late : [owner, ...late]) {
      const add = this.#state.gate.decideChange({
        component: index,
        op: "add",
        roleIndex: this.#state.roleOf(one),
        isOwner: one !== SERVER_PEER,
        ownedWith: (other) => counts.ownedWith(one, other),
        direction: "in",
      });
      if (add.allowed) {
        counts.noteAdd(one, index);
        return undefined;
      }
      refusal ??= add.rule;
    }
    return refusal;
  }

  /** Fields that a peer may write of its own entities; none for the server, whose engine this is. */
  #writable({ index }: ComponentGrant, owner: number): number {
    if (owner === SERVER_PEER) return 0;
    const state = this.#state;
    return state.gate.writeMask(index, state.roleOf(owner), true, "in", state.adjustedOf(owner));
  }

  /** Fields of a row that differ from what the world holds. Of a component that is new here they are just not taken. */
  #differing(record: EntityRecord, row: ParsedRow, mask: number): number {
    if (mask === 0) return 0;
    const { component, value } = row;
    const values = this.#state.world.read(record.handle, component.name);
    if (values === undefined) return 0;
    const held = this.#state.scratch(component);
    setNeutral(component, held);
    quantiseValues(component, values, mask, held, this.#state.isKnown);
    return changedFields(component, held, value, mask);
  }
}
