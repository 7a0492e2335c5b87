// The `world` part of the manifest, declared once: types, validation, defaults and documentation come from here. Rules that span
// several keys are in `world_rules.ts`. Every side of a world has the same `world`; nothing in it names a machine or a path.

import { z } from "zod";
import {
  MAX_CHANNEL_MESSAGE_BYTES,
  MAX_CHANNEL_RATE_HZ,
  MAX_CHANNELS,
  MAX_COMPONENT_RATE_HZ,
  MAX_COMPONENTS,
  MAX_DECLARED_ID,
  MAX_ENTITIES,
  MAX_ENUM_NAMES,
  MAX_EVENT_RATE_HZ,
  MAX_EVENT_WAIT_MS,
  MAX_EVENTS,
  MAX_FIELD_BYTES,
  MAX_FIELDS,
  MAX_HISTORY_MS,
  MAX_INTEREST_RADIUS,
  MAX_ISSUERS,
  MAX_NAME_BYTES,
  MAX_OPEN_CHANNELS,
  MAX_PEERS,
  MAX_QUAT_BITS,
  MAX_QUAT_PRECISION,
  MAX_RESUME_MS,
  MAX_ROLES,
  MAX_TICK_HZ,
  MAX_UNRELIABLE_MESSAGE_BYTES,
  MAX_VOICE_FRAME_BYTES,
  MAX_VOICE_RATE_HZ,
  MAX_WEIGHT,
  MAX_ZONES,
  MIN_HISTORY_MS,
  MIN_QUAT_BITS,
  MIN_QUAT_PRECISION,
} from "../protocol/limits.ts";
import { checkSchema } from "./check_schema.ts";

/** Ticks a second of a world that does not say. */
export const DEFAULT_TICK_HZ = 30;
/** Entities of one peer in a world that does not say. */
export const DEFAULT_ENTITIES_PER_PEER = 64;

const IDENTIFIER = /^[A-Za-z][A-Za-z0-9_]*$/;
const identifier = z.string().min(1).max(MAX_NAME_BYTES).regex(
  IDENTIFIER,
  "write a letter, then letters, digits and _",
);
const declaredId = z.int().min(1).max(MAX_DECLARED_ID);
const roleList = z.array(z.string()).max(MAX_ROLES + 2);
const rate = (limit: number) => z.number().positive().max(limit);

const id = declaredId.describe(
  `Number on the wire, 1 to ${MAX_DECLARED_ID}; unique among its kind and never used again for another meaning.`,
);
const componentName = identifier.describe(
  "Name for people, scripts and denials: a letter, then letters, digits and _.",
);
const fieldAccess = {
  read: roleList.optional().describe(
    "Narrows who may read this one field: part of the component's `read`.",
  ),
  write: roleList.optional().describe(
    "Narrows who may write this one field: part of the component's `write`.",
  ),
};
const integer = <T extends string>(type: T, low: number, high: number, text: string) =>
  z.strictObject({
    type: z.literal(type).describe(text),
    min: z.int().min(low).max(high).default(low).describe("Smallest value."),
    max: z.int().min(low).max(high).default(high).describe("Largest value."),
    ...fieldAccess,
  });
const range = {
  min: z.number().describe("Smallest value, world units (vec3: of each axis)."),
  max: z.number().describe(
    "Largest value; `max - min` is a whole number of steps of `precision`.",
  ),
  precision: z.number().positive().describe(
    "Step to which values are rounded, world units; at most 4,194,304 steps from zero to either end, so that a 32-bit float holds each.",
  ),
};
const maxBytes = z.int().min(1).max(MAX_FIELD_BYTES);

