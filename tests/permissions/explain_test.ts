// What `explain` says: the gate's own answer in every case, and the place in the manifest that leads to it.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { explain, type Explanation, explanationText } from "../../permissions/explain.ts";
import { Gate, Rule } from "../../permissions/gate.ts";
import {
  compiled,
  type Loose,
  manifestArbitrary,
  parsed,
  smallManifest,
} from "../support/manifest_samples.ts";

/** `access owner|other` to `rule: why` (`yes` for no rule) of one field for one role. */
function answersOf(value: Loose, field: string, role: string): Record<string, string> {
  const result = explain(parsed(value), compiled(value), { component: "Body", field, role });
  assert(result.ok, result.ok ? "" : result.message);
  return Object.fromEntries(
    result.explanations.map(({ access, isOwner, rule, why }) => [
      `${access} ${isOwner ? "own" : "other"}`,
      `${rule ?? "yes"}: ${why}`,
    ]),
  );
}

Deno.test("explain() names the lists that let a role through, and the ones that do not", () => {
  const value = smallManifest();
  value.world.components[0].read = ["player", "owner"];
  value.world.components[0].fields.rotation.read = ["owner"];
  const body = "world.components[0]";
  assertEquals(answersOf(value, "position", "player"), {
    "read own": `yes: ${body}.read names "player"`,
    "read other": `yes: ${body}.read names "player"`,
    "write own": `yes: ${body}.write names "player"`,
    "write other":
      `notOwner: ${body}.authority is "owner": of peers, only the owner of an entity writes it`,
  });
  assertEquals(answersOf(value, "rotation", "player"), {
    "read own": `yes: ${body}.read names "owner", and ${body}.fields.rotation.read names "owner"`,
    "read other": `role: ${body}.fields.rotation.read names only "owner"`,
    "write own": `yes: ${body}.write names "player"`,
    "write other":
      `notOwner: ${body}.authority is "owner": of peers, only the owner of an entity writes it`,
  });
  const guest = answersOf(value, "rotation", "guest");
  assertEquals(guest["read other"], `role: ${body}.read names only "player", "owner"`);
  assertEquals(guest["write own"], `role: ${body}.write names only "player"`);
  value.world.components[0].fields.rotation.read = [];
  assertEquals(
    answersOf(value, "rotation", "player")["read own"],
    `role: ${body}.fields.rotation.read names nobody but the server`,
  );
});

Deno.test("explain() says from whom a role inherits what it may", () => {
  const value = smallManifest();
  value.world.roles[1].inherits = ["player"];
  const answers = answersOf(value, "position", "guest");
  assertEquals(
    answers["write own"],
    'yes: world.components[0].write names "player", from which "guest" inherits',
  );
  const query = { component: "Body", field: "position", role: "guest" };
  const result = explain(parsed(value), compiled(value), query);
  assert(result.ok);
  const text = explanationText(parsed(value), query, result.explanations);
  assertEquals(
    text.split("\n")[0],
    'Body.position for "guest", which inherits from "player"',
  );
  assertEquals(text.split("\n").length, 5);
});

Deno.test("explain() tells authority, the server's rights, and what this host takes away", () => {
  const value = smallManifest();
  value.host.deny = { components: { Body: { send: ["position"], receive: true } } };
  assertEquals(
    answersOf(value, "position", "player")["read other"],
    "host: host.deny.components.Body.send takes this field away",
  );
  assertEquals(
    answersOf(value, "position", "player")["write own"],
    "host: host.deny.components.Body.receive takes the whole component away",
  );
  // The server's engine is on this side: what it reads comes in, what it writes goes out.
  const server = answersOf(value, "rotation", "server");
  assertStringIncludes(server["read other"]!, "host: host.deny.components.Body.receive");
  assertEquals(server["write other"], "yes: the server's engine reads and writes the whole world");
  value.world.components[0] = {
    ...value.world.components[0],
    authority: "server",
    write: [],
    spawn: undefined,
  };
  assertStringIncludes(answersOf(value, "rotation", "player")["write own"]!, "authority: ");
});

Deno.test("explain() says what the server's engine may grant to single peers, where the role has no right", () => {
  const value = smallManifest();
  value.world.components[0].read = [];
  value.world.components[0].write = ["player"];
  value.world.components[0].grantable = { read: ["rotation"], write: true };
  const body = "world.components[0]";
  const guest = answersOf(value, "rotation", "guest");
  const granted = (key: string) =>
    `${body}.grantable.${key} lets the server's engine grant it to single peers`;
  assertEquals(
    guest["read other"],
    `role: ${body}.read names nobody but the server; ${granted("read")}`,
  );
  assertEquals(
    guest["write own"],
    `role: ${body}.write names only "player"; ${granted("write")}`,
  );
  // Nobody writes what belongs to others, and what is not named is not grantable.
  assertEquals(guest["write other"]!.includes("grantable"), false);
  assertEquals(answersOf(value, "position", "guest")["read own"]!.includes("grantable"), false);
  // A right that the role has needs no grant.
  assertEquals(answersOf(value, "rotation", "player")["write own"]!.includes("grantable"), false);
});

