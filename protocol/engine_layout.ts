// Every message of the engine link: its kind number, its fields in the order they have on the link, and the rules that join fields.
// Tables alone; the bytes are in `engine_codec.ts`. The compiler checks that no kind and no field is missing.

import { adjustmentFault, MAX_FIELD_MASK, packedAdjustmentsFault } from "./adjustment.ts";
import type { ToDriver, ToEngine } from "./engine_messages.ts";
import {
  ANY,
  bin,
  componentRows,
  connectOrder,
  DECLARED,
  declaredId,
  denialReport,
  doubles,
  ENGINE_ALLOTTED,
  type FieldType,
  finite,
  flag,
  hash,
  hashOrEmpty,
  list,
  name,
  nodes,
  oneOf,
  PEER,
  peer,
  type RecordTypes,
  roleId,
  SOME,
  stats,
  text,
  time,
  tuple,
  u32,
  whole,
  words,
} from "./engine_shape.ts";
import { Fault } from "./faults.ts";
import {
  CHALLENGE_BYTES,
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  LOG_ARGUMENTS,
  MAX_COMPONENTS,
  MAX_CREDENTIAL_BYTES,
  MAX_EVENT_ROW_BYTES,
  MAX_FIELDS,
  MAX_LOG_ANSWER,
  MAX_NAME_BYTES,
  MAX_OPUS_PACKET_BYTES,
  MAX_RESUME_TICKET_BYTES,
  MAX_SIGNED_BYTES,
  MAX_USED_NONCES,
  MAX_ZONES,
  NONCE_RECORD_BYTES,
  PIN_BYTES,
  SIGNATURE_BYTES,
} from "./limits.ts";
import { LOG_LEVELS } from "./log_codes.ts";

/** A message with a kind. */
export interface AnyMessage {
  readonly kind: string;
}

/** The fields of the message of kind `K`. */
type Body<M extends AnyMessage, K extends M["kind"]> = Omit<Extract<M, { kind: K }>, "kind">;

/** How one kind looks on the link. */
export interface KindLayout<B> {
  /** First element of the message. */
  readonly number: number;
  /** The elements after it, in this order. */
  readonly fields: RecordTypes<B>;
  /** What must hold between fields. */
  readonly rule?: (body: B) => Fault | undefined;
}

/** Layouts of all kinds of one direction. */
export type Layouts<M extends AnyMessage> = {
  readonly [K in M["kind"]]: KindLayout<Body<M, K>>;
};

/** Numbers for channels that the driver opens: the high bit set. */
const DRIVER_ALLOTTED: readonly [number, number] = [0x8000_0000, 0xffff_ffff];

const channel = u32;
const channelName = text(MAX_NAME_BYTES);
const piece = bin(CHANNEL_PIECE_BYTES);
const creditBytes = whole(1, CHANNEL_WINDOW_BYTES);
const reason = text();
const code = whole(0, 0xffff);
const pairsOfComponents = words([SOME, DECLARED]);
const pairsOfZones = words([SOME, [0, MAX_ZONES]]);
const ticket = bin(MAX_RESUME_TICKET_BYTES);
const version = whole(0, 0xffff);
const MASK: readonly [number, number] = [0, MAX_FIELD_MASK];
const fieldMask = whole(...MASK);
const nonceRecords = bin(MAX_USED_NONCES * NONCE_RECORD_BYTES);

/** Records of used nonces are whole. */
function recordRule(records: Uint8Array): Fault | undefined {
  return records.length % NONCE_RECORD_BYTES === 0 ? undefined : Fault.Truncated;
}

/** Only the piece that ends a message may be empty: an empty message is one empty last piece. */
function pieceRule(body: { readonly piece: Uint8Array; readonly last: boolean }) {
  return body.piece.length === 0 && !body.last ? Fault.NonCanonical : undefined;
}

