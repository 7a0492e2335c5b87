import { assert, assertEquals } from "@std/assert";
import { encode } from "@std/msgpack";
import { listenForDriver } from "../../engine/listen.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { Rule } from "../../permissions/rule.ts";
import { encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import {
  ENGINE_BACKLOG_BYTES,
  ENGINE_TIMEOUT_MS,
  MAX_DENIAL_KINDS,
  MAX_ENGINE_FRAME_BYTES,
  MAX_OPEN_CHANNELS,
} from "../../protocol/limits.ts";
import { batchOf, helloOf, joinedOf, LinkBed, rowsOf, spawnBatch } from "../support/fake_driver.ts";
import {
  CANARY,
  CANARY_NUMBER,
  CanaryBed,
  canaryForms,
  copyWorld,
  GRANTED,
  holds,
  HOSTILE_GRANTS,
  HostileMouth,
  Onlooker,
  PLAYER_PEER,
  SPECTATOR_PEER,
} from "../support/hostile_driver.ts";
import { createPrng } from "../support/prng.ts";
import { buildComponents } from "../support/sample_grants.ts";

const REMOTE = 0x8000_0001;
const OTHER = 0x8000_0002;

type Role = "server" | "client";

/** A bed with remote entities: `REMOTE` of a player with a name and a badge, `OTHER` of the spectator. */
function stage(role: Role): CanaryBed {
  const bed = new CanaryBed(role);
  bed.flush();
  bed.say({ kind: "named", pairs: Uint32Array.of(bed.own[0]!, 500, bed.own[1]!, 501) });
  // The spectator was a player when it made this one.
  if (role === "server") bed.giveRole(SPECTATOR_PEER, "player");
  bed.say(
    spawnBatch(bed.grants, REMOTE, 70, PLAYER_PEER, { Name: { text: "ann" } }),
    spawnBatch(bed.grants, OTHER, 71, SPECTATOR_PEER, { Name: { text: "bob" } }),
  );
  if (role === "server") bed.giveRole(SPECTATOR_PEER, "spectator");
  bed.flush();
  bed.takeGiven();
  bed.takeLog();
  assertEquals(bed.world.size, 6);
  assertEquals(bed.link.stats.denials, 0);
  return bed;
}

function rows(
  bed: CanaryBed,
  name: string,
  handle: number,
  values: ComponentValues,
  mask?: number,
): ToEngine {
  return batchOf({ components: [rowsOf(bed.component(name), [[handle, values]], mask)] });
}

/** Rows of a component that the manifest does not name. */
function undeclaredRows(handle: number): ToEngine {
  return batchOf({
    components: [{
      componentId: 99,
      handles: Uint32Array.of(handle),
      masks: Uint32Array.of(1),
      rows: Uint8Array.of(1, 2, 3, 4),
      times: Float64Array.of(0),
    }],
  });
}

const event = (eventId: number, from: number, row: Uint8Array): ToEngine => ({
  kind: "event",
  eventId,
  from,
  time: 6_400,
  late: false,
  row,
});

const voice = (handle: number, bytes = 40): ToEngine => ({
  kind: "voice",
  handle,
  sequence: 1,
  time: 6_400,
  position: new Float64Array(0),
  frame: new Uint8Array(bytes).fill(9),
});

const open = (peer: number, channelId = 1, channel = 0x8000_0001): ToEngine => ({
  kind: "channelOpen",
  channel,
  channelId,
  name: "",
  peer,
});

const WAVE = Uint8Array.of(0, 0, 0, 0, 2, 0, 0, 0, 104, 105);
const PLACE = new Uint8Array(12);
const wild = (value: number) => {
  const row = new Uint8Array(28);
  new DataView(row.buffer).setFloat32(0, value, true);
  new DataView(row.buffer).setFloat32(24, 1, true);
  return row;
};
const transform = (handle: number, row: Uint8Array): ToEngine =>
  batchOf({
    components: [{
      componentId: 1,
      handles: Uint32Array.of(handle),
      masks: Uint32Array.of(3),
      rows: row,
      times: Float64Array.of(0),
    }],
  });
const pairs = (...words: number[]) => Uint32Array.from(words);

interface Attack {
  readonly name: string;
  readonly role: Role;
  readonly say: (bed: CanaryBed) => ToEngine | readonly ToEngine[];
  /** Key of the denial that must be counted; `late` and `reports`: counted there instead. */
  readonly counted: string;
}

const ATTACKS: readonly Attack[] = [
  // State.
  ...(["server", "client"] as const).flatMap((role): Attack[] => [
    {
      name: "an undeclared component",
      role,
      say: () => undeclaredRows(REMOTE),
      counted: "undeclared component 99",
    },
    {
      name: "an undeclared component is removed",
      role,
      say: () => batchOf({ removes: pairs(REMOTE, 99) }),
      counted: "undeclared component 99",
    },
    {
      name: "a field beyond the last",
      role,
      say: (bed) => {
        const { components: [row], ...rest } = rows(bed, "Name", REMOTE, { text: "x" }) as Extract<
          ToEngine,
          { kind: "batch" }
        >;
        return { ...rest, components: [{ ...row!, masks: pairs(0b11) }] };
      },
      counted: "range component 3",
    },
    {
      name: "a handle that nobody has",
      role,
      say: (bed) => rows(bed, "Name", 0x8000_0abc, { text: "x" }),
      counted: "entityUnknown component 0",
    },
    {
      name: "an entity that is this engine's alone",
      role,
      say: (bed) => rows(bed, "Name", bed.local[0]!, { text: "x" }),
      counted: "entityUnknown component 0",
    },
    {
      name: "the end of an entity that is this engine's alone",
      role,
      say: (bed) => batchOf({ despawns: pairs(...bed.local) }),
      counted: "late",
    },
    {
      name: "a component removed from an entity that is this engine's alone",
      role,
      say: (bed) => batchOf({ removes: pairs(bed.local[0]!, 3) }),
      counted: "entityUnknown component 0",
    },
    {
      name: "the owner of an entity that is this engine's alone",
      role,
      say: (bed) => batchOf({ owners: pairs(bed.local[0]!, PLAYER_PEER, 1) }),
      counted: "entityUnknown component 0",
    },
    {
      name: "a spawn with a handle of the engine's half",
      role,
      say: (bed) => spawnBatch(bed.grants, 30, 90, PLAYER_PEER, { Name: { text: "x" } }),
      counted: "entityUnknown spawn 0",
    },
    {
      name: "a spawn with a handle that is local",
      role,
      say: (bed) => spawnBatch(bed.grants, bed.local[0]!, 90, PLAYER_PEER, { Name: {} }),
      counted: "entityUnknown spawn 0",
    },
    {
      name: "a spawn under another entity's id",
      role,
      say: (bed) => spawnBatch(bed.grants, 0x8000_0009, 70, PLAYER_PEER, { Name: {} }),
      counted: "entityUnknown spawn 0",
    },
    {
      name: "a handle named like another entity",
      role,
      say: (bed) => ({ kind: "named", pairs: pairs(bed.own[0]!, 70) }),
      counted: "entityUnknown spawn 0",
    },
    {
      name: "rows cut short",
      role,
      say: () => transform(REMOTE, new Uint8Array(27)),
      counted: "format component 0",
    },
    {
      name: "rows with bytes left over",
      role,
      say: () => transform(REMOTE, new Uint8Array(29)),
      counted: "format component 0",
    },
    {
      name: "a text with a length beyond the rows",
      role,
      say: () =>
        batchOf({
          components: [{
            componentId: 3,
            handles: pairs(REMOTE),
            masks: pairs(1),
            rows: Uint8Array.of(255, 255, 255, 255, 65),
            times: Float64Array.of(0),
          }],
        }),
      counted: "format component 0",
    },
    {
      name: "a text that is not UTF-8",
      role,
      say: () =>
        batchOf({
          components: [{
            componentId: 3,
            handles: pairs(REMOTE),
            masks: pairs(1),
            rows: Uint8Array.of(2, 0, 0, 0, 0xc3, 0x28),
            times: Float64Array.of(0),
          }],
        }),
      counted: "range component 3",
    },
    ...[NaN, Infinity, -Infinity, 1000.1, 1e30].map((value): Attack => ({
      name: `a position at ${value}`,
      role,
      say: () => transform(REMOTE, wild(value)),
      counted: "range component 1",
    })),
    {
      name: "a rotation of no length",
      role,
      say: () => transform(REMOTE, new Uint8Array(28)),
      counted: "range component 1",
    },
    // Signals.
    {
      name: "an undeclared event",
      role,
      say: () => event(77, PLAYER_PEER, WAVE),
      counted: "undeclared event 77",
    },
    {
      name: "an event that only the server sends, from a player",
      role,
      say: () => event(2, PLAYER_PEER, PLACE),
      counted: "role event 2",
    },
    {
      name: "an event from a role that may not send it",
      role,
      say: () => event(1, SPECTATOR_PEER, WAVE),
      counted: "role event 1",
    },
    {
      name: "this engine's own event",
      role,
      say: (bed) => event(1, bed.link.peer!, WAVE),
      counted: "peer event 1",
    },
    {
      name: "an event of the wrong form",
      role,
      say: () => event(1, PLAYER_PEER, WAVE.subarray(0, 9)),
      counted: "format event 1",
    },
    {
      name: "voice of an entity that nobody has",
      role,
      say: () => voice(0x8000_0abc),
      counted: "entityUnknown voice 0",
    },
    {
      name: "voice of an entity that is local",
      role,
      say: (bed) => voice(bed.local[0]!),
      counted: "entityUnknown voice 0",
    },
    {
      name: "voice of this engine's own entity",
      role,
      say: (bed) => voice(bed.own[0]!),
      counted: "notOwner voice 0",
    },
    {
      name: "voice of one that may not speak",
      role,
      say: () => voice(OTHER),
      counted: "role voice 0",
    },
    {
      name: "a frame above the declared size",
      role,
      say: () => voice(REMOTE, 401),
      counted: "size voice 0",
    },
    {
      name: "an undeclared channel",
      role,
      say: () => open(role === "server" ? PLAYER_PEER : 0, 9),
      counted: "undeclared channel 9",
    },
    {
      name: "a channel with a peer that it may not be opened with",
      role,
      say: () => open(role === "server" ? 9 : PLAYER_PEER),
      counted: "peer channel 1",
    },
    {
      name: "a channel of its own engine",
      role,
      say: (bed) => open(bed.link.peer!),
      counted: "peer channel 1",
    },
    {
      name: "data of a channel that is not open",
      role,
      say: () => ({
        kind: "channelData",
        channel: 0x8000_0055,
        piece: new Uint8Array(9),
        last: true,
      }),
      counted: "late",
    },
    {
      name: "an answer that was not asked for",
      role,
      say: () => ({ kind: "stateHash", request: 1, pairs: pairs(1, 2) }),
      counted: "",
    },
    {
      name: "a peer above the world's number",
      role,
      say: () => [1, 2, 3].map((peer) => ({ kind: "peerJoin", peer, roleId: 1, resumed: false })),
      counted: "peer peer 0",
    },
  ]),
  // What a client's own manifest keeps from it.
  {
    name: "a grant that the manifest lets nobody give",
    role: "client",
    say: (bed) => [
      { kind: "grantsChanged", adjustments: pairs(4, 0b10, 0, 0b10, 0) },
      rows(bed, "Health", REMOTE, { secret: 1 }),
    ],
    counted: "role component 4",
  },
  {
    name: "a grant that the manifest lets nobody give, and no more",
    role: "client",
    say: () => ({ kind: "grantsChanged", adjustments: pairs(4, 0b10, 0, 0b10, 0) }),
    counted: "notGrantable peer 4",
  },
  {
    name: "a grant of an undeclared component",
    role: "client",
    say: () => ({ kind: "grantsChanged", adjustments: pairs(99, 1, 0, 0, 0) }),
    counted: "undeclared peer 99",
  },
  {
    name: "a field that the role may not read",
    role: "client",
    say: (bed) => rows(bed, "Health", REMOTE, { secret: 1 }),
    counted: "role component 4",
  },
  {
    name: "a field that this host does not take in",
    role: "client",
    say: (bed) => rows(bed, "Narrowed", bed.own[1]!, { deaf: 9 }, 0b100),
    counted: "host component 8",
  },
  {
    name: "a component removed that no driver was told of",
    role: "client",
    say: () => batchOf({ removes: pairs(REMOTE, 4) }),
    counted: "late",
  },
  // What the holder of authority takes from nobody.
  {
    name: "a row of the server's entity",
    role: "server",
    say: (bed) => rows(bed, "Name", bed.own[0]!, { text: "mine" }),
    counted: "notOwner component 3",
  },
  {
    name: "a component that only the server writes",
    role: "server",
    say: (bed) => rows(bed, "Health", REMOTE, { points: 200 }),
    counted: "authority component 4",
  },
  {
    name: "a field that the owner's role may not write",
    role: "server",
    say: (bed) => [
      rows(bed, "Badge", REMOTE, { text: "x" }, 1),
      rows(bed, "Badge", REMOTE, { text: "x", level: 9 }),
    ],
    counted: "role component 7",
  },
  {
    name: "an entity whose owner may write nothing",
    role: "server",
    say: (bed) => rows(bed, "Name", OTHER, { text: "x" }),
    counted: "role component 3",
  },
  {
    name: "the end of the server's entity",
    role: "server",
    say: (bed) => batchOf({ despawns: pairs(...bed.own) }),
    counted: "notOwner despawn 0",
  },
  {
    name: "the refusal of a spawn that was taken up",
    role: "server",
    say: (bed) => ({ kind: "spawnRefused", handle: bed.own[0]!, rule: "spawnCount" }),
    counted: "notOwner spawn 0",
  },
  {
    name: "a component removed from the server's entity",
    role: "server",
    say: (bed) => batchOf({ removes: pairs(bed.own[0]!, 3) }),
    counted: "notOwner component 3",
  },
  {
    name: "the server's entity given to a peer",
    role: "server",
    say: (bed) => batchOf({ owners: pairs(bed.own[0]!, PLAYER_PEER, 1) }),
    counted: "notOwner component 0",
  },
  {
    name: "the server's entity given to a peer by spawning it again",
    role: "server",
    say: (bed) => spawnBatch(bed.grants, bed.own[0]!, 500, PLAYER_PEER, {}),
    counted: "notOwner component 0",
  },
  {
    name: "a peer's entity given to another peer",
    role: "server",
    say: () => batchOf({ owners: pairs(REMOTE, SPECTATOR_PEER, 1) }),
    counted: "notOwner component 0",
  },
  {
    name: "a component out of the authority's view",
    role: "server",
    say: () => batchOf({ hides: pairs(REMOTE, 3) }),
    counted: "direction component 3",
  },
  {
    name: "a spawn of the server's",
    role: "server",
    say: (bed) => spawnBatch(bed.grants, 0x8000_0009, 90, 0, { Name: {} }),
    counted: "authority spawn 0",
  },
  {
    name: "a spawn of a peer that is not there",
    role: "server",
    say: (bed) => spawnBatch(bed.grants, 0x8000_0009, 90, 9, { Name: {} }),
    counted: "peer spawn 0",
  },
  {
    name: "a spawn of a role that may not spawn",
    role: "server",
    say: (bed) => spawnBatch(bed.grants, 0x8000_0009, 90, SPECTATOR_PEER, { Name: {} }),
    counted: "spawnRole spawn 0",
  },
  {
    name: "a spawn with a component that peers may not spawn",
    role: "server",
    say: (bed) => spawnBatch(bed.grants, 0x8000_0009, 90, PLAYER_PEER, { Name: {}, Health: {} }),
    counted: "spawnRole spawn 0",
  },
  {
    name: "a component added that the role may not add",
    role: "server",
    say: (bed) => rows(bed, "Badge", OTHER, { text: "x" }, 1),
    counted: "role component 7",
  },
  {
    name: "a peer in the role that its driver would like",
    role: "server",
    say: () => ({ kind: "roleChanged", peer: PLAYER_PEER, roleId: 2 }),
    counted: "role peer 0",
  },
  {
    name: "an identity without a token that holds",
    role: "server",
    say: () => ({
      kind: "identity",
      peer: 8,
      token: new TextEncoder().encode("e30.e30.AAAA"),
      challenge: new Uint8Array(32),
      pin: new Uint8Array(32),
      signature: new Uint8Array(64),
    }),
    counted: "role peer 0",
  },
  {
    name: "an event from a peer that is not there",
    role: "server",
    say: () => event(1, 9, WAVE),
    counted: "peer event 1",
  },
  {
    name: "a signature under anything",
    role: "client",
    say: () => ({ kind: "sign", request: 1, bytes: new Uint8Array(144).fill(3) }),
    counted: "format signature 0",
  },
];

for (const { name, role, say, counted } of ATTACKS) {
  Deno.test(`EngineLink of a ${role} lets nothing in and says why, when its driver sends ${name}`, () => {
    const bed = stage(role);
    // Rows that make the ground for an attack may pass.
    const said = [say(bed)].flat();
    bed.say(...said.slice(0, -1));
    bed.takeLog();
    const before = copyWorld(bed.world);
    const peers = bed.link.peers;
    const owners = [...before.keys()].map((handle) => bed.link.ownerOf(handle));
    bed.link.onEvent = () => bed.log.push("event");
    bed.link.onVoice = () => bed.log.push("voice");
    bed.link.onChannel = () => bed.log.push("channel");
    bed.link.onSign = () => void bed.log.push("sign");
    bed.link.onIdentity = () => bed.log.push("identity");
    const denials = bed.link.denialTotals.get(counted) ?? 0;
    const { lateEntries } = bed.link.stats;
    bed.say(said.at(-1)!);
    bed.flush();
    assertEquals(copyWorld(bed.world), before);
    assertEquals([...before.keys()].map((handle) => bed.link.ownerOf(handle)), owners);
    assertEquals(bed.link.peers, peers);
    assert(!bed.link.wantsClose, "a frame that parses ends nothing");
    if (counted === "late") assert(bed.link.stats.lateEntries > lateEntries);
    else if (counted !== "") {
      const now = bed.link.denialTotals.get(counted) ?? 0;
      assert(now > denials, `${[...bed.link.denialTotals.keys()]}`);
      assert(bed.log.length > 0, "game code is told");
    }
    assertEquals(bed.log.filter((entry) => !entry.startsWith("denied engine ")), []);
    assertEquals(bed.link.stats.channels, 0);
  });
}

Deno.test("the attacks above are seen: what a driver may do comes through the same way", () => {
  const bed = stage("server");
  bed.link.onEvent = (name) => bed.log.push(`event ${name}`);
  bed.link.onVoice = (handle) => bed.log.push(`voice ${handle}`);
  bed.link.onChannel = ({ name }) => bed.log.push(`channel ${name}`);
  bed.say(
    rows(bed, "Name", REMOTE, { text: "eve" }),
    event(1, PLAYER_PEER, WAVE),
    voice(REMOTE),
    open(PLAYER_PEER),
    batchOf({ owners: pairs(OTHER, 0, 1) }),
  );
  assertEquals(bed.world.read(REMOTE, "Name"), { text: "eve" });
  assertEquals(bed.takeLog(), [
    `change ${REMOTE} Name text`,
    "event Wave",
    `voice ${REMOTE}`,
    "channel chat",
    `owner ${OTHER} 0 1`,
  ]);
});

Deno.test("EngineLink of a client never takes the server's role, and no driver puts anyone else in it", () => {
  for (
    const message of [
      { kind: "roleChanged", peer: 5, roleId: 0 },
      { kind: "roleChanged", peer: PLAYER_PEER, roleId: 0 },
      { kind: "peerJoin", peer: 8, roleId: 0, resumed: false },
      { kind: "peerJoin", peer: 0xffff, roleId: 1, resumed: false },
    ] as const
  ) {
    for (const role of ["client", "server"] as const) {
      const bed = stage(role);
      bed.say(message);
      assert(bed.link.wantsClose, JSON.stringify(message));
      assertEquals(bed.link.roleName, role === "client" ? "player" : "server");
      assertEquals(bed.link.stats.faultyFrames, 1);
    }
  }
});

Deno.test("EngineLink judges a peer by the role that the engine gave it, when its driver never says so", () => {
  const bed = stage("server");
  bed.link.setRole(PLAYER_PEER, "spectator");
  bed.flush();
  // What was under way is no offence.
  bed.say(rows(bed, "Name", REMOTE, { text: "before" }));
  assertEquals(bed.world.read(REMOTE, "Name"), { text: "before" });
  bed.takeLog();
  for (let i = 0; i < 6; i++) {
    bed.pass(1_000);
    bed.say({ kind: "pong", time: 0 });
  }
  assertEquals(bed.takeLog(), [`role ${PLAYER_PEER} spectator`]);
  bed.say(rows(bed, "Name", REMOTE, { text: "after" }), voice(REMOTE), event(1, PLAYER_PEER, WAVE));
  assertEquals(bed.world.read(REMOTE, "Name"), { text: "before" });
  assertEquals(
    ["role component 3", "role voice 0", "role event 1"].map((key) =>
      bed.link.denialTotals.get(key)
    ),
    [1, 1, 1],
  );
});

Deno.test("EngineLink takes no more spawns of a peer than its role has, when they come in one batch", () => {
  const bed = stage("server");
  const handles = Array.from({ length: 8 }, (_, i) => 0x8000_0100 + i);
  const badges = handles.map((handle) => [handle, { text: "b" }] as const);
  bed.say(batchOf({
    spawns: Uint32Array.from(handles),
    spawnIds: Uint32Array.from(handles, (_, i) => 200 + i),
    spawnOwners: new Uint32Array(8).fill(PLAYER_PEER),
    components: [rowsOf(bed.component("Badge"), badges, 1)],
  }));
  const { spawnMax } = bed.component("Badge");
  assertEquals(handles.filter((handle) => bed.world.has(handle)).length, spawnMax);
  assertEquals(bed.link.denialTotals.get("spawnCount spawn 0"), 8 - spawnMax);
  // Nor by adding to what is there: names up to the number of entities, then badges to them.
  const named = Array.from({ length: 5 }, (_, i) => 0x8000_0200 + i);
  bed.say(
    ...named.map((handle, i) =>
      spawnBatch(bed.grants, handle, 300 + i, PLAYER_PEER, { Name: { text: "n" } })
    ),
  );
  const there = [...bed.world.handles()].filter((one) => bed.link.ownerOf(one) === PLAYER_PEER);
  assertEquals(there.length, bed.grants.maxEntitiesPerPeer);
  const narrowed = there.map((handle) => [handle, { open: 1 }] as const);
  bed.say(batchOf({ components: [rowsOf(bed.component("Narrowed"), narrowed, 1)] }));
  const have = there.filter((handle) => bed.world.read(handle, "Narrowed") !== undefined);
  assertEquals(have.length, bed.component("Narrowed").spawnMax);
});

Deno.test("EngineLink adds nothing to an entity that its next driver has not named yet, when the owner may not add it", () => {
  const bed = stage("server");
  bed.hangUp();
  bed.comeIn(true);
  bed.giveRole(SPECTATOR_PEER, "player");
  bed.takeLog();
  // Spawned as a player's, with all the badges that it may have, the last by a row for an entity that is not confirmed.
  const handles = [0x8000_0100, 0x8000_0101, 0x8000_0102];
  bed.say(
    ...handles.map((handle, i) =>
      spawnBatch(bed.grants, handle, 200 + i, SPECTATOR_PEER, { Badge: {} })
    ),
  );
  bed.say(rows(bed, "Badge", OTHER, { text: "x" }, 1));
  assertEquals(bed.world.read(OTHER, "Badge"), undefined);
  assertEquals(bed.link.denialTotals.get("spawnCount component 7"), 1);
});

Deno.test("EngineLink hears voice and events no more often than declared, however fast a driver sends them", () => {
  for (const role of ["server", "client"] as const) {
    const bed = stage(role);
    let voices = 0;
    let events = 0;
    bed.link.onVoice = () => voices += 1;
    bed.link.onEvent = () => events += 1;
    for (let ms = 0; ms < 20_000; ms += 10) {
      bed.nowMs += 10;
      for (let i = 0; i < 3; i++) bed.say(voice(REMOTE), event(1, PLAYER_PEER, WAVE));
    }
    const { voice: speech, events: [wave] } = bed.grants;
    // Twenty seconds, and what may have waited for five (voice) or eight (events) while nobody read.
    assert(voices > speech.rateHz * 20 && voices < speech.rateHz * 1.25 * 26, `${voices} frames`);
    assert(events > wave!.rateHz * 20 && events < wave!.rateHz * 1.25 * 30, `${events} events`);
    assert((bed.link.denialTotals.get("rate voice 0") ?? 0) > 1_000);
    assert((bed.link.denialTotals.get("rate event 1") ?? 0) > 1_000);
  }
});

Deno.test("EngineLink tells game code no more reports than a driver sums up, when it is flooded with them", () => {
  const bed = stage("client");
  let told = 0;
  bed.link.onDenied = () => told += 1;
  bed.link.onStats = () => told += 1;
  const denial = {
    door: "remote",
    rule: "x".repeat(32),
    peer: 9,
    subject: "y".repeat(32),
    id: 0,
    fields: 0,
    handle: 0,
    count: 1,
  } as const;
  for (let i = 0; i < 5_000; i++) {
    bed.say({ kind: "denied", denial: { ...denial, id: i } }, {
      kind: "stats",
      values: { x: i },
    });
  }
  assert(told < 400, `${told} reports`);
  assertEquals(bed.link.stats.reportsDropped, 10_000 - told);
});

Deno.test("EngineLink keeps what it has checked of used tokens, when a driver makes up others", () => {
  const bed = new LinkBed("server", { grants: HOSTILE_GRANTS, nonces: new Uint8Array(20).fill(7) });
  bed.join(0);
  for (let i = 0; i < 3; i++) {
    const used = new Uint8Array(20 * 16_384);
    const view = new DataView(used.buffer);
    for (let at = 0; at < used.length; at += 20) view.setUint32(at, at + i, true);
    for (let at = 16; at < used.length; at += 20) view.setUint32(at, 0xffff_ffff, true);
    bed.say({ kind: "nonces", used });
  }
  const kept = bed.link.usedNonces;
  assertEquals(kept.length, 20 * 16_384);
  assert(holds(kept, new Uint8Array(20).fill(7)));
});

Deno.test("EngineLink bounds channels and what they hold, when a driver opens all it can and finishes nothing", () => {
  const bed = stage("server");
  bed.link.onChannel = () => {};
  let number = 0x8000_0000;
  for (let i = 0; i < 200; i++) {
    for (const peer of [PLAYER_PEER, SPECTATOR_PEER, 1, 2, 3, 300 + i]) {
      bed.say({ ...open(peer, 3, ++number), name: `script/${i}` } as ToEngine);
      bed.say({ ...open(peer, 1, ++number) } as ToEngine);
    }
  }
  const { channels } = bed.link.stats;
  assert(channels > 0 && channels <= 2 * MAX_OPEN_CHANNELS, `${channels} channels`);
  // Reliable ones without an end, beyond every window.
  for (let round = 0; round < 40; round++) {
    for (let channel = 0x8000_0001; channel <= number; channel += 97) {
      bed.say({ kind: "channelData", channel, piece: new Uint8Array(65_536), last: false });
    }
  }
  assert(bed.link.stats.gatheredBytes <= channels * 2 * 1024 * 1024);
  bed.hangUp();
  assertEquals([bed.link.stats.channels, bed.link.stats.gatheredBytes], [0, 0]);
});

Deno.test("EngineLink ends the link on bytes that no driver writes, and on words out of place", () => {
  let deep: unknown = 1;
  for (let i = 0; i < 40; i++) deep = [deep];
  const frames: [string, Uint8Array][] = [
    ["nested too deep", encodeFrame(encode(deep as never))],
    ["a map", encodeFrame(encode({ kind: "batch" }))],
    ["a wrong type", encodeFrame(encode([4, "100", 1, 2, 3, [], 1, 2, 3, 4]))],
    ["a kind of the other direction", encodeFrame(encode([65, 1]))],
    ["more items than any message", encodeFrame(encode([4, Array(70_000).fill(0)] as never))],
    ["a length beyond the limit", Uint8Array.of(1, 0, 0, 1)],
    ["hello again", encodeFrame(encodeToEngine(helloOf(HOSTILE_GRANTS, "client")))],
    ["names that are too long", encodeFrame(encode([18, ["x".repeat(65), 1]]))],
  ];
  assertEquals(new DataView(frames[5]![1].buffer).getUint32(0, true), MAX_ENGINE_FRAME_BYTES + 1);
  for (const [name, bytes] of frames) {
    const bed = stage("client");
    const before = copyWorld(bed.world);
    bed.sayBytes(bytes);
    assert(bed.link.wantsClose, name);
    assertEquals(bed.link.stats.faultyFrames, 1, name);
    // Deaf from now on, and the next driver is served.
    bed.say(rows(bed, "Name", REMOTE, { text: "late" }));
    assertEquals(copyWorld(bed.world), before, name);
    bed.hangUp();
    bed.comeIn(true);
    assert(bed.link.isJoined, name);
  }
});

Deno.test("EngineLink gives a driver no word about its world before the driver has joined, nor after it has left", () => {
  const bed = new LinkBed("client", { grants: HOSTILE_GRANTS });
  bed.link.spawn({ Name: { text: GRANTED } });
  bed.connect();
  bed.say({ kind: "ping", time: 1 }, helloOf(bed.grants, "client"));
  bed.flush();
  assertEquals(bed.heard.map(({ kind }) => kind), ["pong", "welcome"]);
  bed.say(joinedOf(5));
  assertEquals(bed.heard.at(-1)!.kind, "batch");
  bed.say({ kind: "left", code: 1, reason: "", final: false });
  bed.heard.length = 0;
  bed.link.spawn({ Name: { text: GRANTED } });
  assert(!bed.link.sendEvent("Wave", { word: GRANTED }));
  bed.flush();
  assertEquals(bed.heard, []);
  bed.takeLog();
  // And what it says from outside the world is not heard.
  bed.say(
    spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }),
    event(1, 0, WAVE),
    open(0),
    voice(1),
  );
  assertEquals(bed.takeLog(), []);
  assertEquals(bed.link.stats.lateEntries, 4);
});

