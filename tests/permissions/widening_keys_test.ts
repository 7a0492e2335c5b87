// Every key of the manifest's grammar, one by one: either a change of it is told as a right added, or it says here why it can add none. The keys
// are read off the published schema, so a key that is declared and forgotten in widening.ts is found.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { addedRights, type CompiledManifest } from "../../permissions/widening.ts";
import { compiled, type Loose, parsed } from "../support/manifest_samples.ts";
import { ROOT } from "../support/run_program.ts";

const ISSUER = "WlrX-0yDsfImQzGcfsjBbdi_r40PinSOVbhs8OkepRE";

const FIELDS = {
  place: { type: "vec3", min: -8, max: 8, precision: 0.5, read: ["player"], write: ["player"] },
  turn: { type: "quat", bits: 9 },
  name: { type: "string", maxBytes: 8 },
  mood: { type: "enum", values: ["calm"] },
  size: { type: "u8", min: 2, max: 9 },
};

/** A server's manifest with every key, each at a narrow value. */
function server(): Loose {
  const events = structuredClone(FIELDS) as Loose;
  delete events.place.read;
  delete events.place.write;
  return {
    world: {
      name: "test",
      tickHz: 20,
      historyMs: 1_000,
      maxEntities: 100,
      maxPeers: 10,
      maxEntitiesPerPeer: 5,
      resumeMs: 1_000,
      roles: [
        { id: 1, name: "player" },
        { id: 2, name: "guest", inherits: [] },
        { id: 3, name: "judge", inherits: ["player"] },
      ],
      defaultRole: "guest",
      identity: { anonymous: false, issuers: [ISSUER] },
      components: [{
        id: 1,
        name: "Body",
        fields: structuredClone(FIELDS),
        authority: "owner",
        read: ["player"],
        write: ["player"],
        rateHz: 10,
        interestRadius: 40,
        position: "place",
        spawn: { roles: ["player"], maxPerPeer: 2 },
        checks: {
          place: {
            bounds: { min: [-4, -4, -4], max: [4, 4, 4] },
            maxStep: 8,
            maxSpeed: 30,
            maxAcceleration: 180,
            rateHz: 5,
            exempt: [],
            onViolation: "reject",
          },
        },
        grantable: { read: ["turn"], write: ["turn"] },
      }, {
        id: 2,
        name: "Still",
        fields: { a: FIELDS.turn, b: { type: "bool" } },
        authority: "server",
        read: [],
      }],
      events: [{
        id: 1,
        name: "Wave",
        fields: events,
        send: ["player"],
        receive: ["player"],
        rateHz: 5,
        late: "drop",
        waitMs: 100,
      }],
      channels: [{
        id: 1,
        name: "script/*",
        mode: "unreliable",
        send: ["player", "server"],
        receive: ["player", "server"],
        maxBytes: 500,
        rateHz: 5,
        maxOpen: 2,
      }],
      zones: [{ id: 1, name: "room", closed: true, seenBy: ["judge"] }],
      voice: { speak: ["player"], hear: ["player"], range: 20, maxFrameBytes: 100, rateHz: 20 },
      retired: { components: [9], events: [9], channels: [9], roles: [9] },
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:4433",
      certificate: { certFile: "cert.pem", keyFile: "key.pem" },
      limits: {
        peerBytesPerSecond: 10_000,
        joinBytesPerSecond: 20_000,
        joinMs: 1_000,
        heapMb: 64,
        memoryMb: 512,
      },
      privacy: { retentionSeconds: 10, logLevel: "warn" },
      deny: {
        components: { Body: { send: true, receive: true } },
        events: { Wave: { send: true, receive: true } },
        channels: { "script/*": { send: true, receive: true } },
        voice: { send: true, receive: true },
      },
    },
  };
}

/** A client's, likewise. */
function client(): Loose {
  const value = server();
  const { engineSocket, limits, privacy } = value.host;
  value.host = {
    role: "client",
    engineSocket,
    limits,
    privacy,
    connect: ["10.1.0.1:4433"],
    caFile: "ca.pem",
  };
  return value;
}

type Change = (m: Loose) => unknown;

/** A change of a field of the component and of the event, by the key of its path. */
function ofFields(
  change: (field: Loose) => unknown,
  name: string,
  key: string,
): [string, Change][] {
  return [
    [`world.components[].fields.<name>.${key}`, (m) => change(m.world.components[0].fields[name])],
    [`world.events[].fields.<name>.${key}`, (m) => change(m.world.events[0].fields[name])],
  ];
}

/** The first component can be seen, read and written by guests where they share it with players. */
const [body, wave, script] = [
  (m: Loose) => m.world.components[0],
  (m: Loose) => m.world.events[0],
  (m: Loose) => m.world.channels[0],
];

const checksOf = (m: Loose) => body(m).checks.place;

