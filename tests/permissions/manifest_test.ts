// What the manifest refuses, where it says so, and what it tells to write instead.

import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import {
  DATAGRAM_HEADER_BYTES,
  MAX_UNRELIABLE_MESSAGE_BYTES,
  MAX_VOICE_FRAME_BYTES,
  MIN_DATAGRAM_BYTES,
} from "../../protocol/limits.ts";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { ManifestError, type Mistake } from "../../permissions/manifest_error.ts";
import {
  compiled,
  type Loose,
  manifestArbitrary,
  parsed,
  sha256,
  smallManifest,
} from "../support/manifest_samples.ts";

function mistakesOf(text: string): readonly Mistake[] {
  try {
    parseManifest(text, "test.jsonc");
  } catch (error) {
    assertInstanceOf(error, ManifestError);
    return error.mistakes;
  }
  return [];
}

/** `[what is wrong, how to break the small manifest, path, part of the advice]`; each gives exactly one mistake. */
const BROKEN: readonly (readonly [string, (m: Loose) => unknown, string, string])[] = [
  [
    "a field to be granted that is none",
    (m) => m.world.components[0].grantable = { read: ["positon"] },
    "world.components[0].grantable.read[0]",
    'did you mean "position"',
  ],
  [
    "a field to be granted that is listed twice",
    (m) => m.world.components[0].grantable = { write: ["position", "position"] },
    "world.components[0].grantable.write[1]",
    "listed twice",
  ],
  [
    "nothing to be granted",
    (m) => m.world.components[0].grantable = {},
    "world.components[0].grantable",
    "names nothing",
  ],
  [
    "writing to be granted of what only the server writes",
    (m) => {
      const { id: _, name: __, spawn: ___, ...rest } = m.world.components[0];
      m.world.components.push({ ...rest, id: 77, name: "Other", authority: "server" });
      delete m.world.components[1].write;
      delete m.world.components[1].position;
      delete m.world.components[1].interestRadius;
      m.world.components[1].grantable = { write: true };
    },
    "world.components[1].grantable.write",
    'authority "owner"',
  ],
  ["an unknown key of the document", (m) => m.hots = 1, "hots", 'did you mean "host"'],
  ["no world", (m) => delete m.world, "world", "missing"],
  ["no host", (m) => delete m.host, "host", "missing"],
  ["an unknown key of the world", (m) => m.world.tickhz = 3, "world.tickhz", '"tickHz"'],
  [
    "an unknown key of a field",
    (m) => m.world.components[0].fields.rotation.bit = 9,
    "world.components[0].fields.rotation.bit",
    '"bits"',
  ],
  ["a text for a number", (m) => m.world.tickHz = "30", "world.tickHz", 'not "30"'],
  ["a tick rate above the limit", (m) => m.world.tickHz = 121, "world.tickHz", "at most 120"],
  [
    "a role that inherits from itself",
    (m) => m.world.roles[0].inherits = ["player"],
    "world.roles[0].inherits[0]",
    "itself",
  ],
  [
    "a role that inherits from one that is not declared",
    (m) => m.world.roles[0].inherits = ["gest"],
    "world.roles[0].inherits[0]",
    'did you mean "guest"',
  ],
  [
    "a role that inherits from the server",
    (m) => m.world.roles[0].inherits = ["server"],
    "world.roles[0].inherits[0]",
    "no meaning here",
  ],
  [
    "a role that inherits twice from one",
    (m) => m.world.roles[0].inherits = ["guest", "guest"],
    "world.roles[0].inherits[1]",
    "named twice",
  ],
  ["an empty name", (m) => m.world.name = "", "world.name", "at least 1 character"],
  ["a control character", (m) => m.world.name = "a\u0007", "world.name", "control"],
  ["a name too long in UTF-8", (m) => m.world.name = "é".repeat(40), "world.name", "64 bytes"],
  [
    "a history of one tick",
    (m) => {
      m.world.tickHz = 1;
      m.world.historyMs = 1999;
    },
    "world.historyMs",
    "at least 2000",
  ],
  [
    "more entities of a peer than of the world",
    (m) => m.world.maxEntities = 63,
    "world.maxEntitiesPerPeer",
    "at most 63",
  ],
  ["a reserved role", (m) => m.world.roles[1].name = "all", "world.roles[1].name", "built in"],
  ["a role id twice", (m) => m.world.roles[1].id = 1, "world.roles[1].id", "take 2"],
  ["a role name twice", (m) => m.world.roles[1].name = "player", "world.roles[1].name", "taken"],
  ["role id 0", (m) => m.world.roles[0].id = 0, "world.roles[0].id", "at least 1"],
  [
    "an undeclared default role",
    (m) => m.world.defaultRole = "plyer",
    "world.defaultRole",
    '"player"',
  ],
  [
    "the server as default role",
    (m) => m.world.defaultRole = "server",
    "world.defaultRole",
    "declared",
  ],
  [
    "a retired id",
    (m) => m.world.retired = { components: [1] },
    "world.components[0].id",
    "take 2",
  ],
  [
    "an id retired twice",
    (m) => m.world.retired = { events: [5, 5] },
    "world.retired.events[1]",
    "twice",
  ],
  [
    "an unknown type",
    (m) => m.world.components[0].fields.rotation.type = "quaternion",
    "world.components[0].fields.rotation.type",
    '"quat"',
  ],
  [
    "no type",
    (m) => delete m.world.components[0].fields.rotation.type,
    "world.components[0].fields.rotation.type",
    "missing",
  ],
  [
    "a field name with a hyphen",
    (m) => m.world.components[0].fields["a-b"] = { type: "bool" },
    "world.components[0].fields.a-b",
    "letter",
  ],
  [
    "a precision of zero",
    (m) => m.world.components[0].fields.position.precision = 0,
    "world.components[0].fields.position.precision",
    "above 0",
  ],
  [
    "a range upside down",
    (m) => m.world.components[0].fields.position.max = -11,
    "world.components[0].fields.position.max",
    "above min (-10)",
  ],
  [
    "a range of broken steps",
    (m) => m.world.components[0].fields.position.precision = 0.3,
    "world.components[0].fields.position.max",
    "write 10.1",
  ],
  [
    "more steps than a float holds",
    (m) => m.world.components[0].fields.position.precision = 1e-6,
    "world.components[0].fields.position.precision",
    "at least 0.000005",
  ],
  [
    "an integer outside its type",
    (m) => m.world.components[0].fields.n = { type: "u8", max: 256 },
    "world.components[0].fields.n.max",
    "at most 255",
  ],
  [
    "an enum of nothing",
    (m) => m.world.components[0].fields.n = { type: "enum", values: [] },
    "world.components[0].fields.n.values",
    "at least 1 item",
  ],
  [
    "an enum name twice",
    (m) => m.world.components[0].fields.n = { type: "enum", values: ["a", "a"] },
    "world.components[0].fields.n.values[1]",
    "twice",
  ],
  [
    "a text without a size",
    (m) => m.world.components[0].fields.n = { type: "string" },
    "world.components[0].fields.n.maxBytes",
    "missing",
  ],
  [
    "32 fields",
    (m) => {
      for (let i = 0; i < 30; i++) m.world.components[0].fields[`f${i}`] = { type: "bool" };
    },
    "world.components[0].fields",
    "at most 31",
  ],
  [
    "no field",
    (m) => {
      m.world.events = [];
      delete m.world.voice;
      const component = m.world.components[0];
      component.fields = {};
      delete component.position;
      delete component.interestRadius;
    },
    "world.components[0].fields",
    "at least one field",
  ],
  [
    "an unknown authority",
    (m) => m.world.components[0].authority = "ownr",
    "world.components[0].authority",
    '"owner"',
  ],
  [
    "an unknown reader",
    (m) => m.world.components[0].read = ["gest"],
    "world.components[0].read[0]",
    '"guest"',
  ],
  [
    "a reader twice",
    (m) => m.world.components[0].read = ["guest", "guest"],
    "world.components[0].read[1]",
    "twice",
  ],
  [
    "the owner as writer",
    (m) => m.world.components[0].write = ["player", "owner"],
    "world.components[0].write[1]",
    "no meaning here",
  ],
  [
    "nobody who writes",
    (m) => {
      m.world.components[0].write = [];
      delete m.world.components[0].spawn;
    },
    "world.components[0].write",
    'authority "server"',
  ],
  [
    "a peer that writes what is the server's",
    (m) => {
      m.world.components[0].authority = "server";
      delete m.world.components[0].spawn;
    },
    "world.components[0].write[0]",
    'remove "player"',
  ],
  [
    "a field that widens",
    (m) => m.world.components[0].fields.rotation.write = ["guest"],
    "world.components[0].fields.rotation.write[0]",
    "only narrow",
  ],
  [
    "a field that widens to all",
    (m) => {
      m.world.components[0].read = ["player"];
      m.world.components[0].fields.rotation.read = ["all"];
    },
    "world.components[0].fields.rotation.read[0]",
    "only narrow",
  ],
  [
    "a position that is no vec3",
    (m) => m.world.components[0].position = "rotation",
    "world.components[0].position",
    "not a vec3",
  ],
  [
    "a spawner that cannot write",
    (m) => m.world.components[0].spawn.roles = ["guest"],
    "world.components[0].spawn.roles",
    '"guest" may spawn but not write',
  ],
  [
    "more spawns than entities",
    (m) => m.world.components[0].spawn.maxPerPeer = 65,
    "world.components[0].spawn.maxPerPeer",
    "at most 64",
  ],
  [
    "spawning what only the server writes",
    (m) => {
      m.world.components[0].authority = "server";
      m.world.components[0].write = ["server"];
    },
    "world.components[0].spawn",
    "remove `spawn`",
  ],
  [
    "a radius without a position anywhere",
    (m) => {
      delete m.world.components[0].position;
      delete m.world.voice;
    },
    "world.components[0].interestRadius",
    "position",
  ],
  [
    "a rate beyond the timeline",
    (m) => {
      m.world.tickHz = 1;
      m.world.components[0].rateHz = 65;
    },
    "world.components[0].rateHz",
    "64 values",
  ],
  [
    "an event nobody sends",
    (m) => m.world.events[0].send = [],
    "world.events[0].send",
    "at least 1",
  ],
  [
    "an event for the owner",
    (m) => m.world.events[0].receive = ["owner"],
    "world.events[0].receive[0]",
    "no meaning here",
  ],
  [
    "an event larger than allowed",
    (m) => m.world.events[0].fields = { text: { type: "string", maxBytes: 9000 } },
    "world.events[0].fields",
    "8192",
  ],
  [
    "an event's field with rights",
    (m) => m.world.events[0].fields = { on: { type: "bool", read: [] } },
    "world.events[0].fields.on.read",
    "`send` and `receive`",
  ],
  [
    "a wait too long",
    (m) => m.world.events[0].waitMs = 10_001,
    "world.events[0].waitMs",
    "at most 10000",
  ],
  [
    "a channel's name with a space",
    (m) => m.world.channels[0].name = "a b",
    "world.channels[0].name",
    "letters",
  ],
  [
    "a channel inside a namespace",
    (m) =>
      m.world.channels = [
        { ...m.world.channels[0], name: "script/*" },
        { ...m.world.channels[0], id: 2, name: "script/chat" },
      ],
    "world.channels[1].name",
    "inside the namespace",
  ],
  [
    "maxOpen of a plain channel",
    (m) => m.world.channels[0].maxOpen = 2,
    "world.channels[0].maxOpen",
    "remove it",
  ],
  [
    "an unreliable channel without a size",
    (m) => m.world.channels[0].mode = "unreliable",
    "world.channels[0].maxBytes",
    "missing",
  ],
  [
    "an unreliable message larger than a datagram",
    (m) => Object.assign(m.world.channels[0], { mode: "unreliable", maxBytes: 1001 }),
    "world.channels[0].maxBytes",
    "at most 1000",
  ],
  [
    "a channel whose messages reach nobody",
    (m) => Object.assign(m.world.channels[0], { send: ["player", "server"], receive: ["guest"] }),
    "world.channels[0].receive",
    'add "server"',
  ],
  [
    "a channel whose messages come from nobody",
    (m) => Object.assign(m.world.channels[0], { send: ["player"], receive: ["all"] }),
    "world.channels[0].send",
    'add "server"',
  ],
  [
    "a voice range above the interest radius",
    (m) => m.world.voice.range = 40.5,
    "world.voice.range",
    "at most 40",
  ],
  [
    "voice without positions",
    (m) => {
      delete m.world.components[0].position;
      delete m.world.components[0].interestRadius;
    },
    "world.voice",
    "position",
  ],
  [
    "a voice frame of 2 kB",
    (m) => m.world.voice.maxFrameBytes = 2000,
    "world.voice.maxFrameBytes",
    "at most",
  ],
  [
    "a zone whose id is taken",
    (m) => m.world.zones = [{ id: 1, name: "room" }, { id: 1, name: "hall" }],
    "world.zones[1].id",
    "take 2",
  ],
  [
    "a zone whose name is taken",
    (m) => m.world.zones = [{ id: 1, name: "room" }, { id: 2, name: "room" }],
    "world.zones[1].name",
    "choose another",
  ],
  [
    "a zone with an id above 255",
    (m) => m.world.zones = [{ id: 256, name: "room" }],
    "world.zones[0].id",
    "at most 255",
  ],
  [
    "zone 0, which is no zone",
    (m) => m.world.zones = [{ id: 0, name: "room" }],
    "world.zones[0].id",
    "at least 1",
  ],
  [
    "an unknown role that sees into a zone",
    (m) => m.world.zones = [{ id: 1, name: "room", seenBy: ["guest", "plyer"] }],
    "world.zones[0].seenBy[1]",
    '"player"',
  ],
  [
    "a closed zone that all see into",
    (m) => m.world.zones = [{ id: 1, name: "room", seenBy: ["all"] }],
    "world.zones[0].seenBy[0]",
    "`closed`: false",
  ],
  [
    "a zone that owners see into",
    (m) => m.world.zones = [{ id: 1, name: "room", seenBy: ["owner"] }],
    "world.zones[0].seenBy[0]",
    "remove it",
  ],
  [
    "a zone that the server sees into",
    (m) => m.world.zones = [{ id: 1, name: "room", seenBy: ["server"] }],
    "world.zones[0].seenBy[0]",
    "remove it",
  ],
  [
    "an open zone that some see into",
    (m) => m.world.zones = [{ id: 1, name: "room", closed: false, seenBy: ["guest"] }],
    "world.zones[0].seenBy",
    "remove `seenBy`",
  ],
  ["an unknown role of the host", (m) => m.host.role = "sever", "host.role", '"server"'],
  ["a server that does not listen", (m) => delete m.host.listen, "host.listen", "missing"],
  [
    "a server without a certificate",
    (m) => delete m.host.certificate,
    "host.certificate",
    "missing",
  ],
  [
    "a server that connects",
    (m) => m.host.connect = ["h:1"],
    "host.connect",
    "belongs to a client",
  ],
  ["a host without a port", (m) => m.host.listen = "localhost", "host.listen", "host and port"],
  ["a wildcard", (m) => m.host.listen = "*:4433", "host.listen", "host and port"],
  ["a port too high", (m) => m.host.listen = "127.0.0.1:65536", "host.listen", "host and port"],
  [
    "half a certificate",
    (m) => m.host.certificate = { certFile: "cert.pem" },
    "host.certificate.keyFile",
    "missing",
  ],
  [
    "an unknown certificate mode",
    (m) => m.host.certificate = { mode: "dev" },
    "host.certificate.mode",
    "development",
  ],
  ["a path with a comma", (m) => m.host.engineSocket = "a,b", "host.engineSocket", "comma"],
  ["a heap too small", (m) => m.host.limits = { heapMb: 1 }, "host.limits.heapMb", "at least 32"],
  [
    "a denial of an unknown component",
    (m) => m.host.deny = { components: { Bdy: { send: true } } },
    "host.deny.components.Bdy",
    '"Body"',
  ],
  [
    "a denial of an unknown field",
    (m) => m.host.deny = { components: { Body: { send: ["rotaton"] } } },
    "host.deny.components.Body.send[0]",
    '"rotation"',
  ],
  [
    "a denial that would grant",
    (m) => m.host.deny = { events: { Wave: { send: false } } },
    "host.deny.events.Wave.send",
    "write true",
  ],
  [
    "a denial of no voice",
    (m) => {
      delete m.world.voice;
      m.host.deny = { voice: { send: true } };
    },
    "host.deny.voice",
    "remove it",
  ],
];