/** One field of a component or an event. */
export const fieldSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("bool").describe("True or false: one bit."), ...fieldAccess }),
  integer("u8", 0, 0xff, "Whole number 0 to 255, or the declared part of it."),
  integer("u16", 0, 0xffff, "Whole number 0 to 65,535, or the declared part of it."),
  integer("u32", 0, 0xffff_ffff, "Whole number 0 to 4,294,967,295, or the declared part of it."),
  integer(
    "i32",
    -0x8000_0000,
    0x7fff_ffff,
    "Whole number -2,147,483,648 to 2,147,483,647, or the declared part of it.",
  ),
  z.strictObject({
    type: z.literal("f32").describe("Number within a range, in steps."),
    ...range,
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("vec3").describe("Three numbers within one range, in steps."),
    ...range,
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("quat").describe(
      "Unit quaternion, sent as its three smallest components, or on a lattice of equal angles.",
    ),
    bits: z.int().min(MIN_QUAT_BITS).max(MAX_QUAT_BITS).default(10).describe(
      "Bits of each of the three components; 10 keep the angle within 0.28 degrees.",
    ),
    precision: z.number().min(MIN_QUAT_PRECISION).max(MAX_QUAT_PRECISION).optional().describe(
      "In place of `bits`: largest error of the rotation in degrees, on a lattice of equal angles, which is shorter for motion.",
    ),
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("string").describe("UTF-8 text."),
    maxBytes: maxBytes.describe("Most bytes of the text in UTF-8."),
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("bytes").describe("Bytes that mean nothing to the driver."),
    maxBytes: maxBytes.describe("Most bytes."),
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("enum").describe("One of the declared names, sent as its number."),
    values: z.array(
      z.string().min(1).max(MAX_NAME_BYTES).regex(
        /^[A-Za-z0-9][A-Za-z0-9_-]*$/,
        "write a letter or digit, then letters, digits, _ and -",
      ),
    )
      .min(1).max(MAX_ENUM_NAMES).describe("Names in the order of their numbers, from 0; unique."),
    ...fieldAccess,
  }),
  z.strictObject({
    type: z.literal("entity").describe("Reference to an entity, or to none."),
    ...fieldAccess,
  }),
]);

const fields = z.record(identifier, fieldSchema).describe(
  "Fields by name; their order here is their order on the wire, so it is part of the schema.",
);

const fieldsGranted = z.union([
  z.literal(true),
  z.array(z.string().max(MAX_NAME_BYTES)).min(1).max(MAX_FIELDS),
]);

/** One role besides the built-in `server`. */
export const roleSchema = z.strictObject({
  id,
  name: identifier.describe('Name used in the lists below; "server", "owner" and "all" are taken.'),
  inherits: roleList.default([]).describe(
    "Declared roles whose rights this one has too: every list that names one of them includes it. Without circles.",
  ),
});

/** One component type. */
export const componentSchema = z.strictObject({
  id,
  name: componentName,
  fields,
  authority: z.enum(["server", "owner"]).describe(
    '"server": only the server\'s engine writes. "owner": the peer that owns the entity writes, and the server\'s engine may override.',
  ),
  read: roleList.default([]).describe(
    'Who may read: role names, "owner" (the owner of the entity), or "all". The server always may; an empty list means nobody else.',
  ),
  write: roleList.default([]).describe(
    'Who may write on entities it owns: role names or "all". The server\'s engine always may; with authority "server" nobody else can.',
  ),
  grantable: z.strictObject({
    read: fieldsGranted.optional().describe(
      "True, or the fields that may be granted to be read.",
    ),
    write: fieldsGranted.optional().describe(
      "True, or the fields that may be granted to be written, by the owner of the entity.",
    ),
  }).optional().describe(
    "What the server's engine may grant to single peers while running, whatever their roles; left out: nothing. Taking away needs no right.",
  ),
  rateHz: rate(MAX_COMPONENT_RATE_HZ).optional().describe(
    "Most new values a second of one entity; left out: `tickHz`.",
  ),
  interestRadius: z.number().min(0).max(MAX_INTEREST_RADIUS).default(0).describe(
    "Metres within which a peer is sent the component; 0 means everywhere.",
  ),
  weight: z.int().min(1).max(MAX_WEIGHT).default(1).describe(
    "How much a tick of waiting of a changed value counts beside those of other components, where not all that is due fits.",
  ),
  position: z.string().optional().describe(
    "Name of the vec3 field that is the position of its entity, for interest and voice.",
  ),
  spawn: z.strictObject({
    roles: roleList.min(1).describe(
      'Roles that may spawn entities with this component, and add it to or remove it from their own; "all" for every role.',
    ),
    maxPerPeer: z.int().min(1).max(MAX_ENTITIES).describe(
      "Entities with this component that one peer may have spawned.",
    ),
  }).optional().describe("Lets peers spawn entities with this component; left out: they cannot."),
  checks: z.record(identifier, checkSchema).default({}).describe(
    "Checks of what peers write to single fields, by field name; the server's driver makes them, its own engine is not judged.",
  ),
});

