// The one rule for every list of roles in a manifest: each name is declared, and named once.

import { asArray, type Complain } from "./raw.ts";
import { RESERVED_ROLE_NAMES } from "./role_list.ts";
import { suggest } from "./suggest.ts";

/** Complains about every role of a list that is not declared, or named twice. `extra` are the words legal beside role names. */
export function checkRoles(
  list: unknown,
  path: readonly (string | number)[],
  roles: readonly string[],
  extra: readonly string[],
  complain: Complain,
): void {
  const known = [...roles, ...extra];
  const seen = new Set<string>();
  for (const [index, name] of asArray(list).entries()) {
    if (typeof name !== "string") continue;
    if (!known.includes(name)) {
      const hint = RESERVED_ROLE_NAMES.includes(name)
        ? `; "${name}" has no meaning here, known are ${known.map((one) => `"${one}"`).join(", ")}`
        : suggest(name, known);
      complain([...path, index], `unknown role "${name}"${hint}`);
    } else if (seen.has(name)) {
      complain([...path, index], `role "${name}" is named twice; remove one`);
    }
    seen.add(name);
  }
}
