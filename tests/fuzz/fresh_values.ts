// Values that game code of a run writes: canaries and numbers that differ from those before, noted so that an engine's own words can be told
// from what it heard. Whose right it is to write them is not asked here.

import type { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant } from "../../permissions/grants.ts";
import type { EngineLink } from "../../engine/engine_link.ts";
import type { ComponentValues, FieldValue } from "../../engine/values.ts";
import type { PairNode } from "../support/pair.ts";
import { type Judge, NOWHERE } from "./judge.ts";
import { freshValue, plainKey, type ValueSource } from "./values.ts";

/** A large value now and then; most are small, so that links are not busy with nothing else. */
const LARGE_RATE = 0.03;

/** Calls `see` with each field of plain values that a client's engine holds, as a key with network ids. */
export function eachKey(
  node: { readonly engine: EngineLink },
  component: ComponentGrant,
  values: ComponentValues,
  see: (field: number, key: string) => void,
): void {
  for (const field of component.fields) {
    const plain = values[field.name];
    if (plain === undefined) continue;
    const key = plainKey(component, field, plain, (h) => node.engine.networkIdOf(h));
    if (key !== undefined) see(field.index, key);
  }
}

/** Makes values for one run, with the canaries of its judge. */
export class FreshValues {
  readonly #judge: Judge;
  readonly #prng: Prng;
  /** What each engine's game code wrote, as `component.field=key`. */
  readonly #written = new WeakMap<EngineLink, Set<string>>();

  constructor(judge: Judge, prng: Prng) {
    this.#judge = judge;
    this.#prng = prng;
  }

  /** Whether a client's own game code wrote this value of a field. */
  hasWritten(
    { engine }: { readonly engine: EngineLink },
    component: ComponentGrant,
    field: number,
    key: string,
    values: ComponentValues,
  ): boolean {
    const { kind, name } = component.fields[field]!;
    const written = this.#written.get(engine);
    return written !== undefined && (written.has(`${component.name}.${field}=${key}`) ||
      (kind === "entity" && written.has(`${component.name}.${field}=@${values[name]}`)));
  }

  /** Where a value of a field comes from; `handles` are what it may refer to. */
  source(component: ComponentGrant, field: number, handles: readonly number[]): ValueSource {
    const { canaries } = this.#judge;
    return {
      prng: this.#prng,
      handles,
      mostBytes: this.#prng.chance(LARGE_RATE) ? 4_000 : 40,
      nextCanary: () => {
        const meaning = {
          kind: "field" as const,
          component: component.name,
          field: component.fields[field]!.name,
          entity: NOWHERE,
        };
        return canaries.push(meaning) - 1;
      },
    };
  }

  /** Fresh values for some fields, different from those that the engine has. */
  values(
    node: { readonly world: PairNode["world"]; readonly engine: EngineLink },
    handle: number,
    component: ComponentGrant,
    may: (field: string) => boolean = () => true,
  ): Record<string, FieldValue> {
    const before = node.world.read(handle, component.name);
    const handles = component.fields.some(({ kind }) => kind === "entity")
      ? [...node.world.handles()]
      : [];
    const values: Record<string, FieldValue> = {};
    for (const field of component.fields) {
      if (!may(field.name) || this.#prng.chance(0.4)) continue;
      const source = this.source(component, field.index, handles);
      values[field.name] = freshValue(component, field, source, before?.[field.name]);
    }
    const written = this.#written.get(node.engine) ?? new Set();
    this.#written.set(node.engine, written);
    eachKey(node, component, values, (field, key) => {
      written.add(`${component.name}.${field}=${key}`);
      // An entity that has no network id yet may have one when the value comes back.
      written.add(`${component.name}.${field}=@${values[component.fields[field]!.name]}`);
    });
    return values;
  }
}