function framesOf(bytes: Uint8Array): Uint8Array[] {
  const splitter = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  splitter.handleBytes(bytes);
  const frames: Uint8Array[] = [];
  for (let frame = splitter.pollFrame(); frame; frame = splitter.pollFrame()) {
    frames.push(frame.slice());
  }
  return frames;
}

Deno.test("EngineLink is rid of a peer that it kicked and of what that owns, when its driver ignores the kick", () => {
  const bed = stage("server");
  const { link } = bed;
  assert(link.kick(PLAYER_PEER, "rude"));
  bed.flush();
  const pass = (ms: number) => {
    // It is there, and answers everything else.
    for (let left = ms; left > 0; left -= 1_000) {
      bed.say({ kind: "ping", time: 0 });
      bed.pass(Math.min(left, 1_000));
    }
  };
  pass(ENGINE_TIMEOUT_MS - 100);
  assert(link.peers.includes(PLAYER_PEER), "an honest driver has that long to say so");
  bed.takeLog();
  pass(200);
  assertEquals(link.peers.includes(PLAYER_PEER), false);
  assertEquals(bed.world.has(REMOTE), false);
  assert(bed.world.has(OTHER), "of others it takes nothing");
  assertEquals(bed.takeLog().filter((line) => !line.startsWith("denied")), [
    `despawn ${REMOTE}`,
    `gone ${PLAYER_PEER}`,
  ]);
  // Neither comes back by the driver's word alone.
  const before = link.stats.denials;
  bed.say({ kind: "peerJoin", peer: PLAYER_PEER, roleId: 1, resumed: true });
  bed.say(spawnBatch(bed.grants, REMOTE + 7, 77, PLAYER_PEER, { Name: { text: "ann" } }));
  bed.say(rows(bed, "Name", REMOTE, { text: "ann" }));
  assertEquals([link.peers.includes(PLAYER_PEER), bed.world.has(REMOTE + 7)], [false, false]);
  // The join, the spawn and its row, and the row of what is gone.
  assertEquals(link.stats.denials, before + 4);
  // Once it has said so, the id may be another's.
  bed.say({ kind: "peerLeave", peer: PLAYER_PEER, reason: "" });
  bed.say({ kind: "peerJoin", peer: PLAYER_PEER, roleId: 1, resumed: false });
  assert(link.peers.includes(PLAYER_PEER));
  pass(2 * ENGINE_TIMEOUT_MS);
  assert(link.peers.includes(PLAYER_PEER));
});

