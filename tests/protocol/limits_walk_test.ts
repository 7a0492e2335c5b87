// Walks protocol/limits.ts: each limit either has a probe that drives the real container to its bound and over it, or is driven there by a
// test that is named here by file and name, or bounds no container, which is said in words. A new limit without any of the three fails here.

import { assert, assertEquals } from "@std/assert";
import * as limits from "../../protocol/limits.ts";
import { PROBES as OTHER_PROBES } from "../support/limit_probes.ts";
import { MANIFEST_PROBES } from "../support/manifest_limit_probes.ts";
import { RATE_PROBES } from "../support/rate_limit_probes.ts";

const PROBES = { ...MANIFEST_PROBES, ...OTHER_PROBES, ...RATE_PROBES };

/** Containers that a test of their own drives to the bound, by its file and name; the file must name the limit, too. */
const TESTED_ELSEWHERE: Readonly<Record<string, readonly [file: string, test: string]>> = {
  ACK_WINDOW: [
    "tests/protocol/ack_tracker_test.ts",
    "`check()` knows exactly the last 512, when it is asked at the window's edge",
  ],
  CHANNEL_WINDOW_BYTES: [
    "tests/driver/channels_test.ts",
    "a driver closes the channel of an engine that sends beyond its window",
  ],
  JOIN_FEW_PLACES: [
    "tests/driver/join_places_test.ts",
    "whoYields() keeps the grace of networks with few places, and ends none of theirs that is judged",
  ],
  MAX_ACK_RANGES: [
    "tests/protocol/datagram_test.ts",
    "`readHeader()` gives back what `writeHeader()` wrote, when headers are random",
  ],
  MAX_BATCH_BYTES: [
    "tests/driver/engine_outbox_test.ts",
    "`EngineOutbox.poll()` cuts what is larger than a frame into batches of whole entities, when much waits",
  ],
  MAX_CHANNEL_OPENS_PER_S: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter holds back channels above the rate, and opens them in time",
  ],
  MAX_CHECKS: [
    "tests/permissions/check_rules_test.ts",
    "checkCheckCount() bounds the checks of a world",
  ],
  MAX_CONNECTIONS: [
    "tests/transport/quic_accept_test.ts",
    "`listenQuic()` refuses connectors beyond `maxConnections`, and takes the next once one has gone",
  ],
  MAX_DATAGRAM_SECTIONS: [
    "tests/protocol/datagram_test.ts",
    "`readSections()` refuses a datagram, when it has one section too many",
  ],
  MAX_GATHERED_BYTES: [
    "tests/engine/reassembly_test.ts",
    "ChannelTable gives up the largest message of who holds the most, when windows alone pass every bound",
  ],
  MAX_HANDSHAKES: [
    "tests/transport/quic_accept_test.ts",
    "QuicAcceptor.accept() ends the oldest handshake, when MAX_HANDSHAKES are under way and one more comes",
  ],
  MAX_HANDSHAKES_PER_S: [
    "tests/transport/quic_accept_test.ts",
    "QuicAcceptor.accept() begins MAX_HANDSHAKES_PER_S and refuses the others, when more come for seconds",
  ],
  MAX_INTAKE_BYTES: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter pauses a stream that nobody draws from, before much of it waits",
  ],
  MAX_INTAKE_CHUNKS: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter pauses a stream that nobody draws from, before much of it waits",
  ],
  MAX_KEPT_DENIALS: [
    "tests/permissions/gate_test.ts",
    "Gate gives the same answer object again, denials included, and bounds how many it keeps",
  ],
  MAX_LISTED_ACK_RUNS: [
    "tests/protocol/datagram_test.ts",
    "`readHeader()` refuses a bitmap, when a list would be shorter",
  ],
  MAX_LOG_ANSWER: [
    "tests/driver/log_ring_test.ts",
    "`LogRing.read()` gives a bounded part and goes on where it ended, when there is more",
  ],
  MAX_LOG_SUMS: [
    "tests/driver/log_ring_test.ts",
    "`LogRing.write()` only counts further kinds of entries, when as many as it sums came within a second",
  ],
  CROSSING_MS: [
    "tests/driver/crossing_test.ts",
    "ServerCore holds nothing against a peer that speaks of what it owned a moment ago",
  ],
  MAX_FULL_PEERS: [
    "tests/driver/memory_budget_test.ts",
    "memoryParts() counts what the runtime holds of each peer's streams, as many as any role may use",
  ],
  MAX_LOOSE_MESSAGES: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter keeps few messages of an unreliable channel for an engine's turn, and none for one that takes nothing",
  ],
  MAX_MSGPACK_DEPTH: [
    "tests/protocol/msgpack_check_test.ts",
    "checkMsgpack() bounds nesting and the number of items",
  ],
  MAX_MSGPACK_ITEMS: [
    "tests/protocol/msgpack_check_test.ts",
    "checkMsgpack() bounds nesting and the number of items",
  ],
  MAX_PARTING_BYTES: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter keeps little of what peers said before they left, however many leave at once",
  ],
  MAX_PARTING_MESSAGES: [
    "tests/driver/channel_pause_test.ts",
    "ChannelRouter keeps little of what peers said before they left, however many leave at once",
  ],
  MAX_PEER_DATAGRAMS_PER_S: [
    "tests/driver/work_budget_test.ts",
    "workAllowance() grows with what a role may do, and is bounded both ways",
  ],
  MAX_PEER_WAITING_BYTES: [
    "tests/engine/reassembly_test.ts",
    "ChannelTable takes two of the largest messages of one peer at once, and grants the older one first",
  ],
  MAX_PENDING_LOGS: [
    "tests/engine/log_reader_test.ts",
    "readLog() rejects, when no driver is there, it is lost, the question is none or too many wait",
  ],
  MAX_SLOW_HANDSHAKES: [
    "tests/transport/quic_accept_test.ts",
    "QuicAcceptor.accept() ends the oldest slow handshake, when MAX_SLOW_HANDSHAKES are slow and one more becomes so",
  ],
  MAX_STREAMS_PER_PEER: [
    "tests/transport/compliance.ts",
    "`openStream()` beyond the bound gives a stream that is reset",
  ],
  MAX_UNACKED_RECEIVED: [
    "tests/protocol/ack_tracker_test.ts",
    "`needsAck` holds until a block is written, when datagrams ask for one",
  ],
  MAX_UNSENT_DATAGRAMS: [
    "tests/transport/quic_test.ts",
    "`sendDatagram()` drops what the runtime cannot take at once, and nothing goes wrong",
  ],
  MAX_VOICE_FRAMES: [
    "tests/voice/voice_section_test.ts",
    "`tryAdd()` takes so many frames and no more, when a section is full",
  ],
  MAX_WAITING_BYTES: [
    "tests/engine/reassembly_test.ts",
    "ChannelTable gives up the largest message of who holds the most, when windows alone pass every bound",
  ],
  MIN_PEER_DATAGRAMS_PER_S: [
    "tests/driver/work_budget_test.ts",
    "workAllowance() grows with what a role may do, and is bounded both ways",
  ],
  PEER_STREAM_BYTES_PER_S: [
    "tests/driver/work_budget_test.ts",
    "workAllowance() holds what reliable channels bring at 1.2 times their rates, and after a stall",
  ],
  MAX_PENDING_TRANSFERS: [
    "tests/engine/owner_orders_test.ts",
    "OwnerOrders keeps MAX_PENDING_TRANSFERS orders of an entity, when a driver names nobody",
  ],
  MAX_LATE_ENTRIES: [
    "tests/replication/step_tracks_test.ts",
    "a link remembers MAX_LATE_ENTRIES versions under way of what goes out of step, and sends the others again",
  ],
  MAX_STEP_LENSES: [
    "tests/replication/step_rows_test.ts",
    "`StepRows.lensOf()` gives one lens for a component and mask, and MAX_STEP_LENSES in all",
  ],
  MAX_SHARED_BYTES: [
    "tests/replication/shared_encodings_test.ts",
    "`SharedEncodings.begin()` forgets the tick before, and a full store takes no more",
  ],
  MAX_SHARED_ENCODINGS: [
    "tests/replication/shared_encodings_test.ts",
    "`SharedEncodings.begin()` forgets the tick before, and a full store takes no more",
  ],
  SPARE_STREAMS: [
    "tests/driver/peer_streams_test.ts",
    "reliableChannels() counts what a role may use, by either end's opening, and no more than any peer may have",
  ],
  STREAM_WINDOW_BYTES: [
    "tests/transport/byte_stream_test.ts",
    "`MuxConnection.handleFrame()` ends the connection over frames that break the rules",
  ],
};