/** Driver to engine: kind numbers 1..63. */
export const TO_ENGINE: Layouts<ToEngine> = {
  hello: {
    number: 1,
    fields: {
      linkVersion: version,
      role: oneOf("server", "client", "loopback"),
      schemaHash: hash,
      components: list(
        tuple<readonly [number, string, number]>(declaredId, name, whole(0, MAX_FIELDS * 16)),
        MAX_COMPONENTS,
      ),
      nodes,
      certificateHash: hashOrEmpty,
      listen: text(),
      boot: u32,
    },
    rule(body) {
      const isAscending = body.components.every(([id], i) =>
        i === 0 || id > body.components[i - 1]![0]
      );
      return isAscending ? undefined : Fault.NonCanonical;
    },
  },
  joined: {
    number: 2,
    fields: { peer, roleId, resumed: flag, timeline: time, resume: ticket, listen: text() },
  },
  left: { number: 3, fields: { code: u32, reason, final: flag } },
  batch: {
    number: 4,
    fields: {
      tick: u32,
      spawns: words([SOME]),
      spawnIds: words([SOME]),
      spawnOwners: words([PEER]),
      components: componentRows(true),
      removes: pairsOfComponents,
      hides: pairsOfComponents,
      despawns: words([SOME]),
      owners: words([SOME, PEER, [0, 0xff]]),
      zones: pairsOfZones,
    },
    rule(body) {
      const count = body.spawns.length;
      const isEqual = body.spawnIds.length === count && body.spawnOwners.length === count;
      return isEqual ? undefined : Fault.OutOfRange;
    },
  },
  stamped: { number: 5, fields: { id: u32, time } },
  named: { number: 6, fields: { pairs: words([ENGINE_ALLOTTED, SOME]) } },
  spawnRefused: { number: 7, fields: { handle: whole(...ENGINE_ALLOTTED), rule: name } },
  peerJoin: { number: 8, fields: { peer, roleId, resumed: flag } },
  peerLeave: { number: 9, fields: { peer, reason } },
  roleChanged: { number: 10, fields: { peer, roleId } },
  event: {
    number: 11,
    fields: {
      eventId: declaredId,
      from: peer,
      time,
      late: flag,
      row: bin(MAX_EVENT_ROW_BYTES),
    },
  },
  channelOpen: {
    number: 12,
    fields: {
      channel: whole(...DRIVER_ALLOTTED),
      channelId: declaredId,
      name: channelName,
      peer,
    },
  },
  channelData: { number: 13, fields: { channel, piece, last: flag }, rule: pieceRule },
  channelCredit: { number: 14, fields: { channel, bytes: creditBytes } },
  channelClose: { number: 15, fields: { channel, reason } },
  voice: {
    number: 16,
    fields: {
      handle: whole(...SOME),
      sequence: whole(0, 0xffff),
      time,
      position: doubles(3),
      frame: bin(MAX_OPUS_PACKET_BYTES, 1),
    },
    rule(body) {
      const axes = body.position.length;
      return axes === 0 || axes === 3 ? undefined : Fault.OutOfRange;
    },
  },
  denied: { number: 17, fields: { denial: denialReport } },
  stats: { number: 18, fields: { values: stats } },
  stateHash: { number: 19, fields: { request: u32, pairs: words([SOME, ANY]) } },
  ping: { number: 20, fields: { time: finite } },
  pong: { number: 21, fields: { time: finite } },
  goodbye: { number: 22, fields: { code, reason } },
  sign: { number: 23, fields: { request: u32, bytes: bin(MAX_SIGNED_BYTES, 1) } },
  nonces: {
    number: 24,
    fields: { used: nonceRecords },
    rule: (body) => body.used.length === 0 ? Fault.OutOfRange : recordRule(body.used),
  },
  identity: {
    number: 25,
    fields: {
      peer,
      token: bin(MAX_CREDENTIAL_BYTES, 1),
      challenge: bin(CHALLENGE_BYTES, CHALLENGE_BYTES),
      pin: bin(PIN_BYTES, PIN_BYTES),
      signature: bin(SIGNATURE_BYTES, SIGNATURE_BYTES),
    },
  },
  grantsChanged: {
    number: 26,
    fields: { adjustments: words([DECLARED, MASK, MASK, MASK, MASK], MAX_COMPONENTS) },
    rule: ({ adjustments }) => packedAdjustmentsFault(adjustments),
  },
  log: {
    number: 30,
    fields: {
      request: u32,
      entries: words([SOME, ANY, [1, 0xffff], SOME, ANY, ANY, ANY, ANY], MAX_LOG_ANSWER),
      next: whole(...SOME),
    },
    rule({ entries, next }) {
      let last = 0;
      for (let at = 0; at < entries.length; at += 4 + LOG_ARGUMENTS) {
        if (entries[at]! <= last) return Fault.NonCanonical;
        last = entries[at]!;
      }
      return last < next ? undefined : Fault.OutOfRange;
    },
  },
  violation: {
    number: 31,
    fields: {
      peer,
      handle: u32,
      componentId: declaredId,
      field: whole(0, MAX_FIELDS - 1),
      check: oneOf("bounds", "rate", "acceleration", "step", "speed"),
      measured: finite,
      limit: finite,
      action: oneOf("reject", "clamp", "report"),
      count: whole(...SOME),
    },
  },
};