/** What game code tries to let out without a right. */
function tryEverything(bed: CanaryBed): void {
  const { link, world, own, local } = bed;
  const frame = new TextEncoder().encode(CANARY.padEnd(60, "."));
  for (const handle of [...own, ...local, REMOTE, OTHER]) {
    link.set(handle, "Diary", { text: CANARY });
    link.set(handle, "Narrowed", { kept: CANARY_NUMBER });
    if (bed.role === "client") {
      link.set(handle, "Badge", { level: 200, text: CANARY });
      link.set(handle, "Health", { points: 1, secret: 0 });
      link.set(handle, "Transform", { position: [CANARY_NUMBER, 0, 0] });
      world.set(handle, "Transform", { position: [CANARY_NUMBER, 0, 0], rotation: [0, 0, 0, 1] });
    }
    if (handle !== own[0] && handle !== own[1]) link.sendVoice(handle, frame);
    world.set(handle, "Diary", { text: `${CANARY} again` });
  }
  if (bed.role === "client") {
    world.set(REMOTE, "Name", { text: CANARY });
    link.sendEvent("Explosion", { where: [CANARY_NUMBER, 0, 0] });
    link.sendEvent("Wave", { word: CANARY }, { to: PLAYER_PEER });
    link.openChannel(CANARY);
    link.openChannel("chat", { peer: PLAYER_PEER });
  } else {
    // The world's roles let no server speak.
    link.sendVoice(own[0]!, frame);
    link.sendEvent("Wave", { word: CANARY }, { to: 99 });
    link.kick(99, CANARY);
    link.transfer(local[0]!, PLAYER_PEER);
  }
  link.sendEvent(CANARY, { word: CANARY });
  link.sendEvent("Wave", { word: CANARY, more: CANARY });
  link.spawn({ Name: { text: CANARY }, Diary: { text: CANARY } });
  link.spawn({ Name: { text: CANARY.repeat(9) } });
}

