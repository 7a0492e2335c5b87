// The gate against an oracle that reads the manifest's own words: every component x field x read or write x direction x owner x role.

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { MAX_KEPT_DENIALS } from "../../protocol/limits.ts";
import { compileGrants } from "../../permissions/compile.ts";
import { ALLOWED, type Decision, Gate, isNameOf, Rule } from "../../permissions/gate.ts";
import {
  compiled,
  type Loose,
  manifestArbitrary,
  parsed,
  sha256,
  smallManifest,
} from "../support/manifest_samples.ts";

const DIRECTIONS = ["in", "out"] as const;

/** `true`, or the rule that refuses. */
type Verdict = true | Rule;

function verdict(decision: Decision): Verdict {
  return decision.allowed ? true : decision.rule;
}

/** Judges from the manifest's text alone, straight from the words of its documentation. */
class Oracle {
  readonly #manifest: Loose;

  constructor(manifest: Loose) {
    this.#manifest = manifest;
  }

  #denied(component: Loose, field: string, way: "send" | "receive"): boolean {
    const taken = this.#manifest.host.deny?.components?.[component.name]?.[way];
    return taken === true || (Array.isArray(taken) && taken.includes(field));
  }

  /** A list that names a role includes all that inherit from it. */
  includes(list: readonly string[], role: string): boolean {
    if (list.includes(role) || list.includes("all")) return true;
    const declared = this.#manifest.world.roles.find((one: Loose) => one.name === role);
    return (declared?.inherits ?? []).some((parent: string) => this.includes(list, parent));
  }

  read(component: Loose, field: string, role: string, isOwner: boolean): Verdict {
    const lists = [component.read ?? [], component.fields[field].read ?? ["all"]];
    const byRole = lists.every((list) => this.includes(list, role));
    const byOwning = isOwner &&
      lists.every((list) => list.includes("owner") || list.includes("all"));
    if (role !== "server" && !byRole && !byOwning) return Rule.Role;
    return this.#denied(component, field, "send") ? Rule.Host : true;
  }

  write(
    component: Loose,
    fields: readonly string[],
    role: string,
    isOwner: boolean,
    direction: "in" | "out",
  ): Verdict {
    if (role !== "server") {
      if (component.authority === "server") return Rule.Authority;
      const may = (field: string) =>
        this.includes(component.write, role) &&
        this.includes(component.fields[field].write ?? ["all"], role);
      if (!fields.every(may)) return Rule.Role;
      if (!isOwner) return Rule.NotOwner;
    }
    const way = direction === "out" ? "send" : "receive";
    return fields.some((field) => this.#denied(component, field, way)) ? Rule.Host : true;
  }
}

/** Compares every question about components; returns how many there were. */
function compareAll(manifest: Loose): number {
  const grants = compileGrants(parsed(manifest), sha256);
  const gate = new Gate(grants);
  const oracle = new Oracle(manifest);
  let asked = 0;
  for (const grant of grants.components) {
    const component = manifest.world.components.find((one: Loose) => one.name === grant.name);
    const names = grant.fields.map((field) => field.name);
    for (const role of grants.roles) {
      for (const isOwner of [false, true]) {
        const who = { component: grant.index, roleIndex: role.index, isOwner };
        const label = `${grant.name} for ${role.name}, owner ${isOwner}`;
        for (const [field, name] of names.entries()) {
          const expected = oracle.read(component, name, role.name, isOwner);
          assertEquals(
            verdict(gate.decideRead({ ...who, field })),
            expected,
            `read ${name} ${label}`,
          );
          const bit = (gate.readMask(grant.index, role.index, isOwner) >>> field) & 1;
          assertEquals(bit === 1, expected === true, `mask ${name} ${label}`);
          asked += 1;
        }
        for (const direction of DIRECTIONS) {
          const passing = gate.writeMask(grant.index, role.index, isOwner, direction);
          for (let mask = 1; mask <= grant.allFields; mask++) {
            const chosen = names.filter((_, bit) => ((mask >>> bit) & 1) === 1);
            const expected = oracle.write(component, chosen, role.name, isOwner, direction);
            const decision = gate.decideWrite({ ...who, mask, direction });
            assertEquals(verdict(decision), expected, `write ${chosen} ${direction} ${label}`);
            assertEquals((mask & ~passing) === 0, expected === true, `mask ${chosen} ${label}`);
            if (!decision.allowed) {
              // What a denial names is part of what was asked, and never nothing.
              assert(decision.fields !== 0 && (decision.fields & ~mask) === 0, `fields ${label}`);
            }
            asked += 1;
          }
        }
      }
    }
  }
  return asked;
}

