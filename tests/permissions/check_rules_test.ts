// What a component's checks may say: each mistake is told once, where it is, with what to write instead; and what a legal one compiles to.

import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { MAX_CHECKS } from "../../protocol/limits.ts";
import { canonicalJson, canonicalWorld, type Json } from "../../permissions/canonical.ts";
import { explain } from "../../permissions/explain.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { summarize } from "../../permissions/summary.ts";
import { compiled, type Loose, parsed, smallManifest } from "../support/manifest_samples.ts";

/** The small manifest with fields of every sort and these checks. */
function checked(checks: Loose, changes: (component: Loose) => unknown = () => {}): Loose {
  const value = smallManifest();
  const component = value.world.components[0];
  component.fields = {
    ...component.fields,
    heat: { type: "f32", min: 0, max: 10, precision: 0.1 },
    score: { type: "u16" },
    depth: { type: "i32", min: -100, max: 100 },
    name: { type: "string", maxBytes: 10 },
    on: { type: "bool" },
  };
  component.rateHz = 20;
  component.checks = checks;
  changes(component);
  return value;
}

function mistakesOf(value: Loose): string[] {
  try {
    parsed(value);
  } catch (error) {
    assert(error instanceof ManifestError);
    return error.mistakes.map(({ path, message }) => `${path}: ${message}`);
  }
  return [];
}

/** `[checks, path below checks, part of the advice]`: each gives exactly one mistake. */
const BROKEN: readonly (readonly [Loose, string, string, ((c: Loose) => unknown)?])[] = [
  [{ positoin: { maxSpeed: 8 } }, "positoin", 'did you mean "position"'],
  [{ position: { maxSped: 8 } }, "position.maxSped", 'did you mean "maxSpeed"'],
  [{ position: {} }, "position", "checks nothing"],
  [{ position: { onViolation: "clamp" } }, "position", "checks nothing"],
  [{ position: { maxSpeed: 8, onViolation: "ignore" } }, "position.onViolation", "not known"],
  [{ position: { maxSpeed: 0 } }, "position.maxSpeed", "above 0"],
  [{ position: { maxStep: -1 } }, "position.maxStep", "above 0"],
  [{ rotation: { bounds: { min: 0, max: 1 }, maxSpeed: 3 } }, "rotation.bounds", "a quat has no"],
  [{ rotation: { maxAcceleration: 9, maxSpeed: 3 } }, "rotation.maxAcceleration", "no maxAcc"],
  [{ score: { maxAcceleration: 9, maxSpeed: 3 } }, "score.maxAcceleration", "no maxAcc"],
  [{ name: { maxStep: 1, rateHz: 1 } }, "name.maxStep", "it can have rateHz"],
  [{ on: { maxSpeed: 1, rateHz: 1 } }, "on.maxSpeed", "it can have rateHz"],
  // Limits that cannot be violated.
  [
    { position: { bounds: { min: [-10, -10, -10], max: [10, 10, 10] } } },
    "position.bounds",
    "can never be violated",
  ],
  [{ score: { bounds: { min: 0, max: 65_535 } } }, "score.bounds", "can never be violated"],
  [{ position: { maxStep: 35 } }, "position.maxStep", "differ by at most 34.6"],
  [
    { position: { maxStep: 4, bounds: { min: [0, 0, 0], max: [1, 1, 3] } } },
    "position.maxStep",
    "differ by at most 3.32",
  ],
  [{ position: { maxStep: 22, maxSpeed: 8 } }, "position.maxStep", "at most 21 pass at once"],
  [{ rotation: { maxStep: 3.2 } }, "rotation.maxStep", "differ by at most 3.14"],
  [{ position: { maxSpeed: 900 } }, "position.maxSpeed", "can never be violated"],
  [{ rotation: { maxSpeed: 80 } }, "rotation.maxSpeed", "can never be violated"],
  [
    { position: { maxSpeed: 8, maxAcceleration: 247 } },
    "position.maxAcceleration",
    "can never be violated",
  ],
  [{ on: { rateHz: 20 } }, "on.rateHz", "takes 20 values a second"],
  // Limits that nothing could keep.
  [{ position: { maxStep: 0.01 } }, "position.maxStep", "no change would pass"],
  [{ score: { maxStep: 0.5 } }, "score.maxStep", "no change would pass"],
  [{ position: { maxSpeed: 0.2 } }, "position.maxSpeed", "rounding alone"],
  // Bounds.
  [{ position: { bounds: { min: -5, max: [5, 5, 5] } } }, "position.bounds.min", "x, y, z"],
  [{ heat: { bounds: { min: 1, max: [5, 5, 5] } } }, "heat.bounds.max", "write a number"],
  [{ heat: { bounds: { min: 5, max: 5 } } }, "heat.bounds.max", "must be above min (5)"],
  [
    { position: { bounds: { min: [0, 3, 0], max: [1, 2, 1] } } },
    "position.bounds.max",
    "2 of y must be above min (3)",
  ],
  [{ heat: { bounds: { min: -1, max: 5 } } }, "heat.bounds.min", "outside the field's own range"],
  [{ depth: { bounds: { min: 0, max: 101 } } }, "depth.bounds.max", "outside"],
  [{ depth: { bounds: { min: 0.5, max: 10 } } }, "depth.bounds", "whole numbers"],
  // Who.
  [{ position: { maxSpeed: 8, exempt: ["gest"] } }, "position.exempt[0]", 'did you mean "guest"'],
  [{ position: { maxSpeed: 8, exempt: ["player"] } }, "position.exempt", "is exempt"],
  [
    { position: { maxSpeed: 8 } },
    "position",
    "no role may write this field",
    (c) => c.fields.position.write = [],
  ],
  [{ position: { maxSpeed: 8 } }, "", "never judged; remove `checks`", (c) => {
    c.authority = "server";
    c.write = [];
    delete c.spawn;
  }],
];

