// The worlds of the twin runs: a random one, and in it secrets of one chosen field type beside fields that everyone reads, entities that the
// observers cannot see at all, and references to them.

import type { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant, FieldGrant } from "../../permissions/grants.ts";
import type { DeclaredComponent, Rights } from "./rights.ts";
import { FIELD_KINDS, type FuzzWorld, randomWorld } from "./worlds.ts";

/** Roles that the observers may ever have; neither inherits from "staff". */
export const OBSERVER_ROLES = ["guest", "player"] as const;
/** The role of those who may read the secrets. */
export const CONFIDANT_ROLE = "staff";
/** The role of one who writes secrets of its own, and reads no others: nothing that it hears differs between the twins. */
export const AUTHOR_ROLE = "author";

const DECLARED: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  f32: { min: -100, max: 100, precision: 0.001 },
  vec3: { min: -512, max: 512, precision: 0.01 },
  quat: { bits: 10 },
  string: { maxBytes: 3_000 },
  bytes: { maxBytes: 3_000 },
  enum: { values: ["one", "two", "three", "four", "five"] },
};

/** A random world around secrets of the type that `seed` chooses; every type comes in turn. */
export function twinWorld(prng: Prng, seed: number): FuzzWorld {
  const kind = FIELD_KINDS[seed % FIELD_KINDS.length]!;
  const secret = { type: kind, ...DECLARED[kind], read: [CONFIDANT_ROLE] };
  const fuzz = randomWorld(prng, false);
  // The hidden field stands before, between and behind the others, so that nothing about its bits can hide in its place.
  const fields = (narrower: Readonly<Record<string, unknown>>) => ({
    first: { ...secret, ...narrower },
    number: { type: "u32" },
    middle: { ...secret, ...narrower },
    text: { type: "string", maxBytes: 40 },
    friend: { type: "entity" },
    last: { ...secret, ...narrower },
  });
  const extra = [
    { name: "Ledger", authority: "server", read: ["all"], fields: fields({}) },
    {
      name: "Diary",
      authority: "owner",
      read: ["all"],
      write: ["all"],
      rateHz: 120,
      fields: fields({ write: [AUTHOR_ROLE] }),
      spawn: { roles: ["all"], maxPerPeer: 6 },
    },
    {
      name: "Dark",
      authority: "server",
      read: [CONFIDANT_ROLE],
      fields: { value: { ...secret }, more: { type: "bytes", maxBytes: 2_000 } },
    },
  ].map((one, i) => ({ id: 100 + i, write: [], ...one }) as unknown as DeclaredComponent);
  const world = {
    ...fuzz.world,
    roles: [...fuzz.world.roles, { id: 50, name: AUTHOR_ROLE, inherits: [] }],
    components: [...fuzz.world.components, ...extra],
  };
  return { world, deny: fuzz.deny };
}

/**
 * Whether no observer may ever read the field, whoever owns the entity, nor write it: whether a write changes anything is a matter of the time
 * of a change, not of a value.
 */
export function isSecret(rights: Rights, component: ComponentGrant, field: FieldGrant): boolean {
  return OBSERVER_ROLES.every((role) =>
    [true, false].every((isOwner) => !rights.mayRead(role, component.name, field.name, isOwner)) &&
    !rights.mayWrite(role, component.name, field.name, true)
  );
}