/** Every authority x reader x writer, each component with fields that narrow in every way, and a host that denies some. */
function matrixManifest(): Loose {
  const readers = [[], ["owner"], ["player"], ["guest", "owner"], ["all"], ["server"]];
  const writers = [["player"], ["player", "guest"], ["all"]];
  const components: Loose[] = [];
  for (const authority of ["server", "owner"]) {
    for (const read of readers) {
      for (const write of authority === "server" ? [["server"]] : writers) {
        const fields: Loose = {
          plain: { type: "bool" },
          hidden: { type: "u8", read: [], write: [] },
        };
        if (read.includes("all")) fields.owners = { type: "bool", read: ["owner"] };
        if (read.includes("owner")) fields.mine = { type: "bool", read: ["owner"] };
        if (write.includes("all")) fields.players = { type: "bool", write: ["player"] };
        components.push({
          id: components.length + 1,
          name: `C${components.length}`,
          fields,
          authority,
          read,
          write,
        });
      }
    }
  }
  const deny = Object.fromEntries(components.flatMap(({ name }, at) => {
    if (at % 4 === 0) return [];
    const forms = [true, ["plain"], ["hidden"]];
    return [[
      name,
      at % 2 === 0 ? { send: forms[at % 3] } : { receive: forms[at % 3], send: ["plain"] },
    ]];
  }));
  return {
    world: {
      name: "matrix",
      roles: [{ id: 1, name: "player" }, { id: 2, name: "guest" }],
      defaultRole: "guest",
      components,
    },
    host: { role: "loopback", engineSocket: "e.sock", deny: { components: deny } },
  };
}

Deno.test("Gate decides component x field x read or write x direction x owner x role as the manifest says", () => {
  const value = matrixManifest();
  assertEquals(value.world.components.length, 24);
  assert(compareAll(value) > 2000);
  delete value.host.deny;
  assert(compareAll(value) > 2000);
});

Deno.test("Gate decides as the manifest says, for any manifest", () => {
  fc.assert(
    fc.property(manifestArbitrary, (value) => {
      compareAll(value);
    }),
    { seed: 42, numRuns: 40 },
  );
});

const NO_INDEX = [-1, 1.5, NaN, Infinity, 99, 2 ** 31, 2 ** 32, -0.5];

Deno.test("Gate denies every number that names nothing as undeclared, without an exception", () => {
  const gate = new Gate(compiled(smallManifest()));
  const way = { direction: "in", op: "send" } as const;
  const ownedWith = () => 0;
  for (const bad of NO_INDEX) {
    for (const isOwner of [true, false]) {
      const good = {
        component: 0,
        roleIndex: 0,
        isOwner,
        mask: 1,
        field: 0,
        direction: "in",
      } as const;
      for (const q of [{ ...good, component: bad }, { ...good, roleIndex: bad }]) {
        assertEquals(verdict(gate.decideWrite(q)), Rule.Undeclared);
        assertEquals(verdict(gate.decideRead(q)), Rule.Undeclared);
        assertEquals(gate.readMask(q.component, q.roleIndex, isOwner), 0);
        assertEquals(gate.writeMask(q.component, q.roleIndex, isOwner, "in"), 0);
      }
      assertEquals(verdict(gate.decideRead({ ...good, field: bad })), Rule.Field);
      assertEquals(verdict(gate.decideDespawn({ roleIndex: bad, isOwner })), Rule.Undeclared);
      const change = { component: 0, op: "add", isOwner, ownedWith, roleIndex: bad } as const;
      assertEquals(verdict(gate.decideChange(change)), Rule.Undeclared);
    }
    for (const roleIndex of [0, 1, bad]) {
      const spawn = { roleIndex, ownedCount: 0, ownedWith, components: [bad] };
      assertEquals(verdict(gate.decideSpawn(spawn)), Rule.Undeclared);
      assertEquals(verdict(gate.decideEvent({ event: bad, roleIndex, ...way })), Rule.Undeclared);
      assertEquals(
        verdict(gate.decideChannel({ channel: bad, roleIndex, bytes: 1, ...way })),
        Rule.Undeclared,
      );
      assertEquals(
        verdict(gate.decideOpen({ channel: bad, name: "chat", roleIndex })),
        Rule.Undeclared,
      );
    }
    assertEquals(verdict(gate.decideEvent({ event: 0, roleIndex: bad, ...way })), Rule.Undeclared);
    assertEquals(
      verdict(gate.decideVoice({ roleIndex: bad, op: "speak", direction: "in", bytes: 1 })),
      Rule.Undeclared,
    );
  }
});

