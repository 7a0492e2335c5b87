// What single peers have beyond their roles and less than them: sets of fields compared with the masks, and the gate's answers and reasons.

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Adjustment,
  Adjustments,
  beyondGrantable,
  isAdjustmentOf,
  NO_ADJUSTMENT,
} from "../../permissions/adjustments.ts";
import { type Decision, Gate } from "../../permissions/gate.ts";
import { type Grants, ownWriteMaskOf, readMaskOf } from "../../permissions/grants.ts";
import { Rule } from "../../permissions/rule.ts";
import { buildComponents, sampleGrants } from "../support/sample_grants.ts";

const FIELDS = ["a", "b", "c", "d"].map((name) => ({ name, kind: "u8" as const }));
const ALL = 0b1111;

/** Two components: of an owner, and of the server; the role 1 reads and writes `a` and `b`, owners read `c`. */
const COMPONENTS = buildComponents([
  {
    id: 1,
    name: "Owned",
    fields: FIELDS,
    authority: "owner",
    readMasks: [ALL, 0b0011, 0],
    ownerReadMask: 0b0100,
    writeMasks: [ALL, 0b0011, 0],
    grantableRead: 0b1100,
    grantableWrite: 0b0110,
    hostSendMask: 0b0111,
    hostReceiveMask: 0b1011,
  },
  { id: 9, name: "Served", fields: FIELDS, readMasks: [ALL, 0b0011, 0], grantableRead: ALL },
]);
const GRANTS: Grants = { ...sampleGrants(), components: COMPONENTS };
const GATE = new Gate(GRANTS);

function adjusted(component: number, adjustment: Partial<Adjustment>): Adjustments {
  const all = new Adjustments();
  all.set(COMPONENTS[component]!, { ...NO_ADJUSTMENT, ...adjustment });
  return all;
}

function ruleOf(decision: Decision): string {
  return decision.allowed ? "yes" : `${decision.rule} ${decision.fields}`;
}

/** Any adjustment of a component of these tests. */
function adjustmentOf(component: number): fc.Arbitrary<Adjustment> {
  const { grantableRead, grantableWrite } = COMPONENTS[component]!;
  const mask = fc.nat(ALL);
  return fc.tuple(mask, mask, mask, mask).map(([a, b, c, d]) => ({
    readGranted: a & grantableRead & ~b,
    readRevoked: b,
    writeGranted: c & grantableWrite & ~d,
    writeRevoked: d,
  }));
}

Deno.test("`Adjustments` is what was set last of each component, however often", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.nat(1).chain((c) => fc.tuple(fc.constant(c), adjustmentOf(c))),
        { maxLength: 12 },
      ),
      (steps) => {
        const all = new Adjustments();
        const model = new Map<number, Adjustment>();
        for (const [c, adjustment] of steps) {
          all.set(COMPONENTS[c]!, adjustment);
          model.set(c, adjustment);
        }
        const copy = new Adjustments();
        copy.set(COMPONENTS[1]!, { ...NO_ADJUSTMENT, readRevoked: 1 });
        copy.copy(all);
        all.clear();
        assertEquals(all.components(), []);
        const isNone = (one: Adjustment) => Object.values(one).every((mask) => mask === 0);
        const expected = [0, 1].filter((c) => !isNone(model.get(c) ?? NO_ADJUSTMENT));
        assertEquals(copy.components(), expected);
        for (const c of [0, 1, 7]) {
          assertEquals(all.of(c), NO_ADJUSTMENT);
          assertEquals(copy.of(c), model.get(c) ?? NO_ADJUSTMENT);
        }
      },
    ),
    { seed: 1, numRuns: 200 },
  );
});

