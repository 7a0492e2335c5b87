// What engine and driver say to each other over the Unix socket, as typed values. Both directions, every kind, nothing about sockets;
// the bytes are in `engine_codec.ts`. `docs/PROTOCOL.md` chapter "Engine link" is normative.

import type { LogLevel } from "./log_codes.ts";
import type { TimelineTime } from "./timeline_units.ts";

/** A handle names an entity on one engine link: high bit 0 allotted by the engine, 1 by the driver. 0 is "no entity". */
export type Handle = number;

/** The bit that marks handles allotted by the driver. */
export const DRIVER_HANDLE_BIT = 0x8000_0000;

/** Recipient meaning "every peer that may receive it". */
export const ALL_PEERS = 0xffff;

/** Peer id of the holder of world authority in the first form: the server's driver. */
export const SERVER_PEER = 0;

/**
 * Values of one component for several entities, packed.
 *
 * `rows` holds, entity after entity, the fixed part (`rowBytes` bytes, fields at their `rowOffset`, little-endian, f32 for f32, vec3 and
 * quat, u8 for bool, u16 for enum, u32 for an entity handle) and then for every variable field, in field order, a u32 length and its
 * bytes (length 0 where the mask leaves the field out).
 */
export interface ComponentRows {
  /** Declared component id. */
  readonly componentId: number;
  /** One handle a row. */
  readonly handles: Uint32Array;
  /** Fields that each row carries; fields outside the mask are zero in the row and mean nothing. */
  readonly masks: Uint32Array;
  /** The packed rows. */
  readonly rows: Uint8Array;
  /** Sample time of each row on the world's timeline; empty from the engine, whose driver stamps the batch. */
  readonly times: Float64Array;
}

/** Where a client's driver shall connect, given by its engine; must lie within the manifest's endpoints. */
export interface ConnectOrder {
  /** `quic://host:port`. */
  readonly url: string;
  /** SHA-256 of the server's certificate, lower-case hex; empty to check against the manifest's CA. */
  readonly pin: string;
  /** A join token that is shown to the server when it asks who joins; at most 4,096 bytes; empty to join as anybody. */
  readonly credential: Uint8Array;
}

/** A fact about a denied read, write, event, message or frame. Never carries contents. */
export interface DenialReport {
  /** The door that refused: this driver, the peer's driver (told over the network), or the engine's own gate. */
  readonly door: "driver" | "remote" | "engine";
  /** The rule that decided; see `permissions/gate.ts`. */
  readonly rule: string;
  /** Peer who tried. */
  readonly peer: number;
  /** What it was about: `component`, `event`, `channel`, `voice`, `spawn`, `despawn`, `zone`. */
  readonly subject: string;
  /** Declared id of the component, event or channel, number of the zone; 0 for voice. */
  readonly id: number;
  /** Mask of the fields refused; 0 where it does not apply. */
  readonly fields: number;
  /** The entity; 0 where none is concerned or it is unknown. */
  readonly handle: Handle;
  /** How many equal denials this report stands for. */
  readonly count: number;
}

