// The worst case of everything a driver holds, part by part: sizes out of the compiled grants and the limits table, and which keys of the
// manifest make each part smaller. What the sum may be is decided in `memory_budget.ts`.

import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  ENGINE_BACKLOG_BYTES,
  EXPIRE_SWEEP_TICKS,
  HANDSHAKE_BYTES,
  HANDSHAKE_CLOSING_S,
  LOG_ARGUMENTS,
  MAX_BATCH_BYTES,
  MAX_BYTES_BEFORE_JOIN,
  MAX_CHECK_MEMORIES,
  MAX_CONTROL_BACKLOG_BYTES,
  MAX_DATAGRAM_BYTES,
  MAX_DENIAL_KINDS,
  MAX_EARLY_DATAGRAMS,
  MAX_ENGINE_FRAME_BYTES,
  MAX_ENGINE_MESSAGES,
  MAX_ENGINE_VOICE_FRAMES,
  MAX_ENTITY_BLOCK,
  MAX_EVENT_BYTES,
  MAX_FULL_PEERS,
  MAX_HALF_JOINED,
  MAX_HANDSHAKES,
  MAX_HANDSHAKES_PER_S,
  MAX_INTAKE_BYTES,
  MAX_INTAKE_CHUNKS,
  MAX_KEPT_DENIALS,
  MAX_LATE_ENTRIES,
  MAX_LOG_ENTRIES,
  MAX_LOGGED_ENTRIES,
  MAX_LOOSE_MESSAGES,
  MAX_PARTING_BYTES,
  MAX_PARTING_MESSAGES,
  MAX_PENDING_DENIALS,
  MAX_PIECE_TRANSFERS,
  MAX_PLAIN_CHANNELS,
  MAX_QUEUED_MESSAGES,
  MAX_QUEUED_VOICE_FRAMES,
  MAX_RELAYS_PER_TICK,
  MAX_SNAPSHOT_ENTRIES,
  MAX_STEP_LENSES,
  MAX_STREAM_FRAME_BYTES,
  MAX_UNRELIABLE_MESSAGE_BYTES,
  MAX_UNSENT_DATAGRAMS,
  MAX_USED_NONCES,
  MAX_VERSIONS,
  MAX_WAITING_EVENTS,
  MAX_WATCHED_GAPS,
  RATE_BURST_S,
  RATE_TOLERANCE,
  RECEIVE_MARGIN_TICKS,
  SENT_LOG_ENTRIES,
  STREAM_STALL_MS,
  UNACKED_CONNECTION_BYTES,
  UNREAD_STREAM_BYTES,
} from "../protocol/limits.ts";
import type { ComponentGrant, FieldGrant, Grants } from "../permissions/grants.ts";
import { FIELD_CHANGE_BYTES } from "../replication/field_changes.ts";
import { RECEIVED_ENTITY_BYTES, RECEIVED_VALUE_BYTES } from "../replication/received_entities.ts";
import { LOGGED_ENTRY_BYTES } from "../replication/section_log.ts";
import { SHARED_ENCODINGS_BYTES, SHARED_ROW_BYTES } from "../replication/shared_encodings.ts";
import { STEP_ENTRIES_BYTES, STEP_ROW_BYTES } from "../replication/step_rows.ts";
import { LATE_ENTRY_BYTES } from "../replication/late_entries.ts";
import { STEP_DUE_BYTES } from "../replication/step_tracks.ts";
import { ENTITY_RECORD_BYTES, VALUE_RECORD_BYTES } from "../replication/track_pool.ts";
import { ENTITY_TRACK_BYTES, VALUE_TRACK_BYTES } from "../replication/tracks.ts";
import { mostReliableChannels, mostStreams } from "./stream_bounds.ts";

/** One part of what a driver may hold. */
export interface MemoryPart {
  /** What it is, for people. */
  readonly name: string;
  /** Bytes in the script heap. */
  readonly heapBytes: number;
  /** Bytes in array buffers, outside the script heap. */
  readonly bufferBytes: number;
  /** Keys of the manifest that make it smaller. */
  readonly keys: readonly string[];
}