Deno.test("explain() names the zones that hide others' entities from a role, whatever its rights", () => {
  const value = smallManifest();
  value.world.components[0].read = ["player", "guest"];
  const before = answersOf(value, "rotation", "guest");
  value.world.zones = [
    { id: 1, name: "room", seenBy: ["player"] },
    { id: 2, name: "stage" },
    { id: 3, name: "yard", closed: false },
  ];
  const guest = answersOf(value, "rotation", "guest");
  assertEquals(
    guest["read other"],
    `${before["read other"]}; in zone "room", "stage" only while it stands there`,
  );
  assertEquals(guest["read own"], before["read own"]);
  assertEquals(guest["write other"], before["write other"]);
  assertStringIncludes(
    answersOf(value, "rotation", "player")["read other"]!,
    '; in zone "stage" only while it stands there',
  );
  assertEquals(answersOf(value, "rotation", "server")["read other"]!.includes("zone"), false);
  // Who may not read it at all is not told where it might.
  value.world.components[0].read = ["player"];
  assertEquals(answersOf(value, "rotation", "guest")["read other"]!.includes("zone"), false);
});

Deno.test("explain() suggests what was meant, when a name is none", () => {
  const value = smallManifest();
  const message = (component: string, field: string | undefined, role: string) => {
    const result = explain(parsed(value), compiled(value), { component, field, role });
    assert(!result.ok);
    return result.message;
  };
  assertStringIncludes(message("Bdy", undefined, "player"), 'did you mean "Body"?');
  assertStringIncludes(message("Body", "positon", "player"), 'did you mean "position"?');
  assertStringIncludes(message("Body", undefined, "plyer"), 'did you mean "player"?');
  assertStringIncludes(message("Body", undefined, "owner"), 'There is no role "owner"');
});

Deno.test("explain() answers as the gate does, for any manifest, field and role", () => {
  fc.assert(
    fc.property(manifestArbitrary, (value) => {
      const manifest = parsed(value);
      const grants = compiled(value);
      const gate = new Gate(grants);
      const isClient = manifest.host.role === "client";
      for (const component of grants.components) {
        for (const role of grants.roles) {
          const result = explain(manifest, grants, { component: component.name, role: role.name });
          assert(result.ok);
          assertEquals(result.explanations.length, component.fields.length * 4);
          const isHere = (role.index === 0) !== isClient;
          for (const one of result.explanations) {
            const field = component.fields.find(({ name }) => name === one.field)!.index;
            const who = { component: component.index, roleIndex: role.index, isOwner: one.isOwner };
            assertEquals(one.rule, ruleOf(gate, one, who, field, isHere), JSON.stringify(one));
            assert(one.why.length > 10);
          }
        }
      }
    }),
    { seed: 21, numRuns: 60 },
  );
});

function ruleOf(
  gate: Gate,
  { access }: Explanation,
  who: { readonly component: number; readonly roleIndex: number; readonly isOwner: boolean },
  field: number,
  isHere: boolean,
): Rule | undefined {
  if (access === "write") {
    const direction = isHere ? "out" : "in";
    const decision = gate.decideWrite({ ...who, mask: 1 << field, direction });
    return decision.allowed ? undefined : decision.rule;
  }
  const decision = gate.decideRead({ ...who, field });
  if (!isHere) return decision.allowed ? undefined : decision.rule;
  // What comes in is read as far as the world grants it and the server's writes pass this host.
  if (!decision.allowed && decision.rule === Rule.Role) return Rule.Role;
  const passing = gate.writeMask(who.component, 0, false, "in");
  return ((passing >>> field) & 1) === 1 ? undefined : Rule.Host;
}

Deno.test("explanationText() says of a quat which declaration holds, and how exactly it is kept", () => {
  for (
    const [declared, shown] of [
      [{ bits: 10 }, "0.275 degrees (bits 10)"],
      [{ precision: 0.2 }, "0.2 degrees (precision)"],
    ] as const
  ) {
    const value = smallManifest();
    value.world.components[0].fields.rotation = { type: "quat", ...declared };
    const query = { component: "Body", field: "rotation", role: "player" };
    const result = explain(parsed(value), compiled(value), query);
    assert(result.ok);
    const text = explanationText(parsed(value), query, result.explanations);
    assertEquals(text.split("\n")[0], `Body.rotation for "player"; a quat within ${shown}`);
  }
});
