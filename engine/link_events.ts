// What a link tells game code. Every callback is optional, comes when the state it speaks of is in the world already, and may call the link.
// One that throws harms no other. Names and shapes alone: the link calls them.

import type { DenialReport, Handle } from "../protocol/engine_messages.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import type { Channel } from "./channel.ts";
import type { Hello } from "./hello_check.ts";
import type { ChangeTime } from "./state_receiver.ts";
import type { ComponentValues } from "./values.ts";

/** Facts of a joined driver. */
export interface JoinedInfo {
  /** This engine's peer id; 0 on a server. */
  readonly peer: number;
  /** Name of this engine's role. */
  readonly role: string;
  /** The identity of before was taken up again. */
  readonly resumed: boolean;
  /** The present time on the world's timeline. */
  readonly timeline: TimelineTime;
  /** Where a server listens now, `host:port`; empty for clients. */
  readonly listen: string;
}

/** An event from another engine. */
export interface EventInfo {
  /** Who sent it. */
  readonly from: number;
  /** When, on the world's timeline. */
  readonly time: TimelineTime;
  /** The state it belongs to has not arrived in time. */
  readonly late: boolean;
}

/** A voice frame of another engine's entity. */
export interface VoiceInfo {
  /** 16-bit counter of the speaking entity; a gap is a lost frame. */
  readonly sequence: number;
  /** When it was spoken, on the world's timeline. */
  readonly time: TimelineTime;
  /** Where the speaking entity was then, metres; `undefined` when that is not known. */
  readonly position: readonly [number, number, number] | undefined;
}

/** What `onSign` gives: the signature (64 bytes), with a fresh join token where the connect order's must not be shown. */
export type SignAnswer = Uint8Array | {
  /** Ed25519 signature of the bytes by the token's holder, 64 bytes. */
  readonly signature: Uint8Array;
  /** A join token in compact form, at most 4,096 bytes. */
  readonly token?: string | Uint8Array;
};

/** Who a peer is, by its join token. */
export interface IdentityInfo {
  /** The token's holder as its issuer named it. */
  readonly subject: string;
  /** The holder's Ed25519 public key, 32 bytes: the peer has proven that it holds the private one. */
  readonly key: Uint8Array;
  /** Name of the role that the token gives. */
  readonly role: string;
}

/** A check that a peer's writes broke, as the world's manifest declares it. */
export interface ViolationInfo {
  /** Who wrote. */
  readonly peer: number;
  /** The entity, which may have ended meanwhile; 0 where a spawn was refused. */
  readonly handle: Handle;
  /** Name of the component. */
  readonly component: string;
  /** Name of the field. */
  readonly field: string;
  /** Which limit was broken. */
  readonly check: "bounds" | "rate" | "acceleration" | "step" | "speed";
  /** What was measured: world units or radians, their speed or acceleration, or changes a second. */
  readonly measured: number;
  /** The limit, in the same unit. */
  readonly limit: number;
  /** What became of the value: the old one stays, the nearest permitted one counts, or the new one does. */
  readonly action: "reject" | "clamp" | "report";
  /** How many violations of this kind the report stands for; the others were measured less far beyond the limit. */
  readonly count: number;
}

/** Callbacks of an engine link: set them on the link, or give them to `listenForDriver`. */
export class EngineCallbacks {
  /**
   * A callback threw this, also one of a channel. Left out, the first error is thrown by the call that ran the callback (`handleBytes`,
   * `handleTimer`, `flush` and so on) once that is done; the link is in order then, and goes on. `listenForDriver` writes it to its log.
   */
  onError?: ((error: unknown) => void) | undefined;
  /** A driver connected and fits. */
  onDriverReady?: ((hello: Hello) => void) | undefined;
  /** A driver connected and did not fit, or came while another was there. */
  onDriverRefused?: ((reason: string) => void) | undefined;
  /** The driver ended or hung; the world goes on, changes wait for the next one. */
  onDriverLost?: ((reason: string) => void) | undefined;
  /** A driver is there again after one was lost. */
  onDriverBack?: (() => void) | undefined;
  /** A client has joined; a server listens. */
  onJoined?: ((info: JoinedInfo) => void) | undefined;
  /** A client's connection ended; its driver tries again unless `final`. */
  onLeft?: ((code: number, reason: string, final: boolean) => void) | undefined;
  /**
   * A client's driver joins with a join token and needs the holder's signature of `bytes`, a join proof for this world and the server with
   * this certificate pin. Nothing, or a rejection, counts as no signature. An answer takes 5 s at most.
   */
  onSign?:
    | ((
      bytes: Uint8Array,
      pin: string,
    ) => SignAnswer | undefined | Promise<SignAnswer | undefined>)
    | undefined;
  /** A server's: who the peer is that joins next. Comes before `onPlayerJoin`, for peers with a join token. */
  onIdentity?: ((peer: number, identity: IdentityInfo) => void) | undefined;
  /** Another peer is here. */
  onPlayerJoin?: ((peer: number, role: string) => void) | undefined;
  /** Another peer is gone for good. */
  onPlayerLeave?: ((peer: number, reason: string) => void) | undefined;
  /** A peer, or this engine, has another role. */
  onRoleChanged?: ((peer: number, role: string) => void) | undefined;
  /** A remote entity is here, with its components. */
  onSpawn?: ((handle: Handle, owner: number) => void) | undefined;
  /** A replicated entity is gone by someone else's doing. */
  onDespawn?: ((handle: Handle) => void) | undefined;
  /** A spawn of this engine was refused, and has been rolled back. */
  onSpawnRefused?: ((handle: Handle, rule: string) => void) | undefined;
  /** Fields of a component changed by someone else's doing; after a spawn once for each component. */
  onRemoteChange?:
    | ((handle: Handle, component: string, values: ComponentValues, at: ChangeTime) => void)
    | undefined;
  /** A component was removed by someone else's doing. */
  onRemoteRemove?: ((handle: Handle, component: string) => void) | undefined;
  /**
   * These fields may not be known to this engine any more: its role changed, they were revoked from it, or the entity is not its own now. They
   * are neutral in the world.
   */
  onRevoke?: ((handle: Handle, component: string, fields: readonly string[]) => void) | undefined;
  /** A component is out of this peer's view; its last value stays until it changes again. */
  onHide?: ((handle: Handle, component: string) => void) | undefined;
  /** An entity belongs to another peer now, or its ownership epoch grew by an override. */
  onOwnerChange?: ((handle: Handle, owner: number, epoch: number) => void) | undefined;
  /** An event came. */
  onEvent?: ((name: string, values: ComponentValues, info: EventInfo) => void) | undefined;
  /** A voice frame came. */
  onVoice?: ((handle: Handle, frame: Uint8Array, info: VoiceInfo) => void) | undefined;
  /** A peer opened a channel. */
  onChannel?: ((channel: Channel) => void) | undefined;
  /** Something was denied: by this engine's own gate, the driver or another peer's driver. Summed, a few a second. */
  onDenied?: ((denial: DenialReport) => void) | undefined;
  /** A server's: a peer's writes broke a check of the world. Summed, a few a second of each peer. */
  onViolation?: ((violation: ViolationInfo) => void) | undefined;
  /** The driver stamped the batch `id` with this sample time. */
  onStamped?: ((id: number, time: TimelineTime) => void) | undefined;
  /** The driver's counters, once a second. */
  onStats?: ((values: Readonly<Record<string, number>>) => void) | undefined;
}