/** For each key a change that widens the server's manifest. */
const WIDENS: ReadonlyMap<string, Change> = new Map<string, Change>([
  ["world.tickHz", (m) => m.world.tickHz = 30],
  ["world.historyMs", (m) => m.world.historyMs = 2_000],
  ["world.maxEntities", (m) => m.world.maxEntities = 101],
  ["world.maxPeers", (m) => m.world.maxPeers = 11],
  ["world.maxEntitiesPerPeer", (m) => m.world.maxEntitiesPerPeer = 6],
  ["world.resumeMs", (m) => m.world.resumeMs = 1_001],
  ["world.roles", (m) => m.world.roles.push({ id: 4, name: "warden", inherits: ["player"] })],
  ["world.roles[].name", (m) => {
    m.world.roles[1].name = "visitor";
    m.world.roles[1].inherits = ["player"];
    m.world.defaultRole = "visitor";
  }],
  ["world.roles[].inherits", (m) => m.world.roles[1].inherits = ["player"]],
  ["world.defaultRole", (m) => m.world.defaultRole = "player"],
  ["world.identity", (m) => delete m.world.identity],
  ["world.identity.anonymous", (m) => m.world.identity.anonymous = true],
  [
    "world.identity.issuers",
    (m) => m.world.identity.issuers.push(ISSUER.replace("WlrX", "XlrX")),
  ],
  ["world.components", (m) => m.world.components.push({ ...body(m), id: 7, name: "Other" })],
  ["world.components[].name", (m) => {
    body(m).name = "Other";
    delete m.host.deny.components;
  }],
  ["world.components[].fields", (m) => body(m).fields.extra = { type: "bool" }],
  ["world.components[].authority", (m) => {
    m.world.components[1].authority = "owner";
    m.world.components[1].write = ["player"];
  }],
  ["world.components[].read", (m) => m.world.components[1].read = ["guest"]],
  ["world.components[].write", (m) => body(m).write = ["player", "guest"]],
  ["world.components[].rateHz", (m) => body(m).rateHz = 11],
  ["world.components[].grantable", (m) => body(m).grantable = { read: ["name"] }],
  ["world.components[].grantable.read", (m) => {
    m.world.components[1].grantable = { read: ["a"] };
  }],
  ["world.components[].grantable.write", (m) => body(m).grantable = { write: true }],
  ["world.components[].interestRadius", (m) => body(m).interestRadius = 41],
  ["world.components[].weight", (m) => body(m).weight = 2],
  ["world.components[].position", (m) => {
    body(m).fields.other = FIELDS.place;
    body(m).position = "other";
  }],
  ["world.components[].spawn", (m) => {
    m.world.components.push({
      ...m.world.components[1],
      ...{ id: 3, name: "Third", authority: "owner", write: ["player"], spawn: body(m).spawn },
    });
  }],
  ["world.components[].spawn.roles", (m) => {
    body(m).write = ["player", "guest"];
    body(m).spawn.roles = ["player", "guest"];
  }],
  ["world.components[].spawn.maxPerPeer", (m) => body(m).spawn.maxPerPeer = 3],
  ["world.components[].fields.<name>.read", (m) => {
    body(m).read = ["player", "guest"];
    for (const field of Object.values<Loose>(body(m).fields)) field.read ??= ["player"];
    body(m).fields.place.read = ["player", "guest"];
  }],
  ["world.components[].fields.<name>.write", (m) => {
    body(m).write = ["player", "guest"];
    for (const field of Object.values<Loose>(body(m).fields)) field.write ??= ["player"];
    body(m).fields.place.write = ["player", "guest"];
  }],
  ["world.components[].checks", (m) => delete body(m).checks],
  ["world.components[].checks.<name>.bounds", (m) => delete checksOf(m).bounds],
  ["world.components[].checks.<name>.bounds.min", (m) => checksOf(m).bounds.min = [-4, -5, -4]],
  ["world.components[].checks.<name>.bounds.max", (m) => checksOf(m).bounds.max = [4, 4, 5]],
  ["world.components[].checks.<name>.maxStep", (m) => checksOf(m).maxStep = 9],
  ["world.components[].checks.<name>.maxSpeed", (m) => checksOf(m).maxSpeed = 31],
  ["world.components[].checks.<name>.maxAcceleration", (m) => checksOf(m).maxAcceleration = 190],
  ["world.components[].checks.<name>.rateHz", (m) => checksOf(m).rateHz = 6],
  ["world.components[].checks.<name>.exempt", (m) => checksOf(m).exempt = ["judge"]],
  ["world.components[].checks.<name>.onViolation", (m) => checksOf(m).onViolation = "report"],
  ["world.components[].grantable", (m) => m.world.components[1].grantable = { read: ["a"] }],
  ["world.components[].grantable.read", (m) => body(m).grantable.read = ["turn", "mood"]],
  ["world.components[].grantable.write", (m) => body(m).grantable.write = ["turn", "mood"]],
  ["world.events", (m) => m.world.events.push({ ...wave(m), id: 7, name: "Other" })],
  ["world.events[].name", (m) => {
    wave(m).name = "Other";
    delete m.host.deny.events;
  }],
  ["world.events[].fields", (m) => wave(m).fields.extra = { type: "bool" }],
  ["world.events[].send", (m) => wave(m).send = ["player", "guest"]],
  ["world.events[].receive", (m) => wave(m).receive = ["player", "guest"]],
  ["world.events[].rateHz", (m) => wave(m).rateHz = 6],
  ["world.events[].late", (m) => wave(m).late = "deliver"],
  ["world.events[].waitMs", (m) => wave(m).waitMs = 101],
  ["world.channels", (m) => m.world.channels.push({ ...script(m), id: 7, name: "other/*" })],
  ["world.channels[].name", (m) => {
    script(m).name = "other/*";
    delete m.host.deny.channels;
  }],
  ["world.channels[].mode", (m) => script(m).mode = "reliable"],
  ["world.channels[].send", (m) => script(m).send = ["player", "guest", "server"]],
  ["world.channels[].receive", (m) => script(m).receive = ["player", "guest", "server"]],
  ["world.channels[].maxBytes", (m) => script(m).maxBytes = 501],
  ["world.channels[].rateHz", (m) => script(m).rateHz = 6],
  ["world.channels[].maxOpen", (m) => script(m).maxOpen = 3],
  ["world.zones", (m) => m.world.zones = []],
  ["world.zones[].name", (m) => m.world.zones[0].name = "hall"],
  ["world.zones[].closed", (m) => m.world.zones[0] = { id: 1, name: "room", closed: false }],
  ["world.zones[].seenBy", (m) => m.world.zones[0].seenBy.push("guest")],
  ["world.voice", (m) => m.world.voice.hear = ["all"]],
  ["world.voice.speak", (m) => m.world.voice.speak = ["player", "guest"]],
  ["world.voice.hear", (m) => m.world.voice.hear = ["player", "guest"]],
  ["world.voice.range", (m) => m.world.voice.range = 21],
  ["world.voice.maxFrameBytes", (m) => m.world.voice.maxFrameBytes = 101],
  ["world.voice.rateHz", (m) => m.world.voice.rateHz = 21],
  ["host.engineSocket", (m) => m.host.engineSocket = "other.sock"],
  ["host.listen", (m) => m.host.listen = "0.0.0.0:4433"],
  ["host.certificate.certFile", (m) => m.host.certificate.certFile = "other.pem"],
  ["host.certificate.keyFile", (m) => m.host.certificate.keyFile = "other.pem"],
  ["host.overridable", (m) => m.host.overridable = { engineSocket: ["b.sock"] }],
  ["host.overridable.engineSocket", (m) => m.host.overridable = { engineSocket: ["b.sock"] }],
  ["host.overridable.certFile", (m) => m.host.overridable = { certFile: ["b.pem"] }],
  ["host.overridable.keyFile", (m) => m.host.overridable = { keyFile: ["b.pem"] }],
  ["host.limits", (m) => delete m.host.limits],
  ["host.limits.peerBytesPerSecond", (m) => m.host.limits.peerBytesPerSecond = 10_001],
  ["host.limits.joinBytesPerSecond", (m) => m.host.limits.joinBytesPerSecond = 20_001],
  ["host.limits.joinMs", (m) => m.host.limits.joinMs = 1_001],
  ["host.limits.heapMb", (m) => m.host.limits.heapMb = 65],
  ["host.limits.memoryMb", (m) => m.host.limits.memoryMb = 2_001],
  ["host.limits.memoryMb", (m) => m.host.limits.memoryMb = 513],
  ["host.privacy", (m) => delete m.host.privacy],
  ["host.privacy.retentionSeconds", (m) => m.host.privacy.retentionSeconds = 11],
  ["host.privacy.logLevel", (m) => m.host.privacy.logLevel = "debug"],
  ["host.deny", (m) => delete m.host.deny],
  ["host.deny.components", (m) => delete m.host.deny.components],
  ["host.deny.components.<name>.send", (m) => m.host.deny.components.Body.send = ["turn"]],
  ["host.deny.components.<name>.receive", (m) => delete m.host.deny.components.Body.receive],
  ["host.deny.events", (m) => delete m.host.deny.events],
  ["host.deny.events.<name>.send", (m) => delete m.host.deny.events.Wave.send],
  ["host.deny.events.<name>.receive", (m) => delete m.host.deny.events.Wave.receive],
  ["host.deny.channels", (m) => delete m.host.deny.channels],
  ["host.deny.channels.<name>.send", (m) => delete m.host.deny.channels["script/*"].send],
  ["host.deny.channels.<name>.receive", (m) => delete m.host.deny.channels["script/*"].receive],
  ["host.deny.voice", (m) => delete m.host.deny.voice],
  ["host.deny.voice.send", (m) => delete m.host.deny.voice.send],
  ["host.deny.voice.receive", (m) => delete m.host.deny.voice.receive],
  ...ofFields((field) => field.bits = 10, "turn", "bits"),
  ...ofFields((field) => field.max = 10, "size", "max"),
  ...ofFields((field) => field.min = 1, "size", "min"),
  ...ofFields((field) => field.maxBytes = 9, "name", "maxBytes"),
  ...ofFields((field) => field.precision = 0.25, "place", "precision"),
  ...ofFields((field) => field.type = "u16", "size", "type"),
  ...ofFields((field) => field.values.push("glad"), "mood", "values"),
]);