/** One event type. */
export const eventSchema = z.strictObject({
  id,
  name: componentName,
  fields: fields.default({}),
  send: roleList.min(1).describe('Who may send it: role names, "server" or "all".'),
  receive: roleList.min(1).describe(
    'Who receives it: role names, "server" (the server\'s engine) or "all".',
  ),
  rateHz: rate(MAX_EVENT_RATE_HZ).default(10).describe("Most events a second of one sender."),
  late: z.enum(["deliver", "drop"]).default("deliver").describe(
    "What happens to an event whose state or entities have not arrived in time: delivered and marked late, or dropped and counted.",
  ),
  waitMs: z.int().min(0).max(MAX_EVENT_WAIT_MS).default(500).describe(
    "How long an event waits for the state of its tick and the entities it names, ms.",
  ),
});

/** One channel, or a namespace of channels. */
export const channelSchema = z.strictObject({
  id,
  name: z.string().min(1).max(MAX_NAME_BYTES).regex(
    /^[A-Za-z][A-Za-z0-9_.-]*(\/[A-Za-z0-9_.-]+)*(\/\*)?$/,
    'write letters, digits, _, . and -, parts joined by "/", and "/*" at the end of a namespace',
  ).describe(
    'Name such as "chat"; "script/*" is a namespace in which scripts open and close channels while running.',
  ),
  mode: z.enum(["reliable", "unreliable"]).describe(
    '"reliable": in order, repeated until it arrives. "unreliable": one datagram that may be lost.',
  ),
  send: roleList.min(1).describe(
    'Who may send: role names, "server" or "all". A channel joins one peer with the server\'s engine.',
  ),
  receive: roleList.min(1).describe('Who may receive: role names, "server" or "all".'),
  maxBytes: z.int().min(1).max(MAX_CHANNEL_MESSAGE_BYTES).default(16_384)
    .describe(`Most bytes of one message; unreliable: at most ${MAX_UNRELIABLE_MESSAGE_BYTES}.`),
  rateHz: rate(MAX_CHANNEL_RATE_HZ).default(60).describe("Most messages a second of one sender."),
  maxOpen: z.int().min(1).max(MAX_OPEN_CHANNELS).optional().describe(
    "Namespaces only: channels of it that one peer may have open; left out: 8.",
  ),
});

/** Voice. */
export const voiceSchema = z.strictObject({
  speak: roleList.min(1).describe('Who may speak: role names, "server" or "all".'),
  hear: roleList.min(1).describe('Who may hear: role names, "server" or "all".'),
  range: z.number().positive().max(MAX_INTEREST_RADIUS).describe(
    "Hearing range, metres; not above the interest radius of any component that holds a position.",
  ),
  maxFrameBytes: z.int().min(1).max(MAX_VOICE_FRAME_BYTES).default(400).describe(
    "Most bytes of one Opus frame.",
  ),
  rateHz: rate(MAX_VOICE_RATE_HZ).default(50).describe(
    "Most frames a second of one speaking entity; 50 for frames of 20 ms.",
  ),
});

