// The manifest after compilation: dense indices, masks and limits, nothing left to interpret. Every door (driver and engine) decides
// from these tables alone. Plain data: the `grants` command prints them as JSON for engines in other languages. No parsing here.

import type { Adjustments } from "./adjustments.ts";

/** The types a field can have. */
export type FieldKind =
  | "bool"
  | "u8"
  | "u16"
  | "u32"
  | "i32"
  | "f32"
  | "vec3"
  | "quat"
  | "string"
  | "bytes"
  | "enum"
  | "entity";

/** One field of a component or an event. */
export interface FieldGrant {
  /** Position in the component and bit in every field mask, 0..30. */
  readonly index: number;
  /** Declared name. */
  readonly name: string;
  /** Type. */
  readonly kind: FieldKind;
  /** Smallest value; f32 and vec3 (each axis): the declared range; integers: inclusive; otherwise 0. */
  readonly min: number;
  /** Largest value; bool: 1; enum: the number of names less one; otherwise as `min`. */
  readonly max: number;
  /** Step of f32 and vec3 (world units), of which `max - min` is a whole number; 1 for integers; of a quat on the lattice of equal angles the largest error in degrees; 0 where it has no meaning. */
  readonly precision: number;
  /** quat: bits of each of the three smallest components; otherwise the bits of one quantised lane; 0 for string and bytes. */
  readonly bits: number;
  /** string (UTF-8) and bytes: most bytes; otherwise 0. */
  readonly maxBytes: number;
  /** enum: its names, in value order; otherwise empty. */
  readonly values: readonly string[];
  /** Quantised 32-bit lanes in a column: 0 (string, bytes), 1, 3 (vec3) or 4 (quat: index of the largest, then the three others). */
  readonly lanes: number;
  /** First lane inside the component's row of lanes. */
  readonly laneOffset: number;
  /** string and bytes: position among the component's variable fields; otherwise -1. */
  readonly blobIndex: number;
  /** Byte offset of the value in the fixed part of an engine-link row; -1 for string and bytes. */
  readonly rowOffset: number;
}

/** What the server's driver does with a value that breaks a check. */
export type CheckAction = "reject" | "clamp" | "report";

/** Checks of one field against cheating: of peers' writes, at the server's driver alone. 0 and empty lists stand for no limit. */
export interface FieldCheck {
  /** Index of the field. */
  readonly field: number;
  /** Smallest values, world units: one number, or x, y, z of a vec3. */
  readonly min: readonly number[];
  /** Largest values, as `min`. */
  readonly max: readonly number[];
  /** Farthest from one accepted write to the next: world units, of a quat radians. */
  readonly maxStep: number;
  /** Fastest change, world units (radians) a second. */
  readonly maxSpeed: number;
  /** Fastest gain or turn of speed, world units per second squared. */
  readonly maxAcceleration: number;
  /** Most changes a second. */
  readonly rateHz: number;
  /** Roles whose writes are not judged, bit by role index. */
  readonly exemptRoles: number;
  /** What happens to a value that breaks one. */
  readonly action: CheckAction;
}

/** Who may write a component of an entity. */
export type Authority = "server" | "owner";

