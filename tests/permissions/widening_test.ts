// What counts as a right added: each way to widen a manifest gives its line, each way to narrow it none, and for any two manifests the
// lines about reading and writing are exactly those that their gates answer differently.

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Gate } from "../../permissions/gate.ts";
import type { Grants } from "../../permissions/grants.ts";
import { addedRights, type CompiledManifest } from "../../permissions/widening.ts";
import {
  compiled,
  type Loose,
  manifestArbitrary,
  parsed,
  smallManifest,
} from "../support/manifest_samples.ts";

function both(value: Loose): CompiledManifest {
  return { manifest: parsed(value), grants: compiled(value) };
}

/** A manifest in which everything can be widened and narrowed. */
function richManifest(): Loose {
  const value = smallManifest();
  const { world, host } = value;
  world.components[0].fields = {
    ...world.components[0].fields,
    mood: { type: "enum", values: ["calm", "glad"], read: ["owner"] },
    name: { type: "string", maxBytes: 20, write: [] },
    score: { type: "u8", min: 10, max: 20, read: ["player"] },
  };
  world.components[0].rateHz = 20;
  world.events[0].fields = { size: { type: "f32", min: 0, max: 1, precision: 0.1 } };
  world.events[0].late = "drop";
  world.channels.push({
    id: 2,
    name: "script/*",
    mode: "unreliable",
    send: ["player"],
    receive: ["server"],
    maxBytes: 500,
  });
  world.resumeMs = 1000;
  host.limits = {
    peerBytesPerSecond: 10_000,
    joinBytesPerSecond: 20_000,
    joinMs: 1_000,
    heapMb: 64,
    memoryMb: 512,
  };
  host.privacy = { retentionSeconds: 10, logLevel: "warn" };
  host.deny = {
    components: { Body: { send: ["mood", "name"], receive: true } },
    events: { Wave: { send: true } },
    channels: { chat: { receive: true } },
    voice: { send: true },
  };
  return value;
}

/** A client's manifest. */
function clientManifest(): Loose {
  const value = smallManifest();
  value.host = {
    role: "client",
    engineSocket: "engine.sock",
    connect: ["10.1.0.0/16:4433", "play.example.org:4433"],
    pin: "a".repeat(64),
  };
  return value;
}

/** Lines that `change` adds to `start`. */
function added(start: () => Loose, change: (m: Loose) => unknown): string[] {
  const value = start();
  change(value);
  return addedRights(both(start()), both(value));
}

/** The lines that a change adds, the change, and the lines that taking it back adds: none unless it says so. */
type Change = readonly [
  lines: readonly string[],
  change: (m: Loose) => unknown,
  back?: readonly string[],
];

