// Control messages of every kind, for sweeps and for golden bytes, together with random ones. It knows nothing of the codec.

import fc from "fast-check";
import type { ComponentAdjustment } from "../../protocol/adjustment.ts";
import type { ControlDirection, ControlMessage } from "../../protocol/control_messages.ts";
import { DENIAL_SUBJECTS } from "../../protocol/control_messages.ts";
import { PROTOCOL_VERSION } from "../../protocol/limits.ts";

function pattern(length: number, first: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + i) & 0xff);
}

/** One message of each kind and shape, with the direction it goes. */
export const CONTROL_SAMPLES: readonly (readonly [ControlDirection, ControlMessage])[] = [
  ["toAuthority", {
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: pattern(32, 1),
    credential: "none",
    resume: undefined,
  }],
  ["toAuthority", {
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: pattern(32, 9),
    credential: "token",
    resume: { peer: 513, secret: pattern(32, 100) },
  }],
  ["fromAuthority", { kind: "challenge", challenge: pattern(32, 77) }],
  ["toAuthority", { kind: "proof", token: pattern(130, 7), signature: pattern(64, 3) }],
  ["fromAuthority", {
    kind: "accepted",
    peer: 7,
    roleId: 300,
    resumed: true,
    resumeSecret: pattern(32, 50),
    grantEpoch: 255,
    worldEpoch: 0xdead_beef,
    authority: 0,
    time: 2 ** 38 - 1,
    entityIds: [1, 0x00100002, 0xfff00003],
    adjustments: [
      { componentId: 3, readGranted: 5, readRevoked: 2, writeGranted: 0, writeRevoked: 1 },
      {
        componentId: 16_383,
        readGranted: 0,
        readRevoked: 0x7fff_ffff,
        writeGranted: 0x4000_0000,
        writeRevoked: 0,
      },
    ],
  }],
  ["fromAuthority", { kind: "refused", code: 64, reason: "the world is full: 1024 peers" }],
  ["fromAuthority", {
    kind: "roster",
    joins: [{ peer: 0, roleId: 0 }, { peer: 5, roleId: 16_383 }],
    leaves: [2, 65_534],
  }],
  ["fromAuthority", { kind: "role", peer: 7, roleId: 2, grantEpoch: 4 }],
  ["fromAuthority", {
    kind: "grants",
    grantEpoch: 17,
    adjustment: {
      componentId: 129,
      readGranted: 0,
      readRevoked: 6,
      writeGranted: 1,
      writeRevoked: 0x7fff_fff0,
    },
  }],
  ["fromAuthority", { kind: "entityIds", ids: [9, 10, 11] }],
  ["fromAuthority", { kind: "spawnRefused", id: 0x00100009, rule: 12 }],
  ["fromAuthority", {
    kind: "denied",
    rule: 3,
    subject: "component",
    id: 130,
    fields: 0x7fff_ffff,
    entity: 0xfff00003,
    count: 1_000,
  }],
  ["toAuthority", {
    kind: "event",
    eventId: 9,
    from: 0,
    time: 12_345,
    stateTicks: 0,
    payload: pattern(20, 3),
  }],
  ["fromAuthority", {
    kind: "event",
    eventId: 200,
    from: 3,
    time: 64,
    stateTicks: 200,
    payload: pattern(0, 0),
  }],
  ["toAuthority", { kind: "bye", code: 0, reason: "" }],
  ["fromAuthority", { kind: "bye", code: 0x3fff_ffff, reason: "gone, schön" }],
];

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const peer = fc.nat(0xfffe);
const roleId = fc.nat(16_383);
const time = fc.nat(2 ** 38 - 1);
const reason = fc.string({ maxLength: 60 }).filter((text) =>
  new TextEncoder().encode(text).length <= 200
);
const ids = (minLength: number) =>
  fc.uniqueArray(fc.nat(0xffff_ffff).filter((id) => (id & 0xfffff) !== 0), {
    minLength,
    maxLength: 40,
  }).map((list) => list.sort((a, b) => a - b));