Deno.test("Gate denies masks with fields that do not exist", () => {
  const gate = new Gate(compiled(smallManifest()));
  for (const mask of [-1, 4, 7, 2 ** 31, 2 ** 32 + 1, 0.5, NaN]) {
    const q = { component: 0, mask, roleIndex: 0, isOwner: true, direction: "in" } as const;
    assertEquals(verdict(gate.decideWrite(q)), Rule.Field, String(mask));
  }
  const q = { component: 0, mask: 6, roleIndex: 0, isOwner: true, direction: "in" } as const;
  assertEquals(gate.decideWrite(q), { allowed: false, rule: Rule.Field, fields: 4 });
});

Deno.test("Gate answers an empty mask by whether anything could be written", () => {
  const gate = new Gate(compiled(smallManifest()));
  const q = { component: 0, mask: 0, isOwner: true, direction: "in" } as const;
  assertEquals(verdict(gate.decideWrite({ ...q, roleIndex: 1 })), true);
  assertEquals(verdict(gate.decideWrite({ ...q, roleIndex: 2 })), Rule.Role);
});

Deno.test("Gate keeps peers from the server's components even where a table's mask would let them", () => {
  const grants = compiled(smallManifest());
  const components = grants.components.map((one) => ({ ...one, authority: "server" as const }));
  const gate = new Gate({ ...grants, components });
  const q = { component: 0, mask: 1, isOwner: true, direction: "in" } as const;
  assertEquals(verdict(gate.decideWrite({ ...q, roleIndex: 1 })), Rule.Authority);
  assertEquals(verdict(gate.decideWrite({ ...q, roleIndex: 0 })), true);
});

Deno.test("Gate allows with one shared answer", () => {
  const gate = new Gate(compiled(smallManifest()));
  const q = { component: 0, mask: 3, roleIndex: 1, isOwner: true, direction: "in" } as const;
  assertStrictEquals(gate.decideWrite(q), ALLOWED);
  assertStrictEquals(gate.decideRead({ ...q, field: 1 }), ALLOWED);
});

Deno.test("Gate.decideSpawn() holds roles, counts and the host", () => {
  const value = smallManifest();
  value.world.maxEntitiesPerPeer = 3;
  value.world.components.push({
    id: 2,
    name: "Rock",
    fields: { hard: { type: "bool" } },
    authority: "server",
  });
  const gate = new Gate(compiled(value));
  const ask = (
    components: number[],
    roleIndex: number,
    ownedCount = 0,
    owned = 0,
    direction?: "in" | "out",
  ) =>
    verdict(gate.decideSpawn({
      components,
      roleIndex,
      ownedCount,
      ownedWith: () => owned,
      ...(direction === undefined ? {} : { direction }),
    }));
  assertEquals(ask([0], 1), true);
  assertEquals(ask([0], 1, 2, 1), true);
  assertEquals(ask([0], 1, 0, 2), Rule.SpawnCount);
  assertEquals(ask([0], 1, 3, 0), Rule.SpawnCount);
  assertEquals(ask([0], 1, NaN, 0), Rule.SpawnCount);
  assertEquals(ask([0], 2), Rule.SpawnRole);
  assertEquals(ask([1], 1), Rule.SpawnRole);
  assertEquals(ask([0, 1], 1), Rule.SpawnRole);
  assertEquals(ask([], 1), Rule.SpawnRole);
  assertEquals(ask([], 0), true);
  assertEquals(ask([0, 1], 0, 1000, 1000), true);
  value.host.deny = { components: { Body: { receive: true } } };
  const narrow = new Gate(compiled(value));
  const spawn = { components: [0], roleIndex: 1, ownedCount: 0, ownedWith: () => 0 };
  assertEquals(verdict(narrow.decideSpawn({ ...spawn, direction: "in" })), Rule.Host);
  assertEquals(verdict(narrow.decideSpawn({ ...spawn, direction: "out" })), true);
});

