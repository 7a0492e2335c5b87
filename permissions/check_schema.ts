// The grammar of one field's checks against cheating, declared once as in `world_schema.ts`. What must hold between its keys, and which of
// them a field can have, is in `check_rules.ts`.

import { z } from "zod";
import { MAX_COMPONENT_RATE_HZ, MAX_ROLES } from "../protocol/limits.ts";

const corner = z.union([z.number(), z.array(z.number()).length(3)]);
const limit = z.number().positive().max(Number.MAX_SAFE_INTEGER);

/** What the server's driver does with a value that breaks a check. */
export const CHECK_ACTIONS = ["reject", "clamp", "report"] as const;

/** Checks of one field. */
export const checkSchema = z.strictObject({
  bounds: z.strictObject({
    min: corner.describe("Smallest value, world units; of a vec3 a list of x, y, z."),
    max: corner.describe("Largest value, world units; of a vec3 a list of x, y, z."),
  }).optional().describe("Where the value may lie, inside the field's range; a spawn's too."),
  maxStep: limit.optional().describe(
    "Farthest from one accepted write to the next: world units, of a quat radians. Losses on the path make honest steps longer.",
  ),
  maxSpeed: limit.optional().describe("Fastest change a second: world units, of a quat radians."),
  maxAcceleration: limit.optional().describe(
    "Fastest gain or turn of speed, world units per second squared, over quarters of a second; f32 and vec3. Braking is free.",
  ),
  rateHz: z.number().positive().max(MAX_COMPONENT_RATE_HZ).optional().describe(
    "Most changes a second of this one field, below the component's `rateHz`.",
  ),
  exempt: z.array(z.string()).max(MAX_ROLES).default([]).describe(
    "Roles whose writes are not judged by these checks.",
  ),
  onViolation: z.enum(CHECK_ACTIONS).default("reject").describe(
    '"reject": the field keeps its value. "clamp": it gets the nearest permitted one. "report": it gets the new one. The engine is told each time.',
  ),
});
