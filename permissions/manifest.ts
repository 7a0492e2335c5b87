// The manifest: what one driver and its world may do, as the operator wrote it. Text in, typed value out, all mistakes at once. What
// it means for each door is compiled in `compile.ts`; nothing here decides anything.

import { parseDocument } from "./document.ts";
import { checkHost } from "./host_rules.ts";
import { formatPath, ManifestError, type Mistake } from "./manifest_error.ts";
import { manifestSchema, type ManifestShape } from "./manifest_schema.ts";
import { asObject, type Complain } from "./raw.ts";
import { validate } from "./schema_advice.ts";
import { checkWorld } from "./world_rules.ts";

/** A manifest with defaults filled in. */
export type Manifest = ManifestShape;
/** Its part that is the same on every side. */
export type World = ManifestShape["world"];
/** Its part that belongs to one driver. */
export type Host = ManifestShape["host"];
/** One declared component. */
export type ComponentDeclaration = World["components"][number];
/** One declared event. */
export type EventDeclaration = World["events"][number];
/** One declared channel. */
export type ChannelDeclaration = World["channels"][number];
/** One declared zone. */
export type ZoneDeclaration = World["zones"][number];
/** One declared field. */
export type FieldDeclaration = ComponentDeclaration["fields"][string];

/**
 * Parses and checks a manifest.
 *
 * @param text JSON with comments and trailing commas.
 * @param file The file's name, for the error alone; nothing is read.
 * @throws {ManifestError} with every mistake, its path, its line and what to write instead.
 */
export function parseManifest(text: string, file: string): Manifest {
  const document = parseDocument(text);
  if (!document.whole) throw new ManifestError(file, document.mistakes);
  const mistakes: Mistake[] = [...document.mistakes];
  const complain: Complain = (path, message) => {
    mistakes.push({ path: formatPath(path), line: document.lineOf(path), message });
  };
  const result = validate(manifestSchema, document.value);
  if ("findings" in result) {
    for (const { path, message } of result.findings) {
      // The document's own check has refused this key everywhere, also where the schema would skip it.
      if (path.at(-1) !== "__proto__") complain(path, message);
    }
  }
  const root = asObject(document.value);
  const world = asObject(root["world"]);
  if ("world" in root) checkWorld(world, complain);
  if ("host" in root) checkHost(asObject(root["host"]), world, complain);
  if (mistakes.length > 0 || !("value" in result)) throw new ManifestError(file, mistakes);
  return result.value;
}