for (const [what, breakIt, path, advice] of BROKEN) {
  Deno.test(`parseManifest() refuses ${what}`, () => {
    const value = smallManifest();
    breakIt(value);
    const mistakes = mistakesOf(JSON.stringify(value, null, 2));
    assertEquals(mistakes.map((one) => one.path), [path]);
    assertStringIncludes(mistakes[0]?.message ?? "", advice);
  });
}

Deno.test("parseManifest() refuses a client's mistakes", () => {
  const client = (host: Loose) => {
    const value = smallManifest();
    value.host = { role: "client", engineSocket: "e.sock", ...host };
    return mistakesOf(JSON.stringify(value)).map((one) => one.path);
  };
  assertEquals(client({ connect: ["127.0.0.1:4433", "[::1]:4433", "a.example:1"] }), []);
  assertEquals(client({}), ["host.connect"]);
  assertEquals(client({ connect: [] }), ["host.connect"]);
  assertEquals(client({ connect: ["h:0"] }), ["host.connect[0]"]);
  assertEquals(client({ connect: ["h:1", "h:1"] }), ["host.connect[1]"]);
  assertEquals(client({ connect: ["10.1.0.0/16:4433", "10.1.0.7:4433"] }), []);
  assertEquals(client({ connect: ["10.1.0.0/16"] }), ["host.connect[0]"]);
  assertEquals(client({ connect: ["h:1"], listen: "h:1" }), ["host.listen"]);
  assertEquals(client({ connect: ["h:1"], pin: "AB" }), ["host.pin"]);
  assertEquals(client({ connect: ["h:1"], pin: "a".repeat(64), caFile: "ca.pem" }), [
    "host.caFile",
  ]);
});