/** Driver to engine. */
export type ToEngine =
  | {
    readonly kind: "hello";
    readonly linkVersion: number;
    readonly role: "server" | "client" | "loopback";
    readonly schemaHash: string;
    /** `[id, name, rowBytes]` of every component, for the engine to compare with its own table. */
    readonly components: readonly (readonly [number, string, number])[];
    /** Dataflow nodes: name, `input` (packets in) or `output` (packets out), and their stream names. */
    readonly nodes: readonly (readonly [string, "input" | "output", readonly string[]])[];
    /** SHA-256 of this driver's certificate, lower-case hex; empty for clients. */
    readonly certificateHash: string;
    /** Where it will listen, `host:port`; empty for clients. */
    readonly listen: string;
    /** Random number of this boot, 32 bits. */
    readonly boot: number;
  }
  /** Joined (client), listening (server) or ready (loopback). `timeline` is the present time. `resume` goes back in the next welcome. */
  | {
    readonly kind: "joined";
    readonly peer: number;
    readonly roleId: number;
    readonly resumed: boolean;
    readonly timeline: TimelineTime;
    readonly resume: Uint8Array;
    /** Where a server listens now, `host:port` with the real port; empty for clients. */
    readonly listen: string;
  }
  /** A client's connection ended; it tries again unless `final`. */
  | {
    readonly kind: "left";
    readonly code: number;
    readonly reason: string;
    readonly final: boolean;
  }
  /** Partial change of the world: all of it belongs to one server tick. */
  | {
    readonly kind: "batch";
    readonly tick: number;
    readonly spawns: Uint32Array;
    /** Network id of each spawn. */
    readonly spawnIds: Uint32Array;
    /** Owner of each spawn, a peer id. */
    readonly spawnOwners: Uint32Array;
    readonly components: readonly ComponentRows[];
    /** `[handle, componentId]` pairs, flat: removed for good. */
    readonly removes: Uint32Array;
    /** `[handle, componentId]` pairs, flat: out of this peer's view, last value kept; rows for it mean it is back. */
    readonly hides: Uint32Array;
    readonly despawns: Uint32Array;
    /** `[handle, owner, epoch]` triples, flat: ownership changed. */
    readonly owners: Uint32Array;
    /**
     * A server's: `[handle, zone]` pairs, flat: entities that are in these zones though the engine did not put them there, or could not put
     * them elsewhere. A spawn that is not named is in none.
     */
    readonly zones: Uint32Array;
  }
  /** The engine's batch `id` was stamped with this sample time. */
  | { readonly kind: "stamped"; readonly id: number; readonly time: TimelineTime }
  /** Network ids given to engine-allotted handles: pairs, flat. */
  | { readonly kind: "named"; readonly pairs: Uint32Array }
  /** A spawn of this engine was refused and must be rolled back. */
  | { readonly kind: "spawnRefused"; readonly handle: Handle; readonly rule: string }
  | {
    readonly kind: "peerJoin";
    readonly peer: number;
    readonly roleId: number;
    readonly resumed: boolean;
  }
  | { readonly kind: "peerLeave"; readonly peer: number; readonly reason: string }
  | { readonly kind: "roleChanged"; readonly peer: number; readonly roleId: number }
  /**
   * A client's: what was granted to this engine's peer and revoked from it while running, whole: groups of `ADJUSTMENT_WORDS` words, component
   * id and four masks (see `adjustment.ts`), ascending. A place that is taken up again has it told before `joined`.
   */
  | { readonly kind: "grantsChanged"; readonly adjustments: Uint32Array }
  | {
    readonly kind: "event";
    readonly eventId: number;
    readonly from: number;
    readonly time: TimelineTime;
    readonly late: boolean;
    /** One packed row, as in `ComponentRows.rows`, all fields. */
    readonly row: Uint8Array;
  }
  | {
    readonly kind: "channelOpen";
    readonly channel: number;
    readonly channelId: number;
    readonly name: string;
    readonly peer: number;
  }
  /** One piece of a message; `last` ends it. Unreliable messages come in one piece. */
  | {
    readonly kind: "channelData";
    readonly channel: number;
    readonly piece: Uint8Array;
    readonly last: boolean;
  }
  /** Bytes of this channel that left the driver since the last report: the engine's sending window grows by them. */
  | { readonly kind: "channelCredit"; readonly channel: number; readonly bytes: number }
  | { readonly kind: "channelClose"; readonly channel: number; readonly reason: string }
  | {
    readonly kind: "voice";
    readonly handle: Handle;
    readonly sequence: number;
    readonly time: TimelineTime;
    /** Position of the speaking entity at `time`, metres: x, y, z; empty when it is not known. */
    readonly position: Float64Array;
    readonly frame: Uint8Array;
  }
  | { readonly kind: "denied"; readonly denial: DenialReport }
  /** A server's: a peer's writes broke a check of the world. Numbers of the field that was judged, and no other contents. */
  | {
    readonly kind: "violation";
    readonly peer: number;
    /** The entity; 0 where it was refused before it had one. */
    readonly handle: Handle;
    readonly componentId: number;
    /** Index of the field. */
    readonly field: number;
    readonly check: "bounds" | "rate" | "acceleration" | "step" | "speed";
    /** What was measured, and the limit, in the limit's own unit. */
    readonly measured: number;
    readonly limit: number;
    /** What became of the value. */
    readonly action: "reject" | "clamp" | "report";
    /** How many equal violations this report stands for; the others were measured less far beyond the limit. */
    readonly count: number;
  }
  /** Counters and gauges by name, without contents. Sent once a second. */
  | { readonly kind: "stats"; readonly values: Readonly<Record<string, number>> }
  /** `[handle, hash]` pairs, flat: FNV-1a over the quantised lanes of all components the entity has here. */
  | { readonly kind: "stateHash"; readonly request: number; readonly pairs: Uint32Array }
  | { readonly kind: "pong"; readonly time: number }
  | { readonly kind: "ping"; readonly time: number }
  | { readonly kind: "goodbye"; readonly code: number; readonly reason: string }
  /** A client's: the server asks for a proof. The engine holds the key; it signs a join proof for its own world and nothing else. */
  | { readonly kind: "sign"; readonly request: number; readonly bytes: Uint8Array }
  /** A server's: join tokens that have just been used, records of `NONCE_RECORD_BYTES`. The engine keeps them for the next driver. */
  | { readonly kind: "nonces"; readonly used: Uint8Array }
  /**
   * A server's: the join token that a peer has shown, with all that proves it, so that the engine can see for itself; comes before `peerJoin`
   * and before the token's record in `nonces`. Peers without a token have none.
   */
  | {
    readonly kind: "identity";
    readonly peer: number;
    readonly token: Uint8Array;
    /** What the peer was asked to sign, 32 bytes. */
    readonly challenge: Uint8Array;
    /** SHA-256 of the driver's certificate, 32 bytes. */
    readonly pin: Uint8Array;
    /** The holder's signature of the join proof, 64 bytes. */
    readonly signature: Uint8Array;
  }
  /**
   * The answer to `readLog`: entries as groups of 8 words, oldest first: sequence, age in ms, code, count, four numbers that belong to the
   * code (see `log_codes.ts`). `next` is the `since` to read on with.
   */
  | {
    readonly kind: "log";
    readonly request: number;
    readonly entries: Uint32Array;
    readonly next: number;
  };