/** Script memory of a small object: header, a handful of properties. */
const OBJECT_BYTES = 128;
/** Script memory of one entry of a map or set with a number as key. */
const MAP_ENTRY_BYTES = 48;
/** Script memory of one component's value, its lanes apart; measured, rounded up. */
const VALUE_BYTES = 320;
/** Script memory around the contents of one byte array: view, buffer, their bookkeeping. */
const BLOB_BYTES = 256;
/** Bytes of one version beside its lanes: tick, time, mask, writes, two links. */
const VERSION_BYTES = 28;
/** Bytes of one row of a store: ends, count, two places. */
const ROW_BYTES = 17;
/** Bytes of one entity in the table of a world, its component words apart. */
const ENTITY_BYTES = 41;
/** Bytes of one entity in the interest grid, a list of candidates and one of what changed, doubling included. */
const INTEREST_BYTES = 136;
/** Bytes of one entity's component that peers write: who did last, and which fields. */
const WRITER_BYTES = 8;
/** Bytes of one entity's component whose writes are checked: three times, two allowances of silence. */
const CHECKED_BYTES = 40;
/** Bytes of one check of it: two allowances, place and velocity on three axes, six numbers, when it may change again. */
const CHECK_BYTES = 120;
/** Bytes of one entity id in the allocator: generation, whether it is taken, a place in the ring of free ones. */
const ID_BYTES = 8;
/** Small arrays that each link has for each component: rights, radii, rates, what was adjusted. */
const LINK_ARRAYS = 16;
/** What each end of a link has to code one vector or rotation of a component: model, coder, references; measured, rounded up. */
const VECTOR_CODEC_BYTES = 2_048;
/** Keys of one rate limiter by peer. */
const PEER_KEYS = 0x10000;

/** The capacity that a doubling array has for `count` items. */
export function doubled(count: number): number {
  return count <= 16 ? 16 : 2 ** Math.ceil(Math.log2(count));
}

/** Most bytes of all variable fields. */
function blobContents(fields: readonly FieldGrant[]): number {
  return fields.reduce((sum, { maxBytes }) => sum + maxBytes, 0);
}

/** A version store's worst case with so many rows and versions. */
export function storeBytes(
  component: Pick<ComponentGrant, "laneCount" | "blobCount" | "fields">,
  rows: number,
  versionsPerRow: number,
): { heapBytes: number; bufferBytes: number } {
  const versions = rows * versionsPerRow;
  const { laneCount, blobCount, fields } = component;
  return {
    heapBytes: doubled(versions) * blobCount * 8 + versions * blobCount * BLOB_BYTES,
    bufferBytes: doubled(rows) * ROW_BYTES + doubled(versions) * (VERSION_BYTES + 4 * laneCount) +
      versions * blobContents(fields),
  };
}

/** Versions that one row may have after `ticks` of history: one a tick, and what two sweeps leave. */
function versionsIn(ticks: number): number {
  return Math.min(MAX_VERSIONS, ticks + 2 * EXPIRE_SWEEP_TICKS + 2);
}

/** Most bytes of one event's value in memory. */
function eventBytes(grants: Grants): number {
  let most = 0;
  for (const { laneCount, blobCount, fields } of grants.events) {
    const contents = Math.min(MAX_EVENT_BYTES, blobContents(fields));
    most = Math.max(most, 4 * laneCount + (1 + blobCount) * BLOB_BYTES + contents);
  }
  return most === 0 ? 0 : most + 3 * OBJECT_BYTES;
}

/** Entities of which one peer's link may hold what it received: in its hand, its own, resting. */
function heldOfPeer({ maxEntitiesPerPeer, maxEntities }: Grants): number {
  const hand = Math.min(maxEntitiesPerPeer, MAX_ENTITY_BLOCK);
  return Math.min(maxEntities, hand + 2 * maxEntitiesPerPeer);
}

