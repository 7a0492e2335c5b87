// The public names of the network driver, and the program when this file is run: `deno run -A mod.ts help`. An engine imports from
// here and never meets the driver's own rooms; the command line is loaded only when it is wanted.

/**
 * The SyncraEngine network driver: the SDK that engines link against, the permission manifest and its compiled grants.
 *
 * Run as a program, this module is the command line (`check`, `flags`, `launch`, `run`, `grants`, `cert`, `compile`, `demo`, `help`, `version`).
 *
 * @module
 */

export * from "./engine/mod.ts";
export { type Adjustment, Adjustments } from "./permissions/adjustments.ts";
export { compileGrants } from "./permissions/compile.ts";
export * from "./permissions/deno_flags.ts";
export * from "./permissions/gate.ts";
export * from "./permissions/grants.ts";
export * from "./permissions/manifest.ts";
export * from "./permissions/manifest_error.ts";
export type { ComponentRows, ToEngine } from "./protocol/engine_messages.ts";
export type { TimelineTime } from "./protocol/timeline_units.ts";

if (import.meta.main) {
  const { main } = await import("./driver/cli.ts");
  Deno.exit(await main(Deno.args));
}