const event = (from: fc.Arbitrary<number>) =>
  fc.record({
    kind: fc.constant("event" as const),
    eventId: fc.nat(16_383),
    from,
    time,
    stateTicks: fc.nat(2_047),
    payload: fc.uint8Array({ maxLength: 300 }),
  });
const bye = fc.record({ kind: fc.constant("bye" as const), code: fc.nat(0x3fff_ffff), reason });

/** Any message towards the holder of authority. */
export const messageToAuthority: fc.Arbitrary<ControlMessage> = fc.oneof(
  fc.record({
    kind: fc.constant("join" as const),
    protocolVersion: fc.constant(PROTOCOL_VERSION),
    schemaHash: bytes(32),
    credential: fc.constantFrom("none" as const, "token" as const),
    resume: fc.option(fc.record({ peer, secret: bytes(32) }), { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant("proof" as const),
    token: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    signature: bytes(64),
  }),
  event(fc.constant(0)),
  bye,
);

/** The adjustment of a component; `least` 1: one that changes something. */
function adjustment(least: number): fc.Arbitrary<ComponentAdjustment> {
  const mask = fc.nat(0x7fff_ffff);
  const id = fc.integer({ min: 1, max: 16_383 });
  return fc.tuple(id, mask, mask, mask, mask).map(([componentId, a, b, c, d]) => ({
    componentId,
    readGranted: a & ~(b | least),
    readRevoked: b | least,
    writeGranted: c & ~d,
    writeRevoked: d,
  }));
}

/** Any message from the holder of authority. */
export const messageFromAuthority: fc.Arbitrary<ControlMessage> = fc.oneof(
  fc.record({ kind: fc.constant("challenge" as const), challenge: bytes(32) }),
  fc.record({
    kind: fc.constant("accepted" as const),
    peer,
    roleId,
    resumed: fc.boolean(),
    resumeSecret: bytes(32),
    grantEpoch: fc.nat(255),
    worldEpoch: fc.nat(0xffff_ffff),
    authority: peer,
    time,
    entityIds: ids(0),
    adjustments: fc.uniqueArray(adjustment(1), {
      selector: (one) => one.componentId,
      maxLength: 8,
    }).map((all) => all.sort((a, b) => a.componentId - b.componentId)),
  }),
  fc.record({
    kind: fc.constant("grants" as const),
    grantEpoch: fc.nat(255),
    adjustment: adjustment(0),
  }),
  fc.record({ kind: fc.constant("refused" as const), code: fc.nat(0x3fff_ffff), reason }),
  fc.uniqueArray(peer, { maxLength: 40 }).chain((peers) =>
    fc.nat(peers.length).map((cut) => ({
      kind: "roster" as const,
      joins: peers.slice(0, cut).sort((a, b) => a - b).map((p) => ({
        peer: p,
        roleId: p % 16_384,
      })),
      leaves: peers.slice(cut).sort((a, b) => a - b),
    }))
  ),
  fc.record({ kind: fc.constant("role" as const), peer, roleId, grantEpoch: fc.nat(255) }),
  fc.record({ kind: fc.constant("entityIds" as const), ids: ids(1) }),
  fc.record({
    kind: fc.constant("spawnRefused" as const),
    id: fc.integer({ min: 1, max: 0xfffff }),
    rule: fc.nat(255),
  }),
  fc.record({
    kind: fc.constant("denied" as const),
    rule: fc.nat(255),
    subject: fc.constantFrom(...DENIAL_SUBJECTS),
    id: fc.nat(16_383),
    fields: fc.nat(0x7fff_ffff),
    entity: fc.nat(0xffff_ffff),
    count: fc.integer({ min: 1, max: 0xffff_ffff }),
  }),
  event(peer),
  bye,
);