Deno.test("EngineLink gives its driver not one byte that is not granted, when its world is full of canaries", () => {
  for (const role of ["server", "client"] as const) {
    const bed = stage(role);
    bed.hangUp();
    bed.given.length = 0;
    // Everything again, to a fresh driver: greeting, resync, events, voice, channels, denials of its own.
    bed.comeIn(true);
    for (let i = 0; i < 5; i++) {
      tryEverything(bed);
      bed.flush();
      bed.pass(300);
    }
    assert(bed.link.sendEvent("Wave", { at: bed.local[0]!, word: `${GRANTED} event` }));
    if (role === "client") {
      assert(bed.link.sendVoice(bed.own[0]!, new TextEncoder().encode(`${GRANTED} voice`)));
    }
    const channel = bed.link.openChannel("chat", role === "server" ? { peer: PLAYER_PEER } : {});
    assert(channel!.send(new TextEncoder().encode(`${GRANTED} message`)));
    assert(!channel!.send(new Uint8Array(1024 * 1024 + 1).fill(67)));
    assert(bed.link.set(bed.own[0]!, "Name", { text: `${GRANTED} set` }));
    bed.link.set(bed.own[1]!, "Narrowed", { open: 77.125 });
    bed.flush();
    const given = bed.takeGiven();
    for (const form of canaryForms(CANARY, CANARY_NUMBER)) assert(!holds(given, form), `${form}`);
    // Local handles as references, too: this engine's alone are named nowhere.
    for (const handle of bed.local) {
      const word = new Uint8Array(4);
      new DataView(word.buffer).setUint32(0, handle, true);
      // Within frames: where two of them meet, lengths and ends make any word.
      assert(!framesOf(given).some((frame) => holds(frame, word)), `${role} ${handle}`);
    }
    // The search is one that finds: all that was granted is there.
    const sorts = role === "client"
      ? ["event", "voice", "message", "set"]
      : ["event", "message", "set"];
    for (const sort of sorts) {
      assert(holds(given, new TextEncoder().encode(`${GRANTED} ${sort}`)), `${role} ${sort}`);
    }
    assert(canaryForms("", 77.125).slice(1).some((form) => holds(given, form)));
  }
});

