// What a list of roles in a manifest means: role names, "server", "all", and for reading "owner". One place for the words, so that
// the rules, the canonical form and the compiled masks cannot differ.

/** The built-in role of the holder of world authority. */
export const SERVER = "server";
/** The owner of the entity, whatever its role; legal in a component's `read` alone. */
export const OWNER = "owner";
/** Every role, "server" included. */
export const ALL = "all";
/** Names no declared role may take. */
export const RESERVED_ROLE_NAMES: readonly string[] = [SERVER, OWNER, ALL];

/** True when `list` names `role`, by its name or by "all". */
export function namesRole(list: readonly string[], role: string): boolean {
  return list.includes(role) || list.includes(ALL);
}

/** True when `list` grants reading to the owner of an entity, whatever its role. */
export function namesOwner(list: readonly string[]): boolean {
  return list.includes(OWNER) || list.includes(ALL);
}

/** Mask over `roles` (bit by position) of those that `list` names. */
export function roleMask(list: readonly string[], roles: readonly string[]): number {
  let mask = 0;
  for (const [index, role] of roles.entries()) if (namesRole(list, role)) mask |= 1 << index;
  return mask;
}