Deno.test("checkChecks() tells each mistake once, where it is, and what to write instead", () => {
  for (const [checks, path, advice, changes] of BROKEN) {
    const found = mistakesOf(checked(checks, changes));
    const context = `${JSON.stringify(checks)}: ${found.join("; ")}`;
    assertEquals(found.length, 1, context);
    const at = path === "" ? "" : `.${path}`;
    assert(found[0]!.startsWith(`world.components[0].checks${at}: `), context);
    assertStringIncludes(found[0]!, advice);
  }
});

Deno.test("checkChecks() takes every sort of check that can be kept and can be broken", () => {
  const legal: Loose[] = [
    { position: { maxSpeed: 8, maxAcceleration: 60, maxStep: 20.9 } },
    { position: { maxSpeed: 8, maxAcceleration: 246 } },
    { position: { bounds: { min: [-10, -10, -10], max: [10, 10, 9.99] }, maxStep: 34.6 } },
    { rotation: { maxSpeed: 20, maxStep: 3.1 } },
    { heat: { maxSpeed: 3, maxAcceleration: 20, bounds: { min: 1, max: 10 } } },
    { score: { maxSpeed: 0.01, maxStep: 1, rateHz: 19.9 } },
    { depth: { bounds: { min: -5, max: 5 }, onViolation: "report" } },
    { name: { rateHz: 0.1 }, on: { rateHz: 1, onViolation: "clamp" } },
    {},
  ];
  for (const checks of legal) assertEquals(mistakesOf(checked(checks)), [], JSON.stringify(checks));
});

Deno.test("checkCheckCount() bounds the checks of a world", () => {
  const value = smallManifest();
  const names = Array.from({ length: 22 }, (_, i) => `f${i}`);
  value.world.components = [1, 2, 3].map((id) => ({
    id,
    name: `C${id}`,
    fields: Object.fromEntries(names.map((name) => [name, { type: "bool" }])),
    authority: "owner",
    write: ["player"],
    checks: Object.fromEntries(names.map((name) => [name, { rateHz: 1 }])),
  }));
  delete value.world.voice;
  assertEquals(mistakesOf(value), [
    `world.components[2].checks: the world checks 66 fields; at most ${MAX_CHECKS}, remove the least important`,
  ]);
  delete value.world.components[2].checks.f0;
  delete value.world.components[2].checks.f1;
  assertEquals(mistakesOf(value), []);
});