Deno.test("`Adjustments` takes no grant beyond what is grantable, and no field that is granted and revoked", () => {
  const [owned, served] = COMPONENTS as [typeof COMPONENTS[0], typeof COMPONENTS[0]];
  const all = new Adjustments();
  const bad: [number, Partial<Adjustment>][] = [
    [0, { readGranted: 1 }],
    [0, { writeGranted: 8 }],
    [0, { readGranted: 4, readRevoked: 4 }],
    [1, { writeGranted: 1 }],
    [0, { readRevoked: 16 }],
  ];
  for (const [c, one] of bad) {
    assertThrows(() => all.set(COMPONENTS[c]!, { ...NO_ADJUSTMENT, ...one }));
  }
  assertEquals(all.components(), []);
  assertEquals(beyondGrantable(owned, { ...NO_ADJUSTMENT, readGranted: ALL }), [0b0011, 0]);
  assertEquals(beyondGrantable(served, { ...NO_ADJUSTMENT, writeGranted: 2 }), [0, 2]);
  assert(!isAdjustmentOf(owned, { ...NO_ADJUSTMENT, writeRevoked: 16 }));
  assert(!isAdjustmentOf(owned, { ...NO_ADJUSTMENT, writeGranted: 2, writeRevoked: 3 }));
});

Deno.test("`Gate` joins role, adjustment and host as sets of fields would, for every adjustment", () => {
  fc.assert(
    fc.property(
      fc.nat(1).chain((c) => fc.tuple(fc.constant(c), adjustmentOf(c))),
      fc.nat(2),
      fc.boolean(),
      ([c, adjustment], role, isOwner) => {
        const component = COMPONENTS[c]!;
        const all = adjusted(c, adjustment);
        for (const { index: f } of component.fields) {
          const has = (mask: number) => (mask & (1 << f)) !== 0;
          const byRole = has(component.readMasks[role]!) ||
            (isOwner && has(component.ownerReadMask));
          const world = (byRole && !has(adjustment.readRevoked)) || has(adjustment.readGranted);
          const expected = !world
            ? byRole ? `${Rule.Revoked} ${1 << f}` : `${Rule.Role} ${1 << f}`
            : has(component.hostSendMask)
            ? "yes"
            : `${Rule.Host} ${1 << f}`;
          const question = { component: c, field: f, roleIndex: role, isOwner, adjusted: all };
          assertEquals(ruleOf(GATE.decideRead(question)), expected);
          assertEquals(has(GATE.readMask(c, role, isOwner, all)), expected === "yes");
          assertEquals(has(readMaskOf(component, role, isOwner, all)), world);
        }
        if (role === 0) return;
        for (const direction of ["in", "out"] as const) {
          const host = direction === "in" ? component.hostReceiveMask : component.hostSendMask;
          for (const { index: f } of component.fields) {
            const bit = 1 << f;
            const byRole = (component.writeMasks[role]! & bit) !== 0;
            const world = component.authority === "owner" &&
              ((byRole && (adjustment.writeRevoked & bit) === 0) ||
                (adjustment.writeGranted & bit) !== 0);
            const may = world && isOwner && (host & bit) !== 0;
            assertEquals((GATE.writeMask(c, role, isOwner, direction, all) & bit) !== 0, may);
            assertEquals((ownWriteMaskOf(component, role, all) & bit) !== 0, world);
            const decision = GATE.decideWrite({
              component: c,
              mask: bit,
              roleIndex: role,
              isOwner,
              direction,
              adjusted: all,
            });
            assertEquals(decision.allowed, may);
          }
        }
      },
    ),
    { seed: 2, numRuns: 400 },
  );
});

Deno.test("`Gate.decideWrite()` names the rule that refuses: the role before what was revoked, both before the owner", () => {
  const all = adjusted(0, { writeRevoked: 0b0001, writeGranted: 0b0100 });
  const ask = (mask: number, isOwner = true) =>
    ruleOf(GATE.decideWrite({
      component: 0,
      mask,
      roleIndex: 1,
      isOwner,
      direction: "in",
      adjusted: all,
    }));
  assertEquals(ask(0b0010), "yes");
  assertEquals(ask(0b0001), "revoked 1");
  assertEquals(ask(0b0011), "revoked 1");
  assertEquals(ask(0b1001), "role 8");
  assertEquals(ask(0b0100), "host 4", "granted, but kept out by this host");
  assertEquals(ask(0b0001, false), "revoked 1");
  assertEquals(ask(0b0010, false), "notOwner 2");
});
