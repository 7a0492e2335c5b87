// The bytes of each control message, kind byte aside: two halves per kind, bounded, canonical. Types and table: `control_messages.ts`.
// A `read` half never throws: what is wrong becomes the reader's fault, and its value is then meaningless.

import { readAdjustments, writeAdjustments } from "./adjustment.ts";
import { assert } from "./assert.ts";
import type {
  AcceptedMessage,
  ByeMessage,
  DeniedMessage,
  EventMessage,
  JoinMessage,
  ProofMessage,
  RefusedMessage,
  RosterMessage,
} from "./control_messages.ts";
import { DENIAL_SUBJECTS } from "./denial_subjects.ts";
import { type EntityId, entitySlot } from "./entity_id.ts";
import { Fault } from "./faults.ts";
import {
  JOIN_MESSAGE_BYTES,
  MAX_CLOSE_CODE,
  MAX_CREDENTIAL_BYTES,
  MAX_DECLARED_ID,
  MAX_ENTITY_BLOCK,
  MAX_EVENT_BYTES,
  MAX_EVENT_STATE_TICKS,
  MAX_PEERS,
  MAX_REASON_BYTES,
  PROTOCOL_VERSION,
  RESUME_SECRET_BYTES,
  SCHEMA_HASH_BYTES,
  SIGNATURE_BYTES,
} from "./limits.ts";
import type { Reader } from "./reader.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "./timeline_units.ts";
import { encodeUtf8, readText } from "./utf8.ts";
import type { Writer } from "./writer.ts";

/** What a joiner can show, in the order of the numbers on the wire. */
const JOIN_CREDENTIALS = ["none", "token"] as const;

/** Peer id that names nobody. */
const NO_PEER = 0xffff;

export function writeJoin(w: Writer, m: JoinMessage): void {
  assert(m.schemaHash.length === SCHEMA_HASH_BYTES, "a schema hash has 32 bytes");
  w.varint(m.protocolVersion);
  w.bytes(m.schemaHash);
  w.u8(JOIN_CREDENTIALS.indexOf(m.credential));
  w.u8(m.resume === undefined ? 0 : 1);
  if (m.resume !== undefined) {
    assert(m.resume.secret.length === RESUME_SECRET_BYTES, "a resume secret has 32 bytes");
    w.u16(m.resume.peer);
    w.bytes(m.resume.secret);
  }
  w.bytes(new Uint8Array(JOIN_MESSAGE_BYTES - w.byteLength));
}

export function readJoin(r: Reader): JoinMessage {
  const protocolVersion = r.varint();
  // Of another version not even the layout of the rest is known.
  if (protocolVersion !== PROTOCOL_VERSION) r.fail(Fault.Incompatible);
  const schemaHash = r.bytes(SCHEMA_HASH_BYTES);
  const credential = JOIN_CREDENTIALS[r.u8()];
  if (credential === undefined) r.fail(Fault.UnknownKind);
  const resume = readFlag(r)
    ? { peer: readPeer(r), secret: r.bytes(RESUME_SECRET_BYTES) }
    : undefined;
  const padding = r.bytes(Math.max(0, JOIN_MESSAGE_BYTES - (r.bitPosition >>> 3)));
  if (padding.some((byte) => byte !== 0)) r.fail(Fault.NonCanonical);
  return { kind: "join", protocolVersion, schemaHash, credential: credential ?? "none", resume };
}

export function writeProof(w: Writer, m: ProofMessage): void {
  const { length } = m.token;
  assert(length >= 1 && length <= MAX_CREDENTIAL_BYTES, "a token is bounded");
  assert(m.signature.length === SIGNATURE_BYTES, "a signature has 64 bytes");
  w.varint(length);
  w.bytes(m.token);
  w.bytes(m.signature);
}

export function readProof(r: Reader): ProofMessage {
  const length = r.varintAtMost(MAX_CREDENTIAL_BYTES);
  if (length === 0) r.fail(Fault.OutOfRange);
  return { kind: "proof", token: r.bytes(length), signature: r.bytes(SIGNATURE_BYTES) };
}

export function writeAccepted(w: Writer, m: AcceptedMessage): void {
  assert(m.resumeSecret.length === RESUME_SECRET_BYTES, "a resume secret has 32 bytes");
  w.u16(m.peer);
  w.varint(m.roleId);
  w.u8(m.resumed ? 1 : 0);
  w.bytes(m.resumeSecret);
  w.u8(m.grantEpoch);
  w.u32(m.worldEpoch);
  w.u16(m.authority);
  writeTime(w, m.time);
  writeIds(w, m.entityIds);
  writeAdjustments(w, m.adjustments);
}

export function readAccepted(r: Reader): AcceptedMessage {
  return {
    kind: "accepted",
    peer: readPeer(r),
    roleId: r.varintAtMost(MAX_DECLARED_ID),
    resumed: readFlag(r),
    resumeSecret: r.bytes(RESUME_SECRET_BYTES),
    grantEpoch: r.u8(),
    worldEpoch: r.u32(),
    authority: readPeer(r),
    time: readTime(r),
    entityIds: readIds(r, 0),
    adjustments: readAdjustments(r),
  };
}

