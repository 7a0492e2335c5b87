// The whole manifest, declared once: what validates, documents and gives the types. Its two parts are in files of their own.

import { z } from "zod";
import { hostSchema } from "./host_schema.ts";
import { worldSchema } from "./world_schema.ts";

/** The declaration of the whole manifest. */
export const manifestSchema = z.strictObject({
  $schema: z.string().optional().describe(
    "Where editors find the JSON Schema; the driver ignores it.",
  ),
  world: worldSchema.describe("The same on every side; its hash is what peers compare."),
  host: hostSchema.describe("This driver alone; never sent, can only take rights away."),
});

/**
 * The type that the declaration gives; public under the name `Manifest`.
 *
 * @internal
 */
export type ManifestShape = z.output<typeof manifestSchema>;