const CHANGES: readonly Change[] = [
  [
    ["component Body, field score: read by guest"],
    (m) => delete m.world.components[0].fields.score.read,
  ],
  [["component Body, field mood: read by player", "component Body, field mood: read by guest"], (
    m,
  ) => m.world.components[0].fields.mood.read = ["all"]],
  [
    [
      "component Body, field position: written by guest",
      "component Body, field rotation: written by guest",
      "component Body, field mood: written by guest",
      "component Body, field score: read by guest",
      "component Body, field score: written by guest",
      "component Body: spawned by guest",
      "event Wave: sent by guest",
      "channel script/*: sent by guest",
      "voice: spoken by guest",
    ],
    // By inheritance alone: no list says anything new.
    (m) => m.world.roles[1].inherits = ["player"],
  ],
  [
    ["component Body, field name: written by player"],
    (m) => delete m.world.components[0].fields.name.write,
  ],
  [
    ["component Body, field mood: value cross"],
    (m) => m.world.components[0].fields.mood.values.push("cross"),
  ],
  [
    ["component Body, field name: bytes 21, was 20"],
    (m) => m.world.components[0].fields.name.maxBytes = 21,
  ],
  [
    ["component Body, field score: smallest value 9, was 10"],
    (m) => m.world.components[0].fields.score.min = 9,
  ],
  [
    ["component Body, field score: largest value 21, was 20"],
    (m) => m.world.components[0].fields.score.max = 21,
  ],
  [
    ["component Body, field score: type u16, was u8"],
    (m) => m.world.components[0].fields.score.type = "u16",
    [
      "component Body, field score: type u8, was u16",
    ],
  ],
  [
    ["component Body, field position: step 0.001, was 0.01"],
    (m) => m.world.components[0].fields.position.precision = 0.001,
  ],
  [
    [
      "component Body, field rotation: largest error 0.137 degrees (bits 11), was 0.275 degrees (bits 10)",
    ],
    (m) => m.world.components[0].fields.rotation.bits = 11,
  ],
  [
    [
      "component Body, field rotation: largest error 0.2 degrees (precision), was 0.275 degrees (bits 10)",
    ],
    (m) => m.world.components[0].fields.rotation = { type: "quat", precision: 0.2 },
  ],
  [["component Body: values a second 21, was 20"], (m) => m.world.components[0].rateHz = 21],
  [
    ["component Body: interest radius, m, 41, was 40"],
    (m) => m.world.components[0].interestRadius = 41,
  ],
  [
    ["component Body: weight 2, was 1"],
    (m) => m.world.components[0].weight = 2,
  ],
  [
    ["component Body: interest radius, m, everywhere, was 40"],
    (m) => m.world.components[0].interestRadius = 0,
  ],
  [["component Body: spawned by guest"], (m) => {
    m.world.components[0].write = ["player", "guest"];
    for (const field of Object.values<Loose>(m.world.components[0].fields)) field.write ??= [];
    m.world.components[0].spawn.roles = ["player", "guest"];
  }, [
    "component Body, field position: written by player",
    "component Body, field rotation: written by player",
    "component Body, field mood: written by player",
    "component Body, field score: written by player",
  ]],
  [
    ["component Body: entities that one peer may spawn 3, was 2"],
    (m) => m.world.components[0].spawn.maxPerPeer = 3,
  ],
  [["event Wave: sent by guest"], (m) => m.world.events[0].send = ["player", "guest"]],
  [["event Wave: events a second 11, was 10"], (m) => m.world.events[0].rateHz = 11],
  [
    ["event Wave: ms that one waits for its state 501, was 500"],
    (m) => m.world.events[0].waitMs = 501,
  ],
  [["event Wave: if late deliver, was drop"], (m) => m.world.events[0].late = "deliver"],
  [["event Wave, field who: carried"], (m) => m.world.events[0].fields.who = { type: "entity" }],
  [
    ["event Wave, field size: largest value 2, was 1"],
    (m) => m.world.events[0].fields.size.max = 2,
  ],
  [["channel script/*: sent by guest"], (m) => m.world.channels[1].send = ["player", "guest"]],
  [
    ["channel chat: bytes of a message 20000, was 16384"],
    (m) => m.world.channels[0].maxBytes = 20_000,
  ],
  [["channel chat: messages a second 61, was 60"], (m) => m.world.channels[0].rateHz = 61],
  [["channel script/*: open at once 9, was 8"], (m) => m.world.channels[1].maxOpen = 9],
  [
    ["channel script/*: mode reliable, was unreliable"],
    (m) => m.world.channels[1].mode = "reliable",
    ["channel script/*: mode unreliable, was reliable"],
  ],
  [["voice: spoken by guest"], (m) => m.world.voice.speak = ["player", "guest"]],
  [["voice: range, m, 26, was 25"], (m) => m.world.voice.range = 26],
  [["voice: bytes of a frame 401, was 400"], (m) => m.world.voice.maxFrameBytes = 401],
  [["voice: frames a second 51, was 50"], (m) => m.world.voice.rateHz = 51],
  [["world: ms that a lost peer's place is kept 1001, was 1000"], (m) => m.world.resumeMs = 1001],
  [["world: ms that replaced values are kept 2001, was 2000"], (m) => m.world.historyMs = 2001],
  [["world: entities 4097, was 4096"], (m) => m.world.maxEntities = 4097],
  [["world: peers 65, was 64"], (m) => m.world.maxPeers = 65],
  [
    ["world: entities that one peer may own by spawning 65, was 64"],
    (m) => m.world.maxEntitiesPerPeer = 65,
  ],
  [["world: ticks a second 31, was 30"], (m) => m.world.tickHz = 31],
  [
    ["component Body, field mood: leaves this host, no longer denied"],
    (m) => m.host.deny.components.Body.send = ["name"],
  ],
  [
    ["component Body, field score: enters this host, no longer denied"],
    (m) => m.host.deny.components.Body.receive = ["position", "rotation", "mood", "name"],
  ],
  [["event Wave: leaves this host, no longer denied"], (m) => delete m.host.deny.events],
  [["channel chat: enters this host, no longer denied"], (m) => delete m.host.deny.channels],
  [["voice: leaves this host, no longer denied"], (m) => delete m.host.deny.voice],
  [
    ["host: bytes a second to one peer 10001, was 10000"],
    (m) => m.host.limits.peerBytesPerSecond = 10_001,
  ],
  [["host: script heap, MB, 65, was 64"], (m) => m.host.limits.heapMb = 65],
  [["host: script heap, MB, the runtime's own, was 64"], (m) => delete m.host.limits.heapMb],
  [["host: resident memory, MB, 513, was 512"], (m) => m.host.limits.memoryMb = 513],
  [
    ["host: resident memory, MB, as its world may need, was 512"],
    (m) => delete m.host.limits.memoryMb,
  ],
  [
    ["host: seconds that log entries are kept 11, was 10"],
    (m) => m.host.privacy.retentionSeconds = 11,
  ],
  [
    ["host: log entries down to level debug, was warn"],
    (m) => m.host.privacy.logLevel = "debug",
  ],
  [["host: listens on 0.0.0.0:4433"], (m) => m.host.listen = "0.0.0.0:4433", [
    "host: listens on 127.0.0.1:4433",
  ]],
  [["host: socket other.sock"], (m) => m.host.engineSocket = "other.sock", [
    "host: socket engine.sock",
  ]],
  [
    ["host: reads certs/c.pem", "host: reads /k.pem"],
    (m) => m.host.certificate = { certFile: "./certs//x/../c.pem", keyFile: "/k.pem" },
  ],
  [
    ["host: a sealed driver may take b.sock as its engineSocket"],
    (m) => m.host.overridable = { engineSocket: ["./b.sock"] },
  ],
  [[], (m) => m.host.engineSocket = "./a/../engine.sock"],
  [[], (m) => m.world.events[0].id = 77],
  [[], (m) => m.world.components.reverse()],
];

