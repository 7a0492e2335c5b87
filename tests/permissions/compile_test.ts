import { assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { bitsFor, stepsOf } from "../../permissions/layout.ts";
import {
  compiled,
  type Loose,
  manifestArbitrary,
  smallManifest,
} from "../support/manifest_samples.ts";

Deno.test("compileGrants() lays fields out in declared order without padding", () => {
  const value = smallManifest();
  value.world.components[0].fields = {
    flag: { type: "bool" },
    position: { type: "vec3", min: -10, max: 10, precision: 0.01 },
    name: { type: "string", maxBytes: 20 },
    turn: { type: "quat", bits: 9 },
    kind: { type: "enum", values: ["a", "b", "c"] },
    blob: { type: "bytes", maxBytes: 5 },
    small: { type: "u8" },
    middle: { type: "u16", min: 100, max: 355 },
    large: { type: "u32" },
    signed: { type: "i32", min: -1, max: 1 },
    ratio: { type: "f32", min: 0, max: 1, precision: 0.1 },
    target: { type: "entity" },
    lone: { type: "enum", values: ["only"] },
  };
  const component = compiled(value).components[0]!;
  assertEquals(
    component.fields.map((f) => [f.name, f.rowOffset, f.laneOffset, f.lanes, f.bits, f.blobIndex]),
    [
      ["flag", 0, 0, 1, 1, -1],
      ["position", 1, 1, 3, 11, -1],
      ["name", -1, 4, 0, 0, 0],
      ["turn", 13, 4, 4, 9, -1],
      ["kind", 29, 8, 1, 2, -1],
      ["blob", -1, 9, 0, 0, 1],
      ["small", 31, 9, 1, 8, -1],
      ["middle", 32, 10, 1, 8, -1],
      ["large", 34, 11, 1, 32, -1],
      ["signed", 38, 12, 1, 2, -1],
      ["ratio", 42, 13, 1, 4, -1],
      ["target", 46, 14, 1, 32, -1],
      ["lone", 50, 15, 1, 0, -1],
    ],
  );
  assertEquals(component.rowBytes, 52);
  assertEquals(component.laneCount, 16);
  assertEquals(component.blobCount, 2);
  assertEquals(component.allFields, 0x1fff);
  assertEquals(component.positionField, 1);
  const numbers = component.fields.map((f) => [f.min, f.max, f.precision, f.maxBytes]);
  assertEquals(numbers[0], [0, 1, 0, 0]);
  assertEquals(numbers[1], [-10, 10, 0.01, 0]);
  assertEquals(numbers[2], [0, 0, 0, 20]);
  assertEquals(numbers[4], [0, 2, 0, 0]);
  assertEquals(numbers[7], [100, 355, 1, 0]);
  assertEquals(component.fields[4]!.values, ["a", "b", "c"]);
});

Deno.test("compileGrants() takes 31 fields, whose mask is still a positive number", () => {
  const value = smallManifest();
  for (let i = 0; i < 29; i++) value.world.components[0].fields[`f${i}`] = { type: "bool" };
  const component = compiled(value).components[0]!;
  assertEquals(component.allFields, 0x7fff_ffff);
  assertEquals(component.readMasks, [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff]);
});

Deno.test("compileGrants() gives dense indices by ascending id", () => {
  const value = smallManifest();
  value.world.roles = [{ id: 9, name: "player" }, { id: 2, name: "guest" }];
  value.world.events.push({ ...value.world.events[0], id: 0x3fff, name: "Late" });
  value.world.events.unshift({ ...value.world.events[0], id: 7, name: "Middle" });
  const grants = compiled(value);
  assertEquals(grants.roles, [
    { index: 0, id: 0, name: "server" },
    { index: 1, id: 2, name: "guest" },
    { index: 2, id: 9, name: "player" },
  ]);
  assertEquals(grants.defaultRole, 2);
  assertEquals(grants.events.map((one) => [one.index, one.id, one.name]), [
    [0, 1, "Wave"],
    [1, 7, "Middle"],
    [2, 16_383, "Late"],
  ]);
  assertEquals(grants.components[0]!.writeMasks, [3, 0, 3]);
  assertEquals(grants.components[0]!.spawnRoles, 0b101);
  assertEquals(grants.components[0]!.spawnMax, 2);
  assertEquals(grants.events[0]!.sendRoles, 0b100);
  assertEquals(grants.events[0]!.receiveRoles, 0b111);
  assertEquals(grants.voice.speakRoles, 0b100);
  assertEquals(grants.voice.hearRoles, 0b111);
});

Deno.test("compileGrants() narrows fields for roles and for the owner", () => {
  const value = smallManifest();
  const component = value.world.components[0];
  component.read = ["all"];
  component.write = ["player", "guest"];
  component.fields = {
    position: { type: "vec3", min: 0, max: 1, precision: 0.5 },
    mine: { type: "bool", read: ["owner"] },
    nobodys: { type: "bool", read: [], write: [] },
    players: { type: "bool", read: ["player"], write: ["player"] },
  };
  const grant = compiled(value).components[0]!;
  assertEquals(grant.readMasks, [0b1111, 0b1001, 0b0001]);
  assertEquals(grant.ownerReadMask, 0b0011);
  assertEquals(grant.writeMasks, [0b1111, 0b1011, 0b0011]);
});

Deno.test("compileGrants() takes away what the host denies and nothing else", () => {
  const value = smallManifest();
  value.host.deny = {
    components: { Body: { send: ["rotation"], receive: true } },
    events: { Wave: { receive: true } },
    channels: { chat: { send: true } },
    voice: { send: true },
  };
  const narrow = compiled(value);
  assertEquals(narrow.components[0]!.hostSendMask, 0b01);
  assertEquals(narrow.components[0]!.hostReceiveMask, 0);
  assertEquals([narrow.events[0]!.hostSend, narrow.events[0]!.hostReceive], [true, false]);
  assertEquals([narrow.channels[0]!.hostSend, narrow.channels[0]!.hostReceive], [false, true]);
  assertEquals([narrow.voice.hostSend, narrow.voice.hostReceive], [false, true]);
  const wide = compiled(smallManifest());
  assertEquals(narrow.schemaHash, wide.schemaHash);
  assertEquals(wide.components[0]!.hostSendMask, 0b11);
});

Deno.test("compileGrants() of a world without voice lets nobody speak", () => {
  const value = smallManifest();
  delete value.world.voice;
  assertEquals(compiled(value).voice.speakRoles, 0);
});

Deno.test("bitsFor() tells 0 to its argument apart, and no more", () => {
  for (
    const [largest, bits] of [[0, 0], [1, 1], [2, 2], [3, 2], [255, 8], [256, 9], [2 ** 32 - 1, 32]]
  ) {
    assertEquals(bitsFor(largest!), bits);
  }
});

Deno.test("stepsOf() is exact for ranges that floating point cannot divide", () => {
  assertEquals(stepsOf({ min: 0, max: 0.3, precision: 0.1 }), 3);
  assertEquals(stepsOf({ min: -512, max: 512, precision: 0.001 }), 1_024_000);
  assertEquals(stepsOf({ min: -4, max: 0.19, precision: 0.01 }), 419);
});

Deno.test("compileGrants() fills rows and lanes without gap or overlap, for any manifest", () => {
  const sizes: Record<string, number> = {
    bool: 1,
    u8: 1,
    u16: 2,
    u32: 4,
    i32: 4,
    f32: 4,
    vec3: 12,
    quat: 16,
    enum: 2,
    entity: 4,
  };
  fc.assert(
    fc.property(manifestArbitrary, (value) => {
      const grants = compiled(value);
      for (const layout of [...grants.components, ...grants.events]) {
        let row = 0;
        let lane = 0;
        let blob = 0;
        for (const [index, field] of layout.fields.entries()) {
          assertEquals(field.index, index);
          assertEquals(field.laneOffset, lane);
          const size = sizes[field.kind];
          assertEquals(field.rowOffset, size === undefined ? -1 : row);
          assertEquals(field.blobIndex, size === undefined ? blob : -1);
          row += size ?? 0;
          lane += field.lanes;
          blob += size === undefined ? 1 : 0;
        }
        assertEquals([layout.rowBytes, layout.laneCount, layout.blobCount], [row, lane, blob]);
      }
    }),
    { seed: 3, numRuns: 80 },
  );
});

Deno.test("compileGrants() gives a role every right of those it inherits from, in every list", () => {
  const value = smallManifest();
  const who = (inherits: string[]) => {
    value.world.roles = [
      { id: 9, name: "player" },
      { id: 2, name: "guest" },
      { id: 5, name: "judge", inherits },
    ];
    value.world.components[0].read = ["player"];
    value.world.components[0].fields.rotation.read = ["player"];
    value.world.components[0].fields.rotation.write = ["judge"];
    value.world.components[0].write = ["player", "judge"];
    value.world.voice.hear = ["player"];
    const grants = compiled(value);
    // By ascending id: server, guest, judge, player.
    assertEquals(grants.roles.map((role) => role.name), ["server", "guest", "judge", "player"]);
    const { readMasks, writeMasks, spawnRoles } = grants.components[0]!;
    const { speakRoles, hearRoles } = grants.voice;
    return {
      readMasks,
      writeMasks,
      roles: [spawnRoles, speakRoles, hearRoles, grants.events[0]!.sendRoles],
    };
  };
  assertEquals(who([]), {
    readMasks: [3, 0, 0, 3],
    writeMasks: [3, 0, 3, 1],
    roles: [0b1001, 0b1000, 0b1000, 0b1000],
  });
  assertEquals(who(["player"]), {
    readMasks: [3, 0, 3, 3],
    writeMasks: [3, 0, 3, 1],
    roles: [0b1101, 0b1100, 0b1100, 0b1100],
  });
});

Deno.test("compileGrants() sorts zones by id, with the roles that see into each from elsewhere", () => {
  const value = smallManifest();
  assertEquals(compiled(value).zones, []);
  value.world.roles.push({ id: 3, name: "judge", inherits: ["guest"] });
  value.world.zones = [
    { id: 9, name: "yard", closed: false },
    { id: 7, name: "stage", seenBy: ["guest"] },
    { id: 3, name: "room" },
  ];
  assertEquals(compiled(value).zones, [
    { id: 3, name: "room", closed: true, seenByRoles: 0b0001 },
    // By ascending id: server, player, guest, judge.
    { id: 7, name: "stage", closed: true, seenByRoles: 0b1101 },
    { id: 9, name: "yard", closed: false, seenByRoles: 0b1111 },
  ]);
});

Deno.test("compileGrants() narrows a field to a role that inherits the component's right", () => {
  const value = smallManifest();
  value.world.roles = [{ id: 1, name: "player" }, { id: 2, name: "guest", inherits: ["player"] }];
  value.world.components[0].read = ["player"];
  value.world.components[0].fields.rotation.read = ["guest"];
  assertEquals(compiled(value).components[0]!.readMasks, [3, 1, 3]);
});

Deno.test("compileGrants() turns what is grantable into masks: nothing where it is left out, all for true", () => {
  const masks = (grantable: unknown) => {
    const value = smallManifest();
    if (grantable !== undefined) value.world.components[0].grantable = grantable;
    const { grantableRead, grantableWrite } = compiled(value).components[0]!;
    return [grantableRead, grantableWrite];
  };
  const all = compiled(smallManifest()).components[0]!.allFields;
  assertEquals(masks(undefined), [0, 0]);
  assertEquals(masks({ read: true }), [all, 0]);
  assertEquals(masks({ read: ["rotation"], write: ["position", "rotation"] }), [2, 3]);
  // It is part of the world that both ends have to share; a world without it is the one it was.
  const hash = (change: (m: Loose) => void) => {
    const value = smallManifest();
    change(value);
    return compiled(value).schemaHash;
  };
  const plain = hash(() => {});
  const read = hash((m) => m.world.components[0].grantable = { read: ["rotation", "position"] });
  const turned = hash((m) => m.world.components[0].grantable = { read: ["position", "rotation"] });
  assertEquals(read, turned);
  assertNotEquals(read, plain);
});