Deno.test("EngineLink gives a spectator's driver nothing but the greeting, when game code tries everything", () => {
  const bed = new CanaryBed("client");
  bed.say({ kind: "roleChanged", peer: 5, roleId: 2 });
  bed.heard.length = 0;
  bed.given.length = 0;
  tryEverything(bed);
  bed.link.set(bed.own[0]!, "Name", { text: CANARY });
  bed.link.sendVoice(bed.own[0]!, new TextEncoder().encode(CANARY));
  bed.link.sendEvent("Wave", { word: CANARY });
  bed.link.openChannel("chat")?.send(new TextEncoder().encode(CANARY));
  bed.flush();
  bed.flush();
  const given = bed.takeGiven();
  for (const form of canaryForms(CANARY, CANARY_NUMBER)) assert(!holds(given, form));
  assertEquals(bed.heardOf("event").length + bed.heardOf("voice").length, 0);
  assertEquals(bed.heardOf("channelData").length, 0);
});

for (const role of ["server", "client"] as const) {
  Deno.test(`EngineLink of a ${role} is moved by nothing that is not granted, when its driver says 12,000 hostile things`, () => {
    const seed = role === "server" ? 11 : 12;
    const bed = new CanaryBed(role);
    const prng = createPrng(seed);
    const mouth = new HostileMouth(bed, prng);
    const onlooker = new Onlooker(bed);
    const canaries = canaryForms(CANARY, CANARY_NUMBER);
    const isOffered = new Set(role === "server" ? ["Wave"] : ["Wave", "Explosion"]);
    const wrong: string[] = [];
    bed.link.onEvent = (name, _values, { from }) => {
      if (!isOffered.has(name)) wrong.push(`event ${name}`);
      if (from === bed.link.peer) wrong.push(`event from ${from}`);
      if (role === "server" && !bed.link.peers.includes(from)) wrong.push(`event from ${from}`);
      if (from === SPECTATOR_PEER && role === "server") wrong.push("event of a spectator");
    };
    bed.link.onVoice = (handle, frame) => {
      if (frame.length > bed.grants.voice.maxFrameBytes) wrong.push("voice above the size");
      if (bed.link.isOwn(handle)) wrong.push("voice of an own entity");
      if (role === "server" && bed.link.ownerOf(handle) === SPECTATOR_PEER) wrong.push("voice");
    };
    bed.link.onChannel = (channel) => {
      if (!["chat", "telemetry"].includes(channel.name) && !/^script\/[a-z]+$/.test(channel.name)) {
        wrong.push(`channel ${channel.name}`);
      }
      if (role === "server" ? !bed.link.peers.includes(channel.peer) : channel.peer !== 0) {
        wrong.push(`channel with ${channel.peer}`);
      }
      channel.onMessage = (bytes) => {
        if (bytes.length > 1024 * 1024) wrong.push("a message above every size");
      };
    };
    bed.link.onIdentity = () => wrong.push("identity");
    bed.link.onSign = () => void wrong.push("sign");
    const sorts = new Map<string, number>();
    let applied = 0;
    for (let i = 0; i < 12_000; i++) {
      if (bed.link.wantsClose || !bed.link.isJoined) {
        bed.hangUp();
        bed.log.length = 0;
        bed.pass(6_000, 3_000);
        bed.comeIn(prng() < 0.7);
        if (!bed.own.some((handle) => bed.world.has(handle))) bed.fill();
        bed.flush();
        bed.say({
          kind: "named",
          pairs: Uint32Array.from(
            bed.own.filter((handle) => bed.link.networkIdOf(handle) === 0).flatMap((
              h,
            ) => [h, 400 + h]),
          ),
        });
        onlooker.look();
      }
      const { kind, bytes } = mouth.nextFrame();
      sorts.set(kind, (sorts.get(kind) ?? 0) + 1);
      const before = bed.link.stats.rowsIn;
      bed.sayBytes(bytes);
      applied += bed.link.stats.rowsIn - before;
      const complaints = onlooker.complaints(kind.includes("joined") || bed.link.wantsClose);
      assertEquals([...complaints, ...wrong], [], `seed ${seed}, message ${i}, ${kind}`);
      onlooker.look();
      if (i % 32 !== 0) continue;
      bed.nowMs += 40;
      bed.flush();
      onlooker.look();
      const given = bed.takeGiven();
      for (const form of canaries) assert(!holds(given, form), `seed ${seed}, message ${i}`);
      bed.heard.length = 0;
      bed.log.length = 0;
      const { stats } = bed.link;
      assert(stats.entities <= bed.grants.maxEntities);
      assert(bed.link.peers.length <= bed.grants.maxPeers);
      assert(stats.channels <= bed.grants.maxPeers * MAX_OPEN_CHANNELS);
      assert(stats.gatheredBytes <= 32 * 1024 * 1024);
      assert(stats.backlogBytes <= 2 * ENGINE_BACKLOG_BYTES);
      assert(bed.link.denialTotals.size <= MAX_DENIAL_KINDS + 1);
    }
    // It is no test when nothing gets as far as the doors.
    assert(applied > 300, `${applied} rows applied`);
    assert(bed.link.stats.denials > 5_000, `${bed.link.stats.denials} denials`);
    assert((sorts.get("batch") ?? 0) > 1_500, `${sorts.get("batch")} batches`);
    assert(bed.link.denialTotals.has(`${Rule.Undeclared} component 9`));
  });
}