export function writeRoster(w: Writer, m: RosterMessage): void {
  assert(m.joins.length <= MAX_PEERS && m.leaves.length <= MAX_PEERS, "a roster is bounded");
  w.varint(m.joins.length);
  for (const { peer, roleId } of m.joins) {
    w.u16(peer);
    w.varint(roleId);
  }
  w.varint(m.leaves.length);
  for (const peer of m.leaves) w.u16(peer);
}

export function readRoster(r: Reader): RosterMessage {
  const joins: { peer: number; roleId: number }[] = [];
  const joined = new Set<number>();
  let previous = -1;
  for (let left = r.varintAtMost(MAX_PEERS); left > 0 && r.fault === undefined; left--) {
    const peer = readPeer(r);
    if (peer <= previous) r.fail(Fault.NonCanonical);
    joins.push({ peer, roleId: r.varintAtMost(MAX_DECLARED_ID) });
    joined.add(peer);
    previous = peer;
  }
  const leaves: number[] = [];
  previous = -1;
  for (let left = r.varintAtMost(MAX_PEERS); left > 0 && r.fault === undefined; left--) {
    const peer = readPeer(r);
    if (peer <= previous || joined.has(peer)) r.fail(Fault.NonCanonical);
    leaves.push(peer);
    previous = peer;
  }
  return { kind: "roster", joins, leaves };
}

export function writeDenied(w: Writer, m: DeniedMessage): void {
  w.u8(m.rule);
  w.u8(DENIAL_SUBJECTS.indexOf(m.subject));
  w.varint(m.id);
  w.u32(m.fields);
  w.u32(m.entity);
  w.varint(m.count);
}

export function readDenied(r: Reader): DeniedMessage {
  const rule = r.u8();
  const subject = DENIAL_SUBJECTS[r.u8()];
  if (subject === undefined) r.fail(Fault.UnknownKind);
  const id = r.varintAtMost(MAX_DECLARED_ID);
  const fields = r.u32();
  if (fields > 0x7fff_ffff) r.fail(Fault.OutOfRange);
  const entity = r.u32();
  const count = r.varint();
  if (count === 0) r.fail(Fault.OutOfRange);
  return { kind: "denied", rule, subject: subject ?? "component", id, fields, entity, count };
}

export function writeEvent(w: Writer, m: EventMessage): void {
  assert(m.payload.length <= MAX_EVENT_BYTES, "an event is bounded");
  w.varint(m.eventId);
  w.u16(m.from);
  writeTime(w, m.time);
  assert(m.stateTicks <= MAX_EVENT_STATE_TICKS, "an event's state follows soon");
  w.varint(m.stateTicks);
  w.varint(m.payload.length);
  w.bytes(m.payload);
}

export function readEvent(r: Reader): EventMessage {
  return {
    kind: "event",
    eventId: r.varintAtMost(MAX_DECLARED_ID),
    from: readPeer(r),
    time: readTime(r),
    stateTicks: r.varintAtMost(MAX_EVENT_STATE_TICKS),
    payload: r.bytes(r.varintAtMost(MAX_EVENT_BYTES)),
  };
}

export function writeEnd(w: Writer, m: RefusedMessage | ByeMessage): void {
  const reason = encodeUtf8(m.reason, MAX_REASON_BYTES);
  w.varint(m.code);
  w.varint(reason.length);
  w.bytes(reason);
}

export function readEnd(r: Reader): { code: number; reason: string } {
  return { code: r.varintAtMost(MAX_CLOSE_CODE), reason: readText(r, MAX_REASON_BYTES) };
}

function readFlag(r: Reader): boolean {
  const flag = r.u8();
  if (flag > 1) r.fail(Fault.NonCanonical);
  return flag === 1;
}

export function readPeer(r: Reader): number {
  const peer = r.u16();
  if (peer === NO_PEER) r.fail(Fault.OutOfRange);
  return peer;
}

function writeTime(w: Writer, time: TimelineTime): void {
  w.u32(tickOf(time));
  w.u8(time % SUBTICKS);
}

function readTime(r: Reader): TimelineTime {
  const tick = r.u32();
  const sub = r.u8();
  if (sub >= SUBTICKS) r.fail(Fault.OutOfRange);
  return tick * SUBTICKS + sub;
}

export function readId(r: Reader): EntityId {
  const id = r.u32();
  if (entitySlot(id) === 0) r.fail(Fault.OutOfRange);
  return id;
}

export function writeIds(w: Writer, ids: readonly EntityId[]): void {
  assert(ids.length <= MAX_ENTITY_BLOCK, "a block of entity ids is bounded");
  w.varint(ids.length);
  for (const id of ids) w.u32(id);
}

export function readIds(r: Reader, atLeast: number): EntityId[] {
  const count = r.varintAtMost(MAX_ENTITY_BLOCK);
  if (count < atLeast) r.fail(Fault.OutOfRange);
  const ids: EntityId[] = [];
  let previous = 0;
  for (let i = 0; i < count && r.fault === undefined; i++) {
    const id = readId(r);
    if (id <= previous) r.fail(Fault.NonCanonical);
    ids.push(id);
    previous = id;
  }
  return ids;
}
