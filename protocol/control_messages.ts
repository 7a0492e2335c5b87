// What two drivers say to each other on the control stream, as typed values and as bytes: one fixed layout a kind, bounded, canonical. It
// knows nothing of frames (`control_frames.ts`) nor of who may say what when, but for the direction. Layout: `docs/PROTOCOL.md` chapter 3.

import {
  readAccepted,
  readDenied,
  readEnd,
  readEvent,
  readId,
  readIds,
  readJoin,
  readPeer,
  readProof,
  readRoster,
  writeAccepted,
  writeDenied,
  writeEnd,
  writeEvent,
  writeIds,
  writeJoin,
  writeProof,
  writeRoster,
} from "./control_layout.ts";
import { type ComponentAdjustment, readAdjustment, writeAdjustment } from "./adjustment.ts";
import { assert } from "./assert.ts";
import type { DenialSubject } from "./denial_subjects.ts";
import type { EntityId } from "./entity_id.ts";
import { Fault } from "./faults.ts";
import { CHALLENGE_BYTES, MAX_DECLARED_ID } from "./limits.ts";
import { Reader } from "./reader.ts";
import type { TimelineTime } from "./timeline_units.ts";
import { Writer } from "./writer.ts";

export { DENIAL_SUBJECTS, type DenialSubject } from "./denial_subjects.ts";

/** First message of the side that wants to join a world. */
export interface JoinMessage {
  /** Tells the messages apart. */
  readonly kind: "join";
  /** `PROTOCOL_VERSION`; a decoder refuses every other version before it looks at the rest. */
  readonly protocolVersion: number;
  /** SHA-256 of the manifest's canonical `world` part, 32 bytes. */
  readonly schemaHash: Uint8Array;
  /** What the joiner can show when it is asked: nothing, or a join token. */
  readonly credential: "none" | "token";
  /** Claim to the place of an earlier connection. */
  readonly resume: { readonly peer: number; readonly secret: Uint8Array } | undefined;
}

/** The world wants to see the join token, and a proof that the joiner holds its key. */
export interface ChallengeMessage {
  /** Tells the messages apart. */
  readonly kind: "challenge";
  /** Fresh and unguessable, 32 bytes; good for one proof. */
  readonly challenge: Uint8Array;
}

/** The answer to a challenge. */
export interface ProofMessage {
  /** Tells the messages apart. */
  readonly kind: "proof";
  /** The join token, 1 to `MAX_CREDENTIAL_BYTES` bytes. */
  readonly token: Uint8Array;
  /** Ed25519 signature of the join proof by the token's holder, 64 bytes. */
  readonly signature: Uint8Array;
}

/** The join was accepted. */
export interface AcceptedMessage {
  /** Tells the messages apart. */
  readonly kind: "accepted";
  /** Peer id of the one who joined. */
  readonly peer: number;
  /** Declared id of its role. */
  readonly roleId: number;
  /** The claim to an earlier place held good. */
  readonly resumed: boolean;
  /** Secret for the next resumption, 32 bytes. */
  readonly resumeSecret: Uint8Array;
  /** Epoch of its role and masks, 8 bits. */
  readonly grantEpoch: number;
  /** Epoch of world authority, 32 bits; datagrams carry the low 3. */
  readonly worldEpoch: number;
  /** Peer that holds the timeline and world authority. */
  readonly authority: number;
  /** Timeline time at sending. */
  readonly time: TimelineTime;
  /** Entity ids to spawn with, ascending. */
  readonly entityIds: readonly EntityId[];
  /** What was granted to and revoked from the place while running, by ascending component id; none of them leaves all to the role. */
  readonly adjustments: readonly ComponentAdjustment[];
}

/** The join was refused; the connection ends. */
export interface RefusedMessage {
  /** Tells the messages apart. */
  readonly kind: "refused";
  /** A fault code or one of `CloseCode`. */
  readonly code: number;
  /** One sentence; cut to `MAX_REASON_BYTES`. */
  readonly reason: string;
}

