// A program that tells which rights it should not have, for the tests of the start command. First argument after `run --manifest`: the file.
// Further arguments are hosts: then it tells the state of each.

import { parseManifest } from "../../permissions/manifest.ts";
import { findExcessRights, probesOutside } from "../../permissions/self_check.ts";

const manifestFile = Deno.args[2]!;
const manifest = parseManifest(Deno.readTextFileSync(manifestFile), manifestFile);
const hosts = Deno.args.slice(3);
const excess = findExcessRights(
  (question) => Deno.permissions.querySync(question as Deno.PermissionDescriptor).state,
  probesOutside(manifest, { manifestFile }),
);
const answers = hosts.map((host) => Deno.permissions.querySync({ name: "net", host }).state);
console.log(JSON.stringify(hosts.length > 0 ? answers : excess));
