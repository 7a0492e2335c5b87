// What a list of roles in a manifest means: role names, "server", "all", and for reading "owner", and which roles a name stands for.
// One place for the words, so that the rules, the canonical form and the compiled masks cannot differ.

/** The built-in role of the holder of world authority. */
export const SERVER = "server";
/** The owner of the entity, whatever its role; legal in a component's `read` alone. */
export const OWNER = "owner";
/** Every role, "server" included. */
export const ALL = "all";
/** Names no declared role may take. */
export const RESERVED_ROLE_NAMES: readonly string[] = [SERVER, OWNER, ALL];

/** By role: its own name, then those of all roles it inherits from, near before far. A list that names one of them includes the role. */
export type Lineages = ReadonlyMap<string, readonly string[]>;

/** The lineages of declared roles, in their order. It ends also where roles inherit in a circle or from a name that is none. */
export function lineagesOf(
  roles: readonly { readonly name: string; readonly inherits: readonly string[] }[],
): Lineages {
  const parents = new Map(roles.map((role) => [role.name, role.inherits]));
  const lineages = new Map<string, readonly string[]>();
  for (const { name } of roles) {
    // A set keeps the order of insertion, and what is added while it is walked is walked too.
    const lineage = new Set([name]);
    for (const one of lineage) for (const parent of parents.get(one) ?? []) lineage.add(parent);
    lineages.set(name, [...lineage]);
  }
  return lineages;
}

/** The word by which `list` includes `role`: its own name, "all", or a role it inherits from; undefined when the list does not. */
export function wordFor(
  list: readonly string[],
  role: string,
  lineages: Lineages,
): string | undefined {
  if (list.includes(role)) return role;
  if (list.includes(ALL)) return ALL;
  return lineages.get(role)?.find((one) => list.includes(one));
}

/** True when `list` includes `role`: by its name, by "all", or by a role it inherits from. */
export function namesRole(list: readonly string[], role: string, lineages: Lineages): boolean {
  return wordFor(list, role, lineages) !== undefined;
}

/** True when `list` grants reading to the owner of an entity, whatever its role. */
export function namesOwner(list: readonly string[]): boolean {
  return list.includes(OWNER) || list.includes(ALL);
}

/** Mask of the roles that `list` includes, bit by position in `lineages`. */
export function roleMask(list: readonly string[], lineages: Lineages): number {
  let mask = 0;
  let bit = 1;
  for (const role of lineages.keys()) {
    if (namesRole(list, role, lineages)) mask |= bit;
    bit <<= 1;
  }
  return mask;
}