/** One component type. */
export interface ComponentGrant {
  /** Dense index, by ascending id. */
  readonly index: number;
  /** Declared id, 1..16,383. */
  readonly id: number;
  /** Declared name. */
  readonly name: string;
  /** Fields in declared order. */
  readonly fields: readonly FieldGrant[];
  /** Mask with a bit for each field. */
  readonly allFields: number;
  /** Lanes of one row. */
  readonly laneCount: number;
  /** Variable fields (string, bytes) of one row. */
  readonly blobCount: number;
  /** Bytes of the fixed part of one engine-link row. */
  readonly rowBytes: number;
  /** Who decides the values. */
  readonly authority: Authority;
  /** Fields that each role may read, by role index. */
  readonly readMasks: readonly number[];
  /** Fields that the owner of the entity may read, whatever its role. */
  readonly ownerReadMask: number;
  /** Fields that each role may write (on its own entities, where the authority is `owner`), by role index. */
  readonly writeMasks: readonly number[];
  /** Fields that the server's engine may grant to single peers while running: to be read. */
  readonly grantableRead: number;
  /** Likewise to be written, on their own entities; 0 where the authority is `server`. */
  readonly grantableWrite: number;
  /** Roles (bit by role index) that may spawn entities with this component and add it to or remove it from their own; always the server. */
  readonly spawnRoles: number;
  /** Entities with this component that one peer may own by its own spawning. */
  readonly spawnMax: number;
  /** Checks of single fields, by ascending field index. */
  readonly checks: readonly FieldCheck[];
  /** Most new values a second of one entity. */
  readonly rateHz: number;
  /** Distance in metres within which a peer is sent the component; 0 means everywhere. */
  readonly interestRadius: number;
  /** What a tick of waiting of a changed value counts, 1 to `MAX_WEIGHT`. */
  readonly weight: number;
  /** Index of the vec3 field that is the entity's position, or -1. */
  readonly positionField: number;
  /** Fields that this host lets out to its network and in from it (masks): the world's rights less what `host` takes away. */
  readonly hostSendMask: number;
  /** See {@linkcode ComponentGrant.hostSendMask}. */
  readonly hostReceiveMask: number;
}

/** One event type. */
export interface EventGrant {
  /** Dense index, by ascending id. */
  readonly index: number;
  /** Declared id. */
  readonly id: number;
  /** Declared name. */
  readonly name: string;
  /** Fields, laid out as a component's. */
  readonly fields: readonly FieldGrant[];
  /** Lanes of one value. */
  readonly laneCount: number;
  /** Variable fields of one value. */
  readonly blobCount: number;
  /** Bytes of the fixed part of one engine-link row. */
  readonly rowBytes: number;
  /** Roles that may send it, bit by role index. */
  readonly sendRoles: number;
  /** Roles that may receive it, bit by role index; `server` among them means the server's engine. */
  readonly receiveRoles: number;
  /** Most events a second from one sender. */
  readonly rateHz: number;
  /** What happens to an event whose state has not arrived in time. */
  readonly late: "deliver" | "drop";
  /** How long it waits for its state, ms. */
  readonly waitMs: number;
  /** This host lets it out. */
  readonly hostSend: boolean;
  /** This host lets it in. */
  readonly hostReceive: boolean;
}

/** One channel declaration. */
export interface ChannelGrant {
  /** Dense index, by ascending id. */
  readonly index: number;
  /** Declared id. */
  readonly id: number;
  /** Declared name; a namespace ends in `/*`. */
  readonly name: string;
  /** True for a namespace inside which channels are opened while running. */
  readonly namespace: boolean;
  /** Ordered and repeated until it arrives, or one datagram that may be lost. */
  readonly mode: "reliable" | "unreliable";
  /** Roles that may send on it, bit by role index. A channel joins one peer with the server's engine. */
  readonly sendRoles: number;
  /** Roles that may receive on it, bit by role index. */
  readonly receiveRoles: number;
  /** Most bytes of one message. */
  readonly maxBytes: number;
  /** Most messages a second of one sender. */
  readonly rateHz: number;
  /** Channels of this namespace that one peer may have open. */
  readonly maxOpen: number;
  /** This host lets messages out. */
  readonly hostSend: boolean;
  /** This host lets messages in. */
  readonly hostReceive: boolean;
}

/** One zone: where an entity may be, and who sees it there. */
export interface ZoneGrant {
  /** Declared id, 1 to `MAX_ZONES`; 0 stands for no zone. */
  readonly id: number;
  /** Declared name. */
  readonly name: string;
  /** What is in it is hidden from peers that stand elsewhere. */
  readonly closed: boolean;
  /** Roles (bit by role index) that see into it from elsewhere; all of them where it is not closed, always the server. */
  readonly seenByRoles: number;
}