Deno.test("Gate.decideChange() and decideDespawn() leave others' entities alone", () => {
  const gate = new Gate(compiled(smallManifest()));
  const ask = (op: "add" | "remove", roleIndex: number, isOwner: boolean, owned = 0) =>
    verdict(gate.decideChange({ component: 0, op, roleIndex, isOwner, ownedWith: () => owned }));
  assertEquals(ask("add", 1, true), true);
  assertEquals(ask("add", 1, false), Rule.NotOwner);
  assertEquals(ask("add", 1, true, 2), Rule.SpawnCount);
  assertEquals(ask("remove", 1, true, 2), true);
  assertEquals(ask("remove", 2, true), Rule.SpawnRole);
  assertEquals(ask("remove", 0, false), true);
  assertEquals(verdict(gate.decideDespawn({ roleIndex: 1, isOwner: false })), Rule.NotOwner);
  assertEquals(verdict(gate.decideDespawn({ roleIndex: 1, isOwner: true })), true);
  assertEquals(verdict(gate.decideDespawn({ roleIndex: 0, isOwner: false })), true);
});

Deno.test("Gate decides events, channels and voice over role x way x direction x host", () => {
  const words = ["server", "player", "guest"];
  const lists = [["player"], ["guest", "server"], ["all"]];
  for (const send of lists) {
    for (const receive of lists) {
      for (const taken of [undefined, "send", "receive"] as const) {
        const value = smallManifest();
        value.world.events = [{ id: 1, name: "E", send, receive }];
        value.world.voice = { ...value.world.voice, speak: send, hear: receive };
        const deny = taken === undefined ? {} : { [taken]: true };
        value.host.deny = { events: { E: deny }, voice: deny };
        const gate = new Gate(compiled(value));
        for (const [roleIndex, role] of words.entries()) {
          for (const direction of DIRECTIONS) {
            for (const op of ["send", "receive"] as const) {
              const list = op === "send" ? send : receive;
              const named = list.includes(role) || list.includes("all");
              const free = taken !== (direction === "out" ? "send" : "receive");
              const expected = !named ? Rule.Role : free ? true : Rule.Host;
              const label = `${role} ${op} ${direction} ${send} ${receive} ${taken}`;
              const event = gate.decideEvent({ event: 0, roleIndex, direction, op });
              assertEquals(verdict(event), expected, label);
              const voice = gate.decideVoice({
                roleIndex,
                direction,
                op: op === "send" ? "speak" : "hear",
                bytes: 10,
              });
              assertEquals(verdict(voice), expected, label);
            }
          }
        }
      }
    }
  }
});

Deno.test("Gate.decideChannel() and decideVoice() hold sizes exactly", () => {
  const value = smallManifest();
  value.world.channels[0].maxBytes = 100;
  const gate = new Gate(compiled(value));
  const channel = { channel: 0, roleIndex: 1, direction: "in", op: "send" } as const;
  for (
    const [bytes, expected] of [[0, true], [100, true], [101, Rule.Size], [NaN, Rule.Size], [
      -1,
      Rule.Size,
    ]] as const
  ) {
    assertEquals(verdict(gate.decideChannel({ ...channel, bytes })), expected);
  }
  const voice = { roleIndex: 1, direction: "in", op: "speak" } as const;
  for (
    const [bytes, expected] of [[0, Rule.Size], [1, true], [400, true], [401, Rule.Size], [
      NaN,
      Rule.Size,
    ]] as const
  ) {
    assertEquals(verdict(gate.decideVoice({ ...voice, bytes })), expected);
  }
});

Deno.test("Gate.decideVoice() denies voice in a world without it", () => {
  const value = smallManifest();
  delete value.world.voice;
  const gate = new Gate(compiled(value));
  assertEquals(
    verdict(gate.decideVoice({ roleIndex: 0, op: "hear", direction: "out", bytes: 1 })),
    Rule.Undeclared,
  );
});

