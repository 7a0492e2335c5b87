// Compiled grants built by hand, for tests of everything behind the manifest: three roles and a component of each sort.

import type {
  Authority,
  ComponentGrant,
  EventGrant,
  FieldCheck,
  FieldGrant,
  FieldKind,
  Grants,
} from "../../permissions/grants.ts";

/** A field as a test declares it; what is left out gets the default of its type. */
export interface FieldSpec {
  readonly name: string;
  readonly kind: FieldKind;
  readonly min?: number;
  readonly max?: number;
  readonly precision?: number;
  readonly bits?: number;
  readonly maxBytes?: number;
  readonly values?: readonly string[];
}

/** A component as a test declares it. Masks default to: every role reads all, nobody but the server writes. */
export interface ComponentSpec {
  readonly id: number;
  readonly name: string;
  readonly fields: readonly FieldSpec[];
  readonly authority?: Authority;
  readonly readMasks?: readonly number[];
  readonly ownerReadMask?: number;
  readonly writeMasks?: readonly number[];
  readonly spawnRoles?: number;
  readonly spawnMax?: number;
  readonly rateHz?: number;
  readonly checks?: readonly FieldCheck[];
  readonly grantableRead?: number;
  readonly grantableWrite?: number;
  readonly interestRadius?: number;
  readonly weight?: number;
  readonly positionField?: number;
  readonly hostSendMask?: number;
  readonly hostReceiveMask?: number;
}

/** Role indices of the sample world. */
export const SERVER = 0;
export const PLAYER = 1;
export const SPECTATOR = 2;

const ROLE_COUNT = 3;

const ROW_BYTES: Readonly<Record<FieldKind, number>> = {
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
  string: 0,
  bytes: 0,
};

const RANGES: Readonly<Partial<Record<FieldKind, readonly [number, number]>>> = {
  bool: [0, 1],
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  i32: [-0x8000_0000, 0x7fff_ffff],
  f32: [-1000, 1000],
  vec3: [-1000, 1000],
};

/** Lays fields out as the manifest compiler does: lanes and rows in declared order, without padding. */
export function layOutFields(specs: readonly FieldSpec[]): {
  fields: FieldGrant[];
  allFields: number;
  laneCount: number;
  blobCount: number;
  rowBytes: number;
} {
  const fields: FieldGrant[] = [];
  let laneCount = 0;
  let blobCount = 0;
  let rowBytes = 0;
  for (const [index, spec] of specs.entries()) {
    const { kind } = spec;
    const isBlob = kind === "string" || kind === "bytes";
    const isReal = kind === "f32" || kind === "vec3";
    const values = spec.values ?? [];
    const isRanged = isReal || kind === "i32" || kind === "u8" || kind === "u16" || kind === "u32";
    const min = isRanged ? spec.min ?? RANGES[kind]![0] : 0;
    const max = kind === "enum"
      ? values.length - 1
      : kind === "bool"
      ? 1
      : isRanged
      ? spec.max ?? RANGES[kind]![1]
      : 0;
    const precision = isReal ? spec.precision ?? 0.001 : isRanged ? 1 : 0;
    const lanes = isBlob ? 0 : kind === "vec3" ? 3 : kind === "quat" ? 4 : 1;
    const bits = isBlob
      ? 0
      : kind === "quat"
      ? spec.bits ?? 10
      : kind === "entity"
      ? 32
      : bitsFor(isReal ? Math.floor((max - min) / precision + 1e-6) : max - min);
    fields.push({
      index,
      name: spec.name,
      kind,
      min,
      max,
      precision,
      bits,
      maxBytes: isBlob ? spec.maxBytes ?? 64 : 0,
      values,
      lanes,
      laneOffset: laneCount,
      blobIndex: isBlob ? blobCount : -1,
      rowOffset: isBlob ? -1 : rowBytes,
    });
    laneCount += lanes;
    if (isBlob) blobCount += 1;
    rowBytes += ROW_BYTES[kind];
  }
  return { fields, allFields: 2 ** specs.length - 1, laneCount, blobCount, rowBytes };
}

/** Bits that 0..max needs. */
function bitsFor(max: number): number {
  let bits = 0;
  while (2 ** bits <= max) bits += 1;
  return bits;
}

/** A component with this dense index. */
export function buildComponent(index: number, spec: ComponentSpec): ComponentGrant {
  const layout = layOutFields(spec.fields);
  const all = layout.allFields;
  const owned = spec.authority === "owner";
  return {
    index,
    id: spec.id,
    name: spec.name,
    ...layout,
    authority: spec.authority ?? "server",
    readMasks: spec.readMasks ?? new Array(ROLE_COUNT).fill(all),
    ownerReadMask: spec.ownerReadMask ?? 0,
    writeMasks: spec.writeMasks ?? [all, owned ? all : 0, 0],
    grantableRead: spec.grantableRead ?? 0,
    grantableWrite: spec.grantableWrite ?? 0,
    spawnRoles: spec.spawnRoles ?? 1 << SERVER,
    spawnMax: spec.spawnMax ?? 0,
    checks: spec.checks ?? [],
    rateHz: spec.rateHz ?? 60,
    interestRadius: spec.interestRadius ?? 0,
    weight: spec.weight ?? 1,
    positionField: spec.positionField ?? -1,
    hostSendMask: spec.hostSendMask ?? all,
    hostReceiveMask: spec.hostReceiveMask ?? all,
  };
}