Deno.test("addedRights() tells each way to widen a manifest in its line, and nothing when it is taken back", () => {
  for (const [lines, change, back = []] of CHANGES) {
    assertEquals(added(richManifest, change), [...lines]);
    const wide = richManifest();
    change(wide);
    assertEquals(addedRights(both(wide), both(richManifest())), [...back], lines.join());
  }
});

Deno.test("addedRights() tells every right of what is new, and none of its bounds", () => {
  const lines = added(smallManifest, (m) => {
    m.world.components.push({
      id: 2,
      name: "Secret",
      fields: { word: { type: "string", maxBytes: 9 } },
      authority: "server",
      read: ["owner"],
    });
    m.world.events.push({ id: 2, name: "Hit", send: ["server"], receive: ["guest"] });
    m.world.roles.push({ id: 3, name: "judge", inherits: ["guest"] });
  });
  assertEquals(lines.filter((one) => !one.endsWith(" by judge")), [
    "component Secret, field word: read by server",
    "component Secret, field word: written by server",
    "component Secret: spawned by server",
    "event Hit: sent by server",
    "event Hit: received by guest",
    "component Secret, field word: read by its owner",
  ]);
  // The new role reads, hears and receives as guests do.
  assertEquals(lines.filter((one) => one.endsWith(" by judge")), [
    "component Body, field position: read by judge",
    "component Body, field rotation: read by judge",
    "event Wave: received by judge",
    "event Hit: received by judge",
    "channel chat: sent by judge",
    "channel chat: received by judge",
    "voice: heard by judge",
  ]);
});