/** Limits that bound no container, by what they are instead. */
const NO_CONTAINER: Readonly<Record<string, readonly string[]>> = {
  "a version or a name": ["PROTOCOL_VERSION", "ALPN", "ENGINE_LINK_VERSION"],
  "a time": `
    MIN_HISTORY_MS MAX_HISTORY_MS MAX_RESUME_MS MEMORY_SAMPLE_MS MEMORY_COLLECT_MS MEMORY_SHED_PAUSE_MS MAX_RETENTION_S DEFAULT_RETENTION_S LOG_SUM_MS
    RATE_BURST_S STREAM_STALL_MS CHECK_BURST_S CHECK_SILENCE_S CHECK_WINDOW_S CHECK_STAMP_ERROR_S CHECK_MEMORY_MS MIN_LOSS_TIME_MS
    INITIAL_RTT_MS TIMELINE_WINDOW_MS PEER_ID_QUARANTINE_MS DEFAULT_JOIN_MS MAX_JOIN_MS MAX_EVENT_WAIT_MS JOIN_TIMEOUT_MS JOIN_PROOF_GRACE_MS CLOCK_SKEW_S
    MAX_TOKEN_LIFE_S HANDSHAKE_PATIENCE_MS HANDSHAKE_CLOSING_S KEEP_ALIVE_MS IDLE_TIMEOUT_MS CONNECT_TIMEOUT_MS MAX_OPUS_PACKET_MS ENGINE_HEARTBEAT_MS
    STATS_INTERVAL_MS ENGINE_TIMEOUT_MS GREETING_TIMEOUT_MS RESYNC_CONFIRM_MS CHANNEL_PROGRESS_MS VOICE_SLOT_MS MAX_ID_REST_MS
    WORK_BURST_S MAX_OVER_BUDGET_MS OVERRIDE_ECHO_MS OWNER_TIME_BEHIND_MS OWNER_TIME_AHEAD_MS SPAWN_WAIT_MS SPAWN_COUNT_WAIT_MS
    STREAM_IDLE_MS STREAM_STUCK_MS MAX_TIME_AHEAD_MS RECONNECT_FIRST_MS RECONNECT_MAX_MS SEND_GUARD_MS`
    .trim().split(/\s+/),
  "a number of ticks, or a tick": `
    RECEIVE_MARGIN_TICKS MAX_JOIN_TICK MAX_EVENT_STATE_TICKS LOSS_REPAIR_TICKS EVENT_VOUCH_TICKS EXPIRE_SWEEP_TICKS
    MAX_VOICE_AGE_SUBTICKS`.trim().split(/\s+/),
  "a rate, or a share of one": `
    MAX_TICK_HZ MAX_COMPONENT_RATE_HZ MAX_EVENT_RATE_HZ MAX_CHANNEL_RATE_HZ MAX_VOICE_RATE_HZ DEFAULT_PEER_BYTES_PER_S DEFAULT_JOIN_BYTES_PER_S
    MIN_PEER_BYTES_PER_S MAX_PEER_BYTES_PER_S RATE_TOLERANCE MIN_RATE_BURST CHECK_TOLERANCE LOSS_PACKET_THRESHOLD LOSS_TIME_FACTOR LOSSY_DATAGRAMS
    TIMELINE_SLEW TIMELINE_DRIFT JOIN_ROWS_PER_S
    WORK_RESERVE`.trim().split(/\s+/),
  "the cost of one thing": `
    JOIN_BASE_ROWS WORK_DATAGRAM WORK_ENTRY WORK_VECTOR WORK_VOICE_FRAME WORK_MESSAGE WORK_CONTROL WORK_CHUNK WORK_STREAM WORK_DENIAL STREAM_CHUNK_COST STREAM_PIECE_COST
    STREAM_MESSAGE_COST STREAM_MESSAGE_CHUNKS MAX_PARTING_COST`.trim().split(/\s+/),
  "how much is done at once, of what is bounded elsewhere": `
     MAX_DATAGRAMS_PER_TICK RECEIVE_SWEEP_ENTITIES SPAWN_LOOKS_PER_TICK DORMANT_CHECKS_PER_TICK MAX_SECTION_MISSES MAX_SECTION_ROUNDS
     MAX_FLUSHED_ACTIONS CHANNEL_JOIN_BYTES JOIN_ROWS_BURST`.trim().split(/\s+/),
  "the range of one number": `
    MAX_DECLARED_ID MAX_STEPS_FROM_ZERO MIN_QUAT_BITS MAX_QUAT_BITS MIN_QUAT_PRECISION MAX_QUAT_PRECISION MAX_INTEREST_RADIUS MAX_WEIGHT MIN_NETWORK_PREFIX MAX_CLOSE_CODE
    MAX_APPLICATION_CODE WORLD_EPOCH_BITS ACK_BLOCK_SPAN MIN_HEAP_MB MAX_HEAP_MB MIN_MEMORY_MB MAX_MEMORY_MB DEFAULT_MEMORY_MB
    MEMORY_SOFT_SHARE MEMORY_HARD_SHARE MEMORY_SHED_STEP`.trim().split(/\s+/),
  "the length of one text or run of bytes, refused by its reader, whose tests cut every length": `
    MAX_NAME_BYTES MAX_FIELD_BYTES MAX_MANIFEST_CHARS MAX_MANIFEST_DEPTH MAX_PATH_BYTES MAX_SOCKET_PATH_BYTES MIN_DATAGRAM_BYTES
    MAX_DATAGRAM_BYTES SNAPSHOT_PIECE_BYTES MAX_SECTION_BYTES MAX_CREDENTIAL_BYTES SCHEMA_HASH_BYTES RESUME_SECRET_BYTES
    MAX_REASON_BYTES MAX_CHANNEL_MESSAGE_BYTES CHANNEL_PIECE_BYTES MAX_UNRELIABLE_MESSAGE_BYTES MAX_EVENT_BYTES JOIN_MESSAGE_BYTES
    CHALLENGE_BYTES PUBLIC_KEY_BYTES SIGNATURE_BYTES PIN_BYTES MAX_SUBJECT_BYTES MAX_NONCE_CHARS NONCE_HASH_BYTES NONCE_RECORD_BYTES
    MAX_SIGNED_BYTES MAX_CLOSE_REASON_BYTES MAX_STREAM_FRAME_BYTES MAX_OPUS_PACKET_BYTES MAX_VOICE_FRAME_BYTES
    MAX_SEALED_OVERHEAD_BYTES MAX_ENGINE_TEXT_BYTES MAX_RESUME_TICKET_BYTES MAX_EVENT_ROW_BYTES DATAGRAM_HEADER_BYTES
    LOG_ARGUMENTS`.trim().split(/\s+/),
  "elements of one message of the engine link, refused by its reader (protocol/engine_shape.ts)": [
    "MAX_STATS",
    "MAX_DATAFLOW_NODES",
  ],
  "the size of arrays that never grow": ["TIMELINE_BUCKETS"],
  "a table whose oldest entry goes in the same step that adds one, and which nobody outside can look into":
    ["MAX_CHECK_MEMORIES"],
  "what the runtime was measured to hold, for the sum of memory (tests/transport/quic_memory_test.ts)":
    ["UNREAD_STREAM_BYTES", "UNACKED_CONNECTION_BYTES", "HANDSHAKE_BYTES", "COLLECT_PROMPT_BYTES"],
};