/** Everything that a driver of this role may hold at worst. */
export function memoryParts(grants: Grants, role: "server" | "client" | "loopback"): MemoryPart[] {
  const { components, maxEntities, tickHz } = grants;
  const peers = role === "server" ? grants.maxPeers : role === "client" ? 1 : 0;
  const historyTicks = Math.ceil(grants.historyMs / 1000 * tickHz);
  const parts: MemoryPart[] = [];
  const part = (name: string, keys: string[], heapBytes: number, bufferBytes: number) => {
    if (heapBytes + bufferBytes > 0) parts.push({ name, keys, heapBytes, bufferBytes });
  };
  // A client's own world holds what it may spawn; what it is shown is in its link.
  const own = role === "client"
    ? Math.min(maxEntities, 3 * grants.maxEntitiesPerPeer)
    : maxEntities;
  const words = Math.max(1, Math.ceil(components.length / 32));

  let [heap, buffer] = [0, (maxEntities + 1) * (ENTITY_BYTES + 4 * words + 4 * components.length)];
  for (const component of components) {
    const sizes = storeBytes(component, own, versionsIn(historyTicks));
    heap += sizes.heapBytes;
    buffer += sizes.bufferBytes + doubled(own) * component.fields.length * FIELD_CHANGE_BYTES;
  }
  // The longest array exists twice while it grows.
  part(
    "world: values and their history",
    ["maxEntities", "historyMs", "components"],
    heap,
    buffer * 1.25,
  );

  buffer = doubled(maxEntities) * (INTEREST_BYTES + 16 + ID_BYTES);
  heap = (2 * maxEntities) * (4 * MAP_ENTRY_BYTES) + maxEntities * (4 * OBJECT_BYTES + 3 * 256);
  // Where what has just ended was: as much of this second as of the one before.
  if (grants.zones.length > 0) heap += 2 * (maxEntities + grants.zones.length) * MAP_ENTRY_BYTES;
  part("world: ids, handles, interest, what waits for the engine", ["maxEntities"], heap, buffer);

  // What links code alike in one tick.
  part(
    "world: encodings that links share",
    ["maxEntities", "components"],
    0,
    SHARED_ENCODINGS_BYTES + components.length * doubled(own) * SHARED_ROW_BYTES +
      // Only what a server sends goes in step.
      (role === "client"
        ? 0
        : STEP_ENTRIES_BYTES + MAX_STEP_LENSES * doubled(own) * STEP_ROW_BYTES),
  );

  // Of each component, and of voice: when it may be written again. The longest array exists twice while it grows.
  buffer = (maxEntities + 1) * 8;
  buffer += (components.length + 1) * (maxEntities + 1) * 8;
  if (role === "server") {
    const written = components.filter(({ authority }) => authority === "owner").length;
    buffer += written * (maxEntities + 1) * WRITER_BYTES;
  }
  part("world: rates and writers", ["maxEntities", "components"], 0, buffer);

  buffer = 0;
  for (const { checks, laneCount } of components) {
    if (checks.length === 0 || role !== "server") continue;
    // The longest array exists twice while it grows.
    buffer += 1.25 * (maxEntities + 1) * (4 * laneCount + CHECKED_BYTES +
      checks.length * CHECK_BYTES);
  }
  const checksOfOne = Math.max(0, ...components.map(({ checks }) => checks.length));
  // A memory, and of each check its record, its allowances and its window.
  const memories = buffer === 0 ? 0 : MAX_CHECK_MEMORIES * (8 + 4 * checksOfOne) * OBJECT_BYTES;
  part("world: checks of what owners write", ["maxEntities", "checks"], memories, buffer);

  // What a link has received.
  const keepTicks = historyTicks + RECEIVE_MARGIN_TICKS;
  const heldPerPeer = role === "client" ? maxEntities : heldOfPeer(grants);
  const heldInAll = role === "client"
    ? maxEntities
    : Math.min(peers * heldPerPeer, 3 * maxEntities);
  [heap, buffer] = [heldInAll * RECEIVED_ENTITY_BYTES, 0];
  for (const component of components) {
    if (role !== "client" && component.authority !== "owner") continue;
    const sizes = storeBytes(component, heldInAll, versionsIn(keepTicks));
    heap += sizes.heapBytes + heldInAll * RECEIVED_VALUE_BYTES;
    // Every link has a store of its own, each with the least room.
    buffer += sizes.bufferBytes +
      peers * 16 * (ROW_BYTES + VERSION_BYTES + 4 * component.laneCount);
  }
  if (peers === 0) [heap, buffer] = [0, 0];
  part(
    "links: what was received, and its history",
    ["maxEntitiesPerPeer", "maxPeers", "maxEntities", "historyMs", "components"],
    heap,
    buffer,
  );
  if (role === "client") {
    part(
      "link: what the engine has been told",
      ["maxEntities", "components"],
      maxEntities *
        (2 * OBJECT_BYTES + 3 * BLOB_BYTES +
          components.length * (OBJECT_BYTES + MAP_ENTRY_BYTES)),
      0,
    );
  }

  // What a link has sent.
  const told = role === "client" ? own : maxEntities;
  heap = peers * told *
    (ENTITY_TRACK_BYTES + components.length * VALUE_TRACK_BYTES + MAP_ENTRY_BYTES * 2);
  buffer = peers *
    (doubled(told) * ENTITY_RECORD_BYTES + doubled(told * components.length) * VALUE_RECORD_BYTES);
  if (role !== "client") {
    heap += peers * MAX_LATE_ENTRIES * LATE_ENTRY_BYTES;
    buffer += peers * doubled(told) * STEP_DUE_BYTES;
  }
  part(
    "links: what each peer has been told",
    ["maxPeers", "maxEntities", "components"],
    heap,
    buffer,
  );

  buffer = peers * (MAX_LOGGED_ENTRIES * LOGGED_ENTRY_BYTES + SENT_LOG_ENTRIES * (29 + 13));
  part("links: datagrams that await acknowledgement", ["maxPeers"], 0, buffer * 1.5);

  const largest = Math.max(0, ...components.map(({ fields }) => blobContents(fields)));
  // Decoded values are kept for the next section: of each component that may come as many as one section ever had.
  const decoded = components.filter(({ authority }) => role === "client" || authority === "owner");
  const decodedLanes = decoded.reduce((sum, { laneCount }) => sum + laneCount, 0);
  heap = peers * MAX_SNAPSHOT_ENTRIES * (4 * OBJECT_BYTES + decoded.length * VALUE_BYTES);
  buffer = peers * (MAX_SNAPSHOT_ENTRIES * 4 * decodedLanes + 2 * MAX_PIECE_TRANSFERS * largest +
    2 * MAX_DATAGRAM_BYTES);
  part("links: decoding, large values", ["maxPeers", "components"], heap, buffer);

  const vectors = components.reduce(
    (sum, { fields }) =>
      sum + fields.filter(({ kind }) => kind === "vec3" || kind === "quat").length,
    0,
  );
  part("links: codecs", ["maxPeers", "components"], peers * 2 * vectors * VECTOR_CODEC_BYTES, 0);

  // A limiter has an array of its own, whatever it counts.
  heap = peers * (LINK_ARRAYS * (BLOB_BYTES + 8 * components.length) +
    (grants.events.length + 5) * (OBJECT_BYTES + BLOB_BYTES));
  part(
    "links: rights, and rates of events",
    ["maxPeers", "components", "events"],
    heap,
    0,
  );

  const voice = grants.voice.maxFrameBytes + OBJECT_BYTES;
  const spawns = Math.min(MAX_ENTITY_BLOCK, grants.maxEntitiesPerPeer);
  heap = peers * (spawns * 2 * OBJECT_BYTES + MAX_WATCHED_GAPS * 2 * OBJECT_BYTES +
    MAX_QUEUED_VOICE_FRAMES * OBJECT_BYTES);
  buffer = peers *
    ((grants.voice.speakRoles === 0 ? 0 : MAX_QUEUED_VOICE_FRAMES * voice) +
      (grants.channels.some(({ mode }) => mode === "unreliable")
        ? MAX_QUEUED_MESSAGES * (MAX_UNRELIABLE_MESSAGE_BYTES + BLOB_BYTES)
        : 0) +
      (MAX_UNSENT_DATAGRAMS + MAX_EARLY_DATAGRAMS) * (MAX_DATAGRAM_BYTES + BLOB_BYTES));
  part(
    "links: voice, messages and datagrams on their way out",
    ["maxPeers", "voice", "channels"],
    heap,
    buffer,
  );

  part("links: control streams", ["maxPeers"], 0, peers * (MAX_CONTROL_BACKLOG_BYTES * 1.25));

  const streams = mostReliableChannels(grants);
  // Each way a window, and the piece that may go beyond it; towards the engine the same again inside a frame.
  const perChannel = 3 * (CHANNEL_WINDOW_BYTES + CHANNEL_PIECE_BYTES) +
    // What waits for a busy engine before the stream is paused.
    MAX_INTAKE_BYTES + MAX_STREAM_FRAME_BYTES + MAX_INTAKE_CHUNKS * BLOB_BYTES;
  const loose = grants.channels.reduce((sum, { mode, namespace, maxOpen, maxBytes }) => {
    const open = namespace ? maxOpen : MAX_PLAIN_CHANNELS;
    const waits = Math.min(CHANNEL_WINDOW_BYTES, MAX_LOOSE_MESSAGES * maxBytes);
    return mode === "reliable" ? sum : sum + open * (waits + MAX_LOOSE_MESSAGES * BLOB_BYTES);
  }, 0);
  part(
    "channels: windows of open ones",
    ["channels", "maxPeers"],
    peers * streams * 16 * OBJECT_BYTES,
    peers * (streams * perChannel + loose),
  );
  // Whoever is honest sends no more than its windows, which are counted above, and acknowledges.
  const full = Math.min(peers, MAX_FULL_PEERS);
  part(
    "streams that are not read, in the runtime",
    ["channels", "maxPeers"],
    0,
    full * mostStreams(grants) * UNREAD_STREAM_BYTES,
  );
  part(
    "streams whose bytes are not acknowledged, in the runtime",
    ["maxPeers"],
    0,
    full * UNACKED_CONNECTION_BYTES,
  );
  part("channels: rates", ["channels"], 0, grants.channels.length * 2 * PEER_KEYS * 8);

  const event = eventBytes(grants);
  let burst = 0;
  for (const { rateHz } of grants.events) {
    burst += Math.max(2, rateHz * RATE_TOLERANCE * (RATE_BURST_S + STREAM_STALL_MS / 1000));
  }
  const relays = Math.min(MAX_RELAYS_PER_TICK, Math.ceil((peers + 1) * burst));
  part(
    "events: waiting for their state, or to be passed on",
    ["events", "maxPeers"],
    ((peers + 1) * MAX_WAITING_EVENTS + relays) * event,
    0,
  );

  part(
    "engine link: frames, batches, what waits",
    ["components"],
    MAX_ENGINE_MESSAGES * 4 * OBJECT_BYTES + MAX_PENDING_DENIALS * 4 * OBJECT_BYTES +
      (MAX_DENIAL_KINDS + MAX_KEPT_DENIALS) * 2 * OBJECT_BYTES,
    // A frame that comes, twice while it grows; rows of a batch, its value, its frame; what was written and not taken.
    2 * MAX_ENGINE_FRAME_BYTES + 3 * (MAX_BATCH_BYTES + largest) + 2 * ENGINE_BACKLOG_BYTES +
      MAX_ENGINE_VOICE_FRAMES * (voice + BLOB_BYTES) + MAX_WAITING_EVENTS * event +
      MAX_PARTING_BYTES + MAX_PARTING_MESSAGES * (OBJECT_BYTES + BLOB_BYTES),
  );
  if (role === "server") {
    part(
      "door: connections that have not joined, used tokens",
      [],
      MAX_USED_NONCES * (2 * OBJECT_BYTES) + MAX_HALF_JOINED * 16 * OBJECT_BYTES,
      MAX_HALF_JOINED * 2 * MAX_BYTES_BEFORE_JOIN,
    );
    // Lost places rest beside the present ones for no longer than their ids do.
    part(
      "roster: places, secrets, resting ids",
      ["maxPeers"],
      PEER_KEYS * MAP_ENTRY_BYTES + peers * 8 * OBJECT_BYTES,
      // By peer id, which go round: the first of its entities and their number, channels it opened, violations told.
      PEER_KEYS * 8 * 3,
    );
  }
  part("log", [], 0, MAX_LOG_ENTRIES * (4 * (2 + LOG_ARGUMENTS) + 8));
  part(
    "connections, in the runtime",
    ["maxPeers"],
    0,
    (peers + (role === "server" ? MAX_HALF_JOINED : 0)) * NATIVE_CONNECTION_BYTES,
  );
  if (role === "server") {
    // As many as are under way, and all that were begun and ended before the runtime has forgotten them.
    const handshakes = 2 * MAX_HANDSHAKES + MAX_HANDSHAKES_PER_S * HANDSHAKE_CLOSING_S;
    part("door: handshakes, in the runtime", [], 0, handshakes * HANDSHAKE_BYTES);
  }
  return parts;
}

/** Memory of the runtime for one QUIC connection beside its streams: keys, path, buffers; measured, rounded up. */
const NATIVE_CONNECTION_BYTES = 262_144;