Deno.test("addedRights() tells a zone that is opened or gone and roles that see into it, and none that hides more", () => {
  const start = () => {
    const value = richManifest();
    value.world.roles.push({ id: 9, name: "judge", inherits: [value.world.defaultRole] });
    value.world.zones = [
      { id: 1, name: "room", seenBy: ["judge"] },
      { id: 2, name: "yard", closed: false },
    ];
    return value;
  };
  const roles = start().world.roles.map((one: Loose) => one.name);
  const changes: readonly [readonly string[], (m: Loose) => unknown][] = [
    [["zone room: gone, was closed"], (m) => m.world.zones.shift()],
    [[], (m) => m.world.zones.pop()],
    [[], (m) => m.world.zones[1].closed = true],
    [[], (m) => m.world.zones[0].seenBy = []],
    [[], (m) => m.world.zones[0].id = 7],
    [
      roles.filter((one: string) => one !== "judge")
        .map((one: string) => `zone room: seen into from elsewhere by ${one}`),
      (m) => m.world.zones[0] = { id: 1, name: "room", closed: false },
    ],
    [
      [`zone room: seen into from elsewhere by ${roles[0]}`],
      (m) => m.world.zones[0].seenBy = ["judge", roles[0]],
    ],
    [[], (m) => m.world.zones.push({ id: 3, name: "cell", seenBy: [roles[0]] })],
    [
      [
        `world: a peer joins as judge, was ${start().world.defaultRole}, which adds "zone room: seen into from elsewhere"`,
      ],
      (m) => m.world.defaultRole = "judge",
    ],
  ];
  for (const [lines, change] of changes) assertEquals(added(start, change), lines);
});

Deno.test("addedRights() tells what peers gain that join in another role", () => {
  const toPlayer = (m: Loose) => m.world.defaultRole = "player";
  const start = () => {
    const value = smallManifest();
    value.world.defaultRole = "guest";
    return value;
  };
  assertEquals(added(start, toPlayer), [
    'world: a peer joins as player, was guest, which adds "component Body, field position: written" and 4 more',
  ]);
  assertEquals(added(smallManifest, (m) => m.world.defaultRole = "guest"), []);
});

Deno.test("addedRights() tells who may join that could not", () => {
  const key = "A".repeat(43);
  const closed = () => {
    const value = smallManifest();
    value.world.identity = { anonymous: false, issuers: [key.replace("A", "B")] };
    return value;
  };
  assertEquals(added(closed, (m) => m.world.identity.anonymous = true), [
    "world: anybody may join",
  ]);
  assertEquals(
    added(closed, (m) => m.world.identity.issuers.push(key)),
    [`world: takes join tokens of ${key}`],
  );
  assertEquals(addedRights(both(smallManifest()), both(closed())).length, 1);
});

Deno.test("addedRights() tells a client's endpoints and whom it trusts", () => {
  const of = (change: (host: Loose) => unknown) => added(clientManifest, (m) => change(m.host));
  assertEquals(of((h) => h.connect.push("10.1.9.9:4433", "10.1.128.0/17:4433")), []);
  assertEquals(of((h) => h.connect.push("10.2.0.1:4433", "10.1.9.9:4434", "10.0.0.0/8:4433")), [
    "host: connects to 10.2.0.1:4433",
    "host: connects to 10.1.9.9:4434",
    "host: connects to 10.0.0.0/8:4433",
  ]);
  assertEquals(of((h) => h.connect = ["Play.Example.org:4433"]), []);
  assertEquals(of((h) => h.pin = "b".repeat(64)), [
    `host: trusts the certificate ${"b".repeat(64)}`,
  ]);
  assertEquals(of((h) => delete h.pin), ["host: trusts whatever certificate its engine names"]);
  assertEquals(
    of((h) => {
      delete h.pin;
      h.caFile = "ca.pem";
    }),
    ["host: reads ca.pem, and trusts its authority"],
  );
  const trusting = () => {
    const value = clientManifest();
    delete value.host.pin;
    return value;
  };
  assertEquals(added(trusting, (m) => m.host.pin = "b".repeat(64)), []);
  const server = smallManifest();
  assertEquals(addedRights(both(clientManifest()), both(server)), [
    "host: role server, was client",
    "host: listens on 127.0.0.1:4433",
  ]);
});