/** What the manifest grants to voice. */
export interface VoiceGrant {
  /** Roles that may speak, bit by role index. 0: the world has no voice. */
  readonly speakRoles: number;
  /** Roles that may hear, bit by role index. */
  readonly hearRoles: number;
  /** Hearing range in metres. */
  readonly range: number;
  /** Most bytes of one frame. */
  readonly maxFrameBytes: number;
  /** Most frames a second of one speaking entity. */
  readonly rateHz: number;
  /** This host lets voice out. */
  readonly hostSend: boolean;
  /** This host lets voice in. */
  readonly hostReceive: boolean;
}

/** One role. */
export interface RoleGrant {
  /** Dense index; 0 is the built-in `server`, the holder of world authority. */
  readonly index: number;
  /** Declared id; 0 for `server`. */
  readonly id: number;
  /** Declared name. */
  readonly name: string;
}

/** Who may join a world. */
export interface IdentityGrant {
  /** Whoever connects may join, with the default role. */
  readonly anonymous: boolean;
  /** Ed25519 public keys, base64url, of those whose join tokens are taken. */
  readonly issuers: readonly string[];
}

/** Everything one driver and its engine may do, compiled. */
export interface Grants {
  /** Version of this layout. */
  readonly version: 1;
  /** SHA-256 of the canonical `world` part, lower-case hex: what peers compare. */
  readonly schemaHash: string;
  /** Name of the world, for people. */
  readonly worldName: string;
  /** Server ticks a second. */
  readonly tickHz: number;
  /** How long versions are kept as baselines, ms. */
  readonly historyMs: number;
  /** Entities the world may hold. */
  readonly maxEntities: number;
  /** Peers the world may hold. */
  readonly maxPeers: number;
  /** Entities one peer may own by its own spawning. */
  readonly maxEntitiesPerPeer: number;
  /** How long a lost peer's place, entities and ownership are kept, ms. */
  readonly resumeMs: number;
  /** Roles, by index. */
  readonly roles: readonly RoleGrant[];
  /** Role index of a peer that joins. */
  readonly defaultRole: number;
  /** Who may join. */
  readonly identity: IdentityGrant;
  /** Components, by index. */
  readonly components: readonly ComponentGrant[];
  /** Events, by index. */
  readonly events: readonly EventGrant[];
  /** Channels, by index. */
  readonly channels: readonly ChannelGrant[];
  /** Zones, by ascending id. */
  readonly zones: readonly ZoneGrant[];
  /** Voice. */
  readonly voice: VoiceGrant;
  /** Bytes a second that this host sends to one peer, at most. */
  readonly peerBytesPerSecond: number;
  /** Bytes a second to a peer that has just joined, at most, in place of that. */
  readonly joinBytesPerSecond: number;
  /** Longest time for which they count, ms. */
  readonly joinMs: number;
}

/** Role index of the built-in `server` role. */
export const SERVER_ROLE = 0;

/** Field mask of a component that a peer of `roleIndex`, adjusted so, may read by the world's rights. */
export function readMaskOf(
  component: ComponentGrant,
  roleIndex: number,
  isOwner: boolean,
  adjusted?: Adjustments,
): number {
  const role = component.readMasks[roleIndex] ?? 0;
  const mask = isOwner ? role | component.ownerReadMask : role;
  return adjusted === undefined ? mask : adjusted.reading(component.index, mask);
}

/** Field mask of a component that a peer of `roleIndex`, adjusted so, may write on its own entities by the world's rights. */
export function ownWriteMaskOf(
  component: ComponentGrant,
  roleIndex: number,
  adjusted?: Adjustments,
): number {
  if (component.authority !== "owner") return 0;
  const mask = component.writeMasks[roleIndex] ?? 0;
  return adjusted === undefined ? mask : adjusted.writing(component.index, mask);
}