/** Engine to driver: kind numbers 64..127, so that a frame sent the wrong way is refused by its first element. */
export const TO_DRIVER: Layouts<ToDriver> = {
  welcome: {
    number: 64,
    fields: {
      linkVersion: version,
      schemaHash: hash,
      connect: connectOrder,
      resume: ticket,
      nonces: nonceRecords,
      entities: words([SOME, SOME]),
    },
    rule: (body) => recordRule(body.nonces),
  },
  batch: {
    number: 65,
    fields: {
      id: u32,
      spawns: words([ENGINE_ALLOTTED]),
      spawnOwners: words([PEER]),
      components: componentRows(false),
      removes: pairsOfComponents,
      despawns: words([SOME]),
      zones: pairsOfZones,
    },
    rule: (body) => body.spawnOwners.length === body.spawns.length ? undefined : Fault.OutOfRange,
  },
  event: { number: 66, fields: { eventId: declaredId, to: peer, row: bin(MAX_EVENT_ROW_BYTES) } },
  channelOpen: {
    number: 67,
    fields: {
      channel: whole(...ENGINE_ALLOTTED),
      channelId: declaredId,
      name: channelName,
      peer,
    },
  },
  channelData: { number: 68, fields: { channel, piece, last: flag }, rule: pieceRule },
  channelCredit: { number: 69, fields: { channel, bytes: creditBytes } },
  channelClose: { number: 70, fields: { channel, reason } },
  voice: {
    number: 71,
    fields: { handle: whole(...SOME), frame: bin(MAX_OPUS_PACKET_BYTES, 1) },
  },
  setRole: { number: 72, fields: { peer, roleId } },
  transfer: { number: 73, fields: { handle: whole(...SOME), peer } },
  kick: { number: 74, fields: { peer, reason } },
  stateHash: { number: 75, fields: { request: u32 } },
  ping: { number: 76, fields: { time: finite } },
  pong: { number: 77, fields: { time: finite } },
  goodbye: { number: 78, fields: { code, reason } },
  resend: { number: 79, fields: { pairs: pairsOfComponents } },
  signed: {
    number: 80,
    fields: {
      request: u32,
      credential: bin(MAX_CREDENTIAL_BYTES),
      signature: bin(SIGNATURE_BYTES),
    },
    rule: ({ signature }) =>
      signature.length === 0 || signature.length === SIGNATURE_BYTES ? undefined : Fault.OutOfRange,
  },
  setGrants: {
    number: 81,
    fields: {
      peer,
      componentId: declaredId,
      readGranted: fieldMask,
      readRevoked: fieldMask,
      writeGranted: fieldMask,
      writeRevoked: fieldMask,
    },
    rule: (body) => adjustmentFault(body),
  },
  readLog: {
    number: 90,
    fields: { request: u32, level: oneOf(...LOG_LEVELS), since: u32 },
  },
};

/** A layout seen without its type: what the codec loops over. */
export interface UntypedLayout {
  /** The kind. */
  readonly kind: string;
  /** First element of the message. */
  readonly number: number;
  /** Names and types of the other elements. */
  readonly fields: readonly (readonly [string, FieldType<unknown>])[];
  /** What must hold between fields. */
  readonly rule: ((body: never) => Fault | undefined) | undefined;
}

/** The layouts of one direction by kind and by number. */
export interface LayoutTable {
  /** By kind. */
  readonly byKind: ReadonlyMap<string, UntypedLayout>;
  /** By number. */
  readonly byNumber: ReadonlyMap<number, UntypedLayout>;
}

/** Indexes the layouts of one direction. */
export function tableOf<M extends AnyMessage>(layouts: Layouts<M>): LayoutTable {
  const byKind = new Map<string, UntypedLayout>();
  const byNumber = new Map<number, UntypedLayout>();
  const entries = Object.entries(layouts) as [string, KindLayout<Record<string, unknown>>][];
  for (const [kind, { number, fields, rule }] of entries) {
    const layout = { kind, number, fields: Object.entries(fields), rule };
    byKind.set(kind, layout);
    byNumber.set(number, layout);
  }
  return { byKind, byNumber };
}
