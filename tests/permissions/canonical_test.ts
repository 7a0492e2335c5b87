// The canonical form: that of RFC 8785, blind to what has no meaning, and pinned for the example, because peers of other versions compare it.

import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { canonicalJson, canonicalWorld, schemaHash } from "../../permissions/canonical.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import {
  type Loose,
  manifestArbitrary,
  parsed,
  sha256,
  smallManifest,
} from "../support/manifest_samples.ts";

const hashOf = (value: Loose) => schemaHash(parsed(value).world, sha256);

Deno.test("canonicalJson() writes the example of RFC 8785 section 3.2.3", () => {
  const sample = {
    numbers: [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    string: "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
    literals: [null, true, false],
  };
  assertEquals(
    canonicalJson(sample),
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

Deno.test("canonicalJson() sorts keys by UTF-16 code units (RFC 8785 section 3.2.3)", () => {
  const keys = ["\u20ac", "\r", "\ufb33", "1", "\u{1f600}", "\u0080", "\u00f6"];
  const text = canonicalJson(Object.fromEntries(keys.map((key) => [key, 0])));
  assertEquals(Object.keys(JSON.parse(text)).filter((key) => key !== "1"), [
    "\r",
    "\u0080",
    "\u00f6",
    "\u20ac",
    "\u{1f600}",
    "\ufb33",
  ]);
  assertEquals(canonicalJson({ b: undefined, a: -0 }), '{"a":0}');
});

Deno.test("schemaHash() of the demo room is pinned, and equal for server and client", () => {
  const read = (file: string) => {
    const url = new URL(`../../examples/${file}`, import.meta.url);
    return parseManifest(Deno.readTextFileSync(url), file);
  };
  const server = read("room_server.jsonc");
  const client = read("room_client.jsonc");
  assertEquals(server.host.role, "server");
  assertEquals(client.host.role, "client");
  assertEquals(schemaHash(client.world, sha256), schemaHash(server.world, sha256));
  assertEquals(
    schemaHash(server.world, sha256),
    "d0b71b1531074031105b9959b5298672faa420db3a84425a178f2590058b101b",
  );
});

Deno.test("canonicalWorld() is as the documentation describes it", () => {
  const value = smallManifest();
  value.world.components = [{
    id: 9,
    name: "Flag",
    authority: "owner",
    read: ["server", "player", "guest"],
    write: ["server", "player"],
    fields: { on: { type: "bool", read: ["player", "server"] }, count: { type: "u8" } },
  }];
  value.world.events = [];
  value.world.channels[0].name = "script/*";
  delete value.world.voice;
  value.world.retired = { roles: [9, 3] };
  assertEquals(
    canonicalJson(canonicalWorld(parsed(value).world)),
    '{"channels":[{"id":1,"maxBytes":16384,"maxOpen":8,"mode":"reliable","name":"script/*","rateHz":60,"receive":["all"],"send":["all"]}],' +
      '"components":[{"authority":"owner","fields":[{"name":"on","read":["player"],"type":"bool"},{"max":255,"min":0,"name":"count","type":"u8"}],' +
      '"id":9,"interestRadius":0,"name":"Flag","position":null,"rateHz":30,"read":["guest","player"],"spawn":null,"write":["player"]}],' +
      '"defaultRole":"player","events":[],"historyMs":2000,"maxEntities":4096,"maxEntitiesPerPeer":64,"maxPeers":64,"name":"test","resumeMs":30000,' +
      '"retired":{"channels":[],"components":[],"events":[],"roles":[3,9]},"roles":[{"id":1,"name":"player"},{"id":2,"name":"guest"}],"tickHz":30,"voice":null}',
  );
});

Deno.test("canonicalWorld() sorts zones and their roles, and leaves them out where there are none", () => {
  const value = smallManifest();
  const plain = hashOf(value);
  value.world.zones = [];
  assertEquals(hashOf(value), plain);
  value.world.zones = [{ id: 2, name: "stage", seenBy: ["player", "guest"] }, {
    id: 1,
    name: "yard",
    closed: false,
  }];
  const text = canonicalJson(canonicalWorld(parsed(value).world));
  assertStringIncludes(
    text,
    '"zones":[{"closed":false,"id":1,"name":"yard","seenBy":[]},' +
      '{"closed":true,"id":2,"name":"stage","seenBy":["guest","player"]}]',
  );
});

Deno.test("schemaHash() does not see comments, order, defaults written out, or the host", () => {
  const plain = hashOf(smallManifest());
  const value = smallManifest();
  value.world.roles[0].inherits = [];
  value.world.roles.reverse();
  value.world.tickHz = 30;
  value.world.components[0].rateHz = 30;
  value.world.components[0].write = ["player", "server"];
  value.world.components[0].fields.rotation.bits = 10;
  value.world.retired = { events: [] };
  value.host.listen = "0.0.0.0:9";
  value.host.deny = { voice: { send: true } };
  assertEquals(hashOf({ host: value.host, world: value.world }), plain);
});

Deno.test("schemaHash() sees every change of meaning", () => {
  const changes: ((world: Loose) => unknown)[] = [
    (w) => w.name = "other",
    (w) => w.tickHz = 31,
    (w) => w.resumeMs = 0,
    (w) => w.roles[1].name = "visitor",
    (w) => w.roles[1].inherits = ["player"],
    (w) => w.roles[0].inherits = ["guest"],
    (w) => w.defaultRole = "guest",
    (w) => w.components[0].id = 2,
    (w) => w.components[0].read = ["player"],
    (w) => w.components[0].rateHz = 31,
    (w) => w.components[0].fields.rotation.bits = 11,
    (w) => w.components[0].fields.rotation.read = [],
    (w) => w.components[0].fields.position.max = 10.01,
    (w) => delete w.components[0].spawn,
    (w) => {
      const { position, rotation } = w.components[0].fields;
      w.components[0].fields = { rotation, position };
    },
    (w) => w.events[0].late = "drop",
    (w) => w.channels[0].maxBytes = 1,
    (w) => w.zones = [{ id: 1, name: "room" }],
    (w) => w.zones = [{ id: 1, name: "room", closed: false }],
    (w) => w.zones = [{ id: 1, name: "room", seenBy: ["guest"] }],
    (w) => w.zones = [{ id: 2, name: "room" }],
    (w) => w.zones = [{ id: 1, name: "hall" }],
    (w) => w.voice.range = 24,
    (w) => delete w.voice,
    (w) => w.retired = { roles: [7] },
  ];
  const hashes = new Set([hashOf(smallManifest())]);
  for (const change of changes) {
    const value = smallManifest();
    change(value.world);
    hashes.add(hashOf(value));
  }
  assertEquals(hashes.size, changes.length + 1);
  assertNotEquals(hashOf(smallManifest()), "");
});

Deno.test("schemaHash() of any legal world is the same for its declarations in any order", () => {
  fc.assert(
    fc.property(manifestArbitrary, (value) => {
      const turned = structuredClone(value);
      turned.world.components.reverse();
      turned.world.roles.reverse();
      for (const component of turned.world.components) component.read.reverse();
      for (const role of turned.world.roles) role.inherits.reverse();
      assertEquals(hashOf(turned), hashOf(value));
    }),
    { seed: 11, numRuns: 60 },
  );
});

Deno.test("canonicalWorld() says of weights what counts: nothing of 1, which is the default", () => {
  const value = smallManifest();
  const before = canonicalJson(canonicalWorld(parsed(value).world));
  value.world.components[0].weight = 1;
  assertEquals(canonicalJson(canonicalWorld(parsed(value).world)), before);
  value.world.components[0].weight = 3;
  assertStringIncludes(canonicalJson(canonicalWorld(parsed(value).world)), '"weight":3');
});

Deno.test("canonicalWorld() has no `bits` where a quat's `precision` takes their place", () => {
  const value = smallManifest();
  value.world.components[0].fields.rotation = { type: "quat", precision: 0.2 };
  const { world } = parsed(value);
  const text = canonicalJson(canonicalWorld(world));
  assertStringIncludes(text, '{"name":"rotation","precision":0.2,"type":"quat"}');
  // However a reader of the manifest fills the default in, the form and so the hash are the same.
  const filled = structuredClone(world) as Loose;
  for (const bits of [undefined, 10, 12]) {
    filled.components[0].fields.rotation.bits = bits;
    assertEquals(canonicalJson(canonicalWorld(filled as typeof world)), text);
  }
});