Deno.test("compileGrants() turns checks into plain numbers, roles that inherit an exemption included", () => {
  const value = checked({
    rotation: { maxSpeed: 3 },
    position: {
      bounds: { min: [-1, 0, -1], max: [1, 2, 1] },
      maxStep: 2,
      maxAcceleration: 60,
      exempt: ["judge"],
      onViolation: "clamp",
    },
    depth: { bounds: { min: -5, max: 5 }, rateHz: 2, onViolation: "report" },
  });
  value.world.roles.push({ id: 3, name: "judge" }, { id: 4, name: "chief", inherits: ["judge"] });
  const none = { min: [], max: [], maxStep: 0, maxSpeed: 0, maxAcceleration: 0, rateHz: 0 };
  const { checks } = compiled(value).components[0]!;
  assertEquals(checks, [
    {
      ...none,
      field: 0,
      min: [-1, 0, -1],
      max: [1, 2, 1],
      maxStep: 2,
      maxAcceleration: 60,
      exemptRoles: 0b11000,
      action: "clamp",
    },
    { ...none, field: 1, maxSpeed: 3, exemptRoles: 0, action: "reject" },
    { ...none, field: 4, min: [-5], max: [5], rateHz: 2, exemptRoles: 0, action: "report" },
  ]);
  assertEquals(JSON.parse(JSON.stringify(checks)), checks);
  const text = summarize(parsed(value), compiled(value));
  assertStringIncludes(text, "Checked by the server");
  assert(/Body +rotation +speed 3, else reject +nobody/.test(text), text);
  assertStringIncludes(text, "from (-1, 0, -1) to (1, 2, 1), step 2, acceleration 60, else clamp");
  assertStringIncludes(text, "judge, chief");
  assert(!summarize(parsed(smallManifest()), compiled(smallManifest())).includes("Checked"));
});

Deno.test("the canonical form of a world without checks is that of before there were any, and checks change the hash", () => {
  const bare = compiled(checked({}));
  const value = checked({});
  delete value.world.components[0].checks;
  assertEquals(compiled(value).schemaHash, bare.schemaHash);
  const text = (one: Loose) => canonicalJson(canonicalWorld(parsed(one).world) as Json);
  assert(!text(value).includes("checks"));
  const first = checked({ rotation: { maxSpeed: 3 }, on: { rateHz: 2, exempt: ["guest"] } });
  const second = checked({
    on: { onViolation: "reject", exempt: ["guest"], rateHz: 2 },
    rotation: { exempt: [], maxSpeed: 3 },
  });
  assertEquals(text(first), text(second), "order and defaults do not count");
  for (const other of [{ rotation: { maxSpeed: 3.1 } }, { rotation: { maxStep: 3 } }]) {
    assertNotEquals(compiled(checked(other)).schemaHash, compiled(first).schemaHash);
  }
});

Deno.test("explain() tells how what an owner writes is judged further", () => {
  const value = checked({ position: { maxSpeed: 8, maxStep: 2, exempt: ["judge"] } });
  value.world.roles.push({ id: 3, name: "judge" });
  value.world.components[0].write = ["player", "judge"];
  const why = (role: string, isOwner: boolean, field = "position") => {
    const query = { component: "Body", field, role };
    const result = explain(parsed(value), compiled(value), query);
    assert(result.ok);
    return result.explanations.find((one) => one.access === "write" && one.isOwner === isOwner)!
      .why;
  };
  const path = "world.components[0].checks.position";
  assertEquals(
    why("player", true),
    `world.components[0].write names "player"; ${path} judges it: step 2, speed 8, else reject`,
  );
  assertEquals(why("judge", true), `world.components[0].write names "judge"; ${path} exempts it`);
  for (const one of [why("player", false), why("server", true), why("player", true, "rotation")]) {
    assert(!one.includes("checks"), one);
  }
});

Deno.test("checkChecks() finds no limit never violated that numbers can violate, and the other way round", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.001, max: 2_000, noNaN: true }),
      fc.double({ min: 0.001, max: 2_000, noNaN: true }),
      (maxSpeed, maxStep) => {
        const found = mistakesOf(checked({ position: { maxSpeed, maxStep } }));
        const reach = Math.sqrt(3) * 20;
        const isSpeedNever = maxSpeed >= reach * 20 * 1.25;
        const isSpeedBlur = maxSpeed < Math.sqrt(3) * 0.01 * 20;
        const ready = Math.max(0.5 * 1.05 * maxSpeed, Math.sqrt(3) * 0.01);
        const isStepNever = maxStep >= reach || maxStep >= ready + 2 * 1.05 * maxSpeed;
        const isStepBlur = maxStep < Math.sqrt(3) * 0.01;
        const expected = Number(isSpeedNever || isSpeedBlur) + Number(isStepNever || isStepBlur);
        assertEquals(found.length, expected, found.join("; "));
      },
    ),
    { seed: 5, numRuns: 300 },
  );
});