/** The same for keys of clients. */
const CLIENT_WIDENS: ReadonlyMap<string, Change> = new Map<string, Change>([
  ["host.role", (m) => m.host = server().host],
  ["host.connect", (m) => m.host.connect.push("10.1.0.2:4433")],
  ["host.pin", (m) => {
    delete m.host.caFile;
    m.host.pin = "b".repeat(64);
  }],
  ["host.caFile", (m) => m.host.caFile = "other.pem"],
  ["host.overridable.caFile", (m) => m.host.overridable = { caFile: ["b.pem"] }],
]);

/** Keys that let nothing pass, whatever they say. */
const ADDS_NOTHING: ReadonlyMap<string, string> = new Map([
  ["$schema", "for editors"],
  ["world", "has keys of its own"],
  ["host", "has keys of its own"],
  ["host.certificate", "has keys of its own"],
  ["host.certificate.mode", "a certificate that is made in memory needs no file"],
  ["world.name", "for people; another name is another world to peers, by its hash"],
  ["world.roles[].id", "a number on the wire for the same role"],
  ["world.components[].id", "a number on the wire for the same component"],
  ["world.events[].id", "a number on the wire for the same event"],
  ["world.channels[].id", "a number on the wire for the same channel"],
  ["world.zones[].id", "a number on the engine link for the same zone"],
  ["world.events[].fields.<name>.read", "refused: an event is received whole"],
  ["world.events[].fields.<name>.write", "refused: an event is sent whole"],
  ["world.retired", "has keys of its own"],
  ["world.retired.components", "forbids ids"],
  ["world.retired.events", "forbids ids"],
  ["world.retired.channels", "forbids ids"],
  ["world.retired.roles", "forbids ids"],
]);