Deno.test("parseManifest() tells all mistakes at once, in the order of their lines", () => {
  const text = `{
  // Comments and trailing commas are legal.
  "world": {
    "name": "x", "tickHz": 0,
    "roles": [{ "id": 1, "name": "player" }],
    "defaultRole": "palyer",
    "components": [{
      "id": 1, "name": "A", "authority": "owner", "write": ["player"],
      "fields": { "p": { "type": "f32", "min": 1, "max": 0, "presicion": 1 } },
    }],
  },
  "host": { "role": "loopback", "listen": "127.0.0.1:1" }
}`;
  const mistakes = mistakesOf(text);
  assertEquals(mistakes.map((one) => [one.line, one.path]), [
    [4, "world.tickHz"],
    [6, "world.defaultRole"],
    [9, "world.components[0].fields.p.precision"],
    [9, "world.components[0].fields.p.presicion"],
    [9, "world.components[0].fields.p.max"],
    [12, "host.engineSocket"],
    [12, "host.listen"],
  ]);
  const error = new ManifestError("room.jsonc", mistakes);
  assertStringIncludes(error.message, "room.jsonc: 7 mistakes");
  assertStringIncludes(
    error.message,
    "line 9, world.components[0].fields.p.presicion:\n    unknown key",
  );
});