/** Components from specs, in the order of their ids, densely indexed. */
export function buildComponents(specs: readonly ComponentSpec[]): ComponentGrant[] {
  return specs.toSorted((a, b) => a.id - b.id).map((spec, index) => buildComponent(index, spec));
}

/** Dense indices of the sample components. */
export const TRANSFORM = 0;
export const AVATAR = 1;
export const NAME = 2;
export const HEALTH = 3;
export const EVERYTHING = 4;
export const BLOB = 5;

/** The fields of `Everything`: one of each type. */
export const EVERYTHING_FIELDS: readonly FieldSpec[] = [
  { name: "flag", kind: "bool" },
  { name: "small", kind: "u8" },
  { name: "medium", kind: "u16", min: 10, max: 60_000 },
  { name: "large", kind: "u32" },
  { name: "signed", kind: "i32" },
  { name: "real", kind: "f32", min: -5, max: 5, precision: 0.01 },
  { name: "point", kind: "vec3", min: -100, max: 100, precision: 0.01 },
  { name: "turn", kind: "quat", bits: 12 },
  { name: "text", kind: "string", maxBytes: 64 },
  { name: "data", kind: "bytes", maxBytes: 256 },
  { name: "choice", kind: "enum", values: ["red", "green", "blue"] },
  { name: "target", kind: "entity" },
];

const AVATAR_PARTS = ["body", "head", "leftHand", "rightHand"] as const;

/** The components of the sample world, as specs. */
export const SAMPLE_COMPONENTS: readonly ComponentSpec[] = [
  {
    id: 1,
    name: "Transform",
    fields: [
      { name: "position", kind: "vec3", min: -1000, max: 1000, precision: 0.001 },
      { name: "rotation", kind: "quat", bits: 10 },
    ],
    interestRadius: 50,
    positionField: 0,
  },
  {
    id: 2,
    name: "Avatar",
    fields: AVATAR_PARTS.flatMap((part): FieldSpec[] => [
      { name: `${part}Position`, kind: "vec3", min: -1000, max: 1000, precision: 0.001 },
      { name: `${part}Rotation`, kind: "quat", bits: 10 },
    ]),
    authority: "owner",
    spawnRoles: 1 << SERVER | 1 << PLAYER,
    spawnMax: 4,
    rateHz: 60,
    interestRadius: 50,
    positionField: 0,
  },
  {
    id: 3,
    name: "Name",
    fields: [{ name: "text", kind: "string", maxBytes: 32 }],
    authority: "owner",
    spawnRoles: 1 << SERVER | 1 << PLAYER,
    spawnMax: 4,
  },
  {
    id: 4,
    name: "Health",
    fields: [{ name: "points", kind: "u8" }, { name: "secret", kind: "u32" }],
    readMasks: [0b11, 0b01, 0b01],
  },
  { id: 5, name: "Everything", fields: EVERYTHING_FIELDS },
  { id: 6, name: "Blob", fields: [{ name: "data", kind: "bytes", maxBytes: 65_536 }] },
];

/** Events of the sample world: one that players send, one that only the server sends. */
function sampleEvents(): EventGrant[] {
  const build = (
    index: number,
    id: number,
    name: string,
    specs: readonly FieldSpec[],
    sendRoles: number,
    late: "deliver" | "drop",
  ): EventGrant => {
    const { fields, laneCount, blobCount, rowBytes } = layOutFields(specs);
    const layout = { fields, laneCount, blobCount, rowBytes };
    return {
      index,
      id,
      name,
      ...layout,
      sendRoles,
      receiveRoles: 0b111,
      rateHz: 10,
      late,
      waitMs: 1_000,
      hostSend: true,
      hostReceive: true,
    };
  };
  return [
    build(
      0,
      1,
      "Wave",
      [{ name: "at", kind: "entity" }, { name: "word", kind: "string", maxBytes: 32 }],
      1 << SERVER | 1 << PLAYER,
      "deliver",
    ),
    build(
      1,
      2,
      "Explosion",
      [{ name: "where", kind: "vec3", min: -1000, max: 1000, precision: 0.01 }],
      1 << SERVER,
      "drop",
    ),
  ];
}

/** The grants of the sample world, with parts replaced by `overrides`. */
export function sampleGrants(overrides: Partial<Grants> = {}): Grants {
  return {
    version: 1,
    schemaHash: "5a".repeat(32),
    worldName: "sample",
    tickHz: 30,
    historyMs: 2_000,
    maxEntities: 4_096,
    maxPeers: 32,
    maxEntitiesPerPeer: 16,
    resumeMs: 10_000,
    roles: [
      { index: SERVER, id: 0, name: "server" },
      { index: PLAYER, id: 1, name: "player" },
      { index: SPECTATOR, id: 2, name: "spectator" },
    ],
    defaultRole: PLAYER,
    identity: { anonymous: true, issuers: [] },
    components: buildComponents(SAMPLE_COMPONENTS),
    events: sampleEvents(),
    channels: [],
    zones: [],
    voice: {
      speakRoles: 1 << PLAYER,
      hearRoles: 0b111,
      range: 20,
      maxFrameBytes: 400,
      rateHz: 60,
      hostSend: true,
      hostReceive: true,
    },
    peerBytesPerSecond: 1_000_000,
    joinBytesPerSecond: 1_000_000,
    joinMs: 0,
    ...overrides,
  };
}
