// A program that tells which rights it should not have, for the tests of the start command. First argument after `run --manifest`: the file.

import { parseManifest } from "../../permissions/manifest.ts";
import { findExcessRights, probesOutside } from "../../permissions/self_check.ts";

const manifestFile = Deno.args[2]!;
const manifest = parseManifest(Deno.readTextFileSync(manifestFile), manifestFile);
const excess = findExcessRights(
  (question) => Deno.permissions.querySync(question as Deno.PermissionDescriptor).state,
  probesOutside(manifest, { manifestFile }),
);
console.log(JSON.stringify(excess));