/** What may be read and written by the gate's answers alone, this host's own denials left out. */
function answers(grants: Grants): { readonly rights: Set<string>; readonly open: Set<string> } {
  const gate = new Gate({
    ...grants,
    components: grants.components.map((one) => ({
      ...one,
      hostSendMask: one.allFields,
      hostReceiveMask: one.allFields,
    })),
  });
  const rights = new Set<string>();
  const open = new Set<string>();
  for (const component of grants.components) {
    for (const { index: field, name } of component.fields) {
      const at = `component ${component.name}, field ${name}:`;
      const reads = (roleIndex: number, isOwner: boolean) =>
        gate.decideRead({ component: component.index, field, roleIndex, isOwner }).allowed;
      for (const { index: roleIndex, name: role } of grants.roles) {
        if (reads(roleIndex, false)) rights.add(`${at} read by ${role}`);
        const write = { component: component.index, mask: 1 << field, roleIndex, isOwner: true };
        if (gate.decideWrite({ ...write, direction: "in" }).allowed) {
          rights.add(`${at} written by ${role}`);
        }
      }
      const everyRole = (isOwner: boolean) =>
        grants.roles.every(({ index }) => reads(index, isOwner));
      if (everyRole(true)) rights.add(`${at} read by its owner`);
      if (everyRole(false)) open.add(`${at} read by its owner`);
    }
  }
  return { rights, open };
}

Deno.test("addedRights() of any two manifests names exactly the reads and writes that their gates answer anew", () => {
  fc.assert(
    fc.property(manifestArbitrary, manifestArbitrary, (a, b) => {
      const [before, now] = [both(a), both(b)];
      const was = answers(before.grants);
      const is = answers(now.grants);
      const expected = [...is.rights].filter((one) => !was.rights.has(one) && !is.open.has(one));
      const lines = addedRights(before, now).filter((one) => /: (read|written) by /.test(one));
      assertEquals(lines.sort(), expected.sort());
      assertEquals(addedRights(now, now), []);
    }),
    { seed: 8, numRuns: 120 },
  );
});

Deno.test("addedRights() tells each check that is loosened or gone, and none that is stricter or new", () => {
  const start = () => {
    const value = smallManifest();
    value.world.roles.push({ id: 3, name: "judge" });
    const body = value.world.components[0];
    body.write = ["player", "judge"];
    body.checks = {
      position: {
        bounds: { min: [-5, -5, -5], max: [5, 5, 5] },
        maxSpeed: 8,
        maxAcceleration: 60,
        maxStep: 2,
        rateHz: 20,
      },
    };
    return value;
  };
  const at = "component Body, field position:";
  const position = (m: Loose) => m.world.components[0].checks.position;
  const changes: readonly (readonly [string[], (m: Loose) => unknown])[] = [
    [[`${at} checked speed 9, was 8`], (m) => position(m).maxSpeed = 9],
    [[`${at} checked speed without limit, was 8`], (m) => delete position(m).maxSpeed],
    [[`${at} checked acceleration 61, was 60`], (m) => position(m).maxAcceleration = 61],
    [[`${at} checked step 3, was 2`], (m) => position(m).maxStep = 3],
    [[`${at} checked changes a second 21, was 20`], (m) => position(m).rateHz = 21],
    [[`${at} checked smallest value of y -6, was -5`], (m) => position(m).bounds.min[1] = -6],
    [[`${at} checked largest value of z 6, was 5`], (m) => position(m).bounds.max[2] = 6],
    [[`${at} if a check is violated, clamp, was reject`], (m) => position(m).onViolation = "clamp"],
    [
      [`${at} if a check is violated, report, was reject`],
      (m) => position(m).onViolation = "report",
    ],
    [[`${at} not judged of judge`], (m) => position(m).exempt = ["judge"]],
    [[
      `${at} checked speed without limit, was 8`,
      `${at} checked acceleration without limit, was 60`,
      `${at} checked step without limit, was 2`,
      `${at} checked changes a second without limit, was 20`,
      ...["x", "y", "z"].flatMap((axis) => [
        `${at} checked smallest value of ${axis} without limit, was -5`,
        `${at} checked largest value of ${axis} without limit, was 5`,
      ]),
    ], (m) => m.world.components[0].checks = {}],
    [[], (m) => m.world.components[0].checks.rotation = { maxSpeed: 3, exempt: ["judge"] }],
  ];
  for (const [lines, change] of changes) {
    assertEquals(added(start, change), lines);
    const changed = start();
    change(changed);
    if (lines.length > 0) assertEquals(addedRights(both(changed), both(start())), []);
  }
  // What nobody but the server writes is not judged either way.
  assertEquals(
    added(start, (m) => {
      m.world.components[0].fields.position.write = [];
      m.world.components[0].checks = {};
    }),
    [],
  );
});