/** Changes of the roster since the last one; the first after `accepted` lists everyone. */
export interface RosterMessage {
  /** Tells the messages apart. */
  readonly kind: "roster";
  /** Peers that came, by ascending id. */
  readonly joins: readonly { readonly peer: number; readonly roleId: number }[];
  /** Peers that left, ascending; none of them is in `joins`. */
  readonly leaves: readonly number[];
}

/** A peer has another role. To the peer itself it also tells the new grant epoch. */
export interface RoleMessage {
  /** Tells the messages apart. */
  readonly kind: "role";
  /** Who has another role. */
  readonly peer: number;
  /** Declared id of the role. */
  readonly roleId: number;
  /** 8 bits; 0 in messages about others. */
  readonly grantEpoch: number;
}

/** What the receiver was granted and what was revoked from it, of one component; in place of what was said of that component before. */
export interface GrantsMessage {
  /** Tells the messages apart. */
  readonly kind: "grants";
  /** The receiver's new grant epoch, 8 bits. */
  readonly grantEpoch: number;
  /** The component and its masks. */
  readonly adjustment: ComponentAdjustment;
}

/** More entity ids to spawn with. */
export interface EntityIdsMessage {
  /** Tells the messages apart. */
  readonly kind: "entityIds";
  /** Ascending, 1 to `MAX_ENTITY_BLOCK`. */
  readonly ids: readonly EntityId[];
}

/** A spawn was refused and must be rolled back. */
export interface SpawnRefusedMessage {
  /** Tells the messages apart. */
  readonly kind: "spawnRefused";
  /** The entity as its spawner named it. */
  readonly id: EntityId;
  /** Code of the gate's rule. */
  readonly rule: number;
}

/** Something the receiver sent was refused at the sender's gate. Never carries contents. */
export interface DeniedMessage {
  /** Tells the messages apart. */
  readonly kind: "denied";
  /** Code of the gate's rule. */
  readonly rule: number;
  /** What it was about. */
  readonly subject: DenialSubject;
  /** Declared id of the component, event or channel; 0 for voice. */
  readonly id: number;
  /** Mask of the fields refused; 0 where it does not apply. */
  readonly fields: number;
  /** The entity; 0 where none is concerned. */
  readonly entity: EntityId;
  /** How many equal denials this stands for, at least 1. */
  readonly count: number;
}

/** One event. */
export interface EventMessage {
  /** Tells the messages apart. */
  readonly kind: "event";
  /** Declared id. */
  readonly eventId: number;
  /** Peer that caused it; towards authority always 0, as the connection tells who it is. */
  readonly from: number;
  /** Its time on the timeline. */
  readonly time: TimelineTime;
  /**
   * How many ticks after that of `time` its sender sends the state that belongs to it, 0 to `MAX_EVENT_STATE_TICKS`: a slot that comes
   * later, or the way through authority.
   */
  readonly stateTicks: number;
  /** Its fields, encoded as a component value; at most `MAX_EVENT_BYTES`. */
  readonly payload: Uint8Array;
}

/** The sender is about to close the connection. */
export interface ByeMessage {
  /** Tells the messages apart. */
  readonly kind: "bye";
  /** A fault code or one of `CloseCode`. */
  readonly code: number;
  /** One sentence; cut to `MAX_REASON_BYTES`. */
  readonly reason: string;
}

/** Everything that goes over a control stream. */
export type ControlMessage =
  | JoinMessage
  | ChallengeMessage
  | ProofMessage
  | AcceptedMessage
  | RefusedMessage
  | RosterMessage
  | RoleMessage
  | GrantsMessage
  | EntityIdsMessage
  | SpawnRefusedMessage
  | DeniedMessage
  | EventMessage
  | ByeMessage;

/** Which way a message goes: to the holder of world authority, or from it. */
export type ControlDirection = "toAuthority" | "fromAuthority";

/** A decoded message, or why there is none. */
export type ControlResult =
  | { readonly ok: true; readonly message: ControlMessage }
  | { readonly ok: false; readonly fault: Fault };

const TO = 1;
const FROM = 2;

/** Number on the wire, ways it may go, and the two halves of its codec. */
interface Kind<M extends ControlMessage> {
  readonly code: number;
  readonly ways: number;
  readonly write: (w: Writer, m: M) => void;
  readonly read: (r: Reader) => M;
}