Deno.test("Gate.decideOpen() keeps names inside their namespace and counts", () => {
  const value = smallManifest();
  value.world.channels = [{
    id: 1,
    name: "script/*",
    mode: "reliable",
    send: ["player"],
    receive: ["server"],
    maxOpen: 2,
  }, { id: 2, name: "chat", mode: "reliable", send: ["all"], receive: ["all"] }];
  const grants = compiled(value);
  const gate = new Gate(grants);
  const ask = (channel: number, name: string, roleIndex = 1, open = 0) =>
    verdict(gate.decideOpen({ channel, name, roleIndex, open }));
  assertEquals(ask(0, "script/a"), true);
  assertEquals(ask(0, "script/a/b.c-d_1"), true);
  assertEquals(ask(0, "script/a", 1, 1), true);
  assertEquals(ask(0, "script/a", 1, 2), Rule.ChannelCount);
  assertEquals(ask(0, "script/a", 2), Rule.Role);
  for (
    const name of [
      "script/",
      "script/*",
      "script",
      "chat",
      "script//a",
      "script/a/",
      "script/a b",
      "Script/a",
      "",
      `script/${"a".repeat(60)}`,
    ]
  ) {
    assertEquals(ask(0, name), Rule.Channel, name);
  }
  assertEquals(ask(1, "chat", 2), true);
  assertEquals(ask(1, "chat", 2, 1), Rule.ChannelCount);
  assertEquals(ask(1, "chats"), Rule.Channel);
  assert(isNameOf(grants.channels[0]!, "script/x"));
  assert(!isNameOf(grants.channels[1]!, "script/x"));
  value.host.deny = { channels: { chat: { send: true, receive: true } } };
  const narrow = new Gate(compiled(value));
  assertEquals(verdict(narrow.decideOpen({ channel: 1, name: "chat", roleIndex: 1 })), Rule.Host);
});

Deno.test("Gate gives the same answer object again, denials included, and bounds how many it keeps", () => {
  const value = smallManifest();
  for (let at = 0; at < 12; at++) {
    value.world.components[0].fields[`f${at}`] = { type: "bool", write: [] };
  }
  const gate = new Gate(compiled(value));
  const write = (mask: number) =>
    gate.decideWrite({ component: 0, mask, roleIndex: 2, isOwner: true, direction: "in" });
  const read = { component: 0, field: 0, roleIndex: 1, isOwner: false };
  assertStrictEquals(gate.decideRead(read), ALLOWED);
  assertStrictEquals(write(5), write(5));
  for (let mask = 1; mask < 2 ** 14; mask++) {
    const answer = write(mask);
    assert(!answer.allowed);
    assertEquals([answer.rule, answer.fields], [Rule.Role, mask]);
    // The first ones stay, the rest is made anew each time and no less right.
    assertEquals(answer === write(mask), mask <= MAX_KEPT_DENIALS);
  }
});

Deno.test("Gate allocates nothing for an answer that it has given before", () => {
  const gate = new Gate(compiled(smallManifest()));
  const read = { component: 0, field: 1, roleIndex: 1, isOwner: false };
  const write = { component: 0, mask: 3, roleIndex: 1, isOwner: true, direction: "in" } as const;
  const refused = { ...write, roleIndex: 2 };
  const event = { event: 0, roleIndex: 1, direction: "in", op: "send" } as const;
  const voice = { roleIndex: 1, op: "speak", direction: "in", bytes: 80 } as const;
  const ROUNDS = 4_000;
  let yes = 0;
  const ask = () => {
    for (let i = 0; i < ROUNDS; i++) {
      if (gate.decideRead(read).allowed) yes += 1;
      if (gate.decideWrite(write).allowed) yes += 1;
      if (gate.decideWrite(refused).allowed) yes += 1;
      if (gate.decideEvent(event).allowed) yes += 1;
      if (gate.decideVoice(voice).allowed) yes += 1;
    }
  };
  let leastBytes = Infinity;
  for (let batch = 0; batch < 40; batch++) {
    const before = Deno.memoryUsage().heapUsed;
    ask();
    const grown = Deno.memoryUsage().heapUsed - before;
    // A collection in between makes it negative, and says nothing.
    if (grown >= 0) leastBytes = Math.min(leastBytes, grown);
  }
  assertEquals(yes, 40 * ROUNDS * 4);
  // The smallest object has 12 bytes; what remains is the measurement's own.
  assert(leastBytes < ROUNDS, `${leastBytes} bytes for ${ROUNDS} rounds`);
});