/** One zone: a part of the world, such as a room, into which the server's engine puts entities. */
export const zoneSchema = z.strictObject({
  id: z.int().min(1).max(MAX_ZONES).describe(
    `Number on the engine link, 1 to ${MAX_ZONES}; unique. Peers are never told in which zone anything is.`,
  ),
  name: identifier.describe("Name for people and engines: a letter, then letters, digits and _."),
  closed: z.boolean().default(true).describe(
    "True: what is in it is sent only to peers that stand in it, to those that `seenBy` names, and to the owner. False: a label that hides nothing.",
  ),
  seenBy: roleList.default([]).describe(
    "Roles that see into a closed zone from wherever they stand. The server always does.",
  ),
});

const retiredIds = z.array(declaredId).max(MAX_DECLARED_ID).default([]);

/** Who may join. */
export const identitySchema = z.strictObject({
  anonymous: z.boolean().default(true).describe(
    "True: whoever connects may join, with the default role. False: only holders of a join token may.",
  ),
  issuers: z.array(z.string().max(MAX_NAME_BYTES)).max(MAX_ISSUERS).default([]).describe(
    "Ed25519 public keys, base64url, of those whose join tokens are taken; `token keygen` makes one. A token gives its role.",
  ),
});

/** The part of the manifest that is the same on every side. */
export const worldSchema = z.strictObject({
  name: z.string().min(1).max(MAX_NAME_BYTES).describe("Name of the world, for people."),
  tickHz: z.int().min(1).max(MAX_TICK_HZ).default(DEFAULT_TICK_HZ).describe(
    "Server ticks a second.",
  ),
  historyMs: z.int().min(MIN_HISTORY_MS).max(MAX_HISTORY_MS).default(2_000).describe(
    "How long replaced values are kept as references for deltas, ms.",
  ),
  maxEntities: z.int().min(1).max(MAX_ENTITIES).default(4_096).describe(
    "Entities the world may hold.",
  ),
  maxPeers: z.int().min(1).max(MAX_PEERS).default(64).describe("Peers the world may hold."),
  maxEntitiesPerPeer: z.int().min(1).max(MAX_ENTITIES).default(DEFAULT_ENTITIES_PER_PEER).describe(
    "Entities one peer may have spawned.",
  ),
  resumeMs: z.int().min(0).max(MAX_RESUME_MS).default(30_000).describe(
    "How long the place, entities and ownership of a lost peer are kept, ms.",
  ),
  roles: z.array(roleSchema).min(1).max(MAX_ROLES - 1).describe(
    'Roles of peers; "server", the holder of world authority, is built in.',
  ),
  defaultRole: z.string().describe(
    "Role of a peer that joins; only the server's engine can change it.",
  ),
  identity: identitySchema.default({ anonymous: true, issuers: [] }).describe(
    "Who may join: anybody, or holders of join tokens.",
  ),
  components: z.array(componentSchema).max(MAX_COMPONENTS).default([]).describe(
    "Component types that may leave or enter an engine. What is not named here never does.",
  ),
  events: z.array(eventSchema).max(MAX_EVENTS).default([]).describe(
    "Messages that happen once, between engines.",
  ),
  channels: z.array(channelSchema).max(MAX_CHANNELS).default([]).describe(
    "Streams of custom messages between a peer and the server's engine.",
  ),
  zones: z.array(zoneSchema).max(MAX_ZONES).default([]).describe(
    "Parts of the world that hide what is in them, whatever radius and rights allow; only the server's engine puts entities into them.",
  ),
  voice: voiceSchema.optional().describe("Voice; left out: the world has none."),
  retired: z.strictObject({
    components: retiredIds.describe("Ids of components that are gone."),
    events: retiredIds.describe("Ids of events that are gone."),
    channels: retiredIds.describe("Ids of channels that are gone."),
    roles: retiredIds.describe("Ids of roles that are gone."),
  }).default({ components: [], events: [], channels: [], roles: [] }).describe(
    "Ids that were used once and must not be used again.",
  ),
});