const KINDS: {
  readonly [K in ControlMessage["kind"]]: Kind<Extract<ControlMessage, { kind: K }>>;
} = {
  join: { code: 1, ways: TO, write: writeJoin, read: readJoin },
  accepted: { code: 2, ways: FROM, write: writeAccepted, read: readAccepted },
  refused: {
    code: 3,
    ways: FROM,
    write: writeEnd,
    read: (r) => ({ kind: "refused", ...readEnd(r) }),
  },
  roster: { code: 4, ways: FROM, write: writeRoster, read: readRoster },
  role: {
    code: 5,
    ways: FROM,
    write: (w, m) => {
      w.u16(m.peer);
      w.varint(m.roleId);
      w.u8(m.grantEpoch);
    },
    read: (r) => ({
      kind: "role",
      peer: readPeer(r),
      roleId: r.varintAtMost(MAX_DECLARED_ID),
      grantEpoch: r.u8(),
    }),
  },
  entityIds: {
    code: 6,
    ways: FROM,
    write: (w, m) => writeIds(w, m.ids),
    read: (r) => ({ kind: "entityIds", ids: readIds(r, 1) }),
  },
  spawnRefused: {
    code: 7,
    ways: FROM,
    write: (w, m) => {
      w.u32(m.id);
      w.u8(m.rule);
    },
    read: (r) => ({ kind: "spawnRefused", id: readId(r), rule: r.u8() }),
  },
  denied: { code: 8, ways: FROM, write: writeDenied, read: readDenied },
  event: { code: 9, ways: TO | FROM, write: writeEvent, read: readEvent },
  challenge: {
    code: 11,
    ways: FROM,
    write: (w, m) => {
      assert(m.challenge.length === CHALLENGE_BYTES, "a challenge has 32 bytes");
      w.bytes(m.challenge);
    },
    read: (r) => ({ kind: "challenge", challenge: r.bytes(CHALLENGE_BYTES) }),
  },
  proof: { code: 12, ways: TO, write: writeProof, read: readProof },
  grants: {
    code: 13,
    ways: FROM,
    write: (w, m) => {
      w.u8(m.grantEpoch);
      writeAdjustment(w, m.adjustment);
    },
    read: (r) => ({ kind: "grants", grantEpoch: r.u8(), adjustment: readAdjustment(r) }),
  },
  bye: {
    code: 10,
    ways: TO | FROM,
    write: writeEnd,
    read: (r) => ({ kind: "bye", ...readEnd(r) }),
  },
};

const BY_CODE: readonly (Kind<ControlMessage> | undefined)[] = (() => {
  const table: (Kind<ControlMessage> | undefined)[] = [];
  for (const kind of Object.values(KINDS)) table[kind.code] = kind as Kind<ControlMessage>;
  return table;
})();

/** The body of `message`, to be put into a frame by `encodeControlFrame`. */
export function encodeControl(message: ControlMessage): Uint8Array<ArrayBuffer> {
  const w = new Writer(64);
  const kind = KINDS[message.kind] as Kind<ControlMessage>;
  w.u8(kind.code);
  kind.write(w, message);
  return w.finish();
}

/** The message that `body` holds, if it is one that may go this way; its byte arrays are views into `body`. Never throws. */
export function decodeControl(body: Uint8Array, direction: ControlDirection): ControlResult {
  const r = new Reader(body);
  const code = r.u8();
  if (r.fault !== undefined) return { ok: false, fault: r.fault };
  const kind = BY_CODE[code];
  if (kind === undefined) return { ok: false, fault: Fault.UnknownKind };
  if ((kind.ways & (direction === "toAuthority" ? TO : FROM)) === 0) {
    return { ok: false, fault: Fault.Unexpected };
  }
  const message = kind.read(r);
  if (message.kind === "event" && direction === "toAuthority" && message.from !== 0) {
    r.fail(Fault.NonCanonical);
  }
  const fault = r.finish();
  return fault === undefined ? { ok: true, message } : { ok: false, fault };
}