Deno.test("listenForDriver() lets nothing in or out that is not granted, when a driver on its socket is hostile", async () => {
  const folder = await Deno.makeTempDir();
  const world = new ReferenceWorld();
  const denied: string[] = [];
  const link = await listenForDriver({
    socket: `${folder}/engine.sock`,
    manifest: { grants: HOSTILE_GRANTS, role: "server" },
    world,
    log: () => {},
    callbacks: { onDenied: ({ rule, subject }) => denied.push(`${rule} ${subject}`) },
  });
  try {
    const local = world.createLocal();
    world.set(local, "Name", { text: CANARY });
    const own = link.spawn({ Name: { text: GRANTED } });
    world.set(own, "Diary", { text: CANARY });
    const before = copyWorld(world);
    const connection = await Deno.connect({ transport: "unix", path: `${folder}/engine.sock` });
    const given: Uint8Array[] = [];
    const reading = (async () => {
      const chunk = new Uint8Array(65_536);
      for (;;) {
        const count = await connection.read(chunk).catch(() => null);
        if (count === null) return;
        given.push(chunk.slice(0, count));
      }
    })();
    const bed = new CanaryBed("server");
    const say = async (...messages: ToEngine[]) => {
      for (const message of messages) {
        const bytes = encodeFrame(encodeToEngine(message));
        for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
      }
    };
    await say(
      helloOf(HOSTILE_GRANTS, "server"),
      joinedOf(0),
      { kind: "named", pairs: pairs(own, 500) },
      { kind: "peerJoin", peer: PLAYER_PEER, roleId: 1, resumed: false },
      undeclaredRows(own),
      rows(bed, "Name", own, { text: "forged" }),
      rows(bed, "Name", local, { text: "forged" }),
      batchOf({ despawns: pairs(own), removes: pairs(own, 3), owners: pairs(own, PLAYER_PEER, 1) }),
      spawnBatch(bed.grants, REMOTE, 70, 9, { Name: {} }),
      voice(own),
      event(1, 0, WAVE),
      open(9),
      { kind: "spawnRefused", handle: own, rule: "role" },
      { kind: "roleChanged", peer: PLAYER_PEER, roleId: 2 },
    );
    // The last word ends the link, so that all before it has been heard once the link is over.
    await say({ kind: "roleChanged", peer: PLAYER_PEER, roleId: 0 });
    await reading;
    connection.close();
    assertEquals(copyWorld(world), before);
    assertEquals(link.ownerOf(own), 0);
    assert(link.stats.denials >= 9, `${[...link.denialTotals.keys()]}`);
    assert(denied.includes("undeclared component"));
    const all = Uint8Array.from(given.flatMap((part) => [...part]));
    assert(!holds(all, new TextEncoder().encode(CANARY)));
    assert(holds(all, new TextEncoder().encode(GRANTED)));
  } finally {
    await link.close();
    await Deno.remove(folder, { recursive: true });
  }
});