/** Everything that a manifest compiles to, and where it is compared. A key that is missing here may let a right be added unseen. */
const COMPARED: Readonly<Record<string, readonly string[]>> = {
  grants:
    "tickHz historyMs maxEntities maxPeers maxEntitiesPerPeer resumeMs roles defaultRole components events channels zones voice identity peerBytesPerSecond joinBytesPerSecond joinMs"
      .split(" "),
  component:
    "name fields authority readMasks ownerReadMask writeMasks grantableRead grantableWrite spawnRoles spawnMax rateHz interestRadius weight positionField hostSendMask hostReceiveMask checks"
      .split(" "),
  field: "name kind min max precision bits maxBytes values".split(" "),
  event: "name fields sendRoles receiveRoles rateHz late waitMs hostSend hostReceive".split(" "),
  channel: "name mode sendRoles receiveRoles maxBytes rateHz maxOpen hostSend hostReceive".split(
    " ",
  ),
  zone: ["name", "closed", "seenByRoles"],
  voice: "speakRoles hearRoles range maxFrameBytes rateHz hostSend hostReceive".split(" "),
  host: "role engineSocket listen connect certificate pin caFile overridable limits privacy deny"
    .split(" "),
  limits: ["peerBytesPerSecond", "joinBytesPerSecond", "joinMs", "heapMb", "memoryMb"],
  privacy: ["retentionSeconds", "logLevel"],
};

/** Keys that say how a value is named or laid out, and let nothing pass. */
const LAYOUT: readonly string[] = [
  ...["version", "schemaHash", "worldName", "index", "id", "allFields", "namespace"],
  ...["laneCount", "blobCount", "rowBytes", "lanes", "laneOffset", "blobIndex", "rowOffset"],
];

Deno.test("addedRights() knows every key of grants and host", async () => {
  const { hostSchema } = await import("../../permissions/host_schema.ts");
  const grants = compiled(richManifest());
  const samples: Record<string, object> = {
    grants,
    component: grants.components[0]!,
    field: grants.components[0]!.fields[0]!,
    event: grants.events[0]!,
    channel: grants.channels[0]!,
    zone: compiled({
      ...richManifest(),
      world: { ...richManifest().world, zones: [{ id: 1, name: "room" }] },
    }).zones[0]!,
    voice: grants.voice,
    host: hostSchema.shape,
    limits: hostSchema.shape.limits.unwrap().shape,
    privacy: hostSchema.shape.privacy.unwrap().shape,
  };
  for (const [kind, sample] of Object.entries(samples)) {
    const unknown = Object.keys(sample)
      .filter((key) => !COMPARED[kind]!.includes(key) && !LAYOUT.includes(key));
    assertEquals(unknown, [], `compare these keys of ${kind} in widening.ts, and list them here`);
  }
});

Deno.test("addedRights() tells that interest and voice are measured from another field", () => {
  const start = () => {
    const value = smallManifest();
    value.world.components[0].fields.anchor = { ...value.world.components[0].fields.position };
    return value;
  };
  assertEquals(added(start, (m) => m.world.components[0].position = "anchor"), [
    "component Body: position in anchor, was position",
  ]);
});

Deno.test("addedRights() compares `bits` and `precision` of a quat by their largest error, both ways", () => {
  const turned = (rotation: Loose) => {
    const value = richManifest();
    value.world.components[0].fields.rotation = { type: "quat", ...rotation };
    return both(value);
  };
  // Bits 10 leave 0.275 degrees, 11 leave 0.137: coarser first.
  const order = [
    { precision: 5 },
    { bits: 9 },
    { precision: 0.28 },
    { bits: 10 },
    { precision: 0.27 },
    { precision: 0.14 },
    { bits: 11 },
    { precision: 0.13 },
    { bits: 16 },
  ];
  for (const [i, coarse] of order.entries()) {
    for (const [j, fine] of order.entries()) {
      const lines = addedRights(turned(coarse), turned(fine));
      assertEquals(lines.length, j > i ? 1 : 0, `${JSON.stringify([coarse, fine])}: ${lines}`);
    }
  }
});
