// Walks protocol/limits.ts: each limit either has a probe that drives the real container to its bound and over it, or is driven there by a
// named test, or bounds no container, which is said in words. A new limit without any of the three fails here.

import { assert, assertEquals } from "@std/assert";
import * as limits from "../../protocol/limits.ts";
import { PROBES as OTHER_PROBES } from "../support/limit_probes.ts";
import { MANIFEST_PROBES } from "../support/manifest_limit_probes.ts";

const PROBES = { ...MANIFEST_PROBES, ...OTHER_PROBES };

/** Containers that the test of their own file drives to the bound: the file must name the limit. */
const TESTED_ELSEWHERE: Readonly<Record<string, string>> = {
  ACK_WINDOW: "tests/protocol/ack_tracker_test.ts",
  MAX_ACK_RANGES: "tests/protocol/datagram_test.ts",
  MAX_BATCH_BYTES: "tests/driver/engine_outbox_test.ts",
  MAX_DATAGRAM_SECTIONS: "tests/protocol/datagram_test.ts",
  MAX_GATHERED_BYTES: "tests/engine/reassembly_test.ts",
  MAX_KEPT_DENIALS: "tests/permissions/gate_test.ts",
  MAX_LOG_ANSWER: "tests/driver/log_ring_test.ts",
  MAX_LOG_SUMS: "tests/driver/log_ring_test.ts",
  MAX_MSGPACK_DEPTH: "tests/protocol/msgpack_check_test.ts",
  MAX_MSGPACK_ITEMS: "tests/protocol/msgpack_check_test.ts",
  MAX_PEER_WAITING_BYTES: "tests/engine/reassembly_test.ts",
  MAX_PENDING_LOGS: "tests/engine/log_reader_test.ts",
  MAX_SHARED_BYTES: "tests/replication/shared_encodings_test.ts",
  MAX_SHARED_ENCODINGS: "tests/replication/shared_encodings_test.ts",
  MAX_SLOW_HANDSHAKES: "tests/transport/amplification_test.ts",
  MAX_STREAMS_PER_PEER: "tests/transport/compliance.ts",
  MAX_UNSENT_DATAGRAMS: "tests/transport/quic_test.ts",
  MAX_VOICE_FRAMES: "tests/voice/voice_section_test.ts",
  MAX_WAITING_BYTES: "tests/engine/reassembly_test.ts",
};