const NAMES = Object.keys(limits).sort();

Deno.test("every limit has a probe, a test of its own, or a reason to have neither, when the table is walked", () => {
  const treated = [
    ...Object.keys(PROBES),
    ...Object.keys(TESTED_ELSEWHERE),
    ...Object.values(NO_CONTAINER).flat(),
  ];
  const without = NAMES.filter((name) => !treated.includes(name));
  assertEquals(
    without,
    [],
    `${
      without.join(", ")
    }: no probe, no test and no reason to have neither; give each a row in this file, or a probe`,
  );
  const unknown = treated.filter((name) => !NAMES.includes(name));
  assertEquals(unknown, [], `${unknown.join(", ")}: no limit of protocol/limits.ts`);
  const twice = treated.filter((name, at) => treated.indexOf(name) !== at);
  assertEquals(twice, [], `${twice.join(", ")}: a limit is treated once`);
});

for (const [name, [file, test]] of Object.entries(TESTED_ELSEWHERE)) {
  Deno.test(`${name} is driven to its bound by a test that is there`, () => {
    const text = Deno.readTextFileSync(new URL(`../../${file}`, import.meta.url));
    const quoted = ["`", '"'].map((quote) => `${quote}${test}${quote}`);
    assert(quoted.some((one) => text.includes(one)), `${name}: ${file} has no test "${test}"`);
    const uses = text.match(new RegExp(`\\b${name}\\b`, "g"))?.length ?? 0;
    assert(uses >= 2, `${name}: ${file} imports and uses it ${uses} times`);
  });
}

for (const [name, probe] of Object.entries(PROBES)) {
  Deno.test(`${name} holds at its bound and over it, when its container is filled`, probe);
}