const POINTER = {
  ...buildComponents([{
    id: 30,
    name: "Pointer",
    fields: [{ name: "at", kind: "entity" }],
    authority: "owner",
    spawnRoles: 0b11,
    spawnMax: 4,
  }])[0]!,
  index: HOSTILE_GRANTS.components.length,
};

for (const role of ["server", "client"] as const) {
  Deno.test(`no row makes a field of a ${role}'s world name an entity that is not on the network, whatever spawns stand beside it`, () => {
    const components = [...HOSTILE_GRANTS.components, POINTER];
    const bed = new CanaryBed(role, { ...HOSTILE_GRANTS, components });
    const local = bed.local[0]!;
    const owner = role === "server" ? PLAYER_PEER : 0;
    const [first, second] = [REMOTE, REMOTE + 1];
    bed.say(spawnBatch(bed.grants, first, 70, owner, { Pointer: {} }));
    const held = () => bed.world.read(first, "Pointer")?.["at"];
    for (const target of [local, 0x4fff_ffff]) {
      bed.say(batchOf({
        spawns: pairs(target),
        spawnIds: pairs(99),
        spawnOwners: pairs(owner),
        components: [rowsOf(POINTER, [[first, { at: target }]])],
      }));
      assertEquals(held(), 0);
    }
    // The control: one that the same batch brings in may be named.
    bed.say(batchOf({
      spawns: pairs(second),
      spawnIds: pairs(71),
      spawnOwners: pairs(owner),
      components: [rowsOf(POINTER, [[first, { at: second }], [second, {}]])],
    }));
    assertEquals(bed.link.ownerOf(second), owner);
    assertEquals(held(), second);
  });
}