/** Every path of keys in a JSON Schema: `[]` for the elements of a list, `<name>` for keys that people choose. */
function keysOf(schema: Loose, path = "", found = new Set<string>()): Set<string> {
  for (const kind of ["anyOf", "oneOf", "allOf"]) {
    for (const one of schema[kind] ?? []) keysOf(one, path, found);
  }
  for (const [key, value] of Object.entries<Loose>(schema.properties ?? {})) {
    const below = path === "" ? key : `${path}.${key}`;
    found.add(below);
    keysOf(value, below, found);
  }
  if (typeof schema.additionalProperties === "object") {
    keysOf(schema.additionalProperties, `${path}.<name>`, found);
  }
  if (schema.items !== undefined) keysOf(schema.items, `${path}[]`, found);
  return found;
}

function both(value: Loose): CompiledManifest {
  return { manifest: parsed(value), grants: compiled(value) };
}

Deno.test("addedRights() treats every key of the grammar, by the published schema", async () => {
  const text = await Deno.readTextFile(`${ROOT}permissions/manifest.schema.json`);
  assert(!text.includes("$ref"), "the walk follows no references");
  const declared = keysOf(JSON.parse(text));
  const treated = new Set([...WIDENS.keys(), ...CLIENT_WIDENS.keys(), ...ADDS_NOTHING.keys()]);
  const missing = [...declared].filter((key) => !treated.has(key));
  assertEquals(missing, [], "tell a change of these keys in widening.ts, and add one here");
  assertEquals([...treated].filter((key) => !declared.has(key)), [], "these are no keys any more");
});

for (
  const [kind, start, changes] of [
    ["server", server, WIDENS],
    ["client", client, CLIENT_WIDENS],
  ] as const
) {
  Deno.test(`addedRights() tells a widening of each key of a ${kind}'s manifest`, () => {
    const narrow = both(start());
    const silent: string[] = [];
    for (const [key, change] of changes) {
      const value = start();
      change(value);
      assertNotEquals(value, start(), key);
      if (addedRights(narrow, both(value)).length === 0) silent.push(key);
    }
    assertEquals(silent, []);
    assertEquals(addedRights(narrow, both(start())), []);
  });
}
