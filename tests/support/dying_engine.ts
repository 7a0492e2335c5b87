// An engine for the tests of crashes: it listens on the socket named first with the manifest named second, says so, and lives until killed.

import { listenForDriver, ReferenceWorld } from "../../engine/mod.ts";

await listenForDriver({
  socket: Deno.args[0]!,
  manifest: Deno.args[1]!,
  world: new ReferenceWorld(),
});
console.log("listening");