/** Engine to driver. */
export type ToDriver =
  | {
    readonly kind: "welcome";
    readonly linkVersion: number;
    readonly schemaHash: string;
    /** A client's orders; `undefined` leaves the manifest's. */
    readonly connect: ConnectOrder | undefined;
    /** What the last `joined` gave, or empty. */
    readonly resume: Uint8Array;
    /** A server's: the records of all `nonces` of earlier drivers, at most `MAX_USED_NONCES`; those that end last where there were more. */
    readonly nonces: Uint8Array;
    /** `[handle, network id]` pairs the SDK holds from an earlier driver, flat. */
    readonly entities: Uint32Array;
  }
  | {
    readonly kind: "batch";
    readonly id: number;
    readonly spawns: Uint32Array;
    /** Owner of each spawn, a peer id; the spawning side itself where it is a client. */
    readonly spawnOwners: Uint32Array;
    readonly components: readonly ComponentRows[];
    /** `[handle, componentId]` pairs, flat. */
    readonly removes: Uint32Array;
    readonly despawns: Uint32Array;
    /** Server's engine only: `[handle, zone]` pairs, flat: where entities are from now on, 0 for no zone. A spawn begins there. */
    readonly zones: Uint32Array;
  }
  | {
    readonly kind: "event";
    readonly eventId: number;
    /** A peer id, or `ALL_PEERS`. Clients always send to the server's driver, which relays as the manifest says. */
    readonly to: number;
    readonly row: Uint8Array;
  }
  /** Opens a channel under a number chosen by the engine (below 2^31; the driver's own have the high bit). */
  | {
    readonly kind: "channelOpen";
    readonly channel: number;
    readonly channelId: number;
    readonly name: string;
    readonly peer: number;
  }
  | {
    readonly kind: "channelData";
    readonly channel: number;
    readonly piece: Uint8Array;
    readonly last: boolean;
  }
  /** The engine has consumed so many bytes of this channel: the driver's window to the engine grows by them. */
  | { readonly kind: "channelCredit"; readonly channel: number; readonly bytes: number }
  | { readonly kind: "channelClose"; readonly channel: number; readonly reason: string }
  | { readonly kind: "voice"; readonly handle: Handle; readonly frame: Uint8Array }
  /** Server's engine only. */
  | { readonly kind: "setRole"; readonly peer: number; readonly roleId: number }
  /** Server's engine only: what is granted to a peer and revoked from it of one component, in place of what was before. Masks of fields. */
  | {
    readonly kind: "setGrants";
    readonly peer: number;
    readonly componentId: number;
    readonly readGranted: number;
    readonly readRevoked: number;
    readonly writeGranted: number;
    readonly writeRevoked: number;
  }
  /** Server's engine only: the entity gets another owner. */
  | { readonly kind: "transfer"; readonly handle: Handle; readonly peer: number }
  /** Server's engine only. */
  | { readonly kind: "kick"; readonly peer: number; readonly reason: string }
  | { readonly kind: "stateHash"; readonly request: number }
  | { readonly kind: "ping"; readonly time: number }
  | { readonly kind: "pong"; readonly time: number }
  | { readonly kind: "goodbye"; readonly code: number; readonly reason: string }
  /** `[handle, componentId]` pairs, flat: game code changed what it may not; the driver sends the values that hold. */
  | { readonly kind: "resend"; readonly pairs: Uint32Array }
  /** The answer to `sign`: the signature, or nothing when there is none to be had. */
  | {
    readonly kind: "signed";
    readonly request: number;
    /** A fresh join token in place of the connect order's; empty to show that one. */
    readonly credential: Uint8Array;
    /** 64 bytes, or empty. */
    readonly signature: Uint8Array;
  }
  /** Asks for entries of the driver's log: of `level` and more important, from sequence `since` on. */
  | {
    readonly kind: "readLog";
    readonly request: number;
    readonly level: LogLevel;
    readonly since: number;
  };

/** A report of broken checks. */
export type ViolationReport = Omit<Extract<ToEngine, { kind: "violation" }>, "kind">;