/** Limits that bound no container, by what they are instead. */
const NO_CONTAINER: Readonly<Record<string, readonly string[]>> = {
  "a version or a name": ["PROTOCOL_VERSION", "ALPN", "ENGINE_LINK_VERSION"],
  "a time": `
    MIN_HISTORY_MS MAX_HISTORY_MS MAX_RESUME_MS MEMORY_SAMPLE_MS MEMORY_SHED_PAUSE_MS MAX_RETENTION_S DEFAULT_RETENTION_S LOG_SUM_MS
    RATE_BURST_S STREAM_STALL_MS CHECK_BURST_S CHECK_SILENCE_S CHECK_WINDOW_S CHECK_STAMP_ERROR_S CHECK_MEMORY_MS MIN_LOSS_TIME_MS
    INITIAL_RTT_MS TIMELINE_WINDOW_MS PEER_ID_QUARANTINE_MS MAX_EVENT_WAIT_MS JOIN_TIMEOUT_MS JOIN_PROOF_GRACE_MS CLOCK_SKEW_S
    MAX_TOKEN_LIFE_S HANDSHAKE_PATIENCE_MS KEEP_ALIVE_MS IDLE_TIMEOUT_MS CONNECT_TIMEOUT_MS MAX_OPUS_PACKET_MS ENGINE_HEARTBEAT_MS
    STATS_INTERVAL_MS ENGINE_TIMEOUT_MS GREETING_TIMEOUT_MS RESYNC_CONFIRM_MS CHANNEL_PROGRESS_MS VOICE_SLOT_MS MAX_ID_REST_MS
    WORK_BURST_S MAX_OVER_BUDGET_MS OVERRIDE_ECHO_MS OWNER_TIME_BEHIND_MS OWNER_TIME_AHEAD_MS SPAWN_WAIT_MS SPAWN_COUNT_WAIT_MS
    MAX_TIME_AHEAD_MS RECONNECT_FIRST_MS RECONNECT_MAX_MS SEND_GUARD_MS`.trim().split(/\s+/),
  "a number of ticks, or a tick": `
    RECEIVE_MARGIN_TICKS MAX_JOIN_TICK MAX_EVENT_STATE_TICKS LOSS_REPAIR_TICKS EVENT_VOUCH_TICKS EXPIRE_SWEEP_TICKS
    MAX_VOICE_AGE_SUBTICKS`.trim().split(/\s+/),
  "a rate, or a share of one": `
    MAX_TICK_HZ MAX_COMPONENT_RATE_HZ MAX_EVENT_RATE_HZ MAX_CHANNEL_RATE_HZ MAX_VOICE_RATE_HZ DEFAULT_PEER_BYTES_PER_S
    MIN_PEER_BYTES_PER_S MAX_PEER_BYTES_PER_S RATE_TOLERANCE MIN_RATE_BURST CHECK_TOLERANCE LOSS_PACKET_THRESHOLD LOSS_TIME_FACTOR
    TIMELINE_SLEW TIMELINE_DRIFT MAX_DENIAL_REPORTS_PER_S MAX_VIOLATION_REPORTS_PER_S MAX_FAULTS_PER_S MAX_PEER_DENIALS_PER_S
    MAX_STRAY_REFUSALS_PER_S MAX_PEER_DATAGRAMS_PER_S MIN_PEER_DATAGRAMS_PER_S PEER_STREAM_BYTES_PER_S MAX_CHANNEL_OPENS_PER_S
    WORK_RESERVE`.trim().split(/\s+/),
  "the cost of one thing": `
    WORK_DATAGRAM WORK_ENTRY WORK_VOICE_FRAME WORK_MESSAGE WORK_CONTROL WORK_DENIAL`.trim().split(
    /\s+/,
  ),
  "how much is done at once, of what is bounded elsewhere": `
    MAX_UNACKED_RECEIVED MAX_DATAGRAMS_PER_TICK RECEIVE_SWEEP_ENTITIES DORMANT_CHECKS_PER_TICK MAX_SECTION_MISSES MAX_SECTION_ROUNDS
    MAX_LISTED_ACK_RUNS MAX_FLUSHED_ACTIONS`.trim().split(/\s+/),
  "the range of one number": `
    MAX_DECLARED_ID MAX_STEPS_FROM_ZERO MIN_QUAT_BITS MAX_QUAT_BITS MIN_QUAT_PRECISION MAX_QUAT_PRECISION MAX_INTEREST_RADIUS MIN_NETWORK_PREFIX MAX_CLOSE_CODE
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
  "flow control of a stream or channel, kept by both ends' windows; the compliance suite fills them":
    ["STREAM_WINDOW_BYTES", "CHANNEL_WINDOW_BYTES"],
  "connections and handshakes of a listener, counted before each is accepted (transport/quic.ts)": [
    "MAX_HANDSHAKES",
    "MAX_CONNECTIONS",
  ],
  "a sum over the manifest, refused by its rules (permissions/check_rules.ts)": ["MAX_CHECKS"],
};

const NAMES = Object.keys(limits).sort();

Deno.test("every limit has a probe, a test of its own, or a reason to have neither, when the table is walked", () => {
  const treated = [
    ...Object.keys(PROBES),
    ...Object.keys(TESTED_ELSEWHERE),
    ...Object.values(NO_CONTAINER).flat(),
  ];
  assertEquals(NAMES.filter((name) => !treated.includes(name)), [], "limits without a treatment");
  assertEquals(treated.filter((name) => !NAMES.includes(name)), [], "treatments without a limit");
  assertEquals(treated.length, new Set(treated).size, "a limit is treated once");
});

for (const [name, file] of Object.entries(TESTED_ELSEWHERE)) {
  Deno.test(`${name} is driven to its bound in ${file}, which names it`, () => {
    const text = Deno.readTextFileSync(new URL(`../../${file}`, import.meta.url));
    const uses = text.match(new RegExp(`\\b${name}\\b`, "g"))?.length ?? 0;
    assert(uses >= 2, `${file} imports and uses ${name}`);
  });
}

for (const [name, probe] of Object.entries(PROBES)) {
  Deno.test(`${name} holds at its bound and over it, when its container is filled`, probe);
}