Deno.test("parseManifest() refuses what is no JSON with comments", () => {
  for (
    const text of [
      "",
      "   ",
      "// nothing",
      "{",
      "[1,]]",
      '{"world": }',
      "nope",
      '"\\ud800',
      "\u0000",
    ]
  ) {
    const mistakes = mistakesOf(text);
    assert(mistakes.length > 0, `accepted ${JSON.stringify(text)}`);
    for (const one of mistakes) assertEquals(one.path, "(document)");
  }
});

Deno.test("parseManifest() refuses values that are no object", () => {
  for (const text of ["1", "null", "[]", '"world"', "true"]) {
    assertEquals(mistakesOf(text).map((one) => one.path), ["(document)"]);
  }
});

Deno.test("parseManifest() refuses keys written twice and magic keys", () => {
  const value = smallManifest();
  const text = JSON.stringify(value).replace('"name":"test"', '"name":"test","name":"again"')
    .replace('"host":{', '"host":{"__proto__":{"role":"client"},');
  assertEquals(mistakesOf(text).map((one) => one.path), ["world.name", "host.__proto__"]);
});

Deno.test("parseManifest() refuses deep nesting and endless files without exhausting the stack", () => {
  const deep = mistakesOf(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
  assertStringIncludes(deep[0]?.message ?? "", "nested deeper");
  const long = mistakesOf(" ".repeat(5 * 1024 * 1024));
  assertStringIncludes(long[0]?.message ?? "", "longer than");
});

Deno.test("parseManifest() fills defaults in", () => {
  const { world, host } = parsed(smallManifest());
  assertEquals(world.tickHz, 30);
  assertEquals(world.historyMs, 2000);
  assertEquals(world.resumeMs, 30_000);
  assertEquals(world.voice?.maxFrameBytes, 400);
  assertEquals(world.events[0]?.late, "deliver");
  assertEquals(host.limits, {
    peerBytesPerSecond: 256_000,
    joinBytesPerSecond: 128_000,
    joinMs: 2_000,
  });
  assertEquals(host.privacy, { retentionSeconds: 60, logLevel: "info" });
});

Deno.test("parseManifest() allows no frame or message that the smallest datagram cannot hold whole", () => {
  // A section's frame, a channel's number or a frame's tag, sequence, time and seal: far below 100 bytes.
  const room = MIN_DATAGRAM_BYTES - DATAGRAM_HEADER_BYTES - 100;
  assert(MAX_UNRELIABLE_MESSAGE_BYTES <= room && MAX_VOICE_FRAME_BYTES <= room);
});

Deno.test("parseManifest() takes a byte order mark, a $schema and an empty read list", () => {
  const value = smallManifest();
  value.$schema = "./manifest.schema.json";
  value.world.components[0].read = [];
  const manifest = parseManifest(`\ufeff${JSON.stringify(value)}`, "test.jsonc");
  assertEquals(manifest.world.components[0]?.read, []);
});

Deno.test("parseManifest() takes names that scripts inherit as ordinary names", () => {
  const value = smallManifest();
  const component = value.world.components[0];
  component.name = "constructor";
  component.fields.toString = { type: "bool" };
  component.fields.hasOwnProperty = { type: "u8" };
  value.host.deny = { components: { constructor: { send: ["toString"] } } };
  const grants = compiled(value);
  assertEquals(grants.components[0]?.fields.map((one) => one.name).slice(2), [
    "toString",
    "hasOwnProperty",
  ]);
  assertEquals(grants.components[0]?.hostSendMask, 0b1011);
  assertEquals(grants.events[0]?.hostSend, true);
});

Deno.test("parseManifest() and compileGrants() take every legal manifest", () => {
  fc.assert(
    fc.property(manifestArbitrary, (value) => {
      const grants = compileGrants(parsed(value), sha256);
      assertEquals(JSON.parse(JSON.stringify(grants)), grants);
    }),
    { seed: 20_260_101, numRuns: 150 },
  );
});

/** Every path in a JSON value. */
function pathsOf(value: Loose, path: (string | number)[] = []): (string | number)[][] {
  const below = typeof value === "object" && value !== null
    ? Object.keys(value).flatMap((key) =>
      pathsOf(value[key], [...path, Array.isArray(value) ? Number(key) : key])
    )
    : [];
  return [path, ...below];
}

Deno.test("parseManifest() answers any damaged manifest with a value or a ManifestError", () => {
  const junk = fc.constantFrom<Loose>(
    null,
    0,
    -1,
    1e308,
    "",
    "all",
    true,
    [],
    [null],
    {},
    { type: "u8" },
    [["a"]],
    "x".repeat(300),
  );
  fc.assert(
    fc.property(
      manifestArbitrary,
      fc.array(fc.tuple(fc.nat(), junk), { minLength: 1, maxLength: 3 }),
      (legal, changes) => {
        const value = structuredClone(legal);
        for (const [choice, replacement] of changes) {
          const paths = pathsOf(value).filter((path) => path.length > 0);
          if (paths.length === 0) break;
          const path = paths[choice % paths.length]!;
          let at = value;
          for (const key of path.slice(0, -1)) at = at[key];
          at[path.at(-1)!] = replacement;
        }
        for (const one of mistakesOf(JSON.stringify(value, null, 1))) {
          assert(one.path.length > 0 && one.message.length > 0);
          assert(one.line !== undefined && one.line >= 1, `no line for ${one.path}`);
        }
      },
    ),
    { seed: 20_260_102, numRuns: 400 },
  );
});

Deno.test("parseManifest() finds every part of a circle of roles", () => {
  const value = smallManifest();
  value.world.roles = [
    { id: 1, name: "player", inherits: ["guest"] },
    { id: 2, name: "guest", inherits: ["judge"] },
    { id: 3, name: "judge", inherits: ["player"] },
    { id: 4, name: "bystander", inherits: ["player"] },
  ];
  const mistakes = mistakesOf(JSON.stringify(value));
  assertEquals(
    mistakes.map((one) => one.path),
    [0, 1, 2].map((at) => `world.roles[${at}].inherits[0]`),
  );
  for (const { message } of mistakes) assertStringIncludes(message, "circle");
});

Deno.test("parseManifest() tells how to write a network that it refuses", () => {
  const advice = (text: string) => {
    const value = smallManifest();
    value.host = { role: "client", engineSocket: "e.sock", connect: [text] };
    return mistakesOf(JSON.stringify(value)).map((one) => one.message).join();
  };
  assertStringIncludes(advice("10.1.2.3/16:99"), 'write "10.1.0.0/16:99"');
  assertStringIncludes(advice("10.1.0.0/16"), 'write "10.1.0.0/16:4433"');
  assertStringIncludes(advice("10.1.2.3/32:99"), 'single address, "10.1.2.3:99"');
  assertStringIncludes(advice("0.0.0.0/0:99"), "at least 8 bits");
  assertStringIncludes(advice("[fd00::]/8:99"), "IPv6");
  assertStringIncludes(advice("a.example/16:99"), "as an IPv4 address");
  const server = smallManifest();
  server.host.listen = "10.1.0.0/16:4433";
  assertEquals(mistakesOf(JSON.stringify(server)).map((one) => one.path), ["host.listen"]);
});
