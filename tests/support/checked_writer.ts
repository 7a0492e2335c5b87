// One entity's writes against the checks alone, on a clock of the test's own: what a peer claims, what is found, what then holds.

import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { dequantiseField, quantiseField } from "../../replication/quantise.ts";
import {
  type ComponentValue,
  copyFields,
  copyValue,
  createValue,
} from "../../replication/value.ts";
import { type BrokenCheck, WriteChecks } from "../../driver/write_checks.ts";
import { SUBTICKS } from "../../protocol/timeline_units.ts";
import { driverGrants } from "./driver_world.ts";

/** Roles of the world below, by index. */
export const PLAYER_ROLE = 1;
export const MODERATOR_ROLE = 2;

/** Grants of a world with one component of these fields and checks, which peers write 60 times a second. */
export function checkedGrants(
  fields: Record<string, unknown>,
  checks: Record<string, unknown>,
  changes: Record<string, unknown> = {},
): Grants {
  return driverGrants({
    roles: [{ id: 1, name: "player" }, { id: 2, name: "moderator" }],
    components: [{
      id: 1,
      name: "Thing",
      fields,
      authority: "owner",
      read: ["all"],
      write: ["all"],
      rateHz: 60,
      spawn: { roles: ["all"], maxPerPeer: 4 },
      checks,
      ...changes,
    }],
    events: [],
    channels: [],
    voice: undefined,
  });
}

/** See the head of this file. */
export class CheckedWriter {
  readonly component: ComponentGrant;
  readonly checks: WriteChecks;
  /** What the checks found, all in all. */
  readonly broken: BrokenCheck[] = [];
  /** What the world holds. */
  present: ComponentValue | undefined;
  role = PLAYER_ROLE;
  peer = 7;
  id = 0x0010_0001;
  readonly #unitsPerMs: number;

  constructor(grants: Grants) {
    this.component = grants.components[0]!;
    this.checks = new WriteChecks(grants, (one) => this.broken.push(one));
    this.#unitsPerMs = grants.tickHz * SUBTICKS / 1000;
  }

  /** Writes fields by name, as numbers; sampled at `sampleMs`, arriving at `nowMs`. Returns whether all of it was taken as it came. */
  write(values: Record<string, readonly number[]>, nowMs: number, sampleMs = nowMs): boolean {
    const { component, checks } = this;
    const value = createValue(component);
    if (this.present !== undefined) copyValue(this.present, value);
    let mask = this.present === undefined ? component.allFields : 0;
    for (const [name, numbers] of Object.entries(values)) {
      const field = component.fields.find((one) => one.name === name)!;
      if (!quantiseField(field, numbers, 0, value.lanes, field.laneOffset)) {
        throw new Error(`${name} cannot be ${numbers}`);
      }
      mask |= 1 << field.index;
    }
    checks.judge(0, {
      peer: this.peer,
      role: this.role,
      id: this.id,
      fields: mask,
      value,
      present: this.present,
      sampled: Math.round(sampleMs * this.#unitsPerMs),
      nowMs,
    });
    if (this.present === undefined) {
      if (checks.refused !== 0) return false;
      this.present = value;
    } else copyFields(component, value, this.present, mask & ~checks.refused);
    return (checks.refused | checks.clamped) === 0;
  }

  /** Its owner ends the entity, and the next one has another id. */
  bury(nowMs: number): void {
    this.checks.bury(this.peer, this.id, () => this.present, nowMs);
    this.checks.forget(this.id);
    this.present = undefined;
    this.id += 1;
  }

  /** Its owner takes the component away. */
  remove(nowMs: number): void {
    this.checks.remove(this.id, 0, this.present!, nowMs);
    this.present = undefined;
  }

  /** The server's engine puts a field elsewhere. */
  override(name: string, numbers: readonly number[]): void {
    const field = this.component.fields.find((one) => one.name === name)!;
    quantiseField(field, numbers, 0, this.present!.lanes, field.laneOffset);
  }

  /** What holds now. */
  read(name: string): number[] {
    const field = this.component.fields.find((one) => one.name === name)!;
    const out = new Float64Array(4);
    dequantiseField(field, this.present!.lanes, field.laneOffset, out, 0);
    return [...out].slice(0, field.kind === "vec3" ? 3 : field.kind === "quat" ? 4 : 1);
  }

  /** What was found since the last call, as `field check`. */
  take(): string[] {
    return this.broken.splice(0).map(({ component, field, check }) =>
      `${component.fields[field]!.name} ${check}`
    );
  }
}
